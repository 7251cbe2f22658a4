/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What FUSE workers read: inodes, names, maps, attributes. Any thread, straight from the store; may
 * wait for the disk, never for the peer. What is not yet committed is visible.
 *
 * An inode and its map are read one after the other, so a map may be newer than the inode. Nothing
 * worse follows than a hole where a truncation came in between, or an address that was punched
 * meanwhile: then the checksum does not match, and whoever reads looks up the map again.
 */
#include "tree_impl.h"

#include <string.h>
#include <unistd.h>

#include "acl.h"
#include "log.h"

#define VALUE_SIZE_MAX (XATTR_SIZE_MAX + PLAIN_OVERHEAD)

/* Damage in the store is an I/O error for whoever reads. */
static int reader_error(int r, const char *what, uint64_t ino)
{
	if (r != -EBADMSG && r != -EPROTONOSUPPORT)
		return r;
	log_error("%s of inode %llu is damaged", what, (unsigned long long)ino);
	return -EIO;
}

int tree_inode(struct tree *t, uint64_t ino, struct inode *ret_i)
{
	uint8_t v[INODE_VALUE_SIZE_MAX];
	struct inode i = {0};
	struct key k;
	size_t len;
	int r;

	key_ino(&k, KEY_INODE, ino);
	r = store_get(t->store, k.b, k.len, v, sizeof(v), &len);
	if (!r)
		r = len > sizeof(v) ? -EBADMSG : inode_decode(&i, &k, v, len);
	if (r)
		return reader_error(r, "the entry", ino);
	*ret_i = i;
	return 0;
}

