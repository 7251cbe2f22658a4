/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long it pays to look again before sleeping. A commit is a chain of hand-overs between threads and sites, and each
 * of them wakes a sleeping processor: some 20 us on the virtual machine where it was measured, with a flush of 130.
 *
 * Two kinds of waiting are told apart, because one says nothing of the other: for what is under way here (the local
 * flush, the peer's answer), and for whoever comes next. Each has a window, as a hypervisor's halt polling has: a wait
 * that ended within the limit doubles it, up to the limit; a longer one halves it, and below POLLING_MIN it is nothing. So
 * an idle volume does not poll, and neither does one whose peer is far away. One thread.
 */
#ifndef FS_POLLING_H
#define FS_POLLING_H

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>

#define POLLING_MIN_NS 50000u
#define POLLING_DEFAULT_NS 1000000u
#define POLLING_MAX_NS 10000000u

struct polling {
	uint64_t limit_ns; /* 0: never */
	uint64_t window_ns[2]; /* of waits for a newcomer, and for what is under way */
	uint64_t waits, polled; /* all, and those that ended before it slept */
};

uint64_t polling_window(const struct polling *p, bool under_way);
/* A wait of this kind took so long, and ended while it was looked again, or not. */
void polling_waited(struct polling *p, bool under_way, uint64_t ns, bool polled);

/*
 * The limit where none is configured: POLLING_DEFAULT_NS; 0 on a single processor, and in a control group with a quota of
 * processor time, which polling would use up. `cgroups` is where they are mounted (cgroup2, or the hierarchies of cgroup1
 * below it), `own` this process's /proc/self/cgroup.
 */
uint64_t polling_limit(unsigned processors, const char *cgroups, const char *own);
/* On how many processors this process may run; 1 where nobody can tell. `get` is sched_getaffinity(2). */
unsigned polling_processors(int (*get)(pid_t pid, size_t size, cpu_set_t *set));

#endif
