/* SPDX-License-Identifier: Apache-2.0 */
/* The codecs of keys and values; keys.h has the tables. Pure. */
#include "keys.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "check.h"
#include "crc32c.h"
#include "le.h"

#define VERSION 1u

uint64_t be64_get(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return be64toh(v);
}

static void be64_put(uint8_t *p, uint64_t v)
{
	v = htobe64(v);
	memcpy(p, &v, sizeof(v));
}

void key_super(struct key *k)
{
	k->b[0] = KEY_SUPER;
	k->len = 1;
}

void key_ino(struct key *k, char family, uint64_t ino)
{
	k->b[0] = (uint8_t)family;
	be64_put(k->b + 1, ino);
	k->len = KEY_HEAD;
}

void key_name(struct key *k, char family, uint64_t ino, const char *name, size_t len)
{
	ensure(len <= KEY_SIZE_MAX - KEY_HEAD);
	key_ino(k, family, ino);
	memcpy(k->b + KEY_HEAD, name, len);
	k->len += len;
}

void key_number(struct key *k, char family, uint64_t ino, uint64_t number)
{
	key_ino(k, family, ino);
	be64_put(k->b + KEY_HEAD, number);
	k->len += 8;
}

static uint32_t value_crc(const uint8_t *key, size_t klen, const uint8_t *v, size_t n)
{
	return crc32c(crc32c(0, key, klen), v, n);
}

size_t value_seal(const struct key *k, uint8_t *v, size_t n)
{
	v[0] = VERSION;
	le32_put(v + n, value_crc(k->b, k->len, v, n));
	return n + 4;
}

int value_check(const uint8_t *key, size_t klen, const uint8_t *v, size_t len, size_t len_min)
{
	if (len < 5 || le32_get(v + len - 4) != value_crc(key, klen, v, len - 4))
		return -EBADMSG;
	if (v[0] != VERSION)
		return -EPROTONOSUPPORT;
	return len < len_min ? -EBADMSG : 0;
}

size_t super_encode(const struct super *s, const struct key *k, uint8_t *v)
{
	memset(v, 0, SUPER_VALUE_SIZE);
	memcpy(v + 8, s->volume.b, sizeof(s->volume.b));
	le64_put(v + 24, s->size_blocks);
	le64_put(v + 32, s->used_blocks);
	le64_put(v + 40, s->inodes);
	le64_put(v + 48, s->next_ino);
	le64_put(v + 56, s->applied.seq);
	le64_put(v + 64, s->applied_epoch.id);
	le32_put(v + 72, s->applied_epoch.num);
	le32_put(v + 76, s->applied.chain);
	le64_put(v + 80, s->data_seq);
	return value_seal(k, v, SUPER_VALUE_SIZE - 4);
}

int super_decode(struct super *s, const struct key *k, const uint8_t *v, size_t len)
{
	int r = value_check(k->b, k->len, v, len, SUPER_VALUE_SIZE);

	if (r)
		return r;
	if (len != SUPER_VALUE_SIZE)
		return -EBADMSG;
	memcpy(s->volume.b, v + 8, sizeof(s->volume.b));
	s->size_blocks = le64_get(v + 24);
	s->used_blocks = le64_get(v + 32);
	s->inodes = le64_get(v + 40);
	s->next_ino = le64_get(v + 48);
	s->applied.seq = le64_get(v + 56);
	s->applied_epoch.id = le64_get(v + 64);
	s->applied_epoch.num = le32_get(v + 72);
	s->applied.chain = le32_get(v + 76);
	s->data_seq = le64_get(v + 80);
	return 0;
}

size_t inode_encode(const struct inode *i, const struct key *k, uint8_t *v)
{
	uint8_t *p = v + 116;

	v[1] = (uint8_t)((i->has_caps ? 1 : 0) | (i->has_acl ? 2 : 0));
	v[2] = (uint8_t)i->ndead;
	v[3] = 0;
	le32_put(v + 4, i->mode);
	le32_put(v + 8, i->uid);
	le32_put(v + 12, i->gid);
	le32_put(v + 16, i->nlink);
	le32_put(v + 20, i->rdev);
	le64_put(v + 24, i->size);
	le64_put(v + 32, i->blocks);
	le64_put(v + 40, i->atime_ns);
	le64_put(v + 48, i->mtime_ns);
	le64_put(v + 56, i->ctime_ns);
	le64_put(v + 64, i->btime_ns);
	le64_put(v + 72, i->parent);
	le64_put(v + 80, i->next_cookie);
	le64_put(v + 88, i->entries);
	le32_put(v + 96, i->xattrs);
	le32_put(v + 100, i->xattr_name_bytes);
	memset(v + 104, 0, 12);
	for (unsigned d = 0; d < i->ndead; d++, p += 24) {
		le64_put(p, i->dead[d].seq);
		le64_put(p + 8, i->dead[d].from);
		le64_put(p + 16, i->dead[d].to);
	}
	return value_seal(k, v, (size_t)(p - v));
}

