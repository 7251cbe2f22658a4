/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl activate|deactivate migration: starts a namespace's applications as they were at the source, by the
 * annotations that the migration left, or stops them and leaves such; suspend|resume migrationschedule. In the
 * cluster that the kubeconfig names.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apps.h"
#include "ctl.h"

static const struct kube_kind kind_schedule =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "MigrationSchedule", "migrationschedules", true);
static const struct kube_kind kind_namespace =
	KUBE_KIND("", "v1", "Namespace", "namespaces", false);

/* Lists of a namespace that is not there are empty, and no error. Who may not look has them all the same. */
static int check_namespace(struct kube *k, const char *ns, struct err *e)
{
	struct json *obj = NULL;
	int ret = kube_get(k, &kind_namespace, NULL, ns, &obj, e);

	json_free(obj);
	if (ret == -ENOENT)
		return err_set(e, ret, "there is no namespace '%s' in this cluster", ns);
	return ret == -EPERM ? 0 : ret;
}

int cmd_migration(struct ctl *c, bool activate)
{
	const char *verb = activate ? "activate" : "deactivate";
	struct kube *k = NULL;
	struct err e = {0};
	unsigned n = 0;
	int ret;

	ret = ctl_refuse(c, verb, "migration",
		"--run-dir --timeout --yes --accept-data-loss --wait --all --name");
	if (ret)
		return ret;
	if (!c->ns || !*c->ns)
		return ctl_usage_error(
			c, verb, "--namespace is missing: whose applications are meant");
	ret = ctl_kube_open(c, &k, NULL);
	if (ret)
		return ret;
	ret = check_namespace(k, c->ns, &e);
	if (!ret)
		ret = activate ? apps_start(k, c->ns, &n, &e) : apps_stop(k, c->ns, &n, &e);
	kube_free(k);
	if (!ret || n)
		fprintf(c->out, "%s: %u workloads %s\n", c->ns, n,
			activate ? "started" : "stopped");
	return ret ? ctl_fail(c, "%s", e.msg) : CTL_OK;
}

static int set_suspend(
	struct kube *k, const char *ns, const char *name, bool suspend, struct err *e)
{
	struct json *patch = json_object(), *spec = json_object();
	int ret;

	json_set_bool(spec, "suspend", suspend);
	json_set(patch, "spec", spec);
	ret = kube_patch(k, &kind_schedule, ns, name, NULL, patch, NULL, e);
	json_free(patch);
	return ret;
}

/* Those that the arguments mean: one by its name, or all of a pair. */
static int names(struct ctl *c, struct kube *k, const char *ns, unsigned nargs,
	const char *const *args, struct json *to, struct err *e)
{
	struct json *all;
	int ret;

	if (nargs == 2) {
		json_append_string(to, args[1]);
		return 0;
	}
	all = json_array();
	ret = kube_list(k, &kind_schedule, ns, NULL, all, NULL, e);
	for (unsigned i = 0; i < json_length(all); i++) {
		const struct json *s = json_at(all, i),
				  *spec = json_get(json_get(s, "spec"), "template");

		if (!strcmp(json_get_string(json_get(spec, "spec"), "clusterPair", ""), c->pair))
			json_append_string(
				to, json_get_string(json_get(s, "metadata"), "name", ""));
	}
	json_free(all);
	return ret;
}

static int schedule_command(
	struct ctl *c, const char *verb, bool suspend, unsigned nargs, const char *const *args)
{
	struct json *list;
	struct kube *k = NULL;
	struct err e = {0};
	char *ns = NULL;
	int ret;

	if (strcmp(args[0], "migrationschedule") != 0 && strcmp(args[0], "migrationschedules") != 0)
		return ctl_usage_error(
			c, verb, "'%s' what? A 'migrationschedule', not '%s'", verb, args[0]);
	if ((nargs == 2) == (c->pair != NULL))
		return ctl_usage_error(c, verb, "which one: its name, or all of a --cluster-pair");
	ret = ctl_refuse(c, verb, "migrationschedule", "--run-dir --timeout");
	if (!ret)
		ret = ctl_kube_open(c, &k, &ns);
	if (ret)
		return ret;
	list = json_array();
	ret = names(c, k, ns, nargs, args, list, &e);
	for (unsigned i = 0; i < json_length(list) && !ret; i++) {
		ret = set_suspend(k, ns, json_string_at(list, i, ""), suspend, &e);
		if (!ret)
			fprintf(c->out, "%s/%s: %s\n", ns, json_string_at(list, i, ""),
				suspend ? "suspended" : "resumed");
	}
	if (!ret && !json_length(list))
		ret = err_set(&e, -1, "no MigrationSchedule of ClusterPair '%s' in namespace '%s'",
			c->pair, ns);
	json_free(list);
	kube_free(k);
	free(ns);
	return ret ? ctl_fail(c, "%s", e.msg) : CTL_OK;
}

int cmd_suspend(struct ctl *c, unsigned nargs, const char *const *args)
{
	return schedule_command(c, "suspend", true, nargs, args);
}

int cmd_resume(struct ctl *c, unsigned nargs, const char *const *args)
{
	return schedule_command(c, "resume", false, nargs, args);
}
