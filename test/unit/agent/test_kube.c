/* SPDX-License-Identifier: Apache-2.0 */
/* Kubeconfig files: YAML and JSON, what is taken and what is refused; times. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "kube.h"
#include "yaml.h"

static void reads(const char *yaml, const char *json)
{
	struct json *got = NULL, *want = NULL;
	struct err e = {0};

	cr_assert_eq(yaml_parse(yaml, strlen(yaml), &got, &e), 0, "%s: %s", yaml, e.msg);
	cr_assert_eq(json_parse(json, strlen(json), &want, &e), 0, "%s", e.msg);
	cr_assert(json_equal(got, want), "%s\nnot\n%s", json_text(got, false), json);
	json_free(got);
	json_free(want);
}

static void refuses(const char *yaml, const char *why)
{
	struct json *got = NULL;
	struct err e = {0};

	cr_assert_eq(yaml_parse(yaml, strlen(yaml), &got, &e), -EBADMSG, "%s", yaml);
	cr_assert(strstr(e.msg, why), "%s: %s", yaml, e.msg);
	cr_assert_eq(got, NULL);
}

Test(yaml, maps_lists_and_scalars_as_programs_write_them)
{
	reads("a: 1\n", "{\"a\":\"1\"}");
	reads("---\n# c\na: x y # c\nb: 'it''s'\nc: \"q\\\"\\n\"\nd:\ne: true\nf: null\n",
		"{\"a\":\"x "
		"y\",\"b\":\"it's\",\"c\":\"q\\\"\\n\",\"d\":null,\"e\":true,\"f\":null}");
	reads("l:\n- a: 1\n  b: 2\n- https://x:1\n-\n  c: 3\nm:\n  - - x\n    - y\n",
		"{\"l\":[{\"a\":\"1\",\"b\":\"2\"},\"https://"
		"x:1\",{\"c\":\"3\"}],\"m\":[[\"x\",\"y\"]]}");
	reads("a: {b: c, \"d\": [e, 'f,g'], h: {}}\nx: []\n",
		"{\"a\":{\"b\":\"c\",\"d\":[\"e\",\"f,g\"],\"h\":{}},\"x\":[]}");
	reads("{a: b}", "{\"a\":\"b\"}");
}

Test(yaml, what_it_does_not_know_it_refuses_with_the_line)
{
	refuses("", "nothing");
	refuses("a: 1\nb: |\n  x\n", "line 2: ");
	refuses("a: &x 1\n", "anchors");
	refuses("a: 1\n---\nb: 2\n", "more than one document");
	refuses("a:\n\tb: 1\n", "tab");
	refuses("a: 1\n   b: 2\n", "line 2: indented more");
	refuses("  a: 1\nb: 2\n", "line 2: indented less");
	refuses("a: 1\na: 2\n", "given twice");
	refuses("a: {b: 1\n", "do not end");
	refuses("a: \"x\n", "does not end");
	refuses("a: 'x' y\n", "behind");
	refuses("just words\n", "neither");
	refuses("a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]\n", "too deep");
}

#define CONFIG(cluster, user)                                                                      \
	"clusters:\n- name: c\n  cluster: {" cluster "}\nusers:\n- name: u\n  user: {" user "}\n"  \
	"contexts:\n- context: {cluster: c, user: u, namespace: blue}\n  name: x\n"                \
	"current-context: x\n"

static void access_refused(const char *text, const char *why)
{
	struct kube_access a = {0};
	struct err e = {0};

	cr_assert(kube_access_parse(text, strlen(text), false, &a, &e) < 0, "%s", text);
	cr_assert(strstr(e.msg, why), "%s: %s", text, e.msg);
	cr_assert_eq(a.server, NULL);
}

Test(kube, a_kubeconfig_gives_the_current_contexts_server_and_user)
{
	static const char text[] =
		CONFIG("server: 'https://h:1/k8s/', certificate-authority-data: UEVN", "token: t");
	struct kube_access a = {0};
	struct err e = {0};

	cr_assert_eq(kube_access_parse(text, strlen(text), false, &a, &e), 0, "%s", e.msg);
	cr_assert_str_eq(a.server, "https://h:1/k8s");
	cr_assert_str_eq(a.ca, "PEM");
	cr_assert_str_eq(a.token, "t");
	cr_assert_str_eq(a.ns, "blue");
	cr_assert_eq(a.certificate, NULL);
	kube_access_clear(&a);
}

Test(kube, a_kubeconfig_from_elsewhere_names_no_files_programs_or_unchecked_servers)
{
	access_refused(
		CONFIG("server: 'https://h', certificate-authority: /etc/passwd", "token: t"),
		"file of this machine");
	access_refused(CONFIG("server: 'https://h'", "tokenFile: /etc/passwd"), "neither a token");
	access_refused(CONFIG("server: 'http://h'", "token: t"), "must be https");
	access_refused(CONFIG("server: 'https://h'", "exec: {command: x}"), "'exec' is not taken");
	access_refused(CONFIG("server: 'https://h', insecure-skip-tls-verify: true", "token: t"),
		"'insecure-skip-tls-verify' is not taken");
	access_refused(CONFIG("server: 'https://h'", "token: \"a\\nX-Evil: b\""), "not one word");
	access_refused(CONFIG("server: 'https://h', certificate-authority-data: '*'", "token: t"),
		"not base64");
	access_refused(CONFIG("server: 'https://h'", "client-certificate-data: UEVN"), "its key");
	access_refused("current-context: y\n", "no context");
}

Test(kube, base64_is_decoded_strictly)
{
	static const char *const bad[] = {"Q", "QQ", "QQ=", "Q===", "QU=D", "AAAA", "QUJD\n"};
	char *text = kube_base64("QUJDRA==");

	cr_assert_str_eq(text, "ABCD");
	free(text);
	text = kube_base64("");
	cr_assert_str_eq(text, "");
	free(text);
	for (unsigned n = 0; n < 7; n++) {
		char *data = kube_base64_of("ABCDEF\xff" + n);

		text = kube_base64(data);
		cr_assert_str_eq(text, "ABCDEF\xff" + n);
		free(text);
		free(data);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(kube_base64(bad[i]), NULL, "%s", bad[i]);
}

Test(kube, times_go_both_ways)
{
	char text[21];

	kube_time(1700000000, text);
	cr_assert_str_eq(text, "2023-11-14T22:13:20Z");
	cr_assert_eq(kube_time_parse(text), 1700000000);
	cr_assert_eq(kube_time_parse("2023-11-14T22:13:20.123456Z"), 1700000000);
	cr_assert_eq(kube_time_parse("soon"), 0);
	cr_assert_eq(kube_time_parse(NULL), 0);
}

static bool ours(const char *causes)
{
	struct json *status = NULL;
	cleanup_free char *text = NULL;
	struct err e;
	bool ret;

	cr_assert_gt(asprintf(&text, "{\"details\":{\"causes\":[%s]}}", causes), 0);
	cr_assert_eq(json_parse(text, strlen(text), &status, &e), 0);
	ret = kube_conflict_is_ours(status);
	json_free(status);
	return ret;
}

Test(kube, a_conflict_is_ours_when_all_of_its_fields_are)
{
#define CAUSE(manager)                                                                             \
	"{\"reason\":\"FieldManagerConflict\",\"field\":\".spec.replicas\",\"message\":"           \
	"\"conflict with \\\"" manager "\\\" using apps/v1 at 2024-01-01T00:00:00Z\"}"
	cr_assert(ours(CAUSE("tandem-migrator")));
	cr_assert(ours(CAUSE("tandem-migrator") "," CAUSE("unknown")));
	cr_assert_not(ours(CAUSE("tandem-migrator") "," CAUSE("kubectl-scale")));
	cr_assert_not(ours(CAUSE("tandem-migrator2")));
	cr_assert_not(ours("")); /* another 409 */
#undef CAUSE
}
