/* SPDX-License-Identifier: Apache-2.0 */
/* The live ring: appending, space, reading back, failing. Opening is test_recover.c's. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rig.h"
#include "ring_impl.h"

TestSuite(ring, .fini = rig_free);

#define MIB (1u << 20)

static void *buffer(void)
{
	return aligned_alloc(BLOCK_SIZE, BATCH_SIZE_MAX);
}

Test(ring, what_was_appended_is_read_back_byte_for_byte)
{
	static const enum uring_mode modes[] = {URING_FORCE, URING_THREADS};
	void *buf = buffer();

	for (unsigned m = 0; m < 2; m++) {
		struct batch_header h;

		rig_new(modes[m], 2 * MIB);
		cr_assert(eq(u64, ring_first_seq(rig.r), 1));
		cr_assert(eq(int, ring_read(rig.r, 1, buf, &h), -ENOENT));
		rig_append(3, 1000, 0);
		rig_append(0, 0, 3);
		rig_append(1, 100000, 3);
		rig_append(7, 5, 4);
		cr_assert(eq(u64, ring_end(rig.r).seq, 11));
		rig_check_contents(1);
		for (uint64_t seq = 1; seq <= 11; seq++) {
			const struct rig_batch *b = rig.batches[seq <= 3 ? 0 : seq == 4 ? 2 : 3];

			cr_assert(zero(int, ring_read(rig.r, seq, buf, &h)));
			cr_assert(zero(int, memcmp(buf, b->bytes, batch_size(&b->h))));
			cr_assert(eq(u64, h.first_seq, b->h.first_seq));
		}
		cr_assert(eq(int, ring_read(rig.r, 12, buf, &h), -ENOENT));
		cr_assert(eq(int, ring_read(rig.r, 0, buf, &h), -ESTALE));
		rig_free();
	}
	free(buf);
}

Test(ring, a_damaged_batch_is_not_handed_out)
{
	void *buf = buffer();
	struct batch_header h;

	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 3; i++)
		rig_append(1, 1000, 0);
	rig_poke_zero(rig_at(rig.batches[1]) + 600, 1);
	rig_poke_zero(rig_at(rig.batches[1]) + 601, 3);
	cr_assert(zero(int, ring_read(rig.r, 1, buf, &h)));
	cr_assert(eq(u64, ring_first_seq(rig.r), 1));
	cr_assert(eq(int, ring_read(rig.r, 2, buf, &h), -EBADMSG));
	/* From then on as if it and all before it were recycled. */
	cr_assert(eq(u64, ring_first_seq(rig.r), 3));
	cr_assert(eq(int, ring_read(rig.r, 2, buf, &h), -ESTALE));
	cr_assert(eq(int, ring_read(rig.r, 1, buf, &h), -ESTALE));
	cr_assert(zero(int, ring_read(rig.r, 3, buf, &h)));
	cr_assert(eq(u64, h.first_seq, 3));
	cr_assert(zero(int, ring_truncate(rig.r, rig_pos(1), &rig.e)), "%s", rig.e.msg);
	rig_forget(1);
	rig_append(1, 1000, 1);
	cr_assert(eq(u64, ring_first_seq(rig.r), 2));
	cr_assert(zero(int, ring_read(rig.r, 2, buf, &h)));
	free(buf);
}

Test(ring, batches_that_are_not_durable_yet_are_not_read)
{
	void *buf = buffer();
	struct batch_header h;

	rig_new(URING_AUTO, 2 * MIB);
	rig_append(1, 1000, 0);
	/* Three in flight, of which the middle one fails: the third is whole, but not readable. */
	uring_inject(rig.u, 2, 0, -EIO);
	for (unsigned i = 0; i < 3; i++)
		cr_assert(zero(int, rig_append_async(rig_build(1, 1000, 1))));
	cr_assert(eq(int, ring_read(rig.r, 2, buf, &h), -ENOENT));
	rig_wait();
	cr_assert(eq(int, rig.batches[1]->res, 0));
	cr_assert(eq(int, rig.batches[2]->res, -EIO));
	cr_assert(eq(int, rig.batches[3]->res, 0));
	cr_assert(zero(int, ring_read(rig.r, 2, buf, &h)));
	cr_assert(eq(int, ring_read(rig.r, 3, buf, &h), -ENOENT));
	cr_assert(eq(int, ring_read(rig.r, 4, buf, &h), -ENOENT));
	free(buf);
}

