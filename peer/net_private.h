/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the transport share: net.c (the public calls, the listening socket), net_peer.c
 * (dialling, identity), net_conn.c (one connection: handshake and end), net_read.c (frames from it),
 * net_out.c (its write queue), net_resolve.c (names to addresses on a helper thread).
 *
 * Who may call back when: `up`, `down`, `message` and `drained` run only from the loop, never from
 * inside net_send() and the other public calls; what those find out is left to the connection's
 * `kick` timer. `release` may run from anywhere. Any callback may drop any connection, so a
 * connection that ended stays in memory (state CONN_DEAD) until the outermost call from the loop
 * returns, and everything looks at the state again after a callback.
 */
#ifndef PEER_NET_PRIVATE_H
#define PEER_NET_PRIVATE_H

#include <netdb.h>
#include <sys/socket.h>

#include "net.h"
#include "tls.h"

#define NET_TEXT_MAX 512
#define NET_REMOTE_MAX 96 /* bytes of "address:port" */
#define NET_RBUF_LEN (16u << 10) /* bytes; what is behind them goes straight to its place */
#define NET_ADDRESSES_MAX 8u

enum conn_state {
	CONN_CONNECTING, /* dialled, not answered yet */
	CONN_TLS, /* in the TLS handshake */
	CONN_PREFACE, /* waits for the other side's preface */
	CONN_PARKED, /* accepted and identified, but our own dialling is about to win */
	CONN_UP,
	CONN_LINGER, /* ended; waits until the other side has read why */
	CONN_DEAD,
};

struct out { /* one message in the queue: its head (header and fields), then its payload */
	struct out *next;
	void (*release)(void *arg);
	void *arg;
	const uint8_t *payload;
	size_t payload_len;
	size_t head_len;
	uint8_t head[];
};

struct net_conn {
	struct net *net;
	struct net_conn *next; /* in net->conns or net->graveyard */
	enum conn_state state;
	bool dialled;
	int peer; /* index; -1 while unknown */
	uint64_t number;
	uint64_t up_since_ns;
	struct loop_source source;
	struct loop_timer deadline; /* of connecting, handshake, lingering */
	struct loop_timer kick; /* work left over: broken, drained_due, read_again */
	struct tls *tls; /* NULL: plain */
	bool greeted; /* the other side's first bytes were looked at */
	char remote[NET_REMOTE_MAX]; /* address:port; without the port when it dialled us */

	/* Reading. rbuf holds headers and fields; a payload goes to `payload` directly. */
	uint8_t *rbuf;
	size_t rsize, rstart, rend;
	bool have_frame; /* `frame` is decoded and consumed */
	bool meta_kept; /* its fields are in `meta`, consumed: a payload follows */
	bool paused; /* no memory for a payload */
	bool read_again; /* stopped for fairness */
	struct msg_frame frame;
	uint8_t meta[4096];
	uint8_t *payload;
	size_t payload_got;

	/* Writing. */
	struct out *first, **last;
	size_t first_done; /* bytes of the first one that are sent */
	size_t queued; /* bytes */
	bool writing; /* in net_flush(): a callback only queues */
	bool blocked; /* the socket is full */
	bool above_mark, drained_due;
	bool broken; /* a write failed; the kick ends the connection for `reason` */
	char reason[NET_TEXT_MAX];
};

struct net_peer {
	struct net *net;
	unsigned index;
	const struct net_peer_config *cfg;
	bool bulk, wanted; /* the bulk channel; it is dialled only when wanted */
	bool present; /* false: this replica itself, or an unused place */
	struct net_conn *conn; /* state CONN_UP */
	struct net_conn *dial; /* our own attempt */
	struct net_conn *parked; /* theirs, waiting for the outcome of ours */
	struct resolve *resolve;
	struct loop_timer timer; /* next dialling */
	uint64_t backoff_ns;
	unsigned corked;
	unsigned naddresses, address_at;
	struct sockaddr_storage addresses[NET_ADDRESSES_MAX];
	socklen_t address_lens[NET_ADDRESSES_MAX];
	char trouble[NET_TEXT_MAX];
};

