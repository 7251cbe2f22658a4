/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which namespaces and volumes a Failover is about. A namespace's volumes are those of its claims (by the
 * provisioner's word on the volume or the claim, or by the path below the directory of the mounts) and of the paths
 * that its workloads name. Objects have the same names on both clusters, so this one's are read.
 */
#include <errno.h>
#include <string.h>

#include "apps.h"
#include "kube_failover_impl.h"

#define KEY_VOLUME TANDEM_KEY "volume"

static const struct kube_kind workloads[] = {
	{.group = "apps",
		.version = "v1",
		.kind = "Deployment",
		.plural = "deployments",
		.namespaced = true},
	{.group = "apps",
		.version = "v1",
		.kind = "StatefulSet",
		.plural = "statefulsets",
		.namespaced = true},
};

static bool has_string(const struct json *list, const char *text)
{
	for (unsigned i = 0; i < json_length(list); i++)
		if (!strcmp(json_string_at(list, i, ""), text))
			return true;
	return false;
}

/* --- namespaces --- */

static void add_namespace(struct failover *f, const char *ns)
{
	struct json *line;

	if (has_string(json_get(json_get(f->obj, "spec"), "excludeNamespaces"), ns) ||
		json_length(f->summary) == FAILOVER_NAMESPACES_MAX)
		return;
	for (unsigned i = 0; i < json_length(f->summary); i++)
		if (!strcmp(failover_namespace(f, i), ns))
			return;
	line = json_object();
	json_set_string(line, "namespace", ns);
	json_set_string(line, "status", "In-Progress");
	json_append(f->summary, line);
}

/* A namespace that may not be read is none of ours. */
static int was_migrated(struct failover *f, const char *ns, bool *ret_yes, struct err *e)
{
	struct json *found = json_array();
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(workloads) && !ret; i++)
		ret = kube_list(f->c.kube, &workloads[i], ns, KEY_MIGRATED "=true", found, NULL, e);
	*ret_yes = json_length(found) > 0;
	json_free(found);
	return ret == -EPERM ? 0 : ret;
}

static int all_migrated(struct failover *f, struct err *e)
{
	struct json *all = json_array();
	int ret = kube_list(f->c.kube, &kind_namespace, NULL, NULL, all, NULL, e);

	for (unsigned i = 0; i < json_length(all) && !ret; i++) {
		const char *ns = meta_of(json_at(all, i), "name");
		bool yes = false;

		ret = ns ? was_migrated(f, ns, &yes, e) : 0;
		if (yes)
			add_namespace(f, ns);
	}
	json_free(all);
	return ret;
}

/* --- volumes --- */

static struct json *add_volume(struct failover *f, const char *name, const char *ns)
{
	struct json *v = NULL, *of;

	for (unsigned i = 0; i < json_length(f->volumes) && !v; i++)
		if (!strcmp(json_get_string(json_at(f->volumes, i), "volume", ""), name))
			v = json_at(f->volumes, i);
	if (!v) {
		v = json_object();
		json_set_string(v, "volume", name);
		json_set(v, "namespaces", json_array());
		json_append(f->volumes, v);
	}
	of = json_get(v, "namespaces");
	if (ns && !has_string(of, ns))
		json_append_string(of, ns);
	return v;
}

static const char *word_of(const struct json *obj)
{
	const char *label = json_get_string(json_path(obj, "metadata", "labels"), KEY_VOLUME, NULL);

	return label ? label : annotation_of(obj, KEY_VOLUME);
}

static int take_claim(struct failover *f, const char *ns, const struct json *claim, struct err *e)
{
	const char *pv_name = json_get_string(json_get(claim, "spec"), "volumeName", ""),
		   *word = word_of(claim);
	char name[VOLUME_NAME_MAX + 1];
	struct json *pv = NULL;
	int ret = 0;

	if (!word && *pv_name)
		ret = kube_get(f->c.kube, &kind_volume, NULL, pv_name, &pv, e);
	if (!word && !ret)
		word = word_of(pv);
	if (word)
		add_volume(f, word, ns);
	else if (apps_volume_of_path(json_get_string(json_path(pv, "spec", "hostPath"), "path", ""),
			 f->c.config->mounts, name))
		add_volume(f, name, ns);
	json_free(pv);
	return ret == -ENOENT ? 0 : ret;
}

