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
 * Until 5 nothing runs anywhere. A crash of either side between two steps leaves drafts: the same command
 * goes on with them (replica_make.c), `delete volume` removes them. After 5 a peer has what is not a draft any
 * more; that it is of the same volume is told by the descriptor's UUID.
 *
 * Where two sites make a volume of one name at the same time, the one whose domain comes first in the alphabet
 * goes on and refuses the other (api.c); what it asks for at the other is done anew with its own draft.
 *
 * Deleting asks the peers first: while one of them cannot be reached this side keeps its replica, and the
 * command can be repeated, or said again with --local where the other site is gone for ever.
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

#define CALL_MS 60000u
#define BUSY_US 100000u
#define JOIN_MS 600000u /* it zeroes a journal ring */

static int tell_once(const struct agent_config *c, const char *domain, const char *path,
	const struct json *body, unsigned timeout_ms, const atomic_bool *stop, struct json **ret_j,
	struct err *e)
{
	unsigned status;
	int ret = peer_call(c, domain, path, body, timeout_ms, stop, &status, ret_j, e);

	if (ret == -ENOENT) /* of a peer it means that there is no such volume */
		return (e->code = -ENOTCONN);
	if (ret || status == 200)
		return ret;
	ret = (int)json_get_int(*ret_j, "code", -EIO);
	err_set(e, ret < 0 ? ret : -EIO, "'%s' says: %s", domain,
		json_get_string(*ret_j, "error", "it cannot be done"));
	json_free(*ret_j);
	return e->code;
}

/* POST /v1/replicas/VOLUME/STEP at a peer. *ret_j: its answer, the caller's. What it still does for one who
 * asked before, and is gone, is waited for. */
static int tell(const struct agent_config *c, const char *domain, const char *volume,
	const char *step, const struct json *body, unsigned timeout_ms, const atomic_bool *stop,
	struct json **ret_j, struct err *e)
{
	uint64_t until = clock_mono_ns() + timeout_ms * NS_PER_MS;
	char path[160];
	int ret;

	snprintf(path, sizeof(path), "/v1/replicas/%s/%s", volume, step);
	while ((ret = tell_once(c, domain, path, body, timeout_ms, stop, ret_j, e)) == -EBUSY &&
		clock_mono_ns() < until && !atomic_load(stop))
		usleep(BUSY_US);
	return ret;
}

static void take_all_peers(const struct agent_config *c, struct replica_spec *spec)
{
	spec->npeers = c->npeers;
	memcpy(spec->peers, c->peers, sizeof(spec->peers));
	for (unsigned i = 0; i < spec->npeers; i++)
		spec->peers[i].address[0] = '\0';
}

/* The spec as the peer i sees it: this site in its place. */
static struct json *spec_for(const struct agent_config *c, const struct replica_spec *spec,
	unsigned i, const char *address)
{
	struct replica_spec theirs = *spec;

	snprintf(theirs.peers[i].domain, sizeof(theirs.peers[i].domain), "%s", c->domain);
	snprintf(theirs.peers[i].address, sizeof(theirs.peers[i].address), "%s", address);
	return replica_spec_json(&theirs);
}

/* Asks each peer for its draft; their addresses come into the spec. */
static int draft_peers(const struct agent_config *c, struct replica_spec *spec, const char *address,
	const atomic_bool *stop, struct err *e)
{
	for (unsigned i = 0; i < spec->npeers; i++) {
		struct json *body = spec_for(c, spec, i, address), *j;
		int ret = tell(c, spec->peers[i].domain, spec->volume, "draft", body, CALL_MS, stop,
			&j, e);

		json_free(body);
		if (ret)
			return ret;
		snprintf(spec->peers[i].address, sizeof(spec->peers[i].address), "%s",
			json_get_string(j, "address", ""));
		json_free(j);
		if (!spec->peers[i].address[0])
			return err_set(e, -EPROTO, "'%s' names no address", spec->peers[i].domain);
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
		ret = tell(
			c, spec->peers[i].domain, spec->volume, "join", body, JOIN_MS, stop, &j, e);
		if (!ret)
			json_free(j);
		json_free(body);
	}
	return ret;
}

int volume_create(const struct agent_config *c, struct replica_spec *spec, const atomic_bool *stop,
	struct err *e)
{
	cleanup_free char *descriptor = NULL;
	int ret = 0;

	if (!spec->npeers)
		take_all_peers(c, spec);
	if (!spec->npeers)
		return err_set(e, -ENOENT,
			"%.150s knows no other site: pair them first, or add [peer DOMAIN]",
			c->path);
	if (!replica_formatted(c, spec->volume)) /* the peers' drafts are there otherwise */
		ret = draft_all(c, spec, stop, e);
	if (!ret)
		ret = replica_format(c, spec, &descriptor, e);
	if (!ret)
		ret = join_all(c, spec, descriptor, stop, e);
	return ret ? ret : replica_publish(c, spec->volume, e);
}

int volume_delete(const struct agent_config *c, const char *volume, bool local,
	const atomic_bool *stop, struct err *e)
{
	bool removed = false;
	int ret;

	for (unsigned i = 0; i < c->npeers && !local; i++) {
		struct json *body = json_object(), *j;

		ret = tell(c, c->peers[i].domain, volume, "remove", body, CALL_MS, stop, &j, e);
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
