/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of repairing, shared by the fs/repair*.c files and the volume; repair.h has the picture. */
#ifndef FS_REPAIR_IMPL_H
#define FS_REPAIR_IMPL_H

#include "repair.h"
#include "volume_impl.h"

#define REPAIR_NS (2 * NS_PER_S) /* for one replica, or all of them, to answer */
#define REPAIR_ASKS_MAX 16u /* questions on their way at once */
#define REPAIR_ANSWERS_MAX 32u /* being read for one peer at once */
#define REPAIR_KNOWN_MAX 2048u /* blocks that are counted already */
#define REPAIR_REPORTS_MAX 64u /* lines that wait for a file's name */

struct repair_report { /* one line of the log */
	uint64_t ino, file_block;
	struct addr addr;
	unsigned blocks; /* from the first damaged one to the last one */
	bool repaired;
	char text[160]; /* by whom, or why not */
	struct repair_report *next;
};

struct repairs { /* commit thread, unless it says something else */
	struct volume *v;
	uint64_t conn[REPLICAS_MAX]; /* commit connections that stand; 0: none */
	unsigned answering[REPLICAS_MAX];
	uint64_t answered; /* questions, for the log */
	uint64_t nonce;
	struct repair *asked; /* questions on their way */
	unsigned nasked;
	struct repair *queued, **queued_tail; /* behind REPAIR_ASKS_MAX of them */
	struct loop_timer timer;
	/* Blocks that were damaged or repaired lately, so that each is counted once: a ring. */
	struct repair_known {
		struct addr addr;
		uint64_t repaired_ns; /* 0: not since it was counted as damaged */
	} known[REPAIR_KNOWN_MAX];
	unsigned known_at;
	/* lines for the log */
	struct repair_report *reports, **reports_tail;
	unsigned nreports;
	uint64_t said;
	struct job report_job;
	struct repair_report *reporting; /* the report job's */
	uint64_t path_ino; /* the report job's: the last name that it looked for, */
	char path[4400]; /* what it found, */
	uint64_t path_until_ns; /* and how long that is believed */
};

/* repair.c; commit thread */
void repair_init(struct volume *v);
void repair_up(struct volume *v, unsigned peer, uint64_t conn);
void repair_down(struct volume *v, unsigned peer);
void repair_answered(struct volume *v, unsigned peer, uint64_t conn, const struct msg_repair *m,
	struct payload *p); /* p belongs to the callee; may be NULL */
/* Counts blocks as damaged, those that are not counted yet (*ret_fresh). Returns which still are: others
 * were repaired since they were found. */
uint64_t repair_note_damage(
	struct volume *v, struct addr a, uint64_t bad, uint64_t found_ns, uint64_t *ret_fresh);

/* repair_answer.c; commit thread */
void repair_asked(struct volume *v, unsigned peer, uint64_t conn, const struct msg_repair_ask *m);

/* repair_report.c; commit thread */
void repair_report(
	struct volume *v, const struct repair *r, uint64_t bad, bool repaired, const char *text);

#endif
