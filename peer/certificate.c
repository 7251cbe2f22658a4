/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates are made with OpenSSL, as peer/tls.c uses them; kept apart from it because a connection needs
 * none of this. A request's extensions and names are never looked at: the authority decides what a certificate
 * says, and a request is a public key with the proof that its sender has the private one.
 *
 * Failure modes: all are OpenSSL's words behind what was being done. A certificate is valid from an hour ago,
 * because the other site's clock may be behind.
 */
#include "certificate.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AUTHORITY_NAME "tandemfs authority"
#define COMMON_NAME_MAX 64
#define SERIAL_BITS 127
#define DAY_S 86400L

void certificate_text_free(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

static int failed(struct err *e, int code, const char *what)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	err_set(e, code, "%s: %s", what, reason ? reason : "not as it should be");
	ERR_clear_error();
	return code;
}

/* Takes bio. */
static char *bio_text(BIO *bio)
{
	char *data, *text = NULL;
	long len = BIO_get_mem_data(bio, &data);

	if (len > 0)
		text = strndup(data, (size_t)len);
	BIO_free(bio);
	return text;
}

static char *key_text(EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_secmem());

	if (bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1) {
		BIO_free(bio);
		bio = NULL;
	}
	return bio ? bio_text(bio) : NULL;
}

static char *certificate_text(X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());

	if (bio && PEM_write_bio_X509(bio, cert) != 1) {
		BIO_free(bio);
		bio = NULL;
	}
	return bio ? bio_text(bio) : NULL;
}

/* A pass phrase is never asked for. */
static int no_pass_phrase(char *buf, int size, int rwflag, void *arg)
{
	return 0;
}

static X509 *certificate_of(const char *text)
{
	BIO *bio = BIO_new_mem_buf(text, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, no_pass_phrase, NULL) : NULL;

	BIO_free(bio);
	return cert;
}

static EVP_PKEY *key_of(const char *text)
{
	BIO *bio = BIO_new_mem_buf(text, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_pass_phrase, NULL) : NULL;

	BIO_free(bio);
	return key;
}

static bool is_p256(EVP_PKEY *key)
{
	char group[32] = "";

	return EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
	       EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
	       strcmp(group, SN_X9_62_prime256v1) == 0;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *x;
	X509V3_CTX ctx;
	bool ok;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = x && X509_add_ext(cert, x, -1) == 1;
	X509_EXTENSION_free(x);
	return ok;
}

static bool set_serial(X509 *cert)
{
	BIGNUM *n = BN_new();
	bool ok = n && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
		  BN_to_ASN1_INTEGER(n, X509_get_serialNumber(cert));

	BN_free(n);
	return ok;
}

/* What every certificate has. */
static X509 *certificate_begin(EVP_PKEY *key, const char *name, long days)
{
	X509 *cert = X509_new();
	X509_NAME *subject = cert ? X509_get_subject_name(cert) : NULL;

	if (cert && X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
		X509_gmtime_adj(X509_getm_notBefore(cert), -CERTIFICATE_BACKDATE_S) &&
		X509_gmtime_adj(X509_getm_notAfter(cert), days * DAY_S) &&
		(strlen(name) > COMMON_NAME_MAX ||
			X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
				(const unsigned char *)name, -1, -1, 0) == 1) &&
		X509_set_pubkey(cert, key) == 1)
		return cert;
	X509_free(cert);
	return NULL;
}

int certificate_make_authority(char **ret_certificate, char **ret_key, struct err *e)
{
	EVP_PKEY *key = EVP_EC_gen(SN_X9_62_prime256v1);
	X509 *cert =
		key ? certificate_begin(key, AUTHORITY_NAME, CERTIFICATE_AUTHORITY_DAYS) : NULL;
	char *text = NULL, *secret = NULL;
	int ret = 0;

	if (cert && X509_set_issuer_name(cert, X509_get_subject_name(cert)) == 1 &&
		add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
		add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		add_extension(cert, cert, NID_subject_key_identifier, "hash") &&
		X509_sign(cert, key, EVP_sha256()) > 0) {
		text = certificate_text(cert);
		secret = key_text(key);
	}
	if (text && secret) {
		*ret_certificate = text;
		*ret_key = secret;
	} else {
		ret = failed(e, -EIO, "cannot make an authority");
		certificate_text_free(text);
		certificate_text_free(secret);
	}
	X509_free(cert);
	EVP_PKEY_free(key);
	return ret;
}

int certificate_make_request(char **ret_request, char **ret_key, struct err *e)
{
	EVP_PKEY *key = EVP_EC_gen(SN_X9_62_prime256v1);
	X509_REQ *req = X509_REQ_new();
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL, *secret = NULL;
	int ret = 0;

	if (key && req && bio && X509_REQ_set_version(req, X509_REQ_VERSION_1) == 1 &&
		X509_REQ_set_pubkey(req, key) == 1 && X509_REQ_sign(req, key, EVP_sha256()) > 0 &&
		PEM_write_bio_X509_REQ(bio, req) == 1) {
		text = bio_text(bio);
		bio = NULL;
		secret = key_text(key);
	}
	if (text && secret) {
		*ret_request = text;
		*ret_key = secret;
	} else {
		ret = failed(e, -EIO, "cannot make a key");
		certificate_text_free(text);
		certificate_text_free(secret);
	}
	BIO_free(bio);
	X509_REQ_free(req);
	EVP_PKEY_free(key);
	return ret;
}

