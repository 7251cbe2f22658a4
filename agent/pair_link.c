/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The check of a direction is a request to the agent's REST: the TLS handshake proves the name of who answers,
 * and an answer of any status proves that our certificate was accepted, which in TLS 1.3 a handshake alone does
 * not. Where the agent does not run yet, a thread holds its port and answers so; where it runs, it has the port,
 * and answers itself.
 *
 * Failure modes: every wait ends at its deadline, so a stranger who connects and says nothing costs only time. An agent
 * that takes new certificates at this moment cuts off who is just connecting: that is tried again.
 */
#include "pair_link.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bytes.h"
#include "clock.h"
#include "server_impl.h"

#define ANSWER_NS (5 * NS_PER_S)
#define LOOK_MS 100
#define AGAIN_NS (200 * NS_PER_MS)
#define AGAIN_MAX 5u

static int wait_for(int fd, short events, uint64_t until_ns, struct err *e)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		uint64_t now = clock_mono_ns();
		int n;

		if (now >= until_ns)
			return err_set(e, -ETIMEDOUT, "no answer in time");
		n = poll(&p, 1, (int)MIN((until_ns - now) / NS_PER_MS + 1, 60000));
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return err_set(e, -errno, "poll: %s", strerror(errno));
	}
}

int pair_link_open(struct pair_link *l, struct tls_context *ctx, int fd, bool server,
	uint64_t until_ns, struct err *e)
{
	bool want_write = false;
	int ret;

	*l = (struct pair_link){.fd = fd, .until_ns = until_ns};
	ret = tls_new(ctx, fd, server, &l->tls);
	if (ret)
		return err_set(e, ret, "TLS: %s", strerror(-ret));
	while ((ret = tls_handshake(l->tls, &want_write, e)) == -EAGAIN) {
		ret = wait_for(fd, want_write ? POLLOUT : POLLIN, until_ns, e);
		if (ret)
			return ret;
	}
	return ret;
}

void pair_link_close(struct pair_link *l)
{
	tls_free(l->tls);
	if (l->fd >= 0)
		close(l->fd);
	l->tls = NULL;
	l->fd = -1;
}

static int write_all(struct pair_link *l, const void *p, size_t len, struct err *e)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = tls_write(l->tls, (const char *)p + at, len - at, false);

		if (n > 0)
			at += (size_t)n;
		else if (n != -EAGAIN)
			return err_set(e, -ECONNRESET, "%s", tls_error(l->tls));
		else if (wait_for(l->fd, POLLOUT, l->until_ns, e))
			return e->code;
	}
	return 0;
}

/* At least `min` and at most `max` bytes; how many, or -errno. */
static ssize_t read_some(struct pair_link *l, void *p, size_t min, size_t max, struct err *e)
{
	size_t at = 0;

	while (at < min) {
		ssize_t n = tls_read(l->tls, (char *)p + at, max - at);

		if (n > 0)
			at += (size_t)n;
		else if (n == 0)
			return err_set(e, -ECONNRESET, "the other side went away");
		else if (n != -EAGAIN)
			return err_set(e, -ECONNRESET, "%s", tls_error(l->tls));
		else if (wait_for(l->fd, POLLIN, l->until_ns, e))
			return e->code;
	}
	return (ssize_t)at;
}

int pair_link_send(struct pair_link *l, struct json *j, struct err *e)
{
	const char *text = json_text(j, false);
	size_t len = strlen(text);
	uint8_t head[4];
	struct bytes b = bytes_of(head, sizeof(head));
	int ret;

	ensure(len <= PAIR_MESSAGE_MAX);
	bytes_put32(&b, (uint32_t)len);
	ret = write_all(l, head, sizeof(head), e);
	if (!ret)
		ret = write_all(l, text, len, e);
	json_free(j);
	return ret;
}

int pair_link_receive(struct pair_link *l, char *buf, struct err *e)
{
	uint8_t head[4];
	struct bytes b = bytes_of(head, sizeof(head));
	ssize_t ret = read_some(l, head, sizeof(head), sizeof(head), e);
	uint32_t len;

	if (ret < 0)
		return (int)ret;
	len = bytes_get32(&b);
	if (!len || len > PAIR_MESSAGE_MAX)
		return err_set(
			e, -EBADMSG, "the other side speaks another language than tandemctl pair");
	return (int)read_some(l, buf, len, len, e);
}

static int connect_to(const struct addrinfo *a, uint64_t until_ns, struct err *e)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), ret,
	    error = 0;
	socklen_t len = sizeof(error);

	if (fd < 0)
		return err_set(e, -errno, "socket: %s", strerror(errno));
	ret = connect(fd, a->ai_addr, a->ai_addrlen) < 0 ? -errno : 0;
	if (ret == -EINPROGRESS) {
		ret = wait_for(fd, POLLOUT, until_ns, e);
		if (!ret && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0)
			ret = -error;
	}
	if (!ret)
		return fd;
	close(fd);
	return err_set(e, ret, "%s", strerror(-ret));
}

