/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.3 with mutual certificates; the owner of OpenSSL, with certificate.c.
 *
 * One SSL_CTX serves both directions. It is replaced as a whole when a file changed, so a connection
 * in progress keeps the certificates it began with. Bytes go through a BIO of our own, because
 * OpenSSL's writes without MSG_NOSIGNAL and a peer that went away would be a SIGPIPE. Reading ahead
 * is on: without it each record costs two system calls.
 *
 * Failure modes: every way a handshake can fail is put into words that name the certificate, the
 * date or the file, because "handshake failure" helps nobody. In TLS 1.3 the dialling side is done
 * before the other has looked at its certificate: the refusal arrives as an alert at the first
 * read, and tls_error() has the words then. An end without close_notify is an end: frames carry
 * their own lengths, so nothing can be cut off unnoticed.
 */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "log.h"

#define CIPHERSUITES "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
#define RECORD_LEN                                                                                 \
	16384u /* bytes of a record at most; a call of OpenSSL takes one (SSL_MODE_ENABLE_PARTIAL_WRITE) */
#define READ_BUFFER_LEN (64u << 10) /* bytes; several records in one system call */
#define NAME_TEXT_MAX 128

enum { FILE_CA, FILE_CERTIFICATE, FILE_KEY, FILE_COUNT };

struct file_stamp {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec mtime;
};

struct tls_context {
	char *path[FILE_COUNT];
	struct file_stamp stamp[FILE_COUNT]; /* as last tried, good or bad */
	SSL_CTX *ssl_ctx;
	BIO_METHOD *bio;
};

struct tls {
	SSL *ssl;
	char ca[256]; /* for messages */
	int sys_errno; /* of the last system call that failed */
	bool want_write;
	bool more; /* what is sent now is followed by more at once */
	char verify_text[512]; /* why the peer's certificate was refused here */
	char error[512];
	char description[64];
};

/* ---- the socket below OpenSSL ---- */

static int bio_result(BIO *b, struct tls *t, ssize_t n, int flags)
{
	BIO_clear_retry_flags(b);
	if (n >= 0)
		return (int)n;
	t->sys_errno = errno;
	if (errno == EAGAIN || errno == EINTR)
		BIO_set_flags(b, flags | BIO_FLAGS_SHOULD_RETRY);
	return -1;
}

static int bio_write(BIO *b, const char *buf, int len)
{
	int fd = (int)BIO_get_fd(b, NULL);

	struct tls *t = BIO_get_app_data(b);
	int flags = MSG_NOSIGNAL | (t->more ? MSG_MORE : 0);

	return bio_result(b, t, send(fd, buf, (size_t)len, flags), BIO_FLAGS_WRITE);
}

static int bio_read(BIO *b, char *buf, int len)
{
	int fd = (int)BIO_get_fd(b, NULL);
	ssize_t n = recv(fd, buf, (size_t)len, 0);

	if (n == 0)
		BIO_set_flags(b, BIO_FLAGS_IN_EOF);
	return bio_result(b, BIO_get_app_data(b), n, BIO_FLAGS_READ);
}

static long bio_ctrl(BIO *b, int cmd, long num, void *ptr)
{
	switch (cmd) {
	case BIO_C_GET_FD:
		return (long)(intptr_t)BIO_get_data(b);
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_EOF:
		return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0;
	default:
		return 0;
	}
}

static BIO_METHOD *bio_method_new(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tandemfs");

	if (m && BIO_meth_set_write(m, bio_write) && BIO_meth_set_read(m, bio_read) &&
		BIO_meth_set_ctrl(m, bio_ctrl))
		return m;
	BIO_meth_free(m);
	return NULL;
}

/* ---- certificates in words ---- */

static const char *reason_text(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	return reason ? reason : "unknown reason";
}

