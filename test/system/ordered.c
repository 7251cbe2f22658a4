/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread that changes things in a known order and syncs now and then, for ack=fsync: what is found
 * after a crash must be a prefix of that order, and contain everything that was synced.
 *
 *   ordered run --dir DIR --log LOG [--seconds S]    goes on where the last verify ended
 *       0 when the time is over or on SIGTERM, 3 when the mount went away
 *   ordered fill --dir DIR --log LOG                 the same without ever syncing; prints the last step
 *   ordered verify --dir DIR --log LOG               prints "steps N synced M"; the rest is forgotten
 *
 * Step n is by n modulo 8: 0 creates new/n, 4 renames it to old/n, 2 sets the attribute user.n, 6 writes
 * BIG bytes of `big`, the odd ones write block n of `blocks`. LOG has a line "sync N" after each sync of
 * step N, written before the next step.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096u
#define BIG (72u * 1024u) /* beyond what travels inside an entry */

struct world {
	const char *log;
	int dir, fd_new, fd_old, blocks, blocks_sync, big, log_fd;
	uint64_t seed;
	uint8_t *buf;
};

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
	stop = 1;
}

static void die(const char *fmt, ...)
{
	int error = errno;
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "ordered: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, ": %s\n", strerror(error));
	va_end(ap);
	exit(error == ENOTCONN || error == EIO || error == ECONNABORTED ? 3 : 1);
}

static void wrong(const char *what, uint64_t n, uint64_t last)
{
	fprintf(stderr, "ordered: %s step %llu, but step %llu is there\n", what,
		(unsigned long long)n, (unsigned long long)last);
	exit(1);
}

static uint32_t chance(struct world *w)
{
	w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(w->seed >> 33);
}

static int open_in(struct world *w, const char *name, int flags)
{
	int fd = openat(w->dir, name, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		die("%s", name);
	return fd;
}

static void world_open(struct world *w, const char *dir)
{
	w->dir = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->dir < 0)
		die("%s", dir);
	if ((mkdirat(w->dir, "new", 0755) < 0 || mkdirat(w->dir, "old", 0755) < 0) &&
		errno != EEXIST)
		die("mkdir");
	w->fd_new = open_in(w, "new", O_RDONLY | O_DIRECTORY);
	w->fd_old = open_in(w, "old", O_RDONLY | O_DIRECTORY);
	w->blocks = open_in(w, "blocks", O_RDWR | O_CREAT);
	w->blocks_sync = open_in(w, "blocks", O_WRONLY | O_DIRECT | O_DSYNC);
	w->big = open_in(w, "big", O_RDWR | O_CREAT);
	if (posix_memalign((void **)&w->buf, BLOCK, BIG))
		die("memory");
}

static void fill(uint8_t *buf, size_t len, uint64_t n)
{
	for (size_t at = 0; at < len; at += sizeof(n))
		memcpy(buf + at, &n, sizeof(n));
}

static bool filled(const uint8_t *buf, size_t len, uint64_t n)
{
	for (size_t at = 0; at < len; at += sizeof(n))
		if (memcmp(buf + at, &n, sizeof(n)))
			return false;
	return true;
}

static void number(char buf[32], uint64_t n)
{
	snprintf(buf, 32, "%llu", (unsigned long long)n);
}

