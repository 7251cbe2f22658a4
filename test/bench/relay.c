/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP relay that adds a delay to each direction: distance between two sites on one machine.
 *
 *   relay --listen HOST:PORT --to HOST:PORT [--delay-us N]
 *
 * Each piece read from one side is written to the other --delay-us later (so the round trip grows by
 * twice that), in order, without limiting the rate: many pieces are under way at once, at most
 * WINDOW bytes in a direction. An end of stream travels with the same delay; a reset passes at once.
 * Prints "relay: listening on HOST:PORT" when it is ready (port 0: any), ends on SIGTERM.
 *
 * One thread, one poll loop over at most CONNS_MAX connections. A connection owns its two sockets and
 * the pieces that are under way.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"

#define CONNS_MAX 64
#define WINDOW (64u << 20) /* bytes under way in a direction */
#define PIECE_MAX (64u << 10) /* bytes read at once */

struct piece {
	struct piece *next;
	uint64_t due_ns;
	size_t len, sent; /* len 0: the end of the stream */
	char bytes[];
};

/* From side i to side 1 - i. */
struct direction {
	struct piece *first, **last;
	size_t queued; /* bytes */
	bool blocked; /* the other side's socket took no more */
	bool read_end, write_end;
};

struct conn {
	bool used, connecting;
	int fds[2];
	struct direction dirs[2];
};

static struct conn conns[CONNS_MAX];
static uint64_t delay_ns;
static volatile sig_atomic_t ended;

static void on_term(int sig)
{
	ended = 1;
}

static int resolve(const char *text, bool passive, struct sockaddr_storage *ret, socklen_t *ret_len)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = passive ? AI_PASSIVE : 0},
			*ai;
	const char *colon = strrchr(text, ':');
	char host[256];
	int r;

	if (!colon || (size_t)(colon - text) >= sizeof(host)) {
		fprintf(stderr, "relay: '%s' is not HOST:PORT\n", text);
		return -1;
	}
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = 0;
	r = getaddrinfo(*host ? host : NULL, colon + 1, &hints, &ai);
	if (r) {
		fprintf(stderr, "relay: '%s': %s\n", text, gai_strerror(r));
		return -1;
	}
	memcpy(ret, ai->ai_addr, ai->ai_addrlen);
	*ret_len = ai->ai_addrlen;
	freeaddrinfo(ai);
	return 0;
}

static void conn_close(struct conn *c, bool reset)
{
	struct linger l = {.l_onoff = 1};

	for (int i = 0; i < 2; i++) {
		struct piece *p, *next;

		for (p = c->dirs[i].first; p; p = next) {
			next = p->next;
			free(p);
		}
		if (reset)
			setsockopt(c->fds[i], SOL_SOCKET, SO_LINGER, &l, sizeof(l));
		close(c->fds[i]);
	}
	c->used = false;
}

