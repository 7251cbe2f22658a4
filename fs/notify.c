/* SPDX-License-Identifier: Apache-2.0 */
/* A few lines instead of libsystemd: one datagram, and its loss is nobody's problem. */
#include "notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "cleanup.h"

static void notify(const char *text)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	const char *path = getenv("NOTIFY_SOCKET");
	cleanup_close int fd = -1;
	size_t len;

	if (!path || (len = strlen(path)) < 2 || len >= sizeof(a.sun_path))
		return;
	memcpy(a.sun_path, path, len);
	if (a.sun_path[0] == '@') /* an abstract address */
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		(void)!sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&a,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

void notify_ready(const char *status)
{
	char text[128];

	snprintf(text, sizeof(text), "READY=1\nSTATUS=%s\n", status);
	notify(text);
}

void notify_stopping(void)
{
	notify("STOPPING=1\n");
}
