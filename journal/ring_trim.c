/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making dropped batches unreadable: the first block of each, which holds its header, is written
 * with zeros. All of them, not only those next to the end: a dropped batch may carry a commit index
 * above the end of a shorter, newer history, and left in place it would later pass a torn write off
 * as corruption.
 *
 * The order matters, because the power may fail in between: from the last to the first, so that what
 * is left is a prefix of the history. Batches may go together, with one flush for all, as long as
 * none of them says that another one of them was committed: any of them may survive then without
 * testifying against those that did not. An uncommitted tail goes in one such group.
 */
#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "ring_impl.h"

struct zeroing {
	struct ring *r;
	void *zeros;
	bool dirty[RING_SEGMENTS_MAX];
};

static int zero_block(struct zeroing *z, uint32_t block)
{
	ssize_t n;

	do {
		n = pwrite(ring_fd(z->r, block), z->zeros, BLOCK_SIZE,
			(off_t)ring_offset(z->r, block));
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	z->dirty[block / z->r->seg_blocks] = true;
	return n == BLOCK_SIZE ? 0 : -EIO;
}

static int zero_flush(struct zeroing *z)
{
	for (unsigned i = 0; i < z->r->nsegs; i++) {
		if (!z->dirty[i])
			continue;
		if (fdatasync(z->r->segs[i].fd) < 0)
			return -errno;
		z->dirty[i] = false;
	}
	return 0;
}

/* A failed write is final (I9). */
static int zero_end(struct zeroing *z, int ret, struct err *e)
{
	ring_buffer_free(z->zeros, BLOCK_SIZE);
	if (!ret)
		return 0;
	z->r->failed = true;
	return err_set(e, ret, "journal '%s': cannot drop the end of the history: %s", z->r->dir,
		strerror(-ret));
}

int ring_trim_end(struct ring *r, struct err *e)
{
	struct zeroing z = {.r = r, .zeros = ring_buffer(BLOCK_SIZE)};
	unsigned next = (r->cur + 1) % r->nsegs;
	int ret = 0;

	ensure(!r->trimmed && !r->in_flight);
	if (!z.zeros)
		return err_set(e, -ENOMEM, "out of memory");
	/* None of these is called committed, or opening would have failed: one group. */
	for (size_t i = r->nleftover; i-- && !ret;)
		ret = zero_block(&z, r->leftover[i]);
	/* Where the next batch would be looked for; a torn one may stand there. */
	if (!ret && r->nlive < r->nsegs)
		ret = zero_block(&z, next * r->seg_blocks);
	if (!ret && r->cur_block < r->seg_blocks)
		ret = zero_block(&z, r->cur * r->seg_blocks + r->cur_block);
	/* Always: the last batches may come from a process that died before their flush. */
	z.dirty[r->cur] = true;
	if (!ret)
		ret = zero_flush(&z);
	if (!ret) {
		r->nleftover = 0;
		r->trimmed = true;
	}
	return zero_end(&z, ret, e);
}

/* Zeroes the listed batches from number `first` to the tail. */
static int zero_batches(struct zeroing *z, uint64_t first)
{
	struct ring *r = z->r;
	uint64_t commit_max = 0;
	int ret = 0;

	for (uint64_t i = r->tail; i-- > first && !ret;) {
		const struct ring_batch *b = ring_batch(r, i);

		/* Those after it in this group must not call it committed. */
		if (commit_max >= b->first_seq) {
			ret = zero_flush(z);
			commit_max = 0;
		}
		commit_max = MAX(commit_max, b->commit);
		if (!ret)
			ret = zero_block(z, b->block);
	}
	return ret ? ret : zero_flush(z);
}

int ring_truncate(struct ring *r, struct pos end, struct err *e)
{
	struct zeroing z = {.r = r};
	struct pos found = r->end;
	uint64_t first;
	int ret;

	ensure(!r->in_flight);
	if (r->failed)
		return err_set(e, -EIO, "journal '%s': a write failed before", r->dir);
	if (!r->trimmed) {
		ret = ring_trim_end(r, e);
		if (ret)
			return ret;
	}
	first = end.seq == UINT64_MAX ? r->tail : ring_lower_bound(r, end.seq + 1);
	if (first > r->head)
		found = ring_batch_end(ring_batch(r, first - 1));
	else if (r->head < r->tail)
		found = ring_batch_before(ring_batch(r, r->head));
	if (!pos_equal(found, end))
		return err_set(e, -ENOENT,
			"journal '%s': no batch ends with seq %llu and chain %08x", r->dir,
			(unsigned long long)end.seq, end.chain);
	if (first == r->tail)
		return 0;
	z.zeros = ring_buffer(BLOCK_SIZE);
	if (!z.zeros)
		return err_set(e, -ENOMEM, "out of memory");
	ret = zero_end(&z, zero_batches(&z, first), e);
	if (ret)
		return ret;

	/* The next batch goes where the first dropped one was, or fits behind the last kept one. */
	{
		LOCK_SCOPE(&r->lock);
		const struct ring_batch *kept = first > r->head ? ring_batch(r, first - 1) : NULL;
		uint32_t block = ring_batch(r, first)->block;

		if (kept)
			block = kept->block + kept->nblocks - 1;
		r->cur = block / r->seg_blocks;
		r->cur_block = block % r->seg_blocks + (kept ? 1 : 0);
		r->nlive = (r->cur + r->nsegs - r->first_seg) % r->nsegs + 1;
		r->tail = r->durable = first;
		r->segs[r->cur].end = first;
		r->segs[r->cur].last_seq = end.seq;
		r->end = end;
		r->epoch = kept ? ring_batch_epoch(kept) : (struct epoch){0};
		r->durable_seq = end.seq;
		r->unreadable = MIN(r->unreadable, end.seq);
	}
	return 0;
}
