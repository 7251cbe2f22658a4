/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the ring: find the history among everything that the segments hold.
 *
 * 1. Scan. Every segment is read, and every 4 KiB boundary looked at that no intact batch covers.
 *    What is whole and belongs to this volume is listed in the order of its place: live batches,
 *    old ones of recycled segments, and what was in flight when the power failed. A segment is made
 *    of zeros and its first block only ever holds a header of this volume's: a whole batch of another
 *    volume there says that the file is not ours. What it stands in place of may have been committed,
 *    and would pass for torn, so opening fails.
 * 2. Anchor. `from` is where the volume's state stands: the batch that ends there, or the one that
 *    follows it, is in the history for sure.
 * 3. Forward, from the anchor: a batch's successor is right behind it, or first in the next segment,
 *    and continues seq, chain and epoch. The first one missing ends the history at E.
 *    (An empty batch that is missing at the end of a segment is not missed: it has no entry.)
 * 4. Torn or corrupt? If any intact batch says that something above E was committed, then what is
 *    missing had been durable here before that batch was written (ring.h), and is damaged now:
 *    -EBADMSG. Stale batches cannot raise a false alarm: a batch's commit index is below its own
 *    first seq (checked by the codec), a recycled batch's seq is at or below what was released,
 *    hence flushed, hence at or below `from`; and a dropped tail's headers were all zeroed, durably,
 *    before anything else was written (ring_trim.c).
 * 5. The window above the highest commit index is given to verify_tail, which may end it earlier.
 * 6. Backward, from the anchor: older batches that lead to it without a gap are kept for peers that
 *    lag behind. A gap there is no error; they are flushed.
 *
 * Blocks that the disk cannot read (-EIO) count as holding nothing, where that cannot cost an entry: in
 * what was never used, in old batches, in what is behind the end. The batch after the end, if there is
 * one, begins right behind the last one or at the next segment's start, and nowhere else. If one of
 * these two blocks cannot be read, or one holds the header of that batch and a block of the batch cannot
 * be read, it may have been acknowledged, and opening fails: it cannot be told from a torn one, and the
 * disk may give it again. So it does when nothing of the history is found at all. What is missing below
 * what a later batch calls committed is damage, as in 4.; what is missing below `from` is flushed, as in
 * 6. Trimming writes such blocks anew, so that no old batch comes out of them later (ring_trim.c).
 *
 * Nothing is written. Memory is one segment, and 48 bytes a batch. The scan needs nothing of the rest, and may be done
 * ahead, on any thread (ring_scan()).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "ring_impl.h"

#define NONE SIZE_MAX

struct ring_scan {
	struct ring *r;
	struct ring_batch *batches; /* intact, of this volume, by place */
	size_t count, room;
	uint8_t *buf; /* one segment, then one batch */
	size_t buf_size;
	struct ring_bad bad;
	size_t *path; /* the history, as indices into batches, oldest first */
	size_t path_len;
	uint64_t commit; /* highest commit index known */
	struct err *e;
};

/* --- 1. scan ------------------------------------------------------------------------------------ */

static int scan_add(struct ring_scan *s, const struct batch_header *h, uint32_t block)
{
	if (s->count == s->room) {
		size_t room = MAX(2 * s->room, 1024);
		struct ring_batch *more = reallocarray(s->batches, room, sizeof(*more));

		if (!more)
			return err_set(s->e, -ENOMEM, "out of memory");
		s->batches = more;
		s->room = room;
	}
	s->batches[s->count++] = ring_batch_of(h, block);
	return 0;
}

static int foreign_segment(struct ring_scan *s, unsigned seg, const struct uuid *volume)
{
	char text[UUID_TEXT_SIZE];

	return err_set(s->e, -EBADMSG,
		"journal '%s': segment %u belongs to volume %s: put this volume's own file "
		"'" RING_SEGMENT_NAME "' back, if there still is one",
		s->r->dir, seg, uuid_text(volume, text), seg);
}

