/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layout of keys and values in the metadata store; no I/O. Numbers in keys are big-endian, so
 * that keys sort as numbers do; in values little-endian.
 *
 *   key                         value
 *   'S'                         superblock
 *   'I' inode(8)                inode
 *   'D' directory(8) name       directory entry
 *   'C' directory(8) cookie(8)  the same entry in readdir's order
 *   'X' inode(8) name           extended attribute
 *   'L' inode(8)                target of a symlink
 *   'B' inode(8) chunk(8)       block map of CHUNK_BLOCKS blocks (blockmap.h)
 *   'O' inode(8)                orphan: no name, perhaps still open
 *   'G' inode(8)                the inode has dead ranges
 *   'F' seq(8) number(8)        runs of blocks that are free since a checkpoint; the replica's own
 *
 * Every value begins with a version byte (1) and ends with a CRC-32C over its key and what is before
 * it, so that a value under the wrong key is found too. Reserved bytes are zero.
 *
 *   off size  superblock, 128 bytes         off size  inode, 120 bytes + 24 for each dead range
 *     0    1  version                         0    1  version
 *     1    3  reserved                        1    1  flags: 1 capabilities, 2 access ACL
 *     4    4  reserved                        2    1  dead ranges
 *     8   16  volume                          3    1  reserved
 *    24    8  size in blocks                  4    4  mode
 *    32    8  blocks used                     8    4  uid
 *    40    8  inodes                         12    4  gid
 *    48    8  next inode number              16    4  link count
 *    56    8  applied seq                    20    4  device
 *    64    8  applied epoch id               24    8  size in bytes
 *    72    4  applied epoch number           32    8  blocks
 *    76    4  applied chain                  40    8  atime
 *    80    8  data seq                       48    8  mtime
 *    88   36  reserved                       56    8  ctime
 *   124    4  checksum                       64    8  btime
 *                                            72    8  parent
 *   off size  directory entry, 24 bytes      80    8  next cookie
 *     0    1  version                        88    8  entries
 *     1    1  type (mode >> 12)              96    4  extended attributes
 *     2    2  reserved                      100    4  bytes of their names
 *     4    8  inode                         104   12  reserved
 *    12    8  cookie                        116    n  dead ranges: seq(8) from(8) to(8)
 *    20    4  checksum                    116+n    4  checksum
 *
 *   off size  entry by cookie, 16 + n        off size  everything else, 8 + n
 *     0    1  version                          0    1  version
 *     1    1  type                             1    3  reserved
 *     2    2  reserved                         4    n  attribute, target; seq (8) for 'O' and 'G'
 *     4    8  inode                          4+n    4  checksum
 *    12    n  name
 *  12+n    4  checksum                     n of 'F': block(8) epoch(4) blocks(4) for each run
 */
#ifndef FS_KEYS_H
#define FS_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "entry.h"
#include "inode.h"

#define KEY_SUPER 'S'
#define KEY_INODE 'I'
#define KEY_DIRENT 'D'
#define KEY_COOKIE 'C'
#define KEY_XATTR 'X'
#define KEY_SYMLINK 'L'
#define KEY_CHUNK 'B'
#define KEY_ORPHAN 'O'
#define KEY_GARBAGE 'G'
#define KEY_FREED 'F'

#define KEY_HEAD 9u /* prefix byte and inode */
#define KEY_SIZE_MAX (KEY_HEAD + 255u)

#define SUPER_VALUE_SIZE 128u
#define INODE_VALUE_SIZE_MAX (120u + 24u * DEAD_RANGES_MAX)
#define DIRENT_VALUE_SIZE 24u
#define COOKIE_VALUE_SIZE_MAX (16u + NAME_LEN_MAX)
#define PLAIN_OVERHEAD 8u
#define SEQ_VALUE_SIZE (PLAIN_OVERHEAD + 8u)

struct key {
	uint8_t b[KEY_SIZE_MAX];
	size_t len;
};

void key_super(struct key *k);
/* 'I', 'L', 'O', 'G' whole; 'D', 'C', 'X', 'B' as the prefix of what belongs to the inode. */
void key_ino(struct key *k, char family, uint64_t ino);
/* 'D' and 'X'. len at most 255. */
void key_name(struct key *k, char family, uint64_t ino, const char *name, size_t len);
/* 'C', 'B', 'F'. */
void key_number(struct key *k, char family, uint64_t ino, uint64_t number);
uint64_t be64_get(const uint8_t *p);
/* The inode in a key of KEY_HEAD bytes or more. */
static inline uint64_t key_get_ino(const uint8_t *key)
{
	return be64_get(key + 1);
}

struct super {
	struct uuid volume;
	uint64_t size_blocks, used_blocks, inodes, next_ino;
	struct pos applied;
	struct epoch applied_epoch;
	uint64_t data_seq;
};

struct dirent_value {
	uint64_t ino, cookie;
	uint8_t type; /* mode >> 12, as readdir(3) has it */
};

/* Encoders return the value's size. Decoders: 0, -EBADMSG, -EPROTONOSUPPORT (another version). */
size_t super_encode(const struct super *s, const struct key *k, uint8_t *v);
int super_decode(struct super *s, const struct key *k, const uint8_t *v, size_t len);
size_t inode_encode(const struct inode *i, const struct key *k, uint8_t *v);
/* The inode's number comes from the key. */
int inode_decode(struct inode *i, const struct key *k, const uint8_t *v, size_t len);
size_t dirent_encode(const struct dirent_value *d, const struct key *k, uint8_t *v);
int dirent_decode(struct dirent_value *d, const struct key *k, const uint8_t *v, size_t len);
size_t cookie_encode(
	uint64_t ino, uint8_t type, const char *name, size_t nlen, const struct key *k, uint8_t *v);
/* *ret_name points into v and has no terminating zero; the key is that of the iterator. */
int cookie_decode(const uint8_t *key, size_t klen, const uint8_t *v, size_t len,
	struct dirent_value *d, const char **ret_name, size_t *ret_nlen);
/* Everything else: n opaque bytes. v has room for n + PLAIN_OVERHEAD. */
size_t plain_encode(const void *bytes, size_t n, const struct key *k, uint8_t *v);
int plain_decode(const struct key *k, const uint8_t *v, size_t len, const uint8_t **ret_bytes,
	size_t *ret_n);

/* What the codecs share with blockmap.c: seals n bytes (room for 4 more) and checks a sealed value. */
size_t value_seal(const struct key *k, uint8_t *v, size_t n);
int value_check(const uint8_t *key, size_t klen, const uint8_t *v, size_t len, size_t len_min);

#endif
