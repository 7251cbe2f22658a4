/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A planned Failover's volumes, handed over and back. Each is an operation (operations.h) of the agent here, which asks
 * the other site's; nobody else here speaks to that site. What one that was interrupted began is followed, and not
 * begun again.
 *
 * The way back ends with each volume where it was, by what the engines here say when it is over, and not by what became
 * of its operation: one that failed may have promoted, or have left no replica active. A volume that is refused the
 * way back, as one that is not in sync because the link is gone, is tried again for BACK_MS. What is not home then is
 * told, with what to type, and nothing that uses it is started at the source.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "kube_failover_impl.h"

#define CALL_MS 6000u
#define NODES_MS 1000u /* between two looks at the engines */
#define NODES_OLD_MS 10000u /* what they said so long ago does not tell where a volume is */
#define BACK_MS 45000u /* how long a volume that is refused the way back is tried again */
#define AGAIN_MS 5000u

const char *failover_operation(const struct json *operations, const char *volume, const char *to)
{
	for (unsigned i = json_length(operations); i--;) {
		const struct json *op = json_at(operations, i);
		const char *state = json_get_string(op, "state", "");

		if (!strcmp(json_get_string(op, "volume", ""), volume) &&
			!strcmp(json_get_string(op, "to", ""), to) &&
			!json_get_bool(op, "dry_run", false) &&
			(!strcmp(state, "running") || !strcmp(state, "rolling-back")))
			return json_get_string(op, "id", "");
	}
	return NULL;
}

/* The newest operation of the volume that is under way, by the agent's word: *ret_id, to be freed, NULL where there is
 * none. 0, or no answer. */
static int operation_under_way(
	struct failover *f, const char *node, const char *volume, const char *to, char **ret_id)
{
	struct json *answer = NULL;
	const char *id;
	unsigned http;
	struct err e;
	int ret = node_call(&f->c, node, "/v1/operations", NULL, CALL_MS, &http, &answer, &e);

	id = failover_operation(json_get(answer, "operations"), volume, to);
	*ret_id = id ? strdup(id) : NULL;
	json_free(answer);
	return ret;
}

static void begin(struct failover *f, struct json *v, const char *to, const char *status)
{
	struct json *body = json_object(), *answer = NULL;
	const char *node = failover_node_of(f, v);
	char *id = NULL;
	struct err e = {0};
	unsigned http = 0;
	int ret = -ENOENT;

	json_set_string(body, "kind", "failover");
	json_set_string(body, "volume", volume_name(v));
	json_set_string(body, "to", to);
	/* What one that was interrupted began is followed, not begun again. */
	if (node)
		operation_under_way(f, node, volume_name(v), to, &id);
	if (!id && node)
		ret = node_call(&f->c, node, "/v1/operations", body, CALL_MS, &http, &answer, &e);
	if (!ret && http == 200)
		id = strdup(json_get_string(answer, "id", ""));
	if (id) {
		json_set_string(v, "operation", id);
		volume_set(v, status, NULL);
	} else if (!ret && failover_is_final((int)json_get_int(answer, "code", -EIO))) {
		volume_set(v, "Failed", json_get_string(answer, "error", "refused"));
	} else if (node) {
		json_set_string(v, "reason", ret ? e.msg : json_get_string(answer, "error", ""));
	}
	free(id);
	json_free(answer);
	json_free(body);
}

/* What became of its operation. */
static void follow(struct failover *f, struct json *v, const char *done, const char *failed)
{
	const char *node = failover_node_of(f, v), *state;
	struct json *answer = NULL;
	struct err e = {0};
	char path[128];
	unsigned http;

	if (!node)
		return;
	snprintf(path, sizeof(path), "/v1/operations/%.64s", json_get_string(v, "operation", ""));
	if (node_call(&f->c, node, path, NULL, CALL_MS, &http, &answer, &e)) {
		json_set_string(v, "reason", e.msg);
		return;
	}
	state = json_get_string(answer, "state", "");
	if (http == 404) /* it is not kept any more: look again */
		volume_set(v, "", "its operation is not known any more");
	else if (!strcmp(state, "done"))
		volume_set(v, done, NULL);
	else if (!strcmp(state, "failed"))
		volume_set(v, failed, json_get_string(answer, "message", ""));
	else
		json_set_string(v, "reason", "it is being handed over");
	json_free(answer);
}

