/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The volume's configuration file and its descriptor. Both are read with journal/conf, which knows
 * the syntax; here is what the values must be and what they must be to each other. Nothing is
 * guessed: the first thing wrong ends it, with file, line and reason.
 *
 * Files that are named (certificates) must exist when the configuration is loaded; directory and
 * mount need not, because format and the mount make their own, better, messages about them.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "conf.h"
#include "control.h"
#include "polling.h"

#define THREADS_MAX 64u

static const struct conf_key config_keys[] = {
	{"volume", "name", true},
	{"volume", "directory", true},
	{"volume", "mount", true},
	{"volume", "ack", false},
	{"volume", "suid", false},
	{"volume", "dev", false},
	{"volume", "threads", false},
	{"volume", "holder", false},
	{"site", "domain", true},
	{"site", "listen", true},
	{"peer", "address", true},
	{"peer", "node", false},
	{"transport", "mode", true},
	{"transport", "ca", false},
	{"transport", "certificate", false},
	{"transport", "key", false},
	{"transport", "heartbeat", false},
	{"transport", "timeout", false},
	{"journal", "io", false},
	{"journal", "size", false},
	{"journal", "flights", false},
	{"journal", "poll", false},
	{"limits", "payload_memory", false},
	{"limits", "cache", false},
	{"limits", "memtable", false},
	{"limits", "checkpoint_entries", false},
	{"limits", "catch_up_rate", false},
};

/* --- single values --- */

/* With tls, a file that must be there and be readable. */
static int take_tls_file(const struct conf *c, const struct conf_section *s, const char *key,
	char *ret, size_t size, struct err *e)
{
	if (!conf_get(c, s, key))
		return conf_error(c, s, NULL, e,
			"key '%s' is missing in section [transport]: mode = tls needs ca, "
			"certificate and key",
			key);
	return conf_get_readable(c, s, key, ret, size, e);
}

/* --- sections --- */

static int load_volume(const struct conf *c, struct config *r, struct err *e)
{
	static const char *const acks[] = {"op", "fsync", "async", NULL};
	const struct conf_section *s = conf_section(c, "volume");
	uint64_t threads = r->threads;
	unsigned ack = 0;
	int ret;

	if (*s->name)
		return conf_error(c, s, NULL, e, "section [volume] takes no name");
	ret = conf_take_name(c, s, "name", conf_get(c, s, "name"), r->name, sizeof(r->name), e);
	if (!ret)
		ret = conf_get_path(c, s, "directory", r->directory, sizeof(r->directory), e);
	if (!ret)
		ret = conf_get_path(c, s, "mount", r->mount, sizeof(r->mount), e);
	if (!ret)
		ret = conf_get_choice(c, s, "ack", acks, &ack, e);
	if (!ret)
		ret = conf_get_bool(c, s, "suid", &r->suid, e);
	if (!ret)
		ret = conf_get_bool(c, s, "dev", &r->dev, e);
	if (!ret)
		ret = conf_get_bool(c, s, "holder", &r->holder, e);
	if (!ret)
		ret = conf_get_uint(c, s, "threads", 1, THREADS_MAX, &threads, e);
	if (ret)
		return ret;
	r->threads = (unsigned)threads;
	if (ack > CONFIG_ACK_FSYNC)
		return conf_error(c, s, "ack", e,
			"'async' is not built yet; 'op' (each operation is on both sites before it "
			"returns) and 'fsync' (what is synced is) can be used");
	r->ack = ack;
	switch (config_places(r->directory, r->mount)) {
	case PLACES_DIRECTORY_IN_MOUNT:
		return conf_error(c, s, "directory", e,
			"the replica must not lie at or below its own mount point '%.100s'",
			r->mount);
	case PLACES_MOUNT_IN_DIRECTORY:
		return conf_error(c, s, "mount", e,
			"the mount point must not lie in the replica's directory '%.100s'",
			r->directory);
	case PLACES_APART:
		break;
	}
	return 0;
}

static int load_sites(const struct conf *c, struct config *r, struct err *e)
{
	const struct conf_section *s = conf_section(c, "site");
	int ret;

	if (*s->name)
		return conf_error(c, s, NULL, e, "section [site] takes no name");
	ret = conf_take_name(
		c, s, "domain", conf_get(c, s, "domain"), r->domain, sizeof(r->domain), e);
	if (!ret)
		ret = conf_get_address(c, s, "listen", r->listen, sizeof(r->listen), e);
	for (s = conf_section(c, "peer"); s && !ret; s = conf_next_section(c, s)) {
		struct config_peer *p = &r->peers[r->npeers];

		if (!*s->name)
			return conf_error(c, s, NULL, e,
				"the other side's domain is missing (write [peer site-b])");
		if (r->npeers == REPLICAS_MAX - 1)
			return conf_error(c, s, NULL, e, "more than %u peers", REPLICAS_MAX - 1);
		ret = conf_take_name(c, s, NULL, s->name, p->domain, sizeof(p->domain), e);
		if (ret)
			break;
		if (strcmp(p->domain, r->domain) == 0)
			return conf_error(
				c, s, NULL, e, "peer '%s' has this site's own domain", p->domain);
		ret = conf_get_address(c, s, "address", p->address, sizeof(p->address), e);
		if (!ret && strcmp(p->address, r->listen) == 0)
			ret = conf_error(c, s, "address", e, "is this site's own listen address");
		if (!ret)
			ret = conf_get_node(c, s, "node", p->node, sizeof(p->node), e);
		r->npeers++;
	}
	return ret;
}

