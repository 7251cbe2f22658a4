/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kinds that a server has: core/v1, and each group at its preferred version; a kind that is not in that one, at the
 * first version that has it (CronJob was batch/v1beta1 when Job was batch/v1 for years). Kubernetes serves some kinds from
 * two groups, an old and a new one, and the objects are the same: those of the old groups are left out.
 */
#include "kube_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"

#define KINDS_MAX 4096u

struct found {
	struct kube_kind *kinds;
	unsigned n;
};

static bool has_verb(const struct json *resource, const char *verb)
{
	const struct json *verbs = json_get(resource, "verbs");

	for (unsigned i = 0; i < json_length(verbs); i++)
		if (!strcmp(json_string_at(verbs, i, ""), verb))
			return true;
	return false;
}

/* It becomes part of a path. */
static bool take_name(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	if (n >= size ||
		strspn(from, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") !=
			n)
		return false;
	memcpy(to, from, n + 1);
	return true;
}

static bool is_known(const struct found *f, const struct kube_kind *kind)
{
	for (unsigned i = 0; i < f->n; i++)
		if (!strcmp(f->kinds[i].group, kind->group) &&
			!strcmp(f->kinds[i].plural, kind->plural))
			return true;
	return false;
}

static void take_kind(
	struct found *f, const char *group, const char *version, const struct json *resource)
{
	struct kube_kind kind = {.namespaced = json_get_bool(resource, "namespaced", false)};
	const char *name = json_get_string(resource, "name", "");

	/* with a slash: a subresource, which take_name() refuses as well */
	if (!*name || !take_name(kind.plural, sizeof(kind.plural), name) ||
		!take_name(kind.group, sizeof(kind.group), group) ||
		!take_name(kind.version, sizeof(kind.version), version) ||
		!take_name(kind.kind, sizeof(kind.kind), json_get_string(resource, "kind", "")) ||
		f->n == KINDS_MAX || is_known(f, &kind))
		return;
	kind.listed = has_verb(resource, "list") && has_verb(resource, "get");
	kind.written = has_verb(resource, "create") && has_verb(resource, "patch") &&
		       has_verb(resource, "delete");
	if (f->n % 64 == 0) {
		f->kinds = realloc(f->kinds, (f->n + 64) * sizeof(*f->kinds));
		ensure(f->kinds);
	}
	f->kinds[f->n++] = kind;
}

static int take_group(
	struct kube *k, struct found *f, const char *group, const char *version, struct err *e)
{
	struct json *list = NULL;
	const struct json *resources;
	char path[600], checked[KUBE_NAME_MAX + 1];
	int ret;

	if (!take_name(checked, sizeof(checked), group) ||
		!take_name(checked, sizeof(checked), version))
		return err_set(e, -EPROTO, "a group or version with a strange name");
	snprintf(path, sizeof(path), "/%s%s/%s", *group ? "apis/" : "api", group, version);
	ret = kube_call(k, "GET", path, NULL, NULL, &list, e);
	if (ret)
		return ret;
	resources = json_get(list, "resources");
	for (unsigned i = 0; i < json_length(resources); i++)
		take_kind(f, group, version, json_at(resources, i));
	json_free(list);
	return 0;
}

/* Served from another group, under which it is listed here, too? */
static bool is_old(const struct found *f, const struct kube_kind *kind)
{
	if (strcmp(kind->group, "extensions") && strcmp(kind->plural, "events"))
		return false;
	for (unsigned i = 0; i < f->n; i++)
		if (!strcmp(f->kinds[i].plural, kind->plural) &&
			strcmp(f->kinds[i].group, kind->group) &&
			(!f->kinds[i].group[0] || !strcmp(kind->group, "extensions")))
			return true;
	return false;
}

/* All versions of a group, the preferred one first. A kind that is known already is not taken again. */
static int take_versions(struct kube *k, struct found *f, const struct json *group, struct err *e)
{
	const char *name = json_get_string(group, "name", "?");
	const char *best = json_get_string(json_get(group, "preferredVersion"), "version", "?");
	const struct json *versions = json_get(group, "versions");
	int ret = take_group(k, f, name, best, e);

	for (unsigned i = 0; i < json_length(versions) && !ret; i++) {
		const char *version = json_get_string(json_at(versions, i), "version", "?");

		if (strcmp(version, best))
			ret = take_group(k, f, name, version, e);
	}
	return ret;
}

int kube_discover(struct kube *k, struct kube_kind **ret_kinds, unsigned *ret_n,
	unsigned *ret_missing, struct err *e)
{
	struct json *answer = NULL;
	const struct json *groups;
	struct found f = {0};
	unsigned kept = 0, missing = 0;
	int ret = kube_call(k, "GET", "/apis", NULL, NULL, &answer, e);

	if (!ret)
		ret = take_group(k, &f, "", "v1", e);
	groups = json_get(answer, "groups");
	for (unsigned i = 0; !ret && i < json_length(groups); i++) {
		const struct json *g = json_at(groups, i);
		struct err why = {0};

		if (!take_versions(k, &f, g, &why))
			continue;
		log_warn("kinds of group '%.100s': %s", json_get_string(g, "name", "?"), why.msg);
		missing++;
		if (why.code == -ECANCELED)
			ret = err_set(e, -ECANCELED, "%s", why.msg);
	}
	json_free(answer);
	if (ret) {
		free(f.kinds);
		return ret;
	}
	for (unsigned i = 0; i < f.n; i++)
		f.kinds[i].listed &= !is_old(&f, &f.kinds[i]);
	for (unsigned i = 0; i < f.n; i++)
		if (f.kinds[i].listed)
			f.kinds[kept++] = f.kinds[i];
	*ret_kinds = f.kinds;
	*ret_n = kept;
	if (ret_missing)
		*ret_missing = missing;
	return 0;
}
