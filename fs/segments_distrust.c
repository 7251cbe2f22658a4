/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data segments after a process that ended somehow: its last write-back may have failed, seen or unseen, and
 * then what the kernel holds in memory is not what is on the disk, and writing it again may not help
 * (pagecache.c). So before recovery writes anything, the kernel forgets what it holds of all files that can
 * be written again: by the replay, by the tail when it is confirmed, by a tail that the peer returns. After an
 * I/O error that the last process saw, it forgets all files, because the blocks before are read as well. Pages to
 * be written back are there only where the filesystem has no O_DIRECT, or from an earlier build.
 *
 * Failure modes: a write-back that fails here again is as good as never begun: what it was to write comes
 * from the ring. What neither the ring nor the disk has shows as a wrong checksum. Recovery's thread only,
 * while nobody else knows the segments.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "pagecache.h"
#include "segments_impl.h"

static void forget(int fd, struct epoch epoch, unsigned number)
{
	int r = pagecache_drop(fd);

	if (r)
		log_warn("data segment %u of epoch %u: an earlier write had failed: %s; what the "
			 "journal "
			 "holds of it is written again",
			number, epoch.num, strerror(-r));
}

int segments_distrust(struct segments *s, uint32_t from)
{
	for (unsigned i = 0; i < s->nepochs; i++) {
		struct seg_epoch *e = s->epochs[i];
		int dirfd;

		if (e->epoch.num < from)
			continue;
		dirfd = seg_epoch_dir(s, e);
		if (dirfd < 0)
			return dirfd;
		for (unsigned number = 0;; number++) {
			cleanup_close int fd = -1;
			char name[16];

			snprintf(name, sizeof(name), "%06u", number);
			fd = openat(dirfd, name, O_RDWR | O_CLOEXEC);
			if (fd < 0 && errno == ENOENT)
				break;
			if (fd < 0)
				return -errno;
			forget(fd, e->epoch, number);
		}
		/* The last process may have made a file and died before its name was durable. */
		if (fsync(dirfd))
			return -errno;
	}
	return 0;
}
