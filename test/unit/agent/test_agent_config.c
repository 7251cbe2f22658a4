/* SPDX-License-Identifier: Apache-2.0 */
/* The agent's configuration: what is taken, and that every refusal names its line. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent_config.h"
#include "clock.h"
#include "scratch.h"

TestSuite(agent_config, .fini = scratch_remove);

#define AGENT "[agent]\ndomain = site-a\n"
#define PEER "[peer site-b]\nagent = 10.1.0.1:7401\n"

static struct agent_config c; /* large */

static int load(const char *text, struct err *e)
{
	const char *path = scratch_path("agent.conf");

	scratch_write(path, text);
	*e = (struct err){0};
	return agent_config_load(path, &c, e);
}

/* `text` is refused, and the message is the file's name followed by `tail`. */
static void refuse(const char *text, const char *tail)
{
	struct err e;
	char message[1024];

	snprintf(message, sizeof(message), "%s:%s", scratch_path("agent.conf"), tail);
	cr_assert(eq(int, load(text, &e), -EINVAL), "%s", text);
	cr_assert(zero(int, strncmp(e.msg, message, strlen(message))), "got  %s\nwant %s", e.msg,
		message);
}

Test(agent_config, the_domain_alone_gets_the_defaults)
{
	struct err e;

	cr_assert(zero(int, load(AGENT, &e)), "%s", e.msg);
	cr_assert(eq(str, c.domain, "site-a"));
	cr_assert(eq(str, c.volumes, "/etc/tandemfs"));
	cr_assert(eq(str, c.run_dir, "/run/tandemfs"));
	cr_assert(eq(str, c.log_dir, "/var/log/tandemfs"));
	cr_assert(eq(str, c.socket, "/run/tandemfs/agent.http"));
	cr_assert(eq(str, c.listen, ""));
	cr_assert(eq(u64, c.interval_ns, NS_PER_S));
	cr_assert(eq(u64, c.restart_delay_max_ns, 60 * NS_PER_S));
	cr_assert(eq(uint, c.npeers, 0));
	cr_assert(c.metrics);
	cr_assert(ne(ptr, strstr(c.program, "/tandemfs"), NULL));
	cr_assert(ne(chr, c.node[0], 0), "the host's name");
	setenv("TANDEM_NODE", "worker-7", 1);
	cr_assert(zero(int, load(AGENT, &e)), "%s", e.msg);
	cr_assert(eq(str, c.node, "worker-7"));
	cr_assert(zero(int, load(AGENT "node = other\n", &e)), "%s", e.msg);
	cr_assert(eq(str, c.node, "other"));
}

Test(agent_config, every_key_is_taken)
{
	char text[4096];
	struct err e;

	scratch_write(scratch_path("pem"), "x");
	snprintf(text, sizeof(text),
		"[agent]\ndomain = east\nnode = Node-1.example\nvolumes = /v/\nrun_directory = "
		"/r\nlog_directory = /l\n"
		"program = /p/tandemfs\ninterval = 200ms\nrestart_delay_max = 5s\n"
		"stop_daemons = yes\nhost_mountinfo = /h/mountinfo\nnode_holders = yes\n"
		"[api]\nsocket = /r/rest\nmetrics = no\nlisten = [::1]:7401\nca = %s\n"
		"certificate = %s\nkey = %s\n"
		"[peer west]\nagent = w:1\n[peer north]\nagent = n:2 ,\tn2:2,[::2]:2\n"
		"[replicas]\ndirectory = /d\nmounts = /m\naddress = [fd00::1]\nport = 8000\n"
		"[kubernetes]\nprobes = 0.0.0.0:7444\n",
		scratch_path("pem"), scratch_path("pem"), scratch_path("pem"));
	cr_assert(zero(int, load(text, &e)), "%s", e.msg);
	cr_assert(eq(str, c.volumes, "/v"));
	cr_assert(eq(str, c.program, "/p/tandemfs"));
	cr_assert(eq(u64, c.interval_ns, 200 * NS_PER_MS));
	cr_assert(eq(u64, c.restart_delay_max_ns, 5 * NS_PER_S));
	cr_assert(eq(int, c.stop_daemons, 1));
	cr_assert(eq(str, c.mounts, "/m"));
	cr_assert(eq(str, c.host_mountinfo, "/h/mountinfo"));
	cr_assert(eq(str, c.socket, "/r/rest"));
	cr_assert(not(c.metrics));
	cr_assert(eq(str, c.listen, "[::1]:7401"));
	cr_assert(eq(str, c.key, (char *)scratch_path("pem")));
	cr_assert(eq(uint, c.npeers, 2));
	cr_assert(eq(str, c.peers[1].domain, "north"));
	cr_assert(eq(uint, c.peers[0].naddresses, 1));
	cr_assert(eq(uint, c.peers[1].naddresses, 3));
	cr_assert(eq(str, c.peers[1].addresses[0], "n:2"));
	cr_assert(eq(str, c.peers[1].addresses[1], "n2:2"));
	cr_assert(eq(str, c.peers[1].addresses[2], "[::2]:2"));
	cr_assert(eq(str, c.node, "Node-1.example"));
	cr_assert(eq(str, c.replicas, "/d"));
	cr_assert(eq(str, c.replica_host, "[fd00::1]"));
	cr_assert(eq(uint, c.first_port, 8000));
	cr_assert(c.node_holders);
	cr_assert(eq(str, c.kube_probes, "0.0.0.0:7444"));
}

