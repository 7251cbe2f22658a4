/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The transport's public calls and its listening socket. net_peer.c says who connects to whom.
 *
 * Failure modes: a listening address that is taken or malformed fails net_open() with the
 * configuration's key in the message. Out of descriptors: accepting pauses. Strangers can hold a
 * few connections, each for the time of a handshake.
 */
#include "net_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define UNIDENTIFIED_MAX 16u
#define ACCEPT_MAX 16u /* of one wake-up */
#define ACCEPT_PAUSE_NS (100 * NS_PER_MS)

void net_enter(struct net *n)
{
	n->depth++;
}

void net_leave(struct net *n)
{
	if (--n->depth)
		return;
	while (n->graveyard) {
		struct net_conn *c = n->graveyard;

		n->graveyard = c->next;
		free(c->rbuf);
		free(c);
	}
}

/* ---- listening ---- */

static unsigned unidentified(const struct net *n)
{
	unsigned count = 0;

	for (const struct net_conn *c = n->conns; c; c = c->next)
		count += !c->dialled && c->state != CONN_UP;
	return count;
}

static void accept_again(struct loop_timer *t, uint64_t now_ns)
{
	struct net *n = container_of(t, struct net, accept_again);

	loop_modify(n->loop, &n->listener, EPOLLIN);
}

static void listener_ready(struct loop_source *s, uint32_t events)
{
	struct net *n = container_of(s, struct net, listener);

	net_enter(n);
	for (unsigned i = 0; i < ACCEPT_MAX; i++) {
		struct sockaddr_storage sa;
		socklen_t len = sizeof(sa);
		char remote[NET_REMOTE_MAX];
		int fd = accept4(s->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
				      errno == ENOMEM)) {
			log_warn("cannot accept connections: %s", strerror(errno));
			loop_modify(n->loop, s, 0);
			loop_timer_set(
				n->loop, &n->accept_again, clock_mono_ns() + ACCEPT_PAUSE_NS);
			break;
		}
		if (fd < 0 && errno == EAGAIN)
			break;
		if (fd < 0)
			continue; /* it went away while it waited */
		address_text((struct sockaddr *)&sa, len, false, remote, sizeof(remote));
		if (unidentified(n) >= UNIDENTIFIED_MAX) {
			log_debug("connection from %s refused: too many at once", remote);
			close(fd);
			continue;
		}
		if (n->tls)
			tls_context_refresh(n->tls);
		conn_new(n, fd, false, -1, remote);
	}
	net_leave(n);
}

static int bind_to(const struct addrinfo *ai)
{
	int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int on = 1, off = 0, ret;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0)
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

/* At the start only, so a name may take its time here. */
static int listener_bind(struct net *n, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list;
	const char *where = n->cfg.listen;
	char host[256], port[8];
	bool any;
	int ret;

	if (!address_split(where, host, sizeof(host), port, sizeof(port)))
		return err_set(e, -EINVAL, "listen: '%s' is not HOST:PORT or [V6]:PORT", where);
	any = !host[0] || strcmp(host, "*") == 0;
	ret = getaddrinfo(any ? NULL : host, port, &hints, &list);
	if (ret)
		return err_set(e, -EADDRNOTAVAIL, "listen: cannot find the address '%s': %s", where,
			gai_strerror(ret));
	ret = -EADDRNOTAVAIL;
	/* "Any" means both families through one socket, or v4 alone where there is no v6. */
	for (int pass = 0; pass < 2 && ret < 0; pass++)
		for (struct addrinfo *ai = list; ai && ret < 0; ai = ai->ai_next)
			if (!any || (ai->ai_family == AF_INET6) == (pass == 0))
				ret = bind_to(ai);
	freeaddrinfo(list);
	if (ret < 0)
		return err_set(e, ret, "listen: cannot listen on '%s': %s%s", where, strerror(-ret),
			ret == -EADDRINUSE
				? " (is another tandemfs running, or another volume on this "
				  "port?)"
				: "");
	n->listener.fd = ret;
	n->listener.events = EPOLLIN;
	n->listener.ready = listener_ready;
	return 0;
}

