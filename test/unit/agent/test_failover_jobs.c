/* SPDX-License-Identifier: Apache-2.0 */
/* Which Failover is overtaken by an unplanned one, which pair leads to its source, what a silent engine's volumes are known by. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
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

/* What becomes of f by an unplanned one with that Fence step. */
enum word { GOES_ON, WAITS, OVERTAKEN };

static enum word word(const char *type, const char *from, const char *fence, const char *about)
{
	const struct json *by = NULL;
	char text[700];
	bool waits;

	snprintf(text, sizeof(text),
		"[{\"metadata\":{\"name\":\"other\"},\"spec\":{\"type\":\"%s\",\"fromDomain\":"
		"\"%s\"},\"status\":{\"stage\":\"Mount\",\"status\":\"In-Progress\",\"steps\":["
		"{\"name\":\"Fence\",%s}],%s}}]",
		type, from, fence, about);
	json_free(all);
	all = parse(text);
	waits = failover_overtaker(&f, all, &by);
	cr_assert(waits || !by);
	return by ? OVERTAKEN : waits ? WAITS : GOES_ON;
}

#define TIME(s) "2024-01-01T00:00:" s ".000Z"
#define BEGUN "\"state\":\"Running\",\"startTime\":\"" TIME("11") "\""
#define ENDED(state)                                                                               \
	"\"state\":\"" state "\",\"startTime\":\"" TIME("11") "\",\"endTime\":\"" TIME("12") "\""
#define LINE(v, status) "{\"volume\":\"" v "\",\"status\":\"" status "\"}"
#define VOLUME(v, status) "\"volumes\":[" LINE(v, status) "]"
#define NAMESPACE(n) "\"summary\":[{\"namespace\":\"" n "\"}]"

static enum word unplanned(const char *fence, const char *about)
{
	return word("Unplanned", "a", fence, about);
}

Test(failover_jobs, an_unplanned_one_overtakes_what_it_has_fenced_and_what_began_before_its_fence)
{
	cr_assert(eq(int, unplanned(BEGUN, VOLUME("v", "Fenced")), OVERTAKEN));
	cr_assert(eq(int, unplanned(ENDED("Done"), VOLUME("v", "Mounted")), OVERTAKEN));
	cr_assert(eq(int, word("Unplanned", "c", ENDED("Done"), VOLUME("v", "Fenced")), GOES_ON));
	cr_assert(eq(int, word("Planned", "a", ENDED("Done"), VOLUME("v", "Fenced")), GOES_ON));
	cr_assert(eq(int, unplanned("\"startTime\":\"" TIME("09") "\"", VOLUME("v", "Fenced")),
			  GOES_ON),
		"an older word");
	cr_assert(eq(int, unplanned("\"startTime\":\"\"", VOLUME("v", "")), GOES_ON),
		"it has not begun to fence");
	f.run.stage = STAGE_MOUNT;
	cr_assert(eq(int, unplanned(ENDED("Done"), VOLUME("v", "Fenced")), GOES_ON),
		"it is past its hand-over");
}

Test(failover_jobs, while_the_fence_is_under_way_it_waits_and_where_that_is_refused_it_goes_on)
{
	cr_assert(eq(int, unplanned(BEGUN, VOLUME("v", "")), WAITS));
	cr_assert(eq(int, unplanned(BEGUN, VOLUME("v", "Failed")), WAITS), "others may be fenced");
	cr_assert(eq(int, unplanned(ENDED("Failed"), VOLUME("v", "Failed")), GOES_ON));
	cr_assert(eq(int, unplanned(ENDED("Failed"), VOLUME("v", "")), GOES_ON));
	cr_assert(eq(int, unplanned(ENDED("Done"), VOLUME("v", "NotConcerned")), GOES_ON));
	cr_assert(eq(int, unplanned(ENDED("Done"), VOLUME("v", "Failed")), OVERTAKEN),
		"it was fenced, and did not mount");
	cr_assert(eq(int,
		unplanned(ENDED("Failed"),
			"\"volumes\":[" LINE("v", "Failed") "," LINE("w", "Fenced") "]"),
		GOES_ON));
	json_free(f.volumes);
	f.volumes = parse("[{\"volume\":\"v\"},{\"volume\":\"w\"}]");
	cr_assert(eq(int,
		unplanned(ENDED("Failed"),
			"\"volumes\":[" LINE("v", "Failed") "," LINE("w", "Fenced") "]"),
		OVERTAKEN));
}

