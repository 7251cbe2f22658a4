/* SPDX-License-Identifier: Apache-2.0 */
/* HTTP calls with libcurl's easy interface. */
#include "http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define LINE_MAX_SIZE (16u << 20) /* bytes of one line of a stream */
#define CONNECT_MS 10000L /* libcurl's own limit is five minutes */

struct http_client {
	CURL *curl;
	char *what, *socket, *url, *dial, *ca, *certificate, *key, *token;
	bool tls13;
};

struct call {
	struct http_client *client;
	const struct http_request *request;
	char *text; /* the answer; of a stream, the line that is not whole */
	size_t len;
	bool too_large, enough;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void init(void)
{
	ensure(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

static char *copy(const char *s)
{
	char *c = s ? strdup(s) : NULL;

	ensure(!s || c);
	return c;
}

struct http_client *http_new(const struct http_server *s)
{
	struct http_client *c = calloc(1, sizeof(*c));

	ensure(c);
	pthread_once(&once, init);
	c->curl = curl_easy_init();
	ensure(c->curl);
	c->what = copy(s->what);
	c->socket = copy(s->socket);
	c->url = copy(s->socket ? "http://agent" : s->url);
	c->dial = copy(s->dial);
	c->ca = copy(s->ca);
	c->certificate = copy(s->certificate);
	c->key = copy(s->key);
	c->token = copy(s->token);
	c->tls13 = s->tls13;
	return c;
}

static void forget(char *secret)
{
	if (secret)
		explicit_bzero(secret, strlen(secret));
	free(secret);
}

void http_free(struct http_client *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->curl);
	free(c->what);
	free(c->socket);
	free(c->url);
	free(c->dial);
	free(c->ca);
	free(c->certificate);
	forget(c->key);
	forget(c->token);
	free(c);
}

/* ---- the answer ---- */

static bool gather(struct call *k, const char *data, size_t n, size_t max)
{
	char *bigger;

	if (k->len + n > max) {
		k->too_large = true;
		return false;
	}
	bigger = realloc(k->text, k->len + n + 1);
	ensure(bigger);
	memcpy(bigger + k->len, data, n);
	bigger[k->len + n] = '\0';
	k->text = bigger;
	k->len += n;
	return true;
}

/* The lines that are whole now. */
static bool hand_on(struct call *k)
{
	char *from = k->text, *end;

	while ((end = memchr(from, '\n', k->len - (size_t)(from - k->text)))) {
		if (!k->request->line(k->request->ctx, from, (size_t)(end - from))) {
			k->enough = true;
			return false;
		}
		from = end + 1;
	}
	k->len -= (size_t)(from - k->text);
	memmove(k->text, from, k->len + 1);
	return true;
}

static size_t take(char *data, size_t size, size_t n, void *ctx)
{
	struct call *k = ctx;
	long status = 0;

	n *= size;
	if (!k->request->line)
		return gather(k, data, n, HTTP_ANSWER_MAX) ? n : 0;
	curl_easy_getinfo(k->client->curl, CURLINFO_RESPONSE_CODE, &status);
	if (status != 200)
		return gather(k, data, n, LINE_MAX_SIZE) ? n : 0;
	return gather(k, data, n, LINE_MAX_SIZE) && hand_on(k) ? n : 0;
}

static int watch_stop(
	void *ctx, curl_off_t dltotal, curl_off_t dlnow, curl_off_t ultotal, curl_off_t ulnow)
{
	const struct http_request *r = ctx;

	return atomic_load(r->stop);
}

static int code_of(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_CONNECT:
		return -ECONNREFUSED;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_ABORTED_BY_CALLBACK:
		return -ECANCELED;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CACERT_BADFILE:
		return -EACCES;
	default:
		return -ECONNRESET;
	}
}

static void set_blob(CURL *curl, CURLoption option, const char *text)
{
	struct curl_blob blob = {.flags = CURL_BLOB_COPY};

	if (!text)
		return;
	blob.data = (void *)text;
	blob.len = strlen(text);
	curl_easy_setopt(curl, option, &blob);
}

static struct curl_slist *append(struct curl_slist *list, const char *text)
{
	list = curl_slist_append(list, text);
	ensure(list);
	return list;
}

static struct curl_slist *headers(const struct http_client *c, const struct http_request *r)
{
	struct curl_slist *list = NULL;
	char *text;

