/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading frames from a connection. Headers and fields are read into a small buffer; a payload is
 * read to where payload_alloc() wants it, with the next header behind it in the same system call.
 * One wake-up reads a bounded amount, then the others have their turn.
 *
 * Failure modes: garbage, a frame that is not allowed in this state, lengths beyond the limits and
 * wrong checksums end the connection, and the other side is told why. No memory for a payload: the
 * connection is paused until net_resume(). Each callback may drop the connection: the state is
 * looked at after it.
 */
#include "net_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "log.h"

#define READ_MESSAGES_MAX 64u /* of one wake-up */
#define READ_BYTES_MAX (4u << 20) /* of one wake-up */
#define READ_BULK_MAX (512u << 10) /* the same of a bulk connection */

static void message(struct net_conn *c, const struct msg *m, void *payload)
{
	struct net_callbacks *cb = &c->net->cb;
	char why[NET_TEXT_MAX];

	if (m->type == MSG_REFUSED)
		snprintf(why, sizeof(why), "the other side says: %.400s", m->refused.text);
	if (c->state == CONN_UP && m->type != MSG_PREFACE) {
		cb->message(cb->ctx, (unsigned)c->peer, c->number, m, payload);
		if (m->type == MSG_REFUSED && c->state == CONN_UP)
			conn_end(c, 0, why);
	} else if (m->type == MSG_REFUSED) {
		conn_end(c, 0, why);
	} else { /* a PREFACE, where one may be: frame_allowed() */
		net_identify(c, &m->preface);
	}
}

static bool frame_allowed(const struct net_conn *c, enum msg_type t)
{
	if (c->state == CONN_UP && t == MSG_DATA)
		return true;
	if (c->state == CONN_UP && t != MSG_REFUSED)
		return t != MSG_PREFACE && net_is_bulk((unsigned)c->peer) ==
						   (t >= MSG_PULL_BEGIN && t <= MSG_PULL_NEWS);
	return t == MSG_PREFACE || t == MSG_REFUSED;
}

static void malformed(struct net_conn *c, const char *what)
{
	char why[NET_TEXT_MAX];

	snprintf(why, sizeof(why), "%s from %s", what, c->remote);
	conn_end(c, -EBADMSG, why);
}

/* Reads the header at the start of rbuf. False when the connection ended. */
static bool frame_begin(struct net_conn *c)
{
	const uint8_t *at = c->rbuf + c->rstart;
	char why[NET_TEXT_MAX];
	int ret = msg_decode_frame(at, &c->frame);

	if (ret == -EPROTONOSUPPORT) {
		snprintf(why, sizeof(why),
			"%s speaks another protocol than %u to %u: upgrade one step at a time, "
			"both sides",
			c->remote, MSG_PROTOCOL_MIN, MSG_PROTOCOL);
		conn_end(c, ret, why);
		return false;
	}
	if (ret < 0 && !c->tls && c->state == CONN_PREFACE && at[0] == 0x16 && at[1] == 0x03) {
		snprintf(why, sizeof(why),
			"%s speaks TLS, domain '%s' is configured for plain TCP: configure both "
			"sides "
			"alike",
			c->dialled ? c->remote : "the caller", c->net->cfg.domain);
		conn_end(c, -EPROTO, why);
		return false;
	}
	if (ret < 0) {
		malformed(c, "malformed frame header");
		return false;
	}
	if (!frame_allowed(c, c->frame.type)) {
		malformed(c, "unexpected frame");
		return false;
	}
	c->have_frame = true;
	c->rstart += MSG_HEADER_SIZE;
	return true;
}

/* Decodes and delivers a whole frame. */
static void frame_finish(struct net_conn *c, const uint8_t *meta)
{
	void *payload = c->payload;
	char what[64];
	struct msg m;
	int ret = msg_decode(&c->frame, meta, payload, c->net->record, &m);

	c->have_frame = c->meta_kept = false;
	if (ret < 0) {
		snprintf(what, sizeof(what), "malformed %s frame", msg_type_name(c->frame.type));
		malformed(c, what);
		return;
	}
	c->payload = NULL; /* it is the callee's */
	message(c, &m, payload);
}

