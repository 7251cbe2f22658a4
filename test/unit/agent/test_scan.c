/* SPDX-License-Identifier: Apache-2.0 */
/* The volumes of a directory: which files count, and what is said of those that cannot be used. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scan.h"
#include "scratch.h"

static struct scan *s;
static struct agent_config c;

static void fini(void)
{
	free(s);
	scratch_remove();
}

TestSuite(scan, .fini = fini);

static void scan(void)
{
	struct err e = {0};

	free(s);
	s = NULL;
	snprintf(c.volumes, sizeof(c.volumes), "%s", scratch_dir());
	snprintf(c.path, sizeof(c.path), "%s", scratch_path("agent.conf"));
	snprintf(c.domain, sizeof(c.domain), "site-a");
	cr_assert_eq(scan_volumes(&c, &s, &e), 0, "%s", e.msg);
}

static void write_volume(const char *file, const char *name, const char *domain)
{
	char text[256];

	snprintf(text, sizeof(text), "[volume]\nname = %s\nnew_key = 1\n[site]\ndomain = %s\n",
		name, domain);
	scratch_write(scratch_path("%s", file), text);
}

Test(scan, each_conf_file_but_the_agents_own_is_a_volume)
{
	scratch_write(scratch_path("agent.conf"), "[agent]\n");
	write_volume("b.conf", "web", "site-a");
	write_volume("a.conf", "db", "site-a");
	write_volume(".hidden.conf", "x", "site-a");
	write_volume("c.conf.bak", "x", "site-a");
	scan();
	cr_assert_eq(s->count, 2u);
	cr_assert_str_eq(s->v[0].name, "db");
	cr_assert_str_eq(s->v[0].path, scratch_path("a.conf"));
	cr_assert_str_eq(s->v[0].problem, "");
	cr_assert(s->v[0].stamp.inode && s->v[0].stamp.size && s->v[0].stamp.mtime_ns);
	cr_assert_str_eq(s->v[1].name, "web");
}

Test(scan, a_file_that_cannot_be_used_is_a_volume_with_a_problem)
{
	write_volume("a.conf", "db", "site-b");
	scratch_write(scratch_path("b.conf"), "[volume\n");
	scratch_write(scratch_path("c.conf"), "[site]\ndomain = site-a\n");
	write_volume("d.conf", "A/B", "site-a");
	scan();
	cr_assert_eq(s->count, 4u);
	cr_assert(strstr(s->v[0].problem, "a.conf:5: domain: 'site-b' is not this node's domain"),
		"%s", s->v[0].problem);
	cr_assert_str_eq(s->v[1].name, "b");
	cr_assert(strstr(s->v[1].problem, "b.conf:1: "), "%s", s->v[1].problem);
	cr_assert(strstr(s->v[2].problem, "has no section [volume] with a name"));
	cr_assert_str_eq(s->v[3].name, "d");
	cr_assert(strstr(s->v[3].problem, "d.conf:2: name: 'A/B' is no name"));
}

Test(scan, two_files_of_one_volume_are_not_both_started)
{
	write_volume("a.conf", "db", "site-a");
	write_volume("b.conf", "db", "site-a");
	scan();
	cr_assert_str_eq(s->v[0].problem, "");
	cr_assert(strstr(s->v[1].problem, "volume 'db' is configured already, in"));
	cr_assert(strstr(s->v[1].problem, "/a.conf"));
}

Test(scan, a_directory_that_cannot_be_read_is_an_error_and_not_empty)
{
	struct scan *none = NULL;
	struct err e = {0};

	snprintf(c.volumes, sizeof(c.volumes), "/nonexistent");
	cr_assert_lt(scan_volumes(&c, &none, &e), 0);
	cr_assert(!none && strstr(e.msg, "/nonexistent"));
}

Test(scan, a_change_of_the_file_changes_its_stamp)
{
	struct decide_stamp before;

	write_volume("a.conf", "db", "site-a");
	scan();
	before = s->v[0].stamp;
	write_volume("a.conf", "dbx", "site-a");
	scan();
	cr_assert(memcmp(&before, &s->v[0].stamp, sizeof(before)) != 0);
}
