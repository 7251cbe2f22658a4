/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shell's command in a container, over a WebSocket to the API server. Blocking.
 *
 * 0 when it ended with status 0; its status, 1 to 255, with its last words; -ETIMEDOUT: it was told to end (TERM), and
 * an error as of kube.h where it could not be run or not be followed to its end.
 */
#ifndef AGENT_KUBE_EXEC_H
#define AGENT_KUBE_EXEC_H

#include "kube.h"

/* container NULL or "": the pod's first one. */
int kube_exec(struct kube *k, const char *ns, const char *pod, const char *container,
	const char *command, unsigned timeout_ms, struct err *e);
/* Begins it and leaves it running; *ret_pid is for the other one, which ends it. */
int kube_exec_begin(struct kube *k, const char *ns, const char *pod, const char *container,
	const char *command, unsigned timeout_ms, long *ret_pid, struct err *e);
int kube_exec_end(struct kube *k, const char *ns, const char *pod, const char *container, long pid,
	struct err *e);

#endif
