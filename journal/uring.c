/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asynchronous writes: one interface, two engines.
 *
 * The happy path with io_uring: uring_write() links the request to `pending`; uring_submit() turns
 * pending requests into submission entries, at most `depth` in flight, and sends them with one
 * system call; the ring's own descriptor becomes readable; uring_reap() first takes all completions
 * off the ring into `finished` and runs the callbacks then, so a callback may write, submit and even
 * reap. With threads, uring_submit() hands the requests to a few workers, each of which blocks in
 * pwritev2(2), and an eventfd takes the place of the ring's descriptor.
 *
 * Everything belongs to the owner's thread, except what struct pool's lock protects.
 */
#include "uring.h"

#include <errno.h>
#include <liburing.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "limits.h"

#define FILES_MAX 1024u /* registered at once */
#define DEPTH_MAX 4096u
#define THREADS_MAX 8u
#define STALLS_MAX 16u /* short writes without a whole block more, in a row */
/* The registered buffer goes to the kernel in pieces, each when it is first written from: what is registered is pinned,
 * all of it, and a volume that is never busy uses the first piece only. Each reaches as far into the next one, so that
 * what begins in a piece and is no longer than this is inside of it. */
#define PIECE (1u << 20)

struct list { /* of requests, in order */
	struct uring_req *first, *last;
};

struct pool {
	pthread_mutex_t lock; /* protects the lists and `stop` */
	pthread_cond_t work;
	struct list todo, done;
	bool stop;
	int event_fd; /* written when `done` is no longer empty */
	unsigned nthreads;
	pthread_t threads[THREADS_MAX];
};

struct uring {
	bool threads; /* which engine */
	struct io_uring ring;
	struct pool pool;
	unsigned depth;
	unsigned in_flight;
	struct list pending; /* prepared, or to be continued */
	struct list finished; /* `done` is still to be called */
	const uint8_t *fixed; /* the registered buffer, or NULL */
	size_t fixed_len;
	enum { PIECE_UNUSED, PIECE_PINNED, PIECE_REFUSED } * pieces;
	int *files; /* by descriptor: its registered place, or -1; NULL before the first */
	unsigned nfiles, files_used; /* descriptors in the table; places taken */
	unsigned inject_at, inject_repeat; /* inject_at 0: disarmed */
	int inject_error;
};

static void list_push(struct list *l, struct uring_req *r)
{
	r->next = NULL;
	if (l->first)
		l->last->next = r;
	else
		l->first = r;
	l->last = r;
}

static struct uring_req *list_pop(struct list *l)
{
	struct uring_req *r = l->first;

	if (r)
		l->first = r->next;
	return r;
}

/* What is left goes behind what is in `l`; `more` is empty afterwards. */
static void list_move(struct list *l, struct list *more)
{
	if (!more->first)
		return;
	if (l->first)
		l->last->next = more->first;
	else
		l->first = more->first;
	l->last = more->last;
	more->first = NULL;
}

/* How much of the rest this attempt writes. */
static size_t attempt_len(const struct uring_req *r)
{
	size_t left = r->len - r->written;

	return r->fault > 0 ? MIN(left, (size_t)r->fault) : left;
}

/*
 * Takes in the result of one attempt. True: the request is finished, with r->res; false: it is to
 * be tried again from r->written. O_DIRECT needs the remainder aligned, so a write that ended inside
 * a block starts again at that block; one that never gets on is an error.
 */
static bool attempt_done(struct uring_req *r, int res)
{
	size_t before = r->written;

	if (res == -EINTR || res == -EAGAIN)
		return false;
	if (res < 0 || r->sync_only) {
		r->res = res;
		return true;
	}
	if (res == 0 && r->len > r->written) {
		r->res = -EIO;
		return true;
	}
	r->written += (size_t)res;
	if (r->written >= r->len) {
		r->res = 0;
		return true;
	}
	if (r->len % BLOCK_SIZE == 0 && r->off % BLOCK_SIZE == 0)
		r->written -= r->written % BLOCK_SIZE;
	r->stalls = r->written > before ? 0 : r->stalls + 1;
	if (r->stalls > STALLS_MAX) {
		r->res = -EIO;
		return true;
	}
	return false;
}

