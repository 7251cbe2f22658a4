/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pulling, without two sides: what is remembered as being here, the switch-over with the process
 * dying at each of its steps, and the checkpoint that it begins with.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "le.h"
#include "log.h"
#include "pull.h"
#include "scratch.h"

static void setup(void)
{
	log_set_level(LOG_LEVEL_ERROR + 1);
	scratch_dir();
}

TestSuite(pull, .init = setup, .fini = scratch_remove);

/* --- what is here --- */

static const struct epoch e1 = {.num = 1, .id = 11}, e2 = {.num = 2, .id = 22},
			  other = {.num = 1, .id = 12};

static struct pull_have *have_open(void)
{
	struct pull_have *h = NULL;
	struct err e = {0};

	cr_assert_eq(pull_have_open(scratch_path("progress"), &h, &e), 0, "%s", e.msg);
	return h;
}

static void have_save(struct pull_have *h)
{
	struct err e = {0};

	cr_assert_eq(pull_have_save(h, &e), 0, "%s", e.msg);
}

static bool has(const struct pull_have *h, struct epoch e, uint64_t block)
{
	bool have;

	pull_have_run(h, e, block, 1, &have);
	return have;
}

Test(pull, runs_are_cut_where_what_is_here_begins_and_ends)
{
	struct pull_have *h = have_open();
	bool have;

	pull_have_set(h, e1, 10, 5);
	cr_assert_eq(pull_have_run(h, e1, 0, 100, &have), 10);
	cr_assert(!have);
	cr_assert_eq(pull_have_run(h, e1, 10, 100, &have), 5);
	cr_assert(have);
	cr_assert_eq(pull_have_run(h, e1, 12, 2, &have), 2);
	cr_assert(have);
	cr_assert_eq(pull_have_run(h, e1, 15, 100, &have), 100);
	cr_assert(!have);
	cr_assert(!has(h, e2, 10) && !has(h, other, 10) && !has(h, e1, DATA_SEGMENT_BLOCKS + 10));
	pull_have_close(h);
}

Test(pull, what_is_here_is_remembered_once_it_was_saved)
{
	struct pull_have *h = have_open();

	pull_have_set(h, e2, 7 * DATA_SEGMENT_BLOCKS - 1, 1);
	pull_have_set(h, e1, 0, DATA_SEGMENT_BLOCKS);
	have_save(h);
	pull_have_set(h, e1, DATA_SEGMENT_BLOCKS, 1); /* not saved */
	pull_have_close(h);
	h = have_open();
	cr_assert(has(h, e2, 7 * DATA_SEGMENT_BLOCKS - 1) && !has(h, e2, 7 * DATA_SEGMENT_BLOCKS));
	cr_assert(has(h, e1, 0) && has(h, e1, DATA_SEGMENT_BLOCKS - 1));
	cr_assert(!has(h, e1, DATA_SEGMENT_BLOCKS));
	pull_have_close(h);
}

Test(pull, a_torn_or_damaged_end_forgets_only_itself)
{
	struct pull_have *h = have_open();
	const char *path = scratch_path("progress");
	struct stat st;
	uint8_t byte;
	int fd;

	pull_have_set(h, e1, 1, 1);
	have_save(h);
	pull_have_set(h, e2, 2, 1);
	have_save(h);
	pull_have_close(h);
	fd = open(path, O_RDWR);
	cr_assert(fd >= 0 && fstat(fd, &st) == 0);
	cr_assert_eq(ftruncate(fd, st.st_size - 1), 0);
	h = have_open();
	cr_assert(has(h, e1, 1) && !has(h, e2, 2));
	pull_have_set(h, e2, 3, 1); /* in the torn one's place */
	have_save(h);
	pull_have_close(h);
	h = have_open();
	cr_assert(has(h, e1, 1) && has(h, e2, 3));
	pull_have_close(h);
	cr_assert_eq(pread(fd, &byte, 1, 100), 1);
	byte ^= 1;
	cr_assert_eq(pwrite(fd, &byte, 1, 100), 1);
	h = have_open();
	cr_assert(!has(h, e1, 1) && !has(h, e2, 3));
	pull_have_close(h);
	close(fd);
}

