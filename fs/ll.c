/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FUSE side's life: mounting, the worker threads, a clean end, a fence.
 *
 * Happy path: ll_mount() mounts and answers INIT on the caller's thread, then starts the workers, each
 * with a buffer of its own, reading one request at a time from /dev/fuse. A worker answers what only
 * reads and queues everything else; it never waits for the commit thread.
 *
 * Failure modes: an unmount by somebody else, or an abort of the connection, ends the workers
 * (ll_ended()). Whatever may hang in the kernel at an end (umount(2) while pages are written
 * back, invalidating a page that is being read) runs on helper threads that are waited for up to a
 * deadline and left behind then; the reference counts keep the memory for them.
 */
#include "ll_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "clock.h"
#include "log.h"

#define THREADS_DEFAULT 4u
#define INVALIDATORS 4u /* a page that hangs stops one of them */
#define SETTLE_NS (200 * NS_PER_MS)
#define INIT_BUFFER 4096u

/* --- references --- */

struct ll *ll_ref(struct ll *l)
{
	atomic_fetch_add(&l->refs, 1);
	return l;
}

void ll_unref(struct ll *l)
{
	if (atomic_fetch_sub(&l->refs, 1) != 1)
		return;
	if (l->se)
		fuse_session_destroy(l->se); /* closes the descriptor */
	else if (l->fd >= 0)
		close(l->fd);
	for (unsigned i = 0; l->workers && i <= l->nthreads; i++) {
		free(l->workers[i].buf.mem);
		free(l->workers[i].data);
	}
	free(l->workers);
	ll_known_free(l);
	free(l->executed);
	free(l);
}

/* --- threads --- */

