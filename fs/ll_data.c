/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data: opening, reading, writing, space, holes.
 *
 * A read maps the file's blocks and takes each run from memory or its segment, checksums verified,
 * into the worker's buffer; holes are zeros. A block whose checksum is wrong, or that the disk cannot
 * read, is looked up again: only if the map still names that address it is damage. Then the request
 * waits, on no thread, until the block is repaired from another replica (repair.h), and is read again.
 *
 * A write's bytes are copied once, to where they lie in the block that holds them; the old bytes
 * around an unaligned write are read beside them. When there is no memory the bytes are parked: a
 * worker never waits.
 *
 * fsync under ack=op is answered with ENOSYS, which the kernel remembers: it writes dirty pages back first,
 * and every WRITE is committed on both sites when it is answered, so there is nothing left to do. Under
 * ack=fsync it waits for all that was staged before, of whatever file: what survives is a prefix.
 */
#include "ll_impl.h"

#include <errno.h>
#include <linux/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "repair.h"

#define EXTENTS_MAX 64u
#define READ_BLOCKS_MAX (LL_READ_SIZE / BLOCK_SIZE)
#define READ_TRIES 8u /* mappings that changed under a read */

void ll_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	ll_reply_open(req, ll_open_flags(fi->flags));
}

void ll_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fuse_reply_err(req, ENOSYS);
}

void ll_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	if (ll_of(req)->ack_fsync)
		ll_op_submit(ll_op_new(req, OP_SYNC, ll_done_err), 0);
	else
		fuse_reply_err(req, ENOSYS);
}

/* --- reading --- */

/* A run of one extent. -EAGAIN: the map changed meanwhile. -EBADMSG: damage, *ret_r describes it. */
static int read_extent(struct ll *l, uint64_t ino, const struct extent *x, uint8_t *at,
	const uint32_t *crcs, struct repair **ret_r)
{
	uint32_t bad = 0;
	int ret;

	if (!x->addr.epoch) {
		memset(at, 0, (size_t)x->blocks * BLOCK_SIZE);
		return 0;
	}
	ret = segments_read(l->segments, x->addr, x->blocks, at, crcs, &bad);
	if (ret == -EBADMSG || ret == -EIO)
		ret = repair_find(l->tree, l->segments, ino, x, crcs, bad, ret_r);
	return ret;
}

/* Reads file blocks [first, first + blocks) into the buffer. As read_extent(). */
static int read_blocks(struct ll *l, const struct inode *i, uint64_t first, uint32_t blocks,
	uint8_t *buf, struct repair **ret_r)
{
	struct extent extents[EXTENTS_MAX];
	uint32_t crcs[READ_BLOCKS_MAX], done = 0;

	while (done < blocks) {
		int n = tree_map(
			l->tree, i, first + done, blocks - done, extents, EXTENTS_MAX, crcs);
		uint32_t mapped = 0;

		if (n <= 0)
			return n ? n : -EIO;
		for (int x = 0; x < n; x++) {
			uint8_t *at = buf + (size_t)(done + mapped) * BLOCK_SIZE;
			int ret = read_extent(l, i->ino, &extents[x], at, crcs + mapped, ret_r);

			if (ret)
				return ret;
			mapped += extents[x].blocks;
		}
		done += mapped;
	}
	return 0;
}

/* The whole request into buf (LL_READ_SIZE bytes): the answer is *ret_len bytes from *ret_p on. */
static int read_request(struct ll *l, uint64_t ino, uint64_t from, size_t size, uint8_t *buf,
	const uint8_t **ret_p, size_t *ret_len, struct repair **ret_r)
{
	uint64_t first = from / BLOCK_SIZE, end;
	struct inode i;
	int ret = -EAGAIN;

	for (unsigned tries = 0; ret == -EAGAIN && tries < READ_TRIES; tries++) {
		ret = tree_inode(l->tree, ino, &i);
		if (!ret && !S_ISREG(i.mode))
			ret = S_ISDIR(i.mode) ? -EISDIR : -EINVAL;
		if (ret)
			return ret;
		end = MIN(from + size, i.size);
		*ret_p = buf + from % BLOCK_SIZE;
		*ret_len = from < end ? end - from : 0;
		if (!*ret_len)
			return 0;
		ret = read_blocks(l, &i, first,
			(uint32_t)((end + BLOCK_SIZE - 1) / BLOCK_SIZE - first), buf, ret_r);
	}
	return ret == -EAGAIN ? -EIO : ret;
}

/* A read that met damage: it waits for repairs, on no thread. */
struct damaged_read {
	struct ll *l;
	fuse_req_t req;
	uint64_t ino, from;
	size_t size;
	struct repair *list; /* what was repaired for it */
	unsigned rounds;
};

static void damaged_over(struct damaged_read *d)
{
	struct ll *l = d->l;

	while (d->list) {
		struct repair *r = d->list;

		d->list = r->next;
		repair_end(l->segments, r);
	}
	free(d);
	ll_unref(l);
}

