/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop. Timers are in a binary heap; a timer knows its slot, so that moving and clearing
 * it is O(log n). When a source is removed while events are being handed out, those fetched for it
 * are struck from the list: its memory may be freed at once.
 *
 * Descriptors go before timers, so that what has arrived counts before a time-out does. A timer that
 * is armed again by its own callback waits for the next round, so a round always ends.
 */
#include "loop.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"

#define EVENTS_MAX 64

struct loop {
	int epoll_fd;
	int wake_fd;
	uint64_t poll_ns; /* of the next wait */
	uint64_t waited_ns; /* in the last one */
	bool polled; /* so it ended */
	bool no_pwait2; /* the kernel or its filter refuses epoll_pwait2(2) */
	struct epoll_event events[EVENTS_MAX]; /* fetched; data.ptr NULL when struck */
	int nevents, at; /* at: the next one to hand out */
	struct loop_timer **heap;
	unsigned ntimers, heap_size;
};

int loop_new(struct loop **ret_loop)
{
	struct epoll_event ev = {.events = EPOLLIN};
	struct loop *l = calloc(1, sizeof(*l));
	int ret;

	if (!l)
		return -ENOMEM;
	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ev.data.ptr = l; /* stands for the wake-up, as no source can have this address */
	if (l->epoll_fd < 0 || l->wake_fd < 0 ||
		epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, l->wake_fd, &ev) < 0) {
		ret = -errno;
		loop_free(l);
		return ret;
	}
	*ret_loop = l;
	return 0;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	if (l->epoll_fd >= 0)
		close(l->epoll_fd);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	for (unsigned i = 0; i < l->ntimers; i++)
		l->heap[i]->slot = 0;
	free(l->heap);
	free(l);
}

int loop_add(struct loop *l, struct loop_source *s)
{
	struct epoll_event ev = {.events = s->events, .data.ptr = s};

	ensure(!s->added);
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, s->fd, &ev) < 0)
		return -errno;
	s->added = true;
	return 0;
}

int loop_modify(struct loop *l, struct loop_source *s, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = s};

	ensure(s->added);
	if (s->events == events)
		return 0;
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, s->fd, &ev) < 0)
		return -errno;
	s->events = events;
	return 0;
}

void loop_remove(struct loop *l, struct loop_source *s)
{
	if (!s->added)
		return;
	/* The descriptor may be closed already, which removed it. */
	epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
	s->added = false;
	for (int i = l->at; i < l->nevents; i++)
		if (l->events[i].data.ptr == s)
			l->events[i].data.ptr = NULL;
}

static void heap_put(struct loop *l, unsigned i, struct loop_timer *t)
{
	l->heap[i] = t;
	t->slot = i + 1;
}

