/* SPDX-License-Identifier: Apache-2.0 */
/* Unaligned little-endian loads and stores, for codecs whose bounds were checked before. */
#ifndef FS_LE_H
#define FS_LE_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define LE_INT_(bits)                                                                              \
	static inline uint##bits##_t le##bits##_get(const uint8_t *p)                              \
	{                                                                                          \
		uint##bits##_t v;                                                                  \
                                                                                                   \
		memcpy(&v, p, sizeof(v));                                                          \
		return le##bits##toh(v);                                                           \
	}                                                                                          \
	static inline void le##bits##_put(uint8_t *p, uint##bits##_t v)                            \
	{                                                                                          \
		v = htole##bits(v);                                                                \
		memcpy(p, &v, sizeof(v));                                                          \
	}

LE_INT_(16)
LE_INT_(32)
LE_INT_(64)
#undef LE_INT_

#endif
