/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run: of the volumes whose daemon runs another build, what hurts least first, and the next one only when the one
 * before serves again (upgrade.c decides). Before a daemon is told to stop, a thread sees that the new program can run
 * at all, and asks the other sites' agents whether an operation on the volume is under way there; who does not answer
 * says nothing.
 *
 * Nothing of a run is kept on disk. An agent that dies in the middle leaves daemons that run, or one that was told to
 * stop, which the next agent starts again; the rest is pending still.
 *
 * Failure modes: a program that cannot run ends the run before anything is touched; one that does not serve ends it
 * with that volume, and the rest is not touched. A volume that something else is done with is passed over.
 */
#include "upgrades.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "kernel.h"
#include "log.h"
#include "operations_impl.h"
#include "peer_volume.h"
#include "replica_make.h"
#include "scan.h"
#include "upgrade.h"

#define LOOK_NS (100 * NS_PER_MS)
#define PEER_MS 3000u
#define PROGRAM_NS (10 * NS_PER_S)
#define PROGRAM_LOOK_US 10000u

enum run_state { RUN_NONE, RUN_PLANNED, RUN_RUNNING, RUN_DONE, RUN_FAILED };

struct run {
	enum run_state state;
	uint64_t begun_ms, timeout_ns;
	bool yes;
	unsigned looked; /* volumes */
	unsigned count;
	struct upgrade of[SCAN_VOLUMES_MAX];
	char message[UPGRADE_TEXT_MAX];
};

struct upgrades {
	const struct agent_config *config;
	struct loop *loop;
	struct tasks *tasks;
	struct supervisor *supervisor;
	bool (*busy)(void *ctx, const char *volume, char *ret_words, size_t size);
	void *ctx;
	struct run run;
	unsigned at; /* whose turn it is */
	struct loop_timer timer; /* the next look, or the next try to get a thread */
	/* the thread's, while there is one */
	char asked[VOLUME_NAME_MAX + 1];
	char program_words[UPGRADE_TEXT_MAX], peer_words[UPGRADE_TEXT_MAX];
};

static void next(struct upgrades *u);

/* ---- seeing ---- */

static bool wants_holder(const struct upgrades *u, const char *volume)
{
	return kernel_resends(NULL) && replica_has_holder(u->config, volume);
}

static void see(const struct upgrades *u, const struct json *entry, struct upgrade_seen *ret_seen)
{
	upgrade_see(entry, operations_answers(entry),
		wants_holder(u, json_get_string(entry, "volume", "")), ret_seen);
}

/* What would be done with it now. */
static void judge(const struct upgrades *u, const struct json *entry, struct upgrade *ret)
{
	char busy[UPGRADE_TEXT_MAX / 2] = "";

	see(u, entry, &ret->before);
	u->busy(u->ctx, ret->before.volume, busy, sizeof(busy));
	ret->verdict = upgrade_verdict(&ret->before, busy, ret->message, sizeof(ret->message));
}

static struct upgrade *current(struct upgrades *u)
{
	return &u->run.of[u->at];
}

/* ---- in the thread ---- */

/* Does `PROGRAM version` end with 0? A package that is half installed, or for another machine, is found here. */
static int program_runs(const char *program, const atomic_bool *stop, struct err *e)
{
	char *const argv[] = {(char *)program, (char *)"version", NULL};
	uint64_t until = clock_mono_ns() + PROGRAM_NS;
	posix_spawn_file_actions_t files;
	int ret, how = 0;
	pid_t pid;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDWR, 0);
	posix_spawn_file_actions_adddup2(&files, STDIN_FILENO, STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&files, STDIN_FILENO, STDERR_FILENO);
	ret = posix_spawn(&pid, program, &files, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	if (ret)
		return err_set(e, -ret, "'%.150s' cannot be run: %s", program, strerror(ret));
	while (waitpid(pid, &how, WNOHANG) == 0) {
		if (atomic_load(stop) || clock_mono_ns() > until) {
			kill(pid, SIGKILL);
			waitpid(pid, &how, 0);
			return err_set(e, -ETIMEDOUT, "'%.150s version' does not end", program);
		}
		usleep(PROGRAM_LOOK_US);
	}
	if (WIFEXITED(how) && !WEXITSTATUS(how))
		return 0;
	return err_set(e, -ENOEXEC, "'%.150s version' %s %d", program,
		WIFEXITED(how) ? "ends with status" : "is killed by signal",
		WIFEXITED(how) ? WEXITSTATUS(how) : WTERMSIG(how));
}

