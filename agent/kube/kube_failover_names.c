/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Failover's namespaces, and what they are called at the source. `namespace` in a line of the summary is the name
 * here, where the applications are started; `sourceNamespace` the other one, where it differs, because a migration
 * mapped it. Who says so, the first that does: spec.namespaceMapping; a MigrationSchedule here that copies the
 * namespace the other way round, be it this cluster's own or the copy of one that brought it (kube_migrate_static.c);
 * the annotation that a mapping migration leaves on what it brings (take_namespace()). Only schedules of the namespace
 * itself and of administrators count: who writes in another one has no say.
 *
 * Failure modes: where two namespaces here are one at the source, or a name could mean one here and another one
 * that was mapped, nothing is guessed; it is refused, and an unplanned one leaves the namespace out and tells it. So it
 * is where one of those that are to be found may not be read, and a volume of it is active at the source.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apps.h"
#include "kube_failover_impl.h"
#include "kube_volume.h"
#include "limits.h"
#include "log.h"

static const struct json *spec_of(const struct failover *f)
{
	return json_get(f->obj, "spec");
}

const char *failover_source(const struct failover *f, unsigned i)
{
	return json_get_string(json_at(f->summary, i), "sourceNamespace", failover_namespace(f, i));
}

bool failover_is_excluded(const struct failover *f, unsigned i)
{
	const struct json *list = json_get(spec_of(f), "excludeNamespaces");

	return json_has_string(list, failover_namespace(f, i)) ||
	       json_has_string(list, failover_source(f, i));
}

int failover_check_namespace(struct failover *f, const char *ns, struct err *e)
{
	struct json *obj = NULL;
	int ret = kube_get(f->c.kube, &kind_namespace, NULL, ns, &obj, e);

	json_free(obj);
	return ret == -ENOENT
		       ? err_set(e, ret,
				 "there is no namespace '%s' in this cluster; where a migration "
				 "gave it another name, namespaceMapping says which",
				 ns)
		       : ret;
}

static struct json *add_namespace(struct failover *f, const char *ns)
{
	struct json *line;

	for (unsigned i = 0; i < json_length(f->summary); i++)
		if (!strcmp(failover_namespace(f, i), ns))
			return json_at(f->summary, i);
	if (json_length(f->summary) == FAILOVER_NAMESPACES_MAX)
		return NULL;
	line = json_object();
	json_set_string(line, "namespace", ns);
	json_set_string(line, "status", "In-Progress");
	json_append(f->summary, line);
	return line;
}

/* `hidden` gets its name where it may not be read. */
static int was_migrated(
	struct failover *f, const char *ns, bool *ret_yes, struct json *hidden, struct err *e)
{
	struct json *found = json_array();
	int ret = apps_list_migrated(f->c.kube, ns, found, e);

	*ret_yes = json_length(found) > 0;
	json_free(found);
	if (ret != -EPERM)
		return ret;
	json_append_string(hidden, ns);
	return 0;
}

static bool is_active_there(
	const struct failover *f, const char *volume, const struct json *objects)
{
	for (unsigned i = 0; i < json_length(objects); i++) {
		const struct json *o = json_at(objects, i);

		if (meta_of(o, "name") && !strcmp(meta_of(o, "name"), volume))
			return !strcmp(json_get_string(json_get(o, "status"), "active", ""),
				failover_from(f));
	}
	return false;
}

void failover_add_hidden(struct failover *f, const struct json *hidden, const struct json *pvs,
	const struct json *objects)
{
	char volume[VOLUME_NAME_MAX + 1];

	for (unsigned i = 0; i < json_length(pvs); i++) {
		const struct json *pv = json_at(pvs, i);
		const char *ns =
			json_get_string(json_path(pv, "spec", "claimRef"), "namespace", "");

		if (json_has_string(hidden, ns) &&
			apps_volume_of_pv(pv, f->c.config->mounts, volume) &&
			is_active_there(f, volume, objects))
			add_namespace(f, ns);
	}
}

/* Most of what the agent may not read is nothing that it moves: the volumes tell which. */
static int take_hidden(struct failover *f, const struct json *hidden, struct err *e)
{
	struct json *pvs, *objects;
	int ret;

	if (!json_length(hidden))
		return 0;
	pvs = json_array();
	objects = json_array();
	ret = kube_list(f->c.kube, &kind_volume, NULL, NULL, pvs, NULL, e);
	if (!ret)
		ret = kube_list(f->c.kube, &kind_tandem_volume, NULL, NULL, objects, NULL, e);
	if (!ret)
		failover_add_hidden(f, hidden, pvs, objects);
	json_free(pvs);
	json_free(objects);
	if (ret != -EPERM)
		return ret;
	log_warn("Failover '%s': %s", meta_of(f->obj, "name"), e->msg); /* it goes on */
	return 0;
}

