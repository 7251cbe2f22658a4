/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the machine, shared by peer/core*.c; core.c has the failure modes.
 *
 * Style of the machine: an event changes what is known (a position, a record, an answer), then
 * evaluate() in core.c looks at the whole and does what follows from it. So nothing depends on the
 * order in which facts arrive, and a step that was put off is done at the next event. A step changes
 * the record at most once, because actions refer to it; what would change it again waits for a tick.
 */
#ifndef PEER_CORE_IMPL_H
#define PEER_CORE_IMPL_H

#include "core.h"

#define STEP_MSGS_MAX 40u
#define STEP_TEXT_SIZE 16384u
#define FORWARDS_MAX 16u

/* How a peer's history, as its last HELLO told it, lies to ours under the same record. */
enum core_relation {
	RELATION_UNKNOWN, /* no HELLO under this record yet */
	RELATION_BEHIND, /* its end is in our history, or is our end */
	RELATION_AHEAD, /* our end is in its history, which goes on */
	RELATION_DIVERGED,
};

struct core_peer {
	/* the connection */
	bool up;
	uint64_t conn;
	uint64_t heard_ns, beat_ns; /* last frame; last heartbeat sent */
	uint64_t their_sent_ns, their_sent_at_ns; /* to echo */
	uint64_t rtt_ns;
	uint64_t
		alive_ns; /* it lived then, by a beat that echoes ours: what is read late may be old */
	bool stopped; /* it said that it ends */

	/* its record: the version that it is known to hold */
	bool hello;
	bool fork;
	struct record_version version;
	struct record_version told; /* in our last HELLO to it */
	uint64_t told_before;

	/* its history */
	enum core_relation relation;
	struct pos fork_point;
	bool serving;
	struct pos end, flushed, before;
	uint64_t commit;
	uint64_t acked; /* durable there, of our history */
	uint64_t applied, flushed_seq;
	struct msg_grant grant;
	uint32_t level; /* the highest format level that its build announced; 0: not heard yet */
	struct msg_space space; /* as it last told, */
	struct epoch space_epoch; /* in this epoch */
	uint64_t space_told; /* version of ours that it was told, */
	bool space_known; /* if any, on this connection */

	/* our stream to it */
	bool out; /* its record is one without an epoch, or does not count on it */
	uint32_t epoch; /* number, in its record */
	bool beyond; /* our ring does not reach back to it, or it cannot drop what it should */
	bool lost; /* it is in the set, and lacks what it acknowledged */
	bool fetching; /* one ACT_FETCH in flight */
	bool refetch; /* its outcome is of no interest any more */
	bool live; /* everything appended was sent; the next batches go at once */
	bool joining; /* commits wait for it already, the record will say so next */
	bool offered; /* somebody may hold a record that says so */
	uint64_t live_end;
	uint64_t sent; /* last seq sent */
	uint64_t fetch_wait; /* a FETCH found nothing durable: again when durable passes this */

	/* what we asked it for, or it asked us */
	bool lending; /* it asked for our tail */
	bool asked; /* MSG_FETCH sent: APPENDs from it are welcome */
	bool following; /* it is the active, and our history is a prefix of its, or longer */
	uint64_t announced; /* the commit index that it told */
};

/* Who waits for an answer: nobody, a local operator, or one at the other side. */
struct core_origin {
	enum { ORIGIN_NONE, ORIGIN_LOCAL, ORIGIN_REMOTE } kind;
	uint64_t id; /* local: core_operator.id; remote: the nonce */
	unsigned peer;
	uint64_t conn;
};

/* A change of the record that others must accept before this replica adopts it. */
enum core_plan_kind {
	PLAN_NONE,
	PLAN_START,
	PLAN_PROMOTE,
	PLAN_DEACTIVATE,
	PLAN_DEMOTE,
	PLAN_RAISE,
	PLAN_SET
};

struct core_plan {
	enum core_plan_kind kind;
	struct core_origin origin;
	uint64_t nonce;
	unsigned waiting; /* bits of peers that have not answered yet */
	bool accepted; /* by somebody */
	unsigned restart; /* PLAN_SET: streams that begin anew when it is done (bits) */
	bool word; /* the operator's word confirms this replica */
	char done[CORE_TEXT_MAX]; /* the answer when it is done */
};

struct core_forward { /* an operator's word on its way to the active */
	bool used;
	uint64_t id, nonce, conn;
	unsigned peer;
};

/* A resync at the side that gives up: the empty replica is made first, then the other side is asked. */
struct core_resync {
	enum { RESYNC_NONE, RESYNC_BUILDING, RESYNC_ASKED } stage;
	struct core_origin origin;
	unsigned peer;
	uint64_t conn, nonce;
	char aside[256]; /* where the old state will be kept */
};

struct core {
	struct core_config cfg;
	struct record *rec, *next; /* next: the plan's, or scratch */
	struct record memory[2];
	struct replica_facts facts;
	unsigned self;
	enum core_role role;
	uint64_t now, started_ns;

