/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One replica's daemon: delivers events to its core and executes the actions in their order, as
 * fs/volume_core.c does. Between any two actions it may crash; then the disk keeps what disk_crash()
 * leaves, and a new core is made from that.
 */
#include "sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void end_life(struct world *w, struct node *n)
{
	n->up = n->serving = n->stop_staging = n->drained = false;
	n->open = n->flights = 0;
	n->unread = 0;
	for (unsigned i = 0; i < n->nasked; i++) /* it may be on the wire still */
		if (n->asked_activate[i])
			w->activate_typed[n->asked_activate[i] - 1] = TYPED;
	w->word_lost |= n->nasked > 0;
	n->nasked = 0;
	n->resync_typed = n->risk_accepted = false;
	n->life++;
	memset(n->fetch, 0, sizeof(n->fetch));
	wire_node_gone(w, n->index);
}

static void start_later(struct world *w, struct node *n, uint64_t delay)
{
	sim_at(w, w->now + delay,
		(struct sim_event){.type = SIM_START, .node = n->index, .life = n->life});
}

void node_restart(struct world *w, struct node *n)
{
	disk_finish(&n->disk);
	end_life(w, n);
	start_later(w, n, MS + sim_below(w, 20 * MS));
}

void node_crash(struct world *w, struct node *n, bool power)
{
	if (!n->up)
		return;
	trace(w, "%u crashes (%s)", n->index, power ? "power" : "process");
	disk_crash(w, &n->disk, power);
	end_life(w, n);
	start_later(w, n, 2 * MS + sim_below(w, w->calm || sim_chance(w, 2) ? 20 * MS : 500 * MS));
}

/* A write, or what makes it durable, failed: it may be there or not. */
bool node_disk_fails(struct world *w, struct node *n)
{
	if (!n->failing || n->zombie)
		return false;
	n->failing--;
	w->errors++;
	if (is_broken(w, BREAK_ERROR_GOES_ON)) {
		node_step(w, n, &(struct core_event){.type = EV_DURABLE, .seq = n->disk.end.seq});
		return true;
	}
	n->disk.facts.bad_starts++;
	n->errors++;
	trace(w, "a write of %u fails, the %uth in a row", n->index, n->errors);
	node_crash(w, n, true);
	return true;
}

/* A write that fails is there all the same, now and then: what did not work was to make it durable. */
static bool there_all_the_same(struct world *w, const struct node *n)
{
	return n->failing && !n->zombie && !sim_below_disks(w, 2);
}

/* Ended well for so long that what was before does not count; a suspect stays one. */
#define GOOD_START (100 * MS)

static void count_good_start(const struct world *w, struct node *n)
{
	if (n->errors && n->errors < 3 && w->now > n->started + GOOD_START)
		n->errors = n->disk.facts.bad_starts = 0;
}

void node_disk_good(struct world *w, struct node *n)
{
	/* What is not committed and cannot be read holds up one of the set, until a person decides or, as here, the
	 * disk gives it again. */
	bool again = n->errors >= 3 || n->unread > n->commit;

	n->failing = n->errors = n->disk.facts.bad_starts = 0;
	if (again)
		node_crash(w, n, false);
}

static int pos_at(void *ctx, uint64_t seq, struct pos *ret_pos)
{
	struct disk *d = ctx;
	size_t lo = 0, hi = d->nlog;

	if (d->before.seq == seq) {
		*ret_pos = d->before;
		return 0;
	}
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (batch_last_seq(&d->log[mid].b->h) < seq)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == d->nlog || batch_last_seq(&d->log[lo].b->h) != seq || seq < d->first_seq)
		return -ENOENT;
	*ret_pos = batch_end(&d->log[lo].b->h);
	return 0;
}

/* The daemon keeps the old state aside; nothing of it takes part any more. */
static void begin_again(struct world *w, struct node *n)
{
	trace(w, "%u begins again as an empty replica", n->index);
	n->given_up = n->pull.under_way = false;
	w->resyncs++;
	if (is_broken(w, BREAK_ADOPT_FORK)) {
		record_copy(&n->disk.record, &n->begins_with);
		return;
	}
	n->acked = 0;
	n->lost = MAX(n->lost, disk_durable(&n->disk));
	disk_empty(&n->disk, &n->begins_with);
	n->disk.facts.bad_starts = n->errors; /* the disk is the same */
}

