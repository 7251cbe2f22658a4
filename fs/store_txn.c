/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transactions and preloads: a table in memory in front of RocksDB.
 *
 * A transaction keeps what it read and wrote in an open-addressing table whose keys and values lie
 * in an arena, so that the steady state allocates nothing. As the transaction is the only writer, what
 * it knows of a key stays true after txn_write() too; it is kept as a cache until the table or the
 * arena has grown past a bound, and then all of it is forgotten at once.
 *
 * A preload is the same table filled by a helper thread at one moment. What it says of a key is
 * current as long as every change since then is still in the memtable, where it is looked for first:
 * that holds while no flush has been *begun* since (the end of a flush cannot be observed in step
 * with reads, its begin can). Beyond that the preload is ignored and the caller reads again.
 */
#include "store_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BLOCK (256u << 10)
#define SLOTS 1024u /* of a new transaction */
#define CACHE_SLOTS_MAX (1u << 16) /* slots kept over txn_write() */
#define MEMTABLE_OVERHEAD 96u /* bytes of a key in the memtable beside key and value */

/* --- arena --- */

struct arena_block {
	struct arena_block *next;
	size_t size;
	uint8_t bytes[];
};

void *arena_alloc(struct arena *a, size_t n)
{
	struct arena_block *b = a->current, *fresh;
	size_t size;
	void *p;

	n = (n + 7) & ~(size_t)7;
	while (!b || a->at + n > b->size) {
		if (b && b->next) { /* kept from an earlier round */
			b = a->current = b->next;
			a->at = 0;
			continue;
		}
		size = MAX(n, (size_t)ARENA_BLOCK);
		fresh = malloc(sizeof(*fresh) + size);
		ensure(fresh);
		fresh->next = NULL;
		fresh->size = size;
		if (b)
			b->next = fresh;
		else
			a->first = fresh;
		a->total += size;
		b = a->current = fresh;
		a->at = 0;
	}
	p = b->bytes + a->at;
	a->at += n;
	return p;
}

void arena_reset(struct arena *a, size_t keep)
{
	struct arena_block **at = &a->first;
	size_t kept = 0;

	while (*at && kept + (*at)->size <= keep) {
		kept += (*at)->size;
		at = &(*at)->next;
	}
	while (*at) {
		struct arena_block *b = *at;

		*at = b->next;
		free(b);
	}
	a->total = kept;
	a->current = a->first;
	a->at = 0;
}

/* --- table --- */

enum { ABSENT, PRESENT };

struct slot {
	uint64_t hash;
	uint8_t *key, *value;
	uint32_t klen, vlen, cap;
	uint8_t state;
	bool dirty;
};

struct table {
	struct slot *slots; /* in order of appearance */
	uint32_t count, size;
	uint32_t *index; /* slot number + 1, or 0; mask + 1 of them, at most half used */
	uint32_t mask;
	struct arena arena;
};

/* A word at a time, folded by multiplication; the low bits are good enough to index with. */
uint64_t store_hash(const void *key, size_t len)
{
	const uint8_t *p = key;
	uint64_t h = len * 0x9e3779b97f4a7c15ull, w;

	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&w, p, 8);
		h = (h ^ w) * 0xff51afd7ed558ccdull;
		h ^= h >> 32;
	}
	w = 0;
	memcpy(&w, p, len);
	h = (h ^ w) * 0xc4ceb9fe1a85ec53ull;
	return h ^ (h >> 29);
}

static void table_init(struct table *t, uint32_t slots)
{
	t->count = 0;
	t->size = slots;
	t->mask = 2 * slots - 1;
	t->slots = malloc(slots * sizeof(*t->slots));
	t->index = calloc(2 * (size_t)slots, sizeof(*t->index));
	ensure(t->slots && t->index);
}

static void table_close(struct table *t)
{
	arena_reset(&t->arena, 0);
	free(t->slots);
	free(t->index);
}

static size_t table_own_bytes(const struct table *t)
{
	return t->size * sizeof(*t->slots) + ((size_t)t->mask + 1) * sizeof(*t->index);
}

static size_t table_bytes(const struct table *t)
{
	return table_own_bytes(t) + t->arena.total;
}

/* Everything; `keep` bytes of memory, about, stay for what comes. */
static void table_forget(struct table *t, size_t keep)
{
	size_t own = table_own_bytes(t);

	if (own > keep) {
		table_close(t);
		table_init(t, SLOTS);
		return;
	}
	memset(t->index, 0, ((size_t)t->mask + 1) * sizeof(*t->index));
	t->count = 0;
	arena_reset(&t->arena, keep - own);
}