/* Puts t where it belongs, starting from the free place i. */
static void heap_settle(struct loop *l, unsigned i, struct loop_timer *t)
{
	while (i && l->heap[(i - 1) / 2]->at_ns > t->at_ns) {
		heap_put(l, i, l->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	for (;;) {
		unsigned child = 2 * i + 1;

		if (child >= l->ntimers)
			break;
		if (child + 1 < l->ntimers && l->heap[child + 1]->at_ns < l->heap[child]->at_ns)
			child++;
		if (l->heap[child]->at_ns >= t->at_ns)
			break;
		heap_put(l, i, l->heap[child]);
		i = child;
	}
	heap_put(l, i, t);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t at_ns)
{
	unsigned i = t->slot ? t->slot - 1 : l->ntimers;

	if (!t->slot) {
		if (l->ntimers == l->heap_size) {
			l->heap_size = l->heap_size ? 2 * l->heap_size : 64;
			l->heap = reallocarray(l->heap, l->heap_size, sizeof(struct loop_timer *));
			ensure(l->heap);
		}
		l->ntimers++;
	}
	t->at_ns = at_ns;
	heap_settle(l, i, t);
}

void loop_timer_clear(struct loop *l, struct loop_timer *t)
{
	unsigned i = t->slot - 1;
	struct loop_timer *last;

	if (!t->slot)
		return;
	t->slot = 0;
	last = l->heap[--l->ntimers];
	if (last != t)
		heap_settle(l, i, last);
}

static int wait_events(struct loop *l, uint64_t timeout_ns)
{
	uint64_t ms;

	if (!l->no_pwait2) {
		struct timespec ts = {
			.tv_sec = (time_t)(timeout_ns / NS_PER_S),
			.tv_nsec = (long)(timeout_ns % NS_PER_S),
		};
		int n = epoll_pwait2(l->epoll_fd, l->events, EVENTS_MAX,
			timeout_ns == UINT64_MAX ? NULL : &ts, NULL);

		if (n >= 0 || (errno != ENOSYS && errno != EPERM))
			return n;
		l->no_pwait2 = true;
	}
	ms = MIN(timeout_ns / NS_PER_MS + (timeout_ns % NS_PER_MS != 0), 1000u * 3600u);
	return epoll_wait(
		l->epoll_fd, l->events, EVENTS_MAX, timeout_ns == UINT64_MAX ? -1 : (int)ms);
}

/* As wait_events(), with loop_poll()'s time before it. */
static int wait_polling(struct loop *l, uint64_t timeout_ns)
{
	uint64_t begin = clock_mono_ns(), now = begin, poll_ns = MIN(l->poll_ns, timeout_ns);
	int n = 0;

	l->poll_ns = 0;
	l->polled = false;
	while (poll_ns && now - begin < poll_ns) {
		n = wait_events(l, 0);
		if (n) {
			l->polled = now != begin;
			break;
		}
		sched_yield();
		now = clock_mono_ns();
	}
	if (!n)
		n = wait_events(l, timeout_ns == UINT64_MAX
					   ? timeout_ns
					   : timeout_ns - MIN(timeout_ns, now - begin));
	l->waited_ns = clock_mono_ns() - begin;
	return n;
}

void loop_poll(struct loop *l, uint64_t ns)
{
	l->poll_ns = ns;
}

bool loop_polled(const struct loop *l)
{
	return l->polled;
}

uint64_t loop_waited_ns(const struct loop *l)
{
	return l->waited_ns;
}

static void run_timers(struct loop *l)
{
	uint64_t now;
	unsigned n = l->ntimers;

	if (!n)
		return;
	now = clock_mono_ns();
	while (n-- && l->ntimers && l->heap[0]->at_ns <= now) {
		struct loop_timer *t = l->heap[0];

		loop_timer_clear(l, t);
		t->expired(t, now);
	}
}

int loop_run_once(struct loop *l, uint64_t timeout_ns)
{
	int n;

	if (l->ntimers) {
		uint64_t now = clock_mono_ns(), at = l->heap[0]->at_ns;

		timeout_ns = MIN(timeout_ns, at > now ? at - now : 0);
	}
	n = wait_polling(l, timeout_ns);
	if (n < 0 && errno != EINTR)
		return -errno;
	l->nevents = MAX(n, 0);
	for (l->at = 0; l->at < l->nevents;) {
		struct epoll_event *ev = &l->events[l->at++];
		struct loop_source *s = ev->data.ptr;
		uint64_t count;

		if (ev->data.ptr == l) {
			if (read(l->wake_fd, &count, sizeof(count)) < 0)
				continue; /* drained already */
		} else if (s) {
			s->ready(s, ev->events);
		}
	}
	l->nevents = l->at = 0;
	run_timers(l);
	return 0;
}

void loop_wake(struct loop *l)
{
	int saved = errno;
	uint64_t one = 1;

	/* It can only fail when the counter is full, and then the loop wakes up anyway. */
	if (write(l->wake_fd, &one, sizeof(one)) < 0)
		errno = saved;
}
