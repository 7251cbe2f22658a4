/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS with mutual certificates: the transport over it with real certificates, and each way in which
 * it must not come up, said in words that name the certificate, the date or the file.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "certs.h"
#include "log.h"
#include "net_side.h"
#include "tls.h"

static struct loop *l;
static unsigned descriptors;
static struct side s[2];
static char dir[64];
#define A (&s[0])
#define B (&s[1])

static const char *file(const char *name)
{
	static char path[4][128];
	static unsigned at;
	char *p = path[at++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", dir, name);
	return p;
}

/* Configures a side with DIR/NAME.pem of authority CA. */
static void use(struct side *side, const char *ca, const char *name)
{
	side->cfg.tls = true;
	snprintf(side->cfg.ca, sizeof(side->cfg.ca), "%s/%s-ca.pem", dir, ca);
	snprintf(side->cfg.certificate, sizeof(side->cfg.certificate), "%s/%s.pem", dir, name);
	snprintf(side->cfg.key, sizeof(side->cfg.key), "%s/%s.key", dir, name);
}

static void setup(void)
{
	log_set_level(LOG_LEVEL_ERROR + 1);
	descriptors = open_descriptors();
	cr_assert_eq(loop_new(&l), 0);
	sides_init(s, l);
	snprintf(dir, sizeof(dir), "/tmp/tandem-tls-XXXXXX");
	cr_assert(mkdtemp(dir));
	certs_make_ca(dir, "ours");
	certs_issue(dir, "ours", "a", "site-a", NULL);
	certs_issue(dir, "ours", "b", "site-b", NULL);
	use(A, "ours", "a");
	use(B, "ours", "b");
}

static void fini(void)
{
	static const char *const names[] = {"ours-ca", "theirs-ca", "a", "b", "x", "y"};

	sides_fini(s, l, descriptors);
	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/%s.pem", dir, names[i]);
		unlink(path);
		snprintf(path, sizeof(path), "%s/%s.key", dir, names[i]);
		unlink(path);
	}
	must_hold(rmdir(dir) == 0, "the directory is empty");
}

TestSuite(tls, .init = setup, .fini = fini, .timeout = 60);

static void connect_both(void)
{
	side_open(A);
	side_open(B);
	cr_assert(run_until(l, A->conn && B->conn), "%s / %s", net_trouble(A->net, 1),
		net_trouble(B->net, 0));
	run_for_ms(l, 30);
	cr_assert(run_until(l, A->conn && B->conn));
}

#define assert_trouble(side, part)                                                                 \
	cr_assert(run_until(l, strstr(net_trouble((side)->net, (side)->peer), (part))), "\"%s\"",  \
		net_trouble((side)->net, (side)->peer))

Test(tls, both_dial_and_exactly_one_connection_stays_with_the_preferred_cipher)
{
	for (unsigned round = 0; round < 10; round++) {
		connect_both();
		cr_assert_eq(A->ups, A->downs + 1);
		cr_assert_eq(B->ups, B->downs + 1);
		cr_assert_str_eq(net_security(A->net, 1), "TLSv1.3 TLS_AES_128_GCM_SHA256");
		cr_assert_str_eq(net_security(B->net, 0), "TLSv1.3 TLS_AES_128_GCM_SHA256");
		side_send_heartbeat(A, 5);
		side_send_heartbeat(B, 6);
		cr_assert(run_until(l, A->last_seq == 6 && B->last_seq == 5));
		side_close(A);
		side_close(B);
		A->ups = A->downs = B->ups = B->downs = 0;
	}
}

