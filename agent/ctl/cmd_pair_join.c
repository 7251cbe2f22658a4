/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl pair TOKEN: the site that joins. cmd_pair.c has the conversation and its failure modes. The secret
 * is sent only to the certificate that the token names; anybody else who listens there learns nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "pair.h"

#define CONNECT_S 15u

struct join {
	struct ctl *c;
	struct pair_site site;
	struct pair_token token;
	struct pair_hello hello;
	struct pair_welcome welcome;
	char *request, *key;
	struct pair_link link;
	struct tls_context *ctx;
};

/* The token itself, or what is typed or piped for '-'. */
static int take_token(struct join *j, const char *text)
{
	char line[2 * PAIR_TOKEN_TEXT_MAX];
	struct err e;
	int ret;

	if (!strcmp(text, "-")) {
		if (j->c->terminal)
			fputs("Token: ", j->c->out), fflush(j->c->out);
		if (!fgets(line, sizeof(line), j->c->in))
			return ctl_fail(j->c, "no token came from standard input");
		text = line;
	}
	ret = pair_token_decode(text, &j->token, &e);
	explicit_bzero(line, sizeof(line));
	return ret ? ctl_fail(j->c, "%s", e.msg) : CTL_OK;
}

/* A connection to the one whose certificate the token names. */
static int connect_there(struct join *j)
{
	uint64_t until_ns = clock_mono_ns() + CONNECT_S * NS_PER_S;
	uint8_t fingerprint[TLS_FINGERPRINT_LEN];
	char address[PAIR_ADDRESS_MAX + 1];
	struct err e;
	int ret;

	snprintf(address, sizeof(address), "%s:%u", j->token.host, j->token.port);
	ret = tls_context_new_unverified(NULL, NULL, &j->ctx, &e);
	if (ret)
		return ctl_fail(j->c, "%s", e.msg);
	ret = pair_dial(address, until_ns, &e);
	if (ret == -ECONNREFUSED)
		return ctl_fail(j->c, "nobody waits on %s: %s; type 'tandemctl pair' there again",
			address,
			time(NULL) > j->token.expiry_s
				? "the token has expired"
				: "the token was used, or 'tandemctl pair' has ended there");
	if (ret < 0)
		return ctl_fail(j->c, "cannot reach %s at %s: %s%s", j->token.domain, address,
			e.msg, time(NULL) > j->token.expiry_s ? "; and the token has expired" : "");
	ret = pair_link_open(&j->link, j->ctx, ret, false, until_ns, &e);
	if (ret)
		return ctl_fail(j->c, "%s: %s", address, e.msg);
	if (!tls_peer_fingerprint(j->link.tls, fingerprint) ||
		memcmp(fingerprint, j->token.fingerprint, sizeof(fingerprint)) != 0)
		return ctl_fail(j->c,
			"who answers on %s is not who made the token: the token is of an earlier "
			"'tandemctl pair', or somebody is in between; nothing was sent",
			address);
	j->link.until_ns = clock_mono_ns() + PAIR_STEP_S * NS_PER_S;
	return CTL_OK;
}

static int interrupted(struct join *j, const struct err *e)
{
	return ctl_fail(
		j->c, "the pairing was interrupted: %s; type it again on both sites", e->msg);
}

static int receive(struct join *j, char *buf, struct err *e)
{
	return pair_link_receive(&j->link, buf, e);
}

static int ask(struct join *j)
{
	static char buf[PAIR_MESSAGE_MAX];
	struct err e;
	int n;

	memcpy(j->hello.secret, j->token.secret, PAIR_SECRET_LEN);
	snprintf(j->hello.domain, sizeof(j->hello.domain), "%s", j->site.domain);
	snprintf(j->hello.address, sizeof(j->hello.address), "%s", j->site.address);
	snprintf(j->hello.request, sizeof(j->hello.request), "%s", j->request);
	j->hello.now_s = time(NULL);
	n = pair_link_send(&j->link, pair_hello_encode(&j->hello), &e);
	if (!n)
		n = receive(j, buf, &e);
	if (n >= 0 && !pair_welcome_decode(buf, (size_t)n, &j->welcome, &e)) {
		if (j->welcome.refusal[0])
			return ctl_fail(
				j->c, "%s refuses: %s", j->token.domain, j->welcome.refusal);
		return CTL_OK;
	}
	return interrupted(j, &e);
}

