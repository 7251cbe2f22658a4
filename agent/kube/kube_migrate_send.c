/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending a namespace: volumes, then their claims, then what workloads need, the workloads last. What has the same rank
 * goes over at the same time.
 *
 * Purging: what this pair brought, and the source does not have any more. It is asked for each object at the source
 * once more, and removed by uid.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kube_migrate.h"

static unsigned rank_of(const struct kube_kind *kind)
{
	static const struct {
		const char *kind;
		unsigned rank;
	} ranks[] = {
		{"PersistentVolumeClaim", 0},
		{"ServiceAccount", 1},
		{"Secret", 1},
		{"ConfigMap", 1},
		{"Role", 1},
		{"LimitRange", 1},
		{"ResourceQuota", 1},
		{"Deployment", 3},
		{"StatefulSet", 3},
		{"DaemonSet", 3},
		{"ReplicaSet", 3},
		{"ReplicationController", 3},
		{"CronJob", 3},
		{"Job", 3},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(ranks); i++)
		if (!strcmp(kind->kind, ranks[i].kind))
			return ranks[i].rank;
	return 2;
}

static void add_kind(struct migration_run *r, struct run_batch *b, unsigned i)
{
	const struct kube_kind *kind = &r->kinds[i];
	const struct run_list *l = &r->lists[i];

	for (unsigned n = 0; n < json_length(l->here); n++) {
		const struct json *obj = json_at(l->here, n);
		const char *name = meta_of(obj, "name"), *why = migrate_skip(&r->o, obj);

		if (!name || !run_wants(r, obj))
			continue;
		if (why)
			run_report(r, kind, r->ns, name, "Skipped", why);
		else if (l->there)
			run_batch_add(r, b, kind, obj, index_find(&l->by_name, "name", name));
	}
}

int run_send(struct migration_run *r, struct err *e)
{
	int ret = 0;

	for (unsigned rank = 0; rank <= 3 && !ret; rank++) {
		struct run_batch b = {0};

		for (unsigned i = 0; i < r->nkinds; i++)
			if (rank_of(&r->kinds[i]) == rank)
				add_kind(r, &b, i);
		ret = run_batch_send(r, &b, e);
	}
	return ret;
}

/* Was brought by this pair, and is not at the source any more: gone there, too. */
static int purge_one(struct migration_run *r, struct kube *to, const struct kube_kind *kind,
	const char *ns, const struct json *there, struct err *e)
{
	const char *from = annotation_of(there, KEY_FROM), *name = meta_of(there, "name");
	struct json *here = NULL;
	int ret;

	if (!from || strcmp(from, r->from) || json_path(there, "metadata", "deletionTimestamp"))
		return 0;
	ret = kube_get(r->c->kube, kind, ns, name, &here, e);
	json_free(here);
	if (ret != -ENOENT)
		return ret && kube_is_away(ret) ? ret : 0;
	if (r->dry) {
		run_report(r, kind, meta_of(there, "namespace"), name, "Pending",
			"it would be removed");
		return 0;
	}
	ret = kube_delete(to, kind, meta_of(there, "namespace"), name, meta_of(there, "uid"), e);
	if (ret && kube_is_away(ret))
		return ret;
	if (!ret || ret == -ENOENT)
		run_report(r, kind, meta_of(there, "namespace"), name, "Purged", NULL);
	else
		run_report(r, kind, meta_of(there, "namespace"), name, "Failed", e->msg);
	return 0;
}

static int purge_volumes(struct migration_run *r, struct err *e)
{
	struct json *list = json_array();
	int ret = kube_list(r->admin, &kind_volume, NULL, NULL, list, NULL, e);

	for (unsigned n = 0; n < json_length(list) && !ret; n++) {
		const struct json *claim = json_path(json_at(list, n), "spec", "claimRef");

		if (!strcmp(json_get_string(claim, "namespace", ""), r->ns_to))
			ret = purge_one(r, r->admin, &kind_volume, NULL, json_at(list, n), e);
	}
	json_free(list);
	return ret && kube_is_away(ret) ? ret : 0;
}

int run_purge(struct migration_run *r, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < r->nkinds && !ret; i++) {
		const struct run_list *l = &r->lists[i];
		struct run_index here = {0};

		index_add(&here, l->here);
		index_sort(&here, "name");
		for (unsigned n = 0; n < json_length(l->there) && !ret && l->here; n++) {
			const struct json *there = json_at(l->there, n);

			if (!lease_hold(r->c))
				ret = err_set(e, -ECANCELED, "stopped, or the lease is another's");
			else if (!index_find(&here, "name", meta_of(there, "name")))
				ret = purge_one(r, r->to, &r->kinds[i], r->ns, there, e);
		}
		index_clear(&here);
	}
	return ret ? ret : purge_volumes(r, e);
}
