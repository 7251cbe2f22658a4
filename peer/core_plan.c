/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan: a change of the record that others accept, durably, before this replica adopts it itself.
 * There is one at a time. The record that is planned is c->next. Who accepts adopts it, or, of three, promises to follow
 * it: core_plan_is_promise().
 *
 *   START       the record's active takes the next epoch; everyone in the set accepts
 *   PROMOTE     this replica becomes the record's active; who is left in the set accepts
 *   DEACTIVATE  a domain leaves; its reached replicas accept first (the leaver first)
 *   DEMOTE      nobody is active; everyone in the set accepts
 *   RAISE       a higher format level; everyone accepts
 *   SET         a replica joins the set or is left out of it; the others in the set accept
 *
 * Failure modes: an acceptor is lost before it answered. START, DEMOTE and SET are tried again when it is
 * back, PROMOTE and RAISE are told to the operator as failed, DEACTIVATE goes on without it. Either way the
 * acceptor may hold the planned record: the version was noted in the facts before it was sent, and
 * becomes an ancestor of whatever this replica plans next (core.c says why). Two plans cross: core_plan_stands().
 */
#include "core_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void core_plan_begin(struct core *c, bool forced)
{
	ensure(c->plan.kind == PLAN_NONE);
	record_copy(c->next, c->rec);
	for (unsigned i = 0; i < c->facts.nproposed; i++)
		record_pass(c->next, &c->facts.proposed[i]);
	record_next(c->next, core_chance(c), forced);
	if (c->facts.nproposed && !core_serving(c)) /* somebody may hold one with a newer epoch */
		core_plan_epoch(c);
	c->plan.origin.kind = ORIGIN_NONE;
	c->plan.done[0] = 0;
	c->plan.word = false;
}

/* Above every one that was proposed: the n-th proposal from a record has at most its epoch + n. */
void core_plan_epoch(struct core *c)
{
	c->next->epoch.num =
		MAX(c->rec->epoch.num + c->facts.nproposed, c->facts.promised_epoch) + 1;
	c->next->epoch.id = core_chance(c);
}

bool core_plan_is(const struct core *c, const struct record_version *v)
{
	return c->plan.kind != PLAN_NONE && version_equal(&c->next->version, v);
}

/*
 * `peer` proposes `r` while a plan of this replica is under way. It stands when somebody else may hold it by now, who
 * would hold what does not follow `r`; where only these two are asked, the lower one's does. Both standing is fine:
 * both are given up, and each finds out what the third one holds.
 */
bool core_plan_stands(const struct core *c, unsigned peer, const struct record *r)
{
	if (c->plan.kind == PLAN_NONE || record_follows(r, &c->next->version))
		return false;
	return c->plan.accepted || c->plan.waiting & ~(1u << peer) ||
	       uuid_compare(&c->cfg.self, &c->rec->replicas[peer].uuid) < 0;
}

void core_plan_remember(struct core *c)
{
	struct replica_facts *f = &c->facts;
	unsigned n = 0;

	for (unsigned i = 0; i < f->nproposed; i++)
		if (f->proposed[i].number > c->rec->version.number)
			f->proposed[n++] = f->proposed[i];
	f->nproposed = n;
	f->base = c->rec->version;
	if (!n)
		f->promised_epoch = 0;
}

/* This replica knows durably that somebody may hold this version. */
static void note_proposal(struct core *c, const struct record_version *v)
{
	struct replica_facts *f = &c->facts;
	unsigned at;

	if (f->nproposed == FACTS_PROPOSED_MAX) {
		memmove(f->proposed, f->proposed + 1,
			(FACTS_PROPOSED_MAX - 1) * sizeof(f->proposed[0]));
		f->nproposed--;
	}
	f->base = c->rec->version;
	for (at = f->nproposed++; at > 0 && f->proposed[at - 1].number > v->number; at--)
		f->proposed[at] = f->proposed[at - 1];
	f->proposed[at] = *v;
	core_act(c, ACT_PERSIST_FACTS)->facts = *f;
}

/*
 * Where several are asked, one may accept and another become the active one at a person's word, and neither knows of
 * the other. So of three, who is asked does not adopt the record: it promises that whatever it will make itself follows
 * it. The proposer, when all have promised, holds the record first, and then tells them. (With two, the one who is
 * asked is all of them. Adopted at once is what takes something away from who is asked, or nobody could rely on it:
 * it leaves the set, nobody is active, a higher format level.)
 *
 * Not prevented: two changes that both lack the third one. The active leaves out one that came back from an old copy, and
 * the other has promised; before they hold that record, a person promotes the one that is left out, and the same other
 * one promises that, too. Both are carried out: a fork, which both say, and in which nothing acknowledged is lost unseen.
 */
bool core_plan_is_promise(const struct record *old, const struct record *r, unsigned replica)
{
	return r->nreplicas > 2 && !uuid_is_zero(&r->active) &&
	       r->format_level == old->format_level && r->replicas[replica].in_sync;
}

