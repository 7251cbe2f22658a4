/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume daemon: starts by recovery, then one thread, the commit thread, runs the loop: sockets,
 * the journal's completions, operations from the FUSE workers, timers, the control socket. Each turn
 * of the loop runs what became ready, stages and closes batches, and submits all writes with one
 * system call.
 *
 * Failure modes: an I/O error on the way to durability ends the process (volume_die): it counts the
 * bad start and starts itself again in place (volume_again.c); after three of them in a row the replica
 * stays suspect. It then answers people at once, and its peers only after a second, so that a disk
 * that fails whatever is written does not make both sides spin. Leaving the active role also starts
 * the process again (volume_restart). A crash is the same, without the courtesies (I11).
 */
#include "pull.h"
#include "repair_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "log.h"
#include "notify.h"
#include "preflight.h"
#include "resync.h"

#define STATUS_NS (200 * NS_PER_MS)
#define LAST_FLUSH_NS (5 * NS_PER_S)
#define GOOD_START_NS (60 * NS_PER_S) /* after so long a start counts as good */
#define RX_POOL_SIZE (256u << 20)

struct tree *volume_tree(struct volume *v)
{
	return v->tree;
}

struct segments *volume_segments(struct volume *v)
{
	return v->segments;
}

struct payload_pool *volume_pool(struct volume *v)
{
	return v->pool;
}

void volume_space(struct volume *v, struct volume_space *ret_s)
{
	struct tree_info info;

	tree_info(v->tree, &info);
	ret_s->blocks = info.size_blocks;
	ret_s->blocks_free =
		info.size_blocks > info.used_blocks ? info.size_blocks - info.used_blocks : 0;
	ret_s->blocks_free = MIN(ret_s->blocks_free, atomic_load(&v->room_blocks));
	ret_s->inodes = info.inodes + ret_s->blocks_free;
	ret_s->inodes_free = ret_s->blocks_free;
}

/* --- sources of the loop --- */

static void uring_ready(struct loop_source *s, uint32_t events)
{
	uring_reap(container_of(s, struct volume, uring_source)->uring);
}

static void signal_ready(struct loop_source *s, uint32_t events)
{
	struct volume *v = container_of(s, struct volume, signal_source);
	struct signalfd_siginfo si;

	if (read(s->fd, &si, sizeof(si)) == sizeof(si))
		volume_stop(v);
}

static void tick_expired(struct loop_timer *t, uint64_t now_ns)
{
	volume_tick(container_of(t, struct volume, tick_timer));
}

static void stop_expired(struct loop_timer *t, uint64_t now_ns)
{
	volume_stop_work(container_of(t, struct volume, stop_timer));
}

/* A standby that applies too slowly withholds its acknowledgements, so the active slows down with it.
 * Only committed work counts, else nothing could ever be committed again. */
static void standby_work(struct volume *v)
{
	struct apply *a = &v->apply;
	bool behind, waits = v->serve_pending || v->ack_withheld || v->rx_paused;
	uint64_t applied;

	if (atomic_load(&a->wake) != waits)
		atomic_store(&a->wake, waits); /* before looking at its progress */
	applied = atomic_load(&a->applied);
	if (atomic_load(&a->failed))
		volume_die(v, "%s", a->error.msg);
	ring_release(v->ring, MIN(atomic_load(&a->data_seq), fetch_floor(v) - 1));
	atomic_store_explicit(&a->ring_free, ring_free(v->ring), memory_order_relaxed);
	pthread_mutex_lock(&a->mutex);
	behind = a->queued_bytes > (v->ack_withheld ? APPLY_LAG_MAX / 4 : APPLY_LAG_MAX / 2) &&
		 a->target > applied + 2000;
	pthread_mutex_unlock(&a->mutex);
	if (v->rx_paused) {
		v->rx_paused = false;
		net_resume(v->net);
	}
	if (behind == v->ack_withheld)
		return;
	v->ack_withheld = behind;
	if (behind)
		loop_wake(v->loop); /* another turn, which asks to be woken */
	else
		volume_durable(v);
}

