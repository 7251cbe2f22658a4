/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading back the payload of a large write, for a peer that missed it. The entry knows each block's
 * checksum, the map knows who still needs it:
 *
 *   the bytes are right                           sent as they were
 *   wrong, and no file maps that block any more   overwritten or deleted since, and punched or about to
 *                                                 be: sent as they are now, marked "gone"
 *   wrong, and a file maps it; or the entry is
 *   not applied here, so nobody can have freed it damage on this disk: nothing is sent, it is repaired
 *                                                 first; if it cannot be, the peer is refused, so that
 *                                                 no damage spreads to the good copy that it may become
 *
 * A job thread; the result is the caller's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "body.h"
#include "crc32c.h"
#include "le.h"
#include "repair_impl.h"

/* What each block of the payload was, by the entry. */
struct origin {
	uint64_t ino;
	uint64_t file_block[BODY_BLOCKS_MAX];
	uint32_t crcs[BODY_BLOCKS_MAX];
	bool applied;
};

static int origin_of(struct volume *v, const struct entry *e, struct origin *o)
{
	struct body_change b;
	struct tree_info info;
	uint32_t n = 0;

	if (body_decode_change(e->body, e->h.body_len, &b))
		return -EBADMSG;
	for (unsigned run = 0; run < b.nruns; run++)
		for (uint32_t i = 0; i < b.runs[run].blocks && n < b.blocks; i++, n++) {
			o->file_block[n] = b.runs[run].file_block + i;
			o->crcs[n] = le32_get(b.crcs + 4ul * n);
		}
	tree_info(v->tree, &info);
	o->ino = b.ino;
	o->applied = e->h.seq <= info.applied.seq;
	return n == b.blocks ? 0 : -EBADMSG;
}

/* Reads block by block; what cannot be read is zero. */
static bool block_good(
	struct volume *v, const struct external *x, const struct origin *o, uint32_t i)
{
	struct addr at = {.block = x->addr.block + i, .epoch = x->addr.epoch};
	uint8_t *block = x->bytes + (size_t)i * BLOCK_SIZE;
	uint32_t bad;
	int r = segments_read(v->segments, at, 1, block, &o->crcs[i], &bad);

	if (r && r != -EBADMSG)
		memset(block, 0, BLOCK_SIZE);
	return !r;
}

static bool block_needed(
	struct volume *v, const struct external *x, const struct origin *o, uint32_t i)
{
	struct addr at = {.block = x->addr.block + i, .epoch = x->addr.epoch};

	return !o->applied || repair_mapped(v->tree, o->ino, o->file_block[i], at);
}

/* The damaged blocks from `first` on, as far as one repair goes. */
static struct repair *damage_of(const struct external *x, const struct origin *o, uint32_t first,
	const bool *damaged, uint64_t found_ns)
{
	struct repair *r = calloc(1, sizeof(*r));

	ensure(r);
	r->ino = o->ino;
	r->file_block = o->file_block[first];
	r->addr = (struct addr){.block = x->addr.block + first, .epoch = x->addr.epoch};
	r->unmapped = !o->applied;
	r->found_ns = found_ns;
	for (uint32_t i = first; i < x->blocks && i - first < REPAIR_BLOCKS_MAX; i++) {
		if (o->file_block[i] != r->file_block + (i - first))
			break; /* another run of the file */
		r->crcs[i - first] = o->crcs[i];
		if (damaged[i]) {
			r->bad |= 1ull << (i - first);
			r->blocks = i - first + 1;
		}
	}
	return r;
}

/* The payload as a whole is not what it was. 0: it may be sent, marked. -EUCLEAN: *ret_r is to be
 * repaired first. */
static int judge(struct volume *v, const struct entry *e, struct external *x, struct repair **ret_r)
{
	uint64_t now = clock_mono_ns();
	bool damaged[BODY_BLOCKS_MAX] = {false}, wrong = false;
	uint32_t first = x->blocks;
	struct origin o;
	int r = origin_of(v, e, &o);

	if (r)
		return r;
	for (uint32_t i = 0; i < x->blocks; i++) {
		if (block_good(v, x, &o, i))
			continue;
		wrong = true;
		damaged[i] = block_needed(v, x, &o, i);
		if (damaged[i] && first == x->blocks)
			first = i;
	}
	if (first < x->blocks) {
		*ret_r = damage_of(x, &o, first, damaged, now);
		return -EUCLEAN;
	}
	x->gone = wrong;
	if (wrong)
		x->crc = crc32c(0, x->bytes, (size_t)x->blocks * BLOCK_SIZE);
	return 0;
}

int fetch_external(struct volume *v, const struct entry *e, const struct entry_payload *p,
	struct external **ret_x, struct repair **ret_r)
{
	struct external *x = calloc(1, sizeof(*x));
	int r;

	ensure(x);
	x->addr = p->addr;
	x->epoch = e->h.epoch;
	x->blocks = p->blocks;
	x->crc = p->crc;
	x->payload = payload_new(v->rx_pool, (size_t)p->blocks * BLOCK_SIZE);
	if (!x->payload) {
		free(x);
		return -ENOMEM;
	}
	x->bytes = x->payload->data;
	r = segments_read_run(v->segments, p->addr, p->blocks, x->bytes, p->crc);
	if (r == -EBADMSG || r == -EIO)
		r = judge(v, e, x, ret_r);
	if (r) {
		external_free(x);
		return r;
	}
	*ret_x = x;
	return 0;
}
