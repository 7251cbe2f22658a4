/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of pulling, shared by the fs/pull_*.c files only; pull.h has the whole picture. */
#ifndef FS_PULL_IMPL_H
#define FS_PULL_IMPL_H

#include "pull.h"
#include "pull_old.h"
#include "pull_yield.h"

#define PULL_QUEUE_MAX (4u << 20) /* bytes in the bulk socket's queue before the source goes on */
#define PULL_ASKS_MAX 1024u /* questions that wait at a source: more is a broken target */
#define PULL_PATH_SIZE 4500
#define PULL_SERVES                                                                                \
	3u /* answers that are read at once: the disk, and the processors, have something to do */

struct pull_file {
	char name[MSG_FILE_NAME_MAX + 1];
	uint64_t size;
	uint32_t crc;
};

/* --- the source; one for each peer, commit thread --- */

enum source_state { SOURCE_IDLE, SOURCE_WAITING, SOURCE_COPYING, SOURCE_OFFERED };

struct source_ask { /* a question, in order */
	struct msg m;
	struct source_ask *next;
};

struct source;

struct serve { /* an answer that is being read */
	struct job job;
	struct source *s;
	bool ready; /* commit thread: the job has ended, those before have not */
	/* the job's while it runs, then the commit thread's */
	struct source_ask *ask;
	uint64_t conn;
	struct msg answer;
	struct payload *payload;
	int code;
	uint64_t id; /* of the offer */
	struct addr damaged[MSG_PULL_BLOCKS_MAX]; /* blocks of it that are damaged here */
	struct addr holes[MSG_PULL_BLOCKS_MAX]; /* where there is nothing */
	unsigned ndamaged, nholes;
};

#define PULL_HOLES_MAX 64u

struct pull_hole {
	struct addr addr;
	uint64_t id, asked; /* of the first offer in which it was asked for, and of the last one */
};

struct source {
	struct volume *v;
	unsigned peer;
	bool up;
	uint64_t conn;
	enum source_state state;
	bool again; /* a BEGIN came while the last checkpoint was still being made */
	bool litter; /* the directory may hold something that nobody needs */
	uint32_t round;
	uint64_t id;
	struct pos at;
	bool hold, done; /* the ring is held from `at` on; the target has everything */
	uint64_t hold_until_ns;
	uint64_t offered_ns, took_ns; /* the last round, from the offer to the end */
	struct pull_file *files; /* the copy job's while state is COPYING */
	unsigned nfiles;
	struct job copy_job;
	bool copy_busy, remove_only;
	bool copy_hurry; /* the job's: not at the pace, the ring is held meanwhile */
	atomic_bool copy_unwanted;
	struct err copy_error;
	struct source_ask *head, **tail;
	unsigned nasks;
	struct serve serves[PULL_SERVES]; /* a circle, in the order of the questions */
	unsigned first_serve, nserves;
	struct loop_timer yield_timer;
	uint64_t sent, sent_before; /* bytes: of this connection, of earlier ones */
	struct pull_hole
		holes[PULL_HOLES_MAX]; /* some that were asked for in the last two offers */
	unsigned nholes;
	struct addr damaged_at; /* the first block of this offer that is damaged here */
	unsigned damaged, damaged_before; /* how many, at least; in the offer before this one */
	struct msg_pull_news news;
	uint64_t news_ns, news_took_ns; /* when they came, and how long after the ones before */
};

/* --- the target --- */

struct pull_in {
	struct msg m;
	struct payload *payload;
	struct pull_in *next;
};

struct pull_out {
	struct msg m;
	struct pull_out *next;
};

#define GONE_ROUNDS 3u /* in a row that ended with something missing: a person should look */

struct target {
	/* commit thread */
	bool wanted;
	unsigned peer;
	bool up;
	uint64_t conn;
	bool running;
	pthread_t thread;

	pthread_mutex_t trim_lock; /* held by the thread as long as it runs, or by a trim */
	pthread_mutex_t mutex;
	pthread_cond_t cond; /* monotonic clock */
	bool stop; /* under mutex */
	struct pull_in *in, **in_tail; /* under mutex */
	struct pull_out *out, **out_tail; /* under mutex */

	atomic_bool finished; /* the thread has ended; what follows is valid then */
	bool ready;
	struct err error;

	/* for status; any thread */
	atomic_uint_fast64_t done, total, received, rate, missing;
	atomic_uint_fast64_t rate_at_ns, rate_took_ns; /* when it was measured, over how long */
	atomic_uint round; /* of this process, over all connections */
	atomic_uint_fast64_t gone; /* what was missing at the end of the last round */
	atomic_uint gone_rounds; /* that ended so, in a row */
};

