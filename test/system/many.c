/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A directory of very many entries.
 *
 *   many create DIR COUNT          entries 0 to COUNT-1
 *   many check DIR COUNT [STEP]    exactly those (without each STEP-th) are listed, once; a listing
 *                                  goes on at a remembered position; lookups find them, and no others
 *   many thin DIR COUNT STEP       removes each STEP-th while the directory is being read
 *   many remove DIR COUNT          removes what is left, and the directory
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void name_of(unsigned i, char *buf, size_t size)
{
	snprintf(buf, size, "entry-%08u-%s", i, i % 3 ? "of-many" : "with-a-somewhat-longer-name");
}

static int fail(const char *what)
{
	fprintf(stderr, "many: %s: %s\n", what, strerror(errno));
	return 1;
}

static int create(int dir, unsigned count)
{
	char name[128];

	for (unsigned i = 0; i < count; i++) {
		int fd;

		name_of(i, name, sizeof(name));
		fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0)
			return fail(name);
		close(fd);
	}
	return 0;
}

static bool expected(unsigned i, unsigned count, unsigned step)
{
	return i < count && (!step || i % step);
}

static int list(const char *path, unsigned count, unsigned step, uint8_t *seen)
{
	char name[128], at_half[256] = "";
	unsigned n = 0, number;
	DIR *d = opendir(path);
	struct dirent *e;
	long half = 0;

	if (!d)
		return fail(path);
	for (errno = 0; (e = readdir(d)); errno = 0) {
		if (e->d_name[0] == '.')
			continue;
		number = (unsigned)strtoul(e->d_name + strcspn(e->d_name, "-") + 1, NULL, 10);
		name_of(number, name, sizeof(name));
		if (strcmp(name, e->d_name) || !expected(number, count, step) || seen[number]++) {
			fprintf(stderr, "many: '%s' is listed %s\n", e->d_name,
				number < count && seen[number] > 1 ? "twice"
								   : "and should not exist");
			return 1;
		}
		if (half && !at_half[0])
			snprintf(at_half, sizeof(at_half), "%s", e->d_name);
		if (++n == count / 2)
			half = telldir(d);
	}
	if (errno)
		return fail("readdir");
	for (number = 0; number < count; number++)
		if (expected(number, count, step) && !seen[number]) {
			fprintf(stderr, "many: entry %u is not listed (%u are)\n", number, n);
			return 1;
		}
	seekdir(d, half);
	e = half ? readdir(d) : NULL;
	if (half && (!e || strcmp(e->d_name, at_half))) {
		fprintf(stderr, "many: after seekdir comes '%s', not '%s'\n", e ? e->d_name : "",
			at_half);
		return 1;
	}
	closedir(d);
	printf("many: %u entries listed\n", n);
	return 0;
}

static int check(const char *path, int dir, unsigned count, unsigned step)
{
	uint8_t *seen = calloc(1, (size_t)count + 1);
	char name[128];
	struct stat st;
	int ret = list(path, count, step, seen);

	free(seen);
	for (unsigned i = 0; !ret && i < count + 100; i += 97) {
		name_of(i, name, sizeof(name));
		if (!fstatat(dir, name, &st, 0) != expected(i, count, step))
			return fail(name);
	}
	return ret;
}

static int thin(const char *path, int dir, unsigned count, unsigned step)
{
	unsigned removed = 0, number;
	DIR *d = opendir(path);
	struct dirent *e;

	if (!d)
		return fail(path);
	while ((e = readdir(d))) {
		number = (unsigned)strtoul(e->d_name + strcspn(e->d_name, "-") + 1, NULL, 10);
		if (e->d_name[0] == '.' || number % step)
			continue;
		if (unlinkat(dir, e->d_name, 0))
			return fail(e->d_name);
		removed++;
	}
	closedir(d);
	if (removed == (count + step - 1) / step)
		return 0;
	fprintf(stderr, "many: %u removed while reading, not %u\n", removed,
		(count + step - 1) / step);
	return 1;
}

static int remove_all(const char *path, int dir, unsigned count)
{
	char name[128];

	for (unsigned i = 0; i < count; i++) {
		name_of(i, name, sizeof(name));
		if (unlinkat(dir, name, 0) && errno != ENOENT)
			return fail(name);
	}
	return rmdir(path) ? fail(path) : 0;
}

int main(int argc, char **argv)
{
	unsigned count = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	unsigned step = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 10) : 0;
	int dir;

	if (argc < 4 || argc > 5 || !count) {
		fprintf(stderr, "usage: many create|check|thin|remove DIR COUNT [STEP]\n");
		return 2;
	}
	if (!strcmp(argv[1], "create") && mkdir(argv[2], 0755))
		return fail(argv[2]);
	dir = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return fail(argv[2]);
	if (!strcmp(argv[1], "create"))
		return create(dir, count);
	if (!strcmp(argv[1], "check"))
		return check(argv[2], dir, count, step);
	if (!strcmp(argv[1], "thin") && step)
		return thin(argv[2], dir, count, step);
	if (!strcmp(argv[1], "remove"))
		return remove_all(argv[2], dir, count);
	return 2;
}