static void status_expired(struct loop_timer *t, uint64_t now_ns)
{
	struct volume *v = container_of(t, struct volume, status_timer);

	loop_timer_set(v->loop, t, now_ns + STATUS_NS);
	volume_status_event(v);
	watchdog_look(v, now_ns);
	space_look(v);
	control_status_look(v, now_ns);
	if (v->behind_to && v->durable_told >= MIN(v->behind_to, core_end(v->core).seq)) {
		ring_behind_end(v->ring);
		v->behind_to = 0;
	}
	if (v->serving)
		checkpoint_release(v);
	else if (!v->serve_pending &&
		 (apply_is_stuck(v) || punch_idle_due(v, atomic_load(&v->apply.ended_ns)) ||
			 (space_hungry(v) && tree_freed_blocks(v->tree) &&
				 now_ns - atomic_load(&v->apply.ended_ns) > NS_PER_S)))
		apply_checkpoint(v);
	if (v->serving && !v->stopping && ll_ended(v->ll))
		volume_restart(
			v, "somebody unmounted the volume: it is confirmed and mounted again");
	volume_held_look(v);
	for (unsigned i = 0; i < REPLICAS_MAX; i++)
		fetch_go_on(v, i);
	if (v->facts.bad_starts && now_ns - v->started_ns > GOOD_START_NS &&
		v->facts.bad_starts < 3) {
		char path[4200];
		struct err e = {0};

		v->facts.bad_starts = 0;
		volume_path(v, "facts", path, sizeof(path));
		if (facts_store(path, &v->facts, &e))
			log_error("%s", e.msg);
	}
}

/* --- start --- */

static int open_signals(struct volume *v, struct err *e)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL); /* before any thread is made */
	sigdelset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	v->signal_source.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (v->signal_source.fd < 0)
		return err_set(e, -errno, "signalfd: %s", strerror(errno));
	v->signal_source.events = EPOLLIN;
	v->signal_source.ready = signal_ready;
	return loop_add(v->loop, &v->signal_source);
}

