/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the supervision share. */
#ifndef AGENT_SUPERVISE_IMPL_H
#define AGENT_SUPERVISE_IMPL_H

#include "daemon_call.h"
#include "scan.h"
#include "supervise.h"

#define DAEMON_ELSEWHERE (-1) /* it answers, from another PID namespace */

struct supervised {
	struct supervisor *s;
	struct scan_volume file; /* as last seen */
	char socket[256];
	bool seen; /* by the scan that is going on */
	struct decide_history history;
	struct decision decision;
	uint64_t state_since_ns; /* of the decision */
	/* the daemon */
	int pid; /* 0: none; DAEMON_ELSEWHERE */
	bool child; /* started by this process */
	struct loop_source exit; /* its pidfd */
	off_t log_from; /* where its output begins */
	bool other_build;
	bool replacing; /* somebody brings it to another build */
	/* what it says */
	bool looked;
	struct daemon_call *call;
	uint64_t call_ns,
		asked_ns; /* when the call that is open, and the last one that is done, began */
	uint64_t answered_ns;
	struct json *status; /* NULL: it has not answered, or is gone */
};

struct refresh {
	struct supervisor *s;
	struct refresh *next;
	char volume[VOLUME_NAME_MAX + 1]; /* "": all */
	uint64_t begun_ns;
	struct loop_timer timer;
	bool done_is_due;
	void (*done)(void *ctx);
	void *ctx;
};

struct supervisor {
	struct loop *loop;
	const struct agent_config *config;
	unsigned count;
	struct supervised *v[SCAN_VOLUMES_MAX];
	struct loop_timer timer;
	uint64_t scan_at_ns;
	struct refresh *refreshes;
	bool dry; /* decides and does nothing */
	bool stopping; /* starts nothing */
	char scan_trouble[256]; /* said once */
};

/* supervise_run.c: processes. */
int supervised_start(struct supervised *v, struct err *e);
/* Takes a process that was found; false when it is gone already. */
bool supervised_adopt(struct supervised *v, int pid);
/* The status and the last words of a daemon that ended; its descriptor is closed. */
void supervised_reap(struct supervised *v, int *ret_how, char *ret_words, size_t size);
/* SIGTERM to the process that it is, and to no other. 0 or -errno. */
int supervised_terminate(const struct supervised *v);
/* True when the process runs another file than the program on disk. */
bool supervised_other_build(const struct supervised *v);
void supervised_decide(struct supervised *v, uint64_t now_ns);

/* supervise.c */
void supervised_ended(struct supervised *v);

#endif
