/* SPDX-License-Identifier: Apache-2.0 */
/* Files, directories, ports and programs for the making of replicas. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "conf.h"
#include "replica_make_impl.h"
#include "server_impl.h"

#define RUN_NS (600 * NS_PER_S)
#define WORDS_BYTES 1024
#define PORTS 1000u

int replica_load(const char *path, size_t max, char **ret_text, struct err *e)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = calloc(1, max + 2);
	size_t len = 0;
	ssize_t n = 1;

	ensure(text);
	while (fd >= 0 && n > 0 && len <= max) {
		n = read(fd, text + len, max + 1 - len);
		len += (size_t)MAX(n, 0);
	}
	if (fd >= 0 && n >= 0 && len <= max) {
		*ret_text = text;
		return 0;
	}
	free(text);
	if (len > max)
		return err_set(e, -EFBIG, "'%.180s' has more than %zu bytes", path, max);
	return err_set(e, -errno, "'%.180s': %s", path, strerror(errno));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

static int remove_dir(const char *path, struct err *e)
{
	if (access(path, F_OK) != 0 && errno == ENOENT)
		return 0;
	if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0)
		return err_set(e, -errno, "'%.180s' cannot be removed: %s", path, strerror(errno));
	return 0;
}

int replica_remove_tree(const char *path, struct err *e)
{
	const char *slash = strrchr(path, '/');
	char parent[4400], prefix[300];
	struct dirent *entry;
	int ret = remove_dir(path, e);
	DIR *d;

	snprintf(parent, sizeof(parent), "%.*s", (int)(slash - path), path);
	snprintf(prefix, sizeof(prefix), "%.255s.new-", slash + 1);
	d = opendir(parent);
	while (d && !ret && (entry = readdir(d))) {
		char leftover[4700];

		if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
			continue;
		snprintf(leftover, sizeof(leftover), "%s/%s", parent, entry->d_name);
		ret = remove_dir(leftover, e);
	}
	if (d)
		closedir(d);
	return ret;
}

/* ---- programs ---- */

/* It ends with the agent, whatever ends that: the next one may begin the same anew at once. */
static _Noreturn void become(const char *const *argv, int out, pid_t parent)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
		_exit(127);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	close_range(STDERR_FILENO + 1, ~0u, 0);
	signal(SIGPIPE, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(argv[0], (char *const *)argv);
	dprintf(STDERR_FILENO, "cannot run '%s': %m\n", argv[0]);
	_exit(127);
}

/* The last line of what it said. */
static const char *last_line(char *words, size_t len)
{
	char *line;

	while (len && strchr(" \n\t", words[len - 1]))
		len--;
	words[len] = '\0';
	line = strrchr(words, '\n');
	line = line ? line + 1 : words;
	return strncmp(line, "tandemfs: ", 10) ? line : line + 10;
}

static int wait_for_end(pid_t pid, int *ret_how)
{
	for (uint64_t until = clock_mono_ns() + RUN_NS; clock_mono_ns() < until;) {
		if (waitpid(pid, ret_how, WNOHANG) == pid)
			return 0;
		usleep(20000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, ret_how, 0);
	return -ETIMEDOUT;
}

int replica_run(const char *const *argv, struct err *e)
{
	cleanup_close int words_fd =
		memfd_create("words", MFD_CLOEXEC); /* a container has no /tmp */
	char words[WORDS_BYTES + 1];
	ssize_t n;
	int how = 0, ret;
	pid_t pid, parent;

	if (words_fd < 0)
		return err_set(e, -errno, "memfd_create: %s", strerror(errno));
	parent = getpid();
	pid = fork();
	if (pid < 0)
		return err_set(e, -errno, "fork: %s", strerror(errno));
	if (!pid)
		become(argv, words_fd, parent);
	ret = wait_for_end(pid, &how);
	if (!ret && WIFEXITED(how) && !WEXITSTATUS(how))
		return 0;
	n = lseek(words_fd, 0, SEEK_END);
	n = pread(words_fd, words, WORDS_BYTES, MAX(n - WORDS_BYTES, 0));
	words[MAX(n, 0)] = '\0';
	return err_set(e, ret ? ret : -EIO, "%s", last_line(words, (size_t)MAX(n, 0)));
}

/* ---- addresses ---- */

static int read_listen(const char *path, char *ret_address)
{
	const struct conf_section *s;
	struct conf *c;
	struct err e;
	int ret = conf_load(path, NULL, 0, &c, &e);

	if (ret)
		return ret;
	s = conf_section(c, "site");
	ret = s && conf_get(c, s, "listen") ? conf_get_address(c, s, "listen", ret_address, 256, &e)
					    : -ENOENT;
	conf_free(c);
	return ret;
}

/* Marks the port of each volume's file, drafts included: offsets from the first port. */
static void mark_taken(const struct agent_config *c, bool *taken)
{
	DIR *d = opendir(c->volumes);
	struct dirent *entry;

	while (d && (entry = readdir(d))) {
		char path[4700], address[256];
		unsigned long port;

		if (!strstr(entry->d_name, ".conf"))
			continue;
		snprintf(path, sizeof(path), "%s/%s", c->volumes, entry->d_name);
		if (read_listen(path, address))
			continue;
		port = strtoul(strrchr(address, ':') + 1, NULL, 10);
		if (port >= c->first_port && port < c->first_port + PORTS)
			taken[port - c->first_port] = true;
	}
	if (d)
		closedir(d);
}

int replica_address(
	const struct agent_config *c, const char *draft, char *ret_address, struct err *e)
{
	bool taken[PORTS] = {false};

	if (read_listen(draft, ret_address) == 0)
		return 0;
	mark_taken(c, taken);
	for (unsigned i = 0; i < PORTS && c->first_port + i <= 65535; i++) {
		struct err none;
		int fd;

		snprintf(ret_address, 256, "%s:%u", c->replica_host, c->first_port + i);
		fd = taken[i] ? -1 : server_listen_tcp(ret_address, &none);
		if (fd >= 0) {
			close(fd);
			return 0;
		}
		if (!taken[i] && none.code != -EADDRINUSE)
			return err_set(e, none.code, "%s", none.msg);
	}
	return err_set(e, -EADDRINUSE, "no port is free from %u on", c->first_port);
}
