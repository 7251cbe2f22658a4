/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A planned Failover's volumes, handed over and back. Each is an operation (operations.h) of the agent here, which asks
 * the other site's; nobody else here speaks to that site. What one that was interrupted began is followed, and not
 * begun again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_failover_impl.h"

#define CALL_MS 6000u
#define NODES_MS 1000u /* between two looks at the engines */

/* The newest operation of the volume that is under way, by the agent's word; to be freed. */
static char *operation_under_way(struct failover *f, const char *node, const char *volume)
{
	struct json *answer = NULL;
	const struct json *list;
	char *id = NULL;
	unsigned http;
	struct err e;

	if (node_call(&f->c, node, "/v1/operations", NULL, CALL_MS, &http, &answer, &e))
		return NULL;
	list = json_get(answer, "operations");
	for (unsigned i = json_length(list); i-- && !id;) {
		const struct json *op = json_at(list, i);
		const char *state = json_get_string(op, "state", "");

		if (!strcmp(json_get_string(op, "volume", ""), volume) &&
			(!strcmp(state, "running") || !strcmp(state, "rolling-back")))
			id = strdup(json_get_string(op, "id", ""));
	}
	json_free(answer);
	return id;
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
	id = node ? operation_under_way(f, node, volume_name(v)) : NULL;
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

void failover_go_back(struct failover *f, struct switch_seen *s)
{
	unsigned n = json_length(f->volumes), open = 0;
	const char *why = "";
	struct err e = {0};

	failover_nodes(f, NODES_MS, &e);
	for (unsigned i = 0; i < n; i++) {
		struct json *v = json_at(f->volumes, i);

		if (volume_is(v, "HandingOver"))
			follow(f, v, "HandedOver", "Back");
		if (volume_is(v, "HandedOver"))
			begin(f, v, failover_from(f), "GoingBack");
		if (volume_is(v, "GoingBack"))
			follow(f, v, "Back", "Failed");
		if (volume_is(v, "HandingOver") || volume_is(v, "HandedOver") ||
			volume_is(v, "GoingBack")) {
			open++;
			why = json_get_string(v, "reason", "");
		}
	}
	if (open)
		seen_say(s, FOUND_NOT_YET, "%u of %u %s: %.300s", open, n, failover_volumes_word(n),
			why);
	else
		seen_say(s, FOUND_DONE, "the volumes are where they were");
}
