/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TLS 1.3 with mutual certificates over non-blocking sockets; the owner of OpenSSL, with certificate.c. The peer's
 * certificate must be signed by the configured CA, be valid now, and carry the peer's domain as a
 * DNS name in subjectAltName (or as common name where it has none). Certificates are read again when
 * a file changed, for new connections. One thread.
 */
#ifndef PEER_TLS_H
#define PEER_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "check.h"

#define TLS_FINGERPRINT_LEN 32

struct tls_context;
struct tls;

/* Reads and checks the three PEM files; the message names the file and what is wrong with it. */
int tls_context_new(const char *ca, const char *certificate, const char *key,
	struct tls_context **ret_ctx, struct err *e);
/*
 * For the pairing of two sites, before they have certificates in common: neither side's certificate is verified
 * here. The listening side passes its files, the dialling one NULL for both and then compares
 * tls_peer_fingerprint() with what it was told on another way. Not to be refreshed.
 */
int tls_context_new_unverified(
	const char *certificate, const char *key, struct tls_context **ret_ctx, struct err *e);
void tls_context_free(struct tls_context *ctx);
/* Looks whether a file changed (size, mtime, inode) and loads them again; the old ones stay in use,
 * and a warning is logged, when the new ones are bad. */
void tls_context_refresh(struct tls_context *ctx);

int tls_new(struct tls_context *ctx, int fd, bool server, struct tls **ret_tls);
void tls_free(struct tls *t);
/* 0 done; -EAGAIN with *ret_want_write saying what to wait for; -ECONNRESET when the other side went
 * away without a word, -EPROTO for all else, with e->msg. */
int tls_handshake(struct tls *t, bool *ret_want_write, struct err *e);
/* 0 when the peer's certificate names this domain, else -EACCES with the names it has. */
int tls_check_domain(struct tls *t, const char *domain, struct err *e);
/* SHA-256 of the peer's certificate; false when it sent none. */
bool tls_peer_fingerprint(const struct tls *t, uint8_t ret[TLS_FINGERPRINT_LEN]);
/* Bytes; 0 end; -EAGAIN; -EPROTO. */
ssize_t tls_read(struct tls *t, void *buf, size_t len);
/* Bytes taken (maybe fewer); -EAGAIN; -EPROTO. A repeated call after -EAGAIN may pass another buffer
 * that begins with the same bytes, at least as many. `more`: the caller goes on with more at once, so the
 * kernel need not send a segment for each record. */
ssize_t tls_write(struct tls *t, const void *buf, size_t len, bool more);
/* Words for the last -EPROTO of tls_read() or tls_write(), for instance that the other side refuses
 * this side's certificate (which a dialling side learns only after its handshake); "" before. */
const char *tls_error(const struct tls *t);
/* true when tls_read() has bytes that the socket will not announce again. */
bool tls_pending(const struct tls *t);
const char *tls_description(const struct tls *t); /* "TLSv1.3 TLS_AES_128_GCM_SHA256" */

#endif
