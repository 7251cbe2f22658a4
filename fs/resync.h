/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a fork: what a replica holds alone is listed for a person, and at that person's word kept
 * aside as a whole, while the replica begins again as an empty one (peer/core_resync.c decides,
 * fs/pull*.c brings the other side's state).
 *
 *   resync.c          the empty replica, the point of no return
 *   resync_aside.c    the old state's way aside, whatever dies meanwhile
 *   resync_preview.c  what would be given up
 *   resync_answer.c   the list of that, as an answer
 */
#ifndef FS_RESYNC_H
#define FS_RESYNC_H

#include "volume_impl.h"

#define RESYNC_NAME_SIZE 80

/* --- for the volume; commit thread --- */

void resync_init(struct volume *v);
/* ACT_BUILD: begins; EV_BUILT follows. common: the last seq that both sides share. */
void resync_build(struct volume *v, uint64_t common);
/* ACT_GIVE_UP: durable when it returns; the caller then ends the process. */
void resync_give_up(struct volume *v, const struct record *r);
void resync_work(struct volume *v); /* each turn of the loop */
/* Paths of old states that are still kept, for status. */
struct json *resync_kept(const struct volume *v);
/* ACT_PREVIEW: answers the request `id` later. */
void resync_preview(struct volume *v, uint64_t id, unsigned peer, uint64_t common);

/* --- at a start, before anything of the replica in `dir` is opened --- */

/* Completes what was marked, removes an empty replica that nobody wants. */
int resync_recover(const char *dir, struct err *e);
/* The first half alone. steps: NULL, or (tests) how many durable steps may still be done: -EINTR when
 * they are used up. */
int resync_finish(const char *dir, unsigned *steps, struct err *e);
/* The point of no return: `fresh/` in dir holds an empty replica, which begins with this record and these
 * facts; the old state will be in dir/name. */
int resync_mark(const char *dir, const char *name, const struct record *r,
	const struct replica_facts *f, struct err *e);
/* Can each part of the state be moved by a rename? 0, -EXDEV. */
int resync_check_disks(const char *dir, struct err *e);
/* May the old state be called so? It becomes part of a path. */
bool resync_name_valid(const char *name);

#endif
