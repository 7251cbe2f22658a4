/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The peers: dialling with back-off, who the other side is, and which of two connections stays:
 *
 * - nothing stands and nothing of ours is on the way: the new one;
 * - ours is connected and only waits for the handshake, and we have the smaller UUID: theirs is
 *   parked until ours succeeded (theirs is closed) or failed (theirs is taken);
 * - one stands, dialled by the same side: the new one; nobody dials a second one unless the first
 *   is gone at his end;
 * - one stands, dialled by the other side: the one dialled by the smaller UUID, if both are about
 *   equally old; the new one, if the first has been standing for longer than an attempt can take,
 *   because then it is gone at the other end, too (its process was killed, its power was cut).
 *
 * Failure modes: a peer that cannot be reached is dialled again after a pause that doubles; a pause
 * also follows a connection that ended, so that two sides that agree on the wire and not above it
 * do not spin. Each reason is logged once, not at each attempt.
 */
#include "net_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define LOG_AGAIN_NS (60 * NS_PER_S)

static void peer_connect(struct net_peer *p);

void peer_trouble(struct net_peer *p, const char *text)
{
	if (strcmp(p->trouble, text) == 0)
		return;
	snprintf(p->trouble, sizeof(p->trouble), "%s", text);
	if (p->bulk) {
		log_debug("no bulk connection to '%s': %s", p->cfg->domain, p->trouble);
		return;
	}
	log_warn("no connection to '%s': %s", p->cfg->domain, p->trouble);
}

/* Dials again after the back-off, which doubles. A little chance keeps two sides out of step. */
void peer_pause(struct net_peer *p)
{
	const struct net_config *cfg = &p->net->cfg;
	uint64_t ns = p->backoff_ns;

	if (p->conn || p->dial || p->resolve || (p->bulk && !p->wanted))
		return;
	p->backoff_ns = MIN(2 * ns, cfg->backoff_max_ns);
	loop_timer_set(p->net->loop, &p->timer, clock_mono_ns() + ns - random_u64() % (ns / 4 + 1));
}

void peer_stop(struct net_peer *p)
{
	struct net_conn *c = p->dial;

	loop_timer_clear(p->net->loop, &p->timer);
	resolve_free(p->resolve);
	p->resolve = NULL;
	p->dial = NULL;
	if (c)
		conn_close(c);
}

/* A connection that stands takes the peer's place. */
static void conn_up(struct net_conn *c)
{
	struct net *n = c->net;
	struct net_peer *p = &n->peers[c->peer];

	if (p->dial == c)
		p->dial = NULL;
	if (p->parked == c)
		p->parked = NULL;
	peer_stop(p); /* ours, or theirs below, if this is the other one */
	loop_timer_clear(n->loop, &c->deadline);
	if (p->parked)
		conn_close(p->parked);
	p->parked = NULL;
	p->conn = c;
	p->corked = 0;
	p->trouble[0] = '\0';
	c->state = CONN_UP;
	c->up_since_ns = clock_mono_ns();
	conn_update_events(c);
	if (!c->dialled)
		conn_send_preface(c);
	log_info("connected to '%s' (%s, %s%s)", p->cfg->domain, c->remote, p->bulk ? "bulk, " : "",
		c->tls ? tls_description(c->tls) : "plain");
	n->cb.up(n->cb.ctx, p->index, c->number);
}

/* Our own attempt failed: what they dialled is as good. True when there was one. */
static bool parked_take(struct net_peer *p)
{
	struct net_conn *c = p->parked;

	if (!c)
		return false;
	c->read_again = true; /* what it has sent meanwhile is not announced again */
	conn_kick(c);
	conn_up(c);
	return true;
}

void net_ended(struct net_conn *c, bool was_up, bool was_dial, const char *reason)
{
	struct net *n = c->net;
	uint64_t now = clock_mono_ns();
	struct net_peer *p;

	if (c->peer < 0) {
		if (strcmp(n->logged, reason) || now - n->logged_ns > LOG_AGAIN_NS)
			log_warn("connection from %s refused: %s", c->remote, reason);
		snprintf(n->logged, sizeof(n->logged), "%s", reason);
		n->logged_ns = now;
		return;
	}
	p = &n->peers[c->peer];
	if (was_up) {
		if (now - c->up_since_ns > n->cfg.backoff_max_ns)
			p->backoff_ns = n->cfg.backoff_min_ns;
		peer_trouble(p, reason);
		peer_pause(p);
		n->cb.down(n->cb.ctx, p->index, c->number, reason);
	} else if (was_dial) {
		if (parked_take(p))
			return;
		if (p->address_at < p->naddresses) {
			peer_connect(p); /* the name's next address */
			return;
		}
		peer_trouble(p, reason);
		peer_pause(p);
	} else if (!p->conn) {
		peer_trouble(p, reason);
	}
}

