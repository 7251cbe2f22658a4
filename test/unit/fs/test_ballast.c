/* SPDX-License-Identifier: Apache-2.0 */
/* What keeps room for metadata: the ballast, the count of what is on its way, and the write that asks for room. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ballast.h"
#include "clock.h"
#include "meta_ledger.h"
#include "scratch.h"
#include "store_room.h"

#define MIB (1ull << 20)

static struct ballast b;

static void open_it(uint64_t target)
{
	struct err e = {0};

	cr_assert_eq(ballast_open(&b, scratch_path("ballast"), target, &e), 0, "%s", e.msg);
}

static void setup(void)
{
	scratch_dir();
}

static void cleanup(void)
{
	ballast_close(&b);
	scratch_remove();
}

TestSuite(ballast, .init = setup, .fini = cleanup);

static uint64_t on_disk(void)
{
	struct stat st;

	cr_assert_eq(stat(scratch_path("ballast"), &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

Test(ballast, it_is_filled_as_far_as_there_is_room_and_given_up_in_parts)
{
	open_it(16 * MIB);
	cr_assert_not(ballast_whole(&b));
	cr_assert_eq(ballast_size(&b), 0u);
	ballast_fill(&b, 9 * MIB);
	cr_assert_eq(ballast_size(&b), 8 * MIB);
	cr_assert_geq(on_disk(), 8 * MIB);
	ballast_fill(&b, UINT64_MAX);
	cr_assert(ballast_whole(&b));
	cr_assert_eq(ballast_size(&b), 16 * MIB);
	/* As little as it can: who fills the disk takes what is given up and not used. */
	ballast_give(&b, 1);
	cr_assert_eq(ballast_size(&b), 16 * MIB - 65536);
	ballast_give(&b, 4 * MIB);
	cr_assert_eq(ballast_size(&b), 12 * MIB - 65536);
	cr_assert_leq(on_disk(), 12 * MIB);
	ballast_give(&b, UINT64_MAX);
	cr_assert_eq(ballast_size(&b), 0u);
	cr_assert_leq(on_disk(), 65536u);
	ballast_fill(&b, UINT64_MAX);
	cr_assert(ballast_whole(&b));
}

Test(ballast, the_next_start_finds_it_as_it_is)
{
	open_it(16 * MIB);
	ballast_fill(&b, 12 * MIB);
	ballast_close(&b);
	open_it(16 * MIB);
	cr_assert_eq(ballast_size(&b), 12 * MIB);
	ballast_fill(&b, UINT64_MAX);
	ballast_close(&b);
	open_it(8 * MIB);
	cr_assert(ballast_whole(&b), "a smaller one is wanted now");
	ballast_fill(&b, UINT64_MAX);
	cr_assert_eq(ballast_size(&b), 8 * MIB);
	cr_assert_leq(on_disk(), 8 * MIB + 65536);
}

Test(ballast, a_file_of_that_length_without_blocks_is_no_ballast)
{
	int fd = open(scratch_path("ballast"), O_WRONLY | O_CREAT, 0600);

	cr_assert(fd >= 0 && !ftruncate(fd, 16 * MIB));
	close(fd);
	open_it(16 * MIB);
	cr_assert_eq(ballast_size(&b), 0u);
}

Test(meta_ledger, what_is_behind_a_seq)
{
	static struct meta_ledger l;

	cr_assert_eq(meta_behind(&l, 5), 0u);
	meta_note(&l, 0, 1000);
	cr_assert_eq(meta_behind(&l, 0), 0u);
	meta_note(&l, 10, 1500);
	meta_note(&l, 20, 1600);
	cr_assert_eq(meta_behind(&l, 0), 600u);
	cr_assert_eq(meta_behind(&l, 9), 600u, "not known more exactly");
	cr_assert_eq(meta_behind(&l, 10), 100u);
	cr_assert_eq(meta_behind(&l, 20), 0u);
	cr_assert_eq(meta_behind(&l, 1000), 0u);
}

