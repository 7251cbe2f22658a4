/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one codec of what survives: batches and the entries in them. The same bytes go to the local
 * ring, over the wire and into the peer's ring, and are stored and resent verbatim. No I/O here.
 *
 * A batch is what one journal write makes durable; it stands or falls whole. It starts at a 4 KiB
 * boundary, and is padded with zeros to the next one:
 *
 *   off size  batch header (little-endian), BATCH_HEADER_SIZE = 128 bytes
 *     0    4  magic "TFBT"
 *     4    2  version (1)
 *     6    2  flags (0)
 *     8    4  length: header and entries, without the padding
 *    12    4  count of entries; 0 for an empty batch, which only carries the commit index
 *    16   16  volume
 *    32    8  epoch id
 *    40    4  epoch number
 *    44    4  reserved
 *    48    8  first seq; for an empty batch the seq that the next entry will have
 *    56    8  commit index that the writer knew
 *    64    8  time of closing, real ns
 *    72    4  chain before the first entry
 *    76    4  chain after the last entry (equal to the former in an empty batch)
 *    80   40  reserved
 *   120    4  body checksum (CRC-32C of the length - 128 bytes behind the header)
 *   124    4  header checksum (CRC-32C of the 124 bytes before it)
 *
 * An entry starts at an 8-byte boundary of its batch (zero padding between entries):
 *
 *   off size  entry header, ENTRY_HEADER_SIZE = 128 bytes
 *     0    4  magic "TFEN"
 *     4    2  version (1)
 *     6    2  type
 *     8    4  flags (0)
 *    12    4  body length
 *    16   16  volume
 *    32    8  mount id      the FUSE request this entry answers, or 0 0
 *    40    8  unique
 *    48    8  epoch id
 *    56    4  epoch number
 *    60    4  reserved
 *    64    8  seq
 *    72    8  group id (0)
 *    80    8  group seq (0)
 *    88   28  reserved
 *   116    4  body checksum
 *   120    4  chain: the header checksum of the entry before, 0 for seq 1
 *   124    4  header checksum (of the 124 bytes before it); it is the chain for the next entry
 *
 * So an entry's header checksum stands for the whole history up to it, and a position in the
 * history is (seq, chain). Reserved bytes are zero when written and checked when read. The header
 * is believed only after its checksum; a body length is believed only with its header.
 */
#ifndef JOURNAL_ENTRY_H
#define JOURNAL_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "limits.h"
#include "uuid.h"

#define BATCH_HEADER_SIZE 128u
#define ENTRY_HEADER_SIZE 128u
#define ENTRY_ALIGN 8u

/* Epochs are ordered by number; equal numbers with different ids belong to different histories. */
struct epoch {
	uint64_t id;
	uint32_t num; /* 0: none yet; the first real epoch is 1 */
};

/* A position in a volume's history; {0, 0} is the empty history. */
struct pos {
	uint64_t seq;
	uint32_t chain;
};

struct batch_header {
	uint32_t length; /* bytes, without padding */
	uint32_t count;
	struct uuid volume;
	struct epoch epoch;
	uint64_t first_seq;
	uint64_t commit;
	uint64_t time_ns;
	uint32_t chain_before, chain_after;
	uint32_t body_crc;
};

struct entry_header {
	uint16_t type;
	uint32_t body_len;
	uint64_t mount_id, unique;
	struct epoch epoch;
	uint64_t seq;
	uint32_t body_crc;
	uint32_t chain; /* before this entry */
	uint32_t crc; /* of this header: the chain after it */
};

struct entry {
	struct entry_header h;
	const uint8_t *body; /* inside the batch's buffer */
};

static inline bool epoch_equal(struct epoch a, struct epoch b)
{
	return a.num == b.num && a.id == b.id;
}

static inline bool pos_equal(struct pos a, struct pos b)
{
	return a.seq == b.seq && a.chain == b.chain;
}

/* Bytes that the batch takes in the ring: its length rounded up to BLOCK_SIZE. */
static inline uint32_t batch_size(const struct batch_header *h)
{
	return (h->length + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
}

/* The seq of the batch's last entry; of an empty batch, that of the last entry before it. */
static inline uint64_t batch_last_seq(const struct batch_header *h)
{
	return h->first_seq + h->count - 1;
}

static inline struct pos batch_end(const struct batch_header *h)
{
	return (struct pos){.seq = batch_last_seq(h), .chain = h->chain_after};
}

/*
 * Reads and checks a header alone (needs BATCH_HEADER_SIZE bytes). 0; -ENODATA when the first four
 * bytes are no magic (nothing was ever written here, or something else); -EPROTONOSUPPORT for
 * another version with a good checksum; -EBADMSG for anything else. A header that is accepted has
 * BATCH_HEADER_SIZE <= length <= BATCH_SIZE_MAX, a count that fits the length, and a commit index
 * below its first seq.
 */
int batch_decode_header(const void *buf, size_t len, struct batch_header *ret_h);

/*
 * Checks a whole batch: header, body checksum, every entry's header, body and chain, seqs, epochs,
 * volume, padding. After 0, batch_next_entry() cannot fail on it. -EBADMSG if anything is wrong,
 * or as batch_decode_header(). `len` must reach at least to the end of the padding.
 */
int batch_verify(const void *buf, size_t len, struct batch_header *ret_h);

/* Walks the entries of a verified batch: *cursor starts at 0. true while there is one. */
bool batch_next_entry(
	const void *buf, const struct batch_header *h, size_t *cursor, struct entry *ret_entry);

/*
 * The batch at p whose first entry continues `before`, as its writer left it when it died: a whole one is taken as
 * it is; one that was not finished (no header, or a torn one) is closed behind its last whole entry, with this
 * commit index (at most before.seq) and time. p is BLOCK_SIZE-aligned, len bytes may be read, and the padding is
 * written. 0, and batch_verify() holds; -ENODATA: no entry here continues `before`.
 */
int batch_rescue(void *p, size_t len, const struct uuid *volume, struct pos before, uint64_t commit,
	uint64_t time_ns, struct batch_header *ret_h);

/* Fills a buffer with one batch. The buffer is BLOCK_SIZE-aligned and borrowed until finish. */
struct batch_writer {
	uint8_t *buf;
	size_t size; /* of the buffer; a multiple of BLOCK_SIZE, at most BATCH_SIZE_MAX */
	size_t used;
	struct batch_header h;
};

/* Starts a batch whose first entry will be after `before`. */
void batch_begin(struct batch_writer *w, void *buf, size_t size, const struct uuid *volume,
	struct epoch epoch, struct pos before);
/* true when an entry with a body of body_len bytes still fits. */
bool batch_fits(const struct batch_writer *w, size_t body_len);
/* Appends an entry whose body is the concatenation of iov; it must fit. Sets seq, epoch, chain and
 * checksums itself; *ret_body (may be NULL) is where the body went. Returns the entry's seq. */
uint64_t batch_add(struct batch_writer *w, uint16_t type, uint64_t mount_id, uint64_t unique,
	const struct iovec *iov, unsigned niov, uint8_t **ret_body);
/* Writes the header and the padding; returns the size in the ring (a multiple of BLOCK_SIZE).
 * commit is below the batch's first seq: nothing is committed before it is written. */
size_t batch_finish(struct batch_writer *w, uint64_t commit, uint64_t time_ns);

static inline struct pos batch_writer_end(const struct batch_writer *w)
{
	return batch_end(&w->h);
}

#endif
