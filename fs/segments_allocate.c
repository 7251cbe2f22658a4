/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for data ahead of its use, so that a full disk is found before anything depends on it. Allocated blocks
 * that were never written read as zeros, and give their room back with segments_trim() when their epoch is
 * over.
 *
 * A promise to others must outlive a power cut: through a descriptor with O_SYNC fallocate() commits what it
 * did to the filesystem's journal, and nothing else of the file (an fdatasync would write all its dirty pages).
 *
 * Failure modes: no room: what was allocated so far stays, and is told. A filesystem that cannot allocate:
 * counts as done; ENOSPC is then found by a write, which is final (I9).
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "cleanup.h"
#include "segments_impl.h"

static int allocate(int fd, off_t off, off_t len)
{
	int ret;

	do
		ret = fallocate(fd, FALLOC_FL_KEEP_SIZE, off, len) < 0 ? -errno : 0;
	while (ret == -EINTR);
	if (ret == -EOPNOTSUPP || ret == -ENOSYS)
		return 0;
	return ret == -EDQUOT ? -ENOSPC : ret;
}

/* Inside of one file. */
static int allocate_run(
	struct segments *s, struct seg_epoch *e, uint64_t block, uint64_t blocks, bool durable)
{
	unsigned number = (unsigned)(block / DATA_SEGMENT_BLOCKS);
	off_t off = (off_t)(block % DATA_SEGMENT_BLOCKS) * BLOCK_SIZE;
	char name[SEG_FILE_NAME_SIZE];
	cleanup_close int fd = -1;
	int ret, dirfd;

	ret = segments_prepare(s, (struct addr){.block = block, .epoch = e->epoch.num}, 0);
	if (ret)
		return ret;
	dirfd = seg_epoch_dir(s, e);
	if (dirfd < 0)
		return dirfd;
	seg_file_name(number, name);
	fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (durable ? O_SYNC : 0));
	if (fd < 0)
		return -errno;
	return allocate(fd, off, (off_t)blocks * BLOCK_SIZE);
}

int segments_allocate(
	struct segments *s, struct addr a, uint64_t upto, bool durable, uint64_t *ret_upto)
{
	struct seg_epoch *e = seg_epoch_find(s, a.epoch);
	uint64_t at = a.block;
	int ret = e ? 0 : -EIO;

	while (!ret && at < upto) {
		uint64_t n = MIN(upto - at, DATA_SEGMENT_BLOCKS - at % DATA_SEGMENT_BLOCKS);

		ret = allocate_run(s, e, at, n, durable);
		if (!ret)
			at += n;
	}
	*ret_upto = at;
	return ret;
}
