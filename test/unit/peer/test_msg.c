/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The frames' codec: each type goes through and comes back, golden bytes pin protocol 1, and nothing
 * that was touched is accepted.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "crc32c.h"
#include "msg.h"

#define BUF_SIZE (MSG_HEADER_SIZE + MSG_META_MAX)

static uint8_t *buf;
static uint8_t *payload;
static struct record *record, *decoded;

static void setup(void)
{
	buf = malloc(BUF_SIZE);
	payload = aligned_alloc(BLOCK_SIZE, MSG_PAYLOAD_MAX);
	record = calloc(1, sizeof(*record));
	decoded = calloc(1, sizeof(*decoded));
	cr_assert(buf && payload && record && decoded);
	memset(payload, 0x5a, MSG_PAYLOAD_MAX);
}

static void fini(void)
{
	free(buf);
	free(payload);
	free(record);
	free(decoded);
}

TestSuite(msg, .init = setup, .fini = fini);

static struct uuid uuid_of(uint8_t first)
{
	struct uuid u;

	for (unsigned i = 0; i < sizeof(u.b); i++)
		u.b[i] = (uint8_t)(first + i);
	return u;
}

static struct msg_grant grant_of(uint64_t base)
{
	return (struct msg_grant){base, base + 1, base + 2, base + 3, base + 4};
}

static void record_fill(void)
{
	record->cluster = uuid_of(0x10);
	record->volume = uuid_of(0x20);
	record->format_level = RECORD_FORMAT_LEVEL;
	record->version = (struct record_version){.number = 3, .id = 33};
	record->epoch = (struct epoch){.id = 77, .num = 2};
	record->nreplicas = 2;
	record->replicas[0].uuid = uuid_of(0x30);
	snprintf(record->replicas[0].domain, sizeof(record->replicas[0].domain), "site-a");
	record->replicas[0].in_sync = true;
	record->replicas[1].uuid = uuid_of(0x40);
	snprintf(record->replicas[1].domain, sizeof(record->replicas[1].domain), "site-b");
	record->active = record->replicas[0].uuid;
	record->nancestors = 2;
	record->ancestors[0] = (struct record_version){.number = 1, .id = 11};
	record->ancestors[1] = (struct record_version){.number = 2, .id = 22};
}

/* Encodes m, decodes what came out. */
static int round_trip(const struct msg *m, struct msg *ret_m)
{
	size_t len = msg_encode(m, buf, BUF_SIZE), payload_len;
	const void *p = msg_payload(m, &payload_len);
	struct msg_frame f;
	int ret = msg_decode_frame(buf, &f);

	if (ret < 0)
		return ret;
	cr_assert_eq(len, MSG_HEADER_SIZE + f.meta_len);
	cr_assert_eq(payload_len, f.payload_len);
	cr_assert_eq(f.type, m->type);
	return msg_decode(&f, buf + MSG_HEADER_SIZE, p, decoded, ret_m);
}

static struct msg preface_of(void)
{
	struct msg m = {.type = MSG_PREFACE, .epoch = {.id = 0x1122334455667788, .num = 9}};

	m.preface = (struct msg_preface){.protocol_min = 1,
		.protocol_max = 2,
		.purpose = MSG_PURPOSE_COMMIT,
		.cluster = uuid_of(0x10),
		.volume = uuid_of(0x20),
		.replica = uuid_of(0x30),
		.domain = "site-a"};
	return m;
}

static struct msg ack_of(void)
{
	struct msg m = {.type = MSG_ACK, .epoch = {.id = 5, .num = 6}};

	m.ack = (struct msg_ack){.durable = 7, .applied = 6, .flushed = 5, .grant = grant_of(100)};
	return m;
}

/* One batch with one entry, in `payload`. */
static struct msg append_of(void)
{
	struct msg m = {.type = MSG_APPEND, .epoch = {.id = 5, .num = 6}};
	struct uuid volume = uuid_of(0x20);
	struct batch_writer w;
	struct iovec iov = {.iov_base = (void *)"hello", .iov_len = 5};

	batch_begin(&w, payload, 2 * BLOCK_SIZE, &volume, m.epoch, (struct pos){0});
	batch_add(&w, 1, 0, 0, &iov, 1, NULL);
	batch_finish(&w, 0, 1);
	m.append.h = w.h;
	cr_assert_eq(batch_verify(payload, 2 * BLOCK_SIZE, &m.append.h), 0);
	m.append.batch = payload;
	return m;
}

