/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small event loop over epoll: descriptors and one-shot timers. One thread runs it and owns
 * everything registered; loop_wake() is the only call for other threads.
 *
 * A callback may add, change and remove any source, itself included; a removed source is never
 * called again, also when its event was already fetched, and its memory may be freed at once. Do not
 * nest loop_run_once().
 */
#ifndef JOURNAL_LOOP_H
#define JOURNAL_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

struct loop_source { /* embedded by the user; zero it before loop_add() */
	int fd;
	uint32_t events; /* EPOLLIN, EPOLLOUT */
	void (*ready)(struct loop_source *s, uint32_t events);
	bool added; /* private */
};

struct loop_timer { /* embedded by the user; zero it before the first use */
	uint64_t at_ns; /* monotonic */
	void (*expired)(struct loop_timer *t, uint64_t now_ns);
	unsigned slot; /* private: 1 + position in the heap, 0 when not armed */
};

int loop_new(struct loop **ret_loop);
void loop_free(struct loop *l);
int loop_add(struct loop *l, struct loop_source *s);
int loop_modify(struct loop *l, struct loop_source *s, uint32_t events);
void loop_remove(struct loop *l, struct loop_source *s);
/* Arms the timer for at_ns, moving it when it is armed already. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t at_ns);
void loop_timer_clear(struct loop *l, struct loop_timer *t);
/* Waits for events and runs callbacks once; timeout_ns UINT64_MAX waits for the next timer.
 * 0 or -errno (never -EINTR). */
int loop_run_once(struct loop *l, uint64_t timeout_ns);
/* The next loop_run_once() looks again and again for so long before it sleeps: waking a sleeping processor takes tens of
 * microseconds. Whoever else is ready to run on this processor goes first. */
void loop_poll(struct loop *l, uint64_t ns);
/* How long the last loop_run_once() waited, polling and asleep. */
uint64_t loop_waited_ns(const struct loop *l);
/* Did that end while it polled? False, too, where something was there at the first look. */
bool loop_polled(const struct loop *l);
/* Makes a running or the next loop_run_once() return promptly. Any thread, also a signal handler. */
void loop_wake(struct loop *l);

#endif
