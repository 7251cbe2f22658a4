/* SPDX-License-Identifier: Apache-2.0 */
/* Which namespaces a Failover is about that names none. Domain a is left; this is b. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <string.h>

#include "kube_failover_impl.h"

static struct agent_config config;
static struct failover f;
static struct err e;

static struct json *parse(const char *text)
{
	struct json *j = NULL;

	cr_assert(eq(int, json_parse(text, strlen(text), &j, &e), 0), "%s", e.msg);
	return j;
}

static void begin(void)
{
	snprintf(config.domain, sizeof(config.domain), "b");
	snprintf(config.mounts, sizeof(config.mounts), "/mnt/tandem");
	f.c.config = &config;
	f.obj = parse("{\"spec\":{\"fromDomain\":\"a\"}}");
	f.summary = json_array();
}

static void end(void)
{
	json_free(f.obj);
	json_free(f.summary);
}
TestSuite(failover_names, .init = begin, .fini = end);

#define PV(ns, word, path)                                                                         \
	"{\"metadata\":{" word "},\"spec\":{\"claimRef\":{\"namespace\":\"" ns                     \
	"\"},\"hostPath\":{\"path\":\"" path "\"}}}"
#define LABEL(volume) "\"labels\":{\"tandemfs.dev/volume\":\"" volume "\"}"
#define OBJECT(name, active)                                                                       \
	"{\"metadata\":{\"name\":\"" name "\"},\"status\":{\"active\":\"" active "\"}}"

static const char *hidden(const char *namespaces, const char *pvs, const char *objects)
{
	struct json *n = parse(namespaces), *p = parse(pvs), *o = parse(objects);

	failover_add_hidden(&f, n, p, o);
	json_free(n);
	json_free(p);
	json_free(o);
	return json_text(f.summary, false);
}

Test(failover_names, a_hidden_namespace_is_meant_when_a_volume_of_it_is_active_at_the_source)
{
	const char *found = hidden("[\"blue\",\"green\",\"kube-system\",\"red\",\"grey\"]",
		"[" PV("blue", LABEL("v1"), "") "," PV("green", "", "/mnt/tandem/v2/data") "," PV(
			"red", LABEL("v3"), "") "," PV("grey", "", "/srv/other") "]",
		"[" OBJECT("v1", "a") "," OBJECT("v2", "a") "," OBJECT("v3", "b") "]");

	cr_assert(eq(str, (char *)found,
		"[{\"namespace\":\"blue\",\"status\":\"In-Progress\"},"
		"{\"namespace\":\"green\",\"status\":\"In-Progress\"}]"));
}

Test(failover_names, what_may_be_read_speaks_for_itself)
{
	cr_assert(eq(str,
		(char *)hidden("[\"kube-system\"]", "[" PV("blue", LABEL("v1"), "") "]",
			"[" OBJECT("v1", "a") "]"),
		"[]"));
}

Test(failover_names, broken_objects_name_nothing)
{
	cr_assert(eq(str,
		(char *)hidden("[\"blue\"]", "[{},{\"spec\":3}," PV("blue", LABEL("v1"), "") "]",
			"[{},{\"metadata\":{\"name\":\"v1\"}}]"),
		"[]"));
}
