/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring against a list of batches: random appends with several writes in flight, checkpoints,
 * releases, truncations, and crashes that lose or tear any subset of what was in flight. The seed is
 * printed first; TANDEMFS_SEED=n runs that one again.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "rig.h"
#include "ring_impl.h"

TestSuite(ring_model, .fini = rig_free);

#define MIB (1u << 20)
#define GROUP_MAX 5u

static unsigned flushed; /* batches: the state stands at rig_pos(flushed) */
static uint64_t released, commit;
static unsigned wrapped; /* appends into the first quarter of a ring */

/* A batch of a random size: mostly small, some of the largest, some empty. */
static struct rig_batch *build(uint64_t commit_max)
{
	unsigned count = 1 + rig_random(3);
	size_t len = rig_random(20000);

	switch (rig_random(12)) {
	case 0:
		count = 0;
		break;
	case 1:
		count = 6;
		len = 100000 + rig_random(60000);
		break;
	case 2:
		len = rig_random(150000);
		break;
	}
	commit += rig_random((uint32_t)(commit_max - commit) + 1);
	return rig_build(count, len, commit);
}

/* Appends a group; returns how many the ring took. */
static unsigned append_group(uint8_t **before)
{
	uint64_t durable = rig.end.seq;
	unsigned n = 1 + rig_random(GROUP_MAX), i;

	for (i = 0; i < n; i++) {
		struct rig_batch *b = build(durable);
		int ret = rig_append_async(b);

		if (ret) {
			cr_assert(eq(int, ret, -ENOSPC));
			break;
		}
		if (before) { /* nothing is written before it is submitted */
			before[i] = malloc(batch_size(&b->h));
			rig_peek(rig_at(b), before[i], batch_size(&b->h));
		}
	}
	rig_wait();
	for (unsigned k = 0; k < i; k++)
		cr_assert(zero(int, rig.batches[rig.n - 1 - k]->res));
	return i;
}

static void checkpoint(void)
{
	flushed += rig_random(rig.n - flushed + 1);
	commit = MAX(commit, rig_pos(flushed).seq); /* what is flushed is committed (I5) */
	if (rig_pos(flushed).seq > released)
		released += rig_random((uint32_t)(rig_pos(flushed).seq - released) + 1);
	ring_release(rig.r, released);
}

static void truncate_somewhere(void)
{
	unsigned n = flushed + rig_random(rig.n - flushed + 1);

	cr_assert(zero(int, ring_truncate(rig.r, rig_pos(n), &rig.e)), "%s", rig.e.msg);
	while (n < rig.n && !rig.batches[n]->h.count) /* empty batches at the end stay */
		n++;
	rig_forget(n);
	commit = MIN(commit, rig.end.seq);
	rig.epoch.num++;
	rig.epoch.id = rig_random(1000);
}

static void restart(void)
{
	struct pos from = rig_pos(flushed), before = {0};
	uint64_t first;

	rig_start(from);
	first = rig.rec.first_seq;
	cr_assert(le(u64, first, from.seq + 1));
	for (unsigned i = 0; i < rig.n && rig_pos(i + 1).seq < first; i++)
		before = rig_pos(i + 1);
	cr_assert(pos_equal(rig.rec.before, before));
	rig_check_contents(first);
	ring_release(rig.r, released);
	if (rig_random(2)) { /* an active; a standby goes on in the same epoch */
		rig.epoch.num++;
		rig.epoch.id = rig_random(1000);
	}
}

/* Undoes, for one batch, what the power failure did not let through; true when it is whole still. */
static bool tear(const struct rig_batch *b, const uint8_t *before)
{
	uint32_t size = batch_size(&b->h);
	unsigned how = rig_random(3);
	bool same = true;

	for (uint32_t at = 0; how && at < size; at += BLOCK_SIZE) {
		if (how == 2 && rig_random(2))
			continue;
		rig_poke(rig_at(b) + at, before + at, BLOCK_SIZE);
		same &= memcmp(before + at, b->bytes + at, BLOCK_SIZE) == 0;
	}
	return same;
}

/*
 * Where the history goes on after the missing batch i, or rig.n. An empty one has no entry and is not
 * missed if what follows it can be found without it: at the start of the next segment, or, when
 * nothing was in the ring, anywhere. The same goes for whole empty ones behind it, which nothing leads to. They may
 * stay in the model, where they leave no trace either.
 */
static unsigned skip_empty(unsigned i, unsigned first, const bool *whole, bool was_empty)
{
	for (; i < rig.n; i++) {
		if (whole[i - first] &&
			(was_empty || rig.batches[i]->block % rig.r->seg_blocks == 0))
			return i;
		if (rig.batches[i]->h.count)
			return rig.n;
	}
	return rig.n;
}

/* Power is lost with a group in flight: each of its writes happened, or did not, or partly. */
static void crash(void)
{
	bool was_empty = rig.r->head == rig.r->tail, whole[GROUP_MAX];
	uint8_t *before[GROUP_MAX] = {NULL};
	unsigned n = append_group(before), first = rig.n - n;

	for (unsigned i = 0; i < n; i++) {
		whole[i] = tear(rig.batches[first + i], before[i]);
		free(before[i]);
	}
	for (unsigned i = first; i < rig.n; i++) {
		unsigned next;

		if (whole[i - first])
			continue;
		next = skip_empty(i, first, whole, was_empty && i == first);
		if (next == rig.n)
			rig_forget(i);
		i = next;
	}
	rig_stop();
	commit = MIN(commit, rig.end.seq);
	restart();
}

static void run(uint64_t seed, unsigned steps)
{
	static const uint64_t sizes[] = {2 * MIB, 3 * MIB, 4 * MIB, 8 * MIB};

	fprintf(stderr, "ring model: TANDEMFS_SEED=%lu\n", seed);
	rig_new(seed % 2 ? URING_THREADS : URING_AUTO, sizes[seed % 4]);
	rig.random ^= seed * 0x2545f4914f6cdd1dull;
	flushed = 0;
	released = commit = 0;
	for (unsigned i = 0; i < steps; i++) {
		unsigned what = rig_random(100);

		if (what < 65) {
			append_group(NULL);
			if (rig.batches[rig.n - 1]->block < ring_size(rig.r) / BLOCK_SIZE / 4)
				wrapped++;
		} else if (what < 85) {
			checkpoint();
		} else if (what < 88) {
			truncate_somewhere();
		} else if (what < 90) {
			rig_stop();
			restart();
		} else {
			crash();
		}
		cr_assert(pos_equal(ring_end(rig.r), rig.end), "seed %lu, step %u", seed, i);
		if (!rig.n)
			append_group(NULL);
	}
	rig_check_contents(ring_first_seq(rig.r));
	rig_free();
}

Test(ring_model, random_histories_and_crashes_recover_to_the_model)
{
	const char *one = getenv("TANDEMFS_SEED");
	uint64_t start = clock_mono_ns();

	if (one) {
		run(strtoull(one, NULL, 10), 250);
		return;
	}
	for (uint64_t seed = 1; seed <= 4; seed++)
		run(seed, 250);
	run(356623, 250); /* two empty ones at the end of a segment, of which the first is lost */
	cr_assert(gt(uint, wrapped, 100)); /* or nothing was overwritten, and nothing shown */
	/* New ones each time, as long as there is time. */
	while (clock_mono_ns() - start < 4 * NS_PER_S)
		run(random_u64() % 1000000, 250);
}
