/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The answer to "status" on the control socket: everything that this daemon knows of its volume, itself
 * and its peers. Reads only what is in memory; on the commit thread.
 */
#include "pull.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "resync.h"

static struct json *status_seq(struct volume *v, const struct tree_info *info)
{
	struct json *j = json_object();
	json_set_int(j, "staged",
		(int64_t)(v->batch_open ? batch_writer_end(&v->writer).seq
					: core_end(v->core).seq));
	json_set_int(j, "durable", (int64_t)core_durable(v->core));
	json_set_int(j, "committed", (int64_t)core_commit(v->core));
	json_set_int(j, "applied",
		(int64_t)(v->serving ? info->applied.seq : atomic_load(&v->apply.applied)));
	json_set_int(j, "flushed", (int64_t)flushed_pos(v).seq);
	return j;
}

static struct json *status_space(struct volume *v, const struct tree_info *info)
{
	struct json *j = json_object();
	struct volume_space s;

	volume_space(v, &s);
	json_set_int(j, "size", (int64_t)(info->size_blocks * BLOCK_SIZE));
	json_set_int(j, "used", (int64_t)(info->used_blocks * BLOCK_SIZE));
	json_set_int(j, "free", (int64_t)(s.blocks_free * BLOCK_SIZE));
	json_set_int(j, "live", (int64_t)(info->used_blocks * BLOCK_SIZE));
	json_set_int(j, "dead", (int64_t)(tree_freed_blocks(v->tree) * BLOCK_SIZE));
	json_set_int(j, "allocated", (int64_t)segments_disk_bytes(v->segments));
	json_set_bool(j, "full", space_hungry(v));
	json_set_int(j, "ballast", (int64_t)ballast_size(&v->space.ballast));
	json_set_int(j, "inodes", (int64_t)info->inodes);
	json_set_int(j, "disk_free", (int64_t)atomic_load(&v->disk_free));
	json_set_int(j, "disk_total", (int64_t)atomic_load(&v->disk_total));
	json_set_int(j, "meta_bytes", (int64_t)store_disk_bytes(v->store));
	return j;
}

/* Bytes and age of what a peer has not acknowledged, as far as it is still in memory. */
static void lag_of(struct volume *v, uint64_t acked, uint64_t *ret_bytes, uint64_t *ret_ns)
{
	uint64_t now = clock_mono_ns();

	*ret_bytes = 0;
	*ret_ns = 0;
	for (struct slot *s = v->slots; s; s = s->next) {
		if (!s->h.count || batch_last_seq(&s->h) <= acked)
			continue;
		*ret_bytes += batch_size(&s->h);
		if (!*ret_ns && s->closed_ns)
			*ret_ns = now - s->closed_ns;
	}
}

static double peer_since_s(
	struct volume *v, unsigned i, enum core_peer_state state, uint64_t now_ns);

static struct json *status_peer(struct volume *v, unsigned i)
{
	const struct record_replica *r = &core_record(v->core)->replicas[i];
	uint64_t end = core_end(v->core).seq, bytes, ns;
	struct json *j = json_object(), *space = json_object();
	struct core_peer_view p;
	char uuid[UUID_TEXT_SIZE], text[512];
	struct json *pull;
	const char *trouble;

