/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The state itself: format, open, the superblock, and the ways in which single values are read and
 * written. The superblock lives in memory and goes into each transaction once, when it is written,
 * so the applied position is in the same WriteBatch as the changes it stands for.
 *
 * Failure modes: an entry that fails halfway marks the tree broken; its transaction is then never
 * written, and the process starts again from what is flushed.
 */
#include "tree_impl.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"

#define FORMAT_FLUSH_S 60 /* seconds; longer and the disk is beyond use */

/* --- format and open --- */

static int flush_wait(struct store *s, struct err *e)
{
	struct timespec pause = {.tv_nsec = 1000 * 1000};
	uint64_t until = clock_mono_ns() + FORMAT_FLUSH_S * NS_PER_S;

	if (store_flush_begin(s))
		return err_set(e, -EIO, "metadata store: the first flush failed");
	while (!store_flush_done(s)) {
		if (store_failed(s, e))
			return -EIO;
		if (clock_mono_ns() > until)
			return err_set(e, -EIO, "metadata store: the first flush does not end");
		nanosleep(&pause, NULL);
	}
	return 0;
}

int tree_format(struct store *s, const struct uuid *volume, uint64_t size_blocks, uint64_t time_ns,
	uint32_t root_mode, uint32_t root_uid, uint32_t root_gid, struct err *e)
{
	struct super sb = {.volume = *volume,
		.size_blocks = size_blocks,
		.inodes = 1,
		.next_ino = ROOT_INO + 1};
	struct inode root = {.ino = ROOT_INO,
		.mode = S_IFDIR | (root_mode & 07777),
		.uid = root_uid,
		.gid = root_gid,
		.nlink = 2,
		.atime_ns = time_ns,
		.mtime_ns = time_ns,
		.ctime_ns = time_ns,
		.btime_ns = time_ns,
		.parent = ROOT_INO,
		.next_cookie = FIRST_COOKIE};
	uint8_t v[INODE_VALUE_SIZE_MAX];
	struct txn *x;
	struct key k;
	size_t len;
	int r;

	key_super(&k);
	r = store_get(s, k.b, k.len, v, sizeof(v), &len);
	if (r != -ENOENT)
		return err_set(e, r ? r : -EEXIST, "metadata store: %s",
			r ? "cannot be read" : "it is formatted already");
	x = txn_new(s);
	len = super_encode(&sb, &k, v);
	txn_put(x, k.b, k.len, v, len);
	key_ino(&k, KEY_INODE, ROOT_INO);
	len = inode_encode(&root, &k, v);
	txn_put(x, k.b, k.len, v, len);
	r = txn_write(x);
	txn_free(x);
	if (r)
		return err_set(e, r, "metadata store: cannot be written");
	return flush_wait(s, e);
}

static int birth_get(struct store *s, const struct key *k, uint8_t *v, size_t size, size_t *ret_len,
	struct err *e)
{
	int r = store_get(s, k->b, k->len, v, size, ret_len);

	return r ? err_set(e, r, "metadata store: what was formatted cannot be read") : 0;
}

int tree_format_directory(struct store *s, const char *name, struct err *e)
{
	size_t nlen = strlen(name), len;
	uint8_t v[COOKIE_VALUE_SIZE_MAX > INODE_VALUE_SIZE_MAX ? COOKIE_VALUE_SIZE_MAX
							       : INODE_VALUE_SIZE_MAX];
	struct dirent_value d;
	struct inode root, dir;
	struct super sb;
	struct key ks, kr, k;
	struct txn *x;
	int r;

	key_super(&ks);
	key_ino(&kr, KEY_INODE, ROOT_INO);
	r = birth_get(s, &ks, v, sizeof(v), &len, e);
	if (!r)
		r = super_decode(&sb, &ks, v, len);
	if (!r)
		r = birth_get(s, &kr, v, sizeof(v), &len, e);
	if (!r)
		r = inode_decode(&root, &kr, v, len);
	if (r)
		return r;
	ensure(nlen && nlen <= NAME_LEN_MAX && sb.inodes == 1 && !root.entries);
	dir = root;
	dir.ino = sb.next_ino++;
	dir.parent = ROOT_INO;
	sb.inodes++;
	d = (struct dirent_value){
		.ino = dir.ino, .cookie = root.next_cookie++, .type = (uint8_t)(S_IFDIR >> 12)};
	root.entries++;
	root.nlink++;
	x = txn_new(s);
	txn_put(x, ks.b, ks.len, v, super_encode(&sb, &ks, v));
	txn_put(x, kr.b, kr.len, v, inode_encode(&root, &kr, v));
	key_ino(&k, KEY_INODE, dir.ino);
	txn_put(x, k.b, k.len, v, inode_encode(&dir, &k, v));
	key_name(&k, KEY_DIRENT, ROOT_INO, name, nlen);
	txn_put(x, k.b, k.len, v, dirent_encode(&d, &k, v));
	key_number(&k, KEY_COOKIE, ROOT_INO, d.cookie);
	txn_put(x, k.b, k.len, v, cookie_encode(dir.ino, d.type, name, nlen, &k, v));
	r = txn_write(x);
	txn_free(x);
	return r ? err_set(e, r, "metadata store: cannot be written") : flush_wait(s, e);
}

