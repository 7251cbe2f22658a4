/* SPDX-License-Identifier: Apache-2.0 */
/* The table of core_rig.h. A frame's or an action's line is written when it is executed. */
#include "core_rig.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say(struct rig *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(struct rig *r, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(r->text + r->used, sizeof(r->text) - r->used, fmt, ap);
	va_end(ap);
	ensure(n >= 0 && r->used + (size_t)n + 1 < sizeof(r->text));
	r->used += (size_t)n;
}

const char *rig_said(struct rig *r)
{
	r->text[r->used] = 0;
	r->used = 0;
	return r->text;
}

static char name(unsigned node)
{
	return (char)('a' + node);
}

struct rig *rig_new(unsigned n)
{
	struct rig *r = calloc(1, sizeof(*r));

	ensure(r);
	r->n = n;
	r->now = 1000000000;
	for (unsigned i = 0; i < n; i++) {
		struct record *rec = &r->node[i].record;

		rec->cluster.b[0] = 1;
		rec->volume.b[0] = 2;
		rec->format_level = 1;
		rec->version = (struct record_version){.number = 1, .id = 77};
		rec->nreplicas = n;
		for (unsigned k = 0; k < n; k++) {
			rec->replicas[k].uuid.b[0] = (uint8_t)(16 + k);
			snprintf(rec->replicas[k].domain, sizeof(rec->replicas[k].domain),
				"site-%c", name(k));
			rec->replicas[k].in_sync = true;
		}
		rec->active = rec->replicas[0].uuid;
	}
	return r;
}

void rig_free(struct rig *r)
{
	while (r->head != r->tail)
		free(r->frames[r->head++ % RIG_FRAMES].record);
	for (unsigned i = 0; i < r->n; i++)
		core_free(r->node[i].core);
	free(r);
}

static struct pos end_of(const struct rig_node *n)
{
	return n->nlog ? batch_end(&n->log[n->nlog - 1].h) : n->before;
}

static int pos_at(void *ctx, uint64_t seq, struct pos *ret_pos)
{
	struct rig_node *n = ctx;

	for (unsigned i = 0; i < n->nlog; i++) {
		if (batch_last_seq(&n->log[i].h) != seq)
			continue;
		*ret_pos = batch_end(&n->log[i].h);
		return 0;
	}
	return -ENOENT;
}

void rig_start(struct rig *r, unsigned node)
{
	struct rig_node *n = &r->node[node];
	struct core_config cfg = {.self = n->record.replicas[node].uuid,
		.volume_name = "data",
		.heartbeat_ns = 500000000,
		.peer_timeout_ns = 5000000000,
		.format_level_max = n->level ? n->level : 1,
		.pos_at = pos_at,
		.pos_ctx = n};
	static struct core_log log;

	if (n->given_up) {
		memcpy(n->aside, n->log, sizeof(n->aside));
		n->naside = n->nlog;
		n->nlog = n->ndurable = 0;
		n->flushed = n->commit = 0;
		n->before = (struct pos){0};
		record_copy(&n->record, &n->begins_with);
		n->facts = (struct replica_facts){0};
		n->given_up = false;
	}
	memset(&log, 0, sizeof(log));
	log.end = end_of(n);
	log.before = n->before;
	log.first_seq = n->before.seq + 1;
	if (!n->flushed || pos_at(n, n->flushed, &log.flushed))
		log.flushed = n->before;
	for (unsigned i = n->nlog; i-- > 0;) {
		const struct batch_header *h = &n->log[i].h;

		log.commit = log.commit > h->commit ? log.commit : h->commit;
		if (!h->count ||
			(log.nspans && epoch_equal(log.spans[log.nspans - 1].epoch, h->epoch)))
			continue;
		log.spans[log.nspans].epoch = h->epoch;
		log.spans[log.nspans++].end = batch_end(h);
	}
	core_free(n->core);
	n->building = false;
	ensure(!core_new(&cfg, &n->record, &n->facts, &log, r->now, &n->core));
	n->up = true;
	n->serving = false;
	n->commit = core_commit(n->core);
	say(r, "%c: starts %s\n", name(node), core_role_name(core_role(n->core)));
	rig_step(r, node, &(struct core_event){.type = EV_TICK});
	rig_run(r);
}

void rig_crash(struct rig *r, unsigned node, bool lose)
{
	struct rig_node *n = &r->node[node];

	if (lose)
		n->nlog = n->ndurable;
	n->ndurable = n->nlog;
	n->up = n->serving = false;
	for (unsigned i = 0; i < r->n; i++)
		if (i != node && r->conn[node][i])
			rig_cut(r, node, i);
}

/* --- actions --- */

