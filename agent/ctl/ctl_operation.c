/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations of this node's agent, from outside: asked for, followed, printed. They go on without this command,
 * and after the agent's own end.
 *
 * Failure modes: an agent that does not answer for a while may be starting again; after half a minute the
 * following ends, and says so.
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

#define CALL_MS 10000u
#define FOLLOW_US 50000u
#define AWAY_NS (30 * NS_PER_S) /* an agent that was killed is started again */

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

int ctl_agent_try(struct ctl *c, const char *path, const char *body, unsigned *ret_status,
	struct json **ret_j, struct err *e)
{
	char socket[256];
	int n = snprintf(socket, sizeof(socket), "%s/" AGENT_SOCKET_NAME, c->run_dir);

	if (n < 0 || (size_t)n >= sizeof(socket))
		return err_set(e, -EINVAL, "--run-dir is too long");
	return http_call_unix(socket, path, body, CALL_MS, ret_status, ret_j, e);
}

int ctl_agent_ask(struct ctl *c, const char *what, const char *path, const struct json *body,
	struct json **ret_j)
{
	struct json *j = NULL;
	unsigned http = 0;
	struct err e;
	int ret = ctl_agent_try(c, path, body ? json_text(body, false) : NULL, &http, &j, &e);

	if (!ret && http == 200) {
		*ret_j = j;
		return CTL_OK;
	}
	if (ret == -ECONNREFUSED)
		ctl_fail(
			c, "%s: the agent does not run here (%s): start tandem-agent", what, e.msg);
	else if (body && (ret == -ECONNRESET || ret == -ETIMEDOUT))
		ctl_fail(c,
			"%s: %s: whether the agent has taken it is not known: see 'tandemctl get "
			"operations'",
			what, e.msg);
	else if (ret)
		ctl_fail(c, "%s: %s", what, e.msg);
	else
		ctl_fail(c, "%s: %s", what, json_get_string(j, "error", "the agent refuses"));
	json_free(j);
	return CTL_FAILED;
}

/* ---- one or many: an answer is an operation, or a group with a list of them ---- */

unsigned ctl_operation_count(const struct json *j)
{
	const struct json *list = json_get(j, "operations");

	return list ? json_length(list) : 1;
}

const struct json *ctl_operation_one(const struct json *j, unsigned i)
{
	const struct json *list = json_get(j, "operations");

	return list ? json_at(list, i) : j;
}

static bool is_in(const struct json *op, const char *state)
{
	return !strcmp(json_get_string(op, "state", ""), state);
}

static bool has_ended(const struct json *j)
{
	for (unsigned i = 0; i < ctl_operation_count(j); i++)
		if (!is_in(ctl_operation_one(j, i), "done") &&
			!is_in(ctl_operation_one(j, i), "failed"))
			return false;
	return true;
}

static double seconds(const struct json *j, const char *from, const char *to)
{
	return (double)(json_get_int(j, to, 0) - json_get_int(j, from, 0)) / 1000;
}

/* ---- printing ---- */

/* Prints the steps that have ended since, from *at on. */
static void print_steps(struct ctl *c, const struct json *op, bool many, unsigned *at)
{
	const struct json *steps = json_get(op, "steps");

	for (; *at < json_length(steps); ++*at) {
		const struct json *s = json_at(steps, *at);

		if (!json_get_int(s, "end_ms", 0))
			return;
		if (many)
			fprintf(c->out, "  %-16s", json_get_string(op, "volume", "?"));
		fprintf(c->out, "  %-10s %8.3f s  %s: %s\n", json_get_string(s, "name", "?"),
			seconds(s, "start_ms", "end_ms"), json_get_string(s, "state", "?"),
			json_get_string(s, "message", ""));
		fflush(c->out);
	}
}

static void print_plan(struct ctl *c, const struct json *op, bool many)
{
	const struct json *steps = json_get(op, "steps");

	for (unsigned i = 1; i < json_length(steps); i++) {
		const char *name = json_get_string(json_at(steps, i), "name", "?");

		if (!strcmp(name, "others"))
			continue;
		if (many)
			fprintf(c->out, "  %-16s", json_get_string(op, "volume", "?"));
		fprintf(c->out, "  %-10s would be done at '%s'\n", name,
			json_get_string(op, strcmp(name, "demote") ? "to" : "from", "?"));
	}
}

