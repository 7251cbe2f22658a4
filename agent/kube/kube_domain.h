/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker of the domains: the start-up taint and the label of the nodes, ClusterDomainUpdate, ClusterDomainsStatus.
 * It speaks to the agents of this site's nodes and to nobody at the other one.
 */
#ifndef AGENT_KUBE_DOMAIN_H
#define AGENT_KUBE_DOMAIN_H

#include "kube_control.h"

extern const struct kube_kind kind_domain_update, kind_domains_status;

int domains_look(struct kube_control *c, struct err *e);

/* kube_mark.c: of c->nodes. */
int marks_look(struct kube_control *c, struct err *e);
/* kube_update.c: of c->nodes. *ret_acted: something was said to volumes. */
int updates_look(struct kube_control *c, bool *ret_acted, struct err *e);

#endif
