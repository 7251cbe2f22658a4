/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks that no file maps any more. They are gathered while entries are applied, and written, sorted
 * and merged, into the metadata right before each flush: then RocksDB's files hold both that nobody
 * maps them and that they wait to be punched. Whoever punches reads them from there and takes them
 * off. Punching twice is harmless, because an address is never assigned again (I7).
 *
 * A crash before the flush loses what was gathered, and the changes that freed it too: both come
 * again with the replay. Each replica keeps its own list; the digest leaves it out.
 *
 * What is taken off leaves the store with the next transaction. Until then `done` hides it: counted off
 * twice, it would take others with it, which nobody would ever find due for punching.
 */
#include "tree_impl.h"

#include <stdlib.h>
#include <string.h>

#include "le.h"

#define RUN_SIZE 16u
#define RUNS_PER_VALUE 2048u

void tree_keep_freed(struct tree *t)
{
	t->freed.on = true;
}

uint64_t tree_freed_blocks(const struct tree *t)
{
	return __atomic_load_n(&t->freed.blocks, __ATOMIC_RELAXED);
}

static void count(struct tree *t, uint64_t more, uint64_t less)
{
	uint64_t n = t->freed.blocks + more;

	__atomic_store_n(&t->freed.blocks, n - MIN(n, less), __ATOMIC_RELAXED);
}

void apply_freed(void *ctx, const struct chunk_block *b)
{
	struct apply *a = ctx;
	struct freed *f = &a->t->freed;
	struct freed_run *last = f->n ? &f->runs[f->n - 1] : NULL;

	if (!f->on)
		return;
	count(a->t, 1, 0);
	if (last && last->epoch == b->epoch && last->block + last->blocks == b->block &&
		b->block % DATA_SEGMENT_BLOCKS) { /* a run lies in one segment */
		last->blocks++;
		return;
	}
	if (f->n == f->size) {
		f->size = f->size ? 2 * f->size : 1024;
		f->runs = realloc(f->runs, f->size * sizeof(*f->runs));
		ensure(f->runs);
	}
	f->runs[f->n++] = (struct freed_run){.block = b->block, .epoch = b->epoch, .blocks = 1};
}

static int run_compare(const void *a, const void *b)
{
	const struct freed_run *x = a, *y = b;

	if (x->epoch != y->epoch)
		return x->epoch < y->epoch ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

/* Sorts the runs and joins neighbours, but not over the border of a data segment. */
static void merge(struct freed *f)
{
	size_t out = 0;

	qsort(f->runs, f->n, sizeof(*f->runs), run_compare);
	for (size_t i = 1; i < f->n; i++) {
		struct freed_run *last = &f->runs[out];

		if (last->epoch == f->runs[i].epoch &&
			last->block + last->blocks == f->runs[i].block &&
			f->runs[i].block % DATA_SEGMENT_BLOCKS)
			last->blocks += f->runs[i].blocks;
		else
			f->runs[++out] = f->runs[i];
	}
	f->n = out + 1;
}

void tree_write_freed(struct tree *t)
{
	uint8_t v[RUNS_PER_VALUE * RUN_SIZE];
	struct freed *f = &t->freed;
	struct key k;

	if (!f->n)
		return;
	merge(f);
	for (size_t at = 0, number = 0; at < f->n; number++) {
		size_t n = MIN(f->n - at, (size_t)RUNS_PER_VALUE);

		for (size_t i = 0; i < n; i++) {
			le64_put(v + i * RUN_SIZE, f->runs[at + i].block);
			le32_put(v + i * RUN_SIZE + 8, f->runs[at + i].epoch);
			le32_put(v + i * RUN_SIZE + 12, f->runs[at + i].blocks);
		}
		key_number(&k, KEY_FREED, t->sb.applied.seq, number);
		put_plain(t, &k, v, n * RUN_SIZE);
		at += n;
	}
	f->n = 0;
}

int freed_decode(const struct key *k, const uint8_t *v, size_t len,
	int (*fn)(void *ctx, struct addr a, uint32_t blocks), void *ctx)
{
	const uint8_t *p;
	size_t n;
	int r = plain_decode(k, v, len, &p, &n);

	if (r || n % RUN_SIZE || k->len != KEY_HEAD + 8)
		return -EBADMSG;
	for (; n && !r; n -= RUN_SIZE, p += RUN_SIZE) {
		struct addr a = {.block = le64_get(p), .epoch = le32_get(p + 8)};
		uint32_t blocks = le32_get(p + 12);

		if (!a.epoch || !blocks || a.block > UINT64_MAX / BLOCK_SIZE - blocks)
			return -EBADMSG;
		r = fn(ctx, a, blocks);
	}
	return r;
}

/* Walks the lists up to seq that are not taken off; fn sees each value. */
static int each_list(struct tree *t, uint64_t seq,
	int (*fn)(void *ctx, const struct key *k, const uint8_t *v, size_t len), void *ctx)
{
	const char family = KEY_FREED;
	uint64_t done = __atomic_load_n(&t->freed.done, __ATOMIC_RELAXED);
	struct store_iter *it;
	struct key k;
	int r;

	if (seq <= done)
		return 0;
	key_ino(&k, family, done + 1); /* the place of the inode is the seq's here */
	r = store_iter_new(t->store, &family, 1, k.b + 1, k.len - 1, &it);
	if (r)
		return r;
	for (; store_iter_valid(it) && !r; store_iter_next(it)) {
		size_t len;
		const uint8_t *key = store_iter_key(it, &k.len), *v = store_iter_value(it, &len);

		if (k.len != KEY_HEAD + 8) {
			r = -EBADMSG;
			break;
		}
		memcpy(k.b, key, k.len);
		if (key_get_ino(k.b) > seq)
			break;
		r = fn(ctx, &k, v, len);
	}
	if (!r)
		r = store_iter_error(it);
	store_iter_free(it);
	return r;
}

struct teller {
	int (*fn)(void *ctx, struct addr a, uint32_t blocks);
	void *ctx;
};

static int tell_list(void *ctx, const struct key *k, const uint8_t *v, size_t len)
{
	struct teller *tell = ctx;

	return freed_decode(k, v, len, tell->fn, tell->ctx);
}

int tree_freed(struct tree *t, uint64_t seq, int (*fn)(void *ctx, struct addr a, uint32_t blocks),
	void *ctx)
{
	struct teller tell = {.fn = fn, .ctx = ctx};

	return each_list(t, seq, tell_list, &tell);
}

static int count_run(void *ctx, struct addr a, uint32_t blocks)
{
	*(uint64_t *)ctx += blocks;
	return 0;
}

struct forgetter {
	struct tree *t;
	uint64_t blocks;
};

static int forget_list(void *ctx, const struct key *k, const uint8_t *v, size_t len)
{
	struct forgetter *f = ctx;

	txn_delete(f->t->txn, k->b, k->len);
	return freed_decode(k, v, len, count_run, &f->blocks);
}

int tree_freed_done(struct tree *t, uint64_t seq)
{
	struct forgetter f = {.t = t};
	int r = each_list(t, seq, forget_list, &f);

	count(t, 0, f.blocks);
	if (!r && seq > t->freed.done)
		__atomic_store_n(&t->freed.done, seq, __ATOMIC_RELAXED);
	return r;
}

int freed_open(struct tree *t)
{
	uint64_t blocks = 0;
	int r = tree_freed(t, UINT64_MAX, count_run, &blocks);

	count(t, blocks, 0);
	return r;
}
