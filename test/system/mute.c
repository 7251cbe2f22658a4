/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer that is there and says nothing, and strangers that hold connections.
 *
 *   mute listen HOST:PORT         accepts every connection, reads what comes, never answers
 *   mute bulk HOST:PORT HOST:PORT passes connections on to the second address; of one for bulk (plain
 *                                 TCP only) it swallows what is answered behind the first MiB
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

static int listen_begin(const struct sockaddr_in *at)
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
	return 0;
}

static int listen_at(const struct sockaddr_in *at)
{
	int r = listen_begin(at);

	while (!r) {
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
	return r;
}

/* --- a peer that is mute on bulk connections alone --- */

#define HEAD_SIZE 60u /* of a preface: the frame's header, versions, purpose; see peer/msg.h */
#define PURPOSE_AT 56u
#define PURPOSE_BULK 2u

static struct way { /* fds[1 + 2 i]: who dialled; fds[2 + 2 i]: who is dialled */
	uint8_t asked[HEAD_SIZE];
	size_t nasked, nanswered; /* bytes altogether */
} ways[(FDS_MAX - 1) / 2];

static uint32_t le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void note(struct way *y, const uint8_t *buf, size_t n)
{
	for (size_t i = 0; i < n && y->nasked + i < HEAD_SIZE; i++)
		y->asked[y->nasked + i] = buf[i];
	y->nasked += n;
}

/* How much of what is answered next goes on. */
static size_t passes(const struct way *y, size_t before, size_t n)
{
	const size_t all = 1u << 20;

	if (y->nasked < HEAD_SIZE || le32(y->asked + PURPOSE_AT) != PURPOSE_BULK)
		return n;
	return before >= all ? 0 : all - before < n ? all - before : n;
}

static void way_end(unsigned i)
{
	for (unsigned k = 1; k <= 2; k++) {
		close(fds[2 * i + k].fd);
		fds[2 * i + k].fd = -1;
	}
}

static void way_carry(unsigned i, unsigned k)
{
	static uint8_t buf[64u << 10];
	struct way *y = &ways[i];
	ssize_t n = read(fds[2 * i + k].fd, buf, sizeof(buf)), put = 0;
	size_t want = (size_t)n;

	if (n <= 0) {
		way_end(i);
		return;
	}
	if (k == 1) {
		note(y, buf, (size_t)n);
	} else {
		want = passes(y, y->nanswered, (size_t)n);
		y->nanswered += (size_t)n;
	}
	for (size_t at = 0; at < want && put >= 0; at += (size_t)put)
		put = write(fds[2 * i + (k == 1 ? 2 : 1)].fd, buf + at, want - at);
	if (put < 0)
		way_end(i);
}

static void way_begin(unsigned i, const struct sockaddr_in *to)
{
	struct pollfd *p = &fds[2 * i + 1];

	ways[i] = (struct way){0};
	p[0].fd = accept(fds[0].fd, NULL, NULL);
	p[1].fd = socket(AF_INET, SOCK_STREAM, 0);
	p[0].revents = p[1].revents = 0;
	if (p[0].fd < 0 || connect(p[1].fd, (const struct sockaddr *)to, sizeof(*to)))
		way_end(i);
}

static int pass_on(const struct sockaddr_in *to)
{
	for (;;) {
		if (poll(fds, FDS_MAX, -1) < 0)
			return fail("poll");
		for (unsigned i = 0; i < (FDS_MAX - 1) / 2; i++) {
			for (unsigned k = 1; k <= 2; k++)
				if (fds[2 * i + k].fd >= 0 && fds[2 * i + k].revents)
					way_carry(i, k);
			if (fds[2 * i + 1].fd < 0 && fds[0].revents) {
				way_begin(i, to);
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
	struct sockaddr_in a, to;
	unsigned count;

	if (argc == 3 && !strcmp(argv[1], "listen") && !address(argv[2], &a))
		return listen_at(&a);
	if (argc == 4 && !strcmp(argv[1], "bulk") && !address(argv[2], &a) &&
		!address(argv[3], &to))
		return listen_begin(&a) ? 1 : pass_on(&to);
	count = argc == 4 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	if (argc == 4 && !strcmp(argv[1], "dial") && !address(argv[2], &a) && count &&
		count <= FDS_MAX)
		return dial(&a, count);
	fprintf(stderr,
		"usage: mute listen HOST:PORT | bulk HOST:PORT HOST:PORT | dial HOST:PORT COUNT\n");
	return 2;
}
