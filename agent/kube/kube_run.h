/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-agent --kubernetes: what acts on the objects of group tandemfs.dev. A process of its own beside the agents
 * that supervise. Its work is that of a few workers, each a thread with blocking calls: look at all objects of its
 * kinds, decide, act, write the status, wait for the interval or for a change of one of them. What must not wait for a
 * cluster that may be dead (a switch) is another worker's than what may (copying).
 *
 * Everything is done again from the objects: nothing is remembered here, and a run that was killed is started over,
 * which sends only what is missing. Of several processes the holder of the Lease works. The Lease is no fence: two
 * at work would send the same objects.
 *
 * Failure modes: a cluster that does not answer is tried again at each interval, and told of once. What concerns one
 * object is in its status and its Events. Workers do not wait for one another: a ClusterDomainUpdate may activate the
 * domain that a Failover is just fencing. The daemons take one word after the other, and the last one holds; the site
 * that was let in again follows as a standby, and nothing that was acknowledged is lost. A watch that breaks off is begun again with all objects; it only wakes.
 */
#ifndef AGENT_KUBE_RUN_H
#define AGENT_KUBE_RUN_H

#include <stdatomic.h>

#include "agent_config.h"

/* Until *stop. 0, or an error of the configuration before anything was done. */
int kube_run(
	const struct agent_config *c, bool leader_elect, const atomic_bool *stop, struct err *e);

#endif
