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

#include "clock.h"
#include "daemon_call.h"
#include "expiry.h"
#include "log.h"
#include "metrics.h"
#include "operations.h"
#include "ready.h"
#include "server.h"
#include "task.h"
#include "upgrades.h"
#include "volume_make.h"

#define EXPIRY_LOOK_NS (5 * NS_PER_S) /* between two looks at the certificates */
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
	bool made, holder; /* a new volume, and what keeps its mount here */
};

struct api {
	struct loop *loop;
	const struct agent_config *config;
	struct supervisor *supervisor;
	struct server *server;
	struct tasks *tasks;
	struct operations *operations;
	struct upgrades *upgrades;
	struct open_request *open;
	struct expiry expiry;
	struct loop_timer expiry_timer;
	int (*reload)(void *ctx, struct err *e);
	void *reload_ctx;
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
	json_set_string(j, "node", a->config->node);
	json_set_string(j, "version", API_VERSION);
	return j;
}

static int64_t now_s(void)
{
	return (int64_t)(clock_real_ns() / NS_PER_S);
}

static int ready(const struct agent_config *c, struct err *e)
{
	int ret = c->host_mountinfo[0] ? ready_check(c->mounts, c->host_mountinfo, e) : 0;

	return ret || !c->node_holders ? ret : ready_holders(c->run_dir, e);
}

/* "trouble" and "next", where a certificate of this site ends soon. */
static void about_expiry(const struct api *a, struct json *j)
{
	const struct agent_config *c = a->config;
	char text[EXPIRY_TEXT_MAX];

	if (!expiry_words(&a->expiry, c->certificate, c->ca, now_s(), text, sizeof(text)))
		return;
	json_set_string(j, "trouble", text);
	if (expiry_own_first(&a->expiry))
		json_set_string(j, "next", EXPIRY_NEXT);
}

/* The same with the volumes (taken), and whether the node is ready for more. */
static struct json *about_volumes(const struct api *a, struct json *volumes)
{
	struct json *j = about(a);
	struct err e = {0};
	bool yes = !ready(a->config, &e);