/* All DNS names of a certificate, or its common name; never empty. */
static void name_text(X509 *cert, char *buf, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	size_t at = 0;

	buf[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type != GEN_DNS || at >= size)
			continue;
		at += (size_t)snprintf(buf + at, size - at, "%s'%.*s'", at ? ", " : "",
			ASN1_STRING_length(g->d.dNSName),
			(const char *)ASN1_STRING_get0_data(g->d.dNSName));
	}
	GENERAL_NAMES_free(names);
	if (!at) {
		char cn[NAME_TEXT_MAX - 3];
		int len = X509_NAME_get_text_by_NID(
			X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));

		if (len > 0)
			snprintf(buf, size, "'%s'", cn);
		else
			snprintf(buf, size, "somebody without a name");
	}
	for (char *p = buf; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
}

static void time_text(const ASN1_TIME *at, char *buf, size_t size)
{
	struct tm tm;

	if (!ASN1_TIME_to_tm(at, &tm) || !strftime(buf, size, "%Y-%m-%d %H:%M UTC", &tm))
		snprintf(buf, size, "an unreadable date");
}

static void verify_failed(struct tls *t, X509 *cert, int error)
{
	char name[NAME_TEXT_MAX] = "the other side", when[32];
	const char *what;

	if (cert)
		name_text(cert, name, sizeof(name));
	switch (error) {
	case X509_V_ERR_CERT_HAS_EXPIRED:
		time_text(X509_get0_notAfter(cert), when, sizeof(when));
		snprintf(t->verify_text, sizeof(t->verify_text), "certificate of %s expired on %s",
			name, when);
		return;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		time_text(X509_get0_notBefore(cert), when, sizeof(when));
		snprintf(t->verify_text, sizeof(t->verify_text),
			"certificate of %s is valid only from %s on: is a clock wrong?", name,
			when);
		return;
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_SIGNATURE_FAILURE:
		snprintf(t->verify_text, sizeof(t->verify_text),
			"certificate of %s is not signed by an authority in '%s'", name, t->ca);
		return;
	case X509_V_ERR_INVALID_PURPOSE:
		what = "needs the extended key usages serverAuth and clientAuth";
		break;
	default:
		what = X509_verify_cert_error_string(error);
		break;
	}
	snprintf(t->verify_text, sizeof(t->verify_text), "certificate of %s: %s", name, what);
}

static int verify_callback(int ok, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());

	if (!ok)
		verify_failed(SSL_get_app_data(ssl), X509_STORE_CTX_get_current_cert(store),
			X509_STORE_CTX_get_error(store));
	return ok;
}

/* ---- the three files ---- */

static bool stamp_read(const char *path, struct file_stamp *s)
{
	struct stat st;

	memset(s, 0, sizeof(*s)); /* compared with memcmp() */
	if (stat(path, &st) < 0)
		return false;
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	s->size = st.st_size;
	s->mtime = st.st_mtim;
	return true;
}

/* A key with a pass phrase would make OpenSSL ask on the terminal. */
static int no_pass_phrase(char *buf, int size, int rwflag, void *arg)
{
	return 0;
}

static void warn_about_dates(const char *path, X509 *cert)
{
	char when[32];

	if (cert && X509_cmp_current_time(X509_get0_notAfter(cert)) < 0) {
		time_text(X509_get0_notAfter(cert), when, sizeof(when));
		log_warn("certificate '%s' expired on %s: the other side will refuse it", path,
			when);
	} else if (cert && X509_cmp_current_time(X509_get0_notBefore(cert)) > 0) {
		time_text(X509_get0_notBefore(cert), when, sizeof(when));
		log_warn("certificate '%s' is valid only from %s on", path, when);
	}
}

