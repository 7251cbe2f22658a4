/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A write's way through the active: operations become entries, entries gather in a batch, the batch
 * goes to the peers and to the ring at the same moment, and when both hold it the operations are
 * answered.
 *
 * Happy path of one operation: volume_submit() pushes it to the inbox; the commit thread takes it,
 * op_decide() makes its entry, batch_add() puts it into the open batch, apply_entry() changes the
 * tree's transaction, its payload is announced to readers. When the local flush is idle, or the batch
 * is full, the batch is closed: EV_BATCH sends it and writes it. The next one fills meanwhile (group
 * commit by double buffering, no timers). Under ack=fsync the operation is answered as soon as it is
 * staged, and everything else is the same: it is shipped and flushed at once, and what syncs is answered when
 * all before it is committed.
 *
 * A batch is durable here when its ring write and the large payloads it names are; batches become
 * durable in order, EV_DURABLE tells the core. ACT_COMMIT answers.
 *
 * Failure modes: any failed write is final (I9): the process ends and starts again. What was staged
 * and not committed was never acknowledged (under ack=fsync never synced, and what survives is a prefix).
 * A peer that is silent: staging goes on up to STAGED_BYTES_MAX (UNSYNCED_MAX), then operations wait in
 * `ready`; workers go on serving reads (I10). Under ack=fsync the process dies right after an answer: with a holder
 * the next one finds what was answered in memory (kept_staged.c); without one the mount dies with it, so whoever was
 * answered learns of it before it could sync; who opens the file anew finds a prefix. Killed when a batch is on its way
 * and its operations are not answered: the kernel asks again, and finds them done (volume_held.c), as under ack=op.
 *
 * Memory of batches: one piece, used as a circle, registered with io_uring. Slots are freed from the front, in
 * order: what is not durable here stays.
 */
#include "volume_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "log.h"

void volume_submit(struct volume *v, struct op *op)
{
	struct op *old = atomic_load_explicit(&v->inbox, memory_order_relaxed);

	op->queued_ns = op->queued_ns ? op->queued_ns : clock_mono_ns();
	do {
		op->next = old;
	} while (!atomic_compare_exchange_weak_explicit(
		&v->inbox, &old, op, memory_order_release, memory_order_relaxed));
	if (!old) /* somebody who found it non-empty relies on this wake */
		loop_wake(v->loop);
}

void volume_stage_init(struct volume *v)
{
	v->ready_tail = &v->ready;
	v->staged_tail = &v->staged;
	v->answers_tail = &v->answers;
	v->slots_tail = &v->slots;
	v->arena = volume_kept_arena(v);
	if (uring_register_buffer(v->uring, v->arena, ARENA_SIZE))
		log_debug("the batch buffers are not registered with the kernel");
	v->arena_empty = true;
	v->slot_memory = calloc(SLOTS_MAX, sizeof(struct slot));
	ensure(v->slot_memory);
	for (unsigned i = 0; i < SLOTS_MAX; i++) {
		v->slot_memory[i].next = v->slot_free;
		v->slot_free = &v->slot_memory[i];
	}
}

/* --- slots and the arena --- */

/* Room for a whole batch in one piece; wraps to the start when the rest is too short. */
static uint8_t *arena_room(struct volume *v)
{
	if (v->arena_empty) {
		v->arena_head = v->arena_tail = 0;
		return v->arena;
	}
	if (v->arena_head >= v->arena_tail) { /* used: [tail, head) */
		if (ARENA_SIZE - v->arena_head >= BATCH_SIZE_MAX)
			return v->arena + v->arena_head;
		if (v->arena_tail > BATCH_SIZE_MAX)
			return v->arena;
		return NULL;
	}
	if (v->arena_tail - v->arena_head > BATCH_SIZE_MAX) /* never exactly full: that is empty */
		return v->arena + v->arena_head;
	return NULL;
}

