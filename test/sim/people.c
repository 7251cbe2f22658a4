/* SPDX-License-Identifier: Apache-2.0 */
/*
 * People: clients who write to whoever serves, and operators who type. Operators are
 *
 *   none       nobody types
 *   one word   a single change in a time of chaos, without --accept-data-loss
 *   strict     one word at a time, and only where the newest record is: two replicas never fork so
 *   sane       words of force only where the newest record is
 *   any        anything goes
 */
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void people_client(struct world *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		struct node *n = &w->node[i];

		if (!n->up || !n->serving || n->stop_staging || sim_chance(w, 3))
			continue;
		if (n->disk.end.seq > core_commit(n->core) + 40)
			continue; /* its staging is full */
		n->open += space_admit(w, n, 1 + (unsigned)sim_below(w, 3));
		if (!n->flights || sim_chance(w, 4)) {
			n->flights = 0;
			node_close_batch(w, n);
		}
	}
}

void people_answer(struct world *w, struct node *n, uint64_t id, int code, const char *text)
{
	trace(w, "%u answers operator %llu: %d %s", n->index, (unsigned long long)id, code, text);
	if (!text || !*text)
		violation(w, "replica %u answers an operator without a word", n->index);
	if (code == 0 && strstr(text, "format level is"))
		w->raises++;
	if (code == CORE_ANSWER_ASK || code == -EBUSY || code == -EPERM || code == -EHOSTUNREACH)
		w->words++; /* it changed nothing */
	for (unsigned i = 0; i < n->nasked; i++) {
		if (n->asked_id[i] != id)
			continue;
		if (code && n->asked_activate[i]) /* not heard, and perhaps done */
			w->activate_typed[n->asked_activate[i] - 1] = TYPED;
		n->nasked--;
		n->asked_id[i] = n->asked_id[n->nasked];
		n->asked_activate[i] = n->asked_activate[n->nasked];
		return;
	}
	violation(w, "replica %u answers an operator twice, or one that did not ask", n->index);
}

static void type(
	struct world *w, struct node *n, enum operator_verb verb, uint32_t flags, unsigned domain)
{
	static const char *const names[] = {
		"?", "promote", "demote", "deactivate", "activate", "resync", "raise"};
	struct core_event ev = {.type = EV_OPERATOR};

	if (!n->up || n->nasked == 16)
		return;
	ev.op = (struct core_operator){.id = ++w->ids, .verb = verb, .flags = flags};
	if (verb != OPERATOR_PROMOTE && verb != OPERATOR_DEMOTE && verb != OPERATOR_RAISE)
		snprintf(ev.op.domain, sizeof(ev.op.domain), "site-%c", (char)('a' + domain));
	n->risk_accepted |= !!(flags & OPERATOR_ACCEPT_DATA_LOSS);
	if (verb == OPERATOR_RESYNC)
		n->resync_typed |= (flags & (OPERATOR_YES | OPERATOR_PREVIEW)) == OPERATOR_YES;
	n->asked_activate[n->nasked] = verb == OPERATOR_ACTIVATE ? domain + 1
				       : verb == OPERATOR_RESYNC ? n->index + 1
								 : 0;
	if (n->asked_activate[n->nasked])
		w->activate_typed[n->asked_activate[n->nasked] - 1] = TYPED;
	n->asked_id[n->nasked++] = ev.op.id;
	trace(w, "operator %llu types at %u: %s %s (flags %u)", (unsigned long long)ev.op.id,
		n->index, names[verb], ev.op.domain, flags);
	node_step(w, n, &ev);
	node_drain(w, n);
}

/* Nobody holds a record that this replica's does not follow. */
static bool holds_newest(const struct world *w, const struct node *n)
{
	for (unsigned i = 0; i < w->n; i++) {
		enum record_order o = record_compare(&n->disk.record, &w->node[i].disk.record);

		if (o != RECORD_SAME && o != RECORD_NEWER)
			return false;
	}
	return true;
}

