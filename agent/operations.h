/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations of this node's agent: begun, done by a thread each, kept on disk, told of. One at a time
 * for each volume. On the loop's thread.
 */
#ifndef AGENT_OPERATIONS_H
#define AGENT_OPERATIONS_H

#include "agent_config.h"
#include "json.h"
#include "loop.h"
#include "supervise.h"
#include "task.h"

struct operations;

/* Borrows all. Reads what is on disk, and goes on with what has not ended, in turn. */
struct operations *operations_new(
	const struct agent_config *c, struct loop *l, struct tasks *t, struct supervisor *s);
/* After tasks_free(): what was under way stays on disk, for the next agent. NULL is fine. */
void operations_free(struct operations *o);

/*
 * Begins {"kind": "failover" | "failback" | "unplanned-failover", "volume", "to", "timeout_ms", "dry_run"}.
 * 0 with the operation (the caller's); -EINVAL wrong arguments, -ENOENT nowhere to go back to, -EBUSY one is
 * under way (the message names it), -EIO and the like when it cannot be kept on disk.
 */
int operations_begin(
	struct operations *o, const struct json *args, struct json **ret_j, struct err *e);
/*
 * The same with "domain" in the place of "volume": all volumes that are active there and have a replica on this
 * node (as the supervisor knows it: refresh it first), or, for a failback, those that a failover took from there, or,
 * for an unplanned one, all that have a replica there: that domain is dead. They are a group: {"id", "operations": [...]}. -EBUSY with a list where one cannot be asked or has one under way.
 *
 * Or with "node": a failover of all volumes that are active on that node, this one or one of another domain. An
 * unplanned one is of all whose other replica is on it: that node is dead. A volume of these that has an operation under
 * way fails by itself, and keeps the others from nothing. -ENOENT with a list of the nodes where it is none of them.
 */
/* Of one operation, or of all of a group: is to be undone, when that still can be. 0 with the operation (the
 * caller's), which goes on to its end; -ENOENT; -EALREADY with why not. */
int operations_cancel(struct operations *o, const char *id, struct json **ret_j, struct err *e);
/* The id of the one that is under way for the volume, or NULL. */
const char *operations_busy(const struct operations *o, const char *volume);
/* All, the oldest first; or one, or a group: NULL when there is none. The caller's. */
struct json *operations_list(struct operations *o);
struct json *operations_get(struct operations *o, const char *id);

#endif
