/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl perform failover|failback, and failover|failback about a cluster: makes a Failover object in the cluster that is to run the applications, and
 * tells of its steps until it has ended. The object is all that counts: who is interrupted here looks at it with
 * 'tandemctl get failovers'.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "ctl.h"
#include "kube.h"
#include "switch.h"

#define FOLLOW_US 100000u
#define AWAY_NS (60 * NS_PER_S) /* so long may the API be away */

static const struct kube_kind kind_failover =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "Failover", "failovers", false);
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	interrupted = 1;
}

/* The one other domain, by what the leader there keeps; to be freed. NULL: it is not clear which, or an error. */
static char *other_domain(struct kube *k, struct err *e)
{
	struct json *all = json_array();
	const struct json *status, *infos;
	const char *other = NULL;
	unsigned n = 0;
	char *ret;

	kube_list(k, &ctl_kind_domains, NULL, NULL, all, NULL, e);
	status = json_get(json_at(all, 0), "status");
	infos = json_get(status, "clusterDomainInfos");
	for (unsigned i = 0; i < json_length(infos); i++) {
		const char *name = json_get_string(json_at(infos, i), "name", "");

		if (strcmp(name, json_get_string(status, "localDomain", "")) != 0) {
			other = name;
			n++;
		}
	}
	ret = n == 1 ? strdup(other) : NULL;
	json_free(all);
	return ret;
}

static struct json *spec_of(const struct ctl *c)
{
	struct json *spec = json_object();

	if (c->to)
		json_set_string(spec, "toDomain", c->to);
	if (c->node)
		json_set_string(spec, "node", c->node);
	if (c->include)
		json_set(spec, "namespaces", ctl_list_of(c->include));
	else if (c->ns)
		json_set(spec, "namespaces", ctl_list_of(c->ns));
	if (c->exclude)
		json_set(spec, "excludeNamespaces", ctl_list_of(c->exclude));
	if (c->schedule) {
		struct json *ref = json_object();

		json_set_string(ref, "name", c->schedule);
		if (c->ns)
			json_set_string(ref, "namespace", c->ns);
		json_set(spec, "migrationScheduleReference", ref);
	}
	if (c->skip_source)
		json_set_bool(spec, "skipSourceOperations", true);
	if (c->dry_run)
		json_set_bool(spec, "dryRun", true);
	if (c->timeout_ms)
		json_set_int(spec, "timeoutSeconds", MAX(c->timeout_ms / 1000, 1u));
	return spec;
}

static bool has_ended(const struct json *obj)
{
	return !strcmp(json_get_string(json_get(obj, "status"), "stage", ""),
		switch_stage_name(STAGE_FINAL));
}

/* Each step once, when it has ended. */
static void print_steps(struct ctl *c, const struct json *obj, unsigned *told)
{
	const struct json *steps = json_get(json_get(obj, "status"), "steps");

	for (; *told < json_length(steps); (*told)++) {
		const struct json *s = json_at(steps, *told);
		uint64_t from = switch_time_parse(json_get_string(s, "startTime", NULL)),
			 to = switch_time_parse(json_get_string(s, "endTime", NULL));

		if (!to)
			return;
		fprintf(c->out, "  %-20s %-10s %8.3f s  %s\n", json_get_string(s, "name", "?"),
			json_get_string(s, "state", "?"), (double)(to - MIN(from, to)) / 1000,
			json_get_string(s, "message", ""));
		fflush(c->out);
	}
}

static int print_end(struct ctl *c, const struct json *obj)
{
	const struct json *status = json_get(obj, "status");
	const char *how = json_get_string(status, "status", "?"),
		   *name = json_get_string(json_get(obj, "metadata"), "name", "?");

	if (ctl_output_is_value(c))
		ctl_print_value(c, c->out, obj);
	if (strcmp(how, "Successful") != 0)
		return ctl_fail(c, "%s: %s: %s", name, how, json_get_string(status, "reason", ""));
	if (!ctl_output_is_value(c))
		fprintf(c->out, "%s: %s; %s in all\n", name, json_get_string(status, "reason", ""),
			json_get_string(status, "elapsedTime", "?"));
	return CTL_OK;
}

