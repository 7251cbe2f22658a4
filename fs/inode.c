/* SPDX-License-Identifier: Apache-2.0 */
/* What stat(2) says of an inode. Pure. */
#include "inode.h"

#include <string.h>

#include "clock.h"

static struct timespec timespec_of(uint64_t ns)
{
	return (struct timespec){.tv_sec = (time_t)((int64_t)ns / (int64_t)NS_PER_S),
		.tv_nsec = (long)((int64_t)ns % (int64_t)NS_PER_S)};
}

/* Times before 1970 are negative numbers of nanoseconds in two's complement; tv_nsec is never
 * negative. */
static struct timespec timespec_normal(uint64_t ns)
{
	struct timespec t = timespec_of(ns);

	if (t.tv_nsec < 0) {
		t.tv_nsec += (long)NS_PER_S;
		t.tv_sec--;
	}
	return t;
}

void inode_stat(const struct inode *i, struct stat *st)
{
	memset(st, 0, sizeof(*st));
	st->st_ino = i->ino;
	st->st_mode = i->mode;
	st->st_nlink = i->nlink;
	st->st_uid = i->uid;
	st->st_gid = i->gid;
	st->st_blksize = BLOCK_SIZE;
	st->st_blocks = (blkcnt_t)(i->blocks * (BLOCK_SIZE / 512));
	st->st_size = S_ISDIR(i->mode) ? (off_t)BLOCK_SIZE : (off_t)i->size;
	st->st_rdev = i->rdev; /* the kernel's 32-bit packing is glibc's for small numbers */
	st->st_atim = timespec_normal(i->atime_ns);
	st->st_mtim = timespec_normal(i->mtime_ns);
	st->st_ctim = timespec_normal(i->ctime_ns);
}
