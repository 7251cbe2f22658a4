/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many bytes of metadata were staged behind a given seq: what a standby that has applied up to there still
 * has to write down. Pure. An upper bound: when it holds too many marks, every second one is forgotten.
 */
#ifndef FS_META_LEDGER_H
#define FS_META_LEDGER_H

#include <stdint.h>

#define META_MARKS 512u

struct meta_ledger {
	unsigned n; /* marks, by seq and total */
	struct {
		uint64_t seq, total;
	} mark[META_MARKS];
	uint64_t total; /* bytes, ever */
};

/* Up to seq the staged entries made `total` bytes. Neither ever falls. */
void meta_note(struct meta_ledger *l, uint64_t seq, uint64_t total);
/* Bytes staged behind seq, or more. */
uint64_t meta_behind(const struct meta_ledger *l, uint64_t seq);

#endif
