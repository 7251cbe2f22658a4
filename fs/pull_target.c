/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target of pulling, as the commit thread sees it: when the core says that this replica must pull
 * (core_pull_from()), the bulk connection is dialled; for each connection one thread does the work
 * (pull_round.c) and this side carries its messages. When the thread has everything, and this replica
 * still is an outdated standby of the same active, the switch is marked and the process starts again.
 *
 * Failure modes: the connection breaks: the thread ends after it has made durable what it got, and the
 * next connection gets a new one; so it is when the source keeps the connection and does not answer any more
 * (round_receive()). The commit connection breaks: pulling goes on, it is no part of it.
 * The record changes so that there is nothing to pull any more: the thread is told to stop. A write
 * that fails in the thread is final (I9), everything else is tried again after a pause.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "pull_impl.h"

/* Would what is pulled from this peer still be wanted? */
static bool still_wanted(const struct volume *v, unsigned peer)
{
	const struct record *r = core_record(v->core);
	struct core_peer_view view;

	if (core_role(v->core) != CORE_STANDBY || r->replicas[core_self(v->core)].in_sync ||
		record_domain_inactive(r, v->cfg->domain) ||
		!uuid_equal(&r->active, &r->replicas[peer].uuid))
		return false;
	core_peer_view(v->core, peer, &view);
	return view.state != CORE_PEER_FOLLOWED && view.state != CORE_PEER_FORK;
}

static void queues_free(struct target *t)
{
	while (t->in) {
		struct pull_in *in = t->in;

		t->in = in->next;
		pull_in_free(in);
	}
	t->in_tail = &t->in;
	while (t->out) {
		struct pull_out *out = t->out;

		t->out = out->next;
		free(out);
	}
	t->out_tail = &t->out;
}

static void thread_start(struct volume *v)
{
	struct target *t = &v->pull->target;
	int r;

	queues_free(t);
	t->stop = t->ready = false;
	t->error = (struct err){0};
	atomic_store(&t->finished, false);
	r = pthread_create(&t->thread, NULL, pull_thread, v);
	if (r)
		log_error("no thread to pull: %s", strerror(r));
	t->running = r == 0;
}

static void thread_stop(struct target *t)
{
	pthread_mutex_lock(&t->mutex);
	t->stop = true;
	pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->mutex);
}

/* Everything is there: from the next start on it is this replica's state. */
static void switch_over(struct volume *v)
{
	struct err e = {0};

	if (pull_switch_mark(v->cfg->directory, &e))
		volume_die(v, "what was pulled cannot be taken over: %s", e.msg);
	volume_restart(v, "everything was pulled");
}

static void thread_ended(struct volume *v)
{
	struct target *t = &v->pull->target;

	pthread_join(t->thread, NULL);
	t->running = false;
	queues_free(t);
	if (segments_failed(v->segments, &t->error))
		volume_die(v, "%s", t->error.msg);
	if (t->ready && still_wanted(v, t->peer))
		switch_over(v);
	if (t->error.code == -EIO)
		volume_die(v, "pulling: %s", t->error.msg);
	if (t->error.code && t->error.code != -ECANCELED)
		log_warn("pulling is broken off: %s", t->error.msg);
	if (t->up) { /* it ended by itself: the next connection begins again */
		t->up = false;
		net_drop(v->net, NET_BULK + t->peer,
			t->error.code ? t->error.msg : "no longer wanted");
	}
}

static void send_out(struct volume *v)
{
	struct target *t = &v->pull->target;
	struct pull_out *out;

	pthread_mutex_lock(&t->mutex);
	out = t->out;
	t->out = NULL;
	t->out_tail = &t->out;
	pthread_mutex_unlock(&t->mutex);
	if (!out)
		return;
	net_cork(v->net, NET_BULK + t->peer);
	while (out) {
		struct pull_out *next = out->next;

		if (t->up)
			net_send(v->net, NET_BULK + t->peer, t->conn, &out->m, NULL, NULL);
		free(out);
		out = next;
	}
	net_uncork(v->net, NET_BULK + t->peer);
}