	json_set_bool(j, "ready", yes);
	if (!yes)
		json_set_string(j, "not_ready", e.msg);
	about_expiry(a, j);
	json_set(j, "volumes", volumes);
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

/* Takes j. */
static void answer_result(struct server_request *r, int ret, struct json *j, const struct err *e)
{
	if (ret)
		answer_error(r, api_http_status(ret), ret, e->msg);
	else
		answer_json(r, 200, j);
}

/* An operation, or an upgrade. Takes d's arguments. */
static void begin(struct api *a, struct server_request *r, struct api_request *d)
{
	struct json *j = NULL;
	struct err e = {0};
	int ret = d->what == API_UPGRADE ? upgrades_begin(a->upgrades, d->args, &j, &e)
					 : operations_begin(a->operations, d->args, &j, &e);

	json_free(d->args);
	d->args = NULL;
	answer_result(r, ret, j, &e);
}

/* The daemons have said what they do. */
static void refreshed(void *ctx)
{
	struct open_request *o = ctx;
	struct api *a = o->api;
	struct api_request decoded = o->decoded;
	struct server_request *r;
	struct json *j;

	o->decoded.args = NULL;
	r = finish(o);
	if (decoded.what == API_BEGIN || decoded.what == API_UPGRADE) {
		begin(a, r, &decoded);
	} else if (decoded.what == API_VOLUME) {
		answer_volume(a, r, decoded.volume);
	} else if (decoded.what == API_STATUS) {
		answer_json(r, 200, about_volumes(a, supervisor_volumes(a->supervisor)));
	} else {
		char *text;

		j = supervisor_volumes(a->supervisor);
		text = metrics_text(j, &a->expiry, a->config->domain, API_VERSION);
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

/* The draft may be another's meanwhile, who lost: it is made again as the one who asks wants it. */
static int join(struct open_request *o, const struct agent_config *c)
{
	const char *volume = o->decoded.volume;
	char *descriptor = strdup(json_get_string(o->decoded.args, "descriptor", ""));
	struct replica_spec spec;
	char address[256];
	int ret = 0;

	ensure(descriptor);
	json_remove(o->decoded.args, "descriptor");
	if (json_get(o->decoded.args, "peers") && replica_exists(c, volume) != 0) {
		ret = replica_spec_parse(volume, o->decoded.args, &spec, &o->e);
		if (!ret)
			ret = replica_draft(c, &spec, address, &o->e);
	}
	if (!ret)
		ret = replica_join(c, volume, descriptor, &o->e);
	free(descriptor);
	return ret ? ret : replica_publish(c, volume, &o->e);
}

static int do_task(struct open_request *o, const struct agent_config *c, const atomic_bool *stop)
{
	const struct json *args = o->decoded.args;
	const char *volume = o->decoded.volume, *domain = json_get_string(args, "domain", "");
	struct replica_spec spec;
	int ret;

	switch (o->decoded.what) {
	case API_JOIN:
		return join(o, c);
	case API_REMOVE:
		ret = replica_may_go(c, volume, json_get_bool(args, "active", false), stop, &o->e);
		return ret ? ret : replica_remove(c, volume, stop, &o->e);
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
		spec.peers[0] = (struct replica_peer){0};
		snprintf(spec.peers[0].domain, sizeof(spec.peers[0].domain), "%s", domain);
	}
	ret = volume_create(c, &spec, json_get_string(args, "peer_node", ""), stop, &o->e);
	o->made = !ret;
	o->holder = o->made && replica_has_holder(c, volume);
	return ret;
}

static void task_work(void *ctx, const atomic_bool *stop)
{
	struct open_request *o = ctx;
	struct agent_config *c = malloc(sizeof(*c)); /* the loop's may change meanwhile */

	ensure(c);
	agent_config_snapshot(o->api->config, c);
	o->code = do_task(o, c, stop);
	free(c);
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
	if (o->made)
		json_set_bool(j, "holder", o->holder);
	supervisor_again(a->supervisor);
	answer_json(finish(o), 200, j);
}

/* What is being done with the volume, or NULL. */
static const struct open_request *task_of(const struct api *a, const char *volume)
{
	for (const struct open_request *o = a->open; o; o = o->next)
		if (o->task && !strcmp(o->decoded.volume, volume))
			return o;
	return NULL;
}

/* For upgrades: is something done with the volume that its daemon is needed for? */
static bool is_busy(void *ctx, const char *volume, char *ret_words, size_t size)
{
	const struct api *a = ctx;
	const char *operation = operations_busy(a->operations, volume);

	if (operation)
		snprintf(ret_words, size,
			"operation %s of it is under way: repeat this when it has ended",
			operation);
	for (const struct open_request *o = a->open; o && !operation; o = o->next) {
		if ((!o->task && !o->call) || strcmp(o->decoded.volume, volume) != 0)
			continue;
		snprintf(ret_words, size,
			"an order to it (%s) is under way: repeat this when it has ended",
			o->call ? json_get_string(o->decoded.args, "verb", "") : "its files");
		return true;
	}
	return operation != NULL;
}

/* Both sites make a volume of this name at the same moment, and each waits for the other. The one whose domain
 * comes first in the alphabet goes on; the other one's request is refused, for good. */
static bool both_make_it(const struct open_request *o, const struct open_request *other)
{
	enum api_what what = o->decoded.what;

	return (what == API_DRAFT || what == API_JOIN) && other->decoded.what == API_CREATE &&
	       o->request->peer && strcmp(o->api->config->domain, o->request->peer) < 0;
}

static void start_task(struct open_request *o)
{
	const struct open_request *other = task_of(o->api, o->decoded.volume);
	char text[256];

	if (other && both_make_it(o, other)) {
		snprintf(text, sizeof(text),
			"'%s' is making a volume '%s' itself at this moment: see whether it is the "
			"one you want ('tandemctl status'), or take another name",
			o->api->config->domain, o->decoded.volume);
		answer_error(finish(o), 409, -EEXIST, text);
		return;
	}
	if (other) {
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

/* What needs nobody else, or tells of operations. True when it was that. */
static bool answer_at_once(struct api *a, struct server_request *r, struct api_request *d)
{
	struct json *j = NULL;
	struct err e = {0};
	int ret = 0;

	switch (d->what) {
	case API_OPERATIONS:
		j = about(a);
		json_set(j, "operations", operations_list(a->operations));
		break;
	case API_OPERATION:
		j = operations_get(a->operations, d->operation);
		ret = j ? 0 : err_set(&e, -ENOENT, "no such operation");
		break;
	case API_CANCEL:
		ret = operations_cancel(a->operations, d->operation, &j, &e);
		break;
	case API_RELOAD:
		ret = a->reload(a->reload_ctx, &e);
		j = ret ? NULL : about(a);
		if (j)
			json_set_string(j, "config", a->config->path);
		break;
	case API_BEGIN:
		if (json_get(d->args, "domain") ||
			json_get(d->args, "node")) /* the daemons are asked first */
			return false;
		begin(a, r, d);
		return true;
	case API_UPGRADE_SHOW:
		j = upgrades_get(a->upgrades);
		break;
	case API_HEALTH:
	case API_READY:
		j = about(a);
		json_set_int(j, "clock_ms", (int64_t)(clock_real_ns() / NS_PER_MS));
		break;
	case API_VOLUMES:
		j = about_volumes(a, supervisor_list(a->supervisor));
		break;
	default:
		return false;
	}
	answer_result(r, ret, j, &e);
	return true;
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
	if (answer_at_once(a, r, &decoded))
		return;
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

static void expiry_expired(struct loop_timer *t, uint64_t now_ns)
{
	struct api *a = container_of(t, struct api, expiry_timer);
	const struct agent_config *c = a->config;

	loop_timer_set(a->loop, t, now_ns + EXPIRY_LOOK_NS);
	expiry_look(&a->expiry, c->certificate, c->ca);
	expiry_log(&a->expiry, c->certificate, c->ca, now_s());
}

int api_new(struct loop *l, const struct agent_config *c, struct supervisor *s,
	int (*reload)(void *ctx, struct err *e), void *ctx, struct api **ret_api, struct err *e)
{
	struct api *a = calloc(1, sizeof(*a));
	int ret;

	ensure(a);
	a->loop = l;
	a->config = c;
	a->supervisor = s;
	a->reload = reload;
	a->reload_ctx = ctx;
	ret = server_new(l, c, handle, a, &a->server, e);
	if (ret) {
		free(a);
		return ret;
	}
	a->tasks = tasks_new(l);
	a->operations = operations_new(c, l, a->tasks, s);
	a->upgrades = upgrades_new(c, l, a->tasks, s, is_busy, a);
	a->expiry_timer.expired = expiry_expired;
	expiry_expired(&a->expiry_timer, clock_mono_ns());
	*ret_api = a;
	return 0;
}

void api_reconfigured(struct api *a)
{
	a->expiry = (struct expiry){.said_s = a->expiry.said_s};
	loop_timer_set(a->loop, &a->expiry_timer, 0);
	server_reconfigured(a->server);
}

void api_free(struct api *a)
{
	if (!a)
		return;
	loop_timer_clear(a->loop, &a->expiry_timer);
	tasks_free(a->tasks);
	operations_free(a->operations);
	upgrades_free(a->upgrades);
	while (a->open) {
		daemon_call_cancel(a->open->call);
		answer_error(finish(a->open), 503, -ESHUTDOWN, "the agent stops");
	}
	server_free(a->server);
	free(a);
}
