/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a source answers while somebody uses the volume: as fast as it can when nobody does, else
 * so that an operation takes at most about a third longer than without. What it takes without is
 * measured again and again: in slots of WORK answers are given, and in a shorter one behind each
 * none; the latencies of both say whether the rate goes up or down. A slot is as long as it takes to
 * see a few operations of each use, within limits. Pure; time and counters come in.
 *
 * An operation that waits counts with its age: a volume on which nothing is answered any more is one
 * that is disturbed, not one that nobody uses. The quiet slot begins when what was asked before has
 * been answered and what was given is sent, else it would measure the work.
 *
 * Failure modes: a load that changes between two slots misleads one step, the next ones put it right.
 * One that is not answered without pulling either (it waits for a peer) says nothing: the rate stays.
 * The rate never falls below RATE_MIN, and pauses take a quarter of the time at most then, so that a replica
 * always comes back.
 */
#include "pull_yield.h"

#include <stdbool.h>

#include "check.h"

#define WORK_NS (400 * NS_PER_MS)
#define WORK_QUIETS                                                                                \
	3u /* and so many times the quiet slot before, or pulling would be mostly quiet */
#define FIRST_NS (50 * NS_PER_MS) /* until it looks whether anybody is there */
#define QUIET_NS (80 * NS_PER_MS)
#define SETTLE_NS (30 * NS_PER_MS) /* what was on its way is gone then, if nobody waits */
#define SLOT_NS_MAX NS_PER_S
#define IDLE_NS (3 * NS_PER_S) /* nobody for so long: there is nobody */
#define POLL_NS (10 * NS_PER_MS)
#define BURST_NS (20 * NS_PER_MS) /* small answers late by as much are made up for */
#define RATE_MIN (4ull << 20) /* bytes a second */
#define RATE_FIRST (32ull << 20)
#define RATE_MAX (8ull << 30) /* above this it is no limit */
#define OPS_MIN 4u /* fewer operations in a slot say little */
#define STALL 4u /* one that waits so many times as long as usual says enough alone */
#define SLOWER_PERCENT 135u
#define MUCH_SLOWER_PERCENT 200u
#define FASTER_PERCENT 115u
#define SLACK_NS (20 * NS_PER_US) /* what the kernel takes for each, which nobody measures here */

static uint64_t ops_of(const struct pull_use_seen *s, const struct pull_load *l)
{
	return l->ops > s->ops ? l->ops - s->ops : 0; /* a new mount begins to count anew */
}

/* The average latency since the slot began; who waits longer than that waits at least so long. 0: nobody. */
static uint64_t average(const struct pull_use_seen *s, const struct pull_load *l)
{
	uint64_t ops = ops_of(s, l), ns = ops ? l->ns - s->ns : 0,
		 avg = ops ? MAX(ns / ops, 1ull) : 0;

	if (!ops && l->age_ns <= s->without)
		return 0;
	return l->age_ns > avg ? (ns + l->age_ns) / (ops + 1) : avg;
}

static bool exceeds(const struct pull_use_seen *s, uint64_t with, unsigned percent)
{
	return with && s->without && with * 100 > (s->without + SLACK_NS) * percent;
}

static bool somebody(const struct pull_yield *y, const struct pull_load *load)
{
	for (unsigned u = 0; u < PULL_USES; u++)
		if (ops_of(&y->seen[u], &load[u]) || load[u].age_ns)
			return true;
	return false;
}

/* Has every use that is there shown enough? Also those that should be, because the slot of work saw them. */
static bool enough(const struct pull_yield *y, const struct pull_load *load)
{
	bool any = false;

	for (unsigned u = 0; u < PULL_USES; u++) {
		const struct pull_use_seen *s = &y->seen[u];
		uint64_t ops = ops_of(s, &load[u]);
		bool due = y->state == PULL_QUIET && s->with;

		if (!ops && !load[u].age_ns && !due)
			continue;
		any = true;
		if (ops < OPS_MIN && !(s->without && load[u].age_ns > STALL * s->without))
			return false;
	}
	return any;
}

static bool disturbed(const struct pull_yield *y, const struct pull_load *load)
{
	for (unsigned u = 0; u < PULL_USES; u++)
		if (exceeds(&y->seen[u], average(&y->seen[u], &load[u]), SLOWER_PERCENT))
			return true;
	return false;
}

static void slot(
	struct pull_yield *y, enum pull_slot state, uint64_t now, const struct pull_load *load)
{
	y->state = state;
	y->began_ns = now;
	for (unsigned u = 0; u < PULL_USES; u++) {
		y->seen[u].ops = load[u].ops;
		y->seen[u].ns = load[u].ns;
	}
}

