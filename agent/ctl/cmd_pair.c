/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl pair: on the first site it makes certificates, prints a token and waits; on the other one the token
 * is its argument. What follows goes over one TLS connection whose certificate's fingerprint is in the token:
 *
 *   joins (cmd_pair_join.c)                       offers (this file)
 *   hello: secret, domain, address, request  ->   compares, signs
 *   writes its files                         <-   welcome: certificate, authority, address; or a refusal
 *   report: ready                            ->   dials the other's agent address, wants its name
 *   dials in turn                            <-   report of that
 *   writes agent.conf                             writes agent.conf
 *   report of that                           ->
 *
 * A private key never leaves its site. A token counts once: it is used up when a certificate was signed for it.
 * A refusal for another reason than a wrong secret leaves it valid, so that the cause can be removed and the
 * same command typed again. Typed again on sites that are paired, certificates are renewed and the authority is
 * kept; with another site, that one joins the same authority.
 *
 * Failure modes: whatever ends in between, on either side, leaves whole files (pair_files.h), and both commands
 * are typed again. WRONG_MAX wrong secrets end the waiting: nobody guesses 128 bits, but a person should know.
 */
#include "pair.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "agent_config.h"
#include "clock.h"
#include "http.h"
#include "server_impl.h"

#define WAIT_MS 600000u
#define RELOAD_MS 5000u
#define HELLO_S 10u
#define WRONG_MAX 5u

struct offer {
	struct ctl *c;
	struct pair_site site;
	struct pair_token token;
	char *authority, *authority_key; /* texts */
	char fingerprint[2 * CERTIFICATE_FINGERPRINT_LEN + 1]; /* of the authority */
	struct tls_context *ctx;
	struct pair_hello hello; /* of who has the right token */
	unsigned wrong; /* secrets so far */
};

int pair_site_of(struct ctl *c, struct pair_site *ret_s)
{
	static struct pair_site s;
	const char *dir = c->config_dir ? c->config_dir : "/etc/tandemfs";
	struct err e;
	int fd;

	s = (struct pair_site){.port = 0};
	if (dir[0] != '/' || strlen(dir) >= sizeof(s.dir) || strpbrk(dir, "\n#"))
		return ctl_usage_error(c, "pair", "--config-dir '%s': an absolute path", dir);
	if (c->domain && (!pair_valid_domain(c->domain) || !c->domain[0]))
		return ctl_usage_error(c, "pair",
			"--domain '%s': letters a-z, digits, '-' and '_', at most %u", c->domain,
			DOMAIN_LEN_MAX);
	if (c->address && !pair_valid_host(c->address))
		return ctl_usage_error(c, "pair",
			"--address '%s': a host, without a port; an IPv6 address stands in "
			"brackets",
			c->address);
	if (c->port && (strspn(c->port, "0123456789") != strlen(c->port) || atoi(c->port) < 1 ||
			       atoi(c->port) > 65534))
		return ctl_usage_error(c, "pair", "--port '%s': from 1 to 65534", c->port);
	snprintf(s.domain, sizeof(s.domain), "%s", c->domain ? c->domain : "");
	snprintf(s.host, sizeof(s.host), "%s", c->address ? c->address : "");
	s.port = c->port ? (unsigned)atoi(c->port) : 0;
	pair_site_paths(&s, dir);
	if (pair_config_defaults(&s, &e))
		return ctl_fail(c, "%s", e.msg);
	if (!s.domain[0] || !s.host[0])
		return ctl_usage_error(c, "pair", "%s of this site is needed",
			s.domain[0] ? "--address" : "--domain");
	s.port = s.port ? s.port : PAIR_PORT;
	snprintf(s.address, sizeof(s.address), "%s:%u", s.host, s.port & 0xffff);
	pair_site_paths(&s, dir);
	fd = server_listen_tcp(s.address, &e); /* is it of this node? */
	if (fd >= 0)
		close(fd);
	if (fd < 0 && fd != -EADDRINUSE)
		return ctl_fail(c, "--address: %s", e.msg);
	if (pair_make_directories(&s, &e))
		return ctl_fail(c, "%s", e.msg);
	*ret_s = s;
	return CTL_OK;
}

