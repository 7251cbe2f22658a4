/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "meta_rig.h"
#include "tree_impl.h"

static struct rig r;
static uint64_t d, f;
static uint8_t bytes[9000];

static void open_rig(void)
{
	rig_open(&r);
	d = rig_create(&r, ROOT_INO, "d", S_IFDIR | 0755);
	f = rig_create(&r, d, "f", S_IFREG | 0644);
	rig_create(&r, ROOT_INO, "g", S_IFREG | 0644);
	memset(bytes, 1, sizeof(bytes));
	cr_assert_eq(rig_do(&r, rig_op_write(f, 0, bytes, sizeof(bytes))), 0);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(f, "user.a", "1", 1, 0)), 0);
	rig_check(&r);
}

static void close_rig(void)
{
	rig_close(&r);
}

TestSuite(tree_check, .init = open_rig, .fini = close_rig);

static void found(const char *what)
{
	char text[512];

	cr_assert_gt(rig_problems(&r, text, sizeof(text)), 0, "%s was not found", what);
	cr_assert(strstr(text, what), "found '%s', wanted '%s'", text, what);
}

static void change_inode(uint64_t ino, void (*fn)(struct inode *i))
{
	struct inode i = rig_inode(&r, ino);

	fn(&i);
	put_inode(r.tree, &i);
}

static void more_links(struct inode *i)
{
	i->nlink++;
}

static void more_blocks(struct inode *i)
{
	i->blocks++;
}

static void shorter(struct inode *i)
{
	i->size = 100;
}

static void other_parent(struct inode *i)
{
	i->parent = i->ino;
}

static void more_entries(struct inode *i)
{
	i->entries++;
}

static void low_cookie(struct inode *i)
{
	i->next_cookie = FIRST_COOKIE;
}

static void with_caps(struct inode *i)
{
	i->has_caps = true;
}

static void with_dead(struct inode *i)
{
	i->ndead = 1;
	i->dead[0] = (struct dead_range){.seq = 1, .from = 0, .to = 9};
}

Test(tree_check, finds_a_wrong_link_count)
{
	change_inode(f, more_links);
	found("link count 2, but 1 names");
}

Test(tree_check, finds_a_wrong_link_count_of_a_directory)
{
	change_inode(d, more_links);
	found("link count 3");
}

Test(tree_check, finds_wrong_block_counts)
{
	change_inode(f, more_blocks);
	found("blocks mapped");
}

Test(tree_check, finds_blocks_behind_the_end)
{
	change_inode(f, shorter);
	found("behind its end");
}

Test(tree_check, finds_a_wrong_parent_and_a_loop)
{
	change_inode(d, other_parent);
	found("its parent is");
}

Test(tree_check, finds_a_wrong_number_of_entries)
{
	change_inode(d, more_entries);
	found("names");
}

Test(tree_check, finds_a_cookie_out_of_range)
{
	change_inode(d, low_cookie);
	found("out of range");
}

Test(tree_check, finds_flags_without_their_attribute)
{
	change_inode(f, with_caps);
	found("flags");
}

Test(tree_check, finds_dead_ranges_that_nobody_noted)
{
	change_inode(f, with_dead);
	found("dead ranges");
}

Test(tree_check, finds_a_name_without_an_inode_and_an_inode_without_a_name)
{
	delete_ino(r.tree, KEY_INODE, f);
	found("does not exist");
}

Test(tree_check, finds_an_inode_that_lost_its_name)
{
	delete_dirent(r.tree, ROOT_INO, "g", 1, FIRST_COOKIE + 1);
	found("names");
}

Test(tree_check, finds_a_name_that_readdir_would_miss)
{
	struct key k;

	key_number(&k, KEY_COOKIE, d, FIRST_COOKIE);
	txn_delete(r.tree->txn, k.b, k.len);
	found("not at its cookie");
}

Test(tree_check, finds_a_cookie_without_a_name)
{
	struct key k;

	key_name(&k, KEY_DIRENT, d, "f", 1);
	txn_delete(r.tree->txn, k.b, k.len);
	found("cookies");
}

Test(tree_check, finds_an_attribute_too_many)
{
	struct key k;

	key_name(&k, KEY_XATTR, f, "user.b", 6);
	put_plain(r.tree, &k, "x", 1);
	found("2 attributes, but it says 1");
}

Test(tree_check, finds_a_block_that_is_mapped_twice)
{
	struct view v = {.t = r.tree};
	struct chunk c;

	cr_assert_eq(view_chunk(&v, f, 0, &c), 0);
	c.b[2].block = c.b[0].block;
	put_chunk(r.tree, f, 0, &c);
	found("mapped twice");
}

