/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening the ring after everything that a crash, a disk or a person may have done to it (I4, I9,
 * I11): the history is the model's prefix up to the first thing missing, or opening fails.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "rig.h"
#include "ring_impl.h"

TestSuite(recover, .fini = rig_free);

#define MIB (1u << 20)

/* Opens, expects the model's first n batches (model untouched), closes again. */
static void expect_prefix(unsigned n, const char *what, uint64_t where)
{
	struct pos end = rig_pos(n);
	int ret = rig_open((struct pos){0}, NULL, NULL);

	cr_assert(zero(int, ret), "%s at %lu: %s", what, where, rig.e.msg);
	cr_assert(pos_equal(rig.rec.end, end), "%s at %lu: end is %lu, should be %lu", what, where,
		rig.rec.end.seq, end.seq);
	cr_assert(eq(u64, rig.rec.batches, n), "%s at %lu", what, where);
	cr_assert(eq(u64, rig.rec.first_seq, 1));
	rig_stop();
}

static void expect_corruption(struct pos from, const char *says)
{
	cr_assert(eq(int, rig_open(from, NULL, NULL), -EBADMSG));
	cr_assert(not(zero(ptr, strstr(rig.e.msg, says))), "%s", rig.e.msg);
}

Test(recover, an_empty_ring_is_the_history_up_to_where_the_state_stands)
{
	rig_new(URING_AUTO, 2 * MIB);
	cr_assert(zero(u64, rig.rec.end.seq));
	cr_assert(eq(u64, rig.rec.first_seq, 1));
	cr_assert(zero(u32, rig.rec.epoch.num));
	rig_stop();
	rig_start((struct pos){500, 0xabcd});
	cr_assert(pos_equal(rig.rec.end, ((struct pos){500, 0xabcd})));
	cr_assert(pos_equal(rig.rec.before, ((struct pos){500, 0xabcd})));
	cr_assert(eq(u64, rig.rec.first_seq, 501));
	rig.end = rig.rec.end;
	rig_append(2, 10, 500);
	rig_stop();
	rig_start((struct pos){500, 0xabcd});
	cr_assert(eq(u64, rig.rec.end.seq, 502));
	cr_assert(eq(u64, rig.rec.commit, 500));
	cr_assert(pos_equal(rig.rec.before, ((struct pos){500, 0xabcd})));
}

Test(recover, every_field_of_what_was_recovered_is_told)
{
	rig_new(URING_AUTO, 2 * MIB);
	rig_append(3, 100, 0);
	rig_append(3, 100, 2);
	rig.epoch = (struct epoch){.id = 9, .num = 4};
	rig_append(1, 100, 6);
	rig_append(0, 0, 7);
	rig_stop();
	rig_start((struct pos){0});
	cr_assert(eq(u64, rig.rec.end.seq, 7));
	cr_assert(epoch_equal(rig.rec.epoch, rig.epoch));
	cr_assert(eq(u64, rig.rec.commit, 7));
	cr_assert(eq(u64, rig.rec.batches, 4));
	cr_assert(zero(u64, rig.rec.dropped));
	rig_check_contents(1);
}

/* Offsets worth cutting at: around every boundary of batch b and of what is in it. */
static unsigned cut_points(const struct rig_batch *b, uint64_t *points)
{
	struct entry e;
	size_t cursor = 0;
	unsigned n = 0;
	uint64_t size = batch_size(&b->h);

	points[n++] = 0;
	points[n++] = 1;
	points[n++] = 127;
	points[n++] = 128;
	while (batch_next_entry(b->bytes, &b->h, &cursor, &e)) {
		points[n++] = cursor - e.h.body_len - ENTRY_HEADER_SIZE;
		points[n++] = cursor - e.h.body_len - 1;
		points[n++] = cursor - e.h.body_len;
		points[n++] = cursor - 1;
	}
	points[n++] = b->h.length;
	for (uint64_t at = BLOCK_SIZE; at <= size; at += BLOCK_SIZE)
		points[n++] = at;
	points[n++] = size - 1;
	for (unsigned i = 0; i < 4; i++)
		points[n++] = rig_random((uint32_t)size);
	return n;
}

