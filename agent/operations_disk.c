/* SPDX-License-Identifier: Apache-2.0 */
/* The operations' files. A file that is damaged, or of a future build, is told of and left alone. */
#include "operations_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define FILE_MAX (64u << 10) /* bytes */
#define SUFFIX ".json"

/* The directory, and what is missing above it. */
static int make_directory(const char *path)
{
	char part[4096];

	for (const char *p = path + 1;; p++) {
		if (*p && *p != '/')
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)(p - path), path);
		if (mkdir(part, 0700) < 0 && errno != EEXIST)
			return -errno;
		if (!*p)
			return 0;
	}
}

static int write_file(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), ret = 0;
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, len);
	if (n < 0)
		ret = -errno;
	else if ((size_t)n != len)
		ret = -ENOSPC;
	else if (fsync(fd) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

int operations_store(const struct agent_config *c, const struct operation *op, struct err *e)
{
	struct json *j = operation_json(op);
	char name[64], new[72];
	int dir, ret = make_directory(c->state_dir);

	snprintf(name, sizeof(name), "%s" SUFFIX, op->id);
	snprintf(new, sizeof(new), "%s.new", name);
	dir = ret ? -1 : open(c->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!ret && dir < 0)
		ret = -errno;
	if (!ret)
		ret = write_file(dir, new, json_text(j, true));
	if (!ret && (renameat(dir, new, dir, name) < 0 || fsync(dir) < 0))
		ret = -errno;
	if (dir >= 0)
		close(dir);
	json_free(j);
	return ret ? err_set(e, ret, "cannot write '%.150s/%s': %s", c->state_dir, name,
			     strerror(-ret))
		   : 0;
}

void operations_forget(const struct agent_config *c, const char *id)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/%s" SUFFIX, c->state_dir, id);
	unlink(path);
}

static int read_operation(const char *path, struct operation *ret_op, struct err *e)
{
	char *text = malloc(FILE_MAX);
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;
	struct json *j = NULL;
	ssize_t n;

	ensure(text);
	n = fd < 0 ? -1 : read(fd, text, FILE_MAX);
	if (n < 0)
		ret = err_set(e, -errno, "%s", strerror(errno));
	else
		ret = json_parse(text, (size_t)n, &j, e);
	if (!ret)
		ret = operation_parse(j, ret_op, e);
	json_free(j);
	if (fd >= 0)
		close(fd);
	free(text);
	return ret;
}

static int is_operation(const struct dirent *d)
{
	size_t len = strlen(d->d_name);

	return len > strlen(SUFFIX) && !strcmp(d->d_name + len - strlen(SUFFIX), SUFFIX);
}

void operations_load(const struct agent_config *c,
	void (*found)(void *ctx, const struct operation *op), void *ctx)
{
	struct dirent **names;
	int n = scandir(c->state_dir, &names, is_operation, alphasort);

	if (n < 0 && errno != ENOENT)
		log_error("operations: cannot read '%s': %s", c->state_dir, strerror(errno));
	for (int i = 0; i < n; i++) {
		struct operation op;
		struct err e;
		char path[4400];

		snprintf(path, sizeof(path), "%s/%s", c->state_dir, names[i]->d_name);
		if (read_operation(path, &op, &e))
			log_error("operations: '%s' is left alone: %s", path, e.msg);
		else
			found(ctx, &op);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}
