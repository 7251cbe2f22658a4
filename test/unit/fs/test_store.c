/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __SANITIZE_ADDRESS__
size_t __sanitizer_get_current_allocated_bytes(void); /* not every compiler comes with its header */
#endif

#include "store.h"

static char dir[64];

static void make_dir(void)
{
	snprintf(dir, sizeof(dir), "/tmp/tandemfs-store-XXXXXX");
	cr_assert(mkdtemp(dir));
}

static void remove_dir(void)
{
	pid_t pid = fork();

	if (!pid) {
		execlp("rm", "rm", "-rf", dir, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, NULL, 0);
}

TestSuite(store, .init = make_dir, .fini = remove_dir);

static struct store *open_store(size_t cache)
{
	struct store_options o = {.create = true, .block_cache_bytes = cache};
	struct store *s = NULL;
	struct err e = {0};

	cr_assert_eq(store_open(dir, &o, &s, &e), 0, "%s", e.msg);
	return s;
}

static void put(struct store *s, const char *key, const char *value)
{
	struct txn *t = txn_new(s);

	txn_put(t, key, strlen(key), value, strlen(value));
	cr_assert_eq(txn_write(t), 0);
	txn_free(t);
}

static int get(struct store *s, const char *key, char *buf, size_t size)
{
	size_t len = 0;
	int r = store_get(s, key, strlen(key), buf, size - 1, &len);

	buf[r ? 0 : len] = 0;
	return r;
}

static void flush(struct store *s)
{
	cr_assert_eq(store_flush_begin(s), 0);
	while (!store_flush_done(s))
		usleep(200);
}

Test(store, a_missing_store_is_not_created_unasked)
{
	struct store_options o = {0};
	struct store *s = NULL;
	struct err e = {0};

	cr_assert_eq(store_open(dir, &o, &s, &e), -ENOENT);
	cr_assert(strstr(e.msg, dir));
	cr_assert_eq(s, NULL);
}

Test(store, a_damaged_store_is_refused)
{
	struct store *s = open_store(0);
	struct store_options o = {0};
	struct err e = {0};
	char path[128];
	FILE *f;

	put(s, "key", "value");
	flush(s);
	store_close(s);
	snprintf(path, sizeof(path), "%s/CURRENT", dir);
	f = fopen(path, "w");
	fputs("nonsense", f);
	fclose(f);
	cr_assert_eq(store_open(dir, &o, &s, &e), -EBADMSG, "%d %s", e.code, e.msg);
}

Test(store, what_was_not_flushed_is_gone_after_a_close)
{
	struct store *s = open_store(0);
	char buf[32];

	put(s, "a", "flushed");
	flush(s);
	put(s, "a", "staged");
	put(s, "b", "staged");
	cr_assert_eq(get(s, "a", buf, sizeof(buf)), 0);
	cr_assert_str_eq(buf, "staged");
	store_close(s);
	s = open_store(0);
	cr_assert_eq(get(s, "a", buf, sizeof(buf)), 0);
	cr_assert_str_eq(buf, "flushed");
	cr_assert_eq(get(s, "b", buf, sizeof(buf)), -ENOENT);
	store_close(s);
}

Test(store, nothing_reaches_the_files_without_a_flush_however_much_is_written)
{
	struct store_options o = {.create = true, .write_buffer_bytes = 8u << 20};
	char key[32], value[1024], buf[8];
	struct store *s = NULL;
	struct txn *t;
	size_t len;

	cr_assert_eq(store_open(dir, &o, &s, NULL), 0);
	memset(value, 'v', sizeof(value));
	t = txn_new(s);
	for (unsigned i = 0; store_memtable_bytes(s) < 16u << 20; i++) { /* twice the bound */
		snprintf(key, sizeof(key), "key-%u", i);
		txn_put(t, key, strlen(key), value, sizeof(value));
		if (i % 10 == 0)
			cr_assert_eq(txn_write(t), 0);
	}
	cr_assert_eq(txn_write(t), 0);
	usleep(100000);
	cr_assert_eq(store_get_persisted(s, "key-0", 5, buf, sizeof(buf), &len), -ENOENT);
	cr_assert_eq(store_disk_bytes(s), 0);
	txn_free(t);
	store_close(s);
}

Test(store, persisted_reads_see_the_files_only)
{
	struct store *s = open_store(0);
	char buf[32] = "";
	size_t len;

	put(s, "a", "one");
	cr_assert_eq(store_get_persisted(s, "a", 1, buf, sizeof(buf), &len), -ENOENT);
	flush(s);
	put(s, "a", "two");
	cr_assert_eq(store_get_persisted(s, "a", 1, buf, sizeof(buf), &len), 0);
	cr_assert_eq(memcmp(buf, "one", 3), 0);
	cr_assert_eq(store_memtable_bytes(s) > 0, true);
	flush(s);
	cr_assert_eq(store_memtable_bytes(s), 0);
	cr_assert_eq(store_get_persisted(s, "a", 1, buf, sizeof(buf), &len), 0);
	cr_assert_eq(memcmp(buf, "two", 3), 0);
	cr_assert_gt(store_disk_bytes(s), 0);
	cr_assert_geq(store_level0_files(s), 1);
	cr_assert_eq(store_verify(s, NULL, NULL), 0);
	cr_assert_not(store_failed(s, NULL));
	store_close(s);
}

Test(store, a_damaged_block_is_found_by_verify)
{
	struct store *s = open_store(0);
	char command[256], key[32];
	struct err e = {0};

	for (unsigned i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "key-%u", i);
		put(s, key, "some value that is long enough");
	}
	flush(s);
	cr_assert_eq(store_verify(s, NULL, &e), 0);
	store_close(s);
	snprintf(command, sizeof(command),
		"f=$(ls %s/*.sst | head -1); printf x | dd of=$f bs=1 seek=3000 conv=notrunc "
		"2>/dev/null",
		dir);
	cr_assert_eq(system(command), 0);
	s = open_store(0);
	cr_assert_eq(store_verify(s, NULL, &e), -EBADMSG);
	cr_assert_not(store_failed(s, NULL), "who verifies may go on with what is well");
	for (unsigned i = 0; i < 2000 && !store_failed(s, NULL); i++) {
		snprintf(key, sizeof(key), "key-%u", i);
		get(s, key, command, sizeof(command));
	}
	cr_assert(store_failed(s, &e));
	cr_assert_eq(e.code, -EBADMSG, "damage, not an error of the disk: %s", e.msg);
	store_close(s);
}

