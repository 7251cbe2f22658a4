/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server end of the control protocol, on the loop's thread.
 *
 * The happy path: a line is parsed into a request and handed to the handler; control_answer(), at
 * once or later, writes the answer's line; answers that are ready before an earlier one wait for it.
 *
 * Failure modes: what is no JSON object with a verb is answered with the reason; a line that is too
 * long is answered and the client closed; a client that does not read, or asks a lot without
 * waiting, is not read from until it catches up; one that closed its writing half still gets its
 * answers. A client that is gone leaves its open requests behind, whose answers then vanish.
 *
 * Ownership: a request belongs to the handler until it is answered. A client is freed when it ended
 * and none of its functions is on the stack (`busy`).
 */
#include "control_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"

#define CLIENTS_MAX 64u
#define REQUESTS_MAX 32u /* of one client, unanswered */
#define OUT_MAX (1u << 20) /* bytes of answers that a client has not read */

struct request {
	struct control_request pub;
	struct client *client; /* NULL: gone */
	struct json *args;
	struct request *next; /* of the client, in order */
	char *answer; /* NULL: still open */
};

struct client {
	struct control_server *server; /* NULL: closed */
	struct loop *loop;
	struct client *next;
	struct loop_source source;
	struct request *first, **last;
	unsigned requests;
	unsigned busy; /* calls on the stack */
	bool ended;
	bool finished; /* no more requests will come; it ends when all is answered */
	char *in;
	size_t in_len;
	char *out;
	size_t out_len, out_done, out_size;
};

struct control_server {
	struct loop *loop;
	struct loop_source source;
	void (*handler)(void *ctx, struct control_request *r);
	void *ctx;
	struct client *clients;
	unsigned nclients;
	struct sockaddr_un address;
	dev_t dev; /* of the socket's name: only ours is unlinked */
	ino_t ino;
};

/* ---- clients ---- */

static void client_end(struct client *c)
{
	if (c->ended)
		return;
	c->ended = true;
	loop_remove(c->loop, &c->source);
	close(c->source.fd);
	if (c->server) {
		for (struct client **at = &c->server->clients; *at; at = &(*at)->next) {
			if (*at == c) {
				*at = c->next;
				break;
			}
		}
		c->server->nclients--;
		c->server = NULL;
	}
	while (c->first) {
		struct request *r = c->first;

		c->first = r->next;
		r->client = NULL;
		if (r->answer) { /* was only waiting for an earlier one */
			free(r->answer);
			json_free(r->args);
			free(r);
		}
	}
}

static void client_leave(struct client *c)
{
	if (--c->busy || !c->ended)
		return;
	free(c->in);
	free(c->out);
	free(c);
}

static bool client_full(const struct client *c)
{
	return c->requests >= REQUESTS_MAX || c->out_len - c->out_done >= OUT_MAX;
}

static void client_update(struct client *c)
{
	uint32_t events = 0;
	bool line;

	if (c->ended)
		return;
	line = memchr(c->in, '\n', c->in_len) != NULL;
	if (c->finished && !line && !c->requests && c->out_done == c->out_len) {
		client_end(c);
		return;
	}
	if (!c->finished && !client_full(c))
		events |= EPOLLIN;
	/* Writable is nearly always true: this also calls us for lines that were left waiting. */
	if (c->out_done < c->out_len || (line && !client_full(c)))
		events |= EPOLLOUT;
	loop_modify(c->loop, &c->source, events);
}

static void client_write(struct client *c)
{
	while (!c->ended && c->out_done < c->out_len) {
		ssize_t n = send(c->source.fd, c->out + c->out_done, c->out_len - c->out_done,
			MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN)
				client_end(c);
			break;
		}
		c->out_done += (size_t)n;
	}
	if (c->out_done == c->out_len)
		c->out_done = c->out_len = 0;
}

static bool client_queue(struct client *c, const char *text)
{
	size_t len = strlen(text);

	if (c->out_len + len + 1 > c->out_size) {
		size_t size = c->out_len + len + 1;
		char *bigger = realloc(c->out, size);

		if (!bigger)
			return false;
		c->out = bigger;
		c->out_size = size;
	}
	memcpy(c->out + c->out_len, text, len);
	c->out[c->out_len + len] = '\n';
	c->out_len += len + 1;
	return true;
}

/* Sends the answers that are ready and have nothing unanswered before them. */
static void client_answers(struct client *c)
{
	while (!c->ended && c->first && c->first->answer) {
		struct request *r = c->first;
		bool queued = client_queue(c, r->answer);

		c->first = r->next;
		if (!c->first)
			c->last = &c->first;
		c->requests--;
		free(r->answer);
		json_free(r->args);
		free(r);
		if (!queued)
			client_end(c);
	}
	client_write(c);
	client_update(c);
}

