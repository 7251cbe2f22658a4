/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Says when a volume's commits do not go on, and why: nothing is mended by it, and nothing is hidden. Two things
 * can stand still:
 *
 *   an operation waits to be committed for WATCHDOG_NS: the commit thread sees that itself (watchdog_look()), logs
 *   it once with what is waited for, and once more when it is over; `status` has it meanwhile
 *   the commit thread itself, within one turn of its loop: then nobody answers on the control socket either.
 *   A thread of the watchdog's own logs that
 *
 * The cost is one store a turn.
 */
#ifndef FS_WATCHDOG_H
#define FS_WATCHDOG_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define WATCHDOG_NS 10000000000ull

struct volume;

struct watchdog {
	pthread_t thread;
	bool running;
	_Atomic uint64_t turns; /* of the commit thread's loop: several a second, by its timers */
	_Atomic bool stop;
	char text[256]; /* what is waited for; "" while commits go on */
	uint64_t since_ns;
};

/* The thread. It is no error that it cannot be had: a warning. */
void watchdog_start(struct watchdog *w);
void watchdog_stop(struct watchdog *w);
/* Each turn of the loop. Commit thread. */
static inline void watchdog_turn(struct watchdog *w)
{
	atomic_store_explicit(&w->turns, atomic_load_explicit(&w->turns, memory_order_relaxed) + 1,
		memory_order_relaxed);
}

/* The watchdog's look, once a second, at how many turns there were. */
struct watchdog_count {
	uint64_t turns;
	unsigned still; /* looks in a row that saw no turn: seconds in which this process ran */
};
enum watchdog_word { WATCHDOG_QUIET, WATCHDOG_STUCK, WATCHDOG_GOES_ON };
/* Pure. A process that stood still as a whole (SIGSTOP) looks at nothing, and is not blamed. */
enum watchdog_word watchdog_count(struct watchdog_count *c, uint64_t turns);

/* Now and then. Commit thread. */
void watchdog_look(struct volume *v, uint64_t now_ns);

/* What the look says of an oldest operation that was staged at staged_ns (0: none waits): true when it waits
 * for too long. Pure. */
bool watchdog_is_late(uint64_t staged_ns, uint64_t now_ns);

#endif
