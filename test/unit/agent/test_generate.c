/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl generate clusterpair, without a cluster. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "scratch.h"

TestSuite(generate, .fini = scratch_remove);

static char *out_text, *err_text;

static int generate(const char *path)
{
	const char *argv[] = {
		"tandemctl", "generate", "clusterpair", "x", "-nblue", "--kubeconfig", path, NULL};
	struct ctl c = {0};
	size_t out_len, err_len;
	int status;

	free(out_text);
	free(err_text);
	c.in = stdin;
	c.out = open_memstream(&out_text, &out_len);
	c.err = open_memstream(&err_text, &err_len);
	status = ctl_run(&c, (int)ARRAY_SIZE(argv) - 1, argv);
	fclose(c.out);
	fclose(c.err);
	return status;
}

static void has(const char *text, const char *part)
{
	cr_assert(strstr(text, part), "\"%s\" in \"%s\"", part, text);
}

Test(generate, a_clusterpair_carries_the_kubeconfig_in_a_secret)
{
	const char *path = scratch_path("kubeconfig");

	cr_assert_eq(generate(path), CTL_FAILED);
	has(err_text, "No such file");
	scratch_write(path, "current-context: c\n"
			    "contexts: [{name: c, context: {cluster: k, user: u}}]\n"
			    "clusters: [{name: k, cluster: {server: 'https://h:6443'}}]\n"
			    "users: [{name: u, user: {token: secret}}]\n");
	cr_assert_eq(generate(path), CTL_OK, "%s", err_text);
	has(out_text, "kind: ClusterPair\nmetadata:\n  name: x\n  namespace: blue\nspec:\n"
		      "  secretRef:\n    name: x\n  options: {}\n---\n");
	has(out_text, "kind: Secret\n");
	has(out_text, "\\\"token\\\":\\\"secret\\\"");
	has(out_text, "\\\"namespace\\\":\\\"blue\\\"");
	free(out_text);
	free(err_text);
}
