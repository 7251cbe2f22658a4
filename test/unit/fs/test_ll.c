/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE side on a real mount with a volume that can be silent, fail or be killed: what waits and
 * what does not (I10), how many operations a system call costs, and how a mount ends.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "clock.h"
#include "ll.h"
#include "ll_host.h"
#include "scratch.h"

#define LIMIT_MS 1000 /* what must not wait is done by then; in truth it takes microseconds */

static bool possible;

static void setup(void)
{
	possible = host_possible();
}

TestSuite(ll, .init = setup, .fini = host_stop, .timeout = 60);

#define NEEDS_MOUNT()                                                                              \
	do {                                                                                       \
		if (!possible)                                                                     \
			cr_skip_test("mounting is not possible here");                             \
	} while (0)

static const char *in(const char *name)
{
	return scratch_path("mnt/%s", name);
}

static void make(const char *name, const char *text)
{
	int fd = open(in(name), O_CREAT | O_WRONLY | O_TRUNC, 0644);

	cr_assert(ge(int, fd, 0), "%s", name);
	cr_assert(eq(long, (long)write(fd, text, strlen(text)), (long)strlen(text)));
	close(fd);
}

static int64_t count(void)
{
	return host_do(HOST_COUNT, 0);
}

/* Waits until the count of operations is at least n. */
static bool count_reaches(int64_t n)
{
	for (unsigned i = 0; i < 500; i++) {
		if (count() >= n)
			return true;
		usleep(10000);
	}
	return false;
}

static char *aligned(size_t len)
{
	void *p;

	cr_assert(zero(int, posix_memalign(&p, 4096, len)));
	memset(p, 'a', len);
	return p;
}

/* --- what a system call costs --- */

Test(ll, a_small_synced_file_costs_two_operations)
{
	int64_t before;
	int fd;

	NEEDS_MOUNT();
	host_start(0, 0);
	before = count();
	fd = open(in("f"), O_CREAT | O_EXCL | O_WRONLY, 0644);
	cr_assert(eq(long, (long)write(fd, "small", 5), 5));
	cr_assert(zero(int, fsync(fd)));
	cr_assert(zero(int, close(fd)));
	cr_assert(eq(i64, count() - before, 2));
}

Test(ll, what_only_reads_or_is_synced_already_costs_none)
{
	struct stat st;
	int64_t before;
	char buf[64];
	int fd;

	NEEDS_MOUNT();
	host_start(0, 0);
	make("f", "text");
	before = count();
	fd = open(in("f"), O_RDWR);
	for (unsigned i = 0; i < 10; i++) {
		cr_assert(eq(long, (long)pread(fd, buf, 64, 0), 4));
		cr_assert(zero(int, fsync(fd) | fdatasync(fd)));
		cr_assert(zero(int, stat(in("f"), &st)));
		cr_assert(eq(int, stat(in("absent"), &st), -1));
	}
	close(fd);
	cr_assert(zero(i64, count() - before));
}

Test(ll, an_aligned_write_of_a_megabyte_is_one_operation)
{
	char *buf = aligned(1 << 20);
	int64_t before;
	int fd;

	NEEDS_MOUNT();
	host_start(0, 0);
	make("f", "");
	fd = open(in("f"), O_RDWR);
	before = count();
	cr_assert(eq(long, (long)pwrite(fd, buf, 1 << 20, 0), 1 << 20));
	cr_assert(eq(i64, count() - before, 1), "buffered");
	close(fd);
	fd = open(in("f"), O_RDWR | O_DIRECT);
	before = count();
	cr_assert(eq(long, (long)pwrite(fd, buf, 1 << 20, 4096), 1 << 20));
	cr_assert(eq(i64, count() - before, 1), "direct");
	cr_assert(eq(long, (long)pwrite(fd, buf, 16384, 8192), 16384));
	cr_assert(eq(i64, count() - before, 2), "a database's page");
	close(fd);
	free(buf);
}

Test(ll, o_trunc_is_one_operation)
{
	int64_t before;

	NEEDS_MOUNT();
	host_start(0, 0);
	make("f", "something");
	before = count();
	close(open(in("f"), O_WRONLY | O_TRUNC));
	cr_assert(eq(i64, count() - before, 1));
}

static pid_t spawn_writer(const char *name, int flags, size_t len, off_t off)
{
	const char *path = in(name);
	pid_t pid = fork();

	if (!pid) {
		char *buf = aligned(len);
		int fd = open(path, O_WRONLY | flags);

		memset(buf, 'A' + (int)(off / (off_t)len) % 26, len);
		_exit(fd >= 0 && pwrite(fd, buf, len, off) == (ssize_t)len ? 0 : 1);
	}
	return pid;
}

static void reap_ok(pid_t pid)
{
	int status = -1;

	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_assert(zero(int, status));
}

