/* SPDX-License-Identifier: Apache-2.0 */
/* The frame that grants room. See msg.c for the table that names it and the rules of the codec. No state. */
#include "msg_impl.h"

#define ADDRESS_MAX (UINT64_MAX / BLOCK_SIZE) /* blocks */

void encode_space(const struct msg *m, struct bytes *b)
{
	const struct msg_space *s = &m->space;

	bytes_put64(b, s->data_used);
	bytes_put64(b, s->data_seq);
	bytes_put64(b, s->data_want);
	bytes_put64(b, s->data_upto);
	bytes_put64(b, s->meta_seq);
	bytes_put64(b, s->meta_bytes);
	bytes_put8(b, s->data_full != 0);
	bytes_put8(b, s->meta_full);
	bytes_put_zero(b, 6);
	bytes_put64(b, s->room);
	bytes_put64(b, s->promise);
	bytes_put64(b, s->live);
	bytes_put64(b, s->dead);
	bytes_put64(b, s->allocated);
}

void decode_space(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_space *s = &m->space;

	s->data_used = bytes_get64(b);
	s->data_seq = bytes_get64(b);
	s->data_want = bytes_get64(b);
	s->data_upto = bytes_get64(b);
	s->meta_seq = bytes_get64(b);
	s->meta_bytes = bytes_get64(b);
	s->data_full = bytes_get8(b);
	s->meta_full = bytes_get8(b);
	bytes_get_zero(b, 6);
	s->room = bytes_get64(b);
	s->promise = bytes_get64(b);
	s->live = bytes_get64(b);
	s->dead = bytes_get64(b);
	s->allocated = bytes_get64(b);
	/* Behind this the addresses are believed. */
	if (s->data_full > 1 || s->meta_full > META_FULL_FOR_NOW || s->data_used > ADDRESS_MAX ||
		s->data_want > ADDRESS_MAX || s->data_upto > ADDRESS_MAX)
		b->bad = true;
}
