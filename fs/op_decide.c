/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a request to an entry: the table of types, and what all of them share. A decision reads
 * through the transaction in memory only; -EAGAIN sends the operation to a helper, which runs the
 * very same code against a preload (op_warm), so that whatever the decision would read is there the
 * next time. Between -EAGAIN and the helper the transaction is put into the memtable, or the helper
 * would not see what was staged just before.
 *
 * Nothing is changed here: every check comes before the first address is assigned.
 */
#include "tree_impl.h"

#include <stdlib.h>
#include <string.h>

#include "le.h"
#include "log.h"

#define GRANT_KEPT 256u /* granted blocks that are left for the edges of truncates and punches */

typedef int decide_fn(struct decide *d);

static decide_fn *const table[OP_TYPE_MAX] = {
	[OP_CREATE] = decide_create,
	[OP_UNLINK] = decide_unlink,
	[OP_RMDIR] = decide_unlink,
	[OP_RENAME] = decide_rename,
	[OP_LINK] = decide_link,
	[OP_SETATTR] = decide_setattr,
	[OP_WRITE] = decide_write,
	[OP_FALLOCATE] = decide_fallocate,
	[OP_SETXATTR] = decide_setxattr,
	[OP_REMOVEXATTR] = decide_setxattr,
	[OP_REAP] = decide_reap,
	[OP_RESIZE] = decide_resize,
};

int op_decide(struct tree *t, struct op *op, struct decide_ctx *c, struct decision *ret_d)
{
	struct decision out = {.type = (uint16_t)op->type};
	struct decide d = {.v = {.t = t}, .op = op, .c = c, .d = &out, .scratch = t->scratch};
	int r;

	ensure(op->type > 0 && op->type < OP_TYPE_MAX);
	txn_set_memory_only(t->txn, true);
	txn_set_preload(t->txn, op->preload);
	r = table[op->type](&d);
	txn_set_preload(t->txn, NULL);
	txn_set_memory_only(t->txn, false);
	if (r == -EAGAIN) {
		if (tree_flush_txn(t))
			r = -EIO;
		return r;
	}
	store_preload_free(op->preload);
	op->preload = NULL;
	if (r == -EBADMSG) {
		log_error("metadata of inode %llu or directory %llu is damaged",
			(unsigned long long)op->ino, (unsigned long long)op->parent);
		r = -EIO;
	}
	if (!r)
		*ret_d = out;
	return r;
}

int op_warm(struct tree *t, struct op *op, bool *ret_edges_stale)
{
	struct decide_ctx c = {.seq = UINT64_MAX,
		.epoch_num = 1,
		.room_blocks = UINT64_MAX / 2,
		.free_blocks = UINT64_MAX};
	struct decision out = {0};
	struct decide d = {.v = {.t = t}, .op = op, .c = &c, .d = &out};
	int r = 0;

	ensure(op->type > 0 && op->type < OP_TYPE_MAX);
	store_preload_free(op->preload);
	op->preload = store_preload_new(t->store);
	d.v.p = op->preload;
	if (op->type == OP_REAP)
		r = reap_list(&d.v, op);
	if (!r)
		r = table[op->type](&d);
	*ret_edges_stale = d.v.edges_stale;
	/* Any other error is found again, and told, by the decision itself. */
	return r == -EIO ? r : 0;
}

int decide_finish(struct decide *d, size_t n)
{
	d->d->iov[0] = (struct iovec){.iov_base = d->scratch, .iov_len = n};
	d->d->niov = 1;
	return 0;
}

/* --- changes of one inode --- */

int decide_edge(struct decide *d, const struct inode *i, const struct op_edge *e, uint64_t block)
{
	const struct chunk_block *b;
	struct chunk c;
	bool mapped, fresh;
	int r = view_chunk(&d->v, i->ino, block / CHUNK_BLOCKS, &c);

	if (r)
		return r;
	b = &c.b[block % CHUNK_BLOCKS];
	mapped = b->epoch && !dead_covers(i, block, b->birth);
	fresh = e->used && e->file_block == block && (e->addr.epoch != 0) == mapped &&
		(!mapped ||
			(e->addr.epoch == b->epoch && e->addr.block == b->block && d->op->payload));
	if (!fresh) {
		if (!view_warms(&d->v))
			return -EAGAIN;
		d->v.edges_stale = true;
	}
	return mapped;
}

static int hole_now(
	struct decide *d, const struct inode *i, struct body_change *b, uint64_t from, uint64_t to)
{
	struct chunk c;
	bool any = false;

	for (uint64_t n = from / CHUNK_BLOCKS; n <= (to - 1) / CHUNK_BLOCKS; n++) {
		int r = view_chunk(&d->v, i->ino, n, &c);

		if (r)
			return r;
		any |= c.mapped > 0;
	}
	if (any) {
		b->flags |= BODY_HOLE;
		b->hole_from = from;
		b->hole_to = to;
	}
	return 0;
}

int decide_hole(
	struct decide *d, const struct inode *i, struct body_change *b, uint64_t from, uint64_t to)
{
	uint64_t end = MIN(to, (i->size + BLOCK_SIZE - 1) / BLOCK_SIZE);

