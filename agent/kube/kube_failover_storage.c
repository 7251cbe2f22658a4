/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Failover's volumes, by way of the engines of this site. Nobody here speaks to the other site: an unplanned one says
 * `deactivate` to the daemons here; a planned one is an operation (operations.h) of the agent here, which asks
 * the other one's.
 *
 * Fencing goes to all volumes at once, so that one that hangs keeps no other one waiting. An answer that never came
 * is asked for again: each of these may be said twice. An engine that is silent is asked for its status when the
 * Failover begins, which costs NODES_MS_HURRY, and again only while a volume lacks one; others that are fenced wait
 * SILENT_MS for such a volume.
 *
 * A volume's status, which the object's status keeps: "" -> Fenced -> Mounted; or "" -> HandingOver -> HandedOver ->
 * Mounted, and in a rollback HandedOver -> GoingBack -> Back; NotConcerned: no replica in the domain that is left;
 * Failed, with a reason.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "kube_failover_impl.h"
#include "log.h"

#define CALL_MS 6000u
#define THREADS 16u
#define NODES_MS 1000u /* between two looks at the engines, while a volume has none */
#define NODES_KNOWN_MS 10000u /* while each has one that answers */
#define SILENT_MS 5000u /* how long fenced volumes wait for one whose engine is silent */
#define MOUNT_MS                                                                                   \
	50000u /* how long those that are mounted wait for the rest; below SWITCH_LATE_MS */
#define INITIAL_MS 10000u /* how long the check of a planned one waits for an engine */

static const char *status_of(const struct json *v)
{
	return json_get_string(v, "status", "");
}

bool volume_is(const struct json *v, const char *status)
{
	return !strcmp(status_of(v), status);
}

const char *volume_name(const struct json *v)
{
	return json_get_string(v, "volume", "");
}

void volume_set(struct json *v, const char *status, const char *reason)
{
	json_set_string(v, "status", status);
	json_set_string(v, "reason", reason ? reason : "");
}

/* --- calls, to all at once --- */

struct call {
	struct kube_control *c;
	const char *node, *volume;
	char path[400], *body; /* NULL: GET */
	unsigned http;
	struct json *answer; /* NULL: see e */
	struct err e;
};

struct calls {
	struct call *call;
	unsigned n;
	atomic_uint next;
};

static void call_one(struct call *k)
{
	struct json *body = NULL;
	int ret = k->body ? json_parse(k->body, strlen(k->body), &body, &k->e) : 0;

	if (!ret)
		ret = node_call(k->c, k->node, k->path, body, CALL_MS, &k->http, &k->answer, &k->e);
	json_free(body);
	if (ret || !json_get_string(k->answer, "error", NULL))
		return;
	err_set(&k->e, (int)json_get_int(k->answer, "code", -EIO), "the agent of node '%s': %.180s",
		k->node, json_get_string(k->answer, "error", ""));
	json_free(k->answer);
	k->answer = NULL;
}

static void *calls_main(void *arg)
{
	struct calls *all = arg;
	unsigned i;

	while ((i = atomic_fetch_add(&all->next, 1)) < all->n)
		call_one(&all->call[i]);
	return NULL;
}

static void calls_run(struct calls *all)
{
	pthread_t threads[THREADS];
	unsigned n = 0;

	while (n + 1 < MIN(all->n, THREADS) && !pthread_create(&threads[n], NULL, calls_main, all))
		n++;
	calls_main(all);
	while (n)
		pthread_join(threads[--n], NULL);
}

static void calls_free(struct calls *all)
{
	for (unsigned i = 0; i < all->n; i++) {
		json_free(all->call[i].answer);
		free(all->call[i].body);
	}
	free(all->call);
}

const char *failover_node_of(struct failover *f, struct json *v)
{
	const struct kube_node *n = node_of_volume(&f->c, volume_name(v), NULL);
	char text[256];

	if (n) {
		json_set_string(v, "node", n->name);
		return n->name;
	}
	f->lost = true;
	snprintf(text, sizeof(text), "no engine of '%.60s' that answers has volume '%.100s'",
		f->c.config->domain, volume_name(v));
	json_set_string(v, "reason", text);
	return NULL;
}

