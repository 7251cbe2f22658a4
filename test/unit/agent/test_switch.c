/* SPDX-License-Identifier: Apache-2.0 */
/* A Failover's stages: their order, what each refusal leads to, what a crash leaves. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps.h"
#include "kube_failover_impl.h"
#include "kube_return.h"
#include "limits.h"
#include "switch.h"

#define T0 1700000000000ull

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};

	cr_assert_eq(json_parse(text, strlen(text), &j, &e), 0, "%s: %s", text, e.msg);
	return j;
}

static struct switch_run run_of(const char *spec)
{
	struct switch_run r;
	struct json *obj;
	struct err e = {0};
	char *text;

	cr_assert(asprintf(&text,
			  "{\"metadata\":{\"creationTimestamp\":\"2023-11-14T22:13:20Z\"},"
			  "\"spec\":{\"fromDomain\":\"a\",%s}}",
			  spec) > 0);
	obj = parse(text);
	cr_assert_eq(switch_parse(obj, &r, &e), 0, "%s", e.msg);
	json_free(obj);
	free(text);
	switch_begin(&r, T0);
	return r;
}

static void see(struct switch_run *r, enum switch_found found, const char *words, uint64_t after_ms)
{
	struct switch_seen s = {.found = found};

	snprintf(s.words, sizeof(s.words), "%s", words);
	switch_step(r, &s, T0 + after_ms);
}

/* All stages that are come through when each is done at once. */
static void path(struct switch_run *r, const char *want)
{
	char got[400] = "";
	size_t n = 0;

	for (unsigned i = 0; i < 20 && !switch_ended(r); i++) {
		n += (size_t)snprintf(got + n, sizeof(got) - n, "%s ", switch_stage_name(r->stage));
		see(r, FOUND_DONE, "done", i);
	}
	cr_assert_str_eq(got, want);
}

Test(switch, each_type_has_its_stages_in_order)
{
	struct switch_run r = run_of("\"type\":\"Planned\",\"preExecRule\":\"p\",\"postExecRule\":"
				     "\"q\",\"webhook\":{\"url\":\"http://x\"}");

	path(&r,
		"Initial LastMileMigration PreExecRule ScaleDownSource WaitAfterScaleDown HandOver "
		"Mount ScaleUpDestination PostExecRule Webhook ");
	cr_assert_eq(r.status, SWITCH_SUCCESSFUL);
	r = run_of("\"type\":\"Failback\"");
	path(&r, "Initial LastMileMigration ScaleDownSource WaitAfterScaleDown HandOver Mount "
		 "ScaleUpDestination ");
	cr_assert_eq(r.steps[STAGE_WEBHOOK].state, STEP_SKIPPED);
	r = run_of(
		"\"type\":\"Failback\",\"skipSourceOperations\":true,\"startApplications\":false");
	path(&r, "Initial HandOver Mount ");
	r = run_of("\"type\":\"Unplanned\",\"preExecRule\":\"p\"");
	path(&r, "Initial Fence Mount ScaleUpDestination ");
	r = run_of("\"type\":\"Planned\",\"dryRun\":true");
	path(&r, "Initial ");
	cr_assert_eq(r.status, SWITCH_SUCCESSFUL);
}

Test(switch, a_refusal_before_the_source_is_stopped_has_changed_nothing)
{
	struct switch_run r = run_of("\"type\":\"Planned\"");

	see(&r, FOUND_REFUSED, "not in sync", 5);
	cr_assert_eq(r.status, SWITCH_FAILED);
	cr_assert(strstr(r.reason, "nothing was changed: not in sync"), "%s", r.reason);
	see(&r, FOUND_DONE, "too late", 9);
	cr_assert_eq(r.status, SWITCH_FAILED);
}

Test(switch, from_the_stop_to_the_hand_over_a_refusal_rolls_back)
{
	for (unsigned done = 2; done <= 4; done++) { /* ScaleDownSource, Wait, HandOver */
		struct switch_run r = run_of("\"type\":\"Planned\"");

		for (unsigned i = 0; i < done; i++)
			see(&r, FOUND_DONE, "done", 1);
		see(&r, FOUND_REFUSED, "no", 2);
		cr_assert_eq(r.stage, STAGE_ROLLBACK, "after %u", done);
		see(&r, FOUND_DONE, "started again", 3);
		cr_assert_eq(r.status, SWITCH_ROLLED_BACK);
		cr_assert_str_eq(r.reason, "rolled back: no");
		if (done > 2)
			cr_assert_eq(r.steps[STAGE_SCALE_DOWN].state, STEP_ROLLED_BACK);
	}
}

