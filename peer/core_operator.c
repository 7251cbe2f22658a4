/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What people type: deactivate, activate, demote; promote is in core_promote.c, resync in core_resync.c. Every word gets one
 * answer: 0 and what was done (or would be: core_preview.c), a question (CORE_ANSWER_ASK), or -errno and what to do
 * instead.
 *
 * "Reached" means that the connection stands now. A word about a domain goes to the active when it
 * is typed elsewhere (FORWARD), once, and never beyond it.
 *
 * Failure modes: the connection breaks before a forwarded word was answered: the answer says so, the
 * word may or may not have been carried out. A second change while one is being agreed on: -EBUSY.
 * A demotion whose peer goes silent, or whose last writes nobody acknowledges, is taken back when nothing has moved for
 * some seconds, but not where it was proposed and the peer may have agreed: then it stays DRAINING until the peer is
 * back and says so. --force ends it at once.
 */
#include "core_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DRAIN_PATIENCE                                                                             \
	8u /* times as long as until a silent peer is given up, but not for minutes: */
#define DRAIN_PATIENCE_MAX_NS (40ull * 1000000000)

static const char busy[] = "another change of this volume is being agreed on: look at 'tandemctl "
			   "status', then type it again";

bool core_busy(struct core *c, struct core_origin *o)
{
	if (c->plan.kind == PLAN_NONE && !c->promote.kind && !c->resync.stage)
		return false;
	core_answer(c, o, -EBUSY, busy);
	return true;
}

/* Replicas of the domain. */
unsigned core_domain_bits(const struct core *c, const char *domain)
{
	unsigned bits = 0;

	for (unsigned i = 0; i < c->rec->nreplicas; i++)
		if (!strcmp(core_domain(c, i), domain))
			bits |= 1u << i;
	return bits;
}

/* Those of `bits` that are connected and hold our record. */
unsigned core_reached_bits(const struct core *c, unsigned bits)
{
	unsigned reached = 0;

	for_each_peer (c, i) {
		if ((bits & 1u << i) && core_same(c, i))
			reached |= 1u << i;
	}
	return reached;
}

/* Their domain becomes inactive in the plan, they leave its set. */
void core_plan_leave(struct core *c, const char *domain)
{
	record_set_inactive(c->next, domain, true);
	for (unsigned i = 0; i < c->next->nreplicas; i++)
		if (!strcmp(c->next->replicas[i].domain, domain))
			c->next->replicas[i].in_sync = false;
}

/* --- forwarding to the active --- */

static void forward(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	int active = core_active(c);
	struct core_forward *f = NULL;
	struct msg *m;

	if (op->flags & OPERATOR_FORWARDED) {
		core_answer(c, o, -EXDEV,
			"the side that was asked is not the active one: look at 'tandemctl "
			"status', then type it again");
		return;
	}
	if (active < 0) {
		core_answer(c, o, -EHOSTUNREACH,
			"no replica of this volume is active: promote one first");
		return;
	}
	if (!core_same(c, (unsigned)active)) {
		core_answer(c, o, -EHOSTUNREACH,
			core_text(c,
				"the active side %s is not reached, and only there this can be "
				"changed: type it there",
				core_domain(c, (unsigned)active)));
		return;
	}
	if (op->flags & OPERATOR_PREVIEW) {
		core_answer(c, o, CORE_ANSWER_OK,
			core_text(c, "%s is active and reached, and would be told",
				core_domain(c, (unsigned)active)));
		return;
	}
	for (unsigned i = 0; i < FORWARDS_MAX && !f; i++)
		if (!c->forwards[i].used)
			f = &c->forwards[i];
	if (!f) {
		core_answer(c, o, -EBUSY, busy);
		return;
	}
	*f = (struct core_forward){.used = true,
		.id = o->id,
		.nonce = core_chance(c),
		.peer = (unsigned)active,
		.conn = c->peers[active].conn};
	m = core_send(c, (unsigned)active, MSG_FORWARD);
	m->forward = (struct msg_forward){
		.nonce = f->nonce, .verb = op->verb, .flags = op->flags | OPERATOR_FORWARDED};
	memcpy(m->forward.domain, op->domain, sizeof(m->forward.domain));
}

