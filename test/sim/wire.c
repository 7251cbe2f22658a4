/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections between daemons. A connection keeps order in each direction; across connections
 * nothing is ordered. A cut holds up the frames of one direction (as TCP does) until it heals or a
 * side gives the connection up; then what is in flight is lost, or arrives before the end does. A side
 * that gives up is seen by the other one when the way is free, or never: that one's own time-out.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

static unsigned side_of(unsigned node, unsigned other)
{
	return node < other ? 0 : 1;
}

void frame_free(struct frame *f)
{
	free(f->record);
	batch_unref(f->batch);
	free(f);
}

static size_t msg_size(enum msg_type t)
{
	size_t head = offsetof(struct msg, hello);

	switch (t) {
	case MSG_APPEND:
		return head + sizeof(struct msg_append);
	case MSG_ACK:
		return head + sizeof(struct msg_ack);
	case MSG_HEARTBEAT:
		return head + sizeof(struct msg_heartbeat);
	default:
		return sizeof(struct msg);
	}
}

static struct record *record_dup(const struct record *r)
{
	struct record *d = malloc(
		offsetof(struct record, ancestors) + r->nancestors * sizeof(r->ancestors[0]));

	ensure(d);
	record_copy(d, r);
	return d;
}

static void put(struct world *w, struct frame *f)
{
	struct link *l = sim_link(w, f->from, f->to);
	struct link_side *s = &l->side[side_of(f->to, f->from)];
	uint64_t at = w->now + 20 * US + sim_below(w, w->delay_max);

	if (at <= s->last)
		at = s->last + 1;
	s->last = at;
	sim_at(w, at, (struct sim_event){.type = SIM_FRAME, .frame = f});
}

void wire_send(struct world *w, unsigned from, unsigned to, uint64_t conn, const struct msg *m,
	struct sim_batch *b)
{
	struct link *l = sim_link(w, from, to);
	struct frame *f;

	if (l->conn != conn || !l->side[side_of(from, to)].up)
		return;
	f = malloc(sizeof(*f));
	ensure(f);
	f->conn = conn;
	f->from = from;
	f->to = to;
	f->fin = false;
	f->record = NULL;
	f->batch = b;
	f->next = NULL;
	if (b)
		batch_ref(b);
	memcpy(&f->m, m, msg_size(m->type));
	if (m->type == MSG_HELLO)
		f->m.hello.record = f->record = record_dup(m->hello.record);
	if (m->type == MSG_RECORD)
		f->m.record.record = f->record = record_dup(m->record.record);
	put(w, f);
}

static void drop_stalled(struct link_side *s)
{
	while (s->stalled) {
		struct frame *f = s->stalled;

		s->stalled = f->next;
		frame_free(f);
	}
	s->stalled_tail = &s->stalled;
}

/* This side has given the connection up; the other one may hear of it. */
void wire_close(struct world *w, unsigned from, unsigned to)
{
	struct link *l = sim_link(w, from, to);
	struct link_side *own = &l->side[side_of(from, to)], *other = &l->side[side_of(to, from)];
	struct frame *f;

	if (!own->up)
		return;
	own->up = false;
	drop_stalled(own);
	if (other->up && !sim_chance(w, 10)) {
		f = calloc(1, sizeof(*f));
		ensure(f);
		f->conn = l->conn;
		f->from = from;
		f->to = to;
		f->fin = true;
		if (sim_chance(w, 2)) { /* a reset: overtakes what is in flight */
			other->last = w->now;
			drop_stalled(other);
		}
		put(w, f);
	}
	if (!l->dialling) {
		l->dialling = true;
		sim_at(w, w->now + MS + sim_below(w, 30 * MS),
			(struct sim_event){.type = SIM_DIAL, .node = from, .peer = to});
	}
}

static void side_down(struct world *w, unsigned node, unsigned peer)
{
	struct link *l = sim_link(w, node, peer);
	struct link_side *s = &l->side[side_of(node, peer)];
	struct core_event ev = {.type = EV_PEER_DOWN, .peer = peer, .conn = l->conn};

	if (!s->up)
		return;
	wire_close(w, node, peer);
	node_peer_gone(&w->node[node], peer);
	node_step(w, &w->node[node], &ev);
}

