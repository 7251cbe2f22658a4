/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl.h"
#include "le.h"
#include "meta_rig.h"
#include "tree_impl.h"

static struct rig r;

static void open_rig(void)
{
	rig_open(&r);
}

static void close_rig(void)
{
	rig_check(&r);
	rig_close(&r);
}

TestSuite(tree_names, .init = open_rig, .fini = close_rig);

static int create(uint64_t parent, const char *name, uint32_t mode)
{
	return rig_do(&r, rig_op_create(parent, name, mode));
}

static int rename_to(
	uint64_t parent, const char *name, uint64_t newparent, const char *newname, uint32_t flags)
{
	return rig_do(&r, rig_op_rename(parent, name, newparent, newname, flags));
}

Test(tree_names, a_new_file_has_the_callers_identity_and_the_umask_applied)
{
	struct op *op = rig_op_create(ROOT_INO, "f", S_IFREG | 0666);
	struct inode i;

	op->uid = 100;
	op->gid = 200;
	op->umask = 027;
	cr_assert_eq(rig_run(&r, op), 0);
	i = op->result;
	op_free(op);
	cr_assert_eq(i.mode, S_IFREG | 0640);
	cr_assert(i.uid == 100 && i.gid == 200 && i.nlink == 1 && i.size == 0);
	cr_assert_eq(i.mtime_ns, r.now_ns);
	cr_assert_eq(rig_inode(&r, ROOT_INO).mtime_ns, r.now_ns);
	cr_assert_eq(tree_lookup(r.tree, ROOT_INO, "f", &i), 0);
	cr_assert_eq(i.mode, S_IFREG | 0640);
}

Test(tree_names, names_and_types_are_validated)
{
	char longest[300];
	struct op *op;

	memset(longest, 'x', 255);
	longest[255] = 0;
	cr_assert_eq(create(ROOT_INO, longest, S_IFREG), 0);
	cr_assert_eq(create(ROOT_INO, longest, S_IFREG), -EEXIST);
	op = rig_op_create(ROOT_INO, "", S_IFREG);
	memset(op->name, 'x', sizeof(op->name));
	cr_assert_eq(rig_do(&r, op), -ENAMETOOLONG);
	cr_assert_eq(create(ROOT_INO, "", S_IFREG), -ENOENT);
	cr_assert_eq(create(ROOT_INO, ".", S_IFREG), -EINVAL);
	cr_assert_eq(create(ROOT_INO, "..", S_IFDIR), -EINVAL);
	cr_assert_eq(create(ROOT_INO, "a/b", S_IFREG), -EINVAL);
	cr_assert_eq(create(ROOT_INO, "f", 0), 0, "no type: a regular file");
	cr_assert_eq(create(ROOT_INO, "g", 0070000), -EINVAL);
	cr_assert_eq(create(77, "f", S_IFREG), -ENOENT);
	cr_assert_eq(create(3, "f", S_IFREG), -ENOTDIR);
	op = rig_op_create(ROOT_INO, "nobody", S_IFREG);
	op->uid = UINT32_MAX;
	cr_assert_eq(rig_do(&r, op), -EINVAL);
}

Test(tree_names, a_setgid_directory_gives_its_group_and_to_directories_the_bit)
{
	uint64_t d = rig_create(&r, ROOT_INO, "d", S_IFDIR | 02775);
	struct op *op = op_new(OP_SETATTR);

	op->ino = d;
	op->attr_mask = ATTR_GID;
	op->attr.gid = 55;
	cr_assert_eq(rig_do(&r, op), 0);
	op = rig_op_create(d, "f", S_IFREG | 0644);
	op->gid = 7;
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->result.gid, 55);
	cr_assert_eq(op->result.mode, S_IFREG | 0644);
	op_free(op);
	op = rig_op_create(d, "sub", S_IFDIR | 0755);
	op->gid = 7;
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->result.gid, 55);
	cr_assert_eq(op->result.mode, S_IFDIR | 02755);
	op_free(op);
}

