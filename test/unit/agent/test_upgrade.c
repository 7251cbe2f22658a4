/* SPDX-License-Identifier: Apache-2.0 */
/* Which daemons are replaced, in what order, and how each replacement ends, as transcripts. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "clock.h"
#include "upgrade.h"

#define TIMEOUT_NS (60 * NS_PER_S)

static struct upgrade_seen seen;
static struct upgrade one;
static char words[UPGRADE_TEXT_MAX];

static void setup(void)
{
	seen = (struct upgrade_seen){.volume = "db",
		.pid = 10,
		.pending = true,
		.answers = true,
		.state = "running",
		.role = "active",
		.mounted = true,
		.held = true,
		.connected = 1};
	one = (struct upgrade){0};
	words[0] = '\0';
}

TestSuite(upgrade, .init = setup);

static const char *verdict(const char *busy)
{
	return upgrade_verdict_name(upgrade_verdict(&seen, busy, words, sizeof(words)));
}

#define IS(busy, want) cr_assert(eq(str, (char *)verdict(busy), (char *)(want)), "%s", words)
#define SAYS(text, want) cr_assert(ne(ptr, strstr(text, want), NULL), "%s", text)

Test(upgrade, what_is_not_mounted_or_held_is_replaced_and_what_would_end_needs_a_word)
{
	IS("", "held");
	seen.held = false;
	IS("", "ends-mount");
	SAYS(words, "--yes");
	cr_assert(eq(ptr, strstr(words, "promote"), NULL));
	seen.connected = 0;
	IS("", "ends-mount");
	SAYS(words, "no peer is connected");
	seen.mounted = false;
	IS("", "unmounted");
}

Test(upgrade, what_runs_the_program_or_does_not_run_is_nothing)
{
	seen.pending = false;
	IS("", "nothing");
	IS("operation 1 is under way", "nothing");
	seen.answers = false; /* who knows what it runs */
	IS("", "not-now");
	seen.pid = 0;
	IS("", "nothing");
}

Test(upgrade, what_something_else_is_done_with_or_would_not_come_back_is_not_now)
{
	IS("operation 1 is under way", "not-now");
	SAYS(words, "operation 1 is under way");
	snprintf(seen.role, sizeof(seen.role), "draining");
	IS("", "not-now");
	snprintf(seen.role, sizeof(seen.role), "recovering");
	IS("", "not-now");
	snprintf(seen.role, sizeof(seen.role), "active");
	snprintf(seen.reason, sizeof(seen.reason), "its configuration file is gone");
	IS("", "not-now");
	SAYS(words, "is gone");
	seen.reason[0] = '\0';
	seen.answers = false;
	IS("", "not-now");
}

static void see(const char *text, bool holder)
{
	struct json *j;
	struct err e;

	cr_assert(zero(int, json_parse(text, strlen(text), &j, &e)), "%s", e.msg);
	upgrade_see(j, true, holder, &seen);
	json_free(j);
}

Test(upgrade, a_daemon_that_does_not_say_whether_its_mount_is_held_goes_by_its_file)
{
	static const char old[] =
		"{\"volume\":\"db\",\"supervision\":{\"pid\":7,\"upgrade_pending\":true,"
		"\"state\":\"running\",\"reason\":\"\",\"failures\":2},\"status\":{\"role\":"
		"\"active\","
		"\"mounted\":true,\"peers\":[{\"connected\":true},{\"connected\":false}]}}";

	see(old, false);
	cr_assert(not(seen.held));
	see(old, true);
	cr_assert(seen.held && seen.pending && seen.mounted);
	cr_assert(eq(int, seen.pid, 7));
	cr_assert(eq(uint, seen.connected, 1));
	cr_assert(eq(uint, seen.failures, 2));
	see("{\"volume\":\"db\",\"supervision\":{},\"status\":{\"mounted\":true,\"held\":false}}",
		true);
	cr_assert(not(seen.held));
	see("{\"volume\":\"db\",\"supervision\":{\"pid\":7},\"status\":null}", true);
	cr_assert(not(seen.mounted));
}

