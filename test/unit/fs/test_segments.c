/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data segments: what is announced is readable at once and for ever (I7), files come and go whole,
 * failures are final (I9).
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crc32c.h"
#include "scratch.h"
#include "segments.h"

static struct segments *s;
static struct payload_pool *pool;
static const struct epoch one = {.num = 1, .id = 0x1111222233334444ull};

/* In the place of libc's: a directory that cannot be made. */
static int mkdirat_error;

int mkdirat(int dir, const char *path, mode_t mode)
{
	if (!mkdirat_error)
		return (int)syscall(SYS_mkdirat, dir, path, mode);
	errno = mkdirat_error;
	return -1;
}

static void open_segments(void)
{
	struct err e = {0};

	cr_assert(zero(int, segments_open(scratch_dir(), &s, &e)), "%s", e.msg);
}

static void setup(void)
{
	struct err e = {0};

	cr_assert(zero(int, payload_pool_new(64 << 20, NULL, NULL, &pool)));
	open_segments();
	cr_assert(zero(int, segments_add_epoch(s, one, &e)), "%s", e.msg);
}

static void cleanup(void)
{
	segments_close(s);
	payload_pool_free(pool);
	scratch_remove();
}

TestSuite(segments, .init = setup, .fini = cleanup);

static struct addr at(uint64_t block)
{
	return (struct addr){.block = block, .epoch = 1};
}

/* The bytes that block number n of these tests holds. */
static void fill(uint8_t *p, uint64_t n)
{
	for (unsigned i = 0; i < BLOCK_SIZE; i += 8)
		memcpy(p + i, &(uint64_t){n * 0x9e3779b97f4a7c15ull + i}, 8);
}

static uint32_t crc_of(uint64_t n)
{
	uint8_t block[BLOCK_SIZE];

	fill(block, n);
	return crc32c(0, block, BLOCK_SIZE);
}

static struct payload *payload_of(uint64_t first, uint32_t blocks)
{
	struct payload *p = payload_new(pool, (size_t)blocks * BLOCK_SIZE);

	cr_assert(ne(ptr, p, NULL));
	for (uint32_t i = 0; i < blocks; i++)
		fill(p->data + (size_t)i * BLOCK_SIZE, first + i);
	return p;
}

static void announce(uint64_t block, uint32_t blocks, uint64_t seq)
{
	struct payload *p = payload_of(block, blocks);

	segments_pending_add(s, at(block), blocks, p, 0, seq);
	payload_unref(p);
}

/* Reads and verifies; what the blocks must hold follows from their numbers. */
static int check(uint64_t block, uint32_t blocks, uint32_t *ret_bad)
{
	uint8_t *buf = malloc((size_t)blocks * BLOCK_SIZE), want[BLOCK_SIZE];
	uint32_t *crcs = calloc(blocks, sizeof(*crcs));
	int ret;

	for (uint32_t i = 0; i < blocks; i++)
		crcs[i] = crc_of(block + i);
	ret = segments_read(s, at(block), blocks, buf, crcs, ret_bad);
	for (uint32_t i = 0; !ret && i < blocks; i++) {
		fill(want, block + i);
		cr_assert(zero(int, memcmp(want, buf + (size_t)i * BLOCK_SIZE, BLOCK_SIZE)));
	}
	free(buf);
	free(crcs);
	return ret;
}

static void check_ok(uint64_t block, uint32_t blocks)
{
	uint32_t bad = 0;

	cr_assert(zero(int, check(block, blocks, &bad)), "block %llu + %u",
		(unsigned long long)block, bad);
}

Test(segments, what_is_announced_is_read_at_once_and_after_it_was_written)
{
	announce(0, 1, 1);
	announce(1, 16, 2);
	announce(17, 1, 3);
	check_ok(0, 18);
	check_ok(5, 3);
	cr_assert(zero(int, segments_sync(s)));
	cr_assert(zero(sz, segments_pending_bytes(s)));
	cr_assert(zero(sz, payload_pool_used(pool)));
	check_ok(0, 18);
}

Test(segments, what_was_synced_is_there_after_opening_again)
{
	announce(0, 3, 1);
	announce(1000, 2, 2);
	cr_assert(zero(int, segments_sync(s)));
	segments_close(s);
	open_segments();
	check_ok(0, 3);
	check_ok(1000, 2);
	cr_assert(ge(u64, segments_disk_bytes(s), 5ull * BLOCK_SIZE));
}

