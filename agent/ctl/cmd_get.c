/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl get: what there is, in the tables that users of Stork know, from what the daemons of this node
 * say. A domain's state is that of all its volumes together: inactive where one of them has it so, and as
 * much in sync as the one that is least.
 *
 * Failure modes: a volume whose daemon does not answer makes its domains' sync status unknown; the exit status
 * says so too.
 */
#include "ctl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "domains.h"

#define WATCH_NS NS_PER_S

int ctl_domains(struct ctl *c, struct ctl_volumes **ret_vs, struct domains *ds)
{
	int status = ctl_volumes_status(c, NULL, ret_vs);
	struct ctl_volumes *vs = *ret_vs;
	bool silent = false;

	if (status)
		return status;
	memset(ds, 0, sizeof(*ds));
	for (unsigned i = 0; i < vs->count; i++) {
		if (ctl_code(&vs->v[i]) == 0)
			domains_note(ds, vs->v[i].answer);
		else
			silent = true;
	}
	if (silent)
		domains_silent(ds);
	return CTL_OK;
}

/* ---- clusterdomainsstatus ---- */

static struct json *object_of(const struct domains *ds)
{
	struct json *j = json_object(), *meta = json_object(), *status = json_object();

	json_set_string(j, "apiVersion", "tandemfs.dev/v1alpha1");
	json_set_string(j, "kind", "ClusterDomainsStatus");
	json_set_string(meta, "name", "tandemfs");
	json_set(j, "metadata", meta);
	json_set_string(status, "localDomain", ds->local);
	json_set(status, "clusterDomainInfos", domains_json(ds, false));
	json_set(j, "status", status);
	return j;
}

/* The columns of the object in a cluster. Nobody made one here: there is no time in CREATED. */
static void domains_table(FILE *f, const struct domains *ds, bool wide)
{
	char active[DOMAINS_CELL_MAX], inactive[DOMAINS_CELL_MAX], volumes[DOMAINS_CELL_MAX],
		quorum[DOMAINS_CELL_MAX];
	const char *const cells[][2] = {{"NAME", "tandemfs"}, {"LOCAL-DOMAIN", ds->local},
		{"ACTIVE", domains_cell(ds, false, active)},
		{"INACTIVE", domains_cell(ds, true, inactive)}, {"CREATED", "-"},
		{"VOLUMES", domains_volumes(ds, volumes)}, {"QUORUM", domains_quorum(ds, quorum)}};
	unsigned n = wide ? ARRAY_SIZE(cells) : ARRAY_SIZE(cells) - 2;

	for (unsigned row = 0; row < 2; row++)
		for (unsigned i = 0; i < n; i++)
			fprintf(f, "%-*s%s",
				i + 1 < n ? (int)MAX(strlen(cells[i][0]), strlen(cells[i][1])) : 0,
				cells[i][row], i + 1 < n ? "   " : "\n");
}

static int get_domains(struct ctl *c, FILE *f)
{
	struct ctl_volumes *vs;
	struct domains ds;
	struct json *j;
	int status = ctl_domains(c, &vs, &ds);

	if (status)
		return status;
	for (unsigned i = 0; i < vs->count; i++) {
		if (ctl_code(&vs->v[i]) == 0)
			continue;
		status = ctl_fail(c, "volume '%s': %s", vs->v[i].name, ctl_text(&vs->v[i]));
	}
	ctl_volumes_free(vs);
	if (!ctl_output_is_value(c)) {
		domains_table(f, &ds, c->output == CTL_OUTPUT_WIDE);
		return status;
	}
	j = object_of(&ds);
	ctl_print_value(c, f, j);
	json_free(j);
	return status;
}

/* ---- operations ---- */

static int get_operations(struct ctl *c, FILE *f)
{
	const struct json *list;
	struct json *j;
	int status = ctl_agent_ask(c, "operations", "/v1/operations", NULL, &j);

	if (status)
		return status;
	list = json_get(j, "operations");
	if (ctl_output_is_value(c)) {
		ctl_print_value(c, f, list);
		json_free(j);
		return CTL_OK;
	}
	fprintf(f, "%-20s %-18s %-16s %-12s %-12s %-12s %s\n", "ID", "KIND", "VOLUME", "FROM", "TO",
		"STATE", "MESSAGE");
	for (unsigned i = 0; i < json_length(list); i++) {
		const struct json *op = json_at(list, i);

		fprintf(f, "%-20s %-18s %-16s %-12s %-12s %-12s %s\n",
			json_get_string(op, "id", "?"), json_get_string(op, "kind", "?"),
			json_get_string(op, "volume", "?"), json_get_string(op, "from", "?"),
			json_get_string(op, "to", "?"), json_get_string(op, "state", "?"),
			json_get_string(op, "message", ""));
	}
	json_free(j);
	return CTL_OK;
}

/* ---- the command ---- */

/* Prints again whenever it changes; ends with a failure or from outside. */
static int get_watch(struct ctl *c, int (*get_once)(struct ctl *c, FILE *f))
{
	char *before = NULL, *now = NULL;
	int status = CTL_OK;

	while (!status) {
		size_t len;
		FILE *f = open_memstream(&now, &len);

		ensure(f);
		status = get_once(c, f);
		fclose(f);
		if (!status && (!before || strcmp(before, now) != 0)) {
			fputs(now, c->out);
			if (fflush(c->out))
				status = CTL_FAILED;
		}
		free(before);
		before = now;
		now = NULL;
		if (!status)
			nanosleep(&(struct timespec){.tv_sec = WATCH_NS / NS_PER_S}, NULL);
	}
	free(before);
	return status;
}

static int get_of_cluster(struct ctl *c, const char *what)
{
	bool is = false;
	int status = cmd_get_objects(c, what, &is);

	if (is)
		return status;
	return ctl_usage_error(c, "get",
		"there is no '%s' here: clusterdomainsstatus (cds), operations; of a cluster: "
		"failovers (fo), migrations (mig), migrationschedules (ms), clusterpairs (cp), "
		"schedulepolicies (sp), clusterdomainupdates (cdu), rules, volumes (tvol)",
		what);
}

int cmd_get(struct ctl *c, unsigned nargs, const char *const *args)
{
	static const struct {
		const char *name;
		int (*get)(struct ctl *c, FILE *f);
	} things[] = {{"clusterdomainsstatus", get_domains},
		{"clusterdomainsstatuses", get_domains}, {"cds", get_domains},
		{"operations", get_operations}, {"operation", get_operations}};

	int (*get)(struct ctl * c, FILE * f) = NULL;
	bool cluster = true;
	int status = CTL_OK;

	for (unsigned i = 0; i < ARRAY_SIZE(things) && !get; i++)
		if (!strcmp(args[0], things[i].name))
			get = things[i].get;
	if (get == get_domains)
		status = ctl_where(c, "get", &cluster);
	else if (get)
		cluster = false;
	if (status)
		return status;
	if (cluster)
		return get_of_cluster(c, args[0]);
	if (get == get_operations && c->output == CTL_OUTPUT_WIDE)
		return ctl_usage_error(c, "get", "'get operations' has no '--output wide'");
	status = ctl_refuse(c, "get", args[0], "--namespace --all-namespaces --kubeconfig");
	if (status)
		return status;
	return c->watch ? get_watch(c, get) : get(c, c->out);
}