static int scan_segment(struct ring_scan *s, unsigned seg)
{
	struct ring *r = s->r;
	uint32_t base = seg * r->seg_blocks;
	bool expected = true; /* a batch may start here: nothing else is written to this place */
	int ret;

	ret = ring_read_segment(r, seg, s->buf, &s->bad);
	if (ret)
		return err_set(s->e, ret, "journal '%s': segment %u: cannot read: %s", r->dir, seg,
			strerror(-ret));
	for (uint32_t at = 0; at < r->seg_blocks;) {
		const uint8_t *p = s->buf + (size_t)at * BLOCK_SIZE;
		struct batch_header h;

		ret = batch_verify(p, s->buf_size - (size_t)at * BLOCK_SIZE, &h);
		if (ret == -EPROTONOSUPPORT && expected)
			return err_set(s->e, ret,
				"journal '%s': segment %u, offset %llu: written by a newer version "
				"of this program: install a newer build",
				r->dir, seg, (unsigned long long)at * BLOCK_SIZE);
		/* Also one that is whole because the block that cannot be read would be zeros. */
		if (!ret && ring_bad_has(&s->bad, base + at, batch_size(&h) / BLOCK_SIZE))
			ret = -EIO;
		expected = !ret;
		if (ret) {
			at++;
			continue;
		}
		if (uuid_equal(&h.volume, &r->volume)) {
			ret = scan_add(s, &h, base + at);
			if (ret)
				return ret;
		} else if (at == 0) {
			return foreign_segment(s, seg, &h.volume);
		}
		at += batch_size(&h) / BLOCK_SIZE;
	}
	return 0;
}

/* The intact batch at a place, or NONE. */
static size_t batch_at(const struct ring_scan *s, uint32_t block)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (s->batches[mid].block < block)
			low = mid + 1;
		else
			high = mid;
	}
	return low < s->count && s->batches[low].block == block ? low : NONE;
}

static unsigned seg_of(const struct ring_scan *s, size_t i)
{
	return s->batches[i].block / s->r->seg_blocks;
}

/* --- 2., 3. anchor and forward ------------------------------------------------------------------ */

static bool continues(const struct ring_batch *b, struct pos end, struct epoch epoch)
{
	return pos_equal(ring_batch_before(b), end) && epoch_may_follow(epoch, ring_batch_epoch(b));
}

/* The batch after i in the history, whose last entry is of `epoch`; or NONE. */
static size_t next_of(const struct ring_scan *s, size_t i, struct epoch epoch)
{
	const struct ring *r = s->r;
	const struct ring_batch *b = &s->batches[i];
	uint32_t behind = b->block + b->nblocks;
	struct pos end = ring_batch_end(b);
	size_t next;

	if (behind % r->seg_blocks) {
		next = batch_at(s, behind);
		if (next != NONE && continues(&s->batches[next], end, epoch))
			return next;
	}
	next = batch_at(s, (seg_of(s, i) + 1) % r->nsegs * r->seg_blocks);
	return next != NONE && continues(&s->batches[next], end, epoch) ? next : NONE;
}

/* The batch before i, where `epoch` is that of the first entry from i on; or NONE. */
static size_t previous_of(const struct ring_scan *s, size_t i, struct epoch epoch)
{
	const struct ring *r = s->r;
	const struct ring_batch *b = &s->batches[i];
	struct pos before = ring_batch_before(b);
	unsigned seg = (seg_of(s, i) + r->nsegs - 1) % r->nsegs;
	size_t p;

	if (b->block % r->seg_blocks) {
		const struct ring_batch *c = b - 1;

		if (i && c->block + c->nblocks == b->block && seg_of(s, i - 1) == seg_of(s, i) &&
			pos_equal(ring_batch_end(c), before) &&
			(!c->count || !epoch.num || epoch_may_follow(ring_batch_epoch(c), epoch)))
			return i - 1;
		return NONE;
	}
	/* The last one of the segment before; what is behind it there is old. */
	p = seg == r->nsegs - 1 ? s->count : batch_at(s, b->block);
	while (p-- && seg_of(s, p) == seg) {
		const struct ring_batch *c = &s->batches[p];

		if (pos_equal(ring_batch_end(c), before) &&
			(!c->count || !epoch.num || epoch_may_follow(ring_batch_epoch(c), epoch)))
			return p;
	}
	return NONE;
}

/* Follows the history from batch i; fills path (unless NULL) and returns its length. */
static size_t walk_forward(const struct ring_scan *s, size_t i, size_t *path, struct pos *ret_end)
{
	struct epoch epoch = {0};
	size_t n = 0;

	/* An empty batch may lead back to an equal one, so the count is bounded. */
	for (; i != NONE && n < s->count; i = next_of(s, i, epoch)) {
		const struct ring_batch *b = &s->batches[i];

		if (b->count)
			epoch = ring_batch_epoch(b);
		if (path)
			path[n] = i;
		n++;
		*ret_end = ring_batch_end(b);
	}
	return n;
}

