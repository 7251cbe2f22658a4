/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates for tests, made in the process (P-256, a few hundred microseconds each). Files in a
 * directory of the caller: NAME-ca.pem and NAME-ca.key for an authority, NAME.pem and NAME.key for
 * what it issues. Any failure ends the test program with a message.
 */
#ifndef TEST_CERTS_H
#define TEST_CERTS_H

struct certs_options {
	long from_s, until_s; /* relative to now; 0 0: from a day ago until in ten years */
	const char *common_name; /* without it the domain goes into subjectAltName */
	const char *usage; /* extendedKeyUsage; NULL: both serverAuth and clientAuth */
};

void certs_make_ca(const char *dir, const char *name);
/* Signed by DIR/CA-ca.pem. `o` may be NULL. */
void certs_issue(const char *dir, const char *ca, const char *name, const char *domain,
	const struct certs_options *o);

#endif
