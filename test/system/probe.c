/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Does a mount answer while its writes wait? And what becomes of open files and mappings of a mount
 * that is taken away?
 *
 *   probe prepare DIR            makes the files that the others look at
 *   probe answer DIR LIMIT_MS    stat, lookup, open, read, readdir, statfs, readlink, getxattr, of
 *                                things that the kernel does not have cached where that can be had;
 *                                0 when each one took less than the limit, else 1 and its name
 *   probe hold FILE              opens and maps FILE, prints "holding", and watches: ends with 0 when
 *                                reading through the descriptor fails with EIO or ENOTCONN and
 *                                touching the mapping raises SIGBUS; 1 when that does not come within
 *                                60 s of the first failure, or reading keeps working for 120 s
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define FILES 256u
#define DIRS 32u
#define FILE_SIZE (64u << 10)

static const char *volatile current = "nothing";
static volatile unsigned limit_ms;

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static int fail(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	return 1;
}

static int prepare(const char *dir)
{
	static char buf[FILE_SIZE];
	char path[4096];

	memset(buf, 'p', sizeof(buf));
	if (mkdir(dir, 0755) && errno != EEXIST)
		return fail(dir);
	for (unsigned i = 0; i < FILES; i++) {
		int fd;

		snprintf(path, sizeof(path), "%s/dir-%u", dir, i % DIRS);
		if (mkdir(path, 0755) && errno != EEXIST)
			return fail(path);
		snprintf(path, sizeof(path), "%s/dir-%u/file-%u", dir, i % DIRS, i);
		fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
		if (fd < 0 || write(fd, buf, sizeof(buf)) != (ssize_t)sizeof(buf) ||
			fsetxattr(fd, "user.probe", "value", 5, 0))
			return fail(path);
		close(fd);
		snprintf(path, sizeof(path), "%s/dir-%u/link-%u", dir, i % DIRS, i);
		if (symlink("target", path))
			return fail(path);
	}
	return 0;
}

static void on_alarm(int sig)
{
	char text[256];
	int n;

	n = snprintf(text, sizeof(text), "probe: %s took longer than %u ms\n", current, limit_ms);
	n = (int)write(2, text, (size_t)n);
	_exit(1);
}

static double longest;
static const char *longest_name = "";
static double began;

static void begin(const char *name)
{
	current = name;
	began = now_ms();
}

static void done(void)
{
	double t = now_ms() - began;

	if (t <= longest)
		return;
	longest = t;
	longest_name = current;
}

static int look_at(const char *dir, unsigned i)
{
	static char buf[FILE_SIZE] __attribute__((aligned(4096)));
	char path[4096], text[64];
	struct statvfs vfs;
	struct stat st;
	DIR *d;
	int fd;

	begin("statfs");
	if (statvfs(dir, &vfs))
		return fail("statfs");
	done();
	begin("stat of a file");
	snprintf(path, sizeof(path), "%s/dir-%u/file-%u", dir, i % DIRS, i % FILES);
	if (stat(path, &st) || st.st_size != (off_t)FILE_SIZE)
		return fail(path);
	done();
	begin("open and O_DIRECT read of a file");
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0 || pread(fd, buf, sizeof(buf), 0) != (ssize_t)sizeof(buf) || buf[9000] != 'p')
		return fail(path);
	close(fd);
	done();
	begin("getxattr");
	if (getxattr(path, "user.probe", text, sizeof(text)) != 5)
		return fail(path);
	done();
	begin("lookup of a missing name");
	snprintf(path, sizeof(path), "%s/dir-%u/missing-%u-%ld", dir, i % DIRS, i, (long)now_ms());
	if (!stat(path, &st) || errno != ENOENT)
		return fail(path);
	done();
	begin("readlink");
	snprintf(path, sizeof(path), "%s/dir-%u/link-%u", dir, i % DIRS, i % FILES);
	if (readlink(path, text, sizeof(text)) != 6)
		return fail(path);
	done();
	begin("readdir");
	snprintf(path, sizeof(path), "%s/dir-%u", dir, i % DIRS);
	d = opendir(path);
	for (i = 0; d && readdir(d); i++)
		;
	if (!d || i != 2 + 2 * FILES / DIRS)
		return fail(path);
	closedir(d);
	done();
	return 0;
}

static int answer(const char *dir, unsigned ms)
{
	struct timespec ts;
	int ret;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	limit_ms = ms;
	signal(SIGALRM, on_alarm);
	for (unsigned i = 0; i < 8; i++) {
		alarm(ms / 1000 + 1);
		ret = look_at(dir, (unsigned)(ts.tv_nsec / 1000) + i);
		if (ret)
			return ret;
	}
	alarm(0);
	printf("probe: longest answer %.1f ms (%s)\n", longest, longest_name);
	if (longest < ms)
		return 0;
	fprintf(stderr, "probe: %s took %.0f ms\n", longest_name, longest);
	return 1;
}

static sigjmp_buf bus;

static void on_bus(int sig)
{
	siglongjmp(bus, 1);
}

static int mapping_fails(const volatile char *map)
{
	char c;

	if (sigsetjmp(bus, 1))
		return 1;
	c = map[0];
	(void)c;
	return 0;
}

static int hold(const char *file)
{
	double failed_at = 0, begin_at = now_ms();
	int fd = open(file, O_RDWR | O_CLOEXEC);
	const struct timespec pause = {.tv_nsec = 50000000};
	char *map, byte;

	if (fd < 0)
		return fail(file);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED || pread(fd, &byte, 1, 0) != 1 || map[0] != byte)
		return fail("mapping the file");
	signal(SIGBUS, on_bus);
	printf("holding\n");
	fflush(stdout);
	while (now_ms() - begin_at < 120e3) {
		ssize_t n = pread(fd, &byte, 1, 0);

		if (n == 1 && failed_at > 0) {
			fprintf(stderr, "probe: reading works again after it failed\n");
			return 1;
		}
		if (n != 1 && errno != EIO && errno != ENOTCONN && errno != ECONNABORTED)
			return fail("reading through the old descriptor");
		if (n != 1 && failed_at == 0)
			failed_at = now_ms();
		if (n != 1 && mapping_fails(map)) {
			printf("the descriptor and the mapping fail\n");
			return 0;
		}
		if (failed_at > 0 && now_ms() - failed_at > 60e3) {
			fprintf(stderr, "probe: the mapping is still readable 60 s later\n");
			return 1;
		}
		nanosleep(&pause, NULL);
	}
	fprintf(stderr, "probe: still readable after 120 s\n");
	return 1;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "prepare"))
		return prepare(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "answer"))
		return answer(argv[2], (unsigned)strtoul(argv[3], NULL, 10));
	if (argc == 3 && !strcmp(argv[1], "hold"))
		return hold(argv[2]);
	fprintf(stderr, "usage: probe prepare DIR | answer DIR LIMIT_MS | hold FILE\n");
	return 2;
}
