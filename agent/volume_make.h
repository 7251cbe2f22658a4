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
 * the configuration knows. -EEXIST the volume is there already; -ENOENT no peer is configured (pair first);
 * -EAGAIN the other calls' errors, with the domain's name before the words.
 */
int volume_create(const struct agent_config *c, struct replica_spec *spec, const atomic_bool *stop,
	struct err *e);
/* First the other sites' replicas, then this one. `local`: this one only. -ENOENT nothing was there. */
int volume_delete(const struct agent_config *c, const char *volume, bool local,
	const atomic_bool *stop, struct err *e);

#endif