	core_peer_view(v->core, i, &p);
	trouble = net_trouble(v->net, i);
	json_set_string(j, "domain", r->domain);
	json_set_string(j, "replica", uuid_text(&r->uuid, uuid));
	for (unsigned k = 0; k < v->cfg->npeers; k++)
		if (!strcmp(v->cfg->peers[k].domain, r->domain)) {
			json_set_string(j, "address", v->cfg->peers[k].address);
			if (v->cfg->peers[k].node[0])
				json_set_string(j, "node", v->cfg->peers[k].node);
		}
	json_set_string(j, "state", core_peer_state_name(p.state));
	json_set_double(j, "state_since_s", peer_since_s(v, i, p.state, clock_mono_ns()));
	json_set_bool(j, "connected", p.connected);
	json_set_string(j, "security", net_security(v->net, i));
	if (p.last_heard_ns)
		json_set_double(j, "last_heard_s",
			(double)(clock_mono_ns() - p.last_heard_ns) / (double)NS_PER_S);
	else
		json_set_string(j, "last_heard_s", NULL);
	if (p.rtt_ns)
		json_set_double(j, "rtt_us", (double)p.rtt_ns / (double)NS_PER_US);
	else
		json_set_string(j, "rtt_us", NULL);
	lag_of(v, p.acked, &bytes, &ns);
	json_set_int(j, "lag_entries", (int64_t)(v->serving && end > p.acked ? end - p.acked : 0));
	json_set_int(j, "lag_bytes", (int64_t)(v->serving ? bytes : 0));
	json_set_double(j, "lag_s", v->serving ? (double)ns / (double)NS_PER_S : 0);
	json_set_int(j, "received", (int64_t)p.acked);
	json_set_int(j, "applied", (int64_t)p.applied);
	json_set_int(j, "flushed", (int64_t)p.flushed);
	json_set_int(space, "data_free", (int64_t)(p.grant.data_blocks * BLOCK_SIZE));
	if (p.grants) {
		json_set_int(space, "live", (int64_t)p.space.live);
		json_set_int(space, "dead", (int64_t)p.space.dead);
		json_set_int(space, "allocated", (int64_t)p.space.allocated);
		json_set_bool(space, "full", p.space.data_full || p.space.meta_full != META_ROOM);
	}
	json_set_int(space, "disk_free", (int64_t)p.grant.disk_free);
	json_set_int(space, "disk_total", (int64_t)p.grant.disk_total);
	json_set(j, "space", space);
	pull = pull_status(v, i, text, sizeof(text));
	if (pull)
		json_set(j, "pull", pull);
	json_set_string(j, "text",
		pull && p.state == CORE_PEER_BEYOND ? text
		: p.text[0]			    ? p.text
						    : trouble);
	return j;
}

static struct json *status_latency(struct volume *v)
{
	struct json *j = json_object(), *stages = json_object();

	json_set_int(j, "window_s", LATENCY_WINDOW_NS / NS_PER_S);
	json_set_int(j, "ops", (int64_t)latency_ops(&v->latency));
	for (unsigned s = 0; s < LATENCY_STAGES; s++) {
		struct json *x = json_object();

		json_set_double(x, "p50_us", (double)latency_quantile(&v->latency, s, 0.5) / 1e3);
		json_set_double(x, "p99_us", (double)latency_quantile(&v->latency, s, 0.99) / 1e3);
		json_set(stages, latency_name(s), x);
	}
	json_set(j, "stages", stages);
	return j;
}

/* The command that a person would type next, or "". After a fork there is none: 'activate' would bring
 * nothing back, and what must be done first is said with the peer's state. */