/* What kind of batch to start from, the best first. An empty batch behind a gap of another empty one
 * also ends at `from`, but nothing leads back from it. */
enum anchor { ENTRIES_END, EMPTY_ENDS, FOLLOWS };

static bool is_anchor(const struct ring_batch *b, struct pos from, enum anchor kind)
{
	if (kind == FOLLOWS)
		return pos_equal(ring_batch_before(b), from);
	return pos_equal(ring_batch_end(b), from) && (b->count > 0) == (kind == ENTRIES_END);
}

/*
 * The batch of this kind from which to look in both directions. When there are several, the one from
 * which the history goes on farthest: others are empty batches behind it, or copies in what a torn
 * batch had for its payload.
 */
static size_t find_anchor(const struct ring_scan *s, struct pos from, enum anchor kind)
{
	size_t best = NONE, best_len = 0, any = NONE;
	struct pos best_end = {0};

	for (size_t i = 0; i < s->count; i++) {
		struct pos end;
		size_t p, len;

		if (!is_anchor(&s->batches[i], from, kind))
			continue;
		any = i;
		p = previous_of(s, i, (struct epoch){0});
		if (p != NONE && is_anchor(&s->batches[p], from, kind))
			continue; /* walked from there */
		len = walk_forward(s, i, NULL, &end);
		if (best == NONE || end.seq > best_end.seq ||
			(end.seq == best_end.seq && len > best_len)) {
			best = i;
			best_len = len;
			best_end = end;
		}
	}
	return best != NONE ? best : any; /* a whole circle of empty batches has no first one */
}

/* Keeps the path from the n-th batch on only. */
static void drop_front(struct ring_scan *s, size_t n)
{
	s->path_len -= n;
	memmove(s->path, s->path + n, s->path_len * sizeof(*s->path));
}

static int find_history(struct ring_scan *s, struct pos from)
{
	struct pos end = {0};
	size_t anchor = find_anchor(s, from, ENTRIES_END);
	bool old = false;

	if (anchor == NONE)
		anchor = find_anchor(s, from, EMPTY_ENDS);
	if (anchor == NONE)
		anchor = find_anchor(s, from, FOLLOWS);
	if (anchor != NONE) {
		s->path = calloc(s->count, sizeof(*s->path));
		if (!s->path)
			return err_set(s->e, -ENOMEM, "out of memory");
		s->path_len = walk_forward(s, anchor, s->path, &end);
		return 0;
	}
	/* If everything is beyond `from`, the batch that follows it is missing; see check_end(). */
	for (size_t i = 0; i < s->count; i++)
		old |= ring_batch_last(&s->batches[i]) <= from.seq;
	if (old)
		return err_set(s->e, -EBADMSG,
			"journal '%s': no batch ends or starts at seq %llu (chain %08x), where the "
			"volume's state stands; this journal and this state do not belong "
			"together, "
			"or the journal is damaged",
			s->r->dir, (unsigned long long)from.seq, from.chain);
	return 0;
}

/* --- 4., 5. the end ----------------------------------------------------------------------------- */

static struct pos path_end(const struct ring_scan *s, struct pos from)
{
	return s->path_len ? ring_batch_end(&s->batches[s->path[s->path_len - 1]]) : from;
}

/* Is this intact batch, which is not in the history, beyond its end? */
static bool is_leftover(const struct ring_batch *b, struct pos end)
{
	return !b->done && (b->count ? ring_batch_last(b) : b->first_seq) > end.seq;
}

/* In a run of old batches what is missing is torn, whatever the others in the run say: they did not
 * wait for it. Only a batch behind the run did. */
static bool within_run(const struct ring *r, struct pos end, uint64_t commit)
{
	return end.seq >= r->behind_from && end.seq < r->behind_to && commit <= r->behind_to;
}

