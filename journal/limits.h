/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every limit that more than one file relies on, with its unit. A limit of one file lives in that
 * file. Formats depend on these: changing one that is marked [format] needs a new version of it.
 */
#ifndef JOURNAL_LIMITS_H
#define JOURNAL_LIMITS_H

#include <linux/limits.h> /* XATTR_NAME_MAX, XATTR_SIZE_MAX: ours are the kernel's */

/* <linux/fs.h>, <liburing.h> and <sys/mount.h> have a BLOCK_SIZE of 1024: include them before this
 * header and everything that includes it. */
#undef BLOCK_SIZE
#define BLOCK_SIZE 4096u /* [format] bytes; unit of addresses, checksums and ring alignment */
#define BLOCK_SHIFT 12
#define WRITE_SIZE_MAX (1u << 20) /* bytes; the largest FUSE WRITE, hence the largest payload */
#ifndef INLINE_SIZE_MAX /* other values are for measuring the threshold */
#define INLINE_SIZE_MAX (32u << 10) /* bytes; a payload up to this travels inside its entry */
#endif
#define NAME_LEN_MAX 255u /* bytes of one path component */
#define SYMLINK_LEN_MAX 4095u /* bytes of a symlink's target */
#define ENTRY_SIZE_MAX (160u << 10) /* bytes of one entry, header included */
#define BATCH_SIZE_MAX (1u << 20) /* bytes of one batch, header and padding included */
#define REPLICAS_MAX 8u /* replicas of one volume */
#define DOMAIN_LEN_MAX 63u /* bytes of a domain's name */
#define VOLUME_NAME_MAX 63u /* bytes of a volume's name */
#define NODE_NAME_MAX 253u /* bytes of the name of a domain's node */
#define RING_SIZE_MIN (32ull << 20) /* bytes */
#define RING_SIZE_MAX (4ull << 30) /* bytes */
#define DATA_SEGMENT_SIZE (256u << 20) /* [format] bytes of one data segment file */
#define DATA_SEGMENT_BLOCKS (DATA_SEGMENT_SIZE / BLOCK_SIZE)

_Static_assert(INLINE_SIZE_MAX + 2 * BLOCK_SIZE + 4096 <= ENTRY_SIZE_MAX, "an inline write fits");
_Static_assert(XATTR_NAME_MAX == 255 && XATTR_SIZE_MAX == 65536, "the format's limits");
_Static_assert(XATTR_SIZE_MAX + 4096 <= ENTRY_SIZE_MAX, "an xattr fits");
_Static_assert(ENTRY_SIZE_MAX + BLOCK_SIZE <= BATCH_SIZE_MAX, "every entry fits a batch");

#endif
