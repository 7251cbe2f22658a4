/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reference-counted, BLOCK_SIZE-aligned buffers for what a write carries, from a bounded pool. The
 * bytes never change after the operation was queued. Any thread may hold and drop references.
 *
 * When the pool is exhausted payload_new() returns NULL: the caller parks the bytes (parked
 * payloads live in an unlinked scratch file until the pool has room), because a FUSE worker must
 * never wait (I10).
 */
#ifndef FS_PAYLOAD_H
#define FS_PAYLOAD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "limits.h"

#define PAYLOAD_CLASSES 9u /* sizes of buffers */
#define PAYLOAD_SIZE_MAX (WRITE_SIZE_MAX + 4 * BLOCK_SIZE)

struct payload_pool;

struct payload {
	atomic_uint refs;
	uint32_t size; /* capacity in bytes, a multiple of BLOCK_SIZE */
	uint8_t *data; /* BLOCK_SIZE-aligned */
	struct payload_pool *pool;
	struct payload *next; /* private: free list */
	uint32_t slot_class; /* private */
};

/* limit: bytes of memory that the pool may hold in use at once. room, when given, is called (any
 * thread, no lock held) when memory was given back after payload_new() had failed. */
int payload_pool_new(size_t limit, void (*room)(void *ctx), void *ctx, struct payload_pool **ret);
/* The same in memory that is the caller's, zero, of PAYLOAD_CLASSES * area bytes, a shared mapping that takes no room
 * where it was not written; area is a multiple of BLOCK_SIZE, twice the limit or more. */
int payload_pool_new_at(void *base, size_t area, size_t limit, void (*room)(void *ctx), void *ctx,
	struct payload_pool **ret);
/* All payloads must have been given back. */
void payload_pool_free(struct payload_pool *p);
/* One reference; at least `size` bytes (at most PAYLOAD_SIZE_MAX); contents undefined. NULL: full.
 * Without a pool (p NULL) it comes from the heap, uncounted: for the few blocks that an operation
 * keeps of what it cuts. */
struct payload *payload_new(struct payload_pool *p, size_t size);
/* The same for who can do without it and may keep it long: NULL where more than half of the pool would be in use then. */
struct payload *payload_new_spare(struct payload_pool *p, size_t size);
struct payload *payload_ref(struct payload *p);
void payload_unref(struct payload *p); /* NULL is fine */
size_t payload_pool_used(const struct payload_pool *p); /* bytes */

#endif
