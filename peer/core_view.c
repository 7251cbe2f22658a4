/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the machine shows: the getters of core.h, and for each peer a state and a sentence that says
 * why it is in it and what a person can do. Reads only.
 */
#include "core_impl.h"

#include <stdio.h>
#include <string.h>

const struct record *core_record(const struct core *c)
{
	return c->rec;
}

enum core_role core_role(const struct core *c)
{
	return c->role;
}

unsigned core_self(const struct core *c)
{
	return c->self;
}

struct epoch core_epoch(const struct core *c)
{
	return c->rec->epoch;
}

uint64_t core_commit(const struct core *c)
{
	return c->commit;
}

struct pos core_end(const struct core *c)
{
	return c->end;
}

uint64_t core_durable(const struct core *c)
{
	return c->durable;
}

const char *core_role_name(enum core_role r)
{
	switch (r) {
	case CORE_STANDBY:
		return "standby";
	case CORE_CONFIRMING:
		return "confirming";
	case CORE_STARTING:
		return "starting";
	case CORE_ACTIVE:
		return "active";
	case CORE_DRAINING:
		return "draining";
	case CORE_FENCED:
		return "fenced";
	}
	return "?";
}

const char *core_peer_state_name(enum core_peer_state s)
{
	switch (s) {
	case CORE_PEER_DOWN:
		return "down";
	case CORE_PEER_HELLO:
		return "handshake";
	case CORE_PEER_FORK:
		return "fork";
	case CORE_PEER_INACTIVE:
		return "inactive";
	case CORE_PEER_BEYOND:
		return "pulling";
	case CORE_PEER_CATCHING_UP:
		return "catching-up";
	case CORE_PEER_IN_SYNC:
		return "in-sync";
	case CORE_PEER_FOLLOWED:
		return "followed";
	case CORE_PEER_IDLE:
		return "idle";
	}
	return "?";
}

static enum core_peer_state state_of(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];

	if (!p->up)
		return CORE_PEER_DOWN;
	if (!p->hello)
		return CORE_PEER_HELLO;
	if (p->fork)
		return CORE_PEER_FORK;
	if (core_inactive(c, peer) || (core_is_active(c, peer) && core_inactive(c, c->self)))
		return CORE_PEER_INACTIVE;
	if (p->beyond || core_blank(c, peer))
		return CORE_PEER_BEYOND;
	if (core_is_active(c, peer))
		return p->following ? CORE_PEER_FOLLOWED : CORE_PEER_HELLO;
	if (!core_is_active(c, c->self))
		return core_same(c, peer) ? CORE_PEER_IDLE : CORE_PEER_HELLO;
	if (p->relation == RELATION_UNKNOWN)
		return CORE_PEER_HELLO;
	if (core_in_sync(c, peer) && p->live && p->acked >= c->commit)
		return CORE_PEER_IN_SYNC;
	return CORE_PEER_CATCHING_UP;
}

/* A member of the set that lacks what it should have, and how to go on. */
static void text_lost(const struct core *c, unsigned peer, char *t)
{
	const char *name = core_domain(c, peer);
	const char *lost = core_blank(c, peer)
				   ? "has lost what it had"
				   : "lacks what the journal here does not reach back to";
	int n = snprintf(
		t, CORE_TEXT_MAX, "%s is in the in-sync set and %s (a replaced disk?)", name, lost);

	if (core_is_active(c, c->self) && !core_serving(c))
		snprintf(t + n, CORE_TEXT_MAX - (size_t)n,
			": to serve without it, and then bring it back, 'tandemctl deactivate "
			"clusterdomain %s', then 'activate'",
			name);
	else if (core_active(c) < 0)
		snprintf(t + n, CORE_TEXT_MAX - (size_t)n,
			": to serve without it, 'tandemctl promote %s --yes'", c->cfg.volume_name);
	else if (core_is_active(c, peer))
		snprintf(t + n, CORE_TEXT_MAX - (size_t)n,
			": to take over here, 'tandemctl deactivate clusterdomain %s'", name);
}

