/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data segments: writing, syncing, and reading. Epochs and files are in segments_files.c; what is
 * still in memory, and the writer thread, in segments_pending.c.
 *
 * All writing is O_DIRECT: the page cache would copy each byte once more, hold a second copy of what
 * the kernel caches above us, and write back in bursts that the ring's flushes wait behind (8 MiB of
 * it: 5 ms). Reading goes through the page cache.
 *
 * A block is read from memory when it is pending and from its file otherwise; in this order,
 * because a run leaves memory only after it was written. A block whose checksum is wrong is read
 * once more with O_DIRECT: a direct write may leave the page cache with what was there before (the
 * kernel drops those pages, but may fail to). So is a block that the page cache cannot get, because it
 * fails for all that it reads at once, 16 KiB or a MiB around one bad sector. What is read once, in large
 * runs, for another site, passes the page cache by: copying it out of there costs most of the time.
 *
 * Failure modes: a failed write or sync is final and sticky (I9). A failed read is the reader's. A
 * block that is missing (short or absent file) reads as zeros, and its checksum tells.
 */
#include "segments_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "crc32c.h"
#include "log.h"

#define PACE_BYTES                                                                                 \
	(1u << 20) /* without O_DIRECT: write-back is started after so much in one file */
#define READ_BLOCKS 256u /* blocks looked at in one step of a read */

static void check_run(struct addr a, uint32_t blocks)
{
	ensure(blocks && a.block % DATA_SEGMENT_BLOCKS + blocks <= DATA_SEGMENT_BLOCKS);
}

/*
 * Reading ahead takes pages that an O_DIRECT write is about to make wrong; when the kernel cannot take one
 * of them away afterwards ("Page cache invalidation failure on direct I/O"), it lets the write or the next sync
 * fail with EIO, which ends the process (I9) though the disk is sound. So nothing is read ahead in a file
 * while such writes are still to come; they ascend, so the file before is done with.
 */
static void stop_readahead(struct segments *s, struct addr a, struct seg_file *f)
{
	struct seg_file *before;

	if (atomic_load_explicit(&f->no_readahead, memory_order_relaxed) ||
		atomic_exchange(&f->no_readahead, true))
		return;
	posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
	if (a.block < DATA_SEGMENT_BLOCKS)
		return;
	a.block -= DATA_SEGMENT_BLOCKS;
	if (!seg_file_get(s, a, false, &before))
		posix_fadvise(before->fd, 0, 0, POSIX_FADV_NORMAL);
}

int segments_direct(
	struct segments *s, struct addr a, uint32_t blocks, int *ret_fd, uint64_t *ret_off)
{
	struct seg_file *f;
	int ret;

	check_run(a, blocks);
	ret = seg_file_get(s, a, true, &f);
	if (ret)
		return ret;
	pending_want_next(s, a);
	stop_readahead(s, a, f);
	*ret_fd = f->direct_fd;
	*ret_off = seg_file_offset(a);
	return 0;
}

/* --- writing --- */

static bool aligned(const struct iovec *iov, int niov)
{
	uintptr_t bits = 0;

	for (int i = 0; i < niov; i++)
		bits |= (uintptr_t)iov[i].iov_base;
	return bits % BLOCK_SIZE == 0;
}

