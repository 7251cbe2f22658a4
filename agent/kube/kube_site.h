/* SPDX-License-Identifier: Apache-2.0 */
/* Whether objects may be copied from this site: that follows from its domain's state, as its nodes tell it. */
#ifndef AGENT_KUBE_SITE_H
#define AGENT_KUBE_SITE_H

#include "kube_control.h"

enum site_state {
	SITE_UNKNOWN, /* no node tells; it may copy, and what runs there is protected by its objects */
	SITE_ACTIVE, /* a volume is active here */
	SITE_STANDBY, /* all are active elsewhere: what is here is old */
	SITE_INACTIVE, /* the domain was left behind */
};

/* Asks the nodes, each for at most timeout_ms, at most once in age_s. */
enum site_state site_look(struct kube_control *c, int64_t age_s, unsigned timeout_ms);
/* By what the nodes said last; asks nobody. */
enum site_state site_of_nodes(const struct kube_control *c);
/* Pure: of one volume's status (NULL: its daemon does not answer) on top of what others said. */
enum site_state site_with(enum site_state before, const struct json *status, const char *domain);
/* For people; "": it may copy. */
const char *site_words(enum site_state s);

#endif
