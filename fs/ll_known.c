/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which inodes the kernel knows, and how often it was told (its lookup counts): raised before a reply
 * that carries an entry, lowered by FORGET. An unlinked inode whose count reaches zero is reported
 * to the volume, which may then remove it.
 *
 * Sharded open-addressing tables of 16 bytes an entry: the kernel may know millions. Any thread; the
 * shard's lock is held for a few instructions, and not while the volume is told.
 *
 * They lie in memory that outlives the process (kept.h). Killed at any instruction, they may say: an inode
 * twice, where one was being moved (the higher count is right); a count of 0, where one was being put in (it was
 * not told of yet); a count that is too high, because a FORGET was read and not carried out. ll_known_load()
 * makes new tables of them.
 */
#include "ll_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"

static uint64_t hash(uint64_t ino)
{
	return ino * 0x9e3779b97f4a7c15ull;
}

static struct ll_known *shard_of(struct ll *l, uint64_t ino)
{
	return &l->known[hash(ino) >> 58 & (KEPT_SHARDS - 1)];
}

static size_t home(const struct ll_known *k, uint64_t ino)
{
	return (size_t)(hash(ino) >> 20) & (k->cap - 1);
}

/* The entry's place, or the free one where it would go. */
static struct kept_known *find_locked(struct ll_known *k, uint64_t ino)
{
	size_t i = home(k, ino);

	while (k->entries[i].ino && k->entries[i].ino != ino)
		i = (i + 1) & (k->cap - 1);
	return &k->entries[i];
}

static void resize_locked(struct ll *l, struct ll_known *k, size_t cap)
{
	unsigned shard = (unsigned)(k - l->known);
	struct kept_known *old = k->entries;
	size_t old_cap = k->cap;

	ensure(cap <= KEPT_CAP_MAX);
	k->entries = kept_table(&l->kept, shard, (uint32_t)cap);
	k->cap = cap;
	for (size_t i = 0; i < old_cap; i++)
		if (old[i].ino)
			*find_locked(k, old[i].ino) = old[i];
	kept_order();
	atomic_store(&l->kept.h->caps[shard], (uint32_t)cap);
	kept_order();
	kept_table_clear(&l->kept, shard, (uint32_t)old_cap);
}

/* Takes an entry out and moves those that probed across its place. */
static void remove_locked(struct ll *l, struct ll_known *k, struct kept_known *e)
{
	size_t hole = (size_t)(e - k->entries), mask = k->cap - 1;

	for (size_t i = (hole + 1) & mask; k->entries[i].ino; i = (i + 1) & mask) {
		size_t h = home(k, k->entries[i].ino);

		if (((i - h) & mask) >= ((i - hole) & mask)) {
			k->entries[hole] = k->entries[i];
			kept_order();
			hole = i;
		}
	}
	k->entries[hole].ino = 0;
	kept_order();
	k->entries[hole] = (struct kept_known){0};
	k->used--;
	if (k->cap > KEPT_CAP_MIN && k->used < k->cap / 8)
		resize_locked(l, k, k->cap / 2);
}

/* The entry, made if it is not there. */
static struct kept_known *get_locked(struct ll *l, struct ll_known *k, uint64_t ino)
{
	struct kept_known *e;

	if ((k->used + 1) * 4 > k->cap * 3)
		resize_locked(l, k, k->cap ? k->cap * 2 : KEPT_CAP_MIN);
	e = find_locked(k, ino);
	if (!e->ino) {
		*e = (struct kept_known){0};
		kept_order();
		e->ino = ino;
		kept_order();
		k->used++;
	}
	return e;
}

void ll_known_add(struct ll *l, uint64_t ino, uint64_t n)
{
	struct ll_known *k = shard_of(l, ino);

	LOCK_SCOPE(&k->lock);
	get_locked(l, k, ino)->count += n;
}

void ll_known_load(struct ll *l, const struct kept *from)
{
	for (unsigned s = 0; s < KEPT_SHARDS; s++) {
		uint32_t cap = atomic_load(&from->h->caps[s]);
		const struct kept_known *t = kept_table(from, s, cap);

		for (uint32_t i = 0; i < cap; i++) {
			struct ll_known *k = shard_of(l, t[i].ino);
			struct kept_known *e;

			if (!t[i].ino || !t[i].count)
				continue;
			LOCK_SCOPE(&k->lock);
			e = get_locked(l, k, t[i].ino);
			e->count = MAX((uint64_t)e->count, (uint64_t)t[i].count);
			e->orphan |= t[i].orphan;
		}
	}
}

void ll_known_sub(struct ll *l, uint64_t ino, uint64_t n)
{
	struct ll_known *k = shard_of(l, ino);
	struct kept_known *e;
	bool gone = false;

	pthread_mutex_lock(&k->lock);
	e = k->cap ? find_locked(k, ino) : NULL;
	if (!e || !e->ino) {
		log_debug("the kernel forgot inode %llu that it was not told of",
			(unsigned long long)ino);
	} else if (e->count > n) {
		e->count -= n;
	} else {
		gone = e->orphan;
		remove_locked(l, k, e);
	}
	pthread_mutex_unlock(&k->lock);
	if (gone)
		volume_forgotten(l->v, ino);
}

void ll_known_orphan(struct ll *l, uint64_t ino)
{
	struct ll_known *k = shard_of(l, ino);
	struct kept_known *e;
	bool known;

	pthread_mutex_lock(&k->lock);
	e = k->cap ? find_locked(k, ino) : NULL;
	known = e && e->ino;
	if (known)
		e->orphan = 1;
	pthread_mutex_unlock(&k->lock);
	if (!known)
		volume_forgotten(l->v, ino);
}

bool ll_knows(struct ll *l, uint64_t ino)
{
	struct ll_known *k = shard_of(l, ino);

	LOCK_SCOPE(&k->lock);
	return k->cap && find_locked(k, ino)->ino;
}

size_t ll_known_count(struct ll *l)
{
	size_t n = 0;

	for (unsigned s = 0; s < KEPT_SHARDS; s++)
		n += l->known[s].used;
	return n;
}

int ll_known_list(struct ll *l, uint64_t **ret, size_t *ret_n)
{
	uint64_t *list = NULL;
	size_t n = 0;

	for (unsigned s = 0; s < KEPT_SHARDS; s++) {
		struct ll_known *k = &l->known[s];
		uint64_t *grown;

		LOCK_SCOPE(&k->lock);
		if (!k->used)
			continue;
		grown = realloc(list, (n + k->used) * sizeof(*list));
		if (!grown) {
			free(list);
			return -ENOMEM;
		}
		list = grown;
		for (size_t i = 0; i < k->cap; i++)
			if (k->entries[i].ino)
				list[n++] = k->entries[i].ino;
	}
	*ret = list;
	*ret_n = n;
	return 0;
}

int ll_known_init(struct ll *l)
{
	for (unsigned s = 0; s < KEPT_SHARDS; s++)
		pthread_mutex_init(&l->known[s].lock, NULL);
	if (!l->kept_lent)
		return kept_new(0, &l->kept);
	kept_reset(&l->kept); /* an attempt to mount may have failed */
	return 0;
}

void ll_known_free(struct ll *l)
{
	for (unsigned s = 0; s < KEPT_SHARDS; s++)
		pthread_mutex_destroy(&l->known[s].lock);
	if (!l->kept_lent)
		kept_close(&l->kept);
}
