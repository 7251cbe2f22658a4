/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an entry to changed keys: the table of types, and the entries about names. Each function
 * decodes the body, reads the old values of the keys it rewrites, checks that the entry fits them,
 * and writes. It takes no decision and looks at no clock, so the active, the standby and recovery
 * end in the same state.
 *
 * Failure modes: -EBADMSG when the body is malformed or contradicts the state; the tree is broken
 * from then on (tree.c). The thread that owns the tree.
 */
#include "tree_impl.h"

#include <string.h>

typedef int apply_fn(struct apply *a);

static apply_fn *const table[OP_TYPE_MAX] = {
	[OP_CREATE] = apply_create,
	[OP_UNLINK] = apply_unlink,
	[OP_RMDIR] = apply_rmdir,
	[OP_RENAME] = apply_rename,
	[OP_LINK] = apply_link,
	[OP_SETATTR] = apply_change,
	[OP_WRITE] = apply_change,
	[OP_FALLOCATE] = apply_change,
	[OP_SETXATTR] = apply_change,
	[OP_REMOVEXATTR] = apply_change,
	[OP_REAP] = apply_reap,
	[OP_RESIZE] = apply_resize,
};

int apply_entry(struct tree *t, const struct entry *e, struct op *op)
{
	struct apply a = {.t = t, .v = {.t = t}, .e = e, .op = op};
	int r;

	if (t->broken)
		return -EIO;
	if (e->h.seq != t->sb.applied.seq + 1 || e->h.type >= OP_TYPE_MAX || !table[e->h.type])
		return -EBADMSG;
	txn_set_memory_only(t->txn, false);
	r = table[e->h.type](&a);
	if (r) {
		t->broken = true;
		return r == -EIO ? r : -EBADMSG;
	}
	SB_SET(t, applied.seq, e->h.seq);
	SB_SET(t, applied.chain, e->h.crc);
	SB_SET(t, applied_epoch.id, e->h.epoch.id);
	SB_SET(t, applied_epoch.num, e->h.epoch.num);
	t->sb_dirty = true;
	return 0;
}

/* --- what the functions share --- */

/* A directory that has room for another name at this cookie. */
static int get_parent(struct apply *a, uint64_t ino, struct inode *i)
{
	int r = apply_must(view_inode(&a->v, ino, i));

	return r ? r : S_ISDIR(i->mode) ? 0 : -EBADMSG;
}

/* The name must be there and lead to this inode. */
static int get_dirent(struct apply *a, uint64_t parent, const char *name, size_t nlen, uint64_t ino,
	uint64_t cookie)
{
	struct dirent_value d;
	int r = apply_must(view_dirent(&a->v, parent, name, nlen, &d));

	return r ? r : d.ino == ino && d.cookie == cookie ? 0 : -EBADMSG;
}

static int get_no_dirent(struct apply *a, uint64_t parent, const char *name, size_t nlen)
{
	struct dirent_value d;
	int r = view_dirent(&a->v, parent, name, nlen, &d);

	return r == -ENOENT ? 0 : r ? r : -EBADMSG;
}

static void touch_dir(struct inode *dir, uint64_t time_ns)
{
	dir->mtime_ns = dir->ctime_ns = time_ns;
}

static int take_cookie(struct inode *dir, uint64_t cookie)
{
	if (cookie < dir->next_cookie)
		return -EBADMSG;
	dir->next_cookie = cookie + 1;
	dir->entries++;
	return 0;
}

static void becomes_orphan(struct apply *a, uint64_t ino)
{
	put_seq(a->t, KEY_ORPHAN, ino, a->e->h.seq);
	garbage_add(a->t, ino, GARBAGE_ORPHAN);
	if (a->op)
		a->op->orphan = ino;
}

/* The inode loses a name; `last` is what the entry says about it. Its directory's link count is the
 * caller's. */