/* pthread_create() with all signals blocked: they are the main thread's. */
static int start_thread(pthread_t *ret, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	int ret_code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	ret_code = -pthread_create(ret, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ret_code;
}

/* By the monotonic clock: were the wall clock set forward meanwhile, a fence would cut its invalidation
 * short; set back, it would wait for hours. */
static bool join_until(pthread_t t, uint64_t until_mono_ns)
{
	struct timespec ts = {.tv_sec = (time_t)(until_mono_ns / NS_PER_S),
		.tv_nsec = (long)(until_mono_ns % NS_PER_S)};

	if (pthread_clockjoin_np(t, NULL, CLOCK_MONOTONIC, &ts) == 0)
		return true;
	pthread_detach(t);
	return false;
}

static void interrupted(int sig)
{
	/* read(2) ends with EINTR */
}

static void allow_interruption(void)
{
	struct sigaction sa = {.sa_handler = interrupted};
	sigset_t set;

	sigaction(LL_LEAVE_SIGNAL, &sa, NULL);
	sigemptyset(&set);
	sigaddset(&set, LL_LEAVE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void *worker_main(void *arg)
{
	struct ll_worker *w = arg;
	struct ll *l = w->l;

	ll_self = w;
	allow_interruption();
	while (!fuse_session_exited(l->se) && !atomic_load(&l->leaving)) {
		int n = fuse_session_receive_buf(l->se, &w->buf);
		uint64_t began = 0;

		if (n == -EINTR || n == -EAGAIN)
			continue;
		if (n < 0)
			log_error("reading from /dev/fuse: %s", strerror(-n));
		if (n <= 0)
			break;
		atomic_fetch_add(&w->phase, 1);
		if (atomic_load_explicit(&l->watched, memory_order_relaxed))
			began = ll_load_begin(w);
		ll_dispatch(w);
		if (began)
			ll_load_end(w, began);
		atomic_fetch_add(&w->phase, 1);
	}
	ll_self = NULL;
	payload_unref(w->spare);
	w->spare = NULL;
	atomic_fetch_sub(&l->running, 1);
	ll_unref(l);
	return NULL;
}

static int start_workers(struct ll *l, struct err *e)
{
	for (unsigned i = 0; i < l->nthreads; i++) {
		struct ll_worker *w = &l->workers[i];
		char name[16];
		int ret;

		ll_ref(l);
		atomic_fetch_add(&l->running, 1);
		ret = start_thread(&w->thread, worker_main, w);
		if (ret) {
			atomic_fetch_sub(&l->running, 1);
			ll_unref(l);
			l->nthreads = i;
			return err_set(e, ret, "cannot start a fuse worker: %s", strerror(-ret));
		}
		snprintf(name, sizeof(name), "fuse-%u", i);
		pthread_setname_np(w->thread, name);
	}
	return 0;
}

/* The first request is INIT, and the kernel queued it in mount(2). A holder has read it. */
static int answer_init(struct ll *l, struct err *e)
{
	struct ll_worker *w = &l->workers[l->nthreads];
	int n;

	if (l->init_len) {
		w->buf.mem = calloc(1, INIT_BUFFER);
		ensure(w->buf.mem);
		memcpy(w->buf.mem, l->init, l->init_len);
		w->buf.size = l->init_len;
		n = (int)l->init_len;
	} else {
		do
			n = fuse_session_receive_buf(l->se, &w->buf);
		while (n == -EINTR || n == -EAGAIN);
	}
	if (n <= 0)
		return err_set(e, n ? n : -ENODEV, "the kernel sent no INIT request");
	ll_self = w;
	ll_dispatch(w);
	ll_self = NULL;
	if (!l->init_done)
		return err_set(e, -EPROTO, "the kernel and libfuse found no common protocol");
	return 0;
}

static int alloc_workers(struct ll *l)
{
	l->workers = calloc(l->nthreads + 1, sizeof(*l->workers));
	if (!l->workers)
		return -ENOMEM;
	for (unsigned i = 0; i <= l->nthreads; i++) {
		l->workers[i].l = l;
		/* buf.mem comes from libfuse, which knows the size */
		if (posix_memalign((void **)&l->workers[i].data, BLOCK_SIZE, LL_READ_SIZE))
			return -ENOMEM;
	}
	return 0;
}

int ll_mount(struct volume *v, const struct ll_config *cfg, struct ll **ret_l, struct err *e)
{
	struct ll *l = NULL;
	int ret;

	if (posix_memalign((void **)&l, 64, sizeof(*l)))
		return err_set(e, -ENOMEM, "out of memory");
	memset(l, 0, sizeof(*l));
	l->v = v;
	l->tree = volume_tree(v);
	l->segments = volume_segments(v);
	l->pool = volume_pool(v);
	l->fd = -1;
	l->nthreads = cfg->threads ? cfg->threads : THREADS_DEFAULT;
	l->ack_fsync = cfg->ack_fsync;
	l->refs = 1;
	do
		l->mount_id = random_u64();
	while (!l->mount_id);
	l->keep = cfg->holder && !cfg->fenced;
	if (cfg->kept) {
		l->kept = *cfg->kept;
		l->kept_lent = true;
	}
	if (ll_known_init(l) || alloc_workers(l)) {
		ret = err_set(e, -ENOMEM, "out of memory");
		goto fail;
	}
	ret = ll_mount_attach(l, cfg, e);
	if (ret)
		goto fail;
	ret = ll_session_new(l, e);
	if (!ret)
		ret = answer_init(l, e);
	atomic_store(&l->fenced, cfg->fenced); /* INIT had to pass */
	if (!ret)
		ret = ll_held_keep(l, cfg->holder, cfg->volume, e);
	if (!ret && l->taken)
		ret = ll_held_resend(l, e);
	if (!ret)
		ret = start_workers(l, e);
	if (ret) {
		unsigned started = l->nthreads;

		ll_mount_force(l);
		for (unsigned i = 0; i < started && atomic_load(&l->refs) > 1; i++)
			pthread_join(l->workers[i].thread, NULL);
		goto fail;
	}
	log_info("mounted on '%s'", l->mountpoint);
	*ret_l = l;
	return 0;
fail:
	ll_unref(l);
	return ret;
}

uint64_t ll_mount_id(const struct ll *l)
{
	return l->mount_id;
}

bool ll_ended(const struct ll *l)
{
	return atomic_load(&l->running) == 0;
}

/* --- ends --- */

/* What the kernel knows, shared by the invalidators; freed by the last one. */
struct invalidation {
	struct ll *l;
	uint64_t *inodes;
	size_t n;
	atomic_size_t next;
	atomic_uint users;
};

static void *invalidate_main(void *arg)
{
	struct invalidation *inv = arg;
	struct ll *l = inv->l;

	for (size_t i; (i = atomic_fetch_add(&inv->next, 1)) < inv->n;)
		fuse_lowlevel_notify_inval_inode(l->se, inv->inodes[i], 0, 0);
	if (atomic_fetch_sub(&inv->users, 1) == 1) {
		free(inv->inodes);
		free(inv);
	}
	ll_unref(l);
	return NULL;
}

static void *force_main(void *arg)
{
	struct ll *l = arg;

	ll_mount_force(l);
	ll_unref(l);
	return NULL;
}

static void *unmount_main(void *arg)
{
	struct ll *l = arg;
	int ret = ll_mount_detach_idle(l);

	if (ret) {
		log_info(
			"'%s' is in use (%s): unmounting it lazily", l->mountpoint, strerror(-ret));
		ll_mount_force(l);
	}
	ll_unref(l);
	return NULL;
}

/* Runs fn on a thread of its own; true when it ended in time. */
static bool run_until(struct ll *l, void *(*fn)(void *), uint64_t until_ns)
{
	pthread_t t;

	if (start_thread(&t, fn, ll_ref(l))) {
		ll_unref(l);
		return false;
	}
	return join_until(t, until_ns);
}

/* false when it did not end in time, or could not begin. */
static bool invalidate_all(struct ll *l, uint64_t until_ns)
{
	struct invalidation *inv = calloc(1, sizeof(*inv));
	pthread_t threads[INVALIDATORS];
	unsigned started = 0;
	bool all = true;
	size_t n;

	if (!inv || ll_known_list(l, &inv->inodes, &inv->n)) {
		free(inv);
		return false;
	}
	inv->l = l;
	n = inv->n;
	atomic_store(&inv->users, INVALIDATORS + 1); /* and this thread */
	for (unsigned i = 0; i < INVALIDATORS; i++) {
		ll_ref(l);
		if (start_thread(&threads[started], invalidate_main, inv) == 0) {
			started++;
		} else {
			atomic_fetch_sub(&inv->users, 1);
			ll_unref(l);
		}
	}
	for (unsigned i = 0; i < started; i++)
		all &= join_until(threads[i], until_ns);
	if (atomic_fetch_sub(&inv->users, 1) == 1) {
		free(inv->inodes);
		free(inv);
	}
	if (all && started)
		log_info("%zu inodes that the kernel knew are invalid now", n);
	return all && started;
}

/* Takes the owner's reference. */
static void end(struct ll *l, uint64_t until_ns)
{
	bool all = true;

	for (unsigned i = 0; i < l->nthreads; i++)
		all &= join_until(l->workers[i].thread, until_ns);
	if (!all)
		log_warn("fuse workers on '%s' did not end in time; they are left behind",
			l->mountpoint);
	log_info("unmounted '%s'", l->mountpoint);
	ll_unref(l);
}

void ll_fence_begin(struct ll *l)
{
	uint64_t until = clock_mono_ns() + SETTLE_NS;

	if (atomic_exchange(&l->fenced, true))
		return;
	for (unsigned i = 0; i < l->nthreads; i++) {
		struct ll_worker *w = &l->workers[i];
		unsigned phase = atomic_load(&w->phase);

		while (phase % 2 && atomic_load(&w->phase) == phase && clock_mono_ns() < until)
			usleep(100);
	}
}

void ll_fence(struct ll *l, unsigned timeout_ms)
{
	uint64_t start = clock_mono_ns(), total = timeout_ms * NS_PER_MS;

	ll_fence_begin(l);
	if (!invalidate_all(l, start + total / 2))
		log_warn("invalidating '%s' takes too long; it is aborted", l->mountpoint);
	run_until(l, force_main, start + total * 3 / 4);
	end(l, start + total);
}

static void *idle_main(void *arg)
{
	struct ll *l = arg;
	int ret = ll_mount_detach_idle(l);

	if (ret)
		log_info("'%s' is in use: %s", l->mountpoint, strerror(-ret));
	else
		atomic_store(&l->detached, true);
	ll_unref(l);
	return NULL;
}

bool ll_unmount_idle(struct ll *l, unsigned timeout_ms)
{
	run_until(l, idle_main, clock_mono_ns() + timeout_ms * NS_PER_MS);
	return atomic_load(&l->detached);
}

void ll_unmount(struct ll *l, unsigned timeout_ms)
{
	uint64_t start = clock_mono_ns(), total = timeout_ms * NS_PER_MS;

	if (!run_until(l, unmount_main, start + total * 3 / 4)) {
		log_warn("unmounting '%s' takes too long; it is aborted", l->mountpoint);
		atomic_store(&l->fenced, true);
		run_until(l, force_main, start + total * 7 / 8);
	}
	end(l, start + total);
}

/* --- operations --- */

struct op *ll_op_new(fuse_req_t req, enum op_type type, void (*done)(struct op *op))
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	struct op *op = op_new(type);

	op->mount_id = ll_of(req)->mount_id;
	op->unique = ll_self->unique;
	op->resent = ll_self->resent;
	op->uid = ctx->uid;
	op->gid = ctx->gid;
	op->umask = ctx->umask;
	op->req = req;
	op->ctx = ll_ref(ll_of(req));
	op->done = done;
	return op;
}

void ll_op_end(struct op *op)
{
	struct ll *l = op->ctx;

	op_free(op);
	ll_unref(l);
}

int ll_op_name(char *dst, const char *name)
{
	size_t len = strlen(name);

	if (len > NAME_LEN_MAX)
		return -ENAMETOOLONG;
	memcpy(dst, name, len + 1);
	return 0;
}

void ll_op_submit(struct op *op, int ret)
{
	struct ll *l = op->ctx;

	if (!ret)
		volume_submit(l->v, op);
	else if (ret == -EBADMSG || ret == -EIO)
		volume_repair_edges(l->v, op, ret);
	else
		ll_op_refuse(op, ret);
}

void ll_op_refuse(struct op *op, int error)
{
	fuse_reply_err(op->req, -error);
	ll_op_end(op);
}

void ll_done_err(struct op *op)
{
	if (!op->error && op->orphan)
		ll_known_orphan(op->ctx, op->orphan);
	fuse_reply_err(op->req, -op->error);
	ll_op_end(op);
}
