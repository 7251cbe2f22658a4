/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resync: a person's word that ends a fork. One side, where the word is typed, gives up its state; the
 * other one (`--from`), a serving active, is kept and does not stop for it.
 *
 * Failure modes, and what holds them:
 *
 * - Something acknowledged alone is dropped (I6): the core drops nothing, it says GIVE_UP, and the whole
 *   old state, with its record, is kept aside by whoever executes that. Without the word, with a question
 *   that nobody answered, from a peer that is no fork: refused.
 * - The word is typed at the wrong side: `--from` names the side that is kept, so at that side it is
 *   refused, and the answer says where to type it.
 * - Both sides give up at once: each asks the other one first, and a replica that has asked accepts
 *   nothing (core_busy()), nor does one that does not serve.
 * - The replica that begins again must not count as in sync, or what the other side acknowledges would
 *   rest on an empty replica (I1), nor as inactive, or it would stay out: the kept side strikes it from
 *   both lists in its record, durably, before it answers (I3: the record moves first). The record with
 *   which the loser begins again is that one, and is looked at once more before GIVE_UP.
 * - The other side dies, or the connection breaks, before the answer: nothing was given up, the fork is
 *   as it was; at most the kept side's record lists the loser as outdated instead of inactive, which
 *   means nothing as long as the fork stands. The word is typed again.
 * - The kept side dies after the answer: the loser is an empty, outdated standby of its record, which is
 *   never promoted as if it were whole, and waits.
 * - The loser dies at any moment: before GIVE_UP is durable the fork is as it was, and its active comes
 *   back as one; after it, the next start is that of the empty replica.
 * - The loser served: from GIVE_UP on nothing is acknowledged any more, in the same step; FENCE takes the
 *   mount away. Nothing is acknowledged that is not in the state that is kept.
 * - There is no room for another replica: that is found out before the other side is asked.
 */
#include "core_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The record with which this replica would begin again: NULL when the peer's last HELLO was no fork. */
static const struct record *rival(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];
	const struct record *r = &c->rivals[peer];

	return p->up && p->hello && p->fork && version_equal(&r->version, &p->version) ? r : NULL;
}

/* The replica of the domain that is to be kept: one with which there is a fork, or any. -1: none. */
static int find(const struct core *c, const char *domain)
{
	int found = -1;

	for_each_peer (c, i) {
		if (strcmp(core_domain(c, i), domain))
			continue;
		if (rival(c, i))
			return (int)i;
		found = (int)i;
	}
	return found;
}

static bool refused_peer(struct core *c, unsigned peer, struct core_origin *o)
{
	const struct core_peer *p = &c->peers[peer];
	const char *name = core_domain(c, peer);

	if (rival(c, peer))
		return false;
	if (!p->up || !p->hello)
		core_answer(c, o, -EHOSTUNREACH,
			core_text(c,
				"%s is not reached: what would be given up here can only be told, "
				"and its state only be taken, while it is",
				name));
	else
		core_answer(c, o, -EINVAL,
			core_text(c,
				"there is no fork with %s: nothing has to be given up. 'tandemctl "
				"status' says what it waits for",
				name));
	return true;
}

/* Is there somebody at the other side whose state can be taken? */
static bool refused_source(struct core *c, unsigned peer, struct core_origin *o)
{
	const char *name = core_domain(c, peer);

	if (!uuid_equal(&rival(c, peer)->active, &c->rec->replicas[peer].uuid))
		core_answer(c, o, -EPERM,
			core_text(c,
				"%s is not the active side by its own record: type 'tandemctl "
				"promote %s' there first",
				name, c->cfg.volume_name));
	else if (!c->peers[peer].serving)
		core_answer(c, o, -EAGAIN,
			core_text(c,
				"%s does not serve yet: 'tandemctl status' there says what it "
				"waits for",
				name));
	else
		return false;
	return true;
}

static void ask(struct core *c, unsigned peer, struct core_origin *o)
{
	uint64_t common = c->peers[peer].fork_point.seq;
	const char *own = core_domain(c, c->self), *name = core_domain(c, peer);

	core_answer(c, o, CORE_ANSWER_ASK,
		core_text(c,
			"%s gives up its state of '%s' and becomes a standby of %s. What was "
			"written here alone is then not in the volume any more: %llu entries after "
			"seq %llu, the last that both sides are known to share ('tandemctl resync "
			"%s --from %s --preview' lists them). The old state is not deleted: it is "
			"kept beside the new one.%s Repeat with --yes to go on",
			own, c->cfg.volume_name, name, (unsigned long long)(c->end.seq - common),
			(unsigned long long)common, c->cfg.volume_name, name,
			core_serving(c) ? " Whoever uses the mount here gets errors, and it goes "
					  "away."
					: ""));
}

