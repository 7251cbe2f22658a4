/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an agent's configuration names, before there is a volume: the disk where volumes will be, whether pods will see what
 * is mounted, the ports, the certificates, and the way to the agents of the other sites, which is the volumes' way, too, and their clocks.
 */
#include <stdlib.h>
#include <string.h>

#include "agent_config.h"
#include "preflight_impl.h"

static void check_ports(struct preflight_report *r, const char *path, const struct agent_config *c)
{
	char first[CONF_ADDRESS_SIZE];

	if (!c->listen[0]) {
		preflight_say(r, path, "port", PREFLIGHT_WARN,
			"for volumes on two sites: 'tandemctl pair', or [api] listen with "
			"certificates",
			"no [api] listen: the other sites' agents cannot reach this one");
		return;
	}
	preflight_port(r, path, c->listen);
	if (!c->replica_host[0])
		return;
	snprintf(first, sizeof(first), "%.249s:%u", c->replica_host, c->first_port);
	preflight_port(r, path, first); /* the first of the volumes' */
}

/* Each node of the other site may have a clock of its own. */
static void check_peer(struct preflight_report *r, const char *path, const struct agent_config *c,
	const struct agent_config_peer *p)
{
	for (unsigned k = 0; k < p->naddresses; k++)
		if (preflight_peer(r, path, p->domain, p->addresses[k]) && c->certificate[0])
			preflight_peer_clock(r, path, c, p->domain, p->addresses[k]);
}

void preflight_agent(struct preflight_report *r, const char *path)
{
	struct agent_config *c = calloc(1, sizeof(*c));
	char mounts[sizeof(c->mounts)];
	struct err e = {0};

	ensure(c);
	if (agent_config_load(path, c, &e)) {
		preflight_say(r, path, "configuration", PREFLIGHT_FAIL,
			"correct it; tandem-agent(8)", "%s", e.msg);
		free(c);
		return;
	}
	preflight_disk(r, path, c->replicas);
	memcpy(mounts, c->mounts, sizeof(mounts));
	preflight_existing(mounts); /* the agent makes it with the first volume */
	preflight_propagation(r, path, mounts);
	check_ports(r, path, c);
	preflight_certificates(r, path, c->certificate, c->ca);
	for (unsigned i = 0; i < c->npeers; i++)
		check_peer(r, path, c, &c->peers[i]);
	free(c);
}
