/* SPDX-License-Identifier: Apache-2.0 */
/* The server's sockets and files: blocking, at the start and now and then. */
#include "server_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cleanup.h"

#define BACKLOG 64
#define PEM_SIZE_MAX (1u << 20)

int server_listen_unix(const char *path, struct err *e)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd, ret = 0;
	mode_t mask;

	if (strlen(path) >= sizeof(sa.sun_path))
		return err_set(e, -ENAMETOOLONG, "'%.120s': too long for a socket", path);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, -errno, "socket: %s", strerror(errno));
	unlink(path);
	mask = umask(0177); /* it is nobody else's from its first moment */
	if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		ret = -errno;
	umask(mask);
	if (!ret && listen(fd, BACKLOG) < 0)
		ret = -errno;
	if (!ret)
		return fd;
	close(fd);
	return err_set(e, ret, "cannot listen on '%s': %s", path, strerror(-ret));
}

/* Cuts HOST:PORT up; brackets of an IPv6 address fall off. */
static void split(const char *address, char *host, size_t size, const char **ret_port)
{
	const char *colon = strrchr(address, ':');
	size_t len = (size_t)(colon - address);

	*ret_port = colon + 1;
	if (address[0] == '[') {
		address++;
		len -= 2;
	}
	snprintf(host, size, "%.*s", (int)len, address);
}

static int listen_on(const struct addrinfo *a)
{
	int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1, ret;

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0)
		return fd;
	ret = -errno;
	close(fd);
	return ret;
}

int server_listen_tcp(const char *address, struct err *e)
{
	struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found;
	const char *port;
	char host[256];
	int ret;

	split(address, host, sizeof(host), &port);
	ret = getaddrinfo(host, port, &hints, &found);
	if (ret)
		return err_set(e, -EADDRNOTAVAIL, "'%s': %s", address, gai_strerror(ret));
	ret = listen_on(found);
	freeaddrinfo(found);
	if (ret < 0)
		return err_set(e, ret, "cannot listen on '%s': %s", address, strerror(-ret));
	return ret;
}

char *server_read_pem(const char *path, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0) {
		err_set(e, -errno, "cannot read '%.150s': %s", path, strerror(errno));
		return NULL;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > PEM_SIZE_MAX) {
		err_set(e, -EINVAL, "'%.150s' is no PEM file", path);
		return NULL;
	}
	text = malloc((size_t)st.st_size + 1);
	ensure(text);
	n = read(fd, text, (size_t)st.st_size);
	if (n != st.st_size) {
		err_set(e, -EIO, "cannot read '%.150s'", path);
		free(text);
		return NULL;
	}
	text[n] = '\0';
	return text;
}
