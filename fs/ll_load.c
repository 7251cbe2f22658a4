/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the workers are busy with, for who wants to leave the volume to its users (ll.h). Each worker
 * counts for itself, with plain stores of its own; nobody watching costs a load for each request. No
 * failure modes: numbers that are read while they change are a request apart.
 */
#include "ll_impl.h"

#include <linux/fuse.h>

#include "clock.h"

#define FUSE_STATX_ 52
#define USE_MASK 3ull /* of since_ns: the low bits say what it is */

_Static_assert(LL_USES <= USE_MASK + 1, "two bits");

/* LL_USES: nobody waits for its answer, or nothing here takes time. */
static enum ll_use use_of(uint32_t opcode)
{
	switch (opcode) {
	case FUSE_READ:
		return LL_READS;
	case FUSE_LOOKUP:
	case FUSE_GETATTR:
	case FUSE_STATX_:
	case FUSE_READLINK:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
	case FUSE_LSEEK:
		return LL_LOOKS;
	case FUSE_WRITE: /* it may read the old bytes around the new ones */
	case FUSE_SETATTR:
	case FUSE_FALLOCATE:
		return LL_CHANGES;
	default:
		return LL_USES;
	}
}

uint64_t ll_load_begin(struct ll_worker *w)
{
	enum ll_use use = use_of(((const struct fuse_in_header *)w->buf.mem)->opcode);
	uint64_t began;

	if (use == LL_USES)
		return 0;
	began = (clock_mono_ns() & ~USE_MASK) | use;
	atomic_store_explicit(&w->since_ns, began, memory_order_relaxed);
	return began;
}

static void add(atomic_uint_fast64_t *to, uint64_t n)
{
	uint64_t is = atomic_load_explicit(to, memory_order_relaxed); /* nobody else writes it */

	atomic_store_explicit(to, is + n, memory_order_relaxed);
}

void ll_load_end(struct ll_worker *w, uint64_t began)
{
	enum ll_use use = began & USE_MASK;

	atomic_store_explicit(&w->since_ns, 0, memory_order_relaxed);
	if (use == LL_CHANGES) /* who answers them counts them */
		return;
	add(&w->ns[use], clock_mono_ns() - (began & ~USE_MASK));
	add(&w->ops[use], 1);
}

void ll_watch(struct ll *l, bool on)
{
	if (atomic_load_explicit(&l->watched, memory_order_relaxed) != on)
		atomic_store(&l->watched, on);
}

void ll_load(const struct ll *l, struct ll_load ret_load[LL_USES])
{
	for (unsigned u = 0; u < LL_USES; u++)
		ret_load[u] = (struct ll_load){0};
	for (unsigned i = 0; i < l->nthreads; i++) {
		const struct ll_worker *w = &l->workers[i];
		uint64_t since = atomic_load_explicit(&w->since_ns, memory_order_relaxed);
		struct ll_load *x = &ret_load[since & USE_MASK];

		if (since && (!x->since_ns || since < x->since_ns))
			x->since_ns = since;
		for (unsigned u = 0; u < LL_USES; u++) {
			ret_load[u].ops += atomic_load_explicit(&w->ops[u], memory_order_relaxed);
			ret_load[u].ns += atomic_load_explicit(&w->ns[u], memory_order_relaxed);
		}
	}
}
