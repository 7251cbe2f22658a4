/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request that changes something, on its way from a FUSE worker to the commit thread and back.
 *
 * The worker fills the request and queues it with volume_submit(); from then on it belongs to the
 * commit thread. There op_decide() validates it against the current state, takes every decision
 * (inode number, times, cookies, addresses, resulting sizes, what is cleared) and encodes the body
 * of one entry; apply_entry() makes the change. When the entry is committed (under ack=fsync when it is
 * staged), `done` is called on the commit thread with `error` and the result fields set, and frees the op.
 *
 * op_decide() never reads a disk: what is not in memory ends in -EAGAIN, the op is sent to a helper,
 * which runs op_warm() (may read the disk, keeps what it found in the op) and queues it again.
 */
#ifndef FS_OP_H
#define FS_OP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "entry.h"
#include "inode.h"
#include "payload.h"
#include "store.h"

enum op_type {
	OP_CREATE = 1, /* parent, name, mode (with type), rdev, symlink target; uid, gid, umask */
	OP_UNLINK, /* parent, name: anything but a directory */
	OP_RMDIR,
	OP_RENAME, /* parent, name -> newparent, newname; flags RENAME_NOREPLACE, RENAME_EXCHANGE */
	OP_LINK, /* ino -> newparent, newname */
	OP_SETATTR, /* ino, attr_mask, attr */
	OP_WRITE, /* ino, off, len, payload, kill_priv */
	OP_FALLOCATE, /* ino, off, len, flags (FALLOC_FL_*) */
	OP_SETXATTR, /* ino, name, value, flags (XATTR_CREATE, XATTR_REPLACE), kill_sgid */
	OP_REMOVEXATTR,
	OP_REAP, /* internal: one bounded step of removing what is dead */
	OP_RESIZE, /* len: the volume's new size in blocks; entries of format level 2 */
	OP_TYPE_MAX,
	OP_SYNC = 0x10000, /* no entry: answered when everything staged before it is committed */
};

/* Entry types are the same numbers; they are a format. */

#define ATTR_MODE 1u
#define ATTR_UID 2u
#define ATTR_GID 4u
#define ATTR_SIZE 8u
#define ATTR_ATIME 16u
#define ATTR_MTIME 32u
#define ATTR_CTIME 64u
#define ATTR_ATIME_NOW 128u
#define ATTR_MTIME_NOW 256u
#define ATTR_KILL_PRIV 512u /* clear setuid, setgid (when group-executable) and capabilities */

/* A block that the operation keeps a part of: the worker read it, and says from where. */
struct op_edge {
	bool used;
	uint64_t file_block;
	struct addr addr; /* epoch 0: hole or beyond the end, read as zeros */
};

struct op {
	enum op_type type;
	uint64_t mount_id, unique; /* the FUSE request, 0 0 for internal ones */
	bool resent; /* an earlier daemon had the request, too, and may have executed it */
	uint32_t uid, gid, umask;
	uint64_t ino, parent, newparent;
	char name[NAME_LEN_MAX + 1], newname[NAME_LEN_MAX + 1];
	uint32_t mode, rdev, flags;
	bool kill_priv, kill_sgid;
	bool sync; /* under ack=fsync: answered when committed all the same (O_SYNC, O_DSYNC) */
	uint32_t attr_mask;
	struct inode attr; /* for OP_SETATTR: the fields that attr_mask names */
	uint64_t off, len; /* bytes */
	const void *value; /* xattr value or symlink target; malloc()ed, owned by the op */
	size_t value_len;
	/*
	 * OP_WRITE: whole blocks from off rounded down to off + len rounded up, the edges merged in.
	 * OP_SETATTR with ATTR_SIZE and OP_FALLOCATE that cut inside a block: one block (head) or two
	 * (head, tail) with the zeroes in place; NULL when nothing is kept.
	 */
	struct payload *payload;
	struct op_edge head, tail;

	/* results */
	int error; /* 0 or -errno */
	uint64_t seq; /* 0: nothing was staged (an error, or nothing to do) */
	struct inode result; /* CREATE, LINK: the inode; SETATTR: the new attributes */
	uint64_t orphan; /* inode whose last name went with this op (UNLINK, RMDIR, RENAME), or 0 */

	/* what op_warm() found for the next op_decide() */
	struct store_preload *preload;
	unsigned tries;

	/* owned by the volume while queued */
	struct op *next;
	uint64_t queued_ns, staged_ns, durable_ns; /* monotonic */
	bool waits_for_data;

	/* owned by the submitter */
	void (*done)(struct op *op); /* commit thread; frees the op */
	void *req; /* the FUSE request */
	void *ctx;
};

/* Zeroed; from a free list. Any thread. */
struct op *op_new(enum op_type type);
/* Drops payload, value and preload. */
void op_free(struct op *op);

#endif
