/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator: two or three replication machines in one process, over a clock, disks and a network
 * that are simulated from a seed, with crashes between any two actions, lost and reordered disk
 * writes, cut links, slow disks, clients, and operators who may type anything. After each step
 * check.c looks at invariants I1 to I6, and I8 as far as data is concerned.
 *
 *   main.c    arguments, --selftest
 *   world.c   one world: its parameters, its events in time, faults, the calm at the end
 *   node.c    one replica: executes the core's actions as the daemon does; crash and recovery
 *   disk.c    its disk: ring, record, facts, what the store has flushed
 *   pull.c    how it comes by another one's state where the ring does not reach
 *   wire.c    connections, frames in flight, cuts
 *   check.c   the invariants, from outside: what every disk holds, what was acknowledged
 *   branch.c  what each side of a fork has promised
 *   people.c  clients and operators
 *   space.c   room: what each disk allocates ahead and grants, and builds that know nothing of it
 *
 * Everything comes from one generator: a seed replays exactly. One thread.
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core.h"

#define US 1000ull
#define MS 1000000ull
#define SEC 1000000000ull
#define TYPED (~0u) /* struct world.activate_typed: nobody has taken it up yet */

enum sim_break {
	BREAK_NONE,
	BREAK_ACK_EARLY, /* a standby reports durable what is not */
	BREAK_COMMIT_ALONE, /* the active acknowledges when it alone is durable */
	BREAK_NO_FENCE, /* a fenced active goes on acknowledging */
	BREAK_FLUSH_STAGED, /* a checkpoint flushes what is not committed */
	BREAK_LOSE_TAIL, /* recovery loses batches that were durable */
	BREAK_PROMOTE_OUTDATED, /* --accept-data-loss is not marked in the record */
	BREAK_CUT_DEEPER, /* truncation drops more than it was told to */
	BREAK_OTHER_BYTES, /* a standby writes something else than it received */
	BREAK_REJOIN_UNASKED, /* an inactive replica takes batches */
	BREAK_FORGET_RECORD, /* a record is not durable when it should be */
	BREAK_ADOPT_FORK, /* a fork's loser takes the other record and keeps its own state in place */
	BREAK_GRANT_MORE, /* a replica grants more room than it has */
	BREAK_STAGE_BEYOND, /* the active does not look at grants */
	BREAK_TRUST_SUSPECT, /* a replica does not count the starts that ended with an I/O error */
	BREAK_TRUST_EMPTY, /* a replica on another disk takes the record that counts on it */
	BREAK_EMPTY_FORKS, /* a replica on another disk takes a forced step, or a long past, for a fork */
	BREAK_ERROR_GOES_ON, /* a write fails, and the daemon goes on as if it had not */
	BREAK_HIDE_UNREAD, /* the machine is not told from where on its ring can be read */
	BREAK_ACK_HALF, /* what is in the ring counts, wherever its large payload is */
	BREAK_SWITCH_UNWANTED, /* what was pulled becomes the state although it is not wanted any more */
	BREAK_DEAF, /* a connection never comes back: nothing moves any more */
	BREAK_COUNT,
};

struct sim_options {
	uint64_t seed, steps;
	unsigned replicas;
	bool trace;
	enum sim_break brk;
	bool in_fork; /* everybody may type anything, and the defect is there only while there is a fork */
	uint32_t level; /* the format level of all builds; 0: drawn for each world */
	bool sound_disks; /* none fails */
};

/* A batch: header and, for each entry, the chain after it. Shared by disks and frames. */
struct sim_batch {
	unsigned refs;
	struct batch_header h;
	uint32_t chain[];
};

enum write_state { WRITE_HELD, WRITE_FLYING, WRITE_DURABLE };

struct disk_batch {
	struct sim_batch *b;
	enum write_state state; /* of the ring's write */
	bool payload; /* a large one of it is on its way */
	uint64_t id;
};

struct disk { /* what survives a crash, and what is on its way there */
	struct record record;
	struct replica_facts facts;
	struct disk_batch *log; /* oldest first */
	size_t nlog, cap;
	size_t ndone; /* so many from the front are durable */
	struct pos before, end; /* of the log, written or not */
	uint64_t first_seq;
	struct epoch before_epoch; /* of the entry at `before` */
	struct pos flushed;
	uint32_t *chain; /* [seq], of the whole history up to end */
	size_t chain_cap;
	/* Data segments: allocated up to here in this epoch, and what could still be allocated. */
	struct epoch space_epoch;
	uint64_t space_upto, space_room;
};