static void conn_accept(int listener, const struct sockaddr_storage *to, socklen_t to_len)
{
	struct conn *c = NULL;
	int fd, one = 1;

	fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd < 0)
		return;
	for (int i = 0; i < CONNS_MAX && !c; i++) {
		if (!conns[i].used)
			c = &conns[i];
	}
	if (!c) {
		close(fd);
		return;
	}
	*c = (struct conn){.used = true, .connecting = true};
	c->fds[0] = fd;
	c->fds[1] = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	for (int i = 0; i < 2; i++) {
		c->dirs[i].last = &c->dirs[i].first;
		setsockopt(c->fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	if (c->fds[1] < 0 ||
		(connect(c->fds[1], (const struct sockaddr *)to, to_len) && errno != EINPROGRESS))
		conn_close(c, true);
}

/* Takes what side i has to say. */
static int direction_read(struct conn *c, int i, uint64_t now)
{
	struct direction *d = &c->dirs[i];

	while (!d->read_end && d->queued < WINDOW) {
		struct piece *p = malloc(sizeof(*p) + PIECE_MAX), *fit;
		ssize_t n;

		if (!p)
			return -1;
		n = read(c->fds[i], p->bytes, PIECE_MAX);
		if (n < 0) {
			int e = errno;

			free(p);
			return e == EAGAIN || e == EINTR ? 0 : -1;
		}
		fit = realloc(p, sizeof(*p) + (size_t)n);
		p = fit ? fit : p;
		p->next = NULL;
		p->due_ns = now + delay_ns;
		p->len = (size_t)n;
		p->sent = 0;
		*d->last = p;
		d->last = &p->next;
		d->queued += p->len;
		d->read_end = n == 0;
	}
	return 0;
}

/* Hands on what is due. */
static int direction_write(struct conn *c, int i, uint64_t now)
{
	struct direction *d = &c->dirs[i];

	while (d->first && d->first->due_ns <= now) {
		struct piece *p = d->first;
		ssize_t n;

		if (p->len == 0) {
			shutdown(c->fds[1 - i], SHUT_WR);
			d->write_end = true;
		}
		while (p->sent < p->len) {
			n = send(c->fds[1 - i], p->bytes + p->sent, p->len - p->sent, MSG_NOSIGNAL);
			if (n < 0) {
				d->blocked = errno == EAGAIN;
				return errno == EAGAIN || errno == EINTR ? 0 : -1;
			}
			p->sent += (size_t)n;
		}
		d->queued -= p->len;
		d->first = p->next;
		if (!d->first)
			d->last = &d->first;
		free(p);
	}
	return 0;
}

static void conn_step(struct conn *c, const short revents[2], uint64_t now)
{
	if (c->connecting) {
		int e = 0;
		socklen_t len = sizeof(e);

		if (!(revents[1] & (POLLOUT | POLLERR | POLLHUP)))
			return;
		getsockopt(c->fds[1], SOL_SOCKET, SO_ERROR, &e, &len);
		if (e) {
			conn_close(c, true);
			return;
		}
		c->connecting = false;
	}
	for (int i = 0; i < 2; i++) {
		if (revents[1 - i] & POLLOUT)
			c->dirs[i].blocked = false;
		if ((revents[i] & POLLERR) ||
			((revents[i] & (POLLIN | POLLHUP)) && direction_read(c, i, now)) ||
			(!c->dirs[i].blocked && direction_write(c, i, now))) {
			conn_close(c, true);
			return;
		}
	}
	if (c->dirs[0].write_end && c->dirs[1].write_end)
		conn_close(c, false);
}

/* What to wait for on side i, and until when at the latest. */
static short conn_events(const struct conn *c, int i, uint64_t *due_ns)
{
	const struct direction *in = &c->dirs[i], *out = &c->dirs[1 - i];
	short events = 0;

	if (c->connecting)
		return i == 1 ? POLLOUT : 0;
	if (!in->read_end && in->queued < WINDOW)
		events |= POLLIN;
	if (out->blocked)
		events |= POLLOUT;
	else if (out->first && out->first->due_ns < *due_ns)
		*due_ns = out->first->due_ns;
	return events;
}

static void run(int listener, const struct sockaddr_storage *to, socklen_t to_len)
{
	while (!ended) {
		struct pollfd fds[1 + 2 * CONNS_MAX];
		struct conn *who[CONNS_MAX];
		uint64_t now = clock_mono_ns(), due_ns = now + NS_PER_S;
		struct timespec wait;
		nfds_t n = 0;

		fds[n++] = (struct pollfd){.fd = listener, .events = POLLIN};
		for (int k = 0; k < CONNS_MAX; k++) {
			if (!conns[k].used)
				continue;
			who[n / 2] = &conns[k];
			for (int i = 0; i < 2; i++) {
				short events = conn_events(&conns[k], i, &due_ns);

				/* A side with nothing to wait for would report POLLHUP for ever. */
				fds[n++] = (struct pollfd){
					.fd = events ? conns[k].fds[i] : -1, .events = events};
			}
		}
		wait.tv_sec = due_ns > now ? (time_t)((due_ns - now) / NS_PER_S) : 0;
		wait.tv_nsec = due_ns > now ? (long)((due_ns - now) % NS_PER_S) : 0;
		if (ppoll(fds, n, &wait, NULL) < 0 && errno != EINTR)
			return;
		now = clock_mono_ns();
		for (nfds_t k = 1; k + 1 < n; k += 2)
			conn_step(who[k / 2], (short[2]){fds[k].revents, fds[k + 1].revents}, now);
		if (fds[0].revents & POLLIN)
			conn_accept(listener, to, to_len);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"listen", required_argument, NULL, 'l'},
		{"to", required_argument, NULL, 't'}, {"delay-us", required_argument, NULL, 'd'},
		{0}};
	const char *listen_at = NULL, *to_text = NULL;
	struct sockaddr_storage at, to;
	socklen_t at_len, to_len;
	char host[256], port[32];
	int o, listener, one = 1;

	while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (o == 'l')
			listen_at = optarg;
		else if (o == 't')
			to_text = optarg;
		else if (o == 'd')
			delay_ns = strtoull(optarg, NULL, 10) * NS_PER_US;
		else
			return 2;
	}
	if (!listen_at || !to_text || optind != argc) {
		fprintf(stderr, "usage: relay --listen HOST:PORT --to HOST:PORT [--delay-us N]\n");
		return 2;
	}
	if (resolve(listen_at, true, &at, &at_len) || resolve(to_text, false, &to, &to_len))
		return 1;
	signal(SIGTERM, on_term);
	signal(SIGINT, on_term);
	prctl(PR_SET_TIMERSLACK, 1000ul); /* ns: the default of 50 us would be part of each delay */
	listener = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener >= 0)
		setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, at_len) ||
		listen(listener, 16) || getsockname(listener, (struct sockaddr *)&at, &at_len)) {
		fprintf(stderr, "relay: %s: %s\n", listen_at, strerror(errno));
		return 1;
	}
	getnameinfo((struct sockaddr *)&at, at_len, host, sizeof(host), port, sizeof(port),
		NI_NUMERICHOST | NI_NUMERICSERV);
	printf("relay: listening on %s:%s\n", host, port);
	fflush(stdout);
	run(listener, &to, to_len);
	return 0;
}
