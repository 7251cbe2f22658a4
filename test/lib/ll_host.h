/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A fake volume, mounted, in a process of its own: the test may hang, crash or be killed without
 * leaving a mount that nobody can take away (the test's mount namespace is private, and the host dies
 * with its test).
 */
#ifndef TEST_LL_HOST_H
#define TEST_LL_HOST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum host_command {
	HOST_HOLD = 1, /* operations are applied, not answered */
	HOST_RELEASE,
	HOST_COUNT, /* operations so far */
	HOST_PARKED, /* writes that found no memory so far */
	HOST_KNOWS, /* argument: inode; 1 while the kernel knows it */
	HOST_ENDED, /* ll_ended() */
	HOST_FENCE, /* fails everything, then ll_fence(); milliseconds it took */
	HOST_UNMOUNT, /* milliseconds that ll_unmount() took */
};

/* false when this machine lets nobody mount (no root, no /dev/fuse). */
bool host_possible(void);
/* Starts the host; ends the test when it does not come up. Mounts on host_mount(). */
void host_start(uint64_t size_blocks, size_t payload_memory);
/* The same, expecting ll_mount() to fail: returns its error. */
int host_start_fails(void);
const char *host_mount(void);
const char *host_data(void);
pid_t host_pid(void);
int64_t host_do(enum host_command c, uint64_t arg);
/* kill -9. */
void host_kill(void);
/* Ends the host however it is, and removes the directories. For .fini. */
void host_stop(void);
/* true when something is mounted on host_mount(). */
bool host_is_mounted(void);

#endif