/* What the agents of another domain say; those that do not answer do nothing either. */
static void ask_peer(const struct agent_config *c, const char *domain, const char *volume,
	const atomic_bool *stop, char *ret_words, size_t size)
{
	const struct json *list;
	struct json *j = NULL;
	unsigned http;
	struct err e;

	if (peer_volume_call(
		    c, domain, volume, "/v1/operations", NULL, PEER_MS, stop, &http, &j, &e))
		return;
	list = json_get(j, "operations");
	for (unsigned i = 0; http == 200 && i < json_length(list); i++) {
		const struct json *op = json_at(list, i);
		const char *state = json_get_string(op, "state", "");

		if (!strcmp(json_get_string(op, "volume", ""), volume) &&
			(!strcmp(state, "running") || !strcmp(state, "rolling-back")))
			snprintf(ret_words, size,
				"not now: operation %.31s of '%.63s' is under way: repeat this "
				"when "
				"it has ended",
				json_get_string(op, "id", "?"), domain);
	}
	json_free(j);
}

static void ask(void *ctx, const atomic_bool *stop)
{
	struct upgrades *u = ctx;
	struct agent_config *c = malloc(sizeof(*c)); /* the loop's may change meanwhile */
	struct err e;

	ensure(c);
	agent_config_snapshot(u->config, c);
	u->program_words[0] = u->peer_words[0] = '\0';
	if (program_runs(c->program, stop, &e))
		snprintf(u->program_words, sizeof(u->program_words),
			"%s: install it again, or the one that ran before", e.msg);
	for (unsigned i = 0; i < c->npeers && !u->program_words[0] && !u->peer_words[0]; i++)
		ask_peer(c, c->peers[i].domain, u->asked, stop, u->peer_words,
			sizeof(u->peer_words));
	free(c);
}

/* ---- a volume's turn ---- */

static void leave(struct upgrade *one, const char *words)
{
	one->state = UPGRADE_LEFT;
	snprintf(one->message, sizeof(one->message), "%s", words);
}

/* The run ends here: what has not had its turn is left. */
static void end_run(struct upgrades *u, const char *why)
{
	struct run *r = &u->run;

	r->state = why ? RUN_FAILED : RUN_DONE;
	if (why)
		snprintf(r->message, sizeof(r->message), "%s", why);
	for (unsigned i = 0; i < r->count; i++)
		if (!upgrade_ended(&r->of[i]))
			leave(&r->of[i], "not touched");
	log_info("upgrade: %s", why ? why : "done");
}

/* It was told to stop, and this is how it is now. */
static void looked(void *ctx)
{
	struct upgrades *u = ctx;
	struct upgrade *one = current(u);
	struct json *entry = supervisor_volume(u->supervisor, one->before.volume);
	struct upgrade_seen now = {0};
	char why[128];

	if (entry)
		see(u, entry, &now);
	json_free(entry);
	upgrade_step(one, &now, u->run.timeout_ns, clock_mono_ns());
	if (!upgrade_ended(one)) {
		loop_timer_set(u->loop, &u->timer, clock_mono_ns() + LOOK_NS);
		return;
	}
	supervisor_replaced(u->supervisor, one->before.volume);
	if (one->state == UPGRADE_DONE) {
		log_info("upgrade: %s: %s", one->before.volume, one->message);
		next(u);
		return;
	}
	log_error("upgrade: %s: %s", one->before.volume, one->message);
	snprintf(why, sizeof(why), "'%s' does not serve again, and no other volume is touched",
		one->before.volume);
	end_run(u, why);
}

/* Its daemon has said once more what it does: what was found when the run began may be long ago. */
static void stop_it(void *ctx)
{
	struct upgrades *u = ctx;
	struct upgrade *one = current(u);
	struct json *entry = supervisor_volume(u->supervisor, one->before.volume);
	struct err e;

	if (entry)
		judge(u, entry, one);
	json_free(entry);
	if (!entry || one->verdict == UPGRADE_NOTHING) {
		leave(one, "it runs the program that is installed by now");
	} else if (one->verdict == UPGRADE_NOT_NOW ||
		   (one->verdict == UPGRADE_ENDS_MOUNT && !u->run.yes)) {
		one->state = UPGRADE_LEFT;
	} else if (supervisor_replace(u->supervisor, one->before.volume, &e)) {
		leave(one, e.msg);
	} else {
		one->state = UPGRADE_STOPPING;
		one->begun_ns = clock_mono_ns();
		loop_timer_set(u->loop, &u->timer, one->begun_ns + LOOK_NS);
		return;
	}
	next(u);
}

static void asked(void *ctx)
{
	struct upgrades *u = ctx;

	if (u->program_words[0]) {
		end_run(u, u->program_words);
	} else if (u->peer_words[0]) {
		leave(current(u), u->peer_words);
		next(u);
	} else {
		supervisor_refresh(u->supervisor, u->asked, stop_it, u);
	}
}

static void next(struct upgrades *u)
{
	struct run *r = &u->run;

	while (u->at < r->count && upgrade_ended(&r->of[u->at]))
		u->at++;
	if (u->at == r->count) {
		end_run(u, NULL);
		return;
	}
	snprintf(u->asked, sizeof(u->asked), "%s", current(u)->before.volume);
	if (task_start(u->tasks, ask, asked, u))
		loop_timer_set(u->loop, &u->timer, clock_mono_ns() + NS_PER_S);
}