Test(segments, closing_writes_what_is_queued)
{
	announce(7, 2, 1);
	segments_close(s);
	open_segments();
	check_ok(7, 2);
}

static long allocated(unsigned number)
{
	struct stat st;

	if (stat(scratch_path("00000001-1111222233334444/%06u", number), &st))
		return -1;
	cr_assert(eq(long, (long)st.st_size, (long)DATA_SEGMENT_SIZE));
	return (long)st.st_blocks * 512;
}

Test(segments, a_file_has_all_its_length_before_it_has_its_name_and_room_when_it_is_allocated)
{
	uint64_t upto = 0;

	cr_assert(zero(int, segments_prepare(s, at(5), 1)));
	cr_assert(zero(long, allocated(0)));
	cr_assert(zero(long, allocated(1)));
	cr_assert(eq(long, allocated(2), -1));
	cr_assert(zero(int, segments_allocate(s, at(5), 1029, true, &upto)));
	cr_assert(eq(u64, upto, 1029));
	cr_assert(ge(long, allocated(0), 1024l * BLOCK_SIZE));
	cr_assert(lt(long, allocated(0), 1100l * BLOCK_SIZE));
	segments_measure(s);
	cr_assert(ge(u64, segments_disk_bytes(s), 1024ull * BLOCK_SIZE));
}

Test(segments, room_is_allocated_over_the_border_of_files_and_keeps_what_is_there)
{
	uint64_t upto = 0, end = 2 * DATA_SEGMENT_BLOCKS + 7;

	announce(DATA_SEGMENT_BLOCKS - 2, 2, 1);
	announce(DATA_SEGMENT_BLOCKS, 3, 2);
	cr_assert(zero(int, segments_sync(s)));
	cr_assert(zero(int, segments_allocate(s, at(DATA_SEGMENT_BLOCKS - 4), end, false, &upto)));
	cr_assert(eq(u64, upto, end));
	cr_assert(ge(long, allocated(0), 4l * BLOCK_SIZE));
	cr_assert(ge(long, allocated(1), (long)DATA_SEGMENT_SIZE));
	cr_assert(ge(long, allocated(2), 7l * BLOCK_SIZE));
	check_ok(DATA_SEGMENT_BLOCKS - 2, 2);
	check_ok(DATA_SEGMENT_BLOCKS, 3);
	cr_assert(zero(int, segments_trim(s, 2)));
	cr_assert(lt(long, allocated(1), 16l * BLOCK_SIZE), "never written: given back");
	check_ok(DATA_SEGMENT_BLOCKS - 2, 2);
	cr_assert(eq(int, segments_allocate(s, (struct addr){.epoch = 9}, 5, true, &upto), -EIO));
}

Test(segments, temporaries_of_a_crash_are_removed_and_the_file_is_made_again)
{
	struct stat st;

	segments_close(s);
	scratch_write(scratch_path("00000001-1111222233334444/000000.new"), "half");
	open_segments();
	cr_assert(ne(int, stat(scratch_path("00000001-1111222233334444/000000.new"), &st), 0));
	cr_assert(zero(int, segments_prepare(s, at(0), 0)));
}

Test(segments, the_next_file_is_made_ahead)
{
	struct stat st;
	unsigned i;

	announce(DATA_SEGMENT_BLOCKS - 10, 1, 1);
	for (i = 0; i < 500; i++) {
		if (stat(scratch_path("00000001-1111222233334444/000001"), &st) == 0)
			break;
		usleep(10000);
	}
	cr_assert(lt(uint, i, 500));
}

Test(segments, an_epoch_number_means_one_id)
{
	struct epoch other = {.num = 1, .id = 5}, zero_epoch = {0};
	struct err e = {0};

	cr_assert(zero(int, segments_add_epoch(s, one, &e)));
	cr_assert(eq(int, segments_add_epoch(s, other, &e), -EEXIST));
	cr_assert(eq(int, segments_add_epoch(s, zero_epoch, &e), -EEXIST));
	segments_close(s);
	open_segments();
	cr_assert(eq(int, segments_add_epoch(s, other, &e), -EEXIST), "also after a start");
	cr_assert(zero(int, segments_add_epoch(s, one, &e)));
}

