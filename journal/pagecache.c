/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After a failed write-back the kernel marks the pages clean. What is read then is what was to be written,
 * and is gone when the page is. Worse, on ext4 writing the same bytes once more and syncing succeeds and
 * does not help, where the blocks were allocated and never written: the page's buffers already count as
 * written, so the data goes to its block, but nobody marks the block as written, and when the page is gone it
 * reads as zeros (seen on Linux 6.18; the test rewrite-after-error shows it). A page that is read anew knows better.
 */
#include "pagecache.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int pagecache_drop(int fd)
{
	int ret = fdatasync(fd) < 0 ? -errno : 0;
	int advice = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);

	return ret ? ret : -advice;
}