int tree_open(struct store *s, const struct uuid *volume, struct tree **ret_t, struct err *e)
{
	uint8_t v[SUPER_VALUE_SIZE];
	struct super sb;
	struct tree *t;
	struct key k;
	size_t len;
	int r;

	key_super(&k);
	r = store_get(s, k.b, k.len, v, sizeof(v), &len);
	if (r)
		return err_set(e, r, "metadata store: %s",
			r == -ENOENT ? "it is not formatted" : "cannot be read");
	r = super_decode(&sb, &k, v, len);
	if (r == -EPROTONOSUPPORT)
		return err_set(
			e, r, "metadata store: its superblock is of a newer version (%u)", v[0]);
	if (r)
		return err_set(e, r, "metadata store: its superblock is damaged");
	if (!uuid_equal(&sb.volume, volume))
		return err_set(e, -EBADMSG, "metadata store: it belongs to another volume");
	t = calloc(1, sizeof(*t));
	ensure(t);
	t->store = s;
	t->sb = sb;
	t->txn = txn_new(s);
	t->scratch = malloc(BODY_SIZE_MAX);
	ensure(t->scratch);
	r = freed_open(t);
	if (r) {
		tree_close(t);
		return err_set(e, r, "metadata store: its list of free blocks cannot be read");
	}
	*ret_t = t;
	return 0;
}

void tree_close(struct tree *t)
{
	if (!t)
		return;
	txn_free(t->txn);
	garbage_free(&t->garbage);
	free(t->freed.runs);
	free(t->scratch);
	free(t);
}

void tree_info(const struct tree *t, struct tree_info *ret_i)
{
	ret_i->size_blocks = SB_GET(t, size_blocks);
	ret_i->used_blocks = SB_GET(t, used_blocks);
	ret_i->inodes = SB_GET(t, inodes);
	ret_i->next_ino = SB_GET(t, next_ino);
	ret_i->applied.seq = SB_GET(t, applied.seq);
	ret_i->applied.chain = SB_GET(t, applied.chain);
	ret_i->applied_epoch.id = SB_GET(t, applied_epoch.id);
	ret_i->applied_epoch.num = SB_GET(t, applied_epoch.num);
	ret_i->data_seq = SB_GET(t, data_seq);
}

int tree_flush_txn(struct tree *t)
{
	uint8_t v[SUPER_VALUE_SIZE];
	struct key k;

	if (t->broken)
		return -EIO;
	if (t->sb_dirty) {
		key_super(&k);
		txn_put(t->txn, k.b, k.len, v, super_encode(&t->sb, &k, v));
		t->sb_dirty = false;
	}
	return txn_dirty(t->txn) ? txn_write(t->txn) : 0;
}

void tree_set_data_seq(struct tree *t, uint64_t seq)
{
	SB_SET(t, data_seq, seq);
	t->sb_dirty = true;
}

int tree_persisted(struct tree *t, struct pos *ret_pos, uint64_t *ret_data_seq)
{
	uint8_t v[SUPER_VALUE_SIZE];
	struct super sb;
	struct key k;
	size_t len;
	int r;

	key_super(&k);
	r = store_get_persisted(t->store, k.b, k.len, v, sizeof(v), &len);
	if (!r)
		r = super_decode(&sb, &k, v, len);
	if (r)
		return r;
	*ret_pos = sb.applied;
	if (ret_data_seq)
		*ret_data_seq = sb.data_seq;
	return 0;
}

/* --- reading single values --- */

static int damaged(int r)
{
	return r == -EPROTONOSUPPORT ? -EBADMSG : r;
}

int view_get(struct view *v, const struct key *k, const uint8_t **ret_v, size_t *ret_len)
{
	if (v->p)
		return store_preload_get(v->p, k->b, k->len, ret_v, ret_len);
	return txn_get(v->t->txn, k->b, k->len, ret_v, ret_len);
}

