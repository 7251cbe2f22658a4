/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the commit thread must not do itself, because it could wait for a disk: a few job threads
 * take work from one list, run it, and hand it back. And the two things that use them for
 * operations: reading ahead what op_decide() did not find in memory, and bringing parked writes
 * back when the payload pool has room again.
 *
 * Failure modes: a job's own error is in the job; the threads cannot fail. Parked bytes live in an
 * unlinked file, so a crash leaves nothing; they were never acknowledged. On a disk where they would take the
 * reserve, ENOSPC (I8).
 */
#include "volume_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

void job_post(struct volume *v, struct job *j)
{
	struct job *old = atomic_load(&v->jobs_done);

	j->v = v;
	do {
		j->next = old;
	} while (!atomic_compare_exchange_weak(&v->jobs_done, &old, j));
	if (!old)
		loop_wake(v->loop);
}

static void *job_thread(void *arg)
{
	struct volume *v = arg;

	pthread_mutex_lock(&v->job_mutex);
	for (;;) {
		struct job *j = v->job_head;

		if (!j) {
			if (v->job_stop)
				break;
			pthread_cond_wait(&v->job_cond, &v->job_mutex);
			continue;
		}
		v->job_head = j->next;
		if (!v->job_head)
			v->job_tail = &v->job_head;
		pthread_mutex_unlock(&v->job_mutex);

		j->run(j);
		job_post(v, j);
		pthread_mutex_lock(&v->job_mutex);
	}
	pthread_mutex_unlock(&v->job_mutex);
	return NULL;
}

int jobs_start(struct volume *v)
{
	pthread_mutex_init(&v->job_mutex, NULL);
	pthread_cond_init(&v->job_cond, NULL);
	v->job_tail = &v->job_head;
	for (unsigned i = 0; i < JOB_THREADS; i++) {
		int r = pthread_create(&v->job_threads[i], NULL, job_thread, v);

		if (r)
			return -r;
	}
	return 0;
}

void jobs_stop(struct volume *v)
{
	pthread_mutex_lock(&v->job_mutex);
	v->job_stop = true;
	pthread_cond_broadcast(&v->job_cond);
	pthread_mutex_unlock(&v->job_mutex);
	for (unsigned i = 0; i < JOB_THREADS; i++)
		pthread_join(v->job_threads[i], NULL);
}

void job_submit(struct volume *v, struct job *j)
{
	j->v = v;
	j->next = NULL;
	pthread_mutex_lock(&v->job_mutex);
	*v->job_tail = j;
	v->job_tail = &j->next;
	pthread_cond_signal(&v->job_cond);
	pthread_mutex_unlock(&v->job_mutex);
}

void jobs_reap(struct volume *v)
{
	struct job *j = atomic_exchange(&v->jobs_done, NULL), *order = NULL;

	while (j) { /* the list is newest first */
		struct job *next = j->next;

		j->next = order;
		order = j;
		j = next;
	}
	while (order) {
		struct job *next = order->next;

		order->done(order);
		order = next;
	}
}

/* --- reading ahead --- */

struct warm_job {
	struct job job;
	struct op *op;
	int error;
	uint64_t queued_ns; /* the op's */
	struct warm_job *older, *newer; /* in v->warming; commit thread */
};

static void warm_run(struct job *j)
{
	struct warm_job *w = container_of(j, struct warm_job, job);
	struct volume *v = j->v;
	bool stale = false;

	w->error = op_warm(v->tree, w->op, &stale);
	if (!w->error && stale) {
		w->error = op_read_edges(v->tree, v->segments, v->pool, w->op);
		if (w->error == -EBADMSG || w->error == -EIO) {
			volume_repair_edges(v, w->op, w->error);
			w->op = NULL;
		}
	}
	if (w->error == -EAGAIN ||
		w->error == -ENOMEM) { /* the payload pool is full: it will empty */
		struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};

		nanosleep(&pause, NULL);
		w->error = 0;
	}
}

static void warm_done(struct job *j)
{
	struct warm_job *w = container_of(j, struct warm_job, job);
	struct volume *v = j->v;
	struct op *op = w->op;

	*(w->older ? &w->older->newer : &v->warming) = w->newer;
	*(w->newer ? &w->newer->older : &v->warming_last) = w->older;
	v->waiting--;
	if (!op) {
		/* it is being repaired, and comes again */
	} else if (w->error) {
		op->error = w->error;
		op->done(op);
	} else {
		volume_submit(v, op);
	}
	free(w);
}

void op_send_to_helper(struct volume *v, struct op *op)
{
	struct warm_job *w = calloc(1, sizeof(*w));

	ensure(w);
	w->op = op;
	w->job.run = warm_run;
	w->job.done = warm_done;
	op->tries++;
	w->queued_ns = op->queued_ns;
	w->older = v->warming_last;
	*(w->older ? &w->older->newer : &v->warming) = w;
	v->warming_last = w;
	job_submit(v, &w->job);
}

uint64_t jobs_warm_since_ns(const struct volume *v)
{
	return v->warming ? v->warming->queued_ns : UINT64_MAX;
}

/* --- parked writes --- */

/*
 * The scratch file takes room of the disk that the metadata flush into and other volumes write to: what is parked
 * leaves them the reserve, and what has come back gives its room back, but for the beginning of the file where
 * there is plenty. (Where there are always some parked the file's end only grows.) It leaves as much again for the
 * data that it becomes: who hears of a full disk hears of it at once, and not after the wait. (What waits in memory
 * comes first, and mostly fits into what is allocated ahead.)
 */
#define SCRATCH_KEEP (64ull << 20) /* bytes */