static int open_scratch(struct volume *v, struct err *e)
{
	v->scratch_fd = open(v->cfg->directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (v->scratch_fd < 0)
		return err_set(e, -errno, "a scratch file in '%s': %s", v->cfg->directory,
			strerror(errno));
	pthread_mutex_init(&v->park_mutex, NULL);
	pthread_mutex_init(&v->forgotten_mutex, NULL);
	v->parked_tail = &v->parked;
	return 0;
}

static void fill_net(const struct volume *v, struct net_config *n)
{
	const struct config *cfg = v->cfg;

	n->cluster = v->desc.cluster;
	n->volume = v->desc.volume;
	n->self = v->self;
	snprintf(n->domain, sizeof(n->domain), "%s", cfg->domain);
	snprintf(n->listen, sizeof(n->listen), "%s", cfg->listen);
	n->bulk = true;
	n->tls = cfg->tls;
	snprintf(n->ca, sizeof(n->ca), "%s", cfg->ca);
	snprintf(n->certificate, sizeof(n->certificate), "%s", cfg->certificate);
	snprintf(n->key, sizeof(n->key), "%s", cfg->key);
	n->npeers = v->record.nreplicas;
	for (unsigned i = 0; i < n->npeers; i++) {
		n->peers[i].replica = v->record.replicas[i].uuid;
		snprintf(n->peers[i].domain, sizeof(n->peers[i].domain), "%s",
			v->record.replicas[i].domain);
		for (unsigned k = 0; k < cfg->npeers; k++)
			if (!strcmp(cfg->peers[k].domain, v->record.replicas[i].domain))
				snprintf(n->peers[i].address, sizeof(n->peers[i].address), "%s",
					cfg->peers[k].address);
	}
	n->connect_timeout_ns = 3 * NS_PER_S;
	n->handshake_timeout_ns = 3 * NS_PER_S;
	n->backoff_min_ns = 100 * NS_PER_MS;
	n->backoff_max_ns = 2 * NS_PER_S;
	n->silence_ns = v->died ? DIED_NS : 0;
}

static int check_peers(const struct volume *v, struct err *e)
{
	for (unsigned i = 0; i < v->record.nreplicas; i++) {
		bool found = uuid_equal(&v->record.replicas[i].uuid, &v->self);

		for (unsigned k = 0; k < v->cfg->npeers && !found; k++)
			found = !strcmp(v->cfg->peers[k].domain, v->record.replicas[i].domain);
		if (!found)
			return err_set(e, -EINVAL,
				"%s has no [peer %s], where this volume has a replica",
				v->cfg->path, v->record.replicas[i].domain);
	}
	return 0;
}

static int pos_at(void *ctx, uint64_t seq, struct pos *ret_pos)
{
	return ring_pos_at(((struct volume *)ctx)->ring, seq, ret_pos);
}

static int open_world(struct volume *v, const struct core_log *log, struct err *e)
{
	struct core_config cc = {.self = v->self,
		.heartbeat_ns = v->cfg->heartbeat_ns,
		.peer_timeout_ns = v->cfg->timeout_ns,
		.pos_at = pos_at,
		.pos_ctx = v};
	struct net_callbacks cb;
	struct net_config *n;
	int r;

	/* A suspect replica has used nothing of what was kept. That must be over before it can serve again. */
	if (v->facts.bad_starts >= 3)
		volume_held_look(v);
	cc.held = v->mount_held;
	snprintf(cc.volume_name, sizeof(cc.volume_name), "%s", v->cfg->name);
	r = core_new(&cc, &v->record, &v->facts, log, clock_mono_ns(), &v->core);
	if (r)
		return err_set(e, r, "the record does not fit this replica: %s", strerror(-r));
	r = recovering_hand_over(v, e);
	if (r)
		return r;
	n = calloc(1, sizeof(*n));
	ensure(n);
	fill_net(v, n);
	volume_net_callbacks(v, &cb);
	r = net_open(v->loop, n, &cb, &v->net, e);
	free(n);
	return r;
}

static int volume_open(struct volume *v, struct err *e)
{
	struct core_log *log = calloc(1, sizeof(*log));
	int r;

	ensure(log);
	r = loop_new(&v->loop);
	if (!r)
		r = open_signals(v, e);
	if (!r) /* first of all: a second daemon must not take the holder's connection from the first */
		r = volume_lock(v->cfg, &v->lock_fd, e);
	if (!r)
		r = volume_kept_open(v, e);
	if (!r)
		r = payload_pool_new(RX_POOL_SIZE, NULL, NULL, &v->rx_pool);
	if (!r)
		r = volume_held_find(v, e);
	if (!r)
		r = volume_recover(v, log, e);
	if (!r)
		preflight(v->cfg->directory);
	if (!r)
		r = check_peers(v, e);
	if (!r)
		r = open_scratch(v, e);
	if (!r)
		r = jobs_start(v);
	if (r) {
		free(log);
		return r;
	}
	volume_stage_init(v);
	pull_init(v);
	resync_init(v);
	repair_init(v);
	apply_init(v);
	volume_held_read(v);
	r = open_world(v, log, e);
	free(log);
	if (r)
		return r;
	apply_start(v);
	v->uring_source.fd = uring_fd(v->uring);
	v->uring_source.events = EPOLLIN;
	v->uring_source.ready = uring_ready;
	r = loop_add(v->loop, &v->uring_source);
	v->tick_timer.expired = tick_expired;
	v->stop_timer.expired = stop_expired;
	v->status_timer.expired = status_expired;
	loop_timer_set(v->loop, &v->status_timer, clock_mono_ns());
	return r;
}

/* --- end --- */

/* A last checkpoint, when everything is committed; then nothing is left to replay. On a disk that hangs or is full it
 * is not waited for: what is cut off is what a crash cuts off. */
static void last_checkpoint(struct volume *v)
{
	struct timespec pause = {.tv_nsec = 2 * 1000 * 1000};
	uint64_t seq = core_end(v->core).seq, until = clock_mono_ns() + LAST_FLUSH_NS;

	if (!v->serving || !volume_drained(v) || core_commit(v->core) != seq)
		return;
	if (v->checkpoint.state != CHECKPOINT_IDLE || segments_sync(v->segments))
		return;
	space_make_way(v);
	tree_set_data_seq(v->tree, seq);
	tree_write_freed(v->tree);
	if (tree_flush_txn(v->tree) || store_flush_begin(v->store))
		return;
	while (!store_flush_done(v->store) && !store_failed(v->store, NULL) &&
		clock_mono_ns() < until)
		nanosleep(&pause, NULL);
}

static void volume_close(struct volume *v)
{
	if (v->serving && volume_drained(v) && ll_can_hand_over(v->ll))
		last_checkpoint(v); /* reading goes on meanwhile */
	if (!volume_hand_over(v)) {
		volume_held_close(v);
		volume_fail_all(v, -EIO);
		if (v->ll)
			ll_unmount(v->ll, 2000);
		last_checkpoint(v);
	}
	pull_stop(v);
	apply_stop(v);
	net_close(v->net);
	control_close(v->control);
	log_info("stopped");
}

/* Everything that uses the volume waits when it dies. Not -1000, as the holder: its memory is bounded, but if that
 * bound is ever broken the machine must be able to end it, and it comes back by recovery. */
static void spare_from_oom(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "-900", 4) != 4)
		log_debug("not spared by the OOM killer: %s", strerror(errno));
	if (fd >= 0)
		close(fd);
}

