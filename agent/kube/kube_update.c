/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ClusterDomainUpdate: what `tandemctl activate` and `deactivate clusterdomain` do on a node, done on all nodes of this
 * site at once. The volumes' daemons decide: repeated words change nothing there, so that a process that was killed is
 * no matter, and what they refuse a person (the active side that answers, an outdated replica) they refuse here. The
 * answer to their question is yes: that is what the object says.
 *
 * Each object is carried out once. Those of one domain are done in the order in which they were made.
 *
 * With spec.dryRun the daemons are asked what they would do, by a verb of its own (control.h): a daemon or an agent of an
 * older build does not know it, and carries nothing out. An agent of an older build that leads would not see the member;
 * ClusterDomainsStatus says whether the one that leads does. A dry run waits for no other object, and none waits for it.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "domain_update.h"
#include "kube_domain.h"
#include "kube_nodes.h"
#include "log.h"

#define VERB_MS 30000u
#define ASK_MS 5000u /* of a dry run: it changes nothing, and keeps none that does waiting */
#define THREADS 16u

const struct kube_kind kind_domain_update =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "ClusterDomainUpdate", "clusterdomainupdates", false);

struct word { /* to one volume */
	struct update_answer a;
	struct json *body; /* its own: json_text() is of one thread */
};

struct saying {
	struct kube_control *c;
	const char *verb;
	bool dry;
	struct word *words;
	unsigned n;
	atomic_uint next;
};

static void say(struct saying *s, struct word *w)
{
	struct update_answer *a = &w->a;
	struct json *answer = NULL;
	struct err e = {0};
	unsigned status;
	char path[VOLUME_NAME_MAX + 64];

	snprintf(path, sizeof(path), "/v1/volumes/%s/%s", a->volume, s->verb);
	a->code = node_call(
		s->c, a->node, path, w->body, s->dry ? ASK_MS : VERB_MS, &status, &answer, &e);
	if (!a->code) {
		a->code = (int)json_get_int(answer, "code", status == 200 ? 0 : -EPROTO);
		snprintf(a->text, sizeof(a->text), "%s",
			json_get_string(answer, "text", json_get_string(answer, "error", "?")));
		/* Not the daemon's words but the agent's, about a daemon that is not there just now; or, of a
		 * dry run, that there is no such verb in its build. */
		if (a->code && !json_get(answer, "text") &&
			(status == 503 || status == 504 || (s->dry && status == 404)))
			a->code = -EAGAIN;
	} else {
		snprintf(a->text, sizeof(a->text), "%s", e.msg);
		a->code = kube_is_away(a->code) ? -EAGAIN : a->code;
	}
	json_free(answer);
}

static void *say_main(void *arg)
{
	struct saying *s = arg;
	unsigned i;

	while ((i = atomic_fetch_add(&s->next, 1)) < s->n)
		say(s, &s->words[i]);
	return NULL;
}

/* To all volumes at once, on this thread and others. */
static void say_all(struct saying *s)
{
	pthread_t threads[THREADS];
	unsigned n = 0;

	while (n + 1 < MIN(s->n, THREADS) && !pthread_create(&threads[n], NULL, say_main, s))
		n++;
	say_main(s);
	while (n)
		pthread_join(threads[--n], NULL);
}

static void words_of(const struct kube_control *c, struct update_tally *t, struct word **ret_words,
	unsigned *ret_n)
{
	struct word *words = NULL, *more;
	unsigned n = 0;

	for (unsigned i = 0; i < c->nnodes; i++) {
		const struct kube_node *node = &c->nodes[i];
		const struct json *all = json_get(node->status, "volumes");

		if (!node->status)
			update_silent(t, node->error.msg);
		more = realloc(words, (n + json_length(all) + 1) * sizeof(*words));
		ensure(more);
		words = more;
		for (unsigned k = 0; k < json_length(all); k++)
			words[n++] = (struct word){
				.a = {.node = node->name,
					.volume = json_get_string(json_at(all, k), "volume", "?")}};
	}
	*ret_words = words;
	*ret_n = n;
}

/* As it was when it was begun: what was told meanwhile is told, and what was only asked is not carried out. */
static bool is_dry(const struct json *obj)
{
	const struct json *status = json_get(obj, "status");
	bool begun = json_get_string(status, "startTimestamp", NULL);

	return json_get_bool(begun ? status : json_get(obj, "spec"), "dryRun", false);
}

