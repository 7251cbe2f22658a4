/* SPDX-License-Identifier: Apache-2.0 */
/* The end of a fork by a person's word, as transcripts (core_rig.h). */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core_rig.h"

#define said(r, expected) cr_assert_str_eq(rig_said(r), expected)
#define says(r, who, word)                                                                         \
	cr_assert(strstr((r)->node[who].answer, word), "'%s' lacks '%s'", (r)->node[who].answer,   \
		word)

/* Both sides were deactivated during a cut: a wrote one entry alone, b two, after one that both have. */
static struct rig *forked(void)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 1);
	rig_cut(r, A, B);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL);
	rig_write(r, A, 1);
	rig_write(r, B, 2);
	rig_connect(r, A, B);
	rig_said(r);
	return r;
}

static void again(struct rig *r, unsigned node)
{
	rig_crash(r, node, false);
	rig_start(r, node);
	rig_connect(r, A, B);
}

Test(core_resync, the_loser_is_kept_aside_and_comes_back_in_sync_without_a_restart_of_the_winner)
{
	struct rig *r = forked();

	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-b"), CORE_ANSWER_OK);
	says(r, A, "aside");
	said(r, "a: builds, common 1\n"
		"a>b forward\n"
		"b: record 4, epoch 2, active b, set b\n"
		"b>a hello 3\n"
		"b>a forward-reply\n"
		"a: gives up for b\n"
		"a: answer 0\n"
		"a: fence\n");
	rig_crash(r, A, false);
	rig_start(r, A);
	cr_assert_eq(r->node[A].naside, 2); /* everything that it had */
	cr_assert_eq(r->node[A].record.version.number, 4);
	rig_said(r);
	rig_connect(r, A, B);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_IN_SYNC);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_FOLLOWED);
	cr_assert_eq(core_end(r->node[A].core).seq, 3);
	cr_assert(r->node[A].record.replicas[A].in_sync && r->node[B].record.replicas[A].in_sync);
	cr_assert(r->node[B].serving);
	rig_free(r);
}

Test(core_resync, the_status_names_the_commands_of_both_sides)
{
	struct rig *r = forked();
	struct core_peer_view v;

	for (unsigned i = 0; i < 2; i++) {
		core_peer_view(r->node[i].core, !i, &v);
		cr_assert(strstr(v.text, "tandemctl resync data --from site-a --preview"));
		cr_assert(strstr(v.text, "tandemctl resync data --from site-b --preview"));
		cr_assert_eq(v.common, 1);
	}
	rig_free(r);
}

Test(core_resync, what_activating_would_do_after_a_fork_is_to_be_refused)
{
	struct rig *r = forked();
	const char *answer = r->node[B].answer;

	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, OPERATOR_PREVIEW, "site-a"), -EINVAL);
	cr_assert(strstr(answer, "fork") && strstr(answer, "tandemctl resync data --from site-a"),
		"%s", answer);
	rig_free(r);
}

Test(core_resync, a_preview_and_a_question_change_nothing)
{
	struct rig *r = forked();

	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_PREVIEW, "site-b"), CORE_ANSWER_OK);
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_PREVIEW | OPERATOR_YES, "site-b"),
		CORE_ANSWER_OK);
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, 0, "site-b"), CORE_ANSWER_ASK);
	says(r, A, "1 entries after seq 1");
	said(r, "a: preview after 1 for b\n"
		"a: preview after 1 for b\n"
		"a: answer 1\n");
	cr_assert(r->node[A].serving);
	rig_free(r);
}

Test(core_resync, activate_during_a_fork_names_the_command_that_ends_it_and_changes_nothing)
{
	struct rig *r = forked();
	uint64_t version = r->node[A].record.version.number;

	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b"), -EINVAL);
	says(r, A, "fork");
	says(r, A, "type here 'tandemctl resync data --from site-b'");
	says(r, A, "type at site-b 'tandemctl resync data --from site-a'");
	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, 0, "site-b"), -EINVAL);
	says(r, B, "type here 'tandemctl resync data --from site-a'");
	cr_assert_eq(r->node[A].record.version.number, version);
	rig_type(r, B, OPERATOR_RESYNC, OPERATOR_YES, "site-a");
	again(r, B);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	rig_free(r);
}

Test(core_resync, it_is_refused_at_the_side_that_is_kept_and_without_a_fork)
{
	struct rig *r = forked(), *pair = rig_pair();

	cr_assert_eq(rig_type(r, B, OPERATOR_RESYNC, OPERATOR_YES, "site-b"), -EINVAL);
	says(r, B, "this side, which would be kept");
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-x"), -ENOENT);
	cr_assert_eq(rig_type(pair, B, OPERATOR_RESYNC, OPERATOR_YES, "site-a"), -EINVAL);
	says(pair, B, "no fork");
	rig_cut(r, A, B);
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-b"), -EHOSTUNREACH);
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_PREVIEW, "site-b"), -EHOSTUNREACH);
	rig_free(r);
	rig_free(pair);
}

