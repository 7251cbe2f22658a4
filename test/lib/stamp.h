/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second workload: blocks that say who wrote them and when, in two files that all threads share
 * (stamp.direct is written with O_DIRECT, stamp.cached through the page cache), and appends.
 *
 * A slot is 4 KiB, 64 KiB, 256 KiB or 1 MiB, aligned: one FUSE WRITE, so its pages must all carry the
 * same counter after any crash. Most slots belong to one thread; 16 of 4 KiB in each file are written
 * by several, and there the last acknowledged write or one that ran beside it must be found. Appends
 * go to append.N of the thread and to append.all of everybody, in records of 64 bytes, with an fsync
 * now and then: each acknowledged record is there, once, and a thread's own in order.
 */
#ifndef TEST_STAMP_H
#define TEST_STAMP_H

#include <stdint.h>

struct stamp_options {
	const char *dir, *log;
	uint64_t seed;
	unsigned threads;
	double seconds;
};

/* Both return the exit status; as the verbs run and verify of load.c. */
int stamp_run(const struct stamp_options *o);
int stamp_verify(const struct stamp_options *o);

#endif
