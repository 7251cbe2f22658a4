/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decisions about names: create, unlink, rmdir, rename, link. Permissions are the kernel's
 * (default_permissions); what is here is what it cannot know: that the state allows it. See
 * op_decide.c.
 */
#include "tree_impl.h"

#include <stdio.h>
#include <string.h>

#include "acl.h"

/* RENAME_NOREPLACE and RENAME_EXCHANGE come with stdio.h; they are the kernel's numbers. */
_Static_assert(RENAME_NOREPLACE == 1 && RENAME_EXCHANGE == 2, "as the kernel sends them");

static int check_name(const char *name, size_t *ret_len)
{
	size_t len = strnlen(name, NAME_LEN_MAX + 1);

	if (!len)
		return -ENOENT;
	if (len > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	if (!name_valid(name, len))
		return -EINVAL;
	*ret_len = len;
	return 0;
}

/* A directory that still has a name of its own. */
static int get_dir(struct decide *d, uint64_t ino, struct inode *i)
{
	int r = view_inode(&d->v, ino, i);

	if (r)
		return r;
	if (!S_ISDIR(i->mode))
		return -ENOTDIR;
	return i->nlink ? 0 : -ENOENT;
}

/* An inode that a name leads to: its absence is damage. */
static int get_named(struct decide *d, uint64_t ino, struct inode *i)
{
	int r = view_inode(&d->v, ino, i);

	return r == -ENOENT ? -EBADMSG : r;
}

/* --- create --- */

/* Permissions of a new inode: the umask's, or those that the directory's default list gives, which
 * then goes on to the inode. The lists are put into `lists`, room for two. */
static int create_mode(
	struct decide *d, const struct inode *dir, struct body_create *b, uint8_t *lists)
{
	uint32_t perms = b->mode & 0777;
	const uint8_t *acl = NULL;
	size_t len = 0;
	int r = -ENOENT;

	if (dir->has_xattrs)
		r = view_xattr(&d->v, dir->ino, ACL_DEFAULT, strlen(ACL_DEFAULT), &acl, &len);
	if (r == -ENOENT) {
		b->mode &= ~(d->op->umask & 0777);
		return 0;
	}
	if (r)
		return r;
	if (len > ACL_SIZE_MAX || !acl_valid(acl, len))
		return -EBADMSG;
	memcpy(lists, acl, len);
	if (!acl_create(lists, len, &perms))
		b->xattrs.x[b->xattrs.n++] = (struct body_xattr){.name = ACL_ACCESS,
			.nlen = (uint8_t)strlen(ACL_ACCESS),
			.value = lists,
			.vlen = (uint32_t)len};
	b->mode = (b->mode & ~0777u) | perms;
	if (S_ISDIR(b->mode)) {
		memcpy(lists + ACL_SIZE_MAX, acl, len);
		b->xattrs.x[b->xattrs.n++] = (struct body_xattr){.name = ACL_DEFAULT,
			.nlen = (uint8_t)strlen(ACL_DEFAULT),
			.value = lists + ACL_SIZE_MAX,
			.vlen = (uint32_t)len};
	}
	return 0;
}

static int check_create(const struct op *op, const struct inode *dir, uint32_t mode)
{
	if (op->uid == UINT32_MAX || op->gid == UINT32_MAX)
		return -EINVAL;
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return dir->nlink >= SUBDIRS_MAX ? -EMLINK : 0;
	case S_IFLNK:
		if (!op->value_len || !op->value)
			return -ENOENT;
		if (op->value_len > SYMLINK_LEN_MAX)
			return -ENAMETOOLONG;
		return memchr(op->value, 0, op->value_len) ? -EINVAL : 0;
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return 0;
	default:
		return -EINVAL;
	}
}

