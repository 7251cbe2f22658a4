/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What outlives a volume daemon that is killed at any instruction, beside the mount itself: one memfd, of which
 * the holder has a descriptor (holder.h) from before the first request is read.
 *
 * In it, in host order (a mount never changes the machine):
 *
 *   0          struct kept_header: the first part is written once and has a checksum, the second part changes
 *   1 MiB      the window, KEPT_WINDOW_MAX places of struct kept_done: operations that were executed and perhaps
 *              not answered. Only its first header.window places count
 *   64 MiB     KEPT_SHARDS areas of 512 MiB, the lookup counts (ll_known.c): a table of cap places lies at
 *              cap * 16 bytes in its area, so that header.caps[], one word, says which table counts
 *   behind     only where header.pool_area is not 0, under ack=fsync: what was answered and may not be in the
 *              journal (kept_staged.c): the batch buffers, KEPT_ARENA_SIZE; KEPT_PAYLOADS places of struct
 *              kept_payload; PAYLOAD_CLASSES areas of header.pool_area bytes, the payload pool (payload.h)
 *
 * It is sparse: what was not written takes no memory.
 *
 * Everything that changes, changes by single stores of a word, in an order (kept_order()), so that at each
 * instruction what is there is what it was before or after, or errs in the safe direction. A lookup count may
 * be too high: then the space of a removed file comes back with the next new mount. It is never too low: a
 * removed file would lose its data under the process that has it open.
 *
 * Failure modes: a memfd that is not ours, of another mount or volume, of an older version, or with a header that
 * is damaged is refused (kept_check()): the mount is aborted with errors. One of a newer version was left by a newer
 * build, which may come back: the daemon does not start and the mount waits (volume_held.c). For that each version has
 * magic and version where they are now. A mount that was taken over
 * KEPT_TAKEOVERS_MAX times in a row without an answer to a new request is refused, too: a request that the
 * daemon dies of would otherwise be sent again for ever.
 *
 * No locks: what a function changes says its owner.
 */
#ifndef FS_KEPT_H
#define FS_KEPT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "entry.h"
#include "inode.h"
#include "payload.h"
#include "uuid.h"

#define KEPT_MAGIC 0x4b54504554444654ull
#define KEPT_VERSION 2u
#define KEPT_SHARDS 64u
#define KEPT_CAP_MIN 256u /* places of a table: whole pages */
#define KEPT_CAP_MAX (1u << 24)
#define KEPT_WINDOW_MAX (1u << 20)
#define KEPT_TAKEOVERS_MAX 16u
#define KEPT_ARENA_SIZE (64u << 20)
#define KEPT_PAYLOADS (1u << 14) /* many more than are not committed at a time */
#define KEPT_POOL_AREA_MAX (1ull << 42)
#define KEPT_POOL_AT                                                                               \
	(KEPT_ARENA_SIZE + KEPT_PAYLOADS * sizeof(struct kept_payload)) /* in the arena's terms */

struct kept_header {
	uint64_t magic;
	uint32_t version;
	uint32_t crc; /* of what is between this field and `committed` */
	uint64_t mount_id;
	uint64_t agreed; /* flags of INIT */
	struct uuid volume;
	/* what changes */
	/* a seq: stored before the operations up to it are answered */
	_Atomic uint64_t committed;
	/* since a request was answered that no earlier daemon had read */
	_Atomic uint32_t takeovers;
	_Atomic uint32_t window; /* places in use */
	_Atomic uint32_t caps[KEPT_SHARDS]; /* 0: no table yet */
	uint64_t pool_area; /* bytes; the descriptor's size must fit it */
	/* a seq, stored before operations up to it are answered that are not committed; 0: none ever was */
	_Atomic uint64_t answered;
	_Atomic uint32_t payloads; /* were added, modulo 2^32 */
};

/* Where a large payload lies that a batch only names. Believed only with the checksum that the batch has. */
struct kept_payload {
	uint64_t block; /* its address */
	uint32_t epoch;
	uint32_t blocks;
	uint64_t at; /* bytes into the pool */
};

/* An operation whose entry is in the journal's history. */
struct kept_done {
	uint64_t unique; /* of the request, without the bit that says it was sent again */
	uint64_t seq;
	uint64_t ino; /* what the reply tells of; 0: nothing */
	uint64_t orphan; /* the inode whose last name went; 0: none */
	uint32_t type; /* enum op_type */
	uint32_t reserved;
};

struct kept_known {
	uint64_t ino; /* 0: a free place */
	uint64_t count : 63;
	uint64_t orphan : 1; /* its last name is gone: volume_forgotten() when count is zero */
};

struct kept {
	int fd;
	struct kept_header *h; /* NULL: none */
	uint64_t size;
};

/* A new one, empty; pool_area: bytes, a multiple of BLOCK_SIZE; 0: without what ack=fsync needs. -errno. */
int kept_new(uint64_t pool_area, struct kept *ret_k);
/* As new, but for what lies in the batch buffers and the pool. */
void kept_reset(struct kept *k);
/* Maps what the holder gave; takes the descriptor in any case. -EBADMSG: it is no kept state of this form;
 * -EPROTONOSUPPORT: of a newer one. */
int kept_map(int fd, struct kept *ret_k, struct err *e);
void kept_close(struct kept *k);
/* Before it goes to the holder. */
void kept_seal(struct kept *k, uint64_t mount_id, uint64_t agreed, const struct uuid *volume);
/* Whether a header may be believed and is of this mount and volume (NULL: of any). -EBADMSG,
 * -EPROTONOSUPPORT; -ELOOP: taken over too often in vain. */
int kept_check(
	const struct kept_header *h, uint64_t mount_id, const struct uuid *volume, struct err *e);

/* The table of a shard that has `cap` places. */
struct kept_known *kept_table(const struct kept *k, unsigned shard, uint32_t cap);
/* Zeroes a table that does not count. */
void kept_table_clear(const struct kept *k, unsigned shard, uint32_t cap);

struct kept_done *kept_window(const struct kept *k);
/* When it is full nobody may take the mount over any more: an operation could be executed twice. One thread
 * at a time. */
void kept_window_add(struct kept *k, const struct kept_done *d);
/* The newest of an earlier one, room left for as many. */
void kept_window_copy(struct kept *k, const struct kept *from);

/* --- of one that has a pool_area --- */

uint8_t *kept_arena(const struct kept *k);
/* kept_staged.c */
uint8_t *kept_pool(const struct kept *k);
/* Before the entry that names the payload is in a batch. `bytes` lie in the pool. The commit thread. */
void kept_payload_add(struct kept *k, struct addr a, uint32_t blocks, const void *bytes);
/* The newest bytes that were to be written there, whoever checks them; NULL: none. */
const void *kept_payload(const struct kept *k, struct addr a, uint32_t blocks);
/* The batch that continues `end`, in the arena, as batch_rescue() says; *at is where the one before it ended (bytes, 0
 * at first), and is moved on. NULL: there is none. */
uint8_t *kept_next_batch(const struct kept *k, size_t *at, const struct uuid *volume,
	struct pos end, uint64_t commit, uint64_t time_ns, struct batch_header *ret_h);

/* What was stored before is stored before what follows, for whoever looks after this thread was killed. */
static inline void kept_order(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

#endif
