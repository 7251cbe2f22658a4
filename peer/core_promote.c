/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Promote, and deactivate of the active's domain, which is the same: this replica becomes the active
 * one. Everybody of the set who is reached agrees; who is not reached is left out, which needs a
 * person's word, because this side cannot know whether it was itself left behind (design: a cut-off
 * standby). The new record, with a new epoch, is durable here before the tail is counted: from
 * then on nothing of the old epoch is accepted. Then as in core_role.c: level, serve, answer.
 *
 * Refused: while the active answers; on a replica that is outdated, inactive or suspect, unless
 * --accept-data-loss, which makes a step that the others will see as a fork.
 */
#include "core_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* When the replica was last heard from, in words. */
static const char *heard(struct core *c, unsigned replica)
{
	const struct core_peer *p = &c->peers[replica];

	if (!p->heard_ns)
		return core_text(c, "%s was not heard from since this daemon started %llu s ago",
			core_domain(c, replica),
			(unsigned long long)((c->now - c->started_ns) / 1000000000));
	return core_text(c, "%s was last heard from %llu s ago", core_domain(c, replica),
		(unsigned long long)((c->now - p->heard_ns) / 1000000000));
}

static void clear_demoted(struct core *c)
{
	if (!c->facts.demoted)
		return;
	c->facts.demoted = false;
	core_act(c, ACT_PERSIST_FACTS)->facts = c->facts;
}

/* Only with --accept-data-loss: alone, and in a step that nobody follows unasked. */
static void promote_lossy(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	int active = core_active(c);
	const char *own = core_domain(c, c->self);

	if (!(op->flags & OPERATOR_YES)) {
		core_answer(c, o, CORE_ANSWER_ASK,
			core_text(c,
				"this replica is not in sync: it %s (seq %llu), and everything "
				"that was "
				"acknowledged after that on the other side will be missing here. "
				"The other "
				"side will not follow unasked. Repeat with --yes to go on",
				c->end.seq ? "ends before what the other side has"
					   : "is empty, and has nothing of the volume",
				(unsigned long long)c->end.seq));
		return;
	}
	if (op->flags & OPERATOR_PREVIEW) {
		core_answer(c, o, CORE_ANSWER_OK,
			core_text(c,
				"%s would be promoted from seq %llu on, and what the other side "
				"has "
				"beyond that would be missing",
				own, (unsigned long long)c->end.seq));
		return;
	}
	clear_demoted(c);
	core_plan_begin(c, true);
	record_set_inactive(c->next, own, false);
	for (unsigned i = 0; i < c->next->nreplicas; i++)
		c->next->replicas[i].in_sync = i == c->self;
	if (active >= 0 && strcmp(core_domain(c, (unsigned)active), own))
		core_plan_leave(c, core_domain(c, (unsigned)active));
	c->next->active = c->cfg.self;
	core_plan_epoch(c);
	c->plan.word = true;
	c->plan.origin = *o;
	snprintf(c->plan.done, sizeof(c->plan.done),
		"%s serves '%s' from seq %llu on; what the other side had beyond that is not here. "
		"The other side does not follow this step by itself: when it is back, 'tandemctl "
		"resync %s --from %s' there keeps what it has aside and lets it catch up",
		own, c->cfg.volume_name, (unsigned long long)c->end.seq, c->cfg.volume_name, own);
	core_plan_propose(c, PLAN_PROMOTE, 0);
}

static void ask(struct core *c, unsigned lacking, struct core_origin *o)
{
	int active = core_active(c);
	unsigned who = 0;

	if (active >= 0 && active != (int)c->self) {
		core_answer(c, o, CORE_ANSWER_ASK,
			core_text(c,
				"the active side is not reached: %s. Nothing that it acknowledged "
				"while the record "
				"required this side is lost. But if it was allowed to go on alone "
				"meanwhile, what it acknowledged since then is not here, and both "
				"sides will differ. Repeat with --yes to go on",
				heard(c, (unsigned)active)));
		return;
	}
	if (!lacking) {
		core_answer(c, o, CORE_ANSWER_ASK,
			core_text(c,
				"no other replica was reached since this daemon started. If the "
				"other side was "
				"promoted meanwhile, this one shows the past, and both sides will "
				"differ. Repeat with --yes to go on"));
		return;
	}
	while (!(lacking & 1u << who))
		who++;
	core_answer(c, o, CORE_ANSWER_ASK,
		core_text(c,
			"%s. It belongs to the in-sync set and will be left out of it. If it was "
			"promoted "
			"meanwhile, what it acknowledged since then is not here, and both sides "
			"will "
			"differ. Repeat with --yes to go on",
			heard(c, who)));
}

