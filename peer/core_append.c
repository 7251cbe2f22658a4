/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches: those that the active closes, those that a replica receives, and the streams that bring
 * a peer from where it is to the end.
 *
 * A stream begins with ACT_FETCH from the ring, one at a time; when a FETCH has reached the end the
 * peer is live and gets each batch at the moment it is closed. Everything goes over one connection,
 * in order, so what arrives continues what is there, or something is wrong and the connection is
 * closed: the handshake finds out what.
 *
 * Failure modes: a batch of an older epoch is refused before anything of it is written (I2); a gap, a
 * chain that does not fit, a batch that belongs to another epoch than what is here: closed. The same
 * batch twice is acknowledged again. The ring was recycled below what the peer needs: the peer is
 * beyond the ring and must pull (core_pull_from()).
 */
#include "core_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* The active closed a batch: to the live peers first, then into the own ring. */
void core_on_batch(struct core *c, const struct core_batch *b)
{
	struct core_action *a;

	ensure(core_serving(c));
	ensure(b->h.first_seq == c->end.seq + 1 && b->h.chain_before == c->end.chain);
	ensure(epoch_equal(b->h.epoch, c->rec->epoch));
	core_log_append(c, &b->h);
	for_each_peer (c, i) {
		struct core_peer *p = &c->peers[i];

		if (!p->up || !p->live)
			continue;
		a = core_act(c, ACT_SEND_BATCH);
		a->peer = i;
		a->conn = p->conn;
		p->sent = c->end.seq;
	}
	core_act(c, ACT_APPEND);
}

static void refuse(struct core *c, unsigned peer, const char *text)
{
	struct msg *m = core_send(c, peer, MSG_REFUSED);

	m->refused.code = -ESTALE;
	snprintf(m->refused.text, sizeof(m->refused.text), "%s", text);
	core_close(c, peer, text);
}

/* May this peer write here now? */
static bool welcome(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];

	if (core_is_active(c, c->self))
		return c->role == CORE_STARTING && p->asked && core_in_sync(c, peer);
	return core_is_active(c, peer) && p->following;
}

/* 1: append it; 0: had it; -1: the connection was closed. */
static int check_batch(struct core *c, unsigned peer, const struct batch_header *h)
{
	if (h->epoch.num > c->rec->epoch.num ||
		(h->epoch.num == c->rec->epoch.num && !epoch_equal(h->epoch, c->rec->epoch))) {
		core_close(c, peer,
			core_text(c, "a batch of epoch %u, which no record names", h->epoch.num));
		return -1;
	}
	if (batch_last_seq(h) <= c->end.seq && h->count) { /* the same epoch: the same batch */
		if (epoch_equal(core_log_epoch(c, batch_last_seq(h)), h->epoch))
			return 0;
		core_close(c, peer,
			core_text(c, "seq %llu is of another epoch here: the histories differ",
				(unsigned long long)batch_last_seq(h)));
		return -1;
	}
	if (h->first_seq <= c->end.seq && !h->count)
		return 0;
	if (h->first_seq != c->end.seq + 1 || h->chain_before != c->end.chain) {
		core_close(c, peer,
			core_text(c,
				"a batch at seq %llu does not continue the history, which ends at "
				"%llu",
				(unsigned long long)h->first_seq, (unsigned long long)c->end.seq));
		return -1;
	}
	if (h->epoch.num < c->last_epoch.num ||
		(h->epoch.num == c->last_epoch.num && !epoch_equal(h->epoch, c->last_epoch))) {
		core_close(c, peer,
			core_text(c, "a batch of epoch %u follows one of epoch %u", h->epoch.num,
				c->last_epoch.num));
		return -1;
	}
	return 1;
}

