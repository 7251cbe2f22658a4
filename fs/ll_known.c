/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which inodes the kernel knows, and how often it was told (its lookup counts): raised before a reply
 * that carries an entry, lowered by FORGET. An unlinked inode whose count reaches zero is reported
 * to the volume, which may then remove it.
 *
 * Sharded open-addressing tables of 16 bytes an entry: the kernel may know millions. Any thread; the
 * shard's lock is held for a few instructions, and not while the volume is told.
 */
#include "ll_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"

#define CAP_MIN 64u

static uint64_t hash(uint64_t ino)
{
	return ino * 0x9e3779b97f4a7c15ull;
}

static struct ll_known *shard_of(struct ll *l, uint64_t ino)
{
	return &l->known[hash(ino) >> 58 & (LL_KNOWN_SHARDS - 1)];
}

static size_t home(const struct ll_known *k, uint64_t ino)
{
	return (size_t)(hash(ino) >> 20) & (k->cap - 1);
}

/* The entry's place, or the free one where it would go. */
static struct ll_known_entry *find_locked(struct ll_known *k, uint64_t ino)
{
	size_t i = home(k, ino);

	while (k->entries[i].ino && k->entries[i].ino != ino)
		i = (i + 1) & (k->cap - 1);
	return &k->entries[i];
}

static void resize_locked(struct ll_known *k, size_t cap)
{
	struct ll_known_entry *old = k->entries;
	size_t old_cap = k->cap;

	k->entries = calloc(cap, sizeof(*k->entries));
	ensure(k->entries);
	k->cap = cap;
	for (size_t i = 0; i < old_cap; i++)
		if (old[i].ino)
			*find_locked(k, old[i].ino) = old[i];
	free(old);
}

/* Takes an entry out and moves those that probed across its place. */
static void remove_locked(struct ll_known *k, struct ll_known_entry *e)
{
	size_t hole = (size_t)(e - k->entries), mask = k->cap - 1;

	for (size_t i = (hole + 1) & mask; k->entries[i].ino; i = (i + 1) & mask) {
		size_t h = home(k, k->entries[i].ino);

		if (((i - h) & mask) >= ((i - hole) & mask)) {
			k->entries[hole] = k->entries[i];
			hole = i;
		}
	}
	k->entries[hole] = (struct ll_known_entry){0};
	k->used--;
	if (k->cap > CAP_MIN && k->used < k->cap / 8)
		resize_locked(k, k->cap / 2);
}

void ll_known_add(struct ll *l, uint64_t ino, uint64_t n)
{
	struct ll_known *k = shard_of(l, ino);
	struct ll_known_entry *e;

	LOCK_SCOPE(&k->lock);
	if ((k->used + 1) * 4 > k->cap * 3)
		resize_locked(k, k->cap ? k->cap * 2 : CAP_MIN);
	e = find_locked(k, ino);
	if (!e->ino) {
		*e = (struct ll_known_entry){.ino = ino};
		k->used++;
	}
	e->count += n;
}

void ll_known_sub(struct ll *l, uint64_t ino, uint64_t n)
{
	struct ll_known *k = shard_of(l, ino);
	struct ll_known_entry *e;
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
		remove_locked(k, e);
	}
	pthread_mutex_unlock(&k->lock);
	if (gone)
		volume_forgotten(l->v, ino);
}

void ll_known_orphan(struct ll *l, uint64_t ino)
{
	struct ll_known *k = shard_of(l, ino);
	struct ll_known_entry *e;
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

	for (unsigned s = 0; s < LL_KNOWN_SHARDS; s++)
		n += l->known[s].used;
	return n;
}

int ll_known_list(struct ll *l, uint64_t **ret, size_t *ret_n)
{
	uint64_t *list = NULL;
	size_t n = 0;

	for (unsigned s = 0; s < LL_KNOWN_SHARDS; s++) {
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

void ll_known_init(struct ll *l)
{
	for (unsigned s = 0; s < LL_KNOWN_SHARDS; s++)
		pthread_mutex_init(&l->known[s].lock, NULL);
}

void ll_known_free(struct ll *l)
{
	for (unsigned s = 0; s < LL_KNOWN_SHARDS; s++) {
		pthread_mutex_destroy(&l->known[s].lock);
		free(l->known[s].entries);
	}
}