Test(ll, eight_direct_writers_of_one_file_are_in_flight_together)
{
	pid_t pids[8];
	int64_t before;

	NEEDS_MOUNT();
	host_start(0, 0);
	make("f", "");
	truncate(in("f"), 1 << 20);
	before = count();
	host_do(HOST_HOLD, 0);
	for (unsigned i = 0; i < 8; i++)
		pids[i] = spawn_writer("f", O_DIRECT, 16384, i * 16384);
	cr_assert(count_reaches(before + 8), "%lld in flight", (long long)(count() - before));
	host_do(HOST_RELEASE, 0);
	for (unsigned i = 0; i < 8; i++)
		reap_ok(pids[i]);
}

/* --- a silent peer --- */

static void answers(const char *what, int ret, uint64_t start)
{
	uint64_t ms = (clock_mono_ns() - start) / NS_PER_MS;

	cr_assert(ge(int, ret, 0), "%s: %s", what, strerror(errno));
	cr_assert(lt(u64, ms, LIMIT_MS), "%s took %llu ms", what, (unsigned long long)ms);
}

static void everything_answers(void)
{
	uint64_t start = clock_mono_ns();
	struct statvfs vfs;
	struct stat st;
	char buf[4096];
	DIR *d;
	int fd;

	answers("stat", stat(in("other"), &st), start);
	answers("stat in a directory", stat(in("d/inside"), &st), start);
	errno = 0;
	answers("a missing name", stat(in("d/none"), &st) == -1 && errno == ENOENT ? 0 : -1, start);
	answers("statvfs", statvfs(host_mount(), &vfs), start);
	fd = open(in("other"), O_RDONLY);
	answers("open", fd, start);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	answers("read", pread(fd, buf, sizeof(buf), 0) == 5 ? 0 : -1, start);
	answers("getxattr", fgetxattr(fd, "user.x", buf, 10) == -1 && errno == ENODATA ? 0 : -1,
		start);
	close(fd);
	d = opendir(in("d"));
	answers("readdir", d && readdir(d) ? 0 : -1, start);
	closedir(d);
}

Test(ll, I10_everything_that_only_reads_answers_while_writes_wait)
{
	pid_t pids[24];
	int64_t before;
	int status;

	NEEDS_MOUNT();
	host_start(0, 0);
	make("f", "");
	make("other", "other");
	mkdir(in("d"), 0755);
	mkdir(in("e"), 0755);
	make("d/inside", "x");
	truncate(in("f"), 16 << 20);
	before = count();
	host_do(HOST_HOLD, 0);
	for (unsigned i = 0; i < 24; i++) /* more than there are workers */
		pids[i] = spawn_writer("f", O_DIRECT, 65536, i * 65536);
	cr_assert(count_reaches(before + 24));
	everything_answers();
	cr_assert(zero(int, waitpid(pids[0], &status, WNOHANG)), "and the writes do wait");
	host_do(HOST_RELEASE, 0);
	for (unsigned i = 0; i < 24; i++)
		reap_ok(pids[i]);
}

Test(ll, I10_writes_without_memory_are_parked_and_end_well)
{
	pid_t pids[32];
	char buf[4096];
	int fd;

	NEEDS_MOUNT();
	host_start(0, 4 << 20);
	make("f", "");
	make("other", "other");
	mkdir(in("d"), 0755);
	make("d/inside", "x");
	truncate(in("f"), 32 << 20);
	host_do(HOST_HOLD, 0);
	for (unsigned i = 0; i < 32; i++)
		pids[i] = spawn_writer("f", O_DIRECT, 1 << 20, (off_t)i << 20);
	for (unsigned i = 0; i < 500 && host_do(HOST_PARKED, 0) < 16; i++)
		usleep(10000);
	cr_assert(ge(i64, host_do(HOST_PARKED, 0), 16));
	everything_answers();
	host_do(HOST_RELEASE, 0);
	for (unsigned i = 0; i < 32; i++)
		reap_ok(pids[i]);
	fd = open(in("f"), O_RDONLY);
	for (unsigned i = 0; i < 32; i++) {
		cr_assert(eq(long, (long)pread(fd, buf, 4096, ((off_t)i << 20) + 8192), 4096));
		cr_assert(eq(int, buf[17], 'A' + (int)i % 26));
	}
	close(fd);
}

/* --- inodes that the kernel knows --- */