static int print_end(struct ctl *c, const struct json *op, bool many)
{
	const char *volume = json_get_string(op, "volume", "?");

	if (!is_in(op, "done"))
		return ctl_fail(c, "%s: %s", volume, json_get_string(op, "message", "?"));
	if (c->dry_run)
		print_plan(c, op, many);
	else
		fprintf(c->out, "%s: %s; %.3f s in all\n", volume,
			json_get_string(op, "message", "?"), seconds(op, "created_ms", "ended_ms"));
	return CTL_OK;
}

static int print_ends(struct ctl *c, const struct json *j)
{
	unsigned n = ctl_operation_count(j), failed = 0;
	double longest = 0;

	if (ctl_output_is_value(c))
		ctl_print_value(c, c->out, j);
	for (unsigned i = 0; i < n; i++) {
		const struct json *op = ctl_operation_one(j, i);

		if (ctl_output_is_value(c))
			failed += !is_in(op, "done");
		else
			failed += print_end(c, op, n > 1) != CTL_OK;
		longest = MAX(longest, seconds(op, "created_ms", "ended_ms"));
	}
	if (!ctl_output_is_value(c) && json_get(j, "operations"))
		fprintf(c->out, "%u volume%s: %u %s, %u failed, in %.3f s\n", n, n == 1 ? "" : "s",
			n - failed, c->dry_run ? "can go" : "done", failed, longest);
	return failed ? CTL_FAILED : CTL_OK;
}

/* ---- following ---- */

static int left(struct ctl *c, const char *what, const char *id, const char *why)
{
	return ctl_fail(c,
		"%s: %s; operation %s goes on: 'tandemctl get operations' tells of its end", what,
		why, id);
}

struct follow {
	unsigned *at; /* of each operation: the first step that was not printed */
	bool many;
};

static void print_news(struct ctl *c, const struct follow *f, const struct json *j)
{
	for (unsigned i = 0; i < ctl_operation_count(j) && !ctl_output_is_value(c); i++)
		print_steps(c, ctl_operation_one(j, i), f->many, &f->at[i]);
}

/* Takes *j, and gives what is newest. */
static int wait_for_end(
	struct ctl *c, const char *what, const struct follow *f, struct json **j, const char *id)
{
	uint64_t answered_ns = clock_mono_ns();
	unsigned n = ctl_operation_count(*j), http;
	struct json *now;
	char path[64];
	struct err e;

	snprintf(path, sizeof(path), "/v1/operations/%s", id);
	while (!has_ended(*j)) {
		if (interrupted)
			return left(c, what, id, "interrupted");
		print_news(c, f, *j);
		usleep(FOLLOW_US);
		if (ctl_agent_try(c, path, NULL, &http, &now, &e)) {
			if (clock_mono_ns() - answered_ns < AWAY_NS)
				continue;
			return left(c, what, id, e.msg);
		}
		answered_ns = clock_mono_ns();
		if (http != 200 || ctl_operation_count(now) != n) {
			json_free(now);
			return ctl_fail(c, "%s: the agent does not know of operation %s any more",
				what, id);
		}
		json_free(*j);
		*j = now;
	}
	print_news(c, f, *j);
	return CTL_OK;
}

int ctl_operation_wait(struct ctl *c, const char *what, struct json **j)
{
	struct follow f = {.many = ctl_operation_count(*j) > 1};
	char id[OPERATION_ID_MAX + 1];
	int status;

	snprintf(id, sizeof(id), "%s", json_get_string(*j, "id", ""));
	interrupted = 0;
	sigaction(SIGINT, &(struct sigaction){.sa_handler = on_signal}, NULL);
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
	f.at = calloc(ctl_operation_count(*j) + 1, sizeof(*f.at));
	ensure(f.at);
	status = wait_for_end(c, what, &f, j, id);
	free(f.at);
	return status;
}

int ctl_operation_follow(struct ctl *c, const char *what, struct json *j)
{
	int status;

	if (!c->no_wait || c->dry_run) {
		status = ctl_operation_wait(c, what, &j);
		if (!status)
			status = print_ends(c, j);
	} else {
		status = CTL_OK;
		if (ctl_output_is_value(c))
			ctl_print_value(c, c->out, j);
		else
			fprintf(c->out, "%s: operation %s has begun: 'tandemctl get operations'\n",
				what, json_get_string(j, "id", "?"));
	}
	json_free(j);
	return status;
}
