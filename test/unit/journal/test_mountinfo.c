/* SPDX-License-Identifier: Apache-2.0 */
/* Which filesystems are mounted with "discard": by the mount or the whole, and only on the device that is asked for;
 * and what is mounted at a path. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "mountinfo.h"

static bool discards(const char *text, unsigned minor_number)
{
	FILE *f = fmemopen((char *)text, strlen(text), "r");
	bool found;

	cr_assert(f);
	found = mountinfo_discards(f, makedev(8, minor_number));
	fclose(f);
	return found;
}

Test(mountinfo, discard_is_found_among_the_options_of_the_filesystem)
{
	static const char text[] =
		"22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro\n"
		"36 22 8:2 / /srv rw,noatime shared:2 master:1 - ext4 /dev/sda2 "
		"rw,discard,data=ordered\n";

	cr_assert_not(discards(text, 1));
	cr_assert(discards(text, 2));
	cr_assert_not(discards(text, 3));
}

Test(mountinfo, discard_is_found_among_the_options_of_the_mount_and_without_optional_fields)
{
	cr_assert(discards("36 22 8:2 /sub /srv discard - xfs /dev/sda2 rw\n", 2));
	cr_assert(discards("36 22 8:2 /sub /srv rw - xfs /dev/sda2 discard", 2));
}

Test(mountinfo, other_words_with_discard_in_them_are_not_it)
{
	cr_assert_not(discards("36 22 8:2 / /discard rw - ext4 discard rw,nodiscard\n", 2));
	cr_assert_not(discards("36 22 8:2 / /x rw - btrfs /dev/x rw,discard=async\n", 2));
	cr_assert_not(discards("nonsense\n36 22 8:2\n", 2));
}

Test(mountinfo, the_topmost_mount_at_a_path_is_found_with_its_escapes_undone)
{
	static const char text[] =
		"22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
		"40 22 0:50 / /mnt/a\\040b rw shared:2 - tmpfs none rw\n"
		"41 40 0:51 / /mnt/a\\040b rw shared:3 master:4 - fuse.tandemfs tandemfs:db rw\n"
		"42 22 0:52 / /mnt/a rw - tmpfs other rw\n"
		"nonsense\n";
	FILE *f = fmemopen((char *)text, strlen(text), "r");
	struct mountinfo_mount m;

	mountinfo_find(f, "/mnt/a b", &m);
	cr_assert(m.found);
	cr_assert_str_eq(m.fstype, "fuse.tandemfs");
	cr_assert_str_eq(m.source, "tandemfs:db");
	cr_assert_eq(m.dev_minor, 51);
	rewind(f);
	mountinfo_find(f, "/mnt/a\\040b", &m);
	cr_assert_not(m.found);
	rewind(f);
	mountinfo_find(f, "/mnt", &m);
	cr_assert_not(m.found);
	fclose(f);
}

Test(mountinfo, a_path_is_resolved_but_for_its_last_part)
{
	char path[64];
	struct err e;

	cr_assert_eq(mountinfo_resolve("/proc/self/../nothing-there", path, sizeof(path), &e), 0);
	cr_assert_str_eq(path, "/proc/nothing-there");
	cr_assert_eq(mountinfo_resolve("/nothing-there", path, sizeof(path), &e), 0);
	cr_assert_str_eq(path, "/nothing-there");
	cr_assert_eq(mountinfo_resolve("/nothing-there/x", path, sizeof(path), &e), -ENOENT);
	cr_assert_eq(mountinfo_resolve("relative", path, sizeof(path), &e), -EINVAL);
}
