/* SPDX-License-Identifier: Apache-2.0 */
/* A Failover of a node: which volumes are on it, and what becomes of the namespaces. Node a1 of domain a; this is b. It is
 * an unplanned one, but where a test says planned(). */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kube_failover_impl.h"

static struct agent_config config;
static struct kube_node nodes[2];
static struct failover f;
static struct node_found found;
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
	snprintf(config.mounts, sizeof(config.mounts), "/mnt");
	f.c.config = &config;
	f.c.nodes = nodes;
	f.run.type = SWITCH_UNPLANNED;
	f.obj = parse("{\"spec\":{\"fromDomain\":\"a\",\"node\":\"a1\"}}");
	found = (struct node_found){0};
}

static void end(void)
{
	json_free(f.obj);
	json_free(f.summary);
	json_free(f.volumes);
	for (unsigned i = 0; i < ARRAY_SIZE(nodes); i++)
		json_free(nodes[i].status);
	node_found_free(&found);
}
TestSuite(failover_node, .init = begin, .fini = end);

/* The next engine's answer; NULL: none. */
static void engine(const char *status)
{
	nodes[f.c.nnodes++].status = status ? parse(status) : NULL;
}

static const char *find(const char *objects)
{
	struct json *j = objects ? parse(objects) : NULL;

	node_found_free(&found);
	found = node_found_of(&f, j);
	json_free(j);
	return json_text(found.on, false);
}

static void keep(const char *summary, const char *volumes, const char *on)
{
	struct json *j = parse(on);

	json_free(f.summary);
	json_free(f.volumes);
	f.summary = parse(summary);
	f.volumes = parse(volumes);
	failover_keep_node(&f, j);
	json_free(j);
}

#define PEER(domain, node) "{\"domain\":\"" domain "\",\"node\":\"" node "\"}"
#define VOLUME(name, peers) "{\"volume\":\"" name "\",\"status\":{\"peers\":[" peers "]}}"
#define OBJECT(name, replicas)                                                                     \
	"{\"metadata\":{\"name\":\"" name "\"},\"status\":{\"replicas\":[" replicas "]}}"

/* ---- which volumes ---- */

Test(failover_node, engines_and_objects_say_which_volumes_are_on_it)
{
	engine("{\"volumes\":[" VOLUME("v1", PEER("a", "a1")) "," VOLUME(
		"v2", PEER("a", "a2")) "," VOLUME("v3", PEER("c", "a1")) "]}");
	engine("{\"volumes\":[" VOLUME("v4", PEER("c", "c1") "," PEER("a", "a1")) "]}");
	cr_assert(eq(str,
		(char *)find("[" OBJECT("v1", PEER("a", "a1")) "," OBJECT(
			"v5", PEER("b", "b1") "," PEER("a", "a1")) "]"),
		"[\"v1\",\"v4\",\"v5\"]"));
	cr_assert(eq(str, (char *)json_text(found.known, false), "[\"a1\",\"a2\"]"));
	cr_assert(found.all);
	cr_assert(eq(int, node_found_check(&f, &found, false, &e), 0));
}

Test(failover_node, the_objects_speak_for_an_engine_that_is_away)
{
	engine(NULL);
	cr_assert(eq(str, (char *)find("[" OBJECT("v1", PEER("a", "a1")) "]"), "[\"v1\"]"));
	cr_assert(not(found.all));
	cr_assert(eq(int, node_found_check(&f, &found, false, &e), 0));
}

Test(failover_node, nothing_on_it_is_believed_when_all_have_answered_or_it_is_late)
{
	engine("{\"volumes\":[" VOLUME("v1", PEER("a", "a2")) "]}");
	find("[" OBJECT("v1", PEER("a", "a3")) "]");
	cr_assert(eq(int, node_found_check(&f, &found, false, &e), -ENOENT));
	cr_assert(
		strstr(e.msg, "on a node 'a1' of 'a'; there are 'a2', 'a3'") != NULL, "%s", e.msg);
	engine(NULL);
	find(NULL);
	cr_assert(eq(int, node_found_check(&f, &found, false, &e), -EBUSY));
	cr_assert(eq(int, node_found_check(&f, &found, true, &e), -ENOENT));
}

