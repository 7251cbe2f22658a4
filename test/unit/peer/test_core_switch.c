/* SPDX-License-Identifier: Apache-2.0 */
/* Changing sides, as transcripts (core_rig.h): promote, return, activate, deactivate, demote; and
 * what persons are told. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core_rig.h"

#define said(r, expected) cr_assert_str_eq(rig_said(r), expected)
#define says(r, who, word)                                                                         \
	cr_assert(strstr((r)->node[who].answer, word), "'%s' lacks '%s'", (r)->node[who].answer,   \
		word)

Test(core_switch, promote_asks_first_and_then_refuses_the_old_epoch_before_it_counts_the_tail)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 2);
	rig_cut(r, A, B);
	rig_pass(r, 12000);
	rig_said(r);
	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, 0, NULL), CORE_ANSWER_ASK);
	says(r, B, "site-a was last heard from 12 s ago");
	says(r, B, "--yes");
	said(r, "b: answer 1\n");
	r->node[B].slow = true;
	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), CORE_ANSWER_OK);
	said(r, "b: record 3, epoch 2, active b, set b, inactive a\n"
		"b: commit 2\n"
		"b: serve 2\n"
		"b: answer 0\n");
	says(r, B, "activate clusterdomain site-a");
	rig_free(r);
}

Test(core_switch, a_promoted_replica_waits_until_its_own_tail_is_durable)
{
	struct rig *r = rig_pair();

	r->node[B].slow = true;
	rig_write(r, A, 2);
	rig_cut(r, A, B);
	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), 12345);
	cr_assert_not(r->node[B].serving);
	rig_said(r);
	rig_durable(r, B);
	said(r, "b: commit 2\n"
		"b: serve 2\n"
		"b: answer 0\n");
	rig_free(r);
}

Test(core_switch, deactivating_the_active_domain_elsewhere_is_promotion)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 1);
	rig_crash(r, A, false);
	rig_said(r);
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, 0, "site-a"), CORE_ANSWER_ASK);
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-a"), CORE_ANSWER_OK);
	said(r, "b: answer 1\n"
		"b: record 3, epoch 2, active b, set b, inactive a\n"
		"b: commit 1\n"
		"b: serve 2\n"
		"b: answer 0\n");
	rig_free(r);
}

Test(core_switch, what_deactivating_would_do_is_said_and_nothing_is_done)
{
	const unsigned preview = OPERATOR_PREVIEW, yes = OPERATOR_PREVIEW | OPERATOR_YES;
	struct rig *r = rig_pair();

	rig_write(r, A, 1);
	rig_said(r);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, preview, "site-b"), CORE_ANSWER_OK);
	says(r, A, "active here already");
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, preview, "site-b"), CORE_ANSWER_OK);
	says(r, B, "would be told");
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, yes, "site-a"), -EBUSY);
	rig_crash(r, A, false);
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, preview, "site-a"), CORE_ANSWER_ASK);
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, yes, "site-a"), CORE_ANSWER_OK);
	says(r, B, "would be promoted and serve");
	said(r, "a: answer 0\n"
		"b: answer 0\n"
		"b: answer -16\n"
		"b: answer 1\n"
		"b: answer 0\n");
	cr_assert_not(r->node[B].serving);
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-a"), CORE_ANSWER_OK);
	cr_assert(r->node[B].serving);
	rig_free(r);
}

Test(core_switch, what_deactivating_would_refuse_is_refused_when_it_is_asked_before)
{
	const unsigned yes = OPERATOR_PREVIEW | OPERATOR_YES;
	struct rig *r = rig_pair();

	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_write(r, A, 1);
	rig_crash(r, A, false);
	rig_said(r);
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, yes, "site-a"), -EPERM);
	says(r, B, "lacks what was acknowledged without it");
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, yes | OPERATOR_ACCEPT_DATA_LOSS, "site-a"),
		CORE_ANSWER_OK);
	says(r, B, "would be missing");
	said(r, "b: answer -1\n"
		"b: answer 0\n");
	rig_free(r);
}

Test(core_switch, promote_is_refused_while_the_active_answers)
{
	struct rig *r = rig_pair();

	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EBUSY);
	says(r, B, "hand over");
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-a"), -EBUSY);
	cr_assert(r->node[A].serving);
	rig_free(r);
}

/* b was promoted behind a cut and has written; a has a tail that was never acknowledged. */
static struct rig *split(void)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 2);
	rig_cut(r, A, B);
	rig_write(r, A, 1);
	rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL);
	rig_write(r, B, 2);
	rig_said(r);
	return r;
}

