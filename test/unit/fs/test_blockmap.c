/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "blockmap.h"
#include "crc32c.h"
#include "le.h"

static struct chunk_block at(uint64_t block, uint64_t birth)
{
	return (struct chunk_block){
		.block = block, .birth = birth, .epoch = 3, .crc = (uint32_t)(block * 77)};
}

static void set_run(struct chunk *c, unsigned from, unsigned n, uint64_t block, uint64_t birth)
{
	for (unsigned i = 0; i < n; i++) {
		struct chunk_block b = at(block + i, birth);

		chunk_set(c, from + i, &b, NULL, NULL);
	}
}

Test(blockmap, a_map_survives_its_encoding_and_runs_become_extents)
{
	uint8_t v[CHUNK_VALUE_SIZE_MAX];
	struct chunk c, d;
	struct key k;
	size_t len;

	chunk_init(&c);
	key_number(&k, KEY_CHUNK, 5, 9);
	cr_assert_eq(chunk_encode(&c, &k, v), 0);
	set_run(&c, 0, 10, 1000, 5);
	set_run(&c, 10, 10, 1010, 5); /* goes on: one extent */
	set_run(&c, 20, 5, 1020, 6); /* another birth */
	set_run(&c, 63, 1, 7, 8);
	len = chunk_encode(&c, &k, v);
	cr_assert_eq(v[1], 3);
	cr_assert_eq(len, 4 + 3 * 24 + 26 * 4 + 4);
	cr_assert_eq(chunk_decode(&d, k.b, k.len, v, len), 0);
	cr_assert_eq(d.mapped, 26);
	for (unsigned i = 0; i < CHUNK_BLOCKS; i++) {
		cr_assert_eq(c.b[i].epoch, d.b[i].epoch);
		if (!c.b[i].epoch)
			continue;
		cr_assert_eq(c.b[i].block, d.b[i].block);
		cr_assert_eq(c.b[i].birth, d.b[i].birth);
		cr_assert_eq(c.b[i].crc, d.b[i].crc);
	}
}

Test(blockmap, the_largest_map_fits)
{
	uint8_t v[CHUNK_VALUE_SIZE_MAX];
	struct chunk c, d;
	struct key k;

	chunk_init(&c);
	key_number(&k, KEY_CHUNK, 5, 9);
	for (unsigned i = 0; i < CHUNK_BLOCKS; i++)
		set_run(&c, i, 1, 1000 - 2 * i, i + 1);
	cr_assert_eq(chunk_encode(&c, &k, v), sizeof(v));
	cr_assert_eq(chunk_decode(&d, k.b, k.len, v, sizeof(v)), 0);
}

Test(blockmap, every_damaged_byte_and_a_wrong_key_are_found)
{
	uint8_t v[CHUNK_VALUE_SIZE_MAX];
	struct chunk c, d;
	struct key k;
	size_t len;

	chunk_init(&c);
	key_number(&k, KEY_CHUNK, 5, 9);
	set_run(&c, 3, 4, 1000, 5);
	len = chunk_encode(&c, &k, v);
	for (size_t i = 0; i < len; i++) {
		v[i] ^= 0x10;
		cr_assert_neq(chunk_decode(&d, k.b, k.len, v, len), 0);
		v[i] ^= 0x10;
	}
	cr_assert_neq(chunk_decode(&d, k.b, k.len, v, len - 1), 0);
	key_number(&k, KEY_CHUNK, 5, 10);
	cr_assert_eq(chunk_decode(&d, k.b, k.len, v, len), -EBADMSG);
}

static void count_freed(void *ctx, const struct chunk_block *b)
{
	*(uint64_t *)ctx = *(uint64_t *)ctx * 10 + b->block;
}

Test(blockmap, purging_takes_what_was_born_before_and_lies_inside)
{
	struct inode i = {.ndead = 1, .dead = {{.seq = 10, .from = 64 + 2, .to = 64 + 5}}};
	uint64_t freed = 0;
	struct chunk c;

	chunk_init(&c);
	set_run(&c, 0, 8, 1, 9);
	set_run(&c, 3, 1, 9, 10); /* born with the range: alive */
	cr_assert_eq(chunk_purge(&c, &i, 1, count_freed, &freed), 2);
	cr_assert_eq(freed, 35);
	cr_assert_eq(c.mapped, 6);
	cr_assert(c.b[1].epoch && !c.b[2].epoch && c.b[3].epoch && !c.b[4].epoch && c.b[5].epoch);
	cr_assert_eq(chunk_purge(&c, &i, 0, count_freed, &freed), 0);
}

