/* SPDX-License-Identifier: Apache-2.0 */
/* Temporary directories. A test without one cannot go on: every failure here ends the process. */
#include "scratch.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

static char dir[256];

const char *scratch_dir(void)
{
	const char *base = getenv("TMPDIR");

	if (!dir[0]) {
		snprintf(
			dir, sizeof(dir), "%s/tandemfs-test-XXXXXX", base && *base ? base : "/tmp");
		ensure(mkdtemp(dir));
	}
	return dir;
}

const char *scratch_path(const char *fmt, ...)
{
	static char paths[8][512];
	static unsigned turn;
	char *path = paths[turn++ % ARRAY_SIZE(paths)];
	va_list ap;
	int n;

	n = snprintf(path, sizeof(paths[0]), "%s/", scratch_dir());
	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(paths[0]) - (size_t)n, fmt, ap);
	va_end(ap);
	return path;
}

void scratch_write(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	ensure(f);
	ensure(fputs(text, f) >= 0);
	ensure(fclose(f) == 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void scratch_remove(void)
{
	if (dir[0])
		nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	dir[0] = '\0';
}
