/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Thousands of random operations against a plain model in memory: results, contents and attributes
 * agree after each phase, the check finds nothing, and the entries replayed from nothing, or on top
 * of any flushed state, give the same digest. The seed is printed; META_SEED repeats one.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "meta_rig.h"

#define NODES 96u
#define NAMES 10u
#define PAGES 4096u /* of a file: 16 MiB, beyond what is unmapped at once */
#define FILE_MAX ((uint64_t)PAGES * BLOCK_SIZE)

struct node {
	bool alive;
	bool open; /* the kernel still knows it, though it has no name */
	uint64_t ino;
	uint32_t mode, uid;
	uint32_t nlink;
	int parent; /* of a directory */
	int child[NAMES]; /* of a directory; -1: none */
	uint64_t size;
	uint8_t **pages; /* of a file; NULL: zeros */
	int xattr[NAMES]; /* value, or -1 */
};

struct model {
	struct rig r;
	uint64_t rng;
	struct node nodes[NODES];
	unsigned ops, errors;
};

static uint64_t rnd(struct model *m, uint64_t n)
{
	return rig_random(&m->rng) % n;
}

static const char *name_of(unsigned n)
{
	static const char *const names[NAMES] = {"a", "b", "c", "other", "file.with.dots", "e f",
		"\xc3\xa4", "x0123456789012345678901234567890123456789", "..x", "z"};

	return names[n];
}

static const char *xattr_of(unsigned n)
{
	static const char *const names[NAMES] = {"user.a", "user.b", "user.c", "user.longer.name",
		"trusted.t", "security.capability", "user.d", "user.e", "user.f", "user.g"};

	return names[n];
}

/* --- nodes --- */

static bool is_dir(const struct node *n)
{
	return S_ISDIR(n->mode);
}

static void node_drop(struct node *n)
{
	if (n->pages) {
		for (unsigned p = 0; p < PAGES; p++)
			free(n->pages[p]);
		free(n->pages);
	}
	memset(n, 0, sizeof(*n));
}

static int node_new(struct model *m, uint64_t ino, uint32_t mode, int parent)
{
	for (int i = 1; i < (int)NODES; i++) {
		struct node *n = &m->nodes[i];

		if (n->alive)
			continue;
		*n = (struct node){.alive = true, .ino = ino, .mode = mode, .parent = parent};
		n->nlink = S_ISDIR(mode) ? 2 : 1;
		for (unsigned c = 0; c < NAMES; c++)
			n->child[c] = n->xattr[c] = -1;
		if (S_ISREG(mode))
			n->pages = calloc(PAGES, sizeof(*n->pages));
		return i;
	}
	return -1;
}

static bool has_room(struct model *m)
{
	for (unsigned i = 1; i < NODES; i++)
		if (!m->nodes[i].alive)
			return true;
	return false;
}

/* A random living node of the kind: 0 any, 'd' directory, 'f' file. */
static int pick(struct model *m, char kind)
{
	for (unsigned tries = 0; tries < 200; tries++) {
		int i = (int)rnd(m, NODES);
		struct node *n = &m->nodes[i];

		if (n->alive && (!kind || (kind == 'd' && is_dir(n) && n->nlink) ||
					(kind == 'f' && S_ISREG(n->mode))))
			return i;
	}
	return kind == 'f' ? -1 : 0;
}

static unsigned entries(const struct node *n)
{
	unsigned k = 0;

	for (unsigned c = 0; c < NAMES; c++)
		k += n->child[c] >= 0;
	return k;
}

/* The node loses its last name: it may stay open for a while. */
static void lose_name(struct model *m, int i)
{
	struct node *n = &m->nodes[i];

	n->nlink = is_dir(n) ? 0 : n->nlink - 1;
	if (n->nlink)
		return;
	n->open = rnd(m, 2);
	if (!n->open)
		node_drop(n);
}