Test(pull, the_file_does_not_grow_for_ever)
{
	struct pull_have *h = have_open();
	struct stat st;

	for (unsigned i = 0; i < 1000; i++) {
		pull_have_set(h, e1, i, 1);
		have_save(h);
	}
	cr_assert_eq(stat(scratch_path("progress"), &st), 0);
	cr_assert_lt(st.st_size, 100 * 8300);
	pull_have_close(h);
	h = have_open();
	for (unsigned i = 0; i < 1000; i++)
		cr_assert(has(h, e1, i));
	cr_assert(!has(h, e1, 1000));
	pull_have_close(h);
}

/* --- the switch-over --- */

static char dir[256];

static void make(const char *name)
{
	cr_assert_eq(mkdir(scratch_path("r/%s", name), 0700), 0, "%s: %s", name, strerror(errno));
}

static void put(const char *name, const char *text)
{
	scratch_write(scratch_path("r/%s", name), text);
}

static bool is(const char *name, const char *text)
{
	char buf[64] = "";
	int fd = open(scratch_path("r/%s", name), O_RDONLY);

	if (fd < 0)
		return text == NULL;
	if (read(fd, buf, sizeof(buf) - 1) < 0)
		buf[0] = '\0';
	close(fd);
	return text && strcmp(buf, text) == 0;
}

/* A replica with epochs 1 and 2; it pulled from one that has 1, another 2, and 3. */
static void replica(void)
{
	static const struct epoch epochs[] = {
		{.num = 1, .id = 11}, {.num = 2, .id = 23}, {.num = 3, .id = 33}};
	uint8_t bytes[12 * 3];
	int fd;

	pull_remove_tree(scratch_path("r"));
	cr_assert_eq(mkdir(scratch_path("r"), 0700), 0);
	snprintf(dir, sizeof(dir), "%s", scratch_path("r"));
	make("meta");
	put("meta/CURRENT", "old");
	make("ring");
	put("ring/0", "old");
	make("data");
	make("data/00000001-000000000000000b");
	put("data/00000001-000000000000000b/000000", "one");
	make("data/00000002-0000000000000016");
	put("data/00000002-0000000000000016/000000", "lost");
	make("data/00000003-0000000000000021");
	put("data/00000003-0000000000000021/000000", "three");
	make("incoming");
	make("incoming/meta");
	put("incoming/meta/CURRENT", "new");
	make("incoming/ring");
	put("incoming/ring/0", "new");
	make("incoming/data");
	make("incoming/data/00000002-0000000000000017");
	put("incoming/data/00000002-0000000000000017/000000", "two");
	for (unsigned i = 0; i < 3; i++) {
		le32_put(bytes + 12 * i, epochs[i].num);
		le64_put(bytes + 12 * i + 4, epochs[i].id);
	}
	fd = open(scratch_path("r/incoming/EPOCHS"), O_WRONLY | O_CREAT, 0600);
	cr_assert(fd >= 0 && write(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes));
	close(fd);
}

static void assert_old(void)
{
	cr_assert(is("meta/CURRENT", "old") && is("ring/0", "old"));
	cr_assert(is("data/00000002-0000000000000016/000000", "lost"));
	cr_assert(is("incoming/meta/CURRENT", "new"));
}

static void assert_new(void)
{
	cr_assert(is("meta/CURRENT", "new") && is("ring/0", "new"));
	cr_assert(is("data/00000001-000000000000000b/000000", "one"));
	cr_assert(is("data/00000002-0000000000000017/000000", "two"));
	cr_assert(is("data/00000003-0000000000000021/000000", "three"));
	cr_assert(is("data/00000002-0000000000000016/000000", NULL));
	cr_assert(is("switch", NULL) && is("incoming/EPOCHS", NULL));
}

Test(pull, without_the_mark_nothing_is_switched)
{
	struct err e = {0};

	replica();
	cr_assert_eq(pull_recover(dir, false, &e), 0, "%s", e.msg);
	assert_old();
	cr_assert_eq(pull_recover(dir, true, &e), 0, "%s", e.msg);
	cr_assert(is("incoming/meta/CURRENT", NULL), "what is of no use any more is removed");
	cr_assert(is("meta/CURRENT", "old"));
}

