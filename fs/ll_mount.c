/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mount itself: mount(2) on a descriptor of /dev/fuse that is ours, or the holder's (ll_held.c), the mount
 * table, and taking mounts away.
 *
 * Nothing here looks into a mount of ours: asking a mount whose daemon hangs would hang. What is
 * mounted is read from /proc/self/mountinfo. Only a mount of this volume that this process did not
 * make is asked whether it is alive, by a thread that nobody waits for longer than a moment.
 */
#include "ll_impl.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "log.h"

#define ALIVE_WAIT_NS (2 * NS_PER_S)
#define STALE_MAX 16 /* dead mounts above each other that are taken away */

/* --- the mount table --- */

int ll_mount_find(const char *path, struct mountinfo_mount *ret_m)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");

	if (!f)
		return -errno;
	mountinfo_find(f, path, ret_m);
	fclose(f);
	return 0;
}

/* --- a mount that somebody left behind --- */

struct probe {
	char path[4096];
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool done, abandoned;
	int error;
};

static void *probe_main(void *arg)
{
	struct probe *p = arg;
	struct statfs st;
	int error = statfs(p->path, &st) < 0 ? errno : 0;
	bool abandoned;

	pthread_mutex_lock(&p->lock);
	p->error = error;
	p->done = true;
	abandoned = p->abandoned;
	pthread_cond_signal(&p->cond);
	pthread_mutex_unlock(&p->lock);
	if (abandoned)
		free(p);
	return NULL;
}

/* What statfs says of the path: 0 or an errno; ETIMEDOUT when it says nothing for a while. */
static int probe(const char *path)
{
	struct probe *p = calloc(1, sizeof(*p));
	uint64_t until = clock_mono_ns() + ALIVE_WAIT_NS;
	struct timespec t = {
		.tv_sec = (time_t)(until / NS_PER_S), .tv_nsec = (long)(until % NS_PER_S)};
	pthread_condattr_t attr;
	pthread_t thread;
	int error = 0;

	ensure(p);
	snprintf(p->path, sizeof(p->path), "%s", path);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->cond, &attr);
	if (pthread_create(&thread, NULL, probe_main, p)) {
		free(p);
		return ETIMEDOUT;
	}
	pthread_detach(thread);
	pthread_mutex_lock(&p->lock);
	while (!p->done && error != ETIMEDOUT)
		error = pthread_cond_timedwait(&p->cond, &p->lock, &t);
	if (p->done) {
		error = p->error;
		pthread_mutex_unlock(&p->lock);
		free(p);
		return error;
	}
	p->abandoned = true;
	pthread_mutex_unlock(&p->lock);
	return ETIMEDOUT;
}

static void source_name(const char *volume_name, char *buf, size_t size)
{
	snprintf(buf, size, "tandemfs:%s", volume_name);
}

int ll_clear_stale(const char *mountpoint, const char *volume_name, struct err *e)
{
	char path[4096], source[VOLUME_NAME_MAX + 16];
	int ret = mountinfo_resolve(mountpoint, path, sizeof(path), e);

	if (ret == -ENOENT)
		return 0;
	if (ret)
		return ret;
	source_name(volume_name, source, sizeof(source));
	for (unsigned i = 0; i <= STALE_MAX; i++) {
		struct mountinfo_mount m;
		int error;

		ret = ll_mount_find(path, &m);
		if (ret)
			return err_set(e, ret, "cannot read the mount table: %s", strerror(-ret));
		if (!m.found)
			return 0;
		if (strcmp(m.fstype, LL_FSTYPE) != 0 || strcmp(m.source, source) != 0)
			return err_set(e, -EEXIST, "'%s' is mounted on '%s'; unmount it first",
				m.source, path);
		error = probe(path);
		if (error != ENOTCONN && error != ECONNABORTED)
			return err_set(e, -EBUSY,
				"this volume is mounted on '%s' by another process (%s)", path,
				error ? strerror(error) : "alive");
		log_info("taking away the mount that a dead process left on '%s'", path);
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			return err_set(e, -errno, "cannot unmount what is left on '%s': %m", path);
	}
	return err_set(e, -EBUSY, "'%s' still carries dead mounts", path);
}

/* --- mounting --- */

int ll_check_mountpoint(const char *path, struct err *e)
{
	/* not through a symbolic link: the mount table would name another path */
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct mountinfo_mount m;
	struct dirent *de;
	bool empty = true;

	if (d && !ll_mount_find(path, &m) && m.found && strcmp(m.fstype, LL_FSTYPE) != 0) {
		closedir(d);
		return err_set(
			e, -EEXIST, "'%s' is mounted on '%s'; unmount it first", m.source, path);
	}
	if (!d)
		return err_set(e, -errno,
			"the mount point '%s' is no directory that can be read: %m", path);
	while ((de = readdir(d)))
		if (strcmp(de->d_name, ".") != 0 && strcmp(de->d_name, "..") != 0)
			empty = false;
	closedir(d);
	if (!empty)
		return err_set(e, -EBUSY,
			"the mount point '%s' is not empty, and what is in it would be hidden: "
			"move it away",
			path);
	return 0;
}

