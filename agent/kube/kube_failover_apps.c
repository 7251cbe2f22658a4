/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Failover's applications. The source's cluster is reached through the ClusterPair in each namespace (or, where that
 * has none, the one beside the agent), and only by a planned one: the one that says that it leads to that domain, another
 * domain's never. What is stopped there remembers its counts there, so that a rollback and a failback find them.
 *
 * A rollback starts again at the source what this Failover stopped there. A namespace of which nothing ran there when it
 * began is left as it is: it runs here already, or somebody has stopped it. The summary remembers that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps.h"
#include "kube_failover_impl.h"
#include "kube_rule.h"
#include "log.h"
#include "migrate.h"

#define LAST_MILE_MS 60000u /* how long the source's agent may take to begin and end it */

/* --- the source --- */

const char *failover_pair(const struct json *pairs, const char *from, struct err *e)
{
	const char *best = NULL;
	unsigned best_rank = 0, same = 0;

	for (unsigned i = 0; i < json_length(pairs); i++) {
		const struct json *p = json_at(pairs, i), *status = json_get(p, "status");
		const char *domain = json_get_string(status, "remoteDomain", "");
		bool ready = !strcmp(json_get_string(status, "schedulerStatus", ""), "Ready");
		unsigned rank = 1 + ready + 2 * (domain[0] != 0);

		if (domain[0] && strcmp(domain, from) != 0)
			continue;
		same = rank > best_rank ? 1 : same + (rank == best_rank);
		if (rank >= best_rank) {
			best = meta_of(p, "name");
			best_rank = rank;
		}
	}
	if (same < 2 || best_rank > 2)
		return best;
	err_set(e, -EINVAL,
		"there are %u ClusterPairs, and it is not known which leads to '%s': see "
		"status.remoteDomain of each",
		same, from);
	return NULL;
}

static int pair_in(struct failover *f, const char *ns, struct kube **ret, struct err *e)
{
	struct json *pairs = json_array();
	const char *name = NULL;
	int r = kube_list(f->c.kube, &kind_pair, ns, NULL, pairs, NULL, e);

	if (!r) {
		e->code = 0;
		name = failover_pair(pairs, failover_from(f), e);
		r = name ? pair_open(&f->c, ns, name, ret, e) : e->code ? e->code : -ENOENT;
	}
	json_free(pairs);
	return r;
}

/* The source's cluster for a namespace: borrowed. */
static int source_of(struct failover *f, unsigned i, struct kube **ret, struct err *e)
{
	const char *ns = failover_namespace(f, i);
	int r = 0;

	if (!f->there[i])
		r = pair_in(f, ns, &f->there[i], e);
	if (r == -ENOENT)
		r = pair_in(f, f->c.config->kube_namespace, &f->there[i], e);
	if (r == -ENOENT)
		return err_set(e, -EINVAL,
			"namespace '%s' has no ClusterPair to the cluster of '%s', which must be "
			"told to "
			"stop: make one ('tandemctl generate clusterpair' there), or set "
			"skipSourceOperations",
			ns, failover_from(f));
	*ret = f->there[i];
	return r;
}

/* Then nothing is stopped here. */
static bool is_stopped_by_hand(const struct failover *f)
{
	return json_get_bool(json_get(f->obj, "spec"), "sourceIsStopped", false);
}

/* Nothing was stopped there by this Failover; what a person has stopped there is no business of a rollback's. */
static bool leaves_source(const struct failover *f)
{
	return is_stopped_by_hand(f) || f->run.steps[STAGE_SCALE_DOWN].state == STEP_SKIPPED;
}

static int check_stopped(struct failover *f, unsigned i, struct kube *there, struct err *e)
{
	const char *ns = failover_source(f, i);
	unsigned n;
	int ret = apps_running(there, ns, &n, e);

	if (ret || !n)
		return ret;
	return err_set(e, -EPERM,
		"%u workloads of namespace '%s' run at '%s': stop them there ('tandemctl "
		"deactivate migration -n %s'), or have that done ('tandemctl perform failover -n "
		"%s' here)",
		n, ns, failover_from(f), ns, failover_namespace(f, i));
}

void failover_note_stopped(struct failover *f, unsigned i, const struct json *apps)
{
	unsigned n = json_length(apps), running = 0;
	struct json *line = json_at(f->summary, i);

	for (unsigned k = 0; k < n; k++)
		running += hold_runs(json_at(apps, k));
	if (n && !running)
		json_set_bool(line, "wasStopped", true);
	else
		json_remove(line, "wasStopped");
}

