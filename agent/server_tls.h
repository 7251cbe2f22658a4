/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the REST server asks of a client's certificate; the only owner of GnuTLS, which is what
 * libmicrohttpd speaks TLS with. That library asks for a certificate and takes a client without one, or
 * with anybody's: the refusal is ours, in the handshake.
 */
#ifndef AGENT_SERVER_TLS_H
#define AGENT_SERVER_TLS_H

#include <stdbool.h>

/* TLS 1.3 and nothing else, for MHD_OPTION_HTTPS_PRIORITIES. */
#define SERVER_TLS_PRIORITIES "NORMAL:-VERS-ALL:+VERS-TLS1.3"

/* Before the handshake: without a certificate that our authority signed for a client, and that is valid
 * now, the handshake fails. `session` is a gnutls_session_t. */
void server_tls_require(void *session);
/* After it: does the client's certificate name this domain (subjectAltName, or common name without one)? */
bool server_tls_names(void *session, const char *domain);

#endif
