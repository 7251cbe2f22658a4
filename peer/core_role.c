/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From CONFIRMING to ACTIVE. core_roles() runs after every event and does what can be done now:
 *
 *   confirmed?     all others of the set are connected and hold the same record; alone in the set:
 *                  another replica's record was equal or older, or a person said so, or the mount
 *                  of before was kept alive
 *   longest tail   fetched from the replica of the set that has it (MSG_FETCH)
 *   level          everyone in the set has durably what this replica has (streams, core_append.c)
 *   next epoch     proposed to the set, accepted, written here
 *   serve          everything in the history is committed
 *
 * Failure modes: any loss of a replica of the set on the way goes back to CONFIRMING; what was
 * fetched stays, and an epoch that was agreed on for this replica and not served yet stays usable. A
 * forced demotion (facts) holds all this until an operator's promote.
 */
#include "core_impl.h"

#include <errno.h>

unsigned core_set(const struct core *c)
{
	unsigned set = 0;

	for_each_peer (c, i) {
		if (core_in_sync(c, i))
			set |= 1u << i;
	}
	return set;
}

static bool confirmed(const struct core *c, unsigned set)
{
	if (!set)
		return c->reached || c->word || c->cfg.held || c->rec->nreplicas == 1;
	for_each_peer (c, i) {
		if ((set & 1u << i) && !core_same(c, i))
			return false;
	}
	return true;
}

/* All of the set have promised, and take the record that they were told of in a moment. */
static bool are_taking_it(const struct core *c, unsigned set)
{
	if (c->role != CORE_STARTING || !c->epoch_mine || c->rec->nreplicas <= 2)
		return false;
	for_each_peer (c, i) {
		if ((set & 1u << i) && (!core_answers(c, i) || !c->peers[i].hello))
			return false;
	}
	return true;
}

static void back_to_confirming(struct core *c)
{
	if (c->plan.kind == PLAN_START)
		core_plan_cancel(c);
	for_each_peer (c, i) {
		c->peers[i].asked = false;
	}
	if (c->role == CORE_STARTING)
		core_answer(c, &c->promote, -EAGAIN,
			core_text(c,
				"%s is the active side in the record now, and serves as soon as "
				"all other "
				"in-sync replicas are connected: 'tandemctl status' says which one "
				"is missing",
				core_domain(c, c->self)));
	c->role = CORE_CONFIRMING;
}

/* Fetches what others of the set have beyond our end. Returns true while there is such a thing. */
static bool fetch_tail(struct core *c, unsigned set)
{
	int longest = -1;
	bool asked = false;

	for_each_peer (c, i) {
		struct core_peer *p = &c->peers[i];

		if (!(set & 1u << i) || p->relation != RELATION_AHEAD)
			continue;
		if (p->end.seq <= c->end.seq) { /* we have caught up with it */
			p->relation = RELATION_BEHIND;
			core_stream_reset(c, i);
			continue;
		}
		asked |= p->asked;
		if (longest < 0 || p->end.seq > c->peers[longest].end.seq)
			longest = (int)i;
	}
	if (longest < 0)
		return false;
	if (!asked) {
		c->peers[longest].asked = true;
		core_send(c, (unsigned)longest, MSG_FETCH)->fetch.after = c->end;
	}
	return true;
}

/* Everyone in the set has what we have, durably, and no stream to them is under way. */
static bool level(const struct core *c, unsigned set)
{
	if (c->durable < c->end.seq)
		return false;
	for_each_peer (c, i) {
		const struct core_peer *p = &c->peers[i];

		if (!(set & 1u << i))
			continue;
		if (p->relation != RELATION_BEHIND || p->acked < c->end.seq || p->fetching)
			return false;
	}
	return true;
}

static void serve(struct core *c, unsigned set)
{
	struct core_action *a;

	ensure(c->durable == c->end.seq);
	if (c->end.seq > c->commit) {
		c->commit = c->end.seq;
		core_act(c, ACT_COMMIT)->seq = c->commit;
	}
	a = core_act(c, ACT_SERVE);
	a->epoch = c->rec->epoch;
	c->role = CORE_ACTIVE;
	c->epoch_mine = false;
	c->drained = false;
	for_each_peer (c, i) {
		if (!(set & 1u << i) && c->peers[i].relation != RELATION_UNKNOWN)
			core_lead(c, i);
	}
	core_spread(c, ~set);
	core_answer(c, &c->promote, CORE_ANSWER_OK, core_text(c, "%s", c->promote_done));
}

void core_roles(struct core *c)
{
	unsigned set = core_set(c);

	if (c->role != CORE_CONFIRMING && c->role != CORE_STARTING)
		return;
	if (c->plan.kind != PLAN_NONE && c->plan.kind != PLAN_START)
		return; /* an operator's word is being agreed on */
	if (!c->facts.demoted && !confirmed(c, set) && are_taking_it(c, set))
		return;
	if (c->facts.demoted || (c->facts.met && !c->word) || !confirmed(c, set)) {
		back_to_confirming(c);
		return;
	}
	c->role = CORE_STARTING;
	if (c->plan.kind == PLAN_START || fetch_tail(c, set) || !level(c, set))
		return;
	if (c->epoch_mine) {
		serve(c, set);
		return;
	}
	core_plan_begin(c, false);
	core_plan_epoch(c);
	core_plan_propose(c, PLAN_START, set);
}
