/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for metadata (design 4.2, I8). RocksDB does not get over an ENOSPC in a flush or a compaction, so it must
 * never meet one. What is staged and not flushed always has its room in a file, the ballast, which nobody else
 * can take: on a full disk each write of a flush gets as much of it as it needs, when it needs it (store_room.c),
 * and it is taken back when there is room again. What is given up before it is needed belongs to whoever comes
 * first, and who fills a disk comes at once: before a flush only what making its files takes is given.
 *
 * Operations in three classes: what takes room (create, write, ...), what changes something (rename, chmod), and
 * what makes room (unlink, truncate, punch, and the reaping behind them). Normally all wait when more than the
 * ballast covers is unflushed. On a full disk (the ballast is not whole, or next to nothing is free beside it)
 * the first class gets ENOSPC at once, the second one when half of what is left is used up, and the third when
 * nothing is left that a checkpoint could change. A checkpoint gives the dead blocks back, and that is the way out.
 *
 * The same holds for the other side's disk: a standby tells how much it can flush beyond what it has applied, and
 * the active counts what it staged since.
 *
 * Compactions rewrite what is there and need as much room as they rewrite. Near a full disk they are off; level 0
 * grows meanwhile, reads get slower, nothing breaks.
 *
 * Failure modes: somebody fills the disk while a flush or compaction is at work, faster than anybody looks: its
 * write finds no room, gets some of the ballast, and goes on. Somebody takes what is given up
 * before it is used: more is given up; when nothing is left it waits a minute for room before it counts as an
 * error (I9). A crash: what was given up is taken back by the next look. A full disk while this side is copied to
 * another one, which holds checkpoints back: what makes room waits for the end of the copying.
 */
#include "volume_impl.h"

#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "log.h"
#include "store_room.h"

#define PATIENCE_NS                                                                                \
	(60 * NS_PER_S) /* for room to come for a write of RocksDB's when the ballast is used up */
#define START_ROOM                                                                                 \
	(8u << 20) /* bytes: what opening RocksDB and a record write, with room to spare */
#define SLACK (1u << 20) /* bytes that a flush writes besides what it flushes */
#define FILES_ROOM                                                                                 \
	(256u << 10) /* bytes: for making some files: inodes, directory, the filesystem's own */
#define REWRITE_MAX (512ull << 20) /* bytes: no compaction rewrites more at once */

/* Free beside the ballast; below it the disk counts as full. */
static uint64_t low_water(const struct volume *v)
{
	return v->cfg->memtable / 4 + START_ROOM;
}

static uint64_t ballast_target(const struct volume *v)
{
	return v->cfg->memtable * 5 / 2 + START_ROOM;
}

/* Of the ballast: what operations that take room never count on. */
static uint64_t kept(const struct volume *v)
{
	return v->cfg->memtable / 2;
}

uint64_t space_meta_reserve(const struct volume *v)
{
	return v->cfg->memtable + 2 * low_water(v);
}

uint64_t space_free_bytes(const struct volume *v)
{
	struct statvfs fs;

	return statvfs(v->cfg->directory, &fs) ? UINT64_MAX : (uint64_t)fs.f_bavail * fs.f_frsize;
}

/* On RocksDB's own threads: a write of theirs found the disk full. */
static void make_way_for_store(void *ctx, uint64_t bytes)
{
	struct volume *v = ctx;

	ballast_give(&v->space.ballast, bytes);
	atomic_store(&v->space.meta_full, true);
}

static void guard_store(struct volume *v)
{
	char path[4200], *whole;

	volume_path(v, "meta", path, sizeof(path));
	whole = realpath(path, NULL);
	if (whole)
		store_room_guard(whole, make_way_for_store, v, PATIENCE_NS);
	free(whole);
}

int space_open(struct volume *v, bool *ret_low, struct err *e)
{
	char path[4200];
	uint64_t room;
	int r;

	volume_path(v, "ballast", path, sizeof(path));
	r = ballast_open(&v->space.ballast, path, ballast_target(v), e);
	if (r)
		return r;
	guard_store(v);
	room = space_free_bytes(v);
	if (room < FILES_ROOM)
		ballast_give(&v->space.ballast, FILES_ROOM - room);
	*ret_low = v->space.low_at_open = room < low_water(v) + REWRITE_MAX;
	atomic_store(&v->space.disk_free, room);
	atomic_store(&v->space.meta_full, room < low_water(v));
	return 0;
}

int space_spare(struct volume *v, struct err *e)
{
	struct ballast b = {0};
	char path[4200];
	int r;

	volume_path(v, "ballast", path, sizeof(path));
	r = ballast_open(&b, path, ballast_target(v), e);
	if (r)
		return r;
	ballast_give(&b, FILES_ROOM);
	ballast_close(&b);
	return 0;
}

