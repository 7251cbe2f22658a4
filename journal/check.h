/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ensure(): an assertion that is never compiled out; a programmer's error ends the process, and
 * recovery is the way back (every start is recovery). struct err: the control plane's error, with
 * a message for a person. The data path returns the bare -errno.
 */
#ifndef JOURNAL_CHECK_H
#define JOURNAL_CHECK_H

#include <stddef.h>

_Noreturn void ensure_failed(const char *file, int line, const char *what);

#define ensure(cond) ((cond) ? (void)0 : ensure_failed(__FILE__, __LINE__, #cond))

struct err {
	int code; /* 0, or -errno */
	char msg[256];
};

/* Fills *e (may be NULL) with code and a formatted message; returns code. */
int err_set(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Puts "prefix: " before the message that *e already has; returns e->code. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
