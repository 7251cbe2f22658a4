/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes batch_verify(). The first byte says how many of the checksums are made right before (so
 * that the fuzzer gets behind them); what is accepted must be walkable to its end, and must come out
 * of the encoder byte for byte the same. The same bytes as what a writer that died left: what batch_rescue() makes of
 * them must be a whole batch, and stay as it is when it is rescued again.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "crc32c.h"
#include "entry.h"

#define SIZE_MAX_HERE (64u << 10) /* bytes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Makes magics, checksums and chain right, following the lengths as far as they lead. */
static void repair(uint8_t *p, size_t size)
{
	uint32_t length, chain;
	size_t at = BATCH_HEADER_SIZE;

	if (size < BATCH_HEADER_SIZE)
		return;
	length = get32(p + 8);
	chain = get32(p + 72);
	if (length < BATCH_HEADER_SIZE || length > size)
		return;
	while (at + ENTRY_HEADER_SIZE <= length) {
		uint32_t body_len = get32(p + at + 12);

		memcpy(p + at, "TFEN", 4);
		if (body_len <= length - at - ENTRY_HEADER_SIZE)
			put32(p + at + 116, crc32c(0, p + at + ENTRY_HEADER_SIZE, body_len));
		put32(p + at + 120, chain);
		chain = crc32c(0, p + at, 124);
		put32(p + at + 124, chain);
		if (body_len > length - at - ENTRY_HEADER_SIZE)
			break;
		at = (at + ENTRY_HEADER_SIZE + body_len + ENTRY_ALIGN - 1) / ENTRY_ALIGN *
		     ENTRY_ALIGN;
	}
	memcpy(p, "TFBT", 4);
	put32(p + 76, chain);
	put32(p + 120, crc32c(0, p + BATCH_HEADER_SIZE, length - BATCH_HEADER_SIZE));
	put32(p + 124, crc32c(0, p, 124));
}

static void check_round_trip(const uint8_t *p, const struct batch_header *h)
{
	static uint8_t again[BATCH_SIZE_MAX] __attribute__((aligned(BLOCK_SIZE)));
	struct pos before = {.seq = h->first_seq - 1, .chain = h->chain_before};
	struct batch_writer w;
	struct entry e;
	size_t cursor = 0;
	uint32_t n = 0;

	batch_begin(&w, again, batch_size(h), &h->volume, h->epoch, before);
	for (; batch_next_entry(p, h, &cursor, &e); n++) {
		struct iovec iov = {.iov_base = (void *)e.body, .iov_len = e.h.body_len};

		ensure(batch_add(&w, e.h.type, e.h.mount_id, e.h.unique, &iov, 1, NULL) == e.h.seq);
	}
	ensure(n == h->count);
	ensure(batch_finish(&w, h->commit, h->time_ns) == batch_size(h));
	ensure(memcmp(again, p, batch_size(h)) == 0);
}

static void check_rescue(const uint8_t *p, size_t size, bool without_header)
{
	size_t room = (size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	struct batch_header h, again;
	struct uuid volume;
	struct pos before;
	uint64_t seq;
	uint8_t *copy;

	if (size < BATCH_HEADER_SIZE + ENTRY_HEADER_SIZE)
		return;
	copy = aligned_alloc(BLOCK_SIZE, room);
	ensure(copy);
	memset(copy, 0, room);
	memcpy(copy, p, size);
	if (without_header)
		memset(copy, 0xdd, BATCH_HEADER_SIZE);
	memcpy(&volume, copy + BATCH_HEADER_SIZE + 16, sizeof(volume));
	memcpy(&seq, copy + BATCH_HEADER_SIZE + 64, sizeof(seq));
	/* What is before it is the ring's, and what is committed is no more than that. */
	seq = seq ? seq : 1;
	before = (struct pos){.seq = seq - 1, .chain = get32(copy + BATCH_HEADER_SIZE + 120)};
	if (batch_rescue(copy, room, &volume, before, MIN(3u, seq - 1), 4, &h) == 0) {
		check_round_trip(copy, &h);
		ensure(batch_rescue(copy, room, &volume, before, MIN(5u, seq - 1), 6, &again) == 0);
		ensure(again.commit == h.commit && again.time_ns == h.time_ns);
	}
	free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct batch_header h;
	uint8_t *p;
	size_t padded;

	if (size < 2 || size > SIZE_MAX_HERE)
		return 0;
	padded = (data[0] & 2) ? (size - 1 + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE : size - 1;
	p = calloc(1, padded); /* exactly as large as it says, so that an overrun is seen */
	ensure(p);
	memcpy(p, data + 1, size - 1);
	if (data[0] & 1)
		repair(p, padded);
	if (batch_verify(p, padded, &h) == 0)
		check_round_trip(p, &h);
	check_rescue(p, padded, data[0] & 4);
	free(p);
	return 0;
}
