/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one way to start: open what survived, and find out how far the history goes.
 *
 * RocksDB opens at its flushed position F, with payloads synced up to D <= F. The ring holds
 * everything after D. Inline payloads after D are written to their addresses again (the same bytes),
 * entries after F and up to the highest commit index found are applied. What is above it may be
 * uncommitted: it stays in the ring, and is applied at promotion or when a handshake confirms it.
 *
 * Applications may be waiting (volume_held.c), so the ring is read, by a thread of its own, while RocksDB opens: each of
 * them waits for the disk most of the time, and neither needs the other.
 *
 * Failure modes: a torn tail ends the history (ring.h); damage below the commit index, a history that
 * does not reach F, a damaged record or store: an error that says what it is and that the replica has
 * to be made anew from the other side; nothing is changed then. A second daemon on the same directory
 * is refused by a lock.
 */
#include "pull.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "log.h"
#include "resync.h"

void volume_path(const struct volume *v, const char *name, char *buf, size_t size)
{
	snprintf(buf, size, "%s/%s", v->cfg->directory, name);
}

int volume_lock(const struct config *cfg, int *ret_fd, struct err *e)
{
	int fd, flags = O_RDWR | O_CLOEXEC;
	char path[4200];

	snprintf(path, sizeof(path), "%s/volume", cfg->directory);
	if (!access(path, F_OK)) /* a replica, whether somebody deleted its empty file or not */
		flags |= O_CREAT;
	snprintf(path, sizeof(path), "%s/lock", cfg->directory);
	fd = open(path, flags, 0600);
	if (fd < 0 && errno == ENOENT)
		return err_set(e, -ENOENT,
			"no replica in '%s'; make one with 'tandemfs format --config %s'",
			cfg->directory, cfg->path);
	if (fd < 0)
		return err_set(e, -errno, "'%s': %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		int code = -errno;

		close(fd);
		return err_set(e, code, "another tandemfs uses '%s' already: stop it first",
			cfg->directory);
	}
	*ret_fd = fd;
	return 0;
}

/* The file 'replica' does not say which one of the descriptor's replicas this is. */
static int unidentified(const struct config *cfg, const struct descriptor *d, struct uuid *ret_self,
	const char *what, struct err *e)
{
	char uuid[UUID_TEXT_SIZE] = "not there";

	for (unsigned i = 0; i < d->nreplicas; i++)
		if (!strcmp(d->replicas[i].domain, cfg->domain))
			uuid_text(&d->replicas[i].uuid, uuid);
	*ret_self = (struct uuid){0};
	return err_set(e, -EBADMSG,
		"'%.120s/replica' %s: it should be the id that 'volume' beside it has for domain "
		"'%s', %s",
		cfg->directory, what, cfg->domain, uuid);
}

int volume_identify(
	const struct config *cfg, struct descriptor *ret_d, struct uuid *ret_self, struct err *e)
{
	char path[4200], text[64] = "";
	FILE *f;
	int r;

	snprintf(path, sizeof(path), "%s/volume", cfg->directory);
	r = descriptor_load(path, ret_d, e);
	if (r)
		return r;
	snprintf(path, sizeof(path), "%s/replica", cfg->directory);
	f = fopen(path, "re");
	if (!f || !fgets(text, sizeof(text), f)) {
		if (f)
			fclose(f);
		return unidentified(cfg, ret_d, ret_self, "cannot be read", e);
	}
	fclose(f);
	text[strcspn(text, "\n")] = '\0';
	if (uuid_parse(text, ret_self))
		return unidentified(cfg, ret_d, ret_self, "holds no replica id", e);
	for (unsigned i = 0; i < ret_d->nreplicas; i++) {
		if (!uuid_equal(&ret_d->replicas[i].uuid, ret_self))
			continue;
		if (strcmp(ret_d->replicas[i].domain, cfg->domain))
			return err_set(e, -EINVAL,
				"the replica in '%s' belongs to domain '%s', but %s says '%s'",
				cfg->directory, ret_d->replicas[i].domain, cfg->path, cfg->domain);
		if (strcmp(ret_d->name, cfg->name))
			return err_set(e, -EINVAL,
				"the replica in '%s' is of volume '%s', but %s says '%s'",
				cfg->directory, ret_d->name, cfg->path, cfg->name);
		return 0;
	}
	return unidentified(cfg, ret_d, ret_self, "holds an id that 'volume' does not list", e);
}

/* Its write may not have ended when the process died: what is found is made durable before anybody is
 * told that it is. The ring's own blocks are flushed when its end is trimmed. */
static int make_durable(struct volume *v, const struct entry_payload *p)
{
	uint64_t off;
	int fd, r = segments_direct(v->segments, p->addr, p->blocks, &fd, &off);

	return !r && fdatasync(fd) < 0 ? -errno : r;
}

