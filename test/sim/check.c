/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The invariants, seen from outside: from what the disks hold and what was answered to clients, never
 * from what a core believes. The truth is one history: for each committed seq the chain after it, which
 * stands for everything up to it. A position of a disk agrees with the truth, or it does not.
 *
 * When persons (and only persons) have forced a fork, there is no one truth any more: from then on
 * the checker demands that the fork is detected, that nobody drops or overwrites anything, and on each side what
 * was promised there (branch.c).
 */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void violation(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->violation[0])
		return;
	va_start(ap, fmt);
	vsnprintf(w->violation, sizeof(w->violation), fmt, ap);
	va_end(ap);
}

void check_reset(struct world *w)
{
	w->forked = false;
	w->committed = w->acked = w->truth_base = 0;
	w->truth_epoch = (struct epoch){0};
	w->nserved = w->nseen = 0;
	memset(w->activate_typed, 0, sizeof(w->activate_typed));
	branch_reset(w);
	if (!w->truth) {
		w->truth_cap = 1024;
		w->truth = calloc(w->truth_cap, sizeof(*w->truth));
	}
	w->truth[0] = 0;
}

/* Does the replica's history contain the truth up to seq? */
static bool agrees(const struct world *w, const struct node *n, uint64_t seq)
{
	return n->disk.end.seq >= seq && n->disk.chain[seq] == w->truth[seq];
}

static void extend_truth(struct world *w, const struct node *n, uint64_t seq)
{
	if (seq >= w->truth_cap) {
		while (seq >= w->truth_cap)
			w->truth_cap *= 2;
		w->truth = realloc(w->truth, w->truth_cap * sizeof(*w->truth));
		ensure(w->truth);
	}
	for (uint64_t s = w->committed + 1; s <= seq; s++)
		w->truth[s] = n->disk.chain[s];
	if (seq > w->committed)
		w->committed = seq;
}

/* --- records --- */

static void look_for_forks(struct world *w, struct node *n)
{
	/* Of three, two may have gone on without the one where a single person types; and where a replica crashes
	 * before it answers, the third may take up its word after another one was typed. */
	bool legal = w->people == PEOPLE_ANY || w->people == PEOPLE_SANE ||
		     (w->n > 2 && w->people == PEOPLE_ONE_WORD && w->word_blind) ||
		     (w->n > 2 && w->people == PEOPLE_STRICT && w->word_lost);

	for (unsigned i = 0; i < w->n; i++) {
		if (i == n->index)
			continue;
		if (record_compare(&n->disk.record, &w->node[i].disk.record) != RECORD_FORK)
			continue;
		if (!legal) {
			violation(w,
				"I3: the records of %u and %u are a fork, and no two persons made "
				"it",
				n->index, i);
			return;
		}
		if (!w->forked) {
			trace(w, "fork between %u and %u", n->index, i);
			w->forked = true;
			w->forked_at = w->now;
			w->forks++;
		}
	}
}

/* Is this the first time that anybody writes this version? */
static bool first_sight(struct world *w, const struct record_version *v)
{
	for (size_t i = 0; i < w->nseen; i++)
		if (w->seen[i] == v->id)
			return false;
	if (w->nseen == w->seen_cap) {
		w->seen_cap = w->seen_cap ? 2 * w->seen_cap : 64;
		w->seen = realloc(w->seen, w->seen_cap * sizeof(*w->seen));
		ensure(w->seen);
	}
	w->seen[w->nseen++] = v->id;
	return true;
}

/* Somebody typed it and has no answer yet: the word may be on its way to the other side. */
static bool activate_waits(const struct world *w, unsigned domain)
{
	for (unsigned i = 0; i < w->n; i++)
		for (unsigned k = 0; k < w->node[i].nasked; k++)
			if (w->node[i].asked_activate[k] == domain + 1)
				return true;
	return false;
}

