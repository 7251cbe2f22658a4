/* SPDX-License-Identifier: Apache-2.0 */
/* The event loop: timers in order, removal from within callbacks, waking up from outside. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "loop.h"

static struct loop *loop;
static unsigned calls;

static void setup(void)
{
	cr_assert(zero(int, loop_new(&loop)));
	calls = 0;
}

static void teardown(void)
{
	loop_free(loop);
}

TestSuite(loop, .init = setup, .fini = teardown);

struct numbered {
	struct loop_timer t;
	unsigned n;
};

static unsigned fired[256], nfired;

static void note(struct loop_timer *t, uint64_t now)
{
	cr_assert(le(u64, t->at_ns, now));
	fired[nfired++] = container_of(t, struct numbered, t)->n;
}

Test(loop, timers_fire_in_the_order_of_their_time_and_never_early)
{
	struct numbered timers[200];
	uint64_t start = clock_mono_ns();

	memset(timers, 0, sizeof(timers));
	nfired = 0;
	for (unsigned i = 0; i < 200; i++) {
		timers[i].n = i * 73 % 200;
		timers[i].t.expired = note;
		loop_timer_set(loop, &timers[i].t, start + timers[i].n * 50000ull);
	}
	/* Every third is cleared, every fifth is moved behind all others. */
	for (unsigned i = 0; i < 200; i++) {
		if (timers[i].n % 3 == 0)
			loop_timer_clear(loop, &timers[i].t);
		else if (timers[i].n % 5 == 0)
			loop_timer_set(loop, &timers[i].t, start + (200 + timers[i].n) * 50000ull);
	}
	while (nfired < 133)
		cr_assert(zero(int, loop_run_once(loop, UINT64_MAX)));
	cr_assert(ge(u64, clock_mono_ns(), start + 390 * 50000ull));
	for (unsigned i = 1; i < nfired; i++) {
		unsigned a = fired[i - 1] + (fired[i - 1] % 5 ? 0 : 200);
		unsigned b = fired[i] + (fired[i] % 5 ? 0 : 200);

		cr_assert(lt(uint, a, b));
		cr_assert(ne(uint, fired[i] % 3, 0));
	}
	loop_run_once(loop, 0);
	cr_assert(eq(uint, nfired, 133));
}

static void again(struct loop_timer *t, uint64_t now)
{
	calls++;
	loop_timer_set(loop, t, 0);
}

Test(loop, a_timer_that_arms_itself_in_the_past_does_not_hold_the_round)
{
	struct loop_timer t = {.expired = again};

	loop_timer_set(loop, &t, 0);
	cr_assert(zero(int, loop_run_once(loop, UINT64_MAX)));
	cr_assert(eq(uint, calls, 1));
	cr_assert(zero(int, loop_run_once(loop, UINT64_MAX)));
	cr_assert(eq(uint, calls, 2));
	loop_timer_clear(loop, &t);
	cr_assert(zero(uint, t.slot));
}

static struct loop_source *sources[2];

static void remove_both(struct loop_source *s, uint32_t events)
{
	calls++;
	for (unsigned i = 0; i < 2; i++) {
		close(sources[i]->fd);
		loop_remove(loop, sources[i]);
		free(sources[i]);
	}
}

Test(loop, a_source_removed_and_freed_by_another_callback_is_not_called)
{
	for (unsigned i = 0; i < 2; i++) {
		int fds[2];

		cr_assert(zero(int, pipe(fds)));
		cr_assert(eq(int, (int)write(fds[1], "x", 1), 1));
		close(fds[1]);
		sources[i] = calloc(1, sizeof(struct loop_source));
		sources[i]->fd = fds[0];
		sources[i]->events = EPOLLIN;
		sources[i]->ready = remove_both;
		cr_assert(zero(int, loop_add(loop, sources[i])));
	}
	cr_assert(zero(int, loop_run_once(loop, UINT64_MAX)));
	cr_assert(eq(uint, calls, 1));
	cr_assert(zero(int, loop_run_once(loop, 0)));
	cr_assert(eq(uint, calls, 1));
}

