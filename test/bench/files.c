/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Load on names, and the tree that the untar workload unpacks:
 *
 *   files sync   DIR SECONDS PROCESSES   create + write 4 KiB + fsync + close, a directory each
 *   files create DIR SECONDS PROCESSES   create + close, empty
 *   files tree   DIR COUNT               a tree as source code has it: COUNT files of 200 bytes to
 *                                        100 KiB, median about 4 KiB, 25 in a directory
 *
 * The first two print "rate=R unit=files/s p50_us=.. p99_us=.. max_us=.." and remove their files again
 * after the clock has stopped. Any error ends the program with status 1.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stats.h"

#define SAMPLES_MAX (1u << 20) /* of one process */

/* In memory that parent and children share. */
struct shared {
	uint32_t count;
	uint32_t ns[SAMPLES_MAX];
};

static void make_file(const char *path, const char *block)
{
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644);

	if (fd < 0)
		die("%s", path);
	if (block && (write(fd, block, 4096) != 4096 || fsync(fd)))
		die("%s: write", path);
	close(fd);
}

static void run_process(
	const char *dir, unsigned index, bool sync, double seconds, struct shared *sh)
{
	uint64_t seed = (uint64_t)getpid(), now, deadline;
	char mine[4100], path[4200], block[4096];

	snprintf(mine, sizeof(mine), "%.4000s/files.%u", dir, index);
	if (mkdir(mine, 0755) && errno != EEXIST)
		die("%s", mine);
	random_fill(block, sizeof(block), &seed);
	now = clock_mono_ns();
	deadline = now + (uint64_t)(seconds * 1e9);
	while (now < deadline && sh->count < SAMPLES_MAX) {
		uint64_t end;

		snprintf(path, sizeof(path), "%s/%u", mine, sh->count);
		make_file(path, sync ? block : NULL);
		end = clock_mono_ns();
		sh->ns[sh->count++] = (uint32_t)(end - now);
		now = end;
	}
}

static void remove_files(const char *dir, unsigned index, uint32_t count)
{
	char path[4200];

	for (uint32_t i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%.4000s/files.%u/%u", dir, index, i);
		if (unlink(path))
			die("%s: unlink", path);
	}
	snprintf(path, sizeof(path), "%.4000s/files.%u", dir, index);
	if (rmdir(path))
		die("%s: rmdir", path);
}

static void run_load(const char *dir, bool sync, double seconds, unsigned processes)
{
	size_t size = sizeof(struct shared) * processes;
	struct shared *sh;
	struct samples all = {0};
	uint64_t begin;
	double took;

	sh = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		die("mmap of %zu", size);
	begin = clock_mono_ns();
	for (unsigned i = 0; i < processes; i++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			run_process(dir, i, sync, seconds, &sh[i]);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < processes; i++) {
		int status;

		if (wait(&status) < 0 || status)
			exit(1);
	}
	took = (double)(clock_mono_ns() - begin) / 1e9;
	for (unsigned i = 0; i < processes; i++) {
		for (uint32_t k = 0; k < sh[i].count; k++)
			samples_add(&all, sh[i].ns[k]);
		remove_files(dir, i, sh[i].count);
	}
	samples_sort(&all);
	printf("rate=%.1f unit=files/s p50_us=%.1f p99_us=%.1f max_us=%.1f\n",
		(double)all.count / took, samples_us(&all, 0.5), samples_us(&all, 0.99),
		samples_us(&all, 1.0));
	free(all.ns);
	munmap(sh, size);
}

/* Text-like bytes: words of a small vocabulary, so that tar and compilers see something usual. */
static void write_text(FILE *f, size_t size, uint64_t *seed)
{
	static const char *const words[] = {"int", "return", "struct", "static", "const", "the",
		"of", "buffer", "length", "offset", "if", "for", "while", "entry", "index", "{",
		"}", ";\n", "\t", "->", "=", "==", "+", "(", ")"};

	for (size_t n = 0; n < size;) {
		const char *word = words[random_next(seed) % (sizeof(words) / sizeof(words[0]))];
		int len = fprintf(f, "%s ", word);

		if (len < 0)
			die("write");
		n += (size_t)len;
	}
}

/* 2^x for |x| < 16, straight lines between the whole powers: near enough for sizes of files. */
static double power_of_two(double x)
{
	int whole = (int)(x + 16) - 16;
	double part = x - whole;

	return (whole >= 0 ? (double)(1u << whole) : 1.0 / (double)(1u << -whole)) * (1 + part);
}

static void make_tree(const char *dir, unsigned count)
{
	uint64_t seed = 20260101;
	char path[4300];

	if (mkdir(dir, 0755) && errno != EEXIST)
		die("%s", dir);
	for (unsigned i = 0; i < count; i++) {
		/* The sum of four uniform numbers is near enough to a bell: sizes are log-normal. */
		double u = 0;
		size_t size;
		FILE *f;

		for (int k = 0; k < 4; k++)
			u += (double)(random_next(&seed) >> 11) / (double)(1ull << 53) - 0.5;
		size = (size_t)(4096 * power_of_two(u * 3.5));
		size = size < 200 ? 200 : size > 100 << 10 ? 100 << 10 : size;
		snprintf(path, sizeof(path), "%.4000s/module%02u", dir, i / 500);
		if (i % 500 == 0 && mkdir(path, 0755))
			die("%s", path);
		snprintf(path, sizeof(path), "%.4000s/module%02u/part%02u", dir, i / 500,
			i % 500 / 25);
		if (i % 25 == 0 && mkdir(path, 0755))
			die("%s", path);
		snprintf(path, sizeof(path), "%.4000s/module%02u/part%02u/source_file_%u.c", dir,
			i / 500, i % 500 / 25, i);
		f = fopen(path, "w");
		if (!f)
			die("%s", path);
		write_text(f, size, &seed);
		if (fclose(f))
			die("%s", path);
	}
}

int main(int argc, char **argv)
{
	double amount = argc > 3 ? strtod(argv[3], NULL) : 0;
	int processes = argc > 4 ? atoi(argv[4]) : 1;

	if (argc == 4 && !strcmp(argv[1], "tree") && amount >= 1) {
		make_tree(argv[2], (unsigned)amount);
	} else if (argc >= 4 && amount > 0 && processes > 0 && processes <= 64 &&
		   (!strcmp(argv[1], "sync") || !strcmp(argv[1], "create"))) {
		run_load(argv[2], !strcmp(argv[1], "sync"), amount, (unsigned)processes);
	} else {
		fprintf(stderr, "usage: files sync|create DIR SECONDS [PROCESSES]\n"
				"       files tree DIR COUNT\n");
		return 2;
	}
	return 0;
}
