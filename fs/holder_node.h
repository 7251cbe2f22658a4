/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The holders of a whole node: `tandem-holder --node DIRECTORY` starts them on request, so that they are processes of
 * its pod and outlive the volume daemons', and the pod of those.
 *
 * It listens on DIRECTORY/HOLDER_NODE_SOCKET. One SOCK_SEQPACKET packet is the path of the socket at which a holder
 * shall listen, which must lie in DIRECTORY; the answer is an int32_t: 0, it was started, or -errno.
 */
#ifndef FS_HOLDER_NODE_H
#define FS_HOLDER_NODE_H

#include <stdint.h>

#include "control.h"

#define HOLDER_NODE_SOCKET CONTROL_HOLDERS
#define HOLDER_PATH_MAX 108u /* sun_path */

/* Runs until SIGTERM; returns the exit status. Its holders live on, except where its end is that of its pod. */
int holder_node_run(const char *directory);

/* The daemon's side: asks whoever starts holders beside `path`. -ENOENT: nobody does; else 0 or -errno. */
int holder_node_start(const char *path);

#endif
