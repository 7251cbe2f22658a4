/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One world after another. A world has parameters drawn from the seed, a time of chaos, then a calm
 * in which everything must come to rest; then the same replicas go on into the next chaos, or a new
 * world begins. Events happen in the order of their time.
 */
#include "sim.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sim_trace(const struct world *w, const char *fmt, ...)
{
	va_list ap;

	printf("%9.3f ms #%llu ", (double)w->now / 1e6, (unsigned long long)w->step);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

uint64_t sim_random(struct world *w)
{
	uint64_t z = w->random += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

uint64_t sim_below(struct world *w, uint64_t n)
{
	return sim_random(w) % n;
}

static uint64_t below_from(struct world *w, uint64_t *stream, uint64_t n)
{
	uint64_t other = w->random, r;

	w->random = *stream;
	r = sim_below(w, n);
	*stream = w->random;
	w->random = other;
	return r;
}

uint64_t sim_below_disks(struct world *w, uint64_t n)
{
	return below_from(w, &w->random_disks, n);
}

uint64_t sim_below_reads(struct world *w, uint64_t n)
{
	return below_from(w, &w->random_reads, n);
}

bool sim_chance(struct world *w, unsigned one_in)
{
	return !sim_below(w, one_in);
}

struct link *sim_link(struct world *w, unsigned a, unsigned b)
{
	return &w->link[MIN(a, b)][MAX(a, b)];
}

/* --- time: a binary heap --- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void sim_at(struct world *w, uint64_t at, struct sim_event e)
{
	size_t i;

	e.at = at;
	e.order = ++w->order;
	if (w->nheap == w->heap_cap) {
		w->heap_cap = w->heap_cap ? 2 * w->heap_cap : 256;
		w->heap = realloc(w->heap, w->heap_cap * sizeof(*w->heap));
		ensure(w->heap);
	}
	for (i = w->nheap++; i && before(&e, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = e;
}

static struct sim_event next_event(struct world *w)
{
	struct sim_event first = w->heap[0], last = w->heap[--w->nheap];
	size_t i = 0;

	for (;;) {
		size_t k = 2 * i + 1;

		if (k >= w->nheap)
			break;
		if (k + 1 < w->nheap && before(&w->heap[k + 1], &w->heap[k]))
			k++;
		if (!before(&w->heap[k], &last))
			break;
		w->heap[i] = w->heap[k];
		i = k;
	}
	w->heap[i] = last;
	return first;
}

/* --- faults --- */

static void heal(struct world *w)
{
	for (unsigned a = 0; a < w->n; a++)
		for (unsigned b = 0; b < w->n; b++)
			if (a != b)
				wire_set_cut(w, a, b, false);
}

/* A standby's disk is replaced, and formatted for the volume again, where all that is needed is still elsewhere: never
 * the active's, nor one side's of a fork, nor where a single word, typed blindly, may make the empty one the active. */
static void replace_disk(struct world *w)
{
	struct node *n = &w->node[sim_below_disks(w, w->n)];
	const struct record *r = &w->node[0].disk.record;

	for (unsigned i = 1; i < w->n; i++)
		if (record_compare(&w->node[i].disk.record, r) == RECORD_NEWER)
			r = &w->node[i].disk.record;
	for (unsigned i = 0; i < w->n; i++)
		if (w->node[i].replaced)
			return; /* one at a time */
	if (w->forked || w->people == PEOPLE_ONE_WORD || uuid_is_zero(&r->active) ||
		uuid_equal(&r->active, &n->uuid) || !n->up)
		return;
	node_crash(w, n, false);
	trace(w, "the disk of %u is replaced", n->index);
	w->replaced++;
	n->lost = MAX(n->lost, disk_durable(&n->disk));
	n->replaced = w->now;
	n->replaced_version = r->version.number;
	n->acked = n->errors = n->failing = 0;
	n->pull.under_way = n->pull.marked = false;
	record_copy(&w->kept, &n->disk.record);
	disk_empty(&n->disk, is_broken(w, BREAK_TRUST_EMPTY) ? &w->kept : &w->birth);
}

static void fault(struct world *w)
{
	unsigned a = (unsigned)sim_below(w, w->n);
	unsigned b = (unsigned)((a + 1 + sim_below(w, w->n - 1)) % w->n);

	if (!w->faults)
		return;
	if (!w->opt.sound_disks && !sim_below_disks(w, 12)) {
		struct node *n = &w->node[sim_below_disks(w, w->n)];

		n->failing = 1 + (unsigned)sim_below_disks(w, 5);
		trace(w, "the disk of %u fails %u times", n->index, n->failing);
	}
	if (!w->opt.sound_disks && !sim_below_disks(w, 24))
		replace_disk(w);
	switch (sim_below(w, 8)) {
	case 0:
		node_crash(w, &w->node[a], true);
		break;
	case 1:
		node_crash(w, &w->node[a], false);
		break;
	case 2:
		trace(w, "cut between %u and %u", a, b);
		wire_set_cut(w, a, b, true);
		wire_set_cut(w, b, a, true);
		break;
	case 3:
		trace(w, "cut from %u to %u", a, b);
		wire_set_cut(w, a, b, true);
		break;
	case 4:
		trace(w, "the connection between %u and %u breaks", a, b);
		wire_break(w, a, b);
		break;
	case 5:
		w->node[a].slow_until = w->now + sim_below(w, SEC);
		break;
	case 6: /* the power of everything */
		if (sim_chance(w, 3))
			for (unsigned i = 0; i < w->n; i++)
				node_crash(w, &w->node[i], true);
		break;
	default:
		trace(w, "links heal");
		heal(w);
		break;
	}
}

/* --- a world --- */

static void tick(struct world *w, enum sim_event_type type, unsigned node, uint64_t after)
{
	sim_at(w, w->now + after, (struct sim_event){.type = type, .node = node});
}

static void birth_record(struct world *w, struct record *r)
{
	memset(r, 0, offsetof(struct record, ancestors));
	r->cluster.b[0] = 1;
	r->volume.b[0] = 2;
	r->format_level = 1;
	r->version = (struct record_version){.number = 1, .id = sim_random(w)};
	r->nreplicas = w->n;
	for (unsigned i = 0; i < w->n; i++) {
		r->replicas[i].uuid.b[0] = 16;
		r->replicas[i].uuid.b[1] = (uint8_t)i;
		snprintf(r->replicas[i].domain, sizeof(r->replicas[i].domain), "site-%c",
			(char)('a' + i));
		r->replicas[i].in_sync = true;
	}
	r->active = r->replicas[0].uuid;
}

/* What was before this world, now and then, and leaves the first record behind: a side that was promoted with
 * --accept-data-loss and has mended since, or more changes than a record remembers. Nothing is written yet. */
static void add_past(struct world *w, struct record *r)
{
	uint64_t kind = w->opt.sound_disks ? 3 : sim_below_disks(w, 4);

	if (kind > 1)
		return;
	for (unsigned i = 0; i < 2; i++)
		record_next(r, sim_below_disks(w, UINT64_MAX) | 1, !i && !kind);
	if (kind) {
		r->ancestors[0] = r->ancestors[1];
		r->nancestors = 1;
	}
	r->epoch = (struct epoch){.num = 1, .id = r->version.id};
}

static void end_world(struct world *w)
{
	for (size_t i = 0; i < w->nheap; i++)
		if (w->heap[i].type == SIM_FRAME)
			frame_free(w->heap[i].frame);
	w->nheap = 0;
	for (unsigned a = 0; a < REPLICAS_MAX; a++)
		for (unsigned b = 0; b < REPLICAS_MAX; b++)
			for (unsigned s = 0; s < 2; s++) {
				struct link_side *side = &w->link[a][b].side[s];

				while (side->stalled) {
					struct frame *f = side->stalled;

					side->stalled = f->next;
					frame_free(f);
				}
			}
	for (unsigned i = 0; i < w->n; i++) {
		disk_free(&w->node[i].disk);
		core_free(w->node[i].core);
		w->node[i].core = NULL;
	}
}

static void begin_chaos(struct world *w)
{
	w->calm = false;
	w->faults = !sim_chance(w, 10);
	w->fault_every = (sim_chance(w, 2) ? 3 + sim_below(w, 40) : 20 + sim_below(w, 400)) * MS;
	w->crash_at_record = sim_chance(w, 3) ? 4 : sim_chance(w, 2) ? 20 : 100;
	w->delay_max = sim_chance(w, 4) ? 15 * MS : sim_chance(w, 2) ? 2 * MS : 300 * US;
	w->op_every = (sim_chance(w, 4) ? 200 : 1 + sim_below(w, 20)) * MS;
	w->word_every = (10 + sim_below(w, sim_chance(w, 2) ? 60 : 600)) * MS;
	w->words = 1;
	w->word_blind = w->word_lost = false;
	w->chaos_end = w->now + SEC / 2 + sim_below(w, 2 * SEC);
	if (w->opt.in_fork)
		w->chaos_end += 20 * SEC;
	tick(w, SIM_PHASE, 0, w->chaos_end - w->now);
}

static void begin_world(struct world *w)
{
	struct record *r = &w->kept;

	w->n = w->opt.replicas;
	w->now = SEC;
	w->people = (enum people)sim_below(w, PEOPLE_COUNT);
	if (w->opt.in_fork || w->opt.brk == BREAK_PROMOTE_OUTDATED)
		w->people = PEOPLE_ANY;
	w->small_ring = sim_chance(w, 5);
	w->blind = sim_chance(w, 8);
	w->bad_reads = 0;
	if (!w->opt.sound_disks && !sim_below_reads(w, 2))
		w->bad_reads = 2 + (unsigned)sim_below_reads(w, 40);
	check_reset(w);
	memset(w->link, 0, sizeof(w->link));
	for (unsigned a = 0; a < REPLICAS_MAX; a++)
		for (unsigned b = 0; b < REPLICAS_MAX; b++)
			for (unsigned s = 0; s < 2; s++)
				w->link[a][b].side[s].stalled_tail = &w->link[a][b].side[s].stalled;
	birth_record(w, &w->birth);
	record_copy(r, &w->birth);
	add_past(w, r);
	trace(w, "world %llu: people %d%s", (unsigned long long)w->worlds, w->people,
		w->small_ring ? ", small rings" : "");
	for (unsigned i = 0; i < w->n; i++) {
		struct node *n = &w->node[i];
		uint64_t life = n->life;
		struct disk d = n->disk;
		struct pull pull = {.chain = n->pull.chain, .cap = n->pull.cap};

		memset(n, 0, sizeof(*n));
		n->life = life + 1;
		n->disk.chain = d.chain;
		n->disk.chain_cap = d.chain_cap;
		n->disk.log = d.log;
		n->disk.cap = d.cap;
		n->pull = pull;
		n->index = i;
		n->uuid = r->replicas[i].uuid;
		disk_init(&n->disk, r);
		sim_at(w, w->now + sim_below(w, 10 * MS),
			(struct sim_event){.type = SIM_START, .node = i, .life = n->life});
		tick(w, SIM_STATUS, i, 5 * MS);
		tick(w, SIM_CLOSE_BATCH, i, 7 * MS);
	}
	space_begin(w);
	begin_chaos(w);
	tick(w, SIM_CLIENT, 0, MS);
	tick(w, SIM_FAULT, 0, w->fault_every);
	tick(w, SIM_OPERATOR, 0, w->word_every);
}

static void phase(struct world *w)
{
	bool mended;

	if (!w->calm) {
		trace(w, "calm");
		w->calm = true;
		w->calm_since = w->now;
		w->faults = false;
		w->delay_max = 200 * US;
		heal(w);
		for (unsigned i = 0; i < w->n; i++) {
			w->node[i].slow_until = 0;
			node_disk_good(w, &w->node[i]);
		}
		w->mend = w->forked && !sim_chance(w, 3);
		tick(w, SIM_PHASE, 0, w->mend ? 2000 * MS : 1200 * MS);
		w->op_every = MAX(w->op_every, 10 * MS); /* who catches up shall get there */
		return;
	}
	mended = w->forked && one_record(w);
	if (w->forked && !mended)
		check_forked(w);
	else
		check_calm(w);
	if (mended && !w->violation[0])
		check_mended(w);
	if (w->violation[0])
		return;
	w->worlds++;
	if (mended && !w->opt.in_fork && sim_below_disks(w, 2)) /* and disks are replaced */
		w->people = PEOPLE_STRICT;
	if (!w->forked && !w->small_ring && !sim_chance(w, 4)) {
		begin_chaos(w);
		return;
	}
	end_world(w);
	begin_world(w);
}

static void happen(struct world *w, struct sim_event *e)
{
	struct node *n = &w->node[e->node];
	bool alive = n->life == e->life;

	switch (e->type) {
	case SIM_FRAME:
		wire_deliver(w, e->frame);
		break;
	case SIM_WRITTEN:
		if (alive && n->up && !node_disk_fails(w, n))
			node_written(w, n, e->id, e->payload);
		break;
	case SIM_WAKE:
		if (alive && n->up && n->wake_at == e->id)
			node_step(w, n, &(struct core_event){.type = EV_TICK});
		break;
	case SIM_FETCH:
		if (alive && n->fetch[e->peer].conn == e->id)
			node_fetch(w, n, e->peer);
		break;
	case SIM_BUILT:
		if (alive && n->up)
			node_step(w, n,
				&(struct core_event){.type = EV_BUILT,
					.code = !w->calm && sim_chance(w, 8) ? -ENOSPC : 0,
					.built.text = "aside"});
		break;
	case SIM_CLOSE_BATCH: /* the empty batch behind the last commit */
		if (n->up)
			node_close_batch(w, n);
		if (n->up)
			node_drain(w, n);
		tick(w, SIM_CLOSE_BATCH, e->node, 5 * MS);
		break;
	case SIM_CLIENT:
		people_client(w);
		tick(w, SIM_CLIENT, 0, 1 + sim_below(w, w->op_every));
		break;
	case SIM_DIAL:
		wire_dial(w, e->node, e->peer);
		break;
	case SIM_FAULT:
		fault(w);
		tick(w, SIM_FAULT, 0, 1 + sim_below(w, 2 * w->fault_every));
		break;
	case SIM_OPERATOR:
		if (w->calm)
			people_repair(w);
		else
			people_operator(w);
		tick(w, SIM_OPERATOR, 0, w->calm ? 100 * MS : 1 + sim_below(w, 2 * w->word_every));
		break;
	case SIM_START:
		if (alive && !n->up)
			node_start(w, n);
		break;
	case SIM_STATUS:
		node_status(w, n);
		tick(w, SIM_STATUS, e->node, 10 * MS + sim_below(w, 20 * MS));
		break;
	case SIM_SPACE:
		space_tick(w, n);
		break;
	case SIM_PHASE:
		phase(w);
		break;
	}
}

bool sim_run(struct world *w)
{
	w->random = w->opt.seed * 0x2545f4914f6cdd1dull + 1;
	w->random_level = w->random ^ 0x5a5a5a5a5a5a5a5aull;
	w->random_disks = w->random ^ 0x3c3c3c3c3c3c3c3cull;
	w->random_reads = w->random ^ 0x6969696969696969ull;
	begin_world(w);
	while (w->step < w->opt.steps && !w->violation[0]) {
		struct sim_event e = next_event(w);

		w->now = e.at;
		happen(w, &e);
	}
	end_world(w);
	for (unsigned i = 0; i < w->n; i++) {
		free(w->node[i].disk.chain);
		free(w->node[i].disk.log);
		free(w->node[i].pull.chain);
	}
	branch_free(w);
	free(w->truth);
	free(w->served);
	free(w->seen);
	free(w->heap);
	return !w->violation[0];
}
