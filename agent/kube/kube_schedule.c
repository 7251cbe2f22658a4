/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MigrationSchedule: a Migration is made when the policy says so and the one before has ended; the oldest ones go
 * when there are more than the policy retains. When the last one began is read from the Migrations themselves, which
 * have the schedule's name as a label, so that a process that was killed between making one and noting it makes no
 * second one.
 *
 * From a site whose domain is inactive, or whose volumes are all active elsewhere, nothing is begun; that is looked at
 * each time and is no word in spec.suspend, so that a switch back needs none either. What was started at the other site
 * while other volumes are active here is a word there; kube_resume.c takes it back.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "kube_control.h"
#include "kube_nodes.h"
#include "kube_resume.h"
#include "kube_site.h"
#include "log.h"
#include "schedule.h"

const struct kube_kind kind_policy =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "SchedulePolicy", "schedulepolicies", false);
const struct kube_kind kind_schedule =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "MigrationSchedule", "migrationschedules", true);

#define SITE_AGE_S 10 /* of what is said about the domain while nothing is due */

bool migration_ended(const struct json *migration)
{
	const char *status = json_get_string(json_get(migration, "status"), "status", "");

	return !strcmp(status, "Successful") || !strcmp(status, "PartialSuccess") ||
	       !strcmp(status, "Failed") || !strcmp(status, "Purged");
}

/* Is it a run of this schedule, by this type of rule (NULL: by any)? */
static bool is_run(const struct json *m, const struct json *schedule, const char *type)
{
	const struct json *labels = json_path(m, "metadata", "labels");

	return !strcmp(meta_of(m, "namespace"), meta_of(schedule, "namespace")) &&
	       !strcmp(json_get_string(labels, KEY_SCHEDULE, ""), meta_of(schedule, "name")) &&
	       (!type || !strcmp(json_get_string(labels, KEY_SCHEDULE_TYPE, ""), type));
}

static int64_t made_s(const struct json *obj)
{
	return kube_time_parse(meta_of(obj, "creationTimestamp"));
}

/* The runs, the oldest first; borrowed objects in an array of copies. */
static struct json *runs_of(
	const struct json *migrations, const struct json *schedule, const char *type)
{
	struct json *runs = json_array();
	int64_t after = -1;

	for (;;) { /* few: those that are retained */
		int64_t next = INT64_MAX;

		for (unsigned i = 0; i < json_length(migrations); i++) {
			const struct json *m = json_at(migrations, i);

			if (is_run(m, schedule, type) && made_s(m) > after)
				next = MIN(next, made_s(m));
		}
		if (next == INT64_MAX)
			return runs;
		for (unsigned i = 0; i < json_length(migrations); i++)
			if (is_run(json_at(migrations, i), schedule, type) &&
				made_s(json_at(migrations, i)) == next)
				json_append(runs, json_copy(json_at(migrations, i)));
		after = next;
	}
}

static struct json *new_run(const struct json *schedule, const char *type)
{
	struct json *m = json_object(), *meta = json_object(), *labels = json_object(),
		    *owner = json_object(), *owners = json_array();
	char name[300], lower[16], at[20];
	time_t t = (time_t)now_s();
	struct tm tm = {0};

	snprintf(lower, sizeof(lower), "%s", type);
	for (char *p = lower; *p; p++)
		*p |= 0x20; /* letters only */
	gmtime_r(&t, &tm);
	strftime(at, sizeof(at), "%Y-%m-%d-%H%M%S", &tm);
	snprintf(name, sizeof(name), "%.220s-%s-%s", meta_of(schedule, "name"), lower, at);
	json_set_string(m, "apiVersion", "tandemfs.dev/v1alpha1");
	json_set_string(m, "kind", "Migration");
	json_set_string(meta, "name", name);
	json_set_string(meta, "namespace", meta_of(schedule, "namespace"));
	json_set_string(labels, KEY_SCHEDULE, meta_of(schedule, "name"));
	json_set_string(labels, KEY_SCHEDULE_TYPE, type);
	json_set(meta, "labels", labels);
	json_set_string(owner, "apiVersion", "tandemfs.dev/v1alpha1");
	json_set_string(owner, "kind", "MigrationSchedule");
	json_set_string(owner, "name", meta_of(schedule, "name"));
	json_set_string(owner, "uid", meta_of(schedule, "uid"));
	json_append(owners, owner);
	json_set(meta, "ownerReferences", owners);
	json_set(m, "metadata", meta);
	json_set(m, "spec", json_copy(json_path(schedule, "spec", "template", "spec")));
	return m;
}