struct slot *slot_new(struct volume *v)
{
	struct slot *s = v->slot_free;

	if (!s)
		return NULL;
	v->slot_free = s->next;
	memset(s, 0, sizeof(*s));
	s->v = v;
	s->refs = 1;
	return s;
}

void external_free(struct external *x)
{
	payload_unref(x->payload);
	free(x);
}

/* Gives back the slots at the front that nobody needs any more. */
static void slots_free(struct volume *v)
{
	while (v->slots && !v->slots->refs && v->slots->appended) {
		struct slot *s = v->slots;

		v->slots = s->next;
		if (!v->slots)
			v->slots_tail = &v->slots;
		while (s->externals) {
			struct external *x = s->externals;

			s->externals = x->next;
			external_free(x);
		}
		payload_unref(s->payload);
		if (s->size) {
			v->arena_tail = s->start + s->size;
			if (v->arena_tail == v->arena_head && !v->batch_open)
				v->arena_empty = true;
		}
		s->next = v->slot_free;
		v->slot_free = s;
	}
}

void slot_unref(void *slot)
{
	struct slot *s = slot;

	ensure(s->refs);
	if (!--s->refs)
		slots_free(s->v);
}

/* --- durability --- */

static struct slot *slot_first_undurable(struct volume *v)
{
	for (struct slot *s = v->slots; s; s = s->next)
		if (s->appended && !s->local_ns)
			return s;
	return NULL;
}

/* Tells the core how far the batches are durable here, all of them in order. */
void volume_durable(struct volume *v)
{
	uint64_t now = clock_mono_ns(), seq = v->durable_told;
	struct slot *s = slot_first_undurable(v), *next;
	bool any = false;

	if (v->ack_withheld)
		return;
	for (; s && s->appended && !s->writes; s = next) {
		next = s->next;
		if (s->local_ns)
			continue;
		s->local_ns = now;
		seq = batch_last_seq(&s->h);
		any = true;
		slot_unref(s); /* the local write's reference; may free the slot */
	}
	if (!any)
		return;
	v->durable_told = seq;
	volume_step(v, &(struct core_event){.type = EV_DURABLE, .now_ns = now, .seq = seq});
}

void slot_written(struct slot *s, int res)
{
	if (res)
		volume_die(s->v, "a write to the journal ring or a data segment failed: %s",
			strerror(-res));
	ensure(s->writes);
	s->writes--;
}

static void external_written(struct uring_req *r)
{
	struct external *x = container_of(r, struct external, req);
	struct volume *v = x->v;

	if (r->res)
		volume_die(v, "a write to data segment block %llu of epoch %u failed: %s",
			(unsigned long long)x->addr.block, x->addr.epoch, strerror(-r->res));
	if (x->orphan) {
		external_free(x);
		return;
	}
	if (x->active_side)
		segments_inflight_remove(v->segments, x->addr, x->blocks);
	x->req.done = NULL; /* durable */
	if (x->slot) {
		external_in_place(x);
		if (!x->slot->writes)
			volume_durable(v);
	}
}

/* Begins the O_DIRECT write of a large payload to its address. */
void external_write(struct volume *v, struct external *x)
{
	int r;

	x->v = v;
	x->req.buf = x->bytes;
	x->req.len = (size_t)x->blocks * BLOCK_SIZE;
	x->req.rwf_flags = RWF_DSYNC;
	x->req.done = external_written;
	r = segments_direct(v->segments, x->addr, x->blocks, &x->req.fd, &x->req.off);
	if (r)
		volume_die(v, "data segment of block %llu in epoch %u: %s",
			(unsigned long long)x->addr.block, x->addr.epoch, strerror(-r));
	uring_write(v->uring, &x->req);
}

/* --- staging --- */

static void op_finish(struct volume *v, struct op *op, int error)
{
	op->error = error;
	if (error && error != -EEXIST && error != -ENOENT && error != -ENODATA)
		v->count_errors++;
	op->done(op);
}