Test(tls, frames_of_all_sizes_arrive_whole_and_in_order)
{
	uint64_t sent = 0;

	connect_both();
	for (uint64_t i = 1; i <= 300; i++) {
		uint32_t blocks =
			i % 50 == 0 ? MSG_PAYLOAD_MAX / BLOCK_SIZE : (uint32_t)(i * 7 % 40 + 1);

		if (i % 20 == 1)
			net_cork(A->net, 1);
		cr_assert_eq(side_send_data(A, i, blocks), 0);
		sent += (uint64_t)blocks * BLOCK_SIZE;
		if (i % 20 == 10)
			net_uncork(A->net, 1);
		if (i % 10 == 0)
			loop_run_once(l, 0);
	}
	cr_assert(run_until(l, B->last_seq == 300), "%lu", (unsigned long)B->last_seq);
	cr_assert_eq(B->bytes, sent);
	cr_assert_eq(A->releases, 300);
}

Test(tls, what_the_receiver_cannot_take_waits_and_goes_on_after_resume)
{
	connect_both();
	B->starve = true;
	for (uint64_t i = 1; i <= 40; i++)
		cr_assert_eq(side_send_data(A, i, 256), 0);
	run_for_ms(l, 100);
	cr_assert_eq(B->messages, 0);
	cr_assert(net_queued(A->net, 1) > 4u << 20, "%zu", net_queued(A->net, 1));
	/* More is queued behind what OpenSSL has begun and must be given again. */
	for (uint64_t i = 41; i <= 60; i++)
		cr_assert_eq(side_send_data(A, i, 1), 0);
	side_send_heartbeat(B, 3);
	cr_assert(run_until(l, A->last_seq == 3));
	B->starve = false;
	net_resume(B->net);
	cr_assert(run_until(l, B->last_seq == 60));
	cr_assert_eq(A->releases, 60);
	cr_assert(run_until(l, A->drains >= 1));
}

Test(tls, small_messages_that_pile_up_in_a_full_socket_arrive_in_order)
{
	unsigned sent = 0;

	connect_both();
	while (net_queued(A->net, 1) < 200000) {
		sent++;
		side_send_heartbeat(A, sent);
	}
	cr_assert(run_until(l, B->last_seq == sent), "%lu of %u", (unsigned long)B->last_seq, sent);
	cr_assert_eq(B->messages, sent);
}

Test(tls, a_peer_that_starts_again_is_found_again)
{
	connect_both();
	for (unsigned i = 0; i < 4; i++) {
		side_close(&s[i % 2]);
		cr_assert(run_until(l, !s[!(i % 2)].conn));
		side_open(&s[i % 2]);
		cr_assert(run_until(l, A->conn && B->conn));
	}
}

Test(tls, a_common_name_counts_where_there_is_no_alternative_name)
{
	certs_issue(dir, "ours", "b", "", &(struct certs_options){.common_name = "site-b"});
	connect_both();
}

Test(tls, a_certificate_of_a_foreign_authority_is_refused)
{
	certs_make_ca(dir, "theirs");
	certs_issue(dir, "theirs", "x", "site-b", NULL);
	use(B, "ours", "x");
	side_open(A);
	side_open(B);
	assert_trouble(A, "certificate of 'site-b' is not signed by an authority in");
	assert_trouble(B, "the other side refuses this side's certificate: it is not signed");
	cr_assert_eq(A->ups + B->ups, 0);
}

Test(tls, an_expired_certificate_is_refused_with_its_date)
{
	certs_issue(dir, "ours", "x", "site-b",
		&(struct certs_options){.from_s = -90000, .until_s = -3600});
	use(B, "ours", "x");
	side_open(A);
	side_open(B);
	assert_trouble(A, "certificate of 'site-b' expired on 20");
	assert_trouble(B, "refuses this side's certificate: it has expired");
	cr_assert_eq(A->ups + B->ups, 0);
}

Test(tls, a_certificate_of_the_future_is_refused_with_its_date)
{
	certs_issue(dir, "ours", "x", "site-b",
		&(struct certs_options){.from_s = 3600, .until_s = 90000});
	use(B, "ours", "x");
	side_open(A);
	side_open(B);
	assert_trouble(A, "certificate of 'site-b' is valid only from 20");
	cr_assert_eq(A->ups + B->ups, 0);
}