int decide_create(struct decide *d)
{
	uint8_t lists[2 * ACL_SIZE_MAX];
	struct op *op = d->op;
	struct dirent_value old;
	struct inode dir;
	struct body_create b = {.name = op->name};
	size_t nlen;
	int r = check_name(op->name, &nlen);

	if (!r)
		r = get_dir(d, op->parent, &dir);
	if (r)
		return r;
	r = view_dirent(&d->v, op->parent, op->name, nlen, &old);
	if (r != -ENOENT)
		return r ? r : -EEXIST;
	b.mode = op->mode & (S_IFMT | 07777);
	if (!(b.mode & S_IFMT))
		b.mode |= S_IFREG;
	r = check_create(op, &dir, b.mode);
	if (r)
		return r;
	if (S_ISLNK(b.mode)) {
		b.mode = S_IFLNK | 0777;
		b.target = op->value;
		b.tlen = (uint16_t)op->value_len;
	} else {
		r = create_mode(d, &dir, &b, lists);
		if (r)
			return r;
	}
	if (view_warms(&d->v))
		return 0;
	b.uid = op->uid;
	b.gid = op->gid;
	if (dir.mode & S_ISGID) {
		b.gid = dir.gid;
		if (S_ISDIR(b.mode))
			b.mode |= S_ISGID;
	}
	if (S_ISCHR(b.mode) || S_ISBLK(b.mode))
		b.rdev = op->rdev;
	b.time_ns = d->c->now_ns;
	b.parent = op->parent;
	b.cookie = dir.next_cookie;
	b.ino = d->v.t->sb.next_ino;
	b.nlen = (uint8_t)nlen;
	return decide_finish(d, body_encode_create(&b, d->scratch));
}

/* --- unlink, rmdir --- */

int decide_unlink(struct decide *d)
{
	struct op *op = d->op;
	struct dirent_value e;
	struct inode dir, i;
	struct body_unlink b;
	size_t nlen;
	int r = check_name(op->name, &nlen);

	if (!r)
		r = get_dir(d, op->parent, &dir);
	if (!r)
		r = view_dirent(&d->v, op->parent, op->name, nlen, &e);
	if (!r)
		r = get_named(d, e.ino, &i);
	if (r)
		return r;
	if (op->type == OP_UNLINK && S_ISDIR(i.mode))
		return -EISDIR;
	if (op->type == OP_RMDIR && !S_ISDIR(i.mode))
		return -ENOTDIR;
	if (op->type == OP_RMDIR && i.entries)
		return -ENOTEMPTY;
	if (view_warms(&d->v))
		return 0;
	b = (struct body_unlink){.time_ns = d->c->now_ns,
		.parent = op->parent,
		.ino = e.ino,
		.cookie = e.cookie,
		.last = S_ISDIR(i.mode) || i.nlink == 1,
		.nlen = (uint8_t)nlen,
		.name = op->name};
	return decide_finish(d, body_encode_unlink(&b, d->scratch));
}

/* --- link --- */

int decide_link(struct decide *d)
{
	struct op *op = d->op;
	struct dirent_value old;
	struct inode dir, i;
	struct body_link b;
	size_t nlen;
	int r = check_name(op->newname, &nlen);

	if (!r)
		r = get_dir(d, op->newparent, &dir);
	if (!r)
		r = view_inode(&d->v, op->ino, &i);
	if (r)
		return r;
	r = view_dirent(&d->v, op->newparent, op->newname, nlen, &old);
	if (r != -ENOENT)
		return r ? r : -EEXIST;
	if (S_ISDIR(i.mode))
		return -EPERM;
	if (!i.nlink)
		return -ENOENT;
	if (i.nlink >= LINKS_MAX)
		return -EMLINK;
	if (view_warms(&d->v))
		return 0;
	b = (struct body_link){.time_ns = d->c->now_ns,
		.newparent = op->newparent,
		.ino = op->ino,
		.cookie = dir.next_cookie,
		.nlen = (uint8_t)nlen,
		.name = op->newname};
	return decide_finish(d, body_encode_link(&b, d->scratch));
}

/* --- rename --- */

/* -EINVAL when `ino` is the directory `from` or one above it. */
static int check_not_above(struct decide *d, uint64_t ino, uint64_t from)
{
	struct inode i;

	for (unsigned depth = 0; depth < TREE_DEPTH_MAX; depth++) {
		int r;

		if (from == ino)
			return -EINVAL;
		if (from == ROOT_INO)
			return 0;
		r = get_named(d, from, &i);
		if (r)
			return r;
		from = i.parent;
	}
	return -EBADMSG;
}

