/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast a source answers while somebody uses the volume: as fast as it can when nobody does, else
 * so that an operation takes at most about a third longer than without. What it takes without is
 * measured again and again: in slots of WORK_NS answers are given, and in a shorter one behind each
 * none; the latencies of both say whether the rate goes up or down. Pure; time and counters come in.
 *
 * Failure modes: a load that changes between two slots misleads one step, the next ones put it right.
 * The rate never falls below RATE_MIN, so that a replica always comes back.
 */
#include "pull_yield.h"

#include "check.h"

#define WORK_NS (400 * NS_PER_MS)
#define QUIET_NS (80 * NS_PER_MS)
#define SETTLE_NS (30 * NS_PER_MS) /* what was on its way is gone then */
#define RATE_MIN (4ull << 20) /* bytes a second */
#define RATE_FIRST (32ull << 20)
#define RATE_MAX (8ull << 30) /* above this it is no limit */
#define OPS_MIN 4u /* fewer operations in a slot say nothing */
#define SLOWER_PERCENT 135u
#define FASTER_PERCENT 115u

/* The average latency since the slot began; 0: too few operations. */
static uint64_t average(const struct pull_yield *y, uint64_t ops, uint64_t ns)
{
	return ops - y->ops < OPS_MIN ? 0 : (ns - y->ns) / (ops - y->ops);
}

static void slot(
	struct pull_yield *y, enum pull_slot state, uint64_t ends_ns, uint64_t ops, uint64_t ns)
{
	y->state = state;
	y->ends_ns = ends_ns;
	y->ops = ops;
	y->ns = ns;
}

static void adjust(struct pull_yield *y)
{
	if (!y->with || !y->without)
		return;
	if (!y->rate)
		y->rate = RATE_FIRST;
	else if (y->with * 100 > y->without * SLOWER_PERCENT)
		y->rate = MAX(y->rate - y->rate / 4, RATE_MIN);
	else if (y->with * 100 < y->without * FASTER_PERCENT)
		y->rate = MIN(y->rate + y->rate / 4, RATE_MAX);
}

static void turn(struct pull_yield *y, uint64_t now, uint64_t ops, uint64_t ns)
{
	switch (y->state) {
	case PULL_WORK:
		y->with = average(y, ops, ns);
		if (ops == y->ops) { /* nobody is there */
			y->rate = y->without = 0;
			slot(y, PULL_WORK, now + WORK_NS, ops, ns);
		} else {
			slot(y, PULL_SETTLE, now + SETTLE_NS, ops, ns);
		}
		break;
	case PULL_SETTLE:
		slot(y, PULL_QUIET, now + QUIET_NS, ops, ns);
		break;
	case PULL_QUIET: {
		uint64_t without = average(y, ops, ns);

		if (without)
			y->without = y->without ? (3 * y->without + without) / 4 : without;
		adjust(y);
		slot(y, PULL_WORK, now + WORK_NS, ops, ns);
		break;
	}
	}
}

uint64_t pull_yield_until(struct pull_yield *y, uint64_t now, uint64_t ops, uint64_t ns)
{
	if (!y->ends_ns || now > y->ends_ns + NS_PER_S) /* at first, and after a long pause */
		slot(y, PULL_WORK, now + WORK_NS / 8, ops, ns);
	else if (now >= y->ends_ns)
		turn(y, now, ops, ns);
	if (y->state != PULL_WORK)
		return y->ends_ns;
	return y->rate && y->next_ns > now ? y->next_ns : 0;
}

void pull_yield_took(struct pull_yield *y, uint64_t now, uint64_t bytes)
{
	if (y->rate)
		y->next_ns = MAX(y->next_ns, now) + bytes * NS_PER_S / y->rate;
}
