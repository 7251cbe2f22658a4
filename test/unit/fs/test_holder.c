/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The holder as a process, without a mount (test/system/holder.sh has those): what it answers, what it
 * refuses, and when it ends.
 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "holder.h"

static char dir[64], path[96];

static void init(void)
{
	snprintf(dir, sizeof(dir), "/tmp/holder.XXXXXX");
	cr_assert(mkdtemp(dir) != NULL);
	snprintf(path, sizeof(path), "%s/db.holder", dir);
}

static void fini(void)
{
	for (unsigned i = 0; i < 1000 && !access(path, F_OK); i++)
		usleep(10000); /* it removes its socket when it ends */
	cr_expect(rmdir(dir) == 0, "the holder does not end when nobody is connected");
}

TestSuite(holder, .init = init, .fini = fini, .timeout = 60);

Test(holder, nobody_is_there_until_one_is_started)
{
	struct holder_mount m;
	struct err e = {0};
	struct holder *h;

	cr_expect(eq(int, holder_open(path, false, &h, &e), -ENOENT));
	cr_assert(eq(int, holder_open(path, true, &h, &e), 0), "%s", e.msg);
	cr_assert(eq(int, holder_state(h, &m, &e), 0), "%s", e.msg);
	cr_expect(m.fd < 0 && m.kept_fd < 0);
	holder_close(h);
}

Test(holder, keeps_nothing_without_a_mount_and_refuses_what_cannot_be_mounted)
{
	struct holder_mount m;
	struct err e = {0};
	struct holder *h;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	cr_assert(eq(int, holder_open(path, true, &h, &e), 0), "%s", e.msg);
	cr_expect(eq(int, holder_keep(h, fd, &e), -EINVAL));
	cr_expect(eq(int, holder_take(h, &e), 0));
	cr_expect(lt(int, holder_mount(h, "/nowhere/at/all", "x:y", "fuse.x", 0, "", &m, &e), 0));
	cr_assert(eq(int, holder_state(h, &m, &e), 0), "%s", e.msg);
	cr_expect(m.fd < 0 && m.kept_fd < 0);
	close(fd);
	holder_close(h);
}

Test(holder, a_second_daemon_ends_the_connection_of_the_first)
{
	struct holder_mount m;
	struct err e = {0};
	struct holder *h, *second;

	cr_assert(eq(int, holder_open(path, true, &h, &e), 0), "%s", e.msg);
	cr_assert(eq(int, holder_open(path, false, &second, &e), 0), "%s", e.msg);
	cr_expect(eq(int, holder_state(second, &m, &e), 0));
	cr_expect(eq(int, holder_state(h, &m, &e), -ECONNABORTED));
	holder_close(h);
	holder_close(second);
}

/* Whatever is sent, the connection ends and the holder does not. */
Test(holder, nonsense_ends_the_connection_alone)
{
	static const size_t sizes[] = {1, 4, sizeof(struct holder_message) - 1,
		sizeof(struct holder_message), sizeof(struct holder_message) + 1};
	static uint8_t bytes[sizeof(struct holder_message) + 1];
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct holder_mount m;
	struct err e = {0};
	struct holder *h;

	cr_assert(eq(int, holder_open(path, true, &h, &e), 0), "%s", e.msg);
	memset(bytes, 0xa5, sizeof(bytes));
	memcpy(a.sun_path, path, strlen(path));
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
		struct holder *again;

		cr_assert(eq(int, connect(fd, (struct sockaddr *)&a, sizeof(a)), 0));
		cr_assert(eq(sz, (size_t)send(fd, bytes, sizes[i], 0), sizes[i]));
		cr_assert(eq(int, holder_open(path, true, &again, &e), 0), "%s", e.msg);
		cr_expect(eq(int, holder_state(again, &m, &e), 0), "%s", e.msg);
		holder_close(h);
		h = again;
		close(fd);
	}
	holder_close(h);
}
