/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving a state up, without a daemon: the way of the old one aside with the process dying at each of its
 * steps, and the empty replica that takes its place.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apply.h"
#include "log.h"
#include "pull.h"
#include "replica.h"
#include "resync.h"
#include "scratch.h"

#define NAME "fork-20261125T181500Z-42"

static char dir[256];
static struct record winner, loser;

static void setup(void)
{
	log_set_level(LOG_LEVEL_ERROR + 1);
	scratch_dir();
}

TestSuite(resync, .init = setup, .fini = scratch_remove);

static const char *in_dir(const char *name)
{
	static char path[512];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put(const char *name, const char *text)
{
	int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
}

static void make(const char *name)
{
	cr_assert_eq(mkdir(in_dir(name), 0700), 0);
}

/* The file holds this text; NULL: there is none. */
static bool is(const char *name, const char *text)
{
	char buf[64] = "";
	int fd = open(in_dir(name), O_RDONLY);

	if (fd < 0)
		return !text;
	cr_assert_geq(read(fd, buf, sizeof(buf) - 1), 0);
	close(fd);
	return text && !strcmp(buf, text);
}

static bool holds(const char *name, const struct record *r)
{
	static struct record have;
	struct err e = {0};

	return !record_load(in_dir(name), &have, &e) && record_compare(&have, r) == RECORD_SAME;
}

static void birth(struct record *r)
{
	memset(r, 0, sizeof(*r));
	r->cluster.b[0] = 1;
	r->volume.b[0] = 2;
	r->format_level = 1;
	r->version = (struct record_version){.number = 1, .id = 7};
	r->nreplicas = 2;
	for (unsigned i = 0; i < 2; i++) {
		r->replicas[i].uuid.b[0] = (uint8_t)(16 + i);
		snprintf(r->replicas[i].domain, sizeof(r->replicas[i].domain), "site-%c",
			(char)('a' + i));
		r->replicas[i].in_sync = true;
	}
}

/* A replica that wrote alone, with an empty one beside it. */
static void replica(void)
{
	struct replica_facts facts = {.committed = 50};
	struct err e = {0};

	snprintf(dir, sizeof(dir), "%s", scratch_path("r"));
	pull_remove_tree(dir);
	cr_assert_eq(mkdir(dir, 0700), 0);
	birth(&loser);
	birth(&winner);
	record_next(&loser, 100, false);
	record_next(&winner, 200, false);
	loser.replicas[1].in_sync = winner.replicas[0].in_sync = false;
	put("volume", "v");
	put("replica", "r");
	put("lock", "");
	make("meta");
	put("meta/CURRENT", "old");
	make("ring");
	put("ring/0", "old");
	make("data");
	make("data/00000002-0000000000000016");
	put("data/00000002-0000000000000016/000000", "alone");
	make("incoming");
	put("incoming/progress", "of an earlier pull");
	cr_assert_eq(record_store(in_dir("record"), &loser, &e), 0, "%s", e.msg);
	cr_assert_eq(facts_store(in_dir("facts"), &facts, &e), 0, "%s", e.msg);
	make("fresh");
	put("fresh/volume", "v");
	put("fresh/replica", "r");
	put("fresh/lock", "");
	make("fresh/meta");
	put("fresh/meta/CURRENT", "new");
	make("fresh/ring");
	put("fresh/ring/0", "new");
	make("fresh/data");
}

static void mark(void)
{
	struct replica_facts facts = {.bad_starts = 1};
	struct err e = {0};

	cr_assert_eq(resync_mark(dir, NAME, &winner, &facts, &e), 0, "%s", e.msg);
}

static void assert_old(void)
{
	cr_assert(is("meta/CURRENT", "old") && is("ring/0", "old"));
	cr_assert(is("data/00000002-0000000000000016/000000", "alone"));
	cr_assert(is("incoming/progress", "of an earlier pull"));
	cr_assert(holds("record", &loser));
	cr_assert(is("fresh/volume", NULL), "an empty replica that nobody wants is removed");
}

static void assert_new(void)
{
	struct replica_facts facts = {0};
	struct err e = {0};

	cr_assert(is("meta/CURRENT", "new") && is("ring/0", "new"));
	cr_assert(is("data/00000002-0000000000000016/000000", NULL));
	cr_assert(is("incoming/progress", NULL), "it speaks of blocks that are not here any more");
	cr_assert(holds("record", &winner));
	cr_assert_eq(facts_load(in_dir("facts"), &facts, &e), 0);
	cr_assert_eq(facts.bad_starts, 1);
	cr_assert(is("volume", "v") && is("replica", "r") && is("lock", ""));
	cr_assert(is("resync", NULL) && is("fresh/volume", NULL));

	cr_assert(is(NAME "/meta/CURRENT", "old") && is(NAME "/ring/0", "old"));
	cr_assert(is(NAME "/data/00000002-0000000000000016/000000", "alone"));
	cr_assert(is(NAME "/incoming/progress", "of an earlier pull"));
	cr_assert(is(NAME "/volume", "v") && is(NAME "/replica", "r") && is(NAME "/lock", ""));
	cr_assert(holds(NAME "/record", &loser));
	cr_assert_eq(facts_load(in_dir(NAME "/facts"), &facts, &e), 0);
	cr_assert_eq(facts.committed, 50);
}

Test(resync, without_the_mark_nothing_is_given_up)
{
	struct err e = {0};

	replica();
	cr_assert_eq(resync_recover(dir, &e), 0, "%s", e.msg);
	assert_old();
	cr_assert(is(NAME "/volume", NULL));
}

Test(resync, the_old_state_is_whole_and_aside_whichever_step_was_the_last)
{
	unsigned died = 0;

	for (unsigned at = 0;; at++) {
		for (unsigned again = 0; again < 3; again++) { /* dies once, or in the repair too */
			unsigned steps = at, more = again;
			struct err e = {0};
			int r;

			replica();
			mark();
			r = resync_finish(dir, &steps, &e);
			if (!r) {
				cr_assert_eq(resync_recover(dir, &e), 0, "%s", e.msg);
				assert_new();
				cr_assert_eq(died, 3 * 16);
				return;
			}
			cr_assert_eq(r, -EINTR, "%s", e.msg);
			died++;
			if (again)
				resync_finish(dir, &more, &e);
			e = (struct err){0};
			cr_assert_eq(resync_recover(dir, &e), 0, "step %u: %s", at, e.msg);
			assert_new();
		}
	}
}

Test(resync, a_replica_without_facts_or_a_half_pulled_state_is_given_up_too)
{
	struct err e = {0};

	replica();
	cr_assert_eq(unlink(in_dir("facts")), 0);
	pull_remove_tree(in_dir("incoming"));
	mark();
	cr_assert_eq(resync_recover(dir, &e), 0, "%s", e.msg);
	cr_assert(is("meta/CURRENT", "new") && is(NAME "/meta/CURRENT", "old"));
	cr_assert(is(NAME "/facts", NULL));
}

Test(resync, a_disk_that_does_not_say_what_is_there_stops_the_start_with_the_mark_in_place)
{
	char fresh[512], away[512];
	struct err e = {0};

	replica();
	mark();
	snprintf(fresh, sizeof(fresh), "%s/fresh", dir);
	snprintf(away, sizeof(away), "%s/away", dir);
	cr_assert_eq(rename(fresh, away), 0);
	cr_assert_eq(symlink("fresh", fresh), 0); /* a lookup below it fails */
	cr_assert_eq(resync_recover(dir, &e), -ELOOP);
	cr_assert(is("meta/CURRENT", "old") && is("resync", NAME));
	cr_assert_eq(unlink(fresh), 0);
	cr_assert_eq(rename(away, fresh), 0);
	e = (struct err){0};
	cr_assert_eq(resync_recover(dir, &e), 0, "%s", e.msg);
	assert_new();
}

Test(resync, a_mark_that_names_no_place_stops_the_start_and_changes_nothing)
{
	static const char *const names[] = {
		"", "fork", "fork-/etc", "fork-..", "../fork-1", "fork-A", "fork-1\n"};
	struct err e = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		cr_assert_not(resync_name_valid(names[i]), "%s", names[i]);
		replica();
		put("resync", names[i]);
		cr_assert_eq(resync_recover(dir, &e), -EBADMSG, "%s", names[i]);
		cr_assert(is("meta/CURRENT", "old") && is("fresh/meta/CURRENT", "new"));
		cr_assert(holds("record", &loser));
	}
	cr_assert(resync_name_valid(NAME) && resync_name_valid(NAME "-2"));
}

