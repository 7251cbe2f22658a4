/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fake volume. Every operation becomes a batch of its own, made and verified with the real
 * codec, so an entry that could not be recovered is found here. Reaping runs between operations.
 * Everything unexpected ends the process: it is a test's tool.
 */
#include "fake_volume.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "repair.h"

#define TRIES_MAX 100

struct parked {
	struct op *op;
	void *bytes;
	struct parked *next;
};

struct volume {
	struct store *store;
	struct tree *tree;
	struct segments *segments;
	struct payload_pool *pool;
	unsigned delay_us;
	uint64_t next_block;
	struct pos pos;
	struct uuid uuid;
	struct epoch epoch;
	uint8_t *batch;
	pthread_t thread;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t more;
	struct op *head, **tail;
	struct op *held, **held_tail;
	struct parked *parked, **parked_tail;
	uint64_t forgotten[4096];
	unsigned nforgotten;
	struct ll *ll;
	bool hold, failed, stop, room;
	uint64_t count, seq, nparked;
};

/* --- what the FUSE side calls --- */

void volume_submit(struct volume *v, struct op *op)
{
	LOCK_SCOPE(&v->lock);
	op->next = NULL;
	*v->tail = op;
	v->tail = &op->next;
	v->count++;
	pthread_cond_signal(&v->more);
}

/* Nobody has the bytes. Called on a worker, where a real one would use a job thread. */
void volume_repair(struct volume *v, struct repair *r)
{
	r->again(r, -EIO);
}

struct tree *volume_tree(struct volume *v)
{
	return v->tree;
}

struct segments *volume_segments(struct volume *v)
{
	return v->segments;
}

struct payload_pool *volume_pool(struct volume *v)
{
	return v->pool;
}

int volume_park(struct volume *v, struct op *op, const void *bytes)
{
	struct parked *p = calloc(1, sizeof(*p));

	ensure(p && (p->bytes = malloc(op->len)));
	memcpy(p->bytes, bytes, op->len);
	p->op = op;
	LOCK_SCOPE(&v->lock);
	*v->parked_tail = p;
	v->parked_tail = &p->next;
	v->nparked++;
	v->room = true;
	pthread_cond_signal(&v->more);
	return 0;
}

void volume_forgotten(struct volume *v, uint64_t ino)
{
	LOCK_SCOPE(&v->lock);
	ensure(v->nforgotten < 4096);
	v->forgotten[v->nforgotten++] = ino;
	pthread_cond_signal(&v->more);
}

void volume_space(struct volume *v, struct volume_space *ret_s)
{
	struct tree_info i;

	tree_info(v->tree, &i);
	ret_s->blocks = i.size_blocks;
	ret_s->blocks_free = i.size_blocks - MIN(i.used_blocks, i.size_blocks);
	ret_s->inodes = i.inodes + ret_s->blocks_free;
	ret_s->inodes_free = ret_s->blocks_free;
}

static void on_room(void *ctx)
{
	struct volume *v = ctx;

	LOCK_SCOPE(&v->lock);
	v->room = true;
	pthread_cond_signal(&v->more);
}

/* --- the thread --- */

static void stage(struct volume *v, struct op *op, const struct decision *d)
{
	struct batch_header h;
	struct batch_writer w;
	struct entry e;
	size_t cursor = 0;

	batch_begin(&w, v->batch, BATCH_SIZE_MAX, &v->uuid, v->epoch, v->pos);
	op->seq = batch_add(&w, d->type, op->mount_id, op->unique, d->iov, d->niov, NULL);
	batch_finish(&w, v->pos.seq, clock_real_ns());
	v->pos = batch_writer_end(&w);
	ensure(!batch_verify(v->batch, BATCH_SIZE_MAX, &h));
	ensure(batch_next_entry(v->batch, &h, &cursor, &e));
	if (d->addr.epoch)
		segments_pending_add(v->segments, d->addr, d->addr_blocks, op->payload, 0, op->seq);
	ensure(!apply_entry(v->tree, &e, op));
	ensure(!tree_flush_txn(v->tree));
	pthread_mutex_lock(&v->lock);
	v->seq = v->pos.seq;
	pthread_mutex_unlock(&v->lock);
}

static struct decide_ctx context(struct volume *v)
{
	struct tree_info i;

