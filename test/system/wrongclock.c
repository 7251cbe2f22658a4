/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A wall clock that is wrong, for one process: loaded before the C library (LD_PRELOAD), it adds to
 * what the real-time clocks say the seconds that a file holds, and reads them again each time, so
 * that the clock jumps when the file changes. The monotonic clocks are what they are.
 *
 *   WRONG_CLOCK=FILE LD_PRELOAD=.../wrongclock.so tandemfs run ...
 *
 * FILE holds one decimal number of seconds, eight bytes wide at most, padded with spaces: written at once it
 * is never read half. No file, or none that can be read: the clock is right. Any thread; owns nothing.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long offset_s(void)
{
	const char *path = getenv("WRONG_CLOCK");
	char text[16] = "";
	int fd;

	if (!path)
		return 0;
	fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	if (syscall(SYS_read, fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	syscall(SYS_close, fd);
	return strtol(text, NULL, 10);
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	int ret = (int)syscall(SYS_clock_gettime, clock, ts);

	if (!ret && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		ts->tv_sec += offset_s();
	return ret;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *ret)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (ret)
		*ret = ts.tv_sec;
	return ts.tv_sec;
}
