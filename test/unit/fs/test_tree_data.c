/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "acl.h"
#include "le.h"
#include "meta_rig.h"
#include "tree_impl.h"

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)

static struct rig r;
static uint64_t f;
static uint8_t bytes[WRITE_SIZE_MAX + 1];

static void open_rig(void)
{
	rig_open(&r);
	f = rig_create(&r, ROOT_INO, "f", S_IFREG | 0644);
	memset(bytes, 'b', sizeof(bytes));
}

static void close_rig(void)
{
	rig_check(&r);
	rig_close(&r);
}

TestSuite(tree_data, .init = open_rig, .fini = close_rig);

static int write_at(uint64_t off, size_t len)
{
	return rig_do(&r, rig_op_write(f, off, bytes, len));
}

/* The byte at off. */
static int byte_at(uint64_t off)
{
	uint8_t b = 0;

	cr_assert_eq(rig_read(&r, f, off, &b, 1), 1);
	return b;
}

static uint64_t used(void)
{
	struct tree_info i;

	tree_info(r.tree, &i);
	return i.used_blocks;
}

Test(tree_data, a_small_write_travels_in_the_entry_and_a_large_one_does_not)
{
	struct op *op = rig_op_write(f, 0, bytes, INLINE_SIZE_MAX);
	struct decide_ctx c = {
		.seq = r.end.seq + 1, .epoch_num = 1, .next_block = 5, .free_blocks = 1000};
	struct decision d;

	cr_assert_eq(op_decide(r.tree, op, &c, &d), 0);
	cr_assert_eq(d.niov, 2);
	cr_assert_not(d.external);
	cr_assert_eq(d.addr.block, 5);
	cr_assert_eq(c.next_block, 5 + INLINE_SIZE_MAX / BLOCK_SIZE);
	op_free(op);
	op = rig_op_write(f, 0, bytes, INLINE_SIZE_MAX + 1);
	c.next_block = DATA_SEGMENT_BLOCKS - 3; /* the run does not fit before the border */
	cr_assert_eq(op_decide(r.tree, op, &c, &d), -EAGAIN, "its last block is covered in part");
	op_free(op);
	op = rig_op_write(f, 0, bytes, WRITE_SIZE_MAX);
	cr_assert_eq(op_decide(r.tree, op, &c, &d), 0);
	cr_assert(d.external);
	cr_assert_eq(d.niov, 1);
	cr_assert_eq(d.addr.block, DATA_SEGMENT_BLOCKS);
	cr_assert_eq(c.next_block, DATA_SEGMENT_BLOCKS + 256);
	op_free(op);
}

Test(tree_data, writes_are_checked)
{
	cr_assert_eq(rig_do(&r, rig_op_write(ROOT_INO, 0, bytes, 10)), -EISDIR);
	cr_assert_eq(rig_do(&r, rig_op_write(99, 0, bytes, 10)), -ENOENT);
	cr_assert_eq(write_at(FILE_SIZE_MAX - 1, 2), -EFBIG);
	cr_assert_eq(write_at(FILE_SIZE_MAX - 1, 1), 0);
	cr_assert_eq(write_at(UINT64_MAX - 5, 4096), -EFBIG);
	cr_assert_eq(write_at(0, 0), 0);
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, FILE_SIZE_MAX + 1)), -EFBIG);
	cr_assert_eq(rig_do(&r, rig_op_truncate(ROOT_INO, 0)), -EISDIR);
	cr_assert_eq(rig_inode(&r, f).size, FILE_SIZE_MAX);
}

Test(tree_data, a_full_volume_is_ENOSPC_before_anything_is_assigned)
{
	uint64_t next;

	cr_assert_eq(write_at(0, 8 * BLOCK_SIZE), 0);
	next = r.next_block;
	r.free_blocks = 3;
	cr_assert_eq(write_at(1 << 20, 4 * BLOCK_SIZE), -ENOSPC);
	cr_assert_eq(rig_do(&r, rig_op_fallocate(f, 0, 0, 12 * BLOCK_SIZE)), -ENOSPC);
	cr_assert_eq(r.next_block, next);
	cr_assert_eq(write_at(1 << 20, 3 * BLOCK_SIZE), 0);
	r.free_blocks = 1000;
	SB_SET(r.tree, size_blocks, 11);
	cr_assert_eq(write_at(2 << 20, 1), -ENOSPC);
	cr_assert_eq(write_at(0, 8 * BLOCK_SIZE), 0, "overwriting needs no more");
	r.free_blocks = 0;
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 0)), 0);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "f")), 0);
	rig_reap(&r, NULL, NULL);
	cr_assert_eq(used(), 0);
}

