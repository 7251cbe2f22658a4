/* SPDX-License-Identifier: Apache-2.0 */
/* The operations' files: a group is all there or not at all, wherever the agent dies. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "operations_disk.h"
#include "scratch.h"

#define N 3u

static struct agent_config c;
static struct operation ops[N];
static char loaded[200];
static struct err e;

static void begin(void)
{
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(c.state_dir, sizeof(c.state_dir), "%s", scratch_path("state"));
	for (unsigned i = 0; i < N; i++) {
		struct operation *op = &ops[i];

		*op = (struct operation){.unplanned = true, .timeout_ms = 1000, .group_size = N};
		snprintf(op->id, sizeof(op->id), "17-00-00%u", i);
		snprintf(op->group, sizeof(op->group), "17-00");
		snprintf(op->volume, sizeof(op->volume), "v%u", i);
		snprintf(op->from, sizeof(op->from), "a");
		snprintf(op->to, sizeof(op->to), "b");
	}
}
TestSuite(operations_disk, .init = begin, .fini = scratch_remove);

static void found(void *ctx, const struct operation *op)
{
	size_t at = strlen(loaded);

	snprintf(loaded + at, sizeof(loaded) - at, "%s%s%s", at ? " " : "", op->volume,
		op->state == OPERATION_DONE ? "!" : "");
}

/* What an agent finds that starts. */
static char *load(void)
{
	loaded[0] = '\0';
	operations_load(&c, found, NULL);
	return loaded;
}

static bool has_group_file(void)
{
	return !access(scratch_path("state/17-00.group"), F_OK);
}

Test(operations_disk, a_group_is_stored_and_leaves_nothing_else)
{
	cr_assert(eq(int, operations_store_group(&c, ops, N, &e), 0), "%s", e.msg);
	cr_assert(not(has_group_file()));
	cr_assert(eq(str, load(), "v0 v1 v2"));
}

Test(operations_disk, who_dies_while_a_group_is_stored_finds_all_of_it_at_the_next_start)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		setenv("TANDEMFS_FAULT_OPERATION", "store", 1);
		operations_store_group(&c, ops, N, &e);
		_exit(0);
	}
	cr_assert(eq(int, waitpid(pid, &status, 0), pid));
	cr_assert(eq(int, WIFSIGNALED(status) ? WTERMSIG(status) : 0, SIGKILL));
	cr_assert(has_group_file());
	cr_assert(eq(int, access(scratch_path("state/17-00-001.json"), F_OK), -1));
	cr_assert(eq(str, load(), "v0 v1 v2"));
	cr_assert(not(has_group_file()));
	cr_assert(eq(str, load(), "v0 v1 v2"));
}

/* Dead between the last operation and the removal of the group's file: what has gone on since is not begun again. */
Test(operations_disk, what_is_stored_is_not_made_again)
{
	char text[4000];
	size_t at = 0;
	FILE *f;

	cr_assert(eq(int, operations_store_group(&c, ops, N, &e), 0), "%s", e.msg);
	for (unsigned i = 0; i < N; i++) {
		struct json *j = operation_json(&ops[i]);

		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s",
			i ? "," : "{\"operations\":[", json_text(j, false));
		json_free(j);
	}
	snprintf(text + at, sizeof(text) - at, "]}");
	ops[1].state = OPERATION_DONE;
	for (unsigned s = 0; s < operation_nsteps(&ops[1]); s++)
		ops[1].steps[s].state = OPERATION_STEP_DONE;
	cr_assert(eq(int, operations_store(&c, &ops[1], &e), 0));
	f = fopen(scratch_path("state/17-00.group"), "w");
	cr_assert(f != NULL);
	cr_assert(ge(int, fputs(text, f), 0));
	fclose(f);
	cr_assert(eq(str, load(), "v0 v1! v2"));
	cr_assert(not(has_group_file()));
}

Test(operations_disk, a_groups_file_that_is_damaged_is_left_alone_and_keeps_nothing_back)
{
	static const char *const texts[] = {"", "{", "{}", "{\"operations\":[]}",
		"{\"operations\":[{\"id\":\"../x\"}]}", "{\"operations\":7}", "[]"};

	cr_assert(eq(int, operations_store_group(&c, ops, N, &e), 0), "%s", e.msg);
	for (unsigned i = 0; i < ARRAY_SIZE(texts); i++) {
		scratch_write(scratch_path("state/17-00.group"), texts[i]);
		cr_assert(eq(str, load(), "v0 v1 v2"), "%s", texts[i]);
		cr_assert(has_group_file(), "%s", texts[i]);
	}
}

Test(operations_disk, a_group_that_cannot_be_stored_leaves_nothing_to_begin)
{
	cr_assert(eq(int, mkdir(scratch_path("state"), 0700), 0));
	/* A directory in the place of the last one's file. */
	cr_assert(eq(int, mkdir(scratch_path("state/17-00-002.json"), 0700), 0));
	cr_assert(lt(int, operations_store_group(&c, ops, N, &e), 0));
	cr_assert(not(has_group_file()));
	cr_assert(eq(int, rmdir(scratch_path("state/17-00-002.json")), 0));
	cr_assert(eq(str, load(), ""));
}
