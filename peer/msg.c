/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of frames. Each type has a row in a table with its limits, an encoder and a decoder of
 * its own fields (the meta); the order of the calls below is the layout, integers little-endian.
 * The layouts of PREFACE and REFUSED, and the frame header, are the same in every protocol version,
 * so that two builds can always tell each other that they do not fit.
 *
 * Everything from the wire is checked here: lengths by type before anything is allocated, counts
 * against the structs, flags that may only be 0 or 1, names without control characters, reserved
 * bytes zero, no byte left over. Texts for a person are made printable, not refused. No state.
 */
#include "msg.h"

#include <errno.h>
#include <string.h>

#include "bytes.h"
#include "check.h"
#include "crc32c.h"
#include "msg_impl.h"

#define MAGIC 0x534d4654u /* "TFMS" */
#define RESERVED_LEN 12u
#define OPERATOR_FLAGS_ALL                                                                         \
	(OPERATOR_YES | OPERATOR_FORCE | OPERATOR_ACCEPT_DATA_LOSS | OPERATOR_FORWARDED)
#define SMALL_META_MAX (4096u - MSG_HEADER_SIZE) /* bytes; of messages without a record */

static void put_uuid(struct bytes *b, const struct uuid *u)
{
	bytes_put_mem(b, u->b, sizeof(u->b));
}

static struct uuid get_uuid(struct bytes *b)
{
	struct uuid u = {0};

	bytes_get_mem(b, u.b, sizeof(u.b));
	return u;
}

static void put_pos(struct bytes *b, struct pos p)
{
	bytes_put64(b, p.seq);
	bytes_put32(b, p.chain);
}

static struct pos get_pos(struct bytes *b)
{
	struct pos p;

	p.seq = bytes_get64(b);
	p.chain = bytes_get32(b);
	if (!p.seq && p.chain)
		b->bad = true; /* the empty history has no chain */
	return p;
}

static void put_epoch(struct bytes *b, struct epoch e)
{
	bytes_put64(b, e.id);
	bytes_put32(b, e.num);
}

static struct epoch get_epoch(struct bytes *b)
{
	struct epoch e;

	e.id = bytes_get64(b);
	e.num = bytes_get32(b);
	return e;
}

static bool get_bool(struct bytes *b)
{
	uint8_t v = bytes_get8(b);

	if (v > 1)
		b->bad = true;
	return v == 1;
}

static void put_domain(struct bytes *b, const char *domain)
{
	size_t len = strnlen(domain, DOMAIN_LEN_MAX);

	bytes_put8(b, (uint8_t)len);
	bytes_put_mem(b, domain, len);
}

/* `out` has DOMAIN_LEN_MAX + 1 bytes. */
static void get_domain(struct bytes *b, char *out, bool may_be_empty)
{
	size_t len = bytes_get8(b);
	const char *p = NULL;

	if (len > DOMAIN_LEN_MAX || (!len && !may_be_empty))
		b->bad = true;
	else
		p = bytes_take(b, len);
	for (size_t i = 0; p && i < len; i++)
		if (p[i] <= ' ' || p[i] >= 0x7f)
			b->bad = true; /* also bytes above 0x7f where char is signed */
	if (b->bad)
		len = 0;
	if (len)
		memcpy(out, p, len);
	out[len] = '\0';
}

static void put_text(struct bytes *b, const char *text)
{
	size_t len = strnlen(text, MSG_TEXT_MAX - 1);

	bytes_put16(b, (uint16_t)len);
	bytes_put_mem(b, text, len);
}

/* `out` has MSG_TEXT_MAX bytes. It ends on somebody's terminal: no control characters but newline. */
static void get_text(struct bytes *b, char *out)
{
	size_t len = bytes_get16(b);
	const char *p = NULL;

	if (len > MSG_TEXT_MAX - 1)
		b->bad = true;
	else
		p = bytes_take(b, len);
	if (b->bad)
		len = 0;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)p[i];

		out[i] = (c < ' ' && c != '\n') || c == 0x7f ? '?' : (char)c;
	}
	out[len] = '\0';
}

static void put_grant(struct bytes *b, const struct msg_grant *g)
{
	bytes_put64(b, g->data_blocks);
	bytes_put64(b, g->ring_bytes);
	bytes_put64(b, g->meta_bytes);
	bytes_put64(b, g->disk_free);
	bytes_put64(b, g->disk_total);
}

static struct msg_grant get_grant(struct bytes *b)
{
	struct msg_grant g;

