/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches to the peers: the live ones as they are closed, and those that a peer missed, read back
 * from the ring. In both cases the bytes are the ring's, verbatim, and the large payloads that a
 * batch names go ahead of it as DATA frames.
 *
 * Catching up: a job thread reads some batches (and their large payloads from their addresses), the commit
 * thread queues them on the connection, and so on while the connection takes it. What is not yet
 * durable here is not in the ring to be read, but its slot is still in memory: when the ring has no
 * more, the slots from there on are sent in the same turn, so that nothing falls between the last
 * read batch and the first live one.
 *
 * A payload that was punched in part since is sent as it is now, marked: the standby ends with the same
 * bytes, and blocks that are still mapped have checksums of their own. What is damaged here is repaired
 * first (fetch_external.c).
 *
 * Failure modes: the connection goes away (results of jobs for an older connection are dropped); the
 * wanted batch was overwritten, or cannot be read any more (-ESTALE, the core decides: who is outside of the set
 * pulls, for one in the set a person decides, whom status tells how). A payload is damaged here and no replica has it: the peer is refused,
 * each time it comes, until the file is overwritten or deleted. A standby that crashes before a marked
 * payload's run of batches is complete (ring_behind.c) takes it for torn: its history ends there, and it
 * is sent once more.
 */
#include "pull.h"
#include "repair_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

static void release_payload(void *arg)
{
	payload_unref(arg);
}

static void send_external(struct volume *v, unsigned peer, uint64_t conn, struct external *x)
{
	struct msg m = {.type = MSG_DATA,
		.epoch = core_epoch(v->core),
		.data = {.epoch_num = x->addr.epoch,
			.epoch_id = x->epoch.id,
			.block = x->addr.block,
			.blocks = x->blocks,
			.crc = x->crc,
			.gone = x->gone,
			.bytes = x->bytes}};

	if (net_send(v->net, peer, conn, &m, release_payload, payload_ref(x->payload)))
		payload_unref(x->payload);
}

void send_batch(struct volume *v, unsigned peer, uint64_t conn, struct slot *s)
{
	struct msg m = {.type = MSG_APPEND,
		.epoch = core_epoch(v->core),
		.append = {.h = s->h, .batch = s->bytes}};

	net_cork(v->net, peer);
	for (struct external *x = s->externals; x; x = x->next)
		send_external(v, peer, conn, x);
	s->refs++;
	if (net_send(v->net, peer, conn, &m, slot_unref, s))
		slot_unref(s);
	net_uncork(v->net, peer);
}

/* --- reading back --- */

static void externals_free(struct external **list)
{
	while (*list) {
		struct external *x = *list;

		*list = x->next;
		external_free(x);
	}
}

/* Reads the batch with the seq `from` and the large payloads that it names. 0 or -errno. A batch that is damaged or
 * cannot be read is as good as overwritten: the ring begins behind it from now on. */
static int fetch_one(struct volume *v, struct fetch *f, uint64_t from, struct fetched *ret)
{
	struct entry e;
	size_t at = 0;
	int r = ring_read(v->ring, from, f->buf, &ret->h);

	if (r == -EBADMSG || r == -EIO)
		r = -ESTALE;
	if (r)
		return r;
	ret->externals = NULL;
	ret->batch = payload_new(v->rx_pool, batch_size(&ret->h));
	if (!ret->batch)
		return -ENOMEM;
	memcpy(ret->batch->data, f->buf, batch_size(&ret->h));
	while (!r && batch_next_entry(ret->batch->data, &ret->h, &at, &e)) {
		struct entry_payload p;
		struct external *x;

		if (!apply_payload(&e, &p) || !p.external)
			continue;
		r = fetch_external(v, &e, &p, &x, &f->damage);
		if (r)
			break;
		x->next = ret->externals;
		ret->externals = x;
	}
	if (r) {
		externals_free(&ret->externals);
		payload_unref(ret->batch);
	}
	return r;
}

static void fetch_run(struct job *j)
{
	struct fetch *f = container_of(j, struct fetch, job);
	uint64_t from = f->job_from;
	size_t bytes = 0;

	f->n = 0;
	f->code = 0;
	if (!f->buf && posix_memalign((void **)&f->buf, BLOCK_SIZE, BATCH_SIZE_MAX)) {
		f->buf = NULL;
		f->code = -ENOMEM;
	}
	while (!f->code && f->n < FETCH_BATCHES && bytes < FETCH_BYTES) {
		struct fetched *b = &f->batches[f->n];

		f->code = fetch_one(j->v, f, from, b);
		if (f->code)
			break;
		f->n++;
		from = batch_last_seq(&b->h) + 1;
		bytes += batch_size(&b->h);
		for (struct external *x = b->externals; x; x = x->next)
			bytes += (size_t)x->blocks * BLOCK_SIZE;
	}
}

/* Sends what was read, if it is still wanted, and lets go of it. */
static void fetch_send(struct volume *v, unsigned peer, struct fetch *f, bool wanted)
{
	net_cork(v->net, peer);
	for (unsigned i = 0; i < f->n; i++) {
		struct fetched *b = &f->batches[i];
		struct msg m = {.type = MSG_APPEND,
			.epoch = core_epoch(v->core),
			.append = {.h = b->h, .batch = b->batch->data}};

		for (struct external *x = b->externals; wanted && x; x = x->next)
			send_external(v, peer, f->conn, x);
		if (wanted &&
			net_send(v->net, peer, f->conn, &m, release_payload, payload_ref(b->batch)))
			payload_unref(b->batch);
		if (wanted)
			f->from = batch_last_seq(&b->h) + 1;
		externals_free(&b->externals);
		payload_unref(b->batch);
	}
	f->n = 0;
	net_uncork(v->net, peer);
}

