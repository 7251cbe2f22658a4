/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory-mapped files, and one that is mostly holes.
 *
 *   mapped run DIR LOG SEED SECONDS   writes through a shared mapping and msync()s; LOG gets a line
 *                                     after each one. Checks that write(2), read(2) and the mapping
 *                                     agree, and that a private mapping changes nothing. 0, or 3 when
 *                                     the mount went away
 *   mapped verify DIR LOG             what was msync()ed is there
 *   mapped sparse DIR                 makes DIR/sparse: 20 GiB, three islands of data
 *   mapped sparse-check DIR           its size, islands, holes (SEEK_DATA, SEEK_HOLE), and blocks
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oplog.h"

#define PAGE 4096u
#define PAGES 512u
#define SPARSE (20ull << 30)

static int fail(const char *what)
{
	fprintf(stderr, "mapped: %s: %s\n", what, strerror(errno));
	return 1;
}

/* The mount went away under us. */
static int gone(void)
{
	return errno == EIO || errno == ENOTCONN || errno == ECONNABORTED;
}

static sigjmp_buf bus;

static void on_bus(int sig)
{
	siglongjmp(bus, 1);
}

static uint64_t page_seed(uint32_t page, uint64_t counter)
{
	return ((uint64_t)page << 40) + counter;
}

/* A page is: counter, then the pattern of (page, counter). */
static void page_fill(uint8_t *p, uint32_t page, uint64_t counter)
{
	memcpy(p, &counter, 8);
	pattern_fill(p + 8, PAGE - 8, page_seed(page, counter));
}

static int check_private(int fd, uint32_t page, const uint8_t *shared)
{
	uint8_t *priv =
		mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, (off_t)page * PAGE);
	uint8_t buf[PAGE];

	if (priv == MAP_FAILED)
		return fail("private mapping");
	if (memcmp(priv, shared, PAGE))
		return fail("a private mapping shows something else than the shared one");
	memset(priv, 0x55, PAGE);
	if (pread(fd, buf, PAGE, (off_t)page * PAGE) != (ssize_t)PAGE)
		return 3;
	if (memcmp(buf, shared, PAGE))
		return fail("a write to a private mapping reached the file");
	munmap(priv, PAGE);
	return 0;
}

static int run_step(int fd, uint8_t *map, FILE *log, uint64_t counter, uint64_t chance)
{
	uint32_t page = (uint32_t)(chance % PAGES);
	uint8_t *p = map + (size_t)page * PAGE, buf[PAGE];

	if (chance >> 40 & 1) { /* through the mapping */
		page_fill(p, page, counter);
		if (msync(p, PAGE, MS_SYNC))
			return gone() ? 3 : fail("msync");
	} else { /* through write(2): the mapping sees it */
		page_fill(buf, page, counter);
		if (pwrite(fd, buf, PAGE, (off_t)page * PAGE) != (ssize_t)PAGE)
			return 3;
		if (memcmp(buf, p, PAGE))
			return fail("the mapping does not show what write() wrote");
	}
	fprintf(log, "%u %llu\n", page, (unsigned long long)counter);
	fflush(log);
	if (pread(fd, buf, PAGE, (off_t)page * PAGE) != (ssize_t)PAGE)
		return 3;
	if (memcmp(buf, p, PAGE))
		return fail("read() does not see what the mapping holds");
	return counter % 16 ? 0 : check_private(fd, page, p);
}

