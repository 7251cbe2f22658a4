/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The replication machine of one replica of one volume: event in, actions out. No system call, no
 * clock, no thread, no allocation after core_init(); time and chance come in with the events. The
 * protocol is primary-backup under a configuration record (PacificA) with Raft's log matching at
 * rejoin.
 *
 * The caller executes the actions of one step in their order, each one completely, before it
 * delivers the next event: persisting a record, persisting facts and truncating the log are
 * synchronous and durable when they return; sending and writing are only begun. Crashing between any
 * two actions is safe. A failed action is final (I9): the process ends and starts again from
 * recovery.
 *
 * Life of a write on the active: EV_BATCH -> SEND_BATCH to each streaming peer, then APPEND ->
 * EV_DURABLE (own ring and payloads), MSG_ACK (peers') -> COMMIT.
 * On a standby: MSG_APPEND -> APPEND -> EV_DURABLE -> SEND(ACK); the commit index arrives in batches
 * and heartbeats -> COMMIT (apply up to there).
 *
 * Life of a start: both sides send HELLO when a connection stands. Records are compared; the newer
 * one is adopted durably before anything else; only then a tail that the other side lacks may be
 * dropped. The record's active then brings both logs to the same end (it fetches a longer tail from
 * an in-sync standby, or streams its own), proposes the next epoch to all in-sync peers, writes its
 * own record, and serves. Leaving the active role always ends in a restart of the process.
 *
 * A fork ends by a person's word alone (resync, core_resync.c): the losing replica's state is kept aside
 * as a whole and the replica begins again as an empty one, which again is a restart of the process.
 *
 * core.c has the failure modes at its top.
 */
#ifndef PEER_CORE_H
#define PEER_CORE_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "entry.h"
#include "msg.h"
#include "record.h"
#include "ring.h"

#define CORE_SPANS_MAX 256u
#define CORE_ACTIONS_MAX 64u
#define CORE_TEXT_MAX 1024u

enum core_role {
	CORE_STANDBY, /* follows; also when the record has no active */
	CORE_CONFIRMING, /* the record names this replica active, nobody confirmed it yet */
	CORE_STARTING, /* confirmed: logs are being equalled, then the new epoch proposed */
	CORE_ACTIVE,
	CORE_DRAINING, /* active; staging stopped for a demotion */
	CORE_FENCED, /* ends: a restart is the only way on */
};

enum core_peer_state {
	CORE_PEER_DOWN, /* no connection */
	CORE_PEER_HELLO, /* connected; handshake not finished */
	CORE_PEER_FORK, /* two records, neither follows the other: a person decides */
	CORE_PEER_INACTIVE, /* its domain is inactive: it gets the record and nothing else */
	CORE_PEER_BEYOND, /* the ring does not reach back to it (or it was replaced): it pulls */
	CORE_PEER_CATCHING_UP, /* streaming from the ring; not in the in-sync set or not yet level */
	CORE_PEER_IN_SYNC, /* in the set and level */
	CORE_PEER_FOLLOWED, /* seen from a standby: this one is the active */
	CORE_PEER_IDLE, /* two standbys, nothing to do */
};

enum core_event_type {
	EV_TICK,
	EV_PEER_UP, /* peer, conn: a connection stands (identity proven, preface exchanged) */
	EV_PEER_DOWN, /* peer, conn */
	EV_MSG, /* peer, conn, msg (borrowed) */
	EV_BATCH, /* the active closed a batch: batch.h, batch.bytes; it is the next in the history */
	EV_DURABLE, /* seq: the own ring holds everything up to here durably, with its payloads */
	EV_FETCHED, /* peer, conn, seq: answer to FETCH: batches up to seq were sent; code: 0, -ENOENT
			 (nothing durable beyond), -ESTALE (released meanwhile, or cannot be read back: the
			 floor has moved behind it, EV_STATUS), other: an error of its payloads */
	EV_STATUS, /* applied, flushed, floor (lowest seq in the ring), grant: what ACKs report */
	EV_SPACE, /* space: what is granted here now (or, on the active, wished for) */
	EV_DRAINED, /* after STOP_STAGING: everything staged is committed and answered */
	EV_OPERATOR, /* op */
	EV_BUILT, /* after BUILD: code 0, built.text: where the old state will be kept; else why not */
	EV_STOP, /* SIGTERM, after the drain: tell the peers */
};

