/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mount, served by one daemon after the other: the holder (holder.h) keeps the descriptor, this file leaves
 * a mount with it and takes one over.
 *
 * Leaving (ll_hand_over), at a clean stop, when everything staged is committed and answered: the workers end,
 * and what they read and did not answer stays in the kernel's list. What the kernel was told of (the lookup
 * counts) and what INIT agreed on go into a memfd, which the holder keeps. From then on requests wait.
 *
 * Taking over (ll_held_attach): the counts are restored, the saved INIT request is given to libfuse with the
 * flags that were agreed on at the time, and its reply swallowed; NOTIFY_RESEND has the kernel send again what
 * was never answered. None of that was executed, because all that had been staged was answered before: so each
 * operation is executed once. Whoever takes over without the active role answers everything with EIO and
 * invalidates what the kernel knows: it was promoted elsewhere meanwhile.
 *
 * Failure modes:
 * - killed before KEEP was answered: the holder lets go, and the mount answers with errors, as it does without
 *   a holder; killed after it: everything is with the holder, and nothing else of the process counts;
 * - killed after TAKE: as before KEEP. The next daemon makes a new mount;
 * - killed between connecting and TAKE: the mount is still left, and waits;
 * - operations that wait for a silent peer at the stop: nothing is left with the holder, they end with errors:
 *   readers may have seen what is not committed;
 * - what was kept is damaged, of another volume, or of a newer form: refused; the mount is aborted (errors);
 * - unmounted meanwhile: the holder has let go, or the mount table says so, and a new mount is made;
 * - a kernel that cannot resend (before 6.9): nothing is left with the holder.
 *
 * What is kept, in host order: struct kept, then one struct kept_inode for each inode.
 */
#include "ll_impl.h"

#include <errno.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "crc32c.h"
#include "holder.h"
#include "log.h"

#define KEPT_MAGIC 0x4b54504554444654ull
#define KEPT_VERSION 1u
#define KEPT_INODES_MAX (1ull << 32)
#define LEAVE_NS (3 * NS_PER_S)
#define FUSE_HAS_RESEND_ (1ull << 39) /* protocol 7.40 */
#define FUSE_NOTIFY_RESEND_ 7

struct kept {
	uint64_t magic;
	uint32_t version;
	uint32_t crc; /* of everything behind this field */
	uint64_t mount_id;
	uint64_t agreed; /* flags of INIT */
	uint64_t inodes;
};

struct kept_inode {
	uint64_t ino, count;
	uint64_t orphan;
};

#define KEPT_SUMMED offsetof(struct kept, mount_id)

/* --- leaving --- */

/* What the kernel knows, as the bytes that are kept. The caller frees them. */
static int kept_make(struct ll *l, struct kept **ret_k, size_t *ret_size)
{
	size_t n = ll_known_count(l), size = sizeof(struct kept) + n * sizeof(struct kept_inode);
	struct kept *k = calloc(1, size);
	struct kept_inode *at = k ? (struct kept_inode *)(k + 1) : NULL;

	if (!k)
		return -ENOMEM;
	for (unsigned s = 0; s < LL_KNOWN_SHARDS; s++) {
		const struct ll_known *known = &l->known[s];

		for (size_t i = 0; i < known->cap; i++) {
			const struct ll_known_entry *e = &known->entries[i];

			if (e->ino)
				*at++ = (struct kept_inode){
					.ino = e->ino, .count = e->count, .orphan = e->orphan};
		}
	}
	*k = (struct kept){.magic = KEPT_MAGIC,
		.version = KEPT_VERSION,
		.mount_id = l->mount_id,
		.agreed = l->agreed,
		.inodes = n};
	k->crc = crc32c(0, (uint8_t *)k + KEPT_SUMMED, size - KEPT_SUMMED);
	*ret_k = k;
	*ret_size = size;
	return 0;
}

static int write_all(int fd, const void *bytes, size_t size)
{
	const uint8_t *p = bytes;

	while (size) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		p += n;
		size -= (size_t)n;
	}
	return 0;
}

/* Ends the workers, each after the request at hand; those that wait for one are interrupted. */
static bool stop_workers(struct ll *l)
{
	struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
	uint64_t until = clock_mono_ns() + LEAVE_NS;

	atomic_store(&l->leaving, true);
	while (atomic_load(&l->running)) {
		if (clock_mono_ns() > until)
			return false;
		for (unsigned i = 0; i < l->nthreads; i++)
			pthread_kill(l->workers[i].thread, LL_LEAVE_SIGNAL);
		nanosleep(&pause, NULL);
	}
	for (unsigned i = 0; i < l->nthreads; i++)
		pthread_join(l->workers[i].thread, NULL);
	l->nthreads = 0;
	return true;
}

bool ll_can_hand_over(const struct ll *l)
{
	return l->held && l->init_offered & FUSE_HAS_RESEND_;
}

