/* SPDX-License-Identifier: Apache-2.0 */
/* What was given up is looked into by address and checksum, and never changed. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "msg.h"
#include "pull_old.h"
#include "scratch.h"

static const struct epoch epoch = {.num = 3, .id = 0xabcdef};
static uint8_t buf[8 * BLOCK_SIZE];
static bool good[8];
static uint32_t crcs[8];

static void fill(uint8_t *b, unsigned seed)
{
	memset(b, (int)seed, BLOCK_SIZE);
}

static uint32_t crc_of(unsigned seed)
{
	uint8_t b[BLOCK_SIZE];

	fill(b, seed);
	return crc32c(0, b, sizeof(b));
}

/* Block `block` of segment 1 of the epoch in the state NAME. */
static void put(const char *name, uint64_t block, unsigned seed)
{
	uint8_t b[BLOCK_SIZE];
	char path[128];
	int fd;

	mkdir(name, 0700);
	snprintf(path, sizeof(path), "%s/data", name);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/data/00000003-0000000000abcdef", name);
	mkdir(path, 0700);
	snprintf(path, sizeof(path), "%s/data/00000003-0000000000abcdef/000001", name);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	cr_assert_geq(fd, 0);
	fill(b, seed);
	cr_assert_eq(pwrite(fd, b, sizeof(b), (off_t)(block * BLOCK_SIZE)), BLOCK_SIZE);
	close(fd);
}

static void ask(struct pull_old *o, struct epoch e, uint64_t block)
{
	memset(buf, 0xee, sizeof(buf));
	pull_old_read(o, e, DATA_SEGMENT_BLOCKS + block, 8, crcs, buf, good);
}

static unsigned found(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 8; i++) {
		uint8_t b[BLOCK_SIZE];

		fill(b, 10 + i);
		if (good[i])
			cr_assert_arr_eq(buf + (size_t)i * BLOCK_SIZE, b, BLOCK_SIZE);
		n += good[i];
	}
	return n;
}

static void setup(void)
{
	cr_assert_eq(chdir(scratch_dir()), 0);
	for (unsigned i = 0; i < 8; i++)
		crcs[i] = crc_of(10 + i);
}

TestSuite(pull_old, .init = setup, .fini = scratch_remove);

Test(pull_old, nothing_was_given_up)
{
	mkdir("data", 0700);
	mkdir("fork-not a name", 0700);
	cr_assert_null(pull_old_open("."));
	cr_assert_null(pull_old_open("missing"));
	pull_old_close(NULL);
}

Test(pull_old, blocks_are_found_by_their_checksum_wherever_they_are)
{
	struct pull_old *o;

	put("fork-20260101T000000Z-7", 100, 10);
	put("fork-20260101T000000Z-7", 101, 99); /* other bytes */
	put("fork-20260101T000000Z-7", 103, 13);
	put("fork-20260102T000000Z-9", 101, 11);
	put("fork-20260102T000000Z-9", 107, 17);
	o = pull_old_open(".");
	cr_assert(o);
	ask(o, epoch, 100);
	cr_assert(good[0] && good[1] && !good[2] && good[3] && !good[4] && !good[6] && good[7]);
	cr_assert_eq(found(), 4);
	ask(o, epoch, 99); /* a block further on each of them is at another one's place */
	cr_assert_eq(found(), 0);
	ask(o, (struct epoch){.num = 3, .id = 1}, 100); /* another epoch of that number */
	cr_assert_eq(found(), 0);
	ask(o, (struct epoch){.num = 4, .id = epoch.id}, 100);
	cr_assert_eq(found(), 0);
	ask(o, epoch, 100);
	cr_assert_eq(found(), 4);
	ask(o, epoch, 5000); /* beyond the end of what was written */
	cr_assert_eq(found(), 0);
	pull_old_close(o);
}

Test(pull_old, a_file_that_ends_within_a_block)
{
	const char *file = "fork-20260101T000000Z-7/data/00000003-0000000000abcdef/000001";
	struct pull_old *o;

	put("fork-20260101T000000Z-7", 0, 10);
	put("fork-20260101T000000Z-7", 1, 11);
	cr_assert_eq(truncate(file, BLOCK_SIZE + 100), 0);
	o = pull_old_open(".");
	ask(o, epoch, 0);
	cr_assert(good[0]);
	cr_assert_eq(found(), 1);
	pull_old_close(o);
}

Test(pull_old, nothing_is_made)
{
	struct stat st;
	struct pull_old *o;

	put("fork-20260101T000000Z-7", 0, 10);
	chmod("fork-20260101T000000Z-7/data/00000003-0000000000abcdef", 0500);
	o = pull_old_open(".");
	pull_old_read(o, epoch, 5ull * DATA_SEGMENT_BLOCKS, 8, crcs, buf, good);
	cr_assert_eq(found(), 0);
	cr_assert(stat("fork-20260101T000000Z-7/data/00000003-0000000000abcdef/000005", &st) < 0);
	pull_old_close(o);
}
