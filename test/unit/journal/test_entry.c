/* SPDX-License-Identifier: Apache-2.0 */
/* The codec: the pinned format, and that nothing but exactly what was written is accepted. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "crc32c.h"
#include "entry.h"

/* Made by a program of its own from the table in entry.h; a change here is a new format. */
static const char golden[] = "54464254010000008801000002000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
			     "88776655443322110700000000000000e803000000000000e603000000000000"
			     "efcdab8967452301efbeadde67d7396c00000000000000000000000000000000"
			     "000000000000000000000000000000000000000000000000d75d9be6d1c0aabd"
			     "5446454e010003000000000005000000a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
			     "08070605040302012a0000000000000088776655443322110700000000000000"
			     "e803000000000000000000000000000000000000000000000000000000000000"
			     "00000000000000000000000000000000000000004cbb719aefbeadde8109b6f2"
			     "68656c6c6f0000005446454e0100feff0000000000000000a0a1a2a3a4a5a6a7"
			     "a8a9aaabacadaeaf000000000000000000000000000000008877665544332211"
			     "0700000000000000e90300000000000000000000000000000000000000000000"
			     "0000000000000000000000000000000000000000000000000000000000000000"
			     "8109b6f267d7396c";

static const struct epoch epoch = {.id = 0x1122334455667788ull, .num = 7};
static uint8_t buf[BATCH_SIZE_MAX] __attribute__((aligned(BLOCK_SIZE)));

static struct uuid volume(void)
{
	struct uuid u;

	for (unsigned i = 0; i < sizeof(u.b); i++)
		u.b[i] = (uint8_t)(0xa0 + i);
	return u;
}

static void begin(struct batch_writer *w, size_t size, uint64_t seq)
{
	struct uuid u = volume();

	memset(buf, 0xdd, size);
	batch_begin(w, buf, size, &u, epoch, (struct pos){seq - 1, seq > 1 ? 0xdeadbeef : 0});
}

static size_t golden_batch(void)
{
	struct iovec iov[2] = {{.iov_base = "hel", .iov_len = 3}, {.iov_base = "lo", .iov_len = 2}};
	struct batch_writer w;
	uint8_t *body;

	begin(&w, BLOCK_SIZE, 1000);
	cr_assert(eq(u64, batch_add(&w, 3, 0x0102030405060708ull, 42, iov, 2, &body), 1000));
	cr_assert(zero(int, memcmp(body, "hello", 5)));
	cr_assert(eq(u64, batch_add(&w, 0xfffe, 0, 0, NULL, 0, NULL), 1001));
	cr_assert(eq(u64, batch_writer_end(&w).seq, 1001));
	return batch_finish(&w, 998, 0x0123456789abcdefull);
}

Test(entry, the_format_is_the_golden_one)
{
	char hex[2 * 392 + 1];

	cr_assert(eq(sz, golden_batch(), BLOCK_SIZE));
	for (unsigned i = 0; i < 392; i++)
		snprintf(hex + 2 * i, 3, "%02x", buf[i]);
	cr_assert(eq(str, hex, (char *)golden));
	for (unsigned i = 392; i < BLOCK_SIZE; i++)
		cr_assert(zero(u8, buf[i]));
}

Test(entry, a_batch_reads_back_field_by_field)
{
	struct batch_header h;
	struct entry e;
	size_t cursor = 0;
	struct uuid u = volume();

	golden_batch();
	cr_assert(zero(int, batch_verify(buf, BLOCK_SIZE, &h)));
	cr_assert(eq(u32, h.length, 392));
	cr_assert(eq(u32, h.count, 2));
	cr_assert(uuid_equal(&h.volume, &u));
	cr_assert(epoch_equal(h.epoch, epoch));
	cr_assert(eq(u64, h.first_seq, 1000));
	cr_assert(eq(u64, batch_last_seq(&h), 1001));
	cr_assert(eq(u64, h.commit, 998));
	cr_assert(eq(u64, h.time_ns, 0x0123456789abcdefull));
	cr_assert(eq(u32, h.chain_before, 0xdeadbeef));
	cr_assert(batch_next_entry(buf, &h, &cursor, &e));
	cr_assert(eq(u16, e.h.type, 3));
	cr_assert(eq(u32, e.h.body_len, 5));
	cr_assert(eq(u64, e.h.mount_id, 0x0102030405060708ull));
	cr_assert(eq(u64, e.h.unique, 42));
	cr_assert(eq(u64, e.h.seq, 1000));
	cr_assert(zero(int, memcmp(e.body, "hello", 5)));
	cr_assert(batch_next_entry(buf, &h, &cursor, &e));
	cr_assert(eq(u16, e.h.type, 0xfffe));
	cr_assert(eq(u64, e.h.seq, 1001));
	cr_assert(eq(u32, e.h.crc, h.chain_after));
	cr_assert(not(batch_next_entry(buf, &h, &cursor, &e)));
}

