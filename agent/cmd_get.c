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

#define WATCH_NS NS_PER_S
#define DOMAINS_MAX 16u
#define CELL_MAX 512u

enum sync { SYNC_IN_SYNC, SYNC_IN_PROGRESS, SYNC_NOT, SYNC_UNKNOWN }; /* from best to worst */

static const char *const sync_names[] = {
	"InSync", "SyncInProgress", "NotInSync", "SyncStatusUnknown"};

struct domain {
	char name[DOMAIN_LEN_MAX + 1];
	bool inactive;
	enum sync sync;
};

struct domains {
	char local[DOMAIN_LEN_MAX + 1];
	struct domain d[DOMAINS_MAX];
	unsigned count;
};

/* ---- gathering ---- */

static bool in_list(const struct json *list, const char *name)
{
	for (unsigned i = 0; i < json_length(list); i++)
		if (!strcmp(json_string_at(list, i, ""), name))
			return true;
	return false;
}

/* A replica of one volume in this domain, by what is known on this node. */
static void domain_note(
	struct domains *ds, const struct json *status, const char *name, enum sync sync)
{
	unsigned i = 0;

	while (i < ds->count && strcmp(ds->d[i].name, name) != 0)
		i++;
	if (i == DOMAINS_MAX || strlen(name) > DOMAIN_LEN_MAX)
		return;
	if (i == ds->count) {
		ds->d[i] = (struct domain){.sync = SYNC_IN_SYNC};
		snprintf(ds->d[i].name, sizeof(ds->d[i].name), "%s", name);
		ds->count++;
	}
	ds->d[i].inactive |= in_list(json_get(status, "inactive"), name);
	ds->d[i].sync = MAX(ds->d[i].sync, sync);
}

static enum sync peer_sync(const struct json *status, const struct json *peer, const char *name)
{
	const char *state = json_get_string(peer, "state", "");

	if (!strcmp(state, "pulling") || !strcmp(state, "catching-up"))
		return SYNC_IN_PROGRESS;
	if (!in_list(json_get(status, "in_sync"), name))
		return SYNC_NOT;
	/* It was in sync when it was last heard of. */
	return json_get_bool(peer, "connected", false) ? SYNC_IN_SYNC : SYNC_UNKNOWN;
}

/* A replica of this node that is not in the set catches up when it follows somebody. */
static enum sync own_sync(const struct json *status, const char *own)
{
	const struct json *peers = json_get(status, "peers");

	if (!strcmp(json_get_string(status, "role", ""), "recovering"))
		return SYNC_UNKNOWN;
	if (in_list(json_get(status, "in_sync"), own))
		return SYNC_IN_SYNC;
	for (unsigned i = 0; i < json_length(peers); i++) {
		const char *state = json_get_string(json_at(peers, i), "state", "");

		if (!strcmp(state, "followed") || !strcmp(state, "pulling"))
			return SYNC_IN_PROGRESS;
	}
	return SYNC_NOT;
}

static void volume_note(struct domains *ds, const struct json *status)
{
	const char *own = json_get_string(status, "domain", "");
	const struct json *peers = json_get(status, "peers");

	snprintf(ds->local, sizeof(ds->local), "%s", own);
	domain_note(ds, status, own, own_sync(status, own));
	for (unsigned i = 0; i < json_length(peers); i++) {
		const struct json *p = json_at(peers, i);
		const char *name = json_get_string(p, "domain", "");

		domain_note(ds, status, name, peer_sync(status, p, name));
	}
}

static void gather(struct ctl_volumes *vs, struct domains *ds)
{
	bool silent = false;

	memset(ds, 0, sizeof(*ds));
	for (unsigned i = 0; i < vs->count; i++) {
		if (ctl_code(&vs->v[i]) == 0)
			volume_note(ds, vs->v[i].answer);
		else
			silent = true;
	}
	for (unsigned i = 0; silent && i < ds->count; i++)
		ds->d[i].sync = SYNC_UNKNOWN;
}

/* ---- clusterdomainsstatus ---- */

static struct json *domains_json(const struct domains *ds)
{
	struct json *j = json_object(), *meta = json_object(), *status = json_object(),
		    *infos = json_array();

	json_set_string(j, "apiVersion", "tandemfs.dev/v1alpha1");
	json_set_string(j, "kind", "ClusterDomainsStatus");
	json_set_string(meta, "name", "tandemfs");
	json_set(j, "metadata", meta);
	json_set_string(status, "localDomain", ds->local);
	for (unsigned i = 0; i < ds->count; i++) {
		struct json *d = json_object();

		json_set_string(d, "name", ds->d[i].name);
		json_set_string(d, "state", ds->d[i].inactive ? "Inactive" : "Active");
		json_set_string(d, "syncStatus", sync_names[ds->d[i].sync]);
		json_append(infos, d);
	}
	json_set(status, "clusterDomainInfos", infos);
	json_set(j, "status", status);
	return j;
}

static const char *cell(const struct domains *ds, bool inactive, char *buf)
{
	size_t n = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < ds->count; i++)
		if (ds->d[i].inactive == inactive && n < CELL_MAX - 1)
			n += (size_t)snprintf(buf + n, CELL_MAX - n, "%s%s (%s)", n ? ", " : "",
				ds->d[i].name, sync_names[ds->d[i].sync]);
	return buf;
}

static void domains_table(FILE *f, const struct domains *ds)
{
	char active[CELL_MAX], inactive[CELL_MAX];
	int a, l = (int)MAX(strlen(ds->local), strlen("LOCAL-DOMAIN"));

	cell(ds, false, active);
	cell(ds, true, inactive);
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
	j = domains_json(&ds);
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

	if (!strcmp(args[0], "operations") && !c->watch)
		return cmd_get_operations(c);
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(args[0], names[i]))
			return c->watch ? get_watch(c) : get_once(c, c->out);
	return ctl_usage_error(c, "get",
		"there is no '%s' here%s: clusterdomainsstatus (cds), operations", args[0],
		strcmp(args[0], "operations") ? "" : " to watch");
}
