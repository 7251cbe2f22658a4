/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing what is dead: orphans (inodes without a name that nobody uses any more) and dead ranges of
 * living files, in entries of at most REAP_CHUNKS_MAX chunks.
 *
 * A queue in memory, on the active only, holds what waits. op_next_reap() takes a handful of items
 * off it into an operation's plan; an item is in the queue, in one plan, or, while the kernel still
 * knows the orphan, in the set `in_use`. The decision puts back what the entry does not finish, with
 * the place where to go on. After a start tree_find_garbage() rebuilds it all from the keys.
 *
 * Which chunks exist: of a small file by arithmetic, else by a walk over the keys, which only a
 * helper may do. The walk stays true until the decision: an orphan that nobody uses does not
 * change, and a chunk made after a dead range has nothing in it that is older than the range.
 */
#include "tree_impl.h"

#include <stdlib.h>
#include <string.h>

#include "le.h"

#define QUEUE_SIZE_MIN 64u /* power of two, like every size of queue and set */

struct plan_item {
	struct garbage_item g;
	struct dead_range range; /* GARBAGE_DEAD: the one that was listed */
	bool listed; /* the fields below are filled */
	bool complete; /* the list reaches the end */
	uint64_t next; /* chunk to go on with when it does not */
	unsigned chunk_at, nchunks; /* in the plan's array */
	size_t names_at, names_size;
	unsigned nnames;
};

/* op->value of an OP_REAP. */
struct reap_plan {
	unsigned n;
	bool listed; /* reap_list() went over it */
	struct plan_item items[REAP_ITEMS_MAX];
	unsigned nchunks, nnames;
	size_t names_size;
	uint64_t chunks[REAP_CHUNKS_MAX];
	uint8_t names[REAP_NAMES_MAX * 32 + XATTR_NAME_BYTES_MAX];
};

/* --- queue and set --- */

void garbage_requeue(struct tree *t, const struct garbage_item *item)
{
	struct garbage *g = &t->garbage;

	if (g->count == g->size) {
		uint32_t size = g->size ? 2 * g->size : QUEUE_SIZE_MIN;
		struct garbage_item *queue = malloc(size * sizeof(*queue));

		ensure(queue);
		for (uint32_t i = 0; i < g->count; i++)
			queue[i] = g->queue[(g->head + i) & (g->size - 1)];
		free(g->queue);
		g->queue = queue;
		g->head = 0;
		g->size = size;
	}
	g->queue[(g->head + g->count++) & (g->size - 1)] = *item;
}

void garbage_add(struct tree *t, uint64_t ino, enum garbage_kind kind)
{
	struct garbage_item item = {.ino = ino, .kind = kind};

	if (!t->garbage.active)
		return;
	garbage_requeue(t, &item);
	t->garbage.dead_added |= kind == GARBAGE_DEAD;
}

bool tree_has_new_garbage(struct tree *t)
{
	bool added = t->garbage.dead_added;

	t->garbage.dead_added = false;
	return added;
}

static struct garbage_item queue_pop(struct garbage *g)
{
	struct garbage_item item = g->queue[g->head];

	g->head = (g->head + 1) & (g->size - 1);
	g->count--;
	return item;
}

/* Where ino is in the set, or the empty place where it would go. */
static uint32_t set_find(const struct garbage *g, uint64_t ino)
{
	uint32_t mask = g->in_use_size - 1;
	uint32_t at = (uint32_t)((ino * 0x9e3779b97f4a7c15ull) >> 32) & mask;

	while (g->in_use[at] && g->in_use[at] != ino)
		at = (at + 1) & mask;
	return at;
}

static void set_add(struct garbage *g, uint64_t ino)
{
	uint32_t at;

	if (2 * g->in_use_count >= g->in_use_size) {
		uint64_t *old = g->in_use;
		uint32_t size = g->in_use_size;

		g->in_use_size = size ? 2 * size : QUEUE_SIZE_MIN;
		g->in_use = calloc(g->in_use_size, sizeof(*g->in_use));
		ensure(g->in_use);
		for (uint32_t i = 0; i < size; i++)
			if (old[i])
				g->in_use[set_find(g, old[i])] = old[i];
		free(old);
	}
	at = set_find(g, ino);
	if (!g->in_use[at])
		g->in_use_count++;
	g->in_use[at] = ino;
}

