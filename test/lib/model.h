/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small filesystem in memory: what one thread's directory must look like after the operations that
 * were acknowledged. Operations are those of the log; a model that is given the same records is the
 * same model.
 *
 * Names are numbers: 24 names in each directory, so that they collide; some of them are long, some
 * are not ASCII. Nodes are numbers too (0 is the thread's own directory), allocated in order.
 */
#ifndef TEST_MODEL_H
#define TEST_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "oplog.h"

#define MODEL_NODES 192u
#define MODEL_NAMES 24u
#define MODEL_XATTRS 4u
#define MODEL_FILE_MAX (3u << 20) /* bytes */

enum model_op {
	MODEL_CREATE = 1, /* dir name, mode */
	MODEL_MKDIR,
	MODEL_SYMLINK, /* dir name, seed: target */
	MODEL_FIFO, /* dir name, mode */
	MODEL_UNLINK,
	MODEL_RMDIR,
	MODEL_RENAME, /* dir name -> dir2 name2, flags of renameat2 */
	MODEL_LINK, /* dir name -> dir2 name2 */
	MODEL_WRITE, /* dir name, off, len, seed; flags MODEL_* */
	MODEL_TRUNCATE, /* dir name, len */
	MODEL_OPEN_TRUNC,
	MODEL_FALLOCATE, /* dir name, off, len, mode: FALLOC_FL_* */
	MODEL_CHMOD, /* dir name, mode */
	MODEL_CHOWN, /* dir name, flags: uid, mode: gid */
	MODEL_UTIME, /* dir name, seed: mtime in ns */
	MODEL_SETXATTR, /* dir name, name2: which, flags, len, seed */
	MODEL_REMOVEXATTR,
	MODEL_OP_MAX,
};

#define MODEL_APPEND 1u
#define MODEL_DIRECT 2u
#define MODEL_DSYNC 4u
#define MODEL_FSYNC 8u

enum model_type { MODEL_NONE, MODEL_FILE, MODEL_DIR, MODEL_LINK_TARGET, MODEL_PIPE };

struct model_xattr {
	bool set;
	uint32_t len;
	uint64_t seed;
};

struct model_node {
	enum model_type type;
	uint32_t mode, uid, gid, nlink;
	uint64_t seed; /* of a symlink's target */
	bool mtime_known;
	uint64_t mtime_ns;
	struct model_xattr xattr[MODEL_XATTRS];
	uint32_t child[MODEL_NAMES]; /* node + 1; 0: no such name */
	uint32_t parent; /* of a directory */
	uint64_t size;
	uint8_t *data;
	uint64_t seen_ino; /* while comparing */
};

struct model {
	struct model_node node[MODEL_NODES];
	uint64_t bytes; /* of all files */
};

struct model *model_new(void);
void model_free(struct model *m);
/* What the system call must return: 0, bytes written, or -errno; on success the change is made.
 * `limit` cuts a write short (UINT64_MAX: all of it). */
int64_t model_apply(struct model *m, const struct oprec *r, uint64_t limit);
/* Node of dir/name, or -1. */
int model_lookup(const struct model *m, uint32_t dir, uint32_t name);
bool model_is_dir(const struct model *m, uint32_t node);
unsigned model_used(const struct model *m);
/* Path of dir/name below the thread's directory; its length. */
size_t model_path(const struct model *m, uint32_t dir, uint32_t name, char *buf, size_t size);
void model_name(uint32_t name, char *buf, size_t size);
void model_target(uint64_t seed, char *buf, size_t size);
void model_xattr_name(uint32_t which, char *buf, size_t size);
/* A value's bytes: len bytes into buf. */
void model_xattr_value(uint64_t seed, void *buf, size_t len);

/* The directory behind fd against the model: number of differences, each reported as one line to
 * `report` (may be NULL), at most 20 lines. */
unsigned model_compare(struct model *m, int dirfd, FILE *report);
/* How much of the write r (in flight, not applied to m) is in the file: bytes from its start, or -1
 * when what is there is neither nor, and that is torn. At least `min` bytes were acknowledged. */
int64_t model_write_done(
	const struct model *m, const struct oprec *r, int dirfd, uint64_t min, FILE *report);

int model_save(const struct model *m, uint64_t index, const char *path);
/* -ENOENT when there is none. */
int model_load(struct model *m, uint64_t *ret_index, const char *path);

#endif
