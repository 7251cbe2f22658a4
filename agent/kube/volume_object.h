/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of a Volume object and of the volume with its name. An object that the agent made mirrors a volume; one
 * that somebody wrote is a volume to make, and to remove by its reclaimPolicy. A volume whose data are gone is never
 * made a second time under the same object. Nor is one removed that is active at another site, or because somebody takes
 * the kind away and all objects with it (kubectl delete -k of the whole install). Where the other site is gone for ever a
 * person says so, and the replica of this one goes alone, whichever was the active one. Pure.
 */
#ifndef AGENT_VOLUME_OBJECT_H
#define AGENT_VOLUME_OBJECT_H

#include "json.h"

#define VOLUME_DIRECTORY                                                                           \
	"data" /* in a new volume: what pods mount, which is not there where the mount is not */

struct volume_seen {
	bool object; /* there is one ... */
	bool ours, deleting, guarded; /* ... the agent's, on its way out, with our finalizer */
	bool known; /* ... whose volume was seen before */
	bool removes, forced; /* reclaimPolicy Delete; let go in any case */
	bool local; /* this site's replica alone is to be removed */
	bool kind_goes; /* objects go because their kind does: nobody meant the data */
	bool elsewhere; /* the volume is active at another site, and in use there */
	bool volume; /* a node reports it */
	bool all; /* all nodes answered: what none reports is not there */
};

enum volume_action {
	VOLUME_NONE,
	VOLUME_MIRROR, /* make the object */
	VOLUME_TELL, /* write its status */
	VOLUME_FORGET, /* remove the object */
	VOLUME_GUARD, /* add the finalizer */
	VOLUME_RELEASE, /* take it off */
	VOLUME_MAKE,
	VOLUME_REMOVE,
	VOLUME_REMOVE_LOCAL, /* here, and nobody else is asked */
	VOLUME_ELSEWHERE, /* say where it is active: it is not removed from here */
	VOLUME_LOST, /* say that it is gone */
};

enum volume_action volume_decide(const struct volume_seen *s);
/* Removing it was refused with this error of the node's agent: is it the other site that says nothing? */
bool volume_peer_is_silent(int code);

/* The status of a volume from a node's entry of /v1/status, without conditions. `node` is its name. Sizes that change
 * with every write are rounded, so that a busy volume does not write its object all the time. */
void volume_status(struct json *status, const struct json *entry, const char *node);
/* Bytes of a quantity ("10Gi", "1G", 1048576), whole MiB, rounded up; 0: it is none. */
int64_t volume_quantity(const struct json *spec, const char *key);
/* The body of POST /v1/volumes for the spec of an object; `domain` is this site's. */
struct json *volume_request(const struct json *spec, const char *volume, const char *domain);

#endif
