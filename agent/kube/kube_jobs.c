/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads with keys. A job raises its flag when it has ended; whoever starts the next one joins those first. The list
 * belongs to the worker's thread, so that nothing but the flags is shared.
 */
#include "kube_jobs.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

struct job {
	struct job *next;
	char *key;
	pthread_t thread;
	atomic_bool ended;
	void (*work)(void *ctx);
	void *ctx;
};

struct kube_jobs {
	struct job *jobs;
	unsigned count;
};

struct kube_jobs *kube_jobs_new(void)
{
	struct kube_jobs *j = calloc(1, sizeof(*j));

	ensure(j);
	return j;
}

/* Those that have ended; all: waits for each. */
static void join(struct kube_jobs *j, bool all)
{
	struct job **at = &j->jobs;

	while (*at) {
		struct job *job = *at;

		if (!all && !atomic_load(&job->ended)) {
			at = &job->next;
			continue;
		}
		*at = job->next;
		j->count--;
		pthread_join(job->thread, NULL);
		free(job->key);
		free(job);
	}
}

void kube_jobs_free(struct kube_jobs *j)
{
	if (!j)
		return;
	join(j, true);
	free(j);
}

static void *job_main(void *arg)
{
	struct job *job = arg;

	job->work(job->ctx);
	atomic_store(&job->ended, true);
	return NULL;
}

int kube_job_start(struct kube_jobs *j, const char *key, void (*work)(void *ctx), void *ctx)
{
	struct job *job;

	join(j, false);
	for (job = j->jobs; job; job = job->next)
		if (!strcmp(job->key, key))
			return -EALREADY;
	if (j->count >= KUBE_JOBS_MAX)
		return -EAGAIN;
	job = calloc(1, sizeof(*job));
	ensure(job);
	job->key = strdup(key);
	ensure(job->key);
	job->work = work;
	job->ctx = ctx;
	if (pthread_create(&job->thread, NULL, job_main, job)) {
		free(job->key);
		free(job);
		return -EAGAIN;
	}
	job->next = j->jobs;
	j->jobs = job;
	j->count++;
	return 0;
}

unsigned kube_jobs_count(struct kube_jobs *j, const char *prefix)
{
	unsigned n = 0;

	join(j, false);
	for (const struct job *job = j->jobs; job; job = job->next)
		n += !strncmp(job->key, prefix, strlen(prefix));
	return n;
}
