/* SPDX-License-Identifier: Apache-2.0 */
/* Data: reading, writing, appending, truncating, holes, space, locks. */
#include "posix_check.h"

#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static bool all_bytes(const char *buf, size_t len, char c)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != c)
			return false;
	return true;
}

/* Drops the file's clean pages, so that the next read is the filesystem's. */
static void uncache(int fd)
{
	fsync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void reading_writing(void)
{
	struct iovec iov[2] = {{"vec", 3}, {"tor", 3}};
	char buf[64] = "";
	struct stat st;
	int fd = posix_file("f", "hello world"), fd2;

	OK(lseek(fd, 0, SEEK_SET) == 0);
	OK(read(fd, buf, 5) == 5 && !memcmp(buf, "hello", 5));
	OK(read(fd, buf, 64) == 6);
	OK(read(fd, buf, 64) == 0);
	OK(pread(fd, buf, 64, 6) == 5 && !memcmp(buf, "world", 5));
	OK(pread(fd, buf, 64, 11) == 0);
	OK(pread(fd, buf, 64, 1ll << 40) == 0);
	OK(pwrite(fd, "HELLO", 5, 0) == 5);
	OK(posix_is("f", "HELLO world"));
	OK(lseek(fd, 0, SEEK_END) == 11);
	OK(write(fd, "!", 1) == 1);
	OK(fstat(fd, &st) == 0 && st.st_size == 12);
	OK(write(fd, "", 0) == 0);
	OK(pwritev(fd, iov, 2, 2) == 6);
	OK(posix_is("f", "HEvectorrld!"));
	uncache(fd);
	OK(posix_is("f", "HEvectorrld!"));
	OK(preadv(fd, (struct iovec[2]){{buf, 2}, {buf + 10, 3}}, 2, 0) == 5);
	OK(!memcmp(buf, "HE", 2) && !memcmp(buf + 10, "vec", 3));
	FAILS(pwrite(fd, "x", 1, -1), EINVAL);
	errno = 0;
	OK(pwrite(fd, "x", 1, 1ll << 60) == -1 && (errno == EFBIG || errno == EINVAL));
	FAILS(ftruncate(fd, -1), EINVAL);
	fd2 = open("f", O_RDONLY);
	FAILS(write(fd2, "x", 1), EBADF);
	FAILS(ftruncate(fd2, 1), EINVAL);
	close(fd2);
	fd2 = open("f", O_WRONLY);
	FAILS(read(fd2, buf, 1), EBADF);
	close(fd2);
	fd2 = open(".", O_RDONLY);
	FAILS(read(fd2, buf, 1), EISDIR);
	close(fd2);
	FAILS(truncate(".", 0), EISDIR);
	close(fd);
}

static void appending(void)
{
	int a = open("log", O_CREAT | O_WRONLY | O_APPEND, 0644), b, c;
	char buf[256];

	b = open("log", O_WRONLY | O_APPEND);
	c = open("log", O_RDWR);
	for (unsigned i = 0; i < 20; i++)
		OK(write(i % 2 ? b : a, i % 2 ? "bb" : "aa", 2) == 2);
	OK(posix_stat("log").st_size == 40);
	OK(pwrite(c, "cc", 2, 4) == 2);
	OK(pread(c, buf, 8, 0) == 8 && !memcmp(buf, "aabbccbb", 8));
	OK(pwrite(c, "z", 1, 40) == 1); /* and the appenders see the new end */
	OK(write(a, "y", 1) == 1);
	OK(pread(c, buf, 8, 39) == 3 && !memcmp(buf, "bzy", 3));
	DOES(ftruncate(c, 3));
	OK(write(b, "end", 3) == 3);
	OK(posix_is("log", "aabend"));
	OK(pwritev2(c, &(struct iovec){"RWF", 3}, 1, 0, RWF_APPEND) == 3);
	OK(posix_is("log", "aabendRWF"));
	close(a);
	close(b);
	close(c);
}

static void truncating(void)
{
	char buf[20000];
	int fd = open("t", O_CREAT | O_RDWR | O_TRUNC, 0644);

	memset(buf, 'T', sizeof(buf));
	OK(write(fd, buf, 20000) == 20000);
	DOES(ftruncate(fd, 5000));
	DOES(ftruncate(fd, 15000)); /* what comes back is zero */
	OK(pread(fd, buf, sizeof(buf), 0) == 15000);
	OK(all_bytes(buf, 5000, 'T') && all_bytes(buf + 5000, 10000, 0));
	uncache(fd);
	OK(pread(fd, buf, sizeof(buf), 0) == 15000);
	OK(all_bytes(buf, 5000, 'T') && all_bytes(buf + 5000, 10000, 0));
	DOES(ftruncate(fd, 4096));
	DOES(ftruncate(fd, 8192));
	OK(pwrite(fd, "x", 1, 8191) == 1);
	uncache(fd);
	OK(pread(fd, buf, 8192, 0) == 8192);
	OK(all_bytes(buf, 4096, 'T') && all_bytes(buf + 4096, 4095, 0) && buf[8191] == 'x');
	/* a write behind the end leaves zeros, also in the block that the end was in */
	DOES(ftruncate(fd, 100));
	OK(pwrite(fd, "y", 1, 5000) == 1);
	uncache(fd);
	OK(pread(fd, buf, 8192, 0) == 5001);
	OK(all_bytes(buf, 100, 'T') && all_bytes(buf + 100, 4900, 0) && buf[5000] == 'y');
	DOES(ftruncate(fd, 0));
	OK(posix_stat("t").st_size == 0 && posix_stat("t").st_blocks == 0);
	OK(write(fd, "", 0) == 0 && posix_stat("t").st_size == 0);
	close(fd);
	close(posix_file("t2", "old content"));
	fd = open("t2", O_RDWR | O_TRUNC);
	OK(posix_stat("t2").st_size == 0);
	OK(write(fd, "n", 1) == 1);
	OK(posix_is("t2", "n"));
	close(fd);
	fd = open("t2", O_RDONLY | O_CREAT | O_TRUNC, 0600);
	OK(fd >= 0 && posix_stat("t2").st_size == 0);
	close(fd);
}

static void syncing(void)
{
	int fd = posix_file("s", "sync"), fd2, dir = open(".", O_RDONLY | O_DIRECTORY);

	DOES(fsync(fd));
	DOES(fdatasync(fd));
	DOES(fsync(dir));
	DOES(syncfs(fd));
	DOES(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
	fd2 = open("s", O_WRONLY | O_SYNC);
	OK(pwrite(fd2, "SYNC", 4, 0) == 4);
	OK(posix_is("s", "SYNC"));
	close(fd2);
	fd2 = open("s", O_WRONLY | O_DSYNC | O_APPEND);
	OK(write(fd2, "!", 1) == 1);
	close(fd2);
	OK(pwritev2(fd, &(struct iovec){"d", 1}, 1, 0, RWF_DSYNC) == 1);
	OK(posix_is("s", "dYNC!"));
	close(fd);
	close(dir);
}

static void copying(void)
{
	size_t len = 3u << 20;
	char *buf = malloc(len), *got = malloc(len);
	int in = open("big", O_CREAT | O_RDWR, 0644), out = open("copy", O_CREAT | O_RDWR, 0644);
	loff_t from = 0, to = 0;
	off_t off = 0;

	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(i * 31 + i / 4096);
	OK(write(in, buf, len) == (ssize_t)len);
	uncache(in);
	OK(pread(in, got, len, 0) == (ssize_t)len && !memcmp(buf, got, len));
	for (ssize_t n; from < (loff_t)len;) {
		n = copy_file_range(in, &from, out, &to, len - (size_t)from, 0);
		if (!OK(n > 0))
			break;
	}
	OK(pread(out, got, len, 0) == (ssize_t)len && !memcmp(buf, got, len));
	DOES(ftruncate(out, 0));
	while (off < (off_t)len)
		if (!OK(sendfile(out, in, &off, len - (size_t)off) > 0))
			break;
	uncache(out);
	memset(got, 0, len);
	OK(pread(out, got, len, 0) == (ssize_t)len && !memcmp(buf, got, len));
	close(in);
	close(out);
	free(buf);
	free(got);
}

static void locking(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 10};
	int a = posix_file("lock", "0123456789"), b = open("lock", O_RDWR), status = 1;

	DOES(flock(a, LOCK_EX));
	FAILS(flock(b, LOCK_EX | LOCK_NB), EWOULDBLOCK);
	DOES(flock(a, LOCK_UN));
	DOES(flock(b, LOCK_SH | LOCK_NB));
	DOES(flock(b, LOCK_UN));
	DOES(fcntl(a, F_SETLK, &l));
	if (!fork()) {
		struct flock mine = l;
		int fd = open("lock", O_RDWR);

		_exit(fcntl(fd, F_SETLK, &mine) == -1 && (errno == EAGAIN || errno == EACCES) ? 0
											      : 1);
	}
	OK(wait(&status) > 0 && status == 0);
	l.l_type = F_UNLCK;
	DOES(fcntl(a, F_SETLK, &l));
	close(a);
	close(b);
}

void posix_data(void)
{
	reading_writing();
	appending();
	truncating();
	syncing();
	copying();
	locking();
}

/* --- holes and space --- */

static void sparse(void)
{
	off_t far = 20ll << 30;
	char buf[8192];
	int fd = open("sparse", O_CREAT | O_RDWR | O_TRUNC, 0644);
	struct stat st;

	OK(pwrite(fd, "start", 5, 0) == 5);
	OK(pwrite(fd, "end", 3, far) == 3);
	uncache(fd);
	OK(fstat(fd, &st) == 0 && st.st_size == far + 3);
	OK(st.st_blocks * 512 <= 64 << 10);
	OK(pread(fd, buf, sizeof(buf), 4096) == 8192 && all_bytes(buf, 8192, 0));
	OK(pread(fd, buf, sizeof(buf), far - 10) == 13);
	OK(all_bytes(buf, 10, 0) && !memcmp(buf + 10, "end", 3));
	OK(pread(fd, buf, sizeof(buf), 0) == 8192 && !memcmp(buf, "start", 5));
	OK(lseek(fd, 0, SEEK_DATA) == 0);
	OK(lseek(fd, 0, SEEK_HOLE) == 4096);
	OK(lseek(fd, 5000, SEEK_DATA) == far);
	OK(lseek(fd, 5000, SEEK_HOLE) == 5000);
	OK(lseek(fd, far, SEEK_DATA) == far);
	OK(lseek(fd, far + 1, SEEK_HOLE) == far + 3);
	FAILS(lseek(fd, far + 3, SEEK_DATA), ENXIO);
	FAILS(lseek(fd, far + 3, SEEK_HOLE), ENXIO);
	DOES(ftruncate(fd, far - 4096));
	FAILS(lseek(fd, 4096, SEEK_DATA), ENXIO);
	OK(lseek(fd, 4096, SEEK_HOLE) == 4096);
	DOES(ftruncate(fd, 5));
	OK(posix_is("sparse", "start"));
	close(fd);
	fd = open("hole", O_CREAT | O_RDWR | O_TRUNC, 0644);
	DOES(ftruncate(fd, 1 << 20));
	FAILS(lseek(fd, 0, SEEK_DATA), ENXIO);
	OK(lseek(fd, 0, SEEK_HOLE) == 0);
	OK(fstat(fd, &st) == 0 && st.st_blocks == 0);
	close(fd);
}

static void allocating(void)
{
	char buf[65536];
	int fd = open("a", O_CREAT | O_RDWR | O_TRUNC, 0644);
	struct stat st;

	DOES(fallocate(fd, 0, 0, 10000));
	OK(fstat(fd, &st) == 0 && st.st_size == 10000);
	OK(pread(fd, buf, sizeof(buf), 0) == 10000 && all_bytes(buf, 10000, 0));
	DOES(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
	OK(fstat(fd, &st) == 0 && st.st_size == 10000);
	DOES(posix_fallocate(fd, 5000, 15000));
	OK(fstat(fd, &st) == 0 && st.st_size == 20000);
	memset(buf, 'A', sizeof(buf));
	OK(pwrite(fd, buf, 65536, 0) == 65536);
	DOES(fallocate(fd, 0, 0, 65536)); /* keeps what is there */
	uncache(fd);
	OK(pread(fd, buf, 65536, 0) == 65536 && all_bytes(buf, 65536, 'A'));

	DOES(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 20000));
	OK(pread(fd, buf, 65536, 0) == 65536);
	OK(all_bytes(buf, 1000, 'A') && all_bytes(buf + 1000, 20000, 0) &&
		all_bytes(buf + 21000, 65536 - 21000, 'A'));
	uncache(fd);
	OK(pread(fd, buf, 65536, 0) == 65536);
	OK(all_bytes(buf, 1000, 'A') && all_bytes(buf + 1000, 20000, 0) &&
		all_bytes(buf + 21000, 65536 - 21000, 'A'));
	OK(lseek(fd, 4096, SEEK_HOLE) == 4096);
	OK(lseek(fd, 4096, SEEK_DATA) == 20480);
	DOES(fallocate(
		fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 30000, 100)); /* in a block */
	OK(pread(fd, buf, 200, 29950) == 200);
	OK(all_bytes(buf, 50, 'A') && all_bytes(buf + 50, 100, 0) && all_bytes(buf + 150, 50, 'A'));
	DOES(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 60000, 1 << 20));
	OK(fstat(fd, &st) == 0 && st.st_size == 65536);
	OK(pread(fd, buf, 65536, 60000) == 5536 && all_bytes(buf, 5536, 0));
	DOES(fallocate(fd, FALLOC_FL_ZERO_RANGE, 40000, 10000));
	uncache(fd);
	OK(pread(fd, buf, 65536, 39990) == 25546);
	OK(all_bytes(buf, 10, 'A') && all_bytes(buf + 10, 10000, 0) &&
		all_bytes(buf + 10010, 10000, 'A'));
	DOES(fallocate(fd, FALLOC_FL_ZERO_RANGE, 65000, 10000));
	OK(fstat(fd, &st) == 0 && st.st_size == 75000);
	DOES(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 74000, 10000));
	OK(fstat(fd, &st) == 0 && st.st_size == 75000);
	FAILS(fallocate(fd, 0, 0, 0), EINVAL);
	FAILS(fallocate(fd, 0, -1, 10), EINVAL);
	if (posix.tandemfs)
		FAILS(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096), EOPNOTSUPP);
	/* the whole file goes, its space comes back */
	DOES(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1 << 20));
	OK(pread(fd, buf, 65536, 0) == 65536 && all_bytes(buf, 65536, 0));
	if (posix.tandemfs)
		OK(posix_stat("a").st_blocks == 0);
	close(fd);
}

void posix_holes(void)
{
	sparse();
	allocating();
}