static int load_transport(const struct conf *c, struct config *r, struct err *e)
{
	static const char *const modes[] = {"tls", "plain", NULL};
	const struct conf_section *s = conf_section(c, "transport");
	unsigned mode = 0;
	int ret;

	if (*s->name)
		return conf_error(c, s, NULL, e, "section [transport] takes no name");
	ret = conf_get_choice(c, s, "mode", modes, &mode, e);
	if (ret)
		return ret;
	r->tls = mode == 0;
	if (r->tls) {
		ret = take_tls_file(c, s, "ca", r->ca, sizeof(r->ca), e);
		if (!ret)
			ret = take_tls_file(
				c, s, "certificate", r->certificate, sizeof(r->certificate), e);
		if (!ret)
			ret = take_tls_file(c, s, "key", r->key, sizeof(r->key), e);
	} else {
		static const char *const unused[] = {"ca", "certificate", "key"};

		for (unsigned i = 0; i < ARRAY_SIZE(unused); i++)
			if (conf_get(c, s, unused[i]))
				return conf_error(c, s, unused[i], e,
					"has no meaning with mode = plain, which encrypts nothing");
	}
	if (!ret)
		ret = conf_get_duration(
			c, s, "heartbeat", 10 * NS_PER_MS, 60 * NS_PER_S, &r->heartbeat_ns, e);
	if (!ret)
		ret = conf_get_duration(
			c, s, "timeout", 50 * NS_PER_MS, 3600 * NS_PER_S, &r->timeout_ns, e);
	if (!ret && r->timeout_ns < 2 * r->heartbeat_ns)
		ret = conf_error(c, s, conf_get(c, s, "timeout") ? "timeout" : "heartbeat", e,
			"the timeout must be at least two heartbeats");
	return ret;
}

static int load_limits(const struct conf *c, struct config *r, struct err *e)
{
	static const char *const ios[] = {"auto", "io_uring", "pwritev2", NULL};
	static const enum uring_mode io_modes[] = {URING_AUTO, URING_FORCE, URING_THREADS};
	const struct conf_section *s = conf_section(c, "journal");
	uint64_t flights = r->flights;
	unsigned io = 0;
	int ret = 0;

	if (s) {
		ret = conf_get_choice(c, s, "io", ios, &io, e);
		if (!ret)
			ret = conf_get_size(
				c, s, "size", RING_SIZE_MIN, RING_SIZE_MAX, &r->ring_size, e);
		if (!ret && r->ring_size % BLOCK_SIZE)
			ret = conf_error(c, s, "size", e, "is no multiple of %u", BLOCK_SIZE);
		if (!ret)
			ret = conf_get_uint(c, s, "flights", 1, 8, &flights, e);
		if (!ret && conf_get(c, s, "poll"))
			ret = conf_get_duration(c, s, "poll", 0, POLLING_MAX_NS, &r->poll_ns, e);
		r->io = io_modes[io];
		r->flights = (unsigned)flights;
	}
	s = conf_section(c, "limits");
	if (!s || ret)
		return ret;
	ret = conf_get_size(c, s, "payload_memory", 8ull << 20, 1ull << 40, &r->payload_memory, e);
	if (!ret)
		ret = conf_get_size(c, s, "cache", 1ull << 20, 1ull << 40, &r->cache, e);
	if (!ret)
		ret = conf_get_size(c, s, "memtable", 1ull << 20, 1ull << 30, &r->memtable, e);
	if (!ret)
		ret = conf_get_uint(
			c, s, "checkpoint_entries", 100, 1000000000, &r->checkpoint_entries, e);
	if (!ret)
		ret = conf_get_size(
			c, s, "catch_up_rate", 64ull << 10, 1ull << 40, &r->catch_up_rate, e);
	return ret;
}

static int check_sections(const struct conf *c, struct err *e)
{
	static const char *const once[] = {"volume", "site", "transport", "journal", "limits"};

	for (unsigned i = 0; i < ARRAY_SIZE(once); i++) {
		const struct conf_section *s = conf_section(c, once[i]);
		const struct conf_section *next = s ? conf_next_section(c, s) : NULL;

		if (next)
			return conf_error(c, next, NULL, e,
				"section [%s] is there already, in line %u", once[i], s->line);
	}
	return 0;
}

int config_load(const char *path, struct config *ret_c, struct err *e)
{
	cleanup_free struct config *r = calloc(1, sizeof(*r));
	struct conf *c;
	int ret;

	if (!r)
		return err_set(e, -ENOMEM, "%s: out of memory", path);
	if (strlen(path) >= sizeof(r->path))
		return err_set(e, -ENAMETOOLONG, "the configuration file's path is too long");
	snprintf(r->path, sizeof(r->path), "%s", path);
	snprintf(r->run_dir, sizeof(r->run_dir), "%s", CONTROL_RUN_DIR);
	r->threads = 4;
	r->heartbeat_ns = 500 * NS_PER_MS;
	r->timeout_ns = 5 * NS_PER_S;
	r->io = URING_AUTO;
	r->flights = 1;
	r->poll_ns = UINT64_MAX;
	r->payload_memory = 256ull << 20;
	r->cache = 128ull << 20;
	r->memtable = 64ull << 20;
	r->checkpoint_entries = 200000;
	ret = conf_load(path, config_keys, ARRAY_SIZE(config_keys), &c, e);
	if (ret)
		return ret;
	ret = check_sections(c, e);
	if (!ret)
		ret = load_volume(c, r, e);
	if (!ret)
		ret = load_sites(c, r, e);
	if (!ret)
		ret = load_transport(c, r, e);
	if (!ret)
		ret = load_limits(c, r, e);
	conf_free(c);
	if (ret)
		return ret;
	*ret_c = *r;
	return 0;
}