static int begin(struct kube_control *c, const struct json *schedule, const char *type,
	struct json *runs, struct err *e)
{
	struct json *m = new_run(schedule, type), *made = NULL;
	int ret = kube_create(c->kube, &kind_migration, m, &made, e);

	if (!ret)
		json_append(runs, made);
	json_free(m);
	return ret == -EEXIST ? 0 : ret;
}

static void forget_old(struct kube_control *c, const struct json *runs, unsigned retain)
{
	for (unsigned i = 0; i + retain < json_length(runs); i++) {
		const struct json *m = json_at(runs, i);
		struct err e = {0};

		if (migration_ended(m) &&
			kube_delete(c->kube, &kind_migration, meta_of(m, "namespace"),
				meta_of(m, "name"), meta_of(m, "uid"), &e) &&
			e.code != -ENOENT)
			log_warn("Migration '%s': %s", meta_of(m, "name"), e.msg);
	}
}

static struct json *items_of(const struct json *runs)
{
	struct json *items = json_array();

	for (unsigned i = 0; i < json_length(runs); i++) {
		const struct json *m = json_at(runs, i), *status = json_get(m, "status");
		struct json *item = json_object();

		json_set_string(item, "name", meta_of(m, "name"));
		json_set_string(item, "creationTimestamp", meta_of(m, "creationTimestamp"));
		if (json_get_string(status, "finishTimestamp", NULL))
			json_set_string(item, "finishTimestamp",
				json_get_string(status, "finishTimestamp", NULL));
		json_set_string(item, "status", json_get_string(status, "status", "Pending"));
		json_append(items, item);
	}
	return items;
}

static void note_success(struct json *status, const struct json *runs)
{
	for (unsigned i = 0; i < json_length(runs); i++) {
		const struct json *s = json_get(json_at(runs, i), "status");
		const char *finish = json_get_string(s, "finishTimestamp", NULL);

		if (!finish || strcmp(json_get_string(s, "status", ""), "Successful") ||
			kube_time_parse(finish) <
				kube_time_parse(json_get_string(status, "lastSuccessTime", "")))
			continue;
		json_set_string(status, "lastSuccessTime", finish);
		json_set_string(status, "lastSuccessDuration",
			json_get_string(json_get(s, "summary"), "elapsedTime", "0s"));
	}
}

/* The last one that has ended, by any rule; borrowed. NULL: there is none. */
static const struct json *last_ended(const struct json *migrations, const struct json *schedule)
{
	const struct json *last = NULL;

	for (unsigned i = 0; i < json_length(migrations); i++) {
		const struct json *m = json_at(migrations, i);

		if (is_run(m, schedule, NULL) && migration_ended(m) &&
			(!last || made_s(m) >= made_s(last)))
			last = m;
	}
	return last;
}

static bool was_activated(const struct json *run)
{
	const struct json *conditions = json_path(run, "status", "conditions");

	for (unsigned i = 0; i < json_length(conditions); i++)
		if (!strcmp(json_get_string(json_at(conditions, i), "reason", ""),
			    "ApplicationActivated"))
			return true;
	return false;
}

static bool has_copied(const struct json *run)
{
	const char *status = json_get_string(json_get(run, "status"), "status", "");

	return !strcmp(status, "Successful") || !strcmp(status, "PartialSuccess");
}

/* The other cluster has started the applications: no further runs, until they have come back or a person wants them.
 * applicationActivated says that this was told: who resumes it afterwards wants to be asked no more, until a run has
 * copied something again. */
static int look_activated(struct kube_control *c, struct json *schedule, struct json *status,
	const struct json *migrations, struct err *e)
{
	const struct json *last = last_ended(migrations, schedule);
	const struct json *spec = json_get(schedule, "spec");
	int ret;

	if (schedule_is_by_agent(schedule))
		json_set_bool(status, "applicationActivated", true);
	else if ((last && has_copied(last)) || schedule_is_resumed(schedule))
		json_remove(status, "applicationActivated");
	if (!last || !was_activated(last) || json_get_bool(spec, "suspend", false) ||
		!json_get_bool(spec, "autoSuspend", true) ||
		json_get_bool(status, "applicationActivated", false) ||
		schedule_is_answered(schedule, meta_of(last, "name")))
		return 0;
	ret = schedule_suspend(c, schedule, meta_of(last, "name"), e);
	if (!ret)
		json_set_bool(status, "applicationActivated", true);
	return ret;
}