static struct msg data_of(uint32_t blocks)
{
	struct msg m = {.type = MSG_DATA, .epoch = {.id = 5, .num = 6}};

	m.data = (struct msg_data){.epoch_num = 6,
		.epoch_id = 5,
		.block = 1234567,
		.blocks = blocks,
		.crc = crc32c(0, payload, (size_t)blocks * BLOCK_SIZE),
		.bytes = payload};
	return m;
}

Test(msg, preface_goes_through)
{
	struct msg m = preface_of(), out;

	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(epoch_equal(out.epoch, m.epoch));
	cr_assert_eq(out.preface.protocol_max, 2);
	cr_assert_eq(out.preface.purpose, MSG_PURPOSE_COMMIT);
	cr_assert(uuid_equal(&out.preface.replica, &m.preface.replica));
	cr_assert_str_eq(out.preface.domain, "site-a");
}

Test(msg, hello_goes_through_with_spans_and_record)
{
	struct msg m = {.type = MSG_HELLO}, out;
	struct msg_hello *h = &m.hello;

	record_fill();
	h->entry_format_max = 4;
	h->serving = 1;
	h->end = (struct pos){100, 1};
	h->flushed = (struct pos){90, 2};
	h->commit = 95;
	h->first_seq = 51;
	h->before = (struct pos){50, 3};
	h->grant = grant_of(7);
	h->nspans = MSG_SPANS_MAX;
	for (unsigned i = 0; i < MSG_SPANS_MAX; i++)
		h->spans[i] = (struct log_span){.epoch = {.id = i, .num = MSG_SPANS_MAX - i},
			.end = {.seq = 100 - i, .chain = i}};
	h->record = record;
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.hello.entry_format_max, 4);
	cr_assert_eq(out.hello.serving, 1);
	cr_assert(pos_equal(out.hello.end, h->end));
	cr_assert(pos_equal(out.hello.flushed, h->flushed));
	cr_assert(pos_equal(out.hello.before, h->before));
	cr_assert_eq(out.hello.commit, 95);
	cr_assert_eq(out.hello.first_seq, 51);
	cr_assert_eq(out.hello.grant.disk_total, 11);
	cr_assert_eq(out.hello.nspans, MSG_SPANS_MAX);
	cr_assert_eq(out.hello.spans[MSG_SPANS_MAX - 1].epoch.id, MSG_SPANS_MAX - 1);
	cr_assert(pos_equal(out.hello.spans[9].end, h->spans[9].end));
	cr_assert_eq(out.hello.record, decoded);
	cr_assert_eq(record_compare(out.hello.record, record), RECORD_SAME);
	cr_assert(uuid_equal(&decoded->active, &record->active));
}

Test(msg, spans_that_do_not_fall_are_refused)
{
	struct msg m = {.type = MSG_HELLO}, out;

	record_fill();
	m.hello.record = record;
	m.hello.nspans = 2;
	m.hello.spans[0] = (struct log_span){.epoch = {.num = 2}, .end = {.seq = 10}};
	m.hello.spans[1] = (struct log_span){.epoch = {.num = 1}, .end = {.seq = 9}};
	cr_assert_eq(round_trip(&m, &out), 0);
	m.hello.spans[1].end.seq = 10;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
	m.hello.spans[1].end.seq = 9;
	m.hello.spans[1].epoch.num = 2;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
}

Test(msg, record_with_a_full_ancestry_fits)
{
	struct msg m = {.type = MSG_RECORD}, out;

	record_fill();
	record->nancestors = RECORD_ANCESTORS_MAX;
	record->version.number = RECORD_ANCESTORS_MAX + 1;
	for (unsigned i = 0; i < RECORD_ANCESTORS_MAX; i++)
		record->ancestors[i] = (struct record_version){.number = i + 1, .id = i * 7 + 1};
	m.record.nonce = 99;
	m.record.record = record;
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.record.nonce, 99);
	cr_assert_eq(out.record.record->nancestors, RECORD_ANCESTORS_MAX);
	cr_assert_eq(record_compare(out.record.record, record), RECORD_SAME);
}

