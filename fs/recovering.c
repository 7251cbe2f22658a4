/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who answers on the control socket before the commit thread does: recovery takes seconds on a large
 * journal or a slow disk, on that very thread, and a person shall not be told that nothing runs. A small
 * thread with a loop of its own owns the socket from the moment that the replica is locked (so that it never
 * takes the socket from a daemon that runs) until the commit thread's loop takes it over, clients and all.
 * It answers each request at once: status with the role "recovering", everything else with a refusal. Where the
 * recovery has found that it cannot go on, and the process stays to say so (volume_damaged.c), both say why.
 *
 * Failure modes:
 * - The recovery fails: the thread ends and the socket's name goes away, then the process.
 * - The process dies, or starts again in place (exec): the name stays, of a dead socket, and is replaced.
 * - The socket or the thread cannot be made: the start fails with the reason, before anything is read.
 * - The loop fails: the thread ends; whoever asks waits until the commit thread takes over.
 * - A client is in the middle of a line at the hand-over: it goes along, and the commit thread answers.
 *
 * Shared with the thread: the configuration and started_ns, which are constant, and `stop`.
 */
#include "volume_impl.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

struct recovering {
	struct volume *v;
	struct loop *loop;
	struct control_server *server;
	pthread_t thread;
	atomic_bool stop;
	_Atomic(const char *) why; /* it does not go on; NULL: it recovers */
};

static struct json *status(const struct volume *v, const char *why)
{
	struct json *j = json_object();

	json_set_string(j, "volume", v->cfg->name);
	json_set_string(j, "domain", v->cfg->domain);
	json_set_string(j, "role", "recovering");
	json_set_string(j, "mount", v->cfg->mount);
	json_set_bool(j, "mounted", false);
	json_set_string(j, "trouble", why ? why : "");
	json_set_string(j, "next", "");
	json_set_double(
		j, "uptime_s", (double)(clock_mono_ns() - v->started_ns) / (double)NS_PER_S);
	json_set(j, "in_sync", json_array());
	json_set(j, "inactive", json_array());
	json_set(j, "peers", json_array());
	return j;
}

static void answer(void *ctx, struct control_request *r)
{
	const struct recovering *c = ctx;
	const char *why = atomic_load(&c->why);

	if (!strcmp(r->verb, "status"))
		control_answer(r, 0, "", status(c->v, why));
	else if (!strcmp(r->verb, "ping"))
		control_answer(r, 0, "", NULL);
	else if (why)
		control_answer(r, -EIO, why, NULL);
	else
		control_answer(r, CONTROL_SOON,
			"recovering its journal: nothing was changed, try again in a moment", NULL);
}

static void *run(void *arg)
{
	struct recovering *c = arg;
	int ret = 0;

	pthread_setname_np(pthread_self(), "recovering");
	while (!ret && !atomic_load(&c->stop))
		ret = loop_run_once(c->loop, UINT64_MAX);
	if (ret)
		log_warn("control: nobody answers during recovery: %s", strerror(-ret));
	return NULL;
}

int recovering_start(struct volume *v, struct err *e)
{
	struct recovering *c = calloc(1, sizeof(*c));
	char path[4200];
	int ret;

	ensure(c);
	c->v = v;
	ret = loop_new(&c->loop);
	if (ret) {
		free(c);
		return err_set(e, ret, "an event loop: %s", strerror(-ret));
	}
	snprintf(path, sizeof(path), "%s/%s.sock", v->cfg->run_dir, v->cfg->name);
	ret = control_listen(c->loop, path, answer, c, &c->server, e);
	if (!ret) {
		ret = -pthread_create(&c->thread, NULL, run, c);
		if (ret)
			err_set(e, ret, "a thread: %s", strerror(-ret));
	}
	if (ret) {
		control_close(c->server);
		loop_free(c->loop);
		free(c);
		return ret;
	}
	v->recovering = c;
	return 0;
}

static void join(struct recovering *c)
{
	atomic_store(&c->stop, true);
	loop_wake(c->loop);
	pthread_join(c->thread, NULL);
}

int recovering_hand_over(struct volume *v, struct err *e)
{
	struct recovering *c = v->recovering;
	int ret;

	join(c);
	v->control = c->server;
	ret = control_move(c->server, v->loop, control_handle, v);
	loop_free(c->loop);
	free(c);
	v->recovering = NULL;
	return ret ? err_set(e, ret, "control: %s", strerror(-ret)) : 0;
}

void recovering_refuse(struct volume *v, const char *why)
{
	atomic_store(&v->recovering->why, why);
}

void recovering_stop(struct volume *v)
{
	struct recovering *c = v->recovering;

	if (!c)
		return;
	join(c);
	control_close(c->server);
	loop_free(c->loop);
	free(c);
	v->recovering = NULL;
}
