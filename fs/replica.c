/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making an empty replica: identity, birth record, an empty store with the root directory, a ring of
 * zeros.
 *
 * Failure modes: any error leaves a part of it behind, which the caller removes; it is in a directory of
 * its own, so nothing else is touched.
 */
#include "replica.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "cleanup.h"
#include "ring.h"
#include "store.h"

static int sync_dir(const char *path, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		return err_set(e, -errno, "'%s': %s", path, strerror(errno));
	return 0;
}

static int write_file(const char *dir, const char *name, const char *text, struct err *e)
{
	char path[4300];
	cleanup_close int fd = -1;
	size_t len = strlen(text);

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, len) != (ssize_t)len || fsync(fd))
		return err_set(e, errno ? -errno : -EIO, "'%s': %s", path, strerror(errno));
	return 0;
}

static int make_store(const char *dir, const struct descriptor *d, struct err *e)
{
	struct store_options so = {.create = true};
	struct store *s;
	char path[4300];
	int r;

	snprintf(path, sizeof(path), "%s/meta", dir);
	r = store_open(path, &so, &s, e);
	if (r)
		return r;
	r = tree_format(
		s, &d->volume, d->size / BLOCK_SIZE, d->time_ns, d->mode, d->uid, d->gid, e);
	if (!r && d->directory[0])
		r = tree_format_directory(s, d->directory, e);
	store_close(s);
	return r;
}

int replica_build(
	const char *dir, const struct descriptor *d, const struct uuid *self, struct err *e)
{
	char path[4300], text[UUID_TEXT_SIZE + 1];
	struct record *record = calloc(1, sizeof(*record));
	cleanup_free void *record_memory = record;
	size_t len;
	int r;

	if (!record)
		return -ENOMEM;
	snprintf(path, sizeof(path), "%s/volume", dir);
	r = descriptor_store(path, d, e);
	uuid_text(self, text);
	len = strlen(text);
	text[len] = '\n';
	text[len + 1] = '\0';
	if (!r)
		r = write_file(dir, "replica", text, e);
	if (!r)
		r = write_file(dir, "lock", "", e);
	descriptor_record(d, record);
	snprintf(path, sizeof(path), "%s/record", dir);
	if (!r)
		r = record_store(path, record, e);
	snprintf(path, sizeof(path), "%s/data", dir);
	if (!r && mkdir(path, 0700))
		r = err_set(e, -errno, "'%s': %s", path, strerror(errno));
	if (!r)
		r = make_store(dir, d, e);
	snprintf(path, sizeof(path), "%s/ring", dir);
	if (!r)
		r = ring_create(path, d->ring_size, e);
	return r ? r : sync_dir(dir, e);
}
