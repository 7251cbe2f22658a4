/* SPDX-License-Identifier: Apache-2.0 */
/* A pace that leaves the volume to those who use it; pull_yield.c says how. */
#ifndef FS_PULL_YIELD_H
#define FS_PULL_YIELD_H

#include <stdint.h>

#include "clock.h"

/* What users do, apart from each other: the average of all would be that of the fast ones. */
enum pull_use { PULL_CHANGES, PULL_READS, PULL_LOOKS, PULL_USES };

struct pull_load { /* of one use */
	uint64_t ops, ns; /* answered to users ever, and how long they took together */
	uint64_t age_ns; /* of the oldest that is not answered yet; 0: none */
};

enum pull_slot { PULL_WORK, PULL_SETTLE, PULL_QUIET };

struct pull_yield { /* zeroed at first */
	enum pull_slot state;
	uint64_t began_ns; /* the slot */
	uint64_t asked_ns, seen_ns; /* when it was last asked, and last saw a user */
	uint64_t paused_ns, quiet_ns; /* when it last stopped giving answers, and for how long */
	struct pull_use_seen {
		uint64_t ops, ns; /* counters when the slot began */
		uint64_t with, without; /* latencies, ns; 0: unknown */
	} seen[PULL_USES];
	uint64_t rate; /* bytes a second; 0: no limit */
	uint64_t next_ns; /* no answer before */
};

/* 0: an answer may be given now; else when to ask again. `queued` bytes of answers are not yet sent. */
uint64_t pull_yield_until(struct pull_yield *y, uint64_t now,
	const struct pull_load load[PULL_USES], uint64_t queued);
/* An answer of so many bytes is given. */
void pull_yield_took(struct pull_yield *y, uint64_t now, uint64_t bytes);

#endif
