/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many calls to two clusters at once: a few threads with connections of their own, which take the calls of a batch one
 * after the other. One thread at a time runs a batch; the connections stay from batch to batch.
 */
#ifndef AGENT_KUBE_LANES_H
#define AGENT_KUBE_LANES_H

#include "kube.h"

#define KUBE_LANES 6u

struct kube_lanes;

/* Copies the connections, of which `there` may be NULL. */
struct kube_lanes *kube_lanes_new(
	const struct kube *here, const struct kube *there, const atomic_bool *stop);
void kube_lanes_free(struct kube_lanes *l); /* NULL is fine */

/* work(ctx, here, there, i) for each i below n, in no order, on several threads; returns when all have been done. */
void kube_lanes_run(struct kube_lanes *l, unsigned n,
	void (*work)(void *ctx, struct kube *here, struct kube *there, unsigned i), void *ctx);

#endif