/* ---- dialling ---- */

static void peer_connect(struct net_peer *p)
{
	char remote[NET_REMOTE_MAX], why[NET_TEXT_MAX];
	const struct sockaddr *sa = (const struct sockaddr *)&p->addresses[p->address_at];
	socklen_t len = p->address_lens[p->address_at];
	int fd;

	p->address_at++;
	address_text(sa, len, true, remote, sizeof(remote));
	if (p->net->tls)
		tls_context_refresh(p->net->tls);
	fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, sa, len) < 0 && errno != EINPROGRESS && errno != EINTR) {
		int saved = errno;

		close(fd);
		fd = -1;
		errno = saved;
	}
	if (fd >= 0) {
		p->dial = conn_new(p->net, fd, true, (int)p->index, remote);
		errno = ENOMEM;
	}
	if (p->dial)
		return;
	if (errno == ECONNREFUSED)
		snprintf(why, sizeof(why), "connection refused by %s: is tandemfs running there?",
			remote);
	else
		snprintf(why, sizeof(why), "cannot reach %s: %s", remote, strerror(errno));
	if (p->address_at < p->naddresses) {
		peer_connect(p);
		return;
	}
	peer_trouble(p, why);
	peer_pause(p);
}

static void resolved(void *ctx, int error, const struct addrinfo *list)
{
	struct net_peer *p = ctx;
	char why[NET_TEXT_MAX];

	net_enter(p->net);
	p->naddresses = p->address_at = 0;
	for (; list && p->naddresses < NET_ADDRESSES_MAX; list = list->ai_next) {
		if (list->ai_addrlen > sizeof(p->addresses[0]))
			continue;
		memcpy(&p->addresses[p->naddresses], list->ai_addr, list->ai_addrlen);
		p->address_lens[p->naddresses++] = list->ai_addrlen;
	}
	resolve_free(p->resolve);
	p->resolve = NULL;
	if (p->naddresses) {
		peer_connect(p);
	} else {
		snprintf(why, sizeof(why), "cannot find the host of address '%s': %s",
			p->cfg->address, error ? gai_strerror(error) : "no address");
		peer_trouble(p, why);
		peer_pause(p);
	}
	net_leave(p->net);
}

static void peer_dial(struct net_peer *p)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
	char host[256], port[8], why[NET_TEXT_MAX];
	struct addrinfo *list;
	int ret;

	if (p->conn || p->dial || p->parked || p->resolve || (p->bulk && !p->wanted))
		return;
	ensure(address_split(p->cfg->address, host, sizeof(host), port, sizeof(port)));
	if (getaddrinfo(host, port, &hints, &list) == 0) {
		resolved(p, 0, list);
		freeaddrinfo(list);
		return;
	}
	ret = resolve_start(p->net->loop, host, port, resolved, p, &p->resolve);
	if (ret < 0) {
		snprintf(why, sizeof(why), "cannot look up '%s': %s", host, strerror(-ret));
		peer_trouble(p, why);
		peer_pause(p);
	}
}

static void peer_timer(struct loop_timer *t, uint64_t now_ns)
{
	struct net_peer *p = container_of(t, struct net_peer, timer);

	net_enter(p->net);
	peer_dial(p);
	net_leave(p->net);
}

/* ---- who is it? ---- */

static struct net_peer *peer_find(struct net *n, const struct uuid *replica, bool bulk)
{
	unsigned at = bulk ? NET_BULK : 0;

	for (unsigned i = 0; i < n->cfg.npeers; i++)
		if (n->peers[at + i].present && uuid_equal(&n->peers[at + i].cfg->replica, replica))
			return &n->peers[at + i];
	return NULL;
}

/* What is wrong with a preface, in words that are right on both sides; NULL when nothing is. */
static const char *preface_fault(
	struct net_conn *c, const struct msg_preface *m, struct net_peer **ret_peer, char *buf)
{
	const struct net_config *cfg = &c->net->cfg;
	char ours[UUID_TEXT_SIZE], theirs[UUID_TEXT_SIZE];
	struct net_peer *p;
	struct err e;

