/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Catching up by pulling: a replica whose history the journal does not lead on from (away too long,
 * replaced by a fresh one, flushed beyond a fork) comes back while the volume is in use.
 *
 * The happy path: the target dials a bulk connection to the serving active and asks for a checkpoint.
 * The source flushes at a committed seq S, links RocksDB's files as of S into `checkpoints/`, holds
 * its ring from S on, and answers what it is asked. The target takes the files into `incoming/meta`,
 * walks the block maps in them, and asks for every block that it does not have at its address with
 * its checksum (I7: same address, same bytes). When all is there and the ring still reaches S, it
 * writes a marker and starts again; recovery moves the pulled state into its place, and from S on it
 * follows like any other.
 *
 *   pull_source.c   the source, on the commit thread
 *   pull_answer.c   its work on the job threads: the checkpoint, the answers
 *   pull_yield.c    its pace beside the volume's users
 *   pull_target.c   the target's side on the commit thread: when to pull, the thread, status
 *   pull_round.c    the target's thread: rounds, the checkpoint's files
 *   pull_data.c     the target's thread: what is missing of the data, asked for and written
 *   pull_have.c     which blocks are there, durably, and remembered over a crash
 *   pull_switch.c   the pulled state takes the place of the old one, whatever dies meanwhile
 *
 * Failure modes: the connection breaks or either side dies: the target begins a new round against a
 * new checkpoint, and is sent neither the files nor the blocks that it has. The ring goes on beyond S
 * meanwhile: another round, which is short; from the third on the source holds its ring for up to
 * 15 s even if writers have to wait for room. The source punched or lost a block that is asked for
 * ("gone"): another round, in whose checkpoint it is no longer mapped. Until the marker is written
 * the target's own last state is untouched; it is outside of the in-sync set all the time.
 */
#ifndef FS_PULL_H
#define FS_PULL_H

#include "json.h"
#include "pace.h"
#include "volume_impl.h"

/* --- for the volume; commit thread --- */

/* Removes what a source left, completes a switch, drops what is no longer needed: before anything of
 * the replica in `dir` is opened. in_sync: the record has this replica in the set. */
int pull_recover(const char *dir, bool in_sync, struct err *e);
void pull_init(struct volume *v);
void pull_stop(struct volume *v);
void pull_work(struct volume *v); /* each turn of the loop */
void pull_up(struct volume *v, unsigned peer, uint64_t conn);
void pull_down(struct volume *v, unsigned peer, uint64_t conn, const char *reason);
void pull_message(struct volume *v, unsigned peer, uint64_t conn, const struct msg *m,
	struct payload *p); /* p belongs to the callee; may be NULL */
void pull_drained(struct volume *v, unsigned peer);
/* The flush that ended at `at` is in RocksDB's files, and no other has begun. */
void pull_flushed(struct volume *v, struct pos at);
/* No flush may begin: a checkpoint is being linked. */
bool pull_copying(const struct volume *v);
/* segments_trim(), unless pulled blocks are being written just now: then it can wait. Any thread. */
int pull_trim(struct volume *v, uint32_t before);
/* What is dead at a later seq may still be asked for by a target, and is not to be punched yet. */
uint64_t pull_punch_limit(const struct volume *v);
/* The lowest seq that a target will want from the ring; UINT64_MAX: none. */
uint64_t pull_floor(const struct volume *v);
/* What status says of pulling from or to this peer: NULL when there is none; the text for a person
 * goes to buf. */
struct json *pull_status(const struct volume *v, unsigned peer, char *buf, size_t size);

/* --- which blocks are there (pull_have.c); one thread --- */

struct pull_have;
/* Reads what an earlier process left in the file; damage in it only forgets. */
int pull_have_open(const char *path, struct pull_have **ret_h, struct err *e);
void pull_have_close(struct pull_have *h);
/* How many of `blocks` blocks from `block` on are alike, and whether they are there. The run must not
 * cross the border of a data segment. */
uint32_t pull_have_run(
	const struct pull_have *h, struct epoch e, uint64_t block, uint32_t blocks, bool *ret_have);
/* They are there, durably. */
void pull_have_set(struct pull_have *h, struct epoch e, uint64_t block, uint32_t blocks);
/* Makes what was set durable. */
int pull_have_save(struct pull_have *h, struct err *e);

/* --- the switch-over (pull_switch.c) --- */

#define PULL_EPOCHS "EPOCHS" /* the source's epochs: number(4) id(8) each, little-endian */

/* The point of no return: `incoming/` in dir holds a whole state, synced. */
int pull_switch_mark(const char *dir, struct err *e);
/* Completes what was marked; nothing to do without a mark. steps: NULL, or (tests) how many durable
 * steps may still be done: -EINTR when they are used up. */
int pull_switch_finish(const char *dir, unsigned *steps, struct err *e);
/* Reads a file of epochs. The array is the caller's to free. */
int pull_epochs_load(const char *path, struct epoch **ret_epochs, unsigned *ret_n, struct err *e);
/* Small helpers on files, shared with source and target. */
int pull_sync_dir(const char *path);
void pull_remove_tree(const char *path);
/* Renames dir/from to dir/to, durably on both sides. */
int pull_move(const char *dir, const char *from, const char *to, struct err *e);
int pull_file_crc(const char *path, const struct pace *pace, uint64_t *ret_size, uint32_t *ret_crc);

#endif