/* A domain comes back only when somebody typed it. */
static void check_domains(struct world *w, struct node *n, const struct record *old)
{
	const struct record *r = &n->disk.record, *base = old;
	int active = uuid_is_zero(&r->active) ? -1 : record_find(r, &r->active);
	unsigned bit = 1u << (active >= 0 ? (unsigned)active : n->index);

	if (!first_sight(w, &r->version))
		return;
	if (active >= 0 && active != (int)n->index) /* who made it, made it from what it holds */
		base = &w->node[active].disk.record;
	if (record_compare(r, base) != RECORD_NEWER)
		return; /* something older that was still on its way */
	for (unsigned i = 0; i < w->n; i++) {
		bool was = record_domain_inactive(base, r->replicas[i].domain);
		bool is = record_domain_inactive(r, r->replicas[i].domain);

		if (was && !is && !(w->activate_typed[i] & bit) && !r->version.forced)
			violation(w, "I6: domain %u is active again and nobody typed that", i);
		if (was != is) /* on this side of a fork */
			w->activate_typed[i] = activate_waits(w, i) ? TYPED
					       : w->forked	    ? w->activate_typed[i] & ~bit
								    : 0;
	}
}

/* Another one holds this version: it was made there, or here in an earlier life. */
static bool known_elsewhere(const struct world *w, const struct node *n)
{
	for (unsigned i = 0; i < w->n; i++)
		if (i != n->index &&
			record_compare(&w->node[i].disk.record, &n->disk.record) == RECORD_SAME)
			return true;
	return false;
}

/* What a change may do, whoever wanted it. */
void check_record(struct world *w, struct node *n, const struct record *old)
{
	const struct record *r = &n->disk.record;
	int self = (int)n->index;
	bool became = record_find(r, &r->active) == self && record_find(old, &old->active) != self;

	if (!record_valid(r))
		violation(w, "replica %u writes an impossible record", n->index);
	if (record_compare(r, old) != RECORD_NEWER && !r->version.forced)
		violation(
			w, "replica %u writes a record that does not follow its old one", n->index);
	if (r->epoch.num < old->epoch.num)
		violation(w, "I2: replica %u goes back to epoch %u from %u", n->index, r->epoch.num,
			old->epoch.num);
	if (became && !r->version.forced && record_compare(r, old) == RECORD_NEWER &&
		!old->replicas[self].in_sync) {
		/* it may be that its set was grown and it was promoted in what it adopts: not by itself */
		violation(w,
			"I3: replica %u, not in sync, becomes active without --accept-data-loss",
			n->index);
	}
	if (became && n->errors >= 3 && !n->risk_accepted && !known_elsewhere(w, n))
		violation(w, "I9: the suspect replica %u becomes active without --accept-data-loss",
			n->index);
	if (r->version.number > n->replaced_version && r->replicas[n->index].in_sync)
		n->replaced = 0;
	check_domains(w, n, old);
	look_for_forks(w, n);
}

/* --- serving --- */

static void check_serve_branch(struct world *w, const struct node *n)
{
	uint64_t promised;

	if (branch_lacks(w, n, &promised))
		violation(w,
			"I4: replica %u serves from %llu, but %llu was acknowledged on its side",
			n->index, (unsigned long long)n->disk.end.seq,
			(unsigned long long)promised);
	branch_settle(w, n, n->disk.end.seq);
}

void check_serve(struct world *w, struct node *n, struct epoch e)
{
	for (size_t i = 0; i < w->nserved; i++)
		if (epoch_equal(w->served[i], e))
			violation(
				w, "I2: epoch %u is served a second time, by %u", e.num, n->index);
	if (w->nserved == w->served_cap) {
		w->served_cap = w->served_cap ? 2 * w->served_cap : 64;
		w->served = realloc(w->served, w->served_cap * sizeof(*w->served));
		ensure(w->served);
	}
	w->served[w->nserved++] = e;
	if (!epoch_equal(n->disk.record.epoch, e) || !uuid_equal(&n->disk.record.active, &n->uuid))
		violation(w, "I2: replica %u serves in epoch %u, its disk says otherwise", n->index,
			e.num);
	if (record_domain_inactive(&n->disk.record, n->disk.record.replicas[n->index].domain))
		violation(w, "I6: the inactive replica %u serves", n->index);
	if (w->forked) {
		check_serve_branch(w, n);
		return;
	}
	/* Agreed on before the other side was promoted, begun after: it can acknowledge nothing new. */
	if (e.num <= w->truth_epoch.num) {
		if (n->disk.end.seq > w->truth_base || !agrees(w, n, n->disk.end.seq))
			violation(
				w, "I2: epoch %u begins after epoch %u", e.num, w->truth_epoch.num);
		return;
	}
	if (!agrees(w, n, w->acked))
		violation(w, "I4: replica %u serves from %llu, but %llu was acknowledged%s",
			n->index, (unsigned long long)n->disk.end.seq, (unsigned long long)w->acked,
			n->disk.end.seq >= w->acked ? " with another history" : "");
	if (w->violation[0])
		return;
	if (!agrees(w, n, w->committed))
		violation(w, "I4: replica %u serves without %llu, which was committed", n->index,
			(unsigned long long)w->committed);
	extend_truth(w, n, n->disk.end.seq);
	branch_settle(w, n, n->disk.end.seq);
	w->truth_epoch = e;
	w->truth_base = n->disk.end.seq;
}