	/* own history */
	struct pos end, flushed, before;
	uint64_t first_seq;
	uint64_t durable, commit;
	struct epoch last_epoch; /* of the last batch, also of an empty one */
	unsigned nspans; /* newest first */
	struct log_span spans[CORE_SPANS_MAX];
	uint64_t applied;
	struct msg_grant grant;
	struct msg_space
		space; /* of EV_SPACE; data_used and data_seq are kept by core_data_used() */
	uint64_t space_version; /* one more with each EV_SPACE */

	struct core_peer peers[REPLICAS_MAX];
	bool reached; /* another replica's record was equal or older, since the start */
	bool word; /* an operator's word confirmed this replica, since the start */
	bool epoch_mine; /* the record's epoch was agreed on for this process, nothing written yet */
	struct core_plan plan;
	struct core_origin promote; /* is answered when this replica serves */
	char promote_done[CORE_TEXT_MAX];
	bool drained;
	bool drain_asked; /* DRAINING: some of the set may have agreed to it */
	uint64_t drain_moved_ns, drain_commit; /* DRAINING: when it was nearer to its end last */
	struct core_origin demote;
	struct core_forward forwards[FORWARDS_MAX];
	struct core_resync resync;
	struct record *rivals; /* for each replica the record of its last HELLO that was a fork */
	uint64_t wake_at; /* 0: none */

	/* of the step in hand */
	struct core_actions *out;
	const struct core_event *ev;
	uint64_t chance;
	bool record_changed, again;
	const char *fence; /* set: the step ends with ACT_FENCE */
	struct msg msgs[STEP_MSGS_MAX];
	unsigned nmsgs;
	char text[STEP_TEXT_SIZE];
	size_t text_used;
};

