/* SPDX-License-Identifier: Apache-2.0 */
/* The preflight's judgement: kernels, propagation, and what is said of a volume's configuration. */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "preflight_check.h"
#include "scratch.h"

static struct preflight_report r;

TestSuite(preflight_check, .fini = scratch_remove);

static const struct preflight_check *found(const char *what)
{
	for (unsigned i = 0; i < r.count; i++)
		if (!strcmp(r.c[i].what, what))
			return &r.c[i];
	cr_assert_fail("no check '%s'", what);
	return NULL;
}

Test(preflight_check, a_kernel_is_too_old_or_cannot_resend_or_is_good)
{
	static const struct {
		const char *release;
		enum preflight_result result;
	} of[] = {
		{"4.19.0", PREFLIGHT_FAIL},
		{"5.3.18-default", PREFLIGHT_FAIL},
		{"5.4.0", PREFLIGHT_WARN},
		{"5.100.1", PREFLIGHT_WARN},
		{"6.1.0-18-amd64", PREFLIGHT_WARN},
		{"6.8.12", PREFLIGHT_WARN},
		{"6.9.0", PREFLIGHT_OK},
		{"6.18.3+", PREFLIGHT_OK},
		{"7.0", PREFLIGHT_OK},
		{"unknown", PREFLIGHT_WARN},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(of); i++) {
		r.count = 0;
		preflight_kernel(&r, of[i].release);
		cr_assert_eq(r.count, 1u);
		cr_assert_eq(r.c[0].result, of[i].result, "%s", of[i].release);
		cr_assert((r.c[0].todo[0] != '\0') == (of[i].result != PREFLIGHT_OK));
	}
}

static int shared(const char *mountinfo, const char *path)
{
	FILE *f = fmemopen((void *)mountinfo, strlen(mountinfo), "r");
	int ret;

	cr_assert(f);
	ret = preflight_shared(f, path);
	fclose(f);
	return ret;
}

Test(preflight_check, the_innermost_mount_says_whether_mounts_are_seen)
{
	static const char text[] = "21 1 8:1 / / rw shared:1 - ext4 /dev/a rw\n"
				   "22 21 8:2 / /srv rw - ext4 /dev/b rw\n"
				   "23 22 8:3 / /srv/pods rw master:7 shared:2 - ext4 /dev/c rw\n"
				   "24 21 8:4 / /slave rw master:7 - ext4 /dev/shared:9 rw\n";

	cr_assert_eq(shared(text, "/"), 1);
	cr_assert_eq(shared(text, "/var"), 1);
	cr_assert_eq(shared(text, "/srv"), 0);
	cr_assert_eq(shared(text, "/srv/db"), 0);
	cr_assert_eq(shared(text, "/srvdb"), 1);
	cr_assert_eq(shared(text, "/srv/pods/db"), 1);
	cr_assert_eq(shared(text, "/slave/db"), 0);
	cr_assert_eq(shared("22 21 8:2 / /srv rw - ext4 /dev/b rw\n", "/db"), -ENOENT);
}

/* A listening socket on a port of its own. */
static int listener(int *ret_port)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert(bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 8) == 0);
	cr_assert(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
	*ret_port = ntohs(sa.sin_port);
	return fd;
}

static void check_volume(const char *mount, int port, const char *host)
{
	char text[2048];

	snprintf(text, sizeof(text),
		"[volume]\nname = db\ndirectory = %s/not/yet\nmount = %s\n[site]\ndomain = site-a\n"
		"listen = %s:%d\n[peer site-b]\naddress = 127.0.0.1:%d\n",
		scratch_dir(), mount, host, port, port);
	scratch_write(scratch_path("db.conf"), text);
	r.count = 0;
	preflight_volume(&r, scratch_path("db.conf"));
}

Test(preflight_check, a_volume_whose_peer_answers_is_measured)
{
	int port, fd = listener(&port);

	check_volume(scratch_dir(), port, "127.0.0.1");
	cr_assert(strstr(found("peer")->found, "round trip"), "%s", found("peer")->found);
	cr_assert_eq(found("peer")->result, PREFLIGHT_OK);
	cr_assert(strstr(found("port")->found, "is taken"), "%s", found("port")->found);
	cr_assert_eq(found("mount")->result, PREFLIGHT_OK);
	cr_assert(strstr(found("space")->found, "GiB free"));
	found("flush");
	found("propagation");
	close(fd);
	check_volume(scratch_dir(), port, "127.0.0.1");
	cr_assert_eq(found("peer")->result, PREFLIGHT_WARN);
	cr_assert(strstr(found("peer")->found, "refused"), "%s", found("peer")->found);
	cr_assert(strstr(found("port")->found, "is free"), "%s", found("port")->found);
}