/* Reached, nobody is missing, and the record names this replica already. */
static void promote_confirm(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	if (op->flags & OPERATOR_PREVIEW) {
		core_answer(
			c, o, CORE_ANSWER_OK, "this replica would be confirmed as the active one");
		return;
	}
	clear_demoted(c);
	c->word = true;
	c->promote = *o;
	snprintf(c->promote_done, sizeof(c->promote_done), "%s serves '%s'",
		core_domain(c, c->self), c->cfg.volume_name);
}

static void promote_plan(
	struct core *c, const struct core_operator *op, unsigned lacking, struct core_origin *o)
{
	int active = core_active(c);
	const char *own = core_domain(c, c->self), *leaver = NULL;

	if (op->flags & OPERATOR_PREVIEW) {
		core_answer(c, o, CORE_ANSWER_OK,
			core_text(
				c, "%s would be promoted and serve '%s'", own, c->cfg.volume_name));
		return;
	}
	clear_demoted(c);
	core_plan_begin(c, false);
	for (unsigned i = 0; i < c->next->nreplicas; i++)
		if (lacking & 1u << i)
			c->next->replicas[i].in_sync = false;
	if (active >= 0 && active != (int)c->self &&
		strcmp(core_domain(c, (unsigned)active), own)) {
		leaver = core_domain(c, (unsigned)active);
		core_plan_leave(c, leaver);
	}
	c->next->active = c->cfg.self;
	core_plan_epoch(c);
	c->plan.word = true;
	c->plan.origin = *o;
	if (leaver)
		snprintf(c->plan.done, sizeof(c->plan.done),
			"%s is inactive, %s serves '%s'. When %s is back it stays out until "
			"'tandemctl "
			"activate clusterdomain %s'",
			leaver, own, c->cfg.volume_name, leaver, leaver);
	else
		snprintf(c->plan.done, sizeof(c->plan.done), "%s serves '%s'%s", own,
			c->cfg.volume_name,
			lacking ? "; the replicas that were not reached catch up when they are back"
				: "");
	core_plan_propose(c, PLAN_PROMOTE, core_reached_bits(c, core_set(c) & ~lacking));
}

static bool refused(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	bool loss = op->flags & OPERATOR_ACCEPT_DATA_LOSS;
	int active = core_active(c);

	if (c->role == CORE_DRAINING) {
		core_answer(c, o, -EBUSY, "this replica is being demoted");
		return true;
	}
	if (core_busy(c, o))
		return true;
	if (active >= 0 && active != (int)c->self && core_answers(c, (unsigned)active)) {
		core_answer(c, o, -EBUSY,
			core_text(c,
				"%s is active and answers. To hand over, type 'tandemctl demote "
				"%s' "
				"there, then 'tandemctl promote %s' here",
				core_domain(c, (unsigned)active), c->cfg.volume_name,
				c->cfg.volume_name));
		return true;
	}
	if (loss)
		return false;
	if (!core_in_sync(c, c->self) || c->facts.met) {
		core_answer(c, o, -EPERM,
			core_text(c,
				"%s is %s: it lacks what was acknowledged without it. Promote the "
				"other "
				"side, or use --accept-data-loss",
				core_domain(c, c->self),
				core_inactive(c, c->self) ? "inactive"
				: c->facts.met		  ? "empty (a replaced disk)"
							  : "outdated"));
		return true;
	}
	if (c->facts.bad_starts >= 3) {
		core_answer(c, o, -EPERM,
			core_text(c,
				"this replica is suspect: %u starts in a row ended with an I/O "
				"error. Check its "
				"disk, or use --accept-data-loss",
				c->facts.bad_starts));
		return true;
	}
	return false;
}

/* Replicas of the set that cannot take part: not reached, or not to be brought level. */
static unsigned lacking_bits(const struct core *c)
{
	unsigned lacking = core_set(c) & ~core_reached_bits(c, core_set(c));

	for_each_peer (c, i) {
		if (core_in_sync(c, i) && core_is_active(c, c->self) &&
			(c->peers[i].beyond || c->peers[i].relation == RELATION_DIVERGED))
			lacking |= 1u << i;
	}
	return lacking;
}

void core_promote(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	unsigned lacking = lacking_bits(c);
	int active = core_active(c);
	bool named = active == (int)c->self;

	if (c->role == CORE_ACTIVE) {
		core_answer(c, o, CORE_ANSWER_OK, "this replica is active already");
		return;
	}
	if (refused(c, op, o))
		return;
	if (!core_in_sync(c, c->self) || c->facts.met) {
		promote_lossy(c, op, o);
		return;
	}
	if (named && !lacking &&
		(core_set(c) || c->reached || c->rec->nreplicas == 1 || op->flags & OPERATOR_YES)) {
		promote_confirm(c, op, o);
		return;
	}
	if ((lacking || named) && !(op->flags & OPERATOR_YES)) {
		ask(c, lacking, o);
		return;
	}
	promote_plan(c, op, lacking, o);
}
