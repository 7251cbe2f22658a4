/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4), with the processor's instruction where there is
 * one, a table otherwise; both give the same value. crc32c(0, "123456789", 9) == 0xe3069283.
 */
#ifndef JOURNAL_CRC32C_H
#define JOURNAL_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues from a previous value (0 to start): crc32c(crc32c(0, a), b) == crc32c(0, ab). */
uint32_t crc32c(uint32_t crc, const void *data, size_t len);
/* The portable version, for tests. */
uint32_t crc32c_table(uint32_t crc, const void *data, size_t len);

#endif
