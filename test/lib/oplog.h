/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The workload's own record of what it did: one file for each thread, kept outside the mount. A
 * BEGIN is written before the operation starts and an END after the acknowledgement; a BEGIN that is
 * the last of its file belongs to the operation that was in flight when the mount went away. A
 * RESOLVE, written by the verifier, settles whether that operation happened: from then on it must
 * stay so.
 *
 * The writer is never killed, so a log has no torn end; a short or strange record is an error.
 */
#ifndef TEST_OPLOG_H
#define TEST_OPLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum oprec_kind {
	OPREC_BEGIN = 1,
	OPREC_END, /* result: what the system call returned, or -errno */
	OPREC_RESOLVE, /* result: for a write the bytes that are there, else 1 done, 0 not done */
	OPREC_PARTIAL, /* still in flight, but result bytes of the write were acknowledged */
};

struct oprec {
	uint32_t magic;
	uint8_t kind;
	uint8_t op;
	uint16_t zero;
	uint64_t index; /* of the operation within its log, from 1 */
	uint64_t time_ns; /* CLOCK_REALTIME, comparable with date +%s%N */
	int64_t result;
	uint32_t dir, name, dir2, name2; /* numbers of the model's directories and names */
	uint32_t flags, mode;
	uint64_t off, len, seed;
};

struct oplog {
	FILE *f;
	struct oprec last; /* the last BEGIN, for END and RESOLVE */
	bool open; /* a BEGIN without its END */
	uint64_t index;
};

uint64_t oplog_now_ns(void);
/* "PREFIX.NUMBER"; opened for reading and appending, created when missing. */
int oplog_open(struct oplog *l, const char *prefix, unsigned number);
void oplog_close(struct oplog *l);
/* Fills magic, kind, index and time of r and appends it. */
void oplog_begin(struct oplog *l, struct oprec *r);
void oplog_end(struct oplog *l, int64_t result);
void oplog_partial(struct oplog *l, int64_t result);
void oplog_resolve(struct oplog *l, int64_t result);
/* The next record from the current position: 1, 0 at the end, -EBADMSG. Keeps open, last, index. */
int oplog_read(struct oplog *l, struct oprec *ret_r);
/* Keeps the log as PREFIX.NUMBER.old and begins an empty one; the index goes on. */
int oplog_rotate(struct oplog *l, const char *prefix, unsigned number);

/* A stream of bytes that depends on the seed and the position only. */
void pattern_fill(void *buf, size_t len, uint64_t seed);
uint64_t pattern_mix(uint64_t x);

#endif
