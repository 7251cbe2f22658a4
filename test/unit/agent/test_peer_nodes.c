/* SPDX-License-Identifier: Apache-2.0 */
/* Which node of another domain gets a replica, and which of its agents is asked about one. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "peer_nodes.h"
#include "peer_volume.h"
#include "scratch.h"

TestSuite(peer_nodes, .fini = scratch_remove);

static struct err e;

static struct peer_node node(const char *name, unsigned volumes)
{
	struct peer_node n = {.address = "h:1", .answers = true, .ready = true, .volumes = volumes};

	snprintf(n.name, sizeof(n.name), "%s", name);
	return n;
}

static struct peer_node silent(const char *address, const char *why)
{
	struct peer_node n = {.address = address};

	snprintf(n.why, sizeof(n.why), "%s", why);
	return n;
}

static int choose(
	const struct peer_node *nodes, unsigned n, const char *wanted, const char *earlier)
{
	e = (struct err){0};
	return peer_nodes_choose(nodes, n, "site-b", wanted, earlier, &e);
}

Test(peer_nodes, the_ready_one_with_the_fewest_volumes_is_taken_and_of_equals_the_first)
{
	struct peer_node n[] = {silent("a:1", "nobody listens"), node("b1", 2), node("b2", 1),
		node("b3", 1), node("b4", 0)};

	n[4].ready = false;
	cr_assert(eq(int, choose(n, 5, "", ""), 2));
	n[2].chosen = 1;
	cr_assert(eq(int, choose(n, 5, "", ""), 3), "one that is being made there counts");
	n[3].chosen = 2;
	cr_assert(eq(int, choose(n, 5, "", ""), 1));
}

Test(peer_nodes, the_named_one_is_taken_and_an_earlier_try_is_gone_on_with)
{
	struct peer_node n[] = {node("b1", 0), node("b2", 5), silent("c:1", "no answer in time")};

	n[1].ready = false;
	cr_assert(eq(int, choose(n, 3, "b2", "b1"), 1), "a person's word counts");
	cr_assert(eq(int, choose(n, 2, "", "b2"), 1));
	cr_assert(zero(int, choose(n, 3, "", "b9")), "it does not answer: another one");
	cr_assert(eq(int, choose(n, 2, "b9", ""), -EINVAL));
	cr_assert(ne(ptr, strstr(e.msg, "no node 'b9'"), NULL), "%s", e.msg);
	cr_assert(ne(ptr, strstr(e.msg, "'b1' at h:1"), NULL), "%s", e.msg);
	cr_assert(eq(int, choose(n, 3, "b9", ""), -ENOTCONN), "the silent one may be it");
	cr_assert(ne(ptr, strstr(e.msg, "c:1: no answer in time"), NULL), "%s", e.msg);
}

Test(peer_nodes, where_none_can_be_taken_each_has_its_reason)
{
	struct peer_node n[AGENT_CONFIG_NODES_MAX];

	n[0] = silent("a:1", "nobody listens");
	n[1] = silent("b:1", "no answer in time");
	cr_assert(eq(int, choose(n, 2, "", ""), -ENOTCONN));
	cr_assert(eq(str, e.msg,
		"no agent of 'site-b' answers: a:1: nobody listens; b:1: no answer in time"));
	cr_assert(eq(int, choose(n, 2, "b1", ""), -ENOTCONN));
	n[1] = node("b2", 0);
	n[1].ready = false;
	snprintf(n[1].why, sizeof(n[1].why), "mounts are not shared");
	cr_assert(eq(int, choose(n, 2, "", ""), -EAGAIN));
	cr_assert(ne(ptr, strstr(e.msg, "'b2' is not ready: mounts are not shared"), NULL));
	for (unsigned i = 0; i < AGENT_CONFIG_NODES_MAX; i++)
		n[i] = silent("a-rather-long-name.example:7401", "a rather long reason, too");
	cr_assert(eq(int, choose(n, AGENT_CONFIG_NODES_MAX, "", ""), -ENOTCONN));
}

static struct agent_config_peer agents(unsigned n, const char *const *addresses)
{
	struct agent_config_peer p = {.domain = "site-b", .naddresses = n};

	for (unsigned i = 0; i < n; i++)
		snprintf(p.addresses[i], sizeof(p.addresses[i]), "%s", addresses[i]);
	return p;
}

Test(peer_nodes, a_volume_without_a_node_is_asked_for_at_the_host_of_its_peer)
{
	struct agent_config_peer p = agents(
		3, (const char *const[]){"10.0.0.1:7401", "10.0.0.11:7401", "[fd00::1]:7401"});

	cr_assert(zero(int, peer_volume_route(&p, "10.0.0.1:7410")));
	cr_assert(eq(int, peer_volume_route(&p, "10.0.0.11:7410"), 1));
	cr_assert(eq(int, peer_volume_route(&p, "[fd00::1]:7411"), 2));
	cr_assert(eq(int, peer_volume_route(&p, "10.0.0.2:7410"), -1));
	cr_assert(eq(int, peer_volume_route(&p, ""), -1));
	p.naddresses = 1;
	cr_assert(zero(int, peer_volume_route(&p, "10.0.0.2:7410")), "the only one");
	p = agents(2, (const char *const[]){"10.0.0.1:7401", "10.0.0.1:7402"});
	cr_assert(eq(int, peer_volume_route(&p, "10.0.0.1:7410"), -1), "two on one host");
}

Test(peer_nodes, the_node_is_read_from_the_volumes_file_whatever_that_is_called)
{
	static struct agent_config c; /* large */
	struct peer_volume v;

	snprintf(c.volumes, sizeof(c.volumes), "%s", scratch_dir());
	snprintf(c.domain, sizeof(c.domain), "site-a");
	scratch_write(scratch_path("db.conf.new"),
		"[volume]\nname = db\n[peer site-c]\naddress = c:1\n[peer site-b]\n"
		"address = b:1\nnode = b1\n");
	scratch_write(
		scratch_path("old.conf"), "[volume]\nname = web\n[peer site-b]\naddress = b:2\n");
	cr_assert(peer_volume_read(&c, "db", "site-b", &v));
	cr_assert(eq(str, v.node, "b1"));
	cr_assert(eq(str, v.address, "b:1"));
	cr_assert(peer_volume_read(&c, "db", "site-c", &v));
	cr_assert(eq(str, v.node, ""));
	cr_assert(peer_volume_read(&c, "web", "site-b", &v));
	cr_assert(eq(str, v.node, ""));
	cr_assert(eq(str, v.address, "b:2"));
	cr_assert(not(peer_volume_read(&c, "db", "site-d", &v)));
	cr_assert(not(peer_volume_read(&c, "old", "site-b", &v)),
		"a file's name is not its volume's");
}
