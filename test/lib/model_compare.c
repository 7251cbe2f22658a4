/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real directory against the model: names, types, modes, owners, link counts, sizes, contents,
 * extended attributes, symlink targets, times that were set, and which names are the same inode.
 *
 * A write that was in flight may be there in part, cut where the kernel cuts a write into FUSE
 * WRITEs: behind a page, or behind 1 MiB; one of them is there whole or not at all. An aligned write
 * of at most 1 MiB is one of them (and so is every O_DIRECT write of the workload).
 */
#include "model.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PAGE 4096u
#define WRITE_MAX (1u << 20) /* bytes of one FUSE WRITE */

struct compare {
	struct model *m;
	FILE *report;
	unsigned differences;
	uint8_t *buf; /* WRITE_MAX */
};

static void __attribute__((format(printf, 4, 5)))
differ(struct compare *c, uint32_t dir, uint32_t name, const char *fmt, ...)
{
	char path[8192];
	va_list ap;

	if (++c->differences > 20 || !c->report)
		return;
	model_path(c->m, dir, name, path, sizeof(path));
	fprintf(c->report, "  %s: ", path);
	va_start(ap, fmt);
	vfprintf(c->report, fmt, ap);
	va_end(ap);
	fputc('\n', c->report);
}

static void compare_data(
	struct compare *c, uint32_t dir, uint32_t name, int fd, const struct model_node *n)
{
	uint64_t off = 0;

	while (off < n->size) {
		uint64_t want = n->size - off < WRITE_MAX ? n->size - off : WRITE_MAX, i;
		ssize_t got = pread(fd, c->buf, want, (off_t)off);

		if (got <= 0) {
			differ(c, dir, name, "read at %llu: %s", (unsigned long long)off,
				got ? strerror(errno) : "end of file");
			return;
		}
		if (memcmp(c->buf, n->data + off, (size_t)got)) {
			for (i = 0; c->buf[i] == n->data[off + i]; i++)
				;
			differ(c, dir, name,
				"bytes differ from offset %llu on (size %llu): %02x, not %02x",
				(unsigned long long)(off + i), (unsigned long long)n->size,
				c->buf[i], n->data[off + i]);
			return;
		}
		off += (uint64_t)got;
	}
}

static void compare_xattrs(
	struct compare *c, uint32_t dir, uint32_t name, int fd, const struct model_node *n)
{
	char list[4096], xname[64];
	ssize_t len = flistxattr(fd, list, sizeof(list)), got;
	unsigned have = 0, want = 0;
	uint8_t *expect = c->buf + WRITE_MAX / 2;

	if (len < 0) {
		differ(c, dir, name, "listxattr: %s", strerror(errno));
		return;
	}
	for (char *p = list; p < list + len; p += strlen(p) + 1)
		have += !strncmp(p, "user.", 5);
	for (uint32_t i = 0; i < MODEL_XATTRS; i++) {
		const struct model_xattr *x = &n->xattr[i];

		model_xattr_name(i, xname, sizeof(xname));
		got = fgetxattr(fd, xname, c->buf, WRITE_MAX / 2);
		want += x->set;
		if (!x->set && (got >= 0 || errno != ENODATA))
			differ(c, dir, name, "%s exists", xname);
		if (!x->set)
			continue;
		model_xattr_value(x->seed, expect, x->len);
		if (got != (ssize_t)x->len || memcmp(c->buf, expect, x->len))
			differ(c, dir, name, "%s: %zd bytes (%s), not the %u expected ones", xname,
				got, got < 0 ? strerror(errno) : "different", x->len);
	}
	if (have != want)
		differ(c, dir, name, "%u user attributes listed, not %u", have, want);
}

