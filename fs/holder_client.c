/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's side of holder.h: connects, starts the holder where nobody does, asks, and waits for the
 * answer, a few seconds at most. A holder that was started is nobody's child and in a session of its own, so
 * that what ends the daemon does not end it.
 */
#include "holder.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "holder_node.h"

#define ANSWER_S 10
#define START_NS (5 * NS_PER_S)

struct holder {
	int fd;
	struct holder_message m; /* of the exchange at hand */
};

/* --- connecting --- */

static int dial(const char *path, int *ret_fd)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct timeval t = {.tv_sec = ANSWER_S};
	int fd, ret;

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		ret = errno == ECONNREFUSED ? -ENOENT : -errno; /* a dead one's socket */
		close(fd);
		return ret;
	}
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
	*ret_fd = fd;
	return 0;
}

static _Noreturn void become_holder(char *program, char *path)
{
	char *argv[] = {program, path, NULL};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (fork()) /* nobody's child */
		_exit(0);
	if (chdir("/") == 0)
		execv(program, argv);
	_exit(127);
}

static int start_holder(const char *path, struct err *e)
{
	char program[4096 + sizeof(HOLDER_PROGRAM)], copy[256], *slash;
	ssize_t n = readlink("/proc/self/exe", program, 4095);
	int r = holder_node_start(path);
	pid_t pid;

	if (r != -ENOENT)
		return r ? err_set(e, r, "the node's holder starts none: %s", strerror(-r)) : 0;
	if (n < 0)
		return err_set(e, -errno, "/proc/self/exe: %m");
	program[n] = '\0';
	slash = strrchr(program, '/');
	snprintf(slash + 1, sizeof(HOLDER_PROGRAM), "%s", HOLDER_PROGRAM);
	if (access(program, X_OK) < 0)
		return err_set(
			e, -errno, "the holder's program '%.150s': %s", program, strerror(errno));
	snprintf(copy, sizeof(copy), "%s", path);
	pid = fork();
	if (pid < 0)
		return err_set(e, -errno, "cannot start the holder: %s", strerror(errno));
	if (!pid)
		become_holder(program, copy);
	waitpid(pid, NULL, 0);
	return 0;
}

void holder_close(struct holder *h)
{
	if (!h)
		return;
	close(h->fd);
	free(h);
}

/* --- asking --- */

