/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of what POSIX and Linux promise of a filesystem, against a directory. Each group works in a
 * directory of its own, which it is left in as the current directory. A check that fails says where
 * and with which errno, and the others go on.
 */
#ifndef TEST_POSIX_CHECK_H
#define TEST_POSIX_CHECK_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

struct posix {
	unsigned passed, failed, skipped;
	bool tandemfs; /* false: a local filesystem, which need not do all that we promise */
	unsigned many; /* entries of the large directory */
};

extern struct posix posix;

bool posix_ok(bool cond, const char *file, int line, const char *text);
void posix_skip(const char *what, const char *why);

#define OK(cond) posix_ok((cond), __FILE__, __LINE__, #cond)
/* The call returns 0. */
#define DOES(call)                                                                                 \
	({                                                                                         \
		errno = 0;                                                                         \
		posix_ok((call) == 0, __FILE__, __LINE__, #call);                                  \
	})
/* The call returns -1 with this errno. */
#define FAILS(call, error)                                                                         \
	({                                                                                         \
		long long ret_ = (long long)(call);                                                \
		posix_ok(ret_ == -1 && errno == (error), __FILE__, __LINE__,                       \
			#call " fails with " #error);                                              \
	})

/* Makes a file with this content; the open descriptor, or -1. */
int posix_file(const char *path, const char *text);
/* The file's content is this text. */
bool posix_is(const char *path, const char *text);
struct stat posix_stat(const char *path);
struct stat posix_lstat(const char *path);
static inline uint64_t posix_ns(struct timespec t)
{
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}
/* Lets the clock of files move on. */
void posix_tick(void);
/* From now on as another user, without groups and capabilities; posix_root() goes back. */
void posix_user(unsigned uid, unsigned gid);
void posix_root(void);

void posix_names(void);
void posix_renames(void);
void posix_times(void);
void posix_modes(void);
void posix_privileges(void);
void posix_xattrs(void);
void posix_acls(void);
void posix_data(void);
void posix_holes(void);
void posix_maps(void);
void posix_direct(void);
void posix_random_ops(void);
void posix_parallel(void);
void posix_dirs(void);
void posix_large_dir(void);

#endif
