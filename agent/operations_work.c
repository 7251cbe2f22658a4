/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An operation's thread: asks both sites' daemons for their status (its own through the socket, the other's
 * through that site's agent), lets operation.c decide, keeps the operation on disk whenever it has changed, and
 * then gives the order. An order's answer is only a hint: what counts is the status after it.
 *
 * Failure modes: an operation that cannot be written before an order gives no order and tries again. One that
 * waits for the others of its group ends its thread, and gets another one when that is decided.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "log.h"
#include "operations_disk.h"
#include "operations_impl.h"
#include "peer_volume.h"

#define LOOK_US 100000u
#define CALL_MS 5000u

uint64_t operations_wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void socket_of(const struct agent_config *c, const char *volume, char *ret, size_t size)
{
	snprintf(ret, size, "%.4000s/%s.sock", c->run_dir, volume);
}

/* A daemon's answer to a verb; the caller's. NULL: `e` says why. */
static struct json *ask(const struct agent_config *c, const struct operation *op,
	const char *domain, struct json *request, const atomic_bool *stop, struct err *e)
{
	const char *verb = json_get_string(request, "verb", "");
	bool is_status = !strcmp(verb, "status");
	char path[4200];
	struct json *j = NULL, *status;
	unsigned http;

	if (!strcmp(domain, c->domain)) {
		socket_of(c, op->volume, path, sizeof(path));
		return control_call(path, request, CALL_MS, &j, e) ? NULL : j;
	}
	snprintf(path, sizeof(path), "/v1/volumes/%s%s%s", op->volume, is_status ? "" : "/",
		is_status ? "" : verb);
	json_set_string(request, "operation", op->id);
	json_set_int(request, "timeout_ms", CALL_MS - 500);
	if (peer_volume_call(c, domain, op->volume, path, is_status ? NULL : request, CALL_MS, stop,
		    &http, &j, e))
		return NULL;
	if (json_get_string(j, "error", NULL)) {
		err_set(e, (int)json_get_int(j, "code", -EIO), "%s",
			json_get_string(j, "error", ""));
		json_free(j);
		return NULL;
	}
	if (!is_status)
		return j;
	status = json_copy(json_get(j, "status"));
	if (!status || json_get_double(json_get(j, "supervision"), "answered_s", 0) > 3) {
		err_set(e, -ECONNREFUSED, "its daemon does not answer");
		json_free(status);
		status = NULL;
	}
	json_free(j);
	return status;
}

static void look(const struct agent_config *c, const struct operation *op, const char *domain,
	const atomic_bool *stop, struct operation_side *ret_s)
{
	struct json *request = json_object(), *j;
	struct err e = {0};

	json_set_string(request, "verb", "status");
	j = ask(c, op, domain, request, stop, &e);
	json_free(request);
	*ret_s = (struct operation_side){0};
	if (j)
		operation_side_parse(op, j, ret_s);
	else
		snprintf(ret_s->why, sizeof(ret_s->why), "%s", e.msg);
	json_free(j);
}

/* Is it a "no" for good? A question is none: something is missing that may come back. */
static bool is_final(int code)
{
	return code < 0 && code != -EBUSY && code != -EAGAIN && code != CONTROL_SOON &&
	       code != -ECONNRESET && code != -ENOTCONN && code != -ETIMEDOUT;
}

static void give_order(const struct agent_config *c, const struct operation *op,
	enum operation_action action, const atomic_bool *stop, struct operation_observed *o)
{
	bool old = action == OPERATION_DEMOTE || action == OPERATION_PROMOTE_OLD;
	struct json *request = json_object(), *j;
	struct err e = {0};

	json_set_string(request, "verb",
		action == OPERATION_DEMOTE	? "demote"
		: action == OPERATION_TAKE_OVER ? "deactivate"
						: "promote");
	if (action == OPERATION_TAKE_OVER) {
		json_set_string(request, "domain", op->from);
		json_set_bool(request, "yes", true); /* that is what 'unplanned' says */
	}
	j = ask(c, op, old ? op->from : op->to, request, stop, &e);
	json_free(request);
	o->refused = j && is_final((int)json_get_int(j, "code", 0));
	snprintf(o->words, sizeof(o->words), "%s", j ? json_get_string(j, "text", "") : e.msg);
	json_free(j);
}

/* For tests: TANDEMFS_FAULT_OPERATION=STEP or STEP:after, before or after that step's order; with :stop behind it the
 * process is stopped there, once, in place of killed. */
static void maybe_die(const struct operation *op, bool after)
{
	static atomic_bool stopped;
	const char *fault = getenv("TANDEMFS_FAULT_OPERATION");
	size_t len;
	char here[64];

	snprintf(
		here, sizeof(here), "%s%s", operation_step_name(op, op->at), after ? ":after" : "");
	len = strlen(here);
	if (!fault || strncmp(fault, here, len) != 0 || operation_ended(op))
		return;
	if (!fault[len])
		raise(SIGKILL);
	else if (!strcmp(fault + len, ":stop") && !atomic_exchange(&stopped, true))
		raise(SIGSTOP);
}

static void observe(const struct agent_config *c, struct operation *op, const atomic_bool *stop,
	struct operation_observed *o)
{
	look(c, op, op->to, stop, &o->to);
	if (!op->at && o->to.answers && !op->from[0] && strcmp(o->to.active, op->to) != 0)
		snprintf(op->from, sizeof(op->from), "%s", o->to.active);
	if (!op->unplanned && op->from[0])
		look(c, op, op->from, stop, &o->from);
}

/* What the loop wants of it, and what it should know of its group. */
static void take_wishes(struct entry *en, struct operation *op, struct operation_observed *o)
{
	pthread_mutex_lock(&en->all->lock);
	if (en->cancel && operation_can_cancel(op, &(struct err){0}) == 0)
		op->cancelled = true;
	pthread_mutex_unlock(&en->all->lock);
	if (operation_phase(op) != OPERATION_OTHERS)
		return;
	o->others = en->verdict;
	snprintf(o->words, sizeof(o->words), "%s", en->verdict_words);
}

static void publish(struct entry *en, const struct operation *op)
{
	pthread_mutex_lock(&en->all->lock);
	en->op = *op;
	pthread_mutex_unlock(&en->all->lock);
}

/* One look, and what follows from it. False: the thread ends here. */
static bool work_once(struct entry *en, struct operation *op, struct operation_observed *o,
	const struct agent_config *c, const atomic_bool *stop)
{
	struct operation before = *op;
	enum operation_action action;
	struct err e;

	maybe_die(op, false);
	take_wishes(en, op, o);
	if (operation_phase(op) != OPERATION_OTHERS)
		observe(c, op, stop, o);
	if (atomic_load(stop))
		return false;
	action = operation_step(op, o, operations_wall_ms());
	if (op->at != before.at || op->state != before.state) {
		o->refused = false;
		o->words[0] = '\0';
	}
	if (memcmp(op, &before, sizeof(*op)) && !op->dry_run && operations_store(c, op, &e)) {
		log_error("operation %s: %s", op->id, e.msg);
		*op = before;
		usleep(LOOK_US * 10);
		return true;
	}
	publish(en, op);
	if (op->at != before.at || op->state != before.state)
		log_info("operation %s: %s: %s: %s", op->id, op->volume,
			operation_step_name(op, before.at), op->steps[before.at].message);
	if (action == OPERATION_PARK)
		return false;
	if (action != OPERATION_LOOK && action != OPERATION_END) {
		give_order(c, op, action, stop, o);
		maybe_die(op, true);
	} else if (op->at == before.at) {
		usleep(LOOK_US);
	}
	return true;
}

void operation_work(void *ctx, const atomic_bool *stop)
{
	struct entry *en = ctx;
	struct agent_config *c = malloc(sizeof(*c)); /* of its own: the loop's may change */
	struct operation op = en->op; /* nobody else changes it meanwhile */
	struct operation_observed o = {0};

	ensure(c);
	do
		agent_config_snapshot(en->all->config, c);
	while (!atomic_load(stop) && !operation_ended(&op) && work_once(en, &op, &o, c, stop));
	free(c);
}
