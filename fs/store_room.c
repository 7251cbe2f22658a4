/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RocksDB takes an ENOSPC in a flush or a compaction for the end (Debian's build aborts the process), and its C
 * interface gives no say in it. Room that is looked for before a flush begins may be gone a moment later: somebody
 * may fill the disk meanwhile. So the calls that find that out are our own here: write(), and those that make a
 * name, open() and rename(), for which xfs allocates inodes and any filesystem a block of the directory. Where one meets
 * ENOSPC in the store's directory it asks for room, which is the ballast's (space_meta.c), and tries again. On
 * filesystems that allocate late the room is taken at the write, too, so no other call can meet ENOSPC for data.
 *
 * The dynamic linker finds these before the C library's, for RocksDB as for everybody else in the process. They
 * hand each call on to whoever would have had it without them, the C library or what was loaded before it, and so
 * every other error is theirs. What the libraries call before that is known is the system call itself.
 *
 * Failure modes: no room comes within the time that was given: ENOSPC, and what follows from it (I9). Somebody
 * takes what was given up: more is given up, until there is none.
 */
#include "store_room.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"

#define PAUSE_NS (20 * NS_PER_MS)
#define NAME_BYTES (1u << 20) /* what is asked for to make a name: inodes come in aligned chunks */

static struct {
	atomic_bool on; /* set last */
	char dir[4096];
	size_t len;
	void (*make_way)(void *ctx, uint64_t bytes);
	void *ctx;
	uint64_t patience_ns;
} guard;

void store_room_guard(const char *dir, void (*make_way)(void *ctx, uint64_t bytes), void *ctx,
	uint64_t patience_ns)
{
	guard.len = (size_t)snprintf(guard.dir, sizeof(guard.dir), "%s/", dir);
	ensure(guard.len < sizeof(guard.dir));
	guard.make_way = make_way;
	guard.ctx = ctx;
	guard.patience_ns = patience_ns;
	atomic_store(&guard.on, true);
}

/* Set once, before main(): the libraries that this program is linked with may have threads by then. */
static struct {
	_Atomic(ssize_t (*)(int, const void *, size_t)) write;
	_Atomic(int (*)(const char *, int, ...)) open;
	_Atomic(int (*)(const char *, const char *)) rename;
} next;

__attribute__((constructor)) static void find_next(void)
{
	ssize_t (*next_write)(int, const void *, size_t);
	int (*next_open)(const char *, int, ...);
	int (*next_rename)(const char *, const char *);

	*(void **)&next_write = dlsym(RTLD_NEXT, "write");
	*(void **)&next_open = dlsym(RTLD_NEXT, "open");
	*(void **)&next_rename = dlsym(RTLD_NEXT, "rename");
	atomic_store(&next.write, next_write);
	atomic_store(&next.open, next_open);
	atomic_store(&next.rename, next_rename);
}

static ssize_t plain_write(int fd, const void *buf, size_t count)
{
	ssize_t (*real)(int, const void *, size_t) = atomic_load(&next.write);

	return real ? real(fd, buf, count) : syscall(SYS_write, fd, buf, count);
}

static int plain_open(const char *path, int flags, mode_t mode)
{
	int (*real)(const char *, int, ...) = atomic_load(&next.open);

	return real ? real(path, flags, mode)
		    : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

static int plain_rename(const char *from, const char *to)
{
	int (*real)(const char *, const char *) = atomic_load(&next.rename);

	return real ? real(from, to) : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static bool is_guarded(int fd)
{
	char link[64], path[4096];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	return n > (ssize_t)guard.len && !memcmp(path, guard.dir, guard.len);
}

/* By its real name: the store may be told another one. */
static bool is_guarded_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[4096], whole[PATH_MAX];
	size_t len = slash ? (size_t)(slash - path) : 0;

	if (!len || len >= sizeof(dir))
		return false;
	memcpy(dir, path, len);
	dir[len] = '\0';
	return realpath(dir, whole) && strlen(whole) + 1 == guard.len &&
	       !memcmp(whole, guard.dir, guard.len - 1);
}

/* Makes way, and says whether to try again; else errno is ENOSPC. */
static bool once_more(uint64_t bytes, uint64_t *until_ns)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	uint64_t now = clock_mono_ns();

	errno = ENOSPC;
	if (*until_ns && now > *until_ns)
		return false;
	if (*until_ns)
		nanosleep(&pause, NULL);
	else
		*until_ns = now + guard.patience_ns;
	guard.make_way(guard.ctx, bytes);
	return true;
}

static bool is_full(long ret)
{
	return ret < 0 && (errno == ENOSPC || errno == EDQUOT) && atomic_load(&guard.on);
}

ssize_t write(int fd, const void *buf, size_t count)
{
	ssize_t n = plain_write(fd, buf, count);
	uint64_t until = 0;
	bool ours;

	if (!is_full(n))
		return n;
	ours = is_guarded(fd);
	errno = ENOSPC; /* not what looking has left */
	while (ours && once_more(count, &until)) {
		n = plain_write(fd, buf, count);
		ours = is_full(n);
	}
	return n;
}

int open_with_room(const char *path, int flags, ...) __asm__("open");
int open_with_room(const char *path, int flags, ...)
{
	uint64_t until = 0;
	mode_t mode = 0;
	bool ours;
	va_list ap;
	int fd;

	if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	fd = plain_open(path, flags, mode);
	if (!is_full(fd))
		return fd;
	ours = is_guarded_name(path);
	errno = ENOSPC;
	while (ours && once_more(NAME_BYTES, &until)) {
		fd = plain_open(path, flags, mode);
		ours = is_full(fd);
	}
	return fd;
}

int rename(const char *from, const char *to)
{
	int r = plain_rename(from, to);
	uint64_t until = 0;
	bool ours;

	if (!is_full(r))
		return r;
	ours = is_guarded_name(to);
	errno = ENOSPC;
	while (ours && once_more(NAME_BYTES, &until)) {
		r = plain_rename(from, to);
		ours = is_full(r);
	}
	return r;
}
