/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl create volume, delete volume: asked of this node's agent, which does it together with the other
 * sites' agents. Both may be typed again after whatever happened, and go on.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_config.h"
#include "clock.h"
#include "ctl.h"
#include "http.h"

#define CREATE_MS 900000u /* both sites zero a journal */
#define DELETE_MS 300000u
#define BUSY_US 100000u
#define READY_MS 60000u

/* POST to the agent; what it still does for somebody who asked before is waited for. */
static int post(const char *socket, const char *path, const struct json *body, unsigned timeout_ms,
	unsigned *ret_status, struct json **ret_j, struct err *e)
{
	uint64_t until = clock_mono_ns() + timeout_ms * NS_PER_MS;

	for (;;) {
		int ret = http_call_unix(
			socket, path, json_text(body, false), timeout_ms, ret_status, ret_j, e);

		if (ret || json_get_int(*ret_j, "code", 0) != -EBUSY || clock_mono_ns() >= until)
			return ret;
		json_free(*ret_j);
		usleep(BUSY_US);
	}
}

/* An exit status; a message is printed. *ret_j: the answer, the caller's, NULL on failure. */
static int ask_agent(struct ctl *c, const char *path, const struct json *body, unsigned timeout_ms,
	const char *what, struct json **ret_j)
{
	char socket[256];
	unsigned status;
	struct json *j;
	struct err e;
	int n = snprintf(socket, sizeof(socket), "%s/" AGENT_SOCKET_NAME, c->run_dir), ret;

	*ret_j = NULL;
	if (n < 0 || (size_t)n >= sizeof(socket))
		return ctl_fail(c, "--run-dir is too long");
	ret = post(socket, path, body, c->timeout_ms ? c->timeout_ms : timeout_ms, &status, &j, &e);
	if (ret == -ECONNREFUSED)
		return ctl_fail(
			c, "%s: the agent does not run here (%s): start tandem-agent", what, e.msg);
	if (ret == -ETIMEDOUT)
		return ctl_fail(
			c, "%s: %s; it goes on: type this again to learn of its end", what, e.msg);
	if (ret)
		return ctl_fail(c, "%s: %s", what, e.msg);
	if (status == 200) {
		*ret_j = j;
		return CTL_OK;
	}
	ret = ctl_fail(c, "%s: %s", what, json_get_string(j, "error", "the agent refuses"));
	json_free(j);
	return ret;
}

static bool is_ready(const struct json *s)
{
	return !strcmp(json_get_string(s, "role", ""), "active") &&
	       json_get_bool(s, "mounted", false) && json_length(json_get(s, "in_sync")) > 1;
}

/* The daemons start, meet and mount. */
static int wait_until_ready(struct ctl *c, const char *name)
{
	unsigned ms = c->timeout_ms ? c->timeout_ms : READY_MS;
	uint64_t until = clock_mono_ns() + ms * NS_PER_MS;
	char socket[256], path[128];

	snprintf(socket, sizeof(socket), "%s/" AGENT_SOCKET_NAME, c->run_dir);
	snprintf(path, sizeof(path), "/v1/volumes/%s", name);
	while (clock_mono_ns() < until) {
		const struct json *s;
		struct json *j;
		unsigned status;
		struct err e;
		bool ready = false;

		if (http_call_unix(socket, path, NULL, 5000, &status, &j, &e) == 0) {
			s = json_get(j, "status");
			ready = s && is_ready(s);
			if (ready)
				fprintf(c->out, "%s: made, in sync, mounted at '%s'\n", name,
					json_get_string(s, "mount", "?"));
			json_free(j);
		}
		if (ready)
			return CTL_OK;
		usleep(100000);
	}
	return ctl_fail(c,
		"%s: made, but it is not in sync and mounted after %u s: see 'tandemctl status %s'",
		name, ms / 1000, name);
}

