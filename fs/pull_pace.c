/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pace of all sources of a volume: one for all of them, or each would take what another one does
 * for what it is like without. pull_yield.c decides; here are the counters that it goes by, and how
 * making a checkpoint goes at it: a job, which reads all metadata twice, asks after each step.
 *
 * Failure modes: the job is told to end (pull_unwanted()) when nobody wants its checkpoint any more.
 */
#include <errno.h>
#include <time.h>

#include "pull_impl.h"

#define COPY_LOOK_NS (10 * NS_PER_MS)
#define NAP_NS (5 * NS_PER_MS) /* the job looks again */

/* Of the first one that a user waits for. */
static uint64_t since_first(const struct op *op)
{
	while (op && op->type == OP_REAP)
		op = op->next;
	return op ? op->queued_ns : UINT64_MAX;
}

static uint64_t since_oldest(const struct volume *v)
{
	return MIN(MIN(since_first(v->staged), since_first(v->ready)), jobs_warm_since_ns(v));
}

static void look(const struct volume *v, uint64_t now, struct pull_load load[PULL_USES])
{
	static const enum pull_use uses[LL_USES] = {
		[LL_CHANGES] = PULL_CHANGES, [LL_READS] = PULL_READS, [LL_LOOKS] = PULL_LOOKS};
	uint64_t since = since_oldest(v);
	struct ll_load l[LL_USES] = {0};

	if (v->ll) {
		ll_watch(v->ll, true);
		ll_load(v->ll, l);
	}
	for (unsigned u = 0; u < LL_USES; u++)
		load[uses[u]] = (struct pull_load){.ops = l[u].ops,
			.ns = l[u].ns,
			.age_ns = l[u].since_ns && l[u].since_ns < now ? now - l[u].since_ns : 0};
	load[PULL_CHANGES].ops = v->answered_ops;
	load[PULL_CHANGES].ns = v->answered_ns;
	if (since < now)
		load[PULL_CHANGES].age_ns = MAX(load[PULL_CHANGES].age_ns, now - since);
}

uint64_t pull_pace_until(struct volume *v)
{
	struct pull_load load[PULL_USES];
	struct pull *p = v->pull;
	uint64_t now = clock_mono_ns(), queued = 0, until;

	for (unsigned i = 0; i < REPLICAS_MAX; i++)
		if (p->source[i].up) /* or is being read, and will be */
			queued += net_queued(v->net, NET_BULK + i) + p->source[i].nserves;
	look(v, now, load);
	until = pull_yield_until(&p->yield, now, load, queued);
	atomic_store(&p->copy_until_ns, until);
	atomic_store(&p->copy_rate, p->yield.rate);
	return until;
}

/* While a checkpoint is being made nobody else asks. */
static void copy_look(struct loop_timer *t, uint64_t now_ns)
{
	struct volume *v = container_of(t, struct pull, copy_timer)->v;

	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		const struct source *s = &v->pull->source[i];

		if (!s->copy_busy || s->remove_only)
			continue;
		pull_pace_until(v);
		loop_timer_set(v->loop, t, now_ns + COPY_LOOK_NS);
		return;
	}
}

void pull_pace_copy(struct volume *v)
{
	if (!v->pull->copy_timer.slot)
		copy_look(&v->pull->copy_timer, clock_mono_ns());
}

/* The users are looked at only while something is pulled. */
void pull_pace_work(struct volume *v)
{
	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		enum source_state state = v->pull->source[i].state;

		if (state == SOURCE_COPYING || state == SOURCE_OFFERED)
			return;
	}
	if (v->ll)
		ll_watch(v->ll, false);
}

void pull_pace_init(struct volume *v)
{
	v->pull->v = v;
	v->pull->copy_timer.expired = copy_look;
}

/* --- a job thread --- */

int pull_copy_step(void *ctx, uint64_t bytes)
{
	struct source *s = ctx;
	struct pull *p = s->v->pull;
	uint64_t rate = atomic_load(&p->copy_rate), now = clock_mono_ns();
	uint64_t until = now + (rate && !s->copy_hurry ? bytes * NS_PER_S / rate : 0);

	for (;;) {
		struct timespec nap = {.tv_nsec = NAP_NS};

		if (atomic_load(&s->copy_unwanted))
			return -ECANCELED;
		if (!s->copy_hurry)
			until = MAX(until, atomic_load(&p->copy_until_ns));
		if (now >= until)
			return 0;
		nap.tv_nsec = (long)MIN(until - now, (uint64_t)NAP_NS);
		nanosleep(&nap, NULL);
		now = clock_mono_ns();
	}
}
