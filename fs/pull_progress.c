/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a pull is. A rate is what was measured when something came last: it holds until the next should be
 * there, falls while nothing comes, and is gone in the end. Pure. No failure modes.
 */
#include "pull_progress.h"

#include <stdio.h>

#include "check.h"
#include "clock.h"

/* A rate is good for twice the time it was measured over, and that is at least this. */
#define STALE_NS NS_PER_S
#define STALL 30u /* and so many times that: nothing moves */

uint64_t pull_rate_now(uint64_t rate, uint64_t at_ns, uint64_t took_ns, uint64_t now_ns)
{
	uint64_t good = 2 * MAX(took_ns, (uint64_t)STALE_NS), age = now_ns - MIN(at_ns, now_ns);

	if (age <= good)
		return rate;
	return age > STALL * good ? 0 : (uint64_t)((double)rate * (double)good / (double)age);
}

int64_t pull_eta_s(uint64_t done, uint64_t total, uint64_t rate)
{
	if (!rate || !total)
		return -1;
	return total > done ? (int64_t)((total - done + rate - 1) / rate) : 0;
}

static const char *amount(uint64_t bytes, char buf[32])
{
	if (bytes >= 10ull << 30)
		snprintf(buf, 32, "%.1f GiB", (double)bytes / (double)(1ull << 30));
	else if (bytes >= 1ull << 20 || !bytes)
		snprintf(buf, 32, "%.1f MiB", (double)bytes / (double)(1ull << 20));
	else
		snprintf(buf, 32, "%.1f KiB", (double)bytes / 1024);
	return buf;
}

double pull_percent(uint64_t done, uint64_t total)
{
	return total ? MIN(100.0, 100.0 * (double)done / (double)total) : 0;
}

void pull_progress_text(uint64_t done, uint64_t total, uint64_t rate, char *buf, size_t size)
{
	double percent = pull_percent(done, total);
	int64_t eta = pull_eta_s(done, total, rate);
	char of[32], at[32];

	if (eta < 0)
		snprintf(buf, size, "%.0f %% of %s, time left unknown", percent, amount(total, of));
	else
		snprintf(buf, size, "%.0f %% of %s, %s/s, %lld s left", percent, amount(total, of),
			amount(rate, at), (long long)eta);
}