	if (r->body) {
		ensure(asprintf(&text, "Content-Type: %s",
			       r->content_type ? r->content_type : "application/json") > 0);
		list = append(list, text);
		free(text);
		list = append(list, "Expect:"); /* no round trip before a large body */
	}
	if (r->accept) {
		ensure(asprintf(&text, "Accept: %s", r->accept) > 0);
		list = append(list, text);
		free(text);
	}
	if (c->token) {
		ensure(asprintf(&text, "Authorization: Bearer %s", c->token) > 0);
		list = append(list, text);
		forget(text);
	}
	return list;
}

static void set_server(struct http_client *c)
{
	CURL *curl = c->curl;

	curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, c->socket);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, c->socket ? "http" : "http,https");
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPIDLE, 10L);
	curl_easy_setopt(curl, CURLOPT_TCP_KEEPINTVL, 5L);
	set_blob(curl, CURLOPT_CAINFO_BLOB, c->ca);
	set_blob(curl, CURLOPT_SSLCERT_BLOB, c->certificate);
	set_blob(curl, CURLOPT_SSLKEY_BLOB, c->key);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION,
		(long)(c->tls13 ? CURL_SSLVERSION_TLSv1_3 : CURL_SSLVERSION_TLSv1_2));
}

static void set_request(struct http_client *c, const struct http_request *r, struct call *k)
{
	CURL *curl = c->curl;

	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, r->method);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, k);
	if (r->body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, r->body);
	if (r->stop) {
		curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
		curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, watch_stop);
		curl_easy_setopt(curl, CURLOPT_XFERINFODATA, (void *)r);
	}
}

static CURLcode perform(struct http_client *c, struct call *k, char *words)
{
	const struct http_request *r = k->request;
	struct curl_slist *list = headers(c, r), *dial = NULL;
	char *text;
	CURLcode code;

	curl_easy_reset(c->curl); /* the connection stays */
	set_server(c);
	set_request(c, r, k);
	ensure(asprintf(&text, "%s%s", c->url, r->path) > 0);
	curl_easy_setopt(c->curl, CURLOPT_URL, text);
	free(text);
	if (c->dial) {
		ensure(asprintf(&text, "::%s", c->dial) > 0);
		dial = append(NULL, text);
		free(text);
		curl_easy_setopt(c->curl, CURLOPT_CONNECT_TO, dial);
	}
	curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, list);
	curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, words);
	code = curl_easy_perform(c->curl);
	curl_easy_setopt(c->curl, CURLOPT_ERRORBUFFER, NULL);
	curl_slist_free_all(list);
	curl_slist_free_all(dial);
	return code;
}

int http_call(struct http_client *c, const struct http_request *r, struct http_answer *ret_a,
	struct err *e)
{
	struct call k = {.client = c, .request = r};
	char words[CURL_ERROR_SIZE] = "";
	struct err none;
	CURLcode code;
	long status = 0;

	*ret_a = (struct http_answer){0};
	code = perform(c, &k, words);
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	ret_a->status = (unsigned)status;
	if (k.too_large) {
		free(k.text);
		return err_set(e, -EFBIG, "%s: the answer is too large", c->what);
	}
	if (code != CURLE_OK && !k.enough) {
		free(k.text);
		return err_set(e, code_of(code), "%s: %s", c->what,
			words[0] ? words : curl_easy_strerror(code));
	}
	if (k.text && json_parse(k.text, k.len, &ret_a->json, &none) == 0 &&
		!json_is_object(ret_a->json)) {
		json_free(ret_a->json);
		ret_a->json = NULL;
	}
	if (ret_a->json)
		free(k.text);
	else
		ret_a->text = k.text;
	return 0;
}

/* ---- streams ---- */

#define STREAM_WRITE_NS (10 * NS_PER_S)
#define HEAD_MAX_SIZE 16384u