/* Everything from the cut on is as it was before (zeros), or garbage. */
static void cut_everywhere(bool garbage)
{
	uint64_t points[300], start, end;
	uint8_t *image, *junk;
	size_t len;

	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 14; i++)
		rig_append(i % 5 == 3 ? 0 : 1 + rig_random(4), rig_random(7000), rig.end.seq);
	rig_stop();
	end = rig_at(rig.batches[rig.n - 1]) + batch_size(&rig.batches[rig.n - 1]->h);
	len = end + 2 * BLOCK_SIZE;
	image = malloc(len);
	junk = calloc(1, len);
	for (size_t i = 0; garbage && i < len; i++)
		junk[i] = (uint8_t)(1 + rig_random(255));
	rig_peek(0, image, len);
	for (unsigned k = 0; k < rig.n; k++) {
		const struct rig_batch *b = rig.batches[k];
		unsigned n = cut_points(b, points);

		start = rig_at(b);
		for (unsigned i = 0; i < n; i++) {
			uint64_t cut = start + points[i];
			/* Zeros cannot hurt the padding. */
			bool whole = points[i] >= (garbage ? batch_size(&b->h) : b->h.length);

			rig_poke(cut, junk, len - cut);
			expect_prefix(k + whole, garbage ? "garbage" : "zeros", cut);
			rig_poke(cut, image + cut, len - cut);
		}
	}
	expect_prefix(rig.n, "restored", 0);
	free(image);
	free(junk);
}

Test(recover, a_journal_cut_anywhere_recovers_the_prefix)
{
	cut_everywhere(false);
}

Test(recover, a_journal_with_garbage_from_anywhere_on_recovers_the_prefix)
{
	cut_everywhere(true);
}

Test(recover, damage_that_a_later_batch_calls_committed_is_corruption)
{
	uint8_t byte;

	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 10; i++) /* each knows that the second last is committed */
		rig_append(2, 3000, rig.end.seq >= 2 ? rig.end.seq - 2 : 0);
	rig_stop();
	for (unsigned k = 0; k < rig.n; k++) {
		static const unsigned at[] = {0, 60, 126, 128, 200, 4095, 6000};

		for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
			char says[80];

			rig_peek(rig_at(rig.batches[k]) + at[i], &byte, 1);
			byte ^= 0x20;
			rig_poke(rig_at(rig.batches[k]) + at[i], &byte, 1);
			snprintf(says, sizeof(says), "the batch with seq %u is damaged", 2 * k + 1);
			if (k < 8)
				expect_corruption((struct pos){0}, says);
			else
				expect_prefix(k, "damage above the commit index", k);
			byte ^= 0x20;
			rig_poke(rig_at(rig.batches[k]) + at[i], &byte, 1);
		}
	}
	expect_prefix(rig.n, "restored", 0);
}

Test(recover, an_empty_batch_is_enough_to_tell_corruption_from_a_torn_end)
{
	rig_new(URING_AUTO, 2 * MIB);
	rig_append(1, 3000, 0);
	rig_append(1, 3000, 1);
	rig_stop();
	rig_poke_zero(rig_at(rig.batches[1]) + 1000, 100);
	expect_prefix(1, "torn", 0);
	rig_poke(rig_at(rig.batches[1]), rig.batches[1]->bytes, BLOCK_SIZE);
	rig_start((struct pos){0});
	rig_append(0, 0, 2);
	rig_stop();
	rig_poke_zero(rig_at(rig.batches[1]) + 1000, 100);
	expect_corruption((struct pos){0}, "says that seq 2 was committed");
}

Test(recover, the_witness_of_corruption_is_found_wherever_it_is)
{
	struct pos from;

	rig_new(URING_AUTO, 3 * MIB);
	for (unsigned i = 0; i < 24; i++)
		rig_append(1, 100000, rig.end.seq);
	rig_stop();
	/* The last batch of the second segment is gone, and the head of the third: its second tells. */
	cr_assert(eq(uint, rig.batches[20]->block, 2 * 256));
	rig_poke_zero(rig_at(rig.batches[19]), 4096);
	rig_poke_zero(rig_at(rig.batches[20]), 4096);
	expect_corruption((struct pos){0}, "the batch with seq 20 is damaged");
	/* What is flushed does not matter any more. */
	from = rig_pos(21);
	cr_assert(zero(int, rig_open(from, NULL, NULL)), "%s", rig.e.msg);
	cr_assert(eq(u64, rig.rec.end.seq, 24));
	cr_assert(eq(u64, rig.rec.first_seq, 22));
	cr_assert(pos_equal(rig.rec.before, from));
}

