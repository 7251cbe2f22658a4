/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replication machine: where events come in, and what the other core_*.c files share.
 *
 *   core_handshake.c  HELLO, records of others, adopting them, dropping a tail
 *   core_log.c        the own history, and what two histories have in common
 *   core_append.c     batches, and streams that bring a peer to the end
 *   core_ack.c        acknowledgements, the commit index, growing the set, heartbeats
 *   core_role.c       from CONFIRMING to ACTIVE
 *   core_plan.c       changes of the record that others must accept first
 *   core_operator.c   what people type
 *   core_resync.c     the end of a fork: one side gives up its state
 *   core_level.c      raising the record's format level
 *   core_space.c      grants of room
 *   core_view.c       what status shows
 *
 * Failure modes, and what holds them:
 *
 * - The active dies between shipping a batch and its own flush: the standby's history is longer. At
 *   the next start nothing new is written before the record's active has fetched the longest tail
 *   that an in-sync replica has, and everybody in the set has all of it durably.
 * - The standby dies with batches in flight: it comes back shorter and gets them again. A batch that
 *   it has already is acknowledged once more.
 * - The link is cut: neither record changes, writes wait. One-directional silence is a cut too:
 *   heartbeats go both ways, silence closes the connection.
 * - An operator promotes the standby behind the cut. The new record is durable there before its tail
 *   is counted, and from then on batches of the old epoch are refused before anything of them is
 *   written. The old active cannot commit, the standby being in the set of its record. When it meets
 *   the newer record it adopts it and is fenced; after its restart it drops the tail that the other
 *   side lacks, which was never acknowledged; before it has adopted the record it drops nothing.
 * - A site boots behind a cut link, with a record that names it active: it serves only when all other
 *   replicas of the set stand connected with the same record; or, alone in the set, when any other
 *   replica's record proved equal or older; or at a person's word.
 * - The active dies while it proposes a record (a new epoch, active = none, a set without a leaver):
 *   who has accepted holds a newer record than the proposer, which adopts it at the next handshake
 *   and goes on from there. A proposal is noted in the facts before it is sent, and counts as an
 *   ancestor of the proposer's next record: so if a person drops the unreachable acceptor instead,
 *   what the acceptor holds is older, not a fork. Of three, one may accept it while another is promoted: who is
 *   asked promises then, and does not adopt it before all have (core_plan.c).
 * - A replica dies between writing a record and acting on it: the set shrinks first at the leaver and
 *   grows first at the active, a new epoch is durable before the first batch, so what is left is too
 *   careful, never too bold.
 * - Both sides of a cut were changed by persons: neither record follows the other, a fork. Nothing is
 *   adopted, nothing dropped, nothing streamed; both sides say so, until a person types resync at the
 *   side that shall give up.
 * - A peer presents less than what it once acknowledged (a new disk, an old image): it leaves the set
 *   in the record first, and then catches up like any other.
 * - A disk is replaced while nobody serves, so that nobody leaves that replica out: it does not take the record that
 *   counts on it (core_handshake.c), so it neither takes over nor confirms anybody. Its own record, the first one, is
 *   no fork with any (record.c).
 * - The set grows or shrinks while another one of it, cut off, is promoted: the others in the set agree to each change
 *   of it first (core_ack.c), so one of the two does not happen.
 * - A tail would have to be dropped below what is committed or flushed here, or the ring does not
 *   reach back, or a batch of it cannot be read any more: nothing is dropped, the peer is beyond the ring. The driver of the one that lags
 *   then pulls (core_pull_from()), outside of the set and so not to be promoted, and starts again from
 *   what it pulled.
 * - Frames of an older connection, events of an older connection, answers to an older question: a
 *   connection's number, a nonce and order on the connection tell; in doubt the connection is
 *   closed, because a handshake is cheap and starts from what is durable.
 */
#include "core_impl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- actions --- */

struct core_action *core_act(struct core *c, enum core_action_type type)
{
	struct core_action *a;

