/* SPDX-License-Identifier: Apache-2.0 */
/* The frame that grants room: it goes through, its bytes are pinned, and nonsense in it is refused. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "crc32c.h"
#include "msg.h"

static uint8_t buf[4096];

static struct msg sample(void)
{
	struct msg m = {.type = MSG_SPACE, .epoch = {.id = 9, .num = 3}};

	m.space = (struct msg_space){.data_used = 1,
		.data_seq = 2,
		.data_want = 3,
		.data_upto = 4,
		.meta_seq = 5,
		.meta_bytes = 6,
		.data_full = 1,
		.meta_full = 0,
		.room = 7,
		.promise = 8,
		.live = 9,
		.dead = 10,
		.allocated = 11};
	return m;
}

/* What was encoded, with its checksums made right again after a change. */
static int decode(struct msg *ret_m)
{
	struct msg_frame f;
	int r = msg_decode_frame(buf, &f);

	if (r)
		return r;
	f.meta_crc = crc32c(0, buf + MSG_HEADER_SIZE, f.meta_len);
	return msg_decode(&f, buf + MSG_HEADER_SIZE, NULL, NULL, ret_m);
}

Test(msg_space, it_goes_through)
{
	struct msg m = sample(), out = {0};

	msg_encode(&m, buf, sizeof(buf));
	cr_assert_eq(decode(&out), 0);
	cr_assert(epoch_equal(out.epoch, m.epoch));
	cr_assert_eq(memcmp(&out.space, &m.space, sizeof(m.space)), 0);
	m.space.meta_full = META_FULL_FOR_NOW;
	m.space.data_full = 0;
	msg_encode(&m, buf, sizeof(buf));
	cr_assert_eq(decode(&out), 0);
	cr_assert_eq(out.space.meta_full, META_FULL_FOR_NOW);
	cr_assert(!out.space.data_full);
	m.space.meta_full = META_FULL_FOR_NOW + 1;
	msg_encode(&m, buf, sizeof(buf));
	cr_assert_eq(decode(&out), -EBADMSG);
}

Test(msg_space, golden_bytes_of_protocol_1)
{
	struct msg m = sample();
	size_t n = msg_encode(&m, buf, sizeof(buf));
	char got[2 * 256 + 1] = "";

	cr_assert_leq(n, 256u);
	for (size_t i = 0; i < n; i++)
		snprintf(got + 2 * i, 3, "%02x", buf[i]);
	cr_assert_str_eq(got,
		"54464d530100190060000000600000000900000000000000030000000000000000000000"
		"00000000320d7cebcfba0a47010000000000000002000000000000000300000000000000"
		"040000000000000005000000000000000600000000000000010000000000000007000000"
		"00000000080000000000000009000000000000000a000000000000000b00000000000000");
}

Test(msg_space, nonsense_is_refused)
{
	struct msg m = sample(), out;

	msg_encode(&m, buf, sizeof(buf));
	for (unsigned at = 48; at < 56; at++) { /* flags and reserved bytes */
		uint8_t was = buf[MSG_HEADER_SIZE + at];

		buf[MSG_HEADER_SIZE + at] = META_FULL_FOR_NOW + 1;
		cr_assert_eq(decode(&out), -EBADMSG, "byte %u", at);
		buf[MSG_HEADER_SIZE + at] = was;
	}
	cr_assert_eq(decode(&out), 0);
	for (unsigned at = 0; at < 32; at += 8) { /* addresses that are no blocks */
		if (at == 8)
			continue; /* a seq */
		buf[MSG_HEADER_SIZE + at + 7] = 0xff;
		cr_assert_eq(decode(&out), -EBADMSG, "address at %u", at);
		buf[MSG_HEADER_SIZE + at + 7] = 0;
	}
}