struct core_operator {
	uint64_t id; /* returned in ACT_ANSWER */
	enum operator_verb verb;
	uint32_t flags; /* OPERATOR_* */
	char domain[DOMAIN_LEN_MAX + 1];
};

struct core_batch {
	struct batch_header h;
	const void *bytes;
};

struct core_event {
	enum core_event_type type;
	uint64_t now_ns; /* monotonic */
	uint64_t chance; /* fresh random bits, for ids of records and epochs */
	unsigned peer; /* index into the record's replicas */
	uint64_t conn; /* the connection's number; events of an older one are ignored */
	int code;
	uint64_t seq;
	union {
		const struct msg *msg;
		struct core_batch batch;
		struct core_operator op;
		struct {
			const char *text; /* borrowed */
		} built;
		struct {
			uint64_t applied, floor;
			struct pos flushed;
			struct pos before; /* the position before `floor` */
			struct msg_grant grant;
		} status;
		struct {
			struct msg_space
				now; /* without data_used and data_seq, see core_data_used() */
			struct epoch epoch; /* that the addresses in it are of */
		} space;
	};
};

enum core_action_type {
	ACT_PERSIST_RECORD, /* core_record(), durably, now */
	ACT_PERSIST_FACTS, /* facts, durably, now */
	ACT_TRUNCATE, /* pos: drop the log after it, durably, now; what it held was never applied */
	ACT_SEND, /* peer, msg (owned by the core until the next step) */
	ACT_SEND_BATCH, /* peer: the batch of this EV_BATCH as an APPEND, its payloads ahead of it */
	ACT_APPEND, /* the batch of this event goes to the own ring */
	ACT_FETCH, /* peer, seq: read the ring from seq on, send APPENDs (payloads ahead) as the
			       connection takes them, then report EV_FETCHED */
	ACT_COMMIT, /* seq: the new commit index. Active: answer; standby: apply up to it */
	ACT_SERVE, /* epoch: apply everything to the end, mount, stage under this epoch */
	ACT_STOP_STAGING, /* stage no more; report EV_DRAINED */
	ACT_GO_ON_STAGING, /* the demotion was taken back; EV_DRAINED may have been reported */
	ACT_FENCE, /* text: fail everything on the mount, unmount, start again */
	ACT_CLOSE, /* peer, text: close this connection, dial again after the back-off */
	ACT_ANSWER, /* id, code, text: answer to an operator */
	ACT_PREVIEW, /* id, peer, seq: answer with what the own history holds after seq */
	ACT_BUILD, /* peer, seq: make an empty replica beside the own state, then report EV_BUILT */
	ACT_GIVE_UP, /* peer: durably, now: from the next start on the own state, its record included,
			is kept aside, and the replica is the empty one with core_rival() as its
			record. ACT_FENCE follows */
	ACT_WAKE, /* at_ns: send EV_TICK then (replaces an earlier one) */
	ACT_RESTART, /* text: start again from recovery, not serving */
	ACT_EXIT, /* after EV_STOP: all that can be told is told */
};

/* Answers beyond -errno: */
#define CORE_ANSWER_OK 0
#define CORE_ANSWER_ASK 1 /* text is a question; repeat with OPERATOR_YES */
#define CORE_ANSWER_SOON (-EINPROGRESS) /* not yet: the same word may be typed again in a moment */

struct core_action {
	enum core_action_type type;
	unsigned peer;
	uint64_t conn;
	uint64_t seq;
	uint64_t id;
	uint64_t at_ns;
	int code;
	struct pos pos;
	struct epoch epoch;
	struct replica_facts facts;
	const struct msg *msg;
	const char *text;
};

struct core_actions {
	unsigned count;
	struct core_action a[CORE_ACTIONS_MAX];
};

struct core_config {
	struct uuid self;
	char volume_name[VOLUME_NAME_MAX + 1]; /* for messages */
	uint64_t heartbeat_ns; /* between heartbeats; 500 ms */
	uint64_t peer_timeout_ns; /* silence after which a connection is closed; 5 s */
	/* The highest format level that is announced, as an older build would; 0: RECORD_FORMAT_LEVEL. */
	uint32_t format_level_max;
	/* This replica was active when its daemon stopped, and its mount was kept alive since then: that counts
	 * as a confirmation where nobody else is in the set. The other site may have been promoted by force
	 * while nobody served here, however long that was: this replica then goes on like an active that had
	 * never stopped, and both are a fork, which the next handshake finds. */
	bool held;
	/* The position of the batch in the own ring that ends with seq, appended or recovered: 0, or
	 * -ENOENT (as ring_pos_at(), a look into memory). May be NULL: then log matching knows only
	 * the ends of epochs, and more peers look as if they were beyond the ring. */
	int (*pos_at)(void *ctx, uint64_t seq, struct pos *ret_pos);
	void *pos_ctx;
};

