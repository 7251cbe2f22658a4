/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a namespace needs at cluster scope, and no more: itself with its labels, the definitions of the custom kinds that
 * are in it, the volumes of its claims and their StorageClasses, the classes of priority that its pods name, the roles
 * that its bindings name, and the bindings that name its accounts. Definitions come first, bindings last; and behind the
 * namespace's objects the webhooks whose service is in it.
 *
 * It goes by the administrators' pair where one is named. What is there already and was not brought by us is left as
 * it is, but for volumes, whose binding is ours; a StorageClass that is there is left in any case. A right that is missing
 * is told for each object that is missing there for it, with the ClusterRole that gives it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "kube_migrate.h"

#define SERVED_NS (10 * NS_PER_S) /* how long a new definition may take until its kind is served */

const struct kube_kind kind_namespace = KUBE_KIND("", "v1", "Namespace", "namespaces", false);
const struct kube_kind kind_volume =
	KUBE_KIND("", "v1", "PersistentVolume", "persistentvolumes", false);
static const struct kube_kind kind_crd = KUBE_KIND("apiextensions.k8s.io", "v1",
	"CustomResourceDefinition", "customresourcedefinitions", false);
static const struct kube_kind kind_priority =
	KUBE_KIND("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", false);
static const struct kube_kind kind_role =
	KUBE_KIND("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", false);
static const struct kube_kind kind_binding = KUBE_KIND(
	"rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", false);

static const struct kube_kind kind_webhooks[] = {
	KUBE_KIND("admissionregistration.k8s.io", "v1", "ValidatingWebhookConfiguration",
		"validatingwebhookconfigurations", false),
	KUBE_KIND("admissionregistration.k8s.io", "v1", "MutatingWebhookConfiguration",
		"mutatingwebhookconfigurations", false),
};

/* --- the namespace --- */

static void report_namespace(struct migration_run *r, int error, bool there, const char *words)
{
	if (r->dry && !error)
		run_report(r, &kind_namespace, NULL, r->ns_to, "Pending",
			there ? "its labels would be changed" : "it would be made");
	else if (!error)
		run_report(r, &kind_namespace, NULL, r->ns_to, "Successful", NULL);
	else if (error == -EPERM)
		run_report(r, &kind_namespace, NULL, r->ns_to, "Skipped",
			"it is there, and no right to change its labels (ClusterRole "
			"tandem-migrator-cluster, or adminClusterPair)");
	else
		run_report(r, &kind_namespace, NULL, r->ns_to,
			error == -EBUSY || error == -EALREADY ? "Skipped" : "Failed", words);
}

int run_namespace_made(struct migration_run *r, const struct json *here, struct err *e)
{
	struct json *there = NULL, *p = migrate_prepare(&r->o, here);
	int ret = kube_get(r->admin, &kind_namespace, NULL, r->ns_to, &there, e);
	const char *hash = annotation_of(there, KEY_HASH), *uid = meta_of(there, "uid");
	bool known = hash && !strcmp(hash, annotation_of(p, KEY_HASH));

	if (ret == -EPERM) { /* whoever may not look will see with the first object */
		report_namespace(r, ret, true, NULL);
		ret = 0;
	} else if (!ret && uid && !strcmp(uid, meta_of(here, "uid"))) {
		ret = err_set(e, -EINVAL, "the pair leads to this very cluster");
	} else if (!ret && known) {
		run_report(r, &kind_namespace, NULL, r->ns_to, "Unchanged", NULL);
	} else if (!ret || ret == -ENOENT) {
		json_set_string(json_get(p, "metadata"), "name", r->ns_to);
		json_set_string(json_path(p, "metadata", "annotations"), KEY_FROM, r->from);
		ret = kube_apply(r->admin, &kind_namespace, p, MIGRATE_MANAGER,
			r->dry ? KUBE_DRY_RUN : 0, NULL, e);
		if (ret && !there) {
			err_wrap(e, "namespace '%s' is missing there", r->ns_to);
		} else if (!run_ends(ret)) {
			report_namespace(r, ret, there != NULL, e->msg);
			ret = 0;
		}
		r->ns_missing = !there && r->dry;
	}
	json_free(there);
	json_free(p);
	return ret;
}

/* --- what is needed --- */

struct need {
	const struct kube_kind *kind;
	struct json *names; /* members */
	bool listed; /* all objects at once: there may be many */
	const char *
		forbidden; /* as of run_batch; it is no failure either where they may not be read */
	struct json *here, *there;
	struct run_index there_by_name;
};

