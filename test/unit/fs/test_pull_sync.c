/* SPDX-License-Identifier: Apache-2.0 */
/* What was pulled is remembered as here only when a sync that covers it succeeded; one that failed is final (I9). */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "pull_impl.h"
#include "scratch.h"

static int failing_fd = -1; /* its next sync fails, as the kernel tells of an error: once */

/* In place of the C library's, for the whole program. */
int fdatasync(int fd)
{
	if (fd >= 0 && fd == failing_fd) {
		failing_fd = -1;
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static void setup(void)
{
	scratch_dir();
}

TestSuite(pull_sync, .init = setup, .fini = scratch_remove);

Test(pull_sync, what_a_failed_sync_was_about_is_never_remembered)
{
	struct epoch epoch = {.num = 1, .id = 7};
	struct pull_run runs[2] = {{.epoch = epoch, .block = 0, .blocks = 4},
		{.epoch = epoch, .block = 8, .blocks = 2}};
	int fds[2];
	struct err e = {0};
	struct round r = {.e = &e, .runs = runs, .nruns = 2, .fds = fds, .nfds = 2};
	bool have;

	for (unsigned i = 0; i < 2; i++)
		fds[i] = open(scratch_path(i ? "b" : "a"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	cr_assert(fds[0] >= 0 && fds[1] >= 0);
	cr_assert_eq(pull_have_open(scratch_path("progress"), &r.have, &e), 0, "%s", e.msg);

	failing_fd = fds[1];
	cr_assert_eq(round_sync(&r), -EIO);
	cr_assert_eq(failing_fd, -1);
	e = (struct err){0};
	cr_assert_eq(round_sync(&r), 0, "as at the thread's end");
	pull_have_run(r.have, epoch, 0, 1, &have);
	cr_assert(!have, "a sync failed, and its blocks count as here");
	pull_have_run(r.have, epoch, 8, 1, &have);
	cr_assert(!have);

	r.nruns = r.nfds = 1; /* and one that succeeds */
	cr_assert_eq(round_sync(&r), 0, "%s", e.msg);
	pull_have_run(r.have, epoch, 0, 1, &have);
	cr_assert(have);
	pull_have_close(r.have);
	close(fds[0]);
	close(fds[1]);
}