Test(failover_node, a_volume_that_nobody_places_may_be_on_it)
{
	engine("{\"volumes\":[{\"volume\":\"v1\",\"status\":null}]}");
	find("[{\"metadata\":{\"name\":\"v1\"},\"status\":{\"replicas\":[]}}]");
	cr_assert(eq(int, node_found_check(&f, &found, false, &e), -EBUSY));
	cr_assert(eq(int, node_found_check(&f, &found, true, &e), -ENOENT));
	find("[" OBJECT("v2", PEER("a", "a2")) "," OBJECT("v1", PEER("a", "a2")) "]");
	cr_assert(eq(int, node_found_check(&f, &found, false, &e), -ENOENT), "the object does");
	json_free(nodes[0].status);
	nodes[0].status = parse("{\"volumes\":[{\"volume\":\"v1\",\"status\":{\"peers\":[]}}]}");
	find(NULL);
	cr_assert(eq(int, node_found_check(&f, &found, false, &e), -ENOENT), "it has no other");
	json_free(nodes[0].status);
	nodes[0].status = parse("{}");
	find(NULL);
	cr_assert(eq(int, node_found_check(&f, &found, false, &e), -EBUSY), "no answer at all");
}

Test(failover_node, what_has_no_name_is_no_volume)
{
	engine("{\"volumes\":[{\"status\":{\"peers\":[" PEER("a", "a1") "]}}]}");
	cr_assert(
		eq(str, (char *)find("[{\"status\":{\"replicas\":[" PEER("a", "a1") "]}}]"), "[]"));
}

Test(failover_node, an_answer_without_what_was_asked_names_nothing)
{
	engine("{\"volumes\":[{\"volume\":\"v1\",\"status\":null},{\"volume\":\"v2\"},7,null,"
	       "{\"volume\":\"v3\",\"status\":{\"peers\":{\"node\":\"a1\"}}},"
	       "{\"volume\":\"v4\",\"status\":{\"peers\":[{\"node\":\"a1\"},\"a1\"]}}]}");
	engine("{\"volumes\":\"v5\"}");
	cr_assert(eq(str,
		(char *)find("[{\"metadata\":{\"name\":\"v6\"}},{\"metadata\":{\"name\":"
			     "\"v7\"},\"status\":{\"replicas\":\"a1\"}}]"),
		"[]"));
	cr_assert(eq(u32, json_length(found.known), 0));
}

/* ---- which namespaces ---- */

#define LINES "[{\"namespace\":\"one\"},{\"namespace\":\"two\"},{\"namespace\":\"none\"}]"

Test(failover_node, a_namespace_without_a_volume_on_it_is_left_out)
{
	keep(LINES,
		"[{\"volume\":\"v1\",\"namespaces\":[\"one\"]},{\"volume\":\"v2\",\"namespaces\":["
		"\"two\"]}]",
		"[\"v1\"]");
	cr_assert(eq(str, (char *)json_text(f.summary, false), "[{\"namespace\":\"one\"}]"));
	cr_assert(eq(u32, json_length(f.volumes), 1));
	cr_assert(eq(str, (char *)json_get_string(json_at(f.volumes, 0), "volume", ""), "v1"));
}

Test(failover_node, one_that_was_named_is_told_of_instead)
{
	json_free(f.obj);
	f.obj = parse("{\"spec\":{\"fromDomain\":\"a\",\"node\":\"a1\",\"namespaces\":[\"x\"]}}");
	keep(LINES, "[{\"volume\":\"v1\",\"namespaces\":[\"one\"]}]", "[\"v1\"]");
	cr_assert(eq(u32, json_length(f.summary), 3));
	cr_assert(eq(str, (char *)json_get_string(json_at(f.summary, 0), "status", ""), ""));
	cr_assert(eq(str, (char *)json_get_string(json_at(f.summary, 1), "status", ""), "Failed"));
	cr_assert(eq(str, (char *)json_get_string(json_at(f.summary, 1), "reason", ""),
		"none of its volumes is on node 'a1'"));
}

Test(failover_node, one_that_has_volumes_in_use_elsewhere_is_started_only_by_name)
{
	static const char both[] = "[{\"volume\":\"v1\",\"namespaces\":[\"one\"]},"
				   "{\"volume\":\"v2\",\"namespaces\":[\"one\"]}]";

	keep(LINES, both, "[\"v1\"]");
	cr_assert(eq(u32, json_length(f.summary), 1));
	cr_assert(eq(str, (char *)json_get_string(json_at(f.summary, 0), "status", ""), "Failed"));
	cr_assert(strstr(json_get_string(json_at(f.summary, 0), "reason", ""),
			  "it uses volume 'v2', too, which is not on node 'a1'") != NULL);
	engine("{\"volumes\":[{\"volume\":\"v2\",\"status\":{\"active_domain\":\"b\"}}]}");
	keep(LINES, both, "[\"v1\"]");
	cr_assert(eq(str, (char *)json_text(f.summary, false), "[{\"namespace\":\"one\"}]"),
		"it is here already");
	json_free(nodes[0].status);
	nodes[0].status = parse("{\"volumes\":[{\"volume\":\"v2\",\"status\":null}]}");
	keep(LINES, both, "[\"v1\"]");
	cr_assert(eq(str, (char *)json_get_string(json_at(f.summary, 0), "status", ""), "Failed"),
		"nobody knows where it is");
	json_free(f.obj);
	f.obj = parse("{\"spec\":{\"fromDomain\":\"a\",\"node\":\"a1\",\"namespaces\":[\"one\"]}}");
	keep(LINES, both, "[\"v1\"]");
	cr_assert(eq(str, (char *)json_get_string(json_at(f.summary, 0), "status", ""), ""));
}

