/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What operation.c decides is done here: a thread for each operation asks both sites' daemons for their
 * status (its own through the socket, the other's through that site's agent), keeps the operation on disk
 * whenever it has changed, and then gives the order. An order's answer is only a hint: what counts is the
 * status after it.
 *
 * On disk an operation is a file ID.json, written beside and renamed. A crash at any moment leaves the step
 * before, which is looked at again.
 *
 * Failure modes: an operation that cannot be written before an order gives no order and tries again. A file
 * that is damaged is told of and left alone.
 *
 * Threads: a worker has a copy of its own; `lock` protects those that the loop reads.
 */
#include "operations.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "log.h"
#include "operation.h"
#include "operations_disk.h"
#include "peer_call.h"

#define KEPT_MAX 100u
#define LOOK_US 100000u
#define CALL_MS 5000u

struct entry {
	struct operations *all;
	struct operation op; /* all->lock */
	bool working; /* the loop's */
};

struct operations {
	const struct agent_config *config;
	struct tasks *tasks;
	pthread_mutex_t lock;
	struct entry *entries[KEPT_MAX]; /* the loop's; the oldest first */
	unsigned count;
};

static uint64_t wall_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* ---- the worker ---- */

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
	if (peer_call(c, domain, path, is_status ? NULL : request, CALL_MS, stop, &http, &j, e))
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