struct pull { /* what is beside the own state; a crash leaves it as it is */
	bool under_way, marked; /* marked: from the next start on it is the own state */
	unsigned from, steps; /* left of the round */
	struct pos pos; /* the source's checkpoint, */
	struct epoch epoch; /* the epoch of the entry there, */
	uint32_t *chain; /* and the history up to it */
	size_t cap;
};

struct fetch_job {
	bool busy, any;
	uint64_t conn, next;
};

struct node {
	unsigned index;
	struct uuid uuid;
	struct disk disk;
	bool up;
	uint64_t life; /* events of an earlier life are ignored */
	struct core *core;
	bool serving, stop_staging, drained;
	uint64_t served_from; /* the end of its history when it began to serve */
	struct epoch epoch;
	uint64_t durable_told, commit, applied, stale_durable;
	unsigned flights; /* of own batches, while serving */
	unsigned open; /* operations in the open batch */
	uint64_t wake_at, last_commit_written;
	struct sim_batch *current; /* of the event in hand */
	struct fetch_job fetch[REPLICAS_MAX];
	uint64_t slow_until;
	unsigned failing; /* so many of the next writes fail */
	bool risk_accepted; /* somebody typed --accept-data-loss here, in this life */
	uint64_t unread; /* in this life: the ring cannot be read up to this seq */
	unsigned errors; /* of those that ended it in a row, whatever it remembers */
	uint64_t started;
	struct pull pull;
	bool given_up; /* from the next start on it is an empty replica with this record */
	struct record begins_with;
	uint64_t acked; /* the highest seq that it acknowledged itself, in the state that it has */
	uint32_t acked_chain;
	uint64_t
		lost; /* the highest that was durable on a disk of it that was replaced, or that it gave up */
	uint64_t replaced; /* then; until it takes a newer record by which it is in sync again */
	uint64_t replaced_version;
	bool resync_typed; /* in this life */
	uint64_t gave_up_at;
	bool zombie; /* BREAK_NO_FENCE */
	uint32_t level; /* of its build */
	uint64_t data_used; /* addresses assigned in the epoch that it serves */
	uint64_t asked_id[16], asked_at[16]; /* operators that wait */
	unsigned asked_activate[16]; /* for this domain + 1 to come back; 0: for something else */
	unsigned nasked;
};

struct link_side {
	bool up; /* as the daemon there sees it */
	uint64_t last; /* delivery time of the newest frame towards this side */
	struct frame *stalled, **stalled_tail; /* towards this side, held up by a cut */
};

struct link { /* between a < b */
	uint64_t conn;
	struct link_side side[2];
	bool cut[2]; /* frames towards this side do not pass */
	bool dialling;
};

struct frame {
	uint64_t conn;
	unsigned from, to;
	bool fin;
	struct msg m;
	struct record *record;
	struct sim_batch *batch;
	struct frame *next;
};

enum people {
	PEOPLE_NONE,
	PEOPLE_ONE_WORD,
	PEOPLE_STRICT,
	PEOPLE_SANE,
	PEOPLE_ANY,
	PEOPLE_COUNT,
};

enum sim_event_type {
	SIM_FRAME,
	SIM_WRITTEN,
	SIM_WAKE,
	SIM_FETCH,
	SIM_BUILT,
	SIM_CLOSE_BATCH,
	SIM_CLIENT,
	SIM_DIAL,
	SIM_FAULT,
	SIM_OPERATOR,
	SIM_START,
	SIM_STATUS,
	SIM_SPACE,
	SIM_PHASE,
};

struct sim_event {
	uint64_t at, order;
	enum sim_event_type type;
	unsigned node, peer;
	uint64_t life, id;
	bool payload; /* SIM_WRITTEN: not the ring's write, but that of a large payload */
	struct frame *frame;
};

/* Of numbers, by numbers that are not 0; branch.c. */
struct table {
	struct table_slot {
		uint64_t key, value;
	} * slots;
	size_t n, cap;
};

