/* SPDX-License-Identifier: Apache-2.0 */
#include "volume_object.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (1ll << 20)

enum volume_action volume_decide(const struct volume_seen *s)
{
	if (!s->object)
		return s->volume ? VOLUME_MIRROR : VOLUME_NONE;
	if (s->deleting) {
		if (!s->guarded)
			return VOLUME_NONE;
		if (s->forced || !s->removes || s->kind_goes)
			return VOLUME_RELEASE;
		if (s->volume)
			return s->local	      ? VOLUME_REMOVE_LOCAL
			       : s->elsewhere ? VOLUME_ELSEWHERE
					      : VOLUME_REMOVE;
		return s->all ? VOLUME_RELEASE : VOLUME_NONE;
	}
	if (!s->ours && !s->guarded)
		return VOLUME_GUARD;
	if (s->volume)
		return VOLUME_TELL;
	if (!s->all)
		return VOLUME_NONE;
	if (s->ours)
		return VOLUME_FORGET;
	return s->known ? VOLUME_LOST : VOLUME_MAKE;
}

bool volume_peer_is_silent(int code)
{
	switch (code) {
	case -ENOTCONN:
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
	case -ENETUNREACH:
	case -EACCES: /* who answers there is not the one that was */
	case -EAGAIN: /* its daemon does not say what it is */
		return true;
	default:
		return false;
	}
}

/* --- the status --- */

static bool in_list(const struct json *list, const char *name)
{
	for (unsigned i = 0; i < json_length(list); i++)
		if (!strcmp(json_string_at(list, i, ""), name))
			return true;
	return false;
}

/* Up to a hundredth of the size. */
static int64_t rounded(int64_t bytes, int64_t size)
{
	int64_t step = MAX(size / 100 / MIB, 1) * MIB;

	return (bytes + step - 1) / step * step;
}

static void set_text(struct json *status, const char *key, const char *text)
{
	if (text && *text)
		json_set_string(status, key, text);
	else
		json_remove(status, key);
}

static struct json *replica(
	const char *domain, const char *node, const char *uuid, const char *role, const char *state)
{
	struct json *j = json_object();

	json_set_string(j, "domain", domain);
	set_text(j, "node", node);
	set_text(j, "uuid", uuid);
	set_text(j, "role", role);
	set_text(j, "state", state);
	return j;
}

static struct json *replicas(const struct json *s, const char *node)
{
	const char *own = json_get_string(s, "domain", "?"),
		   *active = json_get_string(s, "active_domain", "");
	const struct json *peers = json_get(s, "peers"), *set = json_get(s, "in_sync");
	struct json *all = json_array();

	json_append(all, replica(own, node, json_get_string(s, "replica", ""),
				 json_get_string(s, "role", ""),
				 in_list(set, own) ? "in-sync" : "not-in-sync"));
	for (unsigned i = 0; i < json_length(peers); i++) {
		const struct json *p = json_at(peers, i);
		const char *domain = json_get_string(p, "domain", "?");

		json_append(all, replica(domain, json_get_string(p, "node", ""),
					 json_get_string(p, "replica", ""),
					 strcmp(domain, active) ? "standby" : "active",
					 json_get_string(p, "state", "")));
	}
	return all;
}

static void set_sync(struct json *status, const struct json *s)
{
	const struct json *set = json_get(s, "in_sync");
	char text[512] = "";
	size_t n = 0;

	for (unsigned i = 0; i < json_length(set) && n < sizeof(text) - 1; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", i ? ", " : "",
			json_string_at(set, i, "?"));
	set_text(status, "inSync", text);
}

