/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holding workloads back, and letting them go.
 *
 *	kind                                held back by                   remembered in
 *	Deployment, StatefulSet, ReplicaSet spec.replicas 0                KEY_REPLICAS
 *	ReplicationController               the same                       the same
 *	CronJob, Job                        spec.suspend true              KEY_SUSPEND
 *	DaemonSet                           a nodeSelector no node has     itself
 *	webhook configurations              failurePolicy Ignore           KEY_FAILS
 *
 * A webhook whose service is held back would have every object refused that it is asked about, so it is asked and not
 * insisted on. It is the same when its service runs, so nothing lets it go but a migration that starts the applications.
 *
 * What is remembered survives further migrations and stops: a count of zero is only remembered when nothing
 * else is, because that is a workload that was stopped, not one that never ran. Whoever has been started by
 * hand meanwhile is left as it is. Stork's annotations, of both spellings, are understood.
 *
 * Who stops by hand (`kubectl scale --replicas 0`) leaves no memory at the source: the one that the copy has from when
 * it ran is kept then. A zero that is meant is one that the source remembers (KEY_REPLICAS "0"), or has always had.
 */
#include "migrate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

static const char *const replicas_keys[] = {KEY_REPLICAS,
	"stork.libopenstorage.org/migrationReplicas", "stork.openstorage.org/migrationReplicas"};

static bool counts(const struct json *obj)
{
	return kind_is(obj, "Deployment") || kind_is(obj, "StatefulSet") ||
	       kind_is(obj, "ReplicaSet") || kind_is(obj, "ReplicationController");
}

static bool suspends(const struct json *obj)
{
	return kind_is(obj, "CronJob") || kind_is(obj, "Job");
}

/* The remembered count; -1: none, or not a number. */
static int64_t remembered(const struct json *obj)
{
	for (unsigned i = 0; i < ARRAY_SIZE(replicas_keys); i++) {
		const char *text = annotation_of(obj, replicas_keys[i]);
		char *end;
		long n;

		if (!text || *text < '0' || *text > '9')
			continue;
		n = strtol(text, &end, 10);
		if (!*end && n <= INT32_MAX)
			return n;
	}
	return -1;
}

static struct json *member(struct json *obj, const char *key)
{
	struct json *j = json_get(obj, key);

	if (j)
		return j;
	j = json_object();
	json_set(obj, key, j);
	return j;
}

static struct json *annotations(struct json *obj)
{
	return member(member(obj, "metadata"), "annotations");
}

static void set_count(struct json *annotations, int64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)n);
	json_set_string(annotations, KEY_REPLICAS, text);
}

static const char *yes_no(bool b)
{
	return b ? "true" : "false";
}

static bool suspended(const struct json *obj)
{
	return json_get_bool(json_get(obj, "spec"), "suspend", false);
}

/* True: the count is the one that the copy there remembers. With `start` it stays at 0 as its source does, and only
 * the memory is kept. */
static bool hold_count(struct json *p, const struct json *there, bool start)
{
	struct json *spec = member(p, "spec");
	int64_t now = json_get_int(spec, "replicas", 1), before = remembered(p);
	int64_t n = now || before < 0 ? now : before;
	bool keeps = !now && before < 0 && remembered(there) > 0;

	for (unsigned i = 0; i < ARRAY_SIZE(replicas_keys); i++)
		json_remove(annotations(p), replicas_keys[i]);
	json_set_int(spec, "replicas", start ? n : 0);
	if (keeps)
		n = remembered(there);
	if (keeps || !start)
		set_count(annotations(p), n);
	return keeps;
}

/* True: as for a count, where the copy there remembers that it ran. */
static bool hold_suspended(struct json *p, const struct json *there, bool start)
{
	const char *before = annotation_of(p, KEY_SUSPEND),
		   *kept = annotation_of(there, KEY_SUSPEND);
	bool was = before ? !strcmp(before, "true") : suspended(p);
	bool keeps = was && !before && kept && !strcmp(kept, "false");

	json_remove(annotations(p), KEY_SUSPEND);
	if (start && !was && kind_is(p, "Job")) /* a field that Kubernetes 1.20 does not have */
		json_remove(member(p, "spec"), "suspend");
	else
		json_set_bool(member(p, "spec"), "suspend", !start || was);
	if (keeps || !start)
		json_set_string(annotations(p), KEY_SUSPEND, yes_no(was && !keeps));
	return keeps;
}

static void hold_everywhere(struct json *p, bool start)
{
	struct json *pod = member(member(member(p, "spec"), "template"), "spec");

	json_remove(json_get(pod, "nodeSelector"), KEY_HELD);
	if (!start)
		json_set_string(member(pod, "nodeSelector"), KEY_HELD, "true");
}

/* Is the word in the list with commas? */
static bool has_word(const char *list, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = list; at && n; at = strchr(at, ','), at = at ? at + 1 : NULL)
		if (!strncmp(at, word, n) && (!at[n] || at[n] == ','))
			return true;
	return false;
}

