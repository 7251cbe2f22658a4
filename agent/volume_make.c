/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A volume in its steps:
 *
 *   1 draft     here: an address, the draft of a configuration
 *   2 draft     at each peer: the same, with this side's address; it answers with its own
 *   3 draft     here again, with the peers' addresses
 *   4 format    here: the descriptor
 *   5 join      at each peer, which publishes: its daemon starts as standby and waits
 *   6 publish   here: the daemon starts and mounts
 *
 * Where a site has several nodes, one is chosen before the first step (peer_nodes.h), and is in the drafts of both sides
 * from then on. When an earlier try's node does not answer any more another one is taken, until 4: after it somebody may
 * have joined there.
 *
 * Until 5 nothing runs anywhere. A crash of either side between two steps leaves drafts: the same command
 * goes on with them (replica_make.c), `delete volume` removes them. After 5 a peer has what is not a draft any
 * more; that it is of the same volume is told by the descriptor's UUID.
 *
 * Where two sites make a volume of one name at the same time, the one whose domain comes first in the alphabet
 * goes on and refuses the other (api.c); what it asks for at the other is done anew with its own draft.
 *
 * Deleting asks the peers first: while one of them cannot be reached this side keeps its replica, and the
 * command can be repeated, or said again with --local where the other site is gone for ever. A peer that is active
 * refuses (replica_ask.c): what is in use at one site is not removed from another.
 */
#include "volume_make.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "conf.h"
#include "log.h"
#include "peer_call.h"
#include "peer_nodes.h"
#include "peer_volume.h"

#define CALL_MS 60000u
#define BUSY_US 100000u
#define JOIN_MS 600000u /* it zeroes a journal ring */

struct told { /* to whom */
	const char *domain;
	const char *agent; /* its address; "": the agent of the node that has the volume there */
};

static int tell_once(const struct agent_config *c, const struct told *to, const char *volume,
	const char *path, const struct json *body, unsigned timeout_ms, const atomic_bool *stop,
	struct json **ret_j, struct err *e)
{
	char what[160];
	unsigned status;
	int ret;

	snprintf(what, sizeof(what), "the agent of '%s' at %.80s", to->domain, to->agent);
	ret = to->agent[0] ? agent_call(c, what, to->domain, to->agent, path, body, timeout_ms,
				     stop, &status, ret_j, e)
			   : peer_volume_call(c, to->domain, volume, path, body, timeout_ms, stop,
				     &status, ret_j, e);
	if (ret == -ENOENT) /* of a peer it means that there is no such volume */
		return (e->code = -ENOTCONN);
	if (ret || status == 200)
		return ret;
	ret = (int)json_get_int(*ret_j, "code", -EIO);
	err_set(e, ret < 0 ? ret : -EIO, "'%s' says: %s", to->domain,
		json_get_string(*ret_j, "error", "it cannot be done"));
	json_free(*ret_j);
	return e->code;
}

/* POST /v1/replicas/VOLUME/STEP at a peer. *ret_j: its answer, the caller's. What it still does for one who
 * asked before, and is gone, is waited for. */
static int tell(const struct agent_config *c, const struct told *to, const char *volume,
	const char *step, const struct json *body, unsigned timeout_ms, const atomic_bool *stop,
	struct json **ret_j, struct err *e)
{
	uint64_t until = clock_mono_ns() + timeout_ms * NS_PER_MS;
	char path[160];
	int ret;

	snprintf(path, sizeof(path), "/v1/replicas/%s/%s", volume, step);
	while ((ret = tell_once(c, to, volume, path, body, timeout_ms, stop, ret_j, e)) == -EBUSY &&
		clock_mono_ns() < until && !atomic_load(stop))
		usleep(BUSY_US);
	return ret;
}

static int tell_peer(const struct agent_config *c, const struct replica_spec *spec, unsigned i,
	const char *step, const struct json *body, unsigned timeout_ms, const atomic_bool *stop,
	struct json **ret_j, struct err *e)
{
	const struct told to = {spec->peers[i].domain, spec->peers[i].agent};

	return tell(c, &to, spec->volume, step, body, timeout_ms, stop, ret_j, e);
}

static void take_all_peers(const struct agent_config *c, struct replica_spec *spec)
{
	spec->npeers = c->npeers;
	for (unsigned i = 0; i < spec->npeers; i++) {
		spec->peers[i] = (struct replica_peer){0};
		snprintf(spec->peers[i].domain, sizeof(spec->peers[i].domain), "%s",
			c->peers[i].domain);
	}
}