static int say_config(struct ctl *c, const struct pair_site *s, const char *peer,
	const char *peer_address, bool *ret_changed)
{
	char *lines = NULL;
	struct err e;
	int ret = pair_config_extend(s, peer, peer_address, ret_changed, &lines, &e);

	if (ret == -EEXIST)
		ret = ctl_fail(c,
			"%s\nThe certificates are in place. '%s' was not changed; it needs:\n\n%s",
			e.msg, s->config, lines);
	else if (ret)
		ret = ctl_fail(
			c, "the certificates are in place, but not the configuration: %s", e.msg);
	free(lines);
	return ret;
}

/* The agent that runs here with this file takes what is new in it at once. */
static void tell_agent(struct ctl *c, const struct pair_site *s)
{
	static struct agent_config config; /* large */
	struct json *j = NULL;
	unsigned status = 0;
	struct err e;
	int ret = agent_config_load(s->config, &config, &e);

	if (!ret)
		ret = http_call_unix(config.socket, "/v1/reload", "{}", RELOAD_MS, &status, &j, &e);
	if (!ret && status == 200 && !strcmp(json_get_string(j, "config", ""), s->config))
		fprintf(c->out, "'%s' is written, and the agent that runs here has read it.\n",
			s->config);
	else
		fprintf(c->out,
			"'%s' is written. Start the agent with it (volumes that run go on):\n"
			"  systemctl enable tandem-agent && systemctl restart tandem-agent\n",
			s->config);
	if (!ret && status != 200)
		fprintf(c->out, "The agent that runs here has not taken it: %s\n",
			json_get_string(j, "error", "it gives no reason"));
	json_free(j);
	fputs("When both sites are ready: tandemctl create volume NAME --size SIZE\n", c->out);
}

int pair_finish(struct ctl *c, const struct pair_site *s, const char *peer,
	const char *peer_address, const struct pair_report *own, const struct pair_report *report)
{
	bool changed = false;
	int status = say_config(c, s, peer, peer_address, &changed);

	fprintf(c->out, "Paired: %s (this site, %s) with %s (%s).\n", s->domain, s->address, peer,
		peer_address);
	fprintf(c->out, "  from here to %s: %s\n", peer,
		own->ok ? "reached, and its name is right" : own->text);
	fprintf(c->out, "  from %s to here: %s\n", peer,
		report->ok ? "reached, and this site's name is right" : report->text);
	if (changed)
		tell_agent(c, s);
	else if (!status)
		fputs("The certificates are renewed; what runs reads them by itself.\n", c->out);
	if (!own->ok || !report->ok)
		status = ctl_fail(c,
			"not every direction works yet: look at addresses and firewalls (port "
			"%u and those of the volumes), then 'tandemctl pair' again",
			s->port);
	return status;
}

/* A certificate for this site, signed here. */
static int make_identity(struct offer *o, struct err *e)
{
	char *request = NULL, *key = NULL, *certificate = NULL;
	struct certificate_info info;
	int ret = pair_authority(&o->site, &o->authority, &o->authority_key, e);

	if (!ret)
		ret = pair_authority_fingerprint(&o->site, o->fingerprint, e);
	if (!ret)
		ret = certificate_make_request(&request, &key, e);
	if (!ret)
		ret = certificate_issue(
			o->authority, o->authority_key, request, o->site.domain, &certificate, e);
	if (!ret)
		ret = pair_write_identity(&o->site, certificate, key, e);
	if (!ret)
		ret = certificate_read(certificate, &info, e);
	if (!ret)
		memcpy(o->token.fingerprint, info.fingerprint, sizeof(info.fingerprint));
	if (!ret)
		ret = tls_context_new_unverified(o->site.identity, o->site.identity, &o->ctx, e);
	certificate_text_free(request);
	certificate_text_free(key);
	certificate_text_free(certificate);
	return ret;
}

static void print_token(struct offer *o, unsigned wait_ms)
{
	char text[PAIR_TOKEN_TEXT_MAX];

	pair_token_encode(&o->token, text);
	fprintf(o->c->out,
		"Type on the other site within %u minutes, with its own domain and address:\n\n"
		"  tandemctl pair - --domain OTHER-DOMAIN --address ITS-ADDRESS <<<%s\n\n"
		"The token counts once. Whoever has it can join these sites: do not send it where "
		"others read.\n"
		"Waiting on %s:%u ...\n",
		(wait_ms + 59999) / 60000, text, o->site.host, o->site.port + 1);
	fflush(o->c->out);
	explicit_bzero(text, sizeof(text));
}

