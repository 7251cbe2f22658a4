/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workloads and pods of a namespace. What a cluster does not have (CronJobs are in batch/v1 or in batch/v1beta1) is
 * as none of it. An object that changed between list and patch is no matter: the patch says what shall be.
 */
#include "apps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "http.h"
#include "kube_impl.h"
#include "limits.h"
#include "migrate.h"

/* All that runs pods and is stopped and started; the only table of them. */
static const struct kube_kind kinds[] = {
	KUBE_KIND("apps", "v1", "Deployment", "deployments", true),
	KUBE_KIND("apps", "v1", "StatefulSet", "statefulsets", true),
	KUBE_KIND("apps", "v1", "ReplicaSet", "replicasets", true),
	KUBE_KIND("", "v1", "ReplicationController", "replicationcontrollers", true),
	KUBE_KIND("apps", "v1", "DaemonSet", "daemonsets", true),
	KUBE_KIND("batch", "v1", "CronJob", "cronjobs", true),
	KUBE_KIND("batch", "v1beta1", "CronJob", "cronjobs", true),
	KUBE_KIND("batch", "v1", "Job", "jobs", true),
};
static const struct kube_kind kind_pod = KUBE_KIND("", "v1", "Pod", "pods", true);
static const struct kube_kind kind_node = KUBE_KIND("", "v1", "Node", "nodes", false);

static const char *name_of(const struct json *obj)
{
	return json_get_string(json_get(obj, "metadata"), "name", "?");
}

/* A Deployment's ReplicaSet, a DeploymentConfig's ReplicationController. A CronJob's Job runs by itself, and is one of its own. */
static bool is_anothers(const struct json *obj)
{
	return (kind_is(obj, "ReplicaSet") || kind_is(obj, "ReplicationController")) &&
	       json_length(json_path(obj, "metadata", "ownerReferences")) > 0;
}

static int list_kind(struct kube *k, const struct kube_kind *kind, const char *ns,
	const char *selector, struct json *to, struct err *e)
{
	struct json *all = json_array();
	int ret = kube_list(k, kind, ns, selector, all, NULL, e);

	for (unsigned i = 0; i < json_length(all) && !ret; i++)
		if (!is_anothers(json_at(all, i)))
			json_append(to, json_copy(json_at(all, i)));
	json_free(all);
	return ret;
}

static int list_all(
	struct kube *k, const char *ns, const char *selector, struct json *to, struct err *e)
{
	bool cron = false;

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		bool is_cron = !strcmp(kinds[i].kind, "CronJob");
		int ret = is_cron && cron ? 0 : list_kind(k, &kinds[i], ns, selector, to, e);

		if (ret && ret != -ENOENT)
			return ns ? err_wrap(e, "namespace '%s'", ns) : ret;
		cron |= is_cron && !ret;
	}
	return 0;
}

int apps_list(struct kube *k, const char *ns, struct json *to, struct err *e)
{
	return list_all(k, ns, NULL, to, e);
}

int apps_list_migrated(struct kube *k, const char *ns, struct json *to, struct err *e)
{
	return list_all(k, ns, KEY_MIGRATED "=true", to, e);
}

static const struct kube_kind *kind_of(const struct json *obj)
{
	const char *version = json_get_string(obj, "apiVersion", "");
	char text[80];

	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(text, sizeof(text), "%.30s%s%.30s", kinds[i].group,
			kinds[i].group[0] ? "/" : "", kinds[i].version);
		if (kind_is(obj, kinds[i].kind) && !strcmp(text, version))
			return &kinds[i];
	}
	return NULL;
}

int apps_running(struct kube *k, const char *ns, unsigned *ret_n, struct err *e)
{
	struct json *all = json_array();
	int ret = apps_list(k, ns, all, e);

	*ret_n = 0;
	for (unsigned i = 0; i < json_length(all) && !ret; i++)
		*ret_n += hold_runs(json_at(all, i));
	json_free(all);
	return ret;
}

/* `as_read`: only what nobody changed since it was listed. */
static int change(struct kube *k, const char *ns, const struct json *all,
	struct json *(*decide)(const struct json *live), bool as_read, unsigned *ret_n,
	struct err *e)
{
	int ret = 0;

	*ret_n = 0;
	for (unsigned i = 0; i < json_length(all) && !ret; i++) {
		const struct json *obj = json_at(all, i);
		struct json *patch = decide(obj), *meta;

		if (!patch)
			continue;
		if (as_read) {
			meta = json_get(patch, "metadata");
			if (!meta) {
				meta = json_object();
				json_set(patch, "metadata", meta);
			}
			json_set_string(meta, "resourceVersion",
				json_get_string(json_get(obj, "metadata"), "resourceVersion", "0"));
		}
		ret = kube_patch_as(k, kind_of(obj), ns, name_of(obj), MIGRATE_MANAGER, patch, e);
		json_free(patch);
		if (ret == -ENOENT || (as_read && ret == -EBUSY)) /* gone or changed meanwhile */
			ret = 0;
		else if (ret)
			err_wrap(e, "%s '%s/%s'", json_get_string(obj, "kind", ""), ns,
				name_of(obj));
		else
			(*ret_n)++;
	}
	return ret;
}

static int change_all(struct kube *k, const char *ns,
	struct json *(*decide)(const struct json *live), unsigned *ret_n, struct err *e)
{
	struct json *all = json_array();
	int ret = apps_list(k, ns, all, e);

