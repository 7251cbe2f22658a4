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

#include "durable.h"
#include "log.h"

#define FILE_MAX (64u << 10) /* bytes */
#define SUFFIX ".json"

int operations_store(const struct agent_config *c, const struct operation *op, struct err *e)
{
	struct json *j = operation_json(op);
	char path[4200];
	int ret = durable_make_dir(c->state_dir, 0700, e);

	snprintf(path, sizeof(path), "%s/%s" SUFFIX, c->state_dir, op->id);
	if (!ret)
		ret = durable_replace(path, json_text(j, true), 0600, e);
	json_free(j);
	return ret;
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
