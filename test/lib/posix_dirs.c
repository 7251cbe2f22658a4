/* SPDX-License-Identifier: Apache-2.0 */
/* Reading directories: every name once, stable positions, what changes meanwhile. */
#include "posix_check.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Counts entries; *ret_bad is raised for each whose type or number is wrong. */
static unsigned count(const char *path, unsigned *ret_bad)
{
	DIR *d = opendir(path);
	struct dirent *de;
	unsigned n = 0;

	while (d && (de = readdir(d))) {
		struct stat st;

		n++;
		if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
			st.st_ino != de->d_ino || de->d_type != (st.st_mode & S_IFMT) >> 12)
			++*ret_bad;
	}
	if (d)
		closedir(d);
	return n;
}

void posix_dirs(void)
{
	unsigned bad = 0, seen = 0;
	char name[64];
	struct dirent *de;
	long at;
	DIR *d;

	DOES(mkdir("d", 0755));
	OK(count("d", &bad) == 2);
	close(posix_file("d/file", ""));
	DOES(mkdir("d/dir", 0755));
	DOES(symlink("x", "d/sym"));
	DOES(mkfifo("d/fifo", 0600));
	OK(count("d", &bad) == 6);
	OK(bad == 0);
	OK(count("d/dir", &bad) == 2 && bad == 0);
	OK(count(".", &bad) == 3 && bad == 0);
	FAILS(opendir("d/file") ? 0 : -1, ENOTDIR);

	/* going on where one was, with what changed meanwhile */
	DOES(mkdir("w", 0755));
	for (unsigned i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "w/%03u", i);
		close(posix_file(name, ""));
	}
	d = opendir("w");
	for (unsigned i = 0; i < 52 && readdir(d); i++)
		;
	at = telldir(d);
	OK((de = readdir(d)) != NULL);
	snprintf(name, sizeof(name), "%.60s", de->d_name);
	seekdir(d, at);
	OK((de = readdir(d)) != NULL && !strcmp(de->d_name, name));
	rewinddir(d);
	close(posix_file("w/new", ""));
	bad = 1;
	while ((de = readdir(d))) {
		seen++;
		bad &= strcmp(de->d_name, "new") != 0;
	}
	OK(seen == 303);
	rewinddir(d);
	for (seen = 0; (de = readdir(d)); seen++)
		if (!strcmp(de->d_name, "new"))
			bad = 0;
	OK(seen == 303 && bad == 0);
	/* removing what is read, as rm -r does, skips nothing */
	rewinddir(d);
	for (seen = 0; (de = readdir(d));) {
		if (de->d_name[0] == '.')
			continue;
		seen++;
		if (unlinkat(dirfd(d), de->d_name, 0))
			break;
	}
	OK(seen == 301);
	closedir(d);
	bad = 0;
	OK(count("w", &bad) == 2);
	DOES(rmdir("w"));
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, 8);
}

void posix_large_dir(void)
{
	unsigned n = posix.many, seen = 0, twice = 0, bad = 0;
	char(*names)[8] = calloc(n, 8), name[64];
	struct dirent *de;
	DIR *d;

	DOES(mkdir("large", 0755));
	for (unsigned i = 0; i < n; i++) {
		int fd;

		snprintf(name, sizeof(name), "large/n%06u", i);
		fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0644);
		bad += fd < 0;
		close(fd);
	}
	OK(bad == 0);
	d = opendir("large");
	while ((de = readdir(d))) {
		if (de->d_name[0] == '.')
			continue;
		if (seen < n)
			snprintf(names[seen], 8, "%.7s", de->d_name);
		seen++;
	}
	closedir(d);
	OK(seen == n);
	qsort(names, n, 8, compare);
	for (unsigned i = 1; i < n; i++)
		twice += !memcmp(names[i - 1], names[i], 8);
	OK(twice == 0);
	for (unsigned i = 0; i < n; i += 7) {
		struct stat st;

		snprintf(name, sizeof(name), "large/n%06u", i);
		bad += stat(name, &st) != 0 || st.st_nlink != 1;
	}
	OK(bad == 0);
	FAILS(rmdir("large"), ENOTEMPTY);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "large/n%06u", i);
		bad += unlink(name) != 0;
	}
	OK(bad == 0);
	DOES(rmdir("large"));
	free(names);
}