enum { NEED_CRD, NEED_PRIORITY, NEED_ROLE, NEED_CLASS, NEED_VOLUME, NEED_BINDING, NEEDS };

static void want(struct need *n, const char *name)
{
	if (name && *name)
		json_set_bool(n->names, name, true);
}

static void want_of(struct need *all, const struct json *obj)
{
	const struct json *ref = json_get(obj, "roleRef");
	const struct json *pods[] = {json_path(obj, "spec", "template", "spec"),
		json_path(obj, "spec", "jobTemplate", "spec", "template", "spec")};

	for (unsigned i = 0; i < ARRAY_SIZE(pods); i++)
		want(&all[NEED_PRIORITY], json_get_string(pods[i], "priorityClassName", NULL));
	if (!strcmp(json_get_string(ref, "kind", ""), "ClusterRole"))
		want(&all[NEED_ROLE], json_get_string(ref, "name", NULL));
	if (kind_is(obj, "PersistentVolumeClaim")) {
		want(&all[NEED_VOLUME], json_get_string(json_get(obj, "spec"), "volumeName", NULL));
		want(&all[NEED_CLASS], migrate_class_name(obj));
	}
}

static bool is_sent(const struct migration_run *r, const struct json *obj)
{
	return run_wants(r, obj) && !migrate_skip(&r->o, obj);
}

static void want_all(struct migration_run *r, struct need *all)
{
	for (unsigned i = 0; i < r->nkinds; i++) {
		const struct run_list *l = &r->lists[i];
		bool any = false;

		for (unsigned n = 0; n < json_length(l->here); n++) {
			if (!is_sent(r, json_at(l->here, n)))
				continue;
			any = true;
			want_of(all, json_at(l->here, n));
		}
		if (any && run_is_custom(&r->kinds[i])) {
			char name[600];

			snprintf(
				name, sizeof(name), "%s.%s", r->kinds[i].plural, r->kinds[i].group);
			want(&all[NEED_CRD], name);
		}
	}
}

/* A binding of one of the namespace's accounts, and the role that it names. */
static void want_bindings(struct migration_run *r, struct need *all)
{
	const struct need *b = &all[NEED_BINDING];

	for (unsigned i = 0; i < json_length(b->here); i++) {
		const struct json *obj = json_at(b->here, i), *subjects = json_get(obj, "subjects");
		bool ours = false;

		for (unsigned n = 0; n < json_length(subjects); n++)
			ours |= !strcmp(
				json_get_string(json_at(subjects, n), "namespace", ""), r->ns);
		if (!ours || !is_sent(r, obj))
			continue;
		want(&all[NEED_BINDING], meta_of(obj, "name"));
		want(&all[NEED_ROLE], json_get_string(json_get(obj, "roleRef"), "name", NULL));
	}
}

/* --- reading it --- */

static int read_here(struct migration_run *r, struct need *n, struct err *e)
{
	struct json_member m;
	int ret = 0;

	n->here = json_array();
	if (n->listed)
		ret = kube_list(r->c->kube, n->kind, NULL, NULL, n->here, NULL, e);
	for (bool ok = json_first(n->names, &m); ok && !n->listed && !ret; ok = json_next(&m)) {
		struct json *obj = NULL;

		ret = kube_get(r->c->kube, n->kind, NULL, m.key, &obj, e);
		if (!ret) {
			json_set_string(obj, "kind", n->kind->kind);
			json_append(n->here, obj);
		} else if (!run_ends(ret)) {
			run_report(r, n->kind, NULL, m.key, ret == -ENOENT ? "Skipped" : "Failed",
				ret == -ENOENT ? "there is none" : e->msg);
			ret = 0;
		}
	}
	if (ret == -EPERM && n->forbidden)
		run_report(r, n->kind, NULL, "*", "Skipped",
			"no right to read them here (ClusterRole tandem-agent)");
	else if (ret && !run_ends(ret))
		run_report(r, n->kind, NULL, "*", "Failed", e->msg);
	return run_ends(ret) ? ret : 0;
}

/* What cannot be read there is sent, and the answer says what is wrong. */
static int read_there(struct migration_run *r, struct need *n, struct err *e)
{
	struct json_member m;
	int ret = 0;

	n->there = json_array();
	if (n->listed && json_first(n->names, &m))
		ret = kube_list(r->admin, n->kind, NULL, NULL, n->there, NULL, e);
	for (bool ok = json_first(n->names, &m); ok && !n->listed && !run_ends(ret);
		ok = json_next(&m)) {
		struct json *obj = NULL;

		ret = kube_get(r->admin, n->kind, NULL, m.key, &obj, e);
		if (!ret)
			json_append(n->there, obj);
	}
	index_add(&n->there_by_name, n->there);
	index_sort(&n->there_by_name, "name");
	return run_ends(ret) ? ret : 0;
}

