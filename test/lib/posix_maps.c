/* SPDX-License-Identifier: Apache-2.0 */
/* Data by other ways: mappings, O_DIRECT, random operations against a model, many threads. */
#include "posix_check.h"

#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCK 4096u

void posix_maps(void)
{
	char buf[BLOCK * 4], *shared, *private, *other;
	int fd = open("m", O_CREAT | O_RDWR | O_TRUNC, 0644), fd2;

	memset(buf, 'm', sizeof(buf));
	OK(write(fd, buf, 10000) == 10000);
	shared = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	OK(shared != MAP_FAILED);
	private = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	OK(private != MAP_FAILED && private[9999] == 'm' && private[10000] == 0);
	memcpy(shared + 5000, "mapped", 6);
	OK(pread(fd, buf, 6, 5000) == 6 && !memcmp(buf, "mapped", 6));
	OK(!memcmp(private + 5000, "mapped", 6));
	memcpy(private, "private", 7);
	OK(pread(fd, buf, 7, 0) == 7 && !memcmp(buf, "mmmmmmm", 7));
	OK(pwrite(fd, "written", 7, 8000) == 7);
	OK(!memcmp(shared + 8000, "written", 7));
	DOES(msync(shared, 10000, MS_SYNC));
	memcpy(shared + 9990, "tail", 4);
	fd2 = open("m", O_RDWR);
	other = mmap(NULL, 10000, PROT_READ, MAP_SHARED, fd2, 0);
	OK(!memcmp(other + 9990, "tail", 4));
	DOES(munmap(other, 10000));
	DOES(munmap(shared, 10000));
	DOES(munmap(private, 10000));
	close(fd);
	fsync(fd2);
	posix_fadvise(fd2, 0, 0, POSIX_FADV_DONTNEED);
	OK(pread(fd2, buf, 10000, 0) == 10000);
	OK(!memcmp(buf + 5000, "mapped", 6) && !memcmp(buf + 8000, "written", 7) &&
		!memcmp(buf + 9990, "tail", 4) && buf[0] == 'm');
	OK(posix_stat("m").st_size == 10000);
	/* what a mapping left behind the end is not seen when the file grows */
	shared = mmap(NULL, 12288, PROT_READ | PROT_WRITE, MAP_SHARED, fd2, 0);
	shared[11000] = 'X';
	DOES(msync(shared, 12288, MS_SYNC));
	DOES(munmap(shared, 12288));
	DOES(ftruncate(fd2, 12288));
	posix_fadvise(fd2, 0, 0, POSIX_FADV_DONTNEED);
	OK(pread(fd2, buf, 1, 11000) == 1 && buf[0] == 0);
	close(fd2);
	FAILS(mmap(NULL, 4096, PROT_READ, MAP_SHARED, -1, 0) == MAP_FAILED ? -1 : 0, EBADF);
}

static char *aligned(size_t len)
{
	void *p = NULL;

	return posix_memalign(&p, BLOCK, len) ? NULL : p;
}

