/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the cursor that are not worth inlining: runs of reserved bytes. */
#include "bytes.h"

void bytes_get_zero(struct bytes *b, size_t n)
{
	const uint8_t *p = bytes_take(b, n);
	uint8_t any = 0;

	for (size_t i = 0; p && i < n; i++)
		any |= p[i];
	if (any)
		b->bad = true;
}

void bytes_put_zero(struct bytes *b, size_t n)
{
	void *p = bytes_take(b, n);

	if (p && n)
		memset(p, 0, n);
}