/* ---- planned: the node is emptied ---- */

/* Volumes v1 and v4 are on the node; what is active where is as the engine says; members of the spec beside it. */
static void planned(const char *more)
{
	char text[256];

	snprintf(text, sizeof(text), "{\"spec\":{\"fromDomain\":\"a\",\"node\":\"a1\"%s}}", more);
	json_free(f.obj);
	f.obj = parse(text);
	f.run.type = SWITCH_PLANNED;
}

static void keep_planned(const char *summary, const char *volumes)
{
	struct json *on = parse("[\"v1\",\"v4\"]");

	json_free(f.summary);
	json_free(f.volumes);
	f.summary = parse(summary);
	f.volumes = parse(volumes);
	failover_keep_whole(&f, on);
	json_free(on);
}

/* What moves: "volume ... namespace ...", and those that are told of in brackets. */
static char *moved(void)
{
	static char text[256];
	size_t n = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < json_length(f.volumes); i++)
		n += (size_t)snprintf(
			text + n, sizeof(text) - n, "%s ", volume_name(json_at(f.volumes, i)));
	for (unsigned i = 0; i < json_length(f.summary); i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
			failover_is_left(&f, i) ? "(%s) " : "%s ", failover_namespace(&f, i));
	return text;
}

static int rest(const char *excluded, const char *pvs)
{
	struct json *on = parse("[\"v1\",\"v4\"]"), *out = parse(excluded), *j = parse(pvs);
	int ret = failover_add_rest(&f, on, out, j, &e);

	json_free(on);
	json_free(out);
	json_free(j);
	return ret;
}

#define ACTIVE(name, domain)                                                                       \
	"{\"volume\":\"" name "\",\"status\":{\"active_domain\":\"" domain "\"}}"
#define USED(name, namespaces) "{\"volume\":\"" name "\",\"namespaces\":[" namespaces "]}"
#define PV(name, ns, phase)                                                                        \
	"{\"spec\":{\"hostPath\":{\"path\":\"/mnt/" name                                           \
	"/data\"},\"claimRef\":{\"namespace\":\"" ns "\"}},\"status\":{\"phase\":\"" phase "\"}}"

Test(failover_node, planned_a_namespace_moves_whole_and_others_are_left_alone)
{
	planned("");
	engine("{\"volumes\":[" ACTIVE("v1", "a") "," ACTIVE("v2", "a") "," ACTIVE("v3", "a") "]}");
	keep_planned(LINES,
		"[" USED("v1", "\"one\"") "," USED("v2", "\"one\"") "," USED("v3", "\"two\"") "]");
	cr_assert(eq(str, moved(), "v1 v2 one "));
}

Test(failover_node, planned_who_shares_a_volume_that_moves_comes_along)
{
	planned("");
	engine("{\"volumes\":[" ACTIVE("v1", "a") "," ACTIVE("v2", "a") "," ACTIVE(
		"v3", "a") "," ACTIVE("v5", "b") "]}");
	keep_planned("[{\"namespace\":\"third\"},{\"namespace\":\"two\"},{\"namespace\":\"one\"},"
		     "{\"namespace\":\"four\"}]",
		"[" USED("v1", "\"one\"") "," USED("v2", "\"one\",\"two\"") "," USED(
			"v3", "\"two\",\"third\"") "," USED("v5", "\"one\",\"four\"") "]");
	cr_assert(eq(str, moved(), "v1 v2 v3 v5 third two one "), "but not by one that is here");
}

Test(failover_node, planned_names_restrict_it_and_one_without_a_volume_there_is_told)
{
	planned(",\"namespaces\":[\"two\",\"none\"]");
	engine("{\"volumes\":[" ACTIVE("v1", "a") "," ACTIVE("v3", "a") "]}");
	keep_planned("[{\"namespace\":\"none\"},{\"namespace\":\"two\"}]",
		"[" USED("v1", "\"two\"") "," USED("v3", "\"none\"") "]");
	cr_assert(eq(str, moved(), "v1 (none) two "));
	cr_assert(eq(str, (char *)json_get_string(json_at(f.summary, 0), "reason", ""),
		"none of its volumes is on node 'a1'"));
	cr_assert(not(failover_empties_node(&f)));
}