Test(ring, a_failed_write_is_final)
{
	rig_new(URING_AUTO, 2 * MIB);
	rig_append(1, 1000, 0);
	uring_inject(rig.u, 1, 0, -EIO);
	cr_assert(zero(int, rig_append_async(rig_build(1, 1000, 1))));
	rig_wait();
	cr_assert(eq(int, rig.batches[1]->res, -EIO));
	cr_assert(eq(int, rig_append_async(rig_build(1, 1000, 1)), -EIO));
	cr_assert(eq(int, ring_truncate(rig.r, rig_pos(1), &rig.e), -EIO));
	/* Recovery is the way back. */
	rig_stop();
	rig_forget(1);
	rig_start((struct pos){0});
	rig_append(1, 1000, 1);
	rig_check_contents(1);
}

Test(ring, a_short_write_is_finished_before_it_counts)
{
	rig_new(URING_AUTO, 2 * MIB);
	uring_inject(rig.u, 1, 3, 2 * BLOCK_SIZE);
	rig_append(4, 20000, 0);
	rig_stop();
	rig_start((struct pos){0});
	rig_check_contents(1);
}

Test(ring, a_batch_that_calls_another_in_flight_committed_waits_for_it)
{
	uint8_t *found = malloc(BLOCK_SIZE);
	uint8_t *zeros = calloc(1, BLOCK_SIZE);

	rig_new(URING_THREADS, 2 * MIB);
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned k = 0; k < 4; k++)
			cr_assert(zero(int, rig_append_async(rig_build(1, 500, rig.end.seq))));
		rig_wait();
		for (unsigned k = 0; k < 4; k++)
			cr_assert(zero(int, rig.batches[4 * i + k]->res));
	}
	/* The first fails: what depends on it is never written. */
	uring_inject(rig.u, 1, 0, -EIO);
	for (unsigned k = 0; k < 3; k++)
		cr_assert(zero(int, rig_append_async(rig_build(1, 500, rig.end.seq))));
	rig_wait();
	for (unsigned k = 80; k < 83; k++) {
		cr_assert(eq(int, rig.batches[k]->res, -EIO));
		rig_peek(rig_at(rig.batches[k]), found, BLOCK_SIZE);
		cr_assert(zero(int, memcmp(found, zeros, BLOCK_SIZE)), "batch %u", k);
	}
	free(found);
	free(zeros);
}

Test(ring, a_batch_that_calls_another_committed_waits_for_the_payloads_of_that_one)
{
	uint8_t *found = malloc(BLOCK_SIZE);
	uint8_t *zeros = calloc(1, BLOCK_SIZE);

	rig_new(URING_THREADS, 2 * MIB);
	rig_append(1, 500, 0);
	ring_payloads(rig.r, 0);
	cr_assert(zero(int, rig_append_async(rig_build(1, 500, 1))));
	cr_assert(zero(int, rig_append_async(rig_build(1, 500, 1))));
	usleep(50000);
	uring_reap(rig.u);
	for (unsigned k = 1; k < 3; k++) {
		rig_peek(rig_at(rig.batches[k]), found, BLOCK_SIZE);
		cr_assert(zero(int, memcmp(found, zeros, BLOCK_SIZE)), "batch %u", k);
	}
	ring_payloads(rig.r, UINT64_MAX);
	rig_wait();
	rig_stop();
	rig_start((struct pos){0});
	rig_check_contents(1);
	cr_assert(eq(u64, rig.rec.end.seq, 3));
	free(found);
	free(zeros);
}