static int all_migrated(struct failover *f, struct err *e)
{
	struct json *all = json_array(), *hidden = json_array();
	int ret = kube_list(f->c.kube, &kind_namespace, NULL, NULL, all, NULL, e);

	for (unsigned i = 0; i < json_length(all) && !ret; i++) {
		const char *ns = meta_of(json_at(all, i), "name");
		bool yes = false;

		ret = ns ? was_migrated(f, ns, &yes, hidden, e) : 0;
		if (yes)
			add_namespace(f, ns);
	}
	if (!ret)
		ret = take_hidden(f, hidden, e);
	json_free(all);
	json_free(hidden);
	return ret;
}

static bool has_line(const struct failover *f, const char *ns)
{
	for (unsigned i = 0; i < json_length(f->summary); i++)
		if (!strcmp(failover_namespace(f, i), ns))
			return true;
	return false;
}

/* One that was not copied to here, as where this site is its home: it has a claim on a volume, and workloads. What may not
 * be read is left to failover_add_rest(). */
static int take_claimed(struct failover *f, struct err *e)
{
	struct json *pvs = json_array(), *asked = json_array();
	int ret = kube_list(f->c.kube, &kind_volume, NULL, NULL, pvs, NULL, e);

	for (unsigned i = 0; i < json_length(pvs) && !ret; i++) {
		const struct json *pv = json_at(pvs, i);
		const char *ns =
			json_get_string(json_path(pv, "spec", "claimRef"), "namespace", "");
		char volume[VOLUME_NAME_MAX + 1];
		struct json *found;

		if (!ns[0] || has_line(f, ns) || json_has_string(asked, ns) ||
			!apps_volume_of_pv(pv, f->c.config->mounts, volume))
			continue;
		json_append_string(asked, ns);
		found = json_array();
		ret = apps_list(f->c.kube, ns, found, e);
		if (json_length(found) && !ret)
			add_namespace(f, ns);
		json_free(found);
		if (ret == -EPERM || ret == -ENOENT)
			ret = 0;
	}
	json_free(pvs);
	json_free(asked);
	return ret;
}

/* --- what schedules say --- */

static const struct json *mapping_of(const struct json *schedule)
{
	return json_path(schedule, "spec", "template", "spec", "namespaceMapping");
}

static bool may_speak(const struct failover *f, const struct json *schedule, const char *ns)
{
	const char *own = meta_of(schedule, "namespace");

	return own && (!strcmp(own, ns) || !strcmp(own, f->c.config->kube_namespace));
}

/* What the namespace of here is called on the other side; NULL. */
static const char *called_there(
	const struct failover *f, const struct json *schedules, const char *ns)
{
	const char *there = NULL;

	for (unsigned i = 0; i < json_length(schedules) && !there; i++)
		if (may_speak(f, json_at(schedules, i), ns))
			there = json_get_string(mapping_of(json_at(schedules, i)), ns, NULL);
	return there;
}

/* What the namespace of there is called here, where that differs; NULL. */
static const char *called_here(
	const struct failover *f, const struct json *schedules, const char *ns)
{
	for (unsigned i = 0; i < json_length(schedules); i++) {
		const struct json *mapping = mapping_of(json_at(schedules, i));
		struct json_member m;

		for (bool ok = json_first(mapping, &m); ok; ok = json_next(&m))
			if (!strcmp(json_get_string(mapping, m.key, ""), ns) &&
				strcmp(m.key, ns) != 0 &&
				may_speak(f, json_at(schedules, i), m.key))
				return m.key;
	}
	return NULL;
}

/* The one that spec.migrationScheduleReference means. */
static const struct json *schedule_meant(
	const struct failover *f, const struct json *schedules, struct err *e)
{
	const struct json *ref = json_get(spec_of(f), "migrationScheduleReference"), *found = NULL;
	const char *name = json_get_string(ref, "name", ""),
		   *ns = json_get_string(ref, "namespace", "");

	for (unsigned i = 0; i < json_length(schedules); i++) {
		const struct json *s = json_at(schedules, i);

		if (strcmp(meta_of(s, "name"), name) != 0 ||
			(*ns && strcmp(meta_of(s, "namespace"), ns) != 0))
			continue;
		if (found) {
			err_set(e, -EINVAL,
				"there is more than one MigrationSchedule '%s' here: "
				"migrationScheduleReference.namespace says which is meant",
				name);
			return NULL;
		}
		found = s;
	}
	if (!found)
		err_set(e, -ENOENT,
			"there is no MigrationSchedule '%s' here, and no copy of one: what it "
			"copies is not known, and has to be named by namespaces",
			name);
	return found;
}

