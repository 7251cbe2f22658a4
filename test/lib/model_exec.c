/* SPDX-License-Identifier: Apache-2.0 */
/* The workload's operations: drawn at random, executed, and read back; see model_exec.h. */
#include "model_exec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PAGE 4096u
#define PATH_LEN_MAX 3000u /* bytes; the generator stays below */

static const char *const op_names[MODEL_OP_MAX] = {"", "create", "mkdir", "symlink", "mkfifo",
	"unlink", "rmdir", "rename", "link", "write", "truncate", "open(O_TRUNC)", "fallocate",
	"chmod", "chown", "utimensat", "setxattr", "removexattr"};

const char *model_op_name(unsigned op)
{
	return op < MODEL_OP_MAX ? op_names[op] : "?";
}

bool model_is_interruption(int64_t result)
{
	return result == -ENOTCONN || result == -ECONNABORTED || result == -EIO;
}

uint64_t model_random(struct model_rng *g)
{
	return pattern_mix(g->state++);
}

static uint64_t below(struct model_rng *g, uint64_t n)
{
	return model_random(g) % n;
}

static uint32_t random_dir(const struct model *m, struct model_rng *g)
{
	for (unsigned i = 0; i < 8; i++) {
		uint32_t d = (uint32_t)below(g, MODEL_NODES);
		char path[8192];

		if (m->node[d].type == MODEL_DIR &&
			model_path(m, d, 0, path, sizeof(path)) < PATH_LEN_MAX)
			return d;
	}
	return 0;
}

/* Some name of some node of the wanted types (a mask); false when luck is out. */
static bool random_node(const struct model *m, struct model_rng *g, unsigned types, struct oprec *r)
{
	for (unsigned i = 0; i < 64; i++) {
		uint32_t d = random_dir(m, g), name = (uint32_t)below(g, MODEL_NAMES);
		int node = model_lookup(m, d, name);

		if (node < 0 || !(types & (1u << m->node[node].type)))
			continue;
		r->dir = d;
		r->name = name;
		return true;
	}
	return false;
}

/* Small and large, aligned and not: uniform in the number of digits. */
static uint64_t random_size(struct model_rng *g, uint64_t max)
{
	uint64_t n = 1 + below(g, 1ull << below(g, 21));

	switch (below(g, 4)) {
	case 0:
		n = (n + PAGE - 1) / PAGE * PAGE;
		break;
	case 1:
		n = n < PAGE ? n : n / PAGE * PAGE;
		break;
	}
	return n < max ? n : max;
}

static void generate_write(const struct model *m, struct model_rng *g, struct oprec *r)
{
	const struct model_node *n = &m->node[model_lookup(m, r->dir, r->name)];

	r->op = MODEL_WRITE;
	r->seed = model_random(g);
	r->len = random_size(g, MODEL_FILE_MAX / 2);
	r->off = below(g, n->size + 1);
	switch (below(g, 8)) {
	case 0: /* a hole before it, perhaps */
		r->off = below(g, MODEL_FILE_MAX / 2);
		break;
	case 1:
	case 2:
		r->flags = MODEL_APPEND;
		r->off = n->size;
		break;
	case 3:
	case 4:
		r->flags = MODEL_DIRECT;
		r->len = (r->len + PAGE - 1) / PAGE * PAGE;
		r->len = r->len > (1u << 20) ? 1u << 20 : r->len;
		r->off = r->off / PAGE * PAGE;
		break;
	case 5:
		r->off = r->off / PAGE * PAGE;
		break;
	}
	if (r->off + r->len > MODEL_FILE_MAX) {
		r->off = 0;
		r->flags &= ~MODEL_APPEND;
	}
	r->flags |= below(g, 8) ? 0 : MODEL_FSYNC;
	r->flags |= below(g, 8) ? 0 : MODEL_DSYNC;
}