	ensure(c->out->count < CORE_ACTIONS_MAX);
	a = &c->out->a[c->out->count++];
	memset(a, 0, sizeof(*a));
	a->type = type;
	return a;
}

const char *core_text(struct core *c, const char *fmt, ...)
{
	char *p = c->text + c->text_used;
	size_t room = sizeof(c->text) - c->text_used;
	va_list ap;
	int n;

	ensure(room >= 2);
	va_start(ap, fmt);
	n = vsnprintf(p, MIN(room, (size_t)CORE_TEXT_MAX), fmt, ap);
	va_end(ap);
	ensure(n >= 0);
	c->text_used += MIN((size_t)n, MIN(room, (size_t)CORE_TEXT_MAX) - 1) + 1;
	return p;
}

uint64_t core_chance(struct core *c)
{
	uint64_t z = c->chance += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	z ^= z >> 31;
	return z ? z : 1;
}

struct msg *core_send(struct core *c, unsigned peer, enum msg_type type)
{
	struct core_action *a = core_act(c, ACT_SEND);
	struct msg *m;

	ensure(c->nmsgs < STEP_MSGS_MAX);
	m = &c->msgs[c->nmsgs++];
	m->type = type;
	m->epoch = c->rec->epoch;
	a->peer = peer;
	a->conn = c->peers[peer].conn;
	a->msg = m;
	return m;
}

void core_close(struct core *c, unsigned peer, const char *text)
{
	struct core_action *a;

	if (!c->peers[peer].up)
		return;
	a = core_act(c, ACT_CLOSE);
	a->peer = peer;
	a->conn = c->peers[peer].conn;
	a->text = text;
	core_peer_down(c, peer);
}

void core_answer(struct core *c, struct core_origin *o, int code, const char *text)
{
	struct core_action *a;
	struct msg *m;

	if (o->kind == ORIGIN_LOCAL) {
		a = core_act(c, ACT_ANSWER);
		a->id = o->id;
		a->code = code;
		a->text = text;
	} else if (o->kind == ORIGIN_REMOTE && c->peers[o->peer].up &&
		   c->peers[o->peer].conn == o->conn) {
		m = core_send(c, o->peer, MSG_FORWARD_REPLY);
		m->forward_reply.nonce = o->id;
		m->forward_reply.code = code;
		snprintf(m->forward_reply.text, sizeof(m->forward_reply.text), "%s", text);
	}
	o->kind = ORIGIN_NONE;
}

void core_fence(struct core *c, const char *text)
{
	c->role = CORE_FENCED;
	c->fence = text;
}

/* --- small questions --- */

bool core_serving(const struct core *c)
{
	return c->role == CORE_ACTIVE || c->role == CORE_DRAINING;
}

int core_active(const struct core *c)
{
	return uuid_is_zero(&c->rec->active) ? -1 : record_find(c->rec, &c->rec->active);
}

bool core_is_active(const struct core *c, unsigned replica)
{
	return uuid_equal(&c->rec->active, &c->rec->replicas[replica].uuid);
}

bool core_inactive(const struct core *c, unsigned replica)
{
	return c->rec->ninactive && record_domain_inactive(c->rec, core_domain(c, replica));
}

bool core_in_sync(const struct core *c, unsigned replica)
{
	return c->rec->replicas[replica].in_sync;
}

bool core_waits_for(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];

	return core_in_sync(c, peer) || p->joining || p->offered;
}

bool core_answers(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];

	return p->up && !p->fork && !core_blank(c, peer);
}

bool core_blank(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];

	if (!p->up || !p->hello || !p->out || !core_in_sync(c, peer) || core_same(c, peer))
		return false;
	return p->epoch < c->rec->epoch.num ||
	       (core_is_active(c, c->self) && MAX(p->acked, p->end.seq) < c->commit);
}

bool core_same(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];

	return p->up && p->hello &&
	       (version_equal(&p->version, &c->rec->version) || core_plan_is(c, &p->version));
}

