/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates for tests; see the header. */
#include "certs.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>

#define DAY_S (24L * 3600)

static void must(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "certs: cannot %s\n", what);
	abort();
}

static FILE *open_file(const char *dir, const char *name, const char *suffix, const char *mode)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s%s", dir, name, suffix);
	f = fopen(path, mode);
	must(f != NULL, path);
	return f;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *ext;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	must(ext && X509_add_ext(cert, ext, -1), "add an extension");
	X509_EXTENSION_free(ext);
}

static X509 *cert_new(EVP_PKEY *key, const char *common_name, long from_s, long until_s)
{
	X509 *cert = X509_new();
	X509_NAME *name = X509_NAME_new();
	static long serial = 1000;

	must(cert && name && X509_set_version(cert, 2), "make a certificate");
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
	X509_gmtime_adj(X509_getm_notBefore(cert), from_s);
	X509_gmtime_adj(X509_getm_notAfter(cert), until_s);
	X509_NAME_add_entry_by_txt(
		name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0);
	X509_set_subject_name(cert, name);
	X509_NAME_free(name);
	X509_set_pubkey(cert, key);
	return cert;
}

static void save(const char *dir, const char *name, const char *ca, X509 *cert, EVP_PKEY *key)
{
	char suffix[32];
	FILE *f;

	snprintf(suffix, sizeof(suffix), "%s.pem", ca);
	f = open_file(dir, name, suffix, "w");
	must(PEM_write_X509(f, cert), "write a certificate");
	fclose(f);
	snprintf(suffix, sizeof(suffix), "%s.key", ca);
	f = open_file(dir, name, suffix, "w");
	must(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), "write a key");
	fclose(f);
}

void certs_make_ca(const char *dir, const char *name)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert;

	must(key != NULL, "make a key");
	cert = cert_new(key, name, -DAY_S, 3650 * DAY_S);
	X509_set_issuer_name(cert, X509_get_subject_name(cert));
	add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
	add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign");
	add_extension(cert, cert, NID_subject_key_identifier, "hash");
	must(X509_sign(cert, key, EVP_sha256()), "sign");
	save(dir, name, "-ca", cert, key);
	X509_free(cert);
	EVP_PKEY_free(key);
}

void certs_issue(const char *dir, const char *ca, const char *name, const char *domain,
	const struct certs_options *o)
{
	static const struct certs_options defaults;
	EVP_PKEY *key = EVP_EC_gen("P-256"), *ca_key;
	X509 *cert, *ca_cert;
	char san[300];
	FILE *f;

	o = o ? o : &defaults;
	f = open_file(dir, ca, "-ca.pem", "r");
	ca_cert = PEM_read_X509(f, NULL, NULL, NULL);
	fclose(f);
	f = open_file(dir, ca, "-ca.key", "r");
	ca_key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
	fclose(f);
	must(key && ca_cert && ca_key, "read the authority");
	cert = cert_new(key, o->common_name ? o->common_name : "tandemfs",
		o->from_s || o->until_s ? o->from_s : -DAY_S,
		o->from_s || o->until_s ? o->until_s : 3650 * DAY_S);
	X509_set_issuer_name(cert, X509_get_subject_name(ca_cert));
	add_extension(cert, ca_cert, NID_authority_key_identifier, "keyid");
	add_extension(
		cert, ca_cert, NID_ext_key_usage, o->usage ? o->usage : "serverAuth,clientAuth");
	if (!o->common_name) {
		snprintf(san, sizeof(san), "DNS:%s", domain);
		add_extension(cert, ca_cert, NID_subject_alt_name, san);
	}
	must(X509_sign(cert, ca_key, EVP_sha256()), "sign");
	save(dir, name, "", cert, key);
	X509_free(cert);
	X509_free(ca_cert);
	EVP_PKEY_free(key);
	EVP_PKEY_free(ca_key);
}