/* No file may grow beyond so many bytes. */
static void files_end_at(rlim_t bytes)
{
	struct rlimit r;

	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &r), 0);
	r.rlim_cur = bytes;
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &r), 0);
}

Test(store, a_manifest_that_cannot_be_written_for_switching_compactions_is_final)
{
	struct store *s = open_store(0);
	struct err e = {0};
	char key[16384];

	memset(key, 'k', sizeof(key) - 1);
	key[sizeof(key) - 1] = '\0';
	put(s, key, "flushed"); /* the MANIFEST names the least and the largest key of each file */
	flush(s);
	files_end_at(16384); /* more than the options that are written behind it have */
	store_set_compaction(s, false);
	cr_assert(store_failed(s, &e));
	cr_assert(strstr(e.msg, "MANIFEST"), "%s", e.msg);
	store_close(s);
}

Test(store, a_transaction_sees_its_own_writes_and_nobody_else_does)
{
	struct store *s = open_store(0);
	struct txn *t = txn_new(s);
	const uint8_t *v;
	char buf[32];
	size_t len;

	put(s, "old", "1");
	cr_assert_eq(txn_get(t, "old", 3, &v, &len), 0);
	txn_put(t, "old", 3, "a longer value than before", 26);
	txn_put(t, "new", 3, "x", 1);
	txn_put(t, "new", 3, "", 0);
	cr_assert_eq(txn_get(t, "old", 3, &v, &len), 0);
	cr_assert_eq(len, 26);
	cr_assert_eq(txn_get(t, "new", 3, &v, &len), 0);
	cr_assert_eq(len, 0);
	txn_delete(t, "old", 3);
	cr_assert_eq(txn_get(t, "old", 3, &v, &len), -ENOENT);
	cr_assert(txn_dirty(t));
	cr_assert_eq(get(s, "old", buf, sizeof(buf)), 0);
	cr_assert_eq(txn_write(t), 0);
	cr_assert_not(txn_dirty(t));
	cr_assert_eq(get(s, "old", buf, sizeof(buf)), -ENOENT);
	cr_assert_eq(get(s, "new", buf, sizeof(buf)), 0);
	cr_assert_eq(txn_get(t, "old", 3, &v, &len), -ENOENT);
	txn_free(t);
	store_close(s);
}

