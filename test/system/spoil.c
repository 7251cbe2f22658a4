/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looks for bytes below the filesystem and spoils them, for the tests of damage.
 *
 *   spoil find DIRECTORY FILE     prints the first file below the directory that holds FILE's first 4 KiB
 *                                 at a multiple of 4 KiB, and at which one (0, 1, ...)
 *   spoil tail DIRECTORY          takes the newest batch with entries off a ring, and what is behind it
 *   spoil flip FILE OFFSET [BIT]  flips a bit (4) of the byte there; negative: from the end
 *   spoil disk FILE OFFSET        prints where on the device below the filesystem the block with that byte lies
 *   spoil version FILE NUMBER     the version of a record or facts file, its checksum made right
 *   spoil send SOCKET [MS]        standard input to a unix socket, what comes back to standard output;
 *                                 ends with the connection, or with status 3 after MS (3000)
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "crc32c.h"

#define BLOCK 4096u

static uint8_t wanted[BLOCK];

static void die(const char *what)
{
	fprintf(stderr, "spoil: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* As pread; where the disk cannot read it all, what is before that, and at the spot itself a block of zeros. */
static ssize_t read_some(int fd, uint8_t *buf, size_t len, off_t at)
{
	ssize_t n = pread(fd, buf, len, at), have = 0;

	if (n >= 0 || errno != EIO)
		return n;
	while (have < (ssize_t)len && pread(fd, buf + have, BLOCK, at + have) == BLOCK)
		have += BLOCK;
	if (!have) {
		memset(buf, 0, BLOCK);
		have = BLOCK;
	}
	return have;
}

/* Whole blocks only; holes are not read. */
static int look_into(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	static uint8_t buf[256 * BLOCK];
	off_t at = 0;
	ssize_t n;
	int fd;

	if (type != FTW_F)
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && (at -= at % BLOCK) >= 0 &&
		(n = read_some(fd, buf, sizeof(buf), at)) > 0) {
		for (ssize_t i = 0; i + (ssize_t)BLOCK <= n; i += BLOCK) {
			if (memcmp(buf + i, wanted, BLOCK) != 0)
				continue;
			printf("%s %lld\n", path, (long long)(at + i) / BLOCK);
			close(fd);
			return 1;
		}
		at += n;
	}
	close(fd);
	return 0;
}

static int find(const char *dir, const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC), r;

	if (fd < 0 || pread(fd, wanted, BLOCK, 0) != BLOCK)
		die(file);
	close(fd);
	r = nftw(dir, look_into, 16, FTW_PHYS);
	if (r < 0)
		die(dir);
	return r == 1 ? 0 : 1;
}

static uint64_t newest; /* seq that the newest batch begins with */

/* Of a batch's header: magic, count, first seq (the table is in entry.h). */
static int batches_of(const char *path, bool cut)
{
	uint8_t b[128], zeros[BLOCK] = {0};
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint32_t count;
	uint64_t seq;

	if (fd < 0)
		die(path);
	for (off_t at = 0; pread(fd, b, sizeof(b), at) == sizeof(b); at += BLOCK) {
		memcpy(&count, b + 12, sizeof(count));
		memcpy(&seq, b + 48, sizeof(seq));
		if (memcmp(b, "TFBT", 4) != 0)
			continue;
		if (!cut && count && seq > newest)
			newest = seq;
		if (cut && seq >= newest && pwrite(fd, zeros, BLOCK, at) != BLOCK)
			die(path);
	}
	if (fsync(fd))
		die(path);
	close(fd);
	return 0;
}

static int look_for_newest(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return type == FTW_F ? batches_of(path, false) : 0;
}

static int cut_newest(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return type == FTW_F ? batches_of(path, true) : 0;
}

static int tail(const char *dir)
{
	if (nftw(dir, look_for_newest, 16, FTW_PHYS) || nftw(dir, cut_newest, 16, FTW_PHYS))
		die(dir);
	return newest ? 0 : 1;
}

