/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes. The next call of the batch is the one number that threads share; where no thread can be made, one does all. */
#include "kube_lanes.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "check.h"

struct lane {
	struct kube_lanes *lanes;
	struct kube *here, *there;
	pthread_t thread;
};

struct kube_lanes {
	struct lane lanes[KUBE_LANES];
	/* the batch */
	atomic_uint next;
	unsigned n;
	void (*work)(void *ctx, struct kube *here, struct kube *there, unsigned i);
	void *ctx;
};

struct kube_lanes *kube_lanes_new(
	const struct kube *here, const struct kube *there, const atomic_bool *stop)
{
	struct kube_lanes *l = calloc(1, sizeof(*l));

	ensure(l);
	for (unsigned i = 0; i < KUBE_LANES; i++)
		l->lanes[i] = (struct lane){.lanes = l,
			.here = kube_copy(here, stop),
			.there = there ? kube_copy(there, stop) : NULL};
	return l;
}

void kube_lanes_free(struct kube_lanes *l)
{
	if (!l)
		return;
	for (unsigned i = 0; i < KUBE_LANES; i++) {
		kube_free(l->lanes[i].here);
		kube_free(l->lanes[i].there);
	}
	free(l);
}

static void *lane_main(void *arg)
{
	struct lane *lane = arg;
	struct kube_lanes *l = lane->lanes;
	unsigned i;

	while ((i = atomic_fetch_add(&l->next, 1)) < l->n)
		l->work(l->ctx, lane->here, lane->there, i);
	return NULL;
}

void kube_lanes_run(struct kube_lanes *l, unsigned n,
	void (*work)(void *ctx, struct kube *here, struct kube *there, unsigned i), void *ctx)
{
	unsigned made = 1;

	atomic_store(&l->next, 0);
	l->n = n;
	l->work = work;
	l->ctx = ctx;
	while (made < KUBE_LANES && made < n &&
		!pthread_create(&l->lanes[made].thread, NULL, lane_main, &l->lanes[made]))
		made++;
	lane_main(&l->lanes[0]);
	while (--made)
		pthread_join(l->lanes[made].thread, NULL);
}
