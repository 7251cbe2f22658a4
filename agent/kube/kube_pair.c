/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ClusterPair: whether the other cluster answers, and whether we may do there what copying needs. The kubeconfig
 * comes from a Secret in the pair's namespace, or is written out in the object, which a condition warns of. The token in
 * it is renewed when half of its life is over, if its account may ask for tokens of itself.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kube_control.h"
#include "kube_impl.h"
#include "kube_pair_token.h"
#include "log.h"

#define KEY_RENEW TANDEM_KEY "renew-token" /* a person's wish for a new token now */
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

static int read_access(
	struct kube_control *c, const struct json *pair, struct kube_access *ret, struct err *e)
{
	const struct json *spec = json_get(pair, "spec"), *ref = json_get(spec, "secretRef");

	return ref ? from_secret(c, meta_of(pair, "namespace"), ref, ret, e)
		   : kube_access_from(json_get(spec, "config"), false, ret, e);
}

static struct kube *open_access(
	struct kube_control *c, const struct json *pair, const struct kube_access *a)
{
	char what[300];

	snprintf(what, sizeof(what), "the cluster of ClusterPair '%.200s'", meta_of(pair, "name"));
	return kube_new(what, a, c->stop);
}

int pair_open(
	struct kube_control *c, const char *ns, const char *name, struct kube **ret, struct err *e)
{
	struct kube_access a = {0};
	struct json *pair = NULL;
	int r = kube_get(c->kube, &kind_pair, ns, name, &pair, e);

	if (!r)
		r = read_access(c, pair, &a, e);
	if (!r)
		*ret = open_access(c, pair, &a);
	kube_access_clear(&a);
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
	if (annotation_of(pair, KEY_RENEW))
		return true;
	conditions = json_get(status, "conditions");
	return !json_length(conditions);
}

/* --- a look --- */

/* Copying to itself would stop what runs here. */
static int is_other(struct kube_control *c, struct kube *to, struct err *e)
{
	struct json *here = NULL, *there = NULL;
	struct err none = {0};
	int r = kube_get(to, &kind_namespace, NULL, "kube-system", &there, &none);

	if (r && !kube_is_away(r)) /* no right to look; each run compares what it copies */
		r = 0;
	else if (r)
		r = err_set(e, r, "%s", none.msg);
	else if (!kube_get(c->kube, &kind_namespace, NULL, "kube-system", &here, &none) &&
		 !strcmp(meta_of(here, "uid"), meta_of(there, "uid")))
		r = err_set(e, -EINVAL, "it leads to this very cluster");
	json_free(here);
	json_free(there);
	return r;
}

/* What the agents over there say; nothing where they say nothing. */
static int note_domain(struct kube_control *c, struct kube *to, struct json *status, struct err *e)
{
	const struct kube_kind kind = KUBE_KIND("tandemfs.dev", "v1alpha1", "ClusterDomainsStatus",
		"clusterdomainsstatuses", false);
	struct json *list = json_array();
	struct err none = {0};
	const char *domain = NULL;
	int r = 0;

	if (!kube_list(to, &kind, NULL, NULL, list, NULL, &none))
		domain = json_get_string(json_get(json_at(list, 0), "status"), "localDomain", NULL);
	if (domain && !strcmp(domain, c->config->domain))
		r = err_set(e, -EINVAL, "it leads to this very domain, '%s'", domain);
	else if (domain)
		json_set_string(status, "remoteDomain", domain);
	json_free(list);
	return r;
}

static bool wants_renewal(const struct json *pair)
{
	return annotation_of(pair, KEY_RENEW) != NULL;
}

/* The wish is fulfilled. */
static void forget_wish(struct kube_control *c, struct json *pair)
{
	struct json *patch = json_object(), *meta = json_object(), *none = json_object(),
		    *now = NULL;
	struct err e = {0};

	json_set(none, KEY_RENEW, NULL);
	json_set(meta, "annotations", none);
	json_set(patch, "metadata", meta);
	if (kube_patch(c->kube, &kind_pair, meta_of(pair, "namespace"), meta_of(pair, "name"), NULL,
		    patch, &now, &e))
		log_warn("ClusterPair '%s': %s", meta_of(pair, "name"), e.msg);
	else
		json_set(pair, "metadata", json_copy(json_get(now, "metadata")));
	json_free(now);
	json_free(patch);
}

