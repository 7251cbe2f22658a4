/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving space back on a standby, under ThreadSanitizer, with the threads that it has there: one applies,
 * makes checkpoints, says what may be punched and takes off the lists what was; one plays the commit
 * thread, which gives the job to a job thread and hears of its end; two read, files and the flushed position. Ends
 * with 0 when nothing was reported, the flushed position never went back, what is punched is a hole and the
 * lists are short in the end.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "meta_rig.h"
#include "pull.h"
#include "scratch.h"

#define FILES 30u
#define OPS 5000u
#define CHECKPOINT_OPS 100u

const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
	return "called_from_lib:librocksdb\ncalled_from_lib:liblz4\ncalled_from_lib:libstdc++\n"
	       "race:librocksdb\nrace:libstdc++\n";
}

static struct rig r;
static struct volume *v;
static atomic_bool stop;
static atomic_uint reads;

static void must(bool cond, const char *what)
{
	if (cond)
		return;
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static void *commit_main(void *arg)
{
	while (!atomic_load(&stop)) {
		must(!loop_run_once(v->loop, NS_PER_MS), "the loop");
		jobs_reap(v);
		punch_work(v);
	}
	while (v->punch.busy) { /* whoever ends waits for it */
		loop_run_once(v->loop, NS_PER_MS);
		jobs_reap(v);
	}
	return NULL;
}

static void *reader_main(void *arg)
{
	uint8_t buf[4 * BLOCK_SIZE];
	uint64_t seed = (uintptr_t)arg, last = 0;

	while (!atomic_load(&stop)) {
		struct pos pos = flushed_pos(v);
		struct extent x[8];
		uint32_t crcs[8], bad;
		char name[16];
		struct inode i;

		must(pos.seq >= last, "the flushed position went back");
		last = pos.seq;
		snprintf(name, sizeof(name), "f%u", (unsigned)(rig_random(&seed) % FILES));
		if (!tree_lookup(r.tree, ROOT_INO, name, &i) &&
			tree_map(r.tree, &i, 0, 4, x, 1, crcs) == 1 && x[0].addr.epoch)
			segments_read(
				v->segments, x[0].addr, MIN(x[0].blocks, 4u), buf, crcs, &bad);
		must(punch_due(v) > 0, "due");
		atomic_fetch_add(&reads, 1);
	}
	return NULL;
}

static void change(uint64_t *seed)
{
	static char bytes[5 * BLOCK_SIZE];
	char name[16];
	struct inode i;

	snprintf(name, sizeof(name), "f%u", (unsigned)(rig_random(seed) % FILES));
	if (tree_lookup(r.tree, ROOT_INO, name, &i)) {
		rig_create(&r, ROOT_INO, name, S_IFREG | 0644);
	} else if (rig_random(seed) % 8 == 0) {
		must(!rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, name)), "unlink");
		rig_reap(&r, NULL, NULL);
	} else {
		uint64_t from = r.next_block;

		must(!rig_do(&r, rig_op_write(i.ino, 0, bytes, sizeof(bytes))), "write");
		must(!segments_write(v->segments,
			     (struct addr){.block = from, .epoch = r.epoch.num},
			     (uint32_t)(r.next_block - from), bytes),
			"writing a segment");
	}
}

/* As a standby's apply thread does it. */
static void checkpoint(void)
{
	struct pos flushed;
	uint64_t data_seq;

	must(!punch_settle(v), "taking off the lists");
	must(!segments_sync(v->segments), "sync");
	tree_set_data_seq(r.tree, r.end.seq);
	tree_write_freed(r.tree);
	rig_flush(&r);
	must(!tree_persisted(r.tree, &flushed, &data_seq), "the flushed position");
	flushed_note(v, flushed);
	punch_want(v, data_seq, r.epoch.num);
}

static int is_hole(void *ctx, struct addr a, uint32_t blocks)
{
	(*(uint64_t *)ctx)++;
	must(segments_hole(v->segments, a, blocks), "what was punched is a hole");
	return 0;
}

int main(void)
{
	pthread_t commit, readers[2];
	uint64_t seed = 1, runs = 0, seq;
	struct err e = {0};

	rig_open_disk(&r, 1 << 20);
	v = calloc(1, sizeof(*v));
	ensure(v);
	v->tree = r.tree;
	pthread_mutex_init(&v->flushed_mutex, NULL);
	must(!loop_new(&v->loop) && !jobs_start(v), "threads");
	pull_init(v);
	must(!segments_open(scratch_dir(), &v->segments, &e) &&
			!segments_add_epoch(v->segments, r.epoch, &e),
		e.msg);
	pthread_create(&commit, NULL, commit_main, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(readers); i++)
		pthread_create(&readers[i], NULL, reader_main, (void *)(uintptr_t)(i + 5));
	for (unsigned i = 0; i < OPS; i++) {
		change(&seed);
		if (i % CHECKPOINT_OPS == CHECKPOINT_OPS - 1)
			checkpoint();
	}
	while (!(seq = atomic_load(&v->punch.done)))
		usleep(1000);
	atomic_store(&stop, true);
	pthread_join(commit, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(readers); i++)
		pthread_join(readers[i], NULL);
	seq = atomic_load(&v->punch.done);
	must(!tree_freed(r.tree, seq, is_hole, &runs), "reading the lists");
	must(runs, "nothing was punched in the end");
	checkpoint();
	must(tree_freed_blocks(r.tree) < OPS, "the lists are not short");
	jobs_stop(v);
	printf("%u changes, %u reads; %llu runs punched in the end\n", OPS, atomic_load(&reads),
		(unsigned long long)runs);
	segments_close(v->segments);
	rig_close(&r);
	scratch_remove();
	return 0;
}
