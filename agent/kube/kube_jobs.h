/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What would keep a worker of kube_run.h waiting for one of several other clusters: each such piece of work is a job, a
 * thread of its own, so that a destination that does not answer holds up nothing but itself. A job has a key, and of one
 * key there is one job at a time: who asks again while it runs is told so, and asks at his next look.
 *
 * All functions are for the worker's thread; a job's `work` runs on the job's.
 */
#ifndef AGENT_KUBE_JOBS_H
#define AGENT_KUBE_JOBS_H

#define KUBE_JOBS_MAX 128u /* at the same time */

struct kube_jobs;

struct kube_jobs *kube_jobs_new(void);
/* Waits for all jobs, which must have been told to stop. NULL is fine. */
void kube_jobs_free(struct kube_jobs *j);

/*
 * Runs work(ctx), which owns ctx, in a thread. 0; -EALREADY one with this key (copied) runs; -EAGAIN too many run.
 * Unless it is 0, ctx stays the caller's.
 */
int kube_job_start(struct kube_jobs *j, const char *key, void (*work)(void *ctx), void *ctx);
/* How many run whose keys begin with that. */
unsigned kube_jobs_count(struct kube_jobs *j, const char *prefix);

#endif
