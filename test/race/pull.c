/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pulling under ThreadSanitizer: the target's thread and the source's jobs as they are (pull_round.c,
 * pull_data.c, pull_answer.c), beside what their commit threads do meanwhile. This thread is both
 * commit threads: it changes and flushes the source, hands its jobs out and their results on, carries
 * the messages of the target's thread, reports its status, and breaks the connection off now and then.
 * An apply thread writes and reads the data that the pull thread writes, and asks to trim.
 *
 * What the core and the network would decide is decided here: thread_start(), send_out() and thread_ended()
 * of pull_target.c are repeated without them. Ends with 0 when nothing was reported and what was pulled
 * in the end is whole.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "meta_rig.h"
#include "pull_impl.h"
#include "scratch.h"

#define FILES 60u
#define BREAKS 4u /* connections that break before one does not */
#define PEER 1u
#define CONN 7u

const char *__tsan_default_suppressions(void);

/* RocksDB is not instrumented. */
const char *__tsan_default_suppressions(void)
{
	return "called_from_lib:librocksdb\ncalled_from_lib:liblz4\ncalled_from_lib:libstdc++\n"
	       "race:librocksdb\nrace:libstdc++\n";
}

static struct rig rig; /* the source's store and tree */
static struct volume from, to;
static struct config from_cfg, to_cfg;
static struct source *source;
static struct target *target;
static atomic_bool stop;
static uint64_t seed = 1, seq, offers, answers, asked_done;
static uint64_t in_segments; /* of the source: blocks of epoch 1 that are there */

static void must(bool cond, const char *what)
{
	if (cond)
		return;
	fprintf(stderr, "pull: %s\n", what);
	exit(1);
}

static void volume_make(struct volume *v, struct config *cfg, const char *name)
{
	struct err e = {0};
	char data[4200];

	snprintf(cfg->directory, sizeof(cfg->directory), "%s", scratch_path("%s", name));
	snprintf(data, sizeof(data), "%s/data", cfg->directory);
	cfg->timeout_ns = 5 * NS_PER_S; /* ten times that without an answer, and it gives up */
	must(!mkdir(cfg->directory, 0755) && !mkdir(data, 0755), "mkdir");
	v->cfg = cfg;
	v->desc.volume = rig.volume;
	v->desc.ring_size = 32u << 20;
	must(!loop_new(&v->loop) && !segments_open(data, &v->segments, &e) &&
			!payload_pool_new(64u << 20, NULL, NULL, &v->rx_pool),
		"set-up");
	must(!jobs_start(v), "jobs");
	pull_init(v);
}

/* --- the source's commit thread --- */

/* The rig keeps its data in memory: it becomes data segments' as the active's does. */
static void announce(void)
{
	for (; in_segments < rig.next_block; in_segments++) {
		struct addr a = {.block = in_segments, .epoch = rig.epoch.num};
		struct payload *p;

		if (!rig.blocks[in_segments])
			continue;
		while (!(p = payload_new(from.rx_pool, BLOCK_SIZE)))
			usleep(500); /* the disk is slow: until some are written */
		memcpy(p->data, rig.blocks[in_segments], BLOCK_SIZE);
		segments_pending_add(from.segments, a, 1, p, 0, ++seq);
		payload_unref(p);
	}
}

static void change(void)
{
	static uint8_t bytes[64u << 10];
	char name[16];
	struct inode i;

	if (rig.next_block + 1000 > rig.nblocks) /* the rig's addresses come to an end */
		return;
	snprintf(name, sizeof(name), "f%u", (unsigned)(rig_random(&seed) % FILES));
	if (tree_lookup(rig.tree, ROOT_INO, name, &i)) {
		rig_create(&rig, ROOT_INO, name, S_IFREG | 0644);
		return;
	}
	memset(bytes, (int)rig_random(&seed), sizeof(bytes));
	must(!rig_do(&rig, rig_op_write(i.ino, rig_random(&seed) % 400000, bytes,
				   1 + rig_random(&seed) % sizeof(bytes))),
		"write");
	announce();
}

static void tell(const struct msg *m, struct payload *p)
{
	pull_message(&to, PEER, CONN, m, p);
}

