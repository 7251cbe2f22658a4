/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a request for an operation asks for, checked: one volume, or all of a domain; those of a node: operations_node.c.
 *
 * Failure modes: a group is refused as a whole where a volume is busy, or its daemon does not answer so that
 * nobody knows whether it belongs to the group. The list says which.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "operations_impl.h"
#include "peer_call.h"
#include "supervise.h"

#define FRESH_S 3.0

/* Kind, time and mode: what one and many have in common. */
int operations_decode_common(const struct json *args, struct operation *op, struct err *e)
{
	const char *kind = json_get_string(args, "kind", "");
	int64_t ms = json_get_int(args, "timeout_ms", OPERATION_TIMEOUT_MS);

	op->unplanned = !strcmp(kind, "unplanned-failover");
	op->failback = !strcmp(kind, "failback");
	if (strcmp(kind, operation_kind(op)) != 0)
		return err_set(e, -EINVAL, "\"kind\" is failover, failback or unplanned-failover");
	if (ms < 1 || ms > (int64_t)OPERATION_TIMEOUT_MS_MAX)
		return err_set(
			e, -EINVAL, "\"timeout_ms\" is from 1 to %u", OPERATION_TIMEOUT_MS_MAX);
	op->timeout_ms = (uint64_t)ms;
	op->dry_run = json_get_bool(args, "dry_run", false);
	return 0;
}

static bool is_known(const struct agent_config *c, const char *domain)
{
	return !strcmp(domain, c->domain) || peer_find(c, domain);
}

static int unknown_domain(
	const struct agent_config *c, const char *what, const char *domain, struct err *e)
{
	return err_set(e, -EINVAL,
		"\"%s\": '%.63s' is neither a peer of this agent nor its own domain '%s'", what,
		domain, c->domain);
}

int operations_check_target(const struct operations *all, const char *to, struct err *e)
{
	return !to[0] || is_known(all->config, to) ? 0 : unknown_domain(all->config, "to", to, e);
}

int operations_decode(const struct operations *all, const struct json *args,
	struct operation *ret_op, struct err *e)
{
	const char *volume = json_get_string(args, "volume", ""),
		   *to = json_get_string(args, "to", ""), *own = all->config->domain;
	const struct operation *other;
	struct operation *op = ret_op;
	int ret = operations_decode_common(args, op, e);

	if (ret)
		return ret;
	if (!volume[0] || strlen(volume) > VOLUME_NAME_MAX ||
		strspn(volume, "abcdefghijklmnopqrstuvwxyz0123456789-_") != strlen(volume))
		return err_set(e, -EINVAL, "\"volume\" is missing or no name");
	if (op->unplanned && !to[0])
		to = own;
	if (op->failback && !to[0]) {
		to = operations_came_from(all, volume);
		if (!to)
			return err_set(e, -ENOENT,
				"this agent knows of no failover of '%s': type 'tandemctl failover "
				"%s "
				"--to DOMAIN'",
				volume, volume);
	}
	if (op->unplanned && strcmp(to, own) != 0)
		return err_set(e, -EINVAL,
			"an unplanned failover is typed at the site that goes on: '%.63s' is not "
			"'%s'",
			to, own);
	if (!is_known(all->config, to))
		return unknown_domain(all->config, "to", to, e);
	other = operations_under_way(all, volume);
	if (other && op->unplanned && !other->unplanned)
		return err_set(e, -EBUSY,
			"operation %s of '%s' is under way: type 'tandemctl cancel operation %s', "
			"and when that has ended the same again",
			other->id, volume, other->id);
	if (other)
		return err_set(e, -EBUSY,
			"operation %s of '%s' is under way: 'tandemctl get operations' shows it",
			other->id, volume);
	if (!op->unplanned && supervisor_is_replacing(all->supervisor, volume))
		return err_set(e, -EBUSY,
			"'%s' is being upgraded ('tandemctl upgrade'): repeat this when it serves "
			"again",
			volume);
	snprintf(op->volume, sizeof(op->volume), "%s", volume);
	snprintf(op->to, sizeof(op->to), "%s", to);
	return 0;
}

/* ---- a domain ---- */

