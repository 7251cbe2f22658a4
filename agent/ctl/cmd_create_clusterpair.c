/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl create clusterpair: with a kubeconfig of each cluster, a ClusterPair on each that leads to the other one, or
 * (--unidirectional) on the source alone.
 *
 * Everything is checked before anything is written: both clusters answer, are two, have the namespace; each gives a token
 * of its account; and each takes both objects, which the API says without writing them (a dry run: of the rights, of the
 * kind's definition, of the objects). An interruption between the writes leaves pairs of which each is whole or lacks its
 * Secret, which its status says; the command is typed again, and what is there gets a new token.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clusterpair.h"
#include "ctl.h"

#define MANAGER "tandemctl"

static const struct kube_kind kind_namespace =
	KUBE_KIND("", "v1", "Namespace", "namespaces", false);
static const struct kube_kind kind_secret = KUBE_KIND("", "v1", "Secret", "secrets", true);
static const struct kube_kind kind_pair =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "ClusterPair", "clusterpairs", true);

struct side {
	const char *path; /* of the kubeconfig of whoever types */
	char what[160]; /* for messages */
	struct kube *k; /* as whom that is */
	struct kube_access given; /* what the other cluster gets */
	int64_t ends_s; /* of the token in it; 0: not known, or none */
	struct json *namespace; /* as it is there */
	bool writes, again; /* a pair is made here; one was there */
};

static void side_clear(struct side *s)
{
	kube_free(s->k);
	kube_access_clear(&s->given);
	json_free(s->namespace);
}

static int side_open(struct side *s, const char *word, struct err *e)
{
	if (kube_access_load(s->path, &s->given, e))
		return err_wrap(e, "the %s", word);
	snprintf(s->what, sizeof(s->what), "the %s (%.120s)", word, s->given.server);
	s->k = kube_new(s->what, &s->given, NULL);
	return 0;
}

/* --- the checks --- */

static int look(struct side *s, const char *ns, struct err *e)
{
	int ret = kube_get(s->k, &kind_namespace, NULL, ns, &s->namespace, e);

	if (ret == -ENOENT)
		return err_set(e, ret,
			"%s: it has no namespace '%s': 'kubectl create namespace %s' there first",
			s->what, ns, ns);
	return ret;
}

static const char *uid_of(const struct side *s)
{
	return json_get_string(json_get(s->namespace, "metadata"), "uid", "");
}

static int give(struct side *s, const char *ns, const char *account, struct err *e)
{
	int ret = clusterpair_check_server(s->given.server, e);

	if (ret)
		return err_wrap(e, "%s", s->what);
	if (!account)
		return 0;
	ret = clusterpair_become(s->k, &s->given, ns, account, &s->ends_s, e);
	if (ret == -ENOENT)
		return err_set(e, ret,
			"%s: it has no ServiceAccount '%s' in namespace '%s': 'kubectl -n %s "
			"create serviceaccount %s' there first, and give it the rights",
			s->what, account, ns, ns, account);
	return ret;
}

/* Or NULL; absence is no error. */
static int get_if_there(struct side *s, const struct kube_kind *kind, const char *ns,
	const char *name, struct json **ret_obj, struct err *e)
{
	int ret = kube_get(s->k, kind, ns, name, ret_obj, e);

	return ret == -ENOENT ? 0 : ret;
}

static int apply(struct side *s, const struct side *to, const char *name, const char *ns,
	unsigned flags, struct err *e)
{
	struct json *pair = clusterpair_object(name, ns),
		    *secret = clusterpair_secret(name, ns, &to->given, true);
	int ret = kube_apply(s->k, &kind_secret, secret, MANAGER, flags | KUBE_FORCE, NULL, e);

	if (!ret)
		ret = kube_apply(s->k, &kind_pair, pair, MANAGER, flags | KUBE_FORCE, NULL, e);
	if (ret == -ENOENT)
		err_set(e, ret,
			"%s: it does not know the kind ClusterPair: 'kubectl apply -k "
			"k8s-manifests/base' there first",
			s->what);
	json_free(pair);
	json_free(secret);
	return ret;
}