static void copy_done(struct job *j)
{
	struct msg m = {.type = MSG_PULL_OFFER};

	source->copy_busy = false;
	must(!source->copy_error.code, source->copy_error.msg);
	offers++;
	m.pull_offer = (struct msg_pull_offer){
		.id = source->id, .at = source->at, .used_blocks = 1000, .nfiles = source->nfiles};
	tell(&m, NULL);
	for (unsigned i = 0; i < source->nfiles; i++) {
		struct msg f = {.type = MSG_PULL_FILE};

		f.pull_file = (struct msg_pull_file){.id = source->id,
			.index = i,
			.size = source->files[i].size,
			.crc = source->files[i].crc};
		memcpy(f.pull_file.name, source->files[i].name, sizeof(f.pull_file.name));
		tell(&f, NULL);
	}
}

static void begin(void)
{
	struct tree_info info;

	must(!source->copy_busy, "a BEGIN while a checkpoint is being made");
	rig_flush(&rig);
	tree_info(rig.tree, &info);
	source->id++;
	source->at = info.applied;
	source->nfiles = 0;
	free(source->files);
	source->files = NULL;
	source->copy_busy = true;
	source->copy_job.run = source_copy_run;
	source->copy_job.done = copy_done;
	atomic_fetch_add(&from.pull->copying, 1);
	job_submit(&from, &source->copy_job);
}

static void serve_next(void);

/* In their order, as the product does. */
static void serve_done(struct job *j)
{
	struct serve *sv = container_of(j, struct serve, job);

	sv->ready = true;
	while (source->nserves && (sv = &source->serves[source->first_serve])->ready) {
		if (sv->code == -ENOMEM) { /* again */
			sv->ready = false;
			job_submit(&from, &sv->job);
			return;
		}
		source->first_serve = (source->first_serve + 1) % PULL_SERVES;
		source->nserves--;
		free(sv->ask);
		must(!sv->code, "a file of the checkpoint cannot be read");
		must(sv->answer.type != MSG_DATA || !sv->answer.data.gone, "gone");
		answers++;
		if (source->up)
			tell(&sv->answer, sv->payload);
		else
			payload_unref(sv->payload);
	}
	serve_next();
}

static void serve_next(void)
{
	while (source->head && source->nserves < PULL_SERVES) {
		struct serve *sv =
			&source->serves[(source->first_serve + source->nserves++) % PULL_SERVES];

		sv->ask = source->head;
		source->head = sv->ask->next;
		if (!source->head)
			source->tail = &source->head;
		sv->s = source;
		sv->ready = false;
		sv->job.run = source_answer_run;
		sv->job.done = serve_done;
		job_submit(&from, &sv->job);
	}
}

static void on_message(const struct msg *m)
{
	struct msg answer = {.type = MSG_PULL_REACHED, .pull_reached.id = source->id};
	struct source_ask *a;

	switch (m->type) {
	case MSG_PULL_BEGIN:
		begin();
		break;
	case MSG_PULL_ASK_FILE:
	case MSG_PULL_ASK_DATA:
		a = calloc(1, sizeof(*a));
		ensure(a);
		a->m = *m;
		*source->tail = a;
		source->tail = &a->next;
		serve_next();
		break;
	case MSG_PULL_DONE:
		answer.pull_reached.reached = ++asked_done % 3 == 0; /* the ring went on, twice */
		tell(&answer, NULL);
		break;
	case MSG_PULL_NEWS:
		source->news = m->pull_news;
		break;
	default:
		must(false, "an unexpected frame");
	}
}

/* --- the target's commit thread, as in pull_target.c --- */

static void send_out(void)
{
	struct pull_out *out;

	pthread_mutex_lock(&target->mutex);
	out = target->out;
	target->out = NULL;
	target->out_tail = &target->out;
	pthread_mutex_unlock(&target->mutex);
	while (out) {
		struct pull_out *next = out->next;

		if (target->up)
			on_message(&out->m);
		free(out);
		out = next;
	}
}

static void queues_free(void)
{
	while (target->in) {
		struct pull_in *in = target->in;

		target->in = in->next;
		pull_in_free(in);
	}
	target->in_tail = &target->in;
	while (target->out) {
		struct pull_out *out = target->out;

		target->out = out->next;
		free(out);
	}
	target->out_tail = &target->out;
}

