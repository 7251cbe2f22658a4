/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ring under ThreadSanitizer: the owner appends, with several writes in flight by the writer
 * threads, and releases what a reader on another thread has read. Ends with 0 when nothing was
 * reported and every batch was read once, in order.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ring.h"

#define BATCHES 1500u
#define WRITES 4u
#define RING_SIZE (4u << 20)

struct slot {
	struct ring_write w;
	void *buf;
	bool busy;
};

static struct ring *ring;
static uint64_t read_seq; /* atomic: written by the reader */
static unsigned in_flight;

static void written(struct ring_write *w, int res)
{
	ensure(res == 0);
	container_of(w, struct slot, w)->busy = false;
	in_flight--;
}

static void *reader(void *arg)
{
	void *buf = aligned_alloc(BLOCK_SIZE, BATCH_SIZE_MAX);
	uint64_t last = 0;

	while (last < BATCHES) {
		struct batch_header h;
		int ret = ring_read(ring, last + 1, buf, &h);

		if (ret == -ENOENT) {
			usleep(50);
			continue;
		}
		ensure(ret == 0 && h.first_seq == last + 1);
		last = batch_last_seq(&h);
		__atomic_store_n(&read_seq, last, __ATOMIC_RELEASE);
	}
	free(buf);
	return NULL;
}

static void reap(struct uring *u)
{
	struct pollfd p = {.fd = uring_fd(u), .events = POLLIN};

	ensure(poll(&p, 1, 10000) == 1);
	uring_reap(u);
}

/* Fills and appends one batch; false when the ring is full. */
static bool append(struct slot *s, const struct uuid *volume, struct pos end)
{
	static uint8_t body[30000];
	struct iovec iov = {.iov_base = body, .iov_len = 100 + end.seq * 7919 % 29000};
	struct batch_writer w;
	int ret;

	batch_begin(&w, s->buf, BATCH_SIZE_MAX, volume, (struct epoch){.id = 1, .num = 1}, end);
	batch_add(&w, 1, 0, 0, &iov, 1, NULL);
	batch_finish(&w, 0, 0);
	s->w.h = w.h;
	s->w.done = written;
	ret = ring_append(ring, s->buf, &s->w);
	ensure(ret == 0 || ret == -ENOSPC);
	s->busy = ret == 0;
	in_flight += s->busy;
	return s->busy;
}

static void run(enum uring_mode mode, const char *dir)
{
	struct slot slots[WRITES] = {{.busy = false}};
	struct ring_recovered rec;
	struct uuid volume = uuid_new();
	struct uring *u;
	struct err e;
	pthread_t t;

	if (ring_create(dir, RING_SIZE, &e) || uring_open(mode, WRITES, &u, &e) ||
		ring_open(dir, &volume, (struct pos){0}, NULL, NULL, u, &ring, &rec, &e) ||
		ring_trim_end(ring, &e)) {
		fprintf(stderr, "%s\n", e.msg);
		exit(1);
	}
	for (unsigned i = 0; i < WRITES; i++)
		slots[i].buf = aligned_alloc(BLOCK_SIZE, BATCH_SIZE_MAX);
	__atomic_store_n(&read_seq, 0, __ATOMIC_RELEASE);
	ensure(pthread_create(&t, NULL, reader, NULL) == 0);
	while (ring_end(ring).seq < BATCHES) {
		for (unsigned i = 0; i < WRITES && ring_end(ring).seq < BATCHES; i++) {
			ring_release(ring, __atomic_load_n(&read_seq, __ATOMIC_ACQUIRE));
			if (!slots[i].busy && !append(&slots[i], &volume, ring_end(ring)))
				usleep(100); /* the reader is behind */
		}
		uring_submit(u);
		if (in_flight)
			reap(u);
	}
	while (in_flight)
		reap(u);
	pthread_join(t, NULL);
	ring_close(ring);
	uring_close(u);
	for (unsigned i = 0; i < WRITES; i++)
		free(slots[i].buf);
}

static void remove_ring(const char *dir)
{
	char path[128];

	for (unsigned i = 0; i < RING_SIZE >> 20; i++) {
		snprintf(path, sizeof(path), "%s/%08u", dir, i);
		unlink(path);
	}
	rmdir(dir);
}

int main(void)
{
	static const enum uring_mode modes[] = {URING_AUTO, URING_THREADS};
	char base[] = "/tmp/tandemfs-race-XXXXXX", dir[64];

	ensure(mkdtemp(base));
	snprintf(dir, sizeof(dir), "%s/ring", base);
	for (unsigned i = 0; i < 2; i++) {
		run(modes[i], dir);
		remove_ring(dir);
	}
	rmdir(base);
	return 0;
}
