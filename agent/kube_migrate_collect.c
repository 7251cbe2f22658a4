/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in a namespace here, and in the one it is copied to. A kind that may not be read here is a failure of that
 * kind and not of the run; a namespace that is missing there is made.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kube_migrate.h"
#include "log.h"

const struct kube_kind kind_namespace = KUBE_KIND("", "v1", "Namespace", "namespaces", false);

static bool names_kind(const char *text, const struct kube_kind *kind)
{
	size_t n = strlen(kind->group);

	if (!strcasecmp(text, kind->kind) || !strcasecmp(text, kind->plural))
		return true;
	return n && !strncasecmp(text, kind->group, n) && text[n] == '/' &&
	       (!strcasecmp(text + n + 1, kind->kind) || !strcasecmp(text + n + 1, kind->plural));
}

/* The spec's words for a kind of the core have no group; people write "apps/Deployment" for others. */
bool run_wants_kind(const struct migration_run *r, const struct kube_kind *kind)
{
	const struct json *not = json_get(r->spec, "excludeResourceTypes");
	struct json *any = json_object(), *meta = json_object();
	char version[330];
	bool wanted;

	for (unsigned i = 0; i < json_length(not ); i++)
		if (names_kind(json_string_at(not, i, ""), kind)) {
			json_free(any);
			json_free(meta);
			return false;
		}
	/* A kind of which every object stays behind is not even read. */
	snprintf(version, sizeof(version), "%s%s%s", kind->group, kind->group[0] ? "/" : "",
		kind->version);
	json_set_string(any, "apiVersion", version);
	json_set_string(any, "kind", kind->kind);
	json_set_string(meta, "name", "any");
	json_set(any, "metadata", meta);
	wanted = !migrate_skip(&r->o, any);
	json_free(any);
	return wanted && kind->namespaced && kind->listed && kind->written;
}

bool run_wants(const struct migration_run *r, const struct json *obj)
{
	const struct json *labels = json_path(obj, "metadata", "labels"),
			  *all = json_get(r->spec, "selectors"),
			  *none = json_get(r->spec, "excludeSelectors");
	struct json_member m;

	for (bool ok = json_first(all, &m); ok; ok = json_next(&m))
		if (!json_equal(json_get(labels, m.key), m.value))
			return false;
	for (bool ok = json_first(none, &m); ok; ok = json_next(&m))
		if (m.value && json_equal(json_get(labels, m.key), m.value))
			return false;
	return true;
}

const struct json *run_find(const struct json *list, const char *name)
{
	for (unsigned i = 0; i < json_length(list); i++) {
		const char *n = meta_of(json_at(list, i), "name");

		if (n && !strcmp(n, name))
			return json_at(list, i);
	}
	return NULL;
}

/* Nothing more can be done now, as opposed to: not with this kind. */
static bool ends_run(int error)
{
	return kube_is_away(error) || error == -EACCES;
}

static int make_namespace(struct migration_run *r, struct err *e)
{
	struct json *ns = NULL, *meta;
	int ret = kube_get(r->to, &kind_namespace, NULL, r->ns_to, &ns, e);

	json_free(ns);
	if (ret != -ENOENT)
		return ret == -EPERM
			       ? 0
			       : ret; /* whoever may not look will see with the first object */
	ns = json_object();
	meta = json_object();
	json_set_string(ns, "apiVersion", "v1");
	json_set_string(ns, "kind", "Namespace");
	json_set_string(meta, "name", r->ns_to);
	json_set(ns, "metadata", meta);
	ret = kube_create(r->to, &kind_namespace, ns, NULL, e);
	json_free(ns);
	if (ret && ret != -EEXIST)
		return err_wrap(e, "namespace '%s' is missing there", r->ns_to);
	return 0;
}

static int collect_there(struct migration_run *r, unsigned i, struct err *e)
{
	const struct kube_kind *kind = &r->kinds[i];
	struct json *list = json_array();
	int ret = kube_list(r->to, kind, r->ns_to, NULL, list, NULL, e);

	if (!ret) {
		r->there[i] = list;
		return 0;
	}
	json_free(list);
	if (ends_run(ret))
		return ret;
	if (!json_length(r->here[i])) /* nothing to send, and nothing of ours to see */
		return 0;
	run_report(r, kind, r->ns_to, "*", "Failed",
		ret == -ENOENT ? "the other cluster does not have this kind" : e->msg);
	return 0;
}

/* Runs there what a migration brought stopped? Then its people have switched, and ours must not overwrite it. */
static bool is_activated(const struct migration_run *r, const struct json *there)
{
	struct json *stop;

	if (r->o.start_applications || !annotation_of(there, KEY_FROM) ||
		strcmp(annotation_of(there, KEY_FROM), r->from) ||
		!json_path(there, "metadata", "labels", KEY_MIGRATED))
		return false;
	stop = hold_stop(there);
	json_free(stop);
	return stop != NULL;
}

int run_collect(struct migration_run *r, struct err *e)
{
	bool purge = json_get_bool(r->spec, "purgeDeletedResources", false);
	int ret = make_namespace(r, e);

	for (unsigned i = 0; i < r->nkinds && !ret; i++) {
		struct json *list = json_array();

		ret = kube_list(r->c->kube, &r->kinds[i], r->ns, NULL, list, NULL, e);
		if (!ret) {
			r->here[i] = list;
		} else {
			json_free(list);
			if (ends_run(ret))
				return ret;
			run_report(r, &r->kinds[i], r->ns, "*", "Failed", e->msg);
			ret = 0;
			continue;
		}
		if (purge || json_length(list))
			ret = collect_there(r, i, e);
		for (unsigned n = 0; !ret && n < json_length(r->there[i]); n++) {
			if (!is_activated(r, json_at(r->there[i], n)))
				continue;
			r->activated = true;
			return err_set(e, -EBUSY,
				"%s '%s' was started in the other cluster: nothing is copied over "
				"what runs there",
				r->kinds[i].kind, meta_of(json_at(r->there[i], n), "name"));
		}
		if (!lease_hold(r->c))
			return err_set(e, -ECANCELED, "stopped, or the lease is another's");
	}
	return ret;
}
