/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The model's operations: what Linux answers, in the order in which its VFS checks, and what changes.
 * The comparison with a real directory is in model_compare.c.
 */
#include "model.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

#define MODEL_MAGIC 0x6d6f64656c303176u

struct model *model_new(void)
{
	struct model *m = calloc(1, sizeof(*m));

	if (!m)
		abort();
	m->node[0].type = MODEL_DIR;
	m->node[0].mode = 0755;
	return m;
}

void model_free(struct model *m)
{
	if (!m)
		return;
	for (unsigned i = 0; i < MODEL_NODES; i++)
		free(m->node[i].data);
	free(m);
}

void model_name(uint32_t name, char *buf, size_t size)
{
	int n = snprintf(buf, size, "n%02u", name);

	if (name % 8 == 6)
		snprintf(buf + n, size - (size_t)n, "-\xc3\xa4\xe6\x96\x87 \xf0\x9f\x90\xa7");
	if (name % 8 != 7)
		return;
	while (n < 250 && (size_t)n + 1 < size)
		buf[n++] = 'x';
	buf[n] = 0;
}

void model_target(uint64_t seed, char *buf, size_t size)
{
	size_t len = 1 + pattern_mix(seed) % (seed % 16 ? 60 : size - 2);

	for (size_t i = 0; i < len; i++)
		buf[i] = "abcdefgh/klmnop."[pattern_mix(seed + i) % 16];
	buf[len] = 0;
}

void model_xattr_name(uint32_t which, char *buf, size_t size)
{
	snprintf(buf, size, "user.test-%u", which);
}

void model_xattr_value(uint64_t seed, void *buf, size_t len)
{
	pattern_fill(buf, len, seed);
}

int model_lookup(const struct model *m, uint32_t dir, uint32_t name)
{
	return (int)m->node[dir].child[name] - 1;
}

bool model_is_dir(const struct model *m, uint32_t node)
{
	return m->node[node].type == MODEL_DIR;
}

unsigned model_used(const struct model *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MODEL_NODES; i++)
		n += m->node[i].type != MODEL_NONE;
	return n;
}

size_t model_path(const struct model *m, uint32_t dir, uint32_t name, char *buf, size_t size)
{
	size_t n = 0;

	if (dir) {
		uint32_t up = m->node[dir].parent, i;

		for (i = 0; i < MODEL_NAMES && m->node[up].child[i] != dir + 1; i++)
			;
		n = model_path(m, up, i, buf, size);
		n += (size_t)snprintf(buf + n, size - n, "/");
	}
	model_name(name, buf + n, size - n);
	return n + strlen(buf + n);
}

static int new_node(struct model *m, enum model_type type, uint32_t dir, uint32_t name)
{
	for (uint32_t i = 1; i < MODEL_NODES; i++) {
		struct model_node *n = &m->node[i];

		if (n->type != MODEL_NONE)
			continue;
		memset(n, 0, sizeof(*n));
		n->type = type;
		n->nlink = 1;
		n->parent = dir;
		m->node[dir].child[name] = i + 1;
		m->node[dir].mtime_known = false;
		return (int)i;
	}
	abort(); /* the generator keeps clear of this */
}

static void drop_name(struct model *m, uint32_t dir, uint32_t name)
{
	uint32_t i = m->node[dir].child[name] - 1;
	struct model_node *n = &m->node[i];

	m->node[dir].child[name] = 0;
	m->node[dir].mtime_known = false;
	if (--n->nlink)
		return;
	m->bytes -= n->type == MODEL_FILE ? n->size : 0;
	free(n->data);
	memset(n, 0, sizeof(*n));
}

static bool dir_is_empty(const struct model_node *n)
{
	for (unsigned i = 0; i < MODEL_NAMES; i++)
		if (n->child[i])
			return false;
	return true;
}

/* Is `node` the directory `dir` or above it? */
static bool is_above(const struct model *m, uint32_t node, uint32_t dir)
{
	for (;; dir = m->node[dir].parent) {
		if (dir == node)
			return true;
		if (!dir)
			return false;
	}
}