struct world {
	struct record birth; /* what each replica is formatted with */
	struct record kept; /* scratch; BREAK_TRUST_EMPTY */
	struct sim_options opt;
	uint64_t random, now, step, order, ids;
	uint64_t
		random_level; /* a stream of its own: worlds of level 1 replay as they did before there was another */
	uint64_t random_disks; /* another: which disks fail, and when */
	uint64_t random_reads; /* another: which batches of a ring cannot be read back */
	uint64_t errors, replaced, unread;
	uint64_t worlds, forks, commits, starts, pulls, resyncs, raises,
		waits; /* counters over all worlds */
	struct sim_event *heap;
	size_t nheap, heap_cap;

	unsigned n;
	struct node node[REPLICAS_MAX];
	struct link link[REPLICAS_MAX][REPLICAS_MAX]; /* [a][b] with a < b */
	/* parameters of this world */
	enum people people;
	unsigned words; /* left for PEOPLE_ONE_WORD */
	bool word_blind; /* the last one was typed where the newest record was not */
	bool word_lost; /* a replica crashed before it had answered one, and may have sent it on */
	bool calm, small_ring, faults;
	bool blind; /* no core_config.pos_at */
	unsigned bad_reads; /* one batch in so many cannot be read back; 0: all can */
	bool grants; /* some build grants room */
	unsigned crash_at_record; /* one in so many */
	uint64_t delay_max; /* of a frame */
	uint64_t fault_every, op_every, word_every, chaos_end, calm_since;

	/* the truth, as far as nothing forked */
	bool forked;
	uint64_t forked_at;
	bool mend; /* in the calm somebody ends the fork by resync */
	uint32_t *truth; /* [seq]: chain of what is committed */
	size_t truth_cap;
	uint64_t committed, acked;
	struct epoch truth_epoch;
	uint64_t truth_base; /* end of the history when that epoch began */
	struct epoch *served; /* every epoch that was ever served */
	size_t nserved, served_cap;
	uint64_t *seen; /* ids of all versions that were ever written */
	size_t nseen, seen_cap;
	/* Somebody typed that the domain come back, and a record whose active is this replica (a bit) has not
	 * changed it since. */
	unsigned activate_typed[REPLICAS_MAX + 1];
	struct table settled, promised; /* branch.c: also where it forked */

	char violation[512]; /* empty: none */
};

#define trace(w, ...)                                                                              \
	do {                                                                                       \
		if ((w)->opt.trace)                                                                \
			sim_trace(w, __VA_ARGS__);                                                 \
	} while (0)
