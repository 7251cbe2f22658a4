/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The supervision's round: look at the files, ask the daemons, decide, start. A round comes each interval,
 * when a start is due, when a daemon ends, and when a daemon has answered for the first time.
 *
 * Failure modes: a directory that cannot be read changes nothing; a start that fails (no memory, no log)
 * counts as a daemon that ended at once; a daemon that does not answer keeps its last status, with its age.
 *
 * While a daemon runs, the name and the socket of its volume stay, whatever the file says meanwhile.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "supervise_impl.h"

#define STATUS_TIMEOUT_MS 5000u

static void round_now(struct supervisor *s, uint64_t now_ns);

/* ---- volumes ---- */

static void take_file(struct supervised *v, const struct scan_volume *f)
{
	char name[sizeof(f->name)];

	snprintf(name, sizeof(name), "%s", v->file.name);
	v->seen = true;
	v->looked = v->looked && (v->pid || !strcmp(name, f->name));
	v->file = *f;
	/* A file that became unreadable, or was changed, does not rename what runs. */
	if (name[0] && (v->pid || f->problem[0]))
		snprintf(v->file.name, sizeof(v->file.name), "%s", name);
	snprintf(v->socket, sizeof(v->socket), "%.160s/%s.sock", v->s->config->run_dir,
		v->file.name);
}

/* The volume whose file had another name before, if it runs: there is one daemon for it, and one entry. */
static struct supervised *find_renamed(struct supervisor *s, const struct scan_volume *f)
{
	for (unsigned i = 0; i < s->count; i++)
		if (!s->v[i]->seen && s->v[i]->pid && !f->problem[0] &&
			!strcmp(s->v[i]->file.name, f->name))
			return s->v[i];
	return NULL;
}

static struct supervised *find_path(struct supervisor *s, const char *path)
{
	for (unsigned i = 0; i < s->count; i++)
		if (!strcmp(s->v[i]->file.path, path))
			return s->v[i];
	return NULL;
}

static struct supervised *find(const struct supervisor *s, const char *volume)
{
	for (unsigned i = 0; i < s->count; i++)
		if (!strcmp(s->v[i]->file.name, volume))
			return s->v[i];
	return NULL;
}

static void supervised_free(struct supervised *v)
{
	daemon_call_cancel(v->call);
	if (v->pid > 0) {
		loop_remove(v->s->loop, &v->exit);
		close(v->exit.fd);
	}
	json_free(v->status);
	free(v);
}

/* Those whose file is gone stay as long as their daemon does. */
static void forget_gone(struct supervisor *s)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < s->count; i++) {
		struct supervised *v = s->v[i];

		if (!v->seen) {
			v->file.stamp = (struct decide_stamp){0};
			v->file.problem[0] = '\0';
		}
		if (v->seen || v->pid)
			s->v[kept++] = v;
		else
			supervised_free(v);
	}
	s->count = kept;
}

static void take_new_file(struct supervisor *s, const struct scan_volume *f)
{
	struct supervised *v = find_renamed(s, f);

	if (!v && s->count == SCAN_VOLUMES_MAX)
		return;
	if (!v) {
		v = calloc(1, sizeof(*v));
		ensure(v);
		v->s = s;
		s->v[s->count++] = v;
	}
	take_file(v, f);
}

static void look_at_files(struct supervisor *s)
{
	struct scan *scan;
	struct err e;

	if (scan_volumes(s->config, &scan, &e)) {
		if (strcmp(s->scan_trouble, e.msg) != 0)
			log_error("%s", e.msg);
		snprintf(s->scan_trouble, sizeof(s->scan_trouble), "%s", e.msg);
		return;
	}
	s->scan_trouble[0] = '\0';
	for (unsigned i = 0; i < s->count; i++)
		s->v[i]->seen = false;
	for (unsigned i = 0; i < scan->count; i++) {
		struct supervised *v = find_path(s, scan->v[i].path);

		if (v)
			take_file(v, &scan->v[i]);
	}
	for (unsigned i = 0; i < scan->count; i++)
		if (!find_path(s, scan->v[i].path))
			take_new_file(s, &scan->v[i]);
	free(scan);
	forget_gone(s);
}

