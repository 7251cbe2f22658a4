/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl generate, without a cluster. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "pair_files.h"
#include "scratch.h"

TestSuite(generate, .fini = scratch_remove);

static char *out_text, *err_text;

static int run(int argc, const char *const *argv)
{
	struct ctl c = {0};
	size_t out_len, err_len;
	int status;

	free(out_text);
	free(err_text);
	c.in = stdin;
	c.out = open_memstream(&out_text, &out_len);
	c.err = open_memstream(&err_text, &err_len);
	status = ctl_run(&c, argc, argv);
	fclose(c.out);
	fclose(c.err);
	return status;
}

static int generate(const char *path)
{
	const char *argv[] = {
		"tandemctl", "generate", "clusterpair", "x", "-nblue", "--kubeconfig", path};

	return run(ARRAY_SIZE(argv), argv);
}

static int spec(const char *one, const char *two)
{
	const char *argv[] = {
		"tandemctl", "generate", "spec", one, two, "--config-dir", scratch_path("spec")};

	return run(ARRAY_SIZE(argv), argv);
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

static char *file(const char *name)
{
	struct err e = {0};
	char *text = pair_read_file(scratch_path("spec/%s", name), &e);

	cr_assert(text, "%s", e.msg);
	return text;
}

Test(generate, a_spec_gives_each_site_its_own_and_renews_by_the_same_authority)
{
	char *a, *ca, *again;

	cr_assert_eq(spec("site-a=10.0.0.1", "site-b=[fd00::1]"), CTL_OK, "%s", err_text);
	a = file("site-a.yaml");
	ca = file("pki/ca.pem");
	has(a, "    domain = site-a\n");
	has(a, "    [peer site-b]\n    agent = [fd00::1]:7401\n");
	has(a, "  tls.key: |\n    -----BEGIN");
	cr_assert_eq(spec("site-a=10.0.0.1,a2", "site-b=[fd00::1]"), CTL_OK, "%s", err_text);
	again = file("site-b.yaml");
	has(again, "    [peer site-a]\n    agent = 10.0.0.1:7401, a2:7401\n");
	certificate_text_free(again);
	again = file("pki/ca.pem");
	cr_assert_str_eq(ca, again);
	certificate_text_free(again);
	again = file("site-a.yaml");
	cr_assert_str_neq(a, again);
	certificate_text_free(again);
	certificate_text_free(a);
	certificate_text_free(ca);
}

Test(generate, a_spec_with_a_wrong_site_is_refused)
{
	cr_assert_eq(spec("site-a", "site-b=h"), CTL_USAGE);
	has(err_text, "DOMAIN=ADDRESS");
	cr_assert_eq(spec("site-a=fd00::1", "site-b=h"), CTL_USAGE);
	has(err_text, "brackets");
	cr_assert_eq(spec("site-a=h", "site-a=h"), CTL_USAGE);
	has(err_text, "named twice");
	cr_assert_eq(spec("Site=h", "site-b=h"), CTL_USAGE);
	cr_assert_eq(spec("site-a=h,", "site-b=h"), CTL_USAGE);
	cr_assert_eq(spec("site-a=,h", "site-b=h"), CTL_USAGE);
	cr_assert_eq(spec("site-a=", "site-b=h"), CTL_USAGE);
}