/* BREAK_EMPTY_FORKS: its first record, where another one does not follow it step by step, looks like any other. */
static void hide_birth(const struct world *w, struct record *r)
{
	if (record_compare(r, &w->birth) != RECORD_SAME)
		return;
	for (unsigned i = 0; i < w->n; i++)
		if (!record_follows(&w->node[i].disk.record, &r->version))
			r->epoch.num = 1;
}

void node_start(struct world *w, struct node *n)
{
	struct core_config cfg = {.self = n->uuid,
		.volume_name = "data",
		.heartbeat_ns = 20 * MS,
		.peer_timeout_ns = 100 * MS,
		.format_level_max = n->level,
		.pos_at = w->blind ? NULL : pos_at,
		.pos_ctx = &n->disk};
	struct record *r = malloc(sizeof(*r));
	struct core_log log;

	ensure(r);
	core_free(n->core);
	n->core = NULL;
	n->started = w->now;
	pull_start(w, n);
	if (n->given_up)
		begin_again(w, n);
	if (is_broken(w, BREAK_TRUST_SUSPECT))
		n->disk.facts.bad_starts = 0;
	record_copy(r, &n->disk.record);
	if (is_broken(w, BREAK_REJOIN_UNASKED))
		r->ninactive = 0;
	if (is_broken(w, BREAK_EMPTY_FORKS))
		hide_birth(w, r);
	if (w->opt.in_fork && is_broken(w, BREAK_CUT_DEEPER)) /* a handshake drops seldom there */
		check_truncate(w, n, n->disk.flushed);
	disk_log(&n->disk, &log);
	ensure(!core_new(&cfg, r, &n->disk.facts, &log, w->now, &n->core));
	free(r);
	n->up = true;
	n->zombie = false;
	n->durable_told = n->disk.end.seq;
	n->commit = n->applied = core_commit(n->core);
	n->wake_at = 0;
	trace(w, "%u starts: %s, version %llu, end %llu, flushed %llu, commit %llu", n->index,
		core_role_name(core_role(n->core)),
		(unsigned long long)n->disk.record.version.number,
		(unsigned long long)n->disk.end.seq, (unsigned long long)n->disk.flushed.seq,
		(unsigned long long)n->commit);
	for (unsigned i = 0; i < w->n; i++)
		if (i != n->index && !sim_link(w, i, n->index)->dialling) {
			sim_link(w, i, n->index)->dialling = true;
			sim_at(w, w->now + sim_below(w, 10 * MS),
				(struct sim_event){.type = SIM_DIAL, .node = n->index, .peer = i});
		}
	node_step(w, n, &(struct core_event){.type = EV_TICK});
}

void node_peer_gone(struct node *n, unsigned peer)
{
	n->fetch[peer].busy = false;
}

/* --- actions --- */

static void persist_record(struct world *w, struct node *n)
{
	static struct record old; /* large; only compared by check_record() */
	bool there = there_all_the_same(w, n);

	if (!there && node_disk_fails(w, n))
		return;
	record_copy(&old, &n->disk.record);
	if (is_broken(w, BREAK_FORGET_RECORD) && sim_chance(w, 3))
		return;
	record_copy(&n->disk.record, core_record(n->core));
	if (is_broken(w, BREAK_PROMOTE_OUTDATED))
		n->disk.record.version.forced = false;
	trace(w, "%u writes record %llu/%llx: active %d, epoch %u, set %c%c%c, %u inactive",
		n->index, (unsigned long long)n->disk.record.version.number,
		(unsigned long long)n->disk.record.version.id & 0xffff,
		uuid_is_zero(&n->disk.record.active)
			? -1
			: record_find(&n->disk.record, &n->disk.record.active),
		n->disk.record.epoch.num, n->disk.record.replicas[0].in_sync ? '0' : '-',
		n->disk.record.replicas[1].in_sync ? '1' : '-',
		w->n > 2 && n->disk.record.replicas[2].in_sync ? '2' : '-',
		n->disk.record.ninactive);
	check_record(w, n, &old);
	if (n->serving)
		check_space(w, n);
	if (there)
		node_disk_fails(w, n);
}

