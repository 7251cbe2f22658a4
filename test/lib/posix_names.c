/* SPDX-License-Identifier: Apache-2.0 */
/* Names: making, linking, removing, renaming; what stays reachable and what the parents say. */
#include "posix_check.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

static void touch(const char *path)
{
	int fd = posix_file(path, "");

	OK(fd >= 0);
	close(fd);
}

static void making(void)
{
	char name[300];
	struct stat st;
	int fd;

	touch("a");
	FAILS(open("a", O_CREAT | O_EXCL | O_WRONLY, 0644), EEXIST);
	FAILS(open("missing", O_RDONLY), ENOENT);
	FAILS(open("missing", O_RDONLY), ENOENT); /* the cached negative entry */
	touch("missing");
	OK((fd = open("missing", O_RDONLY)) >= 0);
	close(fd);
	FAILS(open("a/b", O_RDONLY), ENOTDIR);
	FAILS(open("a/b", O_CREAT | O_WRONLY, 0644), ENOTDIR);
	FAILS(open("no/b", O_CREAT | O_WRONLY, 0644), ENOENT);
	FAILS(open(".", O_WRONLY), EISDIR);
	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	touch(name);
	OK(posix_stat(name).st_ino > 0);
	DOES(unlink(name));
	name[255] = 'n';
	name[256] = '\0';
	FAILS(open(name, O_CREAT | O_WRONLY, 0644), ENAMETOOLONG);
	FAILS(mkdir(name, 0755), ENAMETOOLONG);
	FAILS(stat(name, &st), ENAMETOOLONG);
	touch("\xc3\xa4 name\twith\nall\x01sorts\xff");
	OK(posix_stat("\xc3\xa4 name\twith\nall\x01sorts\xff").st_nlink == 1);
	FAILS(mkdir("a", 0755), EEXIST);
	DOES(mkdir("d", 0755));
	FAILS(mkdir("d", 0755), EEXIST);
	FAILS(rmdir("a"), ENOTDIR);
	FAILS(unlink("d"), EISDIR);
	FAILS(rmdir("nothing"), ENOENT);
	FAILS(unlink("nothing"), ENOENT);
	touch("d/x");
	FAILS(rmdir("d"), ENOTEMPTY);
	FAILS(rmdir("d/."), EINVAL);
	DOES(unlink("d/x"));
	DOES(rmdir("d"));
	FAILS(stat("d", &st), ENOENT);
}

static void special(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX, .sun_path = "socket"};
	struct stat st;
	int fd;

	DOES(mkfifo("fifo", 0640));
	OK(S_ISFIFO(posix_stat("fifo").st_mode));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	DOES(bind(fd, (struct sockaddr *)&addr, sizeof(addr)));
	close(fd);
	OK(S_ISSOCK(posix_stat("socket").st_mode));
	if (geteuid() == 0 && mknod("char", S_IFCHR | 0600, makedev(259, 1000001)) == 0) {
		st = posix_stat("char");
		OK(S_ISCHR(st.st_mode));
		OK(major(st.st_rdev) == 259 && minor(st.st_rdev) == 1000001);
		DOES(mknod("block", S_IFBLK | 0600, makedev(8, 1)));
		st = posix_stat("block");
		OK(S_ISBLK(st.st_mode) && st.st_rdev == makedev(8, 1));
	} else {
		posix_skip("device nodes", "not allowed here");
	}
	DOES(mknod("plain", S_IFREG | 0600, 0));
	OK(S_ISREG(posix_stat("plain").st_mode));
}

static void symlinks(void)
{
	char target[4096], got[4200];
	struct stat st;

	touch("file");
	DOES(symlink("file", "sym"));
	OK(readlink("sym", got, sizeof(got)) == 4 && !memcmp(got, "file", 4));
	OK(readlink("sym", got, 2) == 2);
	st = posix_lstat("sym");
	OK(S_ISLNK(st.st_mode) && st.st_size == 4);
	OK(posix_stat("sym").st_ino == posix_stat("file").st_ino);
	FAILS(symlink("x", "sym"), EEXIST);
	FAILS(symlink("", "empty"), ENOENT);
	FAILS(open("sym", O_RDONLY | O_NOFOLLOW), ELOOP);
	FAILS(readlink("file", got, sizeof(got)), EINVAL);
	DOES(symlink("gone", "dangling"));
	FAILS(stat("dangling", &st), ENOENT);
	touch("gone");
	DOES(stat("dangling", &st));
	DOES(symlink("loop2", "loop1"));
	DOES(symlink("loop1", "loop2"));
	FAILS(open("loop1", O_RDONLY), ELOOP);
	memset(target, 't', sizeof(target));
	target[4095] = '\0';
	DOES(symlink(target, "long"));
	OK(readlink("long", got, sizeof(got)) == 4095 && !memcmp(got, target, 4095));
	DOES(unlink("sym"));
	OK(posix_stat("file").st_nlink == 1);
}