Test(entry, every_flipped_bit_of_a_batch_is_refused)
{
	struct batch_header h;

	golden_batch();
	for (unsigned i = 0; i < BLOCK_SIZE; i++) {
		for (unsigned bit = 0; bit < 8; bit++) {
			int ret;

			buf[i] ^= (uint8_t)(1 << bit);
			ret = batch_verify(buf, BLOCK_SIZE, &h);
			cr_assert(eq(int, ret, i < 4 ? -ENODATA : -EBADMSG), "byte %u bit %u", i,
				bit);
			buf[i] ^= (uint8_t)(1 << bit);
		}
	}
	cr_assert(zero(int, batch_verify(buf, BLOCK_SIZE, &h)));
}

/* Changes a field and makes all checksums right again, as a wrong writer would. */
static void patch(unsigned at, uint8_t value)
{
	uint32_t crc;

	golden_batch();
	buf[at] = value;
	if (at >= 128 && at < 256) {
		crc = crc32c(0, buf + 128, 124);
		memcpy(buf + 128 + 124, &crc, 4);
		memcpy(buf + 264 + 120, &crc, 4);
	}
	if (at >= 128) {
		crc = crc32c(0, buf + 264, 124);
		memcpy(buf + 264 + 124, &crc, 4);
		memcpy(buf + 76, &crc, 4);
		crc = crc32c(0, buf + 128, 264);
		memcpy(buf + 120, &crc, 4);
	}
	crc = crc32c(0, buf, 124);
	memcpy(buf + 124, &crc, 4);
}

Test(entry, wrong_fields_are_refused_even_with_right_checksums)
{
	static const struct {
		unsigned at;
		uint8_t value;
		int ret;
	} cases[] = {
		{4, 1, 0}, /* unchanged: the patching itself is sound */
		{128 + 4, 1, 0}, {4, 2, -EPROTONOSUPPORT}, {6, 1, -EBADMSG}, /* flags */
		{8, 0x87, -EBADMSG}, /* length one short */
		{9, 0xff, -EBADMSG}, /* length beyond the buffer */
		{11, 1, -EBADMSG}, /* length beyond BATCH_SIZE_MAX */
		{12, 1, -EBADMSG}, /* count */
		{12, 3, -EBADMSG}, {12, 200, -EBADMSG},
		{16, 0, -EBADMSG}, /* volume is not the entries' */
		{32, 0, -EBADMSG}, /* epoch is not the entries' */
		{44, 1, -EBADMSG}, /* reserved */
		{48, 0, -EBADMSG}, /* first seq is not the first entry's */
		{57, 0xff, -EBADMSG}, /* commit index above the first seq */
		{72, 0, -EBADMSG}, /* chain before */
		{76, 0, -EBADMSG}, /* chain after */
		{80, 1, -EBADMSG}, {119, 1, -EBADMSG}, {128, 'X', -EBADMSG}, /* entry magic */
		{132, 2, -EBADMSG}, /* entry version */
		{136, 1, -EBADMSG}, /* entry flags */
		{140, 4, -EBADMSG}, /* body length: padding is not zero then */
		{140, 6, -EBADMSG}, {142, 3, -EBADMSG}, /* body length beyond the batch */
		{144, 0, -EBADMSG}, /* volume */
		{176, 1, -EBADMSG}, /* epoch id */
		{184, 8, -EBADMSG}, /* epoch number */
		{188, 1, -EBADMSG}, /* reserved */
		{192, 1, -EBADMSG}, /* seq */
		{200, 1, -EBADMSG}, /* group */
		{208, 1, -EBADMSG}, {216, 1, -EBADMSG}, /* reserved */
		{243, 1, -EBADMSG}, {244, 1, -EBADMSG}, /* body checksum */
		{248, 0, -EBADMSG}, /* chain */
		{256, 'H', -EBADMSG}, /* body */
		{261, 1, -EBADMSG}, /* padding between entries */
	};
	struct batch_header h;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		patch(cases[i].at, cases[i].value);
		cr_assert(eq(int, batch_verify(buf, BLOCK_SIZE, &h), cases[i].ret),
			"case %u, byte %u", i, cases[i].at);
	}
}

