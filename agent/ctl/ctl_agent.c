/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl through the agent of this node. The agent knows volumes whose daemon does not run, and why; the
 * daemons know everything else, and are asked directly wherever the agent does not run, does not answer
 * within a second, or dies with a call open: the worst day must not need it. A verb is then said twice, as a
 * person would.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "agent_config.h"
#include "ctl.h"
#include "http.h"

#define ALIVE_MS 1000u
#define FRESH_S 3.0 /* the agent waits two seconds for a daemon */

static struct ctl_volume *find_or_add(struct ctl *c, struct ctl_volumes *vs, const char *name)
{
	struct ctl_volume *v;
	int n;

	for (unsigned i = 0; i < vs->count; i++)
		if (!strcmp(vs->v[i].name, name))
			return &vs->v[i];
	if (vs->count == CTL_VOLUMES_MAX || !name[0] || strlen(name) > VOLUME_NAME_MAX ||
		strchr(name, '/'))
		return NULL;
	v = &vs->v[vs->count];
	n = snprintf(v->path, sizeof(v->path), "%s/%s.sock", c->run_dir, name);
	if (n < 0 || (size_t)n >= sizeof(v->path))
		return NULL;
	snprintf(v->name, sizeof(v->name), "%s", name);
	v->selected = true;
	vs->count++;
	return v;
}

void ctl_agent_volumes(struct ctl *c, struct ctl_volumes *vs)
{
	const struct json *list;
	struct json *j;
	unsigned status;
	struct stat st;
	struct err e;
	int n = snprintf(c->agent, sizeof(c->agent), "%s/" AGENT_SOCKET_NAME, c->run_dir);

	if (n < 0 || (size_t)n >= sizeof(c->agent) || stat(c->agent, &st) < 0 ||
		http_call_unix(c->agent, "/v1/volumes", NULL, ALIVE_MS, &status, &j, &e)) {
		c->agent[0] = '\0';
		return;
	}
	snprintf(c->agent_trouble, sizeof(c->agent_trouble), "%s",
		json_get_string(j, "trouble", ""));
	snprintf(c->agent_next, sizeof(c->agent_next), "%s", json_get_string(j, "next", ""));
	list = json_get(j, "volumes");
	for (unsigned i = 0; status == 200 && i < json_length(list); i++) {
		struct ctl_volume *v =
			find_or_add(c, vs, json_get_string(json_at(list, i), "volume", ""));

		if (v)
			v->supervised = true;
	}
	json_free(j);
}

/* What a person can do about a daemon in this state of the agent's. */
static const char *advice(const char *state)
{
	if (!strcmp(state, "refused"))
		return "correct that, and it is started";
	if (!strcmp(state, "waiting"))
		return "it is started again by itself; see its log";
	if (!strcmp(state, "silent"))
		return "see its log, and the kernel's (dmesg)";
	return "wait a moment";
}

/* What the agent says of a daemon that does not answer. */
static void explain(struct ctl_volume *v, const struct json *j)
{
	const struct json *s = json_get(j, "supervision");
	const char *reason = json_get_string(s, "reason", ""),
		   *state = json_get_string(s, "state", "?"),
		   *config = json_get_string(s, "config", "");
	int64_t since_s = (int64_t)json_get_double(s, "state_since_s", 0);

	err_set(&v->e, -ECONNREFUSED,
		"the daemon does not answer; the agent says: %s for %lld s: %.120s%snext: %s "
		"(%.90s)",
		state, (long long)since_s, reason, reason[0] ? "\n" : "", advice(state), config);
}

static bool call_failed(struct ctl_volume *v, int ret, const struct err *e)
{
	if (ret != -ETIMEDOUT)
		return false;
	v->e = *e;
	return true;
}

static bool ask_status(const struct ctl *c, struct ctl_volume *v, unsigned timeout_ms)
{
	struct json *j, *status;
	char path[128];
	unsigned http;
	struct err e;
	int ret;

	snprintf(path, sizeof(path), "/v1/volumes/%s", v->name);
	ret = http_call_unix(c->agent, path, NULL, timeout_ms, &http, &j, &e);
	if (ret || http != 200) {
		if (!ret)
			json_free(j);
		return ret && call_failed(v, ret, &e);
	}
	status = json_get(j, "status");
	if (status && json_get_double(json_get(j, "supervision"), "answered_s", 0) <= FRESH_S)
		v->answer = json_copy(status);
	else
		explain(v, j);
	json_free(j);
	return true;
}

bool ctl_agent_call(
	const struct ctl *c, struct ctl_volume *v, const struct json *request, unsigned timeout_ms)
{
	const char *verb = json_get_string(request, "verb", "");
	struct json *args, *j;
	char path[160];
	unsigned http;
	struct err e;
	int ret;

	if (!strcmp(verb, "status"))
		return ask_status(c, v, timeout_ms);
	args = json_copy(request);
	json_set_int(args, "timeout_ms", timeout_ms);
	snprintf(path, sizeof(path), "/v1/volumes/%s/%s", v->name, verb);
	ret = http_call_unix(
		c->agent, path, json_text(args, false), timeout_ms + ALIVE_MS, &http, &j, &e);
	json_free(args);
	if (ret)
		return call_failed(v, ret, &e);
	if (!json_get_string(j, "error", NULL)) {
		v->answer = j;
		return true;
	}
	err_set(&v->e, (int)json_get_int(j, "code", -EIO), "%s", json_get_string(j, "error", "?"));
	json_free(j);
	return http != 404; /* an agent that does not know it, or the verb: the daemon may */
}