static void links(void)
{
	struct stat before, after;
	int fd = posix_file("one", "content");

	OK(posix_stat("one").st_nlink == 1);
	before = posix_stat("one");
	posix_tick();
	DOES(link("one", "two"));
	after = posix_stat("one");
	OK(after.st_nlink == 2);
	OK(posix_ns(after.st_ctim) > posix_ns(before.st_ctim));
	OK(posix_ns(after.st_mtim) == posix_ns(before.st_mtim));
	OK(posix_stat("two").st_ino == after.st_ino);
	OK(fstat(fd, &after) == 0 && after.st_nlink == 2);
	OK(posix_is("two", "content"));
	FAILS(link("one", "two"), EEXIST);
	FAILS(link("none", "three"), ENOENT);
	DOES(mkdir("dir", 0755));
	FAILS(link("dir", "dir2"), EPERM);
	before = posix_stat("two");
	posix_tick();
	DOES(unlink("one"));
	OK(fstat(fd, &after) == 0 && after.st_nlink == 1);
	OK(posix_stat("two").st_nlink == 1);
	OK(posix_ns(posix_stat("two").st_ctim) > posix_ns(before.st_ctim));
	DOES(link("two", "dir/three"));
	DOES(unlink("two"));
	OK(posix_is("dir/three", "content"));
	OK(pwrite(fd, "C", 1, 0) == 1);
	OK(posix_is("dir/three", "Content"));
	DOES(symlink("dir/three", "sym"));
	DOES(linkat(AT_FDCWD, "sym", AT_FDCWD, "sym2", 0));
	OK(posix_lstat("sym").st_nlink == 2);
	close(fd);
}

static void parents(void)
{
	struct stat st, now;
	uint64_t nlink;

	DOES(mkdir("p", 0755));
	st = posix_stat("p");
	nlink = st.st_nlink;
	OK(nlink == 2);
	posix_tick();
	touch("p/f");
	now = posix_stat("p");
	OK(posix_ns(now.st_mtim) > posix_ns(st.st_mtim));
	OK(posix_ns(now.st_ctim) > posix_ns(st.st_ctim));
	st = now;
	posix_tick();
	DOES(mkdir("p/d", 0755));
	now = posix_stat("p");
	OK(now.st_nlink == 3);
	OK(posix_ns(now.st_mtim) > posix_ns(st.st_mtim));
	st = now;
	posix_tick();
	DOES(rename("p/f", "p/d/f"));
	now = posix_stat("p");
	OK(posix_ns(now.st_mtim) > posix_ns(st.st_mtim));
	OK(posix_ns(posix_stat("p/d").st_mtim) > posix_ns(st.st_mtim));
	st = now;
	posix_tick();
	DOES(unlink("p/d/f"));
	OK(posix_ns(posix_stat("p/d").st_mtim) > posix_ns(st.st_mtim));
	OK(posix_ns(posix_stat("p").st_mtim) == posix_ns(st.st_mtim));
	posix_tick();
	DOES(rmdir("p/d"));
	now = posix_stat("p");
	OK(now.st_nlink == 2);
	OK(posix_ns(now.st_mtim) > posix_ns(st.st_mtim));
	st = now;
	posix_tick();
	OK(chmod("p", 0755) == 0);
	OK(posix_ns(posix_stat("p").st_mtim) == posix_ns(st.st_mtim));
}

static void unlinked(void)
{
	char buf[64] = "", cwd[512];
	struct stat st;
	int fd = posix_file("u", "still here"), dir;
	uint64_t ino = posix_stat("u").st_ino;

	DOES(unlink("u"));
	FAILS(stat("u", &st), ENOENT);
	OK(fstat(fd, &st) == 0 && st.st_nlink == 0 && st.st_size == 10);
	OK(pread(fd, buf, sizeof(buf), 0) == 10 && !strcmp(buf, "still here"));
	OK(pwrite(fd, "STILL", 5, 0) == 5);
	DOES(ftruncate(fd, 100000));
	DOES(fchmod(fd, 0600));
	touch("u");
	OK(posix_stat("u").st_ino != ino);
	OK(fstat(fd, &st) == 0 && st.st_ino == ino && st.st_size == 100000);
	OK(pread(fd, buf, 10, 0) == 10 && !memcmp(buf, "STILL here", 10));
	close(fd);

	DOES(mkdir("gone", 0755));
	dir = open("gone", O_RDONLY | O_DIRECTORY);
	OK(getcwd(cwd, sizeof(cwd)) != NULL);
	DOES(chdir("gone"));
	DOES(rmdir("../gone"));
	FAILS(open("new", O_CREAT | O_WRONLY, 0644), ENOENT);
	FAILS(mkdir("new", 0755), ENOENT);
	OK(fstat(dir, &st) == 0 && st.st_nlink == 0);
	OK(chdir(cwd) == 0);
	close(dir);
}

void posix_names(void)
{
	making();
	special();
	DOES(mkdir("s", 0755));
	DOES(chdir("s"));
	symlinks();
	DOES(mkdir("l", 0755));
	DOES(chdir("l"));
	links();
	parents();
	unlinked();
}

