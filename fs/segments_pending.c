/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that are in memory and not yet in their segment, and the thread that takes them there.
 *
 * The map is a sharded hash from (epoch, group of 16 blocks) to the runs that touch the group, so a
 * reader looks at a few runs for each 64 KiB. A run enters the map before anybody can know its
 * address, and leaves it after its bytes were written:
 * a reader that does not find it in memory finds it in the file.
 *
 * The writer thread lets runs gather for a few milliseconds or a megabyte, because addresses are
 * assigned one after the other and what gathers becomes one long O_DIRECT write. It hurries when somebody
 * waits in segments_sync(). It also makes the next segment file ahead of its need.
 *
 * After a failure (sticky) nothing more is written; what was announced stays readable from memory.
 */
#include "segments_impl.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "log.h"

#define GATHER_BYTES (1u << 20)
#define GATHER_NS (20 * NS_PER_MS)
#define RUN_IOV_MAX 512

/* --- the map --- */

static struct pending_shard *shard_of(
	struct segments *s, uint32_t epoch, uint64_t group, unsigned *ret_bucket)
{
	uint64_t h = (group ^ ((uint64_t)epoch << 40)) * 0x9e3779b97f4a7c15ull;

	*ret_bucket = (unsigned)(h >> 40) & (PENDING_BUCKETS - 1);
	return &s->shards[(h >> 56) & (PENDING_SHARDS - 1)];
}

static unsigned groups_of(struct addr a, uint32_t blocks)
{
	return (unsigned)(((a.block + blocks - 1) >> GROUP_SHIFT) - (a.block >> GROUP_SHIFT) + 1);
}

static struct run *pending_insert(struct segments *s, struct addr a, uint32_t blocks,
	struct payload *p, uint32_t off, uint64_t seq, bool inflight)
{
	unsigned nnodes = groups_of(a, blocks), bucket;
	struct run *r = malloc(sizeof(*r) + nnodes * sizeof(r->nodes[0]));

	ensure(r && blocks);
	ensure(a.block % DATA_SEGMENT_BLOCKS + blocks <= DATA_SEGMENT_BLOCKS);
	ensure((uint64_t)off + (uint64_t)blocks * BLOCK_SIZE <= p->size);
	*r = (struct run){
		.a = a,
		.blocks = blocks,
		.off = off,
		.p = payload_ref(p),
		.seq = seq,
		.inflight = inflight,
		.nnodes = nnodes,
	};
	for (unsigned i = 0; i < nnodes; i++) {
		struct run_node *n = &r->nodes[i];
		struct pending_shard *sh;

		n->run = r;
		n->group = (a.block >> GROUP_SHIFT) + i;
		sh = shard_of(s, a.epoch, n->group, &bucket);
		pthread_mutex_lock(&sh->lock);
		n->next = sh->buckets[bucket];
		sh->buckets[bucket] = n;
		pthread_mutex_unlock(&sh->lock);
	}
	atomic_fetch_add(&s->nruns, 1);
	atomic_fetch_add(&s->pending_bytes, (size_t)blocks * BLOCK_SIZE);
	return r;
}

static void pending_remove(struct segments *s, struct run *r)
{
	for (unsigned i = 0; i < r->nnodes; i++) {
		struct run_node *n = &r->nodes[i], **at;
		struct pending_shard *sh;
		unsigned bucket;

		sh = shard_of(s, r->a.epoch, n->group, &bucket);
		pthread_mutex_lock(&sh->lock);
		for (at = &sh->buckets[bucket]; *at != n; at = &(*at)->next)
			ensure(*at);
		*at = n->next;
		pthread_mutex_unlock(&sh->lock);
	}
	atomic_fetch_sub(&s->nruns, 1);
	atomic_fetch_sub(&s->pending_bytes, (size_t)r->blocks * BLOCK_SIZE);
	payload_unref(r->p);
	free(r);
}

void pending_copy(struct segments *s, struct addr a, uint32_t blocks, uint8_t *buf, bool *have)
{
	unsigned ngroups = groups_of(a, blocks);

	if (!atomic_load(&s->nruns))
		return;
	for (unsigned i = 0; i < ngroups; i++) {
		uint64_t group = (a.block >> GROUP_SHIFT) + i;
		uint64_t from = MAX(a.block, group << GROUP_SHIFT);
		uint64_t to = MIN(a.block + blocks, (group + 1) << GROUP_SHIFT);
		struct pending_shard *sh;
		unsigned bucket;

		sh = shard_of(s, a.epoch, group, &bucket);
		pthread_mutex_lock(&sh->lock);
		for (struct run_node *n = sh->buckets[bucket]; n; n = n->next) {
			const struct run *r = n->run;
			uint64_t f = MAX(from, r->a.block), t = MIN(to, r->a.block + r->blocks);

			if (n->group != group || r->a.epoch != a.epoch || f >= t)
				continue;
			memcpy(buf + (f - a.block) * BLOCK_SIZE,
				r->p->data + r->off + (f - r->a.block) * BLOCK_SIZE,
				(t - f) * BLOCK_SIZE);
			memset(have + (f - a.block), true, t - f);
		}
		pthread_mutex_unlock(&sh->lock);
	}
}