Test(store, a_transaction_stays_right_when_its_cache_is_dropped)
{
	struct store *s = open_store(0);
	struct txn *t = txn_new(s);
	const uint8_t *v;
	char key[32];
	size_t len;

	for (unsigned i = 0; i < 200000; i++) {
		snprintf(key, sizeof(key), "%u", i % 90000);
		txn_put(t, key, strlen(key), &i, sizeof(i));
		if (i % 100 == 99)
			cr_assert_eq(txn_write(t), 0);
	}
	for (unsigned i = 0; i < 90000; i++) {
		unsigned want = i < 20000 ? i + 180000 : i + 90000, got;

		snprintf(key, sizeof(key), "%u", i);
		cr_assert_eq(txn_get(t, key, strlen(key), &v, &len), 0);
		memcpy(&got, v, sizeof(got));
		cr_assert_eq(got, want);
	}
	txn_free(t);
	store_close(s);
}

/* Many keys in files, a tiny cache: almost nothing is in memory. */
static struct store *cold_store(void)
{
	struct store *s = open_store(0);
	char key[32], value[2000];

	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = 0;
	for (unsigned i = 0; i < 2000; i++) {
		snprintf(key, sizeof(key), "key-%06u", i);
		put(s, key, value);
	}
	flush(s);
	store_close(s);
	return open_store(1);
}

Test(store, memory_only_sends_a_cold_key_back_and_a_preload_brings_it)
{
	struct store *s = cold_store();
	struct txn *t = txn_new(s);
	struct store_preload *p;
	const uint8_t *v;
	size_t len;

	txn_set_memory_only(t, true);
	cr_assert_eq(txn_get(t, "key-000700", 10, &v, &len), -EAGAIN);
	p = store_preload_new(s);
	cr_assert_eq(store_preload_key(p, "key-000700", 10), 0);
	cr_assert_eq(store_preload_key(p, "key-00070x", 10), 0);
	txn_set_preload(t, p);
	cr_assert_eq(txn_get(t, "key-000700", 10, &v, &len), 0);
	cr_assert_eq(len, 1999);
	cr_assert_eq(txn_get(t, "key-00070x", 10, &v, &len), -ENOENT);
	cr_assert_eq(txn_get(t, "key-001900", 10, &v, &len), -EAGAIN);
	txn_set_preload(t, NULL);
	txn_set_memory_only(t, false);
	cr_assert_eq(txn_get(t, "key-001900", 10, &v, &len), 0);
	store_preload_free(p);
	txn_free(t);
	store_close(s);
}

Test(store, a_preload_is_stale_once_a_flush_has_begun)
{
	struct store *s = cold_store();
	struct txn *t = txn_new(s), *other = txn_new(s);
	struct store_preload *p = store_preload_new(s);
	const uint8_t *v;
	size_t len;

	txn_set_memory_only(t, true);
	cr_assert_eq(store_preload_key(p, "key-000700", 10), 0);
	/* The key changes and the change leaves memory: the preload must not be believed. */
	txn_put(other, "key-000700", 10, "changed", 7);
	cr_assert_eq(txn_write(other), 0);
	txn_free(other);
	flush(s);
	txn_set_preload(t, p);
	cr_assert_neq(txn_get(t, "key-000700", 10, &v, &len) == 0 && len == 1999, true);
	store_preload_free(p);
	p = store_preload_new(s);
	cr_assert_eq(store_preload_key(p, "key-000700", 10), 0);
	txn_set_preload(t, p);
	cr_assert_eq(txn_get(t, "key-000700", 10, &v, &len), 0);
	cr_assert_eq(len, 7);
	store_preload_free(p);
	txn_free(t);
	store_close(s);
}

