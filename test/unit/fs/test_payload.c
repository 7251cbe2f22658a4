/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

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
