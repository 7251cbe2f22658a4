/* SPDX-License-Identifier: Apache-2.0 */
/* The frames of pulling: they go through, their bytes are pinned, and nonsense in them is refused. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "msg.h"

#define BUF_SIZE (MSG_HEADER_SIZE + MSG_META_MAX)

static uint8_t *buf;
static uint8_t *payload;

static void setup(void)
{
	buf = malloc(BUF_SIZE);
	payload = aligned_alloc(BLOCK_SIZE, MSG_PULL_PART_MAX);
	cr_assert(buf && payload);
	memset(payload, 0x5a, MSG_PULL_PART_MAX);
}

static void fini(void)
{
	free(buf);
	free(payload);
}

TestSuite(msg_pull, .init = setup, .fini = fini);

static int round_trip(const struct msg *m, struct msg *ret_m)
{
	size_t len = msg_encode(m, buf, BUF_SIZE), payload_len;
	const void *p = msg_payload(m, &payload_len);
	struct msg_frame f;
	int r = msg_decode_frame(buf, &f);

	if (r < 0)
		return r;
	cr_assert_eq(len, MSG_HEADER_SIZE + f.meta_len);
	cr_assert_eq(payload_len, f.payload_len);
	return msg_decode(&f, buf + MSG_HEADER_SIZE, p, NULL, ret_m);
}

static struct msg file_of(const char *name)
{
	struct msg m = {.type = MSG_PULL_FILE};

	m.pull_file = (struct msg_pull_file){.id = 1, .index = 2, .size = 3, .crc = 4};
	snprintf(m.pull_file.name, sizeof(m.pull_file.name), "%s", name);
	return m;
}

static struct msg ask_of(uint64_t block, uint32_t blocks)
{
	struct msg m = {.type = MSG_PULL_ASK_DATA};

	m.pull_ask_data = (struct msg_pull_ask_data){
		.epoch = {.id = 7, .num = 8}, .block = block, .blocks = blocks};
	for (uint32_t i = 0; i < blocks; i++)
		m.pull_ask_data.crcs[i] = 100 + i;
	return m;
}

static struct msg part_of(uint32_t len)
{
	struct msg m = {.type = MSG_PULL_PART};
	size_t size = ((size_t)len + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;

	m.pull_part = (struct msg_pull_part){.id = 1,
		.index = 2,
		.offset = 3,
		.len = len,
		.crc = crc32c(0, payload, size),
		.bytes = payload};
	return m;
}

static void golden(const struct msg *m, const char *want)
{
	size_t n = msg_encode(m, buf, BUF_SIZE);
	char got[2 * 512 + 1] = "";

	cr_assert(n <= 512);
	for (size_t i = 0; i < n; i++)
		snprintf(got + 2 * i, 3, "%02x", buf[i]);
	cr_assert_str_eq(got, want, "%s:\n%s", msg_type_name(m->type), got);
}

Test(msg_pull, every_frame_goes_through)
{
	struct msg m = {.type = MSG_PULL_BEGIN, .pull_begin.round = 3}, out;

	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.pull_begin.round, 3);
	m = (struct msg){.type = MSG_PULL_OFFER,
		.pull_offer = {.id = 1, .at = {2, 3}, .used_blocks = 4, .nfiles = 5}};
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(pos_equal(out.pull_offer.at, m.pull_offer.at));
	cr_assert(out.pull_offer.id == 1 && out.pull_offer.used_blocks == 4);
	cr_assert_eq(out.pull_offer.nfiles, 5);
	m = file_of("MANIFEST-000004");
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_str_eq(out.pull_file.name, "MANIFEST-000004");
	cr_assert(out.pull_file.index == 2 && out.pull_file.size == 3 && out.pull_file.crc == 4);
	m = (struct msg){.type = MSG_PULL_ASK_FILE,
		.pull_ask_file = {.id = 1, .index = 2, .offset = 3, .len = MSG_PULL_PART_MAX}};
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(out.pull_ask_file.offset == 3 && out.pull_ask_file.len == MSG_PULL_PART_MAX);
	m = part_of(5000);
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(out.pull_part.len == 5000 && out.pull_part.bytes == payload);
	m = ask_of(DATA_SEGMENT_BLOCKS - MSG_PULL_BLOCKS_MAX, MSG_PULL_BLOCKS_MAX);
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(epoch_equal(out.pull_ask_data.epoch, m.pull_ask_data.epoch));
	cr_assert_eq(
		out.pull_ask_data.crcs[MSG_PULL_BLOCKS_MAX - 1], 100 + MSG_PULL_BLOCKS_MAX - 1);
	m = (struct msg){.type = MSG_PULL_DONE, .pull_done.id = 9};
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_eq(out.pull_done.id, 9);
	m = (struct msg){.type = MSG_PULL_REACHED, .pull_reached = {.id = 9, .reached = 1}};
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(out.pull_reached.id == 9 && out.pull_reached.reached);
	m = (struct msg){.type = MSG_PULL_NEWS, .pull_news = {1, 2, 3}};
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(out.pull_news.done == 1 && out.pull_news.total == 2 && out.pull_news.rate == 3);
}

Test(msg_pull, a_files_name_is_a_plain_name)
{
	static const char *const bad[] = {
		"", ".", "..", ".hidden", "a/b", "/etc/passwd", "a b", "a\n", "\xc3\xa9"};
	struct msg out;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct msg m = file_of(bad[i]);

		cr_assert_eq(round_trip(&m, &out), -EBADMSG, "'%s'", bad[i]);
		cr_assert(!msg_file_name_valid(bad[i], strlen(bad[i])));
	}
	cr_assert(msg_file_name_valid("000012.sst", 10));
}

Test(msg_pull, an_address_is_inside_one_segment_and_has_an_epoch)
{
	struct msg m = ask_of(DATA_SEGMENT_BLOCKS - 1, 2), out;

	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
	m = ask_of(UINT64_MAX / BLOCK_SIZE, 1);
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
	m = ask_of(0, 0);
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
	m = ask_of(0, 1);
	m.pull_ask_data.epoch.num = 0;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
}

Test(msg_pull, a_part_is_checked_against_its_checksum_and_length)
{
	struct msg m = part_of(BLOCK_SIZE), out;

	cr_assert_eq(round_trip(&m, &out), 0);
	m.pull_part.crc ^= 1;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
	m = part_of(0);
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
	m = (struct msg){.type = MSG_PULL_ASK_FILE, .pull_ask_file.len = MSG_PULL_PART_MAX + 1};
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
}

Test(msg_pull, counts_out_of_range_are_refused)
{
	struct msg m = {.type = MSG_PULL_BEGIN}, out;

	cr_assert_eq(round_trip(&m, &out), -EBADMSG, "rounds count from 1");
	m = (struct msg){.type = MSG_PULL_OFFER, .pull_offer = {.nfiles = 0}};
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
	m.pull_offer.nfiles = MSG_PULL_FILES_MAX + 1;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
	m.pull_offer.nfiles = MSG_PULL_FILES_MAX;
	cr_assert_eq(round_trip(&m, &out), 0);
	m.pull_offer.at.chain = 1;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG, "the empty history has no chain");
}

Test(msg_pull, golden_bytes_of_protocol_1)
{
	struct msg m = {.type = MSG_PULL_BEGIN, .pull_begin.round = 1};

	golden(&m, "54464d5301000e0004000000040000000000000000000000000000000000000000000000"
		   "000000007fe122955c9e602201000000");
	m = (struct msg){.type = MSG_PULL_OFFER,
		.pull_offer = {.id = 1, .at = {2, 3}, .used_blocks = 4, .nfiles = 5}};
	golden(&m, "54464d5301000f0020000000200000000000000000000000000000000000000000000000"
		   "00000000e2731700f950d575010000000000000002000000000000000300000005000000"
		   "0400000000000000");
	m = file_of("CURRENT");
	golden(&m, "54464d530100100020000000200000000000000000000000000000000000000000000000"
		   "00000000975de8f70f0e1a3d010000000000000002000000040000000300000000000000"
		   "0743555252454e54");
	m = (struct msg){.type = MSG_PULL_ASK_FILE,
		.pull_ask_file = {.id = 1, .index = 2, .offset = 3, .len = 4}};
	golden(&m, "54464d530100110018000000180000000000000000000000000000000000000000000000"
		   "000000002e8516c4454d62f3010000000000000003000000000000000200000004000000");
	m = part_of(5);
	golden(&m, "54464d53010012001c1000001c0000000000000000000000000000000000000000000000"
		   "00000000c6e3c418ad30d9b4010000000000000003000000000000000200000005000000"
		   "498cf137");
	m = ask_of(1234567, 2);
	golden(&m, "54464d530100130020000000200000000000000000000000000000000000000000000000"
		   "0000000053edbc96a1fe9a7c87d612000000000007000000000000000800000002000000"
		   "6400000065000000");
	m = (struct msg){.type = MSG_PULL_DONE, .pull_done.id = 9};
	golden(&m, "54464d530100140008000000080000000000000000000000000000000000000000000000"
		   "0000000077cb2f87ef640c860900000000000000");
	m = (struct msg){.type = MSG_PULL_REACHED, .pull_reached = {.id = 9, .reached = 1}};
	golden(&m, "54464d530100150009000000090000000000000000000000000000000000000000000000"
		   "000000007fcfc305505e7f68090000000000000001");
	m = (struct msg){.type = MSG_PULL_NEWS, .pull_news = {1, 2, 3}};
	golden(&m, "54464d530100160018000000180000000000000000000000000000000000000000000000"
		   "0000000004c40404b4fa0f1b010000000000000002000000000000000300000000000000");
}