/* Where the volumes of a domain go when nobody says it: to this site, or to the only other one. */
static const char *default_target(const struct agent_config *c, const char *domain)
{
	if (strcmp(domain, c->domain) != 0)
		return c->domain;
	return c->npeers == 1 ? c->peers[0].domain : NULL;
}

bool operations_answers(const struct json *v)
{
	const struct json *status = json_get(v, "status");

	return json_is_object(status) &&
	       strcmp(json_get_string(status, "role", ""), "recovering") != 0 &&
	       json_get_double(json_get(v, "supervision"), "answered_s", 0) <= FRESH_S;
}

/* Does the volume belong to the group? -EAGAIN: nobody can tell. */
static int belongs(const struct operations *all, const struct operation *op, const char *domain,
	const struct json *v)
{
	const char *active = json_get_string(json_get(v, "status"), "active_domain", ""), *from;

	if (!operations_answers(v))
		return -EAGAIN;
	if (!op->failback)
		return !strcmp(active, domain);
	from = operations_came_from(all, json_get_string(v, "volume", ""));
	return from && !strcmp(from, domain) && strcmp(active, domain) != 0;
}

static void append(char *list, size_t size, const char *volume, const char *why)
{
	size_t at = strlen(list);

	snprintf(list + at, size - at, "%s'%s' %s", at ? ", " : "", volume, why);
}

static int collect(const struct operations *all, const struct operation *op, const char *domain,
	struct operation *ops, unsigned *ret_n, struct err *e)
{
	struct json *volumes = supervisor_volumes(all->supervisor);
	char list[180] = "";
	unsigned n = 0;

	for (unsigned i = 0; i < json_length(volumes); i++) {
		const struct json *v = json_at(volumes, i);
		const char *volume = json_get_string(v, "volume", "");
		int ret = belongs(all, op, domain, v);

		if (ret < 0)
			append(list, sizeof(list), volume, "does not answer");
		else if (ret && operations_under_way(all, volume))
			append(list, sizeof(list), volume, "has an operation under way");
		else if (ret && supervisor_is_replacing(all->supervisor, volume))
			append(list, sizeof(list), volume, "is being upgraded");
		if (ret <= 0 || n == OPERATION_GROUP_MAX)
			continue;
		ops[n] = *op;
		snprintf(ops[n++].volume, sizeof(op->volume), "%s", volume);
	}
	json_free(volumes);
	if (list[0])
		return err_set(e, -EBUSY, "refused, nothing was changed: %s", list);
	if (!n)
		return err_set(e, -ENOENT,
			op->failback ? "this agent knows of no failover that took a volume from "
				       "'%s': type 'tandemctl failover clusterdomain DOMAIN --to "
				       "%s'"
				     : "no volume of this node is active at '%s'%.0s",
			domain, domain);
	*ret_n = n;
	return 0;
}

int operations_decode_group(const struct operations *all, const struct json *args,
	struct operation **ret_ops, unsigned *ret_n, struct err *e)
{
	const char *domain = json_get_string(args, "domain", ""),
		   *to = json_get_string(args, "to", "");
	struct operation op = {0};
	int ret = operations_decode_common(args, &op, e);

	if (ret)
		return ret;
	if (!is_known(all->config, domain))
		return unknown_domain(all->config, "domain", domain, e);
	if (op.unplanned && !to[0])
		to = all->config->domain;
	if (op.unplanned && strcmp(to, all->config->domain) != 0)
		return err_set(e, -EINVAL,
			"an unplanned failover is typed at the site that goes on: '%.63s' is not "
			"'%s'",
			to, all->config->domain);
	if (op.failback)
		to = domain;
	else if (!to[0])
		to = default_target(all->config, domain);
	if (!to)
		return err_set(e, -EINVAL, "there are several other sites: say --to DOMAIN");
	if (!is_known(all->config, to))
		return unknown_domain(all->config, "to", to, e);
	if (!op.failback && !strcmp(to, domain))
		return err_set(e, -EINVAL, "from '%s' to itself?", to);
	snprintf(op.to, sizeof(op.to), "%s", to);
	if (op.unplanned)
		return operations_decode_dead_domain(all, domain, &op, ret_ops, ret_n, e);
	*ret_ops = calloc(OPERATION_GROUP_MAX, sizeof(op));
	ensure(*ret_ops);
	return collect(all, &op, domain, *ret_ops, ret_n, e);
}
