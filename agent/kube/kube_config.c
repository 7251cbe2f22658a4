/* SPDX-License-Identifier: Apache-2.0 */
/* Access to an API server. What this file reads may have been written by another cluster's people. */
#include "kube_config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "yaml.h"

#define FILE_MAX_SIZE (1u << 20)

static void wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

void kube_access_clear(struct kube_access *a)
{
	char **const all[] = {
		&a->server, &a->ca, &a->certificate, &a->key, &a->token, &a->token_path, &a->ns};

	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		wipe(all[i]);
}

char *kube_read_file(const char *path, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = malloc(FILE_MAX_SIZE + 1), *fit;
	ssize_t n = 0, got = fd < 0 ? -1 : 0;
	int code = errno;

	ensure(text);
	while (fd >= 0 && n < (ssize_t)FILE_MAX_SIZE) {
		got = read(fd, text + n, FILE_MAX_SIZE - (size_t)n);
		code = errno;
		if (got <= 0)
			break;
		n += got;
	}
	if (got < 0 || n == (ssize_t)FILE_MAX_SIZE || memchr(text, 0, (size_t)n)) {
		err_set(e, got < 0 ? -code : -EBADMSG, "cannot read '%.150s': %s", path,
			got < 0 ? strerror(code) : "too large, or not text");
		explicit_bzero(text, FILE_MAX_SIZE);
		free(text);
		return NULL;
	}
	while (n && strchr("\r\n", text[n - 1]))
		n--;
	text[n] = '\0';
	fit = strdup(text);
	ensure(fit);
	explicit_bzero(text, (size_t)n);
	free(text);
	return fit;
}

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *kube_base64_of(const char *text)
{
	size_t len = strlen(text);
	char *made = malloc((len + 2) / 3 * 4 + 1), *at = made;

	ensure(made);
	for (size_t i = 0; i < len; i += 3) {
		size_t n = MIN(len - i, 3);
		unsigned bits = 0;

		for (size_t k = 0; k < 3; k++)
			bits = bits << 8 | (k < n ? (unsigned char)text[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			*at++ = k <= n ? digits[bits >> (18 - 6 * k) & 63] : '=';
	}
	*at = '\0';
	return made;
}

char *kube_base64(const char *text)
{
	size_t len = strlen(text), n = 0, pad;
	char *made = malloc(len / 4 * 3 + 1);
	unsigned bits = 0;

	ensure(made);
	pad = len && text[len - 1] == '=' ? 1 + (len > 1 && text[len - 2] == '=') : 0;
	for (size_t i = 0; i < len; i++) {
		const char *digit = i < len - pad ? strchr(digits, text[i]) : digits;

		if (!digit || len % 4)
			goto fail;
		bits = bits << 6 | (unsigned)(digit - digits);
		if (i % 4 != 3)
			continue;
		for (int shift = 16; shift >= 0; shift -= 8)
			made[n++] = (char)(bits >> shift & 255);
		bits = 0;
	}
	n -= pad;
	made[n] = '\0';
	if (strlen(made) == n)
		return made;
fail:
	explicit_bzero(made, n);
	free(made);
	return NULL;
}

/* The entry of a list of {name, KIND} with this name. */
static const struct json *entry(
	const struct json *config, const char *list, const char *kind, const char *name)
{
	const struct json *l = json_get(config, list);

	for (unsigned i = 0; name && i < json_length(l); i++)
		if (!strcmp(json_get_string(json_at(l, i), "name", ""), name))
			return json_get(json_at(l, i), kind);
	return NULL;
}

/* A member as text: NAME-data in base64, or NAME as a path. Neither: NULL, and 0. */
static int take(const struct json *from, const char *name, bool files, char **ret, struct err *e)
{
	const char *path = json_get_string(from, name, NULL), *data;
	char key[64];

	snprintf(key, sizeof(key), "%s-data", name);
	data = json_get_string(from, key, NULL);
	if (data && *data) {
		*ret = kube_base64(data);
		return *ret ? 0 : err_set(e, -EINVAL, "'%s' is not base64", key);
	}
	if (!path || !*path)
		return 0;
	if (!files)
		return err_set(e, -EINVAL,
			"'%s' names a file of this machine: write it into the kubeconfig "
			"(kubectl config view --raw --flatten)",
			name);
	*ret = kube_read_file(path, e);
	return *ret ? 0 : e->code;
}

static int refuse(const struct json *from, const char *const *keys, struct err *e)
{
	for (; *keys; keys++)
		if (json_get(from, *keys) && !json_equal(json_get(from, *keys), NULL) &&
			json_get_bool(from, *keys, true))
			return err_set(e, -EINVAL, "'%s' is not taken", *keys);
	return 0;
}

static char *copy_of(const char *text)
{
	char *c = text && *text ? strdup(text) : NULL;

	ensure(c || !text || !*text);
	return c;
}

/* It becomes part of a header or of a request's line. */
static bool one_word(const char *text)
{
	for (; text && *text; text++)
		if (*text <= ' ' || *text >= 127)
			return false;
	return true;
}

static int check(const struct kube_access *a, struct err *e)
{
	if (!a->server || strncmp(a->server, "https://", 8) || !a->server[8] ||
		!one_word(a->server) || strpbrk(a->server, "?#@"))
		return err_set(e, -EINVAL, "the server must be https://HOST:PORT");
	if (!one_word(a->token))
		return err_set(e, -EINVAL, "the token is not one word");
	if (!a->token && !(a->certificate && a->key))
		return err_set(e, -EINVAL, "neither a token nor a client certificate with its key");
	return 0;
}

static int fill(const struct json *config, bool files, struct kube_access *a, struct err *e)
{
	static const char *const no_cluster[] = {
		"insecure-skip-tls-verify", "proxy-url", "tls-server-name", NULL};
	static const char *const no_user[] = {"exec", "auth-provider", "username", "as", NULL};
	const char *current = json_get_string(config, "current-context", NULL);
	const struct json *context = entry(config, "contexts", "context", current), *cluster, *user;
	size_t n;
	int ret;

	if (!context)
		return err_set(e, -EINVAL, "no context has the name in current-context");
	cluster = entry(config, "clusters", "cluster", json_get_string(context, "cluster", NULL));
	user = entry(config, "users", "user", json_get_string(context, "user", NULL));
	if (!cluster || !user)
		return err_set(e, -EINVAL, "the context's cluster or user is missing");
	ret = refuse(cluster, no_cluster, e);
	if (!ret)
		ret = refuse(user, no_user, e);
	if (!ret)
		ret = take(cluster, "certificate-authority", files, &a->ca, e);
	if (!ret)
		ret = take(user, "client-certificate", files, &a->certificate, e);
	if (!ret)
		ret = take(user, "client-key", files, &a->key, e);
	if (ret)
		return ret;
	a->server = copy_of(json_get_string(cluster, "server", NULL));
	for (n = a->server ? strlen(a->server) : 0; n && a->server[n - 1] == '/'; n--)
		a->server[n - 1] = '\0';
	a->token = copy_of(json_get_string(user, "token", NULL));
	a->ns = copy_of(json_get_string(context, "namespace", NULL));
	if (!a->token && files && json_get_string(user, "tokenFile", NULL)) {
		a->token_path = copy_of(json_get_string(user, "tokenFile", NULL));
		a->token = kube_read_file(a->token_path, e);
		if (!a->token)
			return e->code;
	}
	return check(a, e);
}

int kube_access_from(const struct json *config, bool files, struct kube_access *ret, struct err *e)
{
	struct kube_access a = {0};
	int r = fill(config, files, &a, e);

	if (r) {
		kube_access_clear(&a);
		return r;
	}
	*ret = a;
	return 0;
}

int kube_access_parse(
	const char *text, size_t len, bool files, struct kube_access *ret, struct err *e)
{
	struct json *config = NULL;
	struct err none;
	int r = 0;

	if (json_parse(text, len, &config, &none))
		r = yaml_parse(text, len, &config, e);
	if (!r)
		r = kube_access_from(config, files, ret, e);
	json_free(config);
	return r ? err_wrap(e, "kubeconfig") : 0;
}

int kube_access_load(const char *path, struct kube_access *ret, struct err *e)
{
	char *text = kube_read_file(path, e);
	int r;

	if (!text)
		return e->code;
	r = kube_access_parse(text, strlen(text), true, ret, e);
	wipe(&text);
	return r ? err_wrap(e, "'%.150s'", path) : 0;
}

int kube_access_in_cluster(const char *dir, struct kube_access *ret, struct err *e)
{
	const char *host = getenv("KUBERNETES_SERVICE_HOST"),
		   *port = getenv("KUBERNETES_SERVICE_PORT");
	struct kube_access a = {0};
	char path[4200];
	int r = 0;

	if (!host || !*host)
		return err_set(e, -ENOENT, "KUBERNETES_SERVICE_HOST is not set: this is no pod");
	snprintf(path, sizeof(path), "%s/ca.crt", dir);
	a.ca = kube_read_file(path, e);
	snprintf(path, sizeof(path), "%s/token", dir);
	a.token_path = copy_of(path);
	a.token = a.ca ? kube_read_file(path, e) : NULL;
	snprintf(path, sizeof(path), "%s/namespace", dir);
	a.ns = a.token ? kube_read_file(path, e) : NULL;
	if (!a.ns)
		r = e->code;
	ensure(asprintf(&a.server, strchr(host, ':') ? "https://[%s]:%s" : "https://%s:%s", host,
		       port && *port ? port : "443") > 0);
	if (!r)
		r = check(&a, e);
	if (r)
		kube_access_clear(&a);
	else
		*ret = a;
	return r;
}
