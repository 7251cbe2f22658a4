/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who asks: one replica after the other, for a few damaged blocks at a time, on the commit thread; the
 * answer is verified and written back on a job thread. repair.h has the picture and the failure modes.
 *
 * A question is on its way (in `asked`), or its answer is with a job, or it waits in `queued` behind
 * REPAIR_ASKS_MAX others; its time runs in all three. Blocks that were freed meanwhile are not written
 * back, or the space would never be given back (one that is freed and punched within the write itself
 * costs a block of space and nothing else).
 */
#include "repair_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

static void ask(struct volume *v, struct repair *r);

/* --- counting --- */

static struct repair_known *known_find(struct repairs *q, struct addr a)
{
	for (unsigned i = 0; i < REPAIR_KNOWN_MAX; i++)
		if (q->known[i].addr.epoch == a.epoch && q->known[i].addr.block == a.block)
			return &q->known[i];
	return NULL;
}

uint64_t repair_note_damage(
	struct volume *v, struct addr a, uint64_t bad, uint64_t found_ns, uint64_t *ret_fresh)
{
	struct repairs *q = v->repairs;
	uint64_t left = bad;

	*ret_fresh = 0;
	for (; bad; bad &= bad - 1) {
		unsigned i = (unsigned)__builtin_ctzll(bad);
		struct addr at = {.block = a.block + i, .epoch = a.epoch};
		struct repair_known *k = known_find(q, at);

		if (k && k->repaired_ns >= found_ns) {
			left &= ~(1ull << i);
			continue;
		}
		if (k && !k->repaired_ns)
			continue;
		if (!k) {
			k = &q->known[q->known_at];
			q->known_at = (q->known_at + 1) % REPAIR_KNOWN_MAX;
		}
		*k = (struct repair_known){.addr = at};
		v->count_damaged++;
		*ret_fresh |= 1ull << i;
	}
	return left;
}

/* Returns those that no other reader's repair has counted. */
static uint64_t note_repaired(struct volume *v, struct addr a, uint64_t fixed)
{
	uint64_t now = clock_mono_ns(), counted = 0;

	for (; fixed; fixed &= fixed - 1) {
		unsigned i = (unsigned)__builtin_ctzll(fixed);
		struct addr at = {.block = a.block + i, .epoch = a.epoch};
		struct repair_known *k = known_find(v->repairs, at);

		if (!k || k->repaired_ns)
			continue;
		k->repaired_ns = now;
		v->count_repaired++;
		counted |= 1ull << i;
	}
	return counted;
}

/* --- the end of a repair --- */

struct again_job {
	struct job job;
	struct repair *r;
	int code;
};

static void again_run(struct job *j)
{
	struct again_job *a = container_of(j, struct again_job, job);

	a->r->again(a->r, a->code); /* r may be gone now */
}

static void again_done(struct job *j)
{
	free(container_of(j, struct again_job, job));
}

static void queue_go_on(struct volume *v)
{
	struct repairs *q = v->repairs;

	while (q->queued && q->nasked < REPAIR_ASKS_MAX) {
		struct repair *r = q->queued;

		q->queued = r->next;
		if (!q->queued)
			q->queued_tail = &q->queued;
		ask(v, r);
	}
}

static void over(struct volume *v, struct repair *r, int code)
{
	struct again_job *a = calloc(1, sizeof(*a));

	ensure(a);
	r->next = NULL;
	a->r = r;
	a->code = code;
	a->job.run = again_run;
	a->job.done = again_done;
	job_submit(v, &a->job);
}

static void give_up(struct volume *v, struct repair *r, const char *why)
{
	repair_report(v, r, r->bad & r->fresh, false, why);
	over(v, r, -EIO);
}

/* --- asking --- */

static void set_timer(struct repairs *q)
{
	uint64_t first = UINT64_MAX;

	for (const struct repair *r = q->asked; r; r = r->next)
		first = MIN(first, r->deadline_ns);
	for (const struct repair *r = q->queued; r; r = r->next)
		first = MIN(first, r->deadline_ns);
	if (first == UINT64_MAX)
		loop_timer_clear(q->v->loop, &q->timer);
	else
		loop_timer_set(q->v->loop, &q->timer, first);
}

static bool send_ask(struct volume *v, struct repair *r, unsigned peer)
{
	struct repairs *q = v->repairs;
	struct msg m = {.type = MSG_REPAIR_ASK, .epoch = core_epoch(v->core)};
	struct epoch epoch;

	if (segments_epoch(v->segments, r->addr.epoch, &epoch))
		return false;
	m.repair_ask = (struct msg_repair_ask){
		.nonce = r->nonce, .epoch = epoch, .block = r->addr.block, .blocks = r->blocks};
	memcpy(m.repair_ask.crcs, r->crcs, r->blocks * sizeof(r->crcs[0]));
	return net_send(v->net, peer, q->conn[peer], &m, NULL, NULL) == 0;
}

static void ask(struct volume *v, struct repair *r)
{
	struct repairs *q = v->repairs;

	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		if (!q->conn[i] || r->tried & 1u << i)
			continue;
		r->tried |= 1u << i;
		r->nonce = ++q->nonce;
		r->peer = (int)i;
		r->conn = q->conn[i];
		if (!send_ask(v, r, i))
			continue;
		r->next = q->asked;
		q->asked = r;
		q->nasked++;
		set_timer(q);
		return;
	}
	give_up(v, r,
		r->tried ? "no other replica that is connected has it either"
			 : "no other replica is connected");
}