Test(core_switch, the_old_active_is_fenced_when_it_meets_the_newer_record)
{
	struct rig *r = split();

	rig_connect(r, A, B);
	said(r, "a>b hello 3\n"
		"b>a hello 4\n"
		"a: record 3, epoch 2, active b, set b, inactive a\n"
		"a: fence\n");
	cr_assert(strstr(r->node[A].fence, "epoch 2"));
	rig_write(r, B, 1); /* b goes on alone */
	cr_assert_eq(core_commit(r->node[B].core), 5);
	rig_free(r);
}

Test(core_switch, the_old_active_stays_out_until_it_is_activated_and_keeps_its_tail_until_then)
{
	struct rig *r = split();

	rig_connect(r, A, B);
	rig_crash(r, A, false);
	rig_said(r);
	rig_start(r, A);
	rig_connect(r, A, B);
	rig_write(r, B, 1);
	said(r, "a: starts standby\n"
		"a>b hello 3\n"
		"b>a hello 4\n"
		"b: append 5+1\n" /* nothing goes to a */
		"b: commit 5\n");
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_INACTIVE);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_INACTIVE);
	cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EBUSY);
	rig_cut(r, A, B);
	cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EPERM);
	says(r, A, "inactive");
	rig_free(r);
}

Test(core_switch, an_activated_replica_drops_its_tail_catches_up_and_is_in_sync_last)
{
	struct rig *r = split();

	rig_crash(r, A, false);
	rig_start(r, A);
	rig_connect(r, A, B);
	rig_said(r);
	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, 0, "site-a"), CORE_ANSWER_OK);
	said(r, "b: record 4, epoch 2, active b, set b\n"
		"b>a hello 4\n"
		"b: answer 0\n"
		"a: record 4, epoch 2, active b, set b\n" /* the record first, */
		"a: drops after 2\n" /* then the tail */
		"a>b hello 2\n"
		"a>b ack 2\n"
		"b: reads from 3 for a\n"
		"b>a batch 3+2\n"
		"a: append 3+2\n"
		"a>b ack 4\n"
		"a: commit 4\n"
		"b: record 5, epoch 2, active b, set ab\n"
		"b>a record\n"
		"a: record 5, epoch 2, active b, set ab\n"
		"a>b record-ack\n"
		"a>b ack 4\n");
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_IN_SYNC);
	rig_free(r);
}

/* Its tail cannot be dropped: RocksDB's files hold it. Nothing of it is touched, and nothing comes by the journal. */
Test(core_switch, an_activated_replica_whose_flushed_state_is_beyond_the_fork_pulls)
{
	struct rig *r = split();

	rig_crash(r, A, false);
	r->node[A].flushed = 3;
	rig_start(r, A);
	rig_connect(r, A, B);
	rig_said(r);
	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, 0, "site-a"), CORE_ANSWER_OK);
	said(r, "b: record 4, epoch 2, active b, set b\n"
		"b>a hello 4\n"
		"b: answer 0\n"
		"a: record 4, epoch 2, active b, set b\n"
		"a>b hello 3\n");
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_BEYOND);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_BEYOND);
	cr_assert_eq(core_pull_from(r->node[A].core), B);
	rig_write(r, B, 1); /* b goes on alone */
	cr_assert_eq(core_commit(r->node[B].core), 5);
	cr_assert_eq(core_end(r->node[A].core).seq, 3);
	rig_free(r);
}

Test(core_switch, what_activating_would_do_is_said_and_nothing_is_done)
{
	struct rig *r = split();

	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, OPERATOR_PREVIEW, "site-b"), CORE_ANSWER_OK);
	says(r, B, "is not inactive");
	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, OPERATOR_PREVIEW, "site-a"), CORE_ANSWER_OK);
	says(r, B, "not reached");
	rig_crash(r, A, false);
	rig_start(r, A);
	rig_connect(r, A, B);
	rig_said(r);
	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, OPERATOR_PREVIEW, "site-a"), CORE_ANSWER_OK);
	says(r, B,
		"site-a would be active again: it is reached, and would come back by the journal: "
		"it is 2 entries behind; its last 1 entries, which nobody acknowledged, are "
		"dropped");
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, OPERATOR_PREVIEW, "site-a"), CORE_ANSWER_OK);
	says(r, A, "site-b is active and reached, and would be told");
	said(r, "b: answer 0\n"
		"a: answer 0\n");
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_INACTIVE);
	rig_write(r, B, 1);
	cr_assert_eq(core_end(r->node[A].core).seq, core_end(r->node[B].core).seq - 2);
	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, 0, "site-a"), CORE_ANSWER_OK);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_IN_SYNC);
	rig_free(r);
}

