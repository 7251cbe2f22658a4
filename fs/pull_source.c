/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source of pulling, on the serving active. For each peer: IDLE -> (BEGIN) WAITING for the flush of
 * the next checkpoint -> COPYING: a job links RocksDB's files and sums them up -> OFFERED: questions are
 * answered in their order, one job at a time, as the bulk socket takes it. A new BEGIN starts over.
 *
 * The ring is held from the checkpoint's position on: in the first rounds as long as a quarter of it is
 * free, later, and when the target says that it has everything, also against waiting writers, but not
 * for longer than HOLD_NS. The hold ends when the target streams from the ring.
 *
 * Failure modes: what a question names is not here with those checksums (punched since, or damaged,
 * which is logged): "gone". The checkpoint cannot be made: the connection ends with a reason, the
 * target asks again. Nothing here ends the process, and nothing outlives it: recovery removes
 * `checkpoints/`.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "crc32c.h"
#include "le.h"
#include "log.h"
#include "pull_impl.h"

#define HOLD_NS (30 * NS_PER_S)
#define HOLD_RETURN_NS (15 * NS_PER_S) /* for the target to start again and come back */
#define FIRM_ROUND 3u
#define EPOCHS_MAX (1u << 20)

static void source_path(const struct source *s, const char *name, char *buf, size_t size)
{
	snprintf(buf, size, "%s/checkpoints/%u%s%s", s->v->cfg->directory, s->peer, name ? "/" : "",
		name ? name : "");
}

/* --- making the checkpoint: a job thread --- */

static int write_epochs(struct source *s)
{
	struct segments *seg = s->v->segments;
	unsigned n = segments_epochs(seg, NULL, 0), more;
	cleanup_free struct epoch *epochs = calloc(n + 1, sizeof(*epochs));
	cleanup_free uint8_t *bytes = calloc(n + 1, 12);
	char path[PULL_PATH_SIZE];
	cleanup_close int fd = -1;

	ensure(epochs && bytes);
	more = segments_epochs(seg, epochs, n);
	ensure(more >= n); /* one that came since holds nothing that the checkpoint maps */
	for (unsigned i = 0; i < n; i++) {
		le32_put(bytes + 12ul * i, epochs[i].num);
		le64_put(bytes + 12ul * i + 4, epochs[i].id);
	}
	source_path(s, PULL_EPOCHS, path, sizeof(path));
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, bytes, 12ul * n) != (ssize_t)(12ul * n))
		return err_set(&s->copy_error, -EIO, "'%s': %s", path, strerror(errno));
	return 0;
}

static int list_files(struct source *s)
{
	char path[PULL_PATH_SIZE];
	struct dirent *de;
	unsigned cap = 0;
	int r = 0;
	DIR *d;

	source_path(s, NULL, path, sizeof(path));
	d = opendir(path);
	if (!d)
		return err_set(&s->copy_error, -errno, "'%s': %s", path, strerror(errno));
	while (!r && (de = readdir(d))) {
		struct pull_file *f;

		if (de->d_name[0] == '.')
			continue;
		if (!msg_file_name_valid(de->d_name, strlen(de->d_name)) ||
			s->nfiles == MSG_PULL_FILES_MAX) {
			r = err_set(&s->copy_error, -EINVAL, "'%s' holds a file '%.64s' too many",
				path, de->d_name);
			break;
		}
		if (s->nfiles == cap) {
			cap = cap ? 2 * cap : 64;
			s->files = realloc(s->files, cap * sizeof(*s->files));
			ensure(s->files);
		}
		f = &s->files[s->nfiles++];
		memset(f, 0, sizeof(*f));
		snprintf(f->name, sizeof(f->name), "%.63s", de->d_name);
		source_path(s, f->name, path, sizeof(path));
		r = pull_file_crc(path, &f->size, &f->crc);
		if (r)
			err_set(&s->copy_error, r, "'%s': %s", path, strerror(-r));
	}
	closedir(d);
	return r;
}

