/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a source of pulling does on the job threads, because it reads the disk: making the checkpoint
 * that is offered, and reading one answer. pull_source.c has the rest, and the failure modes.
 *
 * While a job runs, what it uses of struct source, or its struct serve, is the job's; the commit thread
 * looks at it again when the job is done.
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

/* --- the checkpoint --- */

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
	struct pace pace = {.step = pull_copy_step, .ctx = s};
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
		r = pull_file_crc(path, &pace, &f->size, &f->crc);
		if (r)
			err_set(&s->copy_error, r, "'%s': %s", path, strerror(-r));
	}
	closedir(d);
	return r;
}

/* A damaged block would come to the target as it is, in a file that has the checksum which was offered. */
static int verify(struct source *s)
{
	struct store_options so = {.block_cache_bytes = 8u << 20, .read_only = true};
	struct pace pace = {.step = pull_copy_step, .ctx = s};
	char path[PULL_PATH_SIZE];
	struct store *store;
	int r;

	source_path(s, NULL, path, sizeof(path));
	r = store_open(path, &so, &store, &s->copy_error);
	if (r)
		return r;
	r = store_verify(store, &pace, &s->copy_error);
	store_close(store);
	return r;
}

void source_copy_run(struct job *j)
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
		r = list_files(s);
	if (!r)
		verify(s);
}

/* --- one answer --- */

static int read_part(struct serve *sv, const struct msg_pull_ask_file *a)
{
	size_t size = ((size_t)a->len + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	struct msg_pull_part *p = &sv->answer.pull_part;
	struct source *s = sv->s;
	char path[PULL_PATH_SIZE];
	cleanup_close int fd = -1;

	source_path(s, s->files[a->index].name, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	memset(sv->payload->data, 0, size);
	for (uint32_t done = 0; done < a->len;) {
		ssize_t n = pread(
			fd, sv->payload->data + done, a->len - done, (off_t)(a->offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (uint32_t)n;
	}
	sv->answer.type = MSG_PULL_PART;
	*p = (struct msg_pull_part){.id = a->id,
		.index = a->index,
		.offset = a->offset,
		.len = a->len,
		.crc = crc32c(0, sv->payload->data, size),
		.bytes = sv->payload->data};
	return 0;
}

/* Not here as they were: punched, because no file maps them any more, or damaged. A punched block is a
 * hole; so is one whose file is lost, and note_holes() tells them apart. */
static void note_missing(struct serve *sv, const struct msg_pull_ask_data *a, struct addr at)
{
	struct segments *seg = sv->s->v->segments;

	for (uint32_t i = 0; i < a->blocks; i++) {
		struct addr one = {.block = at.block + i, .epoch = at.epoch};

		if (!segments_damage(seg, one, 1, &a->crcs[i]))
			continue;
		if (segments_hole(seg, one, 1))
			sv->holes[sv->nholes++] = one;
		else
			sv->damaged[sv->ndamaged++] = one;
	}
	if (!sv->ndamaged)
		log_info("pulling: of blocks %llu+%u of epoch %u some were given back meanwhile",
			(unsigned long long)a->block, a->blocks, a->epoch.num);
}

static int read_data(struct serve *sv, const struct msg_pull_ask_data *a)
{
	struct segments *seg = sv->s->v->segments;
	struct addr at = {.block = a->block, .epoch = a->epoch.num};
	size_t len = (size_t)a->blocks * BLOCK_SIZE;
	struct msg_data *d = &sv->answer.data;
	struct epoch epoch;
	uint32_t bad = 0;
	int r;

	sv->answer.type = MSG_DATA;
	*d = (struct msg_data){.epoch_num = a->epoch.num,
		.epoch_id = a->epoch.id,
		.block = a->block,
		.blocks = a->blocks};
	r = segments_epoch(seg, a->epoch.num, &epoch);
	if (!r && !epoch_equal(epoch, a->epoch))
		r = -ENOENT;
	if (!r)
		r = segments_read_direct(seg, at, a->blocks, sv->payload->data, a->crcs, &bad);
	if (r) {
		if (r == -EBADMSG || r == -EIO)
			note_missing(sv, a, at);
		d->gone = 1;
		memset(sv->payload->data, 0, len); /* a DATA has a payload: here of no use */
	}
	d->bytes = sv->payload->data;
	d->crc = crc32c(0, sv->payload->data, len);
	return 0;
}

void source_answer_run(struct job *j)
{
	struct serve *sv = container_of(j, struct serve, job);
	const struct msg *m = &sv->ask->m;

	sv->ndamaged = sv->nholes = 0;
	sv->payload = payload_new(sv->s->v->rx_pool, MSG_PULL_PART_MAX);
	if (!sv->payload) {
		struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};

		nanosleep(&pause, NULL);
		sv->code = -ENOMEM;
		return;
	}
	sv->code = m->type == MSG_PULL_ASK_FILE ? read_part(sv, &m->pull_ask_file)
						: read_data(sv, &m->pull_ask_data);
}