static struct slot *table_find(
	const struct table *t, const void *key, size_t klen, uint64_t hash, uint32_t *ret_at)
{
	uint32_t at = (uint32_t)hash & t->mask;

	for (; t->index[at]; at = (at + 1) & t->mask) {
		struct slot *s = &t->slots[t->index[at] - 1];

		if (s->hash == hash && s->klen == klen && !memcmp(s->key, key, klen))
			return s;
	}
	if (ret_at)
		*ret_at = at;
	return NULL;
}

static void table_grow(struct table *t)
{
	uint32_t size = 2 * t->size;

	t->slots = realloc(t->slots, size * sizeof(*t->slots));
	free(t->index);
	t->index = calloc(2 * (size_t)size, sizeof(*t->index));
	ensure(t->slots && t->index);
	t->size = size;
	t->mask = 2 * size - 1;
	for (uint32_t i = 0; i < t->count; i++) {
		uint32_t at = (uint32_t)t->slots[i].hash & t->mask;

		while (t->index[at])
			at = (at + 1) & t->mask;
		t->index[at] = i + 1;
	}
}

/* The key's slot, made when there is none. */
static struct slot *table_slot(struct table *t, const void *key, size_t klen, uint64_t hash)
{
	uint32_t at;
	struct slot *s = table_find(t, key, klen, hash, &at);

	if (s)
		return s;
	if (t->count == t->size) {
		table_grow(t);
		table_find(t, key, klen, hash, &at);
	}
	s = &t->slots[t->count++];
	t->index[at] = t->count;
	*s = (struct slot){.hash = hash, .klen = (uint32_t)klen};
	s->key = arena_alloc(&t->arena, klen);
	memcpy(s->key, key, klen);
	return s;
}

static void slot_set(struct table *t, struct slot *s, const void *v, size_t vlen)
{
	if (vlen > s->cap) {
		/* Values that change often also grow: leave room. */
		s->cap = (uint32_t)(vlen + (s->cap ? vlen / 2 : 0) + 7) & ~7u;
		s->value = arena_alloc(&t->arena, s->cap);
	}
	if (vlen)
		memmove(s->value, v, vlen);
	s->vlen = (uint32_t)vlen;
	s->state = PRESENT;
}

static int slot_result(const struct slot *s, const uint8_t **ret_v, size_t *ret_len)
{
	if (s->state == ABSENT)
		return -ENOENT;
	*ret_v = s->value;
	*ret_len = s->vlen;
	return 0;
}

/* Reads a key from the store into a fresh slot. 0, -ENOENT, -EAGAIN, -EIO. */
static int table_load(struct table *t, struct store *store, rocksdb_readoptions_t *tier,
	const void *key, size_t klen, uint64_t hash, struct slot **ret_s)
{
	rocksdb_pinnableslice_t *slice;
	struct slot *s;
	const char *v;
	size_t len;
	int r = store_read(store, tier, key, klen, &slice);

	if (r && r != -ENOENT)
		return r;
	s = table_slot(t, key, klen, hash);
	if (r) {
		s->state = ABSENT;
	} else {
		v = rocksdb_pinnableslice_value(slice, &len);
		slot_set(t, s, v, len);
		rocksdb_pinnableslice_destroy(slice);
	}
	*ret_s = s;
	return r;
}

/* --- preload --- */

struct store_preload {
	struct store *store;
	uint64_t flushes; /* begun before anything was read */
	struct table table;
};

struct store_preload *store_preload_new(struct store *s)
{
	struct store_preload *p = calloc(1, sizeof(*p));

	ensure(p);
	p->store = s;
	p->flushes = atomic_load(&s->flushes);
	table_init(&p->table, 16);
	return p;
}

void store_preload_free(struct store_preload *p)
{
	if (!p)
		return;
	table_close(&p->table);
	free(p);
}

int store_preload_get(struct store_preload *p, const void *key, size_t klen, const uint8_t **ret_v,
	size_t *ret_len)
{
	uint64_t hash = store_hash(key, klen);
	struct slot *s = table_find(&p->table, key, klen, hash, NULL);
	int r;

	if (!s) {
		r = table_load(&p->table, p->store, p->store->read, key, klen, hash, &s);
		if (r && r != -ENOENT)
			return r;
	}
	return slot_result(s, ret_v, ret_len);
}

int store_preload_key(struct store_preload *p, const void *key, size_t klen)
{
	const uint8_t *v;
	size_t len;
	int r = store_preload_get(p, key, klen, &v, &len);

	return r == -ENOENT ? 0 : r;
}

int preload_find(const struct store_preload *p, const void *key, size_t klen, uint64_t hash,
	const uint8_t **ret_v, size_t *ret_len)
{
	const struct slot *s;

	if (p->flushes != atomic_load(&p->store->flushes))
		return -EAGAIN;
	s = table_find(&p->table, key, klen, hash, NULL);
	return s ? slot_result(s, ret_v, ret_len) : -EAGAIN;
}

/* --- transaction --- */

