/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A workload that knows what must be there. Every thread works in a directory of its own with random
 * operations of all kinds, and keeps a log outside the mount: what it began, what was acknowledged.
 *
 *   load run --dir MNT --log PREFIX --seed N [--threads N] [--seconds S] [--bytes N] [--enospc]
 *       goes on where the logs end. Ends with 0 when the time is over or on SIGTERM, 3 when the mount
 *       went away (daemon killed, fenced), 1 when an answer was not the model's.
 *   load verify --dir MNT --log PREFIX [--threads N]
 *       everything acknowledged is there exactly; the one operation in flight of each thread happened
 *       or did not, but not half (see model_compare.c), and what is found is settled for ever.
 *   load stamp / load stamp-verify (same options)
 *       numbered blocks in shared files, and appends: see stamp.h.
 *   load acked --log PREFIX [--threads N] [--after NS] [--before NS]
 *       prints how many changes were acknowledged in that time.
 *
 * Files: PREFIX.N the log of thread N; PREFIX.N.model the model at the log's start; PREFIX.N.old the
 * log before that.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "model_exec.h"
#include "stamp.h"

#define THREADS_MAX 64u

struct options {
	const char *dir, *log;
	uint64_t seed, after, before, bytes;
	unsigned threads;
	double seconds;
	bool enospc;
};

struct worker {
	const struct options *o;
	unsigned number;
	pthread_t thread;
	bool started;
	struct model *m;
	struct oplog log;
	int dirfd;
	uint8_t *buf;
	uint64_t acked, found, missing;
	int result; /* an exit status */
};

static atomic_bool stop;

static void snapshot_path(const struct worker *w, char *buf, size_t size)
{
	snprintf(buf, size, "%s.%u.model", w->o->log, w->number);
}

/* Brings the model to the log's end. With an operation in flight, w->log.open and w->log.last. */
static int replay(struct worker *w)
{
	char path[4096];
	struct oprec r;
	int ret;

	snapshot_path(w, path, sizeof(path));
	w->m = model_new();
	ret = oplog_open(&w->log, w->o->log, w->number);
	if (ret)
		return ret;
	ret = model_load(w->m, &w->log.index, path);
	if (ret && ret != -ENOENT)
		return ret;
	while ((ret = oplog_read(&w->log, &r)) == 1) {
		if (r.kind == OPREC_BEGIN || r.kind == OPREC_PARTIAL)
			continue;
		w->acked += r.kind == OPREC_END;
		/* A resolved operation that was not done, or an error: nothing changed. */
		if (r.result < 0 || (r.kind == OPREC_RESOLVE && r.result == 0))
			continue;
		model_apply(w->m, &r, r.op == MODEL_WRITE ? (uint64_t)r.result : UINT64_MAX);
	}
	return ret;
}

static int open_directory(struct worker *w, bool create)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/thread-%u", w->o->dir, w->number);
	if (create && mkdir(path, 0755) && errno != EEXIST)
		return -errno;
	w->dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return w->dirfd < 0 ? -errno : 0;
}

static void report_op(const struct worker *w, const struct oprec *r, const char *what)
{
	char path[8192];

	model_path(w->m, r->dir, r->name, path, sizeof(path));
	fprintf(stderr,
		"load: thread %u operation %llu (%s %s, to %u/%u, flags %u, mode %u, offset %llu, "
		"length %llu): %s\n",
		w->number, (unsigned long long)r->index, model_op_name(r->op), path, r->dir2,
		r->name2, r->flags, r->mode, (unsigned long long)r->off, (unsigned long long)r->len,
		what);
}

/* One operation: 0 to go on, else an exit status. */
static int run_one(struct worker *w, struct model_rng *g)
{
	int64_t got, want;
	struct oprec r;
	char text[256];

	model_generate(w->m, g, w->o->bytes, &r);
	oplog_begin(&w->log, &r);
	got = model_execute(w->m, &r, w->dirfd, w->buf);
	if (model_is_interruption(got))
		return 3;
	if (w->o->enospc && got == -ENOSPC) {
		oplog_end(&w->log, got);
		return 0;
	}
	if (r.op == MODEL_WRITE && got > 0 && got < (int64_t)r.len) {
		/* The rest may still have happened when the mount went away in between: that is an
		 * operation in flight of which at least this much is there. */
		if (!w->o->enospc) {
			oplog_partial(&w->log, got);
			return 3;
		}
		model_apply(w->m, &r, (uint64_t)got);
		oplog_end(&w->log, got);
		return 0;
	}
	want = model_apply(w->m, &r, UINT64_MAX);
	if (got != want) {
		snprintf(text, sizeof(text), "answered %s (%lld), must be %s (%lld)",
			got < 0 ? strerror((int)-got) : "success", (long long)got,
			want < 0 ? strerror((int)-want) : "success", (long long)want);
		report_op(w, &r, text);
		return 1;
	}
	oplog_end(&w->log, got);
	return 0;
}

