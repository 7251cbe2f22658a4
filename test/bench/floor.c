/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The physical floor of one 4 KiB commit on two sites: T = max(L_local, RTT + L_remote). No
 * filesystem of ours is in it: O_DIRECT writes with RWF_DSYNC into files that were written before,
 * and a TCP connection over the loopback.
 *
 *   floor DIR SECONDS [RTT_US]      RTT_US: add the delay of the line that the systems are measured over
 *
 * Prints, in microseconds and as medians:
 *   l_alone            one such loop
 *   l_local, l_remote  two of them in parallel, as both sites' journals share this disk
 *   rtt                4 KiB there, 32 bytes back
 *   floor              max(l_local, rtt + l_remote)
 *   model              measured in one piece: send 4 KiB; write locally while the other side writes,
 *                      then answers 32 bytes; wait for both. A program that does nothing else
 *                      reaches this here.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "stats.h"

#define BLOCK 4096u
#define FILE_SIZE (64u << 20)
#define ANSWER 32u

static uint64_t phase_ns;

struct loop_arg {
	char path[4200];
	struct samples samples;
};

struct journal {
	int fd;
	void *buf;
	off_t at;
};

static void journal_open(struct journal *j, const char *path)
{
	uint64_t seed = 42;

	if (posix_memalign(&j->buf, BLOCK, 1 << 20))
		die("buffer");
	random_fill(j->buf, 1 << 20, &seed);
	j->at = 0;
	j->fd = open(path, O_CREAT | O_RDWR | O_DIRECT, 0600);
	if (j->fd < 0)
		die("%s", path);
	for (off_t at = 0; at < (off_t)FILE_SIZE; at += 1 << 20) {
		if (pwrite(j->fd, j->buf, 1 << 20, at) != 1 << 20)
			die("%s: write", path);
	}
	if (fsync(j->fd))
		die("%s: fsync", path);
}

static void journal_append(struct journal *j)
{
	struct iovec iov = {.iov_base = j->buf, .iov_len = BLOCK};

	if (pwritev2(j->fd, &iov, 1, j->at, RWF_DSYNC) != BLOCK)
		die("pwritev2");
	j->at = (j->at + BLOCK) % FILE_SIZE;
}

static void journal_close(struct journal *j)
{
	close(j->fd);
	free(j->buf);
}

static void *write_loop(void *arg)
{
	struct loop_arg *a = arg;
	struct journal j;
	uint64_t now, deadline;

	journal_open(&j, a->path);
	now = clock_mono_ns();
	deadline = now + phase_ns;
	while (now < deadline) {
		uint64_t end;

		journal_append(&j);
		end = clock_mono_ns();
		samples_add(&a->samples, end - now);
		now = end;
	}
	journal_close(&j);
	return NULL;
}

/* Median latencies of n loops at the same time, each in a file of its own. */
static void measure_writes(const char *dir, unsigned n, double *ret_us)
{
	struct loop_arg a[2] = {0};
	pthread_t threads[2];

	for (unsigned i = 0; i < n; i++) {
		snprintf(a[i].path, sizeof(a[i].path), "%.4000s/floor.%u", dir, i);
		if (pthread_create(&threads[i], NULL, write_loop, &a[i]))
			die("thread");
	}
	for (unsigned i = 0; i < n; i++) {
		pthread_join(threads[i], NULL);
		samples_sort(&a[i].samples);
		ret_us[i] = samples_us(&a[i].samples, 0.5);
		free(a[i].samples.ns);
		unlink(a[i].path);
	}
}

static void read_all(int fd, void *buf, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t got = read(fd, (char *)buf + n, len - n);

		if (got <= 0)
			die("read from the other side");
		n += (size_t)got;
	}
}

static void send_all(int fd, const void *buf, size_t len)
{
	for (size_t n = 0; n < len;) {
		ssize_t put = send(fd, (const char *)buf + n, len - n, MSG_NOSIGNAL);

		if (put <= 0)
			die("send to the other side");
		n += (size_t)put;
	}
}