Test(ring, a_full_ring_refuses_and_keeps_everything_until_it_is_released)
{
	struct rig_batch *b;
	unsigned kept;
	int ret;

	rig_new(URING_AUTO, 3 * MIB);
	do {
		b = rig_build(1, 100000, 0);
		ret = rig_append_async(b);
		rig_wait();
	} while (!ret);
	cr_assert(eq(int, ret, -ENOSPC));
	kept = rig.n;
	cr_assert(eq(uint, kept, 3 * (256 / 25)));
	rig_check_contents(1);
	/* All but the last batch of the first segment is not enough. */
	ring_release(rig.r, 9);
	cr_assert(eq(int, rig_append_async(rig_build(1, 100000, 0)), -ENOSPC));
	cr_assert(eq(u64, ring_first_seq(rig.r), 1));
	ring_release(rig.r, 10);
	cr_assert(ge(u64, ring_free(rig.r), MIB));
	rig_append(1, 100000, 0);
	cr_assert(eq(u64, ring_first_seq(rig.r), 11));
	rig_check_contents(11);
}

Test(ring, what_ring_free_promises_can_be_appended_whatever_the_sizes)
{
	rig_new(URING_THREADS, 8 * MIB);
	cr_assert(eq(u64, ring_size(rig.r), 8 * MIB));
	for (unsigned round = 0; round < 60; round++) {
		uint64_t promised;

		/* Forget all but a random part of the history. */
		if (rig.n)
			ring_release(rig.r,
				batch_last_seq(
					&rig.batches[rig.n - 1 - rig_random(MIN(rig.n, 20))]->h));
		promised = ring_free(rig.r);
		cr_assert(ge(u64, promised, 1), "round %u", round);
		for (;;) {
			unsigned count = 1 + rig_random(6), len = rig_random(155000);
			struct rig_batch *b = rig_build(count, len, 0);

			if (batch_size(&b->h) > promised) {
				rig_forget(rig.n - 1);
				break;
			}
			promised -= batch_size(&b->h);
			cr_assert(zero(int, rig_append_async(b)), "round %u", round);
			rig_wait();
		}
	}
}

Test(ring, positions_and_epochs_are_found_by_seq)
{
	struct log_span spans[8];
	struct pos p = {5, 5};

	rig_new(URING_AUTO, 2 * MIB);
	cr_assert(zero(int, ring_pos_at(rig.r, 0, &p)));
	cr_assert(zero(u64, p.seq));
	cr_assert(eq(int, ring_pos_at(rig.r, 1, &p), -ENOENT));
	cr_assert(zero(uint, ring_spans(rig.r, spans, 8)));
	for (unsigned i = 0; i < 12; i++) {
		if (i == 5 || i == 9)
			rig.epoch.num += i;
		rig_append(i % 3 == 1 ? 0 : 2, 100, 0);
	}
	for (unsigned i = 0; i < 12; i++) {
		struct pos end = rig_pos(i + 1);

		cr_assert(zero(int, ring_pos_at(rig.r, end.seq, &p)));
		cr_assert(pos_equal(p, end));
		cr_assert(eq(int, ring_pos_at(rig.r, end.seq - 1, &p), -ENOENT));
	}
	cr_assert(eq(uint, ring_spans(rig.r, spans, 8), 3));
	cr_assert(eq(u32, spans[0].epoch.num, 15));
	cr_assert(pos_equal(spans[0].end, rig_pos(12)));
	cr_assert(eq(u32, spans[1].epoch.num, 6));
	cr_assert(pos_equal(spans[1].end, rig_pos(9)));
	cr_assert(eq(u32, spans[2].epoch.num, 1));
	cr_assert(pos_equal(spans[2].end, rig_pos(5)));
	cr_assert(eq(uint, ring_spans(rig.r, spans, 2), 2));
}

Test(ring, an_epoch_without_entries_leaves_no_trace)
{
	struct log_span spans[8];

	rig_new(URING_AUTO, 2 * MIB);
	rig_append(1, 100, 0);
	rig.epoch = (struct epoch){.id = 1, .num = 9};
	rig_append(0, 0, 1); /* the loser's empty batch */
	rig.epoch = (struct epoch){.id = 2, .num = 9};
	rig_append(1, 100, 1); /* the winner's history */
	cr_assert(eq(uint, ring_spans(rig.r, spans, 8), 2));
	cr_assert(eq(u64, spans[0].epoch.id, 2));
	cr_assert(eq(u32, spans[1].epoch.num, 1));
	rig_stop();
	rig_start((struct pos){0});
	rig_check_contents(1);
	cr_assert(eq(uint, ring_spans(rig.r, spans, 8), 2));
}