int inode_decode(struct inode *i, const struct key *k, const uint8_t *v, size_t len)
{
	const uint8_t *p = v + 116;
	int r = value_check(k->b, k->len, v, len, 120);

	if (r)
		return r;
	if (v[1] > 3 || v[2] > DEAD_RANGES_MAX || len != 120 + 24 * (size_t)v[2])
		return -EBADMSG;
	i->ino = key_get_ino(k->b);
	i->has_caps = v[1] & 1;
	i->has_acl = v[1] & 2;
	i->ndead = v[2];
	i->mode = le32_get(v + 4);
	i->uid = le32_get(v + 8);
	i->gid = le32_get(v + 12);
	i->nlink = le32_get(v + 16);
	i->rdev = le32_get(v + 20);
	i->size = le64_get(v + 24);
	i->blocks = le64_get(v + 32);
	i->atime_ns = le64_get(v + 40);
	i->mtime_ns = le64_get(v + 48);
	i->ctime_ns = le64_get(v + 56);
	i->btime_ns = le64_get(v + 64);
	i->parent = le64_get(v + 72);
	i->next_cookie = le64_get(v + 80);
	i->entries = le64_get(v + 88);
	i->xattrs = le32_get(v + 96);
	i->xattr_name_bytes = le32_get(v + 100);
	i->has_xattrs = i->xattrs > 0;
	for (unsigned d = 0; d < i->ndead; d++, p += 24) {
		i->dead[d].seq = le64_get(p);
		i->dead[d].from = le64_get(p + 8);
		i->dead[d].to = le64_get(p + 16);
	}
	return 0;
}

size_t dirent_encode(const struct dirent_value *d, const struct key *k, uint8_t *v)
{
	v[1] = d->type;
	v[2] = v[3] = 0;
	le64_put(v + 4, d->ino);
	le64_put(v + 12, d->cookie);
	return value_seal(k, v, DIRENT_VALUE_SIZE - 4);
}

int dirent_decode(struct dirent_value *d, const struct key *k, const uint8_t *v, size_t len)
{
	int r = value_check(k->b, k->len, v, len, DIRENT_VALUE_SIZE);

	if (r)
		return r;
	if (len != DIRENT_VALUE_SIZE)
		return -EBADMSG;
	d->type = v[1];
	d->ino = le64_get(v + 4);
	d->cookie = le64_get(v + 12);
	return 0;
}

size_t cookie_encode(
	uint64_t ino, uint8_t type, const char *name, size_t nlen, const struct key *k, uint8_t *v)
{
	v[1] = type;
	v[2] = v[3] = 0;
	le64_put(v + 4, ino);
	memcpy(v + 12, name, nlen);
	return value_seal(k, v, 12 + nlen);
}

int cookie_decode(const uint8_t *key, size_t klen, const uint8_t *v, size_t len,
	struct dirent_value *d, const char **ret_name, size_t *ret_nlen)
{
	int r = klen == KEY_HEAD + 8 ? value_check(key, klen, v, len, 17) : -EBADMSG;

	if (r)
		return r;
	if (len > COOKIE_VALUE_SIZE_MAX)
		return -EBADMSG;
	d->type = v[1];
	d->ino = le64_get(v + 4);
	d->cookie = be64_get(key + KEY_HEAD);
	*ret_name = (const char *)v + 12;
	*ret_nlen = len - 16;
	return 0;
}

size_t plain_encode(const void *bytes, size_t n, const struct key *k, uint8_t *v)
{
	v[1] = v[2] = v[3] = 0;
	if (n)
		memcpy(v + 4, bytes, n);
	return value_seal(k, v, 4 + n);
}

int plain_decode(
	const struct key *k, const uint8_t *v, size_t len, const uint8_t **ret_bytes, size_t *ret_n)
{
	int r = value_check(k->b, k->len, v, len, PLAIN_OVERHEAD);

	if (r)
		return r;
	*ret_bytes = v + 4;
	*ret_n = len - PLAIN_OVERHEAD;
	return 0;
}
