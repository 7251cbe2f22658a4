/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE protocol where libfuse 3.14 stops: the answer to INIT is amended on its way out, flags
 * that libfuse's parser drops are taken from the raw request, and replies that it has no fields for
 * are built here. libfuse stays the parser of everything else. It never opens or mounts anything:
 * the descriptor of /dev/fuse is ours and comes in through fuse_session_custom_io().
 *
 * What is negotiated, and why:
 *   PARALLEL_DIROPS       lookups and readdir in one directory do not wait for each other
 *   HANDLE_KILLPRIV_V2    no GETXATTR before each write; clearing setuid, setgid and capabilities is
 *                         ours then, from the raw flags, in the same entry
 *   SETXATTR_EXT          tells when an ACL must clear setgid; its longer request is cut back to
 *                         what libfuse parses
 *   DIRECT_IO_ALLOW_MMAP  files opened with O_DIRECT may be mapped
 *   ALLOW_IDMAP           id-mapped mounts (pods in user namespaces)
 *   EXPLICIT_INVAL_DATA   one mount at a time: cached pages are dropped by us alone
 * Not wanted: ATOMIC_O_TRUNC (O_TRUNC then comes as SETATTR, one entry like any truncate), the
 * writeback cache (ack = op), splice (the payload is copied once, to where it stays).
 *
 * An interrupt is dropped: nothing here waits in a way that may be given up.
 */
#include "ll_impl.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

/* protocol 7.39 and 7.41; newer than the system's header */
#define FUSE_DIRECT_IO_ALLOW_MMAP_ (1ull << 36)
#define FUSE_ALLOW_IDMAP_ (1ull << 40)
#define FUSE_STATX_ 52
#define WANT_FLAGS                                                                                 \
	((uint64_t)FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT |            \
		FUSE_MAX_PAGES | FUSE_DIRECT_IO_ALLOW_MMAP_ | FUSE_ALLOW_IDMAP_)
#define FUSE_UNIQUE_RESEND_ (1ull << 63)

#define BACKGROUND_MAX 128
#define READAHEAD_BYTES (1u << 20)

/* FUSE_STATX, protocol 7.39. */
struct statx_time_ {
	int64_t tv_sec;
	uint32_t tv_nsec;
	int32_t reserved;
};

struct statx_out_ {
	uint64_t attr_valid;
	uint32_t attr_valid_nsec;
	uint32_t flags;
	uint64_t spare[2];
	struct {
		uint32_t mask;
		uint32_t blksize;
		uint64_t attributes;
		uint32_t nlink;
		uint32_t uid;
		uint32_t gid;
		uint16_t mode;
		uint16_t spare0;
		uint64_t ino;
		uint64_t size;
		uint64_t blocks;
		uint64_t attributes_mask;
		struct statx_time_ atime, btime, ctime, mtime;
		uint32_t rdev_major;
		uint32_t rdev_minor;
		uint32_t dev_major;
		uint32_t dev_minor;
		uint64_t spare2[14];
	} stat;
};
_Static_assert(sizeof(struct statx_out_) == 288, "as the kernel has it");

__thread struct ll_worker *ll_self;

/* --- INIT --- */

static void want(struct fuse_conn_info *conn, unsigned cap)
{
	conn->want |= conn->capable & cap;
}

static void on_init(void *userdata, struct fuse_conn_info *conn)
{
	conn->want = 0;
	want(conn, FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO);
	want(conn, FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO);
	want(conn, FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_EXPLICIT_INVAL_DATA);
	want(conn, FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK | FUSE_CAP_EXPORT_SUPPORT);
	want(conn, FUSE_CAP_NO_OPENDIR_SUPPORT);
	conn->max_write = WRITE_SIZE_MAX;
	conn->max_readahead = READAHEAD_BYTES;
	conn->max_background = BACKGROUND_MAX;
	conn->congestion_threshold = BACKGROUND_MAX * 3 / 4;
	conn->time_gran = 1;
}