Test(store, what_is_in_the_memtable_wins_over_a_preload)
{
	struct store *s = cold_store();
	struct txn *t = txn_new(s), *other = txn_new(s);
	struct store_preload *p = store_preload_new(s);
	const uint8_t *v;
	size_t len;

	txn_set_memory_only(t, true);
	cr_assert_eq(store_preload_key(p, "key-000700", 10), 0);
	txn_put(other, "key-000700", 10, "changed", 7);
	cr_assert_eq(txn_write(other), 0);
	txn_free(other);
	txn_set_preload(t, p);
	cr_assert_eq(txn_get(t, "key-000700", 10, &v, &len), 0);
	cr_assert_eq(len, 7);
	store_preload_free(p);
	txn_free(t);
	store_close(s);
}

static unsigned walk(
	struct store *s, const void *prefix, size_t plen, const char *from, char *first)
{
	struct store_iter *it;
	unsigned n = 0;

	cr_assert_eq(store_iter_new(s, prefix, plen, from, strlen(from), &it), 0);
	for (; store_iter_valid(it); store_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *key = store_iter_key(it, &klen);

		cr_assert_geq(klen, plen);
		cr_assert_eq(memcmp(key, prefix, plen), 0);
		store_iter_value(it, &vlen);
		if (!n++ && first)
			snprintf(first, 32, "%.*s", (int)klen, (const char *)key);
	}
	cr_assert_eq(store_iter_error(it), 0);
	store_iter_free(it);
	return n;
}

Test(store, iterators_keep_to_their_prefix_in_memtable_and_files)
{
	struct store *s = open_store(0);
	char first[32];

	for (unsigned round = 0; round < 3; round++) {
		put(s, "D00000001a", "1");
		put(s, "D00000001c", "1");
		put(s, "D00000002a", "1");
		put(s, "D00000002b", "1");
		put(s, "D00000002c", "1");
		put(s, "D\xff\xff\xff\xff\xff\xff\xff\xff", "1");
		put(s, "D\xff\xff\xff\xff\xff\xff\xff\xffz", "1");
		put(s, "E", "1");
		cr_assert_eq(walk(s, "D00000001", 9, "", first), 2);
		cr_assert_eq(walk(s, "D00000002", 9, "b", first), 2);
		cr_assert_str_eq(first, "D00000002b");
		cr_assert_eq(walk(s, "D00000003", 9, "", NULL), 0);
		cr_assert_eq(walk(s, "D\xff\xff\xff\xff\xff\xff\xff\xff", 9, "", NULL), 2);
		cr_assert_eq(walk(s, "D", 1, "", NULL), 7);
		cr_assert_eq(walk(s, "", 0, "", NULL), 8);
		cr_assert_eq(walk(s, "D00000002b", 10, "", NULL), 1);
		flush(s);
	}
	store_close(s);
}

/* Bytes that the process has from malloc(). */
static size_t allocated(void)
{
#ifdef __SANITIZE_ADDRESS__
	return __sanitizer_get_current_allocated_bytes();
#else
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
#endif
}

/* What goes when a transaction with so many values of that length, each written, goes. */
static size_t kept(struct store *s, unsigned n, size_t size)
{
	static uint8_t value[64u << 10];
	struct txn *t = txn_new(s);
	size_t with;

	for (unsigned i = 0; i < n; i++) {
		txn_put(t, &i, sizeof(i), value, size);
		cr_assert_eq(txn_write(t), 0);
	}
	with = allocated();
	txn_free(t);
	cr_assert(with > allocated());
	return with - allocated();
}

Test(store, what_a_transaction_keeps_is_bounded_by_the_cache)
{
	struct store *s = open_store(4u << 20);
	size_t large = kept(s, 300, 64u << 10), small = kept(s, 100000, 0);

	cr_assert(large < 2u << 20, "it kept %zu bytes of large values", large);
	cr_assert(small < 2u << 20, "it kept %zu bytes of small ones", small);
	store_close(s);
}
