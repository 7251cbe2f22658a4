/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Workers. `due` is all that the threads of one share: a watcher raises it, the worker takes it down before it looks,
 * so that what changes meanwhile is looked at once more. A watcher begins without a version, which gives it all
 * objects once: nothing is missed between two watches, and a look too many costs little.
 */
#include "kube_worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "kube_nodes.h"
#include "log.h"

#define WATCH_S 240u
#define STEP_NS (50 * NS_PER_MS) /* of a wait */

struct watcher {
	struct worker *worker;
	const struct kube_kind *kind;
	struct kube *kube;
	pthread_t thread;
};

struct worker {
	const struct worker_work *work;
	struct kube_control control;
	pthread_t thread;
	atomic_bool due;
	unsigned nwatchers;
	struct watcher watchers[WORKER_KINDS_MAX];
};

void kube_pause(const atomic_bool *stop, uint64_t ns)
{
	uint64_t end = clock_mono_ns() + ns, now;

	while (!atomic_load(stop) && (now = clock_mono_ns()) < end) {
		struct timespec t = {.tv_nsec = (long)MIN(end - now, STEP_NS)};

		nanosleep(&t, NULL);
	}
}

struct kube_control control_for_job(const struct kube_control *c)
{
	return (struct kube_control){.config = c->config,
		.kube = kube_copy(c->kube, c->stop),
		.stop = c->stop,
		.lease = c->lease};
}

void control_clear(struct kube_control *job)
{
	nodes_clear(job);
	kube_free(job->kube);
}

static bool may_act(const struct kube_control *c)
{
	return c->lease ? lease_held(c->lease) : !atomic_load(c->stop);
}

bool lease_hold(struct kube_control *c)
{
	if (c->health)
		health_beat(c->health, c->worker);
	return may_act(c);
}

void worker_busy(struct kube_control *c, unsigned ms)
{
	if (c->health)
		health_busy(c->health, c->worker, ms);
}

static bool wake(void *ctx, const char *type, const struct json *obj)
{
	struct watcher *w = ctx;

	if (strcmp(type, "BOOKMARK") != 0)
		atomic_store(&w->worker->due, true);
	return may_act(&w->worker->control);
}

static void *watcher_main(void *arg)
{
	struct watcher *w = arg;
	struct kube_control *c = &w->worker->control;

	while (!atomic_load(c->stop)) {
		struct err e = {0};

		if (!may_act(c) || kube_watch(w->kube, w->kind, NULL, "", WATCH_S, wake, w, &e))
			kube_pause(c->stop, 2 * NS_PER_S);
	}
	return NULL;
}

static void wait_until_due(struct worker *w)
{
	uint64_t end = clock_mono_ns() + w->control.config->kube_interval_ns;

	/* Many changes that come at once are one look. */
	kube_pause(w->control.stop, 2 * STEP_NS);
	while (!atomic_load(&w->due) && !atomic_load(w->control.stop) && clock_mono_ns() < end)
		kube_pause(w->control.stop, STEP_NS);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct kube_control *c = &w->control;
	int last = 0, ret;

	while (!atomic_load(c->stop)) {
		struct err e = {0};

		if (!lease_hold(c)) {
			kube_pause(c->stop, NS_PER_S);
			continue;
		}
		atomic_store(&w->due, false);
		ret = w->work->look(c, &e);
		health_called(c->health, ret);
		if (!ret) {
			if (last)
				log_info("kubernetes: %s: the API answers again", w->work->name);
			last = 0;
			wait_until_due(w);
			continue;
		}
		if (e.code != last && !atomic_load(c->stop))
			log_warn("kubernetes: %s: %s; trying again", w->work->name, e.msg);
		last = e.code;
		kube_pause(c->stop, MIN(c->config->kube_interval_ns, 2 * NS_PER_S));
	}
	return NULL;
}

struct worker *worker_new(const struct worker_work *work, const struct agent_config *c,
	const struct kube_access *a, const struct lease *l, struct kube_health *h,
	const atomic_bool *stop)
{
	struct worker *w = calloc(1, sizeof(*w));

	ensure(w);
	w->work = work;
	w->control = (struct kube_control){.config = c,
		.kube = kube_new("this cluster's API", a, stop),
		.stop = stop,
		.lease = l,
		.health = h,
		.worker = health_worker(h, work->name),
		.jobs = kube_jobs_new(),
		.due = &w->due};
	for (unsigned i = 0; i < WORKER_KINDS_MAX && work->wakes[i]; i++) {
		struct watcher *at = &w->watchers[w->nwatchers++];

		*at = (struct watcher){.worker = w,
			.kind = work->wakes[i],
			.kube = kube_new("this cluster's API", a, stop)};
		ensure(!pthread_create(&at->thread, NULL, watcher_main, at));
	}
	ensure(!pthread_create(&w->thread, NULL, worker_main, w));
	return w;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	pthread_join(w->thread, NULL);
	for (unsigned i = 0; i < w->nwatchers; i++) {
		pthread_join(w->watchers[i].thread, NULL);
		kube_free(w->watchers[i].kube);
	}
	kube_jobs_free(w->control.jobs);
	nodes_clear(&w->control);
	kube_free(w->control.kube);
	free(w);
}
