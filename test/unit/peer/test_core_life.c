/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's daily life, as transcripts (core_rig.h): birth, writes, silence, lost tails, catching
 * up, growing. */
#include <criterion/criterion.h>
#include <string.h>

#include "core_rig.h"

#define said(r, expected) cr_assert_str_eq(rig_said(r), expected)

Test(core, two_new_replicas_agree_on_the_first_epoch_before_one_serves)
{
	struct rig *r = rig_new(2);

	rig_start(r, A);
	rig_start(r, B);
	said(r, "a: starts confirming\n"
		"b: starts standby\n");
	rig_connect(r, A, B);
	said(r, "a>b hello 0\n"
		"b>a hello 0\n"
		"b>a ack 0\n"
		"a>b record\n"
		"b: record 2, epoch 1, active a, set ab\n" /* the peer first, */
		"b>a record-ack\n"
		"b>a ack 0\n"
		"a: record 2, epoch 1, active a, set ab\n" /* then the active, then the mount */
		"a: serve 1\n");
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_FOLLOWED);
	rig_free(r);
}

Test(core, a_write_goes_out_before_the_local_flush_and_commits_when_both_have_it)
{
	struct rig *r = rig_pair();

	r->node[A].slow = r->node[B].slow = true;
	rig_write(r, A, 2);
	said(r, "a>b batch 1+2\n"
		"a: append 1+2\n"
		"b: append 1+2\n");
	rig_durable(r, B);
	said(r, "b>a ack 2\n"); /* not yet here */
	rig_durable(r, A);
	said(r, "a: commit 2\n");
	rig_write(r, A, 0); /* the empty batch tells the standby */
	said(r, "a>b batch 3+0\n"
		"a: append 3+0\n"
		"b: append 3+0\n"
		"b: commit 2\n");
	rig_free(r);
}

Test(core, a_heartbeat_tells_the_standby_the_commit_index)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 3);
	cr_assert_eq(core_commit(r->node[B].core), 0);
	rig_pass(r, 1000);
	cr_assert_eq(core_commit(r->node[B].core), 3);
	rig_free(r);
}

/* What arrives now may have waited in a buffer since before the peer died. */
Test(core, a_peer_lived_when_it_sent_the_beat_that_is_echoed_and_not_when_that_was_read)
{
	struct rig *r = rig_pair();
	struct msg m = {.type = MSG_HEARTBEAT};
	struct core_peer_view v;
	uint64_t then;

	rig_pass(r, 3000);
	core_peer_view(r->node[B].core, A, &v);
	then = v.last_alive_ns;
	cr_assert_leq(then, r->now);
	cr_assert_gt(then, r->now - 1000000000);
	r->now += 50000000;
	m.epoch = r->node[A].record.epoch;
	m.heartbeat.echo_ns = then;
	rig_inject(r, A, B, &m);
	core_peer_view(r->node[B].core, A, &v);
	cr_assert_eq(v.last_heard_ns, r->now);
	cr_assert_eq(v.last_alive_ns, then);
	m.heartbeat.echo_ns = r->now + 1000000000; /* of a clock that is not ours */
	rig_inject(r, A, B, &m);
	core_peer_view(r->node[B].core, A, &v);
	cr_assert_eq(v.last_alive_ns, then);
	rig_free(r);
}

Test(core, the_active_commits_nothing_alone_while_the_record_requires_the_peer)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	rig_write(r, A, 1);
	rig_write(r, A, 2);
	rig_pass(r, 60000);
	said(r, "a: append 1+1\n"
		"a: append 2+2\n"); /* and no commit */
	rig_connect(r, A, B);
	said(r, "a>b hello 3\n"
		"b>a hello 0\n"
		"b>a ack 0\n"
		"a: reads from 1 for b\n"
		"a>b batch 1+1\n"
		"a>b batch 2+2\n"
		"b: append 1+1\n"
		"b: append 2+2\n"
		"b>a ack 3\n"
		"a: commit 3\n");
	rig_write(r, A, 1);
	said(r, "a>b batch 4+1\n" /* live again */
		"a: append 4+1\n"
		"b: append 4+1\n"
		"b: commit 3\n" /* the batch carries it */
		"b>a ack 4\n"
		"a: commit 4\n");
	rig_free(r);
}