void target_work(struct volume *v)
{
	struct target *t = &v->pull->target;
	int from = core_pull_from(v->core);

	if (t->running) {
		send_out(v);
		if (atomic_load(&t->finished))
			thread_ended(v);
	}
	if (t->wanted && !still_wanted(v, t->peer)) {
		t->wanted = false;
		net_bulk(v->net, t->peer, false);
		log_info("there is nothing more to pull");
		thread_stop(t);
	}
	if (!t->wanted && from >= 0 && !t->running && !v->stopping) {
		t->wanted = true;
		t->peer = (unsigned)from;
		log_info("the journal of %s does not lead on from here: catching up by pulling",
			core_record(v->core)->replicas[from].domain);
		net_bulk(v->net, t->peer, true);
	}
	if (t->up && t->wanted && !t->running)
		thread_start(v);
}

static void target_message(struct target *t, const struct msg *m, struct payload *p)
{
	struct pull_in *in = malloc(sizeof(*in));

	ensure(in);
	in->m = *m;
	in->payload = p;
	in->next = NULL;
	if (p)
		atomic_fetch_add(&t->received, m->type == MSG_DATA
						       ? (uint64_t)m->data.blocks * BLOCK_SIZE
						       : m->pull_part.len);
	pthread_mutex_lock(&t->mutex);
	*t->in_tail = in;
	t->in_tail = &in->next;
	pthread_cond_signal(&t->cond);
	pthread_mutex_unlock(&t->mutex);
}

/* --- either side --- */

bool target_is(const struct volume *v, unsigned peer)
{
	return v->pull->target.wanted && v->pull->target.peer == peer;
}

void pull_up(struct volume *v, unsigned peer, uint64_t conn)
{
	struct target *t = &v->pull->target;

	if (!target_is(v, peer)) {
		source_up(&v->pull->source[peer], conn);
		return;
	}
	t->up = true;
	t->conn = conn;
	target_work(v);
}

void pull_down(struct volume *v, unsigned peer, uint64_t conn, const char *reason)
{
	struct target *t = &v->pull->target;

	if (t->up && t->peer == peer && t->conn == conn) {
		log_info("pulling is interrupted (%llu bytes received): %s",
			(unsigned long long)atomic_load(&t->received), reason);
		t->up = false;
		if (t->running)
			thread_stop(t);
	} else if (v->pull->source[peer].conn == conn) {
		source_down(&v->pull->source[peer]);
	}
}

void pull_message(
	struct volume *v, unsigned peer, uint64_t conn, const struct msg *m, struct payload *p)
{
	struct target *t = &v->pull->target;
	struct source *s = &v->pull->source[peer];

	if (m->type == MSG_REFUSED) {
		log_warn("pulling: %s says: %.400s", core_record(v->core)->replicas[peer].domain,
			m->refused.text);
	} else if (t->up && t->running && t->peer == peer && t->conn == conn) {
		target_message(t, m, p);
		return;
	} else if (s->up && s->conn == conn && !p) {
		source_message(s, m);
	}
	payload_unref(p);
}

void pull_drained(struct volume *v, unsigned peer)
{
	source_go_on(&v->pull->source[peer]);
}

void pull_work(struct volume *v)
{
	source_work(v);
	target_work(v);
}

int pull_trim(struct volume *v, uint32_t before)
{
	struct target *t = &v->pull->target;
	int r;

	if (pthread_mutex_trylock(&t->trim_lock))
		return 0;
	r = segments_trim(v->segments, before);
	pthread_mutex_unlock(&t->trim_lock);
	return r;
}

/* At the end of the process: nothing of it may run any more. */
void pull_stop(struct volume *v)
{
	struct target *t = &v->pull->target;

	if (!t->running)
		return;
	thread_stop(t);
	pthread_join(t->thread, NULL);
	t->running = false;
}

void pull_init(struct volume *v)
{
	struct target *t;
	pthread_condattr_t a;

	v->pull = calloc(1, sizeof(*v->pull));
	ensure(v->pull);
	source_init(v);
	t = &v->pull->target;
	t->in_tail = &t->in;
	t->out_tail = &t->out;
	pthread_mutex_init(&t->trim_lock, NULL);
	pthread_mutex_init(&t->mutex, NULL);
	pthread_condattr_init(&a);
	pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
	pthread_cond_init(&t->cond, &a);
	pthread_condattr_destroy(&a);
}