	g.data_blocks = bytes_get64(b);
	g.ring_bytes = bytes_get64(b);
	g.meta_bytes = bytes_get64(b);
	g.disk_free = bytes_get64(b);
	g.disk_total = bytes_get64(b);
	return g;
}

/* A record fills the rest of the meta. */
static void put_record(struct bytes *b, const struct record *r)
{
	size_t n = record_encode(r, b->p + b->at, bytes_left(b));

	if (!n)
		b->bad = true;
	else
		bytes_take(b, n);
}

static const struct record *get_record(struct bytes *b, struct record *record)
{
	size_t n = bytes_left(b);
	const void *p = bytes_take(b, n);

	if (!p || !n || record_decode(p, n, record) < 0) {
		b->bad = true;
		return NULL;
	}
	return record;
}

static void encode_preface(const struct msg *m, struct bytes *b)
{
	const struct msg_preface *p = &m->preface;

	bytes_put32(b, p->protocol_min);
	bytes_put32(b, p->protocol_max);
	bytes_put32(b, p->purpose);
	put_uuid(b, &p->cluster);
	put_uuid(b, &p->volume);
	put_uuid(b, &p->replica);
	put_domain(b, p->domain);
}

static void decode_preface(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_preface *p = &m->preface;
	uint32_t purpose;

	p->protocol_min = bytes_get32(b);
	p->protocol_max = bytes_get32(b);
	purpose = bytes_get32(b);
	if (!p->protocol_min || p->protocol_min > p->protocol_max ||
		(purpose != MSG_PURPOSE_COMMIT && purpose != MSG_PURPOSE_BULK))
		b->bad = true;
	p->purpose = (enum msg_purpose)purpose;
	p->cluster = get_uuid(b);
	p->volume = get_uuid(b);
	p->replica = get_uuid(b);
	get_domain(b, p->domain, false);
}

static void encode_hello(const struct msg *m, struct bytes *b)
{
	const struct msg_hello *h = &m->hello;

	ensure(h->nspans <= MSG_SPANS_MAX);
	bytes_put32(b, h->entry_format_max);
	bytes_put8(b, h->serving != 0);
	bytes_put_zero(b, 3);
	put_pos(b, h->end);
	put_pos(b, h->flushed);
	bytes_put64(b, h->commit);
	bytes_put64(b, h->first_seq);
	put_pos(b, h->before);
	put_grant(b, &h->grant);
	bytes_put32(b, h->nspans);
	for (unsigned i = 0; i < h->nspans; i++) {
		put_epoch(b, h->spans[i].epoch);
		put_pos(b, h->spans[i].end);
	}
	put_record(b, h->record);
}

static void decode_hello(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_hello *h = &m->hello;

	h->entry_format_max = bytes_get32(b);
	h->serving = get_bool(b);
	bytes_get_zero(b, 3);
	h->end = get_pos(b);
	h->flushed = get_pos(b);
	h->commit = bytes_get64(b);
	h->first_seq = bytes_get64(b);
	h->before = get_pos(b);
	h->grant = get_grant(b);
	h->nspans = bytes_get32(b);
	if (h->nspans > MSG_SPANS_MAX)
		b->bad = true;
	for (unsigned i = 0; !b->bad && i < h->nspans; i++) {
		h->spans[i].epoch = get_epoch(b);
		h->spans[i].end = get_pos(b);
		/* Newest first, one for each epoch: both numbers fall. */
		if (i && (h->spans[i].epoch.num >= h->spans[i - 1].epoch.num ||
				 h->spans[i].end.seq >= h->spans[i - 1].end.seq))
			b->bad = true;
	}
	h->record = get_record(b, record);
}

static void encode_record(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->record.nonce);
	put_record(b, m->record.record);
}

static void decode_record(struct bytes *b, struct record *record, struct msg *m)
{
	m->record.nonce = bytes_get64(b);
	m->record.record = get_record(b, record);
}

static void encode_record_ack(const struct msg *m, struct bytes *b)
{
	const struct msg_record_ack *a = &m->record_ack;

	bytes_put64(b, a->nonce);
	bytes_put64(b, a->version.number);
	bytes_put64(b, a->version.id);
	bytes_put8(b, a->version.forced);
	bytes_put8(b, a->accepted != 0);
	bytes_put_zero(b, 6);
}

static void decode_record_ack(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_record_ack *a = &m->record_ack;

	a->nonce = bytes_get64(b);
	a->version.number = bytes_get64(b);
	a->version.id = bytes_get64(b);
	a->version.forced = get_bool(b);
	a->accepted = get_bool(b);
	bytes_get_zero(b, 6);
}

