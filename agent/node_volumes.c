/* SPDX-License-Identifier: Apache-2.0 */
#include "node_volumes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum part { PART_NONE, PART_ACTIVE, PART_STANDBY, PART_UNKNOWN };

/* ---- what was seen ---- */

/* A member that is a text of this size, or "". */
static void take(char *ret, size_t size, const struct json *j, const char *key)
{
	const char *text = json_get_string(j, key, "");

	snprintf(ret, size, "%s", strlen(text) < size ? text : "");
}

void node_replica_name(struct node_replica *r, const char *node, const char *address)
{
	const char *colon = strrchr(address, ':');

	if (node[0])
		snprintf(r->node, sizeof(r->node), "%s", node);
	else
		snprintf(r->node, sizeof(r->node), "%.*s", (int)(colon ? colon - address : 0),
			address);
}

bool node_volume_parse(const struct json *entry, bool answers, struct node_volume *ret_v)
{
	const struct json *status = json_get(entry, "status"), *peers = json_get(status, "peers");
	struct node_volume v = {.answers = answers};

	take(v.volume, sizeof(v.volume), entry, "volume");
	if (!v.volume[0])
		return false;
	take(v.active, sizeof(v.active), status, "active_domain");
	for (unsigned i = 0; i < json_length(peers) && v.nothers < REPLICAS_MAX; i++) {
		struct node_replica *r = &v.others[v.nothers];

		take(r->domain, sizeof(r->domain), json_at(peers, i), "domain");
		take(r->node, sizeof(r->node), json_at(peers, i), "node");
		v.nothers += r->domain[0] != '\0';
	}
	*ret_v = v;
	return true;
}

/* ---- what follows ---- */

struct lists { /* for messages; cut where they are full */
	char busy[140], known[140];
};

static void append(char *list, size_t size, const char *word)
{
	size_t at = strlen(list);
	char quoted[100];

	snprintf(quoted, sizeof(quoted), "'%.96s'", word);
	if (!strstr(list, quoted) && at < size)
		snprintf(list + at, size - at, "%s%s", at ? ", " : "", quoted);
}

static bool is_meant(const struct node_asked *a, const struct node_replica *r)
{
	if (a->domain)
		return !strcmp(r->domain, a->domain);
	return r->node[0] && !strcmp(r->node, a->node);
}

/* What the node has of this volume; *ret_domain: the node's. */
static enum part part_of(const struct node_asked *a, const struct node_volume *v,
	struct lists *lists, const char **ret_domain)
{
	bool own = !a->unplanned && !strcmp(a->node, a->own_node);
	const char *domain = own ? a->own_domain : NULL;

	for (unsigned i = 0; i < v->nothers; i++) {
		const struct node_replica *r = &v->others[i];

		if (r->node[0])
			append(lists->known, sizeof(lists->known), r->node);
		if (!domain && is_meant(a, r))
			domain = r->domain;
	}
	if (!domain)
		return PART_NONE;
	*ret_domain = domain;
	if (!v->answers)
		return PART_UNKNOWN;
	if (!v->active[0]) /* its operation says what to do */
		return a->unplanned ? PART_ACTIVE : PART_NONE;
	if (!strcmp(v->active, domain))
		return PART_ACTIVE;
	return !own && !strcmp(v->active, a->own_domain) ? PART_STANDBY : PART_NONE;
}

static int pick(const struct node_asked *a, const struct node_volume *v, enum part part,
	const char *domain, struct node_picked *ret, struct err *e)
{
	if (!ret->n)
		snprintf(ret->from, sizeof(ret->from), "%s", domain);
	if (strcmp(ret->from, domain) != 0)
		return err_set(e, -EINVAL,
			"there is a node '%.60s' of '%s' and one of '%s': name the volumes",
			a->node, ret->from, domain);
	if (ret->n == OPERATION_GROUP_MAX)
		return err_set(e, -EINVAL,
			"%s '%.60s' has more than %u volumes, which is too much at once: name "
			"them%s",
			a->domain ? "domain" : "node", a->domain ? a->domain : a->node,
			OPERATION_GROUP_MAX,
			a->domain ? ", or type 'tandemctl deactivate clusterdomain'" : "");
	ret->picks[ret->n++] = (struct node_pick){.v = v, .alone = part != PART_ACTIVE};
	return 0;
}

/* Where they go: as it was said; else here, or from here to the only other site. */
static int set_target(const struct node_asked *a, struct node_picked *ret, struct err *e)
{
	const char *to = a->to;

	if (!to[0] && strcmp(ret->from, a->own_domain) != 0)
		to = a->own_domain;
	else if (!to[0] && a->only_peer)
		to = a->only_peer;
	if (!to[0])
		return err_set(e, -EINVAL, "there are several other sites: say --to DOMAIN");
	if (!strcmp(to, ret->from))
		return err_set(e, -EINVAL, "node '%.60s' is of '%s': from it to itself?", a->node,
			ret->from);
	snprintf(ret->to, sizeof(ret->to), "%.63s", to);
	return 0;
}

int node_volumes_pick(const struct node_asked *a, const struct node_volume *vs, unsigned n,
	struct node_picked *ret, struct err *e)
{
	struct lists lists = {0};
	const char *domain = NULL;
	int error = 0;

	ret->n = 0;
	for (unsigned i = 0; i < n && !error; i++) {
		enum part part = part_of(a, &vs[i], &lists, &domain);

		if (part == PART_NONE || (part == PART_STANDBY && !a->unplanned))
			continue;
		if (!a->unplanned && (part == PART_UNKNOWN || vs[i].under_way))
			append(lists.busy, sizeof(lists.busy), vs[i].volume);
		else
			error = pick(a, &vs[i], part, domain, ret, e);
	}
	if (error)
		return error;
	if (lists.busy[0])
		return err_set(e, -EBUSY,
			"refused, nothing was changed: has an operation under way, or does not "
			"answer: %s",
			lists.busy);
	if (!ret->n && a->domain)
		return err_set(e, -ENOENT,
			"no volume of this node goes on without '%.60s', or has to: nothing is "
			"active there, or waits for it",
			a->domain);
	if (!ret->n && domain)
		return err_set(
			e, -ENOENT, "no volume of this node is active on node '%.60s'", a->node);
	if (!ret->n)
		return err_set(e, -ENOENT,
			"no volume of this node has its other replica on a node '%.60s'%s%s",
			a->node, lists.known[0] ? "; there are " : "", lists.known);
	return set_target(a, ret, e);
}
