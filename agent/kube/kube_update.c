/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ClusterDomainUpdate: what `tandemctl activate` and `deactivate clusterdomain` do on a node, done on all nodes of this
 * site at once. The volumes' daemons decide: repeated words change nothing there, so that a process that was killed is
 * no matter, and what they refuse a person (the active side that answers, an outdated replica) they refuse here. The
 * answer to their question is yes: that is what the object says.
 *
 * Each object is carried out once. Those of one domain are done in the order in which they were made.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "domain_update.h"
#include "kube_domain.h"
#include "kube_nodes.h"
#include "log.h"

#define VERB_MS 30000u
#define THREADS 16u

const struct kube_kind kind_domain_update =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "ClusterDomainUpdate", "clusterdomainupdates", false);

struct word { /* to one volume */
	const char *node, *volume;
	struct json *body; /* its own: json_text() is of one thread */
	int code;
	char text[320];
};

struct saying {
	struct kube_control *c;
	const char *verb;
	struct word *words;
	unsigned n;
	atomic_uint next;
};

static void say(struct saying *s, struct word *w)
{
	struct json *answer = NULL;
	struct err e = {0};
	unsigned status;
	char path[VOLUME_NAME_MAX + 64];

	snprintf(path, sizeof(path), "/v1/volumes/%s/%s", w->volume, s->verb);
	w->code = node_call(s->c, w->node, path, w->body, VERB_MS, &status, &answer, &e);
	if (!w->code) {
		w->code = (int)json_get_int(answer, "code", status == 200 ? 0 : -EPROTO);
		snprintf(w->text, sizeof(w->text), "%s",
			json_get_string(answer, "text", json_get_string(answer, "error", "?")));
		/* Not the daemon's words but the agent's, about a daemon that is not there just now. */
		if (w->code && !json_get(answer, "text") && (status == 503 || status == 504))
			w->code = -EAGAIN;
	} else {
		snprintf(w->text, sizeof(w->text), "%s", e.msg);
		w->code = kube_is_away(w->code) ? -EAGAIN : w->code;
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
			words[n++] = (struct word){.node = node->name,
				.volume = json_get_string(json_at(all, k), "volume", "?")};
	}
	*ret_words = words;
	*ret_n = n;
}

static enum update_verdict carry_out(
	struct kube_control *c, const struct json *spec, int64_t age_s, char *reason, size_t size)
{
	bool activate = json_get_bool(spec, "active", false);
	const char *domain = json_get_string(spec, "clusterdomain", "");
	struct json *body = json_object();
	struct update_tally t = {0};
	struct saying s = {.c = c, .verb = activate ? "activate" : "deactivate"};

	json_set_string(body, "domain", domain);
	json_set_bool(body, "yes", true);
	if (!activate && json_get_bool(spec, "acceptDataLoss", false))
		json_set_bool(body, "accept_data_loss", true);
	words_of(c, &t, &s.words, &s.n);
	for (unsigned i = 0; i < s.n; i++)
		s.words[i].body = json_copy(body);
	say_all(&s);
	for (unsigned i = 0; i < s.n; i++) {
		log_info("domain '%s': %s: %s: %s", domain, s.verb, s.words[i].volume,
			s.words[i].text);
		update_note(&t, s.words[i].volume, s.words[i].code, s.words[i].text, age_s);
		json_free(s.words[i].body);
	}
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
	json_set_string(status, "action",
		json_get_bool(json_get(obj, "spec"), "active", false) ? "Activate" : "Deactivate");
	condition_set(status, obj, "Progressing", true, "Started", "the volumes are told");
	write(c, obj, status, &e);
	return !e.code;
}

static void end(struct kube_control *c, struct json *obj, struct json *status, bool done,
	const char *reason)
{
	bool active = json_get_bool(json_get(obj, "spec"), "active", false);
	struct err e = {0};
	char now[21];

	kube_time(now_s(), now);
	json_set_string(status, "status", done ? "Successful" : "Failed");
	json_set_string(status, "finishTimestamp", now);
	json_set_string(status, "reason", reason);
	condition_set(status, obj, "Progressing", false, "Ended", reason);
	condition_set(status, obj, "Completed", done, done ? "Done" : "Failed", reason);
	condition_set(status, obj, "Failed", !done, done ? "Done" : "Refused", reason);
	write(c, obj, status, &e);
	if (e.code)
		return;
	log_info("ClusterDomainUpdate '%s': %s: %s", meta_of(obj, "name"),
		done ? "Successful" : "Failed", reason);
	kube_event(c->kube, obj, done ? "Normal" : "Warning",
		!done	 ? "DomainUpdateFailed"
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
	v = carry_out(c, json_get(obj, "spec"), age_s, reason, sizeof(reason));
	if (atomic_load(c->stop))
		return;
	status = status_of(obj);
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

	for (unsigned k = 0; k < i; k++)
		if (!has_ended(all[k]) &&
			!strcmp(json_get_string(json_get(all[k], "spec"), "clusterdomain", ""),
				domain))
			return true;
	return false;
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
	for (unsigned i = 0; i < n && !ret && lease_hold(c); i++) {
		if (has_ended(all[i])) {
			say_ended(c, all[i]);
		} else if (!meta_of(all[i], "deletionTimestamp") && !has_to_wait(all, i)) {
			update(c, all[i]);
			*ret_acted = true;
		}
	}
	free(all);
	json_free(list);
	return ret;
}
