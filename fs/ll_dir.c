/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading directories. A position is 0 at the start, 1 behind ".", 2 behind "..", and the entry's
 * stable cookie + 2 behind an entry, so that a reader goes on where it was, whatever was created or
 * removed meanwhile.
 *
 * READDIRPLUS raises the lookup count of each inode that goes into the answer; "." and ".." go
 * without a node id, as the kernel wants them. opendir is answered with ENOSYS once: no more such
 * messages, and the kernel keeps what it read.
 */
#include "ll_impl.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>

struct fill {
	struct ll *l;
	fuse_req_t req;
	char *buf;
	size_t size, used;
	bool plus;
	int error;
};

/* 1 when there is no more room. */
static int fill_one(struct fill *f, const char *name, const struct fuse_entry_param *p, off_t next)
{
	size_t room = f->size - f->used, n;

	if (f->plus)
		n = fuse_add_direntry_plus(f->req, f->buf + f->used, room, name, p, next);
	else
		n = fuse_add_direntry(f->req, f->buf + f->used, room, name, &p->attr, next);
	if (n > room)
		return 1;
	f->used += n;
	return 0;
}

static uint32_t mode_of_type(uint32_t type)
{
	return type <= 15 ? type << 12 : type & S_IFMT;
}

static int fill_entry(void *ctx, const char *name, uint64_t ino, uint32_t type, uint64_t cookie)
{
	struct fuse_entry_param p = {
		.attr_timeout = LL_CACHE_SECONDS,
		.entry_timeout = LL_CACHE_SECONDS,
	};
	struct fill *f = ctx;
	struct inode i;
	int ret;

	p.attr.st_ino = ino;
	p.attr.st_mode = mode_of_type(type);
	if (f->plus) {
		ret = tree_inode(f->l->tree, ino, &i);
		if (ret == -ENOENT)
			return 0; /* unlinked since its name was read */
		if (ret) {
			f->error = ret;
			return 1;
		}
		p.ino = ino;
		p.attr_timeout = ll_attr_seconds(&i);
		inode_stat(&i, &p.attr);
	}
	ret = fill_one(f, name, &p, (off_t)(cookie + 2));
	if (!ret && f->plus)
		ll_known_add(f->l, ino, 1);
	return ret;
}

static int fill_dots(struct fill *f, const struct inode *dir, off_t off)
{
	struct fuse_entry_param p = {0};
	struct inode parent = *dir;
	int full = 0;

	if (off == 0) {
		inode_stat(dir, &p.attr);
		full = fill_one(f, ".", &p, 1);
	}
	if (off <= 1 && !full) {
		if (dir->ino != ROOT_INO)
			tree_inode(f->l->tree, dir->parent, &parent);
		inode_stat(&parent, &p.attr);
		full = fill_one(f, "..", &p, 2);
	}
	return full;
}

/* The kernel did not take the answer: it knows none of it. */
static void undo(struct fill *f)
{
	for (size_t at = 0; f->plus && at < f->used;) {
		const struct fuse_direntplus *d = (const void *)(f->buf + at);

		if (d->entry_out.nodeid)
			ll_known_sub(f->l, d->entry_out.nodeid, 1);
		at += FUSE_DIRENTPLUS_SIZE(d);
	}
}

static void read_dir(fuse_req_t req, uint64_t ino, size_t size, off_t off, bool plus)
{
	struct fill f = {
		.l = ll_of(req),
		.req = req,
		.buf = (char *)ll_self->data,
		.size = size < LL_READ_SIZE ? size : LL_READ_SIZE,
		.plus = plus,
	};
	struct inode dir;
	int ret = tree_inode(f.l->tree, ino, &dir);

	if (!ret && !S_ISDIR(dir.mode))
		ret = -ENOTDIR;
	if (!ret && off < 0)
		ret = -EINVAL;
	if (!ret && !fill_dots(&f, &dir, off)) {
		uint64_t cookie = off > 2 ? (uint64_t)off - 2 : 0;

		ret = tree_readdir(f.l->tree, ino, cookie, fill_entry, &f);
		if (ret > 0)
			ret = 0;
	}
	if (!ret && f.error && !f.used)
		ret = f.error;
	if (ret) {
		undo(&f);
		fuse_reply_err(req, -ret);
	} else if (fuse_reply_buf(req, f.buf, f.used)) {
		undo(&f);
	}
}

void ll_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fuse_reply_err(req, ENOSYS);
}

void ll_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, ino, size, off, false);
}

void ll_readdirplus(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_dir(req, ino, size, off, true);
}
