/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a segment of which the disk cannot read all: in pieces, and around what cannot be read block by
 * block. What that means for the history is ring_recover.c's business.
 *
 * Failure modes: any other error than -EIO, and more blocks than a list of them takes, are the caller's.
 * Each block that cannot be read may take the disk seconds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ring_impl.h"

#define BAD_MAX 256u /* blocks; a disk with more of them is beyond this */
#define PIECE 256u /* blocks read at once */

static int read_blocks(const struct ring *r, unsigned seg, uint8_t *buf, uint32_t at, uint32_t n)
{
	return ring_pread(r->segs[seg].fd, buf + (size_t)at * BLOCK_SIZE, (size_t)n * BLOCK_SIZE,
		(uint64_t)at * BLOCK_SIZE);
}

static int note_bad(struct ring_bad *bad, uint32_t block)
{
	if (bad->n == BAD_MAX)
		return -EIO;
	if (!bad->blocks)
		bad->blocks = calloc(BAD_MAX, sizeof(*bad->blocks));
	if (!bad->blocks)
		return -ENOMEM;
	bad->blocks[bad->n++] = block;
	return 0;
}

static int read_piece(const struct ring *r, unsigned seg, uint8_t *buf, uint32_t at, uint32_t n,
	struct ring_bad *bad)
{
	int ret = 0;

	for (uint32_t i = at; i < at + n && !ret; i++) {
		ret = read_blocks(r, seg, buf, i, 1);
		if (ret != -EIO)
			continue;
		memset(buf + (size_t)i * BLOCK_SIZE, 0, BLOCK_SIZE);
		ret = note_bad(bad, seg * r->seg_blocks + i);
	}
	return ret;
}

int ring_read_segment(const struct ring *r, unsigned seg, uint8_t *buf, struct ring_bad *bad)
{
	int ret = read_blocks(r, seg, buf, 0, r->seg_blocks);

	if (ret != -EIO)
		return ret;
	ret = 0;
	for (uint32_t at = 0; at < r->seg_blocks && !ret; at += PIECE) {
		uint32_t n = MIN(PIECE, r->seg_blocks - at);

		ret = read_blocks(r, seg, buf, at, n);
		if (ret == -EIO)
			ret = read_piece(r, seg, buf, at, n, bad);
	}
	return ret;
}

bool ring_bad_has(const struct ring_bad *bad, uint32_t block, uint32_t n)
{
	for (unsigned i = 0; i < bad->n; i++)
		if (bad->blocks[i] >= block && bad->blocks[i] - block < n)
			return true;
	return false;
}