/* One rule of the policy. */
static int look_rule(struct kube_control *c, struct json *schedule, struct json *status,
	const struct schedule *s, enum schedule_type type, const struct json *migrations,
	struct err *e)
{
	const char *name = schedule_type_name(type), *next;
	struct json *spec = json_get(schedule, "spec"), *runs = runs_of(migrations, schedule, name);
	unsigned n = json_length(runs);
	int64_t last_s = n ? made_s(json_at(runs, n - 1)) : 0, next_s, known_s;
	bool suspended = json_get_bool(spec, "suspend", false);
	char text[21];
	int ret = 0;

	if (!suspended && schedule_due(s, type, last_s, now_s()) &&
		(!n || migration_ended(json_at(runs, n - 1))) &&
		!site_words(site_look(c, 1, NODES_MS_CALM))[0])
		ret = begin(c, schedule, name, runs, e);
	forget_old(c, runs, s->rules[type].retain);
	json_set(json_get(status, "items"), name, items_of(runs));
	note_success(status, runs);
	n = json_length(runs);
	next_s = schedule_next(s, type, n ? made_s(json_at(runs, n - 1)) : 0, now_s());
	next = json_get_string(status, "nextTime", NULL);
	known_s = next ? kube_time_parse(next) : 0;
	if (!suspended && next_s && (!known_s || next_s < known_s)) {
		kube_time(next_s, text);
		json_set_string(status, "nextTime", text);
	}
	json_free(runs);
	return ret;
}

static const struct json *policy_of(const struct json *policies, const char *name)
{
	for (unsigned i = 0; i < json_length(policies); i++)
		if (!strcmp(meta_of(json_at(policies, i), "name"), name))
			return json_at(policies, i);
	return NULL;
}

static void set_ready(struct kube_control *c, const struct json *schedule, struct json *status,
	int error, const char *why)
{
	bool suspended = json_get_bool(json_get(schedule, "spec"), "suspend", false);
	enum site_state site =
		suspended || error ? SITE_UNKNOWN : site_look(c, SITE_AGE_S, NODES_MS_CALM);

	condition_set(status, schedule, "Ready", !error && !site_words(site)[0],
		error			? "Refused"
		: site == SITE_STANDBY	? "DomainStandby"
		: site == SITE_INACTIVE ? "DomainInactive"
					: "Scheduled",
		error ? why
		: schedule_is_by_agent(schedule)
			? "suspended by itself until the applications run here again, with "
			  "their volumes, and not in the other cluster: nothing is copied over "
			  "what runs there"
		: suspended	      ? "suspended: no further runs"
		: site_words(site)[0] ? site_words(site)
				      : "runs begin when the policy says so");
}

static void look(struct kube_control *c, struct json *schedule, const struct json *policies,
	const struct json *migrations)
{
	const char *name = json_get_string(json_get(schedule, "spec"), "schedulePolicyName", "");
	const struct json *policy = policy_of(policies, name);
	struct json *status = json_copy(json_get(schedule, "status"));
	struct schedule s = {0};
	struct err e = {0};
	int ret = policy ? schedule_parse(json_get(policy, "policy"), &s, &e)
			 : err_set(&e, -ENOENT, "there is no SchedulePolicy '%s'", name);

	if (!status)
		status = json_object();
	if (!ret)
		ret = look_activated(c, schedule, status, migrations, &e);
	json_set(status, "items", json_object());
	json_remove(status, "nextTime");
	for (unsigned i = 0; i < SCHEDULE_TYPES && !ret; i++)
		if (s.rules[i].given)
			ret = look_rule(c, schedule, status, &s, i, migrations, &e);
	set_ready(c, schedule, status, ret, e.msg);
	if (status_write(c, &kind_schedule, schedule, status, &e))
		log_warn("MigrationSchedule '%s': %s", meta_of(schedule, "name"), e.msg);
}

void policies_look(struct kube_control *c, const struct json *policies)
{
	for (unsigned i = 0; i < json_length(policies) && lease_hold(c); i++) {
		struct json *policy = json_at(policies, i);
		struct schedule s;
		struct err e = {0};
		int ret = schedule_parse(json_get(policy, "policy"), &s, &e);

		valid_note(c, &kind_policy, policy, ret, e.msg);
	}
}

void schedules_look(struct kube_control *c, const struct json *policies,
	const struct json *schedules, const struct json *migrations)
{
	for (unsigned i = 0; i < json_length(schedules) && lease_hold(c); i++) {
		struct json *schedule = json_at(schedules, i);

		if (meta_of(schedule, "deletionTimestamp"))
			static_copy_end(c, schedule);
		else
			look(c, schedule, policies, migrations);
	}
	schedules_resume(c, schedules);
}
