/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE side: mounts, decodes requests on worker threads, answers reads itself and hands changes
 * to the volume's commit thread. libfuse stays inside fs/ll_*.c.
 *
 * Workers never wait for the commit thread or the peer (I10). A worker drops every lock before it
 * replies. Lookup counts live here; volume_forgotten() is called for an unlinked inode when its
 * count reaches zero.
 */
#ifndef FS_LL_H
#define FS_LL_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "uuid.h"

struct holder;
struct kept;
struct kept_done;
struct ll;
struct volume;

struct ll_config {
	const char *mountpoint; /* absolute, an existing directory */
	const char *volume_name;
	unsigned threads; /* workers; 0: 4 */
	bool suid, dev; /* default nosuid,nodev */
	bool ack_fsync; /* operations return when they are staged: fsync has something to do */
	struct holder *holder; /* makes and keeps the mount; NULL: this process does */
	const struct uuid
		*volume; /* whose the mount is, for who takes it over; NULL: not looked at */
	const struct kept *
		kept; /* what outlives this process is there, and the caller's, who never takes it away;
				    NULL: its own */
	bool fenced; /* only to take over what the holder has, and fail everything on it: ll_fence() follows */
};

/* Mounts and starts the workers. The mount id is drawn here. -EBUSY when something else is mounted on
 * the directory or it is not empty; a dead mount of this volume is taken away first. */
int ll_mount(struct volume *v, const struct ll_config *cfg, struct ll **ret_ll, struct err *e);
/* For a thread that may still need it when the owner ends it. Any thread. */
struct ll *ll_ref(struct ll *l);
void ll_unref(struct ll *l);
uint64_t ll_mount_id(const struct ll *l);
/* true while the kernel holds a reference to the inode. Any thread. */
bool ll_knows(struct ll *l, uint64_t ino);
/* What users do, as far as the workers see it. */
enum ll_use {
	LL_CHANGES, /* what is handed over; who answers it counts it */
	LL_READS,
	LL_LOOKS, /* names, attributes, directories */
	LL_USES
};
struct ll_load {
	uint64_t ops,
		ns; /* that workers answered while they were watched, and how long they took together */
	uint64_t since_ns; /* monotonic: the oldest one that a worker is at; 0: none */
};
/* On: the workers measure. Any thread. */
void ll_watch(struct ll *l, bool on);
void ll_load(const struct ll *l, struct ll_load ret_load[LL_USES]);
/* true when somebody else unmounted it (umount(8)): the workers have ended. */
bool ll_ended(const struct ll *l);
/* The first step of a fence, at once: when it returns, every new request is answered with EIO and no
 * worker is about to submit an operation any more (unless a disk hangs: it waits 200 ms at most). The
 * caller then fails all its operations and calls ll_fence(). */
void ll_fence_begin(struct ll *l);
/*
 * Leaving the active role, or a fence: from now on every request is answered with EIO, every inode
 * the kernel knows is invalidated (dirty pages fail, mappings get SIGBUS), then the connection is
 * aborted and the mount taken away lazily. Bounded: at most timeout_ms, whatever hangs. The caller
 * has already failed all its operations. Not from a worker.
 */
void ll_fence(struct ll *l, unsigned timeout_ms);
/* Unmounts when nobody uses the mount; the kernel writes dirty pages back meanwhile, so the caller's
 * commit thread must be at work. true when it is gone. Not from the commit thread; ll_unmount() has to
 * follow in any case. */
bool ll_unmount_idle(struct ll *l, unsigned timeout_ms);
/* A clean stop: unmounts (lazily when busy), ends the workers, frees. At most timeout_ms. */
void ll_unmount(struct ll *l, unsigned timeout_ms);
/*
 * A clean stop that leaves the mount with the holder. What was not answered is asked of the next daemon. 0: what the kernel asks from now on waits for the next daemon, and this one must answer nothing
 * more; the process ends. -EBUSY: a worker does not end in time; the holder keeps the mount since before the first
 * request, so that the process may end as by a kill. Else ll_unmount() has to follow. Commit thread.
 */
int ll_hand_over(struct ll *l, struct holder *h, struct err *e);
/* The operation of a request that was executed for an earlier daemon of this mount, and perhaps not answered; NULL:
 * none. `unique` without the bit that says it was sent again. */
const struct kept_done *ll_executed(const struct ll *l, uint64_t unique);
/* The place of ll_executed() and of what else outlives this process. */
struct kept *ll_kept(struct ll *l);
/* Makes what ll_kept()'s window has known to ll_executed(). Before the first operation is staged. */
void ll_executed_ready(struct ll *l);
/* A holder has the mount, and the kernel can send its requests again. */
bool ll_can_hand_over(const struct ll *l);
/* This volume is mounted there, dead or alive: as the mount table says, nothing is asked. */
bool ll_is_mounted(const char *mountpoint, const char *volume_name);
/* Why ll_mount() would refuse this directory: no directory, another filesystem is mounted there (-EEXIST), or not
 * empty. 0, or -errno with a message. */
int ll_check_mountpoint(const char *mountpoint, struct err *e);
/* Takes away a dead mount (ENOTCONN) of this volume at mountpoint, as a kill -9 leaves it. 0 when
 * there is none or it is gone now; with a message, -EEXIST when another filesystem is mounted there, -EBUSY when a
 * living process serves this volume there. */
int ll_clear_stale(const char *mountpoint, const char *volume_name, struct err *e);

#endif