/* More than the kernel's 128 KiB of reading ahead; a wish, not a need. */
static void raise_readahead(struct ll *l)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", l->dev_major,
		l->dev_minor);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "1024", 4) != 4)
		log_debug("reading ahead stays at the kernel's default: '%s': %m", path);
	if (fd >= 0)
		close(fd);
}

int ll_mount_clear(struct ll *l, struct err *e)
{
	int ret = ll_clear_stale(l->mountpoint, strchr(l->source, ':') + 1, e);

	return ret ? ret : ll_check_mountpoint(l->mountpoint, e);
}

/* Opens /dev/fuse and mounts. */
static int attach_here(struct ll *l, unsigned long flags, const char *options, struct err *e)
{
	char data[256];
	int ret = ll_mount_clear(l, e);

	if (ret)
		return ret;
	l->fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (l->fd < 0)
		return err_set(e, -errno, "cannot open /dev/fuse: %m");
	snprintf(data, sizeof(data), "fd=%d,%s", l->fd, options);
	if (mount(l->source, l->mountpoint, LL_FSTYPE, flags, data) < 0)
		return err_set(e, -errno, "cannot mount on '%s': %m", l->mountpoint);
	return 0;
}

int ll_mount_attach(struct ll *l, const struct ll_config *cfg, struct err *e)
{
	unsigned long flags = (cfg->suid ? 0 : MS_NOSUID) | (cfg->dev ? 0 : MS_NODEV);
	struct mountinfo_mount m;
	char options[128];
	int ret;

	ret = mountinfo_resolve(cfg->mountpoint, l->mountpoint, sizeof(l->mountpoint), e);
	if (ret)
		return ret;
	source_name(cfg->volume_name, l->source, sizeof(l->source));
	snprintf(options, sizeof(options),
		"rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions,max_read=%u",
		WRITE_SIZE_MAX);
	ret = cfg->holder ? ll_held_attach(l, cfg, flags, options, e)
			  : attach_here(l, flags, options, e);
	if (ret)
		goto fail_fd;
	ret = ll_mount_find(l->mountpoint, &m);
	if (ret || !m.found || strcmp(m.fstype, LL_FSTYPE) != 0 ||
		strcmp(m.source, l->source) != 0) {
		if (!l->taken)
			umount2(l->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
		ret = err_set(e, ret ? ret : -EBUSY, "the mount on '%s' is not in the mount table",
			l->mountpoint);
		goto fail_fd;
	}
	l->dev_major = m.dev_major;
	l->dev_minor = m.dev_minor;
	raise_readahead(l);
	return 0;
fail_fd:
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
	return ret;
}

bool ll_is_mounted(const char *mountpoint, const char *volume_name)
{
	char path[4096], source[VOLUME_NAME_MAX + 16];
	struct mountinfo_mount m;

	if (mountinfo_resolve(mountpoint, path, sizeof(path), NULL) || ll_mount_find(path, &m))
		return false;
	source_name(volume_name, source, sizeof(source));
	return m.found && !strcmp(m.fstype, LL_FSTYPE) && !strcmp(m.source, source);
}

/* true when the topmost mount there is the one that we made. */
static bool is_ours(struct ll *l)
{
	struct mountinfo_mount m;

	return ll_mount_find(l->mountpoint, &m) == 0 && m.found && m.dev_major == l->dev_major &&
	       m.dev_minor == l->dev_minor && strcmp(m.source, l->source) == 0;
}

int ll_mount_detach_idle(struct ll *l)
{
	if (!is_ours(l))
		return 0;
	return umount2(l->mountpoint, UMOUNT_NOFOLLOW) < 0 ? -errno : 0;
}

void ll_mount_force(struct ll *l)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", l->dev_minor);
	fd = open(path, O_WRONLY | O_CLOEXEC); /* absent in most containers */
	if (fd >= 0) {
		if (write(fd, "1", 1) < 0)
			log_warn("cannot abort the connection through '%s': %m", path);
		close(fd);
	}
	/* MNT_FORCE aborts the connection as well, then the mount goes. */
	if (is_ours(l) && umount2(l->mountpoint, MNT_FORCE | MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		log_warn("cannot unmount '%s': %m", l->mountpoint);
}
