/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl activate|deactivate migration: starts a namespace's applications, or with --all those that migrations brought, as they were at the source, by the
 * annotations that the migration left, or stops them and leaves such; suspend|resume migrationschedule. In the
 * cluster that the kubeconfig names.
 *
 * Applications are of no use where their volumes are not. Where one of those is active at the other site, starting them
 * is a Failover from there, which takes the volumes along, and is refused as long as the applications run there: they
 * were to be deactivated first.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps.h"
#include "clock.h"
#include "ctl.h"
#include "migrate.h"
#include "switch.h"

#define LEFT_NS                                                                                    \
	(60 * NS_PER_S) /* so long may the objects be behind a domain that was deactivated */
#define LOOK_US 200000u
#define SAME_MS 60000u /* so long may the objects be behind a Failover that has ended */

static const struct kube_kind kind_schedule =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "MigrationSchedule", "migrationschedules", true);
static const struct kube_kind kind_tandem_volume =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "Volume", "volumes", false);
static const struct kube_kind kind_failover =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "Failover", "failovers", false);
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

/* The domain of this cluster; to be freed. NULL: nobody says so. */
static char *local_domain(struct kube *k)
{
	struct json *obj = NULL;
	struct err e = {0};
	const char *local;
	char *ret = NULL;

	if (!kube_get(k, &ctl_kind_domains, NULL, "tandemfs", &obj, &e)) {
		local = json_get_string(json_get(obj, "status"), "localDomain", "");
		ret = *local ? strdup(local) : NULL;
	}
	json_free(obj);
	return ret;
}

/* The parent of all mounts, by what the agent wrote about a volume; to be freed, "" where none is known. */
static char *mounts_of(const struct json *volumes)
{
	for (unsigned i = 0; i < json_length(volumes); i++) {
		const char *path = json_get_string(
				   json_get(json_at(volumes, i), "status"), "path", ""),
			   *slash = strrchr(path, '/');

		if (slash && slash != path)
			return strndup(path, (size_t)(slash - path));
	}
	return strdup("");
}

/* *ret_domain: where a volume of the namespace is active that is not active here; NULL: there is none. To be freed.
 * Who may not see volumes, or has no tandemfs in the cluster, has none. */
static int volume_elsewhere(struct kube *k, const char *ns, char **ret_domain, struct err *e)
{
	struct json *volumes = json_array(), *names = json_array();
	char *local = local_domain(k), *mounts;
	int ret = kube_list(k, &kind_tandem_volume, NULL, NULL, volumes, NULL, e);

	mounts = mounts_of(volumes);
	ensure(mounts);
	if (!ret && local && *mounts)
		ret = apps_volumes(k, ns, mounts, names, NULL, NULL, e);
	for (unsigned i = 0; i < json_length(volumes) && !ret && !*ret_domain; i++) {
		const struct json *v = json_at(volumes, i);
		const char *name = json_get_string(json_get(v, "metadata"), "name", ""),
			   *active = json_get_string(json_get(v, "status"), "active", "");

		if (json_has_string(names, name) && *active && strcmp(active, local) != 0) {
			*ret_domain = strdup(active);
			ensure(*ret_domain);
		}
	}
	json_free(names);
	json_free(volumes);
	free(mounts);
	free(local);
	return ret == -EPERM || ret == -ENOENT ? 0 : ret;
}

/* Was the domain deactivated, or is it being? Then its volumes come here by themselves. */
static bool is_left(struct kube *k, const char *domain)
{
	struct json *all = json_array();
	const struct json *infos;
	struct err e = {0};
	bool left = false;

	kube_list(k, &ctl_kind_domains, NULL, NULL, all, NULL, &e);
	infos = json_path(json_at(all, 0), "status", "clusterDomainInfos");
	for (unsigned i = 0; i < json_length(infos); i++)
		left |= !strcmp(json_get_string(json_at(infos, i), "name", ""), domain) &&
			!strcmp(json_get_string(json_at(infos, i), "state", ""), "Inactive");
	json_free(all);
	all = json_array();
	kube_list(k, &ctl_kind_update, NULL, NULL, all, NULL, &e);
	for (unsigned i = 0; i < json_length(all); i++) {
		const struct json *spec = json_get(json_at(all, i), "spec");
		const char *status =
			json_get_string(json_get(json_at(all, i), "status"), "status", "");

		left |= !strcmp(json_get_string(spec, "clusterdomain", ""), domain) &&
			!json_get_bool(spec, "active", true) && strcmp(status, "Failed") != 0 &&
			strcmp(status, "Successful") != 0;
	}
	json_free(all);
	return left;
}

/* volume_elsewhere() of what stays there. */
static int volume_to_fetch(struct kube *k, const char *ns, char **ret_domain, struct err *e)
{
	uint64_t until = clock_mono_ns() + LEFT_NS;

	for (;;) {
		int ret = volume_elsewhere(k, ns, ret_domain, e);

		if (ret || !*ret_domain || !is_left(k, *ret_domain))
			return ret;
		if (clock_mono_ns() >= until)
			ret = err_set(e, -ETIMEDOUT,
				"'%s' is left, and yet a volume of namespace '%s' is active there: "
				"'tandemctl get volumes' shows which",
				*ret_domain, ns);
		free(*ret_domain);
		*ret_domain = NULL;
		if (ret)
			return ret;
		usleep(LOOK_US);
	}
}

/* Said twice: the Failover by which they come, or came a moment ago, while the objects do not say yet that the volumes
 * are here; NULL: there is none. The caller's. */
static struct json *same_move(struct kube *k, const char *ns, const char *from)
{
	struct json *all = json_array(), *found = NULL;
	uint64_t now_ms = clock_real_ns() / NS_PER_MS;
	unsigned running = 0;
	struct err e = {0};

