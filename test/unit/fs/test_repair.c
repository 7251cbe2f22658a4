/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair, as far as it needs no peer: which blocks are damaged and still needed, what of an answer is
 * believed, putting bytes back, and the name for the log.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "meta_rig.h"
#include "repair.h"
#include "scratch.h"

static struct rig r;
static struct segments *s;
static uint64_t ino;
static struct extent x; /* of the file: all its blocks in one run */
static uint32_t crcs[200];
static uint8_t *bytes;

#define BLOCKS 200u

static void open_segments(void)
{
	struct err e = {0};

	cr_assert_eq(segments_open(scratch_dir(), &s, &e), 0, "%s", e.msg);
}

static void setup(void)
{
	uint64_t state = 1;
	struct err e = {0};
	struct inode i;

	rig_open(&r);
	open_segments();
	cr_assert_eq(segments_add_epoch(s, r.epoch, &e), 0, "%s", e.msg);
	ino = rig_create(&r, ROOT_INO, "file", S_IFREG | 0644);
	bytes = aligned_alloc(BLOCK_SIZE, BLOCKS * BLOCK_SIZE);
	for (size_t at = 0; at < BLOCKS * BLOCK_SIZE; at += 8)
		memcpy(bytes + at, &(uint64_t){rig_random(&state)}, 8);
	cr_assert_eq(rig_do(&r, rig_op_write(ino, 0, bytes, BLOCKS * BLOCK_SIZE)), 0);
	i = rig_inode(&r, ino);
	cr_assert_eq(tree_map(r.tree, &i, 0, BLOCKS, &x, 1, crcs), 1);
	cr_assert_eq(x.blocks, BLOCKS);
	cr_assert_eq(segments_write(s, x.addr, BLOCKS, bytes), 0);
	cr_assert_eq(segments_sync(s), 0);
}

static void cleanup(void)
{
	segments_close(s);
	rig_close(&r);
	scratch_remove();
	free(bytes);
}

TestSuite(repair, .init = setup, .fini = cleanup);

static void segment_path(char *path, size_t size)
{
	snprintf(path, size, "%s/%08x-%016llx/000000", scratch_dir(), r.epoch.num,
		(unsigned long long)r.epoch.id);
}

static void flip(uint32_t block)
{
	off_t at = (off_t)(x.addr.block + block) * BLOCK_SIZE + 123;
	char path[300];
	uint8_t b;
	int fd;

	segment_path(path, sizeof(path));
	fd = open(path, O_RDWR);
	cr_assert(fd >= 0 && pread(fd, &b, 1, at) == 1);
	b ^= 4;
	cr_assert_eq(pwrite(fd, &b, 1, at), 1);
	cr_assert_eq(fsync(fd), 0);
	close(fd);
}

static struct addr at(uint32_t block)
{
	return (struct addr){.block = x.addr.block + block, .epoch = x.addr.epoch};
}

Test(repair, damage_is_found_block_by_block)
{
	cr_assert_eq(segments_damage(s, x.addr, 64, crcs), 0);
	flip(0);
	flip(5);
	flip(63);
	cr_assert_eq(segments_damage(s, x.addr, 64, crcs), 1ull << 63 | 1ull << 5 | 1);
	cr_assert_eq(segments_damage(s, at(6), 57, crcs + 6), 0);
}

Test(repair, what_is_put_back_is_there_after_a_restart)
{
	uint8_t buf[BLOCK_SIZE];
	uint32_t bad;

	flip(7);
	flip(8);
	cr_assert_eq(segments_read(s, at(7), 1, buf, crcs + 7, &bad), -EBADMSG);
	cr_assert_eq(segments_repair(s, at(7), 2, bytes + 7 * BLOCK_SIZE), 0);
	cr_assert_eq(segments_read(s, at(7), 1, buf, crcs + 7, &bad), 0);
	segments_close(s);
	open_segments();
	cr_assert_eq(segments_damage(s, at(0), 64, crcs), 0);
}

Test(repair, a_lost_file_is_made_again)
{
	char path[300];

	segments_close(s);
	segment_path(path, sizeof(path));
	cr_assert_eq(unlink(path), 0);
	open_segments();
	cr_assert_eq(segments_damage(s, at(0), 3, crcs), 7);
	cr_assert_eq(segments_repair(s, at(1), 1, bytes + BLOCK_SIZE), 0);
	cr_assert_eq(segments_damage(s, at(0), 3, crcs), 5);
}

Test(repair, a_write_back_that_fails_is_not_final)
{
	segments_close(s);
	setenv("TANDEMFS_FAULT_DATA", "1", 1);
	open_segments();
	unsetenv("TANDEMFS_FAULT_DATA");
	flip(1);
	cr_assert_eq(segments_repair(s, at(1), 1, bytes + BLOCK_SIZE), -EIO);
	cr_assert_not(segments_failed(s, NULL));
	cr_assert_eq(segments_damage(s, at(0), 3, crcs), 2, "the old damage stays");
	cr_assert_eq(segments_repair(s, at(1), 1, bytes + BLOCK_SIZE), 0);
	cr_assert_eq(segments_damage(s, at(0), 3, crcs), 0);
}

