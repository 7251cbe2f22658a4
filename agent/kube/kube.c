/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One cluster's API over HTTP. What comes back is checked for form only where something depends on it: members that
 * are absent or of another type read as nothing.
 *
 * A token that lies in a file is read again at least once a minute, and when the server refuses it: kubelet replaces it before it
 * ends.
 */
#include "kube_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "clock.h"
#include "http.h"
#include "log.h"

#define CALL_MS 30000u
#define PAGE "500"
#define TOKEN_S 60u

struct kube {
	char *what;
	struct kube_access access;
	const atomic_bool *stop;
	struct http_client *http;
	uint64_t token_ns; /* when it was read */
};

static char *copy_of(const char *text)
{
	char *c = text ? strdup(text) : NULL;

	ensure(c || !text);
	return c;
}

static void connect_client(struct kube *k)
{
	struct http_server s = {
		.what = k->what,
		.url = k->access.server,
		.ca = k->access.ca,
		.certificate = k->access.certificate,
		.key = k->access.key,
		.token = k->access.token,
	};

	http_free(k->http);
	k->http = http_new(&s);
}

struct kube *kube_new(const char *what, const struct kube_access *a, const atomic_bool *stop)
{
	struct kube *k = calloc(1, sizeof(*k));

	ensure(k);
	k->what = copy_of(what);
	k->stop = stop;
	k->access =
		(struct kube_access){copy_of(a->server), copy_of(a->ca), copy_of(a->certificate),
			copy_of(a->key), copy_of(a->token), copy_of(a->token_path), copy_of(a->ns)};
	k->token_ns = clock_mono_ns();
	connect_client(k);
	return k;
}

struct kube *kube_copy(const struct kube *k, const atomic_bool *stop)
{
	return kube_new(k->what, &k->access, stop);
}

void kube_free(struct kube *k)
{
	if (!k)
		return;
	http_free(k->http);
	kube_access_clear(&k->access);
	free(k->what);
	free(k);
}

bool kube_is_away(int error)
{
	return error == -EAGAIN || error == -ECONNREFUSED || error == -ECONNRESET ||
	       error == -ETIMEDOUT || error == -ECANCELED;
}

static void read_token(struct kube *k, bool now)
{
	struct err e = {0};
	char *token;

	if (!k->access.token_path || (!now && clock_mono_ns() - k->token_ns < TOKEN_S * NS_PER_S))
		return;
	k->token_ns = clock_mono_ns();
	token = kube_read_file(k->access.token_path, &e);
	if (!token || !*token || !strcmp(token, k->access.token)) {
		if (!token)
			log_warn("%s: token: %s", k->what, e.msg);
		free(token);
		return;
	}
	free(k->access.token);
	k->access.token = token;
	connect_client(k);
}

/* --- one call --- */

static int error_of(unsigned status, const char *reason)
{
	switch (status) {
	case 400:
	case 422:
		return -EINVAL;
	case 401:
		return -EACCES;
	case 403:
		return -EPERM;
	case 404:
		return -ENOENT;
	case 409:
		return strcmp(reason, "AlreadyExists") ? -EBUSY : -EEXIST;
	case 410:
		return -ESTALE;
	default:
		return status == 429 || status >= 500 ? -EAGAIN : -EPROTO;
	}
}

/* Who writes fields here otherwise than by apply: hold_stop() and hold_release(), and what they were called before a
 * patch of them had a name ("unknown": a caller without a User-Agent, which only we are). */
static bool is_our_writer(const char *words)
{
	static const char *const ours[] = {"conflict with \"" MIGRATE_MANAGER "\"",
		"conflict with \"unknown\"", "conflict with \"\""};

	for (unsigned i = 0; i < ARRAY_SIZE(ours); i++)
		if (!strncmp(words, ours[i], strlen(ours[i])))
			return true;
	return false;
}

