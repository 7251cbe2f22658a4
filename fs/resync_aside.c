/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The old state's way aside. In the replica's directory:
 *   fresh/    an empty replica, made beside the state while that was in use (resync.c)
 *   resync    the mark: the name of the directory that keeps the old state
 *   fork-DATE-SEQ/   the old state as a whole: store, ring, data, record and facts, and copies of what
 *             names the replica, so that `tandemfs check` and `run` work on it. SEQ is the last seq
 *             that both sides are known to share
 *
 * It is kept inside of the directory and not beside it: the directory is often a mount point, which cannot
 * be renamed, and its parent another disk's or not ours; inside of it each step is a rename on one disk.
 *
 * Failure modes, and what holds them:
 *
 * - The process dies before the mark is durable: the old state is in its place and untouched, the fork
 *   is as it was, and the next start removes fresh/, which never held anything of anybody.
 * - It dies after that: the next start goes on where this one stopped. Each step is a rename that looks
 *   at what is there first, and the mark goes last. Nothing is opened before it is gone.
 * - Anything of the loser is deleted: nothing is. What was moved aside is never looked at again, and only
 *   a person removes it. A half pulled state (`incoming/`) goes aside too, because its notes speak of
 *   blocks in data/ which is empty from then on.
 * - An error in a step after the mark stops the start, with the mark in place: the next start goes on.
 *   A mark that cannot be read stops it before anything has changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "pull.h"
#include "resync.h"

#define PATH_SIZE 4400

/* What is kept aside and replaced, and what is put there as a copy. */
static const char *const state[] = {"meta", "ring", "data", "facts", "record"};
static const char *const identity[] = {"volume", "replica", "lock"};

bool resync_name_valid(const char *name)
{
	size_t len = strlen(name);

	return len < RESYNC_NAME_SIZE && !strncmp(name, "fork-", 5) &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzTZ0123456789-") == len;
}

/* --- the mark --- */

static int write_mark(const char *dir, const char *name, struct err *e)
{
	char path[PATH_SIZE], tmp[PATH_SIZE];
	size_t len = strlen(name);
	int fd, r = 0;

	snprintf(path, sizeof(path), "%s/resync", dir);
	snprintf(tmp, sizeof(tmp), "%s/resync.new", dir);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(e, -errno, "'%s': %s", tmp, strerror(errno));
	if (write(fd, name, len) != (ssize_t)len || fsync(fd))
		r = -EIO;
	close(fd);
	if (!r && rename(tmp, path))
		r = -errno;
	if (!r)
		r = pull_sync_dir(dir);
	return r ? err_set(e, r, "'%s': %s", path, strerror(-r)) : 0;
}

int resync_mark(const char *dir, const char *name, const struct record *r,
	const struct replica_facts *f, struct err *e)
{
	char path[PATH_SIZE];
	int ret;

	ensure(resync_name_valid(name));
	snprintf(path, sizeof(path), "%s/fresh/record", dir);
	ret = record_store(path, r, e);
	snprintf(path, sizeof(path), "%s/fresh/facts", dir);
	if (!ret)
		ret = facts_store(path, f, e);
	return ret ? ret : write_mark(dir, name, e);
}

/* 1 with the name; 0: there is no mark. */
static int read_mark(const char *dir, char name[RESYNC_NAME_SIZE], struct err *e)
{
	char path[PATH_SIZE];
	cleanup_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/resync", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	n = fd < 0 ? -1 : read(fd, name, RESYNC_NAME_SIZE - 1);
	if (n < 0)
		return err_set(e, -errno, "'%s': %s", path, strerror(errno));
	name[n] = '\0';
	if (!resync_name_valid(name))
		return err_set(e, -EBADMSG, "'%s' does not say where the old state goes", path);
	return 1;
}

int resync_check_disks(const char *dir, struct err *e)
{
	char path[PATH_SIZE];
	struct stat top, st;

	if (stat(dir, &top))
		return err_set(e, -errno, "'%s': %s", dir, strerror(errno));
	for (unsigned i = 0; i < ARRAY_SIZE(state); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, state[i]);
		if (!lstat(path, &st) && st.st_dev != top.st_dev)
			return err_set(e, -EXDEV,
				"'%s' is on another disk than '%s', so it cannot be kept aside",
				path, dir);
	}
	return 0;
}