static int64_t do_rename(struct model *m, const struct oprec *r)
{
	int from = model_lookup(m, r->dir, r->name), to = model_lookup(m, r->dir2, r->name2);
	bool exchange = r->flags & RENAME_EXCHANGE;

	if (from < 0)
		return -ENOENT;
	if (to >= 0 && (r->flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (to < 0 && exchange)
		return -ENOENT;
	if (model_is_dir(m, (uint32_t)from) && is_above(m, (uint32_t)from, r->dir2))
		return -EINVAL;
	if (to >= 0 && model_is_dir(m, (uint32_t)to) && is_above(m, (uint32_t)to, r->dir))
		return exchange ? -EINVAL : -ENOTEMPTY;
	if (from == to)
		return 0;
	if (to >= 0 && !exchange) {
		bool from_dir = model_is_dir(m, (uint32_t)from),
		     to_dir = model_is_dir(m, (uint32_t)to);

		if (from_dir && !to_dir)
			return -ENOTDIR;
		if (!from_dir && to_dir)
			return -EISDIR;
		if (to_dir && !dir_is_empty(&m->node[to]))
			return -ENOTEMPTY;
		drop_name(m, r->dir2, r->name2);
		to = -1;
	}
	m->node[r->dir].child[r->name] = (uint32_t)(to + 1);
	m->node[r->dir2].child[r->name2] = (uint32_t)(from + 1);
	if (model_is_dir(m, (uint32_t)from))
		m->node[from].parent = r->dir2;
	if (to >= 0 && model_is_dir(m, (uint32_t)to))
		m->node[to].parent = r->dir;
	m->node[r->dir].mtime_known = m->node[r->dir2].mtime_known = false;
	return 0;
}

static int64_t do_link(struct model *m, const struct oprec *r)
{
	int from = model_lookup(m, r->dir, r->name);

	if (from < 0)
		return -ENOENT;
	if (model_lookup(m, r->dir2, r->name2) >= 0)
		return -EEXIST;
	if (model_is_dir(m, (uint32_t)from))
		return -EPERM;
	m->node[from].nlink++;
	m->node[r->dir2].child[r->name2] = (uint32_t)from + 1;
	m->node[r->dir2].mtime_known = false;
	return 0;
}

static void resize(struct model *m, struct model_node *n, uint64_t size)
{
	if (size > n->size) {
		n->data = realloc(n->data, size);
		if (!n->data)
			abort();
		memset(n->data + n->size, 0, size - n->size);
	}
	m->bytes += size - n->size;
	n->size = size;
	n->mtime_known = false;
}

static int64_t do_data(struct model *m, struct model_node *n, const struct oprec *r, uint64_t limit)
{
	uint64_t len = r->len < limit ? r->len : limit;
	bool keep = r->mode & FALLOC_FL_KEEP_SIZE;

	switch (r->op) {
	case MODEL_WRITE:
		if (r->off + len > n->size && len)
			resize(m, n, r->off + len);
		n->mtime_known = false;
		pattern_fill(n->data + r->off, len, r->seed);
		return (int64_t)len;
	case MODEL_TRUNCATE:
		resize(m, n, r->len);
		return 0;
	case MODEL_OPEN_TRUNC:
		resize(m, n, 0);
		return 0;
	case MODEL_FALLOCATE:
		if (!keep && r->off + r->len > n->size)
			resize(m, n, r->off + r->len);
		n->mtime_known = false;
		if (!(r->mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) || r->off >= n->size)
			return 0;
		len = r->len < n->size - r->off ? r->len : n->size - r->off;
		memset(n->data + r->off, 0, len);
		return 0;
	}
	return -EINVAL;
}

static int64_t do_attr(struct model_node *n, const struct oprec *r)
{
	struct model_xattr *x = &n->xattr[r->name2 % MODEL_XATTRS];

	switch (r->op) {
	case MODEL_CHMOD:
		n->mode = r->mode;
		return 0;
	case MODEL_CHOWN:
		n->uid = r->flags;
		n->gid = r->mode;
		return 0;
	case MODEL_UTIME:
		n->mtime_known = true;
		n->mtime_ns = r->seed;
		return 0;
	case MODEL_SETXATTR:
		if (x->set && (r->flags & XATTR_CREATE))
			return -EEXIST;
		if (!x->set && (r->flags & XATTR_REPLACE))
			return -ENODATA;
		*x = (struct model_xattr){true, (uint32_t)r->len, r->seed};
		return 0;
	case MODEL_REMOVEXATTR:
		if (!x->set)
			return -ENODATA;
		x->set = false;
		return 0;
	}
	return -EINVAL;
}

static int64_t do_create(struct model *m, const struct oprec *r)
{
	static const enum model_type types[] = {[MODEL_CREATE] = MODEL_FILE,
		[MODEL_MKDIR] = MODEL_DIR,
		[MODEL_SYMLINK] = MODEL_LINK_TARGET,
		[MODEL_FIFO] = MODEL_PIPE};
	struct model_node *n;

	if (model_lookup(m, r->dir, r->name) >= 0)
		return -EEXIST;
	n = &m->node[new_node(m, types[r->op], r->dir, r->name)];
	n->mode = r->op == MODEL_SYMLINK ? 0777 : r->mode;
	n->seed = r->seed;
	return 0;
}

int64_t model_apply(struct model *m, const struct oprec *r, uint64_t limit)
{
	int node = model_lookup(m, r->dir, r->name);

	switch (r->op) {
	case MODEL_CREATE:
	case MODEL_MKDIR:
	case MODEL_SYMLINK:
	case MODEL_FIFO:
		return do_create(m, r);
	case MODEL_RENAME:
		return do_rename(m, r);
	case MODEL_LINK:
		return do_link(m, r);
	}
	if (node < 0)
		return -ENOENT;
	switch (r->op) {
	case MODEL_UNLINK:
		if (model_is_dir(m, (uint32_t)node))
			return -EISDIR;
		drop_name(m, r->dir, r->name);
		return 0;
	case MODEL_RMDIR:
		if (!model_is_dir(m, (uint32_t)node))
			return -ENOTDIR;
		if (!dir_is_empty(&m->node[node]))
			return -ENOTEMPTY;
		drop_name(m, r->dir, r->name);
		return 0;
	case MODEL_WRITE:
	case MODEL_TRUNCATE:
	case MODEL_OPEN_TRUNC:
	case MODEL_FALLOCATE:
		return do_data(m, &m->node[node], r, limit);
	default:
		return do_attr(&m->node[node], r);
	}
}

int model_save(const struct model *m, uint64_t index, const char *path)
{
	uint64_t head[2] = {MODEL_MAGIC, index};
	char tmp[4096 + 8];
	bool ok;
	FILE *f;

	snprintf(tmp, sizeof(tmp), "%s.new", path);
	f = fopen(tmp, "we");
	if (!f)
		return -errno;
	ok = fwrite(head, sizeof(head), 1, f) == 1 && fwrite(m, sizeof(*m), 1, f) == 1;
	for (unsigned i = 0; ok && i < MODEL_NODES; i++)
		if (m->node[i].type == MODEL_FILE && m->node[i].size)
			ok = fwrite(m->node[i].data, m->node[i].size, 1, f) == 1;
	if (fclose(f) || !ok || rename(tmp, path)) {
		unlink(tmp);
		return -EIO;
	}
	return 0;
}

int model_load(struct model *m, uint64_t *ret_index, const char *path)
{
	FILE *f = fopen(path, "re");
	uint64_t head[2];
	bool ok;

	if (!f)
		return -errno;
	ok = fread(head, sizeof(head), 1, f) == 1 && head[0] == MODEL_MAGIC &&
	     fread(m, sizeof(*m), 1, f) == 1;
	for (unsigned i = 0; ok && i < MODEL_NODES; i++) {
		struct model_node *n = &m->node[i];

		n->data = NULL;
		if (n->type != MODEL_FILE || !n->size)
			continue;
		n->data = malloc(n->size);
		ok = n->data && fread(n->data, n->size, 1, f) == 1;
	}
	fclose(f);
	*ret_index = head[1];
	return ok ? 0 : -EBADMSG;
}