struct net {
	struct loop *loop;
	struct net_config cfg;
	struct net_callbacks cb;
	struct tls_context *tls; /* NULL: plain */
	struct loop_source listener;
	struct loop_timer accept_again; /* out of descriptors: not before then */
	struct loop_timer silence; /* nobody is dialled or answered before then */
	struct net_conn *conns, *graveyard;
	unsigned depth; /* calls from the loop on the stack */
	uint64_t next_conn;
	struct net_peer peers[2 * REPLICAS_MAX]; /* the bulk channels behind the others */
	struct record *record; /* where messages' records are decoded to */
	uint8_t *scratch; /* MSG_HEADER_SIZE + MSG_META_MAX: where messages are encoded */
	uint8_t coalesce[NET_RBUF_LEN]; /* one TLS record */
	char logged[NET_TEXT_MAX]; /* the last refusal of a stranger in the log */
	uint64_t logged_ns;
};

/* ---- net.c ---- */

/* Around everything that the loop calls: ended connections are freed when the outermost one ends. */
void net_enter(struct net *n);
void net_leave(struct net *n);
/* ---- net_peer.c ---- */

void peer_init(struct net *n, unsigned index);
/* Why there is no connection; logged when it is news. */
void peer_trouble(struct net_peer *p, const char *text);
/* Dials again after the back-off, which doubles. Nothing while a connection or attempt is there. */
void peer_pause(struct net_peer *p);
/* No attempt is under way any more. */
void peer_stop(struct net_peer *p);
/* An accepted or dialled connection has shown its preface. */
void net_identify(struct net_conn *c, const struct msg_preface *p);
/* The connection is no longer anybody's: bookkeeping, callbacks and what is dialled next. It was
 * taken out of its peer's places before; `was_up` and `was_dial` say what it was. */
void net_ended(struct net_conn *c, bool was_up, bool was_dial, const char *reason);

/* ---- net_conn.c ---- */

/* Takes fd. NULL: out of memory, fd is closed. state CONN_CONNECTING, or CONN_TLS or CONN_PREFACE
 * for an accepted one. */
struct net_conn *conn_new(struct net *n, int fd, bool dialled, int peer, const char *remote);
/* Ends it with a reason; tells the other side in a REFUSED frame if code is not 0 and one can still
 * be sent. Calls net_ended(). */
void conn_end(struct net_conn *c, int code, const char *reason);
/* As conn_end(), but with nobody told and no bookkeeping. */
void conn_close(struct net_conn *c);
/* Sends what is queued, waits a moment for the other side to read it, closes. */
void conn_linger(struct net_conn *c);
void conn_update_events(struct net_conn *c);
void conn_kick(struct net_conn *c);
void conn_send_preface(struct net_conn *c);

/* ---- net_read.c ---- */

/* Reads and delivers frames until there are no more, or others should have their turn. */
void conn_read(struct net_conn *c);

/* ---- net_out.c ---- */

/* Encodes and queues; sends nothing. 0 or -ENOMEM. */
int out_add(struct net_conn *c, const struct msg *m, void (*release)(void *arg), void *arg);
/* Sends what the socket takes. A failure marks the connection broken. */
void net_flush(struct net_conn *c);
/* Drops everything queued and releases its payloads. */
void out_release_all(struct net_conn *c);

/* ---- net_resolve.c ---- */

struct resolve;
/* "host:port", "[v6]:port", ":port" into its parts; false when it is neither. */
bool address_split(const char *address, char *host, size_t host_size, char *port, size_t port_size);
void address_text(const struct sockaddr *sa, socklen_t len, bool with_port, char *buf, size_t size);
/* Begins a look-up; `done` runs from the loop with getaddrinfo's result (list borrowed, NULL with
 * an error code). 0 or -errno. */
int resolve_start(struct loop *l, const char *host, const char *port,
	void (*done)(void *ctx, int error, const struct addrinfo *list), void *ctx,
	struct resolve **ret_r);
/* `done` will not be called; to be called once after it ran, or instead. */
void resolve_free(struct resolve *r);

#endif
