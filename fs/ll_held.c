/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mount, served by one daemon after the other: the holder (holder.h) keeps the descriptor, this file leaves
 * a mount with it and takes one over.
 *
 * What the next daemon needs lies in a memfd (kept.h). The holder gets it before the first request is read, so
 * the daemon may be killed at any instruction: what it had read and not answered stays in the kernel's list, and
 * what is asked from then on waits. A clean stop (ll_hand_over) is no more than the end of the workers when
 * everything staged is committed and answered. Under ack=fsync, where operations are answered before they are
 * in the journal, the batch buffers and the payloads lie in it, too (kept_staged.c), and the next daemon brings them
 * into the journal first of all (volume_kept.c).
 *
 * Taking over (ll_held_attach): the lookup counts are restored, the saved INIT request is given to libfuse with the
 * flags that were agreed on at the time, and its reply swallowed; NOTIFY_RESEND has the kernel send again what
 * was never answered. Of that, some was executed: its entry was in the ring, or came back from the peer. Those
 * are listed in the memfd's window (volume_held.c notes them before it applies them), and ll_executed() finds
 * them: they are answered, not executed again. What the dead daemon had staged and what reached no journal is
 * executed now; nobody was told of it. Whoever takes over without the active role answers everything with EIO and
 * invalidates what the kernel knows: it was promoted elsewhere meanwhile.
 *
 * Failure modes:
 * - killed before KEEP was answered: the holder lets go, and the mount answers with errors, as it does without
 *   a holder; it had answered nothing yet;
 * - killed while it reads a request: the kernel can copy it still, because the buffer's pages are all in memory
 *   (hook_read() in ll_init.c); else it would answer with EIO;
 * - killed while it takes over: what the holder keeps is replaced in one step, by a whole new memfd, before any
 *   request is read, so the next daemon finds the old one or the new one;
 * - killed again before what was sent again is answered: the window of the earlier takeover is part of the new
 *   memfd, so it is found still;
 * - a request that kills each daemon that reads it: after some takeovers in vain the mount is aborted;
 * - operations that wait for a silent peer at a clean stop: nobody answers them, so the kernel asks the next daemon;
 * - what was kept is damaged, of another mount or volume, or of a newer form: the mount is aborted (errors);
 * - unmounted meanwhile: the holder has let go, or the mount table says so, and a new mount is made;
 * - a kernel that cannot resend (before 6.9): nothing is left with the holder.
 *
 * An earlier build left a list at a clean stop: struct kept_list, then one struct kept_inode for each inode. It
 * is understood, so that an upgrade keeps the mount.
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

#define LIST_VERSION 1u
#define LIST_INODES_MAX (1ull << 32)
#define LEAVE_NS (3 * NS_PER_S)
#define FUSE_HAS_RESEND_ (1ull << 39) /* protocol 7.40 */
#define FUSE_NOTIFY_RESEND_ 7

struct kept_list {
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

#define LIST_SUMMED offsetof(struct kept_list, mount_id)

/* --- leaving --- */

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
	int r;

	if (!ll_can_hand_over(l))
		return err_set(e, -EOPNOTSUPP,
			"this kernel cannot send requests again (6.9 and later can)");
	if (ll_ended(l))
		return err_set(e, -ENODEV, "it is not mounted any more");
	if (!stop_workers(l))
		return err_set(e, -EBUSY, "a fuse worker waits for the disk");
	r = holder_keep(h, l->kept.fd, e);
	if (!r)
		atomic_store(&l->kept.h->takeovers, 0); /* no request has ended this daemon */
	if (!r)
		log_info("'%s' stays mounted, left with the holder: %zu inodes", l->mountpoint,
			ll_known_count(l));
	return r;
}

int ll_held_keep(struct ll *l, struct holder *h, const struct uuid *volume, struct err *e)
{
	static const struct uuid none;

	kept_seal(&l->kept, l->mount_id, l->agreed, volume ? volume : &none);
	return l->keep && ll_can_hand_over(l) ? holder_keep(h, l->kept.fd, e) : 0;
}

/* --- taking over --- */

static int list_check(const struct kept_list *k, size_t size, uint64_t mount_id, struct err *e)
{
	if (k->inodes > LIST_INODES_MAX ||
		size != sizeof(*k) + k->inodes * sizeof(struct kept_inode) ||
		k->crc != crc32c(0, (const uint8_t *)k + LIST_SUMMED, size - LIST_SUMMED))
		return err_set(e, -EBADMSG, "what the holder kept is damaged");
	if (k->mount_id != mount_id)
		return err_set(e, -EBADMSG, "what the holder kept is of another mount");
	return 0;
}

