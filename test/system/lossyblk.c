/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A disk with a volatile write cache, for power cuts: a FUSE mount with one file, `disk`, below which
 * a loop device goes and on that a filesystem. The loop driver turns the block layer's flushes into
 * fsync(2) on it.
 *
 *   lossyblk IMAGE MOUNTPOINT        stays in the foreground; unmount MOUNTPOINT to end it
 *
 * A write is pending, in memory, until a flush that began after it has ended; reads see it at once.
 * IMAGE holds what is on the platter. A line written to MOUNTPOINT/ctl orders something (the write
 * fails when it cannot be done); reading it shows the counters.
 *
 *   crash MODE [SEED]       the power is cut: IMAGE gets what survives of the pending writes, and from
 *                           now on everything fails with EIO
 *   on                      power again: the disk is what IMAGE holds. Nothing may use it in between
 *   snap OUT MODE [SEED]    the file OUT (an absolute path) becomes what a cut now would leave; the disk
 *                           goes on
 *   lie 0|1                 1: flushes are answered and do nothing
 *   delay US                a flush takes that long
 *   unit BYTES              what is written whole or not at all: 512, or 4096 as of most drives
 *   fail read|write|flush N [REPEAT]
 *                           the N-th one from now (1: the next) and REPEAT after it fail with EIO;
 *                           0 disarms. A failed write is not there, a failed flush flushes nothing
 *   bad OFFSET LENGTH       these bytes, whole sectors, cannot be read any more (EIO), until they are
 *                           written, which a drive answers with sectors from its reserve
 *
 *   MODE: none    nothing that is pending survives
 *         all     everything does
 *         prefix  a prefix of it, in the order of arrival, at random
 *         random  each unit of each write with a chance of one half
 *
 * Threads: libfuse's; `lock` covers everything in struct disk but the constants. The delay of a flush
 * passes without it.
 */
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "cleanup.h"
#include "oplog.h"

#define SECTOR 512u
#define WRITE_MAX (1u << 20)

enum kind { KIND_READ, KIND_WRITE, KIND_FLUSH, KINDS };
static const char *const kind_names[KINDS] = {"read", "write", "flush"};

struct pending {
	off_t off;
	size_t len;
	uint8_t *bytes; /* ours */
};

struct disk {
	/* constants */
	int fd; /* IMAGE */
	off_t size;
	uint8_t *view; /* private mapping of IMAGE with every write in it: what reads see */

	pthread_mutex_t lock;
	struct pending *writes; /* in the order of arrival */
	size_t count, cap;
	uint64_t dropped; /* writes[i] is number dropped + i since the start */
	uint64_t bytes; /* of all of them */
	bool off, lie;
	unsigned delay_us;
	size_t unit; /* bytes, a multiple of SECTOR */
	struct fault {
		uint64_t at, repeat; /* at: countdown; 0: none */
	} fault[KINDS];
	uint64_t done[KINDS], failed;
	uint8_t *bad; /* a byte for each sector that cannot be read; zero pages where none was */
	uint64_t bad_count;
};

static struct disk *the_disk(void)
{
	return fuse_get_context()->private_data;
}

/* lock held: an operation of this kind begins. 0 or -EIO. */
static int begin(struct disk *d, enum kind kind)
{
	struct fault *f = &d->fault[kind];
	bool fails = d->off;

	if (f->at > 1) {
		f->at--;
	} else if (f->at == 1) {
		fails = true;
		if (f->repeat)
			f->repeat--;
		else
			f->at = 0;
	}
	d->done[kind] += !fails;
	d->failed += fails;
	return fails ? -EIO : 0;
}

/* --- what is pending, and what becomes of it; lock held ------------------------------------------ */

static void keep_write(struct disk *d, const void *bytes, size_t len, off_t off)
{
	struct pending *p;

	if (d->count == d->cap) {
		d->cap = d->cap ? 2 * d->cap : 1024;
		d->writes = realloc(d->writes, d->cap * sizeof(*d->writes));
		ensure(d->writes);
	}
	p = &d->writes[d->count++];
	*p = (struct pending){.off = off, .len = len, .bytes = malloc(len)};
	ensure(p->bytes);
	memcpy(p->bytes, bytes, len);
	memcpy(d->view + off, bytes, len);
	d->bytes += len;
}

