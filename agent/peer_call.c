/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection of its own for each call, with certificates read for it: calls are rare, and a certificate that
 * was changed is in use at once. The other side's certificate must name the domain, not the address.
 */
#include "peer_call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "server_impl.h"

const struct agent_config_peer *peer_find(const struct agent_config *c, const char *domain)
{
	for (unsigned i = 0; i < c->npeers; i++)
		if (!strcmp(c->peers[i].domain, domain))
			return &c->peers[i];
	return NULL;
}

static void forget(char *pem)
{
	if (pem)
		explicit_bzero(pem, strlen(pem));
	free(pem);
}

static int client_new(const struct agent_config *c, const char *what, const char *domain,
	const char *address, struct http_client **ret_h, struct err *e)
{
	const char *const paths[] = {c->ca, c->certificate, c->key};
	char *pem[3] = {NULL, NULL, NULL};
	char url[128];
	struct http_server s = {.what = what, .url = url, .dial = address, .tls13 = true};
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(paths) && !ret; i++) {
		pem[i] = server_read_pem(paths[i], e);
		ret = pem[i] ? 0 : e->code;
	}
	if (!ret) {
		snprintf(url, sizeof(url), "https://%s%s", domain, strrchr(address, ':'));
		s.ca = pem[0];
		s.certificate = pem[1];
		s.key = pem[2];
		*ret_h = http_new(&s);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(pem); i++)
		forget(pem[i]);
	return ret;
}

int agent_call(const struct agent_config *c, const char *what, const char *domain,
	const char *address, const char *path, const struct json *body, unsigned timeout_ms,
	const atomic_bool *stop, unsigned *ret_status, struct json **ret_json, struct err *e)
{
	struct http_request r = {.method = body ? "POST" : "GET",
		.path = path,
		.body = body ? json_text(body, false) : NULL,
		.timeout_ms = timeout_ms,
		.stop = stop};
	struct http_client *h;
	struct http_answer a;
	int ret;

	if (!c->certificate[0])
		return err_set(e, -ENOENT,
			"no way to %s: %.100s needs [api] ca, certificate and key", what, c->path);
	ret = client_new(c, what, domain, address, &h, e);
	if (ret)
		return ret;
	ret = http_call(h, &r, &a, e);
	http_free(h);
	if (ret)
		return ret;
	if (!a.json) {
		http_answer_free(&a);
		return err_set(e, -EBADMSG, "%s: the answer is no JSON object", what);
	}
	*ret_status = a.status;
	*ret_json = a.json;
	return 0;
}