static void copy_run(struct job *j)
{
	struct source *s = container_of(j, struct source, copy_job);
	char path[PULL_PATH_SIZE], parent[4300];
	int r = 0;

	source_path(s, NULL, path, sizeof(path));
	pull_remove_tree(path);
	if (s->remove_only)
		return;
	snprintf(parent, sizeof(parent), "%s/checkpoints", s->v->cfg->directory);
	if (mkdir(parent, 0700) && errno != EEXIST)
		r = err_set(&s->copy_error, -errno, "'%s': %s", parent, strerror(errno));
	if (!r)
		r = store_checkpoint(s->v->store, path, &s->copy_error);
	atomic_fetch_sub(&s->v->pull->copying, 1);
	loop_wake(s->v->loop);
	if (!r)
		r = write_epochs(s);
	if (!r)
		list_files(s);
}

/* --- commit thread --- */

static void asks_drop(struct source *s)
{
	while (s->head) {
		struct source_ask *a = s->head;

		s->head = a->next;
		free(a);
	}
	s->tail = &s->head;
	s->nasks = 0;
}

static void send_plain(struct source *s, const struct msg *m)
{
	net_send(s->v->net, NET_BULK + s->peer, s->conn, m, NULL, NULL);
}

static void offer(struct source *s)
{
	struct msg m = {.type = MSG_PULL_OFFER};
	struct tree_info info;

	tree_info(s->v->tree, &info);
	m.pull_offer = (struct msg_pull_offer){
		.id = s->id, .at = s->at, .used_blocks = info.used_blocks, .nfiles = s->nfiles};
	net_cork(s->v->net, NET_BULK + s->peer);
	send_plain(s, &m);
	for (unsigned i = 0; i < s->nfiles; i++) {
		struct msg f = {.type = MSG_PULL_FILE};

		f.pull_file = (struct msg_pull_file){
			.id = s->id, .index = i, .size = s->files[i].size, .crc = s->files[i].crc};
		memcpy(f.pull_file.name, s->files[i].name, sizeof(f.pull_file.name));
		send_plain(s, &f);
	}
	net_uncork(s->v->net, NET_BULK + s->peer);
}

static void begin(struct source *s)
{
	s->id = ++s->v->next_request; /* any number that is not used twice in this process */
	s->state = SOURCE_WAITING;
	s->hold = s->done = s->again = false;
	s->v->checkpoint.wanted = true;
}

static void source_break(struct source *s, const char *reason)
{
	log_warn("pulling by %s is broken off: %s",
		core_record(s->v->core)->replicas[s->peer].domain, reason);
	net_drop(s->v->net, NET_BULK + s->peer, reason);
	source_down(s);
}

static void copy_done(struct job *j)
{
	struct source *s = container_of(j, struct source, copy_job);

	s->copy_busy = false;
	if (s->remove_only)
		return;
	s->litter = true;
	if (s->state != SOURCE_COPYING) /* the connection is gone */
		return;
	if (s->again) {
		begin(s);
		return;
	}
	if (s->copy_error.code) {
		source_break(s, s->copy_error.msg);
		return;
	}
	s->state = SOURCE_OFFERED;
	offer(s);
}

void pull_flushed(struct volume *v, struct pos at)
{
	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		struct source *s = &v->pull->source[i];

		if (s->state != SOURCE_WAITING || s->copy_busy || s->serve_busy)
			continue;
		s->state = SOURCE_COPYING;
		s->at = at;
		s->hold = true;
		s->hold_until_ns = clock_mono_ns() + HOLD_NS;
		s->copy_busy = true;
		s->remove_only = false;
		s->copy_error = (struct err){0};
		s->nfiles = 0;
		free(s->files);
		s->files = NULL;
		atomic_fetch_add(&v->pull->copying, 1);
		s->copy_job.run = copy_run;
		s->copy_job.done = copy_done;
		job_submit(v, &s->copy_job);
	}
}

bool pull_copying(const struct volume *v)
{
	return atomic_load(&v->pull->copying) != 0;
}

uint64_t pull_floor(const struct volume *v)
{
	uint64_t floor = UINT64_MAX;

	for (unsigned i = 0; i < REPLICAS_MAX; i++)
		if (v->pull->source[i].hold)
			floor = MIN(floor, v->pull->source[i].at.seq + 1);
	return floor;
}

/* --- answering: a job thread --- */

