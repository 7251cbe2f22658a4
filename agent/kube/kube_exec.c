/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Commands in pods. Closing the connection ends nothing in the container, so that a command begins by saying the
 * number of its process, by which it is ended when its time is over: with its children, where it leads a group, as what
 * is run in a container does.
 */
#include "kube_exec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "http.h"
#include "kube_impl.h"
#include "ws.h"

#define END_MS 10000u
#define SAY_AND_RUN "echo $$; exec sh -c \"$0\""
#define SAY_AND_LEAVE "sh -c \"$0\" >/dev/null 2>&1 </dev/null & echo $!"

/* .../exec with a shell of that script, to be freed. */
static char *path_of(const char *ns, const char *pod, const char *container, const char *script,
	const char *command)
{
	cleanup_free char *n = http_escape(ns), *p = http_escape(pod),
			  *c = http_escape(container ? container : ""), *s = http_escape(script),
			  *v = http_escape(command);
	char *path;

	ensure(asprintf(&path,
		       "/api/v1/namespaces/%s/pods/%s/"
		       "exec?command=sh&command=-c&command=%s&command=%s"
		       "&stdout=true&stderr=true%s%s",
		       n, p, s, v, *c ? "&container=" : "", c) > 0);
	return path;
}

/* Takes in what has come whole, and leaves the rest at the beginning. */
static int take_frames(
	struct http_stream *s, struct ws_channels *c, uint8_t *buf, size_t *len, struct err *e)
{
	size_t at = 0;
	ssize_t n;

	while ((n = ws_decode(buf + at, *len - at, &(struct ws_frame){0})) > 0) {
		struct ws_frame f = {0};
		uint8_t pong[WS_HEAD_MAX + 125];
		int ret;

		ws_decode(buf + at, *len - at, &f);
		ret = ws_channels_take(c, &f, e);
		if (!ret && f.opcode == WS_PING)
			ret = http_stream_write(
				s, pong, ws_encode(pong, WS_PONG, f.data, f.len), e);
		if (ret)
			return ret;
		at += (size_t)n;
	}
	if (n < 0)
		return err_set(e, (int)n, "the answer is no WebSocket's");
	*len -= at;
	memmove(buf, buf + at, *len);
	return 0;
}

static int run(
	struct kube *k, const char *path, unsigned timeout_ms, struct ws_channels *c, struct err *e)
{
	uint64_t end_ns = clock_mono_ns() + timeout_ms * NS_PER_MS;
	size_t len = 0, size = WS_FRAME_MAX + WS_HEAD_MAX;
	cleanup_free uint8_t *buf = malloc(size);
	struct http_stream *s = NULL;
	int ret = kube_stream(k, path, "v4.channel.k8s.io", timeout_ms, &s, e);

	ensure(buf);
	while (!ret && !c->ended) {
		ssize_t n = http_stream_read(s, buf + len, size - len, end_ns, e);

		if (n < 0)
			ret = (int)n;
		if (n <= 0)
			break;
		len += (size_t)n;
		ret = take_frames(s, c, buf, &len, e);
	}
	http_stream_close(s);
	return ret;
}

int kube_exec_end(struct kube *k, const char *ns, const char *pod, const char *container, long pid,
	struct err *e)
{
	cleanup_free char *path = NULL;
	struct ws_channels c = {0};
	char number[24];
	int ret;

	snprintf(number, sizeof(number), "%ld", pid);
	path = path_of(ns, pod, container,
		"kill -- \"-$0\" 2>/dev/null || kill \"$0\" 2>/dev/null || :", number);
	ret = run(k, path, END_MS, &c, e);
	return ret ? ret : ws_channels_exit(&c, e);
}

static long pid_of(const struct ws_channels *c)
{
	char *end;
	long pid = strtol(c->out, &end, 10);

	return pid > 1 && *end == '\n' ? pid : 0; /* 1 is the container itself */
}

static const char *last_line(char *text)
{
	char *nl;

	for (size_t n = strlen(text); n && text[n - 1] == '\n'; n--)
		text[n - 1] = '\0';
	nl = strrchr(text, '\n');
	return nl ? nl + 1 : text;
}

int kube_exec(struct kube *k, const char *ns, const char *pod, const char *container,
	const char *command, unsigned timeout_ms, struct err *e)
{
	cleanup_free char *path = path_of(ns, pod, container, SAY_AND_RUN, command);
	struct ws_channels c = {0};
	struct err none = {0};
	int ret = run(k, path, timeout_ms, &c, e);

	if (ret == -ETIMEDOUT && pid_of(&c))
		kube_exec_end(k, ns, pod, container, pid_of(&c), &none);
	if (!ret)
		ret = ws_channels_exit(&c, e);
	if (ret > 0)
		err_set(e, ret, "exit status %d: %.150s", ret,
			c.nerrors ? last_line(c.errors) : "it said nothing");
	return ret;
}

int kube_exec_begin(struct kube *k, const char *ns, const char *pod, const char *container,
	const char *command, unsigned timeout_ms, long *ret_pid, struct err *e)
{
	cleanup_free char *path = path_of(ns, pod, container, SAY_AND_LEAVE, command);
	struct ws_channels c = {0};
	int ret = run(k, path, timeout_ms, &c, e);

	if (!ret)
		ret = ws_channels_exit(&c, e);
	*ret_pid = pid_of(&c);
	if (!ret && !*ret_pid)
		ret = err_set(e, -EPROTO, "it did not say its process");
	return ret;
}
