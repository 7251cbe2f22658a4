/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbered blocks and appends: the writers and the check; see stamp.h. In the log: op says block or
 * append, dir the slot (0 to 15 shared) or 1 for append.all, seed the counter.
 */
#include "stamp.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "oplog.h"

#define PAGE 4096u
#define THREADS_MAX 16u
#define SHARED 16u
#define OWN_4K 64u
#define OWN_64K 8u
#define OWN_256K 4u
#define SLOTS (SHARED + OWN_4K + OWN_64K + OWN_256K + 1)
#define SLOT_MAX (1u << 20)
#define AREA (4u << 20) /* bytes of one thread's own slots in its file */
#define RECORD 64u
#define STAMP_MAGIC 0x7374616d70626c6bu

enum { OP_BLOCK = 100, OP_APPEND };

struct page {
	uint64_t magic;
	uint32_t thread, slot;
	uint64_t counter;
	uint32_t pages, page;
	uint8_t filler[PAGE - 32];
};

struct stamp_worker {
	const struct stamp_options *o;
	unsigned number;
	pthread_t thread;
	bool started;
	struct oplog log;
	uint64_t counter, acked;
	uint64_t last[SLOTS]; /* own slots: the counter that was acknowledged last */
	int fd, own, all;
	uint8_t *buf, *check;
	int result;
};

/* One write that may be found: by whom, which, when. */
struct event {
	uint32_t thread;
	uint64_t counter, begin, end; /* end UINT64_MAX: in flight; 0: settled as not done */
};

struct events {
	struct event *e;
	size_t count, room;
};

static atomic_bool stop;

static uint32_t slot_size(uint32_t slot)
{
	if (slot < SHARED + OWN_4K)
		return PAGE;
	if (slot < SHARED + OWN_4K + OWN_64K)
		return 64u << 10;
	return slot < SLOTS - 1 ? 256u << 10 : SLOT_MAX;
}

static uint64_t slot_offset(unsigned thread, uint32_t slot)
{
	uint64_t off = AREA + (uint64_t)(thread / 2) * AREA;

	if (slot < SHARED)
		return (uint64_t)slot * PAGE;
	for (uint32_t s = SLOTS - 1; s > slot; s--) /* the largest first: all stay aligned */
		off += slot_size(s);
	return off;
}

static void stamp_fill(void *buf, unsigned thread, uint32_t slot, uint64_t counter)
{
	struct page *p = buf;
	uint32_t pages = slot_size(slot) / PAGE;

	for (uint32_t i = 0; i < pages; i++) {
		p[i].magic = STAMP_MAGIC;
		p[i].thread = thread;
		p[i].slot = slot;
		p[i].counter = counter;
		p[i].pages = pages;
		p[i].page = i;
		pattern_fill(p[i].filler, sizeof(p[i].filler), counter * 65536 + thread * 1024 + i);
	}
}

static void append_fill(char *buf, unsigned thread, uint64_t counter)
{
	char text[RECORD + 32];
	int n;

	n = snprintf(text, sizeof(text), "thread %02u record %012llu check %016llx", thread,
		(unsigned long long)counter,
		(unsigned long long)pattern_mix(counter * 64 + thread));
	memset(buf, ' ', RECORD);
	memcpy(buf, text, (size_t)n);
	buf[RECORD - 1] = '\n';
}

static bool interrupted(ssize_t n)
{
	return n < 0 && (errno == ENOTCONN || errno == ECONNABORTED || errno == EIO);
}

static int open_at(const struct stamp_worker *w, const char *name, int flags)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/%s", w->o->dir, name);
	return open(path, flags | O_CLOEXEC, 0644);
}

static int open_files(struct stamp_worker *w, int flags, int append)
{
	char name[32];

	snprintf(name, sizeof(name), "append.%u", w->number);
	w->fd = open_at(w, w->number % 2 ? "stamp.cached" : "stamp.direct",
		flags | (w->number % 2 ? 0 : O_DIRECT));
	w->own = open_at(w, name, append);
	w->all = open_at(w, "append.all", append);
	return w->fd < 0 || w->own < 0 || w->all < 0 ? -errno : 0;
}

static void close_files(struct stamp_worker *w)
{
	close(w->fd);
	close(w->own);
	close(w->all);
	oplog_close(&w->log);
	free(w->buf);
	free(w->check);
}

/* The logs go on from an earlier round: counters too. */
static int resume(struct stamp_worker *w)
{
	struct oprec r;
	int ret = oplog_open(&w->log, w->o->log, w->number);

	while (!ret && (ret = oplog_read(&w->log, &r)) == 1) {
		ret = 0;
		if (r.seed > w->counter)
			w->counter = r.seed;
		if (r.op == OP_BLOCK && r.dir >= SHARED &&
			(r.kind == OPREC_END || (r.kind == OPREC_RESOLVE && r.result)))
			w->last[r.dir] = r.seed;
	}
	return ret ? ret : w->log.open ? -EBUSY : 0;
}