/* ---- what the daemons say ---- */

static bool refresh_wants(const struct refresh *r, const struct supervised *v)
{
	return (!r->volume[0] || !strcmp(r->volume, v->file.name)) && v->asked_ns < r->begun_ns;
}

static void ask(struct supervised *v);

/* Ends the refreshes that have all they want; asks again where one wants it. */
static void look_at_refreshes(struct supervisor *s)
{
	for (struct refresh *r = s->refreshes; r; r = r->next) {
		bool open = false;

		for (unsigned i = 0; i < s->count; i++) {
			if (refresh_wants(r, s->v[i]) && !s->v[i]->call)
				ask(s->v[i]);
			open = open || refresh_wants(r, s->v[i]);
		}
		if (!open && !r->done_is_due) {
			r->done_is_due = true;
			loop_timer_set(s->loop, &r->timer, 0);
		}
	}
}

void supervised_ended(struct supervised *v)
{
	uint64_t now = clock_mono_ns();
	char words[DECIDE_REASON_MAX];
	int how;

	supervised_reap(v, &how, words, sizeof(words));
	decide_ended(&v->history, how, words, now);
	json_free(v->status);
	v->status = NULL;
	v->answered_ns = 0;
	v->other_build = false;
	log_warn("%s: the daemon %s%s", v->file.name, v->history.refused ? "refused: " : "",
		v->history.reason);
	round_now(v->s, now);
}

/* Somebody listens on the socket: whose process is it? */
static void adopt(struct supervised *v, int pid, uint64_t now_ns)
{
	if (v->pid || !supervised_adopt(v, pid ? pid : DAEMON_ELSEWHERE))
		return;
	decide_started(&v->history, NULL, now_ns);
	log_info("%s: found running, process %d", v->file.name, pid);
}

static void answered(void *ctx, struct daemon_answer *a)
{
	struct supervised *v = ctx;
	struct supervisor *s = v->s;
	uint64_t now = clock_mono_ns();
	bool first = !v->looked || !v->answered_ns;

	v->call = NULL;
	v->looked = true;
	v->asked_ns = v->call_ns;
	if (a->connected)
		adopt(v, a->pid, now);
	if (a->code == 0 && v->pid && json_get_int(a->json, "code", -EPROTO) == 0) {
		json_free(v->status);
		v->status = a->json;
		a->json = NULL;
		v->answered_ns = now;
		v->other_build = supervised_other_build(v);
	}
	json_free(a->json);
	if (v->pid == DAEMON_ELSEWHERE && (a->code == -ENOENT || a->code == -ECONNREFUSED))
		supervised_ended(v);
	else if (first)
		round_now(s, now);
	look_at_refreshes(s);
}

/* A second file for a volume that has a good one: the daemon on its socket is the other's. */
static bool is_double(const struct supervised *v)
{
	for (unsigned i = 0; i < v->s->count; i++) {
		const struct supervised *k = v->s->v[i];

		if (k != v && !k->file.problem[0] && !strcmp(k->file.name, v->file.name))
			return true;
	}
	return false;
}

static void ask(struct supervised *v)
{
	struct json *request;

	if (v->call)
		return;
	if (!v->pid && v->file.problem[0] && is_double(v)) {
		v->looked = true;
		v->asked_ns = clock_mono_ns();
		return;
	}
	request = json_object();
	json_set_string(request, "verb", "status");
	v->call_ns = clock_mono_ns();
	v->call = daemon_call_start(v->s->loop, v->socket, request, STATUS_TIMEOUT_MS, answered, v);
	json_free(request);
}

/* ---- the round ---- */

static void act(struct supervised *v, uint64_t now_ns)
{
	enum decide_state before = v->decision.state;
	struct err e;

	supervised_decide(v, now_ns);
	if (v->decision.state != before && v->decision.state == DECIDE_REFUSED)
		log_error("%s: not started until its configuration changes: %s", v->file.name,
			v->decision.reason);
	if (v->decision.state != before && v->decision.state == DECIDE_SILENT)
		log_warn("%s: %s", v->file.name, v->decision.reason);
	if (!v->decision.start)
		return;
	decide_started(&v->history, &v->file.stamp, now_ns);
	if (supervised_start(v, &e)) {
		decide_ended(&v->history, -1, e.msg, now_ns);
		log_error("%s: cannot be started: %s", v->file.name, e.msg);
	}
	supervised_decide(v, now_ns);
}

