/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Catching up without a flush between any two batches.
 *
 * Ordinarily a batch whose commit index covers a batch in flight is held until that one is durable;
 * so an intact batch on the disk proves that what it calls committed was durable here once, and damage
 * below it is corruption. While a replica catches up nearly every batch covers the one before it, and
 * each would wait for a flush of its own.
 *
 * So before a run of old batches (from, to] is appended, the file `behind` in the ring's directory
 * says so, durably. Within that run batches are written as they come, and recovery takes what is
 * missing there for torn: the history ends before it, and the active, which waits for nobody's word
 * on what it has, sends it again. A batch behind `to` is held as ever until the run is durable, so its
 * word counts again. When the run is durable the file is removed, durably or not: a leftover says less
 * than it could, for a run that is whole.
 *
 * Failure modes: the file is written to a new name, synced, renamed, and the directory synced; a
 * damaged file is -EBADMSG. It names positions by seq alone: a dropped tail (ring_truncate) only
 * shortens what exists of the run. Not held off: a payload of the run that was dead at the source came marked gone, and
 * what lies at its place matches no checksum. Where the power fails before the removal is durable, and before a batch
 * with a later commit index came, recovery takes the first of them for torn and cuts off what was acknowledged behind it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "cleanup.h"
#include "crc32c.h"
#include "ring_impl.h"

#define BEHIND_MAGIC 0x48424654u /* "TFBH" */
#define BEHIND_SIZE 24u /* magic, from, to, CRC-32C of the 20 bytes before it */
#define PATH_SIZE 4300u

static int write_file(const char *path, const void *data, size_t len)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, data, len);
	if (n != (ssize_t)len)
		return n < 0 ? -errno : -EIO;
	return fsync(fd) < 0 ? -errno : 0;
}

static int sync_dir(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) < 0 ? -errno : 0;
}

int ring_behind(struct ring *r, uint64_t to, struct err *e)
{
	uint8_t data[BEHIND_SIZE];
	struct bytes b = bytes_of(data, sizeof(data));
	char path[PATH_SIZE], tmp[PATH_SIZE];
	/* What is in flight now has not waited for the run, but the run does not wait for it either. */
	uint64_t from = r->behind_to > r->durable_seq ? r->behind_from : r->durable_seq;
	int ret;

	bytes_put32(&b, BEHIND_MAGIC);
	bytes_put64(&b, from);
	bytes_put64(&b, to);
	bytes_put32(&b, crc32c(0, data, BEHIND_SIZE - 4));
	snprintf(path, sizeof(path), "%s/behind", r->dir);
	snprintf(tmp, sizeof(tmp), "%s/behind.new", r->dir);
	ret = write_file(tmp, data, sizeof(data));
	if (!ret && rename(tmp, path))
		ret = -errno;
	if (!ret)
		ret = sync_dir(r->dir);
	if (ret)
		return err_set(e, ret, "journal '%s': noting a run of old batches: %s", r->dir,
			strerror(-ret));
	r->behind_from = from;
	r->behind_to = to;
	return 0;
}

void ring_behind_end(struct ring *r)
{
	char path[PATH_SIZE];

	if (!r->behind_to || r->durable_seq < MIN(r->behind_to, r->end.seq))
		return;
	snprintf(path, sizeof(path), "%s/behind", r->dir);
	unlink(path);
	r->behind_from = r->behind_to = 0;
}

int ring_behind_load(struct ring *r, struct err *e)
{
	uint8_t data[BEHIND_SIZE + 1];
	struct bytes b = bytes_of(data, BEHIND_SIZE);
	char path[PATH_SIZE];
	cleanup_close int fd = -1;
	uint64_t from, to;
	uint32_t magic;

	snprintf(path, sizeof(path), "%s/behind", r->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? 0 : err_set(e, -errno, "'%s': %s", path, strerror(errno));
	if (read(fd, data, sizeof(data)) != BEHIND_SIZE)
		return err_set(e, -EBADMSG, "'%s' is damaged", path);
	magic = bytes_get32(&b);
	from = bytes_get64(&b);
	to = bytes_get64(&b);
	if (magic != BEHIND_MAGIC || bytes_get32(&b) != crc32c(0, data, BEHIND_SIZE - 4) ||
		from > to)
		return err_set(e, -EBADMSG, "'%s' is damaged", path);
	r->behind_from = from;
	r->behind_to = to;
	return 0;
}