static void encode_fetch(const struct msg *m, struct bytes *b)
{
	put_pos(b, m->fetch.after);
}

static void decode_fetch(struct bytes *b, struct record *record, struct msg *m)
{
	m->fetch.after = get_pos(b);
}

static void encode_ack(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->ack.durable);
	bytes_put64(b, m->ack.applied);
	bytes_put64(b, m->ack.flushed);
	put_grant(b, &m->ack.grant);
}

static void decode_ack(struct bytes *b, struct record *record, struct msg *m)
{
	m->ack.durable = bytes_get64(b);
	m->ack.applied = bytes_get64(b);
	m->ack.flushed = bytes_get64(b);
	m->ack.grant = get_grant(b);
}

static void encode_heartbeat(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->heartbeat.commit);
	bytes_put64(b, m->heartbeat.end);
	bytes_put64(b, m->heartbeat.sent_ns);
	bytes_put64(b, m->heartbeat.echo_ns);
}

static void decode_heartbeat(struct bytes *b, struct record *record, struct msg *m)
{
	m->heartbeat.commit = bytes_get64(b);
	m->heartbeat.end = bytes_get64(b);
	m->heartbeat.sent_ns = bytes_get64(b);
	m->heartbeat.echo_ns = bytes_get64(b);
}

static void encode_data(const struct msg *m, struct bytes *b)
{
	const struct msg_data *d = &m->data;

	bytes_put64(b, d->block);
	put_epoch(b, (struct epoch){.id = d->epoch_id, .num = d->epoch_num});
	bytes_put32(b, d->blocks);
	bytes_put32(b, d->crc);
	bytes_put8(b, d->gone != 0);
	bytes_put_zero(b, 3);
}

static void decode_data(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_data *d = &m->data;
	struct epoch epoch;

	d->block = bytes_get64(b);
	epoch = get_epoch(b);
	d->epoch_id = epoch.id;
	d->epoch_num = epoch.num;
	d->blocks = bytes_get32(b);
	d->crc = bytes_get32(b);
	d->gone = get_bool(b);
	bytes_get_zero(b, 3);
	if (!d->blocks || d->blocks > MSG_PAYLOAD_MAX / BLOCK_SIZE ||
		d->block > UINT64_MAX / BLOCK_SIZE - d->blocks)
		b->bad = true;
}

static void encode_refused(const struct msg *m, struct bytes *b)
{
	bytes_put32(b, (uint32_t)m->refused.code);
	put_text(b, m->refused.text);
}

static void decode_refused(struct bytes *b, struct record *record, struct msg *m)
{
	m->refused.code = (int32_t)bytes_get32(b);
	get_text(b, m->refused.text);
}

static void encode_forward(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->forward.nonce);
	bytes_put32(b, m->forward.verb);
	bytes_put32(b, m->forward.flags);
	put_domain(b, m->forward.domain);
}

static void decode_forward(struct bytes *b, struct record *record, struct msg *m)
{
	struct msg_forward *f = &m->forward;
	uint32_t verb;

	f->nonce = bytes_get64(b);
	verb = bytes_get32(b);
	if (verb < OPERATOR_PROMOTE || verb > OPERATOR_RESYNC)
		b->bad = true;
	f->verb = (enum operator_verb)verb;
	f->flags = bytes_get32(b);
	if (f->flags & ~OPERATOR_FLAGS_ALL)
		b->bad = true;
	get_domain(b, f->domain, verb == OPERATOR_PROMOTE || verb == OPERATOR_DEMOTE);
}

static void encode_forward_reply(const struct msg *m, struct bytes *b)
{
	bytes_put64(b, m->forward_reply.nonce);
	bytes_put32(b, (uint32_t)m->forward_reply.code);
	put_text(b, m->forward_reply.text);
}

static void decode_forward_reply(struct bytes *b, struct record *record, struct msg *m)
{
	m->forward_reply.nonce = bytes_get64(b);
	m->forward_reply.code = (int32_t)bytes_get32(b);
	get_text(b, m->forward_reply.text);
}

