/* SPDX-License-Identifier: Apache-2.0 */
/* What the machine refuses, and forks, as transcripts (core_rig.h). */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "core_rig.h"

#define said(r, expected) cr_assert_str_eq(rig_said(r), expected)
#define says(r, who, word)                                                                         \
	cr_assert(strstr((r)->node[who].answer, word), "'%s' lacks '%s'", (r)->node[who].answer,   \
		word)

Test(core_refuse, changes_on_both_sides_of_a_cut_are_a_fork_and_nothing_is_touched)
{
	struct rig *r = rig_pair();
	struct core_peer_view v;

	rig_cut(r, A, B);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL);
	rig_write(r, A, 1);
	rig_write(r, B, 2);
	rig_said(r);
	rig_connect(r, A, B);
	said(r, "a>b hello 1\n"
		"b>a hello 2\n"
		"b>a hello 2\n"
		"a>b hello 1\n");
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(rig_state(r, i, !i), CORE_PEER_FORK);
		core_peer_view(r->node[i].core, !i, &v);
		cr_assert(strstr(v.text, "site-a") && strstr(v.text, "site-b"));
		cr_assert(strstr(core_trouble(r->node[i].core), "fork"));
		rig_write(r, i, 1); /* both go on for their own clients */
	}
	cr_assert_eq(core_commit(r->node[A].core), 2);
	cr_assert_eq(core_commit(r->node[B].core), 3);
	rig_free(r);
}

Test(core_refuse, an_outdated_replica_is_promoted_only_with_accepted_loss_and_makes_a_fork)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_write(r, A, 2);
	rig_connect(r, A, B); /* b learns that it is inactive */
	rig_crash(r, A, false);
	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EPERM);
	cr_assert_eq(
		rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_ACCEPT_DATA_LOSS, NULL), CORE_ANSWER_ASK);
	says(r, B, "seq 0");
	rig_said(r);
	cr_assert_eq(
		rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_ACCEPT_DATA_LOSS | OPERATOR_YES, NULL),
		CORE_ANSWER_OK);
	said(r, "b: record 4 forced, epoch 2, active b, set b, inactive a\n"
		"b: serve 2\n"
		"b: answer 0\n");
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_FORK);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_FORK);
	cr_assert_eq(core_end(r->node[A].core).seq, 2);
	rig_free(r);
}

Test(core_refuse, a_suspect_replica_is_not_promoted)
{
	struct rig *r = rig_pair();

	rig_crash(r, B, false);
	r->node[B].facts.bad_starts = 3;
	rig_start(r, B);
	rig_crash(r, A, false);
	cr_assert_eq(rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES, NULL), -EPERM);
	says(r, B, "suspect");
	cr_assert_eq(
		rig_type(r, B, OPERATOR_PROMOTE, OPERATOR_YES | OPERATOR_ACCEPT_DATA_LOSS, NULL),
		CORE_ANSWER_OK);
	cr_assert_not(r->node[B].record.version.forced); /* it had everything */
	rig_free(r);
}

static struct msg batch_of(const struct rig *r, struct epoch frame, struct epoch epoch,
	uint64_t first, uint32_t before)
{
	struct msg m = {.type = MSG_APPEND, .epoch = frame};

	m.append.h = (struct batch_header){.length = 256,
		.count = 1,
		.volume = r->node[A].record.volume,
		.epoch = epoch,
		.first_seq = first,
		.chain_before = before,
		.chain_after = 4711};
	return m;
}

Test(core_refuse, a_batch_of_an_older_epoch_is_refused_before_anything_is_written)
{
	struct rig *r = rig_pair();
	struct epoch old = r->node[A].record.epoch, now;
	struct msg m;

	rig_crash(r, A, false);
	rig_start(r, A);
	rig_connect(r, A, B); /* epoch 2 */
	now = r->node[B].record.epoch;
	cr_assert_eq(now.num, 2);
	rig_said(r);
	m = batch_of(r, old, old, 1, 0);
	rig_inject(r, A, B, &m);
	said(r, "b>a refused\n"
		"b: close a\n");
	cr_assert_eq(core_end(r->node[B].core).seq, 0);
	rig_free(r);
}

