/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec of entry bodies; body.h has the tables. Decoders believe nothing: a body that was built
 * by another build, or that a defect wrote, must end in -EBADMSG and not in a wild change. Pure.
 */
#include "body.h"

#include <errno.h>

#include "bytes.h"
#include "check.h"

#define UNLINK_LAST 1u
#define RENAME_FLAG_EXCHANGE 1u
#define RENAME_FLAG_VICTIM_LAST 2u
#define FILE_BLOCKS_MAX (FILE_SIZE_MAX / BLOCK_SIZE)

bool name_valid(const char *name, size_t len)
{
	if (!len || len > NAME_LEN_MAX || memchr(name, '/', len) || memchr(name, 0, len))
		return false;
	return !(name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')));
}

static const char *take_name(struct bytes *b, size_t len)
{
	const char *p = bytes_take(b, len);

	if (p && !name_valid(p, len))
		b->bad = true;
	return p;
}

static bool ends(const struct bytes *b)
{
	return !b->bad && b->at == b->len;
}

static uint64_t get_ino(struct bytes *b)
{
	uint64_t ino = bytes_get64(b);

	if (!ino)
		b->bad = true;
	return ino;
}

/* --- attributes --- */

static void put_xattrs(struct bytes *b, const struct body_xattrs *xs)
{
	for (unsigned i = 0; i < xs->n; i++) {
		const struct body_xattr *x = &xs->x[i];

		bytes_put8(b, x->remove ? 2 : 1);
		bytes_put8(b, x->nlen);
		bytes_put_zero(b, 2);
		bytes_put32(b, x->vlen);
		bytes_put_mem(b, x->name, x->nlen);
		bytes_put_mem(b, x->value, x->vlen);
	}
}

static void get_xattrs(struct bytes *b, unsigned n, struct body_xattrs *xs)
{
	if (n > BODY_XATTRS_MAX)
		b->bad = true;
	for (unsigned i = 0; i < n && !b->bad; i++) {
		struct body_xattr *x = &xs->x[i];
		uint8_t op = bytes_get8(b);

		x->nlen = bytes_get8(b);
		bytes_get_zero(b, 2);
		x->vlen = bytes_get32(b);
		x->remove = op == 2;
		x->name = bytes_take(b, x->nlen);
		x->value = bytes_take(b, x->vlen);
		if (op < 1 || op > 2 || !x->nlen || x->vlen > XATTR_SIZE_MAX ||
			(x->remove && x->vlen) || (x->name && memchr(x->name, 0, x->nlen)))
			b->bad = true;
	}
	xs->n = n;
}

/* --- names --- */

size_t body_encode_create(const struct body_create *c, uint8_t *buf)
{
	struct bytes b = bytes_of(buf, BODY_SIZE_MAX);

	bytes_put64(&b, c->time_ns);
	bytes_put64(&b, c->parent);
	bytes_put64(&b, c->cookie);
	bytes_put64(&b, c->ino);
	bytes_put32(&b, c->mode);
	bytes_put32(&b, c->uid);
	bytes_put32(&b, c->gid);
	bytes_put32(&b, c->rdev);
	bytes_put8(&b, c->nlen);
	bytes_put8(&b, (uint8_t)c->xattrs.n);
	bytes_put16(&b, c->tlen);
	bytes_put_zero(&b, 4);
	bytes_put_mem(&b, c->name, c->nlen);
	bytes_put_mem(&b, c->target, c->tlen);
	put_xattrs(&b, &c->xattrs);
	ensure(!b.bad);
	return b.at;
}

int body_decode_create(const void *body, size_t len, struct body_create *c)
{
	struct bytes b = bytes_of(body, len);
	uint8_t nx;

	c->time_ns = bytes_get64(&b);
	c->parent = get_ino(&b);
	c->cookie = get_ino(&b);
	c->ino = get_ino(&b);
	c->mode = bytes_get32(&b);
	c->uid = bytes_get32(&b);
	c->gid = bytes_get32(&b);
	c->rdev = bytes_get32(&b);
	c->nlen = bytes_get8(&b);
	nx = bytes_get8(&b);
	c->tlen = bytes_get16(&b);
	bytes_get_zero(&b, 4);
	c->name = take_name(&b, c->nlen);
	c->target = bytes_take(&b, c->tlen);
	get_xattrs(&b, nx, &c->xattrs);
	if (!ends(&b) || c->mode & ~(uint32_t)(S_IFMT | 07777) || c->ino == c->parent ||
		c->cookie == UINT64_MAX || c->ino == UINT64_MAX)
		return -EBADMSG;
	switch (c->mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return c->tlen ? -EBADMSG : 0;
	case S_IFLNK:
		return c->tlen && c->tlen <= SYMLINK_LEN_MAX && !memchr(c->target, 0, c->tlen)
			       ? 0
			       : -EBADMSG;
	default:
		return -EBADMSG;
	}
}

size_t body_encode_unlink(const struct body_unlink *u, uint8_t *buf)
{
	struct bytes b = bytes_of(buf, BODY_SIZE_MAX);

	bytes_put64(&b, u->time_ns);
	bytes_put64(&b, u->parent);
	bytes_put64(&b, u->ino);
	bytes_put64(&b, u->cookie);
	bytes_put8(&b, u->last ? UNLINK_LAST : 0);
	bytes_put8(&b, u->nlen);
	bytes_put_zero(&b, 6);
	bytes_put_mem(&b, u->name, u->nlen);
	ensure(!b.bad);
	return b.at;
}

int body_decode_unlink(const void *body, size_t len, struct body_unlink *u)
{
	struct bytes b = bytes_of(body, len);
	uint8_t flags;

	u->time_ns = bytes_get64(&b);
	u->parent = get_ino(&b);
	u->ino = get_ino(&b);
	u->cookie = get_ino(&b);
	flags = bytes_get8(&b);
	u->last = flags & UNLINK_LAST;
	u->nlen = bytes_get8(&b);
	bytes_get_zero(&b, 6);
	u->name = take_name(&b, u->nlen);
	return ends(&b) && flags <= UNLINK_LAST && u->ino != u->parent ? 0 : -EBADMSG;
}

size_t body_encode_link(const struct body_link *l, uint8_t *buf)
{
	struct bytes b = bytes_of(buf, BODY_SIZE_MAX);

	bytes_put64(&b, l->time_ns);
	bytes_put64(&b, l->newparent);
	bytes_put64(&b, l->ino);
	bytes_put64(&b, l->cookie);
	bytes_put8(&b, 0);
	bytes_put8(&b, l->nlen);
	bytes_put_zero(&b, 6);
	bytes_put_mem(&b, l->name, l->nlen);
	ensure(!b.bad);
	return b.at;
}

int body_decode_link(const void *body, size_t len, struct body_link *l)
{
	struct bytes b = bytes_of(body, len);

	l->time_ns = bytes_get64(&b);
	l->newparent = get_ino(&b);
	l->ino = get_ino(&b);
	l->cookie = get_ino(&b);
	bytes_get_zero(&b, 1);
	l->nlen = bytes_get8(&b);
	bytes_get_zero(&b, 6);
	l->name = take_name(&b, l->nlen);
	return ends(&b) && l->ino != l->newparent && l->cookie != UINT64_MAX ? 0 : -EBADMSG;
}

size_t body_encode_rename(const struct body_rename *r, uint8_t *buf)
{
	struct bytes b = bytes_of(buf, BODY_SIZE_MAX);

	bytes_put64(&b, r->time_ns);
	bytes_put64(&b, r->parent);
	bytes_put64(&b, r->newparent);
	bytes_put64(&b, r->ino);
	bytes_put64(&b, r->cookie);
	bytes_put64(&b, r->newcookie);
	bytes_put64(&b, r->victim);
	bytes_put64(&b, r->victim_cookie);
	bytes_put8(&b, (uint8_t)((r->exchange ? RENAME_FLAG_EXCHANGE : 0) |
				 (r->victim_last ? RENAME_FLAG_VICTIM_LAST : 0)));
	bytes_put8(&b, r->nlen);
	bytes_put8(&b, r->newnlen);
	bytes_put_zero(&b, 5);
	bytes_put_mem(&b, r->name, r->nlen);
	bytes_put_mem(&b, r->newname, r->newnlen);
	ensure(!b.bad);
	return b.at;
}

int body_decode_rename(const void *body, size_t len, struct body_rename *r)
{
	struct bytes b = bytes_of(body, len);
	uint8_t flags;

	r->time_ns = bytes_get64(&b);
	r->parent = get_ino(&b);
	r->newparent = get_ino(&b);
	r->ino = get_ino(&b);
	r->cookie = get_ino(&b);
	r->newcookie = get_ino(&b);
	r->victim = bytes_get64(&b);
	r->victim_cookie = bytes_get64(&b);
	flags = bytes_get8(&b);
	r->exchange = flags & RENAME_FLAG_EXCHANGE;
	r->victim_last = flags & RENAME_FLAG_VICTIM_LAST;
	r->nlen = bytes_get8(&b);
	r->newnlen = bytes_get8(&b);
	bytes_get_zero(&b, 5);
	r->name = take_name(&b, r->nlen);
	r->newname = take_name(&b, r->newnlen);
	if (!ends(&b) || flags > (RENAME_FLAG_EXCHANGE | RENAME_FLAG_VICTIM_LAST))
		return -EBADMSG;
	if (r->ino == r->parent || r->ino == r->newparent || r->victim == r->ino ||
		r->victim == r->parent || r->victim == r->newparent || r->newcookie == UINT64_MAX)
		return -EBADMSG;
	if (r->exchange && (!r->victim || r->victim_cookie || r->victim_last))
		return -EBADMSG;
	if (!r->exchange && !r->victim != !r->victim_cookie)
		return -EBADMSG;
	if (!r->victim && r->victim_last)
		return -EBADMSG;
	if (r->parent == r->newparent && r->nlen == r->newnlen &&
		!memcmp(r->name, r->newname, r->nlen))
		return -EBADMSG;
	return 0;
}

/* --- change --- */

size_t body_encode_change(const struct body_change *c, uint8_t *buf)
{
	struct bytes b = bytes_of(buf, BODY_SIZE_MAX);

	bytes_put64(&b, c->ino);
	bytes_put16(&b, c->flags);
	bytes_put16(&b, c->mask);
	bytes_put8(&b, (uint8_t)c->xattrs.n);
	bytes_put8(&b, c->flags & BODY_DEAD ? (uint8_t)c->ndead : 0);
	bytes_put8(&b, c->flags & BODY_DATA ? (uint8_t)c->nruns : 0);
	bytes_put8(&b, 0);
	bytes_put32(&b, c->mask & BODY_SET_MODE ? c->mode & 07777 : 0);
	bytes_put32(&b, c->mask & BODY_SET_UID ? c->uid : 0);
	bytes_put32(&b, c->mask & BODY_SET_GID ? c->gid : 0);
	bytes_put32(&b, 0);
	bytes_put64(&b, c->mask & BODY_SET_SIZE ? c->size : 0);
	bytes_put64(&b, c->mask & BODY_SET_ATIME ? c->atime_ns : 0);
	bytes_put64(&b, c->mask & BODY_SET_MTIME ? c->mtime_ns : 0);
	bytes_put64(&b, c->mask & BODY_SET_CTIME ? c->ctime_ns : 0);
	if (c->flags & BODY_DEAD) {
		for (unsigned i = 0; i < c->ndead; i++) {
			bytes_put64(&b, c->dead[i].seq);
			bytes_put64(&b, c->dead[i].from);
			bytes_put64(&b, c->dead[i].to);
		}
	}
	if (c->flags & BODY_HOLE) {
		bytes_put64(&b, c->hole_from);
		bytes_put64(&b, c->hole_to);
	}
	if (c->flags & BODY_DATA) {
		bytes_put64(&b, c->addr.block);
		bytes_put32(&b, c->addr.epoch);
		bytes_put32(&b, c->blocks);
		bytes_put32(&b, c->flags & BODY_EXTERNAL ? c->payload_crc : 0);
		bytes_put32(&b, 0);
		for (unsigned i = 0; i < c->nruns; i++) {
			bytes_put64(&b, c->runs[i].file_block);
			bytes_put32(&b, c->runs[i].blocks);
			bytes_put32(&b, 0);
		}
		bytes_put_mem(&b, c->crcs, 4 * (size_t)c->blocks);
	}
	put_xattrs(&b, &c->xattrs);
	ensure(!b.bad);
	return b.at;
}

static void get_dead(struct bytes *b, struct body_change *c)
{
	for (unsigned i = 0; i < c->ndead && !b->bad; i++) {
		struct dead_range *d = &c->dead[i];

		d->seq = bytes_get64(b);
		d->from = bytes_get64(b);
		d->to = bytes_get64(b);
		if (d->from >= d->to || (i && d->seq <= c->dead[i - 1].seq))
			b->bad = true;
	}
}

static void get_hole(struct bytes *b, struct body_change *c)
{
	c->hole_from = bytes_get64(b);
	c->hole_to = bytes_get64(b);
	if (c->hole_from >= c->hole_to || c->hole_to > FILE_BLOCKS_MAX ||
		(c->hole_to - 1) / CHUNK_BLOCKS - c->hole_from / CHUNK_BLOCKS >= HOLE_CHUNKS_MAX)
		b->bad = true;
}

static void get_data(struct bytes *b, struct body_change *c)
{
	uint64_t sum = 0;

	c->addr.block = bytes_get64(b);
	c->addr.epoch = bytes_get32(b);
	c->blocks = bytes_get32(b);
	c->payload_crc = bytes_get32(b);
	bytes_get_zero(b, 4);
	if (!c->addr.epoch || !c->blocks || c->blocks > BODY_BLOCKS_MAX || !c->nruns ||
		c->nruns > BODY_RUNS_MAX || c->addr.block > UINT64_MAX / BLOCK_SIZE - c->blocks ||
		c->addr.block / DATA_SEGMENT_BLOCKS !=
			(c->addr.block + c->blocks - 1) / DATA_SEGMENT_BLOCKS ||
		(!(c->flags & BODY_EXTERNAL) && c->payload_crc))
		b->bad = true;
	for (unsigned i = 0; i < c->nruns && !b->bad; i++) {
		struct body_run *r = &c->runs[i];

		r->file_block = bytes_get64(b);
		r->blocks = bytes_get32(b);
		bytes_get_zero(b, 4);
		sum += r->blocks;
		if (!r->blocks || r->file_block > FILE_BLOCKS_MAX ||
			r->file_block + r->blocks > FILE_BLOCKS_MAX ||
			(i && r->file_block < c->runs[i - 1].file_block + c->runs[i - 1].blocks))
			b->bad = true;
	}
	if (sum != c->blocks)
		b->bad = true;
	c->crcs = bytes_take(b, b->bad ? 0 : 4 * (size_t)c->blocks);
}

int body_decode_change(const void *body, size_t len, struct body_change *c)
{
	struct bytes b = bytes_of(body, len);
	uint8_t nx;

	c->ino = get_ino(&b);
	c->flags = bytes_get16(&b);
	c->mask = bytes_get16(&b);
	nx = bytes_get8(&b);
	c->ndead = bytes_get8(&b);
	c->nruns = bytes_get8(&b);
	bytes_get_zero(&b, 1);
	c->mode = bytes_get32(&b);
	c->uid = bytes_get32(&b);
	c->gid = bytes_get32(&b);
	bytes_get_zero(&b, 4);
	c->size = bytes_get64(&b);
	c->atime_ns = bytes_get64(&b);
	c->mtime_ns = bytes_get64(&b);
	c->ctime_ns = bytes_get64(&b);
	if (c->flags > 15 || c->mask > 127 || c->ndead > DEAD_RANGES_MAX || c->mode > 07777 ||
		c->size > FILE_SIZE_MAX)
		return -EBADMSG;
	if ((!(c->flags & BODY_DEAD) && c->ndead) || (!(c->flags & BODY_DATA) && c->nruns) ||
		(c->flags & (BODY_DATA | BODY_EXTERNAL)) == BODY_EXTERNAL)
		return -EBADMSG;
	c->payload = NULL;
	c->addr = (struct addr){0};
	c->blocks = 0;
	if (c->flags & BODY_DEAD)
		get_dead(&b, c);
	if (c->flags & BODY_HOLE)
		get_hole(&b, c);
	if (c->flags & BODY_DATA)
		get_data(&b, c);
	get_xattrs(&b, nx, &c->xattrs);
	if ((c->flags & (BODY_DATA | BODY_EXTERNAL)) == BODY_DATA)
		c->payload = bytes_take(&b, b.bad ? 0 : (size_t)c->blocks * BLOCK_SIZE);
	return ends(&b) ? 0 : -EBADMSG;
}

/* --- reap --- */

size_t body_encode_reap(const struct body_reap *r, uint8_t *buf)
{
	struct bytes b = bytes_of(buf, BODY_SIZE_MAX);

	bytes_put16(&b, (uint16_t)r->n);
	bytes_put_zero(&b, 6);
	for (unsigned i = 0; i < r->n; i++) {
		const struct body_reap_item *it = &r->items[i];

		bytes_put64(&b, it->ino);
		bytes_put8(&b, it->flags);
		bytes_put8(&b, 0);
		bytes_put16(&b, it->nchunks);
		bytes_put16(&b, it->nnames);
		bytes_put_zero(&b, 2);
		if (it->flags & REAP_DROP) {
			bytes_put64(&b, it->drop.seq);
			bytes_put64(&b, it->drop.from);
			bytes_put64(&b, it->drop.to);
		}
		bytes_put_mem(&b, it->chunks, 8 * (size_t)it->nchunks);
		bytes_put_mem(&b, it->names, it->names_size);
	}
	ensure(!b.bad);
	return b.at;
}

static void get_names(struct bytes *b, struct body_reap_item *it)
{
	size_t start = b->at;

	it->names = b->bad ? NULL : b->p + b->at;
	for (unsigned i = 0; i < it->nnames && !b->bad; i++) {
		uint8_t len = bytes_get8(b);

		if (!len)
			b->bad = true;
		bytes_take(b, len);
	}
	it->names_size = b->bad ? 0 : b->at - start;
}

static bool reap_flags_valid(uint8_t f)
{
	return f == 0 || f == REAP_DROP || f == REAP_ORPHAN || f == (REAP_ORPHAN | REAP_LAST);
}

int body_decode_reap(const void *body, size_t len, struct body_reap *r)
{
	struct bytes b = bytes_of(body, len);
	unsigned chunks = 0, names = 0;

	r->n = bytes_get16(&b);
	bytes_get_zero(&b, 6);
	if (!r->n || r->n > REAP_ITEMS_MAX)
		return -EBADMSG;
	for (unsigned i = 0; i < r->n && !b.bad; i++) {
		struct body_reap_item *it = &r->items[i];

		it->ino = get_ino(&b);
		it->flags = bytes_get8(&b);
		bytes_get_zero(&b, 1);
		it->nchunks = bytes_get16(&b);
		it->nnames = bytes_get16(&b);
		bytes_get_zero(&b, 2);
		if (it->flags & REAP_DROP) {
			it->drop.seq = bytes_get64(&b);
			it->drop.from = bytes_get64(&b);
			it->drop.to = bytes_get64(&b);
		}
		it->chunks = bytes_take(&b, 8 * (size_t)it->nchunks);
		get_names(&b, it);
		chunks += it->nchunks;
		names += it->nnames;
		if (!reap_flags_valid(it->flags) || (it->nnames && !(it->flags & REAP_LAST)))
			b.bad = true;
	}
	return ends(&b) && chunks <= REAP_CHUNKS_MAX && names <= REAP_NAMES_MAX ? 0 : -EBADMSG;
}
