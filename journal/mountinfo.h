/* SPDX-License-Identifier: Apache-2.0 */
/* How a filesystem is mounted. Any thread. */
#ifndef JOURNAL_MOUNTINFO_H
#define JOURNAL_MOUNTINFO_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

/* Is the filesystem on this device mounted with the option "discard", by a file like
 * /proc/self/mountinfo? Reads it to the end. */
bool mountinfo_discards(FILE *mountinfo, dev_t dev);

#endif