/* One word at a time, where the newest record is, and not by way of the other side. */
static bool strict_allows(
	const struct world *w, const struct node *n, enum operator_verb verb, unsigned domain)
{
	const struct record *r = &n->disk.record;
	int active = uuid_is_zero(&r->active) ? -1 : record_find(r, &r->active);

	for (unsigned i = 0; i < w->n; i++)
		if (w->node[i].nasked)
			return false;
	if (!holds_newest(w, n))
		return false;
	if (verb == OPERATOR_PROMOTE || verb == OPERATOR_DEMOTE)
		return true;
	return active == (int)n->index ||
	       (verb == OPERATOR_DEACTIVATE && (active < 0 || active == (int)domain));
}

/* A replica that is cut off from the active one, where a word matters most; or any. */
static struct node *somewhere(struct world *w)
{
	struct node *n = &w->node[sim_below(w, w->n)];
	const struct record *r = &n->disk.record;
	int active = uuid_is_zero(&r->active) ? -1 : record_find(r, &r->active);
	struct core_peer_view v;

	if (!n->up || active < 0 || active == (int)n->index || sim_chance(w, 3))
		return n;
	core_peer_view(n->core, (unsigned)active, &v);
	return v.connected ? &w->node[active] : n;
}

void people_operator(struct world *w)
{
	struct node *n = somewhere(w);
	enum operator_verb verb = (enum operator_verb)(1 + sim_below(w, 5));
	unsigned domain = (unsigned)sim_below(w, w->n + (sim_chance(w, 30) ? 1 : 0));
	uint32_t flags = 0;

	if (w->people == PEOPLE_NONE || (w->people == PEOPLE_ONE_WORD && !w->words))
		return;
	if (w->people == PEOPLE_STRICT && !strict_allows(w, n, verb, domain))
		return;
	if (!sim_chance(w, 3))
		flags |= OPERATOR_YES;
	if (verb == OPERATOR_DEMOTE && sim_chance(w, 3))
		flags |= OPERATOR_FORCE;
	if (verb == OPERATOR_RESYNC && sim_chance(w, 4))
		flags |= OPERATOR_PREVIEW;
	if (w->people == PEOPLE_SANE && (!holds_newest(w, n) || w->calm))
		flags &= ~OPERATOR_YES;
	if (w->people == PEOPLE_ANY && sim_chance(w, 10))
		flags |= OPERATOR_ACCEPT_DATA_LOSS;
	if (is_broken(w, BREAK_PROMOTE_OUTDATED))
		flags |= OPERATOR_ACCEPT_DATA_LOSS | OPERATOR_YES;
	if (w->people == PEOPLE_ONE_WORD) {
		w->words--;
		w->word_blind = !holds_newest(w, n);
	}
	type(w, n, verb, flags, domain);
	if (n->up && verb == OPERATOR_DEMOTE && core_role(n->core) == CORE_DRAINING &&
		sim_chance(w, 2)) { /* at the worst moment, for longer than it waits or not */
		unsigned other = (n->index + 1) % w->n;

		wire_set_cut(w, n->index, other, true);
		wire_set_cut(w, other, n->index, true);
	}
}

/* Nobody serves: whoever may, shall, whatever is lost by that. */
static void promote_somebody(struct world *w)
{
	for (unsigned k = 0; k < w->n; k++) {
		struct node *n = &w->node[(k + w->worlds) % w->n];

		if (!n->up || core_role(n->core) == CORE_STARTING)
			continue;
		type(w, n, OPERATOR_PROMOTE, OPERATOR_YES | OPERATOR_ACCEPT_DATA_LOSS, 0);
		return;
	}
}