static void drop_writes(struct disk *d, size_t count)
{
	if (!count)
		return;
	for (size_t i = 0; i < count; i++) {
		d->bytes -= d->writes[i].len;
		free(d->writes[i].bytes);
	}
	memmove(d->writes, d->writes + count, (d->count - count) * sizeof(*d->writes));
	d->count -= count;
	d->dropped += count;
}

static int put(int fd, const struct pending *p, size_t from, size_t len)
{
	while (len) {
		ssize_t n = pwrite(fd, p->bytes + from, len, p->off + (off_t)from);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			from += (size_t)n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* Everything up to that number is on the platter now. */
static int flush_upto(struct disk *d, uint64_t number)
{
	size_t count = number > d->dropped ? (size_t)(number - d->dropped) : 0;

	for (size_t i = 0; i < count; i++) {
		int ret = put(d->fd, &d->writes[i], 0, d->writes[i].len);

		if (ret)
			return ret;
	}
	drop_writes(d, count);
	return 0;
}

/* --- sectors that cannot be read; lock held ------------------------------------------------------ */

static bool any_bad(const struct disk *d, off_t off, size_t len)
{
	for (off_t i = off / SECTOR; d->bad_count && i * SECTOR < off + (off_t)len; i++)
		if (d->bad[i])
			return true;
	return false;
}

/* Those that lie wholly within; part of a sector needs the rest of it read, and loop devices do not. */
static void set_bad(struct disk *d, off_t off, size_t len, bool bad)
{
	if (!bad && !d->bad_count)
		return;
	for (off_t i = (off + SECTOR - 1) / SECTOR; (i + 1) * SECTOR <= off + (off_t)len; i++) {
		d->bad_count += bad - d->bad[i];
		d->bad[i] = bad;
	}
}

static bool mode_is_known(const char *mode)
{
	return !strcmp(mode, "none") || !strcmp(mode, "all") || !strcmp(mode, "prefix") ||
	       !strcmp(mode, "random");
}

/* Writes what survives of the pending writes to a file that holds the platter. */
static int survive(struct disk *d, int fd, const char *mode, uint64_t seed)
{
	bool coins = !strcmp(mode, "random");
	uint64_t state = seed, kept = 0, lost = 0;
	size_t whole = 0, unit = d->unit;

	if (!strcmp(mode, "all"))
		whole = d->count;
	else if (!strcmp(mode, "prefix"))
		whole = (size_t)(pattern_mix(++state) % (d->count + 1));
	for (size_t i = 0; i < d->count; i++) {
		const struct pending *p = &d->writes[i];

		for (size_t at = 0, n; at < p->len; at += n) {
			int ret;

			n = MIN(p->len - at, unit - (size_t)(p->off + (off_t)at) % unit);

			if (coins ? !(pattern_mix(++state) >> 63) : i >= whole) {
				lost++;
				continue;
			}
			ret = put(fd, p, at, n);
			if (ret)
				return ret;
			kept++;
		}
	}
	fprintf(stderr,
		"lossyblk: cut with %zu writes pending (%" PRIu64 " bytes), %s: %" PRIu64
		" sectors survive, %" PRIu64 " are lost\n",
		d->count, d->bytes, mode, kept, lost);
	return 0;
}

static int crash(struct disk *d, const char *mode, uint64_t seed)
{
	int ret = d->off ? -EINVAL : survive(d, d->fd, mode, seed);

	if (ret)
		return ret;
	d->off = true;
	drop_writes(d, d->count);
	return 0;
}

static int power_on(struct disk *d)
{
	if (!d->off)
		return -EINVAL;
	/* The private copies go, and what IMAGE holds is seen again. */
	if (madvise(d->view, (size_t)d->size, MADV_DONTNEED) < 0)
		return -errno;
	memset(d->fault, 0, sizeof(d->fault));
	d->off = d->lie = false;
	return 0;
}

/* The holes of IMAGE stay holes. */
static int copy_platter(const struct disk *d, int out)
{
	off_t from = 0, to;

	if (ftruncate(out, d->size) < 0)
		return -errno;
	while ((from = lseek(d->fd, from, SEEK_DATA)) >= 0) {
		to = lseek(d->fd, from, SEEK_HOLE);
		while (from < to) {
			off_t out_off = from;
			ssize_t n = copy_file_range(
				d->fd, &from, out, &out_off, (size_t)(to - from), 0);

			if (n <= 0)
				return n < 0 ? -errno : -EIO;
		}
	}
	return errno == ENXIO ? 0 : -errno;
}

static int snap(struct disk *d, const char *path, const char *mode, uint64_t seed)
{
	cleanup_close int out = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	int ret;

	if (out < 0)
		return -errno;
	ret = copy_platter(d, out);
	return ret ? ret : survive(d, out, mode, seed);
}

static int set_fault(struct disk *d, const char *kind, uint64_t at, uint64_t repeat)
{
	for (unsigned k = 0; k < KINDS; k++) {
		if (strcmp(kind, kind_names[k]) != 0)
			continue;
		d->fault[k] = (struct fault){.at = at, .repeat = repeat};
		return 0;
	}
	return -EINVAL;
}

/* One line of the control file. */
static int order(struct disk *d, const char *line)
{
	char verb[16] = "", a[4096] = "", b[16] = "";
	uint64_t n = 0, m = 0;

	LOCK_SCOPE(&d->lock);
	if (sscanf(line, "%15s", verb) != 1)
		return -EINVAL;
	if (!strcmp(verb, "crash"))
		return sscanf(line, "%*s %15s %" SCNu64, b, &n) >= 1 && mode_is_known(b)
			       ? crash(d, b, n)
			       : -EINVAL;
	if (!strcmp(verb, "on"))
		return power_on(d);
	if (!strcmp(verb, "snap"))
		return sscanf(line, "%*s %4095s %15s %" SCNu64, a, b, &n) >= 2 && *a == '/' &&
				       mode_is_known(b)
			       ? snap(d, a, b, n)
			       : -EINVAL;
	if (!strcmp(verb, "fail"))
		return sscanf(line, "%*s %15s %" SCNu64 " %" SCNu64, b, &n, &m) >= 2
			       ? set_fault(d, b, n, m)
			       : -EINVAL;
	if (!strcmp(verb, "bad")) {
		if (sscanf(line, "%*s %" SCNu64 " %" SCNu64, &n, &m) != 2 ||
			n > (uint64_t)d->size || m > (uint64_t)d->size - n)
			return -EINVAL;
		set_bad(d, (off_t)n, m, true);
		return 0;
	}
	if (sscanf(line, "%*s %" SCNu64, &n) != 1)
		return -EINVAL;
	if (!strcmp(verb, "lie"))
		d->lie = n != 0;
	else if (!strcmp(verb, "delay"))
		d->delay_us = (unsigned)n;
	else if (!strcmp(verb, "unit") && n >= SECTOR && n <= 65536 && n % SECTOR == 0)
		d->unit = (size_t)n;
	else
		return -EINVAL;
	return 0;
}

/* --- the two files ------------------------------------------------------------------------------ */

static bool is_disk(const char *path)
{
	return !strcmp(path, "/disk");
}

static bool is_ctl(const char *path)
{
	return !strcmp(path, "/ctl");
}

static int disk_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	memset(st, 0, sizeof(*st));
	st->st_nlink = 1;
	if (!strcmp(path, "/")) {
		st->st_mode = S_IFDIR | 0700;
		st->st_nlink = 2;
	} else if (is_disk(path)) {
		st->st_mode = S_IFREG | 0600;
		st->st_size = the_disk()->size;
		st->st_blocks = st->st_size / 512;
	} else if (is_ctl(path)) {
		st->st_mode = S_IFREG | 0600;
	} else {
		return -ENOENT;
	}
	return 0;
}

static int disk_readdir(const char *path, void *buf, fuse_fill_dir_t fill, off_t off,
	struct fuse_file_info *fi, enum fuse_readdir_flags flags)
{
	fill(buf, "disk", NULL, 0, 0);
	fill(buf, "ctl", NULL, 0, 0);
	return 0;
}

/* The kernel must not keep what a cut takes away. */
static int disk_open(const char *path, struct fuse_file_info *fi)
{
	fi->direct_io = 1;
	return is_disk(path) || is_ctl(path) ? 0 : -ENOENT;
}

/* `echo on >ctl` truncates. */
static int disk_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	return is_ctl(path) ? 0 : -EPERM;
}

