/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A site that was left behind and is here again: its objects say what they said when it died, so that its applications
 * are at their full counts and their pods wait for mounts that are on the other site now. They are stopped as a planned
 * failover would have stopped them, with their counts in annotations, where a failback finds them.
 *
 * A namespace is stopped where the record of a volume of it says that this domain is inactive and another one active.
 * The word "inactive" is never set but by `deactivate` and never without a person's word, and a replica that is active
 * here has a record of its own that says so. So it is the replicas of this site that are asked, and nobody else.
 *
 * Failure modes, in all of which nothing is stopped: a volume of the namespace whose daemon or node does not answer, or
 * whose record names no active domain; one that is active here (a namespace of which another volume was left behind is
 * told, and left to people); a volume that is active elsewhere while this domain counts, as after a hand-over that
 * may go back, or after `activate`; no right in the namespace. What runs at the other site as well is stopped in these
 * cases, too, and in namespaces without a volume: kube_twice.c.
 * - The domain comes back to life meanwhile. It runs on the thread that begins Failovers, when none is under way, and
 *   ends early for a new one; and the replicas are asked again right before the namespace is stopped, which takes one
 *   call for each of its objects. To be active here, a domain must have been activated, caught up and been handed over
 *   by then: steps of a person.
 * - Killed in between: the next look finds the rest. What is stopped is left alone, so that the counts stay.
 * - Somebody, or a tool that keeps objects as a repository has them, starts a workload again: it is stopped again for
 *   as long as the domain is inactive. `tandemctl activate` and a failback are the way to have it run here.
 * - The API or all engines are away: the next look tries again.
 */
#include "kube_return.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "apps.h"
#include "kube_nodes.h"
#include "kube_site.h"
#include "log.h"

#define SITE_AGE_S 5

enum return_word return_judge(const struct json *statuses, const char *domain)
{
	bool left = false, here = false;

	for (unsigned i = 0; i < json_length(statuses); i++) {
		const struct json *s = json_at(statuses, i), *inactive = json_get(s, "inactive");
		const char *active = json_get_string(s, "active_domain", "");

		if (!*active)
			return RETURN_LEAVE;
		here |= !strcmp(active, domain);
		for (unsigned k = 0; k < json_length(inactive); k++)
			left |= !strcmp(json_string_at(inactive, k, ""), domain) &&
				strcmp(active, domain) != 0;
	}
	if (!left)
		return here || !json_length(statuses) ? RETURN_LEAVE : RETURN_ELSEWHERE;
	return here ? RETURN_MIXED : RETURN_STOP;
}

enum return_word return_judge_volumes(struct kube_control *c, const struct json *volumes)
{
	struct json *statuses = json_array();
	enum return_word word;

	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *entry = NULL, *status;

		node_of_volume(c, json_string_at(volumes, i, ""), &entry);
		status = json_get(entry, "status");
		json_append(statuses, json_is_object(status) ? json_copy(status) : json_object());
	}
	word = return_judge(statuses, c->config->domain);
	json_free(statuses);
	return word;
}

/* --- which namespaces --- */

static void want(struct json *names, const char *ns)
{
	if (ns && *ns)
		json_set_bool(names, ns, true);
}

/* Does it take namespaces that it does not name? Then any may be one. */
static bool takes_unnamed(const struct json *schedule)
{
	const struct json *spec = json_path(schedule, "spec", "template", "spec");
	struct json_member m;

	return json_has_string(json_get(spec, "namespaces"), "*") ||
	       json_first(json_get(spec, "namespaceSelectors"), &m);
}

static int want_all(struct kube_control *c, struct json *names, struct err *e)
{
	struct json *all = json_array();
	int ret = kube_list(c->kube, &kind_namespace, NULL, NULL, all, NULL, e);

	for (unsigned i = 0; i < json_length(all) && !ret; i++)
		want(names, meta_of(json_at(all, i), "name"));
	json_free(all);
	return ret;
}