static void inbox_take(struct volume *v)
{
	struct op *op = atomic_exchange_explicit(&v->inbox, NULL, memory_order_acquire);
	struct op *order = NULL;

	while (op) { /* newest first */
		struct op *next = op->next;

		op->next = order;
		order = op;
		op = next;
	}
	while (order) {
		struct op *next = order->next;

		order->next = NULL;
		if (order->error) { /* a parked write that could not be read back */
			op_finish(v, order, order->error);
		} else if (atomic_load(&v->fenced)) {
			op_finish(v, order, -EIO);
		} else {
			*v->ready_tail = order;
			v->ready_tail = &order->next;
			v->waiting++;
		}
		order = next;
	}
}

static bool batch_open(struct volume *v)
{
	struct slot *s;
	uint8_t *buf;

	if (v->batch_open)
		return true;
	buf = arena_room(v);
	s = buf ? slot_new(v) : NULL;
	if (!s)
		return false;
	s->bytes = buf;
	s->start = (size_t)(buf - v->arena);
	v->arena_empty = false;
	v->arena_head = s->start;
	batch_begin(&v->writer, buf, BATCH_SIZE_MAX, &v->desc.volume, v->epoch, core_end(v->core));
	v->open_slot = s;
	v->batch_open = true;
	return true;
}

static void ring_written(struct ring_write *w, int res)
{
	struct slot *s = container_of(w, struct slot, write);
	struct volume *v = s->v;

	slot_written(s, res);
	v->flights--;
	volume_durable(v);
}

/* ACT_APPEND: the current slot goes to the ring. */
void volume_append(struct volume *v, struct slot *s)
{
	int r;

	s->write.h = s->h;
	s->write.done = ring_written;
	s->writes++;
	s->appended = true;
	v->flights++;
	r = ring_append(v->ring, s->bytes, &s->write);
	if (r)
		volume_die(v, "journal ring at seq %llu: %s", (unsigned long long)s->h.first_seq,
			r == -ENOSPC ? "no room, although it was reserved" : strerror(-r));
	v->count_batches++;
}

static void batch_close(struct volume *v)
{
	struct slot *s = v->open_slot;
	uint64_t now = clock_mono_ns();

	s->size = batch_finish(&v->writer, core_commit(v->core), clock_real_ns());
	s->h = v->writer.h;
	s->closed_ns = now;
	atomic_store_explicit(&v->batch_ns, now, memory_order_relaxed);
	s->refs++; /* until it is committed */
	v->last_commit_written = s->h.commit;
	v->arena_head = s->start + s->size;
	v->batch_open = false;
	v->open_slot = NULL;
	v->staged_bytes += s->size;
	v->count_bytes += s->size;
	*v->slots_tail = s;
	v->slots_tail = &s->next;
	v->current = s;
	volume_step(v,
		&(struct core_event){
			.type = EV_BATCH, .now_ns = now, .batch = {.h = s->h, .bytes = s->bytes}});
	v->current = NULL;
	ensure(s->appended); /* the core writes every batch that the active closes */
	uring_submit(v->uring);
	/* Only now: what the memtable costs passes while disk and network work. No answer and no
	 * checkpoint can come before it, as they come from this thread. */
	if (tree_flush_txn(v->tree))
		volume_die(v, "the metadata store refuses writes");
	if (s->h.count)
		meta_note(&v->space.ledger, batch_last_seq(&s->h), store_written_bytes(v->store));
}

static void converge_expired(struct loop_timer *t, uint64_t now_ns)
{
	/* the loop's turn runs volume_stage_work() */
}

/* False while staging waits so that a peer that catches up gets nearer. */
static bool converge_may(struct volume *v)
{
	uint64_t now = 0, until = 0;

	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		if (!v->converge[i].rate)
			continue;
		now = now ? now : clock_mono_ns();
		until = MAX(until, converge_until(&v->converge[i], now));
	}
	if (!until)
		return true;
	v->converge_timer.expired = converge_expired;
	loop_timer_set(v->loop, &v->converge_timer, until);
	return false;
}

