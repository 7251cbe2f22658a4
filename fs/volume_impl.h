/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of a volume, shared by the fs/volume_*.c files. One thread, the commit thread, runs the
 * loop and owns every field that says nothing else.
 *
 * Other threads: FUSE workers (submit operations), the job threads (read the disk for somebody), the
 * apply thread (owns the tree's changes until this replica serves), the segments' writer. They hand
 * things over through three lists with atomic heads or a mutex of their own, and wake the loop; no
 * lock is held while another one is taken.
 */
#ifndef FS_VOLUME_IMPL_H
#define FS_VOLUME_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "ballast.h"
#include "clock.h"
#include "control.h"
#include "converge.h"
#include "core.h"
#include "expiry.h"
#include "kept.h"
#include "latency.h"
#include "ll.h"
#include "loop.h"
#include "meta_ledger.h"
#include "net.h"
#include "polling.h"
#include "volume.h"
#include "since.h"
#include "watchdog.h"

#define ARENA_SIZE KEPT_ARENA_SIZE /* bytes of batch buffers */
#define SLOTS_MAX 2048u /* batches in memory at once */
#define STAGED_BYTES_MAX (48u << 20) /* bytes of batches staged and not committed */
#define FETCH_QUEUE_MAX (4u << 20) /* bytes in the socket's queue while catching up */
#define UNSYNCED_MAX                                                                               \
	(16u << 20) /* under ack=fsync: bytes of batches and payloads answered and not committed */
#define APPLY_QUEUE_MAX (64u << 20) /* bytes of batches kept in memory for the apply thread */
#define APPLY_LAG_MAX (64u << 20) /* unapplied committed bytes: a standby withholds acks beyond */
#define PUNCH_IDLE_NS                                                                              \
	(20 * NS_PER_S) /* a few dead blocks wait so long for a checkpoint of their own */
#define EMPTY_BATCH_NS (100 * NS_PER_MS)
#define DIED_NS NS_PER_S /* for the peers to wait after an I/O error */
#define STOP_NS (10 * NS_PER_S)
#define FENCE_MS 3000u
#define UNMOUNT_MS 4000u /* for an idle mount to go when the daemon stops */
#define JOB_THREADS 4u
#define STAGE_RING_MIN                                                                             \
	(4 * BATCH_SIZE_MAX) /* free bytes of the ring: less, and nothing is staged */
#define RX_RING_SHARE 8u /* of the ring: less is free, and a peer waits with its batches */
#define BEHIND_MIN 32u /* entries behind the active that are a run for the ring */
#define EXTERNALS_MAX 64u /* large payloads of one batch */

/* A large write's payload, from staging until it is durable here and taken by the sockets. */
struct external {
	struct addr addr;
	struct epoch epoch;
	uint32_t blocks, crc;
	struct payload *payload;
	uint8_t *bytes; /* inside the payload */
	struct uring_req req;
	struct slot *slot; /* NULL until its batch is known (standby) */
	struct external *next;
	struct volume *v;
	bool gone; /* punched in part since: its bytes are not the entry's */
	bool orphan; /* its connection is gone: freed when the write ends */
	bool active_side; /* readers are served from it until it is written */
};

/* One batch in memory: on the active in the arena, on a standby in a payload buffer. */
struct slot {
	struct batch_header h;
	uint8_t *bytes;
	size_t start, size; /* in the arena; size 0: not there */
	struct payload *payload; /* holds the bytes on a standby */
	unsigned refs; /* local write, socket queues */
	unsigned writes; /* ring and payload writes not yet durable */
	struct external *externals;
	unsigned nexternals; /* of the active */
	size_t payload_bytes; /* of the externals; of the active */
	struct ring_write write;
	struct volume *v;
	bool appended, committed;
	uint64_t closed_ns, local_ns, acked_ns;
	struct slot *next; /* in order of the history */
};

#define FETCH_BATCHES 64u /* read back by one job */
#define FETCH_BYTES (512u << 10)

struct fetch { /* catching a peer up from the ring */
	bool wanted, busy;
	uint64_t conn, from;
	struct job job;
	uint64_t job_conn, job_from; /* what the job at work was asked for */
	uint8_t *buf; /* the job's: BATCH_SIZE_MAX bytes */
	struct repair *damage; /* that the job met: code is -EUCLEAN */
	struct repair *repaired; /* kept in memory for the job at work */
	/* result of the job: n batches, then `code` for the one after them */
	int code;
	unsigned n;
	struct fetched {
		struct batch_header h;
		struct payload *batch;
		struct external *externals;
	} batches[FETCH_BATCHES];
};

struct apply_item {
	struct batch_header h;
	struct payload *payload;
	struct apply_item *next;
};

struct apply { /* the apply thread; fields under the mutex unless they say something else */
	pthread_t thread;
	bool running; /* commit thread */
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool stop;
	uint64_t target; /* apply up to this seq */
	bool idle; /* the thread waits for a target, not for more to gather */
	bool hurry; /* somebody waits for the target */
	struct apply_item *head, **tail;
	size_t queued_bytes;
	bool checkpoint; /* one was asked for, though nothing is to be applied */
	atomic_uint_fast64_t applied, data_seq;
	atomic_bool wake; /* the commit thread waits for progress */
	atomic_uint_fast64_t
		ring_free; /* as of the commit thread's last turn: the ring is its own */
	atomic_bool failed;
	struct err error; /* valid once failed is set */
	uint64_t entries_since_checkpoint, bytes_since_checkpoint; /* the apply thread's */
	uint64_t freed_after; /* the apply thread's, as in struct checkpoint */
	atomic_uint_fast64_t ended_ns; /* of the last checkpoint */
};

enum checkpoint_state { CHECKPOINT_IDLE, CHECKPOINT_SYNC, CHECKPOINT_QUIESCE, CHECKPOINT_FLUSH };

struct checkpoint { /* of the active; the standby's is in the apply thread */
	enum checkpoint_state state;
	struct job job;
	int code;
	uint64_t data_seq; /* payloads up to here are synced when the job is done */
	uint64_t seq; /* what the flush holds */
	uint64_t release_seq; /* payloads synced and entries flushed up to here, by the last one */
	uint64_t entries; /* staged since the last one began */
	uint64_t ring_used_after;
	uint64_t freed_after; /* blocks dead and not given back when the last one ended */
	uint64_t ended_ns;
	struct loop_timer poll;
	bool wanted;
};

struct punch { /* giving space back, on either side: punch.c */
	atomic_uint_fast64_t want; /* by a checkpoint: what was dead at this seq; 0: nothing */
	atomic_uint_fast64_t done; /* punched and still on the lists; 0: nothing */
	atomic_uint trim_before; /* an epoch */
	bool busy; /* commit thread; the rest is the job's while it is set */
	struct job job;
	uint64_t seq;
	int code;
};

/*
 * Room on the disk below: space.c. The commit thread's, but for what a job works on while busy is set: it
 * begins with epoch, from and want, and its results are looked at when it is done.
 */
struct space {
	bool busy;
	struct job job;
	uint64_t looked_ns, measured_ns;
	struct epoch epoch; /* that the addresses below are of */
	uint64_t from, upto; /* blocks that are allocated, durably */
	uint64_t from_seq; /* a standby grants it once it has received the history up to here */
	uint64_t want; /* shall be allocated up to here */
	bool data_full; /* and cannot */
	struct { /* the job's */
		struct epoch epoch;
		uint64_t at, want, free;
		bool measure, full;
		int code;
	} run;
	/* A run of addresses of any epoch that is allocated for what is received without a grant. */
	uint32_t rx_epoch;
	uint64_t rx_from, rx_upto;
	bool refused; /* something was received for which there is no room */
	/* Metadata: space_meta.c. */
	struct ballast ballast;
	atomic_bool meta_full; /* only what makes room may change anything */
	atomic_bool no_compaction; /* volume_damaged.c: it would meet a damaged block */
	bool low_at_open; /* nothing should be rewritten: until the job has looked */
	atomic_uint_fast64_t disk_free; /* bytes, as the job last saw it */
	struct meta_ledger ledger; /* of the active */
};

struct parked {
	struct op *op;
	uint64_t at;
	uint32_t len;
	struct parked *next;
};

struct volume {
	const struct config *cfg;
	char **argv;
	int lock_fd;
	bool recovered; /* what is wrong from here on is not the replica */
	struct descriptor desc;
	struct uuid self;
	struct record record; /* as loaded; core_record() is the living one */
	struct replica_facts facts;

	struct loop *loop;
	struct uring *uring;
	struct loop_source uring_source, signal_source;
	struct net *net;
	struct core *core;
	struct control_server *control;
	struct recovering *recovering; /* until the control socket is the loop's */
	struct store *store;
	struct tree *tree;
	struct segments *segments;
	struct ring *ring;
	struct ll *ll;
	struct holder *holder; /* NULL: none is configured, or it is not connected */
	/* What it kept of that, mapped (h NULL: nothing that can be used): the operations that this process finds in
	 * the journal above `commit_found` are noted there before they are applied. Of who applies. */
	struct kept held_kept;
	struct kept
		kept; /* h NULL: not under ack=fsync with a holder. Holds arena and pool, and is lent to ll */
	uint64_t held_id; /* that mount's */
	bool held_newer; /* what it kept is of a newer build */
	uint64_t commit_found; /* by recovery: what is not above it was answered */
	bool mount_held; /* it has a mount that an earlier process left there, and that is not taken over yet */
	struct payload_pool *pool; /* of FUSE writes */
	struct payload_pool *rx_pool; /* of frames and batches from peers, and of catching up */
	uint64_t random; /* state of the generator behind core_event.chance */
	uint64_t started_ns, started_real_ns;
	bool died; /* this process took the place of one that met an I/O error */
	bool died_uncounted; /* and could not write that down */
	bool damaged; /* RocksDB's files: nothing is served from them */
	char damaged_text
		[2048]; /* what is wrong with a replica that goes on in spite of it, and what to do */

	/* operations on their way in: any thread pushes, the commit thread takes all */
	_Atomic(struct op *) inbox;
	_Atomic(struct job *) jobs_done;
	atomic_bool fenced; /* everything ends with -EIO */
	struct op *ready, **ready_tail; /* in order, not yet staged */
	struct op *staged, **staged_tail; /* by seq, not yet committed */
	struct op *answers,
		**answers_tail; /* staged in this turn, to be answered without waiting for that */
	unsigned waiting; /* ready + staged + answers */
	atomic_uint_fast64_t forgotten_head, forgotten_tail;
	pthread_mutex_t forgotten_mutex;
	uint64_t *forgotten; /* under forgotten_mutex */
	unsigned nforgotten, forgotten_cap;

	/* staging */
	bool serving; /* core said SERVE and the mount stands */
	bool stop_staging, drained_told;
	bool serve_pending, taken_over;
	struct loop_timer mount_timer;
	char mount_trouble[256]; /* why it could not be mounted, "" */
	struct epoch epoch; /* staged under */
	uint64_t next_block; /* in that epoch's segments */
	struct batch_writer writer;
	bool batch_open;
	struct slot *open_slot;
	uint8_t *arena;
	size_t arena_head, arena_tail; /* free: from head to tail around */
	bool arena_empty;
	struct slot *slots, **slots_tail; /* in order; freed from the front */
	struct slot *slot_free;
	struct slot *slot_memory;
	unsigned flights; /* batches in the local flush */
	uint64_t staged_bytes; /* of batches above the commit index */
	uint64_t staged_payloads; /* bytes of large payloads above the commit index */
	uint64_t answered_seq; /* of the last operation answered when it was staged */
	uint64_t last_commit_written; /* commit index in the newest batch */
	uint64_t durable_told; /* highest EV_DURABLE */
	struct watchdog watchdog;
	struct polling polling;
	struct since trouble_since, peer_since[REPLICAS_MAX];
	uint64_t since_look_ns; /* the next look */
	struct expiry expiry; /* of the transport's certificates */
	char expiry_text[EXPIRY_TEXT_MAX]; /* "": they last */
	struct converge converge[REPLICAS_MAX]; /* slows staging for who catches up */
	struct loop_timer converge_timer;
	unsigned reaps; /* OP_REAPs in flight */
	bool reap_again;
	uint64_t reap_at_ns; /* what is dead gathers until then; 0: nothing new */
	struct loop_timer reap_timer, empty_timer, tick_timer, status_timer, stop_timer;

	/* standby */
	struct external *rx_externals; /* arrived, their batch not yet */
	unsigned rx_externals_count;
	struct apply apply;
	bool ack_withheld;
	uint64_t peer_end[REPLICAS_MAX]; /* a peer's last seq, as it last said */
	uint64_t behind_to; /* a run of old batches is announced to the ring up to here */
	bool rx_paused; /* a frame waits for memory or for room in the ring */

	struct fetch fetch[REPLICAS_MAX];
	struct checkpoint checkpoint;
	struct punch punch;
	struct space space;
	pthread_mutex_t flushed_mutex;
	struct pos flushed; /* in RocksDB's files; under flushed_mutex */
	struct resync *resync; /* the end of a fork (resync.h) */
	struct pull *pull; /* catching up by pulling, either side (pull.h) */
	struct repairs *repairs; /* of damaged blocks, either side (repair.h) */

	/* jobs */
	pthread_t job_threads[JOB_THREADS];
	pthread_mutex_t job_mutex;
	pthread_cond_t job_cond;
	struct job *job_head, **job_tail; /* under job_mutex */
	bool job_stop; /* under job_mutex */
	struct warm_job *warming, *warming_last; /* by age; commit thread */

	/* parked writes; under park_mutex */
	pthread_mutex_t park_mutex;
	int scratch_fd;
	uint64_t scratch_end, scratch_coming; /* bytes; the second: taken and not written yet */
	uint64_t scratch_data; /* bytes of room for data that they will take when they come back */
	struct parked *parked, **parked_tail;
	unsigned nparked, scratch_users;
	struct job unpark_job;
	bool unparking; /* commit thread */
	atomic_bool room;

	/* core */
	bool stepping;
	struct core_event deferred[32];
	unsigned ndeferred, deferred_begun; /* so many of them are being taken, or were */
	struct slot *current; /* the slot of the event being stepped */
	struct probe { /* an operator's word that waits for a sign of the active */
		struct control_request *request;
		enum operator_verb verb;
		uint64_t since_ns;
		bool again; /* it was tried once */
	} probes[16];
	struct control_request *requests[64];
	uint64_t request_ids[64];
	bool request_again[64];
	uint64_t next_request;
	struct held_answer {
		uint64_t id;
		int code;
		char text[CORE_TEXT_MAX];
	} held[16]; /* answers that wait until the mount stands */
	unsigned nheld;

	atomic_uint_fast64_t disk_free, disk_total; /* bytes */
	atomic_uint_fast64_t
		room_blocks; /* of data that all disks have room for, by the last look */
	uint64_t
		peer_blocks; /* that peers without grants have room for; UINT64_MAX: there is none */
	bool stopping, quit, unmounting;
	struct job unmount_job;
	int exit_status;

	struct latency latency;
	uint64_t answered_ops, answered_ns; /* ever, and how long they took together */
	uint64_t rtt_ns; /* to the in-sync peers, the longest; 0: unknown */
	uint64_t count_ops, count_batches, count_bytes, count_errors;
	uint64_t count_damaged, count_repaired; /* blocks */
	atomic_uint_fast64_t batch_ns; /* when the last batch was closed or received */
	atomic_uint_fast64_t count_checkpoints;
};

/* volume_again.c */
/* At the start, before any thread. */
void volume_again_init(struct volume *v);
/* Counts the bad start that RocksDB's abort() was, once the facts are loaded. */
void volume_count_abort(struct volume *v);
_Noreturn void volume_die(struct volume *v, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
_Noreturn void volume_restart(struct volume *v, const char *reason);

/* volume.c */
void volume_path(const struct volume *v, const char *name, char *buf, size_t size);

/* volume_core.c: events in, actions out */
void volume_step(struct volume *v, struct core_event *ev);
void volume_tick(struct volume *v);
void volume_status_event(struct volume *v);
void volume_net_callbacks(struct volume *v, struct net_callbacks *ret_cb);

/* volume_stage.c: operations to batches, commits to answers */
void volume_stage_init(struct volume *v);
void volume_stage_work(struct volume *v);
void volume_stage_begin(struct volume *v);
void volume_commit(struct volume *v, uint64_t seq);
void volume_fail_all(struct volume *v, int error);
struct slot *slot_new(struct volume *v);
void slot_unref(void *slot);
void slot_written(struct slot *s, int res);
void volume_append(struct volume *v, struct slot *s);
void external_write(struct volume *v, struct external *x);
void external_free(struct external *x);
bool volume_drained(const struct volume *v);
void volume_durable(struct volume *v);
/* The write of a large payload is done, and a batch here names it. */
void external_in_place(struct external *x);

/* volume_latency.c */
/* Counts an operation that is answered now; the slot is its batch, NULL while that is not committed. The
 * commit thread. */
void latency_account(struct volume *v, const struct slot *s, const struct op *op, uint64_t now);

/* volume_reap.c */
/* Queues what is dead for removal, if it is time, or now because an operation waits for it. True: something
 * was put in front of `ready`. */
bool volume_reap(struct volume *v, bool now);

/* volume_jobs.c */
int jobs_start(struct volume *v);
void jobs_stop(struct volume *v);
void job_submit(struct volume *v, struct job *j);
/* Has done() called on the commit thread, without run(). Any thread. */
void job_post(struct volume *v, struct job *j);
void jobs_reap(struct volume *v);
/* The first one is over. Under park_mutex. */
void volume_parked_drop(struct volume *v);
void volume_unpark(struct volume *v);
void op_send_to_helper(struct volume *v, struct op *op);
/* When the oldest operation was queued that waits for what the helpers read ahead; UINT64_MAX: none does. */
uint64_t jobs_warm_since_ns(const struct volume *v);

/* volume_peer.c: catching a peer up */
void fetch_start(struct volume *v, unsigned peer, uint64_t conn, uint64_t from);
void fetch_go_on(struct volume *v, unsigned peer);
void fetch_cancel(struct volume *v, unsigned peer);
void send_batch(struct volume *v, unsigned peer, uint64_t conn, struct slot *s);
uint64_t fetch_floor(const struct volume *v);
/* fetch_external.c: the large payload of an entry. 0; -EUCLEAN: *ret_r is damaged here. A job thread. */
int fetch_external(struct volume *v, const struct entry *e, const struct entry_payload *p,
	struct external **ret_x, struct repair **ret_r);

/* volume_apply.c: the apply thread */
void apply_init(struct volume *v);
void apply_start(struct volume *v);
void apply_stop(struct volume *v);
void apply_target(struct volume *v, uint64_t seq);
/* A checkpoint is wanted, also when there is nothing to apply. Commit thread. */
void apply_checkpoint(struct volume *v);
/* Does the ring take nothing more from a peer, and nothing come to be applied that would make a checkpoint due? */
bool apply_is_stuck(struct volume *v);
void apply_queue(struct volume *v, const struct slot *s);
int apply_batch(struct volume *v, const void *batch, const struct batch_header *h,
	struct payload *holder, uint64_t upto);

/* volume_recover.c */
int volume_recover(struct volume *v, struct core_log *ret_log, struct err *e);
/* Opens store, tree and segments of a replica that no daemon runs; shared with check and dump. */
int volume_lock(const struct config *cfg, int *ret_fd, struct err *e);
int volume_identify(
	const struct config *cfg, struct descriptor *ret_d, struct uuid *ret_self, struct err *e);
/* What a person can do where recovery (or looking) failed with `code`; "" where the message says it. */
int volume_replay_failed(const struct volume *v, int code, struct err *e);
/* For ring_open(); ctx is the volume. Above the commit index a batch counts only if the large
 * payloads that it names are whole. */
int volume_verify_tail(void *ctx, const void *batch, const struct batch_header *h);

/* checkpoint.c */
void checkpoint_work(struct volume *v);
void checkpoint_release(struct volume *v);
/* What RocksDB's files hold, as the last checkpoint found it. Kept in memory, because the files may have to
 * be read for it, and the commit thread asks often. Any thread. */
void flushed_note(struct volume *v, struct pos pos);
struct pos flushed_pos(struct volume *v);

/* punch.c */
/* After a checkpoint: gives back what was dead at `seq`, a flushed data_seq, and what older epochs than
 * `trim_before` have allocated ahead. The thread that owns the tree. */
void punch_want(struct volume *v, uint64_t seq, uint32_t trim_before);
/* Takes what was punched off the lists. The thread that owns the tree; 0 or -errno. */
int punch_settle(struct volume *v);
void punch_work(struct volume *v); /* the commit thread's part */
/* So many blocks more dead than after the last checkpoint: the next one is due. Any thread. */
uint64_t punch_due(const struct volume *v);
/* Nothing else asks for a checkpoint, the last one ended at `since_ns`, and dead blocks wait. Any thread. */
bool punch_idle_due(const struct volume *v, uint64_t since_ns);

/* space.c */
/* The commit thread's part, in each turn of the loop. */
void space_work(struct volume *v);
/* The same now and then. */
void space_look(struct volume *v);
/* The active told how far it is and what it would like to be granted. */
void space_asked(struct volume *v);
/* Tells the core what is granted here. */
void space_tell(struct volume *v);
/* How far the active may assign addresses, and whether waiting for more is of no use now. */
uint64_t space_limit(const struct volume *v, bool *ret_full);
/* Is there room for what a peer sent? Allocates it where it was not granted. 0, -ENOSPC, other -errno. */
int space_cover(struct volume *v, struct addr a, uint32_t blocks);
/* What space_cover() means for a connection: 0 goes on, -ENOSPC gives it up; everything else ends the process. */
int space_verdict(struct volume *v, int r);
/* space_meta.c */
/* At the start, before the store is opened. *ret_low: the disk is so full that nothing should be rewritten. */
int space_open(struct volume *v, bool *ret_low, struct err *e);
/* Before space_open(), which it does not replace: gives up some of the ballast for a few directories. */
int space_spare(struct volume *v, struct err *e);
/* Free bytes for people who are asked to make room for a start. */
#define SPACE_START_BYTES (1u << 20)
/* Off for the sake of damage, or not any more; on this thread, which is the only one yet. */
void space_compact(struct volume *v, bool on);
/* The job's part: takes the ballast back, looks whether the disk is full. */
void space_look_meta(struct volume *v, uint64_t disk_free);
/* Any thread. */
enum msg_meta_full space_meta_full(const struct volume *v);
/* Nothing more can be written down on a full disk before a checkpoint, which makes some room. */
bool space_wants_flush(const struct volume *v);
/* What is kept for metadata besides the ballast, bytes: data never gets it. */
uint64_t space_meta_reserve(const struct volume *v);
/* Free on the disk of the replica, for us; UINT64_MAX: it does not say. Any thread. */
uint64_t space_free_bytes(const struct volume *v);
/* Before files are made that must be: gives up some ballast when the disk has next to no room. What a flush of the
 * store writes gets its own. Writes to the disk; a job or apply thread, elsewhere when nothing else helps. */
void space_make_way(struct volume *v);
/* What can surely be flushed beyond what is applied. */
uint64_t space_meta_bytes(const struct volume *v);
/* The disk is full, and no more metadata than there is can surely be flushed. Any thread. */
bool space_exhausted(const struct volume *v);
/* May this operation be staged, as far as metadata is concerned? 0, -ENOSPC, -ENOBUFS (not now). */
int space_admits(struct volume *v, const struct op *op);
/* The disk is full here, or nearly so. */
bool space_hungry(const struct volume *v);
/* What is wrong, for the status; "" when nothing is. */
const char *space_trouble(const struct volume *v);
/* Bytes that statfs may promise: they can be allocated, or are. */
uint64_t space_promise(const struct volume *v);
/* Bytes that data can still get on the disk below, beside what is kept for metadata and new segments, with
 * what the segments have allocated and hold nothing live in; here, and at a peer as it last reported. */
uint64_t space_room(const struct volume *v);
uint64_t space_peer_room(const struct volume *v, const struct core_peer_view *p);

/* volume_role.c */
void volume_serve(struct volume *v, struct epoch epoch);
void volume_serve_work(struct volume *v);
void volume_fence(struct volume *v, const char *text);
void volume_stop(struct volume *v);
void volume_stop_work(struct volume *v);

/* volume_held.c */
/* At the start: looks whether a holder has the mount of before, else takes a dead one away. */
int volume_held_find(struct volume *v, struct err *e);
/* ll_check_mountpoint(), but what the holder has mounted there is right, and nobody would answer for it. */
int volume_check_mountpoint(const struct volume *v, struct err *e);
/* The start failed before this process had the replica: says so where a mount waits for it. */
void volume_held_waits(const struct volume *v);
/* Connects to the holder, started if need be, if one is configured. */
int volume_held_open(struct volume *v, struct err *e);
void volume_held_close(struct volume *v);
/* Now and then: fails what is held when this replica is not the active one. */
void volume_held_look(struct volume *v);
/* How far the history, which ends at `end`, is committed: as recovery found, or further, because the daemon before
 * answered more. */
uint64_t volume_held_committed(struct volume *v, uint64_t end);
/* What is read on the mount of the daemon before is answered from now on, what changes something waits. Before other
 * threads change the tree. */
void volume_held_read(struct volume *v);
struct ll_config volume_mount_config(const struct volume *v);
/* apply_entry() of what is not this process' own; noted for requests that come again. Of who applies. */
int volume_held_apply(struct volume *v, const struct entry *e);
/* Whether the operation is in the history, its request asked again: 0, the op's results are filled; -ENOENT: it
 * is not; -EIO. */
int volume_held_executed(struct volume *v, struct op *op);
/* At the stop: true when the mount is left with the holder, whatever waits; nothing may be answered any more. */
bool volume_hand_over(struct volume *v);

/* -EPROTONOSUPPORT: a newer build left it, and this replica is the one that would go on with it. Once the record is
 * loaded, before anything is changed. */
int volume_held_version(const struct volume *v, struct err *e);
/* Whether what an earlier daemon left may be believed and this replica is the one that goes on with it. */
bool volume_held_usable(const struct volume *v, struct err *e);
/* Up to where the history is brought into the tree at once: what is committed, and under ack=fsync what was
 * answered. */
uint64_t volume_held_applied(struct volume *v, uint64_t commit);

/* volume_kept.c */
/* Makes the payload pool, and what outlives this process if it answers what is not in the journal yet. */
int volume_kept_open(struct volume *v, struct err *e);
uint8_t *volume_kept_arena(struct volume *v);
/* Brings what an earlier daemon answered and what did not reach the journal into it, durably, before anybody else is
 * told where the journal ends. -errno: it could not be written. */
int volume_kept_recover(struct volume *v, struct ring_recovered *rec, struct err *e);

/* volume_damaged.c */
/* What a person can do about a start that failed with this code, or "". */
void volume_advise(const struct volume *v, int code, char *buf, size_t size);
/* Notes that RocksDB's files may be damaged: each start looks at all of them until they are well. */
void damaged_note(struct volume *v);
/* What status says from now on, without an end of the process. */
void damaged_tell(struct volume *v, const struct err *why);
/* At the start, after the store was opened, or was not (`opened`: 0, or why, as in *e). 0: go on. */
int damaged_look(struct volume *v, int opened, struct err *e);
/* After damaged_look() has failed, once all else has ended: answers what is wrong until it is stopped (the status to
 * exit with), or the replica's directory is another one. Otherwise returns 1 at once. */
int damaged_stay(struct volume *v, const struct err *why, const char *advice);

/* recovering.c */
int recovering_start(struct volume *v, struct err *e);
int recovering_hand_over(struct volume *v, struct err *e);
void recovering_stop(struct volume *v);
/* It does not go on: what is answered from now on. Borrowed for as long as the thread lives. */
void recovering_refuse(struct volume *v, const char *why);

/* control_server.c */
void control_handle(void *ctx, struct control_request *r);
void control_probe_work(struct volume *v);
void control_answer_core(struct volume *v, uint64_t id, int code, const char *text);
/* An operator's request that the core left to somebody else to answer; NULL when it is not there. */
struct control_request *control_take(struct volume *v, uint64_t id);

/* control_resize.c */
/* An operator's "resize": answers it or sends it on its way; true: the record's format level must be raised
 * first, then control_resize_go(). */
bool control_resize_wanted(struct volume *v, struct control_request *r);
void control_resize_go(struct volume *v, struct control_request *r);

/* control_status.c: what "status" answers; the caller's. */
struct json *control_status(struct volume *v);
/* Once a second or so: notes since when its troubles and its peers' states are what they are. */
void control_status_look(struct volume *v, uint64_t now_ns);

#endif
