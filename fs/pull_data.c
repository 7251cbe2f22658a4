/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The target's thread: the data that a pulled checkpoint maps.
 *
 * Its block maps are walked a window at a time; the blocks of a window are sorted by address and looked
 * at in runs. A block is here when that is remembered (pull_have.c), or when the bytes at its address
 * have its checksum: an address is assigned once (I7), so they are the right ones, whoever wrote them
 * and whenever. What a state that was given up still holds (pull_old.c) is copied from there. Everything else
 * is asked for, a few MiB ahead. Both are written with O_DIRECT to their address in the replica's own data/,
 * where the old state maps nothing (pull_write.c). After so many blocks the files are synced, and only then
 * they are remembered as here.
 *
 * An epoch whose number means another epoch in the own history is kept in `incoming/data` until the
 * switch (pull_switch.c).
 *
 * Failure modes: "gone" is counted, and the round then ends without a result; bytes that do not have
 * the checksums that were asked for end the connection. A failed write or sync is -EIO, final (I9).
 * No room is -ENOSPC: it is said, and tried again later.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "log.h"
#include "pull_impl.h"

#define WINDOW_BLOCKS 65536u
#define AHEAD_BLOCKS 3072u /* 12 MiB asked for and not answered: as long as a sync takes */
#define AHEAD_ASKS 768u
#define SYNC_BLOCKS 32768u /* 128 MiB between two syncs */
#define SYNC_NS                                                                                    \
	(2 * NS_PER_S) /* or so long: what a slow link brought is not fetched again after a crash */

/* --- where an epoch's blocks go --- */

static int open_aside(struct round *r)
{
	char path[PULL_PATH_SIZE];

	if (r->aside)
		return 0;
	snprintf(path, sizeof(path), "%s/data", r->dir);
	if (mkdir(path, 0700) && errno != EEXIST)
		return err_set(r->e, -errno, "'%s': %s", path, strerror(errno));
	return segments_open(path, &r->aside, r->e);
}

static int epoch_place(
	struct round *r, uint32_t num, struct epoch *ret_epoch, struct segments **ret_s)
{
	struct epoch own;
	unsigned i = 0;
	int ret;

	while (i < r->nepochs && r->epochs[i].num != num)
		i++;
	if (i == r->nepochs)
		return err_set(r->e, -EBADMSG,
			"the checkpoint maps blocks of epoch %u, which the source does not have",
			num);
	*ret_epoch = r->epochs[i];
	*ret_s = r->v->segments;
	ret = segments_epoch(*ret_s, num, &own);
	if (!ret && epoch_equal(own, *ret_epoch))
		return 0;
	if (!ret) {
		ret = open_aside(r);
		if (ret)
			return ret;
		*ret_s = r->aside;
	}
	return segments_add_epoch(*ret_s, *ret_epoch, r->e);
}

/* --- durable, and remembered --- */

int round_sync(struct round *r)
{
	int ret = r->writer ? pull_writer_drain(r->writer, r->e) : 0;

	if (ret || !r->nruns)
		return ret;
	for (unsigned i = 0; i < r->nfds && !ret; i++)
		if (fdatasync(r->fds[i]))
			ret = err_set(r->e, -EIO, "syncing pulled data: %s", strerror(errno));
	/* A sync that failed is not tried again (I9): the kernel tells of an error once, and the next sync would
	 * succeed. Nobody knows which of these runs are there, so none of them is remembered. */
	for (unsigned i = 0; i < r->nruns && !ret; i++)
		pull_have_set(r->have, r->runs[i].epoch, r->runs[i].block, r->runs[i].blocks);
	if (!ret)
		ret = pull_have_save(r->have, r->e);
	r->nruns = r->nfds = 0;
	r->run_blocks = 0;
	return ret;
}

static void note_fd(struct round *r, int fd)
{
	for (unsigned i = r->nfds; i > 0; i--)
		if (r->fds[i - 1] == fd)
			return;
	if (r->nfds == r->fds_cap) {
		r->fds_cap = r->fds_cap ? 2 * r->fds_cap : 64;
		r->fds = realloc(r->fds, r->fds_cap * sizeof(*r->fds));
		ensure(r->fds);
	}
	r->fds[r->nfds++] = fd;
}

