/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All Failovers that have not ended: each is a job, a thread with a connection and a view of the engines of its own, so
 * that one that waits for a dead cluster, a rule or a webhook holds up nothing but itself. The worker's thread lists the
 * objects twice a second while there are such, begins what is new (unplanned ones first), and joins what has ended. An
 * object belongs to its job: nobody else writes its status, and of one uid there is one job. Jobs share nothing but the
 * word to stop and the lease, which each asks after every call: who has lost it writes nothing more.
 *
 * Failure modes:
 * - A job is stuck in a call, up to 30 s, or as long as a rule or a webhook says: the others go on, also where its object
 *   was deleted meanwhile. The word to stop ends every call within about a second.
 * - This cluster's API fails in a job: it ends, and its object is read and begun again.
 * - So many are stuck that no more may run: at most PLANNED_MAX that are not unplanned, so that there is always room for
 *   unplanned ones. Those that wait begin when one ends, within their time-out.
 * - The lease goes and comes back while a job is stuck: the same job goes on, and no second one is begun beside it.
 *
 * Two about the same volume or namespace are both carried out: each step looks at what there is before it acts. The
 * engine's agent takes one hand-over of a volume at a time, and the other Failover follows that one; what is fenced,
 * mounted or started is found so, by two unplanned ones as by one that is repeated. But when an unplanned one has fenced
 * it, one that is not, and is not past its HandOver, is overtaken: it would wait for a site that was given up, or roll
 * back and start the applications of that site again. It ends as Failed before its next step and rolls nothing back;
 * what it stopped over there stays stopped, which is what a site that was left behind needs. While the fence is under
 * way it takes no step; where the fence is refused, because that site lives, it goes on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "kube_failover_impl.h"
#include "log.h"

#define PLANNED_MAX 32u
#define LIST_NS (500 * NS_PER_MS)

/* --- who is overtaken --- */

static bool has_volume(const struct json *volumes, const char *name)
{
	for (unsigned i = 0; i < json_length(volumes); i++)
		if (!strcmp(json_get_string(json_at(volumes, i), "volume", ""), name))
			return true;
	return false;
}

static bool has_namespace(const struct json *summary, const char *name)
{
	for (unsigned i = 0; i < json_length(summary); i++)
		if (!strcmp(json_get_string(json_at(summary, i), "namespace", ""), name))
			return true;
	return false;
}

static bool overlaps(const struct failover *f, const struct json *status)
{
	for (unsigned i = 0; i < json_length(f->volumes); i++)
		if (has_volume(json_get(status, "volumes"),
			    json_get_string(json_at(f->volumes, i), "volume", "")))
			return true;
	for (unsigned i = 0; i < json_length(f->summary); i++)
		if (!failover_is_left(f, i) &&
			has_namespace(json_get(status, "summary"), failover_namespace(f, i)))
			return true;
	return false;
}

/* Of what both are about: is it fenced, may it be soon, or will it not be? */
enum fence { FENCE_NONE, FENCE_BEGUN, FENCE_DONE };

/* One that failed behind a fence that refused none, as one that does not mount, is fenced. */
static bool is_fenced(const struct switch_step *step, const struct json *v)
{
	return volume_is(v, "Failed") ? step->state == STEP_DONE
				      : !volume_is(v, "") && !volume_is(v, "NotConcerned");
}

static enum fence fence_of(
	const struct failover *f, const struct switch_run *other, const struct json *volumes)
{
	const struct switch_step *step = &other->steps[STAGE_FENCE];
	bool any = false;

	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *v = json_at(volumes, i);

		if (!has_volume(f->volumes, volume_name(v)))
			continue;
		any = true;
		if (is_fenced(step, v))
			return FENCE_DONE;
	}
	if (!step->end_ms)
		return FENCE_BEGUN;
	return !any && step->state != STEP_FAILED ? FENCE_DONE : FENCE_NONE;
}

static enum fence fenced_by(const struct failover *f, const struct json *other)
{
	const struct json *status = json_get(other, "status");
	struct switch_run r;
	struct err e = {0};

