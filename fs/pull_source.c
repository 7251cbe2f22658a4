/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The source of pulling, on the serving active. For each peer: IDLE -> (BEGIN) WAITING for the flush of
 * the next checkpoint -> COPYING: a job links RocksDB's files and sums them up -> OFFERED: questions are
 * answered in their order, a few jobs at a time, as the bulk socket takes it. A new BEGIN starts over.
 *
 * Answers are given, and the checkpoint is made, at a pace that leaves the volume to its users
 * (pull_yield.c, pull_pace.c).
 *
 * The ring is held from the checkpoint's position on: in the first rounds as long as a quarter of it is
 * free; later, if rounds are short, and when the target says that it has everything, also against
 * waiting writers, but not for longer than HOLD_NS. The hold ends when the target streams from the ring.
 *
 * Failure modes: what a question names is not here with those checksums (punched since; or damaged,
 * which is counted and logged as an error): "gone". The checkpoint cannot be made: the connection ends with a reason, the
 * target asks again. Nothing here ends the process, and nothing outlives it: recovery removes
 * `checkpoints/`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "pull_impl.h"
#include "repair_impl.h"

#define HOLD_NS (15 * NS_PER_S)
#define HOLD_RETURN_NS (15 * NS_PER_S) /* for the target to start again and come back */
#define FIRM_ROUND 3u
#define FIRM_ROUND_NS (10 * NS_PER_S) /* a round that took longer will do so again */

/* --- making a checkpoint --- */

static void asks_drop(struct source *s)
{
	while (s->head) {
		struct source_ask *a = s->head;

		s->head = a->next;
		free(a);
	}
	s->tail = &s->head;
	s->nasks = 0;
}

static void send_plain(struct source *s, const struct msg *m)
{
	net_send(s->v->net, NET_BULK + s->peer, s->conn, m, NULL, NULL);
}

static void offer(struct source *s)
{
	struct msg m = {.type = MSG_PULL_OFFER};
	struct tree_info info;

	tree_info(s->v->tree, &info);
	m.pull_offer = (struct msg_pull_offer){
		.id = s->id, .at = s->at, .used_blocks = info.used_blocks, .nfiles = s->nfiles};
	net_cork(s->v->net, NET_BULK + s->peer);
	send_plain(s, &m);
	for (unsigned i = 0; i < s->nfiles; i++) {
		struct msg f = {.type = MSG_PULL_FILE};

		f.pull_file = (struct msg_pull_file){
			.id = s->id, .index = i, .size = s->files[i].size, .crc = s->files[i].crc};
		memcpy(f.pull_file.name, s->files[i].name, sizeof(f.pull_file.name));
		send_plain(s, &f);
	}
	net_uncork(s->v->net, NET_BULK + s->peer);
}

/* Those that nobody has asked for with the offer that ends now make room. */
static void forget_holes(struct source *s)
{
	unsigned n = 0;

	for (unsigned i = 0; i < s->nholes; i++)
		if (s->holes[i].id == s->id || s->holes[i].asked == s->id)
			s->holes[n++] = s->holes[i];
	s->nholes = n;
}

static void begin(struct source *s)
{
	forget_holes(s);
	s->id = ++s->v->next_request; /* any number that is not used twice in this process */
	s->state = SOURCE_WAITING;
	s->hold = s->done = s->again = false;
	s->damaged_before = s->damaged;
	s->damaged = 0;
	s->v->checkpoint.wanted = true;
}

static void source_break(struct source *s, const char *reason)
{
	log_warn("pulling by %s is broken off: %s",
		core_record(s->v->core)->replicas[s->peer].domain, reason);
	net_drop(s->v->net, NET_BULK + s->peer, reason);
	source_down(s);
}

static void copy_done(struct job *j)
{
	struct source *s = container_of(j, struct source, copy_job);

	s->copy_busy = false;
	if (s->remove_only)
		return;
	s->litter = true;
	if (s->state != SOURCE_COPYING) /* the connection is gone */
		return;
	if (s->again) {
		begin(s);
		return;
	}
	if (s->copy_error.code == -EBADMSG) {
		damaged_note(s->v);
		damaged_tell(s->v, &s->copy_error);
		atomic_store(&s->v->space.no_compaction, true);
	}
	if (s->copy_error.code) {
		source_break(s, s->copy_error.msg);
		return;
	}
	s->state = SOURCE_OFFERED;
	s->offered_ns = clock_mono_ns();
	offer(s);
}