static void check_durable_everywhere(struct world *w, struct node *n, uint64_t seq)
{
	for (unsigned i = 0; i < w->n; i++) {
		const struct node *o = &w->node[i];

		if (!n->disk.record.replicas[i].in_sync && i != n->index)
			continue;
		if ((o->replaced || o->gave_up_at) && seq <= o->lost && !o->disk.end.seq)
			continue; /* its word may have been on its way */
		if (w->forked && record_compare(&o->disk.record, &n->disk.record) == RECORD_FORK)
			continue; /* what it has said it has given up, perhaps */
		if (disk_durable(&o->disk) < seq || o->disk.chain[seq] != n->disk.chain[seq]) {
			violation(w, "I1: %llu is acknowledged by %u and not durable on %u",
				(unsigned long long)seq, n->index, i);
			return;
		}
	}
}

static void check_commit_branch(struct world *w, struct node *n, uint64_t seq, bool acks)
{
	const struct node *o;

	if (!acks) {
		if (!branch_settled(w, disk_pos(&n->disk, seq)))
			violation(w, "I1: standby %u takes %llu for committed, it is on no side",
				n->index, (unsigned long long)seq);
		return;
	}
	o = branch_overtaken(w, n, seq);
	if (o)
		violation(w,
			"I2: %u acknowledges %llu in epoch %u, epoch %u of the same side began at "
			"%llu",
			n->index, (unsigned long long)seq, n->epoch.num, o->epoch.num,
			(unsigned long long)o->served_from);
	check_durable_everywhere(w, n, seq);
	branch_promise(w, n, seq);
}

void check_commit(struct world *w, struct node *n, uint64_t seq)
{
	bool acks = n->serving;

	w->commits++;
	if (seq > n->disk.end.seq) {
		violation(w, "replica %u commits %llu beyond its end", n->index,
			(unsigned long long)seq);
		return;
	}
	if (disk_durable(&n->disk) < seq)
		violation(w, "I1: replica %u commits %llu before it is durable there", n->index,
			(unsigned long long)seq);
	if (w->violation[0])
		return;
	if (acks && (n->disk.record.epoch.num > n->epoch.num ||
			    !uuid_equal(&n->disk.record.active, &n->uuid)))
		violation(w, "I2: %u acknowledges %llu in epoch %u, its own disk says otherwise",
			n->index, (unsigned long long)seq, n->epoch.num);
	if (acks && seq > n->acked) {
		n->acked = seq;
		n->acked_chain = n->disk.chain[seq];
	}
	if (!acks && uuid_equal(&n->disk.record.active, &n->uuid))
		return; /* just before it serves: check_serve() looks */
	if (w->forked) {
		check_commit_branch(w, n, seq, acks);
		return;
	}
	if (!acks) { /* a standby learns */
		if (seq > w->committed || !agrees(w, n, seq))
			violation(w, "I1: standby %u takes %llu for committed, it is not", n->index,
				(unsigned long long)seq);
		return;
	}
	if (!epoch_equal(n->epoch, w->truth_epoch) && (seq > w->truth_base || !agrees(w, n, seq)))
		violation(w, "I2: %u acknowledges %llu in epoch %u, epoch %u began at %llu",
			n->index, (unsigned long long)seq, n->epoch.num, w->truth_epoch.num,
			(unsigned long long)w->truth_base);
	if (!agrees(w, n, MIN(seq, w->committed)))
		violation(w, "I2: replica %u acknowledges another history", n->index);
	if (w->violation[0])
		return;
	check_durable_everywhere(w, n, seq);
	extend_truth(w, n, seq);
	branch_promise(w, n, seq);
	if (seq > w->acked)
		w->acked = seq;
}

/* --- the log and the store --- */

