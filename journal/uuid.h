/* SPDX-License-Identifier: Apache-2.0 */
/* 16 random bytes with a text form (RFC 4122 version 4). */
#ifndef JOURNAL_UUID_H
#define JOURNAL_UUID_H

#include <stdbool.h>
#include <stdint.h>

#define UUID_TEXT_SIZE 37 /* bytes, with the terminating zero */

struct uuid {
	uint8_t b[16];
};

/* Fills n bytes from the kernel's random source; ends the process if there is none. */
void random_bytes(void *p, unsigned n);
uint64_t random_u64(void);

struct uuid uuid_new(void);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
/* <0, 0, >0 like memcmp(); an order all sites agree on. */
int uuid_compare(const struct uuid *a, const struct uuid *b);
bool uuid_is_zero(const struct uuid *u);
/* Writes UUID_TEXT_SIZE bytes into buf and returns it. */
char *uuid_text(const struct uuid *u, char *buf);
/* 0, or -EINVAL when text is no UUID; *ret_u untouched then. */
int uuid_parse(const char *text, struct uuid *ret_u);

#endif
