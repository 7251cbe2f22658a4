/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is demanded when persons have made a fork. There is no one truth then, but each side has its own, and
 * every promise that was made on a side holds there:
 *
 *   settled    each position that an active one ever committed, or began to serve from, on whatever side.
 *              Nothing else is flushed (I5), and no standby is told of anything else as committed.
 *   promised   for each version of the record the highest position that was acknowledged under it. Whoever
 *              holds a record that follows the version has it, if it serves (I4), and never drops it (I6).
 *
 * What a side may not know of: a version behind which somebody accepted a loss of data. Both tables are kept from
 * the beginning of a world, so that they know what was before the fork.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

static void table_clear(struct table *t)
{
	t->n = 0;
	if (t->cap)
		memset(t->slots, 0, t->cap * sizeof(*t->slots));
}

/* The value of a key that is not 0; it is 0 where the key is new. Valid until the next call. */
static uint64_t *table_at(struct table *t, uint64_t key)
{
	if (2 * t->n >= t->cap) {
		struct table bigger = {.cap = t->cap ? 2 * t->cap : 4096};

		bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
		ensure(bigger.slots);
		for (size_t i = 0; i < t->cap; i++)
			if (t->slots[i].key)
				*table_at(&bigger, t->slots[i].key) = t->slots[i].value;
		free(t->slots);
		*t = bigger;
	}
	for (size_t i = key * 0x9e3779b97f4a7c15ull >> 20;; i++) {
		struct table_slot *s = &t->slots[i & (t->cap - 1)];

		if (s->key == key)
			return &s->value;
		if (!s->key) {
			s->key = key;
			t->n++;
			return &s->value;
		}
	}
}

static bool table_has(const struct table *t, uint64_t key, uint64_t *ret_value)
{
	for (size_t i = key * 0x9e3779b97f4a7c15ull >> 20; t->cap; i++) {
		const struct table_slot *s = &t->slots[i & (t->cap - 1)];

		if (s->key == key) {
			*ret_value = s->value;
			return true;
		}
		if (!s->key)
			return false;
	}
	return false;
}

static uint64_t pack(uint64_t seq, uint32_t chain)
{
	return seq << 32 | chain;
}

void branch_reset(struct world *w)
{
	table_clear(&w->settled);
	table_clear(&w->promised);
}

void branch_free(struct world *w)
{
	free(w->settled.slots);
	free(w->promised.slots);
}

void branch_settle(struct world *w, const struct node *n, uint64_t seq)
{
	for (; seq; seq--) { /* what is before a position that is known is known */
		uint64_t *v = table_at(&w->settled, pack(seq, n->disk.chain[seq]));

		if (*v)
			return;
		*v = 1;
	}
}

bool branch_settled(const struct world *w, struct pos pos)
{
	uint64_t v;

	return !pos.seq || table_has(&w->settled, pack(pos.seq, pos.chain), &v);
}

void branch_promise(struct world *w, const struct node *n, uint64_t seq)
{
	uint64_t *v = table_at(&w->promised, n->disk.record.version.id);

	branch_settle(w, n, seq);
	if (seq > *v >> 32)
		*v = pack(seq, n->disk.chain[seq]);
}

/* What was promised under the versions that the replica's record follows, from its own one on; `at` is 0 at first.
 * False where there is no more of it. */
static bool next_promise(
	const struct world *w, const struct node *n, unsigned *at, struct pos *ret_promised)
{
	const struct record *r = &n->disk.record;

	while (*at <= r->nancestors) {
		const struct record_version *v =
			*at ? &r->ancestors[r->nancestors - *at] : &r->version;
		uint64_t value;

		*at = v->forced ? r->nancestors + 1 : *at + 1;
		if (!table_has(&w->promised, v->id, &value))
			continue;
		*ret_promised = (struct pos){.seq = value >> 32, .chain = (uint32_t)value};
		return true;
	}
	return false;
}

bool branch_lacks(const struct world *w, const struct node *n, uint64_t *ret_promised)
{
	struct pos p;

	for (unsigned at = 0; next_promise(w, n, &at, &p);) {
		*ret_promised = p.seq;
		if (p.seq > n->disk.end.seq || n->disk.chain[p.seq] != p.chain)
			return true;
	}
	return false;
}

bool branch_drops(const struct world *w, const struct node *n, uint64_t seq, uint64_t *ret_promised)
{
	struct pos p;

	for (unsigned at = 0; next_promise(w, n, &at, &p);) {
		*ret_promised = p.seq;
		if (p.seq > seq && p.seq <= n->disk.end.seq && n->disk.chain[p.seq] == p.chain)
			return true;
	}
	return false;
}

const struct node *branch_overtaken(const struct world *w, const struct node *n, uint64_t seq)
{
	for (unsigned i = 0; i < w->n; i++) {
		const struct node *o = &w->node[i];
		enum record_order order = record_compare(&o->disk.record, &n->disk.record);

		if (o == n || !o->serving || o->epoch.num <= n->epoch.num ||
			(order != RECORD_SAME && order != RECORD_NEWER))
			continue;
		if (seq > o->served_from || o->disk.chain[seq] != n->disk.chain[seq])
			return o;
	}
	return NULL;
}
