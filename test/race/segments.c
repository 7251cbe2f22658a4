/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data segments and payloads under ThreadSanitizer: one thread announces small and large writes, as
 * the commit thread does, two read what was announced, one syncs, one adds epochs and makes files, two
 * repair old blocks, two have the same block in memory, one allocates ahead and looks how much is allocated, one punches what is old and takes
 * the files of old epochs away.
 * Ends with 0 when nothing was reported and every read found what was announced.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "scratch.h"
#include "segments.h"

#define WRITES 3000u
#define WINDOW 64u /* blocks that readers look back */
#define EPOCH 100u /* that is written in */
#define REPAIRED 8u /* the first blocks of each window are repaired, the others punched */

static struct segments *s;
static struct payload_pool *pool;
static atomic_ulong upto; /* blocks announced */
static atomic_ulong punched; /* blocks below this may be holes */
static atomic_uint last_epoch; /* of those that hold nothing */
static atomic_bool stop;
static atomic_uint wrong;

static void fill(uint8_t *p, uint64_t n)
{
	for (unsigned i = 0; i < BLOCK_SIZE; i += 8)
		memcpy(p + i, &(uint64_t){n ^ i}, 8);
}

static void *reader_main(void *arg)
{
	uint8_t *buf = malloc(WINDOW * BLOCK_SIZE), want[BLOCK_SIZE];
	uint32_t crcs[WINDOW], bad;

	while (!atomic_load(&stop)) {
		uint64_t end = atomic_load(&upto), from = end > WINDOW ? end - WINDOW : 0;

		if (!end)
			continue;
		for (uint64_t n = from; n < end; n++) {
			fill(want, n);
			crcs[n - from] = crc32c(0, want, BLOCK_SIZE);
		}
		if (segments_read(s, (struct addr){.block = from, .epoch = EPOCH},
			    (uint32_t)(end - from), buf, crcs, &bad) &&
			atomic_load(&punched) <= from) /* it was not overtaken */
			atomic_fetch_add(&wrong, 1);
	}
	free(buf);
	return NULL;
}

static void *sync_main(void *arg)
{
	while (!atomic_load(&stop)) {
		if (segments_sync(s))
			atomic_fetch_add(&wrong, 1);
		segments_written_seq(s);
		segments_pending_bytes(s);
		usleep(3000);
	}
	return NULL;
}

/* Puts the right bytes in the place of old blocks, as a repair does; two at it may meet at the same one. */
static void *repair_main(void *arg)
{
	uint64_t state = (uint64_t)(uintptr_t)&state;

	while (!atomic_load(&stop)) {
		uint64_t end = atomic_load(&upto), n;
		struct payload *p;
		struct addr a;
		uint32_t crc;

		if (end < 4 * WINDOW)
			continue;
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		n = (state >> 33) % REPAIRED + (end / WINDOW - 3) * WINDOW;
		a = (struct addr){.block = n, .epoch = EPOCH};
		p = payload_new(NULL, BLOCK_SIZE);
		fill(p->data, n);
		crc = crc32c(0, p->data, BLOCK_SIZE);
		segments_inflight_add(s, a, 1, p);
		if (segments_repair(s, a, 1, p->data) || segments_damage(s, a, 1, &crc))
			atomic_fetch_add(&wrong, 1);
		segments_inflight_remove(s, a, 1);
		if (segments_damage(s, a, 1, &crc))
			atomic_fetch_add(&wrong, 1);
		payload_unref(p);
		usleep(500);
	}
	return NULL;
}

/* As repairs of one block for several readers: each has it in memory, under the same address. */
static void *alike_main(void *arg)
{
	struct payload *p = payload_new(NULL, BLOCK_SIZE);

	fill(p->data, 0);
	while (!atomic_load(&stop)) {
		segments_inflight_add(s, (struct addr){.block = 0, .epoch = EPOCH}, 1, p);
		segments_inflight_remove(s, (struct addr){.block = 0, .epoch = EPOCH}, 1);
	}
	payload_unref(p);
	return NULL;
}