void core_on_append(struct core *c, unsigned peer, const struct msg *m)
{
	const struct batch_header *h = &m->append.h;
	int r;

	if (core_inactive(c, c->self))
		return; /* sent before the sender knew */
	if (m->epoch.num < c->rec->epoch.num ||
		(m->epoch.num == c->rec->epoch.num && m->epoch.id != c->rec->epoch.id)) {
		refuse(c, peer,
			core_text(c, "epoch %u is over, %s is in epoch %u", m->epoch.num,
				core_domain(c, c->self), c->rec->epoch.num));
		return;
	}
	if (m->epoch.num > c->rec->epoch.num) {
		core_close(
			c, peer, "a batch of a newer epoch: the handshake must tell of it first");
		return;
	}
	if (!welcome(c, peer)) {
		core_close(c, peer, "a batch from a replica that may not write here");
		return;
	}
	if (!uuid_equal(&h->volume, &c->rec->volume)) {
		core_close(c, peer, "a batch of another volume");
		return;
	}
	r = check_batch(c, peer, h);
	if (r < 0)
		return;
	if (r) {
		core_log_append(c, h);
		core_act(c, ACT_APPEND);
		for_each_peer (c, i) {
			c->peers[i].live = false; /* they have not got this one */
		}
	} else {
		core_send_ack(c);
	}
	if (core_is_active(c, peer))
		core_announced(c, peer, h->commit);
	if (c->peers[peer].asked && c->end.seq >= c->peers[peer].end.seq)
		c->peers[peer].asked = false;
}

/* --- streams --- */

static void fetch(struct core *c, unsigned peer)
{
	struct core_peer *p = &c->peers[peer];
	struct core_action *a = core_act(c, ACT_FETCH);

	a->peer = peer;
	a->conn = p->conn;
	a->seq = p->sent + 1;
	p->fetching = true;
	p->refetch = false;
}

void core_stream_reset(struct core *c, unsigned peer)
{
	struct core_peer *p = &c->peers[peer];

	p->live = p->joining = p->lending = false;
	p->refetch = p->fetching;
	p->fetch_wait = 0;
	p->sent = p->end.seq;
}

/* Somebody who starts as the active wants the tail that it lost. */
void core_on_fetch(struct core *c, unsigned peer, const struct msg *m)
{
	struct core_peer *p = &c->peers[peer];

	if (!core_is_active(c, peer) || !core_same(c, peer) || core_inactive(c, c->self) ||
		p->relation == RELATION_DIVERGED || m->fetch.after.seq > c->end.seq) {
		core_close(c, peer, "a request for history that this replica cannot answer");
		return;
	}
	p->sent = m->fetch.after.seq;
	p->live = false;
	p->lending = true;
	p->refetch = p->fetching;
}

void core_on_fetched(struct core *c, const struct core_event *ev)
{
	struct core_peer *p = &c->peers[ev->peer];
	bool stale = p->refetch;

	p->fetching = p->refetch = false;
	if (stale)
		return; /* core_stream() begins again */
	if (ev->code == -ESTALE) {
		p->beyond = true;
		if (!core_serving(
			    c)) /* else core_tell_beyond(), once the ring's beginning is known */
			core_send_hello(c, ev->peer);
		return;
	}
	if (ev->code && ev->code != -ENOENT) {
		core_close(c, ev->peer,
			ev->code == -EUCLEAN ? "data that it lacks is damaged on the active side, "
					       "whose log names "
					       "the file"
					     : "the journal could not be read");
		return;
	}
	if (!ev->code && ev->seq > p->sent)
		p->sent = MIN(ev->seq, c->end.seq);
	else
		p->fetch_wait = MAX(c->durable, 1u);
}

/* Nothing durable was there: look again when more is. */
static bool must_wait(struct core *c, struct core_peer *p)
{
	if (p->fetch_wait && c->durable <= p->fetch_wait && c->durable < c->end.seq)
		return true;
	p->fetch_wait = 0;
	return false;
}

/* May our history go to this peer now? */
static bool may_stream(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];

	if (!p->up || p->fetching || p->beyond || p->live || core_inactive(c, peer))
		return false;
	if (p->lending)
		return true;
	if (p->relation != RELATION_BEHIND)
		return false;
	return core_serving(c) || (c->role == CORE_STARTING && core_in_sync(c, peer));
}

void core_stream(struct core *c)
{
	for_each_peer (c, i) {
		struct core_peer *p = &c->peers[i];

		if (!may_stream(c, i))
			continue;
		/* what it acknowledged meanwhile may be gone from the ring already */
		if (!p->lending && p->acked > p->sent)
			p->sent = MIN(p->acked, c->end.seq);
		if (p->sent < c->end.seq) {
			if (!must_wait(c, p))
				fetch(c, i);
		} else if (p->lending) {
			p->lending = false;
		} else {
			p->live = true;
			p->live_end = c->end.seq;
		}
	}
}
