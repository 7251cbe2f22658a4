/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repair: a block whose checksum is wrong, or that the disk cannot read, is taken from another replica
 * (I7: same address, same bytes), given to whoever wanted to read it, and written back to its address.
 *
 * Happy path: a reader (a FUSE worker, or a job that reads old bytes for an operation) meets damage and
 * describes it with repair_find(): one run of blocks in one extent, and which of them are bad. It hands
 * that over with volume_repair() and does something else: nobody waits on a thread. The commit thread
 * asks one replica after the other (MSG_REPAIR_ASK on the commit connection), a job thread verifies the
 * answer against the map's checksums, announces the good blocks to all readers of the segments, and
 * writes them to the disk; then again() reads once more. The blocks stay in memory until repair_end(),
 * so that a disk that cannot be written is no reason to fail the reader.
 *
 *   repair.c         who asks: the commit thread, and the write-back
 *   repair_answer.c  who is asked
 *   repair_find.c    what is damaged; repairing what a partial write needs
 *   repair_report.c  the counters' other half: a line in the log with the file's name
 *
 * Failure modes: nobody is connected: again() with -EIO at once. Nobody answers within REPAIR_NS, the
 * connection breaks, or no replica has the bytes either: -EIO. The write-back fails: it is logged, and
 * the next reader repairs again; it is not final (I9), because this copy was promised to nobody.
 */
#ifndef FS_REPAIR_H
#define FS_REPAIR_H

#include "msg.h"
#include "volume.h"

#define REPAIR_BLOCKS_MAX MSG_REPAIR_BLOCKS_MAX

/* A run of blocks of one extent of a file, some of them damaged. */
struct repair {
	uint64_t ino, file_block; /* of its first block */
	struct addr addr;
	uint32_t blocks;
	uint32_t crcs[REPAIR_BLOCKS_MAX];
	uint64_t bad; /* bit i: block i is damaged, and not yet repaired */
	uint64_t found_ns; /* monotonic: they were damaged then */
	bool unmapped; /* not applied here yet: no map names it, and nobody can have freed it */
	/* Called once, on a job thread. 0: what was bad can be read. -EIO: not all of it, or nothing. */
	void (*again)(struct repair *r, int code);
	void *ctx;
	struct repair *next; /* the submitter's, before and after */

	/* the repair's own, until again() is called */
	struct job job;
	uint64_t nonce, conn, deadline_ns;
	int peer; /* that is asked; -1: none */
	uint32_t tried; /* replicas, a bit each */
	uint64_t held; /* blocks in the segments' memory: repair_end() takes them out */
	uint64_t fixed; /* by the answer in hand */
	uint64_t fresh; /* blocks that were not known to be damaged */
	int write_error; /* of the write-back, or 0 */
	uint64_t answer_good;
	const uint8_t *bytes; /* in the payload */
	struct payload *payload;
	struct volume *v;
};

/*
 * Finds out what is wrong with an extent of a file whose reading has failed at block `from` of it (or
 * later). -EBADMSG: *ret_r says what, newly allocated. -EAGAIN: it is no longer mapped so, or all is
 * well: read again. May read the disk; any thread but the commit thread.
 */
int repair_find(struct tree *t, struct segments *s, uint64_t ino, const struct extent *x,
	const uint32_t *crcs, uint32_t from, struct repair **ret_r);
/* After again(): the blocks leave the memory, r is freed. Any thread. */
void repair_end(struct segments *s, struct repair *r);
/* Which blocks of an answer are wanted and have the right checksum. */
uint64_t repair_verify(const struct repair *r, uint64_t good, const uint8_t *bytes);
/* true while file block `block` of the inode lies at a. */
bool repair_mapped(struct tree *t, uint64_t ino, uint64_t block, struct addr a);

#endif
