/* SPDX-License-Identifier: Apache-2.0 */
/* Which filesystems are mounted with "discard": by the mount or the whole, and only on the device that is asked for. */
#include <criterion/criterion.h>
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
