/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inside of the ring, shared by ring.c (the live part), ring_recover.c (opening), ring_trim.c
 * (dropping a tail) and ring_create.c.
 *
 * Places are counted in blocks of BLOCK_SIZE over the whole ring: segment number * seg_blocks +
 * block in the segment. The history occupies nlive segments in circular order, from first_seg to
 * cur; cur is written at cur_block. It is listed in the index, a circular buffer of batches with
 * absolute numbers: head is the oldest, tail is behind the newest, and everything below `durable`
 * is on the disk together with all before it. Batches of a segment that is about to be overwritten
 * leave at the head.
 *
 * The owner's thread writes all fields. `lock` is held by it when it changes index, head, tail,
 * durable or end, and by the one thread that is in ring_read() while it looks at them. It is a leaf:
 * no other lock is taken and nothing is read or written under it.
 */
#ifndef JOURNAL_RING_IMPL_H
#define JOURNAL_RING_IMPL_H

#include <pthread.h>

#include "ring.h"

#define RING_SEGMENTS_MAX 128u
#define RING_SEGMENT_NAME "%08u"

/* One batch in the ring. An empty batch (count 0) is listed too: it takes room, and its last seq is
 * that of the batch before it, so last seqs never fall along the index. In the index its epoch is
 * that of the last entry before it: an epoch without an entry leaves no trace in the history, and a
 * different one may take its place. So epochs never fall along the index either. */
struct ring_batch {
	uint64_t first_seq;
	uint64_t commit;
	uint64_t epoch_id;
	uint32_t epoch_num;
	uint32_t count;
	uint32_t chain_before, chain_after;
	uint32_t block; /* place */
	uint16_t nblocks;
	bool done; /* its own write has finished; at opening: belongs to the history */
};

struct ring_seg {
	int fd;
	uint64_t end; /* number behind its last batch; of live segments only */
	uint64_t last_seq; /* of its last batch; of live segments only */
};

struct ring {
	struct uring *uring;
	struct uuid volume;
	char *dir; /* for messages */
	unsigned nsegs;
	uint32_t seg_blocks;
	struct ring_seg segs[RING_SEGMENTS_MAX];

	unsigned first_seg, nlive, cur;
	uint32_t cur_block; /* in the segment */
	uint64_t released; /* seq */
	struct pos end;
	struct epoch epoch; /* of the last entry, {0, 0} when there is none */

	pthread_mutex_t lock;
	struct ring_batch *index;
	uint64_t index_size; /* a power of two */
	uint64_t head, tail, durable; /* absolute numbers */
	uint64_t
		unreadable; /* under `lock`: the last seq of the newest batch that could not be read back */

	uint64_t durable_seq; /* everything up to it is durable; the owner's */
	uint64_t
		whole_seq; /* with large payloads; UINT64_MAX: no batch waits for one. The owner's */
	unsigned in_flight; /* appended and not done, held ones included */
	struct ring_write *held_first, *held_last;
	uint64_t behind_from, behind_to; /* a run of old batches (ring_behind.c); 0 0: none */
	bool trimmed; /* nothing readable is behind the end */
	bool failed; /* a write failed: final */

	uint32_t *leftover; /* blocks that trimming has to zero */
	size_t nleftover;
};

static inline struct ring_batch *ring_batch(const struct ring *r, uint64_t number)
{
	return &r->index[number & (r->index_size - 1)];
}

static inline uint64_t ring_batch_last(const struct ring_batch *b)
{
	return b->first_seq + b->count - 1;
}

static inline struct pos ring_batch_end(const struct ring_batch *b)
{
	return (struct pos){.seq = ring_batch_last(b), .chain = b->chain_after};
}

static inline struct pos ring_batch_before(const struct ring_batch *b)
{
	return (struct pos){.seq = b->first_seq - 1, .chain = b->chain_before};
}

static inline struct epoch ring_batch_epoch(const struct ring_batch *b)
{
	return (struct epoch){.id = b->epoch_id, .num = b->epoch_num};
}

/* May a batch of epoch b follow one of epoch a? Equal numbers with different ids are a fork. */
static inline bool epoch_may_follow(struct epoch a, struct epoch b)
{
	return b.num > a.num || epoch_equal(a, b) || !a.num;
}

static inline int ring_fd(const struct ring *r, uint32_t block)
{
	return r->segs[block / r->seg_blocks].fd;
}

static inline uint64_t ring_offset(const struct ring *r, uint32_t block)
{
	return (uint64_t)(block % r->seg_blocks) * BLOCK_SIZE;
}

/* The first number in [head, tail) whose last seq is >= seq; tail if none. */
uint64_t ring_lower_bound(const struct ring *r, uint64_t seq);
/* Lists one more batch at the tail; its place in cur is taken. */
void ring_push(struct ring *r, const struct ring_batch *b);
struct ring_batch ring_batch_of(const struct batch_header *h, uint32_t block);
/* Memory for O_DIRECT; freed with ring_buffer_free(). NULL when there is none. */
void *ring_buffer(size_t size);
void ring_buffer_free(void *p, size_t size);
/* Reads exactly n bytes. 0, or -EIO and other -errno. */
int ring_pread(int fd, void *buf, size_t n, uint64_t off);
/* Opens r->dir's segment files, locks them and fills segs, nsegs and seg_blocks; on failure those that
 * are open are counted in nsegs. */
int ring_open_segments(struct ring *r, struct err *e);

/* ring_bad.c: blocks that the disk cannot read, as places; `blocks` is freed by the owner. */
struct ring_bad {
	uint32_t *blocks;
	unsigned n;
};
/* Reads a whole segment into buf, with zeros for what cannot be read, which is listed. 0; -EIO when that is too much. */
int ring_read_segment(const struct ring *r, unsigned seg, uint8_t *buf, struct ring_bad *bad);
/* One of these n blocks? */
bool ring_bad_has(const struct ring_bad *bad, uint32_t block, uint32_t n);

/* ring_behind.c: what the file says, into r; 0 when there is none. */
int ring_behind_load(struct ring *r, struct err *e);

#endif
