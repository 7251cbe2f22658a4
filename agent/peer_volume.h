/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to another domain's agent about one volume: to the agent of the node that has the volume's replica there.
 * Blocking; any thread, but not the event loop's.
 */
#ifndef AGENT_PEER_VOLUME_H
#define AGENT_PEER_VOLUME_H

#include <stdatomic.h>

#include "agent_config.h"
#include "json.h"

/* What this node's configuration of a volume says of its replica in another domain. */
struct peer_volume {
	char node[NODE_NAME_MAX + 1]; /* "": it does not say */
	char address[CONF_ADDRESS_SIZE]; /* of its daemon; "" */
};

/* From the volume's file; one of a draft, or of a volume that is being removed, counts, too. False: there is none, or
 * it names no such peer. */
bool peer_volume_read(const struct agent_config *c, const char *volume, const char *domain,
	struct peer_volume *ret_v);

/*
 * As agent_call(), to the node that the volume's file names; where it names none, to the agent with the host of the
 * volume's peer address, else to the only one, else to each until one knows the volume: HTTP's status is 404 only when
 * all have answered so. -ENOENT no way to that domain is configured; -ENOTCONN the node cannot be found while somebody
 * does not answer; -ECONNREFUSED, -ETIMEDOUT and the like it does not answer.
 */
int peer_volume_call(const struct agent_config *c, const char *domain, const char *volume,
	const char *path, const struct json *body, unsigned timeout_ms, const atomic_bool *stop,
	unsigned *ret_status, struct json **ret_json, struct err *e);

/* --- without I/O --- */

/* Which of the addresses, where no node is named; -1: each has to be asked. */
int peer_volume_route(const struct agent_config_peer *p, const char *volume_address);

#endif
