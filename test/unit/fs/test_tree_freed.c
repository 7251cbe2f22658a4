/* SPDX-License-Identifier: Apache-2.0 */
/* Space comes back: what is deleted, and what is remembered for punching. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "meta_rig.h"

static int count_name(void *ctx, const char *name, uint64_t ino, uint32_t type, uint64_t cookie)
{
	(*(unsigned *)ctx)++;
	return 0;
}

static unsigned names_left(struct rig *r, uint64_t dir)
{
	unsigned n = 0;

	cr_assert_eq(tree_readdir(r->tree, dir, 0, count_name, &n), 0);
	return n;
}

Test(model, what_is_deleted_gives_all_its_blocks_back)
{
	uint8_t bytes[70000];
	struct tree_info info;
	struct rig r;

	rig_open(&r);
	memset(bytes, 5, sizeof(bytes));
	for (unsigned f = 0; f < 100; f++) {
		char name[16];
		uint64_t ino;

		snprintf(name, sizeof(name), "f%u", f);
		ino = rig_create(&r, ROOT_INO, name, S_IFREG | 0644);
		cr_assert_eq(rig_do(&r, rig_op_write(ino, f * 3000, bytes, 1 + f * 600)), 0);
		cr_assert_eq(rig_do(&r, rig_op_write(ino, f << 20, bytes, 5000)), 0);
	}
	for (unsigned f = 0; f < 100; f++) {
		char name[16];

		snprintf(name, sizeof(name), "f%u", f);
		cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, name)), 0);
	}
	cr_assert_eq(names_left(&r, ROOT_INO), 0);
	tree_info(r.tree, &info);
	cr_assert_eq(info.inodes, 101);
	rig_reap(&r, NULL, NULL);
	tree_info(r.tree, &info);
	cr_assert_eq(info.inodes, 1);
	cr_assert_eq(info.used_blocks, 0);
	cr_assert_eq(tree_freed_blocks(r.tree), r.next_block);
	rig_check(&r);
	rig_close(&r);
}

struct free_list {
	uint64_t blocks;
	unsigned runs;
	uint64_t last;
};

static int add_free(void *ctx, struct addr a, uint32_t blocks)
{
	struct free_list *l = ctx;

	cr_assert(!l->runs || a.block > l->last);
	l->last = a.block + blocks - 1;
	l->blocks += blocks;
	l->runs++;
	return 0;
}

Test(freed, space_is_remembered_by_the_flush_that_makes_it_dead_and_survives_a_crash)
{
	static uint8_t bytes[40 * BLOCK_SIZE];
	struct free_list l = {0};
	struct rig r;
	uint64_t f, seq;

	rig_open_disk(&r, 0);
	f = rig_create(&r, ROOT_INO, "f", S_IFREG | 0644);
	cr_assert_eq(rig_do(&r, rig_op_write(f, 0, bytes, sizeof(bytes))), 0);
	for (unsigned i = 0; i < 40; i += 2) /* forty blocks in two steps: they lie side by side */
		cr_assert_eq(rig_do(&r, rig_op_write(f, i * BLOCK_SIZE, bytes, BLOCK_SIZE)), 0);
	for (unsigned i = 1; i < 40; i += 2)
		cr_assert_eq(rig_do(&r, rig_op_write(f, i * BLOCK_SIZE, bytes, BLOCK_SIZE)), 0);
	cr_assert_eq(tree_freed_blocks(r.tree), 40);
	tree_write_freed(r.tree);
	rig_flush(&r);
	seq = r.end.seq;
	/* Freed after the flush: gone with the process, and so is the truncation. */
	cr_assert_eq(rig_do(&r, rig_op_truncate(f, 0)), 0);
	cr_assert_eq(tree_freed_blocks(r.tree), 80);
	tree_write_freed(r.tree);
	cr_assert_eq(tree_flush_txn(r.tree), 0);
	rig_reopen(&r, 0);
	cr_assert_eq(tree_freed_blocks(r.tree), 40);
	cr_assert_eq(tree_freed(r.tree, seq - 1, add_free, &l), 0);
	cr_assert_eq(l.runs, 0);
	cr_assert_eq(tree_freed(r.tree, seq, add_free, &l), 0);
	cr_assert_eq(l.runs, 1);
	cr_assert_eq(l.blocks, 40);
	rig_check(&r);
	cr_assert_eq(tree_freed_done(r.tree, seq), 0);
	cr_assert_eq(tree_flush_txn(r.tree), 0);
	cr_assert_eq(tree_freed_blocks(r.tree), 0);
	l = (struct free_list){0};
	cr_assert_eq(tree_freed(r.tree, UINT64_MAX, add_free, &l), 0);
	cr_assert_eq(l.runs, 0);
	rig_close(&r);
}

Test(freed, what_is_taken_off_is_counted_off_once)
{
	static uint8_t bytes[40 * BLOCK_SIZE];
	struct free_list l = {0};
	struct rig r;
	uint64_t f, first;

	rig_open(&r);
	f = rig_create(&r, ROOT_INO, "f", S_IFREG | 0644);
	cr_assert_eq(rig_do(&r, rig_op_write(f, 0, bytes, sizeof(bytes))), 0);
	cr_assert_eq(rig_do(&r, rig_op_write(f, 0, bytes, 20 * BLOCK_SIZE)), 0);
	tree_write_freed(r.tree);
	cr_assert_eq(tree_flush_txn(r.tree), 0);
	first = r.end.seq;
	cr_assert_eq(rig_do(&r, rig_op_write(f, 0, bytes, sizeof(bytes))), 0);
	tree_write_freed(r.tree);
	cr_assert_eq(tree_flush_txn(r.tree), 0);
	cr_assert_eq(tree_freed_blocks(r.tree), 60);
	/* No transaction in between, as when nobody writes: the store has the first list still. */
	cr_assert_eq(tree_freed_done(r.tree, first), 0);
	cr_assert_eq(tree_freed_done(r.tree, first), 0);
	cr_assert_eq(tree_freed_blocks(r.tree), 40);
	cr_assert_eq(tree_freed(r.tree, r.end.seq, add_free, &l), 0);
	cr_assert_eq(l.blocks, 40);
	cr_assert_eq(tree_freed_done(r.tree, r.end.seq), 0);
	cr_assert_eq(tree_freed_blocks(r.tree), 0);
	rig_close(&r);
}