/* Takes obj. */
static int follow(struct ctl *c, struct kube *k, struct json *obj)
{
	char *name = strdup(json_get_string(json_get(obj, "metadata"), "name", ""));
	uint64_t answered_ns = clock_mono_ns();
	unsigned told = 0;
	int status = CTL_OK;

	ensure(name);
	while (!status && !has_ended(obj)) {
		struct json *now = NULL;
		struct err e = {0};
		int ret;

		usleep(FOLLOW_US);
		ret = kube_get(k, &kind_failover, NULL, name, &now, &e);
		if (ret == -ENOENT)
			status = ctl_fail(c,
				"Failover '%s' was deleted: what it had not done is not done",
				name);
		else if (ret ? !kube_is_away(ret) || clock_mono_ns() - answered_ns > AWAY_NS
			     : interrupted != 0)
			status = ctl_fail(c,
				"%s: %s; it goes on: 'tandemctl get failovers' tells of its end",
				name, ret ? e.msg : "interrupted");
		if (ret)
			continue;
		answered_ns = clock_mono_ns();
		json_free(obj);
		obj = now;
		if (!ctl_output_is_value(c))
			print_steps(c, obj, &told);
	}
	if (!status)
		status = print_end(c, obj);
	json_free(obj);
	free(name);
	return status;
}

static int confirmed(struct ctl *c, const char *from)
{
	const char *dead = c->node ? c->node : from;
	char line[16];

	if (!c->unplanned || c->yes || c->dry_run)
		return CTL_OK;
	if (!c->terminal) {
		ctl_fail(c, "going on without %s'%s' needs --yes: it must be dead",
			c->node ? "node " : "", dead);
		return CTL_NEEDS_YES;
	}
	fprintf(c->out,
		"This site goes on without %s'%s', which must be dead or cut off. Go on? [y/N] ",
		c->node ? "node " : "", dead);
	fflush(c->out);
	if (!fgets(line, sizeof(line), c->in) || (line[0] != 'y' && line[0] != 'Y'))
		return ctl_fail(c, "nothing was changed");
	return CTL_OK;
}

int cmd_perform_follow(struct ctl *c, struct kube *k, struct json *obj)
{
	interrupted = 0;
	sigaction(SIGINT, &(struct sigaction){.sa_handler = on_signal}, NULL);
	sigaction(SIGTERM, &(struct sigaction){.sa_handler = on_signal}, NULL);
	return follow(c, k, obj);
}

int cmd_perform_one(struct ctl *c, struct kube *k, const char *what, const char *type,
	const char *from, struct json *spec)
{
	struct json *obj = ctl_kube_object("Failover", what, spec), *made = NULL;
	struct err e = {0};
	int ret;

	json_set_string(spec, "type", type);
	json_set_string(spec, "fromDomain", from);
	ret = kube_create(k, &kind_failover, obj, &made, &e);
	json_free(obj);
	if (ret)
		return ctl_fail(c, "%s", e.msg);
	if (!ctl_output_is_value(c))
		fprintf(c->out, "Failover '%s' (%s) from '%s'\n",
			json_get_string(json_get(made, "metadata"), "name", "?"), type, from);
	if (c->no_wait) {
		if (ctl_output_is_value(c))
			ctl_print_value(c, c->out, made);
		json_free(made);
		return CTL_OK;
	}
	return cmd_perform_follow(c, k, made);
}

int cmd_perform_verb(struct ctl *c, const char *command, const char *verb)
{
	struct kube *k = NULL;
	struct err e = {0};
	char *from;
	int ret;

	if (!strcmp(verb, "failback") && c->unplanned)
		return ctl_usage_error(
			c, command, "--unplanned is for a 'failover': a failback needs both sites");
	if (c->ns && c->include && !c->schedule)
		return ctl_usage_error(c, command,
			"--namespace and --include-namespaces: which ones? (with a "
			"--migration-schedule the first is where that is)");
	ret = ctl_refuse(c, command, command == verb ? "" : verb, "--run-dir");
	if (ret)
		return ret;
	ret = ctl_kube_open(c, &k, NULL);
	if (ret)
		return ret;
	from = c->from ? strdup(c->from) : other_domain(k, &e);
	if (!from && e.code)
		ret = ctl_fail(
			c, "which domain they leave is not known (--from names it): %s", e.msg);
	else if (!from)
		ret = ctl_usage_error(c, command,
			"--from DOMAIN is missing: the domain that the applications leave");
	if (!ret)
		ret = confirmed(c, from);
	if (!ret)
		ret = cmd_perform_one(c, k, verb,
			c->unplanned		   ? "Unplanned"
			: strcmp(verb, "failback") ? "Planned"
						   : "Failback",
			from, spec_of(c));
	free(from);
	kube_free(k);
	return ret;
}

int cmd_perform(struct ctl *c, unsigned nargs, const char *const *args)
{
	if (strcmp(args[0], "failover") != 0 && strcmp(args[0], "failback") != 0)
		return ctl_usage_error(c, "perform",
			"'perform' what? A 'failover' or a 'failback', not '%s'", args[0]);
	return cmd_perform_verb(c, "perform", args[0]);
}