Test(segments, a_directory_beyond_the_quota_is_a_full_disk)
{
	struct epoch next = {.num = 2, .id = 5};
	struct err e = {0};

	mkdirat_error = EDQUOT;
	cr_assert(eq(int, segments_add_epoch(s, next, &e), -ENOSPC), "%s", e.msg);
	mkdirat_error = EROFS;
	cr_assert(eq(int, segments_add_epoch(s, next, &e), -EROFS));
	mkdirat_error = 0;
	cr_assert(zero(int, segments_add_epoch(s, next, &e)));
}

Test(segments, many_epochs_are_found_in_any_order)
{
	struct err e = {0};
	uint8_t block[BLOCK_SIZE], got[BLOCK_SIZE];
	uint32_t bad;

	for (uint32_t n = 40; n > 1; n--) {
		struct epoch epoch = {.num = n * 3, .id = n};

		cr_assert(zero(int, segments_add_epoch(s, epoch, &e)), "%s", e.msg);
	}
	for (uint32_t n = 2; n <= 40; n += 19) {
		struct addr a = {.block = 9, .epoch = n * 3};

		fill(block, n);
		cr_assert(zero(int, segments_write(s, a, 1, block)));
		cr_assert(zero(int, segments_read(s, a, 1, got, (uint32_t[]){crc_of(n)}, &bad)));
	}
}

Test(segments, an_unknown_epoch_is_an_error)
{
	struct addr a = {.block = 0, .epoch = 9};
	uint8_t buf[BLOCK_SIZE];
	uint32_t crc = 0, bad;

	cr_assert(eq(int, segments_read(s, a, 1, buf, &crc, &bad), -EIO));
	cr_assert(eq(int, segments_prepare(s, a, 0), -EIO));
}

Test(segments, two_directories_of_one_epoch_number_are_damage)
{
	struct err e = {0};

	segments_close(s);
	cr_assert(zero(int, mkdir(scratch_path("00000001-0000000000000007"), 0700)));
	cr_assert(eq(int, segments_open(scratch_dir(), &s, &e), -EBADMSG));
	cr_assert(zero(int, rmdir(scratch_path("00000001-0000000000000007"))));
	open_segments();
}

Test(segments, a_wrong_block_is_found_and_named)
{
	uint32_t bad = 99;
	int fd;

	announce(0, 8, 1);
	cr_assert(zero(int, segments_sync(s)));
	fd = open(scratch_path("00000001-1111222233334444/000000"), O_WRONLY);
	cr_assert(eq(long, (long)pwrite(fd, "x", 1, 5 * BLOCK_SIZE + 77), 1));
	close(fd);
	cr_assert(eq(int, check(0, 8, &bad), -EBADMSG));
	cr_assert(eq(u32, bad, 5));
	check_ok(0, 5);
	check_ok(6, 2);
}

Test(segments, a_missing_block_is_a_wrong_block)
{
	uint32_t bad = 99;

	cr_assert(eq(int, check(3, 2, &bad), -EBADMSG), "no file at all");
	cr_assert(eq(u32, bad, 0));
	announce(3, 1, 1);
	cr_assert(eq(int, check(3, 2, &bad), -EBADMSG));
	cr_assert(eq(u32, bad, 1));
}

Test(segments, a_large_write_in_flight_is_served_from_memory_and_then_from_the_disk)
{
	struct payload *p = payload_of(64, 256);
	uint64_t off;
	int fd;

	cr_assert(zero(int, segments_direct(s, at(64), 256, &fd, &off)));
	cr_assert(eq(u64, off, 64ull * BLOCK_SIZE));
	announce(63, 1, 1);
	announce(320, 1, 2);
	segments_inflight_add(s, at(64), 256, p);
	check_ok(63, 258);
	check_ok(100, 40);
	cr_assert(eq(
		long, (long)pwrite(fd, p->data, 256 * BLOCK_SIZE, (off_t)off), 256l * BLOCK_SIZE));
	segments_inflight_remove(s, at(64), 256);
	payload_unref(p);
	check_ok(63, 258);
	cr_assert(zero(int, segments_sync(s)));
	check_ok(63, 258);
}

Test(segments, a_run_is_checked_as_a_whole)
{
	struct payload *p = payload_of(10, 4);
	uint8_t buf[4 * BLOCK_SIZE];
	uint32_t crc = crc32c(0, p->data, sizeof(buf));

	cr_assert(eq(int, segments_read_run(s, at(10), 4, buf, crc), -EBADMSG));
	cr_assert(zero(int, segments_write(s, at(10), 4, p->data)));
	cr_assert(zero(int, segments_read_run(s, at(10), 4, buf, crc)));
	cr_assert(eq(int, segments_read_run(s, at(10), 4, buf, crc + 1), -EBADMSG));
	payload_unref(p);
}