static void say_record(struct rig *r, unsigned node)
{
	const struct record *rec = &r->node[node].record;
	int active = record_find(rec, &rec->active);
	char set[REPLICAS_MAX + 1] = "", out[REPLICAS_MAX + 1] = "";
	unsigned s = 0, o = 0;

	for (unsigned i = 0; i < rec->nreplicas; i++) {
		if (rec->replicas[i].in_sync)
			set[s++] = name(i);
		if (record_domain_inactive(rec, rec->replicas[i].domain))
			out[o++] = name(i);
	}
	say(r, "%c: record %llu%s, epoch %u, active %c, set %s%s%s\n", name(node),
		(unsigned long long)rec->version.number, rec->version.forced ? " forced" : "",
		rec->epoch.num, active < 0 ? '-' : name((unsigned)active), set,
		o ? ", inactive " : "", out);
}

static void send_frame(
	struct rig *r, unsigned from, unsigned to, uint64_t conn, const struct msg *m)
{
	struct rig_frame *f = &r->frames[r->tail % RIG_FRAMES];
	const struct record *rec = m->type == MSG_HELLO	   ? m->hello.record
				   : m->type == MSG_RECORD ? m->record.record
							   : NULL;

	if (!conn || r->conn[from][to] != conn)
		return;
	ensure(r->tail - r->head < RIG_FRAMES);
	r->tail++;
	*f = (struct rig_frame){.from = from, .to = to, .conn = conn, .m = *m};
	if (!rec)
		return;
	f->record = malloc(sizeof(*rec));
	ensure(f->record);
	record_copy(f->record, rec);
	if (m->type == MSG_HELLO)
		f->m.hello.record = f->record;
	else
		f->m.record.record = f->record;
}

static void say_send(struct rig *r, unsigned from, const struct core_action *a)
{
	const struct msg *m = a->msg;

	if (m->type == MSG_HEARTBEAT)
		return;
	say(r, "%c>%c %s", name(from), name(a->peer), msg_type_name(m->type));
	if (m->type == MSG_HELLO)
		say(r, " %llu", (unsigned long long)m->hello.end.seq);
	if (m->type == MSG_ACK)
		say(r, " %llu", (unsigned long long)m->ack.durable);
	if (m->type == MSG_FETCH)
		say(r, " after %llu", (unsigned long long)m->fetch.after.seq);
	if (m->type == MSG_RECORD_ACK && !m->record_ack.accepted)
		say(r, " no");
	say(r, "\n");
}

static void append(struct rig *r, unsigned node)
{
	struct rig_node *n = &r->node[node];

	ensure(n->nlog < RIG_BATCHES);
	say(r, "%c: append %llu+%u\n", name(node), (unsigned long long)n->current.first_seq,
		n->current.count);
	n->log[n->nlog++].h = n->current;
}

static void send_batch(
	struct rig *r, unsigned from, unsigned to, uint64_t conn, const struct batch_header *h)
{
	struct msg m = {.type = MSG_APPEND, .epoch = core_epoch(r->node[from].core)};

	m.append.h = *h;
	say(r, "%c>%c batch %llu+%u\n", name(from), name(to), (unsigned long long)h->first_seq,
		h->count);
	send_frame(r, from, to, conn, &m);
}

/* Reads the ring for a peer, all at once, and reports it as an event that waits its turn. */
static void fetch(struct rig *r, unsigned node, const struct core_action *a)
{
	struct rig_node *n = &r->node[node];
	struct msg m = {.type = MSG_TYPE_MAX}; /* EV_FETCHED travels with the frames */
	uint64_t last = a->seq - 1;
	int code = a->seq <= MAX(n->before.seq, n->unread) ? -ESTALE : 0;

	say(r, "%c: reads from %llu for %c\n", name(node), (unsigned long long)a->seq,
		name(a->peer));
	for (unsigned i = 0; !code && i < n->nlog; i++) {
		if (!n->log[i].h.count || n->log[i].h.first_seq < a->seq)
			continue;
		send_batch(r, node, a->peer, a->conn, &n->log[i].h);
		last = batch_last_seq(&n->log[i].h);
	}
	m.forward_reply.code = code;
	m.forward_reply.nonce = last;
	ensure(r->tail - r->head < RIG_FRAMES);
	r->frames[r->tail++ % RIG_FRAMES] =
		(struct rig_frame){.from = a->peer, .to = node, .conn = a->conn, .m = m};
}