Test(tree_data, what_is_cut_off_reads_as_zeros_when_the_file_grows_again)
{
	cr_assert_eq(write_at(0, 10000), 0);
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 5000)), 0);
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 20000)), 0);
	cr_assert_eq(byte_at(4999), 'b');
	cr_assert_eq(byte_at(5000), 0);
	cr_assert_eq(byte_at(8191), 0);
	cr_assert_eq(byte_at(9000), 0);
	cr_assert_eq(rig_inode(&r, f).blocks, 2);
	cr_assert_eq(used(), 2);
}

Test(tree_data, a_large_file_is_truncated_in_one_entry_and_reaped_in_steps)
{
	size_t entries;
	struct inode i;

	for (unsigned n = 0; n < 1000; n++)
		cr_assert_eq(write_at((uint64_t)n * CHUNK_BLOCKS * BLOCK_SIZE, BLOCK_SIZE), 0);
	entries = r.nlog;
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 0)), 0);
	cr_assert_eq(r.nlog, entries + 1);
	i = rig_inode(&r, f);
	cr_assert_eq(i.ndead, 1);
	cr_assert_eq(i.blocks, 1000, "they count until they are reaped");
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 1ull << 30)), 0);
	cr_assert_eq(byte_at(0), 0);
	cr_assert_eq(byte_at(CHUNK_BLOCKS * BLOCK_SIZE), 0);
	/* New data among the dead stays. */
	cr_assert_eq(write_at(5ull * CHUNK_BLOCKS * BLOCK_SIZE + 4096, 100), 0);
	cr_assert_eq(write_at(700ull * CHUNK_BLOCKS * BLOCK_SIZE, 4096), 0);
	rig_check(&r);
	cr_assert_eq(rig_reap(&r, NULL, NULL), 3);
	i = rig_inode(&r, f);
	cr_assert_eq(i.ndead, 0);
	cr_assert_eq(i.blocks, 2);
	cr_assert_eq(used(), 2);
	cr_assert_eq(byte_at(5ull * CHUNK_BLOCKS * BLOCK_SIZE + 4096), 'b');
	cr_assert_eq(byte_at(700ull * CHUNK_BLOCKS * BLOCK_SIZE), 'b');
}

Test(tree_data, a_sparse_file_of_20_gib_costs_nothing)
{
	uint64_t off = 0;
	struct inode i;

	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 20ull << 30)), 0);
	cr_assert_eq(write_at(15ull << 30, 10), 0);
	i = rig_inode(&r, f);
	cr_assert_eq(tree_seek(r.tree, &i, 0, SEEK_DATA, &off), 0);
	cr_assert_eq(off, 15ull << 30);
	cr_assert_eq(tree_seek(r.tree, &i, off + 1, SEEK_DATA, &off), 0);
	cr_assert_eq(off, (15ull << 30) + 1);
	cr_assert_eq(tree_seek(r.tree, &i, off, SEEK_HOLE, &off), 0);
	cr_assert_eq(off, (15ull << 30) + 4096);
	cr_assert_eq(tree_seek(r.tree, &i, off, SEEK_DATA, &off), -ENXIO);
	cr_assert_eq(tree_seek(r.tree, &i, 0, SEEK_HOLE, &off), 0);
	cr_assert_eq(off, 0);
	cr_assert_eq(tree_seek(r.tree, &i, 20ull << 30, SEEK_HOLE, &off), -ENXIO);
	cr_assert_eq(rig_do(&r, rig_op_fallocate(f, PUNCH, 1000, 19ull << 30)), 0);
	cr_assert_eq(rig_reap(&r, NULL, NULL), 1);
	cr_assert_eq(used(), 0);
	i = rig_inode(&r, f);
	cr_assert_eq(tree_seek(r.tree, &i, 0, SEEK_DATA, &off), -ENXIO);
}

Test(tree_data, seeking_a_hole_ends_at_the_end_of_the_file)
{
	uint64_t off = 0;
	struct inode i;

	cr_assert_eq(write_at(0, 300000), 0);
	i = rig_inode(&r, f);
	cr_assert_eq(tree_seek(r.tree, &i, 5, SEEK_HOLE, &off), 0);
	cr_assert_eq(off, 300000);
}