void core_on_forward(struct core *c, unsigned peer, const struct msg *m)
{
	struct core_operator op = {
		.verb = m->forward.verb, .flags = m->forward.flags | OPERATOR_FORWARDED};
	struct core_origin o = {.kind = ORIGIN_REMOTE,
		.id = m->forward.nonce,
		.peer = peer,
		.conn = c->peers[peer].conn};

	memcpy(op.domain, m->forward.domain, sizeof(op.domain));
	op.domain[sizeof(op.domain) - 1] = 0;
	if (op.verb == OPERATOR_RESYNC)
		core_resync_accept(c, &op, &o);
	else if (op.verb != OPERATOR_DEACTIVATE && op.verb != OPERATOR_ACTIVATE)
		core_answer(c, &o, -EINVAL, "only activate and deactivate are forwarded");
	else
		core_on_operator(c, &op, o);
}

static void forward_end(struct core *c, struct core_forward *f, int code, const char *text)
{
	struct core_origin o = {.kind = ORIGIN_LOCAL, .id = f->id};

	f->used = false;
	core_answer(c, &o, code, text);
}

void core_on_forward_reply(struct core *c, unsigned peer, const struct msg *m)
{
	if (core_resync_reply(c, peer, &m->forward_reply))
		return;
	for (unsigned i = 0; i < FORWARDS_MAX; i++) {
		struct core_forward *f = &c->forwards[i];

		if (f->used && f->nonce == m->forward_reply.nonce && f->peer == peer)
			forward_end(c, f, m->forward_reply.code,
				core_text(c, "%.*s", (int)sizeof(m->forward_reply.text) - 1,
					m->forward_reply.text));
	}
}

void core_forwards_lost(struct core *c, unsigned peer)
{
	for (unsigned i = 0; i < FORWARDS_MAX; i++) {
		struct core_forward *f = &c->forwards[i];

		if (f->used && f->peer == peer)
			forward_end(c, f, -ECONNRESET,
				core_text(c,
					"the connection to %s broke before it answered: it may "
					"have done "
					"it or not. Look at 'tandemctl status'",
					core_domain(c, peer)));
	}
}

/* --- deactivate --- */

static void plan_deactivate(
	struct core *c, const struct core_operator *op, struct core_origin *o, unsigned acceptors)
{
	unsigned theirs = core_domain_bits(c, op->domain);

	if (op->flags & OPERATOR_PREVIEW) {
		core_answer(c, o, CORE_ANSWER_OK,
			core_text(c,
				core_serving(c)
					? "active here already: writes would not wait for %s any "
					  "more"
				: core_active(c) < 0
					? "no replica is active, and none would be: %s is left out"
					: "%s would be left out; another replica in sync is not "
					  "reached, and is waited for still",
				op->domain));
		return;
	}
	core_plan_begin(c, false);
	core_plan_leave(c, op->domain);
	c->plan.origin = *o;
	snprintf(c->plan.done, sizeof(c->plan.done),
		"%s is inactive: writes do not wait for it any more, and it stays out until "
		"'tandemctl activate "
		"clusterdomain %s'%s",
		op->domain, op->domain,
		core_reached_bits(c, theirs) == theirs
			? ""
			: ". It was not reached; it is told when it comes back");
	core_plan_propose(c, PLAN_DEACTIVATE, acceptors);
}

static void ask_unreached(struct core *c, const char *domain, struct core_origin *o)
{
	core_answer(c, o, CORE_ANSWER_ASK,
		core_text(c,
			"%s is not reached, and nobody has confirmed since this daemon started "
			"that %s was "
			"not left behind itself. If %s went on alone meanwhile, what it wrote "
			"there "
			"is not here, and both sides will differ. Repeat with --yes to go on",
			domain, core_domain(c, c->self), domain));
}

