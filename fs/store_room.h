/* SPDX-License-Identifier: Apache-2.0 */
/* What happens when a write into the metadata store's files finds no room. See store_room.c. */
#ifndef FS_STORE_ROOM_H
#define FS_STORE_ROOM_H

#include <stdint.h>

/*
 * From now on a write() of this process into a file below `dir` (its whole path) that finds no room, or an open() or
 * rename() that makes a name in it, calls
 * make_way(ctx, bytes), which may free some, and tries again, for `patience_ns` at most. Any thread of RocksDB
 * calls it; it must not write there itself. Once, before the store is opened.
 */
void store_room_guard(const char *dir, void (*make_way)(void *ctx, uint64_t bytes), void *ctx,
	uint64_t patience_ns);

#endif
