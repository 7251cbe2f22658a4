/* SPDX-License-Identifier: Apache-2.0 */
/* An empty replica in a directory: what `tandemfs format` makes, and a resync. */
#ifndef FS_REPLICA_H
#define FS_REPLICA_H

#include "config.h"

/*
 * Fills `dir`, which exists and is empty, with the replica `self` at seq 0 and the record of the birth;
 * everything in it is durable then. Takes as long as writing the ring once. 0, or -errno with what was
 * made left behind. Any thread.
 */
int replica_build(
	const char *dir, const struct descriptor *d, const struct uuid *self, struct err *e);

#endif
