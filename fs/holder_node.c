/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-holder --node DIRECTORY: starts a holder for each one who asks (holder_node.h), and collects those that end. It
 * has no descriptor of any mount and knows of none: each holder is a process of its own, as without it.
 *
 * Failure modes:
 * - it is killed: the holders go on; the next one listens anew. As process 1 of a container its end is theirs;
 * - a path outside of its directory, or by another user: refused;
 * - a holder that cannot be run: the daemon waits for its socket in vain and says so.
 *
 * One thread; who connects and says nothing is waited for one second.
 */
#include "holder_node.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "holder.h"

static volatile sig_atomic_t ending;

static void on_term(int sig)
{
	ending = 1;
}

static int address(const char *directory, size_t len, struct sockaddr_un *ret_a)
{
	int n;

	*ret_a = (struct sockaddr_un){.sun_family = AF_UNIX};
	n = snprintf(ret_a->sun_path, sizeof(ret_a->sun_path), "%.*s/" HOLDER_NODE_SOCKET, (int)len,
		directory);
	return n < 0 || (size_t)n >= sizeof(ret_a->sun_path) ? -ENAMETOOLONG : 0;
}

static void limit(int fd, unsigned seconds)
{
	struct timeval t = {.tv_sec = seconds};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

/* A name directly in the directory, and not this one's own. */
static bool is_allowed(const char *directory, const char *path)
{
	size_t n = strlen(directory);

	return !strncmp(path, directory, n) && path[n] == '/' && path[n + 1] &&
	       path[n + 1] != '.' && !strchr(path + n + 1, '/') &&
	       strcmp(path + n + 1, HOLDER_NODE_SOCKET) != 0;
}

static int start(const char *path)
{
	char program[] = "/proc/self/exe", name[] = HOLDER_PROGRAM, copy[HOLDER_PATH_MAX];
	char *argv[] = {name, copy, NULL};
	pid_t pid;

	snprintf(copy, sizeof(copy), "%s", path);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid)
		return 0;
	setsid();
	signal(SIGTERM, SIG_DFL);
	execv(program, argv);
	_exit(127);
}

static void serve(const char *directory, int fd)
{
	char path[HOLDER_PATH_MAX];
	struct ucred who;
	socklen_t len = sizeof(who);
	int32_t r = -EPERM;
	ssize_t n;

	limit(fd, 1);
	n = recv(fd, path, sizeof(path) - 1, 0);
	if (n <= 0)
		return;
	path[n] = '\0';
	if (!getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) && who.uid == geteuid())
		r = is_allowed(directory, path) ? start(path) : -EINVAL;
	if (send(fd, &r, sizeof(r), MSG_NOSIGNAL) != sizeof(r))
		fprintf(stderr, HOLDER_PROGRAM ": nobody waits for the answer about '%s'\n", path);
}

static int listen_in(const char *directory, int *ret_fd)
{
	struct sockaddr_un a;
	int fd, r = address(directory, strlen(directory), &a);

	if (r)
		return r;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	unlink(a.sun_path);
	umask(077);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 64)) {
		r = -errno;
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int holder_node_run(const char *directory)
{
	struct sigaction term = {.sa_handler = on_term}; /* no SA_RESTART: accept4() ends */
	int listen_fd = -1, r;

	r = directory[0] == '/' ? listen_in(directory, &listen_fd) : -EINVAL;
	if (r) {
		fprintf(stderr, HOLDER_PROGRAM ": '%s': %s\n", directory, strerror(-r));
		return 1;
	}
	sigaction(SIGTERM, &term, NULL);
	limit(listen_fd, 1); /* how often those that ended are collected */
	while (!ending) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);

		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (fd < 0)
			continue;
		serve(directory, fd);
		close(fd);
	}
	return 0;
}

int holder_node_start(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct sockaddr_un a;
	int32_t answer = -EPROTO;
	int fd, r;

	if (!slash || address(path, (size_t)(slash - path), &a))
		return -ENOENT;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	limit(fd, 5);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		r = errno == ECONNREFUSED ? -ENOENT : -errno; /* a dead one's socket */
	else if (send(fd, path, strlen(path), MSG_NOSIGNAL) < 0 ||
		 recv(fd, &answer, sizeof(answer), 0) != sizeof(answer))
		r = -ECONNABORTED;
	else
		r = answer;
	close(fd);
	return r;
}
