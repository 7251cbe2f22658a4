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

static void gather(struct ctl_volumes *vs, struct domains *ds)
{
	bool silent = false;

	memset(ds, 0, sizeof(*ds));
	for (unsigned i = 0; i < vs->count; i++) {
		if (ctl_code(&vs->v[i]) == 0)
			domains_note(ds, vs->v[i].answer);
		else
			silent = true;
	}
	if (silent)
		domains_silent(ds);
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

static void domains_table(FILE *f, const struct domains *ds)
{
	char active[DOMAINS_CELL_MAX], inactive[DOMAINS_CELL_MAX];
	int a, l = (int)MAX(strlen(ds->local), strlen("LOCAL-DOMAIN"));

	domains_cell(ds, false, active);
	domains_cell(ds, true, inactive);
	a = (int)MAX(strlen(active), strlen("ACTIVE"));
	fprintf(f, "NAME       %-*s   %-*s   INACTIVE\n", l, "LOCAL-DOMAIN", a, "ACTIVE");
	fprintf(f, "tandemfs   %-*s   %-*s   %s\n", l, ds->local, a, active, inactive);
}

/* ---- the command ---- */

static int get_once(struct ctl *c, FILE *f)
{
	struct ctl_volumes *vs;
	struct domains ds;
	struct json *j;
	int status = ctl_volumes_status(c, NULL, &vs);

	if (status)
		return status;
	for (unsigned i = 0; i < vs->count; i++) {
		if (ctl_code(&vs->v[i]) == 0)
			continue;
		status = ctl_fail(c, "volume '%s': %s", vs->v[i].name, ctl_text(&vs->v[i]));
	}
	gather(vs, &ds);
	ctl_volumes_free(vs);
	if (!ctl_output_is_value(c)) {
		domains_table(f, &ds);
		return status;
	}
	j = object_of(&ds);
	ctl_print_value(c, f, j);
	json_free(j);
	return status;
}

/* Prints again whenever it changes; ends with a failure or from outside. */
static int get_watch(struct ctl *c)
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

int cmd_get(struct ctl *c, unsigned nargs, const char *const *args)
{
	static const char *const names[] = {
		"clusterdomainsstatus", "clusterdomainsstatuses", "cds"};

	bool is = false;
	int status = cmd_get_objects(c, args[0], &is);

	if (is)
		return status;
	if (!strcmp(args[0], "operations") && !c->watch)
		return cmd_get_operations(c);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(args[0], names[i]))
			return c->watch ? get_watch(c) : get_once(c, c->out);
	return ctl_usage_error(c, "get",
		"there is no '%s' here%s: clusterdomainsstatus (cds), operations; of a cluster: "
		"failovers (fo), migrations (mig), migrationschedules (ms), clusterpairs (cp), "
		"schedulepolicies (sp), clusterdomainupdates (cdu), rules",
		args[0], strcmp(args[0], "operations") ? "" : " to watch");
}