/* Those with claims, and those that are copied: what uses a volume by its path alone is found in these. */
static int candidates(struct kube_control *c, struct json *names, struct err *e)
{
	struct json *claims = json_array(), *schedules = json_array();
	int ret = kube_list(c->kube, &kind_claim, NULL, NULL, claims, NULL, e);
	bool all = false;

	if (!ret)
		ret = kube_list(c->kube, &kind_schedule, NULL, NULL, schedules, NULL, e);
	for (unsigned i = 0; i < json_length(claims); i++)
		want(names, meta_of(json_at(claims, i), "namespace"));
	for (unsigned i = 0; i < json_length(schedules); i++) {
		const struct json *list =
			json_path(json_at(schedules, i), "spec", "template", "spec", "namespaces");

		want(names, meta_of(json_at(schedules, i), "namespace"));
		for (unsigned k = 0; k < json_length(list); k++)
			if (strcmp(json_string_at(list, k, ""), "*") != 0)
				want(names, json_string_at(list, k, ""));
		all |= takes_unnamed(json_at(schedules, i));
	}
	if (!ret && all)
		ret = want_all(c, names, e);
	json_free(claims);
	json_free(schedules);
	return ret;
}

/* --- one of them --- */

void return_tell(struct kube_control *c, const char *ns, const char *reason, const char *text)
{
	struct json *obj = NULL;
	struct err e = {0};
	uint64_t hash = 0;

	log_warn("namespace '%s': %s", ns, text);
	if (!kube_get(c->kube, &kind_namespace, NULL, ns, &obj, &e)) {
		json_set_string(obj, "kind", "Namespace");
		json_set_string(obj, "apiVersion", "v1");
		kube_event_once(c->kube, obj, "Warning", reason, text, &hash);
	}
	json_free(obj);
}

static int stop(struct kube_control *c, const char *ns, struct err *e)
{
	unsigned n = 0;
	int ret = apps_stop(c->kube, ns, &n, e);
	char text[400];

	if (!n)
		return ret;
	snprintf(text, sizeof(text),
		"%u workloads were stopped: domain '%.60s' is inactive, and their volumes are "
		"active in another one. A failback starts them as they were",
		n, c->config->domain);
	return_tell(c, ns, "StoppedInInactiveDomain", text);
	return ret;
}

static int look_namespace(struct kube_control *c, const char *ns, struct err *e)
{
	struct json *volumes = json_array();
	unsigned n = 0;
	int ret = apps_volumes(c->kube, ns, c->config->mounts, volumes, NULL, NULL, e);
	enum return_word word = ret ? RETURN_LEAVE : return_judge_volumes(c, volumes);

	if (word == RETURN_STOP || word == RETURN_MIXED)
		ret = apps_running(c->kube, ns, &n, e);
	if (!ret && n && word == RETURN_MIXED)
		return_tell(c, ns, "VolumesInTwoDomains",
			"a volume was left behind in this inactive domain, and another one is "
			"active here: the applications are left as they are");
	if (!ret && n && word == RETURN_STOP)
		ret = nodes_look(c, NODES_MS_HURRY, e);
	if (!ret && n && word == RETURN_STOP && lease_hold(c) &&
		return_judge_volumes(c, volumes) == RETURN_STOP)
		ret = stop(c, ns, e);
	json_free(volumes);
	return ret;
}

int returned_look(struct kube_control *c, struct err *e)
{
	struct json *names;
	struct json_member m;
	int ret;

	if (site_look(c, SITE_AGE_S, NODES_MS_HURRY) != SITE_INACTIVE)
		return 0;
	names = json_object();
	ret = candidates(c, names, e);
	for (bool ok = json_first(names, &m);
		ok && !ret && lease_hold(c) &&
		!atomic_load(c->due); /* a new Failover does not wait */
		ok = json_next(&m)) {
		ret = look_namespace(c, m.key, e);
		if (ret != -EPERM && ret != -ENOENT)
			continue;
		log_debug("%s", e->msg); /* none of ours */
		ret = 0;
	}
	json_free(names);
	return ret;
}
