/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes: times, modes and owners, what is cleared for safety, extended attributes, ACLs. */
#include "posix_check.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define USER 4242u
#define GROUP 4343u

/* --- times --- */

static bool set_times(const char *path, int64_t asec, long ansec, int64_t msec, long mnsec)
{
	struct timespec t[2] = {
		{.tv_sec = asec, .tv_nsec = ansec}, {.tv_sec = msec, .tv_nsec = mnsec}};

	return utimensat(AT_FDCWD, path, t, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool has_times(const char *path, int64_t asec, long ansec, int64_t msec, long mnsec)
{
	struct stat st = posix_lstat(path);

	return st.st_atim.tv_sec == asec && st.st_atim.tv_nsec == ansec &&
	       st.st_mtim.tv_sec == msec && st.st_mtim.tv_nsec == mnsec;
}

void posix_times(void)
{
	struct timespec now;
	struct stat a, b;
	struct statx sx, sy;
	int fd = posix_file("f", "x");

	OK(set_times("f", 1000000001, 123456789, 2000000002, 987654321));
	OK(has_times("f", 1000000001, 123456789, 2000000002, 987654321));
	a = posix_stat("f");
	posix_tick();
	OK(set_times("f", 5, UTIME_OMIT, 6, 7));
	OK(has_times("f", 1000000001, 123456789, 6, 7));
	OK(posix_ns(posix_stat("f").st_ctim) > posix_ns(a.st_ctim));
	OK(set_times("f", 0, UTIME_NOW, 0, UTIME_OMIT));
	clock_gettime(CLOCK_REALTIME, &now);
	OK(labs(posix_stat("f").st_atim.tv_sec - now.tv_sec) < 30);
	OK(posix_stat("f").st_mtim.tv_sec == 6);
	OK(utimensat(AT_FDCWD, "f", NULL, 0) == 0);
	OK(labs(posix_stat("f").st_mtim.tv_sec - now.tv_sec) < 30);
	OK(set_times("f", -1, 500000000, -86400, 1)); /* before 1970 */
	OK(has_times("f", -1, 500000000, -86400, 1));
	OK(set_times("f", 7258118400, 0, 7258118400, 999999999)); /* 2200 */
	OK(has_times("f", 7258118400, 0, 7258118400, 999999999));
	OK(set_times("f", 1ll << 36, 0, 1ll << 40,
		0)); /* beyond the range: its end, not another century */
	OK(posix_stat("f").st_atim.tv_sec >= 7258118400 &&
		posix_stat("f").st_mtim.tv_sec >= 7258118400);
	OK(set_times("f", 7258118400, 0, 7258118400, 999999999));
	DOES(symlink("f", "sym"));
	OK(set_times("sym", 11, 0, 12, 0) && has_times("sym", 11, 0, 12, 0));
	OK(has_times("f", 7258118400, 0, 7258118400, 999999999));
	DOES(mkdir("d", 0755));
	OK(set_times("d", 1, 1, 2, 2) && has_times("d", 1, 1, 2, 2));

	close(fd);
	fd = posix_file("w", "abc");
	a = posix_stat("w");
	posix_tick();
	OK(pwrite(fd, "X", 1, 0) == 1);
	OK(fstat(fd, &b) == 0 && posix_ns(b.st_mtim) > posix_ns(a.st_mtim));
	OK(posix_ns(b.st_ctim) > posix_ns(a.st_ctim));
	a = b;
	posix_tick();
	DOES(ftruncate(fd, 1));
	b = posix_stat("w");
	OK(posix_ns(b.st_mtim) > posix_ns(a.st_mtim));
	a = b;
	posix_tick();
	close(open("w", O_WRONLY | O_TRUNC));
	b = posix_stat("w");
	OK(b.st_size == 0 && posix_ns(b.st_mtim) > posix_ns(a.st_mtim));
	a = b;
	posix_tick();
	DOES(fchmod(fd, 0640));
	b = posix_stat("w");
	OK(posix_ns(b.st_mtim) == posix_ns(a.st_mtim) && posix_ns(b.st_ctim) > posix_ns(a.st_ctim));
	a = b;
	posix_tick();
	DOES(rename("w", "w2"));
	OK(posix_ns(posix_stat("w2").st_mtim) == posix_ns(a.st_mtim));
	OK(posix_ns(posix_stat("w2").st_ctim) > posix_ns(a.st_ctim));
	close(fd);

	OK(statx(AT_FDCWD, "w2", 0, STATX_ALL, &sx) == 0 && sx.stx_mask & STATX_BTIME);
	posix_tick();
	DOES(chmod("w2", 0600));
	OK(statx(AT_FDCWD, "w2", 0, STATX_ALL, &sy) == 0);
	OK(sx.stx_btime.tv_sec == sy.stx_btime.tv_sec &&
		sx.stx_btime.tv_nsec == sy.stx_btime.tv_nsec);
	OK(sy.stx_btime.tv_sec <= sy.stx_ctime.tv_sec && sy.stx_btime.tv_sec > 1000000000);
	OK(sy.stx_mode == (S_IFREG | 0600));
}

/* --- modes and owners --- */

static unsigned mode_of(const char *path)
{
	return posix_stat(path).st_mode & 07777;
}

void posix_modes(void)
{
	struct statvfs vfs;
	mode_t mask = umask(027);

	close(open("masked", O_CREAT | O_WRONLY, 0666));
	OK(mode_of("masked") == 0640);
	DOES(mkdir("masked-dir", 0777));
	OK(mode_of("masked-dir") == 0750);
	DOES(mkfifo("masked-fifo", 0666));
	OK(mode_of("masked-fifo") == 0640);
	umask(0);
	close(open("open", O_CREAT | O_WRONLY, 0666));
	OK(mode_of("open") == 0666);
	close(open("none", O_CREAT | O_RDWR, 0));
	OK(mode_of("none") == 0);
	umask(mask);
	for (unsigned m = 0; m < 010000; m += 0123) {
		DOES(chmod("open", m));
		OK(mode_of("open") == m);
	}
	DOES(mkdir("t", 01777));
	DOES(chmod("t", 01777));
	OK(mode_of("t") == 01777);
	OK(statvfs(".", &vfs) == 0 && vfs.f_bsize >= 512 && vfs.f_blocks > 0);
	OK(vfs.f_bfree <= vfs.f_blocks && vfs.f_bavail <= vfs.f_bfree && vfs.f_namemax == 255);
	if (geteuid() != 0) {
		posix_skip("owners", "not root");
		return;
	}
	DOES(chown("open", 12, 34));
	OK(posix_stat("open").st_uid == 12 && posix_stat("open").st_gid == 34);
	DOES(chown("open", (uid_t)-1, 56));
	OK(posix_stat("open").st_uid == 12 && posix_stat("open").st_gid == 56);
	DOES(symlink("open", "sym"));
	DOES(lchown("sym", 7, 8));
	OK(posix_lstat("sym").st_uid == 7 && posix_stat("open").st_uid == 12);
	/* a setgid directory hands down its group, to directories also the bit */
	DOES(mkdir("sgid", 0755));
	DOES(chown("sgid", 0, GROUP));
	DOES(chmod("sgid", 02775));
	close(posix_file("sgid/f", ""));
	DOES(mkdir("sgid/d", 0755));
	OK(posix_stat("sgid/f").st_gid == GROUP && !(mode_of("sgid/f") & 02000));
	OK(posix_stat("sgid/d").st_gid == GROUP && mode_of("sgid/d") & 02000);

	/* as somebody else */
	DOES(chmod(".", 0777));
	DOES(chmod("open", 0640));
	close(posix_file("root", "secret"));
	DOES(chmod("root", 0600));
	close(posix_file("t/roots", ""));
	posix_user(USER, GROUP);
	FAILS(open("root", O_RDONLY), EACCES);
	FAILS(faccessat(AT_FDCWD, "root", R_OK, AT_EACCESS), EACCES);
	FAILS(chmod("root", 0644), EPERM);
	FAILS(chown("root", USER, GROUP), EPERM);
	FAILS(utimensat(AT_FDCWD, "root", (struct timespec[2]){{1, 0}, {1, 0}}, 0), EPERM);
	FAILS(unlink("t/roots"), EPERM); /* sticky */
	FAILS(rename("t/roots", "t/mine"), EPERM);
	close(posix_file("mine", "x"));
	OK(posix_stat("mine").st_uid == USER && posix_stat("mine").st_gid == GROUP);
	FAILS(chown("mine", 0, GROUP), EPERM);
	DOES(chmod("mine", 0400));
	FAILS(open("mine", O_WRONLY), EACCES);
	DOES(chmod("mine", 02755)); /* own group: stays */
	OK(mode_of("mine") == 02755);
	DOES(mkdir("t/d", 0700));
	DOES(rmdir("t/d"));
	posix_root();
	DOES(chown("mine", USER, 999)); /* a group the user is not in */
	posix_user(USER, GROUP);
	DOES(chmod("mine", 02755));
	OK(mode_of("mine") == 0755);
	posix_root();
}

/* --- what is cleared for safety --- */

static void set_caps(const char *path)
{
	/* VFS_CAP_REVISION_2, CAP_NET_RAW */
	static const uint8_t caps[20] = {1, 0, 0, 2, 0, 32};

	DOES(setxattr(path, "security.capability", caps, sizeof(caps), 0));
	OK(getxattr(path, "security.capability", NULL, 0) == 20);
}

static bool has_caps(const char *path)
{
	return getxattr(path, "security.capability", NULL, 0) == 20;
}

static void reset(const char *path, unsigned mode)
{
	int fd = open(path, O_CREAT | O_WRONLY, 0777);

	OK(write(fd, "0123456789", 10) == 10);
	close(fd);
	DOES(chown(path, USER, GROUP));
	DOES(chmod(path, mode));
}

void posix_privileges(void)
{
	int fd;

	if (geteuid() != 0) {
		posix_skip("privileges", "not root");
		return;
	}
	DOES(chmod(".", 0777));
	reset("w", 06777);
	posix_user(USER, GROUP);
	fd = open("w", O_WRONLY);
	OK(write(fd, "x", 1) == 1);
	OK(mode_of("w") == 0777);
	close(fd);
	posix_root();

	reset("g", 02767); /* setgid without group execute is no privilege: stays for a member */
	posix_user(USER, GROUP);
	fd = open("g", O_WRONLY);
	OK(fd >= 0 && write(fd, "x", 1) == 1);
	OK(mode_of("g") == 02767);
	close(fd);
	posix_root();

	reset("t", 06777);
	posix_user(USER, GROUP);
	DOES(truncate("t", 3));
	OK(mode_of("t") == 0777);
	posix_root();

	reset("o", 06777);
	posix_user(USER, GROUP);
	fd = open("o", O_WRONLY | O_TRUNC);
	OK(fd >= 0 && mode_of("o") == 0777);
	close(fd);
	posix_root();

	reset("r", 06755); /* root has CAP_FSETID: the bits stay */
	fd = open("r", O_WRONLY);
	OK(write(fd, "x", 1) == 1 && mode_of("r") == 06755);
	close(fd);
	DOES(chown("r", USER + 1, GROUP)); /* but a new owner clears them for everybody */
	OK(mode_of("r") == 0755);

	DOES(mkdir("d", 0755));
	DOES(chmod("d", 02775));
	DOES(chown("d", USER, GROUP));
	OK(mode_of("d") == 02775); /* a directory's are no privilege */

	reset("c", 0755);
	set_caps("c");
	fd = open("c", O_WRONLY);
	OK(write(fd, "y", 1) == 1);
	OK(!has_caps("c"));
	set_caps("c");
	OK(write(fd, "y", 1) == 1);
	OK(!has_caps("c"));
	set_caps("c");
	DOES(ftruncate(fd, 2));
	OK(!has_caps("c"));
	set_caps("c");
	DOES(chown("c", USER + 1, GROUP));
	OK(!has_caps("c"));
	set_caps("c");
	DOES(chmod("c", 0700));
	OK(has_caps("c"));
	close(fd);
}

/* --- extended attributes --- */

static bool listed(const char *list, ssize_t len, const char *name)
{
	for (const char *p = list; p < list + len; p += strlen(p) + 1)
		if (!strcmp(p, name))
			return true;
	return false;
}

void posix_xattrs(void)
{
	char value[256], list[8192], name[32];
	char *large = malloc(65536), *got = malloc(65536);
	struct stat st;
	ssize_t n;

	close(posix_file("f", "x"));
	st = posix_stat("f");
	OK(listxattr("f", NULL, 0) == 0);
	FAILS(getxattr("f", "user.a", value, sizeof(value)), ENODATA);
	posix_tick();
	DOES(setxattr("f", "user.a", "alpha", 5, 0));
	OK(posix_ns(posix_stat("f").st_ctim) > posix_ns(st.st_ctim));
	OK(getxattr("f", "user.a", value, sizeof(value)) == 5 && !memcmp(value, "alpha", 5));
	OK(getxattr("f", "user.a", NULL, 0) == 5);
	FAILS(getxattr("f", "user.a", value, 4), ERANGE);
	FAILS(setxattr("f", "user.a", "b", 1, XATTR_CREATE), EEXIST);
	FAILS(setxattr("f", "user.b", "b", 1, XATTR_REPLACE), ENODATA);
	DOES(setxattr("f", "user.b", "", 0, XATTR_CREATE));
	OK(getxattr("f", "user.b", value, sizeof(value)) == 0);
	DOES(setxattr("f", "user.a", "longer value", 12, XATTR_REPLACE));
	OK(getxattr("f", "user.a", value, sizeof(value)) == 12);
	n = listxattr("f", list, sizeof(list));
	OK(n == 14 && listed(list, n, "user.a") && listed(list, n, "user.b"));
	FAILS(listxattr("f", list, 5), ERANGE);
	DOES(removexattr("f", "user.b"));
	FAILS(removexattr("f", "user.b"), ENODATA);
	FAILS(getxattr("f", "user.b", value, sizeof(value)), ENODATA);
	for (unsigned i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "user.many.%02u", i);
		OK(setxattr("f", name, name, strlen(name), 0) == 0);
	}
	n = listxattr("f", list, sizeof(list));
	OK(n == 7 + 40 * 13);
	OK(getxattr("f", "user.many.17", value, sizeof(value)) == 12);
	DOES(mkdir("d", 0755));
	DOES(setxattr("d", "user.dir", "v", 1, 0));
	OK(getxattr("d", "user.dir", value, sizeof(value)) == 1);
	DOES(symlink("f", "sym"));
	FAILS(lsetxattr("sym", "user.x", "v", 1, 0), EPERM);
	DOES(link("f", "hard"));
	OK(getxattr("hard", "user.a", value, sizeof(value)) == 12);
	if (geteuid() == 0) {
		DOES(setxattr("f", "trusted.t", "t", 1, 0));
		OK(getxattr("f", "trusted.t", value, sizeof(value)) == 1);
		DOES(setxattr("f", "security.label", "s", 1, 0));
		OK(getxattr("f", "security.label", value, sizeof(value)) == 1);
	}
	FAILS(setxattr("f", "nonsense", "v", 1, 0), EOPNOTSUPP);
	if (posix.tandemfs) {
		memset(large, 'L', 65536);
		DOES(setxattr("f", "user.large", large, 65536, 0));
		OK(getxattr("f", "user.large", got, 65536) == 65536 && !memcmp(large, got, 65536));
		memset(large, 'M', 65536);
		DOES(setxattr("f", "user.large", large, 60000, 0));
		OK(getxattr("f", "user.large", got, 65536) == 60000 && !memcmp(large, got, 60000));
	} else {
		posix_skip("xattr of 64 KiB", "a local filesystem need not take it");
	}
	free(large);
	free(got);
}

/* --- ACLs, as the kernel's xattr has them --- */

struct acl {
	uint32_t version;
	struct {
		uint16_t tag, perm;
		uint32_t id;
	} e[8];
};

static size_t acl_make(
	struct acl *a, unsigned owner, int user, unsigned group, int mask, unsigned other)
{
	unsigned n = 0;

	memset(a, 0, sizeof(*a));
	a->version = htole32(2);
#define ADD(t, p, i)                                                                               \
	(a->e[n].tag = htole16(t), a->e[n].perm = htole16(p), a->e[n++].id = htole32(i))
	ADD(0x01, owner, (uint32_t)-1);
	if (user >= 0)
		ADD(0x02, (unsigned)user, USER);
	ADD(0x04, group, (uint32_t)-1);
	if (mask >= 0)
		ADD(0x10, (unsigned)mask, (uint32_t)-1);
	ADD(0x20, other, (uint32_t)-1);
#undef ADD
	return 4 + n * 8;
}

void posix_acls(void)
{
	const char *access_name = "system.posix_acl_access",
		   *default_name = "system.posix_acl_default";
	struct acl a, got;
	size_t len;
	int fd;

	close(posix_file("f", "content"));
	DOES(chmod("f", 0640));
	len = acl_make(&a, 6, 6, 4, 6, 0);
	if (setxattr("f", access_name, &a, len, 0) && errno == EOPNOTSUPP) {
		posix_skip("ACLs", "mounted without");
		return;
	}
	OK(mode_of("f") == 0660); /* the group bits are the mask */
	OK(getxattr("f", access_name, &got, sizeof(got)) == (ssize_t)len && !memcmp(&a, &got, len));
	DOES(chmod("f", 0600)); /* sets the mask to nothing */
	OK(getxattr("f", access_name, &got, sizeof(got)) == (ssize_t)len);
	OK(le16toh(got.e[3].perm) == 0 && le16toh(got.e[1].perm) == 6);
	if (geteuid() == 0) {
		DOES(chmod(".", 0777));
		posix_user(USER, GROUP);
		FAILS(open("f", O_RDONLY), EACCES);
		posix_root();
		DOES(chmod("f", 0660));
		posix_user(USER, GROUP);
		fd = open("f", O_RDWR);
		OK(fd >= 0);
		close(fd);
		posix_root();
		posix_user(USER + 1, GROUP);
		FAILS(open("f", O_RDWR), EACCES);
		posix_root();
	}
	/* an ACL that says no more than a mode becomes the mode */
	len = acl_make(&a, 7, -1, 5, -1, 1);
	DOES(setxattr("f", access_name, &a, len, 0));
	OK(mode_of("f") == 0751);
	FAILS(getxattr("f", access_name, &got, sizeof(got)), ENODATA);
	len = acl_make(&a, 6, 4, 4, 4, 0);
	DOES(setxattr("f", access_name, &a, len, 0));
	DOES(removexattr("f", access_name));
	FAILS(getxattr("f", access_name, &got, sizeof(got)), ENODATA);
	OK(mode_of("f") == 0640);

	/* a default ACL is handed down, and umask does not count then */
	DOES(mkdir("d", 0755));
	len = acl_make(&a, 7, 6, 5, 7, 0);
	DOES(setxattr("d", default_name, &a, len, 0));
	OK(mode_of("d") == 0755);
	umask(077);
	close(open("d/f", O_CREAT | O_WRONLY, 0664));
	DOES(mkdir("d/sub", 0777));
	umask(022);
	OK(mode_of("d/f") == 0660); /* the file's group bits: mask 7 and 6 asked for */
	OK(getxattr("d/f", access_name, &got, sizeof(got)) == (ssize_t)len);
	OK(le16toh(got.e[3].perm) == 6 && le16toh(got.e[0].perm) == 6);
	FAILS(getxattr("d/f", default_name, &got, sizeof(got)), ENODATA);
	OK(mode_of("d/sub") == 0770);
	OK(getxattr("d/sub", default_name, &got, sizeof(got)) == (ssize_t)len &&
		!memcmp(&a, &got, len));
	FAILS(setxattr("f", default_name, &a, len, 0), EACCES);
	DOES(removexattr("d", default_name));
	close(open("d/g", O_CREAT | O_WRONLY, 0664));
	OK(mode_of("d/g") == 0644);
	FAILS(getxattr("d/g", access_name, &got, sizeof(got)), ENODATA);
	a.version = htole32(9);
	FAILS(setxattr("f", access_name, &a, len, 0), EOPNOTSUPP);
}