Test(entry, a_buffer_shorter_than_the_batch_is_refused)
{
	struct batch_header h;

	golden_batch();
	cr_assert(eq(int, batch_decode_header(buf, 127, &h), -ENODATA));
	cr_assert(zero(int, batch_decode_header(buf, 128, &h)));
	cr_assert(eq(int, batch_verify(buf, 128, &h), -EBADMSG));
	cr_assert(eq(int, batch_verify(buf, BLOCK_SIZE - 1, &h), -EBADMSG));
}

Test(entry, an_empty_batch_carries_the_commit_index_and_no_seq)
{
	struct batch_writer w;
	struct batch_header h;
	struct entry e;
	size_t cursor = 0;

	begin(&w, BLOCK_SIZE, 1);
	cr_assert(eq(sz, batch_finish(&w, 0, 5), BLOCK_SIZE));
	cr_assert(zero(int, batch_verify(buf, BLOCK_SIZE, &h)));
	cr_assert(eq(u32, h.count, 0));
	cr_assert(eq(u64, h.first_seq, 1));
	cr_assert(eq(u64, batch_end(&h).seq, 0));
	cr_assert(not(batch_next_entry(buf, &h, &cursor, &e)));
	begin(&w, BLOCK_SIZE, 78);
	batch_finish(&w, 77, 5);
	cr_assert(zero(int, batch_verify(buf, BLOCK_SIZE, &h)));
	cr_assert(eq(u64, h.commit, 77));
	cr_assert(eq(u64, batch_end(&h).seq, 77));
	cr_assert(eq(u32, batch_end(&h).chain, 0xdeadbeef));
}

Test(entry, a_batch_can_be_filled_to_its_last_byte)
{
	static uint8_t body[ENTRY_SIZE_MAX];
	struct batch_writer w;
	struct batch_header h;
	struct iovec iov = {.iov_base = body, .iov_len = ENTRY_SIZE_MAX - ENTRY_HEADER_SIZE};
	size_t cursor = 0, last;
	struct entry e;
	unsigned n = 0;

	for (unsigned i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 7);
	begin(&w, BATCH_SIZE_MAX, 1);
	for (; batch_fits(&w, iov.iov_len); n++)
		batch_add(&w, 1, 0, 0, &iov, 1, NULL);
	cr_assert(not(batch_fits(&w, ENTRY_SIZE_MAX)));
	last = BATCH_SIZE_MAX - (w.used + 7) / 8 * 8 - ENTRY_HEADER_SIZE;
	cr_assert(batch_fits(&w, last));
	cr_assert(not(batch_fits(&w, last + 1)));
	iov.iov_len = last;
	batch_add(&w, 1, 0, 0, &iov, 1, NULL);
	cr_assert(eq(sz, batch_finish(&w, 0, 0), BATCH_SIZE_MAX));
	cr_assert(zero(int, batch_verify(buf, BATCH_SIZE_MAX, &h)));
	while (batch_next_entry(buf, &h, &cursor, &e)) {
		cr_assert(zero(int, memcmp(e.body, body, e.h.body_len)));
		n--;
	}
	cr_assert(eq(u32, n, (unsigned)-1));
	cr_assert(eq(u32, e.h.crc, h.chain_after));
}

Test(entry, an_entry_that_does_not_fit_is_a_programmers_error, .signal = SIGABRT)
{
	static uint8_t body[BLOCK_SIZE];
	struct batch_writer w;
	struct iovec iov = {.iov_base = body, .iov_len = sizeof(body)};

	begin(&w, BLOCK_SIZE, 1);
	batch_add(&w, 1, 0, 0, &iov, 1, NULL);
}

/* --- a batch whose writer died --- */

#define RESCUED 3u

/* Three entries behind seq 999, not finished. Returns the bytes used; ends[] is where each ends. */
static size_t open_batch(struct batch_writer *w, size_t *ends)
{
	begin(w, 2 * BLOCK_SIZE, 1000);
	for (unsigned i = 0; i < RESCUED; i++) {
		char body[50];
		struct iovec iov = {.iov_base = body, .iov_len = 11 + 13 * i};

		memset(body, 'a' + (int)i, sizeof(body));
		batch_add(w, 3, 7, 40 + i, &iov, 1, NULL);
		ends[i] = w->used;
	}
	return w->used;
}

