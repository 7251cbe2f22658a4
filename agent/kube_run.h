/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-agent --kubernetes: what acts on the objects of group tandemfs.dev. A process of its own beside the agents
 * that supervise, with one thread and blocking calls: list, decide, act, write the status, wait for the interval or
 * for a new Migration.
 *
 * Everything is done again from the objects: nothing is remembered here, and a run that was killed is started over,
 * which sends only what is missing. Of several processes the holder of the Lease works. The Lease is no fence: two
 * at work would send the same objects.
 *
 * Failure modes: a cluster that does not answer is tried again at each interval, and told of once. What concerns one
 * object is in its status and its Events.
 */
#ifndef AGENT_KUBE_RUN_H
#define AGENT_KUBE_RUN_H

#include <stdatomic.h>

#include "agent_config.h"

/* Until *stop. 0, or an error of the configuration before anything was done. */
int kube_run(
	const struct agent_config *c, bool leader_elect, const atomic_bool *stop, struct err *e);

#endif