Test(tls, a_certificate_of_another_domain_is_refused)
{
	certs_issue(dir, "ours", "x", "site-c", NULL);
	use(B, "ours", "x");
	side_open(A);
	side_open(B);
	assert_trouble(A, "its certificate is for 'site-c', not for domain 'site-b'");
	assert_trouble(B, "the other side says");
	cr_assert_eq(A->ups + B->ups, 0);
}

Test(tls, a_wildcard_is_no_domain)
{
	snprintf(A->cfg.peers[1].domain, sizeof(A->cfg.peers[1].domain), "b.example");
	snprintf(B->cfg.peers[1].domain, sizeof(B->cfg.peers[1].domain), "b.example");
	snprintf(B->cfg.domain, sizeof(B->cfg.domain), "b.example");
	certs_issue(dir, "ours", "x", "*.example", NULL);
	use(B, "ours", "x");
	side_open(A);
	side_open(B);
	assert_trouble(A, "its certificate is for '*.example', not for domain 'b.example'");
	cr_assert_eq(A->ups + B->ups, 0);
}

Test(tls, a_certificate_for_clients_only_is_refused_by_who_dials)
{
	certs_issue(dir, "ours", "x", "site-b", &(struct certs_options){.usage = "clientAuth"});
	use(B, "ours", "x");
	snprintf(B->cfg.peers[0].address, 64, "127.0.0.1:%d", free_port());
	side_open(A);
	side_open(B);
	assert_trouble(A, "needs the extended key usages serverAuth and clientAuth");
}

Test(tls, a_caller_without_a_certificate_is_refused)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(ctx);
	int fd, ret = -1;
	char byte;

	side_open(A);
	fd = raw_connect(A->port);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	SSL_set_fd(ssl, fd);
	/* The client is done before the server has asked for the certificate it does not have. */
	run_until(l, (ret = SSL_connect(ssl)) == 1);
	cr_assert_eq(ret, 1);
	run_until(l, (ret = SSL_read(ssl, &byte, 1)) > 0 ||
			     SSL_get_error(ssl, ret) != SSL_ERROR_WANT_READ);
	cr_assert_eq(SSL_get_error(ssl, ret), SSL_ERROR_SSL, "an alert, not a byte");
	cr_assert_eq(A->ups, 0);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
}

Test(tls, tls_1_2_is_refused)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	SSL *ssl;
	int fd, ret = -1;

	SSL_CTX_set_max_proto_version(ctx, TLS1_2_VERSION);
	SSL_CTX_use_certificate_chain_file(ctx, file("b.pem"));
	SSL_CTX_use_PrivateKey_file(ctx, file("b.key"), SSL_FILETYPE_PEM);
	ssl = SSL_new(ctx);
	side_open(A);
	fd = raw_connect(A->port);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	SSL_set_fd(ssl, fd);
	run_until(
		l, (ret = SSL_connect(ssl)) == 1 || SSL_get_error(ssl, ret) != SSL_ERROR_WANT_READ);
	cr_assert_eq(SSL_get_error(ssl, ret), SSL_ERROR_SSL);
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	close(fd);
}

Test(tls, plain_on_one_side_only_is_said_on_both)
{
	B->cfg.tls = false;
	side_open(A);
	side_open(B);
	assert_trouble(A, "speaks plain TCP, domain 'site-a' is configured for TLS");
	assert_trouble(B, "speaks plain TCP, domain 'site-a' is configured for TLS");
	cr_assert_eq(A->ups + B->ups, 0);
}

Test(tls, plain_on_the_dialling_side_only_is_said_on_both)
{
	for (unsigned i = 0; i < 2; i++) {
		A->cfg.tls = i;
		B->cfg.tls = !i;
		snprintf(B->cfg.peers[0].address, 64, "127.0.0.1:%d", free_port());
		side_open(B);
		side_open(A); /* the one that dials */
		assert_trouble(A, i ? "speaks plain TCP, domain 'site-a' is configured for TLS"
				    : "speaks plain TCP, domain 'site-b' is configured for TLS");
		side_close(A);
		side_close(B);
	}
}

