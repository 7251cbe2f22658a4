/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-holder and who asks it: one small process per volume makes the FUSE mount and keeps its /dev/fuse
 * descriptor, so that the volume daemon may be replaced under a living mount. What is here is all that the two
 * have in common; a holder goes on through upgrades of the daemon, so nothing here may change its meaning.
 *
 * One message is one SOCK_SEQPACKET packet of struct holder_message, in both directions; descriptors travel
 * beside it. The daemon asks, the holder answers each message with one of the same verb:
 *
 *   STATE   nothing                  -> what is held
 *   MOUNT   where and how to mount   -> the same; the first request, INIT, is read by the holder and kept.
 *                                       -EBUSY while something is held
 *   KEEP    one descriptor           -> from now on the mount outlives this connection; the descriptor is
 *                                       returned with the next STATE. What it is, is the daemon's affair
 *   TAKE    nothing                  -> from now on it does not; the descriptor of KEEP is closed
 *
 * An answer has `error` 0 or -errno. While something is held, answers to STATE and MOUNT carry the
 * descriptor of /dev/fuse and, after KEEP, that of KEEP behind it.
 *
 * When the connection ends without KEEP the holder closes the descriptor, and the mount answers with errors,
 * as if there were no holder. One daemon at a time: a new connection ends the one before.
 */
#ifndef FS_HOLDER_H
#define FS_HOLDER_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"

#define HOLDER_MAGIC 0x31444c48u
#define HOLDER_PROGRAM "tandem-holder"
#define HOLDER_INIT_MAX 1024u

enum holder_verb { HOLDER_STATE = 1, HOLDER_MOUNT, HOLDER_KEEP, HOLDER_TAKE };

struct holder_message { /* same machine, same byte order; reserved bytes are zero */
	uint32_t magic;
	uint32_t verb;
	int32_t error;
	uint32_t mounted, kept; /* 0 or 1: how many descriptors come along */
	uint32_t init_len;
	uint64_t mount_id; /* drawn at each mount, never 0 */
	uint64_t mount_flags; /* MS_* */
	char path[4096]; /* strings end with a zero */
	char source[128];
	char fstype[32];
	char options[256]; /* for mount(2), without "fd=" */
	uint8_t init[HOLDER_INIT_MAX];
};

/* --- the daemon's side; one thread at a time --- */

struct holder;

/* What a holder has: fd -1 when it has no mount. The descriptors are the caller's. */
struct holder_mount {
	int fd, kept_fd; /* kept_fd -1: it was not kept */
	uint64_t mount_id;
	char path[4096], source[128];
	uint32_t init_len;
	uint8_t init[HOLDER_INIT_MAX];
};

/* Connects to the holder at `path`; `start`: starts one when nobody is there (the program beside this one).
 * -ENOENT: nobody is there. */
int holder_open(const char *path, bool start, struct holder **ret_h, struct err *e);
void holder_close(struct holder *h); /* NULL is fine */
/* holder_mount_close() gives the descriptors back. */
int holder_state(struct holder *h, struct holder_mount *ret_m, struct err *e);
int holder_mount(struct holder *h, const char *path, const char *source, const char *fstype,
	uint64_t flags, const char *options, struct holder_mount *ret_m, struct err *e);
int holder_keep(struct holder *h, int fd, struct err *e);
int holder_take(struct holder *h, struct err *e);
void holder_mount_close(struct holder_mount *m);

#endif
