/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The apply thread: on a standby, and on a replica that is about to serve, it brings committed
 * entries into the tree. It may read the disk, and acknowledgements never wait for it. Batches come
 * from memory (the queue of what was received) or, where that was too long, from the ring.
 *
 * It lets batches gather for a few milliseconds: woken for each, it would take the processor from the
 * thread that has to acknowledge the next one. Nobody waits for it, but who promotes this replica, and who
 * says so (apply_target() while it is about to serve, `wake`) is not kept waiting.
 *
 * It makes this replica's checkpoints too: at a committed seq by construction, because nothing else
 * is applied (I5). Order: sync the data segments, note up to where in the tree, flush RocksDB, wait.
 * The ring up to there may then be overwritten (the commit thread does that).
 *
 * Failure modes: an entry that cannot be applied means that the history or the store is damaged, and
 * a failed flush is final (I9): the thread stops and says so, the commit thread ends the process.
 */
#include "pull.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "log.h"

#define APPLY_GATHER_NS (5 * NS_PER_MS)
#define APPLY_GATHER_ENTRIES 512u /* so many do not wait */
#define APPLY_GATHER_BYTES (1u << 20)
#define APPLY_FLUSH_MIN (1u << 20) /* bytes: a checkpoint for less makes no room */

/* Applies the entries of a verified batch up to a seq. The payload, if given, holds the batch's
 * memory: inline payloads are then written by the segments' writer from there. */
int apply_batch(struct volume *v, const void *batch, const struct batch_header *h,
	struct payload *holder, uint64_t upto)
{
	struct tree_info info;
	struct entry e;
	size_t at = 0;
	int r;

	tree_info(v->tree, &info);
	while (batch_next_entry(batch, h, &at, &e)) {
		struct entry_payload p;

		if (e.h.seq <= info.applied.seq || e.h.seq > upto)
			continue;
		if (apply_payload(&e, &p)) {
			struct err err = {0};

			r = segments_add_epoch(v->segments, e.h.epoch, &err);
			if (r)
				return r;
			if (p.bytes && holder) {
				segments_pending_add(v->segments, p.addr, p.blocks, holder,
					(uint32_t)(p.bytes - holder->data), e.h.seq);
			} else if (p.bytes) {
				r = segments_write(v->segments, p.addr, p.blocks, p.bytes);
				if (r)
					return r;
			}
		}
		r = volume_held_apply(v, &e);
		if (r)
			return r;
		v->apply.entries_since_checkpoint++;
	}
	return tree_flush_txn(v->tree);
}

static void apply_fail(struct volume *v, int code, const char *what, uint64_t seq)
{
	struct apply *a = &v->apply;

	if (atomic_load(&a->failed))
		return;
	err_set(&a->error, code, "%s at seq %llu failed: %s", what, (unsigned long long)seq,
		strerror(-code));
	atomic_store(&a->failed, true);
	loop_wake(v->loop);
}

/* Room in the ring comes from a checkpoint only as far as something was applied since the last one: where
 * a backlog fills it, one after each batch would make the backlog grow. */
static bool checkpoint_due(struct volume *v)
{
	struct apply *a = &v->apply;

	return store_memtable_bytes(v->store) > v->cfg->memtable || space_wants_flush(v) ||
	       tree_freed_blocks(v->tree) > a->freed_after + punch_due(v) ||
	       a->entries_since_checkpoint > v->cfg->checkpoint_entries ||
	       (atomic_load(&a->ring_free) < ring_size(v->ring) / 2 &&
		       a->bytes_since_checkpoint > ring_size(v->ring) / 8);
}

static int checkpoint_make(struct volume *v)
{
	struct apply *a = &v->apply;
	uint64_t seq = atomic_load(&a->applied);
	struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
	struct tree_info info;
	struct pos flushed;
	uint64_t data_seq;
	int r;

	log_debug("checkpoint begins");
	tree_info(v->tree, &info);
	atomic_store(&a->ended_ns, clock_mono_ns()); /* not asked for once more meanwhile */
	r = segments_sync(v->segments);
	if (!r)
		r = punch_settle(v);
	if (r)
		return r;
	space_make_way(v);
	tree_set_data_seq(v->tree, seq);
	tree_write_freed(v->tree);
	r = tree_flush_txn(v->tree);
	if (!r)
		r = store_flush_begin(v->store);
	while (!r && !store_flush_done(v->store)) {
		if (store_failed(v->store, NULL))
			return -EIO;
		nanosleep(&pause, NULL);
	}
	if (!r)
		r = tree_persisted(v->tree, &flushed, &data_seq);
	if (r)
		return r;
	ensure(flushed.seq == seq);
	flushed_note(v, flushed);
	a->entries_since_checkpoint = a->bytes_since_checkpoint = 0;
	atomic_store(&a->data_seq, data_seq);
	log_debug("checkpoint at seq %llu", (unsigned long long)flushed.seq);
	atomic_fetch_add(&v->count_checkpoints, 1);
	loop_wake(v->loop);
	punch_want(v, data_seq, info.applied_epoch.num);
	a->freed_after = tree_freed_blocks(v->tree);
	atomic_store(&a->ended_ns, clock_mono_ns());
	return 0;
}

