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
	const char *did = activate ? "activated" : "deactivated";

	if ((t->waiting || t->silent) && age_s < UPDATE_PATIENCE_S) {
		snprintf(reason, size, "%u of %u volumes are done; %s", t->done,
			t->volumes - t->unconcerned, t->why_waiting);
		return UPDATE_AGAIN;
	}
	if (t->failed || t->waiting || t->silent) {
		snprintf(reason, size, "%u of %u volumes are done; %s%s", t->done,
			t->volumes - t->unconcerned, t->failed ? t->why_failed : t->why_waiting,
			t->failed ? "" : " (given up after ten minutes: make another object)");
		return UPDATE_FAILED;
	}
	if (!t->volumes) {
		snprintf(reason, size, "there is no volume on the nodes of this site");
		return UPDATE_FAILED;
	}
	if (!t->done) {
		snprintf(reason, size,
			"none of the %u volumes of this site has a replica in a domain '%.63s': "
			"'kubectl get clusterdomainsstatus' shows the domains",
			t->volumes, domain);
		return UPDATE_FAILED;
	}
	snprintf(reason, size, "%.63s is %s for %u volume%s", domain, did, t->done,
		t->done == 1 ? "" : "s");
	return UPDATE_DONE;
}
