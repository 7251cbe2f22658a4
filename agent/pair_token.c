/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coding of the token and of the messages. Texts that end up in a terminal lose their control characters; those
 * that end up in a file are refused when they have any other byte than their kind needs.
 */
#include "pair_token.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"

#define VERSION 1
#define RAW_MAX (60 + PAIR_HOST_MAX + 1 + DOMAIN_LEN_MAX)

static const char digits64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

_Static_assert((RAW_MAX + 2) / 3 * 4 < PAIR_TOKEN_TEXT_MAX, "every token fits");

static void base64_encode(const uint8_t *p, size_t len, char *ret)
{
	for (size_t i = 0; i < len; i += 3) {
		size_t n = MIN(len - i, 3);
		uint32_t v = (uint32_t)p[i] << 16 | (n > 1 ? (uint32_t)p[i + 1] << 8 : 0) |
			     (n > 2 ? p[i + 2] : 0);

		for (size_t k = 0; k <= n; k++)
			*ret++ = digits64[v >> (18 - 6 * k) & 63];
	}
	*ret = '\0';
}

/* Bytes, or -1: another character, a length that none has, or bits left over. */
static int base64_decode(const char *text, size_t len, uint8_t *ret, size_t size)
{
	uint32_t v = 0;
	unsigned bits = 0;
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		const char *d = text[i] ? strchr(digits64, text[i]) : NULL;

		if (!d)
			return -1;
		v = v << 6 | (uint32_t)(d - digits64);
		bits += 6;
		if (bits < 8)
			continue;
		if (n == size)
			return -1;
		bits -= 8;
		ret[n++] = (uint8_t)(v >> bits);
		v &= (1u << bits) - 1;
	}
	return bits >= 6 || v ? -1 : (int)n;
}

void pair_token_encode(const struct pair_token *t, char ret[PAIR_TOKEN_TEXT_MAX])
{
	uint8_t raw[RAW_MAX];
	struct bytes b = bytes_of(raw, sizeof(raw));

	bytes_put8(&b, VERSION);
	bytes_put64(&b, (uint64_t)t->expiry_s);
	bytes_put_mem(&b, t->fingerprint, sizeof(t->fingerprint));
	bytes_put_mem(&b, t->secret, sizeof(t->secret));
	bytes_put16(&b, t->port);
	bytes_put8(&b, (uint8_t)strlen(t->host));
	bytes_put_mem(&b, t->host, strlen(t->host));
	bytes_put8(&b, (uint8_t)strlen(t->domain));
	bytes_put_mem(&b, t->domain, strlen(t->domain));
	ensure(!b.bad);
	base64_encode(raw, b.at, ret);
	explicit_bzero(raw, sizeof(raw));
}

static void take_text(struct bytes *b, char *ret, size_t size)
{
	size_t len = bytes_get8(b);

	if (len >= size)
		b->bad = true;
	else
		bytes_get_mem(b, ret, len);
	if (strlen(ret) != len) /* a zero in it */
		b->bad = true;
}

int pair_token_decode(const char *text, struct pair_token *ret_t, struct err *e)
{
	size_t begin = strspn(text, " \t\r\n"), len = strcspn(text + begin, " \t\r\n");
	struct pair_token t = {0};
	uint8_t raw[RAW_MAX];
	struct bytes b;
	unsigned version;
	int n = base64_decode(text + begin, len, raw, sizeof(raw));

	if (n <= 0 || text[begin + len + strspn(text + begin + len, " \t\r\n")])
		return err_set(e, -EBADMSG, "this is no token: copy all of it, and nothing else");
	b = bytes_of(raw, (size_t)n);
	version = bytes_get8(&b);
	if (version != VERSION)
		return err_set(e, -EBADMSG,
			"the token has version %u, this tandemctl knows %u: the sites have "
			"different "
			"versions",
			version, VERSION);
	t.expiry_s = (int64_t)bytes_get64(&b);
	bytes_get_mem(&b, t.fingerprint, sizeof(t.fingerprint));
	bytes_get_mem(&b, t.secret, sizeof(t.secret));
	t.port = bytes_get16(&b);
	take_text(&b, t.host, sizeof(t.host));
	take_text(&b, t.domain, sizeof(t.domain));
	explicit_bzero(raw, sizeof(raw));
	if (b.bad || bytes_left(&b) || !t.port || !pair_valid_host(t.host) ||
		!pair_valid_domain(t.domain))
		return err_set(e, -EBADMSG, "the token is damaged: copy all of it");
	*ret_t = t;
	return 0;
}

bool pair_same_secret(const uint8_t a[PAIR_SECRET_LEN], const uint8_t b[PAIR_SECRET_LEN])
{
	volatile uint8_t differs = 0;

	for (unsigned i = 0; i < PAIR_SECRET_LEN; i++)
		differs = differs | (a[i] ^ b[i]);
	return !differs;
}

static bool all_of(const char *text, size_t len, const char *more)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !(text[i] && strchr(more, text[i])))
			return false;
	return len > 0;
}

bool pair_valid_domain(const char *text)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (isupper((unsigned char)text[i]))
			return false;
	return len <= DOMAIN_LEN_MAX && all_of(text, len, "-_") && isalnum((unsigned char)text[0]);
}

bool pair_valid_host(const char *text)
{
	size_t len = strlen(text);

	if (len > PAIR_HOST_MAX)
		return false;
	if (text[0] == '[')
		return len > 3 && text[len - 1] == ']' && all_of(text + 1, len - 2, ":.") &&
		       strchr(text, ':');
	return all_of(text, len, ".-") && isalnum((unsigned char)text[0]);
}

