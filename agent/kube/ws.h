/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of WebSocket (RFC 6455) as a client sees them, and the channels that Kubernetes runs over them
 * (v4.channel.k8s.io). Pure: bytes in, bytes out.
 *
 *	byte 0   FIN 0x80, reserved 0x70 (zero), opcode 0x0f
 *	byte 1   masked 0x80 (a server's is not), length 0x7f; 126: two more bytes, 127: eight more, big-endian
 *	...      a client's mask, four bytes; then the data
 *
 * Data of a channel begins with a byte: 1 what the command wrote, 2 its errors, 3 how it ended, a Status as JSON.
 */
#ifndef AGENT_WS_H
#define AGENT_WS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "check.h"

#define WS_FRAME_MAX (1u << 20) /* bytes of data */
#define WS_HEAD_MAX 14u
#define WS_BINARY 2u
#define WS_CLOSE 8u
#define WS_PING 9u
#define WS_PONG 10u

struct ws_frame {
	unsigned opcode; /* 0: more of the last one */
	bool last; /* of its message */
	const uint8_t *data; /* in what was decoded */
	size_t len;
};

/* A whole frame: how many bytes it took; 0: more are needed; -EBADMSG, -EFBIG. */
ssize_t ws_decode(const uint8_t *bytes, size_t len, struct ws_frame *ret);
/* One of at most 125 bytes, masked with zeros over TLS: buf has room for WS_HEAD_MAX + len. Returns its size. */
size_t ws_encode(uint8_t *buf, unsigned opcode, const uint8_t *data, size_t len);

/* Kept texts of one command, each ends with a zero; what is beyond their room is left out. */
struct ws_channels {
	char out[4096], errors[512], status[4096];
	size_t nout, nerrors, nstatus;
	unsigned channel; /* of the message that is not whole */
	bool ended; /* the server closed it */
};
/* Takes a frame in. 0, or -EBADMSG. */
int ws_channels_take(struct ws_channels *c, const struct ws_frame *f, struct err *e);
/* How the command ended, by its Status: 0, its exit status, or -EPROTO with words. */
int ws_channels_exit(const struct ws_channels *c, struct err *e);

#endif
