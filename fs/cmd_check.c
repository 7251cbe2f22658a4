/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemfs check and dump: look at a replica that no daemon runs. Nothing on the disk is changed:
 * what the journal holds beyond RocksDB's files is applied in memory only and vanishes. The
 * history ends where recovery would end it.
 *
 * Limits: check says what is wrong here, and not which side is right. Inline payloads that are still
 * only in the journal are taken from there.
 */
#include "cmd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "log.h"
#include "pull.h"
#include "resync.h"
#include "volume_impl.h"

#define BAD_RUNS_MAX 100u /* that are listed */

struct offline {
	struct volume v;
	struct ring_recovered rec;
	struct pos flushed;
	uint64_t data_seq;
	/* payloads that only the journal has: address to bytes */
	struct journal_block {
		struct addr addr;
		const uint8_t *bytes;
	} * blocks;
	size_t nblocks, cap;
	uint64_t bad_blocks, read_blocks;
	struct bad_run { /* of blocks that are not as they should be; names come at the end */
		uint64_t ino, file_block;
		struct addr addr;
		uint32_t blocks;
		bool unreadable;
	} bad[BAD_RUNS_MAX];
	unsigned nbad;
	uint64_t problems;
};

static void problem(void *ctx, const char *text)
{
	struct offline *o = ctx;

	if (o->problems++ < 100)
		printf("problem: %s\n", text);
}

static int block_order(const void *a, const void *b)
{
	const struct journal_block *x = a, *y = b;

	if (x->addr.epoch != y->addr.epoch)
		return x->addr.epoch < y->addr.epoch ? -1 : 1;
	return x->addr.block < y->addr.block ? -1 : x->addr.block > y->addr.block;
}

static void remember_payload(struct offline *o, const struct entry_payload *p)
{
	uint8_t *copy = malloc((size_t)p->blocks * BLOCK_SIZE);

	ensure(copy);
	memcpy(copy, p->bytes, (size_t)p->blocks * BLOCK_SIZE);
	for (uint32_t i = 0; i < p->blocks; i++) {
		if (o->nblocks == o->cap) {
			o->cap = o->cap ? 2 * o->cap : 4096;
			o->blocks = realloc(o->blocks, o->cap * sizeof(*o->blocks));
			ensure(o->blocks);
		}
		o->blocks[o->nblocks++] = (struct journal_block){
			.addr = {.epoch = p->addr.epoch, .block = p->addr.block + i},
			.bytes = copy + (size_t)i * BLOCK_SIZE};
	}
}

static int replay(void *ctx, const void *batch, const struct batch_header *h)
{
	struct offline *o = ctx;
	struct entry e;
	size_t at = 0;
	int r;

	while (batch_next_entry(batch, h, &at, &e)) {
		struct entry_payload p;

		if (apply_payload(&e, &p)) {
			struct err err = {0};

			if (segments_add_epoch(o->v.segments, e.h.epoch, &err))
				return -EIO;
			if (p.bytes)
				remember_payload(o, &p);
		}
		if (e.h.seq <= o->flushed.seq)
			continue;
		r = apply_entry(o->v.tree, &e, NULL);
		if (r)
			return r;
	}
	return tree_flush_txn(o->v.tree);
}

static const uint8_t *journal_bytes(struct offline *o, struct addr a)
{
	struct journal_block key = {.addr = a};
	struct journal_block *b =
		o->nblocks ? bsearch(&key, o->blocks, o->nblocks, sizeof(*o->blocks), block_order)
			   : NULL;

	return b ? b->bytes : NULL;
}

static void note_bad(
	struct offline *o, uint64_t ino, uint64_t file_block, struct addr a, bool unreadable)
{
	struct bad_run *b = o->nbad ? &o->bad[o->nbad - 1] : NULL;

	o->bad_blocks++;
	if (b && b->ino == ino && b->file_block + b->blocks == file_block &&
		b->addr.epoch == a.epoch && b->addr.block + b->blocks == a.block &&
		b->unreadable == unreadable)
		b->blocks++;
	else if (o->nbad < BAD_RUNS_MAX)
		o->bad[o->nbad++] = (struct bad_run){.ino = ino,
			.file_block = file_block,
			.addr = a,
			.blocks = 1,
			.unreadable = unreadable};
}

static int check_extent(void *ctx, uint64_t ino, const struct extent *x, const uint32_t *crcs)
{
	struct offline *o = ctx;
	static _Alignas(BLOCK_SIZE) uint8_t buf[BLOCK_SIZE];

	for (uint32_t i = 0; i < x->blocks; i++) {
		struct addr a = {.epoch = x->addr.epoch, .block = x->addr.block + i};
		const uint8_t *bytes = journal_bytes(o, a);
		uint32_t bad;
		int r = 0;

		o->read_blocks++;
		if (!bytes)
			r = segments_read(o->v.segments, a, 1, buf, &crcs[i], &bad);
		else if (crc32c(0, bytes, BLOCK_SIZE) != crcs[i])
			r = -EBADMSG;
		if (r)
			note_bad(o, ino, x->file_block + i, a, r != -EBADMSG);
	}
	return 0;
}