/* The batch with this seq, from the queue or the ring. The holder's reference is the caller's. */
static int batch_get(struct volume *v, uint64_t seq, struct batch_header *ret_h,
	struct payload **ret_p, const uint8_t **ret_bytes)
{
	struct apply *a = &v->apply;
	struct apply_item *item;
	struct payload *p;
	int r;

	pthread_mutex_lock(&a->mutex);
	while ((item = a->head) && batch_last_seq(&item->h) < seq) {
		a->head = item->next;
		a->queued_bytes -= batch_size(&item->h);
		payload_unref(item->payload);
		free(item);
	}
	if (!a->head)
		a->tail = &a->head;
	if (item && item->h.first_seq <= seq) {
		a->head = item->next;
		if (!a->head)
			a->tail = &a->head;
		a->queued_bytes -= batch_size(&item->h);
		pthread_mutex_unlock(&a->mutex);
		*ret_h = item->h;
		*ret_p = item->payload;
		*ret_bytes = item->payload->data + BLOCK_SIZE;
		free(item);
		return 0;
	}
	pthread_mutex_unlock(&a->mutex);
	p = payload_new(v->rx_pool, BATCH_SIZE_MAX);
	if (!p)
		return -ENOMEM;
	r = ring_read(v->ring, seq, p->data, ret_h);
	if (r) {
		payload_unref(p);
		return r;
	}
	*ret_p = p;
	*ret_bytes = p->data;
	return 0;
}

/* What is applied must be flushed one day. Outside of the set nobody asks for a grant before more comes: on a full
 * disk it stays in the ring until there is room, or this is the room that a checkpoint makes. */
static bool must_wait_for_room(struct volume *v, int *ret_r)
{
	struct timespec pause = {.tv_nsec = 200 * 1000 * 1000};

	if (!space_exhausted(v))
		return false;
	if (store_unflushed_bytes(v->store) > APPLY_FLUSH_MIN) {
		*ret_r = checkpoint_make(v);
		if (*ret_r || !space_exhausted(v))
			return *ret_r != 0;
	}
	nanosleep(&pause, NULL);
	return true;
}

static void apply_upto(struct volume *v, uint64_t target)
{
	struct apply *a = &v->apply;
	uint64_t next = atomic_load(&a->applied) + 1;

	while (next <= target && !atomic_load(&a->failed)) {
		struct timespec pause = {.tv_nsec = 500 * 1000};
		struct payload *p = NULL;
		const uint8_t *bytes = NULL;
		struct batch_header h;
		int r = batch_get(v, next, &h, &p, &bytes);
		bool stop;

		pthread_mutex_lock(&a->mutex);
		stop = a->stop;
		pthread_mutex_unlock(&a->mutex);
		if (stop) {
			payload_unref(p);
			return;
		}
		if (!r && must_wait_for_room(v, &r)) {
			payload_unref(p);
			if (r) {
				apply_fail(v, r, "a checkpoint", next - 1);
				return;
			}
			continue;
		}
		if (r == -ENOENT || r == -ENOMEM) { /* written, its completion not seen yet */
			nanosleep(&pause, NULL);
			continue;
		}
		if (!r) {
			r = apply_batch(v, bytes, &h, p, target);
			payload_unref(p);
		}
		if (r) {
			apply_fail(v, r, "applying the history", next);
			return;
		}
		a->bytes_since_checkpoint += batch_size(&h);
		next = MIN(batch_last_seq(&h), target) + 1;
		atomic_store(&a->applied, next - 1);
		if (checkpoint_due(v) && (r = checkpoint_make(v))) {
			apply_fail(v, r, "a checkpoint", next - 1);
			return;
		}
	}
	if (atomic_load(&a->wake))
		loop_wake(v->loop);
}

/* a->mutex */
static bool gathered(const struct apply *a)
{
	return a->stop || a->hurry || a->checkpoint || a->queued_bytes > APPLY_GATHER_BYTES ||
	       a->target > atomic_load(&a->applied) + APPLY_GATHER_ENTRIES;
}

