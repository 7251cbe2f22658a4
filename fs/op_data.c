/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions about data: write and fallocate. A payload is whole blocks; where an operation covers a
 * block in part, the rest was merged in by a worker from the address that the op's edge names, and
 * the decision checks that the block still lies there (an address never has other bytes). See
 * op_decide.c.
 */
#include "tree_impl.h"

#include <fcntl.h>
#include <linux/falloc.h>

static int check_regular(const struct inode *i)
{
	return S_ISREG(i->mode) ? 0 : S_ISDIR(i->mode) ? -EISDIR : -EINVAL;
}

static void touch(const struct decide *d, struct body_change *b)
{
	b->mask |= BODY_SET_MTIME | BODY_SET_CTIME;
	b->mtime_ns = b->ctime_ns = d->c->now_ns;
}

static void grow(const struct inode *i, struct body_change *b, uint64_t end)
{
	if (end <= i->size)
		return;
	b->mask |= BODY_SET_SIZE;
	b->size = end;
}

int decide_write(struct decide *d)
{
	struct op *op = d->op;
	struct body_change b = {.ino = op->ino, .flags = BODY_DATA, .nruns = 1};
	uint64_t end, first, last;
	struct inode i;
	int r = view_inode(&d->v, op->ino, &i);

	if (!r)
		r = check_regular(&i);
	if (r)
		return r;
	if (!op->len) {
		op->result = i;
		return 1;
	}
	if (op->off > FILE_SIZE_MAX || op->len > FILE_SIZE_MAX - op->off)
		return -EFBIG;
	if (op->len > WRITE_SIZE_MAX)
		return -EINVAL;
	end = op->off + op->len;
	first = op->off / BLOCK_SIZE;
	last = (end - 1) / BLOCK_SIZE;
	b.blocks = (uint32_t)(last - first + 1);
	b.runs[0] = (struct body_run){.file_block = first, .blocks = b.blocks};
	if (!op->payload || op->payload->size < b.blocks * BLOCK_SIZE)
		return -EINVAL;
	if (op->off % BLOCK_SIZE || (first == last && end % BLOCK_SIZE)) {
		r = decide_edge(d, &i, &op->head, first);
		if (r < 0)
			return r;
	}
	if (first != last && end % BLOCK_SIZE) {
		r = decide_edge(d, &i, &op->tail, last);
		if (r < 0)
			return r;
	}
	if (op->len > INLINE_SIZE_MAX)
		b.flags |= BODY_EXTERNAL;
	r = decide_kill_priv(d, &i, &b, op->kill_priv);
	if (r)
		return r;
	touch(d, &b);
	grow(&i, &b, end);
	return decide_change(d, &i, &b);
}

/* --- fallocate --- */

/* One block of which a part is zeroed; when it is mapped, its new copy is the payload's next. */
static int zero_edge(struct decide *d, const struct inode *i, struct body_change *b,
	const struct op_edge *e, uint64_t block)
{
	int r = decide_edge(d, i, e, block);

	if (r <= 0)
		return r;
	b->flags |= BODY_DATA;
	b->runs[b->nruns++] = (struct body_run){.file_block = block, .blocks = 1};
	b->blocks++;
	return 0;
}

/* Zeroes [off, end) of the file, whole blocks by unmapping them. Beyond its end all is zero. */
static int zero_range(
	struct decide *d, const struct inode *i, struct body_change *b, uint64_t off, uint64_t end)
{
	uint64_t from = off / BLOCK_SIZE, to;
	int r = 0;

	if (off >= i->size)
		return 0;
	if (end >= i->size)
		end = (i->size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	to = end / BLOCK_SIZE;
	if (off % BLOCK_SIZE || from == to) { /* the second: inside one block */
		r = zero_edge(d, i, b, &d->op->head, from);
		from++;
	}
	if (!r && end % BLOCK_SIZE && to >= from)
		r = zero_edge(d, i, b, &d->op->tail, to);
	return r || from >= to ? r : decide_hole(d, i, b, from, to);
}

int decide_fallocate(struct decide *d)
{
	struct op *op = d->op;
	struct body_change b = {.ino = op->ino};
	uint64_t end, asked, used, total;
	struct inode i;
	int r = view_inode(&d->v, op->ino, &i);

	if (r)
		return r;
	if (!S_ISREG(i.mode))
		return S_ISDIR(i.mode) ? -EISDIR : -ENODEV;
	if (!op->len)
		return -EINVAL;
	if (op->off > FILE_SIZE_MAX || op->len > FILE_SIZE_MAX - op->off)
		return -EFBIG;
	end = op->off + op->len;
	switch (op->flags) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		/* Nothing is mapped ahead, so this is all that can be said: it would fit now. */
		asked = (end - 1) / BLOCK_SIZE - op->off / BLOCK_SIZE + 1;
		asked -= MIN(asked, i.blocks);
		used = SB_GET(d->v.t, used_blocks);
		total = SB_GET(d->v.t, size_blocks);
		if (!view_warms(&d->v) && asked > MIN(d->c->room_blocks, total - MIN(used, total)))
			return -ENOSPC;
		break;
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (op->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		r = zero_range(d, &i, &b, op->off, end);
	/* There is no kill flag in this request: root keeps its bits. */
	if (!r)
		r = decide_kill_priv(d, &i, &b, op->kill_priv || op->uid);
	if (r)
		return r;
	touch(d, &b);
	if (!(op->flags & FALLOC_FL_KEEP_SIZE))
		grow(&i, &b, end);
	return decide_change(d, &i, &b);
}
