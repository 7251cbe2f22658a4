/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume's size: an entry like every other change, so that both sides have it at the same place of the
 * history, and a statfs never says more than what every replica agreed to. The codec of its body is here
 * too. Whether the disks have the room, and whether the record's format level allows the entry, was looked
 * at before (control_resize.c).
 *
 * Failure modes: less than what is mapped: -ENOSPC, nothing is changed.
 */
#include "bytes.h"
#include "check.h"
#include "tree_impl.h"

size_t body_encode_resize(const struct body_resize *r, uint8_t *buf)
{
	struct bytes b = bytes_of(buf, BODY_SIZE_MAX);

	bytes_put64(&b, r->blocks);
	bytes_put_zero(&b, 8);
	ensure(!b.bad);
	return b.at;
}

int body_decode_resize(const void *body, size_t len, struct body_resize *r)
{
	struct bytes b = bytes_of(body, len);

	r->blocks = bytes_get64(&b);
	bytes_get_zero(&b, 8);
	if (b.bad || b.at != b.len || !r->blocks || r->blocks > (uint64_t)INT64_MAX / BLOCK_SIZE)
		return -EBADMSG;
	return 0;
}

int decide_resize(struct decide *d)
{
	struct body_resize b = {.blocks = d->op->len};

	if (view_warms(&d->v))
		return 0;
	if (!b.blocks || b.blocks > (uint64_t)INT64_MAX / BLOCK_SIZE)
		return -EINVAL;
	if (b.blocks < SB_GET(d->v.t, used_blocks))
		return -ENOSPC;
	if (b.blocks == SB_GET(d->v.t, size_blocks))
		return 1;
	return decide_finish(d, body_encode_resize(&b, d->scratch));
}

int apply_resize(struct apply *a)
{
	struct body_resize b;
	int r = body_decode_resize(a->e->body, a->e->h.body_len, &b);

	if (!r && b.blocks < a->t->sb.used_blocks)
		r = -EBADMSG;
	if (!r)
		SB_SET(a->t, size_blocks, b.blocks); /* written with the applied seq */
	return r;
}