Test(failover_node, planned_what_is_here_counts_for_those_who_were_named)
{
	static const char lines[] = "[{\"namespace\":\"one\"}]";
	static const char both[] = "[" USED("v1", "\"one\"") "," USED("v2", "\"one\"") "]";

	planned("");
	engine("{\"volumes\":[" ACTIVE("v1", "b") "," ACTIVE("v2", "a") "]}");
	keep_planned(lines, both);
	cr_assert(eq(str, moved(), ""));
	planned(",\"namespaces\":[\"one\"]");
	keep_planned(lines, both);
	cr_assert(eq(str, moved(), "v1 v2 one "), "it is named");
}

Test(failover_node, planned_a_volume_that_nobody_knows_is_chosen_to_be_refused)
{
	planned("");
	engine("{\"volumes\":[{\"volume\":\"v4\",\"status\":null}]}");
	keep_planned("[{\"namespace\":\"one\"},{\"namespace\":\"two\"}]",
		"[" USED("v1", "\"one\"") "," USED("v4", "\"two\"") "]");
	cr_assert(eq(str, moved(), "v1 v4 one two "));
	json_free(nodes[0].status);
	nodes[0].status = parse("{\"volumes\":[" ACTIVE("v1", "c") "," ACTIVE("v4", "a") "]}");
	keep_planned("[{\"namespace\":\"one\"},{\"namespace\":\"two\"}]",
		"[" USED("v1", "\"one\"") "," USED("v4", "\"two\"") "]");
	cr_assert(eq(str, moved(), "v4 two "), "active in a third domain, it loses a standby");
}

Test(failover_node, planned_volumes_without_a_namespace_move_where_nothing_runs_there)
{
	planned(",\"excludeNamespaces\":[\"spared\"]");
	engine("{\"volumes\":[" ACTIVE("v1", "a") "," ACTIVE("v4", "a") "]}");
	keep_planned("[{\"namespace\":\"one\"}]", "[" USED("v1", "\"one\"") "]");
	cr_assert(eq(int, rest("[]", "[]"), -EINVAL), "a pod there may use it by its path");
	cr_assert(strstr(e.msg, "sourceIsStopped") != NULL, "%s", e.msg);
	cr_assert(eq(int, rest("[]", "[" PV("v4", "gone", "Released") "]"), -EINVAL));
	planned(",\"sourceIsStopped\":true");
	cr_assert(failover_empties_node(&f));
	engine("{\"volumes\":[" ACTIVE("v1", "a") "," ACTIVE("v4", "a") "]}");
	keep_planned("[{\"namespace\":\"one\"}]", "[" USED("v1", "\"one\"") "]");
	cr_assert(eq(int, rest("[]", "[]"), 0));
	cr_assert(eq(str, moved(), "v1 v4 one "));
	cr_assert(eq(u32, json_length(json_get(json_at(f.volumes, 1), "namespaces")), 0));
	keep_planned("[{\"namespace\":\"one\"}]", "[" USED("v1", "\"one\"") "]");
	cr_assert(eq(int, rest("[]", "[" PV("v4", "gone", "Released") "]"), 0));
	cr_assert(eq(str, moved(), "v1 v4 one "), "its claim is gone");
}

Test(failover_node, planned_a_volume_of_a_namespace_that_stays_is_refused_or_left)
{
	planned(",\"excludeNamespaces\":[\"spared\"]");
	engine("{\"volumes\":[" ACTIVE("v1", "a") "," ACTIVE("v4", "a") "]}");
	keep_planned("[{\"namespace\":\"one\"}]", "[" USED("v1", "\"one\"") "]");
	cr_assert(eq(int, rest("[]", "[" PV("v4", "spared", "Bound") "]"), 0));
	cr_assert(eq(int, rest("[\"other\"]", "[" PV("v4", "other", "Bound") "]"), 0));
	cr_assert(eq(str, moved(), "v1 one "));
	cr_assert(eq(int, rest("[\"other\"]", "[" PV("v4", "alien", "Bound") "]"), -EINVAL));
	cr_assert(strstr(e.msg, "volume 'v4' on node 'a1' is of namespace 'alien'") != NULL, "%s",
		e.msg);
}

Test(failover_node, planned_waits_until_it_is_known_where_all_volumes_are)
{
	planned("");
	engine("{\"volumes\":[" VOLUME("v1", PEER("a", "a1")) "]}");
	engine(NULL);
	find(NULL);
	cr_assert(eq(int, node_found_check(&f, &found, false, &e), -EBUSY));
	cr_assert(eq(int, node_found_check(&f, &found, true, &e), 0));
	f.run.type = SWITCH_UNPLANNED;
	cr_assert(eq(int, node_found_check(&f, &found, false, &e), 0), "that one is in a hurry");
}
