/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kills the process (SIGKILL) some microseconds after it begins its first large read(2) or readv(2) from /dev/fuse: loaded before the C library (LD_PRELOAD).
 *
 *   KILL_READ=MICROSECONDS LD_PRELOAD=.../killread.so tandemfs run ...
 *
 * A thread of its own waits on another CPU, because a signal that is sent before the call never meets it. Any thread;
 * owns nothing.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LARGE (1u << 20)

static atomic_int ready, go;

static long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static void *killer(void *arg)
{
	long wait_ns = strtol(arg, NULL, 10) * 1000, begin;

	atomic_store(&ready, 1);
	while (!atomic_load(&go))
		;
	begin = now_ns();
	while (now_ns() - begin < wait_ns)
		;
	kill(getpid(), SIGKILL);
	return NULL;
}

static void arm(void)
{
	char *us = getenv("KILL_READ");
	pthread_t t;

	if (!us || pthread_create(&t, NULL, killer, us))
		return;
	while (!atomic_load(&ready))
		;
	atomic_store(&go, 1);
}

static int is_fuse(int fd)
{
	static const char want[] = "/dev/fuse";
	char link[64], path[sizeof(want)];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return readlink(link, path, sizeof(path)) == sizeof(want) - 1 &&
	       memcmp(path, want, sizeof(want) - 1) == 0;
}

ssize_t read(int fd, void *buf, size_t len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	if (len >= LARGE && is_fuse(fd))
		pthread_once(&once, arm);
	return syscall(SYS_read, fd, buf, len);
}

ssize_t readv(int fd, const struct iovec *iov, int count)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += iov[i].iov_len;
	if (len >= LARGE && is_fuse(fd))
		pthread_once(&once, arm);
	return syscall(SYS_readv, fd, iov, count);
}
