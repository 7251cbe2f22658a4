/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzzes ws_decode() and what is done with its frames: each lies in the input, and the kept texts end in their room. */
#include <string.h>

#include "ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ws_channels c;
	struct err e = {0};
	size_t at = 0;
	int exit;

	c = (struct ws_channels){0};
	while (at < size) {
		struct ws_frame f = {0};
		ssize_t n = ws_decode(data + at, size - at, &f);

		if (n <= 0) {
			ensure(n == 0 || n == -74 || n == -27); /* EBADMSG, EFBIG */
			break;
		}
		ensure(f.data >= data + at && f.data + f.len == data + at + n);
		if (ws_channels_take(&c, &f, &e)) {
			ensure(e.msg[0]);
			break;
		}
		at += (size_t)n;
	}
	ensure(strlen(c.out) <= c.nout && c.nout < sizeof(c.out));
	ensure(strlen(c.errors) <= c.nerrors && c.nerrors < sizeof(c.errors));
	exit = ws_channels_exit(&c, &e);
	ensure(exit >= -255 && exit <= 255);
	return 0;
}
