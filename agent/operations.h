/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of this node's agent: begun, done by a thread each, kept on disk, told of. One at a time
 * for each volume. On the loop's thread.
 */
#ifndef AGENT_OPERATIONS_H
#define AGENT_OPERATIONS_H

#include "agent_config.h"
#include "json.h"
#include "supervise.h"
#include "task.h"

struct operations;

/* Borrows all. Reads what is on disk, and goes on with what has not ended. */
struct operations *operations_new(const struct agent_config *c, struct tasks *t);
/* After tasks_free(): what was under way stays on disk, for the next agent. NULL is fine. */
void operations_free(struct operations *o);

/*
 * Begins {"kind": "failover" | "failback" | "unplanned-failover", "volume", "to", "timeout_ms", "dry_run"}.
 * 0 with the operation (the caller's); -EINVAL wrong arguments, -ENOENT nowhere to go back to, -EBUSY one is
 * under way (the message names it), -EIO and the like when it cannot be kept on disk.
 */
int operations_begin(
	struct operations *o, const struct json *args, struct json **ret_j, struct err *e);
/* All, the oldest first; or one: NULL when there is none. The caller's. */
struct json *operations_list(struct operations *o);
struct json *operations_get(struct operations *o, const char *id);

#endif