/* These blocks are at their address, in the file behind fd. */
static int note_run(struct round *r, struct epoch epoch, uint64_t block, uint32_t blocks, int fd)
{
	note_fd(r, fd);
	if (r->nruns == r->runs_cap) {
		r->runs_cap = r->runs_cap ? 2 * r->runs_cap : 1024;
		r->runs = realloc(r->runs, r->runs_cap * sizeof(*r->runs));
		ensure(r->runs);
	}
	if (!r->nruns)
		r->runs_ns = clock_mono_ns();
	r->runs[r->nruns++] = (struct pull_run){.epoch = epoch, .block = block, .blocks = blocks};
	r->run_blocks += blocks;
	round_done(r, (uint64_t)blocks * BLOCK_SIZE);
	if (r->run_blocks >= SYNC_BLOCKS || clock_mono_ns() - r->runs_ns >= SYNC_NS)
		return round_sync(r);
	return 0;
}

/* --- asking --- */

/* Takes both. */
static int write_run(struct round *r, struct pull_ask *a, struct pull_in *in)
{
	struct pull_write *w = malloc(sizeof(*w));
	uint64_t block = a->block;
	uint32_t blocks = a->blocks;
	struct segments *s;
	struct epoch epoch;
	int fd, ret;

	ensure(w);
	*w = (struct pull_write){.in = in, .ask = a};
	ret = epoch_place(r, a->epoch.num, &epoch, &s);
	if (!ret)
		ret = segments_direct(
			s, (struct addr){.block = block, .epoch = epoch.num}, blocks, &fd, &w->off);
	if (ret) {
		pull_in_free(in);
		free(a);
		free(w);
		return r->e->code ? r->e->code
				  : err_set(r->e, ret, "room for pulled data: %s", strerror(-ret));
	}
	w->fd = fd;
	ret = pull_writer_put(r->writer, w, r->e);
	return ret ? ret : note_run(r, epoch, block, blocks, fd);
}

/* The answer to the oldest question. */
static int take_answer(struct round *r)
{
	struct pull_in *in = round_receive(r);
	struct pull_ask *a = r->asks;
	const struct msg_data *d;

	if (!in)
		return r->e->code;
	d = &in->m.data;
	ensure(a);
	if (in->m.type != MSG_DATA || d->epoch_num != a->epoch.num || d->epoch_id != a->epoch.id ||
		d->block != a->block || d->blocks != a->blocks) {
		pull_in_free(in);
		return err_set(r->e, -EPROTO, "an answer to another question");
	}
	r->asks = a->next;
	if (!r->asks)
		r->asks_tail = &r->asks;
	r->nasks--;
	r->asked_blocks -= a->blocks;
	if (!d->gone)
		return write_run(r, a, in);
	r->missing += a->blocks;
	atomic_fetch_add(&r->t->missing, a->blocks);
	free(a);
	pull_in_free(in);
	return 0;
}

static int ask(struct round *r, struct epoch epoch, const struct pull_block *b, uint32_t blocks)
{
	struct msg m = {.type = MSG_PULL_ASK_DATA};
	struct pull_ask *a;
	int ret = 0;

	while (!ret && r->asks &&
		(r->asked_blocks + blocks > AHEAD_BLOCKS || r->nasks >= AHEAD_ASKS))
		ret = take_answer(r);
	if (!ret)
		ret = round_pace(r, (uint64_t)blocks * BLOCK_SIZE);
	if (ret)
		return ret;
	a = calloc(1, sizeof(*a));
	ensure(a);
	a->epoch = epoch;
	a->block = b->block;
	a->blocks = blocks;
	for (uint32_t i = 0; i < blocks; i++)
		a->crcs[i] = b[i].crc;
	*r->asks_tail = a;
	r->asks_tail = &a->next;
	r->nasks++;
	r->asked_blocks += blocks;
	m.pull_ask_data =
		(struct msg_pull_ask_data){.epoch = epoch, .block = a->block, .blocks = blocks};
	memcpy(m.pull_ask_data.crcs, a->crcs, blocks * sizeof(a->crcs[0]));
	round_send(r, &m);
	return 0;
}

/* --- what was given up here --- */