static int step(struct stamp_worker *w, uint64_t chance)
{
	struct oprec r = {.op = OP_BLOCK, .seed = ++w->counter};
	uint32_t size;
	ssize_t n;

	if (chance % 4 == 0) {
		r.op = OP_APPEND;
		r.dir = (chance >> 8) % 2;
		append_fill((char *)w->buf, w->number, w->counter);
		size = RECORD;
	} else {
		r.dir = (uint32_t)((chance >> 8) % SLOTS);
		stamp_fill(w->buf, w->number, r.dir, w->counter);
		size = slot_size(r.dir);
	}
	r.len = size;
	r.off = r.op == OP_BLOCK ? slot_offset(w->number, r.dir) : 0;
	oplog_begin(&w->log, &r);
	if (r.op == OP_APPEND)
		n = write(r.dir ? w->all : w->own, w->buf, RECORD);
	else
		n = pwrite(w->fd, w->buf, size, (off_t)r.off);
	if (interrupted(n))
		return 3;
	if (n != (ssize_t)size) {
		fprintf(stderr, "load: thread %u: write of %u bytes: %zd (%s)\n", w->number, size,
			n, strerror(errno));
		return 1;
	}
	oplog_end(&w->log, n);
	w->acked++;
	if (r.op == OP_BLOCK && r.dir >= SHARED)
		w->last[r.dir] = w->counter;
	if (r.op == OP_APPEND && (chance >> 16) % 8 == 0) {
		n = fsync(r.dir ? w->all : w->own);
		if (n)
			return interrupted(n) ? 3 : 1;
	}
	return 0;
}

/* An own slot must read as the thread wrote it last. */
static int read_back(struct stamp_worker *w, uint64_t chance)
{
	uint32_t slot = SHARED + (uint32_t)(chance % (SLOTS - SHARED)), size = slot_size(slot), got;
	ssize_t n;

	if (!w->last[slot])
		return 0;
	for (got = 0; got < size;
		got += (uint32_t)n) { /* short when the mount goes away meanwhile */
		n = pread(w->fd, w->check + got, size - got,
			(off_t)slot_offset(w->number, slot) + got);
		if (interrupted(n))
			return 3;
		if (n <= 0)
			break;
	}
	stamp_fill(w->buf, w->number, slot, w->last[slot]);
	if (got == size && !memcmp(w->buf, w->check, size))
		return 0;
	fprintf(stderr,
		"load: thread %u slot %u: a read returned something else than was written\n",
		w->number, slot);
	return 1;
}

static void *stamp_thread(void *arg)
{
	struct stamp_worker *w = arg;
	uint64_t chance;
	int ret = resume(w);

	if (!ret)
		ret = open_files(w, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_APPEND);
	if (ret) {
		fprintf(stderr, "load: thread %u: %s\n", w->number, strerror(-ret));
		w->result = interrupted(-1) ? 3 : 2;
		return NULL;
	}
	w->buf = aligned_alloc(PAGE, SLOT_MAX);
	w->check = aligned_alloc(PAGE, SLOT_MAX);
	chance = pattern_mix(w->o->seed) ^ pattern_mix(w->number + 77) ^ w->counter;
	while (!w->result && !stop) {
		chance = pattern_mix(chance);
		w->result = step(w, chance);
		if (!w->result && (chance >> 24) % 8 == 0)
			w->result = read_back(w, chance >> 32);
	}
	return NULL;
}

int stamp_run(const struct stamp_options *o)
{
	static struct stamp_worker w[THREADS_MAX];
	uint64_t end = oplog_now_ns() + (uint64_t)(o->seconds * 1e9), acked = 0;
	const struct timespec tick = {.tv_nsec = 20000000};
	unsigned running = o->threads;
	int status = 0;
	sigset_t all;

	if (o->threads > THREADS_MAX)
		return 2;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (unsigned i = 0; i < o->threads; i++) {
		w[i] = (struct stamp_worker){.o = o, .number = i, .fd = -1, .own = -1, .all = -1};
		w[i].started = !pthread_create(&w[i].thread, NULL, stamp_thread, &w[i]);
	}
	sigemptyset(&all);
	sigaddset(&all, SIGTERM);
	sigaddset(&all, SIGINT);
	while (running) {
		if (sigtimedwait(&all, NULL, &tick) > 0 || oplog_now_ns() >= end)
			stop = true;
		running = 0;
		for (unsigned i = 0; i < o->threads; i++) {
			if (w[i].started && !pthread_tryjoin_np(w[i].thread, NULL))
				w[i].started = false;
			running += w[i].started;
		}
	}
	for (unsigned i = 0; i < o->threads; i++) {
		acked += w[i].acked;
		if (w[i].result && (status == 0 || status == 3))
			status = w[i].result;
		close_files(&w[i]);
	}
	printf("load stamp: %llu writes answered%s\n", (unsigned long long)acked,
		status == 3 ? "; then the mount went away"
		: status    ? "; FAILED"
			    : "");
	return status;
}

