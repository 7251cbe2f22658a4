/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP by libmicrohttpd, driven from the event loop: its epoll descriptor is a source of ours, its
 * time-out a timer. A request is collected, handed over when it is whole, and its connection suspended
 * until it is answered.
 *
 * Two of its daemons: one on the unix socket, one on TCP. The latter is made anew when a certificate
 * changes; until the new files are good, the old ones serve.
 *
 * Failure modes: a body that is too large is 413; a client that goes away while its request is open is
 * noticed when the answer is written; a client over TLS without a certificate, or with one of another
 * authority, does not get through the handshake (server_tls.c); one of our authority that names neither this
 * site nor a peer of the configuration gets 403 and no more.
 */
#include "server.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "server_impl.h"
#include "server_tls.h"

#define CONNECTIONS_MAX 64u
#define IDLE_S 30u
#define LOOK_NS (5 * NS_PER_S) /* between two looks at the certificates, and two tries of TCP */
#define LOOK_BUSY_NS (100 * NS_PER_MS)
#define JSON "application/json"
#define STOPS "{\"error\":\"the agent stops\"}\n"

struct endpoint { /* one of libmicrohttpd's daemons */
	struct server *server;
	struct MHD_Daemon *mhd;
	bool tls;
	struct loop_source source;
	struct loop_timer timer;
	unsigned open; /* requests that are not answered */
};

struct request {
	struct server_request pub;
	struct endpoint *at;
	struct MHD_Connection *connection;
	struct request *next; /* of the server's open ones */
	char *method, *path, *body;
	char peer[DOMAIN_LEN_MAX + 1]; /* what pub.peer points to */
	bool handed, suspended, too_large, unwanted;
	struct MHD_Response *response; /* NULL: not answered */
	unsigned status;
};

struct server {
	struct loop *loop;
	const struct agent_config *config;
	void (*handler)(void *ctx, struct server_request *r);
	void *ctx;
	struct endpoint *node, *peers; /* peers: NULL while TCP is not served */
	struct request *open;
	bool stopping;
	struct loop_timer timer;
	char listen[256]; /* where `peers` serves */
	struct stat certificates[3]; /* as they were when they were tried last */
	char trouble[256]; /* with TCP, said once */
};

/* ---- requests ---- */

static void request_free(struct request *r)
{
	if (r->response)
		MHD_destroy_response(r->response);
	free(r->method);
	free(r->path);
	free(r->body);
	free(r);
}

static void request_close(struct request *r)
{
	for (struct request **at = &r->at->server->open; *at; at = &(*at)->next) {
		if (*at == r) {
			*at = r->next;
			r->at->open--;
			break;
		}
	}
}

static void set_response(
	struct request *r, unsigned status, const char *content_type, const char *text)
{
	r->response =
		MHD_create_response_from_buffer(strlen(text), (void *)text, MHD_RESPMEM_MUST_COPY);
	ensure(r->response);
	r->status = status;
	MHD_add_response_header(r->response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(r->response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
}

void server_answer(
	struct server_request *pub, unsigned status, const char *content_type, const char *text)
{
	struct request *r = container_of(pub, struct request, pub);

	ensure(!r->response);
	request_close(r);
	set_response(r, status, content_type, text);
	if (r->suspended) {
		r->suspended = false;
		MHD_resume_connection(r->connection);
		loop_timer_set(r->at->server->loop, &r->at->timer, 0);
	}
}

/* Who a client over TLS is: the domain of a peer; NULL for this site's own processes, on whatever node. False: neither. */
static bool client_of(struct server *s, struct MHD_Connection *connection, const char **ret_peer)
{
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);

	*ret_peer = NULL;
	for (unsigned i = 0; info && i < s->config->npeers; i++) {
		if (!server_tls_names(info->tls_session, s->config->peers[i].domain))
			continue;
		*ret_peer = s->config->peers[i].domain;
		return true;
	}
	return info && server_tls_names(info->tls_session, s->config->domain);
}

static struct request *request_new(struct endpoint *at, struct MHD_Connection *connection,
	const char *path, const char *method)
{
	struct request *r = calloc(1, sizeof(*r));

	ensure(r);
	r->at = at;
	r->connection = connection;
	r->method = strdup(method);
	r->path = strdup(path);
	r->body = calloc(1, 1);
	ensure(r->method && r->path && r->body);
	if (at->tls) {
		const char *peer = NULL;

		r->unwanted = !client_of(at->server, connection, &peer);
		snprintf(r->peer, sizeof(r->peer), "%s", peer ? peer : "");
		r->pub.peer = peer ? r->peer : NULL;
	}
	return r;
}

static void request_add(struct request *r, const char *data, size_t len)
{
	char *body;

	if (r->too_large || r->unwanted)
		return;
	if (r->pub.body_len + len > SERVER_BODY_MAX) {
		r->too_large = true;
		return;
	}
	body = realloc(r->body, r->pub.body_len + len + 1);
	ensure(body);
	memcpy(body + r->pub.body_len, data, len);
	r->pub.body_len += len;
	body[r->pub.body_len] = '\0';
	r->body = body;
}

/* The request is whole. */
static void request_hand_over(struct request *r)
{
	struct server *s = r->at->server;

	r->handed = true;
	if (s->stopping) {
		set_response(r, MHD_HTTP_SERVICE_UNAVAILABLE, JSON, STOPS);
		return;
	}
	if (r->unwanted) {
		log_warn("rest: a client whose certificate names no peer refused");
		set_response(r, MHD_HTTP_FORBIDDEN, JSON,
			"{\"error\":\"the certificate names no peer of this site\"}\n");
		return;
	}
	if (r->too_large) {
		set_response(r, MHD_HTTP_CONTENT_TOO_LARGE, JSON,
			"{\"error\":\"the request is too large\"}\n");
		return;
	}
	r->pub.method = r->method;
	r->pub.path = r->path;
	r->pub.body = r->body;
	r->next = s->open;
	s->open = r;
	r->at->open++;
	s->handler(s->ctx, &r->pub);
}

/* libmicrohttpd: called for the head, for each piece of the body, at the end, and when resumed. */
static enum MHD_Result access_handler(void *cls, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *data, size_t *len, void **con_cls)
{
	struct request *r = *con_cls;

