/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes the N-th call fail that changes a file below a directory, for one process and what it becomes by
 * exec: loaded before the C library (LD_PRELOAD). Calls through io_uring do not pass here.
 *
 *   FAIL_IO=FILE FAIL_IO_DIR=DIR LD_PRELOAD=.../failio.so tandemfs run ...
 *
 * FILE holds three numbers of eight bytes, in the machine's order, and is mapped: which call is to fail (0:
 * none), the errno, and how many calls there were. What failed is appended to FILE.log as one line, the call and
 * the path. Counted are write, pwrite, pwritev, pwritev2, fsync, fdatasync, sync_file_range, fallocate,
 * ftruncate, rename*, link, unlink*, mkdir* and opens with O_CREAT (reopen* with O_APPEND), of DIR and whatever is below it,
 * but for RocksDB's own log, which nothing depends on; with FAIL_IO_READS those that read in place of them: read, pread,
 * preadv and fread_unlocked, by which RocksDB reads its MANIFEST. With FAIL_IO_MATCH only those whose line
 * fnmatch(3) finds in it; with FAIL_IO_STAYS all from the N-th on fail. A call that fails does nothing. With FAIL_IO_DELAY
 * it does not fail: it begins so many milliseconds later. Any thread; owns the mapping.
 */
#undef _FILE_OFFSET_BITS /* both names of each call are defined here: they are the same on 64 bits */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#undef fread_unlocked /* a macro, too, where the compiler optimises */

struct control {
	uint64_t at, error;
	_Atomic uint64_t count;
};

static struct control *control;
static const char *dir;

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("FAIL_IO");
	int fd;

	dir = getenv("FAIL_IO_DIR");
	fd = path && dir ? (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC) : -1;
	if (fd < 0)
		return;
	control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (control == MAP_FAILED)
		control = NULL;
	close(fd);
}

static void tell(const char *what)
{
	char log[PATH_MAX], line[PATH_MAX + 64];
	int fd, len;

	snprintf(log, sizeof(log), "%s.log", getenv("FAIL_IO"));
	fd = (int)syscall(
		SYS_openat, AT_FDCWD, log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	len = snprintf(line, sizeof(line), "%s\n", what);
	if (fd < 0 || syscall(SYS_write, fd, line, len) != len)
		abort();
	close(fd);
}

static bool counts(bool reads)
{
	return control && control->at && reads == (getenv("FAIL_IO_READS") != NULL);
}

static bool path_fails_of(bool reads, const char *call, const char *path)
{
	char line[PATH_MAX + 64];
	size_t len = dir ? strlen(dir) : 0;
	uint64_t n;

	if (!counts(reads) || strncmp(path, dir, len) || (path[len] && path[len] != '/') ||
		strstr(path, "/meta/LOG"))
		return false;
	snprintf(line, sizeof(line), "%s %s", call, path + len);
	if (getenv("FAIL_IO_MATCH") && fnmatch(getenv("FAIL_IO_MATCH"), line, 0))
		return false;
	n = ++control->count;
	if (getenv("FAIL_IO_STAYS") ? n < control->at : n != control->at)
		return false;
	tell(line);
	if (getenv("FAIL_IO_DELAY")) {
		usleep((unsigned)strtoul(getenv("FAIL_IO_DELAY"), NULL, 10) * 1000);
		return false;
	}
	errno = (int)control->error;
	return true;
}

static bool path_fails(const char *call, const char *path)
{
	return path_fails_of(false, call, path);
}

static bool fd_fails_of(bool reads, const char *call, int fd)
{
	int saved = errno;
	char link[64], path[PATH_MAX];
	ssize_t n;

	if (!counts(reads))
		return false;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	errno = saved;
	if (n < 0)
		return false;
	path[n] = '\0';
	return path_fails_of(reads, call, path);
}

static bool fd_fails(const char *call, int fd)
{
	return fd_fails_of(false, call, fd);
}

static bool read_fails(const char *call, int fd)
{
	return fd_fails_of(true, call, fd);
}

static bool at_fails(const char *call, int dirfd, const char *path)
{
	char link[64], full[2 * PATH_MAX];
	ssize_t n;

	if (!counts(false))
		return false;
	if (path[0] == '/' || dirfd == AT_FDCWD)
		return path_fails(call, path);
	snprintf(link, sizeof(link), "/proc/self/fd/%d", dirfd);
	n = readlink(link, full, PATH_MAX - 1);
	if (n < 0)
		return false;
	snprintf(full + n, sizeof(full) - (size_t)n, "/%s", path);
	return path_fails(call, full);
}

/* The C library's own function, behind this one: `real` in what follows. */
#define REAL(name, type, ...)                                                                      \
	static type (*real)(__VA_ARGS__);                                                          \
	if (!real)                                                                                 \
	*(void **)&real = dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *buf, size_t n)
{
	REAL(write, ssize_t, int, const void *, size_t);
	return fd_fails("write", fd) ? -1 : real(fd, buf, n);
}

ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t off)
{
	REAL(pwrite64, ssize_t, int, const void *, size_t, off64_t);
	return fd_fails("pwrite", fd) ? -1 : real(fd, buf, n, off);
}
ssize_t pwrite(int fd, const void *buf, size_t n, off_t off) __attribute__((alias("pwrite64")));

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t off)
{
	REAL(pwritev64, ssize_t, int, const struct iovec *, int, off64_t);
	return fd_fails("pwritev", fd) ? -1 : real(fd, iov, n, off);
}
ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off)
	__attribute__((alias("pwritev64")));

ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, off64_t off, int flags)
{
	REAL(pwritev64v2, ssize_t, int, const struct iovec *, int, off64_t, int);
	return fd_fails("pwritev2", fd) ? -1 : real(fd, iov, n, off, flags);
}
ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags)
	__attribute__((alias("pwritev64v2")));

