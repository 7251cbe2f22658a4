/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the filesystem's state, shared by the fs/tree*.c, fs/apply*.c and fs/op_*.c files.
 *
 * Everything in a struct tree belongs to the one thread that changes it; the superblock's fields are
 * also read by others, so they are stored and loaded atomically. A struct view is how code reads
 * metadata on its way to a decision: through the transaction (commit thread, memory only), or
 * through a preload that it fills on the way (a helper, which may read the disk).
 */
#ifndef FS_TREE_IMPL_H
#define FS_TREE_IMPL_H

#include <errno.h>

#include "apply.h"
#include "blockmap.h"
#include "body.h"
#include "keys.h"

#define FIRST_COOKIE 3u /* 1 and 2 are for "." and ".." */
#define LINKS_MAX 65000u /* names of a file */
#define SUBDIRS_MAX 0x7fffffffu
#define TREE_DEPTH_MAX 100000u /* deeper is a loop, hence damage */

enum garbage_kind { GARBAGE_ORPHAN, GARBAGE_DEAD };

struct garbage_item {
	uint64_t ino;
	enum garbage_kind kind;
	uint64_t seq; /* of the dead range that `resume` is about */
	uint64_t resume; /* next chunk to look at */
};

/* What waits to be reaped; kept on an active only. */
struct garbage {
	bool active;
	bool dead_added; /* since tree_has_new_garbage() was asked */
	struct garbage_item *queue; /* a circle */
	uint32_t head, count, size;
	uint64_t *in_use; /* orphans that the kernel still knows: a set, 0 is an empty place */
	uint32_t in_use_count, in_use_size;
	uint64_t urgent; /* the inode whose list of dead ranges is full, or 0 */
};

/* A run of blocks without an owner. */
struct freed_run {
	uint64_t block;
	uint32_t epoch, blocks;
};

/* Freed since the last tree_write_freed(). */
struct freed {
	bool on;
	struct freed_run *runs;
	size_t n, size;
	uint64_t blocks; /* of these and of the remembered ones; atomic */
	uint64_t
		done; /* lists up to this seq are taken off, though the store may have them still; atomic */
};

struct tree {
	struct store *store;
	struct txn *txn;
	struct super sb;
	bool sb_dirty;
	bool broken; /* an entry failed halfway: the transaction must never be written */
	uint8_t *scratch; /* BODY_SIZE_MAX */
	struct freed freed;
	struct garbage garbage;
};

#define SB_GET(t, field) __atomic_load_n(&(t)->sb.field, __ATOMIC_RELAXED)
#define SB_SET(t, field, v) __atomic_store_n(&(t)->sb.field, (v), __ATOMIC_RELAXED)

struct view {
	struct tree *t;
	struct store_preload *p; /* NULL: the transaction */
	bool edges_stale; /* set by a warming run */
};

static inline bool view_warms(const struct view *v)
{
	return v->p != NULL;
}

/* 0, -ENOENT, -EAGAIN, -EIO, and -EBADMSG for a damaged value. */
int view_get(struct view *v, const struct key *k, const uint8_t **ret_v, size_t *ret_len);
int view_inode(struct view *v, uint64_t ino, struct inode *ret_i);
int view_dirent(
	struct view *v, uint64_t parent, const char *name, size_t nlen, struct dirent_value *ret_d);
int view_xattr(struct view *v, uint64_t ino, const char *name, size_t nlen, const uint8_t **ret_v,
	size_t *ret_len);
/* A missing chunk is an empty one. */
int view_chunk(struct view *v, uint64_t ino, uint64_t number, struct chunk *ret_c);

void put_inode(struct tree *t, const struct inode *i);
void put_dirent(struct tree *t, uint64_t parent, const char *name, size_t nlen, uint64_t ino,
	uint32_t mode, uint64_t cookie);