static void act_resync(struct rig *r, unsigned node, const struct core_action *a)
{
	struct rig_node *n = &r->node[node];

	switch (a->type) {
	case ACT_PREVIEW:
		say(r, "%c: preview after %llu for %c\n", name(node), (unsigned long long)a->seq,
			name(a->peer));
		n->code = CORE_ANSWER_OK;
		break;
	case ACT_BUILD:
		say(r, "%c: builds, common %llu\n", name(node), (unsigned long long)a->seq);
		n->building = true;
		break;
	case ACT_GIVE_UP:
		say(r, "%c: gives up for %c\n", name(node), name(a->peer));
		n->given_up = true;
		record_copy(&n->begins_with, core_rival(n->core, a->peer));
		break;
	default:
		break;
	}
}

static void act(struct rig *r, unsigned node, const struct core_action *a)
{
	struct rig_node *n = &r->node[node];

	switch (a->type) {
	case ACT_PERSIST_RECORD:
		record_copy(&n->record, core_record(n->core));
		say_record(r, node);
		break;
	case ACT_PERSIST_FACTS:
		n->facts = a->facts;
		break;
	case ACT_TRUNCATE:
		say(r, "%c: drops after %llu\n", name(node), (unsigned long long)a->pos.seq);
		while (n->nlog && batch_last_seq(&n->log[n->nlog - 1].h) > a->pos.seq)
			n->nlog--;
		n->ndurable = n->ndurable < n->nlog ? n->ndurable : n->nlog;
		break;
	case ACT_SEND:
		say_send(r, node, a);
		send_frame(r, node, a->peer, a->conn, a->msg);
		break;
	case ACT_SEND_BATCH:
		send_batch(r, node, a->peer, a->conn, &n->current);
		break;
	case ACT_APPEND:
		append(r, node);
		break;
	case ACT_FETCH:
		fetch(r, node, a);
		break;
	case ACT_COMMIT:
		say(r, "%c: commit %llu\n", name(node), (unsigned long long)a->seq);
		n->commit = a->seq;
		break;
	case ACT_SERVE:
		say(r, "%c: serve %u\n", name(node), a->epoch.num);
		n->serving = true;
		break;
	case ACT_STOP_STAGING:
		say(r, "%c: stop staging\n", name(node));
		break;
	case ACT_GO_ON_STAGING:
		say(r, "%c: go on staging\n", name(node));
		break;
	case ACT_FENCE:
		say(r, "%c: fence\n", name(node));
		snprintf(n->fence, sizeof(n->fence), "%s", a->text);
		n->serving = false;
		break;
	case ACT_CLOSE:
		say(r, "%c: close %c\n", name(node), name(a->peer));
		if (r->conn[node][a->peer] == a->conn)
			rig_cut(r, node, a->peer);
		break;
	case ACT_ANSWER:
		say(r, "%c: answer %d\n", name(node), a->code);
		n->code = a->code;
		snprintf(n->answer, sizeof(n->answer), "%s", a->text);
		break;
	case ACT_PREVIEW:
	case ACT_BUILD:
	case ACT_GIVE_UP:
		act_resync(r, node, a);
		break;
	case ACT_EXIT:
		say(r, "%c: exit\n", name(node));
		break;
	case ACT_RESTART:
	case ACT_WAKE:
		break;
	}
}

void rig_step(struct rig *r, unsigned node, struct core_event *ev)
{
	struct core_actions out;

	if (!r->node[node].up)
		return;
	ev->now_ns = r->now;
	ev->chance = ++r->chance * 0x9e3779b97f4a7c15ull;
	core_step(r->node[node].core, ev, &out);
	for (unsigned i = 0; i < out.count; i++)
		act(r, node, &out.a[i]);
}

static bool make_durable(struct rig *r, unsigned node)
{
	struct rig_node *n = &r->node[node];

	if (!n->up || n->ndurable == n->nlog)
		return false;
	n->ndurable = n->nlog;
	rig_step(r, node, &(struct core_event){.type = EV_DURABLE, .seq = end_of(n).seq});
	return true;
}

void rig_durable(struct rig *r, unsigned node)
{
	make_durable(r, node);
	rig_run(r);
}

/* Its ring begins behind what cannot be read: the machine is told before it hears of the reading. */
static void tell_floor(struct rig *r, unsigned node)
{
	struct rig_node *n = &r->node[node];
	struct core_event ev = {.type = EV_STATUS};

	ev.status.floor = n->unread + 1;
	if (!pos_at(n, n->unread, &ev.status.before))
		rig_step(r, node, &ev);
}

static void deliver(struct rig *r)
{
	struct rig_frame *f = &r->frames[r->head++ % RIG_FRAMES], copy = *f;
	struct core_event ev = {
		.type = EV_MSG, .peer = copy.from, .conn = copy.conn, .msg = &copy.m};

	if (copy.m.type == MSG_TYPE_MAX) {
		ev.type = EV_FETCHED;
		ev.code = copy.m.forward_reply.code;
		ev.seq = copy.m.forward_reply.nonce;
		if (ev.code == -ESTALE && r->node[copy.to].unread)
			tell_floor(r, copy.to);
	}
	if (copy.m.type == MSG_APPEND)
		r->node[copy.to].current = copy.m.append.h;
	if (r->conn[copy.to][copy.from] == copy.conn)
		rig_step(r, copy.to, &ev);
	free(copy.record);
}