	*ret_n = 0;
	if (!ret)
		ret = change(k, ns, all, decide, false, ret_n, e);
	json_free(all);
	return ret;
}

int apps_stop(struct kube *k, const char *ns, unsigned *ret_n, struct err *e)
{
	return change_all(k, ns, hold_stop, ret_n, e);
}

int apps_start(struct kube *k, const char *ns, unsigned *ret_n, struct err *e)
{
	return change_all(k, ns, hold_release, ret_n, e);
}

int apps_stop_as_read(struct kube *k, const char *ns, const struct json *workloads, unsigned *ret_n,
	struct err *e)
{
	return change(k, ns, workloads, hold_stop, true, ret_n, e);
}

/* --- pods --- */

bool apps_pod_writes(const struct json *pod, const char *mounts)
{
	const char *phase = json_get_string(json_get(pod, "status"), "phase", "");
	const struct json *volumes = json_path(pod, "spec", "volumes");
	char name[VOLUME_NAME_MAX + 1];

	if (!strcmp(phase, "Succeeded") || !strcmp(phase, "Failed"))
		return false;
	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *v = json_at(volumes, i);

		if (json_get(v, "persistentVolumeClaim") ||
			apps_volume_of_path(
				json_get_string(json_get(v, "hostPath"), "path", ""), mounts, name))
			return true;
	}
	return false;
}

static bool is_ready(const struct json *nodes, const char *name)
{
	for (unsigned i = 0; i < json_length(nodes); i++) {
		const struct json *node = json_at(nodes, i),
				  *conditions = json_path(node, "status", "conditions");

		if (strcmp(name_of(node), name))
			continue;
		for (unsigned n = 0; n < json_length(conditions); n++)
			if (!strcmp(json_get_string(json_at(conditions, n), "type", ""), "Ready"))
				return !strcmp(
					json_get_string(json_at(conditions, n), "status", ""),
					"True");
		return false;
	}
	return false;
}

bool apps_pod_is_stuck(const struct json *pod, const struct json *nodes, int64_t now_s)
{
	/* The API writes the time by which it has to be gone, with its grace in it. */
	int64_t end_s = kube_time_parse(
		json_get_string(json_get(pod, "metadata"), "deletionTimestamp", NULL));
	const char *node = json_get_string(json_get(pod, "spec"), "nodeName", "");

	return end_s > 0 && now_s >= end_s && !is_ready(nodes, node);
}

int apps_pods(struct kube *k, const char *ns, const char *mounts, unsigned *ret_n, char *ret_one,
	size_t size, struct err *e)
{
	struct json *pods = json_array();
	int ret = kube_list(k, &kind_pod, ns, NULL, pods, NULL, e);

	*ret_n = 0;
	for (unsigned i = 0; i < json_length(pods) && !ret; i++) {
		const struct json *pod = json_at(pods, i);

		if (!apps_pod_writes(pod, mounts))
			continue;
		if (!(*ret_n)++)
			snprintf(ret_one, size, "%.60s/%.150s%s%.60s", ns, name_of(pod),
				json_path(pod, "metadata", "deletionTimestamp")
					? ", which is ending on node "
				: json_path(pod, "metadata", "ownerReferences")
					? " on node "
					: ", which nothing here stops, on node ",
				json_get_string(json_get(pod, "spec"), "nodeName", "?"));
	}
	json_free(pods);
	return ret ? err_wrap(e, "pods of namespace '%s'", ns) : 0;
}

static int take_away(struct kube *k, const char *ns, const struct json *pod, struct err *e)
{
	cleanup_free char *n = http_escape(ns), *p = http_escape(name_of(pod));
	cleanup_free char *path = NULL;
	struct json *options = json_object(), *only = json_object();
	int ret;

	ensure(asprintf(&path, "/api/v1/namespaces/%s/pods/%s", n, p) > 0);
	json_set_string(options, "apiVersion", "v1");
	json_set_string(options, "kind", "DeleteOptions");
	json_set_int(options, "gracePeriodSeconds", 0);
	json_set_string(only, "uid", json_get_string(json_get(pod, "metadata"), "uid", ""));
	json_set(options, "preconditions", only);
	ret = kube_call(k, "DELETE", path, options, NULL, NULL, e);
	json_free(options);
	return ret == -ENOENT || ret == -EBUSY ? 0 : ret; /* gone, or another one by now */
}

int apps_pods_release(struct kube *k, const char *ns, unsigned *ret_n, struct err *e)
{
	struct json *pods = json_array(), *nodes = json_array();
	int ret = kube_list(k, &kind_pod, ns, NULL, pods, NULL, e);
	int64_t now = (int64_t)(clock_real_ns() / NS_PER_S);
	bool ending = false;

	*ret_n = 0;
	for (unsigned i = 0; i < json_length(pods); i++)
		ending |= json_path(json_at(pods, i), "metadata", "deletionTimestamp") != NULL;
	if (!ret && ending)
		ret = kube_list(k, &kind_node, NULL, NULL, nodes, NULL, e);
	for (unsigned i = 0; i < json_length(pods) && !ret; i++) {
		if (!apps_pod_is_stuck(json_at(pods, i), nodes, now))
			continue;
		ret = take_away(k, ns, json_at(pods, i), e);
		*ret_n += !ret;
	}
	json_free(pods);
	json_free(nodes);
	return ret ? err_wrap(e, "pods of namespace '%s'", ns) : 0;
}
