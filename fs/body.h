/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of entry bodies: what the body of each entry type (enum op_type) looks like. Numbers are
 * little-endian, reserved bytes zero when written and checked when read. Entry version 1 means these
 * tables; another layout needs another entry type.
 *
 *   create           off size             unlink, rmdir     off size
 *     time             0    8               time              0    8
 *     parent           8    8               parent            8    8
 *     cookie          16    8               inode            16    8
 *     inode           24    8               cookie           24    8
 *     mode            32    4               flags            32    1  1: its last name
 *     uid, gid        36    8               name length      33    1
 *     device          44    4               reserved         34    6
 *     name length     48    1               name             40
 *     attributes      49    1
 *     target length   50    2             link              off size
 *     reserved        52    4               time              0    8
 *     name            56                    new parent        8    8
 *     target, attributes                    inode            16    8
 *                                           cookie           24    8
 *   rename           off size               reserved         32    1
 *     time             0    8               name length      33    1
 *     parent           8    8               reserved         34    6
 *     new parent      16    8               name             40
 *     inode           24    8
 *     cookie          32    8  of the old name
 *     new cookie      40    8  of the new name; exchange: that it has and keeps
 *     victim          48    8  the inode that had the new name, or 0
 *     victim's cookie 56    8  0 with exchange
 *     flags           64    1  1: exchange, 2: the victim lost its last name
 *     name lengths    65    2  old, new
 *     reserved        67    5
 *     names           72
 *
 *   change: setattr, write, fallocate, setxattr, removexattr
 *     inode            0    8
 *     flags            8    2  BODY_*: the sections that follow
 *     mask            10    2  BODY_SET_*: which of the fields below are set; the others are 0
 *     attributes      12    1
 *     dead ranges     13    1
 *     runs            14    1
 *     reserved        15    1
 *     mode            16    4  permissions
 *     uid, gid        20    8
 *     reserved        28    4
 *     size            32    8
 *     atime           40    8
 *     mtime           48    8
 *     ctime           56    8
 *                     64       [dead] the inode's list from now on: seq(8) from(8) to(8) each
 *                              [hole] from(8) to(8): file blocks to unmap now
 *                              [data] address block(8) epoch(4), blocks(4), CRC of the whole
 *                                payload when external (4), reserved(4); runs: first file block(8)
 *                                blocks(4) reserved(4) each; CRC of each block (4)
 *                              attributes
 *                              [data, not external] the payload
 *   An attribute: 1 to set, 2 to remove (1), name length(1), reserved(2), value length(4), name,
 *   value.
 *
 *   reap
 *     items            0    2
 *     reserved         2    6
 *     items, each: inode(8), flags(1), reserved(1), chunks(2), names(2), reserved(2); with
 *     REAP_DROP the dead range that is done: seq(8) from(8) to(8); chunk numbers (8 each); the names
 *     of its attributes: length(1) and bytes each
 *
 *   resize
 *     blocks           0    8  the volume's size from now on
 *     reserved         8    8
 */
#ifndef FS_BODY_H
#define FS_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inode.h"

#define BODY_SIZE_MAX (ENTRY_SIZE_MAX - 128u)
#define BODY_XATTRS_MAX 4u
#define BODY_RUNS_MAX 2u
#define BODY_BLOCKS_MAX (WRITE_SIZE_MAX / BLOCK_SIZE + 2u) /* blocks of one payload */
#define HOLE_CHUNKS_MAX 16u /* chunks that a hole may touch; more go through the dead ranges */
#define REAP_ITEMS_MAX 64u
#define REAP_CHUNKS_MAX 448u /* of all items of an entry together */
#define REAP_NAMES_MAX 256u
#define XATTRS_MAX 256u /* attributes of one inode */
#define XATTR_NAME_BYTES_MAX (32u << 10) /* of their names */

struct body_xattr {
	bool remove;
	uint8_t nlen;
	uint32_t vlen;
	const char *name; /* not terminated; borrowed */
	const void *value;
};

struct body_xattrs {
	unsigned n;
	struct body_xattr x[BODY_XATTRS_MAX];
};