/* ---- requests ---- */

int control_parse(
	const char *line, size_t len, struct json **ret_args, const char **ret_verb, struct err *e)
{
	struct json *args;
	const char *verb;
	int ret = json_parse(line, len, &args, e);

	if (ret < 0)
		return ret;
	verb = json_get_string(args, "verb", NULL);
	if (!verb || !verb[0] || strlen(verb) > 63) {
		json_free(args);
		return err_set(e, -EINVAL, "a request is an object with a verb");
	}
	*ret_args = args;
	*ret_verb = verb;
	return 0;
}

static struct request *request_new(struct client *c)
{
	struct request *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->client = c;
	r->pub.owner = r;
	*c->last = r;
	c->last = &r->next;
	c->requests++;
	return r;
}

void control_answer(struct control_request *pub, int code, const char *text, struct json *answer)
{
	struct request *r = pub->owner;
	struct client *c = r->client;
	char number[32];

	ensure(!r->answer);
	if (!c) {
		json_free(answer);
		json_free(r->args);
		free(r);
		return;
	}
	if (!answer)
		answer = json_object();
	json_set_int(answer, "code", code);
	json_set_string(answer, "text", text ? text : "");
	r->answer = strdup(json_text(answer, false));
	json_free(answer);
	if (!r->answer || strlen(r->answer) >= CONTROL_LINE_MAX) {
		snprintf(number, sizeof(number), "{\"code\":%d}", r->answer ? -E2BIG : -ENOMEM);
		free(r->answer);
		r->answer = strdup(number);
		ensure(r->answer);
	}
	c->busy++;
	client_answers(c);
	client_leave(c);
}

static void line_received(struct client *c, const char *line, size_t len)
{
	struct request *r = request_new(c);
	struct err e;
	int ret;

	if (!r) {
		client_end(c);
		return;
	}
	ret = control_parse(line, len, &r->args, &r->pub.verb, &e);
	if (ret < 0) {
		control_answer(&r->pub, ret, e.msg, NULL);
		return;
	}
	r->pub.args = r->args;
	c->server->handler(c->server->ctx, &r->pub);
}

/* Hands over the whole lines in the buffer. */
static void client_lines(struct client *c)
{
	size_t at = 0;

	while (!c->ended && !client_full(c)) {
		char *end = memchr(c->in + at, '\n', c->in_len - at);
		size_t start = at;

		if (!end)
			break;
		at = (size_t)(end - c->in) + 1;
		line_received(c, c->in + start, at - 1 - start);
	}
	memmove(c->in, c->in + at, c->in_len - at);
	c->in_len -= at;
	if (!c->ended && c->in_len == CONTROL_LINE_MAX && !memchr(c->in, '\n', c->in_len)) {
		struct request *r = request_new(c);

		c->in_len = 0;
		c->finished = true;
		if (r)
			control_answer(&r->pub, -E2BIG, "the line is too long", NULL);
	}
}

static void client_ready(struct loop_source *s, uint32_t events)
{
	struct client *c = container_of(s, struct client, source);

	c->busy++;
	if (events & EPOLLOUT)
		client_write(c);
	if (!c->ended)
		client_lines(c); /* what a pause has left in the buffer */
	if (!c->ended && !c->finished && !client_full(c) && c->in_len < CONTROL_LINE_MAX) {
		ssize_t n =
			recv(s->fd, c->in + c->in_len, CONTROL_LINE_MAX - c->in_len, MSG_DONTWAIT);

		if (n == 0)
			c->finished = true;
		else if (n < 0 && errno != EAGAIN && errno != EINTR)
			client_end(c);
		else if (n > 0)
			c->in_len += (size_t)n;
		if (!c->ended)
			client_lines(c);
	}
	/* It cannot read what is still to come, and there is nothing more to read from it. */
	if (!c->ended && (events & (EPOLLERR | EPOLLHUP)) && (c->finished || client_full(c)))
		client_end(c);
	client_update(c);
	client_leave(c);
}

/* ---- the socket ---- */

static bool credentials_good(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return false;
	if (cred.uid == 0 || cred.uid == geteuid())
		return true;
	log_warn("control: process %d of user %u refused", cred.pid, cred.uid);
	return false;
}