Test(core_switch, a_domain_that_lacks_nothing_or_was_left_out_while_it_was_reached)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 2);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, OPERATOR_PREVIEW, "site-b"), CORE_ANSWER_OK);
	says(r, A, "it is reached, and lacks nothing");
	rig_write(r, A, 3);
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, OPERATOR_PREVIEW, "site-b"), CORE_ANSWER_OK);
	says(r, A, "by the journal: it is 3 entries behind");
	rig_cut(r, A, B);
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, OPERATOR_PREVIEW, "site-b"), CORE_ANSWER_OK);
	says(r, A, "what it acknowledged last is 3 entries behind, and the journal reaches back");
	rig_free(r);
}

Test(core_switch, activate_and_deactivate_typed_on_the_own_side_are_forwarded)
{
	struct rig *r = rig_pair();

	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	said(r, "b>a forward\n"
		"a>b record\n"
		"b: record 3, epoch 1, active a, set a, inactive b\n" /* the leaver first */
		"b>a record-ack\n"
		"a: record 3, epoch 1, active a, set a, inactive b\n"
		"a>b forward-reply\n"
		"b: answer 0\n");
	rig_write(r, A, 1);
	cr_assert_eq(core_commit(r->node[A].core), 1);
	cr_assert_eq(core_end(r->node[B].core).seq, 0);
	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	cr_assert_eq(core_end(r->node[B].core).seq, 1);
	rig_cut(r, A, B);
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, 0, "site-b"), -EHOSTUNREACH);
	rig_free(r);
}

Test(core_switch, the_active_leaves_an_unreached_domain_out_alone_and_writes_go_on)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	rig_write(r, A, 2);
	rig_said(r);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	said(r, "a: record 3, epoch 1, active a, set a, inactive b\n" /* before the first answer */
		"a: answer 0\n"
		"a: commit 2\n");
	says(r, A, "not reached");
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-a"), -EBUSY);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-x"), -ENOENT);
	rig_free(r);
}

Test(core_switch, demote_drains_agrees_and_leaves_both_sides_level_for_either)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 2);
	rig_said(r);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEMOTE, 0, NULL), 12345);
	said(r, "a: stop staging\n");
	cr_assert_eq(rig_type(r, A, OPERATOR_DEMOTE, 0, NULL), -EBUSY);
	rig_said(r);
	r->node[A].code = 12345;
	rig_drained(r, A);
	said(r, "a>b record\n"
		"b: record 3, epoch 1, active -, set ab\n"
		"b>a record-ack\n"
		"b>a hello 2\n"
		"a: record 3, epoch 1, active -, set ab\n"
		"a: answer 0\n"
		"a: fence\n");
	rig_crash(r, A, false);
	rig_said(r);
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IDLE);
	rig_said(r);
	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, 0, NULL), CORE_ANSWER_OK); /* asks nothing */
	said(r, "b>a record\n"
		"a: record 4, epoch 2, active b, set ab\n"
		"a>b record-ack\n"
		"a>b hello 2\n"
		"b: record 4, epoch 2, active b, set ab\n"
		"b>a hello 2\n"
		"a>b ack 2\n"
		"b: commit 2\n"
		"b: serve 2\n"
		"b: answer 0\n");
	rig_free(r);
}

