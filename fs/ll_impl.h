/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the FUSE side, shared by the fs/ll_*.c files; the only ones that know libfuse.
 *
 * Threads: workers read requests, answer what only reads, and make operations of the rest; the
 * commit thread answers those (the `done` callbacks). A struct ll is counted: the owner, every
 * worker, every helper thread and every operation on its way hold a reference, so that a fence need
 * not wait for what hangs.
 */
#ifndef FS_LL_IMPL_H
#define FS_LL_IMPL_H

#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>

#include "holder.h"
#include "kept.h"
#include "ll.h"
#include "mountinfo.h"
#include "payload.h"
#include "volume.h"

#define LL_CACHE_SECONDS 1e6 /* one mount at a time: the kernel may keep what it knows */
#define LL_FSTYPE "fuse.tandemfs"
#define LL_LEAVE_SIGNAL SIGUSR2 /* interrupts a worker that waits for a request */
#define LL_READ_SIZE (WRITE_SIZE_MAX + 2 * BLOCK_SIZE)

/* Lookup counts: open addressing, linear probing, in l->kept. */
struct ll_known {
	pthread_mutex_t lock;
	struct kept_known *entries;
	size_t used, cap; /* cap: 0 or a power of two */
} __attribute__((aligned(64)));

struct ll_worker {
	struct ll *l;
	pthread_t thread;
	struct fuse_buf buf; /* one as long as the worker is */
	size_t present; /* so much of its memory, for good */
	struct payload
		*spare; /* what follows a request's first WRITE_HEADER bytes is read into it */
	bool in_spare; /* of the request at hand: a WRITE's bytes are there, not in buf */
	uint8_t *data; /* LL_READ_SIZE bytes, BLOCK_SIZE-aligned: what replies are made in */
	atomic_uint phase; /* odd while a request is at hand */
	/* ll_load.c; the worker writes, any thread reads */
	atomic_uint_fast64_t since_ns; /* of the request at hand, if it is watched; else 0 */
	atomic_uint_fast64_t ops[LL_USES], ns[LL_USES];
	/* of the request at hand, as the kernel sent it; libfuse's parser drops these */
	uint64_t unique;
	uint32_t raw_flags;
	bool resent; /* an earlier daemon had it, too */
};

struct ll {
	struct volume *v;
	struct tree *tree;
	struct segments *segments;
	struct payload_pool *pool;
	struct fuse_session *se;
	int fd; /* /dev/fuse; the session's */
	char mountpoint[4096];
	char source[VOLUME_NAME_MAX + 16];
	uint64_t mount_id;
	unsigned dev_major, dev_minor; /* of the mount; the minor names the connection */
	unsigned nthreads;
	struct ll_worker *workers; /* workers[nthreads]: what ll_mount() reads INIT with */
	atomic_uint refs, running;
	atomic_bool fenced;
	atomic_bool watched; /* the workers count what they answer */
	atomic_bool detached; /* by ll_unmount_idle() */
	/* INIT: what the kernel offers, to be amended in the answer (ll_init.c) */
	uint64_t init_unique, init_offered;
	bool init_done, setxattr_ext;
	bool ack_fsync;
	/* with a holder (ll_held.c) */
	bool held; /* it has the descriptor, too */
	bool taken; /* from the daemon before: INIT was answered by it */
	bool keep; /* the holder gets l->kept */
	atomic_bool staging; /* operations may end now; until then only reads do */
	struct kept_done *executed; /* by earlier daemons, sorted by request */
	unsigned nexecuted;
	atomic_bool leaving; /* workers end after the request at hand */
	uint64_t agreed; /* flags of the answer to INIT */
	uint32_t init_len; /* the INIT request that the holder read; 0: none */
	uint8_t init[HOLDER_INIT_MAX];
	struct kept kept; /* outlives this process, if it is with the holder */
	bool kept_lent; /* the volume's */
	struct ll_known known[KEPT_SHARDS];
};

/* The calling worker; NULL on other threads. */
extern __thread struct ll_worker *ll_self;

/* ll.c */