static void *apply_thread(void *arg)
{
	struct volume *v = arg;
	struct apply *a = &v->apply;
	uint64_t next_ns = 0;

	pthread_mutex_lock(&a->mutex);
	while (!a->stop) {
		uint64_t target;

		/* I5: what was answered under ack=fsync is applied before it is committed. */
		if (a->checkpoint && a->target >= atomic_load(&a->applied) &&
			!atomic_load(&a->failed)) {
			int r;

			a->checkpoint = false;
			pthread_mutex_unlock(&a->mutex);
			r = checkpoint_make(v);
			if (r)
				apply_fail(v, r, "a checkpoint", atomic_load(&a->applied));
			pthread_mutex_lock(&a->mutex);
			continue;
		}
		if (a->target <= atomic_load(&a->applied) || atomic_load(&a->failed)) {
			a->idle = true;
			pthread_cond_wait(&a->cond, &a->mutex);
			a->idle = false;
			continue;
		}
		while (!gathered(a) && clock_mono_ns() < next_ns) {
			struct timespec t = {.tv_sec = (time_t)(next_ns / NS_PER_S),
				.tv_nsec = (long)(next_ns % NS_PER_S)};

			pthread_cond_timedwait(&a->cond, &a->mutex, &t);
		}
		target = a->target;
		pthread_mutex_unlock(&a->mutex);
		apply_upto(v, target);
		next_ns = clock_mono_ns() + APPLY_GATHER_NS;
		pthread_mutex_lock(&a->mutex);
	}
	pthread_mutex_unlock(&a->mutex);
	return NULL;
}

void apply_init(struct volume *v)
{
	struct apply *a = &v->apply;
	pthread_condattr_t attr;

	pthread_mutex_init(&a->mutex, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&a->cond, &attr);
	pthread_condattr_destroy(&attr);
	a->tail = &a->head;
}

void apply_start(struct volume *v)
{
	struct apply *a = &v->apply;
	int r;

	ensure(!a->running);
	a->stop = false;
	atomic_store(&a->ring_free, ring_free(v->ring));
	r = pthread_create(&a->thread, NULL, apply_thread, v);
	if (r)
		volume_die(v, "no thread to apply the history: %s", strerror(r));
	a->running = true;
}

/* Ends the thread where it stands, between two batches; what is queued is dropped. */
void apply_stop(struct volume *v)
{
	struct apply *a = &v->apply;

	if (!a->running)
		return;
	pthread_mutex_lock(&a->mutex);
	a->stop = true;
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->mutex);
	pthread_join(a->thread, NULL);
	a->running = false;
	while (a->head) {
		struct apply_item *item = a->head;

		a->head = item->next;
		payload_unref(item->payload);
		free(item);
	}
	a->tail = &a->head;
	a->queued_bytes = 0;
}

void apply_target(struct volume *v, uint64_t seq)
{
	struct apply *a = &v->apply;

	pthread_mutex_lock(&a->mutex);
	a->target = MAX(a->target, seq);
	a->hurry = v->serve_pending;
	if (a->idle || gathered(a))
		pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->mutex);
}

bool apply_is_stuck(struct volume *v)
{
	struct apply *a = &v->apply;
	bool idle;

	if (ring_free(v->ring) > ring_size(v->ring) / RX_RING_SHARE ||
		atomic_load(&a->applied) <= atomic_load(&a->data_seq))
		return false;
	pthread_mutex_lock(&a->mutex);
	idle = a->idle && !a->checkpoint;
	pthread_mutex_unlock(&a->mutex);
	return idle;
}

void apply_checkpoint(struct volume *v)
{
	struct apply *a = &v->apply;

	pthread_mutex_lock(&a->mutex);
	a->checkpoint = true;
	pthread_cond_signal(&a->cond);
	pthread_mutex_unlock(&a->mutex);
}

/* Keeps a received batch in memory for the apply thread, as long as there is not too much of it. */
void apply_queue(struct volume *v, const struct slot *s)
{
	struct apply *a = &v->apply;
	struct apply_item *item;

	if (!s->h.count)
		return;
	pthread_mutex_lock(&a->mutex);
	if (a->queued_bytes < APPLY_QUEUE_MAX) {
		item = calloc(1, sizeof(*item));
		ensure(item);
		item->h = s->h;
		item->payload = payload_ref(s->payload);
		*a->tail = item;
		a->tail = &item->next;
		a->queued_bytes += batch_size(&s->h);
	}
	pthread_mutex_unlock(&a->mutex);
}