Test(recover, with_several_in_flight_the_first_one_missing_ends_the_history)
{
	uint8_t header[BATCH_HEADER_SIZE], zeros[BATCH_HEADER_SIZE] = {0};
	uint64_t later[2];

	rig_new(URING_AUTO, 2 * MIB);
	rig_append(1, 5000, 0);
	for (unsigned i = 0; i < 4; i++)
		cr_assert(zero(int, rig_append_async(rig_build(1, 5000, 1))));
	rig_wait();
	rig_stop();
	/* The second of four never reached the disk. */
	rig_poke_zero(rig_at(rig.batches[2]), batch_size(&rig.batches[2]->h));
	later[0] = rig_at(rig.batches[3]);
	later[1] = rig_at(rig.batches[4]);
	cr_assert(zero(int, rig_open((struct pos){0}, NULL, NULL)), "%s", rig.e.msg);
	cr_assert(eq(u64, rig.rec.end.seq, 2));
	cr_assert(eq(u64, rig.rec.dropped, 2));
	rig_peek(later[0], header, sizeof(header)); /* opening changes nothing */
	cr_assert(not(zero(int, memcmp(header, zeros, sizeof(header)))));
	cr_assert(zero(int, ring_trim_end(rig.r, &rig.e)));
	for (unsigned i = 0; i < 2; i++) {
		rig_peek(later[i], header, sizeof(header));
		cr_assert(zero(int, memcmp(header, zeros, sizeof(header))));
	}
	/* The same bytes again (a standby gets them resent), and a crash: what was dropped stays so. */
	rig_forget(2);
	rig_append(1, 5000, 1);
	rig_stop();
	rig_start((struct pos){0});
	rig_check_contents(1);
	cr_assert(eq(u64, rig.rec.end.seq, 3));
}

Test(recover, the_very_first_batch_may_be_the_one_missing)
{
	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 3; i++)
		cr_assert(zero(int, rig_append_async(rig_build(1, 5000, 0))));
	rig_wait();
	rig_stop();
	rig_poke_zero(rig_at(rig.batches[0]) + 4096, 4096);
	rig_forget(0);
	rig_start((struct pos){0});
	cr_assert(eq(u64, rig.rec.dropped, 3));
	rig_append(1, 5000, 0);
	rig_stop();
	rig_start((struct pos){0});
	rig_check_contents(1);
}

Test(recover, a_missing_empty_batch_does_not_cost_the_older_ones)
{
	rig_new(URING_AUTO, 2 * MIB);
	rig_append(1, 100, 0);
	rig_append(1, 100, 0);
	for (unsigned i = 0; i < 3; i++)
		cr_assert(zero(int, rig_append_async(rig_build(i / 2, 100, 2))));
	rig_wait();
	rig_stop();
	rig_poke_zero(rig_at(rig.batches[2]), BLOCK_SIZE);
	/* The second empty one ends where the state stands, too. */
	cr_assert(zero(int, rig_open(rig_pos(2), NULL, NULL)));
	cr_assert(eq(u64, rig.rec.first_seq, 1));
	cr_assert(eq(u64, rig.rec.end.seq, 2));
	cr_assert(eq(u64, rig.rec.dropped, 2));
}

Test(recover, a_torn_batch_is_counted_and_overwritten)
{
	rig_new(URING_AUTO, 2 * MIB);
	rig_append(1, 5000, 0);
	rig_append(1, 20000, 0);
	rig_stop();
	rig_poke_zero(rig_at(rig.batches[1]) + 8192, 4096);
	rig_forget(1);
	rig_start((struct pos){0});
	cr_assert(eq(u64, rig.rec.dropped, 1));
	rig_append(1, 3000, 0);
	rig_stop();
	rig_start((struct pos){0});
	cr_assert(zero(u64, rig.rec.dropped));
	rig_check_contents(1);
}