Test(core, a_silent_connection_is_closed_after_the_time_out)
{
	struct rig *r = rig_pair();

	r->node[B].up = false; /* hangs: the connection stands, nothing comes */
	rig_pass(r, 4500);
	said(r, "");
	rig_pass(r, 1500);
	said(r, "a: close b\n");
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_DOWN);
	rig_free(r);
}

Test(core, the_restarted_active_adopts_the_tail_that_it_lost_before_it_serves)
{
	struct rig *r = rig_pair();

	r->node[A].slow = true;
	rig_write(r, A, 2);
	rig_said(r);
	rig_crash(r, A, true); /* sent, never flushed */
	r->node[A].slow = false;
	rig_start(r, A);
	rig_connect(r, A, B);
	said(r, "a: starts confirming\n"
		"a>b hello 0\n"
		"b>a hello 2\n"
		"b>a ack 2\n"
		"a>b fetch after 0\n"
		"b: reads from 1 for a\n"
		"b>a batch 1+2\n"
		"a: append 1+2\n"
		"a>b record\n"
		"b: record 3, epoch 2, active a, set ab\n"
		"b>a record-ack\n"
		"b>a ack 2\n"
		"a: record 3, epoch 2, active a, set ab\n"
		"a: commit 2\n"
		"a: serve 2\n");
	rig_free(r);
}

Test(core, the_restarted_active_streams_its_tail_before_it_serves)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	rig_write(r, A, 2);
	rig_crash(r, A, false);
	rig_said(r);
	rig_start(r, A);
	rig_connect(r, A, B);
	said(r, "a: starts confirming\n"
		"a>b hello 2\n"
		"b>a hello 0\n"
		"b>a ack 0\n"
		"a: reads from 1 for b\n"
		"a>b batch 1+2\n"
		"b: append 1+2\n"
		"b>a ack 2\n"
		"a>b record\n"
		"b: record 3, epoch 2, active a, set ab\n"
		"b>a record-ack\n"
		"b>a ack 2\n"
		"a: record 3, epoch 2, active a, set ab\n"
		"a: commit 2\n"
		"a: serve 2\n");
	rig_free(r);
}

Test(core, of_three_the_longest_tail_reaches_everybody_before_the_new_epoch)
{
	struct rig *r = rig_three();

	rig_write(r, A, 1);
	rig_cut(r, A, B);
	r->node[A].slow = true;
	rig_write(r, A, 2); /* only c has it */
	rig_crash(r, A, true);
	r->node[A].slow = false;
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert_not(r->node[A].serving);
	rig_connect(r, A, C);
	cr_assert(r->node[A].serving);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(core_end(r->node[i].core).seq, 3, "replica %u", i);
	cr_assert_eq(core_commit(r->node[A].core), 3);
	rig_free(r);
}

Test(core, a_crash_between_the_peers_record_and_its_own_costs_one_epoch)
{
	struct rig *r = rig_new(2);

	rig_start(r, A);
	rig_start(r, B);
	rig_connect(r, A, B);
	/* as if a had died before it wrote record 2 */
	rig_crash(r, A, false);
	record_copy(&r->node[A].record, &r->node[B].record);
	r->node[A].record.version = r->node[A].record.ancestors[0];
	r->node[A].record.nancestors = 0;
	r->node[A].record.epoch = (struct epoch){0};
	rig_said(r);
	rig_start(r, A);
	rig_connect(r, A, B);
	said(r, "a: starts confirming\n"
		"a>b hello 0\n"
		"b>a hello 0\n"
		"a: record 2, epoch 1, active a, set ab\n" /* adopted */
		"a>b hello 0\n"
		"a>b record\n"
		"b>a ack 0\n"
		"b: record 3, epoch 2, active a, set ab\n"
		"b>a record-ack\n"
		"b>a ack 0\n"
		"a: record 3, epoch 2, active a, set ab\n"
		"a: serve 2\n");
	rig_free(r);
}