	tree_info(v->tree, &i);
	return (struct decide_ctx){.seq = v->pos.seq + 1,
		.now_ns = clock_real_ns(),
		.epoch_num = v->epoch.num,
		.next_block = v->next_block,
		.room_blocks = i.size_blocks - MIN(i.used_blocks, i.size_blocks),
		.free_blocks = i.size_blocks - MIN(i.used_blocks, i.size_blocks)};
}

static void end_op(struct op *op, int error)
{
	op->error = error;
	op->done(op);
}

static bool in_use(void *ctx, uint64_t ino)
{
	struct volume *v = ctx;

	LOCK_SCOPE(&v->lock);
	return v->ll && ll_knows(v->ll, ino);
}

static void reap_done(struct op *op)
{
	op_free(op);
}

/* One bounded step of removing what is dead; true when there was one. */
static bool reap(struct volume *v)
{
	struct op *op = op_new(OP_REAP);
	struct decide_ctx c = context(v);
	struct decision d = {0};
	bool stale;
	int r;

	op->done = reap_done;
	if (!op_next_reap(v->tree, in_use, v, op)) {
		op_free(op);
		return false;
	}
	while ((r = op_decide(v->tree, op, &c, &d)) == -EAGAIN)
		ensure(!op_warm(v->tree, op, &stale));
	ensure(r >= 0);
	if (!r)
		stage(v, op, &d);
	end_op(op, 0);
	return true;
}

static void run(struct volume *v, struct op *op)
{
	struct decision d = {0};
	bool stale = false;
	int r, tries = 0;

	for (;;) {
		struct decide_ctx c = context(v);

		r = op_decide(v->tree, op, &c, &d);
		if (!r)
			v->next_block = c.next_block;
		if (r == -EINPROGRESS) {
			ensure(reap(v));
			continue;
		}
		if (r != -EAGAIN)
			break;
		ensure(++tries < TRIES_MAX);
		r = op_warm(v->tree, op, &stale);
		if (!r && stale)
			r = op_read_edges(v->tree, v->segments, v->pool, op);
		if (r)
			break;
	}
	if (!r)
		stage(v, op, &d);
	if (r) {
		end_op(op, r < 0 ? r : 0);
		return;
	}
	if (v->delay_us)
		usleep(v->delay_us);
	pthread_mutex_lock(&v->lock);
	if (v->hold) {
		op->next = NULL;
		*v->held_tail = op;
		v->held_tail = &op->next;
		op = NULL;
	}
	pthread_mutex_unlock(&v->lock);
	if (op)
		end_op(op, 0);
}