static bool set_remove(struct garbage *g, uint64_t ino)
{
	uint32_t mask = g->in_use_size - 1, at;

	if (!g->in_use_count)
		return false;
	at = set_find(g, ino);
	if (!g->in_use[at])
		return false;
	g->in_use[at] = 0;
	g->in_use_count--;
	/* What was pushed along by it finds its place again. */
	for (at = (at + 1) & mask; g->in_use[at]; at = (at + 1) & mask) {
		uint64_t moved = g->in_use[at];

		g->in_use[at] = 0;
		g->in_use[set_find(g, moved)] = moved;
	}
	return true;
}

void garbage_free(struct garbage *g)
{
	free(g->queue);
	free(g->in_use);
	memset(g, 0, sizeof(*g));
}

void tree_forgotten(struct tree *t, uint64_t ino)
{
	if (set_remove(&t->garbage, ino))
		garbage_add(t, ino, GARBAGE_ORPHAN);
}

static int find_family(struct tree *t, char family, enum garbage_kind kind)
{
	struct store_iter *it;
	const uint8_t *key;
	size_t klen;
	int r = store_iter_new(t->store, &family, 1, NULL, 0, &it);

	if (r)
		return r;
	for (; store_iter_valid(it); store_iter_next(it)) {
		key = store_iter_key(it, &klen);
		if (klen == KEY_HEAD)
			garbage_add(t, key_get_ino(key), kind);
	}
	r = store_iter_error(it);
	store_iter_free(it);
	return r;
}

int tree_find_garbage(struct tree *t)
{
	int r = tree_flush_txn(t);

	garbage_free(&t->garbage);
	t->garbage.active = true;
	if (!r)
		r = find_family(t, KEY_ORPHAN, GARBAGE_ORPHAN);
	if (!r)
		r = find_family(t, KEY_GARBAGE, GARBAGE_DEAD);
	return r;
}

/* --- planning --- */

/* Takes the inode that somebody waits for out of the middle of the queue. */
static bool take_urgent(struct garbage *g, struct garbage_item *ret_item)
{
	uint64_t ino = g->urgent;

	g->urgent = 0;
	if (!ino)
		return false;
	for (uint32_t n = 0; n < g->count; n++) {
		struct garbage_item *at = &g->queue[(g->head + n) & (g->size - 1)];

		if (at->ino != ino || at->kind != GARBAGE_DEAD)
			continue;
		*ret_item = *at;
		*at = g->queue[g->head];
		queue_pop(g);
		return true;
	}
	return false;
}

bool op_next_reap(struct tree *t, bool (*in_use)(void *ctx, uint64_t ino), void *ctx, struct op *op)
{
	struct garbage *g = &t->garbage;
	struct reap_plan *p;
	struct garbage_item item;
	uint32_t todo = g->count;

	if (!todo)
		return false;
	p = malloc(sizeof(*p));
	ensure(p);
	p->n = p->nchunks = p->nnames = 0;
	p->names_size = 0;
	p->listed = false;
	if (take_urgent(g, &item)) {
		p->items[p->n++] = (struct plan_item){.g = item};
		todo = 0;
	}
	while (todo-- && p->n < REAP_ITEMS_MAX) {
		item = queue_pop(g);
		if (item.kind == GARBAGE_ORPHAN && in_use(ctx, item.ino)) {
			set_add(g, item.ino);
		} else if (item.kind == GARBAGE_ORPHAN) {
			p->items[p->n++] = (struct plan_item){.g = item};
		} else if (!p->n) { /* a dead range is worth an entry of its own */
			p->items[p->n++] = (struct plan_item){.g = item};
			break;
		} else {
			garbage_requeue(t, &item);
		}
	}
	if (!p->n) {
		free(p);
		return false;
	}
	free((void *)op->value);
	op->value = p;
	op->value_len = sizeof(*p);
	return true;
}

/* Chunks that the inode can have, when that is a small number and certain. */
static bool chunks_by_size(const struct inode *i, unsigned *ret_n)
{
	uint64_t n = (i->size + CHUNK_BLOCKS * BLOCK_SIZE - 1) / (CHUNK_BLOCKS * BLOCK_SIZE);

	if (i->has_xattrs)
		return false;
	if (!i->blocks)
		n = 0;
	else if (i->ndead || n > HOLE_CHUNKS_MAX)
		return false;
	*ret_n = (unsigned)n;
	return true;
}

/* --- listing (helper) --- */

