/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The processes: starting one, taking over one that runs, and learning of its end through its pidfd, which
 * cannot come to mean another process.
 *
 * A daemon gets: a session of its own, /dev/null, its log as output, no descriptor of ours, no blocked
 * signal. Its log is opened for appending each time, so that it may be rotated while no daemon runs, or
 * with copytruncate.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "supervise_impl.h"

#define WORDS_BYTES 2048
#define EXIT_EXEC 127

static void log_path(const struct supervised *v, char *ret, size_t size)
{
	snprintf(ret, size, "%s/%s.log", v->s->config->log_dir, v->file.name);
}

static void ended(struct loop_source *source, uint32_t events)
{
	supervised_ended(container_of(source, struct supervised, exit));
}

static int watch(struct supervised *v, int pid)
{
	int fd = pidfd_open(pid, 0), ret;

	if (fd < 0)
		return -errno;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	v->exit = (struct loop_source){.fd = fd, .events = EPOLLIN, .ready = ended};
	ret = loop_add(v->s->loop, &v->exit);
	if (ret)
		close(fd);
	return ret;
}

static _Noreturn void become_daemon(const struct supervised *v, int log_fd)
{
	const struct agent_config *c = v->s->config;
	char *argv[] = {(char *)c->program, (char *)"run", (char *)"--config", (char *)v->file.path,
		(char *)"--run-dir", (char *)c->run_dir, NULL};
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	setsid();
	dup2(null, STDIN_FILENO);
	dup2(log_fd, STDOUT_FILENO);
	dup2(log_fd, STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0u, 0);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(argv[0], argv);
	dprintf(STDERR_FILENO, "cannot run '%s': %m\n", argv[0]);
	_exit(EXIT_EXEC);
}

int supervised_start(struct supervised *v, struct err *e)
{
	char path[4400];
	cleanup_close int log_fd = -1;
	struct stat st;
	pid_t pid;
	int ret;

	log_path(v, path, sizeof(path));
	if (mkdir(v->s->config->log_dir, 0755) < 0 && errno != EEXIST)
		return err_set(e, -errno, "cannot make '%.150s': %s", v->s->config->log_dir,
			strerror(errno));
	log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
	if (log_fd < 0 || fstat(log_fd, &st) < 0)
		return err_set(e, -errno, "cannot open '%.150s': %s", path, strerror(errno));
	v->log_from = st.st_size;
	pid = fork();
	if (pid < 0)
		return err_set(e, -errno, "fork: %s", strerror(errno));
	if (!pid)
		become_daemon(v, log_fd);
	ret = watch(v, pid);
	if (ret) { /* it runs; it is found by its socket, but nobody would learn how it ends */
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return err_set(e, ret, "a pidfd: %s", strerror(-ret));
	}
	v->pid = pid;
	v->child = true;
	log_info("%s: started, process %d, output in '%s'", v->file.name, pid, path);
	return 0;
}

bool supervised_adopt(struct supervised *v, int pid)
{
	struct stat st;
	char path[4400];

	if (pid != DAEMON_ELSEWHERE && watch(v, pid))
		return false;
	log_path(v, path, sizeof(path));
	v->log_from = stat(path, &st) ? 0 : st.st_size;
	v->pid = pid;
	v->child = false;
	return true;
}

/* The last line with something in it that the daemon wrote. */
static void last_words(const struct supervised *v, char *ret_words, size_t size)
{
	char path[4400], buf[WORDS_BYTES + 1], *line = buf, *end;
	cleanup_close int fd = -1;
	struct stat st;
	off_t from;
	ssize_t n;

	ret_words[0] = '\0';
	log_path(v, path, sizeof(path));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	from = MAX(st.st_size - WORDS_BYTES, st.st_size < v->log_from ? 0 : v->log_from);
	n = pread(fd, buf, WORDS_BYTES, from);
	buf[MAX(n, 0)] = '\0';
	end = buf + strlen(buf);
	while (end > buf && strchr(" \t\r\n", end[-1]))
		*--end = '\0';
	line = strrchr(buf, '\n');
	line = line ? line + 1 : buf;
	if (!strncmp(line, "tandemfs: ", 10))
		line += 10;
	snprintf(ret_words, size, "%s", line);
	for (char *p = ret_words; *p; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
}

void supervised_reap(struct supervised *v, int *ret_how, char *ret_words, size_t size)
{
	int how = -1;

	if (v->child && waitpid(v->pid, &how, WNOHANG) != v->pid)
		how = -1;
	last_words(v, ret_words, size);
	if (v->pid != DAEMON_ELSEWHERE) {
		loop_remove(v->s->loop, &v->exit);
		close(v->exit.fd);
	}
	v->pid = 0;
	v->child = false;
	*ret_how = how;
}

int supervised_terminate(const struct supervised *v)
{
	return pidfd_send_signal(v->exit.fd, SIGTERM, NULL, 0) < 0 ? -errno : 0;
}

bool supervised_other_build(const struct supervised *v)
{
	struct stat runs, there;
	char path[64];

	if (v->pid <= 0)
		return false;
	snprintf(path, sizeof(path), "/proc/%d/exe", v->pid);
	return stat(path, &runs) == 0 && stat(v->s->config->program, &there) == 0 &&
	       (runs.st_dev != there.st_dev || runs.st_ino != there.st_ino);
}

void supervised_decide(struct supervised *v, uint64_t now_ns)
{
	enum decide_state before;
	struct decide_observed o = {
		.looked = v->looked,
		.stamp = v->file.stamp,
		.problem = v->file.problem,
		.pid = v->pid,
		.answered_ns = v->answered_ns,
		.other_build = v->other_build,
		.history = &v->history,
	};

	before = v->decision.state;
	decide(&o, v->s->config->restart_delay_max_ns, now_ns, &v->decision);
	if (!v->state_since_ns || v->decision.state != before)
		v->state_since_ns = now_ns;
}