bool pair_valid_address(const char *text)
{
	const char *colon = strrchr(text, ':');
	char host[PAIR_HOST_MAX + 1];
	size_t n = colon ? strspn(colon + 1, "0123456789") : 0;

	if (!colon || !n || n > 5 || colon[1 + n] || (size_t)(colon - text) > PAIR_HOST_MAX)
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
	return pair_valid_host(host) && atoi(colon + 1) > 0 && atoi(colon + 1) <= 65535;
}

void pair_hex(const uint8_t *p, size_t len, char *ret)
{
	for (size_t i = 0; i < len; i++)
		snprintf(ret + 2 * i, 3, "%02x", p[i]);
	ret[2 * len] = '\0';
}

static bool unhex(const char *text, uint8_t *ret, size_t len)
{
	if (strlen(text) != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		char pair[3] = {text[2 * i], text[2 * i + 1], 0};

		if (strspn(pair, "0123456789abcdef") != 2)
			return false;
		ret[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return true;
}

/* ---- messages ---- */

static bool take(const struct json *j, const char *key, char *ret, size_t size)
{
	const char *text = json_get_string(j, key, "");
	size_t len = strlen(text);

	if (len >= size)
		return false;
	memcpy(ret, text, len + 1);
	return true;
}

/* Words for a person: cut off, and without what a terminal would obey. */
static void take_words(const struct json *j, const char *key, char *ret, size_t size)
{
	snprintf(ret, size, "%s", json_get_string(j, key, ""));
	for (char *p = ret; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
}

static int parse(const char *text, size_t len, struct json **ret_j, struct err *e)
{
	int ret = len <= PAIR_MESSAGE_MAX ? json_parse(text, len, ret_j, e) : -EBADMSG;

	if (!ret && !json_is_object(*ret_j)) {
		json_free(*ret_j);
		ret = -EBADMSG;
	}
	return ret ? err_set(e, -EBADMSG,
			     "the other side speaks another language than tandemctl pair")
		   : 0;
}

struct json *pair_hello_encode(const struct pair_hello *h)
{
	struct json *j = json_object();
	char secret[2 * PAIR_SECRET_LEN + 1];

	pair_hex(h->secret, PAIR_SECRET_LEN, secret);
	json_set_string(j, "secret", secret);
	json_set_string(j, "domain", h->domain);
	json_set_string(j, "address", h->address);
	json_set_string(j, "request", h->request);
	json_set_string(j, "authority", h->authority);
	json_set_int(j, "now", h->now_s);
	explicit_bzero(secret, sizeof(secret));
	return j;
}

int pair_hello_decode(const char *text, size_t len, struct pair_hello *ret_h, struct err *e)
{
	struct pair_hello h = {0};
	uint8_t authority[CERTIFICATE_FINGERPRINT_LEN];
	struct json *j;
	int ret = parse(text, len, &j, e);

	if (ret)
		return ret;
	if (!unhex(json_get_string(j, "secret", ""), h.secret, PAIR_SECRET_LEN) ||
		!take(j, "domain", h.domain, sizeof(h.domain)) || !pair_valid_domain(h.domain) ||
		!take(j, "address", h.address, sizeof(h.address)) ||
		!pair_valid_address(h.address) ||
		!take(j, "request", h.request, sizeof(h.request)) ||
		!take(j, "authority", h.authority, sizeof(h.authority)) ||
		(h.authority[0] && !unhex(h.authority, authority, sizeof(authority))))
		ret = err_set(e, -EBADMSG, "what the other side asks for makes no sense");
	h.now_s = json_get_int(j, "now", 0);
	json_free(j);
	if (!ret)
		*ret_h = h;
	return ret;
}

struct json *pair_welcome_encode(const struct pair_welcome *w)
{
	struct json *j = json_object();

	if (w->refusal[0]) {
		json_set_string(j, "refusal", w->refusal);
		return j;
	}
	json_set_string(j, "address", w->address);
	json_set_string(j, "certificate", w->certificate);
	json_set_string(j, "authority", w->authority);
	return j;
}

int pair_welcome_decode(const char *text, size_t len, struct pair_welcome *ret_w, struct err *e)
{
	struct pair_welcome w = {0};
	struct json *j;
	int ret = parse(text, len, &j, e);

	if (ret)
		return ret;
	take_words(j, "refusal", w.refusal, sizeof(w.refusal));
	if (!w.refusal[0] &&
		(!take(j, "address", w.address, sizeof(w.address)) ||
			!pair_valid_address(w.address) ||
			!take(j, "certificate", w.certificate, sizeof(w.certificate)) ||
			!take(j, "authority", w.authority, sizeof(w.authority)) ||
			!w.certificate[0] || !w.authority[0]))
		ret = err_set(e, -EBADMSG, "what the other side answers makes no sense");
	json_free(j);
	if (!ret)
		*ret_w = w;
	return ret;
}

struct json *pair_report_encode(const struct pair_report *r)
{
	struct json *j = json_object();

	json_set_bool(j, "ok", r->ok);
	json_set_string(j, "text", r->text);
	return j;
}

int pair_report_decode(const char *text, size_t len, struct pair_report *ret_r, struct err *e)
{
	struct pair_report r = {0};
	struct json *j;
	int ret = parse(text, len, &j, e);

	if (ret)
		return ret;
	r.ok = json_get_bool(j, "ok", false);
	take_words(j, "text", r.text, sizeof(r.text));
	json_free(j);
	*ret_r = r;
	return 0;
}