/* Chunk numbers from `from` up to `to` (not included). */
static int list_chunks(struct tree *t, struct reap_plan *p, struct plan_item *it, uint64_t from,
	uint64_t to, unsigned max)
{
	struct store_iter *walk;
	const uint8_t *key;
	struct key first;
	size_t klen;
	int r;

	key_number(&first, KEY_CHUNK, it->g.ino, from);
	r = store_iter_new(t->store, first.b, KEY_HEAD, first.b + KEY_HEAD, 8, &walk);
	if (r)
		return r;
	it->complete = true;
	for (; store_iter_valid(walk); store_iter_next(walk)) {
		uint64_t n;

		key = store_iter_key(walk, &klen);
		n = klen == KEY_HEAD + 8 ? be64_get(key + KEY_HEAD) : 0;
		if (n >= to)
			break;
		if (it->nchunks == max) {
			it->complete = false;
			it->next = n;
			break;
		}
		p->chunks[p->nchunks++] = n;
		it->nchunks++;
	}
	r = store_iter_error(walk);
	store_iter_free(walk);
	return r;
}

/* false: they do not fit into this plan. */
static int list_names(struct tree *t, struct reap_plan *p, struct plan_item *it, bool *ret_fit)
{
	struct store_iter *walk;
	struct key prefix;
	const uint8_t *key;
	size_t klen;
	int r;

	key_ino(&prefix, KEY_XATTR, it->g.ino);
	r = store_iter_new(t->store, prefix.b, prefix.len, NULL, 0, &walk);
	if (r)
		return r;
	*ret_fit = true;
	it->names_at = p->names_size;
	for (; store_iter_valid(walk) && *ret_fit; store_iter_next(walk)) {
		key = store_iter_key(walk, &klen);
		klen -= KEY_HEAD;
		if (p->nnames == REAP_NAMES_MAX || p->names_size + 1 + klen > sizeof(p->names)) {
			*ret_fit = false;
			break;
		}
		p->names[p->names_size++] = (uint8_t)klen;
		memcpy(p->names + p->names_size, key + KEY_HEAD, klen);
		p->names_size += klen;
		p->nnames++;
		it->nnames++;
	}
	it->names_size = p->names_size - it->names_at;
	r = store_iter_error(walk);
	store_iter_free(walk);
	return r;
}

static int list_orphan(struct view *v, struct reap_plan *p, struct plan_item *it, unsigned max)
{
	bool fit = true;
	int r;

	it->chunk_at = p->nchunks;
	r = list_chunks(v->t, p, it, it->g.resume, UINT64_MAX, max);
	if (!r && it->complete)
		r = list_names(v->t, p, it, &fit);
	if (!r && !fit) { /* the next plan has room for all of them */
		p->names_size = it->names_at;
		p->nnames -= it->nnames;
		it->nnames = 0;
		it->names_size = 0;
		it->complete = false;
		it->next = it->nchunks ? p->chunks[p->nchunks - 1] : it->g.resume;
	}
	it->listed = !r;
	return r;
}

static int list_dead(struct view *v, const struct inode *i, struct reap_plan *p,
	struct plan_item *it, unsigned max)
{
	uint64_t from;
	int r;

	it->range = i->dead[0];
	from = it->range.from / CHUNK_BLOCKS;
	if (it->g.seq == it->range.seq)
		from = MAX(from, it->g.resume);
	it->chunk_at = p->nchunks;
	r = list_chunks(v->t, p, it, from, (it->range.to - 1) / CHUNK_BLOCKS + 1, max);
	it->listed = !r;
	return r;
}

int reap_list(struct view *v, struct op *op)
{
	struct reap_plan *p = (struct reap_plan *)op->value;
	unsigned budget = REAP_CHUNKS_MAX, n;
	struct inode i;
	int r = 0;

	p->nchunks = p->nnames = 0;
	p->names_size = 0;
	p->listed = true;
	for (unsigned at = 0; at < p->n && !r; at++) {
		struct plan_item *it = &p->items[at];

		it->listed = false;
		it->nchunks = it->nnames = 0;
		r = view_inode(v, it->g.ino, &i);
		if (r == -ENOENT || (!r && it->g.kind == GARBAGE_DEAD && !i.ndead)) {
			r = 0;
			continue;
		}
		if (r)
			break;
		if (it->g.kind == GARBAGE_ORPHAN && chunks_by_size(&i, &n)) {
			budget -= MIN(budget, n);
			continue;
		}
		if (!budget)
			continue;
		r = it->g.kind == GARBAGE_ORPHAN ? list_orphan(v, p, it, budget)
						 : list_dead(v, &i, p, it, budget);
		budget -= it->nchunks;
	}
	return r;
}

/* --- deciding --- */

struct reap_decide {
	struct decide *d;
	struct reap_plan *p;
	struct body_reap b;
	uint8_t chunks[8 * REAP_CHUNKS_MAX]; /* encoded */
	unsigned nchunks;
	struct garbage_item again[REAP_ITEMS_MAX]; /* to put back */
	unsigned nagain;
};

