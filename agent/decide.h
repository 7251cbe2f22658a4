/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent does about each volume: a pure function of what was observed and the time. No I/O, no
 * clock: supervise.c observes and acts, a dry run prints, a test needs neither.
 *
 *   nothing runs                          -> start
 *   it ended                              -> start again: at once, then later each time: 250 ms, doubled
 *                                            up to the limit; a daemon that lived for a minute begins anew
 *   it ended with 78 or 2 (configuration,
 *   usage): a person has to look          -> not started until its file changes; the reason is kept
 *   it answers on its socket              -> running, whoever started it
 *   it runs a file that is no longer the
 *   program on disk                       -> reported as "upgrade pending"; upgrade.h replaces it
 *   it runs and does not answer           -> reported, never killed: it may hold what nobody else has
 *   its file is gone                      -> reported, never stopped
 *   it was stopped to be replaced         -> start again at once, as if nothing had failed before
 */
#ifndef AGENT_DECIDE_H
#define AGENT_DECIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "limits.h"

#define DECIDE_RESTART_MIN_NS 250000000ull
#define DECIDE_HEALTHY_NS 60000000000ull /* it lived so long: what was before counts no more */
#define DECIDE_SILENT_NS 10000000000ull /* without an answer for so long it is called silent */
#define DECIDE_REASON_MAX 256

enum decide_state {
	DECIDE_LOOKING, /* nobody has looked at its socket yet */
	DECIDE_STARTING, /* runs, has not answered yet */
	DECIDE_RUNNING,
	DECIDE_SILENT, /* runs and does not answer */
	DECIDE_WAITING, /* ended; is started again at retry_ns */
	DECIDE_REFUSED, /* its configuration, or what it names, is wrong; waits for the file to change */
	DECIDE_GONE, /* neither runs nor is configured */
};

/* The identity of a file's content, as far as stat(2) tells; all zero: there is no file. */
struct decide_stamp {
	uint64_t inode, size, mtime_ns;
};

/* What became of the daemons of a volume, as far as this agent saw. */
struct decide_history {
	unsigned starts; /* by this agent */
	unsigned failures; /* in a row: ends of daemons that did not live for a minute */
	uint64_t started_ns, ended_ns; /* 0: never */
	bool replaced; /* the daemon was told to end: its end is no failure */
	bool refused; /* the last end was 78 or 2 ... */
	struct decide_stamp stamp; /* ... of a daemon that was started with this file */
	char reason[DECIDE_REASON_MAX]; /* of the last end */
};

struct decide_observed {
	bool looked; /* its socket was tried */
	struct decide_stamp stamp; /* of its configuration file now */
	const char *problem; /* why that file cannot be used; "" */
	int pid; /* of the daemon; 0: none runs */
	uint64_t answered_ns; /* when this daemon answered last; 0: it has not */
	bool other_build;
	const struct decide_history *history;
};

struct decision {
	enum decide_state state;
	bool start; /* the one action */
	bool upgrade_pending;
	uint64_t retry_ns; /* when a start is due; UINT64_MAX: no time brings it */
	char reason[DECIDE_REASON_MAX]; /* for a person; "" */
};

void decide(const struct decide_observed *o, uint64_t restart_max_ns, uint64_t now_ns,
	struct decision *ret_d);
const char *decide_state_name(enum decide_state state);

/* A daemon was started with the file as it was then, or found running (stamp NULL). */
void decide_started(struct decide_history *h, const struct decide_stamp *stamp, uint64_t now_ns);
/* It ended: `how` as waitpid(2) tells it, -1 when it was nobody's child. `last_words` may be "". */
void decide_ended(struct decide_history *h, int how, const char *last_words, uint64_t now_ns);

#endif
