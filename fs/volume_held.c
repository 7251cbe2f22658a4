/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume's side of a mount that outlives the daemon: ll_held.c says what is left with the holder and how it
 * is taken over, here is when.
 *
 * Left: at a clean stop, if nothing waits for a peer. Taken over: when this replica serves again, in place of
 * a new mount. It must be the active one for that by its record, as for every mount, and everyone in the
 * in-sync set must agree: until then what is asked on the mount waits.
 *
 * Failure modes: this replica was left out, or another one was promoted meanwhile: as soon as the record says
 * so everything on the mount fails, as with a fence. The stop of a standby concerns no holder. A process that
 * ends in any other way than the clean stop has its mount end with it, because the connection to the holder
 * ends: the holder is asked for nothing then.
 */
#include "volume_impl.h"

#include <errno.h>
#include <stdio.h>

#include "holder.h"
#include "log.h"

static void holder_path(const struct volume *v, char *buf, size_t size)
{
	snprintf(buf, size, "%s/%s.holder", v->cfg->run_dir, v->cfg->name);
}

void volume_held_close(struct volume *v)
{
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

int volume_held_find(struct volume *v, struct err *e)
{
	struct holder_mount m;
	char path[4200];
	int r = -ENOENT;

	holder_path(v, path, sizeof(path));
	if (v->cfg->holder)
		r = holder_open(path, false, &v->holder, NULL);
	if (r)
		return ll_clear_stale(v->cfg->mount, v->cfg->name, e);
	r = holder_state(v->holder, &m, e);
	if (r)
		return r;
	v->mount_held = m.fd >= 0;
	holder_mount_close(&m);
	if (!v->mount_held)
		return ll_clear_stale(v->cfg->mount, v->cfg->name, e);
	log_info("the holder has '%s' mounted since an earlier process", v->cfg->mount);
	return 0;
}

static bool named_active(const struct volume *v)
{
	return uuid_equal(&core_record(v->core)->active, &v->self) && !v->facts.demoted;
}

void volume_held_look(struct volume *v)
{
	struct ll_config c = {.mountpoint = v->cfg->mount,
		.volume_name = v->cfg->name,
		.threads = v->cfg->threads,
		.holder = v->holder,
		.fenced = true};
	struct err e = {0};
	struct ll *l;

	if (!v->mount_held || v->serving || v->serve_pending || named_active(v))
		return;
	v->mount_held = false;
	log_warn("this replica is not the active one: everything on the mount that the holder kept "
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

	if (!v->ll || !v->serving || !v->holder || !ll_can_hand_over(v->ll))
		return false;
	if (!volume_drained(v))
		e.code = err_set(&e, -EBUSY, "operations still wait for a peer");
	else
		ll_hand_over(v->ll, v->holder, &e);
	if (e.code)
		log_warn("the mount is not left with the holder: %s", e.msg);
	return !e.code;
}