void volume_status(struct json *status, const struct json *entry, const char *node)
{
	const struct json *s = json_get(entry, "status"), *space = json_get(s, "space");
	const char *trouble = json_get_string(s, "trouble", ""),
		   *next = json_get_string(s, "next", "");
	bool all = json_length(json_get(s, "in_sync")) == json_length(json_get(s, "peers")) + 1,
	     waits;
	int64_t size = json_get_int(space, "size", 0);
	char text[700];

	if (!json_is_object(s) || !strcmp(json_get_string(s, "role", ""), "recovering")) {
		const struct json *supervision = json_get(entry, "supervision");

		snprintf(text, sizeof(text),
			"its daemon on node '%.250s' does not serve yet: %.300s", node,
			json_get_string(supervision, "reason", "it starts"));
		json_set_string(status, "phase", "Pending");
		json_set_string(status, "message", text);
		return;
	}
	/* Active here, and nobody can use it: its mount is on the way, or the message says what is wrong. */
	waits = !strcmp(json_get_string(s, "active_domain", ""),
			json_get_string(s, "domain", "?")) &&
		!json_get_bool(s, "mounted", false);
	json_set_string(status, "phase",
		!json_get_string(s, "active_domain", "")[0] ? "Failed"
		: waits					    ? "Pending"
		: all					    ? "Ready"
							    : "Degraded");
	set_text(status, "uuid", json_get_string(s, "uuid", ""));
	set_text(status, "active", json_get_string(s, "active_domain", ""));
	set_sync(status, s);
	json_set_int(status, "epoch", json_get_int(s, "epoch", 0));
	set_text(status, "path", json_get_string(s, "mount", ""));
	json_set_int(status, "sizeBytes", size);
	json_set_int(status, "usedBytes", rounded(json_get_int(space, "used", 0), size));
	snprintf(
		text, sizeof(text), "%.400s%s%.250s", trouble, *trouble && *next ? "; " : "", next);
	set_text(status, "message", text);
	json_set(status, "replicas", replicas(s, node));
}

/* --- the spec --- */

int64_t volume_quantity(const struct json *spec, const char *key)
{
	static const char units[] = "KMGTP";
	const char *text = json_get_string(spec, key, NULL), *unit;
	int64_t n = text ? 0 : json_get_int(spec, key, 0), base = 1000;
	char *end;

	if (text) {
		n = strtoll(text, &end, 10);
		unit = *end == 'k' ? units : *end ? strchr(units, *end) : NULL;
		if (end == text || (*end && !unit) || n < 0)
			return 0;
		if (*end && end[1] == 'i')
			base = 1024;
		else if (*end && end[1])
			return 0;
		for (long i = unit ? unit - units + 1 : 0; i > 0; i--)
			if (__builtin_mul_overflow(n, base, &n))
				return 0;
	}
	return n > 0 && n < INT64_MAX - MIB ? (n + MIB - 1) / MIB * MIB : 0;
}

struct json *volume_request(const struct json *spec, const char *volume, const char *domain)
{
	const struct json *wanted = json_get(spec, "replicas");
	struct json *body = json_object(), *peers = json_object();
	unsigned others = 0, nodes = 0;
	char owner[48];

	json_set_string(body, "volume", volume);
	json_set_int(body, "size", volume_quantity(spec, "size"));
	json_set_string(body, "ack", json_get_string(spec, "ack", "op"));
	json_set_bool(body, "holder", true);
	json_set_string(body, "mode", json_get_string(spec, "mode", "0755"));
	snprintf(owner, sizeof(owner), "%" PRId64 ":%" PRId64, json_get_int(spec, "uid", 0),
		json_get_int(spec, "gid", 0));
	json_set_string(body, "owner", owner);
	json_set_string(body, "directory", VOLUME_DIRECTORY);
	for (unsigned i = 0; i < json_length(wanted); i++) {
		const char *name = json_get_string(json_at(wanted, i), "domain", ""),
			   *node = json_get_string(json_at(wanted, i), "node", "");
		struct json *peer;

		if (!strcmp(name, domain))
			continue;
		peer = json_object();
		if (node[0])
			json_set_string(peer, "node", node);
		json_set(peers, name, peer);
		json_set_string(body, "domain", name);
		others++;
		nodes += node[0] != '\0';
	}
	if (others > 1 || nodes) /* one can be named, or all be taken */
		json_remove(body, "domain");
	if (nodes)
		json_set(body, "peers", peers);
	else
		json_free(peers);
	return body;
}
