/* SPDX-License-Identifier: Apache-2.0 */
/* For the files of kube.h alone. */
#ifndef AGENT_KUBE_IMPL_H
#define AGENT_KUBE_IMPL_H

#include "kube.h"

/* One call; the path is encoded. `body` NULL: none; `type` NULL: JSON. ret_json may be NULL; else there is an object
 * when this returns 0. */
int kube_call(struct kube *k, const char *method, const char *path, const struct json *body,
	const char *type, struct json **ret_json, struct err *e);

/* A connection of its own, upgraded to a WebSocket; http_stream_close() ends it. */
struct http_stream;
int kube_stream(struct kube *k, const char *path, const char *protocol, unsigned timeout_ms,
	struct http_stream **ret, struct err *e);

#endif