/* Is it active here? Then there is nothing to hand over. */
static bool is_here(struct failover *f, const struct json *v)
{
	const struct json *entry = NULL, *status;

	node_of_volume(&f->c, volume_name(v), &entry);
	status = json_get(entry, "status");
	return !strcmp(json_get_string(status, "active_domain", ""), f->c.config->domain) &&
	       !strcmp(json_get_string(status, "role", ""), "active");
}

void failover_hand_over(struct failover *f, struct switch_seen *s)
{
	unsigned n = json_length(f->volumes), open = 0, bad;
	const char *why = "";
	struct err e = {0};

	failover_nodes(f, failover_count(f, "", NULL) ? NODES_MS / 2 : NODES_MS * 10, &e);
	for (unsigned i = 0; i < n; i++) {
		struct json *v = json_at(f->volumes, i);

		if (volume_is(v, "") && is_here(f, v))
			volume_set(v, "HandedOver", NULL);
		else if (volume_is(v, ""))
			begin(f, v, f->c.config->domain, "HandingOver");
		if (volume_is(v, "HandingOver"))
			follow(f, v, "HandedOver", "Failed");
		if (volume_is(v, "") || volume_is(v, "HandingOver")) {
			open++;
			why = json_get_string(v, "reason", "");
		}
	}
	bad = failover_count(f, "Failed", open ? NULL : &why);
	if (open) /* also where one has failed already: it is known then what has to go back */
		seen_say(s, FOUND_NOT_YET, "%u of %u %s: %.300s", open, n, failover_volumes_word(n),
			why);
	else if (bad)
		seen_say(s, FOUND_REFUSED, "%u of %u %s: %.300s", bad, n, failover_volumes_word(n),
			why);
	else
		seen_say(s, FOUND_DONE, "%u %s handed over", n, failover_volumes_word(n));
}

/* --- the way back --- */

enum back_word failover_back_judge(const struct json *status, const char *from)
{
	if (!json_is_object(status))
		return BACK_UNKNOWN;
	return strcmp(json_get_string(status, "active_domain", ""), from) != 0 ? BACK_AWAY
									       : BACK_HOME;
}

static const struct json *status_here(const struct failover *f, const struct json *v)
{
	const struct json *entry = NULL;

	node_of_volume(&f->c, volume_name(v), &entry);
	return json_get(entry, "status");
}

static bool is_under_way(const struct json *v)
{
	return volume_is(v, "HandingOver") || volume_is(v, "GoingBack");
}

/* It was here before this Failover: where it was is here. */
static bool was_here(const struct json *v)
{
	return json_get_bool(v, "wasHere", false);
}

/* By what the engines say now; what they said before its operation ended does not count. */
static enum back_word judge(const struct failover *f, const struct json *v)
{
	if (!f->run.steps[STAGE_HAND_OVER].start_ms)
		return was_here(v) ? BACK_AWAY : BACK_HOME; /* nobody has touched it */
	if (is_under_way(v) || failover_now_ms() - f->nodes_ms > NODES_OLD_MS)
		return BACK_UNKNOWN;
	return failover_back_judge(status_here(f, v), failover_from(f));
}

/* An operation of it whose beginning was not answered. False: it is not known whether there is one. */
static bool adopt(struct failover *f, struct json *v)
{
	const char *node = failover_node_of(f, v);
	char *id = NULL;
	int ret = node ? operation_under_way(f, node, volume_name(v), f->c.config->domain, &id)
		       : -ENOENT;

	if (id) {
		json_set_string(v, "operation", id);
		volume_set(v, "HandingOver", NULL);
	}
	free(id);
	return !ret;
}

