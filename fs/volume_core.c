/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The seam between the pure machine and the world: events go into core_step(), its actions are
 * executed in their order, each completely. What is synchronous and durable (records, facts,
 * truncation) is done here and now; sending and writing are only begun.
 *
 * Failure modes: an action that fails is final (I9). An action may lead to another event (a socket
 * that breaks while it is written to): it waits until the step is done, because the actions in hand
 * point into the core.
 */
#include "pull.h"
#include "repair_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "log.h"
#include "resync.h"

static uint64_t chance(struct volume *v) /* splitmix64, seeded from the kernel at start */
{
	uint64_t z = v->random += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static void persist_record(struct volume *v)
{
	char path[4200];
	struct err e = {0};

	int r;

	volume_path(v, "record", path, sizeof(path));
	r = record_store(path, core_record(v->core), &e);
	if (r == -ENOSPC) {
		space_make_way(v);
		r = record_store(path, core_record(v->core), &e);
	}
	if (r)
		volume_die(v, "the record could not be written: %s", e.msg);
}

static void persist_facts(struct volume *v, const struct replica_facts *f)
{
	char path[4200];
	struct err e = {0};

	uint32_t bad_starts = v->facts.bad_starts; /* these two are the driver's own facts */
	bool damaged = v->facts.damaged;
	int r;

	v->facts = *f;
	v->facts.bad_starts = bad_starts;
	v->facts.damaged = damaged;
	volume_path(v, "facts", path, sizeof(path));
	r = facts_store(path, &v->facts, &e);
	if (r == -ENOSPC) {
		space_make_way(v);
		r = facts_store(path, &v->facts, &e);
	}
	if (r)
		volume_die(v, "the replica's facts could not be written: %s", e.msg);
}

/* Only a standby drops a tail, and what it drops was never applied; but for what the daemon before answered under
 * ack=fsync, and this one shows on the mount that it took over: that mount fails then. */
static void truncate_log(struct volume *v, struct pos pos)
{
	struct err e = {0};

	log_warn("dropping the journal after seq %llu: it was never acknowledged, and the active "
		 "side does not have it",
		(unsigned long long)pos.seq);
	if (atomic_load(&v->apply.applied) > pos.seq)
		volume_fence(v, "what was answered under ack=fsync is not in the history of the "
				"new active");
	apply_stop(v); /* its queue may hold batches of the tail */
	v->ack_withheld = false;
	while (v->slots) { /* writes in flight must end before the ring is cut */
		uring_submit(v->uring);
		if (!uring_reap(v->uring)) {
			struct timespec pause = {.tv_nsec = 100000};

			nanosleep(&pause, NULL);
		}
		volume_durable(v);
	}
	if (ring_truncate(v->ring, pos, &e))
		volume_die(v, "the journal could not be cut at seq %llu: %s",
			(unsigned long long)pos.seq, e.msg);
	v->durable_told = pos.seq;
	for (unsigned i = 0; i < v->ndeferred; i++) /* of the tail, while it was waited for */
		if (v->deferred[i].type == EV_DURABLE)
			v->deferred[i].seq = MIN(v->deferred[i].seq, pos.seq);
	apply_start(v);
}

/* Payloads whose batch will never come on this connection. */
static void rx_externals_drop(struct volume *v)
{
	while (v->rx_externals) {
		struct external *x = v->rx_externals;

		v->rx_externals = x->next;
		if (x->req.done)
			x->orphan = true; /* the write is under way */
		else
			external_free(x);
	}
	v->rx_externals_count = 0;
}

static void act(struct volume *v, const struct core_action *a)
{
	switch (a->type) {
	case ACT_PERSIST_RECORD:
		persist_record(v);
		break;
	case ACT_PERSIST_FACTS:
		persist_facts(v, &a->facts);
		break;
	case ACT_TRUNCATE:
		truncate_log(v, a->pos);
		break;
	case ACT_SEND:
		net_send(v->net, a->peer, a->conn, a->msg, NULL, NULL);
		break;
	case ACT_SEND_BATCH:
		ensure(v->current);
		send_batch(v, a->peer, a->conn, v->current);
		break;
	case ACT_APPEND:
		ensure(v->current);
		volume_append(v, v->current);
		break;
	case ACT_FETCH:
		fetch_start(v, a->peer, a->conn, a->seq);
		break;
	case ACT_COMMIT:
		if (v->serving)
			volume_commit(v, a->seq);
		else
			apply_target(v, a->seq);
		break;
	case ACT_SERVE:
		volume_serve(v, a->epoch);
		break;
	case ACT_STOP_STAGING:
		v->stop_staging = true;
		break;
	case ACT_GO_ON_STAGING:
		v->stop_staging = v->stopping && !v->unmounting;
		v->drained_told = false;
		loop_wake(v->loop);
		break;
	case ACT_FENCE:
		volume_fence(v, a->text);
		break;
	case ACT_CLOSE:
		net_drop(v->net, a->peer, a->text);
		fetch_cancel(v, a->peer);
		repair_down(v, a->peer);
		rx_externals_drop(v);
		break;
	case ACT_ANSWER:
		control_answer_core(v, a->id, a->code, a->text);
		break;
	case ACT_PREVIEW:
		resync_preview(v, a->id, a->peer, a->seq);
		break;
	case ACT_BUILD:
		resync_build(v, a->seq);
		break;
	case ACT_GIVE_UP:
		resync_give_up(v, core_rival(v->core, a->peer));
		break;
	case ACT_WAKE:
		loop_timer_set(v->loop, &v->tick_timer, a->at_ns);
		break;
	case ACT_RESTART:
		volume_restart(v, a->text);
	case ACT_EXIT:
		v->quit = true;
		break;
	}
}

static void step_one(struct volume *v, struct core_event *ev)
{
	struct core_actions out; /* on the stack: a step never runs inside another */

	if (!ev->now_ns)
		ev->now_ns = clock_mono_ns();
	ev->chance = chance(v);
	core_step(v->core, ev, &out);
	for (unsigned i = 0; i < out.count; i++)
		act(v, &out.a[i]);
}

void volume_step(struct volume *v, struct core_event *ev)
{
	if (v->stepping) { /* borrowed pointers do not survive: only plain events come here */
		ensure(ev->type != EV_MSG && ev->type != EV_BATCH);
		/* Many batches may become durable within one step. */
		if (ev->type == EV_DURABLE && v->ndeferred > v->deferred_begun &&
			v->deferred[v->ndeferred - 1].type == EV_DURABLE) {
			v->deferred[v->ndeferred - 1] = *ev;
			return;
		}
		ensure(v->ndeferred < ARRAY_SIZE(v->deferred));
		v->deferred[v->ndeferred++] = *ev;
		return;
	}
	v->stepping = true;
	step_one(v, ev);
	for (unsigned i = 0; i < v->ndeferred; i++) { /* grows while it runs */
		struct core_event d = v->deferred[i];

		v->deferred_begun = i + 1;
		step_one(v, &d);
	}
	v->ndeferred = v->deferred_begun = 0;
	v->stepping = false;
}

void volume_tick(struct volume *v)
{
	volume_step(v, &(struct core_event){.type = EV_TICK});
}

/* Looks at the disk, and tells the core what it reports to the others. */
void volume_status_event(struct volume *v)
{
	struct core_event ev = {.type = EV_STATUS};
	struct tree_info info;
	struct statvfs fs;
	uint64_t free_blocks;

	if (!statvfs(v->cfg->directory, &fs)) {
		atomic_store(&v->disk_free, (uint64_t)fs.f_bavail * fs.f_frsize);
		atomic_store(&v->disk_total, (uint64_t)fs.f_blocks * fs.f_frsize);
	}
	tree_info(v->tree, &info);
	free_blocks = space_promise(v) / BLOCK_SIZE;
	ev.status.grant.data_blocks = MIN(free_blocks,
		info.size_blocks > info.used_blocks ? info.size_blocks - info.used_blocks : 0);
	ev.status.grant.ring_bytes = ring_free(v->ring);
	ev.status.grant.meta_bytes =
		2 * v->cfg->memtable - MIN(2 * v->cfg->memtable, store_memtable_bytes(v->store));
	ev.status.grant.disk_free = atomic_load(&v->disk_free);
	ev.status.grant.disk_total = atomic_load(&v->disk_total);
	v->rtt_ns = 0;
	v->peer_blocks = UINT64_MAX;
	for (unsigned i = 0; i < core_record(v->core)->nreplicas; i++) {
		struct core_peer_view view;

		if (i == core_self(v->core))
			continue;
		core_peer_view(v->core, i, &view);
		if (v->serving && view.state == CORE_PEER_CATCHING_UP &&
			!core_record(v->core)->replicas[i].in_sync)
			converge_look(&v->converge[i], clock_mono_ns(), view.acked,
				core_end(v->core).seq);
		else
			v->converge[i] = (struct converge){0};
		if (view.state != CORE_PEER_IN_SYNC || !view.connected)
			continue;
		v->rtt_ns = MAX(v->rtt_ns, view.rtt_ns);
		if (view.grants)
			free_blocks = MIN(free_blocks, view.space.promise / BLOCK_SIZE);
		else if (view.grant.disk_total)
			free_blocks = MIN(free_blocks, view.grant.data_blocks);
		if (view.level < 2 && view.grant.disk_total)
			v->peer_blocks = MIN(v->peer_blocks, view.grant.data_blocks);
	}
	atomic_store(&v->room_blocks, free_blocks);
	ev.status.applied = v->serving ? info.applied.seq : atomic_load(&v->apply.applied);
	ev.status.flushed = flushed_pos(v);
	ev.status.floor = ring_first_seq(v->ring);
	if (ring_pos_at(v->ring, ev.status.floor - 1, &ev.status.before))
		ev.status.before = (struct pos){0};
	volume_step(v, &ev);
}

/* --- from the transport --- */

static void net_up(void *ctx, unsigned peer, uint64_t conn)
{
	if (net_is_bulk(peer)) {
		pull_up(ctx, peer - NET_BULK, conn);
		return;
	}
	log_info("connected to %s",
		core_record(((struct volume *)ctx)->core)->replicas[peer].domain);
	repair_up(ctx, peer, conn);
	volume_step(ctx, &(struct core_event){.type = EV_PEER_UP, .peer = peer, .conn = conn});
}

static void net_down(void *ctx, unsigned peer, uint64_t conn, const char *reason)
{
	struct volume *v = ctx;

	if (net_is_bulk(peer)) {
		pull_down(v, peer - NET_BULK, conn, reason);
		return;
	}
	log_warn("connection to %s is gone: %s", core_record(v->core)->replicas[peer].domain,
		reason);
	rx_externals_drop(v);
	fetch_cancel(v, peer);
	repair_down(v, peer);
	volume_step(v, &(struct core_event){.type = EV_PEER_DOWN, .peer = peer, .conn = conn});
}

static struct payload *payload_of(void *bytes)
{
	struct payload *p;

	memcpy(&p, (uint8_t *)bytes - BLOCK_SIZE, sizeof(p));
	return p;
}

static void *net_payload_alloc(void *ctx, unsigned peer, const struct msg_frame *f)
{
	struct volume *v = ctx;
	struct payload *p = NULL;

	/* The ring is nearly full: a checkpoint will make room. Until then TCP holds the sender. */
	if (f->type != MSG_APPEND || ring_free(v->ring) > ring_size(v->ring) / RX_RING_SHARE)
		p = payload_new(v->rx_pool, f->payload_len + BLOCK_SIZE);
	if (!p) {
		if (!net_is_bulk(peer)) /* what it says waits here: it is not silent */
			core_heard(v->core, peer, clock_mono_ns());
		v->rx_paused = true;
		atomic_store(&v->apply.wake, true);
		return NULL;
	}
	memcpy(p->data, &p, sizeof(p)); /* the first block leads back to the buffer */
	return p->data + BLOCK_SIZE;
}

static void net_payload_free(void *ctx, void *payload)
{
	payload_unref(payload_of(payload));
}

static struct external *rx_external_take(struct volume *v, const struct entry_payload *p)
{
	for (struct external **at = &v->rx_externals; *at; at = &(*at)->next) {
		struct external *x = *at;

		if (x->addr.epoch != p->addr.epoch || x->addr.block != p->addr.block ||
			x->blocks != p->blocks || (x->crc != p->crc && !x->gone))
			continue;
		*at = x->next;
		v->rx_externals_count--;
		return x;
	}
	return NULL;
}

/* Every large payload that the batch names must have come ahead of it on this connection: the
 * acknowledgement will mean that it is durable here. */
static bool rx_externals_attach(struct volume *v, struct slot *s)
{
	struct entry e;
	size_t at = 0;

	while (batch_next_entry(s->bytes, &s->h, &at, &e)) {
		struct entry_payload p;
		struct external *x;

		if (!apply_payload(&e, &p) || !p.external)
			continue;
		x = rx_external_take(v, &p);
		if (!x)
			return false;
		x->slot = s;
		x->next = s->externals;
		s->externals = x;
		if (x->req.done)
			s->writes++;
	}
	return true;
}

/* Room for the payloads that the entries carry, before anything of the batch is taken. */
static int rx_room(struct volume *v, struct slot *s)
{
	struct entry e;
	size_t at = 0;
	int r = 0;

	while (!r && batch_next_entry(s->bytes, &s->h, &at, &e)) {
		struct entry_payload p;
		struct err err = {0};

		if (!apply_payload(&e, &p) || p.external)
			continue;
		r = segments_add_epoch(v->segments, e.h.epoch, &err);
		if (!r)
			r = space_cover(v, p.addr, p.blocks);
	}
	return space_verdict(v, r);
}

static void slot_refuse(struct volume *v, struct slot *s)
{
	while (s->externals) {
		struct external *x = s->externals;

		s->externals = x->next;
		x->slot = NULL;
		x->next = v->rx_externals;
		v->rx_externals = x;
	}
	payload_unref(s->payload);
	s->next = v->slot_free;
	v->slot_free = s;
	rx_externals_drop(v);
}

static void connection_break(struct volume *v, unsigned peer, uint64_t conn, const char *reason)
{
	net_drop(v->net, peer, reason);
	net_down(v, peer, conn, reason);
}

/* Far behind the active: these batches need not wait for each other. */
static void note_behind(struct volume *v, unsigned peer, const struct batch_header *h)
{
	uint64_t last = batch_last_seq(h);
	struct err e = {0};
	int r;

	if (v->peer_end[peer] <= last + BEHIND_MIN || last <= v->behind_to)
		return;
	r = ring_behind(v->ring, v->peer_end[peer], &e);
	if (r == -ENOSPC) {
		space_make_way(v);
		r = ring_behind(v->ring, v->peer_end[peer], &e);
	}
	if (r && r != -ENOSPC) /* without the note they wait for each other: slower, no more */
		volume_die(v, "%s", e.msg);
	v->behind_to = v->peer_end[peer];
}

/* Tells the ring which large payloads of the active are on their way to the disk. */
static void note_payloads(struct volume *v)
{
	for (struct slot *s = v->slots; s; s = s->next)
		for (struct external *x = s->local_ns ? NULL : s->externals; x; x = x->next)
			if (x->req.done) {
				ring_payloads(v->ring, s->h.first_seq - 1);
				return;
			}
	ring_payloads(v->ring, UINT64_MAX);
}

void external_in_place(struct external *x)
{
	if (!x->active_side)
		note_payloads(x->v);
	slot_written(x->slot, 0);
}

static void receive_append(
	struct volume *v, unsigned peer, uint64_t conn, const struct msg *m, struct payload *p)
{
	struct slot *s = slot_new(v);

	if (!s) { /* acknowledgements are far behind: begin again from the handshake */
		payload_unref(p);
		connection_break(v, peer, conn, "too many batches are waiting for the disk");
		return;
	}
	s->h = m->append.h;
	s->payload = p;
	s->bytes = p->data + BLOCK_SIZE;
	s->closed_ns = clock_mono_ns();
	atomic_store_explicit(&v->batch_ns, s->closed_ns, memory_order_relaxed);
	if (m->append.h.first_seq > core_end(v->core).seq) {
		const char *why = rx_room(v, s)
					  ? "the disk here has no room for the data of a batch"
				  : rx_externals_attach(v, s)
					  ? NULL
					  : "a batch names data that did not come ahead of it";

		if (why) {
			slot_refuse(v, s);
			connection_break(v, peer, conn, why);
			return;
		}
	}
	note_behind(v, peer, &s->h);
	v->current = s;
	volume_step(v, &(struct core_event){.type = EV_MSG, .peer = peer, .conn = conn, .msg = m});
	v->current = NULL;
	if (!s->appended) { /* refused, or had it already */
		slot_refuse(v, s);
		return;
	}
	*v->slots_tail = s;
	v->slots_tail = &s->next;
	if (s->externals)
		note_payloads(v);
	apply_queue(v, s);
	uring_submit(v->uring);
}

/* A large payload, ahead of its batch: straight to its address (I7: the same bytes everywhere). */
static void receive_data(
	struct volume *v, unsigned peer, uint64_t conn, const struct msg *m, struct payload *p)
{
	struct epoch epoch = {.num = m->data.epoch_num, .id = m->data.epoch_id};
	struct external *x;
	struct err e = {0};
	int r;

	if (v->serving || v->serve_pending || !epoch_equal(m->epoch, core_epoch(v->core)) ||
		v->rx_externals_count >= 4 * EXTERNALS_MAX) {
		payload_unref(p);
		return; /* its batch will be refused by the core */
	}
	r = segments_add_epoch(v->segments, epoch, &e);
	if (r && r != -ENOSPC)
		volume_die(v, "data of epoch %u: %s", epoch.num, e.msg);
	if (!r)
		r = space_cover(v,
			(struct addr){.epoch = m->data.epoch_num, .block = m->data.block},
			m->data.blocks);
	if (space_verdict(v, r)) { /* a full disk may lack the room for the epoch's directory */
		payload_unref(p);
		connection_break(v, peer, conn, "the disk here has no room for data");
		return;
	}
	x = calloc(1, sizeof(*x));
	ensure(x);
	x->addr = (struct addr){.epoch = m->data.epoch_num, .block = m->data.block};
	x->epoch = epoch;
	x->blocks = m->data.blocks;
	x->crc = m->data.crc;
	x->gone = m->data.gone;
	x->payload = p;
	x->bytes = p->data + BLOCK_SIZE;
	x->next = v->rx_externals;
	v->rx_externals = x;
	v->rx_externals_count++;
	external_write(v, x);
	uring_submit(v->uring);
}

static void note_acks(struct volume *v, uint64_t seq)
{
	uint64_t now = clock_mono_ns();

	for (struct slot *s = v->slots; s && batch_last_seq(&s->h) <= seq; s = s->next)
		if (!s->acked_ns)
			s->acked_ns = now;
}

static void net_message(void *ctx, unsigned peer, uint64_t conn, const struct msg *m, void *payload)
{
	struct volume *v = ctx;
	struct payload *p = payload ? payload_of(payload) : NULL;

	if (net_is_bulk(peer)) {
		pull_message(v, peer - NET_BULK, conn, m, p);
		return;
	}
	switch (m->type) {
	case MSG_APPEND:
		receive_append(v, peer, conn, m, p);
		return;
	case MSG_DATA:
		receive_data(v, peer, conn, m, p);
		return;
	case MSG_REPAIR_ASK:
		repair_asked(v, peer, conn, &m->repair_ask);
		return;
	case MSG_REPAIR:
		repair_answered(v, peer, conn, &m->repair, p);
		return;
	case MSG_HELLO:
		v->peer_end[peer] = m->hello.end.seq;
		break;
	case MSG_HEARTBEAT:
		v->peer_end[peer] = m->heartbeat.end;
		break;
	case MSG_ACK:
		if (v->serving)
			note_acks(v, m->ack.durable);
		break;
	default:
		break;
	}
	volume_step(v, &(struct core_event){.type = EV_MSG, .peer = peer, .conn = conn, .msg = m});
	if (m->type == MSG_SPACE)
		space_asked(v);
	payload_unref(p);
}

static void net_drained(void *ctx, unsigned peer, uint64_t conn)
{
	if (net_is_bulk(peer))
		pull_drained(ctx, peer - NET_BULK);
	else
		fetch_go_on(ctx, peer);
}

void volume_net_callbacks(struct volume *v, struct net_callbacks *ret_cb)
{
	*ret_cb = (struct net_callbacks){.ctx = v,
		.up = net_up,
		.payload_alloc = net_payload_alloc,
		.payload_free = net_payload_free,
		.message = net_message,
		.down = net_down,
		.drained = net_drained};
}
