/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request for a failover of a node, or of all volumes of a dead domain, asks for. Which node has a volume's other replica is in the volume's
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

#include "node_volumes.h"
#include "operations_impl.h"
#include "peer_volume.h"
#include "supervise.h"

/* ---- what there is ---- */

/* What a daemon does not say of its peers, its volume's file may. */
static void read_names(const struct agent_config *c, struct node_volume *v)
{
	for (unsigned i = 0; i < v->nothers; i++) {
		struct peer_volume p;

		if (!v->others[i].node[0] &&
			peer_volume_read(c, v->volume, v->others[i].domain, &p))
			node_replica_name(&v->others[i], p.node, p.address);
	}
}

static void take_configured(const struct agent_config *c, struct node_volume *v)
{
	for (; v->nothers < c->npeers; v->nothers++)
		snprintf(v->others[v->nothers].domain, sizeof(v->others[0].domain), "%s",
			c->peers[v->nothers].domain);
}

/* All volumes of this node, the caller's array of *ret_n. What is being upgraded is busy for a planned one alone. */
static struct node_volume *see(const struct operations *all, bool unplanned, unsigned *ret_n)
{
	const struct agent_config *c = all->config;
	struct json *volumes = supervisor_volumes(all->supervisor);
	struct node_volume *vs = calloc(json_length(volumes) + 1, sizeof(*vs));
	unsigned n = 0;

	ensure(vs);
	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *entry = json_at(volumes, i);
		struct node_volume *v = &vs[n];
		const struct operation *other;

		if (!node_volume_parse(entry, operations_answers(entry), v))
			continue;
		if (!v->nothers)
			take_configured(c, v);
		read_names(c, v);
		other = operations_under_way(all, v->volume);
		v->under_way = other ? other->id : NULL; /* an id never changes */
		if (!other && !unplanned && supervisor_is_replacing(all->supervisor, v->volume))
			v->under_way = "upgrade";
		n++;
	}
	json_free(volumes);
	*ret_n = n;
	return vs;
}

/* ---- what is made of it ---- */

static void fail_busy(struct operation *op, const char *other)
{
	op->state = OPERATION_FAILED;
	op->ended_ms = operations_wall_ms();
	op->steps[0].state = OPERATION_STEP_FAILED;
	op->steps[0].start_ms = op->steps[0].end_ms = op->ended_ms;
	snprintf(op->message, sizeof(op->message),
		"operation %s of it is under way: wait for its end, or 'tandemctl cancel operation "
		"%s'; then 'tandemctl failover %s --unplanned'",
		other, other, op->volume);
	snprintf(op->steps[0].message, sizeof(op->steps[0].message), "%s", op->message);
}

static void make(struct operation *op, const struct node_picked *picked, const struct node_pick *p)
{
	snprintf(op->volume, sizeof(op->volume), "%s", p->v->volume);
	snprintf(op->to, sizeof(op->to), "%s", picked->to);
	op->alone = p->alone;
	if (op->alone)
		snprintf(op->from, sizeof(op->from), "%s", picked->from);
	if (p->v->under_way)
		fail_busy(op, p->v->under_way);
}

/* `like`: what each of them is; one of node and domain is NULL. */
static int collect(const struct operations *all, const char *node, const char *domain,
	const struct operation *like, struct operation *ops, unsigned *ret_n, struct err *e)
{
	const struct agent_config *c = all->config;
	const struct node_asked asked = {
		.node = node,
		.domain = domain,
		.to = like->to,
		.unplanned = like->unplanned,
		.own_domain = c->domain,
		.own_node = c->node,
		.only_peer = c->npeers == 1 ? c->peers[0].domain : NULL,
	};
	struct node_picked *picked = malloc(sizeof(*picked));
	unsigned n;
	struct node_volume *vs = see(all, like->unplanned, &n);
	int ret;

	ensure(picked);
	ret = node_volumes_pick(&asked, vs, n, picked, e);
	for (unsigned i = 0; !ret && i < picked->n; i++) {
		ops[i] = *like;
		make(&ops[i], picked, &picked->picks[i]);
	}
	*ret_n = ret ? 0 : picked->n;
	free(picked);
	free(vs);
	return ret;
}

int operations_decode_node(const struct operations *all, const struct json *args,
	struct operation **ret_ops, unsigned *ret_n, struct err *e)
{
	const char *node = json_get_string(args, "node", ""), *to = json_get_string(args, "to", "");
	struct operation op = {0};
	int ret = operations_decode_common(args, &op, e);

	if (ret)
		return ret;
	if (!conf_is_node(node) && !(node[0] == '[' && strlen(node) <= NODE_NAME_MAX))
		return err_set(e, -EINVAL, "\"node\" is no node's name");
	if (json_get(args, "domain") || json_get(args, "volume"))
		return err_set(e, -EINVAL, "\"node\" stands without \"volume\" and \"domain\"");
	if (op.failback)
		return err_set(e, -EINVAL,
			"there is a failback of a volume and of a domain, and not of a node");
	if (op.unplanned && to[0] && strcmp(to, all->config->domain) != 0)
		return err_set(e, -EINVAL,
			"an unplanned failover is typed at the site that goes on: '%.63s' is not "
			"'%s'",
			to, all->config->domain);
	ret = operations_check_target(all, to, e);
	if (ret)
		return ret;
	snprintf(op.to, sizeof(op.to), "%s", to);
	*ret_ops = calloc(OPERATION_GROUP_MAX, sizeof(op));
	ensure(*ret_ops);
	return collect(all, node, NULL, &op, *ret_ops, ret_n, e);
}

int operations_decode_dead_domain(const struct operations *all, const char *domain,
	const struct operation *like, struct operation **ret_ops, unsigned *ret_n, struct err *e)
{
	*ret_ops = calloc(OPERATION_GROUP_MAX, sizeof(**ret_ops));
	ensure(*ret_ops);
	return collect(all, NULL, domain, like, *ret_ops, ret_n, e);
}
