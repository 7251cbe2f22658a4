/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failover objects, carried out by the leader: a thread watches for them, and each one that has not ended has a
 * thread of its own, with its own connections, so that one that waits for pods keeps nobody waiting. What is to be
 * done next is switch.h's; what was done is in the status, from which the next leader goes on.
 *
 * All here but the three functions below runs in those threads. Shared with the loop is one word: whether this
 * process leads. When it does not any more, calls that are open end and the threads are joined.
 */
#ifndef AGENT_KUBE_FAILOVER_H
#define AGENT_KUBE_FAILOVER_H

#include "agent_config.h"
#include "kube_config.h"

struct failovers;

/* Borrows both until failovers_free(). */
struct failovers *failovers_new(const struct agent_config *c, const struct kube_access *a);
/* Cheap; to be called often. */
void failovers_lead(struct failovers *f, bool leading);
void failovers_free(struct failovers *f);

#endif
