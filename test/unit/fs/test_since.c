/* SPDX-License-Identifier: Apache-2.0 */
/* Since when something is as it is. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include "since.h"

Test(since, what_stays_keeps_its_time_and_what_changes_begins_anew)
{
	struct since s = {0};

	cr_assert(eq(u64, since_note(&s, "", 10), 10));
	cr_assert(eq(u64, since_note(&s, "", 20), 10));
	cr_assert(eq(u64, since_note(&s, "no commit for 10 s", 30), 30));
	cr_assert(eq(u64, since_note(&s, "no commit for 11 s", 40), 30), "only a figure changed");
	cr_assert(eq(u64, since_note(&s, "fork: both sides", 50), 50));
	cr_assert(eq(u64, since_note(&s, "", 60), 60));
}