Test(recover, a_state_that_does_not_match_the_journal_is_refused)
{
	struct pos wrong;
	struct uuid other = uuid_new();

	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 5; i++)
		rig_append(2, 100, 0);
	rig_stop();
	cr_assert(zero(int, rig_open(rig_pos(5), NULL, NULL)));
	rig_stop();
	wrong = rig_pos(3);
	wrong.chain ^= 1;
	expect_corruption(wrong, "where the volume's state stands");
	expect_corruption((struct pos){5, 1}, "where the volume's state stands");
	expect_corruption((struct pos){11, 1}, "where the volume's state stands");
	rig.volume = other;
	expect_corruption((struct pos){0}, "belongs to volume");
}

Test(recover, a_journal_of_a_newer_version_is_refused_as_such)
{
	uint32_t crc;
	uint8_t *b;

	rig_new(URING_AUTO, 2 * MIB);
	rig_append(1, 100, 0);
	rig_append(1, 100, 0);
	rig_stop();
	b = rig.batches[1]->bytes;
	b[4] = 2;
	crc = crc32c(0, b, 124);
	memcpy(b + 124, &crc, 4);
	rig_poke(rig_at(rig.batches[1]), b, BLOCK_SIZE);
	cr_assert(eq(int, rig_open((struct pos){0}, NULL, NULL), -EPROTONOSUPPORT));
	cr_assert(not(zero(ptr, strstr(rig.e.msg, "install a newer build"))), "%s", rig.e.msg);
}

/* Of the newest segment: what was committed in it would pass for torn. */
Test(recover, another_volumes_segment_among_the_own_ones_is_refused)
{
	struct rig_batch *b = NULL;
	struct uuid own;

	rig_new(URING_AUTO, 2 * MIB);
	own = rig.volume;
	while (!b || b->block < rig.r->seg_blocks)
		b = rig_append(1, 60000, rig.end.seq);
	rig_stop();
	cr_assert(zero(int, rig_open((struct pos){0}, NULL, NULL)), "%s", rig.e.msg);
	rig_stop();
	rig.volume = uuid_new();
	rig_poke(rig_at(b), rig_build(1, 60000, 0)->bytes,
		60000 / BLOCK_SIZE * BLOCK_SIZE + BLOCK_SIZE);
	rig_forget(rig.n - 1);
	rig.volume = own;
	expect_corruption((struct pos){0}, "segment 1 belongs to volume");
}

Test(recover, a_segment_of_the_wrong_size_is_refused)
{
	char path[120];

	rig_new(URING_AUTO, 2 * MIB);
	rig_append(1, 100, 0);
	rig_stop();
	snprintf(path, sizeof(path), "%s/00000001", rig.dir);
	cr_assert(zero(int, truncate(path, MIB - BLOCK_SIZE)));
	expect_corruption((struct pos){0}, "segment 1 has a size of");
	cr_assert(zero(int, unlink(path)));
	cr_assert(eq(int, rig_open((struct pos){0}, NULL, NULL), -ENOENT));
}

struct tail {
	uint64_t seqs[32];
	unsigned n;
	uint64_t bad_seq;
	int ret;
};

static int verify_tail(void *ctx, const void *batch, const struct batch_header *h)
{
	struct tail *t = ctx;

	t->seqs[t->n++] = h->first_seq;
	return h->first_seq == t->bad_seq ? t->ret : 0;
}

Test(recover, only_batches_above_the_commit_index_have_their_payloads_checked)
{
	struct tail t = {0};

	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 10; i++)
		rig_append(2, 100, i >= 8 ? 11 : 0);
	rig_append(0, 0, 11);
	rig_stop();
	cr_assert(zero(int, rig_open((struct pos){0}, verify_tail, &t)));
	cr_assert(eq(
		uint, t.n, 5)); /* seq 12 is the first uncommitted one, in the batch from 11 on */
	for (unsigned i = 0; i < 5; i++)
		cr_assert(eq(u64, t.seqs[i], 11 + 2 * i));
	rig_stop();
	t.n = 0;
	cr_assert(zero(int, rig_open(rig_pos(7), verify_tail, &t))); /* flushed is committed (I5) */
	cr_assert(eq(uint, t.n, 3));
}