static void converge_staged(struct volume *v, uint64_t now)
{
	for (unsigned i = 0; i < REPLICAS_MAX; i++)
		converge_took(&v->converge[i], now);
}

/* Of batches and payloads above the commit index, the open batch among them. */
static uint64_t unsynced_bytes(const struct volume *v)
{
	return v->staged_bytes + v->staged_payloads + (v->batch_open ? v->writer.used : 0);
}

static bool can_stage(struct volume *v)
{
	if (!v->serving || v->stop_staging || v->checkpoint.state == CHECKPOINT_QUIESCE)
		return false;
	if (v->staged_bytes > STAGED_BYTES_MAX || v->staged_bytes > ring_size(v->ring) / 4)
		return false;
	if (v->cfg->ack == CONFIG_ACK_FSYNC && unsynced_bytes(v) > UNSYNCED_MAX)
		return false;
	if (v->batch_open && v->open_slot->nexternals == EXTERNALS_MAX)
		return false;
	if (ring_free(v->ring) < STAGE_RING_MIN)
		return false;
	if (store_unflushed_bytes(v->store) > 2 * v->cfg->memtable)
		return false;
	if (!converge_may(v) || !batch_open(v))
		return false;
	return v->writer.size - v->writer.used >= ENTRY_SIZE_MAX + BLOCK_SIZE;
}

/* The entry has its place in the batch: announce its payload and change the tree. */
static void stage_entry(struct volume *v, struct op *op, struct decision *d)
{
	struct entry e = {0};
	uint8_t *body;
	size_t len = 0;
	int r;

	for (unsigned i = 0; i < d->niov; i++)
		len += d->iov[i].iov_len;
	if (d->external && v->kept.h)
		kept_payload_add(&v->kept, d->addr, d->addr_blocks, op->payload->data);
	op->seq = batch_add(&v->writer, d->type, op->mount_id, op->unique, d->iov, d->niov, &body);
	e.h.type = d->type;
	e.h.body_len = (uint32_t)len;
	e.h.mount_id = op->mount_id;
	e.h.unique = op->unique;
	e.h.epoch = v->epoch;
	e.h.seq = op->seq;
	e.h.crc = batch_writer_end(&v->writer).chain;
	e.body = body;
	if (d->addr.epoch && !d->external) {
		segments_pending_add(v->segments, d->addr, d->addr_blocks, op->payload, 0, op->seq);
	} else if (d->addr.epoch) {
		struct external *x = calloc(1, sizeof(*x));

		ensure(x);
		x->addr = d->addr;
		x->epoch = v->epoch;
		x->blocks = d->addr_blocks;
		x->crc = d->payload_crc;
		x->payload = payload_ref(op->payload);
		x->bytes = op->payload->data;
		x->active_side = true;
		x->slot = v->open_slot;
		x->next = v->open_slot->externals;
		v->open_slot->externals = x;
		v->open_slot->nexternals++;
		v->open_slot->payload_bytes += (size_t)x->blocks * BLOCK_SIZE;
		v->staged_payloads += (size_t)x->blocks * BLOCK_SIZE;
		v->open_slot->writes++;
		segments_inflight_add(v->segments, x->addr, x->blocks, x->payload);
		external_write(v, x);
	}
	r = apply_entry(v->tree, &e, op);
	if (r)
		volume_die(v, "entry %llu could not be applied: %s", (unsigned long long)op->seq,
			strerror(-r));
}

static void ready_pop(struct volume *v, struct op *op)
{
	v->ready = op->next;
	if (!v->ready)
		v->ready_tail = &v->ready;
	op->next = NULL;
}

