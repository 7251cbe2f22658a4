/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's thread: rounds until one ends with everything here and the source's ring still leading
 * on from it. A round: ask for a checkpoint; compare the files that are offered with those in
 * `incoming/meta` by name, size and checksum, and fetch what differs; look for the data (pull_data.c);
 * say that it is done, and hear whether the ring still reaches.
 *
 * Files arrive in parts, are written under another name, checked against their checksum, synced and
 * renamed; RocksDB's table files never change, so a later round fetches little. The next part is asked
 * for before the last one has come.
 *
 * Failure modes: whatever goes wrong ends the thread with a reason, after what it got was made durable
 * (round_data_free()). A file whose bytes do not match what was offered is fetched again in the next
 * attempt. -EIO (a write that failed here) ends the process.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "pull_impl.h"

#define PARTS_AHEAD 4u
#define NEWS_NS (500 * NS_PER_MS)
/* Time-outs of the transport: who is asked for bytes may be busy with others, and a checkpoint has to wait while
 * writes wait for somebody. */
#define PATIENCE 10
#define PATIENCE_OFFER 60
#define RATE_NS (500 * NS_PER_MS)
#define GONE_PAUSE_S_MAX 8

/* --- talking to the commit thread --- */

void pull_in_free(struct pull_in *in)
{
	if (!in)
		return;
	payload_unref(in->payload);
	free(in);
}

void round_send(struct round *r, const struct msg *m)
{
	struct pull_out *out = malloc(sizeof(*out));
	bool first;

	ensure(out);
	out->m = *m;
	out->next = NULL;
	pthread_mutex_lock(&r->t->mutex);
	first = !r->t->out;
	*r->t->out_tail = out;
	r->t->out_tail = &out->next;
	pthread_mutex_unlock(&r->t->mutex);
	if (first)
		loop_wake(r->v->loop);
}

bool round_stopped(struct round *r)
{
	bool stop;

	pthread_mutex_lock(&r->t->mutex);
	stop = r->t->stop;
	pthread_mutex_unlock(&r->t->mutex);
	return stop;
}

struct pull_in *round_receive(struct round *r)
{
	uint64_t patience = r->v->cfg->timeout_ns * (r->patient ? PATIENCE_OFFER : PATIENCE);
	uint64_t until = clock_mono_ns() + patience;
	struct timespec at = {
		.tv_sec = (time_t)(until / NS_PER_S), .tv_nsec = (long)(until % NS_PER_S)};
	struct target *t = r->t;
	struct pull_in *in;
	int late = 0;

	pthread_mutex_lock(&t->mutex);
	while (!t->stop && !t->in && late != ETIMEDOUT)
		late = pthread_cond_timedwait(&t->cond, &t->mutex, &at);
	late = !t->stop && !t->in;
	in = t->stop ? NULL : t->in;
	if (in) {
		t->in = in->next;
		if (!t->in)
			t->in_tail = &t->in;
	}
	pthread_mutex_unlock(&t->mutex);
	if (late)
		err_set(r->e, -ETIMEDOUT, "no answer within %.0f s", (double)patience / NS_PER_S);
	else if (!in)
		err_set(r->e, -ECANCELED, "stopped");
	return in;
}

/* Waits; true when it is over. */
static bool pause_until(struct round *r, uint64_t until_ns)
{
	struct timespec at = {
		.tv_sec = (time_t)(until_ns / NS_PER_S), .tv_nsec = (long)(until_ns % NS_PER_S)};
	bool stop;

	pthread_mutex_lock(&r->t->mutex);
	while (!r->t->stop && pthread_cond_timedwait(&r->t->cond, &r->t->mutex, &at) != ETIMEDOUT)
		;
	stop = r->t->stop;
	pthread_mutex_unlock(&r->t->mutex);
	return stop;
}

int round_pace(struct round *r, uint64_t bytes)
{
	uint64_t rate = r->v->cfg->catch_up_rate, now = clock_mono_ns();

	if (rate && r->allowed_ns > now && pause_until(r, r->allowed_ns))
		return err_set(r->e, -ECANCELED, "stopped");
	if (rate)
		r->allowed_ns = MAX(r->allowed_ns, now) + bytes * NS_PER_S / rate;
	return round_stopped(r) ? err_set(r->e, -ECANCELED, "stopped") : 0;
}

