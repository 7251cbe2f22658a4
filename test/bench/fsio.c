/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load on the contents of files, one workload a run, in a directory of the filesystem to measure:
 *
 *   fsio append   DIR SECONDS   4 KiB write + fdatasync at the end of one file, depth 1
 *   fsio osync    DIR SECONDS   4 KiB O_DIRECT + O_SYNC at random places of one file, depth 1
 *   fsio random   DIR SECONDS   4 KiB write + fdatasync at random places, 16 files, 16 writers
 *   fsio direct   DIR SECONDS   16 KiB O_DIRECT in one file, 8 writers, fdatasync every 8 writes
 *   fsio write    DIR MIB       1 MiB writes one behind the other, fsync at the end
 *   fsio read     DIR MIB       reads that file, 1 MiB at a time
 *   fsio randread DIR SECONDS   4 KiB reads at random places of that file, 8 readers
 *
 * Prints one line: "rate=R unit=U p50_us=.. p99_us=.. max_us=..". Files that a workload overwrites are
 * written before the clock runs, and kept for the next run. Any error ends the program with status 1.
 */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stats.h"

#define MIB (1u << 20)

struct worker {
	pthread_t thread;
	char path[4096];
	int flags;
	bool reads;
	size_t block;
	uint64_t blocks; /* in the file; 0: append */
	unsigned sync_every; /* 0: never */
	uint64_t seed;
	uint64_t deadline_ns;
	struct samples samples;
};

static void write_all(int fd, const char *path, const void *buf, size_t len, off_t at)
{
	ssize_t n = pwrite(fd, buf, len, at);

	if (n != (ssize_t)len)
		die("%s: write of %zu at %lld gave %zd", path, len, (long long)at, n);
}

/* Makes sure that the file has `size` written bytes, on the disk. */
static void prepare(const char *path, uint64_t size)
{
	uint64_t seed = 88172645463325252ull;
	struct stat st;
	char *buf;
	int fd;

	if (stat(path, &st) == 0 && (uint64_t)st.st_size == size)
		return;
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
	buf = malloc(MIB);
	if (fd < 0 || !buf)
		die("%s", path);
	for (uint64_t at = 0; at < size; at += MIB) {
		random_fill(buf, MIB, &seed);
		write_all(fd, path, buf, MIB, (off_t)at);
	}
	if (fsync(fd) || close(fd))
		die("%s: fsync", path);
	free(buf);
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;
	uint64_t now, at = 0;
	unsigned unsynced = 0;
	void *buf;
	int fd;

	fd = open(w->path, w->flags, 0644);
	if (fd < 0)
		die("%s", w->path);
	if (posix_memalign(&buf, 4096, w->block))
		die("buffer of %zu", w->block);
	random_fill(buf, w->block, &w->seed);
	now = clock_mono_ns();
	while (now < w->deadline_ns) {
		uint64_t end;

		if (w->blocks)
			at = random_next(&w->seed) % w->blocks * w->block;
		if (w->reads) {
			if (pread(fd, buf, w->block, (off_t)at) != (ssize_t)w->block)
				die("%s: read", w->path);
		} else {
			memcpy(buf, &at, sizeof(at));
			write_all(fd, w->path, buf, w->block, (off_t)at);
		}
		if (w->sync_every && ++unsynced == w->sync_every) {
			if (fdatasync(fd))
				die("%s: fdatasync", w->path);
			unsynced = 0;
		}
		at += w->block;
		end = clock_mono_ns();
		samples_add(&w->samples, end - now);
		now = end;
	}
	close(fd);
	free(buf);
	return NULL;
}

static void report(struct samples *s, double rate, const char *unit)
{
	samples_sort(s);
	printf("rate=%.1f unit=%s p50_us=%.1f p99_us=%.1f max_us=%.1f\n", rate, unit,
		samples_us(s, 0.5), samples_us(s, 0.99), samples_us(s, 1.0));
}

