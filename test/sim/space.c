/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room on the replicas' disks: each operation takes one block of the data segments. What a disk allocates
 * ahead it keeps over every crash; room is scarce in the chaos and plenty in the calm, when everything must
 * get on. In some worlds the builds grant nothing (format level 1), in some only one of them.
 *
 * Its decisions come from a stream of random numbers of their own, and in a world where nobody grants it takes
 * no part: such a world is the same as before there were grants.
 */
#include "sim.h"

#define TICK (8 * MS)
#define AHEAD 12u /* blocks */

static uint64_t level_random(struct world *w)
{
	uint64_t z = w->random_level += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static void tick_again(struct world *w, struct node *n)
{
	sim_at(w, w->now + TICK, (struct sim_event){.type = SIM_SPACE, .node = n->index});
}

void space_begin(struct world *w)
{
	unsigned kind = (unsigned)(level_random(w) % 4);

	w->grants = false;
	for (unsigned i = 0; i < w->n; i++) {
		struct node *n = &w->node[i];

		n->level = w->opt.level			? w->opt.level
			   : kind == 0			? 1
			   : kind == 1 && i == w->n - 1 ? 1
							: 2;
		n->disk.space_room = level_random(w) % 200;
		w->grants |= n->level >= 2;
	}
	for (unsigned i = 0; w->grants && i < w->n; i++)
		tick_again(w, &w->node[i]);
}

/* Allocates up to `want` in the present epoch, as far as there is room. */
static void allocate(struct world *w, struct node *n, uint64_t used, uint64_t want)
{
	struct disk *d = &n->disk;
	struct epoch now = core_epoch(n->core);
	uint64_t more;

	if (!epoch_equal(d->space_epoch, now)) {
		d->space_epoch = now;
		d->space_upto = used; /* below that it has what it received */
	}
	d->space_upto = MAX(d->space_upto, used);
	if (want <= d->space_upto)
		return;
	more = MIN(want - d->space_upto, d->space_room);
	d->space_room -= more;
	d->space_upto += more;
}

static void tell(struct world *w, struct node *n, uint64_t want)
{
	struct core_event ev = {.type = EV_SPACE};
	struct disk *d = &n->disk;

	ev.space.epoch = d->space_epoch;
	ev.space.now.data_want = want;
	ev.space.now.data_upto = d->space_upto;
	ev.space.now.data_full = !d->space_room;
	ev.space.now.room = d->space_room;
	if (is_broken(w, BREAK_GRANT_MORE) && !n->serving && d->space_upto)
		ev.space.now.data_upto += AHEAD;
	node_step(w, n, &ev);
}

void space_tick(struct world *w, struct node *n)
{
	const struct record *r = &n->disk.record;
	int active = uuid_is_zero(&r->active) ? -1 : record_find(r, &r->active);
	struct core_peer_view v;

	tick_again(w, n);
	if (w->calm || level_random(w) % 6 == 0)
		n->disk.space_room += level_random(w) % (w->calm ? 400 : 60);
	if (!n->up || n->level < 2 || n->zombie)
		return;
	if (n->serving) {
		allocate(w, n, n->data_used, n->data_used + AHEAD);
		tell(w, n, n->data_used + AHEAD);
	} else if (active >= 0 && active != (int)n->index) {
		core_peer_view(n->core, (unsigned)active, &v);
		if (v.space.data_want)
			allocate(w, n, v.space.data_used, v.space.data_want);
		tell(w, n, 0);
	}
	if (n->up && !w->calm && level_random(w) % 200 == 0)
		people_raise(w, n);
}

unsigned space_admit(struct world *w, struct node *n, unsigned want)
{
	struct core_granted g;
	uint64_t upto;

	if (n->level < 2 || n->zombie)
		return want;
	core_granted(n->core, &g);
	upto = epoch_equal(n->disk.space_epoch, n->epoch) ? n->disk.space_upto : 0;
	if (!is_broken(w, BREAK_STAGE_BEYOND))
		upto = MIN(upto, g.data_upto);
	if (upto < n->data_used + want) {
		w->waits++;
		want = upto > n->data_used ? (unsigned)(upto - n->data_used) : 0;
	}
	n->data_used += want;
	core_data_used(n->core, n->data_used, n->disk.end.seq + n->open + want);
	check_space(w, n);
	return want;
}