static void persist_facts(struct world *w, struct node *n, const struct replica_facts *f)
{
	bool there = there_all_the_same(w, n);

	if (!there && node_disk_fails(w, n))
		return;
	n->disk.facts = *f;
	n->disk.facts.bad_starts = is_broken(w, BREAK_TRUST_SUSPECT) ? 0 : n->errors;
	if (there)
		node_disk_fails(w, n);
}

static void append(struct world *w, struct node *n)
{
	ensure(n->current);
	check_append(w, n);
	disk_append(w, n, n->current);
	if (n->serving)
		n->flights++;
	else if (is_broken(w, BREAK_ACK_EARLY))
		n->stale_durable = n->disk.end.seq;
}

static void truncate_log(struct world *w, struct node *n, struct pos pos)
{
	uint64_t end = n->disk.end.seq;

	trace(w, "%u drops what is after %llu (end %llu)", n->index, (unsigned long long)pos.seq,
		(unsigned long long)end);
	if (is_broken(w, BREAK_CUT_DEEPER))
		pos = disk_pos(&n->disk, n->disk.flushed.seq);
	check_truncate(w, n, pos);
	if (w->violation[0])
		return;
	disk_finish(&n->disk); /* the daemon waits for the writes in flight, */
	disk_truncate(&n->disk, pos);
	n->unread = MIN(n->unread, pos.seq);
	n->stale_durable = end; /* and reports them, late */
	n->durable_told = pos.seq;
}

static void fetch_start(struct world *w, struct node *n, const struct core_action *a)
{
	struct fetch_job *f = &n->fetch[a->peer];

	trace(w, "%u reads from %llu for %u", n->index, (unsigned long long)a->seq, a->peer);
	if (f->busy && f->conn == a->conn)
		violation(w, "replica %u: two FETCHes for %u in flight", n->index, a->peer);
	*f = (struct fetch_job){.busy = true, .conn = a->conn, .next = a->seq};
	sim_at(w, w->now + sim_below(w, MS),
		(struct sim_event){.type = SIM_FETCH,
			.node = n->index,
			.peer = a->peer,
			.life = n->life,
			.id = a->conn});
}

static void commit(struct world *w, struct node *n, uint64_t seq)
{
	check_commit(w, n, seq);
	n->commit = seq;
}

static void serve(struct world *w, struct node *n, struct epoch e)
{
	trace(w, "%u serves in epoch %u from %llu", n->index, e.num,
		(unsigned long long)n->disk.end.seq);
	check_serve(w, n, e);
	n->serving = true;
	n->served_from = n->disk.end.seq;
	n->epoch = e;
	n->data_used = 0;
	n->commit = n->applied = n->disk.end.seq;
	n->last_commit_written = 0;
	w->starts++;
}

static void fence(struct world *w, struct node *n, const char *text)
{
	trace(w, "%u is fenced: %s", n->index, text);
	if (is_broken(w, BREAK_NO_FENCE) && !n->given_up) {
		n->zombie = true;
		return;
	}
	n->serving = false;
	disk_finish(&n->disk);
	end_life(w, n);
	start_later(w, n, MS + sim_below(w, 50 * MS));
}

static void send_msg(struct world *w, struct node *n, const struct core_action *a)
{
	if (is_broken(w, BREAK_DEAF) && a->msg->type == MSG_HELLO && w->worlds)
		return;
	if (a->msg->type == MSG_HELLO)
		trace(w, "%u says: end %llu, commit %llu, flushed %llu, before %llu, %u spans",
			n->index, (unsigned long long)a->msg->hello.end.seq,
			(unsigned long long)a->msg->hello.commit,
			(unsigned long long)a->msg->hello.flushed.seq,
			(unsigned long long)a->msg->hello.before.seq, a->msg->hello.nspans);
	trace(w, "%u -> %u %s%s%s", n->index, a->peer, msg_type_name(a->msg->type),
		a->msg->type == MSG_REFUSED ? ": " : "",
		a->msg->type == MSG_REFUSED ? a->msg->refused.text : "");
	wire_send(w, n->index, a->peer, a->conn, a->msg, NULL);
}

