/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C. On x86 the crc32 instruction does 8 bytes a cycle but has a latency of 3 cycles, so three
 * neighbouring stripes are run at once and put together: the checksum of a stripe is moved over the
 * n bytes behind it by a carry-less multiplication with x^(8n-33) mod P, whose product goes through
 * one more crc32 (which adds 32 to the exponent for the reduction, and the reflected product's
 * alignment adds 1). The choice is made at each call, from bits that the C library found at start.
 *
 * The tables are filled before main() and constant from then on. Any thread.
 */
#include "crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#define POLY 0x82f63b78u /* reflected */

static uint32_t table[8][256];

__attribute__((constructor)) static void fill_table(void)
{
	for (unsigned i = 0; i < 256; i++) {
		uint32_t c = i;

		for (unsigned bit = 0; bit < 8; bit++)
			c = (c >> 1) ^ (c & 1 ? POLY : 0);
		table[0][i] = c;
	}
	for (unsigned i = 0; i < 256; i++)
		for (unsigned k = 1; k < 8; k++)
			table[k][i] = (table[k - 1][i] >> 8) ^ table[0][table[k - 1][i] & 255];
}

static inline uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

uint32_t crc32c_table(uint32_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t c = ~crc;

	for (; len >= 8; len -= 8, p += 8) {
		c ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
		     (uint32_t)p[3] << 24;
		c = table[7][c & 255] ^ table[6][c >> 8 & 255] ^ table[5][c >> 16 & 255] ^
		    table[4][c >> 24] ^ table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^
		    table[0][p[7]];
	}
	while (len--)
		c = (c >> 8) ^ table[0][(c ^ *p++) & 255];
	return ~c;
}

#if defined(__x86_64__)

/* Three stripes of LONG bytes are just under 4 KiB; SHORT serves what is left, and small entries. */
#define LONG 1360u
#define LONG_K1 0x3f70cc6fu /* x^(8*LONG - 33) mod P */
#define LONG_K2 0x5aa1f3cfu /* x^(16*LONG - 33) mod P */
#define SHORT 168u
#define SHORT_K1 0x1b3d8f29u
#define SHORT_K2 0xa60ce07bu

__attribute__((target("sse4.2,pclmul"), always_inline)) static inline uint64_t stripes(
	uint64_t c, const uint8_t *p, size_t n, uint32_t k1, uint32_t k2)
{
	uint64_t c1 = 0, c2 = 0;
	__m128i moved;

	for (size_t i = 0; i < n; i += 8) {
		c = _mm_crc32_u64(c, load64(p + i));
		c1 = _mm_crc32_u64(c1, load64(p + n + i));
		c2 = _mm_crc32_u64(c2, load64(p + 2 * n + i));
	}
	moved = _mm_xor_si128(
		_mm_clmulepi64_si128(_mm_cvtsi32_si128((int)c), _mm_cvtsi32_si128((int)k2), 0),
		_mm_clmulepi64_si128(_mm_cvtsi32_si128((int)c1), _mm_cvtsi32_si128((int)k1), 0));
	return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(moved)) ^ c2;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc32c_x86(
	uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t c = ~crc;

	for (; len >= 3 * LONG; len -= 3 * LONG, p += 3 * LONG)
		c = stripes(c, p, LONG, LONG_K1, LONG_K2);
	for (; len >= 3 * SHORT; len -= 3 * SHORT, p += 3 * SHORT)
		c = stripes(c, p, SHORT, SHORT_K1, SHORT_K2);
	for (; len >= 8; len -= 8, p += 8)
		c = _mm_crc32_u64(c, load64(p));
	while (len--)
		c = _mm_crc32_u8((uint32_t)c, *p++);
	return ~(uint32_t)c;
}

#elif defined(__aarch64__)

__attribute__((target("+crc"))) static uint32_t crc32c_arm(
	uint32_t crc, const uint8_t *p, size_t len)
{
	uint32_t c = ~crc;

	for (; len >= 8; len -= 8, p += 8)
		c = __crc32cd(c, load64(p));
	while (len--)
		c = __crc32cb(c, *p++);
	return ~c;
}

#endif

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
		return crc32c_x86(crc, data, len);
#elif defined(__aarch64__)
	if (getauxval(AT_HWCAP) & HWCAP_CRC32)
		return crc32c_arm(crc, data, len);
#endif
	return crc32c_table(crc, data, len);
}
