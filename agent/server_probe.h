/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plain HTTP for what watches over a process: GET of a few paths, answered from memory. A thread of its own, so that
 * it answers while all others wait. Nobody is asked who he is: what it tells is for everybody.
 */
#ifndef AGENT_SERVER_PROBE_H
#define AGENT_SERVER_PROBE_H

#include "check.h"

struct server_probe;

/* HTTP's status, with the text (the server's to free); 404: no such path. On the server's thread; may not block. */
typedef unsigned server_probe_answer(void *ctx, const char *path, char **ret_text);

/* `address` is HOST:PORT. 0, or -errno with words when nobody can be served there. */
int server_probe_new(const char *address, server_probe_answer *answer, void *ctx,
	struct server_probe **ret_p, struct err *e);
void server_probe_free(struct server_probe *p); /* NULL is fine */

#endif