/* For tests: TANDEMFS_FAULT_OPERATION=STEP or STEP:after, before or after that step's order. */
static void maybe_die(const struct operation *op, bool after)
{
	const char *fault = getenv("TANDEMFS_FAULT_OPERATION");
	char here[64];

	snprintf(
		here, sizeof(here), "%s%s", operation_step_name(op, op->at), after ? ":after" : "");
	if (fault && !strcmp(fault, here) && !operation_ended(op))
		raise(SIGKILL);
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

static void publish(struct entry *en, const struct operation *op)
{
	pthread_mutex_lock(&en->all->lock);
	en->op = *op;
	pthread_mutex_unlock(&en->all->lock);
}

static void work(void *ctx, const atomic_bool *stop)
{
	struct entry *en = ctx;
	const struct agent_config *c = en->all->config;
	struct operation op = en->op; /* nobody else changes it meanwhile */
	struct operation_observed o = {0};

	while (!atomic_load(stop) && !operation_ended(&op)) {
		struct operation before = op;
		enum operation_action action;
		struct err e;

		maybe_die(&op, false);
		observe(c, &op, stop, &o);
		if (atomic_load(stop))
			return;
		action = operation_step(&op, &o, wall_ms());
		if (op.at != before.at || op.state != before.state)
			o.refused = false;
		if (memcmp(&op, &before, sizeof(op)) && !op.dry_run &&
			operations_store(c, &op, &e)) {
			log_error("operation %s: %s", op.id, e.msg);
			op = before;
			usleep(LOOK_US * 10);
			continue;
		}
		publish(en, &op);
		if (op.at != before.at || op.state != before.state)
			log_info("operation %s: %s: %s: %s", op.id, op.volume,
				operation_step_name(&op, before.at), op.steps[before.at].message);
		if (action != OPERATION_LOOK && action != OPERATION_END) {
			give_order(c, &op, action, stop, &o);
			maybe_die(&op, true);
		} else if (op.at == before.at) {
			usleep(LOOK_US);
		}
	}
}

static void done(void *ctx)
{
	struct entry *en = ctx;

	en->working = false;
}

/* ---- the loop's side ---- */

static struct entry *add(struct operations *all, const struct operation *op)
{
	struct entry *en;

	if (all->count == KEPT_MAX) {
		unsigned i = 0;

		while (i < all->count && all->entries[i]->working)
			i++;
		if (i == all->count)
			return NULL;
		operations_forget(all->config, all->entries[i]->op.id);
		free(all->entries[i]);
		all->count--;
		memmove(&all->entries[i], &all->entries[i + 1],
			(all->count - i) * sizeof(all->entries[0]));
	}
	en = calloc(1, sizeof(*en));
	ensure(en);
	en->all = all;
	en->op = *op;
	all->entries[all->count++] = en;
	return en;
}

static int start(struct entry *en)
{
	int ret;

	en->working = true;
	ret = task_start(en->all->tasks, work, done, en);
	if (ret)
		en->working = false;
	return ret;
}

static void found(void *ctx, const struct operation *op)
{
	struct operations *all = ctx;
	struct operation again = *op;
	struct entry *en;

	operation_resume(&again, wall_ms());
	en = add(all, &again);
	if (!en || operation_ended(&again))
		return;
	log_info("operation %s: %s: goes on at '%s'", again.id, again.volume,
		operation_step_name(&again, again.at));
	if (start(en))
		log_error("operation %s: too much is being done; restart the agent", again.id);
}

struct operations *operations_new(const struct agent_config *c, struct tasks *t)
{
	struct operations *all = calloc(1, sizeof(*all));

	ensure(all);
	all->config = c;
	all->tasks = t;
	pthread_mutex_init(&all->lock, NULL);
	operations_load(c, found, all);
	return all;
}

void operations_free(struct operations *all)
{
	if (!all)
		return;
	for (unsigned i = 0; i < all->count; i++)
		free(all->entries[i]);
	pthread_mutex_destroy(&all->lock);
	free(all);
}

/* Its thread may still have to be joined. */
static bool is_under_way(struct operations *all, const struct entry *en)
{
	bool ended;

	pthread_mutex_lock(&all->lock);
	ended = operation_ended(&en->op);
	pthread_mutex_unlock(&all->lock);
	return en->working && !ended;
}

/* Where the newest failover that came to its end came from. */
static const char *came_from(struct operations *all, const char *volume)
{
	for (unsigned i = all->count; i--;) {
		const struct operation *op = &all->entries[i]->op;

		if (!is_under_way(all, all->entries[i]) && op->state == OPERATION_DONE &&
			!op->dry_run && op->from[0] && !strcmp(op->volume, volume))
			return op->from;
	}
	return NULL;
}

static int decode(
	struct operations *all, const struct json *args, struct operation *op, struct err *e)
{
	const char *kind = json_get_string(args, "kind", "");
	const char *volume = json_get_string(args, "volume", ""),
		   *to = json_get_string(args, "to", "");
	int64_t ms = json_get_int(args, "timeout_ms", OPERATION_TIMEOUT_MS);

	op->unplanned = !strcmp(kind, "unplanned-failover");
	op->failback = !strcmp(kind, "failback");
	if (strcmp(kind, operation_kind(op)) != 0)
		return err_set(e, -EINVAL, "\"kind\" is failover, failback or unplanned-failover");
	if (!volume[0] || strlen(volume) > VOLUME_NAME_MAX || strchr(volume, '/'))
		return err_set(e, -EINVAL, "\"volume\" is missing or no name");
	if (ms < 1 || ms > (int64_t)OPERATION_TIMEOUT_MS_MAX)
		return err_set(
			e, -EINVAL, "\"timeout_ms\" is from 1 to %u", OPERATION_TIMEOUT_MS_MAX);
	if (op->unplanned && !to[0])
		to = all->config->domain;
	if (op->failback && !to[0]) {
		to = came_from(all, volume);
		if (!to)
			return err_set(e, -ENOENT,
				"this agent knows of no failover of '%s': type 'tandemctl failover "
				"%s "
				"--to DOMAIN'",
				volume, volume);
	}
	if (strcmp(to, all->config->domain) != 0 && (op->unplanned || !peer_find(all->config, to)))
		return err_set(e, -EINVAL,
			op->unplanned
				? "an unplanned failover is typed at the site that goes on: "
				  "'%.63s' is "
				  "not '%s'"
				: "\"to\": '%.63s' is neither a peer of this agent nor its own "
				  "domain '%s'",
			to, all->config->domain);
	snprintf(op->volume, sizeof(op->volume), "%s", volume);
	snprintf(op->to, sizeof(op->to), "%s", to);
	op->timeout_ms = (uint64_t)ms;
	op->dry_run = json_get_bool(args, "dry_run", false);
	return 0;
}

int operations_begin(
	struct operations *all, const struct json *args, struct json **ret_j, struct err *e)
{
	static unsigned serial;
	struct operation op = {0};
	struct entry *en;
	int ret = decode(all, args, &op, e);

	if (ret)
		return ret;
	for (unsigned i = 0; i < all->count; i++)
		if (is_under_way(all, all->entries[i]) &&
			!strcmp(all->entries[i]->op.volume, op.volume))
			return err_set(e, -EBUSY,
				"operation %s of '%s' is under way: 'tandemctl get "
				"operations' shows it",
				all->entries[i]->op.id, op.volume);
	op.created_ms = wall_ms();
	op.deadline_ms = op.created_ms + op.timeout_ms;
	snprintf(op.id, sizeof(op.id), "%013llu-%02u", (unsigned long long)op.created_ms,
		serial++ % 100);
	ret = op.dry_run ? 0 : operations_store(all->config, &op, e);
	if (ret)
		return ret;
	en = add(all, &op);
	if (!en || start(en)) {
		operations_forget(all->config, op.id);
		if (en) {
			all->count--;
			free(en);
		}
		return err_set(e, -EBUSY, "too much is being done; repeat this in a moment");
	}
	log_info("operation %s: %s of '%s' to '%s'%s", op.id, operation_kind(&op), op.volume, op.to,
		op.dry_run ? ", a dry run" : "");
	*ret_j = operation_json(&op);
	return 0;
}

static struct json *tell(struct operations *all, unsigned i)
{
	struct operation op;

	pthread_mutex_lock(&all->lock);
	op = all->entries[i]->op;
	pthread_mutex_unlock(&all->lock);
	return operation_json(&op);
}

struct json *operations_list(struct operations *all)
{
	struct json *list = json_array();

	for (unsigned i = 0; i < all->count; i++)
		json_append(list, tell(all, i));
	return list;
}

struct json *operations_get(struct operations *all, const char *id)
{
	for (unsigned i = 0; i < all->count; i++)
		if (!strcmp(all->entries[i]->op.id, id))
			return tell(all, i);
	return NULL;
}
