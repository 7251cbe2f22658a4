/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is durable where, and what follows: the commit index (I1), acknowledgements, the in-sync
 * set's growth and the one way it shrinks without a person, heartbeats and silence.
 *
 * The commit index of the active is the lowest of its own durable seq and those of all replicas in
 * its record's in-sync set, and only moves up. A standby takes over what the active announces, as far
 * as it is durable here.
 *
 * Growing: a peer that has caught up is waited for first (joining), then the others in the set agree, then the
 * record is written with it, then the peer is told. So no commit after the record's write lacks the peer, and none
 * before it that the peer had not acknowledged. The others are asked because one of them may have been promoted
 * meanwhile; from then on commits wait for the peer even if it goes away (offered), until it is in the record, or all
 * others are known to hold one without it.
 */
#include "core_impl.h"

#include <stdio.h>

void core_commit_move(struct core *c)
{
	uint64_t commit = c->durable;

	if (core_serving(c)) {
		for_each_peer (c, i) {
			if (core_waits_for(c, i))
				commit = MIN(commit, c->peers[i].acked);
		}
	} else {
		int active = core_active(c);

		if (active < 0 || active == (int)c->self || !c->peers[active].following)
			return;
		commit = MIN(commit, c->peers[active].announced);
	}
	if (commit <= c->commit)
		return;
	c->commit = commit;
	core_act(c, ACT_COMMIT)->seq = commit;
}

void core_announced(struct core *c, unsigned peer, uint64_t commit)
{
	struct core_peer *p = &c->peers[peer];

	if (!p->following || !core_is_active(c, peer) || core_inactive(c, c->self))
		return;
	if (commit > p->announced)
		p->announced = commit;
	core_commit_move(c);
}

/* To the active, when our history is known to be a part of its, or it of ours. */
void core_send_ack(struct core *c)
{
	int active = core_active(c);
	struct msg *m;

	if (active < 0 || active == (int)c->self || core_inactive(c, c->self))
		return;
	if (!c->peers[active].up || !c->peers[active].following)
		return;
	m = core_send(c, (unsigned)active, MSG_ACK);
	m->ack = (struct msg_ack){.durable = c->durable,
		.applied = c->applied,
		.flushed = c->flushed.seq,
		.grant = c->grant};
}

void core_on_durable(struct core *c, uint64_t seq)
{
	/* A report may be older than a truncation. */
	seq = MIN(seq, c->end.seq);
	if (seq > c->durable)
		c->durable = seq;
	core_send_ack(c);
	core_commit_move(c);
}

void core_on_ack(struct core *c, unsigned peer, const struct msg *m)
{
	struct core_peer *p = &c->peers[peer];

	p->applied = m->ack.applied;
	p->flushed_seq = m->ack.flushed;
	p->grant = m->ack.grant;
	if (p->relation != RELATION_BEHIND && p->relation != RELATION_AHEAD)
		return;
	if (m->ack.durable > p->acked)
		p->acked = m->ack.durable;
	if (p->relation == RELATION_BEHIND && p->acked >= c->before.seq)
		p->beyond = false; /* an earlier stream got it across */
}

/* A peer that was told of a ring that still reached it waits for a stream that cannot come any more:
 * only a HELLO with the ring's beginning of now makes it pull. */
void core_tell_beyond(struct core *c)
{
	if (!core_serving(c))
		return;
	for_each_peer (c, i) {
		struct core_peer *p = &c->peers[i];
		uint64_t has = MAX(p->acked, p->fork_point.seq);

		if (p->up && p->hello && p->beyond && p->relation == RELATION_BEHIND &&
			p->told_before <= has && has < c->before.seq)
			core_send_hello(c, i);
	}
}

void core_on_status(struct core *c, const struct core_event *ev)
{
	c->applied = ev->status.applied;
	c->grant = ev->status.grant;
	if (ev->status.flushed.seq > c->flushed.seq)
		c->flushed = ev->status.flushed;
	/* Without its chain a position is of no use: the old one says less, but nothing wrong. */
	if (ev->status.floor > c->first_seq && ev->status.before.seq + 1 == ev->status.floor) {
		c->first_seq = ev->status.floor;
		c->before = ev->status.before;
	}
	core_send_ack(c);
}

/* --- the set --- */

/* Everybody in the set but `peer` can be asked. */
static bool others_are_there(const struct core *c, unsigned peer)
{
	unsigned others = core_set(c) & ~(1u << peer);

	return core_reached_bits(c, others) == others;
}

