/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Data segments: the epochs' directories and the files in them.
 *
 * A file is made under a temporary name, given its length, synced, renamed and its directory synced: a
 * file that has its name has its length. Stale temporaries are removed when the volume opens. Room in it is
 * allocated in pieces (segments_allocate.c). Files are opened when they are first used and stay open.
 *
 * Failure modes: lack of space leaves nothing behind and is the caller's (-ENOSPC, before anything is
 * staged); a directory that cannot be synced is final (I9). Two directories for one epoch number are
 * damage: the volume does not open.
 */
#include "segments_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"

#define FILE_NUMBER_MAX 999999u

/* --- failure and its injection --- */

int seg_fail(struct segments *s, int code, const char *what, struct addr a)
{
	LOCK_SCOPE(&s->fail_lock);

	if (!s->fail.code) {
		err_set(&s->fail, code, "data segments: %s at epoch %u block %" PRIu64 ": %s", what,
			a.epoch, a.block, strerror(-code));
		atomic_store(&s->failed, code);
		log_error("%s; the replica must start again from recovery", s->fail.msg);
	}
	return code;
}

bool segments_failed(struct segments *s, struct err *e)
{
	if (!atomic_load(&s->failed))
		return false;
	LOCK_SCOPE(&s->fail_lock);
	if (e)
		*e = s->fail;
	return true;
}

int seg_fault(struct segments *s)
{
	unsigned n;

	if (!s->fault_at)
		return 0;
	n = atomic_fetch_add(&s->io_count, 1) + 1;
	return n >= s->fault_at && n - s->fault_at <= s->fault_repeat ? -EIO : 0;
}

/* TANDEMFS_FAULT_DATA="n[:repeat]": the n-th write or sync fails, and `repeat` after it.
 * TANDEMFS_SLOW_PUNCH="us": each hole that is punched takes that much longer. */
static void read_fault(struct segments *s)
{
	const char *text = getenv("TANDEMFS_FAULT_DATA"), *slow = getenv("TANDEMFS_SLOW_PUNCH");
	char *end;

	if (slow) {
		s->slow_punch_us = (unsigned)strtoul(slow, NULL, 10);
		log_warn("fault injection: punching a hole takes %u us longer", s->slow_punch_us);
	}
	if (!text)
		return;
	s->fault_at = (unsigned)strtoul(text, &end, 10);
	if (*end == ':')
		s->fault_repeat = (unsigned)strtoul(end + 1, NULL, 10);
	log_warn("fault injection: write or sync %u of the data segments will fail", s->fault_at);
}

/* --- epochs --- */

void seg_epoch_name(struct epoch e, char buf[SEG_EPOCH_NAME_SIZE])
{
	snprintf(buf, SEG_EPOCH_NAME_SIZE, "%08x-%016" PRIx64, e.num, e.id);
}

