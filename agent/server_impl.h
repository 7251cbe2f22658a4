/* SPDX-License-Identifier: Apache-2.0 */
/* What the server's files share: server.c speaks HTTP, server_listen.c makes the sockets. */
#ifndef AGENT_SERVER_IMPL_H
#define AGENT_SERVER_IMPL_H

#include "check.h"

/* A listening unix socket of mode 0600. The descriptor, or -errno with a message. */
int server_listen_unix(const char *path, struct err *e);
/* HOST:PORT. The descriptor, or -errno with a message. */
int server_listen_tcp(const char *address, struct err *e);
/* A whole PEM file of at most 1 MiB, with a zero behind it; NULL with a message. */
char *server_read_pem(const char *path, struct err *e);

#endif
