/* SPDX-License-Identifier: Apache-2.0 */
/* Stops what runs here and was started at the other site, too. */
#ifndef AGENT_KUBE_TWICE_H
#define AGENT_KUBE_TWICE_H

#include "kube_control.h"

/* Begins a job that looks for it, now and then, where a volume is active in another domain. On the thread of the
 * Failovers. */
void twice_look(struct kube_control *c);

/* Pure: by namespace here, [{in, pair, to}] of a list of MigrationSchedules or Migrations: where its objects are copied
 * to by way of which ClusterPair. Of one that starts what it copies there is nothing: that it runs twice is meant.
 * `all`: names of all namespaces, for those that name none. Added to `sources`. */
void twice_sources(
	const struct json *objs, const char *admin, const struct json *all, struct json *sources);
/* Appends the names of all namespaces here. */
int twice_namespaces(struct kube_control *c, struct json *to, struct err *e);
/* Pure: of the workloads here, those that run, that no migration brought, and whose copies by kind and name run
 * there. To be freed. */
struct json *twice_of(const struct json *here, const struct json *there);

#endif
