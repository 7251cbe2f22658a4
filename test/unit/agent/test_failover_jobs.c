/* SPDX-License-Identifier: Apache-2.0 */
/* Which Failover is overtaken by an unplanned one, and what a silent engine's volumes are known by. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#include "kube_failover_impl.h"

static struct agent_config config;
static struct failover f;
static struct json *all;

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};

	cr_assert(eq(int, json_parse(text, strlen(text), &j, &e), 0), "%s: %s", text, e.msg);
	return j;
}

/* A planned one from domain a, about namespace n and volume v, that began at 10 s. */
static void begin(void)
{
	snprintf(config.domain, sizeof(config.domain), "b");
	f.c.config = &config;
	f.obj = parse("{\"spec\":{\"type\":\"Planned\",\"fromDomain\":\"a\"}}");
	f.summary = parse("[{\"namespace\":\"n\"}]");
	f.volumes = parse("[{\"volume\":\"v\"}]");
	f.run = (struct switch_run){.type = SWITCH_PLANNED,
		.stage = STAGE_WAIT,
		.status = SWITCH_IN_PROGRESS,
		.started_ms = switch_time_parse("2024-01-01T00:00:10.000Z")};
}

static void end(void)
{
	json_free(f.obj);
	json_free(f.summary);
	json_free(f.volumes);
	json_free(all);
}
TestSuite(failover_jobs, .init = begin, .fini = end);

static bool by(const char *type, const char *from, const char *fence, const char *about)
{
	char text[600];

	snprintf(text, sizeof(text),
		"[{\"metadata\":{\"name\":\"other\"},\"spec\":{\"type\":\"%s\",\"fromDomain\":"
		"\"%s\"},\"status\":{\"stage\":\"Mount\",\"status\":\"In-Progress\",\"steps\":["
		"{\"name\":\"Fence\",\"state\":\"Done\",\"startTime\":\"%s\"}],%s}}]",
		type, from, fence, about);
	json_free(all);
	all = parse(text);
	return failover_overtaker(&f, all) != NULL;
}

#define SOON "2024-01-01T00:00:11.000Z"
#define VOLUME(v) "\"volumes\":[{\"volume\":\"" v "\"}]"
#define NAMESPACE(n) "\"summary\":[{\"namespace\":\"" n "\"}]"

Test(failover_jobs, an_unplanned_one_overtakes_what_is_about_the_same_and_began_before_its_fence)
{
	cr_assert(by("Unplanned", "a", SOON, VOLUME("v")));
	cr_assert(by("Unplanned", "a", SOON, VOLUME("w") "," NAMESPACE("n")));
	cr_assert(not(by("Unplanned", "a", SOON, VOLUME("w") "," NAMESPACE("m"))));
	cr_assert(not(by("Unplanned", "c", SOON, VOLUME("v"))));
	cr_assert(not(by("Planned", "a", SOON, VOLUME("v"))));
	cr_assert(not(by("Unplanned", "a", "2024-01-01T00:00:09.000Z", VOLUME("v"))),
		"an older word");
	cr_assert(not(by("Unplanned", "a", "", VOLUME("v"))), "nothing is fenced yet");
	f.run.stage = STAGE_MOUNT;
	cr_assert(not(by("Unplanned", "a", SOON, VOLUME("v"))), "it is past its hand-over");
}

Test(failover_jobs, a_silent_engines_volumes_are_those_with_a_replica_in_either_domain)
{
	struct json *objects = parse(
		"[{\"metadata\":{\"name\":\"v\"},\"status\":{\"replicas\":[{\"domain\":\"b\"},"
		"{\"domain\":\"a\"}]}},"
		"{\"metadata\":{\"name\":\"w\"},\"status\":{\"replicas\":[{\"domain\":\"a\"},"
		"{\"domain\":\"b\"}]}},"
		"{\"metadata\":{\"name\":\"x\"},\"status\":{\"replicas\":[{\"domain\":\"b\"}]}},"
		"{\"metadata\":{\"name\":\"y\"},\"status\":{\"replicas\":[{\"domain\":\"a\"},"
		"{\"domain\":\"c\"}]}},{\"metadata\":{\"name\":\"z\"}}]");

	failover_add_objects(&f, objects);
	cr_assert(eq(int, (int)json_length(f.volumes), 2));
	cr_assert(eq(str, (char *)json_get_string(json_at(f.volumes, 1), "volume", ""), "w"));
	json_free(objects);
}

Test(failover_jobs, an_operation_the_other_way_is_not_taken_for_the_hand_over)
{
	struct json *list =
		parse("[{\"id\":\"1\",\"volume\":\"db\",\"to\":\"b\",\"state\":\"running\"},"
		      "{\"id\":\"2\",\"volume\":\"db\",\"to\":\"b\",\"state\":\"done\"},"
		      "{\"id\":\"3\",\"volume\":\"db\",\"to\":\"a\",\"state\":\"running\"},"
		      "{\"id\":\"5\",\"volume\":\"db\",\"to\":\"b\",\"state\":\"running\",\"dry_"
		      "run\":true},"
		      "{\"id\":\"4\",\"volume\":\"x\",\"to\":\"b\",\"state\":\"running\"}]");

	cr_assert_str_eq(failover_operation(list, "db", "b"), "1");
	cr_assert_str_eq(failover_operation(list, "db", "a"), "3");
	cr_assert_null(failover_operation(list, "x", "a"));
	cr_assert_null(failover_operation(NULL, "db", "b"));
	json_free(list);
}