/* owner rwx, user 5 rwx, group rx, mask rwx, others nothing */
static size_t make_acl(uint8_t *v, unsigned mask)
{
	static const struct {
		uint16_t tag, perm;
		uint32_t id;
	} e[] = {{1, 7, UINT32_MAX}, {2, 7, 5}, {4, 5, UINT32_MAX}, {16, 7, UINT32_MAX},
		{32, 0, UINT32_MAX}};

	le32_put(v, 2);
	for (unsigned i = 0; i < 5; i++) {
		le16_put(v + 4 + 8 * i, e[i].tag);
		le16_put(v + 6 + 8 * i, e[i].tag == 16 ? (uint16_t)mask : e[i].perm);
		le32_put(v + 8 + 8 * i, e[i].id);
	}
	return 44;
}

Test(tree_names, a_default_list_replaces_the_umask_and_is_inherited)
{
	uint64_t d = rig_create(&r, ROOT_INO, "d", S_IFDIR | 0755);
	uint8_t acl[64], got[64];
	struct op *op;
	size_t len;

	len = make_acl(acl, 7);
	cr_assert_eq(rig_do(&r, rig_op_setxattr(d, ACL_DEFAULT, acl, len, 0)), 0);
	op = rig_op_create(d, "f", S_IFREG | 0664);
	op->umask = 077; /* ignored */
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->result.mode, S_IFREG | 0660);
	cr_assert(op->result.has_acl);
	make_acl(acl, 6);
	le16_put(acl + 6, 6); /* the owner's entry follows the creation mode */
	cr_assert_eq(tree_xattr_get(r.tree, op->result.ino, ACL_ACCESS, got, sizeof(got), &len), 0);
	cr_assert_eq(len, 44);
	cr_assert_eq(memcmp(got, acl, len), 0);
	cr_assert_eq(tree_xattr_get(r.tree, op->result.ino, ACL_DEFAULT, got, sizeof(got), &len),
		-ENODATA);
	op_free(op);
	op = rig_op_create(d, "sub", S_IFDIR | 0777);
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->result.mode, S_IFDIR | 0770);
	make_acl(acl, 7);
	cr_assert_eq(
		tree_xattr_get(r.tree, op->result.ino, ACL_DEFAULT, got, sizeof(got), &len), 0);
	cr_assert_eq(memcmp(got, acl, len), 0);
	cr_assert_eq(op->result.xattrs, 2);
	op_free(op);
	op = rig_op_create(d, "link", S_IFLNK);
	op->value = strdup("x");
	op->value_len = 1;
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->result.xattrs, 0);
	op_free(op);
}

Test(tree_names, symlinks_keep_their_target)
{
	struct op *op = rig_op_create(ROOT_INO, "l", S_IFLNK);
	char buf[64];
	uint64_t ino;
	size_t len;

	cr_assert_eq(rig_run(&r, op), -ENOENT, "an empty target");
	op->value = strdup("../some/target");
	op->value_len = 14;
	cr_assert_eq(rig_run(&r, op), 0);
	ino = op->result.ino;
	cr_assert_eq(op->result.mode, S_IFLNK | 0777);
	cr_assert_eq(op->result.size, 14);
	op_free(op);
	cr_assert_eq(tree_readlink(r.tree, ino, buf, sizeof(buf), &len), 0);
	cr_assert_eq(len, 14);
	cr_assert_eq(memcmp(buf, "../some/target", 14), 0);
	cr_assert_eq(tree_readlink(r.tree, ROOT_INO, buf, sizeof(buf), &len), -EINVAL);
	op = rig_op_create(ROOT_INO, "m", S_IFLNK);
	op->value = calloc(1, SYMLINK_LEN_MAX + 2);
	memset((void *)op->value, 'x', SYMLINK_LEN_MAX + 1);
	op->value_len = SYMLINK_LEN_MAX + 1;
	cr_assert_eq(rig_run(&r, op), -ENAMETOOLONG);
	op->value_len = SYMLINK_LEN_MAX;
	cr_assert_eq(rig_run(&r, op), 0);
	op_free(op);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "l")), 0);
	rig_reap(&r, NULL, NULL);
	cr_assert_eq(tree_readlink(r.tree, ino, buf, sizeof(buf), &len), -EINVAL);
}