void round_done(struct round *r, uint64_t bytes)
{
	struct msg m = {.type = MSG_PULL_NEWS};
	struct target *t = r->t;
	uint64_t now = clock_mono_ns(), done = atomic_fetch_add(&t->done, bytes) + bytes;

	if (now - r->rate_ns >= RATE_NS) { /* half of it is what was before */
		uint64_t rate = (done - MIN(done, r->rate_done)) * NS_PER_S / (now - r->rate_ns);
		uint64_t before = atomic_load(&t->rate);

		atomic_store(&t->rate, before ? (before + rate) / 2 : rate);
		atomic_store(&t->rate_took_ns, now - r->rate_ns);
		atomic_store(&t->rate_at_ns, now);
		r->rate_ns = now;
		r->rate_done = done;
	}
	if (now - r->news_ns < NEWS_NS)
		return;
	r->news_ns = now;
	m.pull_news = (struct msg_pull_news){
		.done = done, .total = atomic_load(&t->total), .rate = atomic_load(&t->rate)};
	round_send(r, &m);
}

/* --- the checkpoint's files --- */

struct offer {
	struct pull_file *files;
	uint32_t n;
};

static void file_path(
	const struct round *r, const char *name, const char *suffix, char *buf, size_t size)
{
	if (!strcmp(name, PULL_EPOCHS))
		snprintf(buf, size, "%s/%s%s", r->dir, name, suffix);
	else
		snprintf(buf, size, "%s/meta/%s%s", r->dir, name, suffix);
}

static struct pull_in *receive_type(struct round *r, enum msg_type type)
{
	struct pull_in *in = round_receive(r);

	if (!in || in->m.type == type)
		return in;
	err_set(r->e, -EPROTO, "a %s frame where %s should come", msg_type_name(in->m.type),
		msg_type_name(type));
	pull_in_free(in);
	return NULL;
}

static int receive_offer(struct round *r, struct offer *o)
{
	struct msg m = {.type = MSG_PULL_BEGIN};
	struct pull_in *in;
	uint64_t total;

	m.pull_begin.round = atomic_fetch_add(&r->t->round, 1) + 1;
	round_send(r, &m);
	r->patient = true;
	in = receive_type(r, MSG_PULL_OFFER);
	r->patient = false;
	if (!in)
		return r->e->code;
	r->id = in->m.pull_offer.id;
	r->at = in->m.pull_offer.at;
	o->n = in->m.pull_offer.nfiles;
	total = in->m.pull_offer.used_blocks * BLOCK_SIZE;
	pull_in_free(in);
	o->files = calloc(o->n, sizeof(*o->files));
	ensure(o->files);
	for (uint32_t i = 0; i < o->n; i++) {
		in = receive_type(r, MSG_PULL_FILE);
		if (!in)
			return r->e->code;
		if (in->m.pull_file.id != r->id || in->m.pull_file.index != i) {
			pull_in_free(in);
			return err_set(r->e, -EPROTO, "the files of another offer");
		}
		memcpy(o->files[i].name, in->m.pull_file.name, sizeof(o->files[i].name));
		o->files[i].size = in->m.pull_file.size;
		o->files[i].crc = in->m.pull_file.crc;
		total += o->files[i].size;
		pull_in_free(in);
	}
	atomic_store(&r->t->total, total);
	atomic_store(&r->t->done, 0);
	atomic_store(&r->t->missing, 0);
	r->rate_ns = clock_mono_ns();
	r->rate_done = 0;
	r->missing = 0;
	return 0;
}

/* Files of an earlier round, and RocksDB's own logs. */
static void remove_others(struct round *r, const struct offer *o)
{
	char path[PULL_PATH_SIZE];
	struct dirent *de;
	DIR *d;

	snprintf(path, sizeof(path), "%s/meta", r->dir);
	d = opendir(path);
	while (d && (de = readdir(d))) {
		bool offered = false;

		if (!strcmp(de->d_name, ".") || !strcmp(de->d_name, ".."))
			continue;
		for (uint32_t i = 0; i < o->n && !offered; i++)
			offered = !strcmp(o->files[i].name, de->d_name);
		if (offered)
			continue;
		snprintf(path, sizeof(path), "%s/meta/%.255s", r->dir, de->d_name);
		unlink(path);
	}
	if (d)
		closedir(d);
}

static bool have_file(struct round *r, const struct pull_file *f)
{
	char path[PULL_PATH_SIZE];
	struct stat st;
	uint64_t size;
	uint32_t crc;

	file_path(r, f->name, "", path, sizeof(path));
	if (stat(path, &st) || (uint64_t)st.st_size != f->size)
		return false;
	return pull_file_crc(path, NULL, &size, &crc) == 0 && size == f->size && crc == f->crc;
}

