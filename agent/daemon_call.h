/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call to a daemon's control socket that does not block: the event loop's counterpart of
 * control_call(). On the loop's thread.
 */
#ifndef AGENT_DAEMON_CALL_H
#define AGENT_DAEMON_CALL_H

#include "json.h"
#include "loop.h"

struct daemon_answer {
	int code; /* 0: there is an answer; -ENOENT, -ECONNREFUSED: nobody listens; -ETIMEDOUT, ... */
	int pid; /* who listens; 0: nobody, or a process of another PID namespace */
	bool connected;
	struct json *json; /* the callback's to free; NULL without an answer */
	struct err e;
};

struct daemon_call;

/* `done` is called once, never from within this function, unless the call is cancelled before. The request
 * is borrowed for the call. */
struct daemon_call *daemon_call_start(struct loop *l, const char *path, const struct json *request,
	unsigned timeout_ms, void (*done)(void *ctx, struct daemon_answer *a), void *ctx);
/* NULL is allowed. */
void daemon_call_cancel(struct daemon_call *c);

#endif