Test(pull, the_switch_is_completed_whichever_step_was_the_last)
{
	unsigned died = 0;

	for (unsigned at = 0;; at++) {
		for (unsigned again = 0; again < 3; again++) { /* dies once, or in the repair too */
			unsigned steps = at, more = again;
			struct err e = {0};
			int r;

			replica();
			cr_assert_eq(pull_switch_mark(dir, &e), 0, "%s", e.msg);
			r = pull_switch_finish(dir, &steps, &e);
			if (!r) {
				assert_new();
				cr_assert_gt(died, 5);
				return;
			}
			cr_assert_eq(r, -EINTR, "%s", e.msg);
			died++;
			if (again)
				pull_switch_finish(dir, &more, &e);
			e = (struct err){0};
			cr_assert_eq(pull_recover(dir, false, &e), 0, "step %u: %s", at, e.msg);
			assert_new();
			cr_assert(is("old/data/00000002-0000000000000016/000000", NULL));
		}
	}
}

Test(pull, a_list_of_epochs_that_is_none_stops_the_switch_before_it_changed_anything)
{
	struct err e = {0};

	replica();
	put("incoming/EPOCHS", "what?");
	cr_assert_eq(pull_switch_mark(dir, &e), 0);
	cr_assert_eq(pull_recover(dir, false, &e), -EBADMSG);
	assert_old();
}

/* --- the checkpoint --- */

static void store_put(struct store *s, const char *value)
{
	struct txn *t = txn_new(s);

	txn_put(t, "key", 3, value, strlen(value));
	cr_assert_eq(txn_write(t), 0);
	txn_free(t);
}

/* "Done before" would leave the old metadata behind with a new ring, and remove the rest. */
Test(pull, a_disk_that_does_not_say_what_is_there_stops_the_switch_with_the_mark_in_place)
{
	struct err e = {0};

	replica();
	cr_assert_eq(rename(scratch_path("r/incoming/meta"), scratch_path("r/incoming/m")), 0);
	cr_assert_eq(symlink("meta", scratch_path("r/incoming/meta")), 0); /* a lookup fails */
	cr_assert_eq(pull_switch_mark(dir, &e), 0);
	cr_assert_eq(pull_recover(dir, false, &e), -ELOOP);
	cr_assert(is("meta/CURRENT", "old") && is("ring/0", "old") && is("switch", ""));
	cr_assert_eq(unlink(scratch_path("r/incoming/meta")), 0);
	cr_assert_eq(rename(scratch_path("r/incoming/m"), scratch_path("r/incoming/meta")), 0);
	e = (struct err){0};
	cr_assert_eq(pull_recover(dir, false, &e), 0, "%s", e.msg);
	assert_new();
}

Test(pull, a_checkpoint_holds_what_was_flushed_and_nothing_that_is_staged)
{
	struct store_options create = {.create = true}, read_only = {.read_only = true};
	const char *copy = scratch_path("copy");
	struct store *s, *c;
	struct err e = {0};
	char buf[16] = "";
	size_t len;

	cr_assert_eq(store_open(scratch_path("store"), &create, &s, &e), 0, "%s", e.msg);
	store_put(s, "flushed");
	cr_assert_eq(store_flush_begin(s), 0);
	while (!store_flush_done(s))
		usleep(1000);
	store_put(s, "staged");
	cr_assert_eq(store_checkpoint(s, copy, &e), 0, "%s", e.msg);
	cr_assert_neq(store_checkpoint(s, copy, &e), 0, "the directory must be a new one");
	cr_assert_eq(store_open(copy, &read_only, &c, &e), 0, "%s", e.msg);
	cr_assert_eq(store_get(c, "key", 3, buf, sizeof(buf), &len), 0);
	cr_assert_eq(len, 7);
	cr_assert_arr_eq(buf, "flushed", 7);
	store_close(c);
	cr_assert_eq(store_get_persisted(s, "key", 3, buf, sizeof(buf), &len), 0);
	cr_assert_eq(len, 7, "making it must not flush what is staged (I5)");
	store_close(s);
}