/* ---- which nodes ---- */

/* An earlier try made a draft at a node that is not taken now. That it cannot be told is no reason to wait for it: a
 * draft is a name and a port, which the next one there takes over. */
static void give_up(const struct agent_config *c, const struct told *old, const char *volume,
	const char *node, const atomic_bool *stop)
{
	struct json *body = json_object(), *j;
	struct err e = {0};
	int ret = tell(c, old, volume, "remove", body, CALL_MS, stop, &j, &e);

	json_free(body);
	if (!ret)
		json_free(j);
	else if (ret != -ENOENT)
		log_warn("%s: the draft at node '%s' of '%s' stays there: %s", volume, node,
			old->domain, e.msg);
}

/* The peer i gets its node; what `taken` counts is to be released. */
static int take_node(const struct agent_config *c, struct replica_spec *spec, unsigned i,
	struct peer_node *taken, const atomic_bool *stop, struct err *e)
{
	struct replica_peer *p = &spec->peers[i];
	const struct agent_config_peer *there = peer_find(c, p->domain);
	struct peer_volume earlier = {0};
	char old[CONF_ADDRESS_SIZE] = "";
	struct err ignored = {0};
	int ret;

	if (!there || !c->certificate[0])
		return 0; /* the call says it */
	if (there->naddresses == 1 && !p->node[0]) {
		snprintf(p->agent, sizeof(p->agent), "%s", there->addresses[0]);
		return 0;
	}
	peer_volume_read(c, spec->volume, p->domain, &earlier);
	ret = peer_nodes_take(c, there, p->node, earlier.node, stop, taken, e);
	if (ret)
		return ret;
	snprintf(p->node, sizeof(p->node), "%s", taken->name);
	snprintf(p->agent, sizeof(p->agent), "%s", taken->address);
	log_info("%s: its replica of '%s' goes to node '%s' at %s", spec->volume, p->domain,
		p->node, p->agent);
	if (!earlier.node[0] || !strcmp(earlier.node, p->node))
		return 0;
	if (peer_nodes_find(c, there, earlier.node, false, stop, old, &ignored) == 0)
		give_up(c, &(struct told){p->domain, old}, spec->volume, earlier.node, stop);
	else
		log_warn("%s: the draft at node '%s' of '%s' stays there: %s", spec->volume,
			earlier.node, p->domain, ignored.msg);
	return 0;
}

/* It is formatted here, and its peer may have joined: no other node can be taken any more. */
static int keep_node(
	const struct agent_config *c, struct replica_spec *spec, unsigned i, struct err *e)
{
	struct replica_peer *p = &spec->peers[i];
	struct peer_volume v;

	if (!peer_volume_read(c, spec->volume, p->domain, &v))
		return 0;
	if (p->node[0] && v.node[0] && strcmp(p->node, v.node) != 0)
		return err_set(e, -EEXIST,
			"an earlier try made volume '%s' with node '%.60s' of '%s': repeat that, "
			"or "
			"first 'tandemctl delete volume %s'",
			spec->volume, v.node, p->domain, spec->volume);
	snprintf(p->node, sizeof(p->node), "%s", v.node);
	return 0;
}

/* ---- the steps ---- */

/* The spec as the peer i sees it: this site in its place. */
static struct json *spec_for(const struct agent_config *c, const struct replica_spec *spec,
	unsigned i, const char *address)
{
	struct replica_spec theirs = *spec;

	snprintf(theirs.peers[i].domain, sizeof(theirs.peers[i].domain), "%s", c->domain);
	snprintf(theirs.peers[i].address, sizeof(theirs.peers[i].address), "%s", address);
	snprintf(theirs.peers[i].node, sizeof(theirs.peers[i].node), "%s", c->node);
	return replica_spec_json(&theirs);
}

/* Asks each peer for its draft; their addresses come into the spec. */
static int draft_peers(const struct agent_config *c, struct replica_spec *spec, const char *address,
	const atomic_bool *stop, struct err *e)
{
	for (unsigned i = 0; i < spec->npeers; i++) {
		struct json *body = spec_for(c, spec, i, address), *j;
		struct replica_peer *p = &spec->peers[i];
		int ret = tell_peer(c, spec, i, "draft", body, CALL_MS, stop, &j, e);

		json_free(body);
		if (ret)
			return ret;
		snprintf(p->address, sizeof(p->address), "%s", json_get_string(j, "address", ""));
		if (conf_is_node(json_get_string(j, "node", "")))
			snprintf(p->node, sizeof(p->node), "%s", json_get_string(j, "node", ""));
		json_free(j);
		if (!p->address[0])
			return err_set(e, -EPROTO, "'%s' names no address", p->domain);
	}
	return 0;
}