static int flip(const char *file, long long at, int bit)
{
	int fd = open(file, O_RDWR | O_CLOEXEC);
	uint8_t b;

	if (fd < 0)
		die(file);
	if (at < 0)
		at += lseek(fd, 0, SEEK_END);
	if (pread(fd, &b, 1, at) != 1)
		die(file);
	b ^= (uint8_t)(1u << bit);
	if (pwrite(fd, &b, 1, at) != 1 || fsync(fd))
		die(file);
	close(fd);
	return 0;
}

static int on_disk(const char *file, long long at)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent;
	} m = {.map = {.fm_start = (uint64_t)at,
		       .fm_length = 1,
		       .fm_flags = FIEMAP_FLAG_SYNC,
		       .fm_extent_count = 1}};
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || ioctl(fd, FS_IOC_FIEMAP, &m.map))
		die(file);
	close(fd);
	if (m.map.fm_mapped_extents != 1 || m.extent.fe_flags & FIEMAP_EXTENT_UNKNOWN)
		return 1;
	at = at - at % BLOCK - (long long)m.extent.fe_logical;
	printf("%lld\n", (long long)m.extent.fe_physical + at);
	return 0;
}

static int set_version(const char *file, int version)
{
	int fd = open(file, O_RDWR | O_CLOEXEC);
	static uint8_t buf[1 << 20];
	ssize_t n = fd < 0 ? -1 : pread(fd, buf, sizeof(buf), 0);
	uint32_t crc;

	if (n < 16)
		die(file);
	buf[4] = (uint8_t)version;
	crc = crc32c(0, buf, (size_t)n - 4);
	for (unsigned i = 0; i < 4; i++)
		buf[n - 4 + i] = (uint8_t)(crc >> 8 * i);
	if (pwrite(fd, buf, (size_t)n, 0) != n)
		die(file);
	close(fd);
	return 0;
}

/* Both directions until the other side closes; it may stop reading before we have sent everything. */
static int send_to(const char *path, int timeout_ms)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static char in[65536], out[65536];
	ssize_t have = 0, sent = 0, n;
	bool end = false;

	if (strlen(path) >= sizeof(sa.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	memcpy(sa.sun_path, path, strlen(path));
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		die(path);
	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (sent == have && !end) {
			have = read(0, in, sizeof(in));
			sent = 0;
			end = have <= 0;
			have = end ? 0 : have;
		}
		if (sent < have)
			p.events |= POLLOUT;
		if (poll(&p, 1, timeout_ms) == 0)
			return 3;
		if (p.revents & (POLLIN | POLLHUP | POLLERR)) {
			n = recv(fd, out, sizeof(out), MSG_DONTWAIT);
			if (n > 0)
				fwrite(out, 1, (size_t)n, stdout);
			else if (n == 0 || errno != EAGAIN)
				return 0;
		}
		if (p.revents & POLLOUT) {
			n = send(fd, in + sent, (size_t)(have - sent), MSG_DONTWAIT | MSG_NOSIGNAL);
			if (n < 0 && errno != EAGAIN)
				end = true, sent = have = 0;
			else
				sent += n > 0 ? n : 0;
		}
	}
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "find"))
		return find(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "tail"))
		return tail(argv[2]);
	if ((argc == 4 || argc == 5) && !strcmp(argv[1], "flip"))
		return flip(argv[2], atoll(argv[3]), argc == 5 ? atoi(argv[4]) : 4);
	if (argc == 4 && !strcmp(argv[1], "disk"))
		return on_disk(argv[2], atoll(argv[3]));
	if (argc == 4 && !strcmp(argv[1], "version"))
		return set_version(argv[2], atoi(argv[3]));
	if ((argc == 3 || argc == 4) && !strcmp(argv[1], "send"))
		return send_to(argv[2], argc == 4 ? atoi(argv[3]) : 3000);
	fprintf(stderr, "usage: spoil find|flip|disk|version|send ...\n");
	return 2;
}