static void *run_thread(void *arg)
{
	struct worker *w = arg;
	struct model_rng g;
	int ret = replay(w);

	if (ret || w->log.open) {
		fprintf(stderr, "load: thread %u: %s\n", w->number,
			ret ? strerror(-ret)
			    : "its last operation is not settled: run load verify first");
		w->result = 2;
		return NULL;
	}
	w->acked = 0;
	ret = open_directory(w, true);
	w->result = model_is_interruption(ret) ? 3 : ret ? 2 : 0;
	if (ret) {
		fprintf(stderr, "load: thread %u: its directory: %s\n", w->number, strerror(-ret));
		return NULL;
	}
	g.state = pattern_mix(w->o->seed) + pattern_mix(w->number) + w->log.index;
	w->buf = aligned_alloc(4096, MODEL_FILE_MAX);
	while (!w->result && !stop) {
		w->result = run_one(w, &g);
		w->acked += !w->result;
		if (w->result || model_random(&g) % 4)
			continue;
		ret = model_read_something(w->m, &g, w->dirfd, w->buf);
		if (model_is_interruption(ret))
			w->result = 3;
		else if (ret) {
			fprintf(stderr, "load: thread %u: reading: %s\n", w->number,
				strerror(-ret));
			w->result = 1;
		}
	}
	return NULL;
}

static int settle(struct worker *w)
{
	const struct oprec r = w->log.last;
	int64_t done;

	if (r.op == MODEL_WRITE) {
		done = model_write_done(w->m, &r, w->dirfd, (uint64_t)r.result, stderr);
		if (done < 0) {
			report_op(w, &r, "was in flight, and is torn");
			return 1;
		}
		if (done)
			model_apply(w->m, &r, (uint64_t)done);
		if (model_compare(w->m, w->dirfd, stderr)) {
			report_op(w, &r, "was in flight");
			return 1;
		}
	} else {
		done = model_compare(w->m, w->dirfd, NULL) != 0;
		if (done && (model_apply(w->m, &r, UINT64_MAX) < 0 ||
				    model_compare(w->m, w->dirfd, stderr))) {
			report_op(w, &r,
				"was in flight; differences to the tree with it, if it can "
				"succeed");
			return 1;
		}
	}
	oplog_resolve(&w->log, done);
	w->found = done != 0;
	w->missing = done == 0;
	return 0;
}

static void *verify_thread(void *arg)
{
	struct worker *w = arg;
	char path[4096];
	int ret = replay(w);

	w->result = 1;
	if (ret) {
		fprintf(stderr, "load: thread %u: log: %s\n", w->number, strerror(-ret));
		return NULL;
	}
	ret = open_directory(w, false);
	if (ret == -ENOENT && !w->log.index) {
		w->result = 0;
		return NULL;
	}
	if (ret) {
		fprintf(stderr, "load: thread %u: its directory: %s\n", w->number, strerror(-ret));
		return NULL;
	}
	if (w->log.open) {
		if (settle(w))
			return NULL;
	} else if (model_compare(w->m, w->dirfd, stderr)) {
		fprintf(stderr, "load: thread %u: not what was acknowledged up to operation %llu\n",
			w->number, (unsigned long long)w->log.index);
		return NULL;
	}
	snapshot_path(w, path, sizeof(path));
	ret = model_save(w->m, w->log.index, path);
	if (!ret)
		ret = oplog_rotate(&w->log, w->o->log, w->number);
	if (ret)
		fprintf(stderr, "load: %s: %s\n", path, strerror(-ret));
	w->result = ret ? 2 : 0;
	return NULL;
}

static int count_acked(const struct options *o)
{
	uint64_t n = 0, last = 0;

	for (unsigned i = 0; i < o->threads; i++) {
		struct oplog l;
		struct oprec r;
		int ret = oplog_open(&l, o->log, i);

		if (ret)
			return 2;
		while ((ret = oplog_read(&l, &r)) == 1) {
			/* A rename onto the same inode is answered by the kernel itself. */
			if (r.kind != OPREC_END || r.result < 0 || r.op == MODEL_RENAME)
				continue;
			last = r.time_ns > last ? r.time_ns : last;
			n += r.time_ns >= o->after && r.time_ns < o->before;
		}
		oplog_close(&l);
		if (ret)
			return 2;
	}
	printf("%llu\n", (unsigned long long)n);
	fprintf(stderr, "load: the last one at %llu\n", (unsigned long long)last);
	return 0;
}

