/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The REST server: HTTP on a unix socket for this node, and over mutual TLS 1.3 for the peers' agents; the
 * only owner of libmicrohttpd. No thread of its own: the event loop runs it. Each request comes whole, and
 * is answered once, at once or later.
 */
#ifndef AGENT_SERVER_H
#define AGENT_SERVER_H

#include <stddef.h>

#include "agent_config.h"
#include "loop.h"

#define SERVER_BODY_MAX (64u << 10) /* bytes */

struct server;

struct server_request {
	const char *method, *path; /* the path is decoded; the query is not in it */
	const char *body; /* with a zero behind it */
	size_t body_len;
	const char *
		peer; /* the domain of another site's agent; NULL: a process of this node, or with this site's certificate */
};

/*
 * Serves on the configuration's socket (a stale one is replaced: the caller holds the run directory's
 * lock) and, with listen, on TCP. 0, or -errno with a message when the socket cannot be made. TCP that
 * cannot be served (no such address yet, a wrong certificate) is logged and tried again; certificates are
 * read again when they change.
 */
int server_new(struct loop *l, const struct agent_config *c,
	void (*handler)(void *ctx, struct server_request *r), void *ctx, struct server **ret_server,
	struct err *e);
/* The configuration has changed: the peers are served as it says now, once none of theirs is open. */
void server_reconfigured(struct server *s);
/* Ends what is open with 503. */
void server_free(struct server *s);
/* Frees the request. The text is copied. */
void server_answer(
	struct server_request *r, unsigned status, const char *content_type, const char *text);

#endif
