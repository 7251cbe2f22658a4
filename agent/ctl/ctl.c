/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of commands and the command line. Options may stand anywhere; each is spelled out (a
 * prefix of --accept-data-loss does not count), and belongs to the commands that name it.
 *
 * Failure modes: whatever is not understood ends with the usage and status 2 before any daemon is
 * asked anything.
 */
#include "ctl.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"

#define ARGS_MAX 16u
#define TIMEOUT_S_MAX 86400

static int cmd_help(struct ctl *c, unsigned nargs, const char *const *args);
static int cmd_version(struct ctl *c, unsigned nargs, const char *const *args);

static const struct ctl_command commands[] = {
	{"status", 0, 1, CTL_OPTION_OUTPUT | CTL_OPTION_WIDE, cmd_status,
		"[VOLUME] [-o table|wide|json|yaml]",
		"what the volumes of this node do, and what to type next"},
	{"get", 1, 1,
		CTL_OPTION_OUTPUT | CTL_OPTION_WIDE | CTL_OPTION_WATCH | CTL_OPTION_KUBE |
			CTL_OPTION_ALL,
		cmd_get,
		"clusterdomainsstatus [--kubeconfig FILE] [-o table|wide|json|yaml] [-w], or get "
		"operations [-o table|json|yaml] [-w], or get KIND [-n NAMESPACE|-A] "
		"[--kubeconfig FILE] [-o table|wide|json|yaml] [-w]",
		"the domains: active or not, and how much in sync (short: cds), by this node's "
		"volumes or a cluster's; this agent's operations; or a cluster's failovers, "
		"migrations, migrationschedules, "
		"clusterpairs, schedulepolicies, clusterdomainupdates, rules, volumes"},
	{"deactivate", 1, 2,
		CTL_OPTION_YES | CTL_OPTION_DATA_LOSS | CTL_OPTION_KUBE | CTL_OPTION_WAIT |
			CTL_OPTION_DOMAIN | CTL_OPTION_DRY_RUN,
		cmd_deactivate,
		"clusterdomain DOMAIN [--yes] [--accept-data-loss] [--dry-run] [--wait] "
		"[--kubeconfig FILE [--name NAME]], or deactivate migration -n NAMESPACE|--all "
		"[--kubeconfig FILE]",
		"go on without a site, and take over what was active there; or stop a namespace's "
		"applications"},
	{"activate", 1, 2,
		CTL_OPTION_YES | CTL_OPTION_KUBE | CTL_OPTION_WAIT | CTL_OPTION_DOMAIN |
			CTL_OPTION_DRY_RUN,
		cmd_activate,
		"clusterdomain DOMAIN|--all [--yes] [--dry-run] [--wait] [--kubeconfig FILE "
		"[--name NAME]], or "
		"activate migration -n NAMESPACE|--all [--kubeconfig FILE]",
		"let a site come back: it catches up and joins again; or start a namespace's "
		"applications as they were at the source"},
	{"perform", 1, 1,
		CTL_OPTION_PERFORM | CTL_OPTION_KUBE | CTL_OPTION_FROM | CTL_OPTION_FAILOVER |
			CTL_OPTION_OPERATION | CTL_OPTION_YES | CTL_OPTION_OUTPUT,
		cmd_perform,
		"failover|failback [-n NAMESPACE] [-m SCHEDULE] [--include-namespaces A,B] "
		"[--exclude-namespaces A,B] [--from DOMAIN] [--to DOMAIN] [--node NODE] "
		"[--unplanned [--yes]] "
		"[--skip-source-operations] [--dry-run] [--no-wait] [--kubeconfig FILE]",
		"move applications and their volumes to the cluster that is asked (a Failover "
		"object)"},
	{"suspend", 1, 2, CTL_OPTION_KUBE | CTL_OPTION_CLUSTER_PAIR, cmd_suspend,
		"migrationschedule NAME|-c CLUSTERPAIR [-n NAMESPACE] [--kubeconfig FILE]",
		"copy no further objects by this schedule"},
	{"resume", 1, 2, CTL_OPTION_KUBE | CTL_OPTION_CLUSTER_PAIR, cmd_resume,
		"migrationschedule NAME|-c CLUSTERPAIR [-n NAMESPACE] [--kubeconfig FILE]",
		"the other way round"},
	{"promote", 1, 1, CTL_OPTION_YES | CTL_OPTION_DATA_LOSS, cmd_promote,
		"VOLUME [--yes] [--accept-data-loss]",
		"make the replica of this node the active one"},
	{"demote", 1, 1, CTL_OPTION_YES | CTL_OPTION_FORCE, cmd_demote, "VOLUME [--yes] [--force]",
		"drain and unmount here, so that the other site can be promoted"},
	{"failover", 0, 2,
		CTL_OPTION_FAILOVER | CTL_OPTION_OPERATION | CTL_OPTION_YES | CTL_OPTION_OUTPUT |
			CTL_OPTION_PERFORM | CTL_OPTION_KUBE | CTL_OPTION_FROM,
		cmd_failover,
		"VOLUME --to DOMAIN | VOLUME --unplanned [--yes] | clusterdomain DOMAIN [--to "
		"DOMAIN] | --node NODE --unplanned [--yes] | --node NODE [--to DOMAIN] [--dry-run] "
		"[--no-wait] [-o table|json|yaml], or failover -n NAMESPACE [--kubeconfig FILE] "
		"..., as perform failover",
		"move a volume to another site, or all that are active in a domain or on a node; "
		"--unplanned: to this one, the active one, or the node, being dead; or a "
		"namespace's applications to the cluster that is asked"},
	{"failback", 0, 2,
		CTL_OPTION_OPERATION | CTL_OPTION_OUTPUT | CTL_OPTION_PERFORM | CTL_OPTION_KUBE |
			CTL_OPTION_FROM | CTL_OPTION_FAILOVER | CTL_OPTION_YES,
		cmd_failback,
		"VOLUME | clusterdomain DOMAIN [--dry-run] [--no-wait] [-o table|json|yaml], or "
		"failback -n NAMESPACE [--kubeconfig FILE] ..., as perform failback",
		"move a volume back to where the last failover took it from, or all that came from "
		"a domain; or a namespace's applications"},
	{"cancel", 2, 2, 0, cmd_cancel, "operation ID",
		"undo a failover of this agent, as long as the other site is not promoted"},
	{"resync", 1, 1, CTL_OPTION_FROM | CTL_OPTION_PREVIEW | CTL_OPTION_YES | CTL_OPTION_OUTPUT,
		cmd_resync, "VOLUME --from DOMAIN [--preview [-o table|json|yaml]] [--yes]",
		"end a fork: give up the state of this node, keep it aside, and follow DOMAIN"},
	{"resize", 1, 1, CTL_OPTION_SIZE, cmd_resize, "VOLUME --size SIZE[K|M|G|T]",
		"change the volume's size on both sites, while it is in use; typed at the active "
		"one"},
	{"upgrade", 0, 1, CTL_OPTION_OPERATION | CTL_OPTION_YES | CTL_OPTION_OUTPUT, cmd_upgrade,
		"[VOLUME] [--yes] [--dry-run] [--no-wait] [-o table|json|yaml]",
		"have this node's agent replace the daemons that run another build than the "
		"installed one, one after the other"},
	{"create", 2, 2,
		CTL_OPTION_SIZE | CTL_OPTION_NEW | CTL_OPTION_KUBE | CTL_OPTION_CLUSTER_PAIR |
			CTL_OPTION_PERFORM | CTL_OPTION_OPERATION | CTL_OPTION_OUTPUT |
			CTL_OPTION_ACCOUNT | CTL_OPTION_CLUSTERS,
		cmd_create,
		"volume NAME --size SIZE[K|M|G|T] [--ack op|fsync] [--holder|--no-holder] [--mode "
		"OCTAL] "
		"[--owner UID:GID] [--peer-node NODE], or create migration NAME -c CLUSTERPAIR|-m "
		"SCHEDULE [--include-namespaces A,B] [-n NAMESPACE] [--dry-run] [--wait] "
		"[--kubeconfig FILE] [-o table|json|yaml], or create clusterpair NAME -n NAMESPACE "
		"--src-kubeconfig FILE --dest-kubeconfig FILE [--service-account NAME] "
		"[--unidirectional]",
		"make a volume on this node and on the other sites, and mount it here; or copy a "
		"cluster's objects once (--dry-run: only say what would become of each); or lead "
		"two clusters to each other (--unidirectional: only the source to the "
		"destination)"},
	{"delete", 2, 2, CTL_OPTION_YES | CTL_OPTION_LOCAL, cmd_delete,
		"volume NAME [--yes] [--local]",
		"remove a volume and all its data, on all sites (--local: on this node alone)"},
	{"generate", 2, 1 + REPLICAS_MAX,
		CTL_OPTION_KUBE | CTL_OPTION_ACCOUNT | CTL_OPTION_CONFIG_DIR, cmd_generate,
		"clusterpair NAME -n NAMESPACE [--kubeconfig FILE] [--service-account NAME], or "
		"generate spec DOMAIN=ADDRESS[,ADDRESS...] DOMAIN=ADDRESS --config-dir DIR",
		"print a ClusterPair of the Kubernetes cluster here, to be applied on the other "
		"one; or write a manifest for each site"},
	{"pair", 0, 1, CTL_OPTION_PAIR | CTL_OPTION_OUTPUT, cmd_pair,
		"[TOKEN|-] --domain DOMAIN --address HOST [--port PORT] [--config-dir DIR], or "
		"pair --show "
		"[-o table|json|yaml]",
		"make this site known to another, with certificates for both (without TOKEN: the "
		"first site)"},
	{"preflight", 0, ARGS_MAX - 1, CTL_OPTION_OUTPUT, cmd_preflight,
		"[CONFIG-FILE...] [-o table|json|yaml]",
		"what this node, and the volumes configured in these files, need and lack"},
	{"healthz", 0, 0, 0, cmd_healthz, "", "whether this node's agent answers, for a probe"},
	{"readyz", 0, 0, 0, cmd_readyz, "", "whether this node is ready for pods, for a probe"},
	{"version", 0, 0, 0, cmd_version, "", "the version of this program"},
	{"help", 0, 1, 0, cmd_help, "[COMMAND]", "this text, or a command's usage"},
};