struct rename_state {
	struct inode dir, newdir, i, victim;
	struct dirent_value e, newe;
	bool exists; /* the new name does */
};

static int rename_read(struct decide *d, struct rename_state *s, size_t nlen, size_t newnlen)
{
	struct op *op = d->op;
	int r = get_dir(d, op->parent, &s->dir);

	if (!r)
		r = get_dir(d, op->newparent, &s->newdir);
	if (!r)
		r = view_dirent(&d->v, op->parent, op->name, nlen, &s->e);
	if (!r)
		r = get_named(d, s->e.ino, &s->i);
	if (r)
		return r;
	r = view_dirent(&d->v, op->newparent, op->newname, newnlen, &s->newe);
	s->exists = !r;
	if (r)
		return r == -ENOENT ? 0 : r;
	return get_named(d, s->newe.ino, &s->victim);
}

/* May the new name's inode be replaced by the old name's? */
static int check_victim(const struct rename_state *s)
{
	if (S_ISDIR(s->i.mode) && !S_ISDIR(s->victim.mode))
		return -ENOTDIR;
	if (!S_ISDIR(s->i.mode) && S_ISDIR(s->victim.mode))
		return -EISDIR;
	return s->victim.entries ? -ENOTEMPTY : 0;
}

static int check_rename(struct decide *d, const struct rename_state *s)
{
	struct op *op = d->op;
	bool exchange = op->flags & RENAME_EXCHANGE, moves = op->parent != op->newparent;
	int r = 0;

	if (s->exists && op->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (!s->exists && exchange)
		return -ENOENT;
	if (s->exists && s->newe.ino == s->e.ino)
		return 1;
	if (moves && S_ISDIR(s->i.mode))
		r = check_not_above(d, s->e.ino, op->newparent);
	if (!r && moves && exchange && S_ISDIR(s->victim.mode))
		r = check_not_above(d, s->newe.ino, op->parent);
	if (!r && s->exists && !exchange)
		r = check_victim(s);
	if (!r && moves && S_ISDIR(s->i.mode) && s->newdir.nlink >= SUBDIRS_MAX)
		r = -EMLINK;
	if (!r && moves && exchange && S_ISDIR(s->victim.mode) && s->dir.nlink >= SUBDIRS_MAX)
		r = -EMLINK;
	return r;
}

int decide_rename(struct decide *d)
{
	struct op *op = d->op;
	bool exchange = op->flags & RENAME_EXCHANGE;
	struct rename_state s;
	struct body_rename b;
	size_t nlen, newnlen;
	int r = check_name(op->name, &nlen);

	if (!r)
		r = check_name(op->newname, &newnlen);
	if (!r && (op->flags & ~(uint32_t)(RENAME_NOREPLACE | RENAME_EXCHANGE) ||
			  op->flags == (RENAME_NOREPLACE | RENAME_EXCHANGE)))
		r = -EINVAL;
	if (!r)
		r = rename_read(d, &s, nlen, newnlen);
	if (!r)
		r = check_rename(d, &s);
	if (r == 1)
		op->result = s.i;
	if (r || view_warms(&d->v))
		return r;
	b = (struct body_rename){.time_ns = d->c->now_ns,
		.parent = op->parent,
		.newparent = op->newparent,
		.ino = s.e.ino,
		.cookie = s.e.cookie,
		.newcookie = exchange ? s.newe.cookie : s.newdir.next_cookie,
		.exchange = exchange,
		.nlen = (uint8_t)nlen,
		.newnlen = (uint8_t)newnlen,
		.name = op->name,
		.newname = op->newname};
	if (s.exists) {
		b.victim = s.newe.ino;
		b.victim_cookie = exchange ? 0 : s.newe.cookie;
		b.victim_last = !exchange && (S_ISDIR(s.victim.mode) || s.victim.nlink == 1);
	}
	return decide_finish(d, body_encode_rename(&b, d->scratch));
}