/* Marks the history, and looks at what everything else says about its end. */
static int check_end(struct ring_scan *s, struct pos from)
{
	struct ring *r = s->r;
	struct pos end = path_end(s, from);

	for (size_t i = 0; i < s->path_len; i++)
		s->batches[s->path[i]].done = true;
	s->commit = from.seq;
	for (size_t i = 0; i < s->count; i++) {
		const struct ring_batch *b = &s->batches[i];

		if (b->done || is_leftover(b, end))
			s->commit = MAX(s->commit, b->commit);
		if (b->commit > end.seq && !within_run(r, end, b->commit))
			return err_set(s->e, -EBADMSG,
				"journal '%s': the batch with seq %llu is damaged, but segment %u, "
				"offset %llu says that seq %llu was committed; bring this replica "
				"back "
				"from its peer",
				r->dir, (unsigned long long)end.seq + 1, b->block / r->seg_blocks,
				(unsigned long long)ring_offset(r, b->block),
				(unsigned long long)b->commit);
	}
	if (s->commit <= r->behind_to) /* large payloads of the run may be missing as well */
		s->commit = MIN(s->commit, MAX(from.seq, r->behind_from));
	return 0;
}

/* A batch that would go on from `end` begins here and is not whole. */
static bool is_torn_next(
	const struct ring_scan *s, uint32_t block, struct pos end, struct batch_header *ret_h)
{
	struct ring *r = s->r;

	return batch_at(s, block) == NONE &&
	       !ring_pread(ring_fd(r, block), s->buf, BLOCK_SIZE, ring_offset(r, block)) &&
	       !batch_decode_header(s->buf, BLOCK_SIZE, ret_h) &&
	       uuid_equal(&ret_h->volume, &r->volume) && ret_h->first_seq == end.seq + 1 &&
	       ret_h->chain_before == end.chain;
}

/* May a whole batch that goes on from `end` be here, where it cannot be read? */
static bool may_hide_next(const struct ring_scan *s, uint32_t block, struct pos end)
{
	struct batch_header h;

	return ring_bad_has(&s->bad, block, 1) ||
	       (is_torn_next(s, block, end, &h) &&
		       ring_bad_has(&s->bad, block, batch_size(&h) / BLOCK_SIZE));
}

/* The end is the end also where blocks cannot be read, or opening fails. */
static int check_bad(struct ring_scan *s, struct pos from)
{
	const struct ring *r = s->r;
	struct pos end = path_end(s, from);
	const struct ring_batch *last;
	uint32_t behind, at = s->bad.n ? s->bad.blocks[0] : 0;
	bool hides = true; /* without a history it may be anywhere */

	if (!s->bad.n)
		return 0;
	if (s->path_len) {
		last = &s->batches[s->path[s->path_len - 1]];
		behind = last->block + last->nblocks;
		at = behind;
		hides = behind % r->seg_blocks && may_hide_next(s, behind, end);
		if (!hides) {
			at = (last->block / r->seg_blocks + 1) % r->nsegs * r->seg_blocks;
			hides = may_hide_next(s, at, end);
		}
	}
	if (!hides)
		return 0;
	return err_set(s->e, -EIO,
		"journal '%s': segment %u, at offset %llu: cannot read, and the entries after "
		"seq %llu may be there",
		r->dir, at / r->seg_blocks, (unsigned long long)ring_offset(r, at),
		(unsigned long long)end.seq);
}

static int verify_window(struct ring_scan *s,
	int (*verify_tail)(void *ctx, const void *batch, const struct batch_header *h), void *ctx)
{
	struct ring *r = s->r;

	for (size_t i = 0; i < s->path_len; i++) {
		const struct ring_batch *b = &s->batches[s->path[i]];
		struct batch_header h;
		int ret;

		if (!b->count || ring_batch_last(b) <= s->commit)
			continue;
		ret = ring_pread(ring_fd(r, b->block), s->buf, (size_t)b->nblocks * BLOCK_SIZE,
			ring_offset(r, b->block));
		if (!ret)
			ret = batch_verify(s->buf, (size_t)b->nblocks * BLOCK_SIZE, &h);
		if (ret)
			return err_set(s->e, -EIO,
				"journal '%s': segment %u, offset %llu: was whole a moment ago, is "
				"not any more",
				r->dir, b->block / r->seg_blocks,
				(unsigned long long)ring_offset(r, b->block));
		ret = verify_tail(ctx, s->buf, &h);
		if (ret == -EBADMSG && b->first_seq <= s->commit)
			return err_set(s->e, ret,
				"journal '%s': the data of the batch with seq %llu is damaged, of "
				"which seq %llu was committed; bring this replica back from its "
				"peer",
				r->dir, (unsigned long long)b->first_seq,
				(unsigned long long)s->commit);
		if (ret == -EBADMSG) {
			for (size_t k = i; k < s->path_len; k++)
				s->batches[s->path[k]].done = false;
			s->path_len = i;
			return 0;
		}
		if (ret)
			return err_set(s->e, ret,
				"journal '%s': cannot verify the data of the batch with seq %llu: "
				"%s",
				r->dir, (unsigned long long)b->first_seq, strerror(-ret));
	}
	return 0;
}

