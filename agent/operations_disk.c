/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The operations' files. A file that is damaged, or of a future build, is told of and left alone.
 *
 * A group's file is written first and removed last. Where it is still there at the start, an operation of it without a
 * file was not made: none has begun before that file is gone. One that had begun, and ended, and was forgotten, can be
 * missing only where the power failed before the removal was on disk, against its fsync; its end is over then, so that it
 * fails by its check.
 */
#include "operations_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "durable.h"
#include "log.h"

#define FILE_MAX (64u << 10) /* bytes */
#define GROUP_FILE_MAX (OPERATION_GROUP_MAX * FILE_MAX)
#define SUFFIX ".json"
#define GROUP_SUFFIX ".group"

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

/* For tests: TANDEMFS_FAULT_OPERATION=store, when the first of a group is stored. */
static void maybe_die(unsigned stored)
{
	const char *fault = getenv("TANDEMFS_FAULT_OPERATION");

	if (stored == 1 && fault && !strcmp(fault, "store"))
		raise(SIGKILL);
}

static struct json *group_json(const struct operation *ops, unsigned n)
{
	struct json *j = json_object(), *list = json_array();

	for (unsigned i = 0; i < n; i++)
		json_append(list, operation_json(&ops[i]));
	json_set(j, "operations", list);
	return j;
}

int operations_store_group(
	const struct agent_config *c, const struct operation *ops, unsigned n, struct err *e)
{
	struct json *j = group_json(ops, n);
	struct err ignored;
	char path[4200];
	int ret = durable_make_dir(c->state_dir, 0700, e);

	snprintf(path, sizeof(path), "%s/%s" GROUP_SUFFIX, c->state_dir, ops[0].group);
	if (!ret)
		ret = durable_replace(path, json_text(j, true), 0600, e);
	json_free(j);
	for (unsigned i = 0; i < n && !ret; i++) {
		ret = operations_store(c, &ops[i], e);
		maybe_die(i + 1);
	}
	if (!ret)
		ret = durable_remove(path, e);
	if (!ret)
		return 0;
	durable_remove(path, &ignored); /* first: it would make them again */
	for (unsigned i = 0; i < n; i++)
		operations_forget(c, ops[i].id);
	return ret;
}

/* The caller's. */
static int read_json(const char *path, size_t size, struct json **ret_j, struct err *e)
{
	char *text = malloc(size);
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;
	ssize_t n;

	ensure(text);
	n = fd < 0 ? -1 : read(fd, text, size);
	if (n < 0)
		ret = err_set(e, -errno, "%s", strerror(errno));
	else
		ret = json_parse(text, (size_t)n, ret_j, e);
	if (fd >= 0)
		close(fd);
	free(text);
	return ret;
}

static int read_operation(const char *path, struct operation *ret_op, struct err *e)
{
	struct json *j = NULL;
	int ret = read_json(path, FILE_MAX, &j, e);

	if (!ret)
		ret = operation_parse(j, ret_op, e);
	json_free(j);
	return ret;
}

/* ---- at the start ---- */

struct loading {
	const struct agent_config *c;
	void (*found)(void *ctx, const struct operation *op);
	void *ctx;
};

static int load_operation(const struct loading *l, const char *path, struct err *e)
{
	struct operation op;
	int ret = read_operation(path, &op, e);

	if (!ret)
		l->found(l->ctx, &op);
	return ret;
}

static int make_missing(const struct agent_config *c, const struct json *j, struct err *e)
{
	struct operation op;
	char path[4200];
	int ret = operation_parse(j, &op, e);

	if (ret)
		return ret;
	snprintf(path, sizeof(path), "%s/%s" SUFFIX, c->state_dir, op.id);
	if (!access(path, F_OK))
		return 0;
	log_info(
		"operation %s: %s: the agent died while it wrote down its group", op.id, op.volume);
	return operations_store(c, &op, e);
}

/* Makes what of it has no file. */
static int load_group(const struct loading *l, const char *path, struct err *e)
{
	struct json *j = NULL;
	int ret = read_json(path, GROUP_FILE_MAX, &j, e);
	const struct json *list = json_get(j, "operations");

	if (!ret && !json_length(list))
		ret = err_set(e, -EBADMSG, "no operations");
	for (unsigned i = 0; i < json_length(list) && !ret; i++)
		ret = make_missing(l->c, json_at(list, i), e);
	json_free(j);
	return ret ? ret : durable_remove(path, e);
}

static bool ends_so(const struct dirent *d, const char *suffix)
{
	size_t len = strlen(d->d_name), end = strlen(suffix);

	return len > end && !strcmp(d->d_name + len - end, suffix);
}

static int is_operation(const struct dirent *d)
{
	return ends_so(d, SUFFIX);
}

static int is_group(const struct dirent *d)
{
	return ends_so(d, GROUP_SUFFIX);
}

static void load_all(const struct loading *l, int (*is)(const struct dirent *d),
	int (*load)(const struct loading *l, const char *path, struct err *e))
{
	struct dirent **names;
	int n = scandir(l->c->state_dir, &names, is, alphasort);

	if (n < 0 && errno != ENOENT)
		log_error("operations: cannot read '%s': %s", l->c->state_dir, strerror(errno));
	for (int i = 0; i < n; i++) {
		struct err e;
		char path[4400];

		snprintf(path, sizeof(path), "%s/%s", l->c->state_dir, names[i]->d_name);
		if (load(l, path, &e))
			log_error("operations: '%s' is left alone: %s", path, e.msg);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

void operations_load(const struct agent_config *c,
	void (*found)(void *ctx, const struct operation *op), void *ctx)
{
	const struct loading l = {.c = c, .found = found, .ctx = ctx};

	load_all(&l, is_group, load_group);
	load_all(&l, is_operation, load_operation);
}
