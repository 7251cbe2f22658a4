/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volumes of this node and the calls to their daemons. A volume is a socket NAME.sock in the
 * directory, or one that the agent knows; what the agent knows goes through the agent while it runs. Calls go out at the same time, one thread each: at a failover each volume's time would
 * otherwise come on top of the others'.
 *
 * A question is put once for all volumes that have one. Volumes without a question are done by then:
 * the daemon only asks where something could be lost.
 *
 * Failure modes: a socket that nobody listens on is a failure of that volume only; the others are
 * asked nevertheless, and the exit status says that not everything was done. A daemon that can do it in a
 * moment (it recovers, it is starting to serve) is asked again as long as an answer is waited for at all.
 */
#include "ctl.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "clock.h"
#include "control.h"

#define OPERATE_TIMEOUT_MS 60000u
#define STATUS_TIMEOUT_MS 5000u
#define SOON_NS (100 * NS_PER_MS)
#define SUFFIX ".sock"

/* ---- finding ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct ctl_volume *)a)->name, ((const struct ctl_volume *)b)->name);
}

/* Adds the volume of a directory entry, if it is one. */
static void volume_add(struct ctl *c, struct ctl_volumes *vs, const char *file)
{
	struct ctl_volume *v = &vs->v[vs->count];
	size_t len = strlen(file);
	struct stat st;
	int n;

	if (len <= strlen(SUFFIX) || len - strlen(SUFFIX) > VOLUME_NAME_MAX ||
		strcmp(file + len - strlen(SUFFIX), SUFFIX) != 0 || vs->count == CTL_VOLUMES_MAX)
		return;
	n = snprintf(v->path, sizeof(v->path), "%s/%s", c->run_dir, file);
	if (n < 0 || (size_t)n >= sizeof(v->path) || stat(v->path, &st) < 0 ||
		!S_ISSOCK(st.st_mode))
		return;
	memcpy(v->name, file, len - strlen(SUFFIX));
	v->name[len - strlen(SUFFIX)] = '\0';
	v->selected = true;
	vs->count++;
}

/* Leaves only the volume of this name. */
static int volume_pick(struct ctl *c, struct ctl_volumes *vs, const char *name)
{
	char others[512];
	size_t at = 0;

	for (unsigned i = 0; i < vs->count; i++) {
		if (strcmp(vs->v[i].name, name) == 0) {
			vs->v[0] = vs->v[i];
			vs->count = 1;
			return CTL_OK;
		}
	}
	others[0] = '\0';
	for (unsigned i = 0; i < vs->count && at < sizeof(others) - 1; i++)
		at += (size_t)snprintf(
			others + at, sizeof(others) - at, "%s%s", i ? ", " : "", vs->v[i].name);
	if (!vs->count)
		return ctl_fail(
			c, "volume '%s' is not running here: no socket in '%s'", name, c->run_dir);
	return ctl_fail(c, "volume '%s' is not running here (running: %s)", name, others);
}

int ctl_volumes_find(struct ctl *c, const char *name, struct ctl_volumes **ret_vs)
{
	struct ctl_volumes *vs = calloc(1, sizeof(*vs));
	DIR *d = opendir(c->run_dir);
	int saved = errno, status = CTL_OK;
	struct dirent *entry;

	ensure(vs);
	while (d && (entry = readdir(d)))
		volume_add(c, vs, entry->d_name);
	if (d)
		closedir(d);
	ctl_agent_volumes(c, vs);
	qsort(vs->v, vs->count, sizeof(vs->v[0]), by_name);
	if (!d && saved != ENOENT)
		status = ctl_fail(c, "cannot read '%s': %s", c->run_dir, strerror(saved));
	else if (name)
		status = volume_pick(c, vs, name);
	else if (!vs->count)
		status = ctl_fail(c, "no volume is running here: no socket in '%s'", c->run_dir);
	if (status) {
		free(vs);
		return status;
	}
	*ret_vs = vs;
	return CTL_OK;
}

void ctl_volumes_free(struct ctl_volumes *vs)
{
	if (!vs)
		return;
	for (unsigned i = 0; i < vs->count; i++)
		json_free(vs->v[i].answer);
	free(vs);
}

/* ---- calling ---- */

struct call {
	const struct ctl *c;
	struct ctl_volume *v;
	char *request; /* its own copy: JSON values are for one thread */
	unsigned timeout_ms;
	pthread_t thread;
	bool running;
};

static void *call_run(void *arg)
{
	struct call *call = arg;
	struct ctl_volume *v = call->v;
	uint64_t begin = clock_mono_ns(), until = begin + call->timeout_ms * NS_PER_MS;
	struct json *request;

	ensure(json_parse(call->request, strlen(call->request), &request, &v->e) == 0);
	for (;;) {
		if (!v->supervised || !ctl_agent_call(call->c, v, request, call->timeout_ms))
			control_call(v->path, request, call->timeout_ms, &v->answer, &v->e);
		if (!v->answer || ctl_code(v) != CONTROL_SOON || clock_mono_ns() + SOON_NS > until)
			break;
		json_free(v->answer);
		v->answer = NULL;
		nanosleep(&(struct timespec){.tv_nsec = SOON_NS}, NULL);
	}
	json_free(request);
	v->took_ns += clock_mono_ns() - begin;
	return NULL;
}

