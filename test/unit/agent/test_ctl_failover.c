/* SPDX-License-Identifier: Apache-2.0 */
/* What tandemctl failover is about: a volume, a domain or a node, and one of them. No agent is asked here. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"

static char *out_text, *err_text;

static int run(unsigned argc, const char *const *argv)
{
	struct ctl c = {.in = stdin};
	size_t out_len, err_len;
	int status;

	free(out_text);
	free(err_text);
	c.out = open_memstream(&out_text, &out_len);
	c.err = open_memstream(&err_text, &err_len);
	status = ctl_run(&c, (int)argc, argv);
	fclose(c.out);
	fclose(c.err);
	return status;
}

Test(ctl_failover, what_is_not_one_thing_is_wrong_usage)
{
	static const char *const lines[][7] = {
		{"tandemctl", "failover"},
		{"tandemctl", "failback"},
		{"tandemctl", "failback", "db", "--to", "site-b"},
		{"tandemctl", "failover", "db", "-n", "blue"},
		{"tandemctl", "failover", "db", "--to", "site-b", "--kubeconfig", "x"},
		{"tandemctl", "failover", "-n", "blue", "--run-dir", "/x"},
		{"tandemctl", "failback", "-n", "blue", "--unplanned", "--yes"},
		{"tandemctl", "failover", "--unplanned", "--yes"},
		{"tandemctl", "failover", "db", "--node", "n1", "--unplanned"},
		{"tandemctl", "failover", "clusterdomain", "site-a", "--node", "n1"},
		{"tandemctl", "failback", "db", "--node", "n1"},
		{"tandemctl", "status", "--peer-node", "n1"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		unsigned n = 0;

		while (n < ARRAY_SIZE(lines[0]) && lines[i][n])
			n++;
		cr_assert(eq(int, run(n, lines[i]), CTL_USAGE), "line %u: %s", i, err_text);
	}
}

Test(ctl_failover, a_dead_node_needs_a_word)
{
	static const char *const line[] = {"tandemctl", "failover", "--node", "n1", "--unplanned"};

	cr_assert(eq(int, run(ARRAY_SIZE(line), line), CTL_NEEDS_YES));
	cr_assert(ne(ptr, strstr(err_text, "n1: going on without the node needs --yes"), NULL),
		"%s", err_text);
}

/* It goes as far as the kubeconfig, which is not there. */
Test(ctl_failover, with_a_namespace_or_a_kubeconfig_it_is_about_a_cluster)
{
	static const char *const lines[][7] = {
		{"tandemctl", "failover", "-n", "blue", "--kubeconfig", "/nowhere/x"},
		{"tandemctl", "failback", "-n", "blue", "--kubeconfig", "/nowhere/x"},
		{"tandemctl", "failback", "--kubeconfig", "/nowhere/x", "--to", "site-b"},
		{"tandemctl", "failover", "--node", "n1", "--kubeconfig", "/nowhere/x"},
		{"tandemctl", "failback", "--node", "n1", "--kubeconfig", "/nowhere/x"},
		{"tandemctl", "failover", "--kubeconfig", "/nowhere/x", "--unplanned", "--yes"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		unsigned n = 0;

		while (n < ARRAY_SIZE(lines[0]) && lines[i][n])
			n++;
		cr_assert(eq(int, run(n, lines[i]), CTL_FAILED), "line %u: %s", i, err_text);
		cr_assert(ne(ptr, strstr(err_text, "/nowhere/x"), NULL), "%s", err_text);
	}
}
