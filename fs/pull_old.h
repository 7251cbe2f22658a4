/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this replica gave up earlier (resync_aside.c) still holds most of what it pulls: an address is assigned once
 * (I7), so a block of before the fork has the same address there and here. Read only: nothing is ever made, changed
 * or removed in it.
 *
 * Failure modes: a block that is not there, was punched, is damaged or cannot be read does not have its checksum, and
 * comes from the source.
 */
#ifndef FS_PULL_OLD_H
#define FS_PULL_OLD_H

#include <stdbool.h>
#include <stdint.h>

#include "entry.h"

struct pull_old;

/* The states that are kept in the replica's directory, as they are now. NULL: there are none. One thread at a time
 * uses it. */
struct pull_old *pull_old_open(const char *dir);
void pull_old_close(struct pull_old *o); /* NULL is fine */
/* Reads a run inside one segment, MSG_PULL_BLOCKS_MAX blocks at most: each block that has its checksum is in buf, at its
 * place, and good[] says so. */
void pull_old_read(struct pull_old *o, struct epoch epoch, uint64_t block, uint32_t blocks,
	const uint32_t *crcs, uint8_t *buf, bool *good);

#endif
