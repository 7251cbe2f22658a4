/* SPDX-License-Identifier: Apache-2.0 */
/* Decisions within what is granted (I8): no address beyond it is assigned, and nothing is changed in vain. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "meta_rig.h"
#include "tree_impl.h"

#define KEPT 256u /* blocks that writes leave for the edges of what makes room */

static struct rig r;
static uint64_t f;
static uint8_t bytes[16 * BLOCK_SIZE];

static void open_rig(void)
{
	rig_open(&r);
	f = rig_create(&r, ROOT_INO, "f", S_IFREG | 0644);
	cr_assert_eq(rig_do(&r, rig_op_write(f, 0, bytes, sizeof(bytes))), 0);
}

static void close_rig(void)
{
	rig_check(&r);
	rig_close(&r);
}

TestSuite(grants, .init = open_rig, .fini = close_rig);

static struct decide_ctx ctx(uint64_t next, uint64_t limit, bool full)
{
	return (struct decide_ctx){.seq = r.end.seq + 1,
		.epoch_num = 1,
		.next_block = next,
		.room_blocks = 1000,
		.free_blocks = UINT64_MAX,
		.limited = true,
		.limit_block = limit,
		.full = full};
}

static int decide(struct op *op, struct decide_ctx c)
{
	uint64_t before = c.next_block;
	struct decision d = {0};
	int ret = op_decide(r.tree, op, &c, &d);

	if (!ret && d.addr.epoch)
		cr_assert_leq(d.addr.block + d.addr_blocks, c.limit_block);
	if (ret)
		cr_assert_eq(c.next_block, before, "nothing is assigned");
	op_free(op);
	return ret;
}

static struct op *write_of(uint32_t blocks)
{
	return rig_op_write(f, 0, bytes, (size_t)blocks * BLOCK_SIZE);
}

Test(grants, a_write_waits_for_more_or_is_ENOSPC_where_no_more_comes)
{
	cr_assert_eq(decide(write_of(4), ctx(100, 104 + KEPT, false)), 0);
	cr_assert_eq(decide(write_of(5), ctx(100, 104 + KEPT, false)), -ENOBUFS);
	cr_assert_eq(decide(write_of(4), ctx(100, 104 + KEPT, true)), 0);
	cr_assert_eq(decide(write_of(5), ctx(100, 104 + KEPT, true)), -ENOSPC);
	cr_assert_eq(decide(write_of(1), ctx(0, 0, false)), -ENOBUFS, "nothing granted yet");
}

Test(grants, a_run_that_moves_behind_the_border_of_a_segment_is_counted_there)
{
	uint64_t at = DATA_SEGMENT_BLOCKS - 2;

	cr_assert_eq(decide(write_of(4), ctx(at, at + 4 + KEPT, false)), -ENOBUFS);
	cr_assert_eq(decide(write_of(4), ctx(at, DATA_SEGMENT_BLOCKS + 4 + KEPT, false)), 0);
	cr_assert_eq(decide(write_of(2), ctx(at, DATA_SEGMENT_BLOCKS + KEPT, false)), 0);
}

Test(grants, a_truncate_still_finds_the_block_that_it_cuts_and_others_need_none)
{
	struct op *op = rig_op_truncate(f, 5 * BLOCK_SIZE);

	cr_assert_eq(decide(op, ctx(100, 100, true)), 0);
	op = rig_op_name(OP_UNLINK, ROOT_INO, "f");
	cr_assert_eq(decide(op, ctx(100, 100, true)), 0);
	cr_assert_eq(decide(rig_op_create(ROOT_INO, "g", S_IFREG | 0600), ctx(100, 100, true)), 0,
		"its room is metadata's");
}

Test(grants, an_edge_comes_from_what_is_kept)
{
	struct decide_ctx c = ctx(100, 100 + KEPT, true);
	struct op *op = rig_op_truncate(f, 5 * BLOCK_SIZE + 7);
	struct decision d = {0};
	bool stale = false;
	int ret = op_decide(r.tree, op, &c, &d);

	/* The block is read ahead by a helper; only who it is then is asked. */
	cr_assert_eq(ret, -EAGAIN);
	cr_assert_eq(op_warm(r.tree, op, &stale), 0);
	cr_assert(stale);
	op->payload = payload_new(NULL, BLOCK_SIZE);
	op->head = (struct op_edge){
		.used = true, .file_block = 5, .addr = {.block = r.next_block - 11, .epoch = 1}};
	cr_assert_eq(op_decide(r.tree, op, &c, &d), 0);
	cr_assert_eq(d.addr.block, 100u);
	op_free(op);
	cr_assert_eq(decide(write_of(1), ctx(101, 100 + KEPT, true)), -ENOSPC);
}

Test(grants, peers_without_grants_are_asked_for_what_is_free)
{
	struct decide_ctx c = ctx(100, 1000, false);

	c.free_blocks = 3;
	cr_assert_eq(decide(write_of(4), c), -ENOSPC);
	cr_assert_eq(decide(write_of(3), c), 0);
}