static const struct {
	const char *name;
	unsigned mask; /* of those that a command must have one of; 0: belongs to all commands */
} options[] = {
	{"--run-dir", 0},
	{"--timeout", 0},
	{"--help", 0},
	{"--version", 0},
	{"--yes", CTL_OPTION_YES},
	{"--accept-data-loss", CTL_OPTION_DATA_LOSS},
	{"--force", CTL_OPTION_FORCE},
	{"--output", CTL_OPTION_OUTPUT},
	{"--from", CTL_OPTION_FROM},
	{"--preview", CTL_OPTION_PREVIEW},
	{"--size", CTL_OPTION_SIZE},
	{"--watch", CTL_OPTION_WATCH},
	{"--local", CTL_OPTION_LOCAL},
	{"--to", CTL_OPTION_FAILOVER},
	{"--node", CTL_OPTION_FAILOVER},
	{"--unplanned", CTL_OPTION_FAILOVER},
	{"--dry-run", CTL_OPTION_OPERATION | CTL_OPTION_DRY_RUN},
	{"--wait", CTL_OPTION_OPERATION | CTL_OPTION_WAIT},
	{"--no-wait", CTL_OPTION_OPERATION},
	{"--holder", CTL_OPTION_NEW},
	{"--no-holder", CTL_OPTION_NEW},
	{"--ack", CTL_OPTION_NEW},
	{"--mode", CTL_OPTION_NEW},
	{"--owner", CTL_OPTION_NEW},
	{"--peer-node", CTL_OPTION_NEW},
	{"--namespace", CTL_OPTION_KUBE},
	{"--kubeconfig", CTL_OPTION_KUBE},
	{"--service-account", CTL_OPTION_ACCOUNT},
	{"--src-kubeconfig", CTL_OPTION_CLUSTERS},
	{"--dest-kubeconfig", CTL_OPTION_CLUSTERS},
	{"--unidirectional", CTL_OPTION_CLUSTERS},
	{"--domain", CTL_OPTION_PAIR},
	{"--address", CTL_OPTION_PAIR},
	{"--port", CTL_OPTION_PAIR},
	{"--config-dir", CTL_OPTION_PAIR | CTL_OPTION_CONFIG_DIR},
	{"--show", CTL_OPTION_PAIR},
	{"--migration-schedule", CTL_OPTION_PERFORM},
	{"--include-namespaces", CTL_OPTION_PERFORM},
	{"--exclude-namespaces", CTL_OPTION_PERFORM},
	{"--skip-source-operations", CTL_OPTION_PERFORM},
	{"--cluster-pair", CTL_OPTION_CLUSTER_PAIR},
	{"--all-namespaces", CTL_OPTION_ALL},
	{"--all", CTL_OPTION_DOMAIN},
	{"--name", CTL_OPTION_DOMAIN},
};

