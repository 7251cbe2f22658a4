/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandem-holder SOCKET: makes a volume's FUSE mount, keeps its /dev/fuse descriptor, and hands it to whichever
 * volume daemon comes (holder.h). It knows nothing of FUSE's protocol but that the first request is to be kept,
 * nothing of the volume, and of what the daemon leaves with it not even the size: so it needs no upgrade.
 *
 * Happy path: the daemon starts it, connects, has it mount, leaves a descriptor (KEEP), and serves. When the daemon
 * ends, the requests of that time wait in the kernel; the next daemon connects and gets both.
 *
 * Failure modes:
 * - the daemon ends without KEEP, or after TAKE: the descriptor is closed, and the kernel answers everything on
 *   the mount with an error. Between KEEP and TAKE all that the next daemon needs is here;
 * - somebody unmounts, or the connection is aborted: the kernel says so through the descriptor (POLLERR), it is
 *   closed, and the holder ends unless a daemon is connected;
 * - the holder ends: a daemon that serves has the descriptor, too, and goes on; its own end is then the mount's;
 * - both end: the kernel closes the last descriptor, and the mount answers with errors;
 * - a daemon that stays away after KEEP: the mount waits for it. umount -f is the way out.
 *
 * One thread, no allocation after the start, locked in memory, and not for the OOM killer: while it writes
 * pages back the kernel may need the daemon, and the daemon this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "holder.h"
#include "holder_node.h"

#define FIRST_WAIT_MS 10000 /* for the daemon that started it */
#define READ_SIZE (64u << 10) /* what the kernel wants as room for a request, with much to spare */

static int listen_fd = -1, daemon_fd = -1; /* sockets */
static int fuse_fd = -1, kept_fd = -1;
static struct holder_message held; /* path, source, init, mount_id of what is mounted */

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void drop(const char *why)
{
	if (fuse_fd >= 0)
		fprintf(stderr, HOLDER_PROGRAM ": letting go of '%s': %s\n", held.path, why);
	close_fd(&kept_fd);
	close_fd(&fuse_fd);
}

static void daemon_ended(void)
{
	close_fd(&daemon_fd);
	if (fuse_fd >= 0 && kept_fd < 0)
		drop("the volume daemon ended without leaving it here");
}

/* The kernel queued INIT in mount(2). */
static int read_init(int fd, struct holder_message *m)
{
	static uint8_t buf[READ_SIZE];
	ssize_t n;

	do
		n = read(fd, buf, sizeof(buf));
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (!n || (size_t)n > sizeof(m->init))
		return -EPROTO;
	memcpy(m->init, buf, (size_t)n);
	m->init_len = (uint32_t)n;
	return 0;
}

static int make_mount(struct holder_message *m)
{
	char data[sizeof(m->options) + 32];
	int fd, ret;

	if (fuse_fd >= 0)
		return -EBUSY;
	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(data, sizeof(data), "fd=%d,%s", fd, m->options);
	if (mount(m->source, m->path, m->fstype, m->mount_flags, data) < 0) {
		ret = -errno;
		close(fd);
		return ret;
	}
	ret = read_init(fd, m);
	while (!ret && !m->mount_id)
		if (getrandom(&m->mount_id, sizeof(m->mount_id), 0) != sizeof(m->mount_id))
			m->mount_id = 0;
	if (ret) {
		umount2(m->path, MNT_DETACH | UMOUNT_NOFOLLOW);
		close(fd);
		return ret;
	}
	held = *m;
	fuse_fd = fd;
	return 0;
}

/* --- messages --- */

/* One packet; *ret_fd is a descriptor that came along, or -1. False: the connection is of no more use. */
static bool receive(struct holder_message *m, int *ret_fd)
{
	struct iovec iov = {.iov_base = m, .iov_len = sizeof(*m)};
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr mh = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(daemon_fd, &mh, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&mh) : NULL;

	*ret_fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	if (n < 0 && errno == EINTR)
		return true;
	if (n != sizeof(*m) || mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
		m->magic != HOLDER_MAGIC) {
		close_fd(ret_fd);
		return false;
	}
	m->path[sizeof(m->path) - 1] = m->source[sizeof(m->source) - 1] = '\0';
	m->fstype[sizeof(m->fstype) - 1] = m->options[sizeof(m->options) - 1] = '\0';
	m->init_len = 0;
	m->mount_id = 0;
	return true;
}

