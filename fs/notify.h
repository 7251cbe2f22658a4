/* SPDX-License-Identifier: Apache-2.0 */
/* What a service manager wants to know (sd_notify(3)'s protocol): a datagram to $NOTIFY_SOCKET. */
#ifndef FS_NOTIFY_H
#define FS_NOTIFY_H

/* READY=1 with a STATUS= text. Does nothing without a service manager. */
void notify_ready(const char *status);
void notify_stopping(void);

#endif
