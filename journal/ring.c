/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live part of the ring: appending, releasing, reading back.
 *
 * Appending takes the next place, lists the batch in the index and prepares one write; nothing is
 * allocated but, rarely, a larger index. When writes finish, in any order, `durable` moves over all
 * that are done without a gap. A segment is entered only when all that is in it was released; its
 * batches leave the index then.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "ring_impl.h"

#define WALK_BUFFER (4u << 20) /* bytes */
#define INDEX_SIZE_MIN 1024u

/* --- the index ---------------------------------------------------------------------------------- */

uint64_t ring_lower_bound(const struct ring *r, uint64_t seq)
{
	uint64_t low = r->head, high = r->tail;

	while (low < high) {
		uint64_t mid = low + (high - low) / 2;

		if (ring_batch_last(ring_batch(r, mid)) >= seq)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

struct ring_batch ring_batch_of(const struct batch_header *h, uint32_t block)
{
	return (struct ring_batch){
		.first_seq = h->first_seq,
		.commit = h->commit,
		.epoch_id = h->epoch.id,
		.epoch_num = h->epoch.num,
		.count = h->count,
		.chain_before = h->chain_before,
		.chain_after = h->chain_after,
		.block = block,
		.nblocks = (uint16_t)(batch_size(h) / BLOCK_SIZE),
	};
}

static void index_grow(struct ring *r)
{
	uint64_t size = MAX(2 * r->index_size, INDEX_SIZE_MIN);
	struct ring_batch *index = calloc(size, sizeof(*index));

	ensure(index);
	for (uint64_t i = r->head; i < r->tail; i++)
		index[i & (size - 1)] = *ring_batch(r, i);
	free(r->index);
	r->index = index;
	r->index_size = size;
}

void ring_push(struct ring *r, const struct ring_batch *b)
{
	struct ring_seg *seg = &r->segs[r->cur];
	struct ring_batch *entry;

	LOCK_SCOPE(&r->lock);
	if (r->tail - r->head == r->index_size)
		index_grow(r);
	entry = ring_batch(r, r->tail++);
	*entry = *b;
	if (b->count) {
		r->epoch = ring_batch_epoch(b);
	} else {
		entry->epoch_id = r->epoch.id;
		entry->epoch_num = r->epoch.num;
	}
	r->end = ring_batch_end(b);
	seg->end = r->tail;
	seg->last_seq = ring_batch_last(b);
	r->cur_block = b->block % r->seg_blocks + b->nblocks;
}

/* --- appending ---------------------------------------------------------------------------------- */

/* Is everything in the live segment s, which is not the current one, free to be overwritten? */
static bool seg_releasable(const struct ring *r, unsigned s)
{
	return r->segs[s].last_seq <= r->released && r->segs[s].end <= r->durable;
}

/* Makes the segment after the current one current. 0 or -ENOSPC. */
static int enter_segment(struct ring *r)
{
	unsigned next = (r->cur + 1) % r->nsegs;

	if (r->nlive == r->nsegs) {
		if (!seg_releasable(r, next))
			return -ENOSPC;
		LOCK_SCOPE(&r->lock);
		r->head = r->segs[next].end;
		r->first_seg = (next + 1) % r->nsegs;
		r->nlive--;
	}
	r->segs[next].end = r->tail;
	r->segs[next].last_seq = r->end.seq;
	r->cur = next;
	r->cur_block = 0;
	r->nlive++;
	return 0;
}

static void fail(struct ring *r, int res)
{
	if (!r->failed)
		log_error("journal '%s': a write failed: %s; nothing more is written until this "
			  "replica has started again",
			r->dir, strerror(-res));
	r->failed = true;
}

/* May it be written now? Not while it calls a batch committed that is in flight here, or its payloads are: recovery
 * would take them for there, and look no more. But see ring_behind.c. */
static bool may_write(const struct ring *r, const struct batch_header *h)
{
	return h->commit <= MIN(r->durable_seq, r->whole_seq) || batch_last_seq(h) <= r->behind_to;
}

/* Sends the held batches whose commit index no longer covers a write in flight. */
static void send_held(struct ring *r)
{
	bool any = false;

	while (r->held_first && !r->failed && may_write(r, &r->held_first->h)) {
		struct ring_write *w = r->held_first;

		r->held_first = w->next;
		uring_write(r->uring, &w->req);
		any = true;
	}
	if (any)
		uring_submit(r->uring);
	while (r->failed && r->held_first) {
		struct ring_write *w = r->held_first;

		r->held_first = w->next;
		r->in_flight--;
		w->done(w, -EIO);
	}
}

static void write_done(struct uring_req *req)
{
	struct ring_write *w = container_of(req, struct ring_write, req);
	struct ring *r = w->ring;

	r->in_flight--;
	if (req->res) {
		fail(r, req->res);
	} else {
		LOCK_SCOPE(&r->lock);
		ring_batch(r, w->number)->done = true;
		while (r->durable < r->tail && ring_batch(r, r->durable)->done)
			r->durable_seq = ring_batch_last(ring_batch(r, r->durable++));
	}
	w->done(w, req->res);
	send_held(r);
}

void ring_payloads(struct ring *r, uint64_t seq)
{
	r->whole_seq = seq;
	send_held(r);
}

int ring_append(struct ring *r, const void *batch, struct ring_write *w)
{
	const struct batch_header *h = &w->h;
	uint32_t nblocks = batch_size(h) / BLOCK_SIZE;
	struct ring_batch b;

	ensure(r->trimmed);
	ensure(h->first_seq == r->end.seq + 1 && h->chain_before == r->end.chain);
	ensure(uuid_equal(&h->volume, &r->volume) && epoch_may_follow(r->epoch, h->epoch));
	ensure((uintptr_t)batch % BLOCK_SIZE == 0);
	if (r->failed)
		return -EIO;
	if (r->cur_block + nblocks > r->seg_blocks) {
		int ret = enter_segment(r);

		if (ret)
			return ret;
	}
	b = ring_batch_of(h, r->cur * r->seg_blocks + r->cur_block);
	w->ring = r;
	w->number = r->tail;
	w->next = NULL;
	w->req = (struct uring_req){
		.fd = ring_fd(r, b.block),
		.buf = batch,
		.len = (size_t)nblocks * BLOCK_SIZE,
		.off = ring_offset(r, b.block),
		.rwf_flags = RWF_DSYNC,
		.done = write_done,
	};
	ring_push(r, &b);
	r->in_flight++;
	/* In order: what is behind a held batch has a commit index at least as high, mostly. */
	if (!r->held_first && may_write(r, h)) {
		uring_write(r->uring, &w->req);
	} else {
		if (r->held_first)
			r->held_last->next = w;
		else
			r->held_first = w;
		r->held_last = w;
	}
	return 0;
}

void ring_release(struct ring *r, uint64_t seq)
{
	r->released = MAX(r->released, seq);
}

void ring_close(struct ring *r)
{
	if (!r)
		return;
	for (unsigned i = 0; i < r->nsegs; i++)
		close(r->segs[i].fd); /* lets go of the lock, too */
	pthread_mutex_destroy(&r->lock);
	free(r->leftover);
	free(r->index);
	free(r->dir);
	free(r);
}

/* --- asking ------------------------------------------------------------------------------------- */

struct pos ring_end(const struct ring *r)
{
	return r->end;
}

/* `lock` held. */
static uint64_t first_seq_locked(const struct ring *r)
{
	uint64_t first = r->head < r->tail ? ring_batch(r, r->head)->first_seq : r->end.seq + 1;

	return MAX(first, r->unreadable + 1);
}

uint64_t ring_first_seq(struct ring *r)
{
	LOCK_SCOPE(&r->lock);
	return first_seq_locked(r);
}

uint64_t ring_size(const struct ring *r)
{
	return (uint64_t)r->nsegs * r->seg_blocks * BLOCK_SIZE;
}

/*
 * A segment is left when a batch does not fit, so of each but the last only what is surely used by
 * then counts: its room less the largest batch, plus a block. In the last one batches fit until it
 * is full.
 */
uint64_t ring_free(const struct ring *r)
{
	const uint64_t waste = BATCH_SIZE_MAX / BLOCK_SIZE - 1;
	uint64_t here = r->seg_blocks - r->cur_block;
	unsigned nfree = r->nsegs - r->nlive, s = r->first_seg;

	for (unsigned i = 0; i + 1 < r->nlive && seg_releasable(r, s); i++) {
		s = (s + 1) % r->nsegs;
		nfree++;
	}
	if (!nfree)
		return here * BLOCK_SIZE;
	return ((here > waste ? here - waste : 0) + (nfree - 1) * (r->seg_blocks - waste) +
		       r->seg_blocks) *
	       BLOCK_SIZE;
}

int ring_pos_at(const struct ring *r, uint64_t seq, struct pos *ret_pos)
{
	uint64_t i = ring_lower_bound(r, seq);
	struct pos p = r->end;

	if (i < r->tail) {
		p = ring_batch_end(ring_batch(r, i));
		if (p.seq != seq && i == r->head)
			p = ring_batch_before(ring_batch(r, i));
	}
	if (p.seq != seq)
		return -ENOENT;
	*ret_pos = p;
	return 0;
}

unsigned ring_spans(const struct ring *r, struct log_span *spans, unsigned max)
{
	uint64_t high = r->tail;
	unsigned n = 0;

	while (high > r->head && n < max) {
		const struct ring_batch *last = ring_batch(r, high - 1);
		uint64_t low = r->head, end = high - 1;

		while (low < end) { /* the first batch of this epoch */
			uint64_t mid = low + (end - low) / 2;

			if (ring_batch(r, mid)->epoch_num >= last->epoch_num)
				end = mid;
			else
				low = mid + 1;
		}
		if (ring_batch_last(last) >= ring_batch(r, low)->first_seq)
			spans[n++] = (struct log_span){
				.epoch = ring_batch_epoch(last), .end = ring_batch_end(last)};
		high = low;
	}
	return n;
}

/* --- reading back ------------------------------------------------------------------------------- */

int ring_pread(int fd, void *buf, size_t n, uint64_t off)
{
	uint8_t *p = buf;

	while (n) {
		ssize_t got = pread(fd, p, n, (off_t)off);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0 || got % BLOCK_SIZE)
			return -EIO; /* shorter than it was created */
		p += got;
		off += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

/* Are these bytes the batch that the index has in mind? 0 or -EBADMSG. */
static int check_batch(
	const void *buf, size_t len, const struct ring_batch *b, struct batch_header *ret_h)
{
	struct batch_header h;

	if (batch_verify(buf, len, &h) || h.first_seq != b->first_seq || h.count != b->count ||
		h.chain_before != b->chain_before || h.chain_after != b->chain_after)
		return -EBADMSG;
	*ret_h = h;
	return 0;
}

void ring_register(struct ring *r)
{
	for (unsigned i = 0; i < r->nsegs; i++)
		if (uring_register_file(r->uring, r->segs[i].fd))
			return; /* writes go on without */
}

int ring_read(struct ring *r, uint64_t from, void *buf, struct batch_header *ret_h)
{
	struct ring_batch b;
	bool gone;
	int ret;

	{
		LOCK_SCOPE(&r->lock);
		uint64_t i;

		if (from < first_seq_locked(r))
			return -ESTALE;
		i = ring_lower_bound(r, from);
		if (i >= r->durable)
			return -ENOENT;
		b = *ring_batch(r, i);
	}
	ret = ring_pread(
		ring_fd(r, b.block), buf, (size_t)b.nblocks * BLOCK_SIZE, ring_offset(r, b.block));
	if (!ret)
		ret = check_batch(buf, (size_t)b.nblocks * BLOCK_SIZE, &b, ret_h);
	if (ret) {
		LOCK_SCOPE(&r->lock);
		gone = r->head == r->tail || ring_batch(r, r->head)->first_seq > b.first_seq;
		if (gone)
			return -ESTALE; /* overwritten while it was read */
		r->unreadable = MAX(r->unreadable, ring_batch_last(&b));
		log_error(
			"journal '%s': segment %u, offset %llu: the batch with seq %llu cannot be "
			"read: %s",
			r->dir, b.block / r->seg_blocks,
			(unsigned long long)ring_offset(r, b.block),
			(unsigned long long)b.first_seq, strerror(-ret));
	}
	return ret;
}

/* How many batches from number i on lie side by side and fit the buffer. */
static uint64_t run_length(const struct ring *r, uint64_t i)
{
	const struct ring_batch *first = ring_batch(r, i);
	uint32_t end = first->block + first->nblocks;
	uint64_t n = 1;

	for (; i + n < r->durable; n++) {
		const struct ring_batch *b = ring_batch(r, i + n);

		if (b->block != end || b->block / r->seg_blocks != first->block / r->seg_blocks ||
			(b->block + b->nblocks - first->block) * BLOCK_SIZE > WALK_BUFFER)
			break;
		end = b->block + b->nblocks;
	}
	return n;
}

int ring_walk(struct ring *r, uint64_t after,
	int (*fn)(void *ctx, const void *batch, const struct batch_header *h), void *ctx)
{
	uint64_t i = after == UINT64_MAX ? r->durable : ring_lower_bound(r, after + 1);
	uint8_t *buf = ring_buffer(WALK_BUFFER);
	int ret = 0;

	if (!buf)
		return -ENOMEM;
	while (i < r->durable && !ret) {
		uint64_t n = run_length(r, i);
		uint32_t base = ring_batch(r, i)->block;
		const struct ring_batch *last = ring_batch(r, i + n - 1);

		ret = ring_pread(ring_fd(r, base), buf,
			(size_t)(last->block + last->nblocks - base) * BLOCK_SIZE,
			ring_offset(r, base));
		for (; n-- && !ret; i++) {
			const struct ring_batch *b = ring_batch(r, i);
			const uint8_t *p = buf + (size_t)(b->block - base) * BLOCK_SIZE;
			struct batch_header h;

			ret = check_batch(p, (size_t)b->nblocks * BLOCK_SIZE, b, &h);
			if (!ret && h.count)
				ret = fn(ctx, p, &h);
		}
	}
	ring_buffer_free(buf, WALK_BUFFER);
	return ret;
}
