/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The driver's other way back (fs/pull_target.c), in its steps. A round begins with the source's newest checkpoint and
 * takes some time, in which it gets on only while both are up, the link passes both ways, and the source serves. What is
 * there stays there, whoever crashes. When everything is there, and still wanted, the switch is marked, durably, and
 * from its next start on the target is what the source was at that checkpoint. Until then it is what it was.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

/* Would what is pulled from this peer still be wanted? As the daemon asks, right before the switch. */
static bool still_wanted(const struct node *n, unsigned peer)
{
	const struct record *r = core_record(n->core);
	struct core_peer_view view;

	if (core_role(n->core) != CORE_STANDBY || r->replicas[n->index].in_sync ||
		record_domain_inactive(r, r->replicas[n->index].domain) ||
		!uuid_equal(&r->active, &r->replicas[peer].uuid))
		return false;
	core_peer_view(n->core, peer, &view);
	return view.state != CORE_PEER_FOLLOWED && view.state != CORE_PEER_FORK;
}

static bool passes(struct world *w, const struct node *n, const struct node *source)
{
	const struct link *l = sim_link(w, n->index, source->index);

	return source->up && source->serving && l->side[0].up && l->side[1].up && !l->cut[0] &&
	       !l->cut[1];
}

static void round_begin(struct world *w, struct node *n, const struct node *source)
{
	struct pull *p = &n->pull;
	uint64_t seq = source->disk.flushed.seq;

	if (seq >= p->cap) {
		p->cap = 2 * seq + 1024;
		p->chain = realloc(p->chain, p->cap * sizeof(*p->chain));
		ensure(p->chain);
	}
	p->under_way = true;
	p->from = source->index;
	p->steps = 1 + (unsigned)sim_below(w, 4);
	p->pos = source->disk.flushed;
	p->epoch = disk_flushed_epoch(&source->disk);
	memcpy(p->chain, source->disk.chain, (seq + 1) * sizeof(*p->chain));
	trace(w, "%u pulls seq %llu from %u", n->index, (unsigned long long)seq, p->from);
}

/* Everything is there. */
static void switch_over(struct world *w, struct node *n)
{
	struct pull *p = &n->pull;

	if (node_disk_fails(w, n))
		return;
	check_pull(w, n, &w->node[p->from]);
	p->under_way = false;
	p->marked = true;
	w->pulls++;
	trace(w, "%u switches to seq %llu of %u", n->index, (unsigned long long)p->pos.seq,
		p->from);
	node_restart(w, n);
}

void pull_step(struct world *w, struct node *n)
{
	struct pull *p = &n->pull;
	int from = core_pull_from(n->core);

	if (p->under_way && !is_broken(w, BREAK_SWITCH_UNWANTED) && !still_wanted(n, p->from)) {
		trace(w, "%u has nothing more to pull", n->index);
		p->under_way = false;
	}
	if (p->under_way) {
		if (!passes(w, n, &w->node[p->from]))
			return;
		if (p->steps) {
			p->steps--;
			return;
		}
		/* More has changed than may be left to the ring, or its ring does not lead on from there. */
		if (!sim_below(w, 3) || p->pos.seq < w->node[p->from].unread)
			round_begin(w, n, &w->node[p->from]);
		else
			switch_over(w, n);
		return;
	}
	if (from >= 0 && passes(w, n, &w->node[from]))
		round_begin(w, n, &w->node[from]);
}

void pull_start(struct world *w, struct node *n)
{
	if (!n->pull.marked)
		return;
	n->pull.marked = false;
	trace(w, "%u is what it has pulled: seq %llu", n->index,
		(unsigned long long)n->pull.pos.seq);
	disk_pull(&n->disk, &n->pull);
}
