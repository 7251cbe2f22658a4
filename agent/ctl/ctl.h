/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tandemctl: the command line for people and scripts. Each command is a function in a file of its
 * own (cmd_*.c); ctl.c has their table, reads the command line, finds the volumes of this node and
 * asks their daemons; ctl_main.c is main().
 *
 * Exit status: CTL_OK, CTL_FAILED (something was not done, the message says what), CTL_USAGE (the
 * command line is wrong, nothing was done), CTL_NEEDS_YES (a question needs an answer and there is
 * nobody to ask; repeat with --yes).
 *
 * Everything is written to the streams in struct ctl, so that a test can read it. One thread, but for
 * the calls to the daemons, which run at the same time.
 */
#ifndef AGENT_CTL_H
#define AGENT_CTL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "check.h"
#include "json.h"
#include "limits.h"

#define TANDEMCTL_VERSION "0.1.0"
#define CTL_VOLUMES_MAX 256u

#define CTL_OK 0
#define CTL_FAILED 1
#define CTL_USAGE 2
#define CTL_NEEDS_YES 3

enum ctl_output { CTL_OUTPUT_TABLE, CTL_OUTPUT_WIDE, CTL_OUTPUT_JSON, CTL_OUTPUT_YAML };

struct ctl {
	FILE *in, *out, *err;
	bool terminal; /* there is somebody to ask at `in` */

	/* from the command line */
	const char *run_dir;
	bool run_dir_given, plugin; /* plugin: called as `kubectl tandem` */
	uint64_t used; /* the options that were given, by their places in the table */
	unsigned timeout_ms; /* of one call; 0: the command's default */
	bool yes, accept_data_loss, force, preview, watch, local;
	bool holder, no_holder; /* of a new volume; neither: as the kernel can */
	bool unplanned, dry_run, wait, no_wait;
	const char *from, *to; /* a domain; NULL: not given */
	const char *node, *peer_node; /* of another domain; NULL: not given */
	const char *size; /* as typed; NULL: not given */
	const char *ack, *mode, *owner; /* of a new volume; NULL: not given */
	const char *ns, *kubeconfig, *service_account; /* of Kubernetes; NULL: not given */
	const char *src_kubeconfig, *dest_kubeconfig; /* of two clusters; NULL: not given */
	bool unidirectional;
	const char *domain, *address, *port,
		*config_dir; /* of this site, for pair; NULL: not given */
	bool show;
	const char *schedule, *include, *exclude, *pair; /* of a switch; NULL: not given */
	bool skip_source, all_namespaces;
	bool all; /* every domain that is inactive */
	const char *name; /* of the object that is made; NULL: not given */
	enum ctl_output output;

	char agent[256]; /* the socket of this node's agent; "": it does not run */
	char agent_trouble[512], agent_next[256]; /* as it says; "": none */
};

struct ctl_volume { /* a volume of this node, and a call to its daemon */
	char name[VOLUME_NAME_MAX + 1];
	char path[256];
	struct json *answer; /* NULL: no answer, `e` says why */
	struct err e;
	uint64_t took_ns; /* of all calls to it */
	bool selected; /* the next ctl_call() goes to it */
	bool supervised; /* the agent knows it, and is asked instead of the daemon */
};

struct ctl_volumes {
	unsigned count;
	struct ctl_volume v[CTL_VOLUMES_MAX];
};

/* Options, for the commands' masks. --run-dir, --timeout and --help belong to all of them. */
#define CTL_OPTION_YES 1u
#define CTL_OPTION_DATA_LOSS 2u
#define CTL_OPTION_FORCE 4u
#define CTL_OPTION_OUTPUT 8u
#define CTL_OPTION_FROM 16u
#define CTL_OPTION_PREVIEW 32u
#define CTL_OPTION_SIZE 64u
#define CTL_OPTION_WATCH 128u
#define CTL_OPTION_LOCAL 256u
#define CTL_OPTION_NEW 512u /* what a new volume shall be */
#define CTL_OPTION_KUBE 1024u /* a cluster of Kubernetes */
#define CTL_OPTION_OPERATION 2048u /* --dry-run, --wait, --no-wait */
#define CTL_OPTION_FAILOVER 4096u /* --to, --node, --unplanned */
#define CTL_OPTION_CONFIG_DIR 8192u
#define CTL_OPTION_PAIR 16384u /* what a site is, for pairing */
#define CTL_OPTION_PERFORM 32768u /* what a switch of applications is about */
#define CTL_OPTION_CLUSTER_PAIR 65536u
#define CTL_OPTION_ALL 131072u /* all namespaces */
#define CTL_OPTION_WAIT 262144u
#define CTL_OPTION_WIDE 524288u /* --output has wide, too */
#define CTL_OPTION_DOMAIN 1048576u /* what a word to a domain is about */
#define CTL_OPTION_ACCOUNT 2097152u
#define CTL_OPTION_DRY_RUN 4194304u
#define CTL_OPTION_CLUSTERS 8388608u /* two of Kubernetes */

