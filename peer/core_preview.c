/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `activate` would do, of each replica of the domain: whether it is reached, and how it would come back. Reads
 * only. The handshake has said how the two histories lie to each other, and core_lead() decides by the same figures
 * when the word is given; what is written or recycled between the two is not foreseen.
 */
#include "core_impl.h"

#include <stdio.h>

/* The last entry of our history that it is known to have. */
static uint64_t common_seq(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];

	switch (p->relation) {
	case RELATION_BEHIND:
		return p->end.seq;
	case RELATION_UNKNOWN:
		return p->acked;
	default:
		return p->fork_point.seq;
	}
}

/* As core_lead() has it. */
static bool would_pull(const struct core *c, unsigned peer, uint64_t common)
{
	const struct core_peer *p = &c->peers[peer];

	if (core_blank(c, peer) || common < c->before.seq)
		return true;
	return (p->relation == RELATION_AHEAD || p->relation == RELATION_DIVERGED) &&
	       common < MAX(p->flushed.seq, p->commit);
}

static void preview_peer(const struct core *c, unsigned peer, char *t, size_t size)
{
	const struct core_peer *p = &c->peers[peer];
	uint64_t common = MIN(common_seq(c, peer), c->end.seq), behind = c->end.seq - common;
	bool ends_elsewhere = p->relation == RELATION_AHEAD || p->relation == RELATION_DIVERGED;
	int n;

	if (!p->up || !p->hello) {
		n = snprintf(t, size, "it is not reached, and comes back when it is");
		if (p->acked && (size_t)n < size)
			snprintf(t + n, size - (size_t)n,
				": what it acknowledged last is %llu entries behind, and the "
				"journal %s to it",
				(unsigned long long)(c->end.seq - MIN(p->acked, c->end.seq)),
				p->acked < c->before.seq ? "does not reach back" : "reaches back");
		return;
	}
	if (would_pull(c, peer, common))
		n = snprintf(t, size,
			"it is reached, and would come back by pulling: it is %llu entries behind, "
			"and the journal does not lead from there to the present",
			(unsigned long long)behind);
	else if (behind)
		n = snprintf(t, size,
			"it is reached, and would come back by the journal: it is %llu entries "
			"behind",
			(unsigned long long)behind);
	else
		n = snprintf(t, size, "it is reached, and lacks nothing");
	if (ends_elsewhere && p->end.seq > common && (size_t)n < size)
		snprintf(t + n, size - (size_t)n,
			"; its last %llu entries, which nobody acknowledged, are dropped",
			(unsigned long long)(p->end.seq - common));
}

void core_preview_activate(struct core *c, const struct core_operator *op, struct core_origin *o)
{
	unsigned bits = core_domain_bits(c, op->domain);
	char t[CORE_TEXT_MAX] = "";
	size_t n = 0;

	for_each_peer (c, i) {
		char one[300];

		if (!(bits & 1u << i))
			continue;
		preview_peer(c, i, one, sizeof(one));
		if (n < sizeof(t))
			n += (size_t)snprintf(
				t + n, sizeof(t) - n, "%s%s", n ? ". Another replica: " : "", one);
	}
	core_answer(c, o, CORE_ANSWER_OK,
		core_text(c, "%s would be active again: %.900s", op->domain,
			n ? t : "its replica is this one"));
}