Test(resync, an_empty_replica_has_the_root_directory_of_the_descriptor)
{
	static struct descriptor d = {.size = 64ull << 20,
		.ring_size = RING_SIZE_MIN,
		.nreplicas = 1,
		.mode = 0751,
		.uid = 7,
		.gid = 8};
	struct store_options so = {0};
	struct store *s;
	struct tree *t;
	struct inode i;
	struct err e = {0};

	snprintf(dir, sizeof(dir), "%s", scratch_path("r"));
	cr_assert_eq(mkdir(dir, 0700), 0);
	snprintf(d.name, sizeof(d.name), "db");
	snprintf(d.replicas[0].domain, sizeof(d.replicas[0].domain), "site-a");
	d.cluster = uuid_new();
	d.volume = uuid_new();
	d.replicas[0].uuid = uuid_new();
	d.replicas[0].in_sync = true;
	d.record_id = 5;
	cr_assert_eq(replica_build(dir, &d, &d.replicas[0].uuid, &e), 0, "%s", e.msg);
	cr_assert_eq(store_open(in_dir("meta"), &so, &s, &e), 0, "%s", e.msg);
	cr_assert_eq(tree_open(s, &d.volume, &t, &e), 0, "%s", e.msg);
	cr_assert_eq(tree_inode(t, ROOT_INO, &i), 0);
	cr_assert_eq(i.mode, S_IFDIR | 0751);
	cr_assert(i.uid == 7 && i.gid == 8);
	tree_close(t);
	store_close(s);
}