/* A member of the set that lacks an entry that our journal cannot give it any more. What it lacks is not committed, so
 * nothing is lost either way; but only a person may have the set go on without it. */
static void text_unreadable(const struct core *c, unsigned peer, char *t)
{
	const char *in = core_domain(c, core_is_active(c, c->self) ? peer : c->self);

	snprintf(t, CORE_TEXT_MAX,
		"%s is in the in-sync set and lacks what is after seq %llu, which the journal of "
		"%s cannot give it any more (a batch of it is damaged): writes wait. 'tandemctl "
		"deactivate clusterdomain %s', then 'activate': it comes back by pulling",
		in, (unsigned long long)c->peers[peer].fork_point.seq,
		core_domain(c, core_is_active(c, c->self) ? c->self : peer), in);
}

static void text_of(const struct core *c, unsigned peer, enum core_peer_state state, char *t)
{
	const struct core_peer *p = &c->peers[peer];
	const char *name = core_domain(c, peer), *own = core_domain(c, c->self);
	const char *volume = c->cfg.volume_name;

	switch (state) {
	case CORE_PEER_DOWN:
		if (p->stopped)
			snprintf(t, CORE_TEXT_MAX, "%s was stopped in order%s", name,
				core_serving(c) && core_in_sync(c, peer) ? "; writes wait for it"
									 : "");
		else if (core_serving(c) && core_in_sync(c, peer))
			snprintf(t, CORE_TEXT_MAX,
				"not connected; writes wait for %s. If it is lost: 'tandemctl "
				"deactivate "
				"clusterdomain %s'",
				name, name);
		else if (c->role == CORE_CONFIRMING && core_in_sync(c, peer))
			snprintf(t, CORE_TEXT_MAX,
				"not connected; %s serves when %s confirms it, or at 'tandemctl "
				"promote %s'",
				own, name, volume);
		else
			snprintf(t, CORE_TEXT_MAX, "not connected");
		break;
	case CORE_PEER_FORK:
		snprintf(t, CORE_TEXT_MAX,
			"fork: %s (record version %llu) and %s (record version %llu) were changed "
			"without each other, and both may have written. Nothing is replicated and "
			"nothing is dropped. Decide which side is to be kept. To keep %s, type "
			"here "
			"'tandemctl resync %s --from %s --preview', which lists what %s would give "
			"up, then the same without '--preview': the state of %s is kept aside, and "
			"it catches up. To keep %s, type at %s 'tandemctl resync %s --from %s "
			"--preview', then without '--preview'",
			own, (unsigned long long)c->rec->version.number, name,
			(unsigned long long)p->version.number, name, volume, name, own, own, own,
			name, volume, own);
		break;
	case CORE_PEER_INACTIVE:
		snprintf(t, CORE_TEXT_MAX,
			"%s is inactive: 'tandemctl activate clusterdomain %s' brings it back",
			core_inactive(c, peer) ? name : own, core_inactive(c, peer) ? name : own);
		break;
	case CORE_PEER_BEYOND:
		if (core_blank(c, peer) || (core_is_active(c, c->self) && !core_serving(c))) {
			text_lost(c, peer, t);
			break;
		}
		if (core_is_active(c, c->self) ? core_in_sync(c, peer) && !p->lost
					       : core_is_active(c, peer) && p->serving &&
							 core_in_sync(c, c->self)) {
			text_unreadable(c, peer, t);
			break;
		}
		snprintf(t, CORE_TEXT_MAX,
			"catching up by pulling: the histories have seq %llu in common, and the "
			"journal does not lead from there to the present%s",
			(unsigned long long)p->fork_point.seq,
			core_is_active(c, peer) && !p->serving ? "; waits for the active side to "
								 "serve"
							       : "");
		break;
	case CORE_PEER_CATCHING_UP:
		if (core_serving(c) && p->live && !core_grants_enough(c, peer))
			snprintf(t, CORE_TEXT_MAX,
				"level, but its disk has not got the room for what is written%s",
				p->space.data_full ? ": it is full" : " yet");
		else
			snprintf(t, CORE_TEXT_MAX, "seq %llu of %llu", (unsigned long long)p->acked,
				(unsigned long long)c->end.seq);
		break;
	default:
		break;
	}
}