/* --- sending it --- */

static const char *why_not(
	const struct migration_run *r, const struct json *obj, const struct json *there)
{
	const struct json *claim = json_path(obj, "spec", "claimRef");
	const char *why = migrate_skip(&r->o, obj), *from = annotation_of(there, KEY_FROM);

	if (why)
		return why;
	if (kind_is(obj, "PersistentVolume"))
		return claim && strcmp(json_get_string(claim, "namespace", ""), r->ns) != 0
			       ? "it is bound to a claim of another namespace"
			       : NULL;
	return there && !from ? "it is there, and was not brought by a migration" : NULL;
}

static void key_of(const struct kube_kind *kind, const char *name, char *ret, size_t size)
{
	snprintf(ret, size, "%s/%s", kind->kind, name);
}

static int send_need(struct migration_run *r, struct need *n, struct err *e)
{
	struct run_batch b = {.cluster = true, .forbidden = n->forbidden};
	int ret = read_there(r, n, e);

	for (unsigned i = 0; i < json_length(n->here) && !ret; i++) {
		const struct json *obj = json_at(n->here, i), *there;
		const char *name = meta_of(obj, "name"), *why;
		char key[400];

		if (!name || !json_get(n->names, name))
			continue;
		key_of(n->kind, name, key, sizeof(key));
		if (json_get(r->cluster, key)) /* with another namespace */
			continue;
		there = index_find(&n->there_by_name, "name", name);
		why = why_not(r, obj, there);
		if (why)
			run_report(r, n->kind, NULL, name, "Skipped", why);
		else
			run_batch_add(r, &b, n->kind, obj, there);
	}
	return ret ? ret : run_batch_send(r, &b, e);
}

/* A class of ours, where it is missing. */
static int send_class(struct migration_run *r, const struct json *class, struct err *e)
{
	const char *name = meta_of(class, "name");
	struct class_there there = {0};
	char why[200];
	int ret;

	if (!class_is_ours(class)) {
		run_report(r, &kind_class, NULL, name, "Skipped",
			"its provisioner is another: each cluster has its own");
		return 0;
	}
	ret = class_bring(r->admin, class, r->from, r->dry, &there, e);
	if (run_ends(ret))
		return ret;
	if (ret) {
		run_report(r, &kind_class, NULL, name, "Failed", e->msg);
	} else if (there.differs) {
		snprintf(why, sizeof(why), "it is there with another %s, and is left as it is",
			there.differs);
		run_report(r, &kind_class, NULL, name, "Skipped", why);
	} else {
		run_report(r, &kind_class, NULL, name,
			!there.missing ? "Unchanged"
			: r->dry       ? "Pending"
				       : "Successful",
			there.missing && r->dry ? "it would be made" : NULL);
	}
	return 0;
}

static int send_classes(struct migration_run *r, const struct need *n, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < json_length(n->here) && !ret; i++) {
		char key[400];

		key_of(n->kind, meta_of(json_at(n->here, i), "name"), key, sizeof(key));
		if (!json_get(r->cluster, key)) /* with another namespace */
			ret = send_class(r, json_at(n->here, i), e);
	}
	return ret;
}

/* Kinds that were not served there before their definition came. */
static int wait_served(struct migration_run *r, struct err *e)
{
	uint64_t end = clock_mono_ns() + SERVED_NS;
	int ret = 0;

	for (unsigned i = 0; i < r->nkinds && !run_ends(ret); i++) {
		const struct kube_kind *kind = &r->kinds[i];
		struct run_list *l = &r->lists[i];
		char key[700];

		if (l->there || !json_length(l->here))
			continue;
		snprintf(key, sizeof(key), "%s/%s.%s", kind_crd.kind, kind->plural, kind->group);
		if (!json_get(r->cluster, key))
			continue; /* why was reported */
		do {
			struct json *list = json_array();

			ret = kube_list(r->to, kind, r->ns_to, NULL, list, NULL, e);
			if (!ret)
				l->there = list;
			else
				json_free(list);
			if (ret == -ENOENT)
				kube_pause(r->c->stop, 100 * NS_PER_MS);
		} while (ret == -ENOENT && !r->dry && clock_mono_ns() < end && lease_hold(r->c));
		if (ret && !run_ends(ret) && !r->dry)
			run_report(r, kind, r->ns_to, "*", "Failed", e->msg);
		if (r->dry && ret == -ENOENT)
			l->there = json_array();
		index_add(&l->by_name, l->there);
		index_sort(&l->by_name, "name");
	}
	return run_ends(ret) ? ret : 0;
}

