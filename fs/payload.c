/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The payload pool. Buffers come in a few sizes; given back, they wait in a list of their size, so
 * that in the steady state nothing is mapped or zeroed again. What is in use counts against the
 * limit; idle buffers are freed when they and those in use together would exceed it.
 *
 * In memory of the caller's each size has an area of its own, and a buffer has its place there for good: freed, it
 * gives its pages back and waits in the list `bare`. Areas are twice the limit, for what is freed at this moment;
 * should one be used up all the same, the pool is full.
 *
 * One mutex guards the lists and counts; it is never held while memory is asked from the system,
 * nor when `room` is called.
 */
#include "payload.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cleanup.h"

static const uint32_t class_blocks[] = {1, 2, 4, 8, 17, 33, 66, 130, PAYLOAD_SIZE_MAX / BLOCK_SIZE};
#define CLASSES PAYLOAD_CLASSES

_Static_assert(ARRAY_SIZE(class_blocks) == CLASSES, "as many as the header says");
_Static_assert(PAYLOAD_SIZE_MAX % BLOCK_SIZE == 0, "the largest class holds every payload");

struct payload_pool {
	pthread_mutex_t mutex;
	/* under the mutex */
	size_t limit, used, idle; /* bytes */
	struct payload *free[CLASSES];
	bool starved; /* payload_new() failed since room() was called */
	struct payload *bare[CLASSES];
	size_t touched[CLASSES]; /* bytes of the area that ever were a buffer */
	/* constant */
	void (*room)(void *ctx);
	void *ctx;
	uint8_t *base; /* NULL: buffers are of the heap */
	size_t area; /* bytes, of each size */
};

int payload_pool_new(size_t limit, void (*room)(void *ctx), void *ctx, struct payload_pool **ret)
{
	struct payload_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->mutex, NULL);
	p->limit = limit;
	p->room = room;
	p->ctx = ctx;
	*ret = p;
	return 0;
}

int payload_pool_new_at(void *base, size_t area, size_t limit, void (*room)(void *ctx), void *ctx,
	struct payload_pool **ret)
{
	int r = payload_pool_new(limit, room, ctx, ret);

	ensure(area >= 2 * limit && area % BLOCK_SIZE == 0);
	if (!r) {
		(*ret)->base = base;
		(*ret)->area = area;
	}
	return r;
}

/* No lock held: giving memory back takes its time. */
static void payload_destroy(struct payload_pool *p, struct payload *x)
{
	if (p && p->base) {
		munlock(x->data, x->size); /* a reader of /dev/fuse has locked it, or nobody has */
		if (madvise(x->data, x->size, MADV_REMOVE) < 0)
			memset(x->data, 0, x->size); /* at least it tells nothing */
		LOCK_SCOPE(&p->mutex);
		x->next = p->bare[x->slot_class];
		p->bare[x->slot_class] = x;
		return;
	}
	free(x->data);
	free(x);
}

void payload_pool_free(struct payload_pool *p)
{
	if (!p)
		return;
	ensure(!p->used);
	for (unsigned c = 0; c < CLASSES; c++) {
		while (p->free[c]) {
			struct payload *x = p->free[c];

			p->free[c] = x->next;
			payload_destroy(p, x);
		}
		while (p->bare[c]) {
			struct payload *x = p->bare[c];

			p->bare[c] = x->next;
			free(x);
		}
	}
	pthread_mutex_destroy(&p->mutex);
	free(p);
}

/* A place in the area of this size; NULL: it is used up. */
static uint8_t *area_take(struct payload_pool *p, unsigned class, size_t size)
{
	LOCK_SCOPE(&p->mutex);
	if (p->area - p->touched[class] < size)
		return NULL;
	p->touched[class] += size;
	return p->base + class * p->area + p->touched[class] - size;
}

static struct payload *bare_take(struct payload_pool *p, unsigned class)
{
	struct payload *x;

	LOCK_SCOPE(&p->mutex);
	x = p->bare[class];
	if (x)
		p->bare[class] = x->next;
	return x;
}

static struct payload *payload_create(struct payload_pool *p, unsigned class)
{
	bool placed = p && p->base;
	struct payload *x = placed ? bare_take(p, class) : NULL;

	if (x)
		return x;
	x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->size = class_blocks[class] * BLOCK_SIZE;
	x->slot_class = class;
	x->data = placed ? area_take(p, class, x->size) : aligned_alloc(BLOCK_SIZE, x->size);
	if (!x->data) {
		free(x);
		return NULL;
	}
	return x;
}

/* Takes idle buffers off the lists until `size` more bytes fit; returns them as one list. */
static struct payload *evict_locked(struct payload_pool *p, size_t size)
{
	struct payload *list = NULL;

	for (unsigned c = CLASSES; c-- && p->used + p->idle + size > p->limit;) {
		while (p->free[c] && p->used + p->idle + size > p->limit) {
			struct payload *x = p->free[c];

			p->free[c] = x->next;
			p->idle -= x->size;
			x->next = list;
			list = x;
		}
	}
	return list;
}

struct payload *payload_new(struct payload_pool *p, size_t size)
{
	struct payload *x = NULL, *evicted = NULL;
	unsigned class = 0;
	size_t bytes;

	ensure(size <= PAYLOAD_SIZE_MAX);
	while (class_blocks[class] * (size_t)BLOCK_SIZE < size)
		class ++;
	bytes = class_blocks[class] * (size_t)BLOCK_SIZE;
	if (p) {
		LOCK_SCOPE(&p->mutex);
		if (p->used + bytes > p->limit) {
			p->starved = true;
			return NULL;
		}
		x = p->free[class];
		if (x) {
			p->free[class] = x->next;
			p->idle -= bytes;
		} else {
			evicted = evict_locked(p, bytes);
		}
		p->used += bytes;
	}
	while (evicted) {
		struct payload *next = evicted->next;

		payload_destroy(p, evicted);
		evicted = next;
	}
	if (!x)
		x = payload_create(p, class);
	if (!x) {
		if (p) {
			LOCK_SCOPE(&p->mutex);
			p->used -= bytes;
			p->starved = true;
		}
		return NULL;
	}
	x->pool = p;
	x->next = NULL;
	atomic_store_explicit(&x->refs, 1, memory_order_relaxed);
	return x;
}

struct payload *payload_new_spare(struct payload_pool *p, size_t size)
{
	{
		LOCK_SCOPE(&p->mutex);
		if (p->used + size > p->limit / 2)
			return NULL;
	}
	return payload_new(p, size);
}

struct payload *payload_ref(struct payload *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void payload_unref(struct payload *x)
{
	struct payload_pool *p;
	bool tell = false;

	if (!x || atomic_fetch_sub_explicit(&x->refs, 1, memory_order_acq_rel) != 1)
		return;
	p = x->pool;
	if (!p) {
		payload_destroy(NULL, x);
		return;
	}
	{
		LOCK_SCOPE(&p->mutex);
		ensure(p->used >= x->size);
		p->used -= x->size;
		p->idle += x->size;
		x->next = p->free[x->slot_class];
		p->free[x->slot_class] = x;
		tell = p->starved;
		p->starved = false;
	}
	if (tell && p->room)
		p->room(p->ctx);
}

size_t payload_pool_used(const struct payload_pool *p)
{
	struct payload_pool *q = (struct payload_pool *)p;

	LOCK_SCOPE(&q->mutex);
	return p->used;
}