/* The connection breaks: what is under way comes to nothing. */
static void disconnect(void)
{
	target->up = source->up = false;
	pthread_mutex_lock(&target->mutex);
	target->stop = true;
	pthread_cond_signal(&target->cond);
	pthread_mutex_unlock(&target->mutex);
	while (source->head) {
		struct source_ask *a = source->head;

		source->head = a->next;
		free(a);
	}
	source->tail = &source->head;
}

static void status(void)
{
	char text[256] = "";

	json_free(pull_status(&to, PEER, text, sizeof(text)));
	must(strstr(text, "catching up"), "the status says nothing");
	json_free(pull_status(&from, 0, text, sizeof(text)));
	must(!pull_copying(&from) || source->copy_busy, "a checkpoint is being made by nobody");
	segments_disk_bytes(to.segments);
}

/* One connection; true when everything was pulled. */
static bool pull_once(uint64_t break_after)
{
	uint64_t end = answers + break_after;
	bool finished;

	target->up = source->up = target->wanted = true;
	target->peer = PEER;
	target->conn = source->conn = CONN;
	target->stop = target->ready = false;
	target->error = (struct err){0};
	atomic_store(&target->finished, false);
	must(!pthread_create(&target->thread, NULL, pull_thread, &to), "thread");
	target->running = true;
	do {
		finished = atomic_load(&target->finished);
		send_out();
		loop_run_once(from.loop, 100000);
		jobs_reap(&from);
		change();
		status();
		if (target->up && answers >= end)
			disconnect();
	} while (!finished);
	pthread_join(target->thread, NULL);
	target->running = false;
	queues_free();
	while (source->nserves || source->copy_busy) { /* jobs of the broken connection */
		source->up = false;
		loop_run_once(from.loop, 1000000);
		jobs_reap(&from);
	}
	must(target->ready || target->error.code == -ECANCELED, target->error.msg);
	return target->ready;
}

/* --- the target's apply thread --- */

static void *apply_main(void *arg)
{
	static uint8_t bytes[16 * BLOCK_SIZE], back[sizeof(bytes)];
	struct err e = {0};

	must(!segments_add_epoch(to.segments, (struct epoch){.num = 9, .id = 99}, &e), e.msg);
	for (uint64_t n = 0; !atomic_load(&stop); n++) {
		struct addr a = {.block = n * 16 % 4096, .epoch = 9};

		memset(bytes, (int)n, sizeof(bytes));
		must(!segments_write(to.segments, a, 16, bytes), "write");
		must(!segments_read(to.segments, a, 16, back, NULL, NULL) &&
				!memcmp(bytes, back, sizeof(bytes)),
			"read");
		if (n % 8 == 0)
			must(!segments_sync(to.segments), "sync");
		if (n % 16 == 0)
			must(!pull_trim(&to, 9), "trim");
		usleep(500);
	}
	return NULL;
}

int main(void)
{
	unsigned connections = 1;
	struct err e = {0};
	pthread_t apply;

	rig_open_disk(&rig, 1 << 20);
	volume_make(&from, &from_cfg, "from");
	volume_make(&to, &to_cfg, "to");
	from.store = rig.store;
	from.tree = rig.tree;
	source = &from.pull->source[0];
	target = &to.pull->target;
	must(!segments_add_epoch(from.segments, rig.epoch, &e), e.msg);
	for (unsigned i = 0; i < 400; i++)
		change();
	must(!pthread_create(&apply, NULL, apply_main, NULL), "thread");
	while (!pull_once(connections <= BREAKS ? connections * 9 : UINT64_MAX / 2))
		connections++;
	atomic_store(&stop, true);
	pthread_join(apply, NULL);
	must(connections > BREAKS && asked_done >= 3, "it ended before it was broken off");
	pull_stop(&to);
	jobs_stop(&from);
	jobs_stop(&to);
	segments_close(from.segments);
	segments_close(to.segments);
	rig_close(&rig);
	scratch_remove();
	printf("pull: %u connections, %llu checkpoints, %llu answers\n", connections,
		(unsigned long long)offers, (unsigned long long)answers);
	return 0;
}
