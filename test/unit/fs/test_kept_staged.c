/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was answered before it was in the journal: found again in the memory of a daemon that was killed, whatever it
 * was doing, as far as it was answered, in order, with the large payloads that it names.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crc32c.h"
#include "kept.h"

#define AREA (16u << 20)
#define BEHIND 8u /* batches that are not durable yet */

static const struct uuid volume = {{1, 2, 3}};
static const struct epoch epoch = {.id = 11, .num = 2};

Test(kept_staged, a_payload_is_found_at_its_newest_place_and_never_outside)
{
	struct addr a = {.block = 70, .epoch = 3};
	struct kept_payload *places;
	struct kept k;
	uint8_t *pool;

	cr_assert(eq(int, kept_new(AREA, &k), 0));
	pool = kept_pool(&k);
	cr_expect(eq(ptr, (void *)kept_payload(&k, a, 16), NULL));
	kept_payload_add(&k, a, 16, pool + 3 * BLOCK_SIZE);
	kept_payload_add(&k, (struct addr){.block = 70, .epoch = 4}, 16, pool);
	cr_expect(eq(ptr, (void *)kept_payload(&k, a, 16), pool + 3 * BLOCK_SIZE));
	cr_expect(eq(ptr, (void *)kept_payload(&k, a, 17), NULL));
	kept_payload_add(&k, a, 16, pool + 9 * BLOCK_SIZE);
	cr_expect(eq(ptr, (void *)kept_payload(&k, a, 16), pool + 9 * BLOCK_SIZE));
	for (unsigned i = 0; i < KEPT_PAYLOADS; i++)
		kept_payload_add(&k, (struct addr){.block = i, .epoch = 9}, 16, pool);
	cr_expect(eq(ptr, (void *)kept_payload(&k, a, 16), NULL));
	places = (struct kept_payload *)(kept_arena(&k) + KEPT_ARENA_SIZE);
	places[5] = (struct kept_payload){70, 3, 16, UINT64_MAX - BLOCK_SIZE + 1};
	places[6] = (struct kept_payload){70, 3, 16, (uint64_t)PAYLOAD_CLASSES * AREA - BLOCK_SIZE};
	places[7] = (struct kept_payload){70, 3, 16, 5};
	cr_expect(eq(ptr, (void *)kept_payload(&k, a, 16), NULL));
	kept_close(&k);
}

Test(kept_staged, a_descriptor_whose_size_does_not_fit_the_pool_is_refused)
{
	struct err e = {0};
	struct kept k, again;

	cr_assert(eq(int, kept_new(AREA, &k), 0));
	cr_assert(eq(int, kept_map(dup(k.fd), &again, &e), 0));
	kept_close(&again);
	k.h->pool_area += BLOCK_SIZE;
	cr_expect(eq(int, kept_map(dup(k.fd), &again, &e), -EBADMSG));
	k.h->pool_area = UINT64_MAX - BLOCK_SIZE + 1;
	cr_expect(eq(int, kept_map(dup(k.fd), &again, &e), -EBADMSG));
	k.h->pool_area = 0;
	cr_expect(eq(int, kept_map(dup(k.fd), &again, &e), -EBADMSG));
	kept_close(&k);
}

/* A batch's bodies: seq and, where it is a large one, the payload's checksum. */
struct body {
	uint64_t seq;
	uint32_t crc, blocks;
	struct addr addr;
	uint8_t rest[200];
};

static void stage(struct kept *k, struct batch_writer *w, uint64_t *state)
{
	struct body b = {.seq = batch_writer_end(w).seq + 1};
	struct iovec iov = {.iov_base = &b};
	uint64_t r = *state = *state * 6364136223846793005ull + 1442695040888963407ull;

	if (r >> 60 == 0) { /* in a buffer of the pool that was free long since */
		uint8_t *at = kept_pool(k) + (b.seq % 2000) * 16 * BLOCK_SIZE;

		b.blocks = 16;
		b.addr = (struct addr){.block = b.seq * 16, .epoch = epoch.num};
		for (unsigned i = 0; i < 16; i++)
			memset(at + (size_t)i * BLOCK_SIZE, (int)(r >> i), BLOCK_SIZE);
		b.crc = crc32c(0, at, 16 * BLOCK_SIZE);
		kept_payload_add(k, b.addr, 16, at);
	}
	iov.iov_len = offsetof(struct body, rest) + (r >> 40) % sizeof(b.rest);
	batch_add(w, 3, 1, b.seq, &iov, 1, NULL);
	atomic_store(&k->h->answered, b.seq);
}

/* `durable`: seq and chain in one word, as a ring would say it. */
static _Noreturn void victim(struct kept *k, _Atomic uint64_t *durable, uint64_t state)
{
	struct pos end = {0}, ends[BEHIND] = {0};
	size_t at = 0;

	for (unsigned n = 0;; n++) {
		struct batch_writer w;
		unsigned count = 1 + (unsigned)(state >> 33) % 40;

		if (KEPT_ARENA_SIZE - at < BATCH_SIZE_MAX)
			at = 0;
		batch_begin(&w, kept_arena(k) + at, BATCH_SIZE_MAX, &volume, epoch, end);
		for (unsigned i = 0; i < count; i++)
			stage(k, &w, &state);
		at += batch_finish(&w, 0, n);
		end = batch_writer_end(&w);
		atomic_store(durable, ends[n % BEHIND].seq << 32 | ends[n % BEHIND].chain);
		ends[n % BEHIND] = end;
	}
}

static uint64_t recover(const struct kept *k, struct pos end)
{
	struct batch_header h;
	const uint8_t *batch;
	size_t at = 0;

	while ((batch = kept_next_batch(k, &at, &volume, end, 0, 0, &h))) {
		struct entry e;
		size_t cursor = 0;

		cr_assert(zero(int, batch_verify(batch, batch_size(&h), &h)));
		while (batch_next_entry(batch, &h, &cursor, &e)) {
			struct body b = {0};

			memcpy(&b, e.body, MIN(e.h.body_len, sizeof(b)));
			cr_assert(eq(u64, e.h.seq, ++end.seq));
			cr_assert(eq(u64, b.seq, end.seq));
			if (b.blocks) {
				const void *p = kept_payload(k, b.addr, b.blocks);

				cr_assert(p != NULL);
				cr_assert(eq(u32, crc32c(0, p, 16 * BLOCK_SIZE), b.crc));
			}
		}
		end = batch_end(&h);
	}
	return end.seq;
}

Test(kept_staged, all_that_was_answered_is_found_after_a_kill_at_any_instruction, .timeout = 60)
{
	_Atomic uint64_t *durable =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert(durable != MAP_FAILED);
	for (unsigned round = 0; round < 12; round++) {
		struct kept k;
		uint64_t from, answered;
		int status;
		pid_t pid;

		cr_assert(eq(int, kept_new(AREA, &k), 0));
		atomic_store(durable, 0);
		pid = fork();
		if (!pid)
			victim(&k, durable, round);
		while (atomic_load(&k.h->answered) < 500)
			usleep(100);
		usleep(round * 1733 % 10000);
		kill(pid, SIGKILL);
		cr_assert(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
		from = atomic_load(durable);
		answered = atomic_load(&k.h->answered);
		cr_expect(ge(u64,
			recover(&k, (struct pos){.seq = from >> 32, .chain = (uint32_t)from}),
			answered));
		kept_close(&k);
	}
	munmap(durable, 4096);
}
