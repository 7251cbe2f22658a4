/* SPDX-License-Identifier: Apache-2.0 */
/* The small helpers: checksum, cursor, UUIDs, errors, log lines. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/redirect.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "check.h"
#include "crc32c.h"
#include "log.h"
#include "uuid.h"

Test(crc32c, gives_the_known_answers_of_rfc_3720)
{
	uint8_t b[32];

	cr_assert(eq(u32, crc32c(0, "123456789", 9), 0xe3069283));
	cr_assert(eq(u32, crc32c(0, "", 0), 0));
	memset(b, 0, sizeof(b));
	cr_assert(eq(u32, crc32c(0, b, 32), 0x8a9136aa));
	memset(b, 0xff, sizeof(b));
	cr_assert(eq(u32, crc32c(0, b, 32), 0x62a8ab43));
	for (unsigned i = 0; i < 32; i++)
		b[i] = (uint8_t)i;
	cr_assert(eq(u32, crc32c(0, b, 32), 0x46dd794e));
	cr_assert(eq(u32, crc32c_table(0, b, 32), 0x46dd794e));
}

Test(crc32c, equals_the_table_for_every_length_alignment_and_start)
{
	static uint8_t b[20000];

	for (unsigned i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(i * 2654435761u >> 13);
	for (unsigned n = 0; n < 9000; n += n < 1100 ? 1 : 61)
		for (unsigned at = 0; at < 3; at++)
			cr_assert(
				eq(u32, crc32c(n * 77, b + at, n), crc32c_table(n * 77, b + at, n)),
				"length %u at %u", n, at);
}

Test(crc32c, continues_from_a_previous_value)
{
	static uint8_t b[8192];

	for (unsigned i = 0; i < sizeof(b); i++)
		b[i] = (uint8_t)(i ^ i >> 5);
	for (unsigned cut = 0; cut <= sizeof(b); cut += 127)
		cr_assert(eq(u32, crc32c(crc32c(0, b, cut), b + cut, sizeof(b) - cut),
			crc32c(0, b, sizeof(b))));
}

Test(bytes, writes_little_endian_and_reads_it_back)
{
	static const uint8_t expected[] = {1, 3, 2, 7, 6, 5, 4, 15, 14, 13, 12, 11, 10, 9, 8, 0, 0};
	uint8_t raw[17];
	struct bytes b = bytes_of(raw, sizeof(raw));

	memset(raw, 0xee, sizeof(raw));
	bytes_put8(&b, 1);
	bytes_put16(&b, 0x0203);
	bytes_put32(&b, 0x04050607);
	bytes_put64(&b, 0x08090a0b0c0d0e0full);
	bytes_put_zero(&b, 2);
	cr_assert(not(b.bad));
	cr_assert(eq(sz, bytes_left(&b), 0));
	cr_assert_arr_eq(raw, expected, sizeof(raw));
	b = bytes_of(raw, sizeof(raw));
	cr_assert(eq(u8, bytes_get8(&b), 1));
	cr_assert(eq(u16, bytes_get16(&b), 0x0203));
	cr_assert(eq(u32, bytes_get32(&b), 0x04050607));
	cr_assert(eq(u64, bytes_get64(&b), 0x08090a0b0c0d0e0full));
	bytes_get_zero(&b, 2);
	cr_assert(not(b.bad));
}

Test(bytes, an_access_beyond_the_end_sets_bad_and_touches_nothing)
{
	uint8_t raw[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct bytes b = bytes_of(raw, 7);

	cr_assert(eq(u32, bytes_get32(&b), 0x04030201));
	cr_assert(eq(u32, bytes_get32(&b), 0));
	cr_assert(b.bad);
	cr_assert(eq(sz, bytes_left(&b), 0));
	bytes_put8(&b, 99); /* would fit, but the cursor is bad */
	cr_assert(eq(u8, raw[4], 5));
	b = bytes_of(raw, 7);
	bytes_put64(&b, 0);
	cr_assert(b.bad);
	cr_assert(eq(u8, raw[0], 1));
	b = bytes_of(raw, 8);
	cr_assert(zero(ptr, bytes_take(&b, SIZE_MAX)));
}

