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
	{"transport", "mode", true},
	{"transport", "ca", false},
	{"transport", "certificate", false},
	{"transport", "key", false},
	{"transport", "heartbeat", false},
	{"transport", "timeout", false},
	{"journal", "io", false},
	{"journal", "size", false},
	{"journal", "flights", false},
	{"limits", "payload_memory", false},
	{"limits", "cache", false},
	{"limits", "memtable", false},
	{"limits", "checkpoint_entries", false},
	{"limits", "catch_up_rate", false},
};

/* --- single values --- */

/* Letters, digits, '-' and '_', the first a letter or digit: it becomes part of file names. */
static bool is_name(const char *s)
{
	if (*s == '-' || *s == '_')
		return false;
	return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-_")] == '\0';
}

static int take_name(const struct conf *c, const struct conf_section *s, const char *key,
	const char *text, char *ret, size_t size, struct err *e)
{
	if (!is_name(text))
		return conf_error(c, s, key, e,
			"'%.64s' is no name (a-z, 0-9, '-' and '_', a letter or digit first)",
			text);
	if (strlen(text) >= size)
		return conf_error(c, s, key, e, "the name is longer than %zu bytes", size - 1);
	snprintf(ret, size, "%s", text);
	return 0;
}

/* An absolute path without "." and ".." parts; slashes at the end and doubled ones are dropped, so
 * that it can be compared with what the kernel says. */
static int take_path(const struct conf *c, const struct conf_section *s, const char *key, char *ret,
	size_t size, struct err *e)
{
	const char *text = conf_get(c, s, key);
	size_t n = 0;

	if (!text)
		return 0;
	if (text[0] != '/')
		return conf_error(c, s, key, e,
			"'%.100s' is no absolute path (it must begin with '/')", text);
	if (strlen(text) >= size)
		return conf_error(c, s, key, e, "the path is longer than %zu bytes", size - 1);
	for (const char *p = text; *p;) {
		size_t len = strcspn(p, "/");

		if ((len == 1 && p[0] == '.') || (len == 2 && p[0] == '.' && p[1] == '.'))
			return conf_error(c, s, key, e, "'%.100s' has a '.' or '..' part", text);
		if (len) {
			ret[n++] = '/';
			memcpy(ret + n, p, len);
			n += len;
		}
		p += len + (p[len] == '/');
	}
	if (!n)
		return conf_error(c, s, key, e, "must not be the root directory");
	ret[n] = '\0';
	return 0;
}

/* What is wrong with a "host:port", or NULL. IPv6 addresses stand in brackets. */
static const char *address_problem(const char *text, bool need_host)
{
	const char *colon = strrchr(text, ':'), *host_end = colon;
	char *end;
	long port;

	if (!colon || !colon[1])
		return "has no port (write host:port)";
	if (strspn(colon + 1, "0123456789") != strlen(colon + 1))
		return "has a port that is no number";
	errno = 0;
	port = strtol(colon + 1, &end, 10);
	if (errno || port < 1 || port > 65535)
		return "has a port that is not between 1 and 65535";
	if (text[0] == '[') {
		if (colon == text + 1 || colon[-1] != ']')
			return "has a '[' without ']' before the port";
		if (colon - text < 4 || strspn(text + 1, "0123456789abcdefABCDEF:.%") == 0)
			return "has no IPv6 address between '[' and ']'";
		return NULL;
	}
	if (memchr(text, ':', (size_t)(host_end - text)))
		return "has an IPv6 address without brackets (write [address]:port)";
	if (need_host && host_end == text)
		return "has no host before the port";
	if (strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") !=
		(size_t)(host_end - text))
		return "has a character that no host name has";
	return NULL;
}

static int take_address(const struct conf *c, const struct conf_section *s, const char *key,
	char *ret, size_t size, struct err *e)
{
	const char *text = conf_get(c, s, key), *problem;

	if (strlen(text) >= size)
		return conf_error(c, s, key, e, "the address is longer than %zu bytes", size - 1);
	problem = address_problem(text, true);
	if (problem)
		return conf_error(c, s, key, e, "'%.100s' %s", text, problem);
	snprintf(ret, size, "%s", text);
	return 0;
}

/* With tls, a file that must be there and be readable. */
static int take_tls_file(const struct conf *c, const struct conf_section *s, const char *key,
	char *ret, size_t size, struct err *e)
{
	int r;

	if (!conf_get(c, s, key))
		return conf_error(c, s, NULL, e,
			"key '%s' is missing in section [transport]: mode = tls needs ca, "
			"certificate and key",
			key);
	r = take_path(c, s, key, ret, size, e);
	if (r)
		return r;
	if (access(ret, R_OK) < 0)
		return conf_error(c, s, key, e, "cannot read '%.100s': %s", ret, strerror(errno));
	return 0;
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
	ret = take_name(c, s, "name", conf_get(c, s, "name"), r->name, sizeof(r->name), e);
	if (!ret)
		ret = take_path(c, s, "directory", r->directory, sizeof(r->directory), e);
	if (!ret)
		ret = take_path(c, s, "mount", r->mount, sizeof(r->mount), e);
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
	ret = take_name(c, s, "domain", conf_get(c, s, "domain"), r->domain, sizeof(r->domain), e);
	if (!ret)
		ret = take_address(c, s, "listen", r->listen, sizeof(r->listen), e);
	for (s = conf_section(c, "peer"); s && !ret; s = conf_next_section(c, s)) {
		struct config_peer *p = &r->peers[r->npeers];

		if (!*s->name)
			return conf_error(c, s, NULL, e,
				"the other side's domain is missing (write [peer site-b])");
		if (r->npeers == REPLICAS_MAX - 1)
			return conf_error(c, s, NULL, e, "more than %u peers", REPLICAS_MAX - 1);
		ret = take_name(c, s, NULL, s->name, p->domain, sizeof(p->domain), e);
		if (ret)
			break;
		if (strcmp(p->domain, r->domain) == 0)
			return conf_error(
				c, s, NULL, e, "peer '%s' has this site's own domain", p->domain);
		ret = take_address(c, s, "address", p->address, sizeof(p->address), e);
		if (!ret && strcmp(p->address, r->listen) == 0)
			ret = conf_error(c, s, "address", e, "is this site's own listen address");
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