/* One of these holds the start up for good: it lacks what the journal here does not reach back to. */
static bool any_beyond(const struct core *c, unsigned bits)
{
	for_each_peer (c, i) {
		if ((bits & 1u << i) && c->peers[i].beyond)
			return true;
	}
	return false;
}

/* The record names this replica, which does not serve yet. A third one that is in the set and not reached is still
 * waited for: nobody takes an epoch that it has not agreed to, nor leaves it out at a word about another. */
static void deactivate_unconfirmed(
	struct core *c, const struct core_operator *op, struct core_origin *o)
{
	unsigned theirs = core_domain_bits(c, op->domain);

	if (c->facts.met) {
		core_answer(c, o, -EPERM,
			"this replica is empty (a replaced disk), and has nothing of the volume: "
			"type 'deactivate clusterdomain' of this domain on the other side, which "
			"takes over there");
		return;
	}
	if (core_reached_bits(c, theirs) == theirs && c->role == CORE_STARTING &&
		!any_beyond(c, core_set(c))) {
		core_answer(c, o, CORE_ANSWER_SOON,
			"this replica is just starting to serve: type it again in a moment");
		return;
	}
	if (core_reached_bits(c, theirs) != theirs && !(op->flags & OPERATOR_YES)) {
		ask_unreached(c, op->domain, o);
		return;
	}
	if (op->flags & OPERATOR_PREVIEW) {
		core_answer(c, o, CORE_ANSWER_OK,
			core_text(c, "%s would serve '%s', for which it waits now, without %s",
				core_domain(c, c->self), c->cfg.volume_name, op->domain));
		return;
	}
	if (core_set(c) & ~theirs & ~core_reached_bits(c, core_set(c))) {
		plan_deactivate(c, op, o, core_reached_bits(c, core_set(c) | theirs));
		return;
	}
	core_plan_begin(c, false);
	core_plan_leave(c, op->domain);
	core_plan_epoch(c);
	c->plan.word = true;
	c->plan.origin = *o;
	snprintf(c->plan.done, sizeof(c->plan.done),
		"%s is inactive, %s serves '%s'. %s stays out until 'tandemctl activate "
		"clusterdomain %s'",
		op->domain, core_domain(c, c->self), c->cfg.volume_name, op->domain, op->domain);
	core_plan_propose(c, PLAN_PROMOTE, core_reached_bits(c, core_set(c) | theirs));
}

static void deactivate_none(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	unsigned theirs = core_domain_bits(c, op->domain);

	if (!core_in_sync(c, c->self)) {
		core_answer(c, o, -EPERM, "this replica is not in sync: type it at one that is");
		return;
	}
	if (core_reached_bits(c, theirs) != theirs && !(op->flags & OPERATOR_YES)) {
		ask_unreached(c, op->domain, o);
		return;
	}
	plan_deactivate(c, op, o, core_reached_bits(c, core_set(c) | theirs));
}

static void deactivate(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	int active = core_active(c);
	bool own = !strcmp(op->domain, core_domain(c, c->self));

	if (record_domain_inactive(c->rec, op->domain)) {
		core_answer(
			c, o, CORE_ANSWER_OK, core_text(c, "%s is inactive already", op->domain));
		return;
	}
	if (active >= 0 && !strcmp(op->domain, core_domain(c, (unsigned)active))) {
		if (own || core_answers(c, (unsigned)active))
			core_answer(c, o, -EBUSY,
				core_text(c,
					"%s is the active side%s. To hand over, type 'tandemctl "
					"demote %s' there, then 'tandemctl promote %s' on the "
					"other side",
					op->domain, own ? "" : ", and it answers",
					c->cfg.volume_name, c->cfg.volume_name));
		else
			core_promote(c, op, o);
		return;
	}
	if (active != (int)c->self && (own || active >= 0)) {
		forward(c, op, o);
		return;
	}
	if (core_busy(c, o))
		return;
	if (active < 0)
		deactivate_none(c, op, o);
	else if (!core_serving(c))
		deactivate_unconfirmed(c, op, o);
	else
		plan_deactivate(c, op, o, core_reached_bits(c, core_domain_bits(c, op->domain)));
}