Test(tree_check, finds_damaged_values_and_their_place)
{
	struct key k;

	key_ino(&k, KEY_INODE, f);
	txn_put(r.tree->txn, k.b, k.len, "\1garbage", 8);
	found("is damaged");
}

Test(tree_check, finds_a_lost_and_a_false_orphan)
{
	put_seq(r.tree, KEY_ORPHAN, f, 1);
	found("but noted as an orphan");
	delete_ino(r.tree, KEY_ORPHAN, f);
	rig_check(&r);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, d, "f")), 0);
	rig_check(&r);
	delete_ino(r.tree, KEY_ORPHAN, f);
	found("but not noted as an orphan");
}

Test(tree_check, finds_wrong_totals)
{
	SB_SET(r.tree, inodes, 77);
	found("the superblock says 77");
}

static int count_extent(void *ctx, uint64_t ino, const struct extent *x, const uint32_t *crcs)
{
	*(unsigned *)ctx += x->blocks;
	return crcs[0] ? 0 : -EBADMSG;
}

Test(tree_check, tells_every_mapped_run)
{
	unsigned blocks = 0;
	struct tree_check c = {.extent = count_extent, .ctx = &blocks};

	cr_assert_eq(tree_check(r.tree, &c), 0);
	cr_assert_eq(c.problems, 0);
	cr_assert_eq(blocks, 3);
	cr_assert_eq(c.extents, 1);
	cr_assert_eq(c.inodes, 4);
	cr_assert_eq(c.dirents, 3);
}

Test(tree_check, the_digest_changes_with_every_key)
{
	uint8_t a[32], b[32];

	cr_assert_eq(tree_digest(r.tree, a), 0);
	tree_set_data_seq(r.tree, 5); /* the replica's own affair */
	cr_assert_eq(tree_digest(r.tree, b), 0);
	cr_assert_eq(memcmp(a, b, 32), 0);
	change_inode(f, more_blocks);
	cr_assert_eq(tree_digest(r.tree, b), 0);
	cr_assert_neq(memcmp(a, b, 32), 0);
}

/* --- cold metadata --- */

Test(tree_cold, operations_on_cold_metadata_are_sent_to_a_helper_and_then_work, .timeout = 60)
{
	char name[64];
	struct rig c;
	struct inode i;
	unsigned n = 0;

	rig_open_disk(&c, 0);
	for (unsigned k = 0; k < 3000; k++) {
		uint64_t ino;

		snprintf(name, sizeof(name), "a-file-with-a-longer-name-%u", k);
		ino = rig_create(&c, ROOT_INO, name, S_IFREG | 0644);
		cr_assert_eq(rig_do(&c, rig_op_write(ino, 0, bytes, 5000)), 0);
	}
	rig_flush(&c);
	rig_reopen(&c, 1);
	for (unsigned k = 0; k < 3000; k += 100, n++) {
		snprintf(name, sizeof(name), "a-file-with-a-longer-name-%u", k);
		cr_assert_eq(tree_lookup(c.tree, ROOT_INO, name, &i), 0);
		cr_assert_eq(rig_do(&c, rig_op_write(i.ino, 4500, bytes, 4000)), 0);
		cr_assert_eq(rig_do(&c, rig_op_truncate(i.ino, 4400)), 0);
		cr_assert_eq(rig_do(&c, rig_op_name(OP_UNLINK, ROOT_INO, name)), 0);
	}
	cr_assert_geq(c.warms, n);
	rig_reap(&c, NULL, NULL);
	rig_check(&c);
	/* What was not flushed is gone with the process: the position says so. */
	rig_reopen(&c, 1);
	cr_assert_eq(c.end.seq, 6000);
	rig_check(&c);
	rig_close(&c);
}

Test(tree_cold, the_persisted_position_is_that_of_the_last_flush)
{
	struct pos p = {0};
	uint64_t data_seq = 9;
	struct rig c;

	rig_open_disk(&c, 0);
	cr_assert_eq(tree_persisted(c.tree, &p, &data_seq), 0);
	cr_assert(p.seq == 0 && data_seq == 0);
	rig_create(&c, ROOT_INO, "a", S_IFREG);
	tree_set_data_seq(c.tree, 1);
	rig_create(&c, ROOT_INO, "b", S_IFREG);
	cr_assert_eq(tree_persisted(c.tree, &p, NULL), 0);
	cr_assert_eq(p.seq, 0);
	rig_flush(&c);
	cr_assert_eq(tree_persisted(c.tree, &p, &data_seq), 0);
	cr_assert(pos_equal(p, c.end));
	cr_assert_eq(data_seq, 1);
	rig_close(&c);
}