Test(switch, what_is_overtaken_ends_and_rolls_nothing_back)
{
	for (unsigned done = 0; done <= 4; done++) {
		struct switch_run r = run_of("\"type\":\"Planned\"");

		for (unsigned i = 0; i < done; i++)
			see(&r, FOUND_DONE, "done", 1);
		cr_assert(switch_can_be_overtaken(&r), "after %u", done);
		switch_overtake(&r, "x", T0 + 2);
		cr_assert(switch_ended(&r));
		cr_assert_eq(r.status, SWITCH_FAILED);
		cr_assert_eq(r.steps[STAGE_ROLLBACK].state, STEP_WAITING);
		cr_assert(strstr(r.reason, "unplanned Failover 'x'"), "%s", r.reason);
	}
	{
		struct switch_run r = run_of("\"type\":\"Planned\"");

		for (unsigned i = 0; i < 3; i++)
			see(&r, FOUND_DONE, "done", 1);
		see(&r, FOUND_REFUSED, "no", 2);
		cr_assert_eq(r.stage, STAGE_ROLLBACK);
		cr_assert(switch_can_be_overtaken(&r));
		r = run_of("\"type\":\"Planned\"");
		for (unsigned i = 0; i < 5; i++)
			see(&r, FOUND_DONE, "done", 1);
		cr_assert_eq(r.stage, STAGE_MOUNT);
		cr_assert_not(switch_can_be_overtaken(&r));
		r = run_of("\"type\":\"Unplanned\"");
		cr_assert_not(switch_can_be_overtaken(&r));
	}
}

Test(switch, behind_the_hand_over_there_is_no_way_back)
{
	struct switch_run r = run_of("\"type\":\"Planned\",\"webhook\":{\"url\":\"http://x\"}");

	for (unsigned i = 0; i < 5; i++)
		see(&r, FOUND_DONE, "done", 1);
	cr_assert_eq(r.stage, STAGE_MOUNT);
	r.cancel = true;
	see(&r, FOUND_NOT_YET, "slow", 2);
	cr_assert_eq(r.stage, STAGE_MOUNT);
	see(&r, FOUND_DONE, "mounted", 3);
	see(&r, FOUND_DONE, "started", 4);
	cr_assert_eq(r.stage, STAGE_WEBHOOK);
	see(&r, FOUND_REFUSED, "HTTP 500", 5);
	cr_assert_eq(r.status, SWITCH_FAILED);
	cr_assert_str_eq(r.reason, "the rest runs here, but: HTTP 500");
}

Test(switch, cancel_goes_back_and_before_the_stop_just_ends)
{
	struct switch_run r = run_of("\"type\":\"Planned\",\"cancel\":true");

	see(&r, FOUND_DONE, "fine", 1);
	cr_assert_eq(r.status, SWITCH_FAILED);
	r = run_of("\"type\":\"Planned\"");
	for (unsigned i = 0; i < 3; i++)
		see(&r, FOUND_DONE, "done", 1);
	r.cancel = true;
	see(&r, FOUND_NOT_YET, "pods", 2);
	cr_assert_eq(r.stage, STAGE_ROLLBACK);
	see(&r, FOUND_NOT_YET, "the API is away", 3);
	cr_assert_eq(r.stage, STAGE_ROLLBACK);
}

Test(switch, waiting_has_an_end)
{
	struct switch_run r = run_of("\"type\":\"Planned\",\"timeoutSeconds\":10");

	for (unsigned i = 0; i < 3; i++)
		see(&r, FOUND_DONE, "done", 1);
	see(&r, FOUND_NOT_YET, "pod x", 9999);
	cr_assert_eq(r.stage, STAGE_WAIT);
	see(&r, FOUND_NOT_YET, "pod x", 10000);
	cr_assert_eq(r.stage, STAGE_ROLLBACK);
	cr_assert(strstr(r.steps[STAGE_WAIT].message, "time-out: pod x"));
	/* An operator's word of yesterday takes over nothing today. */
	r = run_of("\"type\":\"Unplanned\",\"timeoutSeconds\":10");
	see(&r, FOUND_DONE, "found", 1);
	see(&r, FOUND_NOT_YET, "no answer", 86400000);
	cr_assert_eq(r.status, SWITCH_FAILED);
	/* But what is fenced is mounted, also when its time was over on the way. */
	r = run_of("\"type\":\"Unplanned\",\"timeoutSeconds\":10");
	see(&r, FOUND_DONE, "found", 1);
	see(&r, FOUND_DONE, "fenced", 9999);
	see(&r, FOUND_NOT_YET, "mounting", 20000);
	cr_assert_eq(r.stage, STAGE_MOUNT);
	see(&r, FOUND_NOT_YET, "mounting", 9999 + SWITCH_LATE_MS);
	cr_assert_eq(r.status, SWITCH_FAILED);
}

