/* SPDX-License-Identifier: Apache-2.0 */
/* A failover's steps as transcripts: what was observed, and what was decided. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "operation.h"

static struct operation op;
static struct operation_observed o;

static void setup(void)
{
	op = (struct operation){.id = "1",
		.volume = "db",
		.from = "a",
		.to = "b",
		.deadline_ms = 100,
		.timeout_ms = 100};
	o = (struct operation_observed){
		.from = {.answers = true,
			.serving = true,
			.record_version = 1,
			.active = "a",
			.to_in_sync = true,
			.from_in_sync = true},
		.to = {.answers = true,
			.record_version = 1,
			.active = "a",
			.to_in_sync = true,
			.from_in_sync = true},
	};
}

TestSuite(operation, .init = setup);

static int step(uint64_t now_ms)
{
	return (int)operation_step(&op, &o, now_ms);
}

static void demoted(void)
{
	o.from.serving = false;
	o.from.active[0] = o.to.active[0] = '\0';
	o.from.record_version = o.to.record_version = 2;
}

static void promoted(void)
{
	snprintf(o.to.active, sizeof(o.to.active), "b");
	o.to.record_version = 3;
}

Test(operation, a_planned_one_demotes_then_promotes_then_waits_for_the_mount)
{
	cr_assert(eq(int, step(1), OPERATION_LOOK));
	cr_assert(eq(int, step(2), OPERATION_DEMOTE));
	o.from.draining = true;
	cr_assert(eq(int, step(3), OPERATION_LOOK));
	o.from.draining = false;
	demoted();
	cr_assert(eq(int, step(4), OPERATION_LOOK));
	cr_assert(eq(int, step(5), OPERATION_PROMOTE));
	promoted();
	cr_assert(eq(int, step(6), OPERATION_LOOK));
	cr_assert(eq(int, step(7), OPERATION_LOOK));
	o.to.serving = true;
	cr_assert(eq(int, step(8), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_DONE));
	cr_assert(eq(u64, op.steps[1].start_ms, 1));
	cr_assert(eq(u64, op.steps[1].end_ms, 4));
	cr_assert(eq(u64, op.steps[3].end_ms, 8));
}

Test(operation, what_the_check_refuses_gives_no_order)
{
	o.from.to_in_sync = false;
	cr_assert(eq(int, step(1), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_FAILED));
	cr_assert(ne(ptr, strstr(op.message, "nothing was changed"), NULL));
	setup();
	o.from.answers = false;
	cr_assert(eq(int, step(1), OPERATION_END));
	cr_assert(ne(ptr, strstr(op.message, "--unplanned"), NULL));
	setup();
	o.to.answers = false;
	cr_assert(eq(int, step(1), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_FAILED));
}

Test(operation, a_dry_run_ends_after_the_check)
{
	op.dry_run = true;
	cr_assert(eq(int, step(1), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_DONE));
	cr_assert(eq(int, (int)op.steps[1].state, OPERATION_STEP_PENDING));
}

Test(operation, a_demotion_that_is_refused_changes_nothing)
{
	step(1);
	o.refused = true;
	cr_assert(eq(int, step(2), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_FAILED));
}

Test(operation, a_promotion_that_cannot_be_brings_the_old_active_back)
{
	step(1);
	step(2);
	demoted();
	step(3);
	o.to.answers = false;
	cr_assert(eq(int, step(50), OPERATION_LOOK), "it may come back");
	cr_assert(eq(int, step(3 + OPERATION_ROLL_BACK_MS), OPERATION_LOOK));
	cr_assert(eq(int, (int)op.state, OPERATION_ROLLING_BACK));
	cr_assert(eq(int, step(4 + OPERATION_ROLL_BACK_MS), OPERATION_PROMOTE_OLD));
	snprintf(o.from.active, sizeof(o.from.active), "a");
	cr_assert(eq(int, step(5 + OPERATION_ROLL_BACK_MS), OPERATION_LOOK));
	o.from.serving = true;
	cr_assert(eq(int, step(6 + OPERATION_ROLL_BACK_MS), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_FAILED));
	cr_assert(ne(ptr, strstr(op.message, "rolled back"), NULL));
}

Test(operation, the_newer_record_counts)
{
	step(1);
	step(2);
	demoted();
	o.to.record_version = 1;
	snprintf(o.to.active, sizeof(o.to.active), "a");
	cr_assert(eq(int, step(3), OPERATION_LOOK), "the old active's record is the newer one");
	cr_assert(eq(uint, op.at, 2));
}

Test(operation, one_that_is_read_back_goes_on_at_its_step)
{
	struct operation again;
	struct json *j;
	struct err e;

	step(1);
	step(2);
	demoted();
	step(3);
	j = operation_json(&op);
	cr_assert(zero(int, operation_parse(j, &again, &e)));
	json_free(j);
	cr_assert(eq(uint, again.at, 2));
	cr_assert(eq(int, (int)again.steps[2].state, OPERATION_STEP_RUNNING));
	operation_resume(&again, 1000);
	cr_assert(eq(u64, again.deadline_ms, 1100));
	op = again;
	cr_assert(eq(int, step(1000), OPERATION_PROMOTE));
}

Test(operation, an_unplanned_one_orders_the_survivor_alone)
{
	op.unplanned = true;
	o.from = (struct operation_side){0};
	cr_assert(eq(int, step(1), OPERATION_LOOK));
	cr_assert(eq(int, step(2), OPERATION_TAKE_OVER));
	promoted();
	cr_assert(eq(int, step(3), OPERATION_LOOK));
	o.to.serving = true;
	cr_assert(eq(int, step(4), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_DONE));
}

Test(operation, one_whose_standby_is_dead_goes_on_alone_and_is_not_done_before)
{
	op.unplanned = true;
	promoted();
	o.to.serving = true;
	cr_assert(eq(int, step(1), OPERATION_END), "active here is all that is wanted");
	cr_assert(eq(int, (int)op.state, OPERATION_DONE));
	setup();
	op.unplanned = op.alone = true;
	promoted();
	o.to.serving = true;
	cr_assert(eq(int, step(1), OPERATION_LOOK));
	cr_assert(eq(int, step(2), OPERATION_TAKE_OVER));
	cr_assert(eq(int, step(3), OPERATION_TAKE_OVER), "the record still waits for it");
	o.to.from_in_sync = false;
	cr_assert(eq(int, step(4), OPERATION_LOOK));
	cr_assert(eq(int, step(5), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_DONE));
}

Test(operation, what_changed_nothing_is_not_begun_days_later)
{
	const uint64_t days = 1000000000;

	op.unplanned = true;
	op.deadline_ms = 100;
	o.from = (struct operation_side){0};
	cr_assert(eq(int, step(1), OPERATION_LOOK));
	operation_resume(&op, days);
	cr_assert(eq(int, step(days), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_FAILED));
}

Test(operation, a_demotion_that_happened_leaves_time_to_go_on)
{
	const uint64_t days = 1000000000;

	op.deadline_ms = 100;
	cr_assert(eq(int, step(1), OPERATION_LOOK));
	cr_assert(eq(int, step(2), OPERATION_DEMOTE));
	operation_resume(&op, days);
	o.from.active[0] = o.to.active[0] = '\0';
	o.from.serving = false;
	cr_assert(eq(int, step(days), OPERATION_LOOK));
	cr_assert(eq(int, step(days + 1), OPERATION_PROMOTE));
}

static void group_of(unsigned size)
{
	snprintf(op.group, sizeof(op.group), "7");
	op.group_size = size;
}

Test(operation, one_of_a_group_orders_nothing_before_all_are_checked)
{
	group_of(2);
	cr_assert(eq(int, step(1), OPERATION_LOOK));
	cr_assert(eq(int, step(2), OPERATION_PARK));
	o.others = OPERATION_GO;
	cr_assert(eq(int, step(3), OPERATION_LOOK));
	cr_assert(eq(int, step(4), OPERATION_DEMOTE));
	setup();
	group_of(2);
	step(1);
	o.others = OPERATION_REFUSED;
	cr_assert(eq(int, step(2), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_FAILED));
	cr_assert(ne(ptr, strstr(op.message, "nothing was changed"), NULL));
}

static enum operation_verdict verdict_of(
	const struct operation *a, const struct operation *b, const struct operation **ret_why)
{
	const struct operation *const both[] = {a, b};

	return operation_group_verdict(both, b ? 2 : 1, ret_why);
}

Test(operation, a_group_goes_when_all_have_passed_and_stays_when_one_is_refused)
{
	const struct operation *why;
	struct operation a, b;

	group_of(2);
	a = b = op;
	cr_assert(eq(int, (int)verdict_of(&a, &b, &why), OPERATION_UNDECIDED));
	a.at = 1;
	cr_assert(eq(int, (int)verdict_of(&a, &b, &why), OPERATION_UNDECIDED));
	b.at = 1;
	cr_assert(eq(int, (int)verdict_of(&a, &b, &why), OPERATION_GO));
	b.at = 0;
	b.state = OPERATION_FAILED;
	cr_assert(eq(int, (int)verdict_of(&a, &b, &why), OPERATION_REFUSED));
	cr_assert(eq(ptr, (void *)why, &b));
	cr_assert(eq(int, (int)verdict_of(&a, NULL, &why), OPERATION_REFUSED),
		"its file was never written");
}

Test(operation, a_group_that_has_begun_goes_on_whatever_became_of_one)
{
	const struct operation *why;
	struct operation a, b;

	group_of(2);
	a = b = op;
	a.at = 2;
	b.at = 1;
	b.state = OPERATION_FAILED;
	cr_assert(eq(int, (int)verdict_of(&a, &b, &why), OPERATION_GO));
	/* One that was there already has begun nothing. */
	o.to.serving = true;
	promoted();
	cr_assert(eq(int, step(1), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_DONE));
	cr_assert(eq(int, (int)verdict_of(&op, &b, &why), OPERATION_REFUSED));
}

