/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring in a temporary directory, with a model beside it: every batch that was ever appended, byte
 * for byte, with its place. Crashes are made by closing without ceremony and changing the files.
 * One rig per test process; rig_free() in .fini removes the directory.
 */
#ifndef TEST_JOURNAL_RIG_H
#define TEST_JOURNAL_RIG_H

#include "ring.h"

struct rig_batch {
	struct batch_header h;
	uint8_t *bytes; /* batch_size(&h) */
	uint32_t block; /* place */
	struct ring_write w;
	int res; /* 1 while in flight */
};

#define RIG_BATCHES_MAX 20000u

struct rig {
	char base[64], dir[80];
	enum uring_mode mode;
	struct uuid volume;
	struct uring *u;
	struct ring *r;
	struct ring_recovered rec;
	struct err e;
	struct epoch epoch;
	struct pos end; /* of the model's history */
	struct rig_batch *batches[RIG_BATCHES_MAX];
	unsigned n, in_flight;
	uint64_t random;
};

extern struct rig rig;

/* Creates the directory and a ring of `size` bytes, opens and trims it. */
void rig_new(enum uring_mode mode, uint64_t size);
void rig_free(void);

uint32_t rig_random(uint32_t below);

/* Opens the ring; the result is returned, rig.rec or rig.e filled. */
int rig_open(struct pos from,
	int (*verify_tail)(void *ctx, const void *batch, const struct batch_header *h), void *ctx);
/* The same, which must succeed, and trims. */
void rig_start(struct pos from);
/* Forgets ring and uring, as a crash does, once everything in flight has ended. */
void rig_stop(void);

/* Puts one more batch with `count` entries of body_len random bytes at the model's end. */
struct rig_batch *rig_build(unsigned count, size_t body_len, uint64_t commit);
/* Appends it and prepares the write; on failure it is removed from the model again. */
int rig_append_async(struct rig_batch *b);
/* Builds, appends and waits; must succeed. */
struct rig_batch *rig_append(unsigned count, size_t body_len, uint64_t commit);
/* Submits and waits until nothing is in flight. */
void rig_wait(void);

/* Drops the model's batches from number n on, and its end with them. */
void rig_forget(unsigned n);
struct pos rig_pos(unsigned n); /* the end of batch n - 1: the position before batch n */

/* Raw access to the files, by place. */
void rig_peek(uint64_t at, void *p, size_t len);
void rig_poke(uint64_t at, const void *p, size_t len);
void rig_poke_zero(uint64_t at, size_t len);
static inline uint64_t rig_at(const struct rig_batch *b)
{
	return (uint64_t)b->block * BLOCK_SIZE;
}

/* The ring must have exactly the model's entries from seq `first` on, and its end. */
void rig_check_contents(uint64_t first);

#endif
