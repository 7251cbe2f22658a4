/* SPDX-License-Identifier: Apache-2.0 */
/* What runs at both sites, and where copies of this one are. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

#include "kube_return.h"
#include "kube_twice.h"

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct err e = {0};

	cr_assert(eq(int, json_parse(text, strlen(text), &j, &e), 0), "%s: %s", text, e.msg);
	return j;
}

/* --- volumes --- */

static enum return_word judge(const char *statuses)
{
	struct json *j = parse(statuses);
	enum return_word word = return_judge(j, "a");

	json_free(j);
	return word;
}

#define AT(active, inactive) "{\"active_domain\":" active ",\"inactive\":[" inactive "]}"

Test(twice, the_records_say_whether_a_namespace_was_left_behind)
{
	cr_assert(eq(int, judge("[]"), RETURN_LEAVE));
	cr_assert(eq(int, judge("[" AT("\"a\"", "") "]"), RETURN_LEAVE));
	cr_assert(eq(int, judge("[" AT("\"b\"", "\"a\"") "]"), RETURN_STOP));
	cr_assert(eq(int, judge("[" AT("\"b\"", "") "," AT("\"b\"", "\"a\"") "]"), RETURN_STOP));
	cr_assert(eq(int, judge("[" AT("\"a\"", "") "," AT("\"b\"", "\"a\"") "]"), RETURN_MIXED));
	cr_assert(eq(int, judge("[" AT("\"b\"", "") "," AT("\"c\"", "") "]"), RETURN_ELSEWHERE));
	cr_assert(eq(int, judge("[" AT("\"b\"", "") "," AT("\"a\"", "") "]"), RETURN_LEAVE));
	cr_assert(eq(int, judge("[" AT("\"b\"", "") "," AT("null", "") "]"), RETURN_LEAVE));
	cr_assert(eq(int, judge("[" AT("\"b\"", "") ",{}]"), RETURN_LEAVE), "one is not known");
}

/* --- where copies are --- */

#define SCHEDULE(ns, spec, meta)                                                                   \
	"{\"metadata\":{\"namespace\":\"" ns "\"" meta "},\"spec\":{\"template\":{\"spec\":{"      \
	"\"clusterPair\":\"p\"" spec "}}}}"
#define MIGRATION(ns, spec)                                                                        \
	"{\"metadata\":{\"namespace\":\"" ns "\"},\"spec\":{\"clusterPair\":\"p\"" spec "}}"

static const char *sources(const char *objs)
{
	static struct json *found;
	struct json *j = parse(objs), *all = parse("[\"blue\",\"red\",\"admin\"]");

	json_free(found);
	found = json_object();
	twice_sources(j, "admin", all, found);
	json_free(j);
	json_free(all);
	return json_text(found, false);
}

#define LINE(in, to) "{\"in\":\"" in "\",\"pair\":\"p\",\"to\":\"" to "\"}"

Test(twice, schedules_and_migrations_say_where_copies_are)
{
	cr_assert(
		eq(str, (char *)sources("[" SCHEDULE("blue", "", "") "," MIGRATION("blue", "") "]"),
			"{\"blue\":[" LINE("blue", "blue") "]}"));
	cr_assert(eq(str,
		(char *)sources(
			"[" MIGRATION("blue", ",\"namespaceMapping\":{\"blue\":\"green\"}") "]"),
		"{\"blue\":[" LINE("blue", "green") "]}"));
	cr_assert(eq(str,
		(char *)sources("[" MIGRATION("admin",
			",\"namespaces\":[\"*\"],\"excludeNamespaces\":[\"red\",\"admin\"]") "]"),
		"{\"blue\":[" LINE("admin", "blue") "]}"));
}

Test(twice, what_is_meant_to_run_twice_or_is_anothers_is_none)
{
	cr_assert(eq(str,
		(char *)sources("[" SCHEDULE("blue", ",\"startApplications\":true", "") "]"),
		"{}"));
	cr_assert(eq(str,
		(char *)sources("[" SCHEDULE("blue", "",
			",\"annotations\":{\"tandemfs.dev/static-copy\":\"true\"}") "]"),
		"{}"));
	cr_assert(
		eq(str, (char *)sources("[" SCHEDULE("blue", ",\"namespaces\":[\"red\"]", "") "]"),
			"{}"),
		"who writes in another namespace has no say");
	cr_assert(eq(str, (char *)sources("[{},{\"spec\":1}]"), "{}"));
	cr_assert(eq(str,
			  (char *)sources(
				  "[{\"metadata\":{\"namespace\":\"blue\",\"labels\":{"
				  "\"tandemfs.dev/migration-schedule-name\":\"s\"}},\"spec\":{"
				  "\"clusterPair\":\"p\"}}]"),
			  "{}"),
		"its schedule may say something else by now");
}

/* --- workloads --- */

#define WEB(replicas, meta)                                                                        \
	"{\"kind\":\"Deployment\",\"apiVersion\":\"apps/v1\",\"metadata\":{\"name\":\"web\"" meta  \
	"},\"spec\":{\"replicas\":" replicas "}}"
#define COPY ",\"labels\":{\"tandemfs.dev/migrated\":\"true\"}"

static unsigned twice(const char *here, const char *there)
{
	struct json *h = parse(here), *t = parse(there), *found = twice_of(h, t);
	unsigned n = json_length(found);

	json_free(h);
	json_free(t);
	json_free(found);
	return n;
}

Test(twice, an_original_whose_copy_runs)
{
	cr_assert(eq(u32, twice("[" WEB("2", "") "]", "[" WEB("2", COPY) "]"), 1));
	cr_assert(eq(u32, twice("[" WEB("0", "") "]", "[" WEB("2", COPY) "]"), 0), "it is stopped");
	cr_assert(eq(u32, twice("[" WEB("2", "") "]", "[" WEB("0", COPY) "]"), 0), "no copy runs");
	cr_assert(eq(u32, twice("[" WEB("2", "") "]", "[" WEB("2", "") "]"), 0), "it is no copy");
	cr_assert(eq(u32, twice("[" WEB("2", COPY) "]", "[" WEB("2", COPY) "]"), 0), "no original");
	cr_assert(eq(u32, twice("[" WEB("2", "") "]", "[]"), 0));
	cr_assert(eq(u32, twice("[]", "[" WEB("2", COPY) "]"), 0));
}