void ctl_call(struct ctl *c, struct ctl_volumes *vs, const struct json *request,
	unsigned default_timeout_ms)
{
	struct call *calls = calloc(vs->count, sizeof(*calls));
	char *text = strdup(json_text(request, false));

	ensure(calls && text);
	for (unsigned i = 0; i < vs->count; i++) {
		struct call *call = &calls[i];

		call->c = c;
		call->v = &vs->v[i];
		if (!call->v->selected)
			continue;
		json_free(call->v->answer);
		call->v->answer = NULL;
		memset(&call->v->e, 0, sizeof(call->v->e));
		call->request = text;
		call->timeout_ms = c->timeout_ms ? c->timeout_ms : default_timeout_ms;
		call->running = pthread_create(&call->thread, NULL, call_run, call) == 0;
		if (!call->running)
			call_run(call); /* one after the other, then */
	}
	for (unsigned i = 0; i < vs->count; i++)
		if (calls[i].running)
			pthread_join(calls[i].thread, NULL);
	free(text);
	free(calls);
}

int ctl_volumes_status(struct ctl *c, const char *name, struct ctl_volumes **ret_vs)
{
	int status = ctl_volumes_find(c, name, ret_vs);
	struct json *request;

	if (status)
		return status;
	request = json_object();
	json_set_string(request, "verb", "status");
	ctl_call(c, *ret_vs, request, STATUS_TIMEOUT_MS);
	json_free(request);
	return CTL_OK;
}

int ctl_code(const struct ctl_volume *v)
{
	if (!v->answer)
		return v->e.code ? v->e.code : -EIO;
	return (int)json_get_int(v->answer, "code", -EPROTO);
}

const char *ctl_text(const struct ctl_volume *v)
{
	const char *text;

	if (!v->answer)
		return v->e.msg;
	text = json_get_string(v->answer, "text", "");
	if (!text[0] && ctl_code(v) < 0)
		return strerror(-ctl_code(v));
	return text;
}

/* ---- an operator's word ---- */

bool ctl_typed_yes(struct ctl *c)
{
	char line[64];

	if (!fgets(line, sizeof(line), c->in))
		return false;
	line[strcspn(line, "\r\n")] = '\0';
	return strcmp(line, "yes") == 0;
}

/* Puts the questions. CTL_OK: the answer is yes; the volumes that asked are selected. */
static int ask(struct ctl *c, struct ctl_volumes *vs)
{
	unsigned questions = 0;

	for (unsigned i = 0; i < vs->count; i++) {
		struct ctl_volume *v = &vs->v[i];
		char prefix[VOLUME_NAME_MAX + 3];

		v->selected = ctl_code(v) == 1;
		if (!v->selected)
			continue;
		questions++;
		snprintf(prefix, sizeof(prefix), "%s: ", v->name);
		ctl_print(c->err, prefix, ctl_text(v));
		fputc('\n', c->err);
	}
	if (!questions)
		return CTL_OK;
	if (!c->terminal) {
		ctl_fail(c, "this needs a yes: repeat with --yes when that is what you want");
		return CTL_NEEDS_YES;
	}
	fputs("Type 'yes' to go on: ", c->err);
	fflush(c->err);
	if (ctl_typed_yes(c))
		return CTL_OK;
	ctl_fail(c, "not confirmed");
	return CTL_NEEDS_YES;
}

static void print_done(FILE *f, const struct ctl_volume *v, const char *otherwise)
{
	char prefix[VOLUME_NAME_MAX + 3];
	const char *text = ctl_text(v);

	snprintf(prefix, sizeof(prefix), "%s: ", v->name);
	ctl_print(f, prefix, text[0] ? text : otherwise);
	fprintf(f, " (%.0f ms)\n", (double)v->took_ns / NS_PER_MS);
}

int ctl_operate(struct ctl *c, struct ctl_volumes *vs, struct json *request, int skip)
{
	unsigned done = 0, failed = 0, open = 0, skipped = 0;
	uint64_t longest_ns = 0;
	int status;

	if (c->yes)
		json_set_bool(request, "yes", true);
	if (c->accept_data_loss)
		json_set_bool(request, "accept_data_loss", true);
	if (c->force)
		json_set_bool(request, "force", true);
	ctl_call(c, vs, request, OPERATE_TIMEOUT_MS);
	status = ask(c, vs);
	if (status == CTL_OK) {
		json_set_bool(request, "yes", true);
		ctl_call(c, vs, request, OPERATE_TIMEOUT_MS);
	}
	json_free(request);
	for (unsigned i = 0; i < vs->count; i++) {
		struct ctl_volume *v = &vs->v[i];
		int code = ctl_code(v);

		longest_ns = MAX(longest_ns, v->took_ns);
		if (code == 0) {
			done++;
			print_done(c->out, v, "done");
		} else if (code == 1) {
			open++;
			fprintf(c->out, "%s: not changed\n", v->name);
		} else if (skip && v->answer && code == skip) {
			skipped++;
			print_done(c->out, v, "not concerned");
		} else {
			failed++;
			print_done(c->out, v, "failed");
		}
	}
	if (vs->count > 1 || skipped) {
		fprintf(c->out, "%u volume%s: %u done", vs->count, vs->count == 1 ? "" : "s", done);
		if (skipped)
			fprintf(c->out, ", %u not concerned", skipped);
		if (open)
			fprintf(c->out, ", %u not changed", open);
		fprintf(c->out, ", %u failed, in %.0f ms\n", failed,
			(double)longest_ns / NS_PER_MS);
	}
	if (failed || (skipped && !done && !open))
		return CTL_FAILED;
	return open ? CTL_NEEDS_YES : CTL_OK;
}
