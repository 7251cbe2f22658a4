/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pairing's files. Failure modes: a file of another's hands is never overwritten: another authority, or a
 * line of agent.conf that says something else, ends the pairing with words. A new agent.conf is read by the
 * agent's own parser before it takes the old one's place.
 */
#include "pair_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent_config.h"
#include "cleanup.h"
#include "conf.h"
#include "durable.h"
#include "server_impl.h"

#define DEFAULT_DIR "/etc/tandemfs"

void pair_site_paths(struct pair_site *s, const char *dir)
{
	snprintf(s->dir, sizeof(s->dir), "%s", dir);
	snprintf(s->ca, sizeof(s->ca), "%s/pki/ca.pem", s->dir);
	snprintf(s->ca_key, sizeof(s->ca_key), "%s/pki/ca.key", s->dir);
	snprintf(s->identity, sizeof(s->identity), "%s/pki/%s.pem", s->dir, s->domain);
	snprintf(s->config, sizeof(s->config), "%s/agent.conf", s->dir);
}

struct pair_identity pair_site_identity(const struct pair_site *s)
{
	return (struct pair_identity){.ca = s->ca, .certificate = s->identity};
}

int pair_make_directories(const struct pair_site *s, struct err *e)
{
	char pki[1100];

	snprintf(pki, sizeof(pki), "%s/pki", s->dir);
	return durable_make_dir(pki, 0755, e);
}

int pair_write_file(const char *path, const char *text, mode_t mode, struct err *e)
{
	return durable_replace(path, text, mode, e);
}

char *pair_read_file(const char *path, struct err *e)
{
	return server_read_pem(path, e);
}

static int make_authority(const struct pair_site *s, struct err *e)
{
	char *certificate, *key;
	int ret = certificate_make_authority(&certificate, &key, e);

	if (ret)
		return ret;
	/* The key first: a key without a certificate has signed nothing, and is made again. */
	ret = pair_write_file(s->ca_key, key, 0600, e);
	if (!ret)
		ret = pair_write_file(s->ca, certificate, 0644, e);
	certificate_text_free(key);
	certificate_text_free(certificate);
	return ret;
}

int pair_authority(const struct pair_site *s, char **ret_certificate, char **ret_key, struct err *e)
{
	char *certificate, *key;
	int ret;

	if (access(s->ca, F_OK) < 0 && errno == ENOENT) {
		ret = make_authority(s, e);
		if (ret)
			return ret;
	} else if (access(s->ca_key, F_OK) < 0 && errno == ENOENT) {
		return err_set(e, -EEXIST,
			"'%.100s' is the authority of another site: type this there, where its key "
			"is",
			s->ca);
	}
	certificate = pair_read_file(s->ca, e);
	if (!certificate)
		return e->code;
	key = pair_read_file(s->ca_key, e);
	if (!key) {
		certificate_text_free(certificate);
		return e->code;
	}
	*ret_certificate = certificate;
	*ret_key = key;
	return 0;
}

int pair_authority_fingerprint(
	const struct pair_site *s, char ret[2 * CERTIFICATE_FINGERPRINT_LEN + 1], struct err *e)
{
	struct certificate_info info;
	char *text = pair_read_file(s->ca, e);
	int code;

	ret[0] = '\0';
	if (!text)
		return e->code == -ENOENT ? 0 : e->code;
	code = certificate_read(text, &info, e);
	certificate_text_free(text);
	if (code)
		return err_wrap(e, "'%.100s'", s->ca);
	pair_hex(info.fingerprint, sizeof(info.fingerprint), ret);
	return 0;
}

int pair_write_identity(
	const struct pair_site *s, const char *certificate, const char *key, struct err *e)
{
	char *both;
	int ret;

	ret = asprintf(&both, "%s%s", key, certificate);
	ensure(ret >= 0);
	ret = pair_write_file(s->identity, both, 0600, e);
	certificate_text_free(both);
	return ret;
}

/* ---- agent.conf ---- */