/* One read gets all of it: the next one would see other counters. */
static int show(struct disk *d, char *buf, size_t size, off_t off)
{
	char text[512];
	int len;

	LOCK_SCOPE(&d->lock);
	len = snprintf(text, sizeof(text),
		"reads %" PRIu64 " writes %" PRIu64 " flushes %" PRIu64 " failed %" PRIu64
		" pending %zu bytes %" PRIu64 " bad %" PRIu64 "%s%s\n",
		d->done[KIND_READ], d->done[KIND_WRITE], d->done[KIND_FLUSH], d->failed, d->count,
		d->bytes, d->bad_count, d->off ? " off" : "", d->lie ? " lies" : "");
	if (off)
		return 0;
	len = (int)MIN((size_t)len, size);
	memcpy(buf, text, (size_t)len);
	return len;
}

static int disk_read(const char *path, char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct disk *d = the_disk();
	int ret;

	if (is_ctl(path))
		return show(d, buf, size, off);
	if (off >= d->size)
		return 0;
	size = MIN(size, (size_t)(d->size - off));
	LOCK_SCOPE(&d->lock);
	ret = begin(d, KIND_READ);
	if (!ret && any_bad(d, off, size)) {
		d->failed++;
		ret = -EIO;
	}
	if (!ret)
		memcpy(buf, d->view + off, size);
	return ret ? ret : (int)size;
}

