/* SPDX-License-Identifier: Apache-2.0 */
/* A replica whose disk was replaced: what it and the others do and refuse, on a table (core_rig.h). */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "core_rig.h"

#define says(r, who, word)                                                                         \
	cr_assert(strstr((r)->node[who].answer, word), "'%s' lacks '%s'", (r)->node[who].answer,   \
		word)

/* Its word that it takes part is worth nothing, so a person must give one. The active is not about to serve. */
Test(core_replaced, an_active_starts_without_a_peer_whose_disk_was_replaced_when_a_person_says_so)
{
	struct rig *r = rig_pair();
	struct rig_node *a = &r->node[A], *b = &r->node[B];

	rig_write(r, A, 1);
	rig_write(r, A, 1);
	rig_crash(r, A, false);
	rig_crash(r, B, false);
	a->before = batch_end(&a->log[0].h); /* the ring was recycled */
	memmove(a->log, a->log + 1, sizeof(a->log[0]));
	a->nlog = a->ndurable = 1;
	b->nlog = b->ndurable = 0;
	b->flushed = b->commit = 0;
	rig_start(r, A);
	rig_start(r, B);
	rig_connect(r, A, B);
	cr_assert_not(a->serving);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_BEYOND);
	cr_assert_eq(
		rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b"), CORE_ANSWER_OK, "%s", a->answer);
	cr_assert(a->serving);
	cr_assert_eq(core_end(a->core).seq, 2);
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	cr_assert_eq(core_pull_from(b->core), A);
	rig_free(r);
}

/* Its disk is another one, formatted for the same volume. */
static void replace_disk(struct rig *r, unsigned node)
{
	struct rig *first = rig_new(r->n);
	struct rig_node *n = &r->node[node];

	if (n->up)
		rig_crash(r, node, false);
	record_copy(&n->record, &first->node[node].record);
	n->facts = (struct replica_facts){0};
	n->before = (struct pos){0};
	n->nlog = n->ndurable = 0;
	n->flushed = n->commit = 0;
	rig_free(first);
}

static void recycle(struct rig_node *n)
{
	n->before = batch_end(&n->log[0].h);
	n->nlog--;
	n->ndurable--;
	memmove(n->log, n->log + 1, n->nlog * sizeof(n->log[0]));
}

/* The record of the other side says that it is in sync, which it was on another disk. */
Test(core_replaced, an_empty_replica_does_not_take_over_because_it_is_told_that_it_is_in_sync)
{
	struct rig *r = rig_pair();
	struct rig_node *b = &r->node[B];

	rig_write(r, A, 1);
	rig_write(r, A, 1);
	rig_crash(r, A, false);
	recycle(&r->node[A]);
	replace_disk(r, B);
	rig_start(r, A);
	rig_start(r, B);
	rig_connect(r, A, B);
	cr_assert_not(r->node[A].serving);
	cr_assert(b->record.replicas[B].in_sync);
	cr_assert(b->facts.met);
	rig_cut(r, A, B);
	rig_crash(r, A, false);
	for (unsigned i = 0; i < 2; i++) { /* again after a restart */
		cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-a"), -EPERM);
		says(r, B, "a replaced disk");
		cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EPERM);
		rig_crash(r, B, false);
		rig_start(r, B);
	}
	cr_assert_not(b->serving);
	cr_assert_eq(
		rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES | OPERATOR_ACCEPT_DATA_LOSS, NULL),
		CORE_ANSWER_OK);
	cr_assert(b->serving);
	cr_assert_not(b->facts.met);
	rig_free(r);
}

Test(core_replaced, who_was_active_alone_does_not_serve_from_another_disk)
{
	struct rig *r = rig_pair();
	struct rig_node *a = &r->node[A];

	rig_write(r, A, 1);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b");
	rig_cut(r, A, B);
	rig_write(r, A, 1);
	replace_disk(r, A);
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert(a->facts.met);
	cr_assert_not(a->serving);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-b"), -EPERM);
	cr_assert_eq(core_end(r->node[B].core).seq, 1);
	rig_free(r);
}

Test(core_replaced, an_empty_replica_takes_over_when_it_has_caught_up)
{
	for (unsigned serving = 0; serving < 2; serving++) {
		struct rig *r = rig_pair();
		struct rig_node *b = &r->node[B];

		rig_write(r, A, 1);
		if (!serving)
			rig_crash(r, A, false);
		replace_disk(r, B);
		if (!serving)
			rig_start(r, A);
		rig_start(r, B);
		rig_connect(r, A, B); /* the journal has it all */
		if (!serving) { /* what it says it cannot know */
			cr_assert_not(r->node[A].serving);
			rig_type(r, A, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-b");
			rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b");
		}
		cr_assert(r->node[A].serving);
		rig_write(r, A, 1);
		cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
		cr_assert_not(b->facts.met);
		rig_crash(r, A, false);
		cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-a"),
			CORE_ANSWER_OK);
		cr_assert(b->serving);
		cr_assert_eq(core_end(b->core).seq, 2);
		rig_free(r);
	}
}

/*
 * What the first record does not lead to step by step: a side that was promoted with --accept-data-loss and mended by
 * resync since, or more changes than a record remembers. b was the one that was promoted; a is the active.
 */
enum past { FORCED, FORGOTTEN, PASTS };

static void long_past(struct rig *r, unsigned node)
{
	struct record *rec = &r->node[node].record;

	rig_crash(r, node, false);
	for (unsigned i = 0; i < RECORD_ANCESTORS_MAX; i++)
		record_next(rec, 1000 + i, false);
}