Test(core_refuse, a_batch_that_does_not_continue_the_history_closes_the_connection)
{
	struct rig *r = rig_pair();
	struct epoch e = r->node[A].record.epoch, other = {.id = e.id + 1, .num = e.num};
	struct msg m;

	rig_write(r, A, 1);
	rig_said(r);
	m = batch_of(r, e, e, 3, 0); /* a gap */
	rig_inject(r, A, B, &m);
	said(r, "b: close a\n");
	rig_connect(r, A, B);
	rig_said(r);
	m = batch_of(r, e, e, 2, 99); /* another chain */
	rig_inject(r, A, B, &m);
	said(r, "b: close a\n");
	rig_connect(r, A, B);
	rig_said(r);
	m = batch_of(r, e, other, 2, r->node[B].log[0].h.chain_after); /* an unknown epoch */
	rig_inject(r, A, B, &m);
	said(r, "b: close a\n");
	cr_assert_eq(core_end(r->node[B].core).seq, 1);
	rig_free(r);
}

Test(core_refuse, a_batch_that_is_there_already_is_acknowledged_again)
{
	struct rig *r = rig_pair();
	struct msg m = {.type = MSG_APPEND};

	rig_write(r, A, 1);
	rig_said(r);
	m.epoch = r->node[A].record.epoch;
	m.append.h = r->node[A].log[0].h;
	rig_inject(r, A, B, &m);
	said(r, "b>a ack 1\n");
	m.append.h.epoch.id++; /* the same seq of another epoch */
	m.append.h.epoch.num--;
	rig_inject(r, A, B, &m);
	said(r, "b: close a\n");
	rig_free(r);
}

Test(core_refuse, only_the_active_may_write_to_a_standby)
{
	struct rig *r = rig_three();
	struct epoch e = r->node[A].record.epoch;
	struct msg m = batch_of(r, e, e, 1, 0);

	rig_inject(r, B, C, &m);
	said(r, "c: close b\n");
	rig_inject(r, B, A, &m);
	said(r, "a: close b\n");
	rig_free(r);
}

Test(core_refuse, another_cluster_or_volume_is_refused)
{
	struct rig *r = rig_new(2);

	r->node[B].record.cluster.b[5] = 9;
	rig_start(r, A);
	rig_start(r, B);
	rig_said(r);
	rig_connect(r, A, B);
	said(r, "a>b hello 0\n"
		"b>a hello 0\n"
		"b>a refused\n"
		"b: close a\n");
	cr_assert_not(r->node[A].serving);
	rig_free(r);
}

Test(core_refuse, a_tail_that_is_committed_here_is_never_dropped)
{
	struct rig *r = rig_pair();

	rig_write(r, A, 2);
	rig_write(r, A, 0); /* b knows that 2 is committed */
	rig_cut(r, A, B);
	/* a comes back as an impostor: its record alone, in a newer version, without its history */
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b");
	rig_crash(r, A, false);
	r->node[A].nlog = r->node[A].ndurable = 0;
	rig_start(r, A);
	rig_type(r, A, OPERATOR_PROMOTE, OPERATOR_YES, NULL);
	rig_said(r);
	rig_connect(r, A, B);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_BEYOND);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_BEYOND);
	cr_assert_eq(core_end(r->node[B].core).seq, 2);
	rig_free(r);
}

Test(core_refuse, a_peer_behind_the_start_of_the_ring_is_beyond)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b");
	rig_write(r, A, 1);
	rig_write(r, A, 1);
	cr_assert_eq(core_wanted_floor(r->node[A].core), 1); /* b wants it all, */
	rig_crash(r, A, false);
	r->node[A].before = batch_end(&r->node[A].log[0].h); /* but the ring was recycled */
	memmove(r->node[A].log, r->node[A].log + 1, sizeof(r->node[A].log[0]));
	r->node[A].nlog = r->node[A].ndurable = 1;
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert(r->node[A].serving); /* alone in its set, b confirmed it */
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_BEYOND);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_BEYOND);
	rig_free(r);
}

Test(core_refuse, activating_a_peer_behind_the_start_of_the_ring_would_be_by_pulling)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_write(r, A, 1);
	rig_write(r, A, 1);
	rig_crash(r, A, false);
	r->node[A].before = batch_end(&r->node[A].log[0].h); /* the ring was recycled */
	memmove(r->node[A].log, r->node[A].log + 1, sizeof(r->node[A].log[0]));
	r->node[A].nlog = r->node[A].ndurable = 1;
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert(r->node[A].serving);
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, OPERATOR_PREVIEW, "site-b"), CORE_ANSWER_OK);
	cr_assert(strstr(r->node[A].answer, "by pulling: it is 2 entries behind"), "%s",
		r->node[A].answer);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_INACTIVE);
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_BEYOND);
	rig_free(r);
}