/* Answered by volume_commit(). */
static void wait_for_commit(struct volume *v, struct op *op)
{
	*v->staged_tail = op;
	v->staged_tail = &op->next;
}

/* Answered now, or by volume_commit(), as its seq says. */
static void answer_committed(struct volume *v, struct op *op, int error)
{
	ready_pop(v, op);
	op->staged_ns = clock_mono_ns();
	if (!error && core_commit(v->core) < op->seq) {
		wait_for_commit(v, op);
		return;
	}
	v->waiting--;
	op_finish(v, op, error);
}

/* Under ack=fsync an operation returns now, unless it syncs. A reap does not: it would have no bound. */
static bool answer_staged(const struct volume *v, const struct op *op)
{
	return v->cfg->ack == CONFIG_ACK_FSYNC && !op->sync && op->type != OP_REAP;
}

/* Answers what was staged in this turn, once readers see it. */
static void answer_work(struct volume *v)
{
	uint64_t now;

	if (!v->answers)
		return;
	if (tree_flush_txn(v->tree))
		volume_die(v, "the metadata store refuses writes");
	if (v->kept.h)
		atomic_store(&v->kept.h->answered, v->answered_seq); /* before anybody is told */
	now = clock_mono_ns();
	while (v->answers) {
		struct op *op = v->answers;

		v->answers = op->next;
		v->waiting--;
		latency_account(v, NULL, op, now);
		op_finish(v, op, 0);
	}
	v->answers_tail = &v->answers;
}

/* A request that was sent again, and whose operation is in the history already: answered, not executed. */
static bool stage_executed(struct volume *v, struct op *op)
{
	int r = op->resent ? volume_held_executed(v, op) : -ENOENT;

	if (r == -ENOENT)
		return false;
	answer_committed(v, op, r);
	return true;
}

/* Returns false when staging must pause; the op stays where it is then. */
static bool stage_one(struct volume *v, struct op *op)
{
	struct decide_ctx c = {.seq = batch_writer_end(&v->writer).seq + 1,
		.now_ns = clock_real_ns(),
		.epoch_num = v->epoch.num,
		.next_block = v->next_block,
		.room_blocks = atomic_load(&v->room_blocks),
		.free_blocks = v->peer_blocks,
		.limited = true};
	struct decision d = {0};
	int r;

	if (op->type == OP_SYNC) {
		op->seq = batch_writer_end(&v->writer).seq; /* everything before it is staged */
		answer_committed(v, op, 0);
		return true;
	}
	if (stage_executed(v, op))
		return true;
	c.limit_block = space_limit(v, &c.full);
	r = space_admits(v, op);
	if (!r)
		r = op_decide(v->tree, op, &c, &d);
	if (r == -ENOBUFS) /* the grants are on their way */
		return false;
	if (r == -EINPROGRESS) { /* too many dead ranges: the oldest goes first */
		v->reap_again = true;
		return false;
	}
	ready_pop(v, op);
	if (r == -EAGAIN) {
		op_send_to_helper(v, op);
		return true;
	}
	if (r) {
		v->waiting--;
		op_finish(v, op, r < 0 ? r : 0);
		return true;
	}
	op->staged_ns = clock_mono_ns();
	stage_entry(v, op, &d);
	if (v->next_block != c.next_block) {
		v->next_block = c.next_block;
		core_data_used(v->core, v->next_block, op->seq);
	}
	converge_staged(v, op->staged_ns);
	v->checkpoint.entries++;
	v->count_ops++;
	if (!answer_staged(v, op)) {
		wait_for_commit(v, op);
		return true;
	}
	v->answered_seq = op->seq;
	*v->answers_tail = op;
	v->answers_tail = &op->next;
	return true;
}

/* --- the loop's part --- */