static int read_part(struct source *s, const struct msg_pull_ask_file *a)
{
	size_t size = ((size_t)a->len + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	struct msg_pull_part *p = &s->answer.pull_part;
	char path[PULL_PATH_SIZE];
	cleanup_close int fd = -1;

	source_path(s, s->files[a->index].name, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	memset(s->payload->data, 0, size);
	for (uint32_t done = 0; done < a->len;) {
		ssize_t n = pread(
			fd, s->payload->data + done, a->len - done, (off_t)(a->offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (uint32_t)n;
	}
	s->answer.type = MSG_PULL_PART;
	*p = (struct msg_pull_part){.id = a->id,
		.index = a->index,
		.offset = a->offset,
		.len = a->len,
		.crc = crc32c(0, s->payload->data, size),
		.bytes = s->payload->data};
	return 0;
}

static int read_data(struct source *s, const struct msg_pull_ask_data *a)
{
	struct addr at = {.block = a->block, .epoch = a->epoch.num};
	struct msg_data *d = &s->answer.data;
	struct epoch epoch;
	uint32_t bad = 0;
	int r;

	s->answer.type = MSG_DATA;
	*d = (struct msg_data){.epoch_num = a->epoch.num,
		.epoch_id = a->epoch.id,
		.block = a->block,
		.blocks = a->blocks};
	r = segments_epoch(s->v->segments, a->epoch.num, &epoch);
	if (!r && !epoch_equal(epoch, a->epoch))
		r = -ENOENT;
	if (!r)
		r = segments_read(s->v->segments, at, a->blocks, s->payload->data, a->crcs, &bad);
	if (r) {
		log_warn("pulling: blocks %llu+%u of epoch %u are not here as they were (%s)",
			(unsigned long long)a->block, a->blocks, a->epoch.num, strerror(-r));
		d->gone = 1;
		return 0;
	}
	d->bytes = s->payload->data;
	d->crc = crc32c(0, s->payload->data, (size_t)a->blocks * BLOCK_SIZE);
	return 0;
}

static void serve_run(struct job *j)
{
	struct source *s = container_of(j, struct source, serve_job);

	s->payload = payload_new(s->v->rx_pool, MSG_PULL_PART_MAX);
	if (!s->payload) {
		struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};

		nanosleep(&pause, NULL);
		s->serve_code = -ENOMEM;
		return;
	}
	s->serve_code = s->ask->m.type == MSG_PULL_ASK_FILE
				? read_part(s, &s->ask->m.pull_ask_file)
				: read_data(s, &s->ask->m.pull_ask_data);
}

static void release(void *arg)
{
	payload_unref(arg);
}

static void serve_done(struct job *j)
{
	struct source *s = container_of(j, struct source, serve_job);
	struct source_ask *a = s->ask;
	size_t len;

	s->serve_busy = false;
	s->ask = NULL;
	if (!s->up || s->conn != s->ask_conn) {
		payload_unref(s->payload);
		free(a);
		return;
	}
	if (s->serve_code == -ENOMEM) { /* the pool is full of other things: soon again */
		a->next = s->head;
		if (!s->head)
			s->tail = &a->next;
		s->head = a;
		s->nasks++;
		return;
	}
	free(a);
	if (s->serve_code) {
		payload_unref(s->payload);
		source_break(s, "a file of the checkpoint cannot be read");
		return;
	}
	msg_payload(&s->answer, &len);
	s->sent += len;
	if (!len ||
		net_send(s->v->net, NET_BULK + s->peer, s->conn, &s->answer, release, s->payload)) {
		if (!len)
			send_plain(s, &s->answer);
		payload_unref(s->payload);
	}
	source_go_on(s);
}

void source_go_on(struct source *s)
{
	if (s->serve_busy || !s->head || !s->up ||
		net_queued(s->v->net, NET_BULK + s->peer) > PULL_QUEUE_MAX)
		return;
	s->ask = s->head;
	s->head = s->ask->next;
	if (!s->head)
		s->tail = &s->head;
	s->nasks--;
	s->ask_conn = s->conn;
	s->serve_busy = true;
	s->serve_job.run = serve_run;
	s->serve_job.done = serve_done;
	job_submit(s->v, &s->serve_job);
}

/* --- what arrives --- */

static bool ask_valid(const struct source *s, const struct msg *m)
{
	const struct msg_pull_ask_file *a = &m->pull_ask_file;

	if (s->state != SOURCE_OFFERED || s->nasks >= PULL_ASKS_MAX)
		return false;
	if (m->type == MSG_PULL_ASK_DATA)
		return true;
	return a->id == s->id && a->index < s->nfiles &&
	       a->offset + a->len <= s->files[a->index].size;
}

static void on_ask(struct source *s, const struct msg *m)
{
	struct source_ask *a;

	if (!ask_valid(s, m)) {
		source_break(s, "a question that the offer does not answer");
		return;
	}
	a = malloc(sizeof(*a));
	ensure(a);
	a->m = *m;
	a->next = NULL;
	*s->tail = a;
	s->tail = &a->next;
	s->nasks++;
	source_go_on(s);
}

static void on_done(struct source *s, const struct msg *m)
{
	struct msg answer = {.type = MSG_PULL_REACHED, .pull_reached.id = m->pull_done.id};
	struct pos pos;

	if (s->state != SOURCE_OFFERED || m->pull_done.id != s->id) {
		source_break(s, "the end of another checkpoint");
		return;
	}
	answer.pull_reached.reached =
		ring_pos_at(s->v->ring, s->at.seq, &pos) == 0 && pos_equal(pos, s->at);
	if (answer.pull_reached.reached) { /* whatever comes: it is on its way back */
		s->hold = s->done = true;
		s->hold_until_ns = clock_mono_ns() + HOLD_RETURN_NS;
	}
	log_info("%s has pulled everything up to seq %llu (%llu bytes sent)%s",
		core_record(s->v->core)->replicas[s->peer].domain, (unsigned long long)s->at.seq,
		(unsigned long long)(s->sent_before + s->sent),
		s->done ? "" : "; the journal has gone on: another round");
	send_plain(s, &answer);
}

void source_message(struct source *s, const struct msg *m)
{
	switch (m->type) {
	case MSG_PULL_BEGIN:
		asks_drop(s);
		s->round = m->pull_begin.round;
		if (!s->v->serving)
			source_break(s, "this replica does not serve");
		else if (s->state == SOURCE_COPYING)
			s->again = true;
		else
			begin(s);
		break;
	case MSG_PULL_ASK_FILE:
	case MSG_PULL_ASK_DATA:
		on_ask(s, m);
		break;
	case MSG_PULL_DONE:
		on_done(s, m);
		break;
	case MSG_PULL_NEWS:
		s->news = m->pull_news;
		break;
	default:
		source_break(s, "an unexpected frame");
		break;
	}
}

void source_up(struct source *s, uint64_t conn)
{
	s->up = true;
	s->conn = conn;
	s->news = (struct msg_pull_news){0};
}

void source_down(struct source *s)
{
	if (!s->up)
		return;
	if (s->sent)
		log_info("sent %llu bytes to %s", (unsigned long long)s->sent,
			core_record(s->v->core)->replicas[s->peer].domain);
	s->up = false;
	s->sent_before += s->sent;
	s->sent = 0;
	asks_drop(s);
	s->hold = s->hold && s->done;
	s->state = SOURCE_IDLE;
	s->litter = true;
}

/* Ends holds that cost too much or are of no more use. */
static void check_hold(struct source *s, uint64_t now)
{
	struct volume *v = s->v;
	bool firm = s->done || s->round >= FIRM_ROUND;
	struct core_peer_view view;

	if (!s->hold)
		return;
	core_peer_view(v->core, s->peer, &view);
	if (s->done && (v->fetch[s->peer].wanted || view.state == CORE_PEER_IN_SYNC))
		s->hold = s->done = false; /* it is back */
	else if (firm ? now > s->hold_until_ns : ring_free(v->ring) < ring_size(v->ring) / 4)
		s->hold = s->done = false;
	if (!s->hold)
		checkpoint_release(v);
}

void source_work(struct volume *v)
{
	uint64_t now = clock_mono_ns();

	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		struct source *s = &v->pull->source[i];

		check_hold(s, now);
		if (s->state == SOURCE_WAITING && v->serving && !s->copy_busy && !s->serve_busy)
			v->checkpoint.wanted = true;
		if (s->state == SOURCE_OFFERED)
			source_go_on(s);
		if (s->litter && s->state == SOURCE_IDLE && !s->copy_busy && !s->serve_busy) {
			s->litter = false;
			s->copy_busy = s->remove_only = true;
			s->copy_job.run = copy_run;
			s->copy_job.done = copy_done;
			job_submit(v, &s->copy_job);
		}
	}
}

void source_init(struct volume *v)
{
	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		struct source *s = &v->pull->source[i];

		s->v = v;
		s->peer = i;
		s->tail = &s->head;
	}
}
