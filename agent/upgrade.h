/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bringing a volume's daemon to the program that is on disk, decided: pure, no I/O and no clock. upgrades.c looks,
 * tells daemons to stop, and has them follow one another.
 *
 *   it runs that program, or nothing runs     -> nothing
 *   nothing is mounted                        -> replaced
 *   a holder keeps its mount                  -> replaced; applications see a pause
 *   its mount would end                       -> only at a person's word
 *   something else is under way, it does not
 *   answer, or would not be started again     -> not now
 *
 * Replacing is: it ends by SIGTERM, the supervision starts the new program, and that serves as the old one did: mounted
 * where that was, and connected to as many peers.
 *
 * Failure modes: a daemon that does not end is left alone. A new program that refuses, or ends again and again, or does
 * not serve in time, has failed; what is on its mount waits where a holder keeps it, and the message says what to do.
 */
#ifndef AGENT_UPGRADE_H
#define AGENT_UPGRADE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "decide.h"
#include "json.h"
#include "limits.h"

#define UPGRADE_TEXT_MAX 640u
#define UPGRADE_STARTS_MAX 3u /* so many ends in a row are enough */

/* What was seen of a volume. */
struct upgrade_seen {
	char volume[VOLUME_NAME_MAX + 1];
	int pid; /* 0: none runs here */
	bool pending; /* it runs another program */
	bool answers; /* lately */
	char state[16], reason[DECIDE_REASON_MAX]; /* of the supervision */
	unsigned failures;
	char role[16];
	bool mounted;
	bool held; /* its mount outlives it */
	unsigned connected; /* peers */
};

/* The order in which they are replaced: what hurts least is first. */
enum upgrade_verdict {
	UPGRADE_NOTHING,
	UPGRADE_UNMOUNTED,
	UPGRADE_HELD,
	UPGRADE_ENDS_MOUNT,
	UPGRADE_NOT_NOW
};

enum upgrade_state {
	UPGRADE_PENDING,
	UPGRADE_STOPPING,
	UPGRADE_STARTING,
	UPGRADE_DONE,
	UPGRADE_FAILED,
	UPGRADE_LEFT /* not touched */
};

struct upgrade { /* of one volume */
	struct upgrade_seen before;
	enum upgrade_verdict verdict;
	enum upgrade_state state;
	uint64_t begun_ns, ended_ns; /* when its daemon was told to stop, and when that was over */
	char message[UPGRADE_TEXT_MAX]; /* for a person */
};

/* Of an entry of supervisor_volumes(). `answers` is the caller's word; `holder`: the volume's file wants one and the
 * kernel can, for a daemon that does not say whether its mount is held. */
void upgrade_see(
	const struct json *entry, bool answers, bool holder, struct upgrade_seen *ret_seen);
/* `busy`: what else is under way with it; "" nothing. ret_words: what would be done, or why not. */
enum upgrade_verdict upgrade_verdict(
	const struct upgrade_seen *s, const char *busy, char *ret_words, size_t size);
/* By verdict, then by name; for qsort(3). */
int upgrade_compare(const void *a, const void *b);
/* One that is stopping or starting, and what was seen of it now. timeout_ns: what all of it may take. */
void upgrade_step(
	struct upgrade *u, const struct upgrade_seen *now, uint64_t timeout_ns, uint64_t now_ns);

bool upgrade_ended(const struct upgrade *u);
const char *upgrade_verdict_name(enum upgrade_verdict v);
const char *upgrade_state_name(enum upgrade_state s);

#endif