/* --- announcing --- */

void pending_want_next(struct segments *s, struct addr a)
{
	struct seg_epoch *e;
	unsigned next = (unsigned)(a.block / DATA_SEGMENT_BLOCKS) + 1;

	if (a.block % DATA_SEGMENT_BLOCKS < DATA_SEGMENT_BLOCKS / 4 * 3)
		return;
	e = seg_epoch_find(s, a.epoch);
	if (!e || atomic_load(&e->made_upto) > next)
		return;
	LOCK_SCOPE(&s->queue_lock);
	s->want = (struct addr){.block = (uint64_t)next * DATA_SEGMENT_BLOCKS, .epoch = a.epoch};
	pthread_cond_signal(&s->queue_more);
}

void segments_pending_add(struct segments *s, struct addr a, uint32_t blocks, struct payload *p,
	uint32_t off, uint64_t seq)
{
	struct run *r = pending_insert(s, a, blocks, p, off, seq, false);
	bool wake;

	pending_want_next(s, a);
	LOCK_SCOPE(&s->queue_lock);
	wake = !s->head;
	if (wake)
		s->first_ns = clock_mono_ns();
	*s->tail = r;
	s->tail = &r->next;
	s->announced++;
	s->last_seq = MAX(s->last_seq, seq);
	if (s->queued_bytes < GATHER_BYTES &&
		s->queued_bytes + (size_t)blocks * BLOCK_SIZE >= GATHER_BYTES)
		wake = true;
	s->queued_bytes += (size_t)blocks * BLOCK_SIZE;
	if (wake)
		pthread_cond_signal(&s->queue_more);
}

void segments_inflight_add(struct segments *s, struct addr a, uint32_t blocks, struct payload *p)
{
	pending_insert(s, a, blocks, p, 0, 0, true);
}

void segments_inflight_remove(struct segments *s, struct addr a, uint32_t blocks)
{
	struct run *found = NULL;
	struct pending_shard *sh;
	unsigned bucket;

	sh = shard_of(s, a.epoch, a.block >> GROUP_SHIFT, &bucket);
	pthread_mutex_lock(&sh->lock);
	for (struct run_node *n = sh->buckets[bucket]; n && !found; n = n->next)
		if (n->run->inflight && n->run->a.epoch == a.epoch && n->run->a.block == a.block &&
			n->run->blocks == blocks)
			found = n->run;
	ensure(found);
	found->inflight =
		false; /* of several alike (repairs for several readers) this one is taken */
	pthread_mutex_unlock(&sh->lock);
	pending_remove(s, found);
}

size_t segments_pending_bytes(struct segments *s)
{
	return atomic_load(&s->pending_bytes);
}

uint64_t segments_written_seq(struct segments *s)
{
	LOCK_SCOPE(&s->queue_lock);

	if (s->busy_seq)
		return s->busy_seq - 1;
	return s->head && s->head->seq ? s->head->seq - 1 : s->last_seq;
}

/* --- the writer thread --- */

/* One pwritev() of as many runs from the list's head as follow each other in one file. Returns the
 * rest; *ret is not 0 when it failed (then nothing was taken off). */
static struct run *write_some(struct segments *s, struct run *list, int *ret)
{
	struct iovec iov[RUN_IOV_MAX];
	struct addr start = list->a;
	uint64_t next = start.block;
	size_t bytes = 0;
	struct run *r;
	int n = 0;

	for (r = list; r && n < RUN_IOV_MAX; r = r->next) {
		if (bytes + (size_t)r->blocks * BLOCK_SIZE > COALESCE_BYTES)
			break;
		if (r->a.epoch != start.epoch || r->a.block != next ||
			next / DATA_SEGMENT_BLOCKS != start.block / DATA_SEGMENT_BLOCKS)
			break;
		iov[n].iov_base = r->p->data + r->off;
		iov[n].iov_len = (size_t)r->blocks * BLOCK_SIZE;
		bytes += iov[n++].iov_len;
		next += r->blocks;
	}
	*ret = seg_pwritev(s, start, iov, n, s->bounce);
	if (*ret)
		return list;
	for (; n; n--) {
		r = list->next;
		pending_remove(s, list);
		list = r;
	}
	return list;
}