int volume_verify_tail(void *ctx, const void *batch, const struct batch_header *h)
{
	struct volume *v = ctx;
	struct entry e;
	size_t at = 0;
	int r = 0;

	while (!r && batch_next_entry(batch, h, &at, &e)) {
		struct entry_payload p;
		struct err err = {0};
		void *buf;

		if (!apply_payload(&e, &p) || !p.external)
			continue;
		if (segments_add_epoch(v->segments, e.h.epoch, &err))
			return -EIO;
		if (posix_memalign(&buf, BLOCK_SIZE, (size_t)p.blocks * BLOCK_SIZE))
			return -ENOMEM;
		r = segments_read_run(v->segments, p.addr, p.blocks, buf, p.crc);
		free(buf);
		if (!r) /* what was never written reads as zeros: -EBADMSG; -EIO says nothing */
			r = make_durable(v, &p);
	}
	return r;
}

int volume_replay_failed(const struct volume *v, int code, struct err *e)
{
	if (store_failed(v->store, e))
		return err_wrap(e, "replaying the journal");
	return err_set(e, code, "replaying the journal: %s '%s/meta' (%s)",
		code == -EBADMSG ? "it contradicts what is in"
				 : "damage, or an error of the disk, in",
		v->cfg->directory, strerror(-code));
}

struct replay {
	struct volume *v;
	bool distrusted; /* the segments that may be written again were forgotten */
	uint64_t flushed, upto;
	uint64_t payloads, entries;
};

/* Before the first write: `epoch` is the oldest one that may be written in. */
static int distrust(struct replay *rp, uint32_t epoch)
{
	struct tree_info info;

	if (rp->distrusted)
		return 0;
	rp->distrusted = true;
	tree_info(rp->v->tree, &info); /* nothing is replayed yet: the flushed state's */
	epoch = MIN(epoch, info.applied_epoch.num);
	return segments_distrust(rp->v->segments, rp->v->died ? 0 : epoch);
}

/* Everything after D: inline payloads back to their address, entries after F into the tree. */
static int replay_batch(void *ctx, const void *batch, const struct batch_header *h)
{
	struct replay *rp = ctx;
	struct volume *v = rp->v;
	struct entry e;
	size_t at = 0;
	int r = distrust(rp, h->epoch.num);

	if (r)
		return r;
	while (batch_next_entry(batch, h, &at, &e)) {
		struct entry_payload p;
		struct err err = {0};

		if (e.h.seq > rp->flushed)
			break;
		if (!apply_payload(&e, &p) || !p.bytes)
			continue;
		r = segments_add_epoch(v->segments, e.h.epoch, &err);
		if (!r)
			r = segments_write(v->segments, p.addr, p.blocks, p.bytes);
		if (r)
			return r;
		rp->payloads++;
	}
	if (batch_last_seq(h) <= rp->flushed || h->first_seq > rp->upto)
		return 0;
	rp->entries += h->count;
	v->apply.bytes_since_checkpoint += batch_size(h);
	return apply_batch(v, batch, h, NULL, rp->upto);
}

static int open_parts(
	struct volume *v, struct pos *ret_flushed, uint64_t *ret_data_seq, struct err *e)
{
	struct store_options so = {
		.block_cache_bytes = v->cfg->cache, .write_buffer_bytes = 8 * v->cfg->memtable};
	char path[4200];
	int r = space_open(v, &so.no_compaction, e);

	if (r)
		return r;
	so.no_compaction |= v->facts.damaged;
	volume_path(v, "meta", path, sizeof(path));
	r = store_open(path, &so, &v->store, e);
	if (!r)
		r = tree_open(v->store, &v->desc.volume, &v->tree, e);
	if (r)
		return err_wrap(e, "metadata");
	tree_keep_freed(v->tree);
	r = tree_persisted(v->tree, ret_flushed, ret_data_seq);
	if (r)
		return err_set(e, r, "metadata: the flushed position cannot be read");
	volume_path(v, "data", path, sizeof(path));
	r = segments_open(path, &v->segments, e);
	return r ? err_wrap(e, "data") : 0;
}

struct reading {
	struct volume *v;
	struct ring_scan *scan;
	int code;
	struct err error;
};

static void *read_ring(void *arg)
{
	struct reading *rd = arg;
	char path[4200];

	pthread_setname_np(pthread_self(), "ring-reader");
	volume_path(rd->v, "ring", path, sizeof(path));
	rd->code = ring_scan(path, &rd->v->desc.volume, rd->v->uring, &rd->scan, &rd->error);
	return NULL;
}

/* What is wrong with metadata or data is said first. */
static int open_all(struct volume *v, struct pos *ret_flushed, uint64_t *ret_data_seq,
	struct ring_scan **ret_scan, struct err *e)
{
	struct reading rd = {.v = v};
	pthread_t thread;
	int r = -pthread_create(&thread, NULL, read_ring, &rd);

