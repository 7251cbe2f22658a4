/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block map of one chunk of a file: where each of its CHUNK_BLOCKS blocks lies, when it was born
 * and what its checksum is. In memory an array by block, as a value runs of blocks (extents):
 *
 *   off size  block map value
 *     0    1  version
 *     1    1  extents, 1 to CHUNK_BLOCKS
 *     2    2  flags (0); one of them will say that each extent is followed by its owner
 *     4       extents in ascending order, 24 bytes each:
 *               0  1  first block in the chunk     4  4  epoch of the address
 *               1  1  blocks                       8  8  block of the address
 *               2  2  flags (0)                   16  8  birth: seq of the entry that wrote it
 *     x    4  CRC-32C of each mapped block, in ascending order
 *     y    4  checksum (keys.h)
 *
 * An extent is as long as file blocks, addresses, birth and flags go on; so equal maps are equal
 * bytes. A chunk without any block has no value. Pure.
 */
#ifndef FS_BLOCKMAP_H
#define FS_BLOCKMAP_H

#include "keys.h"

#define CHUNK_VALUE_SIZE_MAX (4u + 28u * CHUNK_BLOCKS + 4u)

struct chunk_block {
	uint64_t block; /* address */
	uint64_t birth;
	uint32_t epoch; /* 0: a hole */
	uint32_t crc;
};

struct chunk {
	unsigned mapped; /* blocks that are no hole */
	struct chunk_block b[CHUNK_BLOCKS];
};

/* Told of each block that is unmapped, in ascending order of file blocks. */
typedef void freed_fn(void *ctx, const struct chunk_block *b);

void chunk_init(struct chunk *c);
/* 0 when nothing is mapped: the key is then deleted. */
size_t chunk_encode(const struct chunk *c, const struct key *k, uint8_t *v);
int chunk_decode(struct chunk *c, const uint8_t *key, size_t klen, const uint8_t *v, size_t len);
/* Unmaps blocks [from, to) of the chunk; returns how many were mapped. fn may be NULL. */
unsigned chunk_clear(struct chunk *c, unsigned from, unsigned to, freed_fn *fn, void *ctx);
/* Maps block i; returns 1 when it was mapped before. */
unsigned chunk_set(
	struct chunk *c, unsigned i, const struct chunk_block *b, freed_fn *fn, void *ctx);
/* Unmaps what lies in a dead range of the inode. `number`: the chunk's. */
unsigned chunk_purge(
	struct chunk *c, const struct inode *i, uint64_t number, freed_fn *fn, void *ctx);
/* true when a block of that file block and birth is dead. */
bool dead_covers(const struct inode *i, uint64_t file_block, uint64_t birth);

/* CRC-32C of each block, and (ret_all not NULL) of all of them together without a second pass. */
void block_crcs(const uint8_t *data, uint32_t blocks, uint32_t *ret_crcs, uint32_t *ret_all);
/* The CRC-32C of A followed by the BLOCK_SIZE bytes of B, from those of A and B. */
uint32_t crc_append_block(uint32_t a, uint32_t b);

#endif
