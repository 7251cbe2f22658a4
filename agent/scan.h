/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volumes that this node's configuration names: each *.conf in the directory but the agent's own file.
 * Only the name and the site are read; the rest is the daemon's, and it says what is wrong with it.
 */
#ifndef AGENT_SCAN_H
#define AGENT_SCAN_H

#include "agent_config.h"
#include "decide.h"

#define SCAN_VOLUMES_MAX 256u

struct scan_volume {
	char path[4400];
	char name[VOLUME_NAME_MAX + 1]; /* the file's name where it cannot be read */
	struct decide_stamp stamp;
	char problem[DECIDE_REASON_MAX]; /* why it cannot be started; "" */
};

struct scan {
	unsigned count;
	struct scan_volume v[SCAN_VOLUMES_MAX]; /* in the order of their paths */
};

/* 0 with *ret_scan (free() it), or -errno when the directory cannot be read: nothing is known then, and
 * nothing is to be done because of it. */
int scan_volumes(const struct agent_config *c, struct scan **ret_scan, struct err *e);
/* One file. False, and nothing changed, when it is not there. */
bool scan_file(const char *path, const char *domain, struct scan_volume *ret_v);

#endif