/* Rounds have become short: this one may be the last, if the ring is held that long. */
static bool firm_round(const struct source *s)
{
	return s->round >= FIRM_ROUND && s->took_ns < FIRM_ROUND_NS;
}

void pull_flushed(struct volume *v, struct pos at)
{
	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		struct source *s = &v->pull->source[i];

		if (s->state != SOURCE_WAITING || s->copy_busy || s->nserves)
			continue;
		s->state = SOURCE_COPYING;
		s->at = at;
		s->hold = true;
		s->hold_until_ns = clock_mono_ns() + HOLD_NS;
		s->copy_busy = true;
		s->remove_only = false;
		s->copy_hurry = firm_round(s);
		atomic_store(&s->copy_unwanted, false);
		s->copy_error = (struct err){0};
		s->nfiles = 0;
		free(s->files);
		s->files = NULL;
		atomic_fetch_add(&v->pull->copying, 1);
		s->copy_job.run = source_copy_run;
		s->copy_job.done = copy_done;
		job_submit(v, &s->copy_job);
		pull_pace_copy(v);
	}
}

bool pull_copying(const struct volume *v)
{
	return atomic_load(&v->pull->copying) != 0;
}

uint64_t pull_punch_limit(const struct volume *v)
{
	uint64_t limit = UINT64_MAX;
	struct tree_info info;

	tree_info(v->tree, &info);
	if (atomic_load(&v->room_blocks) < info.size_blocks / 16)
		return limit; /* room is dearer: the target begins another round */
	for (unsigned i = 0; i < REPLICAS_MAX; i++)
		if (v->pull->source[i].state == SOURCE_COPYING ||
			v->pull->source[i].state == SOURCE_OFFERED)
			limit = MIN(limit, v->pull->source[i].at.seq);
	return limit;
}

uint64_t pull_floor(const struct volume *v)
{
	uint64_t floor = UINT64_MAX;

	for (unsigned i = 0; i < REPLICAS_MAX; i++)
		if (v->pull->source[i].hold)
			floor = MIN(floor, v->pull->source[i].at.seq + 1);
	return floor;
}

/* --- answering --- */

static void release(void *arg)
{
	payload_unref(arg);
}

/* Nothing is at these blocks. What was given back is mapped by no checkpoint that was begun later, so who still
 * wants it then wants what was lost here, with its file or otherwise. Some of them are enough to tell. */
static void note_holes(struct source *s, struct serve *sv)
{
	for (unsigned i = 0; i < sv->nholes; i++) {
		struct pull_hole *h = s->holes, *end = h + MIN(s->nholes, PULL_HOLES_MAX);

		while (h < end && (h->addr.epoch != sv->holes[i].epoch ||
					  h->addr.block != sv->holes[i].block))
			h++;
		if (h < end)
			h->asked = sv->id;
		if (h < end && h->id < sv->id)
			sv->damaged[sv->ndamaged++] = sv->holes[i];
		else if (h == end && s->nholes < PULL_HOLES_MAX)
			s->holes[s->nholes++] =
				(struct pull_hole){.addr = sv->holes[i], .id = sv->id};
	}
	sv->nholes = 0;
}

/* They cannot be sent; the target comes back for them, or not any more once nothing maps them. */
static void note_damaged(struct source *s, struct serve *sv)
{
	unsigned fresh = 0;
	char file[4400];

	note_holes(s, sv);
	for (unsigned i = 0; i < sv->ndamaged; i++) {
		uint64_t is = 0;

		repair_note_damage(s->v, sv->damaged[i], 1, clock_mono_ns(), &is);
		fresh += is != 0;
	}
	if (sv->ndamaged && !s->damaged)
		s->damaged_at = sv->damaged[0];
	s->damaged += sv->ndamaged;
	if (!fresh)
		return;
	segments_describe(s->v->segments, sv->damaged[0], file, sizeof(file));
	log_error("%s cannot pull %u blocks at or behind epoch %u block %llu: they are damaged on "
		  "this disk (lost, unreadable, or with a wrong checksum), in %s; 'tandemfs check "
		  "--data' names the files, reading them tells the same; delete or overwrite "
		  "them, or get that file back",
		core_record(s->v->core)->replicas[s->peer].domain, fresh, sv->damaged[0].epoch,
		(unsigned long long)sv->damaged[0].block, file);
}