/* Adds the chunk when there is something to remove in it. */
static int add_chunk(struct reap_decide *rd, const struct inode *i, struct body_reap_item *out,
	bool whole, uint64_t number)
{
	struct chunk c;
	int r = view_chunk(&rd->d->v, i->ino, number, &c);

	if (r)
		return r;
	if (!(whole ? c.mapped : chunk_purge(&c, i, number, NULL, NULL)))
		return 0;
	if (!out->nchunks)
		out->chunks = rd->chunks + 8 * (size_t)rd->nchunks;
	le64_put(rd->chunks + 8 * (size_t)rd->nchunks++, number);
	out->nchunks++;
	return 0;
}

static void put_again(
	struct reap_decide *rd, const struct plan_item *it, uint64_t seq, uint64_t next)
{
	struct garbage_item g = it->g;

	g.seq = seq;
	g.resume = next;
	rd->again[rd->nagain++] = g;
}

static int reap_orphan(struct reap_decide *rd, const struct plan_item *it, const struct inode *i)
{
	struct body_reap_item *out = &rd->b.items[rd->b.n];
	bool small;
	unsigned n;
	int r = 0;

	if (i->nlink) /* not an orphan: nothing of it may be touched */
		return -EBADMSG;
	*out = (struct body_reap_item){.ino = i->ino, .flags = REAP_ORPHAN};
	small = chunks_by_size(i, &n);
	if (!small && !it->listed && !rd->p->listed)
		return -EAGAIN;
	if (small ? rd->nchunks + n > REAP_CHUNKS_MAX : !it->listed) {
		put_again(rd, it, 0, it->g.resume);
		return 0;
	}
	if (small) {
		for (unsigned c = 0; c < n && !r; c++)
			r = add_chunk(rd, i, out, true, c);
		out->flags |= REAP_LAST;
	} else {
		if (rd->nchunks + it->nchunks > REAP_CHUNKS_MAX) {
			put_again(rd, it, 0, it->g.resume);
			return 0;
		}
		for (unsigned c = 0; c < it->nchunks && !r; c++)
			r = add_chunk(rd, i, out, true, rd->p->chunks[it->chunk_at + c]);
		if (it->complete) {
			out->flags |= REAP_LAST;
			out->nnames = (uint16_t)it->nnames;
			out->names = rd->p->names + it->names_at;
			out->names_size = it->names_size;
		} else {
			put_again(rd, it, 0, it->next);
		}
	}
	if (out->nchunks || out->flags & REAP_LAST)
		rd->b.n++;
	return r;
}

static int reap_dead(struct reap_decide *rd, struct plan_item *it, const struct inode *i)
{
	struct body_reap_item *out = &rd->b.items[rd->b.n];
	int r = 0;

	if (!it->listed || it->range.seq != i->dead[0].seq) {
		it->listed = rd->p->listed = false;
		return -EAGAIN;
	}
	*out = (struct body_reap_item){.ino = i->ino};
	for (unsigned c = 0; c < it->nchunks && !r; c++)
		r = add_chunk(rd, i, out, false, rd->p->chunks[it->chunk_at + c]);
	if (r)
		return r;
	if (it->complete) {
		out->flags |= REAP_DROP;
		out->drop = it->range;
	}
	if (!it->complete || i->ndead > 1)
		put_again(rd, it, it->range.seq, it->complete ? UINT64_MAX : it->next);
	if (out->nchunks || out->flags)
		rd->b.n++;
	return 0;
}

int decide_reap(struct decide *d)
{
	struct reap_decide rd = {.d = d, .p = (struct reap_plan *)d->op->value};
	struct inode i;
	int r = 0;

	for (unsigned at = 0; at < rd.p->n && !r; at++) {
		struct plan_item *it = &rd.p->items[at];

		r = view_inode(&d->v, it->g.ino, &i);
		if (r == -ENOENT) { /* another plan was faster */
			r = 0;
			continue;
		}
		if (r)
			break;
		if (it->g.kind == GARBAGE_ORPHAN)
			r = reap_orphan(&rd, it, &i);
		else if (i.ndead)
			r = reap_dead(&rd, it, &i);
	}
	if (r || view_warms(&d->v))
		return r;
	for (unsigned n = 0; n < rd.nagain; n++)
		garbage_requeue(d->v.t, &rd.again[n]);
	return rd.b.n ? decide_finish(d, body_encode_reap(&rd.b, d->scratch)) : 1;
}
