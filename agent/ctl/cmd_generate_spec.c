/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl generate spec: for each site the manifest of what is its own, beside the manifests that are the same
 * everywhere: its name, its peers, and an identity signed by an authority that is made once, in the directory's pki/.
 *
 * Typed again, it signs new certificates by the same authority, which is how they are renewed and how a site is added.
 * Each file is written as a whole; an interruption leaves old or new ones, and the command is typed again.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "agent_config.h"
#include "ctl.h"
#include "pair_files.h"

#define AGENT_PORT 7401

struct site {
	char domain[DOMAIN_LEN_MAX + 1];
	unsigned nhosts; /* of its nodes */
	char hosts[AGENT_CONFIG_NODES_MAX][PAIR_HOST_MAX + 1]; /* an IPv6 address in brackets */
};

static bool is_host(const char *host, size_t len)
{
	char text[PAIR_HOST_MAX + 1];

	if (!len || len > PAIR_HOST_MAX)
		return false;
	snprintf(text, sizeof(text), "%.*s", (int)len, host);
	return !strpbrk(text, " /'\"#=") && (!strchr(text, ':') || text[0] == '[');
}

static int take_site(struct ctl *c, const char *text, struct site *ret)
{
	size_t n = strcspn(text, "=");
	const char *host = text + n;

	if (!n || n > DOMAIN_LEN_MAX || strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") < n)
		return ctl_usage_error(c, "generate",
			"'%s': a site is DOMAIN=ADDRESS, its domain of a-z, 0-9 and '-'", text);
	snprintf(ret->domain, sizeof(ret->domain), "%.*s", (int)n, text);
	ret->nhosts = 0;
	do { /* at the '=' or a comma, or the end where there is no '=' */
		size_t len = *host ? strcspn(++host, ",") : 0;

		if (!is_host(host, len) || ret->nhosts == AGENT_CONFIG_NODES_MAX)
			return ctl_usage_error(c, "generate",
				"'%s': the address is a host's name or IP address without a port, "
				"an "
				"IPv6 address in brackets; several nodes, at most %u, have commas "
				"between them",
				text, AGENT_CONFIG_NODES_MAX);
		snprintf(ret->hosts[ret->nhosts++], PAIR_HOST_MAX + 1, "%.*s", (int)len, host);
		host += len;
	} while (*host);
	return CTL_OK;
}

/* `text` as a block of YAML's. */
static void print_block(FILE *f, const char *key, const char *text)
{
	fprintf(f, "  %s: |\n", key);
	while (*text) {
		int len = (int)strcspn(text, "\n");

		fprintf(f, "    %.*s\n", len, text);
		text += len;
		if (*text)
			text++;
	}
}

static void print_head(FILE *f, const char *kind, const char *name)
{
	fprintf(f, "apiVersion: v1\nkind: %s\nmetadata:\n  name: %s\n  namespace: tandem-system\n",
		kind, name);
}

static char *agent_conf(const struct site *sites, unsigned n, unsigned at)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ensure(f);
	fprintf(f,
		"# The agent of each node. Its paths are those of base/engine.yaml.\n"
		"[agent]\ndomain = %s\nvolumes = /var/lib/tandemfs/volumes\n"
		"run_directory = /run/tandemfs\nlog_directory = /var/lib/tandemfs/log\n"
		"state_directory = /var/lib/tandemfs/agent\nstop_daemons = yes\n"
		"host_mountinfo = /host/proc/1/mountinfo\nnode_holders = yes\n"
		"[api]\nlisten = 0.0.0.0:%d\nca = /etc/tandemfs/ca.pem\n"
		"certificate = /etc/tandemfs/tls.crt\nkey = /etc/tandemfs/tls.key\n"
		"[replicas]\ndirectory = /var/lib/tandemfs/data\nmounts = /var/lib/tandemfs/mnt\n"
		"[kubernetes]\nprobes = 0.0.0.0:7444\n",
		sites[at].domain, AGENT_PORT);
	for (unsigned i = 0; i < n; i++) {
		if (i == at)
			continue;
		fprintf(f, "[peer %s]\nagent = ", sites[i].domain);
		for (unsigned k = 0; k < sites[i].nhosts; k++)
			fprintf(f, "%s%s:%d", k ? ", " : "", sites[i].hosts[k], AGENT_PORT);
		fputc('\n', f);
	}
	ensure(!fclose(f) && text);
	return text;
}

