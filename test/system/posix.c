/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What POSIX and Linux promise of a filesystem, check by check, in a directory of any filesystem.
 *
 *   posix DIR [GROUP...]   DIR exists; every group works in a directory of its own below it, which is
 *                          removed at the end. Groups: names renames times modes privileges xattrs
 *                          acls data holes maps direct random parallel dirs large
 *
 * POSIX_MANY: entries of the large directory (default 20000). A local filesystem (ext4) passes too;
 * what only tandemfs promises is skipped there. The last line is "N passed, N failed, N skipped"; the
 * status is 1 when something failed.
 */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "posix_check.h"

#define FUSE_MAGIC 0x65735546

static const struct {
	const char *name;
	void (*run)(void);
} groups[] = {
	{"names", posix_names},
	{"renames", posix_renames},
	{"times", posix_times},
	{"modes", posix_modes},
	{"privileges", posix_privileges},
	{"xattrs", posix_xattrs},
	{"acls", posix_acls},
	{"data", posix_data},
	{"holes", posix_holes},
	{"maps", posix_maps},
	{"direct", posix_direct},
	{"random", posix_random_ops},
	{"parallel", posix_parallel},
	{"dirs", posix_dirs},
	{"large", posix_large_dir},
};

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int run_group(const char *base, unsigned i)
{
	unsigned failed = posix.failed;
	char path[4200];
	struct timespec start, end;

	snprintf(path, sizeof(path), "%s/%s", base, groups[i].name);
	if (mkdir(path, 0755) || chmod(path, 0755) || chdir(path)) {
		perror(path);
		return -1;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	groups[i].run();
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (chdir(base)) {
		perror(base);
		return -1;
	}
	printf("%-10s %s  %.1f s\n", groups[i].name, posix.failed == failed ? "ok" : "FAILED",
		(double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	fflush(stdout);
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS)) {
		printf("%s: cannot be removed: %m\n", path);
		posix.failed++;
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *many = getenv("POSIX_MANY");
	char base[4096];
	struct statfs st;

	if (argc < 2 || !realpath(argv[1], base) || statfs(base, &st)) {
		fprintf(stderr, "usage: posix DIR [GROUP...]\n");
		return 2;
	}
	posix.many = many ? (unsigned)strtoul(many, NULL, 10) : 20000;
	posix.tandemfs = st.f_type == FUSE_MAGIC;
	umask(022);
	for (unsigned i = 0; i < sizeof(groups) / sizeof(groups[0]); i++) {
		bool wanted = argc == 2;

		for (int a = 2; a < argc; a++)
			wanted |= !strcmp(argv[a], groups[i].name);
		if (wanted && run_group(base, i))
			return 2;
	}
	printf("%u passed, %u failed, %u skipped\n", posix.passed, posix.failed, posix.skipped);
	return posix.failed ? 1 : 0;
}
