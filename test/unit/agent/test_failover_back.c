/* SPDX-License-Identifier: Apache-2.0 */
/* A Failover's way back: what counts is where the engines say that the volumes are. Domain a is the source; this is b. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#include "kube_failover_impl.h"

static struct agent_config config;
static struct kube_node node;
static struct failover f;
static struct switch_seen seen;
static struct err e;

static struct json *parse(const char *text)
{
	struct json *j = NULL;

	cr_assert(eq(int, json_parse(text, strlen(text), &j, &e), 0), "%s", e.msg);
	return j;
}

/* A rollback from HandOver that has lasted long; the node has no address, so that nothing is called. */
static void begin(void)
{
	snprintf(config.domain, sizeof(config.domain), "b");
	snprintf(node.name, sizeof(node.name), "b1");
	f.c.config = &config;
	f.c.nodes = &node;
	f.c.nnodes = 1;
	f.nodes_ms = failover_now_ms();
	f.obj = parse("{\"spec\":{\"fromDomain\":\"a\"}}");
	f.run = (struct switch_run){.type = SWITCH_PLANNED, .stage = STAGE_ROLLBACK};
	f.run.steps[STAGE_HAND_OVER].start_ms = 1;
	f.run.steps[STAGE_ROLLBACK].start_ms = 1;
}

static void end(void)
{
	json_free(f.obj);
	json_free(f.volumes);
	json_free(f.summary);
	json_free(node.status);
}
TestSuite(failover_back, .init = begin, .fini = end);

#define OF(volume, active) "{\"volume\":\"" volume "\",\"status\":{\"active_domain\":" active "}}"
#define LINE(volume, ns, status)                                                                   \
	"{\"volume\":\"" volume "\",\"namespaces\":[\"" ns "\"],\"status\":\"" status "\","        \
	"\"reason\":\"why\"}"

static enum switch_found look(const char *volumes, const char *engine)
{
	char text[600];

	json_free(f.volumes);
	json_free(node.status);
	f.volumes = parse(volumes);
	snprintf(text, sizeof(text), "{\"volumes\":[%s]}", engine);
	node.status = parse(text);
	failover_go_back(&f, &seen);
	return seen.found;
}

static bool home(const char *ns)
{
	const struct json *v = NULL;

	return failover_is_home(&f, ns, &v);
}

Test(failover_back, the_engine_says_where_a_volume_is)
{
	struct json *home_ = parse("{\"active_domain\":\"a\"}"),
		    *here = parse("{\"active_domain\":\"b\"}"),
		    *nowhere = parse("{\"active_domain\":null}");

	cr_assert(eq(int, failover_back_judge(home_, "a"), BACK_HOME));
	cr_assert(eq(int, failover_back_judge(here, "a"), BACK_AWAY));
	cr_assert(eq(int, failover_back_judge(nowhere, "a"), BACK_AWAY));
	cr_assert(eq(int, failover_back_judge(NULL, "a"), BACK_UNKNOWN));
	json_free(home_);
	json_free(here);
	json_free(nowhere);
}

Test(failover_back, one_that_failed_and_is_home_is_back)
{
	cr_assert(eq(int, look("[" LINE("v", "n", "Failed") "]", OF("v", "\"a\"")), FOUND_DONE));
	cr_assert(volume_is(json_at(f.volumes, 0), "Back"));
	cr_assert(home("n"));
}

Test(failover_back, one_that_is_here_or_nowhere_is_told_of_and_keeps_its_namespace_stopped)
{
	cr_assert(eq(int,
		look("[" LINE("v", "n", "Failed") "," LINE("w", "m", "Back") "]",
			OF("v", "\"b\"") "," OF("w", "\"a\"")),
		FOUND_REFUSED));
	cr_assert(strstr(seen.words, "volume 'v' is active at 'b' (why): 'tandemctl failover v "
				     "--to a' hands it back") != NULL,
		"%s", seen.words);
	cr_assert(not(home("n")));
	cr_assert(home("m"), "its own volume is back");
	cr_assert(eq(int, look("[" LINE("v", "n", "Back") "]", OF("v", "null")), FOUND_REFUSED));
	cr_assert(strstr(seen.words, "active nowhere") != NULL, "%s", seen.words);
	cr_assert(strstr(seen.words, "'tandemctl promote v' at 'a'") != NULL, "%s", seen.words);
	cr_assert(not(home("n")));
}

