/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a volume's configuration names: the disk below its replica, its mount point, its port and the way to
 * its peers. A daemon that runs meanwhile is no trouble: its port is taken by it, and a connection that is
 * closed at once is one that it forgets.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "conf.h"
#include "limits.h"
#include "mountinfo.h"
#include "preflight_impl.h"

#define FLUSHES 64u
#define FLUSH_SLOW_US 10000.0 /* of the 99th percentile */
#define RTT_SLOW_US 10000.0
#define CONNECTS 5u
#define CONNECT_MS 3000
#define FREE_SMALL 0.1

void preflight_existing(char *path)
{
	struct stat st;
	char *slash;

	while ((stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) && (slash = strrchr(path, '/'))) {
		if (slash == path) {
			path[1] = '\0';
			return;
		}
		*slash = '\0';
	}
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* What a commit waits for: one block, written past the page cache and flushed, again and again. */
static int measure_flushes(const char *dir, double *us)
{
	cleanup_close int fd = open(dir, O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);
	cleanup_free void *block = NULL;
	struct iovec iov;

	if (fd < 0)
		return -errno;
	if (posix_memalign(&block, BLOCK_SIZE, BLOCK_SIZE))
		return -ENOMEM;
	memset(block, 0, BLOCK_SIZE);
	iov = (struct iovec){.iov_base = block, .iov_len = BLOCK_SIZE};
	for (unsigned pass = 0; pass < 2; pass++) { /* first allocated, then measured */
		for (unsigned i = 0; i < FLUSHES; i++) {
			uint64_t begin = clock_mono_ns();

			if (pwritev2(fd, &iov, 1, (off_t)i * BLOCK_SIZE, RWF_DSYNC) < 0)
				return -errno;
			us[i] = (double)(clock_mono_ns() - begin) / 1e3;
		}
	}
	qsort(us, FLUSHES, sizeof(us[0]), by_size);
	return 0;
}

/* Punching a hole is then a command to the disk, and overwriting punches holes all the time. */
static void check_discard(struct preflight_report *r, const char *about, const char *path)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	struct stat st;

	if (!f)
		return;
	if (stat(path, &st) < 0)
		preflight_say(r, about, "discard", PREFLIGHT_WARN, "", "'%.80s': %s", path,
			strerror(errno));
	else if (mountinfo_discards(f, st.st_dev))
		preflight_say(r, about, "discard", PREFLIGHT_WARN,
			"mount it without, and run fstrim once a day (fstrim.timer): giving back "
			"space costs ten times as much with it",
			"the filesystem below '%.80s' is mounted with 'discard'", path);
	else
		preflight_say(r, about, "discard", PREFLIGHT_OK, "", "not mounted with 'discard'");
	fclose(f);
}

void preflight_disk(struct preflight_report *r, const char *about, const char *directory)
{
	double us[FLUSHES], total, left;
	struct statvfs s;
	char path[4096];
	int ret;

	snprintf(path, sizeof(path), "%s", directory);
	preflight_existing(path);
	ret = measure_flushes(path, us);
	if (ret)
		preflight_say(r, about, "flush", PREFLIGHT_FAIL,
			"the replica needs a local filesystem with O_DIRECT (ext4, xfs)",
			"'%.80s': %s", path, strerror(-ret));
	else
		preflight_say(r, about, "flush",
			us[FLUSHES * 99 / 100] > FLUSH_SLOW_US ? PREFLIGHT_WARN : PREFLIGHT_OK,
			us[FLUSHES * 99 / 100] > FLUSH_SLOW_US
				? "each commit waits for it: use a disk with a protected cache, or "
				  "ack = fsync"
				: "",
			"'%.60s': median %.0f us, 99 of 100 within %.0f us", path, us[FLUSHES / 2],
			us[FLUSHES * 99 / 100]);
	if (statvfs(path, &s) < 0)
		return;
	total = (double)s.f_blocks * (double)s.f_frsize;
	left = (double)s.f_bavail * (double)s.f_frsize;
	preflight_say(r, about, "space", left < total * FREE_SMALL ? PREFLIGHT_WARN : PREFLIGHT_OK,
		left < total * FREE_SMALL ? "make room: the volume is full when its disk is" : "",
		"%.1f of %.1f GiB free", left / (1u << 30), total / (1u << 30));
	check_discard(r, about, path);
}

int preflight_shared(FILE *mountinfo, const char *path)
{
	cleanup_free char *line = NULL;
	size_t size = 0, best = 0;
	int shared = -ENOENT;

	while (getline(&line, &size, mountinfo) >= 0) {
		char at[4096], *fields;
		size_t len;

		if (sscanf(line, "%*u %*u %*s %*s %4095s", at) != 1)
			continue;
		len = strlen(at);
		if (len < best || strncmp(at, path, len) != 0 ||
			(len > 1 && path[len] && path[len] != '/'))
			continue;
		best = len;
		fields = strstr(line, " - ");
		if (fields)
			*fields = '\0';
		shared = strstr(line, " shared:") != NULL;
	}
	return shared;
}

void preflight_propagation(struct preflight_report *r, const char *about, const char *mount)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	int shared;

	if (!f)
		return;
	shared = preflight_shared(f, mount);
	fclose(f);
	if (shared > 0)
		preflight_say(r, about, "propagation", PREFLIGHT_OK, "",
			"what is mounted there is seen in other namespaces");
	else
		preflight_say(r, about, "propagation", PREFLIGHT_WARN,
			"for pods: mount --make-rshared on the filesystem above it",
			"'%.80s' lies on a private mount: pods that run already will not see it",
			mount);
}