Test(meta_ledger, with_too_many_marks_it_says_more_never_less)
{
	static struct meta_ledger l;

	meta_note(&l, 0, 0);
	for (uint64_t n = 1; n <= 100000; n++) {
		uint64_t at = n - n / 7 % 300, says;

		meta_note(&l, n, 10 * n);
		at = n < 300 ? 0 : at;
		says = meta_behind(&l, at);
		cr_assert_geq(says, 10 * (n - at));
		cr_assert_leq(says, 10 * n);
		cr_assert_eq(meta_behind(&l, n), 0u);
	}
	cr_assert_leq(meta_behind(&l, 100000 - 100), 10 * 400u, "near the end it is exact enough");
}

static unsigned asked;

static void make_way(void *ctx, uint64_t bytes)
{
	cr_assert_eq(bytes, 3u);
	asked++;
	if (asked == *(unsigned *)ctx)
		cr_assert_neq(dup2(open("/dev/null", O_WRONLY), 90), -1);
}

Test(store_room, a_write_that_finds_no_room_asks_for_it_and_goes_on)
{
	unsigned enough = 3;

	store_room_guard("/dev", make_way, &enough, NS_PER_S * 10);
	cr_assert_eq(dup2(open("/dev/full", O_WRONLY), 90), 90);
	cr_assert_eq(write(90, "abc", 3), 3);
	cr_assert_eq(asked, 3u);
}

Test(store_room, the_patience_ends_and_other_files_and_errors_are_no_business_of_it)
{
	unsigned enough = 0;

	cr_assert_eq(dup2(open("/dev/full", O_WRONLY), 90), 90);
	cr_assert(write(90, "abc", 3) < 0 && errno == ENOSPC, "not guarded yet");
	store_room_guard("/dev/shm", make_way, &enough, NS_PER_S / 20);
	cr_assert(write(90, "abc", 3) < 0 && errno == ENOSPC, "elsewhere");
	cr_assert_eq(asked, 0u);
	store_room_guard("/dev", make_way, &enough, NS_PER_S / 20);
	cr_assert(write(90, "abc", 3) < 0 && errno == ENOSPC);
	cr_assert_gt(asked, 1u);
	asked = 0;
	cr_assert(write(1000, "abc", 3) < 0 && errno == EBADF);
	cr_assert_eq(asked, 0u);
}

/* As RocksDB calls it: this program's open() is the C library's open64(). */
extern int open_plain(const char *path, int flags, ...) __asm__("open");

static void leave_nothing(void)
{
	umount2(scratch_path("full"), MNT_DETACH);
	scratch_remove();
}

TestSuite(store_room, .init = setup, .fini = leave_nothing);

static void remove_one(void *ctx, uint64_t bytes)
{
	cr_assert_geq(bytes, 1u << 20);
	if (++asked == 2)
		unlink(ctx);
}

/* A filesystem that has no inode left, as xfs on a full disk has none. */
Test(store_room, a_name_for_which_there_is_no_room_asks_for_it_too)
{
	const char *store = scratch_path("full"), *aside = scratch_path("full/aside"),
		   *name = scratch_path("full/name"), *other = scratch_path("full/aside/other");
	char *victim = (char *)scratch_path("full/aside/victim");
	int fd;

	cr_assert_eq(mkdir(store, 0700), 0);
	if (mount("tmpfs", store, "tmpfs", 0, "size=1m,nr_inodes=3"))
		cr_skip_test("mounting is not possible here");
	cr_assert_eq(mkdir(aside, 0700), 0);
	close(open(victim, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	cr_assert(open_plain(name, O_CREAT | O_WRONLY, 0600) < 0 && errno == ENOSPC,
		"not guarded yet");
	store_room_guard(store, remove_one, victim, NS_PER_S * 10);
	cr_assert(open_plain(other, O_CREAT | O_WRONLY, 0600) < 0 && errno == ENOSPC, "elsewhere");
	cr_assert_eq(asked, 0u);
	fd = open_plain(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0, "%s", strerror(errno));
	cr_assert_eq(asked, 2u);
	cr_assert(open_plain("/nonexistent/x", O_CREAT | O_WRONLY, 0600) < 0 && errno == ENOENT);
	cr_assert_eq(rename(name, other), 0);
	cr_assert(rename(name, other) < 0 && errno == ENOENT);
	close(fd);
}
