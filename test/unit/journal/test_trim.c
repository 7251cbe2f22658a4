/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Power lost while a tail is being dropped. This file takes the place of pwrite() and fdatasync():
 * when armed, writes are kept back until the next flush, and at the chosen write "the power fails":
 * a random part of what is kept back reaches the file, in no order, and the process ends.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rig.h"
#include "ring_impl.h"

TestSuite(trim, .fini = rig_free);

#define MIB (1u << 20)

static struct {
	bool armed;
	unsigned left; /* writes until the power fails */
	struct {
		int fd;
		off_t off;
		uint8_t bytes[BLOCK_SIZE] __attribute__((aligned(BLOCK_SIZE))); /* O_DIRECT */
	} kept[256];
	unsigned nkept;
} power;

static void really_write(unsigned i)
{
	if (syscall(SYS_pwrite64, power.kept[i].fd, power.kept[i].bytes, BLOCK_SIZE,
		    power.kept[i].off) != BLOCK_SIZE)
		_exit(3);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t pwrite64(int fd, const void *buf, size_t len, off_t off)
{
	if (!power.armed)
		return syscall(SYS_pwrite64, fd, buf, len, off);
	if (!power.left--) {
		for (unsigned i = 0; i < power.nkept; i++)
			if (rig_random(2))
				really_write(i);
		_exit(0);
	}
	if (power.nkept == ARRAY_SIZE(power.kept))
		_exit(4);
	power.kept[power.nkept].fd = fd;
	power.kept[power.nkept].off = off;
	memcpy(power.kept[power.nkept].bytes, buf, BLOCK_SIZE);
	power.nkept++;
	return (ssize_t)len;
}

int fdatasync(int fd)
{
	unsigned n = 0;

	if (!power.armed)
		return (int)syscall(SYS_fdatasync, fd);
	for (unsigned i = 0; i < power.nkept; i++) {
		if (power.kept[i].fd == fd)
			really_write(i);
		else
			power.kept[n++] = power.kept[i];
	}
	power.nkept = n;
	return 0;
}

/* Truncates to rig_pos(n) in a child; true when the power failed before it was over. */
static bool truncate_in_child(unsigned n, unsigned power_after)
{
	pid_t child = fork();
	int status;

	if (!child) {
		rig_start((struct pos){0});
		power.left = power_after;
		power.armed = true;
		_exit(ring_truncate(rig.r, rig_pos(n), &rig.e) ? 2 : 1);
	}
	cr_assert(eq(int, waitpid(child, &status, 0), child));
	cr_assert(not(zero(int, WIFEXITED(status))));
	cr_assert(le(int, WEXITSTATUS(status), 1));
	return WEXITSTATUS(status) == 0;
}

static void lose_power_everywhere(unsigned commit_lag)
{
	uint8_t *image = malloc(2 * MIB);
	unsigned tries = 0;
	bool failed = true;

	rig_new(URING_AUTO, 2 * MIB);
	for (unsigned i = 0; i < 36; i++)
		rig_append(i % 7 == 5 ? 0 : 1, 35000,
			rig.end.seq > commit_lag ? rig.end.seq - commit_lag : 0);
	rig_stop();
	rig_peek(0, image, MIB);
	rig_peek(MIB, image + MIB, MIB);
	for (unsigned after = 0; failed || after < 3; after++) {
		uint64_t low = rig_pos(8).seq, high = rig.end.seq;

		rig_poke(0, image, MIB);
		rig_poke(MIB, image + MIB, MIB);
		rig.random += after;
		failed = truncate_in_child(8, after);
		tries++;
		/* A prefix that has what was to be kept; never an alarm. */
		cr_assert(zero(int, rig_open((struct pos){0}, NULL, NULL)), "after %u writes: %s",
			after, rig.e.msg);
		cr_assert(ge(u64, rig.rec.end.seq, low));
		cr_assert(le(u64, rig.rec.end.seq, failed ? high : low));
		/* And the second attempt gets there. */
		cr_assert(zero(int, ring_truncate(rig.r, rig_pos(8), &rig.e)), "%s", rig.e.msg);
		rig_stop();
		cr_assert(zero(int, rig_open((struct pos){0}, NULL, NULL)), "%s", rig.e.msg);
		cr_assert(eq(u64, rig.rec.end.seq, low));
		rig_stop();
	}
	cr_assert(gt(uint, tries, 25));
	free(image);
}

Test(trim, power_lost_while_an_uncommitted_tail_is_dropped_leaves_a_prefix)
{
	lose_power_everywhere(1000);
}

Test(trim, power_lost_while_a_committed_tail_is_dropped_leaves_a_prefix)
{
	lose_power_everywhere(0);
}

Test(trim, power_lost_while_a_partly_committed_tail_is_dropped_leaves_a_prefix)
{
	lose_power_everywhere(5);
}
