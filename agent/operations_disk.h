/* SPDX-License-Identifier: Apache-2.0 */
/* The operations' files: ID.json in the state directory. Blocking; any thread, one for each operation. */
#ifndef AGENT_OPERATIONS_DISK_H
#define AGENT_OPERATIONS_DISK_H

#include "agent_config.h"
#include "operation.h"

/* New file, fsync, rename, fsync of the directory, which is made when it is missing. 0, or -errno. */
int operations_store(const struct agent_config *c, const struct operation *op, struct err *e);
/* The file is removed; what cannot be removed stays. */
void operations_forget(const struct agent_config *c, const char *id);
/* Calls `found` for each, the oldest first; what is no operation is logged. */
void operations_load(const struct agent_config *c,
	void (*found)(void *ctx, const struct operation *op), void *ctx);

#endif