/* Brings parked writes back while the pool has room. */
static void unpark(struct volume *v)
{
	for (;;) {
		struct parked *p;
		struct op *op;
		size_t head, total;
		int r = 0;

		pthread_mutex_lock(&v->lock);
		p = v->parked;
		v->room = false;
		pthread_mutex_unlock(&v->lock);
		if (!p)
			return;
		op = p->op;
		head = op->off % BLOCK_SIZE;
		total = (head + op->len + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
		op->payload = payload_new(v->pool, total);
		if (!op->payload)
			return;
		pthread_mutex_lock(&v->lock);
		v->parked = p->next;
		if (!v->parked)
			v->parked_tail = &v->parked;
		pthread_mutex_unlock(&v->lock);
		memcpy(op->payload->data + head, p->bytes, op->len);
		if (head || (head + op->len) % BLOCK_SIZE)
			r = op_read_edges(v->tree, v->segments, v->pool, op);
		free(p->bytes);
		free(p);
		if (r)
			end_op(op, r);
		else
			run(v, op);
	}
}

static void take_forgotten(struct volume *v)
{
	uint64_t list[4096];
	unsigned n;

	pthread_mutex_lock(&v->lock);
	n = v->nforgotten;
	memcpy(list, v->forgotten, n * sizeof(list[0]));
	v->nforgotten = 0;
	pthread_mutex_unlock(&v->lock);
	for (unsigned i = 0; i < n; i++)
		tree_forgotten(v->tree, list[i]);
}

static void *thread_main(void *arg)
{
	struct volume *v = arg;
	struct op *op;

	pthread_mutex_lock(&v->lock);
	for (;;) {
		bool failed = v->failed, room;

		while (!v->head && !v->nforgotten && !(v->room && v->parked) && !v->stop) {
			bool more;

			pthread_mutex_unlock(&v->lock);
			more = reap(v);
			pthread_mutex_lock(&v->lock);
			if (!more && !v->head && !v->nforgotten && !(v->room && v->parked) &&
				!v->stop)
				pthread_cond_wait(&v->more, &v->lock);
		}
		if (!v->head && v->stop)
			break;
		op = v->head;
		if (op) {
			v->head = op->next;
			if (!v->head)
				v->tail = &v->head;
		}
		room = v->room && v->parked;
		pthread_mutex_unlock(&v->lock);
		take_forgotten(v);
		if (op && (failed || op->error))
			end_op(op, failed ? -EIO : op->error);
		else if (op)
			run(v, op);
		if (room)
			unpark(v);
		pthread_mutex_lock(&v->lock);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

/* --- the test's side --- */

struct volume *fake_volume_new(const struct fake_options *o)
{
	struct store_options so = {.in_memory = true, .create = true};
	uint64_t blocks = o->size_blocks ? o->size_blocks : (32ull << 30) / BLOCK_SIZE;
	struct volume *v = calloc(1, sizeof(*v));
	struct err e = {0};

	ensure(v);
	v->uuid = uuid_new();
	v->epoch = (struct epoch){.num = 1, .id = random_u64()};
	v->tail = &v->head;
	v->held_tail = &v->held;
	v->parked_tail = &v->parked;
	v->delay_us = o->delay_us;
	pthread_mutex_init(&v->lock, NULL);
	pthread_cond_init(&v->more, NULL);
	ensure(!posix_memalign((void **)&v->batch, BLOCK_SIZE, BATCH_SIZE_MAX));
	ensure(!payload_pool_new(
		o->payload_memory ? o->payload_memory : 64u << 20, on_room, v, &v->pool));
	if (store_open("/fake", &so, &v->store, &e) ||
		tree_format(v->store, &v->uuid, blocks, clock_real_ns(), 0755, 0, 0, &e) ||
		tree_open(v->store, &v->uuid, &v->tree, &e) ||
		segments_open(o->dir, &v->segments, &e) ||
		segments_add_epoch(v->segments, v->epoch, &e)) {
		log_error("fake volume: %s", e.msg);
		abort();
	}
	ensure(!tree_find_garbage(v->tree));
	ensure(!segments_prepare(v->segments, (struct addr){.epoch = 1}, 0));
	ensure(!pthread_create(&v->thread, NULL, thread_main, v));
	return v;
}

void fake_volume_serve(struct volume *v, struct ll *l)
{
	LOCK_SCOPE(&v->lock);
	v->ll = l;
}

static void release_held(struct volume *v, int error)
{
	struct op *list, *next;

	pthread_mutex_lock(&v->lock);
	list = v->held;
	v->held = NULL;
	v->held_tail = &v->held;
	pthread_mutex_unlock(&v->lock);
	for (; list; list = next) {
		next = list->next;
		end_op(list, error);
	}
}

void fake_volume_hold(struct volume *v, bool hold)
{
	pthread_mutex_lock(&v->lock);
	v->hold = hold;
	pthread_mutex_unlock(&v->lock);
	if (!hold)
		release_held(v, 0);
}

void fake_volume_fail(struct volume *v)
{
	pthread_mutex_lock(&v->lock);
	v->failed = true;
	v->hold = false;
	pthread_mutex_unlock(&v->lock);
	release_held(v, -EIO);
}

uint64_t fake_volume_count(struct volume *v)
{
	LOCK_SCOPE(&v->lock);
	return v->count;
}

uint64_t fake_volume_seq(struct volume *v)
{
	LOCK_SCOPE(&v->lock);
	return v->seq;
}

uint64_t fake_volume_parked(struct volume *v)
{
	LOCK_SCOPE(&v->lock);
	return v->nparked;
}

void fake_volume_free(struct volume *v)
{
	pthread_mutex_lock(&v->lock);
	v->stop = true;
	pthread_cond_signal(&v->more);
	pthread_mutex_unlock(&v->lock);
	pthread_join(v->thread, NULL);
	tree_close(v->tree);
	segments_close(v->segments);
	store_close(v->store);
	payload_pool_free(v->pool);
	pthread_cond_destroy(&v->more);
	pthread_mutex_destroy(&v->lock);
	free(v->batch);
	free(v);
}
