/* SPDX-License-Identifier: Apache-2.0 */
/* The pace of a source against a volume whose operations take the longer the more is pulled. */
#include <criterion/criterion.h>

#include "check.h"
#include "pull_yield.h"

#define ANSWER (1ull << 20) /* bytes */
#define STEP_NS (100 * NS_PER_US)
#define RUN_NS (40 * NS_PER_S)

/* One user: an operation each `every_ns`, or behind the one before; none begins while one is on its way. It takes
 * base_ns when nothing is pulled, and twice that at double_mib MiB/s. */
struct user {
	enum pull_use use;
	uint64_t every_ns, base_ns; /* every_ns 0: nobody is there */
	double double_mib;
	/* the run's */
	uint64_t began_ns;
	double left_ns;
	uint64_t ops, ns; /* of the second half */
	uint64_t worst_ns; /* ever */
};

#define USER(u, every, base, mib)                                                                  \
	(struct user)                                                                              \
	{                                                                                          \
		.use = u, .every_ns = every, .base_ns = base, .double_mib = mib                    \
	}

struct result {
	uint64_t mib; /* pulled in the second half */
	uint64_t rate; /* the limit at the end */
};

static void use(struct user *u, struct pull_load *l, uint64_t t, double recent)
{
	if (!u->every_ns)
		return;
	if (u->left_ns > 0) {
		u->left_ns -= (double)STEP_NS / (1.0 + recent / u->double_mib);
		if (u->left_ns <= 0) {
			uint64_t took = t - u->began_ns;

			l->ops++;
			l->ns += took;
			u->ops += t > RUN_NS / 2;
			u->ns += t > RUN_NS / 2 ? took : 0;
			u->worst_ns = MAX(u->worst_ns, took);
		}
	}
	if (u->left_ns <= 0 && t - u->began_ns >= u->every_ns) {
		u->left_ns = (double)u->base_ns;
		u->began_ns = t;
	}
	l->age_ns = u->left_ns > 0 ? t - u->began_ns : 0;
}

/* The disk, or the link, forgets within 20 ms what was pulled. 1 GiB/s at most. */
static struct result run(struct user *users, unsigned n)
{
	struct pull_load load[PULL_USES] = {0};
	struct pull_yield y = {0};
	uint64_t busy_until = 0;
	struct result r = {0};
	double recent = 0; /* MiB/s */

	for (uint64_t t = NS_PER_S; t < NS_PER_S + RUN_NS; t += STEP_NS) {
		recent *= 1.0 - (double)STEP_NS / 20e6;
		for (unsigned i = 0; i < n; i++)
			use(&users[i], &load[users[i].use], t, recent);
		if (t < busy_until || pull_yield_until(&y, t, load, 0))
			continue;
		pull_yield_took(&y, t, ANSWER);
		busy_until = t + NS_PER_MS;
		recent += 50;
		r.mib += t > NS_PER_S + RUN_NS / 2;
	}
	r.rate = y.rate;
	return r;
}

static void assert_slower_by_less_than_half(const struct user *u)
{
	cr_assert_gt(u->ops, 0);
	cr_assert_lt(u->ns / u->ops, u->base_ns * 3 / 2, "%llu us, %llu us without",
		(unsigned long long)(u->ns / u->ops / NS_PER_US),
		(unsigned long long)(u->base_ns / NS_PER_US));
}

/* Nothing of this would need a limit if the users were not disturbed without one. */
static void assert_held_back(struct user u, uint64_t mib_min)
{
	struct result r = run(&u, 1);

	assert_slower_by_less_than_half(&u);
	cr_assert_gt(r.rate, 0);
	cr_assert_gt(r.mib, mib_min, "%llu MiB", (unsigned long long)r.mib);
	cr_assert_lt(r.mib, (uint64_t)u.double_mib * 10, "%llu MiB", (unsigned long long)r.mib);
}

Test(pull_yield, alone_it_goes_as_fast_as_it_can)
{
	struct user nobody = {0};
	struct result r = run(&nobody, 1);

	cr_assert_gt(r.mib, 19000, "%llu MiB", (unsigned long long)r.mib);
	cr_assert_eq(r.rate, 0);
}

Test(pull_yield, a_load_that_it_does_not_disturb_does_not_hold_it_back_for_ever)
{
	struct user u = USER(PULL_CHANGES, NS_PER_MS, NS_PER_MS, 1e9);
	struct result r = run(&u, 1);

	cr_assert_gt(r.mib, 10000, "%llu MiB", (unsigned long long)r.mib);
}

Test(pull_yield, a_load_that_it_disturbs_is_slowed_down_by_less_than_half)
{
	assert_held_back(USER(PULL_CHANGES, NS_PER_MS, NS_PER_MS, 100), 150);
}

Test(pull_yield, so_is_one_of_twenty_operations_a_second)
{
	assert_held_back(USER(PULL_CHANGES, 50 * NS_PER_MS, 5 * NS_PER_MS, 100), 100);
}

Test(pull_yield, so_is_one_of_five_operations_a_second)
{
	assert_held_back(USER(PULL_CHANGES, 200 * NS_PER_MS, 5 * NS_PER_MS, 100), 100);
}

