/* SPDX-License-Identifier: Apache-2.0 */
/* A pace that leaves the volume to those who use it; pull_yield.c says how. */
#ifndef FS_PULL_YIELD_H
#define FS_PULL_YIELD_H

#include <stdint.h>

#include "clock.h"

enum pull_slot { PULL_WORK, PULL_SETTLE, PULL_QUIET };

struct pull_yield { /* zeroed at first */
	enum pull_slot state;
	uint64_t ends_ns; /* of the slot */
	uint64_t ops, ns; /* counters when it began */
	uint64_t with, without; /* latencies, ns; 0: unknown */
	uint64_t rate; /* bytes a second; 0: no limit */
	uint64_t next_ns; /* no answer before */
};

/* 0: an answer may be given now; else when to ask again. ops and ns: how many operations were answered
 * to users of the volume ever, and how long they took together. */
uint64_t pull_yield_until(struct pull_yield *y, uint64_t now, uint64_t ops, uint64_t ns);
/* An answer of so many bytes was given. */
void pull_yield_took(struct pull_yield *y, uint64_t now, uint64_t bytes);

#endif