static int net_start(struct net *n)
{
	int ret = listen(n->listener.fd, 64) == 0 ? loop_add(n->loop, &n->listener) : -errno;

	for (unsigned i = 0; ret == 0 && i < n->cfg.npeers; i++)
		if (n->peers[i].present)
			loop_timer_set(n->loop, &n->peers[i].timer, clock_mono_ns());
	return ret;
}

/* Somebody else may have taken the address in the silence: then it is tried until it is free. */
static void silence_ends(struct loop_timer *t, uint64_t now_ns)
{
	struct net *n = container_of(t, struct net, silence);
	int ret = net_start(n);

	if (ret == 0)
		return;
	log_error("listen: cannot listen on '%s': %s", n->cfg.listen, strerror(-ret));
	loop_timer_set(n->loop, t, now_ns + NS_PER_S);
}

/* ---- public calls ---- */

static int peers_check(const struct net *n, struct err *e)
{
	char host[256], port[8];

	if (n->cfg.npeers > REPLICAS_MAX)
		return err_set(e, -EINVAL, "more than %u replicas", REPLICAS_MAX);
	for (unsigned i = 0; i < n->cfg.npeers; i++) {
		const struct net_peer_config *p = &n->cfg.peers[i];

		if (!n->peers[i].present)
			continue;
		if (!address_split(p->address, host, sizeof(host), port, sizeof(port)) ||
			!host[0] || strtoul(port, NULL, 10) == 0)
			return err_set(e, -EINVAL,
				"peer '%s': address '%s' is not HOST:PORT or [V6]:PORT", p->domain,
				p->address);
	}
	return 0;
}

static void defaults_set(struct net_config *cfg)
{
	if (!cfg->connect_timeout_ns)
		cfg->connect_timeout_ns = 3 * NS_PER_S;
	if (!cfg->handshake_timeout_ns)
		cfg->handshake_timeout_ns = 3 * NS_PER_S;
	if (!cfg->backoff_min_ns)
		cfg->backoff_min_ns = 100 * NS_PER_MS;
	cfg->backoff_max_ns =
		MAX(cfg->backoff_max_ns ? cfg->backoff_max_ns : 2 * NS_PER_S, cfg->backoff_min_ns);
}

int net_open(struct loop *l, const struct net_config *cfg, const struct net_callbacks *cb,
	struct net **ret_net, struct err *e)
{
	struct net *n = calloc(1, sizeof(*n));
	int ret;

	if (!n)
		return err_set(e, -ENOMEM, "out of memory");
	n->loop = l;
	n->cfg = *cfg;
	n->cb = *cb;
	n->listener.fd = -1;
	n->accept_again.expired = accept_again;
	n->silence.expired = silence_ends;
	/* Larger than any number of an earlier net in this process: it cannot count faster than time. */
	n->next_conn = clock_mono_ns();
	n->record = malloc(sizeof(*n->record));
	n->scratch = malloc(MSG_HEADER_SIZE + MSG_META_MAX);
	defaults_set(&n->cfg);
	for (unsigned i = 0; i < MIN(n->cfg.npeers, REPLICAS_MAX); i++) {
		peer_init(n, i);
		peer_init(n, NET_BULK + i);
	}
	if (!n->record || !n->scratch)
		ret = err_set(e, -ENOMEM, "out of memory");
	else
		ret = peers_check(n, e);
	if (ret == 0 && cfg->tls)
		ret = tls_context_new(n->cfg.ca, n->cfg.certificate, n->cfg.key, &n->tls, e);
	if (ret == 0)
		ret = listener_bind(n, e);
	if (ret == 0 && cfg->silence_ns) {
		loop_timer_set(l, &n->silence, clock_mono_ns() + cfg->silence_ns);
	} else if (ret == 0) {
		ret = net_start(n);
		if (ret < 0)
			err_set(e, ret, "listen: cannot listen on '%s': %s", n->cfg.listen,
				strerror(-ret));
	}
	if (ret < 0) {
		net_close(n);
		return ret;
	}
	*ret_net = n;
	return 0;
}