struct http_stream {
	CURL *curl;
	char *what;
	const atomic_bool *stop;
	char *early; /* came behind the head of the answer */
	size_t nearly;
};

/* Until there is something to read, or room to write. */
static int stream_wait(struct http_stream *s, short events, uint64_t end_ns, struct err *e)
{
	curl_socket_t fd = CURL_SOCKET_BAD;
	struct pollfd p = {.events = events};

	curl_easy_getinfo(s->curl, CURLINFO_ACTIVESOCKET, &fd);
	p.fd = fd;
	if (s->stop && atomic_load(s->stop))
		return err_set(e, -ECANCELED, "%s: stopped", s->what);
	if (clock_mono_ns() >= end_ns)
		return err_set(e, -ETIMEDOUT, "%s: no answer in time", s->what);
	poll(&p, 1, 100);
	return 0;
}

ssize_t http_stream_read(
	struct http_stream *s, void *buf, size_t size, uint64_t end_ns, struct err *e)
{
	size_t n = MIN(s->nearly, size);
	CURLcode code;
	int ret;

	if (n) {
		memcpy(buf, s->early, n);
		s->nearly -= n;
		memmove(s->early, s->early + n, s->nearly);
		return (ssize_t)n;
	}
	while ((code = curl_easy_recv(s->curl, buf, size, &n)) == CURLE_AGAIN) {
		ret = stream_wait(s, POLLIN, end_ns, e);
		if (ret)
			return ret;
	}
	if (code != CURLE_OK)
		return err_set(e, -ECONNRESET, "%s: %s", s->what, curl_easy_strerror(code));
	return (ssize_t)n;
}

int http_stream_write(struct http_stream *s, const void *buf, size_t len, struct err *e)
{
	uint64_t end_ns = clock_mono_ns() + STREAM_WRITE_NS;
	const char *at = buf;

	while (len) {
		size_t n = 0;
		CURLcode code = curl_easy_send(s->curl, at, len, &n);
		int ret = 0;

		if (code == CURLE_AGAIN)
			ret = stream_wait(s, POLLOUT, end_ns, e);
		else if (code != CURLE_OK)
			ret = err_set(e, -ECONNRESET, "%s: %s", s->what, curl_easy_strerror(code));
		if (ret)
			return ret;
		at += n;
		len -= n;
	}
	return 0;
}

void http_stream_close(struct http_stream *s)
{
	if (!s)
		return;
	curl_easy_cleanup(s->curl);
	free(s->early);
	free(s->what);
	free(s);
}

static int stream_ask(struct http_stream *s, const struct http_client *c,
	const struct http_request *r, const char *protocol, struct err *e)
{
	const char *host = strstr(c->url, "://");
	char *text, *token = NULL;
	int ret;

	host = host ? host + 3 : c->url;
	if (c->token)
		ensure(asprintf(&token, "Authorization: Bearer %s\r\n", c->token) > 0);
	ensure(asprintf(&text,
		       "%s %s HTTP/1.1\r\nHost: %.*s\r\nConnection: Upgrade\r\nUpgrade: "
		       "websocket\r\n"
		       "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
		       "dGFuZGVtZnMgdGFuZGVtZg==\r\n"
		       "Sec-WebSocket-Protocol: %s\r\n%s\r\n",
		       r->method, r->path, (int)strcspn(host, "/"), host, protocol,
		       token ? token : "") > 0);
	ret = http_stream_write(s, text, strlen(text), e);
	forget(text);
	forget(token);
	return ret;
}

