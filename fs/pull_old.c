/* SPDX-License-Identifier: Apache-2.0 */
#include "pull_old.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "msg.h"
#include "resync.h"
#include "segments_impl.h"

#define STATES_MAX 8u /* that are looked into; who keeps more waits longer */

struct old_state {
	int dirfd; /* its data/ */
	int fd; /* of the segment that was read last; -1: it has none */
};

struct pull_old {
	struct old_state states[STATES_MAX];
	unsigned n;
	struct epoch epoch; /* whose files are open */
	uint32_t number;
	bool opened;
	uint8_t *buf;
};

struct pull_old *pull_old_open(const char *dir)
{
	DIR *d = opendir(dir);
	struct pull_old *o = NULL;
	char path[RESYNC_NAME_SIZE + 8];
	struct dirent *de;

	while (d && (de = readdir(d))) {
		int fd;

		if (!resync_name_valid(de->d_name) || (o && o->n == STATES_MAX))
			continue;
		snprintf(path, sizeof(path), "%.79s/data", de->d_name);
		fd = openat(dirfd(d), path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (!o) {
			o = calloc(1, sizeof(*o));
			ensure(o);
			o->buf = malloc((size_t)MSG_PULL_BLOCKS_MAX * BLOCK_SIZE);
			ensure(o->buf);
		}
		o->states[o->n++] = (struct old_state){.dirfd = fd, .fd = -1};
	}
	if (d)
		closedir(d);
	return o;
}

static void close_files(struct pull_old *o)
{
	for (unsigned i = 0; i < o->n; i++) {
		if (o->states[i].fd >= 0)
			close(o->states[i].fd);
		o->states[i].fd = -1;
	}
	o->opened = false;
}

void pull_old_close(struct pull_old *o)
{
	if (!o)
		return;
	close_files(o);
	for (unsigned i = 0; i < o->n; i++)
		close(o->states[i].dirfd);
	free(o->buf);
	free(o);
}

static void open_files(struct pull_old *o, struct epoch epoch, uint32_t number)
{
	char name[SEG_EPOCH_NAME_SIZE], file[SEG_FILE_NAME_SIZE],
		path[SEG_EPOCH_NAME_SIZE + SEG_FILE_NAME_SIZE];

	if (o->opened && o->epoch.num == epoch.num && o->epoch.id == epoch.id &&
		o->number == number)
		return;
	close_files(o);
	seg_epoch_name(epoch, name);
	seg_file_name(number, file);
	snprintf(path, sizeof(path), "%s/%s", name, file);
	for (unsigned i = 0; i < o->n; i++)
		o->states[i].fd =
			openat(o->states[i].dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	o->epoch = epoch;
	o->number = number;
	o->opened = true;
}

void pull_old_read(struct pull_old *o, struct epoch epoch, uint64_t block, uint32_t blocks,
	const uint32_t *crcs, uint8_t *buf, bool *good)
{
	off_t at = (off_t)(block % DATA_SEGMENT_BLOCKS) * BLOCK_SIZE;
	uint32_t missing = blocks;

	ensure(blocks <= MSG_PULL_BLOCKS_MAX);
	memset(good, 0, blocks * sizeof(*good));
	open_files(o, epoch, (uint32_t)(block / DATA_SEGMENT_BLOCKS));
	for (unsigned s = 0; s < o->n && missing; s++) {
		ssize_t n = o->states[s].fd < 0 ? 0
						: pread(o->states[s].fd, o->buf,
							  (size_t)blocks * BLOCK_SIZE, at);

		for (uint32_t i = 0; n > 0 && i < (size_t)n / BLOCK_SIZE; i++) {
			const uint8_t *from = o->buf + (size_t)i * BLOCK_SIZE;

			if (good[i] || crc32c(0, from, BLOCK_SIZE) != crcs[i])
				continue;
			memcpy(buf + (size_t)i * BLOCK_SIZE, from, BLOCK_SIZE);
			good[i] = true;
			missing--;
		}
	}
}
