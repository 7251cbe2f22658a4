/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to nodes' agents, and to those of the other sites for a node that is gone, side by side: making a volume takes a
 * good part of a second, most of it disks. What an agent has begun goes on there when the call's time is over; asked
 * again, it says that it is at it (-EBUSY).
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "kube_provision.h"
#include "peer_volume.h"

#define CALL_MS 20000u
#define ASK_MS 5000u

static struct json *body_of(const struct provision_step *s, char *path, size_t size)
{
	struct json *body;

	if (s->what == PROVISION_CREATE) {
		snprintf(path, size, "/v1/volumes");
		return provision_order_body(s);
	}
	body = json_object();
	snprintf(path, size, "/v1/volumes/%s/%s", s->volume,
		s->what == PROVISION_GROW ? "resize" : "delete");
	if (s->local)
		json_set_bool(body, "local", true);
	if (s->what == PROVISION_GROW)
		json_set_int(body, "size", (int64_t)s->size);
	return body;
}

/* --- the other sites, for a node that is gone --- */

/* `remove` false: may it be removed there? True: it is. A site that does not have it is fine. */
static int tell_peer(struct provision_call *k, const char *domain, bool remove)
{
	const struct agent_config *c = k->c->config;
	struct json *body = remove ? json_object() : NULL, *j = NULL;
	unsigned status = 0;
	char path[128];
	int ret;

	snprintf(path, sizeof(path), remove ? "/v1/replicas/%s/remove" : "/v1/volumes/%s",
		k->step.volume);
	ret = peer_volume_call(
		c, domain, k->step.volume, path, body, CALL_MS, k->c->stop, &status, &j, &k->e);
	if (!ret && status == 200 && !remove)
		ret = provision_may_abandon(j, c->domain, domain, &k->e);
	else if (!ret && status != 200 && status != 404)
		ret = err_set(&k->e, (int)json_get_int(j, "code", -EPROTO), "'%s' says: %s", domain,
			json_get_string(j, "error", "it refuses"));
	json_free(body);
	json_free(j);
	return ret;
}

/* First all are asked, then each is told. */
static void abandon(struct provision_call *k)
{
	const struct agent_config *c = k->c->config;
	int ret = c->npeers ? 0
			    : err_set(&k->e, -ENOENT,
				      "%.150s knows no other site ([peer DOMAIN] is missing)",
				      c->path);

	for (unsigned n = 0; n < 2; n++)
		for (unsigned i = 0; i < c->npeers && !ret; i++)
			ret = tell_peer(k, c->peers[i].domain, n);
	if (ret)
		err_wrap(&k->e, "node '%.100s' is gone with its replica, and the other one is left",
			k->step.node);
}

int provision_elsewhere(struct kube_control *c, const char *volume, struct err *e)
{
	char path[128];
	int ret = 0;

	snprintf(path, sizeof(path), "/v1/volumes/%s", volume);
	for (unsigned i = 0; i < c->config->npeers && !ret; i++) {
		const char *domain = c->config->peers[i].domain;
		struct json *j = NULL;
		unsigned status = 0;

		ret = peer_volume_call(
			c->config, domain, volume, path, NULL, ASK_MS, c->stop, &status, &j, e);
		if (!ret && status == 200)
			ret = err_set(e, -EEXIST,
				"no node of this site has its replica any more, and '%s' has one: "
				"nothing is removed there. To remove it: delete its claim there",
				domain);
		else if (!ret && status != 404)
			ret = err_set(
				e, -EPROTO, "'%s' does not say whether it has a replica", domain);
		json_free(j);
	}
	return ret;
}

/* --- this site's nodes --- */

static void *call_main(void *arg)
{
	struct provision_call *k = arg;
	char path[128];
	struct json *body, *j = NULL;
	unsigned status = 0;
	int ret;

	if (k->step.what == PROVISION_ABANDON) {
		abandon(k);
		return NULL;
	}
	body = body_of(&k->step, path, sizeof(path));
	if (!node_call(k->c, k->step.node, path, body, CALL_MS, &status, &j, &k->e)) {
		ret = (int)json_get_int(j, "code", status == 200 ? 0 : -EPROTO);
		k->e.code = 0;
		k->answered = true;
		if (ret)
			err_set(&k->e, ret, "%s",
				json_get_string(j, "error",
					json_get_string(j, "text", "the agent refuses")));
	}
	json_free(j);
	json_free(body);
	return NULL;
}

void provision_calls(struct provision_call *calls, unsigned n)
{
	pthread_t threads[PROVISION_CALLS_MAX];
	bool runs[PROVISION_CALLS_MAX] = {0};

	for (unsigned i = 0; i + 1 < n; i++)
		runs[i] = !pthread_create(&threads[i], NULL, call_main, &calls[i]);
	for (unsigned i = 0; i < n; i++)
		if (!runs[i])
			call_main(&calls[i]);
	for (unsigned i = 0; i < n; i++)
		if (runs[i])
			pthread_join(threads[i], NULL);
}
