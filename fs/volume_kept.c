/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was answered and is not in the journal yet, across a kill: kept_staged.c says where it lies, here it is brought
 * into the journal by the next daemon, and the memory for it is made.
 *
 * At recovery, the ring's end known and trimmed: the batch that continues it in the arena of the daemon before is
 * appended byte for byte, because the peer may have it already and positions between sites are ends of batches; then
 * the one that continues that. Large payloads are written to their address first. All of it is durable before anybody
 * is told where the history ends; nothing of it counts as committed. The ring had room for each of them when it was
 * staged. What was not durable here is in the arena as a whole: its slots are freed in order (volume_stage.c).
 *
 * Failure modes:
 * - killed meanwhile: the next daemon finds the same memory and a longer or the same journal, and goes on;
 * - the journal or a data segment cannot be written: the start fails, and with it the mount (I9);
 * - a payload that is not whole, no room: what is behind it is not recovered; if it was answered the mount is
 *   aborted with errors (volume_held_committed());
 * - this replica is not the active one any more, or suspect: nothing is done, the mount fails (volume_held_look());
 * - ack=fsync was configured for the daemon before, or is for the next one: what lies in memory says what to do.
 */
#include "volume_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "crc32c.h"
#include "log.h"

/* --- the memory --- */

static void pool_room(void *ctx)
{
	struct volume *v = ctx;

	atomic_store(&v->room, true);
	loop_wake(v->loop);
}

int volume_kept_open(struct volume *v, struct err *e)
{
	size_t limit = v->cfg->payload_memory,
	       area = 2 * (limit + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;
	int r;

	if (!v->cfg->holder || v->cfg->ack != CONFIG_ACK_FSYNC)
		return payload_pool_new(limit, pool_room, v, &v->pool);
	r = kept_new(area, &v->kept);
	if (r)
		return err_set(e, r, "memory that outlives this process: %s", strerror(-r));
	return payload_pool_new_at(kept_pool(&v->kept), area, limit, pool_room, v, &v->pool);
}

uint8_t *volume_kept_arena(struct volume *v)
{
	void *p;

	if (v->kept.h)
		return kept_arena(&v->kept);
	p = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ensure(p != MAP_FAILED);
	return p;
}

/* --- recovery --- */

struct append {
	struct ring_write write;
	unsigned *in_flight;
	int *error;
};

static void appended(struct ring_write *w, int res)
{
	struct append *a = container_of(w, struct append, write);

	--*a->in_flight;
	if (res)
		*a->error = res;
	free(a);
}

static int write_payload(struct volume *v, const struct entry_payload *p, const uint8_t *bytes)
{
	size_t left = (size_t)p->blocks * BLOCK_SIZE;
	uint64_t off;
	int fd, r = segments_direct(v->segments, p->addr, p->blocks, &fd, &off);

	while (!r && left) {
		struct iovec iov = {.iov_base = (void *)bytes, .iov_len = left};
		ssize_t n = pwritev2(fd, &iov, 1, (off_t)off, RWF_DSYNC);

		if (n < 0 && errno != EINTR)
			r = -errno;
		if (n <= 0)
			continue;
		bytes += n;
		off += (uint64_t)n;
		left -= (size_t)n;
	}
	return r;
}

/* The large payloads that a batch names to their addresses. -ENODATA: one is not there. */
static int write_payloads(
	struct volume *v, const uint8_t *batch, const struct batch_header *h, unsigned *count)
{
	struct err err = {0};
	struct entry e;
	size_t at = 0;
	int r = 0;

	while (!r && batch_next_entry(batch, h, &at, &e)) {
		struct entry_payload p;
		const uint8_t *bytes;

		if (!apply_payload(&e, &p) || !p.external)
			continue;
		bytes = kept_payload(&v->held_kept, p.addr, p.blocks);
		if (!bytes || crc32c(0, bytes, (size_t)p.blocks * BLOCK_SIZE) != p.crc)
			return -ENODATA;
		r = segments_add_epoch(v->segments, e.h.epoch, &err);
		if (!r)
			r = write_payload(v, &p, bytes);
		++*count;
	}
	return r;
}

static int append(struct volume *v, const uint8_t *batch, const struct batch_header *h,
	unsigned *in_flight, int *error)
{
	struct append *a = calloc(1, sizeof(*a));
	int r;

	ensure(a);
	a->write.h = *h;
	a->write.done = appended;
	a->in_flight = in_flight;
	a->error = error;
	++*in_flight;
	r = ring_append(v->ring, batch, &a->write);
	if (r) {
		--*in_flight;
		free(a);
	}
	return r;
}

/* What an epoch follows by its number; a fork cannot be in one daemon's memory. */
static bool follows(const struct batch_header *h, struct epoch last)
{
	return h->count && h->epoch.num && (h->epoch.num > last.num || epoch_equal(h->epoch, last));
}

int volume_kept_recover(struct volume *v, struct ring_recovered *rec, struct err *e)
{
	struct timespec pause = {.tv_nsec = 100 * 1000};
	uint64_t before = rec->end.seq;
	struct batch_header h;
	unsigned in_flight = 0, batches = 0, payloads = 0;
	size_t at = 0;
	int r = 0, error = 0;

	if (!volume_held_usable(v, NULL) || !v->held_kept.h->pool_area)
		return 0;
	while (!r && !error) {
		uint8_t *batch = kept_next_batch(&v->held_kept, &at, &v->desc.volume, rec->end,
			rec->commit, clock_real_ns(), &h);

		if (!batch || !follows(&h, rec->epoch))
			break;
		r = write_payloads(v, batch, &h, &payloads);
		if (!r)
			r = append(v, batch, &h, &in_flight, &error);
		if (r)
			break;
		rec->end = ring_end(v->ring);
		rec->epoch = h.epoch;
		rec->commit = MAX(rec->commit, h.commit);
		rec->batches++;
		batches++;
	}
	while (in_flight) {
		uring_submit(v->uring);
		if (!uring_reap(v->uring))
			nanosleep(&pause, NULL);
	}
	if (batches)
		log_info("seq %llu to %llu, answered by the daemon before, were in memory and are "
			 "in the journal "
			 "now: %u batches, %u large payloads",
			(unsigned long long)before + 1, (unsigned long long)rec->end.seq, batches,
			payloads);
	if (batches) { /* the oldest of the ring may have been overwritten, flushed long since */
		rec->first_seq = ring_first_seq(v->ring);
		ensure(!ring_pos_at(v->ring, rec->first_seq - 1, &rec->before));
	}
	r = error ? error : r;
	if (!r || r == -ENODATA || r == -ENOSPC)
		return 0; /* whether that was all says volume_held_committed() */
	return err_set(e, r, "what was answered cannot be written after seq %llu: %s",
		(unsigned long long)rec->end.seq, strerror(-r));
}