struct core; /* large; opaque to the driver except through the getters below */

struct core_log { /* what recovery found */
	struct pos end, flushed,
		before; /* durable end; in RocksDB's files; before the ring's first */
	uint64_t first_seq, commit;
	unsigned nspans; /* newest first */
	struct log_span spans[CORE_SPANS_MAX];
};

/* The record, facts and log are copied. -EINVAL when self is no replica of the record. */
int core_new(const struct core_config *cfg, const struct record *record,
	const struct replica_facts *facts, const struct core_log *log, uint64_t now_ns,
	struct core **ret_core);
void core_free(struct core *c);

/* One step. `out` is overwritten. */
void core_step(struct core *c, const struct core_event *ev, struct core_actions *out);

const struct record *core_record(const struct core *c);
enum core_role core_role(const struct core *c);
const char *core_role_name(enum core_role r);
const char *core_peer_state_name(enum core_peer_state s);
unsigned core_self(const struct core *c); /* own index in the record */
struct epoch core_epoch(const struct core *c);
uint64_t core_commit(const struct core *c);
/* The connected peer said something that cannot be taken yet: it is not silent. Does nothing else. */
void core_heard(struct core *c, unsigned peer, uint64_t now_ns);
struct pos core_end(const struct core *c); /* last entry known, durable or on the way */
uint64_t core_durable(const struct core *c);

struct core_peer_view { /* for status */
	enum core_peer_state state;
	bool connected;
	uint64_t acked, applied, flushed; /* seqs */
	uint64_t last_heard_ns; /* monotonic; 0: never since the start */
	uint64_t
		last_alive_ns; /* monotonic, of this side: sent something after that; 0: not known */
	uint64_t rtt_ns; /* 0: unknown */
	struct msg_grant grant;
	uint32_t
		level; /* the format level that its build announced; 0: not heard since the start */
	/* What it grants in the present epoch, and tells of its disk: zeros as long as it told nothing. Its own
	 * wishes, if it is the active, are of that epoch, too. */
	struct msg_space space;
	bool grants; /* it has told, in the present epoch */
	uint64_t common; /* in a fork: the last seq that both histories are known to share */
	char text[CORE_TEXT_MAX]; /* why it is in this state, and what to do; may be empty */
};
void core_peer_view(const struct core *c, unsigned peer, struct core_peer_view *ret_v);
/* A resync is under way: what BUILD made is wanted. */
bool core_giving_up(const struct core *c);
/* In a fork: the record that the peer holds. Valid as long as the state is CORE_PEER_FORK. */
const struct record *core_rival(const struct core *c, unsigned peer);
/*
 * What all others grant whose durability is waited for: those in the set, and who is about to join. The
 * active assigns addresses below data_upto alone; UINT64_MAX: nobody limits it. `full`: waiting for more is
 * of no use at the moment. A replica whose build grants nothing (format level 1) does not count.
 */
struct core_granted {
	uint64_t data_upto;
	bool data_full;
};
void core_granted(const struct core *c, struct core_granted *ret_g);
/* What one of them told, or NULL: it does not count, or has told nothing in this epoch. Until the next step. */
const struct msg_space *core_limits(const struct core *c, unsigned replica);
/* The active has assigned addresses up to here in its epoch, with the entries up to seq; told before the
 * next event. Who joins the set later must grant as much first. */
void core_data_used(struct core *c, uint64_t upto, uint64_t seq);
/* The lowest seq that some peer in the record may still want from the ring (acked by all, + 1). */
uint64_t core_wanted_floor(const struct core *c);
/* The peer that this replica must pull from, because the journal does not lead from its own state to
 * the present: the serving active. -1: none, or not now. The driver does it (fs/pull_target.c): it
 * takes a checkpoint of the peer beside its own state, and starts again from there, so the machine
 * sees no more of it than a new beginning with a longer history. Never while this replica is in the
 * in-sync set. */
int core_pull_from(const struct core *c);
/* What is wrong with this replica itself, in words; "" when nothing is. */
const char *core_trouble(const struct core *c);

#endif