bool kube_conflict_is_ours(const struct json *status)
{
	const struct json *causes = json_get(json_get(status, "details"), "causes");
	unsigned n = json_length(causes);

	for (unsigned i = 0; i < n; i++) {
		const struct json *cause = json_at(causes, i);

		if (strcmp(json_get_string(cause, "reason", ""), "FieldManagerConflict") != 0 ||
			!is_our_writer(json_get_string(cause, "message", "")))
			return false;
	}
	return n > 0;
}

static int failed(struct kube *k, const struct http_answer *a, struct err *e)
{
	const char *words = json_get_string(a->json, "message", NULL);
	int code = error_of(a->status, json_get_string(a->json, "reason", ""));

	/* An object with a field that this cluster is too old for: told as its own fault, and waiting does not mend it. */
	if (code == -EAGAIN && words && strstr(words, "failed to create typed patch object"))
		code = -EINVAL;
	if (code == -EBUSY && kube_conflict_is_ours(a->json))
		code = -EALREADY;
	if (words)
		return err_set(e, code, "%s: %.200s", k->what, words);
	return err_set(e, code, "%s: HTTP status %u", k->what, a->status);
}

static int call_http(
	struct kube *k, const struct http_request *request, struct json **ret_json, struct err *e)
{
	struct http_request r = *request;
	struct http_answer a;
	int ret;

	r.timeout_ms = CALL_MS;
	r.stop = k->stop;
	read_token(k, false);
	ret = http_call(k->http, &r, &a, e);
	if (!ret && a.status == 401 && k->access.token_path) {
		http_answer_free(&a);
		read_token(k, true);
		ret = http_call(k->http, &r, &a, e);
	}
	if (ret)
		return ret;
	if (a.status < 200 || a.status > 299)
		ret = failed(k, &a, e);
	else if (ret_json && !a.json)
		ret = err_set(e, -EPROTO, "%s: the answer is no JSON object", k->what);
	if (!ret && ret_json) {
		*ret_json = a.json;
		a.json = NULL;
	}
	http_answer_free(&a);
	return ret;
}

/* ret_json may be NULL; else there is an object when this returns 0. */
int kube_call(struct kube *k, const char *method, const char *path, const struct json *body,
	const char *type, struct json **ret_json, struct err *e)
{
	struct http_request r = {.method = method,
		.path = path,
		.body = body ? json_text(body, false) : NULL,
		.content_type = type};

	return call_http(k, &r, ret_json, e);
}

int kube_stream(struct kube *k, const char *path, const char *protocol, unsigned timeout_ms,
	struct http_stream **ret, struct err *e)
{
	struct http_request r = {
		.method = "GET", .path = path, .timeout_ms = timeout_ms, .stop = k->stop};
	struct http_answer a = {0};
	int error;

	read_token(k, false);
	error = http_upgrade(k->http, &r, protocol, ret, &a, e);
	if (!error && !*ret)
		error = failed(k, &a, e);
	http_answer_free(&a);
	return error;
}

/* .../PLURAL[/NAME[/SUB]], to be freed. */
static char *path_of(
	const struct kube_kind *kind, const char *ns, const char *name, const char *sub)
{
	cleanup_free char *n = http_escape(name ? name : ""), *s = http_escape(ns ? ns : "");
	bool in = kind->namespaced && ns;
	char *path;

	ensure(asprintf(&path, "/%s%s/%s%s%s/%s%s%s%s%s", kind->group[0] ? "apis/" : "api",
		       kind->group, kind->version, in ? "/namespaces/" : "", in ? s : "",
		       kind->plural, name ? "/" : "", n, sub ? "/" : "", sub ? sub : "") > 0);
	return path;
}

static const char *meta(const struct json *obj, const char *key)
{
	return json_get_string(json_get(obj, "metadata"), key, NULL);
}

static int call_free(struct kube *k, const char *method, char *path, const struct json *body,
	const char *type, struct json **ret_json, struct err *e)
{
	int ret = kube_call(k, method, path, body, type, ret_json, e);

	free(path);
	return ret;
}