static void compare_attributes(struct compare *c, uint32_t dir, uint32_t name,
	const struct stat *st, const struct model_node *n, unsigned nlink)
{
	static const mode_t types[] = {[MODEL_FILE] = S_IFREG,
		[MODEL_DIR] = S_IFDIR,
		[MODEL_LINK_TARGET] = S_IFLNK,
		[MODEL_PIPE] = S_IFIFO};
	uint64_t mtime = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;

	if (st->st_mode != (types[n->type] | n->mode))
		differ(c, dir, name, "mode %o, not %o", st->st_mode, types[n->type] | n->mode);
	if (st->st_uid != n->uid || st->st_gid != n->gid)
		differ(c, dir, name, "owner %u:%u, not %u:%u", st->st_uid, st->st_gid, n->uid,
			n->gid);
	if (st->st_nlink != nlink)
		differ(c, dir, name, "%lu links, not %u", (unsigned long)st->st_nlink, nlink);
	if (n->type == MODEL_FILE && (uint64_t)st->st_size != n->size)
		differ(c, dir, name, "size %lld, not %llu", (long long)st->st_size,
			(unsigned long long)n->size);
	if (n->mtime_known && mtime != n->mtime_ns)
		differ(c, dir, name, "mtime %llu, not %llu", (unsigned long long)mtime,
			(unsigned long long)n->mtime_ns);
}

static void compare_symlink(struct compare *c, uint32_t dir, uint32_t name, int dirfd,
	const char *text, const struct model_node *n)
{
	char want[PATH_MAX], have[PATH_MAX];
	ssize_t len = readlinkat(dirfd, text, have, sizeof(have));

	model_target(n->seed, want, 4096);
	if (len != (ssize_t)strlen(want) || memcmp(have, want, strlen(want)))
		differ(c, dir, name, "another symlink target");
}

static void compare_dir(struct compare *c, uint32_t dir, int fd);

static void compare_node(struct compare *c, uint32_t dir, uint32_t name, int dirfd)
{
	uint32_t i = c->m->node[dir].child[name] - 1;
	struct model_node *n = &c->m->node[i];
	unsigned nlink = n->nlink;
	struct stat st;
	char text[256];
	int fd;

	model_name(name, text, sizeof(text));
	if (fstatat(dirfd, text, &st, AT_SYMLINK_NOFOLLOW)) {
		differ(c, dir, name, "%s", strerror(errno));
		return;
	}
	for (unsigned k = 0; n->type == MODEL_DIR && k < MODEL_NAMES; k++)
		nlink += n->child[k] && c->m->node[n->child[k] - 1].type == MODEL_DIR;
	if (n->type == MODEL_DIR)
		nlink++;
	compare_attributes(c, dir, name, &st, n, nlink);
	if (n->seen_ino && n->seen_ino != st.st_ino)
		differ(c, dir, name, "inode %lu, its other name has %llu", (unsigned long)st.st_ino,
			(unsigned long long)n->seen_ino);
	if (n->seen_ino)
		return;
	n->seen_ino = st.st_ino;
	if (n->type == MODEL_LINK_TARGET)
		compare_symlink(c, dir, name, dirfd, text, n);
	if (n->type != MODEL_FILE && n->type != MODEL_DIR)
		return;
	fd = openat(dirfd, text, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0) {
		differ(c, dir, name, "open: %s", strerror(errno));
		return;
	}
	compare_xattrs(c, dir, name, fd, n);
	if (n->type == MODEL_FILE)
		compare_data(c, dir, name, fd, n);
	else
		compare_dir(c, i, fd);
	close(fd);
}

static void compare_dir(struct compare *c, uint32_t dir, int fd)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	bool seen[MODEL_NAMES] = {false};
	struct dirent *e;
	char text[256];
	uint32_t i;

	if (!d) {
		differ(c, dir, 0, "cannot list its directory: %s", strerror(errno));
		return;
	}
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		for (i = 0; i < MODEL_NAMES; i++) {
			model_name(i, text, sizeof(text));
			if (!strcmp(text, e->d_name))
				break;
		}
		if (i == MODEL_NAMES || !c->m->node[dir].child[i])
			differ(c, dir, i == MODEL_NAMES ? 0 : i, "'%s' should not exist",
				e->d_name);
		else if (seen[i])
			differ(c, dir, i, "listed twice");
		if (i < MODEL_NAMES)
			seen[i] = true;
	}
	closedir(d);
	for (i = 0; i < MODEL_NAMES; i++) {
		if (!c->m->node[dir].child[i])
			continue;
		if (!seen[i])
			differ(c, dir, i, "not listed in its directory");
		compare_node(c, dir, i, fd);
	}
}

