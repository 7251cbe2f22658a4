/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl healthz and readyz: what the agent of this node answers, for the probes of a pod: status 0 or 1. Neither
 * asks a daemon or looks at a mount.
 */
#include <stdio.h>
#include <string.h>

#include "agent_config.h"
#include "ctl.h"
#include "http.h"

#define PROBE_MS 3000u

static int probe(struct ctl *c, const char *path)
{
	char socket[256];
	struct json *j;
	unsigned status;
	struct err e;
	int n = snprintf(socket, sizeof(socket), "%s/" AGENT_SOCKET_NAME, c->run_dir), ret;

	if (n < 0 || (size_t)n >= sizeof(socket))
		return ctl_fail(c, "the path of the agent's socket is too long");
	if (http_call_unix(
		    socket, path, NULL, c->timeout_ms ? c->timeout_ms : PROBE_MS, &status, &j, &e))
		return ctl_fail(c, "the agent does not answer: %s", e.msg);
	ret = status == 200
		      ? CTL_OK
		      : ctl_fail(c, "%s", json_get_string(j, "error", "the agent is not well"));
	json_free(j);
	return ret;
}

int cmd_healthz(struct ctl *c, unsigned nargs, const char *const *args)
{
	return probe(c, "/healthz");
}

int cmd_readyz(struct ctl *c, unsigned nargs, const char *const *args)
{
	return probe(c, "/readyz");
}
