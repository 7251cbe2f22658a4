/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an entry to changed keys: attributes, data, extended attributes, and the removal of what is
 * dead. See apply.c.
 *
 * A chunk that is rewritten for any reason also loses what is dead in it. Blocks that no map holds
 * any more are gathered (tree_freed.c).
 */
#include "tree_impl.h"

#include <string.h>

#include "acl.h"
#include "le.h"

/* Blocks of the inode, and with them those of the volume. */
static int count_blocks(struct apply *a, struct inode *i, uint64_t mapped, uint64_t unmapped)
{
	if (i->blocks + mapped < unmapped || a->t->sb.used_blocks + mapped < unmapped)
		return -EBADMSG;
	i->blocks = i->blocks + mapped - unmapped;
	SB_SET(a->t, used_blocks, a->t->sb.used_blocks + mapped - unmapped);
	return 0;
}

/* --- extended attributes --- */

static bool xattr_is(const struct body_xattr *x, const char *name)
{
	return x->nlen == strlen(name) && !memcmp(x->name, name, x->nlen);
}

static int xattr_one(struct apply *a, struct inode *i, const struct body_xattr *x)
{
	const uint8_t *old;
	struct key k;
	size_t len;
	int r = view_xattr(&a->v, i->ino, x->name, x->nlen, &old, &len);
	bool had = !r;

	if (r && r != -ENOENT)
		return r;
	key_name(&k, KEY_XATTR, i->ino, x->name, x->nlen);
	if (x->remove) {
		if (!had || !i->xattrs || i->xattr_name_bytes < x->nlen + 1u)
			return -EBADMSG;
		txn_delete(a->t->txn, k.b, k.len);
		i->xattrs--;
		i->xattr_name_bytes -= x->nlen + 1u;
	} else {
		put_plain(a->t, &k, x->value, x->vlen);
		if (!had) {
			i->xattrs++;
			i->xattr_name_bytes += x->nlen + 1u;
		}
	}
	i->has_xattrs = i->xattrs > 0;
	if (xattr_is(x, "security.capability"))
		i->has_caps = !x->remove;
	if (xattr_is(x, ACL_ACCESS))
		i->has_acl = !x->remove;
	return 0;
}

int apply_xattrs(struct apply *a, struct inode *i, const struct body_xattrs *xs)
{
	for (unsigned n = 0; n < xs->n; n++) {
		int r = xattr_one(a, i, &xs->x[n]);

		if (r)
			return r;
	}
	return i->xattrs > XATTRS_MAX || i->xattr_name_bytes > XATTR_NAME_BYTES_MAX ? -EBADMSG : 0;
}

/* --- changes of one inode --- */

static int change_hole(struct apply *a, struct inode *i, const struct body_change *b)
{
	uint64_t first = b->hole_from / CHUNK_BLOCKS, last = (b->hole_to - 1) / CHUNK_BLOCKS;
	struct chunk c;

	for (uint64_t n = first; n <= last; n++) {
		uint64_t base = n * CHUNK_BLOCKS;
		unsigned freed;
		int r = view_chunk(&a->v, i->ino, n, &c);

		if (r)
			return r;
		if (!c.mapped)
			continue;
		freed = chunk_clear(&c, (unsigned)(MAX(b->hole_from, base) - base),
			(unsigned)(MIN(b->hole_to, base + CHUNK_BLOCKS) - base), apply_freed, a);
		freed += chunk_purge(&c, i, n, apply_freed, a);
		r = count_blocks(a, i, 0, freed);
		if (r)
			return r;
		if (freed)
			put_chunk(a->t, i->ino, n, &c);
	}
	return 0;
}

static int change_data(struct apply *a, struct inode *i, const struct body_change *b)
{
	struct chunk_block m = {
		.block = b->addr.block, .epoch = b->addr.epoch, .birth = a->e->h.seq};
	const uint8_t *crc = b->crcs;
	struct chunk c;

	for (unsigned run = 0; run < b->nruns; run++) {
		uint64_t at = b->runs[run].file_block, end = at + b->runs[run].blocks;

		while (at < end) {
			uint64_t n = at / CHUNK_BLOCKS, unmapped, start = at;
			int r = view_chunk(&a->v, i->ino, n, &c);

			if (r)
				return r;
			unmapped = chunk_purge(&c, i, n, apply_freed, a);
			for (; at < end && at / CHUNK_BLOCKS == n; at++, m.block++, crc += 4) {
				m.crc = le32_get(crc);
				unmapped += chunk_set(
					&c, (unsigned)(at % CHUNK_BLOCKS), &m, apply_freed, a);
			}
			r = count_blocks(a, i, at - start, unmapped);
			if (r)
				return r;
			put_chunk(a->t, i->ino, n, &c);
		}
	}
	return 0;
}

static void change_dead(struct apply *a, struct inode *i, const struct body_change *b)
{
	if (!i->ndead && b->ndead) {
		put_seq(a->t, KEY_GARBAGE, i->ino, a->e->h.seq);
		garbage_add(a->t, i->ino, GARBAGE_DEAD);
	} else if (i->ndead && !b->ndead) {
		delete_ino(a->t, KEY_GARBAGE, i->ino);
	}
	i->ndead = b->ndead;
	memcpy(i->dead, b->dead, sizeof(i->dead[0]) * b->ndead);
}

