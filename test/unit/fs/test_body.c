/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "body.h"
#include "le.h"
#include "op.h"

static uint8_t buf[ENTRY_SIZE_MAX];

static void assert_hex(size_t len, const char *hex)
{
	char text[2048] = "";

	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", buf[i]);
	cr_assert_str_eq(text, hex);
}

static struct body_create sample_create(void)
{
	return (struct body_create){.time_ns = 0x11,
		.parent = 1,
		.cookie = 3,
		.ino = 0x0102030405060708ull,
		.mode = S_IFREG | 0644,
		.uid = 5,
		.gid = 6,
		.nlen = 2,
		.name = "ab",
		.xattrs = {.n = 1, .x = {{.name = "user.x", .nlen = 6, .value = "v", .vlen = 1}}}};
}

static struct body_change sample_write(uint8_t *crcs)
{
	le32_put(crcs, 0xaabbccdd);
	return (struct body_change){.ino = 2,
		.flags = BODY_DATA | BODY_DEAD | BODY_HOLE,
		.mask = BODY_SET_SIZE | BODY_SET_MTIME,
		.size = 4096,
		.mtime_ns = 9,
		.ctime_ns = 1234, /* not in the mask: written as zero */
		.ndead = 1,
		.dead = {{.seq = 7, .from = 1, .to = UINT64_MAX}},
		.hole_from = 2,
		.hole_to = 3,
		.addr = {.block = 5, .epoch = 4},
		.blocks = 1,
		.nruns = 1,
		.runs = {{.file_block = 0, .blocks = 1}},
		.crcs = crcs};
}

Test(body, the_format_of_a_create_is_pinned)
{
	struct body_create b = sample_create();

	assert_hex(body_encode_create(&b, buf),
		"11000000000000000100000000000000030000000000000008070605040302"
		"01a481000005000000060000000000000002010000000000006162"
		"010600000100000075736572"
		"2e7876");
}

Test(body, the_format_of_a_write_is_pinned)
{
	uint8_t crcs[4];
	struct body_change b = sample_write(crcs);

	assert_hex(body_encode_change(&b, buf), "02000000000000000700280000010100"
						"00000000000000000000000000000000"
						"00100000000000000000000000000000"
						"09000000000000000000000000000000"
						"07000000000000000100000000000000ffffffffffffffff"
						"02000000000000000300000000000000"
						"0500000000000000040000000100000000000000"
						"00000000"
						"00000000000000000100000000000000"
						"ddccbbaa");
}

Test(body, a_write_comes_back_with_its_payload)
{
	uint8_t crcs[4];
	struct body_change b = sample_write(crcs), c;
	size_t n = body_encode_change(&b, buf);

	memset(buf + n, 'p', BLOCK_SIZE);
	cr_assert_eq(body_decode_change(buf, n + BLOCK_SIZE, &c), 0);
	cr_assert_eq(c.ino, 2);
	cr_assert_eq(c.ndead, 1);
	cr_assert_eq(c.dead[0].to, UINT64_MAX);
	cr_assert_eq(c.payload, buf + n);
	cr_assert_eq(le32_get(c.crcs), 0xaabbccdd);
	cr_assert_eq(body_decode_change(buf, n, &c), -EBADMSG, "without its payload");
	cr_assert_eq(body_decode_change(buf, n + BLOCK_SIZE + 1, &c), -EBADMSG, "something behind");
}

Test(body, every_reserved_byte_is_checked)
{
	static const unsigned create_zero[] = {52, 55}, change_zero[] = {15, 28, 31};
	struct body_create c = sample_create(), cd;
	struct body_change w = {.ino = 2}, wd;
	size_t n = body_encode_create(&c, buf);

	for (unsigned i = 0; i < 2; i++) {
		buf[create_zero[i]] = 1;
		cr_assert_eq(body_decode_create(buf, n, &cd), -EBADMSG);
		buf[create_zero[i]] = 0;
	}
	cr_assert_eq(body_decode_create(buf, n, &cd), 0);
	n = body_encode_change(&w, buf);
	for (unsigned i = 0; i < 3; i++) {
		buf[change_zero[i]] = 1;
		cr_assert_eq(body_decode_change(buf, n, &wd), -EBADMSG);
		buf[change_zero[i]] = 0;
	}
	cr_assert_eq(body_decode_change(buf, n, &wd), 0);
}

