/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls to agents elsewhere, mostly those of other domains: REST over mutual TLS 1.3, as api.h has it. Blocking; any thread, but
 * not the event loop's.
 */
#ifndef AGENT_PEER_CALL_H
#define AGENT_PEER_CALL_H

#include <stdatomic.h>

#include "agent_config.h"
#include "json.h"

/* The peer of this domain in the configuration; NULL when there is none. */
const struct agent_config_peer *peer_find(const struct agent_config *c, const char *domain);

/*
 * To the agent at `address` (HOST:PORT), whose certificate must name `domain`; `what` is for messages. `body` NULL:
 * GET, else POST (borrowed). `stop` (may be NULL) ends the call early with -ECANCELED. 0 with HTTP's status and the
 * answer's JSON object (the caller's); -ENOENT there are no certificates of our own; -EBADMSG the answer is no JSON
 * object; else as http_call(), with words. Which address it is about a volume: peer_volume.h.
 */
int agent_call(const struct agent_config *c, const char *what, const char *domain,
	const char *address, const char *path, const struct json *body, unsigned timeout_ms,
	const atomic_bool *stop, unsigned *ret_status, struct json **ret_json, struct err *e);

#endif