/* --- 6. older batches --------------------------------------------------------------------------- */

/*
 * A segment that is being overwritten may still hold older batches of the history behind the new
 * ones. Space is accounted for by segments, so those are given up.
 */
static void leave_current_segment(struct ring_scan *s)
{
	unsigned cur = seg_of(s, s->path[s->path_len - 1]);
	size_t first = s->path_len - 1; /* of the last stay in cur */

	while (first && seg_of(s, s->path[first - 1]) == cur &&
		s->batches[s->path[first - 1]].block < s->batches[s->path[first]].block)
		first--;
	for (size_t i = first; i--;) {
		if (seg_of(s, s->path[i]) == cur) {
			for (size_t k = 0; k <= i; k++)
				s->batches[s->path[k]].done = false;
			drop_front(s, i + 1);
			return;
		}
	}
}

/* Puts what leads to the first batch of the path before it. */
static int walk_backward(struct ring_scan *s)
{
	size_t first = s->path[0], n = 0, *path;
	unsigned cur = seg_of(s, s->path[s->path_len - 1]);
	struct epoch epoch = {0};
	bool left = seg_of(s, first) != cur; /* the current segment */

	for (size_t i = 0; i < s->path_len && !epoch.num; i++)
		if (s->batches[s->path[i]].count)
			epoch = ring_batch_epoch(&s->batches[s->path[i]]);
	path = calloc(s->count, sizeof(*path));
	if (!path)
		return err_set(s->e, -ENOMEM, "out of memory");
	/* Filled from its end, as the older ones come first. */
	for (size_t i = first; n + s->path_len < s->count;) {
		struct ring_batch *b;

		i = previous_of(s, i, epoch);
		if (i == NONE || s->batches[i].done || (left && seg_of(s, i) == cur))
			break;
		left |= seg_of(s, i) != cur;
		b = &s->batches[i];
		b->done = true;
		if (b->count)
			epoch = ring_batch_epoch(b);
		path[s->count - s->path_len - ++n] = i;
	}
	memmove(path, path + s->count - s->path_len - n, n * sizeof(*path));
	memcpy(path + n, s->path, s->path_len * sizeof(*path));
	free(s->path);
	s->path = path;
	s->path_len += n;
	return 0;
}

/* --- together ----------------------------------------------------------------------------------- */

/* Looks at a place where the next batch would be: one that is torn is to be zeroed as well. */
static void check_torn(struct ring_scan *s, uint32_t block, struct ring_recovered *rec)
{
	struct batch_header h;

	if (!is_torn_next(s, block, s->r->end, &h))
		return;
	s->r->leftover[s->r->nleftover++] = block;
	rec->dropped++;
}

/* To be written anew: nothing of the history is in them. */
static void heal_bad(struct ring_scan *s)
{
	struct ring *r = s->r;

	for (unsigned i = 0; i < s->bad.n; i++)
		r->leftover[r->nleftover++] = s->bad.blocks[i];
	if (s->bad.n)
		log_warn("journal '%s': %u blocks cannot be read, the first one in segment %u, "
			 "offset %llu: nothing that is needed is there, and a start writes them "
			 "anew",
			r->dir, s->bad.n, s->bad.blocks[0] / r->seg_blocks,
			(unsigned long long)ring_offset(r, s->bad.blocks[0]));
}