/* A step of its way. True: it is to go on. `again`: what was refused may be tried once more. */
static bool come_back(struct failover *f, struct json *v, bool again, bool late)
{
	if (was_here(v))
		return false;
	if (volume_is(v, "") && f->run.steps[STAGE_HAND_OVER].start_ms && !adopt(f, v) && !late)
		return true;
	if (is_under_way(v)) {
		if (volume_is(v, "HandingOver"))
			follow(f, v, "HandedOver", "Back");
		else
			follow(f, v, "Back", "Failed");
		if (!is_under_way(v))
			f->nodes_ms = 0;
		return true;
	}
	switch (judge(f, v)) {
	case BACK_HOME:
		if (f->run.steps[STAGE_HAND_OVER].start_ms)
			volume_set(v, "Back", NULL);
		return false;
	case BACK_AWAY:
		if (!late && (again || volume_is(v, "HandedOver")))
			begin(f, v, failover_from(f), "GoingBack");
		break;
	default:
		failover_node_of(f, v); /* which says so */
		break;
	}
	if (late && !is_under_way(v))
		json_set_string(v, "status", "Failed");
	return !late || is_under_way(v);
}

static void say_away(const struct failover *f, const struct json *v, struct switch_seen *s)
{
	const char *name = volume_name(v), *why = json_get_string(v, "reason", ""),
		   *from = failover_from(f), *own = f->c.config->domain,
		   *active = json_get_string(status_here(f, v), "active_domain", "");

	if (judge(f, v) == BACK_UNKNOWN)
		seen_say(s, FOUND_REFUSED,
			"it is not known where volume '%.60s' is (%.90s): see 'tandemctl status "
			"%.60s' at '%s'",
			name, why, name, from);
	else if (!*active)
		seen_say(s, FOUND_REFUSED,
			"volume '%.60s' is active nowhere, as far as is known here (%.90s): type "
			"'tandemctl promote %.60s' at '%s'",
			name, why, name, from);
	else
		seen_say(s, FOUND_REFUSED,
			"volume '%.60s' is active at '%.40s' (%.90s): 'tandemctl failover %.60s "
			"--to %.40s' hands it back, the same Failover once more at '%.40s' goes on",
			name, active, why, name, from, own);
}

bool failover_is_home(const struct failover *f, const char *ns, const struct json **ret_v)
{
	for (unsigned i = 0; i < json_length(f->volumes); i++) {
		const struct json *v = json_at(f->volumes, i);

		if (!json_has_string(json_get(v, "namespaces"), ns))
			continue;
		if (judge(f, v) == BACK_HOME)
			continue;
		*ret_v = v;
		return false;
	}
	return true;
}

void failover_go_back(struct failover *f, struct switch_seen *s)
{
	unsigned n = json_length(f->volumes), open = 0;
	uint64_t mono_ms = clock_mono_ns() / NS_PER_MS;
	bool late = failover_since_ms(f->run.steps[STAGE_ROLLBACK].start_ms) >= BACK_MS,
	     again = !f->again_ms || mono_ms - f->again_ms >= AGAIN_MS;
	const struct json *away = NULL;
	const char *why = "";
	struct err e = {0};

	failover_nodes(f, NODES_MS, &e);
	if (again)
		f->again_ms = mono_ms;
	for (unsigned i = 0; i < n; i++) {
		struct json *v = json_at(f->volumes, i);

		if (come_back(f, v, again, late)) {
			open++;
			why = json_get_string(v, "reason", "");
		} else if (!away && !was_here(v) && judge(f, v) != BACK_HOME) {
			away = v;
		}
	}
	if (open)
		seen_say(s, FOUND_NOT_YET, "%u of %u %s: %.300s", open, n, failover_volumes_word(n),
			why);
	else if (away)
		say_away(f, away, s);
	else
		seen_say(s, FOUND_DONE, "the volumes are where they were");
}
