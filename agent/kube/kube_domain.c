/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ClusterDomainsStatus: one object, "tandemfs", as `tandemctl get clusterdomainsstatus` has it of one node, of all
 * nodes of this site.
 *
 * A node that does not answer makes every sync status unknown, and leaves an inactive domain inactive: what is not
 * known must not look better than it was.
 */
#include "kube_domain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domains.h"
#include "kube_nodes.h"
#include "log.h"
#include "metrics.h"

#define NAME "tandemfs"

const struct kube_kind kind_domains_status = KUBE_KIND(
	"tandemfs.dev", "v1alpha1", "ClusterDomainsStatus", "clusterdomainsstatuses", false);

/* False: somebody did not answer; *ret_why (of 256 bytes) says who. */
static bool gather(const struct kube_control *c, struct domains *ds, char *ret_why)
{
	bool all = true;

	*ret_why = '\0';
	domains_add(ds, c->config->domain);
	for (unsigned i = 0; i < c->nnodes; i++) {
		const struct json *volumes = json_get(c->nodes[i].status, "volumes");

		if (!c->nodes[i].status) {
			snprintf(ret_why, 256, "%.250s", c->nodes[i].error.msg);
			all = false;
		}
		for (unsigned k = 0; k < json_length(volumes); k++) {
			const struct json *status = json_get(json_at(volumes, k), "status");

			if (json_is_object(status)) {
				domains_note(ds, status);
				continue;
			}
			snprintf(ret_why, 256, "volume '%.63s' on node '%.100s' does not answer",
				json_get_string(json_at(volumes, k), "volume", "?"),
				c->nodes[i].name);
			all = false;
		}
	}
	for (unsigned i = 0; i < c->config->npeers; i++) {
		const char *name = c->config->peers[i].domain;
		struct domain *d = domains_find(ds, name) ? NULL : domains_add(ds, name);

		if (d)
			d->sync = DOMAIN_UNKNOWN;
	}
	snprintf(ds->local, sizeof(ds->local), "%s", c->config->domain);
	if (!all)
		domains_silent(ds);
	return all && c->nnodes;
}

/* Those that were known before and nobody speaks of now, and what was inactive. */
static void keep(struct domains *ds, const struct json *infos)
{
	for (unsigned i = 0; i < json_length(infos); i++) {
		const struct json *j = json_at(infos, i);
		const char *name = json_get_string(j, "name", "");
		struct domain *d = domains_add(ds, name);

		if (!d)
			continue;
		d->inactive |= !strcmp(json_get_string(j, "state", ""), "Inactive");
		d->sync = DOMAIN_UNKNOWN;
	}
}

static void say_what_to_do(const struct domains *ds, struct json *infos)
{
	char text[256];

	for (unsigned i = 0; i < ds->count; i++) {
		if (!ds->d[i].inactive)
			continue;
		snprintf(text, sizeof(text),
			"out of quorum until it is activated: 'tandemctl activate clusterdomain "
			"%s', or a ClusterDomainUpdate with 'active: true'",
			ds->d[i].name);
		json_set_string(json_at(infos, i), "message", text);
	}
}

static void set_conditions(
	struct json *status, const struct json *obj, const struct domains *ds, const char *why)
{
	bool in_sync = true, out = false;
	char text[DOMAINS_CELL_MAX];

	for (unsigned i = 0; i < ds->count; i++) {
		in_sync &= ds->d[i].sync == DOMAIN_IN_SYNC;
		out |= ds->d[i].inactive;
	}
	condition_set(status, obj, "Ready", !*why, *why ? "Silent" : "Known",
		*why ? why : "all volumes of this site answer");
	condition_set(status, obj, "InSync", in_sync, in_sync ? "AllInSync" : "Behind",
		in_sync ? "every domain holds everything that was acknowledged"
			: "not every domain is known to hold everything that was acknowledged");
	condition_set(status, obj, "Quorum", !ds->waiting && !out,
		ds->waiting ? "Waiting"
		: out	    ? "DomainOut"
			    : "Complete",
		domains_quorum(ds, text));
}

