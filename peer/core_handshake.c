/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The handshake: records first, then histories.
 *
 * Each side sends HELLO when a connection stands, and again whenever what it said has become wrong in
 * a way that matters to its stream. A newer record is adopted durably before anything else is
 * looked at; then the adopter sends HELLO again, and the other side, which waited, goes on under the
 * same record. Only then, only towards a serving active, only above what is committed and flushed
 * here, a standby drops what the active does not have.
 *
 * RECORD changes the record alone and leaves streams running: proposals (the sender does not hold
 * the record itself yet) and news of changes that touch no history.
 *
 * Failure modes: another cluster, volume or list of replicas: refused. A record of a newer format
 * level than this build knows: refused. A fork: nothing is touched, both say so (core_view.c), and a
 * person may end it (core_resync.c).
 */
#include "core_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void core_send_hello(struct core *c, unsigned peer)
{
	struct msg_hello *h = &core_send(c, peer, MSG_HELLO)->hello;

	h->entry_format_max = c->cfg.format_level_max;
	h->serving = core_serving(c);
	h->end = c->end;
	h->flushed = c->flushed;
	h->commit = c->commit;
	h->first_seq = c->first_seq;
	h->before = c->before;
	h->grant = c->grant;
	h->nspans = MIN(c->nspans, MSG_SPANS_MAX);
	memcpy(h->spans, c->spans, h->nspans * sizeof(h->spans[0]));
	h->record = c->rec;
	c->peers[peer].told = c->rec->version;
	c->peers[peer].told_before = c->before.seq;
}

void core_relation_forget(struct core *c, unsigned peer)
{
	struct core_peer *p = &c->peers[peer];

	if (p->relation ==
		RELATION_AHEAD) /* the rest is not of our history, if it goes on otherwise */
		p->acked = MIN(p->acked, p->fork_point.seq);
	p->relation = RELATION_UNKNOWN;
}

void core_spread(struct core *c, unsigned restart)
{
	for_each_peer (c, i) {
		struct core_peer *p = &c->peers[i];
		bool same = p->hello && version_equal(&p->version, &c->rec->version);

		if (!p->up || (same && !(restart & 1u << i)))
			continue;
		if (same) {
			core_send_hello(c, i);
		} else if ((restart & 1u << i) || !p->hello || p->relation == RELATION_UNKNOWN ||
			   !record_follows(c->rec, &p->version)) {
			core_relation_forget(c, i);
			core_stream_reset(c, i);
			core_send_hello(c, i);
		} else {
			struct msg *m = core_send(c, i, MSG_RECORD);

			m->record.nonce = 0;
			m->record.record = c->rec;
		}
	}
}

/* --- adopting --- */

/* A serving replica goes on only if the record still gives it the epoch that it serves in. */
static void fence_if_replaced(struct core *c, const struct record *old)
{
	int active = core_active(c);
	char id[UUID_TEXT_SIZE];

	if (active == (int)c->self && epoch_equal(c->rec->epoch, old->epoch))
		return;
	if (c->demote.kind && active < 0)
		core_answer(c, &c->demote, CORE_ANSWER_OK,
			core_text(c,
				"demoted: no replica of '%s' is active now. Type 'tandemctl "
				"promote %s' on "
				"the side that shall be active",
				c->cfg.volume_name, c->cfg.volume_name));
	else if (c->demote.kind)
		core_answer(c, &c->demote, CORE_ANSWER_OK,
			core_text(c, "'%s' is not active here any more: the record names %s",
				c->cfg.volume_name,
				active == (int)c->self ? "a newer epoch"
						       : core_domain(c, (unsigned)active)));
	if (active < 0)
		core_fence(c, "demoted: the record names no active replica");
	else
		core_fence(
			c, core_text(c,
				   "the record names %s (replica %s) active in epoch %u, this "
				   "replica served in epoch %u",
				   core_domain(c, (unsigned)active), uuid_text(&c->rec->active, id),
				   c->rec->epoch.num, old->epoch.num));
}

static void forget_streams(struct core *c, bool all)
{
	for_each_peer (c, i) {
		struct core_peer *p = &c->peers[i];

		if (record_follows(c->rec, &p->version))
			p->fork = false;
		if (all)
			p->following = p->asked = false;
		if (core_inactive(c, c->self))
			p->following = false;
		if (core_inactive(c, i) || (all && !version_equal(&p->version, &c->rec->version))) {
			core_relation_forget(c, i);
			core_stream_reset(c, i);
		}
	}
}