Test(switch, what_can_be_done_only_in_part_fails_in_the_end)
{
	struct switch_run r = run_of("\"type\":\"Unplanned\"");

	see(&r, FOUND_DONE, "found", 1);
	see(&r, FOUND_PARTLY, "1 of 2: outdated", 2);
	cr_assert_eq(r.stage, STAGE_MOUNT);
	see(&r, FOUND_DONE, "mounted", 3);
	see(&r, FOUND_DONE, "started", 4);
	cr_assert_eq(r.status, SWITCH_FAILED);
	cr_assert(strstr(r.reason, "1 of 2: outdated"));
}

/* At every stage: what is read from the status goes on as if nothing had been. */
Test(switch, a_status_that_was_written_is_read_again)
{
	static const char spec[] = "\"type\":\"Planned\",\"webhook\":{\"url\":\"http://x\"}";

	for (unsigned at = 0; at < 9; at++) {
		struct switch_run r = run_of(spec), again;
		struct json *obj = parse("{\"metadata\":{\"creationTimestamp\":"
					 "\"2023-11-14T22:13:20Z\"},\"spec\":{}}"),
			    *status = json_object(), *s = json_object();
		struct err e = {0};

		json_set_string(s, "type", "Planned");
		json_set(s, "webhook", parse("{\"url\":\"http://x\"}"));
		json_set(obj, "spec", s);
		for (unsigned i = 0; i < at; i++)
			see(&r, FOUND_DONE, "done", 1 + i);
		see(&r, FOUND_NOT_YET, "waiting", 50);
		switch_write(&r, status);
		json_set(obj, "status", status);
		cr_assert_eq(switch_parse(obj, &again, &e), 0, "%s", e.msg);
		cr_assert_eq(
			memcmp(&again, &r, sizeof(r)), 0, "at %u: %s", at, json_text(status, true));
		json_free(obj);
	}
}

Test(switch, foreign_words_in_a_status_are_refused)
{
	struct json *obj =
		parse("{\"spec\":{\"type\":\"Planned\"},\"status\":{\"stage\":\"Dancing\","
		      "\"status\":\"In-Progress\"}}");
	struct switch_run r;
	struct err e = {0};

	cr_assert_eq(switch_parse(obj, &r, &e), -EINVAL);
	json_free(obj);
	cr_assert_eq(switch_time_parse("2023-11-14T22:13:20.25Z"), T0 + 250);
	cr_assert_eq(switch_time_parse("soon"), 0);
}

Test(apps, a_volume_is_the_first_name_below_the_mounts)
{
	char name[VOLUME_NAME_MAX + 1];

	cr_assert(apps_volume_of_path("/m/db/data", "/m", name));
	cr_assert_str_eq(name, "db");
	cr_assert(apps_volume_of_path("/m//db", "/m/", name));
	cr_assert_str_eq(name, "db");
	cr_assert_not(apps_volume_of_path("/m", "/m", name));
	cr_assert_not(apps_volume_of_path("/mm/db", "/m", name));
	cr_assert_not(apps_volume_of_path("/m/../etc", "/m", name));
	cr_assert_not(apps_volume_of_path("/m/db", "", name));
}

Test(apps, a_pod_is_stuck_past_its_time_on_a_node_that_is_not_there)
{
	struct json *nodes = parse(
		"[{\"metadata\":{\"name\":\"up\"},\"status\":{\"conditions\":[{\"type\":\"Ready\","
		"\"status\":\"True\"}]}},{\"metadata\":{\"name\":\"down\"},\"status\":{"
		"\"conditions\":[{\"type\":\"Ready\",\"status\":\"Unknown\"}]}}]");
	static const struct {
		const char *node, *deletion;
		bool stuck;
	} cases[] = {
		{"down", "2023-11-14T22:13:20Z", true}, {"gone", "2023-11-14T22:13:20Z", true},
		{"up", "2023-11-14T22:13:20Z", false},
		{"down", "2023-11-14T22:13:21Z", false}, /* it may still end by itself */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct json *pod = json_object(), *meta = json_object(), *spec = json_object();

		json_set_string(meta, "deletionTimestamp", cases[i].deletion);
		json_set_string(spec, "nodeName", cases[i].node);
		json_set(pod, "metadata", meta);
		json_set(pod, "spec", spec);
		cr_assert_eq(apps_pod_is_stuck(pod, nodes, 1700000000), cases[i].stuck, "%u", i);
		json_remove(meta, "deletionTimestamp");
		cr_assert_not(apps_pod_is_stuck(pod, nodes, 1700000000));
		json_free(pod);
	}
	json_free(nodes);
}

