/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A walk over every run of data that some file maps, for whoever copies or verifies all data. Blocks in
 * an inode's dead ranges are left out: nobody will read them, and they may be punched already.
 *
 * Failure mode: a value that cannot be decoded, or a map without its inode, is damage (-EBADMSG).
 */
#include "tree_impl.h"

#include <string.h>

static int inode_get(struct tree *t, uint64_t ino, struct inode *ret_i)
{
	uint8_t v[INODE_VALUE_SIZE_MAX];
	struct key k;
	size_t len;
	int r;

	key_ino(&k, KEY_INODE, ino);
	r = store_get(t->store, k.b, k.len, v, sizeof(v), &len);
	if (r)
		return r == -ENOENT ? -EBADMSG : r;
	return len > sizeof(v) || inode_decode(ret_i, &k, v, len) ? -EBADMSG : 0;
}

static int chunk_runs(const struct chunk *c, uint64_t ino, uint64_t number,
	int (*fn)(void *ctx, uint64_t ino, const struct extent *x, const uint32_t *crcs), void *ctx)
{
	uint32_t crcs[CHUNK_BLOCKS];
	int r = 0;

	for (unsigned i = 0, len; i < CHUNK_BLOCKS && !r; i += len) {
		const struct chunk_block *b = &c->b[i];
		struct extent x = {.file_block = number * CHUNK_BLOCKS + i,
			.addr = {.block = b->block, .epoch = b->epoch},
			.birth = b->birth};

		len = 1;
		if (!b->epoch)
			continue;
		crcs[0] = b->crc;
		while (i + len < CHUNK_BLOCKS && b[len].epoch == b->epoch &&
			b[len].block == b->block + len && b[len].birth == b->birth &&
			b[len].block % DATA_SEGMENT_BLOCKS) {
			crcs[len] = b[len].crc;
			len++;
		}
		x.blocks = len;
		r = fn(ctx, ino, &x, crcs);
	}
	return r;
}

int tree_extents(struct tree *t,
	int (*fn)(void *ctx, uint64_t ino, const struct extent *x, const uint32_t *crcs), void *ctx)
{
	const char family = KEY_CHUNK;
	struct inode inode = {0};
	struct store_iter *it;
	int r = store_iter_new(t->store, &family, 1, NULL, 0, &it);

	if (r)
		return r;
	for (; store_iter_valid(it) && !r; store_iter_next(it)) {
		size_t klen, len;
		const uint8_t *k = store_iter_key(it, &klen), *v = store_iter_value(it, &len);
		struct chunk c;
		uint64_t ino, number;

		if (klen != KEY_HEAD + 8 || chunk_decode(&c, k, klen, v, len)) {
			r = -EBADMSG;
			break;
		}
		ino = key_get_ino(k);
		number = be64_get(k + KEY_HEAD);
		if (inode.ino != ino)
			r = inode_get(t, ino, &inode);
		if (r)
			break;
		chunk_purge(&c, &inode, number, NULL, NULL);
		r = chunk_runs(&c, ino, number, fn, ctx);
	}
	if (!r)
		r = store_iter_error(it);
	store_iter_free(it);
	return r;
}