static int load_files(SSL_CTX *c, char *const *path, struct err *e)
{
	for (int i = 0; i < FILE_COUNT; i++) {
		FILE *f = path[i] ? fopen(path[i], "re") : NULL;

		if (!path[i])
			continue;
		if (!f)
			return err_set(e, -errno, "cannot open '%s': %s", path[i], strerror(errno));
		fclose(f);
	}
	if (path[FILE_CA] && SSL_CTX_load_verify_locations(c, path[FILE_CA], NULL) != 1)
		return err_set(e, -EINVAL, "'%s' has no usable certificate authority: %s",
			path[FILE_CA], reason_text());
	if (!path[FILE_CERTIFICATE])
		return 0;
	if (SSL_CTX_use_certificate_chain_file(c, path[FILE_CERTIFICATE]) != 1)
		return err_set(e, -EINVAL, "'%s' has no usable certificate: %s",
			path[FILE_CERTIFICATE], reason_text());
	ERR_clear_error();
	if (SSL_CTX_use_PrivateKey_file(c, path[FILE_KEY], SSL_FILETYPE_PEM) != 1) {
		if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
			return err_set(e, -EINVAL, "key '%s' does not belong to certificate '%s'",
				path[FILE_KEY], path[FILE_CERTIFICATE]);
		return err_set(e, -EINVAL,
			"'%s' has no usable private key (pass phrases are not "
			"supported): %s",
			path[FILE_KEY], reason_text());
	}
	if (SSL_CTX_check_private_key(c) != 1)
		return err_set(e, -EINVAL, "key '%s' does not belong to certificate '%s'",
			path[FILE_KEY], path[FILE_CERTIFICATE]);
	return 0;
}

static int ssl_ctx_new(char *const *path, SSL_CTX **ret_ctx, struct err *e)
{
	SSL_CTX *c = SSL_CTX_new(TLS_method());
	int ret;

	ERR_clear_error();
	if (!c)
		return err_set(e, -ENOMEM, "TLS: %s", reason_text());
	SSL_CTX_set_default_passwd_cb(c, no_pass_phrase);
	SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(c, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
				       SSL_OP_CIPHER_SERVER_PREFERENCE |
				       SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(c, 0);
	SSL_CTX_set_read_ahead(c, 1);
	SSL_CTX_set_default_read_buffer_len(c, READ_BUFFER_LEN);
	SSL_CTX_set_verify(c,
		path[FILE_CA] ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE,
		path[FILE_CA] ? verify_callback : NULL);
	if (SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION) != 1 ||
		SSL_CTX_set_max_proto_version(c, TLS1_3_VERSION) != 1 ||
		SSL_CTX_set_ciphersuites(c, CIPHERSUITES) != 1)
		ret = err_set(e, -ENOTSUP, "this OpenSSL cannot do TLS 1.3: %s", reason_text());
	else
		ret = load_files(c, path, e);
	if (ret < 0) {
		SSL_CTX_free(c);
		return ret;
	}
	if (path[FILE_CERTIFICATE])
		warn_about_dates(path[FILE_CERTIFICATE], SSL_CTX_get0_certificate(c));
	*ret_ctx = c;
	return 0;
}

static char *copy(const char *text)
{
	char *r = text ? strdup(text) : NULL;

	ensure(!text || r);
	return r;
}

static int context_new(const char *ca, const char *certificate, const char *key,
	struct tls_context **ret_ctx, struct err *e)
{
	struct tls_context *ctx = calloc(1, sizeof(*ctx));
	int ret;

	if (!ctx)
		return err_set(e, -ENOMEM, "out of memory");
	ctx->path[FILE_CA] = copy(ca);
	ctx->path[FILE_CERTIFICATE] = copy(certificate);
	ctx->path[FILE_KEY] = copy(key);
	ctx->bio = bio_method_new();
	ret = -ENOMEM;
	if (!ctx->bio) {
		err_set(e, ret, "out of memory");
		goto fail;
	}
	for (int i = 0; i < FILE_COUNT; i++)
		if (ctx->path[i])
			stamp_read(ctx->path[i], &ctx->stamp[i]);
	ret = ssl_ctx_new(ctx->path, &ctx->ssl_ctx, e);
	if (ret < 0)
		goto fail;
	*ret_ctx = ctx;
	return 0;
fail:
	tls_context_free(ctx);
	return ret;
}

