/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume's side of a mount that outlives the daemon: ll_held.c says what is left with the holder and how it
 * is taken over, here is when.
 *
 * Left: from the moment it is served, for a daemon that is killed, and at a clean stop, also if operations wait for a
 * peer then: they are in the kernel's list and wait for the next one. Whatever ends the mount on purpose (a fence, an
 * I/O error) tells the holder first, so that the mount ends with the process.
 *
 * Taken over: at once after recovery, for what only reads (I10), if this replica is the active one by its record: all
 * that was answered is in the tree then, because the last commit index that answers were given for is kept, too, and
 * under ack=fsync the last seq; what lies above it is nobody's knowledge yet. What changes something is queued until
 * this replica serves, and for that everyone in the in-sync set must agree. (After a clean stop of an earlier build
 * everything waits until then.) Under ack=fsync the journal may end before what was answered: it comes from memory
 * first (volume_kept.c). What is in the tree and not committed is not flushed (I5).
 *
 * Exactly once: the history that is served then holds every operation that was answered, and some that were not.
 * An operation is answered after the commit index has passed it, and a batch carries a commit index only after
 * that; so what is at or below the commit index found by recovery was answered, and what lies above may be asked
 * for again (under ack=fsync most of it was answered, too, and is not asked for). Each of those is applied by this process, once, before it serves: volume_held_apply() notes it in
 * what the holder keeps first, so that it is known to every later daemon too, also when this one dies before it
 * serves and has flushed it meanwhile. volume_held_executed() finds it when its request is sent again.
 *
 * Failure modes: this replica was left out, or another one was promoted meanwhile: as soon as the record says
 * so everything on the mount fails, as with a fence; so, too, where this replica is suspect, or its recovery
 * fails, because nobody would answer for a long time; and where the history that was recovered lacks something that
 * was answered. A start that fails before this process has the replica leaves the mount waiting, and says so each
 * time; so does one that finds what a newer build kept while this replica is the active one: put back, that build goes
 * on with it, and nothing is lost. The stop of a standby concerns no holder. What the dead
 * daemon had staged and what reached neither journal is executed when it is sent again; a reader that looked
 * past the page cache in that moment sees it go and come.
 */
#include "volume_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "holder.h"
#include "log.h"

static void holder_path(const struct volume *v, char *buf, size_t size)
{
	snprintf(buf, size, "%s/%s.holder", v->cfg->run_dir, v->cfg->name);
}

void volume_held_close(struct volume *v)
{
	if (v->holder)
		holder_take(v->holder, NULL); /* the mount shall not outlive the connection */
	holder_close(v->holder);
	v->holder = NULL;
}

int volume_check_mountpoint(const struct volume *v, struct err *e)
{
	return v->mount_held ? 0 : ll_check_mountpoint(v->cfg->mount, e);
}

int volume_held_open(struct volume *v, struct err *e)
{
	char path[4200];

	if (!v->cfg->holder || v->holder)
		return 0;
	holder_path(v, path, sizeof(path));
	return holder_open(path, true, &v->holder, e);
}

/* What somebody else has mounted there is in the way of serving alone, and perhaps gone by then. */
static int clear_stale(const struct volume *v, struct err *e)
{
	int r = ll_clear_stale(v->cfg->mount, v->cfg->name, e);

	if (r != -EEXIST)
		return r;
	log_warn("%s", e->msg);
	*e = (struct err){0};
	return 0;
}

int volume_held_find(struct volume *v, struct err *e)
{
	struct holder_mount m;
	char path[4200];
	int r = -ENOENT;

	holder_path(v, path, sizeof(path));
	if (v->cfg->holder)
		r = holder_open(path, false, &v->holder, NULL);
	if (r)
		return clear_stale(v, e);
	r = holder_state(v->holder, &m, e);
	if (r)
		return r;
	v->mount_held = m.fd >= 0;
	v->held_id = m.mount_id;
	if (m.kept_fd >= 0) /* what is wrong with it is said once this process has the replica */
		v->held_newer = kept_map(m.kept_fd, &v->held_kept, NULL) == -EPROTONOSUPPORT;
	m.kept_fd = -1;
	holder_mount_close(&m);
	if (!v->mount_held)
		return clear_stale(v, e);
	log_info("the holder has '%s' mounted since an earlier process", v->cfg->mount);
	return 0;
}

void volume_held_waits(const struct volume *v)
{
	if (!v->recovered && ll_is_mounted(v->cfg->mount, v->cfg->name))
		log_error("'%s' is still mounted: what is asked of it waits until this daemon "
			  "starts. To give "
			  "it up, with errors: 'umount -f %s'",
			v->cfg->mount, v->cfg->mount);
}

static bool may_serve(const struct volume *v)
{
	return v->facts.bad_starts < 3 && uuid_equal(&core_record(v->core)->active, &v->self) &&
	       !v->facts.demoted;
}

