/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring's files: creating, opening and locking them. They are made under a temporary name beside
 * the final one, written with zeros and synced, and then renamed: a crash leaves either no ring, or a
 * whole one, and perhaps a temporary directory, which the next creation removes.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "ring_impl.h"

#define SEGMENT_SIZE_MAX (64u << 20) /* bytes */
#define LOCK_WAIT_NS (10 * NS_PER_S)
#define ZEROS_SIZE (1u << 20) /* bytes; a divisor of every segment's size */

/* Opens a segment file, with O_DIRECT where that works. The descriptor or -errno. */
static int open_segment(int dir_fd, unsigned number, int flags)
{
	char name[16];
	int fd;

	snprintf(name, sizeof(name), RING_SEGMENT_NAME, number);
	fd = openat(dir_fd, name, flags | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EINVAL) /* a filesystem in memory, for example */
		fd = openat(dir_fd, name, (flags & ~O_EXCL) | O_RDWR | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

void *ring_buffer(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

void ring_buffer_free(void *p, size_t size)
{
	if (p)
		munmap(p, size);
}

static int fill_segment(int dir_fd, unsigned number, uint64_t size, const void *zeros)
{
	cleanup_close int fd = open_segment(dir_fd, number, O_CREAT | O_EXCL);

	if (fd < 0)
		return fd;
	/* One extent if the filesystem can; where it cannot reserve, writing will do. */
	if (fallocate(fd, 0, 0, (off_t)size) < 0 && errno != EOPNOTSUPP)
		return -errno;
	for (uint64_t off = 0; off < size;) {
		ssize_t n = pwrite(fd, zeros, MIN(ZEROS_SIZE, size - off), (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 || n % BLOCK_SIZE)
			return -EIO;
		off += (uint64_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* Removes what an interrupted creation left. */
static int remove_temporary(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	for (unsigned i = 0; i < RING_SEGMENTS_MAX; i++) {
		char name[16];

		snprintf(name, sizeof(name), RING_SEGMENT_NAME, i);
		unlinkat(fd, name, 0);
	}
	close(fd);
	return rmdir(path) < 0 ? -errno : 0;
}

static int fill_directory(const char *path, unsigned nsegs, uint64_t seg_size, struct err *e)
{
	void *zeros = ring_buffer(ZEROS_SIZE);
	int fd = -1, ret = 0;

	if (!zeros)
		return err_set(e, -ENOMEM, "out of memory");
	if (mkdir(path, 0700) < 0) {
		ret = err_set(e, -errno, "cannot create '%s': %m", path);
		goto out;
	}
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0) {
		ret = err_set(e, -errno, "cannot open '%s': %m", path);
		goto out;
	}
	for (unsigned i = 0; i < nsegs; i++) {
		ret = fill_segment(fd, i, seg_size, zeros);
		if (ret) {
			err_set(e, ret, "cannot write journal segment %u in '%s': %s", i, path,
				strerror(-ret));
			goto out;
		}
	}
	if (fsync(fd) < 0)
		ret = err_set(e, -errno, "cannot sync '%s': %m", path);
out:
	if (fd >= 0)
		close(fd);
	ring_buffer_free(zeros, ZEROS_SIZE);
	return ret;
}

static int sync_parent(const char *path, struct err *e)
{
	cleanup_free char *copy = strdup(path);
	cleanup_close int fd = -1;

	if (!copy)
		return err_set(e, -ENOMEM, "out of memory");
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_set(e, -errno, "cannot sync the directory of '%s': %m", path);
	return 0;
}

int ring_create(const char *dir, uint64_t size, struct err *e)
{
	uint64_t seg_size = size / 8 / ZEROS_SIZE * ZEROS_SIZE;
	size_t len = strlen(dir);
	cleanup_free char *temporary = NULL;
	unsigned nsegs;
	int ret;

	if (size < BATCH_SIZE_MAX || size > RING_SIZE_MAX)
		return err_set(e, -EINVAL, "a journal of %llu bytes is too small or too large",
			(unsigned long long)size);
	seg_size = MIN(MAX(seg_size, BATCH_SIZE_MAX), SEGMENT_SIZE_MAX);
	nsegs = (unsigned)MAX(size / seg_size, 2);
	ensure(nsegs <= RING_SEGMENTS_MAX);
	while (len > 1 && dir[len - 1] == '/')
		len--;
	if (asprintf(&temporary, "%.*s.creating", (int)len, dir) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	if (access(dir, F_OK) == 0)
		return err_set(e, -EEXIST, "'%s' exists already", dir);
	ret = remove_temporary(temporary);
	if (ret)
		return err_set(e, ret, "cannot remove '%s', left from before: %s", temporary,
			strerror(-ret));
	ret = fill_directory(temporary, nsegs, seg_size, e);
	if (ret)
		goto fail;
	/* An empty directory of that name would be replaced; RENAME_NOREPLACE refuses that too. */
	if (renameat2(AT_FDCWD, temporary, AT_FDCWD, dir, RENAME_NOREPLACE) < 0) {
		ret = err_set(e, -errno, "cannot rename '%s' to '%s': %m", temporary, dir);
		goto fail;
	}
	return sync_parent(dir, e);
fail:
	remove_temporary(temporary);
	return ret;
}

/*
 * Locks a segment file. Held through the open file, which a write in flight holds as well: so the
 * writes of a process that was killed a moment ago are over when this succeeds.
 */
static int lock_segment(int fd, uint64_t until_ns)
{
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EINTR)
			continue;
		if (errno != EWOULDBLOCK)
			return -errno;
		if (clock_mono_ns() > until_ns)
			return -EBUSY;
		usleep(10000);
	}
	return 0;
}

int ring_open_segments(struct ring *r, struct err *e)
{
	cleanup_close int dir_fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	uint64_t until = clock_mono_ns() + LOCK_WAIT_NS, size = 0;
	struct stat st;

	if (dir_fd < 0)
		return err_set(e, -errno, "cannot open journal '%s': %m", r->dir);
	while (r->nsegs < RING_SEGMENTS_MAX) {
		int ret, fd = open_segment(dir_fd, r->nsegs, 0);

		if (fd == -ENOENT && r->nsegs >= 2)
			break;
		if (fd < 0)
			return err_set(e, fd, "journal '%s': cannot open segment %u: %s", r->dir,
				r->nsegs, strerror(-fd));
		r->segs[r->nsegs++].fd = fd;
		ret = lock_segment(fd, until);
		if (ret)
			return err_set(e, ret, "journal '%s': %s", r->dir,
				ret == -EBUSY ? "is in use by another process" : strerror(-ret));
		if (fstat(fd, &st) < 0)
			return err_set(e, -errno, "journal '%s': %m", r->dir);
		if (r->nsegs == 1)
			size = (uint64_t)st.st_size;
		if ((uint64_t)st.st_size != size || size % BLOCK_SIZE || size < BATCH_SIZE_MAX)
			return err_set(e, -EBADMSG,
				"journal '%s': segment %u has a size of %llu bytes, which it was "
				"not "
				"created with",
				r->dir, r->nsegs - 1, (unsigned long long)st.st_size);
	}
	r->seg_blocks = (uint32_t)(size / BLOCK_SIZE);
	return 0;
}
