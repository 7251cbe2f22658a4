/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to nodes' agents, side by side: making a volume takes a good part of a second, most of it disks. What an
 * agent has begun goes on there when the call's time is over; asked again, it says that it is at it (-EBUSY).
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "kube_provision.h"

#define CALL_MS 20000u

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
	if (s->what == PROVISION_GROW)
		json_set_int(body, "size", (int64_t)s->size);
	return body;
}

static void *call_main(void *arg)
{
	struct provision_call *k = arg;
	char path[128];
	struct json *body = body_of(&k->step, path, sizeof(path)), *j = NULL;
	unsigned status = 0;
	int ret;

	if (!node_call(k->c, k->step.node, path, body, CALL_MS, &status, &j, &k->e)) {
		ret = (int)json_get_int(j, "code", status == 200 ? 0 : -EPROTO);
		k->e.code = 0;
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