/* Puts into libfuse's answer what libfuse does not know. */
static void amend_init(struct ll *l, struct iovec *iov, int count)
{
	struct fuse_out_header *h = iov[0].iov_base;
	struct fuse_init_out *out = count > 1 ? iov[1].iov_base : NULL;
	uint64_t flags;

	if (h->error || !out || iov[1].iov_len < sizeof(*out))
		return;
	flags = l->init_offered & WANT_FLAGS;
	if (l->taken)
		flags &= l->agreed;
	if (l->init_offered & FUSE_INIT_EXT)
		flags |= FUSE_INIT_EXT;
	out->flags |= (uint32_t)flags;
	out->flags2 = (uint32_t)(flags >> 32);
	out->max_pages = WRITE_SIZE_MAX / BLOCK_SIZE;
	if (!l->taken)
		l->agreed = out->flags | flags;
	l->setxattr_ext = flags & FUSE_SETXATTR_EXT;
	l->init_done = true;
	log_debug("fuse: offered %#llx, agreed %#llx", (unsigned long long)l->init_offered,
		(unsigned long long)(out->flags | flags));
}

/* --- the descriptor --- */

#define WRITE_HEADER (sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in))

static ssize_t hook_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	struct ll *l = userdata;
	const struct fuse_out_header *h = iov[0].iov_base;
	ssize_t n;

	if (!l->init_done && h->unique == l->init_unique)
		amend_init(l, iov, count);
	if (l->taken && h->unique == l->init_unique)
		return h->len; /* the daemon before has answered it */
	if (atomic_load_explicit(&l->kept.h->takeovers, memory_order_relaxed) &&
		atomic_load(&l->staging) && h->unique && !(h->unique & FUSE_UNIQUE_RESEND_))
		atomic_store(&l->kept.h->takeovers, 0); /* not in vain */
	n = writev(fd, iov, count);
	if (n < 0 && errno != ENOENT) {
		/* A connection that was aborted forgot its requests, in whatever words. */
		if (errno != ENODEV && !atomic_load(&l->fenced))
			log_warn("fuse: an answer was refused (%m)");
		errno = ENOENT;
	}
	return n;
}

/* The kernel answers a request with EIO if the thread it hands it to is killed while a page of the buffer is missing.
 * So none ever is; where locking is not allowed (a sanitizer's does nothing), they are all there at first. */
static void keep_present(struct ll_worker *w, void *buf, size_t len)
{
	if (!w->l->keep || w->present >= len)
		return;
	mlock(buf, len);
	memset(buf, 0, len);
	w->present = len;
}

/* The same for memory that comes and goes. Locked, and where that does nothing, at least there. */
static bool have_spare(struct ll_worker *w)
{
	if (w->spare)
		return true;
	w->spare = payload_new_spare(w->l->pool, PAYLOAD_SIZE_MAX);
	if (w->spare && w->l->keep) {
		mlock(w->spare->data, w->spare->size);
		if (madvise(w->spare->data, w->spare->size, MADV_POPULATE_WRITE))
			memset(w->spare->data, 0, w->spare->size);
	}
	return w->spare;
}

/*
 * What is written comes to lie at the beginning of a payload, so that it needs not be copied there: for a MiB that is a
 * tenth of the time that the processor has to do with it. Everything else goes where libfuse looks for it.
 */
static ssize_t read_apart(struct ll_worker *w, int fd, void *buf, size_t len)
{
	const struct fuse_in_header *h = buf;
	struct iovec iov[2] = {
		{.iov_base = buf, .iov_len = WRITE_HEADER},
		{.iov_base = w->spare->data, .iov_len = MIN(len - WRITE_HEADER, w->spare->size)},
	};
	ssize_t n;

	n = readv(fd, iov, 2);
	if (n <= (ssize_t)WRITE_HEADER)
		return n;
	w->in_spare = h->opcode == FUSE_WRITE;
	if (!w->in_spare)
		memcpy((uint8_t *)buf + WRITE_HEADER, w->spare->data, (size_t)n - WRITE_HEADER);
	return n;
}

static ssize_t hook_read(int fd, void *buf, size_t len, void *userdata)
{
	struct ll_worker *w = ll_self;

	if (w) {
		w->in_spare = false;
		keep_present(w, buf, have_spare(w) ? WRITE_HEADER : len);
		if (w->spare)
			return read_apart(w, fd, buf, len);
	}
	return read(fd, buf, len);
}

/* --- requests --- */

static void reply_raw(struct ll *l, uint64_t unique, int error, void *body, size_t len)
{
	struct fuse_out_header h = {.unique = unique, .error = error};
	struct iovec iov[2] = {
		{.iov_base = &h, .iov_len = sizeof(h)},
		{.iov_base = body, .iov_len = len},
	};

	h.len = (uint32_t)(sizeof(h) + len);
	hook_writev(l->fd, iov, len ? 2 : 1, l);
}