const char *core_domain(const struct core *c, unsigned replica)
{
	return c->rec->replicas[replica].domain;
}

/* --- connections --- */

void core_peer_down(struct core *c, unsigned peer)
{
	struct core_peer *p = &c->peers[peer];

	p->up = p->hello = p->fork = p->serving = false;
	core_relation_forget(c, peer);
	p->beyond = p->lost = p->fetching = p->refetch = p->live = p->joining = false;
	p->asked = p->lending = p->following = false;
	p->fetch_wait = 0;
	core_plan_lost(c, peer);
	core_forwards_lost(c, peer);
	core_resync_lost(c, peer);
}

static void peer_up(struct core *c, unsigned peer, uint64_t conn)
{
	struct core_peer *p = &c->peers[peer];

	if (p->up)
		core_peer_down(c, peer);
	p->up = true;
	p->conn = conn;
	p->stopped = false;
	p->heard_ns = p->beat_ns = c->now;
	p->their_sent_ns = p->rtt_ns = 0;
	core_send_hello(c, peer);
}

void core_heard(struct core *c, unsigned peer, uint64_t now_ns)
{
	c->peers[peer].heard_ns = MAX(c->peers[peer].heard_ns, now_ns);
}

static void on_msg(struct core *c, unsigned peer, const struct msg *m)
{
	struct core_peer *p = &c->peers[peer];

	p->heard_ns = c->now;
	if (!p->hello &&
		(m->type == MSG_APPEND || m->type == MSG_RECORD || m->type == MSG_FETCH ||
			m->type == MSG_ACK || m->type == MSG_FORWARD || m->type == MSG_SPACE)) {
		core_close(c, peer, "a frame before the handshake");
		return;
	}
	switch (m->type) {
	case MSG_HELLO:
		core_on_hello(c, peer, m);
		break;
	case MSG_RECORD:
		core_on_record(c, peer, m);
		break;
	case MSG_RECORD_ACK:
		core_on_record_ack(c, peer, m);
		break;
	case MSG_FETCH:
		core_on_fetch(c, peer, m);
		break;
	case MSG_APPEND:
		core_on_append(c, peer, m);
		break;
	case MSG_ACK:
		core_on_ack(c, peer, m);
		break;
	case MSG_HEARTBEAT:
		core_on_heartbeat(c, peer, m);
		break;
	case MSG_SPACE:
		core_on_space_msg(c, peer, m);
		break;
	case MSG_REFUSED:
		core_close(c, peer,
			core_text(c, "%s refused: %.*s", core_domain(c, peer),
				(int)sizeof(m->refused.text) - 1, m->refused.text));
		break;
	case MSG_STOPPED:
		p->stopped = true;
		break;
	case MSG_FORWARD:
		core_on_forward(c, peer, m);
		break;
	case MSG_FORWARD_REPLY:
		core_on_forward_reply(c, peer, m);
		break;
	default:
		break; /* the driver's business */
	}
}

static void on_stop(struct core *c)
{
	for_each_peer (c, i) {
		if (c->peers[i].up)
			core_send(c, i, MSG_STOPPED);
	}
	core_act(c, ACT_EXIT);
}

/* --- the step --- */

/* What follows from everything that is known now. */
static void evaluate(struct core *c)
{
	core_plan_settle(c);
	if (c->role == CORE_FENCED)
		return;
	core_roles(c);
	core_plan_settle(c); /* nobody to ask */
	core_roles(c);
	if (core_serving(c)) {
		core_commit_move(c);
		core_grow(c);
		core_demote_go_on(c);
	}
	core_tell_beyond(c);
	core_tell_space(c);
	core_stream(c);
	core_heartbeats(c);
}