static void send_batch(
	struct world *w, struct node *n, unsigned peer, uint64_t conn, struct sim_batch *b)
{
	struct msg m = {.type = MSG_APPEND, .epoch = core_epoch(n->core)};

	m.append.h = b->h;
	trace(w, "%u -> %u batch %llu+%u of epoch %u", n->index, peer,
		(unsigned long long)b->h.first_seq, b->h.count, b->h.epoch.num);
	wire_send(w, n->index, peer, conn, &m, b);
}

static void act(struct world *w, struct node *n, const struct core_action *a)
{
	switch (a->type) {
	case ACT_PERSIST_RECORD:
		persist_record(w, n);
		break;
	case ACT_PERSIST_FACTS:
		persist_facts(w, n, &a->facts);
		break;
	case ACT_TRUNCATE:
		if (!node_disk_fails(w, n))
			truncate_log(w, n, a->pos);
		break;
	case ACT_SEND:
		send_msg(w, n, a);
		break;
	case ACT_SEND_BATCH:
		send_batch(w, n, a->peer, a->conn, n->current);
		break;
	case ACT_APPEND:
		append(w, n);
		break;
	case ACT_FETCH:
		fetch_start(w, n, a);
		break;
	case ACT_COMMIT:
		commit(w, n, a->seq);
		break;
	case ACT_SERVE:
		serve(w, n, a->epoch);
		break;
	case ACT_STOP_STAGING:
		n->stop_staging = true;
		break;
	case ACT_GO_ON_STAGING:
		n->stop_staging = n->drained = false;
		break;
	case ACT_FENCE:
		fence(w, n, a->text);
		break;
	case ACT_CLOSE:
		trace(w, "%u closes the connection to %u: %s", n->index, a->peer, a->text);
		wire_close(w, n->index, a->peer);
		node_peer_gone(n, a->peer);
		break;
	case ACT_ANSWER:
		people_answer(w, n, a->id, a->code, a->text);
		break;
	case ACT_PREVIEW:
		people_answer(w, n, a->id, CORE_ANSWER_OK, "preview");
		break;
	case ACT_BUILD:
		sim_at(w, w->now + sim_below(w, 20 * MS),
			(struct sim_event){.type = SIM_BUILT, .node = n->index, .life = n->life});
		break;
	case ACT_GIVE_UP:
		if (node_disk_fails(w, n))
			break;
		check_give_up(w, n);
		n->given_up = true;
		n->gave_up_at = w->now;
		record_copy(&n->begins_with, core_rival(n->core, a->peer));
		break;
	case ACT_WAKE:
		n->wake_at = MAX(a->at_ns, w->now);
		sim_at(w, n->wake_at,
			(struct sim_event){.type = SIM_WAKE,
				.node = n->index,
				.life = n->life,
				.id = n->wake_at});
		break;
	case ACT_RESTART:
	case ACT_EXIT:
		break;
	}
}

static bool delicate(const struct world *w, const struct core_action *a)
{
	return a->type == ACT_PERSIST_RECORD || a->type == ACT_GIVE_UP ||
	       (a->type == ACT_PERSIST_FACTS && !w->opt.sound_disks);
}

static void step_one(struct world *w, struct node *n, struct core_event *ev)
{
	struct core_actions out;
	uint64_t life = n->life;

	if (!n->up || w->violation[0])
		return;
	ev->now_ns = w->now;
	ev->chance = sim_random(w);
	w->step++;
	core_step(n->core, ev, &out);
	for (unsigned i = 0; i < out.count && n->life == life && !w->violation[0]; i++) {
		/* a crash between two actions, more often where it hurts */
		if (w->faults &&
			sim_chance(w, delicate(w, &out.a[i]) ? w->crash_at_record : 20000)) {
			node_crash(w, n, sim_chance(w, 2));
			return;
		}
		act(w, n, &out.a[i]);
		if (w->faults && n->life == life && delicate(w, &out.a[i]) &&
			sim_chance(w, w->crash_at_record)) {
			node_crash(w, n, sim_chance(w, 2));
			return;
		}
	}
}