Test(blockmap, checksums_of_blocks_add_up_to_that_of_the_whole)
{
	static uint8_t data[5 * BLOCK_SIZE];
	uint32_t crcs[5], all;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * i + i / 7);
	block_crcs(data, 5, crcs, &all);
	cr_assert_eq(all, crc32c(0, data, sizeof(data)));
	for (unsigned i = 0; i < 5; i++)
		cr_assert_eq(crcs[i], crc32c(0, data + i * BLOCK_SIZE, BLOCK_SIZE));
}

/* --- keys --- */

Test(keys, numbers_in_keys_sort_as_numbers)
{
	struct key a, b;

	key_number(&a, KEY_COOKIE, 1, 255);
	key_number(&b, KEY_COOKIE, 1, 256);
	cr_assert_lt(memcmp(a.b, b.b, a.len), 0);
	key_number(&b, KEY_COOKIE, 256, 0);
	cr_assert_lt(memcmp(a.b, b.b, a.len), 0);
	cr_assert_eq(key_get_ino(b.b), 256);
}

static void assert_hex(const uint8_t *v, size_t len, const char *hex)
{
	char text[1024] = "";

	for (size_t i = 0; i < len; i++)
		snprintf(text + 2 * i, 3, "%02x", v[i]);
	cr_assert_str_eq(text, hex);
}

Test(keys, the_format_of_values_is_pinned)
{
	struct inode i = {.ino = 5,
		.mode = 0100644,
		.uid = 1,
		.gid = 2,
		.nlink = 3,
		.rdev = 4,
		.size = 5,
		.blocks = 6,
		.atime_ns = 7,
		.mtime_ns = 8,
		.ctime_ns = 9,
		.btime_ns = 10,
		.parent = 11,
		.next_cookie = 12,
		.entries = 13,
		.xattrs = 14,
		.xattr_name_bytes = 15,
		.has_xattrs = true,
		.has_acl = true,
		.ndead = 1,
		.dead = {{.seq = 16, .from = 17, .to = 18}}};
	struct dirent_value d = {.ino = 0x0102030405060708ull, .cookie = 3, .type = 8};
	struct inode back = {0};
	struct chunk c;
	uint8_t v[CHUNK_VALUE_SIZE_MAX];
	struct key k;
	size_t len;

	key_ino(&k, KEY_INODE, 5);
	assert_hex(k.b, k.len, "490000000000000005");
	len = inode_encode(&i, &k, v);
	assert_hex(v, len,
		"01020100a4810000010000000200000003000000040000000500000000000000"
		"0600000000000000070000000000000008000000000000000900000000000000"
		"0a000000000000000b000000000000000c000000000000000d00000000000000"
		"0e0000000f00000000000000000000000000000010000000000000001100000000000000"
		"1200000000000000"
		"74b6a538");
	cr_assert_eq(inode_decode(&back, &k, v, len), 0);
	cr_assert_eq(memcmp(&back, &i, sizeof(i)), 0);
	key_name(&k, KEY_DIRENT, 1, "name", 4);
	len = dirent_encode(&d, &k, v);
	assert_hex(v, len,
		"010800000807060504030201"
		"0300000000000000"
		"d2b4ffd0");
	chunk_init(&c);
	set_run(&c, 1, 2, 16, 5);
	key_number(&k, KEY_CHUNK, 5, 0);
	len = chunk_encode(&c, &k, v);
	assert_hex(v, len,
		"01010000"
		"0102000003000000100000000000000005000000000000"
		"00"
		"d00400001d050000"
		"9e718316");
}

Test(keys, another_version_is_told_from_damage)
{
	struct super s = {.size_blocks = 5, .next_ino = 2}, back;
	uint8_t v[SUPER_VALUE_SIZE];
	struct key k;
	size_t len;

	key_super(&k);
	len = super_encode(&s, &k, v);
	cr_assert_eq(super_decode(&back, &k, v, len), 0);
	cr_assert_eq(back.size_blocks, 5);
	v[0] = 2;
	cr_assert_eq(super_decode(&back, &k, v, len), -EBADMSG);
	le32_put(v + len - 4, crc32c(crc32c(0, k.b, k.len), v, len - 4));
	cr_assert_eq(super_decode(&back, &k, v, len), -EPROTONOSUPPORT);
}