void wire_deliver(struct world *w, struct frame *f)
{
	struct link *l = sim_link(w, f->from, f->to);
	struct link_side *s = &l->side[side_of(f->to, f->from)];
	struct core_event ev = {.type = EV_MSG, .peer = f->from, .conn = f->conn, .msg = &f->m};
	struct node *n = &w->node[f->to];

	if (f->conn != l->conn || !s->up || !n->up) {
		/* the daemon may not have noticed yet that the connection is an old one */
		if (n->up && f->conn != l->conn && sim_chance(w, 2)) {
			n->current = f->batch;
			if (f->fin)
				ev.type = EV_PEER_DOWN;
			node_step(w, n, &ev);
			n->current = NULL;
		}
		frame_free(f);
		return;
	}
	if (l->cut[side_of(f->to, f->from)] || s->stalled) {
		f->next = NULL;
		*s->stalled_tail = f;
		s->stalled_tail = &f->next;
		return;
	}
	if (f->fin) {
		side_down(w, f->to, f->from);
	} else {
		n->current = f->batch;
		node_step(w, n, &ev);
		n->current = NULL;
	}
	frame_free(f);
}

void wire_set_cut(struct world *w, unsigned from, unsigned to, bool cut)
{
	struct link *l = sim_link(w, from, to);
	struct link_side *s = &l->side[side_of(to, from)];
	struct frame *f = s->stalled;

	l->cut[side_of(to, from)] = cut;
	if (cut)
		return;
	s->stalled = NULL;
	s->stalled_tail = &s->stalled;
	while (f) { /* before all that is still on its way */
		struct frame *next = f->next;

		wire_deliver(w, f);
		f = next;
	}
}

/* The connection breaks by itself; both sides see it, at different times. */
void wire_break(struct world *w, unsigned a, unsigned b)
{
	struct link *l = sim_link(w, a, b);

	if (l->side[side_of(a, b)].up)
		side_down(w, a, b);
}

static void up_one(struct world *w, unsigned node, unsigned peer)
{
	struct core_event ev = {
		.type = EV_PEER_UP, .peer = peer, .conn = sim_link(w, node, peer)->conn};

	node_step(w, &w->node[node], &ev);
}

void wire_dial(struct world *w, unsigned a, unsigned b)
{
	struct link *l = sim_link(w, a, b);
	struct link_side *x = &l->side[0], *y = &l->side[1];

	l->dialling = false;
	if (w->node[a].up && w->node[b].up && x->up && y->up)
		return;
	if (!w->node[a].up || !w->node[b].up || l->cut[0] || l->cut[1]) {
		l->dialling = true;
		sim_at(w, w->now + 2 * MS + sim_below(w, 20 * MS),
			(struct sim_event){.type = SIM_DIAL, .node = a, .peer = b});
		return;
	}
	/* a side may still believe in the old one: the new one replaces it */
	if (x->up && sim_chance(w, 2))
		side_down(w, MIN(a, b), MAX(a, b));
	if (y->up && sim_chance(w, 2))
		side_down(w, MAX(a, b), MIN(a, b));
	if (!w->node[a].up || !w->node[b].up) { /* crashed in the step */
		wire_dial(w, a, b);
		return;
	}
	drop_stalled(x);
	drop_stalled(y);
	node_peer_gone(&w->node[a], b);
	node_peer_gone(&w->node[b], a);
	l->conn = ++w->ids;
	x->up = y->up = true;
	x->last = y->last = w->now;
	trace(w, "connection %llu between %u and %u", (unsigned long long)l->conn, a, b);
	up_one(w, a, b);
	if (w->node[b].up && l->side[side_of(b, a)].up)
		up_one(w, b, a);
}

/* The process ended: its connections end with it. */
void wire_node_gone(struct world *w, unsigned node)
{
	for (unsigned i = 0; i < w->n; i++)
		if (i != node)
			wire_close(w, node, i);
}
