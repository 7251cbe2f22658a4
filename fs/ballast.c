/* SPDX-License-Identifier: Apache-2.0 */
/* The file that holds room. See ballast.h. */
#include "ballast.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"

#define STEP (4u << 20) /* bytes allocated at once: a disk that is nearly full gives what it has */
#define GIVE (64u << 10) /* bytes given up at once: what is given up and not used is anybody's */

int ballast_open(struct ballast *b, const char *path, uint64_t target, struct err *e)
{
	struct stat st;

	pthread_mutex_init(&b->lock, NULL);
	b->target = target / STEP * STEP;
	b->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (b->fd < 0 || fstat(b->fd, &st))
		return err_set(e, -errno, "'%s': %s", path, strerror(errno));
	/* An earlier one may have been larger: what is too much goes with the next look. */
	atomic_store(&b->size, MIN((uint64_t)st.st_size, (uint64_t)st.st_blocks * 512));
	return 0;
}

void ballast_close(struct ballast *b)
{
	close(b->fd);
	pthread_mutex_destroy(&b->lock);
}

static int allocate(int fd, uint64_t off, uint64_t len)
{
	int ret;

	do
		ret = fallocate(fd, 0, (off_t)off, (off_t)len) < 0 ? -errno : 0;
	while (ret == -EINTR);
	return ret;
}

void ballast_fill(struct ballast *b, uint64_t room)
{
	LOCK_SCOPE(&b->lock);
	uint64_t size = atomic_load(&b->size);

	if (size > b->target && !ftruncate(b->fd, (off_t)b->target))
		atomic_store(&b->size, b->target);
	while (!atomic_load(&b->none) && size < b->target && room >= STEP) {
		int ret = allocate(b->fd, size / STEP * STEP, STEP);

		if (ret == -EOPNOTSUPP || ret == -ENOSYS)
			atomic_store(&b->none, true);
		if (ret) /* half a step may be there: it is not counted, and goes with the next give */
			return;
		size = size / STEP * STEP + STEP;
		room -= STEP;
		atomic_store(&b->size, size);
	}
}

void ballast_give(struct ballast *b, uint64_t bytes)
{
	LOCK_SCOPE(&b->lock);
	uint64_t size = atomic_load(&b->size);

	size = size > bytes ? (size - bytes) / GIVE * GIVE : 0;
	if (atomic_load(&b->none) || ftruncate(b->fd, (off_t)size))
		return;
	atomic_store(&b->size, size);
	/* Blocks are free for others once the filesystem has committed that they are. */
	fsync(b->fd);
}

uint64_t ballast_size(const struct ballast *b)
{
	return atomic_load(&b->none) ? b->target : atomic_load(&b->size);
}

bool ballast_whole(const struct ballast *b)
{
	return ballast_size(b) >= b->target;
}