static bool above(struct model *m, int i, int from)
{
	for (; from != i; from = m->nodes[from].parent)
		if (!from)
			return false;
	return true;
}

/* --- operations; each compares the result with what the model says --- */

static void expect(struct model *m, int want, int got, const char *what)
{
	m->ops++;
	m->errors += got != 0;
	cr_assert_eq(want, got, "%s: wanted %d, got %d (op %u)", what, want, got, m->ops);
}

static void do_create(struct model *m)
{
	static const uint32_t modes[] = {S_IFREG | 0644, S_IFREG | 04755, S_IFDIR | 0755,
		S_IFDIR | 0700, S_IFLNK, S_IFIFO | 0600};
	int d = pick(m, 'd');
	unsigned name = (unsigned)rnd(m, NAMES);
	uint32_t mode = modes[rnd(m, ARRAY_SIZE(modes))];
	struct op *op = rig_op_create(m->nodes[d].ino, name_of(name), mode);
	int want = m->nodes[d].child[name] >= 0 ? -EEXIST : 0, got;

	if (!has_room(m)) {
		op_free(op);
		return;
	}
	if (S_ISLNK(mode)) {
		op->value = strdup("some/where");
		op->value_len = strlen(op->value);
	}
	got = rig_run(&m->r, op);
	expect(m, want, got, "create");
	if (!got) {
		m->nodes[d].child[name] =
			node_new(m, op->result.ino, S_ISLNK(mode) ? S_IFLNK | 0777 : mode, d);
		m->nodes[d].nlink += S_ISDIR(mode);
	}
	op_free(op);
}

static void do_unlink(struct model *m)
{
	int d = pick(m, 'd'), i;
	unsigned name = (unsigned)rnd(m, NAMES);
	bool dir = rnd(m, 3) == 0;
	int want = 0;

	i = m->nodes[d].child[name];
	if (i < 0)
		want = -ENOENT;
	else if (!dir && is_dir(&m->nodes[i]))
		want = -EISDIR;
	else if (dir && !is_dir(&m->nodes[i]))
		want = -ENOTDIR;
	else if (dir && entries(&m->nodes[i]))
		want = -ENOTEMPTY;
	expect(m, want,
		rig_do(&m->r,
			rig_op_name(dir ? OP_RMDIR : OP_UNLINK, m->nodes[d].ino, name_of(name))),
		dir ? "rmdir" : "unlink");
	if (want)
		return;
	m->nodes[d].child[name] = -1;
	m->nodes[d].nlink -= dir;
	lose_name(m, i);
}

static void do_link(struct model *m)
{
	int i = pick(m, 0), d = pick(m, 'd');
	unsigned name = (unsigned)rnd(m, NAMES);
	int want = 0;

	if (m->nodes[d].child[name] >= 0)
		want = -EEXIST;
	else if (is_dir(&m->nodes[i]))
		want = -EPERM;
	else if (!m->nodes[i].nlink)
		want = -ENOENT;
	expect(m, want, rig_do(&m->r, rig_op_link(m->nodes[i].ino, m->nodes[d].ino, name_of(name))),
		"link");
	if (want)
		return;
	m->nodes[d].child[name] = i;
	m->nodes[i].nlink++;
}

