/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pulled state takes the place of the old one.
 *
 * While a replica pulls, `incoming/` beside its own state holds
 *   meta      the checkpoint's RocksDB files      EPOCHS    the source's epochs
 *   ring      an empty ring                       progress  which blocks are in data/ (pull_have.c)
 *   data      segments of epochs whose number the own history gave to another epoch
 * Everything else that was pulled is in data/ already, at addresses that the old state does not map.
 *
 * The file `switch` is the point of no return: from its fsync on the old state is over. Recovery then
 * moves meta and ring into their places (the old ones go to `old/`), moves own epochs that the source
 * does not have to `old/` too, and incoming data to data/; then it removes the mark, and what is left
 * over. Each step is a rename and looks at what is there first, so that it may be done again from the
 * beginning after a crash between any two.
 *
 * Failure modes: without the mark nothing of the old state has changed. An error in a step stops the
 * start, with the mark in place: the next start goes on. So does the same start once more, with some room from
 * the ballast, when the disk is too full for the directories (volume_recover.c). Not given back: blocks in data/ that the
 * old state mapped and the new one does not, in epochs that both have; they are on no list of dead blocks.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "crc32c.h"
#include "le.h"
#include "log.h"
#include "pull.h"

#define PATH_SIZE 4400
#define EPOCH_SIZE 12u /* bytes of one in the file */
#define EPOCHS_MAX (1u << 24)

/* --- files --- */

int pull_sync_dir(const char *path)
{
	cleanup_close int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) ? -errno : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path);
}

void pull_remove_tree(const char *path)
{
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int pull_file_crc(const char *path, const struct pace *pace, uint64_t *ret_size, uint32_t *ret_crc)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_free uint8_t *buf = malloc(PACE_STEP);
	ssize_t n;
	int r = 0;

	*ret_size = 0;
	*ret_crc = 0;
	if (fd < 0 || !buf)
		return fd < 0 ? -errno : -ENOMEM;
	while (!r && (n = read(fd, buf, PACE_STEP)) != 0) {
		if (n < 0)
			return -errno;
		*ret_crc = crc32c(*ret_crc, buf, (size_t)n);
		*ret_size += (uint64_t)n;
		r = pace_step(pace, (uint64_t)n);
	}
	return r;
}

int pull_epochs_load(const char *path, struct epoch **ret_epochs, unsigned *ret_n, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	cleanup_free uint8_t *buf = NULL;
	struct stat st;
	unsigned n;

	if (fd < 0 || fstat(fd, &st))
		return err_set(e, -errno, "'%s': %s", path, strerror(errno));
	if (st.st_size % EPOCH_SIZE || st.st_size > (off_t)EPOCHS_MAX * EPOCH_SIZE)
		return err_set(e, -EBADMSG, "'%s' is no list of epochs", path);
	n = (unsigned)(st.st_size / EPOCH_SIZE);
	buf = malloc((size_t)st.st_size + 1);
	*ret_epochs = calloc(n + 1, sizeof(**ret_epochs));
	ensure(buf && *ret_epochs);
	if (read(fd, buf, (size_t)st.st_size) != st.st_size) {
		free(*ret_epochs);
		return err_set(e, -EIO, "'%s' cannot be read", path);
	}
	for (unsigned i = 0; i < n; i++)
		(*ret_epochs)[i] = (struct epoch){.num = le32_get(buf + i * EPOCH_SIZE),
			.id = le64_get(buf + i * EPOCH_SIZE + 4)};
	*ret_n = n;
	return 0;
}

int pull_move(const char *dir, const char *from, const char *to, struct err *e)
{
	char a[PATH_SIZE], b[PATH_SIZE];
	int r;

	snprintf(a, sizeof(a), "%s/%s", dir, from);
	snprintf(b, sizeof(b), "%s/%s", dir, to);
	if (rename(a, b))
		return err_set(e, -errno, "'%s' to '%s': %s", a, b, strerror(errno));
	*strrchr(a, '/') = '\0';
	*strrchr(b, '/') = '\0';
	r = pull_sync_dir(a);
	if (!r)
		r = pull_sync_dir(b);
	return r ? err_set(e, r, "'%s': %s", b, strerror(-r)) : 0;
}

/* --- the mark --- */