/* Why it is not let in, into `w`; false when it is. */
static bool refuses(struct offer *o, const struct pair_hello *h, struct pair_welcome *w)
{
	int64_t apart = h->now_s - (int64_t)time(NULL);

	if (!pair_same_secret(h->secret, o->token.secret)) {
		o->wrong++;
		fprintf(o->c->err, "tandemctl: somebody came with a wrong token (%u of %u)\n",
			o->wrong, WRONG_MAX);
		snprintf(w->refusal, sizeof(w->refusal),
			"the token is wrong: it is another pairing's");
	} else if (!strcmp(h->domain, o->site.domain)) {
		snprintf(w->refusal, sizeof(w->refusal),
			"both sites cannot be '%.64s': choose another --domain", h->domain);
	} else if (!strcmp(h->address, o->site.address)) {
		snprintf(w->refusal, sizeof(w->refusal),
			"both sites cannot have the address '%.120s'", h->address);
	} else if (h->authority[0] && strcmp(h->authority, o->fingerprint) != 0) {
		snprintf(w->refusal, sizeof(w->refusal),
			"'%.64s' has certificates of another authority: move its pki/ca.pem away "
			"first, or "
			"pair from the site that made it",
			h->domain);
	} else if (apart > PAIR_CLOCK_S || apart < -PAIR_CLOCK_S) {
		snprintf(w->refusal, sizeof(w->refusal),
			"the clocks are %lld minutes apart, certificates would not be valid: set "
			"the clocks, and "
			"type the same again",
			(long long)(apart < 0 ? -apart : apart) / 60);
	}
	return w->refusal[0];
}

/* 0: it has its certificate. -EAGAIN: it was refused, or made no sense. */
static int answer_hello(struct offer *o, struct pair_link *l, struct err *e)
{
	static char buf[PAIR_MESSAGE_MAX];
	struct pair_welcome w = {0};
	struct pair_hello h = {0};
	char *certificate = NULL;
	int n = pair_link_receive(l, buf, e);

	if (n < 0)
		return -EAGAIN;
	if (pair_hello_decode(buf, (size_t)n, &h, e))
		snprintf(w.refusal, sizeof(w.refusal), "%s", e->msg);
	else if (!refuses(o, &h, &w) && certificate_issue(o->authority, o->authority_key, h.request,
						h.domain, &certificate, e))
		snprintf(w.refusal, sizeof(w.refusal), "%.200s", e->msg);
	if (w.refusal[0]) {
		fprintf(o->c->err, "tandemctl: refused: %s\n", w.refusal);
		pair_link_send(l, pair_welcome_encode(&w), e);
		return -EAGAIN;
	}
	snprintf(w.address, sizeof(w.address), "%s", o->site.address);
	snprintf(w.authority, sizeof(w.authority), "%s", o->authority);
	snprintf(w.certificate, sizeof(w.certificate), "%s", certificate);
	certificate_text_free(certificate);
	o->hello = h;
	explicit_bzero(o->token.secret, sizeof(o->token.secret));
	l->until_ns = clock_mono_ns() + PAIR_STEP_S * NS_PER_S;
	return pair_link_send(l, pair_welcome_encode(&w), e);
}

/* Serves whoever comes, one after the other, until somebody has the right token. */
static int wait_for_hello(
	struct offer *o, int listen_fd, uint64_t until_ns, struct pair_link *ret_l)
{
	struct err e;

	while (clock_mono_ns() < until_ns) {
		struct pollfd p = {.fd = listen_fd, .events = POLLIN};
		struct pair_link l;
		int fd, ret;

		if (poll(&p, 1, (int)MIN((until_ns - clock_mono_ns()) / NS_PER_MS + 1, 60000)) <= 0)
			continue;
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			continue;
		ret = pair_link_open(
			&l, o->ctx, fd, true, clock_mono_ns() + HELLO_S * NS_PER_S, &e);
		if (!ret)
			ret = answer_hello(o, &l, &e);
		else
			ret = -EAGAIN;
		if (!ret) {
			*ret_l = l;
			return CTL_OK;
		}
		pair_link_close(&l);
		if (ret != -EAGAIN)
			return ctl_fail(o->c,
				"the pairing was interrupted: %s; type it again on both sites",
				e.msg);
		if (o->wrong >= WRONG_MAX)
			return ctl_fail(o->c,
				"%u wrong tokens: the waiting ends, and the token with it",
				o->wrong);
	}
	return ctl_fail(o->c, "the token has expired: nobody came with it in time");
}