static void change_set(struct core *c, unsigned peer, bool in_sync, unsigned restart)
{
	unsigned others = core_set(c) & ~(1u << peer);

	core_plan_begin(c, false);
	c->next->replicas[peer].in_sync = in_sync;
	if (!others) {
		core_plan_adopt(c, restart);
		return;
	}
	c->plan.restart = restart;
	c->peers[peer].offered |= in_sync;
	core_plan_propose(c, PLAN_SET, others);
}

static void withdraw_offers(struct core *c)
{
	for_each_peer (c, i) {
		if (core_in_sync(c, i) || others_are_there(c, i))
			c->peers[i].offered = false;
	}
}

/* A peer of the set that lacks what it acknowledged is outdated, in the record first (I3). */
static bool outdate(struct core *c)
{
	for_each_peer (c, i) {
		const struct core_peer *p = &c->peers[i];

		if (!core_in_sync(c, i) || !p->up ||
			!(core_blank(c, i) ? core_serving(c) : core_same(c, i) && p->lost) ||
			!others_are_there(c, i))
			continue;
		change_set(c, i, false, 1u << i);
		return true;
	}
	return false;
}

static bool may_join(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];

	return core_same(c, peer) && p->live && !p->beyond && !core_in_sync(c, peer) &&
	       !core_inactive(c, peer) && core_grants_enough(c, peer);
}

void core_grow(struct core *c)
{
	if (c->plan.kind != PLAN_NONE || c->record_changed) {
		c->again |= c->record_changed;
		return;
	}
	withdraw_offers(c);
	if (outdate(c))
		return;
	if (c->role != CORE_ACTIVE)
		return;
	for_each_peer (c, i) {
		struct core_peer *p = &c->peers[i];

		if (!may_join(c, i)) {
			p->joining = false;
			continue;
		}
		if (p->acked >= p->live_end)
			p->joining = true;
		if (!p->joining || p->acked < c->commit || !others_are_there(c, i))
			continue;
		change_set(c, i, true, 0);
		p->joining = false;
		return;
	}
}

/* --- heartbeats --- */

void core_on_heartbeat(struct core *c, unsigned peer, const struct msg *m)
{
	struct core_peer *p = &c->peers[peer];
	const struct msg_heartbeat *h = &m->heartbeat;

	p->their_sent_ns = h->sent_ns;
	p->their_sent_at_ns = c->now;
	if (h->echo_ns && h->echo_ns <= c->now)
		p->rtt_ns = MAX(c->now - h->echo_ns, 1u);
	/* A clock that is being set right may make it a little later than now. */
	if (h->echo_ns && h->echo_ns <= c->now + c->cfg.heartbeat_ns)
		p->alive_ns = MAX(p->alive_ns, MIN(h->echo_ns, c->now));
	if (epoch_equal(m->epoch, c->rec->epoch))
		core_announced(c, peer, h->commit);
}

static void beat(struct core *c, unsigned peer)
{
	struct core_peer *p = &c->peers[peer];
	struct msg *m = core_send(c, peer, MSG_HEARTBEAT);

	p->beat_ns = c->now;
	m->heartbeat =
		(struct msg_heartbeat){.commit = c->commit, .end = c->end.seq, .sent_ns = c->now};
	if (p->their_sent_ns)
		m->heartbeat.echo_ns = p->their_sent_ns + (c->now - p->their_sent_at_ns);
}

/* Beats, closes what is silent, and says when to look again. */
void core_heartbeats(struct core *c)
{
	uint64_t next = core_demote_wake_ns(c);

	for_each_peer (c, i) {
		struct core_peer *p = &c->peers[i];

		if (!p->up)
			continue;
		if (c->now - p->beat_ns >= c->cfg.heartbeat_ns) {
			if (c->now - p->heard_ns >= c->cfg.peer_timeout_ns) {
				core_close(c, i,
					core_text(c, "%s has been silent for %llu ms",
						core_domain(c, i),
						(unsigned long long)((c->now - p->heard_ns) /
								     1000000)));
				c->again = true;
				continue;
			}
			p->fetch_wait = 0;
			beat(c, i);
		}
		next = MIN(next, p->beat_ns + c->cfg.heartbeat_ns);
	}
	if (c->again)
		next = c->now;
	if (next == UINT64_MAX || (c->wake_at && c->wake_at == next))
		return;
	c->wake_at = next;
	core_act(c, ACT_WAKE)->at_ns = next;
}