int kube_get(struct kube *k, const struct kube_kind *kind, const char *ns, const char *name,
	struct json **ret_obj, struct err *e)
{
	return call_free(k, "GET", path_of(kind, ns, name, NULL), NULL, NULL, ret_obj, e);
}

int kube_create(struct kube *k, const struct kube_kind *kind, const struct json *obj,
	struct json **ret_obj, struct err *e)
{
	return call_free(k, "POST", path_of(kind, meta(obj, "namespace"), NULL, NULL), obj, NULL,
		ret_obj, e);
}

int kube_apply(struct kube *k, const struct kube_kind *kind, const struct json *obj,
	const char *manager, unsigned flags, struct json **ret_obj, struct err *e)
{
	cleanup_free char *object = path_of(kind, meta(obj, "namespace"), meta(obj, "name"), NULL),
			  *who = http_escape(manager);
	char *path;

	ensure(asprintf(&path, "%s?fieldManager=%s&force=%s%s", object, who,
		       flags & KUBE_FORCE ? "true" : "false",
		       flags & KUBE_DRY_RUN ? "&dryRun=All" : "") > 0);
	return call_free(k, "PATCH", path, obj, "application/apply-patch+yaml", ret_obj, e);
}

int kube_patch(struct kube *k, const struct kube_kind *kind, const char *ns, const char *name,
	const char *sub, const struct json *patch, struct json **ret_obj, struct err *e)
{
	return call_free(k, "PATCH", path_of(kind, ns, name, sub), patch,
		"application/merge-patch+json", ret_obj, e);
}

int kube_patch_as(struct kube *k, const struct kube_kind *kind, const char *ns, const char *name,
	const char *manager, const struct json *patch, struct err *e)
{
	cleanup_free char *object = path_of(kind, ns, name, NULL), *who = http_escape(manager);
	char *path;

	ensure(asprintf(&path, "%s?fieldManager=%s", object, who) > 0);
	return call_free(k, "PATCH", path, patch, "application/merge-patch+json", NULL, e);
}

int kube_update(struct kube *k, const struct kube_kind *kind, const char *sub,
	const struct json *obj, struct json **ret_obj, struct err *e)
{
	return call_free(k, "PUT", path_of(kind, meta(obj, "namespace"), meta(obj, "name"), sub),
		obj, NULL, ret_obj, e);
}

int kube_delete(struct kube *k, const struct kube_kind *kind, const char *ns, const char *name,
	const char *uid, struct err *e)
{
	struct json *options = json_object(), *only = json_object();
	int ret;

	json_set_string(options, "apiVersion", "v1");
	json_set_string(options, "kind", "DeleteOptions");
	json_set_string(options, "propagationPolicy", "Background");
	if (uid) {
		json_set_string(only, "uid", uid);
		json_set(options, "preconditions", only);
	} else {
		json_free(only);
	}
	ret = call_free(k, "DELETE", path_of(kind, ns, name, NULL), options, NULL, NULL, e);
	json_free(options);
	return ret;
}

/* --- lists --- */

static void append_items(const struct kube_kind *kind, const struct json *page, struct json *to)
{
	const struct json *items = json_get(page, "items");
	char version[KUBE_NAME_MAX + 66];

	snprintf(version, sizeof(version), "%s%s%s", kind->group, kind->group[0] ? "/" : "",
		kind->version);
	for (unsigned i = 0; i < json_length(items); i++) {
		struct json *obj = json_copy(json_at(items, i));

		if (!json_is_object(obj)) {
			json_free(obj);
			continue;
		}
		json_set_string(obj, "apiVersion", version);
		json_set_string(obj, "kind", kind->kind);
		json_append(to, obj);
	}
}

int kube_list(struct kube *k, const struct kube_kind *kind, const char *ns, const char *selector,
	struct json *to, char **ret_version, struct err *e)
{
	cleanup_free char *base = path_of(kind, ns, NULL, NULL);
	cleanup_free char *labels = http_escape(selector ? selector : "");
	char *more = copy_of("");
	int ret;

