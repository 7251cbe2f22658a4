/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Histograms with eight buckets an octave: bucket = 8 * log2 + the next three bits, from 1 ns to
 * more than a minute. A quantile is read from the current and the previous window together, so there
 * is always at least one window's worth of data.
 */
#include "latency.h"

#include <string.h>

static unsigned bucket_of(uint64_t ns)
{
	unsigned log, b;

	if (ns < 8)
		return (unsigned)ns;
	log = 63u - (unsigned)__builtin_clzll(ns);
	b = (log - 2) * 8 + (unsigned)((ns >> (log - 3)) & 7);
	return b < LATENCY_BUCKETS ? b : LATENCY_BUCKETS - 1;
}

static uint64_t bucket_value(unsigned b)
{
	unsigned log = b / 8 + 2;

	if (b < 8)
		return b;
	return (1ull << log) + ((uint64_t)(b & 7) << (log - 3));
}

void latency_add(struct latency *l, enum latency_stage s, uint64_t ns)
{
	l->now.n[s][bucket_of(ns)]++;
}

void latency_count(struct latency *l, uint64_t now_ns)
{
	if (now_ns - l->turned_ns > LATENCY_WINDOW_NS) {
		if (now_ns - l->turned_ns > 2 * LATENCY_WINDOW_NS)
			memset(&l->before, 0, sizeof(l->before));
		else
			l->before = l->now;
		memset(&l->now, 0, sizeof(l->now));
		l->turned_ns = now_ns;
	}
	l->now.count++;
}

uint64_t latency_quantile(const struct latency *l, enum latency_stage s, double q)
{
	uint64_t total = 0, sum = 0, want;

	for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
		total += l->now.n[s][i] + l->before.n[s][i];
	if (!total)
		return 0;
	want = (uint64_t)(q * (double)total);
	for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
		sum += l->now.n[s][i] + l->before.n[s][i];
		if (sum > want)
			return bucket_value(i);
	}
	return bucket_value(LATENCY_BUCKETS - 1);
}

uint64_t latency_ops(const struct latency *l)
{
	return l->now.count + l->before.count;
}

const char *latency_name(enum latency_stage s)
{
	static const char *const names[LATENCY_STAGES] = {
		"queue", "local", "network", "remote", "reply", "total"};

	return s < LATENCY_STAGES ? names[s] : "?";
}