static void serve_done(struct job *j);

static void serve_submit(struct serve *sv)
{
	sv->ready = false;
	sv->job.run = source_answer_run;
	sv->job.done = serve_done;
	job_submit(sv->s->v, &sv->job);
}

static void answer_send(struct source *s, struct serve *sv)
{
	size_t len;

	msg_payload(&sv->answer, &len);
	s->sent += len;
	if (!len || net_send(s->v->net, NET_BULK + s->peer, s->conn, &sv->answer, release,
			    sv->payload)) {
		if (!len)
			send_plain(s, &sv->answer);
		payload_unref(sv->payload);
	}
}

/* The oldest answer, when it is there. False: nothing more now. */
static bool serve_next(struct source *s)
{
	struct serve *sv = &s->serves[s->first_serve];
	bool wanted = s->up && s->conn == sv->conn;

	if (!s->nserves || !sv->ready)
		return false;
	note_damaged(s, sv);
	sv->ndamaged = 0;
	if (wanted && sv->code == -ENOMEM) { /* the pool is full of other things: once more */
		serve_submit(sv);
		return false;
	}
	s->first_serve = (s->first_serve + 1) % PULL_SERVES;
	s->nserves--;
	free(sv->ask);
	if (wanted && !sv->code) {
		answer_send(s, sv);
		return true;
	}
	payload_unref(sv->payload);
	if (wanted)
		source_break(s, "a file of the checkpoint cannot be read");
	return true;
}

static void serve_done(struct job *j)
{
	struct serve *sv = container_of(j, struct serve, job);
	struct source *s = sv->s;

	sv->ready = true;
	while (serve_next(s))
		;
	source_go_on(s);
}

static void yield_expired(struct loop_timer *t, uint64_t now_ns)
{
	source_go_on(container_of(t, struct source, yield_timer));
}

static void serve_begin(struct source *s)
{
	struct serve *sv = &s->serves[(s->first_serve + s->nserves++) % PULL_SERVES];

	sv->ask = s->head;
	s->head = sv->ask->next;
	if (!s->head)
		s->tail = &s->head;
	s->nasks--;
	sv->conn = s->conn;
	sv->id = s->id;
	pull_yield_took(&s->v->pull->yield, clock_mono_ns(),
		sv->ask->m.type == MSG_PULL_ASK_FILE
			? sv->ask->m.pull_ask_file.len
			: (uint64_t)sv->ask->m.pull_ask_data.blocks * BLOCK_SIZE);
	serve_submit(sv);
}

void source_go_on(struct source *s)
{
	while (s->up && s->head && s->nserves < PULL_SERVES &&
		net_queued(s->v->net, NET_BULK + s->peer) <= PULL_QUEUE_MAX) {
		uint64_t until = pull_pace_until(s->v);

		if (until) {
			if (!s->yield_timer.slot)
				loop_timer_set(s->v->loop, &s->yield_timer, until);
			return;
		}
		serve_begin(s);
	}
}

/* --- what arrives --- */

static bool ask_valid(const struct source *s, const struct msg *m)
{
	const struct msg_pull_ask_file *a = &m->pull_ask_file;

	if (s->state != SOURCE_OFFERED || s->nasks >= PULL_ASKS_MAX)
		return false;
	if (m->type == MSG_PULL_ASK_DATA)
		return true;
	return a->id == s->id && a->index < s->nfiles &&
	       a->offset + a->len <= s->files[a->index].size;
}

static void on_ask(struct source *s, const struct msg *m)
{
	struct source_ask *a;

	if (!ask_valid(s, m)) {
		source_break(s, "a question that the offer does not answer");
		return;
	}
	a = malloc(sizeof(*a));
	ensure(a);
	a->m = *m;
	a->next = NULL;
	*s->tail = a;
	s->tail = &a->next;
	s->nasks++;
	source_go_on(s);
}