	if (switch_parse(other, &r, &e) || r.type != SWITCH_UNPLANNED ||
		!r.steps[STAGE_FENCE].start_ms ||
		r.steps[STAGE_FENCE].start_ms < f->run.started_ms ||
		strcmp(json_get_string(json_get(other, "spec"), "fromDomain", ""),
			failover_from(f)) != 0 ||
		!overlaps(f, status))
		return FENCE_NONE;
	return fence_of(f, &r, json_get(status, "volumes"));
}

bool failover_overtaker(
	const struct failover *f, const struct json *all, const struct json **ret_by)
{
	bool begun = false;

	*ret_by = NULL;
	if (!switch_can_be_overtaken(&f->run))
		return false;
	for (unsigned i = 0; i < json_length(all); i++) {
		enum fence fence = fenced_by(f, json_at(all, i));

		begun |= fence != FENCE_NONE;
		if (fence == FENCE_DONE && !*ret_by)
			*ret_by = json_at(all, i);
	}
	return begun;
}

/* --- jobs --- */

struct job {
	struct kube_control c;
	struct json *obj;
};

static void job_free(struct job *j)
{
	control_clear(&j->c);
	json_free(j->obj);
	free(j);
}

/* What was listed may be of before the end of an earlier job of it. */
static int read_and_carry_out(struct job *j, struct err *e)
{
	struct json *now = NULL;
	int ret = kube_get(j->c.kube, &kind_failover, NULL, meta_of(j->obj, "name"), &now, e);

	if (!ret && !strcmp(meta_of(now, "uid"), meta_of(j->obj, "uid")))
		ret = failover_carry_out(&j->c, now, e);
	json_free(now);
	return ret == -ENOENT ? 0 : ret; /* deleted meanwhile */
}

static void job_work(void *ctx)
{
	struct job *j = ctx;
	struct err e = {0};

	if (read_and_carry_out(j, &e)) {
		log_warn("Failover '%s': %s; trying again", meta_of(j->obj, "name"), e.msg);
		kube_pause(j->c.stop, MIN(j->c.config->kube_interval_ns, 2 * NS_PER_S));
	}
	job_free(j);
}

static void start(struct kube_control *c, const struct json *obj, bool unplanned)
{
	struct job *j;
	char key[64];

	snprintf(key, sizeof(key), "%s/%.40s", unplanned ? "unplanned" : "planned",
		meta_of(obj, "uid"));
	if (kube_jobs_count(c->jobs, key) ||
		(!unplanned && kube_jobs_count(c->jobs, "planned/") >= PLANNED_MAX))
		return;
	j = calloc(1, sizeof(*j));
	ensure(j);
	j->c = control_for_job(c);
	j->obj = json_copy(obj);
	if (kube_job_start(c->jobs, key, job_work, j)) /* at the next look, then */
		job_free(j);
}

/* Begins what has not ended. *ret_open: how many those are, with those that run. */
static int start_all(struct kube_control *c, unsigned *ret_open, struct err *e)
{
	struct json *all = json_array();
	int ret = kube_list(c->kube, &kind_failover, NULL, NULL, all, NULL, e);

	*ret_open = 0;
	for (unsigned unplanned = 2; unplanned-- && !ret;) {
		for (unsigned i = 0; i < json_length(all); i++) {
			const struct json *obj = json_at(all, i);
			struct switch_run run;
			struct err why = {0};

			if (meta_of(obj, "deletionTimestamp"))
				continue;
			if (switch_parse(obj, &run, &why)) {
				if (unplanned)
					log_warn(
						"Failover '%s': %s", meta_of(obj, "name"), why.msg);
				continue;
			}
			if (switch_ended(&run) || (run.type == SWITCH_UNPLANNED) != unplanned)
				continue;
			(*ret_open)++;
			start(c, obj, unplanned);
		}
	}
	json_free(all);
	return ret;
}

int failovers_look(struct kube_control *c, struct err *e)
{
	unsigned open;
	int ret;

	do {
		ret = start_all(c, &open, e);
		if (!ret && open)
			kube_pause(c->stop, LIST_NS);
	} while (!ret && open && lease_hold(c));
	return ret;
}
