/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which volumes a Failover is about: those of its namespaces' claims and workloads (apps_volumes.c). Objects have the
 * same names on both clusters, so this one's are read. Of a node alone: kube_failover_node.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "apps.h"
#include "kube_failover_impl.h"
#include "kube_volume.h"
#include "log.h"

void failover_add_volume(struct failover *f, const char *name, const char *ns)
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
	if (ns && !json_has_string(of, ns))
		json_append_string(of, ns);
}

static void note_source(void *ctx, const struct json *obj)
{
	const char *word = annotation_of(obj, KEY_SOURCE);
	char **source = ctx;

	if (word && !*source)
		*source = strdup(word);
}

/* The namespace of this line. *ret_excluded: it is not meant, by its name here or there. */
static int take_namespace(struct failover *f, unsigned i, bool *ret_excluded, struct err *e)
{
	const char *ns = failover_namespace(f, i);
	struct json *names = json_array();
	char *source = NULL;
	int ret;

	*ret_excluded = failover_is_excluded(f, i);
	ret = *ret_excluded ? 0 : failover_check_namespace(f, ns, e);
	if (!ret && !*ret_excluded)
		ret = apps_volumes(
			f->c.kube, ns, f->c.config->mounts, names, note_source, &source, e);
	if (!ret && source && !strcmp(failover_source(f, i), ns))
		json_set_string(json_at(f->summary, i), "sourceNamespace", source);
	if (!ret && !*ret_excluded)
		*ret_excluded = failover_is_excluded(f, i);
	if (!ret && !*ret_excluded)
		ret = failover_check_sources(f, i, e);
	for (unsigned n = 0; n < json_length(names) && !ret && !*ret_excluded; n++)
		failover_add_volume(f, json_string_at(names, n, ""), ns);
	free(source);
	json_free(names);
	return ret;
}

/* All lines, and leaves out those that are excluded, whose names here it appends. */
static int take_all(struct failover *f, struct json *excluded, struct err *e)
{
	struct json *kept = json_array();
	int ret = 0;

	for (unsigned i = 0; i < json_length(f->summary) && !ret; i++) {
		bool out;

		ret = take_namespace(f, i, &out, e);
		if (!ret && out)
			json_append_string(excluded, failover_namespace(f, i));
		if (ret == -EPERM && failover_empties_node(f)) {
			/* It stays, if the node has none of its volumes: failover_add_rest() knows. */
			out = true;
			ret = 0;
		}
		if ((ret == -EPERM || ret == -ENOENT || ret == -EINVAL) &&
			f->run.type == SWITCH_UNPLANNED) {
			/* Nothing about one namespace may keep a dead site's volumes from being fenced. */
			failover_namespace_set(f, i, "Failed", e->msg);
			ret = 0;
		}
		if (!out)
			json_append(kept, json_copy(json_at(f->summary, i)));
	}
	json_free(f->summary);
	f->summary = kept;
	return ret;
}

int failover_nodes(struct failover *f, unsigned age_ms, struct err *e)
{
	uint64_t now = failover_now_ms();
	int ret;

	if (f->nodes_ms && now - f->nodes_ms < age_ms)
		return 0;
	ret = nodes_look(&f->c, NODES_MS_HURRY, e);
	if (!ret) {
		f->nodes_ms = failover_now_ms();
		f->lost = false;
	}
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
					failover_add_volume(
						f, json_get_string(v, "volume", "?"), NULL);
		}
	}
}

static bool has_replica(const struct json *object, const char *domain)
{
	const struct json *replicas = json_path(object, "status", "replicas");

	for (unsigned i = 0; i < json_length(replicas); i++)
		if (!strcmp(json_get_string(json_at(replicas, i), "domain", ""), domain))
			return true;
	return false;
}

void failover_add_objects(struct failover *f, const struct json *objects)
{
	for (unsigned i = 0; i < json_length(objects); i++) {
		const struct json *o = json_at(objects, i);

		if (meta_of(o, "name") && has_replica(o, failover_from(f)) &&
			has_replica(o, f->c.config->domain))
			failover_add_volume(f, meta_of(o, "name"), NULL);
	}
}

/* What an engine that is silent cannot say itself: its volumes are told of, as those that cannot be had. */
static void take_silent(struct failover *f)
{
	struct json *objects;
	struct err e = {0};
	bool silent = false;

	for (unsigned n = 0; n < f->c.nnodes; n++)
		silent |= !f->c.nodes[n].status;
	if (!silent)
		return;
	objects = json_array();
	if (kube_list(f->c.kube, &kind_tandem_volume, NULL, NULL, objects, NULL, &e))
		log_warn("Failover '%s': %s", meta_of(f->obj, "name"), e.msg); /* it goes on */
	else
		failover_add_objects(f, objects);
	json_free(objects);
}

int failover_collect(struct failover *f, struct err *e)
{
	const struct json *spec = json_get(f->obj, "spec"), *named = json_get(spec, "namespaces"),
			  *volumes = json_get(spec, "volumes");
	bool only_volumes = json_length(volumes) && !json_length(named);
	struct json *excluded;
	int ret;

	if (f->summary)
		return 0; /* what was decided once stays so */
	f->summary = json_array();
	f->volumes = json_array();
	excluded = json_array();
	ret = failover_take_namespaces(f, only_volumes, e);
	for (unsigned i = 0; i < json_length(volumes); i++)
		failover_add_volume(f, json_string_at(volumes, i, ""), NULL);
	if (!ret)
		ret = take_all(f, excluded, e);
	if (!ret)
		ret = failover_nodes(f, 0, e);
	if (!ret && failover_node(f)[0]) {
		ret = failover_take_node(f, excluded, e);
	} else if (!ret && f->run.type == SWITCH_UNPLANNED && !only_volumes) {
		take_domain(f);
		take_silent(f);
	}
	json_free(excluded);
	if (!ret)
		return 0;
	json_free(f->summary);
	json_free(f->volumes);
	f->summary = f->volumes = NULL;
	return ret;
}
