/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The REST API: a request is decoded, what it needs is asked of the supervision or of a daemon, and the
 * answer is made when that is there. What is open is in a list, for the end.
 *
 * What blocks (making and removing replicas) is a task, a thread; one at a time for each volume.
 *
 * Failure modes: a daemon that does not run or does not answer is 503 or 504 for a verb, and null in a
 * status, which is then answered after two seconds at the latest.
 */
#include "api.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon_call.h"
#include "log.h"
#include "metrics.h"
#include "operations.h"
#include "ready.h"
#include "server.h"
#include "task.h"
#include "volume_make.h"

#define VERB_TIMEOUT_MS 60000
#define VERB_TIMEOUT_MS_MAX 86400000
#define JSON "application/json"
#define PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"

struct open_request {
	struct api *api;
	struct open_request *next;
	struct server_request *request;
	struct api_request decoded;
	struct daemon_call *call;
	bool task; /* its thread runs; the request stays until that ends */
	int code; /* of the task */
	struct err e;
	char address[256]; /* of a draft */
};

struct api {
	struct loop *loop;
	const struct agent_config *config;
	struct supervisor *supervisor;
	struct server *server;
	struct tasks *tasks;
	struct operations *operations;
	struct open_request *open;
};

/* Takes j. */
static void answer_json(struct server_request *r, unsigned status, struct json *j)
{
	char *text;
	int n = asprintf(&text, "%s\n", json_text(j, false));

	ensure(n > 0);
	server_answer(r, status, JSON, text);
	free(text);
	json_free(j);
}

static void answer_error(struct server_request *r, unsigned status, int code, const char *msg)
{
	struct json *j = json_object();

	json_set_string(j, "error", msg);
	json_set_int(j, "code", code);
	answer_json(r, status, j);
}

static struct json *about(const struct api *a)
{
	struct json *j = json_object();

	json_set_string(j, "domain", a->config->domain);
	json_set_string(j, "version", API_VERSION);
	return j;
}

/* Takes it from the list and frees it; the request is left to be answered. */
static struct server_request *finish(struct open_request *o)
{
	struct server_request *r = o->request;

	for (struct open_request **at = &o->api->open; *at; at = &(*at)->next) {
		if (*at == o) {
			*at = o->next;
			break;
		}
	}
	json_free(o->decoded.args);
	free(o);
	return r;
}

static void answer_volume(struct api *a, struct server_request *r, const char *volume)
{
	struct json *j = supervisor_volume(a->supervisor, volume);
	char text[128];

	if (j) {
		answer_json(r, 200, j);
		return;
	}
	snprintf(text, sizeof(text), "no volume '%s' on this node", volume);
	answer_error(r, 404, -ENOENT, text);
}

/* The daemons have said what they do. */
static void refreshed(void *ctx)
{
	struct open_request *o = ctx;
	struct api *a = o->api;
	struct api_request decoded = o->decoded;
	struct server_request *r = finish(o);
	struct json *j;

	if (decoded.what == API_VOLUME) {
		answer_volume(a, r, decoded.volume);
	} else if (decoded.what == API_STATUS) {
		j = about(a);
		json_set(j, "volumes", supervisor_volumes(a->supervisor));
		answer_json(r, 200, j);
	} else {
		char *text;

		j = supervisor_volumes(a->supervisor);
		text = metrics_text(j, a->config->domain, API_VERSION);
		server_answer(r, 200, PROMETHEUS, text);
		free(text);
		json_free(j);
	}
}

static void verb_answered(void *ctx, struct daemon_answer *d)
{
	struct open_request *o = ctx;
	struct server_request *r = finish(o);

	if (d->code == 0)
		answer_json(
			r, api_http_status((int)json_get_int(d->json, "code", -EPROTO)), d->json);
	else
		answer_error(r, d->code == -ETIMEDOUT ? 504 : 503, d->code, d->e.msg);
}

static void start_verb(struct open_request *o)
{
	struct api *a = o->api;
	int64_t timeout_ms = json_get_int(o->decoded.args, "timeout_ms", VERB_TIMEOUT_MS);
	const char *operation = json_get_string(o->decoded.args, "operation", "");
	char socket[256], text[128];

	if (o->request->peer)
		log_info("rest: %s: operation %.31s of '%s' asks:", o->decoded.volume, operation,
			o->request->peer);
	json_remove(o->decoded.args, "operation");
	json_remove(o->decoded.args, "timeout_ms"); /* ours, not the daemon's */
	timeout_ms = MAX(1, MIN(timeout_ms, VERB_TIMEOUT_MS_MAX));
	if (!supervisor_socket(a->supervisor, o->decoded.volume, socket, sizeof(socket))) {
		snprintf(text, sizeof(text), "no volume '%s' on this node", o->decoded.volume);
		answer_error(finish(o), 404, -ENOENT, text);
		return;
	}
	log_info("rest: %s: %s", o->decoded.volume, json_get_string(o->decoded.args, "verb", ""));
	o->call = daemon_call_start(
		a->loop, socket, o->decoded.args, (unsigned)timeout_ms, verb_answered, o);
}

/* ---- what blocks, in a thread ---- */