static void on_done(struct source *s, const struct msg *m)
{
	struct msg answer = {.type = MSG_PULL_REACHED, .pull_reached.id = m->pull_done.id};
	struct pos pos;

	if (s->state != SOURCE_OFFERED || m->pull_done.id != s->id) {
		source_break(s, "the end of another checkpoint");
		return;
	}
	s->took_ns = clock_mono_ns() - s->offered_ns;
	answer.pull_reached.reached = ring_pos_at(s->v->ring, s->at.seq, &pos) == 0 &&
				      pos_equal(pos, s->at) &&
				      s->at.seq + 1 >= ring_first_seq(s->v->ring);
	if (answer.pull_reached.reached) { /* whatever comes: it is on its way back */
		s->hold = s->done = true;
		s->hold_until_ns = clock_mono_ns() + HOLD_RETURN_NS;
	}
	log_info("%s has pulled everything up to seq %llu (%llu bytes sent)%s",
		core_record(s->v->core)->replicas[s->peer].domain, (unsigned long long)s->at.seq,
		(unsigned long long)(s->sent_before + s->sent),
		s->done ? "" : "; the journal has gone on: another round");
	send_plain(s, &answer);
}

/* Another checkpoint than the one that is being made. */
static void source_again(struct source *s)
{
	s->again = true;
	atomic_store(&s->copy_unwanted, true);
}

void source_message(struct source *s, const struct msg *m)
{
	switch (m->type) {
	case MSG_PULL_BEGIN:
		asks_drop(s);
		s->round = m->pull_begin.round;
		if (!s->v->serving)
			source_break(s, "this replica does not serve");
		else if (s->state == SOURCE_COPYING)
			source_again(s);
		else
			begin(s);
		break;
	case MSG_PULL_ASK_FILE:
	case MSG_PULL_ASK_DATA:
		on_ask(s, m);
		break;
	case MSG_PULL_DONE:
		on_done(s, m);
		break;
	case MSG_PULL_NEWS:
		s->news = m->pull_news;
		s->news_took_ns = s->news_ns ? clock_mono_ns() - s->news_ns : 0;
		s->news_ns = clock_mono_ns();
		break;
	default:
		source_break(s, "an unexpected frame");
		break;
	}
}

void source_up(struct source *s, uint64_t conn)
{
	s->up = true;
	s->conn = conn;
	s->news = (struct msg_pull_news){0};
	s->news_ns = 0;
}

void source_down(struct source *s)
{
	if (!s->up)
		return;
	if (s->sent)
		log_info("sent %llu bytes to %s", (unsigned long long)s->sent,
			core_record(s->v->core)->replicas[s->peer].domain);
	s->up = false;
	atomic_store(&s->copy_unwanted, true);
	s->sent_before += s->sent;
	s->sent = 0;
	asks_drop(s);
	s->hold = s->hold && s->done;
	s->took_ns = UINT64_MAX;
	s->state = SOURCE_IDLE;
	s->litter = true;
}

/* Ends holds that cost too much or are of no more use. */
static void check_hold(struct source *s, uint64_t now)
{
	struct volume *v = s->v;
	bool firm = s->done || firm_round(s);
	struct core_peer_view view;

	if (!s->hold)
		return;
	core_peer_view(v->core, s->peer, &view);
	if (s->done && (v->fetch[s->peer].wanted || view.state == CORE_PEER_IN_SYNC))
		s->hold = s->done = false; /* it is back */
	else if (firm ? now > s->hold_until_ns : ring_free(v->ring) < ring_size(v->ring) / 4)
		s->hold = s->done = false;
	if (!s->hold)
		checkpoint_release(v);
}

void source_work(struct volume *v)
{
	uint64_t now = clock_mono_ns();

	pull_pace_work(v);
	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		struct source *s = &v->pull->source[i];

		check_hold(s, now);
		if (s->state == SOURCE_WAITING && v->serving && !s->copy_busy && !s->nserves)
			v->checkpoint.wanted = true;
		if (s->state == SOURCE_OFFERED)
			source_go_on(s);
		if (s->litter && s->state == SOURCE_IDLE && !s->copy_busy && !s->nserves) {
			s->litter = false;
			s->copy_busy = s->remove_only = true;
			s->copy_job.run = source_copy_run;
			s->copy_job.done = copy_done;
			job_submit(v, &s->copy_job);
		}
	}
}

void source_init(struct volume *v)
{
	pull_pace_init(v);
	for (unsigned i = 0; i < REPLICAS_MAX; i++) {
		struct source *s = &v->pull->source[i];

		s->v = v;
		s->peer = i;
		s->took_ns = UINT64_MAX;
		s->tail = &s->head;
		s->yield_timer.expired = yield_expired;
		for (unsigned n = 0; n < PULL_SERVES; n++)
			s->serves[n].s = s;
	}
}