	if (!r) {
		*con_cls = request_new(cls, connection, url, method);
		return MHD_YES;
	}
	if (*len) {
		request_add(r, data, *len);
		*len = 0;
		return MHD_YES;
	}
	if (!r->handed)
		request_hand_over(r);
	if (r->response)
		return MHD_queue_response(connection, r->status, r->response);
	r->suspended = true;
	MHD_suspend_connection(connection);
	return MHD_YES;
}

static void completed(void *cls, struct MHD_Connection *connection, void **con_cls,
	enum MHD_RequestTerminationCode why)
{
	struct request *r = *con_cls;

	*con_cls = NULL;
	if (!r)
		return;
	ensure(!r->handed || r->response); /* an open one is suspended, and stays */
	request_free(r);
}

/* ---- endpoints ---- */

static void endpoint_run(struct endpoint *p)
{
	MHD_UNSIGNED_LONG_LONG ms;

	MHD_run(p->mhd);
	if (MHD_get_timeout(p->mhd, &ms) == MHD_YES)
		loop_timer_set(p->server->loop, &p->timer, clock_mono_ns() + ms * NS_PER_MS);
	else
		loop_timer_clear(p->server->loop, &p->timer);
}

static void endpoint_ready(struct loop_source *s, uint32_t events)
{
	endpoint_run(container_of(s, struct endpoint, source));
}

static void endpoint_expired(struct loop_timer *t, uint64_t now_ns)
{
	endpoint_run(container_of(t, struct endpoint, timer));
}

static void __attribute__((format(printf, 2, 0)))
library_says(void *cls, const char *fmt, va_list ap)
{
	char text[200];

	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	log_debug("rest: %s", text);
}

static void connection_notify(void *cls, struct MHD_Connection *connection, void **socket_context,
	enum MHD_ConnectionNotificationCode what)
{
	const union MHD_ConnectionInfo *info;

	if (what != MHD_CONNECTION_NOTIFY_STARTED)
		return;
	info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
	ensure(info && info->tls_session);
	server_tls_require(info->tls_session);
}

/* Takes fd. `tls` is certificate, key and authority, or NULL. */
static int endpoint_new(
	struct server *s, int fd, char *const *tls, struct endpoint **ret_p, struct err *e)
{
	struct endpoint *p = calloc(1, sizeof(*p));
	struct MHD_OptionItem more[] = {
		{MHD_OPTION_HTTPS_MEM_CERT, 0, tls ? tls[0] : NULL},
		{MHD_OPTION_HTTPS_MEM_KEY, 0, tls ? tls[1] : NULL},
		{MHD_OPTION_HTTPS_MEM_TRUST, 0, tls ? tls[2] : NULL},
		{MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)SERVER_TLS_PRIORITIES},
		{MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)connection_notify, NULL},
		{MHD_OPTION_END, 0, NULL},
	};
	struct MHD_OptionItem *none = &more[ARRAY_SIZE(more) - 1];
	unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
	const union MHD_DaemonInfo *info;
	int ret;

	ensure(p);
	p->server = s;
	p->tls = tls != NULL;
	p->timer.expired = endpoint_expired;
	p->mhd = MHD_start_daemon(flags | (tls ? MHD_USE_TLS : 0), 0, NULL, NULL, access_handler, p,
		MHD_OPTION_EXTERNAL_LOGGER, library_says, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_NOTIFY_COMPLETED, completed, NULL, MHD_OPTION_CONNECTION_LIMIT,
		CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_ARRAY, tls ? more : none,
		MHD_OPTION_END);
	if (!p->mhd) {
		close(fd);
		free(p);
		return err_set(e, -EIO, "the HTTP server does not start%s",
			tls ? ": certificate, key and ca do not fit together" : "");
	}
	info = MHD_get_daemon_info(p->mhd, MHD_DAEMON_INFO_EPOLL_FD);
	ensure(info);
	p->source = (struct loop_source){
		.fd = info->epoll_fd, .events = EPOLLIN, .ready = endpoint_ready};
	ret = loop_add(s->loop, &p->source);
	ensure(ret == 0);
	*ret_p = p;
	return 0;
}

