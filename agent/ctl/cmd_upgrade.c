/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl upgrade: asked of this node's agent, which replaces the daemons that run another build one after the other,
 * and goes on with it without this command. What would end a mount is asked for first.
 *
 * Failure modes: an agent that dies meanwhile starts again what it has stopped, and forgets the rest: this says so.
 */
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "ctl.h"

#define FOLLOW_US 50000u
#define AWAY_NS (30 * NS_PER_S) /* an agent that was killed is started again */

static bool is(const struct json *j, const char *key, const char *value)
{
	return !strcmp(json_get_string(j, key, ""), value);
}

static bool ends_mount(const struct json *x)
{
	return is(x, "verdict", "ends-mount");
}

static bool has_ended(const struct json *x)
{
	return is(x, "state", "done") || is(x, "state", "failed") || is(x, "state", "left");
}

/* One that is not touched for want of a word is no failure: 3 says what is missing. */
static int status_of(const struct json *x)
{
	if (!is(x, "state", "failed") && !is(x, "state", "left"))
		return CTL_OK;
	return is(x, "state", "left") && ends_mount(x) ? CTL_NEEDS_YES : CTL_FAILED;
}

static int worst(int a, int b)
{
	return a == CTL_FAILED || b == CTL_OK ? a : b;
}

static int print_plan(struct ctl *c, const struct json *j)
{
	const struct json *list = json_get(j, "volumes");

	for (unsigned i = 0; i < json_length(list); i++) {
		const struct json *x = json_at(list, i);

		fprintf(c->out, "%s: %s%s\n", json_get_string(x, "volume", "?"),
			is(x, "verdict", "not-now") || (ends_mount(x) && !c->yes)
				? ""
				: "would be upgraded: ",
			json_get_string(x, "message", "?"));
	}
	return CTL_OK;
}

static void print_nothing(struct ctl *c, const struct json *j)
{
	fprintf(c->out,
		"nothing to do: no daemon of %lld volume%s here runs another build than '%s'\n",
		(long long)json_get_int(j, "count", 0), json_get_int(j, "count", 0) == 1 ? "" : "s",
		json_get_string(j, "program", "?"));
}

/* What has ended since, from *at on: they take turns. */
static void print_news(struct ctl *c, const struct json *j, unsigned *at)
{
	const struct json *list = json_get(j, "volumes");

	for (; *at < json_length(list) && !ctl_output_is_value(c); ++*at) {
		const struct json *x = json_at(list, *at);
		const char *volume = json_get_string(x, "volume", "?"),
			   *message = json_get_string(x, "message", "");

		if (!has_ended(x))
			return;
		if (is(x, "state", "done"))
			fprintf(c->out, "%s: %s; %.3f s\n", volume, message,
				json_get_double(x, "took_s", 0));
		else
			ctl_fail(c, "%s: %s", volume, message);
		fflush(c->out);
	}
}

static int print_end(struct ctl *c, const struct json *j)
{
	const struct json *list = json_get(j, "volumes");
	int status = CTL_OK;

	if (ctl_output_is_value(c))
		ctl_print_value(c, c->out, j);
	for (unsigned i = 0; i < json_length(list); i++)
		status = worst(status, status_of(json_at(list, i)));
	if (is(j, "state", "failed"))
		return ctl_fail(c, "%s", json_get_string(j, "message", "?"));
	return status;
}

/* Takes j, the run as it began. */
static int follow(struct ctl *c, struct json *j)
{
	int64_t begun_ms = json_get_int(j, "begun_ms", 0);
	uint64_t answered_ns = clock_mono_ns();
	unsigned at = 0, http;
	struct json *now;
	struct err e;
	int status;

	while (is(j, "state", "running")) {
		print_news(c, j, &at);
		usleep(FOLLOW_US);
		if (ctl_agent_try(c, "/v1/upgrade", NULL, &http, &now, &e)) {
			if (clock_mono_ns() - answered_ns < AWAY_NS)
				continue;
			json_free(j);
			return ctl_fail(c,
				"%s: an agent that starts again starts what was stopped: then "
				"repeat this",
				e.msg);
		}
		answered_ns = clock_mono_ns();
		json_free(j);
		j = now;
		if (http == 200 && json_get_int(j, "begun_ms", 0) == begun_ms)
			continue;
		json_free(j);
		return ctl_fail(c,
			"the agent was started anew meanwhile, and starts what was stopped: repeat "
			"this for the rest");
	}
	print_news(c, j, &at);
	status = print_end(c, j);
	json_free(j);
	return status;
}

/* On a terminal: those that it would hurt, too? */
static void ask(struct ctl *c, const struct json *j)
{
	const struct json *list = json_get(j, "volumes");
	unsigned n = 0;

	for (unsigned i = 0; i < json_length(list); i++)
		n += ends_mount(json_at(list, i));
	if (!n || c->yes || !c->terminal)
		return;
	print_plan(c, j);
	fprintf(c->out, "End the mounts of %u volume%s? Type yes: ", n, n == 1 ? "" : "s");
	fflush(c->out);
	c->yes = ctl_typed_yes(c);
}

/* Takes body. */
static int begin(struct ctl *c, const char *what, struct json *body)
{
	struct json *j;
	int status;

	json_set_bool(body, "dry_run", false);
	json_set_bool(body, "yes", c->yes);
	if (c->timeout_ms)
		json_set_int(body, "timeout_ms", c->timeout_ms);
	status = ctl_agent_ask(c, what, "/v1/upgrade", body, &j);
	json_free(body);
	if (status || !c->no_wait)
		return status ? status : follow(c, j);
	if (ctl_output_is_value(c))
		ctl_print_value(c, c->out, j);
	else
		fprintf(c->out, "%s: has begun: 'tandemctl upgrade --dry-run' tells what is left\n",
			what);
	json_free(j);
	return CTL_OK;
}

int cmd_upgrade(struct ctl *c, unsigned nargs, const char *const *args)
{
	const char *what = nargs ? args[0] : "upgrade";
	struct json *body = json_object(), *j;
	bool nothing;
	int status;

	if (nargs)
		json_set_string(body, "volume", args[0]);
	json_set_bool(body, "dry_run", true);
	status = ctl_agent_ask(c, what, "/v1/upgrade", body, &j);
	if (status) {
		json_free(body);
		return status;
	}
	nothing = !json_length(json_get(j, "volumes"));
	if (ctl_output_is_value(c) && (nothing || c->dry_run))
		ctl_print_value(c, c->out, j);
	else if (nothing)
		print_nothing(c, j);
	else if (c->dry_run)
		print_plan(c, j);
	else
		ask(c, j);
	json_free(j);
	if (!nothing && !c->dry_run)
		return begin(c, what, body);
	json_free(body);
	return CTL_OK;
}
