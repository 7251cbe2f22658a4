/* SPDX-License-Identifier: Apache-2.0 */
#include "clusterpair.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN_S (365 * 86400) /* wished; the server may give less */

static void set_data(struct json *to, const char *key, const char *text)
{
	char *data = text ? kube_base64_of(text) : NULL;

	if (data) {
		json_set_string(to, key, data);
		explicit_bzero(data, strlen(data));
	}
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

struct json *clusterpair_object(const char *name, const char *ns)
{
	struct json *pair = object("tandemfs.dev/v1alpha1", "ClusterPair", name, ns),
		    *spec = json_object(), *ref = json_object();

	json_set_string(ref, "name", name);
	json_set(spec, "secretRef", ref);
	json_set(spec, "options", json_object());
	json_set(pair, "spec", spec);
	return pair;
}

struct json *clusterpair_secret(
	const char *name, const char *ns, const struct kube_access *a, bool encoded)
{
	struct json *secret = object("v1", "Secret", name, ns), *stays = json_object(),
		    *data = json_object(), *config = config_of(a, ns);

	json_set_string(stays, "tandemfs.dev/skip-resource", "true");
	json_set(json_get(secret, "metadata"), "annotations", stays);
	if (encoded)
		set_data(data, "kubeconfig", json_text(config, false));
	else
		json_set_string(data, "kubeconfig", json_text(config, false));
	json_set(secret, encoded ? "data" : "stringData", data);
	json_free(config);
	return secret;
}

int clusterpair_check_server(const char *server, struct err *e)
{
	static const char *const own[] = {"localhost", "127.", "[::1]", "0.0.0.0"};
	const char *host = server + strlen("https://");

	for (unsigned i = 0; i < ARRAY_SIZE(own); i++)
		if (!strncasecmp(host, own[i], strlen(own[i])))
			return err_set(e, -EINVAL,
				"its kubeconfig says '%.80s', where the other cluster does not "
				"reach it: write its address into a copy of that file",
				server);
	return 0;
}

static int check_secret(const struct json *secret, const char *server, struct err *e)
{
	const char *data = json_get_string(json_get(secret, "data"), "kubeconfig", NULL);
	char *text = data ? kube_base64(data) : NULL;
	struct kube_access a = {0};
	struct err none = {0};
	int ret = 0;

	if (!text || kube_access_parse(text, strlen(text), false, &a, &none))
		ret = err_set(e, -EEXIST,
			"it has a Secret of that name, which is of no ClusterPair: take another "
			"name");
	else if (strcmp(a.server, server) != 0)
		ret = err_set(e, -EEXIST,
			"its ClusterPair of that name leads to '%.80s': take another name, or "
			"delete that one and its Secret",
			a.server);
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
	kube_access_clear(&a);
	return ret;
}

int clusterpair_check_there(const struct json *pair, const struct json *secret, const char *name,
	const char *server, struct err *e)
{
	const struct json *ref = json_get(json_get(pair, "spec"), "secretRef");

	if (pair && (strcmp(json_get_string(ref, "name", ""), name) != 0 ||
			    strcmp(json_get_string(ref, "key", "kubeconfig"), "kubeconfig") != 0))
		return err_set(e, -EEXIST,
			"its ClusterPair of that name has its kubeconfig elsewhere than in the "
			"Secret '%.80s': take another name, or delete that one",
			name);
	return secret ? check_secret(secret, server, e) : 0;
}

int clusterpair_become(struct kube *k, struct kube_access *a, const char *ns, const char *account,
	int64_t *ret_ends_s, struct err *e)
{
	struct kube_access as = {.server = a->server, .ca = a->ca};
	int ret = kube_token(k, ns, account, TOKEN_S, &as.token, ret_ends_s, e);

	if (ret)
		return ret;
	a->server = a->ca = NULL;
	kube_access_clear(a);
	*a = as;
	return 0;
}

void clusterpair_warn(FILE *to, const char *where)
{
	fprintf(to,
		"tandemctl: warning: without --service-account the Secret has your own "
		"certificate or token for %s: who reads it may do there what you may, and it is "
		"not renewed\n",
		where);
}
