/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl generate clusterpair: typed where the destination's API is reached; prints what is applied on the source: a
 * ClusterPair, and the Secret with a kubeconfig of this cluster. With --service-account the kubeconfig has a new
 * token of that account, and nothing of the one who typed it.
 */
#include <string.h>

#include "clusterpair.h"
#include "ctl.h"

/* The account's token in place of what the caller is. */
static int become(struct kube_access *a, const char *ns, const char *account, struct err *e)
{
	struct kube *k = kube_new("the destination's API", a, NULL);
	int64_t ends_s;
	int ret = clusterpair_become(k, a, ns, account, &ends_s, e);

	kube_free(k);
	return ret;
}

static void print(const struct ctl *c, const char *name, const struct kube_access *a)
{
	struct json *pair = clusterpair_object(name, c->ns),
		    *secret = clusterpair_secret(name, c->ns, a, false);

	ctl_print_yaml(c->out, pair);
	fputs("---\n", c->out);
	ctl_print_yaml(c->out, secret);
	json_free(pair);
	json_free(secret);
}

int cmd_generate(struct ctl *c, unsigned nargs, const char *const *args)
{
	struct kube_access a = {0};
	struct err e = {0};
	char buf[4200];
	int ret;

	if (!strcmp(args[0], "spec")) {
		ret = ctl_refuse(c, "generate", "spec",
			"--run-dir --timeout --namespace --kubeconfig --service-account");
		return ret ? ret : cmd_generate_spec(c, nargs - 1, args + 1);
	}
	if (strcmp(args[0], "clusterpair"))
		return ctl_usage_error(
			c, "generate", "'%s': what is generated are clusterpair and spec", args[0]);
	if (nargs != 2)
		return ctl_usage_error(c, "generate", "a ClusterPair has one name");
	if (!c->ns || !*c->ns)
		return ctl_usage_error(
			c, "generate", "--namespace is missing: whose objects are to be copied");
	ret = ctl_refuse(c, "generate", "clusterpair", "--run-dir --timeout --config-dir");
	if (ret)
		return ret;
	ret = kube_access_load(ctl_kubeconfig(c, buf, sizeof(buf)), &a, &e);
	if (!ret && c->service_account)
		ret = become(&a, c->ns, c->service_account, &e);
	if (!ret && !c->service_account)
		clusterpair_warn(c->err, "this cluster");
	if (!ret)
		print(c, args[1], &a);
	kube_access_clear(&a);
	return ret ? ctl_fail(c, "%s", e.msg) : CTL_OK;
}
