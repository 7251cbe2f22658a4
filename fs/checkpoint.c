/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints of an active (a standby's are in volume_apply.c). A checkpoint at a committed seq S
 * makes RocksDB's files hold exactly the history up to S, so that the ring before it may be
 * overwritten and a replay is bounded.
 *
 * Steps, each without stopping the clients for a disk:
 *   SYNC     a job syncs the data segments; D is the last seq staged when it began, so that every
 *            payload up to D is durable at its address afterwards
 *   QUIESCE  nothing is staged until the commit index equals the staged seq S (a round trip)
 *   FLUSH    D is noted in the tree, RocksDB switches its memtable (0.15 ms) and flushes it in the
 *            background; staging goes on
 *   done     the position in RocksDB's files says S: the ring up to D may be overwritten; a job gives
 *            back the space of what was dead before D
 *
 * The payloads between D and S are not synced when RocksDB's files say S. They are still in the ring,
 * which is released up to D only, and recovery writes every inline payload after D again (the same
 * bytes to the same addresses, I7). That is why no client waits for the data segments' sync.
 *
 * Failure modes: the peer is silent in QUIESCE: staging would wait for it anyhow; it goes on when the
 * peer answers. A failed sync or flush is final (I9). A crash at any step: RocksDB's files hold the
 * old or the new position, both committed (I5); the ring reaches back to both.
 */
#include "pull.h"

#include <errno.h>
#include <string.h>

#include "log.h"

#define FREED_PAUSE_NS (2 * NS_PER_S)
#define HUNGRY_PAUSE_NS NS_PER_S /* between checkpoints for the sake of a full disk */
#define FLUSH_POLL_NS (5 * NS_PER_MS)
#define LEVEL0_FILES_MAX 12u /* more: put it off, a compaction is behind */

static bool due(struct volume *v)
{
	struct checkpoint *c = &v->checkpoint;
	uint64_t used = ring_size(v->ring) - ring_free(v->ring);

	if (pull_copying(v))
		return false;
	if (space_hungry(v) && tree_freed_blocks(v->tree) &&
		clock_mono_ns() - c->ended_ns > HUNGRY_PAUSE_NS)
		return true;
	if (c->wanted || (punch_idle_due(v, c->ended_ns) && pull_punch_limit(v) == UINT64_MAX))
		return true;
	/* Nothing can be staged: what the last one could not release, because it was staged while that one synced, this
	 * one can, or the ring would stay full for ever. */
	if (ring_free(v->ring) < STAGE_RING_MIN && c->release_seq < core_commit(v->core))
		return true;
	if (!c->entries)
		return false;
	if (space_wants_flush(v))
		return true;
	if (used > ring_size(v->ring) / 2 && used > c->ring_used_after + ring_size(v->ring) / 8)
		return true;
	if (store_memtable_bytes(v->store) > v->cfg->memtable)
		return true;
	if (tree_freed_blocks(v->tree) > c->freed_after + punch_due(v) &&
		clock_mono_ns() - c->ended_ns > FREED_PAUSE_NS)
		return true;
	return c->entries > v->cfg->checkpoint_entries &&
	       store_level0_files(v->store) < LEVEL0_FILES_MAX;
}

static void sync_run(struct job *j)
{
	j->v->checkpoint.code = segments_sync(j->v->segments);
	space_make_way(j->v);
}

static void sync_done(struct job *j)
{
	struct volume *v = j->v;

	if (v->checkpoint.code)
		volume_die(
			v, "syncing the data segments failed: %s", strerror(-v->checkpoint.code));
	v->checkpoint.state = CHECKPOINT_QUIESCE;
}

static void flush_begin(struct volume *v)
{
	struct checkpoint *c = &v->checkpoint;
	int r;

	tree_set_data_seq(v->tree, c->data_seq);
	tree_write_freed(v->tree);
	r = tree_flush_txn(v->tree);
	if (!r)
		r = store_flush_begin(v->store);
	if (r)
		volume_die(v, "RocksDB refuses to flush: %s", strerror(-r));
	c->seq = core_commit(v->core);
	c->entries = 0;
	c->state = CHECKPOINT_FLUSH;
}

/* What is on disk otherwise, and wanted by nobody, may be overwritten in the ring. */
void checkpoint_release(struct volume *v)
{
	ring_release(v->ring, MIN(v->checkpoint.release_seq, fetch_floor(v) - 1));
}

void flushed_note(struct volume *v, struct pos pos)
{
	pthread_mutex_lock(&v->flushed_mutex);
	v->flushed = pos;
	pthread_mutex_unlock(&v->flushed_mutex);
}

struct pos flushed_pos(struct volume *v)
{
	struct pos pos;

	pthread_mutex_lock(&v->flushed_mutex);
	pos = v->flushed;
	pthread_mutex_unlock(&v->flushed_mutex);
	return pos;
}

static void flush_end(struct volume *v)
{
	struct checkpoint *c = &v->checkpoint;
	struct pos flushed;
	uint64_t data_seq;

	if (tree_persisted(v->tree, &flushed, &data_seq))
		volume_die(v, "RocksDB's files cannot be read back after a flush");
	ensure(flushed.seq == c->seq);
	flushed_note(v, flushed);
	c->release_seq = data_seq;
	checkpoint_release(v);
	c->ring_used_after = ring_size(v->ring) - ring_free(v->ring);
	c->state = CHECKPOINT_IDLE;
	c->wanted = false;
	pull_flushed(v, flushed);
	c->ended_ns = clock_mono_ns();
	atomic_fetch_add(&v->count_checkpoints, 1);
	c->freed_after = tree_freed_blocks(v->tree);
	punch_want(v, data_seq, v->epoch.num);
	volume_status_event(v);
	log_debug("checkpoint at seq %llu", (unsigned long long)flushed.seq);
}

static void poll_expired(struct loop_timer *t, uint64_t now_ns)
{
	/* the loop's turn runs checkpoint_work() */
}

void checkpoint_work(struct volume *v)
{
	struct checkpoint *c = &v->checkpoint;
	struct err e = {0};

	if (!v->serving)
		return;
	if (store_failed(v->store, &e) || segments_failed(v->segments, &e))
		volume_die(v, "%s", e.msg);
	switch (c->state) {
	case CHECKPOINT_IDLE:
		if (!due(v))
			return;
		c->data_seq =
			v->batch_open ? batch_writer_end(&v->writer).seq : core_end(v->core).seq;
		c->state = CHECKPOINT_SYNC;
		log_debug("checkpoint begins");
		c->job.run = sync_run;
		c->job.done = sync_done;
		job_submit(v, &c->job);
		return;
	case CHECKPOINT_SYNC:
		return;
	case CHECKPOINT_QUIESCE:
		if (!volume_drained(v) || core_commit(v->core) != core_end(v->core).seq)
			return;
		flush_begin(v);
		/* fall through */
	case CHECKPOINT_FLUSH:
		if (store_flush_done(v->store)) {
			flush_end(v);
			return;
		}
		c->poll.expired = poll_expired;
		loop_timer_set(v->loop, &c->poll, clock_mono_ns() + FLUSH_POLL_NS);
		return;
	}
}
