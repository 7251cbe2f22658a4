/* SPDX-License-Identifier: Apache-2.0 */
/* What a volume shall be, as JSON: from a person, from the other side's agent. Nothing of it is believed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf.h"
#include "kernel.h"
#include "replica_make.h"

#define SIZE_MIN (64u << 20) /* bytes; 'tandemfs format' has the last word */

static bool is_name(const char *s, size_t max)
{
	size_t len = strlen(s);

	return len && len <= max && s[0] != '-' && s[0] != '_' &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_") == len;
}

/* HOST:PORT without anything that could mean something in a configuration file. */
static bool is_address(const char *s)
{
	const char *colon = strrchr(s, ':');
	size_t len = strlen(s);

	return len < CONF_ADDRESS_SIZE && colon && colon != s &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]%") ==
		       len &&
	       strspn(colon + 1, "0123456789") == strlen(colon + 1) && atoi(colon + 1) > 0 &&
	       atoi(colon + 1) <= 65535;
}

static int parse_size(const struct json *j, struct replica_spec *s, struct err *e)
{
	const char *text = json_get_string(j, "size", NULL);

	if (text && conf_parse_size(text, &s->size))
		return err_set(e, -EINVAL, "size '%.40s': a number with K, M, G or T", text);
	if (!text)
		s->size = (uint64_t)json_get_int(j, "size", 0);
	if (s->size < SIZE_MIN || s->size > INT64_MAX)
		return err_set(e, -EINVAL, "size: 64M or more is needed");
	return 0;
}

static int parse_peer(
	const char *domain, const struct json *value, struct replica_spec *s, struct err *e)
{
	struct replica_peer *p = &s->peers[s->npeers];
	const char *address = json_get_string(value, "address", ""),
		   *node = json_get_string(value, "node", "");

	if (s->npeers == REPLICAS_MAX - 1)
		return err_set(e, -EINVAL, "peers: more than %u", REPLICAS_MAX - 1);
	if (!is_name(domain, DOMAIN_LEN_MAX))
		return err_set(e, -EINVAL, "peers: '%.63s' is no domain", domain);
	if (address[0] && !is_address(address))
		return err_set(e, -EINVAL, "peers: '%.63s' is no address", address);
	if (node[0] && !conf_is_node(node))
		return err_set(e, -EINVAL, "peers: '%.63s' is no node's name", node);
	*p = (struct replica_peer){0};
	snprintf(p->node, sizeof(p->node), "%s", node);
	snprintf(p->domain, sizeof(p->domain), "%s", domain);
	snprintf(p->address, sizeof(p->address), "%s", address);
	s->npeers++;
	return 0;
}

static int parse_peers(const struct json *peers, struct replica_spec *s, struct err *e)
{
	struct json_member m;
	int ret = 0;

	if (peers && !json_is_object(peers))
		return err_set(e, -EINVAL, "peers: an object is needed");
	for (bool ok = peers && json_first(peers, &m); ok && !ret; ok = json_next(&m))
		ret = parse_peer(m.key, m.value, s, e);
	return ret;
}

static int parse_text(const struct json *j, const char *key, const char *allowed, char *ret,
	size_t size, struct err *e)
{
	const char *text = json_get_string(j, key, "");

	if (strlen(text) >= size || strspn(text, allowed) != strlen(text))
		return err_set(e, -EINVAL, "%s: '%.40s' cannot be used", key, text);
	snprintf(ret, size, "%s", text);
	return 0;
}

static int refuse_unknown(const struct json *j, struct err *e)
{
	static const char *const known[] = {"volume", "size", "ack", "holder", "mode", "owner",
		"directory", "peers", "domain", "peer_node", NULL};
	struct json_member m;

	for (bool ok = json_first(j, &m); ok; ok = json_next(&m)) {
		unsigned i = 0;

		while (known[i] && strcmp(known[i], m.key) != 0)
			i++;
		if (!known[i])
			return err_set(e, -EINVAL, "'%.63s' is unknown", m.key);
	}
	return 0;
}

int replica_spec_parse(
	const char *volume, const struct json *j, struct replica_spec *ret_spec, struct err *e)
{
	const char *ack = json_get_string(j, "ack", "op");
	struct replica_spec s = {.holder = REPLICA_HOLDER_KERNEL};
	int ret = refuse_unknown(j, e);

	if (json_get(j, "holder"))
		s.holder = json_get_bool(j, "holder", false);
	if (!ret && !is_name(volume, VOLUME_NAME_MAX))
		ret = err_set(e, -EINVAL,
			"'%.63s' is no volume's name: it is of a-z, 0-9, '-' and '_'", volume);
	if (!ret && strcmp(ack, "op") != 0 && strcmp(ack, "fsync") != 0)
		ret = err_set(e, -EINVAL, "ack is op or fsync, not '%.40s'", ack);
	if (!ret)
		ret = parse_size(j, &s, e);
	if (!ret)
		ret = parse_text(j, "mode", "01234567", s.mode, sizeof(s.mode), e);
	if (!ret)
		ret = parse_text(j, "owner", "0123456789:", s.owner, sizeof(s.owner), e);
	if (!ret)
		ret = parse_text(j, "directory", "abcdefghijklmnopqrstuvwxyz0123456789-_",
			s.directory, sizeof(s.directory), e);
	if (!ret)
		ret = parse_peers(json_get(j, "peers"), &s, e);
	if (ret)
		return ret;
	snprintf(s.volume, sizeof(s.volume), "%s", volume);
	snprintf(s.ack, sizeof(s.ack), "%s", ack);
	*ret_spec = s;
	return 0;
}

bool replica_holder(const struct replica_spec *s, const char *release)
{
	return s->holder == REPLICA_HOLDER_KERNEL ? kernel_resends(release) : s->holder;
}

struct json *replica_spec_json(const struct replica_spec *s)
{
	struct json *j = json_object(), *peers = json_object();

	json_set_int(j, "size", (int64_t)s->size);
	json_set_string(j, "ack", s->ack);
	if (s->holder != REPLICA_HOLDER_KERNEL)
		json_set_bool(j, "holder", s->holder);
	if (s->mode[0])
		json_set_string(j, "mode", s->mode);
	if (s->owner[0])
		json_set_string(j, "owner", s->owner);
	if (s->directory[0])
		json_set_string(j, "directory", s->directory);
	for (unsigned i = 0; i < s->npeers; i++) {
		struct json *p = json_object();

		json_set_string(p, "address", s->peers[i].address);
		if (s->peers[i].node[0])
			json_set_string(p, "node", s->peers[i].node);
		json_set(peers, s->peers[i].domain, p);
	}
	json_set(j, "peers", peers);
	return j;
}