/* True: one or more of them would be Fail. */
static bool hold_webhooks(struct json *p, bool start)
{
	struct json *hooks = json_get(p, "webhooks");
	const char *before = annotation_of(p, KEY_FAILS);
	char *names;
	size_t len;
	FILE *f = open_memstream(&names, &len);

	ensure(f);
	for (unsigned i = 0; i < json_length(hooks); i++) {
		struct json *hook = json_at(hooks, i);
		const char *name = json_get_string(hook, "name", "");

		if (!json_path(hook, "clientConfig", "service") ||
			(strcmp(json_get_string(hook, "failurePolicy", "Fail"), "Fail") != 0 &&
				!has_word(before, name)))
			continue;
		json_set_string(hook, "failurePolicy", start ? "Fail" : "Ignore");
		fprintf(f, "%s%s", ftell(f) ? "," : "", name);
	}
	ensure(fclose(f) == 0);
	json_remove(annotations(p), KEY_FAILS);
	if (len && !start)
		json_set_string(annotations(p), KEY_FAILS, names);
	free(names);
	return len && !start;
}

const char *hold_back(struct json *p, const struct json *there, bool start)
{
	const char *note = NULL;

	if (kind_is(p, "ValidatingWebhookConfiguration") ||
		kind_is(p, "MutatingWebhookConfiguration"))
		return hold_webhooks(p, start) ? "failurePolicy is Ignore there, and not Fail: "
						 "while its service is held "
						 "back it could have nothing but refusals"
					       : NULL;
	if (counts(p)) {
		if (hold_count(p, there, start))
			note = "it has 0 replicas here and remembers no other number: the one that "
			       "is remembered there is kept (annotation " KEY_REPLICAS
			       ": \"0\" here says that 0 is meant)";
	} else if (suspends(p)) {
		if (hold_suspended(p, there, start))
			note = "it is suspended here and does not remember how it was: that it "
			       "ran, "
			       "as is remembered there, is kept (annotation " KEY_SUSPEND
			       ": \"true\" here says that it shall stay suspended)";
	} else if (kind_is(p, "DaemonSet")) {
		hold_everywhere(p, start);
	} else {
		return NULL;
	}
	json_set_string(member(member(p, "metadata"), "labels"), KEY_MIGRATED, "true");
	return note;
}

bool hold_is_workload(const struct json *obj)
{
	return counts(obj) || suspends(obj) || kind_is(obj, "DaemonSet");
}

bool hold_runs(const struct json *live)
{
	const struct json *spec = json_get(live, "spec");

	if (counts(live))
		return json_get_int(spec, "replicas", 1) != 0;
	if (suspends(live))
		return !suspended(live) && !job_ended(live);
	return kind_is(live, "DaemonSet") &&
	       !json_path(spec, "template", "spec", "nodeSelector", KEY_HELD);
}

struct json *hold_release(const struct json *live)
{
	struct json *spec = json_get(live, "spec"), *patch;

	if (counts(live)) {
		if (json_get_int(spec, "replicas", 1) || remembered(live) < 0)
			return NULL;
		patch = json_object();
		json_set_int(member(patch, "spec"), "replicas", remembered(live));
		for (unsigned i = 0; i < ARRAY_SIZE(replicas_keys); i++)
			if (annotation_of(live, replicas_keys[i]))
				json_set(annotations(patch), replicas_keys[i], NULL);
		return patch;
	}
	if (suspends(live)) {
		const char *before = annotation_of(live, KEY_SUSPEND);

		if (!before)
			return NULL;
		patch = json_object();
		json_set_bool(member(patch, "spec"), "suspend", !strcmp(before, "true"));
		json_set(annotations(patch), KEY_SUSPEND, NULL);
		return patch;
	}
	if (!kind_is(live, "DaemonSet") ||
		!json_path(spec, "template", "spec", "nodeSelector", KEY_HELD))
		return NULL;
	patch = json_object();
	json_set(member(member(member(member(patch, "spec"), "template"), "spec"), "nodeSelector"),
		KEY_HELD, NULL);
	return patch;
}

struct json *hold_stop(const struct json *live)
{
	struct json *spec = json_get(live, "spec"), *patch;

	if (counts(live)) {
		int64_t n = json_get_int(spec, "replicas", 1);

		if (!n)
			return NULL;
		patch = json_object();
		json_set_int(member(patch, "spec"), "replicas", 0);
		set_count(annotations(patch), n);
		return patch;
	}
	if (suspends(live)) {
		/* One that was started by hand, with the annotation left on it, runs all the same. */
		if (job_ended(live) || (suspended(live) && annotation_of(live, KEY_SUSPEND)))
			return NULL;
		patch = json_object();
		json_set_bool(member(patch, "spec"), "suspend", true);
		json_set_string(annotations(patch), KEY_SUSPEND, yes_no(suspended(live)));
		return patch;
	}
	if (!kind_is(live, "DaemonSet") ||
		json_path(spec, "template", "spec", "nodeSelector", KEY_HELD))
		return NULL;
	patch = json_object();
	json_set_string(
		member(member(member(member(patch, "spec"), "template"), "spec"), "nodeSelector"),
		KEY_HELD, "true");
	return patch;
}