static int disk_write(
	const char *path, const char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct disk *d = the_disk();
	char line[8192];
	int ret;

	if (is_ctl(path)) {
		snprintf(line, sizeof(line), "%.*s", (int)size, buf);
		ret = order(d, line);
		return ret ? ret : (int)size;
	}
	if (off < 0 || off > d->size || size > (size_t)(d->size - off))
		return -ENOSPC;
	LOCK_SCOPE(&d->lock);
	ret = begin(d, KIND_WRITE);
	if (!ret) {
		keep_write(d, buf, size, off);
		set_bad(d, off, size, false);
	}
	return ret ? ret : (int)size;
}

/* What had arrived when it began is on the platter when it ends; what comes meanwhile is not. */
static int disk_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	struct disk *d = the_disk();
	unsigned delay_us;
	uint64_t number;
	int ret;

	if (!is_disk(path))
		return 0;
	pthread_mutex_lock(&d->lock);
	ret = begin(d, KIND_FLUSH);
	number = d->dropped + d->count;
	delay_us = d->delay_us;
	pthread_mutex_unlock(&d->lock);
	if (ret)
		return ret;
	if (delay_us)
		usleep(delay_us);
	LOCK_SCOPE(&d->lock);
	if (d->off)
		return -EIO;
	return d->lie ? 0 : flush_upto(d, number);
}

static void *disk_init(struct fuse_conn_info *conn, struct fuse_config *cfg)
{
	conn->max_write = WRITE_MAX;
	cfg->attr_timeout = cfg->entry_timeout = 3600;
	return the_disk();
}

static const struct fuse_operations operations = {
	.getattr = disk_getattr,
	.readdir = disk_readdir,
	.open = disk_open,
	.truncate = disk_truncate,
	.read = disk_read,
	.write = disk_write,
	.fsync = disk_fsync,
	.init = disk_init,
};

int main(int argc, char **argv)
{
	struct disk d = {.lock = PTHREAD_MUTEX_INITIALIZER};
	char *args[] = {argv[0], "-f", "-o", "fsname=lossyblk", argc == 3 ? argv[2] : NULL, NULL};
	struct stat st;
	int ret;

	if (argc != 3) {
		fprintf(stderr, "usage: lossyblk IMAGE MOUNTPOINT\n");
		return 2;
	}
	d.fd = open(argv[1], O_RDWR | O_CLOEXEC);
	if (d.fd < 0 || fstat(d.fd, &st) < 0) {
		perror(argv[1]);
		return 1;
	}
	d.size = st.st_size;
	d.view = mmap(
		NULL, (size_t)d.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, d.fd, 0);
	d.unit = SECTOR;
	d.bad = calloc((size_t)d.size / SECTOR + 1, 1);
	if (d.view == MAP_FAILED || !d.bad) {
		perror("mmap");
		return 1;
	}
	ret = fuse_main(5, args, &operations, &d);
	drop_writes(&d, d.count);
	free(d.writes);
	free(d.bad);
	return ret;
}
