/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket's frames; a command in a pod, by a server that speaks as the API's does. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "kube_exec.h"
#include "ws.h"

Test(ws, frames_are_decoded_whole_or_not_at_all)
{
	uint8_t buf[70010] = {0x82, 3, 1, 'h', 'i', 0x88, 0};
	struct ws_frame f;

	for (size_t n = 0; n < 5; n++)
		cr_assert_eq(ws_decode(buf, n, &f), 0);
	cr_assert_eq(ws_decode(buf, 7, &f), 5);
	cr_assert_eq(f.opcode, WS_BINARY);
	cr_assert_eq(f.len, 3);
	cr_assert_eq(ws_decode(buf + 5, 2, &f), 2);
	cr_assert_eq(f.opcode, WS_CLOSE);
	memcpy(buf, (uint8_t[]){0x82, 126, 0x01, 0x00}, 4);
	cr_assert_eq(ws_decode(buf, 259, &f), 0);
	cr_assert_eq(ws_decode(buf, 260, &f), 260);
	memcpy(buf, (uint8_t[]){0x02, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70}, 10);
	cr_assert_eq(ws_decode(buf, 70010, &f), 70010);
	cr_assert_not(f.last);
}

Test(ws, what_no_server_may_send_is_refused)
{
	static const struct {
		uint8_t b[10];
		int want;
	} bad[] = {
		{{0xc2, 1}, -EBADMSG}, /* a reserved bit */
		{{0x82, 0x81}, -EBADMSG}, /* masked */
		{{0x89, 126}, -EBADMSG}, /* a long ping */
		{{0x09, 1}, -EBADMSG}, /* one in pieces */
		{{0x82, 127, 0xff}, -EFBIG},
	};
	struct ws_frame f;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(ws_decode(bad[i].b, 10, &f), bad[i].want, "%u", i);
}

Test(ws, channels_are_kept_apart_and_in_their_room)
{
	static struct ws_channels c;
	static uint8_t long_[5000];
	struct ws_frame f = {.opcode = WS_BINARY, .last = true, .data = long_, .len = 5000};
	struct err e = {0};

	memset(long_, 'x', sizeof(long_));
	long_[0] = 1;
	cr_assert_eq(ws_channels_take(&c, &f, &e), 0);
	cr_assert_eq(strlen(c.out), sizeof(c.out) - 1);
	f = (struct ws_frame){
		.opcode = WS_BINARY, .data = (const uint8_t *)"\003{\"status\":", .len = 11};
	cr_assert_eq(ws_channels_take(&c, &f, &e), 0);
	f = (struct ws_frame){.last = true, .data = (const uint8_t *)"\"Success\"}", .len = 10};
	cr_assert_eq(ws_channels_take(&c, &f, &e), 0);
	cr_assert_eq(ws_channels_exit(&c, &e), 0, "%s", e.msg);
	f = (struct ws_frame){.opcode = WS_BINARY, .data = (const uint8_t *)"\011x", .len = 2};
	cr_assert_eq(ws_channels_take(&c, &f, &e), -EBADMSG);
}

/* What a command said last is what is told of one that failed. */
Test(ws, of_errors_the_last_ones_are_kept)
{
	static struct ws_channels c;
	static uint8_t long_[5000];
	struct ws_frame f = {.opcode = WS_BINARY, .last = true, .data = long_, .len = 5000};
	struct err e = {0};

	memset(long_, 'x', sizeof(long_));
	long_[0] = 2;
	long_[4999] = 'y';
	cr_assert_eq(ws_channels_take(&c, &f, &e), 0);
	cr_assert_eq(c.nerrors, sizeof(c.errors) - 1);
	cr_assert_eq(c.errors[c.nerrors - 1], 'y');
	f = (struct ws_frame){.opcode = WS_BINARY,
		.last = true,
		.data = (const uint8_t *)"\002 the end",
		.len = 9};
	cr_assert_eq(ws_channels_take(&c, &f, &e), 0);
	cr_assert_eq(strlen(c.errors), sizeof(c.errors) - 1);
	cr_assert_str_eq(c.errors + sizeof(c.errors) - 1 - 9, "y the end");
}

/* --- a server --- */

struct server {
	int fd;
	const char *answer; /* to the upgrade; frames follow where it is NULL */
	const char *frames;
	size_t len;
	bool silent; /* says nothing more */
	unsigned asked;
	char request[2][2048];
};