struct body_create {
	uint64_t time_ns, parent, cookie, ino;
	uint32_t mode, uid, gid, rdev;
	uint8_t nlen;
	uint16_t tlen;
	const char *name, *target;
	struct body_xattrs xattrs;
};

struct body_unlink {
	uint64_t time_ns, parent, ino, cookie;
	bool last; /* it loses its last name */
	uint8_t nlen;
	const char *name;
};

struct body_link {
	uint64_t time_ns, newparent, ino, cookie;
	uint8_t nlen;
	const char *name;
};

struct body_rename {
	uint64_t time_ns, parent, newparent, ino, cookie, newcookie, victim, victim_cookie;
	bool exchange, victim_last;
	uint8_t nlen, newnlen;
	const char *name, *newname;
};

#define BODY_DEAD 1u
#define BODY_HOLE 2u
#define BODY_DATA 4u
#define BODY_EXTERNAL 8u

#define BODY_SET_MODE 1u
#define BODY_SET_UID 2u
#define BODY_SET_GID 4u
#define BODY_SET_SIZE 8u
#define BODY_SET_ATIME 16u
#define BODY_SET_MTIME 32u
#define BODY_SET_CTIME 64u

struct body_run {
	uint64_t file_block;
	uint32_t blocks;
};

struct body_change {
	uint64_t ino;
	uint16_t flags, mask;
	uint32_t mode, uid, gid;
	uint64_t size, atime_ns, mtime_ns, ctime_ns;
	unsigned ndead;
	struct dead_range dead[DEAD_RANGES_MAX];
	uint64_t hole_from, hole_to;
	struct addr addr;
	uint32_t blocks, payload_crc;
	unsigned nruns;
	struct body_run runs[BODY_RUNS_MAX];
	const uint8_t *crcs; /* encoded, 4 bytes each; borrowed */
	struct body_xattrs xattrs;
	const uint8_t *payload; /* decoded only: inline bytes, else NULL */
};

#define REAP_ORPHAN 1u /* an inode without a name; its chunks go whole */
#define REAP_LAST 2u /* with REAP_ORPHAN: nothing else is left, the inode goes too */
#define REAP_DROP 4u /* nothing dead is left in this range: it leaves the list */

struct body_reap_item {
	uint64_t ino;
	uint8_t flags;
	uint16_t nchunks, nnames;
	struct dead_range drop;
	const uint8_t *chunks; /* encoded, 8 bytes each */
	const uint8_t *names; /* encoded: length and bytes each */
	size_t names_size;
};

struct body_reap {
	unsigned n;
	struct body_reap_item items[REAP_ITEMS_MAX];
};

struct body_resize {
	uint64_t blocks; /* at least 1; less than 2^63 bytes */
};

/* Encoders write into buf (BODY_SIZE_MAX bytes) and return the size. Decoders: 0 or -EBADMSG; what
 * they point to is inside the body. */
size_t body_encode_create(const struct body_create *b, uint8_t *buf);
size_t body_encode_unlink(const struct body_unlink *b, uint8_t *buf);
size_t body_encode_link(const struct body_link *b, uint8_t *buf);
size_t body_encode_rename(const struct body_rename *b, uint8_t *buf);
/* Without the inline payload, which follows as a piece of its own. */
size_t body_encode_change(const struct body_change *b, uint8_t *buf);
size_t body_encode_reap(const struct body_reap *b, uint8_t *buf);
size_t body_encode_resize(const struct body_resize *b, uint8_t *buf);
int body_decode_create(const void *body, size_t len, struct body_create *b);
int body_decode_unlink(const void *body, size_t len, struct body_unlink *b);
int body_decode_link(const void *body, size_t len, struct body_link *b);
int body_decode_rename(const void *body, size_t len, struct body_rename *b);
int body_decode_change(const void *body, size_t len, struct body_change *b);
int body_decode_reap(const void *body, size_t len, struct body_reap *b);
int body_decode_resize(const void *body, size_t len, struct body_resize *b);

/* A name that may stand in a directory: 1 to 255 bytes, no '/', no zero, not "." or "..". */
bool name_valid(const char *name, size_t len);

#endif