Test(tree_names, device_numbers_are_kept)
{
	struct op *op = rig_op_create(ROOT_INO, "null", S_IFCHR | 0666);
	struct stat st;

	op->rdev = 1 << 8 | 3;
	cr_assert_eq(rig_run(&r, op), 0);
	inode_stat(&op->result, &st);
	cr_assert_eq(st.st_rdev, (1 << 8 | 3));
	op_free(op);
}

Test(tree_names, unlink_and_rmdir_mind_the_type_and_what_is_inside)
{
	uint64_t d = rig_create(&r, ROOT_INO, "d", S_IFDIR | 0755);
	struct op *op;

	rig_create(&r, ROOT_INO, "f", S_IFREG);
	rig_create(&r, d, "g", S_IFREG);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "d")), -EISDIR);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_RMDIR, ROOT_INO, "f")), -ENOTDIR);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_RMDIR, ROOT_INO, "d")), -ENOTEMPTY);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "x")), -ENOENT);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, d, "g")), 0);
	cr_assert_eq(rig_inode(&r, ROOT_INO).nlink, 3);
	op = rig_op_name(OP_RMDIR, ROOT_INO, "d");
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->orphan, d);
	op_free(op);
	cr_assert_eq(rig_inode(&r, ROOT_INO).nlink, 2);
	/* Somebody may still stand in it, but nothing can be made there. */
	cr_assert_eq(rig_inode(&r, d).nlink, 0);
	cr_assert_eq(create(d, "new", S_IFREG), -ENOENT);
	cr_assert_eq(rename_to(ROOT_INO, "f", d, "f", 0), -ENOENT);
}

Test(tree_names, hard_links_count_and_the_last_name_makes_an_orphan)
{
	uint64_t f = rig_create(&r, ROOT_INO, "f", S_IFREG | 0644);
	uint64_t d = rig_create(&r, ROOT_INO, "d", S_IFDIR | 0755);
	struct op *op = rig_op_link(f, d, "g");
	struct inode i;

	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->result.nlink, 2);
	op_free(op);
	cr_assert_eq(rig_do(&r, rig_op_link(f, d, "g")), -EEXIST);
	cr_assert_eq(rig_do(&r, rig_op_link(d, ROOT_INO, "e")), -EPERM);
	cr_assert_eq(rig_do(&r, rig_op_link(99, ROOT_INO, "e")), -ENOENT);
	op = rig_op_name(OP_UNLINK, ROOT_INO, "f");
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->orphan, 0);
	op_free(op);
	op = rig_op_name(OP_UNLINK, d, "g");
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->orphan, f);
	op_free(op);
	cr_assert_eq(rig_do(&r, rig_op_link(f, d, "h")), -ENOENT);
	cr_assert_eq(rig_reap(&r, NULL, NULL), 1);
	cr_assert_eq(tree_inode(r.tree, f, &i), -ENOENT);
}

Test(tree_names, a_file_has_at_most_so_many_names)
{
	uint64_t f = rig_create(&r, ROOT_INO, "f", S_IFREG | 0644);
	struct inode i = rig_inode(&r, f);
	uint8_t v[INODE_VALUE_SIZE_MAX];
	struct key k;
	size_t len;

	i.nlink = LINKS_MAX;
	key_ino(&k, KEY_INODE, f);
	len = inode_encode(&i, &k, v);
	txn_put(r.tree->txn, k.b, k.len, v, len);
	cr_assert_eq(rig_do(&r, rig_op_link(f, ROOT_INO, "g")), -EMLINK);
	i.nlink = 1;
	len = inode_encode(&i, &k, v);
	txn_put(r.tree->txn, k.b, k.len, v, len);
}

