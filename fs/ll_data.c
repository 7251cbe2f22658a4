/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data: opening, reading, writing, space, holes.
 *
 * A read maps the file's blocks and takes each run from memory or its segment, checksums verified,
 * into the worker's buffer; holes are zeros. A block whose checksum is wrong is looked up again: only
 * if the map still names that address it is damage.
 *
 * A write's bytes are copied once, to where they lie in the block that holds them; the old bytes
 * around an unaligned write are read beside them. When there is no memory the bytes are parked: a
 * worker never waits.
 *
 * fsync is answered with ENOSYS: the kernel writes dirty pages back first, and every WRITE is committed
 * on both sites when it is answered, so there is nothing left to do.
 */
#include "ll_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fuse.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

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

/* --- reading --- */

/* true when the inode's block still lies at a. */
static bool still_mapped(struct ll *l, uint64_t ino, uint64_t block, struct addr a)
{
	struct inode i;
	struct extent x;
	uint32_t crc;

	return tree_inode(l->tree, ino, &i) == 0 &&
	       tree_map(l->tree, &i, block, 1, &x, 1, &crc) == 1 && x.addr.epoch == a.epoch &&
	       x.addr.block == a.block;
}

static int bad_block(struct ll *l, uint64_t ino, const struct extent *x, uint32_t bad)
{
	struct addr a = {.block = x->addr.block + bad, .epoch = x->addr.epoch};
	uint64_t n;

	if (!still_mapped(l, ino, x->file_block + bad, a))
		return -EAGAIN;
	n = atomic_fetch_add(&l->bad_reads, 1) + 1;
	if (n <= 100 || n % 1000 == 0)
		log_error("inode %" PRIu64 ": block %" PRIu64 " at epoch %u block %" PRIu64
			  " has a wrong checksum (%" PRIu64 " so far)",
			ino, x->file_block + bad, a.epoch, a.block, n);
	return -EIO;
}

/* Reads file blocks [first, first + blocks) into the buffer. -EAGAIN: the map changed meanwhile. */
static int read_blocks(
	struct ll *l, const struct inode *i, uint64_t first, uint32_t blocks, uint8_t *buf)
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
			uint32_t bad;
			int ret = 0;

			if (!extents[x].addr.epoch)
				memset(at, 0, (size_t)extents[x].blocks * BLOCK_SIZE);
			else
				ret = segments_read(l->segments, extents[x].addr, extents[x].blocks,
					at, crcs + mapped, &bad);
			if (ret == -EBADMSG)
				ret = bad_block(l, i->ino, &extents[x], bad);
			if (ret)
				return ret;
			mapped += extents[x].blocks;
		}
		done += mapped;
	}
	return 0;
}

void ll_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct ll *l = ll_of(req);
	uint8_t *buf = ll_self->data;
	uint64_t from = (uint64_t)off, first = from / BLOCK_SIZE, end;
	struct inode i;
	int ret = -EAGAIN;

	for (unsigned tries = 0; ret == -EAGAIN && tries < READ_TRIES; tries++) {
		ret = tree_inode(l->tree, ino, &i);
		if (!ret && !S_ISREG(i.mode))
			ret = S_ISDIR(i.mode) ? -EISDIR : -EINVAL;
		if (!ret && (size > WRITE_SIZE_MAX || off < 0))
			ret = -EINVAL;
		if (ret)
			break;
		end = MIN(from + size, i.size);
		if (from >= end) {
			fuse_reply_buf(req, NULL, 0);
			return;
		}
		ret = read_blocks(
			l, &i, first, (uint32_t)((end + BLOCK_SIZE - 1) / BLOCK_SIZE - first), buf);
	}
	if (ret)
		fuse_reply_err(req, ret == -EAGAIN ? EIO : -ret);
	else
		fuse_reply_buf(req, (const char *)buf + from % BLOCK_SIZE, end - from);
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

void ll_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct op *op = ll_op_new(req, OP_WRITE, done_write);
	struct ll *l = ll_of(req);
	size_t head = (size_t)off % BLOCK_SIZE, total;
	int ret = 0;

	op->ino = ino;
	op->off = (uint64_t)off;
	op->len = size;
	op->kill_priv = ll_self->raw_flags & FUSE_WRITE_KILL_SUIDGID;
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
	op->payload = payload_new(l->pool, total);
	if (!op->payload) {
		ret = volume_park(l->v, op, buf);
		if (ret)
			ll_op_refuse(op, ret);
		return;
	}
	memcpy(op->payload->data + head, buf, size);
	if (head || (head + size) % BLOCK_SIZE)
		ret = op_read_edges(l->tree, l->segments, l->pool, op);
	if (ret)
		ll_op_refuse(op, ret);
	else
		volume_submit(l->v, op);
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
	else
		ret = op_read_edges(l->tree, l->segments, l->pool, op);
	if (ret)
		ll_op_refuse(op, ret);
	else
		volume_submit(l->v, op);
}
