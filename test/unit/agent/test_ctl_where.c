/* SPDX-License-Identifier: Apache-2.0 */
/* Whether tandemctl's words to domains are for this node or for a cluster, and options that are of other words. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl.h"

static char *out_text, *err_text;
static char home[] = "/tmp/tandem-where-XXXXXX";
static char config[64], socket_path[64];

static void setup(void)
{
	char dir[64];

	cr_assert(ne(ptr, mkdtemp(home), NULL));
	setenv("HOME", home, 1);
	unsetenv("KUBECONFIG");
	snprintf(dir, sizeof(dir), "%s/.kube", home);
	snprintf(config, sizeof(config), "%s/.kube/config", home);
	snprintf(socket_path, sizeof(socket_path), "%s/db.sock", home);
}

static void fini(void)
{
	char dir[64];

	free(out_text);
	free(err_text);
	unlink(config);
	unlink(socket_path);
	snprintf(dir, sizeof(dir), "%s/.kube", home);
	rmdir(dir);
	if (rmdir(home) < 0)
		abort();
}

TestSuite(ctl_where, .init = setup, .fini = fini);

/* A kubeconfig that cannot be used and says so: a sign that it was read. */
static void put_config(void)
{
	char dir[64];
	FILE *f;

	snprintf(dir, sizeof(dir), "%s/.kube", home);
	(void)mkdir(dir, 0700);
	f = fopen(config, "w");
	cr_assert(ne(ptr, f, NULL));
	fputs("current-context: nowhere\n", f);
	fclose(f);
}

static void put_socket(void)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", socket_path);
	cr_assert(eq(int, bind(fd, (struct sockaddr *)&a, sizeof(a)), 0));
	close(fd);
}

static int run(const char *const *argv)
{
	struct ctl c = {.in = stdin};
	size_t out_len, err_len;
	int argc = 0, status;

	while (argv[argc])
		argc++;
	free(out_text);
	free(err_text);
	c.out = open_memstream(&out_text, &out_len);
	c.err = open_memstream(&err_text, &err_len);
	status = ctl_run(&c, argc, argv);
	fclose(c.out);
	fclose(c.err);
	return status;
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})
#define assert_says(part)                                                                          \
	cr_assert(ne(ptr, strstr(err_text, part), NULL), "\"%s\" in \"%s\"", part, err_text)

static bool is_cluster(const struct ctl *c)
{
	struct ctl copy = *c;
	bool cluster = false;

	cr_assert(eq(int, ctl_where(&copy, "get", &cluster), CTL_OK));
	return cluster;
}

Test(ctl_where, the_first_sign_counts)
{
	const struct ctl nothing = {.run_dir = home},
			 run_dir = {.run_dir = home, .run_dir_given = true},
			 named = {.run_dir = home, .kubeconfig = "x"},
			 plugin = {.run_dir = home, .plugin = true};

	cr_assert(not(is_cluster(&nothing)));
	cr_assert(not(is_cluster(&run_dir)));
	cr_assert(is_cluster(&named));
	cr_assert(is_cluster(&plugin));
	put_config();
	cr_assert(is_cluster(&nothing), "nothing runs here, and there is a kubeconfig");
	cr_assert(not(is_cluster(&run_dir)));
	put_socket();
	cr_assert(not(is_cluster(&nothing)), "a storage node that has a kubeconfig by chance");
	cr_assert(is_cluster(&named), "what was named is never ignored");
	cr_assert(is_cluster(&plugin));
	setenv("KUBECONFIG", config, 1);
	cr_assert(is_cluster(&nothing));
	cr_assert(not(is_cluster(&run_dir)));
	setenv("KUBECONFIG", "", 1);
	cr_assert(not(is_cluster(&nothing)));
}

Test(ctl_where, a_cluster_that_was_named_is_asked_and_nothing_else)
{
	put_config();
	put_socket();
	cr_assert(eq(int, RUN("tandemctl", "get", "cds", "--kubeconfig", config), CTL_FAILED));
	assert_says("no context has the name");
	cr_assert(eq(int, RUN("/usr/bin/kubectl-tandem", "get", "cds"), CTL_FAILED));
	assert_says("no context has the name");
	cr_assert(eq(int,
		RUN("tandemctl", "activate", "clusterdomain", "site-a", "--kubeconfig", config),
		CTL_FAILED));
	assert_says("no context has the name");
	cr_assert(eq(int,
		RUN("tandemctl", "deactivate", "cd", "site-a", "--kubeconfig", config, "--yes"),
		CTL_FAILED));
	assert_says("no context has the name");
	cr_assert(eq(int, RUN("tandemctl", "get", "cds", "--kubeconfig", config, "--run-dir", home),
		CTL_USAGE));
	assert_says("which one?");
}

