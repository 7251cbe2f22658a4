/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nodes of this site, as seen by what speaks to Kubernetes: their engines' pods, and the agent in each of them over
 * mutual TLS, with the site's own certificate. On the thread of the worker that has `c`.
 */
#ifndef AGENT_KUBE_NODES_H
#define AGENT_KUBE_NODES_H

#include "kube_control.h"

struct kube_node {
	char name[KUBE_NAME_MAX + 1];
	char address
		[280]; /* HOST:PORT of its agent; an IPv6 address in brackets; "": none is known yet */
	bool ready; /* the pod is */
	struct json *status; /* the answer to /v1/status; NULL: it gave none */
	struct err error; /* why not */
};

#define NODES_MS_CALM 10000u
/*
 * Where people wait for an application: who is silent is gone on without. An agent with one daemon that hangs is not
 * silent: it answers for the others after SUPERVISOR_REFRESH_MS.
 */
#define NODES_MS_HURRY 3000u

/*
 * Lists the pods and asks all agents at once, each for at most timeout_ms. c->nodes is in the order of names then; a node
 * whose agent does not answer is in it, without a status. An error is the API's, and leaves c->nodes as it was.
 */
int nodes_look(struct kube_control *c, unsigned timeout_ms, struct err *e);
void nodes_clear(struct kube_control *c);

/*
 * The node with a replica of the volume, as of the last look; NULL. *ret_volume (may be NULL) is its entry in the
 * status, {"volume", "supervision", "status"}, borrowed until the next look.
 */
const struct kube_node *node_of_volume(
	const struct kube_control *c, const char *volume, const struct json **ret_volume);
const struct kube_node *node_find(const struct kube_control *c, const char *name);

/*
 * A call to the node's agent: `body` NULL is GET, else POST. 0 with HTTP's status and the answer's JSON object (the
 * caller's), or an error as of agent_call(); -ENOENT: no such node, or it has no address.
 */
int node_call(struct kube_control *c, const char *node, const char *path, const struct json *body,
	unsigned timeout_ms, unsigned *ret_status, struct json **ret_json, struct err *e);

/* --- without I/O --- */

/* What a list of pods says: one for each node, sorted; a pod that is on its way out counts only where there is no other. */
void nodes_of_pods(
	const struct json *pods, const char *port, struct kube_node **ret_nodes, unsigned *ret_n);

#endif