ssize_t read(int fd, void *buf, size_t n)
{
	REAL(read, ssize_t, int, void *, size_t);
	return read_fails("read", fd) ? -1 : real(fd, buf, n);
}

ssize_t pread64(int fd, void *buf, size_t n, off64_t off)
{
	REAL(pread64, ssize_t, int, void *, size_t, off64_t);
	return read_fails("pread", fd) ? -1 : real(fd, buf, n, off);
}
ssize_t pread(int fd, void *buf, size_t n, off_t off) __attribute__((alias("pread64")));

ssize_t preadv64(int fd, const struct iovec *iov, int n, off64_t off)
{
	REAL(preadv64, ssize_t, int, const struct iovec *, int, off64_t);
	return read_fails("preadv", fd) ? -1 : real(fd, iov, n, off);
}
ssize_t preadv(int fd, const struct iovec *iov, int n, off_t off)
	__attribute__((alias("preadv64")));

size_t fread_unlocked(void *buf, size_t size, size_t n, FILE *f)
{
	REAL(fread_unlocked, size_t, void *, size_t, size_t, FILE *);
	return read_fails("fread", fileno(f)) ? 0 : real(buf, size, n, f);
}

int fsync(int fd)
{
	REAL(fsync, int, int);
	return fd_fails("fsync", fd) ? -1 : real(fd);
}

int fdatasync(int fd)
{
	REAL(fdatasync, int, int);
	return fd_fails("fdatasync", fd) ? -1 : real(fd);
}

int sync_file_range(int fd, off64_t off, off64_t n, unsigned flags)
{
	REAL(sync_file_range, int, int, off64_t, off64_t, unsigned);
	return fd_fails("sync_file_range", fd) ? -1 : real(fd, off, n, flags);
}

int fallocate64(int fd, int mode, off64_t off, off64_t n)
{
	REAL(fallocate64, int, int, int, off64_t, off64_t);
	return fd_fails("fallocate", fd) ? -1 : real(fd, mode, off, n);
}
int fallocate(int fd, int mode, off_t off, off_t n) __attribute__((alias("fallocate64")));

int ftruncate64(int fd, off64_t n)
{
	REAL(ftruncate64, int, int, off64_t);
	return fd_fails("ftruncate", fd) ? -1 : real(fd, n);
}
int ftruncate(int fd, off_t n) __attribute__((alias("ftruncate64")));

int rename(const char *from, const char *to)
{
	REAL(rename, int, const char *, const char *);
	return path_fails("rename", to) ? -1 : real(from, to);
}

int renameat(int fromfd, const char *from, int tofd, const char *to)
{
	REAL(renameat, int, int, const char *, int, const char *);
	return at_fails("renameat", tofd, to) ? -1 : real(fromfd, from, tofd, to);
}

int renameat2(int fromfd, const char *from, int tofd, const char *to, unsigned flags)
{
	REAL(renameat2, int, int, const char *, int, const char *, unsigned);
	return at_fails("renameat2", tofd, to) ? -1 : real(fromfd, from, tofd, to, flags);
}

int link(const char *from, const char *to)
{
	REAL(link, int, const char *, const char *);
	return path_fails("link", to) ? -1 : real(from, to);
}

int unlink(const char *path)
{
	REAL(unlink, int, const char *);
	return path_fails("unlink", path) ? -1 : real(path);
}

int unlinkat(int dirfd, const char *path, int flags)
{
	REAL(unlinkat, int, int, const char *, int);
	return at_fails("unlinkat", dirfd, path) ? -1 : real(dirfd, path, flags);
}

int mkdir(const char *path, mode_t mode)
{
	REAL(mkdir, int, const char *, mode_t);
	return path_fails("mkdir", path) ? -1 : real(path, mode);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
	REAL(mkdirat, int, int, const char *, mode_t);
	return at_fails("mkdirat", dirfd, path) ? -1 : real(dirfd, path, mode);
}

/* open() and openat(); the mode is there with O_CREAT and O_TMPFILE alone. What may go on behind what is there is
 * a call of its own name. */
#define OPEN_NAME(flags, name) ((flags)&O_APPEND ? "re" name : name)
#define MODE_ARG(flags)                                                                            \
	mode_t mode = 0;                                                                           \
	if ((flags)&O_CREAT || ((flags)&O_TMPFILE) == O_TMPFILE) {                                 \
		va_list ap;                                                                        \
		va_start(ap, flags);                                                               \
		mode = va_arg(ap, mode_t);                                                         \
		va_end(ap);                                                                        \
	}

int open64(const char *path, int flags, ...)
{
	MODE_ARG(flags)
	REAL(open64, int, const char *, int, ...);
	return flags & O_CREAT && path_fails(OPEN_NAME(flags, "open"), path)
		       ? -1
		       : real(path, flags, mode);
}
int open(const char *path, int flags, ...) __attribute__((alias("open64")));

int openat64(int dirfd, const char *path, int flags, ...)
{
	MODE_ARG(flags)
	REAL(openat64, int, int, const char *, int, ...);
	return flags & O_CREAT && at_fails(OPEN_NAME(flags, "openat"), dirfd, path)
		       ? -1
		       : real(dirfd, path, flags, mode);
}
int openat(int dirfd, const char *path, int flags, ...) __attribute__((alias("openat64")));