static void next_command(struct volume *v, char *buf, size_t size)
{
	const struct record *r = core_record(v->core);
	const char *silent = NULL;

	buf[0] = '\0';
	for (unsigned i = 0; i < r->nreplicas; i++) {
		struct core_peer_view p;

		if (i == core_self(v->core))
			continue;
		core_peer_view(v->core, i, &p);
		if (p.state == CORE_PEER_FORK) {
			snprintf(buf, size, "tandemctl resync %s --from %s --preview (to keep %s)",
				v->cfg->name, r->replicas[i].domain, r->replicas[i].domain);
			return;
		}
		if (p.connected && record_domain_inactive(r, r->replicas[i].domain))
			snprintf(buf, size, "tandemctl activate clusterdomain %s",
				r->replicas[i].domain);
		if (!p.connected && r->replicas[i].in_sync)
			silent = r->replicas[i].domain;
	}
	if (buf[0])
		return;
	if (v->facts.bad_starts >= 3)
		snprintf(buf, size, "dmesg (the errors of the disk below '%.150s')",
			v->cfg->directory);
	else if (v->facts.demoted)
		snprintf(buf, size, "tandemctl promote %s", v->cfg->name);
	else if (space_trouble(v)[0])
		snprintf(buf, size, "df %.200s (make room there, or delete files of the volume)",
			v->cfg->directory);
	else if (record_domain_inactive(r, v->cfg->domain))
		snprintf(buf, size,
			"tandemctl activate clusterdomain %s (forwarded to the active side)",
			v->cfg->domain);
	else if (silent && core_role(v->core) != CORE_ACTIVE)
		snprintf(buf, size,
			"tandemctl deactivate clusterdomain %s (only if %s is really lost)", silent,
			silent);
	else if (silent)
		snprintf(buf, size, "tandemctl deactivate clusterdomain %s (to go on without it)",
			silent);
	else if (uuid_is_zero(&r->active))
		snprintf(buf, size, "tandemctl promote %s", v->cfg->name);
	else if (v->expiry_text[0] && expiry_own_first(&v->expiry))
		snprintf(buf, size, "%s", EXPIRY_NEXT);
}

static void status_domains(struct volume *v, struct json *j)
{
	const struct record *r = core_record(v->core);
	struct json *in_sync = json_array(), *inactive = json_array();
	int active = record_find(r, &r->active);

	for (unsigned i = 0; i < r->nreplicas; i++)
		if (r->replicas[i].in_sync)
			json_append_string(in_sync, r->replicas[i].domain);
	for (unsigned i = 0; i < r->ninactive; i++)
		json_append_string(inactive, r->inactive[i]);
	json_set(j, "in_sync", in_sync);
	json_set(j, "inactive", inactive);
	json_set_string(j, "active_domain", active < 0 ? NULL : r->replicas[active].domain);
}

/* A standby's mount point is looked at before it is needed. */
static const char *trouble(const struct volume *v, struct err *e)
{
	if (v->mount_trouble[0])
		return v->mount_trouble;
	if (v->damaged_text[0])
		return v->damaged_text;
	if (!v->serving && !v->serve_pending && volume_check_mountpoint(v, e) &&
		e->code != -ENOTCONN)
		return e->msg;
	if (core_trouble(v->core)[0])
		return core_trouble(v->core);
	if (v->watchdog.text[0])
		return v->watchdog.text;
	return space_trouble(v)[0] ? space_trouble(v) : v->expiry_text;
}

/* Files of a few KiB, read when they have changed. */
static void expiry_check(struct volume *v)
{
	const char *certificate = v->cfg->certificate, *ca = v->cfg->ca;
	int64_t now_s = (int64_t)(clock_real_ns() / NS_PER_S);

	if (!v->cfg->tls)
		return;
	expiry_look(&v->expiry, certificate, ca);
	expiry_log(&v->expiry, certificate, ca, now_s);
	if (!expiry_words(
		    &v->expiry, certificate, ca, now_s, v->expiry_text, sizeof(v->expiry_text)))
		v->expiry_text[0] = '\0';
}

/* Since when it is so, in seconds; what is new is noted. */
static double trouble_since_s(struct volume *v, const char *text, uint64_t now_ns)
{
	return (double)(now_ns - since_note(&v->trouble_since, text, now_ns)) / (double)NS_PER_S;
}

static double peer_since_s(
	struct volume *v, unsigned i, enum core_peer_state state, uint64_t now_ns)
{
	const char *name = core_peer_state_name(state);

	return (double)(now_ns - since_note(&v->peer_since[i], name, now_ns)) / (double)NS_PER_S;
}

