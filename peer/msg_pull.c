/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fields of the frames that catch a replica up by pulling; msg.c has the frame around them and
 * the rules of the codec. No state.
 */
#include "msg_impl.h"

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

bool msg_file_name_valid(const char *name, size_t len)
{
	if (!len || len > MSG_FILE_NAME_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!name_char(name[i]))
			return false;
	return true;
}

void encode_pull_begin(const struct msg *m, struct bytes *b)
{
	bytes_put32(b, m->pull_begin.round);
}

void decode_pull_begin(struct bytes *b, struct record *record, struct msg *m)
{
	m->pull_begin.round = bytes_get32(b);
	if (!m->pull_begin.round)
		b->bad = true;
}

void encode_pull_offer(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->pull_offer.id);
	bytes_put64(b, m->pull_offer.at.seq);
	bytes_put32(b, m->pull_offer.at.chain);
	bytes_put32(b, m->pull_offer.nfiles);
	bytes_put64(b, m->pull_offer.used_blocks);
}

void decode_pull_offer(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_pull_offer *o = &m->pull_offer;

	o->id = bytes_get64(b);
	o->at.seq = bytes_get64(b);
	o->at.chain = bytes_get32(b);
	o->nfiles = bytes_get32(b);
	o->used_blocks = bytes_get64(b);
	if (!o->nfiles || o->nfiles > MSG_PULL_FILES_MAX || (!o->at.seq && o->at.chain) ||
		o->used_blocks > UINT64_MAX / 2 / BLOCK_SIZE)
		b->bad = true;
}

void encode_pull_file(const struct msg *m, struct bytes *b)
{
	const struct msg_pull_file *f = &m->pull_file;
	size_t len = strnlen(f->name, MSG_FILE_NAME_MAX);

	bytes_put64(b, f->id);
	bytes_put32(b, f->index);
	bytes_put32(b, f->crc);
	bytes_put64(b, f->size);
	bytes_put8(b, (uint8_t)len);
	bytes_put_mem(b, f->name, len);
}

void decode_pull_file(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_pull_file *f = &m->pull_file;
	const char *name;
	size_t len;

	f->id = bytes_get64(b);
	f->index = bytes_get32(b);
	f->crc = bytes_get32(b);
	f->size = bytes_get64(b);
	len = bytes_get8(b);
	name = bytes_take(b, len);
	f->name[0] = '\0';
	if (b->bad || !name || f->index >= MSG_PULL_FILES_MAX || f->size > INT64_MAX / 2 ||
		!msg_file_name_valid(name, len)) {
		b->bad = true;
		return;
	}
	memcpy(f->name, name, len);
	f->name[len] = '\0';
}

void encode_pull_ask_file(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->pull_ask_file.id);
	bytes_put64(b, m->pull_ask_file.offset);
	bytes_put32(b, m->pull_ask_file.index);
	bytes_put32(b, m->pull_ask_file.len);
}

void decode_pull_ask_file(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_pull_ask_file *a = &m->pull_ask_file;

	a->id = bytes_get64(b);
	a->offset = bytes_get64(b);
	a->index = bytes_get32(b);
	a->len = bytes_get32(b);
	if (!a->len || a->len > MSG_PULL_PART_MAX || a->offset > INT64_MAX / 2)
		b->bad = true;
}

void encode_pull_part(const struct msg *m, struct bytes *b)
{
	const struct msg_pull_part *p = &m->pull_part;

	bytes_put64(b, p->id);
	bytes_put64(b, p->offset);
	bytes_put32(b, p->index);
	bytes_put32(b, p->len);
	bytes_put32(b, p->crc);
}

void decode_pull_part(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_pull_part *p = &m->pull_part;

	p->id = bytes_get64(b);
	p->offset = bytes_get64(b);
	p->index = bytes_get32(b);
	p->len = bytes_get32(b);
	p->crc = bytes_get32(b);
	if (!p->len || p->len > MSG_PULL_PART_MAX || p->offset > INT64_MAX / 2)
		b->bad = true;
}

void encode_pull_ask_data(const struct msg *m, struct bytes *b)
{
	const struct msg_pull_ask_data *a = &m->pull_ask_data;

	ensure(a->blocks <= MSG_PULL_BLOCKS_MAX);
	bytes_put64(b, a->block);
	bytes_put64(b, a->epoch.id);
	bytes_put32(b, a->epoch.num);
	bytes_put32(b, a->blocks);
	for (uint32_t i = 0; i < a->blocks; i++)
		bytes_put32(b, a->crcs[i]);
}

void decode_pull_ask_data(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_pull_ask_data *a = &m->pull_ask_data;

	a->block = bytes_get64(b);
	a->epoch.id = bytes_get64(b);
	a->epoch.num = bytes_get32(b);
	a->blocks = bytes_get32(b);
	/* Inside one segment file: behind this the address is believed. */
	if (!a->blocks || a->blocks > MSG_PULL_BLOCKS_MAX || !a->epoch.num ||
		a->block > UINT64_MAX / BLOCK_SIZE - a->blocks ||
		a->block % DATA_SEGMENT_BLOCKS + a->blocks > DATA_SEGMENT_BLOCKS) {
		b->bad = true;
		return;
	}
	for (uint32_t i = 0; i < a->blocks; i++)
		a->crcs[i] = bytes_get32(b);
}

void encode_pull_done(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->pull_done.id);
}

void decode_pull_done(struct bytes *b, struct record *record, struct msg *m)
{
	m->pull_done.id = bytes_get64(b);
}

void encode_pull_reached(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->pull_reached.id);
	bytes_put8(b, m->pull_reached.reached != 0);
}

void decode_pull_reached(struct bytes *b, struct record *record, struct msg *m)
{
	uint8_t v;

	m->pull_reached.id = bytes_get64(b);
	v = bytes_get8(b);
	if (v > 1)
		b->bad = true;
	m->pull_reached.reached = v;
}

void encode_pull_news(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->pull_news.done);
	bytes_put64(b, m->pull_news.total);
	bytes_put64(b, m->pull_news.rate);
}

void decode_pull_news(struct bytes *b, struct record *record, struct msg *m)
{
	m->pull_news.done = bytes_get64(b);
	m->pull_news.total = bytes_get64(b);
	m->pull_news.rate = bytes_get64(b);
}