static int rescue(uint64_t seq, uint32_t chain, struct batch_header *h)
{
	struct uuid u = volume();

	return batch_rescue(buf, 2 * BLOCK_SIZE, &u, (struct pos){seq, chain}, 990, 5, h);
}

Test(entry, a_batch_that_was_finished_is_taken_byte_for_byte)
{
	static uint8_t as_written[2 * BLOCK_SIZE];
	struct batch_writer w;
	struct batch_header h;
	size_t ends[RESCUED];

	open_batch(&w, ends);
	batch_finish(&w, 995, 77);
	memcpy(as_written, buf, sizeof(as_written));
	cr_assert(zero(int, rescue(999, 0xdeadbeef, &h)));
	cr_expect(zero(int, memcmp(as_written, buf, sizeof(as_written))));
	cr_expect(eq(u64, h.commit, 995));
	cr_expect(eq(u32, h.count, RESCUED));
}

Test(entry, a_batch_that_was_open_is_closed_behind_its_last_whole_entry)
{
	struct batch_writer w;
	struct batch_header h;
	size_t ends[RESCUED], used = open_batch(&w, ends);

	cr_assert(zero(int, rescue(999, 0xdeadbeef, &h)));
	cr_expect(eq(u32, h.count, RESCUED));
	cr_expect(eq(u64, h.commit, 990));
	cr_expect(eq(u32, h.chain_after, w.h.chain_after), "the same history goes on");
	for (size_t at = ends[1]; at < used; at++) { /* any byte of the last one is not there yet */
		open_batch(&w, ends);
		if (at < (ends[1] + ENTRY_ALIGN - 1) / ENTRY_ALIGN * ENTRY_ALIGN)
			continue;
		buf[at] ^= 0x10;
		cr_assert(zero(int, rescue(999, 0xdeadbeef, &h)), "byte %zu", at);
		cr_expect(eq(u32, h.count, RESCUED - 1), "byte %zu", at);
		cr_expect(zero(int, batch_verify(buf, 2 * BLOCK_SIZE, &h)));
	}
}

Test(entry, a_batch_whose_header_or_padding_was_being_written_is_closed_again)
{
	struct batch_writer w;
	struct batch_header h;
	size_t ends[RESCUED], used, size;

	for (size_t at = 0; at < BATCH_HEADER_SIZE; at++) {
		open_batch(&w, ends);
		batch_finish(&w, 995, 77);
		memset(buf + at, 0xdd, BATCH_HEADER_SIZE - at);
		cr_assert(zero(int, rescue(999, 0xdeadbeef, &h)), "header up to %zu", at);
		cr_expect(eq(u32, h.count, RESCUED));
	}
	used = open_batch(&w, ends);
	size = batch_finish(&w, 995, 77);
	buf[size - 1] = 0xdd;
	cr_assert(lt(sz, used, size));
	cr_assert(zero(int, rescue(999, 0xdeadbeef, &h)));
	cr_expect(eq(u32, h.count, RESCUED));
	cr_expect(eq(u64, h.time_ns, 5));
}

Test(entry, what_continues_something_else_is_no_batch_to_rescue)
{
	struct uuid other = volume();
	struct batch_writer w;
	struct batch_header h;
	size_t ends[RESCUED];

	open_batch(&w, ends);
	cr_expect(eq(int, rescue(998, 0xdeadbeef, &h), -ENODATA));
	cr_expect(eq(int, rescue(1000, 0xdeadbeef, &h), -ENODATA));
	cr_expect(eq(int, rescue(999, 0xdeadbee0, &h), -ENODATA));
	other.b[0]++;
	cr_expect(eq(int,
		batch_rescue(buf, 2 * BLOCK_SIZE, &other, (struct pos){999, 0xdeadbeef}, 0, 0, &h),
		-ENODATA));
	buf[BATCH_HEADER_SIZE + 20] ^= 1;
	cr_expect(eq(int, rescue(999, 0xdeadbeef, &h), -ENODATA));
	memset(buf, 0, sizeof(buf));
	cr_expect(eq(int, rescue(0, 0, &h), -ENODATA));
}