/* Takes what it can from rbuf. 1: a frame was delivered; 0: needs more bytes, or cannot go on. */
static int read_step(struct net_conn *c)
{
	struct net_callbacks *cb = &c->net->cb;
	const uint8_t *meta;
	size_t n;

	if (!c->have_frame && (c->rend - c->rstart < MSG_HEADER_SIZE || !frame_begin(c)))
		return 0;
	if (!c->frame.payload_len) {
		if (c->rend - c->rstart < c->frame.meta_len)
			return 0;
		meta = c->rbuf + c->rstart;
		c->rstart += c->frame.meta_len;
		frame_finish(c, meta);
		return 1;
	}
	if (!c->meta_kept) {
		if (c->rend - c->rstart < c->frame.meta_len)
			return 0;
		ensure(c->frame.meta_len <= sizeof(c->meta));
		memcpy(c->meta, c->rbuf + c->rstart, c->frame.meta_len);
		c->rstart += c->frame.meta_len;
		c->meta_kept = true;
		c->payload_got = 0;
	}
	if (!c->payload) {
		void *payload = cb->payload_alloc(cb->ctx, (unsigned)c->peer, &c->frame);

		if (c->state != CONN_UP) { /* dropped meanwhile */
			if (payload)
				cb->payload_free(cb->ctx, payload);
			return 0;
		}
		c->payload = payload;
		if (!payload) {
			c->paused = true;
			conn_update_events(c);
			return 0;
		}
	}
	n = MIN(c->rend - c->rstart, c->frame.payload_len - c->payload_got);
	memcpy(c->payload + c->payload_got, c->rbuf + c->rstart, n);
	c->payload_got += n;
	c->rstart += n;
	if (c->payload_got < c->frame.payload_len)
		return 0;
	frame_finish(c, c->meta);
	return 1;
}

/* Makes room in rbuf: for the fields of the frame that is being read, or for anything. */
static bool make_room(struct net_conn *c)
{
	size_t need = NET_RBUF_LEN;

	if (c->rstart) {
		memmove(c->rbuf, c->rbuf + c->rstart, c->rend - c->rstart);
		c->rend -= c->rstart;
		c->rstart = 0;
	}
	if (c->have_frame && !c->meta_kept && c->frame.meta_len > need)
		need = c->frame.meta_len;
	if (need > c->rsize) {
		uint8_t *bigger = realloc(c->rbuf, need);

		if (!bigger)
			return false;
		c->rbuf = bigger;
		c->rsize = need;
	}
	return true;
}

/* One read from the socket. Bytes; 0 end; -errno. *ret_more: there may be more at once. */
static ssize_t receive(struct net_conn *c, bool *ret_more)
{
	struct iovec iov[2];
	struct msghdr h = {.msg_iov = iov};
	size_t limit = NET_RBUF_LEN, rest = 0;
	ssize_t n;

	if (!make_room(c))
		return -ENOMEM;
	if (c->have_frame && !c->meta_kept)
		limit = MAX(limit, c->frame.meta_len);
	if (c->payload) {
		rest = c->frame.payload_len - c->payload_got;
		iov[h.msg_iovlen++] = (struct iovec){c->payload + c->payload_got, rest};
	}
	iov[h.msg_iovlen++] = (struct iovec){c->rbuf + c->rend, limit - c->rend};
	if (c->tls)
		n = tls_read(c->tls, iov[0].iov_base, iov[0].iov_len);
	else
		do
			n = recvmsg(c->source.fd, &h, 0);
		while (n < 0 && errno == EINTR);
	if (n < 0)
		return c->tls ? n : -errno;
	/* A short read emptied the socket; it will wake us when there is more. */
	*ret_more = c->tls || (size_t)n == rest + limit - c->rend;
	if (c->payload) {
		c->payload_got += MIN((size_t)n, rest);
		c->rend += (size_t)n - MIN((size_t)n, rest);
	} else {
		c->rend += (size_t)n;
	}
	return n;
}

static void receive_failed(struct net_conn *c, ssize_t n)
{
	bool within = c->have_frame || c->rend != c->rstart;
	char why[NET_TEXT_MAX];

	if (n == 0 && c->peer < 0 && !within) {
		log_debug("%s connected and closed without a word", c->remote);
		conn_close(c); /* a port probe */
		return;
	}
	if (n == 0)
		snprintf(why, sizeof(why), "closed by %s%s%s", c->remote,
			within ? " in the middle of a frame" : "",
			c->state == CONN_UP ? "" : " during the handshake");
	else if (n == -EPROTO && c->tls)
		snprintf(why, sizeof(why), "%s%s%.300s", c->peer < 0 ? "" : c->remote,
			c->peer < 0 ? "" : ": ", tls_error(c->tls));
	else
		snprintf(why, sizeof(why), "connection to %s lost: %s", c->remote,
			strerror((int)-n));
	conn_end(c, 0, why);
}

static bool reading(const struct net_conn *c)
{
	return (c->state == CONN_UP || c->state == CONN_PREFACE) && !c->paused;
}

void conn_read(struct net_conn *c)
{
	unsigned messages = 0;
	bool bulk = c->peer >= 0 && net_is_bulk((unsigned)c->peer);
	size_t bytes = 0, bytes_max = bulk ? READ_BULK_MAX : READ_BYTES_MAX;
	bool more = true;

	while (reading(c)) {
		ssize_t n;

		while (reading(c) && messages < READ_MESSAGES_MAX && read_step(c))
			messages++;
		if (!reading(c))
			return;
		if (messages >= READ_MESSAGES_MAX || bytes >= bytes_max) {
			c->read_again = true;
			conn_kick(c);
			return;
		}
		if (!more)
			return;
		n = receive(c, &more);
		if (n == -EAGAIN)
			return;
		if (n <= 0) {
			receive_failed(c, n);
			return;
		}
		bytes += (size_t)n;
	}
}