static struct statx_time_ statx_time(uint64_t ns)
{
	int64_t sec = (int64_t)ns / (int64_t)NS_PER_S, nsec = (int64_t)ns % (int64_t)NS_PER_S;

	if (nsec < 0) {
		nsec += (int64_t)NS_PER_S;
		sec--;
	}
	return (struct statx_time_){.tv_sec = sec, .tv_nsec = (uint32_t)nsec};
}

/* getattr with the time of birth. */
static void do_statx(struct ll *l, const struct fuse_in_header *h)
{
	struct statx_out_ out = {0};
	struct inode i;
	struct stat st;
	int ret = tree_inode(l->tree, h->nodeid, &i);

	if (ret) {
		reply_raw(l, h->unique, ret, NULL, 0);
		return;
	}
	inode_stat(&i, &st);
	out.attr_valid = (uint64_t)ll_attr_seconds(&i);
	out.stat.mask = STATX_BASIC_STATS | STATX_BTIME;
	out.stat.blksize = (uint32_t)st.st_blksize;
	out.stat.nlink = (uint32_t)st.st_nlink;
	out.stat.uid = st.st_uid;
	out.stat.gid = st.st_gid;
	out.stat.mode = (uint16_t)st.st_mode;
	out.stat.ino = st.st_ino;
	out.stat.size = (uint64_t)st.st_size;
	out.stat.blocks = (uint64_t)st.st_blocks;
	out.stat.atime = statx_time(i.atime_ns);
	out.stat.btime = statx_time(i.btime_ns);
	out.stat.ctime = statx_time(i.ctime_ns);
	out.stat.mtime = statx_time(i.mtime_ns);
	/* the kernel's own packing of 32 bits (new_encode_dev) */
	out.stat.rdev_major = (i.rdev & 0xfff00) >> 8;
	out.stat.rdev_minor = (i.rdev & 0xff) | ((i.rdev >> 12) & 0xfff00);
	reply_raw(l, h->unique, 0, &out, sizeof(out));
}

/* Cuts the extended request back to the one that libfuse parses. */
static uint32_t cut_setxattr(struct ll_worker *w, struct fuse_in_header *h)
{
	struct fuse_setxattr_in *in = (void *)(h + 1);
	uint32_t flags = in->setxattr_flags;
	uint8_t *rest = (uint8_t *)in + FUSE_COMPAT_SETXATTR_IN_SIZE;
	size_t cut = sizeof(*in) - FUSE_COMPAT_SETXATTR_IN_SIZE;

	memmove(rest, rest + cut, w->buf.size - sizeof(*h) - sizeof(*in));
	w->buf.size -= cut;
	h->len -= (uint32_t)cut;
	return flags;
}

void ll_dispatch(struct ll_worker *w)
{
	struct fuse_in_header *h = w->buf.mem;
	const void *body = h + 1;
	struct ll *l = w->l;

	w->unique = h->unique & ~FUSE_UNIQUE_RESEND_;
	w->resent = h->unique & FUSE_UNIQUE_RESEND_;
	w->raw_flags = 0;
	switch (h->opcode) {
	case FUSE_INTERRUPT:
		return;
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		fuse_session_process_buf(l->se, &w->buf);
		return;
	case FUSE_INIT: {
		struct fuse_init_in *in = (struct fuse_init_in *)(h + 1);

		l->init_unique = h->unique;
		l->init_offered = in->flags;
		if (in->flags & FUSE_INIT_EXT)
			l->init_offered |= (uint64_t)in->flags2 << 32;
		if (l->taken) { /* the kernel goes by the first answer, whatever this build would like */
			in->flags &= (uint32_t)l->agreed;
			in->flags2 &= (uint32_t)(l->agreed >> 32);
		}
		break;
	}
	case FUSE_WRITE:
		w->raw_flags = ((const struct fuse_write_in *)body)->write_flags;
		break;
	case FUSE_SETATTR:
		w->raw_flags = ((const struct fuse_setattr_in *)body)->valid;
		break;
	case FUSE_SETXATTR:
		if (l->setxattr_ext)
			w->raw_flags = cut_setxattr(w, h);
		break;
	}
	if (atomic_load(&l->fenced)) { /* after `phase` was raised: see ll_fence_begin() */
		reply_raw(l, h->unique, -EIO, NULL, 0);
		return;
	}
	if (h->opcode == FUSE_STATX_)
		do_statx(l, h);
	else
		fuse_session_process_buf(l->se, &w->buf);
}

/* --- replies --- */