static void adjust(struct pull_yield *y)
{
	bool known = false, keep = false, slower = false, much = false;

	for (unsigned u = 0; u < PULL_USES; u++) {
		const struct pull_use_seen *s = &y->seen[u];

		known = known || (s->with && s->without);
		keep = keep || exceeds(s, s->with, FASTER_PERCENT);
		slower = slower || exceeds(s, s->with, SLOWER_PERCENT);
		much = much || exceeds(s, s->with, MUCH_SLOWER_PERCENT);
	}
	if (!y->rate)
		y->rate = RATE_FIRST;
	else if (slower)
		y->rate = MAX(y->rate - y->rate / (much ? 2 : 4), RATE_MIN);
	else if (known && !keep)
		y->rate = MIN(y->rate + y->rate / 4, RATE_MAX);
}

/* --- the slots --- */

static bool work_over(const struct pull_yield *y, uint64_t took, const struct pull_load *load)
{
	uint64_t least = MAX(WORK_NS, WORK_QUIETS * y->quiet_ns);

	if (!y->rate) /* a limit is due as soon as anybody is there */
		return took >= (somebody(y, load) ? FIRST_NS : WORK_NS);
	if (took < WORK_NS)
		return false;
	if (!enough(y, load))
		return took >= MAX(least, SLOT_NS_MAX);
	return took >= least || (y->rate > RATE_MIN && disturbed(y, load));
}

/* A few short operations that waited for a processor are not yet a volume that is disturbed. */
static void work_seen(struct pull_use_seen *s, uint64_t with)
{
	if (s->without)
		with = MIN(with, STALL * s->without);
	s->with = s->with && with ? (s->with + with) / 2 : with;
}

static void work_end(struct pull_yield *y, uint64_t now, const struct pull_load *load)
{
	if (somebody(y, load)) {
		for (unsigned u = 0; u < PULL_USES; u++)
			work_seen(&y->seen[u], average(&y->seen[u], &load[u]));
		y->paused_ns = now;
		slot(y, PULL_SETTLE, now, load);
		return;
	}
	if (now - y->seen_ns >= IDLE_NS) {
		y->rate = y->quiet_ns = 0;
		for (unsigned u = 0; u < PULL_USES; u++)
			y->seen[u].without = 0;
	}
	slot(y, PULL_WORK, now, load);
}

static bool settled(uint64_t took, const struct pull_load *load, uint64_t queued)
{
	if (took < SETTLE_NS || took >= SLOT_NS_MAX)
		return took >= SETTLE_NS;
	for (unsigned u = 0; u < PULL_USES; u++)
		if (load[u].age_ns > took)
			return false;
	return !queued;
}

static void quiet_end(struct pull_yield *y, uint64_t now, const struct pull_load *load)
{
	for (unsigned u = 0; u < PULL_USES; u++) {
		struct pull_use_seen *s = &y->seen[u];
		uint64_t without = average(s, &load[u]);

		if (!ops_of(s, &load[u])) {
			if (load[u].age_ns) /* not answered now either */
				s->with = 0;
			continue;
		}
		if (s->without) /* one that waited for something else spoils little */
			without = (3 * s->without + MIN(without, 2 * s->without)) / 4;
		s->without = without;
	}
	adjust(y);
	y->quiet_ns = now - y->paused_ns;
	slot(y, PULL_WORK, now, load);
}

static void turn(struct pull_yield *y, uint64_t now, const struct pull_load *load, uint64_t queued)
{
	uint64_t took = now - y->began_ns;

	switch (y->state) {
	case PULL_WORK:
		if (work_over(y, took, load))
			work_end(y, now, load);
		break;
	case PULL_SETTLE:
		if (settled(took, load, queued))
			slot(y, PULL_QUIET, now, load);
		break;
	case PULL_QUIET:
		if (took >= SLOT_NS_MAX || (took >= QUIET_NS && enough(y, load)))
			quiet_end(y, now, load);
		break;
	}
}

uint64_t pull_yield_until(
	struct pull_yield *y, uint64_t now, const struct pull_load load[PULL_USES], uint64_t queued)
{
	if (!y->asked_ns || now > y->asked_ns + NS_PER_S) /* at first, and after a long pause */
		slot(y, PULL_WORK, now, load);
	y->asked_ns = now;
	if (somebody(y, load))
		y->seen_ns = now;
	turn(y, now, load, queued);
	if (y->state != PULL_WORK)
		return now + POLL_NS;
	return y->rate && y->next_ns > now ? y->next_ns : 0;
}

void pull_yield_took(struct pull_yield *y, uint64_t now, uint64_t bytes)
{
	if (y->rate)
		y->next_ns = MAX(y->next_ns, now - MIN(now, (uint64_t)BURST_NS)) +
			     bytes * NS_PER_S / y->rate;
}
