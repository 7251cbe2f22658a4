/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that looks at objects again and again, and others that wake it when one of them changes. */
#ifndef AGENT_KUBE_WORKER_H
#define AGENT_KUBE_WORKER_H

#include "kube_control.h"

#define WORKER_KINDS_MAX 6

/* What a worker does; static. */
struct worker_work {
	const char *name; /* for the log */
	/* One look at everything. An error is about this cluster as a whole. */
	int (*look)(struct kube_control *c, struct err *e);
	const struct kube_kind *wakes[WORKER_KINDS_MAX]; /* NULL after the last */
};

struct worker;

/* All are borrowed until worker_free(); `lease` may be NULL. */
struct worker *worker_new(const struct worker_work *w, const struct agent_config *c,
	const struct kube_access *a, const struct lease *l, struct kube_health *h,
	const atomic_bool *stop);
/* After *stop: waits for its threads. NULL is fine. */
void worker_free(struct worker *w);

#endif