static void set_answers(struct json *status, const struct saying *s)
{
	struct update_answer *a = calloc(s->n + 1, sizeof(*a));
	unsigned more;

	ensure(a);
	for (unsigned i = 0; i < s->n; i++)
		a[i] = s->words[i].a;
	json_set(status, "volumes", update_answers(a, s->n, &more));
	json_set_int(status, "moreVolumes", more);
	free(a);
}

static struct json *body_of(const struct json *spec, bool dry)
{
	struct json *body = json_object();

	json_set_string(body, "domain", json_get_string(spec, "clusterdomain", ""));
	json_set_bool(body, "yes", true);
	if (!json_get_bool(spec, "active", false) && json_get_bool(spec, "acceptDataLoss", false))
		json_set_bool(body, "accept_data_loss", true);
	if (dry) /* a daemon that hangs is told of by its agent, which is there */
		json_set_int(body, "timeout_ms", ASK_MS - 1000);
	return body;
}

/* What each volume says to a dry run is in `status` then. */
static enum update_verdict carry_out(struct kube_control *c, const struct json *obj, int64_t age_s,
	struct json *status, char *reason, size_t size)
{
	const struct json *spec = json_get(obj, "spec");
	bool activate = json_get_bool(spec, "active", false), dry = is_dry(obj);
	const char *domain = json_get_string(spec, "clusterdomain", "");
	struct json *body = body_of(spec, dry);
	struct update_tally t = {.dry = dry};
	struct saying s = {.c = c, .dry = dry};

	if (dry)
		s.verb = activate ? CONTROL_PREVIEW_ACTIVATE : CONTROL_PREVIEW;
	else
		s.verb = activate ? "activate" : "deactivate";
	words_of(c, &t, &s.words, &s.n);
	for (unsigned i = 0; i < s.n; i++)
		s.words[i].body = json_copy(body);
	say_all(&s);
	for (unsigned i = 0; i < s.n; i++) {
		const struct update_answer *a = &s.words[i].a;

		log_info("domain '%s': %s: %s: %s", domain, s.verb, a->volume, a->text);
		update_note(&t, a->volume, a->code, a->text, age_s);
		json_free(s.words[i].body);
	}
	if (dry)
		set_answers(status, &s);
	free(s.words);
	json_free(body);
	if (!c->nnodes)
		update_silent(&t, "this site has no engine's pod");
	return update_judge(&t, domain, activate, age_s, reason, size);
}

/* --- the status --- */

static bool has_ended(const struct json *obj)
{
	const char *status = json_get_string(json_get(obj, "status"), "status", "");

	return !strcmp(status, "Successful") || !strcmp(status, "Failed");
}

static struct json *status_of(const struct json *obj)
{
	struct json *status = json_copy(json_get(obj, "status"));

	return status ? status : json_object();
}

static void write(struct kube_control *c, struct json *obj, struct json *status, struct err *e)
{
	if (status_write(c, &kind_domain_update, obj, status, e))
		log_warn("ClusterDomainUpdate '%s': %s", meta_of(obj, "name"), e->msg);
}

static bool begin(struct kube_control *c, struct json *obj)
{
	struct json *status = status_of(obj);
	struct err e = {0};
	char now[21];

	if (json_get_string(status, "startTimestamp", NULL)) {
		json_free(status);
		return true;
	}
	kube_time(now_s(), now);
	json_set_string(status, "startTimestamp", now);
	json_set_string(status, "status", "Pending");
	json_set_bool(status, "dryRun", is_dry(obj));
	json_set_string(status, "action",
		json_get_bool(json_get(obj, "spec"), "active", false) ? "Activate" : "Deactivate");
	condition_set(status, obj, "Progressing", true, "Started",
		is_dry(obj) ? "dry run: the volumes are asked" : "the volumes are told");
	write(c, obj, status, &e);
	return !e.code;
}

