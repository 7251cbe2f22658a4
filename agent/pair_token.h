/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What two tandemctl say to each other when sites are paired: the token that a person carries from one to the
 * other, and the messages over TLS. All of it comes from a stranger until it is proven otherwise: the decoders
 * take nothing that could not stand in a file name, in agent.conf or in a terminal. No I/O but for chance.
 *
 * The token is base64url of
 *
 *   0   1   version, 1
 *   1   8   expiry, seconds since 1970
 *   9   32  SHA-256 of the certificate that listens
 *   41  16  secret
 *   57  2   port that listens
 *   59  1   length of the host; its bytes follow
 *   .   1   length of the domain; its bytes follow, and end the token
 */
#ifndef AGENT_PAIR_TOKEN_H
#define AGENT_PAIR_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "certificate.h"
#include "check.h"
#include "json.h"
#include "limits.h"

#define PAIR_SECRET_LEN 16u
#define PAIR_HOST_MAX 245u /* bytes; with a port it is an address of agent.conf */
#define PAIR_ADDRESS_MAX 255u
#define PAIR_TOKEN_TEXT_MAX 512u
#define PAIR_MESSAGE_MAX 16384u /* bytes of JSON */
#define PAIR_PEM_MAX 4096u

struct pair_token {
	int64_t expiry_s;
	uint8_t fingerprint[CERTIFICATE_FINGERPRINT_LEN];
	uint8_t secret[PAIR_SECRET_LEN];
	uint16_t port;
	char host[PAIR_HOST_MAX + 1]; /* an IPv6 address in brackets */
	char domain[DOMAIN_LEN_MAX + 1]; /* of the site that listens */
};

void pair_token_encode(const struct pair_token *t, char ret[PAIR_TOKEN_TEXT_MAX]);
/* White space around it is no matter. 0 or -EBADMSG with words; *ret_t is untouched then. */
int pair_token_decode(const char *text, struct pair_token *ret_t, struct err *e);

/* In the time that it takes for all, whatever differs. */
bool pair_same_secret(const uint8_t a[PAIR_SECRET_LEN], const uint8_t b[PAIR_SECRET_LEN]);
bool pair_valid_domain(const char *text);
/* A host name, an IPv4 address, or an IPv6 address in brackets. */
bool pair_valid_host(const char *text);
/* HOST:PORT. */
bool pair_valid_address(const char *text);

/* The joining site's first words. */
struct pair_hello {
	uint8_t secret[PAIR_SECRET_LEN];
	char domain[DOMAIN_LEN_MAX + 1];
	char address[PAIR_ADDRESS_MAX + 1]; /* of its agent */
	char request[PAIR_PEM_MAX + 1];
	char authority[2 * CERTIFICATE_FINGERPRINT_LEN + 1]; /* hex: of the one it has; "" */
	int64_t now_s; /* its clock */
};
/* The answer to it: all it asked for, or a refusal in words. */
struct pair_welcome {
	char refusal[256]; /* "": none */
	char address[PAIR_ADDRESS_MAX + 1]; /* of the answering site's agent */
	char certificate[PAIR_PEM_MAX + 1], authority[PAIR_PEM_MAX + 1];
};
/* What follows, from either side: how far it came. */
struct pair_report {
	bool ok;
	char text[256];
};

struct json *pair_hello_encode(const struct pair_hello *h);
struct json *pair_welcome_encode(const struct pair_welcome *w);
struct json *pair_report_encode(const struct pair_report *r);
/* From JSON of len bytes. 0 or -EBADMSG with words. */
int pair_hello_decode(const char *text, size_t len, struct pair_hello *ret_h, struct err *e);
int pair_welcome_decode(const char *text, size_t len, struct pair_welcome *ret_w, struct err *e);
int pair_report_decode(const char *text, size_t len, struct pair_report *ret_r, struct err *e);

void pair_hex(const uint8_t *p, size_t len, char *ret); /* 2 * len + 1 bytes */

#endif
