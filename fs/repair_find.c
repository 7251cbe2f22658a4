/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is damaged: the blocks of an extent that do not have their checksum, or cannot be read, and that
 * the map still names (else they were punched: no damage). And the one kind of reading that is no
 * FUSE read: the old bytes around a partial write.
 *
 * Any thread but the commit thread; no state. A failed allocation is an I/O error for the reader.
 */
#include "repair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "crc32c.h"

#define ROUNDS_MAX 8u /* repairs for one operation: two edges, and mappings that change */

bool repair_mapped(struct tree *t, uint64_t ino, uint64_t block, struct addr a)
{
	struct inode i;
	struct extent x;
	uint32_t crc;

	return tree_inode(t, ino, &i) == 0 && tree_map(t, &i, block, 1, &x, 1, &crc) == 1 &&
	       x.addr.epoch == a.epoch && x.addr.block == a.block;
}

static struct repair *repair_of(
	uint64_t ino, const struct extent *x, const uint32_t *crcs, uint32_t from, uint64_t bad)
{
	uint32_t first = (uint32_t)__builtin_ctzll(bad), last = 63 - (uint32_t)__builtin_clzll(bad);
	struct repair *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->ino = ino;
	r->file_block = x->file_block + from + first;
	r->addr = (struct addr){.block = x->addr.block + from + first, .epoch = x->addr.epoch};
	r->blocks = last - first + 1;
	r->bad = bad >> first;
	memcpy(r->crcs, crcs + from + first, r->blocks * sizeof(r->crcs[0]));
	return r;
}

int repair_find(struct tree *t, struct segments *s, uint64_t ino, const struct extent *x,
	const uint32_t *crcs, uint32_t from, struct repair **ret_r)
{
	for (uint32_t n; from < x->blocks; from += n) {
		struct addr at = {.block = x->addr.block + from, .epoch = x->addr.epoch};
		uint64_t bad, now = clock_mono_ns();

		n = MIN(x->blocks - from, REPAIR_BLOCKS_MAX);
		bad = segments_damage(s, at, n, crcs + from);
		for (uint64_t b = bad; b; b &= b - 1) {
			uint32_t i = (uint32_t)__builtin_ctzll(b);
			struct addr one = {.block = at.block + i, .epoch = at.epoch};

			if (!repair_mapped(t, ino, x->file_block + from + i, one))
				return -EAGAIN;
		}
		if (!bad)
			continue;
		*ret_r = repair_of(ino, x, crcs, from, bad);
		if (!*ret_r)
			return -EIO;
		(*ret_r)->found_ns = now;
		return -EBADMSG;
	}
	return -EAGAIN;
}

uint64_t repair_verify(const struct repair *r, uint64_t good, const uint8_t *bytes)
{
	uint64_t fixed = 0;

	for (uint32_t i = 0; bytes && i < r->blocks; i++)
		if (good & r->bad & 1ull << i &&
			crc32c(0, bytes + (size_t)i * BLOCK_SIZE, BLOCK_SIZE) == r->crcs[i])
			fixed |= 1ull << i;
	return fixed;
}

void repair_end(struct segments *s, struct repair *r)
{
	for (uint64_t held = r->held; held; held &= held - 1) {
		struct addr at = {.block = r->addr.block + (unsigned)__builtin_ctzll(held),
			.epoch = r->addr.epoch};

		segments_inflight_remove(s, at, 1);
	}
	free(r);
}

/* --- what a partial write keeps --- */

struct edge_repair {
	struct volume *v;
	struct op *op;
	struct repair *list; /* what was repaired for it */
	unsigned rounds;
};

static void edges_over(struct edge_repair *e, int error)
{
	struct segments *s = volume_segments(e->v);

	while (e->list) {
		struct repair *r = e->list;

		e->list = r->next;
		repair_end(s, r);
	}
	e->op->error = error == -EBADMSG ? -EIO : error;
	volume_submit(e->v, e->op); /* with an error it is answered on the commit thread */
	free(e);
}

/* What is wrong at the edge that could not be read: the last one that was begun. */
static int find_edge(struct edge_repair *e, struct repair **ret_r)
{
	const struct op_edge *edge = e->op->tail.used ? &e->op->tail : &e->op->head;
	struct tree *t = volume_tree(e->v);
	struct extent x;
	struct inode i;
	uint32_t crc;
	int r;

	if (!edge->used || !edge->addr.epoch)
		return -EIO;
	r = tree_inode(t, e->op->ino, &i);
	if (!r)
		r = tree_map(t, &i, edge->file_block, 1, &x, 1, &crc);
	if (r < 0)
		return r;
	if (!x.addr.epoch)
		return -EAGAIN;
	return repair_find(t, volume_segments(e->v), i.ino, &x, &crc, 0, ret_r);
}

static void edges_again(struct repair *r, int code);

static void edges_go_on(struct edge_repair *e, int error)
{
	while (error == -EBADMSG || error == -EIO) {
		struct repair *r = NULL;
		int code = e->rounds++ < ROUNDS_MAX ? find_edge(e, &r) : -EIO;

		if (code == -EBADMSG) {
			r->again = edges_again;
			r->ctx = e;
			volume_repair(e->v, r);
			return;
		}
		if (code != -EAGAIN)
			break;
		error = op_read_edges(
			volume_tree(e->v), volume_segments(e->v), volume_pool(e->v), e->op);
	}
	edges_over(e, error);
}

static void edges_again(struct repair *r, int code)
{
	struct edge_repair *e = r->ctx;

	r->next = e->list;
	e->list = r;
	if (code)
		edges_over(e, code);
	else
		edges_go_on(e, op_read_edges(volume_tree(e->v), volume_segments(e->v),
				       volume_pool(e->v), e->op));
}

void volume_repair_edges(struct volume *v, struct op *op, int error)
{
	struct edge_repair *e = calloc(1, sizeof(*e));

	ensure(e);
	e->v = v;
	e->op = op;
	edges_go_on(e, error);
}
