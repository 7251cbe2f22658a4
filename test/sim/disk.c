/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A simulated disk: the ring's batches with their state of being written, the record, the facts, and
 * the position that the store has flushed. Writes finish in any order; a crash keeps or loses each
 * one that was in flight, and the recovered history ends at the first that is missing. As in the
 * real ring, a batch whose commit index covers one that is still in flight is held back until then. Some batches name
 * a large payload, a write of its own that begins at once: such a batch is durable when both are, and a
 * crash may come between them.
 */
#include "sim.h"

#include <stdlib.h>
#include <string.h>

void disk_init(struct disk *d, const struct record *r)
{
	memset(&d->facts, 0, sizeof(d->facts));
	record_copy(&d->record, r);
	d->nlog = d->ndone = 0;
	d->before = d->end = d->flushed = (struct pos){0};
	d->first_seq = 1;
	d->before_epoch = (struct epoch){0};
	d->space_epoch = (struct epoch){0};
	d->space_upto = 0;
	if (!d->chain) {
		d->chain_cap = 1024;
		d->chain = calloc(d->chain_cap, sizeof(*d->chain));
	}
	d->chain[0] = 0;
}

void disk_free(struct disk *d)
{
	for (size_t i = 0; i < d->nlog; i++)
		batch_unref(d->log[i].b);
	d->nlog = d->ndone = 0;
}

static uint32_t mix(uint64_t a, uint64_t b)
{
	uint64_t z = a * 0x9e3779b97f4a7c15ull + b;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return (uint32_t)(z ^ (z >> 31));
}

/* Each entry is a numbered operation of a client: no two are alike. */
struct sim_batch *batch_new(struct world *w, const struct uuid *volume, struct epoch epoch,
	struct pos before, unsigned count, uint64_t commit)
{
	struct sim_batch *b = malloc(sizeof(*b) + count * sizeof(b->chain[0]));
	uint32_t chain = before.chain;

	ensure(b);
	b->refs = 1;
	for (unsigned i = 0; i < count; i++)
		b->chain[i] = chain = mix(++w->ids, chain);
	b->h = (struct batch_header){.length = BATCH_HEADER_SIZE + count * ENTRY_HEADER_SIZE,
		.count = count,
		.volume = *volume,
		.epoch = epoch,
		.first_seq = before.seq + 1,
		.commit = commit,
		.chain_before = before.chain,
		.chain_after = chain};
	return b;
}

void batch_ref(struct sim_batch *b)
{
	b->refs++;
}

void batch_unref(struct sim_batch *b)
{
	if (b && !--b->refs)
		free(b);
}

/* Begins the writes that need not wait for another one. */
void disk_start_writes(struct world *w, struct node *n)
{
	struct disk *d = &n->disk;
	uint64_t durable = disk_durable(d), delay;

	for (size_t i = d->ndone; i < d->nlog; i++) {
		struct disk_batch *x = &d->log[i];

		if (x->state != WRITE_HELD || x->b->h.commit > durable)
			continue;
		x->state = WRITE_FLYING;
		delay = 20 * US + sim_below(w, 400 * US);
		if (w->now < n->slow_until)
			delay += sim_below(w, 60 * MS);
		sim_at(w, w->now + delay,
			(struct sim_event){.type = SIM_WRITTEN,
				.node = n->index,
				.life = n->life,
				.id = x->id});
	}
}

static void start_payload(struct world *w, struct node *n, struct disk_batch *x)
{
	uint64_t delay = 20 * US + sim_below_disks(w, 2 * MS);

	if (w->now < n->slow_until)
		delay += sim_below_disks(w, 60 * MS);
	x->payload = true;
	sim_at(w, w->now + delay,
		(struct sim_event){.type = SIM_WRITTEN,
			.node = n->index,
			.life = n->life,
			.payload = true,
			.id = x->id});
}

static void grow(struct disk *d, uint64_t seq)
{
	if (d->nlog == d->cap) {
		d->cap = d->cap ? 2 * d->cap : 256;
		d->log = realloc(d->log, d->cap * sizeof(*d->log));
		ensure(d->log);
	}
	if (seq >= d->chain_cap) {
		while (seq >= d->chain_cap)
			d->chain_cap *= 2;
		d->chain = realloc(d->chain, d->chain_cap * sizeof(*d->chain));
		ensure(d->chain);
	}
}

void disk_append(struct world *w, struct node *n, struct sim_batch *b)
{
	struct disk *d = &n->disk;

	ensure(b->h.first_seq == d->end.seq + 1);
	grow(d, batch_last_seq(&b->h));
	batch_ref(b);
	d->log[d->nlog++] = (struct disk_batch){.b = b, .state = WRITE_HELD, .id = ++w->ids};
	for (unsigned i = 0; i < b->h.count; i++)
		d->chain[b->h.first_seq + i] = b->chain[i];
	if (is_broken(w, BREAK_OTHER_BYTES) && b->h.count && !n->serving && sim_chance(w, 50))
		d->chain[b->h.first_seq] ^= 1;
	d->end = batch_end(&b->h);
	if (!w->opt.sound_disks && b->h.count && !sim_below_disks(w, 4))
		start_payload(w, n, &d->log[d->nlog - 1]);
	disk_start_writes(w, n);
}

uint64_t disk_durable(const struct disk *d)
{
	return d->ndone ? batch_last_seq(&d->log[d->ndone - 1].b->h) : d->before.seq;
}