/* Passes on the result of one attempt: to `finished`, or back to `pending`. */
static void take_result(struct uring *u, struct uring_req *r, int res)
{
	u->in_flight--;
	list_push(attempt_done(r, res) ? &u->finished : &u->pending, r);
}

/* Counts one attempt for uring_inject(). */
static void inject_next(struct uring *u, struct uring_req *r)
{
	r->fault = 0;
	if (!u->inject_at || --u->inject_at)
		return;
	r->fault = u->inject_error;
	if (u->inject_repeat) {
		u->inject_repeat--;
		u->inject_at = 1;
	}
}

void uring_inject(struct uring *u, unsigned n, unsigned repeat, int error)
{
	u->inject_at = n;
	u->inject_repeat = repeat;
	u->inject_error = error;
}

/* --- the threads -------------------------------------------------------------------------------- */

/* One attempt; r->res is what the system call gave, as a completion's would be. */
static void pool_perform(struct uring_req *r)
{
	if (r->fault < 0) {
		r->res = r->fault;
	} else if (r->sync_only) {
		r->res = fdatasync(r->fd) < 0 ? -errno : 0;
	} else {
		struct iovec iov = {
			.iov_base = (uint8_t *)r->buf + r->written,
			.iov_len = attempt_len(r),
		};
		ssize_t n = pwritev2(r->fd, &iov, 1, (off_t)(r->off + r->written), r->rwf_flags);

		r->res = n < 0 ? -errno : (int)n;
	}
}

static void *pool_thread(void *arg)
{
	struct pool *p = arg;
	uint64_t one = 1;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		struct uring_req *r = list_pop(&p->todo);
		bool first;

		if (!r) {
			if (p->stop)
				break;
			pthread_cond_wait(&p->work, &p->lock);
			continue;
		}
		pthread_mutex_unlock(&p->lock);
		pool_perform(r);
		pthread_mutex_lock(&p->lock);
		first = !p->done.first;
		list_push(&p->done, r);
		if (first)
			ensure(write(p->event_fd, &one, sizeof(one)) == sizeof(one));
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

static void pool_close(struct pool *p)
{
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < p->nthreads; i++)
		pthread_join(p->threads[i], NULL);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	close(p->event_fd);
}

static int pool_open(struct pool *p, unsigned nthreads)
{
	sigset_t all, old;
	int ret = 0;

	p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->event_fd < 0)
		return -errno;
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	sigfillset(&all); /* signals are for the program's own threads */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (p->nthreads < nthreads && !ret) {
		ret = -pthread_create(&p->threads[p->nthreads], NULL, pool_thread, p);
		if (!ret)
			p->nthreads++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (ret)
		pool_close(p);
	return ret;
}

static void pool_submit(struct uring *u)
{
	struct pool *p = &u->pool;
	unsigned n = 0;

	if (!u->pending.first)
		return;
	for (struct uring_req *r = u->pending.first; r; r = r->next) {
		inject_next(u, r);
		n++;
	}
	u->in_flight += n;
	LOCK_SCOPE(&p->lock);
	list_move(&p->todo, &u->pending);
	if (n == 1)
		pthread_cond_signal(&p->work);
	else
		pthread_cond_broadcast(&p->work);
}

static void pool_collect(struct uring *u)
{
	struct pool *p = &u->pool;
	struct list done = {0};
	struct uring_req *r;
	uint64_t count;

	{
		LOCK_SCOPE(&p->lock);
		if (read(p->event_fd, &count, sizeof(count)) < 0)
			return; /* nothing has finished since */
		list_move(&done, &p->done);
	}
	while ((r = list_pop(&done)))
		take_result(u, r, r->res);
}

/* --- io_uring ----------------------------------------------------------------------------------- */

static int ring_init(struct uring *u)
{
	static const unsigned flags[] = {
		/* Completions are taken when the owner enters the kernel anyway (5.19). */
		IORING_SETUP_CLAMP | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
		IORING_SETUP_CLAMP,
	};
	struct io_uring_probe *probe;
	bool able;
	int ret = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
		ret = io_uring_queue_init(u->depth, &u->ring, flags[i]);
		if (ret != -EINVAL)
			break;
	}
	if (ret)
		return ret;
	probe = io_uring_get_probe_ring(&u->ring);
	able = probe && io_uring_opcode_supported(probe, IORING_OP_WRITE);
	if (probe)
		io_uring_free_probe(probe);
	if (!able) {
		io_uring_queue_exit(&u->ring);
		return -EOPNOTSUPP;
	}
	return 0;
}

