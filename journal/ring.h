/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal ring: a directory of equal segment files, written once with zeros at creation and
 * then overwritten in a circle for ever, so that an O_DIRECT write with RWF_DSYNC needs no
 * transaction of the filesystem below. A batch never straddles a segment; the history goes on at
 * the start of the next segment when a batch does not fit.
 *
 * The happy path: ring_append() gives a batch its place and submits one write; `done` says that it
 * is durable. ring_release() allows the space of old batches to be overwritten. In memory there is
 * an index of all batches (their first and last seq, epoch, chain, place), for reading back.
 *
 * Failure modes:
 * - power lost in a write: the batch is torn; recovery ends the history before it;
 * - power lost with several writes in flight: a later batch may be whole while an earlier one is
 *   not; the history still ends at the first one missing, what is behind it is dropped;
 * - a damaged batch at or below the highest commit index found in any later, intact batch is
 *   corruption: -EBADMSG with the place, nothing is changed;
 * - old batches in recycled segments: their seq, chain or epoch does not continue the history;
 * - a dropped tail (ring_truncate) is made unreadable durably before anything new is written, so
 *   that no mixture of old and new can be recovered;
 * - a failed write is final (I9): the ring refuses further appends with -EIO.
 *
 * A batch whose commit index covers a batch still in flight is written after that one (a replica that
 * catches up gets such batches). So what a batch on the disk calls committed was durable on this
 * disk before it, and damage there is never mistaken for a torn write, nor the reverse.
 *
 * Owned by one thread; ring_read() may be called from any. Who holds no floor against the release of what
 * is read may find it overwritten (-ESTALE).
 */
#ifndef JOURNAL_RING_H
#define JOURNAL_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "entry.h"
#include "uring.h"

struct ring;

/* The last entry of each epoch in the log, oldest first: what log matching needs. */
struct log_span {
	struct epoch epoch;
	struct pos end;
};

/* Creates `dir` and its segment files, writes them with zeros, syncs files and directories.
 * size: bytes, RING_SIZE_MIN (tests may go down to 1 MiB) to RING_SIZE_MAX; rounded down to a
 * whole number of segments, of which there are at least two of BATCH_SIZE_MAX. -EEXIST when dir
 * exists. */
int ring_create(const char *dir, uint64_t size, struct err *e);

struct ring_recovered {
	struct pos end; /* end of the history */
	struct epoch epoch; /* of the last batch, {0,0} when the ring is empty */
	uint64_t first_seq; /* lowest seq in the ring; end.seq + 1 when empty */
	struct pos before; /* the position before first_seq */
	uint64_t commit; /* highest commit index seen in a batch of the history */
	uint64_t batches; /* in the history */
	uint64_t dropped; /* torn or stale batches behind it that look like its continuation */
};

/*
 * Opens the ring and finds the history. `from` is a position that the caller knows to be in the
 * history (the flushed position, {0,0} for a new volume): the history must reach it, or
 * -EBADMSG. If the ring is empty, or the batch after `from` is missing and nothing older is there, the
 * history is `from`.
 *
 * verify_tail, when given, is called for each batch above the highest commit index found, in
 * order: it says whether the large payloads that the batch names are whole (0), or -EBADMSG, which
 * ends the history before this batch; other errors end the recovery.
 *
 * -EBADMSG: corruption, e->msg says where. -EBUSY: another process has it open (its segment files
 * are locked; writes of a killed process that are still in flight count too, and are waited for a
 * while). The ring is not changed by opening.
 */
int ring_open(const char *dir, const struct uuid *volume, struct pos from,
	int (*verify_tail)(void *ctx, const void *batch, const struct batch_header *h), void *ctx,
	struct uring *u, struct ring **ret_ring, struct ring_recovered *ret_rec, struct err *e);
/* The same in two steps. The first one reads the whole ring, needs no `from`, and may be done on another thread than
 * the rest; what it found is the caller's, until ring_recover() takes it, which frees it in any case. */
struct ring_scan;
int ring_scan(const char *dir, const struct uuid *volume, struct uring *u, struct ring_scan **ret_s,
	struct err *e);
