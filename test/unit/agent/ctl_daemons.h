/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests of tandemctl: daemons made by hand (real sockets, the test's answers), and tandemctl's output read back.
 * Each file that includes it has its own; setup() and fini() are those of its suite.
 */
#ifndef TEST_CTL_DAEMONS_H
#define TEST_CTL_DAEMONS_H

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "ctl.h"
#include "log.h"

#define VOLUMES_MAX 8
#define WORDS_MAX 16

/* A daemon: it answers a request with a text by what the request says. */
struct daemon {
	char path[96];
	struct control_server *server;
	const char *plain; /* the answer as JSON to a request without "yes" */
	const char *yes; /* ... with it; NULL: the same */
	bool silent; /* no answer at all */
	unsigned soon; /* so many answers first that it can in a moment */
	struct control_request *held; /* of a silent one */
	unsigned requests;
	char last[512]; /* the last request */
};

static char dir[64];
static struct loop *l;
static struct daemon daemons[VOLUMES_MAX];
static unsigned ndaemons;
static pthread_t thread;
static atomic_bool stopping;
static bool running;
static char *out_text, *err_text;
static const char *typed; /* NULL: no terminal */

static void handler(void *ctx, struct control_request *r)
{
	struct daemon *d = ctx;
	bool yes = json_get_bool(r->args, "yes", false);
	const char *text = yes && d->yes ? d->yes : d->plain;
	struct json *answer, *rest;
	struct err e;

	d->requests++;
	if (d->soon) {
		d->soon--;
		control_answer(r, CONTROL_SOON, "recovering: try again in a moment", NULL);
		return;
	}
	snprintf(d->last, sizeof(d->last), "%s", json_text(r->args, false));
	if (d->silent) {
		cr_assert(!d->held);
		d->held = r;
		return;
	}
	cr_assert_eq(json_parse(text, strlen(text), &answer, &e), 0, "%s", e.msg);
	rest = json_get(answer, "code");
	cr_assert(rest);
	control_answer(r, (int)json_get_int(answer, "code", 0), json_get_string(answer, "text", ""),
		answer);
}

static void daemon_add(const char *name, const char *plain, const char *yes)
{
	struct daemon *d = &daemons[ndaemons++];
	struct err e;

	d->plain = plain;
	d->yes = yes;
	snprintf(d->path, sizeof(d->path), "%s/%s.sock", dir, name);
	cr_assert_eq(control_listen(l, d->path, handler, d, &d->server, &e), 0, "%s", e.msg);
}

static void *serve(void *arg)
{
	while (!atomic_load(&stopping))
		loop_run_once(l, 50 * NS_PER_MS);
	return NULL;
}

static void setup(void)
{
	log_set_level(LOG_LEVEL_ERROR + 1);
	snprintf(dir, sizeof(dir), "/tmp/tandem-ctl-XXXXXX");
	cr_assert(mkdtemp(dir));
	cr_assert_eq(loop_new(&l), 0);
}

static void fini(void)
{
	atomic_store(&stopping, true);
	loop_wake(l);
	if (running)
		pthread_join(thread, NULL);
	for (unsigned i = 0; i < ndaemons; i++) {
		if (daemons[i].held)
			control_answer(daemons[i].held, 0, "too late", NULL);
		control_close(daemons[i].server);
	}
	loop_free(l);
	free(out_text);
	free(err_text);
	if (rmdir(dir) < 0) { /* a failed assertion in .fini is printed and forgotten */
		perror(dir);
		abort();
	}
}

/* Runs "tandemctl --run-dir DIR words..."; the words end with NULL. */
static int run(const char *first, ...)
{
	const char *argv[WORDS_MAX] = {"tandemctl", "--run-dir", dir};
	struct ctl c = {0};
	size_t out_len, err_len;
	int argc = 3, status;
	va_list ap;

	if (ndaemons && !running) {
		cr_assert_eq(pthread_create(&thread, NULL, serve, NULL), 0);
		running = true;
	}
	va_start(ap, first);
	for (const char *w = first; w; w = va_arg(ap, const char *))
		argv[argc++] = w;
	va_end(ap);
	free(out_text);
	free(err_text);
	c.out = open_memstream(&out_text, &out_len);
	c.err = open_memstream(&err_text, &err_len);
	c.in = fmemopen((void *)(typed ? typed : "\n"), typed ? strlen(typed) : 1, "r");
	c.terminal = typed != NULL;
	status = ctl_run(&c, argc, argv);
	fclose(c.in);
	fclose(c.out);
	fclose(c.err);
	return status;
}

#define assert_has(text, part) cr_assert(strstr((text), (part)), "\"%s\" in \"%s\"", part, text)
#define assert_not(text, part) cr_assert(!strstr((text), (part)), "\"%s\" in \"%s\"", part, text)

#endif