/* What came is what was asked for, and takes nothing's place that is another's. */
static int keep(struct join *j)
{
	struct certificate_info info;
	char theirs[2 * CERTIFICATE_FINGERPRINT_LEN + 1];
	struct err e;
	int ret = certificate_check(
		j->welcome.certificate, j->key, j->welcome.authority, j->site.domain, &e);

	if (!ret)
		ret = certificate_read(j->welcome.authority, &info, &e);
	if (ret)
		return ctl_fail(j->c, "what %s sent is not used: %s", j->token.domain, e.msg);
	pair_hex(info.fingerprint, sizeof(info.fingerprint), theirs);
	if (j->hello.authority[0] && strcmp(theirs, j->hello.authority) != 0)
		return ctl_fail(j->c,
			"'%s' is another authority than that of %s: move it away first", j->site.ca,
			j->token.domain);
	if (!j->hello.authority[0])
		ret = pair_write_file(j->site.ca, j->welcome.authority, 0644, &e);
	if (!ret)
		ret = pair_write_identity(&j->site, j->welcome.certificate, j->key, &e);
	return ret ? ctl_fail(j->c, "%s", e.msg) : CTL_OK;
}

/* Both directions: it dials first, then this side. */
static int check_both(struct join *j)
{
	static char buf[PAIR_MESSAGE_MAX];
	struct pair_report own = {0}, theirs = {0}, ready = {.ok = true};
	struct pair_identity id = pair_site_identity(&j->site);
	struct pair_answerer answerer;
	struct err e, why;
	int n = pair_answerer_start(&answerer, &id, j->site.address, j->token.domain, &e);

	if (n)
		return interrupted(j, &e);
	n = pair_link_send(&j->link, pair_report_encode(&ready), &e);
	if (!n)
		n = receive(j, buf, &e);
	if (n >= 0)
		n = pair_report_decode(buf, (size_t)n, &theirs, &e);
	pair_answerer_stop(&answerer);
	if (n < 0)
		return interrupted(j, &e);
	own.ok = pair_check(&id, j->welcome.address, j->token.domain,
			 clock_mono_ns() + CONNECT_S * NS_PER_S, &why) == 0;
	snprintf(own.text, sizeof(own.text), "%s", own.ok ? "" : why.msg);
	n = pair_link_send(&j->link, pair_report_encode(&own), &e);
	if (n)
		return interrupted(j, &e);
	return pair_finish(j->c, &j->site, j->token.domain, j->welcome.address, &own, &theirs);
}

static int join(struct join *j)
{
	struct err e;
	int status;

	if (!strcmp(j->site.domain, j->token.domain))
		return ctl_fail(
			j->c, "both sites cannot be '%s': choose another --domain", j->site.domain);
	if (pair_authority_fingerprint(&j->site, j->hello.authority, &e) ||
		certificate_make_request(&j->request, &j->key, &e))
		return ctl_fail(j->c, "%s", e.msg);
	status = connect_there(j);
	if (!status)
		status = ask(j);
	if (!status)
		status = keep(j);
	return status ? status : check_both(j);
}

int pair_join(struct ctl *c, const char *token)
{
	static struct join j; /* large */
	int status;

	j = (struct join){.c = c, .link = {.fd = -1}};
	status = take_token(&j, token);
	if (!status)
		status = pair_site_of(c, &j.site);
	if (!status)
		status = join(&j);
	pair_link_close(&j.link);
	tls_context_free(j.ctx);
	certificate_text_free(j.request);
	certificate_text_free(j.key);
	explicit_bzero(&j, sizeof(j));
	return status;
}