Test(ctl_where, a_cluster_goes_on_without_a_site_only_after_a_yes)
{
	put_config();
	cr_assert(eq(int,
		RUN("tandemctl", "deactivate", "clusterdomain", "site-a", "--kubeconfig", config),
		CTL_NEEDS_YES));
	assert_says("going on without 'site-a' needs --yes");
}

Test(ctl_where, an_option_of_another_word_is_refused)
{
	static const char *const lines[][9] = {
		{"get", "operations", "--kubeconfig", "x"},
		{"get", "operations", "-n", "blue"},
		{"get", "operations", "-A"},
		{"get", "operations", "-o", "wide"},
		{"get", "cds", "-n", "blue"},
		{"get", "cds", "--kubeconfig", "x", "-n", "blue"},
		{"get", "failovers", "-n", "blue", "--kubeconfig", "x"},
		{"get", "failovers", "-A", "--kubeconfig", "x"},
		{"get", "migrations", "-A", "-n", "blue", "--kubeconfig", "x"},
		{"get", "migrations", "--service-account", "x"},
		{"get", "migrations", "--run-dir", "/x"},
		{"get", "migrations", "--timeout", "3"},
		{"activate", "clusterdomain", "site-a", "-n", "blue"},
		{"activate", "clusterdomain", "site-a", "--all"},
		{"activate", "clusterdomain"},
		{"activate", "clusterdomain", "-a", "--name", "x"},
		{"activate", "clusterdomain", "site-a", "--name", "x", "--run-dir", "/x"},
		{"activate", "clusterdomain", "site-a", "--kubeconfig", "x", "--timeout", "3"},
		{"activate", "clusterdomain", "site-a", "--no-wait"},
		{"activate", "clusterdomain", "site-a", "--service-account", "x"},
		{"deactivate", "clusterdomain", "site-a", "-n", "blue"},
		{"deactivate", "clusterdomain", "--all"},
		{"activate", "migration", "-n", "blue", "--yes"},
		{"activate", "migration", "-n", "blue", "--wait"},
		{"activate", "migration", "-n", "blue", "-a"},
		{"deactivate", "migration", "-n", "blue", "--accept-data-loss"},
		{"deactivate", "migration", "-n", "blue", "--dry-run"},
		{"deactivate", "clusterdomain", "site-a", "--dry-run", "--run-dir", "/x", "--name",
			"x"},
		{"suspend", "migrationschedule", "x", "--service-account", "x"},
		{"suspend", "migrationschedule", "x", "--run-dir", "/x"},
		{"perform", "failover", "-o", "wide"},
		{"perform", "failover", "-n", "blue", "--include-namespaces", "red"},
		{"perform", "failover", "-n", "blue", "--run-dir", "/x"},
		{"failover", "db", "--to", "site-b", "-o", "wide"},
		{"preflight", "-o", "wide"},
		{"preflight", "--timeout", "3"},
		{"pair", "-o", "json"},
		{"pair", "--show", "--domain", "site-a"},
		{"create", "migration", "x"},
		{"create", "migration", "x", "-c", "p", "-m", "s"},
		{"create", "migration", "x", "-c", "p", "--size", "1G"},
		{"create", "volume", "x", "--size", "1G", "-n", "blue"},
		{"create", "volume", "x", "--size", "1G", "--dry-run"},
		{"create", "volume", "x", "--size", "1G", "--service-account", "y"},
		{"create", "volume", "x", "--size", "1G", "--unidirectional"},
		{"create", "migration", "x", "-c", "p", "--no-holder"},
		{"create", "migration", "x", "-c", "p", "--src-kubeconfig", "y"},
		{"generate", "spec", "a=x", "b=y", "--config-dir", "/x", "-n", "blue"},
		{"generate", "clusterpair", "x", "-n", "blue", "--config-dir", "/x"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(lines); i++) {
		const char *argv[ARRAY_SIZE(lines[0]) + 1] = {"tandemctl"};

		memcpy(argv + 1, lines[i], sizeof(lines[0]) - sizeof(char *));
		cr_assert(eq(int, run(argv), CTL_USAGE), "line %u: %s", i, err_text);
		assert_says("usage: tandemctl");
	}
}
