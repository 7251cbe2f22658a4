/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's configuration file, checked as a whole: every error names file, line and reason.
 *
 *   [agent]
 *   domain = site-a                        # this site; required
 *   node = node-1                          # this node among those of the site; default: TANDEM_NODE of the
 *                                          # environment (a pod's node), else the host's name
 *   volumes = /etc/tandemfs                # each *.conf in it is a volume, but for the agent's own file
 *   run_directory = /run/tandemfs          # where the daemons' sockets are
 *   log_directory = /var/log/tandemfs      # the daemons' output: NAME.log
 *   state_directory = /var/lib/tandemfs/agent # the operations: ID.json
 *   program = /usr/local/sbin/tandemfs     # default: tandemfs beside tandem-agent
 *   interval = 1s                          # between two looks at files and daemons
 *   restart_delay_max = 60s                # between two starts of a daemon that ends again and again
 *   stop_daemons = no                      # yes: SIGTERM ends the daemons, too, and waits for them: for a container
 *   host_mountinfo = /host/proc/1/mountinfo # the host's mounts, for an agent in a container: it is ready when
 *                                          # what is mounted below [replicas] mounts reaches the host
 *   node_holders = no                      # yes: ready only while `tandem-holder --node` listens in run_directory
 *
 *   [api]
 *   socket = /run/tandemfs/agent.http      # REST for this node; default: agent.http in run_directory
 *   metrics = yes                          # GET /metrics
 *   listen = 10.0.0.1:7401                 # REST for the peers' agents; default: none
 *   ca = /etc/tandemfs/ca.pem              # with listen these three are required
 *   certificate = /etc/tandemfs/site-a.pem
 *   key = /etc/tandemfs/site-a.key
 *
 *   [peer site-b]                          # one for each other domain; its certificate is let in
 *   agent = 10.1.0.1:7401, 10.1.0.2:7401   # the REST of the agents of its nodes, at most 16
 *
 *   [replicas]                             # where 'create volume' puts what it makes on this node
 *   directory = /var/lib/tandemfs/data     # the volume's data: NAME in it
 *   mounts = /var/lib/tandemfs/mnt         # its mount: NAME in it
 *   address = 10.0.0.1                     # of the volumes' connections; default: TANDEM_ADDRESS of the environment
 *                                          # (a pod's node), else the host of listen
 *   port = 7410                            # the first one; a volume takes the first that is free
 *
 *   [kubernetes]                           # for tandem-agent --kubernetes
 *   kubeconfig = /etc/tandemfs/kubeconfig  # default: as a pod, with the files of its service account
 *   namespace = tandem-system              # its own, and that of administrators' objects
 *   identity = node-1                      # in the Lease; default: the host's name
 *   interval = 5s                          # between two looks at the objects
 *   probes = 0.0.0.0:7444                  # GET /healthz, /readyz and /metrics over plain HTTP; default: none
 */
#ifndef AGENT_AGENT_CONFIG_H
#define AGENT_AGENT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "check.h"
#include "conf.h"
#include "limits.h"

#define AGENT_CONFIG_PATH "/etc/tandemfs/agent.conf"
#define AGENT_SOCKET_NAME "agent.http" /* in the run directory; no volume's socket ends so */

#define AGENT_CONFIG_NODES_MAX 16u /* of another domain */

struct agent_config_peer {
	char domain[DOMAIN_LEN_MAX + 1];
	unsigned naddresses; /* one or more */
	char addresses[AGENT_CONFIG_NODES_MAX][CONF_ADDRESS_SIZE];
};

struct agent_config {
	char path[4096];
	char domain[DOMAIN_LEN_MAX + 1];
	char node[NODE_NAME_MAX + 1];
	char volumes[4096];
	char run_dir[4096];
	char log_dir[4096];
	char state_dir[4096];
	char program[4096];
	uint64_t interval_ns, restart_delay_max_ns;
	bool stop_daemons;
	char host_mountinfo[4096]; /* "": not looked at */
	bool node_holders;
	char socket[4096];
	bool metrics;
	char listen[256]; /* "": no REST over TCP */
	char ca[4096], certificate[4096], key[4096];
	char kubeconfig[4096]; /* "": as a pod */
	char kube_namespace[64], kube_identity[254];
	uint64_t kube_interval_ns;
	char kube_probes[256]; /* "": not served */
	unsigned npeers;
	struct agent_config_peer peers[REPLICAS_MAX];
	char replicas[4096], mounts[4096];
	char replica_host[250]; /* an IPv6 address in brackets; "": none is known */
	unsigned first_port;
};

/* 0, or -errno with a message; -EINVAL where the file's words are wrong. */
int agent_config_load(const char *path, struct agent_config *ret_c, struct err *e);

/*
 * A configuration that is in use belongs to the loop's thread, which alone may change it, by
 * agent_config_replace(). Other threads work with a copy that agent_config_snapshot() makes.
 */
void agent_config_snapshot(const struct agent_config *c, struct agent_config *ret_c);
void agent_config_replace(struct agent_config *c, const struct agent_config *by);
/* What cannot change while the agent runs: 0, or -EBUSY with the key and what to do. */
int agent_config_check_fixed(
	const struct agent_config *c, const struct agent_config *by, struct err *e);

#endif