static struct rig *pair_with(enum past past)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 1);
	if (past == FORGOTTEN) {
		long_past(r, A);
		long_past(r, B);
	} else {
		rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
		rig_crash(r, A, false);
		cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE,
				     OPERATOR_ACCEPT_DATA_LOSS | OPERATOR_YES, NULL),
			CORE_ANSWER_OK);
		rig_start(r, A);
		rig_connect(r, A, B);
		cr_assert_eq(rig_state(r, B, A), CORE_PEER_FORK);
		rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-b");
		rig_crash(r, A, false);
		rig_start(r, A);
		rig_connect(r, A, B);
		cr_assert_eq(rig_state(r, B, A), CORE_PEER_IN_SYNC);
		rig_type(r, B, OPERATOR_DEMOTE, 0, NULL);
		rig_drained(r, B);
		rig_crash(r, B, false);
		rig_start(r, B);
		rig_connect(r, A, B);
		cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, 0, NULL), CORE_ANSWER_OK);
	}
	if (past == FORGOTTEN) {
		rig_start(r, A);
		rig_start(r, B);
		rig_connect(r, A, B);
	}
	cr_assert(r->node[A].serving);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	rig_write(r, A, 2);
	return r;
}

/* The serving side leaves it out, and it comes back. */
Test(core_replaced, a_serving_side_with_any_past_takes_an_empty_one_back)
{
	for (enum past past = 0; past < PASTS; past++) {
		struct rig *r = pair_with(past);

		for (unsigned pulls = 0; pulls < 2; pulls++) {
			replace_disk(r, B);
			if (pulls)
				recycle(&r->node[A]);
			if (pulls) { /* the machine learns of its ring at a start */
				rig_crash(r, A, false);
				rig_start(r, A);
				rig_type(r, A, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-b");
				rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b");
			}
			rig_start(r, B);
			rig_connect(r, A, B);
			cr_assert(r->node[A].serving);
			cr_assert_eq(rig_state(r, A, B),
				pulls ? CORE_PEER_BEYOND : CORE_PEER_IN_SYNC, "past %d", past);
			cr_assert_eq(core_pull_from(r->node[B].core), pulls ? A : -1);
		}
		rig_free(r);
	}
}

Test(core_replaced, an_empty_one_with_any_past_elsewhere_does_not_take_over)
{
	for (enum past past = 0; past < PASTS; past++) {
		struct rig *r = pair_with(past);
		struct rig_node *b = &r->node[B];

		rig_crash(r, A, false);
		replace_disk(r, B);
		rig_start(r, A);
		rig_start(r, B);
		rig_connect(r, A, B);
		cr_assert_not(r->node[A].serving, "confirmed by an empty disk");
		cr_assert_eq(rig_state(r, A, B), CORE_PEER_BEYOND);
		cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EBUSY);
		rig_crash(r, A, false);
		cr_assert(b->facts.met);
		cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-a"), -EPERM);
		says(r, B, "a replaced disk");
		cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EPERM);
		cr_assert_not(b->serving);
		rig_free(r);
	}
}

/* And while that one serves, it answers: nobody takes over from it. */
Test(core_replaced, an_empty_one_outside_of_the_set_stays_out_whatever_the_past)
{
	for (enum past past = 0; past < PASTS; past++) {
		struct rig *r = pair_with(past);

		rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
		replace_disk(r, B);
		rig_start(r, B);
		rig_connect(r, A, B);
		cr_assert(r->node[A].serving);
		cr_assert_eq(rig_state(r, A, B), CORE_PEER_INACTIVE);
		cr_assert_not(r->node[B].record.replicas[B].in_sync);
		cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EBUSY);
		rig_cut(r, A, B);
		cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EPERM);
		rig_connect(r, A, B);
		cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
		cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
		cr_assert_eq(core_end(r->node[B].core).seq, core_end(r->node[A].core).seq);
		rig_free(r);
	}
}

/* The way that a damaged replica's status names (fs/volume_damaged.c): what it had alone is given up. */
Test(core_replaced, the_one_that_a_forced_promotion_left_out_comes_back_on_another_disk)
{
	struct rig *r = rig_pair();

	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_write(r, A, 2);
	replace_disk(r, A);
	rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_ACCEPT_DATA_LOSS | OPERATOR_YES, NULL);
	rig_write(r, B, 1);
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_INACTIVE);
	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, 0, "site-a"), CORE_ANSWER_OK);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_IN_SYNC);
	cr_assert_eq(core_end(r->node[A].core).seq, 1);
	rig_free(r);
}

/* Of three, two with another disk each: neither confirms the other, nor the third one them. */
Test(core_replaced, two_empty_ones_know_what_they_were_told)
{
	struct rig *r = rig_three();

	rig_write(r, A, 1);
	for (unsigned i = 0; i < 3; i++) {
		rig_crash(r, i, false);
		record_next(&r->node[i].record, 500, true);
		record_next(&r->node[i].record, 501, false);
	}
	replace_disk(r, A);
	replace_disk(r, B);
	for (unsigned i = 0; i < 3; i++)
		rig_start(r, i);
	rig_connect(r, A, C);
	rig_connect(r, A, B);
	cr_assert(r->node[A].facts.met);
	cr_assert_not(r->node[A].serving);
	rig_crash(r, C, false);
	cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EPERM);
	cr_assert_not(r->node[A].serving);
	rig_free(r);
}