uint64_t disk_in_ring(const struct disk *d)
{
	uint64_t seq = disk_durable(d);

	for (size_t i = d->ndone; i < d->nlog && d->log[i].state == WRITE_DURABLE; i++)
		seq = batch_last_seq(&d->log[i].b->h);
	return seq;
}

static bool is_whole(const struct disk_batch *x)
{
	return x->state == WRITE_DURABLE && !x->payload;
}

static void advance(struct disk *d)
{
	while (d->ndone < d->nlog && is_whole(&d->log[d->ndone]))
		d->ndone++;
}

bool disk_written(struct disk *d, uint64_t id, bool payload)
{
	for (size_t i = d->nlog; i-- > d->ndone;) {
		if (d->log[i].id != id)
			continue;
		if (payload)
			d->log[i].payload = false;
		else
			d->log[i].state = WRITE_DURABLE;
		advance(d);
		return true;
	}
	return false;
}

void disk_finish(struct disk *d)
{
	for (size_t i = d->nlog; i-- > 0;) {
		d->log[i].state = WRITE_DURABLE;
		d->log[i].payload = false;
	}
	advance(d);
}

static void cut(struct disk *d, size_t keep)
{
	while (d->nlog > keep)
		batch_unref(d->log[--d->nlog].b);
	d->ndone = MIN(d->ndone, keep);
	d->end = d->nlog ? batch_end(&d->log[d->nlog - 1].b->h) : d->before;
}

/* power: what was in flight is kept or lost, each for itself; otherwise only the process died, and
 * what it had begun to write gets there. */
void disk_crash(struct world *w, struct disk *d, bool power)
{
	size_t keep = d->nlog;

	for (size_t i = d->ndone; i < keep; i++) {
		struct disk_batch *x = &d->log[i];

		if (x->state == WRITE_HELD ||
			(x->state == WRITE_FLYING && power && sim_chance(w, 2)) ||
			(x->payload && power && !sim_below_disks(w, 2))) {
			keep = i;
		} else {
			x->state = WRITE_DURABLE;
			x->payload = false;
		}
	}
	/* a later one may be whole: it is dropped all the same */
	cut(d, keep);
	advance(d);
	if (is_broken(w, BREAK_LOSE_TAIL))
		while (d->nlog && batch_end(&d->log[d->nlog - 1].b->h).seq > d->flushed.seq &&
			sim_chance(w, 2))
			cut(d, d->nlog - 1);
}

void disk_truncate(struct disk *d, struct pos pos)
{
	size_t keep = d->nlog;

	while (keep && batch_last_seq(&d->log[keep - 1].b->h) > pos.seq)
		keep--;
	cut(d, keep);
	ensure(pos_equal(d->end, pos)); /* the end of a batch, as the ring demands */
}

/* Batches up to seq are not needed any more. The newest entry stays: the real ring, too, finds it
 * again when it is opened. */
void disk_release(struct disk *d, uint64_t seq)
{
	size_t k = 0, last = d->ndone;

	while (last && !d->log[last - 1].b->h.count)
		last--;
	while (k + 1 < last && batch_last_seq(&d->log[k].b->h) <= seq) {
		d->before = batch_end(&d->log[k].b->h);
		if (d->log[k].b->h.count)
			d->before_epoch = d->log[k].b->h.epoch;
		batch_unref(d->log[k].b);
		k++;
	}
	if (k)
		memmove(d->log, d->log + k, (d->nlog - k) * sizeof(*d->log));
	d->nlog -= k;
	d->ndone -= k;
	d->first_seq = d->before.seq + 1;
}

struct epoch disk_flushed_epoch(const struct disk *d)
{
	struct epoch epoch = d->before_epoch;

	for (size_t i = 0; i < d->nlog && batch_last_seq(&d->log[i].b->h) <= d->flushed.seq; i++)
		if (d->log[i].b->h.count)
			epoch = d->log[i].b->h.epoch;
	return epoch;
}

void disk_pull(struct disk *d, const struct pull *p)
{
	cut(d, 0);
	grow(d, p->pos.seq);
	memcpy(d->chain, p->chain, (p->pos.seq + 1) * sizeof(*d->chain));
	d->before = d->end = d->flushed = p->pos;
	d->before_epoch = p->epoch;
	d->first_seq = d->before.seq + 1;
}

void disk_empty(struct disk *d, const struct record *r)
{
	cut(d, 0);
	disk_init(d, r);
}

void disk_log(const struct disk *d, struct core_log *ret_log)
{
	struct core_log *l = ret_log;

	memset(l, 0, offsetof(struct core_log, spans));
	l->end = d->end;
	l->flushed = d->flushed;
	l->before = d->before;
	l->first_seq = d->first_seq;
	for (size_t i = d->nlog; i-- > 0;) {
		const struct batch_header *h = &d->log[i].b->h;

		if (h->commit > l->commit)
			l->commit = h->commit;
		if (!h->count || l->nspans == CORE_SPANS_MAX)
			continue;
		if (l->nspans && epoch_equal(l->spans[l->nspans - 1].epoch, h->epoch))
			continue;
		l->spans[l->nspans].epoch = h->epoch;
		l->spans[l->nspans++].end = batch_end(h);
	}
	/* An empty ring behind a state that was pulled. */
	if (!l->nspans && d->flushed.seq)
		l->spans[l->nspans++] =
			(struct log_span){.epoch = d->before_epoch, .end = d->flushed};
}

struct pos disk_pos(const struct disk *d, uint64_t seq)
{
	return (struct pos){.seq = seq, .chain = d->chain[seq]};
}