Test(repair, a_punched_block_is_a_hole_and_a_damaged_one_is_not)
{
	flip(2);
	cr_assert_not(segments_hole(s, at(2), 1));
	cr_assert_eq(segments_punch(s, at(4), 2), 0);
	cr_assert(segments_hole(s, at(4), 2));
	cr_assert_not(segments_hole(s, at(4), 3));
	cr_assert(segments_hole(s, (struct addr){.block = 0, .epoch = 77}, 1));
}

Test(repair, a_repair_names_the_damaged_run_and_no_more)
{
	struct repair *p;

	flip(70);
	flip(75);
	flip(199);
	cr_assert_eq(repair_find(r.tree, s, ino, &x, crcs, 70, &p), -EBADMSG);
	cr_assert(p->ino == ino && p->file_block == 70 && p->blocks == 6);
	cr_assert(p->addr.block == x.addr.block + 70 && p->addr.epoch == x.addr.epoch);
	cr_assert_eq(p->bad, 1 | 1 << 5);
	cr_assert_eq(memcmp(p->crcs, crcs + 70, 6 * sizeof(crcs[0])), 0);
	repair_end(s, p);
	/* From 0 on, as after an unreadable sector somewhere: the first window that has damage. */
	cr_assert_eq(repair_find(r.tree, s, ino, &x, crcs, 0, &p), -EBADMSG);
	cr_assert_eq(p->file_block, 70);
	repair_end(s, p);
	cr_assert_eq(repair_find(r.tree, s, ino, &x, crcs, 76, &p), -EBADMSG);
	cr_assert(p->file_block == 199 && p->blocks == 1 && p->bad == 1);
	repair_end(s, p);
}

Test(repair, what_no_file_maps_any_more_is_no_damage)
{
	struct repair *p = NULL;

	cr_assert_eq(repair_find(r.tree, s, ino, &x, crcs, 0, &p), -EAGAIN, "all is well");
	flip(9);
	cr_assert_eq(rig_do(&r, rig_op_write(ino, 9 * BLOCK_SIZE, bytes, BLOCK_SIZE)), 0);
	cr_assert_eq(repair_find(r.tree, s, ino, &x, crcs, 9, &p), -EAGAIN);
	cr_assert_null(p);
	cr_assert_not(repair_mapped(r.tree, ino, 9, at(9)));
	cr_assert(repair_mapped(r.tree, ino, 10, at(10)));
	cr_assert_eq(rig_do(&r, rig_op_truncate(ino, 0)), 0);
	cr_assert_not(repair_mapped(r.tree, ino, 10, at(10)));
}

Test(repair, of_an_answer_only_what_was_asked_for_and_is_right_is_taken)
{
	struct repair p = {.blocks = 4, .bad = 13};

	memcpy(p.crcs, crcs, 4 * sizeof(crcs[0]));
	cr_assert_eq(repair_verify(&p, 15, bytes), 13, "block 1 is not damaged here");
	cr_assert_eq(repair_verify(&p, 4, bytes), 4);
	bytes[3 * BLOCK_SIZE] ^= 1;
	cr_assert_eq(repair_verify(&p, 15, bytes), 5, "a good bit for bad bytes");
	cr_assert_eq(repair_verify(&p, 0, NULL), 0);
}

Test(repair, a_path_leads_from_the_root_to_the_inode)
{
	uint64_t a = rig_create(&r, ROOT_INO, "a", S_IFDIR | 0755);
	uint64_t b = rig_create(&r, a, "b", S_IFDIR | 0755);
	uint64_t f = rig_create(&r, b, "leaf", S_IFREG | 0644);
	char path[300];

	cr_assert_eq(tree_path(r.tree, f, path, sizeof(path)), 0);
	cr_assert_str_eq(path, "a/b/leaf");
	cr_assert_eq(tree_path(r.tree, b, path, sizeof(path)), 0);
	cr_assert_str_eq(path, "a/b");
	cr_assert_eq(tree_path(r.tree, ino, path, sizeof(path)), 0);
	cr_assert_str_eq(path, "file");
	cr_assert_eq(tree_path(r.tree, ROOT_INO, path, sizeof(path)), 0);
	cr_assert_str_eq(path, ".");
	cr_assert_eq(rig_do(&r, rig_op_rename(b, "leaf", ROOT_INO, "moved", 0)), 0);
	cr_assert_eq(tree_path(r.tree, f, path, sizeof(path)), 0);
	cr_assert_str_eq(path, "moved");
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "moved")), 0);
	cr_assert_eq(tree_path(r.tree, f, path, sizeof(path)), -ENOENT);
	cr_assert_eq(tree_path(r.tree, 4711, path, sizeof(path)), -ENOENT);
}

Test(repair, a_path_that_is_too_long_keeps_its_end)
{
	char name[201] = "", path[300];
	uint64_t dir = ROOT_INO;

	memset(name, 'd', 200);
	for (int i = 0; i < 3; i++)
		dir = rig_create(&r, dir, name, S_IFDIR | 0755);
	dir = rig_create(&r, dir, "leaf", S_IFREG | 0644);
	cr_assert_eq(tree_path(r.tree, dir, path, sizeof(path)), 0);
	cr_assert_eq(strncmp(path, ".../d", 5), 0, "%s", path);
	cr_assert_str_eq(path + strlen(path) - 6, "d/leaf");
}