static int rename_wants(struct model *m, int d, int i, int e, int j, uint32_t flags)
{
	if (i < 0)
		return -ENOENT;
	if (j >= 0 && flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (j < 0 && flags & RENAME_EXCHANGE)
		return -ENOENT;
	if (i == j)
		return 1;
	if (d != e && is_dir(&m->nodes[i]) && above(m, i, e))
		return -EINVAL;
	if (flags & RENAME_EXCHANGE)
		return d != e && is_dir(&m->nodes[j]) && above(m, j, d) ? -EINVAL : 0;
	if (j < 0)
		return 0;
	if (is_dir(&m->nodes[i]) && !is_dir(&m->nodes[j]))
		return -ENOTDIR;
	if (!is_dir(&m->nodes[i]) && is_dir(&m->nodes[j]))
		return -EISDIR;
	return is_dir(&m->nodes[j]) && entries(&m->nodes[j]) ? -ENOTEMPTY : 0;
}

static void do_rename(struct model *m)
{
	static const uint32_t all_flags[] = {0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	int d = pick(m, 'd'), e = rnd(m, 3) ? pick(m, 'd') : d, i, j, want;
	unsigned name = (unsigned)rnd(m, NAMES), newname = (unsigned)rnd(m, NAMES);
	uint32_t flags = all_flags[rnd(m, 4)];
	struct node *from = &m->nodes[d], *to = &m->nodes[e];

	i = from->child[name];
	j = to->child[newname];
	want = rename_wants(m, d, i, e, j, flags);
	expect(m, want < 0 ? want : 0,
		rig_do(&m->r,
			rig_op_rename(from->ino, name_of(name), to->ino, name_of(newname), flags)),
		"rename");
	if (want)
		return;
	if (is_dir(&m->nodes[i])) {
		from->nlink--;
		to->nlink++;
		m->nodes[i].parent = e;
	}
	if (j >= 0 && is_dir(&m->nodes[j])) {
		to->nlink--;
		if (flags & RENAME_EXCHANGE) {
			from->nlink++;
			m->nodes[j].parent = d;
		}
	}
	to->child[newname] = i;
	from->child[name] = flags & RENAME_EXCHANGE ? j : -1;
	if (!(flags & RENAME_EXCHANGE) && j >= 0)
		lose_name(m, j);
}

static void model_zero(struct node *n, uint64_t off, uint64_t end)
{
	while (off < end) {
		uint64_t p = off / BLOCK_SIZE, part = MIN(BLOCK_SIZE - off % BLOCK_SIZE, end - off);

		if (n->pages[p])
			memset(n->pages[p] + off % BLOCK_SIZE, 0, part);
		off += part;
	}
}

static void model_write(struct node *n, uint64_t off, const uint8_t *bytes, uint64_t len)
{
	for (uint64_t end = off + len; off < end;) {
		uint64_t p = off / BLOCK_SIZE, part = MIN(BLOCK_SIZE - off % BLOCK_SIZE, end - off);

		if (!n->pages[p])
			n->pages[p] = calloc(1, BLOCK_SIZE);
		memcpy(n->pages[p] + off % BLOCK_SIZE, bytes, part);
		bytes += part;
		off += part;
	}
}

static uint64_t random_size(struct model *m)
{
	static const uint64_t tops[] = {100, 9000, 70000, 1u << 20, FILE_MAX};
	uint64_t n = 1 + rnd(m, tops[rnd(m, 5)] - 1);

	return rnd(m, 3) ? n : (n + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
}

static void do_write(struct model *m)
{
	static uint8_t bytes[WRITE_SIZE_MAX];
	int i = pick(m, 'f');
	struct node *n = &m->nodes[MAX(i, 0)];
	uint64_t off, len, max;
	struct op *op;

	if (i < 0)
		return;
	off = rnd(m, 4) ? rnd(m, MIN(n->size + 20000, FILE_MAX - 1)) : random_size(m) - 1;
	len = random_size(m);
	max = rnd(m, 8) ? 20000 : WRITE_SIZE_MAX;
	len = MIN(len, max);
	len = MIN(len, FILE_MAX - off);
	for (uint64_t b = 0; b < len; b += 64)
		memset(bytes + b, (int)(1 + rnd(m, 255)), MIN(len - b, (uint64_t)64));
	op = rig_op_write(n->ino, off, bytes, len);
	op->kill_priv = rnd(m, 2);
	if (op->kill_priv)
		n->mode &= ~(uint32_t)S_ISUID;
	n->xattr[5] = -1; /* capabilities go with every write */
	expect(m, 0, rig_do(&m->r, op), "write");
	model_write(n, off, bytes, len);
	n->size = MAX(n->size, off + len);
}

static void do_truncate(struct model *m)
{
	int i = pick(m, 'f');
	struct node *n = &m->nodes[MAX(i, 0)];
	uint64_t size;

	if (i < 0)
		return;
	size = rnd(m, 3) ? rnd(m, n->size + 1) : random_size(m) - 1;
	n->xattr[5] = -1;
	expect(m, 0, rig_do(&m->r, rig_op_truncate(n->ino, size)), "truncate");
	if (size < n->size)
		model_zero(n, size, n->size);
	n->size = size;
}

static void do_fallocate(struct model *m)
{
	static const uint32_t modes[] = {0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	uint32_t mode = modes[rnd(m, 5)];
	int i = pick(m, 'f');
	struct node *n = &m->nodes[MAX(i, 0)];
	uint64_t off, len;

	if (i < 0)
		return;
	off = rnd(m, MIN(n->size + 5000, FILE_MAX - 1));
	len = random_size(m);
	len = MIN(len, FILE_MAX - off);
	if (rnd(m, 3) == 0)
		off = off / BLOCK_SIZE * BLOCK_SIZE;
	n->xattr[5] = -1;
	expect(m, 0, rig_do(&m->r, rig_op_fallocate(n->ino, mode, off, len)), "fallocate");
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) && off < n->size)
		model_zero(n, off, MIN(off + len, n->size));
	if (!(mode & FALLOC_FL_KEEP_SIZE))
		n->size = MAX(n->size, off + len);
}

static void do_chmod(struct model *m)
{
	int i = pick(m, 0);
	struct op *op = op_new(OP_SETATTR);

	op->ino = m->nodes[i].ino;
	op->attr_mask = ATTR_MODE;
	op->attr.mode = (uint32_t)rnd(m, 01000);
	m->nodes[i].mode = (m->nodes[i].mode & S_IFMT) | op->attr.mode;
	expect(m, 0, rig_do(&m->r, op), "chmod");
}

static void do_xattr(struct model *m)
{
	unsigned x = (unsigned)rnd(m, NAMES), flags = (unsigned)rnd(m, 3);
	int i = pick(m, 0), want = 0;
	struct node *n = &m->nodes[i];
	bool user = !strncmp(xattr_of(x), "user.", 5);
	uint8_t value[3000];
	struct op *op;

	memset(value, (int)(x + 1), sizeof(value));
	if (user && !S_ISREG(n->mode) && !is_dir(n))
		want = -EPERM;
	if (rnd(m, 3) == 0) {
		op = op_new(OP_REMOVEXATTR);
		op->ino = n->ino;
		snprintf(op->name, sizeof(op->name), "%s", xattr_of(x));
		if (!want && n->xattr[x] < 0)
			want = -ENODATA;
		expect(m, want, rig_do(&m->r, op), "removexattr");
		if (!want)
			n->xattr[x] = -1;
		return;
	}
	if (!want && flags == 1 && n->xattr[x] >= 0)
		want = -EEXIST;
	if (!want && flags == 2 && n->xattr[x] < 0)
		want = -ENODATA;
	op = rig_op_setxattr(n->ino, xattr_of(x), value, rnd(m, sizeof(value)), flags);
	if (!want)
		n->xattr[x] = (int)op->value_len;
	expect(m, want, rig_do(&m->r, op), "setxattr");
}

/* The kernel forgets some of the orphans; some are reaped. */
static bool still_open(void *ctx, uint64_t ino)
{
	struct model *m = ctx;

	for (unsigned i = 1; i < NODES; i++)
		if (m->nodes[i].alive && m->nodes[i].ino == ino)
			return true;
	return false;
}

static void do_forget(struct model *m)
{
	for (unsigned i = 1; i < NODES; i++) {
		struct node *n = &m->nodes[i];
		uint64_t ino = n->ino;

		if (!n->alive || n->nlink || rnd(m, 2))
			continue;
		node_drop(n);
		tree_forgotten(m->r.tree, ino);
	}
	if (rnd(m, 2))
		rig_reap(&m->r, still_open, m);
}

/* --- comparing --- */

struct listing {
	struct model *m;
	int dir;
	unsigned n;
	uint64_t last;
};

static int list_one(void *ctx, const char *name, uint64_t ino, uint32_t type, uint64_t cookie)
{
	struct listing *l = ctx;
	struct node *dir = &l->m->nodes[l->dir];

	cr_assert_gt(cookie, l->last);
	l->last = cookie;
	l->n++;
	for (unsigned c = 0; c < NAMES; c++) {
		if (strcmp(name, name_of(c)) != 0)
			continue;
		cr_assert_geq(dir->child[c], 0);
		cr_assert_eq(l->m->nodes[dir->child[c]].ino, ino);
		cr_assert_eq((l->m->nodes[dir->child[c]].mode & S_IFMT) >> 12, type);
		return 0;
	}
	cr_assert_fail("a name that is not there: %s", name);
	return 1;
}

static void compare_file(struct model *m, const struct node *n)
{
	static uint8_t buf[1 << 20];
	static const uint8_t zeros[BLOCK_SIZE];

	for (uint64_t off = 0; off < n->size; off += sizeof(buf)) {
		uint64_t len = MIN(n->size - off, sizeof(buf));

		cr_assert_eq(rig_read(&m->r, n->ino, off, buf, sizeof(buf)), (long)len);
		for (uint64_t b = 0; b < len; b += BLOCK_SIZE) {
			const uint8_t *page = n->pages[(off + b) / BLOCK_SIZE];

			cr_assert_eq(memcmp(buf + b, page ? page : zeros,
					     MIN(len - b, (uint64_t)BLOCK_SIZE)),
				0, "inode %llu differs at %llu (op %u)", (unsigned long long)n->ino,
				(unsigned long long)(off + b), m->ops);
		}
	}
}

static void compare_xattrs(struct model *m, const struct node *n)
{
	uint8_t buf[4096];
	size_t len, total = 0;

	for (unsigned x = 0; x < NAMES; x++) {
		int r = tree_xattr_get(m->r.tree, n->ino, xattr_of(x), buf, sizeof(buf), &len);

		cr_assert_eq(r, n->xattr[x] < 0 ? -ENODATA : 0);
		if (r)
			continue;
		cr_assert_eq((int)len, n->xattr[x]);
		cr_assert(!len || (buf[0] == x + 1 && buf[len - 1] == x + 1));
		total += strlen(xattr_of(x)) + 1;
	}
	cr_assert_eq(tree_xattr_list(m->r.tree, n->ino, (char *)buf, sizeof(buf), &len), 0);
	cr_assert_eq(len, total);
}

static void compare(struct model *m)
{
	cr_assert_eq(tree_flush_txn(m->r.tree), 0);
	for (unsigned i = 0; i < NODES; i++) {
		struct node *n = &m->nodes[i];
		struct listing l = {.m = m, .dir = (int)i};
		struct inode ino;

		if (!n->alive)
			continue;
		ino = rig_inode(&m->r, n->ino);
		cr_assert_eq(ino.mode, n->mode, "inode %llu: mode %o, wanted %o",
			(unsigned long long)n->ino, ino.mode, n->mode);
		cr_assert_eq(ino.nlink, n->nlink);
		compare_xattrs(m, n);
		if (is_dir(n)) {
			cr_assert_eq(tree_readdir(m->r.tree, n->ino, 0, list_one, &l), 0);
			cr_assert_eq(l.n, entries(n));
		} else if (S_ISREG(n->mode)) {
			cr_assert_eq(ino.size, n->size);
			compare_file(m, n);
		}
	}
	rig_check(&m->r);
}

static void assert_same_digest(struct rig *a, struct rig *b)
{
	uint8_t da[32], db[32];

	cr_assert_eq(tree_digest(a->tree, da), 0);
	cr_assert_eq(tree_digest(b->tree, db), 0);
	cr_assert_eq(memcmp(da, db, sizeof(da)), 0, "the digests differ");
}

static void run_phase(struct model *m, unsigned ops)
{
	static void (*const table[])(struct model * m) = {do_create, do_create, do_create,
		do_unlink, do_link, do_rename, do_rename, do_write, do_write, do_write, do_write,
		do_truncate, do_fallocate, do_fallocate, do_chmod, do_xattr, do_xattr};

	for (unsigned i = 0; i < ops; i++) {
		table[rnd(m, ARRAY_SIZE(table))](m);
		if (rnd(m, 40) == 0)
			do_forget(m);
	}
}

/* Every block that was ever assigned is mapped or free. */
static void assert_nothing_lost(struct rig *r)
{
	struct tree_info i;

	tree_info(r->tree, &i);
	cr_assert_eq(i.used_blocks + tree_freed_blocks(r->tree), r->next_block);
}

static void run_model(uint64_t seed, unsigned phases, unsigned ops)
{
	struct model *m = calloc(1, sizeof(*m));
	struct rig copy;
	size_t done = 0;

	if (getenv("META_SEED"))
		seed = strtoull(getenv("META_SEED"), NULL, 0);
	printf("model: seed %llu\n", (unsigned long long)seed);
	m->rng = seed;
	rig_open(&m->r);
	m->r.lazy = seed % 2;
	m->nodes[0] =
		(struct node){.alive = true, .ino = ROOT_INO, .mode = S_IFDIR | 0755, .nlink = 2};
	for (unsigned c = 0; c < NAMES; c++)
		m->nodes[0].child[c] = m->nodes[0].xattr[c] = -1;
	rig_open_disk(&copy, 0);
	for (unsigned p = 0; p < phases; p++) {
		run_phase(m, ops);
		compare(m);
		/* The other store is flushed somewhere in the middle, loses the rest, and goes on
		 * from what it has. */
		cr_assert_eq(rig_replay(&copy, &m->r, done), 0);
		assert_same_digest(&m->r, &copy);
		tree_write_freed(m->r.tree);
		tree_write_freed(copy.tree);
		rig_check(&m->r);
		if (p % 2 == 0) {
			rig_flush(&copy);
			done = m->r.nlog;
		} else {
			rig_reopen(&copy, 0);
			cr_assert_eq(copy.end.seq, done);
			cr_assert_eq(rig_replay(&copy, &m->r, done), 0);
			assert_same_digest(&m->r, &copy);
			done = m->r.nlog;
		}
		rig_check(&copy);
	}
	/* In the end everything goes, and nothing is left over. */
	rig_reap(&m->r, still_open, m);
	compare(m);
	cr_assert_eq(rig_replay(&copy, &m->r, done), 0);
	copy.next_block = m->r.next_block;
	assert_nothing_lost(&m->r);
	assert_nothing_lost(&copy);
	printf("model: %u operations, %u errors, %zu entries, %u reaps, %u warmed, %u stale\n",
		m->ops, m->errors, m->r.nlog, m->r.reaps, m->r.warms, m->r.stale);
	for (unsigned i = 0; i < NODES; i++)
		if (m->nodes[i].alive)
			node_drop(&m->nodes[i]);
	rig_close(&copy);
	rig_close(&m->r);
	free(m);
}

Test(model, random_operations_agree_with_a_plain_model_and_replay_to_the_same_state, .timeout = 120)
{
	run_model(1, 8, 400);
}

Test(model, the_same_holds_when_the_transaction_is_written_late, .timeout = 120)
{
	run_model(4, 8, 400);
	run_model(20261, 6, 300);
}
