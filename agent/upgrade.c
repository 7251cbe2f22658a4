/* SPDX-License-Identifier: Apache-2.0 */
/* The decisions about one volume whose daemon runs another build. */
#include "upgrade.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "clock.h"

#define INSTALL "install the program that ran before again, or repair what it says"

const char *upgrade_verdict_name(enum upgrade_verdict v)
{
	static const char *const names[] = {
		"nothing", "unmounted", "held", "ends-mount", "not-now"};

	ensure((unsigned)v < ARRAY_SIZE(names));
	return names[v];
}

const char *upgrade_state_name(enum upgrade_state s)
{
	static const char *const names[] = {
		"pending", "stopping", "starting", "done", "failed", "left"};

	ensure((unsigned)s < ARRAY_SIZE(names));
	return names[s];
}

bool upgrade_ended(const struct upgrade *u)
{
	return u->state >= UPGRADE_DONE;
}

void upgrade_see(const struct json *entry, bool answers, bool holder, struct upgrade_seen *ret_seen)
{
	const struct json *x = json_get(entry, "supervision"), *status = json_get(entry, "status"),
			  *peers = json_get(status, "peers");
	struct upgrade_seen s = {
		.pid = (int)json_get_int(x, "pid", 0),
		.pending = json_get_bool(x, "upgrade_pending", false),
		.answers = answers,
		.failures = (unsigned)json_get_int(x, "failures", 0),
		.mounted = json_get_bool(status, "mounted", false),
		.held = json_get_bool(status, "held", holder),
	};

	snprintf(s.volume, sizeof(s.volume), "%s", json_get_string(entry, "volume", ""));
	snprintf(s.state, sizeof(s.state), "%s", json_get_string(x, "state", ""));
	snprintf(s.reason, sizeof(s.reason), "%s", json_get_string(x, "reason", ""));
	snprintf(s.role, sizeof(s.role), "%s", json_get_string(status, "role", ""));
	for (unsigned i = 0; i < json_length(peers); i++)
		s.connected += json_get_bool(json_at(peers, i), "connected", false);
	*ret_seen = s;
}

static bool has_role(const struct upgrade_seen *s, const char *role)
{
	return !strcmp(s->role, role);
}

/* Why it cannot be replaced now; NULL. */
static const char *hindrance(const struct upgrade_seen *s, const char *busy)
{
	if (busy[0])
		return busy;
	if (!s->answers)
		return "its daemon does not answer: see its log";
	if (s->reason[0]) /* its file is wrong, or gone */
		return s->reason;
	if (has_role(s, "recovering"))
		return "its daemon recovers, or says in 'tandemctl status' why it cannot: repeat "
		       "this when it has";
	if (has_role(s, "draining"))
		return "it is being demoted: repeat this when it is";
	return NULL;
}

enum upgrade_verdict upgrade_verdict(
	const struct upgrade_seen *s, const char *busy, char *ret_words, size_t size)
{
	const char *why;

	if (!s->pending && (s->answers || s->pid <= 0)) {
		snprintf(ret_words, size, "nothing to do");
		return UPGRADE_NOTHING;
	}
	why = hindrance(s, busy);
	if (why) {
		snprintf(ret_words, size, "not now: %s", why);
		return UPGRADE_NOT_NOW;
	}
	if (!s->mounted) {
		snprintf(ret_words, size, "nothing is mounted here");
		return UPGRADE_UNMOUNTED;
	}
	if (s->held) {
		snprintf(ret_words, size,
			"a holder keeps its mount: applications see a pause and no error");
		return UPGRADE_HELD;
	}
	snprintf(ret_words, size,
		"no holder keeps its mount, which would end: stop its applications, and say "
		"--yes%s",
		s->connected ? ""
			     : "; no peer is connected, and without one, or 'tandemctl promote', "
			       "it is not mounted again");
	return UPGRADE_ENDS_MOUNT;
}

int upgrade_compare(const void *a, const void *b)
{
	const struct upgrade *x = a, *y = b;

	if (x->verdict != y->verdict)
		return x->verdict < y->verdict ? -1 : 1;
	return strcmp(x->before.volume, y->before.volume);
}

/* ---- replacing ---- */

static void end(struct upgrade *u, enum upgrade_state state, uint64_t now_ns)
{
	u->state = state;
	u->ended_ns = now_ns;
}

/* One that is mounted where it was not is an active that somebody promoted meanwhile: it owes nobody a connection. */
static bool serves(const struct upgrade_seen *before, const struct upgrade_seen *now)
{
	if (!now->pid || !now->answers || has_role(now, "recovering") ||
		(before->mounted && !now->mounted))
		return false;
	return now->connected >= before->connected || (now->mounted && !before->mounted);
}

static const char *waits(const struct upgrade *u)
{
	return u->verdict == UPGRADE_HELD ? "; until then what is asked of its mount waits" : "";
}

static void late(struct upgrade *u, const struct upgrade_seen *now, unsigned seconds)
{
	if (u->state == UPGRADE_STOPPING)
		snprintf(u->message, sizeof(u->message),
			"process %d has not ended %u s after SIGTERM and is left alone: see its "
			"log; "
			"when it ends the new program is started",
			u->before.pid, seconds);
	else if (!now->answers)
		snprintf(u->message, sizeof(u->message),
			"the new program does not answer after %u s: see its log; to go "
			"back, " INSTALL ", and stop its daemon%s",
			seconds, waits(u));
	else
		snprintf(u->message, sizeof(u->message),
			"the new program runs and does not serve as before after %u s (%s, "
			"%smounted, "
			"%u of %u peers connected): 'tandemctl status %s' says what it waits for",
			seconds, now->role, now->mounted ? "" : "not ", now->connected,
			u->before.connected, u->before.volume);
}

static void started(struct upgrade *u, const struct upgrade_seen *now, uint64_t now_ns)
{
	if (!strcmp(now->state, "refused")) {
		snprintf(u->message, sizeof(u->message),
			"the new program refuses: %s; " INSTALL
			", then 'systemctl reload tandem-agent' (SIGHUP)%s",
			now->reason, waits(u));
		end(u, UPGRADE_FAILED, now_ns);
	} else if (!now->pid && now->failures >= UPGRADE_STARTS_MAX) {
		snprintf(u->message, sizeof(u->message),
			"the new program has ended %u times: %s; it is tried again: " INSTALL "%s",
			now->failures, now->reason, waits(u));
		end(u, UPGRADE_FAILED, now_ns);
	} else if (serves(&u->before, now)) {
		snprintf(u->message, sizeof(u->message), "upgraded, process %d", now->pid);
		end(u, UPGRADE_DONE, now_ns);
	}
}

void upgrade_step(
	struct upgrade *u, const struct upgrade_seen *now, uint64_t timeout_ns, uint64_t now_ns)
{
	if (u->state == UPGRADE_STOPPING && now->pid != u->before.pid)
		u->state = UPGRADE_STARTING;
	if (u->state == UPGRADE_STARTING)
		started(u, now, now_ns);
	if (upgrade_ended(u) || now_ns - u->begun_ns < timeout_ns)
		return;
	late(u, now, (unsigned)(timeout_ns / NS_PER_S));
	end(u, UPGRADE_FAILED, now_ns);
}