/* Steps 1 to 3. With more than one peer they learn of each other in a second round. */
static int draft_all(const struct agent_config *c, struct replica_spec *spec,
	const atomic_bool *stop, struct err *e)
{
	char address[256];
	int ret = replica_draft(c, spec, address, e);

	for (unsigned n = 0; n < (spec->npeers > 1 ? 2 : 1) && !ret; n++)
		ret = draft_peers(c, spec, address, stop, e);
	return ret ? ret : replica_draft(c, spec, address, e);
}

static int join_all(const struct agent_config *c, const struct replica_spec *spec,
	const char *descriptor, const atomic_bool *stop, struct err *e)
{
	char address[256];
	int ret = replica_drafted_address(c, spec->volume, address, e);

	for (unsigned i = 0; i < spec->npeers && !ret; i++) {
		/* With several, their addresses may not be known here any more. */
		struct json *body = spec->npeers == 1 ? spec_for(c, spec, i, address)
						      : json_object(),
			    *j;

		json_set_string(body, "descriptor", descriptor);
		ret = tell_peer(c, spec, i, "join", body, JOIN_MS, stop, &j, e);
		if (!ret)
			json_free(j);
		json_free(body);
	}
	return ret;
}

static int make(const struct agent_config *c, struct replica_spec *spec, bool formatted,
	const atomic_bool *stop, struct err *e)
{
	cleanup_free char *descriptor = NULL;
	int ret =
		formatted ? 0 : draft_all(c, spec, stop, e); /* else the peers' drafts are there */

	if (!ret)
		ret = replica_format(c, spec, &descriptor, e);
	if (!ret)
		ret = join_all(c, spec, descriptor, stop, e);
	return ret ? ret : replica_publish(c, spec->volume, e);
}

int volume_create(const struct agent_config *c, struct replica_spec *spec, const char *peer_node,
	const atomic_bool *stop, struct err *e)
{
	bool formatted = replica_formatted(c, spec->volume);
	struct peer_node taken[REPLICAS_MAX] = {0};
	int ret = 0;

	if (!spec->npeers)
		take_all_peers(c, spec);
	if (!spec->npeers)
		return err_set(e, -ENOENT,
			"%.150s knows no other site: pair them first, or add [peer DOMAIN]",
			c->path);
	if (peer_node[0] && (spec->npeers > 1 || !conf_is_node(peer_node)))
		return err_set(e, -EINVAL,
			spec->npeers > 1 ? "peer_node '%.60s': there are several other sites; say "
					   "\"peers\": {DOMAIN: {\"node\"}}"
					 : "peer_node '%.60s' is no node's name",
			peer_node);
	if (peer_node[0])
		snprintf(spec->peers[0].node, sizeof(spec->peers[0].node), "%s", peer_node);
	if (replica_exists(c, spec->volume) == 0)
		ret = err_set(
			e, -EEXIST, "volume '%s' is on '%s' already", spec->volume, c->domain);
	for (unsigned i = 0; i < spec->npeers && !ret; i++)
		ret = formatted ? keep_node(c, spec, i, e)
				: take_node(c, spec, i, &taken[i], stop, e);
	if (!ret)
		ret = make(c, spec, formatted, stop, e);
	for (unsigned i = 0; i < spec->npeers; i++)
		if (taken[i].address)
			peer_nodes_release(&taken[i]);
	return ret;
}

int volume_delete(const struct agent_config *c, const char *volume, bool local,
	const atomic_bool *stop, struct err *e)
{
	bool removed = false, active = !local && replica_is_active(c, volume);
	int ret;

	for (unsigned i = 0; i < c->npeers && !local; i++) {
		struct json *body = json_object(), *j;

		json_set_bool(body, "active", active);
		ret = tell(c, &(struct told){c->peers[i].domain, ""}, volume, "remove", body,
			CALL_MS, stop, &j, e);
		json_free(body);
		if (!ret)
			json_free(j);
		else if (ret != -ENOENT)
			return err_wrap(e, "nothing is removed here");
		removed = removed || !ret;
	}
	ret = replica_remove(c, volume, stop, e);
	return ret == -ENOENT && removed ? 0 : ret;
}