Test(failover_back, what_no_engine_tells_of_is_not_home)
{
	cr_assert(eq(int, look("[" LINE("v", "n", "Back") "]", ""), FOUND_REFUSED));
	cr_assert(strstr(seen.words, "it is not known where volume 'v' is") != NULL, "%s",
		seen.words);
	cr_assert(not(home("n")));
	look("[" LINE("v", "n", "Back") "]", OF("v", "\"a\""));
	cr_assert(home("n"));
	f.nodes_ms -= 60000;
	cr_assert(not(home("n")), "that was a minute ago");
}

Test(failover_back, it_is_tried_for_a_while)
{
	f.run.steps[STAGE_ROLLBACK].start_ms = failover_now_ms();
	cr_assert(eq(int, look("[" LINE("v", "n", "Failed") "]", OF("v", "\"b\"")), FOUND_NOT_YET));
	cr_assert(eq(int, look("[" LINE("v", "n", "Failed") "]", ""), FOUND_NOT_YET));
}

Test(failover_back, one_that_was_here_before_stays_and_starts_nothing_there)
{
	cr_assert(eq(int,
		look("[{\"volume\":\"v\",\"namespaces\":[\"n\"],\"status\":\"HandedOver\","
		     "\"wasHere\":true}]",
			OF("v", "\"b\"")),
		FOUND_DONE));
	cr_assert(volume_is(json_at(f.volumes, 0), "HandedOver"));
	cr_assert(not(home("n")));
}

Test(failover_back, before_the_hand_over_all_is_where_it_was_whether_an_engine_answers_or_not)
{
	f.run.steps[STAGE_HAND_OVER].start_ms = 0;
	cr_assert(eq(int, look("[" LINE("v", "n", "") "]", ""), FOUND_DONE));
	cr_assert(home("n"));
	cr_assert(eq(int,
		look("[{\"volume\":\"v\",\"namespaces\":[\"n\"],\"status\":\"\","
		     "\"wasHere\":true}]",
			""),
		FOUND_DONE));
	cr_assert(not(home("n")));
}

Test(failover_back, a_namespace_without_volumes_is_home)
{
	cr_assert(eq(int, look("[]", ""), FOUND_DONE));
	cr_assert(home("n"));
}

Test(failover_back, a_source_that_was_left_alone_has_nothing_started)
{
	f.run.steps[STAGE_SCALE_DOWN].state = STEP_SKIPPED; /* skipSourceOperations */
	f.summary = parse("[{\"namespace\":\"n\",\"status\":\"In-Progress\"}]");
	f.volumes = parse("[]");
	failover_roll_back(&f, &seen); /* there is no cluster to call */
	cr_assert(eq(int, seen.found, FOUND_DONE), "%s", seen.words);
	cr_assert(eq(
		str, (char *)json_get_string(json_at(f.summary, 0), "status", ""), "In-Progress"));
}

Test(failover_back, what_did_not_run_there_before_is_not_started_there)
{
	f.run.steps[STAGE_SCALE_DOWN].state = STEP_DONE;
	f.summary = parse("[{\"namespace\":\"n\",\"status\":\"In-Progress\",\"wasStopped\":true}]");
	f.volumes = parse("[]");
	failover_roll_back(&f, &seen); /* there is no cluster to call */
	cr_assert(eq(int, seen.found, FOUND_DONE), "%s", seen.words);
	cr_assert_str_eq(
		json_get_string(json_at(f.summary, 0), "status", ""), "RollbackSuccessful");
	cr_assert_str_eq(json_get_string(json_at(f.summary, 0), "reason", ""),
		"nothing ran there before: nothing was started");
}

static bool noted(const char *apps)
{
	struct json *all = parse(apps);

	failover_note_stopped(&f, 0, all);
	json_free(all);
	return json_get_bool(json_at(f.summary, 0), "wasStopped", false);
}

#define DEPLOYMENT(n) "{\"kind\":\"Deployment\",\"spec\":{\"replicas\":" n "}}"

Test(failover_back, nothing_runs_there_where_there_is_something_and_all_of_it_is_stopped)
{
	f.summary = parse("[{\"namespace\":\"n\"}]");
	cr_assert(noted("[" DEPLOYMENT("0") "]"));
	cr_assert(not(noted("[" DEPLOYMENT("0") "," DEPLOYMENT("1") "]")), "one runs");
	cr_assert(noted("[" DEPLOYMENT("0") "," DEPLOYMENT("0") "]"));
	cr_assert(not(noted("[]")), "there is none");
}