static const struct msg_rule {
	const char *name;
	uint32_t meta_max; /* bytes; 0: no fields at all */
	uint32_t payload_max; /* bytes; always whole blocks */
	bool payload_needed;
	void (*encode)(const struct msg *m, struct bytes *b);
	void (*decode)(struct bytes *b, struct record *record, struct msg *m);
} rules[MSG_TYPE_MAX] = {
	[MSG_PREFACE] = {"preface", SMALL_META_MAX, 0, false, encode_preface, decode_preface},
	[MSG_HELLO] = {"hello", MSG_META_MAX, 0, false, encode_hello, decode_hello},
	[MSG_RECORD] = {"record", MSG_META_MAX, 0, false, encode_record, decode_record},
	[MSG_RECORD_ACK] = {"record-ack", SMALL_META_MAX, 0, false, encode_record_ack,
		decode_record_ack},
	[MSG_FETCH] = {"fetch", SMALL_META_MAX, 0, false, encode_fetch, decode_fetch},
	[MSG_APPEND] = {"append", 0, BATCH_SIZE_MAX, true, NULL, NULL},
	[MSG_ACK] = {"ack", SMALL_META_MAX, 0, false, encode_ack, decode_ack},
	[MSG_HEARTBEAT] = {"heartbeat", SMALL_META_MAX, 0, false, encode_heartbeat,
		decode_heartbeat},
	[MSG_DATA] = {"data", SMALL_META_MAX, MSG_PAYLOAD_MAX, true, encode_data, decode_data},
	[MSG_REFUSED] = {"refused", SMALL_META_MAX, 0, false, encode_refused, decode_refused},
	[MSG_STOPPED] = {"stopped", 0, 0, false, NULL, NULL},
	[MSG_FORWARD] = {"forward", SMALL_META_MAX, 0, false, encode_forward, decode_forward},
	[MSG_FORWARD_REPLY] = {"forward-reply", SMALL_META_MAX, 0, false, encode_forward_reply,
		decode_forward_reply},
	[MSG_PULL_BEGIN] = {"pull-begin", SMALL_META_MAX, 0, false, encode_pull_begin,
		decode_pull_begin},
	[MSG_PULL_OFFER] = {"pull-offer", SMALL_META_MAX, 0, false, encode_pull_offer,
		decode_pull_offer},
	[MSG_PULL_FILE] = {"pull-file", SMALL_META_MAX, 0, false, encode_pull_file,
		decode_pull_file},
	[MSG_PULL_ASK_FILE] = {"pull-ask-file", SMALL_META_MAX, 0, false, encode_pull_ask_file,
		decode_pull_ask_file},
	[MSG_PULL_PART] = {"pull-part", SMALL_META_MAX, MSG_PULL_PART_MAX, true, encode_pull_part,
		decode_pull_part},
	[MSG_PULL_ASK_DATA] = {"pull-ask-data", SMALL_META_MAX, 0, false, encode_pull_ask_data,
		decode_pull_ask_data},
	[MSG_PULL_DONE] = {"pull-done", SMALL_META_MAX, 0, false, encode_pull_done,
		decode_pull_done},
	[MSG_PULL_REACHED] = {"pull-reached", SMALL_META_MAX, 0, false, encode_pull_reached,
		decode_pull_reached},
	[MSG_PULL_NEWS] = {"pull-news", SMALL_META_MAX, 0, false, encode_pull_news,
		decode_pull_news},
	[MSG_REPAIR_ASK] = {"repair-ask", SMALL_META_MAX, 0, false, encode_repair_ask,
		decode_repair_ask},
	[MSG_REPAIR] = {"repair", SMALL_META_MAX, MSG_REPAIR_BLOCKS_MAX *BLOCK_SIZE, false,
		encode_repair, decode_repair},
	[MSG_SPACE] = {"space", SMALL_META_MAX, 0, false, encode_space, decode_space},
};

const char *msg_type_name(enum msg_type t)
{
	return (unsigned)t < MSG_TYPE_MAX && rules[t].name ? rules[t].name : "unknown";
}

int msg_decode_frame(const void *buf, struct msg_frame *ret_f)
{
	struct bytes b = bytes_of(buf, MSG_HEADER_SIZE);
	const struct msg_rule *rule;
	struct msg_frame f;
	uint32_t body_len, crc;
	uint16_t version, type;

	if (bytes_get32(&b) != MAGIC)
		return -EBADMSG;
	version = bytes_get16(&b);
	type = bytes_get16(&b);
	body_len = bytes_get32(&b);
	f.meta_len = bytes_get32(&b);
	f.epoch = get_epoch(&b);
	bytes_get_zero(&b, RESERVED_LEN);
	f.meta_crc = bytes_get32(&b);
	crc = bytes_get32(&b);
	if (crc != crc32c(0, buf, MSG_HEADER_SIZE - 4))
		return -EBADMSG;
	if (version < MSG_PROTOCOL_MIN || version > MSG_PROTOCOL)
		return -EPROTONOSUPPORT;
	if (b.bad || type >= MSG_TYPE_MAX || !rules[type].name)
		return -EBADMSG;
	rule = &rules[type];
	if (f.meta_len > rule->meta_max || f.meta_len > body_len)
		return -EBADMSG;
	f.type = (enum msg_type)type;
	f.payload_len = body_len - f.meta_len;
	if (f.payload_len > rule->payload_max || f.payload_len % BLOCK_SIZE ||
		(rule->payload_needed && !f.payload_len))
		return -EBADMSG;
	*ret_f = f;
	return 0;
}

