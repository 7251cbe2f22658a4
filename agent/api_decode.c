/* SPDX-License-Identifier: Apache-2.0 */
/* The REST requests' decoder: what is not understood is refused, with what would be right. No I/O. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api.h"
#include "control.h"

#define VOLUMES "/v1/volumes/"
#define REPLICAS "/v1/replicas/"
#define OPERATIONS "/v1/operations"

static const char *const verbs[] = {"promote", "demote", "deactivate", CONTROL_PREVIEW, "activate",
	CONTROL_PREVIEW_ACTIVATE, "resync", "resize", "checkpoint"};

unsigned api_http_status(int code)
{
	switch (code) {
	case 0:
		return 200;
	case -EINVAL:
	case -ERANGE:
		return 400;
	case -ENOENT:
		return 404;
	case -EBUSY:
	case -EAGAIN:
	case -EINPROGRESS:
		return 503;
	default:
		return 409;
	}
}

static unsigned refuse(struct err *e, unsigned status, int code, const char *msg)
{
	err_set(e, code, "%s", msg);
	return status;
}

static bool is_name(const char *s, size_t len)
{
	return len && len <= VOLUME_NAME_MAX &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") >= len;
}

bool api_is_task(enum api_what what)
{
	return what >= API_CREATE;
}

/* Neither "yes" nor "force": nothing that could lose what was acknowledged. */
static bool is_of_operation(const struct json *args)
{
	const char *verb = json_get_string(args, "verb", "");
	struct json_member m;

	if ((strcmp(verb, "demote") != 0 && strcmp(verb, "promote") != 0) ||
		!json_get_string(args, "operation", "")[0])
		return false;
	for (bool ok = json_first(args, &m); ok; ok = json_next(&m))
		if (strcmp(m.key, "verb") != 0 && strcmp(m.key, "operation") != 0 &&
			strcmp(m.key, "timeout_ms") != 0)
			return false;
	return true;
}

bool api_is_for_peers(const struct api_request *r)
{
	enum api_what what = r->what;

	if (what == API_VERB)
		return is_of_operation(r->args);
	return what != API_BEGIN && what != API_CANCEL && what != API_RELOAD &&
	       what != API_UPGRADE && what != API_CREATE && what != API_DELETE;
}

static unsigned decode_body(const char *body, size_t len, struct api_request *r, struct err *e)
{
	if (!len) {
		r->args = json_object();
		return 0;
	}
	if (json_parse(body, len, &r->args, e))
		return 400;
	if (json_is_object(r->args))
		return 0;
	json_free(r->args);
	r->args = NULL;
	return refuse(e, 400, -EINVAL, "the body must be a JSON object");
}

static unsigned decode_verb(
	const char *verb, const char *body, size_t len, struct api_request *r, struct err *e)
{
	unsigned i = 0, status;

	if (!strcmp(verb, "delete")) {
		r->what = API_DELETE;
		return decode_body(body, len, r, e);
	}
	while (i < ARRAY_SIZE(verbs) && strcmp(verbs[i], verb) != 0)
		i++;
	if (i == ARRAY_SIZE(verbs))
		return refuse(e, 404, -ENOENT,
			"no such verb; there are promote, demote, deactivate, " CONTROL_PREVIEW
			", activate, " CONTROL_PREVIEW_ACTIVATE
			", resync, resize, checkpoint and delete");
	status = decode_body(body, len, r, e);
	if (status)
		return status;
	json_set_string(r->args, "verb", verbs[i]);
	r->what = API_VERB;
	return 0;
}

static unsigned decode_volume(const char *rest, bool post, const char *body, size_t len,
	struct api_request *r, struct err *e)
{
	size_t n = strcspn(rest, "/");

	if (!is_name(rest, n))
		return refuse(
			e, 404, -ENOENT, "no such volume: a name is of a-z, 0-9, '-' and '_'");
	snprintf(r->volume, sizeof(r->volume), "%.*s", (int)n, rest);
	if (rest[n]) {
		if (!post)
			return refuse(e, 405, -EINVAL, "a verb is POSTed");
		return decode_verb(rest + n + 1, body, len, r, e);
	}
	if (post)
		return refuse(e, 405, -EINVAL, "POST goes to /v1/volumes/NAME/VERB");
	r->what = API_VOLUME;
	return 0;
}

static unsigned decode_replica(const char *rest, bool post, const char *body, size_t len,
	struct api_request *r, struct err *e)
{
	static const struct {
		const char *step;
		enum api_what what;
	} steps[] = {{"draft", API_DRAFT}, {"join", API_JOIN}, {"remove", API_REMOVE}};
	size_t n = strcspn(rest, "/");