Test(segments, what_is_read_from_the_disk_itself_is_what_is_there_wherever_that_is)
{
	_Alignas(BLOCK_SIZE) static uint8_t buf[4 * BLOCK_SIZE];
	struct payload *p = payload_of(10, 4);
	uint32_t crcs[4], bad = 9, all = crc32c(0, p->data, sizeof(buf));

	for (uint32_t i = 0; i < 4; i++)
		crcs[i] = crc32c(0, p->data + (size_t)i * BLOCK_SIZE, BLOCK_SIZE);
	/* The buffer held the same bytes once: the file that is not there does not. */
	memcpy(buf, p->data, sizeof(buf));
	cr_assert(eq(int, segments_read_run(s, at(10), 4, buf, all), -EBADMSG));
	memcpy(buf, p->data, sizeof(buf));
	cr_assert(eq(int, segments_read_direct(s, at(10), 4, buf, crcs, &bad), -EBADMSG));
	cr_assert(zero(u32, bad));
	/* Two blocks are written, two are in memory still. */
	cr_assert(zero(int, segments_write(s, at(10), 2, p->data)));
	announce(9, 1, 1);
	segments_inflight_add(s, at(12), 2, p);
	cr_assert(eq(int, segments_read_direct(s, at(10), 2, buf, crcs, &bad), 0));
	segments_inflight_remove(s, at(12), 2);
	cr_assert(eq(int, segments_read_direct(s, at(10), 4, buf, crcs, &bad), -EBADMSG));
	cr_assert(eq(u32, bad, 2));
	cr_assert(zero(int, segments_write(s, at(12), 2, p->data + 2 * BLOCK_SIZE)));
	cr_assert(zero(int, segments_read_direct(s, at(10), 4, buf, crcs, &bad)));
	cr_assert(zero(int, segments_read_direct(s, at(11), 1, buf + 7, crcs + 1, &bad)));
	cr_assert(eq(int, memcmp(buf + 7, p->data + BLOCK_SIZE, BLOCK_SIZE), 0));
	payload_unref(p);
}

Test(segments, the_written_seq_follows_the_writer)
{
	cr_assert(zero(u64, segments_written_seq(s)));
	announce(0, 1, 41);
	cr_assert(le(u64, segments_written_seq(s), 41));
	announce(1, 1, 44);
	cr_assert(zero(int, segments_sync(s)));
	cr_assert(eq(u64, segments_written_seq(s), 44));
}

static void *reader_main(void *arg)
{
	const uint64_t *upto = arg;
	uint64_t n = 0;

	for (;;) {
		uint64_t end = __atomic_load_n(upto, __ATOMIC_ACQUIRE), from;
		uint32_t bad;

		if (end == UINT64_MAX)
			return (void *)n;
		if (!end)
			continue;
		from = end > 40 ? end - 40 : 0;
		if (check(from, (uint32_t)(end - from), &bad))
			return (void *)UINT64_MAX;
		n++;
	}
}

Test(segments, readers_beside_the_writer_always_find_every_announced_block)
{
	pthread_t t[2];
	uint64_t upto = 0, next = 0;
	void *n;

	for (unsigned i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, reader_main, &upto);
	for (uint64_t seq = 1; seq < 4000; seq++) {
		uint32_t blocks = 1 + seq % 7 * (seq % 3);

		announce(next, blocks, seq);
		next += blocks;
		__atomic_store_n(&upto, next, __ATOMIC_RELEASE);
		if (seq % 1000 == 0)
			cr_assert(zero(int, segments_sync(s)));
	}
	__atomic_store_n(&upto, UINT64_MAX, __ATOMIC_RELEASE);
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(t[i], &n);
		cr_assert(ne(u64, (uint64_t)n, UINT64_MAX), "a reader missed a block");
		cr_assert(gt(u64, (uint64_t)n, 0));
	}
}

static void arm(const char *fault)
{
	struct err e = {0};

	segments_close(s);
	setenv("TANDEMFS_FAULT_DATA", fault, 1);
	cr_assert(zero(int, segments_open(scratch_dir(), &s, &e)), "%s", e.msg);
	unsetenv("TANDEMFS_FAULT_DATA");
}

