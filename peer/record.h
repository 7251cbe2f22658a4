/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record: a volume's membership (epoch, active replica, in-sync set, inactive domains) and the
 * ancestry of its versions. Every change makes a new version, (number, random id), appended to the
 * ancestry. Of two records one is newer if it has the other's version among its ancestors with no
 * forced step since, or if the other is the first one, under which nothing was ever written; two records
 * neither of which may follow the other are a fork.
 *
 * Encoding, comparing and changing are pure. record_load() and record_store() are the only ones
 * that touch a disk: new file, fsync, rename, fsync of the directory, so that a crash leaves the old
 * or the new record, never a mixture. A damaged file is -EBADMSG, never guessed at.
 *
 * File: magic "TFRC", version u16, reserved u16, length u32, body, CRC-32C u32. On the wire the body
 * alone. The body is a sequence of fields in the order of struct record, little-endian.
 */
#ifndef PEER_RECORD_H
#define PEER_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "entry.h"
#include "limits.h"
#include "uuid.h"

#define RECORD_ANCESTORS_MAX 4096u
#define RECORD_ENCODED_MAX (160u << 10) /* bytes */
/*
 * A record's format level says what may be in the volume's history. It is raised, never lowered, by a change
 * of the record, once every replica's build has announced that it knows the level:
 *   1   at birth
 *   2   entries that change the volume's size
 */
#define RECORD_FORMAT_BIRTH 1u
#define RECORD_FORMAT_LEVEL 2u /* the highest that this build knows */

struct record_version {
	uint64_t number; /* 1 at birth, one more at each change */
	uint64_t id; /* random */
	bool forced; /* this step was made with --accept-data-loss */
};

struct record_replica {
	struct uuid uuid;
	char domain[DOMAIN_LEN_MAX + 1];
	bool in_sync;
};

struct record {
	struct uuid cluster, volume;
	uint32_t format_level;
	struct record_version version;
	struct epoch epoch;
	struct uuid active; /* zero: none */
	unsigned nreplicas;
	struct record_replica replicas[REPLICAS_MAX];
	unsigned ninactive;
	char inactive[REPLICAS_MAX][DOMAIN_LEN_MAX + 1];
	unsigned nancestors; /* newest last; the own version is not among them */
	struct record_version ancestors[RECORD_ANCESTORS_MAX];
};

enum record_order {
	RECORD_SAME,
	RECORD_NEWER, /* a is newer than b: b's holder adopts a */
	RECORD_OLDER, /* b is newer than a */
	RECORD_FORK,
};

enum record_order record_compare(const struct record *a, const struct record *b);
/* Copies only the ancestors that are in use (the struct is large). */
void record_copy(struct record *dst, const struct record *src);
/* Begins a change in place: the current version joins the ancestry (the oldest falls out when it is
 * full), the new version gets number + 1 and `id`. The caller then edits the other fields. */
void record_next(struct record *r, uint64_t id, bool forced);

/* The version that `v` names is r's own, or an ancestor of it with no forced step since. */
bool record_follows(const struct record *r, const struct record_version *v);
/* As record_next(), to a version that exists already (its number is not below the current one). */
void record_pass(struct record *r, const struct record_version *v);

/* Index of the replica or -1. */
int record_find(const struct record *r, const struct uuid *replica);
bool record_domain_known(const struct record *r, const char *domain);
bool record_domain_inactive(const struct record *r, const char *domain);
void record_set_inactive(struct record *r, const char *domain, bool inactive);
unsigned record_in_sync_count(const struct record *r);

/* Returns the bytes written, at most RECORD_ENCODED_MAX, into buf of `size`; 0 if it does not fit. */
size_t record_encode(const struct record *r, void *buf, size_t size);
/* Exactly len bytes. 0, or -EBADMSG (limits, duplicate replicas, an active that is no replica,
 * domains without a terminator, ...). */
int record_decode(const void *buf, size_t len, struct record *ret_r);
/* Checks that what a record says is possible: used by decode and by ensure() before storing. */
bool record_valid(const struct record *r);

int record_load(const char *path, struct record *ret_r, struct err *e);
int record_store(const char *path, const struct record *r, struct err *e);

#define FACTS_PROPOSED_MAX 16u

/* Local facts, kept outside the record because they are no agreement: `<replica>/facts`. */
struct replica_facts {
	bool demoted; /* a forced demote: wait for an operator's promote */
	uint32_t bad_starts; /* I/O errors that ended the process in a row (I9); 3: suspect */
	bool damaged; /* a block of RocksDB's files had not its checksum: each start looks at them all.
		       * The highest bit of bad_starts on the disk, so that an older build takes this
		       * replica for suspect */
	/* It is empty, has its first record, and was told of one with an epoch that counts on it: what it had when
	 * that became true is gone (a replaced disk). A bit of bad_starts on the disk, too. The core's alone. */
	bool met;
	uint64_t committed; /* highest commit index known when last written; informative */
	/* Versions that this replica proposed to others, or promised to another, when its record was `base`, and that
	 * its record does not contain: somebody may hold them, so the next record counts them as ancestors,
	 * or a proposal that a crash left half agreed would look like a fork. The core's alone. */
	struct record_version base;
	uint32_t promised_epoch; /* the highest of what was promised; 0: nothing was */
	unsigned nproposed;
	struct record_version proposed[FACTS_PROPOSED_MAX]; /* numbers ascend */
};
/* A missing file gives all zeros. */
int facts_load(const char *path, struct replica_facts *ret_f, struct err *e);
int facts_store(const char *path, const struct replica_facts *f, struct err *e);

#endif
