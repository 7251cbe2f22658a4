/* SPDX-License-Identifier: Apache-2.0 */
/* The pace of a source against a volume whose latency depends on how much is pulled. */
#include <criterion/criterion.h>

#include "pull_yield.h"

#define ANSWER (1ull << 20) /* bytes */
#define STEP_NS (100 * NS_PER_US)

/* Ten seconds: an operation each `op_every` takes `base`, and `per_mib` more for each MiB/s that was
 * pulled in the last 50 ms. Returns bytes pulled in the last half; *ret_slow the latency with pulling. */
static uint64_t run(struct pull_yield *y, uint64_t op_every, uint64_t base, uint64_t per_mib,
	uint64_t *ret_slow)
{
	uint64_t now = NS_PER_S, ops = 0, ns = 0, moved = 0, last = 0, busy_until = 0;
	double recent = 0; /* MiB/s */

	*ret_slow = 0;
	for (uint64_t i = 0; i < 100000; i++, now += STEP_NS) {
		recent *= 1.0 - (double)STEP_NS / 50e6;
		if (now >= busy_until && !pull_yield_until(y, now, ops, ns)) {
			pull_yield_took(y, now, ANSWER);
			busy_until = now + NS_PER_MS; /* 1 GiB/s at most */
			recent += 20;
			if (i > 50000)
				moved += ANSWER;
		}
		if (op_every && now - last >= op_every) {
			uint64_t took = base + (uint64_t)(recent * (double)per_mib);

			last = now;
			ops++;
			ns += took;
			if (i > 50000 && took > *ret_slow)
				*ret_slow = took;
		}
	}
	return moved;
}

Test(pull_yield, alone_it_goes_as_fast_as_it_can)
{
	struct pull_yield y = {0};
	uint64_t slow, moved = run(&y, 0, 0, 0, &slow);

	cr_assert_gt(moved, 4500ull << 20, "%llu MiB", (unsigned long long)(moved >> 20));
}

Test(pull_yield, a_load_that_it_does_not_disturb_does_not_hold_it_back_for_ever)
{
	struct pull_yield y = {0};
	uint64_t slow, moved = run(&y, NS_PER_MS, NS_PER_MS, 0, &slow);

	cr_assert_gt(moved, 1000ull << 20, "%llu MiB", (unsigned long long)(moved >> 20));
}

Test(pull_yield, a_load_that_it_disturbs_is_slowed_down_by_less_than_half)
{
	struct pull_yield y = {0};
	/* 100 MiB/s double the latency */
	uint64_t slow, moved = run(&y, NS_PER_MS, NS_PER_MS, 10000, &slow);

	cr_assert_lt(slow, 2 * NS_PER_MS);
	cr_assert_gt(moved, 40ull << 20, "%llu MiB", (unsigned long long)(moved >> 20));
	cr_assert_lt(moved, 350ull << 20, "%llu MiB", (unsigned long long)(moved >> 20));
}

Test(pull_yield, it_never_stops)
{
	struct pull_yield y = {0};
	uint64_t slow, moved = run(&y, NS_PER_MS, NS_PER_MS, 10000000, &slow);

	cr_assert_gt(moved, 10ull << 20, "%llu MiB", (unsigned long long)(moved >> 20));
}
