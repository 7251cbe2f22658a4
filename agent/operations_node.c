/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request for a failover of a node asks for. Which node has a volume's other replica is in the volume's
 * configuration, so that a node is known by name while it is dead; it is asked nothing. Where the configuration does
 * not say it, the host of the peer's address stands for the name.
 *
 * Failure modes: of an unplanned one, a volume whose daemon does not answer is taken by its configuration alone, and one
 * that has an operation under way gets one that has failed: each says what is wrong with it, and the others go on. A
 * planned one is refused as a whole there.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operations_impl.h"
#include "peer_volume.h"
#include "supervise.h"

enum part { PART_NONE, PART_ACTIVE, PART_STANDBY, PART_UNKNOWN };

/* A volume's replica in another domain. */
struct other {
	char domain[DOMAIN_LEN_MAX + 1];
	char node[NODE_NAME_MAX + 1];
};

struct node_request {
	const struct operations *all;
	struct operation op; /* like each of them */
	const char *node;
	struct operation *ops;
	unsigned n;
	char busy[140], known[140]; /* lists for messages */
};

static void append(char *list, size_t size, const char *word)
{
	size_t at = strlen(list);
	char quoted[100];

	snprintf(quoted, sizeof(quoted), "'%.96s'", word);
	if (!strstr(list, quoted) && at < size)
		snprintf(list + at, size - at, "%s%s", at ? ", " : "",
			quoted); /* cut where it is full */
}

/* Of the volume `v` in this domain; `peer`: as its daemon says, which an older one does without the node; or NULL. */
static void take_other(const struct agent_config *c, struct other *ret, const struct json *v,
	const char *domain, const struct json *peer)
{
	const char *said = json_get_string(peer, "node", ""), *colon;
	struct peer_volume p = {0};

	if (!said[0])
		peer_volume_read(c, json_get_string(v, "volume", ""), domain, &p);
	colon = strrchr(p.address, ':');
	snprintf(ret->domain, sizeof(ret->domain), "%.63s", domain);
	if (said[0] || p.node[0])
		snprintf(ret->node, sizeof(ret->node), "%.253s", said[0] ? said : p.node);
	else
		snprintf(ret->node, sizeof(ret->node), "%.*s", (int)(colon ? colon - p.address : 0),
			p.address);
}

/* The other replicas, by what the daemon says, or else by what the configuration does. How many. */
static unsigned others_of(
	const struct agent_config *c, const struct json *v, struct other ret[REPLICAS_MAX])
{
	const struct json *peers = json_get(json_get(v, "status"), "peers");
	unsigned n = 0;

	for (unsigned i = 0; i < json_length(peers) && n < REPLICAS_MAX; i++) {
		const struct json *p = json_at(peers, i);

		take_other(c, &ret[n++], v, json_get_string(p, "domain", ""), p);
	}
	for (unsigned i = 0; i < c->npeers && !json_length(peers); i++)
		take_other(c, &ret[n++], v, c->peers[i].domain, NULL);
	return n;
}

/* What is on the node of this volume; *ret_domain: the node's. */
static enum part part_of(struct node_request *r, const struct json *v, char *ret_domain)
{
	const struct agent_config *c = r->all->config;
	const char *active = json_get_string(json_get(v, "status"), "active_domain", "");
	struct other others[REPLICAS_MAX];
	unsigned n = others_of(c, v, others);
	bool own = !r->op.unplanned && !strcmp(r->node, c->node);

	for (unsigned i = 0; i < n; i++) {
		if (others[i].node[0])
			append(r->known, sizeof(r->known), others[i].node);
		if (own || strcmp(others[i].node, r->node) != 0)
			continue;
		snprintf(ret_domain, DOMAIN_LEN_MAX + 1, "%s", others[i].domain);
		return !operations_answers(v)		   ? PART_UNKNOWN
		       : !active[0] && r->op.unplanned	   ? PART_ACTIVE /* which says what to do */
		       : !strcmp(active, others[i].domain) ? PART_ACTIVE
		       : !strcmp(active, c->domain)	   ? PART_STANDBY
							   : PART_NONE;
	}
	if (!own)
		return PART_NONE;
	snprintf(ret_domain, DOMAIN_LEN_MAX + 1, "%s", c->domain);
	return !operations_answers(v)	    ? PART_UNKNOWN
	       : !strcmp(active, c->domain) ? PART_ACTIVE
					    : PART_NONE;
}