static void check_mount(struct preflight_report *r, const char *about, const char *mount)
{
	struct stat st;

	if (stat(mount, &st) < 0 && errno != ENOTCONN)
		preflight_say(r, about, "mount", PREFLIGHT_FAIL, "make the directory: mkdir -p",
			"'%.100s': %s", mount, strerror(errno));
	else
		preflight_say(r, about, "mount", PREFLIGHT_OK, "", "'%.100s' is there", mount);
	preflight_propagation(r, about, mount);
}

/* With mode = plain there is none. Whether the files are usable the daemon says. */
static void check_certificates(
	struct preflight_report *r, const char *about, const struct conf *c, struct err *e)
{
	const struct conf_section *s = conf_section(c, "transport");
	char certificate[4096] = "", ca[4096] = "";

	if (!s || conf_get_path(c, s, "certificate", certificate, sizeof(certificate), e) ||
		conf_get_path(c, s, "ca", ca, sizeof(ca), e))
		return;
	preflight_certificates(r, about, certificate, ca);
}

/* Resolves HOST:PORT; NULL on failure. */
static struct addrinfo *resolve(const char *address, int flags)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = flags}, *found = NULL;
	const char *colon = strrchr(address, ':');
	char host[256];
	int cut = address[0] == '[';

	snprintf(host, sizeof(host), "%.*s", (int)(colon - address) - 2 * cut, address + cut);
	return getaddrinfo(host, colon + 1, &hints, &found) ? NULL : found;
}

void preflight_port(struct preflight_report *r, const char *about, const char *listen_at)
{
	struct addrinfo *a = resolve(listen_at, AI_PASSIVE);
	cleanup_close int fd = a ? socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
	int one = 1, error = 0;

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!a)
		error = EADDRNOTAVAIL;
	else if (fd < 0 || bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 1) < 0)
		error = errno;
	if (a)
		freeaddrinfo(a);
	if (error == EADDRINUSE)
		preflight_say(r, about, "port", PREFLIGHT_OK, "",
			"%.100s is taken: by what it is for, if that runs", listen_at);
	else if (error)
		preflight_say(r, about, "port", PREFLIGHT_FAIL,
			"listen must be an address of this node", "%.100s: %s", listen_at,
			strerror(error));
	else
		preflight_say(r, about, "port", PREFLIGHT_OK, "", "%.100s is free", listen_at);
}

/* Microseconds of one TCP handshake, or -errno. */
static double connect_us(const struct addrinfo *a)
{
	cleanup_close int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	uint64_t begin = clock_mono_ns();
	socklen_t len = sizeof(int);
	int error = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS)
		return -errno;
	if (poll(&p, 1, CONNECT_MS) != 1)
		return -ETIMEDOUT;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error ? -error : (double)(clock_mono_ns() - begin) / 1e3;
}

bool preflight_peer(
	struct preflight_report *r, const char *about, const char *domain, const char *address)
{
	struct addrinfo *a = resolve(address, 0);
	double best = -EHOSTUNREACH, us;

	for (unsigned i = 0; a && i < CONNECTS; i++) {
		us = connect_us(a);
		if (us < 0 && best >= 0)
			continue;
		best = best < 0 || us < best ? us : best;
		if (us < 0)
			break;
	}
	if (a)
		freeaddrinfo(a);
	if (best < 0)
		preflight_say(r, about, "peer", PREFLIGHT_WARN,
			"start the daemon there, open the port in the firewall, look at the "
			"address",
			"%.60s at %.60s: %s", domain, address,
			a ? strerror((int)-best) : "the name is not known");
	else
		preflight_say(r, about, "peer", best > RTT_SLOW_US ? PREFLIGHT_WARN : PREFLIGHT_OK,
			best > RTT_SLOW_US ? "each commit waits for it: use sites within 10 ms, or "
					     "ack = fsync"
					   : "",
			"%.60s at %.60s: round trip %.2f ms", domain, address, best / 1e3);
	return best >= 0;
}

void preflight_volume(struct preflight_report *r, const char *path)
{
	char directory[4096] = "", mount[4096] = "", address[256] = "";
	const struct conf_section *s;
	struct err e = {0};
	struct conf *c;
	int ret = conf_load(path, NULL, 0, &c, &e);

	if (ret) {
		preflight_say(r, path, "configuration", PREFLIGHT_FAIL, "correct it", "%s", e.msg);
		return;
	}
	s = conf_section(c, "volume");
	if (!s && conf_section(c, "agent")) {
		conf_free(c);
		preflight_agent(r, path);
		return;
	}
	ret = conf_get_path(c, s, "directory", directory, sizeof(directory), &e);
	if (!ret)
		ret = conf_get_path(c, s, "mount", mount, sizeof(mount), &e);
	if (!ret)
		ret = conf_get_address(
			c, conf_section(c, "site"), "listen", address, sizeof(address), &e);
	if (ret || !directory[0] || !mount[0] || !address[0]) {
		preflight_say(r, path, "configuration", PREFLIGHT_FAIL,
			"correct it; tandemfs.conf(5)", "%s",
			ret ? e.msg : "directory, mount or listen is missing");
		conf_free(c);
		return;
	}
	preflight_disk(r, path, directory);
	check_mount(r, path, mount);
	preflight_port(r, path, address);
	check_certificates(r, path, c, &e);
	for (s = conf_section(c, "peer"); s; s = conf_next_section(c, s)) {
		if (conf_get_address(c, s, "address", address, sizeof(address), &e))
			preflight_say(r, path, "peer", PREFLIGHT_FAIL, "correct it", "%s", e.msg);
		else
			preflight_peer(r, path, s->name, address);
	}
	conf_free(c);
}