static void note_token(struct kube_control *c, struct json *pair, struct kube *to,
	const char *token, struct json *status)
{
	struct pair_token t;
	char text[400], at[21], *new = NULL;
	struct err e = {0};

	if (!pair_token_read(token, &t) || !t.ends_s) {
		json_remove(status, "tokenExpires");
		return;
	}
	if ((wants_renewal(pair) || pair_token_is_old(&t, now_s())) &&
		!pair_token_renew(c, pair, to, token, &new, &e)) {
		kube_event(c->kube, pair, "Normal", "TokenRenewed",
			"the Secret has a new token of the other cluster");
		pair_token_read(new, &t);
		explicit_bzero(new, strlen(new));
		free(new);
		if (wants_renewal(pair))
			forget_wish(c, pair);
	}
	kube_time(t.ends_s, at);
	json_set_string(status, "tokenExpires", at);
	if (!e.code) {
		condition_set(status, pair, "TokenExpires", false, "Renewed",
			"it is renewed before it ends");
		return;
	}
	snprintf(text, sizeof(text), "it is good until %s, and cannot be renewed: %.250s", at,
		e.msg);
	condition_set(status, pair, "TokenExpires", true,
		e.code == -EPERM ? "MayNotRenew" : "NotRenewed", text);
}

/* A person's rights, often all there are, in the hands of who may read a Secret here, and nobody renews them. */
static void note_person(const struct json *pair, const struct kube_access *a, struct json *status)
{
	struct pair_token t;
	bool account = a->token && pair_token_read(a->token, &t) && t.account[0];

	if (!account)
		condition_set(status, pair, "NoServiceAccount", true,
			a->token ? "UserToken" : "ClientCertificate",
			"its kubeconfig is a user's and not a service account's: who reads it may "
			"do there what that user may, and it is not renewed. 'tandemctl create "
			"clusterpair' with --service-account replaces it");
	else if (condition_is(status, "NoServiceAccount", "UserToken") ||
		 condition_is(status, "NoServiceAccount", "ClientCertificate"))
		condition_set(status, pair, "NoServiceAccount", false, "ServiceAccount",
			"its kubeconfig has a service account's token");
}

static int look_there(struct kube_control *c, struct json *pair, struct json *status, struct err *e)
{
	struct kube_access a = {0};
	struct kube *to = NULL;
	int r = read_access(c, pair, &a, e);

	if (!r) {
		to = open_access(c, pair, &a);
		r = is_other(c, to, e);
	}
	if (!r)
		r = may_copy(to, meta_of(pair, "namespace"), e);
	if (!r)
		r = note_domain(c, to, status, e);
	if (!r)
		note_person(pair, &a, status);
	if (!r && a.token)
		note_token(c, pair, to, a.token, status);
	kube_free(to);
	kube_access_clear(&a);
	return r;
}

static void look(struct kube_control *c, struct json *pair)
{
	struct json *status = json_copy(json_get(pair, "status"));
	struct err e = {0};
	bool was;
	int r;

	if (!status)
		status = json_object();
	was = !strcmp(json_get_string(status, "schedulerStatus", ""), "Ready");
	r = look_there(c, pair, status, &e);
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
	if (!json_path(pair, "spec", "secretRef"))
		condition_set(status, pair, "ConfigInline", true, "ReadableByAll",
			"whoever reads this object may do what its kubeconfig allows: move it into "
			"a Secret and name that in spec.secretRef");
	else if (condition_is(status, "ConfigInline", "ReadableByAll"))
		condition_set(status, pair, "ConfigInline", false, "InSecret",
			"its kubeconfig is in a Secret");
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
	snprintf(key, sizeof(key), "pair %s/%s", meta_of(pair, "namespace"), meta_of(pair, "name"));
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
