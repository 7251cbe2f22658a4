/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl generate clusterpair: typed where the destination's API is reached; prints what is applied on the source: a
 * ClusterPair, and the Secret with a kubeconfig of this cluster. With --service-account the kubeconfig has a new
 * token of that account, and nothing of the one who typed it.
 */
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "kube.h"

#define TOKEN_S (365 * 86400) /* wished; the server may give less */

static void set_data(struct json *to, const char *key, const char *text)
{
	char *data = text ? kube_base64_of(text) : NULL;

	if (data)
		json_set_string(to, key, data);
	free(data);
}

/* A list with one entry: {name, KIND: value}. Takes value. */
static void set_entry(struct json *config, const char *list, const char *kind, struct json *value)
{
	struct json *entry = json_object(), *entries = json_array();

	json_set_string(entry, "name", "destination");
	json_set(entry, kind, value);
	json_append(entries, entry);
	json_set(config, list, entries);
}

static struct json *config_of(const struct kube_access *a, const char *ns)
{
	struct json *config = json_object(), *cluster = json_object(), *user = json_object(),
		    *context = json_object();

	json_set_string(config, "apiVersion", "v1");
	json_set_string(config, "kind", "Config");
	json_set_string(cluster, "server", a->server);
	set_data(cluster, "certificate-authority-data", a->ca);
	set_entry(config, "clusters", "cluster", cluster);
	if (a->token)
		json_set_string(user, "token", a->token);
	set_data(user, "client-certificate-data", a->certificate);
	set_data(user, "client-key-data", a->key);
	set_entry(config, "users", "user", user);
	json_set_string(context, "cluster", "destination");
	json_set_string(context, "user", "destination");
	json_set_string(context, "namespace", ns);
	set_entry(config, "contexts", "context", context);
	json_set_string(config, "current-context", "destination");
	return config;
}

/* The account's token in place of what the caller is. */
static int become(struct kube_access *a, const char *ns, const char *account, struct err *e)
{
	struct kube *k = kube_new("the destination's API", a, NULL);
	struct kube_access as = {.server = a->server, .ca = a->ca};
	int64_t ends_s;
	int ret = kube_token(k, ns, account, TOKEN_S, &as.token, &ends_s, e);

	kube_free(k);
	if (ret)
		return ret;
	a->server = a->ca = NULL;
	kube_access_clear(a);
	*a = as;
	return 0;
}

static struct json *object(const char *version, const char *kind, const char *name, const char *ns)
{
	struct json *obj = json_object(), *meta = json_object();

	json_set_string(obj, "apiVersion", version);
	json_set_string(obj, "kind", kind);
	json_set_string(meta, "name", name);
	json_set_string(meta, "namespace", ns);
	json_set(obj, "metadata", meta);
	return obj;
}

static void print(const struct ctl *c, const char *name, const struct kube_access *a)
{
	struct json *pair = object("tandemfs.dev/v1alpha1", "ClusterPair", name, c->ns),
		    *secret = object("v1", "Secret", name, c->ns), *spec = json_object(),
		    *ref = json_object(), *data = json_object(), *stays = json_object(),
		    *config = config_of(a, c->ns);

	json_set_string(ref, "name", name);
	json_set(spec, "secretRef", ref);
	json_set(spec, "options", json_object());
	json_set(pair, "spec", spec);
	json_set_string(stays, "tandemfs.dev/skip-resource", "true");
	json_set(json_get(secret, "metadata"), "annotations", stays);
	json_set_string(data, "kubeconfig", json_text(config, false));
	json_set(secret, "stringData", data);
	ctl_print_yaml(c->out, pair);
	fputs("---\n", c->out);
	ctl_print_yaml(c->out, secret);
	json_free(config);
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
	if (!ret)
		print(c, args[1], &a);
	kube_access_clear(&a);
	return ret ? ctl_fail(c, "%s", e.msg) : CTL_OK;
}
