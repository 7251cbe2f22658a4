/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "payload.h"

static unsigned rooms;

static void room(void *ctx)
{
	rooms++;
}

Test(payload, buffers_are_aligned_and_large_enough)
{
	struct payload_pool *p = NULL;

	cr_assert_eq(payload_pool_new(16u << 20, NULL, NULL, &p), 0);
	for (size_t n = 1; n <= PAYLOAD_SIZE_MAX; n = n * 3 + 1) {
		struct payload *x = payload_new(p, n);

		cr_assert(x);
		cr_assert_geq(x->size, n);
		cr_assert_eq((uintptr_t)x->data % BLOCK_SIZE, 0);
		cr_assert_eq(x->size % BLOCK_SIZE, 0);
		memset(x->data, 1, x->size);
		payload_unref(x);
	}
	cr_assert_eq(payload_pool_used(p), 0);
	payload_pool_free(p);
}

Test(payload, a_full_pool_says_so_and_tells_when_there_is_room_again)
{
	struct payload_pool *p = NULL;
	struct payload *x[4], *more;

	rooms = 0;
	cr_assert_eq(payload_pool_new(4 * BLOCK_SIZE, room, NULL, &p), 0);
	for (unsigned i = 0; i < 4; i++)
		cr_assert(x[i] = payload_new(p, BLOCK_SIZE));
	cr_assert_eq(payload_pool_used(p), 4 * BLOCK_SIZE);
	payload_unref(payload_ref(x[0]));
	cr_assert_eq(rooms, 0);
	cr_assert_not(payload_new(p, 1));
	payload_unref(x[3]);
	cr_assert_eq(rooms, 1);
	payload_unref(x[2]);
	cr_assert_eq(rooms, 1, "nobody had failed since");
	/* Idle buffers of one size make way for another. */
	cr_assert(more = payload_new(p, 2 * BLOCK_SIZE));
	payload_unref(more);
	payload_unref(x[1]);
	payload_unref(x[0]);
	cr_assert_eq(payload_pool_used(p), 0);
	payload_unref(NULL);
	payload_pool_free(p);
}

Test(payload, without_a_pool_the_heap_serves)
{
	struct payload *x = payload_new(NULL, 2 * BLOCK_SIZE);

	cr_assert(x);
	cr_assert_geq(x->size, 2 * BLOCK_SIZE);
	payload_unref(payload_ref(x));
	payload_unref(x);
}

Test(payload, in_memory_of_the_caller_buffers_have_places_of_their_own_and_give_pages_back)
{
	const size_t limit = 8u << 20, area = 16u << 20, size = PAYLOAD_CLASSES * area;
	int fd = memfd_create("pool", MFD_CLOEXEC);
	struct payload_pool *p = NULL;
	struct payload *x[64] = {0};
	struct stat st;
	uint8_t *base;

	cr_assert(fd >= 0 && !ftruncate(fd, (off_t)size));
	base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert(base != MAP_FAILED);
	cr_assert_eq(payload_pool_new_at(base, area, limit, NULL, NULL, &p), 0);
	srandom(1);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned n = (unsigned)random() % 64;

		if (x[n]) {
			for (size_t at = 0; at < x[n]->size; at += BLOCK_SIZE)
				cr_assert_eq(x[n]->data[at], n + 1, "nobody else writes there");
			payload_unref(x[n]);
			x[n] = NULL;
			continue;
		}
		x[n] = payload_new(p, (size_t)random() % (PAYLOAD_SIZE_MAX >> random() % 9) + 1);
		if (!x[n])
			continue; /* full */
		cr_assert(x[n]->data >= base && x[n]->data + x[n]->size <= base + size);
		cr_assert_eq((uintptr_t)x[n]->data % BLOCK_SIZE, 0);
		for (size_t at = 0; at < x[n]->size; at += BLOCK_SIZE)
			x[n]->data[at] = (uint8_t)(n + 1);
	}
	cr_assert(fstat(fd, &st) == 0);
	cr_assert_leq((size_t)st.st_blocks * 512, limit, "%zu bytes", (size_t)st.st_blocks * 512);
	for (unsigned n = 0; n < 64; n++)
		payload_unref(x[n]);
	payload_pool_free(p);
	munmap(base, size);
	close(fd);
}

Test(payload, who_can_do_without_leaves_half_of_the_pool_to_the_others)
{
	struct payload_pool *p;
	struct payload *a, *b, *spare;

	cr_assert_eq(payload_pool_new(16 * BLOCK_SIZE, NULL, NULL, &p), 0);
	spare = payload_new_spare(p, 8 * BLOCK_SIZE);
	cr_assert(spare);
	cr_assert_null(payload_new_spare(p, BLOCK_SIZE));
	a = payload_new(p, 4 * BLOCK_SIZE);
	b = payload_new(p, 4 * BLOCK_SIZE);
	cr_assert(a && b);
	payload_unref(spare);
	cr_assert_null(payload_new_spare(p, BLOCK_SIZE));
	payload_unref(a);
	spare = payload_new_spare(p, 4 * BLOCK_SIZE);
	cr_assert(spare);
	payload_unref(spare);
	payload_unref(b);
	payload_pool_free(p);
}
