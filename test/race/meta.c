/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The filesystem's state under ThreadSanitizer: one thread decides and applies, and flushes now and
 * then; others read names, attributes and maps, and warm operations up; one reads what was freed, as the job
 * that punches does, and the first one takes it off the lists. Ends with 0 when nothing was
 * reported and every reader saw only what can be. RocksDB itself is not instrumented; what is called
 * from it is left out.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "meta_rig.h"

#define FILES 40u
#define OPS 6000u
#define READERS 3u

const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
	return "called_from_lib:librocksdb\ncalled_from_lib:liblz4\ncalled_from_lib:libstdc++\n"
	       "race:librocksdb\nrace:libstdc++\n";
}

static struct rig r;
static atomic_bool stop;
static atomic_uint reads;
static atomic_ullong flushed, punched; /* seqs; 0: nothing new */
static atomic_ullong told; /* blocks */

static void must(bool cond, const char *what)
{
	if (cond)
		return;
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static int count(void *ctx, const char *name, uint64_t ino, uint32_t type, uint64_t cookie)
{
	(*(unsigned *)ctx)++;
	return 0;
}

static void read_one(uint64_t *seed)
{
	struct extent x[16];
	uint32_t crcs[64];
	struct tree_info info;
	char name[16], buf[64];
	unsigned n = 0;
	struct inode i;
	size_t len;
	int ret;

	snprintf(name, sizeof(name), "f%u", (unsigned)(rig_random(seed) % FILES));
	ret = tree_lookup(r.tree, ROOT_INO, name, &i);
	must(ret == 0 || ret == -ENOENT, "lookup");
	if (!ret) {
		ret = tree_map(r.tree, &i, 0, 64, x, 16, crcs);
		must(ret > 0, "map");
		ret = tree_xattr_get(r.tree, i.ino, "user.x", buf, sizeof(buf), &len);
		must(ret == 0 || ret == -ENODATA, "xattr");
	}
	if (rig_random(seed) % 16 == 0) {
		must(!tree_readdir(r.tree, ROOT_INO, 0, count, &n), "readdir");
		must(n <= FILES, "more names than there ever were");
	}
	tree_info(r.tree, &info);
	must(info.inodes >= 1 && info.next_ino >= 2, "info");
	must(store_memtable_bytes(r.store) < 1u << 30, "memtable");
	must(tree_freed_blocks(r.tree) < 1u << 30, "freed");
}

static void warm_one(uint64_t *seed)
{
	struct op *op;
	char name[16];
	bool stale;

	snprintf(name, sizeof(name), "f%u", (unsigned)(rig_random(seed) % FILES));
	op = rig_random(seed) % 2 ? rig_op_name(OP_UNLINK, ROOT_INO, name)
				  : rig_op_write(2 + rig_random(seed) % FILES, 100, "abc", 3);
	must(!op_warm(r.tree, op, &stale), "warm");
	op_free(op);
}

static void *reader(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	while (!atomic_load(&stop)) {
		read_one(&seed);
		warm_one(&seed);
		atomic_fetch_add(&reads, 1);
	}
	return NULL;
}

static int punch_one(void *ctx, struct addr a, uint32_t blocks)
{
	must(a.epoch && blocks, "a freed run");
	atomic_fetch_add(&told, blocks);
	return 0;
}

static void *puncher(void *arg)
{
	while (!atomic_load(&stop)) {
		uint64_t seq = atomic_load(&punched) ? 0 : atomic_exchange(&flushed, 0);

		if (!seq) {
			usleep(500);
			continue;
		}
		must(!tree_freed(r.tree, seq, punch_one, NULL), "reading what was freed");
		atomic_store(&punched, seq);
	}
	return NULL;
}

static void take_off_the_lists(void)
{
	uint64_t seq = atomic_exchange(&punched, 0);

	if (seq)
		must(!tree_freed_done(r.tree, seq), "taking it off");
}

static void change(uint64_t *seed)
{
	char name[16], bytes[3000];
	struct inode i;

	memset(bytes, 7, sizeof(bytes));
	snprintf(name, sizeof(name), "f%u", (unsigned)(rig_random(seed) % FILES));
	if (tree_lookup(r.tree, ROOT_INO, name, &i)) {
		rig_create(&r, ROOT_INO, name, S_IFREG | 0644);
		return;
	}
	switch (rig_random(seed) % 6) {
	case 0:
		must(!rig_do(&r, rig_op_name(OP_UNLINK, ROOT_INO, name)), "unlink");
		rig_reap(&r, NULL, NULL);
		break;
	case 1:
		must(!rig_do(&r, rig_op_truncate(i.ino, rig_random(seed) % 20000)), "truncate");
		break;
	case 2:
		must(!rig_do(&r, rig_op_setxattr(i.ino, "user.x", "value", 5, 0)), "setxattr");
		break;
	default:
		must(!rig_do(&r,
			     rig_op_write(i.ino, rig_random(seed) % 200000, bytes, sizeof(bytes))),
			"write");
	}
}

int main(void)
{
	pthread_t threads[READERS], punch;
	uint64_t seed = 1, data_seq;
	struct pos pos;

	rig_open_disk(&r, 1 << 20);
	for (unsigned i = 0; i < READERS; i++)
		must(!pthread_create(&threads[i], NULL, reader, (void *)(uintptr_t)(i + 5)),
			"thread");
	must(!pthread_create(&punch, NULL, puncher, NULL), "thread");
	for (unsigned i = 0; i < OPS; i++) {
		change(&seed);
		if (i % 500 == 499) {
			tree_write_freed(r.tree);
			rig_flush(&r);
			must(!tree_persisted(r.tree, &pos, &data_seq), "the flushed position");
			atomic_store(&flushed, pos.seq);
		}
		take_off_the_lists();
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	pthread_join(punch, NULL);
	rig_check(&r);
	must(atomic_load(&told), "nothing was ever freed");
	printf("%u changes, %u reads, %llu blocks freed\n", OPS, atomic_load(&reads),
		(unsigned long long)atomic_load(&told));
	rig_close(&r);
	return 0;
}