int pair_dial(const char *address, uint64_t until_ns, struct err *e)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
	const char *colon = strrchr(address, ':');
	char host[PAIR_HOST_MAX + 1];
	struct addrinfo *found;
	int ret;

	if (address[0] == '[')
		snprintf(host, sizeof(host), "%.*s", (int)(colon - address - 2), address + 1);
	else
		snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
	ret = getaddrinfo(host, colon + 1, &hints, &found);
	if (ret)
		return err_set(e, -EADDRNOTAVAIL, "'%s': %s", host, gai_strerror(ret));
	ret = -ENOENT;
	for (const struct addrinfo *a = found; a && ret < 0; a = a->ai_next)
		ret = connect_to(a, until_ns, e);
	freeaddrinfo(found);
	return ret;
}

static int check_once(const struct pair_identity *own, const char *address, const char *domain,
	uint64_t until_ns, struct err *e)
{
	static const char request[] =
		"GET /v1/health HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n";
	struct pair_link l = {.fd = -1};
	struct tls_context *ctx;
	char answer[512];
	int ret = tls_context_new(own->ca, own->certificate, own->certificate, &ctx, e), fd;
	ssize_t n;

	if (ret)
		return ret;
	fd = pair_dial(address, until_ns, e);
	ret = fd < 0 ? fd : pair_link_open(&l, ctx, fd, false, until_ns, e);
	if (!ret)
		ret = tls_check_domain(l.tls, domain, e);
	if (!ret)
		ret = write_all(&l, request, sizeof(request) - 1, e);
	if (!ret) {
		n = read_some(&l, answer, 1, sizeof(answer), e);
		ret = n < 0 ? (int)n : 0;
	}
	if (ret)
		err_wrap(e, "%s at %s", domain, address);
	pair_link_close(&l);
	tls_context_free(ctx);
	return ret;
}

int pair_check(const struct pair_identity *own, const char *address, const char *domain,
	uint64_t until_ns, struct err *e)
{
	int ret = check_once(own, address, domain, until_ns, e);

	for (unsigned again = 0; ret == -ECONNRESET && again < AGAIN_MAX; again++) {
		nanosleep(&(struct timespec){.tv_nsec = AGAIN_NS}, NULL);
		ret = check_once(own, address, domain, until_ns, e);
	}
	return ret;
}

static void answer_one(struct pair_answerer *a, int fd)
{
	static const char answer[] = "HTTP/1.1 204 pairing\r\nConnection: close\r\n\r\n";
	struct pair_link l;
	char request[512];
	struct err e;

	if (!pair_link_open(&l, a->ctx, fd, true, clock_mono_ns() + ANSWER_NS, &e) &&
		!tls_check_domain(l.tls, a->peer, &e) &&
		read_some(&l, request, 1, sizeof(request), &e) > 0)
		write_all(&l, answer, sizeof(answer) - 1, &e);
	pair_link_close(&l);
}

static void *answer_all(void *arg)
{
	struct pair_answerer *a = arg;

	while (!atomic_load(&a->stop)) {
		struct pollfd p = {.fd = a->listen_fd, .events = POLLIN};
		int fd;

		if (poll(&p, 1, LOOK_MS) <= 0)
			continue;
		fd = accept4(a->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			answer_one(a, fd);
	}
	return NULL;
}

int pair_answerer_start(struct pair_answerer *a, const struct pair_identity *own,
	const char *address, const char *peer, struct err *e)
{
	int ret;

	*a = (struct pair_answerer){.listen_fd = -1, .peer = peer};
	ret = server_listen_tcp(address, e);
	if (ret == -EADDRINUSE)
		return 0;
	if (ret < 0)
		return ret;
	a->listen_fd = ret;
	ret = tls_context_new(own->ca, own->certificate, own->certificate, &a->ctx, e);
	if (!ret && pthread_create(&a->thread, NULL, answer_all, a))
		ret = err_set(e, -EAGAIN, "cannot start a thread");
	if (ret) {
		tls_context_free(a->ctx);
		close(a->listen_fd);
		a->listen_fd = -1;
	}
	return ret;
}

void pair_answerer_stop(struct pair_answerer *a)
{
	if (a->listen_fd < 0)
		return;
	atomic_store(&a->stop, true);
	pthread_join(a->thread, NULL);
	tls_context_free(a->ctx);
	close(a->listen_fd);
	a->listen_fd = -1;
}