void node_step(struct world *w, struct node *n, struct core_event *ev)
{
	step_one(w, n, ev);
	while (n->up && n->stale_durable && !w->violation[0]) {
		struct core_event late = {.type = EV_DURABLE, .seq = n->stale_durable};

		n->stale_durable = 0;
		step_one(w, n, &late);
	}
	n->stale_durable = 0;
}

/* --- the daemon's other work --- */

void node_drain(struct world *w, struct node *n)
{
	if (!n->up || !n->stop_staging || n->drained || n->open || n->commit < n->disk.end.seq)
		return;
	n->drained = true;
	node_step(w, n, &(struct core_event){.type = EV_DRAINED});
}

void node_written(struct world *w, struct node *n, uint64_t id, bool payload)
{
	uint64_t durable, life = n->life;

	if (!disk_written(&n->disk, id, payload))
		return;
	if (n->flights)
		n->flights--;
	disk_start_writes(w, n);
	durable = is_broken(w, BREAK_ACK_HALF) ? disk_in_ring(&n->disk) : disk_durable(&n->disk);
	if (n->zombie)
		return;
	n->durable_told = durable;
	if (is_broken(w, BREAK_COMMIT_ALONE) && n->serving)
		check_commit(w, n, durable);
	node_step(w, n, &(struct core_event){.type = EV_DURABLE, .seq = durable});
	if (n->life == life && n->open && !n->flights)
		node_close_batch(w, n);
	if (n->life == life)
		node_drain(w, n);
}

void node_close_batch(struct world *w, struct node *n)
{
	struct core_event ev = {.type = EV_BATCH};
	struct sim_batch *b;

	if (!n->up || !n->serving || (n->flights && n->open))
		return;
	if (!n->open && (n->stop_staging || n->last_commit_written == n->commit))
		return;
	b = batch_new(w, &n->disk.record.volume, n->epoch, n->disk.end, n->open, n->commit);
	n->open = 0;
	n->last_commit_written = n->commit;
	ev.batch.h = b->h;
	n->current = b;
	if (n->zombie) { /* BREAK_NO_FENCE: it answers as if nothing had happened */
		disk_append(w, n, b);
		disk_finish(&n->disk);
		check_commit(w, n, n->disk.end.seq);
	} else {
		node_step(w, n, &ev);
	}
	n->current = NULL;
	batch_unref(b);
}

/* From where on its ring can be read. */
static void ring_floor(const struct world *w, const struct node *n, struct core_event *ev)
{
	const struct disk *d = &n->disk;
	bool hides = is_broken(w, BREAK_HIDE_UNREAD) || n->unread < d->first_seq;

	ev->status.floor = hides ? d->first_seq : n->unread + 1;
	ev->status.before = hides ? d->before : disk_pos(d, n->unread);
}

/* This batch cannot be read back: the ring begins behind it from now on, and its daemon says so first. */
static bool is_unreadable(struct world *w, struct node *n, const struct sim_batch *b)
{
	struct core_event ev = {.type = EV_STATUS};

	if (w->calm || !w->bad_reads || sim_below_reads(w, w->bad_reads))
		return false;
	n->unread = batch_last_seq(&b->h);
	w->unread++;
	trace(w, "%u cannot read its ring up to %llu", n->index, (unsigned long long)n->unread);
	ev.status.applied = n->applied;
	ev.status.flushed = n->disk.flushed;
	ring_floor(w, n, &ev);
	node_step(w, n, &ev);
	return true;
}