	do {
		cleanup_free char *next = http_escape(more);
		struct json *page = NULL;
		char *path;

		ensure(asprintf(&path, "%s?limit=" PAGE "%s%s%s%s", base,
			       *labels ? "&labelSelector=" : "", labels, *next ? "&continue=" : "",
			       next) > 0);
		free(more);
		more = NULL;
		ret = call_free(k, "GET", path, NULL, NULL, &page, e);
		if (ret)
			break;
		append_items(kind, page, to);
		more = copy_of(json_get_string(json_get(page, "metadata"), "continue", ""));
		if (ret_version && !*more)
			*ret_version = copy_of(
				json_get_string(json_get(page, "metadata"), "resourceVersion", ""));
		json_free(page);
	} while (*more);
	free(more);
	return ret;
}

int kube_table(struct kube *k, const struct kube_kind *kind, const char *ns,
	struct json **ret_table, struct err *e)
{
	cleanup_free char *base = path_of(kind, ns, NULL, NULL), *path = NULL;
	struct http_request r = {
		.method = "GET", .accept = "application/json;as=Table;v=v1;g=meta.k8s.io"};

	ensure(asprintf(&path, "%s?limit=" PAGE, base) > 0);
	r.path = path;
	return call_http(k, &r, ret_table, e);
}

/* --- watches --- */

struct watch {
	bool (*event)(void *ctx, const char *type, const struct json *obj);
	void *ctx;
	int error;
	struct err *e;
	struct kube *k;
};

static bool watch_line(void *ctx, const char *text, size_t len)
{
	struct watch *w = ctx;
	struct json *j = NULL;
	const struct json *obj;
	const char *type;
	bool go_on = true;
	struct err none;

	if (json_parse(text, len, &j, &none))
		return true; /* an empty line */
	type = json_get_string(j, "type", "");
	obj = json_get(j, "object");
	if (!strcmp(type, "ERROR")) {
		w->error = err_set(w->e,
			error_of((unsigned)json_get_int(obj, "code", 500),
				json_get_string(obj, "reason", "")),
			"%s: %.200s", w->k->what,
			json_get_string(obj, "message", "the watch ended"));
		go_on = false;
	} else if (json_is_object(obj) && strcmp(type, "BOOKMARK")) {
		go_on = w->event(w->ctx, type, obj);
	}
	json_free(j);
	return go_on;
}

int kube_watch(struct kube *k, const struct kube_kind *kind, const char *ns, const char *version,
	unsigned timeout_s, bool (*event)(void *ctx, const char *type, const struct json *obj),
	void *ctx, struct err *e)
{
	cleanup_free char *base = path_of(kind, ns, NULL, NULL), *from = http_escape(version);
	cleanup_free char *path = NULL;
	struct watch w = {.event = event, .ctx = ctx, .e = e, .k = k};
	struct http_request r = {.method = "GET",
		.timeout_ms = (timeout_s + 10) * 1000,
		.line = watch_line,
		.ctx = &w,
		.stop = k->stop};
	struct http_answer a;
	int ret;

	ensure(asprintf(&path, "%s?watch=true&resourceVersion=%s&timeoutSeconds=%u", base, from,
		       timeout_s) > 0);
	r.path = path;
	read_token(k, false);
	ret = http_call(k->http, &r, &a, e);
	if (ret)
		return ret;
	if (a.status != 200)
		ret = failed(k, &a, e);
	http_answer_free(&a);
	return ret ? ret : w.error;
}

/* --- the rest --- */

void kube_time(int64_t s, char *ret)
{
	time_t at = (time_t)s;
	struct tm t = {0};

	gmtime_r(&at, &t);
	if (!strftime(ret, 21, "%Y-%m-%dT%H:%M:%SZ", &t))
		*ret = '\0';
}

int64_t kube_time_parse(const char *text)
{
	struct tm t = {0};
	const char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &t) : NULL;

	return end && (*end == 'Z' || *end == '.') ? (int64_t)timegm(&t) : 0;
}

