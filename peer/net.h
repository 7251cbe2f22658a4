/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transport between the replicas of one volume: listens on one port, dials every other replica with
 * back-off, runs TLS and the preface, and hands over whole frames. Runs entirely on the loop's
 * thread; never blocks (name resolution of anything but numeric addresses happens on a helper
 * thread).
 *
 * The happy path: either side dials; TLS 1.3 with mutual certificates (or plain when asked for);
 * both send a PREFACE; cluster, volume, protocol and the replica's identity are checked; of two
 * connections to the same peer for the same purpose the one dialled by the smaller replica UUID
 * stays; `up` is called; frames flow until `down`.
 *
 * A bulk connection carries only what is pulled, a commit connection everything else; both read and
 * write in bounded turns, the bulk one in small ones, so that it never delays a commit.
 *
 * Failure modes: malformed frames, wrong identities, foreign certificates, oversized lengths, slow
 * handshakes (time-out) close the connection with a reason in the log, and with a REFUSED frame
 * where a frame can still be sent. At most a few unidentified connections at a time. Writes never
 * block: what the socket does not take is queued by reference, net_queued() tells how much.
 */
#ifndef PEER_NET_H
#define PEER_NET_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "loop.h"
#include "msg.h"

struct net;

/* The bulk channel to a peer, wherever a peer is named: its own connection, with the same callbacks. */
#define NET_BULK REPLICAS_MAX

static inline bool net_is_bulk(unsigned peer)
{
	return peer >= NET_BULK;
}

struct net_peer_config {
	struct uuid replica;
	char domain[DOMAIN_LEN_MAX + 1];
	char address[256]; /* "host:port" or "[v6]:port" */
};

struct net_config {
	struct uuid cluster, volume, self;
	char domain[DOMAIN_LEN_MAX + 1];
	char listen[256]; /* "host:port" */
	bool bulk; /* takes bulk connections */
	bool tls;
	char ca[4096], certificate[4096], key[4096]; /* PEM files, re-read when they change */
	unsigned npeers;
	struct net_peer_config
		peers[REPLICAS_MAX]; /* indexed like the record's replicas; self empty */
	uint64_t connect_timeout_ns, handshake_timeout_ns; /* 3 s, 3 s */
	uint64_t backoff_min_ns, backoff_max_ns; /* 100 ms, 2 s */
	uint64_t silence_ns; /* nobody is dialled or answered before so long after net_open() */
};

struct net_callbacks {
	void *ctx;
	/* A connection to peer stands; conn is a number never used before in this process. */
	void (*up)(void *ctx, unsigned peer, uint64_t conn);
	/*
	 * Memory for the payload of a frame that is about to arrive: BLOCK_SIZE-aligned, at least
	 * f->payload_len bytes rounded up to BLOCK_SIZE. NULL: not now; reading from this connection
	 * stops until net_resume().
	 */
	void *(*payload_alloc)(void *ctx, unsigned peer, const struct msg_frame *f);
	/* Memory from payload_alloc whose frame was broken off or refused. */
	void (*payload_free)(void *ctx, void *payload);
	/* A whole, valid message. m and the record in it are borrowed; the payload now belongs to the
	 * callee (m->append.batch or m->data.bytes; NULL when there is none). */
	void (*message)(
		void *ctx, unsigned peer, uint64_t conn, const struct msg *m, void *payload);
	void (*down)(void *ctx, unsigned peer, uint64_t conn, const char *reason);
	/* The queue of this connection went below the low mark (256 KiB). */
	void (*drained)(void *ctx, unsigned peer, uint64_t conn);
};

/* Opens the listening socket and starts dialling, once the silence is over. -EADDRINUSE and friends with a message that names
 * address and configuration key. cb is copied. */
int net_open(struct loop *l, const struct net_config *cfg, const struct net_callbacks *cb,
	struct net **ret_net, struct err *e);
/* Closes everything; `down` is not called, payload references are released. */
void net_close(struct net *n);

/*
 * Queues a message on the peer's connection, if `conn` still is that connection (otherwise ignored:
 * -ENOTCONN, and release is not called). The payload is not copied: it stays valid until
 * release(arg) is called on the loop's thread (also when the connection breaks). release may be NULL.
 * Sends at once what the socket takes; one system call for header, fields and payload.
 */
int net_send(struct net *n, unsigned peer, uint64_t conn, const struct msg *m,
	void (*release)(void *arg), void *arg);
/* Between cork and uncork messages are gathered into one write. */
void net_cork(struct net *n, unsigned peer);
void net_uncork(struct net *n, unsigned peer);
/* Bytes queued and not yet taken by the socket. */
size_t net_queued(const struct net *n, unsigned peer);
/* Payload memory is available again. */
void net_resume(struct net *n);
/* Closes the connection to this peer (sends what is queued if the socket takes it at once) and dials
 * again after the back-off. `down` is not called. */
void net_drop(struct net *n, unsigned peer, const char *reason);
/* Dials the bulk connection to this peer, and again whenever it is lost, or no longer; it is not closed
 * by this. The other side only accepts. */
void net_bulk(struct net *n, unsigned peer, bool wanted);
/* Last reason why there is no connection to this peer, in words; "" while there is one. */
const char *net_trouble(const struct net *n, unsigned peer);
/* "TLSv1.3 TLS_AES_128_GCM_SHA256", "plain", or "" */
const char *net_security(const struct net *n, unsigned peer);

#endif
