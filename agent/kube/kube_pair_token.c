/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens of service accounts are JWTs: three parts of base64url with dots between, the second one JSON. What is in
 * there is another cluster's word, and only decides when a new one is asked for.
 *
 * A renewal that was interrupted between the new token and the Secret leaves a token that nobody has, which ends by
 * itself; the old one is good until it ends.
 */
#include "kube_pair_token.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define PAYLOAD_MAX 8192u

/* base64url without padding, to text; NULL. The caller's. */
static char *decode(const char *part, size_t len)
{
	char buf[PAYLOAD_MAX + 4];

	if (!len || len > PAYLOAD_MAX)
		return NULL;
	for (size_t i = 0; i < len; i++)
		buf[i] = part[i] == '-' ? '+' : part[i] == '_' ? '/' : part[i];
	while (len % 4)
		buf[len++] = '=';
	buf[len] = '\0';
	return kube_base64(buf);
}

/* "system:serviceaccount:NAMESPACE:ACCOUNT" */
static void read_subject(const char *subject, struct pair_token *t)
{
	static const char prefix[] = "system:serviceaccount:";
	const char *ns = subject + sizeof(prefix) - 1, *colon;

	if (strncmp(subject, prefix, sizeof(prefix) - 1) != 0)
		return;
	colon = strchr(ns, ':');
	if (!colon || (size_t)(colon - ns) >= sizeof(t->ns) ||
		strlen(colon + 1) >= sizeof(t->account))
		return;
	memcpy(t->ns, ns, (size_t)(colon - ns));
	snprintf(t->account, sizeof(t->account), "%s", colon + 1);
}

bool pair_token_read(const char *token, struct pair_token *ret)
{
	const char *first = token ? strchr(token, '.') : NULL,
		   *second = first ? strchr(first + 1, '.') : NULL;
	cleanup_free char *text = second ? decode(first + 1, (size_t)(second - first - 1)) : NULL;
	struct json *claims = NULL;
	struct err none;

	*ret = (struct pair_token){0};
	if (!text || json_parse(text, strlen(text), &claims, &none))
		return false;
	ret->ends_s = json_get_int(claims, "exp", 0);
	ret->begins_s = json_get_int(claims, "iat", 0);
	if (ret->ends_s < 0 || ret->begins_s < 0 || ret->begins_s > ret->ends_s)
		ret->ends_s = ret->begins_s = 0;
	read_subject(json_get_string(claims, "sub", ""), ret);
	json_free(claims);
	return true;
}

bool pair_token_is_old(const struct pair_token *t, int64_t now)
{
	return t->ends_s && now >= t->begins_s + (t->ends_s - t->begins_s) / 2;
}

/* `text` with the one token in place of the other; NULL: it is not in there. */
static char *replace(const char *text, const char *old, const char *new)
{
	const char *at = *old ? strstr(text, old) : NULL;
	char *made;

	if (!at)
		return NULL;
	ensure(asprintf(&made, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old)) > 0);
	return made;
}

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

static int write_secret(struct kube_control *c, const struct json *pair, const char *old,
	const char *new, struct err *e)
{
	const struct json *ref = json_path(pair, "spec", "secretRef");
	const char *name = json_get_string(ref, "name", ""),
		   *key = json_get_string(ref, "key", "kubeconfig"),
		   *ns = meta_of(pair, "namespace"), *data;
	struct json *secret = NULL, *patch, *meta, *members;
	char *text = NULL, *changed = NULL, *encoded = NULL;
	int ret = kube_get(c->kube, &kind_secret, ns, name, &secret, e);

	if (ret)
		return ret;
	data = json_get_string(json_get(secret, "data"), key, NULL);
	text = data ? kube_base64(data) : NULL;
	changed = text ? replace(text, old, new) : NULL;
	if (changed) {
		encoded = kube_base64_of(changed);
		patch = json_object();
		meta = json_object();
		members = json_object();
		json_set_string(meta, "resourceVersion", meta_of(secret, "resourceVersion"));
		json_set(patch, "metadata", meta);
		json_set_string(members, key, encoded);
		json_set(patch, "data", members);
		ret = kube_patch(c->kube, &kind_secret, ns, name, NULL, patch, NULL, e);
		json_free(patch);
	} else {
		ret = err_set(e, -EBUSY, "Secret '%s' has another token by now", name);
	}
	json_free(secret);
	wipe(text);
	wipe(changed);
	wipe(encoded);
	return ret;
}

int pair_token_renew(struct kube_control *c, const struct json *pair, struct kube *to,
	const char *token, char **ret_token, struct err *e)
{
	struct pair_token t;
	char *new = NULL;
	int64_t ends_s;
	int ret;

	if (!json_path(pair, "spec", "secretRef") || !pair_token_read(token, &t) || !t.account[0])
		return err_set(e, -EINVAL, "no service account's token in a Secret");
	ret = kube_token(to, t.ns, t.account, MAX(t.ends_s - t.begins_s, 600), &new, &ends_s, e);
	if (!ret)
		ret = write_secret(c, pair, token, new, e);
	if (ret)
		wipe(new);
	else
		*ret_token = new;
	return ret;
}
