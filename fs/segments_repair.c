/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Damaged blocks of the data segments: which they are, and putting good bytes in their place.
 *
 * A repair writes the bytes that were always meant to be at the address (I7), with O_DIRECT and
 * RWF_DSYNC, through a descriptor of its own: an error of it is no error of anybody's data on the way to
 * durability, and must not hide one either.
 *
 * Failure modes: a write that fails is the caller's; the block then stays as damaged as it was, and is
 * not final (I9), because nobody was promised this copy. A file that is missing is made again.
 */
#include "segments_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

uint64_t segments_damage(struct segments *s, struct addr a, uint32_t blocks, const uint32_t *crcs)
{
	uint8_t buf[BLOCK_SIZE] __attribute__((aligned(4096)));
	uint64_t mask = 0;

	ensure(blocks && blocks <= 64);
	for (uint32_t i = 0; i < blocks; i++) {
		struct addr at = {.block = a.block + i, .epoch = a.epoch};
		uint32_t bad;

		if (segments_read(s, at, 1, buf, crcs + i, &bad))
			mask |= 1ull << i;
	}
	return mask;
}

static int open_again(struct segments *s, struct addr a)
{
	struct seg_epoch *e = seg_epoch_find(s, a.epoch);
	int fd, dirfd = seg_epoch_dir(s, e);
	char name[SEG_FILE_NAME_SIZE];

	if (dirfd < 0)
		return dirfd;

	seg_file_name((unsigned)(a.block / DATA_SEGMENT_BLOCKS), name);
	fd = openat(dirfd, name, O_WRONLY | O_DIRECT | O_DSYNC | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == EINVAL)
		fd = openat(dirfd, name, O_WRONLY | O_DSYNC | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

int segments_repair(struct segments *s, struct addr a, uint32_t blocks, const void *bytes)
{
	size_t len = (size_t)blocks * BLOCK_SIZE;
	uint64_t off = seg_file_offset(a);
	cleanup_close int fd = -1;
	struct seg_file *f;
	int ret;

	ensure(blocks && a.block % DATA_SEGMENT_BLOCKS + blocks <= DATA_SEGMENT_BLOCKS);
	ret = seg_file_get(s, a, true, &f);
	if (!ret)
		ret = seg_fault(s);
	if (ret)
		return ret;
	fd = open_again(s, a);
	if (fd < 0)
		return fd;
	for (size_t done = 0; done < len;) {
		ssize_t n =
			pwrite(fd, (const uint8_t *)bytes + done, len - done, (off_t)(off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

bool segments_hole(struct segments *s, struct addr a, uint32_t blocks)
{
	off_t off = (off_t)seg_file_offset(a), data;
	struct seg_file *f;

	if (!seg_epoch_find(s, a.epoch) || seg_file_get(s, a, false, &f))
		return true;
	data = lseek(f->fd, off, SEEK_DATA);
	return (data < 0 && errno == ENXIO) || data >= off + (off_t)blocks * BLOCK_SIZE;
}
