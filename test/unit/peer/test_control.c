/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol over a real socket: the client's call against the server on a thread, and a
 * client made by hand for what a client should not do.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "log.h"

#define HELD_MAX 64

static struct loop *l;
static struct control_server *server;
static char dir[64], path[100];
static struct control_request *held[HELD_MAX]; /* of the verb "hold" */
static unsigned nheld, handled;

static void handler(void *ctx, struct control_request *r)
{
	struct json *answer;

	cr_assert_eq(ctx, &handled);
	handled++;
	if (strcmp(r->verb, "echo") == 0) {
		answer = json_object();
		json_set_string(answer, "volume", json_get_string(r->args, "arg", "none"));
		control_answer(r, 0, "echoed", answer);
	} else if (strcmp(r->verb, "hold") == 0) {
		cr_assert(nheld < HELD_MAX);
		held[nheld++] = r;
	} else if (strcmp(r->verb, "huge") == 0) {
		char *text = calloc(1, CONTROL_LINE_MAX + 1);

		memset(text, 'x', CONTROL_LINE_MAX);
		answer = json_object();
		json_set_string(answer, "big", text);
		free(text);
		control_answer(r, 0, "", answer);
	} else if (strcmp(r->verb, "close") == 0) {
		control_close(server);
		server = NULL;
		control_answer(r, 0, "vanishes", NULL);
	} else {
		control_answer(r, -EINVAL, "no such verb", NULL);
	}
}

static void setup(void)
{
	struct err e;

	log_set_level(LOG_LEVEL_ERROR + 1);
	snprintf(dir, sizeof(dir), "/tmp/tandem-control-XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/run/db.sock", dir);
	cr_assert_eq(loop_new(&l), 0);
	cr_assert_eq(control_listen(l, path, handler, &handled, &server, &e), 0);
}

/* For .fini, where a failed assertion is printed and forgotten. */
static void must_hold(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "does not hold at the end of the test: %s\n", what);
	abort();
}

static void fini(void)
{
	char run[128];

	control_close(server);
	loop_free(l);
	must_hold(access(path, F_OK) != 0, "the socket is unlinked");
	snprintf(run, sizeof(run), "%s/run", dir);
	must_hold(rmdir(run) == 0 && rmdir(dir) == 0, "the directories are empty");
}

TestSuite(control, .init = setup, .fini = fini, .timeout = 30);

/* ---- a blocking call on a thread, while this one runs the loop ---- */

struct call {
	const char *request;
	unsigned timeout_ms;
	struct json *answer;
	struct err e;
	int ret;
	atomic_bool done;
};

static void *call_thread(void *arg)
{
	struct call *c = arg;
	struct json *request;

	cr_assert_eq(json_parse(c->request, strlen(c->request), &request, &c->e), 0);
	c->ret = control_call(path, request, c->timeout_ms, &c->answer, &c->e);
	json_free(request);
	atomic_store(&c->done, true);
	loop_wake(l);
	return NULL;
}

static void run_call(struct call *c)
{
	pthread_t t;

	cr_assert_eq(pthread_create(&t, NULL, call_thread, c), 0);
	while (!atomic_load(&c->done))
		loop_run_once(l, 50 * NS_PER_MS);
	pthread_join(t, NULL);
}

/* ---- a client by hand ---- */

static int raw_connect(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	return fd;
}

static void raw_send(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0) {
			cr_assert_eq(errno, EAGAIN);
			loop_run_once(l, NS_PER_MS);
			continue;
		}
		text += n;
		len -= (size_t)n;
	}
}

/* Reads lines until there are `lines` of them, or the end; at most size - 1 bytes. */
static void raw_read(int fd, char *buf, size_t size, unsigned lines)
{
	uint64_t end = clock_mono_ns() + 5 * NS_PER_S;
	size_t len = 0;

	buf[0] = '\0';
	while (lines && clock_mono_ns() < end) {
		ssize_t n = recv(fd, buf + len, size - 1 - len, MSG_DONTWAIT);

		if (n == 0)
			return;
		if (n < 0) {
			loop_run_once(l, NS_PER_MS);
			continue;
		}
		for (ssize_t i = 0; i < n; i++)
			lines -= buf[len + (size_t)i] == '\n';
		len += (size_t)n;
		buf[len] = '\0';
	}
	cr_assert_eq(lines, 0, "answers are missing: %s", buf);
}