int tree_lookup(struct tree *t, uint64_t parent, const char *name, struct inode *ret_i)
{
	size_t len, nlen = strnlen(name, NAME_LEN_MAX + 1);
	uint8_t v[DIRENT_VALUE_SIZE];
	struct dirent_value d;
	struct key k;
	int r;

	if (nlen > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	key_name(&k, KEY_DIRENT, parent, name, nlen);
	r = store_get(t->store, k.b, k.len, v, sizeof(v), &len);
	if (!r)
		r = len > sizeof(v) ? -EBADMSG : dirent_decode(&d, &k, v, len);
	if (r)
		return reader_error(r, "a name in the directory", parent);
	return tree_inode(t, d.ino, ret_i);
}

int tree_readdir(struct tree *t, uint64_t dir, uint64_t cookie,
	int (*fn)(void *ctx, const char *name, uint64_t ino, uint32_t type, uint64_t cookie),
	void *ctx)
{
	char text[NAME_LEN_MAX + 1];
	struct store_iter *it;
	struct key from;
	int r;

	if (cookie == UINT64_MAX)
		return 0;
	key_number(&from, KEY_COOKIE, dir, cookie + 1);
	r = store_iter_new(t->store, from.b, KEY_HEAD, from.b + KEY_HEAD, 8, &it);
	if (r)
		return r;
	for (; store_iter_valid(it); store_iter_next(it)) {
		size_t klen, vlen, nlen;
		const uint8_t *key = store_iter_key(it, &klen);
		const uint8_t *v = store_iter_value(it, &vlen);
		struct dirent_value d;
		const char *name;

		r = reader_error(
			cookie_decode(key, klen, v, vlen, &d, &name, &nlen), "a name", dir);
		if (r)
			break;
		memcpy(text, name, nlen);
		text[nlen] = 0;
		if (fn(ctx, text, d.ino, d.type, d.cookie))
			break;
	}
	if (!r)
		r = store_iter_error(it);
	store_iter_free(it);
	return r;
}

/* --- maps --- */

static int read_chunk(struct tree *t, uint64_t ino, uint64_t number, struct chunk *c)
{
	uint8_t v[CHUNK_VALUE_SIZE_MAX];
	struct key k;
	size_t len;
	int r;

	key_number(&k, KEY_CHUNK, ino, number);
	r = store_get(t->store, k.b, k.len, v, sizeof(v), &len);
	if (r == -ENOENT) {
		chunk_init(c);
		return 0;
	}
	if (!r)
		r = len > sizeof(v) ? -EBADMSG : chunk_decode(c, k.b, k.len, v, len);
	return reader_error(r, "a block map", ino);
}

/* Does the block go on where the extent ends, in the same segment? */
static bool extends(const struct extent *x, const struct chunk_block *b)
{
	if (x->addr.epoch != b->epoch)
		return false;
	if (!b->epoch)
		return true;
	return x->addr.block + x->blocks == b->block && b->block % DATA_SEGMENT_BLOCKS;
}

int tree_map(struct tree *t, const struct inode *i, uint64_t first, uint32_t blocks,
	struct extent *extents, unsigned max, uint32_t *crcs)
{
	struct chunk c;
	uint64_t loaded = UINT64_MAX;
	unsigned n = 0;

	for (uint32_t at = 0; at < blocks; at++) {
		uint64_t block = first + at;
		struct chunk_block b;

		if (block / CHUNK_BLOCKS != loaded) {
			int r = read_chunk(t, i->ino, block / CHUNK_BLOCKS, &c);

			if (r)
				return r;
			loaded = block / CHUNK_BLOCKS;
			chunk_purge(&c, i, loaded, NULL, NULL);
		}
		b = c.b[block % CHUNK_BLOCKS];
		if (!b.epoch)
			b = (struct chunk_block){0};
		if (crcs)
			crcs[at] = b.crc;
		if (n && extends(&extents[n - 1], &b)) {
			extents[n - 1].blocks++;
			extents[n - 1].birth = MAX(extents[n - 1].birth, b.birth);
			continue;
		}
		if (n == max)
			break;
		extents[n++] = (struct extent){.file_block = block,
			.blocks = 1,
			.addr = {.block = b.block, .epoch = b.epoch},
			.birth = b.birth};
	}
	return (int)n;
}

/* The first block from `block` on that is mapped, below `end`; `end` when there is none. */
static int next_data(
	struct tree *t, const struct inode *i, uint64_t block, uint64_t end, uint64_t *ret_block)
{
	struct store_iter *it;
	struct chunk c;
	struct key from;
	int r;

	*ret_block = end;
	key_number(&from, KEY_CHUNK, i->ino, block / CHUNK_BLOCKS);
	r = store_iter_new(t->store, from.b, KEY_HEAD, from.b + KEY_HEAD, 8, &it);
	if (r)
		return r;
	for (; store_iter_valid(it) && !r; store_iter_next(it)) {
		size_t klen, vlen;
		const uint8_t *key = store_iter_key(it, &klen);
		const uint8_t *v = store_iter_value(it, &vlen);
		uint64_t n, b;

		r = reader_error(chunk_decode(&c, key, klen, v, vlen), "a block map", i->ino);
		if (r)
			break;
		n = be64_get(key + KEY_HEAD);
		if (n * CHUNK_BLOCKS >= end)
			break;
		chunk_purge(&c, i, n, NULL, NULL);
		b = block > n * CHUNK_BLOCKS ? block - n * CHUNK_BLOCKS : 0;
		while (b < CHUNK_BLOCKS && !c.b[b].epoch)
			b++;
		if (b < CHUNK_BLOCKS) {
			*ret_block = MIN(n * CHUNK_BLOCKS + b, end);
			break;
		}
	}
	if (!r)
		r = store_iter_error(it);
	store_iter_free(it);
	return r;
}

static int next_hole(
	struct tree *t, const struct inode *i, uint64_t block, uint64_t end, uint64_t *ret_block)
{
	struct chunk c;

	for (; block < end; block++) {
		int r;

		if (block % CHUNK_BLOCKS == 0 || block == *ret_block) {
			r = read_chunk(t, i->ino, block / CHUNK_BLOCKS, &c);
			if (r)
				return r;
			chunk_purge(&c, i, block / CHUNK_BLOCKS, NULL, NULL);
		}
		if (!c.b[block % CHUNK_BLOCKS].epoch)
			break;
	}
	*ret_block = block;
	return 0;
}

int tree_seek(struct tree *t, const struct inode *i, uint64_t off, int whence, uint64_t *ret_off)
{
	uint64_t end = (i->size + BLOCK_SIZE - 1) / BLOCK_SIZE, block = off / BLOCK_SIZE,
		 found = block;
	int r;

	if (off >= i->size)
		return -ENXIO;
	switch (whence) {
	case SEEK_DATA:
		r = next_data(t, i, block, end, &found);
		if (!r && found == end)
			return -ENXIO;
		break;
	case SEEK_HOLE:
		r = next_hole(t, i, block, end, &found);
		break;
	default:
		return -EINVAL;
	}
	if (!r)
		*ret_off = found == block ? off : MIN(found * BLOCK_SIZE, i->size);
	return r;
}

/* --- attributes, symlinks --- */

static int read_plain(struct tree *t, const struct key *k, void *buf, size_t size, size_t *ret_len)
{
	uint8_t small[4096 + PLAIN_OVERHEAD], *v = small;
	const uint8_t *bytes;
	size_t len, n;
	int r = store_get(t->store, k->b, k->len, small, sizeof(small), &len);

	if (!r && len > sizeof(small)) {
		uint8_t large[VALUE_SIZE_MAX];

		r = store_get(t->store, k->b, k->len, large, sizeof(large), &len);
		if (!r)
			r = len > sizeof(large) ? -EBADMSG
						: plain_decode(k, large, len, &bytes, &n);
		if (!r)
			memcpy(buf, bytes, MIN(n, size));
	} else if (!r) {
		r = plain_decode(k, v, len, &bytes, &n);
		if (!r && MIN(n, size))
			memcpy(buf, bytes, MIN(n, size));
	}
	if (r)
		return reader_error(r, "an attribute", key_get_ino(k->b));
	*ret_len = n;
	return 0;
}

int tree_xattr_get(
	struct tree *t, uint64_t ino, const char *name, void *buf, size_t size, size_t *ret_len)
{
	size_t nlen = strnlen(name, XATTR_NAME_MAX + 1);
	struct key k;
	int r;

	if (nlen > XATTR_NAME_MAX)
		return -ERANGE;
	key_name(&k, KEY_XATTR, ino, name, nlen);
	r = read_plain(t, &k, buf, size, ret_len);
	if (r == -ENOENT)
		return -ENODATA;
	return r ? r : size && *ret_len > size ? -ERANGE : 0;
}

int tree_xattr_list(struct tree *t, uint64_t ino, char *buf, size_t size, size_t *ret_len)
{
	struct store_iter *it;
	struct key prefix;
	size_t used = 0;
	int r;

	key_ino(&prefix, KEY_XATTR, ino);
	r = store_iter_new(t->store, prefix.b, prefix.len, NULL, 0, &it);
	if (r)
		return r;
	for (; store_iter_valid(it); store_iter_next(it)) {
		size_t klen;
		const uint8_t *key = store_iter_key(it, &klen);

		klen -= KEY_HEAD;
		if (used + klen + 1 <= size) {
			memcpy(buf + used, key + KEY_HEAD, klen);
			buf[used + klen] = 0;
		}
		used += klen + 1;
	}
	r = store_iter_error(it);
	store_iter_free(it);
	if (r)
		return r;
	*ret_len = used;
	return size && used > size ? -ERANGE : 0;
}

int tree_readlink(struct tree *t, uint64_t ino, char *buf, size_t size, size_t *ret_len)
{
	struct key k;
	int r;

	key_ino(&k, KEY_SYMLINK, ino);
	r = read_plain(t, &k, buf, size, ret_len);
	return r == -ENOENT ? -EINVAL : r;
}