static void look_at_compaction(struct volume *v, uint64_t disk_free)
{
	uint64_t need = low_water(v) + MIN(store_disk_bytes(v->store), REWRITE_MAX);

	if (disk_free < need || atomic_load(&v->space.no_compaction))
		store_set_compaction(v->store, false);
	else if (disk_free > need + need / 4)
		store_set_compaction(v->store, true);
}

void space_compact(struct volume *v, bool on)
{
	atomic_store(&v->space.no_compaction, !on);
	if (!on || !v->space.low_at_open)
		store_set_compaction(v->store, on);
}

void space_look_meta(struct volume *v, uint64_t disk_free)
{
	struct space *s = &v->space;
	bool full = atomic_load(&s->meta_full);
	uint64_t low = low_water(v);

	if (!ballast_whole(&s->ballast) && disk_free > low) {
		ballast_fill(&s->ballast, disk_free - low);
		disk_free = space_free_bytes(v);
	}
	look_at_compaction(v, disk_free);
	full = !ballast_whole(&s->ballast) || disk_free < (full ? low * 2 : low);
	atomic_store(&s->disk_free, disk_free);
	if (atomic_exchange(&s->meta_full, full) == full)
		return;
	if (full)
		log_warn("the disk below '%s' is full: what takes room gets ENOSPC; deleting works",
			v->cfg->directory);
	else
		log_info("the disk below '%s' has room again", v->cfg->directory);
}

void space_make_way(struct volume *v)
{
	uint64_t room = space_free_bytes(v);

	if (room >= FILES_ROOM)
		return;
	ballast_give(&v->space.ballast, FILES_ROOM - room);
	atomic_store(&v->space.meta_full, true);
}

uint64_t space_meta_bytes(const struct volume *v)
{
	const struct space *s = &v->space;
	uint64_t have = ballast_size(&s->ballast), need = store_unflushed_bytes(v->store) + SLACK;

	/* What is free may be gone in a moment; where it is all that is left, it counts. */
	if (atomic_load(&s->meta_full))
		have += atomic_load(&s->disk_free);
	return have > need ? have - need : 0;
}

/* What is flushed takes a fraction of what it took in memory. While a flush is under way its room is counted twice:
 * as given up already, and as needed still. */
static bool flush_helps(const struct volume *v)
{
	return store_unflushed_bytes(v->store) > v->cfg->memtable / 4;
}

enum msg_meta_full space_meta_full(const struct volume *v)
{
	if (!atomic_load(&v->space.meta_full))
		return META_ROOM;
	return flush_helps(v) ? META_FULL_FOR_NOW : META_FULL;
}

bool space_wants_flush(const struct volume *v)
{
	return space_exhausted(v) && flush_helps(v);
}

bool space_exhausted(const struct volume *v)
{
	return atomic_load(&v->space.meta_full) && !space_meta_bytes(v);
}

/* --- admission --- */

enum class { CLASS_TAKES, CLASS_CHANGES, CLASS_FREES };

static enum class class_of(const struct op *op) {
	switch (op->type){
		case OP_UNLINK : case OP_RMDIR : case OP_REAP : return CLASS_FREES;
		case OP_FALLOCATE : return op->flags & FALLOC_FL_PUNCH_HOLE ? CLASS_FREES
									    : CLASS_TAKES;
		case OP_SETATTR : return op->attr_mask & ATTR_SIZE ? CLASS_FREES : CLASS_CHANGES;
		case OP_RENAME : case OP_REMOVEXATTR : case OP_RESIZE : return CLASS_CHANGES;
		default : return CLASS_TAKES;
	}
}

/* One side has room for `have` bytes more; `behind` of them are on their way. */
static int verdict(const struct volume *v, const struct op *op, uint64_t have, uint64_t behind,
	enum msg_meta_full full)
{
	enum class class = class_of(op);
	uint64_t keep = class == CLASS_TAKES ? kept(v) : class == CLASS_CHANGES ? kept(v) / 2 : 0;

	if (full != META_ROOM && class == CLASS_TAKES)
		return -ENOSPC;
	if (behind + keep <= have)
		return 0;
	/* What makes room waits for the next checkpoint where that helps; a reap always, others wait for it. */
	if (full == META_ROOM || op->type == OP_REAP)
		return -ENOBUFS;
	return class == CLASS_FREES && (full == META_FULL_FOR_NOW || behind) ? -ENOBUFS : -ENOSPC;
}

int space_admits(struct volume *v, const struct op *op)
{
	enum msg_meta_full full = space_meta_full(v);
	int r = full ? verdict(v, op, space_meta_bytes(v), 0, full) : 0;

	for (unsigned i = 0; !r && i < core_record(v->core)->nreplicas; i++) {
		const struct msg_space *p = core_limits(v->core, i);

		if (p)
			r = verdict(v, op, p->meta_bytes,
				meta_behind(&v->space.ledger, p->meta_seq), p->meta_full);
	}
	return r;
}
