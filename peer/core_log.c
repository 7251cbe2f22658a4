/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The own history, as far as the machine must know it: its end, and the last position of each
 * epoch. An epoch has one writer, so two histories that share an epoch are equal up to the shorter
 * one's end in it; that is what log matching rests on. A position (seq, chain) that both know says
 * the same.
 *
 * Failure mode: when what was told does not reach back far enough, the common point found is too
 * early, never too late. Whoever would have to drop more than may be dropped then refuses.
 */
#include "core_impl.h"

#include <string.h>

/* Is p a position that the other side told to be in its history? */
static bool hello_knows(const struct msg_hello *h, struct pos p)
{
	if (!p.seq || pos_equal(p, h->end) || pos_equal(p, h->before) || pos_equal(p, h->flushed))
		return true;
	for (unsigned i = 0; i < h->nspans; i++)
		if (pos_equal(p, h->spans[i].end))
			return true;
	return false;
}

static bool own_knows(const struct core *c, struct pos p)
{
	struct pos own;

	if (!p.seq || pos_equal(p, c->end) || pos_equal(p, c->before) || pos_equal(p, c->flushed))
		return true;
	for (unsigned i = 0; i < c->nspans; i++)
		if (pos_equal(p, c->spans[i].end))
			return true;
	return c->cfg.pos_at && p.seq < c->end.seq && !c->cfg.pos_at(c->cfg.pos_ctx, p.seq, &own) &&
	       pos_equal(p, own);
}

static void better(struct pos *best, struct pos p, bool known)
{
	if (known && p.seq > best->seq)
		*best = p;
}

/* The end of the newest epoch that both have. */
static struct pos match_epochs(const struct core *c, const struct msg_hello *h)
{
	for (unsigned i = 0; i < c->nspans; i++)
		for (unsigned j = 0; j < h->nspans; j++) {
			if (!epoch_equal(c->spans[i].epoch, h->spans[j].epoch))
				continue;
			return c->spans[i].end.seq < h->spans[j].end.seq ? c->spans[i].end
									 : h->spans[j].end;
		}
	return (struct pos){0};
}

/* The last position that both histories are known to share; {0,0} at the earliest. */
struct pos core_match(const struct core *c, const struct msg_hello *h)
{
	struct pos best = match_epochs(c, h);

	better(&best, c->end, hello_knows(h, c->end));
	better(&best, c->before, hello_knows(h, c->before));
	better(&best, c->flushed, hello_knows(h, c->flushed));
	better(&best, h->end, own_knows(c, h->end));
	better(&best, h->before, own_knows(c, h->before));
	better(&best, h->flushed, own_knows(c, h->flushed));
	for (unsigned i = 0; i < h->nspans && h->spans[i].end.seq > best.seq; i++)
		better(&best, h->spans[i].end, own_knows(c, h->spans[i].end));
	return best;
}

void core_log_append(struct core *c, const struct batch_header *h)
{
	c->last_epoch = h->epoch;
	if (!h->count)
		return;
	c->end = batch_end(h);
	if (!c->nspans || !epoch_equal(c->spans[0].epoch, h->epoch)) {
		if (c->nspans < CORE_SPANS_MAX)
			c->nspans++;
		memmove(c->spans + 1, c->spans, (c->nspans - 1) * sizeof(c->spans[0]));
		c->spans[0].epoch = h->epoch;
	}
	c->spans[0].end = c->end;
}

void core_log_truncate(struct core *c, struct pos pos)
{
	/* What is dropped was never committed, or we would not be here (core_handshake.c). */
	ensure(pos.seq >= c->commit && pos.seq >= c->flushed.seq && pos.seq >= c->before.seq);
	while (c->nspans) {
		uint64_t from = c->nspans > 1 ? c->spans[1].end.seq : c->before.seq;

		if (from < pos.seq)
			break;
		c->nspans--;
		memmove(c->spans, c->spans + 1, c->nspans * sizeof(c->spans[0]));
	}
	if (c->nspans && c->spans[0].end.seq > pos.seq)
		c->spans[0].end = pos;
	c->end = pos;
	if (c->durable > pos.seq)
		c->durable = pos.seq;
	c->last_epoch = c->nspans ? c->spans[0].epoch : (struct epoch){0};
}

struct epoch core_log_epoch(const struct core *c, uint64_t seq)
{
	struct epoch e = {0};

	for (unsigned i = 0; i < c->nspans && c->spans[i].end.seq >= seq; i++)
		e = c->spans[i].epoch;
	return e;
}
