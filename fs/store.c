/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening, reading, iterating and flushing RocksDB. Every option that is set here closes a way in
 * which RocksDB would by itself flush what is not committed, wait for a compaction, or go on after
 * an error:
 *
 * - the write-ahead log is off for each write: the ring is the log;
 * - avoid_flush_during_shutdown, or rocksdb_close() would flush the memtable; no setter in C, so it
 *   comes through an options string;
 * - write_buffer_size is several times what we let grow, db_write_buffer_size is 0: a full buffer
 *   would be flushed;
 * - level-0 triggers and pending-compaction limits are out of reach: flush(wait=0) and writes would
 *   wait for them. The volume watches store_level0_files() instead;
 * - max_bgerror_resume_count=0: a background error is final (I9).
 *
 * One column family: a manual flush of one of several would lose the others' half of a batch.
 *
 * The prefix extractor takes prefix byte and inode (9 bytes). Iterators use it only when their
 * prefix is at least that long; otherwise they ask for the total order.
 */
#include "store_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

#define OUT_OF_REACH (1 << 20) /* level-0 files */
#define OUT_OF_REACH_BYTES (1ull << 60) /* pending compaction */
#define BUFFER_SLACK 4u /* RocksDB's buffer in units of ours: its arena counts differently */
#define KEPT_BYTES_MIN ((size_t)1 << 20) /* of what a transaction keeps */
#define KEPT_BYTES_MAX ((size_t)32 << 20)
#define MEMORY_TIER 1
#define PERSISTED_TIER 2

/* Other bytes than were written, where an I/O error may be over the next time. */
static int error_code(const char *text)
{
	return text && strstr(text, "Corruption") ? -EBADMSG : -EIO;
}

int store_fail(struct store *s, const char *what, char *text)
{
	{
		LOCK_SCOPE(&s->err_mutex);
		if (!s->err.code)
			err_set(&s->err, error_code(text), "metadata store: %s: %s", what,
				text ? text : "unknown error");
	}
	atomic_store(&s->failed, true);
	if (text)
		rocksdb_free(text);
	return -EIO;
}

/* --- opening --- */

static rocksdb_options_t *options_new(struct store *s, const struct store_options *o)
{
	size_t buffer = o->write_buffer_bytes ? o->write_buffer_bytes : (size_t)256 << 20,
	       cache = o->block_cache_bytes ? o->block_cache_bytes : (size_t)128 << 20;
	rocksdb_options_t *base = rocksdb_options_create(), *opt = rocksdb_options_create();
	rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
	char *text = NULL;

	rocksdb_get_options_from_string(
		base, "avoid_flush_during_shutdown=true;max_bgerror_resume_count=0", opt, &text);
	rocksdb_options_destroy(base);
	ensure(!text); /* depends on the library alone */

	rocksdb_options_set_create_if_missing(opt, o->create);
	rocksdb_options_set_paranoid_checks(opt, 1);
	if (s->env)
		rocksdb_options_set_env(opt, s->env);
	rocksdb_options_set_write_buffer_size(opt, buffer * BUFFER_SLACK);
	rocksdb_options_set_db_write_buffer_size(opt, 0);
	rocksdb_options_set_max_write_buffer_number(opt, 8);
	rocksdb_options_set_arena_block_size(opt, 1u << 20);
	rocksdb_options_set_level0_file_num_compaction_trigger(opt, 4);
	rocksdb_options_set_level0_slowdown_writes_trigger(opt, OUT_OF_REACH);
	rocksdb_options_set_level0_stop_writes_trigger(opt, OUT_OF_REACH);
	rocksdb_options_set_soft_pending_compaction_bytes_limit(opt, OUT_OF_REACH_BYTES);
	rocksdb_options_set_hard_pending_compaction_bytes_limit(opt, OUT_OF_REACH_BYTES);
	rocksdb_options_set_level_compaction_dynamic_level_bytes(opt, 1);
	rocksdb_options_set_target_file_size_base(opt, 32u << 20);
	rocksdb_options_set_compression(opt, rocksdb_lz4_compression);
	rocksdb_options_set_max_background_jobs(opt, 2);
	rocksdb_options_set_max_open_files(opt, 1024);
	rocksdb_options_set_bytes_per_sync(opt, 1u << 20);
	rocksdb_options_set_avoid_unnecessary_blocking_io(opt, 1);
	rocksdb_options_set_info_log_level(opt, 2); /* warnings */
	rocksdb_options_set_keep_log_file_num(opt, 2);
	rocksdb_options_set_stats_dump_period_sec(opt, 0);
	rocksdb_options_set_stats_persist_period_sec(opt, 0);
	rocksdb_options_set_skip_stats_update_on_db_open(opt, 1);
	rocksdb_options_set_disable_auto_compactions(opt, o->no_compaction);
	rocksdb_options_set_prefix_extractor(
		opt, rocksdb_slicetransform_create_fixed_prefix(STORE_PREFIX_SIZE));
	/* About a megabyte of filter in front of the memtable. */
	rocksdb_options_set_memtable_prefix_bloom_size_ratio(
		opt, (double)(1u << 20) / (double)(buffer * BUFFER_SLACK));
	rocksdb_options_set_memtable_whole_key_filtering(opt, 1);

	s->cache = rocksdb_cache_create_lru(cache);
	s->kept_bytes = MIN(MAX(cache / 4, KEPT_BYTES_MIN), KEPT_BYTES_MAX);
	rocksdb_block_based_options_set_block_cache(table, s->cache);
	rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
	rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
	rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
	rocksdb_block_based_options_set_whole_key_filtering(table, 1);
	rocksdb_block_based_options_set_filter_policy(
		table, rocksdb_filterpolicy_create_bloom_full(10));
	rocksdb_block_based_options_set_format_version(table, 5);
	rocksdb_options_set_block_based_table_factory(opt, table);
	rocksdb_block_based_options_destroy(table);
	return opt;
}