struct pull {
	struct volume *v;
	struct source source[REPLICAS_MAX];
	struct target target;
	atomic_uint copying; /* checkpoints being linked */
	struct pull_yield yield; /* the pace of all sources; commit thread */
	/* pull_pace.c */
	struct loop_timer copy_timer;
	atomic_uint_fast64_t copy_until_ns, copy_rate; /* for the jobs; 0: no limit */
};

/* pull_source.c */
void source_init(struct volume *v);
void source_work(struct volume *v);
void source_up(struct source *s, uint64_t conn);
void source_down(struct source *s);
void source_message(struct source *s, const struct msg *m);
void source_go_on(struct source *s);

/* pull_pace.c: commit thread */
void pull_pace_init(struct volume *v);
void pull_pace_work(struct volume *v);
/* 0: something may be sent now; else when to ask again. */
uint64_t pull_pace_until(struct volume *v);
/* The job of a checkpoint begins. */
void pull_pace_copy(struct volume *v);
/* On a job thread; ctx is the struct source. -ECANCELED: nobody wants the checkpoint any more. */
int pull_copy_step(void *ctx, uint64_t bytes);

/* pull_answer.c: on a job thread */
void source_copy_run(struct job *j);
void source_answer_run(struct job *j); /* the job of a struct serve */

/* pull_target.c */
bool target_is(const struct volume *v, unsigned peer);
void target_init(struct volume *v);
void target_work(struct volume *v);

/* --- the target's thread: pull_round.c and pull_data.c --- */

struct pull_run { /* blocks that are at their address and not yet known to be durable */
	struct epoch epoch;
	uint64_t block;
	uint32_t blocks;
};

struct pull_ask {
	struct epoch epoch;
	uint64_t block;
	uint32_t blocks;
	uint32_t crcs[MSG_PULL_BLOCKS_MAX];
	struct pull_ask *next;
};

struct pull_write { /* an answer on its way to the disk */
	struct pull_in *in;
	struct pull_ask *ask;
	int fd;
	uint64_t off;
	struct pull_write *next;
};

struct pull_block { /* of the window: mapped, and to be looked at */
	uint64_t block;
	uint32_t epoch, crc;
};

struct round { /* one run of the thread */
	struct volume *v;
	struct target *t;
	char dir[4200]; /* incoming */
	struct pull_have *have;
	struct epoch *epochs; /* of the source, by number */
	unsigned nepochs;
	struct segments *aside; /* incoming/data, opened when it is needed */
	uint64_t id; /* the checkpoint's */
	struct pos at;
	uint64_t missing; /* blocks that the source says are gone, in this round */
	uint64_t allowed_ns; /* the rate's limit: not before then */
	uint64_t rate_ns, rate_done,
		news_ns; /* when the rate was last looked at, and what was done */

	struct pull_block *window;
	unsigned nwindow;
	uint8_t *buf;
	struct pull_ask *asks, **asks_tail; /* in flight, in order */
	unsigned nasks;
	uint32_t asked_blocks;
	struct pull_run *runs;
	unsigned nruns, runs_cap;
	uint64_t run_blocks;
	uint64_t runs_ns; /* when the first of them came */
	int *fds; /* files to sync */
	unsigned nfds, fds_cap;
	struct pull_writer *writer;
	struct pull_old *old; /* what was given up here; NULL: nothing */
	uint8_t *old_buf;
	bool patient; /* what is waited for takes longer than bytes do */
	uint64_t old_blocks; /* that came from there, in this run of the thread */
	struct err *e;
};

/* pull_round.c */
void *pull_thread(void *arg);
/* Queues a message for the commit thread to send. */
void round_send(struct round *r, const struct msg *m);
/* The next message, waited for. NULL: it is over, or none came in all that time (r->e says why). */
struct pull_in *round_receive(struct round *r);
void pull_in_free(struct pull_in *in);
/* Waits until so many bytes more may be asked for. -ECANCELED: it is over. */
int round_pace(struct round *r, uint64_t bytes);
/* So many bytes more are there. */
void round_done(struct round *r, uint64_t bytes);
bool round_stopped(struct round *r);

/* pull_write.c */
struct pull_writer;
/* 0 or -errno. */
int pull_writer_new(struct pull_writer **ret);
/* What was put in is done, or dropped after a failure. NULL is allowed. */
void pull_writer_free(struct pull_writer *pw);
/* Takes w, an allocated one, with all that it holds. Waits while too much is queued. 0 or the first failure. */
int pull_writer_put(struct pull_writer *pw, struct pull_write *w, struct err *e);
/* Until everything is written: 0. Or the first failure: not all of it is. */
int pull_writer_drain(struct pull_writer *pw, struct err *e);

/* pull_data.c */
/* Everything that the checkpoint in incoming/meta maps: looked for, asked for, durable. */
int round_data(struct round *r);
/* Makes durable what was noted as written, and remembers it. After a failure none of it is remembered, not by the
 * next call either. 0 or r->e. */
int round_sync(struct round *r);
void round_data_free(struct round *r);

#endif
