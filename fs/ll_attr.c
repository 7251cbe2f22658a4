/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attributes, extended attributes, and the space of the whole volume. The kernel checks permissions
 * (default_permissions) and what may be set; here requests become operations.
 */
#include "ll_impl.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "clock.h"

double ll_attr_seconds(const struct inode *i)
{
	return i->ndead ? 0 : LL_CACHE_SECONDS;
}

void ll_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct inode i;
	struct stat st;
	int ret = tree_inode(ll_of(req)->tree, ino, &i);

	if (ret) {
		fuse_reply_err(req, -ret);
		return;
	}
	inode_stat(&i, &st);
	fuse_reply_attr(req, &st, ll_attr_seconds(&i));
}

static void done_attr(struct op *op)
{
	struct stat st;

	if (op->error) {
		fuse_reply_err(op->req, -op->error);
	} else {
		inode_stat(&op->result, &st);
		fuse_reply_attr(op->req, &st, ll_attr_seconds(&op->result));
	}
	ll_op_end(op);
}

/* 64-bit nanoseconds end in 1677 and 2262. What lies beyond is set to the end, as other filesystems do
 * with theirs. */
static uint64_t ns_of(struct timespec t)
{
	if (t.tv_sec >= INT64_MAX / (int64_t)NS_PER_S)
		return (uint64_t)INT64_MAX;
	if (t.tv_sec <= INT64_MIN / (int64_t)NS_PER_S)
		return (uint64_t)INT64_MIN;
	return (uint64_t)((int64_t)t.tv_sec * (int64_t)NS_PER_S + t.tv_nsec);
}

void ll_setattr(
	fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi)
{
	/* Raw: libfuse drops KILL_SUIDGID. ..._NOW stands beside the plain bit in the request, alone in
	 * the operation. */
	static const struct {
		uint32_t fattr, mask;
	} map[] = {
		{FATTR_MODE, ATTR_MODE},
		{FATTR_UID, ATTR_UID},
		{FATTR_GID, ATTR_GID},
		{FATTR_SIZE, ATTR_SIZE},
		{FATTR_ATIME, ATTR_ATIME},
		{FATTR_MTIME, ATTR_MTIME},
		{FATTR_CTIME, ATTR_CTIME},
		{FATTR_ATIME_NOW, ATTR_ATIME_NOW},
		{FATTR_MTIME_NOW, ATTR_MTIME_NOW},
		{FATTR_KILL_SUIDGID, ATTR_KILL_PRIV},
	};
	struct op *op = ll_op_new(req, OP_SETATTR, done_attr);
	struct ll *l = ll_of(req);
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(map); i++)
		if (ll_self->raw_flags & map[i].fattr)
			op->attr_mask |= map[i].mask;
	if (op->attr_mask & ATTR_ATIME_NOW)
		op->attr_mask &= ~ATTR_ATIME;
	if (op->attr_mask & ATTR_MTIME_NOW)
		op->attr_mask &= ~ATTR_MTIME;
	op->ino = ino;
	op->attr.mode = attr->st_mode;
	op->attr.uid = attr->st_uid;
	op->attr.gid = attr->st_gid;
	op->attr.size = (uint64_t)attr->st_size;
	op->attr.atime_ns = ns_of(attr->st_atim);
	op->attr.mtime_ns = ns_of(attr->st_mtim);
	op->attr.ctime_ns = ns_of(attr->st_ctim);
	if (op->attr_mask & ATTR_SIZE) {
		if (attr->st_size < 0 || (uint64_t)attr->st_size > FILE_SIZE_MAX)
			ret = -EFBIG;
	}
	if (ret)
		ll_op_refuse(op, ret);
	else
		ll_op_submit(op, op_read_edges(l->tree, l->segments, l->pool, op));
}

void ll_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct volume_space s;
	struct statvfs st = {
		.f_bsize = BLOCK_SIZE, .f_frsize = BLOCK_SIZE, .f_namemax = NAME_LEN_MAX};

	volume_space(ll_of(req)->v, &s);
	st.f_blocks = s.blocks;
	st.f_bfree = st.f_bavail = s.blocks_free;
	st.f_files = s.inodes;
	st.f_ffree = st.f_favail = s.inodes_free;
	fuse_reply_statfs(req, &st);
}

/* --- extended attributes --- */

static void reply_value(fuse_req_t req, int ret, size_t len, size_t size)
{
	if (ret == -ENOENT)
		ret = -ENODATA;
	if (!ret && size && len > size)
		ret = -ERANGE;
	if (ret)
		fuse_reply_err(req, -ret);
	else if (!size)
		fuse_reply_xattr(req, len);
	else
		fuse_reply_buf(req, (const char *)ll_self->data, len);
}

void ll_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	struct ll *l = ll_of(req);
	struct inode i;
	size_t len = 0;
	int ret = tree_inode(l->tree, ino, &i);

	/* Asked at each execve() and by every `ls -l`: mostly of inodes that have none. */
	if (!ret && (!i.has_xattrs || (!i.has_caps && strcmp(name, "security.capability") == 0)))
		ret = -ENODATA;
	if (!ret)
		ret = tree_xattr_get(l->tree, ino, name, ll_self->data, XATTR_SIZE_MAX, &len);
	reply_value(req, ret, len, size);
}

void ll_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	struct ll *l = ll_of(req);
	struct inode i;
	size_t len = 0;
	int ret = tree_inode(l->tree, ino, &i);

	if (!ret && i.has_xattrs)
		ret = tree_xattr_list(l->tree, ino, (char *)ll_self->data, LL_READ_SIZE, &len);
	if (!ret && len > XATTR_SIZE_MAX)
		ret = -E2BIG; /* as the kernel would say: XATTR_LIST_MAX */
	reply_value(req, ret, len, size);
}

void ll_setxattr(
	fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size, int flags)
{
	struct op *op = ll_op_new(req, OP_SETXATTR, ll_done_err);
	int ret = ll_op_name(op->name, name);
	void *copy;

	if (!ret && size > XATTR_SIZE_MAX)
		ret = -E2BIG;
	if (ret) {
		ll_op_refuse(op, ret);
		return;
	}
	copy = malloc(size ? size : 1);
	if (!copy) {
		ll_op_refuse(op, -ENOMEM);
		return;
	}
	memcpy(copy, value, size);
	op->ino = ino;
	op->value = copy;
	op->value_len = size;
	op->flags = (uint32_t)flags;
	op->kill_sgid = ll_self->raw_flags & FUSE_SETXATTR_ACL_KILL_SGID;
	volume_submit(ll_of(req)->v, op);
}

void ll_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct op *op = ll_op_new(req, OP_REMOVEXATTR, ll_done_err);
	int ret = ll_op_name(op->name, name);

	if (ret) {
		ll_op_refuse(op, ret);
		return;
	}
	op->ino = ino;
	volume_submit(ll_of(req)->v, op);
}
