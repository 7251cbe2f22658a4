/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records and facts on the disk: magic, version, length, body, CRC-32C; written to a new file,
 * synced, renamed over the old one, and the directory synced, so that a crash leaves the old or the
 * new one. A left-over new file is overwritten by the next store.
 *
 * Failure modes: a file that is short, long, damaged or of an impossible content is -EBADMSG, with
 * its path; one of a newer build is -EPROTONOSUPPORT. After a failed store the caller ends (I9).
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bytes.h"
#include "cleanup.h"
#include "crc32c.h"

#define FILE_HEADER_SIZE 12u
#define FILE_VERSION 1u
#define RECORD_MAGIC 0x43524654u /* "TFRC" */
#define FACTS_MAGIC 0x41464654u /* "TFFA" */
#define FACTS_BODY_MAX 1024u
#define FACTS_DAMAGED 0x80000000u /* in the number of bad starts */
#define FACTS_MET 0x40000000u

static int write_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t w = write(fd, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

static int sync_parent(const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *dir = slash ? strndup(path, (size_t)(slash - path)) : strdup(".");
	cleanup_close int fd = -1;

	ensure(dir);
	fd = open(*dir ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		return err_set(e, -errno, "'%s': %s", *dir ? dir : "/", strerror(errno));
	return 0;
}

/* A quota is a small disk. */
static int write_error(int error)
{
	return error == EDQUOT ? -ENOSPC : -error;
}

/* `file` has room for the header before and the checksum behind the body. */
static int file_store(const char *path, uint32_t magic, uint8_t *file, size_t body, struct err *e)
{
	struct bytes b = bytes_of(file, FILE_HEADER_SIZE + body + 4);
	cleanup_free char *temp = NULL;
	cleanup_close int fd = -1;
	int r;

	bytes_put32(&b, magic);
	bytes_put16(&b, FILE_VERSION);
	bytes_put16(&b, 0);
	bytes_put32(&b, (uint32_t)body);
	bytes_take(&b, body);
	bytes_put32(&b, crc32c(0, file, FILE_HEADER_SIZE + body));
	ensure(!b.bad);
	if (asprintf(&temp, "%s.new", path) < 0)
		return err_set(e, -ENOMEM, "'%s': out of memory", path);
	fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(e, write_error(errno), "'%s': %s", temp, strerror(errno));
	r = write_all(fd, file, b.at);
	if (!r && fsync(fd))
		r = -errno;
	if (r)
		return err_set(e, write_error(-r), "'%s': %s", temp, strerror(-r));
	if (rename(temp, path))
		return err_set(e, write_error(errno), "'%s': %s", path, strerror(errno));
	return sync_parent(path, e);
}

/* Reads at most `size` bytes; one more means that the file is too long. */
static int file_read(const char *path, uint8_t *file, size_t size, size_t *ret_len, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t n = 0;

	if (fd < 0)
		return err_set(e, -errno, "'%s': %s", path, strerror(errno));
	while (n < size) {
		ssize_t r = read(fd, file + n, size - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return err_set(e, -errno, "'%s': %s", path, strerror(errno));
		if (!r)
			break;
		n += (size_t)r;
	}
	*ret_len = n;
	return 0;
}

static int file_load(const char *path, uint32_t magic, uint8_t *file, size_t size, size_t *ret_body,
	struct err *e)
{
	struct bytes b;
	size_t len = 0, body;
	unsigned version;
	int r = file_read(path, file, size, &len, e);

	if (r)
		return r;
	b = bytes_of(file, len);
	if (bytes_get32(&b) != magic)
		return err_set(e, -EBADMSG, "'%s' is damaged: no magic number", path);
	version = bytes_get16(&b);
	bytes_get16(&b);
	body = bytes_get32(&b);
	if (b.bad || len < FILE_HEADER_SIZE + 4 || body != len - FILE_HEADER_SIZE - 4)
		return err_set(e, -EBADMSG, "'%s' is damaged: wrong length", path);
	bytes_take(&b, body);
	if (bytes_get32(&b) != crc32c(0, file, FILE_HEADER_SIZE + body))
		return err_set(e, -EBADMSG, "'%s' is damaged: wrong checksum", path);
	if (version != FILE_VERSION || file[6] || file[7])
		return err_set(e, -EPROTONOSUPPORT,
			"'%s' has version %u, this build knows %u: install a newer build", path,
			version, FILE_VERSION);
	*ret_body = body;
	return 0;
}

int record_load(const char *path, struct record *ret_r, struct err *e)
{
	size_t size = FILE_HEADER_SIZE + RECORD_ENCODED_MAX + 4 + 1, body;
	cleanup_free uint8_t *file = malloc(size);
	cleanup_free struct record *r = malloc(sizeof(*r));
	int ret;

	if (!file || !r)
		return err_set(e, -ENOMEM, "'%s': out of memory", path);
	ret = file_load(path, RECORD_MAGIC, file, size, &body, e);
	if (ret)
		return ret;
	if (record_decode(file + FILE_HEADER_SIZE, body, r))
		return err_set(e, -EBADMSG, "'%s' is damaged: impossible content", path);
	if (r->format_level > RECORD_FORMAT_LEVEL)
		return err_set(e, -EPROTONOSUPPORT,
			"'%s' is of format level %u, this build knows %u: install a newer build",
			path, r->format_level, RECORD_FORMAT_LEVEL);
	record_copy(ret_r, r);
	return 0;
}

int record_store(const char *path, const struct record *r, struct err *e)
{
	size_t size = FILE_HEADER_SIZE + RECORD_ENCODED_MAX + 4, body;
	cleanup_free uint8_t *file = malloc(size);

	ensure(record_valid(r));
	if (!file)
		return err_set(e, -ENOMEM, "'%s': out of memory", path);
	body = record_encode(r, file + FILE_HEADER_SIZE, RECORD_ENCODED_MAX);
	ensure(body);
	return file_store(path, RECORD_MAGIC, file, body, e);
}

static void put_version(struct bytes *b, const struct record_version *v)
{
	bytes_put64(b, v->number);
	bytes_put64(b, v->id);
	bytes_put8(b, v->forced);
}

static void get_version(struct bytes *b, struct record_version *v)
{
	v->number = bytes_get64(b);
	v->id = bytes_get64(b);
	v->forced = bytes_get8(b);
}

int facts_load(const char *path, struct replica_facts *ret_f, struct err *e)
{
	uint8_t file[FILE_HEADER_SIZE + FACTS_BODY_MAX + 4 + 1];
	struct replica_facts f = {0};
	struct bytes b;
	size_t body;
	int r = file_load(path, FACTS_MAGIC, file, sizeof(file), &body, e);

	if (r == -ENOENT) {
		*ret_f = f;
		return 0;
	}
	if (r)
		return r;
	b = bytes_of(file + FILE_HEADER_SIZE, body);
	f.demoted = bytes_get8(&b);
	f.bad_starts = bytes_get32(&b);
	f.damaged = f.bad_starts & FACTS_DAMAGED;
	f.met = f.bad_starts & FACTS_MET;
	f.bad_starts &= ~(FACTS_DAMAGED | FACTS_MET);
	f.committed = bytes_get64(&b);
	get_version(&b, &f.base);
	f.nproposed = bytes_get32(&b);
	if (b.bad || f.nproposed > FACTS_PROPOSED_MAX)
		return err_set(e, -EBADMSG, "'%s' is damaged: impossible content", path);
	for (unsigned i = 0; i < f.nproposed; i++)
		get_version(&b, &f.proposed[i]);
	if (bytes_left(&b)) /* three replicas only */
		f.promised_epoch = bytes_get32(&b);
	if (b.bad || bytes_left(&b))
		return err_set(e, -EBADMSG, "'%s' is damaged: impossible content", path);
	*ret_f = f;
	return 0;
}

int facts_store(const char *path, const struct replica_facts *f, struct err *e)
{
	uint8_t file[FILE_HEADER_SIZE + FACTS_BODY_MAX + 4];
	struct bytes b = bytes_of(file + FILE_HEADER_SIZE, FACTS_BODY_MAX);

	ensure(f->nproposed <= FACTS_PROPOSED_MAX);
	bytes_put8(&b, f->demoted);
	bytes_put32(&b, (f->bad_starts & ~(FACTS_DAMAGED | FACTS_MET)) |
				(f->damaged ? FACTS_DAMAGED : 0) | (f->met ? FACTS_MET : 0));
	bytes_put64(&b, f->committed);
	put_version(&b, &f->base);
	bytes_put32(&b, f->nproposed);
	for (unsigned i = 0; i < f->nproposed; i++)
		put_version(&b, &f->proposed[i]);
	if (f->promised_epoch)
		bytes_put32(&b, f->promised_epoch);
	ensure(!b.bad);
	return file_store(path, FACTS_MAGIC, file, b.at, e);
}