#define OTHER(name, volume)                                                                        \
	"{\"metadata\":{\"name\":\"" name                                                          \
	"\"},\"spec\":{\"type\":\"Unplanned\",\"fromDomain\":\"a\"},"                              \
	"\"status\":{\"stage\":\"Fence\",\"status\":\"In-Progress\",\"steps\":[{\"name\":"         \
	"\"Fence\"," BEGUN "}]," volume "}}"

Test(failover_jobs, of_several_the_first_that_has_fenced_counts)
{
	const struct json *by = NULL;

	all = parse("[" OTHER("begins", VOLUME("v", "")) "," OTHER(
		"one", VOLUME("v", "Fenced")) "," OTHER("two", VOLUME("v", "Mounted")) "]");
	cr_assert(failover_overtaker(&f, all, &by));
	cr_assert(by != NULL);
	cr_assert_str_eq(json_get_string(json_get(by, "metadata"), "name", ""), "one");
}

Test(failover_jobs, with_no_volume_of_both_the_namespaces_count_when_the_fence_has_ended)
{
	cr_assert(eq(int, unplanned(BEGUN, VOLUME("w", "Fenced") "," NAMESPACE("n")), WAITS));
	cr_assert(eq(int, unplanned(ENDED("Done"), VOLUME("w", "Fenced") "," NAMESPACE("n")),
		OVERTAKEN));
	cr_assert(
		eq(int, unplanned(ENDED("Skipped"), "\"volumes\":[]," NAMESPACE("n")), OVERTAKEN));
	cr_assert(eq(int, unplanned(ENDED("Failed"), VOLUME("w", "Failed") "," NAMESPACE("n")),
		GOES_ON));
	cr_assert(eq(
		int, unplanned(ENDED("Done"), VOLUME("w", "Fenced") "," NAMESPACE("m")), GOES_ON));
}

Test(failover_jobs, a_time_that_is_still_to_come_was_not_long_ago)
{
	cr_assert(eq(u64, failover_since_ms(failover_now_ms() + 60000), 0));
	cr_assert(ge(u64, failover_since_ms(failover_now_ms() - 60000), 60000));
}

#define PAIR(name, ready, domain)                                                                  \
	"{\"metadata\":{\"name\":\"" name "\"},\"status\":{\"schedulerStatus\":\"" ready           \
	"\",\"remoteDomain\":\"" domain "\"}}"
#define UNSEEN(name) "{\"metadata\":{\"name\":\"" name "\"}}"

static int pair_error;

static const char *pair(const char *pairs)
{
	static char ret[64];
	struct json *j = parse(pairs);
	struct err e = {0};
	const char *name = failover_pair(j, "a", &e);

	pair_error = e.code;
	snprintf(ret, sizeof(ret), "%s", name ? name : "none");
	json_free(j);
	return ret;
}

Test(failover_jobs, the_source_is_reached_by_the_pair_that_leads_there)
{
	cr_assert_str_eq(pair("[" PAIR("c", "Ready", "c") "," PAIR("a", "Ready", "a") "]"), "a");
	cr_assert_str_eq(pair("[" PAIR("a", "NotReady", "a") "," PAIR("c", "Ready", "c") "]"), "a");
	cr_assert_str_eq(
		pair("[" PAIR("a", "NotReady", "a") "," UNSEEN("x") "," UNSEEN("y") "]"), "a");
	cr_assert_str_eq(pair("[" PAIR("one", "Ready", "a") "," PAIR("two", "", "a") "]"), "one");
	cr_assert_str_eq(pair("[" PAIR("c", "Ready", "c") "," UNSEEN("x") "]"), "x");
	cr_assert_str_eq(pair("[" PAIR("c", "Ready", "c") "]"), "none");
	cr_assert(eq(int, pair_error, 0), "the administrators' one is looked for");
	cr_assert_str_eq(pair("[]"), "none");
	cr_assert(eq(int, pair_error, 0));
	cr_assert_str_eq(pair("[" UNSEEN("x") "," UNSEEN("y") "]"), "none");
	cr_assert(eq(int, pair_error, -EINVAL));
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
