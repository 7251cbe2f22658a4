/* SPDX-License-Identifier: Apache-2.0 */
/* Stops the applications of a site that was left behind and has come back. */
#ifndef AGENT_KUBE_RETURN_H
#define AGENT_KUBE_RETURN_H

#include "kube_control.h"

enum return_word {
	RETURN_LEAVE, /* it is not known, or is no business of ours */
	RETURN_MIXED, /* another volume of it is active here */
	RETURN_ELSEWHERE, /* all are active in others, and this domain counts */
	RETURN_STOP,
};

/* Looks at all namespaces with volumes while this site's domain is inactive. On the thread of the Failovers, while none
 * of them is under way. An error is about this cluster's API. */
int returned_look(struct kube_control *c, struct err *e);

/* Pure: of the statuses of a namespace's volumes here; an empty object is one that is not known. */
enum return_word return_judge(const struct json *statuses, const char *domain);
/* The same by what the nodes said last of these volumes. */
enum return_word return_judge_volumes(struct kube_control *c, const struct json *volumes);

/* Tells of a namespace, in the log and by an Event about it. */
void return_tell(struct kube_control *c, const char *ns, const char *reason, const char *text);

#endif
