/* SPDX-License-Identifier: Apache-2.0 */
/* Writing what was pulled: everything is at its place after a drain, and the first failure is told from then on. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "pull_impl.h"
#include "scratch.h"

static struct payload_pool *pool;
static struct pull_writer *pw;

static void setup(void)
{
	scratch_dir();
	cr_assert_eq(payload_pool_new(64u << 20, NULL, NULL, &pool), 0);
	cr_assert_eq(pull_writer_new(&pw), 0);
}

static void teardown(void)
{
	pull_writer_free(pw);
	payload_pool_free(pool); /* asserts that nothing was kept */
	scratch_remove();
}

TestSuite(pull_write, .init = setup, .fini = teardown);

static uint8_t pattern(uint64_t block)
{
	return (uint8_t)(block * 7 + 1);
}

/* A run of this many blocks at this block of the file, as it came from the source. */
static struct pull_write *run(int fd, uint64_t block, uint32_t blocks)
{
	struct pull_write *w = calloc(1, sizeof(*w));

	w->in = calloc(1, sizeof(*w->in));
	w->ask = calloc(1, sizeof(*w->ask));
	w->in->payload = payload_new(pool, (size_t)blocks * BLOCK_SIZE);
	cr_assert(w->in->payload);
	w->in->m.type = MSG_DATA;
	w->in->m.data.bytes = w->in->payload->data;
	w->ask->block = block;
	w->ask->blocks = blocks;
	for (uint32_t i = 0; i < blocks; i++) {
		uint8_t *b = w->in->payload->data + (size_t)i * BLOCK_SIZE;

		memset(b, pattern(block + i), BLOCK_SIZE);
		w->ask->crcs[i] = crc32c(0, b, BLOCK_SIZE);
	}
	w->fd = fd;
	w->off = block * BLOCK_SIZE;
	return w;
}

Test(pull_write, after_a_drain_everything_is_at_its_place)
{
	int fd = open(scratch_path("data"), O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
	uint8_t *buf = aligned_alloc(BLOCK_SIZE, BLOCK_SIZE);
	struct err e = {0};

	for (uint64_t i = 0; i < 200; i++)
		cr_assert_eq(pull_writer_put(pw, run(fd, i * 16, 1 + i % 16), &e), 0);
	cr_assert_eq(pull_writer_drain(pw, &e), 0, "%s", e.msg);
	for (uint64_t i = 0; i < 200; i++)
		for (uint64_t n = i * 16; n <= i * 16 + i % 16; n++) {
			cr_assert_eq(
				pread(fd, buf, BLOCK_SIZE, (off_t)(n * BLOCK_SIZE)), BLOCK_SIZE);
			cr_assert(buf[0] == pattern(n) && buf[BLOCK_SIZE - 1] == pattern(n));
		}
	free(buf);
	close(fd);
}

Test(pull_write, other_bytes_than_asked_for_are_not_written_and_told_from_then_on)
{
	int fd = open(scratch_path("data"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct pull_write *w = run(fd, 8, 4);
	struct err e = {0}, first;

	w->ask->crcs[3] ^= 1;
	cr_assert_eq(pull_writer_put(pw, w, &e), 0);
	cr_assert_eq(pull_writer_drain(pw, &e), -EBADMSG);
	cr_assert_eq(lseek(fd, 0, SEEK_END), 0);
	first = e;
	cr_assert_eq(pull_writer_put(pw, run(fd, 0, 1), &e), -EBADMSG);
	cr_assert_eq(pull_writer_drain(pw, &e), -EBADMSG);
	cr_assert_str_eq(e.msg, first.msg);
	cr_assert_eq(lseek(fd, 0, SEEK_END), 0);
	close(fd);
}

Test(pull_write, a_write_that_fails_is_eio_and_a_full_disk_enospc)
{
	int fd = open(scratch_path("data"), O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
	struct err e = {0};

	cr_assert_eq(pull_writer_put(pw, run(fd, 0, 1), &e), 0);
	cr_assert_eq(pull_writer_drain(pw, &e), -EIO);
	pull_writer_free(pw);
	cr_assert_eq(pull_writer_new(&pw), 0);
	e = (struct err){0};
	cr_assert_eq(pull_writer_put(pw, run(full, 0, 1), &e), 0);
	cr_assert_eq(pull_writer_drain(pw, &e), -ENOSPC);
	close(full);
	close(fd);
}
