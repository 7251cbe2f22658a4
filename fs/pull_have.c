/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which blocks of the data segments are known to be here with their right bytes, durably: a bit for
 * each block of each segment file (8 KiB for 256 MiB). An address is assigned once (I7), so a bit stays
 * true whatever the source does meanwhile, and over a crash.
 *
 * The file is a list of records, each one segment file's bits with a checksum; a later record of the
 * same segment adds to an earlier one. When it holds much more than it must, it is written anew beside
 * itself and renamed.
 *
 * Failure modes: a torn or damaged record ends the reading of the file, and what was behind it is looked
 * at on the disk again: bits that are missing cost time, never correctness.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "crc32c.h"
#include "le.h"
#include "pull.h"

#define MAGIC 0x56484654u /* "TFHV" */
#define BITS_SIZE (DATA_SEGMENT_BLOCKS / 8)
#define HEAD_SIZE 24u /* magic(4) epoch number(4) epoch id(8) segment(4) checksum(4) */
#define RECORD_SIZE (HEAD_SIZE + BITS_SIZE)

struct seg {
	struct epoch epoch;
	uint32_t number;
	bool dirty;
	uint8_t bits[BITS_SIZE];
};

struct pull_have {
	char path[4200];
	int fd;
	uint64_t records; /* in the file */
	struct seg **segs; /* by epoch number, id, segment */
	unsigned n, cap;
};

static int seg_compare(const struct seg *s, struct epoch e, uint32_t number)
{
	if (s->epoch.num != e.num)
		return s->epoch.num < e.num ? -1 : 1;
	if (s->epoch.id != e.id)
		return s->epoch.id < e.id ? -1 : 1;
	return s->number < number ? -1 : s->number > number;
}