/* Runs n copies of *model for the seconds; with `many`, each on a file of its own. */
static void run_workers(const struct worker *model, unsigned n, bool many, double seconds)
{
	struct worker *w = calloc(n, sizeof(*w));
	struct samples all = {0};
	uint64_t begin;
	double took;

	if (!w)
		die("workers");
	for (unsigned i = 0; i < n; i++) {
		w[i] = *model;
		w[i].seed = 0x9e3779b97f4a7c15ull * (i + 1) ^ (uint64_t)getpid();
		if (many)
			snprintf(w[i].path, sizeof(w[i].path), "%.4000s.%u", model->path, i);
		if (w[i].blocks)
			prepare(w[i].path, w[i].blocks * w[i].block);
	}
	begin = clock_mono_ns();
	for (unsigned i = 0; i < n; i++) {
		w[i].deadline_ns = begin + (uint64_t)(seconds * 1e9);
		if (pthread_create(&w[i].thread, NULL, worker_run, &w[i]))
			die("thread");
	}
	for (unsigned i = 0; i < n; i++)
		pthread_join(w[i].thread, NULL);
	took = (double)(clock_mono_ns() - begin) / 1e9;
	for (unsigned i = 0; i < n; i++)
		samples_merge(&all, &w[i].samples);
	report(&all, (double)all.count / took, "IOPS");
	free(all.ns);
	free(w);
}

static void run_sequential(const char *path, bool reads, uint64_t mib)
{
	struct samples s = {0};
	uint64_t seed = (uint64_t)getpid() + 1, begin, now;
	char *buf;
	int fd;

	if (!reads)
		unlink(path);
	buf = malloc(MIB);
	fd = open(path, reads ? O_RDONLY : O_CREAT | O_WRONLY, 0644);
	if (fd < 0 || !buf)
		die("%s", path);
	random_fill(buf, MIB, &seed);
	begin = now = clock_mono_ns();
	for (uint64_t i = 0; i < mib; i++) {
		uint64_t end;

		if (reads) {
			ssize_t got = read(fd, buf, MIB);

			if (got != MIB)
				die("%s: read gave %zd", path, got);
		} else {
			memcpy(buf, &i, sizeof(i));
			write_all(fd, path, buf, MIB, (off_t)(i * MIB));
		}
		end = clock_mono_ns();
		samples_add(&s, end - now);
		now = end;
	}
	if (!reads && fsync(fd))
		die("%s: fsync", path);
	now = clock_mono_ns();
	report(&s, (double)mib * 1.048576 / ((double)(now - begin) / 1e9), "MB/s");
	close(fd);
	free(buf);
	free(s.ns);
}

int main(int argc, char **argv)
{
	struct worker w = {.block = 4096};
	const char *what, *dir;
	double amount;

	if (argc != 4 || (amount = strtod(argv[3], NULL)) <= 0) {
		fprintf(stderr, "usage: fsio append|osync|random|direct|randread DIR SECONDS\n"
				"       fsio write|read DIR MIB\n");
		return 2;
	}
	what = argv[1];
	dir = argv[2];
	snprintf(w.path, sizeof(w.path), "%.4000s/fsio.%s", dir,
		strcmp(what, "write") && strcmp(what, "read") && strcmp(what, "randread") ? what
											  : "seq");
	if (!strcmp(what, "append")) {
		w.flags = O_CREAT | O_TRUNC | O_WRONLY;
		w.sync_every = 1;
		run_workers(&w, 1, false, amount);
	} else if (!strcmp(what, "osync")) {
		w.flags = O_WRONLY | O_DIRECT | O_SYNC;
		w.blocks = 64 * MIB / w.block;
		run_workers(&w, 1, false, amount);
	} else if (!strcmp(what, "random")) {
		w.flags = O_WRONLY;
		w.blocks = 4 * MIB / w.block;
		w.sync_every = 1;
		run_workers(&w, 16, true, amount);
	} else if (!strcmp(what, "direct")) {
		w.block = 16384;
		w.flags = O_WRONLY | O_DIRECT;
		w.blocks = 128 * MIB / w.block;
		w.sync_every = 8;
		run_workers(&w, 8, false, amount);
	} else if (!strcmp(what, "randread")) {
		struct stat st;

		if (stat(w.path, &st) || st.st_size < MIB)
			die("%s: run 'write' first", w.path);
		w.flags = O_RDONLY;
		w.reads = true;
		w.blocks = (uint64_t)st.st_size / w.block;
		run_workers(&w, 8, false, amount);
	} else if (!strcmp(what, "write") || !strcmp(what, "read")) {
		run_sequential(w.path, *what == 'r', (uint64_t)amount);
	} else {
		fprintf(stderr, "fsio: no workload '%s'\n", what);
		return 2;
	}
	return 0;
}
