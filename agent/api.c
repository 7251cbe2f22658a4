/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The REST API: a request is decoded, what it needs is asked of the supervision or of a daemon, and the
 * answer is made when that is there. What is open is in a list, for the end.
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
#include "server.h"

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
};

struct api {
	struct loop *loop;
	const struct agent_config *config;
	struct supervisor *supervisor;
	struct server *server;
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
	char socket[256], text[128];

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

static void handle(void *ctx, struct server_request *r)
{
	struct api *a = ctx;
	struct api_request decoded;
	struct open_request *o;
	struct err e = {0};
	unsigned status = api_decode(r->method, r->path, r->body, r->body_len, &decoded, &e);

	if (!status && decoded.what == API_METRICS && !a->config->metrics)
		status = err_set(&e, -ENOENT, "metrics are switched off") ? 404 : 0;
	else if (!status && decoded.what == API_VERB && r->peer) {
		json_free(decoded.args);
		status = err_set(&e, -EPERM, "a peer may read, and tell nothing") ? 403 : 0;
	}
	if (status) {
		answer_error(r, status, e.code, e.msg);
		return;
	}
	if (decoded.what == API_HEALTH || decoded.what == API_VOLUMES) {
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
	if (decoded.what == API_VERB)
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
	if (ret)
		free(a);
	else
		*ret_api = a;
	return ret;
}

void api_free(struct api *a)
{
	if (!a)
		return;
	while (a->open) {
		daemon_call_cancel(a->open->call);
		answer_error(finish(a->open), 503, -ESHUTDOWN, "the agent stops");
	}
	server_free(a->server);
	free(a);
}