Test(operation, a_cancelled_one_goes_back_as_far_as_it_went)
{
	struct err e;

	op.cancelled = true;
	cr_assert(eq(int, step(1), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_FAILED));
	setup();
	step(1);
	step(2);
	op.cancelled = true;
	o.from.draining = true;
	o.from.serving = false;
	cr_assert(eq(int, step(3), OPERATION_LOOK), "it drains: that has an end");
	o.from.draining = false;
	demoted();
	cr_assert(eq(int, step(4), OPERATION_LOOK));
	cr_assert(zero(int, operation_can_cancel(&op, &e)));
	cr_assert(eq(int, step(5), OPERATION_LOOK));
	cr_assert(eq(int, (int)op.state, OPERATION_ROLLING_BACK));
	cr_assert(eq(int, operation_can_cancel(&op, &e), -EALREADY));
	cr_assert(eq(int, step(6), OPERATION_PROMOTE_OLD));
	snprintf(o.from.active, sizeof(o.from.active), "a");
	o.from.serving = true;
	o.from.record_version = 3;
	cr_assert(eq(int, step(7), OPERATION_END));
	cr_assert(ne(ptr, strstr(op.message, "rolled back"), NULL));
	cr_assert(ne(ptr, strstr(op.message, "cancelled"), NULL));
}

