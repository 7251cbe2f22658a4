/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous file writes for one thread: io_uring, or threads with pwritev2(2) where io_uring is
 * forbidden (the default seccomp profile of containers forbids it). The only owner of liburing.
 *
 * Happy path: the thread prepares requests with uring_write() or uring_fdatasync(), sends them with
 * uring_submit() (one system call), gets a readable uring_fd(), and runs the completions with
 * uring_reap(). Completions run outside the reaping loop, on the owner's thread, in any order.
 *
 * Failure modes: a short write is continued with the remainder (never linked to a flush: a retried
 * tail could land after it), -EINTR and -EAGAIN are resubmitted, and `done` sees either all bytes
 * or one final -errno. Requests are owned by the caller and live until `done`.
 */
#ifndef JOURNAL_URING_H
#define JOURNAL_URING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "check.h"

struct uring;

enum uring_mode { URING_AUTO, URING_FORCE, URING_THREADS };

struct uring_req {
	int fd;
	const void *buf;
	size_t len; /* bytes; with RWF_DSYNC and O_DIRECT, multiples of BLOCK_SIZE */
	uint64_t off; /* bytes */
	int rwf_flags; /* RWF_DSYNC or 0 */
	int res; /* in done: 0, or the final -errno */
	void (*done)(struct uring_req *r);
	/* private */
	size_t written;
	int fault; /* what uring_inject() has for this attempt */
	unsigned stalls;
	bool sync_only;
	struct uring_req *next;
};

/* `depth`: requests in flight without an extra submit, 1 to 4096. URING_AUTO falls back to threads
 * when io_uring_setup(2) is refused. 0 or -errno. */
int uring_open(enum uring_mode mode, unsigned depth, struct uring **ret_u, struct err *e);
/* Waits for what is in flight (its `done` is not called), then frees. */
void uring_close(struct uring *u);
/* "io_uring" or "pwritev2". */
const char *uring_mode_name(const struct uring *u);
/* Registers [base, base + len) so that writes from it, up to 1 MiB each, need no page pinning. Memory of it that was
 * never written from, a MiB or more away from what was, stays untouched. Optional; once. */
int uring_register_buffer(struct uring *u, void *base, size_t len);
/* Registers a descriptor that is written often and stays open until uring_close(), so that a write
 * needs no look-up of it. Optional: 0, or -errno and writes go on without. */
int uring_register_file(struct uring *u, int fd);
/* Readable (EPOLLIN) when uring_reap() has something to do. */
int uring_fd(const struct uring *u);
void uring_write(struct uring *u, struct uring_req *r);
/* fdatasync(r->fd); buf, len and off are ignored. */
void uring_fdatasync(struct uring *u, struct uring_req *r);
void uring_submit(struct uring *u);
/* Runs the callbacks of everything that has finished; returns how many. */
unsigned uring_reap(struct uring *u);
/* The same, where that can be known without a system call: a wait that a completion interrupted need not
 * be repeated to learn of it. */
unsigned uring_reap_ready(struct uring *u);

/*
 * Fault injection for tests: the n-th write or sync from now (1 = the next) ends with `error`
 * (-EIO) without reaching the file, and so do the `repeat` following ones. A positive `error` makes
 * them short writes of that many bytes, which are continued. 0 disarms. Also set by the environment variable
 * TANDEMFS_FAULT_WRITE="n[:repeat]" at uring_open().
 */
void uring_inject(struct uring *u, unsigned n, unsigned repeat, int error);

#endif