static int ask_part(struct round *r, uint32_t index, uint64_t offset, uint64_t size)
{
	struct msg m = {.type = MSG_PULL_ASK_FILE};
	uint32_t len = (uint32_t)MIN(size - offset, (uint64_t)MSG_PULL_PART_MAX);
	int ret = round_pace(r, len);

	if (ret)
		return ret;
	m.pull_ask_file = (struct msg_pull_ask_file){
		.id = r->id, .index = index, .offset = offset, .len = len};
	round_send(r, &m);
	return 0;
}

static int write_part(struct round *r, int fd, uint32_t index, uint64_t offset)
{
	struct pull_in *in = receive_type(r, MSG_PULL_PART);
	const struct msg_pull_part *p;
	int ret = 0;

	if (!in)
		return r->e->code;
	p = &in->m.pull_part;
	if (p->id != r->id || p->index != index || p->offset != offset)
		ret = err_set(r->e, -EPROTO, "another part of a file than was asked for");
	for (uint32_t done = 0; done < p->len && !ret;) {
		ssize_t n = pwrite(fd, (const uint8_t *)p->bytes + done, p->len - done,
			(off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ret = err_set(r->e, -errno, "writing a file of the checkpoint: %s",
				strerror(errno));
		else
			done += (uint32_t)n;
	}
	if (!ret)
		round_done(r, p->len);
	pull_in_free(in);
	return ret;
}

static int fetch_file(struct round *r, uint32_t index, const struct pull_file *f)
{
	char path[PULL_PATH_SIZE], part[PULL_PATH_SIZE];
	cleanup_close int fd = -1;
	uint64_t asked = 0, size;
	uint32_t crc;
	int ret = 0;

	file_path(r, f->name, "", path, sizeof(path));
	file_path(r, f->name, ".part", part, sizeof(part));
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return err_set(r->e, -errno, "'%s': %s", part, strerror(errno));
	for (uint64_t got = 0; got < f->size && !ret; got += MSG_PULL_PART_MAX) {
		while (!ret && asked < f->size && asked < got + PARTS_AHEAD * MSG_PULL_PART_MAX) {
			ret = ask_part(r, index, asked, f->size);
			asked += MSG_PULL_PART_MAX;
		}
		if (!ret)
			ret = write_part(r, fd, index, got);
	}
	if (ret)
		return ret;
	if (fsync(fd))
		return err_set(r->e, -EIO, "'%s': %s", part, strerror(errno));
	ret = pull_file_crc(part, NULL, &size, &crc);
	if (ret || size != f->size || crc != f->crc)
		return err_set(r->e, -EBADMSG, "file %s is not what was offered", f->name);
	if (rename(part, path))
		return err_set(r->e, -errno, "'%s': %s", path, strerror(errno));
	return 0;
}

static int fetch_files(struct round *r, const struct offer *o)
{
	char path[PULL_PATH_SIZE];
	unsigned fetched = 0;
	int ret = 0;

	remove_others(r, o);
	for (uint32_t i = 0; i < o->n && !ret; i++) {
		if (have_file(r, &o->files[i])) {
			round_done(r, o->files[i].size);
			continue;
		}
		ret = fetch_file(r, i, &o->files[i]);
		fetched++;
	}
	snprintf(path, sizeof(path), "%s/meta", r->dir);
	if (!ret)
		ret = pull_sync_dir(path);
	if (!ret)
		ret = pull_sync_dir(r->dir);
	if (ret && !r->e->code)
		err_set(r->e, ret, "'%s': %s", path, strerror(-ret));
	if (!ret)
		log_info("pulling seq %llu (round %u): %u of %u files were fetched",
			(unsigned long long)r->at.seq, atomic_load(&r->t->round), fetched, o->n);
	return ret;
}

/* --- rounds --- */

/* The ring that the pulled state will begin with. */
static int make_ring(struct round *r)
{
	char path[PULL_PATH_SIZE], tmp[PULL_PATH_SIZE];
	int ret;

	snprintf(path, sizeof(path), "%s/ring", r->dir);
	snprintf(tmp, sizeof(tmp), "%s/ring.new", r->dir);
	if (access(path, F_OK) == 0)
		return 0;
	pull_remove_tree(tmp);
	ret = ring_create(tmp, r->v->desc.ring_size, r->e);
	if (ret)
		return ret;
	if (rename(tmp, path))
		return err_set(r->e, -errno, "'%s': %s", path, strerror(errno));
	ret = pull_sync_dir(r->dir);
	return ret ? err_set(r->e, ret, "'%s': %s", r->dir, strerror(-ret)) : 0;
}

static int open_round(struct round *r)
{
	char path[PULL_PATH_SIZE];
	int ret;

	snprintf(r->dir, sizeof(r->dir), "%s/incoming", r->v->cfg->directory);
	if (mkdir(r->dir, 0700) && errno != EEXIST)
		return err_set(r->e, -errno, "'%s': %s", r->dir, strerror(errno));
	snprintf(path, sizeof(path), "%s/meta", r->dir);
	if (mkdir(path, 0700) && errno != EEXIST)
		return err_set(r->e, -errno, "'%s': %s", path, strerror(errno));
	snprintf(path, sizeof(path), "%s/progress", r->dir);
	ret = pull_have_open(path, &r->have, r->e);
	return ret ? ret : make_ring(r);
}

/* Once is nothing: they were overwritten or deleted meanwhile. Again and again they are lost at the source, which a
 * person must deal with there; each round costs it a checkpoint, so they become rarer. */
static int gone(struct round *r)
{
	unsigned n = atomic_fetch_add(&r->t->gone_rounds, 1) + 1;
	uint64_t pause_s = MIN(1ull << MIN(n - 1, 8u), (uint64_t)GONE_PAUSE_S_MAX);

	atomic_store(&r->t->gone, r->missing);
	if (n == GONE_ROUNDS)
		log_error("pulling: %llu blocks are gone at the source for the third time: its log "
			  "and 'tandemctl status' there say whether they are damaged, and what "
			  "to do. This replica stays as it is until then",
			(unsigned long long)r->missing);
	else
		log_info("pulling: %llu blocks are gone at the source; another round in %llu s",
			(unsigned long long)r->missing, (unsigned long long)pause_s);
	return pause_until(r, clock_mono_ns() + pause_s * NS_PER_S)
		       ? err_set(r->e, -ECANCELED, "stopped")
		       : 0;
}

/* Everything of this checkpoint is here. 1: the ring leads on from it; 0: another round. */
static int finish(struct round *r)
{
	struct msg m = {.type = MSG_PULL_DONE, .pull_done.id = r->id};
	struct pull_in *in;
	int reached;

	if (r->missing)
		return gone(r);
	atomic_store(&r->t->gone_rounds, 0);
	round_send(r, &m);
	in = receive_type(r, MSG_PULL_REACHED);
	if (!in)
		return r->e->code;
	reached = in->m.pull_reached.id == r->id && in->m.pull_reached.reached;
	pull_in_free(in);
	if (!reached)
		log_info("pulling: the journal has gone on beyond seq %llu; another round",
			(unsigned long long)r->at.seq);
	return reached;
}

static int one_round(struct round *r)
{
	char path[PULL_PATH_SIZE];
	struct offer o = {0};
	int ret;

	ret = receive_offer(r, &o);
	if (!ret)
		ret = fetch_files(r, &o);
	free(o.files);
	free(r->epochs);
	r->epochs = NULL;
	snprintf(path, sizeof(path), "%s/" PULL_EPOCHS, r->dir);
	if (!ret)
		ret = pull_epochs_load(path, &r->epochs, &r->nepochs, r->e);
	if (!ret)
		ret = round_data(r);
	return ret ? ret : finish(r);
}

void *pull_thread(void *arg)
{
	struct volume *v = arg;
	struct target *t = &v->pull->target;
	struct round *r = calloc(1, sizeof(*r));
	int ret;

	ensure(r);
	r->v = v;
	r->t = t;
	r->e = &t->error;
	r->asks_tail = &r->asks;
	pthread_mutex_lock(&t->trim_lock);
	ret = open_round(r);
	while (!ret)
		ret = one_round(r);
	round_data_free(r);
	pull_have_close(r->have);
	free(r->epochs);
	free(r);
	pthread_mutex_unlock(&t->trim_lock);
	t->ready = ret > 0;
	if (ret < 0 && !t->error.code)
		err_set(&t->error, ret, "%s", strerror(-ret));
	atomic_store(&t->finished, true);
	loop_wake(v->loop);
	return NULL;
}