	if (!is_name(rest, n) || !rest[n])
		return refuse(e, 404, -EINVAL, "a step is /v1/replicas/NAME/STEP");
	if (!post)
		return refuse(e, 405, -EINVAL, "a step is POSTed");
	snprintf(r->volume, sizeof(r->volume), "%.*s", (int)n, rest);
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		if (strcmp(steps[i].step, rest + n + 1) != 0)
			continue;
		r->what = steps[i].what;
		return decode_body(body, len, r, e);
	}
	return refuse(e, 404, -EINVAL, "no such step; there are draft, join and remove");
}

static unsigned decode_create(const char *body, size_t len, struct api_request *r, struct err *e)
{
	unsigned status = decode_body(body, len, r, e);
	const char *name;

	if (status)
		return status;
	name = json_get_string(r->args, "volume", "");
	if (!is_name(name, strlen(name))) {
		json_free(r->args);
		r->args = NULL;
		return refuse(e, 400, -EINVAL,
			"\"volume\" is missing or no name: it is of a-z, 0-9, '-' and '_'");
	}
	snprintf(r->volume, sizeof(r->volume), "%s", name);
	r->what = API_CREATE;
	return 0;
}

static unsigned decode_operation(const char *path, bool post, const char *body, size_t len,
	struct api_request *r, struct err *e)
{
	const char *id = path + strlen(OPERATIONS), *rest;
	bool cancel;
	size_t len_id;

	if (!*id) {
		r->what = post ? API_BEGIN : API_OPERATIONS;
		return post ? decode_body(body, len, r, e) : 0;
	}
	id++;
	len_id = strspn(id, "0123456789-");
	rest = id + len_id;
	cancel = !strcmp(rest, "/cancel");
	if (!len_id || len_id > OPERATION_ID_MAX || (*rest && !cancel))
		return refuse(e, 404, -ENOENT, "no such operation");
	if (post != cancel)
		return refuse(e, 405, -EINVAL,
			"an operation is only read; what is POSTed is /v1/operations/ID/cancel");
	snprintf(r->operation, sizeof(r->operation), "%.*s", (int)len_id, id);
	r->what = cancel ? API_CANCEL : API_OPERATION;
	return 0;
}

unsigned api_decode(const char *method, const char *path, const char *body, size_t len,
	struct api_request *ret_r, struct err *e)
{
	static const struct {
		const char *path;
		enum api_what what;
	} plain[] = {{"/v1/health", API_HEALTH}, {"/healthz", API_HEALTH}, {"/readyz", API_READY},
		{"/v1/volumes", API_VOLUMES}, {"/v1/status", API_STATUS},
		{"/v1/upgrade", API_UPGRADE_SHOW}, {"/metrics", API_METRICS}};
	bool post = !strcmp(method, "POST");
	struct api_request r = {0};
	unsigned status;

	if (!post && strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return refuse(e, 405, -EINVAL, "there are GET and POST");
	if (!strncmp(path, VOLUMES, strlen(VOLUMES))) {
		status = decode_volume(path + strlen(VOLUMES), post, body, len, &r, e);
		if (!status)
			*ret_r = r;
		return status;
	}
	if (!strncmp(path, REPLICAS, strlen(REPLICAS)) || (post && !strcmp(path, "/v1/volumes"))) {
		status = path[4] == 'r'
				 ? decode_replica(path + strlen(REPLICAS), post, body, len, &r, e)
				 : decode_create(body, len, &r, e);
		if (!status)
			*ret_r = r;
		return status;
	}
	if (!strncmp(path, OPERATIONS, strlen(OPERATIONS)) &&
		(!path[strlen(OPERATIONS)] || path[strlen(OPERATIONS)] == '/')) {
		status = decode_operation(path, post, body, len, &r, e);
		if (!status)
			*ret_r = r;
		return status;
	}
	if (post && !strcmp(path, "/v1/reload")) {
		r.what = API_RELOAD;
		*ret_r = r;
		return 0;
	}
	if (post && !strcmp(path, "/v1/upgrade")) {
		status = decode_body(body, len, &r, e);
		r.what = API_UPGRADE;
		if (!status)
			*ret_r = r;
		return status;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++) {
		if (strcmp(plain[i].path, path) != 0)
			continue;
		if (post)
			return refuse(e, 405, -EINVAL, "this is only read");
		ret_r->what = plain[i].what;
		ret_r->volume[0] = '\0';
		ret_r->args = NULL;
		return 0;
	}
	return refuse(e, 404, -ENOENT,
		"there are /v1/health, /v1/status, /v1/volumes[/NAME[/VERB]], "
		"/v1/replicas/NAME/STEP, /v1/operations[/ID[/cancel]], /v1/upgrade, "
		"/v1/reload, /healthz, /readyz and /metrics");
}