static bool generate_data(
	const struct model *m, struct model_rng *g, uint64_t bytes_max, struct oprec *r)
{
	static const uint32_t modes[] = {0, FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
		FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	bool full = m->bytes > bytes_max;
	unsigned what = (unsigned)below(g, 16);
	uint64_t size;

	if (!random_node(m, g, 1u << MODEL_FILE, r))
		return false;
	size = m->node[model_lookup(m, r->dir, r->name)].size;
	if (what < 12 && !full) {
		generate_write(m, g, r);
	} else if (what < 14) {
		r->op = below(g, 3) ? MODEL_TRUNCATE : MODEL_OPEN_TRUNC;
		r->len = full	       ? below(g, size + 1)
			 : below(g, 4) ? below(g, size + 1)
				       : random_size(g, 1u << 20);
		r->len = r->op == MODEL_OPEN_TRUNC ? 0 : r->len;
	} else {
		r->op = MODEL_FALLOCATE;
		r->mode = modes[full ? 2 : below(g, 6)];
		r->off = below(g, size + PAGE);
		r->len = random_size(g, 1u << 20);
		if (below(g, 2))
			r->off = r->off / PAGE * PAGE;
	}
	return true;
}

static bool generate_attr(const struct model *m, struct model_rng *g, struct oprec *r)
{
	unsigned any = (1u << MODEL_FILE) | (1u << MODEL_DIR) | (1u << MODEL_PIPE);

	r->op = (uint8_t)(MODEL_CHMOD + below(g, 5));
	if (r->op >= MODEL_SETXATTR)
		any = (1u << MODEL_FILE) | (1u << MODEL_DIR);
	else if (r->op != MODEL_CHMOD)
		any |= 1u << MODEL_LINK_TARGET;
	if (!random_node(m, g, any, r))
		return false;
	r->seed = model_random(g);
	switch (r->op) {
	case MODEL_CHMOD:
		r->mode = (uint32_t)below(g, 01000) | 0600;
		break;
	case MODEL_CHOWN:
		r->flags = (uint32_t)below(g, 3) * 1000;
		r->mode = (uint32_t)below(g, 3) * 1000;
		break;
	case MODEL_UTIME: /* any time from 1970 to 2106, with nanoseconds */
		r->seed = (r->seed >> 32) * 1000000000u + r->seed % 1000000000u;
		break;
	default:
		r->name2 = (uint32_t)below(g, MODEL_XATTRS);
		r->len = below(g, 20) ? below(g, 300) : below(g, 60000);
		r->flags = below(g, 2) ? 0 : below(g, 2) ? XATTR_CREATE : XATTR_REPLACE;
	}
	return true;
}

static void generate_name(const struct model *m, struct model_rng *g, struct oprec *r)
{
	static const uint8_t ops[] = {MODEL_CREATE, MODEL_CREATE, MODEL_CREATE, MODEL_CREATE,
		MODEL_MKDIR, MODEL_SYMLINK, MODEL_FIFO, MODEL_UNLINK, MODEL_UNLINK, MODEL_RMDIR,
		MODEL_RENAME, MODEL_RENAME, MODEL_RENAME, MODEL_LINK};
	bool full = model_used(m) + 4 > MODEL_NODES;
	unsigned n = sizeof(ops);

	r->op = full ? (below(g, 4) ? MODEL_UNLINK : MODEL_RMDIR) : ops[below(g, n)];
	r->dir = random_dir(m, g);
	r->dir2 = random_dir(m, g);
	r->name = (uint32_t)below(g, MODEL_NAMES);
	r->name2 = (uint32_t)below(g, MODEL_NAMES);
	r->seed = model_random(g);
	r->mode = (uint32_t)below(g, 01000) | 0600;
	if (r->op == MODEL_RENAME) /* NOREPLACE, EXCHANGE, plain */
		r->flags = below(g, 2) ? 0 : 1 + (uint32_t)below(g, 2);
	/* Mostly something that is there. */
	if (r->op == MODEL_UNLINK && below(g, 8))
		random_node(m, g, ~(1u << MODEL_DIR), r);
	if ((r->op == MODEL_RENAME || r->op == MODEL_LINK) && below(g, 8))
		random_node(m, g, ~0u, r);
	if (r->op == MODEL_RMDIR && below(g, 8))
		random_node(m, g, 1u << MODEL_DIR, r);
}

void model_generate(
	const struct model *m, struct model_rng *g, uint64_t bytes_max, struct oprec *ret_r)
{
	unsigned what = (unsigned)below(g, 10);

	memset(ret_r, 0, sizeof(*ret_r));
	if (what < 5 && generate_data(m, g, bytes_max, ret_r))
		return;
	memset(ret_r, 0, sizeof(*ret_r));
	if (what < 7 && generate_attr(m, g, ret_r))
		return;
	memset(ret_r, 0, sizeof(*ret_r));
	generate_name(m, g, ret_r);
}

static int64_t do_write(const struct oprec *r, int dirfd, const char *path, uint8_t *buf)
{
	int flags = O_WRONLY | O_NOFOLLOW | O_CLOEXEC, fd, err = 0;
	ssize_t n;

	flags |= r->flags & MODEL_APPEND ? O_APPEND : 0;
	flags |= r->flags & MODEL_DIRECT ? O_DIRECT : 0;
	flags |= r->flags & MODEL_DSYNC ? O_DSYNC : 0;
	fd = openat(dirfd, path, flags);
	if (fd < 0)
		return -errno;
	pattern_fill(buf, r->len, r->seed);
	if (r->flags & MODEL_APPEND)
		n = write(fd, buf, r->len);
	else
		n = pwrite(fd, buf, r->len, (off_t)r->off);
	if (n < 0)
		err = errno;
	/* After a write that was acknowledged the answer of fsync changes nothing. */
	if (n >= 0 && (r->flags & MODEL_FSYNC) && fsync(fd) && !model_is_interruption(-errno))
		err = errno;
	close(fd);
	return err ? -err : n;
}

static int64_t do_file(const struct oprec *r, int dirfd, const char *path)
{
	int flags = O_RDWR | O_NOFOLLOW | O_CLOEXEC, fd, ret = 0;

	if (r->op == MODEL_OPEN_TRUNC)
		flags |= O_TRUNC;
	if (r->op == MODEL_CREATE)
		flags |= O_CREAT | O_EXCL;
	fd = openat(dirfd, path, flags, r->mode);
	if (fd < 0)
		return -errno;
	if (r->op == MODEL_TRUNCATE)
		ret = ftruncate(fd, (off_t)r->len);
	else if (r->op == MODEL_FALLOCATE)
		ret = fallocate(fd, (int)r->mode, (off_t)r->off, (off_t)r->len);
	ret = ret ? -errno : 0;
	close(fd);
	return ret;
}

static int64_t do_xattr(const struct oprec *r, int dirfd, const char *path, uint8_t *buf)
{
	int fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), ret;
	char name[64];

	if (fd < 0)
		return -errno;
	model_xattr_name(r->name2 % MODEL_XATTRS, name, sizeof(name));
	model_xattr_value(r->seed, buf, r->len);
	if (r->op == MODEL_SETXATTR)
		ret = fsetxattr(fd, name, buf, r->len, (int)r->flags);
	else
		ret = fremovexattr(fd, name);
	ret = ret ? -errno : 0;
	close(fd);
	return ret;
}