Test(apps, pods_that_have_ended_or_have_no_volume_write_nothing)
{
	struct json *pod = parse("{\"spec\":{\"volumes\":[{\"persistentVolumeClaim\":{"
				 "\"claimName\":\"db\"}}]},\"status\":{\"phase\":\"Running\"}}");

	cr_assert(apps_pod_writes(pod, "/m"));
	json_set_string(json_get(pod, "status"), "phase", "Succeeded");
	cr_assert_not(apps_pod_writes(pod, "/m"));
	json_free(pod);
	pod = parse("{\"spec\":{\"volumes\":[{\"emptyDir\":{}},{\"hostPath\":{\"path\":\"/m/db/"
		    "x\"}}]}}");
	cr_assert(apps_pod_writes(pod, "/m"));
	cr_assert_not(apps_pod_writes(pod, "/other"));
	json_free(pod);
}

Test(switch, a_webhook_is_split_into_server_and_path)
{
	static const struct {
		const char *url, *server, *path;
	} cases[] = {
		{"http://h", "http://h", "/"},
		{"https://h:1/a/b?c=/d", "https://h:1", "/a/b?c=/d"},
		{"https://h?c=/d", "https://h", "/?c=/d"},
		{"http://[::1]:80/a#b", "http://[::1]:80", "/a"},
		{"http://u:p@h/", "http://u:p@h", "/"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char *server, *path;

		webhook_split(cases[i].url, &server, &path);
		cr_assert_str_eq(server, cases[i].server, "%u", i);
		cr_assert_str_eq(path, cases[i].path, "%u", i);
		free(server);
		free(path);
	}
}

Test(switch, a_webhooks_bundle_is_certificates_in_base64)
{
	static const char *const bad[] = {"", "x", "!!!!", "eA==", "LS0t"};
	struct err e = {0};
	char *pem = NULL, *text = kube_base64_of("-----BEGIN CERTIFICATE-----\nx\n");

	cr_assert_eq(webhook_ca(text, &pem, &e), 0);
	cr_assert_str_eq(pem, "-----BEGIN CERTIFICATE-----\nx\n");
	free(pem);
	text[8] =
		'\n'; /* another digit than was there: the line's end is left out, and what is left is none */
	cr_assert_eq(webhook_ca(text, &pem, &e), -EINVAL);
	free(text);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert_eq(webhook_ca(bad[i], &pem, &e), -EINVAL, "%u", i);
		cr_assert_null(pem);
		cr_assert(strstr(e.msg, "base64"), "%s", e.msg);
	}
}

Test(switch, a_returned_site_is_stopped_only_where_its_own_record_says_so)
{
#define LEFT "{\"active_domain\":\"b\",\"inactive\":[\"a\"]}"
#define HERE "{\"active_domain\":\"a\",\"inactive\":[]}"
	static const struct {
		const char *statuses;
		enum return_word word;
	} cases[] = {
		{"[]", RETURN_LEAVE}, {"[" LEFT "]", RETURN_STOP}, {"[" HERE "]", RETURN_LEAVE},
		{"[" LEFT "," HERE "]", RETURN_MIXED}, {"[" HERE "," LEFT "]", RETURN_MIXED},
		{"[" LEFT ",{}]", RETURN_LEAVE}, /* one does not answer */
		{"[{}," LEFT "]", RETURN_LEAVE},
		{"[{\"active_domain\":\"b\",\"inactive\":[]}]", RETURN_ELSEWHERE}, /* a hand-over */
		{"[" LEFT ",{\"active_domain\":\"b\",\"inactive\":[]}]", RETURN_STOP},
		{"[{\"active_domain\":\"a\",\"inactive\":[\"a\"]}]", RETURN_LEAVE},
		{"[{\"active_domain\":\"a\",\"inactive\":[\"b\"]}]", RETURN_LEAVE}, /* it went on */
		{"[{\"active_domain\":\"\",\"inactive\":[\"a\"]}]", RETURN_LEAVE}, /* nobody is */
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct json *statuses = parse(cases[i].statuses);

		cr_assert_eq(return_judge(statuses, "a"), cases[i].word, "%u", i);
		json_free(statuses);
	}
}

Test(switch, the_node_of_the_other_replica_is_the_one_that_is_named_or_the_host_of_its_address)
{
	struct json *peers =
		parse("[{\"domain\":\"b\",\"address\":\"10.0.0.1:7410\"},"
		      "{\"domain\":\"c\",\"node\":\"c1\",\"address\":\"10.0.0.2:7410\"},"
		      "{\"domain\":\"d\"}]");
	char node[64];

	cr_assert_str_eq(replica_node(peers, "b", node, sizeof(node)), "10.0.0.1");
	cr_assert_str_eq(replica_node(peers, "c", node, sizeof(node)), "c1");
	cr_assert_str_eq(replica_node(peers, "d", node, sizeof(node)), "");
	cr_assert_str_eq(replica_node(peers, "e", node, sizeof(node)), "");
	json_free(peers);
}
