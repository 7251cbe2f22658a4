/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-side apply without force, a batch on several connections at once: a field that somebody over there owns is a
 * conflict, which is reported. The subjects of a binding are one field; there ours and theirs are sent together, so that
 * nobody loses by force what he has.
 *
 * What a failover's stop and start wrote there (counts, suspensions and their annotations) are patches, and of another
 * manager than what was applied, though the name is the same: of a workload that is stopped, or that this pair brought
 * to run, such fields are taken by force. Others' are with spec.forceConflicts; but no workload that runs there and was
 * not brought to run is stopped by that.
 *
 * An object that has the hash of what would be sent, and all of it, is not sent. One that has the hash alone was
 * changed there since.
 *
 * In a dry run the same calls are made, and the server says what it would have done.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kube_migrate.h"

struct run_item {
	const struct kube_kind *kind;
	struct json *obj; /* as it is sent */
	const char *name, *note; /* constant; NULL */
	bool force, is_new, ours,
		anyones; /* the last two: after which conflicts it is sent by force */
	bool forced; /* it was, over others */
	const struct json *there; /* borrowed: as it was found; NULL */
	bool same; /* there with this hash, changed there since */
	bool stayed; /* and the server saw nothing to change */
	int ret;
	struct err e;
};

/* Theirs are added to its subjects, in any order. */
static bool is_binding(const struct json *obj)
{
	return kind_is(obj, "RoleBinding") || kind_is(obj, "ClusterRoleBinding");
}

/* May this run take over what patches of ours wrote to it? */
static bool is_ours(const struct migration_run *r, const struct json *there)
{
	const char *from = annotation_of(there, KEY_FROM);

	return hold_is_workload(there) &&
	       (!hold_runs(there) || (r->o.start_applications && from && !strcmp(from, r->from)));
}

static bool may_force(const struct migration_run *r, const struct json *there)
{
	return r->force && (!hold_is_workload(there) || is_ours(r, there));
}

static bool has_hash(const struct json *prepared, const struct json *there)
{
	const char *ours = annotation_of(prepared, KEY_HASH),
		   *theirs = annotation_of(there, KEY_HASH);

	return theirs && !strcmp(ours, theirs);
}

/* Volumes, claims and what is at cluster scope are completed there by that cluster's own agent and controllers. */
static bool is_unchanged(
	const struct kube_kind *kind, const struct json *prepared, const struct json *there)
{
	return has_hash(prepared, there) && (!kind->namespaced || is_binding(prepared) ||
						    kind_is(prepared, "PersistentVolumeClaim") ||
						    migrate_is_there(prepared, there));
}

static void take(struct run_batch *b, struct run_item item)
{
	if (b->n % 64 == 0) {
		b->items = realloc(b->items, (b->n + 64) * sizeof(*b->items));
		ensure(b->items);
	}
	b->items[b->n++] = item;
}

void run_batch_add(struct migration_run *r, struct run_batch *b, const struct kube_kind *kind,
	const struct json *obj, const struct json *there)
{
	const char *name = meta_of(obj, "name"), *note;
	struct json *p = migrate_prepare_over(&r->o, obj, there, &note);
	bool binding = is_binding(obj);

	if (there && kind_is(obj, "Service") &&
		json_get_bool(r->spec, "skipServiceUpdate", false)) {
		run_report(r, kind, meta_of(p, "namespace"), name, "Skipped",
			"it is there (skipServiceUpdate)");
		json_free(p);
		return;
	}
	if (is_unchanged(kind, p, there)) {
		run_report(r, kind, meta_of(p, "namespace"), name, "Unchanged", note);
		json_free(p);
		return;
	}
	json_set_string(json_path(p, "metadata", "annotations"), KEY_FROM, r->from);
	if (there && binding)
		migrate_merge_subjects(p, there);
	take(b, (struct run_item){.kind = kind,
			.obj = p,
			.name = name,
			.note = note,
			.is_new = !there,
			.there = there,
			.same = has_hash(p, there),
			.ours = there && is_ours(r, there),
			.anyones = there && may_force(r, there),
			.force = there && binding});
}

struct sending {
	struct migration_run *r;
	struct run_batch *b;
};

static const char *version_of(const struct json *obj)
{
	return json_get_string(json_get(obj, "metadata"), "resourceVersion", "");
}

static void send_one(void *ctx, struct kube *here, struct kube *to, unsigned i)
{
	struct sending *s = ctx;
	struct run_item *item = &s->b->items[i];
	struct json *now = NULL;
	unsigned dry = s->r->dry ? KUBE_DRY_RUN : 0;

	if (!lease_hold(s->r->c)) {
		item->ret = err_set(&item->e, -ECANCELED, "stopped, or the lease is another's");
		return;
	}
	item->ret = kube_apply(to, item->kind, item->obj, MIGRATE_MANAGER,
		(item->force ? KUBE_FORCE : 0) | dry, &now, &item->e);
	if (!item->ret && item->same)
		item->stayed = !strcmp(version_of(now), version_of(item->there));
	json_free(now);
	if ((item->ret == -EALREADY && item->ours) ||
		((item->ret == -EALREADY || item->ret == -EBUSY) && item->anyones)) {
		item->forced = item->ret == -EBUSY;
		/* Over what was looked at and nothing newer: a failover may have started it since. */
		json_set_string(json_get(item->obj, "metadata"), "resourceVersion",
			version_of(item->there));
		item->ret = kube_apply(to, item->kind, item->obj, MIGRATE_MANAGER, KUBE_FORCE | dry,
			NULL, &item->e);
	}
}

static void report(struct migration_run *r, const struct run_batch *b, const struct run_item *item)
{
	const char *ns = meta_of(item->obj, "namespace");

	if (!item->ret && item->stayed)
		run_report(r, item->kind, ns, item->name, "Unchanged", item->note);
	else if (r->dry &&
		 (!item->ret || item->ret == -ENOENT)) /* what it needs would be made first */
		run_report(r, item->kind, ns, item->name, "Pending",
			item->note     ? item->note
			: item->forced ? "it would be changed, with fields that others own "
					 "there (forceConflicts)"
			: item->is_new ? "it would be made"
				       : "it would be changed");
	else if (!item->ret)
		run_report(r, item->kind, ns, item->name, "Successful", item->note);
	else if (item->ret == -EPERM && b->forbidden)
		run_report(r, item->kind, ns, item->name, "Skipped", b->forbidden);
	else if (!run_ends(item->ret))
		run_report(r, item->kind, ns, item->name, "Failed", item->e.msg);
}

int run_batch_send(struct migration_run *r, struct run_batch *b, struct err *e)
{
	struct sending s = {.r = r, .b = b};
	int ret = 0;

	if (b->n)
		kube_lanes_run(b->cluster ? r->admin_lanes : r->lanes, b->n, send_one, &s);
	for (unsigned i = 0; i < b->n; i++) {
		struct run_item *item = &b->items[i];

		report(r, b, item);
		if (!ret && item->ret && run_ends(item->ret)) {
			*e = item->e;
			ret = item->ret;
		}
		json_free(item->obj);
	}
	free(b->items);
	*b = (struct run_batch){0};
	return ret;
}
