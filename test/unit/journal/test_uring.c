/* SPDX-License-Identifier: Apache-2.0 */
/* Asynchronous writes, each test with both engines. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "limits.h"
#include "uring.h"

static const struct mode {
	enum uring_mode mode;
	char name[12];
} modes[] = {{URING_FORCE, "io_uring"}, {URING_THREADS, "pwritev2"}};

#define BOTH(name)                                                                                 \
	ParameterizedTestParameters(uring, name)                                                   \
	{                                                                                          \
		return cr_make_param_array(struct mode, (void *)modes, 2, NULL);                   \
	}                                                                                          \
	ParameterizedTest(struct mode *m, uring, name)

#define SIZE (256u << 10)

static uint8_t *data, *back;
static char path[64];
static int fd;
static struct uring *u;
static unsigned ndone;

static void start(const struct mode *m, unsigned depth)
{
	struct err e;

	snprintf(path, sizeof(path), "/tmp/tandemfs-uring-XXXXXX");
	fd = mkstemp(path);
	cr_assert(ge(int, fd, 0));
	unlink(path);
	cr_assert(zero(int, posix_memalign((void **)&data, BLOCK_SIZE, SIZE)));
	cr_assert(zero(int, posix_memalign((void **)&back, BLOCK_SIZE, SIZE)));
	for (unsigned i = 0; i < SIZE; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 11);
	ndone = 0;
	cr_assert(zero(int, uring_open(m->mode, depth, &u, &e)), "%s", e.msg);
	cr_assert(eq(str, (char *)uring_mode_name(u), (char *)m->name));
}

static void end(void)
{
	uring_close(u);
	free(data);
	free(back);
	close(fd);
}

static void done(struct uring_req *r)
{
	ndone++;
}

/* Reaps until n requests are done in all. */
static void wait_done(unsigned n)
{
	while (ndone < n) {
		struct pollfd p = {.fd = uring_fd(u), .events = POLLIN};

		cr_assert(eq(int, poll(&p, 1, 10000), 1), "nothing completes");
		uring_reap(u);
	}
}

static struct uring_req request(size_t off, size_t len)
{
	return (struct uring_req){.fd = fd,
		.buf = data + off,
		.len = len,
		.off = off,
		.rwf_flags = RWF_DSYNC,
		.done = done};
}

static void check_file(size_t len)
{
	cr_assert(eq(int, (int)pread(fd, back, SIZE, 0), (int)len));
	cr_assert(zero(int, memcmp(back, data, len)));
}

BOTH(writes_what_was_asked_for_and_says_so_once)
{
	struct uring_req r = request(0, SIZE);

	start(m, 4);
	r = request(0, SIZE);
	uring_write(u, &r);
	cr_assert(zero(uint, uring_reap(u)));
	uring_submit(u);
	wait_done(1);
	cr_assert(zero(int, r.res));
	check_file(SIZE);
	uring_fdatasync(u, &r);
	uring_submit(u);
	wait_done(2);
	cr_assert(zero(int, r.res));
	cr_assert(zero(uint, uring_reap(u)));
	end();
}

BOTH(more_requests_than_the_depth_all_finish)
{
	struct uring_req r[64];

	start(m, 4);
	for (unsigned i = 0; i < 64; i++) {
		r[i] = request(i * BLOCK_SIZE, BLOCK_SIZE);
		uring_write(u, &r[i]);
	}
	uring_submit(u);
	wait_done(64);
	for (unsigned i = 0; i < 64; i++)
		cr_assert(zero(int, r[i].res));
	check_file(64 * BLOCK_SIZE);
	end();
}

BOTH(a_short_write_is_continued_to_the_last_byte)
{
	struct uring_req r;

	start(m, 4);
	uring_inject(u, 1, 2, 3 * BLOCK_SIZE); /* three attempts of three blocks, then the rest */
	r = request(0, SIZE);
	uring_write(u, &r);
	uring_submit(u);
	wait_done(1);
	cr_assert(zero(int, r.res));
	check_file(SIZE);
	end();
}

BOTH(a_write_cut_inside_a_block_is_continued_at_that_block)
{
	struct uring_req r;

	start(m, 4);
	uring_inject(u, 1, 1, 3 * BLOCK_SIZE + 100);
	r = request(0, SIZE);
	uring_write(u, &r);
	uring_submit(u);
	wait_done(1);
	cr_assert(zero(int, r.res));
	check_file(SIZE);
	/* One that never gets further than that ends with an error. */
	uring_inject(u, 1, 1000, 100);
	r = request(0, SIZE);
	uring_write(u, &r);
	uring_submit(u);
	wait_done(2);
	cr_assert(eq(int, r.res, -EIO));
	end();
}

BOTH(an_injected_error_reaches_the_one_request_it_is_for)
{
	struct uring_req r[5];

	start(m, 8);
	uring_inject(u, 3, 1, -ENOSPC);
	for (unsigned i = 0; i < 5; i++) {
		r[i] = request(i * BLOCK_SIZE, BLOCK_SIZE);
		if (i == 3)
			uring_fdatasync(u, &r[i]);
		else
			uring_write(u, &r[i]);
	}
	uring_submit(u);
	wait_done(5);
	for (unsigned i = 0; i < 5; i++)
		cr_assert(eq(int, r[i].res, i == 2 || i == 3 ? -ENOSPC : 0), "request %u", i);
	cr_assert(eq(int, (int)pread(fd, back, SIZE, 0), 5 * BLOCK_SIZE));
	for (unsigned i = 0; i < BLOCK_SIZE; i++)
		cr_assert(zero(u8, back[2 * BLOCK_SIZE + i])); /* it never reached the file */
	end();
}