Test(segments, a_failed_write_is_final_and_what_was_announced_stays_readable)
{
	struct err e = {0};

	arm("1");
	announce(0, 4, 7);
	cr_assert(eq(int, segments_sync(s), -EIO));
	cr_assert(segments_failed(s, &e));
	cr_assert(eq(int, e.code, -EIO));
	announce(4, 1, 8);
	cr_assert(eq(int, segments_sync(s), -EIO), "it stays failed");
	cr_assert(eq(int, segments_write(s, at(9), 1, (uint8_t[BLOCK_SIZE]){0}), -EIO));
	cr_assert(lt(u64, segments_written_seq(s), 7));
	check_ok(0, 5);
}

Test(segments, a_failed_sync_is_final)
{
	arm("2");
	announce(0, 1, 1);
	cr_assert(eq(int, segments_sync(s), -EIO));
	cr_assert(segments_failed(s, NULL));
	cr_assert(eq(int, segments_sync(s), -EIO));
}

Test(segments, a_fault_in_the_future_does_not_fail_what_comes_before)
{
	arm("4");
	announce(0, 1, 1);
	cr_assert(zero(int, segments_sync(s)));
	cr_assert(not(segments_failed(s, NULL)));
	announce(1, 1, 2);
	cr_assert(eq(int, segments_sync(s), -EIO), "write 3, sync 4");
}

static unsigned names_in(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *de;
	unsigned n = 0;

	cr_assert(ne(ptr, d, NULL), "%s", dir);
	while ((de = readdir(d)))
		n += de->d_name[0] != '.';
	closedir(d);
	return n;
}

static unsigned files_of_one(void)
{
	return names_in(scratch_path("00000001-1111222233334444"));
}

static void start_again(void)
{
	segments_close(s);
	open_segments();
}

Test(segments, files_of_an_old_epoch_that_hold_nothing_any_more_are_removed_with_the_next_start)
{
	const uint64_t far = DATA_SEGMENT_BLOCKS + 7; /* in the second file */
	struct addr a = {.block = far, .epoch = 1};
	struct err e = {0};

	cr_assert(zero(int, segments_prepare(s, at(0), 1)));
	announce(0, 4, 1);
	announce(far, 2, 2);
	cr_assert(zero(int, segments_sync(s)));
	cr_assert(zero(int, segments_trim(s, 1)), "the epoch that is written in");
	cr_assert(eq(uint, files_of_one(), 2));
	start_again();
	cr_assert(zero(int, segments_trim(s, 2)));
	cr_assert(eq(uint, files_of_one(), 2), "both hold something");
	start_again();
	segments_measure(s);
	cr_assert(ge(u64, segments_disk_bytes(s), 6ull * BLOCK_SIZE), "with no directory open yet");
	check_ok(0, 4);
	check_ok(far, 2);
	cr_assert(zero(int, segments_punch(s, at(0), 4)));
	start_again();
	cr_assert(zero(int, segments_trim(s, 2)));
	cr_assert(eq(uint, files_of_one(), 2), "the second one does, and no gap is made");
	check_ok(far, 2);
	cr_assert(zero(int, segments_punch(s, a, 2)));
	cr_assert(zero(int, segments_trim(s, 2)));
	cr_assert(eq(uint, files_of_one(), 2), "open in this process");
	start_again();
	cr_assert(zero(int, segments_trim(s, 2)));
	cr_assert(eq(uint, files_of_one(), 0));

	/* What is written there again (by a recovery, or a repair) makes them again. */
	cr_assert(zero(int, segments_add_epoch(s, one, &e)), "%s", e.msg);
	cr_assert(eq(uint, files_of_one(), 0));
	announce(far, 2, 3);
	cr_assert(zero(int, segments_sync(s)));
	check_ok(far, 2);
	start_again();
	check_ok(far, 2);
}

Test(segments, an_epoch_without_files_costs_no_descriptor)
{
	unsigned before;
	struct epoch epoch;

	start_again();
	before = names_in("/proc/self/fd");
	for (uint32_t n = 2; n < 200; n++) {
		struct epoch more = {.num = n, .id = n};
		struct err e = {0};

		cr_assert(zero(int, segments_add_epoch(s, more, &e)), "%s", e.msg);
	}
	start_again();
	cr_assert(zero(int, segments_trim(s, 150)));
	cr_assert(le(uint, names_in("/proc/self/fd"), before));
	cr_assert(zero(int, segments_epoch(s, 77, &epoch)), "it is still known");
	cr_assert(eq(u64, epoch.id, 77));
}