static void damaged_again(struct repair *r, int code)
{
	struct damaged_read *d = r->ctx;
	struct repair *more = NULL;
	uint8_t *buf = NULL;
	const uint8_t *p;
	size_t len;

	r->next = d->list;
	d->list = r;
	if (!code && atomic_load(&d->l->fenced))
		code = -EIO;
	if (!code)
		code = posix_memalign((void **)&buf, BLOCK_SIZE, LL_READ_SIZE) ? -ENOMEM : 0;
	if (!code)
		code = read_request(d->l, d->ino, d->from, d->size, buf, &p, &len, &more);
	if (code == -EBADMSG && d->rounds++ < READ_BLOCKS_MAX) {
		more->again = damaged_again;
		more->ctx = d;
		volume_repair(d->l->v, more);
	} else {
		if (code)
			fuse_reply_err(d->req, code == -EBADMSG ? EIO : -code);
		else
			fuse_reply_buf(d->req, (const char *)p, len);
		free(more);
		damaged_over(d);
	}
	free(buf);
}

static void read_damaged(fuse_req_t req, uint64_t ino, uint64_t from, size_t size, struct repair *r)
{
	struct damaged_read *d = calloc(1, sizeof(*d));
	struct ll *l = ll_of(req);

	if (!d) {
		free(r);
		fuse_reply_err(req, EIO);
		return;
	}
	*d = (struct damaged_read){
		.l = ll_ref(l), .req = req, .ino = ino, .from = from, .size = size};
	r->again = damaged_again;
	r->ctx = d;
	volume_repair(l->v, r);
}

void ll_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct repair *r = NULL;
	const uint8_t *p = NULL;
	size_t len = 0;
	int ret = -EINVAL;

	if (size <= WRITE_SIZE_MAX && off >= 0)
		ret = read_request(
			ll_of(req), ino, (uint64_t)off, size, ll_self->data, &p, &len, &r);
	if (ret == -EBADMSG)
		read_damaged(req, ino, (uint64_t)off, size, r);
	else if (ret)
		fuse_reply_err(req, -ret);
	else
		fuse_reply_buf(req, (const char *)p, len);
}

void ll_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
	struct ll *l = ll_of(req);
	struct inode i;
	uint64_t found;
	int ret = tree_inode(l->tree, ino, &i);

	if (!ret)
		ret = whence == SEEK_DATA || whence == SEEK_HOLE ? 0 : -EINVAL;
	if (!ret)
		ret = off < 0 || (uint64_t)off >= i.size
			      ? -ENXIO
			      : tree_seek(l->tree, &i, (uint64_t)off, whence, &found);
	if (ret)
		fuse_reply_err(req, -ret);
	else
		fuse_reply_lseek(req, (off_t)found);
}

/* --- writing --- */

static void done_write(struct op *op)
{
	if (op->error)
		fuse_reply_err(op->req, -op->error);
	else
		fuse_reply_write(op->req, op->len);
	ll_op_end(op);
}

/* Of `total` bytes with `size` written ones from `head` on; NULL: the pool is exhausted. Where they are a whole payload
 * already, it is that one. */
static struct payload *take_written(
	struct ll *l, const uint8_t *bytes, size_t head, size_t size, size_t total)
{
	struct ll_worker *w = ll_self;
	struct payload *p;

	if (w->in_spare && total == size && total > PAYLOAD_SIZE_MAX / 2) {
		p = w->spare;
		w->spare = NULL;
		return p;
	}
	p = payload_new(l->pool, total);
	if (p)
		memcpy(p->data + head, bytes, size);
	return p;
}

void ll_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct op *op = ll_op_new(req, OP_WRITE, done_write);
	struct ll *l = ll_of(req);
	size_t head = (size_t)off % BLOCK_SIZE, total;
	const uint8_t *bytes;
	int ret = 0;

	op->ino = ino;
	op->off = (uint64_t)off;
	op->len = size;
	op->kill_priv = ll_self->raw_flags & FUSE_WRITE_KILL_SUIDGID;
	op->sync = fi->flags &
		   O_DSYNC; /* O_SYNC contains it; the kernel sends no FSYNC after O_DIRECT */
	if (size > WRITE_SIZE_MAX || off < 0)
		ret = -EINVAL;
	else if ((uint64_t)off + size > FILE_SIZE_MAX)
		ret = -EFBIG;
	if (ret) {
		ll_op_refuse(op, ret);
		return;
	}
	if (!size) {
		done_write(op);
		return;
	}
	total = (head + size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	bytes = ll_self->in_spare ? ll_self->spare->data : (const uint8_t *)buf;
	op->payload = take_written(l, bytes, head, size, total);
	if (!op->payload) {
		ret = volume_park(l->v, op, bytes);
		if (ret)
			ll_op_refuse(op, ret);
		return;
	}
	if (head || (head + size) % BLOCK_SIZE)
		ret = op_read_edges(l->tree, l->segments, l->pool, op);
	ll_op_submit(op, ret);
}

void ll_fallocate(
	fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	struct op *op = ll_op_new(req, OP_FALLOCATE, ll_done_err);
	struct ll *l = ll_of(req);
	int ret = 0;

	op->ino = ino;
	op->off = (uint64_t)off;
	op->len = (uint64_t)len;
	op->flags = (uint32_t)mode;
	if (off < 0 || len <= 0)
		ret = -EINVAL;
	else if ((uint64_t)off + (uint64_t)len > FILE_SIZE_MAX)
		ret = -EFBIG;
	if (ret)
		ll_op_refuse(op, ret);
	else
		ll_op_submit(op, op_read_edges(l->tree, l->segments, l->pool, op));
}