void core_resync(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	const char *own = core_domain(c, c->self);
	struct core_action *a;
	int peer;

	if (!strcmp(op->domain, own)) {
		core_answer(c, o, -EINVAL,
			core_text(c,
				"%s is this side, which would be kept. Type 'tandemctl resync %s "
				"--from %s' at the side that is to give up its state",
				own, c->cfg.volume_name, own));
		return;
	}
	peer = find(c, op->domain);
	ensure(peer >= 0); /* the domain is known, and not the own one */
	if (refused_peer(c, (unsigned)peer, o))
		return;
	if (op->flags & OPERATOR_PREVIEW) {
		a = core_act(c, ACT_PREVIEW);
		a->id = o->id;
		a->peer = (unsigned)peer;
		a->seq = c->peers[peer].fork_point.seq;
		return;
	}
	if (c->role == CORE_DRAINING) {
		core_answer(c, o, -EBUSY, "this replica is being demoted");
		return;
	}
	if (core_busy(c, o) || refused_source(c, (unsigned)peer, o))
		return;
	if (!(op->flags & OPERATOR_YES)) {
		ask(c, (unsigned)peer, o);
		return;
	}
	c->resync = (struct core_resync){.stage = RESYNC_BUILDING,
		.origin = *o,
		.peer = (unsigned)peer,
		.conn = c->peers[peer].conn};
	a = core_act(c, ACT_BUILD);
	a->peer = (unsigned)peer;
	a->seq = c->peers[peer].fork_point.seq;
}

static void resync_end(struct core *c, int code, const char *text)
{
	c->resync.stage = RESYNC_NONE;
	core_answer(c, &c->resync.origin, code, text);
}

/* The empty replica is there: may this one come back with it? */
void core_on_built(struct core *c, const struct core_event *ev)
{
	struct core_resync *r = &c->resync;
	struct msg *m;

	if (r->stage != RESYNC_BUILDING)
		return; /* given up meanwhile */
	if (ev->code) {
		resync_end(c, ev->code,
			core_text(c,
				"an empty replica cannot be made here, nothing was changed: %s",
				ev->built.text));
		return;
	}
	if (!rival(c, r->peer)) {
		resync_end(c, -ESTALE,
			core_text(c, "the fork with %s is over, nothing was changed",
				core_domain(c, r->peer)));
		return;
	}
	snprintf(r->aside, sizeof(r->aside), "%s", ev->built.text);
	r->stage = RESYNC_ASKED;
	r->nonce = core_chance(c);
	m = core_send(c, r->peer, MSG_FORWARD);
	m->forward = (struct msg_forward){.nonce = r->nonce,
		.verb = OPERATOR_RESYNC,
		.flags = OPERATOR_YES | OPERATOR_FORWARDED};
	snprintf(m->forward.domain, sizeof(m->forward.domain), "%s", core_domain(c, c->self));
}

/* Its HELLO with the record that it wrote came ahead of its answer. */
static void give_up(struct core *c)
{
	struct core_resync *r = &c->resync;
	const struct record *to = rival(c, r->peer);
	const char *own = core_domain(c, c->self), *name = core_domain(c, r->peer);
	struct core_action *a;

	if (!to || to->replicas[c->self].in_sync || record_domain_inactive(to, own) ||
		!uuid_equal(&to->active, &c->rec->replicas[r->peer].uuid)) {
		resync_end(c, -EAGAIN,
			core_text(c,
				"%s has changed the volume's record meanwhile: nothing was given "
				"up here. Look at 'tandemctl status', then type it again",
				name));
		return;
	}
	a = core_act(c, ACT_GIVE_UP);
	a->peer = r->peer;
	resync_end(c, CORE_ANSWER_OK,
		core_text(c,
			"%s begins again as a standby of %s, catches up, and counts as in sync "
			"when "
			"it has ('tandemctl status' shows how far it is). The old state is kept in "
			"'%s'",
			own, name, r->aside));
	core_fence(c, core_text(c, "resync: the state of %s takes the place of the own one", name));
}

bool core_resync_reply(struct core *c, unsigned peer, const struct msg_forward_reply *m)
{
	struct core_resync *r = &c->resync;

	if (r->stage != RESYNC_ASKED || r->peer != peer || r->nonce != m->nonce)
		return false;
	if (m->code)
		resync_end(c, m->code,
			core_text(c, "%s refuses, nothing was changed here: %.*s",
				core_domain(c, peer), (int)sizeof(m->text) - 1, m->text));
	else
		give_up(c);
	return true;
}

void core_resync_lost(struct core *c, unsigned peer)
{
	struct core_resync *r = &c->resync;

	if (r->stage == RESYNC_NONE || r->peer != peer)
		return;
	resync_end(c, -ECONNRESET,
		core_text(c,
			"the connection to %s broke, nothing was given up here: type it again when "
			"'tandemctl status' shows it connected",
			core_domain(c, peer)));
}

/* --- at the side that is kept --- */

void core_resync_accept(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	unsigned peer = o->peer;

	if (!c->peers[peer].fork || strcmp(op->domain, core_domain(c, peer))) {
		core_answer(c, o, -EINVAL, "it is no fork here: look at 'tandemctl status'");
		return;
	}
	if (core_busy(c, o))
		return;
	if (c->role != CORE_ACTIVE) {
		core_answer(c, o, -EAGAIN,
			"it does not serve: 'tandemctl status' there says what it waits for");
		return;
	}
	if (core_in_sync(c, peer) || core_inactive(c, peer)) {
		core_plan_begin(c, false);
		record_set_inactive(c->next, op->domain, false);
		c->next->replicas[peer].in_sync = false;
		core_plan_adopt(c, 0);
	}
	core_answer(c, o, CORE_ANSWER_OK, "it may begin again");
}
