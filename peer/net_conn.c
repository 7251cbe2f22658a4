/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection: connecting, the TLS handshake, and its end.
 *
 * The happy path: CONNECTING -> TLS -> PREFACE -> UP. The dialling side sends its preface first; the
 * accepting side answers with its own when it has accepted the other, so that for the dialling side
 * UP means that both agreed.
 *
 * Failure modes: whatever ends a connection is told to the other side in a REFUSED frame. So that it
 * can be read there, the descriptor is closed only when the other side has closed, or after a
 * second (closing over unread bytes resets the connection and would throw the frame away). One side
 * speaking TLS and the other not is recognised by the first bytes. A slow handshake runs into the
 * deadline. A failed write is found out in net_send() and ends the connection from the loop.
 */
#include "net_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define LINGER_NS (1 * NS_PER_S) /* for the other side to read why */
#define KEEPALIVE_S 5 /* silence before the kernel asks */
#define USER_TIMEOUT_MS 10000 /* unacknowledged bytes end the connection */
#define MAGIC_TEXT "TFMS"

static void conn_ready(struct loop_source *s, uint32_t events);
static void deadline_expired(struct loop_timer *t, uint64_t now_ns);
static void kick_expired(struct loop_timer *t, uint64_t now_ns);

static void set_options(int fd)
{
	int on = 1, idle = KEEPALIVE_S, interval = 2, count = 3;
	unsigned user_timeout = USER_TIMEOUT_MS;

	/* None of them is needed for correctness. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
}

struct net_conn *conn_new(struct net *n, int fd, bool dialled, int peer, const char *remote)
{
	struct net_conn *c = calloc(1, sizeof(*c));

	if (c)
		c->rbuf = malloc(NET_RBUF_LEN);
	if (!c || !c->rbuf) {
		free(c);
		close(fd);
		return NULL;
	}
	set_options(fd);
	c->net = n;
	c->dialled = dialled;
	c->peer = peer;
	c->number = n->next_conn++;
	c->rsize = NET_RBUF_LEN;
	c->last = &c->first;
	snprintf(c->remote, sizeof(c->remote), "%s", remote);
	c->deadline.expired = deadline_expired;
	c->kick.expired = kick_expired;
	c->source.fd = fd;
	c->source.ready = conn_ready;
	c->source.events = dialled ? EPOLLOUT : EPOLLIN;
	c->state = dialled ? CONN_CONNECTING : n->tls ? CONN_TLS : CONN_PREFACE;
	if (loop_add(n->loop, &c->source) < 0 ||
		(!dialled && n->tls && tls_new(n->tls, fd, true, &c->tls) < 0)) {
		loop_remove(n->loop, &c->source);
		close(fd);
		free(c->rbuf);
		free(c);
		return NULL;
	}
	c->next = n->conns;
	n->conns = c;
	loop_timer_set(n->loop, &c->deadline,
		clock_mono_ns() +
			(dialled ? n->cfg.connect_timeout_ns : n->cfg.handshake_timeout_ns));
	return c;
}

void conn_update_events(struct net_conn *c)
{
	uint32_t events = 0;

	switch (c->state) {
	case CONN_DEAD:
	case CONN_CONNECTING:
	case CONN_TLS: /* set by the handshake */
		return;
	case CONN_PARKED:
		events = EPOLLRDHUP;
		break;
	default:
		events = c->paused ? EPOLLRDHUP : EPOLLIN;
		break;
	}
	if (c->blocked)
		events |= EPOLLOUT;
	loop_modify(c->net->loop, &c->source, events);
}

void conn_kick(struct net_conn *c)
{
	if (c->state != CONN_DEAD)
		loop_timer_set(c->net->loop, &c->kick, clock_mono_ns());
}

/* ---- the end ---- */

static void payload_drop(struct net_conn *c)
{
	if (c->payload)
		c->net->cb.payload_free(c->net->cb.ctx, c->payload);
	c->payload = NULL;
}

void conn_close(struct net_conn *c)
{
	struct net *n = c->net;

	if (c->state == CONN_DEAD)
		return;
	c->state = CONN_DEAD;
	loop_remove(n->loop, &c->source);
	loop_timer_clear(n->loop, &c->deadline);
	loop_timer_clear(n->loop, &c->kick);
	tls_free(c->tls);
	c->tls = NULL;
	close(c->source.fd);
	for (struct net_conn **at = &n->conns; *at; at = &(*at)->next) {
		if (*at == c) {
			*at = c->next;
			break;
		}
	}
	c->next = n->graveyard;
	n->graveyard = c;
	payload_drop(c);
	out_release_all(c);
}

/* Everything is sent: say so, and wait for the other side to do the same. */
static void linger_sent(struct net_conn *c)
{
	if (!c->first)
		shutdown(c->source.fd, SHUT_WR);
}

