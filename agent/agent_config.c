/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's configuration file, read with journal/conf, which knows the syntax; here is what the values
 * must be and what they must be to each other. Nothing is guessed: the first thing wrong ends it.
 */
#include "agent_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "conf.h"
#include "control.h"

static const struct conf_key config_keys[] = {
	{"agent", "domain", true},
	{"agent", "node", false},
	{"agent", "volumes", false},
	{"agent", "run_directory", false},
	{"agent", "log_directory", false},
	{"agent", "state_directory", false},
	{"agent", "program", false},
	{"agent", "interval", false},
	{"agent", "restart_delay_max", false},
	{"agent", "stop_daemons", false},
	{"agent", "host_mountinfo", false},
	{"agent", "node_holders", false},
	{"api", "socket", false},
	{"api", "metrics", false},
	{"api", "listen", false},
	{"api", "ca", false},
	{"api", "certificate", false},
	{"api", "key", false},
	{"kubernetes", "kubeconfig", false},
	{"kubernetes", "namespace", false},
	{"kubernetes", "identity", false},
	{"kubernetes", "interval", false},
	{"kubernetes", "probes", false},
	{"peer", "agent", false}, /* needed, but the section may be absent */
	{"replicas", "directory", false},
	{"replicas", "mounts", false},
	{"replicas", "address", false},
	{"replicas", "port", false},
};

/* The program that lies beside this one. */
static void default_program(char *ret, size_t size)
{
	char self[2048];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[MAX(len, 0)] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	snprintf(ret, size, "%s/tandemfs", slash ? self : "/usr/local/sbin");
}

/* What matters where the agent is the first process of a container. */
static int load_container(
	const struct conf *c, const struct conf_section *s, struct agent_config *r, struct err *e)
{
	int ret = conf_get_bool(c, s, "stop_daemons", &r->stop_daemons, e);

	if (!ret)
		ret = conf_get_path(
			c, s, "host_mountinfo", r->host_mountinfo, sizeof(r->host_mountinfo), e);
	return ret ? ret : conf_get_bool(c, s, "node_holders", &r->node_holders, e);
}

static void default_node(struct agent_config *r)
{
	const char *pod = getenv("TANDEM_NODE");
	char host[256] = "";

	if (!pod || !conf_is_node(pod))
		gethostname(host, sizeof(host) - 1);
	snprintf(r->node, sizeof(r->node), "%.253s",
		pod && conf_is_node(pod) ? pod
		: conf_is_node(host)	 ? host
					 : "localhost");
}

static int load_agent(const struct conf *c, struct agent_config *r, struct err *e)
{
	const struct conf_section *s = conf_section(c, "agent");
	int ret;

	if (*s->name)
		return conf_error(c, s, NULL, e, "section [agent] takes no name");
	ret = conf_take_name(
		c, s, "domain", conf_get(c, s, "domain"), r->domain, sizeof(r->domain), e);
	default_node(r);
	if (!ret)
		ret = conf_get_node(c, s, "node", r->node, sizeof(r->node), e);
	if (!ret)
		ret = conf_get_path(c, s, "volumes", r->volumes, sizeof(r->volumes), e);
	if (!ret)
		ret = conf_get_path(c, s, "run_directory", r->run_dir, sizeof(r->run_dir), e);
	if (!ret)
		ret = conf_get_path(c, s, "log_directory", r->log_dir, sizeof(r->log_dir), e);
	if (!ret)
		ret = conf_get_path(c, s, "state_directory", r->state_dir, sizeof(r->state_dir), e);
	if (!ret)
		ret = conf_get_path(c, s, "program", r->program, sizeof(r->program), e);
	if (!ret)
		ret = conf_get_duration(
			c, s, "interval", 50 * NS_PER_MS, 60 * NS_PER_S, &r->interval_ns, e);
	if (!ret)
		ret = conf_get_duration(c, s, "restart_delay_max", NS_PER_S, 3600 * NS_PER_S,
			&r->restart_delay_max_ns, e);
	return ret ? ret : load_container(c, s, r, e);
}

