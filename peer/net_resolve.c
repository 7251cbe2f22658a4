/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to addresses. getaddrinfo(3) may wait for a name server for many seconds and cannot be
 * cancelled, so each look-up has a short-lived thread and a small object that belongs to both: the
 * thread fills it, writes to its eventfd and lets go; the loop's side reads the result after the
 * eventfd became readable, or lets go at any time. Whoever lets go last frees it.
 */
#include "net_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define RESOLVE_STACK (256u << 10) /* bytes */

struct resolve {
	atomic_uint holders;
	struct loop *loop; /* the loop's side only, like the next three */
	struct loop_source source; /* its fd belongs to both */
	void (*done)(void *ctx, int error, const struct addrinfo *list);
	void *ctx;
	char host[256], port[8];
	int error; /* written by the thread before the eventfd */
	struct addrinfo *list;
};

bool address_split(const char *address, char *host, size_t host_size, char *port, size_t port_size)
{
	const char *colon = strrchr(address, ':'), *start = address, *end = colon;
	char *rest;

	if (!colon)
		return false;
	if (*address == '[') {
		start++;
		end = colon - 1;
		if (end <= start || *end != ']')
			return false;
	} else if (memchr(address, ':', (size_t)(colon - address))) {
		return false; /* v6 without brackets: which colon is it? */
	}
	if ((size_t)(end - start) >= host_size || strlen(colon + 1) >= port_size || !colon[1])
		return false;
	if (strtoul(colon + 1, &rest, 10) > 65535 || *rest || colon[1] < '0' || colon[1] > '9')
		return false;
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = '\0';
	snprintf(port, port_size, "%s", colon + 1);
	return true;
}

void address_text(const struct sockaddr *sa, socklen_t len, bool with_port, char *buf, size_t size)
{
	char host[INET6_ADDRSTRLEN + 32], port[8];

	if (getnameinfo(sa, len, host, sizeof(host), port, sizeof(port),
		    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(buf, size, "an unknown address");
	else if (!with_port)
		snprintf(buf, size, "%s", host);
	else
		snprintf(buf, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static void let_go(struct resolve *r)
{
	if (atomic_fetch_sub(&r->holders, 1) > 1)
		return;
	if (r->list)
		freeaddrinfo(r->list);
	close(r->source.fd);
	free(r);
}

static void *look_up(void *arg)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
	struct resolve *r = arg;
	uint64_t one = 1;

	r->error = getaddrinfo(r->host, r->port, &hints, &r->list);
	if (r->error)
		r->list = NULL;
	while (write(r->source.fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	let_go(r);
	return NULL;
}

static void resolve_ready(struct loop_source *s, uint32_t events)
{
	struct resolve *r = container_of(s, struct resolve, source);
	uint64_t count;

	if (read(s->fd, &count, sizeof(count)) < 0)
		return;
	loop_remove(r->loop, s);
	r->done(r->ctx, r->error, r->list); /* may free r */
}

int resolve_start(struct loop *l, const char *host, const char *port,
	void (*done)(void *ctx, int error, const struct addrinfo *list), void *ctx,
	struct resolve **ret_r)
{
	struct resolve *r = calloc(1, sizeof(*r));
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	int ret;

	if (!r)
		return -ENOMEM;
	atomic_init(&r->holders, 1);
	r->loop = l;
	r->done = done;
	r->ctx = ctx;
	snprintf(r->host, sizeof(r->host), "%s", host);
	snprintf(r->port, sizeof(r->port), "%s", port);
	r->source.events = EPOLLIN;
	r->source.ready = resolve_ready;
	r->source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = r->source.fd < 0 ? -errno : loop_add(l, &r->source);
	if (ret < 0) {
		let_go(r);
		return ret;
	}
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attr, RESOLVE_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before); /* signals are for the daemon's own threads */
	atomic_fetch_add(&r->holders, 1);
	ret = -pthread_create(&thread, &attr, look_up, r);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (ret < 0) {
		let_go(r);
		resolve_free(r);
		return ret;
	}
	*ret_r = r;
	return 0;
}

void resolve_free(struct resolve *r)
{
	if (!r)
		return;
	loop_remove(r->loop, &r->source);
	let_go(r);
}