void conn_linger(struct net_conn *c)
{
	c->state = CONN_LINGER;
	c->paused = false;
	loop_timer_clear(c->net->loop, &c->kick);
	loop_timer_set(c->net->loop, &c->deadline, clock_mono_ns() + LINGER_NS);
	payload_drop(c);
	net_flush(c);
	if (c->state == CONN_DEAD)
		return;
	if (c->broken)
		conn_close(c);
	else {
		linger_sent(c);
		conn_update_events(c);
	}
}

static void linger_ready(struct net_conn *c, uint32_t events)
{
	char sink[4096];
	ssize_t n;

	if (events & EPOLLOUT) {
		net_flush(c);
		if (c->state == CONN_DEAD)
			return;
		linger_sent(c);
	}
	for (unsigned i = 0; i < 64; i++) {
		n = recv(c->source.fd, sink, sizeof(sink), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			conn_close(c);
			return;
		}
	}
	if (c->broken)
		conn_close(c);
}

static void queue_refused(struct net_conn *c, int code, const char *reason)
{
	struct msg m = {.type = MSG_REFUSED};

	m.refused.code = code;
	snprintf(m.refused.text, sizeof(m.refused.text), "%s", reason);
	out_add(c, &m, NULL, NULL);
}

void conn_end(struct net_conn *c, int code, const char *reason)
{
	struct net *n = c->net;
	bool was_up = false, was_dial = false, tell;
	char why[NET_TEXT_MAX];

	if (c->state == CONN_DEAD || c->state == CONN_LINGER)
		return;
	snprintf(why, sizeof(why), "%s", reason); /* it may be in what is freed */
	if (c->peer >= 0) {
		struct net_peer *p = &n->peers[c->peer];

		was_up = p->conn == c;
		was_dial = p->dial == c;
		if (was_up)
			p->conn = NULL;
		if (was_dial)
			p->dial = NULL;
		if (p->parked == c)
			p->parked = NULL;
	}
	tell = code && !c->broken && !c->first &&
	       (c->state == CONN_PREFACE || c->state == CONN_UP || c->state == CONN_PARKED);
	if (tell) {
		queue_refused(c, code, why);
		conn_linger(c);
	} else if (c->state == CONN_TLS && c->tls && !c->broken) {
		conn_linger(c); /* the alert wants to be read, too */
	} else {
		conn_close(c);
	}
	net_ended(c, was_up, was_dial, why);
}

static void deadline_expired(struct loop_timer *t, uint64_t now_ns)
{
	struct net_conn *c = container_of(t, struct net_conn, deadline);
	struct net *n = c->net;
	char why[NET_TEXT_MAX];

	net_enter(n);
	if (c->state == CONN_LINGER) {
		conn_close(c);
	} else if (c->state == CONN_CONNECTING) {
		snprintf(why, sizeof(why),
			"no answer from %s within %.1f s: is the host up, and does a firewall let "
			"the port "
			"through?",
			c->remote, (double)n->cfg.connect_timeout_ns / NS_PER_S);
		conn_end(c, 0, why);
	} else {
		snprintf(why, sizeof(why),
			"%s did not finish the handshake within %.1f s: is that tandemfs?",
			c->remote, (double)n->cfg.handshake_timeout_ns / NS_PER_S);
		conn_end(c, -ETIMEDOUT, why);
	}
	net_leave(n);
}

/* ---- the handshake ---- */

void conn_send_preface(struct net_conn *c)
{
	const struct net_config *cfg = &c->net->cfg;
	struct msg m = {.type = MSG_PREFACE};

	m.preface.protocol_min = MSG_PROTOCOL_MIN;
	m.preface.protocol_max = MSG_PROTOCOL;
	m.preface.purpose = c->peer >= 0 && net_is_bulk((unsigned)c->peer) ? MSG_PURPOSE_BULK
									   : MSG_PURPOSE_COMMIT;
	m.preface.cluster = cfg->cluster;
	m.preface.volume = cfg->volume;
	m.preface.replica = cfg->self;
	snprintf(m.preface.domain, sizeof(m.preface.domain), "%s", cfg->domain);
	if (out_add(c, &m, NULL, NULL) == 0)
		net_flush(c);
}

static void preface_begin(struct net_conn *c)
{
	c->state = CONN_PREFACE;
	if (c->dialled)
		conn_send_preface(c);
	conn_update_events(c);
}

/* The other side speaks plain TCP where this one wants TLS. */
static void plain_met_tls(struct net_conn *c)
{
	char why[NET_TEXT_MAX];

	snprintf(why, sizeof(why),
		"%s speaks plain TCP, domain '%s' is configured for TLS: configure both sides "
		"alike",
		c->dialled ? c->remote : "the caller", c->net->cfg.domain);
	tls_free(c->tls);
	c->tls = NULL;
	if (!c->dialled) {
		c->state = CONN_PREFACE; /* so that the caller can be told in its own language */
		conn_end(c, -EPROTO, why);
	} else {
		conn_end(c, 0, why);
	}
}