int failover_reach_source(struct failover *f, struct err *e)
{
	int ret = 0;

	for (unsigned i = 0; i < json_length(f->summary) && !ret; i++) {
		struct json *apps;
		struct kube *there;

		if (failover_is_left(f, i))
			continue;
		apps = json_array();
		ret = source_of(f, i, &there, e);
		if (!ret)
			ret = apps_list(there, failover_source(f, i), apps, e);
		if (!ret)
			failover_note_stopped(f, i, apps);
		if (!ret && is_stopped_by_hand(f))
			ret = check_stopped(f, i, there, e);
		json_free(apps);
	}
	return ret;
}

/* --- the last copy --- */

/* The copy of a schedule of ours copies nothing back until somebody resumes it there, or means it by name. */
static bool may_run(const struct json *schedule, const char *name)
{
	return name ? !strcmp(meta_of(schedule, "name"), name)
		    : !annotation_of(schedule, KEY_STATIC) ||
			       !json_get_bool(json_get(schedule, "spec"), "suspend", false);
}

/* `namespace` (NULL: any): one of administrators, which copies it. */
static const struct json *schedule_of(
	const struct failover *f, const struct json *schedules, const struct json *namespace)
{
	const char *name = json_get_string(
		json_get(json_get(f->obj, "spec"), "migrationScheduleReference"), "name", NULL);

	for (unsigned i = 0; i < json_length(schedules); i++) {
		const struct json *s = json_at(schedules, i);

		if (may_run(s, name) &&
			(!namespace || migration_covers(json_path(s, "spec", "template", "spec"),
					       f->c.config->kube_namespace, namespace)))
			return s;
	}
	return NULL;
}

/* Its name is the Failover's: one that was begun before is found again. */
static struct json *last_migration(
	const struct failover *f, const char *ns, const struct json *schedule)
{
	const char *own = meta_of(schedule, "namespace");
	struct json *m = json_object(), *meta = json_object(),
		    *spec = json_copy(json_path(schedule, "spec", "template", "spec"));
	char name[300];

	snprintf(name, sizeof(name), "failover-%.36s", meta_of(f->obj, "uid"));
	if (strcmp(own, ns) != 0) {
		struct json *only = json_array();

		snprintf(name, sizeof(name), "failover-%.36s-%.63s", meta_of(f->obj, "uid"), ns);
		json_append_string(only, ns);
		json_set(spec, "namespaces", only);
		json_remove(spec, "namespaceSelectors");
		json_remove(spec, "excludeNamespaces");
	}
	json_set_string(m, "apiVersion", "tandemfs.dev/v1alpha1");
	json_set_string(m, "kind", "Migration");
	json_set_string(meta, "name", name);
	json_set_string(meta, "namespace", own);
	json_set(m, "metadata", meta);
	json_set(m, "spec", spec);
	return m;
}

/* What the last copies came to. */
struct copies {
	unsigned whole, partly;
	bool unread; /* a namespace has no schedule, and those of administrators may not be read */
};

/* By this schedule. 0: it has ended; 1: not yet. */
static int copy_by(struct failover *f, struct kube *there, const char *ns,
	const struct json *schedule, struct copies *copies, struct err *e)
{
	struct json *m = last_migration(f, ns, schedule), *now = NULL;
	const char *in = meta_of(m, "namespace"), *how;
	int ret = kube_get(there, &kind_migration, in, meta_of(m, "name"), &now, e);

	if (ret == -ENOENT)
		ret = kube_create(there, &kind_migration, m, &now, e);
	how = json_get_string(json_get(now, "status"), "status", "");
	if (!ret && !migration_ended(now))
		ret = err_set(e, 1, "the last copy of namespace '%s' has not ended", ns);
	else if (!ret && !strcmp(how, "Failed"))
		ret = err_set(e, -EPERM,
			"the last copy of namespace '%s' failed: see Migration '%s/%s' there", ns,
			in, meta_of(m, "name"));
	else if (!ret && !strcmp(how, "PartialSuccess"))
		copies->partly++;
	else if (!ret)
		copies->whole++;
	json_free(m);
	json_free(now);
	return ret;
}