int view_inode(struct view *v, uint64_t ino, struct inode *ret_i)
{
	const uint8_t *p;
	struct key k;
	size_t len;
	int r;

	key_ino(&k, KEY_INODE, ino);
	r = view_get(v, &k, &p, &len);
	return r ? r : damaged(inode_decode(ret_i, &k, p, len));
}

int view_dirent(
	struct view *v, uint64_t parent, const char *name, size_t nlen, struct dirent_value *ret_d)
{
	const uint8_t *p;
	struct key k;
	size_t len;
	int r;

	key_name(&k, KEY_DIRENT, parent, name, nlen);
	r = view_get(v, &k, &p, &len);
	return r ? r : damaged(dirent_decode(ret_d, &k, p, len));
}

int view_xattr(struct view *v, uint64_t ino, const char *name, size_t nlen, const uint8_t **ret_v,
	size_t *ret_len)
{
	const uint8_t *p;
	struct key k;
	size_t len;
	int r;

	key_name(&k, KEY_XATTR, ino, name, nlen);
	r = view_get(v, &k, &p, &len);
	return r ? r : damaged(plain_decode(&k, p, len, ret_v, ret_len));
}

int view_chunk(struct view *v, uint64_t ino, uint64_t number, struct chunk *ret_c)
{
	const uint8_t *p;
	struct key k;
	size_t len;
	int r;

	key_number(&k, KEY_CHUNK, ino, number);
	r = view_get(v, &k, &p, &len);
	if (r == -ENOENT) {
		chunk_init(ret_c);
		return 0;
	}
	return r ? r : damaged(chunk_decode(ret_c, k.b, k.len, p, len));
}

/* --- writing single values --- */

void put_inode(struct tree *t, const struct inode *i)
{
	uint8_t v[INODE_VALUE_SIZE_MAX];
	struct key k;

	key_ino(&k, KEY_INODE, i->ino);
	txn_put(t->txn, k.b, k.len, v, inode_encode(i, &k, v));
}

void put_dirent(struct tree *t, uint64_t parent, const char *name, size_t nlen, uint64_t ino,
	uint32_t mode, uint64_t cookie)
{
	struct dirent_value d = {
		.ino = ino, .cookie = cookie, .type = (uint8_t)((mode & S_IFMT) >> 12)};
	uint8_t v[COOKIE_VALUE_SIZE_MAX];
	struct key k;

	key_name(&k, KEY_DIRENT, parent, name, nlen);
	txn_put(t->txn, k.b, k.len, v, dirent_encode(&d, &k, v));
	key_number(&k, KEY_COOKIE, parent, cookie);
	txn_put(t->txn, k.b, k.len, v, cookie_encode(ino, d.type, name, nlen, &k, v));
}

void delete_dirent(struct tree *t, uint64_t parent, const char *name, size_t nlen, uint64_t cookie)
{
	struct key k;

	key_name(&k, KEY_DIRENT, parent, name, nlen);
	txn_delete(t->txn, k.b, k.len);
	key_number(&k, KEY_COOKIE, parent, cookie);
	txn_delete(t->txn, k.b, k.len);
}

void put_plain(struct tree *t, const struct key *k, const void *bytes, size_t n)
{
	uint8_t small[512], *v = small;

	if (n + PLAIN_OVERHEAD > sizeof(small)) {
		v = malloc(n + PLAIN_OVERHEAD);
		ensure(v);
	}
	txn_put(t->txn, k->b, k->len, v, plain_encode(bytes, n, k, v));
	if (v != small)
		free(v);
}

void put_seq(struct tree *t, char family, uint64_t ino, uint64_t seq)
{
	uint64_t le = htole64(seq);
	struct key k;

	key_ino(&k, family, ino);
	put_plain(t, &k, &le, sizeof(le));
}

void delete_ino(struct tree *t, char family, uint64_t ino)
{
	struct key k;

	key_ino(&k, family, ino);
	txn_delete(t->txn, k.b, k.len);
}

void put_chunk(struct tree *t, uint64_t ino, uint64_t number, const struct chunk *c)
{
	uint8_t v[CHUNK_VALUE_SIZE_MAX];
	struct key k;
	size_t len;

	key_number(&k, KEY_CHUNK, ino, number);
	len = chunk_encode(c, &k, v);
	if (len)
		txn_put(t->txn, k.b, k.len, v, len);
	else
		txn_delete(t->txn, k.b, k.len);
}
