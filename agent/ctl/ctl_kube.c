/* SPDX-License-Identifier: Apache-2.0 */
/* tandemctl as a client of Kubernetes, also as `kubectl tandem`. */
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "kube.h"

const char *ctl_kubeconfig(const struct ctl *c, char *buf, size_t size)
{
	const char *path = getenv("KUBECONFIG"), *home = getenv("HOME");

	if (c->kubeconfig)
		return c->kubeconfig;
	if (path && *path)
		return path;
	snprintf(buf, size, "%s/.kube/config", home ? home : "");
	return buf;
}

int ctl_kube_open(struct ctl *c, struct kube **ret_k, char **ret_ns)
{
	struct kube_access a = {0};
	struct err e = {0};
	char buf[4200];

	if (kube_access_load(ctl_kubeconfig(c, buf, sizeof(buf)), &a, &e))
		return ctl_fail(c, "%s", e.msg);
	*ret_k = kube_new("the cluster's API", &a, NULL);
	if (ret_ns) {
		*ret_ns = strdup(c->ns && *c->ns ? c->ns : a.ns && *a.ns ? a.ns : "default");
		ensure(*ret_ns);
	}
	kube_access_clear(&a);
	return CTL_OK;
}