int tls_context_new(const char *ca, const char *certificate, const char *key,
	struct tls_context **ret_ctx, struct err *e)
{
	ensure(ca && certificate && key); /* without an authority nobody would be verified */
	return context_new(ca, certificate, key, ret_ctx, e);
}

int tls_context_new_unverified(
	const char *certificate, const char *key, struct tls_context **ret_ctx, struct err *e)
{
	return context_new(NULL, certificate, key, ret_ctx, e);
}

void tls_context_free(struct tls_context *ctx)
{
	if (!ctx)
		return;
	SSL_CTX_free(ctx->ssl_ctx);
	BIO_meth_free(ctx->bio);
	for (int i = 0; i < FILE_COUNT; i++)
		free(ctx->path[i]);
	free(ctx);
}

void tls_context_refresh(struct tls_context *ctx)
{
	struct file_stamp now[FILE_COUNT];
	bool changed = false;
	SSL_CTX *c;
	struct err e;

	for (int i = 0; i < FILE_COUNT; i++) {
		stamp_read(ctx->path[i], &now[i]);
		changed |= memcmp(&now[i], &ctx->stamp[i], sizeof(now[i])) != 0;
	}
	if (!changed)
		return;
	/* Also when they are bad: they are looked at again after the next change, not at each
	 * connection. Files are replaced one after the other, so a mismatch may pass by itself. */
	memcpy(ctx->stamp, now, sizeof(now));
	if (ssl_ctx_new(ctx->path, &c, &e) < 0) {
		log_warn("the changed certificates are not used: %s", e.msg);
		return;
	}
	SSL_CTX_free(ctx->ssl_ctx);
	ctx->ssl_ctx = c;
	log_info("certificates read again from '%s'", ctx->path[FILE_CERTIFICATE]);
}

/* ---- connections ---- */

int tls_new(struct tls_context *ctx, int fd, bool server, struct tls **ret_tls)
{
	struct tls *t = calloc(1, sizeof(*t));
	BIO *bio;

	if (!t)
		return -ENOMEM;
	snprintf(t->ca, sizeof(t->ca), "%s", ctx->path[FILE_CA] ? ctx->path[FILE_CA] : "");
	t->ssl = SSL_new(ctx->ssl_ctx);
	bio = BIO_new(ctx->bio);
	if (!t->ssl || !bio) {
		BIO_free(bio);
		tls_free(t);
		return -ENOMEM;
	}
	BIO_set_data(bio, (void *)(intptr_t)fd);
	BIO_set_app_data(bio, t);
	BIO_set_init(bio, 1);
	SSL_set_bio(t->ssl, bio, bio);
	SSL_set_app_data(t->ssl, t);
	if (server)
		SSL_set_accept_state(t->ssl);
	else
		SSL_set_connect_state(t->ssl);
	*ret_tls = t;
	return 0;
}

void tls_free(struct tls *t)
{
	if (!t)
		return;
	SSL_free(t->ssl);
	free(t);
}

/* The refusals of the other side that a person can do something about. */
static const char *alert_text(int reason)
{
	switch (reason) {
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
		return "it is not signed by an authority in the other side's 'ca' file";
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
		return "it has expired, or is not valid yet by the other side's clock";
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return "none was sent";
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
		return "it needs the extended key usages serverAuth and clientAuth";
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
		return "it was revoked";
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
		return "it is not acceptable there, see the other side's log";
	default:
		return NULL;
	}
}