Test(tree_data, a_ninth_dead_range_waits_for_the_first_to_be_reaped)
{
	uint64_t step = (HOLE_CHUNKS_MAX + 4) * (uint64_t)CHUNK_BLOCKS * BLOCK_SIZE;
	unsigned reaps;

	for (unsigned n = 0; n < 12; n++)
		cr_assert_eq(write_at(n * step, BLOCK_SIZE), 0);
	for (unsigned n = 0; n < 8; n++)
		cr_assert_eq(rig_do(&r, rig_op_fallocate(f, PUNCH, n * step, step)), 0);
	cr_assert_eq(rig_inode(&r, f).ndead, 8);
	reaps = r.reaps;
	cr_assert_eq(rig_do(&r, rig_op_fallocate(f, PUNCH, 8 * step, step)), 0);
	cr_assert_eq(r.reaps, reaps + 1);
	cr_assert_eq(rig_inode(&r, f).ndead, 8);
	/* A range that contains others replaces them. */
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 0)), 0);
	cr_assert_eq(rig_inode(&r, f).ndead, 1);
	rig_reap(&r, NULL, NULL);
	cr_assert_eq(used(), 0);
}

Test(tree_data, garbage_is_found_again_after_a_start)
{
	char path[64];

	for (unsigned n = 0; n < 40; n++)
		cr_assert_eq(write_at((uint64_t)n << 20, BLOCK_SIZE), 0);
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 0)), 0);
	rig_create(&r, ROOT_INO, "g", S_IFREG);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "g")), 0);
	snprintf(path, sizeof(path), "still the same store");
	tree_close(r.tree);
	cr_assert_eq(tree_open(r.store, &r.volume, &r.tree, NULL), 0);
	cr_assert_eq(rig_reap(&r, NULL, NULL), 0, "not active yet");
	cr_assert_eq(tree_find_garbage(r.tree), 0);
	cr_assert_eq(rig_reap(&r, NULL, NULL), 2);
	cr_assert_eq(used(), 0);
}

Test(tree_data, a_dead_range_says_that_there_is_work_and_says_it_once)
{
	for (unsigned n = 0; n < 40; n++)
		cr_assert_eq(write_at((uint64_t)n << 20, BLOCK_SIZE), 0);
	tree_has_new_garbage(r.tree);
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 20ull << 20)), 0);
	cr_assert(tree_has_new_garbage(r.tree));
	cr_assert(!tree_has_new_garbage(r.tree));
	rig_reap(&r, NULL, NULL);
	cr_assert(!tree_has_new_garbage(r.tree), "what is removed is no new work");
	cr_assert_eq(used(), 20);
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 0)), 0);
	cr_assert(tree_has_new_garbage(r.tree));
	rig_reap(&r, NULL, NULL);
	cr_assert_eq(used(), 0);
}

static bool is_in_use;

static bool in_use(void *ctx, uint64_t ino)
{
	return is_in_use;
}

Test(tree_data, a_dead_range_full_of_living_chunks_is_walked_to_its_end)
{
	uint64_t chunk = CHUNK_BLOCKS * (uint64_t)BLOCK_SIZE;

	for (unsigned n = 0; n < REAP_CHUNKS_MAX + 50; n++)
		cr_assert_eq(write_at(n * chunk, BLOCK_SIZE), 0);
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 0)), 0);
	for (unsigned n = 0; n < REAP_CHUNKS_MAX + 40; n++)
		cr_assert_eq(write_at(n * chunk, BLOCK_SIZE), 0);
	cr_assert_eq(rig_inode(&r, f).blocks, REAP_CHUNKS_MAX + 50);
	cr_assert_eq(rig_reap(&r, NULL, NULL), 2);
	cr_assert_eq(rig_inode(&r, f).ndead, 0);
	cr_assert_eq(used(), REAP_CHUNKS_MAX + 40);
}

static uint8_t open_inodes[4000];

static bool is_open(void *ctx, uint64_t ino)
{
	return open_inodes[ino];
}

