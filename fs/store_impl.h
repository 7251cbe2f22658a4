/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the metadata store, shared by the fs/store*.c files only. */
#ifndef FS_STORE_IMPL_H
#define FS_STORE_IMPL_H

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

#include "store.h"

#define STORE_PREFIX_SIZE 9u /* bytes of a key that its family shares: prefix byte and inode */

struct store {
	rocksdb_t *db;
	rocksdb_options_t *options;
	rocksdb_env_t *env; /* of an in-memory store, else NULL */
	rocksdb_cache_t *cache;
	size_t kept_bytes; /* of keys and values that a transaction knows of, kept over txn_write() */
	rocksdb_readoptions_t *read, *read_memory, *read_persisted;
	rocksdb_writeoptions_t *write;
	rocksdb_flushoptions_t *flush;
	atomic_uint_fast64_t flushes; /* begun since the store was opened: what preloads rely on */
	atomic_size_t memtable_bytes;
	atomic_size_t flushing_bytes; /* of the memtable that is being flushed */
	atomic_uint_fast64_t written_bytes; /* ever */
	bool compaction; /* automatic; one thread's */
	atomic_bool flushing;
	atomic_bool failed;
	pthread_mutex_t err_mutex;
	struct err err; /* under err_mutex; the first failure */
};

/* Memory that is given out piece by piece and taken back all at once. Pieces do not move. */
struct arena {
	struct arena_block *first, *current;
	size_t at; /* in the current block */
	size_t total; /* bytes of all blocks */
};

void *arena_alloc(struct arena *a, size_t n);
/* Keeps blocks of up to `keep` bytes for the next round. */
void arena_reset(struct arena *a, size_t keep);

uint64_t store_hash(const void *key, size_t len);
/* Copies nothing: *ret_slice is destroyed by the caller. 0, -ENOENT, -EAGAIN (memory tier), -EIO. */
int store_read(struct store *s, rocksdb_readoptions_t *tier, const void *key, size_t klen,
	rocksdb_pinnableslice_t **ret_slice);
/* Keeps the first failure and returns -EIO. Frees `text`. */
int store_fail(struct store *s, const char *what, char *text);

/* What a preload holds of a key, unless it is stale. 0, -ENOENT, -EAGAIN (not held). */
int preload_find(const struct store_preload *p, const void *key, size_t klen, uint64_t hash,
	const uint8_t **ret_v, size_t *ret_len);

#endif