void core_record_changed(struct core *c, const struct record *old)
{
	bool new_active = !uuid_equal(&c->rec->active, &old->active);

	ensure(!c->record_changed);
	c->record_changed = true;
	core_plan_remember(c);
	core_act(c, ACT_PERSIST_RECORD);
	if (!epoch_equal(c->rec->epoch, old->epoch)) {
		c->epoch_mine = false;
		core_space_new_epoch(c);
	}
	if (new_active)
		c->word = false;
	forget_streams(c, new_active);
	if (c->promote.kind && !core_is_active(c, c->self))
		core_answer(c, &c->promote, -ESTALE,
			"the other side has changed the volume's record meanwhile: this replica is "
			"not "
			"the active one in it");
	if (core_serving(c))
		fence_if_replaced(c, old);
	else
		c->role = core_is_active(c, c->self) ? CORE_CONFIRMING : CORE_STANDBY;
}

/* This replica asked for it itself, and died before it wrote it: its disk is the one that it had. */
static bool is_own(const struct core *c, const struct record *r)
{
	for (unsigned i = 0; i < c->facts.nproposed; i++)
		if (record_follows(r, &c->facts.proposed[i]))
			return true;
	return false;
}

/*
 * Everybody in a set has agreed to each record with a new epoch before an entry of it was acknowledged, and has what was
 * acknowledged. So this one is on another disk than the one that `r` counts on: an empty replica with its first record
 * that is told of an epoch; one that is out of the set by its own record, where `r` is of a later epoch (it joins under
 * a record that it has) or somebody knows of a commit beyond its end. It does not take such a record, by which it would
 * confirm what it does not know, and take over with what it has not. The active leaves it out; a record that says so it
 * takes, and comes back as any other.
 */
static bool counts_on_lost(const struct core *c, const struct record *r, uint64_t commit)
{
	bool first = !c->rec->epoch.num && !c->end.seq;

	if (!r->replicas[c->self].in_sync || is_own(c, r))
		return false;
	if (core_in_sync(c, c->self) && !first)
		return false;
	return r->epoch.num > c->rec->epoch.num || c->end.seq < commit;
}

void core_set_met(struct core *c, bool met)
{
	if (c->facts.met == met)
		return;
	c->facts.met = met;
	core_act(c, ACT_PERSIST_FACTS)->facts = c->facts;
}

static void adopt(struct core *c, const struct record *r)
{
	struct record *old = c->rec;

	core_plan_overtaken(c);
	record_copy(c->next, r);
	c->rec = c->next;
	c->next = old;
	core_record_changed(c, old);
	core_set_met(c, false);
}

/* --- what arrives --- */

/* What a record from outside must have in common with ours. NULL, or the reason against it. */
static const char *foreign(const struct core *c, const struct record *r)
{
	if (!uuid_equal(&r->cluster, &c->rec->cluster))
		return "another cluster: the volumes were not formatted for each other";
	if (!uuid_equal(&r->volume, &c->rec->volume))
		return "another volume";
	if (r->format_level > c->cfg.format_level_max)
		return "the record's format level is newer than this build: upgrade it";
	if (r->nreplicas != c->rec->nreplicas)
		return "another list of replicas";
	for (unsigned i = 0; i < r->nreplicas; i++)
		if (!uuid_equal(&r->replicas[i].uuid, &c->rec->replicas[i].uuid) ||
			strcmp(r->replicas[i].domain, c->rec->replicas[i].domain))
			return "another list of replicas";
	return NULL;
}

static bool check_foreign(struct core *c, unsigned peer, const struct record *r)
{
	const char *why = foreign(c, r);
	struct msg *m;

	if (!why && record_compare(r, c->rec) == RECORD_NEWER && r->epoch.num < c->rec->epoch.num)
		why = "a newer record with an older epoch";
	if (!why)
		return true;
	m = core_send(c, peer, MSG_REFUSED);
	m->refused.code = -EINVAL;
	snprintf(m->refused.text, sizeof(m->refused.text), "%s", why);
	core_close(c, peer, why);
	return false;
}