Test(tree_data, many_open_orphans_go_in_the_order_in_which_they_are_forgotten)
{
	struct tree_info info;
	char name[16];
	uint64_t ino;

	for (unsigned n = 0; n < 3000; n++) {
		snprintf(name, sizeof(name), "o%u", n);
		ino = rig_create(&r, ROOT_INO, name, S_IFREG);
		open_inodes[ino] = 1;
		cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, name)), 0);
	}
	cr_assert_eq(rig_reap(&r, is_open, NULL), 0);
	for (unsigned n = 0; n < 3000; n++) {
		ino = f + 1 + n * 7 % 3000;
		open_inodes[ino] = 0;
		tree_forgotten(r.tree, ino);
		if (n % 1000 == 999)
			cr_assert_gt(rig_reap(&r, is_open, NULL), 0);
	}
	tree_info(r.tree, &info);
	cr_assert_eq(info.inodes, 2);
}

Test(tree_data, an_open_orphan_keeps_its_data_until_it_is_forgotten)
{
	cr_assert_eq(write_at(0, 9000), 0);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "f")), 0);
	is_in_use = true;
	cr_assert_eq(rig_reap(&r, in_use, NULL), 0);
	cr_assert_eq(write_at(9000, 50), 0);
	cr_assert_eq(byte_at(9049), 'b');
	is_in_use = false;
	cr_assert_eq(rig_reap(&r, in_use, NULL), 0, "nobody said that it was forgotten");
	tree_forgotten(r.tree, f);
	tree_forgotten(r.tree, 12345);
	cr_assert_eq(rig_reap(&r, in_use, NULL), 1);
	cr_assert_eq(used(), 0);
}

Test(tree_data, an_orphan_with_attributes_and_many_chunks_goes_completely)
{
	char name[40];

	for (unsigned n = 0; n < 1000; n++)
		cr_assert_eq(write_at((uint64_t)n << 18, BLOCK_SIZE), 0);
	for (unsigned n = 0; n < 200; n++) {
		snprintf(name, sizeof(name), "user.attribute.number.%u", n);
		cr_assert_eq(rig_do(&r, rig_op_setxattr(f, name, name, 10, 0)), 0);
	}
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 100 << 18)), 0);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "f")), 0);
	rig_check(&r);
	cr_assert_leq(rig_reap(&r, NULL, NULL), 6);
	cr_assert_eq(used(), 0);
}

Test(tree_data, fallocate_does_what_each_mode_says)
{
	cr_assert_eq(rig_do(&r, rig_op_fallocate(f, 0, 0, 10000)), 0);
	cr_assert_eq(rig_inode(&r, f).size, 10000);
	cr_assert_eq(rig_do(&r, rig_op_fallocate(f, FALLOC_FL_KEEP_SIZE, 0, 20000)), 0);
	cr_assert_eq(rig_inode(&r, f).size, 10000);
	cr_assert_eq(used(), 0);
	cr_assert_eq(write_at(0, 20000), 0);
	cr_assert_eq(rig_do(&r, rig_op_fallocate(f, PUNCH, 100, 50)), 0);
	cr_assert_eq(byte_at(99), 'b');
	cr_assert_eq(byte_at(100), 0);
	cr_assert_eq(byte_at(149), 0);
	cr_assert_eq(byte_at(150), 'b');
	cr_assert_eq(rig_do(&r, rig_op_fallocate(f, FALLOC_FL_ZERO_RANGE, 5000, 20000)), 0);
	cr_assert_eq(rig_inode(&r, f).size, 25000);
	cr_assert_eq(byte_at(4999), 'b');
	cr_assert_eq(byte_at(5000), 0);
	cr_assert_eq(byte_at(24999), 0);
	cr_assert_eq(used(), 2);
	cr_assert_eq(
		rig_do(&r, rig_op_fallocate(f, FALLOC_FL_COLLAPSE_RANGE, 0, 4096)), -EOPNOTSUPP);
	cr_assert_eq(rig_do(&r, rig_op_fallocate(f, 0, 0, 0)), -EINVAL);
	cr_assert_eq(rig_do(&r, rig_op_fallocate(f, 0, FILE_SIZE_MAX, 1)), -EFBIG);
	cr_assert_eq(rig_do(&r, rig_op_fallocate(ROOT_INO, 0, 0, 1)), -EISDIR);
}