Test(tree_names, rename_moves_replaces_and_refuses_like_a_local_filesystem)
{
	uint64_t a = rig_create(&r, ROOT_INO, "a", S_IFDIR | 0755);
	uint64_t b = rig_create(&r, a, "b", S_IFDIR | 0755);
	uint64_t f = rig_create(&r, ROOT_INO, "f", S_IFREG | 0644);
	uint64_t g = rig_create(&r, ROOT_INO, "g", S_IFREG | 0644);
	struct inode i;
	struct op *op;

	cr_assert_eq(rename_to(ROOT_INO, "x", ROOT_INO, "y", 0), -ENOENT);
	cr_assert_eq(rename_to(ROOT_INO, "a", b, "c", 0), -EINVAL, "into itself");
	cr_assert_eq(rename_to(ROOT_INO, "a", a, "c", 0), -EINVAL);
	cr_assert_eq(rename_to(a, "b", ROOT_INO, "a", 0), -ENOTEMPTY);
	cr_assert_eq(rename_to(ROOT_INO, "f", ROOT_INO, "a", 0), -EISDIR);
	cr_assert_eq(rename_to(ROOT_INO, "a", ROOT_INO, "f", 0), -ENOTDIR);
	cr_assert_eq(rename_to(ROOT_INO, "f", ROOT_INO, "g", RENAME_NOREPLACE), -EEXIST);
	cr_assert_eq(rename_to(ROOT_INO, "f", ROOT_INO, "h", 4), -EINVAL);
	cr_assert_eq(rename_to(ROOT_INO, "f", ROOT_INO, "h", RENAME_EXCHANGE | RENAME_NOREPLACE),
		-EINVAL);
	cr_assert_eq(rename_to(ROOT_INO, "f", ROOT_INO, "f", 0), 0);
	op = rig_op_rename(ROOT_INO, "f", ROOT_INO, "g", 0);
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->orphan, g);
	op_free(op);
	cr_assert_eq(tree_lookup(r.tree, ROOT_INO, "g", &i), 0);
	cr_assert_eq(i.ino, f);
	cr_assert_eq(tree_lookup(r.tree, ROOT_INO, "f", &i), -ENOENT);
	/* A directory moves: the parents' link counts follow, and its own parent. */
	cr_assert_eq(rename_to(a, "b", ROOT_INO, "b", 0), 0);
	cr_assert_eq(rig_inode(&r, a).nlink, 2);
	cr_assert_eq(rig_inode(&r, ROOT_INO).nlink, 4);
	cr_assert_eq(rig_inode(&r, b).parent, ROOT_INO);
	/* An empty directory may be replaced by one. */
	op = rig_op_rename(ROOT_INO, "b", ROOT_INO, "a", 0);
	cr_assert_eq(rig_run(&r, op), 0);
	cr_assert_eq(op->orphan, a);
	op_free(op);
	cr_assert_eq(rig_inode(&r, ROOT_INO).nlink, 3);
	/* Two names of one file: nothing happens. */
	cr_assert_eq(rig_do(&r, rig_op_link(f, ROOT_INO, "g2")), 0);
	cr_assert_eq(rename_to(ROOT_INO, "g", ROOT_INO, "g2", 0), 0);
	cr_assert_eq(tree_lookup(r.tree, ROOT_INO, "g", &i), 0);
}

Test(tree_names, exchange_swaps_a_file_and_a_directory)
{
	uint64_t a = rig_create(&r, ROOT_INO, "a", S_IFDIR | 0755);
	uint64_t b = rig_create(&r, a, "b", S_IFDIR | 0755);
	uint64_t f = rig_create(&r, ROOT_INO, "f", S_IFREG | 0644);
	struct inode i;

	cr_assert_eq(rename_to(ROOT_INO, "f", ROOT_INO, "x", RENAME_EXCHANGE), -ENOENT);
	cr_assert_eq(rename_to(ROOT_INO, "a", a, "b", RENAME_EXCHANGE), -EINVAL);
	cr_assert_eq(rename_to(a, "b", ROOT_INO, "a", RENAME_EXCHANGE), -EINVAL);
	cr_assert_eq(rename_to(ROOT_INO, "f", a, "b", RENAME_EXCHANGE), 0);
	cr_assert_eq(tree_lookup(r.tree, a, "b", &i), 0);
	cr_assert_eq(i.ino, f);
	cr_assert_eq(tree_lookup(r.tree, ROOT_INO, "f", &i), 0);
	cr_assert_eq(i.ino, b);
	cr_assert_eq(i.parent, ROOT_INO);
	cr_assert_eq(rig_inode(&r, a).nlink, 2);
	cr_assert_eq(rig_inode(&r, ROOT_INO).nlink, 4);
}

struct seen {
	unsigned n, stop_after;
	uint64_t last;
	char first[32];
};