void posix_direct(void)
{
	size_t len = 2u << 20;
	char *buf = aligned(len), *got = aligned(len), *map;
	int fd = open("d", O_CREAT | O_RDWR | O_DIRECT, 0644), cached;

	if (fd < 0) {
		posix_skip("O_DIRECT", "not here");
		return;
	}
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(i / 97);
	OK(pwrite(fd, buf, BLOCK, 0) == BLOCK);
	OK(pread(fd, got, BLOCK, 0) == BLOCK && !memcmp(buf, got, BLOCK));
	OK(pwrite(fd, buf, len, BLOCK) == (ssize_t)len);
	OK(pread(fd, got, len, BLOCK) == (ssize_t)len && !memcmp(buf, got, len));
	OK(pread(fd, got, BLOCK, (off_t)len + BLOCK) == 0);
	OK(posix_stat("d").st_size == (off_t)len + BLOCK);
	/* beside a descriptor that caches */
	cached = open("d", O_RDWR);
	OK(pread(cached, got, BLOCK, 0) == BLOCK && !memcmp(buf, got, BLOCK));
	OK(pwrite(cached, "cached", 6, 10) == 6);
	OK(pread(fd, got, BLOCK, 0) == BLOCK && !memcmp(got + 10, "cached", 6));
	memset(buf, 'D', BLOCK);
	OK(pwrite(fd, buf, BLOCK, 0) == BLOCK);
	OK(pread(cached, got, BLOCK, 0) == BLOCK && !memcmp(buf, got, BLOCK));
	map = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, cached, 0);
	OK(map != MAP_FAILED && map[5] == 'D');
	memcpy(map, "by mapping", 10);
	DOES(msync(map, BLOCK, MS_SYNC));
	OK(pread(fd, got, BLOCK, 0) == BLOCK && !memcmp(got, "by mapping", 10));
	memset(buf, 'E', BLOCK);
	OK(pwrite(fd, buf, BLOCK, 0) == BLOCK);
	OK(map[0] == 'E' && map[4095] == 'E');
	DOES(munmap(map, BLOCK));
	close(cached);
	map = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); /* of the direct one */
	if (OK(map != MAP_FAILED)) {
		OK(map[1] == 'E');
		map[1] = 'F';
		DOES(msync(map, BLOCK, MS_SYNC));
		OK(pread(fd, got, BLOCK, 0) == BLOCK && got[1] == 'F');
		munmap(map, BLOCK);
	}
	DOES(ftruncate(fd, 5000));
	OK(pread(fd, got, 2 * BLOCK, 0) == 5000);
	OK(lseek(fd, 0, SEEK_END) == 5000);
	close(fd);
	fd = open("d", O_WRONLY | O_DIRECT | O_APPEND | O_TRUNC);
	memset(buf, 'G', BLOCK);
	OK(write(fd, buf, BLOCK) == BLOCK && write(fd, buf, BLOCK) == BLOCK);
	OK(posix_stat("d").st_size == 2 * BLOCK);
	close(fd);
	free(buf);
	free(got);
}

/* --- random operations against a model in memory --- */

#define MODEL_SIZE (1u << 20)

static uint32_t rnd(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 33);
}

static bool same(int fd, const char *model, size_t size, char *got)
{
	return pread(fd, got, MODEL_SIZE, 0) == (ssize_t)size && !memcmp(model, got, size);
}

void posix_random_ops(void)
{
	char *model = calloc(1, MODEL_SIZE), *buf = aligned(MODEL_SIZE), *got = aligned(MODEL_SIZE);
	uint64_t state = 20240229;
	size_t size = 0;
	int fd = open("r", O_CREAT | O_RDWR | O_TRUNC, 0644);
	int direct = open("r", O_RDWR | O_DIRECT);
	unsigned bad = 0;

	for (unsigned i = 0; i < 1500 && !bad; i++) {
		unsigned what = rnd(&state) % 20;
		size_t off = rnd(&state) % MODEL_SIZE, len = 1 + rnd(&state) % 30000;
		bool aligned_op = what >= 9 && what < 12;

		if (what % 3 == 0)
			len = 1 + len % 300;
		if (aligned_op) {
			off -= off % BLOCK;
			len = (len / BLOCK + 1) * BLOCK;
		}
		if (off + len > MODEL_SIZE)
			len = MODEL_SIZE - off;
		if (what < 12) {
			memset(buf, (int)('a' + i % 26), len);
			buf[0] = (char)i;
			bad += pwrite(aligned_op && direct >= 0 ? direct : fd, buf, len,
				       (off_t)off) != (ssize_t)len;
			if (off > size)
				memset(model + size, 0, off - size);
			memcpy(model + off, buf, len);
			size = off + len > size ? off + len : size;
		} else if (what < 14) {
			bad += ftruncate(fd, (off_t)off) != 0;
			if (off > size)
				memset(model + size, 0, off - size);
			size = off;
		} else if (what < 17) {
			bad += fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off,
				       (off_t)len) != 0;
			if (off < size)
				memset(model + off, 0, off + len > size ? size - off : len);
		} else if (what < 18) {
			bad += fallocate(fd, FALLOC_FL_ZERO_RANGE, (off_t)off, (off_t)len) != 0;
			memset(model + off, 0, len);
			if (off > size)
				memset(model + size, 0, off - size);
			size = off + len > size ? off + len : size;
		} else if (what < 19) {
			bad += fallocate(fd, 0, (off_t)off, (off_t)len) != 0;
			if (off + len > size) {
				memset(model + size, 0, off + len - size);
				size = off + len;
			}
		} else {
			fsync(fd);
			posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		}
		if (i % 16 == 0)
			bad += !same(fd, model, size, got);
		if (bad)
			printf("random operation %u: kind %u, off %zu, len %zu, size %zu\n", i,
				what, off, len, size);
	}
	OK(bad == 0);
	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	OK(same(fd, model, size, got));
	close(fd);
	if (direct >= 0)
		close(direct);
	free(model);
	free(buf);
	free(got);
}

