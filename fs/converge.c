/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The active writes as fast as its own disk, and a peer that catches up from the ring does the same with
 * another load, so nothing says that the peer ever gets there: the two can go on for ever a whole ring
 * apart, the volume unprotected. So while a peer catches up and gains too little, staging is held to
 * a share of what the peer manages. Pure; time and seqs come in.
 *
 * Failure modes: a peer that does not move at all (its disk hangs, it is about to be closed as silent)
 * is nobody to wait for: after a second of it there is no limit. One that gains by itself needs none. Two
 * bad looks in a row must agree, as a stream begins slowly. Near the end a peer gains no more than what is
 * staged, which says nothing of what it could: there the limit stays as it is, until the caller forgets it.
 */
#include "converge.h"

#include "check.h"

#define LOOK_NS (150 * NS_PER_MS) /* shorter ones say nothing */
#define LAG_MIN 256u /* entries: it has nearly arrived */
#define STILL_LOOKS 5u
#define GAIN_PERCENT 125u /* the peer's pace against ours, when no limit is needed */
#define SHARE_PERCENT 70u /* ours against the peer's, when one is */
#define RATE_MIN 100u /* entries a second */
#define BURST_NS (2 * NS_PER_MS) /* what may be staged at once, so that batches form */

static void judge(struct converge *c, uint64_t ns, uint64_t gained, uint64_t staged)
{
	if (!gained) {
		if (++c->still >= STILL_LOOKS)
			c->rate = 0;
		return;
	}
	c->still = 0;
	if (c->rate) {
		c->rate = MAX(gained * NS_PER_S / ns * SHARE_PERCENT / 100, (uint64_t)RATE_MIN);
		return;
	}
	if (gained * 100 >= staged * GAIN_PERCENT) {
		c->short_of = 0;
		return;
	}
	if (++c->short_of >= 2)
		c->rate = MAX(gained * NS_PER_S / ns * SHARE_PERCENT / 100, (uint64_t)RATE_MIN);
}

void converge_look(struct converge *c, uint64_t now_ns, uint64_t peer, uint64_t own)
{
	uint64_t ns = now_ns - c->at_ns;

	if (c->at_ns && ns < LOOK_NS)
		return;
	if (c->at_ns && own > peer + LAG_MIN && peer >= c->peer && own >= c->own)
		judge(c, ns, peer - c->peer, own - c->own);
	c->at_ns = now_ns;
	c->peer = peer;
	c->own = own;
}

uint64_t converge_until(const struct converge *c, uint64_t now_ns)
{
	return c->rate && c->next_ns > now_ns + BURST_NS ? c->next_ns - BURST_NS : 0;
}

void converge_took(struct converge *c, uint64_t now_ns)
{
	if (c->rate)
		c->next_ns = MAX(c->next_ns, now_ns) + NS_PER_S / c->rate;
}
