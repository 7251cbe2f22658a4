/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site that was left behind may come back when its domain counts again already (`activate` was typed while it was
 * away), and a Failover starts namespaces that have no volume, of which no record tells. What kube_return.c stops by the
 * word "inactive" then runs at both sites, or would begin to when its volumes are handed over. So here it is what runs
 * at the other site that decides: a workload is stopped, with its count remembered, where
 * - no migration brought it, a schedule or a migration of this cluster copies its namespace, and does not start what it
 *   copies;
 * - its copy, which has a migration's mark, runs there; and
 * - all volumes of its namespace are active in other domains; or it has none, and none at all is active in this one.
 * All of it is asked anew at each look, of engines and clusters, so that a leader that is late decides as any other one.
 *
 * Nothing is stopped while a Failover of this cluster is open; and nothing that was started after a hand-over to here:
 * the workloads are read first, the engines are asked after that, and what is written is written over what was read
 * and nothing newer. Who starts it later changes it, and who started it before had the volumes here.
 *
 * Failure modes, in all of which nothing is stopped: an engine or the other cluster does not answer; there is no right.
 * The other cluster is asked in a job, because one that is dead takes half a minute.
 *
 * What it cannot tell apart: somebody who starts the copy of a namespace without volumes at the other site by hand, as in
 * a drill, while no volume at all is active here, from a Failover that did. The one here is stopped, and an Event says so.
 */
#include "kube_twice.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps.h"
#include "kube_nodes.h"
#include "kube_return.h"
#include "kube_site.h"
#include "log.h"
#include "switch.h"

#define LOOK_S 10 /* between two looks, where no volume is active here; */
#define LOOK_ACTIVE_S 60 /* and where one is */
#define SITE_AGE_S 5

/* --- what is copied from here --- */

static void add_source(
	struct json *sources, const char *ns, const char *in, const struct json *spec)
{
	struct json *list = json_get(sources, ns), *line = json_object();

	if (!list) {
		list = json_array();
		json_set(sources, ns, list);
	}
	json_set_string(line, "in", in);
	json_set_string(line, "pair", json_get_string(spec, "clusterPair", ""));
	json_set_string(line, "to", json_get_string(json_get(spec, "namespaceMapping"), ns, ns));
	for (unsigned i = 0; i < json_length(list); i++)
		if (json_equal(json_at(list, i), line)) { /* each run of a schedule says the same */
			json_free(line);
			return;
		}
	json_append(list, line);
}

static void add_spec(const struct json *spec, const char *in, const char *admin,
	const struct json *all, struct json *sources)
{
	const struct json *named = json_get(spec, "namespaces");
	struct json_member m;
	bool any =
		json_has_string(named, "*") || json_first(json_get(spec, "namespaceSelectors"), &m);

	if (json_get_bool(spec, "startApplications", false))
		return;
	if (!any && !json_length(named)) {
		add_source(sources, in, in, spec);
		return;
	}
	if (any)
		named = all;
	for (unsigned i = 0; i < json_length(named); i++) {
		const char *ns = json_string_at(named, i, "");

		/* Who writes in another one has no say. */
		if ((!strcmp(ns, in) || !strcmp(in, admin)) &&
			!json_has_string(json_get(spec, "excludeNamespaces"), ns))
			add_source(sources, ns, in, spec);
	}
}

void twice_sources(
	const struct json *objs, const char *admin, const struct json *all, struct json *sources)
{
	for (unsigned i = 0; i < json_length(objs); i++) {
		const struct json *o = json_at(objs, i), *spec = json_get(o, "spec"),
				  *template = json_path(spec, "template", "spec");
		const char *in = meta_of(o, "namespace");

		/* A run says what its schedule did then; that one says it itself. */
		if (in && !annotation_of(o, KEY_STATIC) &&
			!json_path(o, "metadata", "labels", KEY_SCHEDULE))
			add_spec(template ? template : spec, in, admin, all, sources);
	}
}

int twice_namespaces(struct kube_control *c, struct json *to, struct err *e)
{
	struct json *all = json_array();
	int ret = kube_list(c->kube, &kind_namespace, NULL, NULL, all, NULL, e);

	for (unsigned i = 0; i < json_length(all); i++)
		if (meta_of(json_at(all, i), "name"))
			json_append_string(to, meta_of(json_at(all, i), "name"));
	json_free(all);
	return ret;
}

static int read_sources(struct kube_control *c, struct json *sources, struct err *e)
{
	struct json *objs = json_array(), *all = json_array();
	int ret = twice_namespaces(c, all, e);

	if (!ret)
		ret = kube_list(c->kube, &kind_schedule, NULL, NULL, objs, NULL, e);
	if (!ret)
		ret = kube_list(c->kube, &kind_migration, NULL, NULL, objs, NULL, e);
	if (!ret)
		twice_sources(objs, c->config->kube_namespace, all, sources);
	json_free(objs);
	json_free(all);
	return ret;
}

/* --- what runs twice --- */

static bool runs(const struct json *workload)
{
	struct json *patch = hold_stop(workload);

	json_free(patch);
	return patch != NULL;
}

static bool is_copy(const struct json *workload)
{
	return json_path(workload, "metadata", "labels", KEY_MIGRATED) != NULL;
}

static bool has_running(const struct json *there, const struct json *like)
{
	for (unsigned i = 0; i < json_length(there); i++) {
		const struct json *w = json_at(there, i);

		if (kind_is(w, json_get_string(like, "kind", "")) &&
			!strcmp(json_get_string(json_get(w, "metadata"), "name", ""),
				json_get_string(json_get(like, "metadata"), "name", "?")))
			return is_copy(w) && runs(w);
	}
	return false;
}

