/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files that are there as a whole or not at all, after any crash: written beside, synced, renamed, and the
 * directory synced. Blocking; any thread, one for each path. Messages name the path.
 */
#ifndef AGENT_DURABLE_H
#define AGENT_DURABLE_H

#include <sys/types.h>

#include "check.h"

/* A new file at this path, synced; one that is there (of an interrupted call) is removed. 0 or -errno; then there
 * is none. */
int durable_write(const char *path, const char *text, mode_t mode, struct err *e);
int durable_rename(const char *from, const char *to, struct err *e);
/* A new file in place of the old one, through PATH.tmp. */
int durable_replace(const char *path, const char *text, mode_t mode, struct err *e);
/* 0 also when there is none. */
int durable_remove(const char *path, struct err *e);
/* With its parents, which are 0755. 0 also when it is there. */
int durable_make_dir(const char *path, mode_t mode, struct err *e);

#endif
