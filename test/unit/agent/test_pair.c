/* SPDX-License-Identifier: Apache-2.0 */
/* The pairing's token and messages, and what it does to an agent.conf. */
#include <criterion/criterion.h>
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certificate.h"
#include "clock.h"
#include "pair_files.h"
#include "pair_link.h"
#include "pair_token.h"

static struct pair_token token_of(const char *host, const char *domain)
{
	struct pair_token t = {.expiry_s = 1800000000, .port = 7402};

	memset(t.fingerprint, 0xab, sizeof(t.fingerprint));
	for (unsigned i = 0; i < PAIR_SECRET_LEN; i++)
		t.secret[i] = (uint8_t)(i * 17);
	snprintf(t.host, sizeof(t.host), "%s", host);
	snprintf(t.domain, sizeof(t.domain), "%s", domain);
	return t;
}

Test(pair, a_token_of_any_length_reads_as_what_was_written)
{
	char host[PAIR_HOST_MAX + 1] = "", text[PAIR_TOKEN_TEXT_MAX],
				  padded[PAIR_TOKEN_TEXT_MAX + 8];
	struct err e;

	for (unsigned i = 0; i < PAIR_HOST_MAX; i++) {
		struct pair_token t, got;

		host[i] = 'h';
		t = token_of(host, "site-a");
		pair_token_encode(&t, text);
		snprintf(padded, sizeof(padded), " %s\r\n", text);
		cr_assert_eq(pair_token_decode(padded, &got, &e), 0, "%s", e.msg);
		cr_assert_str_eq(got.host, host);
		cr_assert_str_eq(got.domain, "site-a");
		cr_assert_eq(got.port, 7402);
		cr_assert_eq(got.expiry_s, 1800000000);
		cr_assert(pair_same_secret(got.secret, t.secret));
		cr_assert_eq(memcmp(got.fingerprint, t.fingerprint, sizeof(t.fingerprint)), 0);
	}
}

Test(pair, a_token_that_is_cut_or_extended_is_refused)
{
	struct pair_token t = token_of("10.0.0.1", "site-a"), got;
	char text[PAIR_TOKEN_TEXT_MAX], cut[PAIR_TOKEN_TEXT_MAX + 8];
	struct err e;

	pair_token_encode(&t, text);
	for (size_t n = 0; n < strlen(text); n++) {
		snprintf(cut, sizeof(cut), "%.*s", (int)n, text);
		cr_assert_eq(pair_token_decode(cut, &got, &e), -EBADMSG, "%zu characters", n);
	}
	snprintf(cut, sizeof(cut), "%sAAAA", text);
	cr_assert_eq(pair_token_decode(cut, &got, &e), -EBADMSG);
	snprintf(cut, sizeof(cut), "%s more", text);
	cr_assert_eq(pair_token_decode(cut, &got, &e), -EBADMSG);
	t = token_of("10.0.0.1\n[x]", "site-a");
	pair_token_encode(&t, text);
	cr_assert_eq(pair_token_decode(text, &got, &e), -EBADMSG);
	t = token_of("10.0.0.1", "../site-a");
	pair_token_encode(&t, text);
	cr_assert_eq(pair_token_decode(text, &got, &e), -EBADMSG);
}

Test(pair, secrets_that_differ_in_one_bit_are_not_the_same)
{
	struct pair_token a = token_of("h", "d"), b = a;

	for (unsigned i = 0; i < PAIR_SECRET_LEN * 8; i++) {
		b = a;
		b.secret[i / 8] ^= (uint8_t)(1u << i % 8);
		cr_assert_not(pair_same_secret(a.secret, b.secret));
	}
}

