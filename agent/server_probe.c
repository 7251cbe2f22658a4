/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probes by libmicrohttpd, on a thread that it has itself. A client that says nothing is cut off after seconds; there
 * are as many at once as a few kubelets need.
 */
#include "server_probe.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server_impl.h"

#define CLIENTS_MAX 32u
#define IDLE_S 5u

struct server_probe {
	struct MHD_Daemon *mhd;
	server_probe_answer *answer;
	void *ctx;
};

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, char *text)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result ret;

	ensure(r);
	MHD_add_response_header(
		r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	ret = MHD_queue_response(connection, status, r);
	MHD_destroy_response(r);
	return ret;
}

static char *copy_of(const char *text)
{
	char *c = strdup(text);

	ensure(c);
	return c;
}

/* A body is not wanted: its first piece ends the connection. */
static enum MHD_Result handle(void *cls, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *data, size_t *len, void **con_cls)
{
	struct server_probe *p = cls;
	char *text = NULL;
	unsigned status;

	if (*len)
		return MHD_NO;
	if (strcmp(method, "GET") != 0)
		return reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED, copy_of("GET only\n"));
	status = p->answer(p->ctx, url, &text);
	return reply(connection, status, text ? text : copy_of("no such path\n"));
}

int server_probe_new(const char *address, server_probe_answer *answer, void *ctx,
	struct server_probe **ret_p, struct err *e)
{
	int fd = server_listen_tcp(address, e);
	struct server_probe *p;

	if (fd < 0)
		return fd;
	p = calloc(1, sizeof(*p));
	ensure(p);
	p->answer = answer;
	p->ctx = ctx;
	p->mhd = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, handle, p,
		MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CLIENTS_MAX,
		MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_STRICT_FOR_CLIENT, 1,
		MHD_OPTION_END);
	if (!p->mhd) {
		close(fd);
		free(p);
		return err_set(e, -EIO, "the HTTP server at %s does not start", address);
	}
	*ret_p = p;
	return 0;
}

void server_probe_free(struct server_probe *p)
{
	if (!p)
		return;
	MHD_stop_daemon(p->mhd);
	free(p);
}
