/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP calls; the only owner of libcurl. Blocking, any thread, each call a connection of its own.
 */
#ifndef AGENT_HTTP_H
#define AGENT_HTTP_H

#include "json.h"

/*
 * A call to the agent of this node through its unix socket. `body` NULL: GET, else POST. 0 with HTTP's
 * status and the answer's JSON object (the caller's); -ECONNREFUSED nobody listens, -ETIMEDOUT, -EBADMSG no
 * JSON object, -ECONNRESET for all else, with words.
 */
int http_call_unix(const char *socket, const char *path, const char *body, unsigned timeout_ms,
	unsigned *ret_status, struct json **ret_json, struct err *e);

#endif