Test(pair, addresses_take_nothing_that_a_configuration_would_read_otherwise)
{
	cr_assert(pair_valid_address("10.0.0.1:7401"));
	cr_assert(pair_valid_address("[fe80::1]:7401"));
	cr_assert(pair_valid_address("a.example:1"));
	cr_assert_not(pair_valid_address("10.0.0.1"));
	cr_assert_not(pair_valid_address("10.0.0.1:0"));
	cr_assert_not(pair_valid_address("10.0.0.1:65536"));
	cr_assert_not(pair_valid_address("10.0.0.1:7401\nca = /x"));
	cr_assert_not(pair_valid_address("fe80::1:7401"));
	cr_assert_not(pair_valid_address(" a:1"));
	cr_assert_not(pair_valid_address(":1"));
}

Test(pair, a_hello_reads_as_what_was_written_and_not_with_another_domain_or_secret)
{
	struct pair_hello h = {
		.domain = "site-b", .address = "10.0.0.2:7401", .request = "R", .now_s = 5};
	struct pair_hello got;
	struct json *j = pair_hello_encode(&h);
	struct err e;
	const char *bad[] = {"{}", "[]", "nothing",
		"{\"secret\":\"00\",\"domain\":\"site-b\",\"address\":\"a:1\",\"request\":\"R\"}"};

	cr_assert_eq(
		pair_hello_decode(json_text(j, false), strlen(json_text(j, false)), &got, &e), 0);
	cr_assert_str_eq(got.domain, "site-b");
	cr_assert_str_eq(got.address, "10.0.0.2:7401");
	cr_assert_eq(got.now_s, 5);
	json_set_string(j, "domain", "Site B");
	cr_assert_eq(pair_hello_decode(json_text(j, false), strlen(json_text(j, false)), &got, &e),
		-EBADMSG);
	json_free(j);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(pair_hello_decode(bad[i], strlen(bad[i]), &got, &e), -EBADMSG, "%s",
			bad[i]);
}

/* ---- agent.conf ---- */

static struct pair_site site;
static char dir[64];

static void put(const char *path, const char *text)
{
	struct err e;

	cr_assert_eq(pair_write_file(path, text, 0600, &e), 0, "%s", e.msg);
}

static void make_site(const char *config)
{
	struct err e;

	snprintf(dir, sizeof(dir), "/tmp/test-pair.XXXXXX");
	cr_assert(mkdtemp(dir));
	snprintf(site.domain, sizeof(site.domain), "site-a");
	snprintf(site.address, sizeof(site.address), "10.0.0.1:7401");
	pair_site_paths(&site, dir);
	cr_assert_eq(pair_make_directories(&site, &e), 0);
	put(site.ca, "x");
	put(site.identity, "x");
	if (config)
		put(site.config, config);
}

static void remove_site(void)
{
	char pki[128];

	snprintf(pki, sizeof(pki), "%s/pki", dir);
	unlink(site.ca);
	unlink(site.identity);
	unlink(site.config);
	cr_expect_eq(rmdir(pki), 0, "something is left");
	cr_expect_eq(rmdir(dir), 0, "something is left");
}

Test(pair, an_agents_configuration_is_extended_where_it_lacks_something_and_only_once)
{
	char *lines = NULL, *text;
	bool changed;
	struct err e;

	make_site("# ours\n[agent]\ndomain = site-a\n\n[api]\nmetrics = no\n");
	cr_assert_eq(pair_config_extend(&site, "site-b", "10.0.0.2:7401", &changed, &lines, &e), 0,
		"%s", e.msg);
	cr_assert(changed);
	text = pair_read_file(site.config, &e);
	cr_assert(strstr(text, "# ours\n[agent]\ndomain = site-a\n"));
	cr_assert(strstr(text, "[api]\nlisten = 10.0.0.1:7401\nca = "));
	cr_assert(strstr(text, "\nmetrics = no\n"));
	cr_assert(strstr(text, "[peer site-b]\nagent = 10.0.0.2:7401\n"));
	certificate_text_free(text);
	cr_assert_eq(pair_config_extend(&site, "site-b", "10.0.0.2:7401", &changed, &lines, &e), 0);
	cr_assert_not(changed);
	cr_assert_eq(pair_config_extend(&site, "site-c", "10.0.0.3:7401", &changed, &lines, &e), 0,
		"%s", e.msg);
	cr_assert(changed);
	cr_assert_null(lines);
	remove_site();
}