/* --- threads --- */

#define THREADS 8u
#define ROUNDS 60u

static void *append_main(void *arg)
{
	int fd = open("lines", O_WRONLY | O_APPEND);
	char line[65];

	memset(line, 'a' + (int)(uintptr_t)arg, 63);
	line[63] = '\n';
	for (unsigned i = 0; i < ROUNDS; i++)
		if (write(fd, line, 64) != 64)
			return (void *)1;
	close(fd);
	return NULL;
}

static void *block_main(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	char *buf = aligned(BLOCK * 4), *got = aligned(BLOCK * 4);
	int fd = open("blocks", O_RDWR | (me % 4 == 3 ? 0 : O_DIRECT));
	uintptr_t bad = fd < 0;

	for (unsigned i = 0; i < ROUNDS && !bad; i++) {
		off_t off = (off_t)(i * THREADS + me) * BLOCK * 4;

		memset(buf, (int)(i + me), BLOCK * 4);
		bad += pwrite(fd, buf, BLOCK * 4, off) != BLOCK * 4;
		bad += pread(fd, got, BLOCK * 4, off) != BLOCK * 4 || memcmp(buf, got, BLOCK * 4);
	}
	close(fd);
	free(buf);
	free(got);
	return (void *)bad;
}

static void *name_main(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	char a[64], b[64];
	uintptr_t bad = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		int fd;

		snprintf(a, sizeof(a), "n/%u-%u", me, i);
		snprintf(b, sizeof(b), "n/r%u-%u", me, i);
		fd = open(a, O_CREAT | O_EXCL | O_WRONLY, 0644);
		bad += fd < 0 || write(fd, a, 5) != 5;
		close(fd);
		bad += rename(a, b) != 0;
		if (i % 2)
			bad += unlink(b) != 0;
	}
	return (void *)bad;
}

static uintptr_t run_threads(void *(*fn)(void *))
{
	pthread_t t[THREADS];
	uintptr_t bad = 0;
	void *ret;

	for (unsigned i = 0; i < THREADS; i++)
		pthread_create(&t[i], NULL, fn, (void *)(uintptr_t)i);
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(t[i], &ret);
		bad += (uintptr_t)ret;
	}
	return bad;
}

void posix_parallel(void)
{
	char line[64];
	unsigned lines = 0, torn = 0;
	int fd;

	close(posix_file("lines", ""));
	OK(run_threads(append_main) == 0);
	fd = open("lines", O_RDONLY);
	while (read(fd, line, 64) == 64) {
		lines++;
		for (unsigned i = 1; i < 63; i++)
			torn += line[i] != line[0];
	}
	OK(lines == THREADS * ROUNDS);
	OK(torn == 0);
	close(fd);
	close(posix_file("blocks", ""));
	OK(run_threads(block_main) == 0);
	OK(posix_stat("blocks").st_size == (off_t)THREADS * ROUNDS * BLOCK * 4);
	DOES(mkdir("n", 0755));
	OK(run_threads(name_main) == 0);
	for (unsigned i = 0; i < THREADS; i++) {
		char name[64];

		snprintf(name, sizeof(name), "n/r%u-0", i);
		OK(posix_stat(name).st_size == 5);
		snprintf(name, sizeof(name), "n/r%u-1", i);
		OK(posix_stat(name).st_nlink == 0);
	}
}