void core_peer_view(const struct core *c, unsigned peer, struct core_peer_view *ret_v)
{
	const struct core_peer *p = &c->peers[peer];

	memset(ret_v, 0, offsetof(struct core_peer_view, text));
	ret_v->text[0] = 0;
	if (peer >= c->rec->nreplicas || peer == c->self)
		return;
	ret_v->state = state_of(c, peer);
	ret_v->connected = p->up;
	ret_v->acked = p->acked;
	ret_v->applied = p->applied;
	ret_v->flushed = p->flushed_seq;
	ret_v->last_heard_ns = p->heard_ns;
	ret_v->last_alive_ns = p->alive_ns;
	ret_v->rtt_ns = p->up ? p->rtt_ns : 0;
	ret_v->grant = p->grant;
	ret_v->level = p->level;
	ret_v->grants = epoch_equal(p->space_epoch, c->rec->epoch);
	if (ret_v->grants)
		ret_v->space = p->space;
	ret_v->common = ret_v->state == CORE_PEER_FORK ? p->fork_point.seq : 0;
	text_of(c, peer, ret_v->state, ret_v->text);
}

bool core_giving_up(const struct core *c)
{
	return c->resync.stage != RESYNC_NONE;
}

const struct record *core_rival(const struct core *c, unsigned peer)
{
	return &c->rivals[peer];
}

uint64_t core_wanted_floor(const struct core *c)
{
	uint64_t floor = c->end.seq;

	for_each_peer (c, i) {
		const struct core_peer *p = &c->peers[i];
		uint64_t known = p->acked;

		if (p->relation == RELATION_BEHIND || p->relation == RELATION_AHEAD)
			known = MAX(
				known, MAX(p->flushed.seq, p->commit)); /* its end it may lose */
		if (p->relation == RELATION_AHEAD)
			known = MIN(known, p->fork_point.seq);
		if (core_in_sync(c, i)) /* it has what is committed */
			known = MAX(known, c->commit);
		floor = MIN(floor, known);
	}
	return floor + 1;
}

int core_pull_from(const struct core *c)
{
	int active = core_active(c);
	const struct core_peer *p;

	if (c->role != CORE_STANDBY || c->plan.kind != PLAN_NONE || active < 0 ||
		active == (int)c->self || core_inactive(c, c->self) || core_in_sync(c, c->self))
		return -1;
	p = &c->peers[active];
	return core_same(c, (unsigned)active) && p->serving && p->beyond ? active : -1;
}

const char *core_trouble(const struct core *c)
{
	int active = core_active(c);

	if (c->role == CORE_FENCED)
		return "fenced: a newer record names another active replica or epoch";
	if (c->facts.bad_starts >= 3)
		return "suspect: the last starts ended with an I/O error; check the disk";
	for_each_peer (c, i) {
		if (c->peers[i].fork)
			return "fork: both sides were changed without each other; a person must "
			       "choose a side: 'tandemctl resync'";
	}
	if (core_inactive(c, c->self))
		return "this domain is inactive: 'tandemctl activate clusterdomain' brings it back";
	if (c->facts.met)
		return "empty, and counted on by the others (a replaced disk): waits until the "
		       "active side has left it out, and catches up then";
	if (active == (int)c->self && c->facts.demoted)
		return "demoted by force: waits for 'tandemctl promote'";
	if (c->role == CORE_CONFIRMING)
		return "not confirmed since the start: waits for the other in-sync replicas, or "
		       "for "
		       "'tandemctl promote'";
	if (active < 0)
		return "no replica is active: 'tandemctl promote' on the side that shall be";
	if (!core_in_sync(c, c->self))
		return "outdated: not in the in-sync set, catching up";
	return "";
}