void core_plan_promise(struct core *c, const struct record *r)
{
	struct replica_facts *f = &c->facts;
	unsigned n = 0;

	core_plan_overtaken(c);
	for (unsigned i = 0; i < f->nproposed; i++)
		if (!record_follows(r, &f->proposed[i]))
			f->proposed[n++] = f->proposed[i];
	f->nproposed = n;
	f->promised_epoch = MAX(f->promised_epoch, r->epoch.num);
	note_proposal(c, &r->version);
}

void core_plan_propose(struct core *c, enum core_plan_kind kind, unsigned acceptors)
{
	bool new_active = !uuid_equal(&c->next->active, &c->rec->active);

	ensure(record_valid(c->next));
	c->plan.kind = kind;
	c->plan.nonce = core_chance(c);
	c->plan.waiting = acceptors;
	c->plan.accepted = false;
	if (acceptors)
		note_proposal(c, &c->next->version);
	if (acceptors && !epoch_equal(c->next->epoch, c->rec->epoch))
		c->epoch_mine =
			false; /* if this comes to nothing, somebody may hold a higher one */
	for_each_peer (c, i) {
		struct msg *m;

		if (!(acceptors & 1u << i))
			continue;
		if (kind == PLAN_PROMOTE &&
			new_active) { /* where it stands, it says after it has accepted */
			core_relation_forget(c, i);
			core_stream_reset(c, i);
		}
		m = core_send(c, i, MSG_RECORD);
		m->record.nonce = c->plan.nonce;
		m->record.record = c->next;
	}
}

static void swap_in(struct core *c)
{
	struct record *old = c->rec;

	c->rec = c->next;
	c->next = old;
	core_record_changed(c, old);
}

void core_plan_adopt(struct core *c, unsigned restart)
{
	ensure(c->plan.kind == PLAN_NONE && record_valid(c->next));
	swap_in(c);
	core_spread(c, restart);
}

static void carried_out(struct core *c, enum core_plan_kind kind)
{
	switch (kind) {
	case PLAN_START: /* who holds it already hears of it when this replica serves */
		c->role = CORE_STARTING;
		c->epoch_mine = true;
		core_spread(c, 0);
		break;
	case PLAN_PROMOTE:
		c->role = CORE_STARTING;
		c->epoch_mine = true;
		c->word = c->plan.word;
		c->promote = c->plan.origin;
		memcpy(c->promote_done, c->plan.done, sizeof(c->promote_done));
		core_spread(c, ~0u);
		break;
	case PLAN_SET:
		if (c->role != CORE_FENCED)
			core_spread(c, c->plan.restart);
		break;
	default:
		core_answer(c, &c->plan.origin, CORE_ANSWER_OK, core_text(c, "%s", c->plan.done));
		if (c->role != CORE_FENCED)
			core_spread(c, 0);
		break;
	}
}

void core_plan_settle(struct core *c)
{
	enum core_plan_kind kind = c->plan.kind;

	if (kind == PLAN_NONE || c->plan.waiting)
		return;
	if (c->record_changed) {
		c->again = true;
		return;
	}
	c->plan.kind = PLAN_NONE;
	if (kind == PLAN_PROMOTE)
		core_set_met(c,
			false); /* with --accept-data-loss; before the record: it would not serve */
	swap_in(c);
	carried_out(c, kind);
}

void core_plan_accepted(struct core *c, unsigned peer)
{
	c->plan.waiting &= ~(1u << peer);
	c->plan.accepted = true;
}

/* Who holds the planned record already is newer than we are: shake hands again. */
void core_plan_cancel(struct core *c)
{
	c->plan.kind = PLAN_NONE;
	for_each_peer (c, i) {
		struct core_peer *p = &c->peers[i];

		if (p->up && p->hello && version_equal(&p->version, &c->next->version))
			core_close(
				c, i, "a change of the record was agreed on here, but not by all");
	}
}

void core_plan_lost(struct core *c, unsigned peer)
{
	if (c->plan.kind == PLAN_NONE || !(c->plan.waiting & 1u << peer))
		return;
	c->again = true;
	if (c->plan.kind == PLAN_DEACTIVATE) {
		c->plan.waiting &= ~(1u << peer);
		return;
	}
	core_plan_cancel(c);
	core_answer(c, &c->plan.origin, -ECONNRESET,
		core_text(c,
			"the connection to %s broke before it had agreed: nothing was changed "
			"here. Look "
			"at 'tandemctl status', then type it again",
			core_domain(c, peer)));
}

void core_plan_overtaken(struct core *c)
{
	if (c->plan.kind == PLAN_NONE)
		return;
	c->plan.kind = PLAN_NONE;
	core_answer(c, &c->plan.origin, -ESTALE,
		"the other side has changed the volume's record meanwhile: nothing was changed "
		"here. Look "
		"at 'tandemctl status', then type it again if it is still wanted");
}