static size_t part_size(const struct msg_pull_part *p)
{
	return ((size_t)p->len + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
}

/* The payload against what the fields say of it. */
static bool payload_valid(const struct msg_frame *f, const void *payload, struct msg *m)
{
	if (m->type == MSG_APPEND) {
		m->append.batch = payload;
		return batch_verify(payload, f->payload_len, &m->append.h) == 0 &&
		       batch_size(&m->append.h) == f->payload_len;
	}
	if (m->type == MSG_DATA) {
		m->data.bytes = payload;
		return f->payload_len == m->data.blocks * BLOCK_SIZE &&
		       crc32c(0, payload, f->payload_len) == m->data.crc;
	}
	if (m->type == MSG_PULL_PART) {
		m->pull_part.bytes = payload;
		return f->payload_len == part_size(&m->pull_part) &&
		       crc32c(0, payload, f->payload_len) == m->pull_part.crc;
	}
	if (m->type == MSG_REPAIR)
		return repair_payload_valid(f->payload_len, payload, m);
	return !f->payload_len;
}

int msg_decode(const struct msg_frame *f, const void *meta, const void *payload,
	struct record *record, struct msg *ret_m)
{
	struct bytes b = bytes_of(meta, f->meta_len);
	const struct msg_rule *rule;

	ensure((unsigned)f->type < MSG_TYPE_MAX && rules[f->type].name);
	rule = &rules[f->type];
	if (crc32c(0, meta, f->meta_len) != f->meta_crc)
		return -EBADMSG;
	ret_m->type = f->type;
	ret_m->epoch = f->epoch;
	if (rule->decode)
		rule->decode(&b, record, ret_m);
	if (b.bad || bytes_left(&b) || !payload_valid(f, payload, ret_m))
		return -EBADMSG;
	return 0;
}

size_t msg_encode(const struct msg *m, void *buf, size_t size)
{
	struct bytes b = bytes_of(buf, size), head;
	const struct msg_rule *rule;
	uint16_t version = MSG_PROTOCOL;
	size_t meta_len, payload_len;
	const uint8_t *meta;

	ensure((unsigned)m->type < MSG_TYPE_MAX && rules[m->type].name);
	rule = &rules[m->type];
	bytes_take(&b, MSG_HEADER_SIZE);
	if (rule->encode)
		rule->encode(m, &b);
	ensure(!b.bad);
	meta = (uint8_t *)buf + MSG_HEADER_SIZE;
	meta_len = b.at - MSG_HEADER_SIZE;
	ensure(meta_len <= rule->meta_max);
	msg_payload(m, &payload_len);
	ensure(payload_len <= rule->payload_max);

	/* Readable to the oldest build that this one could talk to. */
	if (m->type == MSG_PREFACE || m->type == MSG_REFUSED)
		version = MSG_PROTOCOL_MIN;
	head = bytes_of(buf, MSG_HEADER_SIZE);
	bytes_put32(&head, MAGIC);
	bytes_put16(&head, version);
	bytes_put16(&head, (uint16_t)m->type);
	bytes_put32(&head, (uint32_t)(meta_len + payload_len));
	bytes_put32(&head, (uint32_t)meta_len);
	put_epoch(&head, m->epoch);
	bytes_put_zero(&head, RESERVED_LEN);
	bytes_put32(&head, crc32c(0, meta, meta_len));
	bytes_put32(&head, crc32c(0, buf, MSG_HEADER_SIZE - 4));
	return b.at;
}

const void *msg_payload(const struct msg *m, size_t *ret_len)
{
	if (m->type == MSG_APPEND) {
		*ret_len = batch_size(&m->append.h);
		return m->append.batch;
	}
	if (m->type == MSG_DATA) {
		*ret_len = (size_t)m->data.blocks * BLOCK_SIZE;
		return m->data.bytes;
	}
	if (m->type == MSG_PULL_PART) {
		*ret_len = part_size(&m->pull_part);
		return m->pull_part.bytes;
	}
	if (m->type == MSG_REPAIR && m->repair.good) {
		*ret_len = (size_t)m->repair.blocks * BLOCK_SIZE;
		return m->repair.bytes;
	}
	*ret_len = 0;
	return NULL;
}
