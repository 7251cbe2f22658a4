/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replica gives up what it wrote alone, and begins again as an empty one.
 *
 * In the replica's directory:
 *   fresh/    an empty replica, made beside the state while that is in use
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
 * - Something is acknowledged after the mark: not possible, the commit thread writes the mark and ends the
 *   process in one step of the core. What was acknowledged before is in the ring that is kept.
 * - Anything of the loser is deleted: nothing is. What was moved aside is never looked at again, and only
 *   a person removes it. A half pulled state (`incoming/`) goes aside too, because its notes speak of
 *   blocks in data/ which is empty from then on.
 * - No room for another ring, a part of the directory on another disk: found out while fresh/ is made,
 *   before anybody is asked anything.
 * - An error in a step after the mark stops the start, with the mark in place: the next start goes on.
 * - The empty replica counts as in sync: its record is the other side's, which lists it as outdated.
 * - The root directory at birth had another owner or mode than it has now: a replica that catches up by
 *   pulling gets the other side's. One that gets the whole history from its beginning gets the entries
 *   that changed them; what no entry changed is as it is here, which is what it was at birth.
 */
#include "resync.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "pull.h"
#include "replica.h"

#define PATH_SIZE 4400
#define NAME_SIZE 80

/* What is kept aside and replaced, and what is put there as a copy. */
static const char *const state[] = {"meta", "ring", "data", "facts", "record"};
static const char *const identity[] = {"volume", "replica", "lock"};

struct resync {
	struct job job;
	bool busy, made; /* a job runs; fresh/ is complete */
	bool remove_only;
	char name[NAME_SIZE];
	char place[PATH_SIZE + NAME_SIZE];
	struct err error;
};

bool resync_name_valid(const char *name)
{
	size_t len = strlen(name);

	return len < NAME_SIZE && !strncmp(name, "fork-", 5) &&
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
static int read_mark(const char *dir, char name[NAME_SIZE], struct err *e)
{
	char path[PATH_SIZE];
	cleanup_close int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/resync", dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return 0;
	n = fd < 0 ? -1 : read(fd, name, NAME_SIZE - 1);
	if (n < 0)
		return err_set(e, -errno, "'%s': %s", path, strerror(errno));
	name[n] = '\0';
	if (!resync_name_valid(name))
		return err_set(e, -EBADMSG, "'%s' does not say where the old state goes", path);
	return 1;
}

/* --- the steps --- */

struct giving_up {
	const char *dir, *name;
	unsigned *steps;
	struct err *e;
};

static bool there(const struct giving_up *g, const char *in, const char *file)
{
	char path[PATH_SIZE];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s%s%s", g->dir, in, in[0] ? "/" : "", file);
	return lstat(path, &st) == 0;
}

/* Counts a durable step; -EINTR when a test wants it to be the end. */
static int step(struct giving_up *g)
{
	return g->steps && (*g->steps)-- == 0 ? err_set(g->e, -EINTR, "stopped by a test") : 0;
}

static int move(struct giving_up *g, const char *in, const char *file, const char *to)
{
	char a[NAME_SIZE + 32], b[NAME_SIZE + 32];
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
	int r = 0;

	if (!there(g, "fresh", file))
		return 0; /* done before */
	if (there(g, "", file))
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
	char name[NAME_SIZE];
	struct giving_up g = {.dir = dir, .name = name, .steps = steps, .e = e};
	int r = read_mark(dir, name, e);

	if (r <= 0)
		return r;
	r = make_place(&g);
	for (unsigned i = 0; i < ARRAY_SIZE(identity) && !r; i++)
		if (there(&g, "fresh", identity[i]))
			r = move(&g, "fresh", identity[i], name);
	if (!r && there(&g, "", "incoming"))
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

/* --- the empty replica; a job thread --- */

/* Each part must be moved by a rename. */
static int check_disks(const char *dir, struct err *e)
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

static void build_run(struct job *j)
{
	struct resync *rs = container_of(j, struct resync, job);
	struct volume *v = j->v;
	char path[PATH_SIZE];
	int r;

	snprintf(path, sizeof(path), "%s/fresh", v->cfg->directory);
	pull_remove_tree(path);
	if (rs->remove_only)
		return;
	r = check_disks(v->cfg->directory, &rs->error);
	if (!r && mkdir(path, 0700))
		r = err_set(&rs->error, -errno, "'%s': %s", path, strerror(errno));
	if (!r)
		r = replica_build(path, &v->desc, &v->self, &rs->error);
	if (!r)
		return;
	if (!rs->error.code)
		err_set(&rs->error, r, "'%s': %s", path, strerror(-r));
	pull_remove_tree(path);
}

static void build_done(struct job *j)
{
	struct resync *rs = container_of(j, struct resync, job);
	struct core_event ev = {.type = EV_BUILT, .code = rs->error.code};

	rs->busy = false;
	if (rs->remove_only)
		return;
	rs->made = !rs->error.code;
	ev.built.text = rs->made ? rs->place : rs->error.msg;
	volume_step(j->v, &ev);
}

static void submit(struct volume *v, bool remove_only)
{
	struct resync *rs = v->resync;

	rs->busy = true;
	rs->made = false;
	rs->remove_only = remove_only;
	rs->error = (struct err){0};
	rs->job.run = build_run;
	rs->job.done = build_done;
	job_submit(v, &rs->job);
}

static void choose_name(struct volume *v, uint64_t common)
{
	struct resync *rs = v->resync;
	time_t now = (time_t)(clock_real_ns() / NS_PER_S);
	char date[32];
	struct stat st;
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(date, sizeof(date), "%Y%m%dT%H%M%SZ", &tm);
	for (unsigned i = 1;; i++) {
		if (i == 1)
			snprintf(rs->name, sizeof(rs->name), "fork-%s-%llu", date,
				(unsigned long long)common);
		else
			snprintf(rs->name, sizeof(rs->name), "fork-%s-%llu-%u", date,
				(unsigned long long)common, i);
		snprintf(rs->place, sizeof(rs->place), "%s/%s", v->cfg->directory, rs->name);
		if (lstat(rs->place, &st))
			return;
	}
}

void resync_build(struct volume *v, uint64_t common)
{
	struct resync *rs = v->resync;
	struct core_event ev = {.type = EV_BUILT, .code = -EBUSY};

	if (rs->busy) { /* what an earlier word had made is being removed */
		ev.built.text = "an earlier attempt is being removed; type it again in a moment";
		volume_step(v, &ev);
		return;
	}
	choose_name(v, common);
	submit(v, false);
}

/* What was made for a word that came to nothing takes room. */
void resync_work(struct volume *v)
{
	struct resync *rs = v->resync;

	if (rs->made && !rs->busy && !core_giving_up(v->core))
		submit(v, true);
}

void resync_give_up(struct volume *v, const struct record *r)
{
	struct replica_facts facts = {.bad_starts = v->facts.bad_starts};
	struct err e = {0};

	ensure(v->resync->made && !v->resync->busy);
	log_warn("resync: giving up the state of this replica after seq %llu; it is kept in '%s'",
		(unsigned long long)core_end(v->core).seq, v->resync->place);
	if (resync_mark(v->cfg->directory, v->resync->name, r, &facts, &e))
		volume_die(v, "resync: %s", e.msg);
}

void resync_init(struct volume *v)
{
	v->resync = calloc(1, sizeof(*v->resync));
	ensure(v->resync);
}