static int open_error(const char *path, char *text, struct err *e)
{
	int code = -EIO;

	if (strstr(text, "Corruption"))
		code = -EBADMSG;
	else if (strstr(text, "does not exist"))
		code = -ENOENT;
	else if (strstr(text, "lock "))
		code = -EBUSY;
	err_set(e, code, "metadata store '%s': %s", path, text);
	rocksdb_free(text);
	return code;
}

int store_open(const char *path, const struct store_options *o, struct store **ret_s, struct err *e)
{
	char current[4096], *text = NULL;
	struct store *s;

	snprintf(current, sizeof(current), "%s/CURRENT", path);
	if (!o->in_memory && !o->create && access(current, F_OK))
		return err_set(e, -ENOENT, "metadata store '%s': there is none", path);
	s = calloc(1, sizeof(*s));
	if (!s)
		return err_set(e, -ENOMEM, "metadata store '%s': no memory", path);
	pthread_mutex_init(&s->err_mutex, NULL);
	if (o->in_memory)
		s->env = rocksdb_create_mem_env();
	s->options = options_new(s, o);
	s->compaction = !o->no_compaction;
	s->db = o->read_only ? rocksdb_open_for_read_only(s->options, path, 0, &text)
			     : rocksdb_open(s->options, path, &text);
	if (!s->db) {
		store_close(s);
		return open_error(path, text, e);
	}
	s->read = rocksdb_readoptions_create();
	s->read_memory = rocksdb_readoptions_create();
	rocksdb_readoptions_set_read_tier(s->read_memory, MEMORY_TIER);
	s->read_persisted = rocksdb_readoptions_create();
	rocksdb_readoptions_set_read_tier(s->read_persisted, PERSISTED_TIER);
	s->write = rocksdb_writeoptions_create();
	rocksdb_writeoptions_disable_WAL(s->write, 1);
	s->flush = rocksdb_flushoptions_create();
	rocksdb_flushoptions_set_wait(s->flush, 0);
	*ret_s = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	if (s->db) {
		rocksdb_close(s->db);
		rocksdb_readoptions_destroy(s->read);
		rocksdb_readoptions_destroy(s->read_memory);
		rocksdb_readoptions_destroy(s->read_persisted);
		rocksdb_writeoptions_destroy(s->write);
		rocksdb_flushoptions_destroy(s->flush);
	}
	rocksdb_options_destroy(s->options);
	rocksdb_cache_destroy(s->cache);
	if (s->env)
		rocksdb_env_destroy(s->env);
	pthread_mutex_destroy(&s->err_mutex);
	free(s);
}

/* --- reading --- */

