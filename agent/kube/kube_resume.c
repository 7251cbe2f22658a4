/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A schedule whose applications were started in the other cluster suspends itself. When the applications and volumes of
 * its namespaces have come back, it goes on: a failback of some namespaces, while others never left, changes nothing
 * in the domain's state, and a schedule that stays suspended is a copy that grows old unseen.
 *
 * Whose word spec.suspend is, is told by an annotation that is written together with it: "GENERATION RUN", the
 * generation that the schedule has by that and the run for whose sake it was. A change of the spec by anybody makes it
 * another's, and the agent takes back nothing but its own word: "- RUN" from then on. (A person's `suspend` of one that
 * is suspended changes no spec; tandemctl removes the annotation.)
 *
 * They have come back when a workload of its namespaces runs here, no workload runs there that this schedule brought
 * stopped, all volumes of the namespaces are active here, and objects may be copied from this site. A workload that
 * somebody stopped there for a while is not enough: as long as nothing runs here, it is there that they live.
 *
 * Failure modes, in all of which it stays suspended: the other cluster, or the engine of a volume does not answer; there
 * is no right; a person changes it meanwhile (what is written is written over what was read, and nothing newer). Killed
 * in between: the next look begins anew. The applications are started there again right after the look: the next
 * run says so before it sends anything, copies nothing, and suspends it again. A cluster that is dead takes half a
 * minute to be asked: each schedule has a job of its own.
 */
#include "kube_resume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps.h"
#include "kube_nodes.h"
#include "kube_site.h"
#include "kube_twice.h"
#include "log.h"

#define LOOK_S 30 /* between two looks: half of the shortest interval */
#define TAKEN_BACK "-"

/* Of the annotation the part before the space, or behind it; "" where there is none. */
static void mark_of(const struct json *schedule, bool run, char ret[300])
{
	const char *mark = annotation_of(schedule, KEY_SUSPENDED_AT), *space;

	ret[0] = '\0';
	space = mark ? strchr(mark, ' ') : NULL;
	if (space && run)
		snprintf(ret, 300, "%s", space + 1);
	else if (space)
		snprintf(ret, 300, "%.*s", (int)(space - mark), mark);
}

bool schedule_is_by_agent(const struct json *schedule)
{
	char generation[24], mark[300];

	mark_of(schedule, false, mark);
	snprintf(generation, sizeof(generation), "%" PRId64,
		json_get_int(json_get(schedule, "metadata"), "generation", 0));
	return json_get_bool(json_get(schedule, "spec"), "suspend", false) &&
	       !strcmp(mark, generation);
}

bool schedule_is_resumed(const struct json *schedule)
{
	char mark[300];

	mark_of(schedule, false, mark);
	return !strcmp(mark, TAKEN_BACK);
}

bool schedule_is_answered(const struct json *schedule, const char *run)
{
	char mark[300];

	mark_of(schedule, true, mark);
	return !strcmp(mark, run);
}

/* spec.suspend and the annotation, over this very version of it. */
static int patch_word(struct kube *k, const struct json *schedule, bool suspend, const char *mark,
	struct json **ret_now, struct err *e)
{
	struct json *patch = json_object(), *meta = json_object(), *annotations = json_object(),
		    *spec = json_object();
	int ret;

	json_set_string(meta, "resourceVersion", meta_of(schedule, "resourceVersion"));
	json_set_string(annotations, KEY_SUSPENDED_AT, mark);
	json_set(meta, "annotations", annotations);
	json_set(patch, "metadata", meta);
	json_set_bool(spec, "suspend", suspend);
	json_set(patch, "spec", spec);
	ret = kube_patch(k, &kind_schedule, meta_of(schedule, "namespace"),
		meta_of(schedule, "name"), NULL, patch, ret_now, e);
	json_free(patch);
	return ret;
}

int schedule_suspend(struct kube_control *c, struct json *schedule, const char *run, struct err *e)
{
	struct json *now = NULL;
	char mark[300];
	int ret;

	/* A change of the spec is one generation. */
	snprintf(mark, sizeof(mark), "%" PRId64 " %.253s",
		json_get_int(json_get(schedule, "metadata"), "generation", 0) + 1, run);
	ret = patch_word(c->kube, schedule, true, mark, &now, e);
	if (ret)
		return ret;
	json_set(schedule, "metadata", json_copy(json_get(now, "metadata")));
	json_set(schedule, "spec", json_copy(json_get(now, "spec")));
	json_free(now);
	kube_event(c->kube, schedule, "Warning", "ScheduleSuspended",
		"the applications run in the other cluster; nothing more is copied there until "
		"they have come back");
	return 0;
}

/* --- have they come back? --- */

/* Not those of it that were made there, or brought by another one. */
static int check_there(
	struct kube_control *c, const char *ns, const struct json *source, struct err *e)
{
	const char *in = json_get_string(source, "in", ""),
		   *pair = json_get_string(source, "pair", "");
	struct json *theirs = json_array();
	struct kube *there = NULL;
	char from[520];
	int ret = pair_open(c, in, pair, &there, e);