Test(core, a_replica_that_boots_behind_a_cut_link_does_not_serve)
{
	struct rig *r = rig_pair();

	rig_crash(r, A, false);
	rig_said(r);
	rig_start(r, A);
	rig_pass(r, 60000);
	said(r, "a: starts confirming\n");
	cr_assert_eq(core_role(r->node[A].core), CORE_CONFIRMING);
	cr_assert_neq(core_trouble(r->node[A].core)[0], 0);
	rig_free(r);
}

Test(core, alone_in_the_set_it_needs_another_replicas_record_or_a_persons_word)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	rig_crash(r, A, false);
	rig_start(r, A);
	rig_pass(r, 10000);
	cr_assert_not(r->node[A].serving);
	cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, 0, NULL), CORE_ANSWER_ASK);
	cr_assert_not(r->node[A].serving);
	rig_connect(r, A, B); /* b's record is older */
	cr_assert(r->node[A].serving);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_INACTIVE);

	rig_crash(r, A, false);
	rig_start(r, A);
	cr_assert_eq(rig_type(r, A, OPERATOR_PROMOTE, OPERATOR_YES, NULL), CORE_ANSWER_OK);
	cr_assert(r->node[A].serving);
	rig_free(r);
}

Test(core, a_peer_grows_into_the_set_only_when_it_has_what_is_committed)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_write(r, A, 3);
	cr_assert_eq(core_commit(r->node[A].core), 3);
	rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b");
	r->node[B].slow = true;
	rig_said(r);
	rig_connect(r, A, B);
	said(r, "a>b hello 3\n"
		"b>a hello 0\n"
		"b: record 4, epoch 1, active a, set a\n"
		"b>a hello 0\n"
		"b>a ack 0\n"
		"a: reads from 1 for b\n"
		"a>b batch 1+3\n"
		"b: append 1+3\n"); /* b is not durable: not in sync yet */
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_CATCHING_UP);
	rig_durable(r, B);
	said(r, "b>a ack 3\n"
		"b: commit 3\n"
		"a: record 5, epoch 1, active a, set ab\n" /* the active first */
		"a>b record\n"
		"b: record 5, epoch 1, active a, set ab\n"
		"b>a record-ack\n"
		"b>a ack 3\n");
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	rig_free(r);
}

Test(core, a_peer_that_lost_what_it_acknowledged_leaves_the_set_first_and_then_catches_up)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 2);
	rig_cut(r, A, B);
	rig_crash(r, B, false);
	r->node[B].nlog = r->node[B].ndurable = 0; /* an old image of its disk */
	rig_said(r);
	rig_start(r, B);
	rig_connect(r, A, B);
	said(r, "b: starts standby\n"
		"a>b hello 2\n"
		"b>a hello 0\n"
		"b>a ack 0\n"
		"a: record 3, epoch 1, active a, set a\n"
		"a>b hello 2\n"
		"b: record 3, epoch 1, active a, set a\n"
		"b>a hello 0\n"
		"b>a ack 0\n"
		"a: reads from 1 for b\n"
		"a>b batch 1+2\n"
		"b: append 1+2\n"
		"b>a ack 2\n"
		"b: commit 2\n"
		"a: record 4, epoch 1, active a, set ab\n"
		"a>b record\n"
		"b: record 4, epoch 1, active a, set ab\n"
		"b>a record-ack\n"
		"b>a ack 2\n");
	rig_free(r);
}

Test(core, stopping_is_told_to_the_peers)
{
	struct rig *r = rig_pair();
	struct core_peer_view v;

	rig_step(r, A, &(struct core_event){.type = EV_STOP});
	rig_run(r);
	said(r, "a>b stopped\n"
		"a: exit\n");
	rig_crash(r, A, false);
	core_peer_view(r->node[B].core, A, &v);
	cr_assert(strstr(v.text, "stopped"));
	rig_free(r);
}
