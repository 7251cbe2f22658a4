/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads for the loop. A finished task raises a flag of its own and writes to one eventfd; the loop then
 * joins every thread whose flag is up.
 */
#include "task.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check.h"

#define TASKS_MAX 48u

struct task {
	struct tasks *tasks;
	struct task *next;
	pthread_t thread;
	atomic_bool finished;
	void (*work)(void *ctx, const atomic_bool *stop);
	void (*done)(void *ctx);
	void *ctx;
};

struct tasks {
	struct loop *loop;
	struct loop_source source;
	struct task *open;
	unsigned count;
	atomic_bool stop;
};

static void *task_main(void *arg)
{
	struct task *t = arg;
	int fd = t->tasks->source.fd;
	uint64_t one = 1;

	t->work(t->ctx, &t->tasks->stop);
	atomic_store(&t->finished, true);
	ensure(write(fd, &one, sizeof(one)) == sizeof(one));
	return NULL;
}

static void take_in(struct tasks *all, struct task *t)
{
	void (*done)(void *ctx) = t->done;
	void *ctx = t->ctx;

	for (struct task **at = &all->open; *at; at = &(*at)->next) {
		if (*at == t) {
			*at = t->next;
			break;
		}
	}
	all->count--;
	pthread_join(t->thread, NULL);
	free(t);
	done(ctx);
}

static struct task *find_finished(struct tasks *all)
{
	for (struct task *t = all->open; t; t = t->next)
		if (atomic_load(&t->finished))
			return t;
	return NULL;
}

static void ready(struct loop_source *s, uint32_t events)
{
	struct tasks *all = container_of(s, struct tasks, source);
	struct task *t;
	uint64_t n;

	if (read(s->fd, &n, sizeof(n)) != sizeof(n))
		return;
	while ((t = find_finished(all)))
		take_in(all, t);
}

struct tasks *tasks_new(struct loop *l)
{
	struct tasks *all = calloc(1, sizeof(*all));

	ensure(all);
	all->loop = l;
	all->source = (struct loop_source){.events = EPOLLIN, .ready = ready};
	all->source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ensure(all->source.fd >= 0);
	ensure(loop_add(l, &all->source) == 0);
	return all;
}

void tasks_free(struct tasks *all)
{
	if (!all)
		return;
	atomic_store(&all->stop, true);
	while (all->open)
		take_in(all, all->open);
	loop_remove(all->loop, &all->source);
	close(all->source.fd);
	free(all);
}

int task_start(struct tasks *all, void (*work)(void *ctx, const atomic_bool *stop),
	void (*done)(void *ctx), void *ctx)
{
	struct task *t;

	if (all->count >= TASKS_MAX || atomic_load(&all->stop))
		return -EAGAIN;
	t = calloc(1, sizeof(*t));
	ensure(t);
	t->tasks = all;
	t->work = work;
	t->done = done;
	t->ctx = ctx;
	if (pthread_create(&t->thread, NULL, task_main, t)) {
		free(t);
		return -EAGAIN;
	}
	t->next = all->open;
	all->open = t;
	all->count++;
	return 0;
}
