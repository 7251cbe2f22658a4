/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl failover, failback, get operations: asked of this node's agent, which does it as an operation
 * that goes on without this command, and after the agent's own end. This only begins it and follows.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent_config.h"
#include "clock.h"
#include "ctl.h"
#include "http.h"
#include "operation.h"

#define CALL_MS 5000u
#define FOLLOW_US 50000u
#define AWAY_NS (30 * NS_PER_S) /* an agent that was killed is started again */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

static int ask(struct ctl *c, const char *path, const char *body, unsigned *ret_status,
	struct json **ret_j, struct err *e)
{
	char socket[256];
	int n = snprintf(socket, sizeof(socket), "%s/" AGENT_SOCKET_NAME, c->run_dir);

	if (n < 0 || (size_t)n >= sizeof(socket))
		return err_set(e, -EINVAL, "--run-dir is too long");
	return http_call_unix(socket, path, body, CALL_MS, ret_status, ret_j, e);
}

/* The words for what is not there or was refused. */
static int refused(
	struct ctl *c, const char *what, int ret, const struct json *j, const struct err *e)
{
	if (ret == -ECONNREFUSED)
		return ctl_fail(c, "%s: the agent does not run here (%s): start tandem-agent", what,
			e->msg);
	if (ret)
		return ctl_fail(c, "%s: %s", what, e->msg);
	return ctl_fail(c, "%s: %s", what, json_get_string(j, "error", "the agent refuses"));
}

static double seconds(const struct json *j, const char *from, const char *to)
{
	return (double)(json_get_int(j, to, 0) - json_get_int(j, from, 0)) / 1000;
}

static bool has_ended(const struct json *op)
{
	const char *state = json_get_string(op, "state", "");

	return !strcmp(state, "done") || !strcmp(state, "failed");
}

/* Prints the steps that have ended since, from *at on. */
static void print_steps(struct ctl *c, const struct json *op, unsigned *at)
{
	const struct json *steps = json_get(op, "steps");

	for (; *at < json_length(steps); ++*at) {
		const struct json *s = json_at(steps, *at);

		if (!json_get_int(s, "end_ms", 0))
			return;
		fprintf(c->out, "  %-10s %8.3f s  %s: %s\n", json_get_string(s, "name", "?"),
			seconds(s, "start_ms", "end_ms"), json_get_string(s, "state", "?"),
			json_get_string(s, "message", ""));
		fflush(c->out);
	}
}

static void print_plan(struct ctl *c, const struct json *op)
{
	const struct json *steps = json_get(op, "steps");

	for (unsigned i = 1; i < json_length(steps); i++) {
		const char *name = json_get_string(json_at(steps, i), "name", "?");

		fprintf(c->out, "  %-10s would be done at '%s'\n", name,
			json_get_string(op, strcmp(name, "demote") ? "to" : "from", "?"));
	}
}

static int print_end(struct ctl *c, const struct json *op, bool dry_run)
{
	bool done = !strcmp(json_get_string(op, "state", ""), "done");
	const char *volume = json_get_string(op, "volume", "?");

	if (ctl_output_is_value(c)) {
		ctl_print_value(c, c->out, op);
		return done ? CTL_OK : CTL_FAILED;
	}
	if (!done)
		return ctl_fail(c, "%s: %s", volume, json_get_string(op, "message", "?"));
	if (dry_run)
		print_plan(c, op);
	else
		fprintf(c->out, "%s: %s; %.3f s in all\n", volume,
			json_get_string(op, "message", "?"), seconds(op, "created_ms", "ended_ms"));
	return CTL_OK;
}

static int left(struct ctl *c, const char *volume, const char *id, const char *why)
{
	return ctl_fail(c,
		"%s: %s; operation %s goes on: 'tandemctl get operations' tells of its end", volume,
		why, id);
}