struct server {
	int fd;
	const char *path; /* NULL: answer at once */
};

static void *serve(void *arg)
{
	struct server *s = arg;
	struct journal j = {.fd = -1};
	char in[BLOCK], out[ANSWER] = {0};

	if (s->path)
		journal_open(&j, s->path);
	send_all(s->fd, out, ANSWER); /* ready */
	for (;;) {
		size_t n = 0;

		while (n < BLOCK) {
			ssize_t got = read(s->fd, in + n, BLOCK - n);

			if (got <= 0)
				goto end;
			n += (size_t)got;
		}
		if (s->path)
			journal_append(&j);
		send_all(s->fd, out, ANSWER);
	}
end:
	if (s->path)
		journal_close(&j);
	close(s->fd);
	return NULL;
}

/* Two ends of one TCP connection over the loopback. */
static void tcp_pair(int ret_fds[2])
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int one = 1, listener;

	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof(a)) ||
		listen(listener, 1) || getsockname(listener, (struct sockaddr *)&a, &len))
		die("listen");
	ret_fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (ret_fds[0] < 0 || connect(ret_fds[0], (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	ret_fds[1] = accept(listener, NULL, NULL);
	if (ret_fds[1] < 0)
		die("accept");
	close(listener);
	for (int i = 0; i < 2; i++)
		setsockopt(ret_fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

/* Median of: send a block, write it locally (when paths are given), wait for the answer. */
static double measure_trips(const char *local, const char *remote)
{
	struct server server = {.path = remote};
	struct samples s = {0};
	struct journal j = {.fd = -1};
	char in[ANSWER], out[BLOCK] = {0};
	uint64_t now, deadline;
	pthread_t thread;
	int fds[2];
	double p50;

	tcp_pair(fds);
	server.fd = fds[1];
	if (local)
		journal_open(&j, local);
	if (pthread_create(&thread, NULL, serve, &server))
		die("thread");
	read_all(fds[0], in, ANSWER);
	now = clock_mono_ns();
	deadline = now + phase_ns;
	while (now < deadline) {
		uint64_t end;

		send_all(fds[0], out, BLOCK);
		if (local)
			journal_append(&j);
		read_all(fds[0], in, ANSWER);
		end = clock_mono_ns();
		samples_add(&s, end - now);
		now = end;
	}
	close(fds[0]);
	pthread_join(thread, NULL);
	if (local) {
		journal_close(&j);
		unlink(local);
	}
	if (remote)
		unlink(remote);
	samples_sort(&s);
	p50 = samples_us(&s, 0.5);
	free(s.ns);
	return p50;
}

int main(int argc, char **argv)
{
	double seconds = argc > 2 ? strtod(argv[2], NULL) : 0;
	double added = argc > 3 ? strtod(argv[3], NULL) : 0;
	char local[4200], remote[4200];
	double alone, pair[2], rtt, floor, model;

	if (argc < 3 || seconds <= 0 || added < 0) {
		fprintf(stderr, "usage: floor DIR SECONDS [RTT_US]\n");
		return 2;
	}
	phase_ns = (uint64_t)(seconds * 1e9 / 4);
	snprintf(local, sizeof(local), "%.4000s/floor.local", argv[1]);
	snprintf(remote, sizeof(remote), "%.4000s/floor.remote", argv[1]);
	measure_writes(argv[1], 1, &alone);
	measure_writes(argv[1], 2, pair);
	rtt = measure_trips(NULL, NULL) + added;
	model = measure_trips(local, remote) + added;
	floor = rtt + pair[1] > pair[0] ? rtt + pair[1] : pair[0];
	printf("l_alone=%.1f l_local=%.1f l_remote=%.1f rtt=%.1f floor=%.1f model=%.1f\n", alone,
		pair[0], pair[1], rtt, floor, model);
	return 0;
}