/* A call for each volume that `wants`; path with one %s for the volume's name. */
static void ask(struct failover *f, bool (*wants)(const struct json *v), const char *verb,
	const struct json *body, struct calls *ret)
{
	unsigned n = json_length(f->volumes);

	*ret = (struct calls){.call = calloc(MAX(n, 1u), sizeof(*ret->call))};
	ensure(ret->call);
	for (unsigned i = 0; i < n; i++) {
		struct json *v = json_at(f->volumes, i);
		const char *node = wants(v) ? failover_node_of(f, v) : NULL;
		struct call *k = &ret->call[ret->n];

		if (!node)
			continue;
		*k = (struct call){.c = &f->c, .node = node, .volume = volume_name(v)};
		snprintf(k->path, sizeof(k->path), "/v1/volumes/%s%s%s", k->volume, verb ? "/" : "",
			verb ? verb : "");
		if (body) {
			k->body = strdup(json_text(body, false));
			ensure(k->body);
		}
		ret->n++;
	}
	calls_run(ret);
	for (unsigned i = 0; i < ret->n; i++)
		f->lost |= !ret->call[i].answer;
}

static int look_again(struct failover *f, struct err *e)
{
	return failover_nodes(f, f->lost ? NODES_MS : NODES_KNOWN_MS, e);
}

static struct json *volume_find(struct failover *f, const char *name)
{
	for (unsigned i = 0; i < json_length(f->volumes); i++)
		if (!strcmp(volume_name(json_at(f->volumes, i)), name))
			return json_at(f->volumes, i);
	return NULL;
}

unsigned failover_count(const struct failover *f, const char *status, const char **ret_why)
{
	unsigned n = 0;

	for (unsigned i = 0; i < json_length(f->volumes); i++) {
		const struct json *v = json_at(f->volumes, i);

		if (!volume_is(v, status))
			continue;
		if (!n++ && ret_why)
			*ret_why = json_get_string(v, "reason", "");
	}
	return n;
}

const char *failover_volumes_word(unsigned n)
{
	return n == 1 ? "volume" : "volumes";
}

/* --- the check --- */

static const char *disconnected(const struct json *status, const char *domain)
{
	const struct json *peers = json_get(status, "peers");

	for (unsigned i = 0; i < json_length(peers); i++)
		if (!strcmp(json_get_string(json_at(peers, i), "domain", ""), domain))
			return json_get_bool(json_at(peers, i), "connected", false)
				       ? NULL
				       : "is not connected";
	return "has no replica there";
}

/* Why it cannot be handed over; 0 or -EPERM. */
static int check_planned(
	const struct failover *f, const char *name, const struct json *status, struct err *e)
{
	const char *active = json_get_string(status, "active_domain", ""), *from = failover_from(f),
		   *own = f->c.config->domain, *why;
	const struct json *set_ = json_get(status, "in_sync");

	if (!strcmp(active, own))
		return 0;
	if (strcmp(active, from) != 0)
		return err_set(e, -EPERM, "volume '%s' is active at '%s' and not at '%s'", name,
			active[0] ? active : "no site", from);
	why = disconnected(status, from);
	if (why)
		return err_set(e, -EPERM,
			"volume '%s': '%s' %s; when that site is dead, use type Unplanned", name,
			from, why);
	if (!json_has_string(set_, from) || !json_has_string(set_, own))
		return err_set(e, -EPERM,
			"volume '%s': '%s' is not in sync with '%s'; wait until 'kubectl get cds' "
			"shows that it is",
			name, own, from);
	return 0;
}

/* The engines that are gone on without, in words; "": none. */
static const char *silent_words(const struct failover *f, char *buf, size_t size)
{
	const char *first = NULL;
	unsigned n = 0;

	for (unsigned i = 0; i < f->c.nnodes; i++) {
		if (f->c.nodes[i].status)
			continue;
		if (!n++)
			first = f->c.nodes[i].name;
	}
	buf[0] = '\0';
	if (n == 1)
		snprintf(buf, size, "; the engine of node '%.100s' does not answer", first);
	else if (n)
		snprintf(buf, size, "; the engines of %u nodes do not answer: '%.100s'...", n,
			first);
	return buf;
}