Test(agent_config, what_is_wrong_is_named_with_its_line)
{
	refuse("", "1: section [agent] is missing");
	refuse("[agent]\nvolumes = /v\n", "1: key 'domain' is missing in section [agent]");
	refuse("[agent]\ndomain = Site\n", "2: domain: 'Site' is no name");
	refuse("[agent x]\ndomain = a\n", "1: section [agent] takes no name");
	refuse(AGENT "color = red\n", "3: unknown key 'color' in section [agent]");
	refuse(AGENT "volumes = etc\n", "3: volumes: 'etc' is no absolute path");
	refuse(AGENT "interval = 0s\n", "3: interval:");
	refuse(AGENT "restart_delay_max = 2h\n", "3: restart_delay_max:");
	refuse(AGENT "[api]\nmetrics = maybe\n", "4: metrics:");
	refuse(AGENT "[api]\nsocket = /r/x.sock\n", "4: socket: must not end with '.sock'");
	refuse(AGENT "[replicas]\naddress = h:1\n", "4: address: is a host, without a port");
	refuse(AGENT "[replicas]\nport = 0\n", "4: port:");
	refuse(AGENT "[replicas x]\n", "3: section [replicas] takes no name");
	refuse(AGENT "[api]\nlisten = here\n", "4: listen: 'here' has no port");
	refuse(AGENT "[api]\nlisten = h:1\n", "3: key 'ca' is missing in section [api]");
	refuse(AGENT "[api]\nlisten = h:1\nca = /nonexistent/ca\n",
		"5: ca: cannot read '/nonexistent/ca'");
	refuse(AGENT "[api]\nkey = /k\n", "4: key: has no meaning without 'listen'");
	refuse(AGENT "[peer]\nagent = h:1\n", "3: the other side's domain is missing");
	refuse(AGENT "[peer b]\n", "3: key 'agent' is missing");
	refuse(AGENT "[peer site-a]\nagent = h:1\n", "3: peer 'site-a' has this site's own");
	refuse(AGENT "node = -x\n", "3: node: '-x' is no node's name");
	refuse(AGENT "node = a b\n", "3: node:");
	refuse(AGENT "[peer b]\nagent = h:1,\n", "4: agent: an address is missing");
	refuse(AGENT "[peer b]\nagent = h:1,,g:1\n", "4: agent: an address is missing");
	refuse(AGENT "[peer b]\nagent = h:1, g\n", "4: agent: 'g' has no port");
	refuse(AGENT "[peer b]\nagent = h:1 g:1\n", "4: agent: 'h:1 g:1'");
	refuse(AGENT "[peer b]\nagent = h:1, g:1, h:1\n", "4: agent: 'h:1' is there twice");
	refuse(AGENT "[peer b]\nagent = h:1,h:2,h:3,h:4,h:5,h:6,h:7,h:8,h:9,h:10,h:11,h:12,h:13,"
		     "h:14,h:15,h:16,h:17\n",
		"4: agent: more than 16 addresses");
	refuse(AGENT PEER PEER, "5: section [peer site-b] is there already");
	refuse(AGENT "[witness]\n", "3: unknown section 'witness'");
}

Test(agent_config, a_socket_too_long_to_be_bound_is_refused)
{
	char text[512];

	snprintf(text, sizeof(text), AGENT "[api]\nsocket = /%0120d\n", 0);
	refuse(text, "4: socket: a socket's path has at most 107 bytes");
	snprintf(text, sizeof(text), AGENT "run_directory = /%0120d\n", 0);
	refuse(text, "1: socket: a socket's path");
}

Test(agent_config, a_file_that_is_not_there_is_no_wrong_word)
{
	struct err e = {0};

	cr_assert(eq(int, agent_config_load("/nonexistent/agent.conf", &c, &e), -ENOENT));
	cr_assert(ne(ptr, strstr(e.msg, "/nonexistent/agent.conf"), NULL));
}

Test(agent_config, what_kubernetes_needs_has_defaults_and_a_pods_environment_counts)
{
	char text[512];
	struct err e;

	cr_assert(zero(int, load(AGENT, &e)), "%s", e.msg);
	cr_assert(eq(str, c.kubeconfig, ""));
	cr_assert(eq(str, c.kube_namespace, "tandem-system"));
	cr_assert(ne(chr, c.kube_identity[0], 0));
	cr_assert(eq(u64, c.kube_interval_ns, 5 * NS_PER_S));
	setenv("TANDEM_NAMESPACE", "storage", 1);
	setenv("TANDEM_POD", "agent-1", 1);
	cr_assert(zero(int, load(AGENT, &e)), "%s", e.msg);
	cr_assert(eq(str, c.kube_namespace, "storage"));
	cr_assert(eq(str, c.kube_identity, "agent-1"));
	scratch_write(scratch_path("kubeconfig"), "x");
	snprintf(text, sizeof(text),
		AGENT "[kubernetes]\nkubeconfig = %s\nnamespace = n\nidentity = i\ninterval = 1s\n",
		scratch_path("kubeconfig"));
	cr_assert(zero(int, load(text, &e)), "%s", e.msg);
	cr_assert(eq(str, c.kubeconfig, (char *)scratch_path("kubeconfig")));
	cr_assert(eq(str, c.kube_namespace, "n"));
	cr_assert(eq(str, c.kube_identity, "i"));
	cr_assert(eq(u64, c.kube_interval_ns, NS_PER_S));
	refuse(AGENT "[kubernetes]\nkubeconfig = /nowhere\n", "4: kubeconfig: ");
	refuse(AGENT "[kubernetes]\ninterval = 1ms\n", "4: interval: ");
}