struct txn {
	struct store *store;
	rocksdb_writebatch_t *batch;
	struct table table;
	uint32_t *dirty; /* numbers of the slots that were written, in order */
	uint32_t ndirty, dirty_size;
	const struct store_preload *preload;
	bool memory_only;
};

struct txn *txn_new(struct store *s)
{
	struct txn *t = calloc(1, sizeof(*t));

	ensure(t);
	t->store = s;
	t->batch = rocksdb_writebatch_create();
	table_init(&t->table, SLOTS);
	t->dirty_size = 1024;
	t->dirty = malloc(t->dirty_size * sizeof(*t->dirty));
	ensure(t->dirty);
	return t;
}

void txn_free(struct txn *t)
{
	if (!t)
		return;
	rocksdb_writebatch_destroy(t->batch);
	table_close(&t->table);
	free(t->dirty);
	free(t);
}

void txn_set_memory_only(struct txn *t, bool on)
{
	t->memory_only = on;
}

void txn_set_preload(struct txn *t, const struct store_preload *p)
{
	t->preload = p;
}

int txn_get(struct txn *t, const void *key, size_t klen, const uint8_t **ret_v, size_t *ret_len)
{
	uint64_t hash = store_hash(key, klen);
	struct slot *s = table_find(&t->table, key, klen, hash, NULL);
	const uint8_t *v;
	size_t len;
	int r;

	if (s)
		return slot_result(s, ret_v, ret_len);
	r = table_load(&t->table, t->store, t->memory_only ? t->store->read_memory : t->store->read,
		key, klen, hash, &s);
	if (r == -EAGAIN && t->preload) {
		r = preload_find(t->preload, key, klen, hash, &v, &len);
		if (r == -EAGAIN)
			return r;
		s = table_slot(&t->table, key, klen, hash);
		if (!r)
			slot_set(&t->table, s, v, len);
	}
	if (r && r != -ENOENT)
		return r;
	return slot_result(s, ret_v, ret_len);
}

static struct slot *slot_dirty(struct txn *t, const void *key, size_t klen)
{
	struct slot *s = table_slot(&t->table, key, klen, store_hash(key, klen));

	if (s->dirty)
		return s;
	s->dirty = true;
	if (t->ndirty == t->dirty_size) {
		t->dirty_size *= 2;
		t->dirty = realloc(t->dirty, t->dirty_size * sizeof(*t->dirty));
		ensure(t->dirty);
	}
	t->dirty[t->ndirty++] = (uint32_t)(s - t->table.slots);
	return s;
}

void txn_put(struct txn *t, const void *key, size_t klen, const void *v, size_t vlen)
{
	slot_set(&t->table, slot_dirty(t, key, klen), v, vlen);
}

void txn_delete(struct txn *t, const void *key, size_t klen)
{
	slot_dirty(t, key, klen)->state = ABSENT;
}

bool txn_dirty(const struct txn *t)
{
	return t->ndirty > 0;
}

static int slot_compare(const void *a, const void *b, void *table)
{
	const struct table *t = table;
	const struct slot *x = &t->slots[*(const uint32_t *)a],
			  *y = &t->slots[*(const uint32_t *)b];
	int r = memcmp(x->key, y->key, MIN(x->klen, y->klen));

	return r ? r : (int)x->klen - (int)y->klen;
}

int txn_write(struct txn *t)
{
	size_t bytes = 0;
	char *text = NULL;

	if (atomic_load(&t->store->failed))
		return -EIO;
	/* In order, so that each insertion into the memtable begins where the last one ended. */
	qsort_r(t->dirty, t->ndirty, sizeof(*t->dirty), slot_compare, &t->table);
	for (uint32_t i = 0; i < t->ndirty; i++) {
		struct slot *s = &t->table.slots[t->dirty[i]];

		if (s->state == PRESENT)
			rocksdb_writebatch_put(
				t->batch, (char *)s->key, s->klen, (char *)s->value, s->vlen);
		else
			rocksdb_writebatch_delete(t->batch, (char *)s->key, s->klen);
		bytes += s->klen + (s->state == PRESENT ? s->vlen : 0) + MEMTABLE_OVERHEAD;
		s->dirty = false;
	}
	if (t->ndirty)
		rocksdb_write(t->store->db, t->store->write, t->batch, &text);
	rocksdb_writebatch_clear(t->batch);
	t->ndirty = 0;
	if (text)
		return store_fail(t->store, "writing", text);
	atomic_fetch_add_explicit(&t->store->memtable_bytes, bytes, memory_order_relaxed);
	atomic_fetch_add_explicit(&t->store->written_bytes, bytes, memory_order_relaxed);
	if (t->table.count > CACHE_SLOTS_MAX || table_bytes(&t->table) > t->store->kept_bytes)
		table_forget(&t->table, t->store->kept_bytes / 2);
	return 0;
}
