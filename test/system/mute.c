/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer that is there and says nothing, and strangers that hold connections.
 *
 *   mute listen HOST:PORT         accepts every connection, reads what comes, never answers
 *   mute dial HOST:PORT COUNT     keeps COUNT connections open and says nothing: opens each again when
 *                                 the other side ends it
 *
 * HOST is an IPv4 address. Prints "mute: ready", ends on a signal. One thread; it owns its sockets.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FDS_MAX 512u

static struct pollfd fds[FDS_MAX];

static int address(const char *text, struct sockaddr_in *ret)
{
	const char *colon = strchr(text, ':');
	char host[64];

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		return -1;
	memcpy(host, text, (size_t)(colon - text));
	host[colon - text] = 0;
	*ret = (struct sockaddr_in){
		.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10))};
	return inet_pton(AF_INET, host, &ret->sin_addr) == 1 ? 0 : -1;
}

static int fail(const char *what)
{
	fprintf(stderr, "mute: %s: %s\n", what, strerror(errno));
	return 1;
}

/* What came is dropped; an ended connection is closed. */
static void swallow(struct pollfd *p)
{
	static char buf[64u << 10];

	if (!p->revents || read(p->fd, buf, sizeof(buf)) > 0)
		return;
	close(p->fd);
	p->fd = -1;
}

static int listen_at(const struct sockaddr_in *at)
{
	int one = 1;

	fds[0] = (struct pollfd){.fd = socket(AF_INET, SOCK_STREAM, 0), .events = POLLIN};
	setsockopt(fds[0].fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fds[0].fd, (const struct sockaddr *)at, sizeof(*at)) || listen(fds[0].fd, 64))
		return fail("listen");
	for (unsigned i = 1; i < FDS_MAX; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	printf("mute: ready\n");
	fflush(stdout);
	for (;;) {
		if (poll(fds, FDS_MAX, -1) < 0)
			return fail("poll");
		for (unsigned i = 1; i < FDS_MAX; i++) {
			if (fds[i].fd >= 0)
				swallow(&fds[i]);
			if (fds[i].fd < 0 && fds[0].revents) {
				fds[i].fd = accept(fds[0].fd, NULL, NULL);
				fds[i].revents = 0;
				fds[0].revents = 0;
			}
		}
	}
}

static int dial(const struct sockaddr_in *to, unsigned count)
{
	const struct timespec pause = {.tv_nsec = 20000000};

	for (unsigned i = 0; i < count; i++)
		fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
	printf("mute: ready\n");
	fflush(stdout);
	for (;;) {
		for (unsigned i = 0; i < count; i++) {
			if (fds[i].fd >= 0)
				continue;
			fds[i].fd = socket(AF_INET, SOCK_STREAM, 0);
			if (connect(fds[i].fd, (const struct sockaddr *)to, sizeof(*to))) {
				close(fds[i].fd);
				fds[i].fd = -1;
			}
		}
		if (poll(fds, count, 200) < 0)
			return fail("poll");
		for (unsigned i = 0; i < count; i++)
			if (fds[i].fd >= 0)
				swallow(&fds[i]);
		nanosleep(&pause, NULL); /* a polite stranger: not a flood */
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_in a;
	unsigned count;

	if (argc == 3 && !strcmp(argv[1], "listen") && !address(argv[2], &a))
		return listen_at(&a);
	count = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	if (argc == 4 && !strcmp(argv[1], "dial") && !address(argv[2], &a) && count &&
		count <= FDS_MAX)
		return dial(&a, count);
	fprintf(stderr, "usage: mute listen HOST:PORT | dial HOST:PORT COUNT\n");
	return 2;
}
