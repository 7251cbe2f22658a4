/* SPDX-License-Identifier: Apache-2.0 */
/* Runs of old batches: written without waiting for each other, and what recovery makes of it. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "limits.h"
#include "rig.h"

#define MIB (1u << 20)

TestSuite(behind, .fini = rig_free);

/* Five batches, then a run of ten, each calling the one before it committed; all in flight at once. */
static void make_run(void)
{
	rig_new(URING_THREADS, 2 * MIB);
	for (unsigned i = 0; i < 5; i++)
		rig_append(1, 500, rig.end.seq);
	cr_assert(zero(int, ring_behind(rig.r, 15, &rig.e)), "%s", rig.e.msg);
	for (unsigned i = 0; i < 10; i++)
		cr_assert(zero(int, rig_append_async(rig_build(1, 500, rig.end.seq))));
	rig_wait();
}

static bool noted(void)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/behind", rig.dir);
	return access(path, F_OK) == 0;
}

Test(behind, batches_of_a_run_do_not_wait_for_each_other)
{
	make_run();
	/* The next write fails, and the others of the run get to the disk all the same. */
	cr_assert(zero(int, ring_behind(rig.r, 30, &rig.e)));
	uring_inject(rig.u, 1, 0, -EIO);
	for (unsigned i = 0; i < 3; i++)
		cr_assert(zero(int, rig_append_async(rig_build(1, 500, rig.end.seq))));
	rig_wait();
	cr_assert(eq(int, rig.batches[15]->res, -EIO));
	cr_assert(zero(int, rig.batches[16]->res));
	cr_assert(zero(int, rig.batches[17]->res));
}

Test(behind, a_missing_batch_of_a_run_is_torn_whatever_the_rest_of_the_run_says)
{
	for (unsigned lost = 5; lost < 15; lost += 3) {
		make_run();
		rig_stop();
		rig_poke_zero(rig_at(rig.batches[lost]), BLOCK_SIZE);
		rig_forget(lost);
		rig_start((struct pos){0});
		rig_check_contents(1);
		cr_assert(eq(u64, rig.rec.end.seq, lost));
		rig_free();
	}
}

Test(behind, damage_before_the_run_is_still_corruption)
{
	make_run();
	rig_stop();
	rig_poke_zero(rig_at(rig.batches[3]), BLOCK_SIZE);
	cr_assert(eq(int, rig_open((struct pos){0}, NULL, NULL), -EBADMSG));
}

Test(behind, what_comes_after_the_run_proves_the_run)
{
	make_run();
	for (unsigned i = 0; i < 2; i++)
		rig_append(1, 500, rig.end.seq);
	rig_stop();
	rig_poke_zero(rig_at(rig.batches[9]), BLOCK_SIZE);
	/* batch 16 says that seq 16 is committed, which is behind the run */
	cr_assert(eq(int, rig_open((struct pos){0}, NULL, NULL), -EBADMSG));
}

Test(behind, the_note_goes_when_the_run_is_durable_and_damage_is_corruption_again)
{
	make_run();
	cr_assert(noted());
	ring_behind_end(rig.r);
	cr_assert(not(noted()));
	rig_stop();
	rig_poke_zero(rig_at(rig.batches[9]), BLOCK_SIZE);
	cr_assert(eq(int, rig_open((struct pos){0}, NULL, NULL), -EBADMSG));
}

static int all_torn(void *ctx, const void *batch, const struct batch_header *h)
{
	return h->first_seq >= *(uint64_t *)ctx ? -EBADMSG : 0;
}

Test(behind, a_missing_payload_of_a_run_ends_the_history_too)
{
	uint64_t torn = 8;

	make_run();
	rig_stop();
	cr_assert(zero(int, rig_open((struct pos){0}, all_torn, &torn)), "%s", rig.e.msg);
	cr_assert(eq(u64, rig.rec.end.seq, 7));
}

Test(behind, a_damaged_note_is_an_error_that_names_the_file)
{
	char path[128];
	FILE *f;

	make_run();
	rig_stop();
	snprintf(path, sizeof(path), "%s/behind", rig.dir);
	f = fopen(path, "r+");
	cr_assert(f != NULL);
	fputc('x', f);
	fclose(f);
	cr_assert(eq(int, rig_open((struct pos){0}, NULL, NULL), -EBADMSG));
	cr_assert(strstr(rig.e.msg, "behind") != NULL);
}
