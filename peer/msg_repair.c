/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames with which a damaged block is repaired: a question and its answer. See msg.c for the
 * table that names them and the rules of the codec. No state.
 */
#include "crc32c.h"
#include "msg_impl.h"

void encode_repair_ask(const struct msg *m, struct bytes *b)
{
	const struct msg_repair_ask *a = &m->repair_ask;

	ensure(a->blocks && a->blocks <= MSG_REPAIR_BLOCKS_MAX);
	bytes_put64(b, a->nonce);
	bytes_put64(b, a->block);
	bytes_put64(b, a->epoch.id);
	bytes_put32(b, a->epoch.num);
	bytes_put32(b, a->blocks);
	for (uint32_t i = 0; i < a->blocks; i++)
		bytes_put32(b, a->crcs[i]);
}

void decode_repair_ask(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_repair_ask *a = &m->repair_ask;

	a->nonce = bytes_get64(b);
	a->block = bytes_get64(b);
	a->epoch.id = bytes_get64(b);
	a->epoch.num = bytes_get32(b);
	a->blocks = bytes_get32(b);
	/* Inside one segment file: behind this the address is believed. */
	if (!a->blocks || a->blocks > MSG_REPAIR_BLOCKS_MAX || !a->epoch.num ||
		a->block > UINT64_MAX / BLOCK_SIZE - a->blocks ||
		a->block % DATA_SEGMENT_BLOCKS + a->blocks > DATA_SEGMENT_BLOCKS) {
		b->bad = true;
		return;
	}
	for (uint32_t i = 0; i < a->blocks; i++)
		a->crcs[i] = bytes_get32(b);
}

void encode_repair(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->repair.nonce);
	bytes_put64(b, m->repair.good);
	bytes_put32(b, m->repair.blocks);
	bytes_put32(b, m->repair.crc);
}

void decode_repair(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_repair *r = &m->repair;

	r->nonce = bytes_get64(b);
	r->good = bytes_get64(b);
	r->blocks = bytes_get32(b);
	r->crc = bytes_get32(b);
	if (!r->blocks || r->blocks > MSG_REPAIR_BLOCKS_MAX ||
		(r->blocks < 64 && r->good >> r->blocks) || (!r->good && r->crc))
		b->bad = true;
}

bool repair_payload_valid(size_t len, const void *payload, struct msg *m)
{
	struct msg_repair *r = &m->repair;

	r->bytes = r->good ? payload : NULL;
	if (!r->good)
		return !len;
	return len == (size_t)r->blocks * BLOCK_SIZE && crc32c(0, payload, len) == r->crc;
}
