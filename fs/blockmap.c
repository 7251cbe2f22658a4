/* SPDX-License-Identifier: Apache-2.0 */
/* The codec and the edits of block maps, and the checksums of blocks. Pure. */
#include "blockmap.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "check.h"
#include "crc32c.h"
#include "le.h"

#define EXTENT_SIZE 24u

void chunk_init(struct chunk *c)
{
	c->mapped = 0;
	for (unsigned i = 0; i < CHUNK_BLOCKS; i++)
		c->b[i].epoch = 0;
}

/* Does block i go on where block i - 1 ends? */
static bool continues(const struct chunk *c, unsigned i)
{
	const struct chunk_block *a = &c->b[i - 1], *b = &c->b[i];

	return a->epoch == b->epoch && a->block + 1 == b->block && a->birth == b->birth;
}

size_t chunk_encode(const struct chunk *c, const struct key *k, uint8_t *v)
{
	uint8_t *p = v + 4;
	unsigned n = 0, len;

	if (!c->mapped)
		return 0;
	for (unsigned i = 0; i < CHUNK_BLOCKS; i += len) {
		len = 1;
		if (!c->b[i].epoch)
			continue;
		while (i + len < CHUNK_BLOCKS && continues(c, i + len))
			len++;
		p[0] = (uint8_t)i;
		p[1] = (uint8_t)len;
		le16_put(p + 2, 0);
		le32_put(p + 4, c->b[i].epoch);
		le64_put(p + 8, c->b[i].block);
		le64_put(p + 16, c->b[i].birth);
		p += EXTENT_SIZE;
		n++;
	}
	v[1] = (uint8_t)n;
	le16_put(v + 2, 0);
	for (unsigned i = 0; i < CHUNK_BLOCKS; i++) {
		if (!c->b[i].epoch)
			continue;
		le32_put(p, c->b[i].crc);
		p += 4;
	}
	return value_seal(k, v, (size_t)(p - v));
}

int chunk_decode(struct chunk *c, const uint8_t *key, size_t klen, const uint8_t *v, size_t len)
{
	const uint8_t *p = v + 4, *crc;
	unsigned at = 0, n;
	int r = value_check(key, klen, v, len, 4 + EXTENT_SIZE + 4 + 4);

	if (r)
		return r;
	n = v[1];
	if (!n || n > CHUNK_BLOCKS || le16_get(v + 2) || len < 8 + (size_t)n * EXTENT_SIZE)
		return -EBADMSG;
	chunk_init(c);
	crc = p + (size_t)n * EXTENT_SIZE;
	for (; n; n--, p += EXTENT_SIZE) {
		struct chunk_block b = {.epoch = le32_get(p + 4),
			.block = le64_get(p + 8),
			.birth = le64_get(p + 16)};
		unsigned start = p[0], count = p[1];

		if (start < at || !count || start + count > CHUNK_BLOCKS || le16_get(p + 2) ||
			!b.epoch || crc + 4 * (size_t)count > v + len - 4)
			return -EBADMSG;
		for (at = start; at < start + count; at++, crc += 4, b.block++) {
			b.crc = le32_get(crc);
			c->b[at] = b;
		}
		c->mapped += count;
	}
	return crc == v + len - 4 ? 0 : -EBADMSG;
}

unsigned chunk_clear(struct chunk *c, unsigned from, unsigned to, freed_fn *fn, void *ctx)
{
	unsigned n = 0;

	for (unsigned i = from; i < to; i++) {
		if (!c->b[i].epoch)
			continue;
		if (fn)
			fn(ctx, &c->b[i]);
		c->b[i].epoch = 0;
		n++;
	}
	c->mapped -= n;
	return n;
}

unsigned chunk_set(
	struct chunk *c, unsigned i, const struct chunk_block *b, freed_fn *fn, void *ctx)
{
	unsigned was = c->b[i].epoch != 0;

	if (was && fn)
		fn(ctx, &c->b[i]);
	c->b[i] = *b;
	c->mapped += 1 - was;
	return was;
}

bool dead_covers(const struct inode *i, uint64_t file_block, uint64_t birth)
{
	for (unsigned d = 0; d < i->ndead; d++)
		if (birth < i->dead[d].seq && file_block >= i->dead[d].from &&
			file_block < i->dead[d].to)
			return true;
	return false;
}

unsigned chunk_purge(
	struct chunk *c, const struct inode *i, uint64_t number, freed_fn *fn, void *ctx)
{
	uint64_t first = number * CHUNK_BLOCKS;
	unsigned n = 0;

	if (!i->ndead)
		return 0;
	for (unsigned b = 0; b < CHUNK_BLOCKS; b++)
		if (c->b[b].epoch && dead_covers(i, first + b, c->b[b].birth))
			n += chunk_clear(c, b, b + 1, fn, ctx);
	return n;
}

/* --- checksums --- */

/*
 * A CRC is linear: that of A followed by B is that of A moved on by as many zero bits as B has, xor
 * that of B. "Moved on by one block" is a fixed 32x32 matrix over bits, here as four tables for the
 * four bytes of the checksum.
 */
static uint32_t shift_block[4][256];

static uint32_t matrix_times(const uint32_t m[32], uint32_t v)
{
	uint32_t r = 0;

	for (unsigned i = 0; v; i++, v >>= 1)
		if (v & 1)
			r ^= m[i];
	return r;
}

static void shift_block_init(void)
{
	uint32_t m[32], sq[32];

	m[0] = 0x82f63b78u; /* one zero bit: the reflected polynomial, and a shift */
	for (unsigned i = 1; i < 32; i++)
		m[i] = 1u << (i - 1);
	for (unsigned bits = 1; bits < BLOCK_SIZE * 8; bits *= 2) {
		for (unsigned i = 0; i < 32; i++)
			sq[i] = matrix_times(m, m[i]);
		memcpy(m, sq, sizeof(m));
	}
	for (unsigned t = 0; t < 4; t++)
		for (unsigned v = 0; v < 256; v++)
			shift_block[t][v] = matrix_times(m, (uint32_t)v << (8 * t));
}

uint32_t crc_append_block(uint32_t a, uint32_t b)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, shift_block_init);
	return shift_block[0][a & 0xff] ^ shift_block[1][(a >> 8) & 0xff] ^
	       shift_block[2][(a >> 16) & 0xff] ^ shift_block[3][a >> 24] ^ b;
}

void block_crcs(const uint8_t *data, uint32_t blocks, uint32_t *ret_crcs, uint32_t *ret_all)
{
	uint32_t all = 0;

	for (uint32_t i = 0; i < blocks; i++) {
		ret_crcs[i] = crc32c(0, data + (size_t)i * BLOCK_SIZE, BLOCK_SIZE);
		if (ret_all)
			all = crc_append_block(all, ret_crcs[i]);
	}
	if (ret_all)
		*ret_all = all;
}