void volume_held_look(struct volume *v)
{
	struct ll_config c = {.mountpoint = v->cfg->mount,
		.volume_name = v->cfg->name,
		.threads = v->cfg->threads,
		.holder = v->holder,
		.volume = &v->desc.volume,
		.fenced = true};
	struct err e = {0};
	struct ll *l;

	if (!v->mount_held || v->serving || v->serve_pending || may_serve(v))
		return;
	if (v->ll)
		volume_fence(v, "the mount was kept, and this replica may not serve it any more");
	v->mount_held = false;
	log_warn("this replica is not the active one, or suspect: everything on the mount that the "
		 "holder kept "
		 "fails now");
	if (ll_mount(v, &c, &l, &e))
		log_warn("it is aborted: %s", e.msg);
	else
		ll_fence(l, FENCE_MS);
	volume_held_close(v);
}

bool volume_hand_over(struct volume *v)
{
	struct err e = {0};

	if (!v->ll || !v->holder || !ll_can_hand_over(v->ll))
		return false;
	ll_hand_over(v->ll, v->holder, &e);
	/* The holder keeps the mount since before the first request; a worker ends with the process, as by a kill. */
	if (e.code == -EBUSY) {
		log_warn("'%s' stays mounted, left with the holder as by a kill: %s", v->cfg->mount,
			e.msg);
		return true;
	}
	if (e.code)
		log_warn("the mount is not left with the holder: %s", e.msg);
	return !e.code;
}

static bool active_by_record(const struct volume *v)
{
	return v->facts.bad_starts < 3 && uuid_equal(&v->record.active, &v->self) &&
	       !v->facts.demoted;
}

int volume_held_version(const struct volume *v, struct err *e)
{
	if (!v->held_newer || !active_by_record(v))
		return 0;
	return err_set(e, -EPROTONOSUPPORT,
		"a newer build of tandemfs left '%.80s' mounted, and this one does not understand "
		"what it kept: start that build again. Nothing was changed",
		v->cfg->mount);
}

bool volume_held_usable(const struct volume *v, struct err *e)
{
	return v->held_kept.h && active_by_record(v) &&
	       !kept_check(v->held_kept.h, v->held_id, &v->desc.volume, e);
}

uint64_t volume_held_applied(struct volume *v, uint64_t commit)
{
	return v->held_kept.h && active_by_record(v)
		       ? MAX(commit, atomic_load(&v->held_kept.h->answered))
		       : commit;
}

uint64_t volume_held_committed(struct volume *v, uint64_t end)
{
	struct err e = {0};
	uint64_t seq, answered;

	if (!v->held_kept.h || !active_by_record(v))
		return v->commit_found;
	seq = atomic_load(&v->held_kept.h->committed);
	answered = MAX(seq, atomic_load(&v->held_kept.h->answered));
	if (volume_held_usable(v, &e) && answered > end)
		err_set(&e, -EBADMSG, "the journal ends at seq %llu, but %llu was answered",
			(unsigned long long)end, (unsigned long long)answered);
	if (!e.code)
		return MAX(seq, v->commit_found);
	log_error("the mount that the holder kept is aborted: %s", e.msg);
	kept_close(&v->held_kept);
	v->mount_held = false;
	volume_held_close(v);
	return v->commit_found;
}

void volume_held_read(struct volume *v)
{
	struct ll_config c = volume_mount_config(v);
	struct err e = {0};

	if (!v->held_kept.h || !active_by_record(v))
		return;
	if (!ll_mount(v, &c, &v->ll, &e))
		return;
	log_error("%s", e.msg);
	v->mount_held = false;
	volume_held_close(v);
}

int volume_held_apply(struct volume *v, const struct entry *e)
{
	struct op op = {.type = e->h.type};
	int r;

	if (!v->held_kept.h || e->h.seq <= v->commit_found ||
		e->h.mount_id != v->held_kept.h->mount_id)
		return apply_entry(v->tree, e, NULL);
	r = apply_entry(v->tree, e, &op);
	if (!r)
		kept_window_add(v->ll ? ll_kept(v->ll) : &v->held_kept,
			&(struct kept_done){.unique = e->h.unique,
				.seq = e->h.seq,
				.ino = op.result.ino,
				.orphan = op.orphan,
				.type = e->h.type});
	return r;
}

int volume_held_executed(struct volume *v, struct op *op)
{
	const struct kept_done *d = ll_executed(v->ll, op->unique);
	int r = 0;

	if (!d)
		return -ENOENT;
	op->seq = d->seq;
	op->orphan = d->orphan;
	if (d->type != op->type)
		r = -EIO;
	else if (d->ino)
		r = tree_inode(v->tree, d->ino, &op->result);
	if (!r)
		return 0;
	log_error("request %llu was executed as entry %llu, but cannot be answered: %s",
		(unsigned long long)op->unique, (unsigned long long)d->seq, strerror(-r));
	return -EIO;
}
