/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Creating and deleting a volume on all its sites, from one of them. Blocking; any thread but the loop's.
 * Each may be repeated after whatever became of an earlier try, and goes on from there.
 */
#ifndef AGENT_VOLUME_MAKE_H
#define AGENT_VOLUME_MAKE_H

#include "replica_make.h"

/*
 * This node's replica is the first, and becomes active. Without peers in `spec`: one in each domain that
 * the configuration knows. Each is on the node that `spec` names, or on the ready one with the fewest volumes;
 * `peer_node` ("": none) names it where there is one peer. -EEXIST the volume is there already; -ENOENT no peer is
 * configured (pair first); -EINVAL, -ENOTCONN, -EAGAIN as of peer_nodes_choose(); else the other calls' errors, with
 * the domain's name before the words.
 */
int volume_create(const struct agent_config *c, struct replica_spec *spec, const char *peer_node,
	const atomic_bool *stop, struct err *e);
/* First the other sites' replicas, then this one. `local`: this one only. -ENOENT nothing was there; -EPERM another site is
 * active; -EAGAIN it may be. */
int volume_delete(const struct agent_config *c, const char *volume, bool local,
	const atomic_bool *stop, struct err *e);

#endif
