/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A filesystem without FUSE, ring or peer: operations go through decide, warm, edges and apply as on
 * an active, data lies in a table in memory, and every entry is kept for replaying.
 */
#ifndef TEST_META_RIG_H
#define TEST_META_RIG_H

#include "apply.h"

struct rig_entry {
	struct entry_header h;
	uint8_t *body;
};

struct rig {
	struct store *store;
	struct tree *tree;
	struct uuid volume;
	struct epoch epoch;
	uint64_t now_ns, next_block, free_blocks;
	struct pos end;
	struct rig_entry *log;
	size_t nlog, log_size;
	uint8_t **blocks; /* data of epoch 1 by address */
	size_t nblocks;
	unsigned warms; /* decisions that were sent to a helper */
	unsigned stale; /* of them with stale edges */
	unsigned reaps;
	bool lazy; /* put the transaction into the memtable now and then only */
	char path[64];
};

#define RIG_SIZE_BLOCKS (1ull << 20)

/* An in-memory store. */
void rig_open(struct rig *r);
/* A store below a new directory in /tmp; `cache`: bytes of block cache. */
void rig_open_disk(struct rig *r, size_t cache);
void rig_close(struct rig *r);
/* Closes and opens the store again: what was not flushed is gone. */
void rig_reopen(struct rig *r, size_t cache);
void rig_flush(struct rig *r);

/* Runs the operation to its end; 0 or -errno. The op stays the caller's. */
int rig_run(struct rig *r, struct op *op);
/* The same, and frees it. */
int rig_do(struct rig *r, struct op *op);
/* Decides only. */
int rig_decide(struct rig *r, struct op *op);
/* Reaps until nothing is left; in_use may be NULL (nothing is). Returns the entries it took. */
unsigned rig_reap(struct rig *r, bool (*in_use)(void *ctx, uint64_t ino), void *ctx);
/* Applies the entries of `from`, beginning with number `at`, to another rig's tree. */
int rig_replay(struct rig *to, const struct rig *from, size_t at);

struct op *rig_op_create(uint64_t parent, const char *name, uint32_t mode);
struct op *rig_op_name(enum op_type type, uint64_t parent, const char *name);
struct op *rig_op_rename(
	uint64_t parent, const char *name, uint64_t newparent, const char *newname, uint32_t flags);
struct op *rig_op_link(uint64_t ino, uint64_t newparent, const char *newname);
struct op *rig_op_write(uint64_t ino, uint64_t off, const void *bytes, size_t len);
struct op *rig_op_truncate(uint64_t ino, uint64_t size);
struct op *rig_op_fallocate(uint64_t ino, uint32_t mode, uint64_t off, uint64_t len);
struct op *rig_op_setxattr(
	uint64_t ino, const char *name, const void *v, size_t len, uint32_t flags);

/* Create and return the inode's number; the test fails when it fails. */
uint64_t rig_create(struct rig *r, uint64_t parent, const char *name, uint32_t mode);
struct inode rig_inode(struct rig *r, uint64_t ino);
/* Reads bytes as a FUSE worker would, checksums verified. Returns the bytes read, or -errno. */
long rig_read(struct rig *r, uint64_t ino, uint64_t off, void *buf, size_t len);
/* Fails the test when tree_check() finds something. */
void rig_check(struct rig *r);
/* Counts problems; the first one's text goes to buf. */
uint64_t rig_problems(struct rig *r, char *buf, size_t size);

uint64_t rig_random(uint64_t *state);

#endif