static void note_hello(struct core *c, unsigned peer, const struct msg_hello *h)
{
	struct core_peer *p = &c->peers[peer];

	p->hello = true;
	p->fork = p->beyond = p->lost = false;
	p->epoch = h->record->epoch.num;
	p->out = !p->epoch || !h->record->replicas[peer].in_sync;
	p->asked = p->following = false;
	p->version = h->record->version;
	p->serving = h->serving;
	p->end = h->end;
	if (p->acked > h->end.seq)
		p->acked = 0;
	p->flushed = h->flushed;
	p->before = h->before;
	p->commit = h->commit;
	p->grant = h->grant;
	p->level = h->entry_format_max;
	p->space_known = false;
	if (!core_in_sync(c, peer) || p->out) /* its disk may be another one by now */
		p->space_epoch = (struct epoch){0};
	core_relation_forget(c, peer);
	p->announced = 0;
	core_stream_reset(c, peer);
}

/* How the two histories lie to each other, under the same record. */
static void relate(struct core *c, unsigned peer, const struct msg_hello *h)
{
	struct core_peer *p = &c->peers[peer];
	struct pos f = core_match(c, h);

	p->fork_point = f;
	if (pos_equal(f, h->end))
		p->relation = RELATION_BEHIND;
	else if (pos_equal(f, c->end))
		p->relation = RELATION_AHEAD;
	else
		p->relation = RELATION_DIVERGED;
	if (p->relation == RELATION_DIVERGED)
		p->acked = 0;
}

/* A standby before its active. Returns true when our HELLO is out of date now. */
static bool follow(struct core *c, unsigned peer, const struct msg_hello *h)
{
	struct core_peer *p = &c->peers[peer];
	bool dropped = false;

	if (core_inactive(c, c->self))
		return false;
	p->beyond = p->fork_point.seq < h->before.seq;
	if (h->serving && p->fork_point.seq < c->end.seq) {
		if (p->beyond || p->fork_point.seq < c->commit ||
			p->fork_point.seq < c->flushed.seq || p->fork_point.seq < c->before.seq) {
			p->beyond = true;
			return false;
		}
		core_log_truncate(c, p->fork_point);
		core_act(c, ACT_TRUNCATE)->pos = p->fork_point;
		relate(c, peer, h);
		dropped = true;
	}
	p->following = p->relation != RELATION_DIVERGED;
	core_announced(c, peer, h->commit);
	return dropped;
}

/* The record's active before one of the others. */
void core_lead(struct core *c, unsigned peer)
{
	struct core_peer *p = &c->peers[peer];

	if (p->relation == RELATION_BEHIND) {
		p->beyond = p->end.seq < c->before.seq;
	} else if (p->relation == RELATION_DIVERGED || core_serving(c)) {
		/* it must not drop what it would have to, or would gain nothing by it */
		p->beyond = p->fork_point.seq < MAX(p->flushed.seq, p->commit) ||
			    p->fork_point.seq < c->before.seq;
	}
	p->lost = core_serving(c) && p->fork_point.seq < c->commit && core_in_sync(c, peer);
}

/* Our last HELLO to it may be out of date: it was of another record. */
static void tell(struct core *c, unsigned peer)
{
	if (!version_equal(&c->peers[peer].told, &c->rec->version))
		core_send_hello(c, peer);
}

void core_on_hello(struct core *c, unsigned peer, const struct msg *m)
{
	const struct msg_hello *h = &m->hello;
	struct core_peer *p = &c->peers[peer];
	bool dropped = false, known_fork = p->fork;
	bool begins = p->hello && !p->serving && h->serving && !pos_equal(p->end, h->end);

	if (!check_foreign(c, peer, h->record))
		return;
	note_hello(c, peer, h);
	switch (record_compare(h->record, c->rec)) {
	case RECORD_FORK:
		p->fork = true;
		p->fork_point = core_match(c, h); /* for people: nothing else is done with it */
		record_copy(&c->rivals[peer], h->record);
		core_plan_lost(c, peer);
		if (!known_fork) /* it shall know, too */
			core_send_hello(c, peer);
		return;
	case RECORD_OLDER: /* it adopts ours and says HELLO again, but: counts_on_lost() */
		c->reached |= !core_blank(c, peer);
		tell(c, peer);
		return;
	case RECORD_NEWER:
		if (core_plan_is(c, &h->record->version)) {
			relate(c, peer, h); /* it holds our proposal */
			return;
		}
		if (counts_on_lost(c, h->record, h->commit)) {
			core_set_met(c, true);
			return;
		}
		adopt(c, h->record);
		break;
	case RECORD_SAME:
		break;
	}
	c->reached = true;
	if (c->role == CORE_FENCED)
		return;
	relate(c, peer, h);
	if (core_is_active(c, peer))
		dropped = follow(c, peer, h);
	else if (core_is_active(c, c->self) && !core_inactive(c, peer))
		core_lead(c, peer);
	if (c->record_changed)
		core_spread(c, 0);
	/* An active that fetched a tail before it served: where we stand to it now, it learns from a
	 * new HELLO only. And who lags must know from where our ring goes by now. */
	if (dropped || begins || (p->beyond && p->told_before < c->before.seq))
		core_send_hello(c, peer);
	else
		tell(c, peer);
	core_send_ack(c);
}