/* SIGTERM ends the run after the operations in flight; workers have all signals blocked, so that
 * none of their system calls is interrupted. */
static void wait_for_end(const struct options *o, struct worker *w)
{
	uint64_t end = oplog_now_ns() + (uint64_t)(o->seconds * 1e9);
	const struct timespec tick = {.tv_nsec = 20000000};
	unsigned running = o->threads;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	while (running) {
		if (sigtimedwait(&set, NULL, &tick) > 0 || oplog_now_ns() >= end)
			stop = true;
		running = 0;
		for (unsigned i = 0; i < o->threads; i++) {
			if (w[i].started && !pthread_tryjoin_np(w[i].thread, NULL))
				w[i].started = false;
			running += w[i].started;
		}
	}
}

static int run_workers(const struct options *o, const char *verb, void *(*thread)(void *))
{
	static struct worker w[THREADS_MAX];
	uint64_t acked = 0, found = 0, missing = 0;
	int status = 0;
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (unsigned i = 0; i < o->threads; i++) {
		w[i] = (struct worker){.o = o, .number = i, .dirfd = -1};
		w[i].started = !pthread_create(&w[i].thread, NULL, thread, &w[i]);
		if (!w[i].started)
			return 2;
	}
	wait_for_end(o, w);
	for (unsigned i = 0; i < o->threads; i++) {
		acked += w[i].acked;
		found += w[i].found;
		missing += w[i].missing;
		if (w[i].result && (status == 0 || status == 3))
			status = w[i].result;
		oplog_close(&w[i].log);
		model_free(w[i].m);
		free(w[i].buf);
		if (w[i].dirfd >= 0)
			close(w[i].dirfd);
	}
	printf("load %s: %llu operations answered", verb, (unsigned long long)acked);
	if (found + missing)
		printf("; in flight: %llu happened, %llu did not", (unsigned long long)found,
			(unsigned long long)missing);
	printf("%s\n", status == 3 ? "; then the mount went away" : status ? "; FAILED" : "");
	return status;
}

static int usage(void)
{
	fprintf(stderr,
		"usage: load run|verify|stamp|stamp-verify|acked --dir MNT --log PREFIX "
		"[--seed N] [--threads N] [--seconds S] [--bytes N] [--enospc] [--after NS] "
		"[--before NS]\n");
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option longs[] = {{"dir", 1, NULL, 'd'}, {"log", 1, NULL, 'l'},
		{"seed", 1, NULL, 's'}, {"threads", 1, NULL, 't'}, {"seconds", 1, NULL, 'S'},
		{"bytes", 1, NULL, 'b'}, {"enospc", 0, NULL, 'E'}, {"after", 1, NULL, 'a'},
		{"before", 1, NULL, 'B'}, {NULL, 0, NULL, 0}};
	struct options o = {
		.threads = 4, .seconds = 3600, .bytes = 24u << 20, .before = UINT64_MAX};
	struct stamp_options s;
	const char *verb;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			o.dir = optarg;
			break;
		case 'l':
			o.log = optarg;
			break;
		case 's':
			o.seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			o.threads = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'S':
			o.seconds = strtod(optarg, NULL);
			break;
		case 'b':
			o.bytes = strtoull(optarg, NULL, 0);
			break;
		case 'E':
			o.enospc = true;
			break;
		case 'a':
			o.after = strtoull(optarg, NULL, 0);
			break;
		case 'B':
			o.before = strtoull(optarg, NULL, 0);
			break;
		default:
			return usage();
		}
	}
	if (optind + 1 != argc || !o.log || !o.threads || o.threads > THREADS_MAX)
		return usage();
	verb = argv[optind];
	if (!strcmp(verb, "acked"))
		return count_acked(&o);
	if (!o.dir)
		return usage();
	umask(0);
	s = (struct stamp_options){o.dir, o.log, o.seed, o.threads, o.seconds};
	if (!strcmp(verb, "run"))
		return run_workers(&o, verb, run_thread);
	if (!strcmp(verb, "verify"))
		return run_workers(&o, verb, verify_thread);
	if (!strcmp(verb, "stamp"))
		return stamp_run(&s);
	if (!strcmp(verb, "stamp-verify"))
		return stamp_verify(&s);
	return usage();
}