/* By one of administrators, through this cluster's connection. -ENOENT: none copies it; -EACCES: they may not be read. */
static int copy_for_all(struct failover *f, struct kube *there, const char *ns,
	struct copies *copies, struct err *e)
{
	struct json *schedules = json_array(), *namespace = NULL;
	const struct json *schedule = NULL;
	int ret = kube_list(
		there, &kind_schedule, f->c.config->kube_namespace, NULL, schedules, NULL, e);

	if (!ret && json_length(schedules))
		ret = kube_get(there, &kind_namespace, NULL, ns, &namespace, e);
	if (ret == -EPERM)
		ret = -EACCES;
	if (!ret && namespace)
		schedule = schedule_of(f, schedules, namespace);
	if (!ret)
		ret = schedule ? copy_by(f, there, ns, schedule, copies, e) : -ENOENT;
	json_free(namespace);
	json_free(schedules);
	return ret;
}

/* The account of a namespace's pair may not look there: that of the administrators' pair does. */
static int copy_by_administrators(struct failover *f, struct kube *there, const char *ns,
	struct copies *copies, struct err *e)
{
	struct kube *admin = NULL;
	int ret = copy_for_all(f, there, ns, copies, e);

	if (ret == -EACCES && !pair_in(f, f->c.config->kube_namespace, &admin, e))
		ret = copy_for_all(f, admin, ns, copies, e);
	kube_free(admin);
	copies->unread |= ret == -EACCES;
	return ret == -EACCES ? 0 : ret;
}

/* 0: it has ended, or there is none; 1: not yet. */
static int copy_namespace(struct failover *f, unsigned i, struct copies *copies, struct err *e)
{
	const char *ns = failover_source(f, i);
	struct json *schedules = json_array();
	const struct json *schedule;
	struct kube *there;
	int ret = source_of(f, i, &there, e);

	if (!ret)
		ret = kube_list(there, &kind_schedule, ns, NULL, schedules, NULL, e);
	schedule = ret ? NULL : schedule_of(f, schedules, NULL);
	if (schedule)
		ret = copy_by(f, there, ns, schedule, copies, e);
	else if (!ret)
		ret = copy_by_administrators(f, there, ns, copies, e);
	json_free(schedules);
	return ret == -ENOENT ? 0 : ret;
}

void failover_last_mile(struct failover *f, struct switch_seen *s)
{
	uint64_t since = failover_since_ms(f->run.steps[STAGE_LAST_MILE].start_ms);
	struct copies copies = {0};

	for (unsigned i = 0; i < json_length(f->summary); i++) {
		struct err e = {0};
		int ret = failover_is_left(f, i) ? 0 : copy_namespace(f, i, &copies, &e);

		if (!ret)
			continue;
		if (ret > 0 && since > LAST_MILE_MS)
			seen_say(s, FOUND_REFUSED, "%.250s: does tandem-agent run there?", e.msg);
		else if (ret > 0)
			seen_say(s, FOUND_NOT_YET, "%s", e.msg);
		else
			seen_error(s, ret, &e);
		return;
	}
	if (copies.partly)
		seen_say(s, FOUND_DONE,
			"%u of %u namespaces copied once more, %u of them but for objects that "
			"failed: the "
			"Migrations there say which",
			copies.whole + copies.partly, json_length(f->summary), copies.partly);
	else if (copies.whole)
		seen_say(s, FOUND_DONE, "%u of %u namespaces copied once more", copies.whole,
			json_length(f->summary));
	else if (copies.unread)
		seen_say(s, FOUND_NOT_NEEDED,
			"no MigrationSchedule in the namespaces there copies to here, and those of "
			"its "
			"administrators may not be read");
	else
		seen_say(s, FOUND_NOT_NEEDED, "no MigrationSchedule there copies to here");
}

/* --- stop and start --- */

/* Are all volumes of the namespace, of which it has some, still to come? */
static bool awaits_volume(const struct failover *f, const char *ns)
{
	bool any = false;

	for (unsigned i = 0; i < json_length(f->volumes); i++) {
		const struct json *v = json_at(f->volumes, i);

		if (!json_has_string(json_get(v, "namespaces"), ns))
			continue;
		if (json_get_bool(v, "wasHere", false))
			return false;
		any = true;
	}
	return any;
}

