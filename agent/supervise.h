/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Supervision of this node's volume daemons: looks at the configuration files and the control sockets,
 * asks decide() and starts what shall run. One thread, on the loop.
 *
 * A daemon belongs to itself: it is started in a session of its own, with its output in a file, so that
 * the agent's end, of whatever kind, is nothing to it. An agent that starts finds those that run by their
 * sockets, and their processes by the sockets' credentials.
 */
#ifndef AGENT_SUPERVISE_H
#define AGENT_SUPERVISE_H

#include <stdio.h>

#include "agent_config.h"
#include "json.h"
#include "loop.h"

struct supervisor;

/* Borrows the configuration and the loop. Looks at once, acts from the loop. */
struct supervisor *supervisor_new(struct loop *l, const struct agent_config *c);
/* Forgets; the daemons go on. Refreshes that are open are never called back. */
void supervisor_free(struct supervisor *s);
/* Looks at everything now, and tries again what was refused. */
void supervisor_again(struct supervisor *s);

/* SIGTERM to every daemon, and none is started from now on; supervisor_stopped() tells when all have ended. */
void supervisor_stop(struct supervisor *s);
bool supervisor_stopped(const struct supervisor *s);

/*
 * SIGTERM to the volume's daemon, which is then started again from the program on disk, by this agent or the next
 * one; from now on supervisor_is_replacing(). 0; -ESRCH when none runs here.
 */
int supervisor_replace(struct supervisor *s, const char *volume, struct err *e);
/* Whoever replaced it looks after it no longer. */
void supervisor_replaced(struct supervisor *s, const char *volume);
bool supervisor_is_replacing(const struct supervisor *s, const char *volume);

#define SUPERVISOR_REFRESH_MS 2000u /* a daemon that has not answered by then hangs */

/* Asks the daemons (all, or of one volume) for their status, and calls back once, not from within: when
 * all have answered or after SUPERVISOR_REFRESH_MS. */
void supervisor_refresh(
	struct supervisor *s, const char *volume, void (*done)(void *ctx), void *ctx);

/* For each volume {"volume", "supervision": {...}, "status": {...} or null}; one, or NULL when there is
 * no such volume. The caller's. */
struct json *supervisor_volumes(struct supervisor *s);
/* The same without "status". */
struct json *supervisor_list(struct supervisor *s);
struct json *supervisor_volume(struct supervisor *s, const char *volume);
/* The path of the volume's socket; false when there is no such volume. */
bool supervisor_socket(const struct supervisor *s, const char *volume, char *ret_path, size_t size);

/* What would be done now, a line for each volume, without doing it: blocking. */
int supervise_dry_run(const struct agent_config *c, FILE *out, struct err *e);

#endif