static char *manifest(const struct site *sites, unsigned n, unsigned at, const char *ca,
	const char *certificate, const char *key)
{
	char *text = NULL, *conf = agent_conf(sites, n, at);
	size_t len;
	FILE *f = open_memstream(&text, &len);

	ensure(f);
	fprintf(f,
		"# The cluster of %s; it has a private key. Apply it after "
		"k8s-manifests/base.\n",
		sites[at].domain);
	print_head(f, "ConfigMap", "tandem-site");
	fprintf(f, "data:\n  domain: %s\n  peer: %s\n---\n", sites[at].domain,
		sites[at ? 0 : 1].domain);
	print_head(f, "ConfigMap", "tandem-agent");
	fputs("data:\n", f);
	print_block(f, "agent.conf", conf);
	fputs("---\n", f);
	print_head(f, "Secret", "tandem-identity");
	fputs("stringData:\n", f);
	print_block(f, "ca.pem", ca);
	print_block(f, "tls.crt", certificate);
	print_block(f, "tls.key", key);
	ensure(!fclose(f) && text);
	free(conf);
	return text;
}

static int write_site(struct ctl *c, const struct pair_site *authority, const struct site *sites,
	unsigned n, unsigned at, struct err *e)
{
	char *ca = NULL, *ca_key = NULL, *request = NULL, *key = NULL, *certificate = NULL, *text;
	char path[1300];
	int ret = pair_authority(authority, &ca, &ca_key, e);

	snprintf(path, sizeof(path), "%.1023s/%.63s.yaml", authority->dir, sites[at].domain);
	if (!ret)
		ret = certificate_make_request(&request, &key, e);
	if (!ret)
		ret = certificate_issue(ca, ca_key, request, sites[at].domain, &certificate, e);
	if (!ret) {
		text = manifest(sites, n, at, ca, certificate, key);
		ret = pair_write_file(path, text, 0600, e);
		certificate_text_free(text);
	}
	if (!ret)
		fprintf(c->out, "%s\n", path);
	certificate_text_free(ca);
	certificate_text_free(ca_key);
	certificate_text_free(request);
	certificate_text_free(key);
	certificate_text_free(certificate);
	return ret;
}

int cmd_generate_spec(struct ctl *c, unsigned nargs, const char *const *args)
{
	struct site sites[REPLICAS_MAX] = {0};
	struct pair_site authority = {0};
	struct err e = {0};
	int ret = 0;

	if (!c->config_dir || !*c->config_dir)
		return ctl_usage_error(
			c, "generate", "--config-dir is missing: where the files go");
	if (nargs < 2 || nargs > ARRAY_SIZE(sites))
		return ctl_usage_error(
			c, "generate", "two to %zu sites are wanted", ARRAY_SIZE(sites));
	for (unsigned i = 0; i < nargs; i++) {
		ret = take_site(c, args[i], &sites[i]);
		if (ret)
			return ret;
		for (unsigned k = 0; k < i; k++)
			if (!strcmp(sites[k].domain, sites[i].domain))
				return ctl_usage_error(
					c, "generate", "'%s' is named twice", sites[i].domain);
	}
	snprintf(authority.domain, sizeof(authority.domain), "%s", sites[0].domain);
	pair_site_paths(&authority, c->config_dir);
	ret = pair_make_directories(&authority, &e);
	for (unsigned i = 0; i < nargs && !ret; i++)
		ret = write_site(c, &authority, sites, nargs, i, &e);
	return ret ? ctl_fail(c, "%s", e.msg) : CTL_OK;
}