Test(pair, an_agents_configuration_that_says_something_else_is_left_alone)
{
	static const char old[] =
		"[agent]\ndomain = site-a\n[peer site-b]\nagent = 10.0.0.9:7401\n";
	char *lines = NULL, *text;
	bool changed;
	struct err e;

	make_site(old);
	cr_assert_eq(pair_config_extend(&site, "site-b", "10.0.0.2:7401", &changed, &lines, &e),
		-EEXIST);
	cr_assert(strstr(e.msg, "is '10.0.0.9:7401', and should be '10.0.0.2:7401'"), "%s", e.msg);
	cr_assert(strstr(lines, "[peer site-b]\nagent = 10.0.0.2:7401\n"));
	text = pair_read_file(site.config, &e);
	cr_assert_str_eq(text, old);
	certificate_text_free(text);
	free(lines);
	remove_site();
}

Test(pair, an_interrupted_making_of_the_authority_is_made_again_and_a_foreign_one_is_not_touched)
{
	char *certificate, *key, *again, *key_again;
	struct err e;

	make_site(NULL);
	cr_assert_eq(pair_authority(&site, &certificate, &key, &e), -EEXIST); /* ca.pem alone */
	unlink(site.ca);
	put(site.ca_key, "a key whose certificate was never written");
	cr_assert_eq(pair_authority(&site, &certificate, &key, &e), 0, "%s", e.msg);
	cr_assert_eq(pair_authority(&site, &again, &key_again, &e), 0, "%s", e.msg);
	cr_assert_str_eq(certificate, again);
	certificate_text_free(certificate);
	certificate_text_free(key);
	certificate_text_free(again);
	certificate_text_free(key_again);
	unlink(site.ca_key);
	remove_site();
}

/* ---- the check of a direction ---- */

static char port[32];
static int checked;

static void *check(void *arg)
{
	struct pair_identity id = pair_site_identity(&site);
	struct err e = {0};

	checked = pair_check(&id, port, "site-a", clock_mono_ns() + 10 * NS_PER_S, &e);
	if (checked)
		fprintf(stderr, "%s\n", e.msg);
	return NULL;
}

static void write_identity(void)
{
	char *authority, *authority_key, *request, *key, *certificate;
	struct err e;

	unlink(site.ca);
	cr_assert_eq(pair_authority(&site, &authority, &authority_key, &e), 0, "%s", e.msg);
	cr_assert_eq(certificate_make_request(&request, &key, &e), 0, "%s", e.msg);
	cr_assert_eq(
		certificate_issue(authority, authority_key, request, site.domain, &certificate, &e),
		0, "%s", e.msg);
	cr_assert_eq(pair_write_identity(&site, certificate, key, &e), 0, "%s", e.msg);
	certificate_text_free(authority);
	certificate_text_free(authority_key);
	certificate_text_free(request);
	certificate_text_free(key);
	certificate_text_free(certificate);
}

Test(pair, an_agent_that_cuts_the_connection_off_is_asked_again)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, fd;
	struct pair_answerer answerer;
	socklen_t len = sizeof(sa);
	struct pair_identity id;
	pthread_t t;
	struct err e;

	make_site(NULL);
	write_identity();
	id = pair_site_identity(&site);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	cr_assert_eq(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
	cr_assert_eq(listen(listener, 1), 0);
	snprintf(port, sizeof(port), "127.0.0.1:%u", ntohs(sa.sin_port));
	cr_assert_eq(pthread_create(&t, NULL, check, NULL), 0);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	cr_assert_geq(fd, 0);
	close(listener);
	cr_assert_eq(pair_answerer_start(&answerer, &id, port, "site-a", &e), 0, "%s", e.msg);
	cr_assert_geq(answerer.listen_fd, 0);
	close(fd);
	pthread_join(t, NULL);
	pair_answerer_stop(&answerer);
	cr_expect_eq(checked, 0);
	unlink(site.ca_key);
	remove_site();
}