static void endpoint_free(struct endpoint *p)
{
	if (!p)
		return;
	loop_timer_clear(p->server->loop, &p->timer);
	loop_remove(p->server->loop, &p->source);
	MHD_stop_daemon(p->mhd);
	free(p);
}

/* ---- TCP ---- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* True when a certificate changed since it was tried last; notes what is there now. */
static bool certificates_changed(struct server *s)
{
	const char *const paths[] = {s->config->certificate, s->config->key, s->config->ca};
	bool changed = false;

	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		struct stat st = {0};

		if (stat(paths[i], &st) < 0)
			st = (struct stat){0};
		changed = changed || !same_file(&st, &s->certificates[i]);
		s->certificates[i] = st;
	}
	return changed;
}

/* The old endpoint gives up its socket first, and serves on when the new one cannot be made. */
static int peers_serve(struct server *s, struct err *e)
{
	const char *const paths[] = {s->config->certificate, s->config->key, s->config->ca};
	struct endpoint *made = NULL;
	char *pem[3] = {NULL, NULL, NULL};
	int ret = 0, fd = -1;

	for (unsigned i = 0; i < ARRAY_SIZE(paths) && !ret; i++) {
		pem[i] = server_read_pem(paths[i], e);
		ret = pem[i] ? 0 : e->code;
	}
	if (!ret && s->peers && !strcmp(s->listen, s->config->listen)) {
		const union MHD_DaemonInfo *info =
			MHD_get_daemon_info(s->peers->mhd, MHD_DAEMON_INFO_LISTEN_FD);

		fd = fcntl(info->listen_fd, F_DUPFD_CLOEXEC, 0);
		ret = fd < 0 ? err_set(e, -errno, "dup: %s", strerror(errno)) : 0;
	} else if (!ret) {
		fd = server_listen_tcp(s->config->listen, e);
		ret = MIN(fd, 0);
	}
	if (!ret)
		ret = endpoint_new(s, fd, pem, &made, e);
	for (unsigned i = 0; i < ARRAY_SIZE(pem); i++) {
		if (pem[i])
			explicit_bzero(pem[i], strlen(pem[i]));
		free(pem[i]);
	}
	if (ret)
		return ret;
	endpoint_free(s->peers);
	s->peers = made;
	snprintf(s->listen, sizeof(s->listen), "%s", s->config->listen);
	return 0;
}

static void look(struct loop_timer *t, uint64_t now_ns)
{
	struct server *s = container_of(t, struct server, timer);
	bool busy = s->peers && s->peers->open;
	struct err e = {0};

	loop_timer_set(s->loop, t, now_ns + (busy ? LOOK_BUSY_NS : LOOK_NS));
	if (busy)
		return;
	if (!s->config->listen[0]) {
		if (s->peers)
			log_info("rest: the peers are not served any more");
		endpoint_free(s->peers);
		s->peers = NULL;
		return;
	}
	if (!certificates_changed(s) && s->peers && !strcmp(s->listen, s->config->listen))
		return;
	if (peers_serve(s, &e) == 0) {
		s->trouble[0] = '\0';
		log_info("rest: serving the peers on '%s'", s->config->listen);
	} else if (strcmp(s->trouble, e.msg) != 0) {
		snprintf(s->trouble, sizeof(s->trouble), "%s", e.msg);
		log_error("rest: %s; %s", e.msg,
			s->peers ? "the old certificates serve on" : "the peers are not served");
	}
}

/* ---- the server ---- */

int server_new(struct loop *l, const struct agent_config *c,
	void (*handler)(void *ctx, struct server_request *r), void *ctx, struct server **ret_server,
	struct err *e)
{
	struct server *s = calloc(1, sizeof(*s));
	int fd = server_listen_unix(c->socket, e), ret;

	ensure(s);
	s->loop = l;
	s->config = c;
	s->handler = handler;
	s->ctx = ctx;
	s->timer.expired = look;
	ret = fd < 0 ? fd : endpoint_new(s, fd, NULL, &s->node, e);
	if (ret) {
		free(s);
		return ret;
	}
	look(&s->timer, clock_mono_ns());
	*ret_server = s;
	return 0;
}

void server_reconfigured(struct server *s)
{
	memset(s->certificates, 0, sizeof(s->certificates));
	loop_timer_set(s->loop, &s->timer, 0);
}

void server_free(struct server *s)
{
	if (!s)
		return;
	s->stopping = true;
	loop_timer_clear(s->loop, &s->timer);
	while (s->open) /* a suspended connection must not be there when its daemon stops */
		server_answer(&s->open->pub, MHD_HTTP_SERVICE_UNAVAILABLE, JSON, STOPS);
	MHD_run(s->node->mhd);
	if (s->peers)
		MHD_run(s->peers->mhd);
	endpoint_free(s->node);
	endpoint_free(s->peers);
	unlink(s->config->socket);
	free(s);
}
