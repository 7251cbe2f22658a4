/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions about attributes: setattr with truncation, and extended attributes with the POSIX access
 * lists among them, which move together with the mode. See op_decide.c.
 */
#include "tree_impl.h"

#include <string.h>
#include <sys/xattr.h>

#include "acl.h"

#define RESERVED_PREFIX "trusted.tandemfs."

static void add_xattr(struct body_change *b, const char *name, const void *value, size_t len)
{
	ensure(b->xattrs.n < BODY_XATTRS_MAX);
	b->xattrs.x[b->xattrs.n++] = (struct body_xattr){
		.name = name, .nlen = (uint8_t)strlen(name), .value = value, .vlen = (uint32_t)len};
}

static void set_mode(struct body_change *b, const struct inode *i, uint32_t perms)
{
	if (perms == (i->mode & 07777))
		return;
	b->mask |= BODY_SET_MODE;
	b->mode = perms;
}

/* --- setattr --- */

/* chmod also changes the access list. `list` has room for ACL_SIZE_MAX. */
static int chmod_acl(struct decide *d, const struct inode *i, struct body_change *b, uint8_t *list)
{
	const uint8_t *v;
	size_t len;
	int r = view_xattr(&d->v, i->ino, ACL_ACCESS, strlen(ACL_ACCESS), &v, &len);

	if (r)
		return r == -ENOENT ? -EBADMSG : r;
	if (len > ACL_SIZE_MAX || !acl_valid(v, len))
		return -EBADMSG;
	memcpy(list, v, len);
	acl_chmod(list, len, b->mode & 0777);
	add_xattr(b, ACL_ACCESS, list, len);
	return 0;
}

static void set_times(const struct decide *d, struct body_change *b)
{
	const struct op *op = d->op;

	b->mask |= BODY_SET_CTIME;
	b->ctime_ns = op->attr_mask & ATTR_CTIME ? op->attr.ctime_ns : d->c->now_ns;
	if (op->attr_mask & (ATTR_ATIME | ATTR_ATIME_NOW)) {
		b->mask |= BODY_SET_ATIME;
		b->atime_ns = op->attr_mask & ATTR_ATIME_NOW ? d->c->now_ns : op->attr.atime_ns;
	}
	if (op->attr_mask & (ATTR_MTIME | ATTR_MTIME_NOW | ATTR_SIZE)) {
		b->mask |= BODY_SET_MTIME;
		b->mtime_ns = op->attr_mask & ATTR_MTIME && !(op->attr_mask & ATTR_MTIME_NOW)
				      ? op->attr.mtime_ns
				      : d->c->now_ns;
	}
}

/* Bytes behind the end of a file are zero in its last block, always: what is cut off inside a block
 * is zeroed in a new copy of it. */
static int truncate_to(
	struct decide *d, const struct inode *i, struct body_change *b, uint64_t size)
{
	int r;

	if (!S_ISREG(i->mode))
		return S_ISDIR(i->mode) ? -EISDIR : -EINVAL;
	if (size > FILE_SIZE_MAX)
		return -EFBIG;
	b->mask |= BODY_SET_SIZE;
	b->size = size;
	if (size >= i->size)
		return 0;
	if (size % BLOCK_SIZE) {
		r = decide_edge(d, i, &d->op->head, size / BLOCK_SIZE);
		if (r < 0)
			return r;
		if (r) {
			b->flags |= BODY_DATA;
			b->blocks = b->nruns = 1;
			b->runs[0] =
				(struct body_run){.file_block = size / BLOCK_SIZE, .blocks = 1};
		}
	}
	return decide_hole(d, i, b, (size + BLOCK_SIZE - 1) / BLOCK_SIZE, UINT64_MAX);
}