int store_read(struct store *s, rocksdb_readoptions_t *tier, const void *key, size_t klen,
	rocksdb_pinnableslice_t **ret_slice)
{
	char *text = NULL;
	rocksdb_pinnableslice_t *v = rocksdb_get_pinned(s->db, tier, key, klen, &text);

	if (v) {
		*ret_slice = v;
		return 0;
	}
	if (!text)
		return -ENOENT;
	if (tier == s->read_memory && strstr(text, "ncomplete")) {
		rocksdb_free(text);
		return -EAGAIN;
	}
	return store_fail(s, "reading", text);
}

static int get_tier(struct store *s, rocksdb_readoptions_t *tier, const void *key, size_t klen,
	void *buf, size_t size, size_t *ret_len)
{
	rocksdb_pinnableslice_t *slice;
	const char *v;
	size_t len;
	int r = store_read(s, tier, key, klen, &slice);

	if (r)
		return r;
	v = rocksdb_pinnableslice_value(slice, &len);
	memcpy(buf, v, MIN(len, size));
	*ret_len = len;
	rocksdb_pinnableslice_destroy(slice);
	return 0;
}

int store_get(
	struct store *s, const void *key, size_t klen, void *buf, size_t size, size_t *ret_len)
{
	return get_tier(s, s->read, key, klen, buf, size, ret_len);
}

int store_get_persisted(
	struct store *s, const void *key, size_t klen, void *buf, size_t size, size_t *ret_len)
{
	return get_tier(s, s->read_persisted, key, klen, buf, size, ret_len);
}

struct store_iter {
	struct store *s;
	rocksdb_iterator_t *it;
	rocksdb_readoptions_t *read; /* holds the upper bound for as long as `it` lives */
	size_t plen;
	uint8_t upper[]; /* first key behind the prefix */
};

static int iter_new(struct store *s, const void *prefix, size_t plen, const void *from, size_t flen,
	bool scrub, struct store_iter **ret_it)
{
	struct store_iter *i = calloc(1, sizeof(*i) + plen);
	uint8_t start[512];
	size_t n = plen;

	if (!i)
		return -ENOMEM;
	ensure(plen + flen <= sizeof(start));
	i->s = s;
	i->read = rocksdb_readoptions_create();
	if (plen >= STORE_PREFIX_SIZE)
		rocksdb_readoptions_set_prefix_same_as_start(i->read, 1);
	else
		rocksdb_readoptions_set_total_order_seek(i->read, 1);
	if (scrub) {
		rocksdb_readoptions_set_verify_checksums(i->read, 1);
		rocksdb_readoptions_set_fill_cache(i->read, 0);
	}
	if (plen)
		memcpy(i->upper, prefix, plen);
	while (n && i->upper[n - 1] == 0xff)
		n--;
	if (n) {
		i->upper[n - 1]++;
		rocksdb_readoptions_set_iterate_upper_bound(i->read, (char *)i->upper, n);
	}
	i->it = rocksdb_create_iterator(s->db, i->read);
	if (plen)
		memcpy(start, prefix, plen);
	if (flen)
		memcpy(start + plen, from, flen);
	rocksdb_iter_seek(i->it, (char *)start, plen + flen);
	*ret_it = i;
	return 0;
}

int store_iter_new(struct store *s, const void *prefix, size_t plen, const void *from, size_t flen,
	struct store_iter **ret_it)
{
	return iter_new(s, prefix, plen, from, flen, false, ret_it);
}

bool store_iter_valid(struct store_iter *it)
{
	return rocksdb_iter_valid(it->it);
}

void store_iter_next(struct store_iter *it)
{
	rocksdb_iter_next(it->it);
}

const uint8_t *store_iter_key(struct store_iter *it, size_t *ret_len)
{
	return (const uint8_t *)rocksdb_iter_key(it->it, ret_len);
}

const uint8_t *store_iter_value(struct store_iter *it, size_t *ret_len)
{
	return (const uint8_t *)rocksdb_iter_value(it->it, ret_len);
}

int store_iter_error(struct store_iter *it)
{
	char *text = NULL;

	rocksdb_iter_get_error(it->it, &text);
	return text ? store_fail(it->s, "iterating", text) : 0;
}

void store_iter_free(struct store_iter *it)
{
	if (!it)
		return;
	rocksdb_iter_destroy(it->it);
	rocksdb_readoptions_destroy(it->read);
	free(it);
}

/* --- flushing --- */