Test(msg, small_messages_go_through)
{
	struct msg m = {.type = MSG_RECORD_ACK}, out;

	m.record_ack = (struct msg_record_ack){
		.nonce = 1, .accepted = 1, .version = {.number = 2, .id = 3, .forced = true}};
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(out.record_ack.accepted && out.record_ack.version.forced);
	cr_assert_eq(out.record_ack.version.id, 3);

	m = (struct msg){.type = MSG_FETCH, .fetch.after = {8, 9}};
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(pos_equal(out.fetch.after, (struct pos){8, 9}));

	m = ack_of();
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.ack.durable, 7);
	cr_assert_eq(out.ack.applied, 6);
	cr_assert_eq(out.ack.flushed, 5);
	cr_assert_eq(out.ack.grant.meta_bytes, 102);

	m = (struct msg){.type = MSG_HEARTBEAT, .heartbeat = {1, 2, 3, 4}};
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.heartbeat.commit, 1);
	cr_assert_eq(out.heartbeat.end, 2);
	cr_assert_eq(out.heartbeat.sent_ns, 3);
	cr_assert_eq(out.heartbeat.echo_ns, 4);

	m = (struct msg){.type = MSG_STOPPED, .epoch = {.id = 1, .num = 1}};
	cr_assert_eq(round_trip(&m, &out), 0);

	m = (struct msg){.type = MSG_FORWARD,
		.forward = {.nonce = 1,
			.verb = OPERATOR_DEACTIVATE,
			.flags = OPERATOR_YES | OPERATOR_FORWARDED,
			.domain = "site-b"}};
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.forward.verb, OPERATOR_DEACTIVATE);
	cr_assert_eq(out.forward.flags, OPERATOR_YES | OPERATOR_FORWARDED);
	cr_assert_str_eq(out.forward.domain, "site-b");
	m.forward.verb = OPERATOR_RESYNC;
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.forward.verb, OPERATOR_RESYNC);

	m = (struct msg){.type = MSG_FORWARD_REPLY, .forward_reply = {.nonce = 1, .code = -16}};
	snprintf(m.forward_reply.text, sizeof(m.forward_reply.text), "two\nlines");
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.forward_reply.code, -16);
	cr_assert_str_eq(out.forward_reply.text, "two\nlines");
}

Test(msg, a_text_cannot_send_control_characters_to_a_terminal)
{
	struct msg m = {.type = MSG_REFUSED, .refused = {.code = -EACCES}}, out;

	snprintf(m.refused.text, sizeof(m.refused.text), "a\033[2Jb\rc\177 caf\xc3\xa9");
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.refused.code, -EACCES);
	cr_assert_str_eq(out.refused.text, "a?[2Jb?c? caf\xc3\xa9");
}

Test(msg, longest_text_goes_through)
{
	struct msg m = {.type = MSG_REFUSED}, out;

	memset(m.refused.text, 'x', MSG_TEXT_MAX - 1);
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(strlen(out.refused.text), MSG_TEXT_MAX - 1);
}

Test(msg, append_carries_its_batch_verbatim_and_checks_it)
{
	struct msg m = append_of(), out;

	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.append.batch, payload);
	cr_assert_eq(out.append.h.count, 1);
	cr_assert_eq(batch_last_seq(&out.append.h), 1);
	payload[BATCH_HEADER_SIZE + ENTRY_HEADER_SIZE] ^= 1;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
}

Test(msg, append_with_more_payload_than_its_batch_is_refused)
{
	struct msg m = append_of(), out;
	struct bytes b;
	struct msg_frame f;

	msg_encode(&m, buf, BUF_SIZE);
	b = bytes_of(buf, MSG_HEADER_SIZE);
	b.at = 8;
	bytes_put32(&b, 2 * BLOCK_SIZE);
	b.at = MSG_HEADER_SIZE - 4;
	bytes_put32(&b, crc32c(0, buf, MSG_HEADER_SIZE - 4));
	cr_assert_eq(msg_decode_frame(buf, &f), 0);
	cr_assert_eq(msg_decode(&f, buf + MSG_HEADER_SIZE, payload, decoded, &out), -EBADMSG);
}

