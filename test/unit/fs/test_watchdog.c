/* SPDX-License-Identifier: Apache-2.0 */
/* When the watchdog speaks: of a commit that is late, of a loop that does not turn. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "watchdog.h"

Test(watchdog, an_operation_is_late_after_its_time)
{
	cr_assert(not(watchdog_is_late(0, 10 * WATCHDOG_NS)));
	cr_assert(not(watchdog_is_late(5, 5 + WATCHDOG_NS - 1)));
	cr_assert(watchdog_is_late(5, 5 + WATCHDOG_NS));
	cr_assert(not(watchdog_is_late(WATCHDOG_NS, 5)));
}

Test(watchdog, a_loop_that_does_not_turn_is_told_of_once)
{
	struct watchdog_count c = {0};
	unsigned words = 0;

	cr_assert(eq(int, (int)watchdog_count(&c, 7), WATCHDOG_QUIET));
	for (unsigned i = 0; i < 100; i++) {
		enum watchdog_word w = watchdog_count(&c, 7);

		cr_assert(ne(int, (int)w, WATCHDOG_GOES_ON));
		words += w == WATCHDOG_STUCK;
		cr_assert(i >= 9 || w == WATCHDOG_QUIET, "too early: %u", i);
	}
	cr_assert(eq(uint, words, 1));
	cr_assert(eq(int, (int)watchdog_count(&c, 8), WATCHDOG_GOES_ON));
	cr_assert(eq(int, (int)watchdog_count(&c, 9), WATCHDOG_QUIET));
}

Test(watchdog, a_loop_that_turns_is_left_alone)
{
	struct watchdog_count c = {0};

	for (uint64_t turns = 1; turns < 1000; turns++)
		cr_assert(eq(int, (int)watchdog_count(&c, turns / 9), WATCHDOG_QUIET));
}