int ll_hand_over(struct ll *l, struct holder *h, struct err *e)
{
	cleanup_free struct kept *k = NULL;
	cleanup_close int fd = -1;
	size_t size;
	int r;

	if (!ll_can_hand_over(l))
		return err_set(e, -EOPNOTSUPP,
			"this kernel cannot send requests again (6.9 and later can)");
	if (ll_ended(l))
		return err_set(e, -ENODEV, "it is not mounted any more");
	if (!stop_workers(l))
		return err_set(e, -ETIMEDOUT, "the fuse workers do not end");
	r = kept_make(l, &k, &size);
	fd = memfd_create("tandemfs-kept", MFD_CLOEXEC);
	if (!r)
		r = fd < 0 ? -errno : write_all(fd, k, size);
	if (r)
		return err_set(e, r, "what the kernel knows cannot be kept: %s", strerror(-r));
	r = holder_keep(h, fd, e);
	if (!r)
		log_info("'%s' stays mounted, left with the holder: %llu inodes", l->mountpoint,
			(unsigned long long)k->inodes);
	return r;
}

/* --- taking over --- */

static int kept_check(const struct kept *k, size_t size, uint64_t mount_id, struct err *e)
{
	if (size < sizeof(*k) || k->magic != KEPT_MAGIC)
		return err_set(e, -EBADMSG, "what the holder kept is something else");
	if (k->version != KEPT_VERSION)
		return err_set(e, -EPROTONOSUPPORT, "what the holder kept has version %u, not %u",
			k->version, KEPT_VERSION);
	if (k->inodes > KEPT_INODES_MAX ||
		size != sizeof(*k) + k->inodes * sizeof(struct kept_inode) ||
		k->crc != crc32c(0, (const uint8_t *)k + KEPT_SUMMED, size - KEPT_SUMMED))
		return err_set(e, -EBADMSG, "what the holder kept is damaged");
	if (k->mount_id != mount_id)
		return err_set(e, -EBADMSG, "what the holder kept is of another mount");
	return 0;
}

static int kept_load(struct ll *l, int fd, struct err *e)
{
	const struct kept_inode *at;
	const struct kept *k;
	struct stat st;
	size_t size;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set(e, -errno, "what the holder kept: %m");
	size = (size_t)st.st_size;
	k = mmap(NULL, size ? size : 1, PROT_READ, MAP_PRIVATE, fd, 0);
	if (k == MAP_FAILED)
		return err_set(e, -errno, "what the holder kept: %m");
	r = kept_check(k, size, l->mount_id, e);
	at = (const struct kept_inode *)(k + 1);
	for (uint64_t i = 0; !r && i < k->inodes; i++) {
		ll_known_add(l, at[i].ino, at[i].count);
		if (at[i].orphan)
			ll_known_orphan(l, at[i].ino);
	}
	if (!r)
		l->agreed = k->agreed;
	munmap((void *)k, size ? size : 1);
	return r;
}

static void note_mount(struct ll *l, const struct holder_mount *m)
{
	l->fd = m->fd;
	l->mount_id = m->mount_id;
	l->held = true;
	l->init_len = m->init_len;
	memcpy(l->init, m->init, sizeof(l->init));
}

/* The holder has a mount that was left there. Takes the descriptors. */
static int take_over(struct ll *l, struct holder *h, struct holder_mount *m, struct err *e)
{
	int r;

	if (strcmp(m->path, l->mountpoint) != 0 || strcmp(m->source, l->source) != 0) {
		r = err_set(e, -EBUSY,
			"the holder still has '%.60s' mounted on '%.100s': unmount it", m->source,
			m->path);
		holder_mount_close(m);
		return r;
	}
	r = holder_take(h, e);
	if (r) {
		holder_mount_close(m);
		return r;
	}
	note_mount(l, m);
	r = kept_load(l, m->kept_fd, e);
	close(m->kept_fd);
	l->taken = !r;
	if (!r)
		return 0;
	/* Nobody can serve it: the holder lets go with the connection, and then it is dead. */
	log_error("'%s' cannot be taken over: %s", l->mountpoint, e->msg);
	umount2(l->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
	close(l->fd);
	l->fd = -1;
	return r;
}

int ll_held_attach(struct ll *l, struct holder *h, uint64_t flags, const char *options,
	bool only_take, struct err *e)
{
	struct holder_mount m;
	int r = holder_state(h, &m, e);

	if (r)
		return r;
	if (m.fd >= 0 && m.kept_fd >= 0)
		return take_over(l, h, &m, e);
	holder_mount_close(&m);
	if (only_take)
		return err_set(e, -ENOENT, "the holder has no mount");
	r = ll_mount_clear(l, e);
	if (!r)
		r = holder_mount(h, l->mountpoint, l->source, LL_FSTYPE, flags, options, &m, e);
	if (r)
		return r;
	note_mount(l, &m);
	return 0;
}

/* Once libfuse is ready, before any worker reads. */
int ll_held_resend(struct ll *l, struct err *e)
{
	struct fuse_out_header h = {.len = sizeof(h), .error = FUSE_NOTIFY_RESEND_};

	if (write(l->fd, &h, sizeof(h)) < 0)
		return err_set(e, -errno, "the kernel does not send its requests again: %m");
	log_info("took '%s' over as it was left: %zu inodes", l->mountpoint, ll_known_count(l));
	return 0;
}
