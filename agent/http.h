/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP calls; the only owner of libcurl. Blocking. A client keeps its connection from call to call, and
 * belongs to one thread at a time. No proxy of the environment is asked, no redirection followed.
 */
#ifndef AGENT_HTTP_H
#define AGENT_HTTP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "json.h"

#define HTTP_ANSWER_MAX (80u << 20) /* bytes: 256 volumes with the longest answers */

/* Whom to call. Strings are copied by http_new(). */
struct http_server {
	const char *what; /* for messages: "the agent of site-b" */
	const char *socket; /* a unix socket; NULL: TCP */
	const char *url; /* scheme://host:port, no path; NULL with a socket */
	const char *
		dial; /* HOST:PORT to dial in place of the URL's, whose host the certificate must name; NULL */
	const char *ca, *certificate, *key; /* PEM texts (not paths); NULL: none */
	const char *token; /* of a bearer; NULL: none */
	bool tls13; /* nothing older */
};

struct http_request {
	const char *method; /* "GET", ... */
	const char *path; /* with the query, encoded */
	const char *body; /* NULL: none */
	const char *content_type; /* NULL: application/json */
	const char *accept; /* NULL: whatever it has */
	unsigned timeout_ms; /* of the whole call; 0: none */
	/* Each line of a successful answer as it comes, without its end; false ends the call with 0 and no
	 * JSON. NULL: the answer is collected. */
	bool (*line)(void *ctx, const char *text, size_t len);
	void *ctx;
	const atomic_bool
		*stop; /* looked at every second or sooner; true: -ECANCELED. NULL: never */
};

struct http_answer {
	unsigned status;
	struct json
		*json; /* an object, the caller's; NULL when the answer was none: then see text */
	char *text; /* the caller's, when json is NULL and there was one; ends with a zero */
};

struct http_client;

struct http_client *http_new(const struct http_server *s);
void http_free(struct http_client *c); /* NULL is fine */

/*
 * 0 when there was an answer, of whatever status. -ECONNREFUSED nobody listens, -EACCES the other side's
 * certificate or ours was refused, -ETIMEDOUT, -ECANCELED, -EFBIG, -ECONNRESET for all else, with words.
 */
int http_call(struct http_client *c, const struct http_request *r, struct http_answer *ret_a,
	struct err *e);
void http_answer_free(struct http_answer *a);

/*
 * A WebSocket: a connection of its own to the client's server, for bytes to and fro; the key of the upgrade is not
 * checked, because TLS has said who answers. 0 with a stream; 0 with NULL and the answer of a server that did not want
 * it; errors as above. The request's timeout_ms is for the upgrade alone; its stop goes on to count.
 */
struct http_stream;
int http_upgrade(struct http_client *c, const struct http_request *r, const char *protocol,
	struct http_stream **ret_s, struct http_answer *ret_a, struct err *e);
/* Bytes, at least one; 0: the other side ended; or an error, -ETIMEDOUT at end_ns (monotonic). */
ssize_t http_stream_read(
	struct http_stream *s, void *buf, size_t size, uint64_t end_ns, struct err *e);
int http_stream_write(struct http_stream *s, const void *buf, size_t len, struct err *e);
void http_stream_close(struct http_stream *s); /* NULL is fine */

/* Text with everything but letters, digits and -._~ encoded. The caller's. */
char *http_escape(const char *text);

/*
 * A call to the agent of this node through its unix socket. `body` NULL: GET, else POST. 0 with HTTP's
 * status and the answer's JSON object (the caller's); errors as above, and -EBADMSG no JSON object.
 */
int http_call_unix(const char *socket, const char *path, const char *body, unsigned timeout_ms,
	unsigned *ret_status, struct json **ret_json, struct err *e);

#endif
