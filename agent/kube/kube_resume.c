/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A schedule whose applications were started in the other cluster suspends itself. When the applications and volumes of
 * its namespaces have come back, it goes on: a failback of some namespaces, while others never left, changes nothing
 * in the domain's state, and a schedule that stays suspended is a copy that grows old unseen.
 *
 * Whose word spec.suspend is, is told by an annotation that is written together with it: the generation that the
 * schedule has by that. A change of the spec by anybody makes it another's, and the agent takes back nothing
 * but its own word. (A person's `suspend` of one that is suspended changes no spec; tandemctl removes the annotation.)
 *
 * It goes on when, for all its namespaces, no workload runs there that was brought stopped, all volumes are active
 * here, and this domain counts. Failure modes, in all of which it stays suspended: the other cluster, an engine or a
 * node does not answer; there is no right to read a kind there; a person changes it meanwhile (what is written is
 * written over what was read, and nothing newer). Killed in between: the next look begins anew. The applications are
 * started there again right after the look: the next run says so before it sends anything, and copies nothing.
 */
#include "kube_resume.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define LOOK_S 30 /* between two looks: half of the shortest interval */

bool schedule_is_by_agent(const struct json *schedule)
{
	char generation[24];

	snprintf(generation, sizeof(generation), "%" PRId64,
		json_get_int(json_get(schedule, "metadata"), "generation", 0));
	return json_get_bool(json_get(schedule, "spec"), "suspend", false) &&
	       annotation_of(schedule, KEY_SUSPENDED_AT) &&
	       !strcmp(annotation_of(schedule, KEY_SUSPENDED_AT), generation);
}

/* spec.suspend and the annotation (NULL: it goes), over this very version of it. */
static int patch_word(struct kube *k, const struct json *schedule, bool suspend, const char *at,
	struct json **ret_now, struct err *e)
{
	struct json *patch = json_object(), *meta = json_object(), *annotations = json_object(),
		    *spec = json_object();
	int ret;

	json_set_string(meta, "resourceVersion", meta_of(schedule, "resourceVersion"));
	if (at)
		json_set_string(annotations, KEY_SUSPENDED_AT, at);
	else
		json_set(annotations, KEY_SUSPENDED_AT, NULL);
	json_set(meta, "annotations", annotations);
	json_set(patch, "metadata", meta);
	json_set_bool(spec, "suspend", suspend);
	json_set(patch, "spec", spec);
	ret = kube_patch(k, &kind_schedule, meta_of(schedule, "namespace"),
		meta_of(schedule, "name"), NULL, patch, ret_now, e);
	json_free(patch);
	return ret;
}

int schedule_suspend(struct kube_control *c, struct json *schedule, struct err *e)
{
	struct json *now = NULL;
	char at[24];
	int ret;

	/* A change of the spec is one generation. */
	snprintf(at, sizeof(at), "%" PRId64,
		json_get_int(json_get(schedule, "metadata"), "generation", 0) + 1);
	ret = patch_word(c->kube, schedule, true, at, &now, e);
	if (ret)
		return ret;
	json_set(schedule, "metadata", json_copy(json_get(now, "metadata")));
	json_set(schedule, "spec", json_copy(json_get(now, "spec")));
	json_free(now);
	kube_event(c->kube, schedule, "Warning", "ScheduleSuspended",
		"the applications run in the other cluster; nothing more is copied there until "
		"they are stopped");
	return 0;
}

/* --- the job --- */

struct resume_job {
	struct kube_control c;
	struct json *todo; /* {namespace, name} */
};

static void look(struct kube_control *c, const char *ns, const char *name)
{
	struct json *schedule = NULL, *now = NULL;
	const char *why = "";
	struct err e = {0};
	int ret = kube_get(c->kube, &kind_schedule, ns, name, &schedule, &e);

	if (!ret && schedule_is_by_agent(schedule))
		ret = migration_may_go_on(
			c, ns, json_path(schedule, "spec", "template", "spec"), &e);
	else
		why = "it is another's word by now";
	if (!ret && !*why && lease_hold(c))
		ret = patch_word(c->kube, schedule, false, NULL, &now, &e);
	if (now)
		kube_event(c->kube, now, "Normal", "ScheduleResumed",
			"the applications were stopped in the other cluster, and their volumes are "
			"active here: runs go on");
	log_debug("MigrationSchedule '%s/%s', which suspended itself: %s", ns, name,
		now   ? "it goes on"
		: ret ? e.msg
		      : why);
	json_free(now);
	json_free(schedule);
}

static void job_free(struct resume_job *j)
{
	control_clear(&j->c);
	json_free(j->todo);
	free(j);
}

static void work(void *ctx)
{
	struct resume_job *j = ctx;

	for (unsigned i = 0; i < json_length(j->todo) && lease_hold(&j->c); i++)
		look(&j->c, json_get_string(json_at(j->todo, i), "namespace", ""),
			json_get_string(json_at(j->todo, i), "name", ""));
	job_free(j);
}

void schedules_resume(struct kube_control *c, const struct json *schedules)
{
	struct json *todo;
	struct resume_job *j;

	if (now_s() >= c->resume_s && now_s() - c->resume_s < LOOK_S)
		return;
	todo = json_array();
	for (unsigned i = 0; i < json_length(schedules); i++) {
		const struct json *s = json_at(schedules, i);
		struct json *one;

		if (!schedule_is_by_agent(s) || meta_of(s, "deletionTimestamp"))
			continue;
		one = json_object();
		json_set_string(one, "namespace", meta_of(s, "namespace"));
		json_set_string(one, "name", meta_of(s, "name"));
		json_append(todo, one);
	}
	if (!json_length(todo)) {
		json_free(todo);
		return;
	}
	c->resume_s = now_s();
	j = calloc(1, sizeof(*j));
	ensure(j);
	j->c = control_for_job(c);
	j->todo = todo;
	if (kube_job_start(c->jobs, "resume", work, j)) /* the last one has not ended */
		job_free(j);
}
