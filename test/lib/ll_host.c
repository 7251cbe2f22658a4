/* SPDX-License-Identifier: Apache-2.0 */
/* The host process and the pipe to it. */
#include "ll_host.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "fake_volume.h"
#include "scratch.h"

static pid_t host;
static int host_fd = -1;
static unsigned starts; /* each has a data directory of its own: the fake's state is in memory */

struct message {
	uint32_t command;
	uint64_t arg;
};

bool host_possible(void)
{
	return geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0 &&
	       unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

const char *host_mount(void)
{
	return scratch_path("mnt");
}

const char *host_data(void)
{
	return scratch_path("data%u", starts);
}

pid_t host_pid(void)
{
	return host;
}

static uint64_t ms_since(uint64_t start)
{
	return (clock_mono_ns() - start) / NS_PER_MS;
}

static int64_t serve_one(struct volume *v, struct ll **l, const struct message *m)
{
	uint64_t start = clock_mono_ns();

	switch ((enum host_command)m->command) {
	case HOST_HOLD:
	case HOST_RELEASE:
		fake_volume_hold(v, m->command == HOST_HOLD);
		return 0;
	case HOST_COUNT:
		return (int64_t)fake_volume_count(v);
	case HOST_PARKED:
		return (int64_t)fake_volume_parked(v);
	case HOST_KNOWS:
		return ll_knows(*l, m->arg);
	case HOST_ENDED:
		return ll_ended(*l);
	case HOST_FENCE:
		fake_volume_serve(v, NULL);
		ll_fence_begin(*l);
		fake_volume_fail(v);
		ll_fence(*l, 3000);
		*l = NULL;
		return (int64_t)ms_since(start);
	case HOST_UNMOUNT:
		fake_volume_serve(v, NULL);
		ll_unmount(*l, 5000);
		*l = NULL;
		return (int64_t)ms_since(start);
	}
	return -EINVAL;
}

_Noreturn static void host_main(int fd, uint64_t size_blocks, size_t payload_memory)
{
	struct fake_options o = {
		.dir = host_data(), .size_blocks = size_blocks, .payload_memory = payload_memory};
	struct ll_config c = {.mountpoint = host_mount(), .volume_name = "fake"};
	struct volume *v;
	struct ll *l = NULL;
	struct message m;
	struct err e = {0};
	int64_t ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	v = fake_volume_new(&o);
	ret = ll_mount(v, &c, &l, &e);
	if (!ret)
		fake_volume_serve(v, l);
	if (write(fd, &ret, sizeof(ret)) != sizeof(ret) || ret)
		_exit(1);
	while (read(fd, &m, sizeof(m)) == sizeof(m)) {
		ret = serve_one(v, &l, &m);
		if (write(fd, &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
	if (l) {
		fake_volume_serve(v, NULL);
		fake_volume_fail(v);
		ll_fence(l, 2000);
	}
	fake_volume_free(v);
	_exit(0);
}

static int64_t answer(void)
{
	int64_t ret;

	return read(host_fd, &ret, sizeof(ret)) == sizeof(ret) ? ret : -EPIPE;
}

static int start(uint64_t size_blocks, size_t payload_memory)
{
	int fds[2];

	starts++;
	mkdir(host_mount(), 0755);
	ensure(mkdir(host_data(), 0755) == 0);
	ensure(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds));
	host = fork();
	ensure(host >= 0);
	if (!host) {
		close(fds[0]);
		host_main(fds[1], size_blocks, payload_memory);
	}
	close(fds[1]);
	host_fd = fds[0];
	return (int)answer();
}

void host_start(uint64_t size_blocks, size_t payload_memory)
{
	ensure(!start(size_blocks, payload_memory));
}

int host_start_fails(void)
{
	int ret = start(0, 0);

	host_kill();
	return ret;
}

int64_t host_do(enum host_command c, uint64_t arg)
{
	struct message m = {.command = c, .arg = arg};

	if (write(host_fd, &m, sizeof(m)) != sizeof(m))
		return -EPIPE;
	return answer();
}

void host_kill(void)
{
	if (!host)
		return;
	kill(host, SIGKILL);
	waitpid(host, NULL, 0);
	close(host_fd);
	host = 0;
	host_fd = -1;
}

bool host_is_mounted(void)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char line[4096];
	bool found = false;

	ensure(f);
	while (fgets(line, sizeof(line), f))
		found |= strstr(line, host_mount()) != NULL;
	fclose(f);
	return found;
}

void host_stop(void)
{
	int status;

	if (host) {
		close(host_fd);
		for (unsigned i = 0; i < 100 && waitpid(host, &status, WNOHANG) == 0; i++)
			usleep(50000);
		kill(host, SIGKILL);
		host = 0;
	}
	while (umount2(host_mount(), MNT_DETACH) == 0)
		;
	scratch_remove();
}
