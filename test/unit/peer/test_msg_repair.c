/* SPDX-License-Identifier: Apache-2.0 */
/* The frames of repairing: they go through, their bytes are pinned, and nonsense in them is refused. */
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
	payload = aligned_alloc(BLOCK_SIZE, MSG_REPAIR_BLOCKS_MAX * BLOCK_SIZE);
	cr_assert(buf && payload);
	memset(payload, 0x5a, MSG_REPAIR_BLOCKS_MAX * BLOCK_SIZE);
}

static void fini(void)
{
	free(buf);
	free(payload);
}

TestSuite(msg_repair, .init = setup, .fini = fini);

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

static struct msg ask_of(uint64_t block, uint32_t blocks)
{
	struct msg m = {.type = MSG_REPAIR_ASK};

	m.repair_ask = (struct msg_repair_ask){
		.nonce = 9, .epoch = {.id = 7, .num = 8}, .block = block, .blocks = blocks};
	for (uint32_t i = 0; i < blocks; i++)
		m.repair_ask.crcs[i] = 100 + i;
	return m;
}

static struct msg answer_of(uint64_t good, uint32_t blocks)
{
	struct msg m = {.type = MSG_REPAIR};

	m.repair = (struct msg_repair){.nonce = 9, .good = good, .blocks = blocks};
	if (good) {
		m.repair.bytes = payload;
		m.repair.crc = crc32c(0, payload, (size_t)blocks * BLOCK_SIZE);
	}
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

Test(msg_repair, every_frame_goes_through)
{
	struct msg m = ask_of(DATA_SEGMENT_BLOCKS - MSG_REPAIR_BLOCKS_MAX, MSG_REPAIR_BLOCKS_MAX);
	struct msg out;

	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(epoch_equal(out.repair_ask.epoch, m.repair_ask.epoch));
	cr_assert(out.repair_ask.nonce == 9 && out.repair_ask.block == m.repair_ask.block);
	cr_assert_eq(out.repair_ask.crcs[63], 163);
	m = answer_of(UINT64_MAX, 64);
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(out.repair.good == UINT64_MAX && out.repair.bytes == payload);
	m = answer_of(5, 3);
	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert(out.repair.good == 5 && out.repair.blocks == 3 && out.repair.nonce == 9);
}

Test(msg_repair, nothing_good_has_no_payload)
{
	struct msg m = answer_of(0, 3), out = {0};

	cr_assert_eq(round_trip(&m, &out), 0);
	cr_assert_null(out.repair.bytes);
	m.repair.crc = 1;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
}

Test(msg_repair, an_address_is_inside_one_segment_and_has_an_epoch)
{
	struct msg m = ask_of(DATA_SEGMENT_BLOCKS - 1, 2), out;

	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
	m = ask_of(UINT64_MAX / BLOCK_SIZE, 1);
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
	m = ask_of(0, 1);
	m.repair_ask.epoch.num = 0;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG);
}

Test(msg_repair, an_answer_is_checked_against_its_checksum_and_bits)
{
	struct msg m = answer_of(1, 1), out;

	cr_assert_eq(round_trip(&m, &out), 0);
	payload[17] ^= 1;
	cr_assert_eq(round_trip(&m, &out), -EBADMSG, "a flipped bit in the payload");
	payload[17] ^= 1;
	m = answer_of(4, 2);
	cr_assert_eq(round_trip(&m, &out), -EBADMSG, "a bit behind the last block");
}

Test(msg_repair, a_short_payload_is_refused)
{
	struct msg m = answer_of(3, 2), out;
	struct msg_frame f;

	msg_encode(&m, buf, BUF_SIZE);
	cr_assert_eq(msg_decode_frame(buf, &f), 0);
	f.payload_len = BLOCK_SIZE;
	cr_assert_eq(msg_decode(&f, buf + MSG_HEADER_SIZE, payload, NULL, &out), -EBADMSG);
	f.payload_len = 0;
	cr_assert_eq(msg_decode(&f, buf + MSG_HEADER_SIZE, NULL, NULL, &out), -EBADMSG);
}

Test(msg_repair, golden_bytes_of_protocol_1)
{
	struct msg m = ask_of(1234567, 2);

	golden(&m, "54464d530100170028000000280000000000000000000000000000000000000000000000"
		   "0000000071e6db6a32d6fafa090000000000000087d61200000000000700000000000000"
		   "08000000020000006400000065000000");
	m = answer_of(2, 2);
	golden(&m, "54464d530100180018200000180000000000000000000000000000000000000000000000"
		   "000000007c1abb2207ef4f4309000000000000000200000000000000020000005a4ab2ea");
	m = answer_of(0, 2);
	golden(&m, "54464d530100180018000000180000000000000000000000000000000000000000000000"
		   "000000006b6def6cb86f60dd090000000000000000000000000000000200000000000000");
}
