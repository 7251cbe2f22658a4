/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The applications of one namespace: what starts them from their annotations and stops them with their counts
 * remembered (migrate_hold.c), and their pods. For the leader and for tandemctl; blocking, a thread at a time.
 *
 * All of these may be done again: what is as it should be is left alone.
 */
#ifndef AGENT_APPS_H
#define AGENT_APPS_H

#include "kube.h"

/* Workloads as they are, with apiVersion and kind; those that belong to another one are left out. Appends. */
int apps_list(struct kube *k, const char *ns, struct json *to, struct err *e);
/* The same of those that a migration brought; ns NULL: in all namespaces. */
int apps_list_migrated(struct kube *k, const char *ns, struct json *to, struct err *e);
/* How many of them run, or would by themselves: what its owner suspended is not counted, though apps_stop() marks it. */
int apps_running(struct kube *k, const char *ns, unsigned *ret_n, struct err *e);
/* Stops or starts them all. ret_n: how many were changed. The first error ends it, with the object's name. */
int apps_stop(struct kube *k, const char *ns, unsigned *ret_n, struct err *e);
int apps_start(struct kube *k, const char *ns, unsigned *ret_n, struct err *e);
/* Stops these, as apps_list() gave them; one that was changed since is left as it is. */
int apps_stop_as_read(struct kube *k, const char *ns, const struct json *workloads, unsigned *ret_n,
	struct err *e);

/*
 * A pod that may still write to one of the namespace's volumes: it uses a claim or a directory below `mounts`, and
 * has not ended. 0 with the number of them and words about one.
 */
int apps_pods(struct kube *k, const char *ns, const char *mounts, unsigned *ret_n, char *ret_one,
	size_t size, struct err *e);
/*
 * Takes away pods that were to end and cannot, because their node is not ready or gone. Only behind a fence: they
 * may still run there. ret_n: how many.
 */
int apps_pods_release(struct kube *k, const char *ns, unsigned *ret_n, struct err *e);

/* Pure: is this pod past its time to end, at now_s, and is its node not among the ready ones? */
bool apps_pod_is_stuck(const struct json *pod, const struct json *nodes, int64_t now_s);
/* Pure: does it use a claim, or a directory below `mounts`, and has it not ended? */
bool apps_pod_writes(const struct json *pod, const char *mounts);
/* --- apps_volumes.c --- */

/*
 * The volumes of a namespace, each name once: those of its claims (by the provisioner's word on the claim or its
 * volume, or by the path below `mounts`) and of the paths that its workloads name. Appends. `each` (may be NULL)
 * sees every claim and workload that is read.
 */
int apps_volumes(struct kube *k, const char *ns, const char *mounts, struct json *to,
	void (*each)(void *ctx, const struct json *obj), void *ctx, struct err *e);

/* Pure: the volume of this path below `mounts`; false: it is not there. ret has room for VOLUME_NAME_MAX + 1. */
bool apps_volume_of_path(const char *path, const char *mounts, char *ret);
/* Pure: likewise of a PersistentVolume, by the provisioner's word on it or by its path. */
bool apps_volume_of_pv(const struct json *pv, const char *mounts, char *ret);
/* Pure: appends the volumes that a pod's spec names by a hostPath. */
void apps_volumes_of_pod(const struct json *pod_spec, const char *mounts, struct json *to);

#endif