static void end(struct kube_control *c, struct json *obj, struct json *status, bool done,
	const char *reason)
{
	bool active = json_get_bool(json_get(obj, "spec"), "active", false), dry = is_dry(obj);
	const char *how = dry ? "DryRun" : done ? "Done" : "Failed";
	struct err e = {0};
	char now[21];

	kube_time(now_s(), now);
	json_set_string(status, "status", done ? "Successful" : "Failed");
	json_set_string(status, "finishTimestamp", now);
	json_set_string(status, "reason", reason);
	condition_set(status, obj, "Progressing", false, "Ended", reason);
	condition_set(status, obj, "Completed", done, how, reason);
	condition_set(status, obj, "Failed", !done, done || dry ? how : "Refused", reason);
	write(c, obj, status, &e);
	if (e.code)
		return;
	log_info("ClusterDomainUpdate '%s': %s: %s", meta_of(obj, "name"),
		done ? "Successful" : "Failed", reason);
	kube_event(c->kube, obj, done ? "Normal" : "Warning",
		dry	 ? "DomainUpdateDryRun"
		: !done	 ? "DomainUpdateFailed"
		: active ? "DomainActivated"
			 : "DomainDeactivated",
		reason);
}

/* Whoever changes one that was carried out, is told that nothing comes of it. */
static void say_ended(struct kube_control *c, struct json *obj)
{
	struct json *status;
	struct err e = {0};

	if (json_get_int(json_get(obj, "status"), "observedGeneration", 0) ==
		json_get_int(json_get(obj, "metadata"), "generation", 0))
		return;
	status = status_of(obj);
	condition_set(status, obj, "Progressing", false, "Ended",
		"it was carried out before it was changed, and is not carried out again: make "
		"another object");
	write(c, obj, status, &e);
}

static void update(struct kube_control *c, struct json *obj)
{
	enum update_verdict v;
	struct json *status;
	struct err e = {0};
	int64_t age_s;
	char reason[512];

	if (!begin(c, obj))
		return;
	age_s = now_s() -
		kube_time_parse(json_get_string(json_get(obj, "status"), "startTimestamp", NULL));
	status = status_of(obj);
	json_remove(status, "volumes");
	v = carry_out(c, obj, age_s, status, reason, sizeof(reason));
	if (atomic_load(c->stop)) {
		json_free(status);
		return;
	}
	if (v != UPDATE_AGAIN) {
		end(c, obj, status, v == UPDATE_DONE, reason);
		return;
	}
	json_set_string(status, "reason", reason);
	condition_set(status, obj, "Progressing", true, "Waiting", reason);
	write(c, obj, status, &e);
}

static int by_age(const void *a, const void *b)
{
	const struct json *const *x = a, *const *y = b;
	int order = strcmp(meta_of(*x, "creationTimestamp"), meta_of(*y, "creationTimestamp"));

	return order ? order : strcmp(meta_of(*x, "name"), meta_of(*y, "name"));
}

/* An older one about the same domain that has not ended. */
static bool has_to_wait(struct json *const *all, unsigned i)
{
	const char *domain = json_get_string(json_get(all[i], "spec"), "clusterdomain", "");

	for (unsigned k = 0; k < i && !is_dry(all[i]); k++)
		if (!has_ended(all[k]) && !is_dry(all[k]) &&
			!strcmp(json_get_string(json_get(all[k], "spec"), "clusterdomain", ""),
				domain))
			return true;
	return false;
}

static void look_at(struct kube_control *c, struct json *const *all, unsigned i, bool *ret_acted)
{
	if (has_ended(all[i])) {
		say_ended(c, all[i]);
	} else if (!meta_of(all[i], "deletionTimestamp") && !has_to_wait(all, i)) {
		update(c, all[i]);
		*ret_acted |= !is_dry(all[i]);
	}
}

int updates_look(struct kube_control *c, bool *ret_acted, struct err *e)
{
	struct json *list = json_array(), **all;
	int ret = kube_list(c->kube, &kind_domain_update, NULL, NULL, list, NULL, e);
	unsigned n = json_length(list);

	all = calloc(n + 1, sizeof(struct json *));
	ensure(all);
	for (unsigned i = 0; i < n; i++)
		all[i] = json_at(list, i);
	qsort(all, n, sizeof(struct json *), by_age);
	for (unsigned dry = 0; dry < 2; dry++) /* those that change something first */
		for (unsigned i = 0; i < n && !ret && lease_hold(c); i++)
			if (is_dry(all[i]) == dry)
				look_at(c, all, i, ret_acted);
	free(all);
	json_free(list);
	return ret;
}