/* The request's public key, to be freed; NULL after a message. */
static EVP_PKEY *request_key(const char *request, struct err *e)
{
	BIO *bio = BIO_new_mem_buf(request, -1);
	X509_REQ *req = bio ? PEM_read_bio_X509_REQ(bio, NULL, no_pass_phrase, NULL) : NULL;
	EVP_PKEY *key = req ? X509_REQ_get_pubkey(req) : NULL;

	if (!key || !is_p256(key) || X509_REQ_verify(req, key) != 1) {
		failed(e, -EBADMSG, "the request for a certificate");
		EVP_PKEY_free(key);
		key = NULL;
	}
	X509_REQ_free(req);
	BIO_free(bio);
	return key;
}

static char *issue(X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key, const char *domain)
{
	X509 *cert = certificate_begin(key, domain, CERTIFICATE_DAYS);
	char name[DOMAIN_LEN_MAX + 8], *text = NULL;

	snprintf(name, sizeof(name), "DNS:%s", domain);
	if (cert && X509_set_issuer_name(cert, X509_get_subject_name(ca)) == 1 &&
		add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") &&
		add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") &&
		add_extension(cert, ca, NID_ext_key_usage, "serverAuth,clientAuth") &&
		add_extension(cert, ca, NID_subject_key_identifier, "hash") &&
		add_extension(cert, ca, NID_authority_key_identifier, "keyid") &&
		add_extension(cert, ca, NID_subject_alt_name, name) &&
		X509_sign(cert, ca_key, EVP_sha256()) > 0)
		text = certificate_text(cert);
	X509_free(cert);
	return text;
}

int certificate_issue(const char *authority, const char *authority_key, const char *request,
	const char *domain, char **ret_certificate, struct err *e)
{
	X509 *ca = certificate_of(authority);
	EVP_PKEY *ca_key = key_of(authority_key), *key = NULL;
	char *text;
	int ret = 0;

	if (!ca || !ca_key || X509_check_private_key(ca, ca_key) != 1) {
		ret = failed(e, -EINVAL, "the authority's certificate and key");
		goto out;
	}
	key = request_key(request, e);
	if (!key) {
		ret = -EBADMSG;
		goto out;
	}
	text = issue(ca, ca_key, key, domain);
	if (text)
		*ret_certificate = text;
	else
		ret = failed(e, -EIO, "cannot make a certificate");
out:
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
	X509_free(ca);
	ERR_clear_error();
	return ret;
}

static bool seconds_of(const ASN1_TIME *t, int64_t *ret)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(t, &tm) != 1)
		return false;
	*ret = timegm(&tm);
	return true;
}

static void first_name(X509 *cert, char *buf, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);

	buf[0] = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !buf[0]; i++) {
		const GENERAL_NAME *g = sk_GENERAL_NAME_value(names, i);

		if (g->type == GEN_DNS)
			snprintf(buf, size, "%.*s", ASN1_STRING_length(g->d.dNSName),
				(const char *)ASN1_STRING_get0_data(g->d.dNSName));
	}
	GENERAL_NAMES_free(names);
}

int certificate_read(const char *text, struct certificate_info *ret_info, struct err *e)
{
	struct certificate_info r = {0};
	X509 *cert = certificate_of(text);
	unsigned len = sizeof(r.fingerprint);
	int ret = 0;

	if (!cert || !seconds_of(X509_get0_notBefore(cert), &r.not_before_s) ||
		!seconds_of(X509_get0_notAfter(cert), &r.not_after_s) ||
		X509_digest(cert, EVP_sha256(), r.fingerprint, &len) != 1) {
		ret = failed(e, -EBADMSG, "no certificate");
	} else {
		first_name(cert, r.domain, sizeof(r.domain));
		*ret_info = r;
	}
	X509_free(cert);
	ERR_clear_error();
	return ret;
}

int certificate_check(const char *certificate, const char *key, const char *authority,
	const char *domain, struct err *e)
{
	X509 *cert = certificate_of(certificate), *ca = certificate_of(authority);
	EVP_PKEY *secret = key_of(key);
	int ret = 0;

	if (!cert || !ca || !secret)
		ret = failed(e, -EBADMSG, "certificate, key or authority cannot be read");
	else if (X509_check_private_key(cert, secret) != 1)
		ret = err_set(e, -EACCES, "the certificate has another key");
	else if (X509_check_ca(ca) != 1 || X509_verify(cert, X509_get0_pubkey(ca)) != 1)
		ret = err_set(e, -EACCES, "the certificate is not signed by the authority");
	else if (X509_check_host(
			 cert, domain, strlen(domain), X509_CHECK_FLAG_NO_WILDCARDS, NULL) != 1)
		ret = err_set(e, -EACCES, "the certificate does not name '%s'", domain);
	EVP_PKEY_free(secret);
	X509_free(ca);
	X509_free(cert);
	ERR_clear_error();
	return ret;
}
