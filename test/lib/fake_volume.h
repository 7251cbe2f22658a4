/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume without journal and peer: the tree in a memory store, data segments in a directory, one
 * thread that decides, applies and answers. For testing the FUSE side and the tree alone. It defines
 * the volume_*() functions of volume.h that the FUSE side calls, so it cannot be linked together
 * with the real ones.
 */
#ifndef TEST_FAKE_VOLUME_H
#define TEST_FAKE_VOLUME_H

#include "ll.h"
#include "volume.h"

struct fake_options {
	const char *dir; /* for the data segments; exists, empty */
	uint64_t size_blocks; /* 0: 32 GiB */
	size_t payload_memory; /* 0: 64 MiB */
	unsigned delay_us; /* each operation waits so long before it is answered */
};

struct volume *fake_volume_new(const struct fake_options *o);
/* After ll_mount(): orphans that the kernel knows are kept. NULL before the mount goes. */
void fake_volume_serve(struct volume *v, struct ll *l);
/* While held, operations are applied and not answered: a silent peer. */
void fake_volume_hold(struct volume *v, bool hold);
/* From now on operations end with -EIO, those that are held too. */
void fake_volume_fail(struct volume *v);
/* Operations submitted so far. */
uint64_t fake_volume_count(struct volume *v);
/* Entries made so far. */
uint64_t fake_volume_seq(struct volume *v);
uint64_t fake_volume_parked(struct volume *v);
/* Stops the thread and frees; no mount may be left. */
void fake_volume_free(struct volume *v);

#endif