static void round_now(struct supervisor *s, uint64_t now_ns)
{
	uint64_t next = s->scan_at_ns;

	if (s->dry || s->stopping)
		return;
	for (unsigned i = 0; i < s->count; i++) {
		act(s->v[i], now_ns);
		next = MIN(next, s->v[i]->decision.retry_ns);
	}
	loop_timer_set(s->loop, &s->timer, next);
}

static void expired(struct loop_timer *t, uint64_t now_ns)
{
	struct supervisor *s = container_of(t, struct supervisor, timer);

	if (now_ns >= s->scan_at_ns) {
		s->scan_at_ns = now_ns + s->config->interval_ns;
		look_at_files(s);
		for (unsigned i = 0; i < s->count; i++)
			ask(s->v[i]);
	}
	round_now(s, now_ns);
}

struct supervisor *supervisor_new(struct loop *l, const struct agent_config *c)
{
	struct supervisor *s = calloc(1, sizeof(*s));

	ensure(s);
	s->loop = l;
	s->config = c;
	s->timer.expired = expired;
	loop_timer_set(l, &s->timer, 0);
	return s;
}

void supervisor_again(struct supervisor *s)
{
	for (unsigned i = 0; i < s->count; i++)
		s->v[i]->history.refused = false;
	s->scan_at_ns = 0;
	loop_timer_set(s->loop, &s->timer, 0);
}

void supervisor_stop(struct supervisor *s)
{
	s->stopping = true;
	for (unsigned i = 0; i < s->count; i++)
		if (s->v[i]->pid > 0)
			kill(s->v[i]->pid, SIGTERM);
}

int supervisor_replace(struct supervisor *s, const char *volume, struct err *e)
{
	struct supervised *v = find(s, volume);
	int ret = v && v->pid > 0 ? supervised_terminate(v) : -ESRCH;

	if (ret)
		return err_set(e, ret, "its daemon cannot be told to stop: %s", strerror(-ret));
	log_info("%s: process %d is told to stop, to be started from the program on disk", volume,
		v->pid);
	v->history.replaced = true;
	v->replacing = true;
	return 0;
}

void supervisor_replaced(struct supervisor *s, const char *volume)
{
	struct supervised *v = find(s, volume);

	if (v)
		v->replacing = false;
}

bool supervisor_is_replacing(const struct supervisor *s, const char *volume)
{
	const struct supervised *v = find(s, volume);

	return v && v->replacing;
}

bool supervisor_stopped(const struct supervisor *s)
{
	for (unsigned i = 0; i < s->count; i++)
		if (s->v[i]->pid > 0)
			return false;
	return true;
}

static void refresh_free(struct refresh *r)
{
	for (struct refresh **at = &r->s->refreshes; *at; at = &(*at)->next) {
		if (*at == r) {
			*at = r->next;
			break;
		}
	}
	loop_timer_clear(r->s->loop, &r->timer);
	free(r);
}

void supervisor_free(struct supervisor *s)
{
	if (!s)
		return;
	while (s->refreshes)
		refresh_free(s->refreshes);
	for (unsigned i = 0; i < s->count; i++)
		supervised_free(s->v[i]);
	loop_timer_clear(s->loop, &s->timer);
	free(s);
}

/* All is said, or the time is over. */
static void refresh_expired(struct loop_timer *t, uint64_t now_ns)
{
	struct refresh *r = container_of(t, struct refresh, timer);
	void (*done)(void *ctx) = r->done;
	void *ctx = r->ctx;

	refresh_free(r);
	done(ctx);
}

void supervisor_refresh(
	struct supervisor *s, const char *volume, void (*done)(void *ctx), void *ctx)
{
	struct refresh *r = calloc(1, sizeof(*r));