/* --- activate --- */

/* A connected replica of the domain, or this one of it, holds another history: it cannot catch up. */
static bool refused_fork(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	const char *own = core_domain(c, c->self), *volume = c->cfg.volume_name;

	for_each_peer (c, i) {
		const char *name = core_domain(c, i);

		if (!c->peers[i].up || !c->peers[i].fork ||
			(strcmp(op->domain, name) && strcmp(op->domain, own)))
			continue;
		core_answer(c, o, -EINVAL,
			core_text(c,
				"fork: %s and %s were changed without each other, so %s cannot "
				"catch up, and nothing was changed now. Decide which side is to be "
				"kept: to keep %s, type here 'tandemctl resync %s --from %s'; to "
				"keep %s, type at %s 'tandemctl resync %s --from %s'; with "
				"'--preview' it lists what is given up",
				own, name, op->domain, name, volume, name, own, name, volume, own));
		return true;
	}
	return false;
}

static void activate(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	if (refused_fork(c, op, o))
		return;
	if (!record_domain_inactive(c->rec, op->domain)) {
		core_answer(c, o, CORE_ANSWER_OK, core_text(c, "%s is not inactive", op->domain));
		return;
	}
	if (core_active(c) != (int)c->self) {
		forward(c, op, o);
		return;
	}
	if (core_busy(c, o))
		return;
	if (!core_serving(c)) {
		core_answer(c, o, -EAGAIN,
			"this replica does not serve yet: 'tandemctl status' says what it waits "
			"for");
		return;
	}
	if (op->flags & OPERATOR_PREVIEW) {
		core_preview_activate(c, op, o);
		return;
	}
	core_plan_begin(c, false);
	record_set_inactive(c->next, op->domain, false);
	core_plan_adopt(c, core_domain_bits(c, op->domain));
	core_answer(c, o, CORE_ANSWER_OK,
		core_text(c,
			"%s is active again: its replica catches up as soon as it is reached, and "
			"counts as in "
			"sync when it has ('tandemctl status' shows how far it is)",
			op->domain));
}

/* --- demote --- */

static void demote_force(struct core *c, struct core_origin *o)
{
	if (c->plan.kind == PLAN_START)
		core_plan_cancel(c);
	c->facts.demoted = true;
	core_act(c, ACT_PERSIST_FACTS)->facts = c->facts;
	core_answer(c, o, CORE_ANSWER_OK,
		core_text(c,
			"demoted by force: the record is unchanged, this replica serves again "
			"after "
			"'tandemctl promote %s' here",
			c->cfg.volume_name));
	core_answer(c, &c->demote, CORE_ANSWER_OK, "demoted by force meanwhile");
	if (core_serving(c))
		core_fence(c, "demoted by force");
}

/* The first replica of the set that is not there; -1: all are. */
static int missing(const struct core *c)
{
	for_each_peer (c, i) {
		if (core_in_sync(c, i) && !core_same(c, i))
			return (int)i;
	}
	return -1;
}

static void plan_demote(struct core *c)
{
	core_plan_begin(c, false);
	memset(&c->next->active, 0, sizeof(c->next->active));
	snprintf(c->plan.done, sizeof(c->plan.done),
		"demoted: no replica of '%s' is active now. Type 'tandemctl promote %s' on the "
		"side that "
		"shall be active",
		c->cfg.volume_name, c->cfg.volume_name);
	core_plan_propose(c, PLAN_DEMOTE, core_set(c));
}