static int do_utime(const struct oprec *r, int dirfd, const char *path)
{
	struct timespec ts[2] = {{.tv_nsec = UTIME_OMIT}, {0}};

	ts[1].tv_sec = (time_t)(r->seed / 1000000000u);
	ts[1].tv_nsec = (long)(r->seed % 1000000000u);
	return utimensat(dirfd, path, ts, AT_SYMLINK_NOFOLLOW);
}

int64_t model_execute(const struct model *m, const struct oprec *r, int dirfd, uint8_t *buf)
{
	char path[8192], path2[8192], target[4200];
	int ret = -1;

	model_path(m, r->dir, r->name, path, sizeof(path));
	model_path(m, r->dir2, r->name2, path2, sizeof(path2));
	switch (r->op) {
	case MODEL_CREATE:
	case MODEL_TRUNCATE:
	case MODEL_OPEN_TRUNC:
	case MODEL_FALLOCATE:
		return do_file(r, dirfd, path);
	case MODEL_WRITE:
		return do_write(r, dirfd, path, buf);
	case MODEL_SETXATTR:
	case MODEL_REMOVEXATTR:
		return do_xattr(r, dirfd, path, buf);
	case MODEL_MKDIR:
		ret = mkdirat(dirfd, path, r->mode);
		break;
	case MODEL_SYMLINK:
		model_target(r->seed, target, 4096);
		ret = symlinkat(target, dirfd, path);
		break;
	case MODEL_FIFO:
		ret = mkfifoat(dirfd, path, r->mode);
		break;
	case MODEL_UNLINK:
		ret = unlinkat(dirfd, path, 0);
		break;
	case MODEL_RMDIR:
		ret = unlinkat(dirfd, path, AT_REMOVEDIR);
		break;
	case MODEL_RENAME:
		ret = (int)syscall(SYS_renameat2, dirfd, path, dirfd, path2, r->flags);
		break;
	case MODEL_LINK:
		ret = linkat(dirfd, path, dirfd, path2, 0);
		break;
	case MODEL_CHMOD:
		ret = fchmodat(dirfd, path, r->mode, 0);
		break;
	case MODEL_CHOWN:
		ret = fchownat(dirfd, path, r->flags, r->mode, AT_SYMLINK_NOFOLLOW);
		break;
	case MODEL_UTIME:
		ret = do_utime(r, dirfd, path);
		break;
	}
	return ret ? -errno : 0;
}

