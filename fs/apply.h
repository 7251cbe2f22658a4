/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filesystem's state and the two ways it changes: op_decide() turns a request into an entry,
 * apply_entry() turns an entry into changed keys. apply_entry() is a const table from entry type to
 * function, used live, on the standby and at recovery alike; it asks nothing but the old values of
 * the keys it rewrites, so the three cannot differ.
 *
 * One thread changes a struct tree at a time: the commit thread on an active, the apply thread on a
 * standby, the starting thread at recovery. The read functions may be called from any thread; they
 * see everything that was written with tree_flush_txn().
 */
#ifndef FS_APPLY_H
#define FS_APPLY_H

#include "op.h"
#include "store.h"

struct tree;

struct tree_info { /* counters; any thread, each field atomically read */
	uint64_t size_blocks; /* the volume's size in blocks */
	uint64_t used_blocks; /* mapped data blocks (dead ones count until they are reaped) */
	uint64_t inodes, next_ino;
	struct pos applied;
	struct epoch applied_epoch;
	uint64_t data_seq; /* payloads up to here were synced before the last flush began */
};

/* Writes superblock and root directory into an empty store and flushes it durably. All replicas do
 * this with the same arguments and hold the same bytes afterwards. */
int tree_format(struct store *s, const struct uuid *volume, uint64_t size_blocks, uint64_t time_ns,
	uint32_t root_mode, uint32_t root_uid, uint32_t root_gid, struct err *e);
/* Right after that: a directory in the root, which has its owner, mode and times. */
int tree_format_directory(struct store *s, const char *name, struct err *e);
/* Reads the superblock. -ENOENT (not formatted), -EBADMSG, -EPROTONOSUPPORT (newer format). */
int tree_open(struct store *s, const struct uuid *volume, struct tree **ret_t, struct err *e);
void tree_close(struct tree *t);
void tree_info(const struct tree *t, struct tree_info *ret_i);

/* --- decide (the active's commit thread) --- */

struct decide_ctx {
	uint64_t seq; /* that the entry will have */
	uint64_t now_ns; /* real time */
	uint32_t epoch_num; /* addresses are assigned in this epoch's segments, */
	uint64_t next_block; /* from this block on; raised by what is assigned */
	uint64_t room_blocks; /* data blocks that the disks have room for, about: for fallocate */
	uint64_t free_blocks; /* that may still be written; UINT64_MAX: the grant alone says */
	/* Addresses may be assigned below `limit_block` (the smallest grant), by what makes room; and by what
	 * takes some, a little less, so that a truncate still finds the block that it cuts. */
	bool limited;
	uint64_t limit_block;
	bool full; /* waiting for a higher limit is of no use now */
};

/* The entry that an operation became. Body pieces: iov[0] is scratch owned by the tree and valid
 * until the next op_decide(); iov[1] an inline payload, borrowed from the op. */
struct decision {
	uint16_t type;
	struct iovec iov[3];
	unsigned niov;
	struct addr addr; /* of the payload: addr.epoch 0 when the entry has none */
	uint32_t addr_blocks;
	bool external; /* the payload is not in the body: it must be written to addr, durably,
				   by both sides before commit */
	uint32_t payload_crc; /* CRC-32C of the whole payload when external */
};

/*
 * 0: *ret_d is the entry to write; nothing is changed yet, apply_entry() does that.
 * 1: nothing to do; the op is finished with success (its result fields are set).
 * -EAGAIN: send it to a helper (op_warm). Other -errno: the operation's error; no effects.
 * -ENOBUFS: the next addresses are not granted yet; decide again when they are.
 * -EINPROGRESS: the inode's list of dead ranges is full: stage what op_next_reap() hands out (it
 * begins with this inode) and decide again.
 * A payload's run of blocks never crosses a data segment's border.
 */
int op_decide(struct tree *t, struct op *op, struct decide_ctx *c, struct decision *ret_d);
/* Reads what op_decide() needs into op->preload; a helper thread. The edges are the caller's part:
 * *ret_edges_stale says that head or tail no longer match the current map. */
int op_warm(struct tree *t, struct op *op, bool *ret_edges_stale);

/* --- apply --- */

/*
 * Makes the change of a verified entry in the tree's transaction and sets the applied position.
 * -EBADMSG: the body is malformed or contradicts the state (corruption); -EIO. On the active it is
 * called right after op_decide() with the bytes that went into the batch, and `op` (may be NULL
 * elsewhere) to have its result fields set.
 */
int apply_entry(struct tree *t, const struct entry *e, struct op *op);
/* Puts the transaction into the memtable. 0 or -EIO (final). */
int tree_flush_txn(struct tree *t);
/*
 * Space that no file maps any more, so that its segments can be punched; each replica for itself.
 * Off until tree_keep_freed(); then the runs that apply_entry() frees are gathered in memory.
 * tree_write_freed(), to be called before each store_flush_begin(), puts them into the transaction
 * under the applied seq, so that the flush that makes them dead also remembers them: a crash loses
 * none, because what was not flushed is applied, and freed, again. The thread that applies.
 */
void tree_keep_freed(struct tree *t);
void tree_write_freed(struct tree *t);
/* Blocks that were freed and are not yet reported as punched. Any thread. */
uint64_t tree_freed_blocks(const struct tree *t);
/*
 * Calls fn for each run that was remembered at a seq up to `seq`, neighbours merged within one
 * checkpoint, until it returns non-zero, which is returned. `seq` must be flushed, and should be
 * the flushed data_seq: above that recovery writes payloads again. Any thread; reads the disk.
 */