	kube_list(k, &kind_failover, NULL, NULL, all, NULL, &e);
	for (unsigned i = 0; i < json_length(all) && !found; i++) {
		const struct json *obj = json_at(all, i), *spec = json_get(obj, "spec"),
				  *status = json_get(obj, "status");
		bool ended = !strcmp(json_get_string(status, "stage", ""), "Final");

		if (!json_get_bool(spec, "sourceIsStopped", false) ||
			!json_has_string(json_get(spec, "namespaces"), ns) ||
			strcmp(json_get_string(spec, "fromDomain", ""), from) != 0)
			continue;
		if (!ended || (!strcmp(json_get_string(status, "status", ""), "Successful") &&
				      now_ms < SAME_MS + switch_time_parse(json_get_string(status,
								 "finishTimestamp", NULL)) &&
				      !apps_running(k, ns, &running, &e) && running))
			found = json_copy(obj);
	}
	json_free(all);
	return found;
}

static int follow_same(struct ctl *c, struct kube *k, struct json *obj)
{
	const char *name = json_get_string(json_get(obj, "metadata"), "name", "?");
	bool ended = !strcmp(json_get_string(json_get(obj, "status"), "stage", ""), "Final");

	fprintf(c->out,
		ended ? "%s: it was activated already, by Failover '%s'\n"
		      : "%s: it is being activated already, by Failover '%s'\n",
		c->ns, name);
	if (!ended)
		return cmd_perform_follow(c, k, obj);
	json_free(obj);
	return CTL_OK;
}

/* The applications, stopped there, come here with their volumes. */
static int move(struct ctl *c, struct kube *k, const char *from)
{
	struct json *spec, *list, *same = same_move(k, c->ns, from);

	if (same)
		return follow_same(c, k, same);
	spec = json_object();
	list = json_array();
	json_append_string(list, c->ns);
	json_set(spec, "namespaces", list);
	json_set_bool(spec, "sourceIsStopped", true);
	if (c->timeout_ms)
		json_set_int(spec, "timeoutSeconds", MAX(c->timeout_ms / 1000, 1u));
	return cmd_perform_one(c, k, "activate", "Planned", from, spec);
}

/* The applications of namespace c->ns. */
static int one_namespace(struct ctl *c, struct kube *k, bool activate)
{
	char *from = NULL;
	struct err e = {0};
	unsigned n = 0;
	int ret = check_namespace(k, c->ns, &e);

	if (!ret && activate)
		ret = volume_to_fetch(k, c->ns, &from, &e);
	if (!ret && from) {
		ret = move(c, k, from);
		free(from);
		return ret;
	}
	if (!ret)
		ret = activate ? apps_start(k, c->ns, &n, &e) : apps_stop(k, c->ns, &n, &e);
	if (!ret || n)
		fprintf(c->out, "%s: %u workloads %s\n", c->ns, n,
			activate ? "started" : "stopped");
	return ret ? ctl_fail(c, "%s", e.msg) : CTL_OK;
}

/* Of every namespace with workloads that a migration brought; what fails in one keeps the others from nothing. */
static int all_namespaces(struct ctl *c, struct kube *k, bool activate)
{
	struct json *all = json_array(), *names = json_array();
	struct err e = {0};
	int ret = apps_list_migrated(k, NULL, all, &e), status = CTL_OK;

	for (unsigned i = 0; i < json_length(all) && !ret; i++) {
		const char *ns =
			json_get_string(json_get(json_at(all, i), "metadata"), "namespace", "");

		if (!json_has_string(names, ns))
			json_append_string(names, ns);
	}
	json_free(all);
	if (ret)
		status = ctl_fail(c, "%s", e.msg);
	else if (!json_length(names))
		fprintf(c->out, "no namespace has workloads that a migration brought\n");
	for (unsigned i = 0; i < json_length(names); i++) {
		int one;

		c->ns = json_string_at(names, i, "");
		one = one_namespace(c, k, activate);
		status = status ? status : one;
	}
	c->ns = NULL;
	json_free(names);
	return status;
}

int cmd_migration(struct ctl *c, bool activate)
{
	const char *verb = activate ? "activate" : "deactivate";
	struct kube *k = NULL;
	int ret;

	ret = ctl_refuse(
		c, verb, "migration", "--run-dir --yes --accept-data-loss --dry-run --wait --name");
	if (ret)
		return ret;
	if (!activate) /* of an activation: how long the volumes may take */
		ret = ctl_refuse(c, verb, "migration", "--timeout");
	if (ret)
		return ret;
	if (c->all && c->ns)
		return ctl_usage_error(c, verb, "--namespace and --all: which ones?");
	if (!c->all && (!c->ns || !*c->ns))
		return ctl_usage_error(
			c, verb, "--namespace is missing (or --all): whose applications are meant");
	ret = ctl_kube_open(c, &k, NULL);
	if (ret)
		return ret;
	ret = c->all ? all_namespaces(c, k, activate) : one_namespace(c, k, activate);
	kube_free(k);
	return ret;
}

/* A person's word, also where the agent has said the same: it does not take back this one. */
static int set_suspend(
	struct kube *k, const char *ns, const char *name, bool suspend, struct err *e)
{
	struct json *patch = json_object(), *spec = json_object(), *meta = json_object(),
		    *annotations = json_object();
	int ret;

	json_set_bool(spec, "suspend", suspend);
	json_set(patch, "spec", spec);
	json_set(annotations, KEY_SUSPENDED_AT, NULL);
	json_set(meta, "annotations", annotations);
	json_set(patch, "metadata", meta);
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
