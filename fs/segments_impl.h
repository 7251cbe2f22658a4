/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What segments_files.c (epochs and files), segments.c (writing, syncing, reading) and
 * segments_pending.c (what is still in memory, and the thread that writes it) share.
 *
 * Locks, none held across another but in this order: create_lock (making and opening files; held
 * across system calls) > table_lock (the tables; short). queue_lock (the writer's queue) and the
 * shards' locks stand alone. Epochs and files are never freed before segments_close(), so a pointer
 * to one may be kept without a lock.
 */
#ifndef FS_SEGMENTS_IMPL_H
#define FS_SEGMENTS_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "segments.h"

#define PENDING_SHARDS 64u /* a power of two */
#define PENDING_BUCKETS 256u /* in each shard; a power of two */
#define GROUP_SHIFT 4 /* pending runs are found by groups of 16 blocks */

#define COALESCE_BYTES (WRITE_SIZE_MAX + 2 * BLOCK_SIZE) /* in one write of the writer thread */

#define SEG_FILE_NAME_SIZE 24
#define SEG_EPOCH_NAME_SIZE 32

struct seg_file {
	int fd; /* through the page cache */
	int direct_fd; /* O_DIRECT; the same as fd where the filesystem has none */
	atomic_bool no_readahead; /* O_DIRECT writes go on behind what is read */
	atomic_bool dirty; /* written and not flushed since its last sync began */
	atomic_ullong
		unpaced; /* bytes written since write-back was last started; without O_DIRECT */
};

struct seg_epoch {
	struct epoch epoch;
	atomic_int
		dirfd; /* -1 until it is needed: most epochs of a long life hold nothing any more */
	struct seg_file **files; /* by file number, NULL where not open; table_lock */
	unsigned nfiles; /* table_lock */
	atomic_bool trimmed; /* by segments_trim(), since the start */
	atomic_uint made_upto; /* number of the highest file known to exist, plus one */
};

struct run;

/* One appearance of a run in a group of 16 blocks. */
struct run_node {
	struct run_node *next; /* shard lock */
	struct run *run;
	uint64_t group;
};

/* Blocks in memory. In the map from pending_insert() to pending_remove(); constant meanwhile. */
struct run {
	struct addr a;
	uint32_t blocks;
	uint32_t off; /* in the payload */
	struct payload *p;
	uint64_t seq;
	bool inflight; /* somebody else writes it */
	struct run *next; /* in the writer's list; queue_lock or the writer's own */
	unsigned nnodes;
	struct run_node nodes[];
};

struct pending_shard {
	pthread_mutex_t lock;
	struct run_node *buckets[PENDING_BUCKETS];
} __attribute__((aligned(64)));

struct segments {
	char dir[4096];
	int dirfd;

	pthread_mutex_t create_lock;
	pthread_rwlock_t table_lock;
	struct seg_epoch **epochs; /* ascending by number; table_lock */
	unsigned nepochs, cap;
	atomic_ullong disk_bytes;

	struct pending_shard shards[PENDING_SHARDS];
	atomic_ulong nruns; /* in the map; a quick no for readers */
	atomic_size_t pending_bytes;

	/* the writer thread's queue; queue_lock */
	pthread_mutex_t queue_lock;
	pthread_cond_t queue_more; /* something for the writer */
	pthread_cond_t queue_done; /* it has written, or failed */
	struct run *head, **tail;
	size_t queued_bytes;
	uint64_t first_ns; /* when the head was queued */
	uint64_t announced, written; /* runs, ever */
	uint64_t last_seq; /* of what was announced */
	uint64_t busy_seq; /* first seq that the writer has taken and not written; 0: none */
	struct run *stuck; /* taken, not written: after a failure */
	unsigned sync_waiters;
	struct addr want; /* a file to make ahead of its use; epoch 0: none */
	bool stop;
	pthread_t writer;
	uint8_t *bounce; /* the writer's, COALESCE_BYTES */

	pthread_mutex_t fail_lock;
	struct err fail; /* code 0: healthy; fail_lock */
	atomic_int failed;
	atomic_ulong read_errors;
	atomic_bool no_punch; /* the filesystem below cannot */

	/* fault injection */
	unsigned fault_at, fault_repeat, slow_punch_us;
	atomic_uint io_count;
};

static inline uint64_t seg_file_offset(struct addr a)
{
	return a.block % DATA_SEGMENT_BLOCKS * BLOCK_SIZE;
}

/* segments_files.c */
void seg_file_name(unsigned number, char buf[SEG_FILE_NAME_SIZE]);
void seg_epoch_name(struct epoch e, char buf[SEG_EPOCH_NAME_SIZE]);
struct seg_epoch *seg_epoch_find(struct segments *s, uint32_t num);
/* The i-th, ascending; NULL behind the last. For walks: one that is added meanwhile is a later one. */
struct seg_epoch *seg_epoch_at(struct segments *s, unsigned i);
/* The directory of an epoch, open until segments_close(); or -errno. Any thread, no lock. */
int seg_epoch_dir(struct segments *s, struct seg_epoch *e);
/* The open file that holds a. -ENOENT when it is missing and create is false. */
int seg_file_get(struct segments *s, struct addr a, bool create, struct seg_file **ret_f);
int seg_file_make(struct segments *s, struct seg_epoch *e, unsigned number);
/* Counts a write or sync; -EIO when it is one that shall fail. */
int seg_fault(struct segments *s);
/* Remembers the first final error; returns code. */
int seg_fail(struct segments *s, int code, const char *what, struct addr a);
/* segments.c */
/* Writes all of iov, whole blocks, at a; marks the file dirty. The bounce buffer (BLOCK_SIZE-aligned, with
 * room for all of it) is for memory that is not aligned; NULL when it is. iov is used up. */
int seg_pwritev(struct segments *s, struct addr a, struct iovec *iov, int niov, uint8_t *bounce);

/* segments_pending.c */
int pending_start(struct segments *s, struct err *e);
void pending_stop(struct segments *s);
/* Copies what is in memory of [a, a + blocks) into buf, and sets have[i] for it. */
void pending_copy(struct segments *s, struct addr a, uint32_t blocks, uint8_t *buf, bool *have);
/* Waits until what was announced up to now is written. 0 or the final error. */
int pending_drain(struct segments *s);
/* The file after the one that holds a will be needed soon when a is near its end. */
void pending_want_next(struct segments *s, struct addr a);

#endif