/* What an OpenSSL call's result means: -EAGAIN, 0 for an end, or -EPROTO with words in t->error. */
static ssize_t failure(struct tls *t, int ret)
{
	int kind = SSL_get_error(t->ssl, ret), reason;
	const char *alert;

	if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE) {
		t->want_write = kind == SSL_ERROR_WANT_WRITE;
		return -EAGAIN;
	}
	reason = ERR_GET_REASON(ERR_peek_error());
	alert = kind == SSL_ERROR_SSL ? alert_text(reason) : NULL;
	if (t->verify_text[0])
		snprintf(t->error, sizeof(t->error), "%s", t->verify_text);
	else if (kind == SSL_ERROR_ZERO_RETURN || (kind == SSL_ERROR_SYSCALL && !t->sys_errno))
		return 0;
	else if (kind == SSL_ERROR_SYSCALL)
		snprintf(t->error, sizeof(t->error), "%s", strerror(t->sys_errno));
	else if (alert)
		snprintf(t->error, sizeof(t->error),
			"the other side refuses this side's certificate: %s", alert);
	else if (reason == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
		snprintf(t->error, sizeof(t->error), "the other side sent no certificate");
	else
		snprintf(t->error, sizeof(t->error), "TLS: %s", reason_text());
	ERR_clear_error();
	return -EPROTO;
}

static void begin(struct tls *t)
{
	ERR_clear_error();
	t->sys_errno = 0;
}

int tls_handshake(struct tls *t, bool *ret_want_write, struct err *e)
{
	ssize_t ret;
	int n;

	begin(t);
	n = SSL_do_handshake(t->ssl);
	if (n == 1) {
		snprintf(t->description, sizeof(t->description), "%s %s", SSL_get_version(t->ssl),
			SSL_get_cipher_name(t->ssl));
		return 0;
	}
	ret = failure(t, n);
	if (ret == -EAGAIN) {
		*ret_want_write = t->want_write;
		return -EAGAIN;
	}
	if (ret == 0)
		return err_set(e, -ECONNRESET,
			"the other side closed the connection in the TLS handshake");
	return err_set(e, t->sys_errno == ECONNRESET ? -ECONNRESET : -EPROTO, "%s", t->error);
}

int tls_check_domain(struct tls *t, const char *domain, struct err *e)
{
	X509 *cert = SSL_get0_peer_certificate(t->ssl);
	char names[NAME_TEXT_MAX];

	if (!cert)
		return err_set(e, -EACCES, "the other side sent no certificate");
	if (domain[0] && domain[0] != '.' &&
		X509_check_host(cert, domain, strlen(domain), X509_CHECK_FLAG_NO_WILDCARDS, NULL) ==
			1)
		return 0;
	name_text(cert, names, sizeof(names));
	return err_set(e, -EACCES, "its certificate is for %s, not for domain '%s'", names, domain);
}

bool tls_peer_fingerprint(const struct tls *t, uint8_t ret[TLS_FINGERPRINT_LEN])
{
	X509 *cert = SSL_get0_peer_certificate(t->ssl);
	unsigned len = TLS_FINGERPRINT_LEN;

	return cert && X509_digest(cert, EVP_sha256(), ret, &len) == 1;
}

ssize_t tls_read(struct tls *t, void *buf, size_t len)
{
	size_t n;
	int ret;

	begin(t);
	ret = SSL_read_ex(t->ssl, buf, len, &n);
	return ret == 1 ? (ssize_t)n : failure(t, ret);
}

ssize_t tls_write(struct tls *t, const void *buf, size_t len, bool more)
{
	ssize_t ret;
	size_t n;
	int r;

	begin(t);
	t->more = more || len > RECORD_LEN;
	r = SSL_write_ex(t->ssl, buf, MIN(len, RECORD_LEN), &n);
	t->more =
		false; /* nothing waits behind an alert, or an answer to the other side's handshake */
	if (r == 1)
		return (ssize_t)n;
	ret = failure(t, 0);
	if (ret == 0) {
		snprintf(t->error, sizeof(t->error), "closed by the other side");
		return -EPROTO;
	}
	return ret;
}

const char *tls_error(const struct tls *t)
{
	return t->error;
}

bool tls_pending(const struct tls *t)
{
	return SSL_has_pending(t->ssl) == 1;
}

const char *tls_description(const struct tls *t)
{
	return t->description;
}