static void *allocate_main(void *arg)
{
	uint64_t at = 0;

	while (!atomic_load(&stop)) {
		uint64_t end = atomic_load(&upto) + 1024;

		if (at < end && segments_allocate(s, (struct addr){.block = at, .epoch = EPOCH},
					end, end % 2, &at))
			atomic_fetch_add(&wrong, 1);
		segments_measure(s);
		usleep(1000);
	}
	return NULL;
}

static void *punch_main(void *arg)
{
	uint64_t at = 0;

	while (!atomic_load(&stop)) {
		struct addr a = {.block = at + REPAIRED, .epoch = EPOCH};

		if (segments_trim(s, atomic_load(&last_epoch)))
			atomic_fetch_add(&wrong, 1);
		if (at + 8 * WINDOW > atomic_load(&upto)) {
			usleep(500);
			continue;
		}
		at += WINDOW;
		atomic_store(&punched, at);
		if (segments_punch(s, a, WINDOW - REPAIRED))
			atomic_fetch_add(&wrong, 1);
	}
	return NULL;
}

static void *epoch_main(void *arg)
{
	struct err e = {0};

	for (uint32_t n = 2; n < 20 && !atomic_load(&stop); n++) {
		if (segments_add_epoch(s, (struct epoch){.num = n, .id = n}, &e))
			atomic_fetch_add(&wrong, 1);
		if (n % 6 == 0 && segments_prepare(s, (struct addr){.epoch = n}, 0))
			atomic_fetch_add(&wrong, 1);
		atomic_store(&last_epoch, n);
		segments_disk_bytes(s);
		usleep(2000);
	}
	return NULL;
}

/* Announces a run of blocks and, when it is a large one, writes it as the owner of io_uring would. */
static void announce(uint64_t first, uint32_t blocks, uint64_t seq)
{
	struct payload *p = payload_new(pool, (size_t)blocks * BLOCK_SIZE);
	struct addr a = {.block = first, .epoch = EPOCH};
	uint64_t off;
	int fd;

	if (!p) {
		atomic_fetch_add(&wrong, 1);
		return;
	}
	for (uint32_t i = 0; i < blocks; i++)
		fill(p->data + (size_t)i * BLOCK_SIZE, first + i);
	if (blocks < 16) {
		segments_pending_add(s, a, blocks, p, 0, seq);
		atomic_store(&upto, first + blocks);
	} else {
		segments_inflight_add(s, a, blocks, p);
		atomic_store(&upto, first + blocks);
		if (segments_direct(s, a, blocks, &fd, &off) ||
			pwrite(fd, p->data, (size_t)blocks * BLOCK_SIZE, (off_t)off) < 0)
			atomic_fetch_add(&wrong, 1);
		segments_inflight_remove(s, a, blocks);
	}
	payload_unref(p);
}

int main(void)
{
	void *(*const mains[])(void *) = {reader_main, reader_main, sync_main, epoch_main,
		repair_main, repair_main, alike_main, alike_main, allocate_main, punch_main};
	pthread_t t[ARRAY_SIZE(mains)];
	struct err e = {0};
	uint64_t next = 0;

	if (payload_pool_new(64u << 20, NULL, NULL, &pool) ||
		segments_open(scratch_dir(), &s, &e) ||
		segments_add_epoch(s, (struct epoch){.num = EPOCH, .id = 1}, &e)) {
		fprintf(stderr, "segments: %s\n", e.msg);
		return 1;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(mains); i++)
		pthread_create(&t[i], NULL, mains[i], NULL);
	for (uint64_t seq = 1; seq <= WRITES; seq++) {
		uint32_t blocks = seq % 50 == 0 ? 32 : 1 + seq % 5;

		if (next % DATA_SEGMENT_BLOCKS + blocks > DATA_SEGMENT_BLOCKS)
			break;
		announce(next, blocks, seq);
		next += blocks;
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < ARRAY_SIZE(mains); i++)
		pthread_join(t[i], NULL);
	segments_close(s);
	payload_pool_free(pool);
	scratch_remove();
	printf("segments: %llu blocks, %u wrong\n", (unsigned long long)next, atomic_load(&wrong));
	return wrong != 0;
}