struct reader {
	uint64_t last; /* written by the reader only */
	uint64_t stop_at;
	unsigned bad;
};

static void *read_all(void *arg)
{
	struct reader *rd = arg;
	void *buf = buffer();
	struct batch_header h;

	while (rd->last < rd->stop_at) {
		int ret = ring_read(rig.r, rd->last + 1, buf, &h);

		if (ret == -ENOENT)
			continue;
		if (ret || h.first_seq != rd->last + 1) {
			rd->bad++;
			break;
		}
		__atomic_store_n(&rd->last, batch_last_seq(&h), __ATOMIC_RELEASE);
	}
	free(buf);
	return NULL;
}

Test(ring, another_thread_reads_while_the_owner_appends)
{
	struct reader rd = {.stop_at = 600};
	pthread_t t;

	rig_new(URING_AUTO, 3 * MIB);
	cr_assert(zero(int, pthread_create(&t, NULL, read_all, &rd)));
	while (rig.end.seq < rd.stop_at) {
		unsigned group = 1 + rig_random(4);

		/* What was read may be overwritten. */
		ring_release(rig.r, __atomic_load_n(&rd.last, __ATOMIC_ACQUIRE));
		while (group-- && rig.end.seq < rd.stop_at) {
			if (rig_append_async(rig_build(1, 20000 + rig_random(20000), 0)))
				break;
		}
		rig_wait();
	}
	pthread_join(t, NULL);
	cr_assert(zero(uint, rd.bad));
	cr_assert(eq(u64, rd.last, 600));
}

static int stop_at_third(void *ctx, const void *batch, const struct batch_header *h)
{
	unsigned *n = ctx;

	return ++*n == 3 ? 42 : 0;
}

Test(ring, walking_stops_where_it_is_told)
{
	unsigned n = 0;

	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 5; i++)
		rig_append(2, 100, 0);
	cr_assert(eq(int, ring_walk(rig.r, 3, stop_at_third, &n), 42));
	cr_assert(eq(uint, n, 3));
	n = 0; /* seq 4 is the end of the second batch: three are left */
	cr_assert(eq(int, ring_walk(rig.r, 4, stop_at_third, &n), 42));
	n = 0;
	cr_assert(zero(int, ring_walk(rig.r, 6, stop_at_third, &n)));
	cr_assert(eq(uint, n, 2));
	n = 0;
	cr_assert(zero(int, ring_walk(rig.r, UINT64_MAX, stop_at_third, &n)));
	cr_assert(zero(uint, n));
}

Test(ring, truncating_drops_the_tail_for_good)
{
	struct pos wrong;

	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 40; i++)
		rig_append(2, 20000, 0);
	rig_append(0, 0, 4);
	wrong = rig_pos(30);
	wrong.chain ^= 1;
	cr_assert(eq(int, ring_truncate(rig.r, wrong, &rig.e), -ENOENT));
	cr_assert(eq(int, ring_truncate(rig.r, (struct pos){59, 0}, &rig.e), -ENOENT));
	cr_assert(eq(int, ring_truncate(rig.r, (struct pos){81, 0}, &rig.e), -ENOENT));
	cr_assert(zero(int, ring_truncate(rig.r, rig_pos(40), &rig.e)));
	rig_check_contents(1);
	cr_assert(zero(int, ring_truncate(rig.r, rig_pos(30), &rig.e)), "%s", rig.e.msg);
	rig_forget(30);
	rig_check_contents(1);
	rig_stop();
	rig_start((struct pos){0});
	rig_check_contents(1);
	cr_assert(zero(u64, rig.rec.dropped));
	/* A new epoch goes on where the old one was cut. */
	rig.epoch = (struct epoch){.id = 5, .num = 2};
	for (unsigned i = 0; i < 7; i++)
		rig_append(1, 30000, 60);
	rig_check_contents(1);
	rig_stop();
	rig_start(rig_pos(20));
	rig_check_contents(1);
	/* Down to nothing. */
	cr_assert(zero(int, ring_truncate(rig.r, (struct pos){0}, &rig.e)));
	rig_forget(0);
	rig_check_contents(1);
	rig_append(1, 10, 0);
	rig_stop();
	rig_start((struct pos){0});
	rig_check_contents(1);
}

