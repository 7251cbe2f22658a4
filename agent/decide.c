/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The decision about one volume. Whoever calls it again with the same words gets the same answer, so that
 * a lost action is only late: the next look at the same volume asks for it again.
 */
#include "decide.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "check.h"
#include "clock.h"

#define EXIT_USAGE 2
#define EXIT_CONFIG 78

_Static_assert(DECIDE_RESTART_MIN_NS == 250 * NS_PER_MS, "written out in the header");

const char *decide_state_name(enum decide_state state)
{
	static const char *const names[] = {
		"looking", "starting", "running", "silent", "waiting", "refused", "gone"};

	ensure((unsigned)state < ARRAY_SIZE(names));
	return names[state];
}

static bool same(const struct decide_stamp *a, const struct decide_stamp *b)
{
	return a->inode == b->inode && a->size == b->size && a->mtime_ns == b->mtime_ns;
}

static bool is_there(const struct decide_stamp *s)
{
	return s->inode || s->size || s->mtime_ns;
}

static void say(struct decision *d, enum decide_state state, const char *reason)
{
	d->state = state;
	snprintf(d->reason, sizeof(d->reason), "%s", reason);
}

static void decide_running(const struct decide_observed *o, uint64_t now_ns, struct decision *ret_d)
{
	uint64_t since = o->answered_ns ? o->answered_ns : o->history->started_ns;
	bool late = now_ns > since && now_ns - since >= DECIDE_SILENT_NS;

	ret_d->upgrade_pending = o->other_build;
	ret_d->retry_ns = UINT64_MAX;
	if (late)
		say(ret_d, DECIDE_SILENT,
			"the daemon runs and does not answer; it is left alone, look at its log");
	else if (!o->answered_ns)
		say(ret_d, DECIDE_STARTING, "");
	else if (o->problem[0])
		say(ret_d, DECIDE_RUNNING, o->problem);
	else if (!is_there(&o->stamp))
		say(ret_d, DECIDE_RUNNING,
			"its configuration file is gone: it runs on, and would not be started "
			"again");
	else
		say(ret_d, DECIDE_RUNNING, "");
}

/* When the next start is due after so many ends in a row. At once after the first: applications may wait for it. */
static uint64_t due_ns(const struct decide_history *h, uint64_t restart_max_ns)
{
	uint64_t delay = DECIDE_RESTART_MIN_NS;

	if (!h->failures)
		return 0;
	if (h->failures == 1)
		return h->ended_ns;
	for (unsigned i = 2; i < h->failures && delay < restart_max_ns; i++)
		delay *= 2;
	return h->ended_ns + MIN(delay, restart_max_ns);
}

void decide(const struct decide_observed *o, uint64_t restart_max_ns, uint64_t now_ns,
	struct decision *ret_d)
{
	const struct decide_history *h = o->history;

	*ret_d = (struct decision){.retry_ns = UINT64_MAX};
	if (o->pid) {
		decide_running(o, now_ns, ret_d);
		return;
	}
	if (o->problem[0]) {
		say(ret_d, DECIDE_REFUSED, o->problem);
		return;
	}
	if (!is_there(&o->stamp)) {
		say(ret_d, DECIDE_GONE, "its configuration file is gone");
		return;
	}
	if (!o->looked) {
		say(ret_d, DECIDE_LOOKING, "");
		return;
	}
	if (h->refused && same(&h->stamp, &o->stamp)) {
		say(ret_d, DECIDE_REFUSED, h->reason);
		return;
	}
	ret_d->retry_ns = h->refused ? 0 : due_ns(h, restart_max_ns);
	ret_d->start = now_ns >= ret_d->retry_ns;
	say(ret_d, ret_d->start ? DECIDE_STARTING : DECIDE_WAITING, h->reason);
}

void decide_started(struct decide_history *h, const struct decide_stamp *stamp, uint64_t now_ns)
{
	h->started_ns = now_ns;
	h->replaced = false;
	h->refused = false;
	h->stamp = stamp ? *stamp : (struct decide_stamp){0};
	if (stamp)
		h->starts++;
}

void decide_ended(struct decide_history *h, int how, const char *last_words, uint64_t now_ns)
{
	const char *colon = last_words[0] ? ": " : "";

	if (now_ns - h->started_ns >= DECIDE_HEALTHY_NS)
		h->failures = 0;
	h->failures = h->replaced ? 0 : h->failures + 1;
	h->ended_ns = now_ns;
	if (how < 0)
		snprintf(h->reason, sizeof(h->reason), "ended%s%s", colon, last_words);
	else if (WIFSIGNALED(how))
		snprintf(h->reason, sizeof(h->reason), "killed by signal %d (%s)", WTERMSIG(how),
			strsignal(WTERMSIG(how)));
	else
		snprintf(h->reason, sizeof(h->reason), "ended with status %d%s%s", WEXITSTATUS(how),
			colon, last_words);
	h->refused = how >= 0 && WIFEXITED(how) &&
		     (WEXITSTATUS(how) == EXIT_CONFIG || WEXITSTATUS(how) == EXIT_USAGE);
	if (h->refused) /* what it said is what a person has to repair */
		snprintf(h->reason, sizeof(h->reason), "%s",
			last_words[0] ? last_words : "its configuration is wrong; see its log");
}