static int wrong(const char *path, const char *what)
{
	fprintf(stderr, "load: %s: %s\n", path, what);
	return -EUCLEAN;
}

static int read_file(
	const struct model_node *n, struct model_rng *g, const char *path, int dirfd, uint8_t *buf)
{
	bool direct = !below(g, 3);
	uint64_t off = below(g, n->size + 1), len = 1 + below(g, 1u << 18), expect;
	int fd = openat(dirfd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | (direct ? O_DIRECT : 0));
	ssize_t got = 0, n_read;
	int err;

	if (fd < 0)
		return -errno;
	if (direct) {
		off = off / PAGE * PAGE;
		len = (len + PAGE - 1) / PAGE * PAGE;
	}
	expect = off + len <= n->size ? len : n->size - off;
	/* A short count is the beginning of a read that the mount's end cut off: the rest tells. */
	do {
		n_read = pread(fd, buf + got, len - (uint64_t)got, (off_t)off + got);
		err = n_read < 0 ? -errno : 0;
		got += n_read > 0 ? n_read : 0;
	} while (n_read > 0 && (uint64_t)got < expect);
	close(fd);
	if (err)
		return err;
	if ((uint64_t)got != expect || (expect && memcmp(buf, n->data + off, expect))) {
		fprintf(stderr,
			"load: read %llu at %llu: got %zd, expected %llu of file size %llu%s\n",
			(unsigned long long)len, (unsigned long long)off, got,
			(unsigned long long)expect, (unsigned long long)n->size,
			direct ? ", O_DIRECT" : "");
		return wrong(path, "a read returned something else than was written");
	}
	return 0;
}

static int read_dir(const struct model_node *n, const char *path, int dirfd)
{
	int fd = openat(dirfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	unsigned have = 0, want = 0;
	struct dirent *e;

	if (!d)
		return -errno;
	for (errno = 0; (e = readdir(d)); errno = 0)
		have += e->d_name[0] == 'n';
	err = errno;
	closedir(d);
	if (err)
		return -err;
	for (unsigned i = 0; i < MODEL_NAMES; i++)
		want += n->child[i] != 0;
	return have == want ? 0 : wrong(path, "its list of names is not what was made");
}

int model_read_something(const struct model *m, struct model_rng *g, int dirfd, uint8_t *buf)
{
	struct oprec r = {0};
	const struct model_node *n;
	char path[8192];
	struct stat st;

	if (!random_node(m, g, (1u << MODEL_FILE) | (1u << MODEL_DIR), &r))
		return 0;
	n = &m->node[model_lookup(m, r.dir, r.name)];
	model_path(m, r.dir, r.name, path, sizeof(path));
	if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW))
		return -errno;
	if ((st.st_mode & 07777) != n->mode || st.st_uid != n->uid ||
		(n->type == MODEL_FILE &&
			((uint64_t)st.st_size != n->size || st.st_nlink != n->nlink)))
		return wrong(path, "stat shows other attributes than were set");
	if (n->type == MODEL_DIR)
		return read_dir(n, path, dirfd);
	return read_file(n, g, path, dirfd, buf);
}