static void turn(unsigned times)
{
	while (times--)
		loop_run_once(l, NS_PER_MS);
}

Test(control, a_call_gets_its_answer)
{
	struct call c = {.request = "{\"verb\":\"echo\",\"arg\":\"db\"}", .timeout_ms = 5000};

	run_call(&c);
	cr_assert_eq(c.ret, 0, "%s", c.e.msg);
	cr_assert_eq(json_get_int(c.answer, "code", -1), 0);
	cr_assert_str_eq(json_get_string(c.answer, "text", "?"), "echoed");
	cr_assert_str_eq(json_get_string(c.answer, "volume", "?"), "db");
	json_free(c.answer);
}

Test(control, an_unknown_verb_is_the_handlers_business)
{
	struct call c = {.request = "{\"verb\":\"dance\"}", .timeout_ms = 5000};

	run_call(&c);
	cr_assert_eq(c.ret, 0);
	cr_assert_eq(json_get_int(c.answer, "code", 0), -EINVAL);
	json_free(c.answer);
}

Test(control, a_call_without_an_answer_times_out)
{
	struct call c = {.request = "{\"verb\":\"hold\"}", .timeout_ms = 60};

	run_call(&c);
	cr_assert_eq(c.ret, -ETIMEDOUT);
	cr_assert(strstr(c.e.msg, "within 0.1 s"), "%s", c.e.msg);
	turn(5);
	cr_assert_eq(nheld, 1);
	control_answer(held[0], 0, "too late", NULL); /* no error, no leak */
}

Test(control, a_call_without_a_daemon_says_so)
{
	struct json *request = json_object(), *answer;
	char nowhere[160];
	struct err e;

	json_set_string(request, "verb", "status");
	snprintf(nowhere, sizeof(nowhere), "%s/run/none.sock", dir);
	cr_assert_eq(control_call(nowhere, request, 1000, &answer, &e), -ENOENT);
	cr_assert(strstr(e.msg, "is the volume's tandemfs running?"), "%s", e.msg);
	json_free(request);
}

Test(control, an_answer_that_is_too_long_becomes_an_error)
{
	struct call c = {.request = "{\"verb\":\"huge\"}", .timeout_ms = 5000};

	run_call(&c);
	cr_assert_eq(c.ret, 0);
	cr_assert_eq(json_get_int(c.answer, "code", 0), -E2BIG);
	json_free(c.answer);
}

