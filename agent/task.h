/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Work that blocks, for the event loop: each task is a thread of its own, whose end the loop is told of.
 * On the loop's thread, but for `work`.
 */
#ifndef AGENT_TASK_H
#define AGENT_TASK_H

#include <stdatomic.h>

#include "loop.h"

struct tasks;

struct tasks *tasks_new(struct loop *l);
/* Tells all that are open to stop, waits for them and calls their `done`. NULL is fine. */
void tasks_free(struct tasks *t);

/*
 * Runs work(ctx, stop) in a thread, then done(ctx) on the loop, never from within this function. `work` ends
 * soon after *stop became true. 0, or -EAGAIN with nothing called when too many are open, or all shall stop.
 */
int task_start(struct tasks *t, void (*work)(void *ctx, const atomic_bool *stop),
	void (*done)(void *ctx), void *ctx);

#endif