Test(ring, truncating_into_an_earlier_segment_frees_the_later_ones)
{
	uint64_t room;

	rig_new(URING_AUTO, 4 * MIB);
	room = ring_free(rig.r);
	for (unsigned i = 0; i < 30; i++)
		rig_append(1, 100000, 0);
	cr_assert(lt(u64, ring_free(rig.r), room - 2 * BLOCK_SIZE));
	cr_assert(zero(int, ring_truncate(rig.r, rig_pos(2), &rig.e)));
	rig_forget(2);
	rig.epoch.num++;
	for (unsigned i = 0; i < 36; i++)
		rig_append(1, 100000, 0);
	rig_check_contents(1);
	rig_stop();
	rig_start((struct pos){0});
	rig_check_contents(1);
}

Test(ring, appending_before_trimming_is_a_programmers_error)
{
	int status;
	pid_t child;

	rig_new(URING_AUTO, 2 * MIB);
	rig_stop();
	child = fork();
	if (!child) {
		signal(SIGABRT, SIG_DFL);
		if (!rig_open((struct pos){0}, NULL, NULL))
			rig_append_async(rig_build(1, 10, 0));
		_exit(0);
	}
	cr_assert(eq(int, waitpid(child, &status, 0), child));
	cr_assert(not(zero(int, WIFSIGNALED(status))));
	cr_assert(eq(int, WTERMSIG(status), SIGABRT));
}

Test(ring, creation_refuses_what_exists_and_clears_what_an_earlier_one_left)
{
	char path[120];
	struct stat st;

	rig_new(URING_AUTO, MIB);
	cr_assert(eq(int, ring_create(rig.dir, MIB, &rig.e), -EEXIST));
	snprintf(path, sizeof(path), "%s/ring2", rig.base);
	cr_assert(eq(int, ring_create(path, MIB - 1, &rig.e), -EINVAL));
	cr_assert(eq(int, ring_create(path, 8ull << 30, &rig.e), -EINVAL));
	snprintf(path, sizeof(path), "%s/nowhere/ring", rig.base);
	cr_assert(eq(int, ring_create(path, MIB, &rig.e), -ENOENT));
	/* An interrupted creation in the way. */
	rig_stop();
	snprintf(path, sizeof(path), "%s/ring.creating", rig.base);
	cr_assert(zero(int, rename(rig.dir, path)));
	cr_assert(zero(int, ring_create(rig.dir, 5 * MIB, &rig.e)), "%s", rig.e.msg);
	cr_assert(eq(int, stat(path, &st), -1));
	rig_start((struct pos){0});
	cr_assert(eq(u64, ring_size(rig.r), 5 * MIB));
}

Test(ring, opening_waits_for_the_writes_of_a_killed_process)
{
	bool *over = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[120];
	int fd, status, ready[2];
	pid_t child;
	char c;

	rig_new(URING_AUTO, MIB);
	rig_stop();
	snprintf(path, sizeof(path), "%s/00000001", rig.dir);
	cr_assert(zero(int, pipe(ready)));
	child = fork();
	if (!child) {
		fd = open(path, O_RDWR);
		if (flock(fd, LOCK_EX) || write(ready[1], "x", 1) != 1)
			_exit(1);
		usleep(100000);
		*over = true;
		_exit(0); /* only this lets go of the lock */
	}
	cr_assert(eq(int, (int)read(ready[0], &c, 1), 1));
	rig_start((struct pos){0});
	cr_assert(over[0]);
	cr_assert(eq(int, waitpid(child, &status, 0), child));
	cr_assert(zero(int, status));
	close(ready[0]);
	close(ready[1]);
	munmap(over, 4096);
}