void control_status_look(struct volume *v, uint64_t now_ns)
{
	struct err e = {0};

	if (now_ns < v->since_look_ns)
		return;
	v->since_look_ns = now_ns + NS_PER_S;
	expiry_check(v);
	trouble_since_s(v, trouble(v, &e), now_ns);
	for (unsigned i = 0; i < core_record(v->core)->nreplicas; i++) {
		struct core_peer_view p;

		core_peer_view(v->core, i, &p);
		peer_since_s(v, i, p.state, now_ns);
	}
}

struct json *control_status(struct volume *v)
{
	struct err e = {0};
	struct json *j = json_object(), *x, *peers = json_array();
	const struct record *r = core_record(v->core);
	char uuid[UUID_TEXT_SIZE], text[256];
	struct tree_info info;
	const char *why;
	double seconds;

	tree_info(v->tree, &info);
	json_set_string(j, "volume", v->cfg->name);
	json_set_string(j, "uuid", uuid_text(&v->desc.volume, uuid));
	json_set_string(j, "replica", uuid_text(&v->self, uuid));
	json_set_string(j, "domain", v->cfg->domain);
	json_set_string(j, "role", core_role_name(core_role(v->core)));
	json_set_string(j, "mount", v->cfg->mount);
	json_set_string(j, "ack", v->cfg->ack == CONFIG_ACK_FSYNC ? "fsync" : "op");
	json_set_bool(j, "mounted", v->serving);
	json_set_bool(j, "held", v->serving && v->ll && ll_can_hand_over(v->ll));
	json_set_int(j, "epoch", r->epoch.num);
	snprintf(text, sizeof(text), "%016llx", (unsigned long long)r->epoch.id);
	json_set_string(j, "epoch_id", text);
	json_set_int(j, "record_version", (int64_t)r->version.number);
	json_set_int(j, "format_level", r->format_level);
	status_domains(v, j);
	why = trouble(v, &e);
	json_set_string(j, "trouble", why);
	seconds = trouble_since_s(v, why, clock_mono_ns());
	if (why[0])
		json_set_double(j, "trouble_since_s", seconds);
	next_command(v, text, sizeof(text));
	json_set_string(j, "next", text);
	json_set(j, "seq", status_seq(v, &info));
	x = json_object();
	json_set_string(x, "mode", uring_mode_name(v->uring));
	json_set_int(x, "size", (int64_t)ring_size(v->ring));
	json_set_int(x, "free", (int64_t)ring_free(v->ring));
	json_set_int(x, "first_seq", (int64_t)ring_first_seq(v->ring));
	json_set(j, "journal", x);
	json_set(j, "space", status_space(v, &info));
	json_set(j, "kept", resync_kept(v));
	json_set_int(j, "waiting_ops", v->waiting + v->nparked);
	json_set_double(j, "oldest_wait_s",
		v->staged ? (double)(clock_mono_ns() - v->staged->staged_ns) / (double)NS_PER_S
			  : 0);
	json_set_double(
		j, "uptime_s", (double)(clock_mono_ns() - v->started_ns) / (double)NS_PER_S);
	for (unsigned i = 0; i < r->nreplicas; i++)
		if (i != core_self(v->core))
			json_append(peers, status_peer(v, i));
	json_set(j, "peers", peers);
	json_set(j, "latency", status_latency(v));
	x = json_object();
	json_set_int(x, "ops", (int64_t)v->count_ops);
	json_set_int(x, "batches", (int64_t)v->count_batches);
	json_set_int(x, "bytes", (int64_t)v->count_bytes);
	json_set_int(x, "errors", (int64_t)v->count_errors);
	json_set_int(x, "checkpoints", (int64_t)atomic_load(&v->count_checkpoints));
	json_set_int(x, "waits", (int64_t)v->polling.waits);
	json_set_int(x, "waits_polled", (int64_t)v->polling.polled);
	json_set_int(x, "damaged", (int64_t)v->count_damaged);
	json_set_int(x, "repaired", (int64_t)v->count_repaired);
	json_set(j, "counters", x);
	return j;
}