/* Blocks whose bytes were found, on their way to their address as if they had been answered. */
static int copy(struct round *r, struct epoch epoch, const struct pull_block *b, uint32_t blocks,
	const uint8_t *bytes)
{
	struct payload *p = payload_new(NULL, (size_t)blocks * BLOCK_SIZE);
	struct pull_in *in = calloc(1, sizeof(*in));
	struct pull_ask *a = calloc(1, sizeof(*a));

	ensure(p && in && a);
	memcpy(p->data, bytes, (size_t)blocks * BLOCK_SIZE);
	in->payload = p;
	in->m.data.bytes = p->data;
	*a = (struct pull_ask){.epoch = epoch, .block = b->block, .blocks = blocks};
	for (uint32_t i = 0; i < blocks; i++)
		a->crcs[i] = b[i].crc;
	r->old_blocks += blocks;
	return write_run(r, a, in);
}

/* What is not here in its place: from there where it has it, else from the source. */
static int fetch(struct round *r, struct epoch epoch, const struct pull_block *b, uint32_t blocks)
{
	uint32_t crcs[MSG_PULL_BLOCKS_MAX] = {0};
	bool good[MSG_PULL_BLOCKS_MAX] = {0};
	int ret = 0;

	if (!r->old)
		return ask(r, epoch, b, blocks);
	for (uint32_t i = 0; i < blocks; i++)
		crcs[i] = b[i].crc;
	pull_old_read(r->old, epoch, b->block, blocks, crcs, r->old_buf, good);
	for (uint32_t i = 0, n; i < blocks && !ret; i += n) {
		for (n = 1; i + n < blocks && good[i + n] == good[i]; n++)
			;
		ret = good[i] ? copy(r, epoch, b + i, n, r->old_buf + (size_t)i * BLOCK_SIZE)
			      : ask(r, epoch, b + i, n);
	}
	return ret;
}

/* --- looking --- */

/* A run of up to MSG_PULL_BLOCKS_MAX blocks that are not remembered: what is here with its checksum
 * is noted, the rest is fetched. A hole need not be read for that, and should not: the page cache would
 * have to be cleared of it again before the write. */
static int look(struct round *r, struct epoch epoch, struct segments *s, const struct pull_block *b,
	uint32_t blocks)
{
	struct addr at = {.block = b->block, .epoch = epoch.num};
	int ret;

	if (segments_hole(s, at, blocks))
		return fetch(r, epoch, b, blocks);
	ret = segments_read(s, at, blocks, r->buf, NULL, NULL);
	if (ret && ret != -EIO)
		return err_set(r->e, ret, "reading data: %s", strerror(-ret));
	for (uint32_t i = 0, n; i < blocks && !ret; i += n) {
		bool good = crc32c(0, r->buf + (size_t)i * BLOCK_SIZE, BLOCK_SIZE) == b[i].crc;
		uint64_t off;
		int fd;

		for (n = 1; i + n < blocks; n++)
			if ((crc32c(0, r->buf + (size_t)(i + n) * BLOCK_SIZE, BLOCK_SIZE) ==
				    b[i + n].crc) != good)
				break;
		if (!good) {
			ret = fetch(r, epoch, b + i, n);
			continue;
		}
		at.block = b[i].block;
		ret = segments_direct(s, at, n, &fd, &off);
		ret = ret ? err_set(r->e, ret, "data: %s", strerror(-ret))
			  : note_run(r, epoch, at.block, n, fd);
	}
	return ret == -EIO && !r->e->code ? fetch(r, epoch, b, blocks) : ret;
}

static int look_run(struct round *r, const struct pull_block *b, uint32_t blocks)
{
	struct segments *s;
	struct epoch epoch;
	int ret = epoch_place(r, b->epoch, &epoch, &s);

	for (uint32_t i = 0, n; i < blocks && !ret; i += n) {
		bool have;

		n = pull_have_run(r->have, epoch, b[i].block, blocks - i, &have);
		if (have)
			round_done(r, (uint64_t)n * BLOCK_SIZE);
		else
			ret = look(r, epoch, s, b + i, n);
	}
	return ret;
}

