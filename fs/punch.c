/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When dead blocks are given back to the filesystem below, on either side: after a checkpoint, by one job at
 * a time, which takes breaks as long as its work while the volume is written to, so that whoever writes to
 * the same file gets its lock and the disk. They shrink as the dead blocks grow.
 * Neither the commit thread nor a standby's apply thread waits for it: thousands of scattered holes take
 * seconds on a busy disk, and a standby that does not apply withholds its acknowledgements.
 *
 * punch_want() is called by the thread that made the checkpoint. The job runs on a job thread and only reads
 * the metadata. What it has punched is taken off the lists by the thread that owns the tree then: the commit
 * thread when it does, else the apply thread before its next checkpoint (punch_settle()).
 *
 * Failure modes: a crash in between: the lists are punched again, which changes nothing (I7). A failed punch
 * is final (I9). The lists grow faster than the job works them off: with ever shorter breaks, and then without,
 * it catches up.
 *
 * How much may be dead and not given back is a part of what is live, never a number of blocks: a small
 * volume has as much right to its room as a large one, and on a large one more of them lie side by side.
 */
#include "pull.h"

#include <string.h>

#define BREAK_MAX_NS (2 * NS_PER_MS)
#define DUE_PART 16u /* of the live blocks: a checkpoint is due, so that they can be punched */
#define DUE_MIN 1024u /* blocks */
#define DUE_MAX 16384u
#define CALM_PART 16u /* of the live blocks: up to here whole breaks */
#define HURRY_PART 4u /* of the live blocks: from here on none */
#define HURRY_MIN 4096u
#define QUIET_NS (50 * NS_PER_MS) /* without a batch: nobody is in the way */

static uint64_t live_blocks(const struct volume *v)
{
	struct tree_info info;

	tree_info(v->tree, &info);
	return info.used_blocks;
}

uint64_t punch_due(const struct volume *v)
{
	return MIN(MAX(live_blocks(v) / DUE_PART, DUE_MIN), DUE_MAX);
}

bool punch_idle_due(const struct volume *v, uint64_t since_ns)
{
	return tree_freed_blocks(v->tree) > punch_due(v) / 4 &&
	       clock_mono_ns() - since_ns > PUNCH_IDLE_NS;
}

/* The break after a hole that took so long, in ns. */
static uint64_t break_after(const struct volume *v, uint64_t took, uint64_t now)
{
	uint64_t live = live_blocks(v), dead = tree_freed_blocks(v->tree);
	uint64_t hurry = MAX(live / HURRY_PART, HURRY_MIN), calm = live / CALM_PART;

	if (dead >= hurry || now - atomic_load(&v->batch_ns) > QUIET_NS)
		return 0;
	took = MIN(took, BREAK_MAX_NS);
	return dead <= calm ? took : took * (hurry - dead) / (hurry - calm);
}

void punch_want(struct volume *v, uint64_t seq, uint32_t trim_before)
{
	struct punch *p = &v->punch;

	atomic_store(&p->trim_before, trim_before);
	atomic_store(&p->want, seq);
	loop_wake(v->loop);
}

static int punch_one(void *ctx, struct addr a, uint32_t blocks)
{
	struct volume *v = ctx;
	uint64_t began = clock_mono_ns(), now, pause;
	int r = segments_punch(v->segments, a, blocks);

	now = clock_mono_ns();
	pause = break_after(v, now - began, now);
	if (!r && pause)
		nanosleep(&(struct timespec){.tv_nsec = (long)pause}, NULL);
	return r;
}

static void punch_run(struct job *j)
{
	struct punch *p = container_of(j, struct punch, job);
	struct volume *v = j->v;

	/* What was remembered as dead up to a seq whose payloads are synced and flushed as such: no
	 * recovery writes it again, no mapping leads to it. */
	p->code = tree_freed(v->tree, p->seq, punch_one, v);
	if (!p->code)
		p->code = pull_trim(v, atomic_load(&p->trim_before));
}

static void punch_done(struct job *j)
{
	struct punch *p = container_of(j, struct punch, job);
	struct volume *v = j->v;

	p->busy = false;
	if (p->code)
		volume_die(v, "giving back space failed: %s", strerror(-p->code));
	atomic_store(&p->done, p->seq);
	if (!v->taken_over)
		return;
	if (punch_settle(v))
		volume_die(v, "the list of what was given back cannot be shortened");
	v->checkpoint.freed_after = tree_freed_blocks(v->tree);
}

int punch_settle(struct volume *v)
{
	uint64_t seq = atomic_exchange(&v->punch.done, 0);

	return seq ? tree_freed_done(v->tree, seq) : 0;
}

void punch_work(struct volume *v)
{
	struct punch *p = &v->punch;
	uint64_t seq, limit;

	if (p->busy || !atomic_load(&p->want))
		return;
	seq = atomic_exchange(&p->want, 0);
	limit = pull_punch_limit(v);
	seq = MIN(seq, limit);
	if (!seq)
		return;
	p->busy = true;
	p->seq = seq;
	p->job.run = punch_run;
	p->job.done = punch_done;
	job_submit(v, &p->job);
}