Test(ll, an_unlinked_open_file_is_reaped_when_it_is_closed)
{
	struct statvfs a, b = {0};
	struct stat st;
	char *buf = aligned(1 << 20), got[16];
	int fd;

	NEEDS_MOUNT();
	host_start(0, 0);
	statvfs(host_mount(), &a);
	fd = open(in("f"), O_CREAT | O_RDWR, 0644);
	for (unsigned i = 0; i < 8; i++)
		cr_assert(eq(long, (long)write(fd, buf, 1 << 20), 1 << 20));
	fstat(fd, &st);
	cr_assert(eq(i64, host_do(HOST_KNOWS, st.st_ino), 1));
	unlink(in("f"));
	usleep(200000);
	statvfs(host_mount(), &b);
	cr_assert(eq(u64, a.f_bfree - b.f_bfree, 2048), "its blocks stay while it is open");
	cr_assert(eq(long, (long)pread(fd, got, 16, 5 << 20), 16));
	close(fd);
	for (unsigned i = 0; i < 300 && b.f_bfree != a.f_bfree; i++) {
		usleep(10000);
		statvfs(host_mount(), &b);
	}
	cr_assert(eq(u64, a.f_bfree, b.f_bfree), "its blocks are free again");
	cr_assert(zero(i64, host_do(HOST_KNOWS, st.st_ino)));
	free(buf);
}

Test(ll, a_directory_read_with_attributes_makes_its_entries_known)
{
	char name[32];
	uint64_t ino = 0;
	struct dirent *de;
	struct stat st;
	DIR *d;

	NEEDS_MOUNT();
	host_start(0, 0);
	mkdir(in("d"), 0755);
	for (unsigned i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "d/%u", i);
		make(name, "x");
	}
	/* a new mount of the same: nothing is cached */
	d = opendir(in("d"));
	while ((de = readdir(d)))
		if (de->d_name[0] != '.' && !fstatat(dirfd(d), de->d_name, &st, 0))
			ino = st.st_ino;
	closedir(d);
	cr_assert(gt(u64, ino, 1));
	cr_assert(eq(i64, host_do(HOST_KNOWS, ino), 1));
	cr_assert(zero(i64, host_do(HOST_KNOWS, 1ull << 40)));
}

Test(ll, a_damaged_block_is_an_io_error_and_its_neighbours_are_read)
{
	char *buf = aligned(1 << 20), segment[512], hay[4096], found = 0;
	struct dirent *de;
	DIR *d;
	int fd, file;

	NEEDS_MOUNT();
	host_start(0, 0);
	fd = open(in("f"), O_CREAT | O_RDWR | O_DIRECT, 0644);
	for (unsigned i = 0; i < 4; i++) {
		memset(buf, 'p' + (int)i, 4096);
		cr_assert(eq(long, (long)pwrite(fd, buf, 4096, i * 4096), 4096));
	}
	for (unsigned tries = 0; tries < 200 && !found; tries++) {
		usleep(50000); /* the data writer's pause */
		d = opendir(host_data());
		while ((de = readdir(d)))
			if (de->d_name[0] != '.')
				snprintf(segment, sizeof(segment), "%.200s/%.64s/000000",
					host_data(), de->d_name);
		closedir(d);
		file = open(segment, O_RDWR);
		for (unsigned b = 0; b < 64 && !found; b++) {
			if (pread(file, hay, 4096, b * 4096) != 4096 || hay[0] != 'q')
				continue;
			found = 1;
			cr_assert(eq(long, (long)pwrite(file, "?", 1, b * 4096 + 100), 1));
		}
		close(file);
	}
	cr_assert(found);
	cr_assert(eq(long, (long)pread(fd, buf, 4096, 4096), -1));
	cr_assert(eq(int, errno, EIO));
	cr_assert(eq(long, (long)pread(fd, buf, 4096, 0), 4096));
	cr_assert(eq(long, (long)pread(fd, buf, 4096, 8192), 4096));
	cr_assert(eq(int, buf[0], 'r'));
	close(fd);
	free(buf);
}

/* --- ends --- */

static sigjmp_buf bus;

static void on_bus(int sig)
{
	siglongjmp(bus, 1);
}

static bool mapping_is_dead(const volatile char *map)
{
	if (sigsetjmp(bus, 1))
		return true;
	(void)map[0];
	return false;
}

Test(ll, a_fence_fails_open_files_and_mappings_and_takes_the_mount_away)
{
	char buf[16], *map, *dirty;
	int64_t ms;
	pid_t pid;
	int fd, status;

	NEEDS_MOUNT();
	host_start(0, 0);
	make("f", "0123456789");
	make("g", "");
	fd = open(in("f"), O_RDWR);
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	dirty = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert(eq(int, map[3], '3'));
	dirty[5] = '!';
	host_do(HOST_HOLD, 0);
	pid = spawn_writer("g", 0, 4096, 0); /* in flight */
	usleep(100000);
	ms = host_do(HOST_FENCE, 0);
	cr_assert(ge(i64, ms, 0));
	cr_assert(lt(i64, ms, 4000));
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_assert(ne(int, status, 0), "the write in flight fails");
	cr_assert(eq(long, (long)pread(fd, buf, 10, 0), -1), "cached pages are gone");
	cr_assert(any(eq(int, errno, EIO), eq(int, errno, ENOTCONN)));
	signal(SIGBUS, on_bus);
	cr_assert(mapping_is_dead(map));
	cr_assert(mapping_is_dead(dirty));
	cr_assert(not(host_is_mounted()));
	close(fd);
}