	uuid_text(&m->replica, theirs);
	if (m->protocol_max < MSG_PROTOCOL_MIN || m->protocol_min > MSG_PROTOCOL) {
		snprintf(buf, NET_TEXT_MAX,
			"'%s' speaks protocol %u to %u, '%s' %u to %u: upgrade one step at a time, "
			"both sides",
			cfg->domain, MSG_PROTOCOL_MIN, MSG_PROTOCOL, m->domain, m->protocol_min,
			m->protocol_max);
		return buf;
	}
	if (!uuid_equal(&m->cluster, &cfg->cluster)) {
		snprintf(buf, NET_TEXT_MAX,
			"cluster is another ('%s' belongs to %s, '%s' to %s): was one side "
			"formatted without "
			"the other's descriptor?",
			cfg->domain, uuid_text(&cfg->cluster, ours), m->domain,
			uuid_text(&m->cluster, theirs));
		return buf;
	}
	if (!uuid_equal(&m->volume, &cfg->volume)) {
		snprintf(buf, NET_TEXT_MAX,
			"volume is another ('%s' has %s here, '%s' %s): check the peers' addresses "
			"and ports",
			cfg->domain, uuid_text(&cfg->volume, ours), m->domain,
			uuid_text(&m->volume, theirs));
		return buf;
	}
	if (uuid_equal(&m->replica, &cfg->self)) {
		snprintf(buf, NET_TEXT_MAX,
			"the address leads back to '%s' itself: check the peers' addresses and "
			"ports",
			cfg->domain);
		return buf;
	}
	p = peer_find(c->net, &m->replica, m->purpose == MSG_PURPOSE_BULK);
	if (!p) {
		snprintf(buf, NET_TEXT_MAX, "replica %s ('%s') is not in the configuration of '%s'",
			theirs, m->domain, cfg->domain);
		return buf;
	}
	if (c->dialled && (int)p->index != c->peer) {
		snprintf(buf, NET_TEXT_MAX, "the address of '%s' leads to '%s'",
			c->net->peers[c->peer].cfg->domain, p->cfg->domain);
		return buf;
	}
	if (strcmp(m->domain, p->cfg->domain)) {
		snprintf(buf, NET_TEXT_MAX,
			"replica %s calls its domain '%s', the configuration of '%s' calls it '%s'",
			theirs, m->domain, cfg->domain, p->cfg->domain);
		return buf;
	}
	if (c->tls && tls_check_domain(c->tls, p->cfg->domain, &e) < 0) {
		snprintf(buf, NET_TEXT_MAX, "%s: %s", c->remote, e.msg);
		return buf;
	}
	if (m->purpose == MSG_PURPOSE_BULK && !cfg->bulk) {
		snprintf(buf, NET_TEXT_MAX, "'%s' takes no bulk connections", cfg->domain);
		return buf;
	}
	*ret_peer = p;
	return NULL;
}

/* Which of the standing connection and the new one stays: the top of this file has the cases. */
static bool newer_stays(const struct net_conn *old, const struct net_conn *c)
{
	const struct net *n = c->net;
	const struct uuid *dialler = c->dialled ? &n->cfg.self : &n->peers[c->peer].cfg->replica;
	const struct uuid *acceptor = c->dialled ? &n->peers[c->peer].cfg->replica : &n->cfg.self;

	if (old->dialled == c->dialled ||
		clock_mono_ns() - old->up_since_ns >
			n->cfg.connect_timeout_ns + n->cfg.handshake_timeout_ns)
		return true;
	return uuid_compare(dialler, acceptor) < 0;
}

void net_identify(struct net_conn *c, const struct msg_preface *m)
{
	struct net *n = c->net;
	char buf[NET_TEXT_MAX];
	struct net_peer *p = NULL;
	const char *fault = preface_fault(c, m, &p, buf);
	struct net_conn *old;

	if (fault) {
		conn_end(c, -EACCES, fault);
		return;
	}
	c->peer = (int)p->index;
	old = p->conn;
	if (old && !newer_stays(old, c)) {
		if (p->dial == c)
			p->dial = NULL;
		conn_close(c);
		return;
	}
	if (!old && !c->dialled && p->dial && p->dial->state != CONN_CONNECTING &&
		uuid_compare(&n->cfg.self, &p->cfg->replica) < 0) {
		if (p->parked)
			conn_close(p->parked);
		p->parked = c;
		c->state = CONN_PARKED;
		conn_update_events(c);
		return;
	}
	if (old) {
		p->conn = NULL;
		conn_close(old);
		n->cb.down(n->cb.ctx, p->index, old->number, "replaced by a newer connection");
		if (c->state == CONN_DEAD)
			return;
	}
	conn_up(c);
}

void peer_init(struct net *n, unsigned index)
{
	struct net_peer *p = &n->peers[index];

	p->net = n;
	p->index = index;
	p->bulk = net_is_bulk(index);
	p->cfg = &n->cfg.peers[index % NET_BULK];
	p->present = !uuid_equal(&p->cfg->replica, &n->cfg.self) && !uuid_is_zero(&p->cfg->replica);
	p->backoff_ns = n->cfg.backoff_min_ns;
	p->timer.expired = peer_timer;
	if (p->present)
		snprintf(p->trouble, sizeof(p->trouble), "not connected yet");
}