Test(recover, a_missing_payload_ends_the_history_before_its_batch)
{
	struct tail t = {.bad_seq = 15, .ret = -EBADMSG};

	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 10; i++)
		rig_append(2, 100, i >= 8 ? 11 : 0);
	rig_stop();
	cr_assert(zero(int, rig_open((struct pos){0}, verify_tail, &t)));
	cr_assert(eq(u64, rig.rec.end.seq, 14));
	cr_assert(eq(u64, rig.rec.dropped, 3));
	cr_assert(eq(uint, t.n, 3));
	cr_assert(zero(int, ring_trim_end(rig.r, &rig.e)));
	rig_forget(7);
	rig.epoch.num++;
	rig_append(1, 100, 14);
	rig_stop();
	rig_start((struct pos){0});
	rig_check_contents(1);
	rig_stop();
	/* Partly committed: then it is corruption. Another error ends the recovery. */
	rig_forget(0);
	rig_free();
	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 10; i++)
		rig_append(2, 100, i >= 8 ? 11 : 0);
	rig_stop();
	t = (struct tail){.bad_seq = 11, .ret = -EBADMSG};
	cr_assert(eq(int, rig_open((struct pos){0}, verify_tail, &t), -EBADMSG));
	t = (struct tail){.bad_seq = 17, .ret = -EIO};
	cr_assert(eq(int, rig_open((struct pos){0}, verify_tail, &t), -EIO));
}

Test(recover, older_batches_are_kept_for_peers_as_far_as_they_lead_on)
{
	struct pos p;

	rig_new(URING_AUTO, 4 * MIB);
	for (unsigned i = 0; i < 50; i++) { /* once round: 10 a segment, 40 fit */
		cr_assert(zero(int, rig_append_async(rig_build(1, 100000, 0))));
		rig_wait();
		ring_release(rig.r, rig.end.seq);
	}
	cr_assert(eq(u64, ring_first_seq(rig.r), 11));
	rig_stop();
	rig_start(rig_pos(48));
	rig_check_contents(11);
	rig_stop();
	/* A hole in what is flushed is no error; the history starts behind it. */
	rig_poke_zero(rig_at(rig.batches[33]) + 5000, 4);
	rig_start(rig_pos(48));
	rig_check_contents(35);
	cr_assert(pos_equal(rig.rec.before, rig_pos(34)));
	cr_assert(zero(int, ring_pos_at(rig.r, 34, &p)));
	cr_assert(eq(u64, rig.rec.first_seq, 35));
	/* And it goes on from there. */
	ring_release(rig.r, rig.end.seq);
	for (unsigned i = 0; i < 30; i++) {
		rig_append(1, 100000, rig.end.seq);
		ring_release(rig.r, rig.end.seq);
	}
	rig_stop();
	rig_start(rig_pos(rig.n));
	rig_check_contents(41);
}

Test(recover, a_half_overwritten_segment_gives_its_old_half_up)
{
	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 20; i++)
		rig_append(1, 100000, 0);
	ring_release(rig.r, 20);
	for (unsigned i = 0; i < 3; i++)
		rig_append(1, 100000, 20);
	rig_check_contents(11);
	rig_stop();
	rig_start(rig_pos(20));
	rig_check_contents(11);
	rig_stop();
	/* Also when the state stands in that old half, which releasing made the least possible. */
	rig_start(rig_pos(10));
	rig_check_contents(11);
	cr_assert(pos_equal(rig.rec.before, rig_pos(10)));
	rig_stop();
	/* Before that, entries that are needed were overwritten: somebody released too early. */
	expect_corruption(rig_pos(8), "were overwritten");
}

Test(recover, the_first_batch_of_a_recycled_segment_may_be_torn)
{
	uint8_t *before = malloc(MIB);

	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 20; i++)
		rig_append(1, 100000, 0);
	ring_release(rig.r, 20);
	rig_peek(0, before, MIB);
	rig_append(1, 100000, 20);
	rig_stop();
	rig_poke(3 * BLOCK_SIZE, before + 3 * BLOCK_SIZE, BLOCK_SIZE);
	rig_forget(20);
	rig_start(rig_pos(20));
	cr_assert(eq(u64, rig.rec.dropped, 1));
	rig_check_contents(2); /* the old batches behind it are still good */
	cr_assert(eq(int, rig_append_async(rig_build(1, 50000, 20)), -ENOSPC));
	ring_release(rig.r, 20);
	rig_append(1, 50000, 20);
	rig_check_contents(11);
	rig_stop();
	rig_start(rig_pos(20));
	rig_check_contents(11);
	free(before);
}