static void deliver(struct core *c, const struct core_event *ev)
{
	switch (ev->type) {
	case EV_TICK:
		c->wake_at = 0;
		break;
	case EV_PEER_UP:
		peer_up(c, ev->peer, ev->conn);
		break;
	case EV_PEER_DOWN:
		core_peer_down(c, ev->peer);
		break;
	case EV_MSG:
		on_msg(c, ev->peer, ev->msg);
		break;
	case EV_BATCH:
		core_on_batch(c, &ev->batch);
		break;
	case EV_DURABLE:
		core_on_durable(c, ev->seq);
		break;
	case EV_FETCHED:
		core_on_fetched(c, ev);
		break;
	case EV_STATUS:
		core_on_status(c, ev);
		break;
	case EV_SPACE:
		core_on_space(c, ev);
		break;
	case EV_DRAINED:
		core_on_drained(c);
		break;
	case EV_OPERATOR:
		core_on_operator(
			c, &ev->op, (struct core_origin){.kind = ORIGIN_LOCAL, .id = ev->op.id});
		break;
	case EV_BUILT:
		core_on_built(c, ev);
		break;
	case EV_STOP:
		on_stop(c);
		break;
	}
}

/* An event of a connection that is gone, or of one that never was. */
static bool stale(const struct core *c, const struct core_event *ev)
{
	const struct core_peer *p;

	switch (ev->type) {
	case EV_PEER_UP:
	case EV_PEER_DOWN:
	case EV_MSG:
	case EV_FETCHED:
		break;
	default:
		return false;
	}
	ensure(ev->peer < c->rec->nreplicas && ev->peer != c->self);
	p = &c->peers[ev->peer];
	return ev->type != EV_PEER_UP && (!p->up || p->conn != ev->conn);
}

void core_step(struct core *c, const struct core_event *ev, struct core_actions *out)
{
	out->count = 0;
	if (c->role == CORE_FENCED || stale(c, ev))
		return;
	c->out = out;
	c->ev = ev;
	c->chance = ev->chance;
	c->now = ev->now_ns;
	c->nmsgs = 0;
	c->text_used = 0;
	c->record_changed = c->again = false;
	c->fence = NULL;
	deliver(c, ev);
	if (c->role != CORE_FENCED)
		evaluate(c);
	if (c->fence)
		core_act(c, ACT_FENCE)->text = c->fence;
	c->out = NULL;
	c->ev = NULL;
}

/* --- birth and death --- */

int core_new(const struct core_config *cfg, const struct record *record,
	const struct replica_facts *facts, const struct core_log *log, uint64_t now_ns,
	struct core **ret_core)
{
	int self = record_find(record, &cfg->self);
	struct core *c;

	if (self < 0 || record->format_level > RECORD_FORMAT_LEVEL)
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->rivals = calloc(record->nreplicas, sizeof(*c->rivals));
	if (!c->rivals) {
		free(c);
		return -ENOMEM;
	}
	c->cfg = *cfg;
	if (!c->cfg.format_level_max)
		c->cfg.format_level_max = RECORD_FORMAT_LEVEL;
	c->rec = &c->memory[0];
	c->next = &c->memory[1];
	record_copy(c->rec, record);
	c->facts = *facts;
	if (!record_follows(record, &facts->base))
		c->facts.nproposed = 0;
	core_plan_remember(c);
	c->self = (unsigned)self;
	c->now = c->started_ns = now_ns;
	c->end = log->end;
	c->flushed = log->flushed;
	c->before = log->before;
	c->first_seq = log->first_seq;
	c->durable = log->end.seq;
	c->commit = MAX(log->flushed.seq, MIN(log->commit, log->end.seq));
	ensure(log->nspans <= CORE_SPANS_MAX);
	c->nspans = log->nspans;
	memcpy(c->spans, log->spans, log->nspans * sizeof(log->spans[0]));
	if (c->nspans)
		c->last_epoch = c->spans[0].epoch;
	c->role = core_is_active(c, c->self) ? CORE_CONFIRMING : CORE_STANDBY;
	*ret_core = c;
	return 0;
}

void core_free(struct core *c)
{
	if (c)
		free(c->rivals);
	free(c);
}