static bool answer(uint32_t verb, int error, bool with_fds)
{
	struct holder_message m = {0};
	struct iovec iov = {.iov_base = &m, .iov_len = sizeof(m)};
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = {0};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[2] = {fuse_fd, kept_fd};
	size_t n = 0;

	if (with_fds && fuse_fd >= 0)
		n = kept_fd >= 0 ? 2 : 1;
	if (n) {
		m = held;
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.h.cmsg_level = SOL_SOCKET;
		control.h.cmsg_type = SCM_RIGHTS;
		control.h.cmsg_len = CMSG_LEN(n * sizeof(int));
		memcpy(CMSG_DATA(&control.h), fds, n * sizeof(int));
	}
	m.magic = HOLDER_MAGIC;
	m.verb = verb;
	m.error = error;
	m.mounted = n > 0;
	m.kept = n > 1;
	return sendmsg(daemon_fd, &mh, MSG_NOSIGNAL) == sizeof(m);
}

static void daemon_asks(void)
{
	static struct holder_message m;
	int fd = -1, error = 0;
	bool good = receive(&m, &fd), state = false;

	if (good) {
		switch (m.verb) {
		case HOLDER_STATE:
			state = true;
			break;
		case HOLDER_MOUNT:
			error = make_mount(&m);
			state = !error;
			break;
		case HOLDER_KEEP:
			error = fd < 0 || fuse_fd < 0 ? -EINVAL : 0;
			if (error)
				break;
			close_fd(&kept_fd);
			kept_fd = fd;
			fd = -1;
			break;
		case HOLDER_TAKE:
			close_fd(&kept_fd);
			break;
		default:
			error = -EOPNOTSUPP;
		}
		close_fd(&fd);
		good = answer(m.verb, error, state);
	}
	if (!good)
		daemon_ended();
}

static void daemon_comes(void)
{
	struct timeval second = {.tv_sec = 1};
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	struct ucred who;
	socklen_t len = sizeof(who);

	if (fd < 0)
		return;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) || who.uid != geteuid()) {
		close(fd);
		return;
	}
	/* Who stops in the middle of talking must not stop the holder. */
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof(second));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof(second));
	daemon_ended();
	daemon_fd = fd;
}

static int listen_at(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.sun_path, path, strlen(path));
	listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (listen_fd < 0)
		return -errno;
	unlink(path);
	umask(077);
	if (bind(listen_fd, (struct sockaddr *)&a, sizeof(a)) || listen(listen_fd, 4))
		return -errno;
	return 0;
}

/* The holder of a whole node, too: as process 1 of a container it would take all holders with it. */
static void protect(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (write(fd, "-1000", 5) != 5)
			fprintf(stderr, HOLDER_PROGRAM ": not spared by the OOM killer: %m\n");
		close(fd);
	}
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
	if (mlockall(MCL_CURRENT | MCL_FUTURE))
		fprintf(stderr, HOLDER_PROGRAM ": not locked in memory: %m\n");
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
}

int main(int argc, char **argv)
{
	bool first = true;
	int r;

	if (argc == 3 && !strcmp(argv[1], "--node")) {
		protect();
		return holder_node_run(argv[2]);
	}
	if (argc != 2 || argv[1][0] != '/') {
		fputs("usage: " HOLDER_PROGRAM " SOCKET | --node DIRECTORY\n"
		      "The first is started by tandemfs, the second starts it for a whole node; "
		      "see tandemfs(8).\n",
			stderr);
		return 2;
	}
	r = listen_at(argv[1]);
	if (r) {
		fprintf(stderr, HOLDER_PROGRAM ": '%s': %s\n", argv[1], strerror(-r));
		return 1;
	}
	protect();
	while (first || daemon_fd >= 0 || fuse_fd >= 0) {
		struct pollfd p[3] = {{.fd = listen_fd, .events = POLLIN},
			{.fd = daemon_fd, .events = POLLIN},
			{.fd = fuse_fd}}; /* errors alone: its requests are the daemon's */

		r = poll(p, 3, first ? FIRST_WAIT_MS : -1);
		if (r < 0 && errno != EINTR)
			break;
		if (!r)
			break; /* nobody came */
		if (r < 0)
			continue;
		if (p[2].revents)
			drop("it was unmounted, or the connection was aborted");
		if (p[1].revents)
			daemon_asks();
		if (p[0].revents) {
			daemon_comes();
			first = false;
		}
	}
	unlink(argv[1]); /* before it closes: who is refused may start another one */
	return 0;
}