static void expired(struct loop_timer *t, uint64_t now_ns)
{
	struct upgrades *u = container_of(t, struct upgrades, timer);

	if (current(u)->state == UPGRADE_PENDING)
		next(u);
	else
		supervisor_refresh(u->supervisor, current(u)->before.volume, looked, u);
}

/* ---- what is asked ---- */

static struct json *run_json(const struct upgrades *u, const struct run *r)
{
	static const char *const states[] = {"none", "planned", "running", "done", "failed"};
	struct json *j = json_object(), *list = json_array();

	json_set_int(j, "begun_ms", (int64_t)r->begun_ms);
	json_set_string(j, "program", u->config->program);
	json_set_string(j, "state", states[r->state]);
	json_set_string(j, "message", r->message);
	json_set_int(j, "count", r->looked);
	for (unsigned i = 0; i < r->count; i++) {
		const struct upgrade *one = &r->of[i];
		uint64_t took_ns = one->ended_ns ? one->ended_ns - one->begun_ns : 0;
		struct json *x = json_object();

		json_set_string(x, "volume", one->before.volume);
		json_set_string(x, "verdict", upgrade_verdict_name(one->verdict));
		json_set_string(x, "state", upgrade_state_name(one->state));
		json_set_string(x, "message", one->message);
		json_set_double(x, "took_s", (double)took_ns / (double)NS_PER_S);
		json_append(list, x);
	}
	json_set(j, "volumes", list);
	return j;
}

struct json *upgrades_get(const struct upgrades *u)
{
	return run_json(u, &u->run);
}

/* 0 with a plan; -ENOENT. */
static int plan(const struct upgrades *u, const char *volume, struct run *ret_r, struct err *e)
{
	struct json *volumes = supervisor_volumes(u->supervisor);

	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *entry = json_at(volumes, i);
		const char *name = json_get_string(entry, "volume", "");

		if (!name[0] || (volume[0] && strcmp(volume, name) != 0))
			continue;
		ret_r->looked++;
		judge(u, entry, &ret_r->of[ret_r->count]);
		if (ret_r->of[ret_r->count].verdict != UPGRADE_NOTHING)
			ret_r->count++;
	}
	json_free(volumes);
	qsort(ret_r->of, ret_r->count, sizeof(ret_r->of[0]), upgrade_compare);
	if (volume[0] && !ret_r->looked)
		return err_set(e, -ENOENT, "no volume '%.63s' on this node", volume);
	return 0;
}

/* What is not to be touched is known already. */
static void begin(struct upgrades *u)
{
	struct run *r = &u->run;

	r->state = RUN_RUNNING;
	for (unsigned i = 0; i < r->count; i++)
		if (r->of[i].verdict == UPGRADE_NOT_NOW ||
			(r->of[i].verdict == UPGRADE_ENDS_MOUNT && !r->yes))
			r->of[i].state = UPGRADE_LEFT;
	u->at = 0;
	next(u);
}

int upgrades_begin(struct upgrades *u, const struct json *args, struct json **ret_j, struct err *e)
{
	int64_t ms = json_get_int(args, "timeout_ms", UPGRADE_TIMEOUT_MS);
	bool dry_run = json_get_bool(args, "dry_run", false);
	struct run *r;
	int ret;

	if (ms < 1 || ms > (int64_t)UPGRADE_TIMEOUT_MS_MAX)
		return err_set(
			e, -EINVAL, "\"timeout_ms\" is from 1 to %u", UPGRADE_TIMEOUT_MS_MAX);
	if (u->run.state == RUN_RUNNING && !dry_run)
		return err_set(e, -EBUSY, "an upgrade is under way: repeat this when it has ended");
	r = calloc(1, sizeof(*r));
	ensure(r);
	r->state = RUN_PLANNED;
	r->begun_ms = operations_wall_ms();
	r->timeout_ns = (uint64_t)ms * NS_PER_MS;
	r->yes = json_get_bool(args, "yes", false);
	ret = plan(u, json_get_string(args, "volume", ""), r, e);
	if (!ret && dry_run) {
		*ret_j = run_json(u, r);
	} else if (!ret) {
		u->run = *r;
		begin(u);
		*ret_j = upgrades_get(u);
	}
	free(r);
	return ret;
}

struct upgrades *upgrades_new(const struct agent_config *c, struct loop *l, struct tasks *t,
	struct supervisor *s,
	bool (*busy)(void *ctx, const char *volume, char *ret_words, size_t size), void *ctx)
{
	struct upgrades *u = calloc(1, sizeof(*u));

	ensure(u);
	u->config = c;
	u->loop = l;
	u->tasks = t;
	u->supervisor = s;
	u->busy = busy;
	u->ctx = ctx;
	u->timer.expired = expired;
	return u;
}

void upgrades_free(struct upgrades *u)
{
	if (!u)
		return;
	loop_timer_clear(u->loop, &u->timer);
	free(u);
}
