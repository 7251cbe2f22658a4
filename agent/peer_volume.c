/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which node has the other replica is in the volume's own file, so that it is known as long as the volume is. Volumes of
 * earlier builds, and those that people configured, may not say it.
 *
 * Failure modes: "no such volume" of a node that was remembered wrongly would make somebody forget a replica, so it is
 * believed only of a node that has just said its name. A node that does not answer is never taken for one that does not
 * have the volume.
 */
#include "peer_volume.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "peer_call.h"
#include "peer_nodes.h"
#include "scan.h"

/* ---- the volume's file ---- */

static bool read_peer(
	const char *path, const char *volume, const char *domain, struct peer_volume *ret_v)
{
	const struct conf_section *s;
	struct conf *c;
	struct err e;
	const char *name;
	bool found = false;

	if (conf_load(path, NULL, 0, &c, &e))
		return false;
	s = conf_section(c, "volume");
	name = s ? conf_get(c, s, "name") : NULL;
	s = name && !strcmp(name, volume) ? conf_section(c, "peer") : NULL;
	for (; s && !found; s = conf_next_section(c, s)) {
		if (strcmp(s->name, domain) != 0)
			continue;
		*ret_v = (struct peer_volume){0};
		found = !conf_get_node(c, s, "node", ret_v->node, sizeof(ret_v->node), &e) &&
			!conf_get_address(
				c, s, "address", ret_v->address, sizeof(ret_v->address), &e);
	}
	conf_free(c);
	return found;
}

/* A file may be called otherwise than its volume. */
static bool scan_for(const struct agent_config *c, const char *volume, const char *domain,
	struct peer_volume *ret_v)
{
	struct scan *scan;
	struct err e;
	bool found = false;

	if (scan_volumes(c, &scan, &e))
		return false;
	for (unsigned i = 0; i < scan->count && !found; i++)
		found = !strcmp(scan->v[i].name, volume) &&
			read_peer(scan->v[i].path, volume, domain, ret_v);
	free(scan);
	return found;
}

bool peer_volume_read(const struct agent_config *c, const char *volume, const char *domain,
	struct peer_volume *ret_v)
{
	static const char *const ends[] = {".conf", ".conf.new", ".conf.gone"};
	char path[4400];

	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++) {
		snprintf(path, sizeof(path), "%s/%s%s", c->volumes, volume, ends[i]);
		if (read_peer(path, volume, domain, ret_v))
			return true;
	}
	return scan_for(c, volume, domain, ret_v);
}

/* ---- the call ---- */

static size_t host_len(const char *address)
{
	const char *colon = strrchr(address, ':');

	return colon ? (size_t)(colon - address) : 0;
}

int peer_volume_route(const struct agent_config_peer *p, const char *volume_address)
{
	size_t len = host_len(volume_address);
	int found = -1;

	if (p->naddresses == 1)
		return 0;
	for (unsigned i = 0; i < p->naddresses && len; i++) {
		if (host_len(p->addresses[i]) != len ||
			strncmp(p->addresses[i], volume_address, len) != 0)
			continue;
		if (found >= 0) /* two agents on one host: it says nothing */
			return -1;
		found = (int)i;
	}
	return found;
}

struct call {
	const struct agent_config *c;
	const struct agent_config_peer *p;
	const char *volume, *path;
	const struct json *body;
	unsigned timeout_ms;
	const atomic_bool *stop;
	unsigned *ret_status;
	struct json **ret_json;
};

static int call_at(const struct call *k, const char *address, struct err *e)
{
	char what[160];

	snprintf(what, sizeof(what),
		k->p->naddresses > 1 ? "the agent of '%s' at %.80s" : "the agent of '%s'%.0s",
		k->p->domain, address);
	return agent_call(k->c, what, k->p->domain, address, k->path, k->body, k->timeout_ms,
		k->stop, k->ret_status, k->ret_json, e);
}

static int call_each(const struct call *k, struct err *e)
{
	struct err silent = {0};
	struct json *last = NULL;

	for (unsigned i = 0; i < k->p->naddresses; i++) {
		int ret = call_at(k, k->p->addresses[i], e);

		json_free(ret ? NULL : last);
		last = ret ? last : *k->ret_json;
		if (!ret && *k->ret_status != 404)
			return 0;
		if (ret)
			silent = *e;
		if (ret == -ECANCELED)
			break;
	}
	if (!silent.code) {
		*k->ret_json = last;
		return 0;
	}
	json_free(last);
	*e = silent;
	return err_wrap(e, "whether it has '%s' is not known", k->volume);
}

static int call_unnamed(const struct call *k, const struct peer_volume *v, struct err *e)
{
	int at = peer_volume_route(k->p, v->address);

	return at < 0 ? call_each(k, e) : call_at(k, k->p->addresses[at], e);
}

static int call_node(const struct call *k, const struct peer_volume *v, struct err *e)
{
	for (unsigned anew = 0;; anew++) {
		char address[CONF_ADDRESS_SIZE];
		int ret = peer_nodes_find(k->c, k->p, v->node, anew, k->stop, address, e);

		if (ret == -ESTALE) /* it is called otherwise now */
			return call_unnamed(k, v, e);
		if (!ret)
			ret = call_at(k, address, e);
		if (anew || (ret ? ret != -ECONNREFUSED : *k->ret_status != 404))
			return ret;
		if (!ret)
			json_free(*k->ret_json);
	}
}

int peer_volume_call(const struct agent_config *c, const char *domain, const char *volume,
	const char *path, const struct json *body, unsigned timeout_ms, const atomic_bool *stop,
	unsigned *ret_status, struct json **ret_json, struct err *e)
{
	const struct call k = {c, peer_find(c, domain), volume, path, body, timeout_ms, stop,
		ret_status, ret_json};
	struct peer_volume v = {0};

	if (!k.p || !c->certificate[0])
		return err_set(e, -ENOENT,
			"no way to the agent of '%s': %.100s needs [peer %s] agent =, and [api] "
			"ca, certificate and key",
			domain, c->path, domain);
	if (!peer_volume_read(c, volume, domain, &v) || !v.node[0])
		return call_unnamed(&k, &v, e);
	return call_node(&k, &v, e);
}