static int lose_name(struct apply *a, struct inode *i, uint64_t time_ns, bool last)
{
	if (S_ISDIR(i->mode)) {
		if (i->entries || i->nlink != 2 || !last)
			return -EBADMSG;
		i->nlink = 0;
	} else {
		if (!i->nlink || (i->nlink == 1) != last)
			return -EBADMSG;
		i->nlink--;
	}
	i->ctime_ns = time_ns;
	put_inode(a->t, i);
	if (last)
		becomes_orphan(a, i->ino);
	return 0;
}

/* --- names --- */

int apply_create(struct apply *a)
{
	struct tree *t = a->t;
	struct body_create b;
	struct inode dir, i = {0};
	struct key k;
	int r = body_decode_create(a->e->body, a->e->h.body_len, &b);

	if (!r)
		r = get_parent(a, b.parent, &dir);
	if (!r)
		r = get_no_dirent(a, b.parent, b.name, b.nlen);
	if (!r)
		r = take_cookie(&dir, b.cookie);
	if (!r && b.ino < t->sb.next_ino)
		r = -EBADMSG;
	if (r)
		return r;
	i.ino = b.ino;
	i.mode = b.mode;
	i.uid = b.uid;
	i.gid = b.gid;
	i.rdev = b.rdev;
	i.nlink = 1;
	i.size = b.tlen;
	i.atime_ns = i.mtime_ns = i.ctime_ns = i.btime_ns = b.time_ns;
	if (S_ISDIR(b.mode)) {
		i.nlink = 2;
		i.parent = b.parent;
		i.next_cookie = FIRST_COOKIE;
		dir.nlink++;
	}
	touch_dir(&dir, b.time_ns);
	r = apply_xattrs(a, &i, &b.xattrs);
	if (r)
		return r;
	if (b.tlen) {
		key_ino(&k, KEY_SYMLINK, b.ino);
		put_plain(t, &k, b.target, b.tlen);
	}
	put_inode(t, &i);
	put_inode(t, &dir);
	put_dirent(t, b.parent, b.name, b.nlen, b.ino, b.mode, b.cookie);
	SB_SET(t, next_ino, b.ino + 1);
	SB_SET(t, inodes, t->sb.inodes + 1);
	if (a->op)
		a->op->result = i;
	return 0;
}

static int unlink_type(struct apply *a, bool rmdir)
{
	struct body_unlink b;
	struct inode dir, i;
	int r = body_decode_unlink(a->e->body, a->e->h.body_len, &b);

	if (!r)
		r = get_parent(a, b.parent, &dir);
	if (!r)
		r = get_dirent(a, b.parent, b.name, b.nlen, b.ino, b.cookie);
	if (!r)
		r = apply_must(view_inode(&a->v, b.ino, &i));
	if (!r && (S_ISDIR(i.mode) != rmdir || !dir.entries || (rmdir && dir.nlink <= 2)))
		r = -EBADMSG;
	if (!r)
		r = lose_name(a, &i, b.time_ns, b.last);
	if (r)
		return r;
	dir.entries--;
	if (rmdir)
		dir.nlink--;
	touch_dir(&dir, b.time_ns);
	put_inode(a->t, &dir);
	delete_dirent(a->t, b.parent, b.name, b.nlen, b.cookie);
	return 0;
}

int apply_unlink(struct apply *a)
{
	return unlink_type(a, false);
}

int apply_rmdir(struct apply *a)
{
	return unlink_type(a, true);
}

int apply_link(struct apply *a)
{
	struct body_link b;
	struct inode dir, i;
	int r = body_decode_link(a->e->body, a->e->h.body_len, &b);

	if (!r)
		r = get_parent(a, b.newparent, &dir);
	if (!r)
		r = get_no_dirent(a, b.newparent, b.name, b.nlen);
	if (!r)
		r = take_cookie(&dir, b.cookie);
	if (!r)
		r = apply_must(view_inode(&a->v, b.ino, &i));
	if (!r && (S_ISDIR(i.mode) || !i.nlink || i.nlink >= LINKS_MAX))
		r = -EBADMSG;
	if (r)
		return r;
	i.nlink++;
	i.ctime_ns = b.time_ns;
	touch_dir(&dir, b.time_ns);
	put_inode(a->t, &i);
	put_inode(a->t, &dir);
	put_dirent(a->t, b.newparent, b.name, b.nlen, b.ino, i.mode, b.cookie);
	if (a->op)
		a->op->result = i;
	return 0;
}