/* --- rename --- */

static void exchange(void)
{
	struct stat a, b, d;

	close(posix_file("ea", "A"));
	close(posix_file("eb", "B"));
	a = posix_stat("ea");
	b = posix_stat("eb");
	posix_tick();
	DOES(renameat2(AT_FDCWD, "ea", AT_FDCWD, "eb", RENAME_EXCHANGE));
	OK(posix_stat("ea").st_ino == b.st_ino && posix_stat("eb").st_ino == a.st_ino);
	OK(posix_is("ea", "B") && posix_is("eb", "A"));
	OK(posix_ns(posix_stat("eb").st_ctim) > posix_ns(a.st_ctim));
	FAILS(renameat2(AT_FDCWD, "ea", AT_FDCWD, "none", RENAME_EXCHANGE), ENOENT);
	DOES(mkdir("ed", 0755));
	DOES(mkdir("ed/sub", 0755));
	touch("ed/sub/f");
	d = posix_stat("ed");
	OK(d.st_nlink == 3);
	/* a directory below and a file above change places: link counts and ".." follow */
	DOES(renameat2(AT_FDCWD, "ed/sub", AT_FDCWD, "ea", RENAME_EXCHANGE));
	OK(posix_stat("ed").st_nlink == 2);
	OK(S_ISDIR(posix_stat("ea").st_mode) && posix_is("ed/sub", "B"));
	OK(posix_stat("ea/..").st_ino == posix_stat(".").st_ino);
	OK(posix_stat("ea/f").st_size == 0);
	FAILS(renameat2(AT_FDCWD, "ed", AT_FDCWD, "eb", RENAME_EXCHANGE | RENAME_NOREPLACE),
		EINVAL);
	DOES(mkdir("ea/deep", 0755));
	FAILS(renameat2(AT_FDCWD, "ea", AT_FDCWD, "ea/deep", RENAME_EXCHANGE), EINVAL);
}

static void replace(void)
{
	char buf[16] = "";
	struct stat st;
	int fd;

	close(posix_file("src", "new"));
	fd = posix_file("dst", "old");
	DOES(rename("src", "dst"));
	OK(posix_is("dst", "new"));
	FAILS(stat("src", &st), ENOENT);
	OK(pread(fd, buf, 3, 0) == 3 && !strcmp(buf, "old"));
	OK(fstat(fd, &st) == 0 && st.st_nlink == 0);
	close(fd);
	DOES(link("dst", "same"));
	DOES(rename("dst", "same")); /* the same file: nothing happens */
	OK(posix_stat("dst").st_nlink == 2);
	DOES(rename("dst", "dst"));
	FAILS(rename("none", "dst"), ENOENT);
	FAILS(renameat2(AT_FDCWD, "dst", AT_FDCWD, "same", RENAME_NOREPLACE), EEXIST);
	DOES(renameat2(AT_FDCWD, "dst", AT_FDCWD, "fresh", RENAME_NOREPLACE));
	OK(posix_is("fresh", "new"));
	DOES(symlink("fresh", "link"));
	DOES(rename("same", "link"));
	OK(S_ISREG(posix_lstat("link").st_mode));
}

static void directories(void)
{
	struct stat st;

	DOES(mkdir("d1", 0755));
	DOES(mkdir("d1/in", 0755));
	DOES(mkdir("d2", 0755));
	close(posix_file("d1/in/f", "x"));
	FAILS(rename("d1", "d1/in/below"), EINVAL);
	FAILS(rename("d1", "d1/in"), EINVAL);
	FAILS(rename("d2", "d1"), ENOTEMPTY);
	FAILS(rename("fresh", "d2"), EISDIR);
	FAILS(rename("d2", "fresh"), ENOTDIR);
	OK(posix_stat("d1").st_nlink == 3 && posix_stat("d2").st_nlink == 2);
	DOES(rename("d1/in", "d2/in"));
	OK(posix_stat("d1").st_nlink == 2 && posix_stat("d2").st_nlink == 3);
	OK(posix_stat("d2/in/..").st_ino == posix_stat("d2").st_ino);
	OK(posix_is("d2/in/f", "x"));
	DOES(mkdir("d3", 0755));
	DOES(rename("d2", "d3")); /* over an empty directory */
	OK(posix_is("d3/in/f", "x"));
	FAILS(stat("d2", &st), ENOENT);
	DOES(mkdir("d1/deep", 0755));
	DOES(rename("d1", "d3/in/d1"));
	FAILS(rename("d3", "d3/in/d1/deep/d3"), EINVAL);
	OK(posix_stat("d3/in/d1/deep/../../..").st_ino == posix_stat("d3").st_ino);
	DOES(rename("d3/in/d1/deep", "up"));
	OK(posix_stat("up/..").st_ino == posix_stat(".").st_ino);
}

void posix_renames(void)
{
	replace();
	directories();
	exchange();
}
