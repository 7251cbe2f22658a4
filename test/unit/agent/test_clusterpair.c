/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl create clusterpair, as far as there is no cluster: its words, the objects, and what they may replace. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterpair.h"
#include "ctl.h"
#include "scratch.h"

TestSuite(clusterpair, .fini = scratch_remove);

static char *out_text, *err_text;

static int run(const char *const *argv)
{
	struct ctl c = {0};
	size_t out_len, err_len;
	int argc = 0, status;

	while (argv[argc])
		argc++;
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

#define CREATE(...)                                                                                \
	run((const char *const[]){"tandemctl", "create", "clusterpair", "x", __VA_ARGS__, NULL})

static void says(const char *text, const char *part)
{
	cr_assert(strstr(text, part) != NULL, "\"%s\" in \"%s\"", part, text);
}

static const char *config(const char *name, const char *server)
{
	const char *path = scratch_path("%s", name);
	char text[600];

	snprintf(text, sizeof(text),
		"current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\n"
		"clusters: [{name: k, cluster: {server: '%s'}}]\n"
		"users: [{name: u, user: {token: secret}}]\n",
		server);
	scratch_write(path, text);
	return path;
}

Test(clusterpair, a_namespace_and_both_kubeconfigs_are_needed)
{
	cr_assert(eq(int, CREATE("-n", "blue"), CTL_USAGE));
	says(err_text, "--src-kubeconfig FILE is missing");
	cr_assert(eq(int, CREATE("-n", "blue", "--src-kubeconfig", "a"), CTL_USAGE));
	says(err_text, "--dest-kubeconfig FILE is missing");
	cr_assert(eq(
		int, CREATE("--src-kubeconfig", "a", "--dest-kubeconfig", "b", "-u"), CTL_USAGE));
	says(err_text, "--namespace is missing");
	cr_assert(eq(int,
		CREATE("-n", "blue", "--src-kubeconfig=a", "--dest-kubeconfig=b", "--kubeconfig=c"),
		CTL_USAGE));
	says(err_text, "'--kubeconfig' does not belong to 'create clusterpair'");
	cr_assert(eq(int, CREATE("-n", "blue", "--unidirectional=yes"), CTL_USAGE));
	says(err_text, "takes no value");
}

Test(clusterpair, the_words_of_stork_are_known)
{
	const char *a = scratch_path("a"), *b = scratch_path("b");

	cr_assert(eq(int, CREATE("-n", "blue", "--src-kube-file", a, "--dest-kube-file", b, "-u"),
		CTL_FAILED));
	says(err_text, "the source: cannot read");
	says(err_text, "nothing was changed");
	config("a", "https://h:1");
	cr_assert(
		eq(int, CREATE("-nblue", "--src-kube-file", a, "--dest-kube-file", b), CTL_FAILED));
	says(err_text, "the destination: cannot read");
}

Test(clusterpair, a_cluster_that_does_not_answer_is_named)
{
	const char *a = config("a", "https://127.0.0.1:1"), *b = config("b", "https://[::1]:1");

	cr_assert(eq(int, CREATE("-n", "blue", "--src-kubeconfig", a, "--dest-kubeconfig", b),
		CTL_FAILED));
	says(err_text, "the source (https://127.0.0.1:1): ");
	says(err_text, "nothing was changed");
	cr_assert(eq(str, out_text, (char *)""));
}

Test(clusterpair, an_address_of_this_machine_alone_is_refused)
{
	static const char *const bad[] = {"https://localhost:6443", "https://127.0.0.1",
		"https://[::1]:6443", "https://0.0.0.0:6443/k"};
	static const char *const good[] = {
		"https://10.1.0.1:6443", "https://[fd00::1]:6443", "https://k8s.example.org"};
	struct err e = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert(eq(int, clusterpair_check_server(bad[i], &e), -EINVAL), "%s", bad[i]);
		says(e.msg, bad[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++)
		cr_assert(eq(int, clusterpair_check_server(good[i], &e), 0), "%s", good[i]);
}

static int there(const struct json *pair, const struct json *secret, const char *server)
{
	struct err e = {0};

	return clusterpair_check_there(pair, secret, "x", server, &e);
}

Test(clusterpair, only_a_pair_that_leads_to_the_same_cluster_is_replaced)
{
	struct kube_access a = {
		.server = (char *)"https://h:6443", .ca = (char *)"PEM", .token = (char *)"secret"};
	struct json *pair = clusterpair_object("x", "blue"),
		    *other = clusterpair_object("y", "blue"),
		    *secret = clusterpair_secret("x", "blue", &a, true),
		    *inline_config = json_object();

	cr_assert(eq(int, there(NULL, NULL, "https://h:6443"), 0));
	cr_assert(eq(int, there(pair, NULL, "https://h:6443"), 0));
	cr_assert(eq(int, there(pair, secret, "https://h:6443"), 0));
	cr_assert(eq(int, there(pair, secret, "https://i:6443"), -EEXIST));
	cr_assert(eq(int, there(other, secret, "https://h:6443"), -EEXIST));
	json_remove(json_get(pair, "spec"), "secretRef");
	json_set(json_get(pair, "spec"), "config", inline_config);
	cr_assert(eq(int, there(pair, NULL, "https://h:6443"), -EEXIST));
	json_remove(json_get(secret, "data"), "kubeconfig");
	json_set_string(json_get(secret, "data"), "password", "Zm9v");
	cr_assert(eq(int, there(NULL, secret, "https://h:6443"), -EEXIST));
	json_free(pair);
	json_free(other);
	json_free(secret);
}

Test(clusterpair, what_is_printed_and_what_is_applied_say_the_same)
{
	struct kube_access a = {.server = (char *)"https://h:6443",
		.certificate = (char *)"CERT",
		.key = (char *)"KEY"};
	struct json *printed = clusterpair_secret("x", "blue", &a, false),
		    *applied = clusterpair_secret("x", "blue", &a, true);
	const char *plain = json_get_string(json_get(printed, "stringData"), "kubeconfig", "none");
	char *decoded = kube_base64(json_get_string(json_get(applied, "data"), "kubeconfig", "?"));

	cr_assert(eq(str, decoded, (char *)plain));
	says(plain, "\"client-key-data\":\"S0VZ\"");
	cr_assert(json_equal(json_get(printed, "metadata"), json_get(applied, "metadata")));
	cr_assert_null(json_get(applied, "stringData"));
	free(decoded);
	json_free(printed);
	json_free(applied);
}