struct ctl_command {
	const char *name;
	unsigned args_min, args_max;
	unsigned options;
	int (*run)(struct ctl *c, unsigned nargs, const char *const *args);
	const char *usage; /* its arguments and options */
	const char *help; /* one line */
};

/* The whole program but for main(): argv[0] is skipped. */
int ctl_run(struct ctl *c, int argc, const char *const *argv);

/* ---- for the commands ---- */

/* "tandemctl: ..." to c->err; returns CTL_FAILED. */
int ctl_fail(struct ctl *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same with the command's usage behind it; returns CTL_USAGE. */
int ctl_usage_error(struct ctl *c, const char *command, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Of the options `names` ("--yes --all"), which the command's table has for others of its words, none may have been
 * given with `what`. CTL_OK, or ctl_usage_error() with the one that was. */
int ctl_refuse(struct ctl *c, const char *command, const char *what, const char *names);
/* Text of several lines behind "prefix"; the other lines are indented by four blanks. */
void ctl_print(FILE *f, const char *prefix, const char *text);

/* All volumes of this node, or the one called `name` (may be NULL), in the order of their names, all
 * selected. CTL_OK, or CTL_FAILED after a message when there is none. Free with ctl_volumes_free(). */
int ctl_volumes_find(struct ctl *c, const char *name, struct ctl_volumes **ret_vs);
void ctl_volumes_free(struct ctl_volumes *vs);
/* ctl_agent.c: adds the volumes that the agent of this node knows, when it runs; says nothing when not. */
void ctl_agent_volumes(struct ctl *c, struct ctl_volumes *vs);
/* The call to one volume's daemon through the agent. False: the agent is not there any more, ask the daemon. */
bool ctl_agent_call(
	const struct ctl *c, struct ctl_volume *v, const struct json *request, unsigned timeout_ms);
/* Sends the request to every selected volume at the same time and waits for the answers; earlier
 * answers of those are freed. */
void ctl_call(struct ctl *c, struct ctl_volumes *vs, const struct json *request,
	unsigned default_timeout_ms);
/* ctl_volumes_find(), and each one's status. */
int ctl_volumes_status(struct ctl *c, const char *name, struct ctl_volumes **ret_vs);
/* The answer's code; the call's own error when there was no answer. */
int ctl_code(const struct ctl_volume *v);
/* The answer's words, or the call's error. */
const char *ctl_text(const struct ctl_volume *v);

/*
 * An operator's word to each of the volumes, asking once for all where a daemon has a question, then
 * a line for each with what was done and the time it took. `skip` (0 or a -errno) is an answer that
 * means that a volume is not concerned. Takes request. Returns an exit status.
 */
int ctl_operate(struct ctl *c, struct ctl_volumes *vs, struct json *request, int skip);

/* ctl_volumes_status(), and what all of it together says of the domains. */
struct domains;
int ctl_domains(struct ctl *c, struct ctl_volumes **ret_vs, struct domains *ret_ds);

/* Reads a line; true when it says yes and nothing else. */
bool ctl_typed_yes(struct ctl *c);

/* Is it for programs? Then ctl_print_value() prints it, as JSON or YAML. */
bool ctl_output_is_value(const struct ctl *c);
void ctl_print_value(const struct ctl *c, FILE *f, const struct json *j);
/* ctl_yaml.c */
void ctl_print_yaml(FILE *f, const struct json *j);

/* "a,b" as a list. */
struct json *ctl_list_of(const char *text);
/* ctl_kube.c: the cluster of --kubeconfig, KUBECONFIG or ~/.kube/config. ret_ns (may be NULL): --namespace, or the
 * one of the file, or "default"; to be freed. CTL_OK, or CTL_FAILED after a message. */
struct kube;
int ctl_kube_open(struct ctl *c, struct kube **ret_k, char **ret_ns);
const char *ctl_kubeconfig(const struct ctl *c, char *buf, size_t size);
/*
 * Whose domains are meant, those of a cluster or those of this node's daemons? The first that applies:
 *	--run-dir                                               the node
 *	--kubeconfig, KUBECONFIG, called as `kubectl tandem`    the cluster
 *	something listens in the run directory                  the node
 *	~/.kube/config is there                                 the cluster
 *	else                                                    the node
 * CTL_OK, or CTL_USAGE after a message.
 */
int ctl_where(struct ctl *c, const char *command, bool *ret_cluster);
/* An object of ours with a name that begins with "WHAT-", and the time. Takes spec. */
struct json *ctl_kube_object(const char *kind, const char *what, struct json *spec);
struct kube_kind;
extern const struct kube_kind ctl_kind_domains,
	ctl_kind_update; /* ClusterDomainsStatus, ClusterDomainUpdate */

int cmd_get(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_status(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_activate(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_deactivate(struct ctl *c, unsigned nargs, const char *const *args);
/* What `activate` or `deactivate` would do on each volume of this node. */
int cmd_domain_preview(struct ctl *c, const char *verb, const char *domain);
int cmd_promote(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_demote(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_resize(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_healthz(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_readyz(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_preflight(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_create(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_create_migration(struct ctl *c, const char *name);
int cmd_create_clusterpair(struct ctl *c, const char *name);
int cmd_delete(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_generate(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_generate_spec(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_failover(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_failback(struct ctl *c, unsigned nargs, const char *const *args);
/* A ClusterDomainUpdate; domain NULL: of all that are inactive. */
int cmd_domain_update(struct ctl *c, bool activate, const char *domain);
/* Objects of a cluster; *ret_is: `what` names a kind of them. */
int cmd_get_objects(struct ctl *c, const char *what, bool *ret_is);
int cmd_perform(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_suspend(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_resume(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_migration(struct ctl *c, bool activate); /* starts or stops what was migrated */
/* Makes a Failover of this type, and follows it as the command line wants it. Takes spec, sets type and fromDomain. */
/* The verb, "failover" or "failback", in a cluster; `command` is what was typed, for usage errors. */
int cmd_perform_verb(struct ctl *c, const char *command, const char *verb);
/* Prints the steps of a Failover (taken) until it has ended. */
int cmd_perform_follow(struct ctl *c, struct kube *k, struct json *obj);
int cmd_perform_one(struct ctl *c, struct kube *k, const char *what, const char *type,
	const char *from, struct json *spec);
int cmd_cancel(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_upgrade(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_pair(struct ctl *c, unsigned nargs, const char *const *args);
int cmd_resync(struct ctl *c, unsigned nargs, const char *const *args);

/* ---- for the commands that begin operations: ctl_operation.c ---- */

/* A request to this node's agent; a body is POSTed. CTL_OK with its answer, the caller's; else, after a message
 * that begins with `what`, an exit status. */
int ctl_agent_ask(struct ctl *c, const char *what, const char *path, const struct json *body,
	struct json **ret_j);
/* One request, without a word where it fails: as http_call_unix(). */
int ctl_agent_try(struct ctl *c, const char *path, const char *body, unsigned *ret_status,
	struct json **ret_j, struct err *e);
/* Such an answer is an operation, or a group with a list of them: how many, and each. */
unsigned ctl_operation_count(const struct json *j);
const struct json *ctl_operation_one(const struct json *j, unsigned i);
/* Follows it to its end and prints the steps; takes *j, and gives the newest answer, the caller's in any case. */
int ctl_operation_wait(struct ctl *c, const char *what, struct json **j);
/* The same as far as the command line wants it, and prints what became of it. Takes j. */
int ctl_operation_follow(struct ctl *c, const char *what, struct json *j);

#endif
