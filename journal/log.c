/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log lines to standard error. The level and the prefix are the only mutable globals: set before
 * threads start, read by all. A line is made in a buffer on the stack and leaves with one write(2);
 * a line that is too long is cut, control characters become '?', so a name that somebody chose can
 * never fake a line of its own. errno is preserved.
 */
#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "check.h"

#define LINE_SIZE 2048 /* bytes, with the newline */

static enum log_level level_min = LOG_LEVEL_INFO;
static char line_prefix[64];

void log_set_level(enum log_level level)
{
	level_min = level;
}

void log_set_prefix(const char *prefix)
{
	snprintf(line_prefix, sizeof(line_prefix), "%s", prefix);
}

/* What snprintf(size) really wrote. */
static size_t written(int n, size_t size)
{
	return n < 0 ? 0 : MIN((size_t)n, size - 1);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"debug", "info ", "warn ", "error"};
	int saved = errno;
	char line[LINE_SIZE];
	struct timespec now;
	struct tm tm;
	size_t n, start;
	va_list ap;

	if (level < level_min)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &tm);
	n += written(snprintf(line + n, sizeof(line) - n, ".%03ldZ %s %s%s", now.tv_nsec / 1000000,
			     names[level], line_prefix, line_prefix[0] ? ": " : ""),
		sizeof(line) - n);
	start = n;
	errno = saved; /* for %m */
	va_start(ap, fmt);
	n += written(vsnprintf(line + n, sizeof(line) - n, fmt, ap), sizeof(line) - n);
	va_end(ap);
	for (size_t i = start; i < n; i++)
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	line[n++] = '\n'; /* snprintf left at least its terminating zero */
	while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
		;
	errno = saved;
}