static void *serve(void *arg)
{
	struct server *s = arg;

	for (;;) {
		int fd = accept(s->fd, NULL, NULL);
		char *request = s->request[MIN(s->asked, 1u)];
		size_t n = 0;
		ssize_t got;

		if (fd < 0)
			return NULL;
		while (n < 2047 && !strstr(request, "\r\n\r\n") &&
			(got = read(fd, request + n, 2047 - n)) > 0)
			n += (size_t)got;
		s->asked++;
		if (s->answer) {
			cr_assert(write(fd, s->answer, strlen(s->answer)) > 0);
		} else {
			dprintf(fd,
				"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
			cr_assert(write(fd, s->frames, s->len) >= 0);
			if (s->silent && s->asked == 1) {
				/* stays open */
				continue;
			}
		}
		close(fd);
	}
}

static int ask(struct server *s, unsigned timeout_ms, struct err *e)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	struct kube_access access = {.token = (char *)"secret"};
	pthread_t thread;
	struct kube *k;
	char url[64];
	int ret;

	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert(!bind(s->fd, (struct sockaddr *)&a, len) && !listen(s->fd, 4) &&
		  !getsockname(s->fd, (struct sockaddr *)&a, &len));
	snprintf(url, sizeof(url), "http://127.0.0.1:%u", ntohs(a.sin_port));
	access.server = url;
	cr_assert(!pthread_create(&thread, NULL, serve, s));
	k = kube_new("the API", &access, NULL);
	ret = kube_exec(k, "blue", "db-0", "db", "echo 'a b'", timeout_ms, e);
	kube_free(k);
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(s->fd);
	return ret;
}

Test(kube_exec, a_command_that_succeeds)
{
	struct server s = {.frames = NULL};
	struct err e = {0};

	s.frames = "\x82\x04\001"
		   "42\n"
		   "\x89\x01p"
		   "\x82\x15\003{\"status\":\"Success\"}"
		   "\x88\x00";
	s.len = 6 + 3 + 2 + 21 + 2;
	cr_assert_eq(ask(&s, 5000, &e), 0, "%s", e.msg);
	cr_assert(strstr(s.request[0],
			  "GET /api/v1/namespaces/blue/pods/db-0/exec?command=sh&command=-c&"),
		"%s", s.request[0]);
	cr_assert(strstr(s.request[0],
		"&command=echo%20%27a%20b%27&stdout=true&stderr=true&container=db HTTP"));
	cr_assert(strstr(s.request[0], "Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n"));
	cr_assert(strstr(s.request[0], "Authorization: Bearer secret\r\n"));
}

Test(kube_exec, one_that_fails_gives_its_status_and_last_words)
{
	static const char status[] =
		"\003{\"status\":\"Failure\",\"message\":\"m\",\"details\":{\"causes\":["
		"{\"reason\":\"ExitCode\",\"message\":\"7\"}]}}";
	char frames[300] = "\x82\x0b\002one\ntwo\n..";
	struct server s = {.frames = frames};
	struct err e = {0};

	frames[13] = (char)0x82;
	frames[14] = (char)(sizeof(status) - 1);
	memcpy(frames + 15, status, sizeof(status) - 1);
	memcpy(frames + 15 + sizeof(status) - 1, "\x88", 2);
	s.len = 15 + sizeof(status) - 1 + 2;
	cr_assert_eq(ask(&s, 5000, &e), 7, "%s", e.msg);
	cr_assert_str_eq(e.msg, "exit status 7: ..");
}

Test(kube_exec, one_that_may_not_be_run_says_why)
{
	struct server s = {
		.answer = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n\r\n"
			  "{\"message\":\"pods \\\"db-0\\\" is forbidden\",\"code\":403}"};
	struct err e = {0};

	cr_assert_eq(ask(&s, 5000, &e), -EPERM, "%s", e.msg);
	cr_assert(strstr(e.msg, "db-0"), "%s", e.msg);
}

Test(kube_exec, one_that_takes_too_long_is_ended_by_its_process)
{
	struct server s = {.frames = "\x82\x04\001"
				     "42\n",
		.len = 6,
		.silent = true};
	struct err e = {0};
	uint64_t begin = clock_mono_ns();

	cr_assert_eq(ask(&s, 300, &e), -ETIMEDOUT, "%s", e.msg);
	cr_assert(clock_mono_ns() - begin < 5 * NS_PER_S);
	cr_assert_eq(s.asked, 2);
	cr_assert(strstr(s.request[1], "&command=42&"), "%s", s.request[1]);
}

Test(kube_exec, a_connection_that_breaks_off_is_no_success)
{
	struct server s = {.frames = "\x82\x04\001"
				     "42\n",
		.len = 6};
	struct err e = {0};

	cr_assert_eq(ask(&s, 5000, &e), -EPROTO, "%s", e.msg);
}