Test(core_refuse, a_peer_whose_stream_is_recycled_after_the_handshake_learns_that_it_is_beyond)
{
	struct rig *r = rig_pair();
	struct core_event ev = {.type = EV_STATUS};
	struct rig_node *a = &r->node[A];

	rig_cut(r, A, B);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b");
	rig_write(r, A, 1);
	rig_write(r, A, 1);
	a->before = batch_end(&a->log[0].h); /* recycled, and the machine does not know it yet */
	memmove(a->log, a->log + 1, sizeof(a->log[0]));
	a->nlog = a->ndurable = 1;
	rig_connect(r, A, B);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_FOLLOWED);
	cr_assert_eq(core_pull_from(r->node[B].core), -1);
	ev.status.floor = a->before.seq + 1;
	ev.status.before = a->before;
	rig_step(r, A, &ev);
	rig_run(r);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_BEYOND);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_BEYOND);
	cr_assert_eq(core_pull_from(r->node[B].core), A);
	rig_said(r);
	for (unsigned i = 0; i < 10; i++) {
		rig_step(r, A, &ev);
		rig_run(r);
	}
	cr_assert(!strstr(rig_said(r), "hello"), "it is told once");
	rig_free(r);
}

Test(core_refuse, a_peer_outside_of_the_set_pulls_what_cannot_be_read_back_from_the_ring)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b");
	rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b");
	rig_write(r, A, 1);
	rig_write(r, A, 1);
	r->node[A].unread = 1;
	rig_said(r);
	rig_connect(r, A, B);
	cr_assert(!strstr(rig_said(r), "close"));
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_BEYOND);
	cr_assert_eq(rig_state(r, B, A), CORE_PEER_BEYOND);
	cr_assert_eq(core_pull_from(r->node[B].core), A);
	cr_assert_eq(core_commit(r->node[A].core), 2);
	rig_free(r);
}

/* It lacks what is not committed: a person decides whether the set goes on without it, and is told how. */
Test(core_refuse,
	a_peer_of_the_set_that_lacks_what_cannot_be_read_back_is_waited_for_until_a_person_says_so)
{
	struct rig *r = rig_pair();
	struct core_peer_view v;

	rig_cut(r, A, B);
	rig_write(r, A, 1);
	rig_write(r, A, 1);
	r->node[A].unread = 1;
	rig_said(r);
	rig_connect(r, A, B);
	cr_assert(!strstr(rig_said(r), "close"));
	cr_assert_eq(core_commit(r->node[A].core), 0);
	cr_assert_eq(core_pull_from(r->node[B].core), -1);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(rig_state(r, i, !i), CORE_PEER_BEYOND);
		core_peer_view(r->node[i].core, !i, &v);
		cr_assert(strstr(v.text, "the journal of site-a cannot give it"), "%s", v.text);
		cr_assert(strstr(v.text, "deactivate clusterdomain site-b"), "%s", v.text);
	}
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	cr_assert_eq(core_commit(r->node[A].core), 2);
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_BEYOND);
	cr_assert_eq(core_pull_from(r->node[B].core), A);
	core_peer_view(r->node[A].core, B, &v);
	cr_assert(strstr(v.text, "catching up by pulling"), "%s", v.text);
	rig_free(r);
}

Test(core_refuse, events_of_an_older_connection_are_ignored)
{
	struct rig *r = rig_pair();
	struct core_event ev = {.type = EV_PEER_DOWN, .peer = B, .conn = r->conn[A][B]};

	rig_cut(r, A, B);
	rig_connect(r, A, B);
	rig_step(r, A, &ev);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	rig_free(r);
}

Test(core_refuse, a_word_that_nobody_can_carry_out_gets_a_reason)
{
	struct rig *r = rig_pair();

	rig_cut(r, A, B);
	cr_assert_eq(rig_type(r, B, OPERATOR_ACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, 0, "site-b"), -EHOSTUNREACH);
	says(r, B, "site-a");
	cr_assert_eq(rig_type(r, B, OPERATOR_DEMOTE, 0, NULL), CORE_ANSWER_OK);
	rig_connect(r, A, B);
	r->node[A].up = false; /* forwarded, and then the connection breaks */
	cr_assert_eq(rig_type(r, B, OPERATOR_DEACTIVATE, 0, "site-b"), 12345);
	rig_cut(r, A, B);
	cr_assert_eq(r->node[B].code, -ECONNRESET);
	rig_free(r);
}