/* A registered file needs no look-up and no reference of its own for each write. */
static void use_registered(const struct uring *u, struct io_uring_sqe *sqe, int fd)
{
	if (fd < 0 || (unsigned)fd >= u->nfiles || u->files[fd] < 0)
		return;
	sqe->fd = u->files[fd];
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
}

/* The piece of the registered buffer that [p, p + n) is in, or -1. */
static int find_piece(struct uring *u, const uint8_t *p, size_t n)
{
	size_t at, i;

	if (!u->fixed || p < u->fixed || p + n > u->fixed + u->fixed_len || n > PIECE)
		return -1;
	i = (size_t)(p - u->fixed) / PIECE;
	at = i * PIECE;
	if (u->pieces[i] == PIECE_UNUSED) {
		struct iovec iov = {.iov_base = (uint8_t *)u->fixed + at,
			.iov_len = MIN(2 * (size_t)PIECE, u->fixed_len - at)};

		u->pieces[i] = io_uring_register_buffers_update_tag(
				       &u->ring, (unsigned)i, &iov, NULL, 1) == 1
				       ? PIECE_PINNED
				       : PIECE_REFUSED;
	}
	return u->pieces[i] == PIECE_PINNED ? (int)i : -1;
}

static void ring_prepare(struct uring *u, struct uring_req *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	const uint8_t *p = (const uint8_t *)r->buf + r->written;
	size_t n;
	int piece;

	ensure(sqe); /* no more than `depth` are in flight */
	inject_next(u, r);
	if (r->fault < 0) {
		io_uring_prep_nop(sqe);
	} else if (r->sync_only) {
		io_uring_prep_fsync(sqe, r->fd, IORING_FSYNC_DATASYNC);
		use_registered(u, sqe, r->fd);
	} else {
		n = attempt_len(r);
		ensure(n <= INT32_MAX);
		piece = find_piece(u, p, n);
		if (piece >= 0)
			io_uring_prep_write_fixed(
				sqe, r->fd, p, (unsigned)n, r->off + r->written, piece);
		else
			io_uring_prep_write(sqe, r->fd, p, (unsigned)n, r->off + r->written);
		sqe->rw_flags = r->rwf_flags;
		use_registered(u, sqe, r->fd);
	}
	io_uring_sqe_set_data(sqe, r);
	u->in_flight++;
}

/* Takes what has completed off the ring. */
static void ring_collect(struct uring *u)
{
	struct io_uring_cqe *cqes[32];
	unsigned n;

	while ((n = io_uring_peek_batch_cqe(&u->ring, cqes, ARRAY_SIZE(cqes))) > 0) {
		for (unsigned i = 0; i < n; i++) {
			struct uring_req *r = io_uring_cqe_get_data(cqes[i]);

			take_result(u, r, r->fault < 0 ? r->fault : cqes[i]->res);
		}
		io_uring_cq_advance(&u->ring, n);
	}
}

static void ring_submit(struct uring *u)
{
	while (u->pending.first || io_uring_sq_ready(&u->ring)) {
		int ret;

		while (u->pending.first && u->in_flight < u->depth)
			ring_prepare(u, list_pop(&u->pending));
		if (!io_uring_sq_ready(&u->ring))
			return; /* the rest goes out when uring_reap() has made room */
		ret = io_uring_submit(&u->ring);
		if (ret >= 0 || ret == -EINTR)
			continue;
		/* The kernel is short of memory for requests, or wants completions taken first. */
		ensure(ret == -EAGAIN || ret == -EBUSY || ret == -ENOMEM);
		ring_collect(u);
		usleep(100);
	}
}

/* --- the interface ------------------------------------------------------------------------------ */

