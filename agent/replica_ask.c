/* SPDX-License-Identifier: Apache-2.0 */
/*
 * May this node's replica be removed because another site says so? Its daemon is asked, not what is remembered of it: a
 * volume that was failed over a moment ago is the one whose data is in use here.
 *
 * Failure modes: a daemon that starts, or is started again, is waited for; of one that does not come nobody knows whether
 * it is the active one, and its replica goes only for the site that is.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "control.h"
#include "replica_make.h"

#define STATUS_MS 2000u
#define PATIENCE_NS (10 * NS_PER_S)
#define AGAIN_US 100000u

/* NULL: it does not say. To be freed. */
static struct json *ask(const struct agent_config *c, const char *volume)
{
	struct json *request = json_object(), *status = NULL;
	char socket[4200];
	struct err e;

	snprintf(socket, sizeof(socket), "%s/%s.sock", c->run_dir, volume);
	json_set_string(request, "verb", "status");
	if (control_call(socket, request, STATUS_MS, &status, &e))
		status = NULL;
	json_free(request);
	return status;
}

bool replica_is_active(const struct agent_config *c, const char *volume)
{
	struct json *status = replica_exists(c, volume) ? NULL : ask(c, volume);
	bool active = !strcmp(json_get_string(status, "role", ""), "active");

	json_free(status);
	return active;
}

int replica_judge(const struct json *status, const char *volume, const char *domain,
	bool asker_active, struct err *e)
{
	const char *role = json_get_string(status, "role", "recovering");

	if (!strcmp(role, "active") ||
		!strcmp(json_get_string(status, "active_domain", ""), domain))
		return err_set(e, -EPERM,
			"volume '%s' is active at '%s', and may be in use there: it is removed "
			"there ('tandemctl delete volume %s'), or its claim or Volume is",
			volume, domain, volume);
	if (strcmp(role, "recovering") != 0 || asker_active)
		return 0;
	return err_set(e, -EAGAIN,
		"the daemon of '%s' at '%s' does not say whether it is active there: repeat this "
		"when it does, or on each site 'tandemctl delete volume %s --local'",
		volume, domain, volume);
}

int replica_may_go(const struct agent_config *c, const char *volume, bool asker_active,
	const atomic_bool *stop, struct err *e)
{
	uint64_t until = clock_mono_ns() + PATIENCE_NS;
	int ret;

	if (replica_exists(c, volume)) /* a draft, or it is half gone */
		return 0;
	for (;;) {
		struct json *status = ask(c, volume);

		ret = replica_judge(status, volume, c->domain, asker_active, e);
		json_free(status);
		if (ret != -EAGAIN || atomic_load(stop) || clock_mono_ns() >= until)
			return ret;
		usleep(AGAIN_US);
	}
}