Test(tree_data, an_edge_that_was_overtaken_is_read_again)
{
	struct op *op = rig_op_write(f, 100, bytes, 50), *other;

	cr_assert_eq(write_at(0, 4096), 0);
	/* No edge at all, then one from before another write. */
	cr_assert_eq(rig_decide(&r, op), -EAGAIN);
	cr_assert_eq(rig_run(&r, op), 0);
	op_free(op);
	op = rig_op_write(f, 200, bytes, 50);
	other = rig_op_write(f, 300, "xyz", 3);
	op->head =
		(struct op_edge){.used = true, .file_block = 0, .addr = {.block = 1, .epoch = 1}};
	cr_assert_eq(rig_do(&r, other), 0);
	cr_assert_eq(rig_decide(&r, op), -EAGAIN);
	cr_assert_eq(rig_do(&r, op), 0);
	cr_assert_eq(byte_at(301), 'y');
	cr_assert_eq(byte_at(205), 'b');
}

static uint32_t mode_of(uint64_t ino)
{
	return rig_inode(&r, ino).mode & 07777;
}

static void chmod_to(uint64_t ino, uint32_t mode)
{
	struct op *op = op_new(OP_SETATTR);

	op->ino = ino;
	op->attr_mask = ATTR_MODE;
	op->attr.mode = mode;
	cr_assert_eq(rig_do(&r, op), 0);
}

Test(tree_data, privileges_go_with_writes_truncations_and_owners)
{
	struct op *op;

	chmod_to(f, 06755);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, "security.capability", "x", 1, 0)), 0);
	cr_assert(rig_inode(&r, f).has_caps);
	cr_assert_eq(write_at(0, 10), 0);
	cr_assert_not(rig_inode(&r, f).has_caps);
	cr_assert_eq(mode_of(f), 06755, "the writer may keep them");
	op = rig_op_write(f, 0, bytes, 10);
	op->kill_priv = true;
	cr_assert_eq(rig_do(&r, op), 0);
	cr_assert_eq(mode_of(f), 0755);
	chmod_to(f, 06745); /* setgid without group execution is a lock mark */
	op = rig_op_truncate(f, 5);
	op->attr_mask |= ATTR_KILL_PRIV;
	cr_assert_eq(rig_do(&r, op), 0);
	cr_assert_eq(mode_of(f), 02745);
	chmod_to(f, 04755);
	op = op_new(OP_SETATTR);
	op->ino = f;
	op->attr_mask = ATTR_UID | ATTR_KILL_PRIV;
	op->attr.uid = 5;
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->result.uid, 5);
	cr_assert_eq(op->result.mode & 07777, 0755);
	op_free(op);
	op = op_new(OP_SETATTR);
	op->ino = f;
	op->attr_mask = ATTR_UID;
	op->attr.uid = UINT32_MAX;
	cr_assert_eq(rig_do(&r, op), -EINVAL);
	chmod_to(f, 04755);
	op = rig_op_fallocate(f, PUNCH, 0, 4096);
	op->uid = 1000;
	cr_assert_eq(rig_do(&r, op), 0);
	cr_assert_eq(mode_of(f), 0755);
}

Test(tree_data, times_are_set_as_asked)
{
	struct op *op = op_new(OP_SETATTR);

	op->ino = f;
	op->attr_mask = ATTR_ATIME | ATTR_MTIME;
	op->attr.atime_ns = 5;
	op->attr.mtime_ns = (uint64_t)-1000000001; /* before 1970 */
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->result.atime_ns, 5);
	cr_assert_eq(op->result.ctime_ns, r.now_ns);
	{
		struct stat st;

		inode_stat(&op->result, &st);
		cr_assert_eq(st.st_mtim.tv_sec, -2);
		cr_assert_eq(st.st_mtim.tv_nsec, 999999999);
	}
	op_free(op);
	op = op_new(OP_SETATTR);
	op->ino = f;
	op->attr_mask = ATTR_ATIME_NOW | ATTR_CTIME;
	op->attr.ctime_ns = 77;
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->result.atime_ns, r.now_ns);
	cr_assert_eq(op->result.ctime_ns, 77);
	op_free(op);
	op = op_new(OP_SETATTR);
	op->ino = f;
	cr_assert_eq(rig_run(&r, op), 0, "nothing to do");
	cr_assert_eq(op->seq, 0);
	cr_assert_eq(op->result.ino, f);
	op_free(op);
}

static int remove_xattr(uint64_t ino, const char *name)
{
	return rig_do(&r, ({
		struct op *op = op_new(OP_REMOVEXATTR);

		op->ino = ino;
		snprintf(op->name, sizeof(op->name), "%s", name);
		op;
	}));
}

