/* SPDX-License-Identifier: Apache-2.0 */
/* Which volumes a failover of a node is about: site b's node b1 is asked, where nothing else is said. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "node_volumes.h"

static struct node_asked asked;
static struct node_volume vs[OPERATION_GROUP_MAX + 2];
static unsigned n;
static struct node_picked got;
static struct err e;

static void begin(void)
{
	asked = (struct node_asked){.node = "a1",
		.to = "",
		.unplanned = true,
		.own_domain = "b",
		.own_node = "b1",
		.only_peer = "a"};
	n = 0;
	e = (struct err){0};
}
TestSuite(node_volumes, .init = begin);

static bool parse(const char *entry, bool answers, struct node_volume *v)
{
	struct json *j = NULL;
	bool is;

	cr_assert(eq(int, json_parse(entry, strlen(entry), &j, &e), 0), "%s", e.msg);
	is = node_volume_parse(j, answers, v);
	json_free(j);
	return is;
}

/* A volume whose other replica is in site a, on that node. */
static struct node_volume *volume(const char *name, const char *node, const char *active)
{
	struct node_volume *v = &vs[n++];

	*v = (struct node_volume){.answers = true, .nothers = 1};
	snprintf(v->volume, sizeof(v->volume), "%s", name);
	snprintf(v->active, sizeof(v->active), "%s", active);
	snprintf(v->others[0].domain, sizeof(v->others[0].domain), "a");
	snprintf(v->others[0].node, sizeof(v->others[0].node), "%s", node);
	return v;
}

static int pick(void)
{
	return node_volumes_pick(&asked, vs, n, &got, &e);
}

/* What was picked, in words: a name, and a plus where it goes on alone. */
static const char *picked(void)
{
	static char text[200];

	text[0] = '\0';
	cr_assert(eq(int, pick(), 0), "%s", e.msg);
	for (unsigned i = 0; i < got.n; i++) {
		size_t at = strlen(text);

		snprintf(text + at, sizeof(text) - at, "%s%s%s", i ? " " : "",
			got.picks[i].v->volume, got.picks[i].alone ? "+" : "");
	}
	return text;
}

static void is_refused(int error, const char *why)
{
	cr_assert(eq(int, pick(), error), "%s", e.msg);
	cr_assert(strstr(e.msg, why) != NULL, "'%s' does not say '%s'", e.msg, why);
}

/* ---- what a daemon says ---- */

Test(node_volumes, a_daemon_names_the_nodes_of_its_peers)
{
	struct node_volume v;

	cr_assert(parse("{\"volume\":\"v1\",\"status\":{\"active_domain\":\"a\",\"peers\":["
			"{\"domain\":\"a\",\"node\":\"a1\"},{\"domain\":\"c\"}]}}",
		true, &v));
	cr_assert(eq(str, v.volume, "v1"));
	cr_assert(eq(str, v.active, "a"));
	cr_assert(v.answers);
	cr_assert(eq(u32, v.nothers, 2));
	cr_assert(eq(str, v.others[0].domain, "a"));
	cr_assert(eq(str, v.others[0].node, "a1"));
	cr_assert(eq(str, v.others[1].domain, "c"));
	cr_assert(eq(str, v.others[1].node, ""), "an older daemon names none");
}

Test(node_volumes, one_that_never_answered_is_a_volume_without_peers)
{
	struct node_volume v;

	cr_assert(parse("{\"volume\":\"v1\",\"status\":null}", false, &v));
	cr_assert(eq(u32, v.nothers, 0));
	cr_assert(eq(str, v.active, ""));
	cr_assert(not(v.answers));
	cr_assert(parse("{\"volume\":\"v1\"}", false, &v));
	cr_assert(eq(u32, v.nothers, 0));
}

Test(node_volumes, what_is_no_name_was_not_said)
{
	char text[1200], name[NODE_NAME_MAX + 2];
	struct node_volume v;

	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	snprintf(text, sizeof(text),
		"{\"volume\":\"v1\",\"status\":{\"active_domain\":7,\"peers\":[{\"node\":\"a1\"},"
		"null,"
		"\"a\",{\"domain\":\"%s\",\"node\":\"a1\"},{\"domain\":\"a\",\"node\":[\"a1\"]},"
		"{\"domain\":\"c\",\"node\":\"%s\"}]}}",
		name, name);
	cr_assert(parse(text, true, &v));
	cr_assert(eq(str, v.active, ""));
	cr_assert(eq(u32, v.nothers, 2));
	cr_assert(eq(str, v.others[0].domain, "a"));
	cr_assert(eq(str, v.others[0].node, ""));
	cr_assert(eq(str, v.others[1].domain, "c"));
	cr_assert(eq(str, v.others[1].node, ""));
	cr_assert(parse("{\"volume\":\"v1\",\"status\":{\"peers\":{\"domain\":\"a\"}}}", true, &v));
	cr_assert(eq(u32, v.nothers, 0));
	cr_assert(parse("{\"volume\":\"v1\",\"status\":\"fine\"}", true, &v));
	cr_assert(eq(u32, v.nothers, 0));
	cr_assert(not(parse("{\"volume\":\"\"}", true, &v)));
	cr_assert(not(parse("{\"status\":{}}", true, &v)));
	cr_assert(not(parse("[]", true, &v)));
}