	ensure(r);
	r->s = s;
	r->begun_ns = clock_mono_ns();
	r->done = done;
	r->ctx = ctx;
	r->timer.expired = refresh_expired;
	snprintf(r->volume, sizeof(r->volume), "%s", volume ? volume : "");
	r->next = s->refreshes;
	s->refreshes = r;
	loop_timer_set(s->loop, &r->timer, r->begun_ns + SUPERVISOR_REFRESH_MS * NS_PER_MS);
	look_at_refreshes(s);
}

/* ---- telling ---- */

static struct json *describe(struct supervised *v, bool with_status)
{
	struct json *j = json_object(), *x = json_object();
	uint64_t now = clock_mono_ns();

	supervised_decide(v, now);
	json_set_string(j, "volume", v->file.name);
	json_set_string(x, "state", decide_state_name(v->decision.state));
	json_set_string(x, "reason", v->decision.reason);
	json_set_double(x, "state_since_s", (double)(now - v->state_since_ns) / (double)NS_PER_S);
	json_set_int(x, "pid", MAX(v->pid, 0));
	json_set_bool(x, "started_by_agent", v->child);
	json_set_int(x, "starts", v->history.starts);
	json_set_int(x, "failures", v->history.failures);
	json_set_bool(x, "upgrade_pending", v->decision.upgrade_pending);
	json_set_string(x, "config", v->file.path);
	if (v->answered_ns)
		json_set_double(x, "answered_s", (double)(now - v->answered_ns) / (double)NS_PER_S);
	if (!v->pid && v->decision.retry_ns != UINT64_MAX)
		json_set_double(x, "retry_s",
			v->decision.retry_ns > now
				? (double)(v->decision.retry_ns - now) / (double)NS_PER_S
				: 0);
	json_set(j, "supervision", x);
	if (!with_status)
		return j;
	json_set(j, "status", json_copy(v->status));
	return j;
}

struct json *supervisor_volumes(struct supervisor *s)
{
	struct json *arr = json_array();

	for (unsigned i = 0; i < s->count; i++)
		json_append(arr, describe(s->v[i], true));
	return arr;
}

struct json *supervisor_list(struct supervisor *s)
{
	struct json *arr = json_array();

	for (unsigned i = 0; i < s->count; i++)
		json_append(arr, describe(s->v[i], false));
	return arr;
}

struct json *supervisor_volume(struct supervisor *s, const char *volume)
{
	struct supervised *v = find(s, volume);

	return v ? describe(v, true) : NULL;
}

bool supervisor_socket(const struct supervisor *s, const char *volume, char *ret_path, size_t size)
{
	const struct supervised *v = find(s, volume);

	if (v)
		snprintf(ret_path, size, "%s", v->socket);
	return v != NULL;
}

/* ---- a dry run ---- */

static bool all_looked(const struct supervisor *s)
{
	for (unsigned i = 0; i < s->count; i++)
		if (!s->v[i]->looked)
			return false;
	return true;
}

int supervise_dry_run(const struct agent_config *c, FILE *out, struct err *e)
{
	struct supervisor *s;
	struct loop *l;
	int ret = loop_new(&l);

	if (ret)
		return err_set(e, ret, "an event loop: %s", strerror(-ret));
	s = supervisor_new(l, c);
	loop_timer_clear(l, &s->timer);
	s->dry = true;
	look_at_files(s);
	if (s->scan_trouble[0])
		ret = err_set(e, -EIO, "%s", s->scan_trouble);
	for (unsigned i = 0; i < s->count; i++)
		ask(s->v[i]);
	while (!all_looked(s) && loop_run_once(l, NS_PER_S) == 0)
		;
	for (unsigned i = 0; i < s->count; i++) {
		struct supervised *v = s->v[i];

		supervised_decide(v, clock_mono_ns());
		fprintf(out, "%s: %s", v->file.name,
			v->decision.start ? "would be started"
					  : decide_state_name(v->decision.state));
		if (v->pid > 0)
			fprintf(out, " (process %d)", v->pid);
		fprintf(out, "%s%s%s\n", v->decision.upgrade_pending ? ", upgrade pending" : "",
			v->decision.reason[0] ? ": " : "", v->decision.reason);
	}
	if (!ret && !s->count)
		fprintf(out, "no volume is configured in '%s'\n", c->volumes);
	supervisor_free(s);
	loop_free(l);
	return ret;
}
