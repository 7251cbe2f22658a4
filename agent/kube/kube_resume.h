/* SPDX-License-Identifier: Apache-2.0 */
/* A MigrationSchedule that suspends itself because its applications were started in the other cluster, and what takes
 * that back. For the thread of the worker that has `c`. */
#ifndef AGENT_KUBE_RESUME_H
#define AGENT_KUBE_RESUME_H

#include "kube_control.h"

/* Sets spec.suspend for the sake of that run, marks it as the agent's word, tells of it, and makes `schedule` what is
 * there then. -EBUSY: somebody changed it meanwhile. */
int schedule_suspend(struct kube_control *c, struct json *schedule, const char *run, struct err *e);
/* Pure: is it suspended, and has nobody changed its spec since the agent did that? */
bool schedule_is_by_agent(const struct json *schedule);
/* Pure: has the agent taken its last word back? */
bool schedule_is_resumed(const struct json *schedule);
/* Pure: was it suspended for the sake of this run, whoever resumed it? */
bool schedule_is_answered(const struct json *schedule, const char *run);
/* Those which the agent has suspended and need be so no longer go on. Looks at most twice a minute, in jobs. */
void schedules_resume(struct kube_control *c, const struct json *schedules);

#endif
