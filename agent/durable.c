/* SPDX-License-Identifier: Apache-2.0 */
/* Durable files. A failure leaves the old file, and nothing beside it. */
#include "durable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

#define PATH_BYTES 4600

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

int durable_write(const char *path, const char *text, mode_t mode, struct err *e)
{
	int fd, ret;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode & 0600);
	if (fd < 0)
		return err_set(e, -errno, "cannot write '%.180s': %s", path, strerror(errno));
	ret = fchmod(fd, mode) < 0 ? -errno : write_all(fd, text, strlen(text));
	close(fd);
	if (!ret)
		return 0;
	unlink(path);
	return err_set(e, ret, "cannot write '%.180s': %s", path, strerror(-ret));
}

static int sync_parent(const char *path, struct err *e)
{
	cleanup_close int fd = -1;
	char parent[PATH_BYTES];
	char *slash;

	snprintf(parent, sizeof(parent), "%s", path);
	slash = strrchr(parent, '/');
	ensure(slash);
	slash[slash == parent] = '\0';
	fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		return err_set(e, -errno, "'%.180s': %s", parent, strerror(errno));
	return 0;
}

int durable_rename(const char *from, const char *to, struct err *e)
{
	if (rename(from, to) < 0)
		return err_set(e, -errno, "cannot write '%.180s': %s", to, strerror(errno));
	return sync_parent(to, e);
}

int durable_replace(const char *path, const char *text, mode_t mode, struct err *e)
{
	char temporary[PATH_BYTES];
	int ret;

	snprintf(temporary, sizeof(temporary), "%s.tmp", path);
	ret = durable_write(temporary, text, mode, e);
	return ret ? ret : durable_rename(temporary, path, e);
}

int durable_remove(const char *path, struct err *e)
{
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set(e, -errno, "cannot remove '%.180s': %s", path, strerror(errno));
	return sync_parent(path, e);
}

int durable_make_dir(const char *path, mode_t mode, struct err *e)
{
	char part[PATH_BYTES];

	snprintf(part, sizeof(part), "%s", path);
	for (char *p = part + 1; *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return err_set(
				e, -errno, "cannot make '%.180s': %s", part, strerror(errno));
		*p = '/';
	}
	if (mkdir(part, mode) < 0 && errno != EEXIST)
		return err_set(e, -errno, "cannot make '%.180s': %s", part, strerror(errno));
	return 0;
}