Test(ll, a_clean_unmount_leaves_nothing)
{
	int64_t ms;

	NEEDS_MOUNT();
	host_start(0, 0);
	make("f", "x");
	ms = host_do(HOST_UNMOUNT, 0);
	cr_assert(lt(i64, ms, 2000));
	cr_assert(ge(i64, ms, 0));
	cr_assert(not(host_is_mounted()));
}

Test(ll, a_clean_unmount_writes_mapped_pages_back_first)
{
	char *map;
	int64_t before;
	int fd;

	NEEDS_MOUNT();
	host_start(0, 0);
	make("f", "0123456789");
	fd = open(in("f"), O_RDWR);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	map[2] = 'X';
	munmap(map, 4096);
	before = count();
	close(fd);
	cr_assert(lt(i64, host_do(HOST_UNMOUNT, 0), 4000));
	cr_assert(ge(i64, count(), before));
	cr_assert(not(host_is_mounted()));
}

Test(ll, a_mount_in_use_is_unmounted_all_the_same)
{
	int64_t ms;
	int fd;

	NEEDS_MOUNT();
	host_start(0, 0);
	make("f", "x");
	fd = open(in("f"), O_RDONLY);
	ms = host_do(HOST_UNMOUNT, 0);
	cr_assert(lt(i64, ms, 4000));
	cr_assert(ge(i64, ms, 0));
	cr_assert(not(host_is_mounted()));
	close(fd);
}

Test(ll, an_unmount_by_somebody_else_ends_the_workers)
{
	NEEDS_MOUNT();
	host_start(0, 0);
	cr_assert(zero(i64, host_do(HOST_ENDED, 0)));
	/* the host's mount namespace is a child's copy of ours: the same one */
	cr_assert(zero(int, umount(host_mount())), "%s", strerror(errno));
	for (unsigned i = 0; i < 200 && !host_do(HOST_ENDED, 0); i++)
		usleep(10000);
	cr_assert(eq(i64, host_do(HOST_ENDED, 0), 1));
	cr_assert(ge(i64, host_do(HOST_UNMOUNT, 0), 0));
}

Test(ll, a_dead_mount_is_taken_away_and_a_living_one_is_not)
{
	struct err e = {0};
	struct stat st;

	NEEDS_MOUNT();
	host_start(0, 0);
	make("f", "x");
	cr_assert(eq(int, ll_clear_stale(host_mount(), "fake", &e), -EBUSY), "it lives");
	host_kill();
	cr_assert(eq(int, stat(host_mount(), &st), -1));
	cr_assert(eq(int, errno, ENOTCONN));
	cr_assert(eq(int, ll_clear_stale(host_mount(), "other", &e), -EEXIST), "not that volume's");
	cr_assert(zero(int, ll_clear_stale(host_mount(), "fake", &e)), "%s", e.msg);
	cr_assert(not(host_is_mounted()));
	cr_assert(zero(int, ll_clear_stale(host_mount(), "fake", &e)), "nothing there is fine");
	cr_assert(zero(int, ll_clear_stale("/nonexistent/x", "fake", &e)));
}

Test(ll, a_start_takes_the_dead_mount_of_the_one_before_away)
{
	NEEDS_MOUNT();
	host_start(0, 0);
	host_kill();
	cr_assert(host_is_mounted());
	host_start(0, 0);
	make("f", "alive");
	host_do(HOST_UNMOUNT, 0);
	cr_assert(not(host_is_mounted()));
}

Test(ll, a_mount_point_that_is_not_empty_or_taken_is_refused)
{
	NEEDS_MOUNT();
	mkdir(host_mount(), 0755);
	scratch_write(scratch_path("mnt/precious"), "x");
	cr_assert(eq(int, host_start_fails(), -EBUSY));
	unlink(scratch_path("mnt/precious"));
	cr_assert(zero(int, mount("tmpfs", host_mount(), "tmpfs", 0, "size=64k")));
	cr_assert(eq(int, host_start_fails(), -EEXIST), "another filesystem, which may go away");
	cr_assert(zero(int, umount(host_mount())));
	rmdir(host_mount());
	mkdir(scratch_path("elsewhere"), 0755);
	cr_assert(zero(int, symlink("elsewhere", host_mount())));
	cr_assert(eq(int, host_start_fails(), -ENOTDIR), "no symbolic link");
	unlink(host_mount());
}