Test(body, what_makes_no_sense_is_refused)
{
	uint8_t crcs[4];
	struct body_create c = sample_create(), cd;
	struct body_change w = sample_write(crcs), wd;
	struct body_rename rn = {.parent = 1,
				   .newparent = 1,
				   .ino = 5,
				   .cookie = 3,
				   .newcookie = 4,
				   .nlen = 1,
				   .newnlen = 1,
				   .name = "a",
				   .newname = "a"},
			   rd;
	size_t n;

	c.name = "..";
	cr_assert_eq(body_decode_create(buf, body_encode_create(&c, buf), &cd), -EBADMSG);
	c.name = "a/";
	cr_assert_eq(body_decode_create(buf, body_encode_create(&c, buf), &cd), -EBADMSG);
	c.name = "ab";
	c.mode = 0644;
	cr_assert_eq(body_decode_create(buf, body_encode_create(&c, buf), &cd), -EBADMSG);
	c.mode = S_IFLNK | 0777; /* without a target */
	cr_assert_eq(body_decode_create(buf, body_encode_create(&c, buf), &cd), -EBADMSG);
	/* A run over the border of a data segment. */
	w.blocks = w.runs[0].blocks = 2;
	w.addr.block = DATA_SEGMENT_BLOCKS - 1;
	w.flags |= BODY_EXTERNAL;
	uint8_t two[8] = {0};
	w.crcs = two;
	n = body_encode_change(&w, buf);
	cr_assert_eq(body_decode_change(buf, n, &wd), -EBADMSG);
	w.addr.block = DATA_SEGMENT_BLOCKS - 2;
	n = body_encode_change(&w, buf);
	cr_assert_eq(body_decode_change(buf, n, &wd), 0);
	/* A hole over too many chunks. */
	w.hole_to = HOLE_CHUNKS_MAX * (uint64_t)CHUNK_BLOCKS + 1;
	n = body_encode_change(&w, buf);
	cr_assert_eq(body_decode_change(buf, n, &wd), -EBADMSG);
	/* A name over itself. */
	cr_assert_eq(body_decode_rename(buf, body_encode_rename(&rn, buf), &rd), -EBADMSG);
	rn.newname = "b";
	cr_assert_eq(body_decode_rename(buf, body_encode_rename(&rn, buf), &rd), 0);
	rn.victim = 5;
	rn.victim_cookie = 2;
	cr_assert_eq(body_decode_rename(buf, body_encode_rename(&rn, buf), &rd), -EBADMSG);
}

Test(body, every_truncated_body_is_refused)
{
	struct body_create c = sample_create(), cd;
	struct body_unlink u = {.parent = 1, .ino = 2, .cookie = 3, .nlen = 1, .name = "a"}, ud;
	struct body_reap r = {.n = 1}, rd;
	uint8_t chunks[16] = {0};
	size_t n = body_encode_create(&c, buf);

	for (size_t i = 0; i < n; i++)
		cr_assert_eq(body_decode_create(buf, i, &cd), -EBADMSG);
	n = body_encode_unlink(&u, buf);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(body_decode_unlink(buf, i, &ud), -EBADMSG);
	r.items[0] = (struct body_reap_item){.ino = 5,
		.flags = REAP_ORPHAN | REAP_LAST,
		.nchunks = 2,
		.chunks = chunks,
		.nnames = 1,
		.names = (const uint8_t *)"\3abc",
		.names_size = 4};
	n = body_encode_reap(&r, buf);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(body_decode_reap(buf, i, &rd), -EBADMSG);
	cr_assert_eq(body_decode_reap(buf, n, &rd), 0);
	cr_assert_eq(rd.items[0].nchunks, 2);
}

Test(body, the_format_of_a_resize_is_pinned_and_checked)
{
	struct body_resize b = {.blocks = 0x12345}, d = {0};
	size_t n = body_encode_resize(&b, buf);

	assert_hex(n, "45230100000000000000000000000000");
	cr_assert_eq(body_decode_resize(buf, n, &d), 0);
	cr_assert_eq(d.blocks, 0x12345u);
	for (size_t i = 0; i < n; i++)
		cr_assert_eq(body_decode_resize(buf, i, &d), -EBADMSG);
	cr_assert_eq(body_decode_resize(buf, n + 1, &d), -EBADMSG);
	buf[12] = 1;
	cr_assert_eq(body_decode_resize(buf, n, &d), -EBADMSG, "reserved");
	buf[12] = 0;
	memset(buf, 0, 8);
	cr_assert_eq(body_decode_resize(buf, n, &d), -EBADMSG, "no size at all");
	memset(buf, 0xff, 8);
	cr_assert_eq(body_decode_resize(buf, n, &d), -EBADMSG, "more bytes than can be counted");
}
