/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether this node is ready for pods that use volumes: in a container the mounts below `mounts` must reach the host.
 * That is so when the mount at that path is shared here, and a mount of the host is in the same peer group, whose number
 * is the same in every mount name space. Reads two files of /proc and touches no mount. And, where a pod of its own
 * keeps the holders, whether that pod is there.
 */
#ifndef AGENT_READY_H
#define AGENT_READY_H

#include <stddef.h>

#include "check.h"

/* The peer group of the mount at `path` in the text of a mountinfo, or with `path` NULL whether any mount is in
 * `group`: the group, or 0. */
unsigned ready_group(const char *mountinfo, const char *path, unsigned group);
/* 0, or -errno with what is missing. */
int ready_check(const char *mounts, const char *host_mountinfo, struct err *e);
/* Does `tandem-holder --node` listen in the run directory? A volume's daemon that finds nobody makes its holder itself,
 * which ends with the daemon's pod. 0, or -errno with words. Never blocks. */
int ready_holders(const char *run_dir, struct err *e);

#endif
