/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl failover, failback: asked of this node's agent, which does it as an operation that goes on
 * without this command, and after the agent's own end. This only begins it and follows. With --namespace or --kubeconfig
 * they are about a cluster's applications, and what 'perform' does.
 */
#include <string.h>

#include "ctl.h"

/* VOLUME, or clusterdomain DOMAIN, or --node NODE. */
static int begin(struct ctl *c, const char *kind, unsigned nargs, const char *const *args)
{
	const char *what = nargs ? args[nargs - 1] : c->node;
	struct json *body = json_object(), *j;
	int status;

	json_set_string(body, "kind", kind);
	json_set_string(body, nargs == 2 ? "domain" : nargs ? "volume" : "node", what);
	if (c->to)
		json_set_string(body, "to", c->to);
	if (c->timeout_ms)
		json_set_int(body, "timeout_ms", c->timeout_ms);
	json_set_bool(body, "dry_run", c->dry_run);
	status = ctl_agent_ask(c, what, "/v1/operations", body, &j);
	json_free(body);
	return status ? status : ctl_operation_follow(c, what, j);
}

static int check_args(struct ctl *c, const char *verb, unsigned nargs, const char *const *args)
{
	if (nargs == 2 && strcmp(args[0], "clusterdomain") != 0)
		return ctl_usage_error(
			c, verb, "'%s' what? A VOLUME, or 'clusterdomain DOMAIN'", verb);
	return CTL_OK;
}

/* `what`: a volume, a domain (nargs 2) or a node (nargs 0). */
static int confirm_unplanned(struct ctl *c, unsigned nargs, const char *what)
{
	static const char *const without[] = {"the node", "the active site", "the site"};
	char line[16];

	if (!c->terminal) {
		ctl_fail(c, "%s: going on without %s needs --yes: it must be dead", what,
			without[nargs]);
		return CTL_NEEDS_YES;
	}
	fprintf(c->out,
		"%s: what is here goes on without %s, which must be dead or cut off. Go on? [y/N] ",
		what, without[nargs]);
	fflush(c->out);
	if (fgets(line, sizeof(line), c->in) && (line[0] == 'y' || line[0] == 'Y'))
		return CTL_OK;
	return ctl_fail(c, "%s: nothing was changed", what);
}

static bool is_of_cluster(const struct ctl *c)
{
	return c->ns || c->kubeconfig || c->include || c->exclude || c->schedule ||
	       c->skip_source || c->from;
}

static int of_cluster(struct ctl *c, const char *verb, unsigned nargs, const char *const *args)
{
	if (nargs)
		return ctl_usage_error(c, verb,
			"'%s': a volume or domain is moved by this node's agent, and "
			"applications (--namespace, --kubeconfig) by a cluster: which one?",
			args[nargs - 1]);
	return cmd_perform_verb(c, verb, verb);
}

int cmd_failover(struct ctl *c, unsigned nargs, const char *const *args)
{
	int status;

	if (is_of_cluster(c))
		return of_cluster(c, "failover", nargs, args);
	status = check_args(c, "failover", nargs, args);
	if (status)
		return status;
	if (!nargs != (c->node != NULL))
		return ctl_usage_error(c, "failover",
			nargs ? "--node stands without a VOLUME or a domain"
			      : "what? A VOLUME, 'clusterdomain DOMAIN', or --node NODE; in a "
				"cluster "
				"-n NAMESPACE");
	if (nargs == 1 && !c->to && !c->unplanned)
		return ctl_usage_error(c, "failover",
			"--to DOMAIN is missing (or --unplanned, at the "
			"site that goes on)");
	if (c->unplanned && !c->yes && !c->dry_run)
		status = confirm_unplanned(c, nargs, nargs ? args[nargs - 1] : c->node);
	if (status)
		return status;
	return begin(c, c->unplanned ? "unplanned-failover" : "failover", nargs, args);
}

int cmd_failback(struct ctl *c, unsigned nargs, const char *const *args)
{
	int status;

	if (is_of_cluster(c))
		return of_cluster(c, "failback", nargs, args);
	status = ctl_refuse(c, "failback", "", "--to --node --unplanned --yes");
	if (!status && !nargs)
		status = ctl_usage_error(c, "failback",
			"what? A VOLUME, or 'clusterdomain DOMAIN'; in a cluster -n NAMESPACE");
	if (!status)
		status = check_args(c, "failback", nargs, args);
	return status ? status : begin(c, "failback", nargs, args);
}