Test(core_switch, a_demotion_whose_peer_is_lost_is_taken_back_and_can_be_repeated)
{
	struct rig *r = rig_pair();
	uint64_t version = r->node[A].record.version.number;

	rig_write(r, A, 2);
	rig_type(r, A, OPERATOR_DEMOTE, 0, NULL);
	rig_cut(r, A, B);
	rig_drained(r, A);
	rig_pass(r, 39500);
	rig_said(r);
	cr_assert_eq(core_role(r->node[A].core), CORE_DRAINING);
	cr_assert_eq(r->node[A].code, 12345);
	rig_pass(r, 1000);
	said(r, "a: go on staging\n"
		"a: answer -113\n");
	says(r, A, "site-b was lost");
	says(r, A, "serves on");
	cr_assert_eq(core_role(r->node[A].core), CORE_ACTIVE);
	cr_assert_eq(r->node[A].record.version.number, version);
	cr_assert(r->node[A].serving);
	rig_write(r, A, 3);
	rig_connect(r, A, B);
	cr_assert_eq(r->node[A].commit, 5u);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEMOTE, 0, NULL), 12345);
	rig_drained(r, A);
	cr_assert_eq(r->node[A].code, CORE_ANSWER_OK);
	cr_assert(record_find(&r->node[B].record, &r->node[B].record.active) < 0);
	rig_free(r);
}

Test(core_switch, a_demotion_that_the_peer_may_have_agreed_to_is_not_taken_back)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 2);
	rig_type(r, A, OPERATOR_DEMOTE, 0, NULL);
	rig_step(r, A, &(struct core_event){.type = EV_DRAINED}); /* the record is on its way */
	rig_cut(r, A, B);
	rig_pass(r, 60000);
	cr_assert_eq(core_role(r->node[A].core), CORE_DRAINING);
	cr_assert_eq(r->node[A].code, 12345);
	rig_connect(r, A, B);
	rig_run(r);
	cr_assert_eq(r->node[A].code, CORE_ANSWER_OK);
	cr_assert(record_find(&r->node[A].record, &r->node[A].record.active) < 0);
	rig_free(r);
}

Test(core_switch, a_demotion_outlasts_a_short_break_of_the_link)
{
	struct rig *r = rig_pair();

	rig_type(r, A, OPERATOR_DEMOTE, 0, NULL);
	rig_cut(r, A, B);
	rig_pass(r, 10000);
	rig_connect(r, A, B);
	rig_drained(r, A);
	cr_assert_eq(r->node[A].code, CORE_ANSWER_OK);
	rig_free(r);
}

Test(core_switch, demote_is_refused_while_the_peer_is_silent_and_force_changes_no_record)
{
	struct rig *r = rig_pair();
	uint64_t version = r->node[A].record.version.number;

	rig_cut(r, A, B);
	rig_said(r);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEMOTE, 0, NULL), -EHOSTUNREACH);
	says(r, A, "--force");
	cr_assert_eq(rig_type(r, A, OPERATOR_DEMOTE, OPERATOR_FORCE, NULL), CORE_ANSWER_OK);
	said(r, "a: answer -113\n"
		"a: answer 0\n"
		"a: fence\n");
	cr_assert_eq(r->node[A].record.version.number, version);
	cr_assert(r->node[A].facts.demoted);
	rig_crash(r, A, false);
	rig_start(r, A);
	rig_connect(r, A, B);
	rig_pass(r, 2000);
	cr_assert_not(r->node[A].serving); /* although the peer confirms it */
	cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, 0, NULL), CORE_ANSWER_OK);
	cr_assert(r->node[A].serving);
	cr_assert_not(r->node[A].facts.demoted);
	rig_free(r);
}

Test(core_switch, promote_of_an_unconfirmed_active_needs_a_word_and_leaves_the_missing_out)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 1);
	rig_crash(r, A, false);
	rig_start(r, A);
	rig_said(r);
	cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, 0, NULL), CORE_ANSWER_ASK);
	says(r, A, "site-b");
	cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, OPERATOR_YES, NULL), CORE_ANSWER_OK);
	said(r, "a: answer 1\n"
		"a: record 3, epoch 2, active a, set a\n"
		"a: commit 1\n"
		"a: serve 2\n"
		"a: answer 0\n");
	rig_connect(r, A, B); /* left out, not inactive: it comes back by itself */
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	rig_free(r);
}

Test(core_switch, of_three_the_promoted_one_takes_the_reached_ones_along)
{
	struct rig *r = rig_three();

	rig_write(r, A, 1);
	rig_crash(r, A, false);
	rig_said(r);
	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), CORE_ANSWER_OK);
	said(r, "b>c record\n"
		"c>b record-ack\n"
		"b: record 3, epoch 2, active b, set bc, inactive a\n"
		"b>c hello 1\n"
		"c: record 3, epoch 2, active b, set bc, inactive a\n"
		"c>b hello 1\n"
		"c>b ack 1\n"
		"b: commit 1\n"
		"b: serve 2\n"
		"b: answer 0\n");
	rig_free(r);
}