/* Is there nothing to do? Then it says what that means. */
static bool say_nothing(const struct failover *f, unsigned namespaces, struct switch_seen *s)
{
	if (json_length(f->volumes) || namespaces)
		return false;
	if (json_length(f->summary))
		seen_say(s, FOUND_REFUSED, "namespace '%s': %.250s", failover_namespace(f, 0),
			json_get_string(json_at(f->summary, 0), "reason", ""));
	else if (failover_node(f)[0])
		seen_say(s, FOUND_DONE,
			"nothing that this Failover is about is on node '%.100s' and active at "
			"'%s'",
			failover_node(f), failover_from(f));
	else
		seen_say(s, FOUND_REFUSED,
			"there is nothing to move: no namespace was copied from there, and none is "
			"named");
	return true;
}

void failover_check(struct failover *f, struct switch_seen *s)
{
	unsigned n = json_length(f->volumes), namespaces = 0;
	struct err e = {0};
	bool planned = f->run.type != SWITCH_UNPLANNED;
	char silent[160];
	int ret = failover_nodes(f, NODES_MS, &e);

	if (ret) {
		seen_error(s, ret, &e);
		return;
	}
	for (unsigned i = 0; i < json_length(f->summary); i++)
		namespaces += !failover_is_left(f, i);
	if (say_nothing(f, namespaces, s))
		return;
	for (unsigned i = 0; i < n && planned; i++) {
		struct json *v = json_at(f->volumes, i);
		const struct json *entry = NULL;

		if (!failover_node_of(f, v) || !node_of_volume(&f->c, volume_name(v), &entry) ||
			!json_get(entry, "status")) {
			bool late = failover_since_ms(f->run.started_ms) > INITIAL_MS;

			seen_say(s, late ? FOUND_REFUSED : FOUND_NOT_YET,
				"no engine of '%s' that answers has volume '%s'",
				f->c.config->domain, volume_name(v));
			return;
		}
		if (check_planned(f, volume_name(v), json_get(entry, "status"), &e)) {
			seen_say(s, FOUND_REFUSED, "%s", e.msg);
			return;
		}
		if (!strcmp(json_get_string(json_get(entry, "status"), "active_domain", ""),
			    f->c.config->domain))
			json_set_bool(v, "wasHere", true);
	}
	seen_say(s, FOUND_DONE, "%u %s and %u %s go from '%s' to '%s'%s", n,
		failover_volumes_word(n), namespaces, namespaces == 1 ? "namespace" : "namespaces",
		failover_from(f), f->c.config->domain, silent_words(f, silent, sizeof(silent)));
}

/* --- fence --- */

bool failover_is_final(int code)
{
	return code < 0 && code != -EBUSY && code != -EAGAIN && code != CONTROL_SOON &&
	       code != -ECONNRESET && code != -ENOTCONN && code != -ETIMEDOUT &&
	       code != -ECONNREFUSED;
}

static bool wants_fence(const struct json *v)
{
	return volume_is(v, "");
}

static void note_fence(struct failover *f, const struct call *k)
{
	struct json *v = volume_find(f, k->volume);
	int code = (int)json_get_int(k->answer, "code", -EPROTO);
	const char *text = k->answer ? json_get_string(k->answer, "text", "") : k->e.msg;

	if (k->answer && !code)
		volume_set(v, "Fenced", NULL);
	else if (k->answer && code == -ENOENT)
		volume_set(v, "NotConcerned", text);
	else if (k->answer && failover_is_final(code))
		volume_set(v, "Failed", text);
	else
		json_set_string(v, "reason", text);
}

/* It goes on without those that cannot be had in time; the others must not wait for ever. */
static void give_up(struct failover *f, const char *status, uint64_t patience_ms)
{
	if (failover_since_ms(f->run.steps[f->run.stage].start_ms) < patience_ms)
		return;
	for (unsigned i = 0; i < json_length(f->volumes); i++) {
		struct json *v = json_at(f->volumes, i);

		if (volume_is(v, status))
			json_set_string(v, "status", "Failed");
	}
}

