/* SPDX-License-Identifier: Apache-2.0 */
/* A Failover of a node: which volumes are on it, and what becomes of the namespaces. Node a1 of domain a; this is b. */
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
	f.c.config = &config;
	f.c.nodes = nodes;
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
