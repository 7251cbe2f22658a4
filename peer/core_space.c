/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grants of room (I8). Each replica allocates room for data ahead on its own disk and says up to which address
 * of the present epoch's data segments it did. The active assigns addresses only below the lowest of what it
 * and all others have allocated whose durability it waits for, so a full disk on any side is found before
 * anything is staged. A replica joins the set only after it has granted what is assigned already.
 *
 * The active says how far it is and what it would like (data_used, data_want); the others allocate that and
 * answer. All of it is SPACE frames, sent when something has changed, and behind each handshake.
 *
 * Failure modes:
 * - A frame is lost with its connection: everything is told again behind the next handshake.
 * - A replica starts again and does not know what it had allocated: it says less, but the disk still has it.
 *   Within an epoch a grant counts at the highest that was told while the replica was in the set; whose disk
 *   is not what it was is lost and leaves the set (core_ack.c), and outside of it a handshake voids grants.
 * - Who has not received all that is assigned below a grant yet (it started again, or catches up) withholds the
 *   grant until it has: data_seq says when. What comes without one may find no room, but then outside of the set.
 * - A new epoch: all grants of older ones are void, new addresses begin at 0.
 * - A build of format level 1 neither sends nor understands these frames: it is left out of the count, and
 *   what it reports of its disk is all that is known.
 */
#include "core_impl.h"

#include <string.h>

static bool speaks(const struct core *c, unsigned peer)
{
	return c->cfg.format_level_max >= 2 && c->peers[peer].level >= 2;
}

static bool of_this_epoch(const struct core *c, unsigned peer)
{
	return epoch_equal(c->peers[peer].space_epoch, c->rec->epoch);
}

void core_tell_space(struct core *c)
{
	for_each_peer (c, i) {
		struct core_peer *p = &c->peers[i];
		struct msg *m;

		if (!core_same(c, i) || !speaks(c, i) ||
			(p->space_known && p->space_told == c->space_version))
			continue;
		p->space_known = true;
		p->space_told = c->space_version;
		m = core_send(c, i, MSG_SPACE);
		m->space = c->space;
	}
}

void core_on_space(struct core *c, const struct core_event *ev)
{
	const struct msg_space *now = &ev->space.now;
	bool current = epoch_equal(ev->space.epoch, c->rec->epoch);
	uint64_t used = c->space.data_used, seq = c->space.data_seq;

	memset(&c->space, 0, sizeof(c->space));
	c->space.data_used = used;
	c->space.data_seq = seq;
	c->space.data_want = current ? now->data_want : 0;
	c->space.data_upto = current ? now->data_upto : 0;
	c->space.data_full = current && now->data_full;
	c->space.meta_seq = now->meta_seq;
	c->space.meta_bytes = now->meta_bytes;
	c->space.meta_full = now->meta_full;
	c->space.room = now->room;
	c->space.promise = now->promise;
	c->space.live = now->live;
	c->space.dead = now->dead;
	c->space.allocated = now->allocated;
	c->space_version++;
}

void core_on_space_msg(struct core *c, unsigned peer, const struct msg *m)
{
	struct core_peer *p = &c->peers[peer];
	uint64_t upto = epoch_equal(p->space_epoch, m->epoch) ? p->space.data_upto : 0;

	p->space = m->space;
	p->space.data_upto = MAX(upto, m->space.data_upto);
	p->space_epoch = m->epoch;
}

void core_space_new_epoch(struct core *c)
{
	struct msg_space *s = &c->space;

	s->data_used = s->data_seq = s->data_want = s->data_upto = 0;
	s->data_full = false;
	c->space_version++;
}

void core_data_used(struct core *c, uint64_t upto, uint64_t seq)
{
	c->space.data_used = upto;
	c->space.data_seq = seq;
}

bool core_grants_enough(const struct core *c, unsigned peer)
{
	const struct core_peer *p = &c->peers[peer];

	if (!speaks(c, peer))
		return true;
	return of_this_epoch(c, peer) && p->space.data_upto >= c->space.data_used;
}

void core_granted(const struct core *c, struct core_granted *ret_g)
{
	*ret_g = (struct core_granted){.data_upto = UINT64_MAX};
	for_each_peer (c, i) {
		const struct core_peer *p = &c->peers[i];

		if (!core_waits_for(c, i) || !speaks(c, i))
			continue;
		if (!of_this_epoch(c, i)) {
			ret_g->data_upto = 0; /* it is on its way */
			continue;
		}
		ret_g->data_upto = MIN(ret_g->data_upto, p->space.data_upto);
		ret_g->data_full |= p->space.data_full;
	}
}

const struct msg_space *core_limits(const struct core *c, unsigned replica)
{
	const struct core_peer *p = &c->peers[replica];

	if (replica == c->self || !core_waits_for(c, replica) || !speaks(c, replica) ||
		!of_this_epoch(c, replica))
		return NULL;
	return &p->space;
}