static const struct ctl_command *command_find(const char *name)
{
	for (unsigned i = 0; name && i < ARRAY_SIZE(commands); i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static void print_command_usage(FILE *f, const struct ctl_command *cmd)
{
	fprintf(f, "usage: tandemctl %s%s%s\n", cmd->name, cmd->usage[0] ? " " : "", cmd->usage);
}

static void print_usage(FILE *f)
{
	fputs("usage: tandemctl [--run-dir DIR] [--timeout SECONDS] COMMAND ...\n\n", f);
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(f, "  %s%s%s\n      %s\n", commands[i].name,
			commands[i].usage[0] ? " " : "", commands[i].usage, commands[i].help);
	fputs("\n"
	      "  --run-dir DIR      where the daemons' sockets are (" CONTROL_RUN_DIR ")\n"
	      "  --timeout SECONDS  how long to wait for an answer (status 5, others 60)\n"
	      "\n"
	      "activate, deactivate and get clusterdomainsstatus are about this node's daemons "
	      "with\n--run-dir; about a cluster with --kubeconfig, KUBECONFIG or as 'kubectl "
	      "tandem'; else about\nthis node where something of tandemfs runs on it, and about "
	      "the cluster of ~/.kube/config\nwhere not.\n"
	      "\n"
	      "Exit status: 0 done, 1 failed, 2 wrong usage, 3 a question needs --yes.\n"
	      "See tandemctl(8).\n",
		f);
}

int ctl_fail(struct ctl *c, const char *fmt, ...)
{
	va_list ap;

	fputs("tandemctl: ", c->err);
	va_start(ap, fmt);
	vfprintf(c->err, fmt, ap);
	va_end(ap);
	fputc('\n', c->err);
	return CTL_FAILED;
}

int ctl_usage_error(struct ctl *c, const char *command, const char *fmt, ...)
{
	const struct ctl_command *cmd = command_find(command);
	va_list ap;

	fputs("tandemctl: ", c->err);
	va_start(ap, fmt);
	vfprintf(c->err, fmt, ap);
	va_end(ap);
	fputc('\n', c->err);
	if (cmd)
		print_command_usage(c->err, cmd);
	else
		fputs("usage: tandemctl COMMAND ...; 'tandemctl help' lists the commands\n",
			c->err);
	return CTL_USAGE;
}

int ctl_refuse(struct ctl *c, const char *command, const char *what, const char *names)
{
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++) {
		size_t len = strlen(options[i].name);
		const char *at = c->used >> i & 1 ? strstr(names, options[i].name) : NULL;

		while (at && at[len] && at[len] != ' ')
			at = strstr(at + len, options[i].name);
		if (at)
			return ctl_usage_error(c, command,
				"option '%s' does not belong to '%s%s%s'", options[i].name, command,
				what[0] ? " " : "", what);
	}
	return CTL_OK;
}

void ctl_print(FILE *f, const char *prefix, const char *text)
{
	fputs(prefix, f);
	for (const char *p = text; *p; p++) {
		if (*p == '\n' && !p[1])
			break;
		fputc(*p, f);
		if (*p == '\n')
			fputs("    ", f);
	}
}

bool ctl_output_is_value(const struct ctl *c)
{
	return c->output == CTL_OUTPUT_JSON || c->output == CTL_OUTPUT_YAML;
}

void ctl_print_value(const struct ctl *c, FILE *f, const struct json *j)
{
	if (c->output == CTL_OUTPUT_YAML)
		ctl_print_yaml(f, j);
	else
		fprintf(f, "%s\n", json_text(j, true));
}

static int cmd_help(struct ctl *c, unsigned nargs, const char *const *args)
{
	const struct ctl_command *cmd;

	if (!nargs) {
		print_usage(c->out);
		return CTL_OK;
	}
	cmd = command_find(args[0]);
	if (!cmd)
		return ctl_usage_error(c, NULL, "there is no command '%s'", args[0]);
	print_command_usage(c->out, cmd);
	fprintf(c->out, "  %s\n", cmd->help);
	return CTL_OK;
}

static int cmd_version(struct ctl *c, unsigned nargs, const char *const *args)
{
	fputs("tandemctl " TANDEMCTL_VERSION "\n", c->out);
	return CTL_OK;
}

/* ---- the command line ---- */

struct line {
	struct ctl *c;
	const char *args[ARGS_MAX]; /* the command's name, then its arguments */
	unsigned nargs;
	bool help, version;
};

static int take_timeout(struct line *l, const char *command, const char *text)
{
	char *end;
	double s = strtod(text, &end);

	if (end == text || *end || !isfinite(s) || s <= 0 || s > TIMEOUT_S_MAX)
		return ctl_usage_error(l->c, command,
			"--timeout '%s': seconds, more than 0 and at "
			"most %d",
			text, TIMEOUT_S_MAX);
	l->c->timeout_ms = (unsigned)ceil(s * 1000);
	return CTL_OK;
}

static int take_output(struct line *l, const char *command, const char *text)
{
	if (strcmp(text, "table") == 0)
		l->c->output = CTL_OUTPUT_TABLE;
	else if (strcmp(text, "wide") == 0)
		l->c->output = CTL_OUTPUT_WIDE;
	else if (strcmp(text, "json") == 0)
		l->c->output = CTL_OUTPUT_JSON;
	else if (strcmp(text, "yaml") == 0)
		l->c->output = CTL_OUTPUT_YAML;
	else
		return ctl_usage_error(
			l->c, command, "--output '%s': table, wide, json or yaml", text);
	return CTL_OK;
}

/* An option without a value. False when there is none of this name. */
static bool take_flag(struct line *l, const char *name)
{
	if (strcmp(name, "--help") == 0)
		l->help = true;
	else if (strcmp(name, "--version") == 0)
		l->version = true;
	else if (strcmp(name, "--yes") == 0)
		l->c->yes = true;
	else if (strcmp(name, "--accept-data-loss") == 0)
		l->c->accept_data_loss = true;
	else if (strcmp(name, "--force") == 0)
		l->c->force = true;
	else if (strcmp(name, "--preview") == 0)
		l->c->preview = true;
	else if (strcmp(name, "--watch") == 0)
		l->c->watch = true;
	else if (strcmp(name, "--local") == 0)
		l->c->local = true;
	else if (strcmp(name, "--unplanned") == 0)
		l->c->unplanned = true;
	else if (strcmp(name, "--dry-run") == 0)
		l->c->dry_run = true;
	else if (strcmp(name, "--wait") == 0 || strcmp(name, "--no-wait") == 0)
		l->c->no_wait = !(l->c->wait = strcmp(name, "--wait") == 0);
	else if (strcmp(name, "--show") == 0)
		l->c->show = true;
	else if (strcmp(name, "--holder") == 0)
		l->c->holder = true;
	else if (strcmp(name, "--no-holder") == 0)
		l->c->no_holder = true;
	else if (strcmp(name, "--skip-source-operations") == 0)
		l->c->skip_source = true;
	else if (strcmp(name, "--all-namespaces") == 0)
		l->c->all_namespaces = true;
	else if (strcmp(name, "--all") == 0)
		l->c->all = true;
	else if (strcmp(name, "--unidirectional") == 0)
		l->c->unidirectional = true;
	else
		return false;
	return true;
}

static int take_value(struct line *l, const char *command, const char *name, const char *value)
{
	const struct {
		const char *name, **ret;
	} plain[] = {{"--from", &l->c->from}, {"--to", &l->c->to}, {"--node", &l->c->node},
		{"--peer-node", &l->c->peer_node}, {"--size", &l->c->size}, {"--ack", &l->c->ack},
		{"--mode", &l->c->mode}, {"--owner", &l->c->owner}, {"--namespace", &l->c->ns},
		{"--kubeconfig", &l->c->kubeconfig}, {"--service-account", &l->c->service_account},
		{"--domain", &l->c->domain}, {"--address", &l->c->address}, {"--port", &l->c->port},
		{"--config-dir", &l->c->config_dir}, {"--migration-schedule", &l->c->schedule},
		{"--include-namespaces", &l->c->include}, {"--exclude-namespaces", &l->c->exclude},
		{"--cluster-pair", &l->c->pair}, {"--name", &l->c->name},
		{"--src-kubeconfig", &l->c->src_kubeconfig},
		{"--dest-kubeconfig", &l->c->dest_kubeconfig}};

	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++) {
		if (strcmp(name, plain[i].name) == 0) {
			*plain[i].ret = value;
			return CTL_OK;
		}
	}
	if (strcmp(name, "--run-dir") == 0) {
		if (!value[0])
			return ctl_usage_error(l->c, command, "--run-dir is empty");
		l->c->run_dir = value;
		l->c->run_dir_given = true;
		return CTL_OK;
	}
	if (strcmp(name, "--timeout") == 0)
		return take_timeout(l, command, value);
	return take_output(l, command, value);
}