Test(tls, changed_certificates_are_used_for_new_connections)
{
	connect_both();
	certs_make_ca(dir, "ours");
	certs_issue(dir, "ours", "a", "site-a", NULL);
	certs_issue(dir, "ours", "b", "site-b", NULL);
	side_send_heartbeat(A, 1);
	cr_assert(run_until(l, B->last_seq == 1), "the standing connection goes on");
	net_drop(A->net, 1, "rotate");
	A->conn = 0;
	cr_assert(run_until(l, A->conn && B->conn && B->ups >= 2), "%s", net_trouble(A->net, 1));
}

Test(tls, bad_changed_certificates_are_ignored)
{
	FILE *f;

	connect_both();
	f = fopen(file("a.pem"), "w");
	fputs("nonsense\n", f);
	fclose(f);
	net_drop(A->net, 1, "rotate");
	A->conn = 0;
	cr_assert(run_until(l, A->conn && B->conn && B->ups >= 2), "%s", net_trouble(A->net, 1));
}

static void assert_bad_files(const char *ca, const char *cert, const char *key, const char *part)
{
	struct tls_context *ctx;
	char path[3][128];
	struct err e = {0};

	snprintf(path[0], sizeof(path[0]), "%s/%s", dir, ca);
	snprintf(path[1], sizeof(path[1]), "%s/%s", dir, cert);
	snprintf(path[2], sizeof(path[2]), "%s/%s", dir, key);
	cr_assert_lt(tls_context_new(path[0], path[1], path[2], &ctx, &e), 0);
	cr_assert(strstr(e.msg, part), "\"%s\" in \"%s\"", part, e.msg);
}

Test(tls, bad_files_are_named)
{
	FILE *f;

	assert_bad_files("nope.pem", "a.pem", "a.key", "nope.pem");
	assert_bad_files("ours-ca.pem", "nope.pem", "a.key", "nope.pem");
	assert_bad_files("ours-ca.pem", "a.pem", "nope.key", "nope.key");
	assert_bad_files("ours-ca.pem", "a.pem", "b.key", "does not belong to certificate");
	assert_bad_files("a.key", "a.pem", "a.key", "no usable certificate authority");
	assert_bad_files("ours-ca.pem", "a.key", "a.key", "no usable certificate");
	assert_bad_files("ours-ca.pem", "a.pem", "a.pem", "no usable private key");
	f = fopen(file("x.key"), "w"); /* encrypted: must not ask on the terminal */
	fputs("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGf\n-----END ENCRYPTED PRIVATE KEY-----\n",
		f);
	fclose(f);
	assert_bad_files("ours-ca.pem", "a.pem", "x.key", "no usable private key");
}

Test(tls, a_net_with_bad_files_does_not_open)
{
	struct err e = {0};

	snprintf(A->cfg.key, sizeof(A->cfg.key), "%s/b.key", dir);
	cr_assert_eq(side_try_open(A, &e), -EINVAL);
	cr_assert(strstr(e.msg, "b.key"), "%s", e.msg);
}

Test(tls, garbage_instead_of_a_handshake_is_closed)
{
	char buf[512];
	int fd;

	side_open(A);
	for (unsigned i = 0; i < 20; i++) {
		random_bytes(buf, sizeof(buf));
		fd = raw_connect(A->port);
		cr_assert_eq(send(fd, buf, sizeof(buf), MSG_NOSIGNAL), sizeof(buf));
		shutdown(fd, SHUT_WR);
		run_until(l, recv(fd, buf, sizeof(buf), MSG_DONTWAIT) == 0 || errno == ECONNRESET);
		close(fd);
	}
	cr_assert_eq(A->ups, 0);
	side_open(B);
	cr_assert(run_until(l, A->conn && B->conn));
}