uint32_t ll_open_flags(int o_flags)
{
	/* Past the page cache, and several writers of one file at once; otherwise what the kernel
	 * has cached stays valid: nobody else changes it. */
	return o_flags & O_DIRECT ? FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES
				  : FOPEN_KEEP_CACHE;
}

void ll_reply_open(fuse_req_t req, uint32_t open_flags)
{
	struct fuse_open_out out = {.open_flags = open_flags};

	fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

static void fill_attr(struct fuse_attr *a, const struct inode *i)
{
	struct stat st;

	inode_stat(i, &st);
	*a = (struct fuse_attr){
		.ino = st.st_ino,
		.size = (uint64_t)st.st_size,
		.blocks = (uint64_t)st.st_blocks,
		.atime = (uint64_t)st.st_atim.tv_sec,
		.mtime = (uint64_t)st.st_mtim.tv_sec,
		.ctime = (uint64_t)st.st_ctim.tv_sec,
		.atimensec = (uint32_t)st.st_atim.tv_nsec,
		.mtimensec = (uint32_t)st.st_mtim.tv_nsec,
		.ctimensec = (uint32_t)st.st_ctim.tv_nsec,
		.mode = st.st_mode,
		.nlink = (uint32_t)st.st_nlink,
		.uid = st.st_uid,
		.gid = st.st_gid,
		.rdev = (uint32_t)st.st_rdev,
		.blksize = (uint32_t)st.st_blksize,
	};
}

int ll_reply_create_raw(fuse_req_t req, const struct inode *i, uint32_t open_flags)
{
	struct {
		struct fuse_entry_out entry;
		struct fuse_open_out open;
	} out = {0};

	out.entry.nodeid = i->ino;
	out.entry.entry_valid = out.entry.attr_valid = (uint64_t)LL_CACHE_SECONDS;
	fill_attr(&out.entry.attr, i);
	out.open.open_flags = open_flags;
	return fuse_reply_buf(req, (const char *)&out, sizeof(out));
}

/* --- the session --- */

static void on_log(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[256];
	size_t n;

	vsnprintf(line, sizeof(line), fmt, ap);
	n = strlen(line);
	if (n && line[n - 1] == '\n')
		line[n - 1] = '\0';
	log_write(level <= FUSE_LOG_ERR	     ? LOG_LEVEL_ERROR
		  : level <= FUSE_LOG_NOTICE ? LOG_LEVEL_WARN
					     : LOG_LEVEL_DEBUG,
		"libfuse: %s", line);
}

int ll_session_new(struct ll *l, struct err *e)
{
	static const struct fuse_lowlevel_ops ops = {
		.init = on_init,
		.lookup = ll_lookup,
		.forget = ll_forget,
		.forget_multi = ll_forget_multi,
		.readlink = ll_readlink,
		.mknod = ll_mknod,
		.mkdir = ll_mkdir,
		.symlink = ll_symlink,
		.create = ll_create,
		.unlink = ll_unlink,
		.rmdir = ll_rmdir,
		.rename = ll_rename,
		.link = ll_link,
		.opendir = ll_opendir,
		.readdir = ll_readdir,
		.readdirplus = ll_readdirplus,
		.getattr = ll_getattr,
		.setattr = ll_setattr,
		.statfs = ll_statfs,
		.getxattr = ll_getxattr,
		.setxattr = ll_setxattr,
		.listxattr = ll_listxattr,
		.removexattr = ll_removexattr,
		.open = ll_open,
		.flush = ll_flush,
		.read = ll_read,
		.write = ll_write,
		.fsync = ll_fsync,
		.fsyncdir = ll_fsync,
		.fallocate = ll_fallocate,
		.lseek = ll_lseek,
		/* Answered with ENOSYS by libfuse, which the kernel remembers: locks (the kernel's
		 * own), poll, ioctl, bmap, access, copy_file_range. */
	};
	static const struct fuse_custom_io io = {.writev = hook_writev, .read = hook_read};
	char *argv[] = {"tandemfs", NULL};
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	int ret;

	fuse_set_log_func(on_log);
	l->se = fuse_session_new(&args, &ops, sizeof(ops), l);
	fuse_opt_free_args(&args);
	if (!l->se)
		return err_set(e, -ENOMEM, "libfuse made no session");
	ret = fuse_session_custom_io(l->se, &io, l->fd);
	if (ret) {
		fuse_session_destroy(l->se);
		l->se = NULL;
		return err_set(e, -EINVAL, "libfuse refused the descriptor");
	}
	return 0;
}