/* 0 with *ret NULL when there is no file. */
static int load_config(const struct pair_site *s, struct conf **ret_conf, struct err *e)
{
	*ret_conf = NULL;
	if (access(s->config, F_OK) < 0 && errno == ENOENT)
		return 0;
	return conf_load(s->config, NULL, 0, ret_conf, e);
}

static void default_address(struct pair_site *s, const char *listen)
{
	const char *colon = strrchr(listen, ':');

	if (!s->port)
		s->port = (unsigned)atoi(colon + 1);
	if (!s->host[0] && strncmp(listen, "0.0.0.0:", 8) && strncmp(listen, "[::]:", 5))
		snprintf(s->host, sizeof(s->host), "%.*s", (int)(colon - listen), listen);
}

int pair_config_defaults(struct pair_site *s, struct err *e)
{
	const struct conf_section *agent, *api;
	const char *domain, *listen;
	struct conf *c;
	int ret = load_config(s, &c, e);

	if (ret || !c)
		return ret;
	agent = conf_section(c, "agent");
	api = conf_section(c, "api");
	domain = agent ? conf_get(c, agent, "domain") : NULL;
	listen = api ? conf_get(c, api, "listen") : NULL;
	if (domain && !s->domain[0])
		snprintf(s->domain, sizeof(s->domain), "%s", domain);
	else if (domain && strcmp(domain, s->domain) != 0)
		ret = conf_error(c, agent, "domain", e, "this site is '%s' already, not '%s'",
			domain, s->domain);
	if (listen && pair_valid_address(listen))
		default_address(s, listen);
	conf_free(c);
	return ret;
}

struct wanted {
	const char *kind, *name, *key, *value;
	const struct conf_section *section; /* NULL: there is none */
	bool there;
};

static const struct conf_section *find_section(
	const struct conf *c, const char *kind, const char *name)
{
	const struct conf_section *s = c ? conf_section(c, kind) : NULL;

	while (s && strcmp(s->name, name) != 0)
		s = conf_next_section(c, s);
	return s;
}

/* Is it one of a list with commas? */
static bool is_listed(const char *list, const char *one)
{
	while (*list) {
		size_t end, len;

		list += strspn(list, " \t,");
		end = len = strcspn(list, ",");
		while (len && strchr(" \t", list[len - 1]))
			len--;
		if (len == strlen(one) && !strncmp(list, one, len))
			return true;
		list += end;
	}
	return false;
}

/* A listen address that takes all of the node's is as good, and one of the other site's nodes. */
static bool same_value(const struct wanted *w, const char *value)
{
	const char *colon = strrchr(w->value, ':');

	if (strcmp(value, w->value) == 0)
		return true;
	if (strcmp(w->key, "agent") == 0)
		return is_listed(value, w->value);
	if (strcmp(w->key, "listen") != 0 || !colon || !strrchr(value, ':'))
		return false;
	return (!strncmp(value, "0.0.0.0:", 8) || !strncmp(value, "[::]:", 5)) &&
	       strcmp(strrchr(value, ':'), colon) == 0;
}

static void write_missing(FILE *f, const struct wanted *w, unsigned n, const char *kind)
{
	for (unsigned i = 0; i < n; i++)
		if (!strcmp(w[i].kind, kind) && !w[i].there)
			fprintf(f, "%s = %s\n", w[i].key, w[i].value);
}

/* The sections that are not there, or all of them. */
static void write_sections(FILE *f, const struct wanted *w, unsigned n, bool all)
{
	const char *kind = "";

	for (unsigned i = 0; i < n; i++) {
		if (w[i].section && !all)
			continue;
		if (strcmp(kind, w[i].kind) != 0)
			fprintf(f, "%s[%s%s%s]\n", i ? "\n" : "", w[i].kind,
				w[i].name[0] ? " " : "", w[i].name);
		kind = w[i].kind;
		fprintf(f, "%s = %s\n", w[i].key, w[i].value);
	}
}

