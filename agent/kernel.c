/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's release, as uname(2) tells it. One that is not understood can do nothing. */
#include "kernel.h"

#include <stdio.h>
#include <sys/utsname.h>

#include "check.h"

unsigned kernel_version(const char *release)
{
	unsigned major_number, minor_number;

	if (sscanf(release, "%u.%u", &major_number, &minor_number) != 2)
		return 0;
	return major_number * 100 + MIN(minor_number, 99u);
}

bool kernel_resends(const char *release)
{
	struct utsname u;

	if (!release) {
		ensure(uname(&u) == 0);
		release = u.release;
	}
	return kernel_version(release) >= KERNEL_RESEND;
}
