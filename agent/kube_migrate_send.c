/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending: claims with their volumes first, then what workloads need, the workloads last. Server-side apply without
 * force: a field that somebody over there owns is a conflict, which is reported. An object that has the hash of what
 * would be sent is not sent. The subjects of a binding are one field; there ours and theirs are sent together, so that
 * nobody loses by force what he has.
 *
 * Purging: what this pair brought, and the source does not have any more. It is asked for each object at the source
 * once more, and removed by uid.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "kube_migrate.h"

#define MANAGER "tandem-migrator"

const struct kube_kind kind_volume =
	KUBE_KIND("", "v1", "PersistentVolume", "persistentvolumes", false);

static bool is_unchanged(const struct json *prepared, const struct json *there)
{
	const char *ours = annotation_of(prepared, KEY_HASH),
		   *theirs = annotation_of(there, KEY_HASH);

	return theirs && !strcmp(ours, theirs);
}

static int apply(struct migration_run *r, const struct kube_kind *kind, const struct json *obj,
	const struct json *there, struct err *e)
{
	struct json *p = migrate_prepare(&r->o, obj);
	const char *name = meta_of(obj, "name"), *ns = meta_of(p, "namespace");
	bool force = false;
	int ret = 0;

	if (there && kind_is(obj, "Service") &&
		json_get_bool(r->spec, "skipServiceUpdate", false)) {
		run_report(r, kind, ns, name, "Skipped", "it is there (skipServiceUpdate)");
	} else if (is_unchanged(p, there)) {
		run_report(r, kind, ns, name, "Unchanged", NULL);
	} else {
		json_set_string(json_path(p, "metadata", "annotations"), KEY_FROM, r->from);
		if (there && kind_is(obj, "RoleBinding")) {
			migrate_merge_subjects(p, there);
			force = true;
		}
		ret = kube_apply(r->to, kind, p, MANAGER, force, NULL, e);
		if (!ret)
			run_report(r, kind, ns, name, "Successful", NULL);
		else if (!kube_is_away(ret) && ret != -EACCES)
			run_report(r, kind, ns, name, "Failed", e->msg);
	}
	json_free(p);
	return ret && (kube_is_away(ret) || ret == -EACCES) ? ret : 0;
}

/* The volume that a claim is bound to, so that the claim there is bound to the same. */
static int send_volume(struct migration_run *r, const struct json *claim, struct err *e)
{
	const char *name = json_get_string(json_get(claim, "spec"), "volumeName", NULL);
	struct json *here = NULL, *there = NULL;
	int ret;

	if (!name || !*name)
		return 0;
	ret = kube_get(r->c->kube, &kind_volume, NULL, name, &here, e);
	if (!ret)
		ret = kube_get(r->to, &kind_volume, NULL, name, &there, e);
	if (ret == -ENOENT && here)
		ret = 0;
	if (ret && !kube_is_away(ret)) {
		run_report(r, &kind_volume, NULL, name, "Failed", e->msg);
		ret = 0;
	} else if (!ret && !migrate_skip(&r->o, here)) {
		ret = apply(r, &kind_volume, here, there, e);
	}
	json_free(here);
	json_free(there);
	return ret;
}

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
		{"CronJob", 3},
		{"Job", 3},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(ranks); i++)
		if (!strcmp(kind->kind, ranks[i].kind))
			return ranks[i].rank;
	return 2;
}

static int send_kind(struct migration_run *r, unsigned i, struct err *e)
{
	const struct kube_kind *kind = &r->kinds[i];
	int ret = 0;

	for (unsigned n = 0; n < json_length(r->here[i]) && !ret; n++) {
		const struct json *obj = json_at(r->here[i], n);
		const char *name = meta_of(obj, "name"), *why = migrate_skip(&r->o, obj);

		if (!name || !run_wants(r, obj))
			continue;
		if (why) {
			run_report(r, kind, r->ns, name, "Skipped", why);
			continue;
		}
		if (!lease_hold(r->c))
			return err_set(e, -ECANCELED, "stopped, or the lease is another's");
		if (!strcmp(kind->kind, "PersistentVolumeClaim"))
			ret = send_volume(r, obj, e);
		if (!ret && r->there[i])
			ret = apply(r, kind, obj, run_find(r->there[i], name), e);
	}
	return ret;
}

int run_send(struct migration_run *r, struct err *e)
{
	int ret = 0;

	for (unsigned rank = 0; rank <= 3; rank++)
		for (unsigned i = 0; i < r->nkinds && !ret; i++)
			if (rank_of(&r->kinds[i]) == rank)
				ret = send_kind(r, i, e);
	return ret;
}

/* Was brought by this pair, and is not at the source any more: gone there, too. */
static int purge_one(struct migration_run *r, const struct kube_kind *kind, const char *ns,
	const struct json *there, struct err *e)
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
	ret = kube_delete(r->to, kind, meta_of(there, "namespace"), name, meta_of(there, "uid"), e);
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
	int ret = kube_list(r->to, &kind_volume, NULL, NULL, list, NULL, e);

	for (unsigned n = 0; n < json_length(list) && !ret; n++) {
		const struct json *claim = json_path(json_at(list, n), "spec", "claimRef");

		if (!strcmp(json_get_string(claim, "namespace", ""), r->ns_to))
			ret = purge_one(r, &kind_volume, NULL, json_at(list, n), e);
	}
	json_free(list);
	return ret && kube_is_away(ret) ? ret : 0;
}

int run_purge(struct migration_run *r, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < r->nkinds && !ret; i++)
		for (unsigned n = 0; n < json_length(r->there[i]) && !ret && r->here[i]; n++) {
			const struct json *there = json_at(r->there[i], n);

			if (!lease_hold(r->c))
				return err_set(e, -ECANCELED, "stopped, or the lease is another's");
			if (!run_find(r->here[i], meta_of(there, "name")))
				ret = purge_one(r, &r->kinds[i], r->ns, there, e);
		}
	return ret ? ret : purge_volumes(r, e);
}