Test(tree_data, attributes_have_flags_limits_and_reserved_names)
{
	char name[300], buf[100];
	size_t len;
	int ret = 0;

	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, "user.a", "1", 1, 2)), -ENODATA);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, "user.a", "1", 1, 1)), 0);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, "user.a", "1", 1, 1)), -EEXIST);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, "user.a", "", 0, 2)), 0);
	cr_assert_eq(tree_xattr_get(r.tree, f, "user.a", buf, 10, &len), 0);
	cr_assert_eq(len, 0);
	cr_assert_eq(
		rig_do(&r, rig_op_setxattr(f, "user.b", bytes, XATTR_SIZE_MAX + 1, 0)), -E2BIG);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, "user.b", bytes, XATTR_SIZE_MAX, 0)), 0);
	cr_assert_eq(tree_xattr_get(r.tree, f, "user.b", buf, 10, &len), -ERANGE);
	cr_assert_eq(tree_xattr_get(r.tree, f, "user.b", buf, 0, &len), 0);
	cr_assert_eq(len, XATTR_SIZE_MAX);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, "trusted.tandemfs.x", "1", 1, 0)), -EPERM);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, "system.x", "1", 1, 0)), -EOPNOTSUPP);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, "", "1", 1, 0)), -EINVAL);
	cr_assert_eq(remove_xattr(f, "user.none"), -ENODATA);
	cr_assert_eq(remove_xattr(f, "user.b"), 0);
	cr_assert_eq(tree_xattr_list(r.tree, f, buf, sizeof(buf), &len), 0);
	cr_assert_eq(len, 7);
	cr_assert_str_eq(buf, "user.a");
	for (unsigned i = 0; i < 300 && !ret; i++) {
		snprintf(name, sizeof(name), "user.%0240u", i);
		ret = rig_do(&r, rig_op_setxattr(f, name, "1", 1, 0));
	}
	cr_assert_eq(ret, -ENOSPC);
}

static size_t make_acl(uint8_t *v, bool named, unsigned owner, unsigned group, unsigned mask)
{
	size_t n = 4;

	le32_put(v, 2);
#define ACE(tag, perm, id)                                                                         \
	(le16_put(v + n, tag), le16_put(v + n + 2, (uint16_t)(perm)), le32_put(v + n + 4, id),     \
		n += 8)
	ACE(1, owner, UINT32_MAX);
	if (named)
		ACE(2, 6, 5);
	ACE(4, group, UINT32_MAX);
	if (named)
		ACE(16, mask, UINT32_MAX);
	ACE(32, 4, UINT32_MAX);
	return n;
}

Test(tree_data, an_access_list_and_the_mode_move_together)
{
	uint8_t acl[64], got[64];
	size_t len = make_acl(acl, true, 7, 5, 6), glen;
	struct op *op;

	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, ACL_ACCESS, acl, len, 0)), 0);
	cr_assert_eq(mode_of(f), 0764);
	cr_assert(rig_inode(&r, f).has_acl);
	chmod_to(f, 0640);
	cr_assert_eq(tree_xattr_get(r.tree, f, ACL_ACCESS, got, sizeof(got), &glen), 0);
	make_acl(acl, true, 6, 5, 4);
	le16_put(acl + len - 6, 0); /* others */
	cr_assert_eq(glen, len);
	cr_assert_eq(memcmp(got, acl, len), 0);
	rig_check(&r);
	/* A list that says no more than the mode is dropped. */
	chmod_to(f, 02770);
	len = make_acl(acl, false, 7, 5, 0);
	op = rig_op_setxattr(f, ACL_ACCESS, acl, len, 0);
	op->kill_sgid = true;
	cr_assert_eq(rig_do(&r, op), 0);
	cr_assert_eq(mode_of(f), 0754);
	cr_assert_not(rig_inode(&r, f).has_acl);
	cr_assert_eq(tree_xattr_get(r.tree, f, ACL_ACCESS, got, sizeof(got), &glen), -ENODATA);
	cr_assert_eq(remove_xattr(f, ACL_ACCESS), 0, "as elsewhere");
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, ACL_DEFAULT, acl, len, 0)), -EACCES);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, ACL_ACCESS, acl, len - 1, 0)), -EINVAL);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, ACL_ACCESS, acl, len - 8, 0)), -EINVAL);
}