Test(control, answers_come_in_the_order_of_the_requests)
{
	int fd = raw_connect();
	char buf[1024];

	raw_send(fd, "{\"verb\":\"hold\"}\n{\"verb\":\"echo\"}\n{\"verb\":\"hold\"}\n");
	turn(10);
	cr_assert_eq(nheld, 2);
	cr_assert_eq(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
	control_answer(held[1], 3, "third", NULL);
	turn(2);
	cr_assert_eq(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
	control_answer(held[0], 1, "first", NULL);
	raw_read(fd, buf, sizeof(buf), 3);
	cr_assert_str_eq(buf, "{\"code\":1,\"text\":\"first\"}\n"
			      "{\"volume\":\"none\",\"code\":0,\"text\":\"echoed\"}\n"
			      "{\"code\":3,\"text\":\"third\"}\n");
	close(fd);
}

Test(control, what_is_no_request_is_answered_with_the_reason_and_the_next_line_counts)
{
	int fd = raw_connect();
	char buf[2048];

	raw_send(fd, "garbage\n[]\n{\"verb\":5}\n{}\n\n{\"verb\":\"\"}\n{\"verb\":\"echo\"}\n");
	raw_read(fd, buf, sizeof(buf), 7);
	cr_assert_eq(handled, 1);
	cr_assert_eq(strncmp(buf, "{\"code\":-74,\"text\":\"no JSON", 26), 0, "%s", buf);
	cr_assert(strstr(buf, "{\"code\":-22,\"text\":\"a request is an object with a verb\"}\n"));
	cr_assert(strstr(buf, "echoed"));
	close(fd);
}

Test(control, a_line_in_pieces_is_put_together)
{
	const char *text = "{\"verb\":\"echo\",\"arg\":\"p\"}\n";
	int fd = raw_connect();
	char buf[256], one[2] = "";

	for (const char *p = text; *p; p++) {
		cr_assert_eq(handled, 0);
		one[0] = *p;
		raw_send(fd, one);
		turn(1);
	}
	raw_read(fd, buf, sizeof(buf), 1);
	cr_assert(strstr(buf, "\"volume\":\"p\""));
	close(fd);
}

Test(control, a_line_that_is_too_long_is_refused_and_the_client_closed)
{
	char *text = malloc(CONTROL_LINE_MAX + 1), buf[256];
	int fd = raw_connect();
	uint64_t end = clock_mono_ns() + 5 * NS_PER_S;
	ssize_t n = -1;

	memset(text, ' ', CONTROL_LINE_MAX);
	text[CONTROL_LINE_MAX] = '\0';
	raw_send(fd, text);
	free(text);
	raw_read(fd, buf, sizeof(buf), 1);
	cr_assert(strstr(buf, "too long"), "%s", buf);
	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) < 0 && clock_mono_ns() < end)
		turn(1);
	cr_assert_eq(n, 0, "closed");
	cr_assert_eq(handled, 0);
	close(fd);
}

Test(control, a_client_that_stops_writing_still_gets_its_answers)
{
	int fd = raw_connect();
	char buf[256];

	raw_send(fd, "{\"verb\":\"hold\"}\n");
	shutdown(fd, SHUT_WR);
	turn(10);
	cr_assert_eq(nheld, 1);
	control_answer(held[0], 0, "done", NULL);
	raw_read(fd, buf, sizeof(buf), 1);
	cr_assert(strstr(buf, "done"));
	turn(3);
	cr_assert_eq(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), 0, "and then it is closed");
	close(fd);
}

Test(control, a_client_that_goes_away_leaves_nothing_behind)
{
	int fd = raw_connect();

	raw_send(fd, "{\"verb\":\"hold\"}\n{\"verb\":\"echo\"}\n{\"verb\":\"hold\"}\n");
	turn(10);
	cr_assert_eq(nheld, 2);
	close(fd);
	turn(5);
	control_answer(held[1], 0, "", json_object());
	control_answer(held[0], 0, "", NULL);
}

Test(control, a_client_that_asks_a_lot_is_read_as_it_is_answered)
{
	unsigned let_go = 0, answers = 0;
	int fd = raw_connect();
	char buf[4096];

	for (unsigned i = 0; i < 500; i++)
		raw_send(fd, i % 10 ? "{\"verb\":\"echo\"}\n" : "{\"verb\":\"hold\"}\n");
	while (answers < 500) {
		ssize_t n;

		turn(2);
		cr_assert_leq(nheld, 4, "at most 32 unanswered ones are read, 1 of 10 is held");
		for (; nheld; let_go++) {
			struct control_request *r = held[0];

			memmove(held, held + 1, --nheld * sizeof(held[0]));
			control_answer(r, 0, "let go", NULL);
		}
		while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
			for (ssize_t i = 0; i < n; i++)
				answers += buf[i] == '\n';
		cr_assert(n < 0 && errno == EAGAIN);
	}
	cr_assert_eq(let_go, 50);
	cr_assert_eq(handled, 500);
	close(fd);
}

Test(control, a_client_that_does_not_read_is_not_served_for_ever)
{
	int fd = raw_connect();
	char line[4200] = "{\"verb\":\"echo\",\"arg\":\"";
	unsigned sent = 0;

	memset(line + strlen(line), 'x', 4000);
	memcpy(line + strlen(line), "\"}\n", 4);
	for (; sent < 5000; sent++) {
		if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
			turn(3);
			if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
				break;
		}
		turn(1);
	}
	cr_assert_lt(sent, 1000, "%u", sent);
	close(fd);
	turn(5);
}