/* A directory's place in the tree changes: parents' link counts follow. */
static int move_dir(struct inode *i, struct inode *from, struct inode *to)
{
	if (!S_ISDIR(i->mode) || from == to)
		return 0;
	if (from->nlink <= 2)
		return -EBADMSG;
	from->nlink--;
	to->nlink++;
	i->parent = to->ino;
	return 0;
}

static int rename_exchange(struct apply *a, const struct body_rename *b, struct inode *dir,
	struct inode *newdir, struct inode *i, struct inode *other)
{
	int r = move_dir(i, dir, newdir);

	if (!r && S_ISDIR(other->mode) && dir != newdir) {
		if (newdir->nlink <= 2)
			return -EBADMSG;
		newdir->nlink--;
		dir->nlink++;
		other->parent = dir->ino;
	}
	if (r)
		return r;
	other->ctime_ns = b->time_ns;
	put_inode(a->t, other);
	put_dirent(a->t, b->parent, b->name, b->nlen, other->ino, other->mode, b->cookie);
	put_dirent(a->t, b->newparent, b->newname, b->newnlen, i->ino, i->mode, b->newcookie);
	return 0;
}

static int rename_replace(struct apply *a, const struct body_rename *b, struct inode *dir,
	struct inode *newdir, struct inode *i, struct inode *victim)
{
	int r = move_dir(i, dir, newdir);

	if (r || !dir->entries)
		return r ? r : -EBADMSG;
	dir->entries--;
	delete_dirent(a->t, b->parent, b->name, b->nlen, b->cookie);
	if (b->victim) {
		if (S_ISDIR(victim->mode) != S_ISDIR(i->mode) || !newdir->entries)
			return -EBADMSG;
		r = lose_name(a, victim, b->time_ns, b->victim_last);
		if (r)
			return r;
		newdir->entries--;
		if (S_ISDIR(victim->mode)) {
			if (newdir->nlink <= 2)
				return -EBADMSG;
			newdir->nlink--;
		}
		delete_dirent(a->t, b->newparent, b->newname, b->newnlen, b->victim_cookie);
	}
	r = take_cookie(newdir, b->newcookie);
	if (r)
		return r;
	put_dirent(a->t, b->newparent, b->newname, b->newnlen, i->ino, i->mode, b->newcookie);
	return 0;
}

int apply_rename(struct apply *a)
{
	struct body_rename b;
	struct inode dir, second, i, other, *newdir = &second;
	uint64_t other_cookie;
	int r = body_decode_rename(a->e->body, a->e->h.body_len, &b);

	if (!r)
		r = get_parent(a, b.parent, &dir);
	if (!r && b.newparent == b.parent)
		newdir = &dir;
	else if (!r)
		r = get_parent(a, b.newparent, &second);
	if (!r)
		r = get_dirent(a, b.parent, b.name, b.nlen, b.ino, b.cookie);
	if (!r)
		r = apply_must(view_inode(&a->v, b.ino, &i));
	other_cookie = b.exchange ? b.newcookie : b.victim_cookie;
	if (!r && b.victim) {
		r = get_dirent(a, b.newparent, b.newname, b.newnlen, b.victim, other_cookie);
		if (!r)
			r = apply_must(view_inode(&a->v, b.victim, &other));
	} else if (!r) {
		r = get_no_dirent(a, b.newparent, b.newname, b.newnlen);
	}
	if (!r)
		r = b.exchange ? rename_exchange(a, &b, &dir, newdir, &i, &other)
			       : rename_replace(a, &b, &dir, newdir, &i, &other);
	if (r)
		return r;
	i.ctime_ns = b.time_ns;
	put_inode(a->t, &i);
	touch_dir(&dir, b.time_ns);
	touch_dir(newdir, b.time_ns);
	put_inode(a->t, &dir);
	if (newdir != &dir)
		put_inode(a->t, newdir);
	if (a->op)
		a->op->result = i;
	return 0;
}