/* What an earlier build left. */
static int list_load(struct ll *l, int fd, size_t size, struct err *e)
{
	const struct kept_list *k = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	const struct kept_inode *at = (const struct kept_inode *)(k + 1);
	int r;

	if (k == MAP_FAILED)
		return err_set(e, -errno, "what the holder kept: %m");
	r = list_check(k, size, l->mount_id, e);
	for (uint64_t i = 0; !r && i < k->inodes; i++) {
		ll_known_add(l, at[i].ino, at[i].count);
		if (at[i].orphan)
			ll_known_orphan(l, at[i].ino);
	}
	if (!r)
		l->agreed = k->agreed;
	munmap((void *)k, size);
	return r;
}

static int by_unique(const void *a, const void *b)
{
	const struct kept_done *x = a, *y = b;

	return x->unique < y->unique ? -1 : x->unique > y->unique;
}

struct kept *ll_kept(struct ll *l)
{
	return &l->kept;
}

/* A copy of the window that can be searched. */
void ll_executed_ready(struct ll *l)
{
	atomic_store(&l->staging, true);
	l->nexecuted = atomic_load(&l->kept.h->window);
	if (!l->nexecuted)
		return;
	l->executed = calloc(l->nexecuted, sizeof(*l->executed));
	ensure(l->executed);
	memcpy(l->executed, kept_window(&l->kept), l->nexecuted * sizeof(*l->executed));
	qsort(l->executed, l->nexecuted, sizeof(*l->executed), by_unique);
}

const struct kept_done *ll_executed(const struct ll *l, uint64_t unique)
{
	const struct kept_done key = {.unique = unique};

	return l->nexecuted ? bsearch(&key, l->executed, l->nexecuted, sizeof(key), by_unique)
			    : NULL;
}

/* Takes the descriptor. */
static int kept_load(struct ll *l, int fd, const struct uuid *volume, struct err *e)
{
	struct kept_list head = {0};
	struct kept old;
	struct stat st;
	int r;

	if (fstat(fd, &st) == 0 && pread(fd, &head, sizeof(head), 0) == sizeof(head) &&
		head.magic == KEPT_MAGIC && head.version == LIST_VERSION) {
		r = list_load(l, fd, (size_t)st.st_size, e);
		close(fd);
		return r;
	}
	r = kept_map(fd, &old, e);
	if (r)
		return r;
	r = kept_check(old.h, l->mount_id, volume, e);
	if (!r) {
		l->agreed = old.h->agreed;
		atomic_store(&l->kept.h->takeovers, atomic_load(&old.h->takeovers) + 1);
		ll_known_load(l, &old);
		kept_window_copy(&l->kept, &old);
		atomic_store(&l->kept.h->committed, atomic_load(&old.h->committed));
		atomic_store(&l->kept.h->answered, atomic_load(&old.h->answered));
	}
	kept_close(&old);
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
static int take_over(struct ll *l, struct holder *h, struct holder_mount *m,
	const struct uuid *volume, struct err *e)
{
	int r;

	if (strcmp(m->path, l->mountpoint) != 0 || strcmp(m->source, l->source) != 0) {
		r = err_set(e, -EBUSY,
			"the holder still has '%.60s' mounted on '%.100s': unmount it", m->source,
			m->path);
		holder_mount_close(m);
		return r;
	}
	if (!l->keep) {
		r = holder_take(h, e);
		if (r) {
			holder_mount_close(m);
			return r;
		}
	}
	note_mount(l, m);
	r = kept_load(l, m->kept_fd, volume, e);
	l->taken = !r;
	if (!r)
		return 0;
	/* Nobody can serve it: the holder lets go with the connection, and then it is dead. */
	log_error("'%s' cannot be taken over and is aborted: %s", l->mountpoint, e->msg);
	holder_take(h, NULL);
	umount2(l->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW);
	close(l->fd);
	l->fd = -1;
	return r;
}

int ll_held_attach(struct ll *l, const struct ll_config *cfg, uint64_t flags, const char *options,
	struct err *e)
{
	struct holder *h = cfg->holder;
	struct holder_mount m;
	int r = holder_state(h, &m, e);

	if (r)
		return r;
	if (m.fd >= 0 && m.kept_fd >= 0)
		return take_over(l, h, &m, cfg->volume, e);
	holder_mount_close(&m);
	if (cfg->fenced)
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