Test(core_switch, two_promotions_that_cross_end_with_one_active_and_no_fork)
{
	struct rig *r = rig_pair();
	struct core_event ev = {.type = EV_OPERATOR, .op = {.id = 1, .verb = OPERATOR_PROMOTE}};

	rig_type(r, A, OPERATOR_DEMOTE, 0, NULL);
	rig_drained(r, A);
	rig_crash(r, A, false);
	rig_start(r, A);
	rig_connect(r, A, B);
	rig_step(r, A, &ev); /* both before a frame moves */
	rig_step(r, B, &ev);
	rig_run(r);
	if (!r->conn[A][B]) /* in doubt they shake hands again */
		rig_connect(r, A, B);
	cr_assert(r->node[A].serving);
	cr_assert_not(r->node[B].serving);
	cr_assert_eq(record_compare(&r->node[A].record, &r->node[B].record), RECORD_SAME);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	rig_free(r);
}

Test(core_switch, a_half_agreed_proposal_is_no_fork_even_after_a_crash_and_a_persons_word)
{
	struct rig *r = rig_pair();
	struct record *old = malloc(sizeof(*old));

	cr_assert(old);
	rig_crash(r, A, false);
	record_copy(old, &r->node[A].record);
	rig_start(r, A);
	rig_connect(r, A, B); /* a proposes epoch 2, b accepts, */
	rig_crash(r, A, false);
	cr_assert_eq(r->node[A].facts.nproposed, 1u);
	record_copy(&r->node[A].record, old); /* and a dies before it has written it */
	rig_start(r, A);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-b"), CORE_ANSWER_OK);
	cr_assert(r->node[A].serving);
	cr_assert_gt(r->node[A].record.epoch.num, r->node[B].record.epoch.num);
	rig_connect(r, A, B);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_INACTIVE); /* b follows */
	cr_assert_eq(record_compare(&r->node[A].record, &r->node[B].record), RECORD_SAME);
	free(old);
	rig_free(r);
}

Test(core_switch, a_plan_is_above_every_epoch_of_the_promotions_that_broke_off)
{
	struct rig *r = rig_pair();
	struct core_event ev = {.type = EV_OPERATOR, .op = {.id = 1, .verb = OPERATOR_PROMOTE}};
	struct record *old = malloc(sizeof(*old));

	cr_assert(old);
	rig_type(r, A, OPERATOR_DEMOTE, 0, NULL);
	rig_drained(r, A);
	rig_crash(r, A, false);
	rig_start(r, A);
	rig_connect(r, A, B);
	rig_step(r, B, &ev); /* b proposes, and a dies with it, */
	rig_crash(r, A, false);
	rig_run(r);
	record_copy(old, &r->node[B].record);
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, 0, NULL), CORE_ANSWER_OK); /* a accepts, */
	rig_crash(r, B, false);
	record_copy(&r->node[B].record, old); /* and b dies before it has written it */
	cr_assert_eq(r->node[B].facts.nproposed, 2u);
	rig_start(r, B);
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-a"), CORE_ANSWER_OK);
	cr_assert_geq(r->node[B].record.epoch.num, r->node[A].record.epoch.num);
	rig_connect(r, A, B);
	cr_assert_eq(record_compare(&r->node[A].record, &r->node[B].record), RECORD_SAME);
	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), CORE_ANSWER_OK);
	cr_assert(r->node[B].serving);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_INACTIVE);
	free(old);
	rig_free(r);
}