Test(operation, a_cancelled_one_waits_no_longer_for_an_old_active_that_is_silent)
{
	op.deadline_ms = 120000;
	step(1);
	cr_assert(eq(int, step(2), OPERATION_DEMOTE));
	o.from = (struct operation_side){.why = "gone"};
	cr_assert(eq(int, step(1000), OPERATION_LOOK));
	op.cancelled = true;
	cr_assert(eq(int, step(999 + OPERATION_SILENT_MS), OPERATION_LOOK), "it may be back soon");
	cr_assert(eq(int, step(1000 + OPERATION_SILENT_MS), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_FAILED));
	cr_assert_str_eq(op.message, "cancelled; 'a' does not answer (gone), and may still be "
				     "demoted by what was asked: see "
				     "'tandemctl status db' there when it is back");
	setup();
	op.deadline_ms = 120000;
	step(1);
	step(2);
	op.cancelled = true;
	o.from.answers = false;
	step(3);
	o.from.answers = true;
	o.from.draining = true;
	o.from.serving = false;
	cr_assert(eq(int, step(20000), OPERATION_LOOK));
	o.from.answers = false;
	cr_assert(eq(int, step(20001), OPERATION_LOOK), "it was there meanwhile");
	demoted();
	cr_assert(eq(int, step(20002), OPERATION_LOOK));
	cr_assert(eq(int, step(20003), OPERATION_LOOK));
	cr_assert(eq(int, (int)op.state, OPERATION_ROLLING_BACK));
}

Test(operation, it_is_too_late_once_the_target_is_promoted)
{
	struct err e;

	step(1);
	step(2);
	demoted();
	step(3);
	promoted();
	op.cancelled = true;
	cr_assert(eq(int, step(4), OPERATION_LOOK));
	cr_assert(eq(int, operation_can_cancel(&op, &e), -EALREADY));
	o.to.serving = true;
	cr_assert(eq(int, step(5), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_DONE));
}

Test(operation, a_target_that_was_promoted_after_all_is_waited_for)
{
	step(1);
	step(2);
	demoted();
	step(3);
	o.refused = true;
	step(4);
	cr_assert(eq(int, (int)op.state, OPERATION_ROLLING_BACK));
	promoted();
	cr_assert(eq(int, step(5), OPERATION_LOOK), "it has not mounted yet");
	cr_assert(eq(int, (int)op.state, OPERATION_RUNNING));
	o.to.serving = true;
	cr_assert(eq(int, step(6), OPERATION_END));
	cr_assert(eq(int, (int)op.state, OPERATION_DONE));
}

Test(operation, what_it_shall_be_is_on_disk_and_what_is_no_file_name_is_refused)
{
	struct operation again;
	struct json *j;
	struct err e;

	group_of(2);
	op.cancelled = true;
	j = operation_json(&op);
	cr_assert(zero(int, operation_parse(j, &again, &e)));
	cr_assert(eq(str, again.group, "7"));
	cr_assert(eq(uint, again.group_size, 2));
	cr_assert(again.cancelled);
	cr_assert(not(again.alone));
	json_free(j);
	op.cancelled = false;
	op.unplanned = op.alone = true;
	j = operation_json(&op);
	cr_assert(zero(int, operation_parse(j, &again, &e)));
	cr_assert(eq(str, again.group, "7"), "those of a node are a group");
	cr_assert(again.alone);
	json_set_string(j, "id", "../1");
	cr_assert(eq(int, operation_parse(j, &again, &e), -EBADMSG));
	json_set_string(j, "id", "1");
	json_set_string(j, "volume", "a/b");
	cr_assert(eq(int, operation_parse(j, &again, &e), -EBADMSG));
	json_free(j);
}
