/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room on the disk below, on either side: how much the data segments take is looked at now and then by a job.
 *
 * Failure modes: none; what cannot be looked at counts as nothing.
 */
#include "volume_impl.h"

#define LOOK_NS NS_PER_S

static void space_run(struct job *j)
{
	segments_measure(j->v->segments);
}

static void space_done(struct job *j)
{
	j->v->space.busy = false;
}

void space_work(struct volume *v)
{
	struct space *s = &v->space;
	uint64_t now = clock_mono_ns();

	if (s->busy || now - s->looked_ns < LOOK_NS)
		return;
	s->looked_ns = now;
	s->busy = true;
	s->job.run = space_run;
	s->job.done = space_done;
	job_submit(v, &s->job);
}

/* Room that data never gets: metadata, new segments, checkpoints. */
static uint64_t beside_reserve(const struct volume *v, uint64_t disk_free)
{
	uint64_t reserve = DATA_SEGMENT_SIZE + 2 * v->cfg->memtable;

	return disk_free > reserve ? disk_free - reserve : 0;
}

uint64_t space_room(const struct volume *v)
{
	uint64_t allocated = segments_disk_bytes(v->segments), live;
	struct tree_info info;

	tree_info(v->tree, &info);
	live = info.used_blocks * BLOCK_SIZE;
	return beside_reserve(v, atomic_load(&v->disk_free)) +
	       (allocated > live ? allocated - live : 0);
}

uint64_t space_peer_room(const struct volume *v, const struct core_peer_view *p)
{
	return beside_reserve(v, p->grant.disk_free);
}