/* The other side has its files: who reaches whom? */
static int check_both(struct offer *o, struct pair_link *l, struct pair_report *own,
	struct pair_report *theirs, struct err *e)
{
	static char buf[PAIR_MESSAGE_MAX];
	struct pair_identity id = pair_site_identity(&o->site);
	struct err why;
	int n = pair_link_receive(l, buf, e);

	if (n < 0 || pair_report_decode(buf, (size_t)n, theirs, e))
		return e->code;
	if (!theirs->ok)
		return err_set(e, -EIO, "%s: %.200s", o->hello.domain, theirs->text);
	own->ok = pair_check(&id, o->hello.address, o->hello.domain,
			  clock_mono_ns() + HELLO_S * NS_PER_S, &why) == 0;
	snprintf(own->text, sizeof(own->text), "%s", own->ok ? "" : why.msg);
	n = pair_link_send(l, pair_report_encode(own), e);
	if (!n)
		n = pair_link_receive(l, buf, e);
	return n < 0 ? n : pair_report_decode(buf, (size_t)n, theirs, e);
}

static int pair_with(struct offer *o, struct pair_link *l)
{
	struct pair_report own = {0}, theirs = {0};
	struct pair_identity id = pair_site_identity(&o->site);
	struct pair_answerer answerer;
	struct err e;
	int ret = pair_answerer_start(&answerer, &id, o->site.address, o->hello.domain, &e);

	if (!ret) {
		ret = check_both(o, l, &own, &theirs, &e);
		pair_answerer_stop(&answerer);
	}
	if (ret)
		return ctl_fail(o->c,
			"the pairing was interrupted: %s; type it again on both sites", e.msg);
	return pair_finish(o->c, &o->site, o->hello.domain, o->hello.address, &own, &theirs);
}

static int offer(struct offer *o)
{
	unsigned wait_ms = o->c->timeout_ms ? o->c->timeout_ms : WAIT_MS;
	uint64_t until_ns = clock_mono_ns() + wait_ms * NS_PER_MS;
	char address[PAIR_ADDRESS_MAX + 1];
	struct pair_link l;
	struct err e;
	int fd, status;

	if (make_identity(o, &e))
		return ctl_fail(o->c, "%s", e.msg);
	snprintf(address, sizeof(address), "%s:%u", o->site.host, (o->site.port + 1) & 0xffff);
	fd = server_listen_tcp(address, &e);
	if (fd < 0)
		return ctl_fail(o->c, "%s%s", e.msg,
			fd == -EADDRINUSE ? ": does another 'tandemctl pair' wait here?" : "");
	o->token.port = (uint16_t)(o->site.port + 1);
	o->token.expiry_s = time(NULL) + wait_ms / 1000;
	snprintf(o->token.host, sizeof(o->token.host), "%s", o->site.host);
	snprintf(o->token.domain, sizeof(o->token.domain), "%s", o->site.domain);
	ensure(getrandom(o->token.secret, PAIR_SECRET_LEN, 0) == PAIR_SECRET_LEN);
	print_token(o, wait_ms);
	status = wait_for_hello(o, fd, until_ns, &l);
	close(fd);
	if (status)
		return status;
	status = pair_with(o, &l);
	pair_link_close(&l);
	return status;
}

int cmd_pair(struct ctl *c, unsigned nargs, const char *const *args)
{
	static struct offer o;
	int status;

	status = c->show ? ctl_refuse(c, "pair", "--show",
				   "--domain --address --port --timeout --run-dir")
			 : ctl_refuse(c, "pair", nargs ? "TOKEN" : "", "--output");
	if (status)
		return status;
	if (c->show)
		return nargs ? ctl_usage_error(c, "pair", "--show takes no token") : pair_show(c);
	if (nargs)
		return pair_join(c, args[0]);
	o = (struct offer){.c = c};
	status = pair_site_of(c, &o.site);
	if (!status)
		status = offer(&o);
	tls_context_free(o.ctx);
	certificate_text_free(o.authority);
	certificate_text_free(o.authority_key);
	return status;
}
