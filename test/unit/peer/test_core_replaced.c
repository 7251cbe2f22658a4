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