void check_append(struct world *w, struct node *n)
{
	const struct record *r = &n->disk.record;

	if (record_domain_inactive(r, r->replicas[n->index].domain))
		violation(w, "I6: the inactive replica %u takes a batch", n->index);
	if (n->current->h.epoch.num > r->epoch.num)
		violation(w, "I2: replica %u takes a batch of epoch %u, its record says %u",
			n->index, n->current->h.epoch.num, r->epoch.num);
}

/* What is assigned on the active has its room on every disk whose durability it waits for (I8). */
void check_space(struct world *w, struct node *n)
{
	if (n->level < 2)
		return;
	if (!epoch_equal(n->disk.record.epoch, n->epoch))
		return; /* it is fenced by this record, which counts on others for another epoch */
	for (unsigned i = 0; i < w->n; i++) {
		const struct node *o = &w->node[i];
		bool here = epoch_equal(o->disk.space_epoch, n->epoch);

		if (o->level < 2 || (i != n->index && !n->disk.record.replicas[i].in_sync))
			continue;
		if (o->replaced || o->gave_up_at)
			continue; /* its grant was of the other disk */
		if (w->forked && record_compare(&o->disk.record, &n->disk.record) == RECORD_FORK)
			continue; /* one that gave up may have become this one's replica */
		if (MAX(o->disk.record.epoch.num, o->disk.space_epoch.num) > n->epoch.num)
			continue; /* it takes nothing of this epoch any more */
		if (n->data_used > (here ? o->disk.space_upto : 0)) {
			violation(w, "I8: %u has staged up to block %llu, %u has room up to %llu",
				n->index, (unsigned long long)n->data_used, i,
				(unsigned long long)(here ? o->disk.space_upto : 0));
			return;
		}
	}
}

void check_truncate(struct world *w, struct node *n, struct pos pos)
{
	uint64_t promised;

	if (pos.seq < n->acked)
		violation(w, "I6: replica %u drops %llu, which it acknowledged itself", n->index,
			(unsigned long long)n->acked);
	if (pos.seq < n->disk.flushed.seq)
		violation(w, "I5: replica %u drops what it has flushed", n->index);
	if (n->serving)
		violation(w, "I6: replica %u drops while it serves", n->index);
	if (w->forked) {
		if (branch_drops(w, n, pos.seq, &promised))
			violation(w,
				"I6: replica %u drops %llu, which was acknowledged on its side",
				n->index, (unsigned long long)promised);
		return;
	}
	if (pos.seq < w->committed && n->disk.end.seq > pos.seq &&
		n->disk.chain[pos.seq + 1] == w->truth[pos.seq + 1])
		violation(w, "I6: replica %u drops %llu, which was committed", n->index,
			(unsigned long long)pos.seq + 1);
}

/* Only what is outside of the set gives its state up, and what it takes is committed. */
void check_pull(struct world *w, struct node *n, struct node *from)
{
	if (from->disk.record.replicas[n->index].in_sync ||
		n->disk.record.replicas[n->index].in_sync)
		violation(w, "I3: replica %u gives its state up while it is in the set", n->index);
	if (n->serving)
		violation(w, "I6: replica %u gives its state up while it serves", n->index);
	if (n->acked &&
		(from->disk.end.seq < n->acked || from->disk.chain[n->acked] != n->acked_chain))
		violation(w,
			"I6: replica %u gives up %llu, which it acknowledged itself and %u does "
			"not have",
			n->index, (unsigned long long)n->acked, from->index);
	check_flush(w, from, n->pull.pos);
}

/* Only at a person's word. */
void check_give_up(struct world *w, struct node *n)
{
	if (!n->resync_typed || !w->forked)
		violation(w, "I6: replica %u gives its state up and nobody typed that", n->index);
	if (core_role(n->core) != CORE_FENCED)
		violation(w, "I6: replica %u gives its state up and goes on", n->index);
}

void check_flush(struct world *w, struct node *n, struct pos pos)
{
	if (w->forked ? !branch_settled(w, pos)
		      : pos.seq > w->committed || w->truth[pos.seq] != pos.chain)
		violation(w, "I5: replica %u flushes %llu, which is not committed%s", n->index,
			(unsigned long long)pos.seq, w->forked ? " on any side" : "");
}

/* --- after a while of calm --- */

