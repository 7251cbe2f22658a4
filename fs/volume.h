/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume on this node: the commit thread, sole owner of ring, core, sockets and (on the active)
 * of the tree's changes. What FUSE workers may call is marked "any thread".
 */
#ifndef FS_VOLUME_H
#define FS_VOLUME_H

#include "apply.h"
#include "config.h"
#include "op.h"
#include "payload.h"
#include "segments.h"

struct volume;

/* Work for a job thread; `done` then runs on the commit thread. */
struct job {
	void (*run)(struct job *j);
	void (*done)(struct job *j);
	struct job *next;
	struct volume *v;
};

/* --- for the FUSE side; any thread --- */

/* Queues an operation; never blocks. op->done() runs on the commit thread when it is committed (or
 * failed). After a fence everything ends with -EIO. */
void volume_submit(struct volume *v, struct op *op);
struct tree *volume_tree(struct volume *v);
struct segments *volume_segments(struct volume *v);
/* A payload buffer for a write of `size` bytes; NULL when the pool is full: then
 * volume_park() takes the bytes. */
struct payload_pool *volume_pool(struct volume *v);
/*
 * Takes an OP_WRITE whose bytes found no room in the pool: they are written to the scratch file
 * (bytes are copied; len at most WRITE_SIZE_MAX) and the op is queued, its edges merged, when there
 * is room again. Never waits for memory or the peer. -ENOSPC when that would take the reserve
 * of the disk (space_meta_reserve()), or the scratch file cannot grow.
 */
int volume_park(struct volume *v, struct op *op, const void *bytes);
/* The kernel's last reference to an inode is gone (forget). Any thread. */
void volume_forgotten(struct volume *v, uint64_t ino);
/* What statfs answers: the smaller of both sides, in blocks and inodes. */
struct volume_space {
	uint64_t blocks, blocks_free, inodes, inodes_free;
};
void volume_space(struct volume *v, struct volume_space *ret_s);
/* Fills op->payload's edge blocks from what is mapped now and records from where (op->head,
 * op->tail): for OP_WRITE, OP_SETATTR with a size, OP_FALLOCATE. May read the disk. In fs/edge.c. */
int op_read_edges(struct tree *t, struct segments *s, struct payload_pool *pool, struct op *op);

/* --- damaged blocks; any thread (repair.h) --- */

struct repair;
/* Asks the other replicas for what is damaged here; r->again() is called in any case. */
void volume_repair(struct volume *v, struct repair *r);
/* Takes an operation whose op_read_edges() failed with `error`: when a damaged block is the reason it is
 * repaired and the op queued; else, or if that fails, the op is answered with the error. */
void volume_repair_edges(struct volume *v, struct op *op, int error);

/* --- the program --- */

/* Recovers, listens, and runs until SIGTERM or SIGINT. Returns the exit status; does not return when
 * the process starts again in place (argv is kept for that). */
int volume_run(const struct config *cfg, char **argv);

#endif
