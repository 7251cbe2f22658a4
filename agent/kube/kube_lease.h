/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which of several processes works: the one whose name is in the Lease. A thread renews it, so that a worker that
 * waits for a cluster does not lose it. Others take it over when it has not changed for its duration by their own
 * clocks, so that clocks of different nodes need not agree.
 */
#ifndef AGENT_KUBE_LEASE_H
#define AGENT_KUBE_LEASE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "agent_config.h"
#include "kube_config.h"
#include "kube_health.h"

struct lease;

/* Begins to ask for it. Borrows all, until lease_free(); *stop ends the asking. */
struct lease *lease_new(const struct agent_config *c, const struct kube_access *a,
	struct kube_health *h, const atomic_bool *stop);
/* May this process act (any longer)? Cheap; any thread. */
bool lease_held(const struct lease *l);
/* After *stop: gives it back, so that another need not wait. NULL is fine. */
void lease_free(struct lease *l);

#endif