static void demote(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	if (core_active(c) != (int)c->self) {
		core_answer(c, o, CORE_ANSWER_OK, "this replica is not the active one");
		return;
	}
	if (op->flags & OPERATOR_FORCE) {
		demote_force(c, o);
		return;
	}
	if (c->role == CORE_DRAINING) {
		core_answer(c, o, -EBUSY, "a demotion is under way; 'demote --force' ends it");
		return;
	}
	if (core_busy(c, o))
		return;
	if (missing(c) >= 0) {
		core_answer(c, o, -EHOSTUNREACH,
			core_text(c,
				"%s is in sync by the record and not reached, so it cannot agree: "
				"wait for it, "
				"deactivate it, or use 'demote --force'",
				core_domain(c, (unsigned)missing(c))));
		return;
	}
	if (!core_serving(c)) {
		plan_demote(c);
		c->plan.origin = *o;
		return;
	}
	c->role = CORE_DRAINING;
	c->drained = c->drain_asked = false;
	c->drain_moved_ns = c->now;
	c->drain_commit = c->commit;
	c->demote = *o;
	core_act(c, ACT_STOP_STAGING);
}

static uint64_t drain_patience_ns(const struct core *c)
{
	return MIN(DRAIN_PATIENCE * c->cfg.peer_timeout_ns,
		MAX(2 * c->cfg.peer_timeout_ns, DRAIN_PATIENCE_MAX_NS));
}

static void take_back(struct core *c)
{
	int lost = missing(c);

	c->role = CORE_ACTIVE;
	c->drained = false;
	core_act(c, ACT_GO_ON_STAGING);
	core_answer(c, &c->demote, -EHOSTUNREACH,
		core_text(c,
			"the demotion is taken back, and this replica serves on: %s within %llu s. "
			"Wait for the other side, deactivate it, or use 'demote --force'",
			lost < 0 ? "not everything that was written was acknowledged"
				 : core_text(c, "%s was lost and has not come back",
					   core_domain(c, (unsigned)lost)),
			(unsigned long long)(drain_patience_ns(c) / 1000000000)));
}

void core_on_drained(struct core *c)
{
	c->drained = true;
}

void core_demote_go_on(struct core *c)
{
	if (c->role != CORE_DRAINING || c->plan.kind != PLAN_NONE)
		return;
	if (c->commit != c->drain_commit) {
		c->drain_commit = c->commit;
		c->drain_moved_ns = c->now;
	}
	if (missing(c) < 0) /* they hold this record, and no later one */
		c->drain_asked = false;
	if (!c->drained || c->commit < c->end.seq || missing(c) >= 0) {
		if (!c->drain_asked && c->now - c->drain_moved_ns >= drain_patience_ns(c))
			take_back(c);
		return;
	}
	if (c->record_changed) {
		c->again = true;
		return;
	}
	plan_demote(c);
	c->drain_asked = true;
	c->drain_moved_ns = c->now;
	c->again = true; /* settle, if there is nobody to ask */
}

uint64_t core_demote_wake_ns(const struct core *c)
{
	return c->role == CORE_DRAINING && c->plan.kind == PLAN_NONE && !c->drain_asked
		       ? c->drain_moved_ns + drain_patience_ns(c)
		       : UINT64_MAX;
}

/* --- all --- */

void core_on_operator(struct core *c, const struct core_operator *op, struct core_origin o)
{
	switch (op->verb) {
	case OPERATOR_PROMOTE:
		core_promote(c, op, &o);
		return;
	case OPERATOR_DEMOTE:
		demote(c, op, &o);
		return;
	case OPERATOR_RAISE:
		core_raise(c, &o);
		return;
	case OPERATOR_DEACTIVATE:
	case OPERATOR_ACTIVATE:
	case OPERATOR_RESYNC:
		break;
	default:
		core_answer(c, &o, -EINVAL, "no such operation");
		return;
	}
	if (!record_domain_known(c->rec, op->domain))
		core_answer(c, &o, -ENOENT,
			core_text(c, "no replica of '%s' is in a domain '%s'", c->cfg.volume_name,
				op->domain));
	else if (op->verb == OPERATOR_DEACTIVATE)
		deactivate(c, op, &o);
	else if (op->verb == OPERATOR_RESYNC)
		core_resync(c, op, &o);
	else
		activate(c, op, &o);
}
