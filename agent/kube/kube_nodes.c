/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nodes. Each look asks anew: a node that is dead costs the time-out of one call, which runs beside those to the
 * others.
 */
#include "kube_nodes.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer_call.h"
#include "supervise.h"

_Static_assert(NODES_MS_HURRY >= SUPERVISOR_REFRESH_MS + 1000,
	"one daemon that hangs would make its node a silent one");

#define SELECTOR "app.kubernetes.io/component=engine"
#define DEFAULT_PORT "7401"
#define THREADS 16u

static const struct kube_kind kind_pod = KUBE_KIND("", "v1", "Pod", "pods", true);

static bool is_ready(const struct json *pod)
{
	const struct json *conditions = json_get(json_get(pod, "status"), "conditions");

	for (unsigned i = 0; i < json_length(conditions); i++) {
		const struct json *c = json_at(conditions, i);

		if (!strcmp(json_get_string(c, "type", ""), "Ready"))
			return !strcmp(json_get_string(c, "status", ""), "True");
	}
	return false;
}

static void fill(struct kube_node *n, const struct json *pod, const char *port)
{
	const char *host = json_get_string(json_get(pod, "status"), "hostIP", "");

	snprintf(n->name, sizeof(n->name), "%s",
		json_get_string(json_get(pod, "spec"), "nodeName", ""));
	n->ready = is_ready(pod);
	if (*host && strlen(host) < 64)
		snprintf(n->address, sizeof(n->address), strchr(host, ':') ? "[%s]:%s" : "%s:%s",
			host, port);
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct kube_node *)a)->name, ((const struct kube_node *)b)->name);
}

void nodes_of_pods(
	const struct json *pods, const char *port, struct kube_node **ret_nodes, unsigned *ret_n)
{
	/* One more than there can be: where the next one is tried. */
	struct kube_node *nodes = calloc(json_length(pods) + 1, sizeof(*nodes));
	unsigned n = 0, k;

	ensure(nodes);
	for (unsigned leaving = 0; leaving < 2; leaving++) {
		for (unsigned i = 0; i < json_length(pods); i++) {
			const struct json *pod = json_at(pods, i);

			fill(&nodes[n], pod, port);
			for (k = 0; strcmp(nodes[k].name, nodes[n].name) != 0; k++)
				;
			if ((meta_of(pod, "deletionTimestamp") != NULL) == leaving && k == n &&
				nodes[n].name[0])
				n++;
			else
				nodes[n] = (struct kube_node){0};
		}
	}
	qsort(nodes, n, sizeof(*nodes), by_name);
	*ret_nodes = nodes;
	*ret_n = n;
}

static void list_free(struct kube_node *nodes, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		json_free(nodes[i].status);
	free(nodes);
}

void nodes_clear(struct kube_control *c)
{
	list_free(c->nodes, c->nnodes);
	c->nodes = NULL;
	c->nnodes = 0;
}

/* ---- asking ---- */

static int call(const struct kube_control *c, const struct kube_node *n, const char *path,
	const struct json *body, unsigned timeout_ms, unsigned *ret_status, struct json **ret_json,
	struct err *e)
{
	char what[KUBE_NAME_MAX + 32];

	snprintf(what, sizeof(what), "the agent of node '%s'", n->name);
	if (!n->address[0])
		return err_set(e, -ENOENT, "%s: its pod has no address yet", what);
	return agent_call(c->config, what, c->config->domain, n->address, path, body, timeout_ms,
		c->stop, ret_status, ret_json, e);
}

struct asking {
	const struct kube_control *c;
	struct kube_node *nodes;
	unsigned n, timeout_ms;
	atomic_uint next;
};

static void *ask_main(void *arg)
{
	struct asking *a = arg;
	unsigned i, status;

	while ((i = atomic_fetch_add(&a->next, 1)) < a->n) {
		struct kube_node *n = &a->nodes[i];

		if (call(a->c, n, "/v1/status", NULL, a->timeout_ms, &status, &n->status,
			    &n->error))
			continue;
		if (status == 200)
			continue;
		err_set(&n->error, -EPROTO, "the agent of node '%s': %s", n->name,
			json_get_string(n->status, "error", "it refuses"));
		json_free(n->status);
		n->status = NULL;
	}
	return NULL;
}

static void ask_all(struct asking *a)
{
	pthread_t threads[THREADS];
	unsigned n = 0;

	while (n + 1 < MIN(a->n, THREADS) && !pthread_create(&threads[n], NULL, ask_main, a))
		n++;
	ask_main(a);
	while (n)
		pthread_join(threads[--n], NULL);
}

int nodes_look(struct kube_control *c, unsigned timeout_ms, struct err *e)
{
	const char *port = strrchr(c->config->listen, ':');
	struct asking a = {.c = c, .timeout_ms = timeout_ms};
	struct json *pods = json_array();
	int ret = kube_list(c->kube, &kind_pod, c->config->kube_namespace, SELECTOR, pods, NULL, e);

	if (!ret) {
		nodes_of_pods(pods, port ? port + 1 : DEFAULT_PORT, &a.nodes, &a.n);
		ask_all(&a);
		nodes_clear(c);
		c->nodes = a.nodes;
		c->nnodes = a.n;
	}
	json_free(pods);
	return ret;
}

const struct kube_node *node_find(const struct kube_control *c, const char *name)
{
	for (unsigned i = 0; i < c->nnodes; i++)
		if (!strcmp(c->nodes[i].name, name))
			return &c->nodes[i];
	return NULL;
}

const struct kube_node *node_of_volume(
	const struct kube_control *c, const char *volume, const struct json **ret_volume)
{
	for (unsigned i = 0; i < c->nnodes; i++) {
		const struct json *all = json_get(c->nodes[i].status, "volumes");

		for (unsigned k = 0; k < json_length(all); k++) {
			if (strcmp(json_get_string(json_at(all, k), "volume", ""), volume) != 0)
				continue;
			if (ret_volume)
				*ret_volume = json_at(all, k);
			return &c->nodes[i];
		}
	}
	return NULL;
}

int node_call(struct kube_control *c, const char *node, const char *path, const struct json *body,
	unsigned timeout_ms, unsigned *ret_status, struct json **ret_json, struct err *e)
{
	const struct kube_node *n = node_find(c, node);

	if (!n)
		return err_set(e, -ENOENT, "node '%s' has no engine", node);
	return call(c, n, path, body, timeout_ms, ret_status, ret_json, e);
}