static void server_ready(struct loop_source *s, uint32_t events)
{
	struct control_server *server = container_of(s, struct control_server, source);
	int fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;

	if (fd < 0)
		return;
	c = server->nclients < CLIENTS_MAX && credentials_good(fd) ? calloc(1, sizeof(*c)) : NULL;
	if (c)
		c->in = malloc(CONTROL_LINE_MAX);
	if (!c || !c->in) {
		free(c);
		close(fd);
		return;
	}
	c->server = server;
	c->loop = server->loop;
	c->last = &c->first;
	c->source.fd = fd;
	c->source.events = EPOLLIN;
	c->source.ready = client_ready;
	if (loop_add(server->loop, &c->source) < 0) {
		close(fd);
		free(c->in);
		free(c);
		return;
	}
	c->next = server->clients;
	server->clients = c;
	server->nclients++;
}

/* Is there a living process behind the socket's name? 0: no, it may be replaced. */
static int name_in_use(const struct sockaddr_un *sa, struct err *e)
{
	cleanup_close int fd = -1;
	struct stat st;

	if (lstat(sa->sun_path, &st) < 0)
		return errno == ENOENT
			       ? 0
			       : err_set(e, -errno, "'%s': %s", sa->sun_path, strerror(errno));
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, -EEXIST, "'%s' is there and is no socket", sa->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, -errno, "socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)sa, sizeof(*sa)) == 0 || errno == EAGAIN)
		return err_set(e, -EADDRINUSE,
			"a daemon already answers at '%s': the volume is running", sa->sun_path);
	return 0;
}

static int make_directory(const char *path, struct err *e)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return err_set(e, -errno, "cannot make '%s': %s", dir, strerror(errno));
	return 0;
}

/* Binds under another name, so that the real one appears complete: mode 0600, listening. */
static int listen_at(struct control_server *s, struct err *e)
{
	const char *path = s->address.sun_path;
	struct sockaddr_un temporary = {.sun_family = AF_UNIX};
	cleanup_close int fd = -1;
	struct stat st;
	int n, ret;

	n = snprintf(temporary.sun_path, sizeof(temporary.sun_path), "%s.%d", path, getpid());
	if (n < 0 || (size_t)n >= sizeof(temporary.sun_path))
		return err_set(e, -ENAMETOOLONG, "'%s': the socket's path is too long", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, -errno, "socket: %s", strerror(errno));
	unlink(temporary.sun_path);
	if (bind(fd, (struct sockaddr *)&temporary, sizeof(temporary)) < 0)
		return err_set(e, -errno, "cannot bind '%s': %s", path, strerror(errno));
	if (chmod(temporary.sun_path, 0600) < 0 || listen(fd, 64) < 0 ||
		stat(temporary.sun_path, &st) < 0 || rename(temporary.sun_path, path) < 0) {
		ret = err_set(e, -errno, "cannot listen on '%s': %s", path, strerror(errno));
		unlink(temporary.sun_path);
		return ret;
	}
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	s->source.fd = fd;
	fd = -1;
	return 0;
}

int control_listen(struct loop *l, const char *path,
	void (*handler)(void *ctx, struct control_request *r), void *ctx,
	struct control_server **ret_server, struct err *e)
{
	struct control_server *s = calloc(1, sizeof(*s));
	int ret;

	if (!s)
		return err_set(e, -ENOMEM, "out of memory");
	s->loop = l;
	s->handler = handler;
	s->ctx = ctx;
	s->source.events = EPOLLIN;
	s->source.ready = server_ready;
	ret = control_address(path, &s->address, e);
	if (ret == 0)
		ret = make_directory(path, e);
	if (ret == 0)
		ret = name_in_use(&s->address, e);
	if (ret == 0)
		ret = listen_at(s, e);
	if (ret < 0) {
		free(s);
		return ret;
	}
	ret = loop_add(l, &s->source);
	if (ret < 0) {
		err_set(e, ret, "control: %s", strerror(-ret));
		control_close(s);
		return ret;
	}
	*ret_server = s;
	return 0;
}

int control_move(struct control_server *s, struct loop *l,
	void (*handler)(void *ctx, struct control_request *r), void *ctx)
{
	struct client *c, *next;

	loop_remove(s->loop, &s->source);
	for (c = s->clients; c; c = next) {
		next = c->next;
		ensure(!c->busy && !c->first);
		loop_remove(c->loop, &c->source);
		c->loop = l;
		c->busy++;
		if (loop_add(l, &c->source) < 0)
			client_end(c);
		client_leave(c);
	}
	s->loop = l;
	s->handler = handler;
	s->ctx = ctx;
	return loop_add(l, &s->source);
}

void control_close(struct control_server *s)
{
	struct stat st;

	if (!s)
		return;
	while (s->clients) {
		struct client *c = s->clients;

		c->busy++;
		client_write(c); /* what can still be said */
		client_end(c);
		client_leave(c);
	}
	loop_remove(s->loop, &s->source);
	close(s->source.fd);
	if (stat(s->address.sun_path, &st) == 0 && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->address.sun_path);
	free(s);
}