Test(msg, data_is_checked_against_its_checksum_and_length)
{
	struct msg m = data_of(3), out;

	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.data.block, 1234567);
	cr_assert_eq(out.data.blocks, 3);
	cr_assert_eq(out.data.epoch_num, 6);
	cr_assert_eq(out.data.epoch_id, 5);
	cr_assert_eq(out.data.bytes, payload);
	m.data.crc ^= 1;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);

	m = data_of(MSG_PAYLOAD_MAX / BLOCK_SIZE);
	cr_assert_eq(round_trip(&m, &out), 0);

	m = data_of(3);
	m.data.gone = 1;
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.data.bytes, payload);
	cr_assert(out.data.gone);
	m.data.crc ^= 1;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);

	m = data_of(1);
	m.data.block = UINT64_MAX / BLOCK_SIZE;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
}

Test(msg, every_flipped_bit_of_a_header_is_refused)
{
	struct msg m = ack_of();
	struct msg_frame f;

	msg_encode(&m, buf, BUF_SIZE);
	for (unsigned bit = 0; bit < MSG_HEADER_SIZE * 8; bit++) {
		buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_eq(msg_decode_frame(buf, &f), -EBADMSG, "bit %u", bit);
		buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	cr_assert_eq(msg_decode_frame(buf, &f), 0);
}

Test(msg, every_flipped_bit_of_the_fields_is_refused)
{
	struct msg m = preface_of(), out;
	struct msg_frame f;
	size_t len = msg_encode(&m, buf, BUF_SIZE);

	cr_assert_eq(msg_decode_frame(buf, &f), 0);
	for (size_t bit = MSG_HEADER_SIZE * 8; bit < len * 8; bit++) {
		buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert_eq(msg_decode(&f, buf + MSG_HEADER_SIZE, NULL, decoded, &out), -EBADMSG);
		buf[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

/* Writes a header with a good checksum. */
static void forge(uint16_t version, uint16_t type, uint32_t body, uint32_t meta, uint8_t reserved)
{
	struct bytes b = bytes_of(buf, MSG_HEADER_SIZE);

	bytes_put_mem(&b, "TFMS", 4);
	bytes_put16(&b, version);
	bytes_put16(&b, type);
	bytes_put32(&b, body);
	bytes_put32(&b, meta);
	bytes_put_zero(&b, 12);
	bytes_put8(&b, reserved);
	bytes_put_zero(&b, 15);
	bytes_put32(&b, crc32c(0, buf, MSG_HEADER_SIZE - 4));
}

Test(msg, lengths_beyond_the_limit_of_a_type_are_refused_before_anything_is_read)
{
	static const struct {
		uint16_t type;
		uint32_t body, meta;
		int want;
	} cases[] = {
		{MSG_HELLO, MSG_META_MAX, MSG_META_MAX, 0},
		{MSG_HELLO, MSG_META_MAX + 1, MSG_META_MAX + 1, -EBADMSG},
		{MSG_HELLO, UINT32_MAX, 100, -EBADMSG},
		{MSG_PREFACE, 4048, 4048, 0},
		{MSG_PREFACE, 4049, 4049, -EBADMSG},
		{MSG_PREFACE, 100 + BLOCK_SIZE, 100, -EBADMSG},
		{MSG_ACK, 10, 11, -EBADMSG},
		{MSG_STOPPED, 0, 0, 0},
		{MSG_STOPPED, 1, 1, -EBADMSG},
		{MSG_APPEND, BATCH_SIZE_MAX, 0, 0},
		{MSG_APPEND, BATCH_SIZE_MAX + BLOCK_SIZE, 0, -EBADMSG},
		{MSG_APPEND, 0, 0, -EBADMSG},
		{MSG_APPEND, BLOCK_SIZE + 8, 0, -EBADMSG},
		{MSG_APPEND, BLOCK_SIZE + 8, 8, -EBADMSG},
		{MSG_DATA, 32 + MSG_PAYLOAD_MAX, 32, 0},
		{MSG_DATA, 32 + MSG_PAYLOAD_MAX + BLOCK_SIZE, 32, -EBADMSG},
		{MSG_DATA, UINT32_MAX, UINT32_MAX, -EBADMSG},
		{0, 0, 0, -EBADMSG},
		{MSG_TYPE_MAX, 0, 0, -EBADMSG},
		{UINT16_MAX, 0, 0, -EBADMSG},
	};
	struct msg_frame f;

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		forge(MSG_PROTOCOL, cases[i].type, cases[i].body, cases[i].meta, 0);
		cr_assert_eq(msg_decode_frame(buf, &f), cases[i].want, "case %u", i);
	}
}

Test(msg, another_protocol_is_told_apart_from_damage)
{
	struct msg_frame f;

	forge(MSG_PROTOCOL + 1, MSG_ACK, 0, 0, 0);
	cr_assert_eq(msg_decode_frame(buf, &f), -EPROTONOSUPPORT);
	forge(MSG_PROTOCOL_MIN - 1, MSG_ACK, 0, 0, 0);
	cr_assert_eq(msg_decode_frame(buf, &f), -EPROTONOSUPPORT);
	forge(MSG_PROTOCOL, MSG_STOPPED, 0, 0, 1);
	cr_assert_eq(msg_decode_frame(buf, &f), -EBADMSG, "reserved bytes must be zero");
}

/* Decodes m's fields after setting one byte, with a checksum that is right. */
static int decode_with(const struct msg *m, size_t at, uint8_t value, long grow)
{
	struct msg_frame f;
	struct msg out;

	msg_encode(m, buf, BUF_SIZE);
	cr_assert_eq(msg_decode_frame(buf, &f), 0);
	f.meta_len = (uint32_t)((long)f.meta_len + grow);
	buf[MSG_HEADER_SIZE + at] = value;
	f.meta_crc = crc32c(0, buf + MSG_HEADER_SIZE, f.meta_len);
	return msg_decode(&f, buf + MSG_HEADER_SIZE, NULL, decoded, &out);
}

Test(msg, impossible_fields_are_refused_although_the_checksum_is_right)
{
	struct msg m = preface_of();

	cr_assert_eq(decode_with(&m, 0, 1, 0), 0);
	cr_assert_eq(decode_with(&m, 0, 0, 0), -EBADMSG, "protocol 0");
	cr_assert_eq(decode_with(&m, 0, 3, 0), -EBADMSG, "protocol 3 to 2");
	cr_assert_eq(decode_with(&m, 8, 3, 0), -EBADMSG, "unknown purpose");
	cr_assert_eq(decode_with(&m, 60, 0, -6), -EBADMSG, "no domain");
	cr_assert_eq(decode_with(&m, 60, 64, 0), -EBADMSG, "a domain that is too long");
	cr_assert_eq(decode_with(&m, 61, 0, 0), -EBADMSG, "a zero in a domain");
	cr_assert_eq(decode_with(&m, 61, '\n', 0), -EBADMSG, "a newline in a domain");
	cr_assert_eq(decode_with(&m, 61, 0xff, 0), -EBADMSG, "a byte above ASCII in a domain");
	cr_assert_eq(decode_with(&m, 0, 1, 1), -EBADMSG, "a byte left over");
	cr_assert_eq(decode_with(&m, 0, 1, -1), -EBADMSG, "a byte missing");

	m = (struct msg){.type = MSG_FETCH, .fetch.after = {0, 0}};
	cr_assert_eq(decode_with(&m, 8, 1, 0), -EBADMSG, "a chain without a history");
	m = (struct msg){.type = MSG_RECORD_ACK};
	cr_assert_eq(decode_with(&m, 24, 2, 0), -EBADMSG, "a flag that is 2");
	cr_assert_eq(decode_with(&m, 31, 1, 0), -EBADMSG, "a reserved byte");
	m = (struct msg){.type = MSG_FORWARD, .forward = {.verb = OPERATOR_PROMOTE}};
	cr_assert_eq(decode_with(&m, 8, OPERATOR_DEMOTE, 0), 0);
	cr_assert_eq(decode_with(&m, 8, 0, 0), -EBADMSG, "no verb");
	cr_assert_eq(decode_with(&m, 8, 6, 0), -EBADMSG, "an unknown verb");
	cr_assert_eq(decode_with(&m, 8, OPERATOR_DEACTIVATE, 0), -EBADMSG, "of which domain");
	cr_assert_eq(decode_with(&m, 8, OPERATOR_RESYNC, 0), -EBADMSG, "of which domain");
	cr_assert_eq(decode_with(&m, 12, 16, 0), -EBADMSG, "an unknown flag");
	m = data_of(1);
	cr_assert_eq(decode_with(&m, 20, 0, 0), -EBADMSG, "no blocks");
	cr_assert_eq(decode_with(&m, 20, 2, 0), -EBADMSG, "fewer bytes than blocks");
	cr_assert_eq(decode_with(&m, 28, 2, 0), -EBADMSG, "a flag that is 2");
}

static void hex(const uint8_t *p, size_t n, char *out)
{
	for (size_t i = 0; i < n; i++)
		snprintf(out + 2 * i, 3, "%02x", p[i]);
}

static void golden(const struct msg *m, const char *want)
{
	size_t n = msg_encode(m, buf, BUF_SIZE);
	char got[2 * 512 + 1];

	cr_assert(n <= 512);
	hex(buf, n, got);
	cr_assert_str_eq(got, want, "%s:\n%s", msg_type_name(m->type), got);
}

Test(msg, golden_bytes_of_protocol_1)
{
	struct msg m = preface_of();

	golden(&m, "54464d530100010043000000430000008877665544332211090000000000000000000000"
		   "00000000b8ce6e166148e1e8010000000200000001000000101112131415161718191a1b"
		   "1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f"
		   "06736974652d61");
	m = ack_of();
	golden(&m, "54464d530100070040000000400000000500000000000000060000000000000000000000"
		   "00000000e6b01d146d3cb71c070000000000000006000000000000000500000000000000"
		   "640000000000000065000000000000006600000000000000670000000000000068000000"
		   "00000000");
	m = data_of(1);
	golden(&m, "54464d530100090020100000200000000500000000000000060000000000000000000000"
		   "00000000208f2d7d1bb55f7587d612000000000005000000000000000600000001000000"
		   "498cf13700000000");
	m = append_of();
	golden(&m, "54464d530100060000100000000000000500000000000000060000000000000000000000"
		   "000000000000000052afbd04");
	m = (struct msg){.type = MSG_RECORD_ACK,
		.epoch = {.id = 5, .num = 6},
		.record_ack = {.nonce = 1, .accepted = 1, .version = {2, 3, true}}};
	golden(&m, "54464d530100040020000000200000000500000000000000060000000000000000000000"
		   "00000000902483f4d7f53c63010000000000000002000000000000000300000000000000"
		   "0101000000000000");
	m = (struct msg){.type = MSG_FETCH, .fetch.after = {8, 9}};
	golden(&m, "54464d53010005000c0000000c0000000000000000000000000000000000000000000000"
		   "0000000072ab038efbca8087080000000000000009000000");
	m = (struct msg){.type = MSG_HEARTBEAT, .heartbeat = {1, 2, 3, 4}};
	golden(&m, "54464d530100080020000000200000000000000000000000000000000000000000000000"
		   "0000000012f7a1f4fde79f8e010000000000000002000000000000000300000000000000"
		   "0400000000000000");
	m = (struct msg){.type = MSG_REFUSED, .refused = {.code = -13, .text = "no"}};
	golden(&m, "54464d5301000a0008000000080000000000000000000000000000000000000000000000"
		   "0000000003422c6805cb1943f3ffffff02006e6f");
	m = (struct msg){.type = MSG_STOPPED, .epoch = {.id = 5, .num = 6}};
	golden(&m, "54464d5301000b0000000000000000000500000000000000060000000000000000000000"
		   "0000000000000000339af44c");
	m = (struct msg){.type = MSG_FORWARD,
		.forward = {.nonce = 1, .verb = OPERATOR_ACTIVATE, .flags = 1, .domain = "b"}};
	golden(&m, "54464d5301000c0012000000120000000000000000000000000000000000000000000000"
		   "0000000073aa4e99967699e0010000000000000004000000010000000162");
	m = (struct msg){
		.type = MSG_FORWARD_REPLY, .forward_reply = {.nonce = 1, .code = -1, .text = "ok"}};
	golden(&m, "54464d5301000d0010000000100000000000000000000000000000000000000000000000"
		   "0000000042ee66e31a7798fd0100000000000000ffffffff02006f6b");
}

Test(msg, every_type_has_a_name)
{
	for (unsigned t = MSG_PREFACE; t < MSG_TYPE_MAX; t++)
		cr_assert_str_neq(msg_type_name((enum msg_type)t), "unknown");
	cr_assert_str_eq(msg_type_name((enum msg_type)0), "unknown");
	cr_assert_str_eq(msg_type_name((enum msg_type)12345), "unknown");
}