static bool built(struct rig *r, unsigned node)
{
	struct rig_node *n = &r->node[node];
	struct core_event ev = {.type = EV_BUILT, .code = n->built, .built.text = "aside"};

	if (!n->building)
		return false;
	n->building = false;
	rig_step(r, node, &ev);
	return true;
}

/* Frames first, then disks, then builders, until nothing moves. */
void rig_run(struct rig *r)
{
	for (bool moved = true; moved;) {
		moved = false;
		while (r->head != r->tail) {
			deliver(r);
			moved = true;
		}
		for (unsigned i = 0; i < r->n; i++)
			if (!r->node[i].slow && make_durable(r, i))
				moved = true;
		for (unsigned i = 0; i < r->n && !moved; i++)
			moved = built(r, i);
	}
}

void rig_connect(struct rig *r, unsigned a, unsigned b)
{
	uint64_t conn = ++r->conns;

	r->conn[a][b] = r->conn[b][a] = conn;
	rig_step(r, a, &(struct core_event){.type = EV_PEER_UP, .peer = b, .conn = conn});
	rig_step(r, b, &(struct core_event){.type = EV_PEER_UP, .peer = a, .conn = conn});
	rig_run(r);
}

void rig_cut(struct rig *r, unsigned a, unsigned b)
{
	uint64_t conn = r->conn[a][b];

	r->conn[a][b] = r->conn[b][a] = 0;
	rig_step(r, a, &(struct core_event){.type = EV_PEER_DOWN, .peer = b, .conn = conn});
	rig_step(r, b, &(struct core_event){.type = EV_PEER_DOWN, .peer = a, .conn = conn});
}

void rig_write(struct rig *r, unsigned node, unsigned count)
{
	struct rig_node *n = &r->node[node];
	struct pos end = end_of(n);
	struct core_event ev = {.type = EV_BATCH};

	ev.batch.h = (struct batch_header){.length = BATCH_HEADER_SIZE + count * ENTRY_HEADER_SIZE,
		.count = count,
		.volume = n->record.volume,
		.epoch = core_epoch(n->core),
		.first_seq = end.seq + 1,
		.commit = core_commit(n->core),
		.chain_before = end.chain,
		.chain_after = count ? (uint32_t)(++r->chance * 2654435761u) : end.chain};
	n->current = ev.batch.h;
	rig_step(r, node, &ev);
	rig_run(r);
}

void rig_pass(struct rig *r, uint64_t ms)
{
	for (uint64_t t = 0; t < ms; t += 100) {
		r->now += 100000000;
		for (unsigned i = 0; i < r->n; i++)
			rig_step(r, i, &(struct core_event){.type = EV_TICK});
		rig_run(r);
	}
}

int rig_type(
	struct rig *r, unsigned node, enum operator_verb verb, uint32_t flags, const char *domain)
{
	struct core_event ev = {
		.type = EV_OPERATOR, .op = {.id = ++r->chance, .verb = verb, .flags = flags}};

	if (domain)
		snprintf(ev.op.domain, sizeof(ev.op.domain), "%s", domain);
	r->node[node].code = 12345;
	r->node[node].answer[0] = 0;
	rig_step(r, node, &ev);
	rig_run(r);
	return r->node[node].code;
}

void rig_drained(struct rig *r, unsigned node)
{
	rig_step(r, node, &(struct core_event){.type = EV_DRAINED});
	rig_run(r);
}

void rig_inject(struct rig *r, unsigned from, unsigned to, const struct msg *m)
{
	send_frame(r, from, to, r->conn[from][to], m);
	rig_run(r);
}

enum core_peer_state rig_state(struct rig *r, unsigned node, unsigned peer)
{
	struct core_peer_view v;

	core_peer_view(r->node[node].core, peer, &v);
	return v.state;
}

struct rig *rig_pair(void)
{
	struct rig *r = rig_new(2);

	rig_start(r, A);
	rig_start(r, B);
	rig_connect(r, A, B);
	ensure(r->node[A].serving);
	rig_said(r);
	return r;
}

struct rig *rig_three(void)
{
	struct rig *r = rig_new(3);

	for (unsigned i = 0; i < 3; i++)
		rig_start(r, i);
	rig_connect(r, A, B);
	rig_connect(r, A, C);
	rig_connect(r, B, C);
	ensure(r->node[A].serving);
	rig_said(r);
	return r;
}
