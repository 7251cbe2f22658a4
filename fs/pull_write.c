/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's writers: what was received is compared with its checksums and written to its address by a
 * few threads, so that the disk always has something to do while the next answers are decrypted and the
 * next holes are found. The target's thread puts runs in, waits when too much is queued, and drains before
 * it syncs and remembers anything.
 *
 * One mutex guards everything. Failure modes: the first failure is kept; what is put in afterwards is
 * dropped, each put and drain returns it, and nothing since the last drain is remembered as here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "pull_impl.h"

#define WRITERS 2u
#define QUEUE_BLOCKS 2048u /* 8 MiB received and not written */

struct pull_writer {
	pthread_mutex_t mutex;
	pthread_cond_t work, done;
	struct pull_write *head, **tail;
	uint32_t blocks; /* queued, and being written */
	bool stop;
	struct err err;
	unsigned nthreads;
	pthread_t threads[WRITERS];
};

static int write_run(const struct pull_write *w, struct err *e)
{
	const uint8_t *bytes = w->in->m.data.bytes;
	size_t len = (size_t)w->ask->blocks * BLOCK_SIZE;

	for (uint32_t i = 0; i < w->ask->blocks; i++)
		if (crc32c(0, bytes + (size_t)i * BLOCK_SIZE, BLOCK_SIZE) != w->ask->crcs[i])
			return err_set(e, -EBADMSG, "the source sent other bytes than asked for");
	for (size_t done = 0; done < len;) {
		ssize_t n = pwrite(w->fd, bytes + done, len - done, (off_t)(w->off + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_set(e,
				n < 0 && (errno == ENOSPC || errno == EDQUOT) ? -ENOSPC : -EIO,
				"writing pulled data: %s",
				n < 0 ? strerror(errno) : "nothing is written");
		done += (size_t)n;
	}
	return 0;
}

static void write_free(struct pull_write *w)
{
	pull_in_free(w->in);
	free(w->ask);
	free(w);
}

static void *writer_thread(void *arg)
{
	struct pull_writer *pw = arg;

	pthread_mutex_lock(&pw->mutex);
	for (;;) {
		struct pull_write *w = pw->head;
		struct err e = {0};

		if (!w) {
			if (pw->stop)
				break;
			pthread_cond_wait(&pw->work, &pw->mutex);
			continue;
		}
		pw->head = w->next;
		if (!pw->head)
			pw->tail = &pw->head;
		if (!pw->err.code) {
			pthread_mutex_unlock(&pw->mutex);
			write_run(w, &e);
			pthread_mutex_lock(&pw->mutex);
			if (e.code && !pw->err.code)
				pw->err = e;
		}
		pw->blocks -= w->ask->blocks;
		pthread_cond_signal(&pw->done);
		pthread_mutex_unlock(&pw->mutex);
		write_free(w);
		pthread_mutex_lock(&pw->mutex);
	}
	pthread_mutex_unlock(&pw->mutex);
	return NULL;
}

int pull_writer_new(struct pull_writer **ret)
{
	struct pull_writer *pw = calloc(1, sizeof(*pw));

	if (!pw)
		return -ENOMEM;
	pthread_mutex_init(&pw->mutex, NULL);
	pthread_cond_init(&pw->work, NULL);
	pthread_cond_init(&pw->done, NULL);
	pw->tail = &pw->head;
	while (pw->nthreads < WRITERS) {
		int r = pthread_create(&pw->threads[pw->nthreads], NULL, writer_thread, pw);

		if (r) {
			pull_writer_free(pw);
			return -r;
		}
		pw->nthreads++;
	}
	*ret = pw;
	return 0;
}

void pull_writer_free(struct pull_writer *pw)
{
	if (!pw)
		return;
	pthread_mutex_lock(&pw->mutex);
	pw->stop = true;
	pthread_cond_broadcast(&pw->work);
	pthread_mutex_unlock(&pw->mutex);
	for (unsigned i = 0; i < pw->nthreads; i++)
		pthread_join(pw->threads[i], NULL);
	pthread_cond_destroy(&pw->work);
	pthread_cond_destroy(&pw->done);
	pthread_mutex_destroy(&pw->mutex);
	free(pw);
}

/* The mutex is held. */
static int first_failure(const struct pull_writer *pw, struct err *e)
{
	if (pw->err.code && !e->code)
		*e = pw->err;
	return pw->err.code;
}

int pull_writer_put(struct pull_writer *pw, struct pull_write *w, struct err *e)
{
	int r;

	w->next = NULL;
	pthread_mutex_lock(&pw->mutex);
	while (pw->blocks > QUEUE_BLOCKS)
		pthread_cond_wait(&pw->done, &pw->mutex);
	r = first_failure(pw, e);
	if (!r) {
		*pw->tail = w;
		pw->tail = &w->next;
		pw->blocks += w->ask->blocks;
		pthread_cond_signal(&pw->work);
	}
	pthread_mutex_unlock(&pw->mutex);
	if (r)
		write_free(w);
	return r;
}

int pull_writer_drain(struct pull_writer *pw, struct err *e)
{
	int r;

	pthread_mutex_lock(&pw->mutex);
	while (pw->blocks)
		pthread_cond_wait(&pw->done, &pw->mutex);
	r = first_failure(pw, e);
	pthread_mutex_unlock(&pw->mutex);
	return r;
}