static unsigned seg_position(const struct pull_have *h, struct epoch e, uint32_t number)
{
	unsigned lo = 0, hi = h->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (seg_compare(h->segs[mid], e, number) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct seg *seg_find(const struct pull_have *h, struct epoch e, uint32_t number)
{
	unsigned i = seg_position(h, e, number);

	return i < h->n && seg_compare(h->segs[i], e, number) == 0 ? h->segs[i] : NULL;
}

static struct seg *seg_get(struct pull_have *h, struct epoch e, uint32_t number)
{
	struct seg *s = seg_find(h, e, number);
	unsigned i;

	if (s)
		return s;
	if (h->n == h->cap) {
		h->cap = h->cap ? 2 * h->cap : 64;
		h->segs = realloc(h->segs, h->cap * sizeof(*h->segs));
		ensure(h->segs);
	}
	s = calloc(1, sizeof(*s));
	ensure(s);
	s->epoch = e;
	s->number = number;
	i = seg_position(h, e, number);
	memmove(h->segs + i + 1, h->segs + i, (h->n - i) * sizeof(*h->segs));
	h->segs[i] = s;
	h->n++;
	return s;
}

static bool bit(const struct seg *s, uint32_t i)
{
	return s && (s->bits[i / 8] & 1u << i % 8);
}

uint32_t pull_have_run(
	const struct pull_have *h, struct epoch e, uint64_t block, uint32_t blocks, bool *ret_have)
{
	const struct seg *s = seg_find(h, e, (uint32_t)(block / DATA_SEGMENT_BLOCKS));
	uint32_t at = (uint32_t)(block % DATA_SEGMENT_BLOCKS), n = 1;

	ensure(blocks && at + blocks <= DATA_SEGMENT_BLOCKS);
	*ret_have = bit(s, at);
	while (n < blocks && bit(s, at + n) == *ret_have)
		n++;
	return n;
}

void pull_have_set(struct pull_have *h, struct epoch e, uint64_t block, uint32_t blocks)
{
	struct seg *s = seg_get(h, e, (uint32_t)(block / DATA_SEGMENT_BLOCKS));
	uint32_t at = (uint32_t)(block % DATA_SEGMENT_BLOCKS);

	ensure(at + blocks <= DATA_SEGMENT_BLOCKS);
	for (uint32_t i = at; i < at + blocks; i++)
		s->bits[i / 8] |= (uint8_t)(1u << i % 8);
	s->dirty = true;
}

/* --- the file --- */

static void bits_encode(const struct seg *s, uint8_t *p)
{
	le32_put(p, MAGIC);
	le32_put(p + 4, s->epoch.num);
	le64_put(p + 8, s->epoch.id);
	le32_put(p + 16, s->number);
	memcpy(p + HEAD_SIZE, s->bits, BITS_SIZE);
	le32_put(p + 20, crc32c(crc32c(0, p, 20), s->bits, BITS_SIZE));
}

/* Adds a record's bits; false when it is none. */
static bool bits_take(struct pull_have *h, const uint8_t *p)
{
	struct epoch e = {.num = le32_get(p + 4), .id = le64_get(p + 8)};
	struct seg *s;

	if (le32_get(p) != MAGIC || !e.num ||
		le32_get(p + 20) != crc32c(crc32c(0, p, 20), p + HEAD_SIZE, BITS_SIZE))
		return false;
	s = seg_get(h, e, le32_get(p + 16));
	for (unsigned i = 0; i < BITS_SIZE; i++)
		s->bits[i] |= p[HEAD_SIZE + i];
	return true;
}

static int write_all(int fd, const uint8_t *p, size_t len, uint64_t off)
{
	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		off += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_segs(struct pull_have *h, int fd, bool all, uint64_t *at)
{
	cleanup_free uint8_t *record = malloc(RECORD_SIZE);
	int r = 0;

	ensure(record);
	for (unsigned i = 0; i < h->n && !r; i++) {
		if (!all && !h->segs[i]->dirty)
			continue;
		bits_encode(h->segs[i], record);
		r = write_all(fd, record, RECORD_SIZE, *at * RECORD_SIZE);
		*at += 1;
	}
	if (!r && fdatasync(fd))
		r = -errno;
	return r;
}

/* The whole of it into a new file, which takes the old one's place. */
static int rewrite(struct pull_have *h)
{
	char tmp[4220];
	uint64_t at = 0;
	int fd, r;

	snprintf(tmp, sizeof(tmp), "%s.new", h->path);
	fd = open(tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = write_segs(h, fd, true, &at);
	if (!r && rename(tmp, h->path))
		r = -errno;
	if (r) {
		close(fd);
		return r;
	}
	close(h->fd);
	h->fd = fd;
	h->records = at;
	return 0;
}

int pull_have_save(struct pull_have *h, struct err *e)
{
	int r = h->records > 64 + 4ull * h->n ? rewrite(h)
					      : write_segs(h, h->fd, false, &h->records);

	if (r)
		return err_set(e, r, "'%s': %s", h->path, strerror(-r));
	for (unsigned i = 0; i < h->n; i++)
		h->segs[i]->dirty = false;
	return 0;
}

int pull_have_open(const char *path, struct pull_have **ret_h, struct err *e)
{
	cleanup_free uint8_t *record = malloc(RECORD_SIZE);
	struct pull_have *h = calloc(1, sizeof(*h));

	ensure(h && record);
	snprintf(h->path, sizeof(h->path), "%s", path);
	h->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (h->fd < 0) {
		int r = -errno;

		free(h);
		return err_set(e, r, "'%s': %s", path, strerror(-r));
	}
	while (pread(h->fd, record, RECORD_SIZE, (off_t)(h->records * RECORD_SIZE)) ==
			(ssize_t)RECORD_SIZE &&
		bits_take(h, record))
		h->records++;
	*ret_h = h;
	return 0;
}

void pull_have_close(struct pull_have *h)
{
	if (!h)
		return;
	for (unsigned i = 0; i < h->n; i++)
		free(h->segs[i]);
	free(h->segs);
	close(h->fd);
	free(h);
}
