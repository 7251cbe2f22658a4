/* SPDX-License-Identifier: Apache-2.0 */
/* Which nodes a list of the engines' pods makes. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "kube_nodes.h"

static struct kube_node *nodes;
static unsigned n;

static void of(const char *pods)
{
	struct json *j = NULL;
	struct err e = {0};

	free(nodes);
	cr_assert_eq(json_parse(pods, strlen(pods), &j, &e), 0, "%s", e.msg);
	nodes_of_pods(json_get(j, "items"), "7401", &nodes, &n);
	json_free(j);
}

Test(kube_nodes, one_for_each_node_in_order)
{
	of("{\"items\":["
	   "{\"spec\":{\"nodeName\":\"two\"},\"status\":{\"hostIP\":\"10.0.0.2\"}},"
	   "{\"spec\":{\"nodeName\":\"one\"},\"status\":{\"hostIP\":\"fd00::1\",\"conditions\":"
	   "[{\"type\":\"Initialized\",\"status\":\"True\"},{\"type\":\"Ready\",\"status\":"
	   "\"True\"}]}},"
	   "{\"spec\":{\"nodeName\":\"three\"}},"
	   "{\"spec\":{}, \"status\":{\"hostIP\":\"10.0.0.9\"}}]}");
	cr_assert_eq(n, 3);
	cr_assert_str_eq(nodes[0].name, "one");
	cr_assert_str_eq(nodes[0].address, "[fd00::1]:7401");
	cr_assert(nodes[0].ready);
	cr_assert_str_eq(nodes[1].name, "three");
	cr_assert_str_eq(nodes[1].address, "");
	cr_assert_str_eq(nodes[2].address, "10.0.0.2:7401");
	cr_assert(!nodes[2].ready);
}

Test(kube_nodes, a_pod_on_its_way_out_counts_where_there_is_no_other)
{
	of("{\"items\":["
	   "{\"metadata\":{\"deletionTimestamp\":\"t\"},\"spec\":{\"nodeName\":\"one\"},"
	   "\"status\":{\"hostIP\":\"10.0.0.1\"}},"
	   "{\"metadata\":{},\"spec\":{\"nodeName\":\"one\"},\"status\":{\"hostIP\":\"10.0.0.2\"}},"
	   "{\"metadata\":{\"deletionTimestamp\":\"t\"},\"spec\":{\"nodeName\":\"two\"},"
	   "\"status\":{\"hostIP\":\"10.0.0.3\"}}]}");
	cr_assert_eq(n, 2);
	cr_assert_str_eq(nodes[0].address, "10.0.0.2:7401");
	cr_assert_str_eq(nodes[1].address, "10.0.0.3:7401");
	of("{\"items\":[]}");
	cr_assert_eq(n, 0);
}

/* The sanitizer sees what is written behind the last one. */
Test(kube_nodes, as_many_nodes_as_pods)
{
	of("{\"items\":[{\"spec\":{\"nodeName\":\"one\"}}]}");
	cr_assert_eq(n, 1);
	cr_assert_str_eq(nodes[0].name, "one");
	of("{\"items\":[]}");
	cr_assert_eq(n, 0);
}
