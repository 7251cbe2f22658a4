/* SPDX-License-Identifier: Apache-2.0 */
/* How a filesystem is mounted. Any thread. */
#ifndef JOURNAL_MOUNTINFO_H
#define JOURNAL_MOUNTINFO_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "check.h"

/* Is the filesystem on this device mounted with the option "discard", by a file like
 * /proc/self/mountinfo? Reads it to the end. */
bool mountinfo_discards(FILE *mountinfo, dev_t dev);

struct mountinfo_mount {
	bool found;
	unsigned dev_major, dev_minor;
	char fstype[64], source[128];
};
/* What is mounted at the path, the topmost when there are several, by such a file; reads it to the end. */
void mountinfo_find(FILE *mountinfo, const char *path, struct mountinfo_mount *ret_m);
/* The path without symbolic links in what is before its last part, as such a file has it; does not touch that part,
 * which may hang. */
int mountinfo_resolve(const char *path, char *ret, size_t size, struct err *e);

#endif
