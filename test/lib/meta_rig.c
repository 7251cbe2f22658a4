/* SPDX-License-Identifier: Apache-2.0 */
/* See meta_rig.h. Failures of the rig itself end the test with a message. */
#include "meta_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crc32c.h"
#include "tree_impl.h"

#define must(cond)                                                                                 \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

uint64_t rig_random(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* --- opening --- */

static void open_tree(struct rig *r)
{
	struct err e = {0};

	if (tree_open(r->store, &r->volume, &r->tree, &e)) {
		fprintf(stderr, "%s\n", e.msg);
		abort();
	}
	tree_keep_freed(r->tree);
	must(!tree_find_garbage(r->tree));
}

static void open_store(struct rig *r, size_t cache)
{
	struct store_options o = {
		.in_memory = !r->path[0], .create = true, .block_cache_bytes = cache};
	struct err e = {0};

	if (store_open(r->path[0] ? r->path : "/rig", &o, &r->store, &e)) {
		fprintf(stderr, "%s\n", e.msg);
		abort();
	}
}

static void begin(struct rig *r, size_t cache)
{
	struct err e = {0};

	memcpy(r->volume.b, "rig volume 12345", 16);
	r->epoch = (struct epoch){.id = 7, .num = 1};
	r->now_ns = 1000000000ull * 1000;
	r->free_blocks = 1ull << 40;
	r->nblocks = 1u << 16;
	r->blocks = calloc(r->nblocks, sizeof(*r->blocks));
	must(r->blocks);
	open_store(r, cache);
	must(!tree_format(r->store, &r->volume, RIG_SIZE_BLOCKS, r->now_ns, 0755, 0, 0, &e));
	open_tree(r);
}

void rig_open(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	begin(r, 0);
}

void rig_open_disk(struct rig *r, size_t cache)
{
	memset(r, 0, sizeof(*r));
	snprintf(r->path, sizeof(r->path), "/tmp/tandemfs-rig-XXXXXX");
	must(mkdtemp(r->path));
	begin(r, cache);
}

void rig_reopen(struct rig *r, size_t cache)
{
	struct tree_info info;

	tree_close(r->tree);
	store_close(r->store);
	open_store(r, cache);
	open_tree(r);
	tree_info(r->tree, &info);
	r->end = info.applied;
}

static void remove_dir(const char *path)
{
	pid_t pid = fork();

	if (!pid) {
		execlp("rm", "rm", "-rf", path, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

void rig_close(struct rig *r)
{
	tree_close(r->tree);
	store_close(r->store);
	if (r->path[0])
		remove_dir(r->path);
	for (size_t i = 0; i < r->nlog; i++)
		free(r->log[i].body);
	free(r->log);
	for (size_t i = 0; i < r->nblocks; i++)
		free(r->blocks[i]);
	free(r->blocks);
	memset(r, 0, sizeof(*r));
}

void rig_flush(struct rig *r)
{
	must(!tree_flush_txn(r->tree));
	must(!store_flush_begin(r->store));
	while (!store_flush_done(r->store))
		usleep(200);
}

/* --- running --- */

static int read_block(void *ctx, struct addr a, uint8_t *buf, uint32_t crc)
{
	struct rig *r = ctx;

	must(a.epoch == r->epoch.num && a.block < r->nblocks && r->blocks[a.block]);
	memcpy(buf, r->blocks[a.block], BLOCK_SIZE);
	return crc32c(0, buf, BLOCK_SIZE) == crc ? 0 : -EBADMSG;
}

static void store_payload(struct rig *r, const struct decision *d, const struct op *op)
{
	for (uint32_t i = 0; i < d->addr_blocks; i++) {
		uint64_t at = d->addr.block + i;

		while (at >= r->nblocks) {
			r->blocks = realloc(r->blocks, 2 * r->nblocks * sizeof(*r->blocks));
			must(r->blocks);
			memset(r->blocks + r->nblocks, 0, r->nblocks * sizeof(*r->blocks));
			r->nblocks *= 2;
		}
		must(!r->blocks[at]); /* I7: an address is assigned once */
		r->blocks[at] = malloc(BLOCK_SIZE);
		must(r->blocks[at]);
		memcpy(r->blocks[at], op->payload->data + (size_t)i * BLOCK_SIZE, BLOCK_SIZE);
	}
	must(d->addr.block / DATA_SEGMENT_BLOCKS ==
		(d->addr.block + d->addr_blocks - 1) / DATA_SEGMENT_BLOCKS);
}

static void log_entry(struct rig *r, const struct entry *e)
{
	if (r->nlog == r->log_size) {
		r->log_size = r->log_size ? 2 * r->log_size : 256;
		r->log = realloc(r->log, r->log_size * sizeof(*r->log));
		must(r->log);
	}
	r->log[r->nlog++] = (struct rig_entry){.h = e->h, .body = (uint8_t *)e->body};
}

static int decide(struct rig *r, struct op *op, struct decide_ctx *c, struct decision *d)
{
	*c = (struct decide_ctx){.seq = r->end.seq + 1,
		.now_ns = r->now_ns,
		.epoch_num = r->epoch.num,
		.next_block = r->next_block,
		.room_blocks = r->free_blocks,
		.free_blocks = r->free_blocks};
	return op_decide(r->tree, op, c, d);
}

int rig_decide(struct rig *r, struct op *op)
{
	struct decide_ctx c;
	struct decision d;

	return decide(r, op, &c, &d);
}

static int run_reap(struct rig *r);

int rig_run(struct rig *r, struct op *op)
{
	struct edge_source source = {.read = read_block, .ctx = r};
	struct entry e = {0};
	struct decide_ctx c;
	struct decision d = {0};
	uint8_t *body;
	size_t len = 0, at = 0;
	bool stale;
	int ret;

	r->now_ns += 1000;
	if (edges_read(r->tree, &source, NULL, op) == -EIO)
		return -EIO;
	for (int tries = 0;; tries++) {
		must(tries < 100);
		ret = decide(r, op, &c, &d);
		if (ret == -EINPROGRESS) {
			must(run_reap(r));
			continue;
		}
		if (ret != -EAGAIN)
			break;
		r->warms++;
		must(!op_warm(r->tree, op, &stale));
		if (stale) {
			r->stale++;
			ret = edges_read(r->tree, &source, NULL, op);
			if (ret)
				return ret;
		}
	}
	if (ret)
		return ret > 0 ? 0 : ret;
	for (unsigned i = 0; i < d.niov; i++)
		len += d.iov[i].iov_len;
	must(len <= BODY_SIZE_MAX);
	body = malloc(len + 1);
	must(body);
	for (unsigned i = 0; i < d.niov; i++) {
		memcpy(body + at, d.iov[i].iov_base, d.iov[i].iov_len);
		at += d.iov[i].iov_len;
	}
	e.h.type = d.type;
	e.h.body_len = (uint32_t)len;
	e.h.epoch = r->epoch;
	e.h.seq = c.seq;
	e.h.chain = r->end.chain;
	e.h.crc = crc32c(r->end.chain, body, len);
	e.body = body;
	if (d.addr.epoch) {
		store_payload(r, &d, op);
		r->next_block = c.next_block;
		if (d.external)
			must(d.payload_crc ==
				crc32c(0, op->payload->data, (size_t)d.addr_blocks * BLOCK_SIZE));
	}
	op->seq = c.seq;
	log_entry(r, &e);
	ret = apply_entry(r->tree, &e, op);
	if (ret) {
		char text[256];

		apply_describe(&e, text, sizeof(text));
		fprintf(stderr, "apply: %s: %s\n", strerror(-ret), text);
		abort();
	}
	r->end = (struct pos){.seq = e.h.seq, .chain = e.h.crc};
	if (!r->lazy || e.h.seq % 7 == 0)
		must(!tree_flush_txn(r->tree));
	return 0;
}

int rig_do(struct rig *r, struct op *op)
{
	int ret = rig_run(r, op);

	op_free(op);
	return ret;
}

static bool nobody(void *ctx, uint64_t ino)
{
	return false;
}

static int run_reap_with(struct rig *r, bool (*in_use)(void *ctx, uint64_t ino), void *ctx)
{
	struct op *op = op_new(OP_REAP);

	if (!op_next_reap(r->tree, in_use, ctx, op)) {
		op_free(op);
		return 0;
	}
	must(!rig_do(r, op));
	r->reaps++;
	return 1;
}

static bool everybody(void *ctx, uint64_t ino)
{
	return true;
}

/* What -EINPROGRESS asks for: the inode comes first, so orphans do not matter. */
static int run_reap(struct rig *r)
{
	return run_reap_with(r, everybody, NULL);
}

unsigned rig_reap(struct rig *r, bool (*in_use)(void *ctx, uint64_t ino), void *ctx)
{
	unsigned n = 0;

	while (run_reap_with(r, in_use ? in_use : nobody, ctx))
		must(++n < 100000);
	return n;
}

int rig_replay(struct rig *to, const struct rig *from, size_t at)
{
	for (; at < from->nlog; at++) {
		struct entry e = {.h = from->log[at].h, .body = from->log[at].body};
		int ret = apply_entry(to->tree, &e, NULL);

		if (ret)
			return ret;
		to->end = (struct pos){.seq = e.h.seq, .chain = e.h.crc};
		if (at % 50 == 0 && tree_flush_txn(to->tree))
			return -EIO;
	}
	return tree_flush_txn(to->tree);
}

/* --- operations --- */

static void set_name(char *to, const char *name)
{
	snprintf(to, NAME_LEN_MAX + 1, "%s", name);
}

struct op *rig_op_create(uint64_t parent, const char *name, uint32_t mode)
{
	struct op *op = op_new(OP_CREATE);

	op->parent = parent;
	set_name(op->name, name);
	op->mode = mode;
	return op;
}

struct op *rig_op_name(enum op_type type, uint64_t parent, const char *name)
{
	struct op *op = op_new(type);

	op->parent = parent;
	set_name(op->name, name);
	return op;
}

struct op *rig_op_rename(
	uint64_t parent, const char *name, uint64_t newparent, const char *newname, uint32_t flags)
{
	struct op *op = rig_op_name(OP_RENAME, parent, name);

	op->newparent = newparent;
	set_name(op->newname, newname);
	op->flags = flags;
	return op;
}

struct op *rig_op_link(uint64_t ino, uint64_t newparent, const char *newname)
{
	struct op *op = op_new(OP_LINK);

	op->ino = ino;
	op->newparent = newparent;
	set_name(op->newname, newname);
	return op;
}

struct op *rig_op_write(uint64_t ino, uint64_t off, const void *bytes, size_t len)
{
	struct op *op = op_new(OP_WRITE);
	size_t skip = off % BLOCK_SIZE;
	size_t size = (skip + len + BLOCK_SIZE - 1) / BLOCK_SIZE * BLOCK_SIZE;

	op->ino = ino;
	op->off = off;
	op->len = len;
	op->payload = payload_new(NULL, MIN(size, (size_t)PAYLOAD_SIZE_MAX));
	memset(op->payload->data, 0xee, op->payload->size);
	if (skip + len <= op->payload->size)
		memcpy(op->payload->data + skip, bytes, len);
	return op;
}

struct op *rig_op_truncate(uint64_t ino, uint64_t size)
{
	struct op *op = op_new(OP_SETATTR);

	op->ino = ino;
	op->attr_mask = ATTR_SIZE;
	op->attr.size = size;
	return op;
}

struct op *rig_op_fallocate(uint64_t ino, uint32_t mode, uint64_t off, uint64_t len)
{
	struct op *op = op_new(OP_FALLOCATE);

	op->ino = ino;
	op->flags = mode;
	op->off = off;
	op->len = len;
	return op;
}

struct op *rig_op_setxattr(
	uint64_t ino, const char *name, const void *v, size_t len, uint32_t flags)
{
	struct op *op = op_new(OP_SETXATTR);
	void *copy = malloc(len + 1);

	must(copy);
	memcpy(copy, v, len);
	op->ino = ino;
	set_name(op->name, name);
	op->value = copy;
	op->value_len = len;
	op->flags = flags;
	return op;
}

uint64_t rig_create(struct rig *r, uint64_t parent, const char *name, uint32_t mode)
{
	struct op *op = rig_op_create(parent, name, mode);
	uint64_t ino;
	int ret = rig_run(r, op);

	if (ret) {
		fprintf(stderr, "create '%s': %s\n", name, strerror(-ret));
		abort();
	}
	ino = op->result.ino;
	op_free(op);
	return ino;
}

/* --- looking --- */

struct inode rig_inode(struct rig *r, uint64_t ino)
{
	struct inode i = {0};

	must(!tree_flush_txn(r->tree));
	must(!tree_inode(r->tree, ino, &i));
	return i;
}

long rig_read(struct rig *r, uint64_t ino, uint64_t off, void *buf, size_t len)
{
	uint8_t block[BLOCK_SIZE];
	struct extent x[64];
	uint32_t crcs[512];
	uint64_t at = off, end;
	struct inode i;
	int n;

	must(!tree_flush_txn(r->tree));
	n = tree_inode(r->tree, ino, &i);
	if (n)
		return n;
	end = MIN(off + len, i.size);
	while (at < end) {
		uint64_t first = at / BLOCK_SIZE, covered = first;
		uint32_t want = (uint32_t)MIN((end - 1) / BLOCK_SIZE - first + 1, ARRAY_SIZE(crcs));

		n = tree_map(r->tree, &i, first, want, x, ARRAY_SIZE(x), crcs);
		if (n < 0)
			return n;
		must(n);
		for (int e = 0; e < n; e++) {
			must(x[e].file_block == covered && x[e].blocks);
			for (uint32_t b = 0; b < x[e].blocks; b++, covered++) {
				struct addr a = {x[e].addr.block + b, x[e].addr.epoch};
				size_t skip = at % BLOCK_SIZE, part = BLOCK_SIZE - skip;

				memset(block, 0, sizeof(block));
				if (a.epoch && read_block(r, a, block, crcs[covered - first]))
					return -EBADMSG;
				if (!a.epoch)
					must(!crcs[covered - first]);
				part = MIN(part, end - at);
				memcpy((uint8_t *)buf + (at - off), block + skip, part);
				at += part;
			}
		}
		must(covered <= first + want);
	}
	return end > off ? (long)(end - off) : 0;
}

struct first_problem {
	char *buf;
	size_t size;
};

static void keep_problem(void *ctx, const char *text)
{
	struct first_problem *p = ctx;

	if (p->size && !p->buf[0])
		snprintf(p->buf, p->size, "%s", text);
}

uint64_t rig_problems(struct rig *r, char *buf, size_t size)
{
	struct first_problem p = {.buf = buf, .size = size};
	struct tree_check c = {.problem = keep_problem, .ctx = &p};

	if (size)
		buf[0] = 0;
	must(!tree_check(r->tree, &c));
	return c.problems;
}

void rig_check(struct rig *r)
{
	char text[512];

	if (!rig_problems(r, text, sizeof(text)))
		return;
	fprintf(stderr, "tree_check: %s\n", text);
	abort();
}
