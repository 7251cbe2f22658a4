/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is in a namespace here, and in the one it is copied to: all kinds at once, on several connections. A kind that may
 * not be read is a failure of that kind and not of the run. A custom kind that nobody gave us the right to read is
 * not ours to copy: it is reported as skipped, with the right that is missing.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "kube_migrate.h"
#include "log.h"

static bool names_kind(const char *text, const struct kube_kind *kind)
{
	size_t n = strlen(kind->group);

	if (!strcasecmp(text, kind->kind) || !strcasecmp(text, kind->plural))
		return true;
	return n && !strncasecmp(text, kind->group, n) && text[n] == '/' &&
	       (!strcasecmp(text + n + 1, kind->kind) || !strcasecmp(text + n + 1, kind->plural));
}

/* The spec's words for a kind of the core have no group; people write "apps/Deployment" for others. */
bool run_excludes_kind(const struct migration_run *r, const struct kube_kind *kind)
{
	const struct json *not = json_get(r->spec, "excludeResourceTypes");

	for (unsigned i = 0; i < json_length(not ); i++)
		if (names_kind(json_string_at(not, i, ""), kind))
			return true;
	return false;
}

bool run_wants_kind(const struct migration_run *r, const struct kube_kind *kind)
{
	struct json *any, *meta;
	char version[330];
	bool wanted;

	if (run_excludes_kind(r, kind))
		return false;
	any = json_object();
	meta = json_object();
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

bool run_ends(int error)
{
	return kube_is_away(error) || error == -EACCES;
}

/* --- lists --- */

struct collecting {
	struct migration_run *r;
	bool purge;
	struct one {
		int here, there;
		struct err e_here, e_there;
	} * all; /* by kind */
};

static int list(struct kube *k, const struct kube_kind *kind, const char *ns, struct json **ret,
	struct err *e)
{
	struct json *l = json_array();
	int ret_list = kube_list(k, kind, ns, NULL, l, NULL, e);

	if (ret_list)
		json_free(l);
	else
		*ret = l;
	return ret_list;
}

static void collect_one(void *ctx, struct kube *here, struct kube *to, unsigned i)
{
	struct collecting *c = ctx;
	struct migration_run *r = c->r;
	struct one *one = &c->all[i];

	if (!lease_hold(r->c)) {
		one->here = err_set(&one->e_here, -ECANCELED, "stopped, or the lease is another's");
		return;
	}
	one->here = list(here, &r->kinds[i], r->ns, &r->lists[i].here, &one->e_here);
	if (!one->here && !r->ns_missing && (c->purge || json_length(r->lists[i].here)))
		one->there = list(to, &r->kinds[i], r->ns_to, &r->lists[i].there, &one->e_there);
	if (r->ns_missing)
		r->lists[i].there = json_array();
}

bool run_is_custom(const struct kube_kind *kind)
{
	const char *dot = strchr(kind->group, '.');
	size_t n = strlen(kind->group);

	return dot && (n < 7 || strcmp(kind->group + n - 7, ".k8s.io") != 0);
}

static int judge(struct migration_run *r, unsigned i, const struct one *one, struct err *e)
{
	const struct kube_kind *kind = &r->kinds[i];
	char why[400];

	if (one->here && run_ends(one->here)) {
		*e = one->e_here;
		return one->here;
	}
	if (one->here == -EPERM && run_is_custom(kind)) {
		snprintf(why, sizeof(why),
			"no right to read them here: a Role with list, get and watch of "
			"%.150s.%.150s for "
			"the agent gives it",
			kind->plural, kind->group);
		run_report(r, kind, r->ns, "*", "Skipped", why);
		return 0;
	}
	if (one->here) {
		run_report(r, kind, r->ns, "*", "Failed", one->e_here.msg);
		return 0;
	}
	if (!one->there)
		return 0;
	if (run_ends(one->there)) {
		*e = one->e_there;
		return one->there;
	}
	if (one->there == -ENOENT && run_is_custom(kind)) /* its definition may go over first */
		return 0;
	if (json_length(r->lists[i].here)) /* else: nothing to send, and nothing of ours to see */
		run_report(r, kind, r->ns_to, "*", "Failed",
			one->there == -ENOENT ? "the other cluster does not have this kind"
					      : one->e_there.msg);
	return 0;
}

/* Runs there what a migration brought stopped? Then its people have switched, and ours must not overwrite it. */
static bool is_activated(const struct migration_run *r, const struct json *there)
{
	if (r->o.start_applications || !annotation_of(there, KEY_FROM) ||
		strcmp(annotation_of(there, KEY_FROM), r->from) ||
		!json_path(there, "metadata", "labels", KEY_MIGRATED))
		return false;
	return hold_runs(there);
}

static int check_there(struct migration_run *r, unsigned i, struct err *e)
{
	struct run_list *l = &r->lists[i];

	for (unsigned n = 0; n < json_length(l->there); n++) {
		const struct json *obj = json_at(l->there, n);
		const char *uid = meta_of(obj, "uid");

		if (uid && index_find(&r->by_uid, "uid", uid))
			return err_set(e, -EINVAL,
				"the pair leads to this very cluster: %s '%s' is the same object",
				r->kinds[i].kind, meta_of(obj, "name"));
		if (!is_activated(r, obj))
			continue;
		r->activated = true;
		return err_set(e, -EBUSY,
			"%s '%s' was started in the other cluster: nothing is copied over what "
			"runs "
			"there",
			r->kinds[i].kind, meta_of(obj, "name"));
	}
	index_add(&l->by_name, l->there);
	index_sort(&l->by_name, "name");
	return 0;
}

int run_collect(struct migration_run *r, struct err *e)
{
	struct collecting c = {
		.r = r, .purge = json_get_bool(r->spec, "purgeDeletedResources", false)};
	int ret = 0;

	r->lists = calloc(r->nkinds + 1, sizeof(*r->lists));
	c.all = calloc(r->nkinds + 1, sizeof(*c.all));
	ensure(r->lists && c.all);
	kube_lanes_run(r->lanes, r->nkinds, collect_one, &c);
	for (unsigned i = 0; i < r->nkinds && !ret; i++) {
		ret = judge(r, i, &c.all[i], e);
		index_add(&r->by_uid, r->lists[i].here);
	}
	index_sort(&r->by_uid, "uid");
	for (unsigned i = 0; i < r->nkinds && !ret; i++)
		ret = check_there(r, i, e);
	free(c.all);
	return ret;
}

void run_forget(struct migration_run *r)
{
	for (unsigned i = 0; i < r->nkinds && r->lists; i++) {
		json_free(r->lists[i].here);
		json_free(r->lists[i].there);
		index_clear(&r->lists[i].by_name);
	}
	free(r->lists);
	r->lists = NULL;
	index_clear(&r->by_uid);
}