int tree_freed(struct tree *t, uint64_t seq, int (*fn)(void *ctx, struct addr a, uint32_t blocks),
	void *ctx);
/* They are punched: forgets them, with the next transaction. The thread that applies. */
int tree_freed_done(struct tree *t, uint64_t seq);
/* Records that payloads up to seq are synced; written with the next transaction. */
void tree_set_data_seq(struct tree *t, uint64_t seq);
/* The position in RocksDB's files. */
int tree_persisted(struct tree *t, struct pos *ret_pos, uint64_t *ret_data_seq);

/* The payload that a verified entry names. true when it has one. */
struct entry_payload {
	struct addr addr;
	uint32_t blocks;
	bool external;
	const uint8_t *bytes; /* inline: inside the entry's body; else NULL */
	uint32_t crc; /* of the whole payload when external */
};
bool apply_payload(const struct entry *e, struct entry_payload *ret_p);
/* One line of text for `tandemfs dump`. */
void apply_describe(const struct entry *e, char *buf, size_t size);

/* --- reaping (active) --- */

/* Fills an OP_REAP with the next bounded step: orphans that nobody uses, and dead ranges. `in_use`
 * says whether the kernel still knows an inode. false: nothing to do now. Commit thread. */
bool op_next_reap(
	struct tree *t, bool (*in_use)(void *ctx, uint64_t ino), void *ctx, struct op *op);
/* Whether a file got its first dead range since the last call. No inode is forgotten after a truncate
 * or a punch, so nothing else says that there is work. An orphan's turn comes when it is forgotten.
 * Commit thread. */
bool tree_has_new_garbage(struct tree *t);
/* The kernel forgot an orphan: it may be reaped now. Commit thread. */
void tree_forgotten(struct tree *t, uint64_t ino);
/* After recovery or promotion: finds all orphans and dead ranges that wait. May read the disk. */
int tree_find_garbage(struct tree *t);

/* --- reading (any thread; may read the disk) --- */

int tree_inode(struct tree *t, uint64_t ino, struct inode *ret_i);
int tree_lookup(struct tree *t, uint64_t parent, const char *name, struct inode *ret_i);
/* Calls fn for each name after `cookie` (0: from the start) until it returns non-zero. "." and ".."
 * are the caller's. */
int tree_readdir(struct tree *t, uint64_t dir, uint64_t cookie,
	int (*fn)(void *ctx, const char *name, uint64_t ino, uint32_t type, uint64_t cookie),
	void *ctx);
/* Fills extents (holes included, in order, covering [first, first + blocks) exactly) and the
 * checksums of each block (crcs[i] for file block first + i; 0 in holes). Returns the number of
 * extents (at most max; fewer blocks are covered when max is reached) or -errno. */
int tree_map(struct tree *t, const struct inode *i, uint64_t first, uint32_t blocks,
	struct extent *extents, unsigned max, uint32_t *crcs);
int tree_xattr_get(
	struct tree *t, uint64_t ino, const char *name, void *buf, size_t size, size_t *ret_len);
/* Names, each with its terminating zero, as listxattr(2) wants them. */
int tree_xattr_list(struct tree *t, uint64_t ino, char *buf, size_t size, size_t *ret_len);
/* The target, without a terminating zero; *ret_len is its full length. -EINVAL: not a symlink. */
int tree_readlink(struct tree *t, uint64_t ino, char *buf, size_t size, size_t *ret_len);
/* A path from the root that leads to the inode, for messages; "." is the root. Walks all names of the
 * volume: no FUSE worker. `size` more than NAME_LEN_MAX. -ENOENT: no name leads there. */
int tree_path(struct tree *t, uint64_t ino, char *buf, size_t size);
/* SEEK_DATA or SEEK_HOLE. 0, -ENXIO. */
int tree_seek(struct tree *t, const struct inode *i, uint64_t off, int whence, uint64_t *ret_off);

/* --- checking --- */

struct tree_check {
	uint64_t inodes, dirents, extents, orphans, problems;
	void (*problem)(void *ctx, const char *text); /* each problem, in words */
	/* Each mapped run with its block checksums; NULL to leave the data unread. */
	int (*extent)(void *ctx, uint64_t ino, const struct extent *x, const uint32_t *crcs);
	void *ctx;
};
/* Walks everything: link counts, names to inodes and back, cookies, parents, sizes, block counts,
 * accounting, overlapping addresses, orphans. 0 also when problems were found (they are counted). */
int tree_check(struct tree *t, struct tree_check *c);
/* Calls fn for each live run of data blocks of all files, in the order of inodes and file blocks, cut at
 * the border of a data segment, until it returns non-zero, which is returned. -EBADMSG: damage. The
 * state must not change meanwhile. Any thread. */
int tree_extents(struct tree *t,
	int (*fn)(void *ctx, uint64_t ino, const struct extent *x, const uint32_t *crcs),
	void *ctx);
/* A digest over the whole logical state (not over RocksDB's files), equal on equal replicas. It
 * detects differences; it is no cryptographic hash. */
int tree_digest(struct tree *t, uint8_t ret_sha[32]);

#endif
