/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One volume that says that the domain is inactive is enough; one that is active here, and none that says so, lets it
 * copy. Nobody answers: nothing is known, and copying goes on, because a node that is down is no reason to let the other
 * cluster's objects grow old; what was started over there stops it.
 */
#include "kube_site.h"

#include <string.h>

#include "kube_nodes.h"

enum site_state site_with(enum site_state before, const struct json *status, const char *domain)
{
	const struct json *inactive = json_get(status, "inactive");
	const char *active = json_get_string(status, "active_domain", NULL);

	for (unsigned i = 0; i < json_length(inactive); i++)
		if (!strcmp(json_string_at(inactive, i, ""), domain))
			return SITE_INACTIVE;
	if (!active || before == SITE_INACTIVE || before == SITE_ACTIVE)
		return before;
	return strcmp(active, domain) != 0 ? SITE_STANDBY : SITE_ACTIVE;
}

enum site_state site_of_nodes(const struct kube_control *c)
{
	enum site_state s = SITE_UNKNOWN;

	for (unsigned i = 0; i < c->nnodes; i++) {
		const struct json *volumes = json_get(c->nodes[i].status, "volumes");

		for (unsigned n = 0; n < json_length(volumes); n++)
			s = site_with(
				s, json_get(json_at(volumes, n), "status"), c->config->domain);
	}
	return s;
}

enum site_state site_look(struct kube_control *c, int64_t age_s, unsigned timeout_ms)
{
	struct err e = {0};

	if (c->site_s && now_s() >= c->site_s && now_s() - c->site_s <= age_s)
		return c->site;
	if (!c->config->listen[0] ||
		nodes_look(c, timeout_ms, &e)) /* there is no way to ask them */
		return SITE_UNKNOWN;
	c->site = site_of_nodes(c);
	c->site_s = now_s();
	return c->site;
}

const char *site_words(enum site_state s)
{
	switch (s) {
	case SITE_STANDBY:
		return "the volumes are active in another domain: nothing is copied from here";
	case SITE_INACTIVE:
		return "this domain is inactive: nothing is copied from here until it is activated";
	default:
		return "";
	}
}
