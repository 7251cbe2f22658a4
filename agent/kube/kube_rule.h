/* SPDX-License-Identifier: Apache-2.0 */
/* Rules: commands in pods before and after something else. */
#ifndef AGENT_KUBE_RULE_H
#define AGENT_KUBE_RULE_H

#include "kube_control.h"

/*
 * Follows the Rule of this name in the namespace `ns` of this cluster, in the pods of namespace `pods_ns` of `where`
 * (NULL: this cluster, too).
 * Blocking, for as long as its commands take. 0; -EAGAIN: before something (`pre`) never, after it: a pod that is
 * named does not run yet, and nothing was done; -ENOENT: there is no such Rule; else the first command's error that
 * counts, with the pod's name.
 */
int rules_run(struct kube_control *c, struct kube *where, const char *ns, const char *pods_ns,
	const char *rule, bool pre, struct err *e);

/* Pure: can this Rule be followed? 0; -EINVAL with what is wrong. */
int rule_check(const struct json *rule, struct err *e);

#endif