int decide_setattr(struct decide *d)
{
	uint8_t list[ACL_SIZE_MAX];
	struct op *op = d->op;
	uint32_t m = op->attr_mask;
	struct body_change b = {.ino = op->ino};
	struct inode i;
	int r = view_inode(&d->v, op->ino, &i);

	if (r)
		return r;
	if (!m) {
		op->result = i;
		return 1;
	}
	if ((m & ATTR_UID && op->attr.uid == UINT32_MAX) ||
		(m & ATTR_GID && op->attr.gid == UINT32_MAX))
		return -EINVAL;
	if (m & ATTR_UID) {
		b.mask |= BODY_SET_UID;
		b.uid = op->attr.uid;
	}
	if (m & ATTR_GID) {
		b.mask |= BODY_SET_GID;
		b.gid = op->attr.gid;
	}
	if (m & ATTR_MODE) {
		b.mask |= BODY_SET_MODE;
		b.mode = op->attr.mode & 07777;
		if (i.has_acl)
			r = chmod_acl(d, &i, &b, list);
	}
	if (!r && m & (ATTR_UID | ATTR_GID | ATTR_SIZE | ATTR_KILL_PRIV))
		r = decide_kill_priv(d, &i, &b, m & ATTR_KILL_PRIV);
	if (!r && m & ATTR_SIZE)
		r = truncate_to(d, &i, &b, op->attr.size);
	if (r)
		return r;
	set_times(d, &b);
	return decide_change(d, &i, &b);
}

/* --- extended attributes --- */

static bool starts_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

static int check_xattr_name(const char *name, const struct inode *i)
{
	size_t len = strnlen(name, XATTR_NAME_MAX + 1);

	if (!len)
		return -EINVAL;
	if (len > XATTR_NAME_MAX)
		return -ERANGE;
	if (starts_with(name, RESERVED_PREFIX))
		return -EPERM;
	if (!strcmp(name, ACL_ACCESS))
		return S_ISLNK(i->mode) ? -EOPNOTSUPP : 0;
	if (!strcmp(name, ACL_DEFAULT))
		return S_ISDIR(i->mode) ? 0 : -EACCES;
	if (starts_with(name, "user."))
		return S_ISREG(i->mode) || S_ISDIR(i->mode) ? 0 : -EPERM;
	return starts_with(name, "trusted.") || starts_with(name, "security.") ? 0 : -EOPNOTSUPP;
}

static int set_xattr(struct decide *d, const struct inode *i, struct body_change *b, bool had)
{
	const struct op *op = d->op;
	size_t nlen = strlen(op->name);
	uint32_t perms, mode = i->mode & 07777;

	if (op->flags & XATTR_CREATE && had)
		return -EEXIST;
	if (op->flags & XATTR_REPLACE && !had)
		return -ENODATA;
	if (!strncmp(op->name, "system.", 7) && (op->value_len > ACL_SIZE_MAX || !op->value ||
							!acl_valid(op->value, op->value_len)))
		return -EINVAL;
	if (!strcmp(op->name, ACL_ACCESS)) {
		bool equivalent = acl_mode(op->value, op->value_len, &perms);

		mode = (mode & ~0777u) | perms;
		if (op->kill_sgid)
			mode &= ~(uint32_t)S_ISGID;
		set_mode(b, i, mode);
		if (equivalent) /* the mode says it all */
			return had ? decide_remove_xattr(d, i, b, ACL_ACCESS) : 0;
	}
	if (!had &&
		(i->xattrs >= XATTRS_MAX || i->xattr_name_bytes + nlen + 1 > XATTR_NAME_BYTES_MAX))
		return -ENOSPC;
	add_xattr(b, op->name, op->value, op->value_len);
	return 0;
}

int decide_setxattr(struct decide *d)
{
	struct op *op = d->op;
	struct body_change b = {.ino = op->ino};
	const uint8_t *old;
	struct inode i;
	size_t len;
	bool had;
	int r = view_inode(&d->v, op->ino, &i);

	if (!r)
		r = check_xattr_name(op->name, &i);
	if (!r && op->value_len > XATTR_SIZE_MAX)
		r = -E2BIG;
	if (!r && op->flags & ~(uint32_t)(XATTR_CREATE | XATTR_REPLACE))
		r = -EINVAL;
	if (r)
		return r;
	r = view_xattr(&d->v, op->ino, op->name, strlen(op->name), &old, &len);
	if (r && r != -ENOENT)
		return r;
	had = !r;
	if (op->type == OP_SETXATTR) {
		r = set_xattr(d, &i, &b, had);
	} else if (!had) {
		/* Taking away an access list that is not there is no error, as elsewhere. */
		op->result = i;
		return starts_with(op->name, "system.") ? 1 : -ENODATA;
	} else {
		r = decide_remove_xattr(d, &i, &b, op->name);
	}
	if (r)
		return r;
	b.mask |= BODY_SET_CTIME;
	b.ctime_ns = d->c->now_ns;
	return decide_change(d, &i, &b);
}
