/* SPDX-License-Identifier: Apache-2.0 */
/* The pace of staging while a peer catches up from the ring: a second machine on paper. */
#include <criterion/criterion.h>

#include "converge.h"

#define LOOK (200 * NS_PER_MS)

/* Client and peer want to go at these rates (entries a second); `room`: how far they may be apart, as a
 * ring has it. Returns after how many seconds the peer has arrived, or 0. */
static double race(uint64_t client, uint64_t peer_rate, uint64_t lag, uint64_t room, double seconds)
{
	struct converge c = {0};
	uint64_t own = lag, peer = 0, now = NS_PER_S, look = now, step = NS_PER_MS / 5;
	double want = 0, can = 0;

	for (; now < NS_PER_S + (uint64_t)(seconds * NS_PER_S); now += step) {
		want += (double)client * (double)step / NS_PER_S;
		can += (double)peer_rate * (double)step / NS_PER_S;
		while (want >= 1 && own - peer < room && !converge_until(&c, now)) {
			own++;
			want--;
			converge_took(&c, now);
		}
		if (want > 64)
			want = 64; /* clients wait */
		for (; can >= 1 && peer < own; can--)
			peer++;
		if (own - peer < 8)
			return (double)(now - NS_PER_S) / NS_PER_S;
		if (now - look >= LOOK) {
			look = now;
			converge_look(&c, now, peer, own);
		}
	}
	return 0;
}

Test(converge, a_peer_that_is_slower_than_the_clients_arrives)
{
	double at = race(20000, 1800, 6700, 7000, 60);

	cr_assert(at > 5 && at < 25, "%f", at);
}

Test(converge, a_peer_that_is_as_fast_as_the_clients_arrives)
{
	double at = race(3000, 3000, 6000, 7000, 60);

	cr_assert(at > 2 && at < 20, "%f", at);
}

Test(converge, one_that_gains_by_itself_slows_nobody)
{
	struct converge c = {0};

	for (uint64_t i = 0; i < 20; i++) {
		converge_look(&c, NS_PER_S + i * LOOK, 400 * i, 100000 + 300 * i);
		cr_assert_eq(c.rate, 0);
	}
}

Test(converge, one_that_does_not_move_slows_nobody_for_long)
{
	struct converge c = {0};
	uint64_t now = NS_PER_S, own = 100000;

	for (unsigned i = 0; i < 4; i++)
		converge_look(&c, now += LOOK, 10 * i, own += 500);
	cr_assert_neq(c.rate, 0);
	for (unsigned i = 0; i < 5; i++)
		converge_look(&c, now += LOOK, 30, own += 20);
	cr_assert_eq(c.rate, 0);
	cr_assert_eq(converge_until(&c, now), 0);
}

Test(converge, one_that_has_nearly_arrived_changes_the_limit_no_more)
{
	struct converge c = {0};
	uint64_t now = NS_PER_S, rate;

	for (unsigned i = 0; i < 4; i++)
		converge_look(&c, now += LOOK, 100 * i, 5000 + 500 * i);
	rate = c.rate;
	cr_assert_neq(rate, 0);
	for (unsigned i = 0; i < 10; i++)
		converge_look(&c, now += LOOK, 6400 + i, 6500 + i);
	cr_assert_eq(c.rate, rate);
}

Test(converge, a_new_connection_that_begins_lower_is_no_pace)
{
	struct converge c = {0};

	converge_look(&c, NS_PER_S, 5000, 9000);
	converge_look(&c, NS_PER_S + LOOK, 100, 9100);
	converge_look(&c, NS_PER_S + 2 * LOOK, 700, 9500);
	cr_assert_eq(c.rate, 0);
}
