/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RocksDB takes an ENOSPC in a flush or a compaction for the end (Debian's build aborts the process), and its C
 * interface gives no say in it. Room that is looked for before a flush begins may be gone a moment later: somebody
 * may fill the disk meanwhile. So the one call that finds that out, write(), is our own here: where it meets
 * ENOSPC on a file of the store it asks for room, which is the ballast's (space_meta.c), and tries again. On
 * filesystems that allocate late the room is taken at the write, too, so no other call can meet ENOSPC for data.
 *
 * The dynamic linker finds this write() before the C library's, for RocksDB as for everybody else in the process. It
 * is the same system call for them, and so is every other error.
 *
 * Failure modes: no room comes within the time that was given: ENOSPC, and what follows from it (I9). Somebody
 * takes what was given up: more is given up, until there is none.
 */
#include "store_room.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"

#define PAUSE_NS (20 * NS_PER_MS)

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

static bool is_guarded(int fd)
{
	char link[64], path[4096];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path));
	return n > (ssize_t)guard.len && !memcmp(path, guard.dir, guard.len);
}

static ssize_t write_again(int fd, const void *buf, size_t count)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	uint64_t until = clock_mono_ns() + guard.patience_ns;

	for (;;) {
		ssize_t n;

		guard.make_way(guard.ctx, count);
		n = syscall(SYS_write, fd, buf, count);
		if (n >= 0 || errno != ENOSPC || clock_mono_ns() > until)
			return n;
		nanosleep(&pause, NULL);
	}
}

ssize_t write(int fd, const void *buf, size_t count)
{
	ssize_t n = syscall(SYS_write, fd, buf, count);

	if (n >= 0 || errno != ENOSPC || !atomic_load(&guard.on))
		return n;
	if (is_guarded(fd))
		return write_again(fd, buf, count);
	errno = ENOSPC;
	return n;
}