Test(recover, a_ring_full_of_empty_batches_still_opens)
{
	rig_new(URING_AUTO, 2 * MIB);
	rig_append(1, 100, 0);
	ring_release(rig.r, 1);
	for (unsigned i = 0; i < 700; i++) {
		cr_assert(zero(int, rig_append_async(rig_build(0, 0, 1))));
		if (i % 16 == 0)
			rig_wait();
	}
	rig_wait();
	rig_stop();
	rig_start(rig_pos(1));
	cr_assert(eq(u64, ring_end(rig.r).seq, 1));
	rig_append(1, 100, 1);
	rig_stop();
	rig_start(rig_pos(1));
	cr_assert(eq(u64, ring_end(rig.r).seq, 2));
}

Test(recover, a_dropped_tail_cannot_bear_witness_later)
{
	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 15;
		i++) /* committed all along, and yet dropped by a person's word */
		rig_append(1, 100000, rig.end.seq);
	cr_assert(zero(int, ring_truncate(rig.r, rig_pos(3), &rig.e)), "%s", rig.e.msg);
	rig_forget(3);
	rig.epoch.num++;
	rig_append(1, 100000, 3);
	rig_append(1, 70000, 3);
	rig_stop();
	/* Its commit indices up to 14 are higher than anything now; a torn end is just that. */
	rig_poke_zero(rig_at(rig.batches[4]) + 50000, 100);
	expect_prefix(4, "torn", 0);
}

/* Puts a whole batch where the next one would be, without appending it. */
static void put_behind(const struct rig_batch *last, struct pos before, struct epoch epoch)
{
	struct rig_batch *b;

	rig.end = before;
	rig.epoch = epoch;
	b = rig_build(1, 3000, 0);
	rig_poke(rig_at(last) + batch_size(&last->h), b->bytes, batch_size(&b->h));
	rig_forget(rig.n - 1);
}

Test(recover, what_does_not_continue_seq_chain_and_epoch_is_not_history)
{
	const struct epoch epoch = {.id = 4, .num = 4};
	const struct rig_batch *last;
	struct pos end, other;

	rig_new(URING_AUTO, 2 * MIB);
	rig.epoch = epoch;
	rig_append(1, 3000, 0);
	last = rig_append(1, 3000, 0);
	end = rig.end;
	rig_stop();
	other = (struct pos){end.seq, end.chain ^ 1};
	put_behind(last, other, epoch);
	expect_prefix(2, "another chain", 0);
	other = (struct pos){end.seq + 1, end.chain};
	put_behind(last, other, epoch);
	expect_prefix(2, "a seq too far", 0);
	other = (struct pos){end.seq - 1, end.chain};
	put_behind(last, other, epoch);
	expect_prefix(2, "a seq again", 0);
	put_behind(last, end, (struct epoch){.id = 4, .num = 3});
	expect_prefix(2, "an older epoch", 0);
	put_behind(last, end, (struct epoch){.id = 5, .num = 4});
	expect_prefix(2, "a fork's epoch", 0);
	/* The same with all three right is history, so the above could have failed. */
	put_behind(last, end, (struct epoch){.id = 5, .num = 5});
	cr_assert(zero(int, rig_open((struct pos){0}, NULL, NULL)));
	cr_assert(eq(u64, rig.rec.end.seq, 3));
}

Test(recover, old_batches_in_the_place_of_the_next_one_do_not_continue_the_history)
{
	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned lap = 0; lap < 5; lap++) { /* all of one size: old ones lie exactly in line */
		for (unsigned i = 0; i < 32; i++) {
			rig_append(1, 61000, rig.end.seq);
			ring_release(rig.r, rig.end.seq);
			if (i % 5 == lap) {
				rig_stop();
				rig_start(rig_pos(rig.n - (i > 4 ? 3 : 0)));
				cr_assert(pos_equal(ring_end(rig.r), rig.end));
				cr_assert(zero(u64, rig.rec.dropped));
				ring_release(rig.r, rig.end.seq);
			}
		}
	}
}
