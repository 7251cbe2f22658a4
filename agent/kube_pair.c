/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ClusterPair: whether the other cluster answers, and whether we may do there what copying needs. The kubeconfig
 * comes from a Secret in the pair's namespace, or is written out in the object, which a condition warns of.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_control.h"
#include "kube_impl.h"
#include "log.h"

#define LOOK_S 60 /* between two looks at a pair that is as it was */

const struct kube_kind kind_pair =
	KUBE_KIND("tandemfs.dev", "v1alpha1", "ClusterPair", "clusterpairs", true);
const struct kube_kind kind_secret = KUBE_KIND("", "v1", "Secret", "secrets", true);

static int from_secret(struct kube_control *c, const char *ns, const struct json *ref,
	struct kube_access *ret, struct err *e)
{
	const char *name = json_get_string(ref, "name", ""), *key, *data;
	struct json *secret = NULL;
	char *text;
	int r = kube_get(c->kube, &kind_secret, ns, name, &secret, e);

	if (r)
		return err_wrap(e, "Secret '%s'", name);
	key = json_get_string(ref, "key", "kubeconfig");
	data = json_get_string(json_get(secret, "data"), key, NULL);
	text = data ? kube_base64(data) : NULL;
	if (text)
		r = kube_access_parse(text, strlen(text), false, ret, e);
	else
		r = err_set(e, -EINVAL, "it has no text under the key '%s'", key);
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
	json_free(secret);
	return r ? err_wrap(e, "Secret '%s'", name) : 0;
}

static int open_pair(
	struct kube_control *c, const struct json *pair, struct kube **ret, struct err *e)
{
	const struct json *spec = json_get(pair, "spec"), *ref = json_get(spec, "secretRef");
	struct kube_access a = {0};
	char what[300];
	int r;

	if (ref)
		r = from_secret(c, meta_of(pair, "namespace"), ref, &a, e);
	else
		r = kube_access_from(json_get(spec, "config"), false, &a, e);
	if (r)
		return r;
	snprintf(what, sizeof(what), "the cluster of ClusterPair '%.200s'", meta_of(pair, "name"));
	*ret = kube_new(what, &a, c->stop);
	kube_access_clear(&a);
	return 0;
}

int pair_open(
	struct kube_control *c, const char *ns, const char *name, struct kube **ret, struct err *e)
{
	struct json *pair = NULL;
	int r = kube_get(c->kube, &kind_pair, ns, name, &pair, e);

	if (!r)
		r = open_pair(c, pair, ret, e);
	json_free(pair);
	return r ? err_wrap(e, "ClusterPair '%s'", name) : 0;
}

/* The right that copying a Deployment needs. */
static int may_copy(struct kube *to, const char *ns, struct err *e)
{
	struct json *review = json_object(), *spec = json_object(), *what = json_object(),
		    *answer = NULL;
	int r;

	json_set_string(what, "namespace", ns);
	json_set_string(what, "verb", "patch");
	json_set_string(what, "group", "apps");
	json_set_string(what, "resource", "deployments");
	json_set(spec, "resourceAttributes", what);
	json_set_string(review, "apiVersion", "authorization.k8s.io/v1");
	json_set_string(review, "kind", "SelfSubjectAccessReview");
	json_set(review, "spec", spec);
	r = kube_call(to, "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review,
		NULL, &answer, e);
	if (!r && !json_get_bool(json_get(answer, "status"), "allowed", false))
		r = err_set(e, -EPERM,
			"no right there to change Deployments in namespace '%s' (a RoleBinding to "
			"the ClusterRole tandem-migrator gives it)",
			ns);
	json_free(review);
	json_free(answer);
	return r;
}

static bool is_due(const struct json *pair)
{
	const struct json *status = json_get(pair, "status"), *conditions;
	int64_t generation = json_get_int(json_get(pair, "metadata"), "generation", 0);

	if (json_get_int(status, "observedGeneration", -1) != generation)
		return true;
	conditions = json_get(status, "conditions");
	return !json_length(conditions);
}

static void look(struct kube_control *c, struct json *pair)
{
	struct json *status = json_copy(json_get(pair, "status"));
	const struct json *spec = json_get(pair, "spec");
	struct kube *to = NULL;
	struct err e = {0};
	int r = open_pair(c, pair, &to, &e);
	bool was;

	if (!status)
		status = json_object();
	was = !strcmp(json_get_string(status, "schedulerStatus", ""), "Ready");
	if (!r)
		r = may_copy(to, meta_of(pair, "namespace"), &e);
	kube_free(to);
	if (r == -ECANCELED) {
		json_free(status);
		return;
	}
	json_set_string(status, "schedulerStatus", r ? "Error" : "Ready");
	json_set_string(status, "storageStatus", "NotProvided");
	if (!kube_is_away(r) || !condition_is(status, "Ready", "Unreachable"))
		condition_set(status, pair, "Ready", !r,
			!r		  ? "Reached"
			: kube_is_away(r) ? "Unreachable"
			: r == -EPERM	  ? "Forbidden"
					  : "Refused",
			r ? e.msg : "the other cluster answers and lets us copy");
	if (!json_get(spec, "secretRef"))
		condition_set(status, pair, "ConfigInline", true, "ReadableByAll",
			"whoever reads this object may do what its kubeconfig allows: move it into "
			"a Secret and name that in spec.secretRef");
	if (was == (r != 0))
		kube_event(c->kube, pair, r ? "Warning" : "Normal", r ? "PairLost" : "PairReady",
			r ? e.msg : "the other cluster answers and lets us copy");
	/* Changed meanwhile: it is looked at again. */
	if (status_write(c, &kind_pair, pair, status, &e) && e.code != -EBUSY)
		log_warn("ClusterPair '%s': %s", meta_of(pair, "name"), e.msg);
}

struct pair_job {
	struct kube_control c;
	struct json *pair;
};

static void job_free(struct pair_job *j)
{
	control_clear(&j->c);
	json_free(j->pair);
	free(j);
}

static void job_work(void *ctx)
{
	struct pair_job *j = ctx;

	look(&j->c, j->pair);
	job_free(j);
}

static void job_start(struct kube_control *c, const struct json *pair)
{
	struct pair_job *j = calloc(1, sizeof(*j));
	char key[600];

	ensure(j);
	snprintf(key, sizeof(key), "pair %s/%s", meta_of(pair, "namespace"),
		meta_of(pair, "name"));
	j->c = control_for_job(c);
	j->pair = json_copy(pair);
	if (kube_job_start(c->jobs, key, job_work, j))
		job_free(j);
}

void pairs_look(struct kube_control *c, const struct json *pairs)
{
	bool all = now_s() - c->pairs_s >= LOOK_S || now_s() < c->pairs_s;

	if (all)
		c->pairs_s = now_s();
	for (unsigned i = 0; i < json_length(pairs); i++) {
		const struct json *pair = json_at(pairs, i);
		bool ready = !strcmp(
			json_get_string(json_get(pair, "status"), "schedulerStatus", ""), "Ready");

		if (all || !ready || is_due(pair))
			job_start(c, pair);
	}
}
