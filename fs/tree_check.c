/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checking the whole state: one pass over the inodes builds a table in memory, one over each other
 * family of keys is compared with it, and what must add up is added up in the end. Nothing is
 * repaired. The state must not change meanwhile.
 *
 * Memory: about a hundred bytes an inode and sixteen for each run of mapped blocks.
 */
#include "tree_impl.h"

#include <endian.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "acl.h"
#include "le.h"

struct node {
	struct inode i;
	uint64_t names; /* directory entries that lead here */
	uint64_t in_dir; /* the directory of the last of them */
	uint64_t entries; /* names in it */
	uint64_t subdirs;
	uint64_t cookies;
	uint64_t mapped; /* blocks, dead ones too */
	uint32_t xattrs, xattr_name_bytes;
	bool orphan, garbage, symlink, caps, acl;
	uint8_t colour; /* of the walk to the root: 0 unknown, 1 on the way, 2 reaches it */
};

struct run {
	uint64_t block;
	uint32_t epoch, blocks;
};

struct check {
	struct tree *t;
	struct tree_check *c;
	struct node *nodes; /* by inode number, as the keys are */
	size_t n, size;
	struct run *runs;
	size_t nruns, runs_size;
	uint64_t ino; /* whose extents are told to c->extent */
};

static void problem(struct check *k, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void problem(struct check *k, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	k->c->problems++;
	if (!k->c->problem)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	k->c->problem(k->c->ctx, text);
}

static struct node *find_node(struct check *k, uint64_t ino)
{
	size_t lo = 0, hi = k->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (k->nodes[mid].i.ino < ino)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < k->n && k->nodes[lo].i.ino == ino ? &k->nodes[lo] : NULL;
}

/* Calls fn for each key of a family; the key is at most KEY_SIZE_MAX long. */
static int each(struct check *k, char family,
	void (*fn)(struct check *k, const struct key *key, const uint8_t *v, size_t len))
{
	struct store_iter *it;
	int r = store_iter_new(k->t->store, &family, 1, NULL, 0, &it);

	if (r)
		return r;
	for (; store_iter_valid(it); store_iter_next(it)) {
		size_t klen, len;
		const uint8_t *p = store_iter_key(it, &klen);
		const uint8_t *v = store_iter_value(it, &len);
		struct key key = {.len = klen};

		if (klen < KEY_HEAD || klen > KEY_SIZE_MAX) {
			problem(k, "a key of family '%c' has %zu bytes", family, klen);
			continue;
		}
		memcpy(key.b, p, klen);
		fn(k, &key, v, len);
	}
	r = store_iter_error(it);
	store_iter_free(it);
	return r;
}

static unsigned long long ull(uint64_t v)
{
	return v;
}

/* --- the passes --- */

static void pass_inode(struct check *k, const struct key *key, const uint8_t *v, size_t len)
{
	struct node *n;

	if (k->n == k->size) {
		k->size = k->size ? 2 * k->size : 1024;
		k->nodes = realloc(k->nodes, k->size * sizeof(*k->nodes));
		ensure(k->nodes);
	}
	n = &k->nodes[k->n];
	memset(n, 0, sizeof(*n));
	if (key->len != KEY_HEAD || inode_decode(&n->i, key, v, len)) {
		problem(k, "inode %llu is damaged", ull(key_get_ino(key->b)));
		return;
	}
	k->n++;
	k->c->inodes++;
	if (n->i.ino >= k->t->sb.next_ino)
		problem(k, "inode %llu is not below the next inode number %llu", ull(n->i.ino),
			ull(k->t->sb.next_ino));
	if (n->i.size > FILE_SIZE_MAX)
		problem(k, "inode %llu: its size %llu is too large", ull(n->i.ino), ull(n->i.size));
	for (unsigned d = 0; d < n->i.ndead; d++)
		if (n->i.dead[d].from >= n->i.dead[d].to ||
			n->i.dead[d].seq > k->t->sb.applied.seq ||
			(d && n->i.dead[d].seq <= n->i.dead[d - 1].seq))
			problem(k, "inode %llu: dead range %u makes no sense", ull(n->i.ino), d);
}

static void pass_dirent(struct check *k, const struct key *key, const uint8_t *v, size_t len)
{
	uint64_t parent = key_get_ino(key->b);
	const char *name = (const char *)key->b + KEY_HEAD;
	int nlen = (int)(key->len - KEY_HEAD);
	struct node *dir = find_node(k, parent), *n;
	uint8_t mirror[COOKIE_VALUE_SIZE_MAX];
	struct dirent_value d, other;
	const char *other_name;
	struct key ck;
	size_t mlen, onlen;

	k->c->dirents++;
	if (dirent_decode(&d, key, v, len) || !name_valid(name, (size_t)nlen)) {
		problem(k, "a name in directory %llu is damaged: '%.*s'", ull(parent), nlen, name);
		return;
	}
	if (!dir || !S_ISDIR(dir->i.mode)) {
		problem(k, "name '%.*s' is in %llu, which is no directory", nlen, name,
			ull(parent));
		return;
	}
	dir->entries++;
	if (d.cookie < FIRST_COOKIE || d.cookie >= dir->i.next_cookie)
		problem(k, "name '%.*s' in %llu: cookie %llu is out of range", nlen, name,
			ull(parent), ull(d.cookie));
	key_number(&ck, KEY_COOKIE, parent, d.cookie);
	if (store_get(k->t->store, ck.b, ck.len, mirror, sizeof(mirror), &mlen) ||
		mlen > sizeof(mirror) ||
		cookie_decode(ck.b, ck.len, mirror, mlen, &other, &other_name, &onlen) ||
		other.ino != d.ino || other.type != d.type || onlen != (size_t)nlen ||
		memcmp(other_name, name, onlen) != 0)
		problem(k, "name '%.*s' in %llu is not at its cookie %llu", nlen, name, ull(parent),
			ull(d.cookie));
	n = find_node(k, d.ino);
	if (!n) {
		problem(k, "name '%.*s' in %llu leads to inode %llu, which does not exist", nlen,
			name, ull(parent), ull(d.ino));
		return;
	}
	n->names++;
	n->in_dir = parent;
	if (d.type != (n->i.mode & S_IFMT) >> 12)
		problem(k, "name '%.*s' in %llu has another type than inode %llu", nlen, name,
			ull(parent), ull(d.ino));
	if (S_ISDIR(n->i.mode))
		dir->subdirs++;
}

static void pass_cookie(struct check *k, const struct key *key, const uint8_t *v, size_t len)
{
	struct node *dir = find_node(k, key_get_ino(key->b));
	struct dirent_value d;
	const char *name;
	size_t nlen;

	if (cookie_decode(key->b, key->len, v, len, &d, &name, &nlen))
		problem(k, "a cookie of directory %llu is damaged", ull(key_get_ino(key->b)));
	else if (!dir)
		problem(k, "cookie %llu belongs to directory %llu, which does not exist",
			ull(d.cookie), ull(key_get_ino(key->b)));
	else
		dir->cookies++;
}

static void pass_xattr(struct check *k, const struct key *key, const uint8_t *v, size_t len)
{
	struct node *n = find_node(k, key_get_ino(key->b));
	const char *name = (const char *)key->b + KEY_HEAD;
	size_t nlen = key->len - KEY_HEAD, size;
	const uint8_t *bytes;

	if (plain_decode(key, v, len, &bytes, &size)) {
		problem(k, "an attribute of inode %llu is damaged", ull(key_get_ino(key->b)));
		return;
	}
	if (!n) {
		problem(k, "an attribute belongs to inode %llu, which does not exist",
			ull(key_get_ino(key->b)));
		return;
	}
	n->xattrs++;
	n->xattr_name_bytes += (uint32_t)nlen + 1;
	if (nlen == strlen("security.capability") && !memcmp(name, "security.capability", nlen))
		n->caps = true;
	if (nlen == strlen(ACL_ACCESS) && !memcmp(name, ACL_ACCESS, nlen)) {
		uint32_t perms;

		n->acl = true;
		if (!acl_valid(bytes, size))
			problem(k, "inode %llu: its access list is malformed", ull(n->i.ino));
		else if (acl_mode(bytes, size, &perms) || perms != (n->i.mode & 0777))
			problem(k, "inode %llu: mode %03o and access list differ", ull(n->i.ino),
				n->i.mode & 0777);
	}
}

static void pass_symlink(struct check *k, const struct key *key, const uint8_t *v, size_t len)
{
	struct node *n = find_node(k, key_get_ino(key->b));
	const uint8_t *bytes;
	size_t size;

	if (plain_decode(key, v, len, &bytes, &size))
		problem(k, "the target of symlink %llu is damaged", ull(key_get_ino(key->b)));
	else if (!n || !S_ISLNK(n->i.mode) || n->i.size != size)
		problem(k, "a target belongs to inode %llu, which is no such symlink",
			ull(key_get_ino(key->b)));
	if (n)
		n->symlink = true;
}

static void add_run(struct check *k, const struct chunk_block *b)
{
	struct run *last = k->nruns ? &k->runs[k->nruns - 1] : NULL;

	if (last && last->epoch == b->epoch && last->block + last->blocks == b->block) {
		last->blocks++;
		return;
	}
	if (k->nruns == k->runs_size) {
		k->runs_size = k->runs_size ? 2 * k->runs_size : 1024;
		k->runs = realloc(k->runs, k->runs_size * sizeof(*k->runs));
		ensure(k->runs);
	}
	k->runs[k->nruns++] = (struct run){.block = b->block, .epoch = b->epoch, .blocks = 1};
}

/* Tells the caller each live run of the chunk, cut at the border of a data segment. */
static void tell_extents(
	struct check *k, const struct node *n, const struct chunk *c, uint64_t number)
{
	uint32_t crcs[CHUNK_BLOCKS];

	for (unsigned i = 0, len; i < CHUNK_BLOCKS; i += len) {
		const struct chunk_block *b = &c->b[i];
		struct extent x;

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
		x = (struct extent){.file_block = number * CHUNK_BLOCKS + i,
			.blocks = len,
			.addr = {.block = b->block, .epoch = b->epoch},
			.birth = b->birth};
		k->c->extents++;
		if (k->c->extent && k->c->extent(k->c->ctx, n->i.ino, &x, crcs))
			problem(k, "inode %llu: the data of blocks %llu+%u is damaged",
				ull(n->i.ino), ull(x.file_block), x.blocks);
	}
}

static void pass_chunk(struct check *k, const struct key *key, const uint8_t *v, size_t len)
{
	struct node *n = find_node(k, key_get_ino(key->b));
	uint64_t number, end;
	struct chunk c;

	if (key->len != KEY_HEAD + 8 || chunk_decode(&c, key->b, key->len, v, len)) {
		problem(k, "a block map of inode %llu is damaged", ull(key_get_ino(key->b)));
		return;
	}
	number = be64_get(key->b + KEY_HEAD);
	if (!n || !S_ISREG(n->i.mode)) {
		problem(k, "a block map belongs to inode %llu, which is no file",
			ull(key_get_ino(key->b)));
		return;
	}
	n->mapped += c.mapped;
	for (unsigned i = 0; i < CHUNK_BLOCKS; i++) {
		if (!c.b[i].epoch)
			continue;
		add_run(k, &c.b[i]);
		if (c.b[i].birth > k->t->sb.applied.seq)
			problem(k, "inode %llu: block %llu was born at %llu, in the future",
				ull(n->i.ino), ull(number * CHUNK_BLOCKS + i), ull(c.b[i].birth));
	}
	chunk_purge(&c, &n->i, number, NULL, NULL);
	end = (n->i.size + BLOCK_SIZE - 1) / BLOCK_SIZE;
	for (unsigned i = 0; i < CHUNK_BLOCKS; i++)
		if (c.b[i].epoch && number * CHUNK_BLOCKS + i >= end)
			problem(k, "inode %llu: block %llu is mapped behind its end", ull(n->i.ino),
				ull(number * CHUNK_BLOCKS + i));
	tell_extents(k, n, &c, number);
}

static void pass_orphan(struct check *k, const struct key *key, const uint8_t *v, size_t len)
{
	struct node *n = find_node(k, key_get_ino(key->b));
	const uint8_t *bytes;
	size_t size;

	k->c->orphans++;
	if (plain_decode(key, v, len, &bytes, &size) || size != 8)
		problem(k, "the note on orphan %llu is damaged", ull(key_get_ino(key->b)));
	if (!n)
		problem(k, "orphan %llu does not exist", ull(key_get_ino(key->b)));
	else
		n->orphan = true;
}

static void pass_garbage(struct check *k, const struct key *key, const uint8_t *v, size_t len)
{
	struct node *n = find_node(k, key_get_ino(key->b));
	const uint8_t *bytes;
	size_t size;

	if (plain_decode(key, v, len, &bytes, &size) || size != 8)
		problem(k, "the note on dead ranges of %llu is damaged", ull(key_get_ino(key->b)));
	if (!n)
		problem(k, "dead ranges of inode %llu, which does not exist",
			ull(key_get_ino(key->b)));
	else
		n->garbage = true;
}

/* --- adding up --- */

static void sum_dir(struct check *k, const struct node *n)
{
	unsigned long long ino = ull(n->i.ino);

	if (n->i.entries != n->entries || n->cookies != n->entries)
		problem(k, "directory %llu: %llu names, %llu cookies, but it says %llu", ino,
			ull(n->entries), ull(n->cookies), ull(n->i.entries));
	if (n->i.nlink && n->i.nlink != 2 + n->subdirs)
		problem(k, "directory %llu: link count %u with %llu directories in it", ino,
			n->i.nlink, ull(n->subdirs));
	if (n->i.nlink && n->i.ino != ROOT_INO && (n->names != 1 || n->in_dir != n->i.parent))
		problem(k, "directory %llu: %llu names, in %llu; its parent is %llu", ino,
			ull(n->names), ull(n->in_dir), ull(n->i.parent));
	if (!n->i.nlink && n->names)
		problem(k, "directory %llu is deleted but has a name", ino);
}

static void sum_node(struct check *k, const struct node *n)
{
	const struct inode *i = &n->i;

	if (S_ISDIR(i->mode))
		sum_dir(k, n);
	else if (i->nlink != n->names)
		problem(k, "inode %llu: link count %u, but %llu names", ull(i->ino), i->nlink,
			ull(n->names));
	if (!S_ISDIR(i->mode) && (n->entries || n->cookies))
		problem(k, "inode %llu has names in it but is no directory", ull(i->ino));
	if (n->orphan != (i->nlink == 0))
		problem(k, "inode %llu: link count %u, %s", ull(i->ino), i->nlink,
			n->orphan ? "but noted as an orphan" : "but not noted as an orphan");
	if (n->garbage != (i->ndead > 0))
		problem(k, "inode %llu: %u dead ranges, %s", ull(i->ino), i->ndead,
			n->garbage ? "but noted" : "but not noted");
	if (n->symlink != S_ISLNK(i->mode))
		problem(k, "inode %llu: its symlink target is missing", ull(i->ino));
	if (i->blocks != n->mapped)
		problem(k, "inode %llu: %llu blocks mapped, but it says %llu", ull(i->ino),
			ull(n->mapped), ull(i->blocks));
	if (i->xattrs != n->xattrs || i->xattr_name_bytes != n->xattr_name_bytes)
		problem(k, "inode %llu: %u attributes, but it says %u", ull(i->ino), n->xattrs,
			i->xattrs);
	if (i->has_caps != n->caps || i->has_acl != n->acl)
		problem(k, "inode %llu: its flags do not fit its attributes", ull(i->ino));
}

/* Follows parents to the root; a directory that was deleted ends the walk as well. */
static void check_reaches_root(struct check *k, struct node *start)
{
	struct node *n = start;

	while (n && !n->colour && n->i.ino != ROOT_INO && n->i.nlink) {
		n->colour = 1;
		n = find_node(k, n->i.parent);
	}
	if (!n || n->colour == 1)
		problem(k, "directory %llu does not lead to the root", ull(start->i.ino));
	for (n = start; n && n->colour == 1; n = find_node(k, n->i.parent))
		n->colour = 2;
}

static int run_compare(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	if (x->epoch != y->epoch)
		return x->epoch < y->epoch ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

/* A free run must not be mapped; the mapped ones are in order by now. */
static int check_free_run(void *ctx, struct addr a, uint32_t blocks)
{
	struct check *k = ctx;
	size_t lo = 0, hi = k->nruns;

	while (lo < hi) { /* the first run that ends behind a */
		size_t mid = (lo + hi) / 2;
		const struct run *x = &k->runs[mid];

		if (x->epoch < a.epoch || (x->epoch == a.epoch && x->block + x->blocks <= a.block))
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < k->nruns && k->runs[lo].epoch == a.epoch && k->runs[lo].block < a.block + blocks)
		problem(k, "data block %llu of epoch %u is mapped, and noted as free",
			ull(MAX(a.block, k->runs[lo].block)), a.epoch);
	return 0;
}

static void pass_freed(struct check *k, const struct key *key, const uint8_t *v, size_t len)
{
	if (freed_decode(key, v, len, check_free_run, k))
		problem(k, "a list of free blocks is damaged");
}

static void check_overlaps(struct check *k)
{
	if (k->nruns)
		qsort(k->runs, k->nruns, sizeof(*k->runs), run_compare);
	for (size_t n = 1; n < k->nruns; n++) {
		const struct run *a = &k->runs[n - 1], *b = &k->runs[n];

		if (a->epoch == b->epoch && a->block + a->blocks > b->block)
			problem(k, "data block %llu of epoch %u is mapped twice", ull(b->block),
				b->epoch);
	}
}

static void sum_up(struct check *k)
{
	uint64_t blocks = 0;

	for (size_t n = 0; n < k->n; n++) {
		sum_node(k, &k->nodes[n]);
		blocks += k->nodes[n].mapped;
		if (S_ISDIR(k->nodes[n].i.mode))
			check_reaches_root(k, &k->nodes[n]);
	}
	if (!find_node(k, ROOT_INO))
		problem(k, "there is no root directory");
	if (k->n != k->t->sb.inodes)
		problem(k, "%zu inodes, but the superblock says %llu", k->n, ull(k->t->sb.inodes));
	if (blocks != k->t->sb.used_blocks)
		problem(k, "%llu blocks mapped, but the superblock says %llu", ull(blocks),
			ull(k->t->sb.used_blocks));
	check_overlaps(k);
}

int tree_check(struct tree *t, struct tree_check *c)
{
	struct check k = {.t = t, .c = c};
	int r = tree_flush_txn(t);

	c->inodes = c->dirents = c->extents = c->orphans = c->problems = 0;
	if (!r)
		r = each(&k, KEY_INODE, pass_inode);
	if (!r)
		r = each(&k, KEY_DIRENT, pass_dirent);
	if (!r)
		r = each(&k, KEY_COOKIE, pass_cookie);
	if (!r)
		r = each(&k, KEY_XATTR, pass_xattr);
	if (!r)
		r = each(&k, KEY_SYMLINK, pass_symlink);
	if (!r)
		r = each(&k, KEY_CHUNK, pass_chunk);
	if (!r)
		r = each(&k, KEY_ORPHAN, pass_orphan);
	if (!r)
		r = each(&k, KEY_GARBAGE, pass_garbage);
	if (!r) {
		sum_up(&k);
		r = each(&k, KEY_FREED, pass_freed);
	}
	free(k.nodes);
	free(k.runs);
	return r;
}

/* --- digest --- */

struct lanes {
	uint64_t h[4];
};

/* Four independent 64-bit multiplicative hashes over the same words. */
static void lanes_add(struct lanes *l, const uint8_t *p, size_t n)
{
	static const uint64_t prime[4] = {0x9e3779b97f4a7c15ull, 0xc2b2ae3d27d4eb4full,
		0x165667b19e3779f9ull, 0xd6e8feb86659fd93ull};

	for (size_t at = 0; at <= n; at += 8) { /* the last word also says how long it was */
		uint64_t w = (uint64_t)n << 56;

		memcpy(&w, p + at, MIN(n - at, (size_t)8));
		w = le64toh(w);
		for (unsigned i = 0; i < 4; i++) {
			l->h[i] = (l->h[i] ^ w) * prime[i];
			l->h[i] ^= l->h[i] >> (29 + i);
		}
	}
}

int tree_digest(struct tree *t, uint8_t ret_sha[32])
{
	struct lanes l = {.h = {1, 2, 3, 4}};
	struct store_iter *it;
	uint8_t v[SUPER_VALUE_SIZE];
	struct super sb;
	struct key k;
	int r = tree_flush_txn(t);

	if (!r)
		r = store_iter_new(t->store, NULL, 0, NULL, 0, &it);
	if (r)
		return r;
	for (; store_iter_valid(it); store_iter_next(it)) {
		size_t klen, len;
		const uint8_t *key = store_iter_key(it, &klen);
		const uint8_t *value = store_iter_value(it, &len);

		/* The replica's own affair; the superblock follows below without what is. */
		if (key[0] == KEY_SUPER || key[0] == KEY_FREED)
			continue;
		lanes_add(&l, key, klen);
		lanes_add(&l, value, len);
	}
	r = store_iter_error(it);
	store_iter_free(it);
	if (r)
		return r;
	sb = t->sb;
	sb.data_seq = 0;
	key_super(&k);
	lanes_add(&l, v, super_encode(&sb, &k, v));
	for (unsigned i = 0; i < 4; i++)
		le64_put(ret_sha + 8 * i, l.h[i]);
	return 0;
}