int store_flush_begin(struct store *s)
{
	char *text = NULL;

	if (!store_flush_done(s))
		return -EBUSY;
	/* Before the flush: whoever reads from now on may find a key's new value on disk only. */
	atomic_fetch_add(&s->flushes, 1);
	atomic_store(&s->flushing_bytes, atomic_load(&s->memtable_bytes));
	atomic_store(&s->flushing, true);
	rocksdb_flush(s->db, s->flush, &text);
	if (text)
		return store_fail(s, "flushing", text);
	atomic_store(&s->memtable_bytes, 0);
	return 0;
}

bool store_flush_done(struct store *s)
{
	uint64_t n = 0;

	if (!atomic_load(&s->flushing))
		return true;
	if (rocksdb_property_int(s->db, "rocksdb.num-immutable-mem-table", &n) || n)
		return false;
	atomic_store(&s->flushing_bytes, 0);
	atomic_store(&s->flushing, false);
	return true;
}

int store_checkpoint(struct store *s, const char *path, struct err *e)
{
	rocksdb_checkpoint_t *c;
	char *text = NULL;

	c = rocksdb_checkpoint_object_create(s->db, &text);
	if (c) {
		rocksdb_checkpoint_create(
			c, path, UINT64_MAX, &text); /* the largest: never flush */
		rocksdb_checkpoint_object_destroy(c);
	}
	if (!text)
		return 0;
	err_set(e, -EIO, "metadata store: a checkpoint in '%s': %s", path, text);
	rocksdb_free(text);
	return -EIO;
}

size_t store_memtable_bytes(const struct store *s)
{
	return atomic_load_explicit(&s->memtable_bytes, memory_order_relaxed);
}

uint64_t store_unflushed_bytes(const struct store *s)
{
	return atomic_load(&s->memtable_bytes) + atomic_load(&s->flushing_bytes);
}

uint64_t store_written_bytes(const struct store *s)
{
	return atomic_load_explicit(&s->written_bytes, memory_order_relaxed);
}

/* RocksDB writes its MANIFEST for it, and then a file of its options, which nobody reads. On a full disk nothing
 * is lost: what it knows it writes whole the next time, and it is asked again. */
static bool is_harmless(const char *text)
{
	return strstr(text, "/OPTIONS-") || strstr(text, "No space left");
}

void store_set_compaction(struct store *s, bool on)
{
	const char *const key = "disable_auto_compactions", *const value = on ? "false" : "true";
	char *text = NULL;

	if (s->compaction == on)
		return;
	rocksdb_set_options(s->db, 1, &key, &value, &text);
	if (text && !is_harmless(text))
		store_fail(s, "switching compactions", text);
	else if (text)
		rocksdb_free(text);
	else
		s->compaction = on;
}

bool store_failed(struct store *s, struct err *e)
{
	uint64_t n = 0;

	if (!atomic_load(&s->failed) &&
		!rocksdb_property_int(s->db, "rocksdb.background-errors", &n) && n)
		store_fail(s, "a background job failed, see its LOG file", NULL);
	if (!atomic_load(&s->failed))
		return false;
	if (e) {
		LOCK_SCOPE(&s->err_mutex);
		*e = s->err;
	}
	return true;
}

uint64_t store_disk_bytes(struct store *s)
{
	uint64_t n = 0;

	rocksdb_property_int(s->db, "rocksdb.total-sst-files-size", &n);
	return n;
}

unsigned store_level0_files(struct store *s)
{
	char *text = rocksdb_property_value(s->db, "rocksdb.num-files-at-level0");
	unsigned n = text ? (unsigned)strtoul(text, NULL, 10) : 0;

	if (text)
		rocksdb_free(text);
	return n;
}

int store_verify(struct store *s, const struct pace *pace, struct err *e)
{
	struct store_iter *it;
	uint64_t bytes = 0;
	char *text = NULL;
	size_t len;
	int r = iter_new(s, NULL, 0, NULL, 0, true, &it);

	if (r)
		return err_set(e, r, "metadata store: no memory");
	for (; !r && store_iter_valid(it); store_iter_next(it)) {
		rocksdb_iter_key(it->it, &len);
		bytes += len;
		rocksdb_iter_value(it->it, &len);
		bytes += len;
		if (bytes < PACE_STEP)
			continue;
		r = pace_step(pace, bytes);
		bytes = 0;
	}
	rocksdb_iter_get_error(it->it, &text);
	store_iter_free(it);
	if (!text)
		return r ? err_set(e, r, "broken off") : 0;
	r = err_set(e, error_code(text), "metadata store: %s", text);
	rocksdb_free(text);
	return r;
}
