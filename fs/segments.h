/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data segments: append-only files of DATA_SEGMENT_SIZE below `<replica>/data/<epoch>-<id>/`, where
 * an address (epoch, block) lies in file block / DATA_SEGMENT_BLOCKS. Written once, never
 * overwritten with other bytes (I7), so reading needs no lock.
 *
 * Small writes reach their address late: the commit thread announces the buffer with
 * segments_pending_add(), readers are served from it, the writer thread writes runs of them and only
 * then takes them off. Large writes are O_DIRECT with RWF_DSYNC through the
 * volume's uring.
 *
 * Failure modes: a failed write or sync is final (I9): segments_failed(). A torn or missing block
 * shows in its checksum when it is read. A new file is empty, its directory synced before its first use; room
 * is allocated ahead of what is written (segments_allocate()), so that ENOSPC is found before anything is
 * staged or taken.
 */
#ifndef FS_SEGMENTS_H
#define FS_SEGMENTS_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "entry.h"
#include "inode.h"
#include "payload.h"

struct segments;

/* dir exists (made by format). Opens lazily; starts the writer thread. */
int segments_open(const char *dir, struct segments **ret_s, struct err *e);
/* Stops the writer after it has written what is queued (no sync). */
void segments_close(struct segments *s);

/* Makes the epoch's directory known, creating it (synced) when missing. Epoch numbers alone name it
 * afterwards: -EEXIST when the number exists with another id. */
int segments_add_epoch(struct segments *s, struct epoch epoch, struct err *e);
/* Makes sure that the file that holds `a` exists, with `ahead` further ones; helper or commit
 * thread. -ENOSPC leaves nothing behind. */
int segments_prepare(struct segments *s, struct addr a, unsigned ahead);
/* Allocates the blocks [a, upto) of the epoch's files, makes those that are missing, and says how far it came
 * (*ret_upto, also on failure). Never touches bytes that are there. durable: the room stays allocated also when
 * the power fails; else that comes with the next sync. 0, -ENOSPC, other -errno. Job or commit thread. */
int segments_allocate(
	struct segments *s, struct addr a, uint64_t upto, bool durable, uint64_t *ret_upto);

/* The O_DIRECT descriptor and offset for a run inside one segment file; the file is created when it
 * is missing. Borrowed until segments_close(). */
int segments_direct(
	struct segments *s, struct addr a, uint32_t blocks, int *ret_fd, uint64_t *ret_off);

/* Announces that the bytes of `blocks` blocks at a are in memory at p->data + off, and queues them
 * for writing; takes a reference of its own. Readers see them at once. seq: the entry's. */
void segments_pending_add(struct segments *s, struct addr a, uint32_t blocks, struct payload *p,
	uint32_t off, uint64_t seq);
/* The same for a large write that somebody else writes: only served to readers until
 * segments_pending_remove(). */
void segments_inflight_add(struct segments *s, struct addr a, uint32_t blocks, struct payload *p);
void segments_inflight_remove(struct segments *s, struct addr a, uint32_t blocks);
/* Writes bytes to their address, now, on this thread (standby, recovery); durable after the next
 * segments_sync(). */
int segments_write(struct segments *s, struct addr a, uint32_t blocks, const void *bytes);

/* Makes the kernel forget what it holds of the files of epochs from this number on. At the start, before
 * anything is written. 0 or -errno. */
int segments_distrust(struct segments *s, uint32_t from);

/* Every payload announced or written with a seq up to this is written; durable after segments_sync(). */
uint64_t segments_written_seq(struct segments *s);
/* Waits until what was announced up to now is written, then fdatasync()s every file that changed
 * since its last sync. A helper thread. 0 or -errno (final). */
int segments_sync(struct segments *s);

/* Reads whole blocks and verifies each against crcs[] (from the map). From memory where pending.
 * 0; with *ret_bad the index of the first such block: -EBADMSG it does not match, -EIO it cannot be
 * read, also not alone. Without crcs -EIO alone. Any thread. */
int segments_read(struct segments *s, struct addr a, uint32_t blocks, void *buf,
	const uint32_t *crcs, uint32_t *ret_bad);
/* The same past the page cache, for large runs that are read once. buf should lie on a block's boundary. */
int segments_read_direct(struct segments *s, struct addr a, uint32_t blocks, void *buf,
	const uint32_t *crcs, uint32_t *ret_bad);
/* The same without checksums: reads a run and compares the CRC-32C of the whole with `crc`. 0,
 * -EBADMSG, -EIO. For recovery (is a large write whole?) and for catching a peer up. */
int segments_read_run(struct segments *s, struct addr a, uint32_t blocks, void *buf, uint32_t crc);

/* Which of up to 64 blocks do not have their checksum or cannot be read: a bit each. Any thread. */
uint64_t segments_damage(struct segments *s, struct addr a, uint32_t blocks, const uint32_t *crcs);
/* Puts back, durably, what belongs to a run of blocks (in one segment) that is damaged; the bytes are
 * BLOCK_SIZE-aligned. 0 or -errno, which is not final: the old damage stays. A job thread. */
int segments_repair(struct segments *s, struct addr a, uint32_t blocks, const void *bytes);
/* Nothing is there: it was punched or never written (or the file is lost). */
bool segments_hole(struct segments *s, struct addr a, uint32_t blocks);

/* Gives the space of a run back that nothing maps any more (it lies in one segment). 0, also where the
 * filesystem cannot; -EIO. A job or apply thread. */
int segments_punch(struct segments *s, struct addr a, uint32_t blocks);
/* Gives back what was allocated ahead and never written in epochs below `before`, each once. Nobody
 * may write in them meanwhile. A job or apply thread. */
int segments_trim(struct segments *s, uint32_t before);

/* The epoch with this number. -ENOENT: not known here. */
int segments_epoch(struct segments *s, uint32_t num, struct epoch *ret_epoch);
/* All epochs, ascending; returns how many there are and fills at most max. */
unsigned segments_epochs(struct segments *s, struct epoch *epochs, unsigned max);
bool segments_failed(struct segments *s, struct err *e);
/* The file where that address lies, in quotes, and what is wrong with it as a whole. Any thread. */
void segments_describe(struct segments *s, struct addr a, char *buf, size_t size);
/* Allocated below dir, as segments_measure() found it, and what was made since. Any thread. */
uint64_t segments_disk_bytes(struct segments *s);
/* Looks at each file. A job thread: thousands of files take milliseconds. */
void segments_measure(struct segments *s);
size_t segments_pending_bytes(struct segments *s);

#endif