/* Position of the first epoch with a number >= num. table_lock. */
static unsigned epoch_position(struct segments *s, uint32_t num)
{
	unsigned lo = 0, hi = s->nepochs;

	if (hi && s->epochs[hi - 1]->epoch.num < num)
		return hi;
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (s->epochs[mid]->epoch.num < num)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct seg_epoch *seg_epoch_find(struct segments *s, uint32_t num)
{
	struct seg_epoch *e = NULL;
	unsigned i;

	pthread_rwlock_rdlock(&s->table_lock);
	i = epoch_position(s, num);
	if (i < s->nepochs && s->epochs[i]->epoch.num == num)
		e = s->epochs[i];
	pthread_rwlock_unlock(&s->table_lock);
	return e;
}

struct seg_epoch *seg_epoch_at(struct segments *s, unsigned i)
{
	struct seg_epoch *e;

	pthread_rwlock_rdlock(&s->table_lock);
	e = i < s->nepochs ? s->epochs[i] : NULL;
	pthread_rwlock_unlock(&s->table_lock);
	return e;
}

int seg_epoch_dir(struct segments *s, struct seg_epoch *e)
{
	int fd = atomic_load(&e->dirfd), none = -1;
	char name[SEG_EPOCH_NAME_SIZE];

	if (fd >= 0)
		return fd;
	seg_epoch_name(e->epoch, name);
	fd = openat(s->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (atomic_compare_exchange_strong(&e->dirfd, &none, fd))
		return fd;
	close(fd); /* another thread came first */
	return none;
}

static int epoch_insert(struct segments *s, struct epoch epoch, struct seg_epoch **ret_e)
{
	struct seg_epoch *e = calloc(1, sizeof(*e)), **grown;
	int ret = 0;
	unsigned i;

	if (!e)
		return -ENOMEM;
	e->epoch = epoch;
	atomic_init(&e->dirfd, -1);
	pthread_rwlock_wrlock(&s->table_lock);
	if (s->nepochs == s->cap) {
		grown = realloc(s->epochs, (s->cap * 2 + 16) * sizeof(*grown));
		if (grown) {
			s->epochs = grown;
			s->cap = s->cap * 2 + 16;
		}
	}
	i = epoch_position(s, epoch.num);
	if (s->nepochs == s->cap) {
		ret = -ENOMEM;
	} else if (i < s->nepochs && s->epochs[i]->epoch.num == epoch.num) {
		ret = -EEXIST;
	} else {
		memmove(s->epochs + i + 1, s->epochs + i, (s->nepochs - i) * sizeof(*s->epochs));
		s->epochs[i] = e;
		s->nepochs++;
	}
	pthread_rwlock_unlock(&s->table_lock);
	if (ret) {
		free(e);
		return ret;
	}
	*ret_e = e;
	return 0;
}

int segments_add_epoch(struct segments *s, struct epoch epoch, struct err *err)
{
	char name[SEG_EPOCH_NAME_SIZE];
	struct seg_epoch *e;
	int ret;

	LOCK_SCOPE(&s->create_lock);
	e = seg_epoch_find(s, epoch.num);
	if (e && e->epoch.id == epoch.id)
		return 0;
	if (e || !epoch.num)
		return err_set(err, -EEXIST,
			"data segments of epoch %u are there with id %016" PRIx64
			", not %016" PRIx64,
			epoch.num, e ? e->epoch.id : 0, epoch.id);
	seg_epoch_name(epoch, name);
	if (mkdirat(s->dirfd, name, 0700) < 0 && errno != EEXIST) {
		ret = errno == EDQUOT ? -ENOSPC : -errno; /* a quota is a small disk */
		return err_set(err, ret, "cannot make '%s/%s': %m", s->dir, name);
	}
	if (fsync(s->dirfd) < 0)
		return err_set(err, -errno, "cannot sync '%s': %m", s->dir);
	ret = epoch_insert(s, epoch, &e);
	if (ret)
		return err_set(err, ret, "epoch %u: %s", epoch.num, strerror(-ret));
	return 0;
}

/* --- files --- */

void seg_file_name(unsigned number, char buf[SEG_FILE_NAME_SIZE])
{
	snprintf(buf, SEG_FILE_NAME_SIZE, "%06u", number);
}

static void note_made(struct seg_epoch *e, unsigned number)
{
	unsigned upto = atomic_load(&e->made_upto);

	while (upto <= number && !atomic_compare_exchange_weak(&e->made_upto, &upto, number + 1))
		;
}

/* Makes a file that is missing; create_lock held. Leaves nothing behind when it fails. */
int seg_file_make(struct segments *s, struct seg_epoch *e, unsigned number)
{
	char name[SEG_FILE_NAME_SIZE], temporary[SEG_FILE_NAME_SIZE + 8];
	cleanup_close int fd = -1;
	int ret, dirfd = seg_epoch_dir(s, e);
	struct stat st;

	if (dirfd < 0)
		return dirfd;
	seg_file_name(number, name);
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		note_made(e, number);
		return 0;
	}
	snprintf(temporary, sizeof(temporary), "%s.new", name);
	fd = openat(dirfd, temporary, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	ret = ftruncate(fd, DATA_SEGMENT_SIZE) < 0 || fsync(fd) < 0 ? -errno : 0;
	if (!ret && renameat(dirfd, temporary, dirfd, name) < 0)
		ret = -errno;
	if (ret) {
		unlinkat(dirfd, temporary, 0);
		return ret;
	}
	if (fsync(dirfd) < 0)
		return seg_fail(s, -errno, "syncing the directory",
			(struct addr){(uint64_t)number * DATA_SEGMENT_BLOCKS, e->epoch.num});
	note_made(e, number);
	return 0;
}

/* Opens the file, which exists, and puts it into the table; create_lock held. */
static int file_open(
	struct segments *s, struct seg_epoch *e, unsigned number, struct seg_file **ret_f)
{
	struct seg_file *f, **grown;
	char name[SEG_FILE_NAME_SIZE];
	int dirfd = seg_epoch_dir(s, e);
	unsigned n;

	if (dirfd < 0)
		return dirfd;
	f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	seg_file_name(number, name);
	f->fd = openat(dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (f->fd < 0) {
		int ret = -errno;

		free(f);
		return ret;
	}
	f->direct_fd = openat(dirfd, name, O_RDWR | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
	if (f->direct_fd < 0)
		f->direct_fd = f->fd;
	pthread_rwlock_wrlock(&s->table_lock);
	if (number >= e->nfiles) {
		n = number + 1 + number / 2;
		grown = realloc(e->files, n * sizeof(*grown));
		if (!grown) {
			pthread_rwlock_unlock(&s->table_lock);
			if (f->direct_fd != f->fd)
				close(f->direct_fd);
			close(f->fd);
			free(f);
			return -ENOMEM;
		}
		memset(grown + e->nfiles, 0, (n - e->nfiles) * sizeof(*grown));
		e->files = grown;
		e->nfiles = n;
	}
	e->files[number] = f;
	pthread_rwlock_unlock(&s->table_lock);
	*ret_f = f;
	return 0;
}

static struct seg_file *file_find(struct segments *s, struct seg_epoch *e, unsigned number)
{
	struct seg_file *f;

	pthread_rwlock_rdlock(&s->table_lock);
	f = number < e->nfiles ? e->files[number] : NULL;
	pthread_rwlock_unlock(&s->table_lock);
	return f;
}

int seg_file_get(struct segments *s, struct addr a, bool create, struct seg_file **ret_f)
{
	unsigned number = (unsigned)(a.block / DATA_SEGMENT_BLOCKS);
	struct seg_epoch *e = seg_epoch_find(s, a.epoch);
	int ret;

	if (!e || a.block / DATA_SEGMENT_BLOCKS > FILE_NUMBER_MAX) {
		log_error(
			"data segments: no epoch %u with block %" PRIu64 " here", a.epoch, a.block);
		return -EIO;
	}
	*ret_f = file_find(s, e, number);
	if (*ret_f)
		return 0;
	LOCK_SCOPE(&s->create_lock);
	*ret_f = file_find(s, e, number);
	if (*ret_f)
		return 0;
	ret = file_open(s, e, number, ret_f);
	if (ret != -ENOENT || !create)
		return ret;
	ret = seg_file_make(s, e, number);
	return ret ? ret : file_open(s, e, number, ret_f);
}

int segments_prepare(struct segments *s, struct addr a, unsigned ahead)
{
	uint64_t number = a.block / DATA_SEGMENT_BLOCKS;
	struct seg_epoch *e = seg_epoch_find(s, a.epoch);
	int ret = 0;

	if (!e) {
		log_error("data segments: no epoch %u here", a.epoch);
		return -EIO;
	}
	if (number + ahead > FILE_NUMBER_MAX)
		return -ENOSPC;
	for (unsigned i = 0; i <= ahead && !ret; i++) {
		if (file_find(s, e, (unsigned)number + i))
			continue;
		LOCK_SCOPE(&s->create_lock);
		ret = seg_file_make(s, e, (unsigned)number + i);
	}
	return ret;
}

void segments_describe(struct segments *s, struct addr a, char *buf, size_t size)
{
	unsigned number = (unsigned)(a.block / DATA_SEGMENT_BLOCKS);
	struct seg_epoch *e = seg_epoch_find(s, a.epoch);
	char name[SEG_EPOCH_NAME_SIZE], file[SEG_FILE_NAME_SIZE];
	struct stat st;
	int dirfd;

	if (!e) {
		snprintf(buf, size, "'%s', which has no directory of epoch %u", s->dir, a.epoch);
		return;
	}
	seg_epoch_name(e->epoch, name);
	seg_file_name(number, file);
	dirfd = seg_epoch_dir(s, e);
	if (dirfd < 0 || fstatat(dirfd, file, &st, AT_SYMLINK_NOFOLLOW) < 0)
		snprintf(buf, size, "'%s/%s/%s', which is not there", s->dir, name, file);
	else if ((uint64_t)st.st_size < DATA_SEGMENT_SIZE)
		snprintf(buf, size, "'%s/%s/%s', which has %llu bytes instead of %llu", s->dir,
			name, file, (unsigned long long)st.st_size,
			(unsigned long long)DATA_SEGMENT_SIZE);
	else
		snprintf(buf, size, "'%s/%s/%s'", s->dir, name, file);
}

uint64_t segments_disk_bytes(struct segments *s)
{
	return atomic_load(&s->disk_bytes);
}

/* --- opening --- */

/* Counts what is there and removes temporaries that a crash left. */
static int scan_epoch(struct segments *s, const char *name, struct seg_epoch *e, struct err *err)
{
	int fd = openat(s->dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d)
		return err_set(err, -errno, "cannot read '%s/%s': %m", s->dir, name);
	while ((de = readdir(d))) {
		unsigned number;
		struct stat st;
		int end = 0;

		if (de->d_name[0] == '.')
			continue;
		if (sscanf(de->d_name, "%6u%n", &number, &end) != 1)
			continue;
		if (strcmp(de->d_name + end, ".new") == 0) {
			unlinkat(fd, de->d_name, 0);
			continue;
		}
		if (end != 6 || de->d_name[end])
			continue;
		if (fstatat(fd, de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
			atomic_fetch_add(&s->disk_bytes, (uint64_t)st.st_blocks * 512);
		note_made(e, number);
	}
	closedir(d);
	return 0;
}

static int scan_epochs(struct segments *s, struct err *err)
{
	int fd = openat(s->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;
	int ret = 0;

	if (!d)
		return err_set(err, -errno, "cannot read '%s': %m", s->dir);
	while (!ret && (de = readdir(d))) {
		struct epoch epoch;
		struct seg_epoch *e;
		char name[SEG_EPOCH_NAME_SIZE];

		if (sscanf(de->d_name, "%8x-%16" SCNx64, &epoch.num, &epoch.id) != 2 || !epoch.num)
			continue;
		seg_epoch_name(epoch, name);
		if (strcmp(name, de->d_name) != 0)
			continue;
		ret = epoch_insert(s, epoch, &e);
		if (ret)
			err_set(err, ret == -EEXIST ? -EBADMSG : ret,
				"'%s' holds two epochs with number %u", s->dir, epoch.num);
		else
			ret = scan_epoch(s, name, e, err);
	}
	closedir(d);
	return ret ? err->code : 0;
}

/* Two descriptors for each open file: 8192 for a terabyte. */
static void raise_descriptor_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void free_tables(struct segments *s)
{
	for (unsigned i = 0; i < s->nepochs; i++) {
		struct seg_epoch *e = s->epochs[i];

		for (unsigned j = 0; j < e->nfiles; j++) {
			struct seg_file *f = e->files[j];

			if (!f)
				continue;
			if (f->direct_fd != f->fd)
				close(f->direct_fd);
			close(f->fd);
			free(f);
		}
		if (atomic_load(&e->dirfd) >= 0)
			close(atomic_load(&e->dirfd));
		free(e->files);
		free(e);
	}
	free(s->epochs);
	close(s->dirfd);
}

int segments_open(const char *dir, struct segments **ret_s, struct err *err)
{
	struct segments *s = NULL;
	struct err local = {0};
	int ret;

	if (posix_memalign((void **)&s, 64, sizeof(*s)))
		return err_set(err, -ENOMEM, "'%s': out of memory", dir);
	memset(s, 0, sizeof(*s));
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	s->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->dirfd < 0) {
		ret = err_set(err, -errno, "cannot open '%s': %m", dir);
		free(s);
		return ret;
	}
	pthread_mutex_init(&s->create_lock, NULL);
	pthread_rwlock_init(&s->table_lock, NULL);
	pthread_mutex_init(&s->fail_lock, NULL);
	read_fault(s);
	raise_descriptor_limit();
	ret = scan_epochs(s, &local);
	if (!ret)
		ret = pending_start(s, &local);
	if (ret) {
		free_tables(s);
		free(s);
		return err_set(err, ret, "%s", local.msg);
	}
	*ret_s = s;
	return 0;
}

void segments_close(struct segments *s)
{
	if (!s)
		return;
	pending_stop(s);
	free_tables(s);
	pthread_mutex_destroy(&s->create_lock);
	pthread_rwlock_destroy(&s->table_lock);
	pthread_mutex_destroy(&s->fail_lock);
	free(s);
}
