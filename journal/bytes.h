/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bounds-checked little-endian cursor over a buffer that it does not own. An access beyond the
 * end sets `bad`, reads as zero and writes nothing; the caller checks `bad` once, at the end.
 */
#ifndef JOURNAL_BYTES_H
#define JOURNAL_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
	uint8_t *p; /* start */
	size_t len; /* bytes in the buffer */
	size_t at; /* next byte */
	bool bad;
};

static inline struct bytes bytes_of(const void *p, size_t len)
{
	return (struct bytes){.p = (uint8_t *)p, .len = len};
}

/* A pointer to the next n bytes, which are consumed; NULL (and bad) when there are fewer. */
static inline void *bytes_take(struct bytes *b, size_t n)
{
	void *p;

	if (b->bad || n > b->len - b->at) {
		b->bad = true;
		return NULL;
	}
	p = b->p + b->at;
	b->at += n;
	return p;
}

static inline size_t bytes_left(const struct bytes *b)
{
	return b->bad ? 0 : b->len - b->at;
}

#define BYTES_INT_(bits)                                                                           \
	static inline uint##bits##_t bytes_get##bits(struct bytes *b)                              \
	{                                                                                          \
		uint8_t *p = bytes_take(b, bits / 8);                                              \
		uint64_t v = 0;                                                                    \
                                                                                                   \
		for (unsigned i = 0; p && i < bits / 8; i++)                                       \
			v |= (uint64_t)p[i] << (8 * i);                                            \
		return (uint##bits##_t)v;                                                          \
	}                                                                                          \
	static inline void bytes_put##bits(struct bytes *b, uint##bits##_t v)                      \
	{                                                                                          \
		uint8_t *p = bytes_take(b, bits / 8);                                              \
                                                                                                   \
		for (unsigned i = 0; p && i < bits / 8; i++)                                       \
			p[i] = (uint8_t)((uint64_t)v >> (8 * i));                                  \
	}

BYTES_INT_(8)
BYTES_INT_(16)
BYTES_INT_(32)
BYTES_INT_(64)
#undef BYTES_INT_

static inline void bytes_get_mem(struct bytes *b, void *dst, size_t n)
{
	void *p = bytes_take(b, n);

	if (p && n)
		memcpy(dst, p, n);
}

static inline void bytes_put_mem(struct bytes *b, const void *src, size_t n)
{
	void *p = bytes_take(b, n);

	if (p && n)
		memcpy(p, src, n);
}

/* Consumes n bytes that must be zero; anything else sets bad. */
void bytes_get_zero(struct bytes *b, size_t n);
void bytes_put_zero(struct bytes *b, size_t n);

#endif