/* ll_init.c: the session, and everything about the protocol that libfuse does not know. */
int ll_session_new(struct ll *l, struct err *e);
/* One request that was read into w->buf: amended, answered or handed to libfuse. */
void ll_dispatch(struct ll_worker *w);
/* Answers an open with flags that struct fuse_file_info does not have. */
void ll_reply_open(fuse_req_t req, uint32_t open_flags);
/* The flags that an open with these O_ flags is answered with. */
uint32_t ll_open_flags(int o_flags);
/* Answers a create; 0 or what fuse_reply_entry() returns. */
int ll_reply_create_raw(fuse_req_t req, const struct inode *i, uint32_t open_flags);

/* ll_attr.c: for how long the kernel may keep an inode's attributes. Not while blocks that are dead
 * already are counted in st_blocks, because it is not told when they are gone. */
double ll_attr_seconds(const struct inode *i);

/* ll_load.c: around a request, by its worker. 0: it does not count. */
uint64_t ll_load_begin(struct ll_worker *w);
void ll_load_end(struct ll_worker *w, uint64_t began);

/* ll_known.c */
int ll_known_init(struct ll *l);
void ll_known_free(struct ll *l);
void ll_known_add(struct ll *l, uint64_t ino, uint64_t n);
void ll_known_sub(struct ll *l, uint64_t ino, uint64_t n);
/* Adds what a daemon before left. No other thread may be at work. */
void ll_known_load(struct ll *l, const struct kept *from);
/* The inode's last name is gone. */
void ll_known_orphan(struct ll *l, uint64_t ino);
/* How many inodes. No other thread may be at work. */
size_t ll_known_count(struct ll *l);
/* Copies all numbers; the caller frees *ret. -ENOMEM. */
int ll_known_list(struct ll *l, uint64_t **ret, size_t *ret_n);

/* ll_mount.c: the mount table and what hangs. */
/* What is mounted at the path, the topmost when there are several. */
int ll_mount_find(const char *path, struct mountinfo_mount *ret_m);
int ll_mount_attach(struct ll *l, const struct ll_config *cfg, struct err *e);
/* Takes away what a dead process left on l->mountpoint; then it must be empty. */
int ll_mount_clear(struct ll *l, struct err *e);
/* Aborts the connection and takes the mount away; lazily, whoever uses it. May hang. */
void ll_mount_force(struct ll *l);
/* Unmounts when nobody uses it. */
int ll_mount_detach_idle(struct ll *l);

/* ll_held.c */
/* Takes over what the holder has, or has it mount (unless cfg->fenced: -ENOENT): fills l->fd, mount_id, init. */
int ll_held_attach(struct ll *l, const struct ll_config *cfg, uint64_t flags, const char *options,
	struct err *e);
/* After INIT, before any other request is read: from now on this process may be killed. */
int ll_held_keep(struct ll *l, struct holder *h, const struct uuid *volume, struct err *e);
/* After the INIT of a mount that was taken over: the kernel sends again what nobody answered. */
int ll_held_resend(struct ll *l, struct err *e);

/* Helpers for the callbacks. */

static inline struct ll *ll_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* An operation for this request, with a reference to l; `done` ends with ll_op_end(). */
struct op *ll_op_new(fuse_req_t req, enum op_type type, void (*done)(struct op *op));
void ll_op_end(struct op *op);
/* Copies a name; -ENAMETOOLONG. */
int ll_op_name(char *dst, const char *name);
/* Hands over an operation whose old bytes were read with op_read_edges(), which said `ret`. */
void ll_op_submit(struct op *op, int ret);
/* Ends an operation that is not submitted, with an error for the kernel. */
void ll_op_refuse(struct op *op, int error);
/* `done` for what is answered with 0 or an error; marks an orphan. */
void ll_done_err(struct op *op);
/* Answers with an entry, the lookup count raised. */
void ll_reply_entry(struct ll *l, fuse_req_t req, const struct inode *i);

/* Callbacks, by file. */
void ll_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ll_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void ll_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void ll_readlink(fuse_req_t req, fuse_ino_t ino);
void ll_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void ll_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void ll_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void ll_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi);
void ll_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ll_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ll_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	const char *newname, unsigned flags);
void ll_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname);

void ll_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ll_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ll_readdirplus(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);

void ll_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ll_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void ll_statfs(fuse_req_t req, fuse_ino_t ino);
void ll_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void ll_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
	int flags);
void ll_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void ll_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

void ll_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ll_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ll_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void ll_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ll_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi);
void ll_fallocate(
	fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi);
void ll_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);

#endif
