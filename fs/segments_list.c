/* SPDX-License-Identifier: Apache-2.0 */
/* Which epochs have data segments here, which is told to others that copy them, and how much they take. */
#include "segments_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

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

/* A file that is removed meanwhile (segments_trim()) holds nothing: it may be looked at without the lock. */
static uint64_t epoch_bytes(struct segments *s, struct seg_epoch *e)
{
	unsigned upto = atomic_load(&e->made_upto);
	int dirfd = upto ? seg_epoch_dir(s, e) : -1;
	uint64_t bytes = 0;

	for (unsigned number = 0; dirfd >= 0 && number < upto; number++) {
		char name[SEG_FILE_NAME_SIZE];
		struct stat st;

		seg_file_name(number, name);
		if (!fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW))
			bytes += (uint64_t)st.st_blocks * 512;
	}
	return bytes;
}

void segments_measure(struct segments *s)
{
	uint64_t bytes = 0;

	for (unsigned i = 0;; i++) {
		struct seg_epoch *e = seg_epoch_at(s, i);

		if (!e)
			break;
		bytes += epoch_bytes(s, e);
	}
	atomic_store(&s->disk_bytes, bytes);
}
