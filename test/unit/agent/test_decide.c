/* SPDX-License-Identifier: Apache-2.0 */
/* The decisions as transcripts: what was observed, second by second, and what was decided. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "decide.h"

#define MAX_NS (8 * NS_PER_S)
#define STATUS(n) ((n) << 8) /* as waitpid() tells of exit(n) */
#define SIGNAL(n) (n)

static struct decide_history h;
static struct decide_observed o;
static struct decision d;
static char text[128];

static void setup(void)
{
	o = (struct decide_observed){.looked = true,
		.stamp = {.inode = 7, .size = 100, .mtime_ns = 1},
		.problem = "",
		.history = &h};
	h = (struct decide_history){0};
}

TestSuite(decide, .init = setup);

/* "STATE start retry=SECONDS upgrade: REASON", what there is of it */
static const char *at(double s)
{
	size_t n;

	decide(&o, MAX_NS, (uint64_t)(s * 1e9), &d);
	n = (size_t)snprintf(
		text, sizeof(text), "%s%s", decide_state_name(d.state), d.start ? " start" : "");
	if (!d.start && d.retry_ns != UINT64_MAX)
		n += (size_t)snprintf(
			text + n, sizeof(text) - n, " retry=%.2f", (double)d.retry_ns / 1e9);
	if (d.upgrade_pending)
		n += (size_t)snprintf(text + n, sizeof(text) - n, " upgrade");
	if (d.reason[0])
		snprintf(text + n, sizeof(text) - n, ": %.60s", d.reason);
	return text;
}

static void started(double s)
{
	decide_started(&h, &o.stamp, (uint64_t)(s * 1e9));
	o.pid = 10;
	o.answered_ns = 0;
}

static void ended(double s, int how, const char *words)
{
	decide_ended(&h, how, words, (uint64_t)(s * 1e9));
	o.pid = 0;
	o.answered_ns = 0;
}

static void answered(double s)
{
	o.answered_ns = (uint64_t)(s * 1e9);
}

#define SAYS(s, want) cr_assert(eq(str, (char *)at(s), (char *)(want)))

Test(decide, what_does_not_run_is_started_and_is_running_when_it_answers)
{
	SAYS(100, "starting start");
	started(100);
	SAYS(100.1, "starting");
	answered(101);
	SAYS(101, "running");
	SAYS(110.9, "running");
}

Test(decide, nothing_is_started_before_its_socket_was_looked_at)
{
	o.looked = false;
	SAYS(100, "looking");
	o.looked = true;
	SAYS(100, "starting start");
}

Test(decide, what_dies_is_started_again_at_once_then_later_each_time_up_to_the_limit)
{
	static const double delays[] = {0.25, 0.5, 1, 2, 4, 8, 8, 8};
	double now = 100;
	char want[64];

	started(99);
	ended(100, SIGNAL(9), "");
	SAYS(100, "starting start: killed by signal 9 (Killed)");
	for (unsigned i = 0; i < ARRAY_SIZE(delays); i++) {
		started(now);
		ended(now + 1, SIGNAL(9), "");
		snprintf(want, sizeof(want), "waiting retry=%.2f: killed by signal 9 (Killed)",
			now + 1 + delays[i]);
		SAYS(now + 1, want);
		SAYS(now + 1 + delays[i] - 0.001, want);
		SAYS(now + 1 + delays[i], "starting start: killed by signal 9 (Killed)");
		now += 1 + delays[i];
	}
	cr_assert(eq(uint, h.starts, 9));
}

Test(decide, many_failures_do_not_overflow_the_delay)
{
	h.failures = 4000000000u;
	h.ended_ns = 100 * NS_PER_S;
	SAYS(100, "waiting retry=108.00");
}

Test(decide, a_minute_of_life_begins_anew)
{
	for (int i = 0; i < 5; i++) {
		started(100);
		ended(101, STATUS(1), "no luck");
	}
	SAYS(101, "waiting retry=103.00: ended with status 1: no luck");
	started(105);
	ended(165, SIGNAL(11), "");
	SAYS(165, "starting start: killed by signal 11 (Segmentation fault)");
	started(166);
	ended(225.9, SIGNAL(11), "");
	SAYS(225.9, "waiting retry=226.15: killed by signal 11 (Segmentation fault)");
}

Test(decide, a_wrong_configuration_is_not_tried_again_until_the_file_changes)
{
	for (int status = 0; status < 256; status++) {
		bool refused = status == 78 || status == 2;

		setup();
		started(100);
		ended(100.1, STATUS(status), "db.conf:3: unknown key 'colour'");
		decide(&o, MAX_NS, 100000 * NS_PER_S, &d);
		cr_assert(eq(int, d.start, !refused), "status %d", status);
		cr_assert(eq(int, d.state == DECIDE_REFUSED, refused));
	}
	setup();
	started(100);
	ended(100.1, STATUS(78), "db.conf:3: unknown key 'colour'");
	SAYS(100000, "refused: db.conf:3: unknown key 'colour'");
	o.stamp.mtime_ns++;
	SAYS(100000, "starting start: db.conf:3: unknown key 'colour'");
	started(100000);
	answered(100001);
	SAYS(100001, "running");
}

Test(decide, a_file_that_cannot_be_read_starts_nothing_and_stops_nothing)
{
	o.problem = "db.conf:1: neither 'key = value' nor '[section]'";
	SAYS(100, "refused: db.conf:1: neither 'key = value' nor '[section]'");
	o.pid = 10;
	answered(100);
	SAYS(100, "running: db.conf:1: neither 'key = value' nor '[section]'");
}

Test(decide, a_daemon_whose_file_went_away_runs_on_and_is_not_started_again)
{
	started(100);
	answered(101);
	o.stamp = (struct decide_stamp){0};
	SAYS(101, "running: its configuration file is gone: it runs on, and would not be");
	ended(102, STATUS(0), "");
	SAYS(200, "gone: its configuration file is gone");
}

Test(decide, a_daemon_that_does_not_answer_is_reported_and_left_alone)
{
	started(100);
	SAYS(109.9, "starting");
	SAYS(110, "silent: the daemon runs and does not answer; it is left alone, look ");
	cr_assert(not(d.start));
	answered(111);
	SAYS(120.9, "running");
	SAYS(121, "silent: the daemon runs and does not answer; it is left alone, look ");
	answered(130);
	SAYS(130, "running");
}

Test(decide, an_older_build_than_the_file_on_disk_is_an_upgrade_pending)
{
	started(100);
	answered(101);
	o.other_build = true;
	SAYS(101, "running upgrade");
}

Test(decide, one_that_was_told_to_end_is_no_failure_and_its_follower_is_started_at_once)
{
	started(100);
	ended(101, STATUS(1), "");
	started(101);
	ended(102, STATUS(1), "");
	SAYS(102, "waiting retry=102.25: ended with status 1");
	started(103);
	h.replaced = true;
	ended(104, STATUS(0), "stopped");
	cr_assert(eq(uint, h.failures, 0));
	SAYS(104, "starting start: ended with status 0: stopped");
	started(104);
	ended(105, STATUS(1), "");
	cr_assert(eq(uint, h.failures, 1));
}

Test(decide, a_daemon_that_was_found_counts_as_no_start_and_is_started_when_it_ends)
{
	decide_started(&h, NULL, 100 * NS_PER_S);
	o.pid = 10;
	answered(100);
	SAYS(100, "running");
	cr_assert(eq(uint, h.starts, 0));
	ended(101, -1, "");
	SAYS(101, "starting start: ended");
}