Test(control, closing_the_server_in_a_handler_is_survived)
{
	int fd = raw_connect(), other = raw_connect();
	char buf[64];

	raw_send(other, "{\"verb\":\"hold\"}\n");
	turn(5);
	raw_send(fd, "{\"verb\":\"close\"}\n{\"verb\":\"echo\"}\n");
	turn(5);
	cr_assert_eq(recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0, false);
	cr_assert_eq(handled, 2);
	control_answer(held[0], 0, "vanishes", NULL);
	close(fd);
	close(other);
}

static void successor(void *ctx, struct control_request *r)
{
	cr_assert_eq(ctx, &nheld);
	control_answer(r, 0, "the successor", NULL);
}

Test(control, a_server_that_moves_to_another_loop_takes_its_clients_along)
{
	struct loop *first = l;
	int fd = raw_connect(), late;
	char buf[256];

	raw_send(fd, "{\"verb\":\"echo\"}\n{\"verb\":");
	raw_read(fd, buf, sizeof(buf), 1);
	cr_assert(strstr(buf, "echoed"), "%s", buf);
	late = raw_connect(); /* not accepted yet */
	raw_send(late, "{\"verb\":\"echo\"}\n");
	cr_assert_eq(loop_new(&l), 0);
	cr_assert_eq(control_move(server, l, successor, &nheld), 0);
	loop_free(first);
	raw_send(fd, "\"echo\"}\n");
	raw_read(fd, buf, sizeof(buf), 1);
	cr_assert(strstr(buf, "the successor"), "%s", buf);
	raw_read(late, buf, sizeof(buf), 1);
	cr_assert(strstr(buf, "the successor"), "%s", buf);
	close(fd);
	close(late);
}

Test(control, the_socket_is_for_its_owner_only)
{
	struct stat st;

	cr_assert_eq(stat(path, &st), 0);
	cr_assert(S_ISSOCK(st.st_mode));
	cr_assert_eq(st.st_mode & 07777, 0600);
}

Test(control, a_living_daemons_socket_is_not_taken)
{
	struct control_server *second;
	struct err e;

	cr_assert_eq(control_listen(l, path, handler, &handled, &second, &e), -EADDRINUSE);
	cr_assert(strstr(e.msg, path), "%s", e.msg);
}

Test(control, a_dead_daemons_socket_is_replaced_and_a_successors_not_unlinked)
{
	struct control_server *old = server;
	struct err e;
	char saved[160];

	/* The old process "died": its name leads nowhere. */
	snprintf(saved, sizeof(saved), "%s.old", path);
	cr_assert_eq(rename(path, saved), 0);
	cr_assert_eq(control_listen(l, path, handler, &handled, &server, &e), 0, "%s", e.msg);
	control_close(old);
	cr_assert_eq(access(path, F_OK), 0);
	cr_assert_eq(unlink(saved), 0);

	/* And one whose socket is still there. */
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	control_close(server);
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	close(fd);
	cr_assert_eq(control_listen(l, path, handler, &handled, &server, &e), 0, "%s", e.msg);
}

Test(control, a_file_in_the_sockets_place_is_left_alone)
{
	struct control_server *second;
	char file[160];
	struct err e;
	FILE *f;

	snprintf(file, sizeof(file), "%s/run/file.sock", dir);
	f = fopen(file, "w");
	fclose(f);
	cr_assert_eq(control_listen(l, file, handler, &handled, &second, &e), -EEXIST);
	cr_assert_eq(unlink(file), 0);
}

Test(control, a_path_that_is_too_long_is_said)
{
	struct control_server *second;
	char longest[300];
	struct err e;

	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	cr_assert_eq(control_listen(l, longest, handler, &handled, &second, &e), -ENAMETOOLONG);
}