static int see(void *ctx, const char *name, uint64_t ino, uint32_t type, uint64_t cookie)
{
	struct seen *s = ctx;

	cr_assert_gt(cookie, s->last);
	if (!s->n)
		snprintf(s->first, sizeof(s->first), "%s", name);
	s->last = cookie;
	return ++s->n == s->stop_after;
}

Test(tree_names, readdir_goes_on_from_a_cookie_while_names_come_and_go)
{
	struct seen s = {.stop_after = 4};
	char name[16];

	for (unsigned i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		rig_create(&r, ROOT_INO, name, S_IFREG);
	}
	cr_assert_eq(tree_readdir(r.tree, ROOT_INO, 0, see, &s), 0);
	cr_assert_eq(s.n, 4);
	cr_assert_geq(s.last, FIRST_COOKIE);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "f3")), 0);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "f4")), 0);
	cr_assert_eq(create(ROOT_INO, "late", S_IFREG), 0);
	s.n = s.stop_after = 0;
	cr_assert_eq(tree_readdir(r.tree, ROOT_INO, s.last, see, &s), 0);
	cr_assert_str_eq(s.first, "f5");
	cr_assert_eq(s.n, 6);
	s.n = 0;
	cr_assert_eq(tree_readdir(r.tree, ROOT_INO, s.last, see, &s), 0);
	cr_assert_eq(s.n, 0);
}

Test(tree_names, inode_numbers_are_not_used_again)
{
	uint64_t f = rig_create(&r, ROOT_INO, "f", S_IFREG), g;

	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, "f")), 0);
	rig_reap(&r, NULL, NULL);
	g = rig_create(&r, ROOT_INO, "f", S_IFREG);
	cr_assert_gt(g, f);
}

Test(tree_names, entries_that_contradict_the_state_are_refused_and_nothing_is_written_after)
{
	struct entry e = {0};
	struct tree_info before, after;

	rig_create(&r, ROOT_INO, "f", S_IFREG);
	cr_assert_eq(tree_flush_txn(r.tree), 0);
	tree_info(r.tree, &before);
	e.h = r.log[0].h;
	e.body = r.log[0].body;
	cr_assert_eq(apply_entry(r.tree, &e, NULL), -EBADMSG, "the same seq again");
	e.h.seq++;
	cr_assert_eq(apply_entry(r.tree, &e, NULL), -EBADMSG, "the name exists");
	cr_assert_eq(tree_flush_txn(r.tree), -EIO);
	tree_info(r.tree, &after);
	cr_assert_eq(after.applied.seq, before.applied.seq);
	/* For the check at the end the store goes on with another tree. */
	tree_close(r.tree);
	cr_assert_eq(tree_open(r.store, &r.volume, &r.tree, NULL), 0);
}

Test(tree_names, only_an_empty_store_is_formatted_and_only_the_right_volume_opens)
{
	struct uuid other = {.b = "other"};
	struct tree *t = NULL;
	struct err e = {0};

	cr_assert_eq(tree_format(r.store, &other, 5, 1, 0755, 0, 0, &e), -EEXIST);
	cr_assert_eq(tree_open(r.store, &other, &t, &e), -EBADMSG);
	cr_assert(strstr(e.msg, "another volume"));
	cr_assert_eq(t, NULL);
}

Test(tree_names, a_directory_may_be_there_from_the_beginning)
{
	struct seen s = {0};
	struct err e = {0};

	tree_close(r.tree);
	cr_assert_eq(tree_format_directory(r.store, "data", &e), 0, "%s", e.msg);
	cr_assert_eq(tree_open(r.store, &r.volume, &r.tree, &e), 0);
	cr_assert_eq(tree_readdir(r.tree, ROOT_INO, 0, see, &s), 0);
	cr_assert_eq(s.n, 1);
	cr_assert_str_eq(s.first, "data");
	cr_assert_eq(create(ROOT_INO, "data", S_IFDIR | 0755), -EEXIST);
	cr_assert_eq(create(ROOT_INO + 1, "file", S_IFREG | 0644), 0);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_RMDIR, ROOT_INO, "data")), -ENOTEMPTY);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO + 1, "file")), 0);
	cr_assert_eq(rig_do(&r, rig_op_name(OP_RMDIR, ROOT_INO, "data")), 0);
}
