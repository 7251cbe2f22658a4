/* SPDX-License-Identifier: Apache-2.0 */
/* A pace of staging at which a peer that catches up from the ring gets to its end; converge.c says how. */
#ifndef FS_CONVERGE_H
#define FS_CONVERGE_H

#include <stdint.h>

#include "clock.h"

struct converge { /* zeroed: nobody catches up */
	uint64_t at_ns; /* of the last look; 0: none yet */
	uint64_t peer, own; /* seqs then */
	unsigned short_of, still; /* looks in a row: it did not gain enough; it did not move */
	uint64_t rate; /* entries a second that may be staged; 0: no limit */
	uint64_t next_ns; /* no entry before */
};

/* How far the peer and the own history are: seqs. To be called a few times a second while it catches up;
 * zero it when it has arrived, or is gone. */
void converge_look(struct converge *c, uint64_t now_ns, uint64_t peer, uint64_t own);
/* 0: an entry may be staged now; else when to ask again. */
uint64_t converge_until(const struct converge *c, uint64_t now_ns);
/* An entry was staged. */
void converge_took(struct converge *c, uint64_t now_ns);

#endif
