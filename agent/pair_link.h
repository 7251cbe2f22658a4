/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection of two tandemctl that pair sites, and the dialling that proves afterwards that each side's
 * agent can be reached and has the right name. Blocking, with deadlines on clock_mono_ns(). A message is its
 * length in four bytes, little-endian, and JSON.
 */
#ifndef AGENT_PAIR_LINK_H
#define AGENT_PAIR_LINK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "json.h"
#include "pair_token.h"
#include "tls.h"

struct pair_link {
	int fd;
	struct tls *tls;
	uint64_t until_ns;
};

/* Takes fd, which does not block. 0 after the handshake, or -errno with words; close it in any case. */
int pair_link_open(struct pair_link *l, struct tls_context *ctx, int fd, bool server,
	uint64_t until_ns, struct err *e);
void pair_link_close(struct pair_link *l);
/* Takes j. */
int pair_link_send(struct pair_link *l, struct json *j, struct err *e);
/* Into a buffer of PAIR_MESSAGE_MAX bytes; its length, or -errno: -ECONNRESET for an end. */
int pair_link_receive(struct pair_link *l, char *buf, struct err *e);

/* A connected socket to HOST:PORT that does not block. -ECONNREFUSED, -ETIMEDOUT, ... with words. */
int pair_dial(const char *address, uint64_t until_ns, struct err *e);

struct pair_identity { /* of this site: paths, and the certificate's name */
	const char *ca, *certificate; /* the latter holds the key, too */
};
/* Dials the agent there and wants it to be `domain`, and to accept this side's certificate. */
int pair_check(const struct pair_identity *own, const char *address, const char *domain,
	uint64_t until_ns, struct err *e);

/* In the agent's place, while it does not run: answers the other side's pair_check() in a thread. */
struct pair_answerer {
	int listen_fd; /* -1: the agent runs, and answers itself */
	struct tls_context *ctx;
	const char *peer; /* who may ask */
	pthread_t thread;
	atomic_bool stop;
};
/* -EADDRINUSE is no error: the agent has the port. */
int pair_answerer_start(struct pair_answerer *a, const struct pair_identity *own,
	const char *address, const char *peer, struct err *e);
void pair_answerer_stop(struct pair_answerer *a);

#endif
