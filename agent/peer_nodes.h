/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The nodes of another domain: who they are, how they are, and which of them gets a replica. Each node's agent has an
 * address in the configuration and says its node's name itself. Blocking; any thread, but not the event loop's.
 */
#ifndef AGENT_PEER_NODES_H
#define AGENT_PEER_NODES_H

#include <stdatomic.h>

#include "agent_config.h"

struct peer_node {
	const char *address; /* of its agent; borrowed from the configuration */
	char name[NODE_NAME_MAX + 1]; /* "": not known, or an older agent, which does not say */
	bool answers, ready;
	char why[128]; /* why it does not answer, or is not ready; "" */
	unsigned volumes; /* that it has */
	unsigned chosen; /* that this agent is making there */
};

/*
 * Asks all agents of the domain at once. Returns when all have answered; or a second after the first one that is ready
 * has (`wanted` NULL); or when the one of this name has; or after 5 s. One for each address, in their order.
 */
void peer_nodes_look(const struct agent_config *c, const struct agent_config_peer *p,
	const char *wanted, const atomic_bool *stop,
	struct peer_node ret_nodes[static AGENT_CONFIG_NODES_MAX]);

/*
 * Looks, and chooses one for a new replica, as peer_nodes_choose() does. It counts one volume more until
 * peer_nodes_release(), so that those who are made at the same time spread, too. 0 with a copy.
 */
int peer_nodes_take(const struct agent_config *c, const struct agent_config_peer *p,
	const char *wanted, const char *earlier, const atomic_bool *stop,
	struct peer_node *ret_node, struct err *e);
void peer_nodes_release(const struct peer_node *node);

/*
 * The address of the agent of the node with this name, into ret_address (CONF_ADDRESS_SIZE bytes). What an agent said
 * once is believed, unless `anew`. -ESTALE all answer and none has the name; -ENOTCONN who does not answer may be it,
 * with words of each.
 */
int peer_nodes_find(const struct agent_config *c, const struct agent_config_peer *p,
	const char *name, bool anew, const atomic_bool *stop, char *ret_address, struct err *e);

/* --- without I/O --- */

/*
 * The index of the one to take: the one that is called `wanted`; where that is "" the one called `earlier` if it
 * answers; else the ready one with the fewest volumes, the first of those. -EINVAL there is no `wanted`; -ENOTCONN none
 * answers, or who does not may be the wanted one; -EAGAIN none is ready. Each with words for every node.
 */
int peer_nodes_choose(const struct peer_node *nodes, unsigned n, const char *domain,
	const char *wanted, const char *earlier, struct err *e);

#endif
