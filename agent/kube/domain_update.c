/* SPDX-License-Identifier: Apache-2.0 */
#include "domain_update.h"

#include <errno.h>
#include <stdio.h>

/* Does waiting help? */
static bool may_pass(int code, int64_t age_s)
{
	switch (code) {
	case -EAGAIN:
	case -EINPROGRESS:
	case -ETIMEDOUT:
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -ECANCELED:
	case -ESHUTDOWN:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
		return true;
	case -EBUSY:
		return age_s < UPDATE_BUSY_S;
	default:
		return false;
	}
}

void update_note(
	struct update_tally *t, const char *volume, int code, const char *text, int64_t age_s)
{
	t->volumes++;
	if (!code) {
		t->done++;
	} else if (code == -ENOENT) {
		t->unconcerned++;
	} else if (may_pass(code, age_s)) {
		if (!t->waiting++)
			snprintf(t->why_waiting, sizeof(t->why_waiting), "volume '%.63s': %.240s",
				volume, text);
	} else if (!t->failed++) {
		snprintf(t->why_failed, sizeof(t->why_failed), "volume '%.63s': %.240s", volume,
			text);
	}
}

void update_silent(struct update_tally *t, const char *text)
{
	if (!t->silent++ && !t->waiting)
		snprintf(t->why_waiting, sizeof(t->why_waiting), "%.300s", text);
}

enum update_verdict update_judge(const struct update_tally *t, const char *domain, bool activate,
	int64_t age_s, char *reason, size_t size)
{
	const char *did = activate ? "activated" : "deactivated", *dry = t->dry ? "dry run: " : "",
		   *done = t->dry ? "would do it" : "are done";

	if ((t->waiting || t->silent) && age_s < (t->dry ? UPDATE_DRY_S : UPDATE_PATIENCE_S)) {
		snprintf(reason, size, "%s%u of %u volumes %s; %s", dry, t->done,
			t->volumes - t->unconcerned, done, t->why_waiting);
		return UPDATE_AGAIN;
	}
	if (t->failed || t->waiting || t->silent) {
		snprintf(reason, size, "%s%u of %u volumes %s; %s%s", dry, t->done,
			t->volumes - t->unconcerned, done,
			t->failed ? t->why_failed : t->why_waiting,
			t->failed ? ""
			: t->dry  ? " (no other answer in 15 s)"
				  : " (given up after ten minutes: make another object)");
		return UPDATE_FAILED;
	}
	if (!t->volumes) {
		snprintf(reason, size, "%sthere is no volume on the nodes of this site", dry);
		return UPDATE_FAILED;
	}
	if (!t->done) {
		snprintf(reason, size,
			"%snone of the %u volumes of this site has a replica in a domain '%.63s': "
			"'kubectl get clusterdomainsstatus' shows the domains",
			dry, t->volumes, domain);
		return UPDATE_FAILED;
	}
	snprintf(reason, size, "%s%.63s %s %s for %u volume%s%s", dry, domain,
		t->dry ? "would be" : "is", did, t->done, t->done == 1 ? "" : "s",
		t->dry ? "; nothing was changed" : "");
	return UPDATE_DONE;
}

/* 0 it would not, 1 it would, 2 it is not concerned. */
static unsigned rank_of(const struct update_answer *a)
{
	return a->code == -ENOENT ? 2 : !a->code;
}

struct json *update_answers(const struct update_answer *a, unsigned n, unsigned *ret_more)
{
	struct json *list = json_array(), *j;

	for (unsigned rank = 0; rank < 3; rank++) {
		for (unsigned i = 0; i < n && json_length(list) < UPDATE_ANSWERS_MAX; i++) {
			if (rank_of(&a[i]) != rank)
				continue;
			j = json_object();
			json_set_string(j, "name", a[i].volume);
			json_set_string(j, "node", a[i].node);
			if (rank < 2)
				json_set_bool(j, "wouldSucceed", rank);
			json_set_string(j, "message", a[i].text);
			json_append(list, j);
		}
	}
	*ret_more = n - json_length(list);
	return list;
}
