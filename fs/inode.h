/* SPDX-License-Identifier: Apache-2.0 */
/* What the filesystem knows of an inode, and where data lies: plain values that all of fs/ shares. */
#ifndef FS_INODE_H
#define FS_INODE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "limits.h"

#define ROOT_INO 1ull
#define DEAD_RANGES_MAX 8u
#define CHUNK_BLOCKS 64u /* blocks of a file in one block map value: 256 KiB */
#define FILE_SIZE_MAX (1ull << 50) /* bytes */

/* An address of data: 4 KiB block `block` of the segments that epoch `epoch` wrote. Assigned once,
 * ever (I7). epoch 0 means a hole. */
struct addr {
	uint64_t block;
	uint32_t epoch;
};

/* What was born before seq and lies in [from, to) file blocks is dead, though its map entries are
 * still there: removed by bounded entries later. */
struct dead_range {
	uint64_t seq;
	uint64_t from, to; /* file blocks; to = UINT64_MAX: without end */
};

struct inode {
	uint64_t ino;
	uint32_t mode; /* type and permissions */
	uint32_t uid, gid;
	uint32_t nlink;
	uint32_t rdev;
	uint64_t size; /* bytes */
	uint64_t blocks; /* 4 KiB blocks of data mapped */
	uint64_t atime_ns, mtime_ns, ctime_ns, btime_ns;
	uint64_t parent; /* of a directory: for the loop check of rename and for ".." */
	uint64_t next_cookie; /* of a directory: next readdir cookie */
	uint64_t entries; /* of a directory: names in it, without "." and ".." */
	uint32_t xattrs; /* extended attributes it has */
	uint32_t xattr_name_bytes; /* of their names, each with its terminating zero */
	bool has_xattrs; /* xattrs > 0 */
	bool has_caps; /* security.capability is set */
	bool has_acl; /* an access ACL is set */
	unsigned ndead;
	struct dead_range dead[DEAD_RANGES_MAX];
};

/* A run of file blocks and where it lies. */
struct extent {
	uint64_t file_block;
	uint32_t blocks;
	struct addr addr; /* epoch 0: a hole */
	uint64_t birth; /* seq of the entry that wrote it */
};

/* Fills *st for the kernel (st_blocks in 512-byte units, st_blksize). */
void inode_stat(const struct inode *i, struct stat *st);

#endif