Test(node_volumes, no_more_peers_than_there_can_be)
{
	char text[1200];
	size_t at = 0;
	struct node_volume v;

	for (unsigned i = 0; i < REPLICAS_MAX + 3; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s{\"domain\":\"a\"}",
			i ? "," : "{\"volume\":\"v1\",\"status\":{\"peers\":[");
	snprintf(text + at, sizeof(text) - at, "]}}");
	cr_assert(parse(text, true, &v));
	cr_assert(eq(u32, v.nothers, REPLICAS_MAX));
}

Test(node_volumes, the_host_of_an_address_stands_for_a_name)
{
	struct node_replica r = {.domain = "a"};

	node_replica_name(&r, "a1", "10.0.0.1:7410");
	cr_assert(eq(str, r.node, "a1"));
	node_replica_name(&r, "", "10.0.0.1:7410");
	cr_assert(eq(str, r.node, "10.0.0.1"));
	node_replica_name(&r, "", "[fd00::1]:7410");
	cr_assert(eq(str, r.node, "[fd00::1]"));
	node_replica_name(&r, "", "");
	cr_assert(eq(str, r.node, ""));
	node_replica_name(&r, "", "no-port");
	cr_assert(eq(str, r.node, ""));
}

/* ---- a dead domain ---- */

Test(node_volumes, all_of_a_dead_domains_nodes_are_meant)
{
	asked.node = NULL;
	asked.domain = "a";
	volume("there", "a1", "a");
	volume("elsewhere", "a2", "a");
	volume("here", "", "b");
	volume("none", "a1", "");
	volume("silent", "a1", "")->answers = false;
	volume("of-c", "a1", "c");
	cr_assert(eq(str, (char *)picked(), "there elsewhere here+ none silent+"));
	cr_assert(eq(str, got.from, "a"));
	cr_assert(eq(str, got.to, "b"));
	asked.domain = "d";
	is_refused(-ENOENT, "'d'");
}

/* ---- unplanned ---- */

Test(node_volumes, a_dead_nodes_are_taken_over_or_left_alone_with_what_is_active_here)
{
	volume("there", "a1", "a");
	volume("elsewhere", "a2", "a");
	volume("here", "a1", "b");
	volume("of-c", "a1", "c");
	cr_assert(eq(str, (char *)picked(), "there here+"));
	cr_assert(eq(str, got.from, "a"));
	cr_assert(eq(str, got.to, "b"));
}

Test(node_volumes, one_that_has_no_active_replica_is_of_the_dead_node)
{
	volume("none", "a1", "");
	cr_assert(eq(str, (char *)picked(), "none"));
}

Test(node_volumes, one_whose_daemon_does_not_answer_goes_by_its_file)
{
	volume("v1", "a1", "")->answers = false;
	volume("v2", "a2", "")->answers = false;
	cr_assert(eq(str, (char *)picked(), "v1+"), "who is active is not known");
}

Test(node_volumes, one_that_is_busy_is_picked_and_says_it_itself)
{
	volume("v1", "a1", "a")->under_way = "17";
	volume("v2", "a1", "a");
	cr_assert(eq(str, (char *)picked(), "v1 v2"));
	cr_assert(eq(str, (char *)got.picks[0].v->under_way, "17"));
}

Test(node_volumes, of_several_replicas_the_one_on_the_node_counts)
{
	struct node_volume *v = volume("v1", "a9", "c");

	v->nothers = 2;
	snprintf(v->others[1].domain, sizeof(v->others[1].domain), "c");
	snprintf(v->others[1].node, sizeof(v->others[1].node), "c1");
	asked.node = "c1";
	cr_assert(eq(str, (char *)picked(), "v1"));
	cr_assert(eq(str, got.from, "c"));
}

Test(node_volumes, a_replica_whose_node_nobody_knows_is_on_none)
{
	volume("v1", "", "a");
	is_refused(-ENOENT, "no volume of this node has its other replica on a node 'a1'");
	cr_assert(strstr(e.msg, "there are") == NULL);
	asked.node = ""; /* no request has that */
	is_refused(-ENOENT, "no volume of this node");
}

Test(node_volumes, who_names_another_node_is_told_which_there_are)
{
	volume("v1", "a2", "a");
	volume("v2", "a3", "b");
	volume("v3", "a2", "b");
	is_refused(-ENOENT, "on a node 'a1'; there are 'a2', 'a3'");
	n = 0;
	is_refused(-ENOENT, "no volume of this node has its other replica on a node 'a1'");
}

Test(node_volumes, a_list_of_nodes_that_is_too_long_is_cut)
{
	for (unsigned i = 0; i < 60; i++) {
		char name[NODE_NAME_MAX + 1];

		snprintf(name, sizeof(name), "%0*u", 1 + (int)(i * 4) % 250, i);
		volume("v", name, "a");
	}
	is_refused(-ENOENT, "; there are '0', ");
}

/* The own name does not stand for this node there: it is alive, since it is asked. */
Test(node_volumes, a_dead_node_may_be_called_as_this_one)
{
	volume("v1", "b1", "a");
	asked.node = "b1";
	cr_assert(eq(str, (char *)picked(), "v1"));
	cr_assert(eq(str, got.from, "a"));
}

/* ---- planned ---- */

Test(node_volumes, a_planned_one_takes_what_is_active_on_the_node)
{
	asked.unplanned = false;
	volume("there", "a1", "a");
	volume("here", "a1", "b");
	volume("none", "a1", "");
	cr_assert(eq(str, (char *)picked(), "there"));
	cr_assert(eq(str, got.to, "b"));
}

Test(node_volumes, a_planned_one_of_this_node_goes_to_the_only_other_site)
{
	asked.unplanned = false;
	asked.node = "b1";
	volume("v1", "a1", "a");
	volume("v2", "a1", "b");
	volume("v3", "a2", "b");
	volume("v4", "b1", "a"); /* of that name in the other site: not meant */
	cr_assert(eq(str, (char *)picked(), "v2 v3"));
	cr_assert(eq(str, got.from, "b"));
	cr_assert(eq(str, got.to, "a"));
	asked.only_peer = NULL;
	is_refused(-EINVAL, "say --to DOMAIN");
	asked.to = "c";
	cr_assert(eq(int, pick(), 0));
	cr_assert(eq(str, got.to, "c"));
	asked.to = "b";
	is_refused(-EINVAL, "from it to itself?");
}

Test(node_volumes, a_planned_one_is_refused_with_all_that_are_busy_or_silent)
{
	asked.unplanned = false;
	volume("v1", "a1", "a");
	volume("v2", "a1", "a")->under_way = "17";
	volume("v3", "a1", "a")->answers = false;
	volume("v4", "a2", "a")->under_way = "18";
	volume("v5", "a1", "b")->under_way = "19"; /* not active there: it stays */
	is_refused(-EBUSY, "refused, nothing was changed");
	cr_assert(strstr(e.msg, ": 'v2', 'v3'") != NULL, "%s", e.msg);
	cr_assert(strstr(e.msg, "v4") == NULL);
	cr_assert(strstr(e.msg, "v5") == NULL);
}

Test(node_volumes, a_node_that_has_only_standbys_has_nothing_to_leave)
{
	asked.unplanned = false;
	volume("v1", "a1", "b");
	is_refused(-ENOENT, "no volume of this node is active on node 'a1'");
}

/* ---- what cannot be told ---- */

Test(node_volumes, nodes_of_two_sites_that_have_one_name_are_not_taken_for_one)
{
	struct node_volume *v;

	volume("v1", "a1", "a");
	v = volume("v2", "a1", "c");
	snprintf(v->others[0].domain, sizeof(v->others[0].domain), "c");
	is_refused(-EINVAL, "there is a node 'a1' of 'a' and one of 'c': name the volumes");
	asked.unplanned = false;
	is_refused(-EINVAL, "name the volumes");
}

Test(node_volumes, none_is_left_out_where_there_are_too_many)
{
	for (unsigned i = 0; i < OPERATION_GROUP_MAX; i++)
		volume("v", "a1", "a");
	cr_assert(eq(int, pick(), 0));
	cr_assert(eq(u32, got.n, OPERATION_GROUP_MAX));
	volume("v", "a1", "a");
	is_refused(-EINVAL, "node 'a1' has more than 256 volumes");
}