/* The old text with the missing lines behind their sections' heads, and the missing sections at its end. */
static void write_extended(FILE *f, const char *old, const struct wanted *w, unsigned n)
{
	static const char *const kinds[] = {"agent", "api", "peer"};
	unsigned line = 0;

	while (*old) {
		size_t len = strcspn(old, "\n");

		fprintf(f, "%.*s\n", (int)len, old);
		old += len + (old[len] == '\n');
		line++;
		for (unsigned k = 0; k < ARRAY_SIZE(kinds); k++)
			for (unsigned i = 0; i < n; i++)
				if (!strcmp(w[i].kind, kinds[k]) && w[i].section &&
					w[i].section->line == line) {
					write_missing(f, w, n, kinds[k]);
					break;
				}
	}
	write_sections(f, w, n, false);
}

/* The agent's own parser has the last word on it before it counts. */
static int put_config(const struct pair_site *s, const char *text, struct err *e)
{
	static struct agent_config config; /* large */
	char temporary[1200];
	struct stat st;
	mode_t mode = stat(s->config, &st) == 0 ? st.st_mode & 0777 : 0644;
	int ret;

	snprintf(temporary, sizeof(temporary), "%s.new", s->config);
	ret = durable_write(temporary, text, mode, e);
	if (!ret)
		ret = agent_config_load(temporary, &config, e);
	if (!ret)
		ret = durable_rename(temporary, s->config, e);
	if (ret)
		unlink(temporary);
	return ret;
}

/* How many of the lines are missing; -EEXIST where one says something else. */
static int compare(const struct conf *c, struct wanted *w, unsigned n, struct err *e)
{
	int missing = 0;

	for (unsigned i = 0; i < n; i++) {
		const char *value = NULL;

		w[i].section = find_section(c, w[i].kind, w[i].name);
		if (w[i].section)
			value = conf_get(c, w[i].section, w[i].key);
		if (value && !same_value(&w[i], value)) {
			conf_error(c, w[i].section, w[i].key, e, "is '%s', and should be '%s'",
				value, w[i].value);
			return e->code = -EEXIST;
		}
		w[i].there = value != NULL;
		missing += !value;
	}
	return missing;
}

static char *text_of(const char *old, const struct wanted *w, unsigned n)
{
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	ensure(f);
	if (old)
		write_extended(f, old, w, n);
	else
		write_sections(f, w, n, true);
	fclose(f);
	return text;
}

int pair_config_extend(const struct pair_site *s, const char *peer, const char *peer_address,
	bool *ret_changed, char **ret_lines, struct err *e)
{
	struct wanted w[] = {
		{"agent", "", "domain", s->domain, NULL, false},
		{"agent", "", "volumes", s->dir, NULL, false},
		{"api", "", "listen", s->address, NULL, false},
		{"api", "", "ca", s->ca, NULL, false},
		{"api", "", "certificate", s->identity, NULL, false},
		{"api", "", "key", s->identity, NULL, false},
		{"peer", peer, "agent", peer_address, NULL, false},
	};
	struct wanted *first = w;
	unsigned n = ARRAY_SIZE(w);
	cleanup_free char *old = NULL, *text = NULL;
	struct conf *c;
	int ret = load_config(s, &c, e);

	if (ret)
		return ret;
	if (c || !strcmp(s->dir,
			 DEFAULT_DIR)) { /* where volumes are, is a matter of a new file alone */
		w[1] = w[0];
		first++;
		n--;
	}
	*ret_changed = false;
	ret = compare(c, first, n, e);
	if (ret == -EEXIST) {
		*ret_lines = text_of(NULL, first, n);
	} else if (ret > 0) {
		old = c ? server_read_pem(s->config, e) : strdup("");
		ret = old ? 0 : e->code;
		if (!ret) {
			text = text_of(old, first, n);
			ret = put_config(s, text, e);
		}
		*ret_changed = !ret;
	}
	conf_free(c);
	return ret;
}