void delete_dirent(struct tree *t, uint64_t parent, const char *name, size_t nlen, uint64_t cookie);
void put_plain(struct tree *t, const struct key *k, const void *bytes, size_t n);
void put_seq(struct tree *t, char family, uint64_t ino, uint64_t seq);
void delete_ino(struct tree *t, char family, uint64_t ino);
void put_chunk(struct tree *t, uint64_t ino, uint64_t number, const struct chunk *c);

/* --- apply --- */

struct apply {
	struct tree *t;
	struct view v;
	const struct entry *e;
	struct op *op; /* or NULL */
};

int apply_create(struct apply *a);
int apply_unlink(struct apply *a);
int apply_rmdir(struct apply *a);
int apply_rename(struct apply *a);
int apply_link(struct apply *a);
int apply_change(struct apply *a);
int apply_reap(struct apply *a);
int apply_resize(struct apply *a);
/* Missing state is a contradiction. */
static inline int apply_must(int r)
{
	return r == -ENOENT ? -EBADMSG : r;
}
/* A freed_fn; ctx is the struct apply. In tree_freed.c. */
void apply_freed(void *ctx, const struct chunk_block *b);
/* Calls fn for each run of an 'F' value. -EBADMSG when it is damaged. */
int freed_decode(const struct key *k, const uint8_t *v, size_t len,
	int (*fn)(void *ctx, struct addr a, uint32_t blocks), void *ctx);
/* Counts what was remembered before this start. */
int freed_open(struct tree *t);
/* Sets or removes attributes and keeps the inode's counts and flags. */
int apply_xattrs(struct apply *a, struct inode *i, const struct body_xattrs *xs);

/* --- decide --- */

struct decide {
	struct view v;
	struct op *op;
	struct decide_ctx *c;
	struct decision *d;
	uint8_t *scratch;
};

/* Each: 0, 1, -errno as op_decide(). */
int decide_create(struct decide *d);
int decide_unlink(struct decide *d);
int decide_rename(struct decide *d);
int decide_link(struct decide *d);
int decide_setattr(struct decide *d);
int decide_write(struct decide *d);
int decide_fallocate(struct decide *d);
int decide_setxattr(struct decide *d);
int decide_reap(struct decide *d);
int decide_resize(struct decide *d);

/* A body of n bytes in scratch is the whole entry. */
int decide_finish(struct decide *d, size_t n);
/* The entry of a change whose data, if any, are the first blocks of op->payload: checks space,
 * reads the chunks that it touches, assigns addresses and checksums, encodes. */
int decide_change(struct decide *d, const struct inode *i, struct body_change *b);
/* Unmaps file blocks [from, to): at once when they are few, else as a dead range. */
int decide_hole(
	struct decide *d, const struct inode *i, struct body_change *b, uint64_t from, uint64_t to);
/* 1: the block is mapped at the edge's address; 0: it is a hole, and the edge says so. -EAGAIN:
 * the edge is missing or stale. */
int decide_edge(struct decide *d, const struct inode *i, const struct op_edge *e, uint64_t block);
/* Capabilities go with every write, truncate and chown; `bits`: setuid and setgid go too. */
int decide_kill_priv(struct decide *d, const struct inode *i, struct body_change *b, bool bits);
/* Notes that the attribute goes, if it is there. */
int decide_remove_xattr(
	struct decide *d, const struct inode *i, struct body_change *b, const char *name);

/* --- edges --- */

/* Where the bytes of a block come from; read: 0, -EBADMSG (the checksum is wrong), -EIO. */
struct edge_source {
	int (*read)(void *ctx, struct addr a, uint8_t *buf, uint32_t crc);
	void *ctx;
};

/* op_read_edges() over any source. */
int edges_read(
	struct tree *t, const struct edge_source *s, struct payload_pool *pool, struct op *op);

/* --- garbage --- */

void garbage_add(struct tree *t, uint64_t ino, enum garbage_kind kind);
void garbage_requeue(struct tree *t, const struct garbage_item *g);
void garbage_free(struct garbage *g);
/* OP_REAP in a warming run: lists what the items of its plan still have. */
int reap_list(struct view *v, struct op *op);

#endif