static int fill_ring(struct ring_scan *s, struct pos from, struct ring_recovered *rec)
{
	struct ring *r = s->r;
	const struct ring_batch *last;

	r->end = from;
	r->nlive = 1;
	*rec = (struct ring_recovered){.batches = s->path_len};
	for (size_t i = 0; i < s->path_len; i++) {
		const struct ring_batch *b = &s->batches[s->path[i]];
		unsigned seg = seg_of(s, s->path[i]);

		if (i == 0)
			r->first_seg = r->cur = seg;
		if (seg != r->cur) {
			ensure(seg == (r->cur + 1) % r->nsegs && r->nlive < r->nsegs);
			r->cur = seg;
			r->nlive++;
		}
		ring_push(r, b);
		rec->commit = MAX(rec->commit, b->commit);
	}
	r->durable = r->tail;
	r->durable_seq = r->end.seq;
	r->whole_seq = UINT64_MAX;

	last = s->path_len ? &s->batches[s->path[s->path_len - 1]] : NULL;
	rec->end = r->end;
	rec->epoch = last ? ring_batch_epoch(last) : (struct epoch){0};
	rec->first_seq = ring_first_seq(r);
	rec->before = s->path_len ? ring_batch_before(ring_batch(r, r->head)) : r->end;

	r->leftover = calloc(s->count + 2 + s->bad.n, sizeof(*r->leftover));
	if (!r->leftover)
		return err_set(s->e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < s->count; i++)
		if (is_leftover(&s->batches[i], r->end))
			r->leftover[r->nleftover++] = s->batches[i].block;
	rec->dropped = r->nleftover;
	if (r->cur_block < r->seg_blocks)
		check_torn(s, r->cur * r->seg_blocks + r->cur_block, rec);
	check_torn(s, (r->cur + 1) % r->nsegs * r->seg_blocks, rec);
	heal_bad(s);
	return 0;
}

/* 2. to 6. */
static int recover(struct ring_scan *s, struct pos from,
	int (*verify_tail)(void *ctx, const void *batch, const struct batch_header *h), void *ctx,
	struct ring_recovered *rec)
{
	int ret = find_history(s, from);

	if (!ret)
		ret = check_end(s, from);
	if (!ret)
		ret = check_bad(s, from);
	if (!ret && verify_tail)
		ret = verify_window(s, verify_tail, ctx);
	if (!ret && s->path_len) {
		leave_current_segment(s);
		if (s->batches[s->path[0]].first_seq > from.seq + 1)
			return err_set(s->e, -EBADMSG,
				"journal '%s': entries after seq %llu, where the volume's state "
				"stands, "
				"were overwritten",
				s->r->dir, (unsigned long long)from.seq);
		ret = walk_backward(s);
	}
	if (!ret)
		ret = fill_ring(s, from, rec);
	return ret;
}

void ring_scan_free(struct ring_scan *s)
{
	if (!s)
		return;
	free(s->path);
	free(s->bad.blocks);
	free(s->batches);
	ring_buffer_free(s->buf, s->buf_size);
	if (s->r)
		ring_close(s->r);
	free(s);
}

int ring_scan(const char *dir, const struct uuid *volume, struct uring *u, struct ring_scan **ret_s,
	struct err *e)
{
	struct ring *r = calloc(1, sizeof(*r));
	struct ring_scan *s = calloc(1, sizeof(*s));
	int ret;

	ensure(r && s);
	s->r = r;
	s->e = e;
	pthread_mutex_init(&r->lock, NULL);
	r->uring = u;
	r->volume = *volume;
	r->dir = strdup(dir);
	ensure(r->dir);
	ret = ring_open_segments(r, e);
	if (!ret)
		ret = ring_behind_load(r, e);
	if (!ret) {
		s->buf_size = (size_t)r->seg_blocks * BLOCK_SIZE;
		s->buf = ring_buffer(s->buf_size);
		if (!s->buf)
			ret = err_set(e, -ENOMEM, "out of memory");
	}
	for (unsigned i = 0; i < r->nsegs && !ret; i++)
		ret = scan_segment(s, i);
	if (ret)
		ring_scan_free(s);
	else
		*ret_s = s;
	return ret;
}

int ring_recover(struct ring_scan *s, struct pos from,
	int (*verify_tail)(void *ctx, const void *batch, const struct batch_header *h), void *ctx,
	struct ring **ret_ring, struct ring_recovered *ret_rec, struct err *e)
{
	struct ring_recovered rec;
	int ret;

	s->e = e;
	ret = recover(s, from, verify_tail, ctx, &rec);
	if (!ret) {
		*ret_ring = s->r;
		*ret_rec = rec;
		s->r = NULL;
	}
	ring_scan_free(s);
	return ret;
}

int ring_open(const char *dir, const struct uuid *volume, struct pos from,
	int (*verify_tail)(void *ctx, const void *batch, const struct batch_header *h), void *ctx,
	struct uring *u, struct ring **ret_ring, struct ring_recovered *ret_rec, struct err *e)
{
	struct ring_scan *s;
	int ret = ring_scan(dir, volume, u, &s, e);

	return ret ? ret : ring_recover(s, from, verify_tail, ctx, ret_ring, ret_rec, e);
}