static const struct json *pod_of(const struct json *workload)
{
	const struct json *spec = json_get(workload, "spec");

	return kind_is(workload, "CronJob")
		       ? json_path(spec, "jobTemplate", "spec", "template", "spec")
		       : json_path(spec, "template", "spec");
}

static int take_namespace(struct failover *f, const char *ns, struct err *e)
{
	struct json *claims = json_array(), *apps = json_array(), *names = json_array();
	int ret = kube_list(f->c.kube, &kind_claim, ns, NULL, claims, NULL, e);

	if (!ret)
		ret = apps_list(f->c.kube, ns, apps, e);
	for (unsigned i = 0; i < json_length(claims) && !ret; i++)
		ret = take_claim(f, ns, json_at(claims, i), e);
	for (unsigned i = 0; i < json_length(apps) && !ret; i++)
		apps_volumes_of_pod(pod_of(json_at(apps, i)), f->c.config->mounts, names);
	for (unsigned i = 0; i < json_length(names) && !ret; i++)
		add_volume(f, json_string_at(names, i, ""), ns);
	json_free(claims);
	json_free(apps);
	json_free(names);
	return ret ? err_wrap(e, "namespace '%s'", ns) : 0;
}

int failover_nodes(struct failover *f, unsigned age_ms, struct err *e)
{
	uint64_t now = failover_now_ms();
	int ret;

	if (f->nodes_ms && now - f->nodes_ms < age_ms)
		return 0;
	ret = nodes_look(&f->c, e);
	if (!ret)
		f->nodes_ms = failover_now_ms();
	return ret;
}

/* Those with a replica in the domain that is given up. */
static void take_domain(struct failover *f)
{
	for (unsigned n = 0; n < f->c.nnodes; n++) {
		const struct json *all = json_get(f->c.nodes[n].status, "volumes");

		for (unsigned i = 0; i < json_length(all); i++) {
			const struct json *v = json_at(all, i),
					  *peers = json_path(v, "status", "peers");

			for (unsigned p = 0; p < json_length(peers); p++)
				if (!strcmp(json_get_string(json_at(peers, p), "domain", ""),
					    failover_from(f)))
					add_volume(f, json_get_string(v, "volume", "?"), NULL);
		}
	}
}

int failover_collect(struct failover *f, struct err *e)
{
	const struct json *spec = json_get(f->obj, "spec"), *named = json_get(spec, "namespaces"),
			  *volumes = json_get(spec, "volumes");
	bool only_volumes = json_length(volumes) && !json_length(named);
	int ret = 0;

	if (f->summary)
		return 0; /* what was decided once stays so */
	f->summary = json_array();
	f->volumes = json_array();
	for (unsigned i = 0; i < json_length(named); i++)
		add_namespace(f, json_string_at(named, i, ""));
	if (!json_length(named) && !only_volumes)
		ret = all_migrated(f, e);
	for (unsigned i = 0; i < json_length(volumes); i++)
		add_volume(f, json_string_at(volumes, i, ""), NULL);
	for (unsigned i = 0; i < json_length(f->summary) && !ret; i++) {
		ret = take_namespace(f, failover_namespace(f, i), e);
		if (ret != -EPERM || f->run.type != SWITCH_UNPLANNED)
			continue;
		/* A missing right in one namespace must not keep a dead site's volumes from being fenced. */
		failover_namespace_set(f, i, "Failed", e->msg);
		ret = 0;
	}
	if (!ret)
		ret = failover_nodes(f, 0, e);
	if (!ret && f->run.type == SWITCH_UNPLANNED && !only_volumes)
		take_domain(f);
	if (!ret)
		return 0;
	json_free(f->summary);
	json_free(f->volumes);
	f->summary = f->volumes = NULL;
	return ret;
}
