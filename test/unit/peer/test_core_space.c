/* SPDX-License-Identifier: Apache-2.0 */
/* Grants of room (I8): the active stages within what everybody in the set has told, in its own epoch. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "core_rig.h"

static struct rig *born(unsigned n, uint32_t a, uint32_t b)
{
	struct rig *r = rig_new(n);

	r->node[A].level = a;
	r->node[B].level = b;
	for (unsigned i = 0; i < n; i++)
		rig_start(r, i);
	for (unsigned i = 0; i < n; i++)
		for (unsigned k = i + 1; k < n; k++)
			rig_connect(r, i, k);
	cr_assert(r->node[A].serving);
	rig_said(r);
	return r;
}

static void tell(struct rig *r, unsigned node, uint64_t upto, bool full)
{
	struct core_event ev = {.type = EV_SPACE};

	ev.space.epoch = core_epoch(r->node[node].core);
	ev.space.now.data_upto = upto;
	ev.space.now.data_full = full;
	rig_step(r, node, &ev);
	rig_run(r);
}

static uint64_t granted(struct rig *r)
{
	struct core_granted g;

	core_granted(r->node[A].core, &g);
	return g.data_upto;
}

static bool full(struct rig *r)
{
	struct core_granted g;

	core_granted(r->node[A].core, &g);
	return g.data_full;
}

Test(core_space, nothing_is_granted_before_the_other_side_has_told)
{
	struct rig *r = born(2, 2, 2);

	cr_assert_eq(granted(r), 0u);
	tell(r, B, 100, false);
	cr_assert_eq(granted(r), 100u);
	cr_assert_not(full(r));
	tell(r, B, 100, true);
	cr_assert(full(r));
	tell(r, B, 140, false);
	cr_assert_eq(granted(r), 140u);
	rig_free(r);
}

Test(core_space, a_replica_that_says_less_after_a_start_has_granted_what_it_had)
{
	struct rig *r = born(2, 2, 2);

	tell(r, B, 100, false);
	rig_crash(r, B, false);
	cr_assert_eq(granted(r), 100u, "writes wait for it anyhow");
	rig_start(r, B);
	rig_connect(r, A, B);
	tell(r, B, 0, false);
	cr_assert_eq(granted(r), 100u);
	rig_free(r);
}

Test(core_space, a_build_that_grants_nothing_does_not_count_and_is_told_nothing)
{
	struct rig *r = born(2, 2, 1);

	cr_assert_eq(granted(r), UINT64_MAX);
	rig_said(r);
	tell(r, A, 5, false);
	cr_assert_str_eq(rig_said(r), "");
	rig_free(r);
	r = born(2, 1, 2);
	cr_assert_eq(granted(r), UINT64_MAX);
	tell(r, B, 5, false);
	cr_assert_str_eq(rig_said(r), "");
	rig_free(r);
}

Test(core_space, the_lowest_of_three_counts)
{
	struct rig *r = born(3, 2, 2);

	r->node[C].level = 2;
	rig_crash(r, C, false);
	rig_start(r, C);
	rig_connect(r, A, C);
	rig_connect(r, B, C);
	tell(r, B, 100, false);
	cr_assert_eq(granted(r), 0u);
	tell(r, C, 70, true);
	cr_assert_eq(granted(r), 70u);
	cr_assert(full(r));
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-c"), CORE_ANSWER_OK);
	cr_assert_eq(granted(r), 100u, "who is out of the set limits nobody");
	cr_assert_not(full(r));
	rig_free(r);
}

Test(core_space, nobody_joins_who_has_not_granted_what_is_assigned_already)
{
	struct rig *r = born(2, 2, 2);

	tell(r, B, 100, false);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	core_data_used(r->node[A].core, 300, 1);
	rig_write(r, A, 1);
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_CATCHING_UP);
	tell(r, B, 299, true);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_CATCHING_UP);
	cr_assert_not(r->node[A].record.replicas[B].in_sync);
	tell(r, B, 300, false);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	cr_assert(r->node[A].record.replicas[B].in_sync);
	cr_assert_eq(granted(r), 300u);
	rig_free(r);
}

Test(core_space, a_handshake_outside_of_the_set_voids_what_was_granted)
{
	struct rig *r = born(2, 2, 2);

	tell(r, B, 100, false);
	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	core_data_used(r->node[A].core, 50, 0);
	rig_crash(r, B, false); /* and has another disk afterwards */
	rig_start(r, B);
	rig_connect(r, A, B);
	cr_assert_eq(rig_type(r, A, OPERATOR_ACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	cr_assert_not(r->node[A].record.replicas[B].in_sync);
	tell(r, B, 60, false);
	cr_assert(r->node[A].record.replicas[B].in_sync);
	cr_assert_eq(granted(r), 60u);
	rig_free(r);
}

Test(core_space, addresses_of_another_epoch_are_no_grant)
{
	struct rig *r = born(2, 2, 2);
	struct core_event ev = {.type = EV_SPACE};

	ev.space.epoch = (struct epoch){.num = 77, .id = 1};
	ev.space.now.data_upto = 1000;
	ev.space.now.allocated = 5;
	rig_step(r, B, &ev);
	rig_run(r);
	cr_assert_eq(granted(r), 0u);
	tell(r, B, 100, false);
	rig_crash(r, A, false);
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert(r->node[A].serving);
	cr_assert_eq(granted(r), 0u, "a new epoch begins at 0");
	rig_free(r);
}

Test(core_space, the_active_tells_how_far_it_is)
{
	struct rig *r = born(2, 2, 2);
	struct core_event ev = {.type = EV_SPACE};
	struct core_peer_view v;

	core_data_used(r->node[A].core, 40, 7);
	ev.space.epoch = core_epoch(r->node[A].core);
	ev.space.now.data_want = 90;
	rig_step(r, A, &ev);
	rig_run(r);
	core_peer_view(r->node[B].core, A, &v);
	cr_assert(v.space.data_used == 40 && v.space.data_seq == 7 && v.space.data_want == 90);
	rig_free(r);
}

Test(core_space, a_new_epoch_voids_grants_and_not_what_is_known_of_the_disk)
{
	struct rig *r = born(2, 2, 2);
	struct core_event ev = {.type = EV_SPACE};
	struct core_peer_view v;

	ev.space.epoch = core_epoch(r->node[B].core);
	ev.space.now =
		(struct msg_space){.data_upto = 100, .room = 8000, .promise = 7000, .live = 5};
	rig_step(r, B, &ev);
	rig_run(r);
	rig_crash(r, A, false);
	rig_start(r, A);
	rig_connect(r, A, B);
	cr_assert(r->node[A].serving);
	cr_assert_eq(core_epoch(r->node[A].core).num, 2);
	/* Site B has not looked at its disk again: no full disk is read out of that. */
	core_peer_view(r->node[A].core, B, &v);
	cr_assert_eq(granted(r), 0u);
	cr_assert(!v.grants || v.space.promise == 7000, "promise %llu",
		(unsigned long long)v.space.promise);
	cr_assert(v.grants);
	cr_assert_eq(v.space.room, 8000u);
	cr_assert_eq(v.space.live, 5u);
	rig_free(r);
}
