/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A replica gives up what it wrote alone, and begins again as an empty one: what the daemon does of it. The
 * empty replica is made on a job thread beside the state that is in use; when the core says so, the mark is
 * written (resync_aside.c) and the process ends itself. The next start does the rest.
 *
 * Failure modes, and what holds them:
 *
 * - Something is acknowledged after the mark: not possible, the commit thread writes the mark and ends the
 *   process in one step of the core. What was acknowledged before is in the ring that is kept.
 * - No room for another ring, a part of the directory on another disk: found out while the empty replica
 *   is made, before anybody is asked anything. The word comes to nothing after that: it is removed.
 * - The mark cannot be written: final (I9). The next start finds it or not, and either is whole.
 * - The empty replica counts as in sync: its record is the other side's, which lists it as outdated.
 * - The root directory at birth had another owner or mode than it has now: a replica that catches up by
 *   pulling gets the other side's. One that gets the whole history from its beginning gets the entries
 *   that changed them; what no entry changed is as it is here, which is what it was at birth.
 */
#include "resync.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "clock.h"
#include "log.h"
#include "pull.h"
#include "replica.h"

#define PATH_SIZE 4400

struct resync {
	struct job job;
	bool busy, made; /* a job runs; fresh/ is complete */
	bool remove_only;
	char name[RESYNC_NAME_SIZE];
	char place[PATH_SIZE + RESYNC_NAME_SIZE];
	struct err error;
	struct json *kept; /* paths of what was given up and is still here, as of the start */
};

/* --- the empty replica; a job thread --- */

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
	r = resync_check_disks(v->cfg->directory, &rs->error);
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

/* It takes room until a person removes it, so status names it. */
static void look_for_kept(struct volume *v)
{
	DIR *d = opendir(v->cfg->directory);
	char path[PATH_SIZE + 256];
	struct dirent *de;

	while (d && (de = readdir(d))) {
		if (!resync_name_valid(de->d_name))
			continue;
		snprintf(path, sizeof(path), "%s/%s", v->cfg->directory, de->d_name);
		json_append_string(v->resync->kept, path);
	}
	if (d)
		closedir(d);
}

struct json *resync_kept(const struct volume *v)
{
	struct json *kept = json_array();
	struct stat st;

	for (unsigned i = 0; i < json_length(v->resync->kept); i++) {
		const char *path = json_string_at(v->resync->kept, i, "");

		if (!lstat(path, &st))
			json_append_string(kept, path);
	}
	return kept;
}

void resync_init(struct volume *v)
{
	v->resync = calloc(1, sizeof(*v->resync));
	ensure(v->resync);
	v->resync->kept = json_array();
	look_for_kept(v);
}