/* Up to the empty line; what is behind it is kept. The body of another answer: as much as comes at once. */
static int stream_head(struct http_stream *s, uint64_t end_ns, unsigned *ret_status, struct err *e)
{
	char *head = calloc(1, HEAD_MAX_SIZE + 1), *body = NULL;
	size_t len = 0;
	ssize_t n = 1;

	ensure(head);
	while (!body && n > 0 && len < HEAD_MAX_SIZE) {
		n = http_stream_read(s, head + len, HEAD_MAX_SIZE - len, end_ns, e);
		len += n > 0 ? (size_t)n : 0;
		body = strstr(head, "\r\n\r\n");
	}
	if (!body || sscanf(head, "HTTP/1.%*1u %3u", ret_status) != 1) {
		free(head);
		return n < 0 ? (int)n : err_set(e, -ECONNRESET, "%s: no answer of HTTP", s->what);
	}
	s->nearly = len - (size_t)(body + 4 - head);
	memmove(head, body + 4, s->nearly);
	head[s->nearly] = '\0';
	s->early = head;
	return 0;
}

static void refused(struct http_stream *s, unsigned status, struct http_answer *ret_a)
{
	struct err none;
	char *json = strchr(s->early ? s->early : "", '{'), *end;

	ret_a->status = status;
	end = json ? strrchr(json, '}') : NULL; /* it may be chunked */
	if (end && !json_parse(json, (size_t)(end + 1 - json), &ret_a->json, &none) &&
		!json_is_object(ret_a->json)) {
		json_free(ret_a->json);
		ret_a->json = NULL;
	}
}

int http_upgrade(struct http_client *c, const struct http_request *r, const char *protocol,
	struct http_stream **ret_s, struct http_answer *ret_a, struct err *e)
{
	uint64_t end_ns = clock_mono_ns() + r->timeout_ms * NS_PER_MS;
	struct http_client as = *c;
	struct http_stream *s = calloc(1, sizeof(*s));
	char words[CURL_ERROR_SIZE] = "";
	unsigned status = 0;
	CURLcode code;
	int ret = 0;

	ensure(s);
	*ret_s = NULL;
	*ret_a = (struct http_answer){0};
	s->what = copy(c->what);
	s->stop = r->stop;
	s->curl = as.curl = curl_easy_init();
	ensure(s->curl);
	set_server(&as);
	curl_easy_setopt(s->curl, CURLOPT_URL, c->url);
	curl_easy_setopt(s->curl, CURLOPT_CONNECT_ONLY, 1L);
	curl_easy_setopt(s->curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(s->curl, CURLOPT_ERRORBUFFER, words);
	code = curl_easy_perform(s->curl);
	curl_easy_setopt(s->curl, CURLOPT_ERRORBUFFER, NULL);
	if (code != CURLE_OK)
		ret = err_set(e, code_of(code), "%s: %s", c->what,
			words[0] ? words : curl_easy_strerror(code));
	if (!ret)
		ret = stream_ask(s, c, r, protocol, e);
	if (!ret)
		ret = stream_head(s, end_ns, &status, e);
	if (!ret && status == 101) {
		*ret_s = s;
		return 0;
	}
	if (!ret)
		refused(s, status, ret_a);
	http_stream_close(s);
	return ret;
}

void http_answer_free(struct http_answer *a)
{
	json_free(a->json);
	free(a->text);
	*a = (struct http_answer){0};
}

char *http_escape(const char *text)
{
	static const char hex[] = "0123456789ABCDEF";
	char *made = malloc(3 * strlen(text) + 1), *at = made;

	ensure(made);
	for (const char *p = text; *p; p++) {
		unsigned char byte = (unsigned char)*p;

		if (isalnum(byte) || strchr("-._~", byte)) { /* in the C locale */
			*at++ = *p;
		} else {
			*at++ = '%';
			*at++ = hex[byte >> 4];
			*at++ = hex[byte & 15];
		}
	}
	*at = '\0';
	return made;
}

int http_call_unix(const char *socket, const char *path, const char *body, unsigned timeout_ms,
	unsigned *ret_status, struct json **ret_json, struct err *e)
{
	char what[160];
	struct http_server s = {.what = what, .socket = socket};
	struct http_request r = {.method = body ? "POST" : "GET",
		.path = path,
		.body = body,
		.timeout_ms = timeout_ms};
	struct http_answer a;
	struct http_client *c;
	int ret;

	snprintf(what, sizeof(what), "the agent at '%.100s'", socket);
	c = http_new(&s);
	ret = http_call(c, &r, &a, e);
	http_free(c);
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
