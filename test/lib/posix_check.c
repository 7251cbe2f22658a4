/* SPDX-License-Identifier: Apache-2.0 */
/* Counting, and the few helpers that all groups use. */
#include "posix_check.h"

#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

struct posix posix;

bool posix_ok(bool cond, const char *file, int line, const char *text)
{
	if (cond) {
		posix.passed++;
		return true;
	}
	posix.failed++;
	printf("%s:%d: failed: %s (errno %d %s)\n", file, line, text, errno, strerror(errno));
	fflush(stdout);
	return false;
}

void posix_skip(const char *what, const char *why)
{
	posix.skipped++;
	printf("skipped: %s: %s\n", what, why);
}

int posix_file(const char *path, const char *text)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	ssize_t len = (ssize_t)strlen(text);

	if (fd >= 0)
		OK(write(fd, text, (size_t)len) == len);
	else
		posix_ok(false, __FILE__, __LINE__, path);
	return fd;
}

bool posix_is(const char *path, const char *text)
{
	char buf[4096];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && !memcmp(buf, text, (size_t)n);
}

struct stat posix_stat(const char *path)
{
	struct stat st = {0};

	if (stat(path, &st))
		memset(&st, 0, sizeof(st));
	return st;
}

struct stat posix_lstat(const char *path)
{
	struct stat st = {0};

	if (lstat(path, &st))
		memset(&st, 0, sizeof(st));
	return st;
}

void posix_tick(void)
{
	usleep(11000); /* a local filesystem's times move with the timer */
}

void posix_user(unsigned uid, unsigned gid)
{
	ensure(!setgroups(0, NULL));
	ensure(!setegid(gid));
	ensure(!seteuid(uid));
}

void posix_root(void)
{
	ensure(!seteuid(0));
	ensure(!setegid(0));
}