void net_close(struct net *n)
{
	if (!n)
		return;
	ensure(!n->depth); /* not from a callback */
	net_enter(n);
	for (unsigned i = 0; i < ARRAY_SIZE(n->peers); i++) {
		struct net_peer *p = &n->peers[i];

		if (!p->present)
			continue;
		p->conn = p->parked = NULL;
		peer_stop(p);
	}
	while (n->conns)
		conn_close(n->conns);
	net_leave(n);
	if (n->listener.fd >= 0) {
		loop_remove(n->loop, &n->listener);
		close(n->listener.fd);
	}
	loop_timer_clear(n->loop, &n->accept_again);
	loop_timer_clear(n->loop, &n->silence);
	tls_context_free(n->tls);
	free(n->record);
	free(n->scratch);
	free(n);
}

static struct net_conn *conn_of(const struct net *n, unsigned peer)
{
	ensure(peer % NET_BULK < n->cfg.npeers && peer < ARRAY_SIZE(n->peers));
	return n->peers[peer].conn;
}

int net_send(struct net *n, unsigned peer, uint64_t conn, const struct msg *m,
	void (*release)(void *arg), void *arg)
{
	struct net_conn *c = conn_of(n, peer);
	int ret;

	if (!c || c->number != conn || c->broken)
		return -ENOTCONN;
	ret = out_add(c, m, release, arg);
	if (ret == 0 && !n->peers[peer].corked && !c->blocked) {
		net_enter(n);
		net_flush(c);
		net_leave(n);
	}
	return ret;
}

void net_cork(struct net *n, unsigned peer)
{
	ensure(peer < ARRAY_SIZE(n->peers));
	n->peers[peer].corked++;
}

void net_uncork(struct net *n, unsigned peer)
{
	struct net_conn *c = conn_of(n, peer);

	/* A connection that came up in between began uncorked. */
	if (n->peers[peer].corked && --n->peers[peer].corked)
		return;
	if (c && c->first && !c->blocked) {
		net_enter(n);
		net_flush(c);
		net_leave(n);
	}
}

size_t net_queued(const struct net *n, unsigned peer)
{
	const struct net_conn *c = conn_of(n, peer);

	return c ? c->queued : 0;
}

void net_resume(struct net *n)
{
	for (struct net_conn *c = n->conns; c; c = c->next) {
		if (!c->paused)
			continue;
		c->paused = false;
		c->read_again = true;
		conn_update_events(c);
		conn_kick(c);
	}
}

void net_drop(struct net *n, unsigned peer, const char *reason)
{
	struct net_conn *c = conn_of(n, peer);
	struct net_peer *p = &n->peers[peer];

	if (!c)
		return;
	net_enter(n);
	p->conn = NULL;
	if (clock_mono_ns() - c->up_since_ns > n->cfg.backoff_max_ns)
		p->backoff_ns = n->cfg.backoff_min_ns;
	peer_trouble(p, reason);
	peer_pause(p);
	net_flush(c);
	if (c->state != CONN_DEAD) {
		if (c->first || c->broken)
			conn_close(c);
		else
			conn_linger(c);
	}
	net_leave(n);
}

void net_bulk(struct net *n, unsigned peer, bool wanted)
{
	struct net_peer *p = &n->peers[NET_BULK + peer];

	ensure(peer < n->cfg.npeers && p->present);
	if (p->wanted == wanted)
		return;
	p->wanted = wanted;
	p->backoff_ns = n->cfg.backoff_min_ns;
	if (wanted)
		loop_timer_set(n->loop, &p->timer, clock_mono_ns());
	else
		loop_timer_clear(n->loop, &p->timer);
}

const char *net_trouble(const struct net *n, unsigned peer)
{
	ensure(peer < ARRAY_SIZE(n->peers));
	return n->peers[peer].trouble;
}

const char *net_security(const struct net *n, unsigned peer)
{
	const struct net_conn *c = conn_of(n, peer);

	if (!c)
		return "";
	return c->tls ? tls_description(c->tls) : "plain";
}