int pull_switch_mark(const char *dir, struct err *e)
{
	char path[PATH_SIZE];
	int fd, r;

	snprintf(path, sizeof(path), "%s/old", dir);
	pull_remove_tree(path);
	snprintf(path, sizeof(path), "%s/incoming", dir);
	r = pull_sync_dir(path);
	if (r)
		return err_set(e, r, "'%s': %s", path, strerror(-r));
	snprintf(path, sizeof(path), "%s/switch", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(e, -errno, "'%s': %s", path, strerror(errno));
	r = fsync(fd) ? -errno : 0;
	close(fd);
	if (!r)
		r = pull_sync_dir(dir);
	return r ? err_set(e, r, "'%s': %s", path, strerror(-r)) : 0;
}

/* --- the steps --- */

struct switching {
	const char *dir;
	unsigned *steps;
	struct err *e;
	struct epoch *epochs;
	unsigned nepochs;
};

/* 1 or 0; a disk that does not say is no "done before": -errno. */
static int there(const char *path, struct err *e)
{
	if (!access(path, F_OK))
		return 1;
	return errno == ENOENT ? 0 : err_set(e, -errno, "'%s': %s", path, strerror(errno));
}

/* Counts a durable step; -EINTR when a test wants it to be the end. */
static int step(struct switching *s)
{
	return s->steps && (*s->steps)-- == 0 ? err_set(s->e, -EINTR, "stopped by a test") : 0;
}

static int move(struct switching *s, const char *from, const char *to)
{
	int r = step(s);

	return r ? r : pull_move(s->dir, from, to, s->e);
}

/* incoming/NAME takes the place of NAME. */
static int replace(struct switching *s, const char *name)
{
	char from[64], old[64], path[PATH_SIZE];
	int r;

	snprintf(from, sizeof(from), "incoming/%s", name);
	snprintf(old, sizeof(old), "old/%s", name);
	snprintf(path, sizeof(path), "%s/%s", s->dir, from);
	r = there(path, s->e);
	if (r <= 0)
		return r; /* done before */
	snprintf(path, sizeof(path), "%s/%s", s->dir, name);
	r = there(path, s->e);
	if (r > 0)
		r = move(s, name, old);
	return r ? r : move(s, from, name);
}

/* Is this the name of an epoch's directory that the source has? */
static bool epoch_wanted(const struct switching *s, const char *name)
{
	struct epoch e;

	if (sscanf(name, "%8x-%16" SCNx64, &e.num, &e.id) != 2)
		return true; /* nothing of ours */
	for (unsigned i = 0; i < s->nepochs; i++)
		if (epoch_equal(s->epochs[i], e))
			return true;
	return false;
}

/* Moves what `pick` picks from one directory of epochs to another. */
static int move_epochs(struct switching *s, const char *from, const char *to, bool wanted)
{
	char path[PATH_SIZE], a[300], b[300];
	struct dirent *de;
	DIR *d;
	int r = 0;

	snprintf(path, sizeof(path), "%s/%s", s->dir, from);
	d = opendir(path);
	if (!d)
		return errno == ENOENT ? 0
				       : err_set(s->e, -errno, "'%s': %s", path, strerror(errno));
	while (!r && (errno = 0, de = readdir(d))) {
		if (de->d_name[0] == '.' || epoch_wanted(s, de->d_name) != wanted)
			continue;
		snprintf(a, sizeof(a), "%.20s/%.255s", from, de->d_name);
		snprintf(b, sizeof(b), "%.20s/%.255s", to, de->d_name);
		r = move(s, a, b);
	}
	if (!r && errno)
		r = err_set(s->e, -errno, "'%s': %s", path, strerror(errno));
	closedir(d);
	return r;
}

static int make_old(struct switching *s)
{
	char path[PATH_SIZE];

	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/%s", s->dir, i ? "old/data" : "old");
		if (mkdir(path, 0700) && errno != EEXIST)
			return err_set(s->e, -errno, "'%s': %s", path, strerror(errno));
	}
	return 0;
}

static int unmark(struct switching *s)
{
	char path[PATH_SIZE];
	int r = step(s);

	if (r)
		return r;
	snprintf(path, sizeof(path), "%s/switch", s->dir);
	if (unlink(path))
		return err_set(s->e, -errno, "'%s': %s", path, strerror(errno));
	r = pull_sync_dir(s->dir);
	return r ? err_set(s->e, r, "'%s': %s", s->dir, strerror(-r)) : 0;
}

int pull_switch_finish(const char *dir, unsigned *steps, struct err *e)
{
	struct switching s = {.dir = dir, .steps = steps, .e = e};
	char path[PATH_SIZE];
	int r;

	snprintf(path, sizeof(path), "%s/switch", dir);
	r = there(path, e);
	if (r <= 0)
		return r;
	snprintf(path, sizeof(path), "%s/incoming/" PULL_EPOCHS, dir);
	r = pull_epochs_load(path, &s.epochs, &s.nepochs, e);
	if (!r)
		r = make_old(&s);
	if (!r)
		r = replace(&s, "meta");
	if (!r)
		r = replace(&s, "ring");
	if (!r)
		r = move_epochs(&s, "data", "old/data", false);
	if (!r)
		r = move_epochs(&s, "incoming/data", "data", true);
	if (!r)
		r = unmark(&s);
	free(s.epochs);
	if (r)
		return err_wrap(e, "taking over what was pulled");
	log_info("what was pulled has taken the place of the old state");
	snprintf(path, sizeof(path), "%s/incoming", dir);
	pull_remove_tree(path);
	return 0;
}

int pull_recover(const char *dir, bool in_sync, struct err *e)
{
	char path[PATH_SIZE];
	int r = pull_switch_finish(dir, NULL, e);

	if (r)
		return r;
	snprintf(path, sizeof(path), "%s/checkpoints", dir);
	pull_remove_tree(path);
	snprintf(path, sizeof(path), "%s/old", dir);
	pull_remove_tree(path);
	snprintf(path, sizeof(path), "%s/incoming", dir);
	if (in_sync)
		pull_remove_tree(path);
	return 0;
}