/* Those that it copies, in the words of here. */
static int take_schedule(struct failover *f, const struct json *schedules, struct err *e)
{
	const struct json *s = schedule_meant(f, schedules, e),
			  *spec = json_path(s, "spec", "template", "spec"),
			  *list = json_get(spec, "namespaces");
	struct json_member m;

	if (!s)
		return e->code;
	if (json_has_string(list, "*") || json_first(json_get(spec, "namespaceSelectors"), &m))
		return err_set(e, -EINVAL,
			"MigrationSchedule '%s' takes all namespaces, or takes them by their "
			"labels: which ones has to be named by namespaces",
			meta_of(s, "name"));
	for (unsigned i = 0; i < json_length(list); i++)
		if (!json_has_string(
			    json_get(spec, "excludeNamespaces"), json_string_at(list, i, "")))
			add_namespace(f, json_string_at(list, i, ""));
	if (!json_length(list))
		add_namespace(f, meta_of(s, "namespace"));
	return 0;
}

/* --- what people say --- */

/* Either side's name will do. */
static int take_named(
	struct failover *f, const struct json *schedules, const char *name, struct err *e)
{
	const char *here = json_get_string(json_get(spec_of(f), "namespaceMapping"), name, NULL),
		   *mapped = here ? NULL : called_here(f, schedules, name);
	struct json *line;
	int ret = mapped ? failover_check_namespace(f, name, e) : 0;

	if (ret && ret != -ENOENT)
		return ret;
	if (ret)
		here = mapped;
	line = add_namespace(f, here ? here : name);
	if (ret || !mapped || called_there(f, schedules, name))
		return 0;
	err_set(e, -EINVAL,
		"namespace '%s' of '%s' is called '%s' here, and there is one called '%s', too: "
		"name "
		"'%s', or say by namespaceMapping what is meant",
		name, failover_from(f), mapped, name, mapped);
	if (f->run.type != SWITCH_UNPLANNED)
		return e->code;
	json_set_string(line, "status", "Failed");
	json_set_string(line, "reason", e->msg);
	return 0;
}

static const char *source_said(const struct failover *f, const struct json *mapping, const char *ns)
{
	struct json_member m;

	for (bool ok = json_first(mapping, &m); ok; ok = json_next(&m))
		if (!strcmp(json_get_string(mapping, m.key, ""), ns))
			return m.key;
	return NULL;
}

static void set_sources(struct failover *f, const struct json *schedules)
{
	const struct json *mapping = json_get(spec_of(f), "namespaceMapping");

	for (unsigned i = 0; i < json_length(f->summary); i++) {
		const char *ns = failover_namespace(f, i), *there = source_said(f, mapping, ns);

		if (!there)
			there = called_there(f, schedules, ns);
		if (there)
			json_set_string(json_at(f->summary, i), "sourceNamespace", there);
	}
}

int failover_take_namespaces(struct failover *f, bool only_volumes, struct err *e)
{
	const struct json *named = json_get(spec_of(f), "namespaces");
	struct json *schedules = json_array();
	int ret = only_volumes
			  ? 0
			  : kube_list(f->c.kube, &kind_schedule, NULL, NULL, schedules, NULL, e);

	for (unsigned i = 0; i < json_length(named) && !ret; i++)
		ret = take_named(f, schedules, json_string_at(named, i, ""), e);
	if (!ret && !json_length(named) && !only_volumes)
		ret = json_get(spec_of(f), "migrationScheduleReference")
			      ? take_schedule(f, schedules, e)
			      : all_migrated(f, e);
	if (!ret && failover_empties_node(f))
		ret = take_claimed(f, e);
	if (!ret)
		set_sources(f, schedules);
	json_free(schedules);
	return ret;
}

int failover_check_sources(const struct failover *f, unsigned i, struct err *e)
{
	for (unsigned k = 0; k < i; k++)
		if (!strcmp(failover_source(f, i), failover_source(f, k)))
			return err_set(e, -EINVAL,
				"namespaces '%s' and '%s' here are both '%s' at '%s': name one of "
				"them, or exclude one",
				failover_namespace(f, k), failover_namespace(f, i),
				failover_source(f, i), failover_from(f));
	return 0;
}