static int stop_source(struct failover *f, unsigned *ret_n, struct err *e)
{
	int ret = 0;

	*ret_n = 0;
	for (unsigned i = 0; i < json_length(f->summary) && !ret; i++) {
		struct kube *there;
		unsigned n = 0;

		if (failover_is_left(f, i))
			continue;
		ret = source_of(f, i, &there, e);
		if (!ret)
			ret = apps_stop(there, failover_source(f, i), &n, e);
		*ret_n += n;
	}
	return ret;
}

/*
 * What runs here, too, of a namespace with a volume that is to come: a site that was left behind and was activated before
 * it was back. Its pods would start with the mount, also in a Failover that goes back.
 */
static int stop_here(struct failover *f, unsigned *ret_n, struct err *e)
{
	int ret = 0;

	*ret_n = 0;
	for (unsigned i = 0; i < json_length(f->summary) && !ret; i++) {
		unsigned n = 0;

		if (failover_is_left(f, i) || !awaits_volume(f, failover_namespace(f, i)))
			continue;
		ret = apps_stop(f->c.kube, failover_namespace(f, i), &n, e);
		*ret_n += n;
	}
	return ret;
}

void failover_scale_down(struct failover *f, struct switch_seen *s)
{
	struct err e = {0};
	unsigned n, here = 0;
	int ret = stop_here(f, &here, &e);

	if (here)
		log_info("Failover '%s': %u workloads stopped here until their volumes are",
			meta_of(f->obj, "name"), here);
	if (ret) {
		seen_error(s, ret, &e);
		return;
	}
	if (is_stopped_by_hand(f)) {
		seen_say(s, FOUND_NOT_NEEDED, "spec.sourceIsStopped");
		return;
	}
	ret = stop_source(f, &n, &e);
	if (ret)
		seen_error(s, ret, &e);
	else
		seen_say(s, FOUND_DONE, "%u workloads told to stop at '%s'", n, failover_from(f));
}

void failover_wait(struct failover *f, struct switch_seen *s)
{
	for (unsigned i = 0; i < json_length(f->summary); i++) {
		struct kube *there;
		struct err e = {0};
		char one[320] = "";
		unsigned n = 0;
		int ret;

		if (failover_is_left(f, i))
			continue;
		ret = source_of(f, i, &there, &e);
		if (!ret)
			ret = apps_pods(there, failover_source(f, i), f->c.config->mounts, &n, one,
				sizeof(one), &e);
		if (ret) {
			seen_error(s, ret, &e);
			return;
		}
		if (n) {
			seen_say(s, FOUND_NOT_YET, "%u pods still use volumes at '%s': %.250s", n,
				failover_from(f), one);
			return;
		}
	}
	seen_say(s, FOUND_DONE, "no pod uses a volume at '%s'", failover_from(f));
}

static bool is_failed(const struct failover *f, unsigned i, const char **ret_why)
{
	*ret_why = json_get_string(json_at(f->summary, i), "reason", "");
	return failover_is_left(f, i);
}

/* Has it a volume that is not here? */
static bool lacks_volume(const struct failover *f, const char *ns, const char **ret_why)
{
	for (unsigned i = 0; i < json_length(f->volumes); i++) {
		const struct json *v = json_at(f->volumes, i), *of = json_get(v, "namespaces");

		if (strcmp(json_get_string(v, "status", ""), "Failed") != 0)
			continue;
		for (unsigned k = 0; k < json_length(of); k++)
			if (!strcmp(json_string_at(of, k, ""), ns)) {
				*ret_why = json_get_string(v, "reason", "");
				return true;
			}
	}
	return false;
}

/* Pods of an earlier life that cannot end keep a StatefulSet from making new ones. The volumes are fenced by now. */
static int start_namespace(
	struct failover *f, const char *ns, unsigned *workloads, unsigned *stuck, struct err *e)
{
	unsigned n = 0;
	int ret = apps_pods_release(f->c.kube, ns, &n, e);

	*stuck += n;
	if (n)
		kube_event(f->c.kube, f->obj, "Warning", "StuckPodsDeleted",
			"pods that could not end, because their node is not there, were taken "
			"away: the "
			"volumes are fenced");
	n = 0;
	if (!ret)
		ret = apps_start(f->c.kube, ns, &n, e);
	*workloads += n;
	return ret;
}