struct json *twice_of(const struct json *here, const struct json *there)
{
	struct json *twice = json_array();

	for (unsigned i = 0; i < json_length(here); i++) {
		const struct json *w = json_at(here, i);

		if (!is_copy(w) && runs(w) && has_running(there, w))
			json_append(twice, json_copy(w));
	}
	return twice;
}

/* Are the namespace's volumes all elsewhere, by what the engines said last? Without any: is none active here? */
static bool is_elsewhere(struct kube_control *c, const struct json *volumes)
{
	enum return_word word;
	enum site_state site;

	if (!json_length(volumes)) {
		site = site_of_nodes(c);
		return site == SITE_STANDBY || site == SITE_INACTIVE;
	}
	word = return_judge_volumes(c, volumes);
	return word == RETURN_ELSEWHERE || word == RETURN_STOP;
}

static bool failover_is_open(struct kube_control *c)
{
	struct json *all = json_array();
	struct err e = {0};
	bool open = kube_list(c->kube, &kind_failover, NULL, NULL, all, NULL, &e) != 0;

	for (unsigned i = 0; i < json_length(all) && !open; i++) {
		struct switch_run run;

		open = !switch_parse(json_at(all, i), &run, &e) && !switch_ended(&run);
	}
	json_free(all);
	return open;
}

static int stop(struct kube_control *c, const char *ns, const struct json *twice,
	const struct json *source, struct err *e)
{
	unsigned n = 0;
	int ret = apps_stop_as_read(c->kube, ns, twice, &n, e);
	char text[480];

	if (!n)
		return ret;
	snprintf(text, sizeof(text),
		"%u workloads were stopped: their copies were started at the other site "
		"(ClusterPair '%.100s', namespace '%.63s'), and no volume of theirs is active in "
		"domain '%.60s'. A failback starts them as they were",
		n, json_get_string(source, "pair", ""), json_get_string(source, "to", ""),
		c->config->domain);
	return_tell(c, ns, "StoppedRunsElsewhere", text);
	return ret;
}

static int look_source(struct kube_control *c, const char *ns, const struct json *volumes,
	const struct json *mine, const struct json *source, struct err *e)
{
	struct json *theirs = json_array(), *twice = NULL;
	struct kube *there = NULL;
	int ret = pair_open(c, json_get_string(source, "in", ""),
		json_get_string(source, "pair", ""), &there, e);

	if (!ret)
		ret = apps_list_migrated(there, json_get_string(source, "to", ""), theirs, e);
	if (!ret)
		twice = twice_of(mine, theirs);
	if (json_length(twice))
		ret = nodes_look(c, NODES_MS_HURRY, e);
	if (!ret && json_length(twice) && is_elsewhere(c, volumes) && !failover_is_open(c) &&
		lease_hold(c))
		ret = stop(c, ns, twice, source, e);
	json_free(twice);
	json_free(theirs);
	kube_free(there);
	return ret;
}

static bool any_original_runs(const struct json *workloads)
{
	for (unsigned i = 0; i < json_length(workloads); i++)
		if (!is_copy(json_at(workloads, i)) && runs(json_at(workloads, i)))
			return true;
	return false;
}

static int look_namespace(
	struct kube_control *c, const char *ns, const struct json *sources, struct err *e)
{
	struct json *volumes = json_array(), *mine = json_array();
	int ret = apps_volumes(c->kube, ns, c->config->mounts, volumes, NULL, NULL, e);

	if (!ret && is_elsewhere(c, volumes))
		ret = apps_list(c->kube, ns, mine, e);
	if (!ret && any_original_runs(mine))
		for (unsigned i = 0; i < json_length(sources); i++)
			ret = look_source(c, ns, volumes, mine, json_at(sources, i), e);
	json_free(volumes);
	json_free(mine);
	return ret;
}

/* --- the job --- */

static void work(void *ctx)
{
	struct kube_control *c = ctx;
	struct json *sources = json_object();
	struct json_member m;
	struct err e = {0};
	int ret = read_sources(c, sources, &e);

	if (!ret)
		ret = nodes_look(c, NODES_MS_HURRY, &e);
	if (ret)
		log_debug("%s", e.msg);
	for (bool ok = json_first(sources, &m); ok && !ret && lease_hold(c); ok = json_next(&m))
		if (look_namespace(c, m.key, json_get(sources, m.key), &e))
			log_debug("namespace '%s': %s", m.key, e.msg); /* others may answer */
	json_free(sources);
	control_clear(c);
	free(c);
}

/* Does an engine tell of a volume that is active in another domain? */
static bool any_elsewhere(const struct kube_control *c)
{
	for (unsigned i = 0; i < c->nnodes; i++) {
		const struct json *volumes = json_get(c->nodes[i].status, "volumes");

		for (unsigned n = 0; n < json_length(volumes); n++) {
			const char *active = json_get_string(
				json_get(json_at(volumes, n), "status"), "active_domain", "");

			if (*active && strcmp(active, c->config->domain) != 0)
				return true;
		}
	}
	return false;
}

void twice_look(struct kube_control *c)
{
	enum site_state site = site_look(c, SITE_AGE_S, NODES_MS_HURRY);
	struct kube_control *job;

	if (now_s() >= c->twice_s &&
		now_s() - c->twice_s < (site == SITE_ACTIVE ? LOOK_ACTIVE_S : LOOK_S))
		return;
	if (!any_elsewhere(c))
		return;
	c->twice_s = now_s();
	job = malloc(sizeof(*job));
	ensure(job);
	*job = control_for_job(c);
	if (kube_job_start(c->jobs, "twice", work, job)) { /* it is under way */
		control_clear(job);
		free(job);
	}
}
