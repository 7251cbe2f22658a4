/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Becoming active, ceasing to be, and stopping.
 *
 * Serving: the core has made the new epoch durable and the old one refused. The apply thread brings
 * the tree to the end of the history (all of it counts as committed now), then this thread takes the
 * tree over, makes the epoch's data segments known, mounts, and stages. Operators' answers wait until
 * the mount stands.
 *
 * Leaving: whatever the reason, everything on the mount fails with EIO, what the kernel cached is
 * invalidated, the mount goes away, and the process starts again in place as a standby. There is no
 * other way back: what was staged lives in RocksDB's memtable and vanishes with the process (I5).
 *
 * Stopping: no more requests, at most 10 s for what is staged, the peer is told, checkpoint, unmount.
 * A courtesy only; nothing at start depends on it (I11). With a holder the mount is not taken away but left
 * with it (ll_held.c), and what still waits for a peer is asked again of the next daemon.
 */
#include "volume_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "notify.h"

void volume_serve(struct volume *v, struct epoch epoch)
{
	ensure(!v->serving && !v->serve_pending);
	v->epoch = epoch;
	v->serve_pending = true;
	atomic_store(&v->apply.wake, true);
	apply_target(v, core_end(v->core).seq);
	log_info("epoch %u is established; bringing the tree to seq %llu", epoch.num,
		(unsigned long long)core_end(v->core).seq);
	volume_serve_work(v);
}

static void mount_again(struct loop_timer *t, uint64_t now_ns)
{
	/* the loop's turn runs volume_serve_work() */
}

struct ll_config volume_mount_config(const struct volume *v)
{
	return (struct ll_config){.mountpoint = v->cfg->mount,
		.volume_name = v->cfg->name,
		.threads = v->cfg->threads,
		.suid = v->cfg->suid,
		.dev = v->cfg->dev,
		.ack_fsync = v->cfg->ack == CONFIG_ACK_FSYNC,
		.holder = v->holder,
		.volume = &v->desc.volume,
		.kept = v->kept.h ? &v->kept : NULL};
}

static void mount_stands(struct volume *v)
{
	/* What is in the history is committed, and may be answered from now on. */
	atomic_store(&ll_kept(v->ll)->h->committed, core_commit(v->core));
	ll_executed_ready(v->ll);
	v->mount_trouble[0] = '\0';
	v->mount_held = false;
	kept_close(&v->held_kept); /* copied, or of no more use */
}

/* What is in the way of the mount is a person's to clear, and perhaps gone in a moment (a boot in
 * disorder): tried again each second, and status says it. */
static bool mount_now(struct volume *v)
{
	struct ll_config c;
	struct err e = {0};

	if (v->ll) { /* since volume_held_read() */
		mount_stands(v);
		return true;
	}
	if (v->mount_timer.slot)
		return false;
	if (!volume_held_open(v, &e)) {
		c = volume_mount_config(v);
		if (!ll_mount(v, &c, &v->ll, &e)) {
			mount_stands(v);
			return true;
		}
	}
	volume_held_close(v); /* what it mounted for this attempt goes */
	if (strcmp(v->mount_trouble, e.msg))
		log_error("cannot mount, trying again each second: %s", e.msg);
	snprintf(v->mount_trouble, sizeof(v->mount_trouble), "%s", e.msg);
	for (unsigned i = 0; i < v->nheld; i++)
		control_answer_core(v, v->held[i].id, e.code, e.msg);
	v->nheld = 0;
	v->mount_timer.expired = mount_again;
	loop_timer_set(v->loop, &v->mount_timer, clock_mono_ns() + NS_PER_S);
	return false;
}

