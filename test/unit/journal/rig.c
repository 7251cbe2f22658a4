/* SPDX-License-Identifier: Apache-2.0 */
/* See rig.h. */
#include "rig.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ring_impl.h"

struct rig rig;

uint32_t rig_random(uint32_t below)
{
	rig.random ^= rig.random << 13;
	rig.random ^= rig.random >> 7;
	rig.random ^= rig.random << 17;
	return (uint32_t)((rig.random >> 16) % below);
}

void rig_new(enum uring_mode mode, uint64_t size)
{
	const char *tmp = getenv("TMPDIR");

	memset(&rig, 0, sizeof(rig));
	rig.mode = mode;
	rig.random = 0x9e3779b97f4a7c15ull;
	rig.epoch = (struct epoch){.id = 77, .num = 1};
	rig.volume = uuid_new();
	snprintf(rig.base, sizeof(rig.base), "%s/tandemfs-ring-XXXXXX", tmp ? tmp : "/tmp");
	cr_assert(not(zero(ptr, mkdtemp(rig.base))));
	snprintf(rig.dir, sizeof(rig.dir), "%s/ring", rig.base);
	cr_assert(zero(int, ring_create(rig.dir, size, &rig.e)), "%s", rig.e.msg);
	rig_start((struct pos){0});
}

void rig_free(void)
{
	static const char *const subdirs[] = {"ring", "ring.creating"};
	char path[160];

	if (!rig.base[0])
		return;
	if (rig.r)
		rig_stop();
	rig_forget(0);
	for (unsigned d = 0; d < ARRAY_SIZE(subdirs); d++) {
		for (unsigned i = 0; i < RING_SEGMENTS_MAX; i++) {
			snprintf(path, sizeof(path), "%s/%s/" RING_SEGMENT_NAME, rig.base,
				subdirs[d], i);
			unlink(path);
		}
		snprintf(path, sizeof(path), "%s/%s/behind", rig.base, subdirs[d]);
		unlink(path);
		snprintf(path, sizeof(path), "%s/%s", rig.base, subdirs[d]);
		rmdir(path);
	}
	rmdir(rig.base);
}

int rig_open(struct pos from,
	int (*verify_tail)(void *ctx, const void *batch, const struct batch_header *h), void *ctx)
{
	int ret;

	cr_assert(zero(int, uring_open(rig.mode, 16, &rig.u, &rig.e)), "%s", rig.e.msg);
	ret = ring_open(
		rig.dir, &rig.volume, from, verify_tail, ctx, rig.u, &rig.r, &rig.rec, &rig.e);
	if (ret) {
		cr_assert(eq(int, rig.e.code, ret));
		uring_close(rig.u);
		rig.u = NULL;
		rig.r = NULL;
	}
	return ret;
}

void rig_start(struct pos from)
{
	int ret = rig_open(from, NULL, NULL);

	cr_assert(zero(int, ret), "%s", rig.e.msg);
	cr_assert(zero(int, ring_trim_end(rig.r, &rig.e)), "%s", rig.e.msg);
}

void rig_stop(void)
{
	uring_close(rig.u);
	ring_close(rig.r);
	rig.u = NULL;
	rig.r = NULL;
	rig.in_flight = 0;
}

static void written(struct ring_write *w, int res)
{
	struct rig_batch *b = container_of(w, struct rig_batch, w);

	cr_assert(eq(int, b->res, 1));
	b->res = res;
	rig.in_flight--;
}

struct rig_batch *rig_build(unsigned count, size_t body_len, uint64_t commit)
{
	struct rig_batch *b = calloc(1, sizeof(*b));
	size_t size = BATCH_HEADER_SIZE + count * (ENTRY_HEADER_SIZE + (body_len + 7) / 8 * 8);
	uint32_t *body = malloc(body_len + 4);
	struct batch_writer w;