/* One of its set is not there, and may have been promoted: it must not find that the set has grown meanwhile. */
Test(core_switch, nobody_joins_while_another_of_the_set_is_away)
{
	struct rig *r = rig_three();

	rig_type(r, A, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-c");
	rig_cut(r, A, C);
	rig_cut(r, B, C);
	rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-c");
	rig_write(r, A, 1);
	rig_cut(r, A, B);
	rig_connect(r, A, C);
	rig_pass(r, 1000);
	cr_assert_eq(core_end(r->node[C].core).seq, 1);
	cr_assert_not(r->node[A].record.replicas[C].in_sync);
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-a"), CORE_ANSWER_OK);
	cr_assert(r->node[B].serving);
	rig_connect(r, A, B);
	rig_connect(r, B, C);
	for (unsigned i = A; i <= C; i++)
		cr_assert_neq(record_compare(&r->node[i].record, &r->node[B].record), RECORD_FORK);
	rig_free(r);
}

/* It is asked, and agrees; commits wait for who joins from then on. */
Test(core_switch, the_others_of_the_set_agree_to_who_joins)
{
	struct rig *r = rig_three();

	rig_type(r, A, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-c");
	rig_write(r, A, 1);
	rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-c");
	for (unsigned i = A; i <= C; i++)
		cr_assert(r->node[i].record.replicas[C].in_sync);
	cr_assert_eq(r->node[A].commit, 1);
	rig_cut(r, A, C);
	rig_write(r, A, 1);
	cr_assert_eq(r->node[A].commit, 1);
	rig_free(r);
}

/* Asked by the active for its next epoch, one of three promises; another one may be promoted meanwhile. */
Test(core_switch, who_has_promised_a_record_makes_only_such_that_follow_it)
{
	struct rig *r = rig_three();
	struct rig_node *b = &r->node[B];
	static struct record planned, other;
	struct msg m = {.type = MSG_RECORD, .record = {.nonce = 5, .record = &planned}};

	record_copy(&planned, &b->record);
	record_copy(&other, &b->record);
	record_next(&planned, 77, false);
	record_next(&other, 78, false);
	planned.epoch = (struct epoch){.num = planned.epoch.num + 4, .id = 77};
	rig_inject(r, A, B, &m);
	cr_assert_lt(b->record.version.number, planned.version.number);
	cr_assert_eq(b->facts.nproposed, 1);
	other.epoch = (struct epoch){.num = other.epoch.num + 1, .id = 78};
	m.record = (struct msg_record){.nonce = 6, .record = &other};
	rig_inject(r, C, B, &m);
	cr_assert_eq(b->facts.nproposed, 2);
	rig_crash(r, A, false);
	rig_crash(r, C, false);
	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), CORE_ANSWER_OK);
	cr_assert_eq(record_compare(&b->record, &planned), RECORD_NEWER);
	cr_assert_eq(record_compare(&b->record, &other), RECORD_NEWER);
	cr_assert_gt(b->record.epoch.num, planned.epoch.num);
	rig_free(r);
}

/* It said by HELLO that it is in no set of an epoch, and has agreed since. */
Test(core_switch, one_of_three_that_has_agreed_is_not_taken_for_a_replaced_disk)
{
	struct rig *r = rig_new(3);
	struct core_event ev = {.type = EV_OPERATOR,
		.op = {.id = 1,
			.verb = OPERATOR_DEACTIVATE,
			.flags = OPERATOR_YES,
			.domain = "site-c"}};

	for (unsigned i = A; i <= C; i++)
		rig_start(r, i);
	rig_connect(r, B, C);
	rig_connect(r, A, B);
	rig_connect(r, A, C);
	cr_assert(r->node[A].serving);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	rig_cut(r, A, C);
	rig_step(r, A, &ev);
	for (unsigned i = 0; i < 3; i++) /* before site-b has said that it holds the record */
		rig_step(r, A, &(struct core_event){.type = EV_TICK});
	cr_assert(r->node[A].record.replicas[B].in_sync, "site-b was left out");
	rig_run(r);
	cr_assert(r->node[A].record.replicas[B].in_sync);
	cr_assert_eq(r->node[A].record.version.number, r->node[B].record.version.number);
	rig_free(r);
}

/* site-c has not agreed to an epoch, and is not left out at a word about site-b. */
Test(core_switch, a_third_one_is_waited_for_when_one_is_deactivated_before_it_was_reached)
{
	struct rig *r = rig_new(3);

	rig_start(r, A);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-b"), CORE_ANSWER_OK);
	cr_assert_not(r->node[A].serving);
	cr_assert_eq(r->node[A].record.epoch.num, 0);
	rig_start(r, C);
	rig_connect(r, A, C);
	cr_assert_not(r->node[C].facts.met);
	cr_assert(r->node[A].serving);
	cr_assert(r->node[C].record.replicas[C].in_sync);
	rig_free(r);
}