	/* Behind the end of the file nothing is mapped but what is dead already. */
	if (!i->blocks || from >= end)
		return 0;
	if ((end - 1) / CHUNK_BLOCKS - from / CHUNK_BLOCKS < HOLE_CHUNKS_MAX)
		return hole_now(d, i, b, from, end);
	b->ndead = 0;
	for (unsigned n = 0; n < i->ndead; n++) /* what the new range contains is done with it */
		if (i->dead[n].from < from || i->dead[n].to > to)
			b->dead[b->ndead++] = i->dead[n];
	if (b->ndead == DEAD_RANGES_MAX) {
		if (!view_warms(&d->v))
			d->v.t->garbage.urgent = i->ino;
		return -EINPROGRESS;
	}
	b->dead[b->ndead++] = (struct dead_range){.seq = d->c->seq, .from = from, .to = to};
	b->flags |= BODY_DEAD;
	return 0;
}

int decide_remove_xattr(
	struct decide *d, const struct inode *i, struct body_change *b, const char *name)
{
	struct body_xattr *x = &b->xattrs.x[b->xattrs.n];
	const uint8_t *v;
	size_t len, nlen = strlen(name);
	int r = view_xattr(&d->v, i->ino, name, nlen, &v, &len);

	if (r)
		return r == -ENOENT ? 0 : r;
	ensure(b->xattrs.n < BODY_XATTRS_MAX);
	b->xattrs.n++;
	*x = (struct body_xattr){.remove = true, .name = name, .nlen = (uint8_t)nlen};
	return 0;
}

int decide_kill_priv(struct decide *d, const struct inode *i, struct body_change *b, bool bits)
{
	uint32_t mode = b->mask & BODY_SET_MODE ? b->mode : i->mode & 07777, killed = mode;

	if (S_ISDIR(i->mode))
		return 0;
	if (bits) {
		killed &= ~(uint32_t)S_ISUID;
		if (mode & S_IXGRP)
			killed &= ~(uint32_t)S_ISGID;
	}
	if (killed != mode) {
		b->mask |= BODY_SET_MODE;
		b->mode = killed;
	}
	return i->has_caps ? decide_remove_xattr(d, i, b, "security.capability") : 0;
}

/* How many blocks more the file will have: what is mapped, less what that replaces. */
static int data_growth(
	struct decide *d, const struct inode *i, const struct body_change *b, int64_t *ret_growth)
{
	struct chunk c;

	*ret_growth = b->blocks;
	for (unsigned run = 0; run < b->nruns; run++) {
		uint64_t at = b->runs[run].file_block, end = at + b->runs[run].blocks;

		while (at < end) {
			uint64_t n = at / CHUNK_BLOCKS;
			int r = view_chunk(&d->v, i->ino, n, &c);

			if (r)
				return r;
			for (; at < end && at / CHUNK_BLOCKS == n; at++)
				*ret_growth -= c.b[at % CHUNK_BLOCKS].epoch != 0;
		}
	}
	return 0;
}

static void assign(struct decide_ctx *c, struct body_change *b)
{
	uint64_t room = DATA_SEGMENT_BLOCKS - c->next_block % DATA_SEGMENT_BLOCKS;

	if (room < b->blocks)
		c->next_block += room;
	b->addr = (struct addr){.block = c->next_block, .epoch = c->epoch_num};
	c->next_block += b->blocks;
}

/* Are the addresses that assign() will take granted? */
static int check_grant(const struct decide *d, const struct body_change *b)
{
	const struct decide_ctx *c = d->c;
	uint64_t room = DATA_SEGMENT_BLOCKS - c->next_block % DATA_SEGMENT_BLOCKS;
	uint64_t end = c->next_block + b->blocks + (room < b->blocks ? room : 0);
	uint64_t keep = d->op->type == OP_WRITE ? GRANT_KEPT : 0;

	if (!c->limited || end + keep <= c->limit_block)
		return 0;
	return c->full ? -ENOSPC : -ENOBUFS;
}

int decide_change(struct decide *d, const struct inode *i, struct body_change *b)
{
	uint32_t crcs[BODY_BLOCKS_MAX];
	uint8_t encoded[4 * BODY_BLOCKS_MAX];
	struct tree *t = d->v.t;
	int64_t growth;
	int r;

	if (!(b->flags & BODY_DATA))
		return view_warms(&d->v) ? 0 : decide_finish(d, body_encode_change(b, d->scratch));
	r = data_growth(d, i, b, &growth);
	if (r || view_warms(&d->v))
		return r;
	if (b->blocks > d->c->free_blocks ||
		(growth > 0 && t->sb.used_blocks + (uint64_t)growth > t->sb.size_blocks))
		return -ENOSPC;
	r = check_grant(d, b);
	if (r)
		return r;
	assign(d->c, b);
	block_crcs(d->op->payload->data, b->blocks, crcs,
		b->flags & BODY_EXTERNAL ? &b->payload_crc : NULL);
	for (uint32_t n = 0; n < b->blocks; n++)
		le32_put(encoded + 4 * (size_t)n, crcs[n]);
	b->crcs = encoded;
	decide_finish(d, body_encode_change(b, d->scratch));
	d->d->addr = b->addr;
	d->d->addr_blocks = b->blocks;
	d->d->external = b->flags & BODY_EXTERNAL;
	d->d->payload_crc = b->payload_crc;
	if (!d->d->external) {
		d->d->iov[1] = (struct iovec){.iov_base = d->op->payload->data,
			.iov_len = (size_t)b->blocks * BLOCK_SIZE};
		d->d->niov = 2;
	}
	return 0;
}