/* With listen, all three; without it, none: they would protect nothing. */
static int load_certificates(
	const struct conf *c, const struct conf_section *s, struct agent_config *r, struct err *e)
{
	static const char *const keys[] = {"ca", "certificate", "key"};
	char *const values[] = {r->ca, r->certificate, r->key};

	for (unsigned i = 0; i < ARRAY_SIZE(keys); i++) {
		int ret;

		if (!r->listen[0] && conf_get(c, s, keys[i]))
			return conf_error(c, s, keys[i], e, "has no meaning without 'listen'");
		if (r->listen[0] && !conf_get(c, s, keys[i]))
			return conf_error(c, s, NULL, e,
				"key '%s' is missing in section [api]: listen needs ca, "
				"certificate and key",
				keys[i]);
		ret = conf_get_readable(c, s, keys[i], values[i], sizeof(r->ca), e);
		if (ret)
			return ret;
	}
	return 0;
}

static int load_api(const struct conf *c, struct agent_config *r, struct err *e)
{
	const struct conf_section *s = conf_section(c, "api");
	size_t socket_max = sizeof(((struct sockaddr_un *)0)->sun_path) - 1, len;
	int ret;

	snprintf(r->socket, sizeof(r->socket), "%.4000s/" AGENT_SOCKET_NAME, r->run_dir);
	if (s && *s->name)
		return conf_error(c, s, NULL, e, "section [api] takes no name");
	ret = conf_get_path(c, s, "socket", r->socket, sizeof(r->socket), e);
	if (!ret)
		ret = conf_get_bool(c, s, "metrics", &r->metrics, e);
	if (!ret && s)
		ret = conf_get_address(c, s, "listen", r->listen, sizeof(r->listen), e);
	if (!ret && s)
		ret = load_certificates(c, s, r, e);
	if (ret)
		return ret;
	len = strlen(r->socket);
	if (len > socket_max)
		return conf_error(c, s ? s : conf_section(c, "agent"), "socket", e,
			"a socket's path has at most %zu bytes", socket_max);
	if (len > 5 && !strcmp(r->socket + len - 5, ".sock"))
		return conf_error(c, s, "socket", e,
			"must not end with '.sock', as the sockets of volumes do");
	return 0;
}

static int load_peers(const struct conf *c, struct agent_config *r, struct err *e)
{
	int ret = 0;

	for (const struct conf_section *s = conf_section(c, "peer"); s && !ret;
		s = conf_next_section(c, s)) {
		struct agent_config_peer *p = &r->peers[r->npeers];

		if (!*s->name)
			return conf_error(c, s, NULL, e,
				"the other side's domain is missing (write [peer site-b])");
		if (r->npeers == REPLICAS_MAX - 1)
			return conf_error(c, s, NULL, e, "more than %u peers", REPLICAS_MAX - 1);
		ret = conf_take_name(c, s, NULL, s->name, p->domain, sizeof(p->domain), e);
		if (!ret && strcmp(p->domain, r->domain) == 0)
			return conf_error(
				c, s, NULL, e, "peer '%s' has this site's own domain", p->domain);
		if (!ret && !conf_get(c, s, "agent"))
			return conf_error(c, s, NULL, e,
				"key 'agent' is missing in section [peer %s]", s->name);
		if (!ret)
			ret = conf_get_addresses(c, s, "agent", p->addresses,
				AGENT_CONFIG_NODES_MAX, &p->naddresses, e);
		for (unsigned i = 0; i < p->naddresses && !ret; i++)
			if (strcmp(p->addresses[i], r->listen) == 0)
				ret = conf_error(c, s, "agent", e,
					"'%s' is this site's own listen address", r->listen);
		r->npeers++;
	}
	return ret;
}

