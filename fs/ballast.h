/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ballast: a file that holds room on the disk below, to be given up when something that must be written
 * finds none, and taken back when there is room again.
 *
 * Nothing is ever written into it. It has no state of its own: what is allocated is what counts, so a crash at
 * any moment leaves a ballast that is as large as it is. Who fills the disk from outside may take what is given
 * up before it is used; so it is given in time and in small parts.
 *
 * Failure modes: without room it stays smaller than it should be, and says so; a filesystem that cannot
 * allocate has none, and that counts as whole, because nothing can be known there.
 */
#ifndef FS_BALLAST_H
#define FS_BALLAST_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "check.h"

struct ballast {
	pthread_mutex_t lock; /* around changes of the file; held across system calls */
	int fd;
	uint64_t target; /* bytes */
	atomic_uint_fast64_t size; /* allocated bytes */
	atomic_bool none; /* the filesystem cannot */
};

/* Makes the file if it is missing, and looks how large it is; it is not filled. */
int ballast_open(struct ballast *b, const char *path, uint64_t target, struct err *e);
void ballast_close(struct ballast *b);
/* Allocates towards the target, at most `room` bytes more. A job thread; the size says how far it came. */
void ballast_fill(struct ballast *b, uint64_t room);
/* Gives up at least so many bytes, or all; they are free for others when it returns. Any thread; writes to the
 * disk. */
void ballast_give(struct ballast *b, uint64_t bytes);
/* Any thread. */
uint64_t ballast_size(const struct ballast *b);
bool ballast_whole(const struct ballast *b);

#endif