static const struct node *newest(const struct world *w)
{
	const struct node *best = &w->node[0];

	for (unsigned i = 1; i < w->n; i++)
		if (record_compare(&w->node[i].disk.record, &best->disk.record) == RECORD_NEWER)
			best = &w->node[i];
	return best;
}

static void check_peers(struct world *w, const struct node *active)
{
	for (unsigned i = 0; i < w->n; i++) {
		struct core_peer_view v;

		if (i == active->index)
			continue;
		core_peer_view(active->core, i, &v);
		if (v.state == CORE_PEER_INACTIVE)
			continue;
		if (v.state != CORE_PEER_IN_SYNC)
			violation(w, "liveness: %u is %s after the calm: %s", i,
				core_peer_state_name(v.state), v.text);
	}
}

void check_calm(struct world *w)
{
	const struct node *best = newest(w), *active;
	int a = uuid_is_zero(&best->disk.record.active)
			? -1
			: record_find(&best->disk.record, &best->disk.record.active);

	if (w->violation[0])
		return;
	for (unsigned i = 0; i < w->n; i++) {
		const struct node *n = &w->node[i];

		if (!n->up) {
			violation(w, "liveness: replica %u is not up after the calm", i);
			return;
		}
		if (n->nasked)
			violation(w, "an operator at %u was never answered", i);
		if (record_compare(&n->disk.record, &best->disk.record) != RECORD_SAME)
			violation(w,
				"liveness: replicas %u and %u hold different records after the "
				"calm",
				i, best->index);
	}
	if (a < 0 || w->violation[0] || w->node[a].disk.facts.demoted)
		return;
	active = &w->node[a];
	if (!active->serving) {
		violation(w, "liveness: replica %d does not serve after the calm: %s, %s", a,
			core_role_name(core_role(active->core)), core_trouble(active->core));
		return;
	}
	if (!active->stop_staging && core_commit(active->core) + 64 < active->disk.end.seq)
		violation(w, "liveness: %llu of %llu are committed after the calm",
			(unsigned long long)core_commit(active->core),
			(unsigned long long)active->disk.end.seq);
	check_peers(w, active);
}

bool one_record(const struct world *w)
{
	for (unsigned i = 1; i < w->n; i++)
		if (record_compare(&w->node[i].disk.record, &w->node[0].disk.record) != RECORD_SAME)
			return false;
	return true;
}

/* The fork is over, and nothing that is left is of the side that gave up: what the active one has is the
 * truth from now on, and everything is demanded again. */
void check_mended(struct world *w)
{
	const struct record *r = &w->node[0].disk.record;
	int a = uuid_is_zero(&r->active) ? -1 : record_find(r, &r->active);
	const struct node *active = a < 0 ? NULL : &w->node[a];

	if (!active || !active->serving)
		return;
	trace(w, "the fork is over: the truth is that of %d", a);
	w->forked = false;
	w->committed = 0;
	extend_truth(w, active, core_commit(active->core));
	w->acked = w->truth_base = w->committed;
	w->truth_epoch = active->epoch;
}

/* Who gave up long ago holds the record of the side that was kept. A third one may hold the other side's still. */
static void check_gave_up(struct world *w, const struct node *n)
{
	const struct record *r = &n->disk.record;
	int a = uuid_is_zero(&r->active) ? -1 : record_find(r, &r->active);

	if (n->gave_up_at < w->calm_since || n->gave_up_at + SEC > w->now)
		return;
	if (a >= 0 && record_compare(r, &w->node[a].disk.record) == RECORD_SAME)
		return;
	violation(w, "liveness: replica %u gave its state up and holds another record", n->index);
}

/* Everybody is connected for a while: whoever holds a forked record must know and say so. */
void check_forked(struct world *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		check_gave_up(w, &w->node[i]);
		for (unsigned j = 0; j < w->n; j++) {
			struct core_peer_view v;

			if (i == j || !w->node[i].up || !w->node[j].up)
				continue;
			if (record_compare(&w->node[i].disk.record, &w->node[j].disk.record) !=
				RECORD_FORK)
				continue;
			core_peer_view(w->node[i].core, j, &v);
			if (v.state != CORE_PEER_FORK || !strstr(v.text, "fork"))
				violation(w, "replica %u does not see the fork with %u: %s", i, j,
					core_peer_state_name(v.state));
		}
	}
}