Test(pull_yield, so_is_one_writer_over_a_long_link)
{
	assert_held_back(USER(PULL_CHANGES, 50 * NS_PER_MS, 50 * NS_PER_MS, 100), 100);
}

Test(pull_yield, so_is_one_whose_operations_would_not_be_answered_for_half_a_second)
{
	/* x51 at 1000 MiB/s */
	assert_held_back(USER(PULL_CHANGES, NS_PER_MS, 10 * NS_PER_MS, 20), 50);
}

Test(pull_yield, so_is_one_whose_operations_would_not_be_answered_for_seconds)
{
	/* x201: none is answered in any slot */
	struct user u = USER(PULL_CHANGES, NS_PER_MS, 40 * NS_PER_MS, 5);

	run(&u, 1);
	assert_slower_by_less_than_half(&u);
	cr_assert_lt(u.worst_ns, 500 * NS_PER_MS, "%llu ms",
		(unsigned long long)(u.worst_ns / NS_PER_MS));
}

Test(pull_yield, so_is_one_that_only_reads)
{
	assert_held_back(USER(PULL_READS, NS_PER_MS, NS_PER_MS, 100), 150);
	assert_held_back(USER(PULL_LOOKS, 50 * NS_PER_MS, 5 * NS_PER_MS, 100), 100);
}

Test(pull_yield, a_writer_is_not_hidden_by_a_reader_whom_nothing_disturbs)
{
	struct user users[] = {USER(PULL_READS, 2 * STEP_NS, STEP_NS, 1e9),
		USER(PULL_CHANGES, 10 * NS_PER_MS, 10 * NS_PER_MS, 50)};
	struct result r = run(users, ARRAY_SIZE(users));

	assert_slower_by_less_than_half(&users[1]);
	cr_assert_gt(r.mib, 100, "%llu MiB", (unsigned long long)r.mib);
}

Test(pull_yield, what_is_still_being_sent_is_not_taken_for_quiet)
{
	struct pull_load load[PULL_USES] = {0};
	struct pull_yield y = {0};
	uint64_t t = NS_PER_S, sent = t + 600 * NS_PER_MS;

	for (; t < 2 * NS_PER_S; t += STEP_NS) {
		load[PULL_CHANGES].ops += t % (10 * NS_PER_MS) == 0;
		/* twenty times as long until everything is sent */
		load[PULL_CHANGES].ns += t % (10 * NS_PER_MS) ? 0 : (t < sent ? 20 : 1) * NS_PER_MS;
		pull_yield_until(&y, t, load, t < sent ? 1 : 0);
	}
	cr_assert_lt(y.seen[PULL_CHANGES].without, 2 * NS_PER_MS);
	cr_assert_gt(y.seen[PULL_CHANGES].without, 0);
}

Test(pull_yield, it_never_stops)
{
	struct user u = USER(PULL_CHANGES, NS_PER_MS, NS_PER_MS, 0.1);
	struct result r = run(&u, 1);

	cr_assert_gt(r.mib, 40, "%llu MiB", (unsigned long long)r.mib);
}

Test(pull_yield, nor_is_it_mostly_quiet_for_slow_operations)
{
	struct user u = USER(PULL_CHANGES, NS_PER_MS, 300 * NS_PER_MS, 0.1);
	struct result r = run(&u, 1);

	cr_assert_gt(r.mib, 55, "%llu MiB", (unsigned long long)r.mib);
}

Test(pull_yield, a_volume_that_waits_for_a_peer_does_not_hold_it_back_more_and_more)
{
	struct pull_load load[PULL_USES] = {0}, *l = &load[PULL_CHANGES];
	struct pull_yield y = {0};
	uint64_t t = NS_PER_S, rate;

	for (; t < 10 * NS_PER_S; t += STEP_NS) {
		l->ops += t % (10 * NS_PER_MS) == 0;
		l->ns = l->ops * NS_PER_MS;
		pull_yield_until(&y, t, load, 0);
	}
	rate = y.rate;
	cr_assert_gt(rate, 0);
	for (; t < 70 * NS_PER_S; t += STEP_NS) {
		l->age_ns = t - 10 * NS_PER_S;
		pull_yield_until(&y, t, load, 0);
	}
	cr_assert_geq(y.rate, rate / 2);
}

Test(pull_yield, the_limit_is_there_as_soon_as_somebody_is_and_goes_some_seconds_after_them)
{
	struct pull_load load[PULL_USES] = {0};
	struct pull_yield y = {0};
	uint64_t t = NS_PER_S;

	for (; t < 5 * NS_PER_S; t += STEP_NS)
		cr_assert_eq(pull_yield_until(&y, t, load, 0), 0);
	for (; t < 7 * NS_PER_S; t += STEP_NS) {
		load[PULL_READS].ops += t % (100 * NS_PER_MS) == 0;
		load[PULL_READS].ns += t % (100 * NS_PER_MS) == 0 ? NS_PER_MS : 0;
		pull_yield_until(&y, t, load, 0);
	}
	cr_assert_gt(y.rate, 0);
	for (; t < 9 * NS_PER_S; t += STEP_NS)
		pull_yield_until(&y, t, load, 0);
	cr_assert_gt(y.rate, 0);
	for (; t < 13 * NS_PER_S; t += STEP_NS)
		pull_yield_until(&y, t, load, 0);
	cr_assert_eq(y.rate, 0);
}
