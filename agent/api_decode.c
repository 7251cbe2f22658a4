/* SPDX-License-Identifier: Apache-2.0 */
/* The REST requests' decoder: what is not understood is refused, with what would be right. No I/O. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api.h"

#define VOLUMES "/v1/volumes/"

static const char *const verbs[] = {
	"promote", "demote", "deactivate", "activate", "resync", "resize", "checkpoint"};

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

static unsigned decode_verb(
	const char *verb, const char *body, size_t len, struct api_request *r, struct err *e)
{
	unsigned i = 0;

	while (i < ARRAY_SIZE(verbs) && strcmp(verbs[i], verb) != 0)
		i++;
	if (i == ARRAY_SIZE(verbs))
		return refuse(e, 404, -ENOENT,
			"no such verb; there are promote, demote, deactivate, activate, resync, "
			"resize and checkpoint");
	if (len) {
		if (json_parse(body, len, &r->args, e))
			return 400;
		if (!json_is_object(r->args)) {
			json_free(r->args);
			r->args = NULL;
			return refuse(e, 400, -EINVAL, "the body must be a JSON object");
		}
	} else {
		r->args = json_object();
	}
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

unsigned api_decode(const char *method, const char *path, const char *body, size_t len,
	struct api_request *ret_r, struct err *e)
{
	static const struct {
		const char *path;
		enum api_what what;
	} plain[] = {{"/v1/health", API_HEALTH}, {"/v1/volumes", API_VOLUMES},
		{"/v1/status", API_STATUS}, {"/metrics", API_METRICS}};
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
		"there are /v1/health, /v1/status, /v1/volumes[/NAME[/VERB]] and /metrics");
}