void sim_trace(const struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline bool is_broken(const struct world *w, enum sim_break brk)
{
	return w->opt.brk == brk && (!w->opt.in_fork || w->forked);
}

/* world.c */
uint64_t sim_random(struct world *w);
uint64_t sim_below(struct world *w, uint64_t n); /* 0 .. n-1 */
uint64_t sim_below_disks(struct world *w, uint64_t n); /* the same from the disks' own stream */
uint64_t sim_below_reads(struct world *w, uint64_t n);
bool sim_chance(struct world *w, unsigned one_in);
void sim_at(struct world *w, uint64_t at, struct sim_event e);
struct link *sim_link(struct world *w, unsigned a, unsigned b);
/* Runs until the steps are done or an invariant is broken. */
bool sim_run(struct world *w);

/* node.c */
void node_start(struct world *w, struct node *n);
void node_crash(struct world *w, struct node *n, bool power);
void node_step(struct world *w, struct node *n, struct core_event *ev);
void node_written(struct world *w, struct node *n, uint64_t id, bool payload);
/* The daemon ends by itself, in order, and starts again. */
void node_restart(struct world *w, struct node *n);
/* Does its disk refuse this write? Then its daemon is dead when it returns (I9). */
bool node_disk_fails(struct world *w, struct node *n);
/* Somebody has put in a good disk, in the calm: nothing is suspect any more. */
void node_disk_good(struct world *w, struct node *n);
void node_fetch(struct world *w, struct node *n, unsigned peer);
void node_close_batch(struct world *w, struct node *n);
void node_status(struct world *w, struct node *n);
void node_drain(struct world *w, struct node *n);
void node_peer_gone(struct node *n, unsigned peer);

/* space.c */
/* The builds of a world, and what fits on their disks. */
void space_begin(struct world *w);
/* Allocates, tells; now and then room comes back, and somebody raises the format level. */
void space_tick(struct world *w, struct node *n);
/* How many operations the active may stage now, of so many that it would like to. */
unsigned space_admit(struct world *w, struct node *n, unsigned want);

/* pull.c */
void pull_step(struct world *w, struct node *n); /* now and then; the node may be down afterwards */
void pull_start(struct world *w, struct node *n); /* before anything else of a start */

/* disk.c */
void disk_init(struct disk *d, const struct record *r);
void disk_free(struct disk *d);
struct sim_batch *batch_new(struct world *w, const struct uuid *volume, struct epoch epoch,
	struct pos before, unsigned count, uint64_t commit);
void batch_ref(struct sim_batch *b);
void batch_unref(struct sim_batch *b);
void disk_append(struct world *w, struct node *n, struct sim_batch *b);
uint64_t disk_durable(const struct disk *d); /* seq */
/* The same, if what has no payload yet counted. */
uint64_t disk_in_ring(const struct disk *d);
bool disk_written(struct disk *d, uint64_t id, bool payload);
void disk_finish(struct disk *d); /* all writes in flight are done */
void disk_crash(struct world *w, struct disk *d, bool power);
void disk_truncate(struct disk *d, struct pos pos);
void disk_release(struct disk *d, uint64_t seq);
/* d becomes what a fresh replica has, with this record. */
void disk_empty(struct disk *d, const struct record *r);
/* d becomes what was pulled, with an empty ring. */
void disk_pull(struct disk *d, const struct pull *p);
struct epoch disk_flushed_epoch(const struct disk *d); /* of the entry there */
void disk_log(const struct disk *d, struct core_log *ret_log);
struct pos disk_pos(const struct disk *d, uint64_t seq);
void disk_start_writes(struct world *w, struct node *n);

/* wire.c */
void wire_send(struct world *w, unsigned from, unsigned to, uint64_t conn, const struct msg *m,
	struct sim_batch *b);
void wire_close(struct world *w, unsigned from, unsigned to);
void wire_deliver(struct world *w, struct frame *f);
void wire_dial(struct world *w, unsigned a, unsigned b);
void wire_node_gone(struct world *w, unsigned node);
void wire_set_cut(struct world *w, unsigned from, unsigned to, bool cut);
void wire_break(struct world *w, unsigned a, unsigned b);
void frame_free(struct frame *f);

/* check.c */
void violation(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void check_reset(struct world *w);
void check_record(struct world *w, struct node *n, const struct record *old);
void check_serve(struct world *w, struct node *n, struct epoch e);
void check_commit(struct world *w, struct node *n, uint64_t seq);
void check_append(struct world *w, struct node *n);
void check_truncate(struct world *w, struct node *n, struct pos pos);
void check_pull(struct world *w, struct node *n, struct node *from);
void check_flush(struct world *w, struct node *n, struct pos pos);
void check_calm(struct world *w);
void check_space(struct world *w, struct node *n);
void check_forked(struct world *w);
void check_give_up(struct world *w, struct node *n);
bool one_record(const struct world *w);
void check_mended(struct world *w);

/* branch.c */
void branch_reset(struct world *w);
void branch_free(struct world *w);
/* An active one has committed up to seq of its history, or begins to serve from there. */
void branch_settle(struct world *w, const struct node *n, uint64_t seq);
bool branch_settled(const struct world *w, struct pos pos);
/* It has acknowledged seq, under the record that is on its disk. */
void branch_promise(struct world *w, const struct node *n, uint64_t seq);
/* Does it lack what was acknowledged on its side? Would it drop that, if it dropped what is behind seq? */
bool branch_lacks(const struct world *w, const struct node *n, uint64_t *ret_promised);
bool branch_drops(
	const struct world *w, const struct node *n, uint64_t seq, uint64_t *ret_promised);
/* Who serves in a newer epoch on its side, and not with what it is about to acknowledge; or NULL. */
const struct node *branch_overtaken(const struct world *w, const struct node *n, uint64_t seq);

/* people.c */
void people_client(struct world *w);
void people_operator(struct world *w);
void people_answer(struct world *w, struct node *n, uint64_t id, int code, const char *text);
void people_repair(struct world *w);
void people_raise(struct world *w, struct node *n);

#endif