/* As Stork has it. */
static const char *other_name(const char *name)
{
	if (strcmp(name, "--src-kube-file") == 0)
		return "--src-kubeconfig";
	if (strcmp(name, "--dest-kube-file") == 0)
		return "--dest-kubeconfig";
	return name;
}

/* Takes the option at argv[*at], and its value, which may be the next argument. */
static int take_option(struct line *l, int argc, const char *const *argv, int *at)
{
	const char *text = argv[*at], *value = NULL, *command = l->nargs ? l->args[0] : NULL;
	const char *name;
	char typed[32];
	unsigned which;

	if (text[1] !=
		'-') { /* -h, -y, -w, -A, -a, -u, -o VALUE, -oVALUE, those behind it likewise */
		static const char letters[] = "hywAauonmc";
		static const char *const names[] = {"--help", "--yes", "--watch",
			"--all-namespaces", "--all", "--unidirectional", "--output", "--namespace",
			"--migration-schedule", "--cluster-pair"};
		const char *letter = strchr(letters, text[1]);
		bool valued = letter && letter >= letters + 6;

		if (!letter || (!valued && text[2]))
			return ctl_usage_error(l->c, command, "there is no option '%s'", text);
		snprintf(typed, sizeof(typed), "%s", names[letter - letters]);
		if (valued && text[2])
			value = text + 2;
	} else {
		size_t len = strcspn(text, "=");

		if (len >= sizeof(typed))
			return ctl_usage_error(l->c, command, "there is no option '%s'", text);
		memcpy(typed, text, len);
		typed[len] = '\0';
		if (text[len])
			value = text + len + 1;
	}
	name = other_name(typed);
	for (which = 0; which < ARRAY_SIZE(options); which++)
		if (strcmp(options[which].name, name) == 0)
			break;
	if (which == ARRAY_SIZE(options))
		return ctl_usage_error(l->c, command, "there is no option '%s'", name);
	l->c->used |= 1ull << which;
	if (!value && take_flag(l, name))
		return CTL_OK;
	if (value && take_flag(&(struct line){.c = &(struct ctl){0}}, name))
		return ctl_usage_error(l->c, command, "option '%s' takes no value", name);
	if (!value && *at + 1 >= argc)
		return ctl_usage_error(l->c, command, "option '%s' needs a value", name);
	return take_value(l, command, name, value ? value : argv[++*at]);
}

