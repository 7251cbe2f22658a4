/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations' files: ID.json in the state directory; and while those of a group are made, GROUP.group, which has
 * all of them: an agent that dies meanwhile makes the rest when it starts. Blocking; any thread, one for each operation.
 */
#ifndef AGENT_OPERATIONS_DISK_H
#define AGENT_OPERATIONS_DISK_H

#include "agent_config.h"
#include "operation.h"

/* New file, fsync, rename, fsync of the directory, which is made when it is missing. 0, or -errno. */
int operations_store(const struct agent_config *c, const struct operation *op, struct err *e);
/* All of a group, or none: also when the agent dies in here. 0, or -errno. */
int operations_store_group(
	const struct agent_config *c, const struct operation *ops, unsigned n, struct err *e);
/* The file is removed; what cannot be removed stays. */
void operations_forget(const struct agent_config *c, const char *id);
/* Makes what a dead agent has left to make, and calls `found` for each, the oldest first; what is no operation is logged. */
void operations_load(const struct agent_config *c,
	void (*found)(void *ctx, const struct operation *op), void *ctx);

#endif