/* Copies into one piece, for memory that O_DIRECT cannot take. */
static void gather(struct iovec *iov, int *niov, uint8_t *bounce)
{
	size_t len = 0;

	for (int i = 0; i < *niov; i++) {
		memcpy(bounce + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	iov[0] = (struct iovec){.iov_base = bounce, .iov_len = len};
	*niov = 1;
}

int seg_pwritev(struct segments *s, struct addr a, struct iovec *iov, int niov, uint8_t *bounce)
{
	off_t off = (off_t)seg_file_offset(a);
	uint64_t total = 0;
	struct seg_file *f;
	bool direct;
	int ret = seg_file_get(s, a, true, &f);

	if (ret)
		return seg_fail(s, ret, "opening a segment", a);
	direct = f->direct_fd != f->fd;
	if (direct) {
		stop_readahead(s, a, f);
		if (!aligned(iov, niov))
			gather(iov, &niov, bounce);
	}
	atomic_store(&f->dirty, true);
	while (niov) {
		ssize_t n = seg_fault(s);

		if (n < 0)
			errno = (int)-n;
		else
			n = pwritev(f->direct_fd, iov, niov, off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return seg_fail(s, n < 0 ? -errno : -EIO, "writing", a);
		off += n;
		total += (uint64_t)n;
		while (niov && (size_t)n >= iov->iov_len) {
			n -= (ssize_t)iov->iov_len;
			iov++;
			niov--;
		}
		if (niov) {
			iov->iov_base = (uint8_t *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	if (!direct && atomic_fetch_add(&f->unpaced, total) + total >= PACE_BYTES) {
		atomic_store(&f->unpaced, 0);
		/* Only a hint: what it cannot start, the sync will. */
		sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	}
	return 0;
}

int segments_write(struct segments *s, struct addr a, uint32_t blocks, const void *bytes)
{
	struct iovec iov = {.iov_base = (void *)bytes, .iov_len = (size_t)blocks * BLOCK_SIZE};
	cleanup_free void *bounce = NULL;

	check_run(a, blocks);
	if (atomic_load(&s->failed))
		return atomic_load(&s->failed);
	pending_want_next(s, a);
	if (!aligned(&iov, 1) && posix_memalign(&bounce, BLOCK_SIZE, iov.iov_len))
		return -ENOMEM;
	return seg_pwritev(s, a, &iov, 1, bounce);
}

/* The files that were written since their last sync. */
static int take_dirty(struct segments *s, struct seg_file ***ret_files, unsigned *ret_n)
{
	struct seg_file **files = NULL;
	unsigned n = 0, cap = 0;
	int ret = 0;

	pthread_rwlock_rdlock(&s->table_lock);
	for (unsigned i = 0; i < s->nepochs && !ret; i++) {
		struct seg_epoch *e = s->epochs[i];

		for (unsigned j = 0; j < e->nfiles; j++) {
			if (!e->files[j] || !atomic_load(&e->files[j]->dirty))
				continue;
			if (n == cap) {
				struct seg_file **grown =
					realloc(files, (cap * 2 + 8) * sizeof(*grown));

				if (!grown) {
					ret = -ENOMEM;
					break;
				}
				files = grown;
				cap = cap * 2 + 8;
			}
			files[n++] = e->files[j];
		}
	}
	pthread_rwlock_unlock(&s->table_lock);
	*ret_files = files;
	*ret_n = n;
	return ret;
}

int segments_sync(struct segments *s)
{
	cleanup_free struct seg_file **files = NULL;
	unsigned n = 0;
	int ret = pending_drain(s);

	if (!ret)
		ret = take_dirty(s, &files, &n);
	for (unsigned i = 0; i < n && !ret; i++) {
		atomic_store(&files[i]->dirty, false);
		atomic_store(&files[i]->unpaced, 0);
		ret = seg_fault(s);
		if (!ret && fdatasync(files[i]->fd) < 0)
			ret = -errno;
		if (ret)
			seg_fail(s, ret, "syncing", (struct addr){0});
	}
	return ret ? ret : atomic_load(&s->failed);
}

/* --- reading --- */

/* Reads all of len bytes; what is behind the file's end is zero. */
static int pread_all(int fd, uint8_t *buf, size_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pread(fd, buf, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n) {
			memset(buf, 0, len);
			return 0;
		}
		buf += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

/* At most READ_BLOCKS blocks, unverified. */
static int read_blocks(struct segments *s, struct addr a, uint32_t blocks, uint8_t *buf)
{
	bool have[READ_BLOCKS] = {false};
	struct seg_file *f = NULL;
	int ret;

	pending_copy(s, a, blocks, buf, have);
	for (uint32_t i = 0, n; i < blocks; i += n) {
		struct addr at = {.block = a.block + i, .epoch = a.epoch};

		for (n = 1; i + n < blocks && have[i + n] == have[i]; n++)
			;
		if (have[i])
			continue;
		if (!f) {
			ret = seg_file_get(s, a, false, &f);
			if (ret == -ENOENT) {
				memset(buf + (size_t)i * BLOCK_SIZE, 0, (size_t)n * BLOCK_SIZE);
				continue;
			}
			if (ret)
				return ret;
		}
		ret = pread_all(f->fd, buf + (size_t)i * BLOCK_SIZE, (size_t)n * BLOCK_SIZE,
			seg_file_offset(at));
		if (ret) {
			unsigned long count = atomic_fetch_add(&s->read_errors, 1);

			if (count < 100 || count % 1000 == 0) /* a disk may be full of them */
				log_error("data segments: reading epoch %u block %" PRIu64 ": %s",
					a.epoch, at.block, strerror(-ret));
			return -EIO;
		}
	}
	return 0;
}

/* All blocks as they are on the disk itself; memory that O_DIRECT cannot take gets a copy. */
static int read_direct(struct segments *s, struct addr a, uint32_t blocks, uint8_t *buf)
{
	cleanup_free void *bounce = NULL;
	size_t len = (size_t)blocks * BLOCK_SIZE;
	uint8_t *to = buf;
	struct seg_file *f;
	int ret = seg_file_get(s, a, false, &f);

	if (ret == -ENOENT)
		memset(buf, 0, len);
	if (ret)
		return ret == -ENOENT ? 0 : ret;
	if ((uintptr_t)buf % BLOCK_SIZE) {
		if (posix_memalign(&bounce, BLOCK_SIZE, len))
			return -ENOMEM;
		to = bounce;
	}
	/* Buffered neighbours that are not written back yet are written back first by the kernel. */
	ret = pread_all(f->direct_fd, to, len, seg_file_offset(a));
	if (!ret && to != buf)
		memcpy(buf, to, len);
	return ret;
}

static bool block_matches(const uint8_t *block, uint32_t crc)
{
	return crc32c(0, block, BLOCK_SIZE) == crc;
}

/*
 * Once more, what was not as it should be, or what could not be read with others: from the disk itself,
 * and no oftener than needed, as a disk may try for seconds. 0, -EBADMSG, -EIO.
 */
static int read_again(struct segments *s, struct addr a, uint8_t *block, uint32_t crc, bool unread)
{
	bool have = false;
	int ret;

	if (unread)
		pending_copy(s, a, 1, block, &have);
	else
		have = read_blocks(s, a, 1, block) == 0;
	if (have && block_matches(block, crc))
		return 0;
	ret = read_direct(s, a, 1, block);
	if (ret)
		return -EIO;
	return block_matches(block, crc) ? 0 : -EBADMSG;
}

int segments_read(struct segments *s, struct addr a, uint32_t blocks, void *buf,
	const uint32_t *crcs, uint32_t *ret_bad)
{
	uint8_t *p = buf;

	check_run(a, blocks);
	for (uint32_t i = 0; i < blocks;) {
		uint32_t n = MIN(blocks - i, READ_BLOCKS);
		struct addr at = {.block = a.block + i, .epoch = a.epoch};
		int ret = read_blocks(s, at, n, p + (size_t)i * BLOCK_SIZE);
		bool unread = ret == -EIO && crcs;

		if (ret && !unread)
			return ret;
		for (uint32_t end = i + n; crcs && i < end; i++) {
			uint8_t *block = p + (size_t)i * BLOCK_SIZE;
			struct addr one = {.block = a.block + i, .epoch = a.epoch};

			if (!unread && block_matches(block, crcs[i]))
				continue;
			ret = read_again(s, one, block, crcs[i], unread);
			if (ret) {
				*ret_bad = i;
				return ret;
			}
		}
		if (!crcs)
			i += n;
	}
	return 0;
}

int segments_read_direct(struct segments *s, struct addr a, uint32_t blocks, void *buf,
	const uint32_t *crcs, uint32_t *ret_bad)
{
	uint32_t good = 0;

	check_run(a, blocks);
	if (!read_direct(s, a, blocks, buf))
		while (good < blocks &&
			block_matches((const uint8_t *)buf + (size_t)good * BLOCK_SIZE, crcs[good]))
			good++;
	return good == blocks ? 0 : segments_read(s, a, blocks, buf, crcs, ret_bad);
}

int segments_read_run(struct segments *s, struct addr a, uint32_t blocks, void *buf, uint32_t crc)
{
	size_t len = (size_t)blocks * BLOCK_SIZE;
	int ret = read_direct(s, a, blocks, buf);

	if (!ret && crc32c(0, buf, len) == crc)
		return 0;
	/* From memory, what is pending; what was written in between the page cache may have as it was. */
	ret = segments_read(s, a, blocks, buf, NULL, NULL);
	if (ret || crc32c(0, buf, len) == crc)
		return ret;
	ret = read_direct(s, a, blocks, buf);
	if (ret)
		return -EIO;
	return crc32c(0, buf, len) == crc ? 0 : -EBADMSG;
}