static int read_line(struct line *l, int argc, const char *const *argv)
{
	bool only_args = false;

	for (int i = 1; i < argc; i++) {
		if (!only_args && strcmp(argv[i], "--") == 0) {
			only_args = true;
		} else if (!only_args && argv[i][0] == '-' && argv[i][1]) {
			int status = take_option(l, argc, argv, &i);

			if (status)
				return status;
		} else {
			if (l->nargs == ARGS_MAX)
				return ctl_usage_error(l->c, l->args[0], "too many arguments");
			l->args[l->nargs++] = argv[i];
		}
	}
	return CTL_OK;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

int ctl_run(struct ctl *c, int argc, const char *const *argv)
{
	struct line l = {.c = c};
	const struct ctl_command *cmd;
	unsigned nargs;
	int status;

	c->run_dir = CONTROL_RUN_DIR;
	c->plugin = argc > 0 && !strncmp(base_name(argv[0]), "kubectl-", strlen("kubectl-"));
	status = read_line(&l, argc, argv);
	if (status)
		return status;
	if (!l.nargs && l.help) {
		print_usage(c->out);
		return CTL_OK;
	}
	if (!l.nargs && l.version)
		return cmd_version(c, 0, NULL);
	if (!l.nargs) {
		print_usage(c->err);
		return CTL_USAGE;
	}
	cmd = command_find(l.args[0]);
	if (!cmd)
		return ctl_usage_error(c, NULL, "there is no command '%s'", l.args[0]);
	if (l.help)
		return cmd_help(c, 1, l.args);
	if (l.version)
		return ctl_usage_error(c, cmd->name, "'--version' stands alone");
	for (unsigned i = 0; i < ARRAY_SIZE(options); i++)
		if (c->used >> i & 1 && options[i].mask && !(options[i].mask & cmd->options))
			return ctl_usage_error(c, cmd->name, "option '%s' does not belong to '%s'",
				options[i].name, cmd->name);
	if (c->output == CTL_OUTPUT_WIDE && !(cmd->options & CTL_OPTION_WIDE))
		return ctl_usage_error(c, cmd->name, "'%s' has no '--output wide'", cmd->name);
	nargs = l.nargs - 1;
	if (nargs < cmd->args_min || nargs > cmd->args_max)
		return ctl_usage_error(c, cmd->name,
			nargs < cmd->args_min ? "'%s' needs more arguments"
					      : "'%s' takes fewer arguments",
			cmd->name);
	return cmd->run(c, nargs, l.args + 1);
}
