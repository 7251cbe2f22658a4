/* SPDX-License-Identifier: Apache-2.0 */
/* The volume's size as an entry: it counts at once, is replayed, and never goes below what is used. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "meta_rig.h"

static struct rig r;

static void open_rig(void)
{
	rig_open(&r);
}

static void close_rig(void)
{
	rig_check(&r);
	rig_close(&r);
}

TestSuite(resize, .init = open_rig, .fini = close_rig);

static int resize(uint64_t blocks)
{
	struct op *op = op_new(OP_RESIZE);

	op->len = blocks;
	return rig_do(&r, op);
}

static uint64_t size_of(struct rig *x)
{
	struct tree_info i;

	tree_info(x->tree, &i);
	return i.size_blocks;
}

Test(resize, the_new_size_counts_for_the_next_write)
{
	uint64_t f = rig_create(&r, ROOT_INO, "f", S_IFREG | 0644);
	static uint8_t bytes[16 * BLOCK_SIZE];

	cr_assert_eq(resize(8), 0);
	cr_assert_eq(size_of(&r), 8u);
	cr_assert_eq(rig_do(&r, rig_op_write(f, 0, bytes, sizeof(bytes))), -ENOSPC);
	cr_assert_eq(rig_do(&r, rig_op_write(f, 0, bytes, sizeof(bytes) / 2)), 0);
	cr_assert_eq(rig_do(&r, rig_op_write(f, sizeof(bytes) / 2, bytes, 1)), -ENOSPC);
	cr_assert_eq(resize(16), 0);
	cr_assert_eq(rig_do(&r, rig_op_write(f, 0, bytes, sizeof(bytes))), 0);
}

Test(resize, it_never_goes_below_what_is_used)
{
	uint64_t f = rig_create(&r, ROOT_INO, "f", S_IFREG | 0644);
	static uint8_t bytes[16 * BLOCK_SIZE];

	cr_assert_eq(rig_do(&r, rig_op_write(f, 0, bytes, sizeof(bytes))), 0);
	cr_assert_eq(resize(15), -ENOSPC);
	cr_assert_eq(resize(0), -EINVAL);
	cr_assert_eq(resize(UINT64_MAX), -EINVAL);
	cr_assert_eq(size_of(&r), RIG_SIZE_BLOCKS);
	cr_assert_eq(resize(16), 0);
	cr_assert_eq(size_of(&r), 16u);
}

Test(resize, the_same_size_is_no_entry)
{
	size_t before = r.nlog;

	cr_assert_eq(resize(RIG_SIZE_BLOCKS), 0);
	cr_assert_eq(r.nlog, before);
}

Test(resize, the_other_side_and_the_next_start_have_it)
{
	struct rig other;

	cr_assert_eq(resize(RIG_SIZE_BLOCKS * 2), 0);
	rig_open(&other);
	cr_assert_eq(rig_replay(&other, &r, 0), 0);
	cr_assert_eq(size_of(&other), RIG_SIZE_BLOCKS * 2);
	rig_check(&other);
	rig_close(&other);
}