/* Sends h->m with a descriptor (or -1), receives the answer into it; fds[2] are -1 where none came. */
static int exchange(struct holder *h, uint32_t verb, int fd, int *fds, struct err *e)
{
	struct iovec iov = {.iov_base = &h->m, .iov_len = sizeof(h->m)};
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *c;
	ssize_t n;

	fds[0] = fds[1] = -1;
	h->m.magic = HOLDER_MAGIC;
	h->m.verb = verb;
	if (fd >= 0) {
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(sizeof(int));
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(&control.h), &fd, sizeof(int));
	}
	if (sendmsg(h->fd, &mh, MSG_NOSIGNAL) != sizeof(h->m))
		return err_set(e, -ECONNABORTED, "the holder does not listen: %s", strerror(errno));
	mh.msg_control = &control;
	mh.msg_controllen = sizeof(control);
	do
		n = recvmsg(h->fd, &mh, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return err_set(e, -ECONNABORTED, "the holder does not answer");
	c = CMSG_FIRSTHDR(&mh);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
		memcpy(fds, CMSG_DATA(c), MIN(c->cmsg_len - CMSG_LEN(0), 2 * sizeof(int)));
	if (n == sizeof(h->m) && h->m.magic == HOLDER_MAGIC && h->m.verb == verb &&
		h->m.error <= 0 && h->m.init_len <= HOLDER_INIT_MAX &&
		(fds[0] >= 0) == (h->m.mounted == 1) && (fds[1] >= 0) == (h->m.kept == 1))
		return 0;
	for (unsigned i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	fds[0] = fds[1] = -1;
	return err_set(e, -EPROTO, "the holder answers with nonsense");
}

static void fill(const struct holder_message *m, const int *fds, struct holder_mount *ret_m)
{
	*ret_m = (struct holder_mount){
		.fd = fds[0], .kept_fd = fds[1], .mount_id = m->mount_id, .init_len = m->init_len};
	memcpy(ret_m->init, m->init, sizeof(m->init));
	snprintf(ret_m->path, sizeof(ret_m->path), "%.*s", (int)sizeof(m->path) - 1, m->path);
	snprintf(ret_m->source, sizeof(ret_m->source), "%.*s", (int)sizeof(m->source) - 1,
		m->source);
}

int holder_state(struct holder *h, struct holder_mount *ret_m, struct err *e)
{
	int fds[2], r;

	memset(&h->m, 0, sizeof(h->m));
	r = exchange(h, HOLDER_STATE, -1, fds, e);
	if (!r)
		fill(&h->m, fds, ret_m);
	return r;
}

int holder_mount(struct holder *h, const char *path, const char *source, const char *fstype,
	uint64_t flags, const char *options, struct holder_mount *ret_m, struct err *e)
{
	int fds[2], r;

	memset(&h->m, 0, sizeof(h->m));
	h->m.mount_flags = flags;
	snprintf(h->m.path, sizeof(h->m.path), "%s", path);
	snprintf(h->m.source, sizeof(h->m.source), "%s", source);
	snprintf(h->m.fstype, sizeof(h->m.fstype), "%s", fstype);
	snprintf(h->m.options, sizeof(h->m.options), "%s", options);
	r = exchange(h, HOLDER_MOUNT, -1, fds, e);
	if (r)
		return r;
	if (h->m.error || fds[0] < 0)
		return err_set(e, h->m.error ? h->m.error : -EPROTO, "the holder cannot mount: %s",
			strerror(h->m.error ? -h->m.error : EPROTO));
	fill(&h->m, fds, ret_m);
	return 0;
}

static int plain(struct holder *h, uint32_t verb, int fd, struct err *e)
{
	int fds[2], r;

	memset(&h->m, 0, sizeof(h->m));
	r = exchange(h, verb, fd, fds, e);
	if (!r && h->m.error)
		r = err_set(e, h->m.error, "the holder refuses: %s", strerror(-h->m.error));
	return r;
}

int holder_keep(struct holder *h, int fd, struct err *e)
{
	return plain(h, HOLDER_KEEP, fd, e);
}

int holder_take(struct holder *h, struct err *e)
{
	return plain(h, HOLDER_TAKE, -1, e);
}

void holder_mount_close(struct holder_mount *m)
{
	if (m->fd >= 0)
		close(m->fd);
	if (m->kept_fd >= 0)
		close(m->kept_fd);
	m->fd = m->kept_fd = -1;
}

/* Connected and answered: one that is about to end takes a connection, and no more. */
static int reach(const char *path, struct holder **ret_h)
{
	struct holder_mount m;
	struct holder *h;
	int fd = -1, r = dial(path, &fd);

	if (r)
		return r;
	h = calloc(1, sizeof(*h));
	ensure(h);
	h->fd = fd;
	r = holder_state(h, &m, NULL);
	if (r) {
		holder_close(h);
		return r == -ECONNABORTED ? -ENOENT : r;
	}
	holder_mount_close(&m);
	*ret_h = h;
	return 0;
}

int holder_open(const char *path, bool start, struct holder **ret_h, struct err *e)
{
	struct timespec pause = {.tv_nsec = 5 * 1000 * 1000};
	uint64_t until = clock_mono_ns() + START_NS;
	int r = reach(path, ret_h);

	if (r == -ENOENT && start) {
		r = start_holder(path, e);
		if (r)
			return r;
		while ((r = reach(path, ret_h)) == -ENOENT && clock_mono_ns() < until)
			nanosleep(&pause, NULL);
	}
	return r ? err_set(e, r, "no holder at '%.150s': %s", path, strerror(-r)) : 0;
}
