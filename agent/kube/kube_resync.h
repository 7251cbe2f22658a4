/* SPDX-License-Identifier: Apache-2.0 */
/* Carries out what volume_resync.h decides, on the thread of the Volumes' worker. */
#ifndef AGENT_KUBE_RESYNC_H
#define AGENT_KUBE_RESYNC_H

#include "kube_control.h"

/*
 * What spec.resync of this Volume asks for and the node's replica of it, `entry` in the node's status. What the replica or
 * its agent refuses is in the object's condition "Resync"; an error is about the API.
 */
int resync_look(struct kube_control *c, struct json *obj, const struct json *entry,
	const char *node, struct err *e);

#endif