Test(upgrade, what_hurts_least_comes_first)
{
	struct upgrade of[] = {
		{.before = {.volume = "a"}, .verdict = UPGRADE_NOT_NOW},
		{.before = {.volume = "b"}, .verdict = UPGRADE_ENDS_MOUNT},
		{.before = {.volume = "d"}, .verdict = UPGRADE_HELD},
		{.before = {.volume = "c"}, .verdict = UPGRADE_HELD},
		{.before = {.volume = "e"}, .verdict = UPGRADE_UNMOUNTED},
	};
	char order[8] = "";

	qsort(of, ARRAY_SIZE(of), sizeof(of[0]), upgrade_compare);
	for (unsigned i = 0; i < ARRAY_SIZE(of); i++)
		order[i] = of[i].before.volume[0];
	cr_assert(eq(str, order, (char *)"ecdba"));
}

/* It was told to stop at 100 s. */
static void stop(void)
{
	one.before = seen;
	one.verdict = upgrade_verdict(&seen, "", words, sizeof(words));
	one.state = UPGRADE_STOPPING;
	one.begun_ns = 100 * NS_PER_S;
}

static void ended(void)
{
	seen.pid = 0;
	seen.answers = seen.pending = seen.mounted = false;
	seen.connected = 0;
	snprintf(seen.state, sizeof(seen.state), "waiting");
	seen.role[0] = '\0';
}

static void answers(const char *role, bool mounted, unsigned connected)
{
	seen.pid = 11;
	seen.answers = true;
	snprintf(seen.state, sizeof(seen.state), "running");
	snprintf(seen.role, sizeof(seen.role), "%s", role);
	seen.mounted = mounted;
	seen.connected = connected;
}

static const char *at(double s)
{
	upgrade_step(&one, &seen, TIMEOUT_NS, (uint64_t)(s * 1e9));
	return upgrade_state_name(one.state);
}

#define AT(s, want) cr_assert(eq(str, (char *)at(s), (char *)(want)), "%s", one.message)

Test(upgrade, it_is_done_when_the_new_one_is_mounted_and_connected_as_the_old_one_was)
{
	stop();
	AT(100.1, "stopping");
	ended();
	AT(100.5, "starting");
	answers("recovering", false, 0);
	AT(100.6, "starting");
	answers("active", true, 0);
	AT(101, "starting");
	answers("active", true, 1);
	AT(101.5, "done");
	SAYS(one.message, "process 11");
	cr_assert(eq(u64, one.ended_ns, 101500000000ull));
}

Test(upgrade, a_standby_is_done_when_it_is_connected_or_as_it_was_before)
{
	answers("standby", false, 0);
	seen.pending = true;
	stop();
	ended();
	AT(100.5, "starting");
	seen.pid = 12;
	AT(100.6, "starting");
	answers("standby", false, 0);
	seen.pid = 12;
	AT(101, "done");
}

Test(upgrade, a_standby_that_is_promoted_meanwhile_owes_nobody_a_connection)
{
	answers("standby", false, 1);
	seen.pid = 10;
	stop();
	answers("active", true, 0);
	AT(101, "done");
}

Test(upgrade, a_new_program_that_refuses_has_failed_at_once_and_the_message_says_what_to_do)
{
	stop();
	ended();
	AT(100.5, "starting");
	snprintf(seen.state, sizeof(seen.state), "refused");
	snprintf(seen.reason, sizeof(seen.reason), "it is too new");
	AT(101, "failed");
	SAYS(one.message, "refuses: it is too new; install the program that ran before");
	SAYS(one.message, "systemctl reload tandem-agent");
	SAYS(one.message, "what is asked of its mount waits");
}

Test(upgrade, a_new_program_that_ends_again_and_again_has_failed)
{
	seen.held = false;
	stop();
	ended();
	snprintf(seen.reason, sizeof(seen.reason), "killed by signal 11");
	seen.failures = UPGRADE_STARTS_MAX - 1;
	AT(101, "starting");
	seen.failures++;
	AT(102, "failed");
	SAYS(one.message, "has ended 3 times: killed by signal 11");
	cr_assert(eq(ptr, strstr(one.message, "waits"), NULL));
}

Test(upgrade, time_that_is_over_says_what_is_lacking)
{
	stop();
	AT(159.9, "stopping");
	AT(160, "failed");
	SAYS(one.message, "process 10 has not ended 60 s after SIGTERM");
	setup();
	stop();
	answers("active", true, 0);
	AT(160, "failed");
	SAYS(one.message, "(active, mounted, 0 of 1 peers connected)");
	setup();
	stop();
	ended();
	seen.pid = 11;
	AT(160, "failed");
	SAYS(one.message, "does not answer after 60 s");
}