unsigned model_compare(struct model *m, int dirfd, FILE *report)
{
	struct compare c = {.m = m, .report = report, .buf = malloc(WRITE_MAX)};

	if (!c.buf)
		abort();
	for (unsigned i = 0; i < MODEL_NODES; i++)
		m->node[i].seen_ino = 0;
	compare_dir(&c, 0, dirfd);
	for (unsigned i = 1; i < MODEL_NODES; i++)
		for (unsigned k = 1; k < i; k++)
			if (m->node[i].seen_ino && m->node[i].seen_ino == m->node[k].seen_ino) {
				c.differences++;
				if (report)
					fprintf(report, "  two files share the inode %llu\n",
						(unsigned long long)m->node[i].seen_ino);
			}
	free(c.buf);
	return c.differences;
}

/* May the kernel have cut the write here? */
static bool is_cut(const struct oprec *r, uint64_t k)
{
	if (k == 0 || k == r->len)
		return true;
	if (r->flags & MODEL_DIRECT)
		return false;
	if (r->off % PAGE == 0 && r->len <= WRITE_MAX)
		return false;
	return (r->off + k) % PAGE == 0 || k % WRITE_MAX == 0;
}

int64_t model_write_done(
	const struct model *m, const struct oprec *r, int dirfd, uint64_t min, FILE *report)
{
	int node = model_lookup(m, r->dir, r->name);
	const struct model_node *n = &m->node[node < 0 ? 0 : node];
	uint8_t *want = NULL, *have = NULL;
	int64_t result = -1;
	uint64_t first_new, last_old, k;
	char path[8192];
	struct stat st;
	ssize_t got;
	int fd = -1;

	model_path(m, r->dir, r->name, path, sizeof(path));
	want = malloc(r->len);
	have = calloc(1, r->len);
	fd = openat(dirfd, path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
	if (node < 0 || !want || !have || fd < 0 || fstat(fd, &st)) {
		if (report)
			fprintf(report, "  %s: cannot be opened: %s\n", path, strerror(errno));
		goto out;
	}
	pattern_fill(want, r->len, r->seed);
	for (uint64_t at = 0; at < r->len; at += (uint64_t)got) {
		got = pread(fd, have + at, r->len - at, (off_t)(r->off + at));
		if (got < 0)
			goto out;
		if (got == 0)
			break;
	}
	/* k bytes are there when all before k is new and all from k on is old; sizes as well. */
	for (first_new = 0; first_new < r->len && have[first_new] == want[first_new]; first_new++)
		;
	for (last_old = r->len; last_old > 0; last_old--) {
		uint64_t at = r->off + last_old - 1;

		if (have[last_old - 1] != (at < n->size ? n->data[at] : 0))
			break;
	}
	for (k = r->len + 1; k-- > min;) {
		uint64_t size = k && r->off + k > n->size ? r->off + k : n->size;

		if (k <= first_new && k >= last_old && is_cut(r, k) &&
			(uint64_t)st.st_size == size) {
			result = (int64_t)k;
			break;
		}
	}
	if (result < 0 && report)
		fprintf(report,
			"  %s: torn: a write of %llu bytes at %llu to a file of %llu: new up to "
			"+%llu, old "
			"from +%llu, size now %lld\n",
			path, (unsigned long long)r->len, (unsigned long long)r->off,
			(unsigned long long)n->size, (unsigned long long)first_new,
			(unsigned long long)last_old, (long long)st.st_size);
out:
	if (fd >= 0)
		close(fd);
	free(want);
	free(have);
	return result;
}