Test(bytes, reserved_bytes_that_are_not_zero_are_bad)
{
	uint8_t raw[4] = {0, 0, 1, 0};
	struct bytes b = bytes_of(raw, 4);

	bytes_get_zero(&b, 2);
	cr_assert(not(b.bad));
	bytes_get_zero(&b, 2);
	cr_assert(b.bad);
}

Test(uuid, text_form_round_trips_and_has_version_4)
{
	char text[UUID_TEXT_SIZE];

	for (unsigned i = 0; i < 100; i++) {
		struct uuid u = uuid_new(), v = {{0}};

		uuid_text(&u, text);
		cr_assert(eq(sz, strlen(text), 36));
		cr_assert(eq(chr, text[14], '4'));
		cr_assert(zero(int, uuid_parse(text, &v)));
		cr_assert(uuid_equal(&u, &v));
		cr_assert(not(uuid_is_zero(&u)));
	}
}

Test(uuid, parse_refuses_what_is_no_uuid_and_leaves_the_result_alone)
{
	static const char *const bad[] = {
		"",
		"1",
		"00112233-4455-6677-8899-aabbccddeef",
		"00112233-4455-6677-8899-aabbccddeeff0",
		"00112233-4455-6677-8899-aabbccddeefg",
		"0011223344556677-8899-aabbccddeeff--",
		"00112233-4455-6677_8899-aabbccddeeff",
	};
	struct uuid u = {{7}};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		cr_assert(eq(int, uuid_parse(bad[i], &u), -EINVAL), "%s", bad[i]);
		cr_assert(eq(u8, u.b[0], 7));
	}
	cr_assert(zero(int, uuid_parse("00112233-4455-6677-8899-AABBCCDDEEFF", &u)));
	cr_assert(eq(u8, u.b[10], 0xaa));
}

Test(uuid, order_is_that_of_the_bytes)
{
	struct uuid a = {{0, 1}}, b = {{0, 2}};

	cr_assert(lt(int, uuid_compare(&a, &b), 0));
	cr_assert(gt(int, uuid_compare(&b, &a), 0));
	cr_assert(zero(int, uuid_compare(&a, &a)));
}

Test(err, messages_are_wrapped_cut_and_may_quote_themselves)
{
	struct err e;
	char longer[300];

	cr_assert(eq(int, err_set(NULL, -EIO, "nobody hears this"), -EIO));
	cr_assert(eq(int, err_set(&e, -ENOSPC, "segment %d is full", 12), -ENOSPC));
	cr_assert(eq(int, err_wrap(&e, "volume '%s'", "db"), -ENOSPC));
	cr_assert(eq(str, e.msg, "volume 'db': segment 12 is full"));
	err_set(&e, -EIO, "again: %s", e.msg);
	cr_assert(eq(str, e.msg, "again: volume 'db': segment 12 is full"));
	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	err_wrap(&e, "%s", longer);
	cr_assert(eq(sz, strlen(e.msg), sizeof(e.msg) - 1));
}

Test(check, a_failed_ensure_ends_the_process, .signal = SIGABRT)
{
	int two = 2;

	ensure(two == 2);
	ensure(two == 3);
}

Test(log, a_line_has_time_level_prefix_and_no_control_characters, .init = cr_redirect_stderr)
{
	char line[256];
	size_t n;

	log_set_prefix("db");
	log_debug("not shown");
	log_warn("two\nlines");
	fflush(stderr);
	n = fread(line, 1, sizeof(line) - 1, cr_get_redirected_stderr());
	line[n] = '\0';
	cr_assert(eq(chr, line[10], 'T'));
	cr_assert(eq(str, line + 24, " warn  db: two?lines\n"), "%s", line);
}