/* The tree is at the end of the history: this thread owns it from now on. */
static void take_over(struct volume *v)
{
	struct err e = {0};

	apply_stop(v);
	/* On a full disk reading and deleting must go on; space.c tries again. */
	if (segments_add_epoch(v->segments, v->epoch, &e) && e.code != -ENOSPC)
		volume_die(v, "data segments of epoch %u: %s", v->epoch.num, e.msg);
	v->next_block = 0;
	/* What came before was limited by whoever was active then. */
	meta_note(&v->space.ledger, 0, store_written_bytes(v->store));
	if (tree_find_garbage(v->tree))
		volume_die(v, "the metadata store cannot be read");
	volume_stage_begin(v);
	/* Nobody looks after these two from here on. */
	v->ack_withheld = false;
	if (v->rx_paused) {
		v->rx_paused = false;
		net_resume(v->net);
	}
	/* What was replayed and applied is to be flushed as what is staged from here on. */
	v->checkpoint.entries = v->apply.entries_since_checkpoint;
	v->checkpoint.release_seq = atomic_load(&v->apply.data_seq);
	v->taken_over = true;
	if (punch_settle(v))
		volume_die(v, "the list of what was given back cannot be shortened");
}

/* Goes on once the apply thread has reached the end. */
void volume_serve_work(struct volume *v)
{
	unsigned held;

	if (!v->serve_pending || atomic_load(&v->apply.applied) < core_end(v->core).seq)
		return;
	if (!v->taken_over)
		take_over(v);
	if (!mount_now(v))
		return;
	v->serve_pending = false;
	v->serving = true;
	v->reap_again = true;
	v->reap_at_ns = 0;
	volume_status_event(v);
	log_info("active: mounted at '%s' in epoch %u", v->cfg->mount, v->epoch.num);
	notify_ready("active");
	held = v->nheld;
	v->nheld = 0;
	for (unsigned i = 0; i < held; i++)
		control_answer_core(v, v->held[i].id, v->held[i].code, v->held[i].text);
	loop_wake(v->loop);
}

void volume_fence(struct volume *v, const char *text)
{
	char reason[CORE_TEXT_MAX];

	snprintf(reason, sizeof(reason), "%s", text ? text : "fenced");
	log_warn("leaving the active role: %s", reason);
	if (v->ll)
		ll_fence_begin(v->ll);
	volume_fail_all(v, -EIO);
	if (v->ll) {
		volume_held_close(v); /* the mount ends, also if this process dies in between */
		ll_fence(v->ll, FENCE_MS);
	}
	volume_restart(v, reason);
}

static void unmount_run(struct job *j)
{
	ll_unmount_idle(j->v->ll, UNMOUNT_MS);
	ll_unref(j->v->ll);
}

static void unmount_done(struct job *j)
{
	j->v->unmounting = false;
	j->v->stop_staging = true;
	volume_stop_work(j->v);
}

/* SIGTERM or SIGINT; a second one does not wait. First the mount goes, if nobody uses it: the kernel
 * writes its dirty pages back, which this thread has to commit. Then nothing more is staged. With a holder
 * nothing more is staged at once, and what is asked from now on waits. */
void volume_stop(struct volume *v)
{
	if (v->stopping) {
		v->quit = true;
		return;
	}
	log_info("stopping");
	notify_stopping();
	v->stopping = true;
	loop_timer_set(v->loop, &v->stop_timer, clock_mono_ns() + STOP_NS);
	if (v->ll && !ll_can_hand_over(v->ll)) {
		v->unmounting = true;
		ll_ref(v->ll); /* the job's: who is told twice to stop does not wait for it */
		v->unmount_job.run = unmount_run;
		v->unmount_job.done = unmount_done;
		job_submit(v, &v->unmount_job);
		return;
	}
	v->stop_staging = true;
	volume_stop_work(v);
}

void volume_stop_work(struct volume *v)
{
	bool late = clock_mono_ns() >= v->stop_timer.at_ns;

	if (!v->stopping || v->quit || v->unmounting)
		return;
	if (v->serving && !volume_drained(v) && !late)
		return;
	if (late && v->serving && !volume_drained(v))
		log_warn("%u operations still wait for a peer; %s", v->waiting,
			v->ll && ll_can_hand_over(v->ll) ? "they wait for the next start"
							 : "they end with an error");
	volume_step(v, &(struct core_event){.type = EV_STOP});
	v->quit = true;
}