static void begin(struct job *j)
{
	struct repair *r = container_of(j, struct repair, job);
	struct volume *v = r->v;
	struct repairs *q = v->repairs;

	r->bad = repair_note_damage(v, r->addr, r->bad, r->found_ns, &r->fresh);
	r->deadline_ns = clock_mono_ns() + REPAIR_NS;
	r->peer = -1;
	r->tried = 0;
	r->next = NULL;
	if (!r->bad) { /* another reader's repair came first */
		over(v, r, 0);
		return;
	}
	if (q->nasked < REPAIR_ASKS_MAX) {
		ask(v, r);
		return;
	}
	*q->queued_tail = r;
	q->queued_tail = &r->next;
	set_timer(q);
}

void volume_repair(struct volume *v, struct repair *r)
{
	r->v = v;
	r->job.done = begin;
	job_post(v, &r->job);
}

/* --- answers --- */

/* Readers find the block in memory from now on. */
static void hold(struct repair *r, uint32_t i)
{
	struct addr at = {.block = r->addr.block + i, .epoch = r->addr.epoch};
	struct payload *p = payload_new(NULL, BLOCK_SIZE);

	ensure(p);
	memcpy(p->data, r->bytes + (size_t)i * BLOCK_SIZE, BLOCK_SIZE);
	segments_inflight_add(r->v->segments, at, 1, p);
	payload_unref(p); /* the map has a reference of its own */
	r->held |= 1ull << i;
}

static bool wanted_on_disk(const struct repair *r, uint32_t i)
{
	struct addr at = {.block = r->addr.block + i, .epoch = r->addr.epoch};

	return r->fixed & 1ull << i &&
	       (r->unmapped || repair_mapped(r->v->tree, r->ino, r->file_block + i, at));
}

static void store_run(struct job *j)
{
	struct repair *r = container_of(j, struct repair, job);

	r->fixed = repair_verify(r, r->answer_good, r->bytes);
	for (uint32_t i = 0; i < r->blocks; i++)
		if (r->fixed & 1ull << i)
			hold(r, i);
	for (uint32_t i = 0, n; i < r->blocks; i += n) {
		struct addr at = {.block = r->addr.block + i, .epoch = r->addr.epoch};
		bool put = wanted_on_disk(r, i);
		int code = 0;

		for (n = 1; i + n < r->blocks && wanted_on_disk(r, i + n) == put; n++)
			;
		if (put)
			code = segments_repair(
				r->v->segments, at, n, r->bytes + (size_t)i * BLOCK_SIZE);
		r->write_error = code ? code : r->write_error;
	}
}

static void store_done(struct job *j)
{
	struct repair *r = container_of(j, struct repair, job);
	struct volume *v = r->v;
	const char *domain = core_record(v->core)->replicas[r->peer].domain;
	char text[160];

	payload_unref(r->payload);
	r->payload = NULL;
	if (r->write_error) {
		snprintf(text, sizeof(text),
			"read from %s for now, but this disk cannot be written: %s", domain,
			strerror(-r->write_error));
		repair_report(v, r, r->fixed & r->fresh, false, text);
	} else {
		repair_report(v, r, note_repaired(v, r->addr, r->fixed), true, domain);
	}
	r->bad &= ~r->fixed;
	if (r->bad)
		ask(v, r);
	else
		over(v, r, 0);
}

static struct repair *asked_take(struct repairs *q, struct repair **at)
{
	struct repair *r = *at;

	*at = r->next;
	r->next = NULL;
	q->nasked--;
	return r;
}

void repair_answered(struct volume *v, unsigned peer, uint64_t conn, const struct msg_repair *m,
	struct payload *p)
{
	struct repairs *q = v->repairs;
	struct repair **at = &q->asked, *r;

	while (*at && ((*at)->nonce != m->nonce || (*at)->peer != (int)peer ||
			      (*at)->conn != conn || (*at)->blocks != m->blocks))
		at = &(*at)->next;
	if (!*at) { /* too late */
		payload_unref(p);
		return;
	}
	r = asked_take(q, at);
	if (!m->good) {
		payload_unref(p);
		ask(v, r);
	} else {
		r->answer_good = m->good;
		r->bytes = m->bytes;
		r->payload = p;
		r->job.run = store_run;
		r->job.done = store_done;
		job_submit(v, &r->job);
	}
	queue_go_on(v);
	set_timer(q);
}

static void expired(struct loop_timer *t, uint64_t now_ns)
{
	struct repairs *q = container_of(t, struct repairs, timer);
	struct repair **at = &q->asked;

	while (*at) {
		if ((*at)->deadline_ns <= now_ns)
			give_up(q->v, asked_take(q, at), "no answer in time");
		else
			at = &(*at)->next;
	}
	at = &q->queued;
	while (*at) {
		struct repair *r = *at;

		if (r->deadline_ns > now_ns) {
			at = &r->next;
			continue;
		}
		*at = r->next;
		give_up(q->v, r, "too many others wait for an answer");
	}
	q->queued_tail = at;
	queue_go_on(q->v);
	set_timer(q);
}

void repair_up(struct volume *v, unsigned peer, uint64_t conn)
{
	v->repairs->conn[peer] = conn;
}

void repair_down(struct volume *v, unsigned peer)
{
	struct repairs *q = v->repairs;
	struct repair *lost = NULL, **at = &q->asked;

	q->conn[peer] = 0;
	while (*at) {
		struct repair *r = *at;

		if (r->peer != (int)peer) {
			at = &r->next;
			continue;
		}
		asked_take(q, at);
		r->next = lost;
		lost = r;
	}
	while (lost) {
		struct repair *r = lost;

		lost = r->next;
		ask(v, r);
	}
	queue_go_on(v);
	set_timer(q);
}

void repair_init(struct volume *v)
{
	struct repairs *q = calloc(1, sizeof(*q));

	ensure(q);
	q->v = v;
	q->queued_tail = &q->queued;
	q->reports_tail = &q->reports;
	q->timer.expired = expired;
	v->repairs = q;
}
