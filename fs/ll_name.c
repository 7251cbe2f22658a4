/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names: lookup, making and removing, links, forget. Lookup counts are raised before the reply that
 * tells the kernel of an inode, and lowered again when the kernel did not take it (the request was
 * aborted meanwhile).
 */
#include "ll_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ll_reply_entry(struct ll *l, fuse_req_t req, const struct inode *i)
{
	struct fuse_entry_param p = {
		.ino = i->ino,
		.attr_timeout = ll_attr_seconds(i),
		.entry_timeout = LL_CACHE_SECONDS,
	};

	inode_stat(i, &p.attr);
	ll_known_add(l, i->ino, 1);
	if (fuse_reply_entry(req, &p))
		ll_known_sub(l, i->ino, 1);
}

/* "." and ".." are asked by those who hold a file handle (EXPORT_SUPPORT). */
static int lookup_inode(struct ll *l, uint64_t parent, const char *name, struct inode *ret_i)
{
	int ret;

	if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
		if (strlen(name) > NAME_LEN_MAX)
			return -ENAMETOOLONG;
		return tree_lookup(l->tree, parent, name, ret_i);
	}
	ret = tree_inode(l->tree, parent, ret_i);
	if (!ret && name[1] == '.' && S_ISDIR(ret_i->mode) && parent != ROOT_INO)
		ret = tree_inode(l->tree, ret_i->parent, ret_i);
	if (!ret && !ret_i->nlink)
		ret = -ESTALE;
	return ret == -ENOENT ? -ESTALE : ret;
}

void ll_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct fuse_entry_param absent = {.entry_timeout = LL_CACHE_SECONDS};
	struct ll *l = ll_of(req);
	struct inode i;
	int ret = lookup_inode(l, parent, name, &i);

	if (ret == -ENOENT)
		fuse_reply_entry(req, &absent);
	else if (ret)
		fuse_reply_err(req, -ret);
	else
		ll_reply_entry(l, req, &i);
}

void ll_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
	ll_known_sub(ll_of(req), ino, n);
	fuse_reply_none(req);
}

void ll_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		ll_known_sub(ll_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

void ll_readlink(fuse_req_t req, fuse_ino_t ino)
{
	char target[SYMLINK_LEN_MAX + 1];
	size_t len;
	int ret = tree_readlink(ll_of(req)->tree, ino, target, sizeof(target) - 1, &len);

	if (ret) {
		fuse_reply_err(req, -ret);
		return;
	}
	target[len < sizeof(target) ? len : sizeof(target) - 1] = '\0';
	fuse_reply_readlink(req, target);
}

/* --- making --- */

static void done_entry(struct op *op)
{
	if (op->error)
		fuse_reply_err(op->req, -op->error);
	else
		ll_reply_entry(op->ctx, op->req, &op->result);
	ll_op_end(op);
}

static void done_create(struct op *op)
{
	struct ll *l = op->ctx;

	if (op->error) {
		fuse_reply_err(op->req, -op->error);
	} else {
		uint64_t ino = op->result.ino;

		ll_known_add(l, ino, 1);
		if (ll_reply_create_raw(op->req, &op->result, ll_open_flags((int)op->flags)))
			ll_known_sub(l, ino, 1);
	}
	ll_op_end(op);
}

static struct op *make(fuse_req_t req, uint64_t parent, const char *name, uint32_t mode,
	void (*done)(struct op *op))
{
	struct op *op = ll_op_new(req, OP_CREATE, done);
	int ret = ll_op_name(op->name, name);

	if (ret) {
		ll_op_refuse(op, ret);
		return NULL;
	}
	op->parent = parent;
	op->mode = mode;
	return op;
}

void ll_create(
	fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi)
{
	struct op *op = make(req, parent, name, S_IFREG | (mode & 07777), done_create);

	if (!op)
		return;
	op->flags = (uint32_t)fi->flags; /* for the reply; op_decide() does not look at it */
	volume_submit(ll_of(req)->v, op);
}

void ll_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	struct op *op = make(req, parent, name, mode & S_IFMT ? mode : S_IFREG | mode, done_entry);

	if (!op)
		return;
	op->rdev = (uint32_t)rdev;
	volume_submit(ll_of(req)->v, op);
}

void ll_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct op *op = make(req, parent, name, S_IFDIR | (mode & 07777), done_entry);

	if (op)
		volume_submit(ll_of(req)->v, op);
}

void ll_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	struct op *op = make(req, parent, name, S_IFLNK | 0777, done_entry);
	size_t len = strlen(target);

	if (!op)
		return;
	if (!len || len > SYMLINK_LEN_MAX) {
		ll_op_refuse(op, len ? -ENAMETOOLONG : -ENOENT);
		return;
	}
	op->value = strdup(target);
	op->value_len = len;
	if (!op->value) {
		ll_op_refuse(op, -ENOMEM);
		return;
	}
	volume_submit(ll_of(req)->v, op);
}

void ll_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t newparent, const char *newname)
{
	struct op *op = ll_op_new(req, OP_LINK, done_entry);
	int ret = ll_op_name(op->newname, newname);

	if (ret) {
		ll_op_refuse(op, ret);
		return;
	}
	op->ino = ino;
	op->newparent = newparent;
	volume_submit(ll_of(req)->v, op);
}

/* --- removing and moving --- */

static void remove_name(fuse_req_t req, enum op_type type, uint64_t parent, const char *name)
{
	struct op *op = ll_op_new(req, type, ll_done_err);
	int ret = ll_op_name(op->name, name);

	if (ret) {
		ll_op_refuse(op, ret);
		return;
	}
	op->parent = parent;
	volume_submit(ll_of(req)->v, op);
}

void ll_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, OP_UNLINK, parent, name);
}

void ll_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	remove_name(req, OP_RMDIR, parent, name);
}

void ll_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
	const char *newname, unsigned flags)
{
	struct op *op = ll_op_new(req, OP_RENAME, ll_done_err);
	int ret = ll_op_name(op->name, name);

	if (!ret)
		ret = ll_op_name(op->newname, newname);
	if (!ret && flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE))
		ret = -EINVAL;
	if (ret) {
		ll_op_refuse(op, ret);
		return;
	}
	op->parent = parent;
	op->newparent = newparent;
	op->flags = flags;
	volume_submit(ll_of(req)->v, op);
}
