/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving space back to the filesystem below: runs that no file maps any more, and what was allocated
 * ahead in the last file of an epoch that nobody writes in any more.
 *
 * Failure modes: none that matter. Punching twice, or what was never written, changes nothing; an
 * address that is punched is never read by a mapping that is still valid, and a read that began before
 * finds a wrong checksum, looks the mapping up again and goes on. A filesystem that cannot punch keeps
 * the space; that is said once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "segments_impl.h"

static int punch(struct segments *s, int fd, off_t off, off_t len)
{
	if (!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len))
		return 0;
	if (errno == EOPNOTSUPP && !atomic_exchange(&s->no_punch, true))
		log_warn(
			"the filesystem below cannot punch holes: space of overwritten and deleted "
			"data is not given back");
	return errno == EOPNOTSUPP ? 0 : -errno;
}

int segments_punch(struct segments *s, struct addr a, uint32_t blocks)
{
	struct seg_file *f;
	int r;

	ensure(blocks && a.block % DATA_SEGMENT_BLOCKS + blocks <= DATA_SEGMENT_BLOCKS);
	if (atomic_load(&s->no_punch) || !seg_epoch_find(s, a.epoch))
		return 0;
	r = seg_file_get(s, a, false, &f);
	if (r)
		return r == -ENOENT ? 0 : r;
	if (s->slow_punch_us)
		usleep(s->slow_punch_us);
	return punch(s, f->fd, (off_t)(a.block % DATA_SEGMENT_BLOCKS) * BLOCK_SIZE,
		(off_t)blocks * BLOCK_SIZE);
}

/* Allocated and never written reads as a hole; dirty pages do not. */
static int trim_file(struct segments *s, int fd)
{
	off_t at = 0;
	int r = 0;

	while (!r && at < (off_t)DATA_SEGMENT_SIZE) {
		off_t hole = lseek(fd, at, SEEK_HOLE), data;

		if (hole < 0 || hole >= (off_t)DATA_SEGMENT_SIZE)
			return hole < 0 && errno != ENXIO ? -errno : 0;
		data = lseek(fd, hole, SEEK_DATA);
		if (data < 0 && errno != ENXIO)
			return -errno;
		if (data < 0)
			data = DATA_SEGMENT_SIZE;
		hole = (hole + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
		if (data > hole)
			r = punch(s, fd, hole, data - hole);
		at = data;
	}
	return r;
}

/*
 * Files of an epoch in which nobody writes any more, and none of which holds a byte: a missing file reads like
 * a hole, so they may go. From the last one on, so that what a crash leaves has no gap. What this process
 * has opened stays until the next one. The directory stays: its name is the epoch's id, without which
 * nothing that was lost here could be asked for. create_lock: nobody opens one meanwhile.
 */
static int remove_empty(struct segments *s, struct seg_epoch *e, int dirfd, unsigned nfiles)
{
	char name[SEG_FILE_NAME_SIZE];

	LOCK_SCOPE(&s->create_lock);
	for (unsigned i = 0; i < e->nfiles; i++) /* changes under create_lock alone */
		if (e->files[i])
			return 0;
	while (nfiles--) {
		seg_file_name(nfiles, name);
		if (unlinkat(dirfd, name, 0) && errno != ENOENT)
			return -errno;
	}
	atomic_store(&e->made_upto, 0);
	return 0;
}

static int trim_epoch(struct segments *s, struct seg_epoch *e)
{
	int r = 0, dirfd = seg_epoch_dir(s, e);
	unsigned number;
	bool empty = true;

	for (number = 0; dirfd >= 0 && !r; number++) {
		cleanup_close int fd = -1;
		char name[SEG_FILE_NAME_SIZE];

		seg_file_name(number, name);
		fd = openat(dirfd, name, O_RDWR | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			break;
		r = fd < 0 ? -errno : trim_file(s, fd);
		if (!r && (lseek(fd, 0, SEEK_DATA) >= 0 || errno != ENXIO))
			empty = false;
	}
	if (dirfd < 0)
		return dirfd;
	return r || !empty || !number ? r : remove_empty(s, e, dirfd, number);
}

int segments_trim(struct segments *s, uint32_t before)
{
	int r = 0;

	for (unsigned i = 0; !r; i++) {
		struct seg_epoch *e = seg_epoch_at(s, i);

		if (!e)
			break;
		if (e->epoch.num >= before || atomic_exchange(&e->trimmed, true))
			continue;
		if (atomic_load(&e->made_upto))
			r = trim_epoch(s, e);
	}
	return r;
}