static bool is_in_memory(const struct volume *v, uint64_t seq)
{
	for (const struct slot *s = v->slots; s; s = s->next)
		if (s->h.count && s->h.first_seq == seq)
			return true;
	return false;
}

/* The ring has no more, or what it has cannot be read: what is not committed yet is in memory, up to the end. */
static void fetch_finish(struct volume *v, unsigned peer, struct fetch *f, int code)
{
	struct core_event ev = {.type = EV_FETCHED, .peer = peer, .conn = f->conn};

	if (code == -ENOENT || (code == -ESTALE && is_in_memory(v, f->from))) {
		for (struct slot *s = v->slots; s; s = s->next) {
			if (!s->h.count || s->h.first_seq < f->from)
				continue;
			if (s->h.first_seq != f->from)
				break;
			send_batch(v, peer, f->conn, s);
			f->from = batch_last_seq(&s->h) + 1;
		}
		code = 0;
	}
	f->wanted = false;
	ev.seq = f->from - 1;
	ev.code = code;
	volume_step(v, &ev);
}

/* --- damage met on the way --- */

/* What was repaired for the last reading may leave the memory. */
static void fetch_release(struct volume *v, struct fetch *f)
{
	if (f->repaired)
		repair_end(v->segments, f->repaired);
	f->repaired = NULL;
}

static void fetch_repaired(struct job *j)
{
	struct fetch *f = container_of(j, struct fetch, job);
	struct volume *v = j->v;
	unsigned peer = (unsigned)(f - v->fetch);
	bool same = f->wanted && f->conn == f->job_conn && f->from == f->job_from;

	f->busy = false;
	if (f->code)
		fetch_release(v, f);
	if (same && f->code) {
		log_error(
			"%s cannot catch up: data of seq %llu that it lacks is damaged here and "
			"nobody else has it; delete or overwrite that file (named above), or give "
			"up the other side with 'tandemctl deactivate' first where writes wait",
			core_record(v->core)->replicas[peer].domain, (unsigned long long)f->from);
		fetch_finish(v, peer, f, f->code);
	} else {
		fetch_go_on(v, peer);
	}
}

/* On a job thread. */
static void fetch_again(struct repair *r, int code)
{
	struct fetch *f = r->ctx;

	f->code = code ? -EUCLEAN : 0;
	f->repaired = r;
	f->job.done = fetch_repaired;
	job_post(r->v, &f->job);
}

/* The reading goes on when the damage that it met is repaired. */
static void fetch_repair(struct volume *v, struct fetch *f)
{
	struct repair *r = f->damage;

	f->damage = NULL;
	f->busy = true;
	f->job_from = f->from;
	r->again = fetch_again;
	r->ctx = f;
	volume_repair(v, r);
}

static void fetch_done(struct job *j)
{
	struct fetch *f = container_of(j, struct fetch, job);
	struct volume *v = j->v;
	unsigned peer = (unsigned)(f - v->fetch);
	int code = f->code;
	bool same = f->wanted && f->conn == f->job_conn && f->from == f->job_from;

	f->busy = false;
	fetch_release(v, f);
	fetch_send(v, peer, f, same);
	if (f->damage && same) {
		fetch_repair(v, f);
		return;
	}
	free(f->damage);
	f->damage = NULL;
	if (!f->wanted)
		return;
	if (!code || !same) { /* !same: another connection asks meanwhile */
		fetch_go_on(v, peer);
		return;
	}
	if (code == -ENOMEM) /* buffers come back when the socket drains; looked at again soon */
		return;
	if (code == -ESTALE) /* the core must know how far the ring has moved on */
		volume_status_event(v);
	else if (code != -ENOENT)
		log_error("reading seq %llu back for %s failed: %s", (unsigned long long)f->from,
			core_record(v->core)->replicas[peer].domain, strerror(-code));
	fetch_finish(v, peer, f, code);
}

void fetch_go_on(struct volume *v, unsigned peer)
{
	struct fetch *f = &v->fetch[peer];

	if (!f->wanted || f->busy || net_queued(v->net, peer) > FETCH_QUEUE_MAX)
		return;
	f->busy = true;
	f->job_conn = f->conn;
	f->job_from = f->from;
	f->job.run = fetch_run;
	f->job.done = fetch_done;
	job_submit(v, &f->job);
}

void fetch_start(struct volume *v, unsigned peer, uint64_t conn, uint64_t from)
{
	struct fetch *f = &v->fetch[peer];

	f->wanted = true;
	f->conn = conn;
	f->from = from;
	if (from > core_end(v->core).seq) { /* level already; answer after this step */
		fetch_finish(v, peer, f, -ENOENT);
		return;
	}
	fetch_go_on(v, peer);
}

void fetch_cancel(struct volume *v, unsigned peer)
{
	v->fetch[peer].wanted = false;
}

/* The lowest seq that is being read for somebody; the ring keeps it. */
uint64_t fetch_floor(const struct volume *v)
{
	uint64_t floor = UINT64_MAX;

	for (unsigned i = 0; i < REPLICAS_MAX; i++)
		if (v->fetch[i].wanted && v->fetch[i].from < floor)
			floor = v->fetch[i].from;
	return MIN(floor, pull_floor(v));
}
