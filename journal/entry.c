/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of batches and entries. Fields are loaded and stored at the offsets of the table in the
 * header; a batch's body checksum is carried along while entries are added, when their bytes are
 * still in the cache, so that finishing a batch costs the same however large it is. No state.
 */
#include "entry.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "check.h"
#include "crc32c.h"

#define BATCH_MAGIC 0x54424654u /* "TFBT" */
#define ENTRY_MAGIC 0x4e454654u /* "TFEN" */
#define VERSION 1

static inline uint16_t get16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return le16toh(v);
}

static inline uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static inline uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static inline void put16(uint8_t *p, uint16_t v)
{
	v = htole16(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static inline void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static bool all_zero(const uint8_t *p, size_t n)
{
	uint8_t any = 0;

	for (size_t i = 0; i < n; i++)
		any |= p[i];
	return !any;
}

static inline size_t align_entry(size_t at)
{
	return (at + ENTRY_ALIGN - 1) & ~(size_t)(ENTRY_ALIGN - 1);
}

int batch_decode_header(const void *buf, size_t len, struct batch_header *ret_h)
{
	const uint8_t *p = buf;
	struct batch_header h;

	if (len < BATCH_HEADER_SIZE || get32(p) != BATCH_MAGIC)
		return -ENODATA;
	if (get32(p + 124) != crc32c(0, p, 124))
		return -EBADMSG;
	if (get16(p + 4) != VERSION)
		return -EPROTONOSUPPORT;
	h.length = get32(p + 8);
	h.count = get32(p + 12);
	memcpy(h.volume.b, p + 16, sizeof(h.volume.b));
	h.epoch.id = get64(p + 32);
	h.epoch.num = get32(p + 40);
	h.first_seq = get64(p + 48);
	h.commit = get64(p + 56);
	h.time_ns = get64(p + 64);
	h.chain_before = get32(p + 72);
	h.chain_after = get32(p + 76);
	h.body_crc = get32(p + 120);
	if (get16(p + 6) || get32(p + 44) || !all_zero(p + 80, 40))
		return -EBADMSG;
	if (h.length < BATCH_HEADER_SIZE || h.length > BATCH_SIZE_MAX ||
		h.count > (h.length - BATCH_HEADER_SIZE) / ENTRY_HEADER_SIZE)
		return -EBADMSG;
	if (!h.count && (h.length != BATCH_HEADER_SIZE || h.chain_before != h.chain_after))
		return -EBADMSG;
	/* What is committed was written before; a seq of 0 or an overflow would break batch_last_seq(). */
	if (!h.first_seq || h.first_seq > UINT64_MAX - h.count || h.commit >= h.first_seq)
		return -EBADMSG;
	if (h.first_seq == 1 && h.chain_before)
		return -EBADMSG;
	*ret_h = h;
	return 0;
}

/* Reads the entry at p, which has `left` bytes until the batch's end. False when it is not whole. */
static bool entry_decode(const uint8_t *p, size_t left, struct entry *ret_entry)
{
	struct entry_header h;

	if (left < ENTRY_HEADER_SIZE || get32(p) != ENTRY_MAGIC || get16(p + 4) != VERSION)
		return false;
	h.crc = get32(p + 124);
	if (h.crc != crc32c(0, p, 124))
		return false;
	h.type = get16(p + 6);
	h.body_len = get32(p + 12);
	h.mount_id = get64(p + 32);
	h.unique = get64(p + 40);
	h.epoch.id = get64(p + 48);
	h.epoch.num = get32(p + 56);
	h.seq = get64(p + 64);
	h.body_crc = get32(p + 116);
	h.chain = get32(p + 120);
	if (get32(p + 8) || get32(p + 60) || !all_zero(p + 72, 44))
		return false;
	if (h.body_len > ENTRY_SIZE_MAX - ENTRY_HEADER_SIZE ||
		h.body_len > left - ENTRY_HEADER_SIZE)
		return false;
	ret_entry->h = h;
	ret_entry->body = p + ENTRY_HEADER_SIZE;
	return true;
}

int batch_verify(const void *buf, size_t len, struct batch_header *ret_h)
{
	const uint8_t *p = buf;
	struct batch_header h;
	uint32_t chain;
	size_t at = BATCH_HEADER_SIZE, start;
	int ret;

	ret = batch_decode_header(buf, len, &h);
	if (ret)
		return ret;
	if (len < batch_size(&h))
		return -EBADMSG;
	if (h.body_crc != crc32c(0, p + BATCH_HEADER_SIZE, h.length - BATCH_HEADER_SIZE))
		return -EBADMSG;
	chain = h.chain_before;
	for (uint32_t i = 0; i < h.count; i++) {
		struct entry e;

		start = align_entry(at);
		if (start > h.length || !all_zero(p + at, start - at))
			return -EBADMSG;
		if (!entry_decode(p + start, h.length - start, &e))
			return -EBADMSG;
		if (e.h.seq != h.first_seq + i || e.h.chain != chain ||
			!epoch_equal(e.h.epoch, h.epoch) ||
			memcmp(p + start + 16, h.volume.b, sizeof(h.volume.b)) != 0)
			return -EBADMSG;
		if (e.h.body_crc != crc32c(0, e.body, e.h.body_len))
			return -EBADMSG;
		chain = e.h.crc;
		at = start + ENTRY_HEADER_SIZE + e.h.body_len;
	}
	if (at != h.length || chain != h.chain_after)
		return -EBADMSG;
	if (!all_zero(p + at, batch_size(&h) - at))
		return -EBADMSG;
	*ret_h = h;
	return 0;
}

bool batch_next_entry(
	const void *buf, const struct batch_header *h, size_t *cursor, struct entry *ret_entry)
{
	const uint8_t *p = buf;
	size_t at = align_entry(*cursor ? *cursor : BATCH_HEADER_SIZE);

	if (at >= h->length)
		return false;
	/* The caller verified the batch; that it was another one is a programmer's error. */
	ensure(entry_decode(p + at, h->length - at, ret_entry));
	*cursor = at + ENTRY_HEADER_SIZE + ret_entry->h.body_len;
	return true;
}

void batch_begin(struct batch_writer *w, void *buf, size_t size, const struct uuid *volume,
	struct epoch epoch, struct pos before)
{
	ensure(size % BLOCK_SIZE == 0 && size >= BLOCK_SIZE && size <= BATCH_SIZE_MAX);
	ensure((uintptr_t)buf % BLOCK_SIZE == 0);
	*w = (struct batch_writer){
		.buf = buf,
		.size = size,
		.used = BATCH_HEADER_SIZE,
		.h =
			{
				.length = BATCH_HEADER_SIZE,
				.volume = *volume,
				.epoch = epoch,
				.first_seq = before.seq + 1,
				.chain_before = before.chain,
				.chain_after = before.chain,
			},
	};
}

bool batch_fits(const struct batch_writer *w, size_t body_len)
{
	return body_len <= ENTRY_SIZE_MAX - ENTRY_HEADER_SIZE &&
	       align_entry(w->used) + ENTRY_HEADER_SIZE + body_len <= w->size;
}

uint64_t batch_add(struct batch_writer *w, uint16_t type, uint64_t mount_id, uint64_t unique,
	const struct iovec *iov, unsigned niov, uint8_t **ret_body)
{
	size_t start = align_entry(w->used), body_len = 0;
	uint8_t *p = w->buf + start, *body = p + ENTRY_HEADER_SIZE, *at = body;
	uint64_t seq = w->h.first_seq + w->h.count;
	uint32_t crc;

	for (unsigned i = 0; i < niov; i++)
		body_len += iov[i].iov_len;
	ensure(batch_fits(w, body_len));
	memset(w->buf + w->used, 0, start - w->used);
	for (unsigned i = 0; i < niov; i++) {
		if (iov[i].iov_len)
			memcpy(at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	put32(p, ENTRY_MAGIC);
	put16(p + 4, VERSION);
	put16(p + 6, type);
	put32(p + 8, 0);
	put32(p + 12, (uint32_t)body_len);
	memcpy(p + 16, w->h.volume.b, sizeof(w->h.volume.b));
	put64(p + 32, mount_id);
	put64(p + 40, unique);
	put64(p + 48, w->h.epoch.id);
	put32(p + 56, w->h.epoch.num);
	put32(p + 60, 0);
	put64(p + 64, seq);
	memset(p + 72, 0, 44);
	put32(p + 116, crc32c(0, body, body_len));
	put32(p + 120, w->h.chain_after);
	crc = crc32c(0, p, 124);
	put32(p + 124, crc);

	w->h.body_crc = crc32c(w->h.body_crc, w->buf + w->used, (size_t)(at - w->buf) - w->used);
	w->h.chain_after = crc;
	w->h.count++;
	w->used = (size_t)(at - w->buf);
	w->h.length = (uint32_t)w->used;
	if (ret_body)
		*ret_body = body;
	return seq;
}

size_t batch_finish(struct batch_writer *w, uint64_t commit, uint64_t time_ns)
{
	size_t size = batch_size(&w->h);
	uint8_t *p = w->buf;

	ensure(commit < w->h.first_seq);
	w->h.commit = commit;
	w->h.time_ns = time_ns;
	put32(p, BATCH_MAGIC);
	put16(p + 4, VERSION);
	put16(p + 6, 0);
	put32(p + 8, w->h.length);
	put32(p + 12, w->h.count);
	memcpy(p + 16, w->h.volume.b, sizeof(w->h.volume.b));
	put64(p + 32, w->h.epoch.id);
	put32(p + 40, w->h.epoch.num);
	put32(p + 44, 0);
	put64(p + 48, w->h.first_seq);
	put64(p + 56, commit);
	put64(p + 64, time_ns);
	put32(p + 72, w->h.chain_before);
	put32(p + 76, w->h.chain_after);
	memset(p + 80, 0, 40);
	put32(p + 120, w->h.body_crc);
	put32(p + 124, crc32c(0, p, 124));
	memset(p + w->used, 0, size - w->used);
	return size;
}

int batch_rescue(void *p, size_t len, const struct uuid *volume, struct pos before, uint64_t commit,
	uint64_t time_ns, struct batch_header *ret_h)
{
	struct batch_writer w;
	struct entry e;
	size_t start = BATCH_HEADER_SIZE;

	len = MIN(len, BATCH_SIZE_MAX) / BLOCK_SIZE * BLOCK_SIZE;
	/* The first entry decides: what lies here may be of any age. */
	if (len <= start || !entry_decode((uint8_t *)p + start, len - start, &e) ||
		e.h.seq != before.seq + 1 || e.h.chain != before.chain)
		return -ENODATA;
	if (!batch_verify(p, len, ret_h) && ret_h->first_seq == e.h.seq)
		return uuid_equal(&ret_h->volume, volume) ? 0 : -ENODATA;
	batch_begin(&w, p, len, volume, e.h.epoch, before);
	while (start + ENTRY_HEADER_SIZE <= len && entry_decode(w.buf + start, len - start, &e) &&
		e.h.chain == w.h.chain_after && e.h.seq == w.h.first_seq + w.h.count &&
		epoch_equal(e.h.epoch, w.h.epoch) &&
		!memcmp(w.buf + start + 16, volume->b, sizeof(volume->b)) &&
		e.h.body_crc == crc32c(0, e.body, e.h.body_len) &&
		all_zero(w.buf + w.used, start - w.used)) {
		size_t end = start + ENTRY_HEADER_SIZE + e.h.body_len;

		w.h.body_crc = crc32c(w.h.body_crc, w.buf + w.used, end - w.used);
		w.h.chain_after = e.h.crc;
		w.h.count++;
		w.h.length = (uint32_t)end;
		w.used = end;
		start = align_entry(end);
	}
	if (!w.h.count)
		return -ENODATA;
	batch_finish(&w, MIN(commit, before.seq), time_ns);
	return batch_verify(p, len, ret_h);
}
