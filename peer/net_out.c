/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A connection's write queue. Messages are queued by reference; the queue is one stream of segments
 * (head, payload, head, payload, ...). Plain: as many segments as fit go into one sendmsg(2). TLS:
 * short segments are gathered into one record, long ones are encrypted from where they are.
 *
 * A call that OpenSSL could not finish must be repeated with the same bytes, at least as many. As
 * the queue only grows at its end and nothing is taken off without success, gathering again gives
 * just that.
 *
 * Failure modes: a full socket sets `blocked` (the loop goes on when it is writable); an error marks
 * the connection broken, and the loop ends it. A release callback may queue more, or drop the
 * connection: the state is looked at after each.
 */
#include "net_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define LOW_MARK (256u << 10) /* bytes */
#define IOV_MAX_SEND 64
#define FLUSH_MAX (8u << 20) /* bytes in one go: others want their turn */
#define FLUSH_BULK_MAX (512u << 10) /* the same on a bulk connection */

int out_add(struct net_conn *c, const struct msg *m, void (*release)(void *arg), void *arg)
{
	struct net *n = c->net;
	size_t head_len = msg_encode(m, n->scratch, MSG_HEADER_SIZE + MSG_META_MAX);
	struct out *o = malloc(sizeof(*o) + head_len);

	if (!o)
		return -ENOMEM;
	o->next = NULL;
	o->release = release;
	o->arg = arg;
	o->payload = msg_payload(m, &o->payload_len);
	o->head_len = head_len;
	memcpy(o->head, n->scratch, head_len);
	*c->last = o;
	c->last = &o->next;
	c->queued += head_len + o->payload_len;
	if (c->blocked && c->queued >= LOW_MARK)
		c->above_mark = true;
	return 0;
}

/* Takes the first message off the queue and lets go of its payload. */
static void out_pop(struct net_conn *c)
{
	struct out *o = c->first;

	c->first = o->next;
	if (!c->first)
		c->last = &c->first;
	c->first_done = 0;
	if (o->release)
		o->release(o->arg);
	free(o);
}

void out_release_all(struct net_conn *c)
{
	c->queued = 0;
	while (c->first)
		out_pop(c);
}

static void out_sent(struct net_conn *c, size_t n)
{
	c->queued -= n;
	if (c->above_mark && c->queued < LOW_MARK) {
		c->above_mark = false;
		c->drained_due = true;
		conn_kick(c);
	}
	while (n && c->first) {
		size_t left = c->first->head_len + c->first->payload_len - c->first_done;

		if (n < left) {
			c->first_done += n;
			return;
		}
		n -= left;
		out_pop(c); /* may drop the connection, and with it the queue */
	}
}

/* Fills iov with what is queued, in order. */
static unsigned out_segments(const struct net_conn *c, struct iovec *iov, unsigned max)
{
	size_t skip = c->first_done;
	unsigned n = 0;

	for (const struct out *o = c->first; o && n + 2 <= max; o = o->next) {
		size_t head_skip = MIN(skip, o->head_len);

		if (head_skip < o->head_len)
			iov[n++] = (struct iovec){
				(void *)(o->head + head_skip), o->head_len - head_skip};
		skip -= head_skip;
		if (skip < o->payload_len)
			iov[n++] =
				(struct iovec){(void *)(o->payload + skip), o->payload_len - skip};
		skip = 0;
	}
	return n;
}

static ssize_t send_plain(struct net_conn *c)
{
	struct iovec iov[IOV_MAX_SEND];
	struct msghdr h = {.msg_iov = iov};
	ssize_t n;

	h.msg_iovlen = out_segments(c, iov, IOV_MAX_SEND);
	do
		n = sendmsg(c->source.fd, &h, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static ssize_t send_tls(struct net_conn *c)
{
	struct net *n = c->net;
	struct iovec iov[IOV_MAX_SEND];
	unsigned count = out_segments(c, iov, IOV_MAX_SEND);
	size_t len = 0;

	if (iov[0].iov_len >= sizeof(n->coalesce))
		return tls_write(
			c->tls, iov[0].iov_base, iov[0].iov_len, c->queued > iov[0].iov_len);
	for (unsigned i = 0; i < count && len < sizeof(n->coalesce); i++) {
		size_t take = MIN(iov[i].iov_len, sizeof(n->coalesce) - len);

		memcpy(n->coalesce + len, iov[i].iov_base, take);
		len += take;
	}
	return tls_write(c->tls, n->coalesce, len, c->queued > len);
}

static void flush_failed(struct net_conn *c, int error)
{
	if (error == -EPROTO && c->tls && tls_error(c->tls)[0])
		snprintf(c->reason, sizeof(c->reason), "%s", tls_error(c->tls));
	else
		snprintf(c->reason, sizeof(c->reason), "connection lost: %s", strerror(-error));
	c->broken = true;
	conn_kick(c);
}

void net_flush(struct net_conn *c)
{
	bool bulk = c->peer >= 0 && net_is_bulk((unsigned)c->peer);
	size_t total = 0, total_max = bulk ? FLUSH_BULK_MAX : FLUSH_MAX;

	if (c->writing || c->broken || c->state == CONN_DEAD)
		return;
	c->writing = true;
	c->blocked = false;
	while (c->first) {
		ssize_t n;

		if (total >= total_max) {
			c->blocked = true;
			break;
		}
		n = c->tls ? send_tls(c) : send_plain(c);
		if (n == -EAGAIN) {
			c->blocked = true;
			break;
		}
		if (n < 0) {
			flush_failed(c, (int)n);
			break;
		}
		total += (size_t)n;
		out_sent(c, (size_t)n);
		if (c->state == CONN_DEAD)
			return;
	}
	c->writing = false;
	if (c->queued >= LOW_MARK)
		c->above_mark = true;
	conn_update_events(c);
}