static void tell_changes(struct kube_control *c, const struct json *obj, const struct json *old,
	const struct domains *ds)
{
	char text[128];

	for (unsigned i = 0; i < json_length(old); i++) {
		const struct json *j = json_at(old, i);
		const struct domain *d = domains_find(ds, json_get_string(j, "name", ""));
		bool was = !strcmp(json_get_string(j, "state", ""), "Inactive");

		if (!d || d->inactive == was)
			continue;
		snprintf(text, sizeof(text), "domain '%s' is %s", d->name,
			was ? "active again" : "inactive");
		kube_event(c->kube, obj, was ? "Normal" : "Warning",
			was ? "DomainActive" : "DomainInactive", text);
	}
}

static void set_metrics(struct kube_control *c, const struct domains *ds)
{
	struct expiry x = {0}; /* the files are read at each look */
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ensure(f);
	fprintf(f, "# HELP tandem_kube_domain_active 0 where the domain was deactivated.\n"
		   "# TYPE tandem_kube_domain_active gauge\n");
	for (unsigned i = 0; i < ds->count; i++)
		fprintf(f, "tandem_kube_domain_active{domain=\"%s\"} %d\n", ds->d[i].name,
			!ds->d[i].inactive);
	fprintf(f, "# HELP tandem_kube_domain_in_sync 1 where every volume is in sync there.\n"
		   "# TYPE tandem_kube_domain_in_sync gauge\n");
	for (unsigned i = 0; i < ds->count; i++)
		fprintf(f, "tandem_kube_domain_in_sync{domain=\"%s\"} %d\n", ds->d[i].name,
			ds->d[i].sync == DOMAIN_IN_SYNC);
	expiry_look(&x, c->config->certificate, c->config->ca);
	metrics_expiry(f, &x, c->config->domain);
	fclose(f);
	health_section(c->health, HEALTH_DOMAINS, text);
}

static int open_status(struct kube_control *c, struct json **ret_obj, struct err *e)
{
	int ret = kube_get(c->kube, &kind_domains_status, NULL, NAME, ret_obj, e);
	struct json *made, *meta;

	if (ret != -ENOENT)
		return ret;
	made = json_object();
	meta = json_object();
	json_set_string(made, "apiVersion", "tandemfs.dev/v1alpha1");
	json_set_string(made, "kind", "ClusterDomainsStatus");
	json_set_string(meta, "name", NAME);
	json_set(made, "metadata", meta);
	ret = kube_create(c->kube, &kind_domains_status, made, ret_obj, e);
	json_free(made);
	return ret;
}

static int status_look(struct kube_control *c, struct err *e)
{
	struct domains ds = {0};
	struct json *obj = NULL, *status, *infos, *old;
	char why[256], cell[DOMAINS_CELL_MAX];
	bool all = gather(c, &ds, why);
	int ret = open_status(c, &obj, e);

	if (ret)
		return ret;
	status = json_copy(json_get(obj, "status"));
	if (!status)
		status = json_object();
	old = json_copy(json_get(status, "clusterDomainInfos"));
	if (!all)
		keep(&ds, old);
	if (!all && !*why)
		snprintf(why, sizeof(why), "this site has no engine's pod");
	infos = domains_json(&ds, true);
	say_what_to_do(&ds, infos);
	json_set_string(status, "localDomain", ds.local);
	json_set_bool(status, "updateDryRun", true); /* kube_update.c */
	json_set_string(status, "active", domains_cell(&ds, false, cell));
	json_set_string(status, "inactive", domains_cell(&ds, true, cell));
	json_set_string(status, "volumes", domains_volumes(&ds, cell));
	json_set(status, "clusterDomainInfos", infos);
	set_conditions(status, obj, &ds, why);
	set_metrics(c, &ds);
	ret = status_write(c, &kind_domains_status, obj, status, e);
	if (!ret)
		tell_changes(c, obj, old, &ds);
	json_free(old);
	json_free(obj);
	return ret == -EBUSY ? 0 : ret; /* next time */
}

int domains_look(struct kube_control *c, struct err *e)
{
	int ret = nodes_look(c, NODES_MS_CALM, e);
	bool acted = false;

	if (!ret && lease_hold(c))
		ret = updates_look(c, &acted, e);
	if (!ret && lease_hold(c))
		ret = marks_look(c, e);
	if (!ret && acted && lease_hold(c))
		ret = nodes_look(c, NODES_MS_CALM, e); /* what the updates changed */
	return ret || !lease_hold(c) ? ret : status_look(c, e);
}
