/* SPDX-License-Identifier: Apache-2.0 */
/* WebSocket's frames and Kubernetes' channels. What is decoded comes from elsewhere. */
#include "ws.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"

ssize_t ws_decode(const uint8_t *b, size_t len, struct ws_frame *ret)
{
	uint64_t n;
	size_t head = 2;

	if (len < 2)
		return 0;
	if ((b[0] & 0x70) || (b[1] & 0x80))
		return -EBADMSG;
	n = b[1] & 0x7f;
	if ((b[0] & 0x0f) >= WS_CLOSE && (n > 125 || !(b[0] & 0x80)))
		return -EBADMSG; /* control frames are short and whole */
	if (n >= 126) {
		unsigned more = n == 126 ? 2 : 8;

		head += more;
		if (len < head)
			return 0;
		n = 0;
		for (unsigned i = 0; i < more; i++)
			n = n << 8 | b[2 + i];
	}
	if (n > WS_FRAME_MAX)
		return -EFBIG;
	if (len - head < n)
		return 0;
	*ret = (struct ws_frame){
		.opcode = b[0] & 0x0f, .last = b[0] & 0x80, .data = b + head, .len = (size_t)n};
	return (ssize_t)(head + n);
}

size_t ws_encode(uint8_t *buf, unsigned opcode, const uint8_t *data, size_t len)
{
	ensure(len <= 125);
	buf[0] = (uint8_t)(0x80 | opcode);
	buf[1] = (uint8_t)(0x80 | len);
	memset(buf + 2, 0, 4);
	if (len)
		memcpy(buf + 6, data, len);
	return 6 + len;
}

static void keep(char *text, size_t size, size_t *n, const uint8_t *data, size_t len)
{
	len = MIN(len, size - 1 - *n);
	memcpy(text + *n, data, len);
	*n += len;
	text[*n] = '\0';
}

/* The end of it all. */
static void keep_last(char *text, size_t size, size_t *n, const uint8_t *data, size_t len)
{
	size_t skip = len > size - 1 ? len - (size - 1) : 0;
	size_t over = *n + (len - skip) > size - 1 ? *n + (len - skip) - (size - 1) : 0;

	memmove(text, text + over, *n - over);
	*n -= over;
	keep(text, size, n, data + skip, len - skip);
}

int ws_channels_take(struct ws_channels *c, const struct ws_frame *f, struct err *e)
{
	const uint8_t *data = f->data;
	size_t len = f->len;

	if (f->opcode == WS_CLOSE)
		c->ended = true;
	if (f->opcode >= WS_CLOSE)
		return 0;
	if (f->opcode > WS_BINARY)
		return err_set(e, -EBADMSG, "a frame of unknown kind %u", f->opcode);
	if (f->opcode) {
		if (!len)
			return 0;
		c->channel = *data++;
		len--;
	}
	switch (c->channel) {
	case 1:
		keep(c->out, sizeof(c->out), &c->nout, data, len);
		return 0;
	case 2:
		keep_last(c->errors, sizeof(c->errors), &c->nerrors, data, len);
		return 0;
	case 3:
		keep(c->status, sizeof(c->status), &c->nstatus, data, len);
		return 0;
	default:
		return err_set(e, -EBADMSG, "data of an unknown channel %u", c->channel);
	}
}

int ws_channels_exit(const struct ws_channels *c, struct err *e)
{
	const struct json *causes;
	struct json *j = NULL;
	int ret = -EPROTO;

	if (!c->nstatus)
		return err_set(e, -EPROTO, "the connection ended before the command");
	if (json_parse(c->status, c->nstatus, &j, e))
		return err_set(e, -EPROTO, "the command's end is no JSON");
	if (!strcmp(json_get_string(j, "status", ""), "Success"))
		ret = 0;
	causes = json_get(json_get(j, "details"), "causes");
	for (unsigned i = 0; ret && i < json_length(causes); i++) {
		const struct json *cause = json_at(causes, i);

		if (!strcmp(json_get_string(cause, "reason", ""), "ExitCode"))
			ret = (int)strtol(json_get_string(cause, "message", "1"), NULL, 10);
	}
	if (ret < 0 || ret > 255)
		ret = -EPROTO;
	if (ret)
		err_set(e, ret, "%.200s", json_get_string(j, "message", "it failed"));
	json_free(j);
	return ret;
}
