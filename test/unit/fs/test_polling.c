/* SPDX-License-Identifier: Apache-2.0 */
/* How long it pays to look again before sleeping. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>

#include "polling.h"
#include "scratch.h"

#define LIMIT POLLING_DEFAULT_NS

Test(polling, windows_follow_what_waits_took_each_kind_for_itself)
{
	struct polling p = {.limit_ns = LIMIT};

	cr_assert(zero(u64, polling_window(&p, true)));
	polling_waited(&p, true, LIMIT / 10, false);
	cr_assert(eq(u64, polling_window(&p, true), POLLING_MIN_NS));
	for (unsigned i = 0; i < 10; i++)
		polling_waited(&p, true, LIMIT, true);
	cr_assert(eq(u64, polling_window(&p, true), LIMIT));
	cr_assert(zero(u64, polling_window(&p, false)), "one kind says nothing of the other");
	polling_waited(&p, true, LIMIT + 1, false);
	cr_assert(eq(u64, polling_window(&p, true), LIMIT / 2));
	for (unsigned i = 0; i < 10; i++)
		polling_waited(&p, true, 100 * LIMIT, false);
	cr_assert(zero(u64, polling_window(&p, true)), "who waits long sleeps at once");
	cr_assert(eq(u64, p.waits, 22));
	cr_assert(eq(u64, p.polled, 10));
}

Test(polling, without_a_limit_nothing_polls)
{
	struct polling p = {0};

	for (unsigned i = 0; i < 10; i++)
		polling_waited(&p, false, 0, false);
	cr_assert(zero(u64, polling_window(&p, false)));
}

/* A kernel whose masks have so many bits; the process may run on the first and the last. */
static int kernel_bits, error;

static int affinity(pid_t pid, size_t size, cpu_set_t *set)
{
	errno = error ? error : EINVAL;
	if (error || size * 8 < (size_t)kernel_bits)
		return -1;
	CPU_ZERO_S(size, set);
	CPU_SET_S(0, size, set);
	CPU_SET_S((size_t)kernel_bits - 1, size, set);
	return 0;
}

Test(polling, processors_are_counted_however_many_the_kernel_is_made_for)
{
	static const int bits[] = {64, 1024, 1025, 4096, 8192, 1 << 20};

	for (unsigned i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		kernel_bits = bits[i];
		cr_assert(eq(u32, polling_processors(affinity), 2), "%d", bits[i]);
	}
	kernel_bits = INT_MAX;
	cr_assert(eq(u32, polling_processors(affinity), 1));
	kernel_bits = 64;
	error = EPERM;
	cr_assert(eq(u32, polling_processors(affinity), 1));
	cr_assert(ge(u32, polling_processors(sched_getaffinity), 1));
}

static void put(const char *name, const char *text)
{
	scratch_write(scratch_path("%s", name), text);
}

Test(polling, a_quota_of_processor_time_and_a_single_processor_forbid_it)
{
	const char *dir = scratch_dir();
	char own[256];

	cr_assert(zero(int, mkdir(scratch_path("pods"), 0755)));
	cr_assert(zero(int, mkdir(scratch_path("pods/engine"), 0755)));
	snprintf(own, sizeof(own), "%s/own", dir); /* the buffers of scratch_path() are few */
	put("own", "0::/pods/engine\n");
	put("pods/engine/cpu.max", "max 100000\n");
	put("pods/cpu.max", "max 100000\n");
	cr_assert(eq(u64, polling_limit(2, dir, own), POLLING_DEFAULT_NS));
	cr_assert(zero(u64, polling_limit(1, dir, own)));
	put("pods/engine/cpu.max", "100000 100000\n");
	cr_assert(zero(u64, polling_limit(8, dir, own)));
	put("pods/engine/cpu.max", "max 100000\n");
	put("pods/cpu.max", "50000 100000\n");
	cr_assert(zero(u64, polling_limit(8, dir, own)), "that of a group above counts, too");
	put("pods/cpu.max", "max 100000\n");
	put("own", "0::/\n");
	put("cpu.max", "150000 100000\n");
	cr_assert(zero(u64, polling_limit(8, dir, own)), "as a container sees itself");
	put("own", "");
	cr_assert(eq(u64, polling_limit(8, dir, own), POLLING_DEFAULT_NS), "nothing is known");
	scratch_remove();
}

Test(polling, a_quota_of_the_older_control_groups_counts_too)
{
	const char *dir = scratch_dir();
	char own[256];

	cr_assert(zero(int, mkdir(scratch_path("cpu,cpuacct"), 0755)));
	cr_assert(zero(int, mkdir(scratch_path("cpu,cpuacct/pods"), 0755)));
	snprintf(own, sizeof(own), "%s/own", dir);
	put("own", "12:cpuset:/pods\n4:cpu,cpuacct:/pods/engine\n1:name=systemd:/pods\n0::/pods\n");
	cr_assert(eq(u64, polling_limit(8, dir, own), POLLING_DEFAULT_NS));
	put("cpu,cpuacct/pods/cpu.cfs_quota_us", "-1\n");
	cr_assert(eq(u64, polling_limit(8, dir, own), POLLING_DEFAULT_NS));
	put("cpu,cpuacct/pods/cpu.cfs_quota_us", "100000\n");
	cr_assert(zero(u64, polling_limit(8, dir, own)));
	put("cpu,cpuacct/pods/cpu.cfs_quota_us", "-1\n");
	put("cpu,cpuacct/cpu.cfs_quota_us", "200000\n");
	cr_assert(zero(u64, polling_limit(8, dir, own)), "as a container sees itself");
	scratch_remove();
}