static int load_replicas(const struct conf *c, struct agent_config *r, struct err *e)
{
	const struct conf_section *s = conf_section(c, "replicas");
	const char *host = s ? conf_get(c, s, "address") : NULL, *pod = getenv("TANDEM_ADDRESS");
	uint64_t port = 7410;
	int ret;

	if (!host && pod && *pod) /* one file for the pods of many nodes */
		host = pod;

	snprintf(r->replica_host, sizeof(r->replica_host), "%.*s",
		(int)(r->listen[0] ? strrchr(r->listen, ':') - r->listen : 0), r->listen);
	if (s && *s->name)
		return conf_error(c, s, NULL, e, "section [replicas] takes no name");
	if (!s) {
		r->first_port = (unsigned)port;
		return 0;
	}
	ret = conf_get_path(c, s, "directory", r->replicas, sizeof(r->replicas), e);
	if (!ret)
		ret = conf_get_path(c, s, "mounts", r->mounts, sizeof(r->mounts), e);
	if (!ret)
		ret = conf_get_uint(c, s, "port", 1, 65535, &port, e);
	if (!ret && host && (strlen(host) >= sizeof(r->replica_host) || strpbrk(host, " /'\"")))
		ret = conf_error(c, s, "address", e, "is a host, without a port");
	if (!ret && host && strchr(host, ':') && host[0] != '[')
		ret = conf_error(c, s, "address", e,
			"is a host, without a port; an IPv6 address stands in brackets");
	if (!ret && host)
		snprintf(r->replica_host, sizeof(r->replica_host), "%s", host);
	r->first_port = (unsigned)port;
	return ret;
}

/* A pod is told by its environment who it is. */
static void default_identity(struct agent_config *r)
{
	const char *ns = getenv("TANDEM_NAMESPACE"), *pod = getenv("TANDEM_POD");

	snprintf(r->kube_namespace, sizeof(r->kube_namespace), "%s",
		ns && *ns ? ns : "tandem-system");
	if (pod && *pod)
		snprintf(r->kube_identity, sizeof(r->kube_identity), "%s", pod);
	else if (gethostname(r->kube_identity, sizeof(r->kube_identity) - 1))
		snprintf(r->kube_identity, sizeof(r->kube_identity), "tandem-agent");
}

static int load_kubernetes(const struct conf *c, struct agent_config *r, struct err *e)
{
	const struct conf_section *s = conf_section(c, "kubernetes");
	const char *text;
	int ret;

	default_identity(r);
	if (!s)
		return 0;
	if (*s->name)
		return conf_error(c, s, NULL, e, "section [kubernetes] takes no name");
	ret = conf_get_readable(c, s, "kubeconfig", r->kubeconfig, sizeof(r->kubeconfig), e);
	text = conf_get(c, s, "namespace");
	if (!ret && text)
		ret = conf_take_name(
			c, s, "namespace", text, r->kube_namespace, sizeof(r->kube_namespace), e);
	text = conf_get(c, s, "identity");
	if (!ret && text && (!*text || strlen(text) >= sizeof(r->kube_identity)))
		ret = conf_error(
			c, s, "identity", e, "1 to %zu bytes", sizeof(r->kube_identity) - 1);
	if (!ret && text)
		snprintf(r->kube_identity, sizeof(r->kube_identity), "%s", text);
	if (!ret)
		ret = conf_get_duration(
			c, s, "interval", NS_PER_S, 300 * NS_PER_S, &r->kube_interval_ns, e);
	if (!ret)
		ret = conf_get_address(c, s, "probes", r->kube_probes, sizeof(r->kube_probes), e);
	return ret;
}

int agent_config_load(const char *path, struct agent_config *ret_c, struct err *e)
{
	static struct agent_config r; /* large; one thread */
	struct conf *c = NULL;
	int ret;

	r = (struct agent_config){
		.volumes = "/etc/tandemfs",
		.run_dir = CONTROL_RUN_DIR,
		.log_dir = "/var/log/tandemfs",
		.state_dir = "/var/lib/tandemfs/agent",
		.interval_ns = NS_PER_S,
		.restart_delay_max_ns = 60 * NS_PER_S,
		.metrics = true,
		.replicas = "/var/lib/tandemfs/data",
		.mounts = "/var/lib/tandemfs/mnt",
		.kube_interval_ns = 5 * NS_PER_S,
	};
	snprintf(r.path, sizeof(r.path), "%s", path);
	default_program(r.program, sizeof(r.program));
	ret = conf_load(path, config_keys, ARRAY_SIZE(config_keys), &c, e);
	if (ret)
		return ret;
	ret = load_agent(c, &r, e);
	if (!ret)
		ret = load_api(c, &r, e);
	if (!ret)
		ret = load_peers(c, &r, e);
	if (!ret)
		ret = load_replicas(c, &r, e);
	if (!ret)
		ret = load_kubernetes(c, &r, e);
	conf_free(c);
	if (!ret)
		*ret_c = r;
	return ret;
}
