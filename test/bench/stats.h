/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the load programs share: latency samples of one thread, merged percentiles, and die(). A load
 * program that meets an error ends with it: a figure measured over errors is none.
 */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define die(...)                                                                                   \
	do {                                                                                       \
		int die_errno_ = errno;                                                            \
		fprintf(stderr, __VA_ARGS__);                                                      \
		fprintf(stderr, ": %s\n", strerror(die_errno_));                                   \
		exit(1);                                                                           \
	} while (0)

/* Latencies in nanoseconds; grows; owned by one thread until it has ended. */
struct samples {
	uint32_t *ns;
	size_t count, room;
};

static inline void samples_add(struct samples *s, uint64_t ns)
{
	if (s->count == s->room) {
		s->room = s->room ? s->room * 2 : 65536;
		s->ns = realloc(s->ns, s->room * sizeof(*s->ns));
		if (!s->ns)
			die("out of memory for %zu samples", s->room);
	}
	s->ns[s->count++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

/* Appends src to dst and frees it. */
static inline void samples_merge(struct samples *dst, struct samples *src)
{
	for (size_t i = 0; i < src->count; i++)
		samples_add(dst, src->ns[i]);
	free(src->ns);
	*src = (struct samples){0};
}

static inline int samples_compare_(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static inline void samples_sort(struct samples *s)
{
	if (s->count)
		qsort(s->ns, s->count, sizeof(*s->ns), samples_compare_);
}

/* Of sorted samples, in microseconds; 0 when there are none. */
static inline double samples_us(const struct samples *s, double quantile)
{
	size_t i = (size_t)(quantile * (double)s->count);

	if (!s->count)
		return 0;
	return s->ns[i < s->count ? i : s->count - 1] / 1e3;
}

/* xorshift: which block next must not cost a system call, and must differ between threads. */
static inline uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* Bytes that do not compress to nothing and differ from buffer to buffer. */
static inline void random_fill(void *buf, size_t len, uint64_t *state)
{
	for (size_t i = 0; i + 8 <= len; i += 8) {
		uint64_t x = random_next(state);

		memcpy((char *)buf + i, &x, 8);
	}
}

#endif