	if (r)
		return err_set(e, r, "a thread: %s", strerror(-r));
	r = open_parts(v, ret_flushed, ret_data_seq, e);
	pthread_join(thread, NULL);
	if (r) {
		ring_scan_free(rd.scan);
		return r;
	}
	if (rd.code) {
		*e = rd.error;
		return err_wrap(e, "journal");
	}
	*ret_scan = rd.scan;
	return 0;
}

static int open_record(struct volume *v, struct err *e)
{
	char path[4200];
	int r;

	volume_path(v, "record", path, sizeof(path));
	r = record_load(path, &v->record, e);
	if (r)
		return err_wrap(e, "record");
	if (!uuid_equal(&v->record.volume, &v->desc.volume) ||
		record_find(&v->record, &v->self) < 0)
		return err_set(e, -EBADMSG, "the record in '%s' is of another volume", path);
	volume_path(v, "facts", path, sizeof(path));
	r = facts_load(path, &v->facts, e);
	if (r)
		return err_wrap(e, "facts");
	volume_count_abort(v);
	return 0;
}

static bool recorded_in_sync(const struct volume *v)
{
	return v->record.replicas[record_find(&v->record, &v->self)].in_sync;
}

static void fill_log(struct volume *v, const struct ring_recovered *rec, struct pos flushed,
	struct core_log *ret_log)
{
	struct tree_info info;

	ret_log->end = rec->end;
	ret_log->flushed = flushed;
	ret_log->before = rec->before;
	ret_log->first_seq = rec->first_seq;
	ret_log->commit = MAX(rec->commit, flushed.seq);
	ret_log->nspans = ring_spans(v->ring, ret_log->spans, CORE_SPANS_MAX);
	/* An empty ring behind a state that was pulled: the state knows its last epoch. */
	tree_info(v->tree, &info);
	if (!ret_log->nspans && flushed.seq)
		ret_log->spans[ret_log->nspans++] =
			(struct log_span){.epoch = info.applied_epoch, .end = flushed};
}

/* The switch makes directories: on a disk that is full to the last block, out of the ballast, which is not open yet. */
static int finish_pull(struct volume *v, struct err *e)
{
	struct err again = {0};
	int r = pull_recover(v->cfg->directory, recorded_in_sync(v), e);

	if (r != -ENOSPC || space_spare(v, &again))
		return r;
	*e = (struct err){0};
	return pull_recover(v->cfg->directory, recorded_in_sync(v), e);
}

int volume_recover(struct volume *v, struct core_log *ret_log, struct err *e)
{
	struct replay rp = {.v = v};
	struct ring_recovered rec;
	struct ring_scan *scan = NULL;
	struct pos flushed;
	uint64_t data_seq, commit, start = clock_mono_ns();
	int r;

	r = recovering_start(v, e);
	if (!r)
		r = resync_recover(v->cfg->directory, e);
	if (!r)
		r = volume_identify(v->cfg, &v->desc, &v->self, e);
	if (!r)
		r = open_record(v, e);
	if (!r)
		r = volume_held_version(v, e);
	if (!r)
		r = finish_pull(v, e);
	if (!r)
		r = uring_open(v->cfg->io, 256, &v->uring, e);
	if (r)
		return r;
	r = damaged_look(v, open_all(v, &flushed, &data_seq, &scan, e), e);
	if (r) {
		ring_scan_free(scan);
		return r;
	}
	r = ring_recover(scan, flushed, volume_verify_tail, v, &v->ring, &rec, e);
	if (!r)
		r = ring_trim_end(v->ring, e);
	if (r)
		return err_wrap(e, "journal");
	ring_register(v->ring);
	rp.flushed = flushed.seq;
	v->commit_found = MAX(MIN(rec.commit, rec.end.seq), flushed.seq);
	ring_release(v->ring, data_seq);
	r = volume_kept_recover(v, &rec, e);
	if (r)
		return r;
	commit = volume_held_committed(v, rec.end.seq);
	rp.upto = volume_held_applied(v, commit);
	r = ring_walk(v->ring, data_seq, replay_batch, &rp);
	if (!r)
		r = distrust(&rp, UINT32_MAX);
	if (r)
		return volume_replay_failed(v, r, e);
	atomic_store(&v->apply.applied, rp.upto);
	flushed_note(v, flushed);
	atomic_store(&v->apply.data_seq, data_seq);
	v->apply.target = commit;
	v->durable_told = rec.end.seq;
	fill_log(v, &rec, flushed, ret_log);
	ret_log->commit = MAX(ret_log->commit, commit);
	v->recovered = true;
	log_info("recovered to seq %llu (committed %llu, flushed %llu): %llu entries and %llu "
		 "payloads "
		 "replayed in %llu ms; journal by %s",
		(unsigned long long)rec.end.seq, (unsigned long long)commit,
		(unsigned long long)flushed.seq, (unsigned long long)rp.entries,
		(unsigned long long)rp.payloads,
		(unsigned long long)((clock_mono_ns() - start) / NS_PER_MS),
		uring_mode_name(v->uring));
	return 0;
}
