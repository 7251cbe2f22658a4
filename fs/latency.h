/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an operation's time goes: a histogram for each stage, over the last one to two windows.
 * One thread.
 */
#ifndef FS_LATENCY_H
#define FS_LATENCY_H

#include <stdint.h>

#define LATENCY_WINDOW_NS (10ull * 1000000000ull)
#define LATENCY_BUCKETS 256u

enum latency_stage {
	LATENCY_QUEUE, /* handed over by the worker -> staged */
	LATENCY_LOCAL, /* batch closed -> durable here */
	LATENCY_NETWORK, /* measured round trip of the heartbeats */
	LATENCY_REMOTE, /* batch closed -> acknowledged, without the round trip */
	LATENCY_REPLY, /* committed -> answered */
	LATENCY_TOTAL,
	LATENCY_STAGES,
};

struct latency {
	struct latency_window {
		uint64_t count;
		uint32_t n[LATENCY_STAGES][LATENCY_BUCKETS];
	} now, before;
	uint64_t turned_ns;
};

void latency_add(struct latency *l, enum latency_stage s, uint64_t ns);
/* Counts one operation; turns the window when it is over. */
void latency_count(struct latency *l, uint64_t now_ns);
/* The q-quantile (0 to 1) in nanoseconds, within 1/8; 0 when there is nothing. */
uint64_t latency_quantile(const struct latency *l, enum latency_stage s, double q);
uint64_t latency_ops(const struct latency *l);
const char *latency_name(enum latency_stage s);

#endif
