/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which volumes a failover of a node, or one of all nodes of a dead domain, is about, decided: pure, no I/O and no clock. operations_node.c looks, and makes
 * operations of what is picked here.
 *
 * A node is known by the name that a volume's daemon or file has for the node of its other replica; where neither has
 * one, by the host of that replica's address. Whether it lives is nobody's question here.
 *
 * Failure modes: what a daemon says that is no name or no domain counts as not said. Of a planned failover, a volume
 * that does not answer, or is busy, refuses all; of an unplanned one it is picked, and its own operation says so.
 */
#ifndef AGENT_NODE_VOLUMES_H
#define AGENT_NODE_VOLUMES_H

#include <stdbool.h>

#include "json.h"
#include "limits.h"
#include "operation.h"

/* A volume's replica in another domain. */
struct node_replica {
	char domain[DOMAIN_LEN_MAX + 1];
	char node[NODE_NAME_MAX + 1]; /* "": not known */
};

/* What was seen of a volume that has a replica on this node. */
struct node_volume {
	char volume[VOLUME_NAME_MAX + 1];
	bool answers; /* its daemon, lately; else what it said before */
	char active[DOMAIN_LEN_MAX + 1]; /* "": none, or never said */
	unsigned nothers;
	struct node_replica others[REPLICAS_MAX];
	const char *under_way; /* borrowed: the operation that it has already; NULL */
};

/* What is asked, and who is asked. Borrowed. */
struct node_asked {
	const char *node;
	const char *
		domain; /* NULL; else all of its nodes are meant, and it is dead: always unplanned */
	const char *to; /* "": nobody said it */
	bool unplanned;
	const char *own_domain, *own_node;
	const char *only_peer; /* the other domain, where there is but one; NULL */
};

struct node_pick {
	const struct node_volume *v;
	bool alone; /* as of struct operation */
};

struct node_picked {
	char from[DOMAIN_LEN_MAX + 1]; /* the node's domain */
	char to[DOMAIN_LEN_MAX + 1];
	unsigned n; /* one or more */
	struct node_pick picks[OPERATION_GROUP_MAX];
};

/* Of an entry of supervisor_volumes(), but for under_way; `answers` is the caller's word. False: it has no name. */
bool node_volume_parse(const struct json *entry, bool answers, struct node_volume *ret_v);
/* The replica's node, by name or else by the host of its address. */
void node_replica_name(struct node_replica *r, const char *node, const char *address);
/*
 * 0 and what is to be failed over; -EBUSY with a list of those that keep a planned one from beginning; -ENOENT with the
 * nodes that are known, where it is none of them or has nothing; -EINVAL where it cannot be told where to, or which
 * node, or where it is too much at once. Then *ret is undefined.
 */
int node_volumes_pick(const struct node_asked *a, const struct node_volume *vs, unsigned n,
	struct node_picked *ret, struct err *e);

#endif