/* --- the check --- */

static void events_add(struct events *s, struct event e)
{
	if (s->count == s->room) {
		s->room = s->room ? s->room * 2 : 256;
		s->e = realloc(s->e, s->room * sizeof(*s->e));
		if (!s->e)
			abort();
	}
	s->e[s->count++] = e;
}

struct check {
	const struct stamp_options *o;
	struct stamp_worker w[THREADS_MAX];
	struct events slot[2][SHARED]; /* by file */
	struct events own[THREADS_MAX][SLOTS]; /* shared ones unused */
	struct events append[THREADS_MAX][2];
	unsigned errors;
};

static void __attribute__((format(printf, 2, 3))) complain(struct check *c, const char *fmt, ...)
{
	va_list ap;

	if (++c->errors > 20)
		return;
	va_start(ap, fmt);
	fputs("  ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
}

static struct events *events_of(struct check *c, unsigned t, const struct oprec *r)
{
	if (r->op == OP_APPEND)
		return &c->append[t][r->dir % 2];
	return r->dir < SHARED ? &c->slot[t % 2][r->dir] : &c->own[t][r->dir % SLOTS];
}

static int read_log(struct check *c, unsigned t)
{
	struct oplog *l = &c->w[t].log;
	uint64_t begin = 0;
	struct oprec r;
	int ret = oplog_open(l, c->o->log, t);

	if (ret)
		return ret;
	while ((ret = oplog_read(l, &r)) == 1) {
		struct event e = {.thread = t, .counter = r.seed, .begin = begin, .end = r.time_ns};

		if (r.kind == OPREC_BEGIN) {
			begin = r.time_ns;
			continue;
		}
		if (r.kind == OPREC_RESOLVE && !r.result)
			e.end = 0;
		events_add(events_of(c, t, &r), e);
	}
	if (!ret && l->open)
		events_add(events_of(c, t, &l->last), (struct event){.thread = t,
							      .counter = l->last.seed,
							      .begin = begin,
							      .end = UINT64_MAX});
	return ret;
}

/* Only what no acknowledged write came after may be there. */
static bool may_be_found(const struct events *s, uint32_t thread, uint64_t counter, bool none)
{
	const struct event *found = NULL;
	uint64_t last_begin = 0;

	for (size_t i = 0; i < s->count; i++) {
		const struct event *e = &s->e[i];

		if (e->end && e->end != UINT64_MAX && e->begin > last_begin)
			last_begin = e->begin;
		if (e->end && !none && e->thread == thread && e->counter == counter)
			found = e;
	}
	return none ? last_begin == 0 : found && found->end >= last_begin;
}

/* The operation in flight is the last of its thread's log. */
static void note_found(struct check *c, unsigned t, uint64_t counter)
{
	if (c->w[t].log.open && c->w[t].log.last.seed == counter)
		c->w[t].result = 1;
}

static void check_slot(struct check *c, unsigned t, uint32_t slot, int fd)
{
	struct events *s = slot < SHARED ? &c->slot[t % 2][slot] : &c->own[t][slot];
	uint32_t size = slot_size(slot);
	uint8_t *buf = c->w[t].buf, *want = c->w[t].check;
	struct page *p = (struct page *)buf;
	ssize_t n;

	memset(buf, 0, size);
	n = pread(fd, buf, size, (off_t)slot_offset(t, slot));
	if (n < 0 || (n != 0 && n != (ssize_t)size)) {
		complain(c, "thread %u slot %u: read: %zd (%s)", t, slot, n, strerror(errno));
		return;
	}
	memset(want, 0, size);
	if (!memcmp(buf, want, size)) {
		if (!may_be_found(s, 0, 0, true))
			complain(c, "thread %u slot %u: empty, but a write was acknowledged", t,
				slot);
		return;
	}
	if (p->magic != STAMP_MAGIC || p->slot != slot || p->thread >= c->o->threads) {
		complain(c, "thread %u slot %u: no stamp at its beginning: torn or misplaced", t,
			slot);
		return;
	}
	stamp_fill(want, p->thread, slot, p->counter);
	if (memcmp(buf, want, size)) {
		for (uint32_t i = 0; i < size / PAGE; i++)
			if (memcmp(buf + i * PAGE, want + i * PAGE, PAGE)) {
				complain(c,
					"thread %u slot %u (%u bytes): torn: page 0 has counter "
					"%llu, page "
					"%u has %llu",
					t, slot, size, (unsigned long long)p->counter, i,
					(unsigned long long)p[i].counter);
				break;
			}
		return;
	}
	if (!may_be_found(s, p->thread, p->counter, false))
		complain(c,
			"thread %u slot %u: found counter %llu of thread %u: an acknowledged write "
			"is "
			"lost, or one that was settled as not done came back",
			t, slot, (unsigned long long)p->counter, p->thread);
	note_found(c, p->thread, p->counter);
}

/* append.N (only) or append.all: records whole, known, once, in each thread's order. */
static void check_append(struct check *c, int fd, int only)
{
	size_t next[THREADS_MAX] = {0};
	char buf[RECORD], want[RECORD + 1];
	unsigned long long counter;
	unsigned t, all = only < 0;
	uint64_t off;
	ssize_t n;

	for (off = 0; (n = pread(fd, buf, RECORD, (off_t)off)) == RECORD; off += RECORD) {
		struct events *s;

		if (sscanf(buf, "thread %u record %llu ", &t, &counter) != 2 ||
			t >= c->o->threads || (!all && t != (unsigned)only)) {
			complain(c, "append at %llu: no record", (unsigned long long)off);
			return;
		}
		append_fill(want, t, counter);
		if (memcmp(buf, want, RECORD))
			complain(c, "append at %llu: a damaged record", (unsigned long long)off);
		s = &c->append[t][all];
		while (next[t] < s->count && s->e[next[t]].counter < counter) {
			const struct event *e = &s->e[next[t]++];

			if (e->end && e->end != UINT64_MAX)
				complain(c,
					"append: thread %u: acknowledged record %llu is not there",
					t, (unsigned long long)e->counter);
		}
		if (next[t] == s->count || s->e[next[t]].counter != counter || !s->e[next[t]].end)
			complain(c,
				"append: thread %u: record %llu is out of order, twice, or never "
				"written",
				t, counter);
		else
			note_found(c, t, s->e[next[t]++].counter);
	}
	if (n)
		complain(c, "append: %zd bytes at the end, %llu", n, (unsigned long long)off);
	for (t = 0; t < c->o->threads; t++)
		for (size_t i = next[t];
			i < c->append[t][all].count && (all || t == (unsigned)only); i++)
			if (c->append[t][all].e[i].end && c->append[t][all].e[i].end != UINT64_MAX)
				complain(c,
					"append: thread %u: acknowledged record %llu is not there",
					t, (unsigned long long)c->append[t][all].e[i].counter);
}

static void check_free(struct check *c)
{
	for (unsigned t = 0; t < THREADS_MAX; t++) {
		for (unsigned s = 0; s < SLOTS; s++)
			free(c->own[t][s].e);
		free(c->append[t][0].e);
		free(c->append[t][1].e);
	}
	for (unsigned s = 0; s < SHARED; s++) {
		free(c->slot[0][s].e);
		free(c->slot[1][s].e);
	}
}

int stamp_verify(const struct stamp_options *o)
{
	static struct check c;
	uint64_t found = 0, missing = 0;

	c.o = o;
	for (unsigned t = 0; t < o->threads; t++) {
		struct stamp_worker *w = &c.w[t];
		int ret = read_log(&c, t);

		w->o = o;
		w->number = t;
		w->buf = aligned_alloc(PAGE, SLOT_MAX);
		w->check = aligned_alloc(PAGE, SLOT_MAX);
		if (!ret) /* created when they are missing: the log decides whether that is an error */
			ret = open_files(w, O_RDWR | O_CREAT, O_RDONLY | O_CREAT);
		if (ret) {
			fprintf(stderr, "load: thread %u: %s\n", t, strerror(-ret));
			return 2;
		}
	}
	for (unsigned t = 0; t < o->threads; t++) {
		for (uint32_t s = t < 2 ? 0 : SHARED; s < SLOTS; s++)
			check_slot(&c, t, s, c.w[t].fd);
		check_append(&c, c.w[t].own, (int)t);
	}
	check_append(&c, c.w[0].all, -1);
	for (unsigned t = 0; t < o->threads; t++) {
		struct stamp_worker *w = &c.w[t];

		if (w->log.open) {
			found += w->result == 1;
			missing += w->result != 1;
			if (!c.errors)
				oplog_resolve(&w->log, w->result);
		}
		close_files(w);
	}
	check_free(&c);
	printf("load stamp-verify: in flight: %llu found, %llu not%s\n", (unsigned long long)found,
		(unsigned long long)missing, c.errors ? "; FAILED" : "");
	return c.errors ? 1 : 0;
}
