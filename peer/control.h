/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control protocol on a volume's unix socket: one JSON object a line in each direction, answers
 * in the order of the requests.
 *
 *   request:  {"verb": "status"}            {"verb": "promote", "yes": true, ...}
 *   answer:   {"code": 0, "text": "...", ...}   code 0 done, 1 a question (repeat with "yes": true),
 *             negative -errno; text is for a person; further members by verb
 *
 * Verbs: status, promote {yes, accept_data_loss}, demote {force}, deactivate {domain, yes,
 * accept_data_loss}, preview-deactivate {the same}, activate {domain}, resync {domain, preview, yes}, resize
 * {size: bytes}, checkpoint, ping. The socket has mode 0600; the peer's
 * credentials are root's or the daemon's own user, or the connection is closed.
 */
#ifndef PEER_CONTROL_H
#define PEER_CONTROL_H

#include <errno.h>
#include <stdint.h>

#include "check.h"
#include "json.h"
#include "loop.h"

#define CONTROL_LINE_MAX (256u << 10) /* bytes */
/* The code of an answer: nothing was changed yet, the same request will do it in a moment. */
#define CONTROL_SOON (-EINPROGRESS)
/* What deactivate would do, and nothing of it. A verb of its own: an older daemon would pass over a member and do it. */
#define CONTROL_PREVIEW "preview-deactivate"
#define CONTROL_PREVIEW_ACTIVATE "preview-activate" /* the same of activate */
#define CONTROL_RUN_DIR "/run/tandemfs"
#define CONTROL_HOLDERS                                                                            \
	"holders" /* in the run directory: who starts holders (fs/holder_node.h) listens there */

struct control_server;

/* An answer that may be given later, from the loop's thread; exactly once. */
struct control_request {
	const char *verb;
	const struct json *args; /* the request's object */
	void *owner; /* private */
};

/*
 * Listens on `path` (a stale socket of a dead process is replaced; a living one is -EADDRINUSE with
 * its path). Creates the directory with mode 0755 when it is missing. handler runs on the loop's
 * thread and must lead to one control_answer() for each request, perhaps later; a client that went
 * away meanwhile is no error.
 */
int control_listen(struct loop *l, const char *path,
	void (*handler)(void *ctx, struct control_request *r), void *ctx,
	struct control_server **ret_server, struct err *e);
/* Another loop and another handler from now on, for a server none of whose requests is open; nobody runs
 * either loop meanwhile. Clients stay connected, and what they have asked meanwhile is answered then. On an
 * error (-errno of loop_add()) it is still open and answers nobody. */
int control_move(struct control_server *s, struct loop *l,
	void (*handler)(void *ctx, struct control_request *r), void *ctx);
/* Takes `answer`; "code" and "text" are added to it (answer may be NULL). Frees the request. */
void control_answer(struct control_request *r, int code, const char *text, struct json *answer);
/* Closes clients (open requests may still be answered, the answers vanish) and unlinks the socket. */
void control_close(struct control_server *s);

/* Client, blocking: connects, sends one request, waits for the answer at most timeout_ms. 0 with
 * *ret_answer (caller frees), -ENOENT/-ECONNREFUSED (no daemon), -ETIMEDOUT, ... with a message. */
int control_call(const char *path, const struct json *request, unsigned timeout_ms,
	struct json **ret_answer, struct err *e);

#endif