static uint64_t scratch_bytes(uint64_t len)
{
	return (len + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
}

static void scratch_give_back(struct volume *v, uint64_t at, uint64_t len)
{
	bool scarce = atomic_load(&v->disk_free) < space_meta_reserve(v) + 2 * SCRATCH_KEEP;

	if ((scarce || at + len > SCRATCH_KEEP) &&
		fallocate(v->scratch_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
			(off_t)scratch_bytes(len)))
		log_debug("the scratch file keeps its room: %s", strerror(errno));
}

/* Of segments: an unaligned one takes a block more. */
static uint64_t scratch_data(uint64_t len)
{
	return scratch_bytes(len) + BLOCK_SIZE;
}

/* A place for so many bytes; what others have got and not written yet counts as taken. */
static int scratch_take(struct volume *v, uint64_t len, uint64_t *ret_at)
{
	int r = 0;

	pthread_mutex_lock(&v->park_mutex);
	if (space_free_bytes(v) < space_meta_reserve(v) + v->scratch_coming + len +
					  v->scratch_data + scratch_data(len)) {
		r = -ENOSPC;
	} else {
		if (!v->nparked && !v->scratch_users)
			v->scratch_end = 0;
		*ret_at = v->scratch_end;
		v->scratch_end += scratch_bytes(len);
		v->scratch_coming += len;
		v->scratch_data += scratch_data(len);
		v->scratch_users++;
	}
	pthread_mutex_unlock(&v->park_mutex);
	return r;
}

static int scratch_write(struct volume *v, const void *bytes, uint64_t len, uint64_t at)
{
	/* Exactly so much: xfs would allocate ahead of a file that grows. */
	if (fallocate(v->scratch_fd, FALLOC_FL_KEEP_SIZE, (off_t)at, (off_t)scratch_bytes(len)) &&
		errno != EOPNOTSUPP)
		return -errno;
	for (uint64_t done = 0; done < len;) {
		ssize_t n = pwrite(
			v->scratch_fd, (const char *)bytes + done, len - done, (off_t)(at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (uint64_t)n;
	}
	return 0;
}

int volume_park(struct volume *v, struct op *op, const void *bytes)
{
	struct parked *p = calloc(1, sizeof(*p));
	uint64_t at = 0;
	int r;

	if (!p)
		return -ENOMEM;
	r = scratch_take(v, op->len, &at);
	if (r) {
		free(p);
		return r;
	}
	r = scratch_write(v, bytes, op->len, at);
	if (r)
		scratch_give_back(v, at, op->len);
	p->op = op;
	p->at = at;
	p->len = (uint32_t)op->len;
	pthread_mutex_lock(&v->park_mutex);
	v->scratch_coming -= op->len;
	if (!r && atomic_load(&v->fenced)) /* the list was emptied meanwhile */
		r = -EIO;
	if (r) {
		v->scratch_users--;
		v->scratch_data -= scratch_data(op->len);
	} else {
		*v->parked_tail = p;
		v->parked_tail = &p->next;
		v->nparked++;
	}
	pthread_mutex_unlock(&v->park_mutex);
	if (r) {
		free(p);
		return r;
	}
	atomic_store(&v->room, true);
	loop_wake(v->loop);
	return 0;
}

void volume_parked_drop(struct volume *v)
{
	struct parked *p = v->parked;

	v->parked = p->next;
	if (!v->parked)
		v->parked_tail = &v->parked;
	v->nparked--;
	v->scratch_users--;
	v->scratch_data -= scratch_data(p->len);
}

static void unpark_one(struct volume *v, struct parked *p, struct payload *payload)
{
	struct op *op = p->op;
	uint32_t skip = (uint32_t)(op->off % BLOCK_SIZE);
	bool edges = false;
	int r = 0;

	for (uint32_t done = 0; done < p->len && !r;) {
		ssize_t n = pread(v->scratch_fd, payload->data + skip + done, p->len - done,
			(off_t)(p->at + done));

		if (n > 0)
			done += (uint32_t)n;
		else if (n == 0 || errno != EINTR)
			r = -EIO;
	}
	op->payload = payload;
	if (!r && (skip || (op->off + op->len) % BLOCK_SIZE)) {
		edges = true;
		r = op_read_edges(v->tree, v->segments, v->pool, op);
	}
	if (r == -EBADMSG || (r == -EIO && edges)) {
		volume_repair_edges(v, op, r);
		return;
	}
	op->error = r;
	volume_submit(v, op); /* with an error set it is answered on the commit thread */
}

static void unpark_run(struct job *j)
{
	struct volume *v = j->v;

	for (;;) {
		struct payload *payload;
		struct parked *p;

		pthread_mutex_lock(&v->park_mutex);
		p = v->parked;
		pthread_mutex_unlock(&v->park_mutex);
		if (!p)
			return;
		payload = payload_new(v->pool, p->op->off % BLOCK_SIZE + p->len + BLOCK_SIZE);
		if (!payload)
			return; /* the pool calls when it has room */
		unpark_one(v, p, payload);
		scratch_give_back(v, p->at, p->len);
		pthread_mutex_lock(&v->park_mutex);
		volume_parked_drop(v);
		pthread_mutex_unlock(&v->park_mutex);
		free(p);
	}
}

static void unpark_done(struct job *j)
{
	j->v->unparking = false;
}

void volume_unpark(struct volume *v)
{
	bool any;

	if (v->unparking || !atomic_exchange(&v->room, false))
		return;
	pthread_mutex_lock(&v->park_mutex);
	any = v->parked != NULL;
	pthread_mutex_unlock(&v->park_mutex);
	if (!any)
		return;
	v->unparking = true;
	v->unpark_job.run = unpark_run;
	v->unpark_job.done = unpark_done;
	job_submit(v, &v->unpark_job);
}
