/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fuzzes msg_decode_frame() and msg_decode(). The first byte says which checksums are made right
 * before (so that the fuzzer gets behind them). What is accepted must survive the encoder: encoded
 * again it must be accepted again, and give the same bytes once more.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "crc32c.h"
#include "msg.h"

#define BUF_SIZE (MSG_HEADER_SIZE + MSG_META_MAX)
#define DATA_CRC_AT 24u /* in the fields of a DATA frame */
#define PART_CRC_AT 24u /* in those of a PULL_PART */
#define REPAIR_CRC_AT 20u /* in those of a REPAIR */
#define REPAIR_HEADER 1u
#define REPAIR_META 2u
#define REPAIR_DATA 4u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put32(uint8_t *p, uint32_t v)
{
	memcpy(p, &v, sizeof(v));
}

/* Encodes m, decodes that, encodes that: twice the same bytes. */
static void encode_and_back(const struct msg *m, struct record *record)
{
	uint8_t *first = malloc(BUF_SIZE), *second = malloc(BUF_SIZE);
	size_t payload_len, len = msg_encode(m, first, BUF_SIZE);
	const void *payload = msg_payload(m, &payload_len);
	struct msg_frame f;
	struct msg again;

	ensure(msg_decode_frame(first, &f) == 0);
	ensure(f.type == m->type && f.payload_len == payload_len);
	ensure(MSG_HEADER_SIZE + f.meta_len == len);
	ensure(msg_decode(&f, first + MSG_HEADER_SIZE, payload, record, &again) == 0);
	ensure(msg_encode(&again, second, BUF_SIZE) == len);
	ensure(memcmp(first, second, len) == 0);
	free(first);
	free(second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t header[MSG_HEADER_SIZE], *meta, *payload = NULL;
	struct record *record, *other;
	unsigned repair;
	struct msg_frame f;
	size_t rest;
	struct msg m;

	if (size < 1 + sizeof(header))
		return 0;
	repair = data[0];
	memcpy(header, data + 1, sizeof(header));
	data += 1 + sizeof(header);
	size -= 1 + sizeof(header);
	if (repair & REPAIR_HEADER)
		put32(header + MSG_HEADER_SIZE - 4, crc32c(0, header, MSG_HEADER_SIZE - 4));
	if (msg_decode_frame(header, &f) < 0 || f.meta_len > size)
		return 0;
	/* Of its exact size each, so that reading beyond it is noticed. */
	meta = malloc(f.meta_len ? f.meta_len : 1);
	memcpy(meta, data, f.meta_len);
	rest = size - f.meta_len;
	if (f.payload_len) {
		payload = calloc(1, f.payload_len);
		memcpy(payload, data + f.meta_len, MIN(rest, f.payload_len));
	}
	if ((repair & REPAIR_DATA) && f.type == MSG_DATA && f.meta_len >= DATA_CRC_AT + 4)
		put32(meta + DATA_CRC_AT, crc32c(0, payload, f.payload_len));
	if ((repair & REPAIR_DATA) && f.type == MSG_PULL_PART && f.meta_len >= PART_CRC_AT + 4)
		put32(meta + PART_CRC_AT, crc32c(0, payload, f.payload_len));
	if ((repair & REPAIR_DATA) && f.type == MSG_REPAIR && f.payload_len &&
		f.meta_len >= REPAIR_CRC_AT + 4)
		put32(meta + REPAIR_CRC_AT, crc32c(0, payload, f.payload_len));
	if (repair & REPAIR_META)
		f.meta_crc = crc32c(0, meta, f.meta_len);
	record = malloc(sizeof(*record));
	other = malloc(sizeof(*other));
	if (msg_decode(&f, meta, payload, record, &m) == 0)
		encode_and_back(&m, other);
	free(record);
	free(other);
	free(meta);
	free(payload);
	return 0;
}