/* Writes the whole list, or keeps what is left as stuck. Without the lock. */
static void write_list(struct segments *s, struct run *list, uint64_t count)
{
	int ret = atomic_load(&s->failed);
	struct run *rest = list;

	while (rest && !ret) {
		rest = write_some(s, rest, &ret);
		if (rest && !ret) {
			LOCK_SCOPE(&s->queue_lock);
			s->busy_seq = rest->seq;
		}
	}
	pthread_mutex_lock(&s->queue_lock);
	if (rest) {
		struct run **end = &s->stuck;

		while (*end)
			end = &(*end)->next;
		*end = rest;
		s->busy_seq = s->stuck->seq;
	} else {
		s->written += count;
		if (!s->stuck)
			s->busy_seq = 0;
	}
	pthread_cond_broadcast(&s->queue_done);
	pthread_mutex_unlock(&s->queue_lock);
}

static void gather_wait(struct segments *s)
{
	uint64_t until = s->first_ns + GATHER_NS;
	struct timespec t = {
		.tv_sec = (time_t)(until / NS_PER_S), .tv_nsec = (long)(until % NS_PER_S)};

	while (!s->stop && !s->sync_waiters && !s->want.epoch && s->queued_bytes < GATHER_BYTES &&
		clock_mono_ns() < until)
		pthread_cond_timedwait(&s->queue_more, &s->queue_lock, &t);
}

static void *writer_main(void *arg)
{
	struct segments *s = arg;

	pthread_setname_np(pthread_self(), "segments");
	pthread_mutex_lock(&s->queue_lock);
	for (;;) {
		struct run *list;
		uint64_t count;

		while (!s->head && !s->want.epoch && !s->stop)
			pthread_cond_wait(&s->queue_more, &s->queue_lock);
		if (s->want.epoch) {
			struct addr want = s->want;
			int ret;

			s->want.epoch = 0;
			pthread_mutex_unlock(&s->queue_lock);
			ret = segments_prepare(s, want, 0);
			if (ret)
				log_warn("data segments: cannot make the next file of epoch %u "
					 "ahead: %s",
					want.epoch, strerror(-ret));
			pthread_mutex_lock(&s->queue_lock);
			continue;
		}
		if (!s->head)
			break; /* stop, and all is written */
		gather_wait(s);
		if (s->want.epoch)
			continue;
		list = s->head;
		count = s->announced - s->written;
		s->head = NULL;
		s->tail = &s->head;
		s->queued_bytes = 0;
		if (!s->stuck)
			s->busy_seq = list->seq;
		pthread_mutex_unlock(&s->queue_lock);
		write_list(s, list, count);
		pthread_mutex_lock(&s->queue_lock);
	}
	pthread_mutex_unlock(&s->queue_lock);
	return NULL;
}

int pending_drain(struct segments *s)
{
	uint64_t upto;

	LOCK_SCOPE(&s->queue_lock);
	upto = s->announced;
	s->sync_waiters++;
	pthread_cond_signal(&s->queue_more);
	while (s->written < upto && !atomic_load(&s->failed))
		pthread_cond_wait(&s->queue_done, &s->queue_lock);
	s->sync_waiters--;
	return atomic_load(&s->failed);
}

int pending_start(struct segments *s, struct err *e)
{
	pthread_condattr_t attr;
	sigset_t all, old;
	int ret;

	for (unsigned i = 0; i < PENDING_SHARDS; i++)
		pthread_mutex_init(&s->shards[i].lock, NULL);
	pthread_mutex_init(&s->queue_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->queue_more, &attr);
	pthread_cond_init(&s->queue_done, &attr);
	pthread_condattr_destroy(&attr);
	s->tail = &s->head;
	if (posix_memalign((void **)&s->bounce, BLOCK_SIZE, COALESCE_BYTES))
		return err_set(e, -ENOMEM, "cannot start the data writer: out of memory");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret = -pthread_create(&s->writer, NULL, writer_main, s);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret) {
		free(s->bounce);
		return err_set(e, ret, "cannot start the data writer: %s", strerror(-ret));
	}
	return 0;
}

void pending_stop(struct segments *s)
{
	pthread_mutex_lock(&s->queue_lock);
	s->stop = true;
	pthread_cond_signal(&s->queue_more);
	pthread_mutex_unlock(&s->queue_lock);
	pthread_join(s->writer, NULL);
	free(s->bounce);
	/* After a failure: what was never written, and what was in flight. */
	for (unsigned i = 0; i < PENDING_SHARDS; i++)
		for (unsigned j = 0; j < PENDING_BUCKETS; j++)
			while (s->shards[i].buckets[j])
				pending_remove(s, s->shards[i].buckets[j]->run);
	for (unsigned i = 0; i < PENDING_SHARDS; i++)
		pthread_mutex_destroy(&s->shards[i].lock);
	pthread_cond_destroy(&s->queue_more);
	pthread_cond_destroy(&s->queue_done);
	pthread_mutex_destroy(&s->queue_lock);
}
