/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a replica and its mount point lie to each other. A replica inside its own mount would write to
 * itself; a mount point inside the replica would cover a part of it. Paths are compared as they are on
 * the disk, through symbolic links; what does not exist yet (a replica that is to be formatted) counts
 * as lying where it would be made.
 *
 * Failure modes: a path that cannot be resolved (a loop of links, no permission) is compared as it is
 * written; whoever uses it then meets the error. A mount that a dead process left does not disturb:
 * nothing below the mount point is looked at.
 */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

/* The longest part of an absolute path that exists, resolved, and the rest as it is. */
static void resolve(const char *path, char *buf, size_t size)
{
	cleanup_free char *head = strdup(path);
	size_t len = strlen(path);

	ensure(head);
	while (len) {
		cleanup_free char *real = NULL;

		head[len] = '\0';
		real = realpath(head, NULL);
		if (real) {
			snprintf(buf, size, "%s%s", strcmp(real, "/") ? real : "", path + len);
			return;
		}
		while (len && head[--len] != '/')
			;
	}
	snprintf(buf, size, "%s", path);
}

static void strip_slashes(char *path)
{
	for (size_t len = strlen(path); len && path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
}

static bool within(const char *inner, const char *outer)
{
	size_t len = strlen(outer);

	return strncmp(inner, outer, len) == 0 && (inner[len] == '\0' || inner[len] == '/');
}

enum places config_places(const char *directory, const char *mount)
{
	char d[2 * 4096], m[2 * 4096];

	resolve(directory, d, sizeof(d));
	resolve(mount, m, sizeof(m));
	strip_slashes(d);
	strip_slashes(m);
	if (within(d, m))
		return PLACES_DIRECTORY_IN_MOUNT;
	return within(m, d) ? PLACES_MOUNT_IN_DIRECTORY : PLACES_APART;
}
