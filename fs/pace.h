/* SPDX-License-Identifier: Apache-2.0 */
/* Something long that reads the disk asks between its steps. */
#ifndef FS_PACE_H
#define FS_PACE_H

#include <stdint.h>

#define PACE_STEP (1u << 20) /* bytes */

struct pace {
	/* So many bytes were read: returns when it may go on, with 0; -errno: it ends with that. The
	 * thread that reads. */
	int (*step)(void *ctx, uint64_t bytes);
	void *ctx;
};

static inline int pace_step(const struct pace *p, uint64_t bytes)
{
	return p ? p->step(p->ctx, bytes) : 0;
}

#endif
