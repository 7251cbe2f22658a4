/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocks that an operation covers only in part: read from where they are mapped now, merged with
 * what the operation writes or zeroes, and noted in the op's edges, so that the decision can tell
 * whether they are still current. A FUSE worker or a helper; may read the disk.
 *
 *   write             head: first block, tail: last block; the payload is all its blocks
 *   setattr (size)    head: the block that the new end cuts
 *   fallocate         head and tail of the zeroed range; both in one block: head alone
 *
 * Of the last two the payload has only those blocks that are mapped, head before tail.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <string.h>

#include "tree_impl.h"
#include "volume.h"

#define READ_TRIES 4 /* while a checksum is wrong and the mapping changes under it */

/* Reads one file block as it is now. 0; -EIO; -EBADMSG when its checksum is wrong at a mapping that
 * stays. */
static int read_edge(struct tree *t, const struct edge_source *s, uint64_t ino, uint64_t block,
	struct op_edge *ret_e, uint8_t *buf)
{
	struct addr last = {0};
	int r = 0;

	for (int tries = 0; tries < READ_TRIES; tries++) {
		struct extent x;
		struct inode i;
		uint32_t crc;

		r = tree_inode(t, ino, &i);
		if (r)
			return r;
		r = tree_map(t, &i, block, 1, &x, 1, &crc);
		if (r < 0)
			return r;
		*ret_e = (struct op_edge){.used = true, .file_block = block, .addr = x.addr};
		if (!x.addr.epoch) {
			memset(buf, 0, BLOCK_SIZE);
			return 0;
		}
		r = s->read(s->ctx, x.addr, buf, crc);
		if (r != -EBADMSG || (last.epoch == x.addr.epoch && last.block == x.addr.block))
			return r;
		last = x.addr;
	}
	return r;
}

/* Puts the old bytes [from, to) of the block into p. */
static int merge_edge(struct tree *t, const struct edge_source *s, uint64_t ino, uint64_t block,
	struct op_edge *e, uint8_t *p, size_t from, size_t to)
{
	uint8_t old[BLOCK_SIZE] __attribute__((aligned(4096)));
	int r = read_edge(t, s, ino, block, e, old);

	if (!r)
		memcpy(p + from, old + from, to - from);
	return r;
}

static int write_edges(struct tree *t, const struct edge_source *s, struct op *op)
{
	uint64_t end = op->off + op->len, first = op->off / BLOCK_SIZE,
		 last = (end - 1) / BLOCK_SIZE;
	size_t head = op->off % BLOCK_SIZE, tail = end % BLOCK_SIZE;
	uint8_t *p = op->payload->data, *q = p + (last - first) * BLOCK_SIZE;
	int r = 0;

	if (first == last && (head || tail)) {
		uint8_t old[BLOCK_SIZE] __attribute__((aligned(4096)));

		r = read_edge(t, s, op->ino, first, &op->head, old);
		if (r)
			return r;
		memcpy(p, old, head);
		if (tail)
			memcpy(p + tail, old + tail, BLOCK_SIZE - tail);
		return 0;
	}
	if (head)
		r = merge_edge(t, s, op->ino, first, &op->head, p, 0, head);
	if (!r && tail)
		r = merge_edge(t, s, op->ino, last, &op->tail, q, tail, BLOCK_SIZE);
	return r;
}

/* Zeroes bytes [from, to) of the block in the payload's block *n; a hole takes none. */
static int zero_edge(struct tree *t, const struct edge_source *s, struct op *op, struct op_edge *e,
	uint64_t block, size_t from, size_t to, unsigned *n)
{
	uint8_t *p = op->payload->data + (size_t)*n * BLOCK_SIZE;
	int r = read_edge(t, s, op->ino, block, e, p);

	if (r || !e->addr.epoch)
		return r;
	memset(p + from, 0, to - from);
	(*n)++;
	return 0;
}

static int zero_edges(
	struct tree *t, const struct edge_source *s, struct op *op, uint64_t off, uint64_t end)
{
	uint64_t first = off / BLOCK_SIZE, last = end / BLOCK_SIZE;
	unsigned n = 0;
	int r = 0;

	if (first == last)
		r = zero_edge(t, s, op, &op->head, first, off % BLOCK_SIZE, end % BLOCK_SIZE, &n);
	else if (off % BLOCK_SIZE)
		r = zero_edge(t, s, op, &op->head, first, off % BLOCK_SIZE, BLOCK_SIZE, &n);
	if (!r && first != last && end % BLOCK_SIZE)
		r = zero_edge(t, s, op, &op->tail, last, 0, end % BLOCK_SIZE, &n);
	if (!n) {
		payload_unref(op->payload);
		op->payload = NULL;
	}
	return r;
}

int edges_read(
	struct tree *t, const struct edge_source *s, struct payload_pool *pool, struct op *op)
{
	uint64_t off, end;
	struct inode i;
	int r;

	op->head.used = op->tail.used = false;
	if (op->type == OP_WRITE)
		return op->len && op->payload ? write_edges(t, s, op) : 0;
	r = tree_inode(t, op->ino, &i);
	if (r)
		return r;
	if (op->type == OP_SETATTR && op->attr_mask & ATTR_SIZE) {
		off = op->attr.size;
		end = i.size;
	} else if (op->type == OP_FALLOCATE &&
		   op->flags & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		off = op->off;
		end = op->len > FILE_SIZE_MAX - MIN(op->off, FILE_SIZE_MAX) ? i.size
									    : op->off + op->len;
	} else {
		return 0;
	}
	if (off >= end || off >= i.size || !S_ISREG(i.mode))
		return 0;
	if (end >= i.size) /* up to the end of its last block, which is zero behind the file's */
		end = (i.size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	/* A truncation keeps what is before the cut; whole blocks behind it are not read. */
	if (op->type == OP_SETATTR && off % BLOCK_SIZE)
		end = (off + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	if (off % BLOCK_SIZE == 0 && end % BLOCK_SIZE == 0)
		return 0;
	payload_unref(op->payload);
	op->payload = payload_new(pool, 2 * BLOCK_SIZE);
	if (!op->payload)
		op->payload = payload_new(NULL, 2 * BLOCK_SIZE);
	if (!op->payload)
		return -ENOMEM;
	return zero_edges(t, s, op, off, end);
}

static int read_segment(void *ctx, struct addr a, uint8_t *buf, uint32_t crc)
{
	uint32_t bad;

	return segments_read(ctx, a, 1, buf, &crc, &bad);
}

int op_read_edges(struct tree *t, struct segments *s, struct payload_pool *pool, struct op *op)
{
	struct edge_source source = {.read = read_segment, .ctx = s};

	return edges_read(t, &source, pool, op);
}
