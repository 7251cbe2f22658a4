/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What metadata costs the commit thread: op_decide() and apply_entry() of single operations on a hot
 * store, with the transaction written every BATCH operations as a batch of the journal would. Prints,
 * asserts nothing. Usage: bench_meta [operations]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apply.h"
#include "clock.h"
#include "crc32c.h"

#define BATCH 8u

struct bench {
	struct store *store;
	struct tree *tree;
	struct pos end;
	uint64_t next_block;
	uint64_t decide_ns, apply_ns, write_ns;
	uint8_t body[ENTRY_SIZE_MAX];
};

static int run(struct bench *b, struct op *op, uint64_t *ret_ino)
{
	struct decide_ctx c = {.seq = b->end.seq + 1,
		.now_ns = clock_real_ns(),
		.epoch_num = 1,
		.next_block = b->next_block,
		.free_blocks = 1ull << 40};
	struct decision d = {0};
	struct entry e = {0};
	uint64_t t0 = clock_mono_ns(), t1, t2;
	size_t len = 0;
	int r = op_decide(b->tree, op, &c, &d);

	t1 = clock_mono_ns();
	if (r) {
		op_free(op);
		return r;
	}
	b->next_block = c.next_block;
	for (unsigned i = 0; i < d.niov; i++) {
		memcpy(b->body + len, d.iov[i].iov_base, d.iov[i].iov_len);
		len += d.iov[i].iov_len;
	}
	e.h.type = d.type;
	e.h.body_len = (uint32_t)len;
	e.h.epoch = (struct epoch){.id = 1, .num = 1};
	e.h.seq = c.seq;
	e.h.crc = (uint32_t)c.seq;
	e.body = b->body;
	t2 = clock_mono_ns();
	r = apply_entry(b->tree, &e, op);
	b->apply_ns += clock_mono_ns() - t2;
	b->decide_ns += t1 - t0;
	b->end = (struct pos){.seq = e.h.seq, .chain = e.h.crc};
	if (!r && e.h.seq % BATCH == 0) {
		t0 = clock_mono_ns();
		r = tree_flush_txn(b->tree);
		b->write_ns += clock_mono_ns() - t0;
	}
	if (ret_ino)
		*ret_ino = op->result.ino;
	op_free(op);
	return r;
}

static void report(struct bench *b, const char *what, unsigned n)
{
	printf("%-22s decide %5.2f us  apply %5.2f us  write %5.2f us  together %5.2f us\n", what,
		(double)b->decide_ns / n / 1e3, (double)b->apply_ns / n / 1e3,
		(double)b->write_ns / n / 1e3,
		(double)(b->decide_ns + b->apply_ns + b->write_ns) / n / 1e3);
	b->decide_ns = b->apply_ns = b->write_ns = 0;
}

static void fail(const char *what, int r)
{
	fprintf(stderr, "%s: %s\n", what, strerror(-r));
	exit(1);
}

static void bench_create(struct bench *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct op *op = op_new(OP_CREATE);
		int r;

		op->parent = ROOT_INO;
		op->mode = S_IFREG | 0644;
		snprintf(op->name, sizeof(op->name), "file-%u-%u", i * 2654435761u % n, i);
		r = run(b, op, NULL);
		if (r)
			fail("create", r);
	}
	report(b, "create", n);
}

static void bench_overwrite(struct bench *b, unsigned n, uint64_t blocks, const char *what)
{
	struct op *op = op_new(OP_CREATE);
	uint64_t ino, seed = 1;
	int r;

	op->parent = ROOT_INO;
	op->mode = S_IFREG | 0644;
	snprintf(op->name, sizeof(op->name), "%s", what);
	r = run(b, op, &ino);
	for (unsigned i = 0; !r && i < 2 * n; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		op = op_new(OP_WRITE);
		op->ino = ino;
		op->off = (seed >> 33) % blocks * BLOCK_SIZE;
		op->len = BLOCK_SIZE;
		op->payload = payload_new(NULL, BLOCK_SIZE);
		memset(op->payload->data, (int)i, BLOCK_SIZE);
		r = run(b, op, NULL);
		if (i == n) /* the first half made the map */
			b->decide_ns = b->apply_ns = b->write_ns = 0;
	}
	if (r)
		fail(what, r);
	report(b, what, n);
}

static int none(void *ctx, const char *name, uint64_t ino, uint32_t type, uint64_t cookie)
{
	(*(unsigned *)ctx)++;
	return 0;
}

static void bench_read(struct bench *b)
{
	uint64_t t0 = clock_mono_ns();
	unsigned n = 0, found = 0;
	struct inode i;

	tree_readdir(b->tree, ROOT_INO, 0, none, &n);
	printf("%-22s %u names, %.3f us each\n", "readdir", n,
		(double)(clock_mono_ns() - t0) / (n ? n : 1) / 1e3);
	t0 = clock_mono_ns();
	for (unsigned k = 2; k < 20002; k++)
		found += !tree_inode(b->tree, k, &i);
	printf("%-22s %.3f us each (%u found)\n", "getattr",
		(double)(clock_mono_ns() - t0) / 20000 / 1e3, found);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100000;
	struct store_options o = {.create = true, .in_memory = true};
	struct uuid volume = {.b = "bench"};
	struct bench *b = calloc(1, sizeof(*b));
	struct err e = {0};

	if (!b || store_open("/bench", &o, &b->store, &e) ||
		tree_format(b->store, &volume, 1ull << 30, 1, 0755, 0, 0, &e) ||
		tree_open(b->store, &volume, &b->tree, &e)) {
		fprintf(stderr, "%s\n", e.msg);
		return 1;
	}
	bench_create(b, n);
	bench_overwrite(b, n, 64, "overwrite 4k, 256 KiB");
	bench_overwrite(b, n, 65536, "overwrite 4k, 256 MiB");
	bench_read(b);
	tree_close(b->tree);
	store_close(b->store);
	free(b);
	return 0;
}