void core_on_record(struct core *c, unsigned peer, const struct msg *m)
{
	const struct record *r = m->record.record;
	bool new_active = !uuid_equal(&r->active, &c->rec->active);
	enum record_order order;
	struct msg *answer;

	if (!check_foreign(c, peer, r))
		return;
	c->peers[peer].out = false; /* another disk says so in a HELLO first */
	if (core_plan_is(c, &r->version)) { /* passed on by one who accepted it */
		c->peers[peer].version = r->version;
		return;
	}
	order = record_compare(r, c->rec);
	if (order == RECORD_NEWER && m->record.nonce && core_plan_stands(c, peer, r)) {
		answer = core_send(c, peer, MSG_RECORD_ACK);
		answer->record_ack = (struct msg_record_ack){
			.nonce = m->record.nonce, .accepted = 0, .version = c->rec->version};
		return;
	}
	if (order == RECORD_NEWER && !m->record.nonce &&
		counts_on_lost(c, r, MAX(c->peers[peer].commit, c->peers[peer].announced))) {
		core_set_met(c, true);
		return;
	}
	if (order == RECORD_NEWER && m->record.nonce && core_plan_is_promise(c->rec, r, c->self)) {
		core_plan_promise(c, r);
		answer = core_send(c, peer, MSG_RECORD_ACK);
		answer->record_ack = (struct msg_record_ack){
			.nonce = m->record.nonce, .accepted = 1, .version = r->version};
		return;
	}
	if (order == RECORD_NEWER)
		adopt(c, r);
	if (order == RECORD_OLDER && !m->record.nonce) { /* news that is none: here is some */
		answer = core_send(c, peer, MSG_RECORD);
		answer->record = (struct msg_record){.nonce = 0, .record = c->rec};
		return;
	}
	if (order == RECORD_NEWER || order == RECORD_SAME)
		c->peers[peer].version = r->version;
	answer = core_send(c, peer, MSG_RECORD_ACK);
	answer->record_ack = (struct msg_record_ack){.nonce = m->record.nonce,
		.accepted = order == RECORD_NEWER || order == RECORD_SAME,
		.version = c->rec->version};
	if (order == RECORD_FORK)
		c->peers[peer].fork = true;
	if (order != RECORD_NEWER || c->role == CORE_FENCED)
		return;
	core_spread(c, 0);
	if (new_active)
		core_send_hello(c, peer);
	core_send_ack(c);
}

void core_on_record_ack(struct core *c, unsigned peer, const struct msg *m)
{
	const struct msg_record_ack *a = &m->record_ack;
	struct core_peer *p = &c->peers[peer];
	bool known = core_plan_is(c, &a->version) || record_follows(c->rec, &a->version);
	bool asked = c->plan.kind != PLAN_NONE && a->nonce == c->plan.nonce;

	/* It holds something else, or keeps to a plan of its own: shake hands again. */
	if (!known || !p->hello || (!a->accepted && asked)) {
		core_close(c, peer, "the other side holds another record");
		return;
	}
	if (!a->accepted)
		return; /* to a plan that is given up */
	p->out = false; /* another disk says so in a HELLO first */
	if (!asked && a->nonce && c->rec->nreplicas > 2) {
		core_close(c, peer, "an answer to a plan that was given up");
		return;
	}
	if (!asked || !core_plan_is_promise(c->rec, c->next, peer))
		p->version = a->version;
	if (core_plan_is(c, &a->version) && asked)
		core_plan_accepted(c, peer);
}
