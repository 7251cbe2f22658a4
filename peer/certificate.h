/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making and reading certificates, for the pairing of sites: an authority of one's own, and certificates for
 * domains as peer/tls.c wants them (subjectAltName = DNS:domain; serverAuth and clientAuth). Keys are EC P-256.
 * Everything is PEM text in memory; where it is kept is the caller's matter. Returned texts are the caller's,
 * to be freed with certificate_text_free(), which wipes them. Any thread; no state.
 */
#ifndef PEER_CERTIFICATE_H
#define PEER_CERTIFICATE_H

#include <stdint.h>

#include "check.h"
#include "limits.h"

#define CERTIFICATE_FINGERPRINT_LEN 32 /* SHA-256 of the DER form */
#define CERTIFICATE_REQUEST_MAX 4096u /* bytes of a request's PEM */
#define CERTIFICATE_DAYS 825 /* validity of a domain's */
#define CERTIFICATE_AUTHORITY_DAYS 3650
#define CERTIFICATE_BACKDATE_S 3600 /* valid so long before it was made: clocks differ */

struct certificate_info {
	int64_t not_before_s, not_after_s; /* since 1970 */
	char domain[DOMAIN_LEN_MAX + 1]; /* the first DNS name; "" */
	uint8_t fingerprint[CERTIFICATE_FINGERPRINT_LEN];
};

/* A new authority: its certificate and its private key. 0, -ENOMEM or -EIO. */
int certificate_make_authority(char **ret_certificate, char **ret_key, struct err *e);
/* A new private key and a request made from it. */
int certificate_make_request(char **ret_request, char **ret_key, struct err *e);
/*
 * A certificate for the domain and the request's public key; nothing else of the request is taken over. The
 * request may come from a stranger: -EBADMSG where it is none, is not signed by its own key, or its key is no
 * EC P-256 one. -EINVAL where authority and key do not belong together.
 */
int certificate_issue(const char *authority, const char *authority_key, const char *request,
	const char *domain, char **ret_certificate, struct err *e);
/* The first certificate in the text. 0 or -EBADMSG. */
int certificate_read(const char *text, struct certificate_info *ret_info, struct err *e);
/* 0 when the certificate has this key, is signed by this authority and names the domain; -EACCES, -EBADMSG. */
int certificate_check(const char *certificate, const char *key, const char *authority,
	const char *domain, struct err *e);
void certificate_text_free(char *text); /* NULL is fine */

#endif
