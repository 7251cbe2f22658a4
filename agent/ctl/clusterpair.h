/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ClusterPair and its Secret, which holds a kubeconfig of the cluster that it leads to: as `generate clusterpair`
 * prints them and `create clusterpair` applies them.
 */
#ifndef AGENT_CTL_CLUSTERPAIR_H
#define AGENT_CTL_CLUSTERPAIR_H

#include <stdio.h>

#include "kube.h"

/* Pure. Both have the same name; the caller's. */
struct json *clusterpair_object(const char *name, const char *ns);
/* `encoded`: under data in base64, as the API keeps it; else under stringData, as people read it. */
struct json *clusterpair_secret(
	const char *name, const char *ns, const struct kube_access *a, bool encoded);
/* From another machine it is reached, too: no loopback address. 0, or -EINVAL with what to do. Pure. */
int clusterpair_check_server(const char *server, struct err *e);
/*
 * What is there under that name (NULL: nothing) may be replaced by a pair that leads to `server`: it is a pair, made like
 * ours, that led there before. 0, or -EEXIST with what to do. Pure.
 */
int clusterpair_check_there(const struct json *pair, const struct json *secret, const char *name,
	const char *server, struct err *e);

/* A new token of that account, asked of `k`, in place of what the caller is in *a. *ret_ends_s: when it ends, 0 when
 * not known. */
int clusterpair_become(struct kube *k, struct kube_access *a, const char *ns, const char *account,
	int64_t *ret_ends_s, struct err *e);

/* Warns of a Secret that has the rights of the one who types at `where`, which is a cluster. */
void clusterpair_warn(FILE *to, const char *where);

#endif