static void add(struct node_request *r, const char *volume, const char *from, bool alone)
{
	const struct operation *other = operations_under_way(r->all, volume);
	struct operation *op = &r->ops[r->n];

	if (other && !r->op.unplanned) {
		append(r->busy, sizeof(r->busy), volume);
		return;
	}
	if (r->n == OPERATION_GROUP_MAX)
		return;
	*op = r->op;
	r->n++;
	snprintf(op->volume, sizeof(op->volume), "%s", volume);
	op->alone = alone;
	if (alone)
		snprintf(op->from, sizeof(op->from), "%s", from);
	if (!other)
		return;
	op->state = OPERATION_FAILED;
	op->ended_ms = operations_wall_ms();
	op->steps[0].state = OPERATION_STEP_FAILED;
	op->steps[0].start_ms = op->steps[0].end_ms = op->ended_ms;
	snprintf(op->message, sizeof(op->message),
		"operation %s of it is under way: wait for its end, or 'tandemctl cancel operation "
		"%s'; then 'tandemctl failover %s --unplanned'",
		other->id, other->id, volume);
	snprintf(op->steps[0].message, sizeof(op->steps[0].message), "%s", op->message);
}

/* Where they go: as it was said; else here, or from here to the only other site. `domain`: the node's. */
static int set_target(struct node_request *r, const char *domain, struct err *e)
{
	const struct agent_config *c = r->all->config;
	const char *to = r->op.to;

	if (!to[0] && strcmp(domain, c->domain) != 0)
		to = c->domain;
	else if (!to[0] && c->npeers == 1)
		to = c->peers[0].domain;
	if (!to[0])
		return err_set(e, -EINVAL, "there are several other sites: say --to DOMAIN");
	if (!strcmp(to, domain))
		return err_set(
			e, -EINVAL, "node '%.60s' is of '%s': from it to itself?", r->node, domain);
	for (unsigned i = 0; i < r->n; i++)
		snprintf(r->ops[i].to, sizeof(r->ops[i].to), "%.63s", to);
	return 0;
}

static int collect(struct node_request *r, struct err *e)
{
	struct json *volumes = supervisor_volumes(r->all->supervisor);
	char domain[DOMAIN_LEN_MAX + 1] = "";

	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *v = json_at(volumes, i);
		const char *volume = json_get_string(v, "volume", "");
		enum part part = part_of(r, v, domain); /* all of a node's have one domain */

		if (part == PART_NONE || (part == PART_STANDBY && !r->op.unplanned))
			continue;
		if (part == PART_UNKNOWN && !r->op.unplanned)
			append(r->busy, sizeof(r->busy), volume);
		else
			add(r, volume, domain, part != PART_ACTIVE);
	}
	json_free(volumes);
	if (r->busy[0])
		return err_set(e, -EBUSY,
			"refused, nothing was changed: has an operation under way, or does not "
			"answer: %s",
			r->busy);
	if (!r->n && domain[0])
		return err_set(
			e, -ENOENT, "no volume of this node is active on node '%.60s'", r->node);
	if (!r->n)
		return err_set(e, -ENOENT,
			"no volume of this node has its other replica on a node '%.60s'%s%s",
			r->node, r->known[0] ? "; there are " : "", r->known);
	return set_target(r, domain, e);
}

int operations_decode_node(const struct operations *all, const struct json *args,
	struct operation **ret_ops, unsigned *ret_n, struct err *e)
{
	struct node_request r = {.all = all, .node = json_get_string(args, "node", "")};
	const char *to = json_get_string(args, "to", "");
	int ret = operations_decode_common(args, &r.op, e);

	if (ret)
		return ret;
	if (!conf_is_node(r.node) && !(r.node[0] == '[' && strlen(r.node) <= NODE_NAME_MAX))
		return err_set(e, -EINVAL, "\"node\" is no node's name");
	if (json_get(args, "domain") || json_get(args, "volume"))
		return err_set(e, -EINVAL, "\"node\" stands without \"volume\" and \"domain\"");
	if (r.op.failback)
		return err_set(e, -EINVAL,
			"there is a failback of a volume and of a domain, and not of a node");
	if (r.op.unplanned && to[0] && strcmp(to, all->config->domain) != 0)
		return err_set(e, -EINVAL,
			"an unplanned failover is typed at the site that goes on: '%.63s' is not "
			"'%s'",
			to, all->config->domain);
	ret = operations_check_target(all, to, e);
	if (ret)
		return ret;
	snprintf(r.op.to, sizeof(r.op.to), "%s", to);
	r.ops = calloc(OPERATION_GROUP_MAX, sizeof(*r.ops));
	ensure(r.ops);
	*ret_ops = r.ops;
	ret = collect(&r, e);
	*ret_n = r.n;
	return ret;
}
