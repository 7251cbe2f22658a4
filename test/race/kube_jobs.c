/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs and lanes under ThreadSanitizer: jobs of a few keys are started again and again while earlier ones run, of one
 * key one at a time; each runs batches on lanes of its own. Ends with 0 when nothing was reported, every call
 * of a batch was made once, and no key ran twice at once.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "kube_jobs.h"
#include "kube_lanes.h"

#define KEYS 5u
#define ROUNDS 200u
#define CALLS 200u

static const struct kube_access nowhere = {.server = "https://127.0.0.1:1"};
static const atomic_bool stop;
static atomic_uint open_jobs[KEYS], ran;

static void must(bool cond, const char *what)
{
	if (cond)
		return;
	fprintf(stderr, "%s\n", what);
	exit(1);
}

/* Each call has a place of its own; the batch's end is what makes it readable. */
static void count(void *ctx, struct kube *here, struct kube *there, unsigned i)
{
	unsigned *calls = ctx;

	must(here && there && here != there, "a lane without its own connections");
	calls[i]++;
}

static void work(void *ctx)
{
	unsigned key = *(unsigned *)ctx, calls[CALLS] = {0};
	struct kube *k = kube_new("nowhere", &nowhere, &stop);
	struct kube_lanes *lanes = kube_lanes_new(k, k, &stop);

	free(ctx);
	must(atomic_fetch_add(&open_jobs[key], 1) == 0, "a key runs twice");
	for (unsigned i = 0; i < 3; i++)
		kube_lanes_run(lanes, CALLS, count, calls);
	for (unsigned i = 0; i < CALLS; i++)
		must(calls[i] == 3, "a call was left out or made twice");
	kube_lanes_free(lanes);
	kube_free(k);
	atomic_fetch_sub(&open_jobs[key], 1);
	atomic_fetch_add(&ran, 1);
}

int main(void)
{
	struct kube_jobs *jobs = kube_jobs_new();
	unsigned started = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned *ctx = malloc(sizeof(*ctx));
		char key[16];

		must(ctx != NULL, "no memory");
		*ctx = i % KEYS;
		snprintf(key, sizeof(key), "key %u", *ctx);
		if (kube_job_start(jobs, key, work, ctx))
			free(ctx);
		else
			started++;
		must(kube_jobs_count(jobs, "key ") <= KEYS && !kube_jobs_count(jobs, "other"),
			"more jobs than keys");
		usleep(4000);
	}
	kube_jobs_free(jobs);
	must(started >= KEYS && atomic_load(&ran) == started, "a job was lost");
	printf("%u jobs of %u keys\n", started, KEYS);
	return 0;
}