static int do_task(struct open_request *o, const atomic_bool *stop)
{
	const struct agent_config *c = o->api->config;
	const struct json *args = o->decoded.args;
	const char *volume = o->decoded.volume, *domain = json_get_string(args, "domain", "");
	struct replica_spec spec;
	int ret;

	switch (o->decoded.what) {
	case API_JOIN:
		ret = replica_join(c, volume, json_get_string(args, "descriptor", ""), &o->e);
		return ret ? ret : replica_publish(c, volume, &o->e);
	case API_REMOVE:
		return replica_remove(c, volume, stop, &o->e);
	case API_DELETE:
		return volume_delete(c, volume, json_get_bool(args, "local", false), stop, &o->e);
	default:
		break;
	}
	ret = replica_spec_parse(volume, args, &spec, &o->e);
	if (ret)
		return ret;
	if (o->decoded.what == API_DRAFT)
		return replica_draft(c, &spec, o->address, &o->e);
	if (domain[0]) {
		spec.npeers = 1;
		snprintf(spec.peers[0].domain, sizeof(spec.peers[0].domain), "%s", domain);
		spec.peers[0].address[0] = '\0';
	}
	return volume_create(c, &spec, stop, &o->e);
}

static void task_work(void *ctx, const atomic_bool *stop)
{
	struct open_request *o = ctx;

	o->code = do_task(o, stop);
}

static void task_done(void *ctx)
{
	struct open_request *o = ctx;
	struct api *a = o->api;
	int code = o->code;
	struct err e = o->e;
	struct json *j;

	if (code) {
		log_warn("rest: %s: %s", o->decoded.volume, e.msg);
		answer_error(finish(o), api_http_status(code), code, e.msg);
		return;
	}
	j = about(a);
	if (o->address[0])
		json_set_string(j, "address", o->address);
	supervisor_again(a->supervisor);
	answer_json(finish(o), 200, j);
}

static bool is_busy(const struct api *a, const char *volume)
{
	for (const struct open_request *o = a->open; o; o = o->next)
		if (o->task && !strcmp(o->decoded.volume, volume))
			return true;
	return false;
}

static void start_task(struct open_request *o)
{
	char text[128];

	if (is_busy(o->api, o->decoded.volume)) {
		snprintf(text, sizeof(text),
			"volume '%s' is being worked on; repeat this in a moment",
			o->decoded.volume);
		answer_error(finish(o), 503, -EBUSY, text);
		return;
	}
	if (task_start(o->api->tasks, task_work, task_done, o)) {
		answer_error(
			finish(o), 503, -EBUSY, "too much is being done; repeat this in a moment");
		return;
	}
	o->task = true;
}

/* Begins one, or tells of those that are. True when it was about them. */
static bool answer_operation(struct api *a, struct server_request *r, struct api_request *d)
{
	struct json *j = NULL;
	struct err e = {0};
	int ret = 0;

	if (d->what == API_OPERATIONS) {
		j = about(a);
		json_set(j, "operations", operations_list(a->operations));
	} else if (d->what == API_OPERATION) {
		j = operations_get(a->operations, d->operation);
		ret = j ? 0 : err_set(&e, -ENOENT, "no such operation");
	} else if (d->what == API_BEGIN) {
		ret = operations_begin(a->operations, d->args, &j, &e);
		json_free(d->args);
	} else {
		return false;
	}
	if (ret)
		answer_error(r, api_http_status(ret), ret, e.msg);
	else
		answer_json(r, 200, j);
	return true;
}

static int ready(const struct agent_config *c, struct err *e)
{
	int ret = c->host_mountinfo[0] ? ready_check(c->mounts, c->host_mountinfo, e) : 0;

	return ret || !c->node_holders ? ret : ready_holders(c->run_dir, e);
}

static void handle(void *ctx, struct server_request *r)
{
	struct api *a = ctx;
	struct api_request decoded;
	struct open_request *o;
	struct err e = {0};
	unsigned status = api_decode(r->method, r->path, r->body, r->body_len, &decoded, &e);

	if (!status && decoded.what == API_METRICS && !a->config->metrics)
		status = err_set(&e, -ENOENT, "metrics are switched off") ? 404 : 0;
	else if (!status && r->peer && !api_is_for_peers(&decoded)) {
		json_free(decoded.args);
		status = err_set(&e, -EPERM, "this is for this site's own processes") ? 403 : 0;
	} else if (!status && decoded.what == API_READY) {
		status = ready(a->config, &e) ? 503 : 0;
	}
	if (status) {
		answer_error(r, status, e.code, e.msg);
		return;
	}
	if (answer_operation(a, r, &decoded))
		return;
	if (decoded.what == API_HEALTH || decoded.what == API_READY ||
		decoded.what == API_VOLUMES) {
		struct json *j = about(a);

		if (decoded.what == API_VOLUMES)
			json_set(j, "volumes", supervisor_list(a->supervisor));
		answer_json(r, 200, j);
		return;
	}
	o = calloc(1, sizeof(*o));
	ensure(o);
	o->api = a;
	o->request = r;
	o->decoded = decoded;
	o->next = a->open;
	a->open = o;
	if (api_is_task(decoded.what))
		start_task(o);
	else if (decoded.what == API_VERB)
		start_verb(o);
	else
		supervisor_refresh(a->supervisor,
			decoded.what == API_VOLUME ? o->decoded.volume : NULL, refreshed, o);
}

int api_new(struct loop *l, const struct agent_config *c, struct supervisor *s,
	struct api **ret_api, struct err *e)
{
	struct api *a = calloc(1, sizeof(*a));
	int ret;

	ensure(a);
	a->loop = l;
	a->config = c;
	a->supervisor = s;
	ret = server_new(l, c, handle, a, &a->server, e);
	if (ret) {
		free(a);
		return ret;
	}
	a->tasks = tasks_new(l);
	a->operations = operations_new(c, a->tasks);
	*ret_api = a;
	return 0;
}

void api_free(struct api *a)
{
	if (!a)
		return;
	tasks_free(a->tasks);
	operations_free(a->operations);
	while (a->open) {
		daemon_call_cancel(a->open->call);
		answer_error(finish(a->open), 503, -ESHUTDOWN, "the agent stops");
	}
	server_free(a->server);
	free(a);
}