static void drain(struct loop_source *s, uint32_t events)
{
	char c;

	calls++;
	cr_assert(not(zero(int, (int)(events & EPOLLIN))));
	cr_assert(eq(int, (int)read(s->fd, &c, 1), 1));
}

Test(loop, events_of_a_source_can_be_changed)
{
	struct loop_source s = {.events = 0, .ready = drain};
	int fds[2];

	cr_assert(zero(int, pipe(fds)));
	s.fd = fds[0];
	cr_assert(zero(int, loop_add(loop, &s)));
	cr_assert(eq(int, (int)write(fds[1], "x", 1), 1));
	cr_assert(zero(int, loop_run_once(loop, 0)));
	cr_assert(zero(uint, calls));
	cr_assert(zero(int, loop_modify(loop, &s, EPOLLIN)));
	cr_assert(zero(int, loop_run_once(loop, 0)));
	cr_assert(eq(uint, calls, 1));
	loop_remove(loop, &s);
	loop_remove(loop, &s); /* harmless */
	close(fds[0]);
	close(fds[1]);
}

Test(loop, a_descriptor_that_cannot_be_polled_is_an_error)
{
	struct loop_source s = {.fd = -1, .events = EPOLLIN, .ready = drain};

	cr_assert(eq(int, loop_add(loop, &s), -EBADF));
	cr_assert(not(s.added));
}

static void *waker(void *arg)
{
	usleep(20000);
	loop_wake(loop);
	return NULL;
}

Test(loop, waking_from_another_thread_ends_the_wait_once)
{
	uint64_t start = clock_mono_ns();
	pthread_t t;

	cr_assert(zero(int, pthread_create(&t, NULL, waker, NULL)));
	cr_assert(zero(int, loop_run_once(loop, 10 * NS_PER_S)));
	cr_assert(lt(u64, clock_mono_ns() - start, 5 * NS_PER_S));
	pthread_join(t, NULL);
	start = clock_mono_ns();
	cr_assert(zero(int, loop_run_once(loop, 20 * NS_PER_MS)));
	cr_assert(ge(u64, clock_mono_ns() - start, 20 * NS_PER_MS));
}

Test(loop, polling_ends_in_time_and_sees_what_comes)
{
	struct numbered t = {.t.expired = note};
	uint64_t start = clock_mono_ns();
	bool polled = false;
	pthread_t waking;

	nfired = 0;
	loop_poll(loop, 10 * NS_PER_S); /* a timer ends it */
	loop_timer_set(loop, &t.t, start + 200 * NS_PER_MS);
	while (!nfired)
		cr_assert(zero(int, loop_run_once(loop, UINT64_MAX)));
	cr_assert(lt(u64, clock_mono_ns() - start, 5 * NS_PER_S));
	cr_assert(ge(u64, loop_waited_ns(loop), NS_PER_MS));
	loop_wake(loop);
	loop_poll(loop, 3600 * NS_PER_S);
	cr_assert(zero(int, loop_run_once(loop, UINT64_MAX)));
	cr_assert(not(loop_polled(loop)), "it was there at the first look");
	for (unsigned i = 0; i < 50 && !polled; i++) { /* the other thread may be faster */
		cr_assert(zero(int, pthread_create(&waking, NULL, waker, NULL)));
		loop_poll(loop, 3600 * NS_PER_S);
		cr_assert(zero(int, loop_run_once(loop, UINT64_MAX)));
		pthread_join(waking, NULL);
		polled = loop_polled(loop);
	}
	cr_assert(polled);
	loop_poll(loop, NS_PER_MS); /* and sleeps then, as long as it may */
	start = clock_mono_ns();
	cr_assert(zero(int, loop_run_once(loop, 4 * NS_PER_MS)));
	cr_assert(ge(u64, clock_mono_ns() - start, 4 * NS_PER_MS));
	cr_assert(ge(u64, loop_waited_ns(loop), 4 * NS_PER_MS));
	cr_assert(not(loop_polled(loop)));
	cr_assert(zero(int, pthread_create(&waking, NULL, waker, NULL)));
	cr_assert(zero(int, loop_run_once(loop, UINT64_MAX)));
	pthread_join(waking, NULL);
	cr_assert(not(loop_polled(loop)), "nobody said to poll");
}