	size = (size + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	b->bytes = aligned_alloc(BLOCK_SIZE, size);
	batch_begin(&w, b->bytes, size, &rig.volume, rig.epoch, rig.end);
	for (unsigned i = 0; i < count; i++) {
		struct iovec iov = {.iov_base = body, .iov_len = body_len};

		for (size_t k = 0; k < body_len; k += 4)
			body[k / 4] = rig_random(UINT32_MAX);
		batch_add(&w, 1, 0, 0, &iov, 1, NULL);
	}
	batch_finish(&w, commit, rig_random(1000));
	b->h = w.h;
	free(body);
	cr_assert(lt(uint, rig.n, RIG_BATCHES_MAX));
	rig.batches[rig.n++] = b;
	rig.end = batch_end(&b->h);
	return b;
}

int rig_append_async(struct rig_batch *b)
{
	int ret;

	b->w.h = b->h;
	b->w.done = written;
	b->res = 1;
	ret = ring_append(rig.r, b->bytes, &b->w);
	if (ret) {
		rig_forget(rig.n - 1);
		return ret;
	}
	rig.in_flight++;
	b->block = ring_batch(rig.r, rig.r->tail - 1)->block;
	return 0;
}

void rig_wait(void)
{
	uring_submit(rig.u);
	while (rig.in_flight) {
		struct pollfd p = {.fd = uring_fd(rig.u), .events = POLLIN};

		cr_assert(eq(int, poll(&p, 1, 10000), 1), "nothing completes");
		uring_reap(rig.u);
	}
}

struct rig_batch *rig_append(unsigned count, size_t body_len, uint64_t commit)
{
	struct rig_batch *b = rig_build(count, body_len, commit);

	cr_assert(zero(int, rig_append_async(b)));
	rig_wait();
	cr_assert(zero(int, b->res));
	return b;
}

struct pos rig_pos(unsigned n)
{
	return n ? batch_end(&rig.batches[n - 1]->h) : (struct pos){0};
}

void rig_forget(unsigned n)
{
	while (rig.n > n) {
		struct rig_batch *b = rig.batches[--rig.n];

		free(b->bytes);
		free(b);
	}
	rig.end = rig_pos(n);
}

static int open_segment(uint64_t at, uint64_t *ret_off)
{
	char path[160];
	uint64_t size;
	int fd;

	snprintf(path, sizeof(path), "%s/" RING_SEGMENT_NAME, rig.dir, 0);
	fd = open(path, O_RDWR);
	cr_assert(ge(int, fd, 0));
	size = (uint64_t)lseek(fd, 0, SEEK_END);
	close(fd);
	snprintf(path, sizeof(path), "%s/" RING_SEGMENT_NAME, rig.dir, (unsigned)(at / size));
	fd = open(path, O_RDWR);
	cr_assert(ge(int, fd, 0));
	*ret_off = at % size;
	return fd;
}

void rig_peek(uint64_t at, void *p, size_t len)
{
	uint64_t off;
	int fd = open_segment(at, &off);

	cr_assert(eq(sz, (size_t)pread(fd, p, len, (off_t)off), len));
	close(fd);
}

void rig_poke(uint64_t at, const void *p, size_t len)
{
	uint64_t off;
	int fd = open_segment(at, &off);

	cr_assert(eq(sz, (size_t)pwrite(fd, p, len, (off_t)off), len));
	close(fd);
}

void rig_poke_zero(uint64_t at, size_t len)
{
	void *p = calloc(1, len);

	rig_poke(at, p, len);
	free(p);
}

struct checking {
	unsigned next; /* in the model */
};

static int check_one(void *ctx, const void *batch, const struct batch_header *h)
{
	struct checking *c = ctx;

	while (c->next < rig.n && !rig.batches[c->next]->h.count)
		c->next++;
	cr_assert(lt(uint, c->next, rig.n), "a batch too many, seq %lu", h->first_seq);
	cr_assert(eq(u64, h->first_seq, rig.batches[c->next]->h.first_seq));
	cr_assert(zero(int, memcmp(batch, rig.batches[c->next]->bytes, batch_size(h))));
	c->next++;
	return 0;
}

void rig_check_contents(uint64_t first)
{
	struct checking c = {0};

	cr_assert(pos_equal(ring_end(rig.r), rig.end), "end is %lu, should be %lu",
		ring_end(rig.r).seq, rig.end.seq);
	cr_assert(eq(u64, ring_first_seq(rig.r), first));
	while (c.next < rig.n && rig.batches[c.next]->h.first_seq < first)
		c.next++;
	cr_assert(zero(int, ring_walk(rig.r, first - 1, check_one, &c)));
	while (c.next < rig.n && !rig.batches[c.next]->h.count)
		c.next++;
	cr_assert(eq(uint, c.next, rig.n), "the last batches are missing");
}
