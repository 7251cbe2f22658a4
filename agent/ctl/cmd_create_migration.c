/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl create migration: a Migration by a pair, or as a schedule would make it, in the source's cluster; and, with
 * --wait, or --dry-run where nothing is changed at the destination, what became of each object and why some stay behind.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "ctl.h"
#include "kube.h"

#define WAIT_MS 600000u
#define LOOK_US 200000u

static const struct kube_kind kind_migration =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "Migration", "migrations", true);
static const struct kube_kind kind_schedule =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "MigrationSchedule", "migrationschedules", true);

/* NULL after an error. */
static struct json *spec_of(struct ctl *c, struct kube *k, const char *ns, struct err *e)
{
	struct json *spec, *schedule = NULL, *list;

	if (c->schedule) {
		if (kube_get(k, &kind_schedule, ns, c->schedule, &schedule, e))
			return NULL;
		spec = json_copy(
			json_get(json_get(json_get(schedule, "spec"), "template"), "spec"));
		json_free(schedule);
		spec = spec ? spec : json_object();
	} else {
		spec = json_object();
		list = c->include ? ctl_list_of(c->include) : json_array();
		if (!c->include)
			json_append_string(list, ns);
		json_set_string(spec, "clusterPair", c->pair);
		json_set(spec, "namespaces", list);
		json_set_bool(spec, "includeVolumes", false); /* their data is there */
	}
	if (c->dry_run)
		json_set_bool(spec, "dryRun", true);
	return spec;
}

static bool has_ended(const struct json *obj)
{
	return !strcmp(json_get_string(json_get(obj, "status"), "stage", ""), "Final");
}

static void print_objects(FILE *f, const struct json *obj)
{
	const struct json *all = json_get(json_get(obj, "status"), "resources");

	fprintf(f, "%-24s %-20s %-32s %-12s %s\n", "KIND", "NAMESPACE", "NAME", "STATUS", "REASON");
	for (unsigned i = 0; i < json_length(all); i++) {
		const struct json *o = json_at(all, i);

		fprintf(f, "%-24s %-20s %-32s %-12s %s\n", json_get_string(o, "kind", "?"),
			json_get_string(o, "namespace", "-"), json_get_string(o, "name", "?"),
			json_get_string(o, "status", "?"), json_get_string(o, "reason", ""));
	}
}

/* Why it failed, by its conditions. */
static const char *reason_of(const struct json *obj)
{
	const struct json *all = json_get(json_get(obj, "status"), "conditions");
	const char *why = "";

	for (unsigned i = 0; i < json_length(all); i++)
		if (!strcmp(json_get_string(json_at(all, i), "type", ""), "Failed") || !*why)
			why = json_get_string(json_at(all, i), "message", why);
	return why;
}

static int print_end(struct ctl *c, const struct json *obj)
{
	const char *how = json_get_string(json_get(obj, "status"), "status", "?");

	if (ctl_output_is_value(c))
		ctl_print_value(c, c->out, obj);
	else
		print_objects(c->out, obj);
	if (strcmp(how, "Successful") != 0)
		return ctl_fail(c, "%s: %s: %s",
			json_get_string(json_get(obj, "metadata"), "name", "?"), how,
			reason_of(obj));
	if (!ctl_output_is_value(c))
		fprintf(c->out, "%s: %s%s\n",
			json_get_string(json_get(obj, "metadata"), "name", "?"), how,
			c->dry_run ? "; a dry run, nothing was changed there" : "");
	return CTL_OK;
}

/* Takes obj. */
static int follow(struct ctl *c, struct kube *k, const char *ns, const char *name, struct json *obj)
{
	uint64_t until = clock_mono_ns() + (c->timeout_ms ? c->timeout_ms : WAIT_MS) * NS_PER_MS;
	int status = CTL_OK;

	while (!status && !has_ended(obj)) {
		struct json *now = NULL;
		struct err e = {0};
		int ret;

		usleep(LOOK_US);
		ret = kube_get(k, &kind_migration, ns, name, &now, &e);
		if (!ret) {
			json_free(obj);
			obj = now;
		}
		if (ret && !kube_is_away(ret))
			status = ctl_fail(c, "%s", e.msg);
		else if (clock_mono_ns() >= until)
			status = ctl_fail(c,
				"%s: it has not ended%s%s; it goes on: 'tandemctl get migrations' "
				"tells of its end",
				name, ret ? ": " : "", ret ? e.msg : "");
	}
	if (!status)
		status = print_end(c, obj);
	json_free(obj);
	return status;
}

static int make(struct ctl *c, struct kube *k, const char *ns, const char *name)
{
	struct json *obj, *meta, *made = NULL, *spec;
	struct err e = {0};
	int ret;

	spec = spec_of(c, k, ns, &e);
	if (!spec)
		return ctl_fail(c, "%s", e.msg);
	obj = ctl_kube_object("Migration", name, spec);
	meta = json_get(obj, "metadata");
	json_remove(meta, "generateName");
	json_set_string(meta, "name", name);
	json_set_string(meta, "namespace", ns);
	ret = kube_create(k, &kind_migration, obj, &made, &e);
	json_free(obj);
	if (ret)
		return ctl_fail(c, "%s", e.msg);
	if (c->wait || (c->dry_run && !c->no_wait))
		return follow(c, k, ns, name, made);
	if (ctl_output_is_value(c))
		ctl_print_value(c, c->out, made);
	else
		fprintf(c->out, "Migration '%s/%s' is made\n", ns, name);
	json_free(made);
	return CTL_OK;
}

int cmd_create_migration(struct ctl *c, const char *name)
{
	struct kube *k = NULL;
	char *ns = NULL;
	int status = ctl_refuse(c, "create", "migration",
		"--run-dir --size --ack --holder --no-holder --mode --owner --peer-node "
		"--exclude-namespaces --skip-source-operations --src-kubeconfig --dest-kubeconfig "
		"--unidirectional --service-account");

	if (status)
		return status;
	if (!c->pair == !c->schedule || (c->schedule && c->include))
		return ctl_usage_error(c, "create",
			"where to: a --cluster-pair, and perhaps --include-namespaces; or as a "
			"--migration-schedule does it");
	status = ctl_kube_open(c, &k, &ns);
	if (status)
		return status;
	status = make(c, k, ns, name);
	kube_free(k);
	free(ns);
	return status;
}
