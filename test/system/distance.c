/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cable with a length: two network namespaces get an interface "far" each, and what goes into one comes out of the other
 * later, also what the kernel sends by itself (a TCP handshake passes relay.c undelayed).
 *
 *   distance NAMESPACE NAMESPACE DELAY-US
 *
 * It prints "ready"; addresses are the caller's. The interfaces go with the process. What does not fit a queue is lost, as
 * on a real one. One thread; packets are in order because the delay is the same for all.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"

#define PACKETS 1024u
#define PACKET_MAX 2048u

static struct direction {
	int from, to; /* descriptors of the interfaces */
	unsigned first, count;
	struct {
		uint64_t due_ns;
		ssize_t len;
		char bytes[PACKET_MAX];
	} p[PACKETS];
} directions[2];

static void die(const char *what)
{
	fprintf(stderr, "distance: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int interface_in(const char *namespace)
{
	struct ifreq r = {.ifr_flags = IFF_TUN | IFF_NO_PI};
	char path[256];
	int ns, fd;

	snprintf(path, sizeof(path), "/run/netns/%s", namespace);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWNET))
		die(path);
	close(ns);
	fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		die("/dev/net/tun");
	snprintf(r.ifr_name, sizeof(r.ifr_name), "far");
	if (ioctl(fd, TUNSETIFF, &r))
		die("TUNSETIFF");
	return fd;
}

static void take(struct direction *d, uint64_t delay_ns)
{
	while (d->count < PACKETS) {
		unsigned at = (d->first + d->count) % PACKETS;

		d->p[at].len = read(d->from, d->p[at].bytes, PACKET_MAX);
		if (d->p[at].len <= 0)
			return;
		d->p[at].due_ns = clock_mono_ns() + delay_ns;
		d->count++;
	}
}

static void give(struct direction *d)
{
	while (d->count && d->p[d->first].due_ns <= clock_mono_ns()) {
		if (write(d->to, d->p[d->first].bytes, (size_t)d->p[d->first].len) < 0 &&
			errno != EAGAIN && errno != EIO && errno != EINVAL)
			die("write");
		d->first = (d->first + 1) % PACKETS;
		d->count--;
	}
}

int main(int argc, char **argv)
{
	uint64_t delay_ns = argc == 4 ? strtoull(argv[3], NULL, 10) * 1000 : 0;
	int a, b;

	if (argc != 4) {
		fprintf(stderr, "usage: distance NAMESPACE NAMESPACE DELAY-US\n");
		return 2;
	}
	prctl(PR_SET_TIMERSLACK, 1000ul); /* ns */
	a = interface_in(argv[1]);
	b = interface_in(argv[2]);
	directions[0].from = directions[1].to = a;
	directions[0].to = directions[1].from = b;
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd p[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
		uint64_t next = UINT64_MAX, now;
		struct timespec t;

		for (unsigned i = 0; i < 2; i++)
			if (directions[i].count)
				next = MIN(next, directions[i].p[directions[i].first].due_ns);
		now = clock_mono_ns();
		next = next == UINT64_MAX ? NS_PER_S : next > now ? next - now : 0;
		t = (struct timespec){
			.tv_sec = (time_t)(next / NS_PER_S), .tv_nsec = (long)(next % NS_PER_S)};
		if (ppoll(p, 2, &t, NULL) < 0 && errno != EINTR)
			die("poll");
		for (unsigned i = 0; i < 2; i++) {
			take(&directions[i], delay_ns);
			give(&directions[i]);
		}
	}
}