/* In the calm after a fork somebody chooses a side that serves, and types resync at the others. */
static void people_mend(struct world *w)
{
	struct node *winner = NULL;

	for (unsigned k = 0; k < w->n; k++) {
		struct node *n = &w->node[(k + w->worlds) % w->n];

		if (n->up && core_role(n->core) == CORE_DRAINING && sim_chance(w, 2)) {
			type(w, n, OPERATOR_DEMOTE, OPERATOR_FORCE, 0);
			return;
		}
		if (n->up && n->serving && !winner)
			winner = n;
	}
	if (!winner) {
		promote_somebody(w);
		return;
	}
	for (unsigned i = 0; i < w->n; i++) {
		struct node *n = &w->node[i];
		struct core_peer_view v;

		if (!n->up || n == winner)
			continue;
		core_peer_view(n->core, winner->index, &v);
		if (v.state != CORE_PEER_FORK)
			continue;
		type(w, n, OPERATOR_RESYNC, OPERATOR_YES, winner->index);
		return;
	}
	if (winner->disk.record.ninactive)
		type(w, winner, OPERATOR_ACTIVATE, 0,
			(unsigned)(winner->disk.record.inactive[0][5] - 'a'));
}

static bool sees_replaced(const struct node *n, unsigned peer)
{
	struct core_peer_view v;

	core_peer_view(n->core, peer, &v);
	return v.state == CORE_PEER_BEYOND && strstr(v.text, "replaced disk");
}

/* Nobody is active, and one of the set has another disk: a promote needs a yes. */
static bool waits_for_replaced(const struct world *w)
{
	for (unsigned i = 0; i < w->n; i++)
		for (unsigned k = 0; k < w->n; k++)
			if (k != i && w->node[i].up && holds_newest(w, &w->node[i]) &&
				uuid_is_zero(&w->node[i].disk.record.active) &&
				sees_replaced(&w->node[i], k))
				return true;
	return false;
}

/* What the status advises where an active waits for one that has nothing any more, or is that one. */
static bool leave_out_replaced(struct world *w)
{
	for (unsigned i = 0; i < w->n; i++) {
		struct node *n = &w->node[i];
		const struct uuid *active = &n->disk.record.active;

		if (!n->up || n->serving || !holds_newest(w, n))
			continue;
		for (unsigned k = 0; k < w->n; k++) {
			if (!sees_replaced(n, k) || (!uuid_equal(active, &n->uuid) &&
							    !uuid_equal(active, &w->node[k].uuid)))
				continue;
			type(w, n, OPERATOR_DEACTIVATE, OPERATOR_YES, k);
			return true;
		}
	}
	return false;
}

/* In the calm somebody sane puts things right, so that worlds live on: promotes where nobody is
 * active, activates what is inactive. */
void people_repair(struct world *w)
{
	if (w->mend && w->now < w->calm_since + 900 * MS) {
		people_mend(w);
		return;
	}
	if (leave_out_replaced(w) || w->people == PEOPLE_NONE || w->forked ||
		(w->now > w->calm_since + 400 * MS && !waits_for_replaced(w)) || sim_chance(w, 4))
		return;
	for (unsigned i = 0; i < w->n; i++) {
		struct node *n = &w->node[i];
		const struct record *r = &n->disk.record;
		bool none = uuid_is_zero(&r->active), own = uuid_equal(&r->active, &n->uuid);

		if (!n->up || !holds_newest(w, n))
			continue;
		if ((none && r->replicas[i].in_sync) || (own && n->disk.facts.demoted)) {
			uint32_t flags = 0;

			for (unsigned k = 0; k < w->n; k++)
				flags |= sees_replaced(n, k) ? OPERATOR_YES : 0;
			type(w, n, OPERATOR_PROMOTE, flags, 0);
			return;
		}
		if (own && n->serving && r->ninactive) {
			type(w, n, OPERATOR_ACTIVATE, 0, (unsigned)(r->inactive[0][5] - 'a'));
			return;
		}
	}
}

/* A new kind of entry is to be written. It is not one of the words that people may have few of. */
void people_raise(struct world *w, struct node *n)
{
	unsigned words = w->words;

	type(w, n, OPERATOR_RAISE, 0, 0);
	w->words = words;
}
