/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of what outlives a killed daemon (kept.h) that ack=fsync needs: there an operation is answered when its
 * entry is in the batch that is open, before the journal or the peer has it. So the batch buffers and the payload
 * pool themselves lie in the memory that is kept: nothing is copied for it, and no system call is made.
 *
 * Found again without an index, because a position in the history (seq, chain) has one continuation: the batch that
 * continues the journal's end, wherever it lies in the arena, then the one that continues that. What lies there of
 * older times continues something else. The last one may be open, or torn in its header: it is closed behind its last
 * whole entry (batch_rescue()). A large payload is only named by its entry, with address and checksum; kept_payload[]
 * says where in the pool it lies.
 *
 * Failure modes, by where the daemon is killed:
 * - in the middle of an entry: its checksums say so, the batch ends before it; nobody was answered for it;
 * - between the payload's place and the entry: a place that nobody asks for;
 * - after the entry, before `answered` is stored: it is recovered, and its request is found executed;
 * - while a payload's buffer is being used again, or its place in the table: only after it was durable here and
 *   committed, so nobody asks; and the checksum would say so.
 * What was answered and is not found ends the mount with errors (volume_held_committed()).
 *
 * The commit thread writes, recovery reads. No locks.
 */
#include "kept.h"

#include <string.h>

uint8_t *kept_pool(const struct kept *k)
{
	return kept_arena(k) + KEPT_POOL_AT;
}

static struct kept_payload *payloads(const struct kept *k)
{
	return (struct kept_payload *)(kept_arena(k) + KEPT_ARENA_SIZE);
}

void kept_payload_add(struct kept *k, struct addr a, uint32_t blocks, const void *bytes)
{
	uint32_t n = atomic_load_explicit(&k->h->payloads, memory_order_relaxed);
	uint64_t at = (uint64_t)((const uint8_t *)bytes - kept_pool(k));

	ensure(at < PAYLOAD_CLASSES * k->h->pool_area);
	payloads(k)[n % KEPT_PAYLOADS] = (struct kept_payload){
		.block = a.block, .epoch = a.epoch, .blocks = blocks, .at = at};
	atomic_store_explicit(&k->h->payloads, n + 1, memory_order_release);
}

const void *kept_payload(const struct kept *k, struct addr a, uint32_t blocks)
{
	uint64_t size = PAYLOAD_CLASSES * k->h->pool_area, len = (uint64_t)blocks * BLOCK_SIZE;
	uint32_t n = atomic_load(&k->h->payloads);

	for (uint32_t i = 1; i <= KEPT_PAYLOADS; i++) {
		struct kept_payload p = payloads(k)[(n - i) % KEPT_PAYLOADS];

		if (p.block == a.block && p.epoch == a.epoch && p.blocks == blocks && len <= size &&
			p.at <= size - len && p.at % BLOCK_SIZE == 0)
			return kept_pool(k) + p.at;
	}
	return NULL;
}

uint8_t *kept_next_batch(const struct kept *k, size_t *at, const struct uuid *volume,
	struct pos end, uint64_t commit, uint64_t time_ns, struct batch_header *ret_h)
{
	uint8_t *arena = kept_arena(k);

	for (size_t i = 0; i < KEPT_ARENA_SIZE; i += BLOCK_SIZE) {
		size_t place = (*at + i) % KEPT_ARENA_SIZE; /* mostly it is the next one */

		if (batch_rescue(arena + place, KEPT_ARENA_SIZE - place, volume, end, commit,
			    time_ns, ret_h))
			continue;
		*at = place + batch_size(ret_h);
		return arena + place;
	}
	return NULL;
}