int ring_recover(struct ring_scan *s, struct pos from,
	int (*verify_tail)(void *ctx, const void *batch, const struct batch_header *h), void *ctx,
	struct ring **ret_ring, struct ring_recovered *ret_rec, struct err *e);
void ring_scan_free(struct ring_scan *s); /* NULL is fine */
/* No write may be in flight, or the uring is closed already. */
void ring_close(struct ring *r);

/* Registers the segment files with the uring (uring_register_file). A speed-up only; to be called at
 * most once, and ring_close() may then follow only after uring_close(). */
void ring_register(struct ring *r);

/* Makes everything behind the end of the history unreadable, durably. To be called once after
 * ring_open(), before the first append. Synchronous. */
int ring_trim_end(struct ring *r, struct err *e);

/* Drops all batches after `end`, which must be the end of a batch in the ring (or the position
 * before the first), durably and synchronously. No write may be in flight. -ENOENT: no such
 * position. */
int ring_truncate(struct ring *r, struct pos end, struct err *e);

struct ring_write { /* one append in flight, embedded by the caller, kept until done */
	void (*done)(struct ring_write *w, int res);
	struct batch_header h;
	/* private */
	struct uring_req req;
	struct ring *ring;
	struct ring_write *next; /* among those held back */
	uint64_t number; /* in the ring's index */
};

/*
 * Appends a whole batch (verbatim, BLOCK_SIZE-aligned memory of batch_size() bytes, padded with
 * zeros) that continues the history. The write is prepared; the caller submits the uring. The
 * header is decoded already (w->h). -ENOSPC: the ring is full, release first; -EIO: failed before.
 * done runs from uring_reap(); several may be in flight and finish in any order.
 */
int ring_append(struct ring *r, const void *batch, struct ring_write *w);

/* The batches up to seq have their large payloads, and what is behind waits for some; UINT64_MAX, as at first: no batch
 * does. A batch that calls one committed that waits is held until that has them. Of the thread that appends. */
void ring_payloads(struct ring *r, uint64_t seq);

/* Announces a run of old batches, from the present end up to seq `to`, that are durable elsewhere:
 * they are written without waiting for each other (ring_behind.c says what that means for recovery).
 * Synchronous, two flushes; to be called once for a long run, or again to extend it. */
int ring_behind(struct ring *r, uint64_t to, struct err *e);
/* Forgets the run when all of it is durable; otherwise does nothing. Cheap. */
void ring_behind_end(struct ring *r);

/* Everything up to seq may be overwritten. */
void ring_release(struct ring *r, uint64_t seq);

struct pos ring_end(const struct ring *r); /* appended, perhaps not durable */
uint64_t ring_first_seq(struct ring *r); /* lowest seq that ring_read() has; end+1 if none */
uint64_t ring_size(const struct ring *r); /* bytes */
uint64_t ring_free(const struct ring *r); /* bytes that appends can surely use; commit thread */

/* The position at the end of the batch that ends with seq. 0, or -ENOENT when no batch in the ring
 * ends there (the position before the oldest batch counts as well). */
int ring_pos_at(const struct ring *r, uint64_t seq, struct pos *ret_pos);
/* Fills spans with the last entry of each epoch, newest first, at most max; returns the count. */
unsigned ring_spans(const struct ring *r, struct log_span *spans, unsigned max);

/*
 * Reads the next non-empty batch with a seq >= from (durable ones only): copies it whole and
 * verified into buf (BLOCK_SIZE-aligned, BATCH_SIZE_MAX bytes). 0; -ENOENT when nothing durable is
 * there; -ESTALE when from is below ring_first_seq(); -EBADMSG when it is damaged, -EIO when the disk
 * does not give it: from then on ring_first_seq() is behind that batch, as if all up to it were recycled.
 */
int ring_read(struct ring *r, uint64_t from, void *buf, struct batch_header *ret_h);

/* Walks every non-empty batch after `after` in order, for recovery and dump; stops at the first
 * non-zero return of fn and gives it back. */
int ring_walk(struct ring *r, uint64_t after,
	int (*fn)(void *ctx, const void *batch, const struct batch_header *h), void *ctx);

#endif