/* --- the steps --- */

struct giving_up {
	const char *dir, *name;
	unsigned *steps;
	struct err *e;
};

/* 1 or 0; a disk that does not say is no "done before": -errno. */
static int there(const struct giving_up *g, const char *in, const char *file)
{
	char path[PATH_SIZE];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s%s%s", g->dir, in, in[0] ? "/" : "", file);
	if (!lstat(path, &st))
		return 1;
	return errno == ENOENT ? 0 : err_set(g->e, -errno, "'%s': %s", path, strerror(errno));
}

/* Counts a durable step; -EINTR when a test wants it to be the end. */
static int step(struct giving_up *g)
{
	return g->steps && (*g->steps)-- == 0 ? err_set(g->e, -EINTR, "stopped by a test") : 0;
}

static int move(struct giving_up *g, const char *in, const char *file, const char *to)
{
	char a[RESYNC_NAME_SIZE + 32], b[RESYNC_NAME_SIZE + 32];
	int r = step(g);

	snprintf(a, sizeof(a), "%s%s%s", in, in[0] ? "/" : "", file);
	snprintf(b, sizeof(b), "%s%s%s", to, to[0] ? "/" : "", file);
	return r ? r : pull_move(g->dir, a, b, g->e);
}

static int make_place(struct giving_up *g)
{
	char path[PATH_SIZE];
	int r = step(g);

	if (r)
		return r;
	snprintf(path, sizeof(path), "%s/%s", g->dir, g->name);
	if (mkdir(path, 0700) && errno != EEXIST)
		return err_set(g->e, -errno, "'%s': %s", path, strerror(errno));
	r = pull_sync_dir(g->dir);
	return r ? err_set(g->e, r, "'%s': %s", g->dir, strerror(-r)) : 0;
}

/* The old FILE goes aside, the new one takes its place. */
static int replace(struct giving_up *g, const char *file)
{
	int r = there(g, "fresh", file);

	if (r <= 0)
		return r; /* done before */
	r = there(g, "", file);
	if (r > 0)
		r = move(g, "", file, g->name);
	return r ? r : move(g, "fresh", file, "");
}

static int unmark(struct giving_up *g)
{
	char path[PATH_SIZE];
	int r = step(g);

	if (r)
		return r;
	snprintf(path, sizeof(path), "%s/resync", g->dir);
	if (unlink(path))
		return err_set(g->e, -errno, "'%s': %s", path, strerror(errno));
	r = pull_sync_dir(g->dir);
	return r ? err_set(g->e, r, "'%s': %s", g->dir, strerror(-r)) : 0;
}

int resync_finish(const char *dir, unsigned *steps, struct err *e)
{
	char name[RESYNC_NAME_SIZE];
	struct giving_up g = {.dir = dir, .name = name, .steps = steps, .e = e};
	int r = read_mark(dir, name, e);

	if (r <= 0)
		return r;
	r = make_place(&g);
	for (unsigned i = 0; i < ARRAY_SIZE(identity) && !r; i++) {
		r = there(&g, "fresh", identity[i]);
		if (r > 0)
			r = move(&g, "fresh", identity[i], name);
	}
	if (!r)
		r = there(&g, "", "incoming");
	if (r > 0)
		r = move(&g, "", "incoming", name);
	for (unsigned i = 0; i < ARRAY_SIZE(state) && !r; i++)
		r = replace(&g, state[i]);
	if (!r)
		r = unmark(&g);
	if (r)
		return err_wrap(e, "keeping the old state aside");
	log_warn("resync: this replica begins again as an empty one; its old state is kept in "
		 "'%s/%s'",
		dir, name);
	return 0;
}

int resync_recover(const char *dir, struct err *e)
{
	char path[PATH_SIZE];
	int r = resync_finish(dir, NULL, e);

	if (r)
		return r;
	snprintf(path, sizeof(path), "%s/fresh", dir);
	pull_remove_tree(path);
	return 0;
}
