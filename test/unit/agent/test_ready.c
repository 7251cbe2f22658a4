/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ready.h"
#include "scratch.h"

static const char table[] =
	"21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
	"30 21 254:0 /mnt /var/lib/tandemfs/mnt rw shared:7 master:2 - ext4 / rw\n"
	"31 21 254:0 /x /var/lib/tandemfs/mnt2 rw shared:8 - ext4 / rw\n"
	"32 21 0:5 / /private rw - tmpfs shared:9 rw\n"
	"33 21 0:6 / /slave rw master:11 - tmpfs none rw";

Test(ready, the_peer_group_of_a_mount)
{
	cr_assert(eq(uint, ready_group(table, "/var/lib/tandemfs/mnt", 0), 7));
	cr_assert(eq(uint, ready_group(table, "/", 0), 1));
	cr_assert(zero(uint, ready_group(table, "/var/lib/tandemfs", 0)));
	cr_assert(zero(uint, ready_group(table, "/private", 0)));
	cr_assert(zero(uint, ready_group(table, "/slave", 0)));
	cr_assert(zero(uint, ready_group("", "/", 0)));
}

Test(ready, the_mount_on_top_counts)
{
	const char *two = "1 0 0:1 / /m rw shared:3 - a b c\n2 1 0:2 / /m rw - a b c\n";

	cr_assert(zero(uint, ready_group(two, "/m", 0)));
}

Test(ready, somebody_is_in_a_group)
{
	cr_assert(eq(uint, ready_group(table, NULL, 8), 8));
	cr_assert(zero(uint, ready_group(table, NULL, 9)));
	cr_assert(zero(uint, ready_group(table, NULL, 2)));
}

Test(ready, a_path_that_is_no_mount_is_not_ready)
{
	struct err e = {0};

	cr_assert(lt(int, ready_check("/nowhere", "/proc/self/mountinfo", &e), 0));
	cr_assert(lt(int, ready_check("/", "/nowhere", &e), 0));
}

Test(ready, holders_are_there_while_somebody_listens, .fini = scratch_remove)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	struct err e = {0};

	snprintf(a.sun_path, sizeof(a.sun_path), "%.90s", scratch_path("holders"));
	*strrchr(a.sun_path, '/') = '\0';
	cr_assert(eq(int, ready_holders(a.sun_path, &e), -ENOENT));
	cr_assert(ne(ptr, strstr(e.msg, "nobody keeps holders"), NULL), "%s", e.msg);
	snprintf(a.sun_path, sizeof(a.sun_path), "%.90s", scratch_path("holders"));
	cr_assert(zero(int, bind(fd, (struct sockaddr *)&a, sizeof(a))));
	*strrchr(a.sun_path, '/') = '\0';
	cr_assert(eq(int, ready_holders(a.sun_path, &e), -ECONNREFUSED));
	cr_assert(zero(int, listen(fd, 1)));
	for (unsigned i = 0; i < 5; i++) /* also when it is busy */
		cr_assert(zero(int, ready_holders(a.sun_path, &e)), "%s", e.msg);
	close(fd);
}