static void polling_start(struct volume *v)
{
	v->polling.limit_ns = v->cfg->poll_ns != UINT64_MAX
				      ? v->cfg->poll_ns
				      : polling_limit(polling_processors(sched_getaffinity),
						"/sys/fs/cgroup", "/proc/self/cgroup");
}

/* One turn of the loop. */
static int wait_turn(struct volume *v)
{
	bool under_way = v->flights || v->staged;
	int r;

	loop_poll(v->loop, polling_window(&v->polling, under_way));
	r = loop_run_once(v->loop, UINT64_MAX);
	polling_waited(&v->polling, under_way, loop_waited_ns(v->loop), loop_polled(v->loop));
	return r;
}

int volume_run(const struct config *cfg, char **argv)
{
	struct volume *v = calloc(1, sizeof(*v));
	struct err e = {0};
	int r;

	ensure(v);
	v->cfg = cfg;
	v->argv = argv;
	v->lock_fd = -1;
	volume_again_init(v);
	pthread_mutex_init(&v->flushed_mutex, NULL);
	v->random = random_u64();
	v->started_ns = clock_mono_ns();
	log_set_prefix(cfg->name);
	prctl(PR_SET_NAME, "tandemfs"); /* one that started itself again was called "exe" */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); /* the kernel may need us to free its memory */
	spare_from_oom();
	r = volume_open(v, &e);
	if (r) {
		bool waits = r == -EPROTONOSUPPORT && v->held_newer;
		char advice[1500];

		if (!v->damaged)
			recovering_stop(v);
		if (v->mount_held && v->lock_fd >= 0 && !v->recovered && !waits) {
			log_error("everything on the mount that the holder kept fails now");
			volume_held_close(v);
		}
		control_close(v->control);
		log_error("%s", e.code ? e.msg : strerror(-r));
		if (cfg->holder && (!v->mount_held || waits) && r != -EWOULDBLOCK)
			volume_held_waits(v);
		volume_advise(v, r, advice, sizeof(advice));
		if (advice[0])
			log_error("%s", advice);
		return damaged_stay(v, &e, advice);
	}
	notify_ready("standby");
	volume_tick(v);
	watchdog_start(&v->watchdog);
	polling_start(v);
	while (!v->quit) {
		r = wait_turn(v);
		watchdog_turn(&v->watchdog);
		if (r)
			volume_die(v, "the event loop failed: %s", strerror(-r));
		uring_reap_ready(v->uring);
		jobs_reap(v);
		volume_unpark(v);
		control_probe_work(v);
		if (!v->serving) {
			standby_work(v);
			volume_serve_work(v);
		}
		volume_stage_work(v);
		checkpoint_work(v);
		space_work(v);
		punch_work(v);
		pull_work(v);
		resync_work(v);
		uring_submit(v->uring);
		if ((v->serving || v->serve_pending) && v->stop_staging && !v->stopping &&
			!v->drained_told && volume_drained(v)) {
			v->drained_told = true;
			volume_step(v, &(struct core_event){.type = EV_DRAINED});
		}
		if (v->stopping)
			volume_stop_work(v);
	}
	watchdog_stop(&v->watchdog);
	volume_close(v);
	return v->exit_status;
}
