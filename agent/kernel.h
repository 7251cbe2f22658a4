/* SPDX-License-Identifier: Apache-2.0 */
/* What this kernel can do for a mount. Any thread. */
#ifndef AGENT_KERNEL_H
#define AGENT_KERNEL_H

#include <stdbool.h>

#define KERNEL_OLDEST 504u /* what is supported at all */
#define KERNEL_RESEND 609u /* FUSE_NOTIFY_RESEND */

/* "6.9.0-1" is 609; 0: not understood. */
unsigned kernel_version(const char *release);
/* Does a kernel of this release (NULL: the one that runs) send what was in flight again to a new daemon, so that a
 * mount can outlive its daemon? */
bool kernel_resends(const char *release);

#endif