/* What was found, with the files' names. */
static void report_bad(struct offline *o)
{
	char path[4400], file[4400];
	uint64_t named = 0;

	for (unsigned i = 0; i < o->nbad; i++) {
		const struct bad_run *b = &o->bad[i];

		if (b->ino != named && tree_path(o->v.tree, b->ino, path, sizeof(path)))
			snprintf(path, sizeof(path), "(a file without a name)");
		named = b->ino;
		segments_describe(o->v.segments, b->addr, file, sizeof(file));
		printf("problem: '%s' (inode %llu) offset %llu: %u block%s at epoch %u block %llu "
		       "%s, in %s\n",
			path, (unsigned long long)b->ino,
			(unsigned long long)b->file_block * BLOCK_SIZE, b->blocks,
			b->blocks == 1 ? "" : "s", b->addr.epoch, (unsigned long long)b->addr.block,
			b->unreadable	 ? "cannot be read"
			: b->blocks == 1 ? "does not match the checksum"
					 : "do not match the checksum",
			file);
	}
	o->problems += o->bad_blocks;
}

static int offline_open(struct offline *o, const struct config *cfg, struct err *e)
{
	struct store_options so = {.block_cache_bytes = cfg->cache, .write_buffer_bytes = 1u << 30};
	struct volume *v = &o->v;
	char path[4200];
	int r;

	v->cfg = cfg;
	v->lock_fd = -1;
	r = volume_lock(cfg, &v->lock_fd, e);
	/* What is changed: the own state was given up already, or is what was pulled. */
	if (!r)
		r = resync_finish(cfg->directory, NULL, e);
	if (!r)
		r = pull_switch_finish(cfg->directory, NULL, e);
	if (!r)
		r = volume_identify(cfg, &v->desc, &v->self, e);
	volume_path(v, "record", path, sizeof(path));
	if (!r)
		r = record_load(path, &v->record, e);
	volume_path(v, "facts", path, sizeof(path));
	if (!r)
		r = facts_load(path, &v->facts, e);
	volume_path(v, "meta", path, sizeof(path));
	if (!r)
		r = store_open(path, &so, &v->store, e);
	if (!r)
		r = tree_open(v->store, &v->desc.volume, &v->tree, e);
	if (!r)
		r = tree_persisted(v->tree, &o->flushed, &o->data_seq);
	volume_path(v, "data", path, sizeof(path));
	if (!r)
		r = segments_open(path, &v->segments, e);
	if (!r)
		r = uring_open(URING_THREADS, 1, &v->uring, e);
	volume_path(v, "ring", path, sizeof(path));
	if (!r)
		r = ring_open(path, &v->desc.volume, o->flushed, volume_verify_tail, v, v->uring,
			&v->ring, &o->rec, e);
	return r;
}

static void offline_close(struct offline *o)
{
	struct volume *v = &o->v;

	if (v->ring)
		ring_close(v->ring);
	if (v->uring)
		uring_close(v->uring);
	if (v->segments)
		segments_close(v->segments);
	if (v->tree)
		tree_close(v->tree);
	if (v->store)
		store_close(v->store);
}

static bool advise(const struct volume *v, int r)
{
	char advice[1500] = "";

	volume_advise(v, r, advice, sizeof(advice));
	if (advice[0])
		fprintf(stderr, "tandemfs: %s\n", advice);
	return advice[0];
}

static int report(const struct volume *v, const struct err *e, int r)
{
	fprintf(stderr, "tandemfs: %s\n", e->msg[0] ? e->msg : strerror(-r));
	return !advise(v, r) && r == -EINVAL ? 2 : 1;
}

static int print_digest(struct offline *o)
{
	uint8_t sha[32];
	struct tree_info info;

	if (tree_digest(o->v.tree, sha))
		return 1;
	tree_info(o->v.tree, &info);
	printf("digest ");
	for (unsigned i = 0; i < sizeof(sha); i++)
		printf("%02x", sha[i]);
	printf(" seq %llu\n", (unsigned long long)info.applied.seq);
	return 0;
}

/* Who has to have what is committed, as this replica knows it. */
static void print_in_sync(const struct record *r)
{
	printf("record: version %llu, epoch %u; in sync:", (unsigned long long)r->version.number,
		r->epoch.num);
	for (unsigned i = 0; i < r->nreplicas; i++)
		if (r->replicas[i].in_sync)
			printf(" %s", r->replicas[i].domain);
	printf("\n");
}