int apply_change(struct apply *a)
{
	struct body_change b;
	struct inode i;
	int r = body_decode_change(a->e->body, a->e->h.body_len, &b);

	if (!r)
		r = apply_must(view_inode(&a->v, b.ino, &i));
	if (r)
		return r;
	if ((b.flags || b.mask & BODY_SET_SIZE) && !S_ISREG(i.mode))
		return -EBADMSG;
	if (b.mask & BODY_SET_MODE)
		i.mode = (i.mode & S_IFMT) | b.mode;
	if (b.mask & BODY_SET_UID)
		i.uid = b.uid;
	if (b.mask & BODY_SET_GID)
		i.gid = b.gid;
	if (b.mask & BODY_SET_SIZE)
		i.size = b.size;
	if (b.mask & BODY_SET_ATIME)
		i.atime_ns = b.atime_ns;
	if (b.mask & BODY_SET_MTIME)
		i.mtime_ns = b.mtime_ns;
	if (b.mask & BODY_SET_CTIME)
		i.ctime_ns = b.ctime_ns;
	if (b.flags & BODY_DEAD)
		change_dead(a, &i, &b);
	if (b.flags & BODY_HOLE)
		r = change_hole(a, &i, &b);
	if (!r && b.flags & BODY_DATA)
		r = change_data(a, &i, &b);
	if (!r)
		r = apply_xattrs(a, &i, &b.xattrs);
	if (r)
		return r;
	put_inode(a->t, &i);
	if (a->op)
		a->op->result = i;
	return 0;
}

/* --- reaping --- */

static int reap_chunk(struct apply *a, struct inode *i, const struct body_reap_item *it, uint64_t n)
{
	struct chunk c;
	unsigned freed;
	int r = n <= FILE_SIZE_MAX / BLOCK_SIZE / CHUNK_BLOCKS ? view_chunk(&a->v, i->ino, n, &c)
							       : -EBADMSG;

	if (r)
		return r;
	if (it->flags & REAP_ORPHAN)
		freed = chunk_clear(&c, 0, CHUNK_BLOCKS, apply_freed, a);
	else
		freed = chunk_purge(&c, i, n, apply_freed, a);
	if (!freed)
		return 0;
	put_chunk(a->t, i->ino, n, &c);
	return count_blocks(a, i, 0, freed);
}

static void reap_drop(struct apply *a, struct inode *i, const struct dead_range *drop)
{
	for (unsigned d = 0; d < i->ndead; d++) {
		if (i->dead[d].seq != drop->seq || i->dead[d].from != drop->from ||
			i->dead[d].to != drop->to)
			continue;
		i->ndead--;
		memmove(&i->dead[d], &i->dead[d + 1], (i->ndead - d) * sizeof(i->dead[0]));
		if (!i->ndead)
			delete_ino(a->t, KEY_GARBAGE, i->ino);
		return;
	}
}

/* The orphan's end. Its blocks are all gone, or the check would say so; what the counters still say
 * goes with it. */
static int reap_last(struct apply *a, struct inode *i, const struct body_reap_item *it)
{
	const uint8_t *p = it->names;
	struct key k;
	int r = count_blocks(a, i, 0, i->blocks);

	if (r || !a->t->sb.inodes)
		return r ? r : -EBADMSG;
	for (unsigned n = 0; n < it->nnames; n++, p += 1 + p[0]) {
		key_name(&k, KEY_XATTR, i->ino, (const char *)p + 1, p[0]);
		txn_delete(a->t->txn, k.b, k.len);
	}
	if (S_ISLNK(i->mode))
		delete_ino(a->t, KEY_SYMLINK, i->ino);
	if (i->ndead)
		delete_ino(a->t, KEY_GARBAGE, i->ino);
	delete_ino(a->t, KEY_ORPHAN, i->ino);
	delete_ino(a->t, KEY_INODE, i->ino);
	SB_SET(a->t, inodes, a->t->sb.inodes - 1);
	return 0;
}

int apply_reap(struct apply *a)
{
	struct body_reap b;
	struct inode i;
	int r = body_decode_reap(a->e->body, a->e->h.body_len, &b);

	for (unsigned n = 0; !r && n < b.n; n++) {
		struct body_reap_item *it = &b.items[n];

		r = apply_must(view_inode(&a->v, it->ino, &i));
		if (!r && it->flags & REAP_ORPHAN && i.nlink)
			r = -EBADMSG;
		for (unsigned c = 0; !r && c < it->nchunks; c++)
			r = reap_chunk(a, &i, it, le64_get(it->chunks + 8 * (size_t)c));
		if (r)
			break;
		if (it->flags & REAP_DROP)
			reap_drop(a, &i, &it->drop);
		if (it->flags & REAP_LAST)
			r = reap_last(a, &i, it);
		else
			put_inode(a->t, &i);
	}
	return r;
}

/* --- payloads --- */

bool apply_payload(const struct entry *e, struct entry_payload *ret_p)
{
	struct body_change b;

	switch (e->h.type) {
	case OP_WRITE:
	case OP_SETATTR:
	case OP_FALLOCATE:
		break;
	default:
		return false;
	}
	if (body_decode_change(e->body, e->h.body_len, &b) || !(b.flags & BODY_DATA))
		return false;
	*ret_p = (struct entry_payload){.addr = b.addr,
		.blocks = b.blocks,
		.external = b.flags & BODY_EXTERNAL,
		.bytes = b.payload,
		.crc = b.payload_crc};
	return true;
}
