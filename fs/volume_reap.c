/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Removing what is dead (unlinked and no longer open; truncated, punched) by entries of its own, in small
 * steps, a few at a time, so that it never crowds out a client.
 *
 * What dies gathers for a few milliseconds, because an entry for each removed file would have the next
 * operation of whoever removes a tree wait for a flush of its own. An operation that finds an inode's list of
 * dead ranges full makes it hurry.
 *
 * Failure modes: none of its own. What is not removed before a crash is found again by whoever serves next
 * (tree_find_garbage()).
 */
#include "volume_impl.h"

#include <stdlib.h>

#define REAP_GATHER_NS (10 * NS_PER_MS)
#define REAPS_MAX 4u /* in flight */

static bool inode_in_use(void *ctx, uint64_t ino)
{
	struct volume *v = ctx;

	return v->ll && ll_knows(v->ll, ino);
}

static void reap_done(struct op *op)
{
	struct volume *v = op->ctx;

	v->reaps--;
	v->reap_again = true;
	op_free(op);
}

static void forgotten_take(struct volume *v)
{
	pthread_mutex_lock(&v->forgotten_mutex);
	for (unsigned i = 0; i < v->nforgotten; i++)
		tree_forgotten(v->tree, v->forgotten[i]);
	if (v->nforgotten)
		v->reap_again = true;
	v->nforgotten = 0;
	pthread_mutex_unlock(&v->forgotten_mutex);
}

void volume_forgotten(struct volume *v, uint64_t ino)
{
	bool wake;

	pthread_mutex_lock(&v->forgotten_mutex);
	if (v->nforgotten == v->forgotten_cap) {
		v->forgotten_cap = v->forgotten_cap ? 2 * v->forgotten_cap : 1024;
		v->forgotten = realloc(v->forgotten, v->forgotten_cap * sizeof(*v->forgotten));
		ensure(v->forgotten);
	}
	v->forgotten[v->nforgotten++] = ino;
	wake = v->nforgotten == 1;
	pthread_mutex_unlock(&v->forgotten_mutex);
	if (wake)
		loop_wake(v->loop);
}

static void reap_expired(struct loop_timer *t, uint64_t now_ns)
{
	/* the loop's turn runs volume_stage_work() */
}

static bool reap_due(struct volume *v)
{
	uint64_t now;

	if (!v->reap_again)
		return false;
	now = clock_mono_ns();
	if (!v->reap_at_ns) {
		v->reap_at_ns = now + REAP_GATHER_NS;
		v->reap_timer.expired = reap_expired;
		loop_timer_set(v->loop, &v->reap_timer, v->reap_at_ns);
	}
	return now >= v->reap_at_ns;
}

bool volume_reap(struct volume *v, bool now)
{
	bool queued = false;

	forgotten_take(v);
	if (tree_has_new_garbage(v->tree))
		v->reap_again = true;
	if (!reap_due(v) && !now)
		return false;
	while (v->reap_again && v->reaps < REAPS_MAX) {
		struct op *op = op_new(OP_REAP), **at;

		if (!op_next_reap(v->tree, inode_in_use, v, op)) {
			v->reap_again = false;
			v->reap_at_ns = 0;
			op_free(op);
			break;
		}
		queued = true;
		op->ctx = v;
		op->done = reap_done;
		op->queued_ns = clock_mono_ns();
		v->reaps++;
		v->waiting++;
		at = &v->ready; /* ahead of the others: somebody may wait for it */
		op->next = *at;
		*at = op;
		if (!op->next)
			v->ready_tail = &op->next;
	}
	return queued;
}
