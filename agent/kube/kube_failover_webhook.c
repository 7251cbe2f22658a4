/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Failover's webhook: one POST of the object when the applications run, for example to a program that switches the
 * traffic over. An answer of 2xx is success; no redirection is followed.
 *
 * Failure modes: it is called once, and again only by a leader that follows a killed one. Nobody there, no answer in
 * time, another status and a certificate that caBundle does not vouch for are one failure each, told with its words;
 * onError says whether the Failover fails by it, too. What runs is not undone. A caBundle that is none is found before
 * anything is changed, but keeps no unplanned one from going on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "http.h"
#include "kube_failover_impl.h"

#define TIMEOUT_S 10
#define TIMEOUT_MAX_S 600

void webhook_split(const char *url, char **ret_server, char **ret_path)
{
	const char *host = strstr(url, "://");
	size_t n;

	host = host ? host + 3 : url;
	n = (size_t)(host - url) + strcspn(host, "/?#");
	*ret_server = strndup(url, n);
	ensure(*ret_server);
	ensure(asprintf(ret_path, "%s%.*s", url[n] == '/' ? "" : "/", (int)strcspn(url + n, "#"),
		       url + n) > 0);
}

int webhook_ca(const char *bundle, char **ret_pem, struct err *e)
{
	cleanup_free char *text = strdup(bundle);
	char *to = text;

	ensure(text);
	for (const char *from = text; *from; from++) /* as base64(1) wraps it */
		if (*from != '\n' && *from != '\r')
			*to++ = *from;
	*to = '\0';
	*ret_pem = kube_base64(text);
	if (*ret_pem && strstr(*ret_pem, "-----BEGIN CERTIFICATE-----"))
		return 0;
	free(*ret_pem);
	*ret_pem = NULL;
	return err_set(e, -EINVAL,
		"spec.webhook.caBundle: certificates in PEM, all of it in base64, are needed "
		"('base64 -w0 ca.pem')");
}

int failover_check_webhook(const struct failover *f, struct err *e)
{
	const char *bundle =
		json_get_string(json_get(json_get(f->obj, "spec"), "webhook"), "caBundle", NULL);
	cleanup_free char *pem = NULL;

	return bundle ? webhook_ca(bundle, &pem, e) : 0;
}

static int call(struct failover *f, const struct json *w, struct err *e)
{
	const char *url = json_get_string(w, "url", ""),
		   *bundle = json_get_string(w, "caBundle", NULL);
	int64_t s = MIN(MAX(json_get_int(w, "timeoutSeconds", TIMEOUT_S), 1), TIMEOUT_MAX_S);
	cleanup_free char *server = NULL, *path = NULL, *pem = NULL;
	struct http_server to = {.what = "the webhook"};
	struct http_request r = {.method = "POST",
		.body = json_text(f->obj, false),
		.timeout_ms = (unsigned)s * 1000,
		.stop = f->c.stop};
	struct http_answer a = {0};
	struct http_client *h;
	int ret = bundle ? webhook_ca(bundle, &pem, e) : 0;

	if (ret)
		return ret;
	webhook_split(url, &server, &path);
	to.url = server;
	to.ca = pem;
	r.path = path;
	worker_busy(&f->c, r.timeout_ms);
	h = http_new(&to);
	ret = http_call(h, &r, &a, e);
	if (!ret && (a.status < 200 || a.status > 299))
		ret = err_set(e, -EPROTO, "the webhook: HTTP status %u", a.status);
	http_answer_free(&a);
	http_free(h);
	return ret;
}

void failover_webhook(struct failover *f, struct switch_seen *s)
{
	const struct json *w = json_get(json_get(f->obj, "spec"), "webhook");
	bool must = !strcmp(json_get_string(w, "onError", "Continue"), "Fail");
	struct err e = {0};

	if (!call(f, w, &e))
		seen_say(s, FOUND_DONE, "called");
	else
		seen_say(s, must ? FOUND_REFUSED : FOUND_DONE, "%.300s%s", e.msg,
			must ? "" : " (onError is Continue)");
}