static int run(const char *dir, const char *log_path, uint64_t seed, double seconds)
{
	uint64_t end = oplog_now_ns() + (uint64_t)(seconds * 1e9), chance = seed;
	volatile uint64_t counter = seed << 32;
	FILE *log = fopen(log_path, "ae");
	char path[4096];
	uint8_t *map;
	int fd, ret = 0;

	snprintf(path, sizeof(path), "%s/mapped", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (!log || fd < 0 || ftruncate(fd, (off_t)PAGES * PAGE))
		return fail(path);
	map = mmap(NULL, (size_t)PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		return fail("shared mapping");
	signal(SIGBUS, on_bus);
	if (sigsetjmp(bus, 1))
		return 3;
	while (!ret && oplog_now_ns() < end) {
		chance = pattern_mix(chance);
		ret = run_step(fd, map, log, ++counter, chance);
	}
	printf("mapped run: %llu pages\n", (unsigned long long)(counter - (seed << 32)));
	return ret;
}

static int verify(const char *dir, const char *log_path)
{
	static uint64_t acked[PAGES];
	FILE *log = fopen(log_path, "re");
	uint8_t have[PAGE], want[PAGE];
	unsigned long long counter;
	uint64_t found;
	char path[4096];
	unsigned page, newer = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/mapped", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!log || fd < 0)
		return fail(path);
	while (fscanf(log, "%u %llu\n", &page, &counter) == 2)
		acked[page % PAGES] = counter;
	for (page = 0; page < PAGES; page++) {
		if (pread(fd, have, PAGE, (off_t)page * PAGE) != (ssize_t)PAGE)
			return fail("read");
		memcpy(&found, have, 8);
		page_fill(want, page, found);
		if (found && memcmp(have, want, PAGE)) {
			fprintf(stderr, "mapped: page %u is torn\n", page);
			return 1;
		}
		newer += found > acked[page];
		if (found < acked[page] || newer > 1) {
			fprintf(stderr, "mapped: page %u: counter %llu, acknowledged %llu\n", page,
				(unsigned long long)found, (unsigned long long)acked[page]);
			return 1;
		}
	}
	return 0;
}

static const uint64_t islands[] = {0, (10ull << 30) - 1, SPARSE - 2 * PAGE};

static int sparse(const char *dir)
{
	uint8_t buf[PAGE];
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/sparse", dir);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 || ftruncate(fd, (off_t)SPARSE))
		return fail(path);
	for (unsigned i = 0; i < 3; i++) {
		pattern_fill(buf, PAGE, i);
		if (pwrite(fd, buf, PAGE, (off_t)islands[i]) != (ssize_t)PAGE)
			return fail("write");
	}
	return close(fd) ? fail("close") : 0;
}

/* [data, hole) pairs in order; offsets rounded out to blocks. */
static int check_holes(int fd)
{
	off_t at = 0;

	for (unsigned i = 0; i < 3; i++) {
		off_t data = lseek(fd, at, SEEK_DATA), hole;
		off_t from = (off_t)(islands[i] / PAGE * PAGE);
		off_t to = (off_t)((islands[i] + 2 * PAGE - 1) / PAGE * PAGE);

		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (data != from || hole != to) {
			fprintf(stderr, "mapped: island %u is %lld to %lld, not %lld to %lld\n", i,
				(long long)data, (long long)hole, (long long)from, (long long)to);
			return 1;
		}
		at = hole;
	}
	if (lseek(fd, at, SEEK_DATA) != -1 || errno != ENXIO)
		return fail("SEEK_DATA behind the last island");
	return 0;
}

static int sparse_check(const char *dir)
{
	static const uint8_t zeros[PAGE];
	uint8_t have[PAGE], want[PAGE];
	char path[4096];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/sparse", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) || (uint64_t)st.st_size != SPARSE || st.st_blocks > 64) {
		fprintf(stderr, "mapped: size %lld, %lld blocks\n", (long long)st.st_size,
			(long long)st.st_blocks);
		return fail(path);
	}
	for (unsigned i = 0; i < 3; i++) {
		pattern_fill(want, PAGE, i);
		if (pread(fd, have, PAGE, (off_t)islands[i]) != (ssize_t)PAGE ||
			memcmp(have, want, PAGE))
			return fail("an island's bytes");
	}
	for (uint64_t off = PAGE; off < SPARSE - 2 * PAGE; off += SPARSE / 1000 / PAGE * PAGE)
		if (off / PAGE != (islands[1] / PAGE) && off / PAGE != islands[1] / PAGE + 1 &&
			(pread(fd, have, PAGE, (off_t)off) != (ssize_t)PAGE ||
				memcmp(have, zeros, PAGE)))
			return fail("a hole's bytes");
	return check_holes(fd);
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "run"))
		return run(argv[2], argv[3], strtoull(argv[4], NULL, 0), strtod(argv[5], NULL));
	if (argc == 4 && !strcmp(argv[1], "verify"))
		return verify(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "sparse"))
		return sparse(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "sparse-check"))
		return sparse_check(argv[2]);
	fprintf(stderr, "usage: mapped run DIR LOG SEED SECONDS | verify DIR LOG | sparse DIR | "
			"sparse-check DIR\n");
	return 2;
}