BOTH(a_real_error_is_final)
{
	struct uring_req r;

	start(m, 1);
	r = request(0, BLOCK_SIZE);
	r.fd = open("/dev/full", O_WRONLY);
	r.rwf_flags = 0;
	uring_write(u, &r);
	uring_submit(u);
	wait_done(1);
	cr_assert(eq(int, r.res, -ENOSPC));
	close(r.fd);
	end();
}

static struct uring_req second;

static void done_writes_another(struct uring_req *r)
{
	ndone++;
	uring_write(u, &second);
	uring_submit(u);
}

BOTH(a_callback_may_write_and_submit)
{
	struct uring_req r;

	start(m, 1);
	second = request(BLOCK_SIZE, BLOCK_SIZE);
	r = request(0, BLOCK_SIZE);
	r.done = done_writes_another;
	uring_write(u, &r);
	uring_submit(u);
	wait_done(2);
	check_file(2 * BLOCK_SIZE);
	end();
}

BOTH(a_registered_buffer_is_written_from_like_any_other)
{
	struct uring_req r[2];
	uint8_t *other;

	start(m, 4);
	cr_assert(zero(int, uring_register_buffer(u, data, SIZE / 2)));
	for (unsigned i = 0; i < 2; i++) { /* one inside, one across the end of the buffer */
		r[i] = request(i * SIZE / 4, SIZE / 2);
		uring_write(u, &r[i]);
	}
	uring_submit(u);
	wait_done(2);
	check_file(SIZE * 3 / 4);
	other = aligned_alloc(BLOCK_SIZE, BLOCK_SIZE);
	memcpy(other, data, BLOCK_SIZE);
	r[0] = request(0, BLOCK_SIZE);
	r[0].buf = other;
	uring_write(u, &r[0]);
	uring_submit(u);
	wait_done(3);
	free(other);
	check_file(SIZE * 3 / 4);
	end();
}

/* Whole buffer, in pieces of a MiB: writes at its ends and across a border, and nothing else of it is touched. */
BOTH(a_large_registered_buffer_takes_memory_where_it_was_written_from)
{
	const size_t len = 16u << 20;
	const size_t at[] = {(5u << 20) - BLOCK_SIZE, 0, len - 2 * BLOCK_SIZE};
	uint8_t *base = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned char there[(16u << 20) / BLOCK_SIZE];
	size_t touched = 0;
	struct uring_req r;

	cr_assert(base != MAP_FAILED);
	start(m, 4);
	cr_assert(zero(int, uring_register_buffer(u, base, len)));
	for (unsigned i = 0; i < ARRAY_SIZE(at); i++) {
		memset(base + at[i], (int)i + 1, 2 * BLOCK_SIZE);
		r = (struct uring_req){.fd = fd,
			.buf = base + at[i],
			.len = 2 * BLOCK_SIZE,
			.off = i * 2 * BLOCK_SIZE,
			.rwf_flags = RWF_DSYNC,
			.done = done};
		uring_write(u, &r);
		uring_submit(u);
		wait_done(i + 1);
		cr_assert(zero(int, r.res));
		cr_assert(eq(
			int, (int)pread(fd, back, 2 * BLOCK_SIZE, (off_t)r.off), 2 * BLOCK_SIZE));
		cr_assert(zero(int, memcmp(back, base + at[i], 2 * BLOCK_SIZE)));
	}
	cr_assert(zero(int, mincore(base, len, there)));
	for (size_t i = 0; i < sizeof(there); i++)
		touched += there[i] & 1;
	cr_assert(le(sz, touched * BLOCK_SIZE, 5u << 20));
	end();
	munmap(base, len);
}

BOTH(closing_waits_for_what_is_in_flight_and_calls_nobody)
{
	struct uring_req r[8];

	start(m, 8);
	for (unsigned i = 0; i < 8; i++) {
		r[i] = request(i * SIZE / 8, SIZE / 8);
		uring_write(u, &r[i]);
	}
	uring_submit(u);
	uring_close(u);
	cr_assert(zero(uint, ndone));
	check_file(SIZE);
	cr_assert(zero(int, setenv("TANDEMFS_FAULT_WRITE", "2:1", 1)));
	cr_assert(zero(int, uring_open(m->mode, 8, &u, NULL)));
	for (unsigned i = 0; i < 4; i++) {
		r[i] = request(0, BLOCK_SIZE);
		uring_write(u, &r[i]);
	}
	uring_submit(u);
	wait_done(4);
	for (unsigned i = 0; i < 4; i++)
		cr_assert(eq(int, r[i].res, i == 1 || i == 2 ? -EIO : 0));
	end();
}

Test(uring, auto_opens_one_of_the_two)
{
	struct err e;

	cr_assert(zero(int, uring_open(URING_AUTO, 1, &u, &e)), "%s", e.msg);
	cr_assert(ge(int, uring_fd(u), 0));
	uring_close(u);
	uring_close(NULL);
}

BOTH(a_registered_file_is_written_like_any_other)
{
	struct uring_req r;

	start(m, 4);
	cr_assert(zero(int, uring_register_file(u, fd)));
	r = request(0, SIZE);
	uring_write(u, &r);
	uring_submit(u);
	wait_done(1);
	cr_assert(zero(int, r.res));
	check_file(SIZE);
	end();
}