/* True when the step itself synced. */
static bool step(struct world *w, uint64_t n, bool sync)
{
	char name[32], to[32];
	size_t len = n % 8 == 6 ? BIG : BLOCK;
	off_t at = n % 8 == 6 ? (off_t)(n / 8 * BIG) : (off_t)(n * BLOCK);
	int fd = n % 8 == 6 ? w->big : sync ? w->blocks_sync : w->blocks;

	switch (n % 8) {
	case 0:
		number(name, n);
		fd = openat(w->fd_new, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		if (fd < 0)
			die("new/%s", name);
		close(fd);
		return false;
	case 4:
		number(name, n - 4);
		number(to, n);
		if (renameat(w->fd_new, name, w->fd_old, to) < 0)
			die("rename of new/%s", name);
		return false;
	case 2:
		number(name, n);
		if (fsetxattr(w->blocks, "user.n", name, strlen(name), 0) < 0)
			die("setxattr");
		return false;
	default:
		fill(w->buf, len, n);
		if (pwrite(fd, w->buf, len, at) != (ssize_t)len)
			die("write of step %llu", (unsigned long long)n);
		return fd == w->blocks_sync;
	}
}

static uint64_t first_step(struct world *w)
{
	char path[4096];
	unsigned long long n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "%s.next", w->log);
	f = fopen(path, "r");
	if (f && fscanf(f, "%llu", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n ? n : 8;
}

static int run(struct world *w, double seconds, bool syncs)
{
	struct timespec t;
	uint64_t n = first_step(w);
	double end;

	w->log_fd = open(w->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (w->log_fd < 0)
		die("%s", w->log);
	w->seed = n;
	clock_gettime(CLOCK_MONOTONIC, &t);
	end = (double)t.tv_sec + (double)t.tv_nsec / 1e9 + seconds;
	while (!stop && (double)t.tv_sec + (double)t.tv_nsec / 1e9 < end) {
		bool synced = step(w, n, syncs && chance(w) % 32 == 0);
		int fds[] = {w->fd_new, w->fd_old, w->blocks, w->big};

		if (syncs && !synced && chance(w) % 32 == 0) { /* whichever: it is a prefix */
			if (fsync(fds[chance(w) % 4]) < 0)
				die("fsync");
			synced = true;
		}
		if (synced)
			dprintf(w->log_fd, "sync %llu\n", (unsigned long long)n);
		n++;
		clock_gettime(CLOCK_MONOTONIC, &t);
	}
	printf("%llu\n", (unsigned long long)n - 1);
	return 0;
}

static bool exists(int dir, uint64_t n)
{
	char name[32];
	struct stat st;

	number(name, n);
	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static uint64_t xattr_step(struct world *w)
{
	char value[32] = "";

	return fgetxattr(w->blocks, "user.n", value, sizeof(value) - 1) < 0
		       ? 0
		       : strtoull(value, NULL, 10);
}

static bool there(struct world *w, uint64_t n)
{
	size_t len = n % 8 == 6 ? BIG : BLOCK;
	off_t at = n % 8 == 6 ? (off_t)(n / 8 * BIG) : (off_t)(n * BLOCK);
	int fd = n % 8 == 6 ? w->big : w->blocks;

	switch (n % 8) {
	case 0:
		return exists(w->fd_new, n) || exists(w->fd_old, n + 4);
	case 4:
		return exists(w->fd_old, n);
	case 2:
		return xattr_step(w) >= n;
	default:
		return pread(fd, w->buf, len, at) == (ssize_t)len && filled(w->buf, len, n);
	}
}

static int verify(struct world *w)
{
	uint64_t from = first_step(w), last = from - 1, synced = 0;
	unsigned long long n;
	char path[4096];
	struct stat st;
	uint64_t beyond;
	FILE *f = fopen(w->log, "r");

	while (f && fscanf(f, "sync %llu\n", &n) == 1)
		synced = n;
	if (f)
		fclose(f);
	/* No step can be there beyond what the longest file says, and a few that leave no trace in it. */
	if (fstat(w->blocks, &st) < 0)
		die("stat");
	beyond = (uint64_t)st.st_size / BLOCK + 16;
	for (uint64_t i = from; i < beyond; i++)
		if (there(w, i))
			last = i;
	for (uint64_t i = from; i <= last; i++)
		if (!there(w, i))
			wrong("there is no", i, last);
	if (xattr_step(w) > last)
		wrong("the attribute has", xattr_step(w), last);
	if (last < synced)
		wrong("lost is synced", synced, last);
	printf("steps %llu synced %llu\n", (unsigned long long)last, (unsigned long long)synced);
	snprintf(path, sizeof(path), "%s.next", w->log);
	f = fopen(path, "w");
	if (!f || fprintf(f, "%llu\n", (unsigned long long)last + 1) < 0 || fclose(f))
		die("%s", path);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"dir", required_argument, NULL, 'd'},
		{"log", required_argument, NULL, 'l'}, {"seconds", required_argument, NULL, 's'},
		{NULL, 0, NULL, 0}};
	struct world w = {0};
	const char *dir = NULL;
	double seconds = 1e9;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
		if (c == 'd')
			dir = optarg;
		else if (c == 'l')
			w.log = optarg;
		else if (c == 's')
			seconds = strtod(optarg, NULL);
		else
			return 2;
	}
	if (!dir || !w.log || optind != argc - 1) {
		fprintf(stderr,
			"usage: ordered run|fill|verify --dir DIR --log LOG [--seconds S]\n");
		return 2;
	}
	signal(SIGTERM, on_term);
	world_open(&w, dir);
	if (!strcmp(argv[optind], "verify"))
		return verify(&w);
	return run(&w, seconds, strcmp(argv[optind], "fill") != 0);
}