int uring_open(enum uring_mode mode, unsigned depth, struct uring **ret_u, struct err *e)
{
	const char *fault = getenv("TANDEMFS_FAULT_WRITE");
	struct uring *u = calloc(1, sizeof(*u));
	int ret;

	ensure(depth >= 1 && depth <= DEPTH_MAX);
	if (!u)
		return err_set(e, -ENOMEM, "out of memory");
	u->depth = depth;
	u->threads = mode == URING_THREADS;
	if (!u->threads) {
		ret = ring_init(u);
		if (ret && mode == URING_FORCE) {
			free(u);
			return err_set(e, ret, "cannot set up io_uring: %s", strerror(-ret));
		}
		u->threads = ret != 0;
	}
	if (u->threads) {
		ret = pool_open(&u->pool, MIN(depth, THREADS_MAX));
		if (ret) {
			free(u);
			return err_set(
				e, ret, "cannot start the writer threads: %s", strerror(-ret));
		}
	}
	if (fault) {
		char *end;
		unsigned long n = strtoul(fault, &end, 10);

		uring_inject(u, (unsigned)n, *end == ':' ? (unsigned)strtoul(end + 1, NULL, 10) : 0,
			-EIO);
	}
	*ret_u = u;
	return 0;
}

void uring_close(struct uring *u)
{
	if (!u)
		return;
	if (u->threads) {
		pool_close(&u->pool);
	} else {
		while (u->in_flight) {
			struct io_uring_cqe *cqe;
			int ret = io_uring_wait_cqe(&u->ring, &cqe);

			ensure(ret == 0 || ret == -EINTR || ret == -EAGAIN);
			if (ret == 0) {
				io_uring_cqe_seen(&u->ring, cqe);
				u->in_flight--;
			}
		}
		io_uring_queue_exit(&u->ring);
	}
	free(u->pieces);
	free(u->files);
	free(u);
}

const char *uring_mode_name(const struct uring *u)
{
	return u->threads ? "pwritev2" : "io_uring";
}

int uring_register_buffer(struct uring *u, void *base, size_t len)
{
	size_t n = (len + PIECE - 1) / PIECE;
	int ret;

	ensure(!u->fixed);
	if (u->threads)
		return 0;
	ret = io_uring_register_buffers_sparse(&u->ring, (unsigned)n);
	if (ret)
		return ret;
	u->pieces = calloc(n, sizeof(*u->pieces));
	ensure(u->pieces);
	u->fixed = base;
	u->fixed_len = len;
	return 0;
}

int uring_register_file(struct uring *u, int fd)
{
	unsigned place = u->files_used;
	int ret;

	ensure(fd >= 0);
	if (u->threads)
		return 0;
	if (!u->files) {
		ret = io_uring_register_files_sparse(&u->ring, FILES_MAX);
		if (ret)
			return ret;
	}
	if (place == FILES_MAX)
		return -ENFILE;
	if ((unsigned)fd >= u->nfiles) {
		unsigned n = (unsigned)fd + 64;
		int *files = reallocarray(u->files, n, sizeof(*files));

		if (!files)
			return -ENOMEM;
		for (unsigned i = u->nfiles; i < n; i++)
			files[i] = -1;
		u->files = files;
		u->nfiles = n;
	}
	ret = io_uring_register_files_update(&u->ring, place, &fd, 1);
	if (ret < 0)
		return ret;
	u->files[fd] = (int)place;
	u->files_used++;
	return 0;
}

int uring_fd(const struct uring *u)
{
	return u->threads ? u->pool.event_fd : u->ring.ring_fd;
}

void uring_write(struct uring *u, struct uring_req *r)
{
	r->written = 0;
	r->stalls = 0;
	r->sync_only = false;
	list_push(&u->pending, r);
}

void uring_fdatasync(struct uring *u, struct uring_req *r)
{
	r->written = 0;
	r->stalls = 0;
	r->sync_only = true;
	list_push(&u->pending, r);
}

void uring_submit(struct uring *u)
{
	if (u->threads)
		pool_submit(u);
	else
		ring_submit(u);
}

unsigned uring_reap_ready(struct uring *u)
{
	return !u->threads && io_uring_cq_ready(&u->ring) ? uring_reap(u) : 0;
}

unsigned uring_reap(struct uring *u)
{
	struct uring_req *r;
	unsigned n = 0;

	if (u->threads)
		pool_collect(u);
	else
		ring_collect(u);
	if (u->pending.first) /* what was cut short, and what found no room before */
		uring_submit(u);
	while ((r = list_pop(&u->finished))) {
		n++;
		r->done(r);
	}
	return n;
}
