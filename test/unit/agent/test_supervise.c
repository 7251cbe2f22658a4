/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to daemons that do not block, and the supervision over them: daemons are sockets of this process, which
 * answers by hand, or not at all.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "daemon_call.h"
#include "supervise.h"

static char dir[64], socket_path[128];
static struct loop *l;
static struct agent_config config;
static struct daemon_answer last;
static unsigned answers;

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/superviseXXXXXX");
	cr_assert(ne(ptr, mkdtemp(dir), NULL));
	snprintf(socket_path, sizeof(socket_path), "%s/db.sock", dir);
	cr_assert(zero(int, loop_new(&l)));
	memset(&config, 0, sizeof(config));
	snprintf(config.domain, sizeof(config.domain), "a");
	snprintf(config.volumes, sizeof(config.volumes), "%s", dir);
	snprintf(config.run_dir, sizeof(config.run_dir), "%s", dir);
	snprintf(config.log_dir, sizeof(config.log_dir), "%s", dir);
	snprintf(config.program, sizeof(config.program), "%s/program", dir);
	config.interval_ns = 50 * NS_PER_MS;
	config.restart_delay_max_ns = NS_PER_S;
	answers = 0;
	last = (struct daemon_answer){0};
}

static void teardown(void)
{
	char command[128];

	loop_free(l);
	json_free(last.json);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	cr_assert(zero(int, system(command)));
}

TestSuite(supervise, .init = setup, .fini = teardown, .timeout = 30);

static int listen_here(int flags)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.100s", socket_path);
	cr_assert(zero(int, bind(fd, (struct sockaddr *)&sa, sizeof(sa))));
	cr_assert(zero(int, listen(fd, 8)));
	return fd;
}

static void answered(void *ctx, struct daemon_answer *a)
{
	json_free(last.json);
	last = *a;
	answers++;
}

static struct daemon_call *call(unsigned timeout_ms)
{
	struct json *request = json_object();
	struct daemon_call *c;

	json_set_string(request, "verb", "status");
	c = daemon_call_start(l, socket_path, request, timeout_ms, answered, NULL);
	json_free(request);
	return c;
}

static void run_until_answered(void)
{
	for (unsigned i = 0; i < 100 && !answers; i++)
		loop_run_once(l, 100 * NS_PER_MS);
	cr_assert(eq(uint, answers, 1));
}

Test(supervise, nobody_who_listens_is_an_answer_at_once)
{
	int fd;

	call(5000);
	cr_assert(zero(uint, answers), "never from within");
	run_until_answered();
	cr_assert(eq(int, last.code, -ENOENT));
	cr_assert(zero(int, last.connected));
	fd = listen_here(0);
	close(fd); /* the socket's file stays */
	answers = 0;
	call(5000);
	run_until_answered();
	cr_assert(eq(int, last.code, -ECONNREFUSED));
}

Test(supervise, a_silent_daemon_is_one_that_runs_and_a_cancelled_call_is_never_answered)
{
	int fd = listen_here(0);

	call(50);
	run_until_answered();
	cr_assert(eq(int, last.code, -ETIMEDOUT));
	cr_assert(last.connected);
	cr_assert(eq(int, last.pid, getpid()));
	answers = 0;
	daemon_call_cancel(call(20));
	daemon_call_cancel(NULL);
	for (unsigned i = 0; i < 5; i++)
		loop_run_once(l, 20 * NS_PER_MS);
	cr_assert(zero(uint, answers));
	close(fd);
}

Test(supervise, what_is_no_answer_is_an_error_and_not_a_status)
{
	int fd = listen_here(0), peer;

	call(5000);
	loop_run_once(l, 100 * NS_PER_MS);
	peer = accept(fd, NULL, NULL);
	cr_assert(ge(int, peer, 0));
	cr_assert(eq(int, (int)send(peer, "rubbish, and no frame at all\n", 29, 0), 29));
	close(peer);
	run_until_answered();
	cr_assert(lt(int, last.code, 0));
	cr_assert(eq(ptr, last.json, NULL));
	close(fd);
}

static void write_conf(const char *file, const char *volume)
{
	char path[160];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "w");
	cr_assert(ne(ptr, f, NULL));
	fprintf(f, "[volume]\nname = %s\n[site]\ndomain = a\n", volume);
	fclose(f);
}

/* Whoever calls on the listening socket (or -1) is hung up on: that somebody is there is enough. */
static void run_for(unsigned ms, int listening)
{
	uint64_t until = clock_mono_ns() + ms * NS_PER_MS;

	while (clock_mono_ns() < until) {
		int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK);

		if (fd >= 0)
			close(fd);
		loop_run_once(l, 20 * NS_PER_MS);
	}
}

/* "VOLUME STATE FILE, ..." */
static const char *listed(struct supervisor *s)
{
	static char text[512];
	struct json *list = supervisor_list(s);
	size_t at = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < json_length(list); i++) {
		const struct json *v = json_at(list, i), *x = json_get(v, "supervision");

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s %s %s", i ? ", " : "",
			json_get_string(v, "volume", "?"), json_get_string(x, "state", "?"),
			strrchr(json_get_string(x, "config", "/?"), '/') + 1);
	}
	json_free(list);
	return text;
}

Test(supervise, a_daemon_that_runs_is_found_and_its_renamed_file_is_listed_once)
{
	int fd = listen_here(SOCK_NONBLOCK); /* this process is the daemon */
	struct supervisor *s;
	char from[160], to[160];

	write_conf("db.conf", "db");
	s = supervisor_new(l, &config);
	run_for(300, fd);
	cr_assert(eq(str, (char *)listed(s), "db starting db.conf"));
	snprintf(from, sizeof(from), "%s/db.conf", dir);
	snprintf(to, sizeof(to), "%s/other.conf", dir);
	cr_assert(zero(int, rename(from, to)));
	run_for(300, fd);
	cr_assert(eq(str, (char *)listed(s), "db starting other.conf"));
	/* A second file for it beside the first is a mistake, and told of. */
	write_conf("zz.conf", "db");
	run_for(300, fd);
	cr_assert(eq(str, (char *)listed(s), "db starting other.conf, db refused zz.conf"));
	supervisor_free(s);
	close(fd);
}

Test(supervise, a_program_that_cannot_be_started_is_tried_again_and_later_each_time)
{
	struct supervisor *s;
	struct json *v;

	write_conf("db.conf", "db");
	s = supervisor_new(l, &config);
	run_for(1500, -1);
	v = supervisor_volume(s, "db");
	cr_assert(ge(int, (int)json_get_int(json_get(v, "supervision"), "failures", 0), 2));
	cr_assert(le(int, (int)json_get_int(json_get(v, "supervision"), "failures", 0), 6));
	cr_assert(eq(
		str, (char *)json_get_string(json_get(v, "supervision"), "state", ""), "waiting"));
	json_free(v);
	cr_assert(eq(ptr, supervisor_volume(s, "none"), NULL));
	supervisor_free(s);
}