static int block_compare(const void *a, const void *b)
{
	const struct pull_block *x = a, *y = b;

	if (x->epoch != y->epoch)
		return x->epoch < y->epoch ? -1 : 1;
	return x->block < y->block ? -1 : x->block > y->block;
}

static int look_window(struct round *r)
{
	const struct pull_block *b = r->window;
	int ret = 0;

	qsort(r->window, r->nwindow, sizeof(*r->window), block_compare);
	for (unsigned i = 0, n; i < r->nwindow && !ret; i += n) {
		for (n = 1; i + n < r->nwindow && n < MSG_PULL_BLOCKS_MAX; n++)
			if (b[i + n].epoch != b[i].epoch || b[i + n].block != b[i].block + n ||
				b[i + n].block % DATA_SEGMENT_BLOCKS == 0)
				break;
		ret = round_stopped(r) ? err_set(r->e, -ECANCELED, "stopped")
				       : look_run(r, b + i, n);
	}
	r->nwindow = 0;
	return ret;
}

static int on_extent(void *ctx, uint64_t ino, const struct extent *x, const uint32_t *crcs)
{
	struct round *r = ctx;
	int ret = 0;

	if (r->nwindow + x->blocks > WINDOW_BLOCKS)
		ret = look_window(r);
	for (uint32_t i = 0; i < x->blocks && !ret; i++)
		r->window[r->nwindow++] = (struct pull_block){
			.block = x->addr.block + i, .epoch = x->addr.epoch, .crc = crcs[i]};
	return ret;
}

static int walk(struct round *r, struct tree *t)
{
	struct tree_info info;
	int ret;

	tree_info(t, &info);
	if (!pos_equal(info.applied, r->at))
		return err_set(r->e, -EBADMSG, "the checkpoint is of seq %llu, not of %llu",
			(unsigned long long)info.applied.seq, (unsigned long long)r->at.seq);
	ret = tree_extents(t, on_extent, r);
	if (!ret)
		ret = look_window(r);
	while (!ret && r->asks)
		ret = take_answer(r);
	if (!ret)
		ret = round_sync(r);
	if (ret && !r->e->code)
		err_set(r->e, ret == -EIO ? -EBADMSG : ret, "walking the checkpoint: %s",
			strerror(-ret));
	return ret;
}

int round_data(struct round *r)
{
	struct store_options so = {.block_cache_bytes = 16u << 20, .read_only = true};
	char path[PULL_PATH_SIZE];
	struct store *s;
	struct tree *t;
	int ret;

	if (!r->writer) {
		ret = pull_writer_new(&r->writer);
		if (ret)
			return err_set(r->e, ret, "threads that write: %s", strerror(-ret));
	}
	if (!r->window) {
		r->window = calloc(WINDOW_BLOCKS, sizeof(*r->window));
		r->buf = malloc((size_t)MSG_PULL_BLOCKS_MAX * BLOCK_SIZE);
		ensure(r->window && r->buf);
		r->old = pull_old_open(r->v->cfg->directory);
		r->old_buf = r->old ? malloc((size_t)MSG_PULL_BLOCKS_MAX * BLOCK_SIZE) : NULL;
		ensure(r->old_buf || !r->old);
	}
	snprintf(path, sizeof(path), "%s/meta", r->dir);
	ret = store_open(path, &so, &s, r->e);
	if (ret)
		return ret;
	ret = tree_open(s, &r->v->desc.volume, &t, r->e);
	if (!ret) {
		ret = walk(r, t);
		tree_close(t);
	}
	store_close(s);
	return ret;
}

void round_data_free(struct round *r)
{
	struct err first = *r->e;

	if (r->have) { /* what came and was written is kept for the next attempt, also when this one failed */
		round_sync(r);
		if (first.code)
			*r->e = first;
	}
	pull_writer_free(r->writer);
	while (r->asks) {
		struct pull_ask *a = r->asks;

		r->asks = a->next;
		free(a);
	}
	if (r->aside)
		segments_close(r->aside);
	if (r->old_blocks)
		log_info("pulling: %llu MiB were copied from what was given up here",
			(unsigned long long)(r->old_blocks * BLOCK_SIZE >> 20));
	pull_old_close(r->old);
	free(r->old_buf);
	free(r->window);
	free(r->buf);
	free(r->runs);
	free(r->fds);
}
