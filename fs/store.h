/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The metadata store: RocksDB in one column family with the write-ahead log off; the only owner of
 * RocksDB. keys.h has the layout of keys and values. Nothing here knows what an operation is.
 *
 * Reads (any thread): store_get() and iterators, which see everything staged. Changes come from one
 * thread only, through a transaction (struct txn): reads of it see its own writes, txn_write() puts
 * them into the memtable in one WriteBatch.
 *
 * Failure modes: RocksDB flushes by itself whatever is staged when a write buffer fills or it is
 * closed; so the buffers are far above what we let grow, avoid_flush_during_shutdown is set, the WAL
 * is off, and only store_flush_begin() flushes (I5). A background error is final: store_failed()
 * says so, the process ends (I9). A process that dies loses the memtable, and replays the ring.
 */
#ifndef FS_STORE_H
#define FS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "entry.h"
#include "pace.h"

struct store;

struct store_options {
	size_t block_cache_bytes; /* default 128 MiB when 0; a transaction keeps a quarter as much, 1 to 32 MiB */
	size_t write_buffer_bytes; /* the memtable's hard bound; default 256 MiB when 0 */
	bool in_memory; /* a memory environment, for tests */
	bool create;
	bool no_compaction; /* until store_set_compaction() */
	bool read_only; /* nothing of it is changed, and nothing can be written */
};

/* `path` is a directory of its own. -ENOENT without create; -EBADMSG when RocksDB finds it damaged. */
int store_open(
	const char *path, const struct store_options *o, struct store **ret_s, struct err *e);
/* Closes without flushing. No read may be under way. */
void store_close(struct store *s);

/* Values are copied into buf; *ret_len is the value's full length (which may exceed size). 0,
 * -ENOENT, -EIO. Any thread. */
int store_get(
	struct store *s, const void *key, size_t klen, void *buf, size_t size, size_t *ret_len);

struct store_iter;
/* Walks keys with a prefix in order, from prefix+start on. Any thread; short-lived. */
int store_iter_new(struct store *s, const void *prefix, size_t plen, const void *from, size_t flen,
	struct store_iter **ret_it);
bool store_iter_valid(struct store_iter *it);
void store_iter_next(struct store_iter *it);
const uint8_t *store_iter_key(struct store_iter *it, size_t *ret_len);
const uint8_t *store_iter_value(struct store_iter *it, size_t *ret_len);
/* 0, or -EIO when the walk ended early because a file could not be read. */
int store_iter_error(struct store_iter *it);
void store_iter_free(struct store_iter *it);

/* What a helper read for an operation: used by txn_get() when memory does not have the key, as long
 * as no flush has begun since. */
struct store_preload;
struct store_preload *store_preload_new(struct store *s);
void store_preload_free(struct store_preload *p);
/* Reads the key, from disk if need be, and keeps value or absence. */
int store_preload_key(struct store_preload *p, const void *key, size_t klen);
/* The same, and gives back what was found: 0, -ENOENT, -EIO. Borrowed until the preload is freed. */
int store_preload_get(struct store_preload *p, const void *key, size_t klen, const uint8_t **ret_v,
	size_t *ret_len);

struct txn;
struct txn *txn_new(struct store *s);
void txn_free(struct txn *t);
/* With memory_only, txn_get() answers -EAGAIN for what is neither written here, nor in the memtable
 * or block cache, nor in the preload. Default off (recovery, standby). */
void txn_set_memory_only(struct txn *t, bool on);
void txn_set_preload(struct txn *t, const struct store_preload *p); /* NULL: none */
/* Borrowed until the next change of the same key or txn_write(). 0, -ENOENT, -EAGAIN, -EIO. */
int txn_get(struct txn *t, const void *key, size_t klen, const uint8_t **ret_v, size_t *ret_len);
void txn_put(struct txn *t, const void *key, size_t klen, const void *v, size_t vlen);
void txn_delete(struct txn *t, const void *key, size_t klen);
/* Puts everything written into the memtable and forgets what was read. 0 or -EIO (final). */
int txn_write(struct txn *t);
bool txn_dirty(const struct txn *t);

/* Starts a flush of everything in the memtable (which must all be committed) and returns at once;
 * -EBUSY while one is under way. The thread that writes. */
int store_flush_begin(struct store *s);
/* true once the flush is in RocksDB's files. Any thread. */
bool store_flush_done(struct store *s);
/* The value of a key as it is in RocksDB's files, without the memtable. 0, -ENOENT, -EIO. */
int store_get_persisted(
	struct store *s, const void *key, size_t klen, void *buf, size_t size, size_t *ret_len);
/* Makes a copy of RocksDB's files (links, where that can be) in `path`, a new directory: exactly what
 * the last flush wrote, if that flush is done and none begins meanwhile. What is staged stays out. */
int store_checkpoint(struct store *s, const char *path, struct err *e);
size_t store_memtable_bytes(
	const struct store *s); /* counted by txn_write() since the last flush */
/* The same with what a flush under way has not written yet: for so much there must be room on the disk. */
uint64_t store_unflushed_bytes(const struct store *s);
/* What txn_write() counted since the store was opened; never falls. */
uint64_t store_written_bytes(const struct store *s);
/* Compactions by itself, or none: each needs room for what it rewrites, and one that finds none fails the
 * store. One thread at a time; not the one that writes, as it may write a file. What failed in that is in
 * store_failed() then, but for a full disk: it is asked for again. */
void store_set_compaction(struct store *s, bool on);
/* e->code: -EBADMSG where RocksDB met a damaged block, otherwise -EIO. */
bool store_failed(struct store *s, struct err *e);
/* Bytes of RocksDB's files. */
uint64_t store_disk_bytes(struct store *s);
unsigned store_level0_files(struct store *s);
/* Reads every block of every file and checks RocksDB's checksums, at a pace (NULL: as fast as it can). 0,
 * -EBADMSG, -EIO where one cannot be read, or what the pace ends it with. The store goes on after that as
 * before. */
int store_verify(struct store *s, const struct pace *pace, struct err *e);

#endif
