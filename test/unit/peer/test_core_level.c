/* SPDX-License-Identifier: Apache-2.0 */
/* Raising the record's format level: only by the active, only when all have announced it, never back. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "core_rig.h"

#define says(r, who, word)                                                                         \
	cr_assert(strstr((r)->node[who].answer, word), "'%s' lacks '%s'", (r)->node[who].answer,   \
		word)

/* Born and serving, with builds that know these levels. */
static struct rig *pair(uint32_t a, uint32_t b)
{
	struct rig *r = rig_new(2);

	r->node[A].level = a;
	r->node[B].level = b;
	rig_start(r, A);
	rig_start(r, B);
	rig_connect(r, A, B);
	cr_assert(r->node[A].serving);
	rig_said(r);
	return r;
}

static uint32_t level(const struct rig *r, unsigned node)
{
	return r->node[node].record.format_level;
}

Test(core_level, it_is_raised_in_a_record_that_both_write)
{
	struct rig *r = pair(2, 2);

	cr_assert_eq(level(r, A), 1u);
	cr_assert_eq(rig_type(r, A, OPERATOR_RAISE, 0, NULL), CORE_ANSWER_OK);
	says(r, A, "is 2 now");
	cr_assert(level(r, A) == 2 && level(r, B) == 2);
	cr_assert_eq(record_compare(&r->node[A].record, &r->node[B].record), RECORD_SAME);
	cr_assert(r->node[A].serving);
	cr_assert_eq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	cr_assert_eq(rig_type(r, A, OPERATOR_RAISE, 0, NULL), CORE_ANSWER_OK);
	says(r, A, "high enough");
	rig_free(r);
}

Test(core_level, it_waits_for_a_build_that_knows_it)
{
	struct rig *r = pair(2, 1);

	cr_assert_eq(rig_type(r, A, OPERATOR_RAISE, 0, NULL), -EPROTONOSUPPORT);
	says(r, A, "the build at site-b knows 1");
	cr_assert(level(r, A) == 1 && level(r, B) == 1);
	rig_crash(r, B, false);
	cr_assert_eq(rig_type(r, A, OPERATOR_RAISE, 0, NULL), -EHOSTUNREACH);
	r->node[B].level = 2;
	rig_start(r, B);
	rig_connect(r, A, B);
	cr_assert_eq(rig_type(r, A, OPERATOR_RAISE, 0, NULL), CORE_ANSWER_OK);
	cr_assert(level(r, A) == 2 && level(r, B) == 2);
	rig_free(r);
}

Test(core_level, a_standby_does_not_raise_it)
{
	struct rig *r = pair(2, 2);

	cr_assert_eq(rig_type(r, B, OPERATOR_RAISE, 0, NULL), -EXDEV);
	cr_assert(level(r, A) == 1 && level(r, B) == 1);
	rig_free(r);
}

Test(core_level, also_a_replica_that_is_inactive_must_have_announced_it)
{
	struct rig *r = pair(2, 1);

	cr_assert_eq(rig_type(r, A, OPERATOR_DEACTIVATE, 0, "site-b"), CORE_ANSWER_OK);
	cr_assert_eq(rig_type(r, A, OPERATOR_RAISE, 0, NULL), -EPROTONOSUPPORT);
	cr_assert_eq(level(r, A), 1u);
	rig_free(r);
}

Test(core_level, an_older_build_that_comes_back_is_refused_and_touches_nothing)
{
	struct rig *r = pair(2, 2);

	rig_cut(r, A, B);
	rig_connect(r, A, B);
	cr_assert_eq(rig_type(r, A, OPERATOR_RAISE, 0, NULL), CORE_ANSWER_OK);
	rig_crash(r, B, false);
	r->node[B].level = 1;
	r->node[B].record.format_level = 1; /* as if it had died before it wrote the new record */
	r->node[B].record.version.number--;
	r->node[B].record.version.id = 77;
	r->node[B].record.nancestors = 0;
	rig_start(r, B);
	rig_connect(r, A, B);
	cr_assert_eq(level(r, B), 1u);
	cr_assert_neq(rig_state(r, A, B), CORE_PEER_IN_SYNC);
	cr_assert(r->node[A].serving);
	rig_free(r);
}