/* What becomes of the mount when its daemon ends, as the agent's answer tells. */
static void say_holder(struct ctl *c, const char *name, const struct json *answer)
{
	if (!json_get(answer, "holder"))
		return; /* an older agent */
	if (json_get_bool(answer, "holder", false))
		fprintf(c->out, "%s: the mount outlives its daemon (holder = yes)\n", name);
	else if (c->no_holder)
		fprintf(c->out, "%s: the mount ends with its daemon (--no-holder)\n", name);
	else
		fprintf(c->out,
			"%s: the mount ends with its daemon: this kernel cannot send requests "
			"again to a new one, Linux 6.9 can\n",
			name);
}

int cmd_create(struct ctl *c, unsigned nargs, const char *const *args)
{
	struct json *body, *answer;
	int status;

	if (!strcmp(args[0], "migration"))
		return cmd_create_migration(c, args[1]);
	if (!strcmp(args[0], "clusterpair"))
		return cmd_create_clusterpair(c, args[1]);
	if (strcmp(args[0], "volume") != 0)
		return ctl_usage_error(c, "create",
			"'%s' cannot be created; a volume, a migration and a clusterpair can",
			args[0]);
	status = ctl_refuse(c, "create", "volume",
		"--namespace --kubeconfig --cluster-pair --migration-schedule --include-namespaces "
		"--exclude-namespaces --skip-source-operations --dry-run --wait --no-wait "
		"--output --src-kubeconfig --dest-kubeconfig --unidirectional --service-account");
	if (status)
		return status;
	if (!c->size)
		return ctl_usage_error(c, "create", "--size SIZE is missing");
	if (c->holder && c->no_holder)
		return ctl_usage_error(c, "create", "--holder or --no-holder, not both");
	body = json_object();
	json_set_string(body, "volume", args[1]);
	json_set_string(body, "size", c->size);
	if (c->holder || c->no_holder)
		json_set_bool(body, "holder", c->holder);
	if (c->ack)
		json_set_string(body, "ack", c->ack);
	if (c->mode)
		json_set_string(body, "mode", c->mode);
	if (c->owner)
		json_set_string(body, "owner", c->owner);
	if (c->peer_node)
		json_set_string(body, "peer_node", c->peer_node);
	status = ask_agent(c, "/v1/volumes", body, CREATE_MS, args[1], &answer);
	json_free(body);
	if (!status)
		status = wait_until_ready(c, args[1]);
	if (!status)
		say_holder(c, args[1], answer);
	json_free(answer);
	return status;
}

/* On a terminal the volume's name must be typed: this cannot be taken back. */
static bool is_meant(struct ctl *c, const char *name)
{
	char line[128];

	fprintf(c->out,
		"All data of volume '%s' %s will be removed, and cannot be brought back.\nType the "
		"volume's name to go on: ",
		name, c->local ? "on this node" : "on all sites");
	fflush(c->out);
	if (!fgets(line, sizeof(line), c->in))
		return false;
	line[strcspn(line, "\n")] = '\0';
	return !strcmp(line, name);
}

int cmd_delete(struct ctl *c, unsigned nargs, const char *const *args)
{
	char path[160];
	struct json *body, *answer;
	int status;

	if (strcmp(args[0], "volume") != 0)
		return ctl_usage_error(
			c, "delete", "'%s' cannot be deleted; a volume can", args[0]);
	if (strlen(args[1]) > VOLUME_NAME_MAX || strchr(args[1], '/'))
		return ctl_usage_error(c, "delete", "'%s' is no volume's name", args[1]);
	if (!c->yes && !c->terminal) {
		ctl_fail(c, "%s: removing all its data needs --yes", args[1]);
		return CTL_NEEDS_YES;
	}
	if (!c->yes && !is_meant(c, args[1]))
		return ctl_fail(c, "%s: nothing was removed", args[1]);
	body = json_object();
	json_set_bool(body, "local", c->local);
	snprintf(path, sizeof(path), "/v1/volumes/%s/delete", args[1]);
	status = ask_agent(c, path, body, DELETE_MS, args[1], &answer);
	json_free(body);
	json_free(answer);
	if (status)
		return status;
	fprintf(c->out, "%s: removed %s\n", args[1], c->local ? "here" : "on all sites");
	return CTL_OK;
}