Test(preflight_check, clocks_are_apart_only_by_what_the_round_trip_cannot_explain)
{
	static const struct {
		int64_t begin_ms, end_ms, theirs_ms;
		enum preflight_result result;
		const char *says;
	} of[] = {
		{50000, 50002, 50001, PREFLIGHT_OK, "site-b is as this one, within 0.0 s"},
		{50000, 50200, 51199, PREFLIGHT_OK, "as this one"},
		{50000, 50200, 51201, PREFLIGHT_WARN, "1.1 s ahead of this one, within 0.1 s"},
		{50000, 50200, 49001, PREFLIGHT_OK, "as this one"},
		{50000, 50200, 48999, PREFLIGHT_WARN, "1.1 s behind this one, within 0.1 s"},
		{50000, 52000, 52900, PREFLIGHT_OK, "within 2.9 s"}, /* a slow answer */
		{50000, 50010, 3650005, PREFLIGHT_WARN, "3600.0 s ahead"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(of); i++) {
		r.count = 0;
		preflight_clocks(
			&r, "agent.conf", "site-b", of[i].begin_ms, of[i].end_ms, of[i].theirs_ms);
		cr_assert_eq(found("clock")->result, of[i].result, "%u: %s", i, r.c[0].found);
		cr_assert(strstr(r.c[0].found, of[i].says), "%u: %s", i, r.c[0].found);
		cr_assert((r.c[0].todo[0] != '\0') == (of[i].result != PREFLIGHT_OK));
	}
}

Test(preflight_check, this_nodes_clock_is_told_of)
{
	r.count = 0;
	preflight_node(&r);
	cr_assert_str_eq(found("clock")->about, "node");
	cr_assert_neq(found("clock")->result, PREFLIGHT_FAIL);
	cr_assert(strstr(found("clock")->found, "kept right") ||
			  strstr(found("clock")->found, "nothing keeps this clock right"),
		"%s", found("clock")->found);
}

Test(preflight_check, a_certificate_is_warned_of_for_thirty_days)
{
	static const struct {
		const char *what;
		int64_t left_s;
		enum preflight_result result;
		const char *says, *todo;
	} of[] = {
		{"certificate", 30 * 86400, PREFLIGHT_OK, "valid for 30 days", ""},
		{"certificate", 30 * 86400 - 1, PREFLIGHT_WARN, "29 days", "tandemctl pair"},
		{"certificate", 0, PREFLIGHT_FAIL, "has expired", "tandemctl pair"},
		{"authority", 1, PREFLIGHT_WARN, "0 days", "ca.key"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(of); i++) {
		r.count = 0;
		preflight_validity(&r, "db.conf", of[i].what, "/pki/x.pem",
			1900000000 + of[i].left_s, 1900000000);
		cr_assert_eq(found(of[i].what)->result, of[i].result, "%u: %s", i, r.c[0].found);
		cr_assert(strstr(r.c[0].found, of[i].says), "%u: %s", i, r.c[0].found);
		cr_assert(strstr(r.c[0].todo, of[i].todo), "%u: %s", i, r.c[0].todo);
	}
}

Test(preflight_check, what_is_missing_fails_with_what_to_do)
{
	check_volume("/nonexistent/mount", 7400, "192.0.2.1");
	cr_assert_eq(found("mount")->result, PREFLIGHT_FAIL);
	cr_assert(strstr(found("mount")->todo, "mkdir"));
	cr_assert_eq(found("port")->result, PREFLIGHT_FAIL);
	cr_assert(strstr(found("port")->todo, "address of this node"));
	scratch_write(scratch_path("db.conf"), "[volume]\nname = db\n");
	r.count = 0;
	preflight_volume(&r, scratch_path("db.conf"));
	cr_assert_eq(r.count, 1u);
	cr_assert_eq(found("configuration")->result, PREFLIGHT_FAIL);
	r.count = 0;
	preflight_volume(&r, "/nonexistent/db.conf");
	cr_assert_eq(found("configuration")->result, PREFLIGHT_FAIL);
}

Test(preflight_check, a_full_report_takes_no_more)
{
	for (unsigned i = 0; i < PREFLIGHT_CHECKS_MAX + 3; i++)
		preflight_kernel(&r, "6.18");
	cr_assert_eq(r.count, PREFLIGHT_CHECKS_MAX);
}
