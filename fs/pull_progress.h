/* SPDX-License-Identifier: Apache-2.0 */
/* How far a pull is, in numbers and in words; pull_progress.c. */
#ifndef FS_PULL_PROGRESS_H
#define FS_PULL_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

/* A rate (bytes a second) that was measured at `at`, over `took`, as it is now that nothing came since: 0 when
 * nothing moves. */
uint64_t pull_rate_now(uint64_t rate, uint64_t at_ns, uint64_t took_ns, uint64_t now_ns);
/* Bytes; 0 while nobody knows how many there are. */
double pull_percent(uint64_t done, uint64_t total);
/* Seconds for the rest; -1: nobody knows. */
int64_t pull_eta_s(uint64_t done, uint64_t total, uint64_t rate);
/* All of that in words. */
void pull_progress_text(uint64_t done, uint64_t total, uint64_t rate, char *buf, size_t size);

#endif