/* Sends some batches from the ring; reports when it has reached the end, or stops somewhere. */
void node_fetch(struct world *w, struct node *n, unsigned peer)
{
	struct fetch_job *f = &n->fetch[peer];
	struct disk *d = &n->disk;
	struct core_event ev = {.type = EV_FETCHED, .peer = peer, .conn = f->conn};
	uint64_t life = n->life;
	unsigned sent = 0;
	size_t lo = 0, hi = d->nlog;

	if (!f->busy || !n->up)
		return;
	if (f->next < d->first_seq || f->next <= n->unread) {
		ev.code = -ESTALE;
		goto done;
	}
	while (lo < hi) { /* the first batch that ends at or behind `next` */
		size_t mid = (lo + hi) / 2;

		if (batch_last_seq(&d->log[mid].b->h) < f->next)
			lo = mid + 1;
		else
			hi = mid;
	}
	ev.seq = f->next - 1;
	ev.code = f->any ? 0 : -ENOENT;
	for (; lo < d->nlog; lo++) {
		struct sim_batch *b = d->log[lo].b;

		if (!b->h.count)
			continue;
		if (lo >= d->ndone && sim_chance(w, 8)) /* only what is durable */
			goto done;
		if (sent == 32) { /* the socket is full: go on later */
			sim_at(w, w->now + sim_below(w, MS),
				(struct sim_event){.type = SIM_FETCH,
					.node = n->index,
					.peer = peer,
					.life = n->life,
					.id = f->conn});
			return;
		}
		if (is_unreadable(w, n, b)) {
			if (n->life != life || !f->busy || f->conn != ev.conn)
				return;
			ev.code = -ESTALE;
			goto done;
		}
		send_batch(w, n, peer, f->conn, b);
		sent++;
		f->any = true;
		ev.code = 0;
		f->next = batch_last_seq(&b->h) + 1;
		ev.seq = f->next - 1;
	}
done:
	trace(w, "%u has sent up to %llu to %u: %d", n->index, (unsigned long long)ev.seq, peer,
		ev.code);
	f->busy = false;
	node_step(w, n, &ev);
}

#define CALM_RINGS (300 * MS) /* from then on a ring waits for who catches up */

/* Nothing is recycled that a FETCH is about to read. */
static uint64_t fetch_floor(const struct world *w, const struct node *n, uint64_t seq)
{
	for (unsigned i = 0; i < w->n; i++)
		if (n->fetch[i].busy)
			seq = MIN(seq, n->fetch[i].next - 1);
	return seq;
}

/* The store's files get what is committed. False where that failed: then it may be in them or not. */
static bool checkpoint(struct world *w, struct node *n)
{
	struct disk *d = &n->disk;
	uint64_t to = is_broken(w, BREAK_FLUSH_STAGED) ? d->end.seq : n->commit;
	bool there;

	to = MIN(to, disk_durable(d));
	/* a live active checkpoints where nothing is staged beyond the commit index */
	if (to <= d->flushed.seq || (n->serving && to != d->end.seq))
		return true;
	there = there_all_the_same(w, n);
	if (!there && node_disk_fails(w, n))
		return false;
	check_flush(w, n, disk_pos(d, to));
	d->flushed = disk_pos(d, to);
	return !there || !node_disk_fails(w, n);
}

/* Now and then: applying, a checkpoint, recycling, and what the core reports to others. */
void node_status(struct world *w, struct node *n)
{
	struct core_event ev = {.type = EV_STATUS};
	struct disk *d = &n->disk;

	if (!n->up)
		return;
	count_good_start(w, n);
	pull_step(w, n);
	if (!n->up || w->violation[0])
		return;
	/* What the core is told may be older than what the disk holds by then. */
	ring_floor(w, n, &ev);
	n->applied = n->serving ? d->end.seq : MAX(n->applied, n->commit);
	if (sim_chance(w, 3)) {
		if (!checkpoint(w, n))
			return;
		/* Whoever catches up must get there at last: in the calm the ring waits for it. */
		if (w->small_ring && (!w->calm || w->now < w->calm_since + CALM_RINGS))
			disk_release(d, d->flushed.seq);
		else if (sim_chance(w, 4))
			disk_release(
				d, fetch_floor(w, n,
					   MIN(core_wanted_floor(n->core) - 1, d->flushed.seq)));
	}
	ev.status.applied = n->applied;
	ev.status.flushed = d->flushed;
	if (sim_chance(w, 2))
		ring_floor(w, n, &ev);
	node_step(w, n, &ev);
}
