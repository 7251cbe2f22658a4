/* SPDX-License-Identifier: Apache-2.0 */
/* Which epochs have data segments here: what is told to others that copy them. */
#include "segments_impl.h"

#include <errno.h>

int segments_epoch(struct segments *s, uint32_t num, struct epoch *ret_epoch)
{
	struct seg_epoch *e = seg_epoch_find(s, num);

	if (!e)
		return -ENOENT;
	*ret_epoch = e->epoch;
	return 0;
}

unsigned segments_epochs(struct segments *s, struct epoch *epochs, unsigned max)
{
	unsigned n;

	pthread_rwlock_rdlock(&s->table_lock);
	n = s->nepochs;
	for (unsigned i = 0; i < MIN(n, max); i++)
		epochs[i] = s->epochs[i]->epoch;
	pthread_rwlock_unlock(&s->table_lock);
	return n;
}