int kube_token(struct kube *k, const char *ns, const char *account, int64_t ttl_s, char **ret_token,
	int64_t *ret_ends_s, struct err *e)
{
	const struct kube_kind kind =
		KUBE_KIND("", "v1", "ServiceAccount", "serviceaccounts", true);
	struct json *request = json_object(), *spec = json_object(), *answer = NULL;
	const char *token;
	int ret;

	json_set_string(request, "apiVersion", "authentication.k8s.io/v1");
	json_set_string(request, "kind", "TokenRequest");
	json_set_int(spec, "expirationSeconds", ttl_s);
	json_set(request, "spec", spec);
	ret = call_free(k, "POST", path_of(&kind, ns, account, "token"), request, NULL, &answer, e);
	json_free(request);
	if (ret)
		return ret;
	token = json_get_string(json_get(answer, "status"), "token", NULL);
	if (token) {
		*ret_token = copy_of(token);
		*ret_ends_s = kube_time_parse(
			json_get_string(json_get(answer, "status"), "expirationTimestamp", NULL));
	} else {
		ret = err_set(e, -EPROTO, "%s: an answer without a token", k->what);
	}
	json_free(answer);
	return ret;
}

static void set_source(struct json *event)
{
	struct json *source = json_object();

	json_set_string(source, "component", "tandem-agent");
	json_set(event, "source", source);
}

/* -EEXIST: that event is there. */
static int send_event(struct kube *k, const struct json *about, const char *type,
	const char *reason, const char *message, uint64_t number)
{
	struct kube_kind kind = KUBE_KIND("", "v1", "Event", "events", true);
	static const char *const keys[] = {"name", "namespace", "uid", "resourceVersion"};
	struct json *event = json_object(), *m = json_object(), *on = json_object();
	const char *ns = meta(about, "namespace") ? meta(about, "namespace") : "default";
	char now[21], name[320];
	struct err e = {0};
	int ret;

	kube_time((int64_t)(clock_real_ns() / NS_PER_S), now);
	snprintf(name, sizeof(name), "%.200s.%" PRIx64,
		meta(about, "name") ? meta(about, "name") : "x", number);
	json_set_string(m, "name", name);
	json_set_string(m, "namespace", ns);
	json_set_string(on, "apiVersion", json_get_string(about, "apiVersion", ""));
	json_set_string(on, "kind", json_get_string(about, "kind", ""));
	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++)
		if (meta(about, keys[i]))
			json_set_string(on, keys[i], meta(about, keys[i]));
	json_set(event, "metadata", m);
	json_set(event, "involvedObject", on);
	json_set_string(event, "type", type);
	json_set_string(event, "reason", reason);
	json_set_string(event, "message", message);
	json_set_string(event, "firstTimestamp", now);
	json_set_string(event, "lastTimestamp", now);
	json_set_int(event, "count", 1);
	set_source(event);
	ret = kube_create(k, &kind, event, NULL, &e);
	if (ret && ret != -EEXIST)
		log_debug("event '%s': %s", reason, e.msg);
	json_free(event);
	return ret;
}

void kube_event(struct kube *k, const struct json *about, const char *type, const char *reason,
	const char *message)
{
	send_event(k, about, type, reason, message, clock_real_ns());
}

int kube_event_once(struct kube *k, const struct json *about, const char *type, const char *reason,
	const char *message, uint64_t *hash)
{
	const char *parts[] = {meta(about, "uid"), reason, message};
	uint64_t h = 0xcbf29ce484222325ull; /* FNV-1a */
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(parts); i++)
		for (const char *c = parts[i] ? parts[i] : ""; *c; c++)
			if (i < 2 || *c < '0' || *c > '9') /* "after 200 ms" */
				h = (h ^ (uint8_t)*c) * 0x100000001b3ull;
	if (*hash != h)
		ret = send_event(k, about, type, reason, message, h);
	if (!ret || ret == -EEXIST)
		*hash = h;
	return ret == -EEXIST ? 0 : ret;
}
