/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upgrade of this node's daemons: one run at a time, one volume after the other. On the loop's thread.
 */
#ifndef AGENT_UPGRADES_H
#define AGENT_UPGRADES_H

#include "agent_config.h"
#include "json.h"
#include "loop.h"
#include "supervise.h"
#include "task.h"

#define UPGRADE_TIMEOUT_MS 120000u /* the default, of each volume */
#define UPGRADE_TIMEOUT_MS_MAX 86400000u

struct upgrades;

/* Borrows all. busy(): is something else under way with the volume? Then with words for a person. */
struct upgrades *upgrades_new(const struct agent_config *c, struct loop *l, struct tasks *t,
	struct supervisor *s,
	bool (*busy)(void *ctx, const char *volume, char *ret_words, size_t size), void *ctx);
/* After tasks_free(). What was stopped is started by the supervision, this agent's or the next one's. NULL is fine. */
void upgrades_free(struct upgrades *u);

/*
 * Begins {"volume": one of them, else all; "yes": also where a mount ends; "timeout_ms": for each, until it serves again;
 * "dry_run": only say what would be done}, with the daemons as the supervisor knows them: refresh it first. 0 with the
 * run as upgrades_get() has it (the caller's); -EINVAL; -ENOENT no such volume; -EBUSY one is under way.
 */
int upgrades_begin(struct upgrades *u, const struct json *args, struct json **ret_j, struct err *e);
/*
 * The last run, the caller's: {"begun_ms", "program", "state": "none", "planned", "running", "done" or "failed",
 * "message", "count": volumes looked at, "volumes": [{"volume", "verdict", "state", "message", "took_s"}, ...]}: those
 * that do not run the program.
 */
struct json *upgrades_get(const struct upgrades *u);

#endif