/* Takes op. An agent that does not answer for a while may be starting again. */
static int follow(struct ctl *c, const char *volume, struct json *op, bool dry_run)
{
	uint64_t answered_ns = clock_mono_ns();
	char id[OPERATION_ID_MAX + 1], path[64];
	unsigned at = 0, http;
	struct json *j;
	struct err e;
	int status;

	snprintf(id, sizeof(id), "%s", json_get_string(op, "id", ""));
	snprintf(path, sizeof(path), "/v1/operations/%s", id);
	while (!has_ended(op) && !interrupted) {
		if (!ctl_output_is_value(c))
			print_steps(c, op, &at);
		usleep(FOLLOW_US);
		if (ask(c, path, NULL, &http, &j, &e)) {
			if (clock_mono_ns() - answered_ns < AWAY_NS)
				continue;
			json_free(op);
			return left(c, volume, id, e.msg);
		}
		answered_ns = clock_mono_ns();
		if (http != 200) {
			status = refused(c, volume, 0, j, &e);
			json_free(j);
			json_free(op);
			return status;
		}
		json_free(op);
		op = j;
	}
	if (!ctl_output_is_value(c))
		print_steps(c, op, &at);
	status = has_ended(op) ? print_end(c, op, dry_run) : left(c, volume, id, "interrupted");
	json_free(op);
	return status;
}

static int begin(struct ctl *c, const char *kind, const char *volume)
{
	struct json *body = json_object(), *j = NULL;
	unsigned http;
	struct err e;
	int ret;

	json_set_string(body, "kind", kind);
	json_set_string(body, "volume", volume);
	if (c->to)
		json_set_string(body, "to", c->to);
	if (c->timeout_ms)
		json_set_int(body, "timeout_ms", c->timeout_ms);
	json_set_bool(body, "dry_run", c->dry_run);
	ret = ask(c, "/v1/operations", json_text(body, false), &http, &j, &e);
	json_free(body);
	if (ret || http != 200) {
		ret = refused(c, volume, ret, j, &e);
		json_free(j);
		return ret;
	}
	if (c->no_wait && !c->dry_run) {
		if (ctl_output_is_value(c))
			ctl_print_value(c, c->out, j);
		else
			fprintf(c->out, "%s: operation %s has begun: 'tandemctl get operations'\n",
				volume, json_get_string(j, "id", "?"));
		json_free(j);
		return CTL_OK;
	}
	interrupted = 0;
	sigaction(SIGINT, &(struct sigaction){.sa_handler = on_signal}, NULL);
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
	return follow(c, volume, j, c->dry_run);
}

int cmd_failover(struct ctl *c, unsigned nargs, const char *const *args)
{
	if (!c->to && !c->unplanned)
		return ctl_usage_error(c, "failover",
			"--to DOMAIN is missing (or --unplanned, at the "
			"site that goes on)");
	if (c->unplanned && !c->yes && !c->dry_run) {
		char line[16];

		if (!c->terminal) {
			ctl_fail(c,
				"%s: going on without the active site needs --yes: it must be dead",
				args[0]);
			return CTL_NEEDS_YES;
		}
		fprintf(c->out,
			"%s: this site goes on without the active one, which must be dead or cut "
			"off. Go "
			"on? [y/N] ",
			args[0]);
		fflush(c->out);
		if (!fgets(line, sizeof(line), c->in) || (line[0] != 'y' && line[0] != 'Y'))
			return ctl_fail(c, "%s: nothing was changed", args[0]);
	}
	return begin(c, c->unplanned ? "unplanned-failover" : "failover", args[0]);
}

int cmd_failback(struct ctl *c, unsigned nargs, const char *const *args)
{
	return begin(c, "failback", args[0]);
}

int cmd_get_operations(struct ctl *c)
{
	const struct json *list;
	struct json *j = NULL;
	unsigned http;
	struct err e;
	int ret = ask(c, "/v1/operations", NULL, &http, &j, &e);

	if (ret || http != 200) {
		ret = refused(c, "operations", ret, j, &e);
		json_free(j);
		return ret;
	}
	list = json_get(j, "operations");
	if (ctl_output_is_value(c)) {
		ctl_print_value(c, c->out, list);
		json_free(j);
		return CTL_OK;
	}
	fprintf(c->out, "%-17s %-18s %-16s %-12s %-12s %-12s %s\n", "ID", "KIND", "VOLUME", "FROM",
		"TO", "STATE", "MESSAGE");
	for (unsigned i = 0; i < json_length(list); i++) {
		const struct json *op = json_at(list, i);

		fprintf(c->out, "%-17s %-18s %-16s %-12s %-12s %-12s %s\n",
			json_get_string(op, "id", "?"), json_get_string(op, "kind", "?"),
			json_get_string(op, "volume", "?"), json_get_string(op, "from", "?"),
			json_get_string(op, "to", "?"), json_get_string(op, "state", "?"),
			json_get_string(op, "message", ""));
	}
	json_free(j);
	return CTL_OK;
}
