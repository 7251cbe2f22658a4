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