/* The claims with the volumes that they are bound to, for the status. */
static void note_volumes(struct migration_run *r, const struct run_list *l)
{
	for (unsigned i = 0; i < json_length(l->here); i++) {
		const struct json *claim = json_at(l->here, i);
		const char *volume = json_get_string(json_get(claim, "spec"), "volumeName", NULL),
			   *status;
		struct json *line;
		char key[400];
		bool done;

		if (!volume || !*volume || !is_sent(r, claim))
			continue;
		key_of(&kind_volume, volume, key, sizeof(key));
		status = json_get_string(r->cluster, key, "Failed");
		done = !strcmp(status, "Successful") || !strcmp(status, "Unchanged");
		line = json_object();
		json_set_string(line, "persistentVolumeClaim", meta_of(claim, "name"));
		json_set_string(line, "namespace", r->ns);
		json_set_string(line, "volume", volume);
		json_set_string(line, "status",
			done			     ? "Successful"
			: !strcmp(status, "Pending") ? "Pending"
						     : "Failed");
		json_set_int(line, "bytesTotal", 0);
		json_append(r->volumes, line);
		r->nvolumes++;
		r->volumes_done += done;
	}
}

static void needs_clear(struct need *all, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		json_free(all[i].names);
		json_free(all[i].here);
		json_free(all[i].there);
		index_clear(&all[i].there_by_name);
	}
}

int run_send_cluster(struct migration_run *r, struct err *e)
{
	struct need all[NEEDS] = {
		[NEED_CRD] = {.kind = &kind_crd},
		[NEED_PRIORITY] = {.kind = &kind_priority},
		[NEED_ROLE] = {.kind = &kind_role},
		[NEED_CLASS] = {.kind = &kind_class},
		[NEED_VOLUME] = {.kind = &kind_volume, .listed = true},
		[NEED_BINDING] = {.kind = &kind_binding, .listed = true},
	};
	int ret;

	for (unsigned i = 0; i < NEEDS; i++)
		all[i].names = json_object();
	ret = read_here(r, &all[NEED_BINDING], e);
	want_all(r, all);
	want_bindings(r, all);
	for (unsigned i = 0; i < NEEDS && !ret; i++) {
		struct json_member m;

		if (!json_first(all[i].names, &m))
			continue;
		if (i != NEED_BINDING)
			ret = read_here(r, &all[i], e);
		if (!ret)
			ret = i == NEED_CLASS ? send_classes(r, &all[i], e)
					      : send_need(r, &all[i], e);
		if (!ret && i == NEED_CRD)
			ret = wait_served(r, e);
	}
	for (unsigned i = 0; i < r->nkinds && !ret; i++)
		if (!strcmp(r->kinds[i].kind, "PersistentVolumeClaim"))
			note_volumes(r, &r->lists[i]);
	needs_clear(all, NEEDS);
	return ret;
}

/* --- webhooks --- */

static bool asks_namespace(const struct json *obj, const char *ns)
{
	const struct json *hooks = json_get(obj, "webhooks");

	for (unsigned i = 0; i < json_length(hooks); i++)
		if (!strcmp(json_get_string(json_path(json_at(hooks, i), "clientConfig", "service"),
				    "namespace", ""),
			    ns))
			return true;
	return false;
}

int run_send_webhooks(struct migration_run *r, struct err *e)
{
	int ret = 0;

	for (unsigned k = 0; k < ARRAY_SIZE(kind_webhooks) && !ret; k++) {
		struct need n = {.kind = &kind_webhooks[k],
			.names = json_object(),
			.listed = true,
			.forbidden = "no right to make it there (ClusterRole "
				     "tandem-migrator-cluster, or adminClusterPair)"};
		struct json_member any;

		ret = run_excludes_kind(r, n.kind) ? 0 : read_here(r, &n, e);
		for (unsigned i = 0; i < json_length(n.here); i++)
			if (asks_namespace(json_at(n.here, i), r->ns) &&
				is_sent(r, json_at(n.here, i)))
				want(&n, meta_of(json_at(n.here, i), "name"));
		if (!ret && json_first(n.names, &any))
			ret = send_need(r, &n, e);
		needs_clear(&n, 1);
	}
	return ret;
}
