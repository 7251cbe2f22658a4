/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The name of an inode, for messages. Only directories know their parent, so the name of a file is found
 * by walking all directory entries: for the rare occasion, and for no thread that somebody waits for.
 *
 * Failure modes: no name leads to it (-ENOENT); there are so many entries that the walk is given up
 * (-E2BIG); damage in the metadata (-EBADMSG, -EIO). A path that is longer than the buffer begins with
 * "...".
 */
#include "tree_impl.h"

#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 4096u
#define WALK_MAX (8u << 20) /* entries */

/* The first entry that leads to ino, in the directory `dir` or (0) in any. */
static int find_entry(
	struct tree *t, uint64_t dir, uint64_t ino, uint64_t *ret_dir, char name[NAME_LEN_MAX + 1])
{
	struct store_iter *it;
	struct key prefix;
	unsigned n = 0;
	int r;

	key_ino(&prefix, KEY_COOKIE, dir);
	r = store_iter_new(t->store, prefix.b, dir ? prefix.len : 1, NULL, 0, &it);
	if (r)
		return r;
	for (r = -ENOENT; r == -ENOENT && store_iter_valid(it); store_iter_next(it)) {
		size_t klen, vlen, nlen;
		const uint8_t *k = store_iter_key(it, &klen), *v = store_iter_value(it, &vlen);
		struct dirent_value d;
		const char *bytes;

		if (n++ == WALK_MAX)
			r = -E2BIG;
		else if (cookie_decode(k, klen, v, vlen, &d, &bytes, &nlen))
			r = -EBADMSG;
		if (r != -ENOENT || d.ino != ino)
			continue;
		memcpy(name, bytes, nlen);
		name[nlen] = '\0';
		*ret_dir = key_get_ino(k);
		r = 0;
	}
	if (r == -ENOENT && store_iter_error(it))
		r = -EIO;
	store_iter_free(it);
	return r;
}

int tree_path(struct tree *t, uint64_t ino, char *buf, size_t size)
{
	size_t at = size - 1; /* the path grows towards the front */
	struct inode i;
	int r;

	ensure(size > NAME_LEN_MAX);
	buf[at] = '\0';
	for (unsigned depth = 0; ino != ROOT_INO; depth++) {
		char name[NAME_LEN_MAX + 1];
		size_t len;

		if (depth == DEPTH_MAX)
			return -EBADMSG;
		r = tree_inode(t, ino, &i);
		if (!r)
			r = find_entry(t, S_ISDIR(i.mode) ? i.parent : 0, ino, &ino, name);
		if (r)
			return r;
		len = strlen(name) + (at < size - 1);
		if (at < len + 4) { /* no room for more than the end of it */
			at -= 4;
			memcpy(buf + at, ".../", 4);
			break;
		}
		if (at < size - 1)
			buf[--at] = '/';
		at -= strlen(name);
		memcpy(buf + at, name, strlen(name));
	}
	if (at == size - 1)
		buf[--at] = '.';
	memmove(buf, buf + at, size - at);
	return 0;
}