void volume_stage_work(struct volume *v)
{
	bool may_reap;

	inbox_take(v);
	may_reap = v->serving && !v->stop_staging;
	if (may_reap)
		volume_reap(v, false);
	for (;;) {
		bool stuck = false, close;

		while (v->ready && can_stage(v) && !stuck)
			stuck = !stage_one(v, v->ready);
		/* The flush is idle: send what there is, before anybody is answered. Otherwise let the batch fill. */
		close = v->batch_open && v->writer.h.count && v->flights < v->cfg->flights;
		if (close)
			batch_close(v);
		answer_work(v);
		/* The operation in front waits for a reap: that goes ahead of it, or is under way. */
		if (!close && !(stuck && may_reap && volume_reap(v, true)))
			break;
	}
}

void volume_stage_begin(struct volume *v)
{
	v->staged_bytes = v->staged_payloads = 0;
	v->answered_seq = 0;
	v->last_commit_written = 0;
}

bool volume_drained(const struct volume *v)
{
	return !v->staged && core_commit(v->core) >= v->answered_seq &&
	       (!v->batch_open || !v->writer.h.count);
}

/* An empty batch tells ring, standby and recovery the commit index when nothing else does. */
static void empty_batch(struct loop_timer *t, uint64_t now_ns)
{
	struct volume *v = container_of(t, struct volume, empty_timer);

	if (!v->serving || core_commit(v->core) <= v->last_commit_written || v->flights)
		return;
	if (v->batch_open && v->writer.h.count)
		return;
	if (ring_free(v->ring) < 2 * BATCH_SIZE_MAX || !batch_open(v))
		return;
	batch_close(v);
	uring_submit(v->uring);
}

/* ACT_COMMIT on the active: everything up to seq is durable wherever it must be. */
void volume_commit(struct volume *v, uint64_t seq)
{
	uint64_t now = clock_mono_ns();
	struct slot *s = v->slots, *next;

	atomic_store(&ll_kept(v->ll)->h->committed, seq); /* before anybody is told */
	while (v->staged && v->staged->seq <= seq) {
		struct op *op = v->staged;

		v->staged = op->next;
		if (!v->staged)
			v->staged_tail = &v->staged;
		v->waiting--;
		while (s && (!s->h.count || batch_last_seq(&s->h) < op->seq))
			s = s->next;
		latency_account(v, s, op, now);
		op_finish(v, op, 0);
	}
	for (s = v->slots; s; s = next) {
		next = s->next;
		if (s->committed || batch_last_seq(&s->h) > seq)
			continue;
		s->committed = true;
		v->staged_bytes -= s->size;
		v->staged_payloads -= s->payload_bytes;
		slot_unref(s); /* may free the slot */
	}
	latency_add(&v->latency, LATENCY_REPLY, clock_mono_ns() - now);
	if (!v->empty_timer.slot) {
		v->empty_timer.expired = empty_batch;
		loop_timer_set(v->loop, &v->empty_timer, now + EMPTY_BATCH_NS);
	}
}

static void fail_list(struct volume *v, struct op **list, struct op ***tail, int error)
{
	while (*list) {
		struct op *op = *list;

		*list = op->next;
		op_finish(v, op, error);
	}
	*tail = list;
}

/* The mount goes away: nobody may wait for ever. What was staged may still be in the history; its
 * client is told EIO, which promises nothing. */
void volume_fail_all(struct volume *v, int error)
{
	atomic_store(&v->fenced, true);
	inbox_take(v);
	fail_list(v, &v->ready, &v->ready_tail, error);
	fail_list(v, &v->staged, &v->staged_tail, error);
	fail_list(v, &v->answers, &v->answers_tail, error);
	v->waiting = 0;
	pthread_mutex_lock(&v->park_mutex);
	while (v->parked && !v->unparking) {
		struct parked *p = v->parked;

		volume_parked_drop(v);
		pthread_mutex_unlock(&v->park_mutex);
		op_finish(v, p->op, error);
		free(p);
		pthread_mutex_lock(&v->park_mutex);
	}
	pthread_mutex_unlock(&v->park_mutex);
}