static int try(
	struct side *s, const struct side *to, const char *name, const char *ns, struct err *e)
{
	struct json *pair = NULL, *secret = NULL;
	int ret = get_if_there(s, &kind_pair, ns, name, &pair, e);

	if (!ret)
		ret = get_if_there(s, &kind_secret, ns, name, &secret, e);
	if (!ret && clusterpair_check_there(pair, secret, name, to->given.server, e))
		ret = err_wrap(e, "%s", s->what);
	if (!ret)
		ret = apply(s, to, name, ns, KUBE_DRY_RUN, e);
	s->again = pair && secret;
	json_free(pair);
	json_free(secret);
	return ret;
}

static int check(struct ctl *c, struct side *from, struct side *to, const char *name, struct err *e)
{
	int ret = side_open(from, "source", e);

	if (!ret)
		ret = side_open(to, "destination", e);
	if (!ret)
		ret = look(from, c->ns, e);
	if (!ret)
		ret = look(to, c->ns, e);
	if (!ret && !strcmp(uid_of(from), uid_of(to)))
		ret = err_set(e, -EINVAL,
			"'%.80s' and '%.80s' lead to the same cluster: a pair is of two",
			from->path, to->path);
	if (!ret)
		ret = give(to, c->ns, c->service_account, e);
	if (!ret && to->writes)
		ret = give(from, c->ns, c->service_account, e);
	if (!ret)
		ret = try(from, to, name, c->ns, e);
	if (!ret && to->writes)
		ret = try(to, from, name, c->ns, e);
	return ret;
}

/* --- */

static int make(struct ctl *c, struct side *s, const struct side *to, const char *name)
{
	struct err e = {0};
	char ends[21];

	if (apply(s, to, name, c->ns, 0, &e))
		return ctl_fail(c, "%s: type it again when that is mended", e.msg);
	fprintf(c->out, "%s: ClusterPair '%s/%s' %s, with its Secret: to %s as ", s->what, c->ns,
		name, s->again ? "is renewed" : "is made", to->given.server);
	kube_time(to->ends_s, ends);
	if (!c->service_account) {
		fprintf(c->out, "who is in '%s'\n", to->path);
		clusterpair_warn(c->err, to->what);
	} else if (to->ends_s) {
		fprintf(c->out, "ServiceAccount '%s', until %s\n", c->service_account, ends);
	} else {
		fprintf(c->out, "ServiceAccount '%s'\n", c->service_account);
	}
	return CTL_OK;
}

int cmd_create_clusterpair(struct ctl *c, const char *name)
{
	struct side from = {.path = c->src_kubeconfig, .writes = true},
		    to = {.path = c->dest_kubeconfig, .writes = !c->unidirectional};
	struct err e = {0};
	int status = ctl_refuse(c, "create", "clusterpair",
		"--run-dir --timeout --kubeconfig --size --ack --holder --no-holder --mode --owner "
		"--peer-node --cluster-pair --migration-schedule --include-namespaces "
		"--exclude-namespaces --skip-source-operations --dry-run --wait --no-wait "
		"--output");

	if (status)
		return status;
	if (!c->ns || !*c->ns)
		return ctl_usage_error(
			c, "create", "--namespace is missing: whose objects are to be copied");
	if (!from.path || !to.path)
		return ctl_usage_error(c, "create",
			"%s FILE is missing: who one is on the cluster that %s",
			from.path ? "--dest-kubeconfig" : "--src-kubeconfig",
			from.path ? "is copied to" : "is copied from");
	if (check(c, &from, &to, name, &e))
		status = ctl_fail(c, "%s; nothing was changed", e.msg);
	if (!status)
		status = make(c, &from, &to, name);
	if (!status && to.writes)
		status = make(c, &to, &from, name);
	if (!status)
		fprintf(c->out,
			"'tandemctl get clusterpairs -n %s' with each kubeconfig tells whether it "
			"is Ready\n",
			c->ns);
	side_clear(&from);
	side_clear(&to);
	return status;
}
