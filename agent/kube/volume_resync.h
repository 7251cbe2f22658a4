/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of a fork by an object, the member "resync" of a Volume: spec.resync.fromDomain names the side that is kept;
 * what the replica of this site would give up comes into status.resync, with an id; and nothing is given up until
 * spec.resync.confirm is that id.
 *
 * The id is of the epoch and of the entries that are given up. An epoch's number by chance never comes back, so that a
 * manifest that is applied again later confirms nothing; neither does one from before something was written since. Pure.
 */
#ifndef AGENT_VOLUME_RESYNC_H
#define AGENT_VOLUME_RESYNC_H

#include <stddef.h>

#include "json.h"

#define VOLUME_RESYNC_ID_SIZE 64u

enum volume_resync_step {
	VOLUME_RESYNC_NONE,
	VOLUME_RESYNC_FORGET, /* the status: it is not asked for any more */
	VOLUME_RESYNC_NO_FORK, /* say so */
	VOLUME_RESYNC_PREVIEW, /* into the status */
	VOLUME_RESYNC_UNCONFIRMED, /* say so: another id is in the spec */
	VOLUME_RESYNC_RUN, /* preview it once more, and if the id is the same, give up */
	VOLUME_RESYNC_DONE, /* say so: the replica has begun again since it was told */
};

/* `entry` is what a node's status says of the volume. */
enum volume_resync_step volume_resync_decide(const struct json *obj, const struct json *entry);
/* Of the daemon's answer to a preview; `id` has room for VOLUME_RESYNC_ID_SIZE bytes. */
void volume_resync_id(const struct json *entry, const struct json *answer, char *id);
/* The same answer as status.resync, with `text`; the caller's. */
struct json *volume_resync_status(const struct json *entry, const char *domain,
	const struct json *answer, const char *text, const char *now);

#endif
