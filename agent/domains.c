/* SPDX-License-Identifier: Apache-2.0 */
#include "domains.h"

#include <stdio.h>
#include <string.h>

static const char *const sync_names[] = {
	"InSync", "SyncInProgress", "NotInSync", "SyncStatusUnknown"};

const char *domain_sync_name(enum domain_sync sync)
{
	return sync_names[sync];
}

static bool in_list(const struct json *list, const char *name)
{
	for (unsigned i = 0; i < json_length(list); i++)
		if (!strcmp(json_string_at(list, i, ""), name))
			return true;
	return false;
}

const struct domain *domains_find(const struct domains *ds, const char *name)
{
	for (unsigned i = 0; i < ds->count; i++)
		if (!strcmp(ds->d[i].name, name))
			return &ds->d[i];
	return NULL;
}

struct domain *domains_add(struct domains *ds, const char *name)
{
	const struct domain *there = domains_find(ds, name);
	struct domain *d;

	if (there)
		return &ds->d[there - ds->d];
	if (ds->count == DOMAINS_MAX || !name[0] || strlen(name) > DOMAIN_LEN_MAX)
		return NULL;
	d = &ds->d[ds->count++];
	*d = (struct domain){.sync = DOMAIN_IN_SYNC};
	snprintf(d->name, sizeof(d->name), "%s", name);
	return d;
}

/* A replica of one volume in this domain. */
static void note(
	struct domains *ds, const struct json *status, const char *name, enum domain_sync sync)
{
	struct domain *d = domains_add(ds, name);

	if (!d)
		return;
	d->inactive |= in_list(json_get(status, "inactive"), name);
	d->sync = MAX(d->sync, sync);
	d->volumes++;
	d->in_sync += sync == DOMAIN_IN_SYNC;
}

static enum domain_sync peer_sync(
	const struct json *status, const struct json *peer, const char *name)
{
	const char *state = json_get_string(peer, "state", "");

	if (!strcmp(state, "pulling") || !strcmp(state, "catching-up"))
		return DOMAIN_IN_PROGRESS;
	if (!in_list(json_get(status, "in_sync"), name))
		return DOMAIN_NOT_IN_SYNC;
	/* It was in sync when it was last heard of. */
	return json_get_bool(peer, "connected", false) ? DOMAIN_IN_SYNC : DOMAIN_UNKNOWN;
}

/* A replica of this node that is not in the set catches up when it follows somebody. */
static enum domain_sync own_sync(const struct json *status, const char *own)
{
	const struct json *peers = json_get(status, "peers");

	if (!strcmp(json_get_string(status, "role", ""), "recovering"))
		return DOMAIN_UNKNOWN;
	if (in_list(json_get(status, "in_sync"), own))
		return DOMAIN_IN_SYNC;
	for (unsigned i = 0; i < json_length(peers); i++) {
		const char *state = json_get_string(json_at(peers, i), "state", "");

		if (!strcmp(state, "followed") || !strcmp(state, "pulling"))
			return DOMAIN_IN_PROGRESS;
	}
	return DOMAIN_NOT_IN_SYNC;
}

/* Without an active side, or with one in the set that is not heard: what somebody must decide. */
static void note_quorum(struct domains *ds, const struct json *status)
{
	const char *volume = json_get_string(status, "volume", "?"),
		   *next = json_get_string(status, "next", "");
	const char *active = json_get_string(status, "active_domain", ""), *silent = NULL;
	const struct json *peers = json_get(status, "peers");

	if (!strcmp(json_get_string(status, "role", ""), "recovering"))
		return;
	for (unsigned i = 0; i < json_length(peers) && !silent; i++) {
		const char *name = json_get_string(json_at(peers, i), "domain", "");

		if (in_list(json_get(status, "in_sync"), name) &&
			!json_get_bool(json_at(peers, i), "connected", false))
			silent = name;
	}
	if (active[0] && !silent)
		return;
	if (!ds->waiting++)
		snprintf(ds->why, sizeof(ds->why), "volume '%.63s': %.63s%s%s%.100s", volume,
			silent ? silent : "no domain is active",
			silent ? " is in the set and does not answer" : "", next[0] ? ": " : "",
			next);
}

void domains_note(struct domains *ds, const struct json *status)
{
	const char *own = json_get_string(status, "domain", "");
	const struct json *peers = json_get(status, "peers");

	snprintf(ds->local, sizeof(ds->local), "%s", own);
	ds->volumes++;
	note(ds, status, own, own_sync(status, own));
	for (unsigned i = 0; i < json_length(peers); i++) {
		const struct json *p = json_at(peers, i);
		const char *name = json_get_string(p, "domain", "");

		note(ds, status, name, peer_sync(status, p, name));
	}
	note_quorum(ds, status);
}

void domains_silent(struct domains *ds)
{
	for (unsigned i = 0; i < ds->count; i++)
		ds->d[i].sync = DOMAIN_UNKNOWN;
}

const char *domains_cell(const struct domains *ds, bool inactive, char buf[static DOMAINS_CELL_MAX])
{
	size_t n = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < ds->count; i++)
		if (ds->d[i].inactive == inactive && n < DOMAINS_CELL_MAX - 1)
			n += (size_t)snprintf(buf + n, DOMAINS_CELL_MAX - n, "%s%s (%s)",
				n ? ", " : "", ds->d[i].name, sync_names[ds->d[i].sync]);
	return buf;
}

const char *domains_volumes(const struct domains *ds, char buf[static DOMAINS_CELL_MAX])
{
	size_t n = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < ds->count && n < DOMAINS_CELL_MAX - 1; i++)
		n += (size_t)snprintf(buf + n, DOMAINS_CELL_MAX - n, "%s%s %u/%u", n ? ", " : "",
			ds->d[i].name, ds->d[i].in_sync, ds->d[i].volumes);
	return buf;
}

const char *domains_quorum(const struct domains *ds, char buf[static DOMAINS_CELL_MAX])
{
	const struct domain *out = NULL;

	for (unsigned i = 0; i < ds->count && !out; i++)
		out = ds->d[i].inactive ? &ds->d[i] : NULL;
	if (ds->waiting)
		snprintf(buf, DOMAINS_CELL_MAX, "%s", ds->why);
	else if (out)
		snprintf(buf, DOMAINS_CELL_MAX, "%s is out until it is activated", out->name);
	else
		snprintf(buf, DOMAINS_CELL_MAX, "all domains count");
	return buf;
}

struct json *domains_json(const struct domains *ds, bool counts)
{
	struct json *infos = json_array();

	for (unsigned i = 0; i < ds->count; i++) {
		const struct domain *d = &ds->d[i];
		struct json *j = json_object();

		json_set_string(j, "name", d->name);
		json_set_string(j, "state", d->inactive ? "Inactive" : "Active");
		json_set_string(j, "syncStatus", sync_names[d->sync]);
		if (counts) {
			json_set_int(j, "volumes", d->volumes);
			json_set_int(j, "volumesInSync", d->in_sync);
		}
		json_append(infos, j);
	}
	return infos;
}
