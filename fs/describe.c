/* SPDX-License-Identifier: Apache-2.0 */
/* An entry as a line of text, for people who look into a journal. Pure. */
#include <stdarg.h>
#include <stdio.h>

#include "tree_impl.h"

struct line {
	char *buf;
	size_t size, at;
};

static void say(struct line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->buf + l->at, l->size - l->at, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->at = MIN(l->at + (size_t)n, l->size - 1);
}

/* A name in quotes, with everything unprintable escaped. */
static void say_name(struct line *l, const char *name, size_t len)
{
	say(l, " '");
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		say(l, c < 32 || c == 127 || c == '\'' || c == '\\' ? "\\x%02x" : "%c", c);
	}
	say(l, "'");
}

static void say_xattrs(struct line *l, const struct body_xattrs *xs)
{
	for (unsigned i = 0; i < xs->n; i++) {
		say(l, xs->x[i].remove ? " -xattr" : " +xattr");
		say_name(l, xs->x[i].name, xs->x[i].nlen);
		if (!xs->x[i].remove)
			say(l, " (%u bytes)", xs->x[i].vlen);
	}
}

static const char *const names[OP_TYPE_MAX] = {
	[OP_CREATE] = "create",
	[OP_UNLINK] = "unlink",
	[OP_RMDIR] = "rmdir",
	[OP_RENAME] = "rename",
	[OP_LINK] = "link",
	[OP_SETATTR] = "setattr",
	[OP_WRITE] = "write",
	[OP_FALLOCATE] = "fallocate",
	[OP_SETXATTR] = "setxattr",
	[OP_REMOVEXATTR] = "removexattr",
	[OP_REAP] = "reap",
	[OP_RESIZE] = "resize",
};

static int say_create(struct line *l, const struct entry *e)
{
	struct body_create b;

	if (body_decode_create(e->body, e->h.body_len, &b))
		return -EBADMSG;
	say(l, " inode %llu in %llu", (unsigned long long)b.ino, (unsigned long long)b.parent);
	say_name(l, b.name, b.nlen);
	say(l, " mode %06o uid %u gid %u cookie %llu", b.mode, b.uid, b.gid,
		(unsigned long long)b.cookie);
	if (b.tlen) {
		say(l, " ->");
		say_name(l, b.target, b.tlen);
	}
	say_xattrs(l, &b.xattrs);
	return 0;
}

static int say_unlink(struct line *l, const struct entry *e)
{
	struct body_unlink b;

	if (body_decode_unlink(e->body, e->h.body_len, &b))
		return -EBADMSG;
	say(l, " inode %llu in %llu", (unsigned long long)b.ino, (unsigned long long)b.parent);
	say_name(l, b.name, b.nlen);
	say(l, b.last ? " its last name" : "");
	return 0;
}

static int say_link(struct line *l, const struct entry *e)
{
	struct body_link b;

	if (body_decode_link(e->body, e->h.body_len, &b))
		return -EBADMSG;
	say(l, " inode %llu in %llu", (unsigned long long)b.ino, (unsigned long long)b.newparent);
	say_name(l, b.name, b.nlen);
	return 0;
}

static int say_rename(struct line *l, const struct entry *e)
{
	struct body_rename b;

	if (body_decode_rename(e->body, e->h.body_len, &b))
		return -EBADMSG;
	say(l, " inode %llu from %llu", (unsigned long long)b.ino, (unsigned long long)b.parent);
	say_name(l, b.name, b.nlen);
	say(l, " to %llu", (unsigned long long)b.newparent);
	say_name(l, b.newname, b.newnlen);
	if (b.victim)
		say(l, " %s inode %llu%s", b.exchange ? "exchanged with" : "replacing",
			(unsigned long long)b.victim, b.victim_last ? ", its last name" : "");
	return 0;
}

static int say_change(struct line *l, const struct entry *e)
{
	struct body_change b;

	if (body_decode_change(e->body, e->h.body_len, &b))
		return -EBADMSG;
	say(l, " inode %llu", (unsigned long long)b.ino);
	if (b.mask & BODY_SET_MODE)
		say(l, " mode %04o", b.mode);
	if (b.mask & BODY_SET_UID)
		say(l, " uid %u", b.uid);
	if (b.mask & BODY_SET_GID)
		say(l, " gid %u", b.gid);
	if (b.mask & BODY_SET_SIZE)
		say(l, " size %llu", (unsigned long long)b.size);
	if (b.flags & BODY_HOLE)
		say(l, " hole %llu-%llu", (unsigned long long)b.hole_from,
			(unsigned long long)b.hole_to);
	for (unsigned i = 0; b.flags & BODY_DEAD && i < b.ndead; i++)
		say(l, " dead before %llu: %llu-%llu", (unsigned long long)b.dead[i].seq,
			(unsigned long long)b.dead[i].from, (unsigned long long)b.dead[i].to);
	for (unsigned i = 0; i < b.nruns; i++)
		say(l, " block %llu+%u", (unsigned long long)b.runs[i].file_block,
			b.runs[i].blocks);
	if (b.flags & BODY_DATA)
		say(l, " at %u/%llu%s", b.addr.epoch, (unsigned long long)b.addr.block,
			b.flags & BODY_EXTERNAL ? " (data segment)" : "");
	say_xattrs(l, &b.xattrs);
	return 0;
}

static int say_reap(struct line *l, const struct entry *e)
{
	struct body_reap b;

	if (body_decode_reap(e->body, e->h.body_len, &b))
		return -EBADMSG;
	for (unsigned i = 0; i < b.n; i++)
		say(l, "%s inode %llu: %u chunks%s%s", i ? "," : "",
			(unsigned long long)b.items[i].ino, b.items[i].nchunks,
			b.items[i].flags & REAP_LAST ? ", removed" : "",
			b.items[i].flags & REAP_DROP ? ", range done" : "");
	return 0;
}

static int say_resize(struct line *l, const struct entry *e)
{
	struct body_resize b;

	if (body_decode_resize(e->body, e->h.body_len, &b))
		return -EBADMSG;
	say(l, " to %llu blocks", (unsigned long long)b.blocks);
	return 0;
}

void apply_describe(const struct entry *e, char *buf, size_t size)
{
	struct line l = {.buf = buf, .size = size};
	int r;

	if (!size)
		return;
	if (e->h.type >= OP_TYPE_MAX || !names[e->h.type]) {
		say(&l, "type %u, %u bytes", e->h.type, e->h.body_len);
		return;
	}
	say(&l, "%s", names[e->h.type]);
	switch (e->h.type) {
	case OP_CREATE:
		r = say_create(&l, e);
		break;
	case OP_UNLINK:
	case OP_RMDIR:
		r = say_unlink(&l, e);
		break;
	case OP_RENAME:
		r = say_rename(&l, e);
		break;
	case OP_LINK:
		r = say_link(&l, e);
		break;
	case OP_REAP:
		r = say_reap(&l, e);
		break;
	case OP_RESIZE:
		r = say_resize(&l, e);
		break;
	default:
		r = say_change(&l, e);
	}
	if (r)
		say(&l, " (malformed, %u bytes)", e->h.body_len);
}