void failover_scale_up(struct failover *f, struct switch_seen *s)
{
	unsigned n = json_length(f->summary), workloads = 0, stuck = 0, bad = 0, i;
	const char *why = "";
	char words[256] = "";

	for (i = 0; i < n; i++) {
		const char *ns = failover_namespace(f, i);
		struct err e = {0};
		int ret;

		if (is_failed(f, i, &why) || lacks_volume(f, ns, &why)) {
			snprintf(words, sizeof(words), "%.250s", why);
			failover_namespace_set(
				f, i, "Failed", words); /* `why` may be in that line */
			bad++;
			continue;
		}
		ret = start_namespace(f, ns, &workloads, &stuck, &e);
		if (ret)
			seen_error(s, ret, &e);
		if (ret && s->found == FOUND_NOT_YET)
			return;
		if (ret) {
			failover_namespace_set(f, i, "Failed", e.msg);
			snprintf(words, sizeof(words), "%.250s", e.msg);
			bad++;
		} else {
			failover_namespace_set(f, i, "Successful", "");
		}
	}
	if (bad)
		seen_say(s, bad == n ? FOUND_REFUSED : FOUND_PARTLY,
			"%u of %u namespaces not started: %s", bad, n, words);
	else
		seen_say(s, FOUND_DONE, "%u workloads of %u namespaces started%s", workloads, n,
			stuck ? ", stuck pods taken away" : "");
}

/* One whose volumes are home. Its line remembers that it was started. */
static int start_again(struct failover *f, unsigned i, unsigned *workloads, struct err *e)
{
	struct kube *there;
	unsigned n = 0;
	int ret = source_of(f, i, &there, e);

	if (!ret)
		ret = apps_start(there, failover_source(f, i), &n, e);
	*workloads += n;
	if (!ret)
		failover_namespace_set(f, i, "RollbackSuccessful", "");
	return ret;
}

static void tell_not_started(struct failover *f, unsigned i, const struct json *v)
{
	char text[256];

	snprintf(text, sizeof(text),
		"volume '%.100s' is not active at '%.60s': nothing was started",
		json_get_string(v, "volume", ""), failover_from(f));
	failover_namespace_set(f, i, "In-Progress", text);
}

/* Each namespace as soon as it can be: those whose volumes are home wait for no other one's. */
void failover_roll_back(struct failover *f, struct switch_seen *s)
{
	unsigned n = 0;
	struct err e = {0}, first = {0};
	int ret = 0;

	failover_go_back(f, s);
	if (leaves_source(f))
		return;
	for (unsigned i = 0; i < json_length(f->summary); i++) {
		const struct json *line = json_at(f->summary, i), *v = NULL;
		int r;

		if (failover_is_left(f, i) ||
			!strcmp(json_get_string(line, "status", ""), "RollbackSuccessful"))
			continue;
		if (json_get_bool(line, "wasStopped", false)) {
			failover_namespace_set(f, i, "RollbackSuccessful",
				"nothing ran there before: nothing was started");
			continue;
		}
		if (!failover_is_home(f, failover_namespace(f, i), &v)) {
			tell_not_started(f, i, v);
			continue;
		}
		r = start_again(f, i, &n, &e);
		if (r && !ret) {
			ret = r;
			first = e;
		}
	}
	if (ret && s->found == FOUND_DONE)
		seen_error(s, ret, &first);
	else if (ret && kube_is_away(ret))
		s->found = FOUND_NOT_YET; /* and the words are about a volume */
	else if (s->found == FOUND_DONE)
		seen_say(s, FOUND_DONE, "%u workloads started again at '%s'", n, failover_from(f));
}

/* --- rules --- */

/* Before: in the pods of the source; afterwards in those that were started here. */
void failover_rule(struct failover *f, bool pre, struct switch_seen *s)
{
	const char *rule = failover_spec(f, pre ? "preExecRule" : "postExecRule");

	for (unsigned i = 0; i < json_length(f->summary); i++) {
		struct kube *where = NULL;
		struct err e = {0};
		int ret;

		if (failover_is_left(f, i))
			continue;
		ret = pre ? source_of(f, i, &where, &e) : 0;
		if (!ret)
			ret = rules_run(&f->c, where, failover_namespace(f, i),
				pre ? failover_source(f, i) : failover_namespace(f, i), rule, pre,
				&e);
		if (!ret)
			continue;
		seen_error(s, ret, &e);
		return;
	}
	seen_say(s, FOUND_DONE, "Rule '%.200s' was followed", rule);
}
