/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operations come from a free list: about a kilobyte each, made and dropped tens of thousands of
 * times a second by different threads. One mutex, held for a few instructions.
 */
#include "op.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define IDLE_MAX 4096u /* operations kept for the next op_new() */

static struct {
	pthread_mutex_t mutex;
	struct op *free; /* under the mutex, like idle */
	unsigned idle;
} pool = {.mutex = PTHREAD_MUTEX_INITIALIZER};

struct op *op_new(enum op_type type)
{
	struct op *op;

	{
		LOCK_SCOPE(&pool.mutex);
		op = pool.free;
		if (op) {
			pool.free = op->next;
			pool.idle--;
		}
	}
	if (op)
		memset(op, 0, sizeof(*op));
	else
		op = calloc(1, sizeof(*op));
	ensure(op);
	op->type = type;
	return op;
}

void op_free(struct op *op)
{
	if (!op)
		return;
	payload_unref(op->payload);
	store_preload_free(op->preload);
	free((void *)op->value);
	{
		LOCK_SCOPE(&pool.mutex);
		if (pool.idle < IDLE_MAX) {
			op->next = pool.free;
			pool.free = op;
			pool.idle++;
			return;
		}
	}
	free(op);
}