/* --- core.c: actions and small questions --- */
struct core_action *core_act(struct core *c, enum core_action_type type);
const char *core_text(struct core *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t core_chance(struct core *c);
/* A message to fill; it is sent by this step. */
struct msg *core_send(struct core *c, unsigned peer, enum msg_type type);
/* Closes the connection and forgets what depended on it. */
void core_close(struct core *c, unsigned peer, const char *text);
void core_peer_down(struct core *c, unsigned peer);
void core_answer(struct core *c, struct core_origin *o, int code, const char *text);
/* Ends this replica's service for good: the role is FENCED, the step ends with ACT_FENCE. */
void core_fence(struct core *c, const char *text);
bool core_serving(const struct core *c);
int core_active(const struct core *c); /* index, or -1 */
bool core_is_active(const struct core *c, unsigned replica);
bool core_inactive(const struct core *c, unsigned replica);
bool core_in_sync(const struct core *c, unsigned replica);
/* Commits of this active do: it is in the set, or about to be. */
bool core_waits_for(const struct core *c, unsigned peer);
/* Connected, shook hands, and holds our record, or the one that we planned. */
bool core_same(const struct core *c, unsigned peer);
const char *core_domain(const struct core *c, unsigned replica);

static inline bool version_equal(const struct record_version *a, const struct record_version *b)
{
	return a->number == b->number && a->id == b->id;
}

#define for_each_peer(c, i)                                                                        \
	for (unsigned i = 0; i < (c)->rec->nreplicas; i++)                                         \
		if (i != (c)->self)

/* --- core_handshake.c --- */
/* What its last HELLO said of its history counts no more. */
void core_relation_forget(struct core *c, unsigned peer);
void core_send_hello(struct core *c, unsigned peer);
/* Judges from what a peer told whether it can be brought to our end. */
void core_lead(struct core *c, unsigned peer);
void core_on_hello(struct core *c, unsigned peer, const struct msg *m);
void core_on_record(struct core *c, unsigned peer, const struct msg *m);
void core_on_record_ack(struct core *c, unsigned peer, const struct msg *m);
/* Tells the connected peers that do not hold the record. `restart` (bits): those whose stream begins
 * again from a handshake; the others get the record alone. */
void core_spread(struct core *c, unsigned restart);
/* facts.met; and for good. */
void core_set_met(struct core *c, bool met);
/* It is counted on and has lost what it had (a replaced disk): counts_on_lost(), seen from here. */
bool core_blank(const struct core *c, unsigned peer);
/* Connected, and no fork or empty disk: it knows whether it is the active one. */
bool core_answers(const struct core *c, unsigned peer);
/* c->rec has become another: PERSIST_RECORD, and what is known of the peers is looked at again. */
void core_record_changed(struct core *c, const struct record *old);

/* --- core_log.c: the own history --- */
struct pos core_match(const struct core *c, const struct msg_hello *h);
void core_log_append(struct core *c, const struct batch_header *h);
void core_log_truncate(struct core *c, struct pos pos);
/* The epoch that our history has at seq; {0,0} when that is forgotten. */
struct epoch core_log_epoch(const struct core *c, uint64_t seq);

/* --- core_append.c --- */
void core_on_batch(struct core *c, const struct core_batch *b);
void core_on_append(struct core *c, unsigned peer, const struct msg *m);
void core_on_fetch(struct core *c, unsigned peer, const struct msg *m);
void core_on_fetched(struct core *c, const struct core_event *ev);
/* Begins or goes on streaming to the peers that may have our history. */
void core_stream(struct core *c);
/* The stream to this peer begins again behind what it told. */
void core_stream_reset(struct core *c, unsigned peer);

/* --- core_ack.c --- */
void core_on_durable(struct core *c, uint64_t seq);
void core_on_ack(struct core *c, unsigned peer, const struct msg *m);
void core_on_heartbeat(struct core *c, unsigned peer, const struct msg *m);
void core_on_status(struct core *c, const struct core_event *ev);
void core_send_ack(struct core *c);
void core_announced(struct core *c, unsigned peer, uint64_t commit);
void core_commit_move(struct core *c);
/* Takes peers that caught up into the in-sync set. */
void core_grow(struct core *c);
/* Says HELLO again to those that must pull and were told of a ring that still led on from them. */
void core_tell_beyond(struct core *c);
void core_heartbeats(struct core *c);

/* --- core_role.c --- */
/* Confirms, equals the logs, proposes, serves: as far as it can be done now. */
void core_roles(struct core *c);
/* Bits of the other replicas in the set. */
unsigned core_set(const struct core *c);

/* --- core_plan.c --- */
/* c->next becomes a copy of the record with the next version; the caller edits it. */
void core_plan_begin(struct core *c, bool forced);
/* Keeps of the noted proposals those that the record does not contain. */
void core_plan_remember(struct core *c);
/* Gives c->next an epoch above all that were ever proposed on top of our record. */
void core_plan_epoch(struct core *c);
/* Sends c->next to `acceptors` (bits); with none it is adopted at once. */
void core_plan_propose(struct core *c, enum core_plan_kind kind, unsigned acceptors);
/* Adopts c->next without asking anybody. */
void core_plan_adopt(struct core *c, unsigned restart);
/* Adopts the planned record when nobody is waited for any more. */
void core_plan_settle(struct core *c);
void core_plan_accepted(struct core *c, unsigned peer);
/* The peer's connection is lost, or it refused. */
void core_plan_lost(struct core *c, unsigned peer);
void core_plan_cancel(struct core *c);
/* Another record was adopted meanwhile. */
void core_plan_overtaken(struct core *c);
/* Two sides plan at once: ours stands against the peer's (r) when somebody has accepted it, or by the
 * order of the replicas. */
bool core_plan_stands(const struct core *c, unsigned peer, const struct record *r);
/* Does `replica`, asked for `r` in place of `old`, promise rather than adopt? */
bool core_plan_is_promise(const struct record *old, const struct record *r, unsigned replica);
void core_plan_promise(struct core *c, const struct record *r);
bool core_plan_is(const struct core *c, const struct record_version *v);

/* --- core_operator.c --- */
void core_on_operator(struct core *c, const struct core_operator *op, struct core_origin o);
void core_on_forward(struct core *c, unsigned peer, const struct msg *m);
void core_on_forward_reply(struct core *c, unsigned peer, const struct msg *m);
void core_forwards_lost(struct core *c, unsigned peer);
void core_on_drained(struct core *c);
/* Answers -EBUSY and returns true while another change is under way. */
bool core_busy(struct core *c, struct core_origin *o);
unsigned core_domain_bits(const struct core *c, const char *domain);
unsigned core_reached_bits(const struct core *c, unsigned bits);
void core_plan_leave(struct core *c, const char *domain);
/* Proposes that nobody be active, as soon as everything is drained and everybody reached. */
void core_demote_go_on(struct core *c);
/* When it would be taken back if nothing moved until then; UINT64_MAX: never. */
uint64_t core_demote_wake_ns(const struct core *c);

/* --- core_preview.c --- */
/* Answers with what `activate` would do, at the serving active; the domain is inactive. */
void core_preview_activate(struct core *c, const struct core_operator *op, struct core_origin *o);

/* --- core_resync.c --- */
/* At the side that would give up its state. */
void core_resync(struct core *c, const struct core_operator *op, struct core_origin *o);
/* At the side that is kept: the peer that asks may come back as an outdated replica. */
void core_resync_accept(struct core *c, const struct core_operator *op, struct core_origin *o);
void core_on_built(struct core *c, const struct core_event *ev);
/* true: it was the answer to a resync. */
bool core_resync_reply(struct core *c, unsigned peer, const struct msg_forward_reply *m);
void core_resync_lost(struct core *c, unsigned peer);

/* --- core_space.c --- */
void core_on_space(struct core *c, const struct core_event *ev);
void core_on_space_msg(struct core *c, unsigned peer, const struct msg *m);
/* Tells the connected peers what they have not heard. */
void core_tell_space(struct core *c);
/* Grants are of one epoch. What is told of the disk stays true. */
void core_space_new_epoch(struct core *c);
/* It grants all that is assigned already, or its build grants nothing. */
bool core_grants_enough(const struct core *c, unsigned peer);

/* --- core_level.c --- */
void core_raise(struct core *c, struct core_origin *o);

/* --- core_promote.c --- */
void core_promote(struct core *c, const struct core_operator *op, struct core_origin *o);

#endif
