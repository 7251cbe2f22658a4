/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client end of the control protocol: one blocking call with a time-out, on the monotonic clock,
 * over connecting, sending and waiting together. No state; any thread.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "control_private.h"

int control_address(const char *path, struct sockaddr_un *ret_sa, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};

	if (!path[0] || strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, -ENAMETOOLONG, "'%.120s': a socket's path has 1 to %zu bytes",
			path, sizeof(sa.sun_path) - 1);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	*ret_sa = sa;
	return 0;
}

/* Waits for the descriptor. 0, -ETIMEDOUT or -errno. */
static int wait_for(int fd, short events, uint64_t until_ns)
{
	for (;;) {
		struct pollfd p = {.fd = fd, .events = events};
		uint64_t now = clock_mono_ns();
		int n;

		if (now >= until_ns)
			return -ETIMEDOUT;
		n = poll(&p, 1, (int)MIN((until_ns - now) / NS_PER_MS + 1, 1000000u));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int send_all(int fd, const char *p, size_t len, uint64_t until_ns)
{
	while (len) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n >= 0) {
			p += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			int ret = wait_for(fd, POLLOUT, until_ns);

			if (ret < 0)
				return ret;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

/* Reads up to the newline. Bytes before it, or -errno (-ECONNRESET when it ends before). */
static ssize_t receive_line(int fd, char *buf, size_t size, uint64_t until_ns)
{
	size_t len = 0;

	while (len < size) {
		ssize_t n = recv(fd, buf + len, size - len, MSG_DONTWAIT);
		char *end;

		if (n == 0)
			return -ECONNRESET;
		if (n < 0 && errno == EAGAIN) {
			int ret = wait_for(fd, POLLIN, until_ns);

			if (ret < 0)
				return ret;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		end = memchr(buf + len, '\n', (size_t)n);
		if (end)
			return end - buf;
		len += (size_t)n;
	}
	return -E2BIG;
}

static int call_failed(struct err *e, const char *path, unsigned timeout_ms, int error)
{
	switch (error) {
	case -ENOENT:
	case -ECONNREFUSED:
		return err_set(e, error,
			"nobody answers at '%s': is the volume's tandemfs running?", path);
	case -EACCES:
	case -EPERM:
		return err_set(
			e, error, "'%s': permission denied (root, or the daemon's user)", path);
	case -ETIMEDOUT:
		return err_set(e, error, "no answer from '%s' within %.1f s", path,
			(double)timeout_ms / 1000);
	case -ECONNRESET:
	case -EPIPE:
		return err_set(e, error, "'%s' closed the connection without an answer", path);
	default:
		return err_set(e, error, "'%s': %s", path, strerror(-error));
	}
}

int control_call(const char *path, const struct json *request, unsigned timeout_ms,
	struct json **ret_answer, struct err *e)
{
	uint64_t until = clock_mono_ns() + timeout_ms * NS_PER_MS;
	cleanup_close int fd = -1;
	cleanup_free char *buf = NULL;
	const char *text = json_text(request, false);
	struct sockaddr_un sa;
	ssize_t len;
	int ret;

	ret = control_address(path, &sa, e);
	if (ret < 0)
		return ret;
	buf = malloc(CONTROL_LINE_MAX);
	if (!buf)
		return err_set(e, -ENOMEM, "out of memory");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, -errno, "socket: %s", strerror(errno));
	/* A unix socket connects at once, or says EAGAIN while the other end's queue is full. */
	while (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return call_failed(e, path, timeout_ms, -errno);
		if (clock_mono_ns() >= until)
			return call_failed(e, path, timeout_ms, -ETIMEDOUT);
		poll(NULL, 0, 10);
	}
	ret = send_all(fd, text, strlen(text), until);
	if (ret == 0)
		ret = send_all(fd, "\n", 1, until);
	if (ret < 0 && ret != -EPIPE &&
		ret != -ECONNRESET) /* it may have said why before it closed */
		return call_failed(e, path, timeout_ms, ret);
	len = receive_line(fd, buf, CONTROL_LINE_MAX, until);
	if (len < 0)
		return call_failed(e, path, timeout_ms, (int)len);
	ret = json_parse(buf, (size_t)len, ret_answer, e);
	if (ret < 0)
		return err_wrap(e, "answer of '%s'", path);
	return 0;
}
