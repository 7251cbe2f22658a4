/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of a pull that moves, one that stands still, and one of which nobody knows yet. */
#include <criterion/criterion.h>
#include <string.h>

#include "clock.h"
#include "pull_progress.h"

#define MIB (1ull << 20)

Test(pull_progress, a_rate_is_what_it_was_as_long_as_the_next_may_not_be_due)
{
	cr_assert_eq(pull_rate_now(1000, NS_PER_S, NS_PER_S / 2, NS_PER_S), 1000);
	cr_assert_eq(pull_rate_now(1000, NS_PER_S, NS_PER_S / 2, 3 * NS_PER_S), 1000);
	cr_assert_eq(pull_rate_now(1000, NS_PER_S, 10 * NS_PER_S, 20 * NS_PER_S), 1000);
	cr_assert_eq(pull_rate_now(1000, 2 * NS_PER_S, NS_PER_S, NS_PER_S), 1000);
}

Test(pull_progress, it_falls_while_nothing_comes_and_is_gone_in_the_end)
{
	uint64_t before = MIB;

	for (uint64_t s = 4; s <= 60; s++) {
		uint64_t rate = pull_rate_now(MIB, NS_PER_S, NS_PER_S / 2, s * NS_PER_S);

		cr_assert_lt(rate, before);
		cr_assert_gt(rate, 0);
		before = rate;
	}
	cr_assert_eq(pull_rate_now(1000, NS_PER_S, NS_PER_S / 2, 62 * NS_PER_S), 0);
}

Test(pull_progress, the_time_left_is_unknown_without_a_rate_and_never_nothing_before_the_end)
{
	cr_assert_eq(pull_eta_s(0, 100 * MIB, 0), -1);
	cr_assert_eq(pull_eta_s(0, 0, MIB), -1);
	cr_assert_eq(pull_eta_s(50 * MIB, 100 * MIB, MIB), 50);
	cr_assert_eq(pull_eta_s(100 * MIB - 1, 100 * MIB, MIB), 1);
	cr_assert_eq(pull_eta_s(100 * MIB, 100 * MIB, MIB), 0);
}

Test(pull_progress, the_text_says_so)
{
	char buf[128];

	pull_progress_text(30 * MIB, 120 * MIB, 2 * MIB, buf, sizeof(buf));
	cr_assert_str_eq(buf, "25 % of 120.0 MiB, 2.0 MiB/s, 45 s left");
	pull_progress_text(30 * MIB, 120 * MIB, 0, buf, sizeof(buf));
	cr_assert_str_eq(buf, "25 % of 120.0 MiB, time left unknown");
	pull_progress_text(0, 20480 * MIB, 16 * 1024, buf, sizeof(buf));
	cr_assert_str_eq(buf, "0 % of 20.0 GiB, 16.0 KiB/s, 1310720 s left");
}