Test(core_resync, a_side_that_does_not_serve_is_nobody_to_begin_again_from)
{
	struct rig *r = forked();

	again(r, A); /* not confirmed by anybody */
	cr_assert_eq(rig_type(r, B, OPERATOR_RESYNC, OPERATOR_YES, "site-a"), -EAGAIN);
	says(r, B, "does not serve");
	cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, OPERATOR_YES, NULL), CORE_ANSWER_OK);
	cr_assert_eq(rig_type(r, B, OPERATOR_RESYNC, OPERATOR_YES, "site-a"), CORE_ANSWER_OK);
	again(r, B);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	rig_free(r);
}

Test(core_resync, without_room_for_another_replica_nothing_happens)
{
	struct rig *r = forked();

	r->node[A].built = -ENOSPC;
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-b"), -ENOSPC);
	said(r, "a: builds, common 1\n"
		"a: answer -28\n");
	r->node[A].built = 0;
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-b"), CORE_ANSWER_OK);
	rig_free(r);
}

Test(core_resync, when_the_other_side_is_lost_before_its_answer_the_fork_is_as_it_was)
{
	struct rig *r = forked();

	r->node[B].up = false; /* it hears nothing any more */
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-b"), 12345);
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-b"), -EBUSY);
	r->node[A].code = 12345;
	rig_cut(r, A, B);
	cr_assert_eq(r->node[A].code, -ECONNRESET);
	cr_assert(r->node[A].serving && !r->node[A].given_up);
	again(r, B);
	rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_FORK);
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-b"), CORE_ANSWER_OK);
	rig_free(r);
}

Test(core_resync, two_sides_that_give_up_at_once_do_not_both)
{
	struct rig *r = forked();
	struct core_event ev = {.type = EV_OPERATOR};

	for (unsigned i = 0; i < 2; i++) {
		ev.op = (struct core_operator){
			.id = 500 + i, .verb = OPERATOR_RESYNC, .flags = OPERATOR_YES};
		snprintf(ev.op.domain, sizeof(ev.op.domain), "site-%c", i ? 'a' : 'b');
		rig_step(r, i, &ev);
	}
	rig_run(r);
	cr_assert(!r->node[A].given_up || !r->node[B].given_up);
	cr_assert_eq(r->node[A].given_up ? 0 : -EBUSY, r->node[A].code);
	rig_free(r);
}

Test(core_resync, the_winner_restarts_before_the_loser_is_back)
{
	struct rig *r = forked();

	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-b"), CORE_ANSWER_OK);
	rig_crash(r, A, false);
	rig_crash(r, B, true);
	rig_start(r, A);
	cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EPERM); /* outdated */
	rig_start(r, B);
	rig_connect(r, A, B); /* an equal record confirms b */
	cr_assert(r->node[B].serving);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_IN_SYNC);
	rig_free(r);
}

Test(core_resync, a_side_that_a_forced_promotion_left_out_comes_back_the_same_way)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_write(r, A, 2);
	rig_connect(r, A, B);
	rig_crash(r, A, false);
	cr_assert_eq(
		rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_ACCEPT_DATA_LOSS | OPERATOR_YES, NULL),
		CORE_ANSWER_OK);
	rig_write(r, B, 1);
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_FORK);
	cr_assert_eq(rig_type(r, A, OPERATOR_RESYNC, OPERATOR_YES, "site-b"), CORE_ANSWER_OK);
	again(r, A);
	cr_assert_eq(r->node[A].naside, 1);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_IN_SYNC);
	cr_assert_eq(core_end(r->node[A].core).seq, 1);
	rig_free(r);
}

/* a dropped c and still has b in its set: an empty b must not count as in sync there. */
Test(core_resync, the_kept_side_strikes_the_loser_from_its_set_first)
{
	struct rig *r = rig_three();

	rig_cut(r, A, B);
	rig_cut(r, B, C);
	rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL);
	rig_write(r, B, 1);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, OPERATOR_YES, "site-c"), CORE_ANSWER_OK);
	cr_assert(r->node[A].record.replicas[B].in_sync);
	rig_connect(r, A, B);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_FORK);
	rig_said(r);
	cr_assert_eq(rig_type(r, B, OPERATOR_RESYNC, OPERATOR_YES, "site-a"), CORE_ANSWER_OK);
	said(r, "b: builds, common 0\n"
		"b>a forward\n"
		"a: record 4, epoch 1, active a, set a, inactive c\n"
		"a>b hello 0\n"
		"a>c hello 0\n"
		"a>b forward-reply\n"
		"c: record 4, epoch 1, active a, set a, inactive c\n"
		"c>a hello 0\n"
		"b: gives up for a\n"
		"b: answer 0\n"
		"b: fence\n");
	cr_assert_not(r->node[B].begins_with.replicas[B].in_sync);
	rig_free(r);
}