static void give_up_silent(struct failover *f)
{
	uint64_t since_ms = failover_since_ms(f->run.steps[f->run.stage].start_ms);

	for (unsigned i = 0; i < json_length(f->volumes); i++) {
		struct json *v = json_at(f->volumes, i);

		if (since_ms >= SILENT_MS && volume_is(v, "") &&
			failover_count(f, "Fenced", NULL) &&
			!node_of_volume(&f->c, volume_name(v), NULL))
			json_set_string(v, "status", "Failed");
	}
}

static void say_end(struct failover *f, const char *status, const char *done, struct switch_seen *s)
{
	const char *why = "";
	unsigned good = failover_count(f, status, NULL) + failover_count(f, "NotConcerned", NULL),
		 bad = failover_count(f, "Failed", &why);

	if (bad && !good)
		seen_say(s, FOUND_REFUSED, "%u %s: %.300s", bad, failover_volumes_word(bad), why);
	else if (bad)
		seen_say(s, FOUND_PARTLY, "%u of %u volumes: %.300s", bad, good + bad, why);
	else
		seen_say(s, FOUND_DONE, "%u %s %s", good, failover_volumes_word(good), done);
}

void failover_fence(struct failover *f, struct switch_seen *s)
{
	struct json *body = json_object();
	struct calls all;
	const char *why = "";
	struct err e = {0};
	unsigned n;
	int ret = look_again(f, &e);

	if (ret)
		log_warn("Failover: %s", e.msg); /* what is known of the engines will do */
	json_set_string(body, "domain", failover_from(f));
	json_set_bool(body, "yes", true); /* that is what the object says */
	if (json_get_bool(json_get(f->obj, "spec"), "acceptDataLoss", false))
		json_set_bool(body, "accept_data_loss", true);
	json_set_int(body, "timeout_ms", CALL_MS - 1000);
	ask(f, wants_fence, "deactivate", body, &all);
	json_free(body);
	for (unsigned i = 0; i < all.n; i++)
		note_fence(f, &all.call[i]);
	calls_free(&all);
	give_up(f, "", FAILOVER_AWAY_MS);
	give_up_silent(f);
	n = failover_count(f, "", &why);
	if (n)
		seen_say(s, FOUND_NOT_YET, "%u %s: %.300s", n, failover_volumes_word(n), why);
	else
		say_end(f, "Fenced", "fenced against the other site", s);
}

/* --- mount --- */

static bool wants_mount(const struct json *v)
{
	return volume_is(v, "Fenced") || volume_is(v, "HandedOver");
}

static void note_mount(struct failover *f, const struct call *k)
{
	struct json *v = volume_find(f, k->volume);
	const struct json *status = json_get(k->answer, "status");
	bool here = !strcmp(json_get_string(status, "role", ""), "active") &&
		    json_get_bool(status, "mounted", false);
	char text[256];

	if (here) {
		volume_set(v, "Mounted", NULL);
		return;
	}
	snprintf(text, sizeof(text), "volume '%.100s' is not mounted yet: %.120s", k->volume,
		!k->answer ? k->e.msg
		: status   ? json_get_string(status, "role", "?")
			   : "its daemon does not answer");
	json_set_string(v, "reason", text);
}

void failover_mount(struct failover *f, struct switch_seen *s)
{
	const char *status = f->run.type == SWITCH_UNPLANNED ? "Fenced" : "HandedOver", *why = "";
	struct calls all;
	struct err e = {0};
	unsigned n;

	look_again(f, &e);
	ask(f, wants_mount, NULL, NULL, &all);
	for (unsigned i = 0; i < all.n; i++)
		note_mount(f, &all.call[i]);
	calls_free(&all);
	give_up(f, status, MOUNT_MS);
	n = failover_count(f, status, &why);
	if (n)
		seen_say(s, FOUND_NOT_YET, "%u %s: %.300s", n, failover_volumes_word(n), why);
	else
		say_end(f, "Mounted", "mounted here", s);
}
