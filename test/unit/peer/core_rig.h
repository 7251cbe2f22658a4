/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two or three machines on a table: frames are delivered at once and in order, disks are memory, time
 * moves when a test says so. Everything that happens is written down, one line each, so that a test
 * reads as a transcript:
 *
 *   a: record 2, epoch 1, active a, set ab      ACT_PERSIST_RECORD
 *   a>b hello 3                                 ACT_SEND, with what matters of it
 *   b: append 1+2                               ACT_APPEND (first seq, count)
 *   a: commit 2    a: serve 1    a: fence ...   and so on
 *
 * Heartbeats are not written down. Criterion tests only.
 */
#ifndef TEST_CORE_RIG_H
#define TEST_CORE_RIG_H

#include "core.h"

#define RIG_FRAMES 512
#define RIG_BATCHES 256

struct rig_batch {
	struct batch_header h;
};

struct rig_node {
	struct core *core;
	struct record record; /* on its disk */
	struct replica_facts facts;
	struct rig_batch log[RIG_BATCHES];
	unsigned nlog, ndurable;
	struct pos before;
	uint64_t flushed, commit;
	uint64_t unread; /* batches up to this seq cannot be read back */
	struct batch_header current;
	uint32_t level; /* format level that it announces; 0: 1, as the first builds did */
	bool up, serving, slow; /* slow: nothing becomes durable until rig_durable() */
	bool building; /* EV_BUILT comes when nothing else moves */
	bool given_up; /* the next start is that of an empty replica with this record: */
	struct record begins_with;
	struct rig_batch aside[RIG_BATCHES]; /* the log that was given up */
	unsigned naside;
	int built; /* code of EV_BUILT */
	int code; /* of the last answer; 12345: none yet */
	char answer[CORE_TEXT_MAX];
	char fence[CORE_TEXT_MAX];
};

struct rig_frame {
	unsigned from, to;
	uint64_t conn;
	struct msg m;
	struct record *record;
};

struct rig {
	unsigned n;
	struct rig_node node[REPLICAS_MAX];
	struct rig_frame frames[RIG_FRAMES];
	unsigned head, tail;
	uint64_t now, chance, conns;
	uint64_t conn[REPLICAS_MAX][REPLICAS_MAX]; /* 0: none */
	char text[65536];
	size_t used;
};

enum { A, B, C };

/* n freshly formatted replicas in site-a, site-b, ...; all in sync, a is the active one; not started. */
struct rig *rig_new(unsigned n);
void rig_free(struct rig *r);
void rig_start(struct rig *r, unsigned node);
/* The process dies. lose: batches that were not durable are lost. */
void rig_crash(struct rig *r, unsigned node, bool lose);
void rig_connect(struct rig *r, unsigned a, unsigned b);
void rig_cut(struct rig *r, unsigned a, unsigned b);
/* The active closes a batch of `count` operations. */
void rig_write(struct rig *r, unsigned node, unsigned count);
void rig_durable(struct rig *r, unsigned node);
/* Time passes for all, in steps of 100 ms. */
void rig_pass(struct rig *r, uint64_t ms);
/* Types at a node; returns the answer's code (12345 when it is not answered yet). */
int rig_type(
	struct rig *r, unsigned node, enum operator_verb verb, uint32_t flags, const char *domain);
void rig_drained(struct rig *r, unsigned node);
void rig_step(struct rig *r, unsigned node, struct core_event *ev);
void rig_run(struct rig *r);
/* A frame from nowhere, for tests of what is refused. */
void rig_inject(struct rig *r, unsigned from, unsigned to, const struct msg *m);
enum core_peer_state rig_state(struct rig *r, unsigned node, unsigned peer);
/* What was written down since the last call. */
const char *rig_said(struct rig *r);
/* a and b, born and serving, connected; nothing written down. */
struct rig *rig_pair(void);
struct rig *rig_three(void);

#endif