	snprintf(from, sizeof(from), "%.250s/%.253s", in, pair);
	if (!ret)
		ret = apps_list_migrated(there, json_get_string(source, "to", ns), theirs, e);
	for (unsigned i = 0; i < json_length(theirs) && !ret; i++) {
		const struct json *w = json_at(theirs, i);
		const char *by = annotation_of(w, KEY_FROM);

		if (by && !strcmp(by, from) && hold_runs(w))
			ret = err_set(e, -EBUSY, "%.60s '%.100s' runs there",
				json_get_string(w, "kind", ""), meta_of(w, "name"));
	}
	json_free(theirs);
	kube_free(there);
	return ret;
}

static int check_volumes(struct kube_control *c, const char *ns, struct err *e)
{
	struct json *volumes = json_array();
	int ret = apps_volumes(c->kube, ns, c->config->mounts, volumes, NULL, NULL, e);

	for (unsigned i = 0; i < json_length(volumes) && !ret; i++) {
		const char *volume = json_string_at(volumes, i, "");
		const struct json *entry = NULL;

		node_of_volume(c, volume, &entry);
		if (strcmp(json_get_string(json_get(entry, "status"), "active_domain", ""),
			    c->config->domain) != 0)
			ret = err_set(e, -EBUSY, "volume '%.100s' is not known to be active here",
				volume);
	}
	json_free(volumes);
	return ret;
}

static int check_namespace(struct kube_control *c, const char *ns, const struct json *sources,
	unsigned *running, struct err *e)
{
	unsigned n = 0;
	int ret = apps_running(c->kube, ns, &n, e);

	*running += n;
	if (!ret)
		ret = check_volumes(c, ns, e);
	for (unsigned i = 0; i < json_length(sources) && !ret; i++)
		ret = check_there(c, ns, json_at(sources, i), e);
	return ret;
}

static int check(struct kube_control *c, const struct json *schedule, struct err *e)
{
	struct json *objs = json_array(), *all = json_array(), *sources = json_object(),
		    *own = json_copy(schedule);
	const char *site = site_words(site_look(c, 0, NODES_MS_CALM));
	unsigned running = 0;
	struct json_member m;
	int ret = *site ? err_set(e, -EBUSY, "%s", site) : twice_namespaces(c, all, e);

	/* One that was left here by the other cluster's, and resumed here, is as good as one's own. */
	json_remove(json_path(own, "metadata", "annotations"), KEY_STATIC);
	json_append(objs, own);
	if (!ret)
		twice_sources(objs, c->config->kube_namespace, all, sources);
	for (bool ok = json_first(sources, &m); ok && !ret; ok = json_next(&m))
		ret = lease_hold(c) ? check_namespace(c, m.key, m.value, &running, e)
				    : err_set(e, -ECANCELED, "the lease is another's");
	if (!ret && !running)
		ret = err_set(e, -EBUSY, "nothing of it runs here");
	json_free(sources);
	json_free(objs);
	json_free(all);
	return ret;
}

/* --- the job --- */

struct resume_job {
	struct kube_control c;
	struct json *schedule; /* as it was in the list */
};

static void look(struct kube_control *c, const char *ns, const char *name)
{
	struct json *schedule = NULL, *now = NULL;
	char run[300], mark[300];
	struct err e = {0};
	int ret = kube_get(c->kube, &kind_schedule, ns, name, &schedule, &e);

	if (!ret && !schedule_is_by_agent(schedule))
		ret = err_set(&e, -EPERM, "it is another's word by now");
	if (!ret)
		ret = check(c, schedule, &e);
	mark_of(schedule, true, run);
	snprintf(mark, sizeof(mark), TAKEN_BACK " %.290s", run);
	if (!ret && lease_hold(c))
		ret = patch_word(c->kube, schedule, false, mark, &now, &e);
	if (now)
		kube_event(c->kube, now, "Normal", "ScheduleResumed",
			"the applications and their volumes have come back: runs go on");
	log_debug("MigrationSchedule '%s/%s', which suspended itself: %s", ns, name,
		now ? "it goes on" : e.msg);
	json_free(now);
	json_free(schedule);
}

static void job_free(struct resume_job *j)
{
	control_clear(&j->c);
	json_free(j->schedule);
	free(j);
}

static void work(void *ctx)
{
	struct resume_job *j = ctx;

	look(&j->c, meta_of(j->schedule, "namespace"), meta_of(j->schedule, "name"));
	job_free(j);
}

void schedules_resume(struct kube_control *c, const struct json *schedules)
{
	char key[600];

	if (now_s() >= c->resume_s && now_s() - c->resume_s < LOOK_S)
		return;
	for (unsigned i = 0; i < json_length(schedules); i++) {
		const struct json *s = json_at(schedules, i);
		struct resume_job *j;

		if (!schedule_is_by_agent(s) || meta_of(s, "deletionTimestamp"))
			continue;
		c->resume_s = now_s();
		j = calloc(1, sizeof(*j));
		ensure(j);
		j->c = control_for_job(c);
		j->schedule = json_copy(s);
		snprintf(key, sizeof(key), "resume %.253s/%.253s", meta_of(s, "namespace"),
			meta_of(s, "name"));
		if (kube_job_start(c->jobs, key, work, j)) /* its last one has not ended */
			job_free(j);
	}
}
