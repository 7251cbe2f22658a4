/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection for each call. Connecting to a unix socket is done at once or not at all; the request
 * fits the socket's buffer in practice, and is written on as it drains where it does not.
 *
 * Failure modes: each ends in `done` with a code and words; a daemon that says too much or no JSON is
 * -EBADMSG; one that closes without an answer is -ECONNRESET.
 */
#include "daemon_call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"

struct daemon_call {
	struct loop *loop;
	struct loop_source source; /* fd -1: not connected */
	struct loop_timer timer;
	char path[256];
	void (*done)(void *ctx, struct daemon_answer *a);
	void *ctx;
	struct daemon_answer answer;
	char *out;
	size_t out_len, out_done;
	char *in;
	size_t in_len;
};

void daemon_call_cancel(struct daemon_call *c)
{
	if (!c)
		return;
	loop_timer_clear(c->loop, &c->timer);
	loop_remove(c->loop, &c->source);
	if (c->source.fd >= 0)
		close(c->source.fd);
	free(c->out);
	free(c->in);
	free(c);
}

static void finish(struct daemon_call *c, int code, const char *why)
{
	void (*done)(void *ctx, struct daemon_answer *a) = c->done;
	struct daemon_answer a = c->answer;
	void *ctx = c->ctx;

	a.code = code;
	if (code)
		err_set(&a.e, code, "'%.150s': %s", c->path, why);
	daemon_call_cancel(c);
	done(ctx, &a);
}

static void expired(struct loop_timer *t, uint64_t now_ns)
{
	struct daemon_call *c = container_of(t, struct daemon_call, timer);

	/* What failed at once is told from here, too. */
	if (c->answer.code == -ENOENT || c->answer.code == -ECONNREFUSED)
		finish(c, c->answer.code, "nobody answers: the volume's daemon does not run");
	else if (c->answer.code)
		finish(c, c->answer.code, strerror(-c->answer.code));
	else
		finish(c, -ETIMEDOUT, "no answer in time");
}

static void receive(struct daemon_call *c)
{
	ssize_t n =
		recv(c->source.fd, c->in + c->in_len, CONTROL_LINE_MAX - c->in_len, MSG_DONTWAIT);
	char *end;
	int ret;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		finish(c, n ? -errno : -ECONNRESET,
			n ? strerror(errno) : "closed the connection without an answer");
		return;
	}
	end = memchr(c->in + c->in_len, '\n', (size_t)n);
	c->in_len += (size_t)n;
	if (!end && c->in_len == CONTROL_LINE_MAX) {
		finish(c, -EBADMSG, "the answer is too long");
	} else if (end) {
		struct err e;

		ret = json_parse(c->in, (size_t)(end - c->in), &c->answer.json, &e);
		finish(c, ret, e.msg);
	}
}

static void ready(struct loop_source *s, uint32_t events)
{
	struct daemon_call *c = container_of(s, struct daemon_call, source);

	if (c->out_done < c->out_len) {
		ssize_t n = send(s->fd, c->out + c->out_done, c->out_len - c->out_done,
			MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			finish(c, -errno, strerror(errno));
			return;
		}
		c->out_done += (size_t)MAX(n, 0);
		if (c->out_done == c->out_len)
			loop_modify(c->loop, s, EPOLLIN);
		return;
	}
	receive(c);
}

static int connect_to(struct daemon_call *c)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (strlen(c->path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	memcpy(sa.sun_path, c->path, strlen(c->path) + 1);
	c->source.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->source.fd < 0)
		return -errno;
	if (connect(c->source.fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	c->answer.connected = true;
	if (getsockopt(c->source.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
		c->answer.pid = cred.pid;
	return loop_add(c->loop, &c->source);
}

struct daemon_call *daemon_call_start(struct loop *l, const char *path, const struct json *request,
	unsigned timeout_ms, void (*done)(void *ctx, struct daemon_answer *a), void *ctx)
{
	struct daemon_call *c = calloc(1, sizeof(*c));
	int n;

	ensure(c);
	c->loop = l;
	c->done = done;
	c->ctx = ctx;
	c->timer.expired = expired;
	c->source = (struct loop_source){.fd = -1, .events = EPOLLOUT, .ready = ready};
	c->in = malloc(CONTROL_LINE_MAX);
	n = asprintf(&c->out, "%s\n", json_text(request, false));
	ensure(c->in && n > 0);
	c->out_len = (size_t)n;
	n = snprintf(c->path, sizeof(c->path), "%s", path);
	c->answer.code = n < (int)sizeof(c->path) ? connect_to(c) : -ENAMETOOLONG;
	loop_timer_set(l, &c->timer,
		clock_mono_ns() + (c->answer.code ? 0 : (uint64_t)timeout_ms * NS_PER_MS));
	return c;
}