/* Looks at the other side's first bytes without taking them. False when the connection ended. */
static bool greet(struct net_conn *c)
{
	unsigned char b[4];
	ssize_t n = recv(c->source.fd, b, sizeof(b), MSG_PEEK | MSG_DONTWAIT);

	if (n <= 0)
		return true; /* nothing yet, or what the handshake will find out */
	c->greeted = true;
	if (n == sizeof(b) ? memcmp(b, MAGIC_TEXT, sizeof(b)) == 0 : b[0] == MAGIC_TEXT[0]) {
		plain_met_tls(c);
		return false;
	}
	return true;
}

static void handshake(struct net_conn *c)
{
	bool want_write = false;
	struct err e;
	int ret;

	if (!c->greeted && !greet(c))
		return;
	ret = tls_handshake(c->tls, &want_write, &e);
	if (ret == -EAGAIN) {
		loop_modify(c->net->loop, &c->source, want_write ? EPOLLOUT : EPOLLIN);
		return;
	}
	if (ret == 0 && c->dialled)
		ret = tls_check_domain(c->tls, c->net->peers[c->peer].cfg->domain, &e);
	if (ret == -ECONNRESET && !c->dialled) {
		log_debug("%s: %s", c->remote, e.msg);
		conn_close(c); /* it has another connection by now, or was a port probe */
		return;
	}
	if (ret < 0) {
		char why[NET_TEXT_MAX];

		if (c->dialled)
			snprintf(why, sizeof(why), "%s: %s", c->remote, e.msg);
		else
			snprintf(why, sizeof(why), "%s", e.msg);
		if (ret == -EACCES)
			c->state = CONN_PREFACE; /* TLS stands: it can be said in a frame */
		conn_end(c, ret, why);
		return;
	}
	preface_begin(c);
	conn_kick(c); /* what came with the last handshake record is not announced again */
	c->read_again = true;
}

/* A port that nobody listens on can answer itself, when the kernel picked it for the dialling end. */
static bool connected_to_itself(int fd)
{
	struct sockaddr_storage a = {0}, b = {0};
	socklen_t alen = sizeof(a), blen = sizeof(b);

	return getsockname(fd, (struct sockaddr *)&a, &alen) == 0 &&
	       getpeername(fd, (struct sockaddr *)&b, &blen) == 0 && alen == blen &&
	       memcmp(&a, &b, alen) == 0;
}

static void connected(struct net_conn *c)
{
	struct net *n = c->net;
	char why[NET_TEXT_MAX];
	int error = 0;
	socklen_t len = sizeof(error);

	getsockopt(c->source.fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (!error && connected_to_itself(c->source.fd))
		error = ECONNREFUSED;
	if (error == ECONNREFUSED) {
		snprintf(why, sizeof(why), "connection refused by %s: is tandemfs running there?",
			c->remote);
	} else if (error) {
		snprintf(why, sizeof(why), "cannot reach %s: %s", c->remote, strerror(error));
	} else if (n->tls && tls_new(n->tls, c->source.fd, false, &c->tls) < 0) {
		error = ENOMEM;
		snprintf(why, sizeof(why), "out of memory");
	}
	if (error) {
		conn_end(c, 0, why);
		return;
	}
	loop_timer_set(n->loop, &c->deadline, clock_mono_ns() + n->cfg.handshake_timeout_ns);
	if (c->tls) {
		c->state = CONN_TLS;
		handshake(c);
	} else {
		preface_begin(c);
	}
}

static void kick_expired(struct loop_timer *t, uint64_t now_ns)
{
	struct net_conn *c = container_of(t, struct net_conn, kick);
	struct net *n = c->net;
	bool again = c->read_again;

	net_enter(n);
	c->read_again = false;
	if (c->broken) {
		conn_end(c, 0, c->reason);
	} else {
		if (c->drained_due && c->state == CONN_UP) {
			c->drained_due = false;
			n->cb.drained(n->cb.ctx, (unsigned)c->peer, c->number);
		}
		if (again)
			conn_read(c);
	}
	net_leave(n);
}

static void conn_ready(struct loop_source *s, uint32_t events)
{
	struct net_conn *c = container_of(s, struct net_conn, source);
	struct net *n = c->net;

	net_enter(n);
	switch (c->state) {
	case CONN_CONNECTING:
		connected(c);
		break;
	case CONN_TLS:
		handshake(c);
		break;
	case CONN_LINGER:
		linger_ready(c, events);
		break;
	case CONN_DEAD:
		break;
	case CONN_PARKED:
		conn_end(c, 0, "closed by the other side");
		break;
	case CONN_PREFACE:
	case CONN_UP:
		if (events & EPOLLOUT)
			net_flush(c);
		if (c->paused && (events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP)))
			conn_end(c, 0, "closed by the other side");
		else if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
			conn_read(c);
		break;
	}
	net_leave(n);
}
