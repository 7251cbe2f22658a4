/* SPDX-License-Identifier: Apache-2.0 */
/* Metadata staged behind a seq. See meta_ledger.h. */
#include "meta_ledger.h"

void meta_note(struct meta_ledger *l, uint64_t seq, uint64_t total)
{
	l->total = total;
	if (l->n == META_MARKS) {
		for (unsigned i = 0; i < META_MARKS / 2; i++)
			l->mark[i] = l->mark[2 * i];
		l->n = META_MARKS / 2;
	}
	l->mark[l->n].seq = seq;
	l->mark[l->n++].total = total;
}

uint64_t meta_behind(const struct meta_ledger *l, uint64_t seq)
{
	unsigned lo = 0, hi = l->n;

	while (lo < hi) { /* the first mark behind seq */
		unsigned mid = (lo + hi) / 2;

		if (l->mark[mid].seq <= seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? l->total - l->mark[lo - 1].total : l->total;
}