int cmd_check(const struct options *opt)
{
	static struct config cfg;
	static struct offline offline; /* and what it holds: as long as the process */
	struct offline *o = &offline;
	struct tree_check c = {.problem = problem};
	struct err e = {0};
	int r, bad_meta;

	c.ctx = o;
	c.extent = opt->data ? check_extent : NULL;
	r = config_load(opt->config, &cfg, &e);
	if (r) {
		fprintf(stderr, "tandemfs: %s\n", e.msg);
		return cmd_config_status(r);
	}
	r = offline_open(o, &cfg, &e);
	if (!r) {
		r = ring_walk(o->v.ring, o->data_seq, replay, o);
		if (r)
			volume_replay_failed(&o->v, r, &e);
	}
	if (r)
		return report(&o->v, &e, r);
	if (o->nblocks)
		qsort(o->blocks, o->nblocks, sizeof(*o->blocks), block_order);
	bad_meta = store_verify(o->v.store, NULL, &e);
	if (bad_meta)
		problem(o, e.msg);
	r = tree_check(o->v.tree, &c);
	if (r) {
		problem(o, "the metadata cannot be read to the end");
		bad_meta = bad_meta ? bad_meta : -EBADMSG;
	}
	report_bad(o);
	print_in_sync(&o->v.record);
	printf("journal: seq %llu to %llu, committed %llu, %llu batches; flushed at seq %llu\n",
		(unsigned long long)o->rec.first_seq, (unsigned long long)o->rec.end.seq,
		(unsigned long long)o->rec.commit, (unsigned long long)o->rec.batches,
		(unsigned long long)o->flushed.seq);
	printf("tree: %llu inodes, %llu names, %llu extents, %llu orphans\n",
		(unsigned long long)c.inodes, (unsigned long long)c.dirents,
		(unsigned long long)c.extents, (unsigned long long)c.orphans);
	if (opt->data)
		printf("data: %llu blocks read, %llu bad%s\n", (unsigned long long)o->read_blocks,
			(unsigned long long)o->bad_blocks,
			o->bad_blocks ? "; while this replica is active, reading them repairs them "
					"from its peer"
				      : "");
	if (opt->digest)
		o->problems += (uint64_t)print_digest(o);
	printf("%llu problems\n", (unsigned long long)o->problems);
	if (bad_meta)
		advise(&o->v, bad_meta);
	r = o->problems ? 1 : 0;
	offline_close(o);
	return r;
}

static int dump_batch(void *ctx, const void *batch, const struct batch_header *h)
{
	struct entry e;
	size_t at = 0;

	printf("batch seq %llu..%llu epoch %u commit %llu length %u\n",
		(unsigned long long)h->first_seq, (unsigned long long)batch_last_seq(h),
		h->epoch.num, (unsigned long long)h->commit, h->length);
	while (batch_next_entry(batch, h, &at, &e)) {
		char text[512];

		apply_describe(&e, text, sizeof(text));
		printf("  %llu %08x %s\n", (unsigned long long)e.h.seq, e.h.crc, text);
	}
	return 0;
}

static void dump_record(const struct record *r)
{
	char uuid[UUID_TEXT_SIZE];

	printf("record version %llu epoch %u active %s\n", (unsigned long long)r->version.number,
		r->epoch.num, uuid_is_zero(&r->active) ? "none" : uuid_text(&r->active, uuid));
	for (unsigned i = 0; i < r->nreplicas; i++)
		printf("  replica %s domain %s%s%s\n", uuid_text(&r->replicas[i].uuid, uuid),
			r->replicas[i].domain, r->replicas[i].in_sync ? " in-sync" : "",
			record_domain_inactive(r, r->replicas[i].domain) ? " inactive" : "");
}

int cmd_dump(const struct options *opt)
{
	static struct config cfg;
	static struct offline offline; /* and what it holds: as long as the process */
	struct offline *o = &offline;
	struct err e = {0};
	int r;

	r = config_load(opt->config, &cfg, &e);
	if (r) {
		fprintf(stderr, "tandemfs: %s\n", e.msg);
		return cmd_config_status(r);
	}
	r = offline_open(o, &cfg, &e);
	if (r)
		return report(&o->v, &e, r);
	dump_record(&o->v.record);
	printf("flushed seq %llu chain %08x; payloads synced to seq %llu\n",
		(unsigned long long)o->flushed.seq, o->flushed.chain,
		(unsigned long long)o->data_seq);
	r = ring_walk(o->v.ring, 0, dump_batch, o);
	offline_close(o);
	return r ? 1 : 0;
}
